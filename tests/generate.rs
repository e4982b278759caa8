//! What `generate` writes, judged by those who read it: promtool, amtool, a YAML parser, and the names that Sloth's public
//! dashboards ask for. Each kind of SLO is generated, linted and run.

use bornright::config;
use bornright::domain::{Control, Nature, Severity, Span};
use bornright::generate::{self, Artefact, Input, Objective, Options, PeriodSource, ScanFrom, Target};
use bornright::slo::{Calendar, Composite, CompositeMode, ControlSelector, Member, Policy, Sli, Slo, Weights};
use std::path::Path;
use std::process::Command;

mod support;

const HOUR: Span = Span::HOUR;
const MINUTE: Span = Span::MINUTE;

fn span(text: &str) -> Span {
    Span::parse(text).expect("a duration")
}

const CONTROLS: &str = r"
apiVersion: bornright/v1
kind: ControlSet
metadata: { name: example }
spec:
  version: 1.0.0
  owner: identity
  controls:
    - { id: mfa, title: Second factor, severity: critical, checks: [{ format: ocsf, id: a }], fix_within: 2d }
    - { id: keys.rotated, title: Keys are rotated, severity: high, checks: [{ format: ocsf, id: b }], fix_within: 7d }
    - { id: logging, title: Logs are kept, severity: low, owner: platform, checks: [{ format: ocsf, id: c }] }
    - { id: admission, title: No privileged pods, severity: high, nature: preventive, checks: [{ format: ocsf, id: d }] }
";

/// Four controls of several severities.
fn controls() -> Vec<Control> {
    controls_of(CONTROLS)
}

fn controls_of(text: &str) -> Vec<Control> {
    let loaded = config::parse_definitions(&[("example.yaml".to_owned(), text.to_owned())]);
    let definitions = loaded.value.unwrap_or_else(|| panic!("{}", loaded.problems));
    definitions.controls().cloned().collect()
}

fn ids(ids: &[&str]) -> ControlSelector {
    ControlSelector { ids: ids.iter().map(|i| (*i).to_owned()).collect(), ..ControlSelector::default() }
}

fn slo(name: &str, controls: &[&str]) -> Slo {
    Slo { owner: "identity".to_owned(), ..Slo::new("pci", name, ids(controls), 0.99, span("30d")) }
}

fn every(scan: Span, slo: Slo) -> Objective {
    Objective { slo, scan_interval: scan, scan_from: ScanFrom::Assumed }
}

fn composite(name: &str, mode: CompositeMode, missing_is_bad: bool, members: &[(&str, f64)]) -> Slo {
    let members = members.iter().map(|(id, weight)| Member { slo: (*id).to_owned(), weight: *weight }).collect();
    Slo { composite: Some(Composite { mode, members, missing_is_bad }), ..slo(name, &[]) }
}

/// One SLO of every kind that there is.
fn all_kinds() -> Input {
    let two = [("pci-mfa", 3.0), ("pci-scopes", 1.0)];
    let fast = vec![
        Slo { unknown: Policy::Bad, description: "Everybody has a second factor {{ always }}.".to_owned(), ..slo("mfa", &["mfa"]) },
        Slo { scopes: vec!["prod-*".to_owned(), "a.b".to_owned()], waived: Policy::Good, ..slo("scopes", &["mfa", "keys.rotated"]) },
        Slo { labels: [("tier".to_owned(), "one".to_owned())].into(), ..slo("one-scope", &["mfa"]) }.for_scope("prod\"eu/1"),
        Slo { weights: Weights::Severity([0, 1, 2, 5, 10]), ..slo("weighted", &["*"]) },
        Slo { weights: Weights::Controls, ..slo("mean", &["mfa", "logging"]) },
        Slo { sli: Sli::TimeSlice { slice: MINUTE.times(5), threshold: 0.95 }, ..slo("slices", &["mfa"]) },
        Slo { sli: Sli::EvidenceFreshness, ..slo("fresh", &["mfa", "logging"]) },
        Slo { sli: Sli::Coverage, ..slo("covered", &["mfa"]) },
        Slo { sli: Sli::Gate { error_is_bad: true }, ..slo("gate-open", &["admission"]) },
        Slo { sli: Sli::Gate { error_is_bad: false }, objective: 0.999, ..slo("gate-closed", &["admission"]) },
        Slo { min_bad_resources: Some(3), ..slo("few", &["mfa"]) },
        composite("pooled", CompositeMode::Pooled, false, &two),
        composite("joint", CompositeMode::Joint, false, &two),
        composite("average", CompositeMode::Weighted, false, &two),
        composite("average-strict", CompositeMode::Weighted, true, &two),
        Slo { objective: 0.95, period: span("90d"), ..composite("worst", CompositeMode::Worst, false, &two) },
        composite("burns", CompositeMode::WeightedBurn, true, &[("pci-mfa", 0.5), ("pci-scopes", 0.5)]),
        composite("sum", CompositeMode::WeightedSum, false, &[("pci-mfa", 0.5), ("pci-scopes", 0.5)]),
        composite("any-slice", CompositeMode::AnySlice, false, &[("pci-slices", 1.0)]),
        composite("nested", CompositeMode::Worst, false, &[("pci-average", 1.0), ("pci-mfa", 1.0)]),
    ];
    let mut objectives: Vec<Objective> = fast.into_iter().map(|s| every(MINUTE.times(5), s)).collect();
    objectives.push(every(Span::DAY, slo("daily", &["logging"])));
    objectives.push(every(
        Span::DAY,
        Slo { sli: Sli::RemediationLatency, objective: 0.9, period: span("90d"), ..slo("deadlines", &["mfa", "keys.rotated"]) },
    ));
    Input { objectives, controls: controls(), options: Options::default() }
}

fn generated(target: Target, input: &Input) -> Vec<Artefact> {
    generate::generate(target, input).unwrap_or_else(|faults| panic!("{}", faults.join("\n"))).artefacts
}

fn write(dir: &Path, artefacts: &[Artefact]) {
    for a in artefacts {
        let path = dir.join(&a.path);
        std::fs::create_dir_all(path.parent().expect("a file stands in a directory")).expect("made");
        std::fs::write(path, &a.text).expect("written");
    }
}

/// Runs a program on the files of a directory that end so; its output if it fails.
fn judged(program: &str, arguments: &[&str], dir: &Path, ending: &str) {
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap_or_else(|e| panic!("{}: {e}", dir.display()))
        .map(|e| e.expect("an entry").path())
        .filter(|p| p.to_string_lossy().ends_with(ending))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "nothing in {}", dir.display());
    let out = Command::new(program)
        .args(arguments)
        .args(&files)
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}; ./test --setup installs it"));
    assert!(out.status.success(), "{}\n{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
}

fn check_rules(dir: &Path) {
    judged("promtool", &["check", "rules", "--lint=all", "--lint-fatal"], dir, ".rules.yaml");
}

fn run_tests(dir: &Path) {
    judged("promtool", &["test", "rules"], dir, ".test.yaml");
}

fn yaml(text: &str) -> serde_json::Value {
    config::from_yaml(text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn file<'a>(artefacts: &'a [Artefact], path: &str) -> &'a str {
    &artefacts.iter().find(|a| a.path == path).unwrap_or_else(|| panic!("no {path}")).text
}

#[test]
fn what_the_repository_has_is_what_the_shipped_definitions_generate() {
    let out = Command::new(env!("CARGO_BIN_EXE_bornright"))
        .args(["generate", "--check", "--config", "/dev/null/none"])
        .output()
        .expect("the program runs");
    assert_eq!(out.status.code(), Some(2), "a configuration that is not there is no reason to take another");
    let out = Command::new(env!("CARGO_BIN_EXE_bornright"))
        .args(["generate", "alerts", "dashboards", "reference", "--check"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("the program runs");
    assert!(
        out.status.success(),
        "generated files are not what would be generated now; run: cargo run -- generate alerts dashboards reference\n{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
}

#[test]
fn the_alerts_of_the_repository_are_sound_and_their_tests_pass() {
    let alerts = Path::new(env!("CARGO_MANIFEST_DIR")).join("alerts");
    check_rules(&alerts.join("rules"));
    run_tests(&alerts.join("tests"));
    judged("amtool", &["check-config"], &alerts, "alertmanager.yml");
}

#[test]
fn every_kind_of_slo_is_sound_and_its_tests_pass() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    write(dir.path(), &generated(Target::Alerts, &all_kinds()));
    check_rules(&dir.path().join("alerts/rules"));
    run_tests(&dir.path().join("alerts/tests"));
    judged("amtool", &["check-config"], &dir.path().join("alerts"), "alertmanager.yml");
}

#[test]
fn the_period_may_come_from_the_exporter_or_from_two_samples() {
    for source in [PeriodSource::Exporter, PeriodSource::Delta] {
        let mut input = all_kinds();
        // Members of composites come along.
        input.objectives.retain(|o| ["mfa", "scopes", "worst", "weighted", "mean"].contains(&o.slo.name.as_str()));
        input.options.period_source = source;
        let dir = tempfile::tempdir().expect("a temporary directory");
        write(dir.path(), &generated(Target::Alerts, &input));
        check_rules(&dir.path().join("alerts/rules"));
        run_tests(&dir.path().join("alerts/tests"));
    }
}

/// The expressions that differ by kind: over five minutes, over the period, and the alerts.
#[test]
fn each_kind_has_its_expressions() {
    let mut shown = String::new();
    for a in generated(Target::Alerts, &all_kinds()).iter().filter(|a| a.path.ends_with(".rules.yaml")) {
        let whole = yaml(&a.text);
        for group in whole["groups"].as_array().expect("groups") {
            for rule in group["rules"].as_array().expect("rules") {
                let name = rule["record"].as_str().or(rule["alert"].as_str()).expect("a name");
                let long = group["name"].as_str().is_some_and(|g| g.contains("period-recordings"));
                // Burn alerts differ by their tiers alone; three SLOs show them.
                let id = rule["labels"]["sloth_id"].as_str().unwrap_or("pci-mfa");
                let alert =
                    rule["alert"].is_string() && (name.ends_with("NoData") || ["pci-mfa", "pci-few", "pci-deadlines"].contains(&id));
                if long || name.ends_with("ratio_rate5m") || name.contains("weight") || alert {
                    shown.push_str(&format!(
                        "# {} {name}\n{}\n\n",
                        group["name"].as_str().unwrap_or(""),
                        rule["expr"].as_str().unwrap_or("").trim()
                    ));
                }
            }
        }
    }
    insta::with_settings!({ snapshot_path => "generate", prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("kinds", shown);
    });
    // The facts that matter, apart from how they are laid out.
    let squeezed: String = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    for fact in [
        // T1, with a policy.
        "sum(rate(compliance_resource_seconds_total{control=\"mfa\",state=~\"non_compliant|unknown\"}[5m])) / ( sum(rate(compliance_resource_seconds_total{control=\"mfa\",state=~\"compliant|non_compliant|unknown\"}[5m])) > 0 )",
        // A glob of scopes is a regular expression, a literal scope is itself.
        "scope=~\"prod-.*|a\\\\.b\"",
        "scope=\"prod\\\"eu/1\"",
        // T6.
        "> (14.4 * 0.01)",
        // T7.
        "compliance_slo_weight{framework=\"pci-average\"} * on(sloth_id) group_right()",
        "control=\"pci-joint\"",
        "compliance_slices_total{slo=\"pci-any-slice\",outcome=\"bad\"}",
        ">= 3",
    ] {
        assert!(
            squeezed.replace("( sum", "(sum").contains(&fact.replace("( sum", "(sum").replace(" > 0 )", " > 0)"))
                || squeezed.contains(fact),
            "{fact}"
        );
    }
}

/// What slok/sloth writes for an SLO over 30 days: names, labels, groups.
#[test]
fn sloths_own_facts_hold() {
    let artefacts = generated(Target::Alerts, &all_kinds());
    let whole = yaml(file(&artefacts, "alerts/rules/pci-mfa.rules.yaml"));
    let groups: Vec<&str> = whole["groups"].as_array().expect("groups").iter().map(|g| g["name"].as_str().expect("a name")).collect();
    assert_eq!(
        groups,
        [
            "sloth-slo-sli-recordings-pci-mfa",
            "sloth-slo-period-recordings-pci-mfa",
            "sloth-slo-meta-recordings-pci-mfa",
            "sloth-slo-alerts-pci-mfa"
        ]
    );
    let rules: Vec<&serde_json::Value> =
        whole["groups"].as_array().expect("groups").iter().flat_map(|g| g["rules"].as_array().expect("rules")).collect();
    let records: Vec<&str> = rules.iter().filter_map(|r| r["record"].as_str()).collect();
    let mut expected: Vec<String> = ["5m", "30m", "1h", "2h", "6h", "1d", "3d"].map(|w| format!("slo:sli_error:ratio_rate{w}")).to_vec();
    // A composite of it has a period of 90 days, so it is asked for that, too, and for the windows of its alerts.
    for needed in ["30d", "90d"] {
        expected.push(format!("slo:sli_error:ratio_rate{needed}"));
    }
    for name in expected.iter().map(String::as_str).chain([
        "slo:objective:ratio",
        "slo:error_budget:ratio",
        "slo:time_period:days",
        "slo:current_burn_rate:ratio",
        "slo:period_burn_rate:ratio",
        "slo:period_error_budget_remaining:ratio",
        "sloth_slo_info",
    ]) {
        assert_eq!(records.iter().filter(|r| **r == name).count(), 1, "{name} in {records:?}");
    }
    for rule in &rules {
        for (label, value) in [("sloth_id", "pci-mfa"), ("sloth_service", "pci"), ("sloth_slo", "mfa"), ("owner", "identity")] {
            assert_eq!(rule["labels"][label], value, "{rule}");
        }
        if let Some(window) = rule["record"].as_str().and_then(|r| r.strip_prefix("slo:sli_error:ratio_rate")) {
            assert_eq!(rule["labels"]["sloth_window"], window);
        }
    }
    let info = rules.iter().find(|r| r["record"] == "sloth_slo_info").expect("it is there");
    assert_eq!((&info["labels"]["sloth_objective"], &info["labels"]["sloth_spec"]), (&"99".into(), &"prometheus/v1".into()));
    let alerts: Vec<(&str, &str)> = rules
        .iter()
        .filter(|r| r["alert"].is_string())
        .map(|r| (r["labels"]["sloth_severity"].as_str().unwrap_or(""), r["labels"]["severity"].as_str().unwrap_or("")))
        .collect();
    assert_eq!(alerts, [("page", "critical"), ("ticket", "warning"), ("info", "info")]);
}

/// The queries of the public dashboards 14348 and 14643, filled in, on an SLO that burns and one with a period of 90 days.
#[test]
fn the_public_sloth_dashboards_find_their_series() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut input = all_kinds();
    input.objectives.retain(|o| o.slo.name == "mfa");
    input.objectives.push(every(MINUTE.times(5), Slo { period: span("90d"), ..slo("long", &["logging"]) }));
    write(dir.path(), &generated(Target::Alerts, &input));
    std::fs::copy(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/generate/public-dashboards.test.yaml"),
        dir.path().join("alerts/tests/public-dashboards.test.yaml"),
    )
    .expect("copied");
    judged("promtool", &["test", "rules"], &dir.path().join("alerts/tests"), "public-dashboards.test.yaml");
}

/// Annotations are templates: rendered by promtool, they say what a person needs, and a description with braces is text.
#[test]
fn annotations_say_what_since_when_how_much_and_where() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut input = all_kinds();
    input.objectives.retain(|o| o.slo.name == "mfa");
    write(dir.path(), &generated(Target::Alerts, &input));
    std::fs::copy(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/generate/annotations.test.yaml"),
        dir.path().join("alerts/tests/annotations.test.yaml"),
    )
    .expect("copied");
    judged("promtool", &["test", "rules"], &dir.path().join("alerts/tests"), "annotations.test.yaml");
}

#[test]
fn whatever_is_written_is_read_back_and_is_the_same_again() {
    let input = all_kinds();
    for target in Target::ALL {
        let artefacts = generated(*target, &input);
        assert_eq!(artefacts, generated(*target, &input), "{target} is not deterministic");
        for a in &artefacts {
            assert!(a.text.lines().take(5).any(|l| l.contains(generate::MARK)), "{} does not say that it is generated", a.path);
            if a.path.ends_with(".yaml") || a.path.ends_with(".yml") {
                assert!(yaml(&a.text).is_object(), "{}", a.path);
            }
        }
    }
}

#[test]
fn other_tools_get_what_they_can_read_and_are_told_the_rest() {
    let input = all_kinds();
    let sloth = yaml(file(&generated(Target::Sloth, &input), "exports/sloth/pci.yaml"));
    let slos = sloth["slos"].as_array().expect("slos");
    assert_eq!((slos.len(), &sloth["version"]), (input.objectives.len(), &"prometheus/v1".into()));
    assert_eq!(
        slos[0]["sli"]["events"]["error_query"],
        "sum(rate(compliance_resource_seconds_total{control=\"mfa\",state=~\"non_compliant|unknown\"}[{{.window}}]))"
    );
    let average = slos.iter().find(|s| s["name"] == "average").expect("there");
    let raw = average["sli"]["raw"]["error_ratio_query"].as_str().expect("a query");
    assert!(raw.contains("slo:sli_error:ratio_rate{{.window}}{"), "{raw}");

    let pyrra = generate::generate(Target::Pyrra, &input).expect("generated");
    let mfa = yaml(file(&pyrra.artefacts, "exports/pyrra/pci-mfa.yaml"));
    assert_eq!(
        (&mfa["spec"]["target"], &mfa["spec"]["window"], &mfa["spec"]["indicator"]["ratio"]["errors"]["metric"]),
        (&"99".into(), &"30d".into(), &"compliance_resource_seconds_total{control=\"mfa\",state=~\"non_compliant|unknown\"}".into())
    );
    assert!(pyrra.notes.iter().any(|n| n.starts_with("pci-average: left out")), "{:?}", pyrra.notes);

    let openslo = generated(Target::Openslo, &input);
    let slices = yaml(file(&openslo, "exports/openslo/pci-slices.yaml"));
    assert_eq!(
        (&slices["spec"]["budgetingMethod"], &slices["spec"]["objectives"][0]["timeSliceTarget"]),
        (&"Timeslices".into(), &0.95.into())
    );
    assert_eq!(slices["spec"]["timeWindow"][0]["duration"], "30d");

    let operator = generated(
        Target::Operator,
        &Input { options: Options { namespace: "monitoring".to_owned(), ..Options::default() }, ..input.clone() },
    );
    let object = yaml(file(&operator, "exports/operator/bornright-pci-mfa.yaml"));
    assert_eq!((&object["kind"], &object["metadata"]["namespace"]), (&"PrometheusRule".into(), &"monitoring".into()));
    let rules = yaml(file(&generated(Target::Alerts, &input), "alerts/rules/pci-mfa.rules.yaml"));
    assert_eq!(object["spec"]["groups"], rules["groups"]);
}

/// Whatever `generate openslo` writes is read as the SLO that it was; where it is not, the file and a note say what is lost.
#[test]
fn openslo_documents_are_read_back_as_the_same_slos() {
    let set = CONTROLS.replace("fix_within: 2d }", "fix_within: 2d, requirements: { soc2: [CC6.1] } }");
    let mut input = Input { controls: controls_of(&set), ..all_kinds() };
    let berlin = jiff::tz::TimeZoneDatabase::bundled().get("Europe/Berlin").expect("a zone");
    let by_calendar = |name: &str, calendar, period: &str| Slo { calendar: Some(calendar), period: span(period), ..slo(name, &["mfa"]) };
    let selector = ControlSelector {
        ids: vec!["m*".to_owned(), "logging".to_owned()],
        set: Some("example".to_owned()),
        requirement: Some("soc2/CC6".to_owned()),
        severity: vec![Severity::High, Severity::Critical],
        nature: vec![Nature::Detective],
    };
    let everything = Slo {
        description: "Two lines,\nthe second: \"# quoted\".".to_owned(),
        labels: [("team".to_owned(), "0123".to_owned()), ("tier".to_owned(), "yes".to_owned())].into(),
        controls: selector,
        objective: 0.99995,
        period: span("36h"),
        unknown: Policy::Good,
        waived: Policy::Bad,
        weights: Weights::Severity([0, 1, 2, 5, 10]),
        min_bad_resources: Some(2),
        expected_resources: Some(4000),
        scan_interval: Some(span("1m30s")),
        rescan_on_demand: true,
        runbook_url: "https://wiki.example/mfa#now".to_owned(),
        ..slo("everything", &[])
    };
    input.objectives.extend(
        [
            everything,
            Slo { sli: Sli::RemediationLatency, expected_events: Some(70), ..slo("events", &["mfa"]) },
            Slo { sli: Sli::TimeSlice { slice: Span::SECOND.times(90), threshold: 0.999 }, ..slo("odd-slices", &["mfa"]) },
            Slo { time_zone: berlin, ..by_calendar("monthly", Calendar::Month, "30d") },
            by_calendar("daily-report", Calendar::Day, "1d"),
            by_calendar("weekly", Calendar::Week, "7d"),
            by_calendar("yearly", Calendar::Year, "365d"),
            by_calendar("quarterly", Calendar::Quarter, "30d"),
            Slo { period: span("90m1s"), ..slo("odd-period", &["mfa"]) },
            slo("Upper_Case", &["mfa"]),
            Slo { service: "other".to_owned(), ..slo("mfa", &["mfa"]) },
            Slo { description: "é".repeat(1051), ..slo("wordy", &["mfa"]) },
        ]
        .map(|s| every(MINUTE.times(5), s)),
    );
    let output = generate::generate(Target::Openslo, &input).expect("generated");
    let mut docs = vec![("controls.yaml".to_owned(), set)];
    docs.extend(output.artefacts.iter().map(|a| (a.path.clone(), a.text.clone())));
    let loaded = config::parse_definitions(&docs);
    let back = loaded.value.unwrap_or_else(|| panic!("{}", loaded.problems)).slos;
    let composites = input.objectives.iter().filter(|o| o.slo.composite.is_some()).count();
    // What is said of the SLOs themselves (the codes) would be said of the originals, too.
    let said: Vec<&str> = loaded.problems.problems.iter().filter(|p| p.code.is_none()).map(|p| p.message.as_str()).collect();
    assert_eq!(said.len(), composites, "{}", loaded.problems);
    assert!(said.iter().all(|m| m.ends_with("it is left out")), "{said:?}");
    assert_eq!(back.len(), input.objectives.len() - composites);
    for Objective { slo, .. } in &input.objectives {
        let id = slo.id();
        let notes: Vec<&str> = output.notes.iter().filter_map(|n| n.strip_prefix(&id)?.strip_prefix(": not expressed: ")).collect();
        let told = |what: &str| assert!(notes.iter().any(|n| n.contains(what)), "{id}: no `{what}` in {notes:?}");
        let found = back.iter().find(|s| s.id() == id);
        let expected = match slo.name.as_str() {
            _ if slo.composite.is_some() => {
                told("the document is left out");
                assert_eq!(found, None);
                continue;
            }
            _ if slo.scope.is_some() => {
                told("`for_each: scope` made it for scope prod\"eu/1");
                Slo { scope: None, ..slo.clone() }
            }
            "quarterly" => {
                told("its rolling period of 30d: beside its calendar it is 90d");
                Slo { period: span("90d"), ..slo.clone() }
            }
            "odd-period" => {
                told("its period of 1h30m1s");
                Slo { period: span("91m"), ..slo.clone() }
            }
            "wordy" => {
                told("its description beyond 1050 characters");
                Slo { description: "é".repeat(1050), ..slo.clone() }
            }
            "Upper_Case" => {
                told("`Upper_Case` is none of DNS");
                slo.clone()
            }
            "mfa" if slo.service == "other" => {
                told("another SLO is called `mfa`");
                slo.clone()
            }
            _ => {
                assert!(notes.is_empty(), "{id}: {notes:?}");
                slo.clone()
            }
        };
        assert_eq!(found, Some(&expected), "{id}");
    }
    // What is read back is written the same again.
    let again = |o: &Objective| Objective { slo: back.iter().find(|s| s.id() == o.slo.id()).unwrap_or(&o.slo).clone(), ..o.clone() };
    let lossy = |o: &Objective| output.notes.iter().any(|n| n.starts_with(&format!("{}: ", o.slo.id())));
    let second = Input { objectives: input.objectives.iter().map(again).collect(), ..input.clone() };
    let second = generated(Target::Openslo, &second);
    for o in input.objectives.iter().filter(|o| !lossy(o)) {
        let path = format!("exports/openslo/{}.yaml", o.slo.id());
        assert_eq!(file(&second, &path), file(&output.artefacts, &path));
    }
}

/// The queries are there for other tools: as annotations, or as what is measured.
#[test]
fn openslo_documents_have_the_queries_too() {
    let input = all_kinds();
    let bad = "sum(compliance_resource_seconds_total{control=\"mfa\",state=~\"non_compliant|unknown\"})";
    let ours = yaml(file(&generated(Target::Openslo, &input), "exports/openslo/pci-mfa.yaml"));
    assert_eq!(ours["metadata"]["annotations"]["bornright/promql-bad"], bad);
    assert_eq!(ours["spec"]["indicator"]["spec"]["ratioMetric"]["bad"]["metricSource"]["type"], "bornright");

    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(dir.path().join("defs.yaml"), DEFINITIONS.replace(", for_each: scope", "")).expect("written");
    let (code, _, said) = support::run(dir.path(), &["generate", "openslo", "defs.yaml", "--openslo-source", "prometheus"]);
    assert_eq!(code, 0, "{said}");
    let theirs = yaml(&std::fs::read_to_string(dir.path().join("exports/openslo/pci-mfa.yaml")).expect("it is there"));
    let source = &theirs["spec"]["indicator"]["spec"]["ratioMetric"]["bad"]["metricSource"];
    assert_eq!((&source["type"], &source["spec"]["query"]), (&"Prometheus".into(), &bad.into()));
    assert_eq!(support::run(dir.path(), &["generate", "openslo", "defs.yaml", "--openslo-source", "guess"]).0, 2);
}

#[test]
fn alertmanager_gives_each_alert_to_its_owner() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    write(dir.path(), &generated(Target::Alerts, &all_kinds()));
    let route = |labels: &[&str]| {
        let out = Command::new("amtool")
            .args(["config", "routes", "test", "--config.file"])
            .arg(dir.path().join("alerts/alertmanager.yml"))
            .args(labels)
            .output()
            .expect("amtool runs");
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    };
    assert_eq!(route(&["alertname=ComplianceErrorBudgetBurn", "owner=identity", "severity=critical"]), "compliance-identity-page");
    assert_eq!(route(&["alertname=ComplianceEvidenceStale", "owner=platform", "severity=warning"]), "compliance-platform-ticket");
    assert_eq!(route(&["alertname=ComplianceExporterDown", "severity=critical"]), "compliance-anybody-page");
    assert_eq!(route(&["alertname=ComplianceErrorBudgetExhausted", "owner=elsewhere", "severity=info"]), "compliance-anybody-report");
    assert_eq!(route(&["alertname=Watchdog", "severity=critical"]), "default");
}

#[test]
fn what_cannot_be_written_is_said_and_nothing_is_written() {
    let faults = |slo: Slo| {
        let mut input = all_kinds();
        input.objectives.push(every(HOUR, slo));
        generate::generate(Target::Alerts, &input).expect_err("it must not be written").join("\n")
    };
    assert_eq!(
        faults(composite("p", CompositeMode::Pooled, false, &[("pci-mean", 1.0)])),
        "composite `pci-p` pools `pci-mean`, whose ratio is a mean and not a ratio of counters\n  help: use mode `weighted` or `worst`"
    );
    assert_eq!(faults(composite("p", CompositeMode::Worst, false, &[("pci-q", 1.0)])), "composite `pci-p` has no member `pci-q`");
    assert_eq!(
        faults(composite("p", CompositeMode::Worst, false, &[("pci-p", 1.0)])),
        "composite `pci-p` contains itself\n  help: take it out of its members, and out of theirs"
    );
    assert_eq!(faults(slo("p", &["nothing"])), "SLO `pci-p` covers no control");
    assert_eq!(
        faults(Slo { labels: [("sloth_id".to_owned(), "x".to_owned())].into(), ..slo("p", &["mfa"]) }),
        "SLO `pci-p`: label `sloth_id` is set by the generator\n  help: choose another name"
    );
}

const DEFINITIONS: &str = r"
apiVersion: bornright/v1
kind: ControlSet
metadata: { name: example }
spec:
  version: 1.0.0
  owner: identity
  controls:
    - { id: mfa, title: Second factor, severity: critical, checks: [{ format: ocsf, id: a }] }
---
apiVersion: bornright/v1
kind: SLO
metadata: { name: mfa }
spec: { service: pci, controls: { ids: [mfa] }, objective: 99%, period: 30d, unknown: bad, for_each: scope }
";

const CONFIG: &str = "collectors:\n- { name: hourly, every: 1h, from: { file: { path: none.json } }, format: ocsf }\ndefinitions: [defs.yaml]\nledger: { sqlite: { path: ledger.db } }\n";

#[test]
fn one_for_each_scope_needs_to_know_the_scopes() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(dir.path().join("defs.yaml"), DEFINITIONS).expect("written");
    std::fs::write(dir.path().join("bornright.yaml"), CONFIG).expect("written");
    let run = |args: &[&str]| support::run(dir.path(), args);
    let (code, _, said) = run(&["generate", "alerts"]);
    assert_eq!(code, 2, "{said}");
    assert!(
        said.contains("SLO `pci-mfa` is made for each scope, and no scope that it covers is known\n  help: name them with `--scope NAME`"),
        "{said}"
    );
    assert!(!dir.path().join("alerts").exists(), "nothing is written when something is wrong");

    let (code, out, said) = run(&["generate", "alerts", "--scope", "prod", "--scope", "stage"]);
    assert_eq!(code, 0, "{said}");
    assert!(out.ends_with("7 written, 0 unchanged\n"), "{out}");
    let rules = std::fs::read_to_string(dir.path().join("alerts/rules/pci-mfa-prod.rules.yaml")).expect("it is there");
    assert!(rules.contains("# Scan interval 1h (as collector hourly runs).") && rules.contains("scope=\"prod\""), "{rules}");

    // A scope goes: its files go. A file of somebody else stays, and one that was changed by hand is told.
    std::fs::write(dir.path().join("alerts/rules/mine.rules.yaml"), "groups: []\n").expect("written");
    let (code, out, _) = run(&["generate", "alerts", "--scope", "prod", "--check"]);
    assert_eq!(code, 1);
    assert!(out.contains("alerts/rules/pci-mfa-stage.rules.yaml: was generated once and would not be now"), "{out}");
    let (code, out, _) = run(&["generate", "alerts", "--scope", "prod"]);
    assert_eq!((code, out.matches("removed ").count()), (0, 2), "{out}");
    assert!(dir.path().join("alerts/rules/mine.rules.yaml").exists());
    assert_eq!(run(&["generate", "alerts", "--scope", "prod", "--check"]).0, 0);
    std::fs::write(dir.path().join("alerts/rules/pci-mfa-prod.rules.yaml"), rules.replace("14.4 * 0.01", "99 * 0.01")).expect("written");
    let (code, out, _) = run(&["generate", "alerts", "--scope", "prod", "--check"]);
    assert_eq!(code, 1);
    assert!(out.contains("99 * 0.01") && out.contains("14.4 * 0.01"), "{out}");
}

/// A member that no collector feeds is as slow as is assumed: the composite is not taken for faster than that.
#[test]
fn a_composite_is_as_slow_as_its_slowest_member() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let control = "    - { id: code, title: Code is analysed, severity: low, checks: [{ format: sarif, id: b }] }\n---";
    let more = r"---
apiVersion: bornright/v1
kind: SLO
metadata: { name: code }
spec: { service: pci, controls: { ids: [code] }, objective: 99%, period: 30d, unknown: bad }
---
apiVersion: bornright/v1
kind: SLO
metadata: { name: all }
spec: { service: pci, composite: { mode: worst, members: [pci-mfa, pci-code] }, objective: 98%, period: 30d }
";
    let definitions = DEFINITIONS.replace(", for_each: scope", "").replacen("---", control, 1) + more;
    std::fs::write(dir.path().join("defs.yaml"), definitions).expect("written");
    std::fs::write(dir.path().join("bornright.yaml"), CONFIG).expect("written");
    let (code, _, said) = support::run(dir.path(), &["generate", "alerts"]);
    assert_eq!(code, 0, "{said}");
    for (id, expected) in [
        ("mfa", "1h (as collector hourly runs)"),
        ("code", "1d (assumed, since neither the SLO nor a configuration says)"),
        ("all", "1d (as its slowest member)"),
    ] {
        let rules = std::fs::read_to_string(dir.path().join(format!("alerts/rules/pci-{id}.rules.yaml"))).expect("it is there");
        assert!(rules.contains(&format!("# Scan interval {expected}.")), "{rules}");
    }
}

#[test]
fn a_file_of_somebody_else_is_never_overwritten() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(dir.path().join("defs.yaml"), DEFINITIONS.replace(", for_each: scope", "")).expect("written");
    std::fs::create_dir_all(dir.path().join("out/alerts")).expect("made");
    std::fs::write(dir.path().join("out/alerts/alertmanager.yml"), "route: {}\n").expect("written");
    let (code, _, said) = support::run(dir.path(), &["generate", "alerts", "defs.yaml", "--out", "out"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("out/alerts/alertmanager.yml: this file was not generated"), "{said}");
    assert!(!dir.path().join("out/alerts/rules").exists(), "{said}");
    for wrong in [["--page-url", "javascript:x"], ["--scrape-interval", "2h"], ["--period-source", "guess"]] {
        assert_eq!(
            support::run(dir.path(), &[&["generate", "alerts", "defs.yaml", "--out", "new"][..], &wrong[..]].concat()).0,
            2,
            "{wrong:?}"
        );
    }
}
