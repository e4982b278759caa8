//! The nouns every other room shares. Pure values: no IO, no clock, no framework, no vendor word.
//!
//! Read in this order: a scanner's [`Finding`] about a [`ResourceRef`], the [`Control`] it is evidence for,
//! the [`State`] we judge from it, the [`Ratio`] those states make, and the [`RunOutcome`] that brought them.

pub mod account;
pub mod control;
pub mod finding;
pub mod moment;
pub mod ratio;
pub mod resource;
pub mod run;
pub mod scope;
pub mod state;
pub mod waiver;

pub use control::{CheckSelector, Combine, Control, ControlSet, Framework, FrameworkRequirement, Nature, Population, Requirement};
pub use finding::{CheckResult, ControlRef, Fields, Finding, Lifecycle, ResourceRef, Severity};
pub use moment::{Moment, Span};
pub use ratio::{Coverage, Ratio};
pub use run::{Position, Problem, ProblemKind, RunOutcome, ScannerInfo};
pub use scope::ScopeTemplate;
pub use state::{Cause, Counts, State};
pub use waiver::{Waiver, WaiverOrigin, WaiverState};
