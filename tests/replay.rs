//! `bornright replay` against a count by hand: every scenario is also worked out by the few lines of [`World::stand`],
//! which know the rules of states and nothing of the program, and the integers must be the same.

mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use support::{run, write};

const SECOND: i64 = 1000;
const HOUR: i64 = 3600 * SECOND;
const DAY: i64 = 24 * HOUR;
/// 2026-01-01T00:00:00Z.
const T0: i64 = 1_767_225_600_000;

/// An instant as RFC 3339.
fn rfc(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).expect("a time of our days").to_string()
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Says {
    Pass,
    Fail,
    Error,
    Manual,
    NotApplicable,
}

impl Says {
    fn word(self) -> &'static str {
        match self {
            Says::Pass => "pass",
            Says::Fail => "fail",
            Says::Error => "error",
            Says::Manual => "manual",
            Says::NotApplicable => "not_applicable",
        }
    }
}

#[derive(Clone, Debug)]
struct Scan {
    at: i64,
    complete: bool,
    /// (resource, what, its own time).
    findings: Vec<(usize, Says, Option<i64>)>,
}

#[derive(Clone, Debug)]
struct World {
    scans: Vec<Scan>,
    max_age: i64,
    grace: i64,
    /// (resource, from, until).
    waivers: Vec<(usize, i64, i64)>,
}

/// compliant, non_compliant, unknown, waived.
type States = [i64; 4];

impl World {
    fn scope(resource: usize) -> &'static str {
        if resource.is_multiple_of(3) { "acme" } else { "beta" }
    }

    /// The state of a resource at `x`, from what had come in until then.
    fn state(&self, resource: usize, x: i64) -> Option<usize> {
        let mut held: Option<(Says, i64)> = None;
        for scan in self.scans.iter().filter(|s| s.at <= x) {
            let said = scan.findings.iter().find(|f| f.0 == resource);
            held = match (held, said) {
                (old, None) => old.filter(|_| !scan.complete),
                // No information; who was never judged is known to exist from now on.
                (old, Some((_, Says::Error, time))) => old.or(Some((Says::Error, time.unwrap_or(scan.at).min(scan.at)))),
                (old, Some((_, says, time))) => {
                    let time = time.unwrap_or(scan.at).min(scan.at);
                    match old {
                        Some((was, seen)) if was != Says::Error && seen > time => Some((was, seen)),
                        _ => Some((*says, time)),
                    }
                }
            };
        }
        let (says, seen) = held?;
        if says == Says::Error {
            return (x >= seen + self.grace).then_some(2);
        }
        if x >= seen + self.max_age {
            return Some(2);
        }
        match says {
            Says::Pass => Some(0),
            Says::Fail if self.waivers.iter().any(|(r, from, until)| *r == resource && *from <= x && x < *until) => Some(3),
            Says::Fail => Some(1),
            Says::Manual => Some(2),
            Says::NotApplicable => None,
            Says::Error => unreachable!("handled above"),
        }
    }

    /// Resources and resource-milliseconds by scope, by brute force: between two instants at which anything could change
    /// nothing does.
    fn stand(&self, resources: usize, x: i64) -> BTreeMap<&'static str, (States, States)> {
        let mut edges: Vec<i64> = vec![x];
        for scan in &self.scans {
            edges.push(scan.at);
            for (_, _, time) in &scan.findings {
                let seen = time.unwrap_or(scan.at).min(scan.at);
                edges.extend([seen + self.max_age, seen + self.grace]);
            }
        }
        edges.extend(self.waivers.iter().flat_map(|w| [w.1, w.2]));
        edges.retain(|e| *e <= x);
        edges.sort_unstable();
        edges.dedup();
        let mut out: BTreeMap<&'static str, (States, States)> = BTreeMap::new();
        for r in 0..resources {
            if !self.scans.iter().any(|s| s.at <= x && s.findings.iter().any(|f| f.0 == r)) {
                continue;
            }
            let entry = out.entry(World::scope(r)).or_default();
            if let Some(s) = self.state(r, x) {
                entry.0[s] += 1;
            }
            for pair in edges.windows(2) {
                if let Some(s) = self.state(r, pair[0]) {
                    entry.1[s] += pair[1] - pair[0];
                }
            }
        }
        out
    }

    /// Lays configuration, definitions and scans out under `dir`.
    fn lay_out(&self, dir: &Path) {
        let mut waivers = String::new();
        for (i, (r, from, until)) in self.waivers.iter().enumerate() {
            _ = write!(
                waivers,
                "\n    - {{ id: w{i}, control: bucket-private, resource: \"bucket-{r}\", reason: agreed, owner: platform, ticket: T-{i}, from: {}, until: {} }}",
                rfc(*from),
                rfc(*until)
            );
        }
        if !waivers.is_empty() {
            waivers = format!("---\napiVersion: bornright/v1\nkind: WaiverSet\nmetadata: {{ name: w }}\nspec:\n  waivers:{waivers}\n");
        }
        write(dir, "defs/d.yaml", &format!("{CONTROLS}{waivers}"));
        let (max_age, grace) = (self.max_age / SECOND, self.grace / SECOND);
        write(
            dir,
            "bornright.yaml",
            &format!(
                "definitions: [defs]\nscope: \"{{account}}\"\ncollectors:\n  - {{ name: ci, every: 1d, max_age: {max_age}s, new_resource_grace: {grace}s, from: {{ file: {{ path: nowhere/* }} }}, format: native }}\n"
            ),
        );
        for (i, scan) in self.scans.iter().enumerate() {
            let mut lines = String::new();
            for (r, says, time) in &scan.findings {
                let time = time.map(|t| format!(",\"observed_at\":\"{}\"", rfc(t))).unwrap_or_default();
                _ = writeln!(
                    lines,
                    "{{\"check\":\"bucket-private\",\"resource\":{{\"id\":\"bucket-{r}\"}},\"result\":\"{}\",\"fields\":{{\"account\":\"{}\"}}{time}}}",
                    says.word(),
                    World::scope(*r)
                );
            }
            write(dir, &format!("scans/{i}.ndjson"), &lines);
        }
        self.manifest(dir, "scans.json", self.scans.len());
    }

    /// A manifest of the first `n` scans, the last one first: order says nothing.
    fn manifest(&self, dir: &Path, name: &str, n: usize) {
        let list: Vec<String> = self.scans[..n]
            .iter()
            .enumerate()
            .rev()
            .map(|(i, s)| {
                format!("{{\"at\":\"{}\",\"collector\":\"ci\",\"path\":\"scans/{i}.ndjson\",\"complete\":{}}}", rfc(s.at), s.complete)
            })
            .collect();
        write(dir, name, &format!("{{\"scans\":[{}]}}", list.join(",\n")));
    }
}

const CONTROLS: &str = "\
apiVersion: bornright/v1
kind: ControlSet
metadata: { name: storage }
spec:
  version: 1.0.0
  owner: platform
  controls:
    - id: bucket-private
      title: Buckets are private
      severity: high
      checks: [ { id: bucket-private } ]
      fix_within: 2d
---
apiVersion: bornright/v1
kind: SLO
metadata: { name: storage }
spec:
  service: platform
  controls: { ids: [bucket-private] }
  objective: 90%
  period: 30d
  unknown: bad
";

/// Whole numbers without a crate for it: a linear congruential generator's upper bits.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % n.unsigned_abs()).cast_signed()
    }
}

const RESOURCES: usize = 30;

/// Scans hours to days apart (a scanner that is dead for longer than its evidence lasts among them), partial ones, late
/// evidence, resources that come, go and come back, errors, waivers that begin and end between scans.
fn some_world(seed: u64) -> World {
    let mut dice = Dice(seed.wrapping_mul(7919) + 1);
    let mut at = T0;
    let mut scans = Vec::new();
    for _ in 0..18 {
        let mut findings = Vec::new();
        for r in 0..RESOURCES {
            let says = match dice.below(20) {
                0..12 => Says::Pass,
                12..16 => Says::Fail,
                16 => Says::Error,
                17 => Says::Manual,
                18 => Says::NotApplicable,
                _ => continue,
            };
            // Milliseconds, so that no two times are the same by chance.
            let late = (says != Says::Error && dice.below(4) == 0).then(|| at - 1 - dice.below(5 * DAY));
            findings.push((r, says, late));
        }
        scans.push(Scan { at, complete: dice.below(4) > 0, findings });
        at += 1 + match dice.below(6) {
            0 => dice.below(6 * DAY),
            1 => dice.below(HOUR),
            _ => dice.below(30 * HOUR),
        };
    }
    let waivers = (0..8)
        .map(|_| {
            let from = T0 + dice.below(10 * DAY);
            (usize::try_from(dice.below(RESOURCES as i64)).expect("small"), from, from + 1 + dice.below(4 * DAY))
        })
        .collect();
    World { scans, max_age: 3 * DAY + 1000, grace: DAY, waivers }
}

/// Instants that tell: those of the scans, just before and after, waivers' ends, and any.
fn probes(world: &World, seed: u64) -> Vec<i64> {
    let mut dice = Dice(seed + 99);
    let end = world.scans.last().map_or(T0, |s| s.at);
    let mut out: Vec<i64> = world.scans.iter().flat_map(|s| [s.at - 1, s.at, s.at + 1]).collect();
    out.extend(world.waivers.iter().flat_map(|w| [w.1, w.2, w.2 - 1]));
    out.extend((0..20).map(|_| T0 + dice.below(end - T0 + 8 * DAY)));
    out.push(end + 9 * DAY);
    out.retain(|t| *t >= T0 - 1);
    out.sort_unstable();
    out.dedup();
    out
}

fn replayed(dir: &Path, scans: &str, at: &[i64], extra: &[&str]) -> Vec<Value> {
    let at: Vec<String> = at.iter().map(|t| rfc(*t)).collect();
    let mut args = vec!["--log-level", "error", "replay", "--scans", scans, "--output", "json"];
    args.extend(at.iter().flat_map(|t| ["--at", t.as_str()]));
    args.extend(extra);
    let (code, out, err) = run(dir, &args);
    assert_eq!(code, 0, "{err}");
    out.lines().map(|l| serde_json::from_str(l).expect("each line is JSON")).collect()
}

/// Thousandths of a decimal, from its digits.
fn milli(v: &Value) -> i64 {
    let text = v.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    assert!(fraction.len() <= 3 && !text.contains('e'), "{text} is not whole milliseconds");
    whole.parse::<i64>().expect("digits") * 1000 + format!("{fraction:0<3}").parse::<i64>().expect("digits")
}

fn by_scope(line: &Value) -> BTreeMap<String, (States, States)> {
    let words = ["compliant", "non_compliant", "unknown", "waived"];
    let controls = line["controls"].as_array().expect("a list");
    controls
        .iter()
        .map(|c| {
            let n = words.map(|w| c["resources"][w].as_i64().expect("whole"));
            (c["scope"].as_str().expect("a text").to_owned(), (n, words.map(|w| milli(&c["resource_seconds"][w]))))
        })
        .collect()
}

fn check(world: &World, lines: &[Value], at: &[i64]) {
    assert_eq!(lines.len(), at.len());
    for (line, x) in lines.iter().zip(at) {
        assert_eq!(line["at"], rfc(*x));
        let expected: BTreeMap<String, _> = world.stand(RESOURCES, *x).into_iter().map(|(s, v)| (s.to_owned(), v)).collect();
        assert_eq!(by_scope(line), expected, "at {}", rfc(*x));
        for c in line["controls"].as_array().expect("a list") {
            let [g, x, u, w] = ["compliant", "non_compliant", "unknown", "waived"].map(|s| c["resources"][s].as_f64().expect("a number"));
            let check = |name: &str, n: f64, of: f64| match c[name].as_f64() {
                Some(is) => assert!((is - n / of).abs() < 1e-12, "{name} {is}, expected {n}/{of}"),
                None => assert!(c[name].is_null() && of == 0.0, "{name} {}, expected {n}/{of}", c[name]),
            };
            check("ratio", g, g + x);
            check("ratio_lower", g, g + x + u);
            check("ratio_upper", g + u, g + x + u);
            check("coverage", g + x + w, g + x + u + w);
        }
    }
}

#[test]
fn every_integral_is_that_of_a_count_by_hand() {
    for seed in 0..6 {
        let world = some_world(seed);
        let dir = tempfile::tempdir().expect("a directory");
        world.lay_out(dir.path());
        let at = probes(&world, seed);
        check(&world, &replayed(dir.path(), "scans.json", &at, &[]), &at);
    }
}

/// Half of it into a ledger, the rest into the same one: at an instant of a scan, between scans, and after a silence.
#[test]
fn a_restart_in_the_middle_changes_nothing() {
    for (seed, pause) in [(1, 0), (2, 90 * 60 * SECOND), (3, 4 * DAY)] {
        let world = some_world(seed);
        let dir = tempfile::tempdir().expect("a directory");
        world.lay_out(dir.path());
        let half = world.scans.len() / 2;
        world.manifest(dir.path(), "half.json", half);
        let stop = (world.scans[half - 1].at + pause).min(world.scans[half].at);
        let ledger = ["--ledger", "data/ledger.db"];
        let until = rfc(stop);
        replayed(dir.path(), "half.json", &[stop], &["--ledger", "data/ledger.db", "--until", &until]);
        let at: Vec<i64> = probes(&world, seed).into_iter().filter(|t| *t >= stop).collect();
        // The whole manifest: what the ledger holds already is not replayed again.
        check(&world, &replayed(dir.path(), "scans.json", &at, &ledger), &at);
        let (code, out, err) = run(dir.path(), &["ledger", "verify", "--ledger", "data/ledger.db"]);
        assert_eq!(code, 0, "{out}{err}");
        // Once more: nothing is new, and nothing moves.
        let last = [*at.last().expect("some")];
        check(&world, &replayed(dir.path(), "scans.json", &last, &ledger), &last);
    }
}

/// `confirmations: 2`, daily. Worked by hand: a verdict holds from the second of two equal observations on.
#[test]
fn a_verdict_waits_for_its_confirmations() {
    let dir = tempfile::tempdir().expect("a directory");
    let said = [Says::Pass, Says::Fail, Says::Pass, Says::Fail, Says::Fail, Says::Pass, Says::Fail, Says::Pass, Says::Pass];
    let scans = said.iter().enumerate().map(|(i, s)| Scan { at: T0 + i as i64 * DAY, complete: true, findings: vec![(1, *s, None)] });
    let world = World { scans: scans.collect(), max_age: 3 * DAY, grace: DAY, waivers: Vec::new() };
    world.lay_out(dir.path());
    let path = dir.path().join("defs/d.yaml");
    let text = std::fs::read_to_string(&path).expect("is there").replace("fix_within: 2d", "fix_within: 2d\n      confirmations: 2");
    std::fs::write(&path, text).expect("writes");
    let at: Vec<i64> = (0..said.len() as i64).map(|i| T0 + i * DAY + HOUR).collect();
    let states: Vec<States> = replayed(dir.path(), "scans.json", &at, &[]).iter().map(|l| by_scope(l)["beta"].0).collect();
    let fails: Vec<i64> = states.iter().map(|s| s[1]).collect();
    assert_eq!(fails, [0, 0, 0, 0, 1, 1, 1, 1, 0], "{states:?}");
}

#[test]
fn what_cannot_be_replayed_is_said() {
    let dir = tempfile::tempdir().expect("a directory");
    let world = some_world(4);
    world.lay_out(dir.path());
    let check = |args: &[&str], expected: &str| {
        let mut all = vec!["--log-level", "error", "replay"];
        all.extend(args);
        let (code, out, err) = run(dir.path(), &all);
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}: {err}");
        assert!(err.contains(expected), "{args:?}: {err}");
    };
    check(&["--scans", "gone.yaml"], "gone.yaml: the manifest cannot be read");
    check(&["--scans", "bornright.yaml"], "unknown key `definitions` in the manifest");
    check(&["--scans", "scans.json", "--at", "yesterday"], "expected RFC 3339 with an offset");
    check(&["--scans", "scans.json", "--every", "0s"], "--every 0s is no step");
    check(&["--scans", "scans.json", "--every", "1ms"], "take a longer --every");
    check(&["--scans", "scans.json", "--until", "2025-01-01T00:00:00Z"], "there is nothing to replay");
    check(&["--scans", "scans.json", "--until", "2026-01-05T00:00:00Z", "--at", "2026-01-06T00:00:00Z"], "is after --until");
    check(&["--scans", "scans.json", "--ledger", "l.db", "--until", "2099-01-01T00:00:00Z"], "is yet to come");
    check(&["--scans", "scans.json", "--output", "openmetrics", "--label", "1x=y"], "expected NAME=VALUE");
    assert!(!dir.path().join("l.db").exists(), "nothing was begun");
    // A scan that comes before what a ledger has settled, and an instant that lies before it.
    replayed(dir.path(), "scans.json", &[], &["--ledger", "l.db"]);
    world.manifest(dir.path(), "more.json", 3);
    let more = std::fs::read_to_string(dir.path().join("more.json")).expect("is there").replace("T00:00:00Z", "T00:00:01Z");
    std::fs::write(dir.path().join("more.json"), more).expect("writes");
    check(&["--scans", "more.json", "--ledger", "l.db", "--until", &rfc(world.scans[17].at)], "comes before");
    check(&["--scans", "scans.json", "--ledger", "l.db", "--at", "2026-01-01T00:00:00Z"], "cannot be asked of it any more");
    // Scans of which nothing can be used.
    write(dir.path(), "scans/0.ndjson", "\u{1}{{{");
    world.manifest(dir.path(), "one.json", 1);
    let (code, out, err) = run(dir.path(), &["--log-level", "warn", "replay", "--scans", "one.json"]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("brought nothing that could be used") && out.contains("\"controls\":[]"), "{out}{err}");
}

/// The example in the documentation: worked by hand. Bucket 7 fails from the 2nd 06:00, is waived from 12:00 until the 3rd
/// 18:00, and is unknown from the 7th 06:00 (three days after the scan that broke off) until the 8th 06:00.
#[test]
fn the_example_says_what_its_documentation_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let at = |text: &str| text.parse::<jiff::Timestamp>().expect("a time").as_millisecond();
    let asked = [at("2026-03-03T18:00:00Z"), at("2026-03-08T06:00:00Z")];
    let lines = replayed(root, "examples/replay/scans.yaml", &asked, &["--config", "examples/replay/bornright.yaml"]);
    let data: Vec<(States, States)> = lines.iter().map(|l| by_scope(l)["data"]).collect();
    // Until the 3rd 18:00 (60 h): 4 × 24 h, then 3 × 36 h; failing 6 h; waived 30 h.
    assert_eq!(data[0], ([3, 1, 0, 0], [(96 + 108) * HOUR, 6 * HOUR, 0, 30 * HOUR]));
    // At the 8th 06:00 a fifth bucket is there; all four were unknown for a day.
    assert_eq!(data[1], ([5, 0, 0, 0], [(96 + 3 * 120) * HOUR, (6 + 84) * HOUR, 4 * 24 * HOUR, 30 * HOUR]));
    let page = std::fs::read_to_string(root.join("docs/replay.md")).expect("is there");
    let line = lines[0]["controls"].as_array().expect("a list").iter().find(|c| c["scope"] == "data").expect("is there").to_string();
    let shown: Value =
        serde_json::from_str(page.split("\"controls\":[").nth(1).and_then(|r| r.split("]}\n```").next()).expect("is shown")).expect("JSON");
    assert_eq!(shown.to_string(), line);
    let args = ["--log-level", "error", "replay", "--config", "examples/replay/bornright.yaml", "--scans", "examples/replay/scans.yaml"];
    let (code, alerts, err) = run(root, &[&args[..], &["--output", "alerts"]].concat());
    assert_eq!(code, 0, "{err}");
    assert!(page.contains(&alerts), "docs/replay.md does not show\n{alerts}");
}

/// Restarted in the middle, on the one side by one ledger, on the other not at all: windows that reach back over the
/// restart are the same.
#[test]
fn error_ratios_and_budgets_survive_a_restart() {
    let world = some_world(5);
    let dir = tempfile::tempdir().expect("a directory");
    world.lay_out(dir.path());
    let half = world.scans.len() / 2;
    world.manifest(dir.path(), "half.json", half);
    let stop = world.scans[half - 1].at + HOUR.min(world.scans[half].at - world.scans[half - 1].at);
    replayed(dir.path(), "half.json", &[stop], &["--ledger", "data/ledger.db", "--until", &rfc(stop)]);
    let at: Vec<i64> = probes(&world, 5).into_iter().filter(|t| *t >= stop).collect();
    let whole = replayed(dir.path(), "scans.json", &at, &[]);
    let continued = replayed(dir.path(), "scans.json", &at, &["--ledger", "data/ledger.db"]);
    let slos = |lines: &[Value]| lines.iter().map(|l| l["slos"].to_string()).collect::<Vec<_>>();
    assert_eq!(slos(&whole), slos(&continued));
}

/// Ratios over windows are quotients of the integrals that were counted by hand; `unknown: bad` for this objective.
#[test]
fn error_ratios_are_quotients_of_the_integrals() {
    let mut tested = 0;
    for seed in 10..13 {
        let world = some_world(seed);
        let dir = tempfile::tempdir().expect("a directory");
        world.lay_out(dir.path());
        let at: Vec<i64> = probes(&world, seed).into_iter().step_by(5).collect();
        for (line, x) in replayed(dir.path(), "scans.json", &at, &[]).iter().zip(&at) {
            let slo = &line["slos"][0];
            assert_eq!((&slo["slo"], &slo["control"]), (&"platform-storage".into(), &"bucket-private".into()));
            let sums = |t: i64| world.stand(RESOURCES, t).values().fold([0; 4], |a: States, (_, s)| std::array::from_fn(|i| a[i] + s[i]));
            for (window, length) in [("5m", 300 * SECOND), ("1h", HOUR), ("1d", DAY), ("3d", 3 * DAY), ("30d", 30 * DAY)] {
                let (now, then) = (sums(*x), sums(*x - length));
                let [good, bad, unknown, _] = std::array::from_fn(|i| (now[i] - then[i]) as f64);
                let total = good + bad + unknown;
                match slo["error_ratio"][window].as_f64() {
                    Some(e) => {
                        let expected = (bad + unknown) / total;
                        assert!((e - expected).abs() < 1e-9, "{window} at {}: {e}, expected {expected}", rfc(*x));
                        assert!((slo["burn_rate"][window].as_f64().expect("a number") - expected / 0.1).abs() < 1e-8);
                        tested += 1;
                    }
                    None => assert!(total == 0.0 && slo["error_ratio"][window].is_null(), "{window} at {}", rfc(*x)),
                }
            }
            assert_eq!(slo["period_error_ratio"], slo["error_ratio"]["30d"]);
            if let Some(e) = slo["period_error_ratio"].as_f64() {
                let left = slo["error_budget_remaining_ratio"].as_f64().expect("a number");
                assert!((left - (1.0 - e / 0.1)).abs() < 1e-9, "{left}");
            }
        }
    }
    assert!(tested > 200, "{tested}");
}
