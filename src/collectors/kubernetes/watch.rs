//! Hears that something changed between runs. What changed is not looked at: a change only brings the next run forward, and
//! the run lists everything.
//!
//! A watch begins at the version that the list had, so nothing is missed between the two. One that ends is taken up where it
//! was; one that cannot be taken up any more (410) is itself a change.

use super::super::client::{Client, name_of, problem};
use super::super::session::{Api as _, Call, Run, Session};
use super::api::{Cluster as Api, Resource, lacking};
use super::{Connected, gatekeeper};
use crate::domain::{Problem, ProblemKind, Span};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

/// Longest silence of a watch. The API ends each after [`SECONDS`], and sends a bookmark every minute or so.
pub(super) const SILENCE: Span = Span(400_000);
/// How long the API is asked to keep a watch.
const SECONDS: &str = "290";
/// First wait before a broken watch is taken up again; doubles.
const WAIT: Duration = Duration::from_secs(1);
/// And the longest.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// One event has one object; the API itself allows some MiB.
const EVENT_BYTES: usize = 16 << 20;

/// What a run listed.
#[derive(Default)]
pub(super) struct Seen(Vec<Target>);

struct Target {
    resource: Resource,
    namespace: Option<String>,
    version: String,
    /// What was said of each object, where parts of it change with every audit and mean nothing.
    held: Option<HashMap<String, [u8; 32]>>,
}

impl Seen {
    pub(super) fn note(&mut self, resource: &Resource, namespace: Option<&str>, version: String) {
        self.note_with(resource, namespace, version, None);
    }

    pub(super) fn note_with(
        &mut self,
        resource: &Resource,
        namespace: Option<&str>,
        version: String,
        held: Option<HashMap<String, [u8; 32]>>,
    ) {
        if !version.is_empty() {
            self.0.push(Target { resource: resource.clone(), namespace: namespace.map(str::to_owned), version, held });
        }
    }
}

/// What is listened to until the next run.
pub(super) struct Watched {
    api: Arc<Api>,
    session: Arc<Session>,
    client: Arc<Client>,
    collector: String,
    targets: Vec<Target>,
    not_before: Instant,
}

enum Heard {
    Change,
    Trouble(Problem),
}

impl Watched {
    pub(super) fn new(connected: &Connected, collector: &str, seen: Seen, gap: Duration) -> Option<Watched> {
        if seen.0.is_empty() {
            return None;
        }
        Some(Watched {
            api: Arc::clone(&connected.api),
            session: Arc::clone(&connected.session),
            client: Arc::clone(&connected.patient),
            collector: collector.to_owned(),
            targets: seen.0,
            not_before: Instant::now() + gap,
        })
    }

    /// Returns when something changed and has been quiet for `delay`, or has not been quiet for ten times as long.
    pub(super) async fn changed(self, delay: Duration, mut met: impl FnMut(Problem)) {
        let (tx, mut rx) = mpsc::channel(16);
        // Ended with this future.
        let mut tasks = JoinSet::new();
        let run = self.session.run(&self.collector, Instant::now() + Span::DAY.times(365).std());
        for target in self.targets {
            let (api, client, run, tx) = (Arc::clone(&self.api), Arc::clone(&self.client), run.clone(), tx.clone());
            tasks.spawn(async move { follow(target, &api, &client, &run, &tx).await });
        }
        drop(tx);
        loop {
            match rx.recv().await {
                Some(Heard::Change) => break,
                Some(Heard::Trouble(problem)) => met(problem),
                // Nothing can be watched: the schedule alone decides.
                None => return std::future::pending().await,
            }
        }
        let latest = Instant::now() + delay * 10;
        let mut quiet = Instant::now() + delay;
        while let Ok(Some(heard)) = timeout_at(quiet.min(latest), rx.recv()).await {
            match heard {
                Heard::Change => quiet = Instant::now() + delay,
                Heard::Trouble(problem) => met(problem),
            }
        }
        sleep_until(quiet.min(latest).max(self.not_before)).await;
        tracing::debug!(collector = %self.collector, "something changed in the cluster: the next run of {} is brought forward", self.collector);
    }
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Versioned {
    #[serde(default)]
    metadata: Option<Meta>,
    #[serde(default)]
    code: Option<u16>,
}

#[derive(Deserialize)]
struct Meta {
    #[serde(default, rename = "resourceVersion")]
    version: Option<String>,
}

/// How one watch ended.
enum End {
    /// The API closed it, or it broke off: it can be taken up.
    Over,
    /// It cannot.
    Gone,
    /// We may not.
    Denied(String),
    /// The token has run out.
    TokenExpired,
    /// Something else, which may pass.
    Failed,
}

async fn follow(mut target: Target, api: &Api, client: &Client, run: &Run, tx: &mpsc::Sender<Heard>) {
    let mut wait = WAIT;
    let mut renew = None;
    loop {
        let began = Instant::now();
        match once(&mut target, api, client, run, tx, renew.take()).await {
            End::Over if began.elapsed() > WAIT => {
                wait = WAIT;
                continue;
            }
            End::Gone => {
                let _ = tx.send(Heard::Change).await;
                return;
            }
            End::Denied(message) => {
                let denied = problem(ProblemKind::Denied, api.place(), format!("{message}; changes are seen at the next scheduled run"));
                let _ = tx.send(Heard::Trouble(lacking(denied, "watch", &target.resource, target.namespace.as_deref()))).await;
                return;
            }
            End::TokenExpired => renew = Some(began),
            End::Over | End::Failed => {}
        }
        sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

async fn once(target: &mut Target, api: &Api, client: &Client, run: &Run, tx: &mpsc::Sender<Heard>, renew: Option<Instant>) -> End {
    let Ok(mut url) = api.url(&target.resource.path(target.namespace.as_deref())) else { return End::Failed };
    let source = name_of(&url);
    url.query_pairs_mut()
        .append_pair("watch", "1")
        .append_pair("resourceVersion", &target.version)
        .append_pair("allowWatchBookmarks", "true")
        .append_pair("timeoutSeconds", SECONDS);
    let Ok(call) = api.authorize(run, Call::get(url.clone()), renew).await else { return End::Failed };
    let Ok(http) = client.permit(&url, &source).and_then(|()| client.client(&source)) else { return End::Failed };
    let Ok(mut response) = http.get(url).headers(call.headers().clone()).send().await else { return End::Failed };
    match response.status().as_u16() {
        200 => {}
        410 => return End::Gone,
        401 => return End::TokenExpired,
        403 => return End::Denied(format!("watching {} was answered with {}", target.resource.name(), response.status())),
        _ => return End::Failed,
    }
    let mut line: Vec<u8> = Vec::new();
    loop {
        let Ok(Some(chunk)) = response.chunk().await else { return End::Over };
        for piece in chunk.split_inclusive(|b| *b == b'\n') {
            line.extend_from_slice(piece);
            if line.len() > EVENT_BYTES {
                return End::Gone;
            }
            if !line.ends_with(b"\n") {
                continue;
            }
            let heard = hear(target, &line);
            line.clear();
            match heard {
                Some(true) => {
                    if tx.send(Heard::Change).await.is_err() {
                        return End::Gone;
                    }
                }
                Some(false) => {}
                None => return End::Gone,
            }
        }
    }
}

/// Whether an event is a change; `None` if the watch cannot go on.
fn hear(target: &mut Target, line: &[u8]) -> Option<bool> {
    let line = line.trim_ascii();
    if line.is_empty() {
        return Some(false);
    }
    let event: Event<'_> = serde_json::from_slice(line).ok()?;
    let object: Versioned = serde_json::from_str(event.object.get()).ok()?;
    if event.kind == "ERROR" {
        tracing::debug!(code = object.code, "a watch of {} ended with an error", target.resource.name());
        return None;
    }
    if let Some(version) = object.metadata.and_then(|m| m.version).filter(|v| !v.is_empty()) {
        target.version = version;
    }
    Some(match (event.kind, &target.held) {
        ("BOOKMARK", _) => false,
        ("DELETED", _) | (_, None) => true,
        (_, Some(held)) => gatekeeper::fingerprint(event.object.get()).is_none_or(|(name, digest)| held.get(&name) != Some(&digest)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audit_that_found_the_same_is_no_change() {
        let constraint = |total: u32, audited: &str| {
            format!(
                r#"{{"kind":"K","metadata":{{"name":"c","generation":1,"resourceVersion":"9"}},"spec":{{"match":{{}}}},"status":{{"auditTimestamp":"{audited}","totalViolations":{total}}}}}"#
            )
        };
        let resource = Resource {
            group: "constraints.gatekeeper.sh".to_owned(),
            version: "v1beta1".to_owned(),
            plural: "k".to_owned(),
            kind: "K".to_owned(),
            namespaced: false,
            lists: true,
        };
        let held = gatekeeper::fingerprint(&constraint(1, "2026-01-01T00:00:00Z")).into_iter().collect();
        let mut target = Target { resource, namespace: None, version: "1".to_owned(), held: Some(held) };
        let mut event = |kind: &str, object: &str| hear(&mut target, format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n").as_bytes());
        assert_eq!(event("MODIFIED", &constraint(1, "2026-01-01T00:01:00Z")), Some(false));
        assert_eq!(event("MODIFIED", &constraint(2, "2026-01-01T00:01:00Z")), Some(true));
        assert_eq!(event("ADDED", &constraint(1, "").replace("\"c\"", "\"d\"")), Some(true));
        assert_eq!(event("DELETED", &constraint(1, "2026-01-01T00:01:00Z")), Some(true));
        assert_eq!(event("BOOKMARK", r#"{"metadata":{"resourceVersion":"77"}}"#), Some(false));
        assert_eq!(event("ERROR", r#"{"kind":"Status","code":410}"#), None);
        assert_eq!(target.version, "77");
        assert_eq!(hear(&mut target, b"what\n"), None);
    }
}
