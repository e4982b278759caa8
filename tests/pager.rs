//! From a definition to a page that somebody gets, and back: bornright, a real Prometheus and a real Alertmanager, with
//! the files that `generate alerts` writes. Only their windows and waits are shortened, sixty times, so that an hour of
//! them is a minute of the test.

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{Served, request, run, wait_for, write};

const TOKEN: &str = "a-token-that-nobody-guesses";
/// How many times shorter windows and waits are than what was generated.
const SHORTER: u64 = 60;

const DEFINITIONS: &str = r#"
apiVersion: bornright/v1
kind: ControlSet
metadata: { name: storage }
spec:
  version: 1.0.0
  owner: platform
  controls:
    - id: storage-private
      title: Storage is private
      nature: preventive
      severity: high
      checks: [ { format: native, id: bucket-private } ]
      fix_within: 7d
      rationale: Public storage leaks.
      remediation: Block public access.
      training: Read the storage chapter.
---
apiVersion: bornright/v1
kind: SLO
metadata: { name: storage }
spec:
  service: platform
  owner: platform
  controls: { ids: [storage-private] }
  objective: 99%
  period: 30d
  sli: resource_time
  scan_interval: 5m
---
apiVersion: bornright/v1
kind: SLO
metadata: { name: storage-evidence }
spec:
  service: platform
  owner: platform
  controls: { ids: [storage-private] }
  objective: 99%
  period: 30d
  sli: evidence_freshness
  scan_interval: 5m
"#;

const CONFIG: &str = r#"
listen: 127.0.0.1:0
ledger: { sqlite: { path: data/ledger.db } }
definitions: [defs]
scope: "{account}"
collectors:
  - name: ci
    every: 4s
    max_age: 12s
    from: { push: { token_file: token } }
    format: native
  - name: another
    every: 4s
    max_age: 12s
    from: { push: { token_file: token } }
    format: native
"#;

/// What the other scanner finds; no control asks for it.
const ANOTHER: &str = r#"{"check":"something-else","resource":{"id":"thing"},"result":"pass","fields":{"account":"433333333333"}}"#;

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port is free").port()
}

/// Twenty buckets in two accounts; all of them comply, or half of those in the first account do not.
fn scan(broken: bool) -> String {
    (0..20).fold(String::new(), |mut out, i| {
        let account = if i < 10 { "411111111111" } else { "422222222222" };
        let result = if broken && i < 5 { "fail" } else { "pass" };
        let _ = writeln!(
            out,
            r#"{{"check":"bucket-private","resource":{{"id":"bucket-{i}"}},"result":"{result}","fields":{{"account":"{account}"}}}}"#
        );
        out
    })
}

/// Notifications as they came: the receiver's path and the body.
#[derive(Clone, Default)]
struct Inbox(Arc<Mutex<Vec<(String, serde_json::Value)>>>);

impl Inbox {
    /// Listens for Alertmanager's webhooks until the test ends.
    fn listen(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let addr = listener.local_addr().expect("it has one");
        let inbox = self.0.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
                let mut got = Vec::new();
                let mut buffer = [0; 8192];
                let whole = |got: &[u8]| -> Option<(String, serde_json::Value)> {
                    let split = got.windows(4).position(|w| w == b"\r\n\r\n")?;
                    let path = String::from_utf8_lossy(&got[..split]).split(' ').nth(1)?.to_owned();
                    Some((path, serde_json::from_slice(&got[split + 4..]).ok()?))
                };
                while whole(&got).is_none() {
                    match stream.read(&mut buffer) {
                        Ok(0) | Err(_) => break,
                        Ok(n) => got.extend_from_slice(&buffer[..n]),
                    }
                }
                if let Some(message) = whole(&got) {
                    inbox.lock().expect("nobody panics with it").push(message);
                }
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        });
        addr
    }

    /// The newest alert with this name, status and labels, with the path that it came to.
    fn alert(&self, name: &str, status: &str, labels: &[(&str, &str)]) -> Option<(String, serde_json::Value)> {
        let inbox = self.0.lock().expect("nobody panics with it");
        inbox.iter().rev().find_map(|(path, body)| {
            let alerts = body["alerts"].as_array()?;
            let fits = |a: &&serde_json::Value| {
                a["labels"]["alertname"] == name && a["status"] == status && labels.iter().all(|(k, v)| a["labels"][*k] == *v)
            };
            alerts.iter().find(fits).map(|a| (path.clone(), a.clone()))
        })
    }

    fn show(&self) -> String {
        let inbox = self.0.lock().expect("nobody panics with it");
        inbox.iter().map(|(path, body)| format!("{path}: {body}\n")).collect()
    }
}

/// `1h30m` and the like, in seconds; `None` if it is no duration.
fn seconds(text: &str) -> Option<u64> {
    let mut total = 0;
    let mut number = String::new();
    for c in text.chars() {
        if c.is_ascii_digit() {
            number.push(c);
            continue;
        }
        let unit = match c {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            'w' => 7 * 86_400,
            'y' => 365 * 86_400,
            _ => return None,
        };
        total += std::mem::take(&mut number).parse::<u64>().ok()? * unit;
    }
    (number.is_empty() && total > 0).then_some(total)
}

fn shorter(text: &str) -> Option<String> {
    Some(format!("{}s", (seconds(text)? / SHORTER).max(1)))
}

/// Shortens what stands in brackets (ranges), behind `keys` (waits and intervals), and leaves names alone.
fn shortened(text: &str, keys: &[&str]) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let trimmed = line.trim_start().trim_start_matches("- ");
        if let Some((key, value)) = trimmed.split_once(": ")
            && keys.contains(&key)
            && let Some(short) = shorter(value)
        {
            out.push_str(&line[..line.len() - value.len()]);
            out.push_str(&short);
        } else {
            let mut rest = line;
            while let Some((before, after)) = rest.split_once('[') {
                out.push_str(before);
                out.push('[');
                match after.split_once(']').and_then(|(inside, after)| Some((shorter(inside)?, after))) {
                    Some((short, after)) => {
                        out.push_str(&short);
                        out.push(']');
                        rest = after;
                    }
                    None => rest = after,
                }
            }
            out.push_str(rest);
        }
        out.push('\n');
    }
    out
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, b| {
        if b.is_ascii_alphanumeric() {
            out.push(char::from(b));
        } else {
            let _ = write!(out, "%{b:02X}");
        }
        out
    })
}

fn get(addr: SocketAddr, path: &str) -> serde_json::Value {
    serde_json::from_str(&request(addr, "GET", path, &[], b"").1).unwrap_or_default()
}

/// The result of an instant query.
fn query(prometheus: SocketAddr, expr: &str) -> Vec<serde_json::Value> {
    get(prometheus, &format!("/api/v1/query?query={}", encoded(expr)))["data"]["result"].as_array().cloned().unwrap_or_default()
}

fn number(result: &serde_json::Value) -> f64 {
    result["value"][1].as_str().and_then(|v| v.parse().ok()).unwrap_or(f64::NAN)
}

/// Samples of the raw range of each matching series: (labels, (time, value) …).
fn samples(prometheus: SocketAddr, selector: &str) -> Vec<(serde_json::Value, Vec<(f64, f64)>)> {
    let points = |series: &serde_json::Value| {
        let values = series["values"].as_array().cloned().unwrap_or_default();
        values.iter().filter_map(|v| Some((v[0].as_f64()?, v[1].as_str()?.parse().ok()?))).collect()
    };
    query(prometheus, selector).iter().map(|s| (s["metric"].clone(), points(s))).collect()
}

struct Peers {
    prometheus: SocketAddr,
    alertmanager: SocketAddr,
    _children: [Killed; 2],
}

fn start_peers(dir: &Path, exporter: SocketAddr) -> Peers {
    let (prometheus, alertmanager, cluster) = (free_port(), free_port(), free_port());
    let log = |name: &str| Stdio::from(std::fs::File::create(dir.join(name)).expect("a log"));
    write(
        dir,
        "prometheus.yml",
        &format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             rule_files: ['{}/short/rules/*.yaml']\n\
             scrape_configs: [{{job_name: compliance-exporter, static_configs: [{{targets: ['{exporter}']}}]}}]\n\
             alerting: {{alertmanagers: [{{static_configs: [{{targets: ['127.0.0.1:{alertmanager}']}}]}}]}}\n",
            dir.display()
        ),
    );
    let child = Command::new("prometheus-alertmanager")
        .arg(format!("--config.file={}", dir.join("short/alertmanager.yml").display()))
        .arg(format!("--storage.path={}", dir.join("am").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{alertmanager}"))
        .arg(format!("--cluster.listen-address=127.0.0.1:{cluster}"))
        .stdout(Stdio::null())
        .stderr(log("alertmanager.log"))
        .spawn()
        .expect("install the package prometheus-alertmanager (./test does)");
    let am = Killed(child);
    let child = Command::new("prometheus")
        .arg(format!("--config.file={}", dir.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", dir.join("tsdb").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{prometheus}"))
        // Resend an alert as often as the shortened waits ask for.
        .args(["--rules.alert.resend-delay=2s", "--rules.alert.for-grace-period=1s"])
        .stdout(Stdio::null())
        .stderr(log("prometheus.log"))
        .spawn()
        .expect("install the package prometheus (./test does)");
    let prom = Killed(child);
    let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let ready = |addr: SocketAddr| std::net::TcpStream::connect(addr).is_ok() && request(addr, "GET", "/-/ready", &[], b"").0 == 200;
    wait_for("Prometheus and Alertmanager to be ready", || ready(at(prometheus)) && ready(at(alertmanager)));
    Peers { prometheus: at(prometheus), alertmanager: at(alertmanager), _children: [prom, am] }
}

/// Generates, shortens, and has both files checked by their own programs.
fn generate(dir: &Path, webhook: SocketAddr) {
    let url = format!("http://{webhook}");
    let (code, out, err) = run(dir, &["generate", "alerts", "--config", "bornright.yaml", "--out", ".", "--webhook-url", &url]);
    assert_eq!(code, 0, "{out}{err}");
    let rules: Vec<_> =
        std::fs::read_dir(dir.join("alerts/rules")).expect("rules were written").map(|e| e.expect("an entry").path()).collect();
    for path in &rules {
        let text = std::fs::read_to_string(path).expect("it is text");
        let name = path.file_name().expect("it has one").to_string_lossy();
        write(dir, &format!("short/rules/{name}"), &shortened(&text, &["interval", "for"]));
    }
    let text = std::fs::read_to_string(dir.join("alerts/alertmanager.yml")).expect("it was written");
    let short = write(dir, "short/alertmanager.yml", &shortened(&text, &["group_wait", "group_interval"]));
    for (program, args, what) in
        [("promtool", ["check", "rules"], rules[0].clone()), ("amtool", ["check-config", "--log.level=info"], short)]
    {
        let done = Command::new(program).args(args.iter().filter(|a| !a.starts_with("--"))).arg(&what).output().expect("it is installed");
        assert!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

#[test]
fn a_page_is_sent_when_a_control_breaks_and_ends_when_it_is_fixed() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    write(dir, "token", TOKEN);
    write(dir, "defs/storage.yaml", DEFINITIONS);
    write(dir, "bornright.yaml", CONFIG);
    let inbox = Inbox::default();
    generate(dir, inbox.listen());
    let served = Served::start(dir, &["serve", "--config", "bornright.yaml"]);
    let peers = start_peers(dir, served.addr);

    // The scanner: 0 it is dead, 1 all is well, 2 half of an account is broken.
    let (state, stop) = (Arc::new(AtomicU8::new(1)), Arc::new(AtomicBool::new(false)));
    let scanner = std::thread::spawn({
        // The address alone: were the program shared with the thread, a failing test would leave it running.
        let (addr, state, stop) = (served.addr, state.clone(), stop.clone());
        let push = move |collector: &str, body: &str| {
            let auth = format!("Authorization: Bearer {TOKEN}");
            request(addr, "POST", &format!("/api/v1/runs/{collector}"), &[&auth], body.as_bytes())
        };
        move || {
            while !stop.load(Ordering::Relaxed) {
                let now = state.load(Ordering::Relaxed);
                // Another source goes on: what is dead is one scanner, not the exporter's whole intake, which has its own alert.
                let (status, body) = push("another", ANOTHER);
                assert_eq!(status, 200, "{body}");
                if now > 0 {
                    let (status, body) = push("ci", &scan(now == 2));
                    assert_eq!(status, 200, "{body}");
                }
                std::thread::sleep(Duration::from_secs(2));
            }
        }
    });
    let told = |what: &str, name: &str, status: &str, labels: &[(&str, &str)]| {
        let begun = std::time::Instant::now();
        loop {
            if let Some(found) = inbox.alert(name, status, labels) {
                return found;
            }
            assert!(begun.elapsed() < Duration::from_secs(150), "waited in vain for {what}; so far came:\n{}", inbox.show());
            std::thread::sleep(Duration::from_millis(200));
        }
    };

    // All is well: data, and nobody is told anything.
    wait_for("ratios in Prometheus", || query(peers.prometheus, "slo:sli_error:ratio_rate5m{sloth_id=\"platform-storage\"}").len() == 1);
    std::thread::sleep(Duration::from_secs(8));
    assert!(inbox.alert("ComplianceErrorBudgetBurn", "firing", &[]).is_none(), "{}", inbox.show());

    // It breaks: a page, to whom it concerns, with what they need.
    state.store(2, Ordering::Relaxed);
    let page = [("sloth_severity", "page"), ("sloth_id", "platform-storage")];
    let (receiver, alert) = told("the page", "ComplianceErrorBudgetBurn", "firing", &page);
    assert!(receiver.contains("platform") && receiver.ends_with("page"), "{receiver}");
    let labels = &alert["labels"];
    for (name, value) in [("sloth_service", "platform"), ("sloth_slo", "storage"), ("severity", "critical"), ("owner", "platform")] {
        assert_eq!(labels[name], value, "{alert}");
    }
    for label in ["control", "scope", "sloth_window", "resource"] {
        assert!(labels[label].is_null(), "a label that would split the alert: {alert}");
    }
    let description = alert["annotations"]["description"].as_str().expect("it has one");
    assert!(description.contains("411111111111"), "the worst scope is named: {description}");
    assert!(!description.contains("<no value>") && !description.contains("error"), "{description}");
    let runbook = alert["annotations"]["runbook_url"].as_str().expect("it has one");
    let path = format!("/{}", runbook.splitn(4, '/').nth(3).unwrap_or_default().split('#').next().unwrap_or_default());
    assert_eq!(served.get(&path).0, 200, "the link leads somewhere: {runbook}");

    // The ticket of the same objective fires too (a little earlier, since all windows are as short as the history), and is
    // held back from now on.
    wait_for("the ticket to be held back", || {
        let alerts = get(peers.alertmanager, "/api/v2/alerts");
        alerts.as_array().is_some_and(|list| {
            list.iter().any(|a| {
                a["labels"]["sloth_severity"] == "ticket"
                    && a["labels"]["sloth_id"] == "platform-storage"
                    && a["status"]["state"] == "suppressed"
                    && a["status"]["inhibitedBy"].as_array().is_some_and(|by| !by.is_empty())
            })
        })
    });

    // The exporter's own numbers and those that Prometheus computes are the same. The 5m window is longer than the
    // test, so what it must hold is everything since the first scan.
    compare(&peers, "platform-storage");

    // It is fixed: the page ends.
    state.store(1, Ordering::Relaxed);
    told("the end of the page", "ComplianceErrorBudgetBurn", "resolved", &page);

    // The scanner dies: nothing turns green, somebody is told.
    state.store(0, Ordering::Relaxed);
    told("stale evidence", "ComplianceEvidenceStale", "firing", &[]);
    let metrics = served.metrics();
    let stale = metrics.get("compliance_resources", &[("control", "storage-private"), ("scope", "411111111111"), ("state", "unknown")]);
    assert_eq!(stale, Some(10.0));
    assert_eq!(metrics.get("compliance_ratio", &[("control", "storage-private"), ("scope", "411111111111")]), None);
    stop.store(true, Ordering::Relaxed);
    scanner.join().expect("every push was taken");
}

/// Holds `compliance_slo_error_ratio` against Prometheus: by the samples it has, where the two must be equal to the last
/// digits, and by the recorded expression, which extrapolates to the edges of its window.
fn compare(peers: &Peers, slo: &str) {
    let counters = samples(peers.prometheus, "compliance_resource_seconds_total{control=\"storage-private\"}[5m]");
    let mut own: BTreeMap<u64, f64> = BTreeMap::new();
    for (_, points) in samples(peers.prometheus, &format!("compliance_slo_error_ratio{{slo=\"{slo}\",window=\"5m\"}}[5m]")) {
        own.extend(points.into_iter().map(|(t, v)| ((t * 1000.0) as u64, v)));
    }
    let mut worst = 0.0f64;
    let mut compared = 0;
    for (&at, &ratio) in &own {
        // All samples of one scrape bear one time.
        let (mut bad, mut total) = (0.0, 0.0);
        for (labels, points) in &counters {
            let Some((_, v)) = points.iter().find(|(t, _)| (*t * 1000.0) as u64 == at) else { continue };
            match labels["state"].as_str() {
                Some("non_compliant") => (bad, total) = (bad + v, total + v),
                Some("compliant") => total += v,
                _ => {}
            }
        }
        if total > 0.0 {
            worst = worst.max((bad / total - ratio).abs());
            compared += 1;
        }
    }
    assert!(compared >= 5, "{compared} scrapes were compared");
    assert!(worst < 1e-9, "the exporter's ratio differs by {worst} from what its counters say");
    let bad = "sum(rate(compliance_resource_seconds_total{control=\"storage-private\",state=\"non_compliant\"}[5m]))";
    let total = "sum(rate(compliance_resource_seconds_total{control=\"storage-private\",state=~\"compliant|non_compliant\"}[5m]))";
    let promql = query(peers.prometheus, &format!("{bad} / {total}"));
    let exporter = query(peers.prometheus, &format!("compliance_slo_error_ratio{{slo=\"{slo}\",window=\"5m\"}}"));
    let (promql, exporter) = (number(&promql[0]), number(&exporter[0]));
    eprintln!(
        "over {compared} scrapes the exporter's error ratio differs by at most {worst:.1e} from its counters; \
         rate() says {promql:.6}, the exporter {exporter:.6}, difference {:.1e}",
        (promql - exporter).abs()
    );
    assert!((promql - exporter).abs() < 0.05, "rate() says {promql}, the exporter {exporter}");
}
