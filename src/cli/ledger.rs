//! Looks into the record of what happened. Opens the file itself, beside a running exporter; only `prune` writes.

use super::Output;
use crate::domain::{Moment, Span};
use crate::ledger::{self, ExportRange, Ledger, Reader};
use anyhow::Context;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Recompute the hash chain and every counter, and name the first broken link
    ///
    /// Exit status: 0 intact, 1 broken, 2 cannot be read.
    Verify {
        #[command(flatten)]
        of: Where,
        /// How to print
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Write names, runs and transitions as NDJSON to stdout
    Export {
        #[command(flatten)]
        of: Where,
        /// Records from this instant on (2026-01-31T00:00:00Z), or so long ago (30d)
        #[arg(long, value_name = "WHEN")]
        since: Option<String>,
        /// Records before this instant, or before so long ago
        #[arg(long, value_name = "WHEN")]
        until: Option<String>,
    },
    /// Remove transitions and evidence that are older than an age; the chain stays provable, no counter moves
    Prune {
        #[command(flatten)]
        of: Where,
        /// Remove what is older than this (400d, 1y)
        #[arg(long, value_name = "AGE")]
        older_than: String,
        /// Give the space back to the file system; needs as much again while it works
        #[arg(long)]
        compact: bool,
        /// How to print
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
}

/// Which ledger.
#[derive(Debug, clap::Args)]
pub(crate) struct Where {
    /// The configuration that names the ledger; default: bornright.yaml in the working directory
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The ledger's own file, without a configuration
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    pub(crate) ledger: Option<PathBuf>,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    // The store blocks; nothing else runs in this process.
    tokio::task::spawn_blocking(move || work(args, crate::clock::now(), &mut std::io::stdout().lock())).await?
}

fn work(args: Args, now: Moment, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Verify { of, output } => verify(&of.find()?, output, out),
        Command::Export { of, since, until } => {
            let range = ExportRange { since: when(since.as_deref(), now)?, until: when(until.as_deref(), now)? };
            let mut out = std::io::BufWriter::with_capacity(1 << 16, out);
            Reader::open(&ledger::Config::Sqlite { path: of.find()? })?.export(range, &mut out)?;
            out.flush()?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Prune { of, older_than, compact, output } => {
            let age = Span::parse(&older_than).map_err(|e| anyhow::anyhow!("--older-than: {e}"))?;
            prune(&of.find()?, now - age, compact, output, out)
        }
    }
}

fn verify(path: &Path, output: Output, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let report = ledger::verify(path)?;
    let intact = report.fault.is_none();
    match output {
        Output::Json => {
            let json = serde_json::json!({
                "intact": intact,
                "records": report.records,
                "transitions": report.transitions,
                "counters": report.rows,
                "pruned_through": report.pruned_through,
                "head": report.head,
                "fault": report.fault,
            });
            writeln!(out, "{json}")?;
        }
        Output::Text => match &report.fault {
            Some(fault) => {
                writeln!(out, "broken: {fault}")?;
                writeln!(out, "before that, {} records are intact; the last one has hash {}", report.records, report.head)?;
            }
            None => {
                writeln!(
                    out,
                    "intact: {} records, {} transitions replayed, {} counters recomputed",
                    report.records, report.transitions, report.rows
                )?;
                if report.pruned_through > 0 {
                    writeln!(out, "transitions up to record {} were pruned; the baseline in their place is proven", report.pruned_through)?;
                }
                writeln!(out, "head {}", report.head)?;
            }
        },
    }
    Ok(if intact { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn prune(path: &Path, before: Moment, compact: bool, output: Output, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    // Opening would create it.
    std::fs::metadata(path).with_context(|| format!("ledger {}", path.display()))?;
    let mut ledger = Ledger::open(&ledger::Config::Sqlite { path: path.to_owned() })?;
    let done = ledger.prune(before)?;
    if compact {
        ledger.compact()?;
    }
    match output {
        Output::Json => {
            let json = serde_json::json!({
                "before": before.to_string(),
                "through": done.through,
                "transitions": done.transitions,
                "evidence": done.evidence,
                "resources": done.resources,
                "head": ledger.head().hash,
            });
            writeln!(out, "{json}")?;
        }
        Output::Text if done.through == 0 => writeln!(out, "nothing to prune: no record lies before {before}, or it was pruned already")?,
        Output::Text => writeln!(
            out,
            "pruned up to record {}: {} transitions, {} rows of evidence, {} names of resources that are gone",
            done.through, done.transitions, done.evidence, done.resources
        )?,
    }
    Ok(ExitCode::SUCCESS)
}

impl Where {
    fn find(&self) -> anyhow::Result<PathBuf> {
        if let Some(path) = &self.ledger {
            return Ok(path.clone());
        }
        let default = Path::new("bornright.yaml");
        let config = match &self.config {
            Some(path) => path,
            None if default.exists() => default,
            None => anyhow::bail!(
                "which ledger? there is no bornright.yaml here\nhelp: name the file with --ledger PATH, or a configuration with --config FILE"
            ),
        };
        match crate::config::load(config)?.ledger {
            ledger::Config::Sqlite { path } => Ok(path),
            ledger::Config::Memory => anyhow::bail!("{} keeps no ledger", config.display()),
        }
    }
}

/// An instant as people write it: RFC 3339, or an age.
fn when(text: Option<&str>, now: Moment) -> anyhow::Result<Option<Moment>> {
    let Some(text) = text else { return Ok(None) };
    if let Some(instant) = Moment::from_rfc3339(text) {
        return Ok(Some(instant));
    }
    match Span::parse(text) {
        Ok(age) => Ok(Some(now - age)),
        Err(_) => anyhow::bail!("`{text}` is neither an instant (2026-01-31T00:00:00Z) nor an age (30d)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Changes, Record, RecordKind};
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn say(line: &str) -> anyhow::Result<(ExitCode, String)> {
        let mut out = Vec::new();
        let args = Line::try_parse_from(line.split(' '))?.args;
        let code = work(args, Moment(86_400_000 * 20_000), &mut out)?;
        Ok((code, String::from_utf8(out)?))
    }

    #[test]
    fn verify_export_and_prune_speak_plainly() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("ledger.db");
        let name = path.display().to_string();
        let error = say(&format!("ledger verify --ledger {name}")).expect_err("there is none").to_string();
        assert!(error.contains(&name), "{error}");
        let error = say(&format!("ledger prune --older-than 1d --ledger {name}")).expect_err("there is none");
        assert!(format!("{error:#}").contains(&name) && !path.exists(), "{error:#}");

        let mut ledger = Ledger::open(&ledger::Config::Sqlite { path: path.clone() }).expect("opens");
        for day in 1..=3 {
            let record = Record::of(RecordKind::Tick, Moment(86_400_000 * 19_990 + day), "");
            ledger.commit(&record, &Changes::default()).expect("commits");
        }
        let head = ledger.head().hash.clone();
        let error = say(&format!("ledger prune --older-than 1d --ledger {name}")).expect_err("is being written").to_string();
        assert!(error.contains("only one may"), "{error}");
        drop(ledger);

        let (code, text) = say(&format!("ledger verify --ledger {name}")).expect("reads");
        assert_eq!(
            (code, text),
            (ExitCode::SUCCESS, format!("intact: 3 records, 0 transitions replayed, 0 counters recomputed\nhead {head}\n"))
        );
        let (_, text) = say(&format!("ledger verify --output json --ledger {name}")).expect("reads");
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((json["intact"].as_bool(), json["records"].as_u64()), (Some(true), Some(3)));

        let (_, text) = say(&format!("ledger export --since 30d --until 1d --ledger {name}")).expect("reads");
        assert_eq!(text.lines().count(), 4);
        let (_, text) = say(&format!("ledger export --since 2026-01-01T00:00:00Z --ledger {name}")).expect("reads");
        assert_eq!(text.lines().count(), 1);
        let error = say(&format!("ledger export --since yesterday --ledger {name}")).expect_err("is no instant").to_string();
        assert_eq!(error, "`yesterday` is neither an instant (2026-01-31T00:00:00Z) nor an age (30d)");

        let (_, text) = say(&format!("ledger prune --older-than 400d --ledger {name}")).expect("prunes");
        assert!(text.starts_with("nothing to prune"), "{text}");
        let (_, text) = say(&format!("ledger prune --older-than 5d --compact --ledger {name}")).expect("prunes");
        assert_eq!(text, "pruned up to record 3: 0 transitions, 0 rows of evidence, 0 names of resources that are gone\n");
        let (code, text) = say(&format!("ledger verify --ledger {name}")).expect("reads");
        assert!(code == ExitCode::SUCCESS && text.contains("up to record 3 were pruned"), "{text}");
        let error = say(&format!("ledger prune --older-than old --ledger {name}")).expect_err("is no age").to_string();
        assert!(error.starts_with("--older-than: `old` is not a duration"), "{error}");

        let db = rusqlite::Connection::open(&path).expect("opens");
        db.execute_batch("DROP TRIGGER records_update; UPDATE records SET at = at + 1 WHERE sequence = 2").expect("alters");
        let (code, text) = say(&format!("ledger verify --ledger {name}")).expect("reads");
        assert!(code == ExitCode::from(1) && text.starts_with("broken: record 2 was altered"), "{text}");
    }
}
