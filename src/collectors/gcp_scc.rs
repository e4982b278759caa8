//! Google Security Command Center: findings that are active now, and if wished which detectors are on.
//!
//! It lists what is wrong and never what complies. Whether silence about a resource means that it complies can be said
//! only with a population, and only of detectors known to run: that is what `detectors` is for.

use super::Collected;
use super::client::{Spool, problem};
use super::google::Credentials;
use super::session::{self, Api, Call, Options, Part, Reply, Run, Session, Verdict, by_status};
use crate::domain::{Problem, ProblemKind};
use reqwest::Url;
use reqwest::header::HeaderName;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::sync::Arc;
use tokio::time::Instant;

/// Findings of Security Command Center (API v2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `organizations/123`, `folders/456`, `projects/name`. At least one.
    pub parents: Vec<String>,
    /// Where findings are kept, for those who chose data residency: `global`, `eu`, `us`. Default `global`.
    pub locations: Vec<String>,
    /// Which findings. Default: active misconfigurations, posture violations, and errors of the service itself; muted
    /// ones too, so that muting is reported and not hidden.
    pub filter: String,
    /// Ask the management API which detectors of Security Health Analytics are on. Default false.
    pub detectors: bool,
    /// The project that pays for the requests, as `x-goog-user-project`. Default: none.
    pub quota_project: Option<String>,
    /// Who we are.
    pub credentials: Credentials,
    /// Default `https://securitycenter.googleapis.com`.
    pub endpoint: String,
    /// Default `https://securitycentermanagement.googleapis.com`.
    pub management_endpoint: String,
    /// Pace, patience and bounds.
    pub options: Options,
}

/// Google's own default is ten a page.
const PAGE_SIZE: &str = "1000";

impl Default for Config {
    fn default() -> Config {
        Config {
            parents: Vec::new(),
            locations: vec!["global".to_owned()],
            filter: "state=\"ACTIVE\" AND (findingClass=\"MISCONFIGURATION\" OR findingClass=\"POSTURE_VIOLATION\" OR findingClass=\"SCC_ERROR\")"
                .to_owned(),
            detectors: false,
            quota_project: None,
            credentials: Credentials::default(),
            endpoint: "https://securitycenter.googleapis.com".to_owned(),
            management_endpoint: "https://securitycentermanagement.googleapis.com".to_owned(),
            options: Options::default(),
        }
    }
}

impl Config {
    /// What is wrong with it: (field, sentence).
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        let mut wrong = self.options.validate();
        if self.options.network.refuse_private_addresses && self.credentials.metadata_server.is_some() {
            wrong.push(("refuse_private_addresses", "the metadata server is at a private address".to_owned()));
        }
        if self.parents.is_empty() {
            wrong.push(("parents", "is empty; name at least one, such as `organizations/123456789012`".to_owned()));
        }
        for parent in &self.parents {
            let good = parent.split_once('/').is_some_and(|(kind, id)| {
                let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.:".contains(&b);
                ["organizations", "folders", "projects"].contains(&kind) && !id.is_empty() && id.bytes().all(plain)
            });
            if !good {
                let message = format!("`{parent}` is not a parent; expected `organizations/ID`, `folders/ID` or `projects/ID`");
                wrong.push(("parents", message));
            }
        }
        if self.locations.is_empty() {
            wrong.push(("locations", "is empty; leave it out for `global`".to_owned()));
        }
        for location in &self.locations {
            if location.is_empty() || !location.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
                wrong.push(("locations", format!("`{location}` is no location; expected `global`, `eu` or `us`")));
            }
        }
        wrong
    }

    /// Requests that a run makes at least, and what makes them more.
    pub fn calls(&self) -> (u64, &'static str) {
        let lists = self.locations.len() + usize::from(self.detectors);
        ((self.parents.len() * lists) as u64, "one a page of 1000 findings")
    }
}

/// Google's APIs.
#[derive(Clone)]
struct Google {
    config: Arc<Config>,
}

impl Api for Google {
    async fn authorize(&self, run: &Run, call: Call, renew: Option<Instant>) -> Result<Call, Problem> {
        let token = run.token("google", renew, self.config.credentials.token(run)).await?;
        let call = call.bearer(&token.value);
        Ok(match &self.config.quota_project {
            Some(project) => call.header(HeaderName::from_static("x-goog-user-project"), project),
            None => call,
        })
    }

    fn classify(&self, reply: &Reply) -> Verdict {
        let code = || reply.code().unwrap_or_default();
        match by_status(reply) {
            Verdict::Denied if code().0 == "RESOURCE_EXHAUSTED" => Verdict::Throttled,
            Verdict::Refused if code().1.to_ascii_lowercase().replace('_', " ").contains("page token") => Verdict::PageExpired,
            verdict => verdict,
        }
    }
}

/// A page, as far as we look into it. Google leaves out what is empty: `{}` is a page without findings.
#[derive(Deserialize)]
struct Page {
    #[serde(rename = "listFindingsResults")]
    _results: Option<Vec<IgnoredAny>>,
    #[serde(rename = "nextPageToken")]
    next: Option<String>,
    error: Option<serde_json::Value>,
    #[serde(flatten)]
    other: std::collections::BTreeMap<String, IgnoredAny>,
}

/// Brings the findings of all parents and locations.
pub(super) async fn collect(name: &str, config: &Config, session: &Arc<Session>, deadline: Instant) -> Collected {
    let run = session.run(name, deadline);
    let api = Google { config: Arc::new(config.clone()) };
    let lists: Vec<(String, String, bool)> = config
        .parents
        .iter()
        .flat_map(|parent| config.locations.iter().enumerate().map(move |(i, location)| (parent.clone(), location.clone(), i == 0)))
        .collect();
    let work = |run: Run, (parent, location, first): (String, String, bool)| {
        let api = api.clone();
        async move {
            let mut part = Part::new(match location.as_str() {
                "global" => format!("findings of {parent}"),
                other => format!("findings of {parent} in {other}"),
            });
            match Spool::new() {
                Ok(mut spool) => {
                    // Once for each parent: detectors are not by location.
                    if api.config.detectors && first {
                        detectors(&run, &api, &mut part, &mut spool, &parent).await;
                    }
                    if let Err(problem) = findings(&run, &api, &part.name, &mut spool, &parent, &location).await {
                        part.fail(permission(problem, "securitycenter.findings.list (role roles/securitycenter.findingsViewer)", &parent));
                    }
                    part.keep(spool);
                }
                Err(problem) => part.fail(problem),
            }
            part
        }
    };
    run.finish(run.parts(lists, work).await)
}

async fn findings(run: &Run, api: &Google, source: &str, spool: &mut Spool, parent: &str, location: &str) -> Result<(), Problem> {
    let base = session::at(&api.config.endpoint, &format!("/v2/{parent}/sources/-/locations/{location}/findings"))?;
    let page = |cursor: Option<&str>| {
        let mut url: Url = base.clone();
        {
            let mut query = url.query_pairs_mut();
            query.append_pair("pageSize", PAGE_SIZE);
            if !api.config.filter.is_empty() {
                query.append_pair("filter", &api.config.filter);
            }
            if let Some(token) = cursor {
                query.append_pair("pageToken", token);
            }
        }
        Ok(Call::get(url))
    };
    let next = |reply: &Reply| {
        let page: Page = reply.json()?;
        if let Some(error) = page.error {
            let said = error["message"].as_str().unwrap_or_default();
            let said = format!("answered with an error where findings were due: {said}");
            return Err(problem(ProblemKind::Source, source, super::client::shorten(said.as_bytes())));
        }
        if page._results.is_none() && page.next.is_none() && !page.other.is_empty() && !page.other.contains_key("totalSize") {
            let names = page.other.keys().take(5).map(String::as_str).collect::<Vec<_>>().join("`, `");
            return Err(problem(ProblemKind::Source, source, format!("the answer has `{names}` where `listFindingsResults` was due")));
        }
        Ok(page.next.filter(|n| !n.is_empty()))
    };
    run.walk(api, source, spool, page, next).await
}

/// Which detectors are on, laid before the findings.
async fn detectors(run: &Run, api: &Google, part: &mut Part, spool: &mut Spool, parent: &str) {
    let source = format!("detectors of {parent}");
    let brought = async {
        let path = format!("/v1/{parent}/locations/global/securityCenterServices/security-health-analytics");
        let reply = run.send(api, &source, &Call::get(session::at(&api.config.management_endpoint, &path)?)).await?;
        spool.write(&reply.body)?;
        spool.write(b"\n")
    };
    if let Err(problem) = brought.await {
        let needed = "securitycentermanagement.securityCenterServices.get (role roles/securitycentermanagement.viewer)";
        part.fail(permission(problem, needed, parent));
    }
}

/// Adds to a refusal which permission would have been needed.
fn permission(problem: Problem, needed: &str, parent: &str) -> Problem {
    if problem.kind == ProblemKind::Denied && !problem.source.starts_with("google ") {
        return Problem { message: format!("{}; needed is {needed} on {parent}", problem.message), ..problem };
    }
    problem
}
