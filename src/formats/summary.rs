//! What a document comes to, in numbers: the sink behind `findings --summary`.

use super::{Flow, Sink};
use crate::domain::{CheckResult, Finding, Lifecycle, Problem};
use foldhash::quality::FixedState;
use hashbrown::{DefaultHashBuilder, HashSet};
use std::hash::BuildHasher;

/// Counts findings; keeps none of them.
///
/// Sums are weighted by [`Finding::count`], so that a source that gives only numbers is not one finding. Resources and
/// checks are told apart by their ids as the scanner writes them.
#[derive(Debug)]
pub struct Summary {
    /// Findings of any result and lifecycle.
    pub findings: u64,
    /// Problems.
    pub problems: u64,
    /// Findings by [`CheckResult`], in the order of [`CheckResult::ALL`], whatever their lifecycle.
    pub results: [u64; CheckResult::ALL.len()],
    /// Findings that the source hides.
    pub suppressed: u64,
    /// Findings that the source has retired.
    pub inactive: u64,
    resources: Distinct,
    checks: Distinct,
}

impl Default for Summary {
    fn default() -> Self {
        Summary {
            findings: 0,
            problems: 0,
            results: [0; CheckResult::ALL.len()],
            suppressed: 0,
            inactive: 0,
            resources: Distinct::new(),
            checks: Distinct::new(),
        }
    }
}

impl Summary {
    /// Nothing counted yet.
    pub fn new() -> Summary {
        Summary::default()
    }

    /// Findings with this result.
    pub fn result(&self, result: CheckResult) -> u64 {
        self.results[result as usize]
    }

    /// Number of different resources; a finding without a resource's id adds none.
    pub fn resources(&self) -> u64 {
        self.resources.len()
    }

    /// Number of different checks.
    pub fn checks(&self) -> u64 {
        self.checks.len()
    }

    /// One JSON object on one line, keys and order as in the manual of `findings --summary`.
    pub fn to_json(&self) -> String {
        let results: Vec<String> = CheckResult::ALL.iter().map(|r| format!("\"{r}\":{}", self.result(*r))).collect();
        format!(
            "{{\"findings\":{},\"problems\":{},\"results\":{{{}}},\"suppressed\":{},\"inactive\":{},\"resources\":{},\"checks\":{}}}",
            self.findings,
            self.problems,
            results.join(","),
            self.suppressed,
            self.inactive,
            self.resources(),
            self.checks()
        )
    }
}

impl Sink for Summary {
    fn finding(&mut self, finding: &Finding<'_>) -> Flow {
        if finding.is_mark() {
            return Flow::More;
        }
        let n = finding.count;
        self.findings = self.findings.saturating_add(n);
        let by_result = &mut self.results[finding.result as usize];
        *by_result = by_result.saturating_add(n);
        match finding.lifecycle {
            Lifecycle::Active => {}
            Lifecycle::Suppressed => self.suppressed = self.suppressed.saturating_add(n),
            Lifecycle::Inactive => self.inactive = self.inactive.saturating_add(n),
        }
        if !finding.resource.id.is_empty() {
            self.resources.add(&finding.resource.id);
        }
        self.checks.add(&finding.check);
        Flow::More
    }

    fn problem(&mut self, _problem: Problem) {
        self.problems = self.problems.saturating_add(1);
    }
}

/// Counts different texts by a 128-bit fingerprint: 17 bytes a text in place of the text, and at ten million texts the
/// chance that two of them count as one is below 10^-24.
#[derive(Debug)]
struct Distinct {
    seen: HashSet<u128, DefaultHashBuilder>,
    first: FixedState,
    second: FixedState,
    /// Scanners write in the order of their checks, so the same text mostly comes again at once.
    last: String,
}

impl Distinct {
    fn new() -> Distinct {
        Distinct {
            seen: HashSet::default(),
            first: FixedState::with_seed(0x5ee_d001),
            second: FixedState::with_seed(0x5ee_d002),
            last: String::new(),
        }
    }

    fn add(&mut self, text: &str) {
        if self.last == text && !text.is_empty() {
            return;
        }
        let fingerprint = u128::from(self.first.hash_one(text)) << 64 | u128::from(self.second.hash_one(text));
        self.seen.insert(fingerprint);
        // An outsized text is not worth keeping.
        self.last.clear();
        if text.len() <= 4096 {
            self.last.push_str(text);
        }
    }

    fn len(&self) -> u64 {
        self.seen.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Position, ProblemKind};

    #[test]
    fn counts_by_weight_and_tells_resources_apart() {
        let mut summary = Summary::new();
        assert_eq!(
            summary.to_json(),
            r#"{"findings":0,"problems":0,"results":{"pass":0,"fail":0,"error":0,"manual":0,"not_applicable":0,"not_assessed":0},"suppressed":0,"inactive":0,"resources":0,"checks":0}"#
        );
        let mut finding = Finding::new("c1", "r1", CheckResult::Pass);
        assert_eq!(summary.finding(&finding), Flow::More);
        summary.finding(&finding);
        finding.resource.id = "r2".into();
        finding.count = 5;
        finding.result = CheckResult::Fail;
        finding.lifecycle = Lifecycle::Suppressed;
        summary.finding(&finding);
        finding = Finding::new("c2", "", CheckResult::Manual);
        finding.lifecycle = Lifecycle::Inactive;
        summary.finding(&finding);
        summary.problem(Problem { kind: ProblemKind::Empty, source: "x".into(), position: Position::default(), message: String::new() });
        assert_eq!(
            summary.to_json(),
            r#"{"findings":8,"problems":1,"results":{"pass":2,"fail":5,"error":0,"manual":1,"not_applicable":0,"not_assessed":0},"suppressed":5,"inactive":1,"resources":2,"checks":2}"#
        );
        assert!(serde_json::from_str::<serde_json::Value>(&summary.to_json()).is_ok());
    }

    #[test]
    fn a_weight_from_outside_does_not_overflow() {
        let mut summary = Summary::new();
        let mut finding = Finding::new("c", "r", CheckResult::Pass);
        finding.count = u64::MAX;
        summary.finding(&finding);
        summary.finding(&finding);
        assert_eq!(summary.findings, u64::MAX);
    }
}
