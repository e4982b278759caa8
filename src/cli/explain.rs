//! Why a control is in its state: who said what, when, and until when that holds.

use super::Output;
use crate::app::{load, pipeline};
use crate::clock;
use crate::config;
use crate::domain::{Counts, Moment, Ratio, Requirement, State, resource};
use crate::evaluate::Book;
use crate::ledger::{self, Reader};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Reads the ledger; the exporter may be running. Without `--resource` the resources that do not comply are listed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status: 0 everything asked for complies or is waived, 1 something does not, 2 could not tell.")]
pub(crate) struct Args {
    /// The control
    #[arg(value_name = "CONTROL")]
    pub(crate) control: String,
    /// Only in this scope
    #[arg(long, value_name = "S")]
    pub(crate) scope: Option<String>,
    /// Only this resource, whatever its state
    #[arg(long, value_name = "R")]
    pub(crate) resource: Option<String>,
    /// The configuration; default: bornright.yaml in the working directory
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// How many resources to list at most
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) limit: usize,
    /// How to print
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

#[derive(Serialize)]
struct Explanation {
    at: String,
    control: String,
    title: String,
    set: String,
    version: String,
    owner: String,
    severity: &'static str,
    nature: &'static str,
    requirements: Vec<String>,
    rationale: String,
    remediation: String,
    training: String,
    fix_within: Option<String>,
    scopes: Vec<ScopeLine>,
    resources: Vec<ResourceLine>,
    /// Further resources that were not listed.
    more: usize,
}

#[derive(Serialize)]
struct ScopeLine {
    scope: String,
    compliant: u64,
    non_compliant: u64,
    unknown: u64,
    waived: u64,
    ratio: Option<f64>,
    lower: Option<f64>,
    upper: Option<f64>,
    coverage: Option<f64>,
}

#[derive(Serialize)]
struct ResourceLine {
    resource: String,
    r#type: String,
    scope: String,
    state: Option<&'static str>,
    since: Option<String>,
    cause: Option<&'static str>,
    waiver: Option<String>,
    observations: Vec<ObservationLine>,
}

#[derive(Serialize)]
struct ObservationLine {
    collector: String,
    check: String,
    verdict: &'static str,
    suppressed: bool,
    evidence_at: String,
    runs_out: String,
    evidence: Vec<EvidenceLine>,
}

#[derive(Clone, Serialize)]
struct EvidenceLine {
    record: u64,
    name: String,
    sha256: String,
}

/// `nist-800-53-r5 AC-2 (Account Management)`, if its framework's document says what it asks for.
fn titled(definitions: &config::Definitions, r: &Requirement) -> String {
    let framework = definitions.frameworks.iter().find(|f| f.name == r.framework);
    match framework.and_then(|f| f.requirement(&r.id)) {
        Some(known) => format!("{} {} ({})", r.framework, r.id, known.title),
        None => format!("{} {}", r.framework, r.id),
    }
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (settings, definitions) = load::load(args.config.as_deref())?;
    let Some(control) = definitions.controls().find(|c| c.id == args.control) else {
        let near = config::nearest(&args.control, definitions.controls().map(|c| c.id.as_str()));
        let help = near.map_or_else(|| "the page at `/` of a running exporter lists them".to_owned(), |n| format!("did you mean `{n}`?"));
        anyhow::bail!("no control is called `{}`\n  help: {help}", args.control);
    };
    if let ledger::Config::Sqlite { path } = &settings.ledger
        && !path.exists()
    {
        anyhow::bail!("nothing has been collected yet: there is no ledger {}\n  help: run `bornright serve` first", path.display());
    }
    let (book, _) = pipeline::held(&settings, &definitions)?;
    let reader = Reader::open(&settings.ledger)?;
    let now = clock::now();
    let (scopes, mut lines, more) = look(&args, &book, now);
    for line in &mut lines {
        annotate(line, &args.control, &reader)?;
    }
    let explanation = Explanation {
        at: now.to_string(),
        control: control.id.clone(),
        title: control.title.clone(),
        set: control.set.clone(),
        version: control.version.clone(),
        owner: control.owner.clone(),
        severity: control.severity.word(),
        nature: control.nature.word(),
        requirements: control.requirements.iter().map(|r| titled(&definitions, r)).collect(),
        rationale: control.rationale.clone(),
        remediation: control.remediation.clone(),
        training: control.training.clone(),
        fix_within: control.fix_within.map(|s| s.to_string()),
        scopes,
        resources: lines,
        more,
    };
    let mut out = std::io::stdout().lock();
    match args.output {
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(&explanation)?)?,
        Output::Text => text(&mut out, &explanation)?,
    }
    let any = |state: State| match &args.resource {
        Some(_) => explanation.resources.iter().any(|r| r.state == Some(state.word())),
        None => explanation.scopes.iter().any(|s| [s.compliant, s.non_compliant, s.unknown, s.waived][state as usize] > 0),
    };
    Ok(ExitCode::from(if any(State::NonCompliant) {
        1
    } else if any(State::Unknown) || !(any(State::Compliant) || any(State::Waived)) {
        2
    } else {
        0
    }))
}

fn look(args: &Args, book: &Book, now: Moment) -> (Vec<ScopeLine>, Vec<ResourceLine>, usize) {
    let Some(control) = book.controls().find(&args.control) else { return (Vec::new(), Vec::new(), 0) };
    let rule = book.control_rule(control);
    let resources = book.resources();
    let mut scopes: BTreeMap<&str, Counts> = BTreeMap::new();
    let mut found = Vec::new();
    let wanted = args.resource.as_deref().map(resource::normalise);
    for slot in resources.live() {
        let held = book.observations(slot, control);
        let scope = book.scopes().get(resources.scope(slot));
        if held.is_empty() || args.scope.as_deref().is_some_and(|s| s != scope) {
            continue;
        }
        let state = book.state_of(slot, control, now);
        let weight = u64::from(book.pair_weight(slot, control));
        let counts = scopes.entry(scope).or_default();
        if let Some(s) = state {
            counts[s] += weight;
        }
        let name = resources.name(slot);
        let listed = match &wanted {
            Some(w) => *w == name,
            None => !matches!(state, Some(State::Compliant) | None),
        };
        if !listed {
            continue;
        }
        let waiver = rule.and_then(|r| {
            let rules = book.rules();
            rules.waiver_at(r, name, scope, now).and_then(|w| rules.waivers().nth(w as usize))
        });
        found.push(ResourceLine {
            resource: name.to_owned(),
            r#type: book.kind(slot).to_owned(),
            scope: scope.to_owned(),
            state: state.map(State::word),
            since: None,
            cause: None,
            waiver: waiver.map(|w| format!("{} until {}: {} ({})", w.id, w.until, w.reason, w.owner)),
            observations: held
                .iter()
                .map(|o| ObservationLine {
                    collector: o.collector.to_owned(),
                    check: o.check.to_owned(),
                    verdict: o.verdict,
                    suppressed: o.suppressed,
                    evidence_at: o.at.to_string(),
                    runs_out: o.expires.to_string(),
                    evidence: Vec::new(),
                })
                .collect(),
        });
    }
    // What fails stands first.
    found.sort_by(|a, b| {
        (a.state != Some("non_compliant"), &a.scope, &a.resource).cmp(&(b.state != Some("non_compliant"), &b.scope, &b.resource))
    });
    let more = found.len().saturating_sub(args.limit);
    found.truncate(args.limit);
    let has_ratio = rule.is_some_and(|r| book.rules().has_ratio(r));
    let scopes = scopes
        .into_iter()
        .map(|(scope, counts)| {
            let ratio = Ratio::of(&counts).filter(|_| has_ratio);
            ScopeLine {
                scope: scope.to_owned(),
                compliant: counts[State::Compliant],
                non_compliant: counts[State::NonCompliant],
                unknown: counts[State::Unknown],
                waived: counts[State::Waived],
                ratio: ratio.and_then(|r| r.value),
                lower: ratio.map(|r| r.lower),
                upper: ratio.map(|r| r.upper),
                coverage: Ratio::coverage(&counts),
            }
        })
        .collect();
    (scopes, found, more)
}

/// Adds what only the ledger's history knows: since when, and from which documents.
fn annotate(line: &mut ResourceLine, control: &str, reader: &Reader) -> anyhow::Result<()> {
    if let Some(event) = reader.history(control, &line.resource, 1)?.first() {
        line.since = Some(event.at.to_string());
        line.cause = Some(event.cause.word());
    }
    for o in &mut line.observations {
        if let Some((run, evidence)) = reader.last_evidence_for(&o.collector)? {
            o.evidence = evidence.into_iter().map(|e| EvidenceLine { record: run.record, name: e.name, sha256: e.sha256 }).collect();
        }
    }
    Ok(())
}

fn text(out: &mut impl Write, e: &Explanation) -> std::io::Result<()> {
    writeln!(out, "{}: {}", e.control, e.title)?;
    writeln!(out, "  {} {}, {} {} control, owner {}", e.set, e.version, e.severity, e.nature, e.owner)?;
    if !e.requirements.is_empty() {
        writeln!(out, "  required by: {}", e.requirements.join(", "))?;
    }
    for (what, said) in [("why", &e.rationale), ("fix", &e.remediation), ("training", &e.training)] {
        if !said.is_empty() {
            writeln!(out, "  {what}: {}", said.trim().replace('\n', "\n    "))?;
        }
    }
    if let Some(d) = &e.fix_within {
        writeln!(out, "  to be fixed within {d}")?;
    }
    writeln!(out)?;
    if e.scopes.is_empty() {
        writeln!(out, "no resource was ever observed for it: no ratio")?;
    }
    for s in &e.scopes {
        let percent = |r: f64| format!("{:.2} %", (r * 10_000.0).floor() / 100.0);
        let ratio = match (s.ratio, s.lower, s.upper) {
            (Some(r), Some(l), Some(u)) => format!("{} (between {} and {})", percent(r), percent(l), percent(u)),
            (None, Some(l), Some(u)) => format!("no ratio (between {} and {})", percent(l), percent(u)),
            _ => "no ratio".to_owned(),
        };
        let coverage = s.coverage.map_or_else(|| "nothing in scope".to_owned(), |c| format!("coverage {}", percent(c)));
        writeln!(
            out,
            "{}: {ratio}, {coverage}: {} comply, {} fail, {} unknown, {} waived",
            s.scope, s.compliant, s.non_compliant, s.unknown, s.waived
        )?;
    }
    for r in &e.resources {
        let state = r.state.unwrap_or("outside the population");
        let since = r.since.as_ref().map(|s| format!(" since {s}")).unwrap_or_default();
        let cause = r.cause.map(|c| format!(" (cause: {c})")).unwrap_or_default();
        writeln!(out, "\n{}\n  {state}{since}{cause}, scope {}", r.resource, r.scope)?;
        if let Some(w) = &r.waiver {
            writeln!(out, "  waiver {w}")?;
        }
        for o in &r.observations {
            let suppressed = if o.suppressed { ", suppressed by the source" } else { "" };
            writeln!(
                out,
                "  {} says {} by {}{suppressed}: evidence of {}, runs out {}",
                o.collector, o.verdict, o.check, o.evidence_at, o.runs_out
            )?;
            for d in o.evidence.iter().take(3) {
                writeln!(out, "      record {}: {} sha256:{}", d.record, d.name, d.sha256)?;
            }
        }
    }
    if e.more > 0 {
        writeln!(out, "\n… and {} more; raise --limit, or name one with --resource", e.more)?;
    }
    Ok(())
}
