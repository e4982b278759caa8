//! Objects of an S3 bucket, as scanners leave them there: Prowler's and Cloud Custodian's output, reports of pipelines.
//!
//! The objects that the paths match are brought into a directory of ours, once each for as long as they do not change,
//! and read from there by the very rules of `file`: globs and captured fields, newest first, Custodian's layout, which of
//! two reports about one account counts. Nothing is removed or written in the bucket.
//!
//! What cannot be listed or fetched is said and leaves the run incomplete. Objects older than `modified_within` are left
//! alone: a bucket keeps years of reports, and evidence of last year says nothing of today.

use super::aws::{self, Cell, needs};
use super::client::{Spool, problem};
use super::session::{Call, Options, Part, Run, Session};
use super::{Collected, Held, file};
use crate::clock;
use crate::domain::{Moment, Problem, ProblemKind, Span};
use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;
use reqwest::Url;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use tempfile::TempDir;
use tokio::time::Instant;

/// A bucket and what of it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Who asks, where, and how; one region, and at most one account with its role.
    pub aws: aws::Config,
    /// The bucket's name.
    pub bucket: String,
    /// Which keys: as the paths of `file`, from the bucket's root. `settle` is nothing here: an object is whole or not there.
    pub files: file::Config,
    /// Older objects are left alone. Default 30d.
    pub modified_within: Span,
    /// Objects of one run; more are a slip. Default 10000.
    pub max_objects: u32,
    /// The format is Cloud Custodian's, of whose policies only the newest run is brought. Not written by the operator.
    pub custodian: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            aws: aws::Config { options: options(), ..aws::Config::default() },
            bucket: String::new(),
            files: file::Config { settle: Span(0), ..file::Config::default() },
            modified_within: Span::DAY.times(30),
            max_objects: 10_000,
            custodian: false,
        }
    }
}

/// S3 takes thousands of requests a second; there is no need of so many.
pub fn options() -> Options {
    Options { requests_per_second: 50, burst: 50, concurrency: 8, ..Options::default() }
}

impl Config {
    /// What is wrong with it: (field, sentence).
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        let mut wrong = self.aws.validate();
        let good = (3..=63).contains(&self.bucket.len())
            && self.bucket.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
            && !self.bucket.contains("..");
        if !good {
            wrong.push(("bucket", format!("`{}` is not a bucket's name; expected one such as `acme-scans`, without `s3://`", self.bucket)));
        }
        wrong.extend(self.files.validate());
        for path in &self.files.paths {
            if path.starts_with('/') || path.split('/').any(|part| part == "..") {
                wrong.push(("path", format!("`{path}` is no key; keys begin without `/` and know no `..`")));
            }
        }
        if self.aws.regions.len() > 1 || self.aws.accounts.len() > 1 {
            wrong.push(("region", "a bucket is in one region, and one account's role reads it".to_owned()));
        }
        if self.max_objects == 0 {
            wrong.push(("max_objects", "0 lets nothing through".to_owned()));
        }
        wrong
    }
}

/// What is kept of a bucket between its runs.
pub(super) struct State {
    session: Arc<Session>,
    files: Arc<file::State>,
    mirror: Mutex<Option<Mirror>>,
}

/// Objects that were brought, under their keys.
#[derive(Clone)]
struct Mirror {
    directory: Arc<TempDir>,
    /// Key → tag.
    held: HashMap<String, String>,
}

impl State {
    pub(super) fn new(config: &Config) -> State {
        State::with(Session::new(&config.aws.options))
    }

    pub(super) fn with(session: Arc<Session>) -> State {
        State { session, files: Arc::default(), mirror: Mutex::default() }
    }

    pub(super) fn forget(&self) {
        self.session.forget();
        self.files.forget();
        *self.mirror.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// An object, as the bucket lists it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Object {
    key: String,
    modified: Option<Moment>,
    tag: String,
    size: u64,
}

/// Brings what the paths match.
pub(super) async fn collect(name: &str, config: &Config, state: &State, deadline: Instant) -> Collected {
    let run = state.session.run(name, deadline);
    let mut part = Part::new(format!("s3 {}", config.bucket));
    let held = state.mirror.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mirror = match held.map_or_else(new_mirror, Ok) {
        Ok(mirror) => mirror,
        Err(problem) => {
            part.fail(problem);
            return run.finish(part);
        }
    };
    let root = mirror.directory.path().to_owned();
    let config = Arc::new(config.clone());
    let Some(cell) = Arc::new(config.aws.clone()).cells().into_iter().next() else { return run.finish(part) };
    let (bucket, own_endpoint) = place(&cell, &config.bucket);
    match list(&run, &cell, &config, &bucket, own_endpoint, &mut part).await {
        Ok(objects) => {
            let mirror = bring(&run, &cell, &config, &bucket, objects, mirror, &mut part).await;
            *state.mirror.lock().unwrap_or_else(PoisonError::into_inner) = Some(mirror.clone());
            let found = file::collect(name, &config.files, config.custodian, &root, &state.files, deadline).await;
            let keep = Held::Directory(Arc::clone(&mirror.directory));
            let shown = |text: &str| text.replace(&format!("{}/", root.display()), &format!("s3://{}/", config.bucket));
            let complete = part.complete && found.complete;
            // A prefix that could not be brought says so itself; that nothing lies there then is no news.
            let found_problems = found.problems.into_iter().filter(|p| part.complete || p.kind != ProblemKind::Empty);
            part.problems.extend(found_problems.map(|p| Problem { source: shown(&p.source), message: shown(&p.message), ..p }));
            part.documents = found.documents;
            for document in &mut part.documents {
                document.name = shown(&document.name);
                document.spool = Some(keep.clone());
            }
            part.complete = complete;
            let mut collected = run.finish(part);
            collected.newest_per_subject = found.newest_per_subject;
            collected.unchanged = found.unchanged && collected.complete;
            collected
        }
        Err(problem) => {
            part.fail(needs(problem, "s3:ListBucket"));
            run.finish(part)
        }
    }
}

fn new_mirror() -> Result<Mirror, Problem> {
    let directory = tempfile::Builder::new().prefix(".bornright-s3-").tempdir().map_err(|e| Spool::full(&e))?;
    Ok(Mirror { directory: Arc::new(directory), held: HashMap::new() })
}

/// The bucket's URL without a slash at the end: its own host at AWS, a path where the operator named the host.
fn place(cell: &Cell, bucket: &str) -> (String, bool) {
    let (endpoint, given) = cell.endpoint("s3");
    match endpoint.split_once("://") {
        Some((scheme, host)) if !given && !bucket.contains('.') => (format!("{scheme}://{bucket}.{host}"), given),
        _ => (format!("{endpoint}/{bucket}"), given),
    }
}

/// Percent-encodes what may not stand in a path (or, with its slashes, in a query) as it is.
fn encode(text: &str, slashes: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b'/' if !slashes => out.push('/'),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

/// What stands before the first wildcard of a path.
fn prefix(path: &str) -> &str {
    &path[..path.find(['*', '?', '[', '{', '\\']).unwrap_or(path.len())]
}

/// Lists the objects that the paths match, those that are too old left out.
async fn list(run: &Run, cell: &Cell, config: &Config, bucket: &str, _: bool, part: &mut Part) -> Result<Vec<Object>, Problem> {
    let service = cell.service("s3");
    let oldest = clock::now() - config.modified_within;
    let mut prefixes: Vec<&str> = config.files.paths.iter().map(|p| prefix(p)).collect();
    prefixes.sort_unstable();
    prefixes.dedup();
    let mut objects: BTreeMap<String, Object> = BTreeMap::new();
    for prefix in prefixes {
        let mut spool = Spool::new()?;
        let mut strange: Option<String> = None;
        let mut old = 0u64;
        let page = |cursor: Option<&str>| {
            let mut url = format!("{bucket}/?list-type=2&max-keys=1000&prefix={}", encode(prefix, true));
            if let Some(token) = cursor {
                let _ = write!(url, "&continuation-token={}", encode(token, true));
            }
            let url = Url::parse(&url).map_err(|e| problem(ProblemKind::Internal, bucket, e.to_string()))?;
            Ok(Call::get(url).any_answer())
        };
        let next = |reply: &super::session::Reply| {
            let listing = Listing::read(&reply.body)
                .map_err(|e| problem(ProblemKind::Source, bucket, format!("the list of objects cannot be read: {e}")))?;
            for object in listing.objects {
                if !config.files.may_match(&object.key, config.custodian) {
                    continue;
                }
                if local(Path::new(""), &object.key).is_none() {
                    strange.get_or_insert(object.key);
                } else if object.modified.is_some_and(|m| m < oldest) {
                    old += 1;
                } else {
                    objects.insert(object.key.clone(), object);
                }
            }
            if objects.len() > config.max_objects as usize * 4 {
                let message = format!("more than {} objects match; name them more narrowly (max_objects)", config.max_objects);
                return Err(problem(ProblemKind::Limit, bucket, message));
            }
            Ok(listing.next)
        };
        run.walk(&service, &part.name, &mut spool, page, next).await?;
        if let Some(key) = strange {
            let message = "the key cannot be a file's path: an empty part, `..`, or a name that is too long";
            part.fail(problem(ProblemKind::Malformed, format!("s3://{}/{key}", config.bucket), message));
        }
        if old > 0 && objects.is_empty() {
            let message = format!("{old} objects match, and all are older than {} (modified_within)", config.modified_within);
            part.fail(problem(ProblemKind::Empty, format!("s3://{}/{prefix}", config.bucket), message));
        } else if old > 0 {
            tracing::debug!(collector = %part.name, old, "left out {old} objects older than {}", config.modified_within);
        }
    }
    let mut objects: Vec<Object> = objects.into_values().collect();
    if config.custodian && config.files.runs != file::Runs::All {
        newest_runs(&mut objects);
    }
    if objects.len() > config.max_objects as usize {
        let message = format!("{} objects match, over the {} allowed (max_objects)", objects.len(), config.max_objects);
        return Err(problem(ProblemKind::Limit, bucket, message));
    }
    Ok(objects)
}

/// Of each of Custodian's policies only the newest run that ended, and any that is newer and has not.
fn newest_runs(objects: &mut Vec<Object>) {
    let of = |key: &str| file::custodian_policy(Path::new(key).parent().unwrap_or(Path::new("")));
    let mut newest: HashMap<PathBuf, Vec<std::ffi::OsString>> = HashMap::new();
    for object in objects.iter().filter(|o| o.key.contains("/metadata.json")) {
        let (policy, hour) = of(&object.key);
        let held = newest.entry(policy).or_insert_with(|| hour.clone());
        if hour > *held {
            *held = hour;
        }
    }
    objects.retain(|o| {
        let (policy, hour) = of(&o.key);
        newest.get(&policy).is_none_or(|newest| hour >= *newest)
    });
}

/// Where an object lies below `root`, if its key can be a path.
fn local(root: &Path, key: &str) -> Option<PathBuf> {
    let mut path = root.to_owned();
    for part in key.split('/') {
        if part.is_empty() || part == "." || part == ".." || part.len() > 255 || part.contains(['\0', '\\']) {
            return None;
        }
        path.push(part);
    }
    (key.len() <= 1024).then_some(path)
}

/// Brings the objects that are new, and forgets those that are gone.
async fn bring(
    run: &Run,
    cell: &Cell,
    config: &Arc<Config>,
    bucket: &str,
    objects: Vec<Object>,
    mirror: Mirror,
    part: &mut Part,
) -> Mirror {
    let Mirror { directory, mut held } = mirror;
    let root = directory.path().to_owned();
    let listed: HashMap<&str, &str> = objects.iter().map(|o| (o.key.as_str(), o.tag.as_str())).collect();
    held.retain(|key, tag| {
        let same = listed.get(key.as_str()).is_some_and(|t| t == tag);
        if !same && let Some(path) = local(&root, key) {
            let _ = std::fs::remove_file(path);
        }
        same
    });
    let total: u64 = objects.iter().map(|o| o.size).sum();
    if total > config.aws.options.max_bytes {
        let message = format!("the objects have {total} bytes together, over the {} allowed (max_bytes)", config.aws.options.max_bytes);
        part.fail(problem(ProblemKind::Limit, format!("s3://{}", config.bucket), message));
        return Mirror { directory, held };
    }
    let missing: Vec<Object> = objects.into_iter().filter(|o| !held.contains_key(&o.key)).collect();
    let brought: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
    let bucket: Arc<str> = bucket.into();
    let done = run.parts(missing, |run, object| {
        let (cell, config, root, bucket, brought) =
            (cell.clone(), Arc::clone(config), root.clone(), Arc::clone(&bucket), Arc::clone(&brought));
        async move {
            let mut part = Part::new(format!("s3://{}/{}", config.bucket, object.key));
            match fetch(&run, &cell, &bucket, &root, &object, &part.name, config.aws.options.max_bytes).await {
                Ok(()) => brought.lock().unwrap_or_else(PoisonError::into_inner).push((object.key, object.tag)),
                Err(problem) => part.fail(needs(problem, "s3:GetObject")),
            }
            part
        }
    });
    part.add(done.await);
    held.extend(brought.lock().unwrap_or_else(PoisonError::into_inner).drain(..));
    Mirror { directory, held }
}

async fn fetch(run: &Run, cell: &Cell, bucket: &str, root: &Path, object: &Object, source: &str, max_bytes: u64) -> Result<(), Problem> {
    let url = Url::parse(&format!("{bucket}/{}", encode(&object.key, false)))
        .map_err(|e| problem(ProblemKind::Internal, source, e.to_string()))?;
    let mut spool = Spool::new()?;
    run.download(&cell.service("s3"), source, &Call::get(url).any_answer(), &mut spool, max_bytes).await?;
    let Some(path) = local(root, &object.key) else { return Ok(()) };
    let (from, modified) = (Arc::clone(spool.path()), object.modified);
    let placed = tokio::task::spawn_blocking(move || {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::copy(&*from, &path)?;
        let time = modified.and_then(|m| u64::try_from(m.0).ok()).map(|ms| SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(ms));
        if let Some(time) = time {
            std::fs::File::options().write(true).open(&path)?.set_modified(time)?;
        }
        Ok::<(), std::io::Error>(())
    });
    match placed.await {
        Ok(Ok(())) => Ok(()),
        // A key that is another's directory: legal in a bucket, not on a disk.
        Ok(Err(e)) => Err(problem(ProblemKind::Internal, source, format!("the object cannot be laid down: {e}"))),
        Err(_) => Err(problem(ProblemKind::Internal, source, "the object could not be laid down")),
    }
}

/// A page of `ListObjectsV2`.
#[derive(Debug, Default)]
struct Listing {
    objects: Vec<Object>,
    next: Option<String>,
}

impl Listing {
    fn read(xml: &[u8]) -> Result<Listing, String> {
        let text = std::str::from_utf8(xml).map_err(|e| e.to_string())?;
        let mut reader = Reader::from_str(text);
        let mut listing = Listing::default();
        let (mut path, mut value): (Vec<String>, String) = (Vec::new(), String::new());
        let (mut object, mut truncated, mut seen) = (Object::default(), false, false);
        loop {
            match reader.read_event().map_err(|e| e.to_string())? {
                Event::DocType(_) => return Err("it has a document type".to_owned()),
                Event::Start(start) => {
                    path.push(start.local_name().as_ref().to_owned());
                    value.clear();
                    seen |= path == ["ListBucketResult"];
                }
                Event::Text(text) => value.push_str(&text.xml_content(quick_xml::XmlVersion::Implicit1_0)),
                Event::CData(data) => value.push_str(&data),
                Event::GeneralRef(reference) => match reference.resolve_char_ref().map_err(|e| e.to_string())? {
                    Some(c) => value.push(c),
                    None => value.push_str(resolve_predefined_entity(&reference).ok_or("an unknown entity")?),
                },
                Event::End(_) => {
                    let names: Vec<&str> = path.iter().map(String::as_str).collect();
                    match names.as_slice() {
                        ["ListBucketResult", "Contents", "Key"] => object.key = std::mem::take(&mut value),
                        ["ListBucketResult", "Contents", "ETag"] => object.tag = std::mem::take(&mut value),
                        ["ListBucketResult", "Contents", "Size"] => object.size = value.trim().parse().unwrap_or(0),
                        ["ListBucketResult", "Contents", "LastModified"] => {
                            object.modified = value.trim().parse::<jiff::Timestamp>().ok().map(Moment::from);
                        }
                        ["ListBucketResult", "Contents"] => {
                            let object = std::mem::take(&mut object);
                            // What ends with a slash stands for a directory.
                            if !object.key.is_empty() && !object.key.ends_with('/') {
                                listing.objects.push(object);
                            }
                        }
                        ["ListBucketResult", "IsTruncated"] => truncated = value.trim() == "true",
                        ["ListBucketResult", "NextContinuationToken"] => listing.next = Some(std::mem::take(&mut value)),
                        _ => {}
                    }
                    path.pop();
                    value.clear();
                }
                Event::Eof if !path.is_empty() || !seen => return Err("it ends too early, or is no `ListBucketResult`".to_owned()),
                Event::Eof => break,
                _ => {}
            }
            if path.len() > 16 {
                return Err("it is nested too deeply".to_owned());
            }
        }
        match (truncated, &listing.next) {
            (true, None) => Err("it says that more follows, and not where".to_owned()),
            (true, Some(_)) => Ok(listing),
            (false, _) => Ok(Listing { next: None, ..listing }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_objects_is_read_with_whatever_keys_have() {
        let xml = r#"<?xml version="1.0" encoding="UTF-8"?>
            <ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><IsTruncated>true</IsTruncated>
            <Contents><Key>a &amp; b/&#233;.json</Key><LastModified>2026-11-23T06:00:00.000Z</LastModified><ETag>&quot;t&quot;</ETag><Size>12</Size>
            <Owner><ID>x</ID></Owner></Contents><Contents><Key>dir/</Key><Size>0</Size></Contents>
            <NextContinuationToken>n+/=</NextContinuationToken></ListBucketResult>"#;
        let listing = Listing::read(xml.as_bytes()).unwrap();
        let modified = Some(Moment(1_795_413_600_000));
        assert_eq!(listing.objects, [Object { key: "a & b/é.json".to_owned(), modified, tag: "\"t\"".to_owned(), size: 12 }]);
        assert_eq!(listing.next.as_deref(), Some("n+/="));
        for bad in ["", "<ListBucketResult>", "<Other/>", "<!DOCTYPE x><ListBucketResult></ListBucketResult>", "{}"] {
            assert!(Listing::read(bad.as_bytes()).is_err(), "{bad}");
        }
        let lost = "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>";
        assert_eq!(Listing::read(lost.as_bytes()).unwrap_err(), "it says that more follows, and not where");
    }

    #[test]
    fn keys_that_cannot_be_paths_are_refused() {
        let root = Path::new("/m");
        assert_eq!(local(root, "a/b c.json"), Some(PathBuf::from("/m/a/b c.json")));
        for key in ["../x", "a/../../x", "/x", "a//b", "a/./b", "", "a\\b", &"x".repeat(300)] {
            assert_eq!(local(root, key), None, "{key}");
        }
        assert_eq!(encode("a b/é+&", false), "a%20b/%C3%A9%2B%26");
        assert_eq!(encode("a/b", true), "a%2Fb");
        assert_eq!(prefix("scans/{account}/*.json"), "scans/");
    }

    #[test]
    fn of_custodians_policies_the_newest_run_is_brought() {
        let object = |key: &str| Object { key: key.to_owned(), ..Object::default() };
        let mut objects: Vec<Object> = [
            "c/p1/2026/11/22/06/metadata.json.gz",
            "c/p1/2026/11/22/06/resources.json.gz",
            "c/p1/2026/11/23/06/metadata.json.gz",
            "c/p1/2026/11/23/06/resources.json.gz",
            "c/p1/2026/11/23/07/resources.json.gz",
            "c/p2/metadata.json",
        ]
        .map(object)
        .to_vec();
        newest_runs(&mut objects);
        let keys: Vec<_> = objects.iter().map(|o| o.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "c/p1/2026/11/23/06/metadata.json.gz",
                "c/p1/2026/11/23/06/resources.json.gz",
                "c/p1/2026/11/23/07/resources.json.gz",
                "c/p2/metadata.json"
            ]
        );
    }
}
