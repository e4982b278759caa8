//! One execution of one collector: what came of it and what went wrong.

use super::Moment;
use super::finding::closed_words;
use std::fmt;

/// A thing that went wrong and cost only itself. Counted in `compliance_collector_problems_total{collector,kind}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What sort of thing.
    pub kind: ProblemKind,
    /// The document: a path or a URL without its query.
    pub source: String,
    /// Where in the document.
    pub position: Position,
    /// What was found and what was expected, for a person; no payload beyond a short excerpt, no secret.
    pub message: String,
}

/// A place in a document. What is not known is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Number of the record, from 1.
    pub record: u64,
    /// Line, from 1.
    pub line: u64,
    /// Byte offset from the document's beginning.
    pub offset: u64,
}

closed_words! {
    /// Sorts of problems; the `kind` label.
    ProblemKind {
        /// A record that could not be read.
        Malformed = "malformed",
        /// The document ends too early.
        Truncated = "truncated",
        /// The document is not of the configured format.
        WrongFormat = "wrong_format",
        /// Something is larger, deeper or longer than allowed.
        Limit = "limit",
        /// The document has nothing in it.
        Empty = "empty",
        /// The scanner ran where its rules do not apply.
        WrongPlatform = "wrong_platform",
        /// The scanner itself says that it failed, wholly or in part.
        ScannerError = "scanner_error",
        /// The source refused access.
        Denied = "denied",
        /// The source did not answer, or broke off.
        Unreachable = "unreachable",
        /// The source answered with an error.
        Source = "source",
        /// It took too long.
        Timeout = "timeout",
        /// An instant that cannot be: in the future, or unreadable.
        Time = "time",
        /// A record lacks what is needed to place it (a resource, a scope).
        Incomplete = "incomplete",
        /// Two statements of the source contradict each other (its summary and its rows).
        Mismatch = "mismatch",
        /// Something of ours went wrong (disk full, ledger locked).
        Internal = "internal",
    }
}

/// Who spoke: recorded with each run, since a new rule set changes ratios too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScannerInfo {
    /// `Prowler`.
    pub name: String,
    /// `5.46.0`; empty if not said.
    pub version: String,
    /// Benchmark, profile or content version; empty if not said.
    pub rule_set: String,
}

/// What a document, or a whole run, came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunOutcome {
    /// True only if every part came, well formed to its end, and nothing says that the scanner failed.
    pub complete: bool,
    /// The scanner, as it names itself.
    pub scanner: Option<ScannerInfo>,
    /// When the scan ended, if the document says.
    pub scanned_at: Option<Moment>,
    /// The format's name, where it was recognised by the document's shape.
    pub read_as: Option<&'static str>,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sep = "";
        for (name, n) in [("record", self.record), ("line", self.line), ("byte", self.offset)] {
            if n > 0 {
                write!(f, "{sep}{name} {n}")?;
                sep = ", ";
            }
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.position.to_string();
        if at.is_empty() {
            write!(f, "{}: {}: {}", self.source, self.kind, self.message)
        } else {
            write!(f, "{} ({at}): {}: {}", self.source, self.kind, self.message)
        }
    }
}
