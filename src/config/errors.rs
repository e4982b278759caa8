//! Problems of configuration, worth reading: what stands where, what was expected, what to do.

use std::cell::RefCell;
use std::fmt;

/// How much a problem matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProblemSeverity {
    /// Nothing starts with it, and a reload with it changes nothing.
    Error,
    /// It works, and somebody should look.
    Warning,
    /// For information.
    Info,
}

impl ProblemSeverity {
    /// The word in print.
    pub const fn word(self) -> &'static str {
        match self {
            ProblemSeverity::Error => "error",
            ProblemSeverity::Warning => "warning",
            ProblemSeverity::Info => "info",
        }
    }
}

/// One problem, at its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// How much it matters.
    pub severity: ProblemSeverity,
    /// The lint's code (`SLO109`), for problems that have one.
    pub code: Option<&'static str>,
    /// The file.
    pub path: String,
    /// Line, from 1; 0 if the problem is the file itself.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
    /// What was found and what was expected.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl fmt::Display for ConfigProblem {
    /// `path:line:column: error[CODE]: message`, and the help on a line of its own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}", self.severity.word())?;
        if let Some(code) = self.code {
            write!(f, "[{code}]")?;
        }
        write!(f, ": {}", self.message)?;
        match &self.help {
            Some(help) => write!(f, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong, at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigErrors {
    /// The problems by file and place. Warnings and notes stand among them.
    pub problems: Vec<ConfigProblem>,
}

impl ConfigErrors {
    /// How many problems of `severity` there are.
    pub fn count(&self, severity: ProblemSeverity) -> usize {
        self.problems.iter().filter(|p| p.severity == severity).count()
    }

    /// Whether anything stands in the way of a start.
    pub fn fatal(&self) -> bool {
        self.count(ProblemSeverity::Error) > 0
    }
}

impl fmt::Display for ConfigErrors {
    /// Every problem, one after the other.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// A value with everything that was said about it on the way; no value if anything was an error.
#[derive(Clone, Debug)]
pub struct Loaded<T> {
    /// The value.
    pub value: Option<T>,
    /// All problems, warnings and notes included.
    pub problems: ConfigErrors,
}

/// A place in a file: what a problem points at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Line, from 1.
    pub(super) line: u32,
    /// Column, from 1.
    pub(super) column: u32,
}

/// Collects the problems of one file while it is read. Shared by all who read it, hence the cell.
pub(super) struct Report {
    path: String,
    problems: RefCell<Vec<ConfigProblem>>,
}

impl Report {
    pub(super) fn new(path: &str) -> Report {
        Report { path: path.to_owned(), problems: RefCell::new(Vec::new()) }
    }

    pub(super) fn error(&self, at: Place, message: impl Into<String>) {
        self.push(ProblemSeverity::Error, None, at, message.into(), None);
    }

    pub(super) fn error_help(&self, at: Place, message: impl Into<String>, help: impl Into<String>) {
        self.push(ProblemSeverity::Error, None, at, message.into(), Some(help.into()));
    }

    pub(super) fn push(&self, severity: ProblemSeverity, code: Option<&'static str>, at: Place, message: String, help: Option<String>) {
        self.problems.borrow_mut().push(ConfigProblem {
            severity,
            code,
            path: self.path.clone(),
            line: at.line,
            column: at.column,
            message,
            help,
        });
    }

    /// How many errors were met so far: whoever reads a part compares before and after.
    pub(super) fn errors(&self) -> usize {
        self.problems.borrow().iter().filter(|p| p.severity == ProblemSeverity::Error).count()
    }

    pub(super) fn into_problems(self) -> Vec<ConfigProblem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|p| (p.line, p.column));
        problems
    }
}

/// One document may bring many SLOs (defaults, `for_each`), each with the same thing to say at the same place: the first
/// is kept, and says how many more there are.
pub(super) fn gather(problems: Vec<ConfigProblem>) -> Vec<ConfigProblem> {
    let mut out: Vec<(ConfigProblem, usize)> = Vec::new();
    for p in problems {
        let same = |q: &ConfigProblem| {
            p.message.starts_with("SLO `")
                && (p.code, p.severity, &p.path, p.line, p.column) == (q.code, q.severity, &q.path, q.line, q.column)
        };
        // Two problems of one SLO differ in more than names; those stay apart.
        let shape = |m: &str| m.split('`').step_by(2).collect::<String>();
        if out.iter().any(|(q, _)| *q == p) {
            continue;
        }
        match out.iter_mut().find(|(q, _)| same(q) && (shape(&q.message) == shape(&p.message))) {
            Some((_, more)) if p.line > 0 => *more += 1,
            _ => out.push((p, 0)),
        }
    }
    out.into_iter()
        .map(|(mut p, more)| {
            if more > 0 {
                p.message = format!("{} (and {more} more SLOs of this document)", p.message);
            }
            p
        })
        .collect()
}

/// The word among `known` that `found` was probably meant to be.
pub fn nearest<'k>(found: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let lower = found.to_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|k| (strsim::damerau_levenshtein(&lower, &k.to_lowercase().replace('-', "_")), k))
        // Half of a short word may be wrong, and three letters of a long one; more than that is another word.
        .filter(|(distance, k)| *distance <= (k.len().min(found.len()) / 2).clamp(1, 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, k)| k)
}

/// "did you mean `x`?", or what there is to choose from.
pub(super) fn suggestion(found: &str, known: &[&str], what: &str) -> String {
    match nearest(found, known.iter().copied()) {
        Some(word) => format!("did you mean `{word}`?"),
        None => format!("{what}: {}", known.join(", ")),
    }
}
