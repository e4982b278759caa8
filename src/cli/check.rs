//! Validates everything and reports all problems at once.

use super::Output;
use std::path::PathBuf;
use std::process::ExitCode;
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The configuration; default: bornright.yaml in the working directory
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Also print the predicted series, rules and API calls
    #[arg(long)]
    pub(crate) plan: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
    /// Files and directories of definitions, instead of those that the configuration names
    #[arg(value_name = "DEFINITIONS")]
    pub(crate) definitions: Vec<PathBuf>,
}

pub(crate) async fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`check` is not available yet")
}
