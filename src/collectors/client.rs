//! What every collector needs that speaks HTTP: secrets, TLS, tries and waits, bounds, and a file to put the answer in.
//!
//! Redirects are never followed: a redirect to another host would take our credentials there, and evidence from a
//! place that nobody configured is no evidence. The error says where it pointed.

use crate::clock;
use crate::domain::{Moment, Position, Problem, ProblemKind, Span};
use backon::{BackoffBuilder, ExponentialBuilder};
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{StatusCode, Url};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tempfile::TempPath;
use tokio::time::{Instant, timeout_at};

/// Longest wait between two tries when the source does not name one.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// What is read of an error's body, to say a word of it.
const ERROR_BODY: usize = 4 << 10;
/// What is said of it.
const EXCERPT: usize = 200;
/// A secret is a line or two; a larger file is the wrong one.
const SECRET_BYTES: u64 = 64 << 10;

/// Where a secret is; never the secret itself, which is read when it is needed, so that a renewed one needs no restart.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// An environment variable of ours.
    Env(String),
    /// A file: its text without the white space around it.
    File(PathBuf),
}

impl Secret {
    /// Reads it.
    ///
    /// # Errors
    /// A sentence that says where it was looked for and what is wrong there.
    pub fn reveal(&self) -> Result<SecretString, String> {
        let text = match self {
            Secret::Env(name) => std::env::var(name).map_err(|_| format!("{self} is not set"))?,
            Secret::File(path) => {
                let mut text = String::new();
                let meta = std::fs::metadata(path).map_err(|e| format!("{self}: {e}"))?;
                if !meta.is_file() || meta.len() > SECRET_BYTES {
                    return Err(format!("{self} is not a regular file of at most {SECRET_BYTES} bytes"));
                }
                let file = File::open(path).map_err(|e| format!("{self}: {e}"))?;
                file.take(SECRET_BYTES).read_to_string(&mut text).map_err(|e| format!("{self}: {e}"))?;
                text
            }
        };
        match text.trim() {
            "" => Err(format!("{self} is empty")),
            trimmed => Ok(SecretString::from(trimmed)),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "*** ({self})")
    }
}

impl fmt::Display for Secret {
    /// Where it is, for an error message.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::Env(name) => write!(f, "environment variable {name}"),
            Secret::File(path) => write!(f, "file {}", path.display()),
        }
    }
}

/// Takes secrets out of texts that others wrote: an error's body, a program's last words.
#[derive(Default)]
pub(super) struct Redactor(Vec<SecretString>);

impl Redactor {
    pub(super) fn add(&mut self, secret: &SecretString) {
        self.0.push(secret.clone());
        for line in secret.expose_secret().lines().map(str::trim).filter(|l| l.len() >= 4) {
            self.0.push(SecretString::from(line));
        }
    }

    pub(super) fn clean(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.0 {
            text = text.replace(secret.expose_secret(), "***");
        }
        text
    }
}

/// Requests of one run by what came of them; each try counts, that for a token too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// 2xx, read to the end.
    pub ok: u64,
    /// 304.
    pub not_modified: u64,
    /// 3xx, 4xx other than 429; a token or a page's name that had run out; not the API's answer at all.
    pub refused: u64,
    /// 429, another answer with `Retry-After` below 500, or what the API calls throttling.
    pub throttled: u64,
    /// 5xx.
    pub server_error: u64,
    /// No answer, or one that broke off.
    pub failed: u64,
}

impl Requests {
    /// Each number with its word, for a `code` label: every word there is.
    pub const fn words(&self) -> [(&'static str, u64); 6] {
        [
            ("ok", self.ok),
            ("not_modified", self.not_modified),
            ("refused", self.refused),
            ("throttled", self.throttled),
            ("server_error", self.server_error),
            ("failed", self.failed),
        ]
    }
}

/// A file of ours that the source's bytes go into; removed when nobody holds it any more.
pub(super) struct Spool {
    file: File,
    path: Arc<TempPath>,
    len: u64,
}

impl Spool {
    pub(super) fn new() -> Result<Spool, Problem> {
        let (file, path) = tempfile::Builder::new().prefix(".bornright-").tempfile().map_err(|e| Spool::full(&e))?.into_parts();
        Ok(Spool { file, path: Arc::new(path), len: 0 })
    }

    pub(super) fn full(error: &io::Error) -> Problem {
        problem(ProblemKind::Internal, "spool", format!("cannot write to {}: {error}", std::env::temp_dir().display()))
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn path(&self) -> &Arc<TempPath> {
        &self.path
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.file.write_all(bytes).map_err(|e| Spool::full(&e))?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Forgets what was written after `len`: a try that broke off.
    pub(super) fn cut(&mut self, len: u64) -> Result<(), Problem> {
        self.file.set_len(len).and_then(|()| self.file.seek(SeekFrom::Start(len))).map_err(|e| Spool::full(&e))?;
        self.len = len;
        Ok(())
    }

    /// A reader of its own of some of the bytes.
    pub(super) fn part(path: &TempPath, start: u64, len: u64) -> io::Result<io::Take<File>> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(start))?;
        Ok(file.take(len))
    }

    /// Appends a part of another spool.
    pub(super) fn append(&mut self, path: &TempPath, start: u64, len: u64) -> Result<(), Problem> {
        let copied = Spool::part(path, start, len).and_then(|mut part| io::copy(&mut part, &mut self.file)).map_err(|e| Spool::full(&e))?;
        self.len += copied;
        Ok(())
    }
}

pub(super) fn problem(kind: ProblemKind, source: impl ToString, message: impl Into<String>) -> Problem {
    Problem { kind, source: source.to_string(), position: Position::default(), message: message.into() }
}

/// A URL as problems and evidence name it: no query, no user, no fragment; any of them may hold a secret.
pub(super) fn name_of(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Fails for URLs without a host, which have no user either.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

/// How hosts are reached: whom to trust, by which way, with how much patience.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Trust the certificate authorities in this PEM file, and no others. Default: those of the system.
    pub ca_file: Option<PathBuf>,
    /// Go through this proxy, `http://proxy.internal:3128`; without user or password in it. Loopback and link-local
    /// hosts (a cloud's metadata) are reached directly. Default: what `HTTPS_PROXY` and `HTTP_PROXY` say.
    pub proxy_url: Option<String>,
    /// Who we are to the proxy: a name and its password (`proxy_username` with `proxy_password_file` or `…_env`).
    pub proxy_login: Option<(String, Secret)>,
    /// Connect to no private, link-local, loopback or otherwise special address, whatever a name resolves to: for
    /// sources that are outside, so that whoever can change a name in DNS cannot send us inside. Default: false.
    pub refuse_private_addresses: bool,
    /// Default 10s.
    pub connect_timeout: Span,
    /// Longest silence while an answer comes. Default 30s.
    pub read_timeout: Span,
}

impl Default for Network {
    fn default() -> Network {
        Network {
            ca_file: None,
            proxy_url: None,
            proxy_login: None,
            refuse_private_addresses: false,
            connect_timeout: Span(10_000),
            read_timeout: Span(30_000),
        }
    }
}

impl Network {
    /// What is wrong with it: (field, sentence).
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        let mut wrong = Vec::new();
        match self.proxy_url.as_deref().map(Url::parse) {
            None if self.proxy_login.is_some() => wrong.push(("proxy_username", "there is no `proxy_url` for it".to_owned())),
            None => {}
            Some(Err(e)) => wrong.push(("proxy_url", format!("not a URL: {e}; expected `http://proxy.internal:3128`"))),
            Some(Ok(url)) if !matches!(url.scheme(), "http" | "https") || !url.has_host() => {
                wrong.push(("proxy_url", format!("`{}:` is no proxy of ours; expected `http://proxy.internal:3128`", url.scheme())));
            }
            Some(Ok(url)) if !url.username().is_empty() || url.password().is_some() => {
                wrong.push(("proxy_url", "has a user or password in it; use `proxy_username` and `proxy_password_file`".to_owned()));
            }
            Some(Ok(_)) if self.refuse_private_addresses => {
                let message = "with a proxy it is the proxy that looks names up, so the addresses cannot be checked here";
                wrong.push(("refuse_private_addresses", message.to_owned()));
            }
            Some(Ok(_)) => {}
        }
        for (field, zero) in [("connect_timeout", self.connect_timeout == Span(0)), ("read_timeout", self.read_timeout == Span(0))] {
            if zero {
                wrong.push((field, "0 lets nothing through".to_owned()));
            }
        }
        wrong
    }
}

/// How often a request is tried again, and how long is waited before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Further tries of a request after throttling, 5xx, or no answer. Default 5.
    pub retries: u32,
    /// First wait before another try; doubles, with jitter, up to a minute. Default 1s.
    pub delay: Span,
    /// Longest wait that a `Retry-After` may ask for. Default 5m; whoever asks for more is asked again next run.
    pub after_limit: Span,
}

impl Default for Retry {
    fn default() -> Retry {
        Retry { retries: 5, delay: Span::SECOND, after_limit: Span(5 * 60_000) }
    }
}

/// The waits of one request.
pub(super) struct Tries {
    retry: Retry,
    waits: backon::ExponentialBackoff,
}

impl Retry {
    pub(super) fn tries(self) -> Tries {
        let waits = ExponentialBuilder::new()
            .with_min_delay(self.delay.std())
            .with_max_delay(LONGEST_WAIT.max(self.delay.std()))
            .with_max_times(self.retries as usize)
            .with_jitter()
            .build();
        Tries { retry: self, waits }
    }
}

impl Tries {
    /// When to try again after this problem, or why not.
    pub(super) fn again(&mut self, problem: Problem, asked: Option<Duration>, deadline: Instant) -> Result<Instant, Problem> {
        let told = |what: String| Problem { message: format!("{}; {what}", problem.message), ..problem.clone() };
        let Some(wait) = self.waits.next() else {
            return Err(if self.retry.retries == 0 { problem } else { told(format!("{} tries", u64::from(self.retry.retries) + 1)) });
        };
        if let Some(asked) = asked.filter(|&asked| asked > self.retry.after_limit.std()) {
            let asked = Span(u64::try_from(asked.as_millis()).unwrap_or(u64::MAX));
            return Err(told(format!("it asks to wait {asked}, more than retry_after_limit allows")));
        }
        let until = Instant::now() + asked.unwrap_or(wait);
        if until >= deadline {
            return Err(told("no time is left in this run to try again".to_owned()));
        }
        Ok(until)
    }
}

/// A client's connections, certificates and patience.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) network: Network,
    pub(super) cert_and_key: Option<(PathBuf, PathBuf)>,
    /// What is held in memory instead.
    pub(super) identity: Identity,
    pub(super) retry: Retry,
}

/// What is reached without a proxy: this machine, and clouds' metadata, whose tokens are for this machine alone.
const DIRECT: &str = "localhost,127.0.0.0/8,::1,169.254.0.0/16,metadata.google.internal";

/// The proxies that the environment names, as every program reads it, but never for [`DIRECT`].
fn environment_proxies() -> Vec<reqwest::Proxy> {
    let variable = |name: &str| {
        let found = std::env::var(name).ok().or_else(|| std::env::var(name.to_ascii_lowercase()).ok());
        found.map(|v| v.trim().to_owned()).filter(|v| !v.is_empty())
    };
    let direct = variable("NO_PROXY").map_or_else(|| DIRECT.to_owned(), |more| format!("{more},{DIRECT}"));
    let of = |name: &str, make: fn(String) -> reqwest::Result<reqwest::Proxy>| {
        let url = variable(name)?;
        let url = if url.contains("://") { url } else { format!("http://{url}") };
        Some(make(url).ok()?.no_proxy(reqwest::NoProxy::from_string(&direct)))
    };
    // The first that fits is taken, so what is for everything comes last.
    [of("HTTPS_PROXY", reqwest::Proxy::https), of("HTTP_PROXY", reqwest::Proxy::http), of("ALL_PROXY", reqwest::Proxy::all)]
        .into_iter()
        .flatten()
        .collect()
}

/// Certificates that come from elsewhere than files of the operator's: a kubeconfig, a plugin.
#[derive(Clone, Default)]
pub(super) struct Identity {
    /// Trust these authorities (PEM) and no others.
    pub(super) ca: Option<Vec<u8>>,
    /// Our certificate and its key, PEM.
    pub(super) pem: Option<SecretSlice<u8>>,
    /// Trust whoever answers. Only if the operator said so in as many words.
    pub(super) insecure: bool,
}

impl Identity {
    /// Goes into the digest of a way to a host.
    pub(super) fn digest(&self, hash: &mut sha2::Sha256) {
        use sha2::Digest as _;
        for part in [self.ca.as_deref(), self.pem.as_ref().map(ExposeSecret::expose_secret)] {
            hash.update(part.map_or(0, <[u8]>::len).to_le_bytes());
            hash.update(part.unwrap_or_default());
        }
        hash.update([u8::from(self.insecure)]);
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pem = self.pem.as_ref().map(|_| "***");
        f.debug_struct("Identity")
            .field("ca", &self.ca.as_ref().map(Vec::len))
            .field("pem", &pem)
            .field("insecure", &self.insecure)
            .finish()
    }
}

/// A name that leads only to where [`Network::refuse_private_addresses`] forbids.
#[derive(Debug)]
struct Private(String);

impl fmt::Display for Private {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is a private or special address, which refuse_private_addresses refuses", self.0)
    }
}

impl std::error::Error for Private {}

/// Looks names up, and forgets the addresses that are not public: what was checked is what is connected to.
struct PublicOnly;

impl reqwest::dns::Resolve for PublicOnly {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let public: Vec<SocketAddr> = found.iter().copied().filter(|a| is_public(a.ip())).collect();
            match (public.is_empty(), found.first()) {
                (true, Some(first)) => Err(Box::new(Private(format!("{} ({})", name.as_str(), first.ip()))) as Box<_>),
                _ => Ok(Box::new(public.into_iter()) as reqwest::dns::Addrs),
            }
        })
    }
}

/// Whether an address is one of the open Internet.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_multicast()
                || ip.is_documentation()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && (b == 18 || b == 19)))
        }
        IpAddr::V6(ip) => {
            let s = ip.segments();
            let v4 = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
            match s {
                // IPv4 in other clothes: mapped, compatible, NAT64, 6to4.
                [0, 0, 0, 0, 0, 0xffff | 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
                    is_public(v4(high, low))
                }
                // Unique local, link-local, the old site-local, multicast, NAT64 of one's own, documentation.
                [first, second, third, ..] => {
                    !(first & 0xfe00 == 0xfc00
                        || first & 0xffc0 == 0xfe80
                        || first & 0xffc0 == 0xfec0
                        || first & 0xff00 == 0xff00
                        || (first, second, third) == (0x64, 0xff9b, 1)
                        || (first, second) == (0x2001, 0xdb8))
                }
            }
        }
    }
}

/// The URL of the next page, if it is of the place that we were sent to: a link to another would take our credentials
/// there. `current` is what a relative link is relative to.
pub(super) fn same_origin(first: &Url, current: &Url, link: &str) -> Result<Url, String> {
    let mut next = current.join(link).map_err(|e| format!("the next page's link is not a URL: {e}"))?;
    next.set_fragment(None);
    if next.origin() != first.origin() || !next.username().is_empty() || next.password().is_some() {
        return Err(format!(
            "the next page is said to be at {}, not at {}; credentials are not taken to another place",
            name_of(&next),
            first.origin().ascii_serialization()
        ));
    }
    Ok(next)
}

/// A client that keeps its connections and reads its certificates anew when their files change.
pub(super) struct Client {
    settings: Settings,
    built: Mutex<Option<(Vec<Vec<u8>>, reqwest::Client)>>,
}

/// What a request came to.
#[derive(Debug)]
pub(super) enum Answer {
    /// 2xx; the body is in the spool.
    Body(StatusCode, HeaderMap),
    /// 304.
    NotModified,
}

/// One try's end.
enum Failure {
    /// Trying again is no use.
    Final(Problem),
    /// It may be, after a wait that the source may name.
    Passing(Problem, Option<Duration>),
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Failure {
        Failure::Final(problem)
    }
}

impl Client {
    pub(super) fn new(settings: Settings) -> Client {
        Client { settings, built: Mutex::new(None) }
    }

    pub(super) fn retry(&self) -> Retry {
        self.settings.retry
    }

    /// Whether a URL that names an address, not a host, may be asked; names are checked when they are looked up.
    pub(super) fn permit(&self, url: &Url, source: &str) -> Result<(), Problem> {
        let address = url.host_str().map(|h| h.trim_start_matches('[').trim_end_matches(']')).and_then(|h| h.parse::<IpAddr>().ok());
        match address {
            Some(ip) if self.settings.network.refuse_private_addresses && !is_public(ip) => {
                Err(problem(ProblemKind::Unreachable, source, Private(ip.to_string()).to_string()))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn client(&self, source: &str) -> Result<reqwest::Client, Problem> {
        let (s, network) = (&self.settings, &self.settings.network);
        let files: Vec<_> = network.ca_file.iter().chain(s.cert_and_key.iter().flat_map(|(cert, key)| [cert, key])).collect();
        let mut contents = Vec::with_capacity(files.len());
        for file in files {
            let content = std::fs::read(file).map_err(|e| problem(ProblemKind::Internal, source, format!("{}: {e}", file.display())))?;
            contents.push(content);
        }
        let login = match &network.proxy_login {
            Some((user, password)) => {
                let password =
                    password.reveal().map_err(|e| problem(ProblemKind::Internal, source, format!("the proxy's password: {e}")))?;
                contents.push(password.expose_secret().as_bytes().to_vec());
                Some((user, password))
            }
            None => None,
        };
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, client)) = built.as_ref().filter(|(of, _)| *of == contents) {
            return Ok(client.clone());
        }
        // The program's first line does this; a library's user may not have.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("bornright/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            .connect_timeout(network.connect_timeout.std())
            .read_timeout(network.read_timeout.std());
        if network.refuse_private_addresses {
            // A proxy would look names up itself.
            builder = builder.no_proxy().dns_resolver(PublicOnly);
        }
        if let Some(url) = &network.proxy_url {
            let mut proxy = reqwest::Proxy::all(url)
                .map_err(|e| problem(ProblemKind::Internal, source, format!("proxy_url: {}", causes(&e))))?
                .no_proxy(reqwest::NoProxy::from_string(DIRECT));
            if let Some((user, password)) = &login {
                proxy = proxy.basic_auth(user, password.expose_secret());
            }
            builder = builder.proxy(proxy);
        } else if !network.refuse_private_addresses {
            builder = environment_proxies().into_iter().fold(builder.no_proxy(), reqwest::ClientBuilder::proxy);
        }
        let mut rest = contents.iter();
        if let (Some(path), Some(pem)) = (&network.ca_file, network.ca_file.as_ref().and_then(|_| rest.next())) {
            let wrong = |why: &str| problem(ProblemKind::Internal, source, format!("{}: {why}; expected PEM certificates", path.display()));
            let authorities = reqwest::Certificate::from_pem_bundle(pem).map_err(|_| wrong("no certificates can be read"))?;
            if authorities.is_empty() {
                return Err(wrong("there is no certificate in it"));
            }
            builder = builder.tls_certs_only(authorities);
        }
        if let (Some((path, _)), Some(cert), Some(key)) = (&s.cert_and_key, rest.next(), rest.next()) {
            let identity = reqwest::Identity::from_pem(&[cert.as_slice(), b"\n", key.as_slice()].concat()).map_err(|_| {
                let message = format!("{} and its key are not a PEM certificate and an unencrypted PEM key", path.display());
                problem(ProblemKind::Internal, source, message)
            })?;
            builder = builder.identity(identity);
        }
        let given = &s.identity;
        if let Some(pem) = given.ca.as_ref().filter(|_| network.ca_file.is_none()) {
            let authorities = reqwest::Certificate::from_pem_bundle(pem).ok().filter(|a| !a.is_empty());
            let authorities = authorities.ok_or_else(|| {
                problem(ProblemKind::Internal, source, "no certificates can be read in the authority's data; expected PEM certificates")
            })?;
            builder = builder.tls_certs_only(authorities);
        }
        if let Some(pem) = &given.pem {
            let identity = reqwest::Identity::from_pem(pem.expose_secret()).map_err(|_| {
                problem(
                    ProblemKind::Internal,
                    source,
                    "the client certificate and its key are not a PEM certificate and an unencrypted PEM key",
                )
            })?;
            builder = builder.identity(identity);
        }
        if given.insecure {
            builder = builder.tls_danger_accept_invalid_certs(true);
        }
        let client = builder.build().map_err(|e| problem(ProblemKind::Internal, source, format!("no HTTP client: {}", causes(&e))))?;
        *built = Some((contents, client.clone()));
        Ok(client)
    }

    /// Sends what `request` makes until it is answered for good, and puts the body behind what is in `spool`, which is
    /// left as it was if there is none. `request` is called for every try, so that a renewed token is taken.
    pub(super) async fn fetch(
        &self,
        mut request: impl FnMut(&reqwest::Client, &mut Redactor) -> Result<reqwest::Request, Problem>,
        source: &str,
        spool: &mut Spool,
        max_bytes: u64,
        deadline: Instant,
        requests: &mut Requests,
    ) -> Result<Answer, Problem> {
        let mut tries = self.settings.retry.tries();
        let start = spool.len();
        loop {
            let client = self.client(source)?;
            let mut redactor = Redactor::default();
            let request = request(&client, &mut redactor)?;
            self.permit(request.url(), source)?;
            let failure = match timeout_at(deadline, once(&client, request, source, spool, max_bytes, requests)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(failure)) => failure,
                Err(_) => {
                    requests.failed += 1;
                    Failure::Final(problem(ProblemKind::Timeout, source, "the time for this run is up"))
                }
            };
            if spool.len() != start {
                spool.cut(start)?;
            }
            let clean = |p: Problem| Problem { message: redactor.clean(&p.message), ..p };
            let (problem, asked) = match failure {
                Failure::Final(problem) => return Err(clean(problem)),
                Failure::Passing(problem, asked) => (clean(problem), asked),
            };
            tokio::time::sleep_until(tries.again(problem, asked, deadline)?).await;
        }
    }
}

async fn once(
    client: &reqwest::Client,
    request: reqwest::Request,
    source: &str,
    spool: &mut Spool,
    max_bytes: u64,
    requests: &mut Requests,
) -> Result<Answer, Failure> {
    let url = request.url().clone();
    let conditional = request.headers().contains_key(header::IF_NONE_MATCH) || request.headers().contains_key(header::IF_MODIFIED_SINCE);
    let mut response = client.execute(request).await.map_err(|e| {
        requests.failed += 1;
        broken(source, &e, "no answer")
    })?;
    let status = response.status();
    let asked = retry_after(response.headers(), clock::now());
    if status.is_success() {
        let headers = response.headers().clone();
        let start = spool.len();
        if let Some(length) = response.content_length().filter(|&n| n > max_bytes.saturating_sub(start)) {
            requests.refused += 1;
            return Err(too_large(source, max_bytes, &format!("announces {length} bytes")).into());
        }
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    if spool.len().saturating_add(chunk.len() as u64) > max_bytes {
                        requests.refused += 1;
                        return Err(too_large(source, max_bytes, "goes on").into());
                    }
                    spool.write(&chunk)?;
                }
                Ok(None) => break,
                Err(e) => {
                    requests.failed += 1;
                    return Err(broken(source, &e, "the answer broke off"));
                }
            }
        }
        requests.ok += 1;
        return Ok(Answer::Body(status, headers));
    }
    if status == StatusCode::NOT_MODIFIED {
        if conditional {
            requests.not_modified += 1;
            return Ok(Answer::NotModified);
        }
        requests.refused += 1;
        return Err(problem(ProblemKind::Source, source, "answered 304 Not Modified to a request without conditions").into());
    }
    if status.is_redirection() {
        requests.refused += 1;
        let to = response.headers().get(header::LOCATION).and_then(|v| v.to_str().ok()).and_then(|to| url.join(to).ok());
        let to = to.map_or_else(|| "an unknown place".to_owned(), |to| name_of(&to));
        let message = format!("answered {status}, pointing to {to}; redirects are not followed: configure the final URL");
        return Err(problem(ProblemKind::Source, source, message).into());
    }
    let said = match excerpt(&mut response).await {
        said if said.is_empty() => format!("answered {status}"),
        said => format!("answered {status}: {said}"),
    };
    if status.is_server_error() || matches!(status.as_u16(), 408 | 425) {
        requests.server_error += 1;
        return Err(Failure::Passing(problem(ProblemKind::Source, source, said), asked));
    }
    // GitHub answers 403 with Retry-After when it means 429.
    if status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::FORBIDDEN && asked.is_some() {
        requests.throttled += 1;
        return Err(Failure::Passing(problem(ProblemKind::Source, source, said), asked));
    }
    requests.refused += 1;
    let kind = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED => ProblemKind::Denied,
        _ => ProblemKind::Source,
    };
    Err(problem(kind, source, said).into())
}

fn too_large(source: &str, max_bytes: u64, what: &str) -> Problem {
    problem(ProblemKind::Limit, source, format!("the answer {what}, over the {max_bytes} bytes allowed (max_bytes)"))
}

fn broken(source: &str, error: &reqwest::Error, what: &str) -> Failure {
    let (problem, again) = breakage(source, error, what);
    if again { Failure::Passing(problem, None) } else { Failure::Final(problem) }
}

/// A request that came to no answer, and whether it is worth trying again.
pub(super) fn breakage(source: &str, error: &reqwest::Error, what: &str) -> (Problem, bool) {
    let kind = if error.is_timeout() { ProblemKind::Timeout } else { ProblemKind::Unreachable };
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let mut private = false;
    while let Some(inner) = cause {
        private |= inner.is::<Private>();
        cause = inner.source();
    }
    (problem(kind, source, format!("{what}: {}", causes(error))), !error.is_builder() && !private)
}

/// The innermost cause says it best (`connection refused`); reqwest's own text has the URL with its query in it.
fn causes(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    if std::error::Error::source(error).is_none() {
        return if error.is_timeout() { "timed out".to_owned() } else { "the request could not be made".to_owned() };
    }
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// The beginning of an error's text, for a person.
async fn excerpt(response: &mut reqwest::Response) -> String {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = ERROR_BODY - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() >= ERROR_BODY {
            break;
        }
    }
    shorten(&body)
}

/// The beginning of a text, in one line; nothing of a page for people.
pub(super) fn shorten(body: &[u8]) -> String {
    if looks_like_html(body) {
        return String::new();
    }
    let text = String::from_utf8_lossy(&body[..body.len().min(ERROR_BODY)]);
    let one_line = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect::<Vec<_>>().join(" ");
    match one_line.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{}…", &one_line[..end]),
        None => one_line,
    }
}

/// A page for people: a login form, a proxy's apology. XML documents begin otherwise.
pub(super) fn looks_like_html(body: &[u8]) -> bool {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii_start();
    let begins = |with: &[u8]| body.get(..with.len()).is_some_and(|b| b.eq_ignore_ascii_case(with));
    begins(b"<!doctype html") || begins(b"<html") || begins(b"<head") || begins(b"<body")
}

/// `Retry-After`: seconds or a date (RFC 9110 section 10.2.3).
pub(super) fn retry_after(headers: &HeaderMap, now: Moment) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse::<u64>() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => date(text).map(|at| at.since(now).std()),
    }
}

/// An HTTP date, `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(super) fn date(text: &str) -> Option<Moment> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok().map(Moment::from)
}

/// A header's value that is never printed.
pub(super) fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(now, Moment::from_seconds(784_111_777));
        for (text, seconds) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:40:37 GMT", Some(0)),
            ("-5", None),
            ("soon", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, text.parse().unwrap());
            assert_eq!(retry_after(&headers, now), seconds.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn secrets_are_read_late_trimmed_and_never_printed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "s3cr3t-value\n").unwrap();
        let secret = Secret::File(path.clone());
        let revealed = secret.reveal().unwrap();
        assert_eq!(revealed.expose_secret(), "s3cr3t-value");
        let shown = format!("{secret:?} {secret} {revealed:?}");
        assert!(shown.starts_with("*** (file ") && !shown.contains("s3cr3t"), "{shown}");
        std::fs::write(&path, "renewed").unwrap();
        assert_eq!(secret.reveal().unwrap().expose_secret(), "renewed");

        std::fs::write(&path, " \n").unwrap();
        assert!(secret.reveal().unwrap_err().ends_with("token is empty"));
        std::fs::write(&path, vec![b'x'; 70_000]).unwrap();
        assert!(secret.reveal().unwrap_err().ends_with("is not a regular file of at most 65536 bytes"));
        assert_eq!(Secret::Env("BORNRIGHT_NO_SUCH".to_owned()).reveal().unwrap_err(), "environment variable BORNRIGHT_NO_SUCH is not set");
        assert!(Secret::File(dir.path().join("gone")).reveal().is_err());
    }

    #[test]
    fn addresses_that_lead_inside_are_known_in_all_their_clothes() {
        for inside in [
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "127.0.0.1",
            "127.255.0.9",
            "169.254.169.254",
            "0.0.0.0",
            "0.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "192.0.0.8",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "192.0.2.1",
            "::",
            "::1",
            "fc00::1",
            "fdff::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::1",
            "2002:a9fe:a9fe::1",
            "2001:db8::1",
        ] {
            assert!(!is_public(inside.parse().unwrap()), "{inside}");
        }
        for outside in
            ["1.1.1.1", "172.32.0.1", "100.63.0.1", "100.128.0.1", "198.20.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]
        {
            assert!(is_public(outside.parse().unwrap()), "{outside}");
        }
    }

    #[test]
    fn a_proxy_is_named_without_its_password() {
        let with = |url: &str| Network { proxy_url: Some(url.to_owned()), ..Network::default() };
        let fields = |n: Network| n.validate().into_iter().map(|(field, _)| field).collect::<Vec<_>>();
        assert!(fields(with("http://proxy.internal:3128")).is_empty());
        for url in ["proxy:3128", "socks5://proxy", "http://me:word@proxy", "no url"] {
            assert_eq!(fields(with(url)), ["proxy_url"], "{url}");
        }
        assert_eq!(fields(Network { refuse_private_addresses: true, ..with("http://proxy") }), ["refuse_private_addresses"]);
        let login = Some(("me".to_owned(), Secret::Env("X".to_owned())));
        assert_eq!(fields(Network { proxy_login: login, ..Network::default() }), ["proxy_username"]);
    }

    #[test]
    fn html_is_told_from_xml_and_json() {
        for html in ["<!DOCTYPE html><html>", "\u{feff}\n <HTML lang=en>", "<html>"] {
            assert!(looks_like_html(html.as_bytes()), "{html}");
        }
        for other in ["", "{}", "<?xml version=\"1.0\"?><Benchmark/>", "<TestResult/>", "[\"<html>\"]"] {
            assert!(!looks_like_html(other.as_bytes()), "{other}");
        }
    }
}
