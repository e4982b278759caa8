//! The exporter.

use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The configuration; default: bornright.yaml in the working directory
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where to listen, instead of what the configuration says
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<std::net::SocketAddr>,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    crate::app::serve(args.config, args.listen).await?;
    Ok(ExitCode::SUCCESS)
}
