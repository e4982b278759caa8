//! The rule stage: findings in, states out. Pure: no IO, no clock; `now` is an argument.
//!
//! [`rules`] compiles definitions, [`book`] holds what every source last said about every resource in a few bytes,
//! [`judge`] makes one state of what is held for one (control, resource) at one instant, and [`account`] surveys the
//! book into counts and carries the integrals. Framework words start here; vendor words ended in `formats`.

pub mod account;
pub mod arena;
pub mod book;
pub mod entry;
pub mod judge;
pub mod rules;

pub use account::{Account, PairTransition, Survey};
pub use book::{Book, Observed, Seen};
pub use entry::{Entry, Verdict};
pub use rules::{CollectorRules, Rules, WhereTest};

#[cfg(test)]
mod tests;
