//! Microsoft Sentinel: incidents that are open or were closed of late, and if wished the alerts behind the open ones.

use super::super::Collected;
use super::super::client::{Spool, problem};
use super::super::session::{Options, Part, Run, Session};
use super::{Access, Manager, Verb, list, permission};
use crate::clock;
use crate::domain::{Problem, ProblemKind, Span};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::time::Instant;

/// Incidents of Sentinel workspaces: work items, never a ratio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where and who.
    pub access: Access,
    /// Which workspaces. At least one.
    pub workspaces: Vec<Workspace>,
    /// Incidents that were changed within this, closed ones too; those that are open come in any case. Default 30d.
    pub closed_within: Span,
    /// The alerts of open incidents too; one request an incident. Default false.
    pub alerts: bool,
    /// Pace, patience and bounds.
    pub options: Options,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            access: Access::default(),
            workspaces: Vec::new(),
            closed_within: Span::DAY.times(30),
            alerts: false,
            options: Options::default(),
        }
    }
}

/// A Log Analytics workspace with Sentinel in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workspace {
    /// Its subscription's id.
    pub subscription: String,
    /// Its resource group.
    pub resource_group: String,
    /// Its name.
    pub name: String,
}

const NEEDED: &str = "Microsoft.SecurityInsights/incidents/read (role Microsoft Sentinel Reader)";
const VERSION: (&str, &str) = ("api-version", "2024-03-01");
/// Alerts of more open incidents than this are not asked for in one run.
const MOST_WITH_ALERTS: usize = 2000;

impl Config {
    /// What is wrong with it: (field, sentence).
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        let mut wrong = self.options.validate();
        wrong.extend(self.access.validate(&self.options.network));
        if self.workspaces.is_empty() {
            wrong.push(("workspaces", "is empty; name at least one".to_owned()));
        }
        wrong
    }

    /// Requests that a run makes at least, and what makes them more.
    pub fn calls(&self) -> (u64, &'static str) {
        let more = if self.alerts { "one a page, and one an open incident" } else { "one a page" };
        (self.workspaces.len() as u64, more)
    }
}

/// An incident, as far as we look into it.
#[derive(Deserialize)]
struct Incident {
    name: Option<String>,
    properties: Option<Properties>,
}

#[derive(Deserialize)]
struct Properties {
    status: Option<String>,
}

/// Brings the incidents.
pub(in super::super) async fn collect(name: &str, config: &Config, session: &Arc<Session>, deadline: Instant) -> Collected {
    let run = session.run(name, deadline);
    let api = Manager::new(&config.access);
    let since = clock::now() - config.closed_within;
    let filter = format!("properties/status ne 'Closed' or properties/lastModifiedTimeUtc ge {since}");
    let alerts = config.alerts;
    let work = |run: Run, workspace: Workspace| {
        let (api, filter) = (api.clone(), filter.clone());
        async move {
            let mut part = Part::new(format!("incidents of workspace {}", workspace.name));
            let mut spool = match Spool::new() {
                Ok(spool) => spool,
                Err(problem) => {
                    part.fail(problem);
                    return part;
                }
            };
            match incidents(&run, &api, &part.name, &mut spool, &workspace, &filter).await {
                Ok(open) if alerts => alerts_of(&run, &api, &mut part, &mut spool, &workspace, open).await,
                Ok(_) => {}
                Err(problem) => part.fail(permission(problem, NEEDED)),
            }
            part.keep(spool);
            part
        }
    };
    run.finish(run.parts(config.workspaces.clone(), work).await)
}

fn segments(workspace: &Workspace) -> [&str; 11] {
    [
        "subscriptions",
        &workspace.subscription,
        "resourceGroups",
        &workspace.resource_group,
        "providers",
        "Microsoft.OperationalInsights",
        "workspaces",
        &workspace.name,
        "providers",
        "Microsoft.SecurityInsights",
        "incidents",
    ]
}

/// The names of those that are open.
async fn incidents(
    run: &Run,
    api: &Manager,
    source: &str,
    spool: &mut Spool,
    workspace: &Workspace,
    filter: &str,
) -> Result<BTreeSet<String>, Problem> {
    let query = [VERSION, ("$filter", filter), ("$orderby", "properties/createdTimeUtc asc")];
    let url = api.access.url(segments(workspace), &query)?;
    let mut open = BTreeSet::new();
    let see = |incident: Incident| {
        let status = incident.properties.and_then(|p| p.status).unwrap_or_default();
        if !status.eq_ignore_ascii_case("closed") {
            open.extend(incident.name);
        }
    };
    list(run, api, source, spool, (Verb::Get, url), see).await?;
    Ok(open)
}

async fn alerts_of(run: &Run, api: &Manager, part: &mut Part, spool: &mut Spool, workspace: &Workspace, open: BTreeSet<String>) {
    if open.len() > MOST_WITH_ALERTS {
        let message = format!("{} incidents are open; the alerts of {MOST_WITH_ALERTS} of them are brought", open.len());
        part.fail(problem(ProblemKind::Limit, &part.name, message));
    }
    for incident in open.iter().take(MOST_WITH_ALERTS) {
        let source = format!("alerts of incident {incident} in workspace {}", workspace.name);
        let brought = match api.access.url(segments(workspace).into_iter().chain([incident.as_str(), "alerts"]), &[VERSION]) {
            Ok(url) => list(run, api, &source, spool, (Verb::Post, url), |_: IgnoredAny| {}).await,
            Err(problem) => Err(problem),
        };
        if let Err(problem) = brought {
            part.fail(permission(problem, NEEDED));
        }
    }
}
