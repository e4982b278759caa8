//! What the operator wrote, its validation, and errors worth reading.
//!
//! Two steps: `yaml` is what the files say, a tree in which every value knows its place; this is what it means.
//! Every problem is reported at once, with path, line, column, what was found, what was expected and a help line.
//! Bad syntax costs its document, a bad value is reported and the reading goes on.

use crate::collectors::Reach;
use crate::domain::{Control, ControlSet, Framework, ScopeTemplate, Span, Waiver};
use crate::formats::{FormatSpec, predicate};
use crate::slo::Slo;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

mod apis;
mod aws;
mod clouds;
mod definitions;
mod digest;
mod errors;
mod framework;
mod lint;
mod mapping;
mod objectives;
mod openslo;
mod operator;
mod reach;
mod scans;
mod shipped;
mod yaml;

pub use errors::{ConfigErrors, ConfigProblem, Loaded, ProblemSeverity, nearest};
pub use scans::{Scan, parse_scans};
pub use shipped::shipped;

/// `bornright.yaml`, validated.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it came from.
    pub path: PathBuf,
    /// Where to listen.
    pub listen: SocketAddr,
    /// The ledger.
    pub ledger: crate::ledger::Config,
    /// Files and directories of definitions.
    pub definitions: Vec<PathBuf>,
    /// The scope template of collectors that have none of their own.
    pub scope: ScopeTemplate,
    /// Largest number of (control, scope) pairs that are shown apart.
    pub series_limit: usize,
    /// What is known of the Prometheus that scrapes us.
    pub prometheus: Prometheus,
    /// The collectors.
    pub collectors: Vec<CollectorConfig>,
}

/// What an operator says of the Prometheus that scrapes us: alerts and lints follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prometheus {
    /// How long it keeps samples, if that was said.
    pub retention: Option<Span>,
    /// How often it scrapes us.
    pub scrape_interval: Span,
    /// How often it evaluates rules.
    pub rule_interval: Span,
    /// Take the ratio over the period from the exporter's own gauge, which needs no retention.
    pub period_from_exporter: bool,
}

impl Default for Prometheus {
    fn default() -> Prometheus {
        Prometheus { retention: None, scrape_interval: Span::MINUTE, rule_interval: Span::MINUTE, period_from_exporter: false }
    }
}

/// One collector, validated.
#[derive(Clone, Debug)]
pub struct CollectorConfig {
    /// Unique name.
    pub name: String,
    /// Declared interval T.
    pub every: Span,
    /// Evidence older than this is unknown; default 3 × `every`.
    pub max_age: Span,
    /// A resource without evidence is in no state for this long; default `every`.
    pub new_resource_grace: Span,
    /// A run is given up after this; default the smaller of `every` and 10 minutes.
    pub timeout: Span,
    /// Whether the source's own suppressions count as waivers.
    pub trust_suppressions: bool,
    /// How the source is reached.
    pub from: Reach,
    /// How its documents are read.
    pub format: FormatSpec,
    /// The format's name for the page and for `checks[].format`.
    pub format_name: String,
    /// Its own scope template.
    pub scope: Option<ScopeTemplate>,
    /// Fields that every finding gets unless it has them itself.
    pub fields: Vec<(String, String)>,
    /// Digest of everything above that decides what a document means (hex SHA-256).
    pub mapping_digest: String,
}

/// Everything under `definitions:`, validated.
#[derive(Clone, Debug, Default)]
pub struct Definitions {
    /// Control sets.
    pub sets: Vec<ControlSet>,
    /// Frameworks.
    pub frameworks: Vec<Framework>,
    /// SLOs.
    pub slos: Vec<Slo>,
    /// Waivers that are well formed.
    pub waivers: Vec<Waiver>,
    /// Waivers that were refused (no end, no owner …): their id and why. They hold nothing and are shown.
    pub invalid_waivers: Vec<(String, String)>,
    /// The documents as read: (path, text). Their SHA-256 is the digest of the definitions.
    pub documents: Vec<(String, String)>,
    /// Hex SHA-256 over names and texts.
    pub digest: String,
}

impl Definitions {
    /// All controls of all sets.
    pub fn controls(&self) -> impl Iterator<Item = &Control> {
        self.sets.iter().flat_map(|s| s.controls.iter())
    }
}

/// Reads and validates `bornright.yaml`.
///
/// # Errors
/// Everything that is wrong with it, warnings among it. Without an error the warnings are dropped here; [`check`]
/// has them.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    let read = read_config(path)?;
    read.config.ok_or(ConfigErrors { problems: read.problems })
}

/// Reads one YAML document into a type of another room (the web configuration), within bounds.
///
/// # Errors
/// What is wrong, with line and column.
pub fn from_yaml<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    let options = serde_yaml::options! { strict_booleans: true, with_snippet: false, budget: serde_yaml::budget! { max_nodes: 10_000 } };
    serde_yaml::from_str_with_options(text, options).map_err(|e| e.to_string())
}

/// Reads and validates definitions: files, and directories walked for `*.yaml` and `*.yml`, in the order of their names.
///
/// # Errors
/// Everything that is wrong with them, warnings among it.
pub fn load_definitions(paths: &[PathBuf]) -> Result<Definitions, ConfigErrors> {
    let (docs, unreadable) = read_documents(paths);
    let mut loaded = parse_definitions(&docs);
    loaded.problems.problems.splice(0..0, unreadable);
    match loaded.value {
        Some(definitions) if !loaded.problems.fatal() => Ok(definitions),
        _ => Err(loaded.problems),
    }
}

/// Reads and validates definitions given as (name, text). Pure: what ships with the program goes the same way as files.
pub fn parse_definitions(docs: &[(String, String)]) -> Loaded<Definitions> {
    definitions::parse(docs)
}

/// What `check` found.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The configuration, if there is one and it is sound.
    pub config: Option<Config>,
    /// The definitions, as far as they could be read.
    pub definitions: Definitions,
    /// Every problem: of the configuration, of the definitions, and of the two together.
    pub problems: ConfigErrors,
    /// What is worth knowing and needs nobody to act: how alerts were bent to the scans (SLO101 to SLO103).
    pub notes: Vec<ConfigProblem>,
    /// A named file that could not be read at all: nothing can be said about it.
    pub unreadable: bool,
}

/// Validates a configuration (if one is given) and definitions: those given, else those that the configuration names.
/// Goes on wherever it can, so that all problems come at once.
pub fn check(config: Option<&Path>, definitions: &[PathBuf]) -> Checked {
    check_with(config, definitions, &|_| Vec::new())
}

/// Resources in scope as somebody counted them: (control, scope, how many).
pub type Population = Vec<(String, String, u64)>;

/// Like [`check`], with what is known of the population: `population` is asked with the ledger that the configuration
/// names.
pub fn check_with(config: Option<&Path>, definitions: &[PathBuf], population: &dyn Fn(&crate::ledger::Config) -> Population) -> Checked {
    let mut problems = Vec::new();
    let mut unreadable = false;
    let mut paths = definitions.to_vec();
    let mut meant = None;
    if let Some(path) = config {
        match read_config(path) {
            Ok(read) => {
                problems.extend(read.problems);
                if paths.is_empty() {
                    paths = read.definitions;
                }
                meant = read.config;
            }
            Err(errors) => {
                unreadable = true;
                problems.extend(errors.problems);
            }
        }
    }
    let (docs, missing) = read_documents(&paths);
    unreadable |= !missing.is_empty();
    problems.extend(missing);
    let read = definitions::read(&docs);
    problems.extend(read.problems);
    if let Some(config) = &meant
        && !read.definitions.sets.is_empty()
    {
        problems.extend(lint::lint(config, &read.definitions, &read.places));
    }
    let counted = meant.as_ref().map_or_else(Vec::new, |c| population(&c.ledger));
    let (found, mut notes) = lint::objectives(meant.as_ref(), &counted, &read.definitions, &read.places);
    problems.extend(found);
    sort(&mut problems, config, &docs);
    sort(&mut notes, config, &docs);
    problems = errors::gather(problems);
    Checked { config: meant, definitions: read.definitions, problems: ConfigErrors { problems }, notes: errors::gather(notes), unreadable }
}

/// The configuration first, then definitions in the order read; in each by place.
fn sort(problems: &mut [ConfigProblem], config: Option<&Path>, docs: &[(String, String)]) {
    let config = config.map(|c| c.display().to_string());
    let order = |path: &str| {
        if config.as_deref() == Some(path) { 0 } else { docs.iter().position(|(name, _)| name == path).map_or(usize::MAX, |i| i + 1) }
    };
    problems.sort_by_key(|p| (order(&p.path), p.line, p.column));
}

/// Whether a finding of `collector` can ever be evidence for `control`.
pub fn feeds(collector: &CollectorConfig, control: &Control) -> bool {
    control.checks.iter().any(|check| lint::can_satisfy(collector, check))
}

/// The scan interval T of an SLO, and where it is from: what the SLO says, else the slowest collector that can feed its
/// controls, else (for composites) the slowest of its members. `None` if nothing says it; [`SCAN_INTERVAL`] is then assumed.
pub fn scan_interval<'c>(slo: &Slo, definitions: &Definitions, collectors: &'c [CollectorConfig]) -> Option<(Span, ScanFrom<'c>)> {
    lint::scan_interval(slo, definitions, collectors, true)
}

/// The scan interval of an SLO for which nothing says one.
pub const SCAN_INTERVAL: Span = Span::DAY;

/// Where a scan interval is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanFrom<'c> {
    /// The SLO says it.
    Slo,
    /// The slowest collector that can feed its controls.
    Collector(&'c str),
    /// The slowest member of a composite.
    Members,
}

/// Larger files are no configuration.
const MAX_FILE: u64 = 16 << 20;
/// More files are a mistake in a path.
const MAX_FILES: usize = 10_000;

fn read_config(path: &Path) -> Result<operator::Read, ConfigErrors> {
    match read_text(path) {
        Ok(text) => Ok(operator::read(path, &text)),
        Err(problem) => Err(ConfigErrors { problems: vec![problem] }),
    }
}

fn whole_file(path: &Path, message: String, help: &str) -> ConfigProblem {
    ConfigProblem {
        severity: ProblemSeverity::Error,
        code: None,
        path: path.display().to_string(),
        line: 0,
        column: 0,
        message,
        help: Some(help.to_owned()),
    }
}

fn read_text(path: &Path) -> Result<String, ConfigProblem> {
    let size = std::fs::metadata(path).map(|m| m.len());
    match size {
        Ok(bytes) if bytes > MAX_FILE => {
            return Err(whole_file(
                path,
                format!("the file has {bytes} bytes, more than {MAX_FILE}"),
                "is it a scan that landed among definitions?",
            ));
        }
        Ok(_) => {}
        Err(e) => return Err(whole_file(path, format!("cannot be read: {}", reason(&e)), "check the path and its permissions")),
    }
    match std::fs::read(path).map(String::from_utf8) {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(_)) => Err(whole_file(path, "the file is not UTF-8 text".to_owned(), "save it as UTF-8 without other encodings")),
        Err(e) => Err(whole_file(path, format!("cannot be read: {}", reason(&e)), "check the path and its permissions")),
    }
}

/// The fault without the operating system's number, which differs between systems.
fn reason(e: &std::io::Error) -> String {
    match e.kind() {
        std::io::ErrorKind::NotFound => "there is no such file or directory".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        std::io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        _ => e.to_string(),
    }
}

/// The documents of files and directories, and what could not be read.
fn read_documents(paths: &[PathBuf]) -> (Vec<(String, String)>, Vec<ConfigProblem>) {
    let mut files = Vec::new();
    let mut problems = Vec::new();
    for path in paths {
        walk(path, true, 0, &mut files, &mut problems);
    }
    let mut docs: Vec<(String, String)> = Vec::new();
    for file in files {
        let name = file.display().to_string();
        if docs.iter().any(|(n, _)| *n == name) {
            continue;
        }
        match read_text(&file) {
            Ok(text) => docs.push((name, text)),
            Err(problem) => problems.push(problem),
        }
    }
    (docs, problems)
}

fn walk(path: &Path, named: bool, depth: usize, files: &mut Vec<PathBuf>, problems: &mut Vec<ConfigProblem>) {
    if files.len() > MAX_FILES || depth > 32 {
        return;
    }
    if !path.is_dir() {
        let yaml = path.extension().is_some_and(|e| e == "yaml" || e == "yml");
        // A file somebody names is read whatever it is called.
        if named || yaml {
            files.push(path.to_owned());
        }
        return;
    }
    match std::fs::read_dir(path) {
        Err(e) => problems.push(whole_file(path, format!("cannot be read: {}", reason(&e)), "check the path and its permissions")),
        Ok(entries) => {
            let mut inside: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
            inside.sort();
            for entry in inside {
                // `..data` of a mounted ConfigMap and editors' `.#x.yaml` are the same files once more.
                if !entry.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.')) {
                    walk(&entry, false, depth + 1, files, problems);
                }
            }
        }
    }
}

/// What is wrong with a JSONPath, if anything is.
fn jsonpath_fault(text: &str) -> Result<(), String> {
    predicate::compile(text).map(|_| ()).map_err(|e| one_line(&e))
}

/// A parser's drawing of several lines (`--> 1:8`, a caret, `= expected …`) as one sentence.
fn one_line(message: &str) -> String {
    let Some((head, drawing)) = message.split_once("-->") else { return message.trim().to_owned() };
    let column = drawing.lines().next().and_then(|l| l.trim().rsplit(':').next()).unwrap_or("").trim();
    let expected = drawing.lines().rev().find_map(|l| l.trim().strip_prefix("= ")).unwrap_or("another character").trim();
    let head = head.trim().trim_end_matches("Failed to parse rule:").trim().trim_end_matches(':');
    format!("{head}: at character {column}: {expected}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_in_the_manual() {
        let check = |manual: &str, name: &str, lists: &[&[&str]]| {
            for key in lists.iter().flat_map(|l| l.iter()) {
                assert!(manual.contains(&format!("`{key}`")), "docs/{name} does not explain `{key}`");
            }
        };
        check(
            include_str!("../../docs/configuration.md"),
            "configuration.md",
            &[
                operator::KEYS,
                operator::COLLECTOR_KEYS,
                operator::PROMETHEUS_KEYS,
                reach::FILE_KEYS,
                reach::HTTP_KEYS,
                reach::COMMAND_KEYS,
                reach::PUSH_KEYS,
                reach::OPTION_KEYS,
                clouds::DEFENDER_KEYS,
                clouds::POLICY_KEYS,
                clouds::SENTINEL_KEYS,
                clouds::WORKSPACE_KEYS,
                clouds::SCC_KEYS,
                clouds::WIZ_KEYS,
                apis::KUBERNETES_KEYS,
                apis::GITHUB_KEYS,
                apis::APP_KEYS,
                apis::FUGUE_KEYS,
                mapping::KEYS,
                mapping::RESULT,
                mapping::LIFECYCLE,
            ],
        );
        check(
            include_str!("../../docs/sources/aws-security-hub.md"),
            "sources/aws-security-hub.md",
            &[aws::SECURITY_HUB_KEYS, aws::SECURITY_HUB_V2_KEYS, aws::AWS_KEYS, aws::ACCOUNT_KEYS],
        );
        check(include_str!("../../docs/sources/aws-config.md"), "sources/aws-config.md", &[aws::CONFIG_KEYS]);
        check(include_str!("../../docs/sources/s3.md"), "sources/s3.md", &[aws::S3_KEYS]);
        check(
            include_str!("../../docs/definitions.md"),
            "definitions.md",
            &[
                definitions::SET_KEYS,
                definitions::CONTROL_KEYS,
                definitions::CHECK_KEYS,
                objectives::SLO_KEYS,
                objectives::DEFAULTS_KEYS,
                objectives::COMPOSITE_KEYS,
                objectives::MEMBER_KEYS,
                objectives::TIME_SLICE_KEYS,
                objectives::GATE_KEYS,
                objectives::CALENDAR_KEYS,
                objectives::SLI_WORDS,
                openslo::SOURCE_KEYS,
                definitions::SELECTOR_KEYS,
                definitions::WAIVER_KEYS,
                super::framework::FRAMEWORK_KEYS,
                super::framework::REQUIREMENT_KEYS,
            ],
        );
    }

    #[test]
    fn a_drawing_becomes_a_sentence() {
        let drawing = "`$.[` is not a JSONPath: Failed to parse rule:  --> 1:3\n  |\n1 | $.[\n  |   ^---\n  |\n  = expected ALPHA";
        assert_eq!(one_line(drawing), "`$.[` is not a JSONPath: at character 3: expected ALPHA");
        assert_eq!(one_line(" plain "), "plain");
    }
}
