//! Spells every metric once: name, type, labels, HELP. The exporter, the rules, the dashboards and `docs/metrics.md`
//! read this table, so that none of them can spell a name that is not exposed.

use crate::domain::{Counts, State};
use std::fmt::Write as _;

/// A metric family.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// The name as samples carry it (histograms: without `_bucket`, `_sum`, `_count`).
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Label names, in the order printed. A name in angle brackets stands for any number of labels.
    pub labels: &'static [&'static str],
    /// HELP.
    pub help: &'static str,
    /// Whether a release of today exposes it. Reserved names keep rules and dashboards from inventing others.
    pub exposed: bool,
}

/// The type of a family, as OpenMetrics has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises, except when all start again.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Observations in buckets.
    Histogram,
    /// Always 1; what it says stands in its labels.
    Info,
}

impl Metric {
    /// The name of the family in OpenMetrics: without `_total` and `_info`.
    pub fn family(&self) -> &'static str {
        let suffix = match self.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        self.name.strip_suffix(suffix).unwrap_or(self.name)
    }

    /// The unit, which in OpenMetrics has to be the end of the family's name.
    pub fn unit(&self) -> Option<&'static str> {
        ["seconds", "ratio"]
            .into_iter()
            .find(|unit| self.family().strip_suffix(unit).is_some_and(|head| head.ends_with('_')) && self.kind != Kind::Info)
    }

    /// The word after `# TYPE`, in OpenMetrics or in the text format.
    pub fn type_word(&self, openmetrics: bool) -> &'static str {
        match self.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Info if openmetrics => "info",
            Kind::Info => "gauge",
        }
    }
}

/// Label names.
pub mod label {
    /// Id of a control.
    pub const CONTROL: &str = "control";
    /// The unit that owns a ratio: account, cluster, repository, team.
    pub const SCOPE: &str = "scope";
    /// A state.
    pub const STATE: &str = "state";
    /// Severity.
    pub const SEVERITY: &str = "severity";
    /// Name of a collector.
    pub const COLLECTOR: &str = "collector";
    /// How something ended.
    pub const OUTCOME: &str = "outcome";
}
use label::{COLLECTOR, CONTROL, OUTCOME, SCOPE, SEVERITY, STATE};

macro_rules! metrics {
    ($($id:ident: $kind:ident $name:literal [$($label:expr),*] $help:literal $(, $reserved:ident)?;)+) => {
        $(
            #[doc = $help]
            pub const $id: Metric = Metric { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help, exposed: metrics!(@exposed $($reserved)?) };
        )+
        /// Every metric, in the order of the documentation.
        pub const ALL: &[&Metric] = &[$(&$id),+];
    };
    (@exposed) => { true };
    (@exposed reserved) => { false };
}

metrics! {
    RESOURCE_SECONDS: Counter "compliance_resource_seconds_total" [CONTROL, SCOPE, STATE]
        "Resource-seconds spent in each state, integrated exactly up to the scrape; states are as of the last collection.";
    RESOURCES: Gauge "compliance_resources" [CONTROL, SCOPE, STATE]
        "Resources in each state, as of the last collection and of what has run out since.";
    RATIO: Gauge "compliance_ratio" [CONTROL, SCOPE]
        "Compliant resources divided by resources with a verdict, as of the last collection; absent where there is no verdict.";
    RATIO_LOWER: Gauge "compliance_ratio_lower" [CONTROL, SCOPE]
        "The compliance ratio if every unknown resource did not comply, as of the last collection.";
    RATIO_UPPER: Gauge "compliance_ratio_upper" [CONTROL, SCOPE]
        "The compliance ratio if every unknown resource complied, as of the last collection.";
    COVERAGE_RATIO: Gauge "compliance_coverage_ratio" [CONTROL, SCOPE]
        "Share of the resources in scope about which something is known, as of the last collection.";
    EVIDENCE_SECONDS: Counter "compliance_evidence_seconds_total" [CONTROL, SCOPE, STATE]
        "Seconds with fresh and with stale evidence, integrated exactly up to the scrape.";
    EVIDENCE_LAST_SUCCESS: Gauge "compliance_evidence_last_success_timestamp_seconds" [CONTROL, SCOPE]
        "When the newest evidence was observed by its scanner, as of the last collection.";
    EVIDENCE_MAX_AGE: Gauge "compliance_evidence_max_age_seconds" [CONTROL]
        "Age past which evidence says nothing any more and its resource is unknown.";
    DRIFT: Counter "compliance_drift_total" [CONTROL, SCOPE, SEVERITY]
        "Violation episodes opened (complied, then did not), as of the last collection.";
    REMEDIATIONS: Counter "compliance_remediations_total" [CONTROL, SCOPE, SEVERITY]
        "Violation episodes closed by a fix, as of the last collection.";
    VIOLATIONS_OVERDUE: Gauge "compliance_violations_overdue" [CONTROL, SCOPE, SEVERITY]
        "Violations that are open past their deadline.";
    OLDEST_VIOLATION: Gauge "compliance_oldest_violation_timestamp_seconds" [CONTROL, SCOPE]
        "When the oldest open violation was detected, as of the last collection.";
    REMEDIATION_DEADLINES: Counter "compliance_remediation_deadlines_total" [CONTROL, SCOPE, SEVERITY, OUTCOME]
        "Remediation deadlines met and missed; a missed one counts at the instant of the deadline.";
    REMEDIATION_DURATION: Histogram "compliance_remediation_duration_seconds" [SEVERITY]
        "Time from detection of a violation to its fix, as of the last collection.";
    TRANSITIONS: Counter "compliance_transitions_total" [CONTROL, SCOPE, "direction", "cause"]
        "Changes of state by direction and cause, as of the last collection.";
    SCANNER_DISAGREEMENTS: Gauge "compliance_scanner_disagreements" [CONTROL]
        "Resources on which two scanners disagree, as of the last collection.";
    WAIVERS: Gauge "compliance_waivers" [STATE, "origin"]
        "Waivers by state, from files and from the suppressions of sources, as of the last collection.";
    WAIVER_EXPIRY: Gauge "compliance_waiver_expiry_timestamp_seconds" ["waiver"]
        "When a waiver ends.";
    CONTROL_INFO: Info "compliance_control_info" [CONTROL, "title", SEVERITY, "owner", "nature", "set", "version"]
        "What a control is called, how bad a violation is and who answers for it.";
    CONTROL_MAPPING_INFO: Info "compliance_control_mapping_info" [CONTROL, "framework", "requirement"]
        "Requirements of frameworks that a control serves.";
    SCOPE_INFO: Info "compliance_scope_info" [SCOPE, "<parts>"]
        "The parts that a scope was built from.";
    COLLECTOR_UP: Gauge "compliance_collector_up" [COLLECTOR]
        "Whether the last run brought something usable; absent before the first run.";
    COLLECTOR_LAST_SUCCESS: Gauge "compliance_collector_last_success_timestamp_seconds" [COLLECTOR]
        "When the last complete run ended; absent before the first.";
    COLLECTOR_LAST_RUN: Gauge "compliance_collector_last_run_timestamp_seconds" [COLLECTOR]
        "When the last run ended, whatever came of it; absent before the first.";
    COLLECTOR_RUN_DURATION: Gauge "compliance_collector_run_duration_seconds" [COLLECTOR]
        "How long the last run took; absent before the first.";
    COLLECTOR_FINDINGS: Gauge "compliance_collector_findings" [COLLECTOR, "result"]
        "Findings of the last run by the scanner's own result.";
    COLLECTOR_UNMAPPED: Gauge "compliance_collector_unmapped_findings" [COLLECTOR]
        "Findings of the last run that no control asks for.";
    COLLECTOR_PROBLEMS: Counter "compliance_collector_problems_total" [COLLECTOR, "kind"]
        "Problems met while collecting and reading; each costs only itself.";
    COLLECTOR_REQUESTS: Counter "compliance_collector_requests_total" [COLLECTOR, "code"]
        "HTTP requests of a collector by what came of them (ok, not_modified, refused, throttled, server_error, failed); each try counts.";
    COLLECTOR_SCANS: Counter "compliance_collector_scans_total" [COLLECTOR, OUTCOME]
        "Runs by outcome: complete, partial, failed.";
    COLLECTOR_SCAN_DURATION: Histogram "compliance_collector_scan_duration_seconds" [COLLECTOR]
        "How long runs take.";
    COLLECTOR_SCAN_INTERVAL: Gauge "compliance_collector_scan_interval_seconds" [COLLECTOR]
        "Declared interval between runs.";
    CONFIG_LAST_RELOAD: Gauge "compliance_config_last_reload_successful" []
        "Whether the configuration was last read without a fault.";
    LAST_INGEST: Gauge "compliance_exporter_last_ingest_timestamp_seconds" []
        "When a run was last ingested; absent before the first.";
    INGEST_INTERVAL: Gauge "compliance_exporter_ingest_interval_seconds" []
        "The shortest declared interval of all collectors: how often ingestion is due.";
    FOLDED_SERIES: Gauge "compliance_exporter_folded_series" []
        "Pairs of control and scope that are folded into the scope __other__.";
    START_TIME: Gauge "compliance_exporter_start_time_seconds" []
        "When the exporter started.";
    DEMO: Gauge "compliance_exporter_demo" []
        "1 if these are the demonstration's data and say nothing about your systems.";
    HTTP_REQUESTS: Counter "compliance_exporter_http_requests_total" ["route", "code"]
        "Requests answered, by route and status code.";
    RENDER_DURATION: Histogram "compliance_exporter_render_duration_seconds" []
        "How long it took to render a scrape, this one not included.";
    EXPORTER_BUILD_INFO: Info "compliance_exporter_build_info" ["version"]
        "The exporter's version, under the prefix of its other metrics about itself.";
    BUILD_INFO: Info "compliance_build_info" ["version", "definitions"]
        "The exporter's version and the SHA-256 of the definitions in force.";
    SLO_ERROR_RATIO: Gauge "compliance_slo_error_ratio" ["slo", "window"]
        "Exact error ratio of an SLO over a window that ends at the scrape; absent where nothing counted in it.";
    SLO_ERROR_BUDGET_REMAINING: Gauge "compliance_slo_error_budget_remaining_ratio" ["slo"]
        "Exact share of an SLO's error budget that is left in its rolling period, of the time observed so far; negative when overspent.";
    SLO_ERROR_BUDGET_REMAINING_FULL: Gauge "compliance_slo_error_budget_remaining_full_period_ratio" ["slo"]
        "Share of an SLO's error budget that is left if the population stays as it is until the period is full; the one to read in the first period.";
    SLO_ERROR_BUDGET_EXHAUSTION: Gauge "compliance_slo_error_budget_exhaustion_seconds" ["slo"]
        "Time until an SLO's error budget is spent if states stay as they are but for waivers that end and evidence that nobody renews; +Inf: never.";
    SLO_OBJECTIVE: Gauge "compliance_slo_objective_ratio" ["slo"]
        "The objective of an SLO, for every SLO that the exporter keeps account of.";
    SLO_CONTROL_INFO: Info "compliance_slo_control_info" ["slo", CONTROL]
        "Controls that an SLO covers; a composite covers none by itself.";
    SLICES: Counter "compliance_slices_total" ["slo", OUTCOME]
        "Time slices of an SLO that are over, by outcome.";
    GATE_CHECKS: Counter "compliance_gate_checks_total" ["gate", "expected", OUTCOME]
        "Live proofs that a preventive control denies what it should deny and admits what it should admit.", reserved;
}

/// Series that generated rules record (slo.md section 11): Sloth's names, since public dashboards read them, and ours.
pub mod recorded {
    /// Error ratio over a window, e.g. `slo:sli_error:ratio_rate5m`; the window as Prometheus names it.
    pub fn error_ratio(window: &str) -> String {
        format!("slo:sli_error:ratio_rate{window}")
    }
    /// The same without weights, beside an SLO that has some.
    pub fn unweighted_error_ratio(window: &str) -> String {
        format!("slo:sli_error_unweighted:ratio_rate{window}")
    }
    /// The objective t.
    pub const OBJECTIVE: &str = "slo:objective:ratio";
    /// The error budget 1 − t.
    pub const ERROR_BUDGET: &str = "slo:error_budget:ratio";
    /// The period in days.
    pub const PERIOD_DAYS: &str = "slo:time_period:days";
    /// Burn rate over the shortest alert window.
    pub const CURRENT_BURN_RATE: &str = "slo:current_burn_rate:ratio";
    /// Burn rate over the period.
    pub const PERIOD_BURN_RATE: &str = "slo:period_burn_rate:ratio";
    /// Share of the error budget that is left; negative when overspent.
    pub const BUDGET_REMAINING: &str = "slo:period_error_budget_remaining:ratio";
    /// Seconds until the budget is spent at the present rate; 1e12 and more is never.
    pub const BUDGET_EXHAUSTION: &str = "slo:error_budget_exhaustion:seconds";
    /// One for each SLO, with what it is in labels.
    pub const SLO_INFO: &str = "sloth_slo_info";
    /// Weight of a member (`sloth_id`) in a composite (`framework`).
    pub const SLO_WEIGHT: &str = "compliance_slo_weight";
    /// Mean time to remediate by exposure, 30 days.
    pub const MTTR_EXPOSURE: &str = "compliance_control:violation_mttr_exposure:seconds30d";
    /// Resource-seconds of the last 30 days.
    pub const RESOURCE_SECONDS_30D: &str = "compliance_control:resource_seconds:delta30d";
    /// Every name above that is not made with a window.
    pub const ALL: &[&str] = &[
        OBJECTIVE,
        ERROR_BUDGET,
        PERIOD_DAYS,
        CURRENT_BURN_RATE,
        PERIOD_BURN_RATE,
        BUDGET_REMAINING,
        BUDGET_EXHAUSTION,
        SLO_INFO,
        SLO_WEIGHT,
        MTTR_EXPOSURE,
        RESOURCE_SECONDS_30D,
    ];

    /// `<service>-<name>`.
    pub const SLOTH_ID: &str = "sloth_id";
    /// The service.
    pub const SLOTH_SERVICE: &str = "sloth_service";
    /// The SLO's name.
    pub const SLOTH_SLO: &str = "sloth_slo";
    /// The window of an error ratio.
    pub const SLOTH_WINDOW: &str = "sloth_window";
    /// On alerts: page, ticket or info.
    pub const SLOTH_SEVERITY: &str = "sloth_severity";
    /// On [`SLO_INFO`]: the objective in per cent.
    pub const SLOTH_OBJECTIVE: &str = "sloth_objective";
    /// On [`SLO_INFO`]: `held` for integrals, `event` for SLIs whose short windows may be empty.
    pub const SLI_KIND: &str = "sli_kind";
    /// Who answers for the SLO, on recorded series and alerts.
    pub const OWNER: &str = "owner";
    /// On [`SLO_WEIGHT`]: the composite's `sloth_id`.
    pub const FRAMEWORK: &str = "framework";
}

/// Alerts that generated rules raise (slo.md section 12).
pub mod alert {
    /// The error budget burns too fast.
    pub const BURN: &str = "ComplianceErrorBudgetBurn";
    /// Nothing of it is left.
    pub const EXHAUSTED: &str = "ComplianceErrorBudgetExhausted";
    /// Soon nothing will be left.
    pub const EXHAUSTION_SOON: &str = "ComplianceBudgetExhaustionSoon";
    /// An SLO has no numbers.
    pub const NO_DATA: &str = "ComplianceSLONoData";
    /// An SLO of the exporter has no rules.
    pub const NOT_RECORDED: &str = "ComplianceSLONotRecorded";
    /// No exporter answers.
    pub const EXPORTER_DOWN: &str = "ComplianceExporterDown";
    /// It answers and ingests nothing.
    pub const INGEST_STALLED: &str = "ComplianceIngestStalled";
    /// Evidence is older than it may be.
    pub const EVIDENCE_STALE: &str = "ComplianceEvidenceStale";
    /// Counters and gauges contradict each other.
    pub const CONSERVATION: &str = "ComplianceCounterConservation";
    /// A gate admitted what it must deny.
    pub const GATE_BYPASSED: &str = "ComplianceGateBypassed";
    /// Violations are open past their deadline.
    pub const REMEDIATION_OVERDUE: &str = "ComplianceRemediationOverdue";
    /// All of them.
    pub const ALL: &[&str] = &[
        BURN,
        EXHAUSTED,
        EXHAUSTION_SOON,
        NO_DATA,
        NOT_RECORDED,
        EXPORTER_DOWN,
        INGEST_STALLED,
        EVIDENCE_STALE,
        CONSERVATION,
        GATE_BYPASSED,
        REMEDIATION_OVERDUE,
    ];
}

/// Why a (control, scope) with these `counts` has no compliance ratio, in words for a person; `None` where it has one.
/// `has_ratio`: false for controls whose sources list only violations and that have no population.
pub fn why_no_ratio(counts: &Counts, has_ratio: bool) -> Option<&'static str> {
    if !has_ratio {
        Some("its sources list only violations and it has no population to divide by")
    } else if counts[State::Compliant] + counts[State::NonCompliant] > 0 {
        None
    } else if counts.total() == 0 {
        Some("nothing is in scope")
    } else if counts[State::Unknown] > 0 {
        Some("nothing is known, evidence is missing or too old")
    } else {
        Some("all that is in scope is waived")
    }
}

/// `docs/metrics.md`.
pub fn reference() -> String {
    let mut out = String::from(
        "<!-- Generated by bornright generate reference, from src/exposition/names.rs; do not edit. -->\n\n\
         # Metrics\n\n\
         `/metrics` answers in the Prometheus text format 0.0.4 or, if asked, in OpenMetrics 1.0, where a family's name lacks\n\
         `_total` or `_info` and an info is of type `info` instead of a gauge that is 1.\n\n\
         A ratio that does not exist has no sample: it is never shown as 0, 1 or NaN. Counters advance exactly to the instant\n\
         of each scrape; they are kept across restarts.\n\n\
         | metric | type | labels | meaning |\n|---|---|---|---|\n",
    );
    let row = |out: &mut String, m: &Metric| {
        let labels = m.labels.iter().map(|l| format!("`{l}`")).collect::<Vec<_>>().join(", ");
        let kind = match m.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Info => "info",
        };
        _ = writeln!(out, "| `{}` | {kind} | {labels} | {} |", m.name, m.help);
    };
    ALL.iter().filter(|m| m.exposed).for_each(|m| row(&mut out, m));
    out.push_str(
        "\n## Label values\n\n\
         - `state` of resources: `compliant`, `non_compliant`, `unknown`, `waived`. All four are there from the first scrape, so\n  their sum is always the whole population. `state` of evidence: `fresh`, `stale`. `state` of waivers: `pending`, `active`,\n  `unused`, `expired`, `invalid`.\n\
         - `scope`: an account, cluster, repository or team, as the configuration's `scope` template builds it; `__other__` takes\n  the scopes beyond `series_limit`. The parts of the template are labels of `compliance_scope_info`.\n\
         - `severity`: `info`, `low`, `medium`, `high`, `critical`. On violations it is the severity at detection.\n\
         - Violation metrics exist for a control in a scope only after a first violation there.\n\
         - Resource ids, messages and URLs are never labels.\n\n\
         ## Reserved\n\nThese names are kept for what is being built; nothing exposes them yet.\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n",
    );
    ALL.iter().filter(|m| !m.exposed).for_each(|m| row(&mut out, m));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_keep_the_rules_of_both_formats() {
        let mut taken = BTreeSet::new();
        for m in ALL {
            assert!(taken.insert(m.family()), "{} is spelled twice", m.name);
            assert!(m.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}: snake case, no colon", m.name);
            assert!(m.name.starts_with("compliance_"), "{}", m.name);
            assert_eq!(m.kind == Kind::Counter, m.name.ends_with("_total"), "{}: _total is for counters, and for all of them", m.name);
            assert_eq!(m.kind == Kind::Info, m.name.ends_with("_info"), "{}", m.name);
            assert!(m.help.ends_with('.') && !m.help.contains(['\n', '\\', '"']), "{}: HELP is printed as it is", m.name);
            assert!(!m.labels.contains(&"le") && !m.labels.contains(&"resource"), "{}", m.name);
        }
    }

    #[test]
    fn a_unit_is_the_end_of_the_family_name() {
        assert_eq!((RESOURCE_SECONDS.family(), RESOURCE_SECONDS.unit()), ("compliance_resource_seconds", Some("seconds")));
        assert_eq!((COVERAGE_RATIO.family(), COVERAGE_RATIO.unit()), ("compliance_coverage_ratio", Some("ratio")));
        assert_eq!(RATIO_LOWER.unit(), None);
        assert_eq!((CONTROL_INFO.family(), CONTROL_INFO.unit()), ("compliance_control", None));
    }

    #[test]
    fn every_absent_ratio_has_its_reason() {
        for (counts, has_ratio, reason) in [
            (Counts([1, 0, 0, 0]), true, None),
            (Counts([0, 1, 9, 9]), true, None),
            (Counts([0, 1, 0, 0]), false, Some("only violations")),
            (Counts([0, 0, 0, 0]), true, Some("nothing is in scope")),
            (Counts([0, 0, 3, 1]), true, Some("nothing is known")),
            (Counts([0, 0, 0, 2]), true, Some("waived")),
        ] {
            let said = why_no_ratio(&counts, has_ratio);
            assert_eq!(said.is_some(), reason.is_some(), "{counts:?}");
            assert!(said.unwrap_or_default().contains(reason.unwrap_or_default()), "{counts:?}: {said:?}");
        }
    }
}
