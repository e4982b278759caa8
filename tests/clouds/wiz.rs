//! Wiz' GraphQL API, as public integrations speak to it.

use super::Source;
use super::fake::{Asked, Cloud, Mood, fails, lately, rows, total};
use super::server::{Reply, Server, answer, ok};
use serde_json::{Value, json};

const SECRET: &str = "wiz-s3cr3t-value";
const PAGES: usize = 14;
const SIZE: usize = 200;
const SPOILED: usize = 6;

fn token(cloud: &Cloud, asked: &Asked) -> Option<Reply> {
    (asked.path == "/oauth/token").then(|| {
        let form = asked.form();
        let field = |name: &str| form.get(name).map_or("", String::as_str);
        let good = field("audience") == "wiz-api" && field("client_id") == "id-1" && field("client_secret") == SECRET;
        if good && cloud.mood() != Mood::NoToken {
            ok(json!({"access_token": cloud.token(), "expires_in": 86400, "token_type": "Bearer"}).to_string())
        } else {
            answer("403 Forbidden", "Content-Type: application/json\r\n", r#"{"error":"access_denied","error_description":"Unauthorized"}"#)
        }
    })
}

fn finding(n: usize) -> Value {
    let (result, status) = if fails(n) { ("FAIL", "OPEN") } else { ("PASS", "RESOLVED") };
    json!({
        "id": format!("f-{n}"), "result": result, "status": status, "severity": "HIGH", "analyzedAt": lately(), "deleted": false,
        "resource": {"providerId": format!("arn:aws:s3:::bucket-{n}"), "type": "BUCKET", "subscription": {"cloudProvider": "AWS", "externalId": "1"}},
        "rule": {"id": "r", "shortId": "S3-001", "name": "Private"}, "securitySubCategories": [],
    })
}

fn api(cloud: &Cloud, asked: &Asked) -> Reply {
    let body = asked.json();
    let (query, variables) = (body["query"].as_str().unwrap(), &body["variables"]);
    assert!(query.contains("pageInfo { hasNextPage endCursor }") && variables["first"] == 200, "{body}");
    if query.contains("issuesV2") {
        assert_eq!(variables["filterBy"], json!({"status": ["OPEN"], "severity": ["CRITICAL"]}), "ours, with what the operator says");
        let node = json!({"id": "i", "type": "TOXIC_COMBINATION", "status": "OPEN", "severity": "CRITICAL",
            "sourceRule": {"id": "wc-1"}, "entitySnapshot": {"providerId": "arn:aws:s3:::b"}});
        return ok(json!({"data": {"issuesV2": {"nodes": [node], "pageInfo": {"hasNextPage": false, "endCursor": "x"}}}}).to_string());
    }
    assert_eq!(variables["filterBy"], json!({"includeDeleted": false, "status": ["OPEN", "IN_PROGRESS", "RESOLVED", "REJECTED"]}));
    let page: usize = variables["after"].as_str().map_or(0, |c| c.strip_prefix("cursor-").unwrap().parse().unwrap());
    // A throttle in a 200, as Apollo has it.
    if cloud.mood() == Mood::Rough && cloud.state().api.is_multiple_of(6) {
        return ok(r#"{"errors":[{"message":"Rate limit exceeded","extensions":{"code":"RATE_LIMIT_EXCEEDED"}}],"data":null}"#);
    }
    if page == SPOILED + 2 && cloud.once("expired") {
        return ok(r#"{"errors":[{"message":"Invalid cursor","extensions":{"code":"BAD_USER_INPUT"}}],"data":null}"#);
    }
    let whole = |more: bool, cursor: Value| {
        let range = if cloud.mood() == Mood::Empty { 0..0 } else { rows(page, SIZE) };
        let nodes: Vec<Value> = range.map(finding).collect();
        json!({"data": {"configurationFindings": {"nodes": nodes, "pageInfo": {"hasNextPage": more, "endCursor": cursor}}}}).to_string()
    };
    let more = page + 1 < PAGES && cloud.mood() != Mood::Empty;
    // There is a cursor on the last page too.
    let cursor = || format!("cursor-{}", page + 1).into();
    if page == SPOILED {
        // Instead of another host: more, and nobody says where.
        if let Some(reply) = cloud.spoiled(|| ok(whole(true, Value::Null)), || whole(more, cursor())) {
            return reply;
        }
    }
    ok(whole(more, cursor()))
}

fn source(own: &str) -> (Source, Server) {
    let cloud = Cloud::new();
    let server = cloud.serve(token, api);
    let all = total(PAGES, SIZE);
    let bad = (0..all).filter(|n| fails(*n)).count();
    let url = &server.url;
    let source = Source {
        cloud,
        from: format!(
            "{{ wiz: {{ {own}api_url: \"{url}/graphql\", auth_url: \"{url}/oauth/token\", client_id_env: WIZ_ID, client_secret_env: WIZ_SECRET, page_size: 200, requests_per_second: 1000, burst: 1000, retry_delay: 2ms }} }}"
        ),
        format: "wiz",
        check: "S3-001",
        more: String::new(),
        population: None,
        env: vec![("WIZ_ID", "id-1".to_owned()), ("WIZ_SECRET", SECRET.to_owned())],
        states: [(all - bad) as u64, bad as u64, 0, 0],
        ratio: true,
        secrets: vec![SECRET.to_owned()],
        bad: Mood::BAD.to_vec(),
    };
    (source, server)
}

#[test]
fn configuration_findings_are_exact_in_rough_hours() {
    source("").0.is_exact_in_rough_hours();
}

#[test]
fn configuration_findings_stand_still_in_bad_hours() {
    source("").0.stands_still_in_bad_hours();
}

#[test]
fn issues_are_asked_for_with_the_operators_filter_and_are_no_evidence() {
    let (source, _server) = source("report: issues, filter: { status: [OPEN], severity: [CRITICAL] }, ");
    let dir = tempfile::tempdir().unwrap();
    source.set_up(dir.path(), super::ONCE);
    let (_, judged, err) = source.gate(dir.path());
    assert_eq!(judged["collectors"][0]["complete"], true, "{judged}\n{err}");
    assert_eq!(Source::judged_states(&judged), [0; 4]);
}
