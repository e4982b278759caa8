//! One observation in eight bytes.

use crate::domain::Moment;

/// What one check of one collector last said about one resource, packed into a word:
///
/// | bits | what |
/// |---|---|
/// | 63..46 | binding: which check of which collector is evidence for which control |
/// | 45 | accepted from the document being read (0 at rest) |
/// | 44 | touched in the run being read (0 at rest) |
/// | 43..41 | [`Verdict`] |
/// | 40 | suppressed by the source |
/// | 39..0 | evidence time in milliseconds since 2010-01-01T00:00:00Z (until 2044) |
///
/// A million of these are 8 MB. Whatever else a pair needs (an open episode, a weight) is held only for the few pairs
/// that have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry(pub u64);

/// The verdict held for an observation. The numbers are stored in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Verdict {
    /// Seen, but never with a verdict; the time is when it was first seen.
    None = 0,
    /// Complies.
    Pass = 1,
    /// Does not comply.
    Fail = 2,
    /// Only a person can say.
    Manual = 3,
    /// Does not apply.
    NotApplicable = 4,
    /// Is in the population of a control whose sources list only violations.
    Member = 5,
}

/// 2010-01-01T00:00:00Z.
const EPOCH_MS: i64 = 1_262_304_000_000;
const TIME_MASK: u64 = (1 << 40) - 1;
const SUPPRESSED: u64 = 1 << 40;
const TOUCHED: u64 = 1 << 44;
const ACCEPTED: u64 = 1 << 45;
const BINDING_SHIFT: u32 = 46;

impl Entry {
    /// The largest binding id that fits.
    pub const MAX_BINDING: u32 = (1 << 18) - 1;

    /// Packs an observation. Times outside 2010..2044 are moved to its ends.
    pub fn new(binding: u32, verdict: Verdict, suppressed: bool, seen: Moment) -> Entry {
        debug_assert!(binding <= Entry::MAX_BINDING);
        let time = seen.0.saturating_sub(EPOCH_MS).clamp(0, TIME_MASK as i64) as u64;
        Entry(u64::from(binding) << BINDING_SHIFT | (verdict as u64) << 41 | if suppressed { SUPPRESSED } else { 0 } | time)
    }

    /// The binding.
    pub fn binding(self) -> u32 {
        (self.0 >> BINDING_SHIFT) as u32
    }

    /// The verdict.
    pub fn verdict(self) -> Verdict {
        match self.0 >> 41 & 7 {
            1 => Verdict::Pass,
            2 => Verdict::Fail,
            3 => Verdict::Manual,
            4 => Verdict::NotApplicable,
            5 => Verdict::Member,
            // 6 and 7 are never written; read from a damaged ledger they hold no information.
            _ => Verdict::None,
        }
    }

    /// Whether the source suppresses it.
    pub fn suppressed(self) -> bool {
        self.0 & SUPPRESSED != 0
    }

    /// Evidence time (or first sighting, for [`Verdict::None`]).
    pub fn seen(self) -> Moment {
        Moment((self.0 & TIME_MASK) as i64 + EPOCH_MS)
    }

    /// Whether the run being read mentioned it.
    pub fn touched(self) -> bool {
        self.0 & TOUCHED != 0
    }

    /// Whether the document being read set its verdict.
    pub fn accepted(self) -> bool {
        self.0 & ACCEPTED != 0
    }

    /// With the marks of the run being read.
    pub fn marked(self, accepted: bool) -> Entry {
        Entry(self.0 | TOUCHED | if accepted { ACCEPTED } else { 0 })
    }

    /// Without the mark of the document.
    pub fn next_document(self) -> Entry {
        Entry(self.0 & !ACCEPTED)
    }

    /// At rest: without the marks of a run.
    pub fn at_rest(self) -> Entry {
        Entry(self.0 & !(TOUCHED | ACCEPTED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_and_unpacks() {
        let t = Moment(1_795_000_000_123);
        let e = Entry::new(Entry::MAX_BINDING, Verdict::Member, true, t).marked(true);
        assert_eq!((e.binding(), e.verdict(), e.suppressed(), e.seen()), (Entry::MAX_BINDING, Verdict::Member, true, t));
        assert!(e.touched() && e.accepted());
        assert_eq!(e.at_rest(), Entry::new(Entry::MAX_BINDING, Verdict::Member, true, t));
        assert_eq!(Entry::new(1, Verdict::Pass, false, Moment(0)).seen(), Moment(EPOCH_MS), "an absurd time is old, never new");
    }
}
