//! The counters of one SLO as a function of time: exact at every instant, however often anybody looked.
//!
//! A counter of resource-time is piecewise linear: between two changes of state it grows by a constant number of
//! resource-milliseconds a millisecond. A counter of events is a step function. A [`Timeline`] keeps both kinds as
//! points, four lanes wide, in whole numbers; what happened over a window is a difference of two look-ups
//! (slo.md sections 1 and 4). It deliberately does not know what the lanes mean: [`super::Sli`] and the policies do.

use crate::domain::{Moment, Span};
use std::sync::Arc;

/// Four cumulative amounts. For resource-time the lanes are the states (index as in `State::ALL`) in weighted
/// resource-milliseconds; for evidence fresh and stale control-milliseconds; for events good, bad and unknown ones.
pub type Lanes = [u128; 4];

/// Points a chunk: small enough to copy when something changes, large enough that chunks are few.
const CHUNK: usize = 256;

/// The amounts at one instant and how they grow from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// From this instant on (inclusive),
    pub at: Moment,
    /// the amounts are these, events of this very instant among them,
    pub sum: Lanes,
    /// and they grow by so much a millisecond, until the next point.
    pub rate: [u64; 4],
}

impl Point {
    fn carried(&self, to: Moment) -> Lanes {
        let span = u128::from(to.since(self.at).0);
        let mut sum = self.sum;
        for (lane, rate) in sum.iter_mut().zip(self.rate) {
            *lane += u128::from(rate) * span;
        }
        sum
    }
}

/// Cumulative amounts over time. Before the first point all are zero.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    sealed: Vec<Arc<[Point]>>,
    open: Vec<Point>,
}

impl Timeline {
    /// Nothing has happened yet.
    pub fn new() -> Timeline {
        Timeline::default()
    }

    /// From `at` on the amounts grow differently: `change[i]` is added to the rate of lane `i`, `events[i]` at once to its
    /// sum. Times never fall: an earlier `at` is taken as the newest point's.
    ///
    /// # Panics
    /// Never: a rate that would become negative stays at zero.
    pub fn change(&mut self, at: Moment, change: [i64; 4], events: [u64; 4]) {
        let last = self.last().copied();
        let at = last.map_or(at, |p| at.max(p.at));
        let mut point = match last {
            Some(p) => Point { at, sum: p.carried(at), rate: p.rate },
            None => Point { at, sum: [0; 4], rate: [0; 4] },
        };
        for i in 0..4 {
            point.rate[i] = point.rate[i].saturating_add_signed(change[i]);
            point.sum[i] += u128::from(events[i]);
        }
        if last.is_some_and(|p| p.at == at) {
            self.replace_last(point);
        } else if last.is_none_or(|p| p.rate != point.rate || events != [0; 4]) {
            self.push(point);
        }
    }

    fn replace_last(&mut self, point: Point) {
        if let Some(p) = self.open.last_mut() {
            *p = point;
        } else if let Some(chunk) = self.sealed.pop() {
            // Rare: the newest point was just sealed.
            self.open = chunk.to_vec();
            self.replace_last(point);
        }
    }

    fn push(&mut self, point: Point) {
        self.open.push(point);
        if self.open.len() >= CHUNK {
            self.sealed.push(std::mem::take(&mut self.open).into());
        }
    }

    fn chunks(&self) -> impl DoubleEndedIterator<Item = &[Point]> {
        self.sealed.iter().map(|c| &c[..]).chain(std::iter::once(&self.open[..])).filter(|c| !c.is_empty())
    }

    /// All points, oldest first.
    pub fn points(&self) -> impl DoubleEndedIterator<Item = &Point> {
        self.chunks().flatten()
    }

    fn first(&self) -> Option<&Point> {
        self.chunks().next().and_then(<[Point]>::first)
    }

    fn last(&self) -> Option<&Point> {
        self.chunks().next_back().and_then(<[Point]>::last)
    }

    /// When it begins; `None` while nothing ever happened.
    pub fn start(&self) -> Option<Moment> {
        self.first().map(|p| p.at)
    }

    /// The newest point's instant.
    pub fn end(&self) -> Option<Moment> {
        self.last().map(|p| p.at)
    }

    /// The first instant from which any of `lanes` is not zero; `None` if they always are.
    pub fn first_amount(&self, lanes: &[usize]) -> Option<Moment> {
        self.points().find(|p| lanes.iter().any(|l| p.rate[*l] > 0 || p.sum[*l] > 0)).map(|p| p.at)
    }

    /// The point that holds at `at`; `None` before the first.
    pub fn point_at(&self, at: Moment) -> Option<&Point> {
        if let Some(p) = self.open.first()
            && p.at <= at
        {
            return self.open[..self.open.partition_point(|p| p.at <= at)].last();
        }
        let chunk = self.sealed.partition_point(|c| c[0].at <= at).checked_sub(1)?;
        let chunk = &self.sealed[chunk];
        chunk[..chunk.partition_point(|p| p.at <= at)].last()
    }

    /// The amounts up to `at`, events of that instant included.
    pub fn at(&self, at: Moment) -> Lanes {
        self.point_at(at).map_or([0; 4], |p| p.carried(at))
    }

    /// How the amounts grow from `at` on, a millisecond.
    pub fn rate_at(&self, at: Moment) -> [u64; 4] {
        self.point_at(at).map_or([0; 4], |p| p.rate)
    }

    /// What came to them in `(from, to]`. Zero if `to` is not after `from`.
    pub fn over(&self, from: Moment, to: Moment) -> Lanes {
        let (a, b) = (self.at(from), self.at(to.max(from)));
        std::array::from_fn(|i| b[i] - a[i])
    }

    /// The points after `from` up to `to`, oldest first: where the slope or the sum changes.
    pub fn points_in(&self, from: Moment, to: Moment) -> impl Iterator<Item = &Point> {
        let first = self.sealed.partition_point(|c| c[c.len() - 1].at <= from);
        self.sealed[first..]
            .iter()
            .map(|c| &c[..])
            .chain(std::iter::once(&self.open[..]))
            .flatten()
            .skip_while(move |p| p.at <= from)
            .take_while(move |p| p.at <= to)
    }

    /// Forgets what is not needed to look back to `keep`. Sums stay what they are.
    pub fn forget_before(&mut self, keep: Moment) {
        // A chunk may go when the next one begins at or before `keep`: its last point no longer holds there.
        let next_begins = |i: usize| self.sealed.get(i + 1).map(|c| c[0].at).or_else(|| self.open.first().map(|p| p.at));
        let gone = (0..self.sealed.len()).take_while(|i| next_begins(*i).is_some_and(|at| at <= keep)).count();
        self.sealed.drain(..gone);
    }

    /// Number of points held.
    pub fn len(&self) -> usize {
        self.sealed.iter().map(|c| c.len()).sum::<usize>() + self.open.len()
    }

    /// True while nothing ever happened.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How long it reaches back from `now`; zero if it is empty.
    pub fn age(&self, now: Moment) -> Span {
        self.start().map_or(Span(0), |s| now.since(s))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive(changes: &[(i64, [i64; 4], [u64; 4])], at: i64) -> Lanes {
        let mut sum = [0u128; 4];
        let mut rate = [0i64; 4];
        let mut last = 0;
        for (t, c, e) in changes.iter().filter(|c| c.0 <= at) {
            for i in 0..4 {
                sum[i] += (rate[i] * (t - last)).unsigned_abs() as u128 + u128::from(e[i]);
                rate[i] += c[i];
            }
            last = *t;
        }
        for i in 0..4 {
            sum[i] += (rate[i] * (at - last)).unsigned_abs() as u128;
        }
        sum
    }

    /// 3 good from t=0, one turns bad at 10 s, an event in lane 2 at 20 s: worked by hand.
    #[test]
    fn amounts_are_exact_between_and_at_points() {
        let mut t = Timeline::new();
        t.change(Moment(0), [3, 0, 0, 0], [0; 4]);
        t.change(Moment(10_000), [-1, 1, 0, 0], [0; 4]);
        t.change(Moment(20_000), [0; 4], [0, 0, 1, 0]);
        assert_eq!(t.at(Moment(-1)), [0; 4]);
        assert_eq!(t.at(Moment(10_000)), [30_000, 0, 0, 0]);
        assert_eq!(t.at(Moment(15_000)), [40_000, 5_000, 0, 0]);
        assert_eq!(t.at(Moment(19_999)), [49_998, 9_999, 0, 0]);
        assert_eq!(t.over(Moment(19_999), Moment(20_000)), [2, 1, 1, 0]);
        assert_eq!(t.over(Moment(20_000), Moment(20_000)), [0; 4], "an event belongs to the window that it ends");
        assert_eq!(t.points_in(Moment(0), Moment(20_000)).map(|p| p.at.0).collect::<Vec<_>>(), [10_000, 20_000]);
        assert_eq!(t.start(), Some(Moment(0)));
        assert_eq!(t.first_amount(&[1]), Some(Moment(10_000)));
    }

    #[test]
    fn forgetting_changes_no_window_that_is_kept() {
        let mut t = Timeline::new();
        for i in 0..2000i64 {
            t.change(Moment(i * 1000), [if i % 2 == 0 { 1 } else { -1 }, 0, 0, 0], [0; 4]);
        }
        let kept = (0..50).map(|i| t.over(Moment(1_500_000 + i * 777), Moment(2_100_000))).collect::<Vec<_>>();
        t.forget_before(Moment(1_500_000));
        assert!(t.len() < 800, "{} points", t.len());
        let after = (0..50).map(|i| t.over(Moment(1_500_000 + i * 777), Moment(2_100_000))).collect::<Vec<_>>();
        assert_eq!(kept, after);
    }

    proptest! {
        #[test]
        fn equals_adding_up_naively(
            steps in prop::collection::vec((0i64..40, 0u64..3, 0usize..4), 1..700),
            probes in prop::collection::vec(0i64..30_000, 20),
        ) {
            let (mut t, mut changes, mut at) = (Timeline::new(), Vec::new(), 0);
            let mut rate = [0i64; 4];
            for (gap, n, lane) in steps {
                at += gap;
                let mut change = [0i64; 4];
                // Down to zero every other time, so that rates stay small and never negative.
                change[lane] = if rate[lane] > 2 { -rate[lane] } else { n as i64 };
                rate[lane] += change[lane];
                let mut events = [0u64; 4];
                events[(lane + 1) % 4] = n % 2;
                t.change(Moment(at), change, events);
                changes.push((at, change, events));
            }
            for p in probes {
                prop_assert_eq!(t.at(Moment(p)), naive(&changes, p), "at {}", p);
            }
        }
    }
}
