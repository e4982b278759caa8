//! docs/alerts.md: every alert, why it is there, and what to do.

use super::rules::health;
use super::{Artefact, Input, MARK};
use crate::exposition::names::{alert, recorded};
use std::fmt::Write as _;

/// What people are told about an alert: when it fires, why it is there, what to do.
struct Told {
    name: &'static str,
    severity: &'static str,
    wait: &'static str,
    when: &'static str,
    why: &'static str,
    act: &'static str,
}

const ALERTS: &[Told] = &[
    Told {
        name: alert::BURN,
        severity: "critical (page), warning (ticket)",
        wait: "none",
        when: "the error ratio exceeds a burn rate times the budget over a long and a short window, both",
        why: "at this rate the error budget will not last its period; the long window says that it matters, the short one ends the alert soon after the fix",
        act: "follow the link to the control: its page lists the violations, says why they matter and how to fix them. A violation that cannot be fixed now needs a waiver with an owner and an end",
    },
    Told {
        name: alert::EXHAUSTED,
        severity: "info",
        wait: "15m",
        when: "nothing of the period's error budget is left",
        why: "policy, not a page: whoever agreed to the objective agreed to what happens now",
        act: "let fixes go before other work, or change the objective in the open; the budget comes back as the violations leave the period",
    },
    Told {
        name: alert::EXHAUSTION_SOON,
        severity: "warning",
        wait: "1h",
        when: "more than a quarter of the budget is used, and at the present rate the rest lasts less than three days",
        why: "a slow burn is easier to stop before the budget is gone",
        act: "see which controls and scopes burn; look also for waivers that end soon",
    },
    Told {
        name: alert::NO_DATA,
        severity: "warning",
        wait: "15m",
        when: "an SLO has no error ratio, or one that is not a number; for SLIs that count events: the counters are not there",
        why: "absence of evidence is not compliance, and public dashboards show 100 % for a missing series",
        act: "is anything in scope? Is all of it unknown or waived? Is the exporter scraped? Does the SLO's selector still match?",
    },
    Told {
        name: alert::NOT_RECORDED,
        severity: "warning",
        wait: "15m",
        when: "the exporter keeps account of an SLO for which Prometheus records no objective, or another one",
        why: "definitions were changed, or a new scope appeared, and the rules were not generated again: nobody would be told of a breach",
        act: "run `bornright generate alerts --config …` and load what it writes",
    },
    Told {
        name: alert::EXPORTER_DOWN,
        severity: "critical",
        wait: "5m",
        when: "no target of the exporter's job is up",
        why: "without it no compliance alert says anything",
        act: "start it; look at Prometheus' targets and at the exporter's log",
    },
    Told {
        name: alert::INGEST_STALLED,
        severity: "critical",
        wait: "5m",
        when: "the exporter is up, and nothing was ingested for twice its shortest interval",
        why: "evidence is held until it is too old, so a blind exporter looks healthy",
        act: "look at the collectors on its page: schedule, reachability, permissions",
    },
    Told {
        name: alert::EVIDENCE_STALE,
        severity: "warning",
        wait: "5m",
        when: "the newest evidence of a control in a scope is older than its `max_age`",
        why: "its resources are unknown from that instant on",
        act: "look at the scanner behind it; the control's page says which collector brought the last evidence",
    },
    Told {
        name: alert::CONSERVATION,
        severity: "warning",
        wait: "30m",
        when: "resource-seconds grow by more than 1 % faster or slower than the resources that are shown",
        why: "a check of ourselves: ratios come from the counters, pages from the gauges",
        act: "see whether the population is changing fast or two exporters share an instance; otherwise report a fault",
    },
    Told {
        name: alert::GATE_BYPASSED,
        severity: "critical",
        wait: "none",
        when: "a gate admitted an input that it must deny, once within an hour",
        why: "one is too many, whatever the burn rate",
        act: "the preventive control does not hold: see what changed in the gate, and what was admitted since",
    },
    Told {
        name: alert::REMEDIATION_OVERDUE,
        severity: "warning",
        wait: "none",
        when: "critical or high violations are open past their deadline",
        why: "a deadline that nobody hears of is none",
        act: "fix them, or have a waiver approved",
    },
];

pub(super) fn artefact() -> Artefact {
    let mut out = format!("<!-- {MARK} reference; do not edit. -->\n\n# Alerts\n\n");
    out.push_str(
        "What `bornright generate alerts` writes. docs/alerting.md says how to load it. Alerts of an SLO carry `sloth_id`,\n\
         `sloth_service`, `sloth_slo`, `sloth_severity`, `severity`, `owner` and the SLO's own labels; never a value, a window or a\n\
         resource. Annotations say what is breached, by how much, since when, what is left of the budget and in which scopes, and\n\
         link to the control's page and to the dashboard.\n\n\
         | alert | severity | for | fires when |\n|---|---|---|---|\n",
    );
    for a in ALERTS {
        _ = writeln!(out, "| [`{}`](#{}) | {} | {} | {} |", a.name, a.name.to_lowercase(), a.severity, a.wait, a.when);
    }
    for a in ALERTS {
        _ = write!(out, "\n## {}\n\nFires when {}.\n\nWhy: {}.\n\nWhat to do: {}.\n", a.name, a.when, a.why, a.act);
    }
    out.push_str("\n## Expressions\n\nThose that are the same for every SLO:\n");
    for rule in health(&Input::default()).rules {
        if let Some((name, expr)) = rule.alert() {
            _ = write!(out, "\n`{name}`\n\n```promql\n{expr}\n```\n");
        }
    }
    out.push_str("\n## Recorded series\n\n| series | meaning |\n|---|---|\n");
    for (name, meaning) in [
        ("slo:sli_error:ratio_rate<window>", "error ratio over a window; `sloth_window` names it"),
        ("slo:sli_error_unweighted:ratio_rate<window>", "the same without weights over the period, beside an SLO that has some"),
        (recorded::OBJECTIVE, "the objective"),
        (recorded::ERROR_BUDGET, "the error budget, one less the objective"),
        (recorded::PERIOD_DAYS, "the period in days"),
        (
            recorded::CURRENT_BURN_RATE,
            "error ratio over the shortest alert window, divided by the budget; 1 uses the budget up in exactly its period",
        ),
        (recorded::PERIOD_BURN_RATE, "the same over the period: the share of the budget that is used"),
        (recorded::BUDGET_REMAINING, "the share that is left; negative when overspent"),
        (
            recorded::BUDGET_EXHAUSTION,
            "seconds until the budget is spent at the rate of the last day, or of two scans; 1e12 and more is never",
        ),
        (recorded::SLO_INFO, "1, with the objective in per cent and whether the SLI is held or of events"),
        (recorded::SLO_WEIGHT, "weight of a member in a composite"),
        (recorded::MTTR_EXPOSURE, "resource-seconds in violation for each remediation: mean time to remediate, open violations included"),
        (recorded::RESOURCE_SECONDS_30D, "resource-seconds by state of the last 30 days"),
    ] {
        _ = writeln!(out, "| `{name}` | {meaning} |");
    }
    Artefact { path: "docs/alerts.md".to_owned(), text: out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_alert_is_told() {
        let told: Vec<&str> = ALERTS.iter().map(|a| a.name).collect();
        for name in alert::ALL {
            assert!(told.contains(name), "{name} is not explained");
        }
        assert_eq!(told.len(), alert::ALL.len());
    }
}
