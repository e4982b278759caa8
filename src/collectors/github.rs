//! Branch protection and rulesets of an organisation's repositories, or of repositories that are named.
//!
//! Of each repository the default branch is asked for both kinds of protection: the older one
//! (`branches/{b}/protection`) and the rules in force (`rules/branches/{b}`). Both answers go into the document as they came,
//! an error among them: GitHub says with one status that a branch is not protected and that we may not know, so the words
//! decide, and they are the format's business. What got no answer at all is left out, and the run is partial.

use super::Collected;
use super::client::{Secret, Spool, name_of, problem};
use super::http::next_link;
use super::session::{self, Api, Call, Part, Reply, Run, Session, Token, Verdict};
use crate::clock;
use crate::domain::{Moment, Problem, ProblemKind, Span};
use base64::Engine as _;
use globset::{Glob, GlobSet, GlobSetBuilder};
use reqwest::header::{self, HeaderName};
use reqwest::{StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Repositories of GitHub, or of a GitHub of one's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where the API is. Default `https://api.github.com`; of GitHub Enterprise Server `https://HOST/api/v3`.
    pub api_url: String,
    /// All repositories of this organisation that the token may see.
    pub organisation: Option<String>,
    /// These repositories, `owner/name`.
    pub repositories: Vec<String>,
    /// Not those whose name matches one of these globs. Default: none.
    pub exclude: Vec<String>,
    /// Archived repositories too. Default false: nobody can push to them.
    pub archived: bool,
    /// Forks too. Default true.
    pub forks: bool,
    /// Who we are.
    pub auth: Auth,
    /// How the API is asked. Default: 10 requests a second.
    pub options: session::Options,
}

/// Who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// `token_file` or `token_env`: a personal access token.
    Token(Secret),
    /// `app: { id: 12345, private_key_file: … }`: a GitHub App, which is given a token for an hour at a time.
    App {
        /// The App's id, or its client id.
        id: String,
        /// The installation. Default: the one in the organisation, or in the first repository.
        installation: Option<u64>,
        /// Its private key, PEM, as GitHub gives it.
        key: Secret,
    },
}

impl Config {
    /// The usual settings.
    pub fn new(auth: Auth) -> Config {
        Config {
            api_url: "https://api.github.com".to_owned(),
            organisation: None,
            repositories: Vec::new(),
            exclude: Vec::new(),
            archived: false,
            forks: true,
            auth,
            // The secondary limits are 900 points a minute, of which a GET is one, and 100 requests at once.
            options: session::Options { requests_per_second: 10, burst: 20, ..session::Options::default() },
        }
    }

    /// Requests of a run in which each list is one page, and what makes them more.
    pub fn calls(&self) -> (u64, &'static str) {
        match self.repositories.len() as u64 {
            0 => (4, "each 100 repositories, and 2 for each repository"),
            n => (n.saturating_mul(3), "each further 100 rules of a branch"),
        }
    }

    /// What is wrong with it: (field, sentence).
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        let mut wrong = self.options.validate();
        match Url::parse(&self.api_url) {
            Err(e) => wrong.push(("api_url", format!("not a URL: {e}; expected `https://HOST/api/v3`"))),
            Ok(url) if !session_may_go(&url) => {
                wrong.push(("api_url", "a token is not sent over plain http; expected `https:`".to_owned()))
            }
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                wrong.push(("api_url", "has a user or password in it; use `token_file`".to_owned()));
            }
            Ok(_) => {}
        }
        let name = |n: &str| !n.is_empty() && n.len() <= 100 && n.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        match (&self.organisation, self.repositories.is_empty()) {
            (None, true) => {
                wrong.push(("organisation", "say which repositories: `organisation: acme` or `repositories: [acme/shop]`".to_owned()))
            }
            (Some(_), false) => wrong.push(("repositories", "`organisation` has them all; give one or the other".to_owned())),
            (Some(org), true) if !name(org) => wrong.push(("organisation", format!("`{org}` is no organisation's name"))),
            _ => {}
        }
        for repository in &self.repositories {
            if !repository.split_once('/').is_some_and(|(owner, repo)| name(owner) && name(repo)) {
                wrong.push(("repositories", format!("`{repository}` is no repository; expected `owner/name`")));
            }
        }
        for glob in &self.exclude {
            if let Err(e) = Glob::new(glob) {
                wrong.push(("exclude", format!("`{glob}` is not a glob: {e}")));
            }
        }
        if let Auth::App { id, .. } = &self.auth
            && (id.is_empty() || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.'))
        {
            wrong.push(("app", format!("`{id}` is no App's id")));
        }
        wrong
    }

    fn excluded(&self) -> GlobSet {
        let mut set = GlobSetBuilder::new();
        for glob in self.exclude.iter().filter_map(|g| Glob::new(g).ok()) {
            set.add(glob);
        }
        set.build().unwrap_or_else(|_| GlobSet::empty())
    }
}

/// Whether a token may be sent there.
fn session_may_go(url: &Url) -> bool {
    let local = url.host_str().is_some_and(|h| h == "localhost" || h.starts_with("127.") || h == "[::1]");
    url.scheme() == "https" || url.scheme() == "http" && local
}

const VERSION: &str = "2022-11-28";
/// Rules of one branch, and repositories, a page.
const PAGE: &str = "100";
/// A secondary limit that does not say how long to wait: GitHub's own advice is a minute at least.
const MINUTE: Duration = Duration::from_secs(60);
/// A JWT may live ten minutes; clocks differ.
const JWT_LIFE: i64 = 540;
const JWT_BACK: i64 = 60;

/// GitHub's API.
struct Hub {
    base: Url,
    auth: Auth,
    /// Where an App's installation is looked for.
    home: String,
    /// Whether 403 and 404 are answers, whose words say what they mean.
    errors_are_answers: bool,
}

impl Api for Hub {
    async fn authorize(&self, run: &Run, call: Call, renew: Option<Instant>) -> Result<Call, Problem> {
        let call = dress(call);
        match &self.auth {
            Auth::Token(secret) => {
                let token = secret.reveal().map_err(|e| problem(ProblemKind::Internal, "token", e))?;
                Ok(call.bearer(&token))
            }
            Auth::App { id, installation, key } => {
                let fetch = self.installation_token(run, id, *installation, key);
                let token = run.token("installation token", renew, fetch).await?;
                Ok(call.bearer(&token.value))
            }
        }
    }

    fn classify(&self, reply: &Reply) -> Verdict {
        classify(reply, self.errors_are_answers)
    }

    fn wait(&self, reply: &Reply, now: Moment) -> Option<Duration> {
        wait(reply, now)
    }
}

fn dress(call: Call) -> Call {
    call.header(header::ACCEPT, "application/vnd.github+json").header(HeaderName::from_static("x-github-api-version"), VERSION)
}

fn number(reply: &Reply, name: &str) -> Option<i64> {
    reply.headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// Whether this is one of GitHub's limits, which come as 403 or 429.
fn is_limit(reply: &Reply) -> bool {
    if !matches!(reply.status.as_u16(), 403 | 429) {
        return false;
    }
    let text = String::from_utf8_lossy(&reply.body).to_ascii_lowercase();
    reply.status == StatusCode::TOO_MANY_REQUESTS
        || reply.headers.contains_key(header::RETRY_AFTER)
        || number(reply, "x-ratelimit-remaining") == Some(0)
        || text.contains("secondary rate limit")
        || text.contains("api rate limit exceeded")
        || text.contains("abuse detection")
}

fn classify(reply: &Reply, errors_are_answers: bool) -> Verdict {
    if is_limit(reply) {
        return Verdict::Throttled;
    }
    let worded = serde_json::from_slice::<Worded>(&reply.body).is_ok();
    match reply.status.as_u16() {
        403 | 404 | 451 if errors_are_answers && worded => Verdict::Fine,
        _ => session::by_status(reply),
    }
}

/// An error in GitHub's words.
#[derive(Deserialize)]
struct Worded {
    #[serde(rename = "message")]
    _message: String,
}

fn wait(reply: &Reply, now: Moment) -> Option<Duration> {
    if let Some(asked) = super::client::retry_after(&reply.headers, now) {
        return Some(asked);
    }
    if !is_limit(reply) {
        return None;
    }
    if number(reply, "x-ratelimit-remaining") == Some(0)
        && let Some(reset) = number(reply, "x-ratelimit-reset")
    {
        // A second more, since the instant is told in whole seconds.
        return Some(Moment::from_seconds(reset.saturating_add(1)).since(now).std());
    }
    Some(MINUTE)
}

/// Asked with the App's own signature, for the installation and its token.
struct Signed {
    jwt: SecretString,
}

impl Api for Signed {
    async fn authorize(&self, _: &Run, call: Call, _: Option<Instant>) -> Result<Call, Problem> {
        Ok(dress(call).bearer(&self.jwt))
    }

    fn classify(&self, reply: &Reply) -> Verdict {
        match classify(reply, false) {
            // Another signature would be no better.
            Verdict::TokenExpired => Verdict::Denied,
            verdict => verdict,
        }
    }

    fn wait(&self, reply: &Reply, now: Moment) -> Option<Duration> {
        wait(reply, now)
    }
}

#[derive(Deserialize)]
struct Installation {
    id: u64,
}

#[derive(Deserialize)]
struct Granted {
    token: String,
    #[serde(default)]
    expires_at: Option<String>,
}

impl Hub {
    fn url(&self, path: &str) -> Result<Url, Problem> {
        session::at(self.base.as_str(), path)
    }

    async fn installation_token(&self, run: &Run, id: &str, installation: Option<u64>, key: &Secret) -> Result<Token, Problem> {
        let pem = key.reveal().map_err(|e| problem(ProblemKind::Internal, "private key", e))?;
        let now = clock::now();
        let jwt = jwt(id, &pem, now).map_err(|e| problem(ProblemKind::Internal, key, e))?;
        let signed = Signed { jwt };
        let installation = match installation {
            Some(id) => id,
            None => {
                let url = self.url(&format!("/{}/installation", self.home))?;
                let found: Installation = run.send(&signed, &name_of(&url), &Call::get(url.clone())).await?.json()?;
                found.id
            }
        };
        let url = self.url(&format!("/app/installations/{installation}/access_tokens"))?;
        let reply = run.send(&signed, &name_of(&url), &Call::post_json(url.clone(), &serde_json::json!({}))).await?;
        let granted: Granted = reply.json().map_err(|_| problem(ProblemKind::Source, name_of(&url), "the answer has no token"))?;
        let expires = granted.expires_at.and_then(|t| t.parse::<jiff::Timestamp>().ok()).map(Moment::from);
        let life = expires.map_or(Span::HOUR, |at| at.since(now));
        Ok(Token::new(SecretString::from(granted.token), life.std()))
    }

    /// All pages of a list.
    async fn pages<T>(&self, run: &Run, first: Url, mut each: impl FnMut(&Reply) -> Result<Vec<T>, Problem>) -> Result<Pages<T>, Problem> {
        let source = name_of(&first);
        let mut all = Vec::new();
        let mut url = first.clone();
        let mut visited = std::collections::HashSet::new();
        loop {
            if !visited.insert(url.to_string()) {
                return Err(problem(
                    ProblemKind::Source,
                    source,
                    format!("page {} is one that we had before: the pages go in a circle", visited.len() + 1),
                ));
            }
            if visited.len() > run.options().max_pages as usize {
                return Err(problem(ProblemKind::Limit, source, format!("more than {} pages (max_pages)", run.options().max_pages)));
            }
            let reply = run.send(self, &source, &Call::get(url.clone())).await?;
            if !reply.status.is_success() {
                return Ok(Pages::Refused(reply));
            }
            all.extend(each(&reply)?);
            let next = reply.headers.get_all(header::LINK).iter().filter_map(|v| v.to_str().ok()).find_map(next_link);
            match next {
                Some(next) => url = run.link(&source, &first, next)?,
                None => return Ok(Pages::All(all)),
            }
        }
    }
}

enum Pages<T> {
    All(Vec<T>),
    Refused(Reply),
}

/// What signs for an App (RS256).
fn jwt(id: &str, pem: &SecretString, now: Moment) -> Result<SecretString, String> {
    const WRONG: &str = "is no RSA private key in PEM; expected the file that GitHub gave for the App";
    let mut body = String::new();
    let mut label = None;
    for line in pem.expose_secret().lines().map(str::trim) {
        match (line.strip_prefix("-----BEGIN "), line.starts_with("-----END ")) {
            (Some(rest), _) => label = rest.strip_suffix("-----"),
            (_, true) => break,
            _ if label.is_some() => body.push_str(line),
            _ => {}
        }
    }
    let der = base64::engine::general_purpose::STANDARD.decode(body).map_err(|_| WRONG.to_owned())?;
    let key = match label {
        Some("RSA PRIVATE KEY") => ring::signature::RsaKeyPair::from_der(&der),
        Some("PRIVATE KEY") => ring::signature::RsaKeyPair::from_pkcs8(&der),
        _ => return Err(WRONG.to_owned()),
    };
    let key = key.map_err(|_| WRONG.to_owned())?;
    let seconds = now.0.div_euclid(1000);
    let claims = serde_json::json!({"iat": seconds - JWT_BACK, "exp": seconds + JWT_LIFE, "iss": id});
    let encode = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    let text = format!("{}.{}", encode(br#"{"alg":"RS256","typ":"JWT"}"#), encode(claims.to_string().as_bytes()));
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&ring::signature::RSA_PKCS1_SHA256, &ring::rand::SystemRandom::new(), text.as_bytes(), &mut signature)
        .map_err(|_| "cannot be signed with".to_owned())?;
    Ok(SecretString::from(format!("{text}.{}", encode(&signature))))
}

#[derive(Clone, Deserialize)]
struct Repository {
    full_name: String,
    #[serde(default)]
    default_branch: Option<String>,
    #[serde(default)]
    archived: bool,
    #[serde(default)]
    disabled: bool,
    #[serde(default)]
    fork: bool,
}

#[derive(Deserialize)]
struct Organisation {
    #[serde(default)]
    public_repos: Option<u64>,
    /// Only told to those who may know.
    #[serde(default)]
    total_private_repos: Option<u64>,
}

/// One line of the document.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(rename = "apiVersion")]
    version: &'static str,
    kind: &'static str,
    repository: &'a str,
    branch: &'a str,
    protection: &'a RawValue,
    rules: &'a RawValue,
}

/// Brings what protects each repository's default branch.
pub(super) async fn collect(name: &str, config: &Config, session: &Arc<Session>, deadline: Instant) -> Collected {
    let run = session.run(name, deadline);
    let part = whole(&run, config).await;
    run.finish(part)
}

async fn whole(run: &Run, config: &Config) -> Part {
    let mut part = Part::new("github");
    let base = match Url::parse(&config.api_url) {
        Ok(base) => base,
        Err(e) => {
            part.fail(problem(ProblemKind::Internal, "api_url", format!("not a URL: {e}")));
            return part;
        }
    };
    let home = match (&config.organisation, config.repositories.first()) {
        (Some(organisation), _) => format!("orgs/{organisation}"),
        (None, first) => format!("repos/{}", first.map_or("", String::as_str)),
    };
    let hub = |errors_are_answers| Arc::new(Hub { base: base.clone(), auth: config.auth.clone(), home: home.clone(), errors_are_answers });
    let strict = hub(false);
    let mut repositories = match &config.organisation {
        Some(organisation) => match of_organisation(run, &strict, organisation, &mut part).await {
            Ok(found) => found,
            Err(problem) => {
                part.fail(problem);
                return part;
            }
        },
        None => {
            let mut found = Vec::new();
            for repository in &config.repositories {
                match named(run, &strict, repository).await {
                    Ok(one) => found.push(one),
                    Err(problem) => part.fail(problem),
                }
            }
            found
        }
    };
    let excluded = config.excluded();
    repositories.retain(|r| {
        let short = r.full_name.split('/').next_back().unwrap_or_default();
        (config.archived || !r.archived)
            && !r.disabled
            && (config.forks || !r.fork)
            && !excluded.is_match(&r.full_name)
            && !excluded.is_match(short)
    });
    if repositories.is_empty() && part.complete {
        part.fail(problem(ProblemKind::Empty, name_of(&base), "there is not one repository to look at; does the token see any?"));
    }
    // Each task writes one document: a thousand small files would be a thousand pieces of evidence.
    let width = run.options().concurrency.max(1) as usize;
    let mut shares: Vec<Vec<Repository>> = vec![Vec::new(); width.min(repositories.len())];
    for (i, repository) in repositories.into_iter().enumerate() {
        shares[i % width].push(repository);
    }
    let lenient = hub(true);
    let parts = run
        .parts(shares, |run, share| {
            let hub = Arc::clone(&lenient);
            async move { branches(&run, &hub, share).await }
        })
        .await;
    part.add(parts);
    part
}

async fn of_organisation(run: &Run, hub: &Hub, organisation: &str, part: &mut Part) -> Result<Vec<Repository>, Problem> {
    let url = hub.url(&format!("/orgs/{organisation}"))?;
    let about: Organisation = run.send(hub, &name_of(&url), &Call::get(url.clone())).await?.json()?;
    let mut url = hub.url(&format!("/orgs/{organisation}/repos"))?;
    url.query_pairs_mut().append_pair("per_page", PAGE).append_pair("type", "all").append_pair("sort", "full_name");
    let source = name_of(&url);
    let mut found = match hub.pages(run, url, |reply| reply.json::<Vec<Repository>>()).await? {
        Pages::All(found) => found,
        Pages::Refused(reply) => return Err(problem(ProblemKind::Source, source, format!("answered {}", reply.status))),
    };
    // A list that moves between two pages may name one twice.
    found.sort_by(|a, b| a.full_name.cmp(&b.full_name));
    found.dedup_by(|a, b| a.full_name == b.full_name);
    let there = about.public_repos.unwrap_or(0) + about.total_private_repos.unwrap_or(0);
    if there > found.len() as u64 {
        let message = format!(
            "organisation {organisation} has {there} repositories, {} are listed; help: let the token see all of them",
            found.len()
        );
        part.fail(problem(ProblemKind::Mismatch, source, message));
    }
    Ok(found)
}

async fn named(run: &Run, hub: &Hub, repository: &str) -> Result<Repository, Problem> {
    let url = hub.url(&format!("/repos/{repository}"))?;
    let source = name_of(&url);
    let reply = run.send(hub, &source, &Call::get(url)).await.map_err(|p| match p.kind {
        ProblemKind::Source if p.message.contains("404") => {
            let message = format!("{}; GitHub says so too of a repository that the token may not see", p.message);
            Problem { kind: ProblemKind::Denied, message, ..p }
        }
        _ => p,
    })?;
    reply.json()
}

/// Asks for what protects these repositories' default branches.
async fn branches(run: &Run, hub: &Hub, repositories: Vec<Repository>) -> Part {
    let mut part = Part::new("github branches");
    let mut spool = match Spool::new() {
        Ok(spool) => spool,
        Err(problem) => {
            part.fail(problem);
            return part;
        }
    };
    for repository in repositories {
        let written = match branch(run, hub, &repository).await {
            Ok(line) => spool.write(&line),
            Err(problem) => Err(problem),
        };
        if let Err(problem) = written {
            part.fail(problem);
        }
    }
    part.keep(spool);
    part
}

async fn branch(run: &Run, hub: &Hub, repository: &Repository) -> Result<Vec<u8>, Problem> {
    let name = &repository.full_name;
    let wrong = |e: serde_json::Error| problem(ProblemKind::Internal, "github", e.to_string());
    let Some(branch) = repository.default_branch.as_deref().filter(|b| !b.is_empty()) else {
        return Err(problem(ProblemKind::Incomplete, name, "has no default branch"));
    };
    // A branch may have slashes in its name; in a path each part is escaped, as GitHub asks for.
    let mut url = hub.url(&format!("/repos/{name}/branches"))?;
    url.path_segments_mut().map_err(|()| problem(ProblemKind::Internal, "api_url", "has no path"))?.push(branch).push("protection");
    let reply = run.send(hub, &name_of(&url), &Call::get(url.clone())).await?;
    let protection: Box<RawValue> = serde_json::from_slice(&reply.body).map_err(wrong)?;
    let mut url = hub.url(&format!("/repos/{name}/rules/branches"))?;
    url.path_segments_mut().map_err(|()| problem(ProblemKind::Internal, "api_url", "has no path"))?.push(branch);
    url.query_pairs_mut().append_pair("per_page", PAGE);
    let rules = match hub.pages(run, url, |reply| reply.json::<Vec<Box<RawValue>>>()).await? {
        Pages::All(rules) => serde_json::value::to_raw_value(&rules).map_err(wrong)?,
        Pages::Refused(reply) => serde_json::from_slice(&reply.body).map_err(wrong)?,
    };
    let line = Line { version: "bornright/v1", kind: "GitHubBranch", repository: name, branch, protection: &protection, rules: &rules };
    let mut bytes = serde_json::to_vec(&line).map_err(wrong)?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_key_is_told_without_its_text() {
        let now = Moment::from_seconds(1_700_000_000);
        for text in [
            "s3cret",
            "-----BEGIN RSA PRIVATE KEY-----\ns3cret\n-----END RSA PRIVATE KEY-----",
            "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END",
        ] {
            let said = jwt("1", &SecretString::from(text.to_owned()), now).err().unwrap_or_default();
            assert_eq!(said, "is no RSA private key in PEM; expected the file that GitHub gave for the App");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let good = Config { organisation: Some("acme".to_owned()), ..Config::new(Auth::Token(Secret::Env("T".to_owned()))) };
        assert_eq!(good.validate(), []);
        let fields = |c: Config| c.validate().into_iter().map(|(f, _)| f).collect::<Vec<_>>();
        assert_eq!(fields(Config { organisation: None, ..good.clone() }), ["organisation"]);
        assert_eq!(fields(Config { repositories: vec!["a/b".to_owned()], ..good.clone() }), ["repositories"]);
        assert_eq!(
            fields(Config { organisation: None, repositories: vec!["b".to_owned(), "a/b/c".to_owned()], ..good.clone() }),
            ["repositories"; 2]
        );
        assert_eq!(fields(Config { organisation: Some("a/b".to_owned()), ..good.clone() }), ["organisation"]);
        assert_eq!(fields(Config { exclude: vec!["[".to_owned()], ..good.clone() }), ["exclude"]);
        assert_eq!(fields(Config { api_url: "http://ghe.internal/api/v3".to_owned(), ..good.clone() }), ["api_url"]);
        assert_eq!(fields(Config { api_url: "http://127.0.0.1:1/api/v3".to_owned(), ..good }), [""; 0]);
    }
}
