//! JSON views of a snapshot, for `/api/v1`. A number that does not exist is `null`, with its reason beside it.

use super::names::why_no_ratio;
use crate::domain::{Counts, Moment, Ratio, Severity, Span, State, WaiverState};
use crate::slo::window;
use crate::snapshot::{ControlView, Row, Snapshot, WaiverView};
use serde_json::{Map, Value, json};

/// Which part of a list is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging {
    /// How many items are left out.
    pub offset: usize,
    /// How many items are wanted at most.
    pub limit: usize,
}

/// Which controls are asked for; what is `None` asks for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlFilter {
    /// An id.
    pub control: Option<String>,
    /// Controls that were judged in this scope, and of their scopes only this one.
    pub scope: Option<String>,
    /// A severity.
    pub severity: Option<Severity>,
    /// An owner.
    pub owner: Option<String>,
    /// The name of a control set.
    pub set: Option<String>,
    /// A framework.
    pub framework: Option<String>,
}

/// The controls in force, each with its scopes at `now`.
pub fn controls(s: &Snapshot, now: Moment, filter: &ControlFilter, paging: Paging) -> Value {
    let scope = |row: &Row| s.scopes[row.scope as usize].name.as_str();
    let asked = |i: usize, c: &ControlView| {
        let is = |want: &Option<String>, have: &str| want.as_deref().is_none_or(|w| w == have);
        is(&filter.control, &c.id)
            && is(&filter.owner, &c.owner)
            && is(&filter.set, &c.set)
            && filter.severity.is_none_or(|w| w == c.severity)
            && filter.framework.as_ref().is_none_or(|w| c.requirements.iter().any(|(f, _)| f == w))
            && filter.scope.as_ref().is_none_or(|w| s.rows.iter().any(|r| r.control as usize == i && scope(r) == w))
    };
    let all: Vec<usize> = s.controls.iter().enumerate().filter(|(i, c)| asked(*i, c)).map(|(i, _)| i).collect();
    let items = all.iter().skip(paging.offset).take(paging.limit).map(|&i| {
        let rows = s.rows.iter().enumerate().filter(|(_, r)| r.control as usize == i);
        let rows = rows.filter(|(_, r)| filter.scope.as_deref().is_none_or(|w| scope(r) == w));
        let scopes = rows.map(|(at, row)| in_scope(s, at, row, now)).collect();
        control(&s.controls[i], scopes)
    });
    list(s, now, items.collect(), all.len(), paging)
}

/// The waivers from files.
pub fn waivers(s: &Snapshot, now: Moment, state: Option<WaiverState>, paging: Paging) -> Value {
    let asked = || s.waivers.iter().filter(|w| state.is_none_or(|want| want == w.state));
    let items = asked().skip(paging.offset).take(paging.limit).map(waiver).collect();
    list(s, now, items, asked().count(), paging)
}

/// The objectives, with what they stand at by the resources of this instant.
pub fn slos(s: &Snapshot, now: Moment, paging: Paging) -> Value {
    let numbers = s.slo_numbers(now);
    let items = s.slos.iter().zip(&numbers).skip(paging.offset).take(paging.limit).map(|(view, n)| {
        let at = s.slo_at(view, now);
        let bounds = Ratio::of(&at.counts);
        json!({
            "slo": view.slo.id(),
            "service": view.slo.service,
            "name": view.slo.name,
            "objective": view.slo.objective,
            "period_seconds": view.slo.period.seconds(),
            "sli": view.slo.sli.word(),
            "owner": view.slo.owner,
            "description": view.slo.description,
            "unknown": view.slo.unknown.word(),
            "waived": view.slo.waived.word(),
            "controls": view.controls.iter().map(|c| s.controls[*c as usize].id.as_str()).collect::<Vec<_>>(),
            "now": {
                "bad": at.bad,
                "total": at.total,
                "ratio": at.ratio(),
                "ratio_lower": bounds.map(|b| b.lower),
                "ratio_upper": bounds.map(|b| b.upper),
                "coverage": Ratio::coverage(&at.counts),
                "holds": at.holds(view.slo.objective),
                "without_ratio": at.without_ratio.iter().map(|c| s.controls[*c as usize].id.as_str()).collect::<Vec<_>>(),
            },
            "error_ratio": windows(&n.error, |e| e),
            "burn_rate": windows(&n.error, |e| e / view.slo.budget()),
            "error_budget": {
                "ratio": view.slo.budget(),
                "allowed_resource_seconds": n.budget.allowed_seconds,
                "remaining_ratio": n.budget.remaining,
                "remaining_full_period_ratio": n.budget.remaining_full_period,
                "warming_up": n.budget.warming_up,
                // JSON has no infinity: no number, and the word beside it.
                "exhaustion_seconds": n.exhaustion_seconds.filter(|s| s.is_finite()),
                "exhausts": n.exhaustion_seconds.map(f64::is_finite),
            },
        })
    });
    list(s, now, items.collect(), s.slos.len(), paging)
}

/// A number for each window, by its name; `null` where nothing counted in it.
fn windows(error: &[(Span, Option<f64>)], number: impl Fn(f64) -> f64) -> Map<String, Value> {
    error.iter().map(|(w, e)| (window::name(*w), e.map(&number).into())).collect()
}

fn list(s: &Snapshot, now: Moment, items: Vec<Value>, total: usize, paging: Paging) -> Value {
    let end = paging.offset.saturating_add(items.len());
    let next = (end < total && !items.is_empty()).then(|| end.to_string());
    json!({ "as_of": now.max(s.at).to_string(), "demo": s.demo, "total": total, "next": next, "items": items })
}

fn control(c: &ControlView, scopes: Vec<Value>) -> Value {
    let requirements: Vec<Value> = c.requirements.iter().map(|(f, id)| json!({ "framework": f, "id": id })).collect();
    json!({
        "id": c.id,
        "title": c.title,
        "set": c.set,
        "version": c.version,
        "owner": c.owner,
        "nature": c.nature.word(),
        "severity": c.severity.word(),
        "requirements": requirements,
        "checks": c.checks,
        "max_age_seconds": c.max_age.seconds(),
        "fix_within_seconds": c.fix_within.map(Span::seconds),
        "rationale": c.rationale,
        "remediation": c.remediation,
        "training": c.training,
        "scanner_disagreements": c.disagreements,
        "scopes": scopes,
    })
}

fn in_scope(s: &Snapshot, at: usize, row: &Row, now: Moment) -> Value {
    let c = &s.controls[row.control as usize];
    let is = s.row_at(at, now);
    let ratio = Ratio::of(&is.counts).filter(|_| c.has_ratio);
    json!({
        "scope": s.scopes[row.scope as usize].name,
        "resources": by_state(&is.counts, |n| n.into()),
        "resource_seconds": by_state(&is.resource_ms, |ms| Span(ms).seconds().into()),
        "ratio": ratio.and_then(|r| r.value),
        "ratio_lower": ratio.map(|r| r.lower),
        "ratio_upper": ratio.map(|r| r.upper),
        "coverage": Ratio::coverage(&is.counts).filter(|_| c.has_ratio),
        "no_ratio_because": why_no_ratio(&is.counts, c.has_ratio),
        "newest_evidence": row.newest_evidence.map(|at| at.to_string()),
        "evidence_is_fresh": is.fresh,
        "oldest_violation": row.violations.as_ref().and_then(|v| v.oldest_open).map(|at| at.to_string()),
    })
}

fn by_state(counts: &Counts, value: impl Fn(u64) -> Value) -> Map<String, Value> {
    State::ALL.iter().map(|s| (s.word().to_owned(), value(counts[*s]))).collect()
}

fn waiver(w: &WaiverView) -> Value {
    json!({
        "id": w.id,
        "state": w.state.word(),
        "control": w.control,
        "resource": w.resource,
        "owner": w.owner,
        "reason": w.reason,
        "ticket": w.ticket,
        "from": w.from.to_string(),
        "until": w.until.to_string(),
        "covers": w.covers,
    })
}
