//! Objectives on the running program: composites that judge resources as wholes, slices, budgets over a restart.

mod support;

use std::fmt::Write as _;
use std::path::Path;
use support::{Metrics, Served, write};

const TOKEN: &str = "a-token-that-nobody-guesses";

const DEFINITIONS: &str = r#"
apiVersion: bornright/v1
kind: ControlSet
metadata: { name: storage }
spec:
  version: 1.0.0
  owner: platform
  controls:
    - { id: private, title: Private, nature: preventive, severity: high, checks: [ { format: native, id: private } ], fix_within: 7d }
    - { id: encrypted, title: Encrypted, nature: preventive, severity: high, checks: [ { format: native, id: encrypted } ] }
---
apiVersion: bornright/v1
kind: SLO
metadata: { name: private }
spec: { service: platform, controls: { ids: [private] }, objective: 90%, period: 30d, unknown: bad }
---
apiVersion: bornright/v1
kind: SLO
metadata: { name: encrypted }
spec: { service: platform, controls: { ids: [encrypted] }, objective: 90%, period: 30d, unknown: bad }
---
apiVersion: bornright/v1
kind: SLO
metadata: { name: whole }
spec:
  service: platform
  composite: { mode: joint, members: [ { slo: platform-private }, { slo: platform-encrypted } ] }
  objective: 90%
  period: 30d
  unknown: bad
---
apiVersion: bornright/v1
kind: SLO
metadata: { name: fixes }
spec: { service: platform, controls: { ids: [private] }, objective: 90%, period: 30d, sli: remediation_latency }
"#;

fn set_up(dir: &Path) {
    write(dir, "token", TOKEN);
    write(dir, "defs/all.yaml", DEFINITIONS);
    write(
        dir,
        "bornright.yaml",
        "ledger: { sqlite: { path: data/ledger.db } }\ndefinitions: [defs]\nscope: '{account}'\ncollectors:\n  - { name: ci, every: 1d, from: { push: { token_file: token } }, format: native }\n",
    );
}

/// For each check the results of bucket 0, 1, 2 …
fn scan(checks: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (check, results) in checks {
        for (i, r) in results.chars().enumerate() {
            let result = match r {
                'p' => "pass",
                'f' => "fail",
                _ => "not_applicable",
            };
            let _ =
                writeln!(out, r#"{{"check":"{check}","resource":{{"id":"bucket-{i}"}},"result":"{result}","fields":{{"account":"one"}}}}"#);
        }
    }
    out
}

fn counts(metrics: &Metrics, control: &str) -> [f64; 4] {
    ["compliant", "non_compliant", "unknown", "waived"].map(|state| {
        metrics.get("compliance_resources", &[("control", control), ("scope", "one"), ("state", state)]).expect("all states are there")
    })
}

#[test]
fn a_joint_objective_judges_a_resource_by_all_that_applies_to_it_over_a_restart_too() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    set_up(dir);
    let served = Served::start(dir, &["serve", "--config", "bornright.yaml"]);
    // Bucket 0 passes both, 1 fails one, 2 the other, 3 has only one that applies, 4 has none.
    let (status, body) = served.push("ci", TOKEN, scan(&[("private", "pfppn"), ("encrypted", "ppfnn")]).as_bytes());
    assert_eq!(status, 200, "{body}");
    let before = served.metrics();
    assert_eq!(counts(&before, "platform-whole"), [2.0, 2.0, 0.0, 0.0]);
    assert_eq!(before.get("compliance_slo_objective_ratio", &[("slo", "platform-whole")]), Some(0.9));
    // The first deadline that is missed must be a step from zero: the counters are there before any violation ends.
    assert_eq!(before.get("compliance_remediation_deadlines_total", &[("control", "private"), ("outcome", "missed")]), Some(0.0));

    // Everything is fixed, and a bucket is gone: the joint counters move with it.
    let (status, body) = served.push("ci", TOKEN, scan(&[("private", "pppp"), ("encrypted", "ppp")]).as_bytes());
    assert_eq!(status, 200, "{body}");
    std::thread::sleep(std::time::Duration::from_millis(300));
    let fixed = served.metrics();
    assert_eq!(counts(&fixed, "platform-whole"), [4.0, 0.0, 0.0, 0.0]);
    let ratio = |m: &Metrics| m.get("compliance_slo_error_ratio", &[("slo", "platform-whole"), ("window", "30d")]).expect("data");
    assert!(ratio(&fixed) > 0.0 && ratio(&fixed) < 0.5, "{}", ratio(&fixed));
    let seconds = |m: &Metrics, state: &str| {
        m.get("compliance_resource_seconds_total", &[("control", "platform-whole"), ("scope", "one"), ("state", state)])
            .expect("it is there")
    };
    assert!(seconds(&fixed, "non_compliant") > 0.0);
    // The bounds of the joint ratio: no better than the worst member, no worse than the sum of them.
    let of = |slo: &str| fixed.get("compliance_slo_error_ratio", &[("slo", slo), ("window", "30d")]).expect("data");
    let (a, b) = (of("platform-private"), of("platform-encrypted"));
    assert!(ratio(&fixed) <= (a + b).min(1.0) + 1e-9, "{} of {a} and {b}", ratio(&fixed));

    served.kill();
    let served = Served::start(dir, &["serve", "--config", "bornright.yaml"]);
    let after = served.metrics();
    assert_eq!(counts(&after, "platform-whole"), [4.0, 0.0, 0.0, 0.0]);
    assert_eq!(seconds(&after, "non_compliant"), seconds(&fixed, "non_compliant"), "what was bad stays as it was, to the millisecond");
    let fell: Vec<_> = fixed
        .counters()
        .into_iter()
        .filter(|(series, _)| series.starts_with("compliance_resource_seconds") || series.starts_with("compliance_evidence_seconds"))
        .filter(|(series, v)| after.counters().iter().find(|(s, _)| s == series).is_none_or(|(_, now)| now < v))
        .collect();
    assert_eq!(fell, [], "no counter falls over a restart");
    assert!(ratio(&after) < ratio(&fixed), "time went on while all was well: {} of {}", ratio(&after), ratio(&fixed));
}
