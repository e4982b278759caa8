//! Azure, Google Cloud and Wiz as their documentation describes them, in their good hours and in their bad ones, and the
//! real program against them: complete and exact where the source is only rough, unmoved where it is wrong, and silent
//! about every secret.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod support;

#[path = "clouds/azure.rs"]
mod azure;
#[path = "clouds/fake.rs"]
mod fake;
#[path = "clouds/gcp.rs"]
mod gcp;
#[path = "collectors/server.rs"]
#[expect(dead_code, reason = "the other tests of collectors use the rest")]
mod server;
#[path = "clouds/wiz.rs"]
mod wiz;

use fake::{Cloud, Mood};
use serde_json::Value;
use std::path::Path;
use std::process::Output;
use support::{Metrics, Served, bornright, wait_for, write};

/// A source, how it is configured, and what is true of it.
struct Source {
    cloud: Cloud,
    /// What stands under `from:`, in one line.
    from: String,
    format: &'static str,
    check: &'static str,
    /// More of a collector, and more collectors, from column 0.
    more: String,
    /// The control's population, in one line.
    population: Option<&'static str>,
    env: Vec<(&'static str, String)>,
    /// Resources that comply, do not, are unknown, are waived.
    states: [u64; 4],
    /// Whether a ratio may be computed.
    ratio: bool,
    /// What no log, page or answer may show.
    secrets: Vec<String>,
    /// Moods that cost a run its completeness.
    bad: Vec<Mood>,
}

const EVERY: &str = "    every: 2s\n    timeout: 2s\n    max_age: 1h\n";
/// For where the deadline is not what is tested, on machines that have much to do.
const ONCE: &str = "    every: 1h\n    timeout: 5m\n";

impl Source {
    fn set_up(&self, dir: &Path, pace: &str) {
        let population = self.population.map(|p| format!("      population: {p}\n")).unwrap_or_default();
        write(
            dir,
            "defs/controls.yaml",
            &format!(
                r#"apiVersion: bornright/v1
kind: ControlSet
metadata: {{ name: cloud }}
spec:
  version: 1.0.0
  owner: platform
  controls:
    - id: the-control
      title: Things are as they should be
      nature: detective
      severity: high
      requirements: {{ nist-800-53-r5: [CM-6] }}
      checks: [ {{ format: {}, id: "{}" }} ]
{population}      fix_within: 7d
      rationale: Because.
      remediation: Mend it.
      training: Read about it.
---
apiVersion: bornright/v1
kind: SLO
metadata: {{ name: cloud }}
spec:
  service: platform
  controls: {{ ids: [the-control] }}
  objective: 50%
  period: 30d
  sli: resource_time
"#,
                self.format, self.check
            ),
        );
        write(
            dir,
            "bornright.yaml",
            &format!(
                "listen: 127.0.0.1:0\nledger: {{ sqlite: {{ path: data/ledger.db }} }}\ndefinitions: [defs]\nscope: \"{{provider}}\"\ncollectors:\n  - name: cloud\n{pace}    from: {}\n{}",
                self.from, self.more
            ),
        );
    }

    #[track_caller]
    fn assert_hidden(&self, text: &str) {
        for secret in self.secrets.iter().map(String::as_str).chain([fake::TOKEN]) {
            let at = text.find(secret);
            assert!(at.is_none(), "a secret shows: …{}…", &text[at.unwrap_or(0).saturating_sub(200)..(at.unwrap_or(0) + secret.len())]);
        }
    }

    /// Collects once: the judgement, and all that was printed.
    fn gate(&self, dir: &Path) -> (i32, Value, String) {
        let Output { status, stdout, stderr } = bornright()
            .current_dir(dir)
            .args(["--log-level", "trace", "gate", "--output", "json"])
            .envs(self.env.iter().map(|(k, v)| (*k, v.as_str())))
            .output()
            .unwrap();
        let (out, err) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
        self.assert_hidden(&out);
        self.assert_hidden(&err);
        let judged = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}\n{err}"));
        (status.code().unwrap_or(-1), judged, err)
    }

    fn judged_states(judged: &Value) -> [u64; 4] {
        ["compliant", "non_compliant", "unknown", "waived"]
            .map(|s| judged["controls"].as_array().unwrap().iter().map(|c| c[s].as_u64().unwrap()).sum())
    }

    /// Rough hours cost nothing: every row comes, and each counts once.
    fn is_exact_in_rough_hours(&self) {
        let dir = tempfile::tempdir().unwrap();
        self.set_up(dir.path(), ONCE);
        for mood in [Mood::Fine, Mood::Rough] {
            self.cloud.set(mood);
            let (_, judged, err) = self.gate(dir.path());
            let collector = &judged["collectors"][0];
            assert_eq!((&collector["complete"], &collector["problems"]), (&true.into(), &serde_json::json!([])), "{mood:?}: {err}");
            assert_eq!(Self::judged_states(&judged), self.states, "{mood:?}: {judged}");
            let ratio = judged["controls"][0]["ratio"].as_f64();
            let [good, bad, ..] = self.states.map(|n| n as f64);
            assert_eq!(ratio, self.ratio.then_some(good / (good + bad)), "{mood:?}");
        }
        let state = self.cloud.state();
        assert!(state.tokens >= 2, "no token ran out");
    }

    /// Whatever the source does, what is known of resources does not move.
    fn stands_still_in_bad_hours(&self) {
        let dir = tempfile::tempdir().unwrap();
        self.set_up(dir.path(), EVERY);
        self.cloud.set(Mood::Fine);
        let served = Served::start_with(dir.path(), &["--log-level", "trace", "serve"], &self.env);
        let scans = |m: &Metrics, outcome: &str| {
            m.get("compliance_collector_scans_total", &[("collector", "cloud"), ("outcome", outcome)]).unwrap_or(0.0)
        };
        let lacking = |m: &Metrics| ["partial", "failed"].iter().map(|o| scans(m, o)).sum::<f64>();
        let states = |m: &Metrics| {
            ["compliant", "non_compliant", "unknown", "waived"]
                .map(|s| m.get("compliance_resources", &[("control", "the-control"), ("state", s)]).unwrap_or(-1.0))
        };
        let ratio = |m: &Metrics| m.get("compliance_ratio", &[("control", "the-control")]);
        let told = self.states.map(|n| n as f64);
        wait_for("the first states", || states(&served.metrics()) == told);
        let begun = ratio(&served.metrics());
        assert_eq!(begun.is_some(), self.ratio);
        for mood in &self.bad {
            self.cloud.set(*mood);
            let before = served.metrics();
            // One run may have been under way, and was whole.
            wait_for(&format!("a run while {mood:?}"), || lacking(&served.metrics()) > lacking(&before));
            let after = served.metrics();
            assert_eq!((states(&after), ratio(&after)), (told, begun), "{mood:?}: {}", served.log());
            assert!(scans(&after, "complete") <= scans(&before, "complete") + 1.0, "{mood:?} passes for complete: {}", served.log());
            let problems: f64 = problem_kinds(&after).iter().map(|(_, n)| n).sum();
            let problems_before: f64 = problem_kinds(&before).iter().map(|(_, n)| n).sum();
            assert!(problems > problems_before, "{mood:?} is not told");
        }
        self.cloud.set(Mood::Rough);
        let before = served.metrics();
        wait_for("the source to be well again", || scans(&served.metrics(), "complete") >= scans(&before, "complete") + 1.0);
        let after = served.metrics();
        assert_eq!((states(&after), ratio(&after)), (told, begun));
        for code in ["ok", "throttled", "refused"] {
            let requests = after.get("compliance_collector_requests_total", &[("collector", "cloud"), ("code", code)]);
            assert!(requests.is_some_and(|n| n > 0.0), "{code}: {requests:?}");
        }
        for page in ["/", "/metrics", "/api/v1/runs", "/api/v1/controls"] {
            self.assert_hidden(&served.get(page).1);
        }
        self.assert_hidden(&served.log());
        assert!(served.log().contains("cloud"), "the log is kept");
        assert_eq!(served.stop(), 0);
    }
}

fn problem_kinds(m: &Metrics) -> Vec<(String, f64)> {
    m.counters().into_iter().filter(|(s, _)| s.starts_with("compliance_collector_problems_total") && s.contains("\"cloud\"")).collect()
}
