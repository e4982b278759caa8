//! A small Fugue: environments, scans that failed and succeeded, compliance by rules over many pages.

use super::server::{Reply, Server, answer, ok};
use super::support::{Served, wait_for, write};
use super::{assert_hidden, header, path, problems, query, read, schedule};
use bornright::collectors::client::Secret;
use bornright::collectors::fugue::Config;
use bornright::collectors::run::once;
use bornright::collectors::{Collected, Reach};
use bornright::domain::{CheckResult, Moment, Span};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

const SECRET: &str = "fugue-s3cret";
/// `reader:fugue-s3cret`
const BASIC: &str = "cmVhZGVyOmZ1Z3VlLXMzY3JldA==";

/// What is answered instead.
type Fault = fn() -> Reply;

#[derive(Default)]
struct World {
    environments: Vec<Value>,
    scans: Vec<Value>,
    rules: Vec<Value>,
    faults: Vec<(String, usize, Fault)>,
}

fn page(items: &[Value], query: &std::collections::BTreeMap<String, String>) -> Reply {
    let size: usize = query["max_items"].parse().unwrap();
    let from: usize = query.get("offset").map_or(0, |o| o.parse().unwrap());
    assert!(size <= 100);
    let end = (from + size).min(items.len());
    ok(json!({"items": items[from.min(end)..end], "is_truncated": end < items.len(), "next_offset": end, "count": items.len()}).to_string())
}

fn serve(world: &Arc<Mutex<World>>) -> Server {
    let world = Arc::clone(world);
    Server::new(move |_, request| reply(&mut world.lock().unwrap(), request))
}

fn reply(world: &mut World, request: &str) -> Reply {
    let (path, query) = (path(request), query(request));
    if header(request, "authorization") != Some(&format!("Basic {BASIC}")) {
        return answer("401 Unauthorized", "Content-Type: application/json\r\n", r#"{"type":"AuthenticationError","message":"no"}"#);
    }
    if let Some(fault) = world.faults.iter_mut().find(|(prefix, left, _)| *left > 0 && path.starts_with(prefix.as_str())) {
        fault.1 -= 1;
        return (fault.2)();
    }
    match path.trim_start_matches("/v0") {
        "/environments" => page(&world.environments, &query),
        "/scans" => {
            assert_eq!(
                (query["status"].as_str(), query["order_by"].as_str(), query["order_direction"].as_str()),
                ("SUCCESS", "finished_at", "desc")
            );
            let mut found: Vec<Value> = world
                .scans
                .iter()
                .filter(|s| s["environment_id"] == query["environment_id"] && s["status"] == "SUCCESS")
                .cloned()
                .collect();
            found.sort_by_key(|s| -s["finished_at"].as_i64().unwrap());
            page(&found, &query)
        }
        rest => {
            let rest = rest.strip_prefix("/scans/").unwrap();
            let (id, rest) = rest.split_once('/').unwrap_or((rest, ""));
            let scan = world.scans.iter().find(|s| s["id"] == id).unwrap().clone();
            if rest.is_empty() { ok(scan.to_string()) } else { page(&world.rules, &query) }
        }
    }
}

fn estate() -> Arc<Mutex<World>> {
    let environment = |id: &str, name: &str, status: &str| json!({"id": id, "name": name, "provider": "aws", "scan_status": status, "provider_options": {"aws": {"role_arn": "arn:aws:iam::000000000012:role/Fugue"}}});
    let scan = |id: &str, env: &str, status: &str, at: i64| json!({"id": id, "environment_id": env, "status": status, "finished_at": at});
    let rule = |i: usize| {
        let failed: Vec<Value> = (0..i % 3)
            .map(
                |n| json!({"resource": {"resource_id": format!("arn:aws:s3:::b{n}"), "resource_type": "AWS.S3.Bucket"}, "messages": ["m"]}),
            )
            .collect();
        json!({"family": "CIS", "rule": format!("CIS_{i}"), "result": if i.is_multiple_of(3) { "PASS" } else { "FAIL" }, "unsurveyed_resource_types": [], "failed_resource_types": [], "failed_resources": failed})
    };
    Arc::new(Mutex::new(World {
        environments: vec![
            environment("e1", "prod", "ERROR"),
            environment("e2", "dev", "SUCCESS"),
            environment("e3", "new", "IN_PROGRESS"),
        ],
        scans: vec![
            scan("s1", "e1", "SUCCESS", 1_700_000_000),
            scan("s2", "e1", "SUCCESS", 1_700_086_400),
            scan("s3", "e1", "ERROR", 1_700_172_800),
            scan("s4", "e2", "SUCCESS", 1_700_000_500),
            scan("s5", "e3", "IN_PROGRESS", 0),
        ],
        rules: (0..1234).map(rule).collect(),
        ..World::default()
    }))
}

fn config(server: &Server, secret: &std::path::Path) -> Config {
    let mut config = Config::new("reader".to_owned(), Secret::File(secret.to_owned()));
    config.api_url = format!("{}/v0", server.url);
    config.options.requests_per_second = 1000;
    config.options.burst = 1000;
    config.options.retry.delay = Span(5);
    config
}

async fn collect(config: &Config) -> (Collected, Reach) {
    let reach = Reach::Fugue(Box::new(config.clone()));
    (once(schedule(reach.clone())).await, reach)
}

#[tokio::test]
async fn the_newest_scan_that_succeeded_is_read_whole() {
    let world = estate();
    let server = serve(&world);
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), SECRET).unwrap();
    let mut config = config(&server, secret.path());
    config.environments = vec!["prod".to_owned()];
    let busy = || answer("429 Too Many Requests", "Retry-After: 0\r\n", "{}");
    let broken = || answer("500 Internal Server Error", "", "{}");
    let rules = "/v0/scans/s2/compliance_by_rules";
    world.lock().unwrap().faults = vec![(rules.to_owned(), 2, busy), ("/v0/environments".to_owned(), 1, broken)];
    let (got, reach) = collect(&config).await;
    let seen = read(&reach, &got);
    assert!(seen.complete, "{}", problems(&got));
    assert_eq!(server.targets().iter().filter(|t| t.contains(rules)).count(), 13 + 2);
    assert_eq!(seen.findings.values().filter(|(r, _)| *r == CheckResult::Pass).count(), 412);
    assert_eq!(seen.findings.values().filter(|(r, _)| *r == CheckResult::Fail).count(), 411 + 2 * 411);
    assert_eq!(got.documents[0].modified, Some(Moment::from_seconds(1_700_086_400)), "as old as the scan, not as the run");
    let field = |name: &str| got.documents[0].fields.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str());
    assert_eq!((field("environment"), field("account")), (Some("prod"), Some("000000000012")));
    assert_eq!(
        problems(&got),
        "fugue environment prod: scanner_error: its last scan did not succeed; the evidence is that of the last that did, and as old"
    );
    for shown in [SECRET, BASIC] {
        assert_hidden(&got, shown);
    }
}

#[tokio::test]
async fn what_was_never_scanned_or_is_not_whole_is_told() {
    let world = estate();
    let server = serve(&world);
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), SECRET).unwrap();
    let mut config = config(&server, secret.path());
    let (got, reach) = collect(&config).await;
    assert!(!got.complete && got.documents.len() == 2);
    assert!(problems(&got).contains("fugue environment new: empty: not one scan succeeded; the last is IN_PROGRESS"), "{}", problems(&got));
    assert!(!read(&reach, &got).findings.is_empty());

    config.environments = vec!["dev".to_owned(), "gone".to_owned()];
    world.lock().unwrap().scans[3]["resource_type_errors"] = json!([{"resource_type": "AWS.IAM.User", "error_message": "AccessDenied"}]);
    let (got, _) = collect(&config).await;
    assert!(!got.complete);
    let said = problems(&got);
    assert!(said.contains("there is no environment `gone` that this client may see"), "{said}");
    assert!(said.contains("resources of type AWS.IAM.User could not be surveyed: AccessDenied"), "{said}");

    std::fs::write(secret.path(), "wr0ng").unwrap();
    let (got, _) = collect(&config).await;
    assert!(
        !got.complete && got.documents.is_empty() && problems(&got).contains("denied: answered 401 Unauthorized"),
        "{}",
        problems(&got)
    );
    assert_hidden(&got, "wr0ng");

    // Pages that do not go on.
    std::fs::write(secret.path(), SECRET).unwrap();
    world.lock().unwrap().faults =
        vec![("/v0/environments".to_owned(), usize::MAX, || ok(r#"{"items":[{"id":"e"}],"is_truncated":true,"next_offset":0}"#))];
    let (got, _) = collect(&config).await;
    assert!(!got.complete && problems(&got).contains("the pages do not go on"), "{}", problems(&got));
}

/// The real program: a ratio of rules, and what it becomes while Fugue misbehaves.
#[test]
fn the_ratio_does_not_move_when_fugue_misbehaves() {
    let world = estate();
    let server = serve(&world);
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "secret", SECRET);
    write(
        dir.path(),
        "bornright.yaml",
        &format!(
            r#"
ledger: {{ sqlite: {{ path: data/ledger.db }} }}
definitions: [defs]
scope: "{{environment}}"
collectors:
  - name: fugue
    every: 1s
    max_age: 36500d
    from:
      fugue: {{ client_id: reader, client_secret_file: secret, api_url: "{}/v0", environments: [dev], retries: 1, retry_delay: 5ms, requests_per_second: 1000, burst: 1000 }}
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
metadata: { name: cis }
spec:
  version: "1"
  owner: platform
  controls:
    - { id: one, title: One, severity: high, checks: [{ format: fugue, id: "CIS_*" }], combine: worst }
"#,
    );
    let served = Served::start(dir.path(), &["--log-level", "debug", "serve"]);
    let states = || {
        let m = served.metrics();
        ["compliant", "non_compliant", "unknown"]
            .map(|s| m.get("compliance_resources", &[("control", "one"), ("scope", "dev"), ("state", s)]).unwrap_or(-1.0))
    };
    wait_for("states", || states()[1] > 0.0);
    let good = states();
    let faults: [(&str, Fault); 4] = [
        ("/", || answer("503 Service Unavailable", "", "{}")),
        ("/v0/scans/s4/compliance_by_rules", || ok(r#"{"items":[],"is_truncated":false,"next_offset":0,"count":0}"#)),
        ("/v0/scans/s4/compliance_by_rules", || answer("403 Forbidden", "Content-Type: application/json\r\n", r#"{"message":"no"}"#)),
        ("/v0/environments", || answer("200 OK", "Content-Type: text/html\r\n", "<html>Sign in</html>")),
    ];
    let runs = || {
        let counters = served.metrics().counters();
        counters.iter().filter(|(s, _)| s.starts_with("compliance_collector_scans_total{collector=\"fugue\"")).map(|(_, v)| v).sum::<f64>()
    };
    for (path, fault) in faults {
        world.lock().unwrap().faults = vec![(path.to_owned(), usize::MAX, fault)];
        let before = runs();
        wait_for("two more runs", || runs() >= before + 2.0);
        assert_eq!(states(), good, "{path}");
    }
    for secret in [SECRET, BASIC] {
        assert!(!served.log().contains(secret), "a secret is in the log");
    }
}
