//! The server over real sockets: every route, and clients that do what clients should not.

#[path = "snapshot_fixture/backend.rs"]
mod backend;
mod snapshot_fixture;

use backend::Fixed;
use bornright::domain::Span;
use bornright::serve::{Limits, QueryKind, run_with};
use bornright::snapshot::{Row, Snapshot};
use serde_json::Value;
use snapshot_fixture::{AT, estate, large};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

struct Server {
    addr: SocketAddr,
    backend: Arc<Fixed>,
    stop: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

async fn start(snapshot: Snapshot) -> Server {
    start_with(snapshot, Limits::default()).await
}

async fn start_with(snapshot: Snapshot, limits: Limits) -> Server {
    let backend = Fixed::new(snapshot, AT + Span::MINUTE);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let addr = listener.local_addr().expect("it is bound");
    let stop = CancellationToken::new();
    let task = tokio::spawn(run_with(listener, backend.clone(), stop.clone(), limits, None));
    Server { addr, backend, stop, task }
}

struct Response {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Response {
    fn read(bytes: &[u8]) -> Response {
        let end =
            bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or_else(|| panic!("no head in {:?}", String::from_utf8_lossy(bytes)));
        let head = String::from_utf8(bytes[..end].to_vec()).expect("a head is text");
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
        Response { status, head, body: bytes[end + 4..].to_vec() }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|l| l.split_once(": ").filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v))
    }
}

impl Server {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.expect("the server listens")
    }

    /// Sends bytes as they are, and reads until the server closes.
    async fn exchange(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect().await;
        // The server may have said no and closed before it has read all.
        _ = stream.write_all(bytes).await;
        let mut out = Vec::new();
        _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut out)).await.expect("the server closes");
        out
    }

    async fn ask(&self, method: &str, target: &str, headers: &str, body: &str) -> Response {
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let request = format!("{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{length}{headers}\r\n{body}");
        Response::read(&self.exchange(request.as_bytes()).await)
    }

    async fn get(&self, target: &str) -> Response {
        self.ask("GET", target, "", "").await
    }
}

#[tokio::test]
async fn every_route_answers_and_carries_the_guarding_headers() {
    let server = start(estate()).await;
    for (target, status, kind, contains) in [
        ("/", 200, "text/html; charset=utf-8", "Object storage is not public"),
        ("/?scope=shop%5Cprod", 200, "text/html; charset=utf-8", "Compliance of shop\\prod"),
        ("/?page=junk", 200, "text/html; charset=utf-8", "Compliance"),
        ("/?x=1", 400, "text/html; charset=utf-8", "unknown parameter"),
        ("/style.css", 200, "text/css; charset=utf-8", "prefers-color-scheme"),
        ("/style.css?v=0.1.0", 200, "text/css; charset=utf-8", "prefers-color-scheme"),
        ("/controls/storage-no-public-access", 200, "text/html; charset=utf-8", "How to fix it"),
        ("/controls/weird%2F..%2F%22id%22%20%3Cb%3E", 200, "text/html; charset=utf-8", "Back\\slash"),
        ("/controls/none", 404, "text/html; charset=utf-8", "no such control"),
        ("/metrics", 200, "text/plain; version=0.0.4; charset=utf-8", "compliance_ratio{"),
        ("/-/healthy", 200, "text/plain; charset=utf-8", "healthy"),
        ("/-/ready", 200, "text/plain; charset=utf-8", "ready"),
        ("/api/v1/controls", 200, "application/json", "\"total\":7"),
        ("/api/v1/slos", 200, "application/json", "\"remaining_ratio\":0.91533657182512"),
        ("/api/v1/waivers", 200, "application/json", "\"total\":3"),
        ("/api/v1/findings", 200, "application/json", "items"),
        ("/api/v1/runs", 200, "application/json", "items"),
        ("/api/v1/nothing", 404, "application/json", "error"),
        ("/favicon.ico", 404, "text/html; charset=utf-8", "nothing here"),
        ("/../../etc/passwd", 404, "text/html; charset=utf-8", "nothing here"),
        ("/controls/..%2F..%2F..%2Fetc%2Fpasswd", 404, "text/html; charset=utf-8", "no such control"),
        ("/style.css/../../Cargo.toml", 404, "text/html; charset=utf-8", "nothing here"),
        ("/%00", 404, "text/html; charset=utf-8", "nothing here"),
    ] {
        let got = server.get(target).await;
        assert_eq!((got.status, got.header("content-type")), (status, Some(kind)), "{target}: {}", got.head);
        assert!(got.text().contains(contains), "{target}: {}", got.text());
        assert_eq!(got.header("content-length").and_then(|n| n.parse().ok()), Some(got.body.len()), "{target}");
        assert!(
            got.header("content-security-policy").is_some_and(|p| p.starts_with("default-src 'none'") && !p.contains("unsafe")),
            "{target}"
        );
        assert_eq!(got.header("x-content-type-options"), Some("nosniff"), "{target}");
        assert_eq!(got.header("x-frame-options"), Some("DENY"), "{target}");
        let head = server.ask("HEAD", target, "", "").await;
        assert_eq!((head.status, head.body.len()), (status, 0), "HEAD {target}");
        if !target.starts_with("/metrics") {
            assert_eq!(head.header("content-length"), got.header("content-length"), "HEAD {target}");
        }
    }
}

#[tokio::test]
async fn wrong_methods_are_told_the_right_ones() {
    let server = start(estate()).await;
    for (method, target, allow) in [
        ("POST", "/metrics", "GET, HEAD"),
        ("DELETE", "/", "GET, HEAD"),
        ("GET", "/-/reload", "POST"),
        ("GET", "/api/v1/runs/ci", "POST"),
        ("POST", "/api/v1/runs", "GET, HEAD"),
        ("OPTIONS", "/api/v1/controls", "GET, HEAD"),
        ("BREW", "/", "GET, HEAD"),
    ] {
        let got = server.ask(method, target, "", "").await;
        assert_eq!((got.status, got.header("allow")), (405, Some(allow)), "{method} {target}");
    }
}

#[tokio::test]
async fn the_scraper_gets_the_format_it_asked_for() {
    use std::io::Read as _;
    let server = start(large(20, 20)).await;
    let accept = |a: &str| format!("Accept: {a}\r\n");
    let openmetrics = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    let got = server.ask("GET", "/metrics", &accept(openmetrics), "").await;
    assert_eq!(got.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert!(got.text().ends_with("# EOF\n"));
    assert_eq!(got.header("vary"), Some("Accept, Accept-Encoding"));
    for junk in ["nonsense", ";;;q=,,", "application/openmetrics-text;q=0", "\u{fe}\u{ff}"] {
        let got = server.ask("GET", "/metrics", &accept(junk), "").await;
        assert_eq!((got.status, got.header("content-type")), (200, Some("text/plain; version=0.0.4; charset=utf-8")), "{junk}");
    }
    // Two headers of one name are one list.
    let two = "Accept: image/png\r\nAccept: application/openmetrics-text;version=0.0.1\r\n";
    let got = server.ask("GET", "/metrics", two, "").await;
    assert_eq!(got.header("content-type"), Some("application/openmetrics-text; version=0.0.1; charset=utf-8"));
    let got = server.ask("GET", "/metrics", "Accept-Encoding: gzip\r\n", "").await;
    assert_eq!(got.header("content-encoding"), Some("gzip"));
    let mut text = String::new();
    flate2::bufread::GzDecoder::new(got.body.as_slice()).read_to_string(&mut text).expect("sound gzip");
    assert!(text.contains("compliance_exporter_http_requests_total{route=\"/metrics\",code=\"200\"} 6\n"), "requests before are counted");
    assert!(got.body.len() * 5 < text.len());
    let got = server.ask("GET", "/metrics", "Accept-Encoding: gzip;q=0\r\n", "").await;
    assert_eq!(got.header("content-encoding"), None);
}

#[tokio::test]
async fn not_ready_is_not_unhealthy() {
    let server = start(Snapshot { ready: false, ..Snapshot::default() }).await;
    assert_eq!(server.get("/-/ready").await.status, 503);
    assert_eq!(server.get("/-/healthy").await.status, 200);
    assert_eq!(server.get("/metrics").await.status, 200);
    assert!(server.get("/").await.text().contains("Nothing has been collected yet"));
    *server.backend.snapshot.lock().expect("whole") = Arc::new(estate());
    assert_eq!(server.get("/-/ready").await.status, 200);
}

#[tokio::test]
async fn reload_is_a_post_and_says_what_went_wrong() {
    let server = start(estate()).await;
    let got = server.ask("POST", "/-/reload", "", "").await;
    assert_eq!((got.status, got.text().as_str()), (200, "reloaded\n"));
    *server.backend.reload.lock().expect("whole") = Err("bornright.yaml:3:1: unknown field `colectors`".to_owned());
    let got = server.ask("POST", "/-/reload", "Sec-Fetch-Site: same-origin\r\n", "").await;
    assert_eq!(got.status, 500);
    assert!(got.text().contains("bornright.yaml:3:1"));
    // A page of another site that makes a browser send it.
    assert_eq!(server.ask("POST", "/-/reload", "Sec-Fetch-Site: cross-site\r\n", "").await.status, 403);
}

#[tokio::test]
async fn the_api_pages_and_filters() {
    let server = start(estate()).await;
    let mut cursor = String::new();
    let mut ids = Vec::new();
    loop {
        let page = server.get(&format!("/api/v1/controls?limit=3{cursor}")).await.json();
        let items = page["items"].as_array().expect("a list");
        assert!(items.len() <= 3 && page["total"] == 7);
        ids.extend(items.iter().map(|i| i["id"].as_str().expect("an id").to_owned()));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(ids.len(), 7);
    let one = server.get("/api/v1/controls?control=storage-no-public-access&scope=111122223333").await.json();
    let scope = &one["items"][0]["scopes"][0];
    assert_eq!((one["total"].as_u64(), one["items"][0]["scopes"].as_array().map(Vec::len)), (Some(1), Some(1)));
    assert_eq!((scope["ratio"].as_f64(), scope["ratio_lower"].as_f64(), scope["ratio_upper"].as_f64()), (Some(0.75), Some(0.6), Some(0.8)));
    assert_eq!(scope["resources"]["unknown"], 2);
    assert_eq!(scope["no_ratio_because"], Value::Null);
    let none = server.get("/api/v1/controls?control=k8s-namespace-owner").await.json();
    let scope = &none["items"][0]["scopes"][0];
    for number in ["ratio", "ratio_lower", "ratio_upper", "coverage"] {
        assert_eq!(scope[number], Value::Null, "{number}");
    }
    assert!(scope["no_ratio_because"].as_str().is_some_and(|w| w.contains("only violations")));
    for (query, total) in
        [("severity=high", 4), ("severity=low", 1), ("framework=cis-aws-3.0", 1), ("set=kubernetes", 1), ("owner=nobody", 0)]
    {
        assert_eq!(server.get(&format!("/api/v1/controls?{query}")).await.json()["total"], total, "{query}");
    }
    assert_eq!(server.get("/api/v1/controls?cursor=99").await.json()["items"], serde_json::json!([]));
    assert_eq!(server.get("/api/v1/waivers?state=active").await.json()["total"], 1);
    for (target, said) in [
        ("/api/v1/controls?colour=red", "unknown parameter `colour`; known here: control, scope"),
        ("/api/v1/controls?limit=0", "expected 1 to 1000"),
        ("/api/v1/controls?limit=1&limit=2", "given twice"),
        ("/api/v1/controls?severity=bad", "expected one of info, low, medium, high, critical"),
        ("/api/v1/controls?cursor=x", "expected the `next`"),
        ("/api/v1/waivers?state=x", "expected one of pending, active"),
        ("/api/v1/slos?x=1", "unknown parameter"),
        ("/api/v1/findings?collector=x", "unknown parameter `collector`; known here: control, scope, resource, state, limit, cursor"),
        ("/api/v1/findings?control=bad", "`control` is bad"),
    ] {
        let got = server.get(target).await;
        assert_eq!(got.status, 400, "{target}");
        assert!(got.json()["error"].as_str().is_some_and(|e| e.contains(said)), "{target}: {}", got.text());
    }
    // What went wrong inside is for the log.
    let got = server.get("/api/v1/findings?control=broken").await;
    assert_eq!(got.status, 500);
    assert!(!got.text().contains("secret"), "{}", got.text());
    server.get("/api/v1/runs?collector=a%20b&limit=7&cursor=abc").await;
    let asked = server.backend.asked.lock().expect("whole").last().cloned().expect("a question");
    assert_eq!((asked.kind, asked.limit, asked.cursor.as_deref()), (QueryKind::Runs, 7, Some("abc")));
    assert_eq!(asked.filters.get("collector").map(String::as_str), Some("a b"));
}

const RIGHT: &str = "Authorization: Bearer right\r\n";

#[tokio::test]
async fn a_run_can_be_handed_in() {
    let server = start(estate()).await;
    let headers = format!("{RIGHT}Content-Type: application/json\r\nContent-Encoding: gzip\r\n");
    let got = server.ask("POST", "/api/v1/runs/ci", &headers, "\x1f\x01 bytes").await;
    assert_eq!((got.status, got.json()["findings"].as_u64()), (200, Some(1)), "{}", got.text());
    let chunked = format!(
        "POST /api/v1/runs/ci HTTP/1.1\r\nHost: x\r\n{RIGHT}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    );
    assert_eq!(Response::read(&server.exchange(chunked.as_bytes()).await).status, 200);
    let pushed = server.backend.pushed.lock().expect("whole").clone();
    assert_eq!(pushed[0].1, b"\x1f\x01 bytes");
    assert!(pushed[0].2.compressed && pushed[0].2.content_type.as_deref() == Some("application/json") && pushed[0].2.bytes == 8);
    assert_eq!((pushed[1].1.as_slice(), pushed[1].2.compressed), (b"abcde".as_slice(), false));
    // Nothing is left behind.
    assert!(server.backend.spooled.lock().expect("whole").iter().all(|p| !p.exists()));
}

#[tokio::test]
async fn pushes_are_refused_with_a_reason() {
    let server = start(estate()).await;
    let large = "x".repeat(1001);
    for (target, headers, body, status) in [
        ("/api/v1/runs/ci", "", "{}", 401),
        ("/api/v1/runs/ci", "Authorization: Bearer wrong\r\n", "{}", 401),
        ("/api/v1/runs/ci", "Authorization: Basic cmlnaHQ=\r\n", "{}", 401),
        ("/api/v1/runs/other", RIGHT, "{}", 404),
        ("/api/v1/runs/..%2Fci", RIGHT, "{}", 404),
        ("/api/v1/runs/ci", RIGHT, large.as_str(), 413),
        ("/api/v1/runs/ci", RIGHT, "", 400),
        ("/api/v1/runs/ci", &format!("{RIGHT}Content-Encoding: br\r\n"), "{}", 415),
        ("/api/v1/runs/ci", RIGHT, "not json", 422),
    ] {
        let got = server.ask("POST", target, headers, body).await;
        assert_eq!(got.status, status, "{target} {headers}: {}", got.text());
        assert!(got.json()["error"].is_string());
        assert_eq!(got.header("www-authenticate").is_some(), status == 401);
    }
    // A body whose length is not announced is counted as it comes.
    let chunks = "64\r\n".to_owned() + &"x".repeat(100) + "\r\n";
    let endless = format!("POST /api/v1/runs/ci HTTP/1.1\r\nHost: x\r\n{RIGHT}Transfer-Encoding: chunked\r\n\r\n{}", chunks.repeat(50));
    assert_eq!(Response::read(&server.exchange(endless.as_bytes()).await).status, 413);
    assert!(server.backend.pushed.lock().expect("whole").is_empty());
}

#[tokio::test]
async fn who_is_not_known_is_sent_away_before_a_byte_of_the_body_is_asked_for() {
    let server = start(estate()).await;
    let mut stream = server.connect().await;
    let head = "POST /api/v1/runs/ci HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 999\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("written");
    let mut out = Vec::new();
    stream.read_to_end(&mut out).await.expect("the server answers and closes");
    // Not `100 Continue` first.
    assert!(out.starts_with(b"HTTP/1.1 401"), "{}", String::from_utf8_lossy(&out));
}

#[tokio::test]
async fn a_body_that_breaks_off_or_stops_is_no_run() {
    let limits = Limits { stall_time: Duration::from_millis(150), ..Limits::default() };
    let server = start_with(estate(), limits).await;
    let head = format!("POST /api/v1/runs/ci HTTP/1.1\r\nHost: x\r\n{RIGHT}Content-Length: 100\r\n\r\nhalf of");
    // It stops coming.
    assert_eq!(Response::read(&server.exchange(head.as_bytes()).await).status, 408);
    // It breaks off.
    let mut stream = server.connect().await;
    stream.write_all(head.as_bytes()).await.expect("written");
    stream.shutdown().await.expect("closed");
    let mut out = Vec::new();
    _ = stream.read_to_end(&mut out).await;
    assert!(!out.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&out));
    assert!(server.backend.pushed.lock().expect("whole").is_empty());
}

#[tokio::test]
async fn clients_that_dawdle_over_their_headers_are_closed() {
    let limits = Limits { header_time: Duration::from_millis(200), ..Limits::default() };
    let server = start_with(estate(), limits).await;
    let begun = Instant::now();
    for start in ["", "G", "P", "PRI * HTTP/2.0\r\n", "GET / HTTP/1.1\r\nHost: x\r\nX-A: "] {
        let out = server.exchange(start.as_bytes()).await;
        assert!(!out.starts_with(b"HTTP/1.1 200"), "{start:?}");
    }
    // One byte now and then does not buy more time.
    let mut stream = server.connect().await;
    let slowly = async {
        for b in b"GET / HTTP/1.1\r\nX: ".iter().chain(std::iter::repeat(&b'y')) {
            if stream.write_all(&[*b]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), slowly).await.expect("the server closes");
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(server.get("/-/healthy").await.status, 200);
}

#[tokio::test]
async fn headers_have_a_size() {
    let server = start(estate()).await;
    let huge = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(200_000));
    assert_eq!(Response::read(&server.exchange(huge.as_bytes()).await).status, 431);
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "a: b\r\n".repeat(1000));
    assert_eq!(Response::read(&server.exchange(many.as_bytes()).await).status, 431);
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(100_000));
    let status = Response::read(&server.exchange(long.as_bytes()).await).status;
    assert!([414, 431].contains(&status), "{status}");
    for junk in [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\0\0\0\0\r\n\r\n"] {
        let out = server.exchange(junk).await;
        assert!(out.is_empty() || out.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&out));
    }
    assert_eq!(server.get("/-/healthy").await.status, 200);
}

#[tokio::test]
async fn more_connections_than_allowed_wait_and_are_served() {
    let limits = Limits { connections: 4, header_time: Duration::from_millis(300), ..Limits::default() };
    let server = start_with(estate(), limits).await;
    let mut idle = Vec::new();
    for _ in 0..50 {
        idle.push(server.connect().await);
    }
    // Those in front are closed for saying nothing; then it is our turn.
    assert_eq!(server.get("/-/healthy").await.status, 200);
}

#[tokio::test]
async fn a_hundred_at_once_all_get_the_same_page() {
    let server = Arc::new(start(large(30, 10)).await);
    let asked = (0..100).map(|_| {
        let server = server.clone();
        tokio::spawn(async move { server.get("/metrics").await })
    });
    let mut pages = std::collections::BTreeSet::new();
    for task in asked.collect::<Vec<_>>() {
        let got = task.await.expect("no panic");
        assert_eq!(got.status, 200);
        let text = got.text();
        pages.insert(text.lines().filter(|l| !l.contains("compliance_exporter_")).collect::<String>());
    }
    assert_eq!(pages.len(), 1);
}

#[tokio::test]
async fn older_and_stranger_http_works() {
    let server = start(estate()).await;
    let out = Response::read(&server.exchange(b"GET /-/healthy HTTP/1.0\r\n\r\n").await);
    assert_eq!((out.status, out.text().as_str()), (200, "healthy\n"));
    // Two requests in one packet: two answers, in order.
    let out =
        server.exchange(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\nGET /-/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    let text = String::from_utf8(out).expect("text");
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 2, "{text}");
    assert!(text.find("healthy\n").expect("first") < text.find("\r\n\r\nready\n").expect("second"));
    // A whole address as the target, as proxies send it.
    assert_eq!(server.get("http://x/-/healthy").await.status, 200);
    assert_eq!(server.get("*").await.status, 404);
    // A GET with a body that nobody reads.
    assert_eq!(server.ask("GET", "/-/healthy", "", "what is this").await.status, 200);
}

#[tokio::test]
async fn http_2_works() {
    _ = rustls::crypto::ring::default_provider().install_default();
    let server = start(estate()).await;
    let client = reqwest::Client::builder().http2_prior_knowledge().no_proxy().build().expect("a client");
    let got = client.get(format!("http://{}/metrics", server.addr)).send().await.expect("an answer");
    assert_eq!((got.status().as_u16(), got.version()), (200, reqwest::Version::HTTP_2));
    assert!(got.text().await.expect("a body").contains("compliance_ratio{"));
    let got = client.head(format!("http://{}/", server.addr)).send().await.expect("an answer");
    assert!(got.headers().get("content-length").is_some_and(|n| n != "0"));
}

#[tokio::test]
async fn an_answer_that_cannot_be_made_costs_itself() {
    // A row that names a control that is not there: a bug upstream, not a reason to fall.
    let broken = Snapshot { rows: vec![Row { control: 9, ..Row::default() }], ready: true, ..Snapshot::default() };
    let server = start(broken).await;
    assert_eq!(server.get("/metrics").await.status, 500);
    assert_eq!(server.get("/").await.status, 500);
    assert_eq!(server.get("/-/healthy").await.status, 200);
    *server.backend.snapshot.lock().expect("whole") = Arc::new(estate());
    assert_eq!(server.get("/metrics").await.status, 200);
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_let_go() {
    let limits = Limits { connections: 1, stall_time: Duration::from_millis(300), ..Limits::default() };
    let server = start_with(large(100, 50), limits).await;
    let mut stream = server.connect().await;
    // Several pages of megabytes, none of them read: more than the buffers of two sockets hold.
    for _ in 0..8 {
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("written");
    }
    // There is one place for a connection, and it becomes free.
    assert_eq!(server.get("/-/healthy").await.status, 200);
}

#[tokio::test]
async fn shutdown_does_not_wait_for_idle_connections() {
    let server = start(estate()).await;
    let mut silent = server.connect().await;
    let mut kept_alive = server.connect().await;
    kept_alive.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("written");
    let mut buffer = [0; 4096];
    assert!(kept_alive.read(&mut buffer).await.expect("an answer") > 0);
    let begun = Instant::now();
    server.stop.cancel();
    server.task.await.expect("no panic").expect("no error");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    for stream in [&mut silent, &mut kept_alive] {
        assert_eq!(stream.read(&mut buffer).await.unwrap_or(0), 0, "it is closed");
    }
    assert!(TcpStream::connect(server.addr).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn shutdown_lets_a_request_end_and_cuts_off_what_does_not() {
    // An upload that goes on while we stop is taken.
    let server = start(estate()).await;
    let mut stream = server.connect().await;
    stream
        .write_all(format!("POST /api/v1/runs/ci HTTP/1.1\r\nHost: x\r\n{RIGHT}Content-Length: 10\r\n\r\n12345").as_bytes())
        .await
        .expect("written");
    tokio::time::sleep(Duration::from_millis(200)).await;
    server.stop.cancel();
    tokio::time::sleep(Duration::from_millis(100)).await;
    stream.write_all(b"67890").await.expect("written");
    let mut out = Vec::new();
    stream.read_to_end(&mut out).await.expect("an answer");
    assert_eq!(Response::read(&out).status, 200);
    server.task.await.expect("no panic").expect("no error");
    // One that never goes on is cut off.
    let server = start_with(estate(), Limits { drain_time: Duration::from_millis(200), ..Limits::default() }).await;
    let mut stream = server.connect().await;
    stream
        .write_all(format!("POST /api/v1/runs/ci HTTP/1.1\r\nHost: x\r\n{RIGHT}Content-Length: 10\r\n\r\n12345").as_bytes())
        .await
        .expect("written");
    tokio::time::sleep(Duration::from_millis(200)).await;
    let begun = Instant::now();
    server.stop.cancel();
    server.task.await.expect("no panic").expect("no error");
    assert!(begun.elapsed() < Duration::from_secs(3));
}

/// Kills its process when the test ends, however it ends.
struct Child(std::process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_real_prometheus_reads_all_of_it() {
    _ = rustls::crypto::ring::default_provider().install_default();
    let server = start(large(20, 10)).await;
    let expected = server.get("/metrics").await.text().lines().filter(|l| !l.starts_with('#')).count();
    let folder = tempfile::tempdir().expect("a folder");
    let config = format!("scrape_configs: [{{job_name: x, scrape_interval: 1s, static_configs: [{{targets: ['{}']}}]}}]", server.addr);
    std::fs::write(folder.path().join("prometheus.yml"), config).expect("written");
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port is free").port();
    let child = std::process::Command::new("prometheus")
        .arg(format!("--config.file={}", folder.path().join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.path().join("db").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("prometheus is needed for this test: install the `prometheus` package");
    let _child = Child(child);
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let value = async |query: &str| -> Option<f64> {
        let got = client.get(format!("http://127.0.0.1:{port}/api/v1/query")).query(&[("query", query)]).send().await.ok()?;
        let json: Value = got.json().await.ok()?;
        json["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    };
    let begun = Instant::now();
    while value("up").await != Some(1.0) {
        assert!(begun.elapsed() < Duration::from_secs(60), "Prometheus never read the page");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Compressed and in OpenMetrics, as it asks; a page cut short would have fewer. The pages before this one added a
    // series about themselves at most.
    let read = value("max(scrape_samples_scraped)").await.expect("a number");
    assert!((read - expected as f64).abs() <= 2.0, "{read} of {expected}");
    assert_eq!(value("count(compliance_resources)").await, Some(800.0));
    assert_eq!(value("compliance_exporter_demo").await, Some(0.0));
}
