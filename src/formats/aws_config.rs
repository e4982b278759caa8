//! AWS Config: evaluation results of rules, as the API, the CLI and an aggregator give them.
//!
//! Producer: AWS Config API 2014-11-12 (JSON 1.1). Specification: <https://docs.aws.amazon.com/config/latest/APIReference/>.
//!
//! | ComplianceType | result |
//! |---|---|
//! | COMPLIANT | pass |
//! | NON_COMPLIANT | fail |
//! | NOT_APPLICABLE | not_applicable |
//! | INSUFFICIENT_DATA (never evaluated, Lambda failing, or rule's resources deleted) | not_assessed |
//!
//! Lifecycle is always active: Config has no suppression. Oddities: instants are seconds since the epoch with a fraction,
//! but text from the CLI; `ResourceId` is a name or an ARN; `DescribeComplianceByConfigRule` counts only what is not
//! compliant, and caps it, so a compliant rule is one finding about the rule itself; a PROACTIVE evaluation judges a
//! resource that may never come to be and is marked `invalid`.
//!
//! If the rules themselves (`ConfigRules`) stand in the document before their evaluations, their ARNs tell account and
//! region, the field `rule` is the managed rule's identifier, and with a member `CheckBy: identifier` that is what the check
//! is called. Where account and region are known, a resource that Config names by its bare id gets the ARN by which other
//! scanners know it, or if its type has none we are sure of, an id that is its own: `default` is in every account.

use super::pages::{Ask, Part, Place, arn_account, first, get, instant, number, owned, read as read_pages, text};
use super::walk::Shape;
use super::{Context, Flow, FormatError, Sink};
use crate::domain::{CheckResult, Finding, ProblemKind, RunOutcome};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::HashMap;
use std::io::BufRead;

const ASK: Ask<'_> = Ask {
    shape: Shape {
        wrappers: &[
            &["EvaluationResults"],
            &["AggregateEvaluationResults"],
            &["ConformancePackRuleEvaluationResults"],
            &["ComplianceByConfigRules"],
            &["AggregateComplianceByConfigRules"],
            &["ConformancePackRuleComplianceList"],
            &["ConfigRules"],
        ],
        bare: true,
    },
    expected: "AWS Config's `EvaluationResults` or `ComplianceByConfigRules`",
    nothing_is_fine: false,
};

/// Reads one document; see [`super::read`].
pub(super) fn read(input: &mut dyn BufRead, ctx: &Context<'_>, sink: &mut dyn Sink) -> Result<RunOutcome, FormatError> {
    let mut rules = Rules::default();
    read_pages(input, ctx, sink, &ASK, &mut |part, place| match part {
        Part::Record(rule, Some(RULES)) => {
            rules.learn(&rule, place);
            Flow::More
        }
        Part::Record(record, wrapper) => {
            if record.get("EvaluationResultIdentifier").is_some() {
                return evaluation(&record, &rules, place);
            }
            if wrapper.is_some() || record.get("ConfigRuleName").is_some_and(|_| record.get("Compliance").is_some()) {
                return rule(&record, &rules, place);
            }
            if let Some(summary) = record.get("ComplianceSummary") {
                return totals(summary, place);
            }
            place.strange(&record, "`EvaluationResultIdentifier` or `Compliance`")
        }
        Part::Member("ComplianceSummary", summary) => totals(&summary, place),
        Part::Member("CheckBy", by) => {
            rules.by_identifier = by == "identifier";
            Flow::More
        }
        Part::Member(..) => Flow::More,
    })
}

/// The place of `ConfigRules` in [`ASK`].
const RULES: usize = 6;
/// Rules of one document that are remembered; AWS allows 1000 in an account and region.
const MOST_RULES: usize = 20_000;

/// What the document said of its rules before their evaluations.
#[derive(Default)]
struct Rules {
    by_identifier: bool,
    known: HashMap<String, Rule>,
}

struct Rule {
    partition: String,
    region: String,
    account: String,
    /// Of a rule that AWS manages.
    identifier: Option<String>,
}

impl Rules {
    fn learn(&mut self, rule: &Value, place: &mut Place<'_>) {
        place.recognise();
        let (Some(name), Some(arn)) = (text(rule, "ConfigRuleName"), text(rule, "ConfigRuleArn")) else {
            place.say(ProblemKind::Incomplete, "the rule has no name or no ARN");
            return;
        };
        if self.known.len() >= MOST_RULES {
            place.say(ProblemKind::Limit, format!("more than {MOST_RULES} rules; this one is not remembered"));
            return;
        }
        let mut parts = arn.split(':').skip(1).map(str::to_owned);
        let (partition, _, region, account) = (parts.next(), parts.next(), parts.next(), parts.next());
        let identifier = text(rule, "Source.Owner").filter(|o| o == "AWS").and_then(|_| text(rule, "Source.SourceIdentifier"));
        let rule = Rule {
            partition: partition.unwrap_or_default(),
            region: region.unwrap_or_default(),
            account: account.unwrap_or_default(),
            identifier: identifier.map(Cow::into_owned),
        };
        self.known.insert(name.into_owned(), rule);
    }

    /// What a rule's check is called.
    fn check<'a>(&'a self, name: Cow<'a, str>) -> Cow<'a, str> {
        match self.known.get(name.as_ref()).and_then(|r| r.identifier.as_deref()) {
            Some(identifier) if self.by_identifier => Cow::Borrowed(identifier),
            _ => name,
        }
    }
}

/// The ARN of a resource that Config names by its bare id, or else an id that no other account has.
fn identity(kind: &str, id: &str, partition: &str, region: &str, account: &str) -> String {
    let at = |service: &str, rest: &str| format!("arn:{partition}:{service}:{region}:{account}:{rest}/{id}");
    match kind {
        "AWS::S3::Bucket" => format!("arn:{partition}:s3:::{id}"),
        // The id of an account-level check is the account; ASFF writes it so.
        "AWS::::Account" => format!("AWS::::Account:{id}"),
        "AWS::EC2::Instance" => at("ec2", "instance"),
        "AWS::EC2::SecurityGroup" => at("ec2", "security-group"),
        "AWS::EC2::VPC" => at("ec2", "vpc"),
        "AWS::EC2::Subnet" => at("ec2", "subnet"),
        "AWS::EC2::Volume" => at("ec2", "volume"),
        "AWS::EC2::NetworkInterface" => at("ec2", "network-interface"),
        "AWS::EC2::NetworkAcl" => at("ec2", "network-acl"),
        "AWS::EC2::RouteTable" => at("ec2", "route-table"),
        "AWS::EC2::InternetGateway" => at("ec2", "internet-gateway"),
        "AWS::KMS::Key" => at("kms", "key"),
        "AWS::DynamoDB::Table" => at("dynamodb", "table"),
        "AWS::Lambda::Function" => format!("arn:{partition}:lambda:{region}:{account}:function:{id}"),
        "AWS::CloudTrail::Trail" => at("cloudtrail", "trail"),
        _ => format!("aws:{account}:{region}:{kind}/{id}"),
    }
}

fn result(word: &str) -> Option<CheckResult> {
    Some(match word {
        "COMPLIANT" => CheckResult::Pass,
        "NON_COMPLIANT" => CheckResult::Fail,
        "NOT_APPLICABLE" => CheckResult::NotApplicable,
        "INSUFFICIENT_DATA" => CheckResult::NotAssessed,
        _ => return None,
    })
}

fn unknown(place: &mut Place<'_>, word: &str) -> Flow {
    place.say(ProblemKind::Malformed, format!("compliance type `{word}` is not known"));
    Flow::More
}

fn evaluation(record: &Value, rules: &Rules, place: &mut Place<'_>) -> Flow {
    place.recognise();
    let Some(what) = get(record, "EvaluationResultIdentifier.EvaluationResultQualifier") else {
        return place.strange(record, "`EvaluationResultQualifier`");
    };
    let (Some(check), Some(resource)) = (text(what, "ConfigRuleName"), text(what, "ResourceId")) else {
        place.say(ProblemKind::Incomplete, "the evaluation names no rule or no resource");
        return Flow::More;
    };
    let word = text(record, "ComplianceType").unwrap_or_default();
    let Some(result) = result(&word) else { return unknown(place, &word) };
    let known = rules.known.get(check.as_ref());
    let of_rule = |value: fn(&Rule) -> &str| known.map(value).filter(|v| !v.is_empty()).map(Cow::Borrowed);
    let account = first(record, &["AccountId"]).or_else(|| arn_account(&resource).map(owned)).or_else(|| of_rule(|r| &r.account));
    let region = first(record, &["AwsRegion"]).or_else(|| of_rule(|r| &r.region));
    let kind = text(what, "ResourceType");
    let partition = of_rule(|r| &r.partition).unwrap_or("aws".into());
    let id = match (&kind, &account, &region) {
        (Some(kind), Some(account), Some(region)) if !resource.starts_with("arn:") => {
            Cow::Owned(identity(kind, &resource, &partition, region, account))
        }
        _ => resource.clone(),
    };
    let identifier = known.and_then(|r| r.identifier.as_deref());
    let mut finding = Finding::new(rules.check(check), id, result);
    if finding.resource.id != resource {
        finding.resource.name = Some(resource.clone());
    }
    finding.resource.kind = kind;
    finding.observed_at = instant(record, "ResultRecordedTime").or_else(|| instant(record, "ConfigRuleInvokedTime"));
    finding.message = text(record, "Annotation");
    finding.fields.set("provider", "aws");
    finding.fields.set("account", account.unwrap_or_default());
    finding.fields.set("region", region.unwrap_or_default());
    finding.fields.set("rule", identifier.unwrap_or_default());
    if text(what, "EvaluationMode").is_some_and(|m| m == "PROACTIVE") {
        finding.fields.set("invalid", "a proactive evaluation judges a resource that may not exist");
    }
    place.finding(finding)
}

fn rule(record: &Value, rules: &Rules, place: &mut Place<'_>) -> Flow {
    place.recognise();
    let Some(check) = text(record, "ConfigRuleName") else { return place.strange(record, "`ConfigRuleName`") };
    let word = first(record, &["Compliance.ComplianceType", "ComplianceType"]).unwrap_or_default();
    let Some(result) = result(&word) else { return unknown(place, &word) };
    let known = rules.known.get(check.as_ref());
    let of_rule = |value: fn(&Rule) -> &str| known.map(value).filter(|v| !v.is_empty()).map(Cow::Borrowed);
    let account = first(record, &["AccountId"]).or_else(|| of_rule(|r| &r.account)).unwrap_or_default();
    let region = first(record, &["AwsRegion"]).or_else(|| of_rule(|r| &r.region)).unwrap_or_default();
    // A rule of this name may be in every account and region.
    let resource =
        if account.is_empty() { check.clone() } else { Cow::Owned(format!("aws:{account}:{region}:AWS::Config::ConfigRule/{check}")) };
    let mut finding = Finding::new(rules.check(check), resource, result);
    finding.resource.kind = Some("AWS::Config::ConfigRule".into());
    finding.fields.set("provider", "aws");
    finding.fields.set("account", account);
    finding.fields.set("region", region);
    finding.aggregate = true;
    if result == CheckResult::Fail {
        finding.count = number(record, "Compliance.ComplianceContributorCount.CappedCount").unwrap_or(1);
        if get(record, "Compliance.ComplianceContributorCount.CapExceeded") == Some(&Value::Bool(true)) {
            finding.message = Some(format!("at least {}: the source counts no further", finding.count).into());
        }
    }
    place.finding(finding)
}

fn totals(summary: &Value, place: &mut Place<'_>) -> Flow {
    place.recognise();
    for (member, result) in [("CompliantResourceCount", CheckResult::Pass), ("NonCompliantResourceCount", CheckResult::Fail)] {
        if let Some(count) = number(summary, &format!("{member}.CappedCount")) {
            let mut finding = Finding::new("compliance-summary", "config-rules", result);
            finding.aggregate = true;
            finding.count = count;
            finding.observed_at = instant(summary, "ComplianceSummaryTimestamp");
            finding.fields.set("provider", "aws");
            if place.finding(finding) == Flow::Stop {
                return Flow::Stop;
            }
        }
    }
    Flow::More
}
