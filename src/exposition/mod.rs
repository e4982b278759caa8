//! Prometheus text, OpenMetrics and JSON from a snapshot. Pure: no IO, no clock, no state of the domain.
//!
//! A page has three parts (`render.rs`): what moves with a new snapshot, what moves when something runs out, and what
//! moves with time. The first two are kept, as text and compressed, until they move; the last is rendered at every
//! scrape. `client.rs` says the same through prometheus-client, slower and simpler; a test compares the two.

mod backfill;
mod client;
pub mod json;
pub mod names;
mod negotiate;
mod render;
mod write;

pub use crate::domain::Moment;
pub use backfill::Backfill;
pub use client::{SelfMetrics, SnapshotCollector};
pub use negotiate::{Encoding, Format, accepts_gzip};

use crate::domain::{Severity, WaiverState};
use crate::snapshot::Snapshot;
use bytes::Bytes;
use flate2::Compression;
use render::Labels;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use write::{Page, Part};

/// Renders scrapes and keeps what does not move between them.
#[derive(Debug, Default)]
pub struct Exposition {
    kept: Mutex<Kept>,
    about_us: SelfMetrics,
}

#[derive(Debug, Default)]
struct Kept {
    /// The snapshot that all of this was made from. Weak: an old snapshot is not kept alive for a scrape that may
    /// never come, and its address is not given away while we compare it.
    of: Weak<Snapshot>,
    labels: Option<Arc<Labels>>,
    /// One of each for each encoding that somebody asked for.
    fixed: [Option<Arc<Part>>; 4],
    stepwise: [Option<Steady>; 4],
}

/// A part and the instants between which it holds.
#[derive(Clone, Debug)]
struct Steady {
    from: Moment,
    until: Moment,
    part: Arc<Part>,
}

/// What is kept is compressed once and sent often. Level 6 would take 2.6 times as long for 15 % less.
const KEPT: Compression = Compression::new(3);
/// What is sent once is compressed fast. Level 1 would save a fifth of the time for a third more bytes.
const FRESH: Compression = Compression::new(2);

impl Exposition {
    /// Nothing kept yet.
    pub fn new() -> Exposition {
        Exposition::default()
    }

    /// Metrics about ourselves, for the server to count into; they are on every page.
    pub fn about_us(&self) -> &SelfMetrics {
        &self.about_us
    }

    /// The page of `snapshot` at `now`, in pieces to be sent one after the other.
    ///
    /// `now` must not go back between calls (the caller keeps the high-water mark), or counters would.
    pub fn render(&self, snapshot: &Arc<Snapshot>, now: Moment, encoding: Encoding) -> Vec<Bytes> {
        let openmetrics = encoding.format.is_openmetrics();
        let page = |level| Page::new(openmetrics, encoding.gzip.then_some(level));
        let (labels, fixed, stepwise) = self.kept(snapshot, now, openmetrics, encoding.gzip);
        let mut fresh = page(FRESH);
        render::flowing(&mut fresh, snapshot, &labels, now);
        self.about_us.write(&mut fresh);
        if openmetrics {
            fresh.raw("# EOF\n");
        }
        write::join([&*fixed, &*stepwise, &fresh.done()].into_iter(), encoding.gzip)
    }

    /// The parts that did not move, rendered if they did. Whoever comes second waits for the first instead of
    /// rendering the same again.
    fn kept(&self, snapshot: &Arc<Snapshot>, now: Moment, openmetrics: bool, gzip: bool) -> (Arc<Labels>, Arc<Part>, Arc<Part>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::ptr::eq(kept.of.as_ptr(), Arc::as_ptr(snapshot)) {
            *kept = Kept { of: Arc::downgrade(snapshot), ..Kept::default() };
        }
        let labels = kept.labels.get_or_insert_with(|| Arc::new(Labels::of(snapshot))).clone();
        let page = || Page::new(openmetrics, gzip.then_some(KEPT));
        let which = usize::from(openmetrics) * 2 + usize::from(gzip);
        let fixed = kept.fixed[which]
            .get_or_insert_with(|| {
                let mut page = page();
                render::fixed(&mut page, snapshot, &labels);
                Arc::new(page.done())
            })
            .clone();
        let stepwise = match &kept.stepwise[which] {
            Some(s) if s.from <= now && now < s.until => s.part.clone(),
            _ => {
                let (from, until) = render::steady(snapshot, now);
                let mut page = page();
                render::stepwise(&mut page, snapshot, &labels, now);
                let part = Arc::new(page.done());
                kept.stepwise[which] = Some(Steady { from, until, part: part.clone() });
                part
            }
        };
        (labels, fixed, stepwise)
    }
}

/// Reads a severity; otherwise says which there are.
///
/// # Errors
/// The known words.
pub fn severity(word: &str) -> Result<Severity, String> {
    Severity::from_word(word).ok_or_else(|| Severity::ALL.iter().map(|s| s.word()).collect::<Vec<_>>().join(", "))
}

/// Reads the state of a waiver; otherwise says which there are.
///
/// # Errors
/// The known words.
pub fn waiver_state(word: &str) -> Result<WaiverState, String> {
    WaiverState::from_word(word).ok_or_else(|| WaiverState::ALL.iter().map(|s| s.word()).collect::<Vec<_>>().join(", "))
}

/// Reads a duration as Prometheus writes it.
///
/// # Errors
/// What was expected.
pub fn span(text: &str) -> Result<std::time::Duration, String> {
    crate::domain::Span::parse(text).map(crate::domain::Span::std)
}
