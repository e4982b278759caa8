//! AWS Config: what its rules found about each resource, by its API, in accounts and regions or through an aggregator.
//!
//! Specification: <https://docs.aws.amazon.com/config/latest/APIReference/>.
//!
//! A document for each account and region: first the rules (`ConfigRules`, by which the format knows a rule's identifier,
//! account and region), then the rules that have never been evaluated (`INSUFFICIENT_DATA`, which is no evidence), then the
//! pages of evaluations of every other rule. Rules that are being deleted are not asked. A rule that cannot be read costs
//! itself, and the run is partial.

use super::Collected;
use super::aws::{self, Cell, json11, needs};
use super::client::{Spool, problem};
use super::session::{Call, Options, Part, Reply, Run, Session};
use crate::domain::{Problem, ProblemKind};
use globset::{Glob, GlobSet, GlobSetBuilder};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::Instant;

/// AWS Config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Who asks, where, and how.
    pub aws: aws::Config,
    /// A configuration aggregator, which has the results of many accounts and regions; asked in the region it is in.
    /// Default: none, each account and region is asked.
    pub aggregator: Option<String>,
    /// Only rules whose name matches one of these globs. Default: all. Example: `["*s3*", "securityhub-*"]`.
    pub rules: Vec<String>,
    /// What a check is called. Default `name`.
    pub check: Check,
}

/// What a check is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// `name`: the rule's name, as it was deployed.
    Name,
    /// `identifier`: of a rule that AWS manages its identifier (`S3_BUCKET_PUBLIC_READ_PROHIBITED`), whatever name it was
    /// deployed under; of others the name.
    Identifier,
}

impl Check {
    /// Every variant.
    pub const ALL: [Check; 2] = [Check::Name, Check::Identifier];

    /// The word in YAML.
    pub const fn word(self) -> &'static str {
        match self {
            Check::Name => "name",
            Check::Identifier => "identifier",
        }
    }
}

impl Default for Config {
    fn default() -> Config {
        let aws = aws::Config { options: options(), ..aws::Config::default() };
        Config { aws, aggregator: None, rules: Vec::new(), check: Check::Name }
    }
}

/// AWS says nothing of how often it may be asked; this is well below what is met.
pub fn options() -> Options {
    Options { requests_per_second: 5, burst: 10, ..Options::default() }
}

impl Config {
    /// What is wrong with it: (field, sentence).
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        let mut wrong = self.aws.validate();
        for glob in &self.rules {
            if let Err(e) = Glob::new(glob) {
                wrong.push(("rules", e.to_string()));
            }
        }
        if let (Some(_), true) = (&self.aggregator, self.aws.regions.len() > 1 || self.aws.accounts.len() > 1) {
            wrong.push(("aggregator", "is in one account and region, and has the results of all".to_owned()));
        }
        if let (Some(_), Check::Identifier) = (&self.aggregator, self.check) {
            wrong.push(("check", "an aggregator does not tell the identifiers of rules; write `check: name`".to_owned()));
        }
        wrong
    }

    fn globs(&self) -> Option<GlobSet> {
        if self.rules.is_empty() {
            return None;
        }
        let mut set = GlobSetBuilder::new();
        for glob in self.rules.iter().filter_map(|g| Glob::new(g).ok()) {
            set.add(glob);
        }
        set.build().ok()
    }
}

/// Evaluations of a page; the API gives no more.
const PAGE: u32 = 100;
/// Rules of one account and region; AWS allows 1000.
const MOST_RULES: usize = 20_000;

/// Brings the evaluations of every account and region.
pub(super) async fn collect(name: &str, config: &Config, session: &Arc<Session>, deadline: Instant) -> Collected {
    let run = session.run(name, deadline);
    let config = Arc::new(config.clone());
    let cells = Arc::new(config.aws.clone()).cells();
    let part = if let (Some(aggregator), Some(cell)) = (&config.aggregator, cells.first()) {
        aggregated(&run, &config, cell, aggregator).await
    } else {
        let of_cell = |run: Run, cell: Cell| {
            let config = Arc::clone(&config);
            async move { evaluations(&run, &config, &cell).await }
        };
        run.parts(cells, of_cell).await
    };
    run.finish(part)
}

#[derive(Deserialize)]
struct Token {
    #[serde(default, rename = "NextToken")]
    next: Option<String>,
}

fn next_token(reply: &Reply) -> Result<Option<String>, Problem> {
    Ok(reply.json::<Token>()?.next.filter(|t| !t.is_empty()))
}

/// Pages of an operation.
fn pages(cell: &Cell, operation: &'static str, body: Value) -> impl Fn(Option<&str>) -> Result<Call, Problem> + Send + 'static {
    let endpoint = cell.endpoint("config").0;
    move |cursor| {
        let mut body = body.clone();
        if let Some(token) = cursor {
            body["NextToken"] = token.into();
        }
        json11(&endpoint, operation, &body)
    }
}

/// The records of all pages of a list that is read here.
async fn list(run: &Run, cell: &Cell, operation: &'static str, body: Value, member: &str) -> Result<Vec<Value>, Problem> {
    let source = cell.name("config");
    let service = cell.service("config");
    let mut spool = Spool::new()?;
    let mut all = Vec::new();
    let page = pages(cell, operation, body);
    let all_of = &mut all;
    let next = |reply: &Reply| {
        let mut page: Value = reply.json()?;
        let next = page["NextToken"].as_str().filter(|t| !t.is_empty()).map(str::to_owned);
        match page[member].take() {
            Value::Array(records) => {
                // Whoever reads the list takes out what came twice, since it began again or moved.
                all_of.extend(records);
            }
            Value::Null => {}
            _ => return Err(problem(ProblemKind::Source, cell.name("config"), format!("`{member}` is no list"))),
        }
        if all_of.len() > MOST_RULES * 100 {
            return Err(problem(ProblemKind::Limit, cell.name("config"), format!("more than {} records in `{member}`", MOST_RULES * 100)));
        }
        Ok(next)
    };
    run.walk(&service, &source, &mut spool, page, next).await?;
    Ok(all)
}

async fn evaluations(run: &Run, config: &Config, cell: &Cell) -> Part {
    let mut part = Part::new(cell.name("config"));
    part.fields = cell.fields();
    if let Err(problem) = of_cell(run, config, cell, &mut part).await {
        part.fail(problem);
    }
    part
}

/// The rules of one account and region, and what they found.
async fn of_cell(run: &Run, config: &Config, cell: &Cell, part: &mut Part) -> Result<(), Problem> {
    let account = cell.account_id(run).await.map_err(|p| needs(p, "sts:GetCallerIdentity"))?;
    if cell.account.id.is_empty() {
        part.fields.push(("account".to_owned(), account));
    }
    let globs = config.globs();
    let wanted = |name: &str| globs.as_ref().is_none_or(|g| g.is_match(name));
    let rules = list(run, cell, "StarlingDoveService.DescribeConfigRules", json!({}), "ConfigRules").await;
    let mut rules = rules.map_err(|p| needs(p, "config:DescribeConfigRules"))?;
    rules.retain(|rule| {
        let gone = rule["ConfigRuleState"].as_str().is_some_and(|s| s.starts_with("DELETING"));
        !gone && rule["ConfigRuleName"].as_str().is_some_and(wanted)
    });
    dedup(&mut rules);
    if rules.is_empty() {
        let what = if globs.is_some() { "no rule matches `rules`" } else { "there is no rule; is AWS Config set up there?" };
        return Err(problem(ProblemKind::Empty, cell.name("config"), what));
    }
    let never = list(
        run,
        cell,
        "StarlingDoveService.DescribeComplianceByConfigRule",
        json!({"ComplianceTypes": ["INSUFFICIENT_DATA"]}),
        "ComplianceByConfigRules",
    );
    let mut never = never.await.map_err(|p| needs(p, "config:DescribeComplianceByConfigRule"))?;
    never.retain(|rule| rule["Compliance"]["ComplianceType"] == "INSUFFICIENT_DATA" && rule["ConfigRuleName"].as_str().is_some_and(wanted));
    dedup(&mut never);
    let mut spool = Spool::new()?;
    let check_by = config.check.word();
    spool.write(format!("{}\n", json!({"CheckBy": check_by, "ConfigRules": rules})).as_bytes())?;
    let head = spool.len();
    if !never.is_empty() {
        spool.write(format!("{}\n", json!({"ComplianceByConfigRules": never})).as_bytes())?;
    }
    let never: Vec<&str> = never.iter().filter_map(|r| r["ConfigRuleName"].as_str()).collect();
    let service = cell.service("config");
    for rule in rules.iter().filter_map(|r| r["ConfigRuleName"].as_str()).filter(|r| !never.contains(r)) {
        let body = json!({"ConfigRuleName": rule, "Limit": PAGE});
        let page = pages(cell, "StarlingDoveService.GetComplianceDetailsByConfigRule", body);
        if let Err(problem) = run.walk(&service, &part.name, &mut spool, page, next_token).await {
            // Whoever is denied one rule is denied all.
            let denied = problem.kind == ProblemKind::Denied || problem.kind == ProblemKind::Timeout;
            let problem = needs(problem, "config:GetComplianceDetailsByConfigRule");
            part.fail(Problem { message: format!("rule {rule}: {}", problem.message), ..problem });
            if denied {
                break;
            }
        }
    }
    if spool.len() > head {
        part.keep(spool);
    }
    Ok(())
}

/// A record that came on two pages, since the list moved between them.
fn dedup(records: &mut Vec<Value>) {
    let mut seen = std::collections::HashSet::new();
    records.retain(|r| seen.insert((r["ConfigRuleName"].to_string(), r["AccountId"].to_string(), r["AwsRegion"].to_string())));
}

/// What an aggregator has.
async fn aggregated(run: &Run, config: &Config, cell: &Cell, aggregator: &str) -> Part {
    let mut whole = Part::new(cell.name("config"));
    let listing = list(
        run,
        cell,
        "StarlingDoveService.DescribeAggregateComplianceByConfigRules",
        json!({"ConfigurationAggregatorName": aggregator, "Limit": 1000}),
        "AggregateComplianceByConfigRules",
    );
    let mut listed = match listing.await {
        Ok(listed) => listed,
        Err(problem) => {
            whole.fail(needs(problem, "config:DescribeAggregateComplianceByConfigRules"));
            return whole;
        }
    };
    let globs = config.globs();
    listed.retain(|r| r["ConfigRuleName"].as_str().is_some_and(|name| globs.as_ref().is_none_or(|g| g.is_match(name))));
    dedup(&mut listed);
    let mut places: BTreeMap<(String, String), Vec<Value>> = BTreeMap::new();
    for rule in listed {
        let text = |k: &str| rule[k].as_str().unwrap_or_default().to_owned();
        places.entry((text("AccountId"), text("AwsRegion"))).or_default().push(rule);
    }
    if places.is_empty() {
        whole.fail(problem(ProblemKind::Empty, cell.name("config"), format!("aggregator {aggregator} lists no rule")));
        return whole;
    }
    let aggregator: Arc<str> = aggregator.into();
    let part = run.parts(places.into_iter().collect(), |run, ((account, region), rules)| {
        let (cell, aggregator) = (cell.clone(), Arc::clone(&aggregator));
        async move { of_place(&run, &cell, &aggregator, account, region, rules).await }
    });
    whole.add(part.await);
    whole
}

/// What an aggregator has of one account and region.
async fn of_place(run: &Run, cell: &Cell, aggregator: &str, account: String, region: String, rules: Vec<Value>) -> Part {
    let mut part = Part::new(format!("config {account} {region}"));
    part.fields = [("provider", "aws"), ("account", &account), ("region", &region)].map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec();
    let (never, evaluated): (Vec<_>, Vec<_>) = rules.into_iter().partition(|r| r["Compliance"]["ComplianceType"] == "INSUFFICIENT_DATA");
    let mut spool = match Spool::new() {
        Ok(spool) => spool,
        Err(problem) => {
            part.fail(problem);
            return part;
        }
    };
    if !never.is_empty()
        && let Err(problem) = spool.write(format!("{}\n", json!({"AggregateComplianceByConfigRules": never})).as_bytes())
    {
        part.fail(problem);
    }
    let service = cell.service("config");
    for rule in evaluated.iter().filter_map(|r| r["ConfigRuleName"].as_str()) {
        let body = json!({
            "ConfigurationAggregatorName": aggregator, "ConfigRuleName": rule, "AccountId": account, "AwsRegion": region, "Limit": PAGE,
        });
        let page = pages(cell, "StarlingDoveService.GetAggregateComplianceDetailsByConfigRule", body);
        if let Err(problem) = run.walk(&service, &part.name, &mut spool, page, next_token).await {
            let denied = problem.kind == ProblemKind::Denied || problem.kind == ProblemKind::Timeout;
            let problem = needs(problem, "config:GetAggregateComplianceDetailsByConfigRule");
            part.fail(Problem { message: format!("rule {rule}: {}", problem.message), ..problem });
            if denied {
                break;
            }
        }
    }
    part.keep(spool);
    part
}
