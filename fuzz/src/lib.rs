//! Coverage-guided fuzzing, one target a format. `tests/fuzz_smoke.rs` is its small sister that runs everywhere.
//!
//! ```sh
//! cargo install cargo-fuzz
//! cargo +nightly fuzz run ocsf fuzz/corpus/ocsf tests/formats/ocsf -- -max_total_time=600
//! ```

use bornright::domain::{Finding, Problem, ProblemKind};
use bornright::formats::{Context, Flow, Format, FormatSpec, Limits, Sink, read};

/// Reads one input and holds the reader to its promises. Panics and hangs are libFuzzer's to see.
///
/// # Panics
/// A promise was broken.
pub fn check(word: &str, input: &[u8]) {
    let spec = match Format::from_word(word) {
        Some(format) => FormatSpec::Builtin(format),
        None => FormatSpec::Auto,
    };
    let mut seen = Seen { findings: 0, incomplete: false };
    let ctx = Context { source: "fuzz", limits: Limits::default(), want_raw: true };
    let result = read(&spec, &mut &input[..], &ctx, &mut seen);
    assert!(seen.findings <= input.len(), "more findings than bytes");
    assert!(!(result.is_ok_and(|o| o.complete) && seen.incomplete), "a part is missing, and the document is called complete");
}

struct Seen {
    findings: usize,
    incomplete: bool,
}

impl Sink for Seen {
    fn finding(&mut self, finding: &Finding<'_>) -> Flow {
        assert!(!finding.check.is_empty(), "a finding without a check");
        assert!(!finding.resource.id.is_empty(), "a finding without a resource");
        self.findings += 1;
        Flow::More
    }

    fn problem(&mut self, problem: Problem) {
        self.incomplete |= matches!(problem.kind, ProblemKind::Truncated | ProblemKind::Malformed | ProblemKind::Limit | ProblemKind::Empty);
    }
}
