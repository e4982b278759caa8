//! The mathematics: objectives, windows, budgets. Pure: no IO, no clock.

pub mod objective;

pub mod measure;

pub mod composite;

pub mod forecast;

pub mod budget;

pub mod timeline;

pub mod window;

pub mod tier;

pub mod expand;

pub mod lint;

pub mod small;

pub mod calendar;

pub use budget::{Budget, Objectives};
pub use expand::expand;
pub use forecast::Step;
pub use lint::{Code, Level, Lint};
pub use measure::{Amounts, Measure};
pub use objective::{Calendar, Composite, CompositeMode, ControlSelector, Member, Policy, Sli, Slo, Weights};
pub use tier::{Tier, Tiers, Urgency};
pub use timeline::{Lanes, Point, Timeline};
