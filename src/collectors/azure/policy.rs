//! Azure Policy: the latest state of each resource under each policy.
//!
//! The states come by `POST`, a thousand a page. They are as old as Azure's last evaluation, up to a day; each says when.

use super::super::Collected;
use super::super::client::Spool;
use super::super::session::{Options, Part, Run, Session};
use super::{Access, Manager, Scope, Scopes, Through, Verb, graph, list, missing_from_graph, permission};
use serde::de::IgnoredAny;
use std::sync::Arc;
use tokio::time::Instant;

/// Compliance states of Azure Policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Where and who.
    pub access: Access,
    /// Of which subscriptions and management groups. With Resource Graph none is all that we may read.
    pub scopes: Scopes,
    /// Default `resource_manager`.
    pub through: Through,
    /// An OData filter, for Resource Manager: `policySetDefinitionName eq '1f3afdf9-…'`. One that leaves out compliant
    /// states leaves a ratio without its good side. Default: none.
    pub filter: Option<String>,
    /// Pace, patience and bounds.
    pub options: Options,
}

const NEEDED: &str = "Microsoft.PolicyInsights/policyStates/queryResults/action (role Reader or Resource Policy Contributor)";

impl Config {
    /// What is wrong with it: (field, sentence).
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        let mut wrong = self.options.validate();
        wrong.extend(self.access.validate(&self.options.network));
        if self.through == Through::ResourceManager && self.scopes == Scopes::default() {
            wrong.push(("subscriptions", "is missing; name them, or ask `through: resource_graph`".to_owned()));
        }
        if self.through == Through::ResourceGraph && self.filter.is_some() {
            wrong.push(("filter", "is Resource Manager's; Resource Graph does not know it".to_owned()));
        }
        wrong
    }

    /// Requests that a run makes at least, and what makes them more.
    pub fn calls(&self) -> (u64, &'static str) {
        match self.through {
            Through::ResourceGraph => (1 + u64::from(!self.scopes.subscriptions.is_empty()), "one a page of 1000 rows"),
            Through::ResourceManager => (self.scopes.each().len() as u64, "one a page of 1000 states"),
        }
    }
}

/// Brings the latest states.
pub(in super::super) async fn collect(name: &str, config: &Config, session: &Arc<Session>, deadline: Instant) -> Collected {
    let run = session.run(name, deadline);
    let api = Manager::new(&config.access);
    if config.through == Through::ResourceGraph {
        return run.finish(by_graph(&run, &api, config).await);
    }
    let filter = config.filter.clone();
    let work = |run: Run, scope: Scope| {
        let (api, filter) = (api.clone(), filter.clone());
        async move {
            let mut part = Part::new(format!("policy states of {scope}"));
            let segments = ["providers", "Microsoft.PolicyInsights", "policyStates", "latest", "queryResults"];
            // No `$top`: it is how many there are at most, and not a page's size.
            let mut query = vec![("api-version", "2019-10-01")];
            query.extend(filter.as_deref().map(|f| ("$filter", f)));
            let brought = async {
                let url = api.access.url(scope.segments().into_iter().chain(segments), &query)?;
                let mut spool = Spool::new()?;
                let brought = list(&run, &api, &part.name, &mut spool, (Verb::Post, url), |_: IgnoredAny| {}).await;
                Ok((spool, brought))
            };
            match brought.await {
                Ok((spool, brought)) => {
                    if let Err(problem) = brought {
                        part.fail(permission(problem, NEEDED));
                    }
                    part.keep(spool);
                }
                Err(problem) => part.fail(problem),
            }
            part
        }
    };
    run.finish(run.parts(config.scopes.each(), work).await)
}

/// One query for all scopes.
async fn by_graph(run: &Run, api: &Manager, config: &Config) -> Part {
    let mut part = Part::new("policy states by Resource Graph");
    let mut spool = match Spool::new() {
        Ok(spool) => spool,
        Err(problem) => {
            part.fail(problem);
            return part;
        }
    };
    let rows = "policyresources | where type =~ 'microsoft.policyinsights/policystates'";
    let query = format!("{rows} | project id, name, type, subscriptionId, properties | order by id asc");
    let name = part.name.clone();
    if let Err(problem) = graph(run, api, &name, &mut spool, &config.scopes, &query, |_: IgnoredAny| {}).await {
        part.fail(permission(problem, "reader access to the subscriptions (role Reader)"));
    }
    part.keep(spool);
    let hint = "no policy is assigned there, or we may not read it (role Reader)";
    missing_from_graph(run, api, &mut part, &config.scopes, rows, hint).await;
    part
}
