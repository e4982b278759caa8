//! The mathematics: objectives, windows, budgets. Pure: no IO, no clock.

pub mod objective;

pub use objective::{ControlSelector, Policy, Slo};
