//! Fugue: of each environment the newest scan that succeeded, its compliance by rules.
//!
//! The evidence is as old as that scan: a scan that fails every day makes it no younger. Specification: Fugue's swagger
//! file; the product went into Snyk, whose API still answers for those who have it.

use super::Collected;
use super::client::{Secret, name_of, problem};
use super::session::{self, Api, Call, Part, Reply, Run, Session};
use crate::domain::{Moment, Problem, ProblemKind};
use base64::Engine as _;
use reqwest::Url;
use reqwest::header;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use tokio::time::Instant;

/// Environments of one Fugue tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where the API is. Default `https://api.riskmanager.fugue.co/v0`.
    pub api_url: String,
    /// `client_id`; in the clear.
    pub client_id: String,
    /// `client_secret_file` or `client_secret_env`.
    pub client_secret: Secret,
    /// Only environments with these names or ids. Default: all.
    pub environments: Vec<String>,
    /// Only these compliance families, such as `CIS-AWS_v1.3.0`. Default: all.
    pub families: Vec<String>,
    /// How the API is asked.
    pub options: session::Options,
}

impl Config {
    /// The usual settings.
    pub fn new(client_id: String, client_secret: Secret) -> Config {
        Config {
            api_url: "https://api.riskmanager.fugue.co/v0".to_owned(),
            client_id,
            client_secret,
            environments: Vec::new(),
            families: Vec::new(),
            options: session::Options::default(),
        }
    }

    /// Requests of a run in which each list is one page, and what makes them more.
    pub fn calls(&self) -> (u64, &'static str) {
        let environments = (self.environments.len() as u64).max(1);
        (1 + environments.saturating_mul(3), "each 100 environments, 3 for each environment, and each 100 of its rules")
    }

    /// What is wrong with it: (field, sentence).
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        let mut wrong = self.options.validate();
        match Url::parse(&self.api_url) {
            Err(e) => wrong.push(("api_url", format!("not a URL: {e}; expected `https://api.riskmanager.fugue.co/v0`"))),
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                wrong.push(("api_url", "has a user or password in it; use `client_secret_file`".to_owned()));
            }
            Ok(url) => {
                let local = url.host_str().is_some_and(|h| h == "localhost" || h.starts_with("127.") || h == "[::1]");
                if url.scheme() != "https" && !(url.scheme() == "http" && local) {
                    wrong.push(("api_url", "a secret is not sent over plain http; expected `https:`".to_owned()));
                }
            }
        }
        if self.client_id.is_empty() || self.client_id.contains(':') {
            wrong.push(("client_id", "must be there, without a colon".to_owned()));
        }
        wrong
    }
}

/// Items a page: the most that Fugue gives.
const PAGE: &str = "100";

struct Fugue {
    base: String,
    client_id: String,
    secret: Secret,
}

impl Api for Fugue {
    async fn authorize(&self, _: &Run, call: Call, _: Option<Instant>) -> Result<Call, Problem> {
        let secret = self.secret.reveal().map_err(|e| problem(ProblemKind::Internal, "client_secret", e))?;
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", self.client_id, secret.expose_secret()));
        Ok(call.secret(header::AUTHORIZATION, &format!("Basic {pair}"), &secret).hide(&SecretString::from(pair.clone())))
    }
}

#[derive(Deserialize)]
struct Page<T> {
    #[serde(default = "Vec::new")]
    items: Vec<T>,
    #[serde(default)]
    is_truncated: bool,
    #[serde(default)]
    next_offset: Option<u64>,
}

#[derive(Clone, Deserialize)]
struct Environment {
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    provider: Option<String>,
    #[serde(default)]
    scan_status: Option<String>,
    #[serde(default)]
    provider_options: Option<serde_json::Value>,
}

impl Environment {
    fn named(&self) -> &str {
        if self.name.is_empty() { &self.id } else { &self.name }
    }

    /// Where its resources live, in the words of the other formats.
    fn fields(&self) -> Vec<(String, String)> {
        let option = |pointer: &str| self.provider_options.as_ref()?.pointer(pointer)?.as_str().filter(|t| !t.is_empty());
        let role = option("/aws/role_arn").or_else(|| option("/aws_govcloud/role_arn"));
        let account = role.and_then(|arn| arn.split(':').nth(4)).filter(|a| !a.is_empty());
        let provider = self.provider.as_deref().map(|p| match p {
            "aws_govcloud" => "aws",
            "google" => "gcp",
            other => other,
        });
        [
            ("environment", Some(self.named())),
            ("environment_id", Some(self.id.as_str())),
            ("provider", provider),
            ("account", account),
            ("subscription", option("/azure/subscription_id")),
            ("project", option("/google/project_id")),
            ("repository", option("/repository/url")),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .collect()
    }
}

#[derive(Deserialize)]
struct Scan {
    id: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    finished_at: Option<i64>,
    #[serde(default)]
    resource_type_errors: Option<Vec<TypeError>>,
}

#[derive(Deserialize)]
struct TypeError {
    #[serde(default)]
    resource_type: String,
    #[serde(default)]
    error_message: String,
}

impl Fugue {
    fn url(&self, path: &str, query: &[(&str, &str)]) -> Result<Url, Problem> {
        let mut url = session::at(&self.base, path)?;
        url.query_pairs_mut().extend_pairs(query);
        Ok(url)
    }

    async fn all<T: DeserializeOwned>(&self, run: &Run, path: &str, query: &[(&str, &str)]) -> Result<Vec<T>, Problem> {
        let mut all = Vec::new();
        let mut offset = 0;
        loop {
            let at = offset.to_string();
            let url = self.url(path, &[query, &[("max_items", PAGE), ("offset", &at)]].concat())?;
            let reply = run.send(self, &name_of(&url), &Call::get(url.clone())).await?;
            let page: Page<T> = reply.json()?;
            all.extend(page.items);
            match next(page.is_truncated, page.next_offset, offset).map_err(|e| problem(ProblemKind::Source, name_of(&url), e))? {
                Some(next) => offset = next,
                None => return Ok(all),
            }
        }
    }
}

/// The next page's offset, if there is one; it can only grow.
fn next(is_truncated: bool, next_offset: Option<u64>, offset: u64) -> Result<Option<u64>, String> {
    match next_offset {
        _ if !is_truncated => Ok(None),
        Some(next) if next > offset => Ok(Some(next)),
        Some(next) => Err(format!("the page at {offset} says that the next is at {next}: the pages do not go on")),
        None => Err(format!("the page at {offset} says that there are more, not where")),
    }
}

/// Brings every environment's newest scan.
pub(super) async fn collect(name: &str, config: &Config, session: &Arc<Session>, deadline: Instant) -> Collected {
    let run = session.run(name, deadline);
    let mut part = Part::new("fugue");
    let base = config.api_url.trim_end_matches('/').to_owned();
    let api = Arc::new(Fugue { base, client_id: config.client_id.clone(), secret: config.client_secret.clone() });
    let mut environments: Vec<Environment> = match api.all(&run, "/environments", &[]).await {
        Ok(found) => found,
        Err(problem) => {
            part.fail(problem);
            return run.finish(part);
        }
    };
    let is = |e: &Environment, wanted: &String| *wanted == e.name || *wanted == e.id;
    for wanted in &config.environments {
        if !environments.iter().any(|e| is(e, wanted)) {
            part.fail(problem(ProblemKind::Source, "fugue", format!("there is no environment `{wanted}` that this client may see")));
        }
    }
    environments.retain(|e| config.environments.is_empty() || config.environments.iter().any(|w| is(e, w)));
    environments.sort_by(|a, b| a.id.cmp(&b.id));
    environments.dedup_by(|a, b| a.id == b.id);
    if environments.is_empty() && part.complete {
        part.fail(problem(ProblemKind::Empty, "fugue", "there is not one environment that this client may see"));
    }
    let families = Arc::new(config.families.clone());
    let parts = run
        .parts(environments, |run, environment| {
            let (api, families) = (Arc::clone(&api), Arc::clone(&families));
            async move { of(&run, &api, &environment, &families).await }
        })
        .await;
    part.add(parts);
    run.finish(part)
}

async fn of(run: &Run, api: &Fugue, environment: &Environment, families: &[String]) -> Part {
    let mut part = Part::new(format!("fugue environment {}", environment.named()));
    if let Err(problem) = bring(run, api, environment, families, &mut part).await {
        part.fail(problem);
    }
    part
}

async fn bring(run: &Run, api: &Fugue, environment: &Environment, families: &[String], part: &mut Part) -> Result<(), Problem> {
    let query = [
        ("environment_id", environment.id.as_str()),
        ("status", "SUCCESS"),
        ("order_by", "finished_at"),
        ("order_direction", "desc"),
        ("max_items", "1"),
    ];
    let url = api.url("/scans", &query)?;
    let scans: Page<Scan> = run.send(api, &name_of(&url), &Call::get(url.clone())).await?.json()?;
    // What the filter lets through is looked at again: a scan that failed is no evidence, whatever was asked for.
    let Some(newest) = scans.items.into_iter().filter(|s| s.status == "SUCCESS").max_by_key(|s| s.finished_at) else {
        let status = environment.scan_status.as_deref().unwrap_or("unknown");
        return Err(problem(ProblemKind::Empty, &part.name, format!("not one scan succeeded; the last is {status}")));
    };
    if matches!(environment.scan_status.as_deref(), Some("ERROR" | "CANCELED")) {
        let message = "its last scan did not succeed; the evidence is that of the last that did, and as old";
        part.problems.push(problem(ProblemKind::ScannerError, &part.name, message));
    }
    let url = api.url(&format!("/scans/{}", newest.id), &[])?;
    let scan: Scan = run.send(api, &name_of(&url), &Call::get(url.clone())).await?.json()?;
    for error in scan.resource_type_errors.iter().flatten().take(50) {
        let message = format!("resources of type {} could not be surveyed: {}", short(&error.resource_type), short(&error.error_message));
        part.fail(problem(ProblemKind::ScannerError, &part.name, message));
    }
    part.fields = environment.fields();
    let path = format!("/scans/{}/compliance_by_rules", newest.id);
    let page = |cursor: Option<&str>| {
        let mut query = vec![("max_items", PAGE), ("offset", cursor.unwrap_or("0"))];
        query.extend(families.iter().map(|f| ("family", f.as_str())));
        Ok(Call::get(api.url(&path, &query)?))
    };
    let name = part.name.clone();
    let mut offset = 0;
    let following = |reply: &Reply| {
        let page: Page<serde::de::IgnoredAny> = reply.json()?;
        let following = next(page.is_truncated, page.next_offset, offset).map_err(|e| problem(ProblemKind::Source, &name, e))?;
        offset = following.unwrap_or(0);
        Ok(following.map(|n| n.to_string()))
    };
    let before = part.documents.len();
    part.walk(run, api, page, following).await;
    for document in &mut part.documents[before..] {
        document.modified = newest.finished_at.filter(|at| *at > 0).map(Moment::from_seconds);
    }
    Ok(())
}

fn short(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_go_on_or_end() {
        assert_eq!(next(false, Some(100), 0), Ok(None));
        assert_eq!(next(true, Some(100), 0), Ok(Some(100)));
        assert_eq!(next(true, Some(100), 100), Err("the page at 100 says that the next is at 100: the pages do not go on".to_owned()));
        assert_eq!(next(true, None, 100), Err("the page at 100 says that there are more, not where".to_owned()));
    }

    #[test]
    fn an_environment_says_where_its_resources_live() {
        let fields = |text: &str| {
            let environment: Environment = serde_json::from_str(text).unwrap();
            environment.fields().into_iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            fields(
                r#"{"id":"e1","name":"prod","provider":"aws","provider_options":{"aws":{"role_arn":"arn:aws:iam::000000000012:role/Fugue"}}}"#
            ),
            "environment=prod environment_id=e1 provider=aws account=000000000012"
        );
        assert_eq!(
            fields(r#"{"id":"e2","provider":"azure","provider_options":{"azure":{"subscription_id":"s"}}}"#),
            "environment=e2 environment_id=e2 provider=azure subscription=s"
        );
        assert_eq!(
            fields(r#"{"id":"e3","provider":"google","provider_options":{"google":{"project_id":"p"}}}"#),
            "environment=e3 environment_id=e3 provider=gcp project=p"
        );
    }
}
