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

use super::pages::{self, Ask, Part, Place, arn_account, first, get, instant, number, read as read_pages, text};
use super::walk::Shape;
use super::{Context, Flow, FormatError, Sink};
use crate::domain::{CheckResult, Finding, ProblemKind, RunOutcome};
use serde_json::Value;
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
        ],
        bare: true,
    },
    expected: "AWS Config's `EvaluationResults` or `ComplianceByConfigRules`",
    nothing_is_fine: false,
};

/// Reads one document; see [`super::read`].
pub(super) fn read(input: &mut dyn BufRead, ctx: &Context<'_>, sink: &mut dyn Sink) -> Result<RunOutcome, FormatError> {
    read_pages(input, ctx, sink, &ASK, &mut |part, place| match part {
        Part::Record(record, wrapper) => {
            if record.get("EvaluationResultIdentifier").is_some() {
                return evaluation(&record, place);
            }
            if wrapper.is_some() || record.get("ConfigRuleName").is_some_and(|_| record.get("Compliance").is_some()) {
                return rule(&record, place);
            }
            if let Some(summary) = record.get("ComplianceSummary") {
                return totals(summary, place);
            }
            place.strange(&record, "`EvaluationResultIdentifier` or `Compliance`")
        }
        Part::Member("ComplianceSummary", summary) => totals(&summary, place),
        Part::Member(..) => Flow::More,
    })
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

fn evaluation(record: &Value, place: &mut Place<'_>) -> Flow {
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
    let account = first(record, &["AccountId"]).or_else(|| arn_account(&resource).map(pages::owned));
    let mut finding = Finding::new(check, resource.clone(), result);
    finding.resource.kind = text(what, "ResourceType");
    finding.observed_at = instant(record, "ResultRecordedTime").or_else(|| instant(record, "ConfigRuleInvokedTime"));
    finding.message = text(record, "Annotation");
    finding.fields.set("provider", "aws");
    finding.fields.set("account", account.unwrap_or_default());
    finding.fields.set("region", first(record, &["AwsRegion"]).unwrap_or_default());
    if text(what, "EvaluationMode").is_some_and(|m| m == "PROACTIVE") {
        finding.fields.set("invalid", "a proactive evaluation judges a resource that may not exist");
    }
    place.finding(finding)
}

fn rule(record: &Value, place: &mut Place<'_>) -> Flow {
    place.recognise();
    let Some(check) = text(record, "ConfigRuleName") else { return place.strange(record, "`ConfigRuleName`") };
    let word = first(record, &["Compliance.ComplianceType", "ComplianceType"]).unwrap_or_default();
    let Some(result) = result(&word) else { return unknown(place, &word) };
    let mut finding = Finding::new(check.clone(), check, result);
    finding.resource.kind = Some("AWS::Config::ConfigRule".into());
    finding.fields.set("provider", "aws");
    finding.fields.set("account", first(record, &["AccountId"]).unwrap_or_default());
    finding.fields.set("region", first(record, &["AwsRegion"]).unwrap_or_default());
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
