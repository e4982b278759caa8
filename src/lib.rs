//! bornright: real scanner findings in, honest compliance ratios out.
//!
//! A tour in reading order. [`domain`] has the nouns. [`collectors`] bring documents, [`formats`] read them,
//! [`evaluate`] judges, [`ledger`] remembers, [`slo`] accounts; the writing half ends in one [`snapshot`].
//! [`exposition`], [`report`] and [`serve`] show it; [`generate`] writes what others load, [`import`] reads what others
//! wrote. [`config`] is what the operator wrote, [`app`] puts it together, [`cli`] is what a person types.
//! ARCHITECTURE.md has the laws.

pub mod domain;

pub mod formats;

pub mod collectors;

pub mod evaluate;

pub mod ledger;

pub mod slo;

pub mod snapshot;

pub mod exposition;

pub mod generate;

pub mod report;

pub mod serve;

pub mod config;

pub mod import;

pub mod clock;

pub mod app;

pub mod cli;
