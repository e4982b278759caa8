//! Unit tests for promtool of the rules about everything: each alert fires, keeps silent while all is well, and ends.

use super::promql::{self, Expr, Select, all, number, series};
use super::unit::{HEALTH, Question, test};
use super::yaml::{document, map};
use super::{Artefact, Input, MARK};
use crate::domain::Span;
use crate::exposition::names::{self, Metric, alert, label, recorded};

const fn minutes(n: u64) -> Span {
    Span(n * Span::MINUTE.0)
}

fn fires(name: &str, more: &[(&str, &str)], at: u64, fires: bool) -> Question {
    let mut select: Select = series("ALERTS").with("alertname", name).with("alertstate", "firing");
    for (k, v) in more {
        select = select.with(k, v);
    }
    Question { expr: all("count", select).to_string(), at: minutes(at), value: fires.then_some(1.0) }
}

fn of(metric: &Metric, labels: &[(&str, &str)]) -> String {
    named(metric.name, labels)
}

fn named(name: &str, labels: &[(&str, &str)]) -> String {
    labels.iter().fold(promql::series(name), |s, (k, v)| s.with(k, v)).to_string()
}

pub(super) fn artefact(input: &Input) -> Artefact {
    let job = input.options.job.as_str();
    let row = [(label::CONTROL, "mfa"), (label::SCOPE, "prod")];
    let with = |more: (&'static str, &'static str)| vec![row[0], row[1], more];
    let ids = [(recorded::SLOTH_ID, "s-n"), (recorded::SLOTH_SERVICE, "s"), (recorded::SLOTH_SLO, "n")];
    let info = || {
        // Two replicas of the exporter say the same.
        ["a", "b"].map(|instance| (of(&names::CONTROL_INFO, &[row[0], ("owner", "identity"), ("instance", instance)]), "1x90".to_owned()))
    };
    let states = |rates: [u32; 4]| -> Vec<(String, String)> {
        ["compliant", "non_compliant", "unknown", "waived"]
            .into_iter()
            .zip(rates)
            .map(|(state, n)| (of(&names::RESOURCE_SECONDS, &with((label::STATE, state))), format!("0+{}x90", n * 60)))
            .collect()
    };
    let gauges = |counts: [u32; 4]| -> Vec<(String, String)> {
        ["compliant", "non_compliant", "unknown", "waived"]
            .into_iter()
            .zip(counts)
            .map(|(state, n)| (of(&names::RESOURCES, &with((label::STATE, state))), format!("{n}x90")))
            .collect()
    };
    let up = |values: &str| (named("up", &[("job", job), ("instance", "a")]), values.to_owned());
    let ratio = |expr: Expr, at: u64, value: f64| Question { expr: expr.to_string(), at: minutes(at), value: Some(value) };
    let tests = vec![
        test(
            "the exporter goes down and comes back",
            &[up("1x20 0x30 1x30")],
            &[
                fires(alert::EXPORTER_DOWN, &[], 20, false),
                fires(alert::EXPORTER_DOWN, &[("severity", "critical")], 40, true),
                fires(alert::EXPORTER_DOWN, &[], 70, false),
            ],
        ),
        test(
            "a target of another job is none",
            &[(named("up", &[("job", "another"), ("instance", "a")]), "1x40".to_owned())],
            &[fires(alert::EXPORTER_DOWN, &[], 30, true)],
        ),
        test(
            "ingestion stalls and goes on",
            &[(of(&names::LAST_INGEST, &[]), "0x60 3660+60x30".to_owned()), (of(&names::INGEST_INTERVAL, &[]), "300x90".to_owned())],
            &[
                fires(alert::INGEST_STALLED, &[], 10, false),
                fires(alert::INGEST_STALLED, &[("severity", "critical")], 40, true),
                fires(alert::INGEST_STALLED, &[], 80, false),
            ],
        ),
        test(
            "evidence runs out and comes back; its owner is told, though two replicas speak",
            &[
                (of(&names::EVIDENCE_LAST_SUCCESS, &[row[0], row[1], ("instance", "a")]), "0x60 3660+60x30".to_owned()),
                (of(&names::EVIDENCE_LAST_SUCCESS, &[row[0], row[1], ("instance", "b")]), "0x60 3660+60x30".to_owned()),
                (of(&names::EVIDENCE_MAX_AGE, &[row[0], ("instance", "a")]), "1200x90".to_owned()),
                (of(&names::EVIDENCE_MAX_AGE, &[row[0], ("instance", "b")]), "1200x90".to_owned()),
            ]
            .into_iter()
            .chain(info())
            .collect::<Vec<_>>(),
            &[
                fires(alert::EVIDENCE_STALE, &[], 20, false),
                fires(alert::EVIDENCE_STALE, &[row[0], row[1], ("owner", "identity")], 40, true),
                fires(alert::EVIDENCE_STALE, &[], 80, false),
            ],
        ),
        test(
            "evidence of a control that nobody describes still runs out",
            &[
                (of(&names::EVIDENCE_LAST_SUCCESS, &row), "0x60".to_owned()),
                (of(&names::EVIDENCE_MAX_AGE, &[row[0]]), "1200x60".to_owned()),
            ],
            &[fires(alert::EVIDENCE_STALE, &row, 40, true)],
        ),
        test(
            "counters that agree with the gauges are in order",
            &states([3, 1, 0, 0]).into_iter().chain(gauges([3, 1, 0, 0])).collect::<Vec<_>>(),
            &[fires(alert::CONSERVATION, &[], 80, false)],
        ),
        test(
            "counters that do not are not",
            &states([3, 1, 0, 0]).into_iter().chain(gauges([4, 1, 0, 0])).collect::<Vec<_>>(),
            &[fires(alert::CONSERVATION, &row, 20, false), fires(alert::CONSERVATION, &row, 80, true)],
        ),
        test(
            "a gate lets something through, once",
            &[
                (of(&names::GATE_CHECKS, &[("gate", "g"), ("expected", "deny"), (label::OUTCOME, "deny")]), "0+1x180".to_owned()),
                (of(&names::GATE_CHECKS, &[("gate", "g"), ("expected", "deny"), (label::OUTCOME, "allow")]), "0x60 1x120".to_owned()),
            ],
            &[
                fires(alert::GATE_BYPASSED, &[], 60, false),
                fires(alert::GATE_BYPASSED, &[("gate", "g"), ("severity", "critical")], 70, true),
                fires(alert::GATE_BYPASSED, &[], 150, false),
            ],
        ),
        test(
            "a deadline passes, the violation is fixed; lesser ones wait",
            &[
                (of(&names::VIOLATIONS_OVERDUE, &with((label::SEVERITY, "critical"))), "0x30 2x30 0x30".to_owned()),
                (of(&names::VIOLATIONS_OVERDUE, &with((label::SEVERITY, "low"))), "5x90".to_owned()),
            ]
            .into_iter()
            .chain(info())
            .collect::<Vec<_>>(),
            &[
                fires(alert::REMEDIATION_OVERDUE, &[], 30, false),
                fires(alert::REMEDIATION_OVERDUE, &[row[0], row[1], ("severity", "warning"), ("owner", "identity")], 50, true),
                fires(alert::REMEDIATION_OVERDUE, &[], 80, false),
            ],
        ),
        test(
            "a budget that lasts two days at this rate, of which half is gone",
            &[
                (named(recorded::BUDGET_EXHAUSTION, &ids), "172800x90 1e12x60".to_owned()),
                (named(recorded::PERIOD_BURN_RATE, &ids), "0.5x150".to_owned()),
            ],
            &[
                fires(alert::EXHAUSTION_SOON, &[], 40, false),
                fires(alert::EXHAUSTION_SOON, &ids, 80, true),
                fires(alert::EXHAUSTION_SOON, &[], 120, false),
            ],
        ),
        test(
            "little of the budget is used yet, and none is left",
            &[
                (named(recorded::BUDGET_EXHAUSTION, &ids), "172800x90".to_owned()),
                (named(recorded::PERIOD_BURN_RATE, &ids), "0.2x90".to_owned()),
                (named(recorded::BUDGET_EXHAUSTION, &[(recorded::SLOTH_ID, "gone")]), "0x90".to_owned()),
                (named(recorded::PERIOD_BURN_RATE, &[(recorded::SLOTH_ID, "gone")]), "3x90".to_owned()),
            ],
            &[fires(alert::EXHAUSTION_SOON, &[], 80, false)],
        ),
        test(
            "an SLO of the exporter without rules, with rules for another objective, and with its own",
            &[
                (of(&names::SLO_OBJECTIVE, &[("slo", "none")]), "0.99x40".to_owned()),
                (of(&names::SLO_OBJECTIVE, &[("slo", "other")]), "0.99x40".to_owned()),
                (named(recorded::OBJECTIVE, &[(recorded::SLOTH_ID, "other")]), "0.9x40".to_owned()),
                (of(&names::SLO_OBJECTIVE, &[("slo", "same")]), "0.99x40".to_owned()),
                (named(recorded::OBJECTIVE, &[(recorded::SLOTH_ID, "same")]), "0.99x40".to_owned()),
            ],
            &[
                fires(alert::NOT_RECORDED, &[("slo", "none")], 30, true),
                fires(alert::NOT_RECORDED, &[("slo", "other")], 30, true),
                fires(alert::NOT_RECORDED, &[("slo", "same")], 30, false),
            ],
        ),
        test(
            "an objective without a ratio has no data, unless its SLI counts events",
            &[
                (named(recorded::OBJECTIVE, &ids), "0.99x40".to_owned()),
                (named(recorded::OBJECTIVE, &[(recorded::SLOTH_ID, "e")]), "0.99x40".to_owned()),
                (named(recorded::SLO_INFO, &[(recorded::SLOTH_ID, "e"), (recorded::SLI_KIND, "event")]), "1x40".to_owned()),
                (named(recorded::OBJECTIVE, &[(recorded::SLOTH_ID, "ok")]), "0.99x40".to_owned()),
                (named(&recorded::error_ratio("5m"), &[(recorded::SLOTH_ID, "ok")]), "0x40".to_owned()),
            ],
            &[
                fires(alert::NO_DATA, &ids, 30, true),
                fires(alert::NO_DATA, &[(recorded::SLOTH_ID, "e")], 30, false),
                fires(alert::NO_DATA, &[(recorded::SLOTH_ID, "ok")], 30, false),
            ],
        ),
        test(
            "ten resources fail all the time and six are fixed: an hour and forty minutes of exposure for each",
            &states([0, 10, 0, 0])
                .into_iter()
                .chain([(of(&names::REMEDIATIONS, &with((label::SEVERITY, "high"))), "0+0.1x90".to_owned())])
                .collect::<Vec<_>>(),
            &[ratio(all("max", promql::call_with("round", vec![series(recorded::MTTR_EXPOSURE).into(), number(1.0)])), 60, 6000.0)],
        ),
    ];
    let comment = [format!("{MARK} alerts; do not edit. Run it with: promtool test rules {HEALTH}.test.yaml")];
    let whole = map([
        ("rule_files", vec![format!("../rules/{HEALTH}.rules.yaml").into()].into()),
        ("evaluation_interval", "10m".into()),
        ("tests", tests.into()),
    ]);
    Artefact { path: format!("alerts/tests/{HEALTH}.test.yaml"), text: document(&comment, &whole) }
}
