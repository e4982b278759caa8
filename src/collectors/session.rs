//! One manner for all cloud APIs: pages, tries, pace, tokens, bounds. A source is then a function that builds requests
//! and reads the next page's name.
//!
//! # A new source
//!
//! ```text
//! pub struct Config { pub endpoint_url: Option<String>, pub token: Secret, …, pub options: session::Options }
//!
//! pub(super) async fn collect(name: &str, config: &Config, session: &Arc<Session>, deadline: Instant) -> Collected {
//!     let run = session.run(name, deadline);
//!     let api = Arc::new(Api::new(config));
//!     let part = run.parts(config.projects(), move |run, project| {          // some at a time: options.concurrency
//!         let api = Arc::clone(&api);
//!         async move {
//!             let mut part = Part::new(format!("hawk {project}"));           // what it is called in problems, evidence
//!             let page = |cursor: Option<&str>| api.list(&project, cursor);  // -> Result<Call, Problem>
//!             let next = |reply: &Reply| {                                    // -> Result<Option<String>, Problem>
//!                 #[derive(serde::Deserialize)] struct Page { next: Option<String> }
//!                 Ok(reply.json::<Page>()?.next.filter(|n| !n.is_empty()))
//!             };
//!             part.walk(&run, &*api, page, next).await;                       // pages → one document, problems
//!             part.fields.push(("project".to_owned(), project));
//!             part
//!         }
//!     });
//!     run.finish(part.await)
//! }
//! ```
//!
//! - [`Api`] is what differs between APIs: [`Api::authorize`] puts credentials on a request, at each try (tokens by
//!   [`Run::token`]); [`Api::classify`] says what an answer is. The default [`by_status`] knows what most share; an API
//!   adds its own codes (a 400 that is throttling, `errors[]` in a 200) and falls back to it. [`Reply::code`] reads the
//!   error codes of AWS, ARM, Google, GraphQL, OAuth and S3.
//! - [`Run::send`] is one request with all its tries, [`Run::kept`] one whose answer is held for a while (metadata,
//!   definitions), [`Run::download`] one whose body goes to a file unread.
//! - [`Part::walk`] brings pages until `next` says there is none. The cursor is whatever `next` gave: a token, or a URL;
//!   give a URL to [`Run::link`], which refuses another host. Pages lie in the document one after another, a line end
//!   between, as `formats/pages.rs` reads them. A part is complete only if every page came; the run only if every part is.
//! - In `run.rs` such a source is `Source::Api(session)`; in `mod.rs` its variant names its [`Options`] in
//!   `Reach::options`. In `config/reach.rs` use `options(&t, defaults, base)` with `OPTION_KEYS` among the known keys.
//!
//! # What it sees to
//!
//! - **Tries.** Throttling, 5xx, no answer, an answer that breaks off and one that is not JSON are tried again
//!   ([`Options::retry`]), after `Retry-After` or with growing, jittered waits; never past the run's deadline.
//! - **Tokens** are held by key, renewed at 80 % of their life by one caller while others wait. If the API says that one
//!   has run out it is renewed and the request sent again, once.
//! - **Pages.** A page's name that has run out starts the walk again, a few times; what was spooled of the walk is thrown
//!   away. A page that was there already ends the walk: pages that go in a circle are no whole. A run that was cut
//!   short hands on what it has, is partial, and begins at the first page next time. A record that comes twice, since
//!   the list moved between two pages, is harmless: it is one (check, resource), and `evaluate` combines what is said of
//!   it, whichever number of times.
//! - **Pace.** Requests a second and at once, by host and [`Call::quota`]. One `Retry-After` stops all that share it.
//! - **Bounds.** Bytes of a page, bytes of a run, pages of a walk, time of a run.
//! - **Secrets** put on by [`Call::secret`] are sensitive headers, and taken out of every message.

use super::client::{self, Client, Identity, Network, Redactor, Requests, Retry, Settings, Spool, problem};
use super::{Collected, Document, Held};
use crate::clock;
use crate::domain::{Moment, Problem, ProblemKind, Span};
use bytes::Bytes;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use moka::Expiry;
use moka::future::Cache;
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::de::{DeserializeOwned, IgnoredAny};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

/// What an operator may say of every API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Certificates, proxy, private addresses, and how long to wait for a host.
    pub network: Network,
    /// What is done after throttling, 5xx, or no answer.
    pub retry: Retry,
    /// Requests a second to one host (for AWS: to one service, account and region). Default: as the API's documentation
    /// says, else 5.
    pub requests_per_second: u32,
    /// Requests that may follow each other at once before that counts. Default: as the API's documentation says, else 10.
    pub burst: u32,
    /// Requests under way at once to one host, and accounts, projects or regions walked at once. Default 4.
    pub concurrency: u32,
    /// Bytes of one page, decompressed; it is held in memory. Default 64 MiB.
    pub max_page_bytes: u64,
    /// Bytes of all pages of a run, decompressed. Default 4 GiB.
    pub max_bytes: u64,
    /// Pages of one list. Default 10000.
    pub max_pages: u32,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            network: Network::default(),
            retry: Retry::default(),
            requests_per_second: 5,
            burst: 10,
            concurrency: 4,
            max_page_bytes: 64 << 20,
            max_bytes: 4 << 30,
            max_pages: 10_000,
        }
    }
}

impl Options {
    /// What is wrong with it: (field, sentence).
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        let mut wrong = self.network.validate();
        for (field, zero) in [
            ("requests_per_second", self.requests_per_second == 0),
            ("burst", self.burst == 0),
            ("concurrency", self.concurrency == 0),
            ("max_page_bytes", self.max_page_bytes == 0),
            ("max_bytes", self.max_bytes == 0),
            ("max_pages", self.max_pages == 0),
        ] {
            if zero {
                wrong.push((field, "0 lets nothing through".to_owned()));
            }
        }
        wrong
    }
}

/// Longest name of a page that is taken from an answer.
const CURSOR_BYTES: usize = 16 << 10;
/// An error's body is read up to here, to be classified.
const ERROR_BYTES: u64 = 64 << 10;
/// A walk begins again at most so often.
const RESTARTS: u32 = 3;
/// Somebody who fetches a token for all others may take so long.
const TOKEN_TIME: Duration = Duration::from_secs(60);
/// Answers held for a while, together.
const KEPT_BYTES: u64 = 64 << 20;

/// One request, before credentials are put on it.
#[derive(Clone)]
pub(super) struct Call {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
    quota: String,
    json: bool,
    secrets: Vec<SecretString>,
}

impl Call {
    fn new(method: Method, url: Url, content: Option<&'static str>, body: Bytes) -> Call {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(content) = content {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content));
        }
        Call { method, url, headers, body, quota: String::new(), json: true, secrets: Vec::new() }
    }

    /// `GET`, for JSON.
    pub(super) fn get(url: Url) -> Call {
        Call::new(Method::GET, url, None, Bytes::new())
    }

    /// `POST` of JSON, for JSON.
    pub(super) fn post_json(url: Url, body: &serde_json::Value) -> Call {
        Call::new(Method::POST, url, Some("application/json"), body.to_string().into())
    }

    /// `POST` of a form, for JSON. A form may hold secrets: give each to [`Call::hide`] too.
    pub(super) fn post_form(url: Url, pairs: &[(&str, &str)]) -> Call {
        let mut form = Url::parse("form:").unwrap_or_else(|_| url.clone());
        form.set_query(None);
        form.query_pairs_mut().extend_pairs(pairs);
        let body = form.query().unwrap_or_default().to_owned();
        Call::new(Method::POST, url, Some("application/x-www-form-urlencoded"), body.into())
    }

    /// Another method: a `POST` without a body, the `PUT` of a metadata service.
    pub(super) fn method(mut self, method: Method) -> Call {
        self.method = method;
        self
    }

    /// A header in the clear, instead of one of that name.
    pub(super) fn header(mut self, name: HeaderName, value: &str) -> Call {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// A header that is never printed; `secret` is also taken out of every message about this request.
    pub(super) fn secret(mut self, name: HeaderName, value: &str, secret: &SecretString) -> Call {
        if let Some(value) = client::sensitive(value) {
            self.headers.insert(name, value);
        }
        self.hide(secret)
    }

    /// `Authorization: Bearer …`.
    pub(super) fn bearer(self, token: &SecretString) -> Call {
        self.secret(header::AUTHORIZATION, &format!("Bearer {}", token.expose_secret()), token)
    }

    /// Takes this out of every message about this request.
    pub(super) fn hide(mut self, secret: &SecretString) -> Call {
        self.secrets.push(secret.clone());
        self
    }

    /// Counts against another allowance than the rest of its host: an account's, an operation's.
    pub(super) fn quota(mut self, quota: impl Into<String>) -> Call {
        self.quota = quota.into();
        self
    }

    /// The answer need not be JSON.
    pub(super) fn any_answer(mut self) -> Call {
        self.json = false;
        self.headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        self
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    pub(super) fn verb(&self) -> &str {
        self.method.as_str()
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    pub(super) fn body(&self) -> &Bytes {
        &self.body
    }
}

/// An answer, read to its end.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Decompressed. Of an error only the beginning; of a download nothing.
    pub(super) body: Bytes,
    source: String,
}

impl Reply {
    /// The body, as JSON of this shape.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        serde_json::from_slice(&self.body)
            .map_err(|e| problem(ProblemKind::Source, &self.source, format!("the answer is not as the API describes it: {e}")))
    }

    /// A page for people where data was due.
    pub(super) fn is_html(&self) -> bool {
        client::looks_like_html(&self.body)
    }

    /// The API's own error: its code, its message. Knows AWS (JSON and XML), ARM, Google, GraphQL and OAuth.
    pub(super) fn code(&self) -> Option<(String, String)> {
        let header = self.headers.get("x-amzn-errortype").and_then(|v| v.to_str().ok());
        let value: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let text = |v: &serde_json::Value| match v {
            serde_json::Value::String(s) => Some(s.clone()),
            serde_json::Value::Number(n) => Some(n.to_string()),
            _ => None,
        };
        let message = |v: &serde_json::Value| text(&v["message"]).or_else(|| text(&v["Message"])).unwrap_or_default();
        // `com.amazonaws.config#ThrottlingException` and `ThrottlingException:http://…` name the same.
        let aws = |code: &str| code.rsplit('#').next().unwrap_or_default().split(':').next().unwrap_or_default().to_owned();
        if let Some(code) = header.map(str::to_owned).or_else(|| text(&value["__type"])) {
            return Some((aws(&code), message(&value)));
        }
        if let Some(first) = value["errors"].as_array().and_then(|e| e.first()) {
            let code = text(&first["extensions"]["code"]).or_else(|| text(&first["code"])).or_else(|| text(&first["type"]));
            return Some((code.unwrap_or_default(), message(first)));
        }
        match &value["error"] {
            serde_json::Value::String(code) => {
                return Some((code.clone(), text(&value["error_description"]).unwrap_or_else(|| message(&value))));
            }
            error @ serde_json::Value::Object(_) => {
                let code = text(&error["status"]).or_else(|| text(&error["code"]));
                return Some((code.unwrap_or_default(), message(error)));
            }
            _ => {}
        }
        if let Some(code) = text(&value["code"]) {
            return Some((aws(&code), message(&value)));
        }
        let xml = String::from_utf8_lossy(&self.body);
        element(&xml, "Code").map(|code| (code, element(&xml, "Message").unwrap_or_default()))
    }

    /// What a person is told of it: the API's own words if it has any, else the beginning of the body.
    fn said(&self) -> String {
        let status = self.status;
        match self.code() {
            Some((code, message)) if !code.is_empty() || !message.is_empty() => {
                let message = client::shorten(message.as_bytes());
                format!(
                    "answered {status}: {}",
                    [code, message].iter().filter(|t| !t.is_empty()).map(String::as_str).collect::<Vec<_>>().join(": ")
                )
            }
            _ if self.is_html() => {
                format!("answered {status} with an HTML page where JSON was due: a login form, a proxy's page, or another service")
            }
            _ => match client::shorten(&self.body) {
                text if text.is_empty() => format!("answered {status}"),
                text => format!("answered {status}: {text}"),
            },
        }
    }
}

/// The text of the first such element of an XML document without attributes, as AWS's Query APIs write it.
pub(super) fn element(xml: &str, name: &str) -> Option<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let (_, rest) = xml.split_once(&open)?;
    let (text, _) = rest.split_once(&close)?;
    let plain = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'").replace("&#39;", "'");
    Some(plain.replace("&amp;", "&").trim().to_owned())
}

/// What an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// What was asked for; also an error status that is an answer (a 404 that says "not protected").
    Fine,
    /// Too many requests: again, later.
    Throttled,
    /// The API is in trouble: again, later.
    Failing,
    /// We may not; asking again is no use.
    Denied,
    /// The token has run out: again with a new one, once.
    TokenExpired,
    /// The page's name has run out: again from the first page.
    PageExpired,
    /// It was asked wrongly, or there is no such thing.
    Refused,
    /// It is not this API's answer at all.
    NotThisApi,
}

/// What most APIs' answers are, by status.
pub(super) fn by_status(reply: &Reply) -> Verdict {
    match reply.status.as_u16() {
        200..=299 if reply.is_html() => Verdict::NotThisApi,
        200..=299 => Verdict::Fine,
        401 => Verdict::TokenExpired,
        // GitHub answers 403 with Retry-After when it means 429.
        403 if reply.headers.contains_key(header::RETRY_AFTER) => Verdict::Throttled,
        403 | 407 => Verdict::Denied,
        429 => Verdict::Throttled,
        408 | 425 | 500..=599 => Verdict::Failing,
        300..=399 => Verdict::NotThisApi,
        _ => Verdict::Refused,
    }
}

/// What differs between APIs.
pub(super) trait Api: Send + Sync {
    /// Puts credentials on a request; at each try. `renew`: the API said of credentials used then that they had run out.
    fn authorize(&self, run: &Run, call: Call, renew: Option<Instant>) -> impl Future<Output = Result<Call, Problem>> + Send;

    /// What an answer is.
    fn classify(&self, reply: &Reply) -> Verdict {
        by_status(reply)
    }

    /// How long to leave the API in peace after an answer that was one: its allowance is used up, and it says so before
    /// it has to refuse.
    fn rest(&self, _: &Reply) -> Option<Duration> {
        None
    }

    /// How long an answer asks us to wait; `Retry-After`, unless the API says it otherwise.
    fn wait(&self, reply: &Reply, now: Moment) -> Option<Duration> {
        client::retry_after(&reply.headers, now)
    }
}

/// An API that is asked without credentials: a metadata service, a token endpoint.
#[cfg_attr(not(test), expect(dead_code, reason = "for the first API that is asked without credentials"))]
pub(super) struct Open;

impl Api for Open {
    async fn authorize(&self, _: &Run, call: Call, _: Option<Instant>) -> Result<Call, Problem> {
        Ok(call)
    }

    fn classify(&self, reply: &Reply) -> Verdict {
        match by_status(reply) {
            // There is no token that could be renewed.
            Verdict::TokenExpired => Verdict::Denied,
            verdict => verdict,
        }
    }
}

/// A token, and how long it is used.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) value: SecretString,
    used_for: Duration,
    fetched: Instant,
}

impl Token {
    /// A token that the API says will last so long; it is renewed at 80 % of that.
    pub(super) fn new(value: SecretString, expires_in: Duration) -> Token {
        Token { value, used_for: expires_in.min(Duration::from_secs(30 * 86_400)) * 4 / 5, fetched: Instant::now() }
    }
}

#[derive(Clone)]
struct Kept {
    body: Bytes,
    held_for: Duration,
}

struct Lifetimes;

impl Expiry<String, Arc<Token>> for Lifetimes {
    fn expire_after_create(&self, _: &String, token: &Arc<Token>, _: std::time::Instant) -> Option<Duration> {
        Some(token.used_for)
    }
}

impl Expiry<String, Kept> for Lifetimes {
    fn expire_after_create(&self, _: &String, kept: &Kept, _: std::time::Instant) -> Option<Duration> {
        Some(kept.held_for)
    }
}

/// What shares an allowance.
struct Pool {
    pace: DefaultDirectRateLimiter,
    places: Semaphore,
    /// Nobody asks before this.
    resume: Mutex<Option<Instant>>,
}

/// What is kept of an API between the runs of a collector: connections, tokens, answers that seldom change, pace.
pub(super) struct Session {
    client: Client,
    options: Options,
    pools: Mutex<HashMap<String, Arc<Pool>>>,
    tokens: Cache<String, Arc<Token>>,
    kept: Cache<String, Kept>,
}

/// A client for what does not go by [`Run`]: an answer that never ends.
pub(super) fn client(options: &Options, identity: Identity) -> Client {
    Client::new(Settings { network: options.network.clone(), cert_and_key: None, identity, retry: options.retry })
}

impl Session {
    pub(super) fn new(options: &Options) -> Arc<Session> {
        Session::with(options, Identity::default())
    }

    /// The same, with certificates that are in no file of the operator's.
    pub(super) fn with(options: &Options, identity: Identity) -> Arc<Session> {
        Arc::new(Session {
            client: client(options, identity),
            options: options.clone(),
            pools: Mutex::default(),
            tokens: Cache::builder().max_capacity(10_000).expire_after(Lifetimes).build(),
            kept: Cache::builder()
                .max_capacity(KEPT_BYTES)
                .weigher(|_, kept: &Kept| u32::try_from(kept.body.len() + 64).unwrap_or(u32::MAX))
                .expire_after(Lifetimes)
                .build(),
        })
    }

    /// Begins a run.
    pub(super) fn run(self: &Arc<Session>, collector: &str, deadline: Instant) -> Run {
        Run(Arc::new(Inner {
            session: Arc::clone(self),
            collector: collector.to_owned(),
            started: clock::now(),
            deadline,
            tally: Mutex::default(),
        }))
    }

    /// The last run was of no use: nothing that was held is believed any more.
    pub(super) fn forget(&self) {
        self.tokens.invalidate_all();
        self.kept.invalidate_all();
    }

    fn pool(&self, call: &Call) -> Arc<Pool> {
        let key = format!("{} {}", call.url.origin().ascii_serialization(), call.quota);
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = |n: u32| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        let make = || {
            let quota = Quota::per_second(whole(self.options.requests_per_second)).allow_burst(whole(self.options.burst));
            let places = Semaphore::new(self.options.concurrency.max(1) as usize);
            Arc::new(Pool { pace: RateLimiter::direct(quota), places, resume: Mutex::default() })
        };
        Arc::clone(pools.entry(key).or_insert_with(make))
    }
}

#[derive(Default)]
struct Tally {
    requests: Requests,
    bytes: u64,
}

/// One run of a collector; cheap to clone, for tasks.
#[derive(Clone)]
pub(super) struct Run(Arc<Inner>);

struct Inner {
    session: Arc<Session>,
    collector: String,
    started: Moment,
    deadline: Instant,
    tally: Mutex<Tally>,
}

/// What a request came to.
enum Asked {
    Reply(Reply),
    PageExpired(Problem),
}

/// Where a body goes.
enum Into_<'a> {
    Memory,
    Spool(&'a mut Spool, u64),
}

/// One try.
enum Try {
    Reply(Reply),
    /// Worth another.
    Passing(Problem),
    Final(Problem),
}

impl Run {
    /// What the operator said of the API.
    pub(super) fn options(&self) -> &Options {
        &self.0.session.options
    }

    /// One request with all its tries, answered.
    ///
    /// # Errors
    /// What came of it instead, in the API's words.
    pub(super) async fn send(&self, api: &impl Api, source: &str, call: &Call) -> Result<Reply, Problem> {
        match self.ask(api, source, call, &mut Into_::Memory).await? {
            Asked::Reply(reply) => Ok(reply),
            Asked::PageExpired(problem) => Err(problem),
        }
    }

    /// As [`Run::send`], with the body of a success behind what is in `spool`, as it came.
    pub(super) async fn download(
        &self,
        api: &impl Api,
        source: &str,
        call: &Call,
        spool: &mut Spool,
        max_bytes: u64,
    ) -> Result<Reply, Problem> {
        let start = spool.len();
        match self.ask(api, source, call, &mut Into_::Spool(spool, max_bytes)).await {
            Ok(Asked::Reply(reply)) => Ok(reply),
            Ok(Asked::PageExpired(problem)) | Err(problem) => {
                spool.cut(start)?;
                Err(problem)
            }
        }
    }

    /// As [`Run::send`], but answered from memory for `held_for` after it was last asked: for what seldom changes.
    pub(super) async fn kept(&self, api: &impl Api, source: &str, call: &Call, held_for: Duration) -> Result<Bytes, Problem> {
        let body = String::from_utf8_lossy(&call.body);
        let key = format!("{} {} {} {body}", call.method, call.url, call.quota);
        let fetch = async {
            let reply = Box::pin(self.send(api, source, call)).await?;
            Ok::<_, Problem>(Kept { body: reply.body, held_for })
        };
        self.0.session.kept.try_get_with(key, fetch).await.map(|kept| kept.body).map_err(|e: Arc<Problem>| (*e).clone())
    }

    /// The token of this name, from memory or from `fetch`, which one caller runs while others wait. `renew` as
    /// [`Api::authorize`] was given it: a token of before then is thrown away.
    pub(super) async fn token<F>(&self, key: &str, renew: Option<Instant>, fetch: F) -> Result<Arc<Token>, Problem>
    where
        F: Future<Output = Result<Token, Problem>>,
    {
        let tokens = &self.0.session.tokens;
        if let Some(since) = renew
            && tokens.get(key).await.is_some_and(|held| held.fetched <= since)
        {
            tokens.invalidate(key).await;
        }
        // Whoever fetches does so for all; if it stalled, all would wait for ever.
        let limit = self.0.deadline.min(Instant::now() + TOKEN_TIME);
        let fetch = async {
            match timeout_at(limit, fetch).await {
                Ok(token) => token.map(Arc::new),
                Err(_) => Err(problem(ProblemKind::Timeout, key, "no token came in time")),
            }
        };
        tokens.try_get_with(key.to_owned(), fetch).await.map_err(|e: Arc<Problem>| (*e).clone())
    }

    /// The next page's URL, if it is of the host that we were sent to.
    pub(super) fn link(&self, source: &str, first: &Url, link: &str) -> Result<Url, Problem> {
        client::same_origin(first, first, link).map_err(|e| problem(ProblemKind::Source, source, e))
    }

    /// Brings all pages into `spool`: one after another, a line end behind each.
    ///
    /// # Errors
    /// Why not all came; those before lie in `spool`.
    pub(super) async fn walk(
        &self,
        api: &impl Api,
        source: &str,
        spool: &mut Spool,
        mut page: impl FnMut(Option<&str>) -> Result<Call, Problem>,
        mut next: impl FnMut(&Reply) -> Result<Option<String>, Problem>,
    ) -> Result<(), Problem> {
        let start = spool.len();
        let mut restarts = 0;
        let mut cursor: Option<String> = None;
        let mut visited: HashSet<[u8; 32]> = HashSet::new();
        let mut count = 0u32;
        loop {
            if count >= self.0.session.options.max_pages {
                return Err(problem(ProblemKind::Limit, source, format!("more than {count} pages (max_pages)")));
            }
            let call = page(cursor.as_deref())?;
            let reply = match self.ask(api, source, &call, &mut Into_::Memory).await? {
                Asked::Reply(reply) => reply,
                Asked::PageExpired(expired) if cursor.is_none() || restarts >= RESTARTS => {
                    let told = format!("{}; page {} could not be had after {restarts} restarts", expired.message, count + 1);
                    return Err(Problem { message: told, ..expired });
                }
                Asked::PageExpired(_) => {
                    tracing::debug!(collector = %self.0.collector, source, page = count + 1, "the name of page {} has run out; {source} is walked again", count + 1);
                    restarts += 1;
                    spool.cut(start)?;
                    visited.clear();
                    (cursor, count) = (None, 0);
                    continue;
                }
            };
            count += 1;
            let following = next(&reply)?;
            {
                let mut tally = self.tally();
                tally.bytes = tally.bytes.saturating_add(reply.body.len() as u64);
                let max_bytes = self.0.session.options.max_bytes;
                if tally.bytes > max_bytes {
                    return Err(problem(
                        ProblemKind::Limit,
                        source,
                        format!("the pages go on, over the {max_bytes} bytes allowed (max_bytes)"),
                    ));
                }
            }
            // A page a line: a line end within JSON is white space.
            if reply.body.iter().any(|b| matches!(b, b'\n' | b'\r')) {
                let line: Vec<u8> = reply.body.iter().map(|&b| if matches!(b, b'\n' | b'\r') { b' ' } else { b }).collect();
                spool.write(&line)?;
            } else {
                spool.write(&reply.body)?;
            }
            spool.write(b"\n")?;
            match following {
                None => return Ok(()),
                Some(long) if long.len() > CURSOR_BYTES => {
                    return Err(problem(
                        ProblemKind::Source,
                        source,
                        format!("the name of page {} is {} bytes long", count + 1, long.len()),
                    ));
                }
                Some(following) => {
                    if !visited.insert(Sha256::digest(following.as_bytes()).into()) {
                        let message = format!("page {} is one that we had before: the pages go in a circle", count + 1);
                        return Err(problem(ProblemKind::Source, source, message));
                    }
                    cursor = Some(following);
                }
            }
        }
    }

    /// Works at all of `items`, some at a time, and puts the parts together in their order. One that fails or panics
    /// costs itself.
    pub(super) async fn parts<T, F>(&self, items: Vec<T>, work: impl Fn(Run, T) -> F) -> Part
    where
        F: Future<Output = Part> + Send + 'static,
    {
        let width = self.0.session.options.concurrency.max(1) as usize;
        let mut waiting = items.into_iter().enumerate();
        let mut tasks: JoinSet<(usize, Part)> = JoinSet::new();
        let mut done: Vec<(usize, Part)> = Vec::new();
        let mut whole = Part::new("");
        loop {
            while tasks.len() < width {
                let Some((i, item)) = waiting.next() else { break };
                let part = work(self.clone(), item);
                tasks.spawn(async move { (i, part.await) });
            }
            match tasks.join_next().await {
                None => break,
                Some(Ok(part)) => done.push(part),
                Some(Err(e)) => {
                    tracing::error!(collector = %self.0.collector, "part of a run panicked, which is a bug of ours: {e}");
                    whole.fail(problem(ProblemKind::Internal, &self.0.collector, "part of the run panicked, which is a bug of ours"));
                }
            }
        }
        done.sort_by_key(|(i, _)| *i);
        for (_, part) in done {
            whole.add(part);
        }
        whole
    }

    /// The end of the run.
    pub(super) fn finish(&self, part: Part) -> Collected {
        let mut collected = Collected::nothing(&self.0.collector, self.0.started);
        collected.complete = part.complete && !part.documents.is_empty();
        collected.documents = part.documents;
        collected.problems = part.problems;
        collected.requests = self.tally().requests;
        collected.finished = clock::now();
        collected
    }

    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.0.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, api: &impl Api, source: &str, call: &Call, into: &mut Into_<'_>) -> Result<Asked, Problem> {
        let session = &self.0.session;
        let pool = session.pool(call);
        let mut tries = session.client.retry().tries();
        let mut renew = None;
        loop {
            let ready = async {
                loop {
                    let resume = *pool.resume.lock().unwrap_or_else(PoisonError::into_inner);
                    match resume.filter(|&at| at > Instant::now()) {
                        Some(at) => sleep_until(at).await,
                        None => break,
                    }
                }
                pool.pace.until_ready().await;
            };
            let time_is_up = || problem(ProblemKind::Timeout, source, "the time for this run is up");
            timeout_at(self.0.deadline, ready).await.map_err(|_| time_is_up())?;
            // Boxed: what an API does to get at its credentials may be large, and is held by every request.
            // Signed after the wait: a signature is good for some minutes only.
            let authorized = match timeout_at(self.0.deadline, Box::pin(api.authorize(self, call.clone(), renew))).await {
                Ok(authorized) => authorized?,
                Err(_) => return Err(time_is_up()),
            };
            let mut redactor = Redactor::default();
            for secret in &authorized.secrets {
                redactor.add(secret);
            }
            let clean = |p: Problem| Problem { message: redactor.clean(&p.message), ..p };
            let sent = Instant::now();
            let result = {
                let once = async {
                    let _place = pool.places.acquire().await;
                    self.once(source, authorized, into).await
                };
                match timeout_at(self.0.deadline, once).await {
                    Ok(result) => result,
                    Err(_) => {
                        self.tally().requests.failed += 1;
                        Try::Final(time_is_up())
                    }
                }
            };
            let reply = match result {
                Try::Reply(reply) => reply,
                Try::Final(problem) => return Err(clean(problem)),
                Try::Passing(problem) => {
                    renew = None;
                    sleep_until(tries.again(clean(problem), None, self.0.deadline)?).await;
                    continue;
                }
            };
            let verdict = api.classify(&reply);
            let said = redactor.clean(&reply.said());
            tracing::debug!(collector = %self.0.collector, source, status = reply.status.as_u16(), bytes = reply.body.len(), "{source}: {}: {verdict:?}", reply.status);
            let asked = api.wait(&reply, clock::now());
            {
                let requests = &mut self.tally().requests;
                match verdict {
                    Verdict::Fine => requests.ok += 1,
                    Verdict::Throttled => requests.throttled += 1,
                    Verdict::Failing => requests.server_error += 1,
                    Verdict::Denied | Verdict::TokenExpired | Verdict::PageExpired | Verdict::Refused | Verdict::NotThisApi => {
                        requests.refused += 1;
                    }
                }
            }
            let wrong = |kind| problem(kind, source, said.clone());
            match verdict {
                Verdict::Fine => {
                    if let Some(rest) = api.rest(&reply) {
                        let until = Instant::now() + rest.min(session.client.retry().after_limit.std());
                        let mut resume = pool.resume.lock().unwrap_or_else(PoisonError::into_inner);
                        *resume = Some(resume.map_or(until, |at| at.max(until)));
                    }
                    return Ok(Asked::Reply(reply));
                }
                Verdict::PageExpired => return Ok(Asked::PageExpired(wrong(ProblemKind::Source))),
                Verdict::TokenExpired if renew.is_none() => renew = Some(sent),
                Verdict::TokenExpired | Verdict::Denied => return Err(wrong(ProblemKind::Denied)),
                Verdict::Refused | Verdict::NotThisApi => return Err(wrong(ProblemKind::Source)),
                Verdict::Throttled | Verdict::Failing => {
                    // While this waits, the new token may run out too.
                    renew = None;
                    let until = tries.again(wrong(ProblemKind::Source), asked, self.0.deadline)?;
                    if verdict == Verdict::Throttled && asked.is_some() {
                        let mut resume = pool.resume.lock().unwrap_or_else(PoisonError::into_inner);
                        *resume = Some(resume.map_or(until, |at| at.max(until)));
                    }
                    sleep_until(until).await;
                }
            }
        }
    }

    /// One try: sends, and reads the answer to its end.
    async fn once(&self, source: &str, call: Call, into: &mut Into_<'_>) -> Try {
        let session = &self.0.session;
        let failed = || self.tally().requests.failed += 1;
        let client = match session.client.permit(&call.url, source).and_then(|()| session.client.client(source)) {
            Ok(client) => client,
            Err(problem) => return Try::Final(problem),
        };
        let (json, url) = (call.json, call.url.clone());
        let mut request = client.request(call.method, call.url).headers(call.headers);
        if !call.body.is_empty() {
            request = request.body(call.body);
        }
        let broken = |error: &reqwest::Error, what: &str| {
            failed();
            match client::breakage(source, error, what) {
                (problem, true) => Try::Passing(problem),
                (problem, false) => Try::Final(problem),
            }
        };
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(e) => return broken(&e, "no answer"),
        };
        let (status, headers) = (response.status(), response.headers().clone());
        if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
            self.tally().requests.refused += 1;
            let to = headers.get(header::LOCATION).and_then(|v| v.to_str().ok()).and_then(|to| url.join(to).ok());
            let to = to.map_or_else(|| "an unknown place".to_owned(), |to| client::name_of(&to));
            let message = format!("answered {status}, pointing to {to}; redirects are not followed: configure the final URL");
            return Try::Final(problem(ProblemKind::Source, source, message));
        }
        let good = status.is_success();
        let too_large = |limit: u64, name: &str| {
            self.tally().requests.refused += 1;
            Try::Final(problem(ProblemKind::Limit, source, format!("the answer goes on, over the {limit} bytes allowed ({name})")))
        };
        if let (true, Into_::Spool(spool, max_bytes)) = (good, into) {
            let start = spool.len();
            loop {
                match response.chunk().await {
                    Ok(Some(chunk)) => {
                        if (spool.len() - start).saturating_add(chunk.len() as u64) > *max_bytes {
                            return too_large(*max_bytes, "max_bytes");
                        }
                        if let Err(problem) = spool.write(&chunk) {
                            return Try::Final(problem);
                        }
                    }
                    Ok(None) => return Try::Reply(Reply { status, headers, body: Bytes::new(), source: source.to_owned() }),
                    Err(e) => {
                        return match spool.cut(start) {
                            Ok(()) => broken(&e, "the answer broke off"),
                            Err(problem) => Try::Final(problem),
                        };
                    }
                }
            }
        }
        let limit = if good { session.options.max_page_bytes } else { ERROR_BYTES };
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() as u64 + chunk.len() as u64 > limit => {
                    if good {
                        return too_large(limit, "max_page_bytes");
                    }
                    break;
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(e) if good => return broken(&e, "the answer broke off"),
                // The status said it all.
                Err(_) => break,
            }
        }
        let reply = Reply { status, headers, body: body.into(), source: source.to_owned() };
        if good && json && !reply.is_html() {
            if reply.body.trim_ascii().is_empty() {
                failed();
                return Try::Passing(problem(ProblemKind::Truncated, source, format!("answered {status} with nothing in it")));
            }
            if let Err(e) = serde_json::from_slice::<IgnoredAny>(&reply.body) {
                failed();
                let kind = if e.is_eof() { ProblemKind::Truncated } else { ProblemKind::WrongFormat };
                return Try::Passing(problem(kind, source, format!("answered {status} with what is not JSON: {e}")));
            }
        }
        Try::Reply(reply)
    }
}

/// Some of a run: of an account, a region, a project.
pub(super) struct Part {
    /// What problems and evidence call it.
    pub(super) name: String,
    /// Fields that every finding of its next document gets unless it has them itself.
    pub(super) fields: Vec<(String, String)>,
    /// What came.
    pub(super) documents: Vec<Document>,
    /// What went wrong.
    pub(super) problems: Vec<Problem>,
    /// True until something is missing.
    pub(super) complete: bool,
}

impl Part {
    /// Nothing yet, and nothing missing.
    pub(super) fn new(name: impl Into<String>) -> Part {
        Part { name: name.into(), fields: Vec::new(), documents: Vec::new(), problems: Vec::new(), complete: true }
    }

    /// Something is missing, and this is why.
    pub(super) fn fail(&mut self, problem: Problem) {
        self.complete = false;
        self.problems.push(problem);
    }

    /// Takes in another part.
    pub(super) fn add(&mut self, other: Part) {
        self.documents.extend(other.documents);
        self.problems.extend(other.problems);
        self.complete &= other.complete;
    }

    /// All pages of a list as one document; see [`Run::walk`]. What came before a fault is kept.
    pub(super) async fn walk(
        &mut self,
        run: &Run,
        api: &impl Api,
        page: impl FnMut(Option<&str>) -> Result<Call, Problem>,
        next: impl FnMut(&Reply) -> Result<Option<String>, Problem>,
    ) {
        let name = self.name.clone();
        let mut spool = match Spool::new() {
            Ok(spool) => spool,
            Err(problem) => return self.fail(problem),
        };
        if let Err(problem) = run.walk(api, &name, &mut spool, page, next).await {
            self.fail(problem);
        }
        self.keep(spool);
    }

    /// A document out of what was spooled, unless that is nothing.
    pub(super) fn keep(&mut self, spool: Spool) {
        if spool.len() > 0 {
            let path = Arc::clone(spool.path());
            let fields = self.fields.clone();
            self.documents.push(Document {
                name: self.name.clone(),
                path: path.to_path_buf(),
                modified: None,
                fields,
                spool: Some(Held::File(path)),
            });
        }
    }
}

/// A host or URL an operator gave for an API, without its trailing slash, with a path added.
pub(super) fn at(base: &str, path: &str) -> Result<Url, Problem> {
    let text: Cow<'_, str> = if path.is_empty() { base.into() } else { format!("{}{path}", base.trim_end_matches('/')).into() };
    Url::parse(&text).map_err(|e| problem(ProblemKind::Internal, "endpoint_url", format!("not a URL: {e}")))
}

/// A life in seconds, as OAuth says it.
pub(super) fn seconds(n: u64) -> Duration {
    Span::SECOND.times(n.min(86_400 * 365)).std()
}

#[cfg(test)]
mod tests;
