//! The real program against some of AWS: every finding exactly once where AWS is only rough, the ratio unmoved where it
//! is wrong, and silent about every secret.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

#[path = "collectors/fake_aws.rs"]
#[expect(dead_code, reason = "the tests inside the crate use the rest")]
mod fake_aws;
#[path = "collectors/server.rs"]
#[expect(dead_code, reason = "the other tests of collectors use the rest")]
mod server;
mod support;

use fake_aws::{Ask, aws, error};
use serde_json::{Value, json};
use server::{Reply, Server, answer, ok};
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::process::Output;
use std::sync::{Arc, Mutex};
use support::{Metrics, Served, bornright, wait_for, write};

/// What AWS does to us just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    /// All is well.
    Fine,
    /// Every page fails once, sessions run out on page 3, and the name of page 6 goes stale once.
    Rough,
    /// A page of the middle is never anything but throttled, in three manners by turns.
    Throttled,
    /// Every session that STS gives has run out already.
    Expired,
    /// The name of a page has always gone stale.
    Stale,
    /// A page of the middle is somebody's login form.
    Html,
    /// A page of the middle is cut off.
    CutOff,
    /// A page of the middle names itself as the next.
    Circle,
    /// A page of the middle is forbidden.
    Forbidden,
    /// The sessions that were given have run out, and no role may be assumed.
    NoRole,
    /// Nothing at all is listed.
    Empty,
}

/// Those that cost a run its completeness, and nothing else.
const BAD: [Mood; 9] =
    [Mood::Throttled, Mood::Expired, Mood::Stale, Mood::Html, Mood::CutOff, Mood::Circle, Mood::Forbidden, Mood::NoRole, Mood::Empty];

const ACCOUNTS: [&str; 2] = ["982374105512", "550231876641"];
const REGIONS: [&str; 2] = ["eu-west-1", "us-east-1"];
/// What the chain finds in the environment.
const KEYS: [(&str, &str); 3] = [
    ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", "chain/S3CR3T+of/nobody"),
    ("AWS_SESSION_TOKEN", "chain//s3ssion+of/nobody=="),
];
/// These begin what STS gives (`fake_aws`), and the chain's secrets.
const SECRETS: [&str; 6] = ["S3CR3T", "s3cr3t", "s3ssion-of-", "s3ssion+of", "s3ssion%2Bof", "s3ssion%2bof"];

struct Memory {
    mood: Mood,
    once: HashSet<String>,
    /// The first session of each account since the mood began.
    sessions: BTreeMap<String, String>,
}

impl Memory {
    fn first(&mut self, what: &str, ask: &Ask) -> bool {
        let rule = ask.body["ConfigRuleName"].as_str().unwrap_or_default();
        self.once.insert(format!("{what} {} {} {} {rule} {}", ask.account, ask.region, ask.operation, ask.page()))
    }
}

/// A list of AWS, how it is asked for, and what is true of it.
struct Source {
    from: &'static str,
    format: &'static str,
    check: &'static str,
    memory: Arc<Mutex<Memory>>,
    server: Server,
    /// Of each account and region.
    count: usize,
}

fn throttled(manner: usize) -> Reply {
    match manner {
        0 => answer("429 Too Many Requests", "X-Amzn-ErrorType: TooManyRequestsException\r\n", r#"{"message":"Rate exceeded"}"#),
        1 => error("400 Bad Request", "ThrottlingException", "Rate exceeded"),
        _ => answer("503 Service Unavailable", "Content-Type: text/html\r\nRetry-After: 0\r\n", "<html>sorry"),
    }
}

/// What `member`'s list says while AWS is in such a mood; none: the page itself.
fn fault(memory: &mut Memory, ask: &Ask, member: &str, operation: &str) -> Option<Reply> {
    let expired = |ask: &Ask| error("403 Forbidden", "ExpiredTokenException", &format!("The security token {} is expired", ask.session));
    let stale = |ask: &Ask| match ask.service.as_str() {
        "config" => error("400 Bad Request", "InvalidNextTokenException", "The specified next token is not valid"),
        _ => error("400 Bad Request", "InvalidInputException", "Invalid parameter NextToken"),
    };
    if ask.operation == "AssumeRole" && memory.mood == Mood::NoRole {
        let xml = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>not authorized to perform: sts:AssumeRole</Message></Error></ErrorResponse>";
        return Some(answer("403 Forbidden", "", xml));
    }
    if memory.mood == Mood::Empty && ask.operation == "DescribeConfigRules" {
        return Some(ok(r#"{"ConfigRules": []}"#));
    }
    if ask.operation != operation {
        return None;
    }
    let first = memory.sessions.entry(ask.account.clone()).or_insert_with(|| ask.session.clone()).clone();
    // One account in one region is enough to spoil a run.
    let middle = ask.page() == 2 && ask.account == ACCOUNTS[0] && ask.region == REGIONS[1];
    let mood = memory.mood;
    match mood {
        Mood::Rough if memory.first("tried", ask) => Some(match ask.n % 6 {
            n @ 0..3 => throttled(n),
            3 => Reply::Bytes(Vec::new()),
            4 => Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n{\"Findings\":[{\"Sch".to_vec()),
            _ => error("500 Internal Server Error", "InternalException", "oops"),
        }),
        Mood::Rough if ask.page() >= 3 && ask.session == first => Some(expired(ask)),
        Mood::Rough if ask.page() == 6 && memory.first("stale", ask) => Some(stale(ask)),
        Mood::Throttled if middle => Some(throttled(ask.n % 3)),
        Mood::Expired | Mood::NoRole if ask.account == ACCOUNTS[0] => Some(expired(ask)),
        Mood::Stale if middle => Some(stale(ask)),
        Mood::Html if middle => Some(answer("200 OK", "Content-Type: text/html\r\n", "<!doctype html><html><body>Sign in</body></html>")),
        Mood::CutOff if middle => Some(ok(format!(r#"{{"{member}": [{{"SchemaVersion": "2018-1"#))),
        Mood::Circle if middle => Some(ok(json!({member: [], "NextToken": "page-2"}).to_string())),
        Mood::Forbidden if middle => {
            Some(error("403 Forbidden", "AccessDeniedException", &format!("User with {} is not authorized", ask.session)))
        }
        Mood::Empty => Some(ok(json!({member: []}).to_string())),
        _ => None,
    }
}

impl Source {
    fn new(from: &'static str, count: usize) -> Source {
        let (format, check, member, operation) = match from {
            "aws_security_hub" => ("asff", "S3.8", "Findings", "/findings"),
            "aws_security_hub_v2" => ("ocsf", "S3.8", "Findings", "/findingsv2"),
            _ => ("aws_config", "acme-groups", "EvaluationResults", "GetComplianceDetailsByConfigRule"),
        };
        let memory = Arc::new(Mutex::new(Memory { mood: Mood::Fine, once: HashSet::new(), sessions: BTreeMap::new() }));
        let kept = Arc::clone(&memory);
        let server = aws(count, move |ask| fault(&mut kept.lock().unwrap(), ask, member, operation));
        Source { from, format, check, memory, server, count }
    }

    fn set(&self, mood: Mood) {
        *self.memory.lock().unwrap() = Memory { mood, once: HashSet::new(), sessions: BTreeMap::new() };
    }

    /// Resources that comply, do not, are unknown, are waived.
    fn states(&self) -> [u64; 4] {
        let all = (self.count * ACCOUNTS.len() * REGIONS.len()) as u64;
        [all / 10 * 9, all / 10, 0, 0]
    }

    fn set_up(&self, dir: &Path, pace: &str) {
        let (format, check, from, url) = (self.format, self.check, self.from, &self.server.url);
        let ([a, b], [r, s]) = (ACCOUNTS, REGIONS);
        write(
            dir,
            "defs/controls.yaml",
            &format!(
                r#"apiVersion: bornright/v1
kind: ControlSet
metadata: {{ name: aws }}
spec:
  version: 1.0.0
  owner: platform
  controls:
    - id: the-control
      title: Things are as they should be
      severity: high
      checks: [ {{ format: {format}, id: "{check}" }} ]
---
apiVersion: bornright/v1
kind: SLO
metadata: {{ name: aws }}
spec:
  service: platform
  controls: {{ ids: [the-control] }}
  objective: 50%
  period: 30d
  sli: resource_time
"#
            ),
        );
        write(
            dir,
            "bornright.yaml",
            &format!(
                r#"listen: 127.0.0.1:0
ledger: {{ sqlite: {{ path: data/ledger.db }} }}
definitions: [defs]
scope: "{{provider}}"
collectors:
  - name: aws
{pace}    from:
      {from}:
        regions: [{r}, {s}]
        role_name: audit
        accounts: ["{a}", "{b}"]
        endpoint_url: {url}
        requests_per_second: 1000
        burst: 1000
        retries: 4
        retry_delay: 2ms
"#
            ),
        );
    }

    /// Collects once: the judgement, and all that was printed.
    fn gate(&self, dir: &Path) -> (Value, String) {
        let Output { stdout, stderr, .. } =
            bornright().current_dir(dir).args(["--log-level", "trace", "gate", "--output", "json"]).envs(env()).output().unwrap();
        let (out, err) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
        assert_hidden(&out);
        assert_hidden(&err);
        (serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}\n{err}")), err)
    }

    /// Rough hours cost nothing: every row comes, and each counts once.
    fn is_exact_in_rough_hours(&self) {
        let dir = tempfile::tempdir().unwrap();
        self.set_up(dir.path(), "    every: 1h\n    timeout: 5m\n    max_age: 3650d\n");
        for mood in [Mood::Fine, Mood::Rough] {
            self.set(mood);
            let asked = self.server.requests().len();
            let (judged, err) = self.gate(dir.path());
            let collector = &judged["collectors"][0];
            assert_eq!((&collector["complete"], &collector["problems"]), (&true.into(), &json!([])), "{mood:?}: {err}");
            let control = &judged["controls"][0];
            let states = ["compliant", "non_compliant", "unknown", "waived"].map(|s| control[s].as_u64().unwrap());
            assert_eq!(states, self.states(), "{mood:?}: {judged}");
            assert_eq!(control["ratio"], 0.9, "{mood:?}");
            let requests = &self.server.requests()[asked..];
            let roles = requests.iter().filter(|r| r.contains("Action=AssumeRole")).count();
            // Anew for each account whose session ran out, though two regions noticed at once.
            assert_eq!(roles, if mood == Mood::Fine { 2 } else { 4 }, "{mood:?}");
        }
    }

    /// Whatever AWS does, what is known of resources does not move.
    fn stands_still_in_bad_hours(&self) {
        let dir = tempfile::tempdir().unwrap();
        self.set_up(dir.path(), "    every: 3s\n    timeout: 3s\n    max_age: 3650d\n");
        let served = Served::start_with(dir.path(), &["--log-level", "trace", "serve"], &env());
        let scans = |m: &Metrics, outcome: &str| {
            m.get("compliance_collector_scans_total", &[("collector", "aws"), ("outcome", outcome)]).unwrap_or(0.0)
        };
        let lacking = |m: &Metrics| ["partial", "failed"].iter().map(|o| scans(m, o)).sum::<f64>();
        let states = |m: &Metrics| {
            ["compliant", "non_compliant", "unknown", "waived"]
                .map(|s| m.get("compliance_resources", &[("control", "the-control"), ("state", s)]).unwrap_or(-1.0))
        };
        let ratio = |m: &Metrics| m.get("compliance_ratio", &[("control", "the-control")]);
        let told = |m: &Metrics| {
            let of_ours = |s: &str| s.starts_with("compliance_collector_problems_total") && s.contains("\"aws\"");
            m.counters().into_iter().filter(|(s, _)| of_ours(s)).map(|(_, n)| n).sum::<f64>()
        };
        let known = self.states().map(|n| n as f64);
        wait_for("the first states", || states(&served.metrics()) == known);
        for mood in BAD {
            self.set(mood);
            let before = served.metrics();
            // One run may have been under way, and was whole.
            wait_for(&format!("a run while {mood:?}"), || lacking(&served.metrics()) > lacking(&before));
            let after = served.metrics();
            assert_eq!((states(&after), ratio(&after)), (known, Some(0.9)), "{mood:?}: {}", served.log());
            assert!(scans(&after, "complete") <= scans(&before, "complete") + 1.0, "{mood:?} passes for complete: {}", served.log());
            assert!(told(&after) > told(&before), "{mood:?} is not told");
            for page in ["/api/v1/runs", "/metrics"] {
                assert_hidden(&served.get(page).1);
            }
        }
        self.set(Mood::Rough);
        let before = served.metrics();
        wait_for("AWS to be well again", || scans(&served.metrics(), "complete") >= scans(&before, "complete") + 1.0);
        let after = served.metrics();
        assert_eq!((states(&after), ratio(&after)), (known, Some(0.9)));
        for code in ["ok", "throttled", "refused", "server_error"] {
            let requests = after.get("compliance_collector_requests_total", &[("collector", "aws"), ("code", code)]);
            assert!(requests.is_some_and(|n| n > 0.0), "{code}: {requests:?}");
        }
        for page in ["/", "/metrics", "/api/v1/runs", "/api/v1/controls"] {
            let (status, text) = served.get(page);
            assert_eq!(status, 200, "{page}");
            assert_hidden(&text);
        }
        assert_hidden(&served.log());
        assert!(served.log().contains("securityhub") || served.log().contains("config"), "the log is kept");
        assert_eq!(served.stop(), 0);
    }
}

/// What the chain finds, and nothing of this machine's.
fn env() -> Vec<(&'static str, String)> {
    let nowhere = if cfg!(windows) { "NUL" } else { "/dev/null" };
    let places = ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"].map(|name| (name, nowhere));
    KEYS.into_iter().chain(places).chain([("AWS_EC2_METADATA_DISABLED", "true")]).map(|(k, v)| (k, v.to_owned())).collect()
}

#[track_caller]
fn assert_hidden(text: &str) {
    for secret in SECRETS {
        let at = text.find(secret);
        let around = at.map(|at| text.get(at.saturating_sub(200)..at + secret.len()).unwrap_or(secret));
        assert!(at.is_none(), "a secret shows: …{}…", around.unwrap_or_default());
    }
}

#[test]
fn security_hub_is_exact_in_rough_hours() {
    Source::new("aws_security_hub", 1250).is_exact_in_rough_hours();
}

#[test]
fn security_hub_v2_is_exact_in_rough_hours() {
    Source::new("aws_security_hub_v2", 1250).is_exact_in_rough_hours();
}

#[test]
fn config_is_exact_in_rough_hours() {
    Source::new("aws_config", 1250).is_exact_in_rough_hours();
}

#[test]
fn security_hub_moves_nothing_in_bad_hours() {
    Source::new("aws_security_hub", 400).stands_still_in_bad_hours();
}

#[test]
fn security_hub_v2_moves_nothing_in_bad_hours() {
    Source::new("aws_security_hub_v2", 400).stands_still_in_bad_hours();
}

#[test]
fn config_moves_nothing_in_bad_hours() {
    Source::new("aws_config", 400).stands_still_in_bad_hours();
}
