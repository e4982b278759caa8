//! prometheus-client's share: metrics about ourselves, which live in its registry, and the whole snapshot as one of
//! its collectors, for programs that embed us and as the plain statement of what `render.rs` says fast.

use super::names::{self, Metric};
use super::render::{
    FRESHNESS, RUN_OUTCOMES, SLICE_OUTCOMES, VERSION, control_info, each_deadline, each_joint, each_violation, scope_parts, slo_controls,
    waiver_ends,
};
use super::write::Page;
use crate::domain::{CheckResult, Counts, Moment, ProblemKind, Ratio, Severity, State, WaiverOrigin, WaiverState};
use crate::slo::window;
use crate::snapshot::{DurationHistogram, Snapshot};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Metrics about the exporter itself. They live as long as the process and say nothing about compliance.
#[derive(Debug)]
pub struct SelfMetrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    render: Histogram,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Answered {
    route: &'static str,
    code: u16,
}

impl Default for SelfMetrics {
    fn default() -> SelfMetrics {
        let requests = Family::default();
        let render = Histogram::new([0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0]);
        let mut registry = Registry::default();
        // The registry ends HELP with a full stop of its own, and adds the unit to the name.
        let help = |m: &Metric| m.help.trim_end_matches('.').to_owned();
        registry.register(names::HTTP_REQUESTS.family(), help(&names::HTTP_REQUESTS), requests.clone());
        registry.register_with_unit(
            names::RENDER_DURATION.name.trim_end_matches("_seconds"),
            help(&names::RENDER_DURATION),
            Unit::Seconds,
            render.clone(),
        );
        SelfMetrics { registry, requests, render }
    }
}

impl SelfMetrics {
    /// Counts one answer. `route` is one of a few words, never a path as sent.
    pub fn answered(&self, route: &'static str, code: u16) {
        self.requests.get_or_create_owned(&Answered { route, code }).inc();
    }

    /// Takes the time that one scrape took to render.
    pub fn rendered(&self, took: Duration) {
        self.render.observe(took.as_secs_f64());
    }

    pub(super) fn write(&self, page: &mut Page) {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a String takes what is written to it");
        let text = text.strip_suffix("# EOF\n").unwrap_or(&text);
        if page.openmetrics() {
            page.raw(text);
        } else {
            page.raw(&as_text_format(text));
        }
    }
}

/// OpenMetrics to text 0.0.4, for what prometheus-client writes of the metrics above: counters and histograms.
fn as_text_format(openmetrics: &str) -> String {
    let mut out = String::with_capacity(openmetrics.len());
    for line in openmetrics.lines() {
        let is_counter = |family: &str| names::ALL.iter().any(|m| m.kind == names::Kind::Counter && m.family() == family);
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("UNIT"), ..) => continue,
            (Some("#"), Some(what), Some(family), Some(rest)) if is_counter(family) => {
                out.push_str(&format!("# {what} {family}_total {rest}"));
            }
            // A bound is `60` here where OpenMetrics has `60.0`.
            _ => out.push_str(&line.replacen(".0\"}", "\"}", usize::from(line.contains("le=\"")))),
        }
        out.push('\n');
    }
    out
}

/// A snapshot at an instant, as a prometheus-client collector.
#[derive(Clone, Debug)]
pub struct SnapshotCollector {
    /// What is shown.
    pub snapshot: Arc<Snapshot>,
    /// The instant to which counters are advanced.
    pub now: Moment,
}

type Done = Result<(), fmt::Error>;

/// A family whose descriptor is written with its first sample, so that one without samples leaves no trace.
struct Samples<'e, 'd> {
    encoder: &'e mut DescriptorEncoder<'d>,
    metric: &'static Metric,
    unit: Option<Unit>,
}

impl<'e, 'd> Samples<'e, 'd> {
    fn of(encoder: &'e mut DescriptorEncoder<'d>, metric: &'static Metric) -> Samples<'e, 'd> {
        Samples { encoder, metric, unit: metric.unit().map(|u| Unit::Other(u.to_owned())) }
    }

    fn each(self, write: impl FnOnce(&mut MetricEncoder<'_>) -> Done) -> Done {
        let kind = match self.metric.kind {
            names::Kind::Counter => MetricType::Counter,
            names::Kind::Gauge => MetricType::Gauge,
            names::Kind::Histogram => MetricType::Histogram,
            names::Kind::Info => MetricType::Info,
        };
        let family = self.metric.family();
        let bare = self.metric.unit().and_then(|u| family.strip_suffix(u)?.strip_suffix('_')).unwrap_or(family);
        write(&mut self.encoder.encode_descriptor(bare, self.metric.help, self.unit.as_ref(), kind)?)
    }
}

impl Collector for SnapshotCollector {
    fn encode(&self, mut enc: DescriptorEncoder<'_>) -> Done {
        let (s, now) = (&*self.snapshot, self.now);
        let place = |row: usize| {
            let row = &s.rows[row];
            [("control", s.controls[row.control as usize].id.as_str()), ("scope", s.scopes[row.scope as usize].name.as_str())]
        };
        let rows = || 0..s.rows.len();

        // Time in states.
        let mut joint: Vec<(String, String, [u64; 4], [u64; 4])> = Vec::new();
        each_joint(s, |id, scope, t| {
            let ms = t.at(now.max(s.at)).map(|n| u64::try_from(n).unwrap_or(u64::MAX));
            joint.push((id.to_owned(), scope.to_owned(), ms, t.rate_at(now.max(s.at))));
        });
        Samples::of(&mut enc, &names::RESOURCE_SECONDS).each(|m| {
            for (id, scope, ms, _) in &joint {
                for (state, ms) in State::ALL.iter().zip(ms) {
                    counter(m, &[("control", id.as_str()), ("scope", scope.as_str()), ("state", state.word())], seconds(*ms))?;
                }
            }
            for i in rows() {
                let [c, sc] = place(i);
                for (state, ms) in State::ALL.iter().zip(s.row_at(i, now).resource_ms.0) {
                    counter(m, &[c, sc, ("state", state.word())], seconds(ms))?;
                }
            }
            Ok(())
        })?;
        Samples::of(&mut enc, &names::EVIDENCE_SECONDS).each(|m| {
            for i in rows() {
                let [c, sc] = place(i);
                for (state, ms) in FRESHNESS.iter().zip(s.row_at(i, now).evidence_ms) {
                    counter(m, &[c, sc, ("state", state)], seconds(ms))?;
                }
            }
            Ok(())
        })?;

        // States and ratios.
        Samples::of(&mut enc, &names::RESOURCES).each(|m| {
            for (id, scope, _, now) in &joint {
                for (state, n) in State::ALL.iter().zip(now) {
                    gauge(m, &[("control", id.as_str()), ("scope", scope.as_str()), ("state", state.word())], n)?;
                }
            }
            for i in rows() {
                let [c, sc] = place(i);
                for (state, n) in State::ALL.iter().zip(s.row_at(i, now).counts.0) {
                    gauge(m, &[c, sc, ("state", state.word())], &n)?;
                }
            }
            Ok(())
        })?;
        type Share = fn(&Counts) -> Option<f64>;
        let shares: [(&'static Metric, Share); 4] = [
            (&names::RATIO, |c| Ratio::of(c).and_then(|r| r.value)),
            (&names::RATIO_LOWER, |c| Ratio::of(c).map(|r| r.lower)),
            (&names::RATIO_UPPER, |c| Ratio::of(c).map(|r| r.upper)),
            (&names::COVERAGE_RATIO, Ratio::coverage),
        ];
        for (metric, share) in shares {
            let there = rows().filter(|i| s.controls[s.rows[*i].control as usize].has_ratio);
            let there: Vec<_> = there.filter_map(|i| Some((place(i), share(&s.row_at(i, now).counts)?))).collect();
            some_gauges(&mut enc, metric, there)?;
        }

        // Violations.
        let mut overdue = Vec::new();
        let mut deadlines = Vec::new();
        let (mut opened, mut fixed) = (Vec::new(), Vec::new());
        each_violation(s, now, |row, severity, v, missed_since| {
            let [c, sc] =
                [("control", s.controls[row.control as usize].id.as_str()), ("scope", s.scopes[row.scope as usize].name.as_str())];
            let severity = ("severity", Severity::ALL[severity].word());
            overdue.push(([c, sc, severity], v.overdue + missed_since));
            opened.push(([c, sc, severity], v.opened));
            fixed.push(([c, sc, severity], v.fixed));
        });
        each_deadline(s, self.now, |row, severity, [met, missed]| {
            let (c, sc) =
                (("control", s.controls[row.control as usize].id.as_str()), ("scope", s.scopes[row.scope as usize].name.as_str()));
            let severity = ("severity", Severity::ALL[severity].word());
            deadlines.push(([c, sc, severity, ("outcome", "met")], met));
            deadlines.push(([c, sc, severity, ("outcome", "missed")], missed));
        });
        some_gauges(&mut enc, &names::VIOLATIONS_OVERDUE, overdue)?;
        some_counters(&mut enc, &names::REMEDIATION_DEADLINES, deadlines)?;
        some_counters(&mut enc, &names::DRIFT, opened)?;
        some_counters(&mut enc, &names::REMEDIATIONS, fixed)?;
        let oldest = rows().filter_map(|i| Some((place(i), s.rows[i].violations.as_ref()?.oldest_open?.seconds())));
        some_gauges(&mut enc, &names::OLDEST_VIOLATION, oldest.collect())?;
        let durations = Severity::ALL.iter().zip(&s.remediation_durations).map(|(sev, h)| ([("severity", sev.word())], h));
        some_histograms(&mut enc, &names::REMEDIATION_DURATION, durations.collect())?;
        let transitions = rows().flat_map(|i| {
            let [c, sc] = place(i);
            let of_row = s.rows[i].transitions.iter();
            of_row.map(move |((d, cause), n)| ([c, sc, ("direction", d.word()), ("cause", cause.word())], *n))
        });
        some_counters(&mut enc, &names::TRANSITIONS, transitions.collect())?;

        // Evidence and definitions.
        let newest = rows().filter_map(|i| Some((place(i), s.rows[i].newest_evidence?.seconds())));
        some_gauges(&mut enc, &names::EVIDENCE_LAST_SUCCESS, newest.collect())?;
        let controls = || s.controls.iter().map(|c| ([("control", c.id.as_str())], c));
        some_gauges(&mut enc, &names::EVIDENCE_MAX_AGE, controls().map(|(l, c)| (l, c.max_age.seconds())).collect())?;
        some_gauges(&mut enc, &names::SCANNER_DISAGREEMENTS, controls().map(|(l, c)| (l, c.disagreements)).collect())?;
        let infos = s.controls.iter().map(|c| {
            let mut labels = vec![("control".to_owned(), c.id.clone())];
            labels.extend(control_info(c).map(|(k, v)| (k.to_owned(), v.to_owned())));
            labels
        });
        some_infos(&mut enc, &names::CONTROL_INFO, infos.collect())?;
        let mappings = s.controls.iter().flat_map(|c| {
            let unique: std::collections::BTreeSet<_> = c.requirements.iter().collect();
            unique.into_iter().map(|(framework, requirement)| {
                [("control", &c.id), ("framework", framework), ("requirement", requirement)]
                    .map(|(k, v)| (k.to_owned(), v.clone()))
                    .to_vec()
            })
        });
        some_infos(&mut enc, &names::CONTROL_MAPPING_INFO, mappings.collect())?;
        let scopes = s.scopes.iter().map(|scope| {
            let mut labels = vec![("scope".to_owned(), scope.name.clone())];
            labels.extend(scope_parts(&scope.parts).into_iter().map(|(k, v)| (k, v.to_owned())));
            labels
        });
        some_infos(&mut enc, &names::SCOPE_INFO, scopes.collect())?;

        // Objectives.
        let ids: Vec<String> = s.slos.iter().map(|v| v.slo.id()).collect();
        let numbers = s.slo_numbers(self.now);
        let slos = || ids.iter().map(String::as_str).zip(&numbers);
        let objectives = ids.iter().zip(s.slos.iter()).map(|(id, v)| ([("slo", id.as_str())], v.slo.objective));
        some_gauges(&mut enc, &names::SLO_OBJECTIVE, objectives.collect())?;
        let covered = ids
            .iter()
            .zip(s.slos.iter())
            .flat_map(|(id, v)| slo_controls(s, v).map(|c| vec![("slo".to_owned(), id.clone()), ("control".to_owned(), c.to_owned())]));
        some_infos(&mut enc, &names::SLO_CONTROL_INFO, covered.collect())?;
        let errors = slos().flat_map(|(id, n)| {
            let each = n.error.iter();
            each.filter_map(move |(w, e)| Some(([("slo", id.to_owned()), ("window", window::name(*w))], (*e)?)))
        });
        some_gauges(&mut enc, &names::SLO_ERROR_RATIO, errors.collect())?;
        let remaining = slos().filter_map(|(id, n)| Some(([("slo", id)], n.budget.remaining?)));
        some_gauges(&mut enc, &names::SLO_ERROR_BUDGET_REMAINING, remaining.collect())?;
        let full = slos().filter_map(|(id, n)| Some(([("slo", id)], n.budget.remaining_full_period?)));
        some_gauges(&mut enc, &names::SLO_ERROR_BUDGET_REMAINING_FULL, full.collect())?;
        let exhaustion = slos().filter_map(|(id, n)| Some(([("slo", id)], n.exhaustion_seconds?)));
        some_gauges(&mut enc, &names::SLO_ERROR_BUDGET_EXHAUSTION, exhaustion.collect())?;
        let slices = slos().flat_map(|(id, n)| {
            let each = SLICE_OUTCOMES.iter().zip(n.slices.into_iter().flatten());
            each.map(move |(outcome, n)| ([("slo", id), ("outcome", *outcome)], n))
        });
        some_counters(&mut enc, &names::SLICES, slices.collect())?;

        // Waivers.
        let kinds = WaiverState::ALL.iter().flat_map(|state| WaiverOrigin::ALL.iter().map(move |origin| (*state, *origin)));
        let waivers =
            kinds.map(|k| ([("state", k.0.word()), ("origin", k.1.word())], s.waiver_counts.get(&k).copied().unwrap_or_default()));
        some_gauges(&mut enc, &names::WAIVERS, waivers.collect())?;
        let ends = waiver_ends(s);
        some_gauges(&mut enc, &names::WAIVER_EXPIRY, ends.into_iter().map(|(id, end)| ([("waiver", id)], end.seconds())).collect())?;

        self.collectors(&mut enc)?;

        // The exporter.
        let none = || NO_LABELS;
        let reload = s.reload.is_none_or(|(good, _)| good);
        some_gauges(&mut enc, &names::CONFIG_LAST_RELOAD, vec![(none(), u64::from(reload))])?;
        some_gauges(&mut enc, &names::LAST_INGEST, s.last_ingest.map(|at| (none(), at.seconds())).into_iter().collect())?;
        some_gauges(&mut enc, &names::INGEST_INTERVAL, vec![(none(), s.ingest_interval.seconds())])?;
        some_gauges(&mut enc, &names::FOLDED_SERIES, vec![(none(), s.folded)])?;
        some_gauges(&mut enc, &names::START_TIME, vec![(none(), s.started_at.seconds())])?;
        some_gauges(&mut enc, &names::DEMO, vec![(none(), u64::from(s.demo))])?;
        let version = ("version".to_owned(), VERSION.to_owned());
        some_infos(&mut enc, &names::EXPORTER_BUILD_INFO, vec![vec![version.clone()]])?;
        some_infos(&mut enc, &names::BUILD_INFO, vec![vec![version, ("definitions".to_owned(), s.definitions_digest.clone())]])
    }
}

const NO_LABELS: [(&str, &str); 0] = [];

impl SnapshotCollector {
    fn collectors(&self, enc: &mut DescriptorEncoder<'_>) -> Done {
        let all = || self.snapshot.collectors.iter().map(|c| (("collector", c.name.as_str()), c));
        some_gauges(enc, &names::COLLECTOR_UP, all().filter_map(|(l, c)| Some(([l], u64::from(c.up?)))).collect())?;
        some_gauges(enc, &names::COLLECTOR_LAST_SUCCESS, all().filter_map(|(l, c)| Some(([l], c.last_success?.seconds()))).collect())?;
        some_gauges(enc, &names::COLLECTOR_LAST_RUN, all().filter_map(|(l, c)| Some(([l], c.last_run?.seconds()))).collect())?;
        let took = all().filter_map(|(l, c)| c.last_run.map(|_| ([l], c.last_duration.seconds())));
        some_gauges(enc, &names::COLLECTOR_RUN_DURATION, took.collect())?;
        let findings = all().flat_map(|(l, c)| CheckResult::ALL.iter().zip(c.findings).map(move |(r, n)| ([l, ("result", r.word())], n)));
        some_gauges(enc, &names::COLLECTOR_FINDINGS, findings.collect())?;
        some_gauges(enc, &names::COLLECTOR_UNMAPPED, all().map(|(l, c)| ([l], c.unmapped)).collect())?;
        let problems = all().flat_map(|(l, c)| {
            ProblemKind::ALL.iter().map(move |k| ([l, ("kind", k.word())], c.problems.get(k).copied().unwrap_or_default()))
        });
        some_counters(enc, &names::COLLECTOR_PROBLEMS, problems.collect())?;
        let requests = all().flat_map(|(l, c)| c.requests.iter().map(move |(code, n)| ([l, ("code", *code)], *n)));
        some_counters(enc, &names::COLLECTOR_REQUESTS, requests.collect())?;
        let scans = all().flat_map(|(l, c)| RUN_OUTCOMES.iter().zip(c.runs).map(move |(o, n)| ([l, ("outcome", *o)], n)));
        some_counters(enc, &names::COLLECTOR_SCANS, scans.collect())?;
        some_histograms(enc, &names::COLLECTOR_SCAN_DURATION, all().map(|(l, c)| ([l], &c.durations)).collect())?;
        some_gauges(enc, &names::COLLECTOR_SCAN_INTERVAL, all().map(|(l, c)| ([l], c.every.seconds())).collect())
    }
}

/// Milliseconds as seconds: what is a whole number below 2^53 is exact up to the last bit of the division.
#[expect(clippy::cast_precision_loss, reason = "prometheus-client has no other number for seconds; render.rs prints exactly")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

fn counter(m: &mut MetricEncoder<'_>, labels: &impl EncodeLabelSet, value: impl prometheus_client::encoding::EncodeCounterValue) -> Done {
    m.encode_family(labels)?.encode_counter::<NoLabelSet, _, f64>(&value, None)
}

fn gauge(m: &mut MetricEncoder<'_>, labels: &impl EncodeLabelSet, value: &impl prometheus_client::encoding::EncodeGaugeValue) -> Done {
    m.encode_family(labels)?.encode_gauge(value)
}

fn some_gauges<const N: usize, V: EncodeLabelValue>(
    enc: &mut DescriptorEncoder<'_>,
    metric: &'static Metric,
    samples: Vec<([(&str, V); N], impl prometheus_client::encoding::EncodeGaugeValue)>,
) -> Done {
    if samples.is_empty() {
        return Ok(());
    }
    Samples::of(enc, metric).each(|m| {
        // An empty label set would be printed as `{}`.
        let mut write = |(labels, value): &([(&str, V); N], _)| if N == 0 { m.encode_gauge(value) } else { gauge(m, labels, value) };
        samples.iter().try_for_each(&mut write)
    })
}

fn some_counters<const N: usize>(enc: &mut DescriptorEncoder<'_>, metric: &'static Metric, samples: Vec<([(&str, &str); N], u64)>) -> Done {
    if samples.is_empty() {
        return Ok(());
    }
    Samples::of(enc, metric).each(|m| samples.iter().try_for_each(|(labels, value)| counter(m, labels, *value)))
}

fn some_histograms<const N: usize>(
    enc: &mut DescriptorEncoder<'_>,
    metric: &'static Metric,
    samples: Vec<([(&str, &str); N], &DurationHistogram)>,
) -> Done {
    if samples.is_empty() {
        return Ok(());
    }
    Samples::of(enc, metric).each(|m| {
        samples.iter().try_for_each(|(labels, h)| {
            let bounds = h.bounds.iter().copied().chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.enumerate().map(|(i, b)| (b, h.counts.get(i).copied().unwrap_or_default())).collect();
            let count = buckets.iter().map(|b| b.1).sum();
            m.encode_family(labels)?.encode_histogram::<NoLabelSet>(seconds(h.sum_ms), count, &buckets, None)
        })
    })
}

fn some_infos(enc: &mut DescriptorEncoder<'_>, metric: &'static Metric, samples: Vec<Vec<(String, String)>>) -> Done {
    if samples.is_empty() {
        return Ok(());
    }
    Samples::of(enc, metric).each(|m| samples.iter().try_for_each(|labels| m.encode_info(labels)))
}
