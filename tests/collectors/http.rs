use super::server::{Reply, Server, answer, ok, read_request};
use super::{assert_hidden, problems, schedule, text};
use bornright::collectors::client::{Network, Retry, Secret};
use bornright::collectors::http::{Auth, Config, Method, Paging, Place};
use bornright::collectors::run::{Applied, Job, Pace, once, run_at};
use bornright::collectors::{Collected, Reach};
use bornright::domain::{Moment, ProblemKind, Span};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// So many further tries, at once.
fn quick(retries: u32) -> Retry {
    Retry { retries, delay: Span(5), ..Retry::default() }
}

fn config(server: &Server, path: &str) -> Config {
    let network = Network { read_timeout: Span(300), ..Network::default() };
    Config { url: format!("{}{path}", server.url), retry: quick(5), network, ..Config::default() }
}

async fn get(config: Config) -> Collected {
    once(schedule(Reach::Http(config))).await
}

/// The problems, with the server's address left out.
fn said(collected: &Collected, server: &Server) -> String {
    problems(collected).replace(&server.url, "URL")
}

#[tokio::test]
async fn a_document_comes_with_its_own_time_and_goes_with_its_file() {
    let server = Server::new(|_, _| answer("200 OK", "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n", "[1]"));
    let got = get(config(&server, "/scan?key=k3y-s3cr3t#f")).await;
    assert!(got.complete && got.problems.is_empty() && !got.unchanged, "{got:?}");
    assert_eq!(text(&got), "[1]");
    let document = &got.documents[0];
    assert_eq!(document.name, format!("{}/scan", server.url));
    assert_eq!(document.modified, Some(Moment::from_seconds(784_111_777)));
    assert_hidden(&got, "k3y-s3cr3t");
    let request = &server.requests()[0];
    assert!(request.starts_with("GET /scan?key=k3y-s3cr3t HTTP/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("user-agent: bornright/{}\r\n", env!("CARGO_PKG_VERSION"))), "{request}");
    let path = document.path.clone();
    assert!(path.exists());
    drop(got);
    assert!(!path.exists());
}

#[tokio::test]
async fn pages_are_followed_by_link_field_cursor_and_number() {
    let server = Server::new(|n, _| match n {
        0 => answer("200 OK", "Link: </x?page=2>; rel=\"next\", </x?page=3>; rel=\"last\"\r\n", "[1]"),
        1 => answer("200 OK", "Link: <?page=3>; rel=next\r\n", "[2]"),
        _ => answer("200 OK", "Link: </x?page=1>; rel=first\r\n", "[3]"),
    });
    let got = get(Config { paging: Some(Paging::LinkHeader), ..config(&server, "/x") }).await;
    assert!(got.complete, "{got:?}");
    assert_eq!((text(&got).as_str(), got.documents.len()), ("[1]\n[2]\n[3]", 1));
    assert_eq!(server.targets(), ["GET /x", "GET /x?page=2", "GET /x?page=3"]);

    // An empty page with a next token is legal.
    let server = Server::new(|n, request| {
        let host = request.lines().find_map(|l| l.strip_prefix("host: ")).unwrap();
        match n {
            0 => ok(format!(r#"{{"items":[],"paging":{{"next":"http://{host}/x?after=b"}}}}"#)),
            _ => ok(r#"{"items":[2],"paging":{"next":null}}"#),
        }
    });
    let got = get(Config { paging: Some(Paging::NextField { path: "paging.next".to_owned() }), ..config(&server, "/x") }).await;
    assert!(got.complete, "{got:?}");
    assert_eq!(server.targets(), ["GET /x", "GET /x?after=b"]);

    let cursor = |place, parameter: &str| Some(Paging::Cursor { path: "/meta/next".to_owned(), parameter: parameter.to_owned(), place });
    let server = Server::new(|n, _| if n == 0 { ok(r#"{"meta":{"next":"a&b="}}"#) } else { ok(r#"{"meta":{"next":""}}"#) });
    let got = get(Config { paging: cursor(Place::Query, "after"), ..config(&server, "/x?limit=2&after=0") }).await;
    assert!(got.complete, "{got:?}");
    assert_eq!(server.targets(), ["GET /x?limit=2&after=0", "GET /x?limit=2&after=a%26b%3D"]);

    let server = Server::new(|n, _| if n == 0 { ok(r#"{"meta":{"next":7}}"#) } else { ok("{}") });
    let body = Some(r#"{"query":"q","variables":{"first":5}}"#.to_owned());
    let posted = Config { method: Method::Post, body, paging: cursor(Place::Body, "variables.after"), ..config(&server, "/graphql") };
    let got = get(posted).await;
    assert!(got.complete, "{got:?}");
    let requests = server.requests();
    assert!(requests[0].contains("content-type: application/json"));
    assert!(requests[0].ends_with(r#"{"query":"q","variables":{"first":5}}"#), "{}", requests[0]);
    assert!(requests[1].ends_with(r#"{"query":"q","variables":{"after":"7","first":5}}"#), "{}", requests[1]);

    let server = Server::new(|n, _| if n < 2 { ok(r#"{"items":[1]}"#) } else { ok(r#"{"items":[]}"#) });
    let page = Paging::Page { parameter: "page".to_owned(), first: 1, records: "items".to_owned() };
    let got = get(Config { paging: Some(page), ..config(&server, "/x?size=1") }).await;
    assert!(got.complete, "{got:?}");
    assert_eq!(server.targets(), ["GET /x?size=1&page=1", "GET /x?size=1&page=2", "GET /x?size=1&page=3"]);
}

#[tokio::test]
async fn pages_before_a_fault_are_handed_on_and_the_run_is_partial() {
    let next = || Some(Paging::NextField { path: "next".to_owned() });
    // The third page is forbidden.
    let server = Server::new(|n, _| match n {
        0 => ok(r#"{"next":"/x?2"}"#),
        1 => ok(r#"{"next":"/x?3"}"#),
        _ => answer("403 Forbidden", "", "no"),
    });
    let got = get(Config { paging: next(), ..config(&server, "/x") }).await;
    assert!(!got.complete);
    assert_eq!(text(&got).trim_end(), "{\"next\":\"/x?2\"}\n{\"next\":\"/x?3\"}");
    assert_eq!(said(&got, &server), "URL/x: denied: answered 403 Forbidden: no");

    // A page that is cut off: nothing says where the next is.
    let server = Server::new(|n, _| if n == 0 { ok(r#"{"next":"/x?2"}"#) } else { ok(r#"{"items":[1,2"#) });
    let got = get(Config { paging: next(), ..config(&server, "/x") }).await;
    assert!(!got.complete);
    assert_eq!(got.problems[0].kind, ProblemKind::Truncated);

    let server = Server::new(|_, _| ok(r#"{"next":{"url":"/x"}}"#));
    let got = get(Config { paging: next(), ..config(&server, "/x") }).await;
    assert_eq!(
        said(&got, &server),
        "URL/x: source: `next` of the page is neither text nor number; expected a text that names the next page, or nothing"
    );
    assert!(!got.complete);
}

#[tokio::test]
async fn circles_endless_pages_and_other_hosts_are_refused() {
    let next = || Some(Paging::NextField { path: "next".to_owned() });
    let server = Server::new(|n, _| ok(format!(r#"{{"next":"/x?{}"}}"#, n % 2)));
    let got = get(Config { paging: next(), ..config(&server, "/x?1") }).await;
    assert_eq!(said(&got, &server), "URL/x: source: page 3 is one that we had before: the pages go in a circle");
    assert!(!got.complete && server.targets().len() == 2);

    let server = Server::new(|n, _| ok(format!(r#"{{"next":"/x?{n}"}}"#)));
    let got = get(Config { paging: next(), max_pages: 5, ..config(&server, "/x") }).await;
    assert_eq!(said(&got, &server), "URL/x: limit: more than 5 pages (max_pages)");

    let other = Server::new(|_, _| ok("[]"));
    let token = secret_file("tok3n-s3cr3t");
    for link in [&format!("{}/steal?a=b", other.url), "https://127.0.0.1/x", "http://user:pw@127.0.0.1/", "http://["] {
        let link = link.to_owned();
        let server = Server::new(move |_, _| answer("200 OK", &format!("Link: <{link}>; rel=next\r\n"), "[1]"));
        let auth = Some(Auth::Bearer(Secret::File(token.path().to_owned())));
        let got = get(Config { paging: Some(Paging::LinkHeader), auth, ..config(&server, "/x") }).await;
        assert!(!got.complete);
        assert_eq!(got.problems[0].kind, ProblemKind::Source);
        assert_eq!(text(&got).trim_end(), "[1]");
        assert_hidden(&got, "tok3n-s3cr3t");
    }
    assert_eq!(other.requests(), [""; 0]);
}

#[tokio::test]
async fn redirects_are_not_followed_and_their_target_is_told() {
    let server = Server::new(|_, _| answer("302 Found", "Location: https://login.example/sso?ticket=t1ck3t\r\n", ""));
    let got = get(config(&server, "/x")).await;
    assert_eq!(
        said(&got, &server),
        "URL/x: source: answered 302 Found, pointing to https://login.example/sso; redirects are not followed: configure the final URL"
    );
    assert_hidden(&got, "t1ck3t");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn throttling_and_server_errors_are_waited_out() {
    for first in ["429 Too Many Requests", "503 Service Unavailable", "500 Internal Server Error", "408 Request Timeout"] {
        let server = Server::new(move |n, _| if n < 2 { answer(first, "Retry-After: 0\r\n", "wait") } else { ok("[]") });
        let got = get(config(&server, "/x")).await;
        assert!(got.complete, "{first}: {got:?}");
        assert_eq!(server.requests().len(), 3);
    }
    // A date works too; this one is past.
    let date = "Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    let server = Server::new(move |n, _| if n == 0 { answer("403 Forbidden", date, "slow down") } else { ok("[]") });
    assert!(get(config(&server, "/x")).await.complete);

    let server = Server::new(|_, _| answer("502 Bad Gateway", "", "upstream \u{7}is\n down"));
    let got = get(Config { retry: quick(2), ..config(&server, "/x") }).await;
    assert_eq!(said(&got, &server), "URL/x: source: answered 502 Bad Gateway: upstream is down; 3 tries");
    assert!(!got.complete && got.documents.is_empty());

    let server = Server::new(|_, _| answer("429 Too Many Requests", "Retry-After: 7200\r\n", ""));
    let got = get(config(&server, "/x")).await;
    assert_eq!(
        said(&got, &server),
        "URL/x: source: answered 429 Too Many Requests; it asks to wait 2h, more than retry_after_limit allows"
    );
    let server = Server::new(|_, _| answer("429 Too Many Requests", "Retry-After: 120\r\n", ""));
    let got = get(config(&server, "/x")).await;
    assert_eq!(said(&got, &server), "URL/x: source: answered 429 Too Many Requests; no time is left in this run to try again");
}

#[tokio::test]
async fn a_refusal_is_final() {
    for (status, kind) in [
        ("401 Unauthorized", ProblemKind::Denied),
        ("403 Forbidden", ProblemKind::Denied),
        ("404 Not Found", ProblemKind::Source),
        ("400 Bad Request", ProblemKind::Source),
        ("304 Not Modified", ProblemKind::Source),
    ] {
        let server = Server::new(move |_, _| answer(status, "", ""));
        let got = get(config(&server, "/x")).await;
        assert_eq!((got.problems.len(), got.problems[0].kind, got.complete), (1, kind, false), "{got:?}");
        assert_eq!(server.requests().len(), 1, "{status} was tried again");
    }
}

#[tokio::test]
async fn answers_that_break_off_stall_or_never_come_are_tried_again() {
    let long = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[1,2";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n[1,2\r\n";
    for broken in ["", "HTTP/1.1 2", long, chunked, "nonsense\r\n\r\n"] {
        let server = Server::new(move |n, _| if n == 0 { Reply::Bytes(broken.as_bytes().to_vec()) } else { ok("[1,2,3]") });
        let got = get(config(&server, "/x")).await;
        assert!(got.complete, "{broken:?}: {got:?}");
        assert_eq!(text(&got), "[1,2,3]", "{broken:?}");
    }
    for stalled in ["", long, chunked] {
        let server = Server::new(move |_, _| Reply::Silence(stalled.as_bytes().to_vec()));
        let got = get(Config { retry: quick(1), ..config(&server, "/x") }).await;
        assert!(!got.complete && got.documents.is_empty(), "{got:?}");
        assert_eq!(got.problems[0].kind, ProblemKind::Timeout, "{stalled:?}: {}", problems(&got));
        assert_eq!(server.requests().len(), 2);
    }
    // Nobody listens there.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let got = get(Config { url: format!("http://{closed}/x"), retry: quick(1), ..Config::default() }).await;
    assert_eq!(got.problems[0].kind, ProblemKind::Unreachable);
    assert!(problems(&got).to_lowercase().contains("connection refused"), "{}", problems(&got));
}

#[tokio::test]
async fn the_runs_time_ends_a_slow_drip() {
    // A byte now and then: never silent for long, and never done.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/x", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        read_request(&mut stream);
        let mut more = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n[");
        while more.is_ok() {
            std::thread::sleep(std::time::Duration::from_millis(20));
            more = stream.write_all(b"1,").and_then(|()| stream.flush());
        }
    });
    let mut schedule = schedule(Reach::Http(Config { url, ..Config::default() }));
    schedule.timeout = Span(400);
    let got = once(schedule).await;
    assert_eq!((got.problems[0].kind, got.complete), (ProblemKind::Timeout, false));
    assert!(problems(&got).ends_with("timeout: the time for this run is up"), "{}", problems(&got));
}

#[tokio::test]
async fn size_is_bounded_before_and_after_unpacking() {
    let small = |server: &Server| Config { max_bytes: 100_000, ..config(server, "/x") };
    let server = Server::new(|_, _| answer("200 OK", "", vec![b' '; 100_001]));
    let got = get(small(&server)).await;
    assert_eq!(said(&got, &server), "URL/x: limit: the answer announces 100001 bytes, over the 100000 bytes allowed (max_bytes)");
    assert!(got.documents.is_empty() && server.requests().len() == 1);

    let server = Server::new(|_, _| Reply::Forever(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; 4096]));
    let got = get(small(&server)).await;
    assert_eq!(said(&got, &server), "URL/x: limit: the answer goes on, over the 100000 bytes allowed (max_bytes)");

    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    bomb.write_all(&vec![b' '; 10 << 20]).unwrap();
    let bomb = bomb.finish().unwrap();
    assert!(bomb.len() < 20_000);
    let server = Server::new(move |_, _| answer("200 OK", "Content-Encoding: gzip\r\n", &bomb));
    let got = get(small(&server)).await;
    assert_eq!(got.problems[0].kind, ProblemKind::Limit, "{got:?}");
    assert!(got.documents.is_empty());
}

#[tokio::test]
async fn what_is_no_document_is_told_apart() {
    let server = Server::new(|_, _| answer("200 OK", "Content-Type: text/html\r\n", "\n<!DOCTYPE html><title>Sign in</title>"));
    let got = get(config(&server, "/x")).await;
    assert_eq!(
        said(&got, &server),
        "URL/x: source: answered 200 OK with an HTML page where a document was due: a login form, or a proxy's page"
    );
    assert!(got.documents.is_empty() && !got.complete);
    for (status, body) in [("200 OK", ""), ("200 OK", " \n"), ("204 No Content", "")] {
        let server = Server::new(move |_, _| answer(status, "", body));
        let got = get(config(&server, "/x")).await;
        assert_eq!(got.problems[0].kind, ProblemKind::Empty, "{got:?}");
        assert!(got.documents.is_empty() && !got.complete);
    }
}

fn secret_file(value: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "{value}").unwrap();
    file
}

#[tokio::test]
async fn secrets_go_into_headers_and_nowhere_else() {
    // The server is as indiscreet as can be: it says back what it was told.
    let server = Server::new(|_, request| answer("401 Unauthorized", "", request.replace("\r\n", " ")));
    let (token, key) = (secret_file("tok3n-s3cr3t"), secret_file("k3y-s3cr3t"));
    let secret = |f: &tempfile::NamedTempFile| Secret::File(f.path().to_owned());
    let with = |auth| Config {
        auth: Some(auth),
        headers: vec![("X-Api-Version".to_owned(), "2".to_owned())],
        secret_headers: vec![("X-Scanner-Key".to_owned(), secret(&key))],
        ..config(&server, "/x")
    };
    let got = get(with(Auth::Bearer(secret(&token)))).await;
    let request = server.requests()[0].clone();
    for line in ["authorization: Bearer tok3n-s3cr3t\r\n", "x-api-version: 2\r\n", "x-scanner-key: k3y-s3cr3t\r\n"] {
        assert!(request.contains(line), "{request}");
    }
    assert_hidden(&got, "tok3n-s3cr3t");
    assert_hidden(&got, "k3y-s3cr3t");
    assert!(problems(&got).contains("***"), "{}", problems(&got));

    let basic = with(Auth::Basic { username: "reader".to_owned(), password: secret(&token) });
    assert!(!format!("{basic:?}").contains("s3cr3t"));
    let got = get(basic).await;
    // base64 of reader:tok3n-s3cr3t, which is as good as the password.
    let encoded = "cmVhZGVyOnRvazNuLXMzY3IzdA==";
    assert!(server.requests()[1].contains(&format!("authorization: Basic {encoded}\r\n")), "{}", server.requests()[1]);
    assert_hidden(&got, encoded);

    // Where a secret is may be told; a request without it is not even made.
    let got = get(with(Auth::Bearer(Secret::File(PathBuf::from("/no/such/token"))))).await;
    assert!(problems(&got).contains("file /no/such/token: "), "{}", problems(&got));
    let two_lines = secret_file("one\ntwo");
    let got = get(with(Auth::Bearer(secret(&two_lines)))).await;
    assert!(problems(&got).ends_with("has characters that may not stand in a header"), "{}", problems(&got));
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_renewed_token_is_taken_at_the_next_try() {
    let token = secret_file("old");
    let path = token.path().to_owned();
    let server = Server::new(move |n, request| {
        if n == 0 {
            std::fs::write(&path, "new").unwrap();
            return answer("503 Service Unavailable", "", "");
        }
        if request.contains("authorization: Bearer new\r\n") { ok("[]") } else { answer("401 Unauthorized", "", "") }
    });
    let auth = Some(Auth::Bearer(Secret::File(token.path().to_owned())));
    assert!(get(Config { auth, ..config(&server, "/x") }).await.complete);
}

/// Runs a collector again and again; answers each job as told and returns it.
async fn runs(config: Config, usable: &[bool]) -> Vec<(Collected, bornright::collectors::client::Requests)> {
    let (tx, mut rx) = mpsc::channel::<Job>(1);
    let shutdown = CancellationToken::new();
    let mut schedule = schedule(Reach::Http(config));
    schedule.every = Span(100);
    let task = tokio::spawn(run_at(Pace::EXACT, schedule, tx, shutdown.clone()));
    let mut jobs = Vec::new();
    for &usable in usable {
        let job = rx.recv().await.unwrap();
        jobs.push({
            let requests = job.collected.requests;
            (job.collected, requests)
        });
        job.done.send(Applied { usable }).unwrap();
    }
    shutdown.cancel();
    task.await.unwrap();
    jobs
}

#[tokio::test]
async fn what_has_not_changed_is_handed_again() {
    let server = Server::new(|n, request| {
        let known = request.contains("if-none-match: \"v1\"\r\n");
        match n {
            _ if known && n < 3 => answer("304 Not Modified", "", ""),
            3 => answer("200 OK", "ETag: \"v2\"\r\n", "[2]"),
            _ => answer("200 OK", "ETag: \"v1\"\r\n", "[1]"),
        }
    });
    let jobs = runs(config(&server, "/x"), &[true, true, true, true]).await;
    let got: Vec<_> = jobs.iter().map(|(c, _)| (text(c), c.unchanged, c.complete)).collect();
    let expected = [("[1]", false), ("[1]", true), ("[1]", true), ("[2]", false)];
    assert_eq!(got, expected.map(|(text, unchanged)| (text.to_owned(), unchanged, true)));
    assert_eq!(jobs[0].0.documents[0].path, jobs[1].0.documents[0].path, "it was copied for nothing");
    assert_eq!((jobs[1].1.not_modified, jobs[1].1.ok, jobs[3].1.ok), (1, 0, 1));

    // A run that was of no use is brought anew, without conditions.
    let server = Server::new(|_, request| {
        if request.contains("if-none-match") { answer("304 Not Modified", "", "") } else { answer("200 OK", "ETag: \"v1\"\r\n", "[1]") }
    });
    let jobs = runs(config(&server, "/x"), &[false, true, true]).await;
    assert_eq!(jobs.iter().map(|(c, _)| c.unchanged).collect::<Vec<_>>(), [false, false, true]);

    let no_cache = Config { cache_bytes: 0, ..config(&server, "/x") };
    assert!(runs(no_cache, &[true, true]).await.iter().all(|(c, _)| !c.unchanged));
}

#[tokio::test]
async fn each_page_is_asked_for_by_itself() {
    // Two pages; from the fourth request on the second has changed, at the seventh the first.
    let server = Server::new(|n, request| {
        let second = request.starts_with("GET /x?2 ");
        let etag = match (second, n) {
            (true, 4..) => "b2",
            (true, _) => "b1",
            (false, 6..) => "a2",
            (false, _) => "a1",
        };
        if request.contains(&format!("if-none-match: \"{etag}\"\r\n")) {
            return answer("304 Not Modified", "", "");
        }
        let link = if second { "" } else { "Link: </x?2>; rel=next\r\n" };
        answer("200 OK", &format!("ETag: \"{etag}\"\r\n{link}"), format!("[\"{etag}\"]"))
    });
    let jobs = runs(Config { paging: Some(Paging::LinkHeader), ..config(&server, "/x") }, &[true; 5]).await;
    let got: Vec<_> = jobs.iter().map(|(c, _)| (text(c), c.unchanged)).collect();
    assert_eq!(
        got,
        [
            ("[\"a1\"]\n[\"b1\"]".to_owned(), false),
            ("[\"a1\"]\n[\"b1\"]".to_owned(), true),
            ("[\"a1\"]\n[\"b2\"]".to_owned(), false),
            ("[\"a2\"]\n[\"b2\"]".to_owned(), false),
            ("[\"a2\"]\n[\"b2\"]".to_owned(), true),
        ]
    );
    assert_eq!(jobs[0].0.documents[0].path, jobs[1].0.documents[0].path);
}

#[tokio::test]
async fn a_date_serves_where_there_is_no_etag() {
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    let server = Server::new(move |_, request| {
        if request.contains(&format!("if-modified-since: {date}\r\n")) {
            answer("304 Not Modified", "", "")
        } else {
            answer("200 OK", &format!("Last-Modified: {date}\r\n"), "[1]")
        }
    });
    let jobs = runs(config(&server, "/x"), &[true, true]).await;
    assert!(jobs[1].0.unchanged);
    assert_eq!(jobs[1].0.documents[0].modified, Some(Moment::from_seconds(784_111_777)));
}

#[tokio::test]
async fn tries_are_counted_by_what_came_of_them() {
    let server = Server::new(|n, _| match n {
        0 => answer("429 Too Many Requests", "Retry-After: 0\r\n", ""),
        1 => answer("500 Internal Server Error", "", ""),
        2 => Reply::Bytes(Vec::new()),
        _ => ok("[]"),
    });
    let jobs = runs(config(&server, "/x"), &[true]).await;
    let requests = jobs[0].1;
    assert_eq!(requests.words(), [("ok", 1), ("not_modified", 0), ("refused", 0), ("throttled", 1), ("server_error", 1), ("failed", 1)]);
}

/// A server with a certificate of a private authority, that asks for one in turn.
struct Tls {
    url: String,
    ca: tempfile::NamedTempFile,
    cert: tempfile::NamedTempFile,
    key: tempfile::NamedTempFile,
}

impl Tls {
    fn new() -> Tls {
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let mut ca_params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        ca_params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca_cert = ca_params.self_signed(&ca_key).unwrap();
        let issuer = rcgen::Issuer::new(ca_params, ca_key);
        let issue = |name: &str, usage| {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
            params.extended_key_usages = vec![usage];
            (params.signed_by(&key, &issuer).unwrap(), key)
        };
        let (server_cert, server_key) = issue("localhost", rcgen::ExtendedKeyUsagePurpose::ServerAuth);
        let (client_cert, client_key) = issue("bornright", rcgen::ExtendedKeyUsagePurpose::ClientAuth);

        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(ca_cert.der().clone()).unwrap();
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![server_cert.der().clone()],
                rustls::pki_types::PrivatePkcs8KeyDer::from(server_key.serialize_der()).into(),
            )
            .unwrap();
        let tls = Arc::new(tls);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://localhost:{}/x", listener.local_addr().unwrap().port());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let connection = rustls::ServerConnection::new(Arc::clone(&tls)).unwrap();
                let mut stream = rustls::StreamOwned::new(connection, stream.unwrap());
                if read_request(&mut stream).starts_with("GET") {
                    let Reply::Bytes(bytes) = ok("[]") else { unreachable!() };
                    drop(stream.write_all(&bytes).and_then(|()| stream.flush()));
                }
            }
        });
        let pem = |text: String| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file
        };
        Tls { url, ca: pem(ca_cert.pem()), cert: pem(client_cert.pem()), key: pem(client_key.serialize_pem()) }
    }
}

#[tokio::test]
async fn a_private_authority_and_a_client_certificate_are_used() {
    let tls = Tls::new();
    let full = Config {
        url: tls.url.clone(),
        network: Network { ca_file: Some(tls.ca.path().to_owned()), ..Network::default() },
        client_cert_file: Some(tls.cert.path().to_owned()),
        client_key_file: Some(tls.key.path().to_owned()),
        retry: quick(0),
        ..Config::default()
    };
    let got = get(full.clone()).await;
    assert!(got.complete, "{}", problems(&got));

    // Whom the system does not trust, we do not.
    let got = get(Config { network: Network::default(), ..full.clone() }).await;
    assert_eq!(got.problems[0].kind, ProblemKind::Unreachable, "{}", problems(&got));
    assert!(problems(&got).contains("certificate"), "{}", problems(&got));
    let got = get(Config { client_cert_file: None, client_key_file: None, ..full.clone() }).await;
    assert!(!got.complete && got.problems[0].kind == ProblemKind::Unreachable, "{}", problems(&got));

    // Files that hold something else say so, and nothing of what they hold.
    let wrong = secret_file("not-a-k3y");
    let got = get(Config { client_key_file: Some(wrong.path().to_owned()), ..full.clone() }).await;
    assert!(problems(&got).contains("PEM"), "{}", problems(&got));
    assert_hidden(&got, "not-a-k3y");
    let got = get(Config { network: Network { ca_file: Some(wrong.path().to_owned()), ..Network::default() }, ..full.clone() }).await;
    assert!(problems(&got).contains("expected PEM certificates"), "{}", problems(&got));
    let got = get(Config { network: Network { ca_file: Some("/no/such/ca".into()), ..Network::default() }, ..full }).await;
    assert!(problems(&got).contains("/no/such/ca"), "{}", problems(&got));
}
