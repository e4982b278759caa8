//! Sources with a collector of their own, against servers that behave like them: thousands of findings over many pages,
//! throttled, a token that runs out, a page that fails once, permissions that lack. Complete, exact, and no secret anywhere.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

#[path = "sources/fugue.rs"]
mod fugue;
#[path = "sources/github.rs"]
mod github;
#[path = "sources/kubernetes.rs"]
mod kubernetes;
#[expect(dead_code, reason = "some ways to be wrong are of others' tests")]
#[path = "collectors/server.rs"]
mod server;
mod support;

use bornright::collectors::{Collected, Reach, Schedule};
use bornright::domain::{CheckResult, Finding, Problem, Span};
use bornright::formats::{self, Context, Flow, FormatSpec, Limits, Sink};
use std::collections::BTreeMap;

fn schedule(reach: Reach) -> Schedule {
    Schedule { name: "c".to_owned(), every: Span::HOUR, timeout: Span::MINUTE, reach, custodian: false }
}

/// The problems, one a line, as a person reads them.
fn problems(collected: &Collected) -> String {
    collected.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// No secret may be in anything that is printed, logged or kept.
#[track_caller]
fn assert_hidden(collected: &Collected, secret: &str) {
    let shown = format!("{collected:?}\n{}", problems(collected));
    assert!(!shown.contains(secret), "{secret} shows in: {shown}");
}

/// What the documents of a run come to.
#[derive(Debug, Default)]
struct Read {
    /// (check, resource) → result and count.
    findings: BTreeMap<(String, String), (CheckResult, u64)>,
    /// Checks that are known to have run.
    ran: Vec<String>,
    problems: Vec<String>,
    complete: bool,
    times: u64,
}

impl Sink for Read {
    fn finding(&mut self, f: &Finding<'_>) -> Flow {
        if f.is_mark() {
            self.ran.push(f.check.to_string());
        } else {
            self.times += 1;
            self.findings.insert((f.check.to_string(), f.resource.id.to_string()), (f.result, f.count));
        }
        Flow::More
    }

    fn problem(&mut self, problem: Problem) {
        self.problems.push(problem.message);
    }
}

impl Read {
    fn count(&self, check: &str, result: CheckResult) -> u64 {
        self.findings.iter().filter(|((c, _), (r, _))| c == check && *r == result).map(|(_, (_, n))| n).sum()
    }

    fn result(&self, check: &str, resource: &str) -> Option<CheckResult> {
        self.findings.get(&(check.to_owned(), resource.to_owned())).map(|(r, _)| *r)
    }
}

fn read(reach: &Reach, collected: &Collected) -> Read {
    let spec = FormatSpec::Builtin(reach.format().unwrap());
    let mut read = Read { complete: collected.complete, ..Read::default() };
    for document in &collected.documents {
        let mut input = std::io::BufReader::new(std::fs::File::open(&document.path).unwrap());
        let ctx = Context { source: &document.name, limits: Limits::default(), want_raw: false };
        match formats::read(&spec, &mut input, &ctx, &mut read) {
            Ok(outcome) => read.complete &= outcome.complete,
            Err(e) => {
                read.complete = false;
                read.problems.push(e.message);
            }
        }
    }
    read
}

/// Everything after the first `?` of a request's target, as pairs.
fn query(request: &str) -> BTreeMap<String, String> {
    let target = request.split(' ').nth(1).unwrap_or_default();
    let query = target.split_once('?').map_or("", |(_, q)| q);
    query.split('&').filter_map(|p| p.split_once('=')).map(|(k, v)| (k.to_owned(), v.replace("%3D", "="))).collect()
}

fn path(request: &str) -> String {
    request.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default().to_owned()
}

fn header<'r>(request: &'r str, name: &str) -> Option<&'r str> {
    request.lines().find_map(|l| l.split_once(": ").filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v))
}
