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
//! | `GitHubBranch`, what a collector brought of one branch: `{repository, branch, protection, rules}` | all of the table below, by the union of both | pass, fail, manual, not_assessed, not_applicable |
//! | 404 `Branch not protected` | `branch-protected`, if it comes from a URL that names the branch | fail, else a problem |
//!
//! The lifecycle is always active. Oddities: 404 is also what one gets without access, and then the message is "Not Found":
//! that is `denied`, never a failure; protection is the union of the older kind and of rulesets, so combine them with `any`
//! where they come as documents of their own. In a `GitHubBranch` they are united already: what either requires is required;
//! what neither requires is a fail if both are known, else not_assessed. Whether administrators are bound by a ruleset is
//! not in the answer: manual. A branch that does not exist yet (an empty repository) is not_applicable.

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
    if text(record, "kind").as_deref() == Some("GitHubBranch") {
        return union(record, place);
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
    for (check, holds) in CHECKS.iter().zip(classic(record)) {
        let result = if holds { CheckResult::Pass } else { CheckResult::Fail };
        if judge(place, check, &repository, &branch, result, None) == Flow::Stop {
            return Flow::Stop;
        }
    }
    Flow::More
}

/// The checks of a branch, in the order of [`classic`] and [`ruled`].
const CHECKS: [&str; 14] = [
    "branch-protected",
    "enforce-admins",
    "pull-request-required",
    "review-required",
    "two-reviews-required",
    "stale-reviews-dismissed",
    "code-owner-review-required",
    "last-push-approval-required",
    "status-checks-required",
    "linear-history-required",
    "force-pushes-denied",
    "deletions-denied",
    "conversation-resolution-required",
    "signatures-required",
];

/// What the older kind of protection requires.
fn classic(record: &Value) -> [bool; 14] {
    let on = |path: &str| get(record, path) == Some(&Value::Bool(true));
    let there = |path: &str| get(record, path).is_some();
    let reviews = number(record, "required_pull_request_reviews.required_approving_review_count");
    [
        true,
        on("enforce_admins.enabled"),
        there("required_pull_request_reviews"),
        reviews.is_some_and(|n| n >= 1),
        reviews.is_some_and(|n| n >= 2),
        on("required_pull_request_reviews.dismiss_stale_reviews"),
        on("required_pull_request_reviews.require_code_owner_reviews"),
        on("required_pull_request_reviews.require_last_push_approval"),
        there("required_status_checks"),
        on("required_linear_history.enabled"),
        !on("allow_force_pushes.enabled"),
        !on("allow_deletions.enabled"),
        on("required_conversation_resolution.enabled"),
        on("required_signatures.enabled"),
    ]
}

/// What the rules in force require.
fn ruled(rules: &[Value]) -> [bool; 14] {
    let of = |kind: &'static str| rules.iter().filter(move |r| text(r, "type").as_deref() == Some(kind));
    let any = |kind: &'static str| of(kind).next().is_some();
    let pulls = |parameter: &str| of("pull_request").any(|r| get(r, parameter) == Some(&Value::Bool(true)));
    let reviews = of("pull_request").filter_map(|r| number(r, "parameters.required_approving_review_count")).max().unwrap_or(0);
    [
        !rules.is_empty(),
        false,
        any("pull_request"),
        reviews >= 1,
        reviews >= 2,
        pulls("parameters.dismiss_stale_reviews_on_push"),
        pulls("parameters.require_code_owner_review"),
        pulls("parameters.require_last_push_approval"),
        any("required_status_checks"),
        any("required_linear_history"),
        any("non_fast_forward"),
        any("deletion"),
        pulls("parameters.required_review_thread_resolution"),
        any("required_signatures"),
    ]
}

/// What one of the two kinds of protection says.
enum Said<T> {
    Requires(T),
    /// There is none of this kind, and why.
    Nothing(String),
    /// There is no such branch.
    NoBranch,
    /// It could not be asked: no evidence.
    Unknown,
}

/// An error in the place of an answer. Its words tell what is absent: the protection, or our permission to see it.
fn refused<T>(answer: &Value, what: &str, about: &str, place: &mut Place<'_>) -> Said<T> {
    let message = text(answer, "message").unwrap_or_default();
    let lower = message.to_ascii_lowercase();
    if lower.contains("branch not protected") {
        return Said::Nothing(message.into_owned());
    }
    if lower.contains("branch not found") {
        return Said::NoBranch;
    }
    if lower.starts_with("upgrade to ") {
        return Said::Nothing(format!("{what} is not to be had in this plan: {}", short(&message)));
    }
    let said = if message.is_empty() { "no answer was brought".to_owned() } else { format!("GitHub answered: {}", short(&message)) };
    place.say(
        ProblemKind::Denied,
        format!("{about}: {what} could not be read: {said}; help: the token needs `Administration: read` on this repository"),
    );
    Said::Unknown
}

fn short(text: &str) -> String {
    text.chars().take(200).collect()
}

fn union(record: &Value, place: &mut Place<'_>) -> Flow {
    let (Some(repository), Some(branch)) = (text(record, "repository"), text(record, "branch")) else {
        return place.strange(record, "`repository` and `branch`");
    };
    place.recognise();
    let about = format!("{repository}@{branch}");
    let protection = match get(record, "protection") {
        Some(answer) if answer.is_object() && answer.get("message").is_none() => Said::Requires(classic(answer)),
        other => refused(other.unwrap_or(&Value::Null), "classic branch protection", &about, place),
    };
    let rules = match get(record, "rules") {
        Some(Value::Array(rules)) => Said::Requires(rules.as_slice()),
        other => refused(other.unwrap_or(&Value::Null), "the rules in force", &about, place),
    };
    let no_branch = matches!(protection, Said::NoBranch) || matches!(rules, Said::NoBranch);
    let ruled = match &rules {
        Said::Requires(rules) => ruled(rules),
        _ => [false; 14],
    };
    let held = match &protection {
        Said::Requires(held) => *held,
        _ => [false; 14],
    };
    let bypass = matches!(&rules, Said::Requires(rules) if !rules.is_empty());
    let known = !matches!(protection, Said::Unknown) && !matches!(rules, Said::Unknown);
    let why = match (&protection, &rules) {
        (Said::Nothing(why), Said::Nothing(other)) if other != why => Some(format!("{why}; {other}")),
        (Said::Nothing(why), _) | (_, Said::Nothing(why)) => Some(why.clone()),
        _ => None,
    };
    for ((check, held), ruled) in CHECKS.iter().zip(held).zip(ruled) {
        let (result, message) = if no_branch {
            (CheckResult::NotApplicable, Some("the branch does not exist"))
        } else if held || ruled {
            (CheckResult::Pass, None)
        } else if !known {
            (CheckResult::NotAssessed, Some("what could be read does not require it, and not all could be read"))
        } else if *check == "enforce-admins" && bypass {
            (CheckResult::Manual, Some("rulesets protect the branch; who may bypass them is not in GitHub's answer"))
        } else {
            (CheckResult::Fail, why.as_deref())
        };
        if judge(place, check, &repository, &branch, result, message) == Flow::Stop {
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
