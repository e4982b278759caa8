//! What `bornright replay` says and what a real Prometheus says of its back-filled past: the same counters, the same error
//! ratios, the same minutes at which alerts fire. Needs `promtool` and `prometheus`.

mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use support::{request, run, wait_for, write};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
/// 2026-01-01T00:00:00Z, in seconds.
const T0: i64 = 1_767_225_600;

/// Two objectives over the same buckets, whose alerts are not slowed down by slow scans. 95 %: thresholds are 14.4, 6, 3 and
/// 1 times 0.05. `strict` counts what is unknown.
const DEFINITIONS: &str = "\
apiVersion: bornright/v1
kind: ControlSet
metadata: { name: storage }
spec:
  version: 1.0.0
  owner: platform
  controls:
    - { id: bucket-private, title: Buckets are private, severity: high, checks: [ { id: bucket-private } ], fix_within: 12h }
    - { id: bucket-encrypted, title: Buckets are encrypted, severity: low, checks: [ { id: bucket-encrypted } ], fix_within: 2d }
---
apiVersion: bornright/v1
kind: SLO
metadata: { name: private }
spec: { service: storage, controls: { ids: [bucket-private] }, objective: 95%, period: 30d, scan_interval: 5m }
---
apiVersion: bornright/v1
kind: SLO
metadata: { name: strict }
spec: { service: storage, controls: { set: storage }, objective: 95%, period: 30d, scan_interval: 5m, unknown: bad }
";

/// One of every other kind, and of every way to weigh and to compose.
const KINDS: &str = "\
---
apiVersion: bornright/v1
kind: SLO
metadata: { name: coverage }
spec: { service: kinds, controls: { set: storage }, objective: 95%, period: 30d, scan_interval: 5m, sli: coverage }
---
apiVersion: bornright/v1
kind: SLO
metadata: { name: fresh }
spec: { service: kinds, controls: { set: storage }, objective: 95%, period: 30d, scan_interval: 5m, sli: evidence_freshness }
---
apiVersion: bornright/v1
kind: SLO
metadata: { name: slices }
spec:
  service: kinds
  controls: { ids: [bucket-private] }
  objective: 95%
  period: 30d
  scan_interval: 5m
  sli: { time_slice: { slice: 1h, threshold: 90% } }
---
apiVersion: bornright/v1
kind: SLO
metadata: { name: fixes }
spec: { service: kinds, controls: { set: storage }, objective: 95%, period: 30d, scan_interval: 5m, sli: remediation_latency }
---
apiVersion: bornright/v1
kind: SLO
metadata: { name: severe }
spec:
  service: kinds
  controls: { set: storage }
  objective: 95%
  period: 30d
  scan_interval: 5m
  unknown: bad
  weights: { severity: { high: 3, low: 1 } }
---
apiVersion: bornright/v1
kind: SLO
metadata: { name: mean }
spec: { service: kinds, controls: { set: storage }, objective: 95%, period: 30d, scan_interval: 5m, weights: controls }
---
apiVersion: bornright/v1
kind: SLO
metadata: { name: encrypted }
spec: { service: storage, controls: { ids: [bucket-encrypted] }, objective: 95%, period: 30d, scan_interval: 5m }
---
apiVersion: bornright/v1
kind: SLO
metadata: { name: weighted }
spec:
  service: kinds
  composite: { mode: weighted, members: [ { slo: storage-private, weight: 2 }, { slo: storage-encrypted, weight: 1 } ] }
  objective: 95%
  period: 30d
---
apiVersion: bornright/v1
kind: SLO
metadata: { name: worst }
spec: { service: kinds, composite: { mode: worst, members: [storage-private, storage-encrypted] }, objective: 95%, period: 30d }
---
apiVersion: bornright/v1
kind: SLO
metadata: { name: pooled }
spec: { service: kinds, composite: { mode: pooled, members: [storage-private, storage-encrypted] }, objective: 95%, period: 30d }
---
apiVersion: bornright/v1
kind: SLO
metadata: { name: joint }
spec: { service: kinds, composite: { mode: joint, members: [storage-private, storage-encrypted] }, objective: 95%, period: 30d }
";

fn rfc(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).expect("a time of our days").to_string()
}

/// (at, complete, for each control and bucket whether it passes; `None`: not mentioned)
type Scan = (i64, bool, Vec<(&'static str, usize, bool)>);

fn lay_out(dir: &Path, more: &str, scans: &[Scan]) {
    write(dir, "d.yaml", &format!("{DEFINITIONS}{more}"));
    write(
        dir,
        "bornright.yaml",
        "definitions: [d.yaml]\nscope: \"{account}\"\ncollectors:\n  - { name: ci, every: 6h, max_age: 18h, from: { file: { path: nowhere/* } }, format: native }\n",
    );
    let mut list = Vec::new();
    for (i, (at, complete, findings)) in scans.iter().enumerate() {
        let mut lines = String::new();
        for (check, bucket, passes) in findings {
            let result = if *passes { "pass" } else { "fail" };
            let account = if *bucket < 20 { "acme" } else { "beta" };
            _ = writeln!(
                lines,
                "{{\"check\":\"{check}\",\"resource\":{{\"id\":\"bucket-{bucket}\"}},\"result\":\"{result}\",\"fields\":{{\"account\":\"{account}\"}}}}"
            );
        }
        write(dir, &format!("scans/{i}.ndjson"), &lines);
        list.push(format!("{{\"at\":\"{}\",\"collector\":\"ci\",\"path\":\"scans/{i}.ndjson\",\"complete\":{complete}}}", rfc(*at)));
    }
    write(dir, "scans.json", &format!("{{\"scans\":[{}]}}", list.join(",")));
}

fn replay(dir: &Path, args: &[&str]) -> String {
    let mut all = vec!["--log-level", "error", "replay", "--scans", "scans.json"];
    all.extend(args);
    let (code, out, err) = run(dir, &all);
    assert_eq!(code, 0, "{err}");
    out
}

/// A Prometheus over blocks that were back-filled from `openmetrics`; ended with the value.
struct Prometheus {
    child: Child,
    addr: SocketAddr,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

impl Prometheus {
    fn of(dir: &Path, openmetrics: &str) -> Prometheus {
        write(dir, "past.om", openmetrics);
        let made = Command::new("promtool")
            .args(["tsdb", "create-blocks-from", "openmetrics", "past.om", "db"])
            .current_dir(dir)
            .output()
            .expect("promtool is needed for this test: install the `prometheus` package");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        write(dir, "prometheus.yml", "");
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port is free").port();
        let child = Command::new("prometheus")
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=db", "--storage.tsdb.retention.time=50y"])
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .current_dir(dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus is needed for this test: install the `prometheus` package");
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let prometheus = Prometheus { child, addr };
        wait_for("Prometheus", || std::net::TcpStream::connect(addr).is_ok() && request(addr, "GET", "/-/ready", &[], b"").0 == 200);
        prometheus
    }

    fn ask(&self, path: &str, form: &[(&str, &str)]) -> Vec<Value> {
        let encoded: Vec<String> = form.iter().map(|(k, v)| format!("{k}={}", encode(v))).collect();
        let (status, body) =
            request(self.addr, "POST", path, &["Content-Type: application/x-www-form-urlencoded"], encoded.join("&").as_bytes());
        assert_eq!(status, 200, "{body}");
        let answer: Value = serde_json::from_str(&body).expect("JSON");
        answer["data"]["result"].as_array().expect("a list").clone()
    }

    /// The single value of `query` at `at`.
    fn value(&self, query: &str, at: i64) -> Option<f64> {
        let list = self.ask("/api/v1/query", &[("query", query), ("time", &at.to_string())]);
        assert!(list.len() < 2, "{query}: {list:?}");
        list.first().map(|r| r["value"][1].as_str().expect("a text").parse().expect("a number"))
    }

    /// The steps at which `query` has any result.
    fn steps(&self, query: &str, from: i64, to: i64) -> Vec<i64> {
        let form = [("query", query), ("start", &from.to_string()), ("end", &to.to_string()), ("step", "60")];
        let mut out: Vec<i64> = self
            .ask("/api/v1/query_range", &form)
            .iter()
            .flat_map(|s| s["values"].as_array().expect("a list").iter().map(|v| v[0].as_f64().expect("a time") as i64).collect::<Vec<_>>())
            .collect();
        out.sort_unstable();
        out.dedup();
        out
    }
}

fn encode(text: &str) -> String {
    text.bytes().map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// The families whose samples are looked at: a page has many more, and promtool reads a file once for every block.
fn only(openmetrics: &str, families: &[&str]) -> String {
    let mut out: String = openmetrics
        .lines()
        .filter(|l| {
            families
                .iter()
                .any(|f| l.strip_prefix("# HELP ").or(l.strip_prefix("# TYPE ")).or(l.strip_prefix("# UNIT ")).unwrap_or(l).starts_with(f))
        })
        .flat_map(|l| [l, "\n"])
        .collect();
    out.push_str("# EOF\n");
    out
}

/// T1 of the generated rules.
fn ratio(controls: &str, bad: &str, total: &str, window: &str) -> String {
    let rate =
        |states: &str| format!("sum(rate(compliance_resource_seconds_total{{control=~\"{controls}\",state=~\"{states}\"}}[{window}]))");
    format!("{} / ({} > 0)", rate(bad), rate(total))
}

/// (sloth_id, controls, bad states, total states)
const SLOS: [(&str, &str, &str, &str); 2] = [
    ("storage-private", "bucket-private", "non_compliant", "compliant|non_compliant"),
    ("storage-strict", "bucket-private|bucket-encrypted", "non_compliant|unknown", "compliant|non_compliant|unknown"),
];
const WINDOWS: [&str; 7] = ["5m", "30m", "1h", "2h", "6h", "1d", "3d"];

/// Scans at whole minutes: every number is exact.
#[test]
fn a_real_prometheus_has_the_same_counters_and_ratios() {
    let dir = tempfile::tempdir().expect("a directory");
    let scan = |hours: i64, complete, fails: &'static [usize], buckets: std::ops::Range<usize>| -> Scan {
        let findings = buckets.flat_map(|b| [("bucket-private", b, !fails.contains(&b)), ("bucket-encrypted", b, b != 3)]).collect();
        (T0 + hours * HOUR, complete, findings)
    };
    // A new scope at 9 h; silence from 14 h until evidence runs out at 32 h; back at 34 h.
    lay_out(
        dir.path(),
        "",
        &[
            scan(0, true, &[], 0..20),
            scan(5, true, &[1, 2, 5], 0..18),
            scan(9, true, &[1, 2, 21], 0..24),
            scan(14, false, &[4], 0..6),
            scan(34, true, &[21], 0..24),
        ],
    );
    let until = rfc(T0 + 36 * HOUR);
    let openmetrics = replay(dir.path(), &["--output", "openmetrics", "--until", &until]);
    let prometheus = Prometheus::of(dir.path(), &only(&openmetrics, &["compliance_resource_seconds", "compliance_resources"]));
    let at: Vec<i64> = (0..36).map(|i| T0 + i * HOUR + (i * 7 % 60) * MINUTE).chain([T0 + 32 * HOUR, T0 + 36 * HOUR]).collect();
    let asked: Vec<String> = at.iter().map(|t| rfc(*t)).collect();
    let mut args = vec!["--output", "json", "--until", &until];
    args.extend(asked.iter().flat_map(|t| ["--at", t.as_str()]));
    let (mut counters, mut ratios, mut none) = (0, 0, 0);
    let mut order: Vec<i64> = at.clone();
    order.sort_unstable();
    for (line, t) in replay(dir.path(), &args).lines().zip(order) {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let series = prometheus.ask("/api/v1/query", &[("query", "compliance_resource_seconds_total"), ("time", &t.to_string())]);
        let theirs: BTreeMap<String, String> = series
            .iter()
            .map(|s| {
                let label = |n: &str| s["metric"][n].as_str().unwrap_or_default().to_owned();
                let value: f64 = s["value"][1].as_str().expect("a text").parse().expect("a number");
                (format!("{}/{}/{}", label("control"), label("scope"), label("state")), value.to_string())
            })
            .collect();
        let mut ours = BTreeMap::new();
        for c in line["controls"].as_array().expect("a list") {
            for (state, seconds) in c["resource_seconds"].as_object().expect("an object") {
                let name = format!("{}/{}/{state}", c["control"].as_str().expect("a text"), c["scope"].as_str().expect("a text"));
                ours.insert(name, seconds.as_f64().expect("a number").to_string());
            }
        }
        assert_eq!(ours, theirs, "at {}", rfc(t));
        counters += ours.len();
        for (id, controls, bad, total) in SLOS {
            let slo = line["slos"].as_array().expect("a list").iter().find(|s| s["slo"] == id).expect("is there");
            for window in WINDOWS {
                let theirs = prometheus.value(&ratio(controls, bad, total, window), t);
                match (slo["error_ratio"][window].as_f64(), theirs) {
                    (Some(a), Some(b)) => {
                        assert!((a - b).abs() < 1e-9, "{id} over {window} at {}: {a}, Prometheus {b}", rfc(t));
                        assert!((slo["burn_rate"][window].as_f64().expect("a number") - a / 0.05).abs() < 1e-9);
                        ratios += 1;
                    }
                    (None, None) => none += 1,
                    (a, b) => panic!("{id} over {window} at {}: {a:?}, Prometheus {b:?}", rfc(t)),
                }
            }
            // The period has not been observed yet: all there is.
            assert_eq!(slo["period_error_ratio"], slo["error_ratio"]["30d"]);
        }
    }
    assert!(counters > 400 && ratios > 400 && none > 10, "{counters} counters, {ratios} ratios, {none} without data");
}

/// The whole document, with every family, is what promtool takes.
#[test]
fn promtool_takes_the_whole_page() {
    let dir = tempfile::tempdir().expect("a directory");
    lay_out(dir.path(), "", &[(T0, true, vec![("bucket-private", 1, true)]), (T0 + HOUR, true, vec![("bucket-private", 1, false)])]);
    let args = ["--output", "openmetrics", "--label", "job=compliance-exporter", "--label", "instance=x:1"];
    let prometheus = Prometheus::of(dir.path(), &replay(dir.path(), &args));
    let at = T0 + HOUR;
    assert_eq!(prometheus.value("up{job=\"compliance-exporter\",instance=\"x:1\"}", at), Some(1.0));
    assert_eq!(prometheus.value("compliance_resource_seconds_total{state=\"compliant\",job=\"compliance-exporter\"}", at), Some(3600.0));
    assert_eq!(prometheus.value("compliance_resources{state=\"non_compliant\"}", at), Some(1.0));
    assert_eq!(prometheus.value("compliance_drift_total", at), Some(1.0));
    assert_eq!(prometheus.value("count_over_time(compliance_collector_up[1h])", at), Some(61.0));
    assert_eq!(prometheus.value("compliance_exporter_last_ingest_timestamp_seconds", at - 1), Some(T0 as f64));
}

/// Scans at odd seconds, scopes that begin between two scrapes, ratios that stand exactly at a threshold (one of twenty
/// fails: 0.05 is 1 × 0.05): the same minutes as Prometheus.
#[test]
fn alerts_fire_in_the_same_minutes_as_in_prometheus() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut scans: Vec<Scan> = Vec::new();
    // (minutes, seconds, how many of the twenty of acme fail, beta: how many fail of how many)
    for (minutes, seconds, fails, (beta_fails, beta)) in [
        (3, 17, 0, (0, 0)),
        (4 * 60 + 7, 41, 1, (0, 0)),
        (13 * 60 + 2, 5, 4, (0, 0)),
        (14 * 60 + 11, 59, 20, (0, 0)),
        (15 * 60 + 20, 0, 0, (0, 0)),
        (16 * 60, 13, 0, (9, 10)),
        (17 * 60 + 33, 48, 2, (10, 10)),
        (19 * 60 + 1, 1, 7, (2, 10)),
        (26 * 60, 0, 1, (0, 10)),
        (46 * 60 + 12, 12, 0, (0, 10)),
    ] {
        let private = |b: usize, ok: bool| ("bucket-private", b, ok);
        let mut findings: Vec<_> = (0..20).flat_map(|b| [private(b, b >= fails), ("bucket-encrypted", b, true)]).collect();
        findings.extend((0..beta).map(|b| private(20 + b, b >= beta_fails)));
        scans.push((T0 + minutes * MINUTE + seconds, true, findings));
    }
    lay_out(dir.path(), "", &scans);
    let end = T0 + 52 * HOUR;
    let until = rfc(end);
    let openmetrics = replay(dir.path(), &["--output", "openmetrics", "--until", &until]);
    let prometheus = Prometheus::of(dir.path(), &only(&openmetrics, &["compliance_resource_seconds"]));
    let fired: Value = serde_json::from_str(&replay(dir.path(), &["--output", "alerts", "--until", &until])).expect("JSON");
    let compared: usize = SLOS
        .iter()
        .map(|(id, controls, bad, total)| {
            let page = [("5m", "1h", "14.4"), ("30m", "6h", "6")];
            compare(&prometheus, &fired, id, [&page, &TICKETS], end, &|w| ratio(controls, bad, total, w))
        })
        .sum();
    assert!(compared > 300, "{compared} minutes");
}

/// (short, long, factor)
type Tier = (&'static str, &'static str, &'static str);
const TICKETS: [Tier; 2] = [("2h", "1d", "3"), ("6h", "3d", "1")];

/// The minutes in which pages and tickets of `id` fire, here and in Prometheus; how many there were.
fn compare(prometheus: &Prometheus, fired: &Value, id: &str, tiers: [&[Tier]; 2], end: i64, ratio: &dyn Fn(&str) -> String) -> usize {
    let mut compared = 0;
    for (severity, tiers) in ["page", "ticket"].into_iter().zip(tiers) {
        let over = |window: &str, factor: &str| format!("(({}) > ({factor} * 0.05))", ratio(window));
        let expr: Vec<String> = tiers.iter().map(|(s, l, f)| format!("({} and {})", over(s, f), over(l, f))).collect();
        let theirs = prometheus.steps(&expr.join(" or "), T0, end);
        let time = |v: &Value| v.as_str().map(|t| t.parse::<jiff::Timestamp>().expect("a time").as_second());
        let mut ours = Vec::new();
        for alert in fired.as_array().expect("a list").iter().filter(|a| a["slo"] == id && a["severity"] == severity) {
            let from = time(&alert["from"]).expect("always there");
            ours.extend((from..time(&alert["until"]).unwrap_or(end + 1)).step_by(60));
        }
        let odd = |a: &[i64], b: &[i64]| a.iter().filter(|t| !b.contains(t)).map(|t| rfc(*t)).collect::<Vec<_>>();
        assert!(ours == theirs, "{id} {severity}: only ours {:?}, only Prometheus' {:?}", odd(&ours, &theirs), odd(&theirs, &ours));
        compared += theirs.len();
    }
    assert!(compared > 0, "{id} never fired: the case tells nothing");
    compared
}

/// Every kind of SLI, weights and composites, by expressions written for each here.
#[test]
fn every_kind_of_objective_fires_in_the_same_minutes() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut scans: Vec<Scan> = Vec::new();
    // (minutes, how many of twenty are not private, how many are not encrypted)
    for (minutes, private, encrypted) in [
        (3, 0, 0),
        (4 * 60 + 7, 1, 0),
        (13 * 60 + 2, 4, 9),
        (14 * 60 + 11, 20, 11),
        (15 * 60 + 20, 0, 0),
        (17 * 60 + 33, 3, 1),
        (28 * 60, 6, 0),
        (49 * 60 + 12, 0, 0),
        (51 * 60 + 41, 0, 2),
    ] {
        let findings = (0..20).flat_map(|b| [("bucket-private", b, b >= private), ("bucket-encrypted", b, b < 20 - encrypted)]);
        scans.push((T0 + minutes * MINUTE, true, findings.collect()));
    }
    lay_out(dir.path(), KINDS, &scans);
    let end = T0 + 54 * HOUR;
    let until = rfc(end);
    let openmetrics = replay(dir.path(), &["--output", "openmetrics", "--until", &until]);
    let families = ["compliance_resource_seconds", "compliance_evidence_seconds", "compliance_slices", "compliance_remediation_deadlines"];
    let prometheus = Prometheus::of(dir.path(), &only(&openmetrics, &families));
    let fired: Value = serde_json::from_str(&replay(dir.path(), &["--output", "alerts", "--until", &until])).expect("JSON");
    let sum = |metric: &str, labels: &str, w: &str| format!("sum(rate({metric}{{{labels}}}[{w}]))");
    let seconds = |labels: &str, w: &str| sum("compliance_resource_seconds_total", labels, w);
    let (known, strict) = ("compliant|non_compliant", "compliant|non_compliant|unknown");
    let of = |control: &str, w: &str| ratio(control, "non_compliant", known, w);
    let page: &[Tier] = &[("5m", "1h", "14.4"), ("30m", "6h", "6")];
    // Worked by hand from slo.md section 5.3: events need short windows of two scans, slices those of two slices.
    let events: &[Tier] = &[("10m", "1h", "14.4"), ("30m", "6h", "6")];
    let slices: &[Tier] = &[("2h", "8h", "6")];
    let check = |id: &str, page: &[Tier], ratio: &dyn Fn(&str) -> String| compare(&prometheus, &fired, id, [page, &TICKETS], end, ratio);
    let both = "control=~\"bucket-private|bucket-encrypted\"";
    let mut compared = 0;
    compared += check("kinds-coverage", page, &|w| {
        ratio("bucket-private|bucket-encrypted", "unknown", "compliant|non_compliant|unknown|waived", w)
    });
    compared += check("kinds-fresh", page, &|w| {
        let of = |states: &str| sum("compliance_evidence_seconds_total", &format!("{both},state=~\"{states}\""), w);
        format!("{} / ({} > 0)", of("stale"), of("fresh|stale"))
    });
    compared += check("kinds-slices", slices, &|w| {
        let of = |outcomes: &str| sum("compliance_slices_total", &format!("slo=\"kinds-slices\",outcome=~\"{outcomes}\""), w);
        format!("{} / ({} > 0)", of("bad"), of("good|bad"))
    });
    compared += check("kinds-fixes", events, &|w| {
        let of = |outcomes: &str| sum("compliance_remediation_deadlines_total", &format!("{both},outcome=~\"{outcomes}\""), w);
        format!("{} / ({} > 0)", of("missed"), of("met|missed"))
    });
    compared += check("kinds-severe", page, &|w| {
        let of = |states: &str| {
            let one = |control: &str| seconds(&format!("control=\"{control}\",state=~\"{states}\""), w);
            format!("(3 * {} + {})", one("bucket-private"), one("bucket-encrypted"))
        };
        format!("{} / ({} > 0)", of("non_compliant|unknown"), of(strict))
    });
    compared += check("kinds-mean", page, &|w| {
        let of = |states: &str| format!("sum by (control) (rate(compliance_resource_seconds_total{{{both},state=~\"{states}\"}}[{w}]))");
        format!("avg({} / ({} > 0))", of("non_compliant"), of(known))
    });
    compared += check("kinds-weighted", page, &|w| format!("(2 * ({}) + ({})) / 3", of("bucket-private", w), of("bucket-encrypted", w)));
    compared += check("kinds-worst", page, &|w| {
        let (a, b) = (of("bucket-private", w), of("bucket-encrypted", w));
        format!("((({a}) >= ({b})) or ({b}))")
    });
    compared += check("kinds-pooled", page, &|w| of("bucket-private|bucket-encrypted", w));
    compared += check("kinds-joint", page, &|w| of("kinds-joint", w));
    assert!(compared > 3000, "{compared} minutes");
}
