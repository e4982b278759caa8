//! The collectors of AWS against some of AWS, in order and out of it.

#[path = "../../../tests/collectors/fake_aws.rs"]
mod fake_aws;
use super::super::aws_security_hub::Version;
use super::super::client::Retry;
use super::super::session::Session;
use super::super::{Collected, aws_config, aws_security_hub, s3};
use super::*;
use crate::collectors::test_server as server;
use crate::domain::{CheckResult, Finding, Lifecycle, Span};
use crate::formats::{self, Context, Flow, Format, FormatSpec, Limits, Sink};
use fake_aws::{Ask, OWN, aws, error, orderly};
use server::{Server, answer};
use std::collections::BTreeMap;

fn cell(region: &str) -> Cell {
    let aws = Arc::new(Config { regions: vec![region.to_owned()], ..Config::default() });
    Cell { aws, account: Account { id: "123456789012".to_owned(), ..Account::default() }, region: region.to_owned() }
}

/// The published example "get-vanilla" of the Signature Version 4 test suite.
#[test]
fn a_signature_is_the_one_of_the_test_suite() {
    let keys = Keys { id: "AKIDEXAMPLE".to_owned(), secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned().into(), session: None };
    let service = Service { cell: cell("us-east-1"), name: "service", raw_path: false };
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_440_938_160);
    let call = service.sign(Call::get(Url::parse("https://example.amazonaws.com/").unwrap()), &keys, now).unwrap();
    assert_eq!(
        call.headers()["authorization"],
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, \
         Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
    );
    assert!(call.headers()["authorization"].is_sensitive());
    assert_eq!(call.headers()["x-amz-date"], "20150830T123600Z");
}

#[test]
fn endpoints_are_awss_own_or_the_operators() {
    assert_eq!(cell("eu-west-1").endpoint("securityhub").0, "https://securityhub.eu-west-1.amazonaws.com");
    assert_eq!(cell("cn-north-1").endpoint("config").0, "https://config.cn-north-1.amazonaws.com.cn");
    let mut other = cell("us-gov-west-1");
    let url = Some("https://{service}-fips.{region}.amazonaws.com/".to_owned());
    other.aws = Arc::new(Config { endpoint_url: url, ..Config::default() });
    assert_eq!(other.endpoint("securityhub"), ("https://securityhub-fips.us-gov-west-1.amazonaws.com".to_owned(), true));
    assert_eq!(cell("eu-west-1").name("securityhub"), "securityhub 123456789012 eu-west-1");
}

#[test]
fn keys_are_packed_and_never_shown() {
    let keys = Keys { id: "A".to_owned(), secret: "s3cr3t".to_owned().into(), session: Some("t\"o".to_owned().into()) };
    let packed = keys.pack();
    assert!(!format!("{packed:?}").contains("s3cr3t"));
    let back = Keys::unpack(&packed).unwrap();
    assert_eq!((back.id.as_str(), back.secret.expose_secret(), back.session.unwrap().expose_secret()), ("A", "s3cr3t", "t\"o"));
}

#[test]
fn configuration_mistakes_are_all_told() {
    let fields = |c: Config| c.validate().into_iter().map(|(field, _)| field).collect::<Vec<_>>();
    let good = Config { regions: vec!["eu-west-1".to_owned()], ..Config::default() };
    assert!(fields(good.clone()).is_empty());
    assert_eq!(fields(Config { regions: Vec::new(), ..good.clone() }), ["region"]);
    for region in ["Ireland", "eu west 1", "eu-west-1/../x"] {
        assert_eq!(fields(Config { regions: vec![region.to_owned()], ..good.clone() }), ["regions"], "{region}");
    }
    let account = |id: &str, role: Option<&str>| Account { id: id.to_owned(), role_arn: role.map(str::to_owned), external_id: None };
    for accounts in [
        vec![account("123", None)],
        vec![account("123456789012", Some("arn:aws:iam::123456789012:user/x"))],
        vec![account("123456789012", None), account("123456789012", None)],
        vec![Account { external_id: Some(Secret::Env("X".to_owned())), ..account("123456789012", None) }],
    ] {
        assert_eq!(fields(Config { accounts, ..good.clone() }), ["accounts"]);
    }
    for url in ["localhost:5000", "ftp://x", "https://a:b@x"] {
        assert_eq!(fields(Config { endpoint_url: Some(url.to_owned()), ..good.clone() }), ["endpoint_url"], "{url}");
    }
    let many = Config { accounts: vec![account("123456789012", Some("arn:aws:iam::123456789012:role/r"))], ..good };
    assert_eq!(many.extent(), (1, 1));
}

/// Regions and accounts of a fake AWS, quick to try again.
fn at(server: &Server, regions: &[&str], accounts: &[&str]) -> Config {
    let account = |id: &&str| Account { id: (*id).to_owned(), role_arn: Some(format!("arn:aws:iam::{id}:role/audit")), external_id: None };
    let retry = Retry { retries: 4, delay: Span(2), ..Retry::default() };
    Config {
        regions: regions.iter().map(|&r| r.to_owned()).collect(),
        accounts: accounts.iter().map(account).collect(),
        endpoint_url: Some(server.url.clone()),
        options: Options { retry, requests_per_second: 1000, burst: 1000, ..Options::default() },
        ..Config::default()
    }
}

/// A session in which the chain has found keys already.
async fn session(options: &Options) -> Arc<Session> {
    let session = Session::new(options);
    let keys = Keys { id: "AKIAEXAMPLE".to_owned(), secret: "s3cr3t-of-chain".to_owned().into(), session: None };
    let found = async { Ok(Token::new(keys.pack(), Duration::from_secs(3600))) };
    session.run("c", soon()).token("chain", None, found).await.unwrap();
    session
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

async fn hub_with(config: &aws_security_hub::Config, version: Version) -> Collected {
    let session = session(&config.aws.options).await;
    aws_security_hub::collect("c", config, version, &session, soon()).await
}

async fn hub(aws: Config) -> Collected {
    hub_with(&aws_security_hub::Config { aws, disabled_controls: false, ..aws_security_hub::Config::default() }, Version::Cspm).await
}

async fn rules(config: &aws_config::Config) -> Collected {
    let session = session(&config.aws.options).await;
    aws_config::collect("c", config, &session, soon()).await
}

fn said(collected: &Collected) -> String {
    collected.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[derive(Default)]
struct Seen {
    /// By (document, check, result): how many.
    counts: BTreeMap<(String, String, CheckResult), u64>,
    resources: Vec<String>,
    problems: Vec<String>,
    document: String,
    suppressed: u64,
}

impl Sink for Seen {
    fn finding(&mut self, f: &Finding<'_>) -> Flow {
        *self.counts.entry((self.document.clone(), f.check.to_string(), f.result)).or_default() += f.count;
        self.resources.push(f.resource.id.to_string());
        self.suppressed += u64::from(f.lifecycle != Lifecycle::Active);
        Flow::More
    }

    fn problem(&mut self, problem: Problem) {
        self.problems.push(problem.to_string());
    }
}

/// What the format sees in what came, and whether every document is whole.
fn read(collected: &Collected, format: Format) -> (Seen, bool) {
    let (mut seen, mut whole) = (Seen::default(), true);
    for document in &collected.documents {
        seen.document.clone_from(&document.name);
        let mut input = std::io::BufReader::new(std::fs::File::open(&document.path).unwrap());
        let context = Context { source: &document.name, limits: Limits::default(), want_raw: false };
        let outcome = formats::read(&FormatSpec::Builtin(format), &mut input, &context, &mut seen).unwrap();
        whole &= outcome.complete;
    }
    (seen, whole)
}

fn total(seen: &Seen, result: CheckResult) -> u64 {
    seen.counts.iter().filter(|((_, _, r), _)| *r == result).map(|(_, n)| n).sum()
}

#[tokio::test]
async fn findings_of_every_account_and_region_come_whole_through_throttling_and_breakage() {
    // Of each page the first try goes wrong, each time in another way.
    let tried = std::sync::Mutex::new(std::collections::HashSet::new());
    let server = aws(1250, move |ask| {
        if ask.service != "securityhub" || !tried.lock().unwrap().insert((ask.account.clone(), ask.region.clone(), ask.page())) {
            return None;
        }
        Some(match ask.n % 7 {
            0 => answer("429 Too Many Requests", "X-Amzn-ErrorType: TooManyRequestsException\r\n", r#"{"message":"Rate exceeded"}"#),
            1 => error("400 Bad Request", "ThrottlingException", "Rate exceeded"),
            2 => answer("503 Service Unavailable", "Content-Type: text/html\r\n", "<html>sorry"),
            3 => server::Reply::Bytes(Vec::new()),
            4 => server::Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n{\"Findings\":[{\"Sch".to_vec()),
            5 => error("500 Internal Server Error", "InternalException", "oops"),
            _ => answer("200 OK", "", "{\"Findings\": [{\"SchemaVersion\""),
        })
    });
    let got = hub(at(&server, &["eu-west-1", "us-east-1"], &["982374105512", "550231876641"])).await;
    assert_eq!(said(&got), "");
    assert!(got.complete);
    let (seen, whole) = read(&got, Format::Asff);
    assert!(whole && seen.problems.is_empty(), "{:?}", seen.problems);
    assert_eq!((total(&seen, CheckResult::Pass), total(&seen, CheckResult::Fail)), (4 * 1125, 4 * 125));
    let names: Vec<_> = got.documents.iter().map(|d| d.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "securityhub 982374105512 eu-west-1",
            "securityhub 982374105512 us-east-1",
            "securityhub 550231876641 eu-west-1",
            "securityhub 550231876641 us-east-1"
        ]
    );
    // 13 pages of each of 4, each tried twice, and a role for each of 2 accounts, though four tasks wanted one at once.
    let counted: u64 = got.requests.words().iter().map(|(_, n)| n).sum();
    assert_eq!((got.requests.ok, counted), (54, 106));
    let filters = r#""Filters":{"ProductName":[{"Comparison":"EQUALS","Value":"Security Hub"}],"RecordState":[{"Comparison":"EQUALS","Value":"ACTIVE"}]}"#;
    assert!(server.requests().iter().any(|r| r.contains(filters)), "{}", server.requests()[4]);
}

#[tokio::test]
async fn what_is_denied_in_one_account_costs_that_account_and_names_it() {
    let server = aws(30, |ask| match (ask.operation.as_str(), ask.region.as_str(), ask.account.as_str()) {
        ("AssumeRole", _, _) if ask.body.as_str().unwrap().contains("550231876641") => Some(answer(
            "403 Forbidden",
            "",
            "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>User: arn:aws:sts::417205518860:assumed-role/x is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::550231876641:role/audit</Message></Error></ErrorResponse>",
        )),
        ("/findings", "us-east-1", "982374105512") => {
            Some(error("403 Forbidden", "AccessDeniedException", "User is not authorized to perform: securityhub:GetFindings"))
        }
        ("/findings", "eu-north-1", _) => {
            Some(error("401 Unauthorized", "InvalidAccessException", "Account 982374105512 is not subscribed to AWS Security Hub"))
        }
        _ => None,
    });
    let got = hub(at(&server, &["eu-west-1", "us-east-1", "eu-north-1"], &["982374105512", "550231876641"])).await;
    let names: Vec<_> = got.documents.iter().map(|d| d.name.as_str()).collect();
    assert_eq!((names, got.complete), (vec!["securityhub 982374105512 eu-west-1"], false));
    let told = said(&got);
    for line in [
        "securityhub 982374105512 us-east-1: denied: answered 403 Forbidden: AccessDeniedException: User is not authorized to perform: securityhub:GetFindings; it takes the permission securityhub:GetFindings",
        "securityhub 982374105512 eu-north-1: denied: answered 401 Unauthorized: InvalidAccessException: Account 982374105512 is not subscribed to AWS Security Hub",
        "sts 550231876641 eu-west-1: denied: answered 403 Forbidden: AccessDenied: User: arn:aws:sts::417205518860:assumed-role/x is not authorized to perform: sts:AssumeRole",
    ] {
        assert!(told.contains(line), "{line}\nnot in\n{told}");
    }
    assert!(told.contains("it takes the permission sts:AssumeRole on arn:aws:iam::550231876641:role/audit"), "{told}");
    assert_eq!(read(&got, Format::Asff).0.resources.len(), 30);
}

#[tokio::test]
async fn credentials_that_run_out_on_the_way_are_renewed_and_a_stale_page_begins_anew() {
    // At page 3 the session has run out; at page 7 the name of the page.
    let stale = std::sync::atomic::AtomicBool::new(true);
    let first = std::sync::Mutex::new(String::new());
    let server = aws(1000, move |ask| {
        if ask.service != "securityhub" {
            return None;
        }
        let mut first = first.lock().unwrap();
        if first.is_empty() {
            first.clone_from(&ask.session);
        }
        if ask.page() >= 3 && ask.session == *first {
            return Some(error("403 Forbidden", "ExpiredTokenException", &format!("The security token {} is expired", ask.session)));
        }
        if ask.page() == 7 && stale.swap(false, std::sync::atomic::Ordering::Relaxed) {
            return Some(error("400 Bad Request", "InvalidInputException", "Invalid parameter NextToken"));
        }
        None
    });
    let got = hub(at(&server, &["eu-west-1"], &["982374105512"])).await;
    assert_eq!((said(&got).as_str(), got.complete), ("", true));
    let (seen, whole) = read(&got, Format::Asff);
    assert!(whole);
    assert_eq!((seen.resources.len(), total(&seen, CheckResult::Fail)), (1000, 100), "what was spooled before is thrown away");
    let roles = server.requests().iter().filter(|r| r.contains("Action=AssumeRole")).count();
    assert_eq!((roles, got.requests.ok), (2, 7 + 10 + 2));
}

#[tokio::test]
async fn a_list_that_is_cut_off_is_partial_and_its_secrets_stay_hidden() {
    let server = aws(1000, |ask| {
        (ask.page() == 4).then(|| answer("400 Bad Request", "", format!(r#"{{"message":"no page for {} at all"}}"#, ask.session)))
    });
    let got = hub(at(&server, &["eu-west-1"], &["982374105512"])).await;
    assert!(!got.complete);
    assert!(said(&got).contains("no page for *** at all"), "{}", said(&got));
    let (seen, whole) = read(&got, Format::Asff);
    assert_eq!((seen.resources.len(), whole), (400, false));
    let shown = format!("{got:?} {}", said(&got));
    assert!(!shown.contains("s3ssion") && !shown.contains("s3cr3t"), "{shown}");
}

#[tokio::test]
async fn a_control_that_is_switched_off_is_not_assessed_and_asked_about_seldom() {
    let server = aws(20, |_| None);
    let config = aws_security_hub::Config { aws: at(&server, &["eu-west-1"], &[]), ..aws_security_hub::Config::default() };
    let session = session(&config.aws.options).await;
    for run in 0..2 {
        let got = aws_security_hub::collect("c", &config, Version::Cspm, &session, soon()).await;
        assert_eq!((said(&got).as_str(), got.complete), ("", true));
        let (seen, whole) = read(&got, Format::Asff);
        assert!(whole && seen.problems.is_empty(), "{:?}", seen.problems);
        let off: Vec<_> = seen.counts.iter().filter(|((_, check, _), _)| check == "IAM.6").collect();
        assert_eq!(off.len(), 1, "{:?}", seen.counts);
        assert!(!matches!(off[0].0.2, CheckResult::Pass | CheckResult::Fail), "{off:?}");
        assert!(seen.resources.contains(&format!("AWS::::Account:{OWN}")), "{:?}", seen.resources);
        assert_eq!(got.requests.ok, if run == 0 { 5 } else { 1 });
    }
    // Where that may not be asked, the findings are whole all the same, and it is said.
    let server = aws(20, |ask| (ask.operation == "/accounts").then(|| error("403 Forbidden", "AccessDeniedException", "no")));
    let config = aws_security_hub::Config { aws: at(&server, &["eu-west-1"], &[]), ..aws_security_hub::Config::default() };
    let got = hub_with(&config, Version::Cspm).await;
    assert!(got.complete);
    assert_eq!(
        said(&got),
        "securityhub eu-west-1: denied: which controls are switched off is not known: answered 403 Forbidden: AccessDeniedException: no; \
         it takes the permission securityhub:DescribeHub; `disabled_controls: false` does not ask"
    );
}

#[tokio::test]
async fn controls_of_standards_with_findings_of_their_own_are_told_by_their_own_ids() {
    let server = aws(3, |ask| {
        let controls = r#"{"Controls":[{"StandardsControlArn":"arn:aws:securityhub:eu-west-1:417205518860:control/pci-dss/v/3.2.1/PCI.S3.1","ControlId":"PCI.S3.1","ControlStatus":"DISABLED","DisabledReason":"no cards here","Title":"t"},
            {"StandardsControlArn":"arn:x/PCI.S3.2","ControlId":"PCI.S3.2","ControlStatus":"ENABLED","Title":"t"}]}"#;
        match ask.operation.as_str() {
            "/accounts" => Some(server::ok(
                r#"{"HubArn":"arn:aws:securityhub:eu-west-1:417205518860:hub/default","ControlFindingGenerator":"STANDARD_CONTROL"}"#,
            )),
            path if path.starts_with("/standards/controls/arn:aws:securityhub:eu-west-1:417205518860:subscription/") => {
                Some(server::ok(controls))
            }
            _ => None,
        }
    });
    let config = aws_security_hub::Config { aws: at(&server, &["eu-west-1"], &[]), ..aws_security_hub::Config::default() };
    let got = hub_with(&config, Version::Cspm).await;
    assert_eq!(said(&got), "");
    let (seen, _) = read(&got, Format::Asff);
    let checks: Vec<_> = seen.counts.keys().map(|(_, check, _)| check.as_str()).collect();
    assert!(checks.contains(&"PCI.S3.1") && !checks.contains(&"PCI.S3.2"), "{checks:?}");
}

#[tokio::test]
async fn the_second_api_brings_ocsf() {
    let server = aws(250, |_| None);
    let config = aws_security_hub::Config {
        aws: at(&server, &["eu-west-1"], &[]),
        standards: vec!["standards/cis-aws-foundations-benchmark/v/3.0.0".to_owned()],
        organization_id: Some("o-abcdefghij".to_owned()),
        ..aws_security_hub::Config::default()
    };
    let got = hub_with(&config, Version::V2).await;
    assert_eq!((said(&got).as_str(), got.complete), ("", true));
    let (seen, whole) = read(&got, Format::Ocsf);
    assert!(whole && seen.problems.is_empty(), "{:?}", seen.problems);
    assert_eq!((total(&seen, CheckResult::Pass), total(&seen, CheckResult::Fail)), (225, 25));
    let request = &server.requests()[0];
    assert!(
        request.starts_with("POST /findingsv2 ")
            && request.contains(r#""Scopes":{"AwsOrganizations":[{"OrganizationId":"o-abcdefghij"}]}"#),
        "{request}"
    );
    assert!(request.contains(r#""FieldName":"compliance.standards""#) && request.contains(r#""Value":"Compliance Finding""#), "{request}");
}

#[tokio::test]
async fn rules_of_config_are_read_with_their_account_and_region() {
    let server = aws(150, |_| None);
    let mut config = aws_config::Config { aws: at(&server, &["eu-west-1", "us-east-1"], &[]), ..aws_config::Config::default() };
    let got = rules(&config).await;
    assert_eq!((said(&got).as_str(), got.complete), ("", true));
    let (seen, whole) = read(&got, Format::AwsConfig);
    assert!(whole && seen.problems.is_empty(), "{:?}", seen.problems);
    let of = |seen: &Seen, check: &str, result| {
        seen.counts.iter().filter(|((_, c, r), _)| c == check && *r == result).map(|(_, n)| n).sum::<u64>()
    };
    assert_eq!((of(&seen, "acme-buckets-not-public", CheckResult::Pass), of(&seen, "acme-groups", CheckResult::Fail)), (270, 30));
    // Never evaluated is no evidence; what is being deleted is not asked.
    assert_eq!(of(&seen, "acme-never", CheckResult::NotAssessed), 2);
    assert!(!server.requests().iter().any(|r| r.contains("acme-gone") || r.contains(r#""ConfigRuleName":"acme-never""#)));
    for id in [
        "arn:aws:s3:::b-3",
        "arn:aws:ec2:us-east-1:417205518860:security-group/sg-0001",
        "aws:417205518860:eu-west-1:AWS::Config::ConfigRule/acme-never",
    ] {
        assert!(seen.resources.iter().any(|r| r == id), "{id}");
    }

    config.check = aws_config::Check::Identifier;
    config.rules = vec!["*buckets*".to_owned()];
    let (seen, _) = read(&rules(&config).await, Format::AwsConfig);
    let checks: std::collections::BTreeSet<_> = seen.counts.keys().map(|(_, check, _)| check.as_str()).collect();
    assert_eq!(checks.into_iter().collect::<Vec<_>>(), ["S3_BUCKET_PUBLIC_READ_PROHIBITED"]);
}

#[tokio::test]
async fn a_rule_that_fails_costs_itself() {
    let server = aws(150, |ask| {
        (ask.body["ConfigRuleName"] == "acme-buckets-not-public" && ask.page() == 1)
            .then(|| error("400 Bad Request", "InvalidParameterValueException", "no"))
    });
    let config = aws_config::Config { aws: at(&server, &["eu-west-1"], &[]), ..aws_config::Config::default() };
    let got = rules(&config).await;
    assert_eq!(
        (said(&got).as_str(), got.complete),
        ("config eu-west-1: source: rule acme-buckets-not-public: answered 400 Bad Request: InvalidParameterValueException: no", false)
    );
    let (seen, _) = read(&got, Format::AwsConfig);
    assert_eq!((total(&seen, CheckResult::Pass), total(&seen, CheckResult::Fail)), (90 + 135, 10 + 15));

    let server = aws(1, |ask| (ask.operation == "DescribeConfigRules").then(|| server::ok(r#"{"ConfigRules":[]}"#)));
    let config = aws_config::Config { aws: at(&server, &["eu-west-1"], &[]), ..aws_config::Config::default() };
    let got = rules(&config).await;
    assert!(!got.complete && got.documents.is_empty());
    assert_eq!(said(&got), "config eu-west-1: empty: there is no rule; is AWS Config set up there?");
}

#[tokio::test]
async fn an_aggregator_has_the_accounts_of_all() {
    let server = aws(120, |_| None);
    let config =
        aws_config::Config { aws: at(&server, &["eu-west-1"], &[]), aggregator: Some("all".to_owned()), ..aws_config::Config::default() };
    let got = rules(&config).await;
    assert_eq!((said(&got).as_str(), got.complete), ("", true));
    let (seen, whole) = read(&got, Format::AwsConfig);
    assert!(whole && seen.problems.is_empty(), "{:?}", seen.problems);
    assert_eq!((total(&seen, CheckResult::Pass), total(&seen, CheckResult::Fail), total(&seen, CheckResult::NotAssessed)), (216, 24, 1));
    let names: Vec<_> = got.documents.iter().map(|d| d.name.as_str()).collect();
    assert_eq!(names, ["config 417205518860 eu-west-1", "config 982374105512 eu-west-1"]);
    assert!(seen.resources.iter().any(|r| r == "arn:aws:ec2:eu-west-1:982374105512:security-group/sg-0001"));
}

#[tokio::test]
async fn an_emulator_that_knows_nothing_of_it_is_told_apart() {
    let server = Server::new(|n, request| match Ask::read_operation(n, request).as_str() {
        "GetCallerIdentity" => orderly(&Ask::of(n, request), 1),
        _ => answer("500 Internal Server Error", "Content-Type: text/html\r\n", "<!doctype html><title>500</title>"),
    });
    let mut config = aws_config::Config { aws: at(&server, &["eu-west-1"], &[]), ..aws_config::Config::default() };
    config.aws.options.retry.retries = 1;
    let got = rules(&config).await;
    assert!(!got.complete && got.documents.is_empty());
    assert!(said(&got).contains("answered 500 Internal Server Error with an HTML page where JSON was due"), "{}", said(&got));
    assert_eq!(got.requests.server_error, 2);
}

/// A bucket of these objects: (key, modified, content).
fn bucket(objects: Vec<(&'static str, &'static str, Vec<u8>)>) -> Server {
    Server::new(move |_, request| {
        let target = request.split(' ').nth(1).unwrap_or_default().to_owned();
        assert!(request.contains("/s3/aws4_request") && request.contains("x-amz-content-sha256: "), "{request}");
        if let Some(query) = target.strip_prefix("/acme-scans/?") {
            let after: usize = query.split("continuation-token=").nth(1).and_then(|t| t.parse().ok()).unwrap_or(0);
            let mut xml = "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">".to_owned();
            for (key, modified, content) in objects.iter().skip(after).take(2) {
                let _ = write!(
                    xml,
                    "<Contents><Key>{key}</Key><LastModified>{modified}</LastModified><ETag>&quot;{}&quot;</ETag><Size>{}</Size></Contents>",
                    content.len(),
                    content.len()
                );
            }
            let more = after + 2 < objects.len();
            let _ = write!(xml, "<IsTruncated>{more}</IsTruncated>");
            if more {
                let _ = write!(xml, "<NextContinuationToken>{}</NextContinuationToken>", after + 2);
            }
            return answer("200 OK", "Content-Type: application/xml\r\n", xml + "</ListBucketResult>");
        }
        let key = target.strip_prefix("/acme-scans/").unwrap_or_default();
        match objects.iter().find(|(k, _, _)| *k == key) {
            Some((_, _, content)) if !content.is_empty() => answer("200 OK", "", content),
            _ => answer("403 Forbidden", "", "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"),
        }
    })
}

fn in_bucket(server: &Server, paths: &[&str]) -> s3::Config {
    let mut config = s3::Config { aws: at(server, &["eu-west-1"], &[]), bucket: "acme-scans".to_owned(), ..s3::Config::default() };
    config.files.paths = paths.iter().map(|&p| p.to_owned()).collect();
    config.modified_within = Span::DAY.times(36_500);
    config
}

#[tokio::test]
async fn objects_of_a_bucket_are_read_as_files_are() {
    let server = bucket(vec![
        ("prowler/eu/a.ocsf.json", "2026-11-23T06:00:00Z", b"[1]".to_vec()),
        ("prowler/eu/a.html", "2026-11-23T06:00:00Z", b"<html>".to_vec()),
        ("prowler/us/b.ocsf.json", "2026-11-24T06:00:00.000Z", b"[22]".to_vec()),
        ("prowler/us/deep/c.ocsf.json", "2026-11-24T06:00:00Z", b"[333]".to_vec()),
        ("prowler/../x.ocsf.json", "2026-11-24T06:00:00Z", b"[4444]".to_vec()),
    ]);
    let config = in_bucket(&server, &["prowler/{zone}/*.ocsf.json"]);
    let state = s3::State::with(session(&config.aws.options).await);
    let got = s3::collect("c", &config, &state, soon()).await;
    // `..` is a zone by the pattern, and no path of ours.
    assert!(said(&got).contains("s3://acme-scans/prowler/../x.ocsf.json: malformed: the key cannot be a file's path"), "{}", said(&got));
    assert!(!got.complete);
    let names: Vec<_> = got.documents.iter().map(|d| (d.name.as_str(), d.fields[0].1.as_str())).collect();
    assert_eq!(names, [("s3://acme-scans/prowler/us/b.ocsf.json", "us"), ("s3://acme-scans/prowler/eu/a.ocsf.json", "eu")]);
    assert_eq!(got.documents[1].modified, Some(Moment(1_795_413_600_000)));
    assert!(got.newest_per_subject);
    let fetched = |server: &Server| server.targets().iter().filter(|t| !t.contains("list-type")).count();
    assert_eq!(fetched(&server), 2);
    // A second run brings nothing that it has, and what it handed out is still there.
    let again = s3::collect("c", &config, &state, soon()).await;
    assert_eq!((again.documents.len(), fetched(&server)), (2, 2));
    drop(state);
    assert_eq!(std::fs::read(&got.documents[0].path).unwrap(), b"[22]");
}

#[tokio::test]
async fn an_object_that_may_not_be_read_costs_itself() {
    let server =
        bucket(vec![("scans/a.json", "2026-11-23T06:00:00Z", b"[1]".to_vec()), ("scans/b.json", "2026-11-23T06:00:00Z", Vec::new())]);
    let config = in_bucket(&server, &["scans"]);
    let state = s3::State::with(session(&config.aws.options).await);
    let got = s3::collect("c", &config, &state, soon()).await;
    assert_eq!(
        (said(&got).as_str(), got.complete, got.documents.len()),
        (
            "s3://acme-scans/scans/b.json: denied: answered 403 Forbidden: AccessDenied: Access Denied; it takes the permission s3:GetObject",
            false,
            1
        )
    );
    // Nothing that is young enough: said, and no pass.
    let config = s3::Config { modified_within: Span::SECOND, ..config };
    let got = s3::collect("c", &config, &state, soon()).await;
    assert_eq!(
        (said(&got).as_str(), got.complete),
        ("s3://acme-scans/scans: empty: 2 objects match, and all are older than 1s (modified_within)", false)
    );
}
