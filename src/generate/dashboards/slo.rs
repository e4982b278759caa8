//! One SLO: what is promised, what is left, how fast it burns, what fires.

use super::common::{self, BUDGET, BURN, PLAIN, SPENT, SPENT_IN};
use super::model::{Annotation, Color, Column, Dashboard, Mapping, Panel, Row, Unit};
use super::query::{M, objective, once, sel, sum};
use crate::domain::State;
use crate::exposition::names::label::{CONTROL, SCOPE, STATE};
use crate::exposition::names::{self, alert, recorded};
use crate::generate::Options;

/// Windows whose error ratios are drawn: short enough to see an incident, long enough to see the drift.
const WINDOWS: [&str; 5] = ["5m", "1h", "6h", "1d", "3d"];

pub(super) fn dashboard(options: &Options) -> Dashboard {
    Dashboard {
        name: "slo",
        title: "Compliance: SLO",
        description: "One objective: budget, burn rate, forecast, alerts.",
        from: "now-7d",
        refresh: "1m",
        variables: vec![common::datasource(), common::services(), common::slos(false), common::page(options)],
        annotations: vec![Annotation {
            name: "Alert",
            expr: format!("sum by (alertname, sloth_severity) ({})", firing(&[])),
            color: Color::Bad.word(),
            title: "{{alertname}}",
            text: "{{sloth_severity}}",
        }],
        links: vec![common::page_link("bornright", "/")],
        rows: vec![standing(), budget(), burning(), spenders(), alerts(), arithmetic()],
    }
}

/// Prometheus' own series of alerts, of the SLO shown.
fn firing(conditions: &[M<'_>]) -> String {
    sel("ALERTS", &[&[M::Var(objective::ID, "slo"), M::Is("alertstate", "firing")], conditions].concat())
}

fn standing() -> Row {
    let plain = |title, expr, unit, decimals| Panel::stat(title, 3, 4).query("", expr).unit(unit).decimals(decimals).steps(PLAIN);
    Row {
        title: "",
        panels: vec![
            plain("Objective", objective::target(), Unit::Ratio, 2).about("The share that is promised to be good, over the period."),
            plain("Kept in the period", objective::kept(), Unit::Ratio, 2)
                .about("The share that was good over the period. For SLOs about events (deadlines, slices, gate checks), too: short windows without an event say nothing about those."),
            Panel::stat("Budget left now", 7, 4)
                .about("The share of the error budget that is left; below zero it is overspent. While the SLO is younger than its period it warms up: a bad hour is a large part of the time observed, and a small one of the full period.")
                .query("of the time observed", objective::left())
                .query("of the full period", objective::left_of_full_period())
                .unit(Unit::Ratio)
                .decimals(1)
                .steps(BUDGET),
            Panel::stat("Burn rate now", 4, 4)
                .about("At 1 the budget lasts exactly its period; at 10 a tenth of it. Of the shortest window that an alert of this SLO looks at.")
                .query("", objective::burn())
                .unit(Unit::Burn)
                .decimals(2)
                .steps(BURN)
                .no_value("no events"),
            Panel::stat("Budget spent in", 4, 4)
                .about("If everything stays as it is; the exporter's own number also knows which waivers and which evidence will run out.")
                .query("", objective::spent_in())
                .unit(Unit::Seconds)
                .decimals(1)
                .steps(SPENT_IN)
                .map(SPENT),
            plain("Period", objective::noted(recorded::PERIOD_DAYS), Unit::Days, 0)
                .about("Rolling. Recorded by the generated rules.")
                .no_value("rules not loaded"),
        ],
    }
}

fn budget() -> Row {
    Row {
        title: "Budget",
        panels: vec![
            Panel::lines("Budget left over time", 12, 8)
                .about("It falls while something fails, and comes back as old failures leave the period.")
                .query("left", objective::left())
                .unit(Unit::Ratio)
                .decimals(1)
                .steps(BUDGET)
                .step_lines()
                .colored("left", Color::Plain),
            Panel::lines("Kept in the period, and the objective", 12, 8)
                .about("Where the line of what was kept crosses the objective the budget is spent.")
                .query("kept", objective::kept())
                .query("objective", objective::target())
                .unit(Unit::Ratio)
                .decimals(2)
                .colored("kept", Color::Plain)
                .dashed("objective", Color::Bad),
        ],
    }
}

fn burning() -> Row {
    let mut errors = Panel::lines("Error ratio by window, and the budget", 12, 9)
        .about("The share that was bad over the window that ends at each instant. An SLO about events has no short window without one: a gap there is no good news and no bad news.")
        .unit(Unit::Ratio)
        .decimals(2)
        .min(0.0)
        .dashed("budget", Color::Bad);
    let mut burn = Panel::lines("Burn rate by window", 12, 9)
        .about("The error ratio in units of the budget. A page wants 14.4 over an hour or 6 over six hours, a ticket 3 over a day or 1 over three days; slow scans move the windows.")
        .unit(Unit::Burn)
        .decimals(2)
        .min(0.0)
        .steps(&[(None, Color::Good), (Some(1.0), Color::Warn), (Some(6.0), Color::Bad)])
        .step_lines();
    for window in WINDOWS {
        errors = errors.query(window, objective::error(window));
        burn = burn.query(window, format!("({}) / (1 - ({}))", objective::error(window), objective::target()));
    }
    errors = errors.query("period", format!("1 - ({})", objective::kept())).query("budget", format!("1 - ({})", objective::target()));
    burn = burn.query("period", format!("1 - ({})", objective::left()));
    Row { title: "Burn rate", panels: vec![errors, burn] }
}

/// Which controls and scopes fail.
fn spenders() -> Row {
    let covered = format!(" and on ({CONTROL}) {}", sel(&names::SLO_CONTROL_INFO, &[M::Var(objective::SLO, "slo")]));
    let each = |state: State, by: &[&str]| {
        let rows = once(&[CONTROL, SCOPE], &sel(&names::RESOURCES, &[M::Is(STATE, state.word())]));
        sum(by, &format!("{rows}{covered}"))
    };
    let rose = |state: State, by: &[&str]| {
        let rows = sel(&names::RESOURCE_SECONDS, &[M::Is(STATE, state.word())]);
        let (now, before) = (once(&[CONTROL, SCOPE], &rows), once(&[CONTROL, SCOPE], &format!("{rows} offset $__range")));
        sum(by, &format!("clamp_min({now} - ({before} or {now} * 0), 0){covered}"))
    };
    let (control, control_url) = common::to_control(false);
    let (page, page_url) = common::to_page();
    let by = |first: Column, title, labels: &[&str]| {
        Panel::table(
            title,
            12,
            9,
            vec![
                first,
                Column::value("Violate", Unit::Count).width(90),
                Column::value("Unknown", Unit::Count).width(100),
                Column::value("Time in violation", Unit::Seconds).decimals(1).width(150),
                Column::value("Of it", Unit::Ratio).decimals(1).width(150).bar(0.0, 1.0),
            ],
        )
        .query("Violate", each(State::NonCompliant, labels))
        .query("Unknown", each(State::Unknown, labels))
        .query("Time in violation", rose(State::NonCompliant, labels))
        .query("Of it", format!("{} / on () group_left () ({} > 0)", rose(State::NonCompliant, labels), rose(State::NonCompliant, &[])))
        .option("sortBy", serde_json::json!([{ "displayName": "Of it", "desc": true }, { "displayName": "Violate", "desc": true }]))
    };
    Row {
        title: "What spends it",
        panels: vec![
            by(Column::label(CONTROL, "Control").link(control, control_url).link(page, page_url), "By control", &[CONTROL])
                .about("The controls that the SLO covers: resources in violation and unknown now, resource-time in violation in the time shown (or of all that is on record, where Prometheus knows less), and its share of all of it. A composite covers no control by itself."),
            by(Column::label(SCOPE, "Scope"), "By scope", &[SCOPE])
                .about("The same controls by scope. All scopes are shown, also for an SLO that is about some of them."),
        ],
    }
}

fn alerts() -> Row {
    // That rules are loaded is what makes silence mean that nothing fires.
    let or_silent = |of: String| format!("{} or {} * 0", once(&[objective::ID], &of), objective::noted(recorded::OBJECTIVE));
    let severity = |word| firing(&[M::Is("sloth_severity", word)]);
    let no_data = firing(&[M::Is("alertname", alert::NO_DATA)]);
    Row {
        title: "Alerts",
        panels: vec![
            Panel::states("What fired", 24, 6)
                .about("From the generated rules. Without them there is nothing here, and nobody is paged.")
                .query("page", or_silent(severity("page")))
                .query("ticket", or_silent(severity("ticket")))
                .query("budget spent", or_silent(firing(&[M::Is("alertname", alert::EXHAUSTED)])))
                .query("no data", or_silent(no_data))
                .map(&[Mapping::Is(0.0, "quiet", Color::Good), Mapping::Is(1.0, "firing", Color::Bad)])
                .no_value("rules not loaded"),
        ],
    }
}

fn arithmetic() -> Row {
    Row {
        title: "Two ways to count",
        panels: vec![
            Panel::lines("Budget left: the exporter's ledger and the recorded rules", 12, 8)
                .about("The exporter integrates its ledger exactly; rules see what Prometheus scraped and still keeps. They part where Prometheus has less history than the period, and after late evidence.")
                .query("ledger, exact", objective::own(&names::SLO_ERROR_BUDGET_REMAINING, &[]))
                .query("rules", objective::noted(recorded::BUDGET_REMAINING))
                .unit(Unit::Ratio)
                .decimals(2)
                .dashed("rules", Color::Warn)
                .colored("ledger, exact", Color::Plain),
            Panel::table(
                "What rules record of it",
                12,
                8,
                vec![
                    Column::label(objective::ID, "SLO"),
                    Column::label("sloth_service", "Service"),
                    Column::label("sloth_slo", "Name"),
                    Column::label("sloth_objective", "Objective, %"),
                    Column::label("sli_kind", "Kind"),
                    Column::label("sloth_mode", "Mode"),
                ],
            )
            .about("Labels of sloth_slo_info, which public Sloth dashboards read. Kind: held has data in every window, event only where something happened.")
            .query("info", format!("max by ({}, sloth_service, sloth_slo, sloth_objective, sli_kind, sloth_mode) ({})", objective::ID, objective::noted_series(recorded::SLO_INFO)))
            .no_value("rules not loaded"),
        ],
    }
}
