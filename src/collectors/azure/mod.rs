//! What all sources in Azure have in common: clouds, credentials, Resource Manager's pages, Resource Graph.
//!
//! Documented behaviour that no recorded answer of ours shows is marked (m) in the manual pages.

use super::client::{self, Secret, Spool, problem};
use super::oauth;
use super::session::{self, Api, Call, Part, Reply, Run, Token, Verdict, by_status};
use crate::domain::{Problem, ProblemKind};
use reqwest::Url;
use reqwest::header::{self, HeaderName};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;

pub mod defender;
pub mod policy;
pub mod sentinel;

/// Which of Microsoft's clouds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cloud {
    /// `public`
    #[default]
    Public,
    /// `usgov`
    UsGov,
    /// `china`
    China,
}

impl Cloud {
    /// Every cloud.
    pub const ALL: [Cloud; 3] = [Cloud::Public, Cloud::UsGov, Cloud::China];

    /// The word in YAML.
    pub const fn word(self) -> &'static str {
        match self {
            Cloud::Public => "public",
            Cloud::UsGov => "usgov",
            Cloud::China => "china",
        }
    }

    const fn authority(self) -> &'static str {
        match self {
            Cloud::Public => "https://login.microsoftonline.com",
            Cloud::UsGov => "https://login.microsoftonline.us",
            Cloud::China => "https://login.chinacloudapi.cn",
        }
    }

    const fn manager(self) -> &'static str {
        match self {
            Cloud::Public => "https://management.azure.com",
            Cloud::UsGov => "https://management.usgovcloudapi.net",
            Cloud::China => "https://management.chinacloudapi.cn",
        }
    }
}

/// Where Azure is, and who we are there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Default `public`.
    pub cloud: Cloud,
    /// Resource Manager's URL, instead of the cloud's: `https://management.azure.com`.
    pub endpoint: Option<String>,
    /// Where tokens are given out, instead of the cloud's: `https://login.microsoftonline.com`.
    pub authority: Option<String>,
    /// Default: what the environment says, as Microsoft's own libraries read it.
    pub credentials: Credentials,
}

/// How we say who we are. What is not written is taken from `AZURE_TENANT_ID`, `AZURE_CLIENT_ID` and
/// `AZURE_FEDERATED_TOKEN_FILE`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credentials {
    /// A client secret if `AZURE_CLIENT_SECRET` is set, workload identity if `AZURE_FEDERATED_TOKEN_FILE` is, else the
    /// machine's managed identity: the order of Microsoft's own libraries.
    #[default]
    Environment,
    /// `client_secret: { tenant: …, client_id: …, secret_file: … }` (or `secret_env`).
    ClientSecret {
        /// Directory id.
        tenant: Option<String>,
        /// Application id.
        client_id: Option<String>,
        /// The secret.
        secret: Secret,
    },
    /// `workload_identity: { tenant: …, client_id: …, token_file: … }`: a token of the cluster's, exchanged.
    WorkloadIdentity {
        /// Directory id.
        tenant: Option<String>,
        /// Application id.
        client_id: Option<String>,
        /// The cluster's token; read again for every exchange.
        token_file: Option<PathBuf>,
    },
    /// `managed_identity: { client_id: … }`: the machine's own; `client_id` names one of several.
    ManagedIdentity {
        /// Of a user-assigned identity.
        client_id: Option<String>,
        /// The metadata service, instead of `http://169.254.169.254`, or what `IDENTITY_ENDPOINT` says.
        endpoint: Option<String>,
    },
}

/// Subscriptions and management groups; what is asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scopes {
    /// Ids of subscriptions.
    pub subscriptions: Vec<String>,
    /// Names (ids) of management groups.
    pub management_groups: Vec<String>,
}

/// Which way is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Through {
    /// `resource_manager`: each subscription's own API, one after another.
    #[default]
    ResourceManager,
    /// `resource_graph`: one query over all of them.
    ResourceGraph,
}

impl Through {
    /// Both ways.
    pub const ALL: [Through; 2] = [Through::ResourceManager, Through::ResourceGraph];

    /// The word in YAML.
    pub const fn word(self) -> &'static str {
        match self {
            Through::ResourceManager => "resource_manager",
            Through::ResourceGraph => "resource_graph",
        }
    }
}

/// One of the scopes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Scope {
    Subscription(String),
    ManagementGroup(String),
}

impl Scope {
    fn segments(&self) -> Vec<&str> {
        match self {
            Scope::Subscription(id) => vec!["subscriptions", id],
            Scope::ManagementGroup(id) => vec!["providers", "Microsoft.Management", "managementGroups", id],
        }
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Scope::Subscription(id) => write!(f, "subscription {id}"),
            Scope::ManagementGroup(id) => write!(f, "management group {id}"),
        }
    }
}

impl Scopes {
    fn each(&self) -> Vec<Scope> {
        let subscriptions = self.subscriptions.iter().cloned().map(Scope::Subscription);
        subscriptions.chain(self.management_groups.iter().cloned().map(Scope::ManagementGroup)).collect()
    }
}

impl Access {
    /// What is wrong with it, beside how hosts are reached: (field, sentence).
    fn validate(&self, network: &client::Network) -> Vec<(&'static str, String)> {
        match self.credentials {
            Credentials::ManagedIdentity { .. } if network.refuse_private_addresses => {
                vec![(
                    "refuse_private_addresses",
                    "the metadata service, which gives managed identities their tokens, is at a private address".to_owned(),
                )]
            }
            _ => Vec::new(),
        }
    }

    fn manager(&self) -> &str {
        self.endpoint.as_deref().unwrap_or(self.cloud.manager())
    }

    /// A URL of Resource Manager's; segments are escaped.
    fn url<'s>(&self, segments: impl IntoIterator<Item = &'s str>, query: &[(&str, &str)]) -> Result<Url, Problem> {
        let mut url = session::at(self.manager(), "/")?;
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url.query_pairs_mut().extend_pairs(query);
        Ok(url)
    }
}

/// Resource Manager, and Resource Graph behind it.
#[derive(Clone)]
struct Manager {
    access: Access,
}

impl Api for Manager {
    async fn authorize(&self, run: &Run, call: Call, renew: Option<Instant>) -> Result<Call, Problem> {
        let token = run.token("azure", renew, self.token(run)).await?;
        Ok(call.bearer(&token.value))
    }

    fn classify(&self, reply: &Reply) -> Verdict {
        match by_status(reply) {
            Verdict::Refused if matches!(reply.status.as_u16(), 400 | 410) => match reply.code() {
                // A name of a page lasts for a while only.
                Some((code, message)) if format!("{code} {message}").to_ascii_lowercase().contains("skiptoken") => Verdict::PageExpired,
                _ => Verdict::Refused,
            },
            verdict => verdict,
        }
    }

    /// Resource Graph's allowance: what is left of it, and in how many hours, minutes and seconds it is whole again.
    fn rest(&self, reply: &Reply) -> Option<Duration> {
        let header = |name: &str| reply.headers.get(name)?.to_str().ok();
        if header("x-ms-user-quota-remaining")?.trim() != "0" {
            return None;
        }
        clock_time(header("x-ms-user-quota-resets-after")?)
    }
}

/// `00:00:05` as a length.
fn clock_time(text: &str) -> Option<Duration> {
    let mut parts = text.trim().split(':').map(|p| p.parse::<u64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    let whole = hours.checked_mul(3600)?.checked_add(minutes.checked_mul(60)?)?.checked_add(seconds)?;
    parts.next().is_none().then(|| session::seconds(whole))
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.trim().is_empty())
}

/// What the operator wrote, else a variable; else a sentence.
fn given(written: Option<&String>, name: &str) -> Result<String, Problem> {
    let message =
        || problem(ProblemKind::Internal, "azure credentials", format!("there is none in the configuration, and {name} is not set"));
    written.cloned().or_else(|| variable(name)).ok_or_else(message)
}

impl Manager {
    fn new(access: &Access) -> Manager {
        Manager { access: access.clone() }
    }

    async fn token(&self, run: &Run) -> Result<Token, Problem> {
        match &self.access.credentials {
            Credentials::Environment => match (variable("AZURE_CLIENT_SECRET"), variable("AZURE_FEDERATED_TOKEN_FILE")) {
                (Some(_), _) => self.client_secret(run, None, None, &Secret::Env("AZURE_CLIENT_SECRET".to_owned())).await,
                (None, Some(_)) => self.workload_identity(run, None, None, None).await,
                (None, None) => self.managed_identity(run, None, None).await,
            },
            Credentials::ClientSecret { tenant, client_id, secret } => {
                self.client_secret(run, tenant.as_ref(), client_id.as_ref(), secret).await
            }
            Credentials::WorkloadIdentity { tenant, client_id, token_file } => {
                self.workload_identity(run, tenant.as_ref(), client_id.as_ref(), token_file.as_ref()).await
            }
            Credentials::ManagedIdentity { client_id, endpoint } => {
                self.managed_identity(run, client_id.as_ref(), endpoint.as_deref()).await
            }
        }
    }

    async fn client_secret(&self, run: &Run, tenant: Option<&String>, id: Option<&String>, secret: &Secret) -> Result<Token, Problem> {
        let secret = secret.reveal().map_err(|e| problem(ProblemKind::Internal, "azure credentials", e))?;
        let more = [("client_secret", secret.expose_secret())];
        let call = self.client_credentials(tenant, id, &more)?.hide(&secret);
        oauth::fetch(run, "azure token", &call).await
    }

    async fn workload_identity(
        &self,
        run: &Run,
        tenant: Option<&String>,
        id: Option<&String>,
        file: Option<&PathBuf>,
    ) -> Result<Token, Problem> {
        let file = match file {
            Some(file) => file.clone(),
            None => PathBuf::from(given(None, "AZURE_FEDERATED_TOKEN_FILE")?),
        };
        let assertion = Secret::File(file).reveal().map_err(|e| problem(ProblemKind::Internal, "azure credentials", e))?;
        let more = [
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", assertion.expose_secret()),
        ];
        let call = self.client_credentials(tenant, id, &more)?.hide(&assertion);
        oauth::fetch(run, "azure token", &call).await
    }

    fn client_credentials(&self, tenant: Option<&String>, id: Option<&String>, more: &[(&str, &str)]) -> Result<Call, Problem> {
        let (tenant, id) = (given(tenant, "AZURE_TENANT_ID")?, given(id, "AZURE_CLIENT_ID")?);
        let host = self.access.authority.clone().or_else(|| variable("AZURE_AUTHORITY_HOST"));
        let mut url = session::at(host.as_deref().unwrap_or(self.access.cloud.authority()), "/")?;
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend([tenant.as_str(), "oauth2", "v2.0", "token"]);
        }
        // The scope is the cloud's, whatever way leads there.
        let scope = format!("{}/.default", self.access.cloud.manager());
        let mut form = vec![("grant_type", "client_credentials"), ("client_id", id.as_str()), ("scope", scope.as_str())];
        form.extend(more);
        Ok(Call::post_form(url, &form))
    }

    async fn managed_identity(&self, run: &Run, id: Option<&String>, endpoint: Option<&str>) -> Result<Token, Problem> {
        let resource = format!("{}/", self.access.cloud.manager());
        let id = id.cloned().or_else(|| variable("AZURE_CLIENT_ID"));
        // App Service, Container Apps and Functions have a metadata service of their own.
        let (host, path, version, header) = match (endpoint, variable("IDENTITY_ENDPOINT"), variable("IDENTITY_HEADER")) {
            (None, Some(url), Some(_)) => (url, "", "2019-08-01", Some(Secret::Env("IDENTITY_HEADER".to_owned()))),
            _ => (endpoint.unwrap_or("http://169.254.169.254").to_owned(), "/metadata/identity/oauth2/token", "2018-02-01", None),
        };
        let mut url = session::at(&host, path)?;
        url.query_pairs_mut().extend_pairs([("api-version", version), ("resource", resource.as_str())]);
        url.query_pairs_mut().extend_pairs(id.as_deref().map(|id| ("client_id", id)));
        let call = match header {
            None => Call::get(url).header(HeaderName::from_static("metadata"), "true"),
            Some(secret) => {
                let secret = secret.reveal().map_err(|e| problem(ProblemKind::Internal, "azure credentials", e))?;
                Call::get(url).secret(HeaderName::from_static("x-identity-header"), secret.expose_secret(), &secret)
            }
        };
        oauth::fetch(run, "azure managed identity", &call).await
    }
}

/// A page of Resource Manager's, as far as we look into it.
#[derive(Deserialize)]
struct Page<T> {
    value: Option<Vec<T>>,
    #[serde(rename = "nextLink")]
    next: Option<String>,
    #[serde(rename = "@odata.nextLink")]
    odata_next: Option<String>,
    error: Option<serde_json::Value>,
}

/// A record's name.
#[derive(Deserialize)]
struct Named {
    name: Option<String>,
}

/// Reads the page's records as `T`, and the next page's name. A page without its list is none.
fn page<T: DeserializeOwned>(source: &str, body: &[u8]) -> Result<(Vec<T>, Option<String>), Problem> {
    let wrong = |message: String| problem(ProblemKind::Source, source, message);
    let page: Page<T> = serde_json::from_slice(body).map_err(|e| wrong(format!("the answer is not as the API describes it: {e}")))?;
    match (page.error, page.value) {
        (None, Some(value)) => Ok((value, page.next.or(page.odata_next).filter(|n| !n.is_empty()))),
        (Some(error), _) => {
            let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
            let said = format!("answered with an error where a list was due: {}: {}", text("code"), text("message"));
            Err(wrong(client::shorten(said.as_bytes())))
        }
        (None, None) => Err(wrong("the answer has no list `value`".to_owned())),
    }
}

/// How a list is asked for: by `GET`, or by `POST` without a body, page for page.
#[derive(Clone, Copy)]
enum Verb {
    Get,
    Post,
}

impl Verb {
    fn call(self, url: Url) -> Call {
        match self {
            Verb::Get => Call::get(url),
            // A length has to be told, even of nothing.
            Verb::Post => Call::get(url).method(reqwest::Method::POST).header(header::CONTENT_LENGTH, "0"),
        }
    }
}

/// All pages of a list into `spool`; `see` is shown each record as far as `T` looks into it.
async fn list<T: DeserializeOwned>(
    run: &Run,
    api: &Manager,
    source: &str,
    spool: &mut Spool,
    (verb, first): (Verb, Url),
    mut see: impl FnMut(T),
) -> Result<(), Problem> {
    let next_page = |cursor: Option<&str>| match cursor {
        None => Ok(verb.call(first.clone())),
        // It carries the version and all else; to another host it is not followed.
        Some(link) => Ok(verb.call(run.link(source, &first, link)?)),
    };
    let next = |reply: &Reply| {
        let (records, next) = page::<T>(source, &reply.body)?;
        records.into_iter().for_each(&mut see);
        Ok(next)
    };
    run.walk(api, source, spool, next_page, next).await
}

/// A page of Resource Graph's.
#[derive(Deserialize)]
struct GraphPage<T> {
    data: Option<Vec<T>>,
    #[serde(rename = "$skipToken")]
    skip_token: Option<String>,
    #[serde(rename = "resultTruncated")]
    truncated: Option<serde_json::Value>,
}

/// Records that Resource Graph gives in one page at most.
const GRAPH_PAGE: u32 = 1000;

/// All pages of a query over all scopes at once into `spool`.
async fn graph<T: DeserializeOwned>(
    run: &Run,
    api: &Manager,
    source: &str,
    spool: &mut Spool,
    scopes: &Scopes,
    query: &str,
    mut see: impl FnMut(T),
) -> Result<(), Problem> {
    let url = api.access.url(["providers", "Microsoft.ResourceGraph", "resources"], &[("api-version", "2022-10-01")])?;
    let ask = |cursor: Option<&str>| {
        let mut body = serde_json::json!({ "query": query, "options": { "resultFormat": "objectArray", "$top": GRAPH_PAGE } });
        if !scopes.subscriptions.is_empty() {
            body["subscriptions"] = scopes.subscriptions.clone().into();
        }
        if !scopes.management_groups.is_empty() {
            body["managementGroups"] = scopes.management_groups.clone().into();
        }
        if let Some(token) = cursor {
            body["options"]["$skipToken"] = token.into();
        }
        Ok(Call::post_json(url.clone(), &body))
    };
    let mut cut_off = false;
    let next = |reply: &Reply| {
        let page: GraphPage<T> = reply.json()?;
        let Some(data) = page.data else {
            return Err(problem(ProblemKind::Source, source, "the answer has no list `data`"));
        };
        let truncated = page.truncated.is_some_and(|t| t == true || t.as_str().is_some_and(|t| t.eq_ignore_ascii_case("true")));
        let next = page.skip_token.filter(|t| !t.is_empty());
        cut_off = truncated && next.is_none();
        data.into_iter().for_each(&mut see);
        Ok(next)
    };
    run.walk(api, source, spool, ask, next).await?;
    if cut_off {
        let message = "Resource Graph cut its answer off and names no next page; what else there is, is unknown";
        return Err(problem(ProblemKind::Truncated, source, message));
    }
    Ok(())
}

/// How many rows of a kind a subscription has.
#[derive(Deserialize)]
struct Count {
    #[serde(rename = "subscriptionId")]
    subscription: Option<String>,
}

/// Resource Graph leaves out, without a word, what we may not read. Whoever was named and has no row is told.
async fn missing_from_graph(run: &Run, api: &Manager, part: &mut Part, scopes: &Scopes, rows: &str, hint: &str) {
    if scopes.subscriptions.is_empty() {
        return;
    }
    let source = format!("{} coverage", part.name);
    let mut found: Vec<String> = Vec::new();
    let mut scratch = match Spool::new() {
        Ok(spool) => spool,
        Err(problem) => return part.fail(problem),
    };
    let query = format!("{rows} | summarize rows = count() by subscriptionId | order by subscriptionId asc");
    let see = |count: Count| found.extend(count.subscription.map(|s| s.to_ascii_lowercase()));
    if let Err(problem) = graph(run, api, &source, &mut scratch, scopes, &query, see).await {
        return part.fail(problem);
    }
    for subscription in &scopes.subscriptions {
        if !found.contains(&subscription.to_ascii_lowercase()) {
            part.fail(problem(
                ProblemKind::Denied,
                format!("subscription {subscription}"),
                format!("Resource Graph shows nothing of it: {hint}"),
            ));
        }
    }
}

/// Adds to a refusal which permission would have been needed.
fn permission(problem: Problem, needed: &str) -> Problem {
    match problem.kind {
        ProblemKind::Denied if !problem.source.starts_with("azure ") => {
            Problem { message: format!("{}; needed is {needed}", problem.message), ..problem }
        }
        _ => problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_until_an_allowance_is_whole_is_read_or_passed_over() {
        for (text, seconds) in
            [("00:00:05", Some(5)), (" 01:02:03 ", Some(3723)), ("5", None), ("0:0:0:5", None), ("a:b:c", None), ("", None)]
        {
            assert_eq!(clock_time(text).map(|d| d.as_secs()), seconds, "{text}");
        }
        assert_eq!(clock_time("99999999999999999999:0:0"), None);
        assert_eq!(clock_time("9999999999999999:0:0"), None);
    }

    #[test]
    fn urls_are_escaped_and_links_keep_to_their_host() {
        let access = Access { endpoint: Some("https://management.internal/arm/".to_owned()), ..Access::default() };
        let url = access.url(["subscriptions", "a/b", "PCI DSS"], &[("api-version", "1"), ("$filter", "x eq 'y'")]).unwrap();
        assert_eq!(url.as_str(), "https://management.internal/arm/subscriptions/a%2Fb/PCI%20DSS?api-version=1&%24filter=x+eq+%27y%27");
    }
}
