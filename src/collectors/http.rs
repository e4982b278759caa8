//! A document behind a URL, in one page or many.
//!
//! All pages go one after another into one file: readers take concatenated documents, and one file is one piece of
//! evidence. Pages that came before a fault are handed on, and the run is not complete.
//!
//! Answers are kept by their size, and asked for again with their `ETag` or date. Each page is asked for by itself,
//! since that the first has not changed says nothing about the second.

use super::client::{self, Answer, Client, Network, Redactor, Requests, Retry, Secret, Settings, Spool, name_of, problem};
use super::{Collected, Document};
use crate::clock;
use crate::domain::{Moment, Problem, ProblemKind};
use base64::Engine as _;
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::collections::HashSet;
use std::fmt;
use std::io::{BufReader, Read};
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempPath;
use tokio::time::Instant;

/// A document behind a URL, in one or many pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Absolute, `https` or `http`, without user or password in it. No default.
    /// Example: `https://scanner.internal/v1/results?limit=500`.
    pub url: String,
    /// Default `get`.
    pub method: Method,
    /// Sent with every request. Default: `Accept: application/json, */*;q=0.5` and our `User-Agent`.
    /// Example: `{ X-Api-Version: "2" }`.
    pub headers: Vec<(String, String)>,
    /// Headers whose value is secret, from a file or the environment (`header_files`, `header_env` in YAML), read again
    /// for every request. Example: `{ X-Api-Key: /run/secrets/scanner }`.
    pub secret_headers: Vec<(String, Secret)>,
    /// How we say who we are. Default: not at all.
    pub auth: Option<Auth>,
    /// Client certificate chain, PEM (`client_cert_file`). With `client_key_file`. Default: none. Read again for every
    /// run, so a renewed certificate needs no restart.
    pub client_cert_file: Option<PathBuf>,
    /// Its private key, PEM (`client_key_file`).
    pub client_key_file: Option<PathBuf>,
    /// Certificates, proxy, private addresses, and how long to wait for a host.
    pub network: Network,
    /// The request's body; only with `method: post`. Sent as `application/json` unless `headers` say otherwise.
    pub body: Option<String>,
    /// How the next page is found. Default: there is one page.
    pub paging: Option<Paging>,
    /// What is done after 429, 5xx, or no answer.
    pub retry: Retry,
    /// Bytes of all pages together, decompressed. Default 4 GiB.
    pub max_bytes: u64,
    /// Default 10000.
    pub max_pages: u32,
    /// Keep answers and ask with `If-None-Match` / `If-Modified-Since`: up to this many bytes of them, decompressed.
    /// Default 256 MiB; 0 keeps none.
    pub cache_bytes: u64,
}

/// HTTP methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `get`
    Get,
    /// `post`
    Post,
}

/// How we say who we are; exactly one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// `bearer_token_file: /run/secrets/scanner` or `bearer_token_env: SCANNER_TOKEN`.
    Bearer(Secret),
    /// `basic: { username: reader, password_file: … }` (or `password_env`).
    Basic {
        /// In the clear.
        username: String,
        /// From a file or the environment.
        password: Secret,
    },
}

/// How the next page is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Paging {
    /// `link_header: {}`: `Link: <…>; rel="next"` (RFC 8288), as GitHub does.
    LinkHeader,
    /// `next_field: { path: paging.next }`: the answer has the next page's URL, absolute or relative.
    NextField {
        /// Where: `paging.next` or `/paging/next`.
        path: String,
    },
    /// `cursor: { path: meta.cursor, parameter: after }`: the answer has a token for the next page.
    Cursor {
        /// Where in the answer.
        path: String,
        /// Where in the request: a query parameter, or with `place: body` a path into the JSON body.
        parameter: String,
        /// Default `query`.
        place: Place,
    },
    /// `page: { parameter: page, records: items }`: pages are numbered; one without records is the last.
    Page {
        /// Query parameter.
        parameter: String,
        /// Number of the first page. Default 1.
        first: u64,
        /// Where in the answer its list of records is; empty: the answer is the list.
        records: String,
    },
}

/// Where a cursor is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// `query`
    Query,
    /// `body`
    Body,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            url: String::new(),
            method: Method::Get,
            headers: Vec::new(),
            secret_headers: Vec::new(),
            auth: None,
            client_cert_file: None,
            client_key_file: None,
            network: Network::default(),
            body: None,
            paging: None,
            retry: Retry::default(),
            max_bytes: 4 << 30,
            max_pages: 10_000,
            cache_bytes: 256 << 20,
        }
    }
}

/// Longest cursor or link that is taken from an answer.
const NEXT_BYTES: usize = 16 << 10;

impl Config {
    /// What is wrong with it: (field, sentence).
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        let mut wrong = Vec::new();
        match Url::parse(&self.url) {
            Err(e) => wrong.push(("url", format!("not a URL: {e}; expected `https://host/path`"))),
            Ok(url) if !matches!(url.scheme(), "http" | "https") => {
                wrong.push(("url", format!("`{}:` cannot be reached; expected `https:` or `http:`", url.scheme())));
            }
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                wrong.push(("url", "has a user or password in it; use `basic` or `bearer_token_file`".to_owned()));
            }
            Ok(_) => {}
        }
        for (name, value) in &self.headers {
            if HeaderName::try_from(name).is_err() || HeaderValue::try_from(value).is_err() {
                wrong.push(("headers", format!("`{name}` is not a header's name, or its value has characters that may not be sent")));
            } else if is_secret_header(name) {
                wrong.push(("headers", format!("`{name}` holds a secret; use `bearer_token_file`, `basic` or `header_files`")));
            }
        }
        for (name, _) in &self.secret_headers {
            if HeaderName::try_from(name).is_err() {
                wrong.push(("header_files", format!("`{name}` is not a header's name")));
            }
        }
        match (&self.client_cert_file, &self.client_key_file) {
            (Some(_), None) => wrong.push(("client_cert_file", "needs `client_key_file` beside it".to_owned())),
            (None, Some(_)) => wrong.push(("client_key_file", "needs `client_cert_file` beside it".to_owned())),
            _ => {}
        }
        if self.body.is_some() && self.method == Method::Get {
            wrong.push(("body", "a `get` has no body; say `method: post`".to_owned()));
        }
        match &self.paging {
            Some(Paging::NextField { path } | Paging::Cursor { path, .. }) if steps(path).is_empty() => {
                wrong.push(("paging", "`path` is empty; say where in the answer the next page is named, such as `paging.next`".to_owned()));
            }
            Some(Paging::Cursor { place: Place::Body, .. }) if self.method == Method::Get => {
                wrong.push(("paging", "`place: body` needs `method: post`".to_owned()));
            }
            Some(Paging::Cursor { place: Place::Body, .. })
                if self.body.as_ref().is_some_and(|b| !serde_json::from_str::<serde_json::Value>(b).is_ok_and(|v| v.is_object())) =>
            {
                wrong.push(("body", "a cursor can be put only into a JSON object".to_owned()));
            }
            Some(Paging::Cursor { parameter, .. } | Paging::Page { parameter, .. }) if parameter.is_empty() => {
                wrong.push(("paging", "`parameter` is empty".to_owned()));
            }
            _ => {}
        }
        wrong.extend(self.network.validate());
        for (field, zero) in [("max_bytes", self.max_bytes == 0), ("max_pages", self.max_pages == 0)] {
            if zero {
                wrong.push((field, "0 lets nothing through".to_owned()));
            }
        }
        wrong
    }
}

/// Headers that are never public.
fn is_secret_header(name: &str) -> bool {
    ["authorization", "proxy-authorization", "cookie", "x-api-key"].iter().any(|secret| name.eq_ignore_ascii_case(secret))
}

/// A source between its runs.
pub(super) struct State {
    client: Client,
    held: Option<moka::future::Cache<String, Arc<Held>>>,
}

/// One page that was brought before.
struct Held {
    etag: Option<HeaderValue>,
    last_modified: Option<HeaderValue>,
    spool: Arc<TempPath>,
    start: u64,
    len: u64,
    next: Next,
}

impl State {
    pub(super) fn new(config: &Config) -> State {
        let client = Client::new(Settings {
            network: config.network.clone(),
            cert_and_key: config.client_cert_file.clone().zip(config.client_key_file.clone()),
            identity: client::Identity::default(),
            retry: config.retry,
        });
        // A weight is a u32, so it counts KiB; a page that does not fit is not held.
        let held = (config.cache_bytes > 0 && config.method == Method::Get).then(|| {
            moka::future::Cache::builder()
                .max_capacity(config.cache_bytes / 1024)
                .weigher(|_, held: &Arc<Held>| u32::try_from(held.len / 1024 + 1).unwrap_or(u32::MAX))
                .build()
        });
        State { client, held }
    }

    /// The documents were of no use: they are brought anew.
    pub(super) fn forget(&self) {
        if let Some(held) = &self.held {
            held.invalidate_all();
        }
    }
}

/// Where the next page is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Next {
    End,
    Link(String),
    Cursor(String),
    Page(u64),
}

/// Brings all pages.
pub(super) async fn collect(name: &str, config: &Config, state: &State, deadline: Instant) -> Collected {
    let mut collected = Collected::nothing(name, clock::now());
    let mut requests = Requests::default();
    let mut walk = Walk {
        config,
        state,
        deadline,
        requests: &mut requests,
        source: String::new(),
        spool: None,
        pending: Vec::new(),
        modified: Some(Moment::NEVER),
    };
    match walk.pages().await {
        Ok(()) => collected.complete = true,
        Err(problem) => collected.problems.push(problem),
    }
    match walk.document() {
        Ok(Some((document, unchanged))) => {
            collected.unchanged = unchanged && collected.complete;
            collected.documents.push(document);
        }
        Ok(None) => collected.complete = false,
        Err(problem) => {
            collected.complete = false;
            collected.problems.push(problem);
        }
    }
    collected.requests = requests;
    collected.finished = clock::now();
    collected
}

struct Walk<'a> {
    config: &'a Config,
    state: &'a State,
    deadline: Instant,
    requests: &'a mut Requests,
    source: String,
    /// Made with the first page that is new.
    spool: Option<Spool>,
    /// Held pages that have not changed, as long as no other page has: perhaps nothing need be copied.
    pending: Vec<Arc<Held>>,
    /// The oldest `Last-Modified`; none as soon as a page has none.
    modified: Option<Moment>,
}

impl Walk<'_> {
    async fn pages(&mut self) -> Result<(), Problem> {
        let config = self.config;
        let first = Url::parse(&config.url).map_err(|e| problem(ProblemKind::Internal, "url", e.to_string()))?;
        self.source = name_of(&first);
        let mut url = first.clone();
        let mut body = config.body.clone();
        let mut number = 0;
        if let Some(Paging::Page { parameter, first: n, .. }) = &config.paging {
            number = *n;
            url = with_parameter(&first, parameter, &number.to_string());
        }
        let mut visited = HashSet::new();
        for count in 0u32.. {
            if count >= config.max_pages {
                return Err(self.problem(ProblemKind::Limit, format!("more than {} pages (max_pages)", config.max_pages)));
            }
            if !visited.insert((url.clone(), body.clone())) {
                return Err(
                    self.problem(ProblemKind::Source, format!("page {} is one that we had before: the pages go in a circle", count + 1))
                );
            }
            match self.page(&url, body.as_deref(), number).await? {
                Next::End => break,
                Next::Link(link) => {
                    url = client::same_origin(&first, &url, &link).map_err(|e| self.problem(ProblemKind::Source, e))?;
                }
                Next::Page(n) => {
                    number = n;
                    if let Some(Paging::Page { parameter, .. }) = &config.paging {
                        url = with_parameter(&first, parameter, &number.to_string());
                    }
                }
                Next::Cursor(cursor) => match &config.paging {
                    Some(Paging::Cursor { parameter, place: Place::Body, .. }) => body = Some(self.with_cursor(parameter, cursor)?),
                    Some(Paging::Cursor { parameter, .. }) => url = with_parameter(&first, parameter, &cursor),
                    _ => break,
                },
            }
        }
        Ok(())
    }

    fn problem(&self, kind: ProblemKind, message: impl Into<String>) -> Problem {
        problem(kind, &self.source, message)
    }

    fn with_cursor(&self, parameter: &str, cursor: String) -> Result<String, Problem> {
        let wrong = || self.problem(ProblemKind::Internal, "the body is not a JSON object that a cursor can be put into");
        let text = self.config.body.as_deref().unwrap_or("{}");
        let mut body: serde_json::Value = serde_json::from_str(text).map_err(|_| wrong())?;
        let mut at = &mut body;
        for step in steps(parameter) {
            at = at.as_object_mut().ok_or_else(wrong)?.entry(step).or_insert_with(|| serde_json::json!({}));
        }
        *at = serde_json::Value::String(cursor);
        Ok(body.to_string())
    }

    /// Brings one page and says where the next is. Whatever happens, the pages so far are kept.
    async fn page(&mut self, url: &Url, body: Option<&str>, number: u64) -> Result<Next, Problem> {
        let (config, source) = (self.config, self.source.clone());
        let held = match &self.state.held {
            Some(cache) => cache.get(url.as_str()).await,
            None => None,
        };
        let mut spool = match self.spool.take() {
            Some(spool) => spool,
            None => Spool::new()?,
        };
        separate(&mut spool)?;
        let mut start = spool.len();
        let build =
            |client: &reqwest::Client, redactor: &mut Redactor| request(config, client, url, body, held.as_deref(), &source, redactor);
        let answer = self.state.client.fetch(build, &source, &mut spool, config.max_bytes, self.deadline, self.requests).await;
        let (status, headers) = match (answer, held) {
            (Err(problem), _) => {
                self.spool = Some(spool);
                return Err(problem);
            }
            (Ok(Answer::Body(status, headers)), _) => (status, headers),
            (Ok(Answer::NotModified), None) => return Err(problem(ProblemKind::Source, source, "answered 304 Not Modified out of turn")),
            (Ok(Answer::NotModified), Some(held)) => {
                self.note_modified(held.last_modified.as_ref());
                let next = held.next.clone();
                if spool.len() > 0 {
                    spool.append(&held.spool, held.start, held.len)?;
                } else {
                    self.pending.push(held);
                }
                self.spool = Some(spool);
                return Ok(next);
            }
        };
        if !self.pending.is_empty() {
            // The first page that has changed: those that have not go before it.
            let fresh = std::mem::replace(&mut spool, join(&std::mem::take(&mut self.pending))?);
            separate(&mut spool)?;
            start = spool.len();
            spool.append(fresh.path(), 0, fresh.len())?;
        }
        let end = self.judge(status, &spool, start);
        let next = match end {
            Ok(true) => Ok(Next::End),
            Ok(false) => self.next(&headers, spool.path(), start, spool.len() - start, number).await,
            Err(problem) => {
                spool.cut(start)?;
                self.spool = Some(spool);
                return Err(problem);
            }
        };
        self.note_modified(headers.get(header::LAST_MODIFIED));
        if let (Some(cache), Ok(next)) = (&self.state.held, &next) {
            let (etag, last_modified) = (headers.get(header::ETAG).cloned(), headers.get(header::LAST_MODIFIED).cloned());
            if (etag.is_some() || last_modified.is_some()) && status == StatusCode::OK {
                let (path, len) = (Arc::clone(spool.path()), spool.len() - start);
                let held = Held { etag, last_modified, spool: path, start, len, next: next.clone() };
                cache.insert(url.to_string(), Arc::new(held)).await;
            } else {
                cache.invalidate(url.as_str()).await;
            }
        }
        self.spool = Some(spool);
        next
    }

    /// Whether a page that came is one: false for a page, true for the empty answer behind the last page.
    fn judge(&self, status: StatusCode, spool: &Spool, start: u64) -> Result<bool, Problem> {
        let mut begin = Vec::new();
        Spool::part(spool.path(), start, 512).and_then(|mut part| part.read_to_end(&mut begin)).map_err(|e| Spool::full(&e))?;
        if client::looks_like_html(&begin) {
            let message = format!("answered {status} with an HTML page where a document was due: a login form, or a proxy's page");
            return Err(self.problem(ProblemKind::Source, message));
        }
        if spool.len() - start <= 512 && begin.trim_ascii().is_empty() {
            if status == StatusCode::NO_CONTENT && start > 0 {
                return Ok(true);
            }
            return Err(self.problem(ProblemKind::Empty, format!("answered {status} with nothing in it")));
        }
        Ok(false)
    }

    fn note_modified(&mut self, header: Option<&HeaderValue>) {
        let time = header.and_then(|v| v.to_str().ok()).and_then(client::date);
        self.modified = self.modified.zip(time).map(|(a, b)| a.min(b));
    }

    /// Where the next page is, from a page's headers or its JSON.
    async fn next(&self, headers: &HeaderMap, spool: &Arc<TempPath>, start: u64, len: u64, number: u64) -> Result<Next, Problem> {
        let path = match &self.config.paging {
            None => return Ok(Next::End),
            Some(Paging::LinkHeader) => {
                let links = headers.get_all(header::LINK).iter().filter_map(|v| v.to_str().ok());
                return Ok(links.filter_map(next_link).next().map_or(Next::End, |link| Next::Link(link.to_owned())));
            }
            Some(Paging::NextField { path } | Paging::Cursor { path, .. }) => path,
            Some(Paging::Page { records, .. }) => records,
        };
        let hit = {
            let (spool, steps) = (Arc::clone(spool), steps(path));
            // A page may have hundreds of megabytes.
            let read = tokio::task::spawn_blocking(move || {
                let part = Spool::part(&spool, start, len).map_err(|e| problem(ProblemKind::Internal, "spool", e.to_string()))?;
                let mut json = serde_json::Deserializer::from_reader(BufReader::with_capacity(64 << 10, part));
                Seek { steps: &steps }.deserialize(&mut json).map_err(|e| {
                    let kind = if e.is_eof() { ProblemKind::Truncated } else { ProblemKind::WrongFormat };
                    problem(kind, "", format!("the page is not JSON that the next page can be read from: {e}"))
                })
            });
            match read.await {
                Ok(result) => result.map_err(|p| Problem { source: self.source.clone(), ..p })?,
                Err(_) => return Err(self.problem(ProblemKind::Internal, "the page could not be searched for the next")),
            }
        };
        let unexpected = |what: &str| {
            let message = format!(
                "`{path}` of the page is {what}; expected {}",
                match &self.config.paging {
                    Some(Paging::Page { .. }) => "a list of records",
                    _ => "a text that names the next page, or nothing",
                }
            );
            self.problem(ProblemKind::Source, message)
        };
        match (&self.config.paging, hit) {
            (Some(Paging::Page { .. }), Hit::List { empty: true }) => Ok(Next::End),
            (Some(Paging::Page { .. }), Hit::List { empty: false }) => Ok(Next::Page(number.saturating_add(1))),
            (Some(Paging::Page { .. }), Hit::Missing) => Err(unexpected("missing")),
            (Some(Paging::Page { .. }), _) => Err(unexpected("no list")),
            (_, Hit::Missing | Hit::Null | Hit::Bool(false)) => Ok(Next::End),
            (_, Hit::Text(text)) if text.is_empty() => Ok(Next::End),
            (_, Hit::Text(text)) if text.len() > NEXT_BYTES => Err(unexpected("very long")),
            (Some(Paging::NextField { .. }), Hit::Text(link)) => Ok(Next::Link(link)),
            (Some(Paging::Cursor { .. }), Hit::Text(cursor) | Hit::Number(cursor)) => Ok(Next::Cursor(cursor)),
            (_, Hit::Number(_)) => Err(unexpected("a number")),
            (_, _) => Err(unexpected("neither text nor number")),
        }
    }

    /// What came, and whether all of it is what we held.
    fn document(&mut self) -> Result<Option<(Document, bool)>, Problem> {
        let unchanged = !self.pending.is_empty();
        let spool = match self.spool.take() {
            Some(spool) if spool.len() > 0 => Arc::clone(spool.path()),
            _ => match self.pending.first() {
                None => return Ok(None),
                // The pages of one walk lie in one file; if these are all of it, it is the document of then.
                Some(first) if whole(&self.pending) => Arc::clone(&first.spool),
                Some(_) => Arc::clone(join(&self.pending)?.path()),
            },
        };
        let document = Document {
            name: self.source.clone(),
            path: spool.to_path_buf(),
            modified: self.modified.filter(|&m| m != Moment::NEVER),
            fields: Vec::new(),
            spool: Some(super::Held::File(spool)),
        };
        Ok(Some((document, unchanged)))
    }
}

/// A line end between pages.
fn separate(spool: &mut Spool) -> Result<(), Problem> {
    if spool.len() > 0 { spool.write(b"\n") } else { Ok(()) }
}

/// Held pages one after another in a new file.
fn join(pages: &[Arc<Held>]) -> Result<Spool, Problem> {
    let mut spool = Spool::new()?;
    for held in pages {
        separate(&mut spool)?;
        spool.append(&held.spool, held.start, held.len)?;
    }
    Ok(spool)
}

/// Whether these pages, with a line end between them, are a whole file.
fn whole(pages: &[Arc<Held>]) -> bool {
    let Some(first) = pages.first() else { return false };
    let mut end = 0;
    for held in pages {
        let gap = u64::from(end > 0);
        if !Arc::ptr_eq(&held.spool, &first.spool) || held.start != end + gap {
            return false;
        }
        end = held.start + held.len;
    }
    std::fs::metadata(&*first.spool).is_ok_and(|meta| meta.len() == end)
}

/// One request, with secrets as they are now.
fn request(
    config: &Config,
    client: &reqwest::Client,
    url: &Url,
    body: Option<&str>,
    held: Option<&Held>,
    source: &str,
    redactor: &mut Redactor,
) -> Result<reqwest::Request, Problem> {
    let unreadable = |e: String| problem(ProblemKind::Internal, source, e);
    let method = match config.method {
        Method::Get => reqwest::Method::GET,
        Method::Post => reqwest::Method::POST,
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, */*;q=0.5"));
    if body.is_some() {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    for (name, value) in &config.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    let mut secret_header = |name: &HeaderName, secret: &Secret, show: &dyn Fn(&SecretString) -> SecretString| {
        let revealed = secret.reveal().map_err(unreadable)?;
        let shown = show(&revealed);
        redactor.add(&revealed);
        redactor.add(&shown);
        let value = client::sensitive(shown.expose_secret())
            .ok_or_else(|| unreadable(format!("{secret} has characters that may not stand in a header")))?;
        headers.insert(name, value);
        Ok::<(), Problem>(())
    };
    for (name, secret) in &config.secret_headers {
        let name = HeaderName::try_from(name).map_err(|_| unreadable(format!("`{name}` is not a header's name")))?;
        secret_header(&name, secret, &Clone::clone)?;
    }
    match &config.auth {
        None => {}
        Some(Auth::Bearer(token)) => {
            secret_header(&header::AUTHORIZATION, token, &|t| SecretString::from(format!("Bearer {}", t.expose_secret())))?;
        }
        Some(Auth::Basic { username, password }) => {
            let basic = |p: &SecretString| {
                let pair = format!("{username}:{}", p.expose_secret());
                SecretString::from(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)))
            };
            secret_header(&header::AUTHORIZATION, password, &basic)?;
        }
    }
    if let Some(held) = held {
        if let Some(etag) = &held.etag {
            headers.insert(header::IF_NONE_MATCH, etag.clone());
        } else if let Some(date) = &held.last_modified {
            headers.insert(header::IF_MODIFIED_SINCE, date.clone());
        }
    }
    let mut request = client.request(method, url.clone()).headers(headers);
    if let Some(body) = body {
        request = request.body(body.to_owned());
    }
    request.build().map_err(|_| unreadable("the request could not be made".to_owned()))
}

/// The URL with one query parameter set, others as they are.
fn with_parameter(url: &Url, name: &str, value: &str) -> Url {
    let others: Vec<(String, String)> =
        url.query_pairs().filter(|(k, _)| k != name).map(|(k, v)| (k.into_owned(), v.into_owned())).collect();
    let mut url = url.clone();
    url.query_pairs_mut().clear().extend_pairs(others).append_pair(name, value);
    url
}

/// The target of `rel=next` in one `Link` header (RFC 8288); a comma may stand in a target and in a quoted text.
pub(super) fn next_link(header: &str) -> Option<&str> {
    let mut rest = header;
    loop {
        let (_, after) = rest.split_once('<')?;
        let (target, after) = after.split_once('>')?;
        let mut quoted = false;
        let end = after.find(|c| {
            quoted ^= c == '"';
            c == ',' && !quoted
        });
        let parameters = &after[..end.unwrap_or(after.len())];
        let is_next = parameters.split(';').any(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let mut relations = value.trim().trim_matches('"').split_ascii_whitespace();
            name.trim().eq_ignore_ascii_case("rel") && relations.any(|r| r.eq_ignore_ascii_case("next"))
        });
        if is_next {
            return Some(target.trim());
        }
        rest = &after[end?..];
    }
}

/// The steps of `paging.next`, `$.paging.next` or `/paging/next`.
fn steps(path: &str) -> Vec<String> {
    if let Some(pointer) = path.strip_prefix('/') {
        return pointer.split('/').map(|step| step.replace("~1", "/").replace("~0", "~")).collect();
    }
    let path = path.strip_prefix('$').unwrap_or(path);
    path.split('.').filter(|step| !step.is_empty()).map(str::to_owned).collect()
}

/// What stands at a path in a JSON document, read without keeping the rest of it.
#[derive(Debug, PartialEq)]
enum Hit {
    Missing,
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List { empty: bool },
    Object,
}

#[derive(Clone, Copy)]
struct Seek<'a> {
    steps: &'a [String],
}

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = Hit;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Hit, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = Hit;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Hit, E> {
        Ok(self.leaf(Hit::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Hit, E> {
        Ok(self.leaf(Hit::Number(value.to_string())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Hit, E> {
        Ok(self.leaf(Hit::Number(value.to_string())))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Hit, E> {
        Ok(self.leaf(Hit::Number(value.to_string())))
    }

    fn visit_str<E>(self, value: &str) -> Result<Hit, E> {
        Ok(self.leaf(Hit::Text(value.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Hit, E> {
        Ok(self.leaf(Hit::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Hit, A::Error> {
        let wanted = self.steps.split_first().map(|(step, rest)| (step.parse::<usize>().ok(), Seek { steps: rest }));
        let (mut hit, mut at) = (Hit::Missing, 0usize);
        loop {
            match wanted {
                Some((Some(index), seek)) if index == at => match list.next_element_seed(seek)? {
                    Some(found) => hit = found,
                    None => break,
                },
                _ => {
                    if list.next_element::<IgnoredAny>()?.is_none() {
                        break;
                    }
                }
            }
            at += 1;
        }
        Ok(if wanted.is_some() { hit } else { Hit::List { empty: at == 0 } })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Hit, A::Error> {
        let wanted = self.steps.split_first();
        let mut hit = Hit::Missing;
        while let Some(key) = map.next_key::<String>()? {
            match wanted {
                Some((step, rest)) if *step == key => hit = map.next_value_seed(Seek { steps: rest })?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(if wanted.is_some() { hit } else { Hit::Object })
    }
}

impl Seek<'_> {
    /// A value that nothing can lie below.
    fn leaf(self, hit: Hit) -> Hit {
        if self.steps.is_empty() { hit } else { Hit::Missing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_link_is_found_among_others() {
        for (header, next) in [
            (r#"<https://a/x?page=2>; rel="next", <https://a/x?page=9>; rel="last""#, Some("https://a/x?page=2")),
            (r#"<https://a/x?page=9>; rel=last, </x?page=2>; title="a, b; rel=none"; rel=next"#, Some("/x?page=2")),
            (r#"<a,b>; REL="prev NEXT""#, Some("a,b")),
            (r#"<a>; rel="prev""#, None),
            (r#"<a>; title="rel=next""#, None),
            ("", None),
            ("<a; rel=next", None),
            ("<a>", None),
        ] {
            assert_eq!(next_link(header), next, "{header}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_link_header_is_read_or_passed_over(header in "[<>;,\"=a-zé ]{0,60}") {
            next_link(&header);
        }
    }

    #[test]
    fn a_value_is_found_in_a_page_by_its_path() {
        let page = r#"{"items":[{"id":1},{"id":"x"}],"paging":{"next":"/p?2","cursor":17,"a/b":true,"none":null,"empty":[]}} {"more":1}"#;
        let at = |path: &str| {
            let steps = steps(path);
            Seek { steps: &steps }.deserialize(&mut serde_json::Deserializer::from_reader(page.as_bytes())).unwrap()
        };
        assert_eq!(at("paging.next"), Hit::Text("/p?2".to_owned()));
        assert_eq!(at("$.paging.next"), at("/paging/next"));
        assert_eq!(at("paging.cursor"), Hit::Number("17".to_owned()));
        assert_eq!(at("/paging/a~1b"), Hit::Bool(true));
        assert_eq!(at("paging.none"), Hit::Null);
        assert_eq!(at("paging.empty"), Hit::List { empty: true });
        assert_eq!(at("items"), Hit::List { empty: false });
        assert_eq!(at("items.1.id"), Hit::Text("x".to_owned()));
        assert_eq!(at("items.7.id"), Hit::Missing);
        assert_eq!(at("paging.next.deeper"), Hit::Missing);
        assert_eq!(at("paging"), Hit::Object);
        assert_eq!(at("absent"), Hit::Missing);
        assert_eq!(at(""), Hit::Object);
    }

    #[test]
    fn a_parameter_is_set_and_others_kept() {
        let url = Url::parse("https://a/x?limit=5&after=old&q=a%20b").unwrap();
        assert_eq!(with_parameter(&url, "after", "n&w=").as_str(), "https://a/x?limit=5&q=a+b&after=n%26w%3D");
    }

    #[test]
    fn configuration_mistakes_are_all_told() {
        let good = Config { url: "https://scanner.internal/v1?limit=5".to_owned(), ..Config::default() };
        assert_eq!(good.validate(), []);
        let fields = |c: Config| c.validate().into_iter().map(|(field, _)| field).collect::<Vec<_>>();
        for url in ["", "scanner/v1", "ftp://a/b", "https://user:pass@a/b"] {
            assert_eq!(fields(Config { url: url.to_owned(), ..good.clone() }), ["url"], "{url}");
        }
        let bad = Config {
            headers: vec![("a b".to_owned(), "x".to_owned()), ("Authorization".to_owned(), "Bearer x".to_owned())],
            client_cert_file: Some("c.pem".into()),
            body: Some("{}".to_owned()),
            paging: Some(Paging::NextField { path: String::new() }),
            max_bytes: 0,
            ..good
        };
        assert_eq!(fields(bad), ["headers", "headers", "client_cert_file", "body", "paging", "max_bytes"]);
    }
}
