//! The README's first command: the whole pipeline on output that ships with the program.

use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9876")]
    pub(crate) listen: std::net::SocketAddr,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    crate::app::demo(args.listen).await?;
    Ok(ExitCode::SUCCESS)
}
