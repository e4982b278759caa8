//! One control: in which state its resources are and were, by scope, on what evidence, and what moved them.

use super::common::{self, AGE, COVERAGE, FEW, NONE, PLAIN};
use super::model::{Color, Column, Dashboard, Mapping, Panel, Row, Unit};
use super::overview::shares;
use super::query::{self, FRAMEWORK, M, OWNER, Share, View, aggregate, once, sel, sum};
use crate::domain::State;
use crate::exposition::names;
use crate::exposition::names::label::{CONTROL, SCOPE, SEVERITY, STATE};
use crate::generate::Options;
use serde_json::json;

const VIEW: View = View::Control;

pub(super) fn dashboard(options: &Options) -> Dashboard {
    Dashboard {
        name: "control",
        title: "Compliance: control",
        description: "One control: states, bounds, evidence, drift, by scope.",
        from: "now-7d",
        refresh: "1m",
        variables: vec![
            common::datasource(),
            common::owners(),
            common::frameworks(),
            common::control(),
            common::scopes(&[M::Var(CONTROL, query::variable::CONTROL)]),
            common::page(options),
        ],
        annotations: common::annotations(VIEW),
        links: vec![common::page_link("Why, and how to fix it", "/controls/${control}")],
        rows: vec![standing(), history(), by_scope(), evidence(), change()],
    }
}

fn standing() -> Row {
    let info = sel(&names::CONTROL_INFO, &[M::Is(CONTROL, "$control")]);
    Row {
        title: "",
        panels: vec![
            Panel::table(
                "The control",
                24,
                3,
                vec![
                    Column::label("title", "Title"),
                    Column::label(SEVERITY, "Severity").width(110),
                    Column::label(OWNER, "Owner").width(160),
                    Column::label("nature", "Nature").width(120),
                    Column::label("set", "Set").width(220),
                    Column::label("version", "Version").width(100),
                ],
            )
            .about("Why it is required, how to fix it and what to learn: on its page, by the link above.")
            .query("info", aggregate("group", &["title", SEVERITY, OWNER, "nature", "set", "version"], &info)),
            shares("Compliance now", 12, 4, VIEW),
            Panel::stat("Resources", 8, 4)
                .about("By state now; together they are all that is in scope.")
                .query("comply", VIEW.resources(&[State::Compliant], &[]))
                .query("violate", VIEW.resources(&[State::NonCompliant], &[]))
                .query("unknown", VIEW.resources(&[State::Unknown], &[]))
                .query("waived", VIEW.resources(&[State::Waived], &[]))
                .decimals(0)
                .steps(PLAIN)
                .stepped("violate", NONE)
                .stepped("unknown", FEW),
            Panel::stat("Scanners disagree", 4, 4)
                .about("Resources of which two scanners say different things; the worse one counts.")
                .query("", once(&[], &sel(&names::SCANNER_DISAGREEMENTS, &[M::Is(CONTROL, "$control")])))
                .decimals(0)
                .steps(FEW),
        ],
    }
}

fn history() -> Row {
    Row {
        title: "History",
        panels: vec![
            Panel::lines("Resources by state", 12, 8)
                .about("Nothing is folded away: the height is the whole population.")
                .query("waived", VIEW.resources(&[State::Waived], &[]))
                .query("unknown", VIEW.resources(&[State::Unknown], &[]))
                .query("violate", VIEW.resources(&[State::NonCompliant], &[]))
                .query("comply", VIEW.resources(&[State::Compliant], &[]))
                .decimals(0)
                .min(0.0)
                .stacked()
                .colored("comply", Color::Good)
                .colored("violate", Color::Bad)
                .colored("unknown", Color::Unknown)
                .colored("waived", Color::Waived),
            Panel::lines("Compliance, with its bounds", 12, 8)
                .about("The band reaches from “everything unknown fails” to “everything unknown complies”.")
                .query("at least", VIEW.share(Share::Lower, &[]))
                .query("at most", VIEW.share(Share::Upper, &[]))
                .query("comply", VIEW.share(Share::Ratio, &[]))
                .unit(Unit::Ratio)
                .decimals(1)
                .band("at least", "at most")
                .colored("comply", Color::Plain),
        ],
    }
}

fn by_scope() -> Row {
    // The worst state of any resource in the scope. A state without a resource says nothing, so an empty scope has none.
    let worst = |state: State, rank: u8| format!("({} > 0) * 0 + {rank}", VIEW.resources(&[state], &[SCOPE, STATE]));
    let state = format!(
        "max by ({SCOPE}) ({} or {} or {} or {})",
        worst(State::NonCompliant, 3),
        worst(State::Unknown, 2),
        worst(State::Waived, 1),
        worst(State::Compliant, 0)
    );
    Row {
        title: "By scope",
        panels: vec![
            Panel::states("The worst state in each scope", 24, 7)
                .about("Of all resources of the scope the worst: one violation is a violation.")
                .query("{{scope}}", state)
                .map(&[
                    Mapping::Is(0.0, "all comply", Color::Good),
                    Mapping::Is(1.0, "waived", Color::Waived),
                    Mapping::Is(2.0, "unknown", Color::Unknown),
                    Mapping::Is(3.0, "violated", Color::Bad),
                ]),
            Panel::table(
                "Scopes",
                24,
                8,
                vec![
                    Column::label(SCOPE, "Scope"),
                    Column::value("Comply", Unit::Ratio).decimals(1).bar(0.0, 1.0),
                    Column::value("At least", Unit::Ratio).decimals(1).width(90),
                    Column::value("At most", Unit::Ratio).decimals(1).width(90),
                    Column::value("Known", Unit::Ratio).decimals(1).width(90).steps(COVERAGE),
                    Column::value("Violate", Unit::Count).width(90).steps(NONE),
                    Column::value("Overdue", Unit::Count).width(90).steps(NONE),
                    Column::value("Oldest open", Unit::Seconds).decimals(1).width(130),
                    Column::value("Evidence", Unit::Seconds).decimals(1).width(130),
                ],
            )
            .about("Overdue: open past the deadline. Oldest open: age of the oldest open violation. Evidence: age of the newest.")
            .query("Comply", VIEW.share(Share::Ratio, &[SCOPE]))
            .query("At least", VIEW.share(Share::Lower, &[SCOPE]))
            .query("At most", VIEW.share(Share::Upper, &[SCOPE]))
            .query("Known", VIEW.share(Share::Coverage, &[SCOPE]))
            .query("Violate", VIEW.resources(&[State::NonCompliant], &[SCOPE]))
            .query("Overdue", sum(&[SCOPE], &VIEW.rows(&names::VIOLATIONS_OVERDUE, &[], &query::VIOLATION)))
            .query("Oldest open", once(&[SCOPE], &common::age(VIEW, &names::OLDEST_VIOLATION)))
            .query("Evidence", once(&[SCOPE], &common::age(VIEW, &names::EVIDENCE_LAST_SUCCESS)))
            .option("sortBy", json!([{ "displayName": "At least", "desc": false }])),
        ],
    }
}

fn evidence() -> Row {
    Row {
        title: "Evidence",
        panels: vec![
            Panel::lines("Age of the newest evidence, of what it may be", 12, 7)
                .about("From 1 on the evidence is too old, and what it said is unknown.")
                .query("{{scope}}", common::evidence_age(VIEW))
                .unit(Unit::Ratio)
                .decimals(0)
                .min(0.0)
                .steps(AGE)
                .step_lines(),
            Panel::table("Requirements", 12, 7, vec![Column::label(FRAMEWORK, "Framework"), Column::label("requirement", "Requirement")])
                .about("What the control serves.")
                .query(
                    "info",
                    aggregate("group", &[FRAMEWORK, "requirement"], &sel(&names::CONTROL_MAPPING_INFO, &[M::Is(CONTROL, "$control")])),
                )
                .no_value("serves no framework"),
        ],
    }
}

fn change() -> Row {
    let transitions = query::rise_by_step(VIEW, &names::TRANSITIONS, &[], &[CONTROL, SCOPE, "direction", "cause"]);
    let drift = query::rise_by_step(VIEW, &names::DRIFT, &[], &query::VIOLATION);
    let fixed = query::rise_by_step(VIEW, &names::REMEDIATIONS, &[], &query::VIOLATION);
    Row {
        title: "What moved it",
        panels: vec![
            Panel::lines("Drift and fixes", 12, 8)
                .about("Violations opened by drift (complied, then did not) and ended by a fix, in each step of time.")
                .query("drift", sum(&[], &drift))
                .query("fixed", sum(&[], &fixed))
                .barred()
                .colored("drift", Color::Bad)
                .colored("fixed", Color::Good)
                .at_least_every("1m"),
            Panel::lines("Changes of state by cause", 12, 8)
                .about("Not every step of a ratio is somebody's doing: a new version of the control, a new rule set of the scanner, a waiver that ended or evidence that ran out move it too.")
                .query("{{direction}}, {{cause}}", sum(&["direction", "cause"], &transitions))
                .barred()
                .custom("stacking", json!({ "mode": "normal", "group": "A" }))
                .at_least_every("1m"),
        ],
    }
}
