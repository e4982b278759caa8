//! What a person types: one file per command; maps results to exit codes.
//!
//! Results go to stdout, logs and complaints to stderr. Exit: 0 yes, 1 no, 2 could not tell (bad usage, bad
//! configuration, nothing collected). No command decides anything here; it asks the rooms and prints.

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use std::future::Future;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

mod check;
mod completions;
mod demo;
mod explain;
mod findings;
mod gate;
mod generate;
mod import;
mod init;
mod ledger;
mod replay;
mod serve;

/// Compliance SLO exporter: real scanner findings in, honest compliance ratios and error budgets out.
#[derive(Debug, Parser)]
#[command(name = "bornright", version, arg_required_else_help = true, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    /// Least severe events to log on stderr: off, error, warn, info, debug, trace, or directives such as `bornright::collectors=debug`
    #[arg(long, global = true, value_name = "LEVEL", default_value = "info", env = "BORNRIGHT_LOG_LEVEL", hide_env_values = true)]
    log_level: String,
    /// How log events are written
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text, env = "BORNRIGHT_LOG_FORMAT", hide_env_values = true)]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit status: 0 yes, 1 no, 2 could not tell (bad usage, bad configuration, nothing collected).";

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// `--output` wherever something is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Text,
    /// For programs
    Json,
}

/// In the order in which a newcomer meets them; `--help` lists them so.
#[derive(Debug, Subcommand)]
enum Command {
    /// See it work: real output of several scanners, shipped with the program, on a page and on /metrics
    Demo(demo::Args),
    /// Write a first configuration for the sources that you have
    Init(init::Args),
    /// Run the exporter: collect on schedule, judge, keep account, serve the page and /metrics
    Serve(serve::Args),
    /// Validate the configuration and the definitions, and report every problem with file:line:column
    Check(check::Args),
    /// Collect once, judge, and print control by control; for CI pipelines
    Gate(gate::Args),
    /// Print what a format sees in a document, as native NDJSON
    Findings(findings::Args),
    /// Say why a control is in its state: evidence, since when, waiver, how to fix
    Explain(explain::Args),
    /// Write Prometheus rules, dashboards and documents for other tools from the definitions
    Generate(generate::Args),
    /// Make controls and frameworks from benchmarks and catalogs: XCCDF, OSCAL, ComplianceAsCode
    Import(import::Args),
    /// Look into the record of what happened: verify its chain, export it, prune it
    Ledger(ledger::Args),
    /// Feed dated scans through the pipeline on a simulated clock: fill a Prometheus with the past, test an objective on it
    Replay(replay::Args),
    /// Write a completion script for a shell to stdout
    Completions(completions::Args),
    /// Write the man page to stdout, or one page per command to a directory
    Man(completions::ManArgs),
}

/// Parses the command line, runs the command, and returns the process's exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // clap says 2 for bad usage and 0 for --help and --version, as our contract does. A closed pipe is no reason to complain.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    if let Err(message) = start_logging(&cli.log_level, cli.log_format) {
        complain(&message);
        return ExitCode::from(2);
    }
    let result = match cli.command {
        Command::Demo(args) => in_runtime(demo::run(args)),
        Command::Init(args) => init::run(&args),
        Command::Serve(args) => in_runtime(serve::run(args)),
        Command::Check(args) => in_runtime(check::run(args)),
        Command::Gate(args) => in_runtime(gate::run(args)),
        Command::Findings(args) => findings::run(&args),
        Command::Explain(args) => in_runtime(explain::run(args)),
        Command::Generate(args) => in_runtime(generate::run(args)),
        Command::Import(args) => import::run(&args),
        Command::Ledger(args) => in_runtime(ledger::run(args)),
        Command::Replay(args) => replay::run(&args),
        Command::Completions(args) => completions::run(&args, Cli::command()),
        Command::Man(args) => completions::man(&args, Cli::command()),
    };
    match result {
        Ok(code) => code,
        // Somebody read enough (`bornright findings … | head`): that is not a failure.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::from(2)
        }
    }
}

/// Writes a complaint to stderr. A stderr that is closed cannot be told of it.
pub(crate) fn complain(message: &str) {
    let mut err = std::io::stderr().lock();
    let label = if std::io::stderr().is_terminal() { "\x1b[1;31merror\x1b[0m" } else { "error" };
    let _ = writeln!(err, "{label}: {message}");
}

fn in_runtime<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(command)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe))
}

fn start_logging(level: &str, format: LogFormat) -> Result<(), String> {
    // A word alone that is no level would be taken for a target, and nothing be logged at all.
    let alone = !level.contains(['=', ',', '[']);
    if alone && !["off", "error", "warn", "info", "debug", "trace"].iter().any(|l| level.eq_ignore_ascii_case(l)) {
        return Err(format!("--log-level `{level}` is no level\nhelp: write off, error, warn, info, debug or trace"));
    }
    let filter = tracing_subscriber::EnvFilter::builder()
        .parse(level)
        .map_err(|e| format!("--log-level `{level}`: {e}\nhelp: write off, error, warn, info, debug or trace"))?;
    // Whoever read the log may be gone. A complaint about that could only go where nobody reads, and would panic there:
    // the task that logs, the one that hears SIGTERM among them, goes on without its line instead.
    let events = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    let done = match format {
        LogFormat::Text => events.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init(),
        LogFormat::Json => events.json().flatten_event(true).try_init(),
    };
    done.map_err(|e| format!("logging cannot be started: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
