//! The whole `/metrics` page of a snapshot made by hand: pinned, linted by promtool, and compared with prometheus-client.

mod snapshot_fixture;

use bornright::domain::{Moment, Span};
use bornright::exposition::{Encoding, Exposition, Format, SnapshotCollector, names};
use bornright::snapshot::Snapshot;
use snapshot_fixture::{AT, estate, large};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::Arc;

const TEXT: Encoding = Encoding { format: Format::Text, gzip: false };
const OPENMETRICS: Encoding = Encoding { format: Format::OpenMetrics1, gzip: false };

fn page(exposition: &Exposition, snapshot: &Arc<Snapshot>, now: Moment, encoding: Encoding) -> String {
    let mut bytes = exposition.render(snapshot, now, encoding).concat();
    if encoding.gzip {
        // Reads one gzip member, as curl and browsers do; a second one would be missed, and the test would see it.
        let mut plain = Vec::new();
        let mut member = flate2::bufread::GzDecoder::new(bytes.as_slice());
        member.read_to_end(&mut plain).expect("a sound gzip file");
        assert!(member.into_inner().is_empty(), "nothing comes after the member");
        bytes = plain;
    }
    String::from_utf8(bytes).expect("UTF-8")
}

fn fresh_page(snapshot: Snapshot, now: Moment, encoding: Encoding) -> String {
    page(&Exposition::new(), &Arc::new(snapshot), now, encoding)
}

/// Samples by name and labels; panics on a duplicate.
fn samples(page: &str) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for line in page.lines().filter(|l| !l.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').expect("a sample");
        let before = out.insert(series.to_owned(), value.to_owned());
        assert_eq!(before, None, "{series} is there twice");
    }
    out
}

/// A series of a bucket with `le` as its last label: the order says nothing, and prometheus-client has it first.
fn le_last(series: &str) -> String {
    match series.split_once("{le=\"") {
        None => series.to_owned(),
        Some((name, rest)) => {
            let (bound, labels) = rest.split_once('"').expect("a closing quote");
            let labels = labels.trim_start_matches(',').trim_end_matches('}');
            format!("{name}{{{labels},le=\"{bound}\"}}")
        }
    }
}

fn promtool_check_metrics(page: &str) -> (bool, String) {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is needed for this test: install the `prometheus` package");
    child.stdin.take().expect("piped").write_all(page.as_bytes()).expect("promtool reads");
    let out = child.wait_with_output().expect("promtool ends");
    (out.status.success(), String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned())
}

#[test]
fn the_whole_page() {
    let text = fresh_page(estate(), AT + Span::MINUTE, TEXT);
    insta::assert_snapshot!("metrics_text", text);
    let s = samples(&text);
    let get = |series: &str| s.get(series).map(String::as_str);
    let here = "control=\"storage-no-public-access\",scope=\"111122223333\"";
    // 36 000.001 s and six resources for a minute; digits that a float would lose are there.
    assert_eq!(get(&format!("compliance_resource_seconds_total{{{here},state=\"compliant\"}}")), Some("36360.001"));
    assert_eq!(get(&format!("compliance_resource_seconds_total{{{here},state=\"waived\"}}")), Some("312.345"));
    assert_eq!(get(&format!("compliance_evidence_seconds_total{{{here},state=\"fresh\"}}")), Some("9007199254800.993"));
    // 6 good, 2 bad, 2 unknown, 5 waived.
    assert_eq!(get(&format!("compliance_ratio{{{here}}}")), Some("0.75"));
    assert_eq!(get(&format!("compliance_ratio_lower{{{here}}}")), Some("0.6"));
    assert_eq!(get(&format!("compliance_ratio_upper{{{here}}}")), Some("0.8"));
    assert_eq!(get(&format!("compliance_coverage_ratio{{{here}}}")).and_then(|v| v.parse().ok()), Some(13.0 / 15.0));
}

#[test]
fn a_ratio_that_does_not_exist_has_no_sample() {
    let text = fresh_page(estate(), AT, TEXT);
    let about = |metric: &str, control: &str| text.lines().filter(|l| l.starts_with(&format!("{metric}{{control=\"{control}\""))).count();
    // Unknown only: bounds 0 and 1 and coverage 0 say so; there is no ratio.
    assert_eq!(about("compliance_ratio", "iam-root-no-keys"), 0);
    for metric in ["compliance_ratio_lower", "compliance_ratio_upper", "compliance_coverage_ratio"] {
        assert_eq!(about(metric, "iam-root-no-keys"), 1, "{metric}");
    }
    // Nothing in scope; violations only; nothing ever found: none of the four.
    for control in ["host-no-telnet", "k8s-namespace-owner", "weird"] {
        for metric in ["compliance_ratio", "compliance_ratio_lower", "compliance_ratio_upper", "compliance_coverage_ratio"] {
            assert_eq!(about(metric, control), 0, "{metric} of {control}");
        }
    }
    // All waived: all is known, and there is no ratio.
    assert_eq!((about("compliance_ratio", "k8s-images-signed"), about("compliance_coverage_ratio", "k8s-images-signed")), (0, 1));
    assert!(!text.contains("NaN") && !text.contains(" inf"), "{text}");
    // Wherever there is a ratio its honesty stands beside it.
    let s = samples(&text);
    for labels in s.keys().filter_map(|k| k.strip_prefix("compliance_ratio{")) {
        for metric in ["compliance_ratio_lower", "compliance_ratio_upper", "compliance_coverage_ratio"] {
            assert!(s.contains_key(&format!("{metric}{{{labels}")), "{metric}{{{labels}");
        }
    }
}

#[test]
fn all_states_are_there_from_the_first_scrape() {
    let text = fresh_page(estate(), AT, TEXT);
    let s = samples(&text);
    for metric in ["compliance_resources", "compliance_resource_seconds_total"] {
        for state in ["compliant", "non_compliant", "unknown", "waived"] {
            let series = format!("{metric}{{control=\"host-no-telnet\",scope=\"shop\\\\prod\",state=\"{state}\"}}");
            assert_eq!(s.get(&series).map(String::as_str), Some("0"), "{series}");
        }
    }
    assert_eq!(s.keys().filter(|k| k.starts_with("compliance_waivers{")).count(), 10);
    assert_eq!(s.keys().filter(|k| k.starts_with("compliance_collector_problems_total{collector=\"hosts\"")).count(), 15);
}

#[test]
fn a_collector_that_never_ran_is_neither_up_nor_down() {
    let s = samples(&fresh_page(estate(), AT, TEXT));
    assert_eq!(s.get("compliance_collector_up{collector=\"aws-prod\"}").map(String::as_str), Some("1"));
    assert_eq!(s.get("compliance_collector_up{collector=\"cluster\"}").map(String::as_str), Some("0"));
    assert_eq!(s.get("compliance_collector_up{collector=\"hosts\"}"), None);
    assert!(s.contains_key("compliance_collector_scan_interval_seconds{collector=\"hosts\"}"), "its absence can be alerted on");
}

#[test]
fn gauges_move_at_the_instant_something_runs_out_and_kept_text_does_not_hide_it() {
    let exposition = Exposition::new();
    let snapshot = Arc::new(estate());
    let value = |now: Moment, series: &str| samples(&page(&exposition, &snapshot, now, TEXT)).get(series).cloned();
    let here = "control=\"storage-no-public-access\",scope=\"111122223333\"";
    let unknown = format!("compliance_resources{{{here},state=\"unknown\"}}");
    let overdue = format!("compliance_violations_overdue{{{here},severity=\"high\"}}");
    let missed = format!("compliance_remediation_deadlines_total{{{here},severity=\"high\",outcome=\"missed\"}}");
    let failing = format!("compliance_resources{{{here},state=\"non_compliant\"}}");
    let at = |m: u64, ms: i64| Moment((AT + Span::MINUTE.times(m)).0 + ms);
    assert_eq!(value(at(10, -1), &unknown).as_deref(), Some("2"));
    assert_eq!(value(at(10, 0), &unknown).as_deref(), Some("3"));
    assert_eq!(value(at(20, -1), &overdue).as_deref(), Some("1"));
    assert_eq!(value(at(20, 0), &overdue).as_deref(), Some("2"));
    assert_eq!(value(at(20, 0), &missed).as_deref(), Some("2"));
    assert_eq!(value(at(30, 0), &failing).as_deref(), Some("4"));
    // All passes of the trails are too old after a quarter of an hour: no ratio any more, not 1 from before.
    let ratio = "compliance_ratio{control=\"logging-trail-encrypted\",scope=\"111122223333\"}";
    assert_eq!(value(at(14, 0), ratio).as_deref(), Some("1"));
    assert_eq!(value(at(15, 0), ratio), None);
}

#[test]
fn what_is_kept_equals_what_is_rendered_anew() {
    let snapshot = Arc::new(estate());
    let warm = Exposition::new();
    let other = Arc::new(large(3, 2));
    for minute in [0, 1, 1, 10, 12, 15, 20, 31, 59, 5] {
        let now = AT + Span::MINUTE.times(minute);
        for format in [Format::Text, Format::OpenMetrics1] {
            for gzip in [false, true] {
                let encoding = Encoding { format, gzip };
                let anew = page(&Exposition::new(), &snapshot, now, Encoding { format, gzip: false });
                assert_eq!(page(&warm, &snapshot, now, encoding), anew, "minute {minute} {encoding:?}");
            }
        }
        if minute == 12 {
            // Another snapshot in between is shown, and leaves nothing behind.
            assert!(page(&warm, &other, now, TEXT).contains("control-with-a-usual-name-002"));
        }
    }
}

#[test]
fn a_large_page_survives_compression() {
    let snapshot = Arc::new(large(40, 25));
    let exposition = Exposition::new();
    for format in [Format::Text, Format::OpenMetrics1] {
        let plain = page(&exposition, &snapshot, AT + Span::MINUTE, Encoding { format, gzip: false });
        assert!(plain.len() > 1_000_000, "{}", plain.len());
        assert_eq!(page(&exposition, &snapshot, AT + Span::MINUTE, Encoding { format, gzip: true }), plain);
    }
}

#[test]
fn an_empty_snapshot_makes_a_page() {
    for encoding in [TEXT, OPENMETRICS, Encoding { gzip: true, ..TEXT }, Encoding { gzip: true, ..OPENMETRICS }] {
        let text = fresh_page(Snapshot::default(), Moment(0), encoding);
        assert!(text.contains("compliance_exporter_demo 0\n"), "{text}");
        assert!(!text.contains("compliance_ratio"), "{text}");
    }
    let (good, said) = promtool_check_metrics(&fresh_page(Snapshot::default(), Moment(0), TEXT));
    assert!(good && said.is_empty(), "{said}");
}

#[test]
fn promtool_finds_nothing_to_say() {
    for snapshot in [estate(), Snapshot { demo: true, ..estate() }, large(3, 2)] {
        let exposition = Exposition::new();
        exposition.about_us().answered("/metrics", 200);
        exposition.about_us().rendered(std::time::Duration::from_millis(3));
        let (good, said) = promtool_check_metrics(&page(&exposition, &Arc::new(snapshot), AT + Span::MINUTE, TEXT));
        assert!(good && said.is_empty(), "{said}");
    }
    // It would speak if there were something.
    let (good, said) = promtool_check_metrics("# TYPE x counter\nx 1\n");
    assert!(!good && said.contains("x"), "{said}");
}

/// Prometheus' client library for Rust, driven plainly, says the same as our writer.
#[test]
fn prometheus_client_says_the_same() {
    for (snapshot, minutes) in [(estate(), 0), (estate(), 25), (large(7, 3), 1), (Snapshot::default(), 0)] {
        let snapshot = Arc::new(snapshot);
        let now = AT + Span::MINUTE.times(minutes);
        let mut registry = prometheus_client::registry::Registry::default();
        registry.register_collector(Box::new(SnapshotCollector { snapshot: snapshot.clone(), now }));
        let mut theirs = String::new();
        prometheus_client::encoding::text::encode(&mut theirs, &registry).expect("a String takes it");
        let ours = page(&Exposition::new(), &snapshot, now, OPENMETRICS);
        let ours: String = ours
            .lines()
            .filter(|l| !l.contains("compliance_exporter_http_") && !l.contains("compliance_exporter_render_"))
            .map(|l| format!("{l}\n"))
            .collect();
        let numbers = |page: &str| -> BTreeMap<String, f64> {
            samples(page).into_iter().map(|(k, v)| (le_last(&k), v.parse().expect("a number"))).collect()
        };
        let (a, b) = (numbers(&ours), numbers(&theirs));
        for (series, value) in &a {
            assert_eq!(b.get(series), Some(value), "{series}");
        }
        assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
        // The same headers for every family that has samples.
        let headers =
            |page: &str| page.lines().filter(|l| l.starts_with("# ")).map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
        let (a, b) = (headers(&ours), headers(&theirs));
        assert_eq!(a.difference(&b).collect::<Vec<_>>(), Vec::<&String>::new());
    }
}

#[test]
fn families_stand_together_and_openmetrics_keeps_its_rules() {
    let exposition = Exposition::new();
    exposition.about_us().answered("/", 200);
    exposition.about_us().rendered(std::time::Duration::from_millis(3));
    let snapshot = Arc::new(estate());
    let text = page(&exposition, &snapshot, AT, OPENMETRICS);
    assert!(text.ends_with("\n# EOF\n") && text.matches("# EOF").count() == 1);
    let mut seen = std::collections::BTreeSet::new();
    let mut family = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            family = rest.split(' ').next().expect("a name").to_owned();
            assert!(seen.insert(family.clone()), "{family} is headed twice");
        } else if line.starts_with("# TYPE") || line.starts_with("# UNIT") {
            assert_eq!(line.split(' ').nth(2), Some(family.as_str()));
        } else if line != "# EOF" {
            let suffix = line.strip_prefix(&family).expect("a sample of the family above");
            let suffix = &suffix[..suffix.find(['{', ' ']).expect("labels or a value")];
            assert!(["", "_total", "_info", "_bucket", "_sum", "_count"].contains(&suffix), "{line}");
        }
    }
    assert!(text.contains("# TYPE compliance_control info\n") && text.contains("# UNIT compliance_resource_seconds seconds\n"));
    assert!(text.contains("compliance_exporter_http_requests_total{route=\"/\",code=\"200\"} 1\n"));
    assert!(text.contains("compliance_collector_scan_duration_seconds_bucket{collector=\"aws-prod\",le=\"10.0\"} 3\n"));
    // The text format has the older habits.
    let text = page(&exposition, &snapshot, AT, TEXT);
    assert!(text.contains("# TYPE compliance_control_info gauge\n") && !text.contains("# UNIT") && !text.contains("# EOF"));
    assert!(text.contains("# TYPE compliance_exporter_http_requests_total counter\n"));
    assert!(text.contains("compliance_collector_scan_duration_seconds_bucket{collector=\"aws-prod\",le=\"10\"} 3\n"));
    assert!(text.contains("compliance_exporter_render_duration_seconds_bucket{le=\"1\"} 1\n"), "{text}");
    assert!(text.contains("compliance_exporter_render_duration_seconds_bucket{le=\"+Inf\"} 1\n"));
}

#[test]
fn labels_hold_what_they_are_given() {
    let s = samples(&fresh_page(estate(), AT, TEXT));
    assert!(s.contains_key(
        "compliance_control_info{control=\"weird/../\\\"id\\\" <b>\",title=\"Back\\\\slash, \\\"quote\\\",\\nline feed, <script>alert(1)</script> & é\",\
         severity=\"high\",owner=\"{owner=\\\"x\\\"}\",nature=\"preventive\",set=\"object-storage\",version=\"2.1.0\"}"
    ));
    // Names of parts are made legal; `scope` is ours, and of two that become equal the first stays.
    assert!(s.contains_key("compliance_scope_info{scope=\"shop\\\\prod\",cluster=\"shop\",part_scope=\"x\"}"));
    assert!(s.contains_key("compliance_scope_info{scope=\"111122223333\",account=\"111122223333\",account_name=\"prod \\\"eu\\\"\"}"));
    // A requirement that is written twice is one series.
    assert_eq!(s.keys().filter(|k| k.starts_with("compliance_control_mapping_info{")).count(), 2);
}

#[test]
fn every_exposed_name_is_on_the_page_and_every_name_on_the_page_is_documented() {
    let exposition = Exposition::new();
    exposition.about_us().answered("/metrics", 200);
    let text = page(&exposition, &Arc::new(estate()), AT, TEXT);
    let on_page: std::collections::BTreeSet<&str> =
        text.lines().filter_map(|l| l.strip_prefix("# TYPE ")).filter_map(|l| l.split(' ').next()).collect();
    let exposed: std::collections::BTreeSet<&str> = names::ALL.iter().filter(|m| m.exposed).map(|m| m.name).collect();
    assert_eq!(on_page, exposed);
    // Labels are the declared ones, in order.
    for m in names::ALL.iter().filter(|m| m.exposed && m.kind != names::Kind::Histogram && !m.labels.contains(&"<parts>")) {
        let line =
            text.lines().find(|l| l.starts_with(&format!("{}{}", m.name, if m.labels.is_empty() { " " } else { "{" }))).expect("a sample");
        let mut rest = line;
        for label in m.labels {
            let at = rest.find(&format!("{label}=\"")).unwrap_or_else(|| panic!("{}: no label {label} in {line}", m.name));
            rest = &rest[at..];
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    if std::env::var_os("REGENERATE").is_some() {
        std::fs::write(path, names::reference()).expect("docs/ can be written");
    }
    let docs = std::fs::read_to_string(path).unwrap_or_default();
    assert!(docs == names::reference(), "docs/metrics.md changed, please run `REGENERATE=1 cargo test --test exposition`");
}

#[test]
fn a_clock_that_goes_back_behind_the_snapshot_takes_nothing() {
    let at = samples(&fresh_page(estate(), AT, TEXT));
    let before = samples(&fresh_page(estate(), AT - Span::HOUR, TEXT));
    assert_eq!(at, before);
}
