//! Validates everything and reports all problems at once; with `--plan` also what it would cost.

use super::Output;
use crate::app;
use crate::collectors::Reach;
use crate::collectors::probe::Probed;
use crate::collectors::session::Options;
use crate::config::{self, Checked, CollectorConfig, Config, Definitions, ProblemSeverity};
use crate::domain::Span;
use crate::ledger;
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Reads the configuration and the definitions it names, or only the DEFINITIONS given, and lists every problem with
/// its file, line and column. Collects nothing and writes nothing; asks nobody unless `--online` is given.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: 0 sound (warnings allowed), 1 errors, waivers that hold nothing, or with --online a source that would not bring everything, 2 something could not be read."
)]
pub(crate) struct Args {
    /// The configuration; default: bornright.yaml in the working directory, unless DEFINITIONS are given
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Also print the predicted series and calls to sources, and how alerts were bent to the scans
    #[arg(long)]
    pub(crate) plan: bool,
    /// Also try each source with one call: whether it is reachable, knows us, lets us, and what is missing
    #[arg(long)]
    pub(crate) online: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
    /// Files and directories of definitions, instead of those that the configuration names
    #[arg(value_name = "DEFINITIONS")]
    pub(crate) definitions: Vec<PathBuf>,
}

/// Series of one (control, scope) that always exist: resource-seconds and resources by state (4 + 4), evidence-seconds
/// (2), last evidence, the ratio with its two bounds, the coverage, and the transition that its appearance is.
const FIXED_SERIES: u64 = 16;
/// Series that come where a violation ever occurred: opened, fixed, overdue, deadlines met and missed, the oldest, and
/// the transitions there and back.
const VIOLATION_SERIES: u64 = 8;
/// Series of a control whatever its scopes: info, `max_age`, disagreements. One more for each requirement.
const CONTROL_SERIES: u64 = 3;

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let usual = Path::new("bornright.yaml");
    let path = match (&args.config, args.definitions.is_empty()) {
        (Some(path), _) => Some(path.as_path()),
        (None, true) if usual.exists() => Some(usual),
        (None, true) => {
            anyhow::bail!(
                "there is no bornright.yaml here\n  help: name it with `--config FILE`, or name definitions: `bornright check slo-definitions`"
            )
        }
        (None, false) => None,
    };
    // What the ledger has counted says what one resource costs. Whether the ledger is sound is another command's question.
    let population = |ledger: &ledger::Config| match ledger {
        ledger::Config::Sqlite { path } if path.exists() => ledger::Reader::open(ledger).and_then(|r| r.populations()).unwrap_or_default(),
        ledger::Config::Sqlite { .. } | ledger::Config::Memory => Vec::new(),
    };
    let checked = config::check_with(path, &args.definitions, &population);
    let online = match &checked.config {
        Some(config) if args.online => Some(app::probe(config).await),
        _ => None,
    };
    let mut out = std::io::stdout().lock();
    let plan = checked.config.as_ref().filter(|_| args.plan).map(|c| Plan::of(c, &checked.definitions));
    match args.output {
        Output::Text => text(&mut out, &checked, plan.as_ref(), args.plan),
        Output::Json => json(&mut out, &checked, plan.as_ref(), online.as_deref()),
    }
    .context("stdout")?;
    if args.plan && plan.is_none() && args.output == Output::Text {
        writeln!(out, "no plan: it needs a configuration without errors (`--config FILE`)").context("stdout")?;
    }
    if args.online && args.output == Output::Text {
        match &online {
            Some(online) => tried(&mut out, online).context("stdout")?,
            None => writeln!(out, "nobody was asked: that needs a configuration without errors (`--config FILE`)").context("stdout")?,
        }
    }
    if args.online && online.is_none() && sound(&checked) {
        return Ok(ExitCode::from(2));
    }
    Ok(exit(&checked, online.as_deref()))
}

/// What each collector's source answered: (collector, kind of source, answer).
type Online = [(String, &'static str, Probed)];

fn tried(out: &mut impl Write, online: &Online) -> std::io::Result<()> {
    writeln!(out, "\nonline: one call to each source")?;
    let rows: Vec<[String; 5]> = std::iter::once(["collector", "source", "reachable", "authenticated", "permitted"].map(str::to_owned))
        .chain(online.iter().map(|(name, word, p)| {
            [
                name.clone(),
                (*word).to_owned(),
                p.reachable.word().to_owned(),
                p.authenticated.word().to_owned(),
                p.permitted.word().to_owned(),
            ]
        }))
        .collect();
    table(out, &rows)?;
    for (name, _, probed) in online.iter().filter(|(_, _, p)| !p.missing.is_empty()) {
        writeln!(out, "\n  {name}:")?;
        for missing in &probed.missing {
            writeln!(out, "    {missing}")?;
        }
    }
    Ok(())
}

fn exit(checked: &Checked, online: Option<&Online>) -> ExitCode {
    if checked.unreadable {
        ExitCode::from(2)
    } else if sound(checked) && online.is_none_or(|o| o.iter().all(|(_, _, p)| p.good())) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    }
}

fn sound(checked: &Checked) -> bool {
    !checked.problems.fatal() && checked.definitions.invalid_waivers.is_empty()
}

fn text(out: &mut impl Write, checked: &Checked, plan: Option<&Plan>, notes: bool) -> std::io::Result<()> {
    if !checked.problems.problems.is_empty() {
        writeln!(out, "{}\n", checked.problems)?;
    }
    if notes && !checked.notes.is_empty() {
        for note in &checked.notes {
            writeln!(out, "{note}")?;
        }
        writeln!(out)?;
    }
    let d = &checked.definitions;
    let mut parts = Vec::new();
    if let Some(c) = &checked.config {
        parts.push(counted(c.collectors.len(), "collector"));
    }
    parts.push(format!("{} in {}", counted(d.controls().count(), "control"), counted(d.sets.len(), "set")));
    parts.push(counted(d.slos.len(), "SLO"));
    parts.push(counted(d.waivers.len(), "waiver"));
    if !d.invalid_waivers.is_empty() {
        parts.push(format!("{} that hold nothing", counted(d.invalid_waivers.len(), "waiver")));
    }
    writeln!(out, "{}", parts.join(", "))?;
    let errors = checked.problems.count(ProblemSeverity::Error);
    let warnings = checked.problems.count(ProblemSeverity::Warning);
    match (errors, warnings) {
        (0, 0) => writeln!(out, "no problems")?,
        (0, w) => writeln!(out, "{}", counted(w, "warning"))?,
        (e, w) => writeln!(out, "{}, {}", counted(e, "error"), counted(w, "warning"))?,
    }
    if !notes && !checked.notes.is_empty() {
        writeln!(out, "{} on alerts ({}); `--plan` prints them", counted(checked.notes.len(), "note"), codes(checked))?;
    }
    match plan {
        Some(plan) => plan.text(out),
        None => Ok(()),
    }
}

/// `SLO101 × 3, SLO102`.
fn codes(checked: &Checked) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for note in &checked.notes {
        *counts.entry(note.code.unwrap_or("without code")).or_default() += 1;
    }
    let parts: Vec<String> = counts.into_iter().map(|(code, n)| if n == 1 { code.to_owned() } else { format!("{code} × {n}") }).collect();
    parts.join(", ")
}

fn json(out: &mut impl Write, checked: &Checked, plan: Option<&Plan>, online: Option<&Online>) -> std::io::Result<()> {
    let list = |problems: &[config::ConfigProblem]| -> Vec<serde_json::Value> {
        problems
            .iter()
            .map(|p| {
                serde_json::json!({
                    "severity": p.severity.word(), "code": p.code, "path": p.path,
                    "line": (p.line > 0).then_some(p.line), "column": (p.line > 0).then_some(p.column),
                    "message": p.message, "help": p.help,
                })
            })
            .collect()
    };
    let d = &checked.definitions;
    let mut whole = serde_json::json!({
        "ok": sound(checked) && !checked.unreadable,
        "errors": checked.problems.count(ProblemSeverity::Error),
        "warnings": checked.problems.count(ProblemSeverity::Warning),
        "problems": list(&checked.problems.problems),
        "notes": list(&checked.notes),
        "collectors": checked.config.as_ref().map(|c| c.collectors.len()),
        "sets": d.sets.len(), "controls": d.controls().count(), "slos": d.slos.len(),
        "waivers": d.waivers.len(), "invalid_waivers": d.invalid_waivers.len(),
        "definitions_digest": d.digest,
    });
    if let Some(plan) = plan {
        whole["plan"] = plan.json();
    }
    if let Some(online) = online {
        let rows = online.iter().map(|(name, word, p)| {
            serde_json::json!({
                "collector": name, "source": word, "good": p.good(), "reachable": p.reachable.word(),
                "authenticated": p.authenticated.word(), "permitted": p.permitted.word(), "missing": p.missing,
            })
        });
        whole["online"] = rows.collect();
    }
    writeln!(out, "{whole:#}")
}

fn counted(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// What the configuration will cost, as far as it can be known before the first run.
struct Plan {
    collectors: Vec<Calls>,
    /// Controls that some collector can feed: only these make series by scope.
    controls: u64,
    /// Series of controls that no scope multiplies.
    of_controls: u64,
    limit: u64,
}

struct Calls {
    name: String,
    source: &'static str,
    format: String,
    every: Span,
    per_run: PerRun,
}

/// Calls to the source in one run.
#[derive(Clone, Copy)]
enum PerRun {
    /// None: files of this machine.
    Files,
    /// One.
    Once,
    /// One for each page, at least one, at most so many.
    Pages(u64),
    /// One execution of a program; what it calls is its own.
    Program,
    /// At least so many, and what more depends on.
    AtLeast(u64, &'static str),
    /// None of ours: the sender calls.
    Handed,
    /// Lists of an API: so many requests if each is one page, so many at most, and what makes them more.
    Lists(u64, u64, &'static str),
}

impl PerRun {
    fn lists((least, more): (u64, &'static str), options: &Options) -> PerRun {
        PerRun::Lists(least, least.saturating_mul(u64::from(options.max_pages)), more)
    }
}

impl Plan {
    fn of(config: &Config, definitions: &Definitions) -> Plan {
        let controls = definitions.controls().filter(|control| config.collectors.iter().any(|c| config::feeds(c, control))).count();
        Plan {
            collectors: config.collectors.iter().map(Calls::of).collect(),
            controls: controls as u64,
            of_controls: definitions.controls().map(|c| CONTROL_SERIES + c.requirements.len() as u64).sum(),
            limit: config.series_limit as u64,
        }
    }

    /// (pairs, least series, most series) with so many scopes. Beyond the limit scopes are folded into `__other__`,
    /// one pair for each control.
    fn series(&self, scopes: u64) -> (u64, u64, u64) {
        let pairs = self.controls.saturating_mul(scopes);
        let shown = if pairs > self.limit { self.limit.saturating_add(self.controls) } else { pairs };
        let with = |each: u64| shown.saturating_mul(each).saturating_add(self.of_controls);
        (pairs, with(FIXED_SERIES), with(FIXED_SERIES + VIOLATION_SERIES))
    }

    fn text(&self, out: &mut impl Write) -> std::io::Result<()> {
        writeln!(out, "\nplan: calls to sources")?;
        let rows: Vec<[String; 6]> =
            std::iter::once(["collector", "source", "format", "every", "runs a day", "calls a day"].map(str::to_owned))
                .chain(self.collectors.iter().map(Calls::row))
                .collect();
        table(out, &rows)?;
        writeln!(
            out,
            "\nplan: series, for {} that a collector feeds",
            counted(usize::try_from(self.controls).unwrap_or(usize::MAX), "control")
        )?;
        let mut rows = vec![["scopes", "(control, scope) pairs", "series", "with violations in every pair"].map(str::to_owned)];
        for scopes in [1, 10, 100] {
            let (pairs, least, most) = self.series(scopes);
            let pairs = if pairs > self.limit { format!("{pairs}, folded to {} + __other__", self.limit) } else { pairs.to_string() };
            rows.push([scopes.to_string(), pairs, least.to_string(), most.to_string()]);
        }
        table(out, &rows)?;
        writeln!(
            out,
            "  {FIXED_SERIES} series a pair, {VIOLATION_SERIES} more once it had a violation, and {} for controls and their requirements. How many\n  scopes there are shows only in the scans.",
            self.of_controls
        )?;
        if let Some(scopes) = self.limit.checked_div(self.controls) {
            writeln!(out, "  series_limit {} is reached with {} scopes.", self.limit, scopes.saturating_add(1))?;
        }
        Ok(())
    }

    fn json(&self) -> serde_json::Value {
        let series = |scopes: u64| {
            let (pairs, least, most) = self.series(scopes);
            serde_json::json!({"scopes": scopes, "pairs": pairs, "series_min": least, "series_max": most, "folded": pairs > self.limit})
        };
        serde_json::json!({
            "collectors": self.collectors.iter().map(Calls::json).collect::<Vec<_>>(),
            "controls_fed": self.controls,
            "series_limit": self.limit,
            "series_of_controls": self.of_controls,
            "series_per_pair": FIXED_SERIES,
            "violation_series_per_pair": VIOLATION_SERIES,
            "series": [series(1), series(10), series(100)],
        })
    }
}

impl Calls {
    fn of(c: &CollectorConfig) -> Calls {
        let per_run = match &c.from {
            Reach::File(_) => PerRun::Files,
            Reach::Http(http) if http.paging.is_some() => PerRun::Pages(u64::from(http.max_pages)),
            Reach::Http(_) => PerRun::Once,
            Reach::Command(_) => PerRun::Program,
            Reach::Push(_) => PerRun::Handed,
            Reach::AzureDefender(api) => PerRun::lists(api.calls(), &api.options),
            Reach::AzurePolicy(api) => PerRun::lists(api.calls(), &api.options),
            Reach::Sentinel(api) => PerRun::lists(api.calls(), &api.options),
            Reach::GcpScc(api) => PerRun::lists(api.calls(), &api.options),
            Reach::Wiz(api) => PerRun::lists(api.calls(), &api.options),
            Reach::Kubernetes(api) => PerRun::lists(api.calls(), &api.options),
            Reach::Github(api) => PerRun::lists(api.calls(), &api.options),
            Reach::Fugue(api) => PerRun::lists(api.calls(), &api.options),
            Reach::AwsSecurityHub(hub) => {
                let (cells, roles) = hub.aws.extent();
                PerRun::AtLeast(cells + roles, "one more for each 100 findings, and for standards and controls every 6 hours")
            }
            Reach::AwsSecurityHubV2(hub) => {
                let (cells, roles) = hub.aws.extent();
                PerRun::AtLeast(cells + roles, "one more for each 100 findings")
            }
            Reach::AwsConfig(config) if config.aggregator.is_some() => {
                let (_, roles) = config.aws.extent();
                PerRun::AtLeast(2 + roles, "one more for each rule in each account and region, and for each 100 evaluations")
            }
            Reach::AwsConfig(config) => {
                let (cells, roles) = config.aws.extent();
                PerRun::AtLeast(3 * cells + roles, "one more for each rule, and for each 100 evaluations")
            }
            Reach::S3(s3) => PerRun::AtLeast(s3.files.paths.len() as u64, "one more for each 1000 keys, and for each object that is new"),
        };
        Calls { name: c.name.clone(), source: c.from.word(), format: c.format_name.clone(), every: c.every, per_run }
    }

    /// Rounded up: whoever plans a quota wants the larger number.
    fn runs_a_day(&self) -> u64 {
        Span::DAY.0.div_ceil(self.every.0.max(1))
    }

    fn row(&self) -> [String; 6] {
        let runs = self.runs_a_day();
        let calls = match self.per_run {
            PerRun::Files => "none (files)".to_owned(),
            PerRun::Once => format!("{runs} requests"),
            PerRun::Pages(most) => format!("{runs} requests × pages (at most {most} pages)"),
            PerRun::AtLeast(least, more) => format!("{} requests or more ({more})", runs.saturating_mul(least)),
            PerRun::Program => format!("{runs} executions"),
            PerRun::Handed => "none (handed in)".to_owned(),
            PerRun::Lists(least, _, more) => format!("{} requests or more: {more}", runs.saturating_mul(least)),
        };
        [self.name.clone(), self.source.to_owned(), self.format.clone(), self.every.to_string(), runs.to_string(), calls]
    }

    fn json(&self) -> serde_json::Value {
        let runs = self.runs_a_day();
        let (least, most) = match self.per_run {
            PerRun::Files | PerRun::Handed => (0, Some(0)),
            PerRun::Once | PerRun::Program => (1, Some(1)),
            PerRun::Pages(most) => (1, Some(most)),
            PerRun::AtLeast(least, _) => (least, None),
            PerRun::Lists(least, most, _) => (least, Some(most)),
        };
        serde_json::json!({
            "collector": self.name, "source": self.source, "format": self.format, "every_seconds": self.every.seconds(),
            "runs_per_day": runs, "calls_per_run_min": least, "calls_per_run_max": most, "calls_per_day_min": runs.saturating_mul(least),
        })
    }
}

/// Columns, each as wide as its widest cell.
fn table<const N: usize>(out: &mut impl Write, rows: &[[String; N]]) -> std::io::Result<()> {
    let widths: Vec<usize> = (0..N).map(|i| rows.iter().map(|r| r[i].chars().count()).max().unwrap_or(0)).collect();
    for row in rows {
        let line: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        writeln!(out, "  {}", line.join("  ").trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_counted_before_roll_out_and_folded_at_the_limit() {
        let plan = Plan { collectors: Vec::new(), controls: 70, of_controls: 400, limit: 5000 };
        // 70 pairs × 16, × 24 with violations, and 400.
        assert_eq!(plan.series(1), (70, 1520, 2080));
        // 7000 pairs: 5000 apart and one `__other__` for each control.
        assert_eq!(plan.series(100), (7000, 5070 * 16 + 400, 5070 * 24 + 400));
    }

    #[test]
    fn an_interval_that_does_not_divide_the_day_is_rounded_up() {
        let calls = |every| Calls { name: String::new(), source: "http", format: String::new(), every: Span(every), per_run: PerRun::Once };
        assert_eq!(calls(3_600_000).runs_a_day(), 24);
        assert_eq!(calls(7 * 3_600_000).runs_a_day(), 4);
        assert_eq!(calls(7 * 86_400_000).runs_a_day(), 1);
    }
}
