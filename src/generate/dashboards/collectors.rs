//! Whether we see: collectors, the evidence they bring, and the exporter itself. A number that looks good because nobody
//! looked is found here.

use super::common::{self, AGE, COVERAGE, FEW, LATE, NEVER, NONE, PLAIN};
use super::model::{Color, Column, Dashboard, Mapping, Panel, Row, Unit};
use super::query::{self, M, View, once, ratio, sel, sum, variable};
use crate::exposition::names::label::{COLLECTOR, CONTROL, OUTCOME, SCOPE, STATE};
use crate::exposition::names::{self, Metric};
use crate::generate::Options;
use serde_json::json;

const VIEW: View = View::Estate;

pub(super) fn dashboard(options: &Options) -> Dashboard {
    Dashboard {
        name: "collectors",
        title: "Compliance: collectors and evidence",
        description: "Whether scanners are heard, what they said, how old the evidence is, how the exporter is.",
        from: "now-24h",
        refresh: "1m",
        variables: vec![
            common::datasource(),
            common::collectors(),
            common::owners(),
            common::frameworks(),
            common::scopes(&[]),
            common::page(options),
        ],
        annotations: Vec::new(),
        links: vec![common::page_link("bornright", "/")],
        rows: vec![standing(), collectors(), runs(), evidence(), exporter()],
    }
}

fn of(metric: &Metric, conditions: &[M<'_>]) -> String {
    sel(metric, &[&[M::Var(COLLECTOR, variable::COLLECTOR)], conditions].concat())
}

fn each(metric: &Metric) -> String {
    once(&[COLLECTOR], &of(metric, &[]))
}

/// Seconds since the last complete run.
fn since_complete_known() -> String {
    format!("time() - {}", each(&names::COLLECTOR_LAST_SUCCESS))
}

/// The same, and 1e12 for a collector that never had one.
fn since_complete() -> String {
    format!("{} or {} * 0 + 1e12", since_complete_known(), each(&names::COLLECTOR_SCAN_INTERVAL))
}

/// How much a counter rose over a range, by its labels.
fn rise(metric: &Metric, by: &[&str], range: &str) -> String {
    let now = once(by, &of(metric, &[]));
    let before = once(by, &format!("{} offset {range}", of(metric, &[])));
    format!("clamp_min({now} - ({before} or min_over_time({now}[{range}:10m]) or {now}), 0)")
}

fn standing() -> Row {
    Row {
        title: "",
        panels: vec![
            Panel::stat("Collectors", 6, 4)
                .about("Those whose last run brought something usable, and those whose last run did not.")
                .query("usable", sum(&[], &each(&names::COLLECTOR_UP)))
                .query("failed", sum(&[], &format!("{} == bool 0", each(&names::COLLECTOR_UP))))
                .decimals(0)
                .steps(PLAIN)
                .stepped("failed", NONE),
            Panel::stat("Since the last ingestion", 4, 4)
                .about("In units of how often one is due. From 2 on the exporter is up and blind, and the alert ComplianceIngestStalled speaks.")
                .query("", format!("(time() - {}) / {}", once(&[], names::LAST_INGEST.name), once(&[], names::INGEST_INTERVAL.name)))
                .unit(Unit::Burn)
                .decimals(2)
                .steps(LATE)
                .no_value("never"),
            Panel::stat("Fresh evidence", 4, 4)
                .about("Of the pairs of control and scope chosen, the share whose newest evidence is not too old.")
                .query("", ratio(&format!("sum(({}) < bool 1)", view(&common::evidence_age(VIEW))), &format!("count({})", view(&common::evidence_age(VIEW)))))
                .unit(Unit::Ratio)
                .decimals(1)
                .steps(COVERAGE),
            Panel::stat("Configuration", 4, 4)
                .about("Whether it was last read without a fault. After a fault the one before stays in force.")
                .query("", format!("min({})", names::CONFIG_LAST_RELOAD.name))
                .unit(Unit::Word)
                .steps(PLAIN)
                .map(&[Mapping::Is(0.0, "faulty", Color::Bad), Mapping::Is(1.0, "sound", Color::Good)]),
            Panel::stat("Folded pairs", 3, 4)
                .about("Pairs of control and scope beyond series_limit: counted, but under the scope __other__.")
                .query("", once(&[], names::FOLDED_SERIES.name))
                .decimals(0)
                .steps(FEW),
            Panel::stat("Data", 3, 4)
                .about("The demonstration's data say nothing about your systems.")
                .query("", once(&[], names::DEMO.name))
                .unit(Unit::Word)
                .steps(PLAIN)
                .map(&[Mapping::Is(0.0, "real", Color::Plain), Mapping::Is(1.0, "demo", Color::Warn)]),
        ],
    }
}

fn collectors() -> Row {
    Row {
        title: "Collectors",
        panels: vec![
            Panel::table(
                "Collectors now",
                24,
                10,
                vec![
                    Column::label(COLLECTOR, "Collector"),
                    Column::value("Last run", Unit::Word)
                        .width(90)
                        .steps(PLAIN)
                        .map(&[Mapping::Is(0.0, "failed", Color::Bad), Mapping::Is(1.0, "usable", Color::Good)]),
                    Column::value("Ran", Unit::Seconds).decimals(1).width(110),
                    Column::value("Complete", Unit::Seconds).decimals(1).width(110).steps(PLAIN).map(NEVER),
                    Column::value("Due every", Unit::Seconds).decimals(0).width(110),
                    Column::value("Overdue", Unit::Burn).decimals(2).width(110).steps(LATE).map(NEVER),
                    Column::value("Took", Unit::Seconds).decimals(2).width(100),
                    Column::value("Findings", Unit::Count).width(100),
                    Column::value("Unmapped", Unit::Count).width(110),
                    Column::value("Problems", Unit::Count).width(110).steps(FEW),
                ],
            )
            .about("Ran, Complete: how long ago a run ended at all, and how long ago one that was complete; a partial run closes nothing. Overdue: time since the last complete run, in units of its interval. Unmapped: findings that no control asks for. Problems: in the time shown.")
            .query("Last run", each(&names::COLLECTOR_UP))
            .query("Ran", format!("time() - {}", each(&names::COLLECTOR_LAST_RUN)))
            .query("Complete", since_complete())
            .query("Due every", each(&names::COLLECTOR_SCAN_INTERVAL))
            .query("Overdue", format!("({}) / {} or {} * 0 + 1e12", since_complete_known(), each(&names::COLLECTOR_SCAN_INTERVAL), each(&names::COLLECTOR_SCAN_INTERVAL)))
            .query("Took", each(&names::COLLECTOR_RUN_DURATION))
            .query("Findings", sum(&[COLLECTOR], &once(&[COLLECTOR, "result"], &of(&names::COLLECTOR_FINDINGS, &[]))))
            .query("Unmapped", each(&names::COLLECTOR_UNMAPPED))
            .query("Problems", sum(&[COLLECTOR], &rise(&names::COLLECTOR_PROBLEMS, &[COLLECTOR, "kind"], "$__range")))
            .option("sortBy", json!([{ "displayName": "Overdue", "desc": true }])),
            Panel::states("Whether the last run brought something usable", 24, 9)
                .about("A collector that has never run has no state.")
                .query("{{collector}}", each(&names::COLLECTOR_UP))
                .map(&[Mapping::Is(0.0, "failed", Color::Bad), Mapping::Is(1.0, "usable", Color::Good)])
                .option("showValue", json!("never")),
        ],
    }
}

fn runs() -> Row {
    let by_step = |metric: &Metric, by: &[&str]| {
        let before = once(by, &format!("{} offset $__interval", of(metric, &[])));
        format!("clamp_min({} - {before}, 0)", once(by, &of(metric, &[])))
    };
    Row {
        title: "Runs",
        panels: vec![
            Panel::lines("Runs by outcome", 8, 8)
                .about("Partial: something could not be read, so nothing is taken for gone.")
                .query("{{outcome}}", sum(&[OUTCOME], &by_step(&names::COLLECTOR_SCANS, &[COLLECTOR, OUTCOME])))
                .barred()
                .custom("stacking", json!({ "mode": "normal", "group": "A" }))
                .at_least_every("1m")
                .colored("complete", Color::Good)
                .colored("partial", Color::Warn)
                .colored("failed", Color::Bad),
            Panel::lines("How long runs take", 8, 8)
                .query("{{collector}}", each(&names::COLLECTOR_RUN_DURATION))
                .about("From the request to the last byte, reading included.")
                .unit(Unit::Seconds)
                .min(0.0),
            Panel::lines("Problems by kind", 8, 8)
                .about("Each costs only itself; the log says which.")
                .query(
                    "{{kind}}",
                    format!(
                        "{} > 0 or {} * 0",
                        sum(&["kind"], &by_step(&names::COLLECTOR_PROBLEMS, &[COLLECTOR, "kind"])),
                        sum(&["kind"], &once(&[COLLECTOR, "kind"], &of(&names::COLLECTOR_PROBLEMS, &[])))
                    ),
                )
                .barred()
                .custom("stacking", json!({ "mode": "normal", "group": "A" }))
                .at_least_every("1m"),
            Panel::lines("Findings of the last run by result", 12, 8)
                .about("The scanner's own results. A fall to nothing is a scanner that stopped looking.")
                .query("{{result}}", sum(&["result"], &once(&[COLLECTOR, "result"], &of(&names::COLLECTOR_FINDINGS, &[]))))
                .decimals(0)
                .min(0.0)
                .stacked()
                .colored("pass", Color::Good)
                .colored("fail", Color::Bad)
                .colored("error", Color::Warn)
                .colored("not_assessed", Color::Unknown)
                .colored("manual", Color::Waived)
                .colored("not_applicable", Color::Plain),
            Panel::bars("Findings that no control asks for", 12, 8)
                .about("Checks without a control: what the scanner knows and nobody has promised.")
                .query("{{collector}}", each(&names::COLLECTOR_UNMAPPED))
                .decimals(0)
                .min(0.0)
                .steps(PLAIN),
        ],
    }
}

fn evidence() -> Row {
    let seconds = |state: &[M<'_>], range: &str| {
        let now = VIEW.chosen(&names::EVIDENCE_SECONDS, state);
        sum(&[SCOPE], &format!("rate({now}[{range}])"))
    };
    let (control, control_url) = common::to_control(true);
    let (page, page_url) = common::to_page();
    let oldest = query::top(15, &view(&common::evidence_age(VIEW)));
    let with = |what: String| format!("{what} and on ({CONTROL}, {SCOPE}) {oldest}");
    Row {
        title: "Evidence",
        panels: vec![
            Panel::table(
                "The oldest evidence",
                14,
                9,
                vec![
                    Column::label(CONTROL, "Control").link(control, control_url).link(page, page_url),
                    Column::label(SCOPE, "Scope"),
                    Column::value("Age", Unit::Seconds).decimals(1).width(110),
                    Column::value("Of what it may be", Unit::Ratio).decimals(0).bar(0.0, 1.5).steps(AGE),
                ],
            )
            .about("The fifteen pairs of control and scope whose newest evidence is nearest to its end, or past it: from 100 % on it is unknown.")
            .query("Age", with(common::age(VIEW, &names::EVIDENCE_LAST_SUCCESS)))
            .query("Of what it may be", oldest.clone())
            .option("sortBy", json!([{ "displayName": "Of what it may be", "desc": true }])),
            Panel::lines("Time with fresh evidence, by scope", 10, 9)
                .about("Of the time of all controls in the scope, the share in which the newest evidence was not too old.")
                .query(
                    "{{scope}}",
                    ratio(&seconds(&[M::Is(STATE, "fresh")], "$__rate_interval"), &seconds(&[], "$__rate_interval")),
                )
                .unit(Unit::Ratio)
                .decimals(0)
                .range(0.0, 1.0),
        ],
    }
}

/// Narrowed to the controls chosen.
fn view(of: &str) -> String {
    format!("{of}{}", VIEW.controls())
}

fn exporter() -> Row {
    let conservation = {
        let row = [CONTROL, SCOPE];
        let integrated = sum(&row, &once(&[CONTROL, SCOPE, STATE], &format!("rate({}[$__rate_interval])", names::RESOURCE_SECONDS.name)));
        let counted = sum(&row, &once(&[CONTROL, SCOPE, STATE], &format!("avg_over_time({}[$__rate_interval])", names::RESOURCES.name)));
        format!("max(abs({integrated} / ({counted} > 0) - 1))")
    };
    let quantile =
        |q: &str| format!("histogram_quantile({q}, sum by (le) (rate({}_bucket[$__rate_interval])))", names::RENDER_DURATION.name);
    Row {
        title: "The exporter",
        panels: vec![
            Panel::lines("Time to render a scrape", 8, 7)
                .about("Half of the scrapes, and all but one in twenty, took at most so long.")
                .query("half", quantile("0.5"))
                .query("95 %", quantile("0.95"))
                .unit(Unit::Seconds)
                .min(0.0),
            Panel::lines("Requests by status", 8, 7)
                .about("Requests answered, by status code.")
                .query("{{code}}", format!("sum by (code) (rate({}[$__rate_interval]))", names::HTTP_REQUESTS.name))
                .unit(Unit::PerSecond)
                .min(0.0),
            Panel::lines("Self-check of the integration", 8, 7)
                .about("Resource-seconds per second must equal resources: how far the worst pair of control and scope is from that. Steps of the population between two scrapes show for a moment; the alert ComplianceCounterConservation waits for half an hour of it.")
                .query("largest deviation", conservation)
                .unit(Unit::Ratio)
                .min(0.0),
        ],
    }
}
