//! The one manner against servers that have none.

use super::*;
use crate::collectors::client::Secret;
use crate::collectors::test_server as server;
use server::{Server, answer, ok};
use std::sync::atomic::{AtomicUsize, Ordering};

/// An API whose 400s have codes, as AWS's have; with a token if it has a server of tokens.
#[derive(Default)]
struct Scripted {
    tokens: Option<Url>,
    fetched: AtomicUsize,
}

impl Api for Scripted {
    async fn authorize(&self, run: &Run, call: Call, renew: Option<Instant>) -> Result<Call, Problem> {
        let Some(url) = &self.tokens else { return Ok(call) };
        let fetch = async {
            self.fetched.fetch_add(1, Ordering::Relaxed);
            let reply = run.send(&Open, "tokens", &Call::post_form(url.clone(), &[("grant_type", "x y")])).await?;
            let token: serde_json::Value = reply.json()?;
            let value = SecretString::from(token["access_token"].as_str().unwrap_or_default());
            Ok(Token::new(value, seconds(token["expires_in"].as_u64().unwrap_or(0))))
        };
        let token = run.token("t", renew, fetch).await?;
        Ok(call.bearer(&token.value))
    }

    fn classify(&self, reply: &Reply) -> Verdict {
        match reply.code().unwrap_or_default().0.as_str() {
            "ThrottlingException" | "RATE_LIMITED" => Verdict::Throttled,
            "ExpiredTokenException" => Verdict::TokenExpired,
            "InvalidNextToken" => Verdict::PageExpired,
            _ => by_status(reply),
        }
    }
}

fn quick() -> Options {
    Options {
        retry: Retry { retries: 4, delay: Span(2), ..Retry::default() },
        requests_per_second: 1000,
        burst: 1000,
        ..Options::default()
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

fn url(server: &Server) -> Url {
    Url::parse(&server.url).unwrap().join("/list").unwrap()
}

fn page(server: &Server) -> impl Fn(Option<&str>) -> Result<Call, Problem> + Send + 'static {
    let first = url(server);
    move |cursor| {
        let mut url = first.clone();
        if let Some(cursor) = cursor {
            url.query_pairs_mut().append_pair("after", cursor);
        }
        Ok(Call::get(url))
    }
}

fn next(reply: &Reply) -> Result<Option<String>, Problem> {
    Ok(reply.json::<serde_json::Value>()?["next"].as_str().map(str::to_owned))
}

/// Walks what the server lists, with these options, and says what came.
async fn walk_with(server: &Server, api: Scripted, options: Options) -> Collected {
    let session = Session::new(&options);
    let run = session.run("c", soon());
    let (api, page) = (Arc::new(api), Arc::new(page(server)));
    let part = run.parts(vec![()], |run, ()| {
        let (api, page) = (Arc::clone(&api), Arc::clone(&page));
        async move {
            let mut part = Part::new("list");
            part.walk(&run, &*api, |cursor| page(cursor), next).await;
            part
        }
    });
    let part = part.await;
    run.finish(part)
}

async fn walk(server: &Server) -> Collected {
    walk_with(server, Scripted::default(), quick()).await
}

fn text(collected: &Collected) -> String {
    collected.documents.iter().map(|d| std::fs::read_to_string(&d.path).unwrap()).collect()
}

fn said(collected: &Collected) -> String {
    collected.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Page `n` of `last`, by what it was asked for.
fn paged(request: &str, last: usize) -> server::Reply {
    let n = request.split("after=").nth(1).and_then(|t| t.split(' ').next()).map_or(1, |n| n.parse().unwrap());
    ok(if n < last { format!(r#"{{"p":{n},"next":"{}"}}"#, n + 1) } else { format!(r#"{{"p":{n},"next":null}}"#) })
}

#[tokio::test]
async fn whatever_passes_is_tried_again_and_the_pages_are_whole() {
    let server = Server::new(|n, request| match n {
        0 => answer("429 Too Many Requests", "Retry-After: 0\r\n", ""),
        1 => answer("400 Bad Request", "", r#"{"__type":"com.amazonaws.x#ThrottlingException","message":"Rate exceeded"}"#),
        3 => answer("503 Service Unavailable", "", "<html><body>sorry"),
        4 => server::Reply::Bytes(Vec::new()),
        5 => server::Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{\"p\":2,".to_vec()),
        7 => ok(r#"{"errors":[{"message":"slow down","extensions":{"code":"RATE_LIMITED"}}],"data":null}"#),
        8 => ok(r#"{"p":3,"next":"4"#),
        9 => ok(""),
        _ => paged(request, 4),
    });
    let got = walk(&server).await;
    assert_eq!(said(&got), "");
    assert!(got.complete);
    assert_eq!(text(&got), "{\"p\":1,\"next\":\"2\"}\n{\"p\":2,\"next\":\"3\"}\n{\"p\":3,\"next\":\"4\"}\n{\"p\":4,\"next\":null}\n");
    let words = [("ok", 4), ("not_modified", 0), ("refused", 0), ("throttled", 3), ("server_error", 1), ("failed", 4)];
    assert_eq!(got.requests.words(), words);
}

#[tokio::test]
async fn tries_and_waits_are_bounded_and_what_came_before_is_kept() {
    let server =
        Server::new(|n, request| if n == 0 { paged(request, 3) } else { answer("500 Internal Server Error", "", r#"{"message":"ouch"}"#) });
    let got = walk(&server).await;
    assert_eq!(said(&got), "list: source: answered 500 Internal Server Error: {\"message\":\"ouch\"}; 5 tries");
    assert_eq!((text(&got).as_str(), got.complete, server.requests().len()), ("{\"p\":1,\"next\":\"2\"}\n", false, 6));

    let server = Server::new(|_, _| answer("429 Too Many Requests", "Retry-After: 7200\r\n", ""));
    let got = walk(&server).await;
    assert_eq!(said(&got), "list: source: answered 429 Too Many Requests; it asks to wait 2h, more than retry_after_limit allows");
    assert_eq!(server.requests().len(), 1);

    let server = Server::new(|_, _| answer("429 Too Many Requests", "Retry-After: 60\r\n", ""));
    let got = walk(&server).await;
    assert!(said(&got).ends_with("no time is left in this run to try again"), "{}", said(&got));
}

#[tokio::test]
async fn what_is_final_is_asked_once_and_said_in_the_apis_words() {
    for (status, body, kind, message) in [
        (
            "403 Forbidden",
            r#"{"code":"AccessDeniedException","message":"User: x is not authorized"}"#,
            ProblemKind::Denied,
            "answered 403 Forbidden: AccessDeniedException: User: x is not authorized",
        ),
        ("404 Not Found", "<!DOCTYPE html><title>404</title>", ProblemKind::Source, "an HTML page where JSON was due"),
        ("200 OK", "<!DOCTYPE html><title>Sign in</title>", ProblemKind::Source, "answered 200 OK with an HTML page where JSON was due"),
        ("302 Found", "", ProblemKind::Source, "redirects are not followed"),
        ("401 Unauthorized", "{}", ProblemKind::Denied, "answered 401 Unauthorized"),
    ] {
        let server = Server::new(move |_, _| answer(status, "Location: https://elsewhere/login?x=y\r\n", body));
        let got = walk(&server).await;
        assert_eq!(got.problems[0].kind, kind, "{status}");
        assert!(said(&got).contains(message), "{}", said(&got));
        assert!(got.documents.is_empty() && !got.complete);
        // A token that is said to have run out is renewed once, even if there is none.
        assert_eq!(server.requests().len(), if status.starts_with("401") { 2 } else { 1 }, "{status}");
    }
}

#[tokio::test]
async fn a_token_is_fetched_once_for_all_and_renewed_when_it_has_run_out() {
    let tokens = Server::new(|n, _| ok(format!(r#"{{"access_token":"t0ken-{n}","expires_in":3600}}"#)));
    // From the third answer on the first token is no longer taken; the server is indiscreet about it.
    let server = Server::new(|n, request| {
        if request.contains("Bearer t0ken-0\r\n") && n >= 2 {
            return answer(
                "400 Bad Request",
                "",
                format!(r#"{{"__type":"ExpiredTokenException","message":"{}"}}"#, request.replace("\r\n", " ")),
            );
        }
        paged(request, 5)
    });
    let api = Scripted { tokens: Some(Url::parse(&tokens.url).unwrap()), ..Scripted::default() };
    let got = walk_with(&server, api, quick()).await;
    assert_eq!(said(&got), "");
    assert!(got.complete);
    assert_eq!(tokens.requests().len(), 2);
    assert!(tokens.requests()[0].ends_with("grant_type=x+y"), "{}", tokens.requests()[0]);
    assert_eq!(text(&got).lines().count(), 5);

    // Refused again with a new one: that is that, and the token is not told.
    let server = Server::new(|_, request| {
        answer("401 Unauthorized", "", format!(r#"{{"message":"no use for {}"}}"#, request.split("Bearer ").nth(1).unwrap().trim()))
    });
    let api = Scripted { tokens: Some(Url::parse(&tokens.url).unwrap()), ..Scripted::default() };
    let got = walk_with(&server, api, quick()).await;
    assert_eq!(got.problems[0].kind, ProblemKind::Denied);
    assert!(said(&got).contains("***") && !said(&got).contains("t0ken"), "{}", said(&got));
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn many_who_need_a_token_wait_for_one() {
    let tokens = Server::new(|_, _| ok(r#"{"access_token":"abcdef","expires_in":3600}"#));
    let server = Server::new(|_, request| paged(request, 2));
    let session = Session::new(&Options { concurrency: 8, ..quick() });
    let run = session.run("c", soon());
    let api = Arc::new(Scripted { tokens: Some(Url::parse(&tokens.url).unwrap()), ..Scripted::default() });
    let page = Arc::new(page(&server));
    let part = run.parts((0..8).collect(), |run, i| {
        let (api, page) = (Arc::clone(&api), Arc::clone(&page));
        async move {
            assert_ne!(i, 5, "a bug");
            let mut part = Part::new(format!("list {i}"));
            part.walk(&run, &*api, |cursor| page(cursor), next).await;
            part
        }
    });
    let got = run.finish(part.await);
    assert_eq!(tokens.requests().len(), 1);
    let names: Vec<_> = got.documents.iter().map(|d| d.name.as_str()).collect();
    assert_eq!(names, ["list 0", "list 1", "list 2", "list 3", "list 4", "list 6", "list 7"]);
    // The part that panicked is missing, and so the run is not complete.
    assert!(!got.complete);
    assert_eq!(said(&got), "c: internal: part of the run panicked, which is a bug of ours");
}

#[tokio::test]
async fn tokens_are_renewed_at_four_fifths_of_their_life() {
    let session = Session::new(&quick());
    let run = session.run("c", soon());
    let token = |value: &'static str, millis| async move { Ok(Token::new(SecretString::from(value), Duration::from_millis(millis))) };
    let shown = |t: Arc<Token>| t.value.expose_secret().to_owned();
    assert_eq!(shown(run.token("a", None, token("one", 250)).await.unwrap()), "one");
    assert_eq!(shown(run.token("a", None, token("two", 250)).await.unwrap()), "one");
    tokio::time::sleep(Duration::from_millis(205)).await;
    assert_eq!(shown(run.token("a", None, token("two", 250)).await.unwrap()), "two");
    // Renewed by another since the request went out: that one is taken.
    let sent = Instant::now() - Duration::from_secs(1);
    assert_eq!(shown(run.token("a", Some(sent), token("three", 250)).await.unwrap()), "two");
    assert_eq!(shown(run.token("a", Some(Instant::now()), token("three", 250)).await.unwrap()), "three");
    // A failure is not held.
    let broken = async { Err(problem(ProblemKind::Denied, "t", "no")) };
    assert_eq!(run.token("b", None, broken).await.unwrap_err().message, "no");
    assert_eq!(shown(run.token("b", None, token("four", 250)).await.unwrap()), "four");
}

#[tokio::test]
async fn a_page_whose_name_ran_out_starts_the_walk_again_a_few_times() {
    let stale = |n: usize| n == 2;
    let server = Server::new(
        move |n, request| {
            if stale(n) { answer("400 Bad Request", "", r#"{"__type":"InvalidNextToken"}"#) } else { paged(request, 3) }
        },
    );
    let got = walk(&server).await;
    assert!(got.complete, "{}", said(&got));
    // What was spooled of the first walk is thrown away.
    assert_eq!(text(&got), "{\"p\":1,\"next\":\"2\"}\n{\"p\":2,\"next\":\"3\"}\n{\"p\":3,\"next\":null}\n");
    assert_eq!(server.requests().len(), 6);

    let server = Server::new(|_, request| {
        if request.contains("after=") { answer("400 Bad Request", "", r#"{"__type":"InvalidNextToken"}"#) } else { paged(request, 3) }
    });
    let got = walk(&server).await;
    assert_eq!(said(&got), "list: source: answered 400 Bad Request: InvalidNextToken; page 2 could not be had after 3 restarts");
    assert_eq!((server.requests().len(), got.complete), (8, false));
}

#[tokio::test]
async fn pages_are_bounded_in_number_in_size_and_in_their_names() {
    let circle = Server::new(|n, _| ok(if n % 2 == 0 { r#"{"next":"b"}"# } else { r#"{"next":"a"}"# }));
    assert_eq!(said(&walk(&circle).await), "list: source: page 4 is one that we had before: the pages go in a circle");

    let endless = || Server::new(|n, _| ok(format!(r#"{{"next":"{n}"}}"#)));
    let got = walk_with(&endless(), Scripted::default(), Options { max_pages: 5, ..quick() }).await;
    assert_eq!((said(&got).as_str(), text(&got).lines().count()), ("list: limit: more than 5 pages (max_pages)", 5));
    let got = walk_with(&endless(), Scripted::default(), Options { max_bytes: 50, ..quick() }).await;
    assert_eq!(said(&got), "list: limit: the pages go on, over the 50 bytes allowed (max_bytes)");

    let large = Server::new(|_, _| ok(vec![b' '; 5000]));
    let got = walk_with(&large, Scripted::default(), Options { max_page_bytes: 4000, ..quick() }).await;
    assert_eq!(said(&got), "list: limit: the answer goes on, over the 4000 bytes allowed (max_page_bytes)");
    assert_eq!(large.requests().len(), 1);

    let long = Server::new(|_, _| ok(format!(r#"{{"next":"{}"}}"#, "x".repeat(20_000))));
    assert_eq!(said(&walk(&long).await), "list: source: the name of page 2 is 20000 bytes long");
}

#[tokio::test]
async fn a_run_ends_in_time_with_what_it_has() {
    let server = Server::new(|n, request| if n == 0 { paged(request, 3) } else { server::Reply::Silence(Vec::new()) });
    let session = Session::new(&quick());
    let run = session.run("c", Instant::now() + Duration::from_millis(300));
    let mut part = Part::new("list");
    part.walk(&run, &Scripted::default(), page(&server), next).await;
    let got = run.finish(part);
    assert_eq!(said(&got), "list: timeout: the time for this run is up");
    assert_eq!((got.complete, got.requests.failed, text(&got).lines().count()), (false, 1, 1));
}

#[tokio::test]
async fn requests_keep_to_the_pace_and_one_wait_holds_for_all() {
    let server = Server::new(|_, request| paged(request, 5));
    let begun = Instant::now();
    let got = walk_with(&server, Scripted::default(), Options { requests_per_second: 10, burst: 1, ..quick() }).await;
    assert!(got.complete);
    assert!(begun.elapsed() >= Duration::from_millis(390), "{:?}", begun.elapsed());

    // While one is told to wait a second, the other does not ask either.
    let server = Server::new(|n, _| if n == 0 { answer("429 Too Many Requests", "Retry-After: 1\r\n", "") } else { ok("{}") });
    let session = Session::new(&quick());
    let run = session.run("c", soon());
    let (api, call) = (Scripted::default(), Call::get(url(&server)));
    let begun = Instant::now();
    let first = async { run.send(&api, "first", &call).await.map(|_| begun.elapsed()) };
    let second = async {
        while server.requests().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        run.send(&api, "second", &call).await.map(|_| begun.elapsed())
    };
    let (first, second) = tokio::join!(first, second);
    assert!(first.unwrap() >= Duration::from_millis(950) && second.unwrap() >= Duration::from_millis(950));
}

#[tokio::test]
async fn a_link_leads_nowhere_else() {
    let session = Session::new(&quick());
    let run = session.run("c", soon());
    let first = Url::parse("https://api.example/v1/list?x=1").unwrap();
    assert_eq!(run.link("list", &first, "/v1/list?page=2").unwrap().as_str(), "https://api.example/v1/list?page=2");
    assert_eq!(run.link("list", &first, "https://api.example:443/v1?page=2#f").unwrap().as_str(), "https://api.example/v1?page=2");
    for elsewhere in [
        "https://api.example.evil/v1",
        "http://api.example/v1",
        "https://api.example:8443/",
        "//evil/",
        "https://u@api.example/",
        "file:///etc/passwd",
    ] {
        let problem = run.link("list", &first, elsewhere).unwrap_err();
        assert!(problem.message.contains("credentials are not taken to another place"), "{elsewhere}: {problem}");
    }
}

#[tokio::test]
async fn private_addresses_are_refused_by_name_and_by_number() {
    let server = Server::new(|_, _| ok("{}"));
    let port = url(&server).port().unwrap();
    let options = Options { network: Network { refuse_private_addresses: true, ..Network::default() }, ..quick() };
    let session = Session::new(&options);
    let run = session.run("c", soon());
    for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254"] {
        let call = Call::get(Url::parse(&format!("http://{host}:{port}/")).unwrap());
        let problem = run.send(&Open, "it", &call).await.err().unwrap();
        assert_eq!(problem.kind, ProblemKind::Unreachable);
        assert!(problem.message.ends_with("which refuse_private_addresses refuses"), "{problem}");
    }
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_proxy_is_gone_through_and_its_password_stays_there() {
    let proxy = Server::new(|_, request| match request.contains("proxy-authorization: Basic bWU6d29yZC0x\r\n") {
        true => ok(r#"{"by":"proxy"}"#),
        false => answer("407 Proxy Authentication Required", "", ""),
    });
    let password = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(password.path(), "word-1\n").unwrap();
    let login = Some(("me".to_owned(), Secret::File(password.path().to_owned())));
    let network = Network { proxy_url: Some(proxy.url.clone()), proxy_login: login, ..Network::default() };
    let session = Session::new(&Options { network, ..quick() });
    let run = session.run("c", soon());
    let call = Call::get(Url::parse("http://scanner.invalid/v1").unwrap());
    assert_eq!(&run.send(&Open, "it", &call).await.unwrap().body[..], br#"{"by":"proxy"}"#);
    assert_eq!(proxy.targets(), ["GET http://scanner.invalid/v1"]);
    // What stands on this machine and on its link is reached directly.
    let server = Server::new(|_, _| ok("{}"));
    assert!(run.send(&Open, "it", &Call::get(url(&server))).await.is_ok());

    std::fs::write(password.path(), "word-2\n").unwrap();
    let problem = run.send(&Open, "it", &call).await.err().unwrap();
    assert_eq!(problem.to_string(), "it: denied: answered 407 Proxy Authentication Required");
}

#[tokio::test]
async fn what_seldom_changes_is_asked_once() {
    let server = Server::new(|n, _| ok(format!(r#"{{"n":{n}}}"#)));
    let session = Session::new(&quick());
    let run = session.run("c", soon());
    let call = Call::get(url(&server));
    let kept = || run.kept(&Open, "definitions", &call, Duration::from_secs(60));
    assert_eq!(kept().await.unwrap(), kept().await.unwrap());
    assert_eq!(server.requests().len(), 1);
    session.forget();
    assert_eq!(&kept().await.unwrap()[..], br#"{"n":1}"#);
}

#[tokio::test]
async fn a_download_that_breaks_off_leaves_nothing_and_is_tried_again() {
    let server = Server::new(|n, _| match n {
        0 => server::Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nhalf".to_vec()),
        1 => answer("200 OK", "", "the whole"),
        _ => answer("404 Not Found", "", "<Error><Code>NoSuchKey</Code><Message>The key &lt;x&gt; is not there</Message></Error>"),
    });
    let session = Session::new(&quick());
    let run = session.run("c", soon());
    let mut spool = Spool::new().unwrap();
    spool.write(b"before ").unwrap();
    let call = Call::get(url(&server)).any_answer();
    run.download(&Open, "object", &call, &mut spool, 100).await.map(|_| ()).unwrap();
    assert_eq!(std::fs::read(&**spool.path()).unwrap(), b"before the whole");
    let problem = run.download(&Open, "object", &call, &mut spool, 100).await.err().unwrap();
    assert_eq!(problem.message, "answered 404 Not Found: NoSuchKey: The key <x> is not there");
    assert_eq!(spool.len(), 16);
    let server = Server::new(|_, _| answer("200 OK", "", vec![b'x'; 101]));
    let call = Call::get(url(&server)).any_answer();
    let problem = run.download(&Open, "object", &call, &mut spool, 100).await.err().unwrap();
    assert_eq!(problem.kind, ProblemKind::Limit);
    assert_eq!(spool.len(), 16);
}

#[test]
fn the_codes_of_many_apis_are_read() {
    let of = |header: &str, body: &str| {
        let mut headers = HeaderMap::new();
        if !header.is_empty() {
            headers.insert("x-amzn-errortype", header.parse().unwrap());
        }
        Reply { status: StatusCode::BAD_REQUEST, headers, body: body.to_owned().into(), source: String::new() }.code()
    };
    let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
    for (header, body, expected) in [
        ("ThrottlingException:http://internal.amazon.com/x/", r#"{"Message":"slow"}"#, pair("ThrottlingException", "slow")),
        ("", r#"{"__type":"com.amazonaws.config#NoSuchConfigRuleException","message":"m"}"#, pair("NoSuchConfigRuleException", "m")),
        ("", r#"{"code":"InvalidAccessException","message":"not subscribed"}"#, pair("InvalidAccessException", "not subscribed")),
        ("", r#"{"error":{"code":"AuthorizationFailed","message":"m"}}"#, pair("AuthorizationFailed", "m")),
        ("", r#"{"error":{"code":403,"message":"m","status":"PERMISSION_DENIED"}}"#, pair("PERMISSION_DENIED", "m")),
        ("", r#"{"errors":[{"message":"m","extensions":{"code":"UNAUTHENTICATED"}}]}"#, pair("UNAUTHENTICATED", "m")),
        ("", r#"{"error":"invalid_client","error_description":"m"}"#, pair("invalid_client", "m")),
        (
            "",
            "<ErrorResponse><Error><Code>ExpiredToken</Code><Message>a &amp; b</Message></Error></ErrorResponse>",
            pair("ExpiredToken", "a & b"),
        ),
        ("", "<html>", None),
        ("", "", None),
        ("", "[1]", None),
    ] {
        assert_eq!(of(header, body), expected, "{header} {body}");
    }
}

#[test]
fn options_that_let_nothing_through_are_told() {
    assert_eq!(Options::default().validate(), []);
    let bad =
        Options { requests_per_second: 0, burst: 0, concurrency: 0, max_page_bytes: 0, max_bytes: 0, max_pages: 0, ..Options::default() };
    let fields: Vec<_> = bad.validate().into_iter().map(|(field, _)| field).collect();
    assert_eq!(fields, ["requests_per_second", "burst", "concurrency", "max_page_bytes", "max_bytes", "max_pages"]);
}
