//! What only shows when configuration and definitions are seen together: checks that nothing can satisfy, ages and
//! deadlines shorter than the scans allow (slo.md section 5, SLO106, SLO112).

use super::definitions::{Places as DefinitionPlaces, violations_only};
use super::errors::{ConfigProblem, Place, ProblemSeverity, nearest};
use super::{CollectorConfig, Config, Definitions};
use crate::domain::{CheckSelector, Control, Span};
use crate::formats::FormatSpec;
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
    periods(config, definitions, places, &mut out);
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
    out.push(ConfigProblem { severity, code, path, line: at.line, column: at.column, message, help: Some(help) });
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

fn periods(config: &Config, definitions: &Definitions, places: &DefinitionPlaces, out: &mut Vec<ConfigProblem>) {
    for slo in &definitions.slos {
        let id = format!("{}-{}", slo.service, slo.name);
        let covered = definitions.controls().filter(|c| slo.controls.covers(c));
        let slowest: Option<(&CollectorConfig, Span)> =
            covered.flat_map(|c| sources(config, c)).map(|c| (c, c.every)).max_by_key(|(_, every)| *every);
        if let Some((collector, every)) = slowest
            && slo.period < every.times(4)
        {
            problem(
                out,
                ProblemSeverity::Error,
                Some("SLO106"),
                places.slos.get(&id),
                format!("the period of SLO `{id}` is {}, and collector `{}` runs every {every}", slo.period, collector.name),
                format!("a period needs at least four scans: {} or longer, or scan more often", every.times(4)),
            );
        }
    }
}
