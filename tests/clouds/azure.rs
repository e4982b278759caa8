//! Resource Manager, Resource Graph and the metadata service, as far as compliance is concerned.

use super::fake::{Asked, Cloud, Mood, fails, lately, plain, rows, total};
use super::server::{Reply, Server, answer, ok};
use super::{Source, write};
use serde_json::{Value, json};
use std::time::Duration;

const SECRET: &str = "client-s3cr3t-value";
const SUBSCRIPTIONS: [&str; 2] = ["00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"];
const PAGES: usize = 12;
const SIZE: usize = 150;
/// The page that a bad mood spoils.
const SPOILED: usize = 5;
const PACE: &str = "requests_per_second: 1000, burst: 1000, retry_delay: 2ms";

fn token(cloud: &Cloud, asked: &Asked) -> Option<Reply> {
    let given = |life: Value| ok(json!({"token_type": "Bearer", "expires_in": life, "access_token": cloud.token()}).to_string());
    let refused = || {
        answer(
            "401 Unauthorized",
            "Content-Type: application/json\r\n",
            r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided."}"#,
        )
    };
    if asked.path == "/tenant-1/oauth2/v2.0/token" {
        let form = asked.form();
        let field = |name: &str| form.get(name).map_or("", String::as_str);
        assert_eq!((field("grant_type"), field("client_id")), ("client_credentials", "client-1"));
        assert_eq!(field("scope"), "https://management.azure.com/.default");
        let known = field("client_secret") == SECRET
            || field("client_assertion_type").ends_with(":jwt-bearer") && field("client_assertion") == SECRET;
        return Some(if known && cloud.mood() != Mood::NoToken { given(3599.into()) } else { refused() });
    }
    if asked.path == "/metadata/identity/oauth2/token" {
        let good = asked.header("metadata") == "true" && asked.query["resource"] == "https://management.azure.com/";
        // A text, unlike everywhere else.
        return Some(if good && cloud.mood() != Mood::NoToken { given("86399".into()) } else { refused() });
    }
    None
}

/// The list of such rows, a page of it, with the next page's name in `link`.
fn list(cloud: &Cloud, asked: &Asked, link: &str, row: impl Fn(usize, bool) -> Value) -> Reply {
    let page: usize = asked.query.get("$skiptoken").map_or(0, |t| t.parse().unwrap());
    let whole = |next: Option<String>| {
        let range = if cloud.mood() == Mood::Empty { 0..0 } else { rows(page, SIZE) };
        let mut value = json!({ "value": range.map(|n| row(n, page % 2 == 1)).collect::<Vec<_>>() });
        value[link] = next.into();
        value.to_string()
    };
    let version = &asked.query["api-version"];
    let next = (page + 1 < PAGES && cloud.mood() != Mood::Empty)
        .then(|| asked.url(&format!("{}?api-version={version}&$skiptoken={}", asked.path, page + 1)));
    if page == SPOILED + 2 && cloud.once(&format!("expired {}", asked.path)) {
        let said = r#"{"error":{"code":"BadRequest","message":"The provided $skiptoken is not valid or has expired"}}"#;
        return answer("400 Bad Request", "Content-Type: application/json\r\n", said);
    }
    if page == SPOILED {
        let elsewhere = || ok(whole(Some("https://management.azure.example/next?$skiptoken=6".to_owned())));
        if let Some(reply) = cloud.spoiled(elsewhere, || whole(next.clone())) {
            return reply;
        }
    }
    ok(whole(next))
}

fn resource(subscription: &str, n: usize, upper: bool) -> String {
    let id = format!("/subscriptions/{subscription}/resourceGroups/Rg/providers/Microsoft.Compute/virtualMachines/vm-{n}");
    // Services do not agree how an id is written.
    if upper { id.to_ascii_uppercase() } else { id }
}

fn assessment(subscription: &str, n: usize, upper: bool) -> Value {
    let id = resource(subscription, n, upper);
    let details = if upper { json!({"Source": "Azure", "Id": id}) } else { json!({"source": "Azure", "id": id}) };
    let code = if fails(n) { "Unhealthy" } else { "Healthy" };
    json!({
        "id": format!("{id}/providers/Microsoft.Security/assessments/key-1"), "name": "key-1", "subscriptionId": subscription,
        "type": "Microsoft.Security/assessments",
        "properties": {"displayName": "Disks are encrypted", "resourceDetails": details, "status": {"code": code}},
    })
}

fn state(subscription: &str, n: usize, upper: bool) -> Value {
    let state = if fails(n) { "NonCompliant" } else { "Compliant" };
    json!({
        "timestamp": lately(), "resourceId": resource(subscription, n, upper), "subscriptionId": subscription,
        "policyAssignmentId": "/a/1", "policyDefinitionId": "/providers/Microsoft.Authorization/policyDefinitions/def-1",
        "policyDefinitionName": "def-1", "policyDefinitionReferenceId": "ref", "complianceState": state, "isCompliant": !fails(n),
        "policyDefinitionAction": "audit", "resourceType": "/Microsoft.Compute/virtualMachines", "policyDefinitionGroupNames": ["1.1"],
    })
}

fn incident(path: &str, n: usize) -> Value {
    let status = if fails(n) { ["New", "Active"][n % 2] } else { "Closed" };
    json!({
        "id": format!("{path}/incident-{n}"), "name": format!("incident-{n}"), "type": "Microsoft.SecurityInsights/incidents",
        "properties": {
            "incidentNumber": n, "status": status, "severity": "High", "title": "An incident",
            "createdTimeUtc": "2026-01-01T00:00:00Z", "lastModifiedTimeUtc": lately(),
            "owner": {"email": "someone@example.com"}, "relatedAnalyticRuleIds": ["/x/alertRules/rule-1"],
        },
    })
}

fn api(cloud: &Cloud, asked: &Asked) -> Reply {
    let subscription = asked.path.strip_prefix("/subscriptions/").and_then(|p| p.split('/').next()).unwrap_or_default().to_owned();
    let provider = asked.path.split("/providers/").last().unwrap_or_default();
    let json = "Content-Type: application/json\r\n";
    if subscription.ends_with("9") {
        return answer(
            "403 Forbidden",
            json,
            r#"{"error":{"code":"AuthorizationFailed","message":"The client does not have authorization to perform the action"}}"#,
        );
    }
    match (asked.method.as_str(), provider) {
        ("GET", "Microsoft.Security/assessmentMetadata") => ok(json!({"value": [{
            "id": "/providers/Microsoft.Security/assessmentMetadata/KEY-1", "name": "KEY-1",
            "properties": {"displayName": "Disks are encrypted", "severity": "High", "categories": ["Compute"]},
        }]})
        .to_string()),
        ("GET", "Microsoft.Security/assessments") => list(cloud, asked, "nextLink", |n, upper| assessment(&subscription, n, upper)),
        ("POST", "Microsoft.PolicyInsights/policyStates/latest/queryResults") => {
            if asked.header("content-length") != "0" {
                return answer("411 Length Required", "", "");
            }
            assert!(!asked.query.contains_key("$top"), "it would be how many there are at most");
            list(cloud, asked, "@odata.nextLink", |n, upper| state(&subscription, n, upper))
        }
        ("GET", "Microsoft.SecurityInsights/incidents") => {
            let filter = asked.query.get("$filter");
            assert!(filter.is_none_or(|f| f.starts_with("properties/status ne 'Closed' or properties/lastModifiedTimeUtc ge 20")));
            list(cloud, asked, "nextLink", |n, _| incident(&asked.path, n))
        }
        ("POST", path) if path.starts_with("Microsoft.SecurityInsights/incidents/") && path.ends_with("/alerts") => {
            let n = path.split('/').nth(2).unwrap();
            ok(json!({"value": [{"id": format!("{}/{n}", asked.path), "kind": "SecurityAlert", "properties": {
                "systemAlertId": n, "alertType": "alert-type", "status": "New", "severity": "Low"}}]})
            .to_string())
        }
        ("GET", path) if path.starts_with("Microsoft.Security/regulatoryComplianceStandards") => regulatory(asked, path),
        ("POST", "Microsoft.ResourceGraph/resources") => graph(cloud, asked),
        _ => answer("404 Not Found", json, r#"{"error":{"code":"InvalidResourceType","message":"there is no such thing"}}"#),
    }
}

/// Two standards; PCI has two controls with two assessments each, ISO one with one.
fn regulatory(asked: &Asked, path: &str) -> Reply {
    let item =
        |name: &str, properties: Value| json!({"id": format!("{}/{name}", plain(&asked.path)), "name": name, "properties": properties});
    let path = plain(path);
    let parts: Vec<&str> = path.split('/').collect();
    let pci = parts.get(2) == Some(&"PCI DSS 4");
    let value = match (parts.len(), pci) {
        (2, _) => vec![
            item("PCI DSS 4", json!({"state": "Failed", "passedControls": 1, "failedControls": 1})),
            item("ISO-27001", json!({"state": "Passed", "passedControls": 1, "failedControls": 0})),
        ],
        (4, true) => ["1.1", "1.2"].map(|c| item(c, json!({"state": "failed", "passedAssessments": 1, "failedAssessments": 1}))).to_vec(),
        (4, false) => vec![item("A.5", json!({"state": "passed", "passedAssessments": 1, "failedAssessments": 0}))],
        (6, true) => ["a", "b"]
            .map(|a| item(a, json!({"state": "Failed", "passedResources": 5, "failedResources": 2, "skippedResources": 1})))
            .to_vec(),
        _ => vec![item("c", json!({"state": "Passed", "passedResources": 9, "failedResources": 0}))],
    };
    ok(json!({ "value": value }).to_string())
}

fn graph(cloud: &Cloud, asked: &Asked) -> Reply {
    let body = asked.json();
    let query = body["query"].as_str().unwrap();
    let named: Vec<String> = body["subscriptions"].as_array().unwrap().iter().map(|s| s.as_str().unwrap().to_owned()).collect();
    // Those that may not be read are left out without a word.
    let readable: Vec<&String> = named.iter().filter(|s| !s.ends_with('9')).collect();
    if query.contains("summarize") {
        let data: Vec<Value> = readable.iter().map(|s| json!({"subscriptionId": s, "rows": 5})).collect();
        return ok(json!({"totalRecords": data.len(), "count": data.len(), "data": data, "resultTruncated": "false"}).to_string());
    }
    assert!(query.contains("| project id,") && query.ends_with("| order by id asc"), "without an id there is no paging: {query}");
    let page: usize = body["options"]["$skipToken"].as_str().map_or(0, |t| t.parse().unwrap());
    let whole = |more: bool, token: bool| {
        let range = if cloud.mood() == Mood::Empty { 0..0 } else { rows(page, SIZE) };
        let row = |n: usize| {
            readable.iter().map(move |s| {
                if query.contains("policystates") { json!({"id": n, "properties": state(s, n, false)}) } else { assessment(s, n, false) }
            })
        };
        let data: Vec<Value> = range.flat_map(row).collect();
        let mut page_of = json!({"totalRecords": 1, "count": data.len(), "data": data, "facets": [], "resultTruncated": more.to_string()});
        if token {
            page_of["$skipToken"] = (page + 1).to_string().into();
        }
        page_of.to_string()
    };
    let more = page + 1 < PAGES && cloud.mood() != Mood::Empty;
    if page == SPOILED {
        // Instead of another host: it says that there is more, and not where.
        if let Some(reply) = cloud.spoiled(|| ok(whole(true, false)), || whole(more, more)) {
            return reply;
        }
    }
    if page == SPOILED + 1 && cloud.once("quota") {
        cloud.rest(Duration::from_millis(900));
        let quota = "Content-Type: application/json\r\nx-ms-user-quota-remaining: 0\r\nx-ms-user-quota-resets-after: 00:00:01\r\n";
        return answer("200 OK", quota, whole(more, more));
    }
    ok(whole(more, more))
}

#[test]
fn the_environments_proxy_gets_no_token_of_a_metadata_service() {
    let (cloud, server) = fake();
    let proxy = Server::new(|_, _| answer("502 Bad Gateway", "", "a proxy"));
    let url = &server.url;
    let source = Source {
        cloud,
        from: format!(
            "{{ azure_policy: {{ subscriptions: [{}], endpoint: \"{url}\", credentials: {{ managed_identity: {{ endpoint: \"{url}\" }} }}, {PACE} }} }}",
            SUBSCRIPTIONS[0]
        ),
        format: "azure_policy",
        check: "def-1",
        more: String::new(),
        population: None,
        env: vec![("HTTP_PROXY", proxy.url.clone()), ("ALL_PROXY", proxy.url.clone()), ("NO_PROXY", "example.com".to_owned())],
        states: both().map(|n| n / 2),
        ratio: true,
        secrets: Vec::new(),
        bad: Vec::new(),
    };
    let dir = tempfile::tempdir().unwrap();
    source.set_up(dir.path(), super::ONCE);
    let (_, judged, err) = source.gate(dir.path());
    assert_eq!(judged["collectors"][0]["complete"], true, "{judged}\n{err}");
    assert!(proxy.targets().is_empty(), "{:?}", proxy.targets());
    // To other hosts it is used.
    let mut source = source;
    source.from = source
        .from
        .replacen(&format!("endpoint: \"{url}\""), "endpoint: \"https://management.azure.example\"", 1)
        .replace("2ms", "2ms, retries: 0");
    source.env.push(("HTTPS_PROXY", proxy.url.replace("http://", "")));
    source.set_up(dir.path(), super::ONCE);
    let (_, judged, _) = source.gate(dir.path());
    assert_eq!(judged["collectors"][0]["complete"], false);
    assert_eq!(proxy.targets(), ["CONNECT management.azure.example:443"]);
}

/// What the fake is, and how it is reached.
fn fake() -> (Cloud, Server) {
    let cloud = Cloud::new();
    let server = cloud.serve(token, api);
    (cloud, server)
}

fn access(server: &Server) -> String {
    let url = &server.url;
    format!(
        "endpoint: \"{url}\", authority: \"{url}\", credentials: {{ client_secret: {{ tenant: tenant-1, client_id: client-1, secret_env: FAKE_SECRET }} }}, {PACE}"
    )
}

fn both() -> [u64; 4] {
    let all = total(PAGES, SIZE);
    let bad = (0..all).filter(|n| fails(*n)).count();
    [2 * (all - bad) as u64, 2 * bad as u64, 0, 0]
}

fn source(kind: &str, own: &str, format: &'static str, check: &'static str) -> (Source, Server) {
    let (cloud, server) = fake();
    let source = Source {
        cloud,
        from: format!("{{ {kind}: {{ {own}, {} }} }}", access(&server)),
        format,
        check,
        more: String::new(),
        population: None,
        env: vec![("FAKE_SECRET", SECRET.to_owned())],
        states: both(),
        ratio: true,
        secrets: vec![SECRET.to_owned()],
        bad: Mood::BAD.to_vec(),
    };
    (source, server)
}

fn subscriptions() -> String {
    format!("subscriptions: [{}, {}]", SUBSCRIPTIONS[0], SUBSCRIPTIONS[1])
}

fn sentinel() -> (Source, Server) {
    let own = format!("workspaces: [{{ subscription: {}, resource_group: Rg, workspace: ws-1 }}]", SUBSCRIPTIONS[0]);
    let (mut source, server) = source("sentinel", &own, "sentinel", "rule-1");
    source.states = [0, both()[1] / 2, 0, 0];
    source.ratio = false;
    // That there is none is good news here.
    source.bad.retain(|m| *m != Mood::Empty);
    (source, server)
}

#[test]
fn defender_by_resource_manager_is_exact_in_rough_hours() {
    source("azure_defender", &subscriptions(), "azure_assessments", "key-1").0.is_exact_in_rough_hours();
}

#[test]
fn defender_stands_still_in_bad_hours() {
    source("azure_defender", &subscriptions(), "azure_assessments", "key-1").0.stands_still_in_bad_hours();
}

#[test]
fn defender_by_resource_graph_is_exact_in_rough_hours_and_stands_still_in_bad_ones() {
    let own = format!("{}, through: resource_graph", subscriptions());
    let (source, _server) = source("azure_defender", &own, "azure_assessments", "key-1");
    source.is_exact_in_rough_hours();
    assert_eq!(source.cloud.state().too_early, 0, "its allowance was used up, and it said so");
    source.stands_still_in_bad_hours();
}

#[test]
fn policy_states_are_exact_in_rough_hours_and_stand_still_in_bad_ones() {
    let (source, _server) = source("azure_policy", &subscriptions(), "azure_policy", "def-1");
    source.is_exact_in_rough_hours();
    source.stands_still_in_bad_hours();
}

#[test]
fn policy_states_by_resource_graph_are_exact_in_rough_hours() {
    let own = format!("{}, through: resource_graph", subscriptions());
    source("azure_policy", &own, "azure_policy", "def-1").0.is_exact_in_rough_hours();
}

#[test]
fn incidents_are_counted_and_are_no_ratio() {
    let (source, _server) = sentinel();
    source.is_exact_in_rough_hours();
    source.stands_still_in_bad_hours();
}

#[test]
fn what_a_source_says_can_be_looked_at_without_judging_it() {
    let (source, _server) = sentinel();
    let dir = tempfile::tempdir().unwrap();
    source.set_up(dir.path(), super::ONCE);
    let findings = |more: &[&str]| {
        let mut args = vec!["--log-level", "trace", "findings", "--collector", "cloud"];
        args.extend(more);
        let out = super::bornright().current_dir(dir.path()).args(args).envs([("FAKE_SECRET", SECRET)]).output().unwrap();
        let (stdout, stderr) = (String::from_utf8(out.stdout).unwrap(), String::from_utf8(out.stderr).unwrap());
        source.assert_hidden(&stdout);
        source.assert_hidden(&stderr);
        (out.status.code(), stdout, stderr)
    };
    let (code, out, err) = findings(&[]);
    assert_eq!(code, Some(0), "{err}");
    let lines: Vec<Value> = out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    // Rows that came twice are shown twice: what the source says, as it says it.
    assert!(lines.len() >= total(PAGES, SIZE), "{}", lines.len());
    let closed = lines.iter().find(|l| l["fields"]["status"] == "Closed").unwrap();
    assert!(closed["fields"]["seconds_to_close"].as_str().unwrap().parse::<u64>().unwrap() > 0, "{closed}");
    assert!(!dir.path().join("data").exists(), "nothing is kept");
    let (code, out, _) = findings(&["--summary"]);
    assert_eq!((code, serde_json::from_str::<Value>(&out).unwrap()["resources"].as_u64()), (Some(0), Some(total(PAGES, SIZE) as u64)));

    source.cloud.set(Mood::Forbidden);
    let (code, out, err) = findings(&[]);
    assert_eq!(code, Some(2));
    assert!(out.lines().count() > 0 && err.contains("incidents of workspace ws-1: denied: answered 403"), "{err}");
    assert_eq!(super::bornright().arg("findings").output().unwrap().status.code(), Some(2), "neither PATH nor collector");
}

#[test]
fn alerts_of_open_incidents_come_too() {
    let (mut source, server) = sentinel();
    source.from = source.from.replacen("workspaces:", "alerts: true, workspaces:", 1);
    source.check = "alert-type";
    let dir = tempfile::tempdir().unwrap();
    source.set_up(dir.path(), super::ONCE);
    let (_, judged, err) = source.gate(dir.path());
    assert_eq!(judged["collectors"][0]["complete"], true, "{err}");
    assert_eq!(Source::judged_states(&judged), source.states);
    assert_eq!(server.targets().iter().filter(|t| t.starts_with("POST") && t.contains("/alerts?")).count() as u64, source.states[1]);
}

#[test]
fn one_subscription_that_is_denied_costs_itself() {
    for (kind, format, check, needed) in [
        ("azure_defender", "azure_assessments", "key-1", "Security Reader"),
        ("azure_policy", "azure_policy", "def-1", "Microsoft.PolicyInsights/policyStates/queryResults/action"),
    ] {
        for through in ["resource_manager", "resource_graph"] {
            let own = format!("subscriptions: [{}, 00000000-0000-4000-8000-000000000009], through: {through}", SUBSCRIPTIONS[0]);
            let (source, _server) = source(kind, &own, format, check);
            let dir = tempfile::tempdir().unwrap();
            source.set_up(dir.path(), super::ONCE);
            let (code, judged, err) = source.gate(dir.path());
            let [good, bad, ..] = both().map(|n| n / 2);
            assert_eq!(Source::judged_states(&judged), [good, bad, 0, 0], "{kind} {through}: {err}");
            let collector = &judged["collectors"][0];
            assert_eq!((code, &collector["complete"]), (2, &false.into()), "{kind} {through}");
            let told = collector["problems"].to_string();
            assert!(told.contains("denied") && told.contains("00000000-0000-4000-8000-000000000009"), "{told}");
            assert!(through == "resource_graph" || told.contains(needed), "{told}");
        }
    }
}

#[test]
fn regulatory_compliance_is_read_at_one_level() {
    for (level, check, states) in [
        ("standards", "PCI DSS 4", [2, 2]),
        ("controls", "PCI DSS 4/1.1", [2, 2]),
        // Skipped ones are not assessed: they are unknown.
        ("assessments", "PCI DSS 4/1.1/a", [10, 4]),
    ] {
        let own = format!("{}, report: regulatory_compliance, level: {level}", subscriptions());
        let (mut source, _server) = source("azure_defender", &own, "azure_regulatory", check);
        source.states = [states[0], states[1], 0, 0];
        let dir = tempfile::tempdir().unwrap();
        source.set_up(dir.path(), super::ONCE);
        let (_, judged, err) = source.gate(dir.path());
        assert_eq!(judged["collectors"][0]["complete"], true, "{level}: {judged}\n{err}");
        assert_eq!(Source::judged_states(&judged)[..2], states, "{level}: {judged}");
    }
    let own = format!("{}, report: regulatory_compliance, level: controls, standards: [ISO-27001, SOC-2]", subscriptions());
    let (source, server) = source("azure_defender", &own, "azure_regulatory", "ISO-27001/A.5");
    let dir = tempfile::tempdir().unwrap();
    source.set_up(dir.path(), super::ONCE);
    let (_, judged, _) = source.gate(dir.path());
    assert_eq!(Source::judged_states(&judged)[..2], [2, 0], "{judged}");
    let told = judged["collectors"][0]["problems"].to_string();
    assert!(told.contains("standard SOC-2 is not among those assigned: ISO-27001, PCI DSS 4"), "{told}");
    assert!(!server.targets().iter().any(|t| t.contains("PCI%20DSS%204/regulatoryComplianceControls")), "{:?}", server.targets());
}

#[test]
fn every_way_of_showing_credentials_leads_in() {
    let (cloud, server) = fake();
    let url = &server.url;
    let env = |pairs: &[(&'static str, &str)]| pairs.iter().map(|(k, v)| (*k, (*v).to_owned())).collect::<Vec<_>>();
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "federated", SECRET).display().to_string();
    for (ours, variables) in [
        (
            "credentials: environment".to_owned(),
            env(&[("AZURE_TENANT_ID", "tenant-1"), ("AZURE_CLIENT_ID", "client-1"), ("AZURE_CLIENT_SECRET", SECRET)]),
        ),
        (
            format!("authority: \"{url}\""),
            env(&[("AZURE_TENANT_ID", "tenant-1"), ("AZURE_CLIENT_ID", "client-1"), ("AZURE_FEDERATED_TOKEN_FILE", &file)]),
        ),
        (
            format!(
                "credentials: {{ workload_identity: {{ tenant: tenant-1, client_id: client-1, token_file: federated }} }}, authority: \"{url}\""
            ),
            env(&[]),
        ),
        (format!("credentials: {{ managed_identity: {{ endpoint: \"{url}\" }} }}"), env(&[])),
        (
            "credentials: managed_identity".to_owned(),
            env(&[("IDENTITY_ENDPOINT", &format!("{url}/metadata/identity/oauth2/token")), ("IDENTITY_HEADER", SECRET)]),
        ),
    ] {
        let mut variables = variables;
        variables.push(("AZURE_AUTHORITY_HOST", url.clone()));
        let source = Source {
            cloud: cloud.clone(),
            from: format!("{{ azure_policy: {{ subscriptions: [{}], endpoint: \"{url}\", {ours}, {PACE} }} }}", SUBSCRIPTIONS[0]),
            format: "azure_policy",
            check: "def-1",
            more: String::new(),
            population: None,
            env: variables,
            states: both().map(|n| n / 2),
            ratio: true,
            secrets: vec![SECRET.to_owned()],
            bad: Vec::new(),
        };
        source.set_up(dir.path(), super::ONCE);
        let (_, judged, err) = source.gate(dir.path());
        // App Service's header is another than the metadata service's.
        let complete = !source.from.contains("credentials: managed_identity");
        assert_eq!(judged["collectors"][0]["complete"], complete, "{}: {judged}\n{err}", source.from);
        if complete {
            assert_eq!(Source::judged_states(&judged), source.states);
        } else {
            let asked = server.requests();
            let last = asked.iter().rev().find(|r| r.contains("/metadata/identity/")).unwrap();
            assert!(last.contains("api-version=2019-08-01") && last.contains(&format!("x-identity-header: {SECRET}")), "{last}");
        }
    }
}
