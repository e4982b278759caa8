//! Files and directories as scanners leave them.
//!
//! What is not there, may not be read or is still being written is said and leaves the run incomplete: a look that
//! misses a file must not close what the file would have shown. It never opens anything but regular files, so that a
//! pipe cannot hold it, and it follows symbolic links without going round in circles.
//!
//! Not here: what a file means, and which of two reports about one host counts; both need its content.

use super::{Collected, Document};
use crate::clock;
use crate::domain::{Moment, Position, Problem, ProblemKind, Span};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use regex::Regex;
use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

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

/// Most files of one run; a pattern that matches more is a slip, or somebody's trap.
const MAX_FILES: usize = 100_000;
/// Most directory entries looked at in one run.
const MAX_ENTRIES: usize = 2_000_000;
/// Deepest directory below a path's fixed part.
const MAX_DEPTH: usize = 32;
/// Problems told one by one.
const MAX_PROBLEMS: usize = 1000;
/// What a scanner writes under until it is done, and what editors leave.
const UNFINISHED: [&str; 7] = [".tmp", ".part", ".partial", ".swp", ".crdownload", ".lock", "~"];
/// Endings of documents in a directory that is named without `include`.
const DOCUMENTS: [&str; 8] = [".json", ".ndjson", ".jsonl", ".xml", ".arf", ".sarif", ".csv", ".oscal"];
const COMPRESSED: [&str; 4] = [".gz", ".zst", ".zstd", ".gzip"];
/// Prowler's roll-out of the same scan by framework; the findings are in the directory above.
const NOT_FINDINGS: [&str; 1] = ["compliance"];

impl Config {
    /// What is wrong with it: (field, sentence).
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        let mut wrong = Vec::new();
        if self.paths.is_empty() {
            wrong.push(("path", "no path; name a file, a glob such as `scans/*.json`, or a directory".to_owned()));
        }
        for path in &self.paths {
            if let Err(e) = Pattern::parse(path) {
                wrong.push(("path", e));
            }
        }
        for (field, globs) in [("include", &self.include), ("exclude", &self.exclude)] {
            for glob in globs {
                if let Err(e) = glob_set(std::slice::from_ref(glob)) {
                    wrong.push((field, e));
                }
            }
        }
        wrong
    }

    /// Whether a file with this path below the base could be one of them: for whoever brings files here first.
    pub(super) fn may_match(&self, path: &str, custodian: bool) -> bool {
        let parts: Vec<&str> = path.split('/').collect();
        let name = parts.last().copied().unwrap_or_default();
        if custodian && !(name.starts_with("metadata.json") || name.starts_with("resources.json")) {
            return false;
        }
        self.paths.iter().filter_map(|p| Pattern::parse(p).ok()).any(|p| may_match(&p.parts, &parts, custodian || is_document(name)))
    }

    /// Names of the fields that the paths capture, for the check that a scope's template can be filled.
    pub fn captures(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .paths
            .iter()
            .filter_map(|p| Pattern::parse(p).ok())
            .flat_map(|p| p.captures().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

/// What a collector keeps between its looks.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Held by the thread that looks.
    busy: Mutex<()>,
    /// What the last complete look found.
    last: Mutex<Vec<Found>>,
}

impl State {
    /// The last look was of no use: the next is not to be taken for the same.
    pub(super) fn forget(&self) {
        self.last().clear();
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Vec<Found>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at the files; if some are being written, waits once and looks again.
pub(super) async fn collect(
    name: &str,
    config: &Config,
    custodian: bool,
    base: &Path,
    state: &Arc<State>,
    deadline: tokio::time::Instant,
) -> Collected {
    let mut collected = Collected::nothing(name, clock::now());
    collected.newest_per_subject = config.runs == Runs::NewestPerSubject;
    match settled(config, custodian, base, state, deadline).await {
        Err(problem) => collected.problems.push(problem),
        Ok(look) => {
            let Look { found, problems, .. } = look.finish(config, custodian);
            collected.complete = problems.is_empty();
            collected.problems = problems;
            let mut last = state.last();
            collected.unchanged = collected.complete && *last == found;
            *last = if collected.complete { found.clone() } else { Vec::new() };
            collected.documents = found.into_iter().map(Found::document).collect();
        }
    }
    collected.finished = clock::now();
    collected
}

async fn settled(
    config: &Config,
    custodian: bool,
    base: &Path,
    state: &Arc<State>,
    deadline: tokio::time::Instant,
) -> Result<Look, Problem> {
    let first = blocking(config, custodian, base, state, deadline).await?;
    let second = tokio::time::Instant::now() + config.settle.std();
    if first.restless.is_empty() || second >= deadline {
        return Ok(first);
    }
    tokio::time::sleep_until(second).await;
    Ok(blocking(config, custodian, base, state, deadline).await?.after(&first))
}

/// A file system may hang for ever (NFS), and no thread can be called back from it: a look is not begun while the last
/// has not come back, so that they do not pile up.
async fn blocking(
    config: &Config,
    custodian: bool,
    base: &Path,
    state: &Arc<State>,
    deadline: tokio::time::Instant,
) -> Result<Look, Problem> {
    let late = |message: &str| problem(ProblemKind::Timeout, config.paths.join(", "), message);
    let left = deadline.saturating_duration_since(tokio::time::Instant::now());
    let task = {
        let (config, base, state) = (config.clone(), base.to_owned(), Arc::clone(state));
        tokio::task::spawn_blocking(move || {
            let _busy = match state.busy.try_lock() {
                Err(TryLockError::WouldBlock) => return None,
                Ok(guard) => guard,
                Err(TryLockError::Poisoned(guard)) => guard.into_inner(),
            };
            Some(look(&config, custodian, &base, clock::now(), left))
        })
    };
    match tokio::time::timeout(left + Duration::from_secs(1), task).await {
        Err(_) => Err(late("the file system does not answer")),
        Ok(Ok(None)) => Err(late("the file system has not yet answered the last look")),
        Ok(Ok(Some(look))) => Ok(look),
        Ok(Err(e)) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
        Ok(Err(_)) => Err(late("the look was called off")),
    }
}

/// One file, or one Cloud Custodian policy directory.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    path: PathBuf,
    /// Which of the configured paths it matches.
    of: usize,
    fields: Vec<(String, String)>,
    size: u64,
    modified: Option<Moment>,
}

impl Found {
    fn document(self) -> Document {
        Document { name: self.path.display().to_string(), path: self.path, modified: self.modified, fields: self.fields, spool: None }
    }
}

/// What one look came to.
#[derive(Debug, Default)]
struct Look {
    found: Vec<Found>,
    problems: Vec<Problem>,
    /// Changed a moment ago, perhaps unfinished.
    restless: Vec<Found>,
    /// Configured paths of which something was seen or said, be it unreadable or unfinished.
    touched: HashSet<usize>,
    /// Configured paths that led to a directory.
    directories: HashSet<usize>,
}

impl Look {
    /// Takes what has not changed since `first` for finished, whatever its time stamp says.
    fn after(mut self, first: &Look) -> Look {
        let (same, changing): (Vec<_>, Vec<_>) = self.restless.drain(..).partition(|f| first.restless.contains(f));
        self.found.extend(same);
        self.restless = changing;
        self
    }

    /// Order, choice of runs, and a word about whatever is missing.
    fn finish(mut self, config: &Config, custodian: bool) -> Look {
        for file in &self.restless {
            let message = "is still being written; it is left alone until it has rested for the time of `settle`";
            self.problems.push(problem(ProblemKind::Truncated, file.path.display(), message));
        }
        for (i, path) in config.paths.iter().enumerate().filter(|(i, _)| !self.touched.contains(i)) {
            let message = if self.directories.contains(&i) { "the directory has no document in it" } else { "nothing matches" };
            self.problems.push(problem(ProblemKind::Empty, path, message));
        }
        if self.problems.len() > MAX_PROBLEMS {
            let more = self.problems.len() - MAX_PROBLEMS;
            self.problems.truncate(MAX_PROBLEMS);
            self.problems.push(problem(ProblemKind::Limit, "files", format!("{more} more problems like these")));
        }
        self.found.sort_by(|a, b| b.modified.cmp(&a.modified).then_with(|| b.path.cmp(&a.path)));
        if config.runs == Runs::Newest && !custodian {
            let mut seen = HashSet::new();
            self.found.retain(|f| seen.insert((f.of, f.fields.clone())));
        }
        self
    }
}

fn problem(kind: ProblemKind, source: impl ToString, message: impl Into<String>) -> Problem {
    Problem { kind, source: source.to_string(), position: Position::default(), message: message.into() }
}

/// One look at all configured paths.
fn look(config: &Config, custodian: bool, base: &Path, now: Moment, time: Duration) -> Look {
    // The configuration was validated; a glob that is wrong all the same matches nothing, which is a problem by itself.
    let globs = |globs: &[String]| glob_set(globs).unwrap_or_else(|_| GlobSet::empty());
    let mut walk = Walk {
        include: (!config.include.is_empty()).then(|| globs(&config.include)),
        exclude: globs(&config.exclude),
        prefer: globs(&config.prefer),
        settle: config.settle,
        every_run: config.runs == Runs::All,
        custodian,
        now,
        until: Instant::now().checked_add(time),
        entries: 0,
        stopped: false,
        of: 0,
        recursive: false,
        seen: HashSet::new(),
        look: Look::default(),
    };
    for (i, path) in config.paths.iter().enumerate() {
        walk.of = i;
        match Pattern::parse(path) {
            Ok(pattern) => {
                walk.recursive = pattern.parts.iter().any(|p| matches!(p, Part::Recursive));
                walk.follow(base, &pattern.parts, &mut Vec::new(), 0, false);
            }
            Err(e) => walk.trouble(ProblemKind::Source, path, e),
        }
    }
    walk.look
}

struct Walk {
    include: Option<GlobSet>,
    exclude: GlobSet,
    prefer: GlobSet,
    settle: Span,
    every_run: bool,
    custodian: bool,
    now: Moment,
    until: Option<Instant>,
    entries: usize,
    /// A bound was met and said; nothing more is looked at.
    stopped: bool,
    of: usize,
    /// The pattern being followed has a `**`.
    recursive: bool,
    /// Files taken, so that two paths to one file do not count it twice.
    seen: HashSet<(FileId, Vec<(String, String)>)>,
    look: Look,
}

type Fields = Vec<(String, String)>;

impl Walk {
    fn trouble(&mut self, kind: ProblemKind, path: impl AsRef<Path>, message: impl Into<String>) {
        self.look.touched.insert(self.of);
        self.look.problems.push(problem(kind, path.as_ref().display(), message));
    }

    fn stop(&mut self, kind: ProblemKind, path: &Path, message: impl Into<String>) {
        self.stopped = true;
        self.trouble(kind, path, message);
    }

    fn failure(&mut self, path: &Path, error: &std::io::Error) {
        match error.kind() {
            ErrorKind::PermissionDenied => self.trouble(ProblemKind::Denied, path, "permission denied"),
            // It was there when its directory was read: whoever writes it has just renamed or removed it.
            ErrorKind::NotFound if fs::symlink_metadata(path).is_err() => {}
            ErrorKind::NotFound => self.trouble(ProblemKind::Source, path, "a symbolic link to nothing"),
            _ => self.trouble(ProblemKind::Source, path, error.to_string()),
        }
    }

    /// The entries of a directory, by name; said and empty if it cannot be read.
    fn entries(&mut self, dir: &Path) -> Vec<OsString> {
        let mut names = Vec::new();
        // Joining nothing to a relative base leaves the empty path, which means "here" everywhere but to the system.
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        let listing = match fs::read_dir(dir) {
            Ok(listing) => listing,
            Err(e) => {
                self.failure(dir, &e);
                return names;
            }
        };
        for entry in listing {
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                self.stop(ProblemKind::Limit, dir, format!("more than {MAX_ENTRIES} directory entries; name the files more narrowly"));
            } else if self.entries.is_multiple_of(256) && self.until.is_some_and(|t| Instant::now() > t) {
                self.stop(ProblemKind::Timeout, dir, "the time for this run is up");
            }
            if self.stopped {
                break;
            }
            match entry {
                Ok(entry) => names.push(entry.file_name()),
                Err(e) => self.failure(dir, &e),
            }
        }
        names.sort();
        names
    }

    /// Follows a pattern's parts from `at` on; `wild` if `at` was met by a wildcard and not named.
    fn follow(&mut self, at: &Path, parts: &[Part], fields: &mut Fields, depth: usize, wild: bool) {
        if self.stopped {
            return;
        }
        if depth > MAX_DEPTH {
            return self.trouble(ProblemKind::Limit, at, format!("more than {MAX_DEPTH} directories deep, or a symbolic link to itself"));
        }
        let Some((part, rest)) = parts.split_first() else {
            return self.arrive(at, fields, depth, wild);
        };
        match part {
            Part::Literal(name) => {
                let next = at.join(name);
                match fs::symlink_metadata(&next) {
                    Ok(_) => self.follow(&next, rest, fields, depth, false),
                    Err(e) if e.kind() == ErrorKind::PermissionDenied => self.failure(&next, &e),
                    // Not there, or below a file: nothing matches, which is told at the end.
                    Err(_) => {}
                }
            }
            Part::Wild { regex, dots } => {
                for name in self.entries(at) {
                    let text = name.to_string_lossy();
                    if !dots && is_unfinished(&text) {
                        continue;
                    }
                    let Some(captured) = regex.captures(&text) else { continue };
                    let before = fields.len();
                    for field in regex.capture_names().flatten() {
                        if let Some(value) = captured.name(field) {
                            fields.push((field.to_owned(), value.as_str().to_owned()));
                        }
                    }
                    let next = at.join(&name);
                    // Below a file nothing can match; what is no directory is passed over as a shell would.
                    if rest.is_empty() || next.is_dir() {
                        self.follow(&next, rest, fields, depth + 1, true);
                    } else if let Err(e) = fs::metadata(&next) {
                        self.failure(&next, &e);
                    }
                    fields.truncate(before);
                }
            }
            Part::Recursive => {
                self.follow(at, rest, fields, depth, true);
                for name in self.entries(at) {
                    let next = at.join(&name);
                    // Symbolic links to directories are not followed here: `**` meets their targets by themselves, or
                    // they lead elsewhere, or in a circle.
                    if !is_unfinished(&name.to_string_lossy()) && fs::symlink_metadata(&next).is_ok_and(|m| m.is_dir()) {
                        self.follow(&next, parts, fields, depth + 1, true);
                    }
                }
            }
        }
    }

    /// A path that the whole pattern matches.
    fn arrive(&mut self, path: &Path, fields: &Fields, depth: usize, wild: bool) {
        match fs::metadata(path) {
            Err(e) => self.failure(path, &e),
            Ok(meta) if meta.is_dir() => {
                // `scans/*` meets the sub-directories that are passed over in `scans` too, and `**` goes into each by
                // itself.
                if self.recursive || wild && path.file_name().is_some_and(|n| NOT_FINDINGS.iter().any(|not| n == *not)) {
                    return;
                }
                self.look.directories.insert(self.of);
                if self.custodian {
                    self.custodian_root(path, fields, depth);
                } else {
                    self.directory(path, fields, depth);
                }
            }
            Ok(_) if self.exclude.is_match(path) || path.file_name().is_some_and(|n| self.exclude.is_match(n)) => {}
            Ok(_) if self.custodian => {
                // A pattern that names the files within a policy's directory means the policy.
                let parent = path.parent().unwrap_or(path).to_owned();
                if let Some(run) = self.custodian_run(&parent, fields) {
                    self.take(run.0, &run.1);
                }
            }
            Ok(meta) => self.file(path, &meta, fields),
        }
    }

    fn file(&mut self, path: &Path, meta: &Metadata, fields: &Fields) {
        if !meta.is_file() {
            return self.trouble(ProblemKind::Source, path, "neither a regular file nor a directory; pipes and devices are not read");
        }
        if let Err(e) = File::open(path) {
            return self.failure(path, &e);
        }
        let found = Found { path: path.to_owned(), of: self.of, fields: fields.clone(), size: meta.len(), modified: modified(meta) };
        self.take(found, meta);
    }

    fn take(&mut self, found: Found, meta: &Metadata) {
        self.look.touched.insert(self.of);
        if !self.seen.insert((file_id(&found.path, meta), found.fields.clone())) {
            return;
        }
        if self.look.found.len() + self.look.restless.len() >= MAX_FILES {
            return self.stop(ProblemKind::Limit, &found.path, format!("more than {MAX_FILES} files; name them more narrowly"));
        }
        // A time stamp in the future is restless too: the second look decides.
        let rested = self.settle == Span(0) || found.modified.is_none_or(|m| self.now.since(m) >= self.settle);
        if rested { self.look.found.push(found) } else { self.look.restless.push(found) }
    }

    /// The documents in a directory and below it.
    fn directory(&mut self, root: &Path, fields: &Fields, depth: usize) {
        let mut files = Vec::new();
        let mut visited = HashSet::new();
        self.gather(root, Path::new(""), depth, &mut visited, &mut files);
        if self.include.is_none() && files.iter().any(|(_, relative, _)| matches(&self.prefer, relative)) {
            files.retain(|(_, relative, _)| matches(&self.prefer, relative));
        }
        for (path, _, meta) in files {
            if self.stopped {
                return;
            }
            self.file(&path, &meta, fields);
        }
    }

    fn gather(
        &mut self,
        dir: &Path,
        below: &Path,
        depth: usize,
        visited: &mut HashSet<FileId>,
        files: &mut Vec<(PathBuf, PathBuf, Metadata)>,
    ) {
        if depth > MAX_DEPTH {
            return self.trouble(ProblemKind::Limit, dir, format!("more than {MAX_DEPTH} directories deep"));
        }
        if fs::metadata(dir).is_ok_and(|meta| !visited.insert(file_id(dir, &meta))) {
            return;
        }
        for name in self.entries(dir) {
            let text = name.to_string_lossy();
            if self.stopped || is_unfinished(&text) {
                continue;
            }
            let (path, relative) = (dir.join(&name), below.join(&name));
            match fs::metadata(&path) {
                Err(e) => self.failure(&path, &e),
                Ok(meta) if meta.is_dir() => {
                    if !NOT_FINDINGS.contains(&text.as_ref()) && !matches(&self.exclude, &relative) {
                        self.gather(&path, &relative, depth + 1, visited, files);
                    }
                }
                Ok(meta) => {
                    let wanted = self.include.as_ref().map_or_else(|| is_document(&text), |include| matches(include, &relative));
                    if wanted && !matches(&self.exclude, &relative) {
                        files.push((path, relative, meta));
                    }
                }
            }
        }
    }

    /// The policies below a directory that `custodian run -s` or `c7n-org -s` wrote, or a copy of their bucket: a
    /// directory with `metadata.json` is one run of one policy, above it there may be account, region and hour.
    fn custodian_root(&mut self, root: &Path, fields: &Fields, depth: usize) {
        let mut policies: BTreeMap<PathBuf, Vec<CustodianRun>> = BTreeMap::new();
        let mut visited = HashSet::new();
        self.custodian_gather(root, fields, depth, &mut visited, &mut policies);
        for (_, mut runs) in policies {
            runs.sort_by(|a, b| (&b.hour, b.found.modified, &b.found.path).cmp(&(&a.hour, a.found.modified, &a.found.path)));
            if !self.every_run {
                runs.truncate(1);
            }
            for run in runs {
                self.take(run.found, &run.meta);
            }
        }
    }

    fn custodian_gather(
        &mut self,
        dir: &Path,
        fields: &Fields,
        depth: usize,
        visited: &mut HashSet<FileId>,
        policies: &mut BTreeMap<PathBuf, Vec<CustodianRun>>,
    ) {
        if depth > MAX_DEPTH {
            return self.trouble(ProblemKind::Limit, dir, format!("more than {MAX_DEPTH} directories deep"));
        }
        if self.stopped || fs::metadata(dir).is_ok_and(|meta| !visited.insert(file_id(dir, &meta))) {
            return;
        }
        let names = self.entries(dir);
        let has =
            |stem: &str| names.iter().any(|n| n.to_str().is_some_and(|n| n.strip_prefix(stem).is_some_and(|r| r.is_empty() || r == ".gz")));
        if has("metadata.json") {
            if let Some((found, meta)) = self.custodian_run(dir, fields) {
                let (policy, hour) = custodian_policy(dir);
                policies.entry(policy).or_default().push(CustodianRun { hour, found, meta });
            }
            return;
        }
        if has("resources.json") || has("custodian-run.log") {
            // Metadata is written last, whether the policy found something, nothing or failed.
            let message = "no metadata.json: the policy's run has not ended, or was killed";
            self.trouble(ProblemKind::Truncated, dir, message);
        }
        for name in names {
            let path = dir.join(&name);
            if is_unfinished(&name.to_string_lossy()) || matches(&self.exclude, Path::new(&name)) {
                continue;
            }
            match fs::metadata(&path) {
                Ok(meta) if meta.is_dir() => self.custodian_gather(&path, fields, depth + 1, visited, policies),
                Ok(_) => {}
                Err(e) => self.failure(&path, &e),
            }
        }
    }

    fn custodian_run(&mut self, dir: &Path, fields: &Fields) -> Option<(Found, Metadata)> {
        let file = ["metadata.json", "metadata.json.gz"].map(|name| dir.join(name)).into_iter().find(|path| path.is_file());
        let Some(file) = file else {
            self.trouble(ProblemKind::Truncated, dir, "no metadata.json: the policy's run has not ended, or was killed");
            return None;
        };
        match File::open(&file).and_then(|f| f.metadata()) {
            Err(e) => {
                self.failure(&file, &e);
                None
            }
            Ok(meta) => {
                let found =
                    Found { path: dir.to_owned(), of: self.of, fields: fields.clone(), size: meta.len(), modified: modified(&meta) };
                Some((found, meta))
            }
        }
    }
}

struct CustodianRun {
    hour: Vec<OsString>,
    found: Found,
    meta: Metadata,
}

/// A policy's directory without the parts that name one run of it: year, month, day, hour, or a UUID.
pub(super) fn custodian_policy(dir: &Path) -> (PathBuf, Vec<OsString>) {
    let is_run = |name: &str| {
        (name.len() <= 4 && name.bytes().all(|b| b.is_ascii_digit()))
            || (name.len() == 36
                && name.bytes().enumerate().all(|(i, b)| if matches!(i, 8 | 13 | 18 | 23) { b == b'-' } else { b.is_ascii_hexdigit() }))
    };
    let mut policy = dir.to_owned();
    let mut hour = Vec::new();
    while let Some(name) = policy.file_name().filter(|n| n.to_str().is_some_and(is_run)) {
        hour.insert(0, name.to_owned());
        policy.pop();
    }
    (policy, hour)
}

fn modified(meta: &Metadata) -> Option<Moment> {
    meta.modified().ok().and_then(|t| jiff::Timestamp::try_from(t).ok()).map(Moment::from)
}

#[cfg(unix)]
type FileId = (u64, u64);
#[cfg(unix)]
fn file_id(_path: &Path, meta: &Metadata) -> FileId {
    use std::os::unix::fs::MetadataExt;
    (meta.dev(), meta.ino())
}
#[cfg(not(unix))]
type FileId = PathBuf;
#[cfg(not(unix))]
fn file_id(path: &Path, _meta: &Metadata) -> FileId {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// Hidden (`..data` of a ConfigMap among them) or under a name that says so.
fn is_unfinished(name: &str) -> bool {
    name.starts_with('.') || UNFINISHED.iter().any(|end| name.ends_with(end))
}

fn is_document(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let name = COMPRESSED.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
    DOCUMENTS.iter().any(|end| name.ends_with(end))
}

fn matches(globs: &GlobSet, relative: &Path) -> bool {
    !globs.is_empty() && (globs.is_match(relative) || relative.file_name().is_some_and(|name| globs.is_match(name)))
}

fn glob_set(globs: &[String]) -> Result<GlobSet, String> {
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        set.add(GlobBuilder::new(glob).literal_separator(true).build().map_err(|e| e.to_string())?);
    }
    set.build().map_err(|e| e.to_string())
}

/// A configured path, part by part.
#[derive(Debug)]
struct Pattern {
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    /// A name, a root or a `..`.
    Literal(PathBuf),
    /// A name with wildcards; `dots` if it may begin with one.
    Wild { regex: Regex, dots: bool },
    /// `**`
    Recursive,
}

impl Pattern {
    fn parse(text: &str) -> Result<Pattern, String> {
        if text.is_empty() {
            return Err("the path is empty".to_owned());
        }
        let mut parts = Vec::new();
        let mut names = HashSet::new();
        // Braces may hold no `/`, so a path's components can be taken one by one.
        for component in Path::new(text).components() {
            let part = match component {
                Component::Normal(name) => {
                    let name = name.to_str().ok_or("the path is not UTF-8")?;
                    if name == "**" {
                        Part::Recursive
                    } else if name.contains(['*', '?', '[', '{', '\\']) {
                        wild(name, &mut names).map_err(|e| format!("`{text}`: {e}"))?
                    } else {
                        Part::Literal(PathBuf::from(name))
                    }
                }
                Component::CurDir => continue,
                other => Part::Literal(PathBuf::from(other.as_os_str())),
            };
            if matches!((&part, parts.last()), (Part::Recursive, Some(Part::Recursive))) {
                continue;
            }
            parts.push(part);
        }
        // `scans/**` means the files below, as in other tools.
        if matches!(parts.last(), Some(Part::Recursive)) {
            parts.push(wild("*", &mut names)?);
        }
        Ok(Pattern { parts })
    }

    fn captures(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().flat_map(|part| match part {
            Part::Wild { regex, .. } => regex.capture_names().flatten().collect::<Vec<_>>(),
            Part::Literal(_) | Part::Recursive => Vec::new(),
        })
    }
}

/// Whether a pattern meets a path or a directory above it; below a directory only what `below` says.
fn may_match(pattern: &[Part], path: &[&str], below: bool) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (None, Some(_)) => below,
        (Some(_), None) => false,
        (Some((Part::Literal(want), rest)), Some((name, more))) => want.as_os_str() == *name && may_match(rest, more, below),
        (Some((Part::Wild { regex, .. }, rest)), Some((name, more))) => regex.is_match(name) && may_match(rest, more, below),
        (Some((Part::Recursive, rest)), Some((_, more))) => may_match(rest, path, below) || may_match(pattern, more, below),
    }
}

/// The text up to `end`, which is taken too.
fn until<'a>(chars: &mut std::str::Chars<'a>, end: char) -> Option<&'a str> {
    let (text, rest) = chars.as_str().split_once(end)?;
    *chars = rest.chars();
    Some(text)
}

fn wild(name: &str, names: &mut HashSet<String>) -> Result<Part, String> {
    let mut regex = String::from("^(?s)");
    let mut chars = name.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            '\\' => regex.push_str(&regex::escape(&chars.next().unwrap_or('\\').to_string())),
            '[' => {
                let body = until(&mut chars, ']').unwrap_or_default();
                let (not, set) = body.strip_prefix(['!', '^']).map_or(("", body), |set| ("^", set));
                if set.is_empty() {
                    return Err("`[` without its characters and `]`".to_owned());
                }
                // `-` keeps its meaning, everything else stands for itself.
                let set: String = set.chars().map(|c| if c == '-' { c.to_string() } else { regex::escape(&c.to_string()) }).collect();
                regex.push_str(&format!("[{not}{set}]"));
            }
            '{' => {
                let body = until(&mut chars, '}').ok_or("`{` without its `}` in the same name")?;
                if body.contains(',') {
                    let choices: Vec<_> = body.split(',').map(regex::escape).collect();
                    regex.push_str(&format!("(?:{})", choices.join("|")));
                } else if !body.is_empty()
                    && body.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
                    && !body.starts_with(|c: char| c.is_ascii_digit())
                {
                    if !names.insert(body.to_owned()) {
                        return Err(format!("the field `{body}` is captured twice"));
                    }
                    // A field must have a text, or findings of several files would fall together under none.
                    regex.push_str(&format!("(?<{body}>.+?)"));
                } else {
                    return Err(format!(
                        "`{{{body}}}` is neither a field's name (letters, digits, `_`) nor a choice such as `{{json,xml}}`"
                    ));
                }
            }
            c => regex.push_str(&regex::escape(&c.to_string())),
        }
    }
    regex.push('$');
    let regex = Regex::new(&regex).map_err(|_| format!("`{name}` cannot be understood"))?;
    Ok(Part::Wild { regex, dots: name.starts_with('.') })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    const LONG: Duration = Duration::from_secs(60);

    fn write(dir: &Path, name: &str, age_seconds: u64) -> PathBuf {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "[]").unwrap();
        // From a fixed instant, so that no test asks for the time.
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 - age_seconds);
        File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        path
    }

    const NOW: Moment = Moment(1_000_000_000_000);

    fn config(paths: &[&str]) -> Config {
        Config { paths: paths.iter().map(|&p| p.to_owned()).collect(), ..Config::default() }
    }

    fn seen(config: &Config, custodian: bool, dir: &Path) -> (Vec<String>, Vec<String>) {
        let look = look(config, custodian, dir, NOW, LONG).finish(config, custodian);
        let short = |p: &dyn ToString| p.to_string().replace(&format!("{}/", dir.display()), "");
        let found = look
            .found
            .iter()
            .map(|f| {
                let fields: String = f.fields.iter().map(|(k, v)| format!(" {k}={v}")).collect();
                format!("{}{fields}", short(&f.path.display()))
            })
            .collect();
        (found, look.problems.iter().map(|p| short(p)).collect())
    }

    #[track_caller]
    fn check(config: &Config, dir: &Path, found: &[&str], problems: &[&str]) {
        let got = seen(config, false, dir);
        assert_eq!(
            (got.0.as_slice(), got.1.as_slice()),
            (&found.iter().map(|&s| s.to_owned()).collect::<Vec<_>>()[..], &problems.iter().map(|&s| s.to_owned()).collect::<Vec<_>>()[..])
        );
    }

    #[test]
    fn globs_find_newest_first_and_captures_become_fields() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "scans/eu-1/node-a.json", 300);
        write(dir.path(), "scans/eu-1/node-b.json", 100);
        write(dir.path(), "scans/us-1/node-a.json", 200);
        write(dir.path(), "scans/us-1/node-c.json.tmp", 200);
        write(dir.path(), "scans/us-1/.node-d.json", 200);
        write(dir.path(), "scans/readme.md", 200);
        check(
            &config(&["scans/{cluster}/{node}.json"]),
            dir.path(),
            &[
                "scans/eu-1/node-b.json cluster=eu-1 node=node-b",
                "scans/us-1/node-a.json cluster=us-1 node=node-a",
                "scans/eu-1/node-a.json cluster=eu-1 node=node-a",
            ],
            &[],
        );
        check(&config(&["scans/*/node-[ac].json"]), dir.path(), &["scans/us-1/node-a.json", "scans/eu-1/node-a.json"], &[]);
        check(&config(&["scans/{eu-1,us-2}/*-a.{json,xml}"]), dir.path(), &["scans/eu-1/node-a.json"], &[]);
        let all = ["scans/eu-1/node-b.json", "scans/us-1/node-a.json", "scans/eu-1/node-a.json"];
        check(&config(&["**/*.json"]), dir.path(), &all, &[]);
        check(
            &config(&["scans/**"]),
            dir.path(),
            &["scans/eu-1/node-b.json", "scans/us-1/node-a.json", "scans/readme.md", "scans/eu-1/node-a.json"],
            &[],
        );
        check(&Config { runs: Runs::Newest, ..config(&["scans/*/*.json"]) }, dir.path(), &["scans/eu-1/node-b.json"], &[]);
        let by_cluster = Config { runs: Runs::Newest, ..config(&["scans/{cluster}/*.json"]) };
        check(&by_cluster, dir.path(), &["scans/eu-1/node-b.json cluster=eu-1", "scans/us-1/node-a.json cluster=us-1"], &[]);
        // One file by two ways is one file.
        check(&config(&["scans/us-1/node-a.json", "scans/us-1/*.json", "./scans/us-1"]), dir.path(), &["scans/us-1/node-a.json"], &[]);
    }

    #[test]
    fn of_equal_times_the_later_name_is_newer() {
        let dir = tempfile::tempdir().unwrap();
        for day in ["02", "10", "01"] {
            write(dir.path(), &format!("scan-2026-11-{day}.json"), 50);
        }
        check(&config(&["*.json"]), dir.path(), &["scan-2026-11-10.json", "scan-2026-11-02.json", "scan-2026-11-01.json"], &[]);
    }

    #[test]
    fn nothing_there_is_a_problem_for_each_path() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("out")).unwrap();
        write(dir.path(), "out/log.txt", 50);
        write(dir.path(), "a.json", 50);
        check(
            &config(&["a.json", "b.json", "no/where/*.json", "out"]),
            dir.path(),
            &["a.json"],
            &[
                "b.json: empty: nothing matches",
                "no/where/*.json: empty: nothing matches",
                "out: empty: the directory has no document in it",
            ],
        );
    }

    #[test]
    fn a_prowler_directory_is_its_ocsf_files_and_not_its_compliance_tables() {
        let dir = tempfile::tempdir().unwrap();
        let scan = "output/prowler-output-111122223333-2026112306";
        for (end, age) in [("0000.ocsf.json", 90), ("0000.asff.json", 90), ("0000.csv", 90), ("0000.html", 90), ("3000.ocsf.json", 60)] {
            write(dir.path(), &format!("{scan}{end}"), age);
        }
        write(dir.path(), "output/compliance/prowler-output_cis_3.0_aws.csv", 60);
        let newest_first = [format!("{scan}3000.ocsf.json"), format!("{scan}0000.ocsf.json")];
        check(&config(&["output"]), dir.path(), &newest_first.each_ref().map(String::as_str), &[]);
        let asff = Config { prefer: prefer_for("asff"), ..config(&["output"]) };
        check(&asff, dir.path(), &[&format!("{scan}0000.asff.json")], &[]);
        let csv = Config { include: vec!["*.csv".to_owned()], ..config(&["output"]) };
        check(&csv, dir.path(), &[&format!("{scan}0000.csv")], &[]);
        let none = Config { exclude: vec!["*.ocsf.json".to_owned(), "*.csv".to_owned()], ..config(&["output"]) };
        check(&none, dir.path(), &[&format!("{scan}0000.asff.json")], &[]);
        // A wildcard over it does not go into `compliance` either.
        let (found, _) = seen(&config(&["output/*"]), false, dir.path());
        assert_eq!((found.len(), found.iter().any(|f| f.contains("compliance"))), (5, false));
    }

    #[test]
    fn custodian_is_one_document_a_policy_by_account_region_and_newest_hour() {
        let dir = tempfile::tempdir().unwrap();
        for (run, age) in [
            ("out/ebs-unencrypted", 10),
            ("org/team-a/eu-west-1/s3-public", 20),
            ("org/team-b/eu-west-1/s3-public", 30),
            ("bucket/ec2-imdsv1/2026/11/22/06", 5),
            ("bucket/ec2-imdsv1/2026/11/23/05", 40),
            ("bucket/ec2-imdsv1/2026/11/23/06/0d5e7a3c-1111-2222-3333-444455556666", 41),
        ] {
            let end = if run.starts_with("bucket") { ".gz" } else { "" };
            write(dir.path(), &format!("{run}/metadata.json{end}"), age);
            write(dir.path(), &format!("{run}/resources.json{end}"), age);
            write(dir.path(), &format!("{run}/custodian-run.log{end}"), age);
        }
        // A policy that failed leaves metadata without resources, and is a document: its format says that it failed.
        write(dir.path(), "out/config-rule/metadata.json", 50);
        let all = config(&["out", "org", "bucket"]);
        let (found, problems) = seen(&all, true, dir.path());
        assert_eq!(
            found,
            [
                "out/ebs-unencrypted",
                "org/team-a/eu-west-1/s3-public",
                "org/team-b/eu-west-1/s3-public",
                "bucket/ec2-imdsv1/2026/11/23/06/0d5e7a3c-1111-2222-3333-444455556666",
                "out/config-rule",
            ]
        );
        assert_eq!(problems, [""; 0]);
        assert_eq!(seen(&Config { runs: Runs::All, ..all }, true, dir.path()).0.len(), 7);
        // However the path is written, a policy is its directory.
        for path in ["out/*", "out/*/resources.json", "out/**/metadata.json", "out/ebs-unencrypted"] {
            assert_eq!(seen(&config(&[path]), true, dir.path()).0[0], "out/ebs-unencrypted", "{path}");
        }
        // Killed in the middle: the last hour that ended is read, and the run is not complete.
        write(dir.path(), "bucket/ec2-imdsv1/2026/11/23/07/custodian-run.log.gz", 10);
        let (found, problems) = seen(&config(&["bucket"]), true, dir.path());
        assert_eq!(found.len(), 1);
        assert_eq!(
            problems,
            ["bucket/ec2-imdsv1/2026/11/23/07: truncated: no metadata.json: the policy's run has not ended, or was killed"]
        );
    }

    #[test]
    fn a_file_being_written_is_left_alone_until_it_rests() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "old.json", 100);
        let young = write(dir.path(), "young.json", 2);
        let config = config(&["*.json"]);
        let first = look(&config, false, dir.path(), NOW, LONG);
        assert_eq!((first.found.len(), first.restless.len()), (1, 1));

        // It did not change: it is taken, though its time stamp is still young (or lies in the future).
        let second = look(&config, false, dir.path(), NOW, LONG).after(&first).finish(&config, false);
        assert_eq!((second.found.len(), second.problems.len()), (2, 0));

        // It grew: it is left alone, and said.
        fs::write(&young, "[{}").unwrap();
        let third = look(&config, false, dir.path(), NOW, LONG).after(&first).finish(&config, false);
        assert_eq!(third.found.len(), 1);
        assert_eq!(third.problems[0].kind, ProblemKind::Truncated);
        assert!(third.problems[0].message.starts_with("is still being written"));

        let at_once = Config { settle: Span(0), ..config };
        assert_eq!(look(&at_once, false, dir.path(), NOW, LONG).found.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_files_again_are_said_to_be_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "a.json", 100);
        let (config, state) = (config(&["*.json"]), Arc::default());
        let deadline = tokio::time::Instant::now() + LONG;
        let run = async || collect("c", &config, false, dir.path(), &state, deadline).await;
        let first = run().await;
        assert!(first.complete && !first.unchanged && first.newest_per_subject);
        assert_eq!(first.documents[0].modified, Some(NOW - Span(100_000)));
        let second = run().await;
        assert!(second.complete && second.unchanged);
        assert_eq!(second.documents.len(), 1);
        state.forget();
        assert!(!run().await.unchanged);
        write(dir.path(), "a.json", 90);
        assert!(!run().await.unchanged);
        fs::remove_file(dir.path().join("a.json")).unwrap();
        let gone = run().await;
        assert!(!gone.complete && !gone.unchanged);
        assert_eq!(gone.problems[0].to_string(), "*.json: empty: nothing matches");
    }

    #[tokio::test(start_paused = true)]
    async fn a_report_just_written_is_waited_for_once_and_then_read() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("fresh.json"), "[]").unwrap();
        let begin = tokio::time::Instant::now();
        let collected = collect("c", &config(&["*.json"]), false, dir.path(), &Arc::default(), begin + LONG).await;
        assert!(collected.complete, "{collected:?}");
        assert_eq!((collected.documents.len(), begin.elapsed().as_secs()), (1, 5));
        // No time for a second look: it is left alone, and said.
        let soon = tokio::time::Instant::now() + Duration::from_secs(3);
        let collected = collect("c", &config(&["*.json"]), false, dir.path(), &Arc::default(), soon).await;
        assert!(!collected.complete && collected.documents.is_empty());
        assert_eq!(collected.problems[0].kind, ProblemKind::Truncated);
    }

    #[test]
    fn what_could_be_wanted_is_told_before_it_is_brought() {
        let may = |pattern: &str, path: &str| config(&[pattern]).may_match(path, false);
        for (pattern, path) in [
            ("scans/*.json", "scans/a.json"),
            ("scans/{account}/**/*.json", "scans/1/x/y/z.json"),
            ("scans", "scans/deep/er/a.ocsf.json.gz"),
            ("scans/**", "scans/a/b.txt"),
            ("a.json", "a.json"),
        ] {
            assert!(may(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in
            [("scans/*.json", "scans/x/a.json"), ("scans", "scans/a.html"), ("scans", "scans2/a.json"), ("a/b.json", "a")]
        {
            // The second-but-one meets `scans` as a whole name only.
            assert!(!may(pattern, path), "{pattern} {path}");
        }
        assert!(config(&["c/{account}"]).may_match("c/1/p/2026/11/23/06/resources.json.gz", true));
        assert!(!config(&["c/{account}"]).may_match("c/1/p/2026/11/23/06/custodian-run.log.gz", true));
    }

    proptest::proptest! {
        #[test]
        fn any_path_is_understood_or_refused(path in ".{0,40}", name in "[^/]{1,20}") {
            if let Ok(pattern) = Pattern::parse(&path) {
                for part in &pattern.parts {
                    if let Part::Wild { regex, .. } = part {
                        regex.captures(&name);
                    }
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_system_that_hangs_costs_one_thread_and_a_problem() {
        let state: Arc<State> = Arc::default();
        // Another thread hangs in its look until the test is over.
        let (over, hangs) = std::sync::mpsc::channel::<()>();
        let (began, begun) = std::sync::mpsc::channel();
        let hanging = Arc::clone(&state);
        std::thread::spawn(move || {
            let _busy = hanging.busy.lock().unwrap();
            began.send(()).unwrap();
            let _ = hangs.recv();
        });
        begun.recv().unwrap();
        let deadline = tokio::time::Instant::now() + LONG;
        let collected = collect("c", &config(&["a.json"]), false, Path::new("."), &state, deadline).await;
        assert!(!collected.complete);
        assert_eq!(collected.problems[0].to_string(), "a.json: timeout: the file system has not yet answered the last look");
        drop(over);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_but_not_in_circles_and_pipes_are_refused() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        // As a ConfigMap is mounted: names link through `..data` into a dated directory.
        write(dir.path(), "map/..2026_11_23/a.json", 10);
        symlink("..2026_11_23", dir.path().join("map/..data")).unwrap();
        symlink("..data/a.json", dir.path().join("map/a.json")).unwrap();
        check(&config(&["map"]), dir.path(), &["map/a.json"], &[]);
        check(&config(&["map/*.json"]), dir.path(), &["map/a.json"], &[]);

        write(dir.path(), "loop/x/b.json", 10);
        symlink("..", dir.path().join("loop/x/up")).unwrap();
        symlink("self", dir.path().join("loop/self")).unwrap();
        for path in ["loop", "loop/**/*.json", "loop/*"] {
            let (found, _) = seen(&config(&[path]), false, dir.path());
            assert_eq!(found, ["loop/x/b.json"], "{path}");
        }
        symlink("gone.json", dir.path().join("latest.json")).unwrap();
        check(&config(&["latest.json"]), dir.path(), &[], &["latest.json: source: a symbolic link to nothing"]);

        assert!(std::process::Command::new("mkfifo").arg(dir.path().join("pipe.json")).status().unwrap().success());
        check(
            &config(&["pi*.json"]),
            dir.path(),
            &[],
            &["pipe.json: source: neither a regular file nor a directory; pipes and devices are not read"],
        );
    }

    #[cfg(unix)]
    #[test]
    fn what_may_not_be_read_is_denied_and_never_passed_over() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "open.json", 10);
        let shut = write(dir.path(), "shut.json", 10);
        write(dir.path(), "locked/a.json", 10);
        fs::set_permissions(&shut, fs::Permissions::from_mode(0o000)).unwrap();
        fs::set_permissions(dir.path().join("locked"), fs::Permissions::from_mode(0o000)).unwrap();
        if File::open(&shut).is_err() {
            check(
                &config(&["*.json", "locked", "locked/*.json"]),
                dir.path(),
                &["open.json"],
                &["shut.json: denied: permission denied", "locked: denied: permission denied", "locked: denied: permission denied"],
            );
        }
        fs::set_permissions(dir.path().join("locked"), fs::Permissions::from_mode(0o700)).unwrap();
    }

    #[test]
    fn depth_and_time_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let deep: String = (0..40).map(|i| format!("d{i}/")).collect();
        write(dir.path(), &format!("{deep}a.json"), 10);
        for path in ["d0", "**/*.json"] {
            let (found, problems) = seen(&config(&[path]), false, dir.path());
            assert_eq!(found, [""; 0]);
            assert!(problems[0].contains("limit: more than 32 directories deep"), "{problems:?}");
        }
        for i in 0..600 {
            write(dir.path(), &format!("many/{i}.json"), 10);
        }
        let many = look(&config(&["many"]), false, dir.path(), NOW, Duration::ZERO);
        assert_eq!(many.problems[0].kind, ProblemKind::Timeout);
    }

    #[test]
    fn paths_that_cannot_be_understood_are_named() {
        for (path, message) in [
            ("", "the path is empty"),
            ("a/{b/c.json", "`a/{b/c.json`: `{` without its `}` in the same name"),
            ("{}.json", "`{}.json`: `{}` is neither a field's name (letters, digits, `_`) nor a choice such as `{json,xml}`"),
            ("{a}/{a}.json", "`{a}/{a}.json`: the field `a` is captured twice"),
            ("[.json", "`[.json`: `[` without its characters and `]`"),
            ("[]", "`[]`: `[` without its characters and `]`"),
        ] {
            assert_eq!(config(&[path]).validate(), [("path", message.to_owned())]);
        }
        assert_eq!(config(&["scans/{cluster}/{node}.json", "x/{node}"]).captures(), ["cluster", "node"]);
        assert_eq!(Config::default().validate()[0].0, "path");
        assert_eq!(Config { include: vec!["a[".to_owned()], ..config(&["x"]) }.validate()[0].0, "include");
    }
}
