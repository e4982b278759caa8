//! Holds objectives against what is so now: the judgement of `gate`.

use crate::domain::{Moment, Ratio, State};
use crate::snapshot::{SloView, Snapshot};
use serde::Serialize;

/// An objective, judged.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SloVerdict {
    /// `<service>-<name>`.
    pub(crate) slo: String,
    /// As a ratio.
    pub(crate) objective: f64,
    /// 1 − bad/total under the SLO's policies; none if nothing is in scope.
    pub(crate) ratio: Option<f64>,
    /// Bounds of the plain ratio: unknown as bad, unknown as good.
    pub(crate) lower: Option<f64>,
    /// See `lower`.
    pub(crate) upper: Option<f64>,
    /// Share of the population about which something is known.
    pub(crate) coverage: Option<f64>,
    /// Yes, no, or could not tell.
    pub(crate) holds: Option<bool>,
    /// False where an instant cannot tell, since events are counted.
    pub(crate) judged: bool,
    /// Why, where it is not plain.
    pub(crate) reason: String,
}

/// A control in a scope, for people and programs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ControlLine {
    /// Control.
    pub(crate) control: String,
    /// Scope.
    pub(crate) scope: String,
    /// Severity.
    pub(crate) severity: String,
    /// Counts.
    pub(crate) compliant: u64,
    /// See `compliant`.
    pub(crate) non_compliant: u64,
    /// See `compliant`.
    pub(crate) unknown: u64,
    /// See `compliant`.
    pub(crate) waived: u64,
    /// The ratio; none where it does not exist.
    pub(crate) ratio: Option<f64>,
    /// Its bounds.
    pub(crate) lower: Option<f64>,
    /// See `lower`.
    pub(crate) upper: Option<f64>,
    /// Coverage.
    pub(crate) coverage: Option<f64>,
}

/// Every (control, scope) at `now`.
pub(crate) fn controls(snapshot: &Snapshot, now: Moment) -> Vec<ControlLine> {
    (0..snapshot.rows.len())
        .map(|i| {
            let counts = snapshot.row_at(i, now).counts;
            let control = &snapshot.controls[snapshot.rows[i].control as usize];
            let ratio = Ratio::of(&counts).filter(|_| control.has_ratio);
            ControlLine {
                control: control.id.clone(),
                scope: snapshot.scopes[snapshot.rows[i].scope as usize].name.clone(),
                severity: control.severity.to_string(),
                compliant: counts[State::Compliant],
                non_compliant: counts[State::NonCompliant],
                unknown: counts[State::Unknown],
                waived: counts[State::Waived],
                ratio: ratio.and_then(|r| r.value),
                lower: ratio.map(|r| r.lower),
                upper: ratio.map(|r| r.upper),
                coverage: Ratio::coverage(&counts),
            }
        })
        .collect()
}

/// Every objective at `now`.
pub(crate) fn slos(snapshot: &Snapshot, now: Moment) -> Vec<SloVerdict> {
    snapshot.slos.iter().map(|view| judge(snapshot, view, now)).collect()
}

fn judge(snapshot: &Snapshot, view: &SloView, now: Moment) -> SloVerdict {
    let at = snapshot.slo_at(view, now);
    let bounds = Ratio::of(&at.counts);
    let holds = at.holds(view.slo.objective);
    let mut reason = match holds {
        None if !at.judged => "it counts events, and an instant has none; `serve` keeps its account".to_owned(),
        None => "nothing in scope has a verdict".to_owned(),
        Some(_) => format!("{} of {} do not comply", at.bad, at.total),
    };
    if !at.without_ratio.is_empty() {
        let names: Vec<&str> = at.without_ratio.iter().map(|c| snapshot.controls[*c as usize].id.as_str()).collect();
        reason.push_str(&format!("; not counted, for want of a population: {}", names.join(", ")));
    }
    SloVerdict {
        slo: view.slo.id(),
        objective: view.slo.objective,
        ratio: at.ratio(),
        lower: bounds.map(|r| r.lower),
        upper: bounds.map(|r| r.upper),
        coverage: Ratio::coverage(&at.counts),
        holds,
        judged: at.judged,
        reason,
    }
}
