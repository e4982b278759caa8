//! For those who answer for all of it: where we stand, what is promised, how it went for a year, what is owed.

use super::common::{self, BUDGET, COVERAGE, FEW, NONE, PLAIN, SPENT, SPENT_IN};
use super::model::{Color, Column, Dashboard, Panel, Row, Unit};
use super::query::{self, FRAMEWORK, Share, View, objective, once, sum};
use crate::domain::State;
use crate::exposition::names;
use crate::exposition::names::label::{CONTROL, SCOPE, STATE};
use crate::generate::Options;

const VIEW: View = View::Estate;

pub(super) fn dashboard(options: &Options) -> Dashboard {
    Dashboard {
        name: "overview",
        title: "Compliance: overview",
        description: "Posture by framework and scope, error budgets, thirteen months of history, debts.",
        from: "now-7d",
        refresh: "1m",
        variables: vec![
            common::datasource(),
            common::frameworks(),
            common::owners(),
            common::scopes(&[]),
            common::services(),
            common::slos(true),
            common::page(options),
        ],
        annotations: common::annotations(VIEW),
        links: vec![common::page_link("bornright", "/")],
        rows: vec![standing(), objectives(), posture(), trend(), movers(), debts()],
    }
}

fn standing() -> Row {
    Row {
        title: "",
        panels: vec![
            shares("Compliance now", 12, 4, VIEW),
            Panel::stat("Objectives now", 6, 4)
                .about("How many SLOs have error budget left in their period, and how many have spent it. An SLO of which there is no number is in neither.")
                .query("within budget", format!("sum(({}) > bool 0)", objective::left()))
                .query("budget spent", format!("sum(({}) <= bool 0)", objective::left()))
                .decimals(0)
                .steps(PLAIN)
                .stepped("budget spent", NONE),
            Panel::stat("Violations", 6, 4)
                .about("Pairs of control and resource in violation now, and of the violations those that are open past the deadline of their fix.")
                .query("open", VIEW.resources(&[State::NonCompliant], &[]))
                .query("overdue", sum(&[], &VIEW.rows(&names::VIOLATIONS_OVERDUE, &[], &query::VIOLATION)))
                .decimals(0)
                .steps(PLAIN)
                .stepped("overdue", NONE),
        ],
    }
}

/// The ratio with its bounds and its coverage (law 2).
pub(super) fn shares(title: &'static str, width: u32, height: u32, view: View) -> Panel {
    Panel::stat(title, width, height)
        .about("Of the pairs of control and resource chosen above, the share that complies. Nothing unknown is in this verdict: “at least” counts it as failing, “at most” as complying, and “known” says of how many anything is known. Waived failures are in none of the first three.")
        .query("comply", view.share(Share::Ratio, &[]))
        .query("at least", view.share(Share::Lower, &[]))
        .query("at most", view.share(Share::Upper, &[]))
        .query("known", view.share(Share::Coverage, &[]))
        .unit(Unit::Ratio)
        .decimals(1)
        .steps(PLAIN)
        .stepped("known", COVERAGE)
        .no_value("no verdict")
}

fn objectives() -> Row {
    let (slo, slo_url) = common::to_slo();
    let (series, series_url) = common::series_to_slo();
    Row {
        title: "What is promised",
        panels: vec![
            Panel::table(
                "Objectives",
                14,
                9,
                vec![
                    Column::label(objective::ID, "SLO").link(slo, slo_url),
                    Column::value("Objective", Unit::Ratio).width(90),
                    Column::value("Kept", Unit::Ratio).decimals(2).width(90),
                    Column::value("Budget left", Unit::Ratio).decimals(0).width(200).bar(-1.0, 1.0).steps(BUDGET),
                    Column::value("Of full period", Unit::Ratio).decimals(0).width(110).steps(BUDGET),
                    Column::value("Spent in", Unit::Seconds).decimals(1).width(130).steps(SPENT_IN).map(SPENT),
                ],
            )
            .about("Each SLO over its own period. Kept: the share of good resource-time (or episodes, slices, checks). Budget left: below zero it is overspent; it is that of the time observed, and an SLO younger than its period is better read by what is left of the full period, if all stays as it is. Spent in: when the budget will be spent if all stays as it is, with what is known to run out.")
            .query("Objective", objective::target())
            .query("Kept", objective::kept())
            .query("Budget left", objective::left())
            .query("Of full period", objective::left_of_full_period())
            .query("Spent in", objective::spent_in())
            .option("sortBy", serde_json::json!([{ "displayName": "Budget left", "desc": false }])),
            Panel::lines("The ten smallest budgets over time", 10, 9)
                .about("At 0 the budget of the period is spent. It comes back as old failures leave the period.")
                .query("{{sloth_id}}", objective::left_of_the_worst())
                .unit(Unit::Ratio)
                .decimals(0)
                .steps(BUDGET)
                .step_lines()
                .link(series, series_url),
        ],
    }
}

fn posture() -> Row {
    let to_scope = format!("{}&var-scope=${{__data.fields.{SCOPE}}}", common::to("remediation"));
    let shares = |table: Panel, of: &dyn Fn(Share) -> String| {
        table
            .query("Comply", of(Share::Ratio))
            .query("At least", of(Share::Lower))
            .query("At most", of(Share::Upper))
            .query("Known", of(Share::Coverage))
    };
    let columns = |first: Column, counted: &'static str| {
        vec![
            first,
            Column::value(counted, Unit::Count).width(90),
            Column::value("Comply", Unit::Ratio).decimals(1).width(170).bar(0.0, 1.0),
            Column::value("At least", Unit::Ratio).decimals(1).width(85),
            Column::value("At most", Unit::Ratio).decimals(1).width(85),
            Column::value("Known", Unit::Ratio).decimals(1).width(85).steps(COVERAGE),
        ]
    };
    let to_framework = format!("{}&var-framework=${{__data.fields.{FRAMEWORK}}}", common::to("remediation"));
    let of_control = format!("{} * 0 + 1", VIEW.resources(&[], &[CONTROL]));
    let by_framework =
        Panel::table("By framework", 12, 9, columns(Column::label(FRAMEWORK, "Framework").link("What to fix", to_framework), "Controls"))
            .about("A control counts once in each framework that it serves. Controls without any evidence are not counted.")
            .query("Controls", query::by_framework(&of_control));
    let by_scope = Panel::table("By scope", 12, 9, columns(Column::label(SCOPE, "Scope").link("What to fix", to_scope), "Resources"))
        .about("Scopes are accounts, clusters, repositories, hosts: whatever the configuration's scope template builds. Resources: pairs of control and resource.")
        .query("Resources", VIEW.resources(&[], &[SCOPE]));
    let worst_first = serde_json::json!([{ "displayName": "At least", "desc": false }]);
    Row {
        title: "Where we stand",
        panels: vec![
            shares(by_framework, &|s| VIEW.share_by_framework(s)).option("sortBy", worst_first.clone()),
            shares(by_scope, &|s| VIEW.share(s, &[SCOPE])).option("sortBy", worst_first),
        ],
    }
}

/// Thirteen months show each month beside the same one a year ago.
const TREND: &str = "13M";

fn trend() -> Row {
    Row {
        title: "Thirteen months",
        panels: vec![
            Panel::lines("Compliance, with its bounds", 12, 8)
                .about("The band reaches from “everything unknown fails” to “everything unknown complies”. A gap is a time of which nothing is known.")
                .query("at least", VIEW.share(Share::Lower, &[]))
                .query("at most", VIEW.share(Share::Upper, &[]))
                .query("comply", VIEW.share(Share::Ratio, &[]))
                .unit(Unit::Ratio)
                .decimals(1)
                .band("at least", "at most")
                .colored("comply", Color::Plain)
                .last(TREND),
            Panel::lines("At least compliant, by framework", 12, 8)
                .about("The lower bound of each framework: what is unknown counts as failing.")
                .query("{{framework}}", VIEW.share_by_framework(Share::Lower))
                .unit(Unit::Ratio)
                .decimals(1)
                .last(TREND),
        ],
    }
}

fn movers() -> Row {
    let lower = VIEW.rows(&names::RATIO_LOWER, &[], &[CONTROL, SCOPE]);
    let best =
        format!("(max_over_time({}[$__range:$__interval]) or {lower})", once(&[CONTROL, SCOPE], &VIEW.chosen(&names::RATIO_LOWER, &[])));
    let fall = format!("{best} - on ({CONTROL}, {SCOPE}) ({lower})");
    let falls = query::top(10, &format!("{fall} > 0"));
    let of = |what: &str| format!("{what} and on ({CONTROL}, {SCOPE}) {falls}");
    let (control, control_url) = common::to_control(true);
    let (page, page_url) = common::to_page();
    let risen = query::rise(VIEW, &names::DRIFT, &[], &query::VIOLATION, "$__range");
    let fixed = query::rise(VIEW, &names::REMEDIATIONS, &[], &query::VIOLATION, "$__range");
    Row {
        title: "What changed",
        panels: vec![
            Panel::table(
                "Worst movers",
                14,
                9,
                vec![
                    Column::label(CONTROL, "Control").link(control, control_url).link(page, page_url),
                    Column::label(SCOPE, "Scope"),
                    Column::value("Now", Unit::Ratio).decimals(1).width(90),
                    Column::value("Best", Unit::Ratio).decimals(1).width(90),
                    Column::value("Fall", Unit::Ratio).decimals(1).bar(0.0, 1.0).steps(FEW),
                ],
            )
            .about("The ten largest falls from the best moment of the time shown to now. Both are lower bounds, so that a control whose evidence ran out has fallen, too.")
            .query("Now", of(&once(&[CONTROL, SCOPE], &VIEW.chosen(&names::RATIO_LOWER, &[]))))
            .query("Best", of(&best))
            .query("Fall", query::or_none(&falls, CONTROL, &fall))
            .option("sortBy", serde_json::json!([{ "displayName": "Fall", "desc": true }])),
            Panel::bars("Drift and fixes in the time shown", 10, 9)
                .about("Violations opened by drift (complied, then did not) and violations ended by a fix.")
                .query("drift, {{severity}}", sum(&["severity"], &risen))
                .query("fixed, {{severity}}", sum(&["severity"], &fixed))
                .decimals(0)
                .min(0.0)
                .steps(PLAIN),
        ],
    }
}

fn debts() -> Row {
    let waivers = once(&[STATE, "origin"], names::WAIVERS.name);
    Row {
        title: "What is owed",
        panels: vec![
            Panel::stat("Waived now", 4, 7)
                .about("Failing resources that a waiver takes out of the ratio, and their share of all resources.")
                .query("resources", VIEW.resources(&[State::Waived], &[]))
                .query("of all", query::ratio(&VIEW.resources(&[State::Waived], &[]), &VIEW.resources(&[], &[])))
                .decimals(0)
                .steps(PLAIN)
                .measured("of all", Unit::Ratio, 1),
            Panel::bars("Waivers", 6, 7)
                .about("Waivers by state and by origin: our files, or the suppressions of a source that is trusted. Unused ones cover nothing that fails; expired and invalid ones hold nothing back.")
                .query("{{state}}, {{origin}}", format!("sum by ({STATE}, origin) ({waivers})"))
                .decimals(0)
                .min(0.0)
                .steps(PLAIN)
                .stepped("expired, file", FEW)
                .stepped("invalid, file", FEW),
            Panel::table(
                "Waivers that end next",
                7,
                7,
                vec![
                    Column::label("waiver", "Waiver"),
                    Column::value("Ends", Unit::Instant).width(170),
                    Column::value("In", Unit::Seconds).decimals(1).width(110).steps(&[(None, Color::Bad), (Some(0.0), Color::Warn), (Some(14.0 * 86400.0), Color::Good)]),
                ],
            )
            .about("At its end what the waiver covers fails again, at that instant.")
            .query("Ends", format!("bottomk(20, {} > time() - 604800) * 1000", once(&["waiver"], names::WAIVER_EXPIRY.name)))
            .query("In", format!("bottomk(20, {} > time() - 604800) - time()", once(&["waiver"], names::WAIVER_EXPIRY.name)))
            .no_value("no end is known")
            .option("sortBy", serde_json::json!([{ "displayName": "In", "desc": false }])),
            Panel::bars("Budget spent in", 7, 7)
                .about("The ten SLOs whose error budgets will be spent first, if all stays as it is, with waivers and evidence that are known to run out. From 3 days on the alert ComplianceBudgetExhaustionSoon speaks.")
                .query("{{sloth_id}}", format!("bottomk(10, {})", objective::spent_in()))
                .unit(Unit::Seconds)
                .decimals(1)
                .range(0.0, 30.0 * 86400.0)
                .steps(SPENT_IN)
                .map(SPENT),
        ],
    }
}
