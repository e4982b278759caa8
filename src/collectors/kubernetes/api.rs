//! The Kubernetes API: what it serves, and whole lists of it.

use super::super::client::{Spool, name_of, problem};
use super::super::session::{self, Call, Reply, Run, Token, Verdict};
use super::kubeconfig::{Cluster as Resolved, Login, token_in};
use crate::domain::{Problem, ProblemKind};
use base64::Engine as _;
use reqwest::header::{self, HeaderName};
use reqwest::{StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use tokio::time::Instant;

/// Objects a page. The API's own tools ask for so many.
const PAGE: &str = "500";
/// Only names, labels and times of whatever is listed.
const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=1";

/// API groups by their preferred version.
pub(super) type Groups = BTreeMap<String, String>;

/// A resource that the API serves.
#[derive(Clone, Debug)]
pub(super) struct Resource {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) plural: String,
    pub(super) kind: String,
    pub(super) namespaced: bool,
    pub(super) lists: bool,
}

impl Resource {
    /// `policyreports.wgpolicyk8s.io`.
    pub(super) fn name(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// `/apis/wgpolicyk8s.io/v1alpha2/namespaces/shop/policyreports`.
    pub(super) fn path(&self, namespace: Option<&str>) -> String {
        let within = namespace.map(|n| format!("namespaces/{n}/")).unwrap_or_default();
        format!("{}/{within}{}", base(&self.group, &self.version), self.plural)
    }
}

fn base(group: &str, version: &str) -> String {
    if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
}

/// Whether credentials may be sent there.
pub(super) fn safe(url: &Url) -> bool {
    let local = url.host_str().is_some_and(|h| h == "localhost" || h.starts_with("127.") || h == "[::1]");
    url.scheme() == "https" || local
}

/// One cluster's API, and who we are there.
pub(super) struct Cluster {
    resolved: Resolved,
}

impl session::Api for Cluster {
    async fn authorize(&self, run: &Run, call: Call, renew: Option<Instant>) -> Result<Call, Problem> {
        let token = match &self.resolved.login {
            Login::Nobody => return Ok(call),
            Login::Token(token) => return Ok(call.bearer(token)),
            Login::Basic(user, password) => {
                let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{}", password.expose_secret()));
                return Ok(call.secret(header::AUTHORIZATION, &format!("Basic {pair}"), password).hide(&SecretString::from(pair.clone())));
            }
            Login::TokenEnv(name) => {
                let token = super::Secret::Env(name.clone()).reveal().map_err(|e| problem(ProblemKind::Internal, "token", e))?;
                return Ok(call.bearer(&token));
            }
            Login::TokenFile(path) => run.token("token", renew, async { token_in(path) }).await?,
            Login::Exec(exec) => {
                let fetch = async {
                    let brought = exec.run().await?;
                    // A certificate went into the connection; then there may be no token, and none is needed.
                    Ok(Token::new(brought.token.unwrap_or_else(|| SecretString::from(String::new())), brought.good_for))
                };
                run.token("exec plugin", renew, fetch).await?
            }
        };
        Ok(if token.value.expose_secret().is_empty() { call } else { call.bearer(&token.value) })
    }

    fn classify(&self, reply: &Reply) -> Verdict {
        match reply.status {
            // What continues a list is good for some minutes only.
            StatusCode::GONE => Verdict::PageExpired,
            // Whoever asks for what may not be there looks at the status.
            StatusCode::NOT_FOUND if !reply.is_html() => Verdict::Fine,
            _ => session::by_status(reply),
        }
    }
}

#[derive(Deserialize)]
struct GroupList {
    #[serde(default)]
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    name: String,
    #[serde(default, rename = "preferredVersion")]
    preferred: Option<Version>,
    #[serde(default)]
    versions: Vec<Version>,
}

#[derive(Deserialize)]
struct Version {
    version: String,
}

#[derive(Deserialize)]
struct ResourceList {
    #[serde(default)]
    resources: Vec<Served>,
}

#[derive(Deserialize)]
struct Served {
    name: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    namespaced: bool,
    #[serde(default)]
    verbs: Vec<String>,
}

/// What every page of a list begins with.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    metadata: Option<ListMeta>,
    items: Option<serde::de::IgnoredAny>,
}

#[derive(Default, Deserialize)]
struct ListMeta {
    #[serde(default, rename = "continue")]
    next: Option<String>,
    #[serde(default, rename = "resourceVersion")]
    version: Option<String>,
}

impl Cluster {
    pub(super) fn new(resolved: Resolved) -> Cluster {
        Cluster { resolved }
    }

    /// What it is called, if it is.
    pub(super) fn name(&self) -> Option<&str> {
        self.resolved.name.as_deref()
    }

    /// Where it is, for people.
    pub(super) fn place(&self) -> String {
        name_of(&self.resolved.server).trim_end_matches('/').to_owned()
    }

    pub(super) fn url(&self, path: &str) -> Result<Url, Problem> {
        session::at(self.resolved.server.as_str(), path)
    }

    /// The API groups there are.
    ///
    /// # Errors
    /// Why they are not known.
    pub(super) async fn groups(&self, run: &Run) -> Result<Groups, Problem> {
        let url = self.url("/apis")?;
        let reply = run.send(self, &name_of(&url), &Call::get(url.clone())).await?;
        if reply.status == StatusCode::NOT_FOUND {
            let message = "answered 404: this is no Kubernetes API; help: `server` should end where `/apis` begins";
            return Err(problem(ProblemKind::Source, name_of(&url), message));
        }
        let list: GroupList = reply.json()?;
        let version = |g: &Group| g.preferred.as_ref().or(g.versions.first()).map(|v| v.version.clone());
        Ok(list.groups.iter().filter_map(|g| Some((g.name.clone(), version(g)?))).collect())
    }

    /// The resources of a group; none if it has gone since.
    ///
    /// # Errors
    /// Why they are not known.
    pub(super) async fn resources(&self, run: &Run, group: &str, version: &str) -> Result<Vec<Resource>, Problem> {
        let url = self.url(&base(group, version))?;
        let reply = run.send(self, &name_of(&url), &Call::get(url.clone())).await?;
        if reply.status == StatusCode::NOT_FOUND {
            return Ok(Vec::new());
        }
        let list: ResourceList = reply.json()?;
        let ours = |r: Served| Resource {
            group: group.to_owned(),
            version: version.to_owned(),
            lists: r.verbs.iter().any(|v| v == "list"),
            plural: r.name,
            kind: r.kind,
            namespaced: r.namespaced,
        };
        // Names with a slash are parts of others: `pods/log`.
        Ok(list.resources.into_iter().filter(|r| !r.name.contains('/')).map(ours).collect())
    }

    /// The whole list of a resource, page by page, into `spool`; its version, from which it may be watched. `page` sees each
    /// page's body, and `None` where the list begins (again): what it heard before counts no more.
    ///
    /// # Errors
    /// Why it is not whole. What came is in `spool`.
    pub(super) async fn list(
        &self,
        run: &Run,
        resource: &Resource,
        namespace: Option<&str>,
        only_metadata: bool,
        spool: &mut Spool,
        page: impl FnMut(Option<&[u8]>) -> Result<(), Problem> + Send,
    ) -> Result<String, Problem> {
        let url = self.url(&resource.path(namespace))?;
        let source = name_of(&url);
        // A version of "0" would be answered from a cache, all in one page; so none is asked for.
        let version: Mutex<String> = Mutex::default();
        let page = Mutex::new(page);
        let told = |body: Option<&[u8]>| (page.lock().unwrap_or_else(PoisonError::into_inner))(body);
        let call = |cursor: Option<&str>| {
            if cursor.is_none() {
                told(None)?;
                version.lock().unwrap_or_else(PoisonError::into_inner).clear();
            }
            let mut url = url.clone();
            url.query_pairs_mut().append_pair("limit", PAGE);
            if let Some(cursor) = cursor {
                url.query_pairs_mut().append_pair("continue", cursor);
            }
            let call = Call::get(url);
            Ok(if only_metadata { call.header(HeaderName::from_static("accept"), METADATA) } else { call })
        };
        let next = |reply: &Reply| {
            if reply.status == StatusCode::NOT_FOUND {
                return Err(problem(
                    ProblemKind::Source,
                    &source,
                    format!("answered 404: the cluster serves no {} any more", resource.name()),
                ));
            }
            let head: Head = reply.json()?;
            if head.items.is_none() {
                return Err(problem(ProblemKind::Source, &source, "the answer has no `items`: it is no list"));
            }
            told(Some(&reply.body))?;
            let meta = head.metadata.unwrap_or_default();
            let mut version = version.lock().unwrap_or_else(PoisonError::into_inner);
            if version.is_empty() {
                *version = meta.version.unwrap_or_default();
            }
            Ok(meta.next.filter(|n| !n.is_empty()))
        };
        let walked = run.walk(self, &source, spool, call, next).await;
        walked.map_err(|p| lacking(p, "list", resource, namespace))?;
        Ok(version.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Says which permission it is that lacks.
pub(super) fn lacking(problem: Problem, verb: &str, resource: &Resource, namespace: Option<&str>) -> Problem {
    if problem.kind != ProblemKind::Denied {
        return problem;
    }
    let place = namespace.map(|n| format!(" in namespace `{n}`")).unwrap_or_default();
    let group = if resource.group.is_empty() { "the core API group".to_owned() } else { format!("API group `{}`", resource.group) };
    let message = format!("{}; help: the role lacks verb `{verb}` on resource `{}` of {group}{place}", problem.message, resource.plural);
    Problem { message, ..problem }
}
