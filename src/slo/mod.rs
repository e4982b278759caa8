//! The mathematics: objectives, windows, budgets. Pure: no IO, no clock.

pub mod objective;

pub mod timeline;

pub use objective::{Calendar, Composite, CompositeMode, ControlSelector, Member, Policy, Sli, Slo, Weights};
pub use timeline::{Lanes, Point, Timeline};
