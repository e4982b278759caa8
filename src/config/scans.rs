//! The manifest of `bornright replay`: dated scans, each of one collector. YAML or JSON.
//!
//! It says what was found when; what that means is the configuration's and the definitions' business. Only names and
//! places are checked here: a scan is opened when its time comes.

use super::errors::{ConfigErrors, Place, Report, suggestion};
use super::yaml::{At, Node, Table, documents, excerpt};
use super::{Config, reason};
use crate::domain::Moment;
use crate::formats::Format;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

const KEYS: &[&str] = &["scans"];
const SCAN_KEYS: &[&str] = &["at", "collector", "path", "complete"];
/// A directory named as a scan may hold this many documents.
const MAX_DOCUMENTS: usize = 100_000;

/// One scan, as the manifest dates it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// When it came in.
    pub at: Moment,
    /// Whose it is.
    pub collector: String,
    /// Its documents: one, or all of a directory by name.
    pub documents: Vec<PathBuf>,
    /// Whether the scanner said everything it had to say.
    pub complete: bool,
    /// Line in the manifest.
    pub line: u32,
}

/// Reads the text of the manifest `path`: the scans by time; those of one instant in the order written.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn parse_scans(path: &Path, text: &str, config: &Config) -> Result<Vec<Scan>, ConfigErrors> {
    let report = Report::new(&path.display().to_string());
    let scans = read(path, text, config, &report);
    let problems = report.into_problems();
    if problems.is_empty() { Ok(scans) } else { Err(ConfigErrors { problems }) }
}

fn read(path: &Path, text: &str, config: &Config, report: &Report) -> Vec<Scan> {
    let docs = documents(text, report);
    let [doc] = docs.as_slice() else {
        if let Some(second) = docs.get(1) {
            report.error_help(second.at, "this manifest has a second document; it should have one", "write all scans into one list");
        } else if report.errors() == 0 {
            report.error_help(Place { line: 1, column: 1 }, "the manifest is empty", "it needs `scans:`; docs/replay.md shows one");
        }
        return Vec::new();
    };
    let Some(table) = Table::open(doc, "the manifest", KEYS, report, |_| None) else { return Vec::new() };
    if table.node("scans").is_none() {
        table.missing("scans", "a list of `{ at: 2026-01-01T00:00:00Z, collector: NAME, path: FILE }`");
        return Vec::new();
    }
    let list = table.list("scans");
    if list.is_empty() && report.errors() == 0 {
        report.error_help(table.place("scans"), "`scans` of the manifest is an empty list", "there is nothing to replay");
    }
    let base = path.parent().unwrap_or(Path::new(""));
    let mut scans: Vec<Scan> = list.iter().filter_map(|node| scan(node, base, config, report)).collect();
    let mut taken: HashMap<(Moment, &str), u32> = HashMap::new();
    for s in &scans {
        if let Some(first) = taken.get(&(s.at, s.collector.as_str())) {
            report.error_help(
                Place { line: s.line, column: 1 },
                format!("collector `{}` has two scans at {}; the other stands in line {first}", s.collector, s.at),
                "documents that belong to one scan stand in one directory, and `path` names that",
            );
        } else {
            taken.insert((s.at, s.collector.as_str()), s.line);
        }
    }
    scans.sort_by_key(|s| s.at);
    scans
}

fn scan(node: &Node, base: &Path, config: &Config, report: &Report) -> Option<Scan> {
    let before = report.errors();
    let table = Table::open(node, "a scan", SCAN_KEYS, report, |_| None)?;
    let at =
        table.required("at", "the instant at which it came in, with an offset: 2026-01-01T00:00:00Z").and_then(|t| instant(&t, report));
    let name = table.required("collector", "the name of a collector of the configuration");
    let collector = name.as_ref().and_then(|name| {
        let found = config.collectors.iter().find(|c| c.name == name.value);
        if found.is_none() {
            let known: Vec<&str> = config.collectors.iter().map(|c| c.name.as_str()).collect();
            report.error_help(
                name.at,
                format!("no collector of {} is called `{}`", config.path.display(), excerpt(&name.value)),
                suggestion(&name.value, &known, "it has"),
            );
        }
        found
    });
    let path = table.required("path", "the scanner's output, relative to the manifest");
    let documents = match (&path, collector) {
        (Some(path), Some(c)) => documents_of(path, base, c.format_name == Format::CloudCustodian.word(), report),
        _ => Vec::new(),
    };
    let complete = table.boolean("complete").is_none_or(|c| c.value);
    if report.errors() > before {
        return None;
    }
    Some(Scan { at: at?, collector: collector?.name.clone(), documents, complete, line: node.at.line })
}

fn instant(text: &At<String>, report: &Report) -> Option<Moment> {
    match Moment::from_rfc3339(text.value.trim()) {
        // Evidence is kept with its time in forty bits.
        Some(m) if (Moment::from_seconds(1_262_304_000)..Moment::from_seconds(2_335_219_200)).contains(&m) => Some(m),
        Some(m) => {
            report.error(text.at, format!("`at` of a scan is {m}; expected a time from 2010 to 2043"));
            None
        }
        None => {
            report.error_help(
                text.at,
                format!("`at` of a scan is `{}`, which is no instant", excerpt(&text.value)),
                "write RFC 3339 with an offset: 2026-01-01T00:00:00Z or 2026-01-01T01:00:00+01:00",
            );
            None
        }
    }
}

fn documents_of(path: &At<String>, base: &Path, custodian: bool, report: &Report) -> Vec<PathBuf> {
    let full = base.join(&path.value);
    let fault = |message: String, help: &str| {
        report.error_help(path.at, message, help);
        Vec::new()
    };
    let meta = match std::fs::metadata(&full) {
        Ok(m) => m,
        Err(e) => {
            return fault(
                format!("`path` of a scan: {}: {}", full.display(), reason(&e)),
                "paths are relative to the manifest; a scan that never came is left out of the list",
            );
        }
    };
    if meta.is_file() {
        return vec![full];
    }
    if !meta.is_dir() {
        return fault(format!("`path` of a scan: {} is neither a file nor a directory", full.display()), "name a file that stays");
    }
    if custodian && ["metadata.json", "metadata.json.gz"].iter().any(|n| full.join(n).exists()) {
        return vec![full];
    }
    let entries = match std::fs::read_dir(&full) {
        Ok(e) => e,
        Err(e) => return fault(format!("`path` of a scan: {}: {}", full.display(), reason(&e)), "check its permissions"),
    };
    let wanted = |p: &PathBuf| {
        let hidden = p.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
        !hidden && if custodian { p.is_dir() } else { p.is_file() }
    };
    let mut inside: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).filter(wanted).take(MAX_DOCUMENTS + 1).collect();
    inside.sort();
    if inside.is_empty() {
        return fault(
            format!("`path` of a scan: {} holds no {}", full.display(), if custodian { "policy's directory" } else { "file" }),
            "a scan that brought nothing is left out of the list",
        );
    }
    if inside.len() > MAX_DOCUMENTS {
        return fault(format!("`path` of a scan: {} holds more than {MAX_DOCUMENTS} files", full.display()), "divide the scan");
    }
    inside
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(dir: &Path) -> Config {
        let path = dir.join("bornright.yaml");
        std::fs::write(dir.join("d.yaml"), "").expect("writes");
        std::fs::write(&path, "definitions: [d.yaml]\ncollectors:\n  - { name: hosts, every: 1d, from: { file: { path: x } }, format: native }\n  - { name: cloud, every: 1d, from: { file: { path: x } }, format: native }\n")
            .expect("writes");
        crate::config::load(&path).expect("is sound")
    }

    /// (time, collector, complete, documents)
    type Read<'a> = (&'a str, &'a str, bool, usize);

    fn check(manifest: &str, expected: Result<&[Read<'_>], &[&str]>) {
        let dir = tempfile::tempdir().expect("a directory");
        let config = config(dir.path());
        for name in ["a.ndjson", "b.ndjson", "many/1.ndjson", "many/2.ndjson", "many/.hidden", "empty/.keep"] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().expect("below")).expect("makes");
            std::fs::write(path, "").expect("writes");
        }
        let path = dir.path().join("scans.yaml");
        let read = parse_scans(&path, manifest, &config);
        match (read, expected) {
            (Ok(scans), Ok(want)) => {
                let got: Vec<(String, &str, bool, usize)> =
                    scans.iter().map(|s| (s.at.to_string(), s.collector.as_str(), s.complete, s.documents.len())).collect();
                let got: Vec<(&str, &str, bool, usize)> = got.iter().map(|(a, c, k, n)| (a.as_str(), *c, *k, *n)).collect();
                assert_eq!(got, want);
            }
            (Err(errors), Err(want)) => {
                let said = errors.to_string().replace(&format!("{}/", dir.path().display()), "");
                for w in want {
                    assert!(said.contains(w), "{w:?} is not in\n{said}");
                }
                assert_eq!(errors.problems.len(), want.len(), "{said}");
            }
            (got, want) => panic!("{got:?}, expected {want:?}"),
        }
    }

    #[test]
    fn scans_come_in_the_order_of_their_time() {
        check(
            "scans:\n  - { at: 2026-01-02T00:00:00Z, collector: hosts, path: a.ndjson }\n  - { at: 2026-01-01T01:00:00+01:00, collector: hosts, path: many, complete: false }\n  - { at: 2026-01-01T00:00:00Z, collector: cloud, path: ./b.ndjson }\n",
            Ok(&[
                ("2026-01-01T00:00:00Z", "hosts", false, 2),
                ("2026-01-01T00:00:00Z", "cloud", true, 1),
                ("2026-01-02T00:00:00Z", "hosts", true, 1),
            ]),
        );
        check(
            r#"{"scans":[{"at":"2026-01-01T00:00:00.250Z","collector":"hosts","path":"a.ndjson","complete":true}]}"#,
            Ok(&[("2026-01-01T00:00:00.25Z", "hosts", true, 1)]),
        );
    }

    #[test]
    fn what_is_wrong_is_said_at_once_with_its_place() {
        check(
            "scans:\n  - { at: yesterday, collector: hosts, path: a.ndjson }\n  - { at: 2026-01-01, collector: hosts, path: a.ndjson }\n  - { at: 1999-01-01T00:00:00Z, collector: host, path: a.ndjson, complet: true }\n  - { at: 2026-01-01T00:00:00Z, collector: hosts, path: gone.ndjson }\n  - { collector: hosts, path: empty, complete: perhaps }\n  - 7\n",
            Err(&[
                "scans.yaml:2:11: error: `at` of a scan is `yesterday`, which is no instant",
                "scans.yaml:3:11: error: `at` of a scan is `2026-01-01`",
                "`at` of a scan is 1999-01-01T00:00:00Z; expected a time from 2010 to 2043",
                "bornright.yaml is called `host`\n  help: did you mean `hosts`?",
                "unknown key `complet` in a scan\n  help: did you mean `complete`?",
                "gone.ndjson: there is no such file or directory",
                "a scan has no `at`",
                "empty holds no file",
                "`complete` of a scan should be `true` or `false`, found `perhaps`",
                "scans.yaml:7:5: error: expected a scan (a mapping), found the number `7`",
            ]),
        );
        check(
            "scans:\n  - { at: 2026-01-01T00:00:00Z, collector: hosts, path: a.ndjson }\n  - { at: 2026-01-01T00:00:00+00:00, collector: hosts, path: b.ndjson }\n",
            Err(&["scans.yaml:3:1: error: collector `hosts` has two scans at 2026-01-01T00:00:00Z; the other stands in line 2"]),
        );
        check("", Err(&["the manifest is empty"]));
        check("scans: []", Err(&["`scans` of the manifest is an empty list"]));
        check("scan: []", Err(&["unknown key `scan`", "the manifest has no `scans`"]));
        check("scans: [", Err(&["not YAML"]));
        check("scans: {}", Err(&["`scans` of the manifest should be a list"]));
    }
}
