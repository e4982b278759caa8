//! Feeds dated scans through the pipeline on a simulated clock, and prints what would have been seen.

use crate::app::load;
use crate::app::replay::{self, Plan, alerts::Backtest, instants::Instants, pages::Pages};
use crate::domain::{Moment, Span};
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// The samples that one run may be asked for. A century of minutes is fewer.
const MAX_STEPS: u64 = 60_000_000;

/// The scans of a manifest go through the same pipeline as with `serve`: waivers end, evidence runs out and deadlines pass
/// at their exact instants. A finding that does not say when it was made gets the time of its scan.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The manifest is YAML or JSON, plain or gzip; its paths are relative to it:
  scans:
    - { at: 2026-01-01T00:00:00Z, collector: aws-prod, path: 2026-01-01.json, complete: true }

Back-fill a Prometheus:   bornright replay --config bornright.yaml --scans scans.yaml --output openmetrics > past.om
                          promtool tsdb create-blocks-from openmetrics past.om /var/lib/prometheus
Would it have paged:      bornright replay --config bornright.yaml --scans scans.yaml --output alerts

Exit status: 0 done, 2 could not tell (bad configuration or manifest, or no scan brought anything that could be used).")]
pub(crate) struct Args {
    /// The configuration; default: bornright.yaml in the working directory
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The manifest: which scan came in when
    #[arg(long, value_name = "MANIFEST")]
    pub(crate) scans: PathBuf,
    /// Go on until then (RFC 3339); default: the last scan, or the last --at
    #[arg(long, value_name = "T", value_parser = instant)]
    pub(crate) until: Option<Moment>,
    /// Print at every multiple of this; default 1m, with `json` none. Of `openmetrics` and `alerts` it is the scrape interval
    #[arg(long, value_name = "D", value_parser = Span::parse)]
    pub(crate) every: Option<Span>,
    /// Print at this instant (RFC 3339); may be given many times; default with `json`: the end
    #[arg(long, value_name = "T", value_parser = instant)]
    pub(crate) at: Vec<Moment>,
    /// What to print
    #[arg(long, value_enum, default_value_t = Kind::Json)]
    pub(crate) output: Kind,
    /// Keep the record in this ledger, so that `serve` can go on from there; default: nothing is kept
    #[arg(long, value_name = "FILE")]
    pub(crate) ledger: Option<PathBuf>,
    /// With `openmetrics`: a label for every series, such as job=compliance-exporter; may be given many times
    #[arg(long, value_name = "NAME=VALUE", value_parser = label)]
    pub(crate) label: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// What stood at chosen instants, one object a line
    Json,
    /// What Prometheus would have scraped, with timestamps
    Openmetrics,
    /// Which burn alerts would have fired from when until when
    Alerts,
}

fn instant(text: &str) -> Result<Moment, String> {
    Moment::from_rfc3339(text).ok_or_else(|| "expected RFC 3339 with an offset, such as 2026-01-01T00:00:00Z".to_owned())
}

fn label(text: &str) -> Result<(String, String), String> {
    let wrong = || "expected NAME=VALUE with a name of letters, digits and `_`".to_owned();
    let (name, value) = text.split_once('=').ok_or_else(wrong)?;
    let legal = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !name.starts_with(|c: char| c.is_ascii_digit());
    if name.is_empty() || !legal || name.starts_with("__") {
        return Err(wrong());
    }
    Ok((name.to_owned(), value.to_owned()))
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.every == Some(Span(0)) {
        anyhow::bail!("--every 0s is no step\n  help: write a length of time such as 1m, 1h or 1d");
    }
    let mut taken = std::collections::BTreeSet::new();
    if let Some((name, _)) = args.label.iter().find(|(name, _)| !taken.insert(name)) {
        anyhow::bail!("--label {name} is given twice");
    }
    let (config, definitions) = load::load(args.config.as_deref())?;
    let mut scans = replay::manifest(&args.scans, &config)?;
    let until = args.until.or_else(|| args.at.iter().copied().chain(scans.last().map(|s| s.at)).max()).unwrap_or_default();
    if let Some(beyond) = args.at.iter().find(|at| **at > until) {
        anyhow::bail!("--at {beyond} is after --until {until}");
    }
    let given = scans.len();
    scans.retain(|s| s.at <= until);
    let later = given - scans.len();
    if later > 0 {
        tracing::info!(later, "{later} scans after {until} are left out");
    }
    let Some(first) = scans.first().map(|s| s.at) else {
        anyhow::bail!("{}: no scan came in until {until}; there is nothing to replay", args.scans.display());
    };
    let start = args.at.iter().copied().min().unwrap_or(first).min(first);
    let every = args.every.or((args.output != Kind::Json).then_some(Span::MINUTE));
    if let Some(every) = every
        && until.since(first).0 / every.0 > MAX_STEPS
    {
        anyhow::bail!("from {first} to {until} there are more than {MAX_STEPS} steps of {every}\n  help: take a longer --every");
    }
    let plan = Plan { scans, start, until, ledger: args.ledger.clone() };
    let mut out = BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    let summary = match args.output {
        Kind::Json => {
            let mut at = args.at.clone();
            if at.is_empty() && every.is_none() {
                at.push(until);
            }
            replay::replay(&config, &definitions, plan, &mut Instants::new(at, every, until, &mut out))?
        }
        Kind::Openmetrics => {
            let mut pages = Pages::new(every.unwrap_or(Span::MINUTE), &args.label);
            let summary = replay::replay(&config, &definitions, plan, &mut pages)?;
            pages.write(&mut out)?;
            summary
        }
        Kind::Alerts => {
            let mut backtest = Backtest::new(every.unwrap_or(Span::MINUTE));
            let summary = replay::replay(&config, &definitions, plan, &mut backtest)?;
            backtest.write(&mut out)?;
            summary
        }
    };
    out.flush()?;
    let replay::Summary { replayed, usable, held } = summary;
    tracing::info!(replayed, usable, held, "{replayed} scans replayed until {until}");
    if replayed > 0 && usable == 0 {
        anyhow::bail!("not one of {replayed} scans brought anything that could be used; see the warnings above");
    }
    Ok(ExitCode::SUCCESS)
}
