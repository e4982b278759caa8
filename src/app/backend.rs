//! What the server asks of the rest of the program.

use super::gate::ClockGate;
use super::pipeline::Pipeline;
use super::writer::Writer;
use crate::clock;
use crate::collectors::{Reach, push};
use crate::config::Config;
use crate::domain::{Moment, State};
use crate::ledger;
use crate::serve::{Backend, BoxFuture, PushError, PushLimits, PushMeta, PushReply, Query, QueryError, QueryKind};
use crate::snapshot::Snapshot;
use arc_swap::ArcSwap;
use serde_json::json;
use std::sync::Arc;
use tokio::sync::mpsc;

/// The running program behind the server.
pub(super) struct Running {
    pub(super) published: Arc<ArcSwap<Snapshot>>,
    pub(super) gate: Arc<ClockGate>,
    pub(super) writer: Writer,
    /// The configuration in force.
    pub(super) config: Arc<ArcSwap<Config>>,
    /// Asks for a reload; the answer says how it went.
    pub(super) reloads: mpsc::Sender<tokio::sync::oneshot::Sender<Result<(), String>>>,
}

impl Backend for Running {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.published.load_full()
    }

    fn now(&self) -> Moment {
        self.gate.expose()
    }

    fn reload(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async {
            let (answer, receive) = tokio::sync::oneshot::channel();
            self.reloads.send(answer).await.map_err(|_| "the program is stopping".to_owned())?;
            receive.await.map_err(|_| "the program is stopping".to_owned())?
        })
    }

    fn push_authorised<'a>(&'a self, collector: &'a str, authorization: Option<&'a str>) -> BoxFuture<'a, Result<PushLimits, PushError>> {
        Box::pin(async move {
            let config = self.config.load_full();
            let found = config.collectors.iter().find(|c| c.name == collector).map(|c| &c.from);
            let Some(Reach::Push(p)) = found else {
                // Whether a name exists is told only to those who may push somewhere; there is nobody to compare with here.
                return Err(PushError::UnknownCollector);
            };
            if !push::authorise(p, authorization) {
                return Err(PushError::Unauthorised);
            }
            Ok(PushLimits { bytes: p.max_bytes, spool: None })
        })
    }

    fn push<'a>(&'a self, collector: &'a str, body: tempfile::TempPath, _meta: PushMeta) -> BoxFuture<'a, Result<PushReply, PushError>> {
        Box::pin(async move {
            let collected = push::accept(collector, clock::now(), body, true, Vec::new());
            let applied = self.writer.ask(move |p| p.ingest(collected)).await.map_err(|e| PushError::Internal(format!("{e:#}")))?;
            let body = serde_json::to_value(&applied).map_err(|e| PushError::Internal(e.to_string()))?;
            if applied.usable {
                Ok(PushReply { done: true, body })
            } else {
                let first = applied.problems.first().map_or("nothing in it could be used", String::as_str);
                Err(PushError::Rejected(first.to_owned()))
            }
        })
    }

    fn query(&self, query: Query) -> BoxFuture<'_, Result<serde_json::Value, QueryError>> {
        Box::pin(async move {
            match query.kind {
                QueryKind::Findings => {
                    if let Some(state) = query.filters.get("state").filter(|s| State::from_word(s).is_none()) {
                        return Err(QueryError::Bad(format!("`state` is `{state}`; expected compliant, non_compliant, unknown or waived")));
                    }
                    let now = self.gate.expose();
                    let answer = self.writer.ask(move |p| Ok(findings(p, &query, now))).await.map_err(|e| QueryError::Internal(format!("{e:#}")))?;
                    answer.map_err(QueryError::Bad)
                }
                QueryKind::Runs => {
                    let config = self.config.load_full().ledger.clone();
                    tokio::task::spawn_blocking(move || runs(&config, &query)).await.map_err(|e| QueryError::Internal(e.to_string()))?
                }
            }
        })
    }
}

/// A page of pairs with their states, in the order of resources.
fn findings(pipeline: &Pipeline, query: &Query, now: Moment) -> Result<serde_json::Value, String> {
    let book = pipeline.book();
    let resources = book.resources();
    let from: (u32, u32) = match &query.cursor {
        None => (0, 0),
        Some(text) => text
            .split_once('.')
            .and_then(|(slot, control)| Some((slot.parse().ok()?, control.parse().ok()?)))
            .ok_or_else(|| format!("`cursor` is `{text}`; expected the `next` of an earlier answer"))?,
    };
    let filter = |name: &str| query.filters.get(name).map(String::as_str);
    let state = filter("state").and_then(State::from_word);
    let control = match filter("control") {
        None => None,
        Some(id) => match book.controls().find(id) {
            Some(c) => Some(c),
            None => return Ok(json!({ "items": [], "next": null })),
        },
    };
    let only = filter("resource").map(|r| resources.find(&crate::domain::resource::normalise(r)));
    let mut items = Vec::new();
    let slots = match only {
        Some(Some(slot)) => vec![slot],
        Some(None) => Vec::new(),
        None => resources.live(),
    };
    for slot in slots.into_iter().filter(|s| *s >= from.0) {
        let scope = book.scopes().get(resources.scope(slot));
        if filter("scope").is_some_and(|s| s != scope) {
            continue;
        }
        let mut last = None;
        for entry in resources.entries(slot) {
            let c = book.bindings()[entry.binding() as usize].control;
            if last == Some(c) || control.is_some_and(|wanted| wanted != c) || (slot == from.0 && c < from.1) {
                continue;
            }
            last = Some(c);
            let is = book.state_of(slot, c, now);
            if state.is_some() && is != state {
                continue;
            }
            if items.len() == query.limit {
                return Ok(json!({ "items": items, "next": format!("{slot}.{c}") }));
            }
            let evidence = book.observations(slot, c);
            items.push(json!({
                "control": book.controls().get(c),
                "scope": scope,
                "resource": { "id": resources.name(slot), "type": book.kind(slot) },
                "state": is.map(State::word),
                "observations": evidence.iter().map(|o| json!({
                    "collector": o.collector, "check": o.check, "verdict": o.verdict, "suppressed": o.suppressed,
                    "evidence_at": o.at.to_string(),
                })).collect::<Vec<_>>(),
            }));
        }
    }
    Ok(json!({ "items": items, "next": null }))
}

fn runs(config: &ledger::Config, query: &Query) -> Result<serde_json::Value, QueryError> {
    let internal = |e: ledger::LedgerError| QueryError::Internal(e.to_string());
    let mut before = match &query.cursor {
        None => None,
        Some(text) => Some(text.parse::<u64>().map_err(|_| QueryError::Bad(format!("`cursor` is `{text}`; expected the `next` of an earlier answer")))?),
    };
    if *config == ledger::Config::Memory {
        return Ok(json!({ "items": [], "next": null }));
    }
    let reader = ledger::Reader::open(config).map_err(internal)?;
    let wanted = query.filters.get("collector");
    let mut items = Vec::new();
    loop {
        let page = reader.runs(before, 500).map_err(internal)?;
        let end = page.len() < 500;
        for row in page {
            before = Some(row.record);
            if wanted.is_some_and(|w| *w != row.run.collector) {
                continue;
            }
            let evidence = reader.evidence(row.record).map_err(internal)?;
            items.push(json!({
                "record": row.record,
                "hash": row.hash,
                "at": row.at.to_string(),
                "collector": row.run.collector,
                "started": row.run.started.to_string(),
                "finished": row.run.finished.to_string(),
                "complete": row.run.complete,
                "findings": crate::domain::CheckResult::ALL.iter().zip(row.run.findings).map(|(r, n)| (r.word(), n)).collect::<std::collections::BTreeMap<_, _>>(),
                "problems": row.run.problems.iter().map(|(k, n)| (k.word(), *n)).collect::<std::collections::BTreeMap<_, _>>(),
                "scanner": row.run.scanner.as_ref().map(|s| json!({ "name": s.name, "version": s.version, "rule_set": s.rule_set })),
                "evidence": evidence.iter().map(|e| json!({ "name": e.name, "sha256": e.sha256, "bytes": e.bytes, "observed_at": e.observed_at.map(|t| t.to_string()) })).collect::<Vec<_>>(),
            }));
            if items.len() == query.limit {
                return Ok(json!({ "items": items, "next": row.record.to_string() }));
            }
        }
        if end {
            return Ok(json!({ "items": items, "next": null }));
        }
    }
}
