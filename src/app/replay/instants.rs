//! `--output json`: what stood at chosen instants, one object a line.

use super::Watcher;
use crate::app::verdict;
use crate::domain::{Counts, Moment, Span, State};
use crate::slo::window;
use crate::snapshot::{SloNumbers, SloView, Snapshot};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use std::io::Write;
use std::sync::Arc;

/// Writes an object for each instant as its time comes.
pub(crate) struct Instants<'w> {
    /// Asked for; in `begin` they become `due`.
    asked: Vec<Moment>,
    every: Option<Span>,
    until: Moment,
    /// Rising.
    due: std::iter::Peekable<std::vec::IntoIter<Moment>>,
    out: &'w mut dyn Write,
}

impl<'w> Instants<'w> {
    /// The instants `at`, in any order, and the multiples of `every` up to `until`.
    pub(crate) fn new(at: Vec<Moment>, every: Option<Span>, until: Moment, out: &'w mut dyn Write) -> Instants<'w> {
        Instants { asked: at, every, until, due: Vec::new().into_iter().peekable(), out }
    }
}

impl Watcher for Instants<'_> {
    fn begin(&mut self, start: Moment) -> anyhow::Result<()> {
        let mut due = std::mem::take(&mut self.asked);
        if let Some(early) = due.iter().find(|at| **at < start) {
            anyhow::bail!("the ledger's account is settled up to {start}; what stood at {early} cannot be asked of it any more");
        }
        due.extend(self.every.into_iter().flat_map(|every| super::steps(start, self.until, every)));
        due.sort_unstable();
        due.dedup();
        self.due = due.into_iter().peekable();
        Ok(())
    }

    fn stretch(&mut self, snapshot: &Arc<Snapshot>, _from: Moment, to: Moment, last: bool) -> anyhow::Result<()> {
        while let Some(now) = self.due.next_if(|at| *at < to || last && *at == to) {
            serde_json::to_writer(&mut *self.out, &Object::of(snapshot, now))?;
            self.out.write_all(b"\n")?;
        }
        Ok(())
    }
}

/// One line of output. A number that does not exist is null.
#[derive(Debug, Serialize)]
struct Object {
    at: String,
    slos: Vec<SloAt>,
    controls: Vec<ControlAt>,
}

#[derive(Debug, Serialize)]
struct SloAt {
    slo: String,
    /// Where it covers only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    control: Option<String>,
    error_ratio: ByWindow,
    burn_rate: ByWindow,
    period_error_ratio: Option<f64>,
    error_budget_remaining_ratio: Option<f64>,
    /// Null, too, if it will never be spent: JSON has no infinity.
    error_budget_exhaustion_seconds: Option<f64>,
}

/// A number for each window, in their order.
#[derive(Debug)]
struct ByWindow(Vec<(String, Option<f64>)>);

impl Serialize for ByWindow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(k, v)| (k, v)))
    }
}

#[derive(Debug, Serialize)]
struct ControlAt {
    control: String,
    scope: String,
    resources: States<u64>,
    resource_seconds: States<Seconds>,
    ratio: Option<f64>,
    ratio_lower: Option<f64>,
    ratio_upper: Option<f64>,
    coverage: Option<f64>,
}

#[derive(Debug, Serialize)]
struct States<T> {
    compliant: T,
    non_compliant: T,
    unknown: T,
    waived: T,
}

impl<T> States<T> {
    fn of(counts: &Counts, value: impl Fn(u64) -> T) -> States<T> {
        let [compliant, non_compliant, unknown, waived] =
            [State::Compliant, State::NonCompliant, State::Unknown, State::Waived].map(|s| value(counts[s]));
        States { compliant, non_compliant, unknown, waived }
    }
}

/// Seconds from whole milliseconds, printed digit for digit: a float would round the last ones away.
#[derive(Debug)]
struct Seconds(u64);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = format!("{}.{:03}", self.0 / 1000, self.0 % 1000);
        let text = text.trim_end_matches('0').trim_end_matches('.').to_owned();
        RawValue::from_string(text).map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

impl Object {
    fn of(snapshot: &Snapshot, now: Moment) -> Object {
        let controls = verdict::controls(snapshot, now).into_iter().enumerate().map(|(i, line)| {
            let row = snapshot.row_at(i, now);
            ControlAt {
                control: line.control,
                scope: line.scope,
                resources: States::of(&row.counts, |n| n),
                resource_seconds: States::of(&row.resource_ms, Seconds),
                ratio: line.ratio,
                ratio_lower: line.lower,
                ratio_upper: line.upper,
                coverage: line.coverage,
            }
        });
        let numbers = snapshot.slo_numbers(now);
        let slos = snapshot.slos.iter().zip(&numbers).map(|(view, n)| slo_at(snapshot, view, n));
        Object { at: now.to_string(), slos: slos.collect(), controls: controls.collect() }
    }
}

fn slo_at(snapshot: &Snapshot, view: &SloView, numbers: &SloNumbers) -> SloAt {
    let slo = &view.slo;
    let by_window = |value: &dyn Fn(f64) -> f64| ByWindow(numbers.error.iter().map(|(w, e)| (window::name(*w), e.map(value))).collect());
    let budget = &numbers.budget;
    SloAt {
        slo: slo.id(),
        control: match view.controls[..] {
            [only] => Some(snapshot.controls[only as usize].id.clone()),
            _ => None,
        },
        error_ratio: by_window(&|e| e),
        burn_rate: by_window(&|e| e / slo.budget()),
        period_error_ratio: budget.error,
        error_budget_remaining_ratio: budget.remaining,
        error_budget_exhaustion_seconds: numbers.exhaustion_seconds.filter(|s| s.is_finite()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_keep_their_digits() {
        for (ms, text) in
            [(0, "0"), (1, "0.001"), (12_300, "12.3"), (5000, "5"), (100_000, "100"), (9_007_199_254_740_993, "9007199254740.993")]
        {
            assert_eq!(serde_json::to_string(&Seconds(ms)).expect("prints"), text);
        }
    }
}
