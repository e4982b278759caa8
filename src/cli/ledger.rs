//! Looks into the record of what happened.

use super::Output;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Recompute the hash chain and every counter, and name the first broken link
    Verify(Where),
    /// Write runs and transitions as NDJSON to stdout
    Export(Where),
    /// Remove what is older than an age; the chain stays provable
    Prune {
        #[command(flatten)]
        of: Where,
        /// Keep what is younger than this (`400d`, `1y`)
        #[arg(long, value_name = "AGE")]
        keep: String,
    },
}

/// Which ledger.
#[derive(Debug, clap::Args)]
pub(crate) struct Where {
    /// The configuration that names the ledger; default: bornright.yaml in the working directory
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The ledger's own file, without a configuration
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    pub(crate) path: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

pub(crate) async fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`ledger` is not available yet")
}
