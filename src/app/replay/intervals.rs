//! How often the scans behind an objective come: what its alert windows are bent to.

use crate::config::{self, CollectorConfig, Config, Definitions};
use crate::domain::{Control, Span};
use crate::slo::Slo;
use crate::snapshot::SloView;

/// What is configured, as far as it says how often scans come.
#[derive(Clone, Debug)]
pub(crate) struct Intervals {
    controls: Vec<Control>,
    collectors: Vec<CollectorConfig>,
}

impl Intervals {
    /// Of this configuration.
    pub(crate) fn new(config: &Config, definitions: &Definitions) -> Intervals {
        Intervals { controls: definitions.controls().cloned().collect(), collectors: config.collectors.clone() }
    }

    /// What the SLO says, else the slowest collector that can feed its controls, else a day.
    pub(crate) fn of(&self, slo: &Slo, all: &[SloView]) -> Span {
        self.below(slo, all, 16).unwrap_or(Span::DAY)
    }

    fn below(&self, slo: &Slo, all: &[SloView], depth: u8) -> Option<Span> {
        if slo.scan_interval.is_some() {
            return slo.scan_interval;
        }
        if let Some(composite) = &slo.composite {
            let depth = depth.checked_sub(1)?;
            let member = |id: &str| all.iter().find(|v| v.slo.id() == id);
            return composite.members.iter().filter_map(|m| self.below(&member(&m.slo)?.slo, all, depth).or(Some(Span::DAY))).max();
        }
        let covered = self.controls.iter().filter(|c| slo.controls.covers(c));
        covered.flat_map(|c| self.collectors.iter().filter(|k| config::feeds(k, c))).map(|k| k.every).max()
    }
}
