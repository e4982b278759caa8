//! Wiz: configuration findings, passing ones too, or issues, by its GraphQL API.
//!
//! There is no public specification. The fields are those that public integrations ask for; if a tenant's schema differs,
//! `query_file` puts another query in the place of ours.

use super::Collected;
use super::client::{Secret, Spool, problem};
use super::oauth;
use super::session::{self, Api, Call, Options, Part, Reply, Run, Session, Verdict, by_status};
use crate::domain::{Problem, ProblemKind};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::time::Instant;

/// Configuration findings or issues of a Wiz tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The tenant's API: `https://api.eu1.app.wiz.io/graphql`. No default.
    pub api_url: String,
    /// Where tokens are given out. Default `https://auth.app.wiz.io/oauth/token`.
    pub auth_url: String,
    /// For whom the token is. Default `wiz-api`.
    pub audience: String,
    /// The service account's id: in the clear, or from a file or the environment.
    pub client_id: ClientId,
    /// Its secret.
    pub client_secret: Secret,
    /// Default `configuration_findings`.
    pub report: Report,
    /// Replaces members of our own `filterBy`, such as `{ severity: [CRITICAL, HIGH] }`.
    pub filter: BTreeMap<String, Value>,
    /// A GraphQL query of your own; it gets `$first`, `$after` and `$filterBy`, and must ask for `pageInfo`.
    pub query_file: Option<PathBuf>,
    /// Rows a page, at most 500. Default 500.
    pub page_size: u32,
    /// Pace, patience and bounds.
    pub options: Options,
}

/// An id that is no secret, but often kept with one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientId {
    /// `client_id`
    Written(String),
    /// `client_id_file` or `client_id_env`
    Kept(Secret),
}

/// What is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Report {
    /// `configuration_findings`: each resource's verdict for each rule, passes too.
    #[default]
    ConfigurationFindings,
    /// `issues`: work items, never a ratio.
    Issues,
}

impl Report {
    /// Both.
    pub const ALL: [Report; 2] = [Report::ConfigurationFindings, Report::Issues];

    /// The word in YAML.
    pub const fn word(self) -> &'static str {
        match self {
            Report::ConfigurationFindings => "configuration_findings",
            Report::Issues => "issues",
        }
    }

    const fn connection(self) -> &'static str {
        match self {
            Report::ConfigurationFindings => "configurationFindings",
            Report::Issues => "issuesV2",
        }
    }

    const fn query(self) -> &'static str {
        match self {
            Report::ConfigurationFindings => FINDINGS,
            Report::Issues => ISSUES,
        }
    }

    /// Passing rows are RESOLVED and rejected ones are waiver debt: without them there is no whole.
    fn filter(self) -> Value {
        match self {
            Report::ConfigurationFindings => {
                json!({ "includeDeleted": false, "status": ["OPEN", "IN_PROGRESS", "RESOLVED", "REJECTED"] })
            }
            Report::Issues => json!({ "status": ["OPEN", "IN_PROGRESS", "REJECTED"] }),
        }
    }
}

const FINDINGS: &str = "query Findings($first: Int, $after: String, $filterBy: ConfigurationFindingFilters) {
  configurationFindings(first: $first, after: $after, filterBy: $filterBy) {
    nodes {
      id result status severity analyzedAt firstSeenAt deleted resolutionReason targetExternalId targetObjectProviderUniqueId
      resource {
        id providerId name type nativeType region
        subscription { id name externalId cloudProvider }
        projects { id name }
      }
      rule { id shortId name }
      securitySubCategories { id title category { id name framework { id name } } }
    }
    pageInfo { hasNextPage endCursor }
  }
}";

const ISSUES: &str = "query Issues($first: Int, $after: String, $filterBy: IssueFilters) {
  issuesV2(first: $first, after: $after, filterBy: $filterBy) {
    nodes {
      id type status severity createdAt updatedAt resolvedAt dueAt statusChangedAt resolutionReason
      sourceRule { __typename ... on Control { id name securitySubCategories { title category { name framework { name } } } } }
      entitySnapshot { id type nativeType name providerId region cloudPlatform subscriptionExternalId subscriptionName }
      projects { id name }
    }
    pageInfo { hasNextPage endCursor }
  }
}";

/// The most that Wiz gives.
pub const MOST_ROWS: u32 = 500;
/// A query is a page of text.
const QUERY_BYTES: u64 = 64 << 10;

impl Config {
    /// With all that has a default.
    pub fn new(api_url: String, client_id: ClientId, client_secret: Secret) -> Config {
        Config {
            api_url,
            auth_url: "https://auth.app.wiz.io/oauth/token".to_owned(),
            audience: "wiz-api".to_owned(),
            client_id,
            client_secret,
            report: Report::default(),
            filter: BTreeMap::new(),
            query_file: None,
            page_size: MOST_ROWS,
            options: Options { requests_per_second: 3, burst: 3, concurrency: 1, ..Options::default() },
        }
    }

    /// What is wrong with it: (field, sentence).
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        let mut wrong = self.options.validate();
        if !(1..=MOST_ROWS).contains(&self.page_size) {
            wrong.push(("page_size", format!("is {}, it must be from 1 to {MOST_ROWS}", self.page_size)));
        }
        wrong
    }

    /// Requests that a run makes at least, and what makes them more.
    pub fn calls(&self) -> (u64, &'static str) {
        (1, "one a page of at most 500 rows")
    }
}

struct Wiz {
    config: Config,
}

/// What stands at the top of a GraphQL answer.
#[derive(Deserialize)]
struct Errors {
    errors: Option<Vec<Value>>,
}

impl Api for Wiz {
    async fn authorize(&self, run: &Run, call: Call, renew: Option<Instant>) -> Result<Call, Problem> {
        let fetch = async {
            let fault = |e: String| problem(ProblemKind::Internal, "wiz credentials", e);
            let secret = self.config.client_secret.reveal().map_err(fault)?;
            let id = match &self.config.client_id {
                ClientId::Written(id) => id.clone(),
                ClientId::Kept(kept) => kept.reveal().map_err(fault)?.expose_secret().to_owned(),
            };
            let form = [
                ("grant_type", "client_credentials"),
                ("audience", self.config.audience.as_str()),
                ("client_id", id.as_str()),
                ("client_secret", secret.expose_secret()),
            ];
            oauth::fetch(run, "wiz token", &Call::post_form(session::at(&self.config.auth_url, "")?, &form).hide(&secret)).await
        };
        let token = run.token("wiz", renew, fetch).await?;
        Ok(call.bearer(&token.value))
    }

    /// An error comes with status 200, its code beside its message.
    fn classify(&self, reply: &Reply) -> Verdict {
        let verdict = by_status(reply);
        let has_errors = || serde_json::from_slice::<Errors>(&reply.body).is_ok_and(|e| e.errors.is_some_and(|e| !e.is_empty()));
        if !matches!(verdict, Verdict::Fine | Verdict::Refused) || !has_errors() {
            return verdict;
        }
        let (code, message) = reply.code().unwrap_or_default();
        let (code, message) = (code.to_ascii_uppercase(), message.to_ascii_lowercase());
        let has = |words: &[&str]| words.iter().any(|w| code.contains(w));
        if has(&["RATE_LIMIT", "TOO_MANY", "THROTTL"]) || message.contains("rate limit") || message.contains("too many requests") {
            Verdict::Throttled
        } else if has(&["UNAUTHENTICATED", "TOKEN_EXPIRED"]) {
            Verdict::TokenExpired
        } else if has(&["FORBIDDEN", "UNAUTHORIZED", "ACCESS_DENIED", "PERMISSION"]) || message.contains("access denied") {
            Verdict::Denied
        } else if has(&["INTERNAL", "TIMEOUT", "UNAVAILABLE"]) || message.contains("internal server error") {
            Verdict::Failing
        } else if message.contains("cursor") {
            Verdict::PageExpired
        } else {
            Verdict::Refused
        }
    }
}

#[derive(Deserialize)]
struct Envelope {
    data: Option<BTreeMap<String, Option<Connection>>>,
}

#[derive(Deserialize)]
struct Connection {
    #[serde(rename = "nodes")]
    _nodes: Vec<IgnoredAny>,
    #[serde(rename = "pageInfo")]
    page: PageInfo,
}

#[derive(Deserialize)]
struct PageInfo {
    #[serde(rename = "hasNextPage")]
    more: bool,
    #[serde(rename = "endCursor")]
    end: Option<String>,
}

/// Brings the findings, or the issues.
pub(super) async fn collect(name: &str, config: &Config, session: &Arc<Session>, deadline: Instant) -> Collected {
    let run = session.run(name, deadline);
    let mut part = Part::new(format!("wiz {}", config.report.word().replace('_', " ")));
    match Spool::new() {
        Ok(mut spool) => {
            if let Err(problem) = pages(&run, config, &part.name, &mut spool).await {
                part.fail(permission(problem, config.report));
            }
            part.keep(spool);
        }
        Err(problem) => part.fail(problem),
    }
    run.finish(part)
}

async fn pages(run: &Run, config: &Config, source: &str, spool: &mut Spool) -> Result<(), Problem> {
    let api = Wiz { config: config.clone() };
    let url = session::at(&config.api_url, "")?;
    let query = match &config.query_file {
        None => config.report.query().to_owned(),
        Some(path) => query(path).map_err(|e| problem(ProblemKind::Internal, source, format!("query_file {}: {e}", path.display())))?,
    };
    let mut filter = config.report.filter();
    for (name, value) in &config.filter {
        filter[name] = value.clone();
    }
    let page = |cursor: Option<&str>| {
        let mut variables = json!({ "first": config.page_size, "filterBy": filter });
        if let Some(cursor) = cursor {
            variables["after"] = cursor.into();
        }
        Ok(Call::post_json(url.clone(), &json!({ "query": query, "variables": variables })))
    };
    let connection = config.report.connection();
    let next = |reply: &Reply| {
        let wrong = |message: String| problem(ProblemKind::Source, source, message);
        let envelope: Envelope = reply.json()?;
        let found = envelope.data.and_then(|mut data| data.remove(connection)).flatten();
        let Some(found) = found else { return Err(wrong(format!("the answer has no `data.{connection}`"))) };
        match (found.page.more, found.page.end.filter(|c| !c.is_empty())) {
            // There may be a cursor on the last page.
            (false, _) => Ok(None),
            (true, Some(cursor)) => Ok(Some(cursor)),
            (true, None) => Err(wrong("the page says that there are more and names none".to_owned())),
        }
    };
    run.walk(&api, source, spool, page, next).await
}

fn query(path: &std::path::Path) -> Result<String, String> {
    let meta = std::fs::metadata(path).map_err(|e| e.to_string())?;
    if meta.len() > QUERY_BYTES {
        return Err(format!("it has {} bytes, more than {QUERY_BYTES}", meta.len()));
    }
    std::fs::read_to_string(path).map_err(|e| e.to_string())
}

/// Adds to a refusal which permission would have been needed.
fn permission(problem: Problem, report: Report) -> Problem {
    let needed = match report {
        Report::ConfigurationFindings => "read:cloud_configuration",
        Report::Issues => "read:issues",
    };
    if problem.kind == ProblemKind::Denied && !problem.source.starts_with("wiz token") {
        let message = format!("{}; the service account needs the scope {needed}", problem.message);
        return Problem { message, ..problem };
    }
    problem
}
