//! A backend without a pipeline: one snapshot, a clock that the test sets, and pushes that are remembered.

use bornright::domain::Moment;
use bornright::serve::{Backend, BoxFuture, PushError, PushLimits, PushMeta, PushReply, Query, QueryError};
use bornright::snapshot::Snapshot;
use std::sync::{Arc, Mutex};

pub(crate) struct Fixed {
    pub(crate) snapshot: Mutex<Arc<Snapshot>>,
    pub(crate) now: Mutex<Moment>,
    pub(crate) reload: Mutex<Result<(), String>>,
    /// Collector, bytes and what is known of them, of each push that was taken.
    pub(crate) pushed: Mutex<Vec<(String, Vec<u8>, PushMeta)>>,
    /// Paths under which pushes waited.
    pub(crate) spooled: Mutex<Vec<std::path::PathBuf>>,
    pub(crate) asked: Mutex<Vec<Query>>,
}

impl Fixed {
    pub(crate) fn new(snapshot: Snapshot, now: Moment) -> Arc<Fixed> {
        Arc::new(Fixed {
            snapshot: Mutex::new(Arc::new(snapshot)),
            now: Mutex::new(now),
            reload: Mutex::new(Ok(())),
            pushed: Mutex::default(),
            spooled: Mutex::default(),
            asked: Mutex::default(),
        })
    }
}

impl Backend for Fixed {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.lock().expect("no test panics holding it").clone()
    }

    fn now(&self) -> Moment {
        *self.now.lock().expect("no test panics holding it")
    }

    fn reload(&self) -> BoxFuture<'_, Result<(), String>> {
        let outcome = self.reload.lock().expect("no test panics holding it").clone();
        Box::pin(async { outcome })
    }

    fn push_authorised<'a>(&'a self, collector: &'a str, authorization: Option<&'a str>) -> BoxFuture<'a, Result<PushLimits, PushError>> {
        let outcome = match (collector, authorization) {
            ("ci", Some("Bearer right")) => Ok(PushLimits { bytes: 1000, spool: None }),
            ("ci", _) => Err(PushError::Unauthorised),
            _ => Err(PushError::UnknownCollector),
        };
        Box::pin(async { outcome })
    }

    fn push<'a>(&'a self, collector: &'a str, body: tempfile::TempPath, meta: PushMeta) -> BoxFuture<'a, Result<PushReply, PushError>> {
        Box::pin(async move {
            let bytes = std::fs::read(&body).map_err(|e| PushError::Internal(e.to_string()))?;
            if bytes.starts_with(b"not ") {
                return Err(PushError::Rejected("line 1: expected `{`".to_owned()));
            }
            self.spooled.lock().expect("no test panics holding it").push(body.to_path_buf());
            self.pushed.lock().expect("no test panics holding it").push((collector.to_owned(), bytes, meta));
            Ok(PushReply { done: true, body: serde_json::json!({ "findings": 1 }) })
        })
    }

    fn query(&self, query: Query) -> BoxFuture<'_, Result<serde_json::Value, QueryError>> {
        self.asked.lock().expect("no test panics holding it").push(query.clone());
        Box::pin(async move {
            match query.filters.get("control").map(String::as_str) {
                Some("bad") => Err(QueryError::Bad("`control` is bad".to_owned())),
                Some("broken") => Err(QueryError::Internal("the secret path /var/lib/x".to_owned())),
                _ => Ok(serde_json::json!({ "items": [], "next": null })),
            }
        })
    }
}
