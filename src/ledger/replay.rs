//! What every counter must be, from transitions alone. Shared by `verify` and `prune`.
//!
//! A (control, shown scope) has counts that hold between instants; resource-milliseconds are their integral, in whole
//! numbers. A transition at instant `t` moves its weight from one state to another at `t`, and nothing else moves.

use super::canonical::{self, Packed};
use crate::domain::State;
use hashbrown::HashMap;
use rusqlite::Connection;

/// The integrals of all rows.
#[derive(Debug, Default)]
pub(super) struct Integrals {
    rows: Vec<Sum>,
    index: HashMap<(u32, u32), usize, foldhash::fast::RandomState>,
    /// Places in `rows` sorted by key; as long as `rows` when it is up to date.
    order: Vec<usize>,
    /// The instant up to which the totals are carried; `None` before anything was counted.
    at: Option<i64>,
    counts: [u128; 4],
    ms: [u128; 4],
}

#[derive(Clone, Debug)]
struct Sum {
    key: (u32, u32),
    counts: [u64; 4],
    ms: [u64; 4],
    at: i64,
}

impl Sum {
    fn advance(&mut self, at: i64) {
        let span = at.saturating_sub(self.at).max(0).cast_unsigned();
        for (ms, n) in self.ms.iter_mut().zip(self.counts) {
            *ms = ms.wrapping_add(n.wrapping_mul(span));
        }
        self.at = at;
    }
}

impl Integrals {
    /// Starts from known values as of `at` instead of from nothing.
    pub(super) fn start(&mut self, key: (u32, u32), counts: [u64; 4], ms: [u64; 4], at: i64) {
        let row = self.row(key, at);
        self.rows[row].counts = counts;
        self.rows[row].ms = ms;
        for s in 0..4 {
            self.counts[s] += u128::from(counts[s]);
            self.ms[s] += u128::from(ms[s]);
        }
        self.at = Some(at);
    }

    fn row(&mut self, key: (u32, u32), at: i64) -> usize {
        let rows = &mut self.rows;
        *self.index.entry(key).or_insert_with(|| {
            rows.push(Sum { key, counts: [0; 4], ms: [0; 4], at });
            rows.len() - 1
        })
    }

    /// Carries the totals to `at`.
    fn advance(&mut self, at: i64) {
        let span = u128::from(at.saturating_sub(self.at.unwrap_or(at)).max(0).cast_unsigned());
        for (ms, n) in self.ms.iter_mut().zip(self.counts) {
            *ms = ms.wrapping_add(n.wrapping_mul(span));
        }
        self.at = Some(self.at.map_or(at, |now| now.max(at)));
    }

    /// Moves `weight` at `at`. Refuses to take more from a state than is in it.
    pub(super) fn apply(
        &mut self,
        key: (u32, u32),
        from: Option<State>,
        to: Option<State>,
        weight: u32,
        at: i64,
    ) -> Result<(), &'static str> {
        if self.at.is_some_and(|now| at < now) {
            return Err("takes effect before the one before it");
        }
        self.advance(at);
        let row = self.row(key, at);
        let row = &mut self.rows[row];
        row.advance(at);
        if let Some(s) = from {
            let left = row.counts[s as usize].checked_sub(u64::from(weight));
            row.counts[s as usize] = left.ok_or("takes more out of a state than is in it")?;
            self.counts[s as usize] -= u128::from(weight);
        }
        if let Some(s) = to {
            let more = row.counts[s as usize].checked_add(u64::from(weight));
            row.counts[s as usize] = more.ok_or("puts more into a state than can be counted")?;
            self.counts[s as usize] += u128::from(weight);
        }
        Ok(())
    }

    /// The totals at `at`, as [`canonical::totals`] writes them.
    pub(super) fn totals(&mut self, at: i64) -> String {
        self.advance(at);
        canonical::totals(&self.counts, &self.ms)
    }

    /// Every row at `at`, by control and scope.
    pub(super) fn at(&mut self, at: i64) -> impl Iterator<Item = ((u32, u32), [u64; 4], [u64; 4])> {
        if self.order.len() != self.rows.len() {
            self.order = (0..self.rows.len()).collect();
            self.order.sort_unstable_by_key(|&i| self.rows[i].key);
        }
        let rows = &self.rows;
        self.order.iter().map(move |&i| {
            let mut row = rows[i].clone();
            row.advance(at);
            (row.key, row.counts, row.ms)
        })
    }

    /// One row at `at`: counts and resource-milliseconds; zeros if nothing ever touched it.
    pub(super) fn row_at(&self, key: (u32, u32), at: i64) -> ([u64; 4], [u64; 4]) {
        self.index.get(&key).map_or(([0; 4], [0; 4]), |&i| {
            let mut row = self.rows[i].clone();
            row.advance(at);
            (row.counts, row.ms)
        })
    }

    /// The `integrals` digest at `at`.
    pub(super) fn digest(&mut self, at: i64) -> String {
        let mut packed = Packed::default();
        for ((control, scope), counts, ms) in self.at(at) {
            if let Some(bytes) = canonical::integral(control, scope, &counts, &ms) {
                packed.row(&bytes);
            }
        }
        packed.finish()
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Starts from the table `baseline`, whose values are as of `at`.
    pub(super) fn load_baseline(&mut self, db: &Connection, at: i64) -> rusqlite::Result<()> {
        let mut query = db.prepare("SELECT * FROM baseline ORDER BY control, scope")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let mut numbers = [0u64; 8];
            for (i, n) in numbers.iter_mut().enumerate() {
                *n = row.get::<_, i64>(i + 2)?.cast_unsigned();
            }
            let [a, b, c, d, e, f, g, h] = numbers;
            self.start((row.get(0)?, row.get(1)?), [a, b, c, d], [e, f, g, h], at);
        }
        Ok(())
    }
}

/// Which scope a (control, scope) is shown under.
pub(super) type Shown = HashMap<(u32, u32), u32, foldhash::fast::RandomState>;

/// Reads the table `control_scopes`.
pub(super) fn load_shown(db: &Connection) -> rusqlite::Result<Shown> {
    let mut shown = Shown::default();
    let mut query = db.prepare("SELECT control, scope, shown FROM control_scopes ORDER BY id")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        shown.insert((row.get(0)?, row.get(1)?), row.get(2)?);
    }
    Ok(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two resources comply from t=0; one fails from 10 to 30; read at 40.
    /// compliant: 2×10 + 1×20 + 2×10 = 60, failing: 1×20 = 20.
    #[test]
    fn integrates_whole_milliseconds_between_transitions() {
        let mut i = Integrals::default();
        let (good, bad) = (Some(State::Compliant), Some(State::NonCompliant));
        i.apply((1, 1), None, good, 1, 0).expect("fits");
        i.apply((1, 2), None, good, 1, 0).expect("fits");
        i.apply((1, 2), good, bad, 1, 10).expect("fits");
        i.apply((1, 2), bad, good, 1, 30).expect("fits");
        assert_eq!(i.totals(40), "2 0 0 0 60 20 0 0");
        let rows: Vec<_> = i.at(40).collect();
        assert_eq!(rows, [((1, 1), [1, 0, 0, 0], [40, 0, 0, 0]), ((1, 2), [1, 0, 0, 0], [20, 20, 0, 0])]);
        assert!(i.apply((1, 1), bad, good, 1, 50).is_err(), "nothing fails there");
        assert!(i.apply((1, 1), good, bad, 1, 45).is_err(), "time does not go back");
    }
}
