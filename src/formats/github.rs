//! GitHub branch protection and rulesets, as checks of a branch.
//!
//! Producer: GitHub REST API 2022-11-28. Specification: <https://docs.github.com/rest/branches/branch-protection> and
//! <https://docs.github.com/rest/repos/rules>.
//!
//! | document | checks | result |
//! |---|---|---|
//! | `branches/{b}/protection` | `branch-protected`, `enforce-admins`, … (the table below) | pass, fail |
//! | `branches` | `branch-protected` | pass, fail |
//! | `rules/branches/{b}` (rules in force) | `rule:<type>` | pass; an absent rule may be protected the older way |
//! | `rulesets` | `ruleset-enforced` | pass if active, fail if disabled, manual if only evaluated |
//! | 404 `Branch not protected` | `branch-protected`, if it comes from a URL that names the branch | fail, else a problem |
//!
//! The lifecycle is always active. Oddities: 404 is also what one gets without access, and then the message is "Not Found":
//! that is `denied`, never a failure; protection is the union of the older kind and of rulesets, so combine them with `any`.

use super::pages::{Ask, Part, Place, first, get, number, owned, read as read_pages, text};
use super::walk::Shape;
use super::{Context, Flow, FormatError, Sink};
use crate::domain::{CheckResult, Finding, ProblemKind, RunOutcome};
use serde_json::Value;
use std::io::BufRead;

const ASK: Ask<'_> = Ask {
    shape: Shape { wrappers: &[], bare: true },
    expected: "GitHub's branch protection, branches, rules or rulesets",
    nothing_is_fine: false,
};

/// Reads one document; see [`super::read`].
pub(super) fn read(input: &mut dyn BufRead, ctx: &Context<'_>, sink: &mut dyn Sink) -> Result<RunOutcome, FormatError> {
    read_pages(input, ctx, sink, &ASK, &mut |part, place| match part {
        Part::Record(record, _) => record_of(&record, ctx.source, place),
        Part::Member(..) => Flow::More,
    })
}

fn record_of(record: &Value, source: &str, place: &mut Place<'_>) -> Flow {
    if let Some(message) = text(record, "message").filter(|_| record.get("documentation_url").is_some()) {
        place.recognise();
        let lower = message.to_ascii_lowercase();
        if lower.contains("branch not protected") {
            // The body does not say which branch; the URL that it came from does.
            if let Some((repository, Some(branch))) = placed(source) {
                return judge(place, "branch-protected", &repository, &branch, CheckResult::Fail, Some(&message));
            }
            place.say(
                ProblemKind::Incomplete,
                "the branch is not protected, but the answer does not say which; help: ask for `branches` instead",
            );
        } else {
            place.say(ProblemKind::Denied, format!("GitHub answered: {}", message.chars().take(200).collect::<String>()));
        }
        return Flow::More;
    }
    if record.get("ruleset_source_type").is_some() {
        return rule(record, place);
    }
    if record.get("enforcement").is_some() && record.get("source_type").is_some() {
        return ruleset(record, place);
    }
    if record.get("protected").is_some() && record.get("commit").is_some() {
        return branch(record, place);
    }
    if record.get("enforce_admins").is_some()
        || record.get("required_status_checks").is_some()
        || record.get("required_pull_request_reviews").is_some()
        || record.get("allow_force_pushes").is_some()
    {
        return protection(record, place);
    }
    place.strange(record, "members of a branch, a rule or a ruleset")
}

/// `owner/name` and the branch in an API URL `…/repos/owner/name/branches/b/…`.
fn placed(url: &str) -> Option<(String, Option<String>)> {
    let (_, rest) = url.split_once("/repos/")?;
    let mut parts = rest.split('/');
    let repository = format!("{}/{}", parts.next()?, parts.next()?);
    let branch = (parts.next() == Some("branches"))
        .then(|| parts.take_while(|p| *p != "protection").collect::<Vec<_>>().join("/"))
        .filter(|b| !b.is_empty());
    Some((repository, branch))
}

fn judge(place: &mut Place<'_>, check: &str, repository: &str, branch: &str, result: CheckResult, message: Option<&str>) -> Flow {
    let id = if branch.is_empty() { format!("github.com/{repository}") } else { format!("github.com/{repository}@{branch}") };
    let mut finding = Finding::new(owned(check), id, result);
    finding.resource.kind = Some(if branch.is_empty() { "repository" } else { "branch" }.into());
    finding.resource.name = Some(owned(if branch.is_empty() { repository } else { branch }));
    finding.message = message.map(owned);
    finding.fields.set("provider", "github");
    finding.fields.set("repository", owned(repository));
    finding.fields.set("account", owned(repository.split('/').next().unwrap_or_default()));
    place.finding(finding)
}

fn protection(record: &Value, place: &mut Place<'_>) -> Flow {
    place.recognise();
    let url = first(record, &["url", "enforce_admins.url", "required_pull_request_reviews.url", "required_status_checks.url"])
        .unwrap_or_default();
    let Some((repository, Some(branch))) = placed(&url) else {
        place.say(ProblemKind::Incomplete, "the protection has no `url` that names repository and branch");
        return Flow::More;
    };
    let on = |path: &str| get(record, path) == Some(&Value::Bool(true));
    let there = |path: &str| get(record, path).is_some();
    let reviews = number(record, "required_pull_request_reviews.required_approving_review_count");
    let checks: [(&str, bool); 14] = [
        ("branch-protected", true),
        ("enforce-admins", on("enforce_admins.enabled")),
        ("pull-request-required", there("required_pull_request_reviews")),
        ("review-required", reviews.is_some_and(|n| n >= 1)),
        ("two-reviews-required", reviews.is_some_and(|n| n >= 2)),
        ("stale-reviews-dismissed", on("required_pull_request_reviews.dismiss_stale_reviews")),
        ("code-owner-review-required", on("required_pull_request_reviews.require_code_owner_reviews")),
        ("last-push-approval-required", on("required_pull_request_reviews.require_last_push_approval")),
        ("status-checks-required", there("required_status_checks")),
        ("linear-history-required", on("required_linear_history.enabled")),
        ("force-pushes-denied", !on("allow_force_pushes.enabled")),
        ("deletions-denied", !on("allow_deletions.enabled")),
        ("conversation-resolution-required", on("required_conversation_resolution.enabled")),
        ("signatures-required", on("required_signatures.enabled")),
    ];
    for (check, holds) in checks {
        let result = if holds { CheckResult::Pass } else { CheckResult::Fail };
        if judge(place, check, &repository, &branch, result, None) == Flow::Stop {
            return Flow::Stop;
        }
    }
    Flow::More
}

fn branch(record: &Value, place: &mut Place<'_>) -> Flow {
    place.recognise();
    let url = first(record, &["protection_url", "commit.url"]).unwrap_or_default();
    let (Some((repository, _)), Some(name), Some(protected)) =
        (placed(&url), text(record, "name"), get(record, "protected").and_then(Value::as_bool))
    else {
        place.say(ProblemKind::Incomplete, "the branch does not say of which repository it is");
        return Flow::More;
    };
    judge(place, "branch-protected", &repository, &name, if protected { CheckResult::Pass } else { CheckResult::Fail }, None)
}

fn rule(record: &Value, place: &mut Place<'_>) -> Flow {
    let (Some(kind), Some(source)) = (text(record, "type"), text(record, "ruleset_source")) else {
        return place.strange(record, "`type` and `ruleset_source`");
    };
    place.recognise();
    judge(place, &format!("rule:{kind}"), &source, "", CheckResult::Pass, None)
}

fn ruleset(record: &Value, place: &mut Place<'_>) -> Flow {
    let (Some(enforcement), Some(source)) = (text(record, "enforcement"), text(record, "source")) else {
        return place.strange(record, "`enforcement` and `source`");
    };
    place.recognise();
    let result = match &*enforcement {
        // The list calls it enabled, the ruleset itself active.
        "active" | "enabled" => CheckResult::Pass,
        "evaluate" => CheckResult::Manual,
        "disabled" => CheckResult::Fail,
        other => {
            place.say(ProblemKind::Malformed, format!("enforcement `{other}` is not known"));
            return Flow::More;
        }
    };
    let name = text(record, "name").unwrap_or_default();
    judge(place, "ruleset-enforced", &source, &format!("ruleset:{name}"), result, None)
}
