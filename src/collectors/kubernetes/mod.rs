//! What tools of compliance leave in a Kubernetes cluster: Gatekeeper's constraints, policy reports, trivy-operator's
//! reports, the Compliance Operator's results.
//!
//! A run is always a whole list of every kind, page by page; between runs the same kinds are watched, and a change brings
//! the next run forward. No run is made out of events: what a list does not say is not known. Which kinds there are is asked
//! anew each time, since they come and go with what is installed.
//!
//! For Gatekeeper, which lists only what violates, the cluster is also asked which objects each constraint selects
//! ([`select`]): they are the population. Only their metadata is asked for, never a Secret's contents.
//!
//! Not here: what the documents mean (`formats`), and asking for anything that is not there to be read: we run no audit.

mod api;
mod gatekeeper;
mod kubeconfig;
mod select;
mod watch;

use super::client::{Secret, problem};
use super::session::{self, Part, Run, Session};
use super::{Collected, client};
use crate::clock;
use crate::domain::{Problem, ProblemKind, Span};
use crate::formats::Format;
use api::{Cluster as Api, Resource};
use kubeconfig::Login;
use reqwest::Url;
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Reports of one kind in one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What is read.
    pub read: Read,
    /// Which cluster, and who we are there. Default: the one that we run in.
    pub place: Place,
    /// What the cluster is called: the field `cluster` of every finding. Default: its name in the kubeconfig.
    pub cluster: Option<String>,
    /// Only these namespaces, for a role that may read no others. Default: all. Not for Gatekeeper, whose constraints are
    /// in none.
    pub namespaces: Vec<String>,
    /// Only these resources, by their plural names. Default: all that the tool writes, without software bills of material.
    pub resources: Vec<String>,
    /// Count what each constraint selects, for `population:`. Default true.
    pub population: bool,
    /// An audit older than this is a problem. Default 15m.
    pub audit_max_age: Span,
    /// Watch between runs. Default true.
    pub watch: bool,
    /// How long a change waits for others before a run. Default 10s.
    pub watch_delay: Span,
    /// Take a kubeconfig at its word that any certificate will do. Default false.
    pub insecure: bool,
    /// How the API is asked. Default: 20 requests a second.
    pub options: session::Options,
}

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// `gatekeeper`
    Gatekeeper,
    /// `policy_reports`
    PolicyReports,
    /// `trivy_operator`
    TrivyOperator,
    /// `compliance_operator`
    ComplianceOperator,
}

impl Read {
    /// All of them.
    pub const ALL: [Read; 4] = [Read::Gatekeeper, Read::PolicyReports, Read::TrivyOperator, Read::ComplianceOperator];

    /// The word in YAML.
    pub const fn word(self) -> &'static str {
        match self {
            Read::Gatekeeper => "gatekeeper",
            Read::PolicyReports => "policy_reports",
            Read::TrivyOperator => "trivy_operator",
            Read::ComplianceOperator => "compliance_operator",
        }
    }

    /// The format that reads it.
    pub const fn format(self) -> Format {
        match self {
            Read::Gatekeeper => Format::Gatekeeper,
            Read::PolicyReports => Format::PolicyReport,
            Read::TrivyOperator => Format::TrivyOperator,
            Read::ComplianceOperator => Format::ComplianceOperator,
        }
    }

    /// The API groups, and whose they are.
    const fn groups(self) -> (&'static [&'static str], &'static str) {
        match self {
            Read::Gatekeeper => (&["constraints.gatekeeper.sh"], "Gatekeeper with a constraint template"),
            Read::PolicyReports => {
                (&["wgpolicyk8s.io", "openreports.io", "reports.x-k8s.io"], "Kyverno or another writer of policy reports")
            }
            Read::TrivyOperator => (&["aquasecurity.github.io"], "trivy-operator"),
            Read::ComplianceOperator => (&["compliance.openshift.io"], "the Compliance Operator"),
        }
    }

    fn wants(self, plural: &str) -> bool {
        match self {
            Read::Gatekeeper => true,
            Read::PolicyReports => ["policyreports", "clusterpolicyreports", "reports", "clusterreports"].contains(&plural),
            // Bills of material are large, and say of nothing whether it complies.
            Read::TrivyOperator => plural.ends_with("reports") && !plural.ends_with("sbomreports"),
            Read::ComplianceOperator => ["compliancescans", "compliancecheckresults"].contains(&plural),
        }
    }
}

/// Which cluster, and who we are there.
#[derive(Clone, PartialEq, Eq)]
pub enum Place {
    /// The cluster that we run in, by the pod's service account.
    InCluster,
    /// `kubeconfig: PATH`, and perhaps `context: NAME`; read anew for each run.
    Kubeconfig {
        /// The file.
        path: std::path::PathBuf,
        /// Default: its `current-context`.
        context: Option<String>,
    },
    /// `server: https://host:6443` with `token_file` or `token_env`, and perhaps `ca_file`.
    Server {
        /// Where the API is.
        url: String,
        /// A bearer token; read anew every minute.
        token: Option<Secret>,
    },
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::InCluster => f.write_str("InCluster"),
            Place::Kubeconfig { path, context } => write!(f, "Kubeconfig({}, {context:?})", path.display()),
            Place::Server { url, token } => write!(f, "Server({url}, {token:?})"),
        }
    }
}

impl Config {
    /// The usual settings for reading this.
    pub fn new(read: Read) -> Config {
        Config {
            read,
            place: Place::InCluster,
            cluster: None,
            namespaces: Vec::new(),
            resources: Vec::new(),
            population: true,
            audit_max_age: Span(15 * 60_000),
            watch: true,
            watch_delay: Span(10_000),
            insecure: false,
            options: session::Options { requests_per_second: 20, burst: 50, ..session::Options::default() },
        }
    }

    /// Requests of a run in which each list is one page, and what makes them more.
    pub fn calls(&self) -> (u64, &'static str) {
        match self.read {
            Read::Gatekeeper if self.population => {
                (5, "each 500 constraints of a kind, each API group, and each 500 objects that constraints select from")
            }
            Read::Gatekeeper => (3, "each 500 constraints of a kind"),
            _ => (2 + (self.namespaces.len() as u64).max(1), "each 500 reports of a kind, in each namespace that is named"),
        }
    }

    /// What is wrong with it: (field, sentence).
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        let mut wrong = self.options.validate();
        if let Place::Server { url, token } = &self.place {
            match Url::parse(url) {
                Err(e) => wrong.push(("server", format!("not a URL: {e}; expected `https://host:6443`"))),
                Ok(url) if !matches!(url.scheme(), "http" | "https") => {
                    wrong.push(("server", format!("`{}:` cannot be reached; expected `https:`", url.scheme())));
                }
                Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                    wrong.push(("server", "has a user or password in it; use `token_file`".to_owned()));
                }
                Ok(url) if token.is_some() && !api::safe(&url) => {
                    wrong.push(("server", "a token is not sent over plain http; expected `https:`".to_owned()));
                }
                Ok(_) => {}
            }
        }
        if self.read == Read::Gatekeeper && !self.namespaces.is_empty() {
            wrong.push(("namespaces", "constraints are in no namespace; leave it out".to_owned()));
        }
        for name in &self.namespaces {
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
                wrong.push(("namespaces", format!("`{name}` is no namespace's name")));
            }
        }
        for name in &self.resources {
            if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
                wrong.push(("resources", format!("`{name}` is no resource's plural name, such as `policyreports`")));
            } else if self.read != Read::Gatekeeper && !self.read.wants(name) {
                wrong.push(("resources", format!("`{name}` holds nothing that `{}` reads", self.read.word())));
            }
        }
        wrong
    }
}

/// A cluster between runs.
pub(super) struct State {
    config: Config,
    live: Mutex<Option<Live>>,
    watched: Mutex<Option<watch::Watched>>,
    /// What a watch met, for the next run to tell.
    met: Mutex<Vec<Problem>>,
}

/// Connections, for as long as the way to the cluster stays the same.
struct Live {
    of: [u8; 32],
    session: Arc<Session>,
    /// Answers a watch may stay silent for minutes.
    patient: Arc<client::Client>,
    /// Credentials of an exec plugin that go into the connection, and until when.
    certificate: Option<(Vec<u8>, Instant)>,
}

/// All that a run needs.
#[derive(Clone)]
struct Connected {
    api: Arc<Api>,
    session: Arc<Session>,
    patient: Arc<client::Client>,
}

impl State {
    pub(super) fn new(config: &Config) -> State {
        State { config: config.clone(), live: Mutex::default(), watched: Mutex::default(), met: Mutex::default() }
    }

    /// The last run was of no use: nothing that was held is believed any more.
    pub(super) fn forget(&self) {
        *self.live.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The way to the cluster, as it is written now.
    async fn connect(&self) -> Result<Connected, Problem> {
        let mut cluster = kubeconfig::resolve(&self.config)?;
        if !matches!(cluster.login, Login::Nobody) && !api::safe(&cluster.server) {
            let message = format!(
                "{} is plain http, and credentials are not sent over it; expected `https:`",
                cluster.server.origin().ascii_serialization()
            );
            return Err(problem(ProblemKind::Internal, "server", message));
        }
        let held = {
            let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
            live.as_ref().and_then(|l| l.certificate.clone()).filter(|(_, until)| Instant::now() < *until)
        };
        let mut certificate = None;
        if let Login::Exec(exec) = &cluster.login {
            // A certificate belongs to the connection, so it has to be there before.
            certificate = match held {
                Some(held) => Some(held),
                None => {
                    let brought = exec.run().await?;
                    brought.pem.map(|pem| (pem, Instant::now() + brought.good_for * 4 / 5))
                }
            };
            if let Some((pem, _)) = &certificate {
                cluster.identity.pem = Some(pem.clone().into());
            }
        }
        let mut options = self.config.options.clone();
        if options.network.ca_file.is_none() {
            options.network.ca_file.clone_from(&cluster.ca_file);
        }
        if options.network.proxy_url.is_none() {
            options.network.proxy_url.clone_from(&cluster.proxy);
        }
        let mut hash = Sha256::new();
        cluster.identity.digest(&mut hash);
        hash.update(format!("{} {:?} {:?}", cluster.server, options.network.ca_file, options.network.proxy_url));
        let of: [u8; 32] = hash.finalize().into();
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if live.as_ref().is_none_or(|l| l.of != of) {
            let mut patient = options.clone();
            patient.network.read_timeout = watch::SILENCE;
            *live = Some(Live {
                of,
                session: Session::with(&options, cluster.identity.clone()),
                patient: Arc::new(session::client(&patient, cluster.identity.clone())),
                certificate: None,
            });
        }
        let Some(live) = live.as_mut() else { return Err(problem(ProblemKind::Internal, "kubernetes", "no connection")) };
        live.certificate = certificate;
        let api = Arc::new(Api::new(cluster));
        Ok(Connected { api, session: Arc::clone(&live.session), patient: Arc::clone(&live.patient) })
    }

    /// Returns when something that the last run listed has changed, and has been quiet since. Never, if nothing is watched.
    pub(super) async fn changed(&self) {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(watched) = watched else { return std::future::pending().await };
        let met = |p: Problem| {
            let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
            if met.len() < 20 {
                met.push(p);
            }
        };
        watched.changed(self.config.watch_delay.std(), met).await;
    }
}

/// Brings the whole list of everything that is read.
pub(super) async fn collect(name: &str, config: &Config, state: &State, deadline: Instant) -> Collected {
    let begun = Instant::now();
    let connected = match tokio::time::timeout_at(deadline, state.connect()).await {
        Ok(Ok(connected)) => connected,
        failed => {
            let mut collected = Collected::nothing(name, clock::now());
            let late = || problem(ProblemKind::Timeout, "kubernetes", "the time for this run is up");
            collected.problems.push(failed.map_or_else(|_| late(), |r| r.err().unwrap_or_else(late)));
            return collected;
        }
    };
    let run = connected.session.run(name, deadline);
    let mut seen = watch::Seen::default();
    let mut part = Part::new(format!("{} {}", connected.api.place(), config.read.word()));
    let cluster = config.cluster.clone().or_else(|| connected.api.name().map(str::to_owned));
    if let Some(cluster) = cluster {
        part.fields.push(("cluster".to_owned(), cluster));
    }
    match kinds(&run, &connected.api, config).await {
        Ok(kinds) if config.read == Read::Gatekeeper => gatekeeper::bring(&run, &connected.api, config, kinds, &mut part, &mut seen).await,
        Ok(kinds) => reports(&run, &connected.api, config, &kinds.resources, &mut part, &mut seen).await,
        Err(problem) => part.fail(problem),
    }
    let met = std::mem::take(&mut *state.met.lock().unwrap_or_else(PoisonError::into_inner));
    part.problems.extend(met);
    let collected = run.finish(part);
    if config.watch {
        // So that a cluster that never rests is listed a fifth of the time at most.
        let gap = begun.elapsed() * 4;
        let watched = watch::Watched::new(&connected, name, seen, gap.max(Duration::from_millis(200)));
        *state.watched.lock().unwrap_or_else(PoisonError::into_inner) = watched;
    }
    collected
}

/// The groups that the cluster serves, and the resources that are read.
struct Kinds {
    groups: api::Groups,
    resources: Vec<Resource>,
}

async fn kinds(run: &Run, api: &Arc<Api>, config: &Config) -> Result<Kinds, Problem> {
    let groups = api.groups(run).await?;
    let (wanted, whose) = config.read.groups();
    let mut resources = Vec::new();
    for group in wanted {
        if let Some(version) = groups.get(*group) {
            resources.extend(api.resources(run, group, version).await?);
        }
    }
    let listable = |r: &Resource| r.lists && config.read.wants(&r.plural);
    resources.retain(|r| listable(r) && (config.resources.is_empty() || config.resources.contains(&r.plural)));
    if config.read == Read::ComplianceOperator {
        // Scans say what they promise; their results follow.
        resources.sort_by_key(|r| r.plural != "compliancescans");
    }
    if resources.is_empty() {
        let message = format!("the cluster serves nothing of {}; expected {whose} to be installed", wanted.join(", "));
        return Err(problem(ProblemKind::Source, api.place(), message));
    }
    for name in &config.resources {
        if !resources.iter().any(|r| r.plural == *name) {
            return Err(problem(ProblemKind::Source, api.place(), format!("the cluster serves no `{name}` of {}", wanted.join(", "))));
        }
    }
    Ok(Kinds { groups, resources })
}

/// Lists each kind, all into one document: that one kind is empty says nothing as long as another is not.
async fn reports(run: &Run, api: &Arc<Api>, config: &Config, resources: &[Resource], part: &mut Part, seen: &mut watch::Seen) {
    let mut spool = match client::Spool::new() {
        Ok(spool) => spool,
        Err(problem) => return part.fail(problem),
    };
    for resource in resources {
        let everywhere = [None];
        let named: Vec<Option<&str>> = config.namespaces.iter().map(|n| Some(n.as_str())).collect();
        let places = if named.is_empty() { &everywhere[..] } else { &named[..] };
        for namespace in places {
            if namespace.is_some() && !resource.namespaced {
                // Whoever may read some namespaces only may not read what is in none.
                continue;
            }
            match api.list(run, resource, *namespace, false, &mut spool, |_| Ok(())).await {
                Ok(version) => seen.note(resource, *namespace, version),
                Err(problem) => part.fail(problem),
            }
        }
    }
    part.keep(spool);
}
