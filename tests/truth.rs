//! The laws, as somebody outside sees them: whatever goes wrong with a source, nothing turns green; whatever happens to
//! the process, no counter falls and nothing is counted twice.

mod support;

use std::path::Path;
use std::time::Duration;
use support::{Metrics, Served, run, wait_for, write};

const TOKEN: &str = "a-token-that-nobody-guesses";

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
      requirements: { nist-800-53-r5: [AC-3] }
      checks: [ { id: bucket-private } ]
      fix_within: 7d
      rationale: Public storage leaks.
      remediation: Block public access.
      training: Read the storage chapter.
    - id: host-hardened
      title: Hosts are hardened
      nature: detective
      severity: medium
      requirements: { nist-800-53-r5: [CM-6] }
      checks: [ { format: xccdf, id: "*" } ]
      fix_within: 30d
      rationale: Defaults are soft.
      remediation: Apply the benchmark.
      training: Read the hardening chapter.
---
apiVersion: bornright/v1
kind: SLO
metadata: { name: storage }
spec:
  service: platform
  controls: { ids: [storage-private] }
  objective: 90%
  period: 30d
  sli: resource_time
"#;

fn set_up(dir: &Path, extra: &str) {
    write(dir, "token", TOKEN);
    write(dir, "defs/storage.yaml", DEFINITIONS);
    write(
        dir,
        "bornright.yaml",
        &format!(
            r#"
listen: 127.0.0.1:0
ledger: {{ sqlite: {{ path: data/ledger.db }} }}
definitions: [defs]
scope: "{{account|host}}"
collectors:
  - name: ci
    every: 1d
    from: {{ push: {{ token_file: token }} }}
    format: native
  - name: hosts
    every: 1d
    from: {{ push: {{ token_file: token }} }}
    format: xccdf
{extra}"#
        ),
    );
}

/// Native findings: `result` of bucket 0, 1, 2 …
fn scan(results: &str) -> String {
    results
        .chars()
        .enumerate()
        .map(|(i, c)| {
            let result = match c {
                '+' => "pass",
                '-' => "fail",
                'e' => "error",
                _ => "not_applicable",
            };
            format!("{{\"check\":\"bucket-private\",\"resource\":{{\"id\":\"arn:aws:s3:::bucket-{i}\"}},\"result\":\"{result}\",\"fields\":{{\"account\":\"acme\"}}}}\n")
        })
        .collect()
}

fn states(m: &Metrics) -> [f64; 4] {
    ["compliant", "non_compliant", "unknown", "waived"]
        .map(|s| m.get("compliance_resources", &[("control", "storage-private"), ("scope", "acme"), ("state", s)]).unwrap_or(-1.0))
}

#[test]
fn whatever_a_source_does_nothing_turns_green() {
    let dir = tempfile::tempdir().unwrap();
    set_up(dir.path(), "");
    let served = Served::start(dir.path(), &["serve"]);
    assert_eq!(served.get("/-/ready").0, 503, "nothing was collected yet");
    assert_eq!(served.metrics().get("compliance_ratio", &[]), None, "no evidence, no ratio");
    let (status, answer) = served.push("ci", TOKEN, scan("++-+-").as_bytes());
    assert_eq!((status, &answer["complete"]), (200, &serde_json::json!(true)), "{answer}");
    assert_eq!(served.get("/-/ready").0, 200);
    let good = served.metrics();
    assert_eq!(states(&good), [3.0, 2.0, 0.0, 0.0]);
    assert_eq!(good.get("compliance_ratio", &[("control", "storage-private")]), Some(0.6));

    let slos: serde_json::Value = serde_json::from_str(&served.get("/api/v1/slos").1).unwrap();
    let slo = &slos["items"][0];
    assert_eq!(
        (&slo["slo"], &slo["now"]["ratio"], &slo["now"]["holds"]),
        (&"platform-storage".into(), &0.6.into(), &false.into()),
        "{slos}"
    );

    // Truncated in a record, emptied, corrupted, another format, an error page, only errors, nothing applicable at all.
    let whole = scan("+++++");
    let broken: [(&str, String); 7] = [
        ("truncated", whole[..whole.len() * 3 / 5 + 20].to_owned()),
        ("emptied", String::new()),
        ("white space", "\n \n".to_owned()),
        ("corrupted", "\u{1}\u{2}{{{{".to_owned()),
        ("an array of nothing", "[]".to_owned()),
        ("an error page", "<html><body>502 Bad Gateway</body></html>".to_owned()),
        ("another format", r#"{"Findings":[]}"#.to_owned()),
    ];
    for (what, body) in broken {
        let (_, answer) = served.push("ci", TOKEN, body.as_bytes());
        let m = served.metrics();
        let [comply, fail, ..] = states(&m);
        if what == "truncated" {
            // What came was true: three buckets were seen to comply. What did not come stays as it was.
            assert_eq!(states(&m), [4.0, 1.0, 0.0, 0.0], "{what}: {answer}");
            served.push("ci", TOKEN, scan("++-+-").as_bytes());
        } else {
            assert_eq!([comply, fail], [3.0, 2.0], "{what}: {answer}");
        }
        assert_ne!(answer["complete"], serde_json::json!(true), "{what}: {answer}");
    }
    let (_, answer) = served.push("ci", TOKEN, scan("eeeee").as_bytes());
    assert_eq!(states(&served.metrics()), [3.0, 2.0, 0.0, 0.0], "a scanner that fails on everything clears nothing: {answer}");
    // A bucket that a complete scan no longer mentions is gone; the rest is as told.
    served.push("ci", TOKEN, scan("++-+").as_bytes());
    assert_eq!(states(&served.metrics()), [3.0, 1.0, 0.0, 0.0]);

    // A host is scanned, then scanned with the content of another platform.
    let gunzip = |name: &str| {
        let mut text = Vec::new();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats/xccdf").join(name);
        std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(std::fs::File::open(path).unwrap()), &mut text).unwrap();
        text
    };
    let (_, answer) = served.push("hosts", TOKEN, &gunzip("debian11-anssi_minimal.arf.xml.gz"));
    assert_eq!(answer["complete"], serde_json::json!(true), "{answer}");
    let failing = |m: &Metrics| m.get("compliance_resources", &[("control", "host-hardened"), ("state", "non_compliant")]);
    let before = failing(&served.metrics());
    assert_eq!(before, Some(1.0));
    let (_, answer) = served.push("hosts", TOKEN, &gunzip("debian11-standard-WRONG-PLATFORM-all-notapplicable.xccdf-results.xml.gz"));
    assert_ne!(answer["complete"], serde_json::json!(true));
    assert!(answer.to_string().contains("wrong_platform"), "{answer}");
    assert_eq!(failing(&served.metrics()), before);

    // Whoever has no token says nothing.
    assert_eq!(served.push("ci", "wrong", scan("+++++").as_bytes()).0, 401);
    assert!(!served.log().contains(TOKEN), "no secret in any log");
    assert_eq!(served.stop(), 0);
    let (code, out, err) = run(dir.path(), &["ledger", "verify", "--config", "bornright.yaml"]);
    assert_eq!(code, 0, "{out}{err}");
}

#[test]
fn kill_dash_nine_at_any_instant_loses_and_doubles_nothing() {
    let dir = tempfile::tempdir().unwrap();
    set_up(dir.path(), "");
    let begun = support::now();
    let mut last: Vec<(String, f64)> = Vec::new();
    let mut pushed = 0u32;
    for round in 0..10u64 {
        let served = Served::start(dir.path(), &["serve"]);
        let m = served.metrics();
        for (series, before) in &last {
            let after = m.counters().into_iter().find(|(s, _)| s == series).map(|(_, v)| v);
            assert!(after.is_some_and(|a| a >= *before), "round {round}: {series} was {before}, is {after:?}");
        }
        // Two pushes that are answered, one that may be cut off.
        for results in ["+-+-+-+-", "-+-+-+-+"] {
            let (status, answer) = served.push("ci", TOKEN, scan(results).as_bytes());
            assert_eq!(status, 200, "{answer}");
            pushed += 1;
        }
        let m = served.metrics();
        assert_eq!(states(&m), [4.0, 4.0, 0.0, 0.0]);
        // What the process counts of itself begins anew with it; what the ledger keeps does not.
        last = m.counters().into_iter().filter(|(s, _)| !s.starts_with("compliance_exporter_")).collect();
        let addr = served.addr;
        let cut_off = std::thread::spawn(move || {
            let auth = format!("Authorization: Bearer {TOKEN}");
            std::panic::catch_unwind(|| {
                support::request(addr, "POST", "/api/v1/runs/ci", &[&auth], scan(&"+-".repeat(2000)[..8]).as_bytes())
            })
            .is_ok()
        });
        std::thread::sleep(Duration::from_millis(round * 3));
        served.kill();
        let _ = cut_off.join();
        let (code, out, err) = run(dir.path(), &["ledger", "verify", "--config", "bornright.yaml", "--output", "json"]);
        assert_eq!(code, 0, "round {round}: {out}{err}");
    }
    let served = Served::start(dir.path(), &["serve"]);
    let m = served.metrics();
    let elapsed = support::now() - begun;
    let spent: f64 = ["compliant", "non_compliant", "unknown", "waived"]
        .map(|s| m.get("compliance_resource_seconds_total", &[("control", "storage-private"), ("scope", "acme"), ("state", s)]).unwrap())
        .iter()
        .sum();
    assert!(spent <= 8.0 * elapsed, "8 resources for {elapsed} s cannot have spent {spent} s");
    assert!(spent >= 8.0 * elapsed * 0.5, "the down time is held, not forgiven: {spent} of {}", 8.0 * elapsed);
    let runs = m.get("compliance_collector_scans_total", &[("collector", "ci"), ("outcome", "complete")]).unwrap();
    assert!(runs >= f64::from(pushed) && runs <= f64::from(pushed + 10), "{runs} runs, {pushed} were answered and 10 cut off");
}

#[test]
fn a_clock_that_goes_back_neither_forgives_nor_burns() {
    let dir = tempfile::tempdir().unwrap();
    set_up(dir.path(), "");
    let served = Served::start(dir.path(), &["serve"]);
    served.push("ci", TOKEN, scan("+-").as_bytes());
    let before = served.metrics();
    assert_eq!(served.stop(), 0);
    // The counters were last shown an hour from now: the clock has gone back since.
    let config = bornright::ledger::Config::Sqlite { path: dir.path().join("data/ledger.db") };
    let mut mark = bornright::ledger::HighWaterMark::open(&config).unwrap();
    let future = bornright::domain::Moment(((support::now() + 3600.0) * 1000.0) as i64);
    mark.raise(future).unwrap();
    drop(mark);
    let served = Served::start(dir.path(), &["serve"]);
    let seconds =
        |m: &Metrics| m.get("compliance_resource_seconds_total", &[("control", "storage-private"), ("state", "non_compliant")]).unwrap();
    let first = served.metrics();
    assert!(seconds(&first) >= seconds(&before) + 3600.0, "what was shown is not taken back");
    wait_for("time to pass", || support::now() > 0.0);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(seconds(&served.metrics()), seconds(&first), "counters stand still until the clock has caught up");
    served.push("ci", TOKEN, scan("++").as_bytes());
    for (series, value) in first.counters() {
        let now = served.metrics().counters().into_iter().find(|(s, _)| *s == series).map(|(_, v)| v);
        assert!(now.is_some_and(|n| n >= value), "{series} fell from {value} to {now:?}");
    }
}

#[test]
fn gate_answers_yes_no_or_could_not_tell() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "defs/storage.yaml", DEFINITIONS);
    write(
        dir.path(),
        "bornright.yaml",
        r#"
definitions: [defs]
scope: "{account}"
collectors:
  - name: scan
    every: 1d
    from: { file: { path: "scan.ndjson", settle: 0s } }
    format: native
"#,
    );
    let verdict = |results: Option<&str>| {
        match results {
            Some(r) => drop(write(dir.path(), "scan.ndjson", &scan(r))),
            None => drop(std::fs::remove_file(dir.path().join("scan.ndjson"))),
        }
        run(dir.path(), &["gate"])
    };
    let (code, out, err) = verdict(Some("+++++++++-"));
    assert_eq!(code, 0, "90 % is 90 %:\n{out}{err}");
    assert!(out.contains("holds: platform-storage wants 90.00 %, is 90.00 %"), "{out}");
    let (code, out, err) = verdict(Some("++++++++--"));
    assert_eq!(code, 1, "{out}{err}");
    assert!(out.contains("FAILS: platform-storage"), "{out}");
    let (code, out, err) = verdict(Some(""));
    assert_eq!(code, 2, "{out}{err}");
    let (code, out, err) = verdict(Some("eeee"));
    assert_eq!(code, 2, "{out}{err}");
    let (code, out, err) = verdict(None);
    assert_eq!(code, 2, "{out}{err}");
    let (code, _, err) = run(tempfile::tempdir().unwrap().path(), &["gate"]);
    assert_eq!(code, 2);
    assert!(err.contains("there is no bornright.yaml"), "{err}");
}

#[test]
fn a_scan_that_may_not_be_read_is_no_pass() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let dir = tempfile::tempdir().unwrap();
    let mode = |name: &str, mode: u32| std::fs::set_permissions(dir.path().join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    mode("", 0o755);
    write(dir.path(), "defs/storage.yaml", DEFINITIONS);
    write(
        dir.path(),
        "bornright.yaml",
        "definitions: [defs]\nscope: \"{account}\"\ncollectors:\n  - { name: scan, every: 1d, format: native, from: { file: { path: \"*.ndjson\", settle: 0s, runs: all } } }\n",
    );
    write(dir.path(), "open.ndjson", &scan("+++++"));
    write(dir.path(), "shut.ndjson", &scan("-----"));
    mode("shut.ndjson", 0o000);
    // Root may read everything, so the program runs as nobody, from a place that nobody can reach.
    let program = dir.path().join("bornright");
    std::fs::copy(env!("CARGO_BIN_EXE_bornright"), &program).unwrap();
    let mut gate = std::process::Command::new(&program);
    gate.current_dir(dir.path()).arg("gate");
    if std::fs::read(dir.path().join("shut.ndjson")).is_ok() {
        gate.uid(65_534).gid(65_534);
    }
    let out = gate.output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    assert_eq!(out.status.code(), Some(2), "half of the scan could not be read:\n{said}{}", String::from_utf8_lossy(&out.stderr));
    assert!(said.contains("shut.ndjson: denied: permission denied"), "{said}");
}

#[test]
fn a_reload_that_fails_changes_nothing_but_a_metric() {
    let dir = tempfile::tempdir().unwrap();
    set_up(dir.path(), "");
    let served = Served::start(dir.path(), &["serve"]);
    served.push("ci", TOKEN, scan("+-").as_bytes());
    write(dir.path(), "defs/broken.yaml", "apiVersion: bornright/v1\nkind: ControlSte\n");
    let (status, said) = support::request(served.addr, "POST", "/-/reload", &[], b"");
    assert!(status >= 400 && said.contains("broken.yaml:1"), "{status} {said}");
    let m = served.metrics();
    assert_eq!((states(&m), m.get("compliance_config_last_reload_successful", &[])), ([1.0, 1.0, 0.0, 0.0], Some(0.0)));
    // A waiver comes into force with a reload, at once.
    std::fs::remove_file(dir.path().join("defs/broken.yaml")).unwrap();
    write(
        dir.path(),
        "defs/waivers.yaml",
        "apiVersion: bornright/v1\nkind: WaiverSet\nmetadata: { name: w }\nspec:\n  waivers:\n    - { id: one, control: storage-private, resource: \"arn:aws:s3:::bucket-1\", reason: legacy, owner: ops, ticket: T-1, from: 2020-01-01T00:00:00Z, until: 2099-01-01T00:00:00+02:00 }\n",
    );
    let (status, said) = support::request(served.addr, "POST", "/-/reload", &[], b"");
    assert_eq!(status, 200, "{said}");
    let m = served.metrics();
    assert_eq!((states(&m), m.get("compliance_config_last_reload_successful", &[])), ([1.0, 0.0, 0.0, 1.0], Some(1.0)));
    assert_eq!(served.stop(), 0);
    assert_eq!(run(dir.path(), &["ledger", "verify", "--config", "bornright.yaml"]).0, 0);
    // The waiver is taken back while nothing runs: the down time still counts under it, from the start on it does not.
    std::fs::remove_file(dir.path().join("defs/waivers.yaml")).unwrap();
    let served = Served::start(dir.path(), &["serve"]);
    assert_eq!(states(&served.metrics()), [1.0, 1.0, 0.0, 0.0]);
    let by_waiver = [("control", "storage-private"), ("cause", "waiver")];
    assert_eq!(served.metrics().get("compliance_transitions_total", &by_waiver), Some(2.0), "there and back, both by the waiver");
    assert_eq!(served.stop(), 0);
    assert_eq!(run(dir.path(), &["ledger", "verify", "--config", "bornright.yaml"]).0, 0);
}

/// A push speaks for whom it names: what one repository's clean report does not list stays open in another.
#[test]
fn a_push_of_violations_closes_nothing_in_scopes_that_it_does_not_name() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    write(dir, "token", TOKEN);
    write(
        dir,
        "defs/code.yaml",
        "apiVersion: bornright/v1\nkind: ControlSet\nmetadata: { name: code }\nspec:\n  version: 1.0.0\n  owner: platform\n  controls:\n    - { id: no-injection, title: No injection, severity: high, checks: [ { format: sarif, id: injection } ] }\n",
    );
    write(
        dir,
        "bornright.yaml",
        "definitions: [defs]\nscope: '{repository}'\ncollectors:\n  - { name: ci, every: 1d, from: { push: { token_file: token } }, format: sarif }\n  - { name: one, every: 1d, from: { push: { token_file: token } }, format: sarif, fields: { repository: one } }\n  - { name: two, every: 1d, from: { push: { token_file: token } }, format: sarif, fields: { repository: two } }\n",
    );
    let served = Served::start(dir, &["serve", "--config", "bornright.yaml"]);
    let report = |results: &str| {
        format!(
            r#"{{"version":"2.1.0","runs":[{{"tool":{{"driver":{{"name":"t","rules":[{{"id":"injection"}}]}}}},"results":[{results}]}}]}}"#
        )
    };
    let hit = r#"{"ruleId":"injection","level":"error","message":{"text":"m"},"locations":[{"physicalLocation":{"artifactLocation":{"uri":"a.py"}}}]}"#;
    let failing = |scope: &str| {
        served.metrics().get("compliance_resources", &[("control", "no-injection"), ("scope", scope), ("state", "non_compliant")])
    };
    for repository in ["one", "two"] {
        let (status, body) = served.push(repository, TOKEN, report(hit).as_bytes());
        assert_eq!(status, 200, "{body}");
    }
    assert_eq!((failing("one"), failing("two")), (Some(1.0), Some(1.0)));
    // Nobody knows of whom an empty report without a repository speaks: nothing is closed.
    let (status, body) = served.push("ci", TOKEN, report("").as_bytes());
    assert_eq!(status, 200, "{body}");
    assert_eq!((failing("one"), failing("two")), (Some(1.0), Some(1.0)));
    // The first one's own empty report closes what is its own.
    let (status, body) = served.push("one", TOKEN, report("").as_bytes());
    assert_eq!(status, 200, "{body}");
    assert_eq!((failing("one"), failing("two")), (Some(0.0), Some(1.0)));
}

/// A log that nobody reads any more is no reason to stop working, nor to refuse to stop.
#[test]
fn a_closed_log_neither_stops_it_nor_keeps_it_from_stopping() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    set_up(dir, "");
    let mut child = support::bornright()
        .current_dir(dir)
        .args(["--log-format", "json", "serve", "--config", "bornright.yaml", "--listen", "127.0.0.1:0"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut log = std::io::BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    let addr = loop {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut log, &mut line).expect("text") > 0, "it never said where it listens");
        let event: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        if let Some(addr) = event["address"].as_str().and_then(|a| a.parse().ok()) {
            break addr;
        }
    };
    drop(log);
    let auth = format!("Authorization: Bearer {TOKEN}");
    // Each run is logged, twice over the writer's thread.
    for _ in 0..2 {
        let (status, body) = support::request(addr, "POST", "/api/v1/runs/ci", &[&auth], scan("++-").as_bytes());
        assert_eq!(status, 200, "{body}");
    }
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().expect("kill is there").success());
    let deadline = std::time::Instant::now() + support::PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("it is our child") {
            break status;
        }
        if std::time::Instant::now() > deadline {
            let _ = child.kill();
            panic!("it does not stop");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(status.code(), Some(0));
}
