//! Security Command Center, its management API, and Google's ways of giving out tokens.

use super::fake::{Asked, Cloud, Mood, form, rows, total};
use super::server::{Reply, Server, answer, ok};
use super::{Source, write};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use serde_json::{Value, json};
use std::path::Path;

const KEY: &str = include_str!("throwaway-rsa.b64");
const PAGES: usize = 12;
const SIZE: usize = 200;
const SPOILED: usize = 5;
/// Resources of the population beyond those that a finding names.
const CLEAN: usize = 300;

fn token(cloud: &Cloud, asked: &Asked) -> Option<Reply> {
    let json = "Content-Type: application/json\r\n";
    let refused = || answer("400 Bad Request", json, r#"{"error":"invalid_grant","error_description":"Invalid JWT Signature."}"#);
    let given = || ok(json!({"access_token": cloud.token(), "expires_in": 3599, "token_type": "Bearer"}).to_string());
    let fields = asked.form();
    let field = |name: &str| fields.get(name).map_or("", String::as_str);
    Some(match asked.path.as_str() {
        _ if cloud.mood() == Mood::NoToken && !asked.path.starts_with("/v") => refused(),
        "/token" if field("grant_type") == "refresh_token" => {
            assert_eq!(
                (field("client_id"), field("client_secret"), field("refresh_token")),
                ("user-client", "user-s3cr3t", "refresh-s3cr3t")
            );
            given()
        }
        "/token" => {
            assert_eq!(field("grant_type"), "urn:ietf:params:oauth:grant-type:jwt-bearer");
            if good_assertion(field("assertion"), &asked.url("/token")) { given() } else { refused() }
        }
        "/computeMetadata/v1/instance/service-accounts/default/token" => {
            if asked.header("metadata-flavor") == "Google" {
                given()
            } else {
                refused()
            }
        }
        "/subject" => {
            assert_eq!(asked.header("x-ci-token"), "ci-s3cr3t");
            ok(r#"{"value":"subject-s3cr3t"}"#)
        }
        "/sts" => {
            let fields = form(&asked.body);
            assert_eq!(fields["grant_type"], "urn:ietf:params:oauth:grant-type:token-exchange");
            assert_eq!((fields["subject_token"].as_str(), fields["audience"].as_str()), ("subject-s3cr3t", "//iam.googleapis.com/pool"));
            ok(r#"{"access_token":"sts-s3cr3t","expires_in":3600,"token_type":"Bearer","issued_token_type":"urn:x"}"#)
        }
        "/impersonate" => {
            assert_eq!(asked.header("authorization"), "Bearer sts-s3cr3t");
            assert_eq!(asked.json()["lifetime"], "3600s");
            ok(json!({"accessToken": cloud.token(), "expireTime": "2999-01-01T00:00:00Z"}).to_string())
        }
        _ => return None,
    })
}

fn good_assertion(jwt: &str, audience: &str) -> bool {
    let parts: Vec<&str> = jwt.split('.').collect();
    let der = STANDARD.decode(KEY.replace('\n', "")).unwrap();
    let pair = RsaKeyPair::from_pkcs8(&der).unwrap();
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public().as_ref());
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
    let signature = URL_SAFE_NO_PAD.decode(parts[2]).unwrap();
    let now = super::support::now() as i64;
    public.verify(format!("{}.{}", parts[0], parts[1]).as_bytes(), &signature).is_ok()
        && claims["iss"] == "robot@project.example"
        && claims["aud"] == audience
        && (now - 60..=now).contains(&claims["iat"].as_i64().unwrap())
}

fn name(n: usize) -> String {
    format!("//storage.googleapis.com/bucket-{n}")
}

/// Active findings are those rows that fail; some are muted.
fn finding(n: usize) -> Value {
    json!({
        "finding": {
            "name": format!("organizations/1/sources/2/locations/global/findings/{n}"), "resourceName": name(n), "state": "ACTIVE",
            "category": "PUBLIC_BUCKET_ACL", "severity": "HIGH", "mute": if n.is_multiple_of(2) { "MUTED" } else { "UNMUTED" },
            "findingClass": "MISCONFIGURATION", "eventTime": "2026-01-01T00:00:00Z",
        },
        "resource": {"name": name(n), "type": "google.cloud.storage.Bucket", "cloudProvider": "GOOGLE_CLOUD_PLATFORM"},
    })
}

fn api(cloud: &Cloud, asked: &Asked) -> Reply {
    let json = "Content-Type: application/json\r\n";
    if asked.path == "/v1/organizations/1/locations/global/securityCenterServices/security-health-analytics" {
        return ok(json!({
            "name": "organizations/1/locations/global/securityCenterServices/security-health-analytics",
            "effectiveEnablementState": "ENABLED", "modules": {"PUBLIC_BUCKET_ACL": {"effectiveEnablementState": "ENABLED"}},
        })
        .to_string());
    }
    if asked.path != "/v2/organizations/1/sources/-/locations/global/findings" {
        return answer("403 Forbidden", json, r#"{"error":{"code":403,"message":"Permission denied","status":"PERMISSION_DENIED"}}"#);
    }
    assert_eq!(asked.query["pageSize"], "1000", "Google's own default is ten");
    assert!(asked.query["filter"].starts_with("state=\"ACTIVE\" AND ("), "{:?}", asked.query);
    assert_eq!(asked.header("x-goog-user-project"), "payer");
    if cloud.mood() == Mood::Empty {
        return ok("{}");
    }
    let page: usize = asked.query.get("pageToken").map_or(0, |t| t.strip_prefix("t+/=").unwrap().parse().unwrap());
    let whole = |next: Option<String>| {
        // Google leaves out what is empty.
        let mut body = json!({});
        let results: Vec<Value> = rows(page, SIZE).map(finding).collect();
        if !results.is_empty() {
            body["listFindingsResults"] = results.into();
        }
        if let Some(next) = next {
            body["nextPageToken"] = next.into();
        }
        body.to_string()
    };
    let next = || (page + 1 < PAGES).then(|| format!("t+/={}", page + 1));
    if page == SPOILED + 2 && cloud.once("expired") {
        let said = r#"{"error":{"code":400,"message":"The page token is invalid or has expired.","status":"INVALID_ARGUMENT"}}"#;
        return answer("400 Bad Request", json, said);
    }
    if page == SPOILED {
        // Instead of another host: a page that was there already.
        if let Some(reply) = cloud.spoiled(|| ok(whole(Some("t+/=1".to_owned()))), || whole(next())) {
            return reply;
        }
    }
    ok(whole(next()))
}

fn service_account(server: &Server) -> String {
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{KEY}-----END PRIVATE KEY-----\n");
    json!({
        "type": "service_account", "client_email": "robot@project.example", "private_key": pem, "private_key_id": "key-1",
        "token_uri": format!("{}/token", server.url),
    })
    .to_string()
}

fn access(server: &Server) -> String {
    let url = &server.url;
    format!(
        "parents: [organizations/1], quota_project: payer, endpoint: \"{url}\", management_endpoint: \"{url}\", requests_per_second: 1000, burst: 1000, retry_delay: 2ms"
    )
}

/// With a population of all buckets that a finding names, and some more, and the detectors that are on.
fn source(dir: &Path) -> (Source, Server) {
    let cloud = Cloud::new();
    let server = cloud.serve(token, api);
    let key = write(dir, "key.json", &service_account(&server));
    let all = total(PAGES, SIZE);
    let inventory: String = (0..all + CLEAN)
        .map(|n| format!("{{\"check\":\"bucket\",\"resource\":{{\"id\":\"{}\",\"type\":\"bucket\"}},\"result\":\"not_assessed\",\"fields\":{{\"provider\":\"gcp\"}}}}\n", name(n)))
        .collect();
    let inventory = write(dir, "inventory.ndjson", &inventory);
    let source = Source {
        cloud,
        from: format!("{{ gcp_scc: {{ detectors: true, credentials_file: \"{}\", {} }} }}", key.display(), access(&server)),
        format: "scc",
        check: "PUBLIC_BUCKET_ACL",
        more: format!(
            "  - name: inventory\n    every: 1h\n    from: {{ file: {{ path: \"{}\", settle: 0s }} }}\n    format: native\n",
            inventory.display()
        ),
        population: Some("{ collector: inventory }"),
        env: Vec::new(),
        states: [CLEAN as u64, all as u64, 0, 0],
        ratio: true,
        secrets: KEY.lines().map(str::to_owned).collect(),
        // That there is none is good news here.
        bad: Mood::BAD.into_iter().filter(|m| *m != Mood::Empty).collect(),
    };
    (source, server)
}

#[test]
fn findings_are_exact_in_rough_hours() {
    let dir = tempfile::tempdir().unwrap();
    source(dir.path()).0.is_exact_in_rough_hours();
}

#[test]
fn findings_stand_still_in_bad_hours() {
    let dir = tempfile::tempdir().unwrap();
    source(dir.path()).0.stands_still_in_bad_hours();
}

#[test]
fn silence_of_a_detector_that_nobody_knows_to_run_is_no_compliance() {
    let dir = tempfile::tempdir().unwrap();
    let (mut source, _server) = source(dir.path());
    source.cloud.set(Mood::Empty);
    // Not one finding, and the detector is on: all comply.
    let all = source.states[0] + source.states[1];
    for (detectors, states) in [(true, [all, 0, 0, 0]), (false, [0, 0, all, 0])] {
        source.from = source.from.replace("detectors: true", &format!("detectors: {detectors}"));
        let home = tempfile::tempdir().unwrap();
        source.set_up(home.path(), super::ONCE);
        let (_, judged, err) = source.gate(home.path());
        let found = Source::judged_states(&judged);
        assert_eq!((found[0], found[1]), (states[0], states[1]), "detectors: {detectors}: {judged}\n{err}");
    }
}

#[test]
fn a_parent_that_is_denied_costs_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (mut source, _server) = source(dir.path());
    source.from = source.from.replace("parents: [organizations/1]", "parents: [organizations/1, projects/other]");
    let home = tempfile::tempdir().unwrap();
    source.set_up(home.path(), super::ONCE);
    let (code, judged, _) = source.gate(home.path());
    assert_eq!(Source::judged_states(&judged)[1], source.states[1], "{judged}");
    assert_eq!(code, 1, "what came is judged");
    let told = judged["collectors"][0]["problems"].to_string();
    assert!(told.contains("findings of projects/other: denied: answered 403 Forbidden"), "{told}");
    assert!(told.contains("needed is securitycenter.findings.list (role roles/securitycenter.findingsViewer) on projects/other"), "{told}");
}

#[test]
fn every_way_of_showing_credentials_leads_in() {
    let dir = tempfile::tempdir().unwrap();
    let (mut source, server) = source(dir.path());
    let url = &server.url;
    source.secrets.extend(["subject-s3cr3t", "sts-s3cr3t", "ci-s3cr3t", "user-s3cr3t", "refresh-s3cr3t"].map(str::to_owned));
    let external = |credential_source: Value, impersonate: bool| {
        let mut file = json!({
            "type": "external_account", "audience": "//iam.googleapis.com/pool", "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": format!("{url}/sts"), "credential_source": credential_source,
        });
        if impersonate {
            file["service_account_impersonation_url"] = format!("{url}/impersonate").into();
        }
        write(dir.path(), "external.json", &file.to_string()).display().to_string()
    };
    write(dir.path(), "subject", "subject-s3cr3t\n");
    let from_url = json!({"url": format!("{url}/subject"), "headers": {"X-CI-Token": "ci-s3cr3t"},
        "format": {"type": "json", "subject_token_field_name": "value"}});
    let user = json!({"type": "authorized_user", "client_id": "user-client", "client_secret": "user-s3cr3t", "refresh_token": "refresh-s3cr3t",
        "token_uri": format!("{url}/token")});
    let user = write(dir.path(), "user.json", &user.to_string()).display().to_string();
    let key = write(dir.path(), "key.json", &service_account(&server)).display().to_string();
    type Way<'a> = (String, Vec<(&'static str, String)>);
    let ways: [&dyn Fn() -> Way<'static>; 6] = [
        &|| (format!("metadata_server: \"{url}\", "), Vec::new()),
        &|| (String::new(), vec![("GCE_METADATA_HOST", url.replace("http://", ""))]),
        &|| (String::new(), vec![("GOOGLE_APPLICATION_CREDENTIALS", key.clone())]),
        &|| (format!("credentials_file: \"{user}\", "), Vec::new()),
        &|| (format!("credentials_file: \"{}\", ", external(json!({"file": "subject"}), true)), Vec::new()),
        &|| (format!("credentials_file: \"{}\", ", external(from_url.clone(), true)), Vec::new()),
    ];
    for way in ways {
        let (ours, env) = way();
        source.from = format!("{{ gcp_scc: {{ {ours}{} }} }}", access(&server));
        source.env = env;
        let home = tempfile::tempdir().unwrap();
        source.set_up(home.path(), super::ONCE);
        let (_, judged, err) = source.gate(home.path());
        assert_eq!(judged["collectors"][0]["complete"], true, "{}: {judged}\n{err}", source.from);
        assert_eq!(Source::judged_states(&judged)[1], source.states[1]);
    }
    // What is not supported says so, and quotes nothing.
    let aws = external(json!({"environment_id": "aws1"}), false);
    source.from = format!("{{ gcp_scc: {{ credentials_file: \"{aws}\", {} }} }}", access(&server));
    let home = tempfile::tempdir().unwrap();
    source.set_up(home.path(), super::ONCE);
    let (_, judged, _) = source.gate(home.path());
    assert!(judged["collectors"][0]["problems"].to_string().contains("use `file` or `url`"), "{judged}");
}
