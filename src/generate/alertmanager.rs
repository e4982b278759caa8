//! A configuration of Alertmanager: who gets what, together with what, and what silences what.
//!
//! Receivers are placeholders: they send to a webhook, one path for each owner and urgency. No secret is written; one that
//! a receiver needs comes from a file that Alertmanager reads.

use super::yaml::{Yaml, document, map};
use super::{Artefact, Input, MARK};
use crate::exposition::names::{alert, label, recorded};
use crate::slo::CompositeMode;
use std::collections::{BTreeMap, BTreeSet};

/// What an urgency is called in a receiver's name, and how often it is repeated.
const URGENCIES: [(&str, &str, &str); 3] = [("critical", "page", "4h"), ("warning", "ticket", "3d"), ("info", "report", "1w")];

pub(super) fn artefact(input: &Input) -> Artefact {
    let owners: BTreeSet<&str> = input
        .objectives
        .iter()
        .map(|o| o.slo.owner.as_str())
        .chain(input.controls.iter().map(|c| c.owner.as_str()))
        .filter(|o| !o.is_empty())
        .collect();
    let names = names(&owners);
    let list = |items: Vec<String>| Yaml::from(items.into_iter().map(Yaml::from).collect::<Vec<_>>());
    let one = |matcher: String| list(vec![matcher]);
    let urgencies = |who: &str| -> Yaml {
        URGENCIES
            .iter()
            .map(|(severity, what, repeat)| {
                map([
                    ("matchers", one(matcher(label::SEVERITY, "=", severity))),
                    ("receiver", receiver(who, what).into()),
                    ("repeat_interval", (*repeat).into()),
                ])
            })
            .collect::<Vec<_>>()
            .into()
    };
    let mut by_owner: Vec<Yaml> = names
        .iter()
        .map(|(owner, name)| {
            map([
                ("matchers", one(matcher(recorded::OWNER, "=", owner))),
                ("receiver", receiver(name, "ticket").into()),
                ("routes", urgencies(name)),
            ])
        })
        .collect();
    if let Yaml::List(rest) = urgencies(NOBODY) {
        by_owner.extend(rest);
    }
    let ours = map([
        ("matchers", one(matcher("alertname", "=~", "Compliance.*"))),
        ("receiver", receiver(NOBODY, "ticket").into()),
        ("group_by", list(vec![recorded::SLOTH_ID.to_owned()])),
        ("group_wait", "30s".into()),
        ("group_interval", "5m".into()),
        ("repeat_interval", "12h".into()),
        ("routes", by_owner.into()),
    ]);
    let route = map([
        ("receiver", "default".into()),
        (
            "routes",
            vec![Yaml::Noted(vec!["One notification for each SLO, not for each of its controls and windows.".to_owned()], Box::new(ours))]
                .into(),
        ),
    ]);
    let receivers: Vec<Yaml> = std::iter::once(map([("name", "default".into())]))
        .chain(names.values().map(String::as_str).chain([NOBODY]).flat_map(|who| {
            URGENCIES.iter().map(move |(_, what, _)| {
                let hook = match input.options.webhook_url_dir.as_str() {
                    "" => ("url", format!("{}/{who}/{what}", input.options.webhook_url)),
                    dir => ("url_file", format!("{dir}/{who}-{what}")),
                };
                let hook = map([(hook.0, hook.1.into()), ("send_resolved", true.into())]);
                map([("name", receiver(who, what).into()), ("webhook_configs", vec![hook].into())])
            })
        }))
        .collect();
    let comment = [
        format!("{MARK} alerts; do not edit."),
        "Receivers are placeholders. Give `--webhook-url URL` for your own, `--webhook-url-dir DIR` to have each URL in a file of its"
            .to_owned(),
        "own (Alertmanager 0.26 and later), or copy routes and inhibition into your configuration and name your receivers there."
            .to_owned(),
    ];
    let whole = map([("route", route), ("receivers", receivers.into()), ("inhibit_rules", inhibition(input))]);
    Artefact { path: "alerts/alertmanager.yml".to_owned(), text: document(&comment, &whole) }
}

/// Receivers of what nobody owns.
const NOBODY: &str = "anybody";

fn receiver(who: &str, what: &str) -> String {
    format!("compliance-{who}-{what}")
}

/// A name for each owner that can stand in a URL; of owners that would share one, all but the first get a number.
fn names<'a>(owners: &BTreeSet<&'a str>) -> BTreeMap<&'a str, String> {
    let mut taken = BTreeSet::from([NOBODY.to_owned()]);
    let mut out = BTreeMap::new();
    for owner in owners {
        let plain: String = owner.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
        let mut name = plain.clone();
        for n in 2.. {
            if taken.insert(name.clone()) {
                break;
            }
            name = format!("{plain}-{n}");
        }
        out.insert(*owner, name);
    }
    out
}

/// A matcher as Alertmanager reads it, which quotes as Go does.
fn matcher(label: &str, sign: &str, value: &str) -> String {
    format!("{label}{sign}\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

fn inhibition(input: &Input) -> Yaml {
    let rule = |why: &str, source: Vec<String>, target: Vec<String>, equal: &[&str]| {
        let list = |items: Vec<String>| Yaml::from(items.into_iter().map(Yaml::from).collect::<Vec<_>>());
        let mut out = vec![("source_matchers", list(source)), ("target_matchers", list(target))];
        if !equal.is_empty() {
            out.push(("equal", list(equal.iter().map(|e| (*e).to_owned()).collect())));
        }
        Yaml::Noted(vec![why.to_owned()], Box::new(map(out)))
    };
    let page = || matcher(recorded::SLOTH_SEVERITY, "=", "page");
    let any = |names: &[&str]| matcher("alertname", "=~", &names.join("|"));
    let mut rules = vec![
        rule(
            "A page silences the ticket and the report of the same SLO.",
            vec![page()],
            vec![matcher(recorded::SLOTH_SEVERITY, "=~", "ticket|info")],
            &[recorded::SLOTH_ID],
        ),
        rule(
            "Exporter down or blind: one alert instead of one for each SLO and control.",
            vec![any(&[alert::EXPORTER_DOWN, alert::INGEST_STALLED])],
            vec![any(&[alert::NO_DATA, alert::EVIDENCE_STALE, alert::CONSERVATION])],
            &[],
        ),
    ];
    for objective in &input.objectives {
        let Some(composite) = &objective.slo.composite else { continue };
        // A joint counter burns for reasons that no member shows.
        if matches!(composite.mode, CompositeMode::Joint) {
            continue;
        }
        let members: Vec<String> = composite.members.iter().map(|m| super::promql::escape_regex(&m.slo)).collect();
        rules.push(rule(
            &format!("A member that pages silences the page of {}.", objective.slo.id()),
            vec![page(), matcher(recorded::SLOTH_ID, "=~", &members.join("|"))],
            vec![page(), matcher(recorded::SLOTH_ID, "=", &objective.slo.id())],
            &[],
        ));
    }
    rules.into()
}
