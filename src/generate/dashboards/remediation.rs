//! What is open, since when, how long fixes take, and what made it so.

use super::common::{self, NONE, PLAIN};
use super::model::{Color, Column, Dashboard, Panel, Row, Unit};
use super::query::{self, M, View, aggregate, once, ratio, sum};
use crate::domain::State;
use crate::exposition::names;
use crate::exposition::names::label::{CONTROL, OUTCOME, SCOPE, SEVERITY, STATE};
use crate::generate::Options;
use serde_json::json;

const VIEW: View = View::Severities;

pub(super) fn dashboard(options: &Options) -> Dashboard {
    Dashboard {
        name: "remediation",
        title: "Compliance: remediation",
        description: "Open violations, deadlines, time to fix, drift and its causes.",
        from: "now-7d",
        refresh: "1m",
        variables: vec![
            common::datasource(),
            common::frameworks(),
            common::owners(),
            common::severities(),
            common::scopes(&[]),
            common::page(options),
        ],
        annotations: common::annotations(VIEW),
        links: vec![common::page_link("bornright", "/")],
        rows: vec![standing(), open(), time(), change()],
    }
}

fn deadlines(outcome: Option<&str>, by: &[&str], range: &str) -> String {
    let conditions: Vec<M<'_>> = outcome.map(|o| M::Is(OUTCOME, o)).into_iter().collect();
    sum(by, &query::rise(VIEW, &names::REMEDIATION_DEADLINES, &conditions, &query::DEADLINE, range))
}

fn met(outcome: Option<&str>) -> String {
    let conditions: Vec<M<'_>> = outcome.map(|o| M::Is(OUTCOME, o)).into_iter().collect();
    sum(&[], &query::rise_or_all(VIEW, &names::REMEDIATION_DEADLINES, &conditions, &query::DEADLINE, "$__range"))
}

fn standing() -> Row {
    let oldest = format!("time() - min({})", VIEW.rows(&names::OLDEST_VIOLATION, &[], &[CONTROL, SCOPE]));
    Row {
        title: "",
        panels: vec![
            Panel::stat("Open violations", 5, 4)
                .about("Pairs of control and resource in violation now, and those past the deadline of their fix.")
                .query("open", VIEW.resources(&[State::NonCompliant], &[]))
                .query("overdue", sum(&[], &VIEW.rows(&names::VIOLATIONS_OVERDUE, &[], &query::VIOLATION)))
                .decimals(0)
                .steps(PLAIN)
                .stepped("overdue", NONE),
            Panel::stat("The oldest is open for", 4, 4)
                .about("Since its detection.")
                .query("", oldest)
                .unit(Unit::Seconds)
                .decimals(1)
                .steps(PLAIN)
                .no_value("none is open"),
            Panel::stat("Deadlines in the time shown", 5, 4)
                .about("Fixed in time; and missed, which counts at the instant of the deadline even if it is fixed later.")
                .query("met", deadlines(Some("met"), &[], "$__range"))
                .query("missed", deadlines(Some("missed"), &[], "$__range"))
                .decimals(0)
                .steps(PLAIN)
                .stepped("missed", NONE),
            Panel::stat("Fixed in time", 3, 4)
                .about("Deadlines met, of all deadlines that came. Where Prometheus knows less than the time shown: of all that is on record.")
                .query("", ratio(&met(Some("met")), &met(None)))
                .unit(Unit::Ratio)
                .decimals(1)
                .steps(PLAIN)
                .no_value("no deadline in this time"),
            Panel::stat("Mean time to fix", 7, 4)
                .about("Of the fixed: the mean of violations that were fixed in the time shown; those still open are not in it. With the open: time in violation divided by fixes, which counts what is open, too, and is the honest one. Where Prometheus knows less than the time shown: of all that is on record.")
                .query("with the open", exposure(&[]))
                .query("of the fixed", closed(&[]))
                .unit(Unit::Seconds)
                .decimals(1)
                .steps(PLAIN)
                .no_value("no fix in this time"),
        ],
    }
}

/// Time in violation over fixes (Little's law): what is still open counts.
fn exposure(by: &[&str]) -> String {
    let violated = query::rise_or_all(VIEW, &names::RESOURCE_SECONDS, &[M::Is(STATE, "non_compliant")], &[CONTROL, SCOPE], "$__range");
    let fixed = query::rise_or_all(VIEW, &names::REMEDIATIONS, &[], &query::VIOLATION, "$__range");
    ratio(&sum(by, &violated), &sum(by, &fixed))
}

/// The mean duration of episodes that were fixed.
fn closed(by: &[&str]) -> String {
    let of = |suffix: &str| {
        let name = format!("{}_{suffix}{{{SEVERITY}=~\"${SEVERITY}\"}}", names::REMEDIATION_DURATION.name);
        let now = once(&[SEVERITY], &name);
        let before = once(&[SEVERITY], &format!("{name} offset $__range"));
        sum(by, &format!("clamp_min({now} - ({before} or {now} * 0), 0)"))
    };
    ratio(&of("sum"), &of("count"))
}

fn open() -> Row {
    let (control, control_url) = common::to_control(true);
    let (page, page_url) = common::to_page();
    let rows = VIEW.rows(&names::RESOURCES, &[M::Is(STATE, "non_compliant")], &[CONTROL, SCOPE]);
    let worst = query::top(50, &format!("({rows}) > 0"));
    let of = |what: String| format!("{what} and on ({CONTROL}, {SCOPE}) {worst}");
    let overdue = sum(&[CONTROL, SCOPE], &VIEW.rows(&names::VIOLATIONS_OVERDUE, &[], &query::VIOLATION));
    Row {
        title: "Open",
        panels: vec![
            Panel::table(
                "What to fix",
                16,
                12,
                vec![
                    Column::label(CONTROL, "Control").link(page, page_url).link(control, control_url),
                    Column::label(SCOPE, "Scope"),
                    Column::label(SEVERITY, "Severity").width(90),
                    Column::label("owner", "Owner").width(130),
                    Column::value("Open", Unit::Count).width(80),
                    Column::value("Overdue", Unit::Count).width(90).steps(NONE),
                    Column::value("Oldest", Unit::Seconds).decimals(1).width(110),
                ],
            )
            .about("The fifty pairs of control and scope with the most open violations. A control's link leads to its page: why it is required, how to fix it, what to learn.")
            .query("Open", query::or_none(&with_info(&worst), CONTROL, &rows))
            .query("Overdue", with_info(&of(overdue)))
            .query("Oldest", with_info(&of(common::age(VIEW, &names::OLDEST_VIOLATION))))
            .option("sortBy", json!([{ "displayName": "Overdue", "desc": true }, { "displayName": "Open", "desc": true }])),
            Panel::bars("Open violations by severity", 8, 6)
                .about("By the severity of the control as it is now.")
                .query("{{severity}}", sum(&[SEVERITY], &with_info(&rows)))
                .decimals(0)
                .min(0.0)
                .steps(PLAIN),
            Panel::bars("Open violations by owner", 8, 6)
                .about("By whoever answers for the control.")
                .query("{{owner}}", sum(&["owner"], &with_info(&rows)))
                .decimals(0)
                .min(0.0)
                .steps(PLAIN),
            common::by_severity(Panel::lines("Open violations over time", 12, 8))
                .about("By severity of the control.")
                .query("{{severity}}", sum(&[SEVERITY], &with_info(&rows)))
                .decimals(0)
                .min(0.0)
                .stacked(),
            common::by_severity(Panel::lines("Past their deadline", 12, 8))
                .custom("axisSoftMax", json!(1))
                .about("Open violations past the deadline of their fix, by the severity at detection.")
                .query("{{severity}}", sum(&[SEVERITY], &VIEW.rows(&names::VIOLATIONS_OVERDUE, &[], &query::VIOLATION)))
                .decimals(0)
                .min(0.0)
                .stacked(),
        ],
    }
}

/// With the severity and the owner of the control.
fn with_info(rows: &str) -> String {
    format!(
        "({rows}) * on ({CONTROL}) group_left ({SEVERITY}, owner) {}",
        aggregate("group", &[CONTROL, SEVERITY, "owner"], names::CONTROL_INFO.name)
    )
}

fn time() -> Row {
    let quantile = |q: &str| {
        format!(
            "histogram_quantile({q}, max by (le, {SEVERITY}) ({}_bucket{{{SEVERITY}=~\"${SEVERITY}\"}})) > 0",
            names::REMEDIATION_DURATION.name
        )
    };
    let (control, control_url) = common::to_control(false);
    let (page, page_url) = common::to_page();
    Row {
        title: "Time to fix",
        panels: vec![
            Panel::table(
                "Slowest controls of the time shown",
                12,
                9,
                vec![
                    Column::label(CONTROL, "Control").link(control, control_url).link(page, page_url),
                    Column::value("Time to fix", Unit::Seconds).decimals(1).width(140),
                    Column::value("Fixed", Unit::Count).width(90),
                    Column::value("Time in violation", Unit::Seconds).decimals(1).width(150),
                ],
            )
            .about("Time in violation, of all resources together, divided by the fixes: open violations count. A control without a fix has no such time, and stands with the time in violation alone. Where Prometheus knows less than the time shown: of all that is on record.")
            .query("Time to fix", exposure(&[CONTROL]))
            .query("Fixed", sum(&[CONTROL], &query::rise_or_all(VIEW, &names::REMEDIATIONS, &[], &query::VIOLATION, "$__range")))
            .query("Time in violation", sum(&[CONTROL], &query::rise_or_all(VIEW, &names::RESOURCE_SECONDS, &[M::Is(STATE, "non_compliant")], &[CONTROL, SCOPE], "$__range")))
            .option("sortBy", json!([{ "displayName": "Time to fix", "desc": true }])),
            Panel::bars("Fixed within", 6, 9)
                .about("Half of all fixes so far, and nine in ten, took at most so long; by severity. Not of the time shown, but of all that is on record.")
                .query("half, {{severity}}", quantile("0.5"))
                .query("nine in ten, {{severity}}", quantile("0.9"))
                .unit(Unit::Seconds)
                .decimals(1)
                .min(0.0)
                .steps(PLAIN)
                .no_value("no fix in this time"),
            Panel::bars("Deadlines met and missed", 6, 9)
                .about("In the time shown, by severity.")
                .query("{{outcome}}, {{severity}}", deadlines(None, &[OUTCOME, SEVERITY], "$__range"))
                .decimals(0)
                .min(0.0)
                .steps(PLAIN),
        ],
    }
}

fn change() -> Row {
    let drift = query::rise_by_step(VIEW, &names::DRIFT, &[], &query::VIOLATION);
    let fixed = query::rise_by_step(VIEW, &names::REMEDIATIONS, &[], &query::VIOLATION);
    let transitions = query::rise_by_step(VIEW, &names::TRANSITIONS, &[], &[CONTROL, SCOPE, "direction", "cause"]);
    Row {
        title: "Drift and fixes",
        panels: vec![
            Panel::lines("Drift and fixes", 12, 8)
                .about("Violations opened by drift (complied, then did not) and ended by a fix, in each step of time.")
                .query("drift", sum(&[], &drift))
                .query("fixed", sum(&[], &fixed))
                .barred()
                .at_least_every("1m")
                .colored("drift", Color::Bad)
                .colored("fixed", Color::Good),
            Panel::lines("Changes of state by cause", 12, 8)
                .about("Drift is what resources did. The rest is what we did, or what ran out: a new version of a control, another rule set of a scanner, a waiver, a mapping, evidence that got too old.")
                .query("{{direction}}, {{cause}}", sum(&["direction", "cause"], &transitions))
                .barred()
                .custom("stacking", json!({ "mode": "normal", "group": "A" }))
                .at_least_every("1m"),
        ],
    }
}
