//! HTTP: routes, limits, reload, shutdown. Knows nothing of collectors or the ledger: what it needs of them is a
//! [`Backend`].
//!
//! One task per connection. Everything has a limit: the number of connections, the size of a header and of a body, the
//! time until a request has come, until its answer is made, and between two bytes that a client takes of it.

mod body;
mod push;
mod query;
mod routes;
mod web;

pub use push::{PushError, PushLimits, PushMeta, PushReply};
pub use query::{Query, QueryError, QueryKind};
pub use web::{Reader, Web, WebConfig};

use crate::exposition::{Exposition, Moment};
use crate::snapshot::Snapshot;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// A future that an object-safe trait can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What the server asks of the rest of the program.
pub trait Backend: Send + Sync + 'static {
    /// What is known now.
    fn snapshot(&self) -> Arc<Snapshot>;

    /// The instant to show: never before one that was shown already, a high-water mark for it raised and durable.
    fn now(&self) -> Moment;

    /// What a page is made of: a snapshot and the instant to advance it to.
    ///
    /// Counters must not fall from one page to the next. So a snapshot that is published with an `at` before an instant
    /// that was already shown must not differ from the one that was shown there; a backend that cannot promise it by the
    /// order of its steps takes both under one lock here.
    fn view(&self) -> (Arc<Snapshot>, Moment) {
        let now = self.now();
        (self.snapshot(), now)
    }

    /// Reads the configuration again. The error is shown to whoever asked.
    fn reload(&self) -> BoxFuture<'_, Result<(), String>>;

    /// Whether a sender with this `Authorization` header may hand in a run of `collector`, and how large. Asked before
    /// anything of the body is read.
    fn push_authorised<'a>(&'a self, collector: &'a str, authorization: Option<&'a str>) -> BoxFuture<'a, Result<PushLimits, PushError>>;

    /// Takes a run that was handed in.
    fn push<'a>(&'a self, collector: &'a str, body: tempfile::TempPath, meta: PushMeta) -> BoxFuture<'a, Result<PushReply, PushError>>;

    /// Findings or runs, from the ledger: `{"items": […], "next": "<cursor>"|null}`.
    fn query(&self, query: Query) -> BoxFuture<'_, Result<serde_json::Value, QueryError>>;
}

/// Limits that hold on every route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; more wait to be accepted.
    pub connections: usize,
    /// Bytes of a request's line and headers.
    pub header_bytes: usize,
    /// Time for a request's headers to arrive, and so also the time a connection may idle between two requests.
    pub header_time: Duration,
    /// Time for an answer to be made.
    pub request_time: Duration,
    /// Time between two pieces of an uploaded body, and between two pieces of an answer that a client takes.
    pub stall_time: Duration,
    /// Time for an uploaded body to arrive, and to be taken in.
    pub upload_time: Duration,
    /// Uploads at once.
    pub uploads: usize,
    /// Time for open requests to end after shutdown was asked for.
    pub drain_time: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 512,
            header_bytes: 32 * 1024,
            // Longer than the usual 15 s between two scrapes, so that Prometheus keeps its connection.
            header_time: Duration::from_secs(20),
            request_time: Duration::from_secs(30),
            stall_time: Duration::from_secs(30),
            upload_time: Duration::from_secs(600),
            uploads: 8,
            drain_time: Duration::from_secs(10),
        }
    }
}

/// What all connections share.
struct Server {
    backend: Arc<dyn Backend>,
    exposition: Exposition,
    limits: Limits,
    /// Pages rendered at once. A page is work for one core; more of them only take memory.
    renders: Arc<Semaphore>,
    uploads: Semaphore,
    web: Option<Web>,
}

/// Serves until `shutdown`, then lets open requests end.
///
/// # Errors
/// Only if the listener is of no use.
pub async fn run(listener: TcpListener, backend: Arc<dyn Backend>, shutdown: CancellationToken) -> io::Result<()> {
    run_with(listener, backend, shutdown, Limits::default(), None).await
}

/// [`run`] with limits of one's own, and TLS and users if there is a file about them.
///
/// # Errors
/// As [`run`].
pub async fn run_with(
    listener: TcpListener,
    backend: Arc<dyn Backend>,
    shutdown: CancellationToken,
    limits: Limits,
    web: Option<Web>,
) -> io::Result<()> {
    listener.local_addr()?;
    let server = Arc::new(Server {
        backend,
        exposition: Exposition::new(),
        renders: Arc::new(Semaphore::new(2)),
        uploads: Semaphore::new(limits.uploads),
        limits,
        web,
    });
    let slots = Arc::new(Semaphore::new(server.limits.connections));
    let graceful = GracefulShutdown::new();
    let end = CancellationToken::new();
    loop {
        let slot = tokio::select! {
            slot = slots.clone().acquire_owned() => slot.expect("the semaphore is never closed"),
            () = shutdown.cancelled() => break,
        };
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // A client that went away, or no file descriptor left: neither ends the service.
                    tracing::debug!(%error, "cannot accept a connection: {error}");
                    sleep(Duration::from_millis(20)).await;
                    continue;
                }
            },
            () = shutdown.cancelled() => break,
        };
        let watcher = graceful.watcher();
        let (server, end, stopping) = (server.clone(), end.clone(), shutdown.clone());
        tokio::spawn(async move {
            let _slot = slot;
            tokio::select! {
                () = connection(server, stream, watcher, stopping) => {}
                () = end.cancelled() => {}
            }
        });
    }
    drop(listener);
    let drained = tokio::time::timeout(server.limits.drain_time, graceful.shutdown()).await.is_ok();
    if !drained {
        tracing::warn!("some requests did not end within {:?} and are cut off", server.limits.drain_time);
    }
    end.cancel();
    Ok(())
}

async fn connection(server: Arc<Server>, stream: TcpStream, watcher: Watcher, shutdown: CancellationToken) {
    // Small answers go out at once; a scrape's pieces are large anyway.
    _ = stream.set_nodelay(true);
    let limits = &server.limits;
    let stream = body::Unstalled::new(stream, limits.stall_time);
    let web = server.web.as_ref().map(Web::current);
    let Some((web, tls)) = web.and_then(|w| w.tls.clone().map(|tls| (w, tls))) else {
        return conversation(server, stream, watcher).await;
    };
    let handshake = tokio::time::timeout(limits.header_time, tokio_rustls::TlsAcceptor::from(tls).accept(stream));
    let shaken = tokio::select! {
        shaken = handshake => shaken,
        // Nothing was asked yet, so nothing has to end.
        () = shutdown.cancelled() => return,
    };
    match shaken {
        Ok(Ok(stream)) => {
            let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            if web.allows(certificate) {
                conversation(server, stream, watcher).await;
            } else {
                tracing::debug!("a client's certificate has none of the allowed names");
            }
        }
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed: {error}"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

async fn conversation<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(server: Arc<Server>, stream: S, watcher: Watcher) {
    let limits = server.limits.clone();
    let http2 = server.web.as_ref().is_none_or(|w| w.current().http2);
    let asked = Arc::new(AtomicBool::new(false));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    if !http2 {
        builder = builder.http1_only();
    }
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.header_time).max_buf_size(limits.header_bytes);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20))
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(32);
    let service = service_fn({
        let asked = asked.clone();
        move |request| {
            asked.store(true, Ordering::Relaxed);
            let server = server.clone();
            async move { Ok::<_, std::convert::Infallible>(routes::answer(&server, request).await) }
        }
    });
    let conversation = watcher.watch(builder.serve_connection(TokioIo::new(stream), service).into_owned());
    // hyper's own limit on the time for headers begins only when it knows which version of HTTP is spoken. A client that
    // sends nothing, or `P`, `R`, `I` one by one, would never get there.
    let silent = async {
        sleep(limits.header_time).await;
        if asked.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        ended = conversation => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection broke off: {error}");
            }
        }
        () = silent => tracing::debug!("a connection without a request was closed"),
    }
}
