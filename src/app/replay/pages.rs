//! `--output openmetrics`: the pages that a Prometheus would have scraped.

use super::Watcher;
use crate::domain::{Moment, Span};
use crate::exposition::Backfill;
use crate::snapshot::Snapshot;
use std::io::{self, Write};
use std::sync::Arc;

/// Takes a page at every step.
#[derive(Debug)]
pub(crate) struct Pages {
    every: Span,
    labels: Vec<(String, String)>,
    taken: Option<Backfill>,
}

impl Pages {
    /// At the multiples of `every`; `labels` are added to each series.
    pub(crate) fn new(every: Span, labels: &[(String, String)]) -> Pages {
        Pages { every, labels: labels.to_vec(), taken: None }
    }

    /// Writes what was taken.
    pub(crate) fn write(self, out: &mut dyn Write) -> io::Result<()> {
        self.taken.map_or(Ok(()), |taken| taken.write(out))
    }
}

impl Watcher for Pages {
    fn begin(&mut self, start: Moment) -> anyhow::Result<()> {
        self.taken = Some(Backfill::new(super::aligned(start, self.every), self.every, &self.labels));
        Ok(())
    }

    fn stretch(&mut self, snapshot: &Arc<Snapshot>, _from: Moment, to: Moment, last: bool) -> anyhow::Result<()> {
        if let Some(taken) = &mut self.taken {
            while taken.next() < to || last && taken.next() == to {
                taken.take(snapshot);
            }
        }
        Ok(())
    }
}
