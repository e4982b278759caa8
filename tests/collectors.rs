//! Collectors against real servers, files and programs, most of them broken in some way.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

#[path = "collectors/command.rs"]
mod command;
#[path = "collectors/http.rs"]
mod http;
#[path = "collectors/server.rs"]
mod server;

use bornright::collectors::{Collected, Reach, Schedule};
use bornright::domain::Span;

fn schedule(reach: Reach) -> Schedule {
    Schedule { name: "c".to_owned(), every: Span::HOUR, timeout: Span::MINUTE, reach, custodian: false }
}

/// The problems, one a line, as a person reads them.
fn problems(collected: &Collected) -> String {
    collected.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// The documents' text.
fn text(collected: &Collected) -> String {
    collected.documents.iter().map(|d| std::fs::read_to_string(&d.path).unwrap()).collect()
}

/// No secret may be in anything that is printed, logged or kept.
#[track_caller]
fn assert_hidden(collected: &Collected, secret: &str) {
    let shown = format!("{collected:?}\n{}", problems(collected));
    assert!(!shown.contains(secret), "{secret} shows in: {shown}");
}
