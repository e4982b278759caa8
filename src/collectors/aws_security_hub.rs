//! AWS Security Hub: control findings by its API, as ASFF (CSPM, `GetFindings`) or OCSF (`GetFindingsV2`).
//!
//! Specifications: <https://docs.aws.amazon.com/securityhub/1.0/APIReference/API_GetFindings.html>,
//! <https://docs.aws.amazon.com/securityhub/1.0/APIReference/API_GetFindingsV2.html>.
//!
//! Each account and region is a document of its own; with an aggregation region and the delegated administrator's
//! credentials one place lists all. By default only active records of Security Hub itself are asked for: Inspector and
//! GuardDuty are in the same list, tenfold, and say nothing about a control.
//!
//! A control that is switched off in an enabled standard has no findings, which would look as if nobody asked for it:
//! it is added as a finding of its own about the account, `NOT_AVAILABLE`, so that it shows as unknown. The format reads
//! it as it reads the others.

use super::Collected;
use super::aws::{self, Cell, needs};
use super::client::{Spool, problem};
use super::session::{self, Call, Options, Part, Reply, Run, Session};
use crate::clock;
use crate::domain::{Problem, ProblemKind};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Security Hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Who asks, where, and how.
    pub aws: aws::Config,
    /// Products whose findings are asked for. Default `[Security Hub]`; `[]` asks for all.
    pub products: Vec<String>,
    /// Only findings of these standards, as `standards/aws-foundational-security-best-practices/v/1.0.0`. Default: all.
    pub standards: Vec<String>,
    /// More filters, in the API's own words (`AwsSecurityFindingFilters`; for V2 one composite filter). One that stands here
    /// takes the place of ours of the same name. Default: none.
    pub filters: BTreeMap<String, Value>,
    /// Ask which controls are switched off, and show them as unknown (ASFF only). Default: true.
    pub disabled_controls: bool,
    /// Ask for the whole organisation (V2, delegated administrator): its id, `o-…`. Default: what the account sees.
    pub organization_id: Option<String>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            aws: aws::Config { options: options(), ..aws::Config::default() },
            products: vec!["Security Hub".to_owned()],
            standards: Vec::new(),
            filters: BTreeMap::new(),
            disabled_controls: true,
            organization_id: None,
        }
    }
}

/// `GetFindings` is allowed three times a second, with a burst of six.
pub fn options() -> Options {
    Options { requests_per_second: 3, burst: 6, ..Options::default() }
}

/// Findings of a page; the API gives no more.
const PAGE: u64 = 100;
/// What is switched off changes seldom.
const METADATA_FOR: Duration = Duration::from_secs(6 * 3600);

impl Config {
    /// What is wrong with it: (field, sentence).
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        let mut wrong = self.aws.validate();
        for (field, list) in [("products", &self.products), ("standards", &self.standards)] {
            if list.len() > 20 {
                wrong.push((field, format!("{} of them; the API takes at most 20 values", list.len())));
            }
        }
        for standard in &self.standards {
            if !(standard.starts_with("standards/") || standard.starts_with("ruleset/")) {
                wrong.push(("standards", format!("`{standard}` is not a standard; expected `standards/<name>/v/<version>`")));
            }
        }
        if self.filters.len() > 8 {
            wrong.push(("filters", "the API takes at most 10 attributes, and two are ours".to_owned()));
        }
        wrong
    }

    fn filters(&self) -> Value {
        let equal = |values: &[String]| -> Value { values.iter().map(|v| json!({"Value": v, "Comparison": "EQUALS"})).collect() };
        let mut filters = serde_json::Map::new();
        filters.insert("RecordState".to_owned(), json!([{"Value": "ACTIVE", "Comparison": "EQUALS"}]));
        if !self.products.is_empty() {
            filters.insert("ProductName".to_owned(), equal(&self.products));
        }
        if !self.standards.is_empty() {
            filters.insert("ComplianceAssociatedStandardsId".to_owned(), equal(&self.standards));
        }
        filters.extend(self.filters.clone());
        Value::Object(filters)
    }

    fn filters_v2(&self) -> Value {
        let one_of = |field: &str, values: &[String]| -> Value {
            let filters: Vec<Value> =
                values.iter().map(|v| json!({"FieldName": field, "Filter": {"Value": v, "Comparison": "EQUALS"}})).collect();
            json!({"StringFilters": filters, "Operator": "OR"})
        };
        let mut composites = vec![one_of("class_name", &["Compliance Finding".to_owned()])];
        if !self.products.is_empty() && self.products != Config::default().products {
            composites.push(one_of("metadata.product.name", &self.products));
        }
        if !self.standards.is_empty() {
            composites.push(one_of("compliance.standards", &self.standards));
        }
        if !self.filters.is_empty() {
            composites.push(self.filters.clone().into_iter().collect());
        }
        json!({"CompositeFilters": composites, "CompositeOperator": "AND"})
    }
}

/// Which of its two APIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Cspm,
    V2,
}

/// Brings the findings of every account and region.
pub(super) async fn collect(name: &str, config: &Config, version: Version, session: &Arc<Session>, deadline: Instant) -> Collected {
    let run = session.run(name, deadline);
    let config = Arc::new(config.clone());
    let cells = Arc::new(config.aws.clone()).cells();
    let part = run.parts(cells, |run, cell| {
        let config = Arc::clone(&config);
        async move { findings(&run, &config, version, &cell).await }
    });
    let part = part.await;
    run.finish(part)
}

async fn findings(run: &Run, config: &Config, version: Version, cell: &Cell) -> Part {
    let mut part = Part::new(cell.name("securityhub"));
    part.fields = cell.fields();
    let endpoint = cell.endpoint("securityhub").0;
    let (path, mut body, permission) = match version {
        Version::Cspm => ("/findings", json!({"Filters": config.filters()}), "securityhub:GetFindings"),
        Version::V2 => ("/findingsv2", json!({"Filters": config.filters_v2()}), "securityhub:GetFindingsV2"),
    };
    body["MaxResults"] = PAGE.into();
    if let (Version::V2, Some(id)) = (version, &config.organization_id) {
        body["Scopes"] = json!({"AwsOrganizations": [{"OrganizationId": id}]});
    }
    let mut spool = match Spool::new() {
        Ok(spool) => spool,
        Err(problem) => {
            part.fail(problem);
            return part;
        }
    };
    let service = cell.service("securityhub");
    if let (Version::Cspm, true) = (version, config.disabled_controls) {
        // Before the findings: the last page of a document tells whether it is the whole answer.
        match disabled(run, cell, &endpoint, &config.standards).await {
            Ok(page) => {
                if let Some(page) = page
                    && let Err(problem) = spool.write(page.as_bytes())
                {
                    part.fail(problem);
                }
            }
            // What is switched off stays unsaid, and that is said; the findings are whole all the same.
            Err(problem) => part.problems.push(Problem {
                message: format!(
                    "which controls are switched off is not known: {}; `disabled_controls: false` does not ask",
                    problem.message
                ),
                ..problem
            }),
        }
    }
    let page = |cursor: Option<&str>| {
        let mut body = body.clone();
        if let Some(token) = cursor {
            body["NextToken"] = token.into();
        }
        Ok(Call::post_json(session::at(&endpoint, path)?, &body))
    };
    let listed = spool.len();
    let mut any = false;
    let next = |reply: &Reply| next_token(reply, &mut any);
    match run.walk(&service, &part.name, &mut spool, page, next).await {
        Err(problem) => part.fail(needs(problem, permission)),
        // Controls that are switched off stand in the document, so that it is not empty by itself.
        Ok(()) if listed > 0 && !any => {
            part.fail(problem(ProblemKind::Empty, &part.name, "there are no findings; nothing was said about any resource"));
        }
        Ok(()) => {}
    }
    if spool.len() > listed {
        part.keep(spool);
    }
    part
}

/// The next page's name; `any` is set when this one has findings.
fn next_token(reply: &Reply, any: &mut bool) -> Result<Option<String>, Problem> {
    #[derive(Deserialize)]
    struct Page {
        #[serde(default, rename = "Findings")]
        findings: Option<Vec<serde::de::IgnoredAny>>,
        #[serde(default, rename = "NextToken")]
        next_token: Option<String>,
    }
    let page = reply.json::<Page>()?;
    *any |= page.findings.is_some_and(|f| !f.is_empty());
    Ok(page.next_token.filter(|t| !t.is_empty()))
}

/// A control in one standard.
struct Member {
    /// As findings name it.
    id: String,
    standard: String,
    on: bool,
    reason: Option<String>,
    title: String,
    generator: String,
}

/// The controls of enabled standards that are switched off, as a page of findings. With consolidated findings a control
/// that is on in any standard is on.
async fn disabled(run: &Run, cell: &Cell, endpoint: &str, only: &[String]) -> Result<Option<String>, Problem> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Hub {
        hub_arn: String,
        #[serde(default)]
        control_finding_generator: String,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Standard {
        standards_arn: String,
        standards_subscription_arn: String,
    }
    let metadata = Metadata { run, service: cell.service("securityhub"), source: cell.name("securityhub"), endpoint };
    let hub: Hub = metadata.ask(&Call::get(session::at(endpoint, "/accounts")?), "securityhub:DescribeHub").await?;
    let mut standards: Vec<Standard> =
        metadata.list("POST /standards/get", json!({}), "StandardsSubscriptions", "securityhub:GetEnabledStandards").await?;
    if !only.is_empty() {
        standards.retain(|s| only.iter().any(|o| s.standards_arn.ends_with(o.as_str())));
    }
    let consolidated = hub.control_finding_generator == "SECURITY_CONTROL";
    let mut controls: BTreeMap<String, Vec<Member>> = BTreeMap::new();
    for standard in &standards {
        let members = if consolidated {
            metadata.associations(&standard.standards_arn).await?
        } else {
            metadata.members(&standard.standards_arn, &standard.standards_subscription_arn).await?
        };
        for member in members {
            controls.entry(member.id.clone()).or_default().push(member);
        }
    }
    let (account, partition) = (hub.hub_arn.split(':').nth(4).unwrap_or_default(), hub.hub_arn.split(':').nth(1).unwrap_or("aws"));
    let now = clock::now().to_string();
    let finding = |member: &Member, standards: Vec<&str>| {
        let reason = member.reason.as_deref().filter(|r| !r.is_empty()).unwrap_or("no reason is given");
        let mut finding = json!({
            "SchemaVersion": "2018-10-08",
            "Id": format!("{}/disabled/{}", hub.hub_arn, member.generator),
            "ProductArn": format!("arn:{partition}:securityhub:{}::product/aws/securityhub", cell.region),
            "ProductName": "Security Hub",
            "GeneratorId": member.generator,
            "AwsAccountId": account, "Region": cell.region,
            "CreatedAt": now, "UpdatedAt": now, "LastObservedAt": now,
            "Title": member.title, "Description": format!("the control is switched off: {reason}"),
            "RecordState": "ACTIVE", "Workflow": {"Status": "NEW"},
            "Compliance": {"Status": "NOT_AVAILABLE", "StatusReasons": [{"ReasonCode": "CONTROL_DISABLED", "Description": reason}]},
            "Resources": [{"Type": "AwsAccount", "Id": format!("AWS::::Account:{account}"), "Region": cell.region}],
            "ProductFields": {},
        });
        if consolidated {
            let ids: Vec<Value> = standards.iter().map(|s| json!({"StandardsId": s.split_once("::").map_or(*s, |(_, id)| id)})).collect();
            finding["Compliance"]["SecurityControlId"] = member.id.as_str().into();
            finding["Compliance"]["AssociatedStandards"] = ids.into();
        } else {
            finding["ProductFields"] = json!({"StandardsArn": member.standard, "ControlId": member.id});
        }
        finding
    };
    let mut findings: Vec<Value> = Vec::new();
    for members in controls.values() {
        if !consolidated {
            findings.extend(members.iter().filter(|m| !m.on).map(|m| finding(m, Vec::new())));
        } else if let (false, Some(first)) = (members.iter().any(|m| m.on), members.first()) {
            findings.push(finding(first, members.iter().map(|m| m.standard.as_str()).collect()));
        }
    }
    Ok((!findings.is_empty()).then(|| format!("{}\n", json!({"Findings": findings}))))
}

/// Questions about standards and controls, answered from memory for some hours.
struct Metadata<'a> {
    run: &'a Run,
    service: aws::Service,
    source: String,
    endpoint: &'a str,
}

impl Metadata<'_> {
    async fn ask<T: DeserializeOwned>(&self, call: &Call, permission: &str) -> Result<T, Problem> {
        let body = self.run.kept(&self.service, &self.source, call, METADATA_FOR).await.map_err(|p| needs(p, permission))?;
        serde_json::from_slice(&body).map_err(|e| self.wrong(permission, &e))
    }

    fn wrong(&self, permission: &str, why: &dyn std::fmt::Display) -> Problem {
        let message = format!("the answer to {permission} is not as the API describes it: {why}");
        problem(ProblemKind::Source, &self.source, message)
    }

    /// All pages of a list: the token goes into the body of a `POST`, into the query of a `GET`.
    async fn list<T: DeserializeOwned>(&self, what: &str, body: Value, member: &str, permission: &str) -> Result<Vec<T>, Problem> {
        let (method, path) = what.split_once(' ').unwrap_or(("GET", what));
        let mut all = Vec::new();
        let mut token: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let mut url = session::at(self.endpoint, path)?;
            let call = if method == "POST" {
                let mut body = body.clone();
                if let Some(token) = &token {
                    body["NextToken"] = token.as_str().into();
                }
                Call::post_json(url, &body)
            } else {
                url.query_pairs_mut().append_pair("MaxResults", "100");
                if let Some(token) = &token {
                    url.query_pairs_mut().append_pair("NextToken", token);
                }
                Call::get(url)
            };
            let mut page: Value = self.ask(&call, permission).await?;
            let records: Vec<T> = serde_json::from_value(page[member].take()).map_err(|e| self.wrong(permission, &e))?;
            all.extend(records);
            token = page["NextToken"].as_str().filter(|t| !t.is_empty()).map(str::to_owned);
            if token.is_none() {
                return Ok(all);
            }
        }
        Err(self.wrong(permission, &format!("more than {MOST_PAGES} pages")))
    }

    /// The controls of one standard, where each standard has findings of its own.
    async fn members(&self, standard: &str, subscription: &str) -> Result<Vec<Member>, Problem> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Control {
            #[serde(default)]
            standards_control_arn: String,
            control_id: String,
            #[serde(default)]
            control_status: String,
            disabled_reason: Option<String>,
            #[serde(default)]
            title: String,
        }
        let what = format!("GET /standards/controls/{subscription}");
        let controls: Vec<Control> = self.list(&what, Value::Null, "Controls", "securityhub:DescribeStandardsControls").await?;
        let member = |c: Control| Member {
            id: c.control_id,
            standard: standard.to_owned(),
            on: c.control_status != "DISABLED",
            reason: c.disabled_reason,
            title: c.title,
            generator: c.standards_control_arn,
        };
        Ok(controls.into_iter().map(member).collect())
    }

    /// The controls of one standard by their consolidated ids.
    async fn associations(&self, standard: &str) -> Result<Vec<Member>, Problem> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Definition {
            security_control_id: String,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Association {
            security_control_id: String,
            #[serde(default)]
            association_status: String,
            updated_reason: Option<String>,
            #[serde(default)]
            standards_control_title: String,
        }
        let mut path = session::at(self.endpoint, "/securityControls/definitions")?;
        path.query_pairs_mut().append_pair("StandardsArn", standard);
        let what = format!("GET /securityControls/definitions?{}", path.query().unwrap_or_default());
        let definitions: Vec<Definition> =
            self.list(&what, Value::Null, "SecurityControlDefinitions", "securityhub:ListSecurityControlDefinitions").await?;
        let mut members = Vec::new();
        for some in definitions.chunks(100) {
            let ids: Vec<Value> =
                some.iter().map(|d| json!({"SecurityControlId": d.security_control_id, "StandardsArn": standard})).collect();
            let call =
                Call::post_json(session::at(self.endpoint, "/associations/batchGet")?, &json!({"StandardsControlAssociationIds": ids}));
            let permission = "securityhub:BatchGetStandardsControlAssociations";
            let mut page: Value = self.ask(&call, permission).await?;
            let found: Vec<Association> =
                serde_json::from_value(page["StandardsControlAssociationDetails"].take()).map_err(|e| self.wrong(permission, &e))?;
            members.extend(found.into_iter().map(|a| Member {
                generator: format!("security-control/{}", a.security_control_id),
                id: a.security_control_id,
                standard: standard.to_owned(),
                on: a.association_status != "DISABLED",
                reason: a.updated_reason,
                title: a.standards_control_title,
            }));
        }
        Ok(members)
    }
}

/// Pages of a list of metadata.
const MOST_PAGES: u32 = 100;
