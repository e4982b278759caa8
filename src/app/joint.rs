//! Composites of mode `joint`: a resource is good only if it complies with every control that applies to it. Members'
//! ratios cannot tell that, so each resource is followed here, by the very transitions that the ledger records.

use crate::domain::{Moment, State};
use crate::evaluate::account::Scheduled;
use crate::evaluate::{Book, PairTransition};
use crate::ledger::Ledger;
use crate::slo::{Slo, Timeline};
use std::collections::HashMap;
use std::sync::Arc;

/// A composite of mode `joint`.
#[derive(Debug)]
pub(super) struct Joint {
    /// (control, scope) → whether it is covered, as far as it was asked.
    covers: HashMap<(u32, u32), bool>,
    members: Vec<Slo>,
    own: Slo,
    /// By ledger id of the resource.
    resources: HashMap<u32, Held>,
    /// By shown scope: place in `parts`.
    scopes: Vec<u32>,
    pub(super) parts: Vec<Arc<Timeline>>,
}

#[derive(Debug, Default)]
struct Held {
    states: Vec<(u32, State)>,
    joint: Option<State>,
    part: usize,
}

/// A change of one pair, whoever tells it.
#[derive(Clone, Copy, Debug)]
struct Change {
    at: Moment,
    control: u32,
    scope: u32,
    resource: u32,
    to: Option<State>,
}

impl Joint {
    /// From the ledger's transitions, all of them; where these were pruned, from what the book holds at `at`.
    pub(super) fn build(own: &Slo, members: Vec<Slo>, book: &Book, ledger: &Ledger, at: Moment) -> anyhow::Result<Joint> {
        let mut out =
            Joint { covers: HashMap::new(), members, own: own.clone(), resources: HashMap::new(), scopes: Vec::new(), parts: Vec::new() };
        ledger.transitions(&mut |t| {
            out.apply(book, Change { at: t.at, control: t.control, scope: t.scope, resource: t.resource, to: t.to });
        })?;
        // Of a ledger that was never pruned nothing is left to be done here.
        book.each_state(at, &mut |resource, control, scope, state| {
            out.apply(book, Change { at, control, scope, resource, to: state });
        });
        Ok(out)
    }

    /// Carries it on; transitions in the order of their instants.
    pub(super) fn carry(&mut self, book: &Book, transitions: &[PairTransition]) {
        for t in transitions {
            let c = &t.change;
            self.apply(book, Change { at: t.at, control: c.control, scope: c.scope, resource: c.resource, to: c.to });
        }
    }

    fn covers(&mut self, book: &Book, control: u32, scope: u32) -> bool {
        let (members, own) = (&self.members, &self.own);
        *self.covers.entry((control, scope)).or_insert_with(|| {
            let Some(rule) = book.control_rule(control) else { return false };
            let (label, control) = (book.scopes().get(scope), &book.rules().controls[rule]);
            book.rules().has_ratio(rule)
                && own.covers_scope(label)
                && members.iter().any(|m| m.controls.covers(control) && m.covers_scope(label))
        })
    }

    fn apply(&mut self, book: &Book, c: Change) {
        // A surplus scope is shown, and promised for, under the one that it is folded into.
        let Some(shown) = book.row(c.control, c.scope).map(|row| book.rows()[row as usize].shown) else { return };
        if !self.covers(book, c.control, shown) {
            return;
        }
        let held = self.resources.entry(c.resource).or_default();
        let place = held.states.iter().position(|(control, _)| *control == c.control);
        match (place, c.to) {
            (Some(i), Some(state)) => held.states[i].1 = state,
            (Some(i), None) => _ = held.states.swap_remove(i),
            (None, Some(state)) => held.states.push((c.control, state)),
            (None, None) => {}
        }
        let joint = joint(&held.states);
        if joint == held.joint {
            if held.states.is_empty() {
                self.resources.remove(&c.resource);
            }
            return;
        }
        let part = self.scopes.iter().position(|s| *s == shown).unwrap_or_else(|| {
            self.scopes.push(shown);
            self.parts.push(Arc::default());
            self.scopes.len() - 1
        });
        let (from, old_part) = (held.joint, held.part);
        (held.joint, held.part) = (joint, part);
        if held.states.is_empty() {
            self.resources.remove(&c.resource);
        }
        for (state, part, by) in [(from, old_part, -1), (joint, part, 1)] {
            if let Some(s) = state {
                let mut change = [0; 4];
                change[s as usize] = by;
                Arc::make_mut(&mut self.parts[part]).change(c.at, change, [0; 4]);
            }
        }
    }

    /// Its parts with what time alone will still change, so that a reader's counters never have to be taken back.
    pub(super) fn ahead(&self, schedule: &[Scheduled]) -> Vec<Arc<Timeline>> {
        let mut parts = self.parts.clone();
        // What is scheduled for a resource, laid over what it is now.
        let mut changed: HashMap<u32, Held> = HashMap::new();
        for s in schedule {
            let c = &s.change;
            let Some(now) = self.resources.get(&c.resource) else { continue };
            let held = changed.entry(c.resource).or_insert_with(|| Held { states: now.states.clone(), joint: now.joint, part: now.part });
            let Some(i) = held.states.iter().position(|(control, _)| *control == c.control) else { continue };
            match c.to {
                Some(state) => held.states[i].1 = state,
                None => _ = held.states.swap_remove(i),
            }
            let next = joint(&held.states);
            for (state, by) in [(held.joint, -1), (next, 1)] {
                if let Some(s_) = state.filter(|_| next != held.joint) {
                    let mut change = [0; 4];
                    change[s_ as usize] = by;
                    Arc::make_mut(&mut parts[held.part]).change(s.at, change, [0; 4]);
                }
            }
            held.joint = next;
        }
        parts
    }

    /// The shown scope of each part.
    pub(super) fn scopes(&self) -> &[u32] {
        &self.scopes
    }
}

/// The state of a resource over several controls: one failure is a failure; else one that nobody knows about leaves it
/// unknown; else one waiver makes it waived.
fn joint(states: &[(u32, State)]) -> Option<State> {
    let rank = |s: State| match s {
        State::NonCompliant => 3,
        State::Unknown => 2,
        State::Waived => 1,
        State::Compliant => 0,
    };
    states.iter().map(|(_, s)| *s).max_by_key(|s| rank(*s))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_is_a_failure_and_one_unknown_is_no_pass() {
        use State::{Compliant as C, NonCompliant as N, Unknown as U, Waived as W};
        for (states, want) in [
            (vec![C, C], Some(C)),
            (vec![C, U], Some(U)),
            (vec![U, N, C], Some(N)),
            (vec![W, C], Some(W)),
            (vec![W, U], Some(U)),
            (vec![], None),
        ] {
            let states: Vec<(u32, State)> = (0..).zip(states).collect();
            assert_eq!(joint(&states), want, "{states:?}");
        }
    }
}
