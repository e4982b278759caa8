//! Many scrapes in one OpenMetrics document with timestamps: what a Prometheus would hold if it had been there.
//!
//! A page is taken at each step, by the very code that answers `/metrics`. OpenMetrics wants the samples of a family
//! together, and within it those of a series, while pages come one after another; so what was said is held until the end.
//! It is held small: most counters grow evenly between two events and most gauges stand still, and both are a few numbers
//! however long it lasts.

use super::names::{self, Metric};
use super::render::{self, Labels};
use super::write::{Page, label, push_float, push_millis};
use crate::domain::{Moment, Span};
use crate::snapshot::Snapshot;
use std::collections::HashMap;
use std::io::{self, Write};
use std::ops::Range;

/// Records pages at equal steps.
#[derive(Debug)]
pub struct Backfill {
    first: Moment,
    every: Span,
    /// `job="…",instance="…"`, for every series.
    labels: String,
    /// Whether a target's own `up` is written: only with a `job`, without which no rule would find it.
    up: bool,
    steps: u32,
    families: Vec<FamilyLog>,
    known: HashMap<&'static str, usize>,
    fixed: Held,
    stepwise: Held,
}

/// What a part of the page said, from step `since` on.
#[derive(Debug, Default)]
struct Held {
    since: u32,
    /// Generation of the snapshot that it was made from.
    generation: Option<u64>,
    /// The instants between which it holds.
    steady: Option<Range<Moment>>,
    said: Vec<(Place, Value)>,
}

/// Where a series stands.
#[derive(Clone, Copy, Debug)]
struct Place {
    family: usize,
    series: usize,
}

/// One family with all that it said.
#[derive(Debug)]
struct FamilyLog {
    metric: &'static Metric,
    index: HashMap<String, usize>,
    series: Vec<Series>,
}

#[derive(Debug)]
struct Series {
    /// Name and labels as on the page.
    text: String,
    runs: Vec<Run>,
}

/// Values at consecutive steps.
#[derive(Debug, PartialEq)]
struct Run {
    start: u32,
    len: u32,
    amount: Amount,
}

#[derive(Debug, PartialEq)]
enum Amount {
    /// Thousandths, growing by the same number each step.
    Line { first: i64, step: i64 },
    /// One number all along.
    Flat(f64),
    /// A number for each step.
    Loose(Vec<f64>),
}

/// A value as the page printed it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Value {
    /// Thousandths: what has at most three decimals.
    Milli(i64),
    Float(f64),
}

impl Backfill {
    /// Begins at `first`, to go on in steps of `every`. `labels` are added to every series: `job` and `instance`, so that
    /// what is scraped later continues the same series.
    pub fn new(first: Moment, every: Span, labels: &[(String, String)]) -> Backfill {
        let mut text = String::new();
        for (name, value) in labels {
            if !text.is_empty() {
                text.push(',');
            }
            label(&mut text, name, value);
        }
        Backfill {
            first,
            every,
            labels: text,
            up: labels.iter().any(|(name, _)| name == "job"),
            steps: 0,
            families: Vec::new(),
            known: HashMap::new(),
            fixed: Held::default(),
            stepwise: Held::default(),
        }
    }

    /// The instant of the next page.
    pub fn next(&self) -> Moment {
        self.first + self.every.times(u64::from(self.steps))
    }

    /// Takes the page of `snapshot` at [`Backfill::next`].
    pub fn take(&mut self, snapshot: &Snapshot) {
        let now = self.next();
        let step = self.steps;
        let mut labels = None;
        if self.fixed.generation != Some(snapshot.generation) {
            let labels = labels.get_or_insert_with(|| Labels::of(snapshot));
            let mut page = Page::new(true, None);
            render::fixed(&mut page, snapshot, labels);
            let said = self.read(page);
            let old = std::mem::replace(&mut self.fixed, Held { since: step, generation: Some(snapshot.generation), steady: None, said });
            self.settle(old, step);
        }
        let same = self.stepwise.generation == Some(snapshot.generation) && self.stepwise.steady.as_ref().is_some_and(|s| s.contains(&now));
        if !same {
            let labels = labels.get_or_insert_with(|| Labels::of(snapshot));
            let (from, until) = render::steady(snapshot, now);
            let mut page = Page::new(true, None);
            render::stepwise(&mut page, snapshot, labels, now);
            let said = self.read(page);
            let next = Held { since: step, generation: Some(snapshot.generation), steady: Some(from..until), said };
            let old = std::mem::replace(&mut self.stepwise, next);
            self.settle(old, step);
        }
        let labels = labels.unwrap_or_else(|| Labels::of(snapshot));
        let mut page = Page::new(true, None);
        render::flowing(&mut page, snapshot, &labels, now);
        for (place, value) in self.read(page) {
            self.series(place).say(step, value, 1);
        }
        self.steps += 1;
    }

    fn series(&mut self, place: Place) -> &mut Series {
        &mut self.families[place.family].series[place.series]
    }

    /// Writes down what `held` said up to `end`.
    fn settle(&mut self, held: Held, end: u32) {
        if end > held.since {
            for (place, value) in held.said {
                self.series(place).say(held.since, value, end - held.since);
            }
        }
    }

    /// The samples of a page.
    fn read(&mut self, page: Page) -> Vec<(Place, Value)> {
        let mut said = Vec::new();
        let mut family = None;
        for line in page.text().lines() {
            if let Some(head) = line.strip_prefix("# HELP ") {
                family = head.split(' ').next().and_then(|name| self.family(name));
            } else if let (Some(f), false) = (family, line.starts_with('#'))
                && let Some((series, value)) = line.rsplit_once(' ')
            {
                let log = &mut self.families[f];
                let place = match log.index.get(series) {
                    Some(i) => *i,
                    None => {
                        log.index.insert(series.to_owned(), log.series.len());
                        log.series.push(Series { text: series.to_owned(), runs: Vec::new() });
                        log.series.len() - 1
                    }
                };
                said.push((Place { family: f, series: place }, Value::read(value)));
            }
        }
        said
    }

    /// The log of the family that OpenMetrics calls `name`.
    fn family(&mut self, name: &str) -> Option<usize> {
        if let Some(i) = self.known.get(name) {
            return Some(*i);
        }
        let metric = *names::ALL.iter().find(|m| m.family() == name)?;
        self.families.push(FamilyLog { metric, index: HashMap::new(), series: Vec::new() });
        self.known.insert(metric.family(), self.families.len() - 1);
        Some(self.families.len() - 1)
    }

    /// Writes everything: family by family, series by series, each by time.
    ///
    /// # Errors
    /// The writer's own.
    pub fn write(mut self, out: &mut dyn Write) -> io::Result<()> {
        let (fixed, stepwise) = (std::mem::take(&mut self.fixed), std::mem::take(&mut self.stepwise));
        self.settle(fixed, self.steps);
        self.settle(stepwise, self.steps);
        let mut text = Vec::with_capacity(1 << 17);
        if self.up && self.steps > 0 {
            text.extend_from_slice(b"# HELP up Whether the target could be scraped.\n# TYPE up gauge\n");
            let run = Run { start: 0, len: self.steps, amount: Amount::Line { first: 1000, step: 0 } };
            self.print(&[&Series { text: "up".to_owned(), runs: vec![run] }], &mut text, out)?;
        }
        let place = |f: &&FamilyLog| names::ALL.iter().position(|m| m.name == f.metric.name);
        let mut families: Vec<&FamilyLog> = self.families.iter().collect();
        families.sort_by_key(place);
        for family in families {
            let mut page = Page::new(true, None);
            page.header(family.metric);
            text.extend_from_slice(page.text().as_bytes());
            if family.metric.kind == names::Kind::Histogram {
                // The buckets, sum and count of one instant are one point and stand together.
                let mut metrics: Vec<(String, Vec<&Series>)> = Vec::new();
                for series in &family.series {
                    let key = series.without_bucket();
                    match metrics.iter_mut().find(|(k, _)| *k == key) {
                        Some((_, list)) => list.push(series),
                        None => metrics.push((key, vec![series])),
                    }
                }
                for (_, list) in metrics {
                    self.print(&list, &mut text, out)?;
                }
            } else {
                for series in &family.series {
                    self.print(&[series], &mut text, out)?;
                }
            }
        }
        text.extend_from_slice(b"# EOF\n");
        out.write_all(&text)
    }

    /// The samples of one metric, by time.
    fn print(&self, metric: &[&Series], text: &mut Vec<u8>, out: &mut dyn Write) -> io::Result<()> {
        let names: Vec<String> = metric.iter().map(|s| self.labelled(&s.text)).collect();
        let mut at = vec![0usize; metric.len()];
        for step in 0..self.steps {
            for ((series, name), at) in metric.iter().zip(&names).zip(&mut at) {
                while series.runs.get(*at).is_some_and(|r| r.start + r.len <= step) {
                    *at += 1;
                }
                let Some(run) = series.runs.get(*at).filter(|r| r.start <= step) else { continue };
                text.extend_from_slice(name.as_bytes());
                run.print(step, text);
                text.push(b' ');
                push_signed(text, (self.first + self.every.times(u64::from(step))).0);
                text.push(b'\n');
            }
            if text.len() >= 1 << 16 {
                out.write_all(text)?;
                text.clear();
            }
        }
        Ok(())
    }

    fn labelled(&self, series: &str) -> String {
        let own = &self.labels;
        match series.split_once('{') {
            _ if own.is_empty() => format!("{series} "),
            Some((name, rest)) => format!("{name}{{{own},{rest} "),
            None => format!("{series}{{{own}}} "),
        }
    }
}

impl Series {
    /// `value` at `n` steps from `start` on.
    fn say(&mut self, start: u32, value: Value, n: u32) {
        let last = self.runs.last_mut().filter(|r| r.start + r.len == start);
        match (last, value) {
            (Some(Run { len, amount: Amount::Line { first, step }, .. }), Value::Milli(v)) => {
                if *len == 1 && n == 1 {
                    (*step, *len) = (v - *first, 2);
                    return;
                }
                let due = *first + *step * i64::from(*len);
                if v == due && (n == 1 || *step == 0) {
                    *len += n;
                    return;
                }
            }
            (Some(Run { len, amount: Amount::Flat(x), .. }), Value::Float(y)) if *x == y => {
                *len += n;
                return;
            }
            (Some(run), Value::Float(y)) if n == 1 => match &mut run.amount {
                Amount::Flat(x) if run.len == 1 => {
                    (run.amount, run.len) = (Amount::Loose(vec![*x, y]), 2);
                    return;
                }
                Amount::Loose(list) if list.last() != Some(&y) => {
                    list.push(y);
                    run.len += 1;
                    return;
                }
                Amount::Loose(list) => {
                    // It begins to stand still: the last one belongs to what follows.
                    list.pop();
                    run.len -= 1;
                    let start = run.start + run.len;
                    self.runs.push(Run { start, len: 2, amount: Amount::Flat(y) });
                    return;
                }
                Amount::Flat(_) | Amount::Line { .. } => {}
            },
            _ => {}
        }
        let amount = match value {
            Value::Milli(first) => Amount::Line { first, step: 0 },
            Value::Float(x) => Amount::Flat(x),
        };
        self.runs.push(Run { start, len: n, amount });
    }

    /// What the series of one histogram have in common: the labels but `le`, without the suffixes of the name.
    fn without_bucket(&self) -> String {
        let (name, labels) = self.text.split_once('{').unwrap_or((&self.text, "}"));
        let name = ["_bucket", "_sum", "_count"].iter().find_map(|s| name.strip_suffix(s)).unwrap_or(name);
        let labels = labels.rfind("le=\"").filter(|_| self.text.contains("_bucket{")).map_or(labels, |i| &labels[..i]);
        format!("{name}{{{}", labels.trim_end_matches(['}', ',']))
    }
}

impl Run {
    fn print(&self, step: u32, text: &mut Vec<u8>) {
        let i = step - self.start;
        let float = push_float;
        match &self.amount {
            Amount::Line { first, step } => push_signed(text, first + step * i64::from(i)),
            Amount::Flat(x) => float(text, *x),
            Amount::Loose(list) => float(text, list[i as usize]),
        }
    }
}

fn push_signed(text: &mut Vec<u8>, milli: i64) {
    if milli < 0 {
        text.push(b'-');
    }
    push_millis(text, milli.unsigned_abs());
}

impl Value {
    /// Reads what the page printed. What would not come back as the same text is held as a float.
    fn read(text: &str) -> Value {
        let milli = || {
            let digits = text.strip_prefix('-').unwrap_or(text);
            let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
            let plain = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
            if whole.is_empty() || whole.len() > 15 || fraction.len() > 3 || !plain(whole) || !plain(fraction) {
                return None;
            }
            let value = whole.parse::<i64>().ok()? * 1000 + format!("{fraction:0<3}").parse::<i64>().ok()?;
            Some(if digits.len() < text.len() { -value } else { value })
        };
        match milli() {
            Some(m) => Value::Milli(m),
            None => Value::Float(text.parse().unwrap_or(f64::NAN)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Counts;
    use crate::snapshot::{ControlView, Row, ScopeView};
    use proptest::prelude::*;

    #[test]
    fn what_was_printed_comes_back() {
        for (text, value) in [
            ("0", Value::Milli(0)),
            ("12.345", Value::Milli(12_345)),
            ("-3.5", Value::Milli(-3500)),
            ("0.6", Value::Milli(600)),
            ("+Inf", Value::Float(f64::INFINITY)),
            ("0.9666666666666667", Value::Float(0.966_666_666_666_666_7)),
            ("123456789012345", Value::Milli(123_456_789_012_345_000)),
            ("1234567890123456", Value::Float(1_234_567_890_123_456.0)),
        ] {
            assert_eq!(Value::read(text), value, "{text}");
        }
    }

    proptest! {
        /// However values move, each step prints what was said at it.
        #[test]
        fn runs_hold_what_was_said(said in prop::collection::vec((0usize..5, 1u32..4), 1..60)) {
            let mut series = Series { text: "x".to_owned(), runs: Vec::new() };
            let (mut expected, mut step, mut level) = (Vec::new(), 0u32, 0i64);
            for (kind, n) in said {
                let value = match kind {
                    0 => { level += 500; Value::Milli(level) }
                    1 => Value::Milli(level),
                    2 => Value::Float(0.123_456),
                    3 => Value::Float(f64::from(step) + 0.123_45),
                    _ => { step += 1; continue }
                };
                let n = if kind == 0 { 1 } else { n };
                series.say(step, value, n);
                expected.extend((step..step + n).map(|s| (s, value)));
                step += n;
            }
            let mut got = Vec::new();
            for run in &series.runs {
                for s in run.start..run.start + run.len {
                    let mut text = Vec::new();
                    run.print(s, &mut text);
                    got.push((s, Value::read(std::str::from_utf8(&text).expect("ASCII"))));
                }
            }
            prop_assert_eq!(got, expected);
        }
    }

    #[test]
    fn families_and_series_stand_together() {
        let control = |id: &str| ControlView {
            id: id.to_owned(),
            set: "s".to_owned(),
            version: "1".to_owned(),
            title: String::new(),
            owner: String::new(),
            nature: crate::domain::Nature::Detective,
            severity: crate::domain::Severity::High,
            requirements: Vec::new(),
            rationale: String::new(),
            remediation: String::new(),
            training: String::new(),
            fix_within: None,
            max_age: Span::DAY,
            checks: Vec::new(),
            has_ratio: true,
            disagreements: 0,
        };
        let mut snapshot = Snapshot {
            generation: 1,
            controls: vec![control("a"), control("b")].into(),
            scopes: vec![ScopeView { name: "x".to_owned(), parts: Vec::new() }].into(),
            rows: vec![Row { counts: Counts([3, 1, 0, 0]), ..Row::default() }, Row { control: 1, ..Row::default() }],
            first_change: vec![0, 0, 0],
            remediation_durations: vec![crate::snapshot::DurationHistogram::new(&[1.0]); 5],
            ..Snapshot::default()
        };
        let mut backfill = Backfill::new(Moment(60_000), Span::MINUTE, &[("job".to_owned(), "a \"b\"".to_owned())]);
        backfill.take(&snapshot);
        backfill.take(&snapshot);
        snapshot.generation = 2;
        snapshot.rows[0].counts = Counts([4, 0, 0, 0]);
        backfill.take(&snapshot);
        let mut out = Vec::new();
        backfill.write(&mut out).expect("a Vec takes it");
        let text = String::from_utf8(out).expect("UTF-8");
        let lines: Vec<&str> = text.lines().filter(|l| l.contains("control=\"a\",scope=\"x\",state=\"compliant\"")).collect();
        assert_eq!(
            lines,
            [
                r#"compliance_resource_seconds_total{job="a \"b\"",control="a",scope="x",state="compliant"} 180 60"#,
                r#"compliance_resource_seconds_total{job="a \"b\"",control="a",scope="x",state="compliant"} 360 120"#,
                r#"compliance_resource_seconds_total{job="a \"b\"",control="a",scope="x",state="compliant"} 720 180"#,
                r#"compliance_resources{job="a \"b\"",control="a",scope="x",state="compliant"} 3 60"#,
                r#"compliance_resources{job="a \"b\"",control="a",scope="x",state="compliant"} 3 120"#,
                r#"compliance_resources{job="a \"b\"",control="a",scope="x",state="compliant"} 4 180"#,
            ]
        );
        assert!(text.starts_with("# HELP up ") && text.ends_with("\n# EOF\n"), "{text}");
        assert!(text.contains("\nup{job=\"a \\\"b\\\"\"} 1 180\n"), "{text}");
        let mut heads: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("# TYPE ")).collect();
        let many = heads.len();
        heads.sort_unstable();
        heads.dedup();
        assert_eq!(heads.len(), many, "each family once");
        let points: Vec<&str> =
            text.lines().filter(|l| l.contains("remediation_duration_seconds_") && l.contains("severity=\"low\"")).collect();
        let times: Vec<&str> = points.iter().filter_map(|l| l.rsplit(' ').next()).collect();
        assert_eq!(times, ["60", "60", "60", "60", "120", "120", "120", "120", "180", "180", "180", "180"], "{points:#?}");
    }
}
