//! file.

use crate::domain::Span;

/// Where files are found and which of them are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Files, globs or directories; relative ones from the working directory. `*`, `?` and `[…]` stay within a name,
    /// `**` crosses directories, `{json,xml}` is a choice, and `{cluster}` is a `*` whose text every finding of the
    /// file gets as that field. No default. Examples: `scans/*.arf.xml`, `scans/{cluster}/{node}.json`,
    /// `/var/lib/prowler/output`.
    pub paths: Vec<String>,
    /// Of a directory, only files whose path below it (or whose name) matches one of these globs. Default: none, that
    /// is every document a scanner leaves there (`.json .ndjson .jsonl .xml .sarif .csv`, also with `.gz` or `.zst`).
    pub include: Vec<String>,
    /// Files whose path (or whose name) matches one of these globs are left out. Default: none.
    pub exclude: Vec<String>,
    /// If a directory has files that match one of these globs, and `include` is empty, only those are read: scanners
    /// leave one scan in several formats. Not written by the operator: it follows from the format ([`prefer_for`]).
    pub prefer: Vec<String>,
    /// A file that changed less than this ago is taken for unfinished; the run waits once for it to come to rest.
    /// Default 5s; `0s` takes files as they are.
    pub settle: Span,
    /// Which of several files to read. Default `newest_per_subject`.
    pub runs: Runs,
}

/// Which of several documents count, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// `newest_per_subject`: all are read; of two that speak of the same subject (account, host …) the newer counts.
    NewestPerSubject,
    /// `newest`: only the newest file of each path and of each set of captured fields.
    Newest,
    /// `all`: every file counts.
    All,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            paths: Vec::new(),
            include: Vec::new(),
            exclude: Vec::new(),
            prefer: prefer_for("ocsf"),
            settle: Span(5000),
            runs: Runs::NewestPerSubject,
        }
    }
}

impl Runs {
    /// Every variant.
    pub const ALL: [Runs; 3] = [Runs::NewestPerSubject, Runs::Newest, Runs::All];

    /// The word in YAML.
    pub const fn word(self) -> &'static str {
        match self {
            Runs::NewestPerSubject => "newest_per_subject",
            Runs::Newest => "newest",
            Runs::All => "all",
        }
    }
}

/// The globs of [`Config::prefer`] for a format's name. Prowler leaves one scan as OCSF, ASFF, CSV and HTML side by
/// side, told apart by their endings.
pub fn prefer_for(format: &str) -> Vec<String> {
    let globs: &[&str] = match format {
        "asff" => &["*.asff.json", "*.asff.json.gz", "*.asff.json.zst"],
        "ocsf" | "auto" => &["*.ocsf.json", "*.ocsf.json.gz", "*.ocsf.json.zst"],
        _ => &[],
    };
    globs.iter().map(|&g| g.to_owned()).collect()
}
