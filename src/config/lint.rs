//! What only shows when configuration and definitions are seen together: checks that nothing can satisfy, ages and
//! deadlines shorter than the scans allow, and the lints of objectives (slo.md sections 5.3 and 6).

use super::definitions::{Places as DefinitionPlaces, violations_only};
use super::errors::{ConfigProblem, Place, ProblemSeverity, nearest};
use super::{CollectorConfig, Config, Definitions, SCAN_INTERVAL, ScanFrom};
use crate::domain::{CheckSelector, Control, Span};
use crate::formats::FormatSpec;
use crate::slo::{Code, Level, Lint, Sli, Slo, Weights, small};
use std::collections::BTreeSet;

/// Lints `definitions` against `config`.
pub(super) fn lint(config: &Config, definitions: &Definitions, places: &DefinitionPlaces) -> Vec<ConfigProblem> {
    let mut out = Vec::new();
    unknown_collectors(config, definitions, places, &mut out);
    unsatisfied(config, definitions, places, &mut out);
    for control in definitions.controls() {
        times(config, control, places, &mut out);
        counts_only_here(config, control, places, &mut out);
    }
    out
}

/// Whether a finding of `collector` can ever match `check`.
pub(super) fn can_satisfy(collector: &CollectorConfig, check: &CheckSelector) -> bool {
    check.collector.as_ref().is_none_or(|c| *c == collector.name)
        && check.format.as_ref().is_none_or(|f| matches!(collector.format, FormatSpec::Auto) || *f == collector.format_name)
}

fn sources<'c>(config: &'c Config, control: &Control) -> Vec<&'c CollectorConfig> {
    config.collectors.iter().filter(|c| control.checks.iter().any(|check| can_satisfy(c, check))).collect()
}

fn warn(out: &mut Vec<ConfigProblem>, code: Option<&'static str>, place: Option<&(String, Place)>, message: String, help: String) {
    problem(out, ProblemSeverity::Warning, code, place, message, help);
}

fn problem(
    out: &mut Vec<ConfigProblem>,
    severity: ProblemSeverity,
    code: Option<&'static str>,
    place: Option<&(String, Place)>,
    message: String,
    help: String,
) {
    let (path, at) = place.cloned().unwrap_or_default();
    out.push(ConfigProblem { severity, code, path, line: at.line, column: at.column, message, help: Some(help).filter(|h| !h.is_empty()) });
}

fn unknown_collectors(config: &Config, definitions: &Definitions, places: &DefinitionPlaces, out: &mut Vec<ConfigProblem>) {
    let names: Vec<&str> = config.collectors.iter().map(|c| c.name.as_str()).collect();
    for control in definitions.controls() {
        let path = places.controls.get(&control.id);
        let checks = places.checks.get(&control.id);
        let selectors =
            control.checks.iter().enumerate().map(|(i, c)| (Some(i), c)).chain(control.population.iter().map(|p| (None, &p.from)));
        for (i, selector) in selectors {
            let Some(name) = selector.collector.as_deref().filter(|n| !names.contains(n)) else { continue };
            let at = i.and_then(|i| checks?.get(i)).copied();
            let place = path.map(|(p, own)| (p.clone(), at.unwrap_or(*own)));
            let help = match nearest(name, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("collectors are {}", names.join(", ")),
            };
            warn(out, None, place.as_ref(), format!("control `{}` names collector `{name}`, which is not configured", control.id), help);
        }
    }
}

/// One warning for a whole set that nothing feeds, else one for each control.
fn unsatisfied(config: &Config, definitions: &Definitions, places: &DefinitionPlaces, out: &mut Vec<ConfigProblem>) {
    let formats: BTreeSet<&str> = config.collectors.iter().map(|c| c.format_name.as_str()).collect();
    let brought = format!("configured collectors bring {}", formats.into_iter().collect::<Vec<_>>().join(", "));
    for set in &definitions.sets {
        let without: Vec<&Control> = set.controls.iter().filter(|c| !c.checks.is_empty() && sources(config, c).is_empty()).collect();
        if without.is_empty() {
            continue;
        }
        if without.len() == set.controls.len() {
            warn(
                out,
                None,
                places.sets.get(&set.name),
                format!("no collector can bring evidence for any control of set `{}`: they will have no ratio", set.name),
                format!("{brought}; add a collector, or leave the set out of `definitions:`"),
            );
            continue;
        }
        for control in without {
            let wanted: BTreeSet<&str> = control.checks.iter().filter_map(|c| c.format.as_deref()).collect();
            let wanted = if wanted.is_empty() {
                String::new()
            } else {
                format!(", its checks want {}", wanted.into_iter().collect::<Vec<_>>().join(", "))
            };
            warn(
                out,
                None,
                places.controls.get(&control.id),
                format!("no collector can bring evidence for control `{}`: it will have no ratio", control.id),
                format!("{brought}{wanted}"),
            );
        }
    }
}

fn times(config: &Config, control: &Control, places: &DefinitionPlaces, out: &mut Vec<ConfigProblem>) {
    let place = places.controls.get(&control.id);
    let Some(slowest) = sources(config, control).into_iter().max_by_key(|c| c.every) else { return };
    let twice = slowest.every.times(2);
    if let Some(max_age) = control.max_age.filter(|m| *m < twice) {
        warn(
            out,
            Some("SLO112"),
            place,
            format!("`max_age` of control `{}` is {max_age}, and collector `{}` runs every {}", control.id, slowest.name, slowest.every),
            format!("let it be at least {twice}, or one late run makes everything unknown"),
        );
    }
    if let Some(deadline) = control.fix_within.filter(|d| *d < twice) {
        warn(
            out,
            Some("SLO112"),
            place,
            format!(
                "`fix_within` of control `{}` is {deadline}, and collector `{}` runs every {}",
                control.id, slowest.name, slowest.every
            ),
            format!("detection and closure are each late by up to {}: let it be at least {twice}, or scan more often", slowest.every),
        );
    }
}

/// A control may mix checks of several formats, of which only those that list violations are configured here.
fn counts_only_here(config: &Config, control: &Control, places: &DefinitionPlaces, out: &mut Vec<ConfigProblem>) {
    if control.population.is_some() || violations_only(&control.checks).is_some() {
        return;
    }
    let reachable: Vec<CheckSelector> =
        control.checks.iter().filter(|check| config.collectors.iter().any(|c| can_satisfy(c, check))).cloned().collect();
    if reachable.is_empty() || config.collectors.iter().any(|c| matches!(c.format, FormatSpec::Auto)) {
        return;
    }
    if let Some(formats) = violations_only(&reachable) {
        warn(
            out,
            None,
            places.controls.get(&control.id),
            format!(
                "control `{}` has counts and no ratio with these collectors: {} {} only violations",
                control.id,
                formats.join(" and "),
                if formats.len() == 1 { "lists" } else { "list" }
            ),
            "add a collector for one of its other checks, or a `population:`".to_owned(),
        );
    }
}

pub(super) fn scan_interval<'c>(
    slo: &Slo,
    definitions: &Definitions,
    collectors: &'c [CollectorConfig],
    members: bool,
) -> Option<(Span, ScanFrom<'c>)> {
    if let Some(said) = slo.scan_interval {
        return Some((said, ScanFrom::Slo));
    }
    if let Some(composite) = slo.composite.as_ref().filter(|_| members) {
        let member = |id: &str| definitions.slos.iter().find(|s| s.id() == id);
        let members = composite.members.iter().filter_map(|m| member(&m.slo));
        let spans: Vec<Option<Span>> = members.map(|m| scan_interval(m, definitions, collectors, false).map(|(t, _)| t)).collect();
        // Of which nothing is known is as slow as is assumed, also beside those of which something is.
        let known = spans.iter().any(Option::is_some);
        return spans.into_iter().map(|t| t.unwrap_or(SCAN_INTERVAL)).max().filter(|_| known).map(|t| (t, ScanFrom::Members));
    }
    let covered: Vec<&Control> = definitions.controls().filter(|c| slo.controls.covers(c)).collect();
    let feeding = collectors.iter().filter(|k| covered.iter().any(|c| c.checks.iter().any(|check| can_satisfy(k, check))));
    feeding.max_by_key(|k| k.every).map(|k| (k.every, ScanFrom::Collector(&k.name)))
}

/// The lints of each objective (slo.md sections 5.3 and 6): problems, and notes on how its alerts were bent to the scans.
pub(super) fn objectives(
    config: Option<&Config>,
    counted: &[(String, String, u64)],
    definitions: &Definitions,
    places: &DefinitionPlaces,
) -> (Vec<ConfigProblem>, Vec<ConfigProblem>) {
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    let prometheus = config.map(|c| c.prometheus).unwrap_or_default();
    let collectors = config.map_or(&[][..], |c| &c.collectors);
    for slo in &definitions.slos {
        let id = slo.id();
        let place = places.slos.get(&id);
        let known = scan_interval(slo, definitions, collectors, true);
        let interval = known.map_or(SCAN_INTERVAL, |(t, _)| t);
        let mut push = |lint: Lint| {
            let severity = match lint.level {
                Level::Error => ProblemSeverity::Error,
                Level::Warning => ProblemSeverity::Warning,
                Level::Info => ProblemSeverity::Info,
            };
            let to = if lint.level == Level::Info { &mut notes } else { &mut out };
            problem(to, severity, Some(lint.code.word()), place, format!("SLO `{id}`: {}", lint.message), lint.help);
        };
        if let Some((every, from)) = known
            && slo.period < every.times(4)
        {
            let who = match from {
                ScanFrom::Slo => "its scans come".to_owned(),
                ScanFrom::Collector(name) => format!("collector `{name}` runs"),
                ScanFrom::Members => "its slowest member is scanned".to_owned(),
            };
            push(Lint {
                code: Code::ShortPeriod,
                level: Level::Error,
                message: format!("its period is {}, and {who} every {every}", slo.period),
                help: format!("a period needs at least four scans: {} or longer, or scan more often", every.times(4)),
            });
        }
        for lint in slo.tiers(interval, prometheus.scrape_interval).notes {
            // Without a word on how often scans come there is nothing to tell about what was bent to them.
            if known.is_some() || lint.level != Level::Info {
                push(lint);
            }
        }
        if let Some(retention) = prometheus.retention.filter(|r| *r < slo.period && !prometheus.period_from_exporter) {
            push(Lint {
                code: Code::Retention,
                level: Level::Error,
                message: format!("its period is {}, and Prometheus keeps {retention}", slo.period),
                help: format!(
                    "let Prometheus keep at least {} (`--storage.tsdb.retention.time`), or say `prometheus: {{ period_source: exporter }}`",
                    slo.period
                ),
            });
        }
        if let Some(n) = population(slo, definitions, counted) {
            quantum(slo, n, interval, &mut push);
        }
        first_failure(slo, &mut push);
    }
    (out, notes)
}

/// How many resources an SLO covers: what it says itself, else what the ledger has counted. `None` if neither knows, or
/// if it does not count resources alike.
fn population(slo: &Slo, definitions: &Definitions, counted: &[(String, String, u64)]) -> Option<u64> {
    if slo.composite.is_some() || !matches!(slo.sli, Sli::ResourceTime | Sli::Coverage) || slo.weights != Weights::Equal {
        return None;
    }
    if slo.expected_resources.is_some() {
        return slo.expected_resources;
    }
    let covered: BTreeSet<&str> = definitions.controls().filter(|c| slo.controls.covers(c)).map(|c| c.id.as_str()).collect();
    let n = counted.iter().filter(|(c, s, _)| covered.contains(c.as_str()) && slo.covers_scope(s)).map(|(_, _, n)| n).sum();
    (n > 0).then_some(n)
}

/// SLO107: what one resource costs that fails for one scan.
fn quantum(slo: &Slo, n: u64, interval: Span, push: &mut impl FnMut(Lint)) {
    let q = small::quantum(n, slo.objective, slo.period, interval);
    if q <= small::LARGEST_QUANTUM {
        return;
    }
    let sensible = match small::largest_objective(n, slo.period, interval) {
        Some(t) => format!("the largest sensible objective is {} %; or ", (t * 1e4).floor() / 100.0),
        None => String::new(),
    };
    push(Lint {
        code: Code::Quantum,
        level: Level::Warning,
        message: format!(
            "one resource that fails for one scan ({interval}) uses {} % of the budget, which is that of {n} resource{}",
            (q * 1000.0).round() / 10.0,
            if n == 1 { "" } else { "s" },
        ),
        help: format!(
            "{sensible}pool scopes or controls, lengthen the period, scan more often, count fixes (`sli: remediation_latency`), or page only on several (`min_bad_resources`)"
        ),
    });
}

/// SLO113: with few events a period, the first bad one is one too many.
fn first_failure(slo: &Slo, push: &mut impl FnMut(Lint)) {
    let events = match slo.sli {
        Sli::TimeSlice { slice, .. } => Some(slo.period.0 / slice.0.max(1)),
        Sli::RemediationLatency | Sli::Gate { .. } => slo.expected_events,
        Sli::ResourceTime | Sli::EvidenceFreshness | Sli::Coverage => None,
    };
    #[expect(clippy::cast_precision_loss, reason = "events of a period are far below 2^53")]
    let Some(events) = events.map(|n| n as f64).filter(|n| n * slo.budget() < 1.0) else { return };
    if slo.composite.is_some() {
        return;
    }
    push(Lint {
        code: Code::FirstFailure,
        level: Level::Warning,
        message: format!("of about {events} events in a period the budget allows less than one bad one: the first uses it up"),
        help: "lower the objective, lengthen the period, or alert on each event".to_owned(),
    });
}
