//! What others have already written down, made into definitions of ours: benchmarks, catalogs, crosswalks.
//!
//! A document goes in, YAML for `slo-definitions/` comes out, with a list of what could not be carried over. Pure and
//! deterministic: the same document gives the same text, so that a newer benchmark shows as a diff that people can
//! review. Nothing is fetched: what a document refers to is among the documents given, or it is a problem.
//!
//! Not here: findings of scans (`formats`), and whether the result makes sense together with the rest (`check`).

use crate::domain::Severity;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

mod cac;
mod oscal;
mod references;
mod write;
mod xccdf;

pub use references::Renames;

/// Of one document, decompressed. Data streams of distributions have up to 45 MB.
pub const DOCUMENT_BYTES: u64 = 128 << 20;

/// A document as given: how people call it, and its text.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file's name, for messages and for references between documents.
    pub name: String,
    /// Its bytes, decompressed.
    pub bytes: Vec<u8>,
}

/// What is the same for every kind of document.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The name of the set or framework; by default made from the document's own.
    pub name: Option<String>,
    /// Who answers for the controls.
    pub owner: Option<String>,
    /// What stands before every control's id.
    pub prefix: String,
    /// Names of frameworks that the operator chose.
    pub renames: Renames,
    /// The profile (XCCDF) or level (ComplianceAsCode).
    pub profile: Option<String>,
    /// `checks[].format` where the document does not tell.
    pub format: Option<String>,
}

/// The result: YAML, and what people should know about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Definitions, one YAML document after the other.
    pub yaml: String,
    /// What was made, and what could not be carried over; they stand in the YAML as comments too.
    pub notes: Vec<String>,
}

/// Why nothing was imported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ImportError {
    /// The document.
    pub source_name: String,
    /// What was found and what was expected.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source_name, self.message)?;
        match &self.help {
            Some(help) => write!(f, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}

impl ImportError {
    fn new(source: &str, message: impl Into<String>) -> ImportError {
        ImportError { source_name: source.to_owned(), message: message.into(), help: None }
    }

    fn help(mut self, help: impl Into<String>) -> ImportError {
        self.help = Some(help.into());
        self
    }
}

/// Makes a control set from a profile of an XCCDF benchmark: a data stream, a benchmark, or results that hold one.
///
/// # Errors
/// The document is none of these, is damaged, or has no such profile.
pub fn xccdf(source: &Source, options: &Options) -> Result<Imported, ImportError> {
    xccdf::import(source, options)
}

/// Makes frameworks from OSCAL catalogs and profiles, and control sets from component definitions (all as JSON).
///
/// # Errors
/// A document is none of these or is damaged, or a profile names a document that was not given.
pub fn oscal(sources: &[Source], options: &Options) -> Result<Imported, ImportError> {
    oscal::import(sources, options)
}

/// Makes a framework and a control set from a ComplianceAsCode control file (`controls/*.yml`).
///
/// # Errors
/// The document is no such file, or has no such level.
pub fn cac(source: &Source, options: &Options) -> Result<Imported, ImportError> {
    cac::import(source, options)
}

/// A control set on its way into YAML.
#[derive(Debug, Default)]
struct Set {
    name: String,
    version: String,
    owner: String,
    about: Vec<String>,
    controls: Vec<Draft>,
}

/// A control of it.
#[derive(Debug)]
struct Draft {
    id: String,
    title: String,
    severity: Severity,
    requirements: BTreeMap<String, BTreeSet<String>>,
    checks: Vec<(Option<String>, String)>,
    rationale: String,
    remediation: String,
    comment: Option<String>,
}

/// A framework on its way into YAML.
#[derive(Debug, Default)]
struct Framework {
    name: String,
    title: String,
    version: String,
    about: Vec<String>,
    requirements: Vec<Entry>,
}

/// A requirement of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Entry {
    id: String,
    title: String,
    parent: Option<String>,
}

/// Makes ids that definitions take, each once.
#[derive(Debug, Default)]
struct Ids {
    taken: BTreeSet<String>,
}

/// Longest id or name.
const ID_CHARS: usize = 100;

impl Ids {
    fn make(&mut self, prefix: &str, from: &str) -> String {
        let base = tame(&format!("{prefix}{from}"), false);
        let mut id = base.clone();
        let mut n = 2;
        while !self.taken.insert(id.clone()) {
            let tail = format!("-{n}");
            id = format!("{}{tail}", &base[..base.len().min(ID_CHARS - tail.len())]);
            n += 1;
        }
        id
    }
}

/// A text in the alphabet of names: letters, digits, `-`, `_`, `.`, a letter or digit first. `lower` for frameworks,
/// whose names have no `_` and no capitals.
fn tame(text: &str, lower: bool) -> String {
    let mut out = String::new();
    for c in text.chars() {
        let kept = match c {
            c if lower && c.is_ascii_uppercase() => Some(c.to_ascii_lowercase()),
            c if c.is_ascii_alphanumeric() || c == '.' || c == '-' || (c == '_' && !lower) => Some(c),
            _ => None,
        };
        match kept {
            Some(c) if !out.is_empty() || c.is_ascii_alphanumeric() => out.push(c),
            Some(_) => {}
            None if !out.is_empty() && !out.ends_with('-') => out.push('-'),
            None => {}
        }
        if out.len() == ID_CHARS {
            break;
        }
    }
    let out = out.trim_end_matches(['-', '.']);
    if out.is_empty() { "unnamed".to_owned() } else { out.to_owned() }
}

/// Cuts a text at `max` bytes, at a character, and says so.
fn cut(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let end = (0..=max.saturating_sub(4)).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
    format!("{} …", &text[..end])
}

/// One line, without control characters and without more than one blank in a row.
fn line(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    clean.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn counted(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_tame_and_unique() {
        let mut ids = Ids::default();
        assert_eq!(ids.make("host-", "sshd_disable_root_login"), "host-sshd_disable_root_login");
        assert_eq!(ids.make("", "Rule 1 (a)"), "Rule-1-a");
        assert_eq!(ids.make("", "Rule 1 [a]"), "Rule-1-a-2");
        assert_eq!(ids.make("", "…"), "unnamed");
        let long = ids.make("", &"x".repeat(300));
        assert_eq!((long.len(), ids.make("", &"x".repeat(300)).len()), (100, 100));
        assert_eq!(tame("NIST 800-53_rev5", true), "nist-800-53-rev5");
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        assert_eq!(cut("äöü", 100), "äöü");
        assert!(cut(&"ä".repeat(100), 51).len() <= 55);
    }
}
