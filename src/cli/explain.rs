//! Why a control is in its state.

use super::Output;
use std::path::PathBuf;
use std::process::ExitCode;
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The control
    #[arg(value_name = "CONTROL")]
    pub(crate) control: String,
    /// Only in this scope
    #[arg(long, value_name = "S")]
    pub(crate) scope: Option<String>,
    /// Only for this resource
    #[arg(long, value_name = "R")]
    pub(crate) resource: Option<String>,
    /// The configuration; default: bornright.yaml in the working directory
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

pub(crate) async fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`explain` is not available yet")
}
