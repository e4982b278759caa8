//! Which path does what, and the headers that every answer carries.

use super::body::Pieces;
use super::query::{self, Query, QueryError, QueryKind, decode};
use super::{Server, push};
use crate::exposition::{Encoding, Format, Moment, accepts_gzip, json};
use crate::report;
use crate::snapshot::Snapshot;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use std::sync::Arc;
use std::time::Instant;
use tokio::time::timeout;

/// A path, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Route {
    Index,
    Style,
    Control(String),
    Metrics,
    Healthy,
    Ready,
    Reload,
    Controls,
    Slos,
    Waivers,
    Ledger(QueryKind),
    Push(String),
}

impl Route {
    fn of(path: &str) -> Option<Route> {
        Some(match path {
            "/" => Route::Index,
            "/style.css" => Route::Style,
            "/metrics" => Route::Metrics,
            "/-/healthy" => Route::Healthy,
            "/-/ready" => Route::Ready,
            "/-/reload" => Route::Reload,
            "/api/v1/controls" => Route::Controls,
            "/api/v1/slos" => Route::Slos,
            "/api/v1/waivers" => Route::Waivers,
            "/api/v1/findings" => Route::Ledger(QueryKind::Findings),
            "/api/v1/runs" => Route::Ledger(QueryKind::Runs),
            _ => {
                // What follows is a name to be looked up, never a path in a file system; an encoded slash belongs to it.
                let (prefix, name) = path.rsplit_once('/')?;
                let name = decode(name, false).filter(|n| !n.is_empty())?;
                match prefix {
                    "/controls" => Route::Control(name),
                    "/api/v1/runs" => Route::Push(name),
                    _ => return None,
                }
            }
        })
    }

    /// The label under which it is counted.
    const fn word(&self) -> &'static str {
        match self {
            Route::Index => "/",
            Route::Style => "/style.css",
            Route::Control(_) => "/controls/{id}",
            Route::Metrics => "/metrics",
            Route::Healthy => "/-/healthy",
            Route::Ready => "/-/ready",
            Route::Reload => "/-/reload",
            Route::Controls => "/api/v1/controls",
            Route::Slos => "/api/v1/slos",
            Route::Waivers => "/api/v1/waivers",
            Route::Ledger(QueryKind::Findings) => "/api/v1/findings",
            Route::Ledger(QueryKind::Runs) => "/api/v1/runs",
            Route::Push(_) => "/api/v1/runs/{collector}",
        }
    }

    /// The methods it knows.
    const fn allow(&self) -> &'static str {
        match self {
            Route::Reload | Route::Push(_) => "POST",
            Route::Index
            | Route::Style
            | Route::Control(_)
            | Route::Metrics
            | Route::Healthy
            | Route::Ready
            | Route::Controls
            | Route::Slos
            | Route::Waivers
            | Route::Ledger(_) => "GET, HEAD",
        }
    }
}

/// An answer before it gets the headers that all have.
#[derive(Debug)]
pub(super) struct Answer(Response<Pieces>);

impl Answer {
    fn new(status: StatusCode, content_type: &'static str, body: impl Into<Pieces>) -> Answer {
        let mut response = Response::new(body.into());
        *response.status_mut() = status;
        Answer(response).header(header::CONTENT_TYPE, content_type)
    }

    fn text(status: StatusCode, text: &str) -> Answer {
        Answer::new(status, "text/plain; charset=utf-8", Bytes::from(format!("{text}\n")))
    }

    fn html(status: StatusCode, html: String) -> Answer {
        Answer::new(status, "text/html; charset=utf-8", Bytes::from(html))
    }

    pub(super) fn json(status: StatusCode, value: &serde_json::Value) -> Answer {
        Answer::new(status, "application/json", Bytes::from(format!("{value}\n")))
    }

    pub(super) fn header(mut self, name: HeaderName, value: &'static str) -> Answer {
        self.0.headers_mut().insert(name, HeaderValue::from_static(value));
        self
    }
}

/// An error as the API tells it.
pub(super) fn error(status: StatusCode, said: &str) -> Answer {
    Answer::json(status, &serde_json::json!({ "error": said }))
}

pub(super) async fn answer(server: &Arc<Server>, request: Request<Incoming>) -> Response<Pieces> {
    let route = Route::of(request.uri().path());
    let head = request.method() == Method::HEAD;
    let word = route.as_ref().map_or("other", Route::word);
    let web = server.web.as_ref().map(super::Web::current);
    let Answer(mut response) = match route {
        _ if web.as_ref().is_some_and(|w| !w.within_rate()) => Answer::text(StatusCode::TOO_MANY_REQUESTS, "too many requests"),
        // Who hands in a run shows the collector's token instead of a user's password.
        ref route if !matches!(route, Some(Route::Push(_))) && !known(web.as_ref(), &request).await => {
            Answer::text(StatusCode::UNAUTHORIZED, "who are you?").header(header::WWW_AUTHENTICATE, "Basic realm=\"bornright\"")
        }
        None => not_found(&request),
        Some(route) if !allowed(&route, request.method()) => {
            Answer::text(StatusCode::METHOD_NOT_ALLOWED, &format!("expected {}", route.allow())).header(header::ALLOW, route.allow())
        }
        // An upload has limits of its own.
        Some(Route::Push(collector)) => push::receive(server, &collector, request).await,
        Some(route) => match timeout(server.limits.request_time, dispatch(server, route, &request)).await {
            Ok(answer) => answer,
            Err(_) => Answer::text(StatusCode::SERVICE_UNAVAILABLE, "this took too long"),
        },
    };
    server.exposition.about_us().answered(word, response.status().as_u16());
    secure(&mut response);
    for (name, value) in web.iter().flat_map(|w| &w.headers) {
        response.headers_mut().insert(name, value.clone());
    }
    if head {
        let length = HeaderValue::from(response.body().len());
        *response.body_mut() = Pieces::default();
        response.headers_mut().insert(header::CONTENT_LENGTH, length);
    }
    response
}

async fn known(web: Option<&Arc<super::web::Loaded>>, request: &Request<Incoming>) -> bool {
    match web {
        None => true,
        Some(web) => web.knows(request.headers().get(header::AUTHORIZATION)).await,
    }
}

fn allowed(route: &Route, method: &Method) -> bool {
    route.allow().split(", ").any(|m| m == method.as_str())
}

async fn dispatch(server: &Arc<Server>, route: Route, request: &Request<Incoming>) -> Answer {
    let query = request.uri().query();
    match route {
        Route::Style => Answer::new(StatusCode::OK, "text/css; charset=utf-8", Bytes::from_static(report::STYLE.as_bytes()))
            .header(header::CACHE_CONTROL, "max-age=3600"),
        Route::Healthy => Answer::text(StatusCode::OK, "healthy"),
        Route::Ready if server.backend.snapshot().ready => Answer::text(StatusCode::OK, "ready"),
        Route::Ready => Answer::text(StatusCode::SERVICE_UNAVAILABLE, "not ready: nothing has been collected yet"),
        Route::Reload => reload(server, request).await,
        Route::Metrics => metrics(server, request).await,
        Route::Index => {
            let parameters = match query::parse(query, &["scope", "page"]) {
                Ok(p) => p,
                Err(said) => return page(StatusCode::BAD_REQUEST, &said),
            };
            let part = report::Part {
                scope: parameters.get("scope").cloned(),
                page: parameters.get("page").and_then(|p| p.parse().ok()).unwrap_or(1),
            };
            rendered(server, move |s, now| Answer::html(StatusCode::OK, report::index(&s, now, &part))).await
        }
        Route::Control(id) => {
            rendered(server, move |s, now| match report::control(&s, now, &id) {
                Some(html) => Answer::html(StatusCode::OK, html),
                None => page(StatusCode::NOT_FOUND, "There is no such control in the definitions in force."),
            })
            .await
        }
        Route::Controls => {
            let names = ["control", "scope", "severity", "owner", "set", "framework", "limit", "cursor"];
            let (filter, paging) = match control_filter(query, &names) {
                Ok(asked) => asked,
                Err(said) => return error(StatusCode::BAD_REQUEST, &said),
            };
            rendered(server, move |s, now| Answer::json(StatusCode::OK, &json::controls(&s, now, &filter, paging))).await
        }
        Route::Waivers => {
            let asked = query::parse(query, &["state", "limit", "cursor"])
                .and_then(|mut p| Ok((query::paging(&mut p)?, word(p.remove("state"), "state", crate::exposition::waiver_state)?)));
            match asked {
                Ok((paging, state)) => {
                    rendered(server, move |s, now| Answer::json(StatusCode::OK, &json::waivers(&s, now, state, paging))).await
                }
                Err(said) => error(StatusCode::BAD_REQUEST, &said),
            }
        }
        Route::Slos => match query::parse(query, &["limit", "cursor"]).and_then(|mut p| query::paging(&mut p)) {
            Ok(paging) => rendered(server, move |s, now| Answer::json(StatusCode::OK, &json::slos(&s, now, paging))).await,
            Err(said) => error(StatusCode::BAD_REQUEST, &said),
        },
        Route::Ledger(kind) => ledger(server, kind, query).await,
        Route::Push(_) => error(StatusCode::METHOD_NOT_ALLOWED, "expected POST"),
    }
}

async fn metrics(server: &Arc<Server>, request: &Request<Incoming>) -> Answer {
    // Several headers of one name are one list.
    let joined = |name| {
        let values = request.headers().get_all(name).iter().map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
        values.collect::<Vec<_>>().join(",")
    };
    let encoding = Encoding { format: Format::negotiate(&joined(header::ACCEPT)), gzip: accepts_gzip(&joined(header::ACCEPT_ENCODING)) };
    let begun = Instant::now();
    let shared = server.clone();
    let answer = rendered(server, move |s, now| {
        let pieces = shared.exposition.render(&s, now, encoding);
        shared.exposition.about_us().rendered(begun.elapsed());
        let answer = Answer::new(StatusCode::OK, encoding.format.content_type(), pieces);
        if encoding.gzip { answer.header(header::CONTENT_ENCODING, "gzip") } else { answer }
    });
    answer.await.header(header::VARY, "Accept, Accept-Encoding")
}

async fn reload(server: &Server, request: &Request<Incoming>) -> Answer {
    // A page elsewhere can make a browser send this; what a browser says of itself then gives it away.
    let site = request.headers().get("sec-fetch-site").map(HeaderValue::as_bytes);
    if !matches!(site, None | Some(b"same-origin" | b"none")) {
        return Answer::text(StatusCode::FORBIDDEN, "not for other sites");
    }
    match server.backend.reload().await {
        Ok(()) => Answer::text(StatusCode::OK, "reloaded"),
        Err(said) => {
            tracing::warn!("a reload failed and changed nothing: {said}");
            Answer::text(StatusCode::INTERNAL_SERVER_ERROR, &format!("nothing was changed: {said}"))
        }
    }
}

async fn ledger(server: &Server, kind: QueryKind, query: Option<&str>) -> Answer {
    let mut names = kind.filters().to_vec();
    names.extend(["limit", "cursor"]);
    let asked = query::parse(query, &names).and_then(|mut p| {
        let limit = query::limit(&mut p)?;
        let cursor = p.remove("cursor");
        Ok(Query { kind, filters: p, limit, cursor })
    });
    let asked = match asked {
        Ok(asked) => asked,
        Err(said) => return error(StatusCode::BAD_REQUEST, &said),
    };
    match server.backend.query(asked).await {
        Ok(value) => Answer::json(StatusCode::OK, &value),
        Err(QueryError::Bad(said)) => error(StatusCode::BAD_REQUEST, &said),
        Err(QueryError::Internal(said)) => {
            tracing::error!("a question to the ledger failed: {said}");
            error(StatusCode::INTERNAL_SERVER_ERROR, "something of ours went wrong; the log says what")
        }
    }
}

fn control_filter(query: Option<&str>, names: &[&str]) -> Result<(json::ControlFilter, json::Paging), String> {
    let mut p = query::parse(query, names)?;
    let paging = query::paging(&mut p)?;
    let severity = word(p.remove("severity"), "severity", crate::exposition::severity)?;
    let [control, scope, owner, set, framework] = ["control", "scope", "owner", "set", "framework"].map(|name| p.remove(name));
    Ok((json::ControlFilter { control, scope, severity, owner, set, framework }, paging))
}

/// One of a closed set of words.
fn word<T>(text: Option<String>, name: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, String> {
    text.map(|t| read(&t).map_err(|known| format!("`{name}` is `{}`; expected one of {known}", query::shortened(&t)))).transpose()
}

/// Makes an answer from the snapshot on a thread where it may take its time, at most a few at once. If making it goes
/// wrong altogether, that costs this answer.
async fn rendered(server: &Arc<Server>, make: impl FnOnce(Arc<Snapshot>, Moment) -> Answer + Send + 'static) -> Answer {
    let turn = server.renders.clone().acquire_owned().await.expect("the semaphore is never closed");
    let backend = server.backend.clone();
    let made = tokio::task::spawn_blocking(move || {
        // The turn ends with the work, not with the patience of who asked for it.
        let _turn = turn;
        let (snapshot, now) = backend.view();
        make(snapshot, now)
    });
    let made = made.await;
    made.unwrap_or_else(|broken| {
        tracing::error!("an answer could not be made: {broken}");
        Answer::text(StatusCode::INTERNAL_SERVER_ERROR, "something of ours went wrong; the log says what")
    })
}

fn not_found(request: &Request<Incoming>) -> Answer {
    if request.uri().path().starts_with("/api/") {
        error(StatusCode::NOT_FOUND, "there is nothing here; see /api/v1/controls, slos, findings, waivers, runs")
    } else {
        page(StatusCode::NOT_FOUND, "There is nothing here.")
    }
}

fn page(status: StatusCode, said: &str) -> Answer {
    Answer::html(status, report::message(status.as_str(), said))
}

/// No page of ours runs a script, loads anything from elsewhere or may stand in somebody's frame.
fn secure(response: &mut Response<Pieces>) {
    let headers = response.headers_mut();
    for (name, value) in [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_understood_or_not_found() {
        let control = |id: &str| Some(Route::Control(id.to_owned()));
        for (path, route) in [
            ("/", Some(Route::Index)),
            ("/metrics", Some(Route::Metrics)),
            ("/metrics/", None),
            ("//metrics", None),
            ("/controls/", None),
            ("/controls/a", control("a")),
            ("/controls/a%2Fb%20c", control("a/b c")),
            ("/controls/..%2f..%2fetc%2fpasswd", control("../../etc/passwd")),
            ("/controls/a/b", None),
            ("/controls/%ff", None),
            ("/../../etc/passwd", None),
            ("/api/v1/runs", Some(Route::Ledger(QueryKind::Runs))),
            ("/api/v1/runs/ci", Some(Route::Push("ci".to_owned()))),
            ("", None),
            ("*", None),
        ] {
            assert_eq!(Route::of(path), route, "{path}");
        }
    }
}
