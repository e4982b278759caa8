//! Cloud Custodian policy output. It lists violations and never what complies.
//!
//! Producer: c7n 0.9.53; `metadata.json` and `resources.json` in a directory a policy, joined by [`envelope`] into one
//! document `{"metadata": …, "resources": […] or null}`. Either file alone is read too: `metadata.json` gives the number of
//! matches, `resources.json` takes its policy's name from its directory.
//! Specification: <https://cloudcustodian.io/docs/>; there is none of the output, this is what a run leaves.
//!
//! | what | result |
//! |---|---|
//! | a matched resource | fail |
//! | a matched resource of a policy without filters, or with `metadata: {inventory: true}` | not_assessed: it is the population |
//! | metric PolicyException, or no resources.json | none, and a problem: the policy failed, which is not "nothing matched" |
//!
//! The lifecycle is always active. Oddities: a policy that failed writes no `resources.json`, but an older one may linger
//! in a reused directory: its rows are left out; `[]` is the good news; the identity depends on the type of resource, and
//! is made an ARN where others name it so.

use super::pages::{self, Ask, Part, Place, first, get, instant, list, number, text};
use super::walk::Shape;
use super::{Context, Flow, FormatError, Sink};
use crate::domain::{CheckResult, ControlRef, Finding, Moment, ProblemKind, RunOutcome, ScannerInfo, Severity};
use serde_json::Value;
use std::io::{BufRead, Read};

const ASK: Ask<'_> = Ask {
    shape: Shape { wrappers: &[&["resources"]], bare: true },
    expected: "Cloud Custodian's metadata.json, resources.json, or both in one",
    nothing_is_fine: true,
};

/// What the metadata say of the policy.
#[derive(Default)]
struct Policy {
    known: bool,
    failed: bool,
    name: String,
    kind: String,
    account: String,
    region: String,
    inventory: bool,
    severity: Option<Severity>,
    controls: Vec<(String, String)>,
    ended: Option<Moment>,
    matched: Option<u64>,
    listed: u64,
    has_list: bool,
    version: String,
}

/// Reads one document; see [`super::read`].
pub(super) fn read(input: &mut dyn BufRead, ctx: &Context<'_>, sink: &mut dyn Sink) -> Result<RunOutcome, FormatError> {
    let mut policy = Policy { name: directory(ctx.source), ..Policy::default() };
    let mut alone = false;
    let mut orphans = 0u64;
    let mut outcome = pages::read(input, ctx, sink, &ASK, &mut |part, place| match part {
        Part::Member("metadata", metadata) => learn(&metadata, &mut policy, place),
        Part::Member("resources", Value::Null) => {
            policy.has_list = true;
            if !policy.failed {
                policy.failed = true;
                place.say(ProblemKind::ScannerError, format!("policy `{}` left no resources.json: it did not run to its end", policy.name));
            }
            Flow::More
        }
        Part::Member(..) => Flow::More,
        Part::Record(record, None) if record.get("policy").is_some_and(Value::is_object) => {
            alone = true;
            learn(&record, &mut policy, place)
        }
        Part::Record(record, wrapper) => {
            policy.has_list = true;
            if policy.name.is_empty() {
                if record.get("c7n:MatchedFilters").is_none() {
                    return place.strange(&record, "`c7n:MatchedFilters`");
                }
                orphans += 1;
                place.recognise();
                place.say(ProblemKind::Incomplete, "a resource without its policy; help: name the policy's directory");
                return Flow::More;
            }
            if wrapper.is_none() && !policy.known && orphans == 0 && !looks_matched(&record) {
                return place.strange(&record, "identity of a resource");
            }
            policy.listed += 1;
            if policy.failed { Flow::More } else { resource(&record, &policy, place) }
        }
    })?;
    let mut last = Last { ctx, sink, said: false };
    if alone && !policy.has_list && !policy.failed {
        totals(&policy, &mut last);
    }
    if !policy.failed
        && policy.known
        && policy.has_list
        && let Some(matched) = policy.matched.filter(|m| *m != policy.listed)
    {
        let message = format!(
            "policy `{}` matched {matched} resources, and resources.json lists {}; it may be of another run",
            policy.name, policy.listed
        );
        last.say(ProblemKind::Mismatch, message);
    }
    if policy.known && policy.has_list && !policy.failed && !policy.inventory {
        let mut ran = Finding::ran(pages::owned(&policy.name));
        policy.dress(&mut ran);
        // What a sink answers no longer matters: this is the last.
        let _ = last.sink.finding(&ran);
    }
    if policy.failed || last.said {
        outcome.complete = false;
    }
    // The list alone does not say whether its policy ran: an old one lingers where the policy fails.
    outcome.complete &= policy.known;
    outcome.scanned_at = policy.ended;
    if policy.known {
        outcome.scanner = Some(ScannerInfo { name: "Cloud Custodian".into(), version: policy.version, rule_set: String::new() });
    }
    Ok(outcome)
}

struct Last<'l> {
    ctx: &'l Context<'l>,
    sink: &'l mut dyn Sink,
    said: bool,
}

impl Last<'_> {
    fn say(&mut self, kind: ProblemKind, message: String) {
        self.said = true;
        let source = self.ctx.source.to_owned();
        self.sink.problem(crate::domain::Problem { kind, source, position: Default::default(), message });
    }
}

/// The policy's name by its directory: `out/my-policy/resources.json`, or `out/my-policy`.
fn directory(source: &str) -> String {
    let mut parts = source.split(['/', '\\']).rev();
    match parts.next() {
        Some("resources.json" | "resources.json.gz" | "metadata.json" | "metadata.json.gz") => parts.next().unwrap_or_default().to_owned(),
        _ => String::new(),
    }
}

fn looks_matched(record: &Value) -> bool {
    record.get("c7n:MatchedFilters").is_some() || identity("", record).is_some()
}

fn learn(metadata: &Value, policy: &mut Policy, place: &mut Place<'_>) -> Flow {
    let Some(name) = text(metadata, "policy.name").filter(|n| !n.is_empty()) else { return place.strange(metadata, "`policy.name`") };
    place.recognise();
    policy.known = true;
    policy.name = name.into_owned();
    policy.kind = text(metadata, "policy.resource").unwrap_or_default().into_owned();
    policy.account = text(metadata, "config.account_id").unwrap_or_default().into_owned();
    policy.region = text(metadata, "config.region").unwrap_or_default().into_owned();
    policy.version = text(metadata, "version").unwrap_or_default().into_owned();
    policy.severity = text(metadata, "policy.metadata.severity").and_then(|s| Severity::lenient(&s));
    policy.ended = instant(metadata, "execution.end_time");
    policy.inventory =
        list(metadata, "policy.filters").is_empty() || get(metadata, "policy.metadata.inventory") == Some(&Value::Bool(true));
    for control in list(metadata, "policy.metadata.controls").iter().filter_map(Value::as_str) {
        let (framework, id) = control.split_once('-').unwrap_or(("", control));
        policy.controls.push((framework.to_owned(), id.to_owned()));
    }
    for metric in list(metadata, "metrics") {
        match text(metric, "MetricName").as_deref() {
            Some("PolicyException") => policy.failed = true,
            Some("ResourceCount") => policy.matched = number(metric, "Value"),
            _ => {}
        }
    }
    if policy.failed {
        place
            .say(ProblemKind::ScannerError, format!("policy `{}` ended with an exception: nothing is known of its resources", policy.name));
    }
    Flow::More
}

impl Policy {
    fn provider(&self) -> &str {
        match self.kind.split_once('.') {
            Some((provider, _)) => provider,
            None => "aws",
        }
    }

    fn dress(&self, finding: &mut Finding<'_>) {
        finding.resource.kind = (!self.kind.is_empty()).then(|| pages::owned(&self.kind));
        finding.severity = self.severity;
        finding.observed_at = self.ended;
        finding.fields.set("provider", pages::owned(self.provider()));
        finding.fields.set("account", pages::owned(&self.account));
        finding.fields.set("region", pages::owned(&self.region));
        for (framework, id) in &self.controls {
            finding.control_refs.push(ControlRef { framework: pages::owned(framework), version: None, id: pages::owned(id) });
        }
    }

    fn result(&self) -> CheckResult {
        if self.known && self.inventory { CheckResult::NotAssessed } else { CheckResult::Fail }
    }
}

fn resource(record: &Value, policy: &Policy, place: &mut Place<'_>) -> Flow {
    place.recognise();
    let kind = policy.kind.rsplit('.').next().unwrap_or_default();
    let Some(id) = identity(kind, record) else {
        place.say(ProblemKind::Incomplete, format!("a resource of type `{}` has no identity that we know", policy.kind));
        return Flow::More;
    };
    let id = match id {
        Identity::Whole(id) => id,
        Identity::Part(service, prefix, id) if policy.provider() == "aws" && !policy.account.is_empty() => {
            let partition = match policy.region.get(..3) {
                Some("cn-") => "aws-cn",
                Some("us-") if policy.region.starts_with("us-gov-") => "aws-us-gov",
                _ => "aws",
            };
            format!("arn:{partition}:{service}:{}:{}:{prefix}/{id}", policy.region, policy.account)
        }
        Identity::Part(_, _, id) => id,
    };
    let mut finding = Finding::new(pages::owned(&policy.name), id, policy.result());
    policy.dress(&mut finding);
    finding.resource.name = first(record, &["Name", "name", "displayName", "UserName", "RoleName", "FunctionName"]);
    place.finding(finding)
}

/// Only the number: `metadata.json` without its list.
fn totals(policy: &Policy, last: &mut Last<'_>) {
    match policy.matched {
        Some(count) => {
            let mut finding = Finding::new(pages::owned(&policy.name), pages::owned(&policy.kind), policy.result());
            policy.dress(&mut finding);
            finding.aggregate = true;
            finding.count = count;
            // What a sink answers no longer matters: this is the last.
            let _ = last.sink.finding(&finding);
        }
        None => last.say(ProblemKind::Incomplete, format!("policy `{}` does not say how many resources it matched", policy.name)),
    }
}

enum Identity {
    Whole(String),
    /// Service, prefix, id: made an ARN with the account and region of the run.
    Part(&'static str, &'static str, String),
}

fn identity(kind: &str, record: &Value) -> Option<Identity> {
    /// (type, member, service, prefix) of what has no ARN of its own.
    const PARTS: [(&str, &str, &str, &str); 15] = [
        ("ec2", "InstanceId", "ec2", "instance"),
        ("ebs", "VolumeId", "ec2", "volume"),
        ("ebs-snapshot", "SnapshotId", "ec2", "snapshot"),
        ("security-group", "GroupId", "ec2", "security-group"),
        ("ami", "ImageId", "ec2", "image"),
        ("vpc", "VpcId", "ec2", "vpc"),
        ("subnet", "SubnetId", "ec2", "subnet"),
        ("eni", "NetworkInterfaceId", "ec2", "network-interface"),
        ("network-acl", "NetworkAclId", "ec2", "network-acl"),
        ("route-table", "RouteTableId", "ec2", "route-table"),
        ("internet-gateway", "InternetGatewayId", "ec2", "internet-gateway"),
        ("elastic-ip", "AllocationId", "ec2", "elastic-ip"),
        ("kms-key", "KeyId", "kms", "key"),
        ("cache-cluster", "CacheClusterId", "elasticache", "cluster"),
        ("elb", "LoadBalancerName", "elasticloadbalancing", "loadbalancer"),
    ];
    const ARNS: [&str; 19] = [
        "Arn",
        "ARN",
        "arn",
        "DBInstanceArn",
        "DBClusterArn",
        "TableArn",
        "TopicArn",
        "QueueArn",
        "FunctionArn",
        "LoadBalancerArn",
        "repositoryArn",
        "clusterArn",
        "TrailARN",
        "KeyArn",
        "ConfigRuleArn",
        "DBSnapshotArn",
        "CertificateArn",
        "StackId",
        "AutoScalingGroupARN",
    ];
    if let Some((_, member, service, prefix)) = PARTS.iter().find(|(k, ..)| *k == kind)
        && let Some(id) = text(record, member)
    {
        if id.starts_with("arn:") {
            return Some(Identity::Whole(id.into_owned()));
        }
        return Some(Identity::Part(service, prefix, id.into_owned()));
    }
    if let Some(arn) = first(record, &ARNS).filter(|a| a.starts_with("arn:")) {
        // A log group's own ARN ends in `:*`, which names its streams.
        return Some(Identity::Whole(arn.strip_suffix(":*").unwrap_or(&arn).to_owned()));
    }
    if kind == "s3" || record.get("CreationDate").is_some() && record.get("Name").is_some() && kind.is_empty() {
        return text(record, "Name").map(|name| Identity::Whole(format!("arn:aws:s3:::{name}")));
    }
    if kind == "account" {
        return text(record, "account_id").map(|id| Identity::Whole(format!("AWS::::Account:{id}")));
    }
    if kind.is_empty() {
        for (_, member, ..) in PARTS {
            if let Some(id) = text(record, member) {
                return Some(Identity::Whole(id.into_owned()));
            }
        }
    }
    first(record, &["id", "selfLink", "Id", "name", "Name"]).map(|id| Identity::Whole(id.into_owned()))
}

/// One document of what a policy left in its directory: `{"metadata": …, "resources": … or null}`.
pub fn envelope(metadata: impl Read, resources: Option<impl Read>) -> impl Read {
    let nothing = if resources.is_some() { "" } else { "null" };
    (&b"{\"metadata\":"[..])
        .chain(metadata)
        .chain(&b",\"resources\":"[..])
        .chain(nothing.as_bytes())
        .chain(OrNothing(resources))
        .chain(&b"}"[..])
}

struct OrNothing<R>(Option<R>);

impl<R: Read> Read for OrNothing<R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.0.as_mut().map_or(Ok(0), |r| r.read(buf))
    }
}
