//! `POST /api/v1/runs/{collector}`: a run that somebody hands in, a CI job for instance. The sender is asked who it is
//! before anything it sends is read; what it sends goes to a file, counted, and never stands in memory whole.

use super::Server;
use super::query::shortened;
use super::routes::{Answer, error};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::{Request, StatusCode, header};
use std::path::PathBuf;
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, timeout, timeout_at};

/// What one sender may send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushLimits {
    /// Bytes of the body as sent.
    pub bytes: u64,
    /// Where it waits to be read; none is the system's directory for temporary files.
    pub spool: Option<PathBuf>,
}

/// What is known of a body besides its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushMeta {
    /// Its length.
    pub bytes: u64,
    /// `Content-Type` as sent.
    pub content_type: Option<String>,
    /// True if `Content-Encoding` says gzip or zstd. The body is handed on as it came.
    pub compressed: bool,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct PushReply {
    /// True once the run is in the ledger (200); false if it waits its turn (202).
    pub done: bool,
    /// What the sender is told.
    pub body: serde_json::Value,
}

/// Why a run was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// No or wrong credentials.
    #[error("who are you? send `Authorization: Bearer` with the collector's token")]
    Unauthorised,
    /// No collector of this name takes pushes.
    #[error("no collector of this name takes runs that are handed in")]
    UnknownCollector,
    /// Another run of this collector is being taken.
    #[error("another run of this collector is being taken; try again")]
    Busy,
    /// The body cannot be read as what the collector expects.
    #[error("{0}")]
    Rejected(String),
    /// Something of ours went wrong; the text is logged.
    #[error("{0}")]
    Internal(String),
}

pub(super) async fn receive(server: &Server, collector: &str, request: Request<Incoming>) -> Answer {
    // A header that is not text cannot be right: to the backend it is as if none had come.
    let authorization = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let limits = match server.backend.push_authorised(collector, authorization).await {
        Ok(limits) => limits,
        Err(e) => return refusal(collector, &e),
    };
    let Ok(_turn) = server.uploads.try_acquire() else {
        return refusal(collector, &PushError::Busy);
    };
    let text = |name| request.headers().get(name).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
    let compressed = match text(header::CONTENT_ENCODING).as_deref().map(str::trim) {
        None | Some("" | "identity") => false,
        Some("gzip" | "x-gzip" | "zstd") => true,
        Some(other) => {
            let said = format!("content encoding `{}`; expected none, gzip or zstd", shortened(other));
            return error(StatusCode::UNSUPPORTED_MEDIA_TYPE, &said);
        }
    };
    let content_type = text(header::CONTENT_TYPE);
    let too_large = || error(StatusCode::PAYLOAD_TOO_LARGE, &format!("the body is larger than {} bytes", limits.bytes));
    let body = request.into_body();
    // A chunked body announces nothing, so its lower bound is zero and it is counted as it comes.
    if body.size_hint().lower() > limits.bytes {
        return too_large();
    }
    let deadline = Instant::now() + server.limits.upload_time;
    let (file, bytes) = match timeout_at(deadline, spool(server, &limits, body)).await {
        Ok(Ok(received)) => received,
        Ok(Err(Stop::TooLarge)) => return too_large(),
        Ok(Err(Stop::Stalled)) => return error(StatusCode::REQUEST_TIMEOUT, "the body stopped coming"),
        Ok(Err(Stop::BrokenOff(e))) => return error(StatusCode::BAD_REQUEST, &format!("the body broke off: {e}")),
        Ok(Err(Stop::Disk(e))) => return refusal(collector, &PushError::Internal(format!("cannot keep the body: {e}"))),
        Err(_) => return error(StatusCode::REQUEST_TIMEOUT, "the body took too long to come"),
    };
    if bytes == 0 {
        return error(StatusCode::BAD_REQUEST, "the body is empty: send the scanner's report");
    }
    let taken = server.backend.push(collector, file, PushMeta { bytes, content_type, compressed });
    match timeout(server.limits.upload_time, taken).await {
        Ok(Ok(reply)) => {
            let status = if reply.done { StatusCode::OK } else { StatusCode::ACCEPTED };
            Answer::json(status, &reply.body)
        }
        Ok(Err(e)) => refusal(collector, &e),
        Err(_) => refusal(collector, &PushError::Internal("taking the run in took too long".to_owned())),
    }
}

enum Stop {
    TooLarge,
    Stalled,
    BrokenOff(hyper::Error),
    Disk(std::io::Error),
}

async fn spool(server: &Server, limits: &PushLimits, mut body: Incoming) -> Result<(tempfile::TempPath, u64), Stop> {
    let directory = limits.spool.clone();
    let created = tokio::task::spawn_blocking(move || {
        let mut builder = tempfile::Builder::new();
        builder.prefix("bornright-push-");
        match directory {
            Some(d) => builder.tempfile_in(d),
            None => builder.tempfile(),
        }
    });
    let created = created.await.map_err(|e| Stop::Disk(std::io::Error::other(e)))?.map_err(Stop::Disk)?;
    let (file, path) = created.into_parts();
    let mut file = tokio::fs::File::from_std(file);
    let mut bytes: u64 = 0;
    while let Some(frame) = timeout(server.limits.stall_time, body.frame()).await.map_err(|_| Stop::Stalled)? {
        let data: Bytes = frame.map_err(Stop::BrokenOff)?.into_data().unwrap_or_default();
        bytes = bytes.saturating_add(data.len() as u64);
        if bytes > limits.bytes {
            return Err(Stop::TooLarge);
        }
        file.write_all(&data).await.map_err(Stop::Disk)?;
    }
    file.flush().await.map_err(Stop::Disk)?;
    Ok((path, bytes))
}

fn refusal(collector: &str, e: &PushError) -> Answer {
    let status = match e {
        PushError::Unauthorised => StatusCode::UNAUTHORIZED,
        PushError::UnknownCollector => StatusCode::NOT_FOUND,
        PushError::Busy => StatusCode::SERVICE_UNAVAILABLE,
        PushError::Rejected(_) => StatusCode::UNPROCESSABLE_ENTITY,
        PushError::Internal(said) => {
            tracing::error!(collector, "a run handed in for `{}` was not taken: {said}", shortened(collector));
            return error(StatusCode::INTERNAL_SERVER_ERROR, "something of ours went wrong; the log says what");
        }
    };
    let answer = error(status, &e.to_string());
    match e {
        PushError::Unauthorised => answer.header(header::WWW_AUTHENTICATE, "Bearer realm=\"bornright\""),
        PushError::Busy => answer.header(header::RETRY_AFTER, "10"),
        PushError::UnknownCollector | PushError::Rejected(_) | PushError::Internal(_) => answer,
    }
}
