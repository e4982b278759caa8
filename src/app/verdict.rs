//! Holds objectives against what is so now: the judgement of `gate`.

use crate::config::Definitions;
use crate::domain::{Counts, Moment, Ratio, State};
use crate::slo::Slo;
use crate::snapshot::Snapshot;
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
pub(crate) fn slos(snapshot: &Snapshot, definitions: &Definitions, now: Moment) -> Vec<SloVerdict> {
    definitions.slos.iter().map(|slo| judge(snapshot, definitions, slo, now)).collect()
}

fn judge(snapshot: &Snapshot, definitions: &Definitions, slo: &Slo, now: Moment) -> SloVerdict {
    let covered: Vec<&str> = definitions.controls().filter(|c| slo.controls.covers(c)).map(|c| c.id.as_str()).collect();
    let mut counts = Counts::default();
    let mut without_ratio = Vec::new();
    for (i, row) in snapshot.rows.iter().enumerate() {
        let control = &snapshot.controls[row.control as usize];
        let scope = &snapshot.scopes[row.scope as usize].name;
        if !covered.contains(&control.id.as_str()) || !slo.covers_scope(scope) {
            continue;
        }
        let now = snapshot.row_at(i, now).counts;
        if !control.has_ratio {
            if now.total() > 0 {
                without_ratio.push(control.id.clone());
            }
            continue;
        }
        for (sum, n) in counts.0.iter_mut().zip(now.0) {
            *sum += n;
        }
    }
    let (bad, total) = slo.bad_and_total(&counts);
    let bounds = Ratio::of(&counts);
    #[expect(clippy::cast_precision_loss, reason = "counts of resources are far below 2^53")]
    let error = (total > 0).then(|| bad as f64 / total as f64);
    // Compared as it is reported, against the budget 1 − t with a rounding's worth of room: 99 of 100 meets 99 %.
    let holds = error.map(|e| e <= 1.0 - slo.objective + 1e-12);
    let mut reason = match holds {
        None => "nothing in scope has a verdict".to_owned(),
        Some(_) => format!("{bad} of {total} do not comply"),
    };
    without_ratio.sort();
    without_ratio.dedup();
    if !without_ratio.is_empty() {
        reason.push_str(&format!("; not counted, for want of a population: {}", without_ratio.join(", ")));
    }
    SloVerdict {
        slo: slo.id(),
        objective: slo.objective,
        ratio: error.map(|e| 1.0 - e),
        lower: bounds.map(|r| r.lower),
        upper: bounds.map(|r| r.upper),
        coverage: Ratio::coverage(&counts),
        holds,
        reason,
    }
}
