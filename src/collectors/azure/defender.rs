//! Defender for Cloud: assessments with their severity, and regulatory compliance.
//!
//! Resource Manager is asked subscription by subscription, each a document of its own, so that one that is denied costs
//! itself; Resource Graph once for all of them. The list of assessments has no severity: the metadata that has it is laid
//! before the assessments in the same document, and `formats/azure_assessments.rs` joins them.

use super::super::Collected;
use super::super::client::{Spool, problem};
use super::super::session::{Call, Options, Part, Run, Session};
use super::{Access, Manager, Named, Scope, Scopes, Through, Verb, graph, list, missing_from_graph, page, permission};
use crate::domain::{Problem, ProblemKind};
use reqwest::Url;
use serde::de::IgnoredAny;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Assessments of Defender for Cloud, or its regulatory compliance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Where and who.
    pub access: Access,
    /// Of which subscriptions and management groups. With Resource Graph none is all that we may read.
    pub scopes: Scopes,
    /// Default `resource_manager`.
    pub through: Through,
    /// Default `assessments`.
    pub report: Report,
    /// Only these regulatory standards (`PCI-DSS-4`); default: all that are assigned.
    pub standards: Vec<String>,
    /// How deep regulatory compliance is read. Default `assessments`.
    pub level: Level,
    /// Pace, patience and bounds.
    pub options: Options,
}

/// What is read; decides the format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Report {
    /// `assessments`: each resource's verdict for each assessment (format `azure_assessments`).
    #[default]
    Assessments,
    /// `regulatory_compliance`: numbers by standard (format `azure_regulatory`).
    RegulatoryCompliance,
}

impl Report {
    /// Both.
    pub const ALL: [Report; 2] = [Report::Assessments, Report::RegulatoryCompliance];

    /// The word in YAML.
    pub const fn word(self) -> &'static str {
        match self {
            Report::Assessments => "assessments",
            Report::RegulatoryCompliance => "regulatory_compliance",
        }
    }
}

/// How deep regulatory compliance is read; only that level is brought, so that nothing is counted twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// `standards`: controls by standard. One request a subscription.
    Standards,
    /// `controls`: assessments by control. One more a standard.
    Controls,
    /// `assessments`: resources by assessment. One more a control.
    #[default]
    Assessments,
}

impl Level {
    /// All three.
    pub const ALL: [Level; 3] = [Level::Standards, Level::Controls, Level::Assessments];

    /// The word in YAML.
    pub const fn word(self) -> &'static str {
        match self {
            Level::Standards => "standards",
            Level::Controls => "controls",
            Level::Assessments => "assessments",
        }
    }

    /// The type of its rows in Resource Graph.
    const fn table(self) -> &'static str {
        match self {
            Level::Standards => "microsoft.security/regulatorycompliancestandards",
            Level::Controls => "microsoft.security/regulatorycompliancestandards/regulatorycompliancecontrols",
            Level::Assessments => {
                "microsoft.security/regulatorycompliancestandards/regulatorycompliancecontrols/regulatorycomplianceassessments"
            }
        }
    }
}

const ASSESSMENTS: &[(&str, &str)] = &[("api-version", "2021-06-01")];
const REGULATORY: &[(&str, &str)] = &[("api-version", "2019-01-01-preview")];
const PROVIDER: [&str; 2] = ["providers", "Microsoft.Security"];
/// Metadata changes when Microsoft adds assessments: some times a month.
const METADATA_HELD: Duration = Duration::from_secs(24 * 3600);
const MAY_READ_ASSESSMENTS: &str = "Microsoft.Security/assessments/read (role Security Reader)";
const MAY_READ_COMPLIANCE: &str = "Microsoft.Security/regulatoryComplianceStandards/read (role Security Reader), and a Defender plan";
/// There are some hundreds of assessments.
const MOST_METADATA_PAGES: usize = 200;

impl Config {
    /// What is wrong with it: (field, sentence).
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        let mut wrong = self.options.validate();
        wrong.extend(self.access.validate(&self.options.network));
        if self.through == Through::ResourceManager {
            if self.scopes == Scopes::default() {
                wrong.push(("subscriptions", "is missing; name them, or ask `through: resource_graph`".to_owned()));
            }
            if self.report == Report::RegulatoryCompliance && !self.scopes.management_groups.is_empty() {
                let message = "regulatory compliance is by subscription; ask `through: resource_graph`, or name the subscriptions";
                wrong.push(("management_groups", message.to_owned()));
            }
        }
        if self.report == Report::Assessments && !self.standards.is_empty() {
            wrong.push(("standards", "belongs to `report: regulatory_compliance`".to_owned()));
        }
        wrong
    }
}

impl Config {
    /// Requests that a run makes at least, and what makes them more.
    pub fn calls(&self) -> (u64, &'static str) {
        let scopes = self.scopes.each().len() as u64;
        let standards = self.standards.len().max(1) as u64;
        match (self.through, self.report, self.level) {
            (Through::ResourceGraph, ..) => (1 + u64::from(!self.scopes.subscriptions.is_empty()), "one a page of 1000 rows"),
            (_, Report::Assessments, _) => (scopes, "one a page, and the metadata once a day"),
            (_, _, Level::Standards) => (scopes, "one a page"),
            (_, _, Level::Controls) => (scopes.saturating_mul(1 + standards), "one a standard of each subscription"),
            (_, _, Level::Assessments) => (scopes.saturating_mul(1 + 2 * standards), "one a control of each standard of each subscription"),
        }
    }
}

/// Brings what Defender says.
pub(in super::super) async fn collect(name: &str, config: &Config, session: &Arc<Session>, deadline: Instant) -> Collected {
    let run = session.run(name, deadline);
    let api = Manager::new(&config.access);
    if config.through == Through::ResourceGraph {
        return run.finish(by_graph(&run, &api, config).await);
    }
    let shared = Arc::new(config.clone());
    let work = |run: Run, scope: Scope| {
        let (api, config) = (api.clone(), Arc::clone(&shared));
        async move {
            let mut part = Part::new(format!("defender of {scope}"));
            let mut spool = match Spool::new() {
                Ok(spool) => spool,
                Err(problem) => {
                    part.fail(problem);
                    return part;
                }
            };
            let (brought, needed) = match config.report {
                Report::Assessments => (assessments(&run, &api, &mut part, &mut spool, &scope).await, MAY_READ_ASSESSMENTS),
                Report::RegulatoryCompliance => (regulatory(&run, &api, &mut part, &mut spool, &scope, &config).await, MAY_READ_COMPLIANCE),
            };
            if let Err(problem) = brought {
                part.fail(permission(problem, needed));
            }
            part.keep(spool);
            part
        }
    };
    run.finish(run.parts(config.scopes.each(), work).await)
}

/// The metadata, then the assessments.
async fn assessments(run: &Run, api: &Manager, part: &mut Part, spool: &mut Spool, scope: &Scope) -> Result<(), Problem> {
    let segments = match scope {
        Scope::Subscription(_) => scope.segments(),
        // Those of Microsoft's own; a management group has none.
        Scope::ManagementGroup(_) => Vec::new(),
    };
    let url = api.access.url(segments.into_iter().chain(PROVIDER).chain(["assessmentMetadata"]), ASSESSMENTS)?;
    if let Err(problem) = metadata(run, api, &format!("{} metadata", part.name), spool, url).await {
        // Verdicts without severity are better than none, and are told to lack something.
        part.fail(permission(problem, "Microsoft.Security/assessmentMetadata/read (role Security Reader)"));
    }
    let url = api.access.url(scope.segments().into_iter().chain(PROVIDER).chain(["assessments"]), ASSESSMENTS)?;
    list(run, api, &part.name, spool, (Verb::Get, url), |_: IgnoredAny| {}).await
}

/// Pages that seldom change: from memory for a day.
async fn metadata(run: &Run, api: &Manager, source: &str, spool: &mut Spool, first: Url) -> Result<(), Problem> {
    let mut url = first.clone();
    for _ in 0..MOST_METADATA_PAGES {
        let body = run.kept(api, source, &Call::get(url), METADATA_HELD).await?;
        let (_, next) = page::<IgnoredAny>(source, &body)?;
        spool.write(&body)?;
        spool.write(b"\n")?;
        match next {
            None => return Ok(()),
            Some(link) => url = run.link(source, &first, &link)?,
        }
    }
    Err(problem(ProblemKind::Limit, source, format!("more than {MOST_METADATA_PAGES} pages of metadata")))
}

/// The numbers of one level.
async fn regulatory(run: &Run, api: &Manager, part: &mut Part, spool: &mut Spool, scope: &Scope, config: &Config) -> Result<(), Problem> {
    let name = part.name.clone();
    let mut path: Vec<String> = scope.segments().into_iter().chain(PROVIDER).map(str::to_owned).collect();
    path.push("regulatoryComplianceStandards".to_owned());
    let standards = names(run, api, &name, spool, &path, config.level == Level::Standards).await?;
    for wanted in &config.standards {
        if !standards.iter().any(|s| s.eq_ignore_ascii_case(wanted)) {
            part.fail(problem(
                ProblemKind::Empty,
                &name,
                format!("standard {wanted} is not among those assigned: {}", standards.join(", ")),
            ));
        }
    }
    if config.level == Level::Standards {
        return Ok(());
    }
    let wanted = |s: &String| config.standards.is_empty() || config.standards.iter().any(|w| w.eq_ignore_ascii_case(s));
    for standard in standards.iter().filter(|s| wanted(s)) {
        let path = [path.as_slice(), &[standard.clone(), "regulatoryComplianceControls".to_owned()]].concat();
        let name = format!("{name}, {standard}");
        // One that fails costs itself.
        let controls = match names(run, api, &name, spool, &path, config.level == Level::Controls).await {
            Ok(controls) => controls,
            Err(problem) => {
                part.fail(permission(problem, MAY_READ_COMPLIANCE));
                continue;
            }
        };
        if config.level == Level::Controls {
            continue;
        }
        for control in controls {
            let path = [path.as_slice(), &[control.clone(), "regulatoryComplianceAssessments".to_owned()]].concat();
            if let Err(problem) = names(run, api, &format!("{name} {control}"), spool, &path, true).await {
                part.fail(permission(problem, MAY_READ_COMPLIANCE));
            }
        }
    }
    Ok(())
}

/// The names in a list; its pages go into `spool` if they are `wanted`.
async fn names(run: &Run, api: &Manager, source: &str, spool: &mut Spool, path: &[String], wanted: bool) -> Result<Vec<String>, Problem> {
    let url = api.access.url(path.iter().map(String::as_str), REGULATORY)?;
    let mut names = Vec::new();
    let mut scratch = Spool::new()?;
    let into = if wanted { spool } else { &mut scratch };
    let brought = list(run, api, source, into, (Verb::Get, url), |n: Named| names.extend(n.name)).await;
    // A walk that began again saw some twice.
    names.sort();
    names.dedup();
    brought.map(|()| names)
}

/// One query for all scopes.
async fn by_graph(run: &Run, api: &Manager, config: &Config) -> Part {
    let (what, table) = match config.report {
        Report::Assessments => ("assessments", "microsoft.security/assessments"),
        Report::RegulatoryCompliance => ("regulatory compliance", config.level.table()),
    };
    let mut part = Part::new(format!("defender {what} by Resource Graph"));
    let mut spool = match Spool::new() {
        Ok(spool) => spool,
        Err(problem) => {
            part.fail(problem);
            return part;
        }
    };
    let mut rows = format!("securityresources | where type =~ '{table}'");
    if config.report == Report::RegulatoryCompliance && !config.standards.is_empty() {
        // The standard's place is the same in the id of every level.
        let quoted: Vec<String> = config.standards.iter().map(|s| format!("'{}'", s.replace('\\', "\\\\").replace('\'', "\\'"))).collect();
        rows.push_str(&format!(
            " | where extract('/regulatoryComplianceStandards/([^/]+)', 1, id, typeof(string)) in~ ({})",
            quoted.join(", ")
        ));
    }
    let query = format!("{rows} | project id, name, type, subscriptionId, properties | order by id asc");
    let name = part.name.clone();
    if let Err(problem) = graph(run, api, &name, &mut spool, &config.scopes, &query, |_: IgnoredAny| {}).await {
        part.fail(permission(problem, "reader access to the subscriptions (roles Reader, Security Reader)"));
    }
    part.keep(spool);
    let hint = "Defender for Cloud has nothing there, or we lack Security Reader";
    missing_from_graph(run, api, &mut part, &config.scopes, &rows, hint).await;
    part
}
