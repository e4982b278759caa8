//! A small GitHub: an organisation's repositories by `Link`, both kinds of protection, its ways to say no, its limits, and Apps.

use super::server::{Reply, Server, answer, ok};
use super::support::{Served, wait_for, write};
use super::{assert_hidden, header, path, problems, query, read, schedule};
use bornright::collectors::client::Secret;
use bornright::collectors::github::{Auth, Config};
use bornright::collectors::run::once;
use bornright::collectors::{Collected, Reach};
use bornright::domain::{CheckResult, ProblemKind, Span};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::{Arc, Mutex};

const TOKEN: &str = "ghp_t0ps3cret";

#[derive(Clone)]
struct Repo {
    name: String,
    extra: Value,
    protection: (&'static str, Value),
    rules: (&'static str, Value),
}

/// What is answered instead.
type Fault = fn() -> Reply;

#[derive(Default)]
struct Hub {
    repos: Vec<Repo>,
    token: String,
    /// (path prefix, how many times still, answer)
    faults: Vec<(String, usize, Fault)>,
    private: u64,
    granted: usize,
}

fn said(message: &str) -> Value {
    json!({"message": message, "documentation_url": "https://docs.github.com/rest", "status": "404"})
}

fn protection(repo: &str) -> Value {
    json!({
        "url": format!("https://api.github.com/repos/acme/{repo}/branches/main/protection"),
        "enforce_admins": {"enabled": true},
        "required_pull_request_reviews": {"required_approving_review_count": 1, "dismiss_stale_reviews": false, "require_code_owner_reviews": false, "require_last_push_approval": false},
        "required_linear_history": {"enabled": false}, "allow_force_pushes": {"enabled": false}, "allow_deletions": {"enabled": false},
        "required_conversation_resolution": {"enabled": false}, "required_signatures": {"enabled": false},
    })
}

fn rule(kind: &str, parameters: Value) -> Value {
    json!({"type": kind, "ruleset_source_type": "Organization", "ruleset_source": "acme", "ruleset_id": 1, "parameters": parameters})
}

fn repo(name: &str, protection: (&'static str, Value), rules: Value) -> Repo {
    Repo { name: name.to_owned(), extra: json!({}), protection, rules: ("200 OK", rules) }
}

fn json_answer(status: &str, headers: &str, body: &Value) -> Reply {
    answer(status, &format!("Content-Type: application/json\r\nX-RateLimit-Remaining: 4000\r\n{headers}"), body.to_string())
}

fn serve(hub: &Arc<Mutex<Hub>>) -> Server {
    let hub = Arc::clone(hub);
    Server::new(move |_, request| reply(&mut hub.lock().unwrap(), request))
}

fn reply(hub: &mut Hub, request: &str) -> Reply {
    let (path, query) = (path(request), query(request));
    assert_eq!(header(request, "accept"), Some("application/vnd.github+json"));
    assert_eq!(header(request, "x-github-api-version"), Some("2022-11-28"));
    assert!(header(request, "user-agent").is_some_and(|a| a.starts_with("bornright/")));
    let auth = header(request, "authorization").unwrap_or_default().trim_start_matches("Bearer ").to_owned();
    if path.ends_with("/installation") || path.starts_with("/app/") {
        assert_eq!(auth.split('.').count(), 3, "an App signs: {auth}");
        if path.ends_with("/installation") {
            return ok(r#"{"id":77}"#);
        }
        assert_eq!((path.as_str(), request.starts_with("POST ")), ("/app/installations/77/access_tokens", true));
        hub.granted += 1;
        hub.token = format!("ghs_s3cret_{}", hub.granted);
        return json_answer("201 Created", "", &json!({"token": hub.token, "expires_at": "2999-01-01T00:00:00Z"}));
    }
    if auth != hub.token {
        return json_answer("401 Unauthorized", "", &said("Bad credentials"));
    }
    if let Some(fault) = hub.faults.iter_mut().find(|(prefix, left, _)| *left > 0 && path.starts_with(prefix.as_str())) {
        fault.1 -= 1;
        return (fault.2)();
    }
    if path == "/orgs/acme" {
        return ok(
            json!({"login": "acme", "public_repos": hub.repos.len() as u64 - hub.private, "total_private_repos": hub.private}).to_string()
        );
    }
    let about = |r: &Repo| {
        let mut repo =
            json!({"full_name": format!("acme/{}", r.name), "default_branch": "main", "archived": false, "disabled": false, "fork": false});
        repo.as_object_mut().unwrap().extend(r.extra.as_object().unwrap().clone());
        repo
    };
    if path == "/orgs/acme/repos" {
        assert_eq!(query["per_page"], "100");
        let page: usize = query.get("page").map_or(1, |p| p.parse().unwrap());
        let shown: Vec<Value> = hub.repos.iter().skip((page - 1) * 100).take(100).map(about).collect();
        let next = if page * 100 < hub.repos.len() {
            format!("Link: </orgs/acme/repos?per_page=100&page={}>; rel=\"next\"\r\n", page + 1)
        } else {
            String::new()
        };
        return json_answer("200 OK", &next, &Value::Array(shown));
    }
    let rest = path.strip_prefix("/repos/acme/").unwrap_or_default();
    let (name, rest) = rest.split_once('/').unwrap_or((rest, ""));
    let Some(repo) = hub.repos.iter().find(|r| r.name == name) else { return json_answer("404 Not Found", "", &said("Not Found")) };
    match rest {
        "" => ok(about(repo).to_string()),
        "branches/main/protection" | "branches/release%2F1/protection" => json_answer(repo.protection.0, "", &repo.protection.1),
        "rules/branches/main" | "rules/branches/release%2F1" => match &repo.rules.1 {
            // Two rules a page.
            Value::Array(rules) => {
                let page: usize = query.get("page").map_or(1, |p| p.parse().unwrap());
                let next = if page * 2 < rules.len() {
                    format!("Link: <?per_page=100&page={}>; rel=\"next\"\r\n", page + 1)
                } else {
                    String::new()
                };
                json_answer(repo.rules.0, &next, &rules.iter().skip((page - 1) * 2).take(2).cloned().collect())
            }
            other => json_answer(repo.rules.0, "", other),
        },
        other => panic!("nobody asks for {other}"),
    }
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

fn config(server: &Server, token: &Path) -> Config {
    let mut config = Config::new(Auth::Token(Secret::File(token.to_owned())));
    config.api_url = server.url.clone();
    config.organisation = Some("acme".to_owned());
    config.options.requests_per_second = 1000;
    config.options.burst = 1000;
    config.options.retry.delay = Span(5);
    config
}

async fn collect(config: &Config) -> (Collected, Reach) {
    let reach = Reach::Github(Box::new(config.clone()));
    (once(schedule(reach.clone())).await, reach)
}

fn estate() -> Arc<Mutex<Hub>> {
    let mut repos = vec![
        repo("classic", ("200 OK", protection("classic")), json!([])),
        repo(
            "ruled",
            ("404 Not Found", said("Branch not protected")),
            json!([
                rule(
                    "pull_request",
                    json!({"required_approving_review_count": 2, "dismiss_stale_reviews_on_push": true, "require_code_owner_review": false})
                ),
                rule("deletion", Value::Null),
                rule("required_signatures", Value::Null),
            ]),
        ),
        repo("both", ("200 OK", protection("both")), json!([rule("required_linear_history", Value::Null)])),
        repo("bare", ("404 Not Found", said("Branch not protected")), json!([])),
        repo("hidden", ("404 Not Found", said("Not Found")), json!([rule("non_fast_forward", Value::Null)])),
        repo("refused", ("403 Forbidden", said("Resource not accessible by personal access token")), json!([])),
        Repo {
            rules: ("403 Forbidden", said("Upgrade to GitHub Pro or make this repository public to enable this feature.")),
            ..repo(
                "poor",
                ("403 Forbidden", said("Upgrade to GitHub Pro or make this repository public to enable this feature.")),
                json!([]),
            )
        },
        repo("empty", ("404 Not Found", said("Branch not found")), json!([])),
        Repo { extra: json!({"archived": true}), ..repo("old", ("404 Not Found", said("Not Found")), json!([])) },
        Repo { extra: json!({"default_branch": "release/1"}), ..repo("odd", ("200 OK", protection("odd")), json!([])) },
    ];
    repos.extend((0..300).map(|i| repo(&format!("r{i:03}"), ("200 OK", protection("r")), json!([]))));
    Arc::new(Mutex::new(Hub { repos, token: TOKEN.to_owned(), private: 5, ..Hub::default() }))
}

use CheckResult::{Fail, Manual, NotApplicable, NotAssessed, Pass};

#[tokio::test]
async fn what_either_kind_requires_is_required_and_what_may_not_be_seen_is_not_absent() {
    let hub = estate();
    let (server, token) = (serve(&hub), file(TOKEN));
    let (got, reach) = collect(&config(&server, token.path())).await;
    let seen = read(&reach, &got);
    let of =
        |check: &str, repo: &str| seen.result(check, &format!("github.com/acme/{repo}")).unwrap_or_else(|| panic!("{check} of {repo}"));
    for (repo, check, expected) in [
        ("classic@main", "branch-protected", Pass),
        ("classic@main", "review-required", Pass),
        ("classic@main", "two-reviews-required", Fail),
        ("classic@main", "force-pushes-denied", Pass),
        ("classic@main", "linear-history-required", Fail),
        ("ruled@main", "branch-protected", Pass),
        ("ruled@main", "two-reviews-required", Pass),
        ("ruled@main", "stale-reviews-dismissed", Pass),
        ("ruled@main", "code-owner-review-required", Fail),
        ("ruled@main", "deletions-denied", Pass),
        ("ruled@main", "force-pushes-denied", Fail),
        // On the second page of rules.
        ("ruled@main", "signatures-required", Pass),
        ("ruled@main", "enforce-admins", Manual),
        ("both@main", "linear-history-required", Pass),
        ("both@main", "enforce-admins", Pass),
        ("both@main", "review-required", Pass),
        ("bare@main", "branch-protected", Fail),
        ("bare@main", "review-required", Fail),
        ("bare@main", "force-pushes-denied", Fail),
        // What the rules require is known; the rest is not, for want of permission.
        ("hidden@main", "force-pushes-denied", Pass),
        ("hidden@main", "branch-protected", Pass),
        ("hidden@main", "review-required", NotAssessed),
        ("refused@main", "branch-protected", NotAssessed),
        ("poor@main", "branch-protected", Fail),
        ("empty@main", "branch-protected", NotApplicable),
        ("odd@release/1", "branch-protected", Pass),
        ("r299@main", "enforce-admins", Pass),
    ] {
        assert_eq!(of(check, repo), expected, "{check} of {repo}");
    }
    assert_eq!(seen.result("branch-protected", "github.com/acme/old@main"), None, "nobody can push to an archived repository");
    assert_eq!(seen.findings.len(), 309 * 14);
    // Two repositories could not be seen, so the run is partial, and says which and why.
    assert!(!seen.complete);
    assert_eq!(problems(&got), "");
    let mut told = seen.problems.clone();
    told.sort();
    assert_eq!(
        told,
        [
            "acme/hidden@main: classic branch protection could not be read: GitHub answered: Not Found; help: the token needs `Administration: read` on this repository",
            "acme/refused@main: classic branch protection could not be read: GitHub answered: Resource not accessible by personal access token; help: the token needs `Administration: read` on this repository",
        ]
    );
    assert_hidden(&got, TOKEN);
}

#[tokio::test]
async fn limits_are_waited_out_and_faults_cost_themselves() {
    let hub = estate();
    hub.lock().unwrap().repos.retain(|r| r.name.starts_with('r') && r.name.len() == 4);
    hub.lock().unwrap().private = 0;
    let (server, token) = (serve(&hub), file(TOKEN));
    let soon = || {
        #[expect(clippy::disallowed_methods, reason = "a server tells the world's time")]
        let now = jiff::Timestamp::now().as_second();
        let headers = format!("Content-Type: application/json\r\nX-RateLimit-Remaining: 0\r\nX-RateLimit-Reset: {now}\r\n");
        answer("403 Forbidden", &headers, said("API rate limit exceeded for user ID 1.").to_string())
    };
    let secondary = || json_answer("403 Forbidden", "Retry-After: 0\r\n", &said("You have exceeded a secondary rate limit."));
    let broken = || answer("502 Bad Gateway", "Content-Type: text/html\r\n", "<html>unicorn</html>");
    hub.lock().unwrap().faults = vec![
        ("/orgs/acme/repos".to_owned(), 1, soon),
        ("/repos/acme/r100/".to_owned(), 1, secondary),
        ("/repos/acme/r200/".to_owned(), 2, broken),
    ];
    let config = config(&server, token.path());
    let (got, reach) = collect(&config).await;
    let seen = read(&reach, &got);
    assert!(seen.complete, "{}", problems(&got));
    assert_eq!((seen.findings.len(), got.requests.throttled, got.requests.server_error), (300 * 14, 2, 2));

    // One repository that never answers costs itself.
    hub.lock().unwrap().faults = vec![("/repos/acme/r200/".to_owned(), usize::MAX, broken)];
    let (got, reach) = collect(&config).await;
    let seen = read(&reach, &got);
    assert!(!seen.complete && seen.findings.len() == 299 * 14);
    assert!(problems(&got).contains("/repos/acme/r200/branches/main/protection: source: answered 502 Bad Gateway"), "{}", problems(&got));

    // A limit that lasts longer than we may wait: what was brought stands, and the run is partial.
    let later = || {
        #[expect(clippy::disallowed_methods, reason = "a server tells the world's time")]
        let then = jiff::Timestamp::now().as_second() + 3000;
        answer(
            "429 Too Many Requests",
            &format!("X-RateLimit-Remaining: 0\r\nX-RateLimit-Reset: {then}\r\n"),
            said("API rate limit exceeded").to_string(),
        )
    };
    hub.lock().unwrap().faults = vec![("/orgs/acme/repos".to_owned(), usize::MAX, later)];
    let (got, _) = collect(&config).await;
    assert!(!got.complete && problems(&got).contains("more than retry_after_limit allows"), "{}", problems(&got));
    hub.lock().unwrap().faults.clear();

    // The token sees fewer repositories than there are.
    hub.lock().unwrap().private = 0;
    let inner = Arc::clone(&hub);
    let blind = Server::new(move |_, request| {
        if path(request) == "/orgs/acme" {
            return ok(r#"{"public_repos":300,"total_private_repos":40}"#);
        }
        reply(&mut inner.lock().unwrap(), request)
    });
    let (got, _) = collect(&Config { api_url: blind.url.clone(), ..config.clone() }).await;
    assert!(!got.complete);
    assert!(
        problems(&got).ends_with("mismatch: organisation acme has 340 repositories, 300 are listed; help: let the token see all of them"),
        "{}",
        problems(&got)
    );

    // A next page elsewhere is not followed.
    let inner = Arc::clone(&hub);
    let lying = Server::new(move |_, request| match path(request).as_str() {
        "/orgs/acme/repos" => json_answer("200 OK", "Link: <http://localhost:1/steal>; rel=\"next\"\r\n", &json!([])),
        _ => reply(&mut inner.lock().unwrap(), request),
    });
    let (got, _) = collect(&Config { api_url: lying.url.clone(), ..config }).await;
    assert!(!got.complete && problems(&got).contains("credentials are not taken to another place"), "{}", problems(&got));
    assert_hidden(&got, TOKEN);
}

#[tokio::test]
async fn repositories_may_be_named_and_a_wrong_token_is_told() {
    let hub = estate();
    let (server, token) = (serve(&hub), file(TOKEN));
    let mut config = config(&server, token.path());
    config.organisation = None;
    config.repositories = ["acme/classic", "acme/bare", "acme/nowhere"].map(str::to_owned).to_vec();
    let (got, reach) = collect(&config).await;
    let seen = read(&reach, &got);
    assert!(!seen.complete && seen.findings.len() == 28);
    let said = problems(&got);
    assert!(said.starts_with(&format!("{}/repos/acme/nowhere: denied: answered 404 Not Found", server.url)), "{said}");
    assert!(said.ends_with("GitHub says so too of a repository that the token may not see"), "{said}");
    std::fs::write(token.path(), "ghp_wr0ng").unwrap();
    let (got, _) = collect(&config).await;
    assert!(!got.complete && got.documents.is_empty());
    assert!(got.problems.iter().all(|p| p.kind == ProblemKind::Denied), "{}", problems(&got));
    assert_hidden(&got, "ghp_wr0ng");
}

#[tokio::test]
async fn an_app_signs_for_a_token_and_gets_another_when_it_runs_out() {
    let hub = estate();
    hub.lock().unwrap().repos.truncate(1);
    hub.lock().unwrap().private = 0;
    let inner = Arc::clone(&hub);
    // After the third request with a token that token is good no more.
    let server = Server::new(move |n, request| {
        if n == 5 {
            inner.lock().unwrap().token = "revoked".to_owned();
        }
        reply(&mut inner.lock().unwrap(), request)
    });
    let Some(pem) = rsa_key() else {
        // Nothing here makes RSA keys; what signs is tried elsewhere.
        return;
    };
    let key = file(&pem);
    let mut config = config(&server, key.path());
    config.auth = Auth::App { id: "12345".to_owned(), installation: None, key: Secret::File(key.path().to_owned()) };
    let (got, reach) = collect(&config).await;
    let seen = read(&reach, &got);
    assert!(seen.complete, "{}", problems(&got));
    assert_eq!((seen.findings.len(), hub.lock().unwrap().granted), (14, 2));
    assert_hidden(&got, "ghs_s3cret");
    assert_hidden(&got, "PRIVATE KEY");
}

/// A key as GitHub gives it (PKCS#1).
fn rsa_key() -> Option<String> {
    let made = std::process::Command::new("openssl").args(["genrsa", "-traditional", "2048"]).output().ok()?;
    made.status.success().then(|| String::from_utf8(made.stdout).unwrap())
}

/// The real program: a ratio of branches, and what it becomes while GitHub misbehaves.
#[test]
fn the_ratio_does_not_move_when_github_misbehaves() {
    let hub = estate();
    hub.lock().unwrap().repos.retain(|r| ["classic", "ruled", "both", "bare"].contains(&r.name.as_str()));
    hub.lock().unwrap().private = 0;
    let server = serve(&hub);
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "token", TOKEN);
    write(
        dir.path(),
        "bornright.yaml",
        &format!(
            r#"
ledger: {{ sqlite: {{ path: data/ledger.db }} }}
definitions: [defs]
collectors:
  - name: code
    every: 1s
    max_age: 1h
    from: {{ github: {{ organisation: acme, api_url: "{}", token_file: token, retries: 1, retry_delay: 5ms, requests_per_second: 1000, burst: 1000 }} }}
"#,
            server.url
        ),
    );
    write(
        dir.path(),
        "defs/controls.yaml",
        r#"
apiVersion: bornright/v1
kind: ControlSet
metadata: { name: code }
spec:
  version: "1"
  owner: platform
  controls:
    - { id: protected, title: Default branches are protected, severity: high, checks: [{ format: github, id: branch-protected }] }
"#,
    );
    let served = Served::start(dir.path(), &["--log-level", "debug", "serve"]);
    let ratio = || served.metrics().get("compliance_ratio", &[("control", "protected"), ("scope", "acme")]);
    wait_for("a ratio", || ratio() == Some(0.75));
    let faults: [(&str, Fault); 6] = [
        ("/", || answer("502 Bad Gateway", "Content-Type: text/html\r\n", "<html>unicorn</html>")),
        ("/", || json_answer("403 Forbidden", "Retry-After: 3000\r\n", &said("You have exceeded a secondary rate limit."))),
        ("/orgs/acme/repos", || ok("[]")),
        ("/orgs/acme/repos", || answer("200 OK", "Content-Type: text/html\r\n", "<html>Sign in</html>")),
        ("/repos/acme/classic/branches", || json_answer("404 Not Found", "", &said("Not Found"))),
        ("/repos/acme/bare/branches", || json_answer("403 Forbidden", "", &said("Resource not accessible by integration"))),
    ];
    let runs = || {
        let counters = served.metrics().counters();
        counters.iter().filter(|(s, _)| s.starts_with("compliance_collector_scans_total{collector=\"code\"")).map(|(_, v)| v).sum::<f64>()
    };
    for (path, fault) in faults {
        hub.lock().unwrap().faults = vec![(path.to_owned(), usize::MAX, fault)];
        let before = runs();
        wait_for("two more runs", || runs() >= before + 2.0);
        assert_eq!(ratio(), Some(0.75), "{path}");
        hub.lock().unwrap().faults.clear();
        let before = runs();
        wait_for("a run again", || runs() >= before + 1.0);
    }
    hub.lock().unwrap().repos[3].protection = ("200 OK", protection("bare"));
    wait_for("the repair", || ratio() == Some(1.0));
    let m = served.metrics();
    assert!(m.get("compliance_collector_requests_total", &[("collector", "code"), ("code", "throttled")]) > Some(0.0));
    assert!(!served.log().contains(TOKEN), "a secret is in the log");
}
