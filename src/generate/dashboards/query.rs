//! The queries that dashboards ask, put together from checked names.
//!
//! Three habits run through all of them. Replicas of the exporter serve the same numbers, so series are taken once (`max
//! by`) before they are summed. A ratio divides by what is known to be greater than zero, so that nothing in scope is no
//! number and never 0 % or 100 %. A ratio is made of counts; ratios are never averaged.

use crate::domain::State;
use crate::exposition::names::label::{CONTROL, OUTCOME, SCOPE, SEVERITY, STATE};
use crate::exposition::names::{self, Metric};

/// A condition on a label.
#[derive(Debug, Clone, Copy)]
pub(super) enum M<'a> {
    /// Equal.
    Is(&'a str, &'a str),
    /// One of.
    In(&'a str, &'a [&'a str]),
    /// The dashboard's variable of this name, which may stand for several values.
    Var(&'a str, &'a str),
}

/// Any series: a metric of the exporter, or what a rule records.
pub(super) trait Series {
    fn name(&self) -> &str;
}

impl Series for Metric {
    fn name(&self) -> &str {
        self.name
    }
}

impl Series for str {
    fn name(&self) -> &str {
        self
    }
}

/// `name{conditions}`.
pub(super) fn sel<S: Series + ?Sized>(series: &S, conditions: &[M<'_>]) -> String {
    let conditions: Vec<String> = conditions
        .iter()
        .map(|m| match m {
            M::Is(label, value) => format!("{label}=\"{value}\""),
            M::In(label, values) => format!("{label}=~\"{}\"", values.join("|")),
            M::Var(label, variable) => format!("{label}=~\"${variable}\""),
        })
        .collect();
    if conditions.is_empty() { series.name().to_owned() } else { format!("{}{{{}}}", series.name(), conditions.join(", ")) }
}

/// `sum by (labels) (of)`.
pub(super) fn sum(by: &[&str], of: &str) -> String {
    aggregate("sum", by, of)
}

/// `max by (labels) (of)`: replicas taken once.
pub(super) fn once(by: &[&str], of: &str) -> String {
    aggregate("max", by, of)
}

pub(super) fn aggregate(how: &str, by: &[&str], of: &str) -> String {
    if by.is_empty() { format!("{how}({of})") } else { format!("{how} by ({}) ({of})", by.join(", ")) }
}

/// `part / whole` where there is a whole.
pub(super) fn ratio(part: &str, whole: &str) -> String {
    format!("{part} / ({whole} > 0)")
}

/// Names of variables, as dashboards declare them.
pub(super) mod variable {
    pub(in crate::generate) const DATASOURCE: &str = "datasource";
    pub(in crate::generate) const CONTROL: &str = "control";
    pub(in crate::generate) const SCOPE: &str = "scope";
    pub(in crate::generate) const FRAMEWORK: &str = "framework";
    pub(in crate::generate) const OWNER: &str = "owner";
    pub(in crate::generate) const SEVERITY: &str = "severity";
    pub(in crate::generate) const SERVICE: &str = "service";
    pub(in crate::generate) const SLO: &str = "slo";
    pub(in crate::generate) const COLLECTOR: &str = "collector";
    pub(in crate::generate) const PAGE: &str = "page";
}

/// The label of frameworks in `compliance_control_mapping_info`.
pub(super) const FRAMEWORK: &str = "framework";
/// The label of owners in `compliance_control_info`.
pub(super) const OWNER: &str = "owner";

/// Which controls and scopes a dashboard's variables choose.
#[derive(Debug, Clone, Copy)]
pub(super) enum View {
    /// `$owner`, `$framework`, `$scope`.
    Estate,
    /// `$owner`, `$framework`, `$severity`, `$scope`.
    Severities,
    /// `$control`, `$scope`.
    Control,
}

impl View {
    /// ` and on (control) …`: only the controls chosen.
    pub(super) fn controls(self) -> String {
        let owner = M::Var(OWNER, variable::OWNER);
        let info = match self {
            View::Control => return String::new(),
            View::Estate => sel(&names::CONTROL_INFO, &[owner]),
            View::Severities => sel(&names::CONTROL_INFO, &[owner, M::Var(SEVERITY, variable::SEVERITY)]),
        };
        // A control that serves no framework has no mapping. It matches the pattern of "all", since a label that is
        // not there is empty, and no framework's name.
        let framework = [M::Var(FRAMEWORK, variable::FRAMEWORK)];
        format!(
            " and on ({CONTROL}) {info} and on ({CONTROL}) ({} or {})",
            sel(&names::CONTROL_MAPPING_INFO, &framework),
            sel(&names::CONTROL_INFO, &framework)
        )
    }

    /// A series of (control, scope) rows, narrowed to what is chosen; `by` keeps these labels.
    pub(super) fn rows(self, metric: &Metric, conditions: &[M<'_>], by: &[&str]) -> String {
        format!("{}{}", once(by, &self.chosen(metric, conditions)), self.controls())
    }

    /// The selector without the narrowing by control.
    pub(super) fn chosen(self, metric: &Metric, conditions: &[M<'_>]) -> String {
        let mut all = conditions.to_vec();
        if matches!(self, View::Control) {
            all.push(M::Is(CONTROL, "$control"));
        }
        if metric.labels.contains(&SEVERITY) && matches!(self, View::Severities) {
            all.push(M::Var(SEVERITY, variable::SEVERITY));
        }
        all.push(M::Var(SCOPE, variable::SCOPE));
        sel(metric, &all)
    }

    /// Resources in these states, one number for each of `by`.
    pub(super) fn resources(self, states: &[State], by: &[&str]) -> String {
        sum(by, &self.rows(&names::RESOURCES, &in_states(states), &[CONTROL, SCOPE, STATE]))
    }

    /// As [`View::resources`], of those pairs that have a ratio: where the sources list only violations there is
    /// nothing to divide by.
    fn counted(self, states: &[State], by: &[&str]) -> String {
        let rows = self.rows(&names::RESOURCES, &in_states(states), &[CONTROL, SCOPE, STATE]);
        sum(by, &format!("{rows}{}", self.has_ratio()))
    }

    fn has_ratio(self) -> String {
        format!(" and on ({CONTROL}, {SCOPE}) {}", self.chosen(&names::COVERAGE_RATIO, &[]))
    }

    /// The share of resources that comply, of those with a verdict, and what bounds it.
    pub(super) fn share(self, share: Share, by: &[&str]) -> String {
        let (part, whole) = share.states();
        ratio(&self.counted(part, by), &self.counted(whole, by))
    }

    /// As [`View::share`], for each framework: a control counts once in each framework that it serves.
    pub(super) fn share_by_framework(self, share: Share) -> String {
        let (part, whole) = share.states();
        let each = |states| by_framework(&self.counted(states, &[CONTROL]));
        ratio(&each(part), &each(whole))
    }
}

/// Sums over the controls of each framework of one number for each control.
pub(super) fn by_framework(of_control: &str) -> String {
    let mapping = sel(&names::CONTROL_MAPPING_INFO, &[M::Var(FRAMEWORK, variable::FRAMEWORK)]);
    sum(&[FRAMEWORK], &format!("{} * on ({CONTROL}) group_left () {of_control}", aggregate("group", &[CONTROL, FRAMEWORK], &mapping)))
}

fn in_states(states: &[State]) -> Vec<M<'static>> {
    match states {
        [] => Vec::new(),
        [one] => vec![M::Is(STATE, one.word())],
        [State::Compliant, State::NonCompliant] => vec![M::In(STATE, &["compliant", "non_compliant"])],
        [State::Compliant, State::Unknown] => vec![M::In(STATE, &["compliant", "unknown"])],
        [State::Compliant, State::NonCompliant, State::Unknown] => vec![M::In(STATE, &["compliant", "non_compliant", "unknown"])],
        _ => vec![M::In(STATE, &["compliant", "non_compliant", "waived"])],
    }
}

/// A ratio and its honesty (law 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    /// Comply ÷ (comply + do not).
    Ratio,
    /// If every unknown resource did not comply.
    Lower,
    /// If every unknown resource complied.
    Upper,
    /// About how many something is known.
    Coverage,
}

impl Share {
    const fn states(self) -> (&'static [State], &'static [State]) {
        use State::{Compliant, NonCompliant, Unknown, Waived};
        match self {
            Share::Ratio => (&[Compliant], &[Compliant, NonCompliant]),
            Share::Lower => (&[Compliant], &[Compliant, NonCompliant, Unknown]),
            Share::Upper => (&[Compliant, Unknown], &[Compliant, NonCompliant, Unknown]),
            Share::Coverage => (&[Compliant, NonCompliant, Waived], &[]),
        }
    }
}

/// How much a counter of (control, scope) rows rose in the last `range`, exactly.
///
/// `increase()` extrapolates, and it misses the first event of a row, whose series appears with it. A series that was not
/// there at the beginning of the range began at 0 if its row was there, since counters are kept across restarts; else the
/// oldest sample in the range is taken.
pub(super) fn rise(view: View, metric: &Metric, conditions: &[M<'_>], by: &[&str], range: &str) -> String {
    let now = once(by, &view.chosen(metric, conditions));
    let before = once(by, &format!("{} offset {range}", view.chosen(metric, conditions)));
    let row = view.chosen(&names::EVIDENCE_LAST_SUCCESS, &[]);
    let oldest = format!("min_over_time({now}[{range}:10m])");
    format!(
        "clamp_min({now} - ({before} or {now} * 0 and on ({CONTROL}, {SCOPE}) {row} offset {range} or {oldest} or {now}), 0){}",
        view.controls()
    )
}

/// As [`rise`], but where Prometheus knows less than `range`, of everything on record: for quotients of two counters,
/// which stay right then.
pub(super) fn rise_or_all(view: View, metric: &Metric, conditions: &[M<'_>], by: &[&str], range: &str) -> String {
    let now = once(by, &view.chosen(metric, conditions));
    let before = once(by, &format!("{} offset {range}", view.chosen(metric, conditions)));
    format!("clamp_min({now} - ({before} or {now} * 0), 0){}", view.controls())
}

/// The `k` largest and whatever is as large as the last of them. `topk` chooses among equals as it likes, and two queries
/// of one table would choose differently.
pub(super) fn top(k: u32, of: &str) -> String {
    format!("({of}) >= scalar(min(topk({k}, {of})))")
}

/// `of`, or if it is empty a row that says so, as long as `known` has any number.
pub(super) fn or_none(of: &str, label: &str, known: &str) -> String {
    format!("({of}) or on () label_replace(max({known}) * 0, \"{label}\", \"none\", \"\", \"\")")
}

/// As [`rise`], for each step of a graph: every event falls into exactly one step.
pub(super) fn rise_by_step(view: View, metric: &Metric, conditions: &[M<'_>], by: &[&str]) -> String {
    let now = once(by, &view.chosen(metric, conditions));
    let before = once(by, &format!("{} offset $__interval", view.chosen(metric, conditions)));
    let row = view.chosen(&names::EVIDENCE_LAST_SUCCESS, &[]);
    format!("clamp_min({now} - ({before} or {now} * 0 and on ({CONTROL}, {SCOPE}) {row} offset $__interval), 0){}", view.controls())
}

/// Labels of violation families.
pub(super) const VIOLATION: [&str; 3] = [CONTROL, SCOPE, SEVERITY];
/// Labels of remediation deadlines.
pub(super) const DEADLINE: [&str; 4] = [CONTROL, SCOPE, SEVERITY, OUTCOME];

/// What rules record about an SLO, and what the exporter says of it by itself.
pub(super) mod objective {
    use super::{M, once, sel, variable};
    use crate::exposition::names::{self, Metric, recorded};

    /// The label of recorded series that names the SLO; `slo` on the exporter's own.
    pub(in crate::generate::dashboards) const ID: &str = "sloth_id";
    pub(in crate::generate::dashboards) const SLO: &str = "slo";
    const WINDOW: &str = "window";

    /// The exporter's own number, which is exact, or where it has none the one that rules record.
    fn exact_or_recorded(exact: &Metric, recorded: &str) -> String {
        format!("{} or {}", own(exact, &[]), noted(recorded))
    }

    /// The exporter's own number, under the label that rules use.
    pub(in crate::generate::dashboards) fn own(metric: &Metric, conditions: &[M<'_>]) -> String {
        let conditions = [&[M::Var(SLO, variable::SLO)], conditions].concat();
        named_as_recorded(&once(&[SLO], &sel(metric, &conditions)))
    }

    /// What rules record.
    pub(in crate::generate::dashboards) fn noted(series: &str) -> String {
        once(&[ID], &noted_series(series))
    }

    pub(in crate::generate::dashboards) fn noted_series(series: &str) -> String {
        sel(series, &[M::Var(ID, variable::SLO)])
    }

    fn named_as_recorded(of: &str) -> String {
        once(&[ID], &format!("label_replace({of}, \"{ID}\", \"$1\", \"{SLO}\", \"(.+)\")"))
    }

    /// The objective t.
    pub(in crate::generate::dashboards) fn target() -> String {
        exact_or_recorded(&names::SLO_OBJECTIVE, recorded::OBJECTIVE)
    }

    /// The share of the error budget that is left in the period; below zero when it is overspent.
    pub(in crate::generate::dashboards) fn left() -> String {
        exact_or_recorded(&names::SLO_ERROR_BUDGET_REMAINING, recorded::BUDGET_REMAINING)
    }

    /// [`left`] of the ten SLOs that have least of it at the end of the time shown: with an objective for every control
    /// there are more lines than anybody can read.
    pub(in crate::generate::dashboards) fn left_of_the_worst() -> String {
        let exact = format!("{} @ end()", sel(&names::SLO_ERROR_BUDGET_REMAINING, &[M::Var(SLO, variable::SLO)]));
        let recorded = format!("{} @ end()", noted_series(recorded::BUDGET_REMAINING));
        let at_the_end = format!("{} or {}", named_as_recorded(&once(&[SLO], &exact)), once(&[ID], &recorded));
        format!("({}) and on ({ID}) bottomk(10, {at_the_end})", left())
    }

    /// The share that is left if the population stays as it is until the period is full: the one to read in the first
    /// period, when a few bad hours are a large part of the time observed.
    pub(in crate::generate::dashboards) fn left_of_full_period() -> String {
        own(&names::SLO_ERROR_BUDGET_REMAINING_FULL, &[])
    }

    /// 1 − e over the period, from what is left: right for every kind of SLI, also where short windows have no event.
    pub(in crate::generate::dashboards) fn kept() -> String {
        format!("1 - (1 - ({})) * (1 - ({}))", left(), target())
    }

    /// Seconds until the budget is spent; 1e12 and more is never.
    pub(in crate::generate::dashboards) fn spent_in() -> String {
        format!("clamp_max({}, 1e12)", exact_or_recorded(&names::SLO_ERROR_BUDGET_EXHAUSTION, recorded::BUDGET_EXHAUSTION))
    }

    /// The burn rate of the shortest window that alerts look at.
    pub(in crate::generate::dashboards) fn burn() -> String {
        format!("{} or {} / (1 - ({}))", noted(recorded::CURRENT_BURN_RATE), own(&names::SLO_ERROR_RATIO, &[M::Is(WINDOW, "5m")]), target())
    }

    /// The error ratio over a standard window.
    pub(in crate::generate::dashboards) fn error(window: &str) -> String {
        let recorded = recorded::error_ratio(window);
        format!("{} or {}", own(&names::SLO_ERROR_RATIO, &[M::Is(WINDOW, window)]), noted(&recorded))
    }

    /// The ids of the SLOs of the service chosen, and of those that only the exporter knows.
    pub(in crate::generate::dashboards) fn all() -> String {
        let recorded = |conditions: &[M<'_>]| once(&[ID], &sel(recorded::OBJECTIVE, conditions));
        let own = named_as_recorded(names::SLO_OBJECTIVE.name);
        format!("{} or ({own} unless {})", recorded(&[M::Var("sloth_service", variable::SERVICE)]), recorded(&[]))
    }
}
