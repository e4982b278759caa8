//! What the operator wrote is read, or refused with a message worth reading.
//!
//! `tests/config/` has the cases: `good-*.yaml` is sound, `invalid-*.yaml` and `warning-*.yaml` stand beside the exact
//! text they bring (`.txt`); `*-def-*` and `*definitions*` are read as definitions. After a change of wording run
//! `BLESS=1 cargo test --test config` and read the difference as a reviewer.

use bornright::config::{self, Checked, ProblemSeverity};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn fixtures(prefix: &str) -> Vec<PathBuf> {
    let mut out: Vec<PathBuf> = std::fs::read_dir(root().join("tests/config"))
        .expect("the directory is part of the repository")
        .map(|e| e.expect("readable").path())
        .filter(|p| p.extension().is_some_and(|e| e == "yaml") && stem(p).starts_with(prefix))
        .collect();
    out.sort();
    out
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn stem(path: &Path) -> String {
    path.file_stem().expect("a file").to_string_lossy().into_owned()
}

fn check(path: &Path) -> Checked {
    let name = stem(path);
    if name.contains("-def-") || name.contains("definitions") && !name.starts_with("invalid-") {
        config::check(None, &[path.to_owned()])
    } else {
        config::check(Some(path), &[])
    }
}

/// What was said, with paths as a person in the directory would see them.
fn said(checked: &Checked) -> String {
    let dir = format!("{}/", root().join("tests/config").display());
    checked.problems.to_string().replace(&dir, "") + "\n"
}

#[test]
fn what_is_wrong_is_said_exactly() {
    let cases: Vec<PathBuf> = fixtures("invalid-").into_iter().chain(fixtures("warning-")).collect();
    assert!(fixtures("invalid-").len() >= 60, "cases went missing");
    let mut wrong = Vec::new();
    for path in cases {
        let checked = check(&path);
        let (name, found) = (stem(&path), said(&checked));
        assert_eq!(checked.problems.fatal(), name.starts_with("invalid-"), "{name}: {found}");
        assert!(!checked.problems.problems.is_empty(), "{name} was taken without a word");
        for p in &checked.problems.problems {
            assert!(p.line > 0 && p.column > 0, "{name}: a problem without its place: {p}");
            assert!(!p.message.ends_with('.') && p.message.len() < 400, "{name}: {p}");
        }
        let expected = path.with_extension("txt");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&expected, &found).expect("writable");
        }
        let text = std::fs::read_to_string(&expected).unwrap_or_default();
        if text != found {
            wrong.push(format!("== {name}: found\n{found}== expected\n{text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_message_belongs_to_a_case() {
    for entry in std::fs::read_dir(root().join("tests/config")).expect("there") {
        let path = entry.expect("readable").path();
        assert!(path.with_extension("yaml").exists(), "{} belongs to no case", path.display());
    }
}

#[test]
fn what_is_sound_is_taken_without_a_word() {
    for path in fixtures("good-") {
        let checked = check(&path);
        assert_eq!(said(&checked), "\n", "{}", path.display());
        assert!(!checked.unreadable);
    }
}

#[test]
fn every_key_means_what_the_manual_says() {
    let config = config::load(&root().join("tests/config/good-every-key.yaml")).expect("sound");
    assert_eq!(config.listen.to_string(), "0.0.0.0:9876");
    assert_eq!(config.series_limit, 10_000);
    assert_eq!(config.collectors.len(), 5);
    let hosts = &config.collectors[0];
    assert_eq!(
        (hosts.max_age.to_string(), hosts.new_resource_grace.to_string(), hosts.timeout.to_string()),
        ("3d".into(), "2d".into(), "5m".into())
    );
    let bornright::collectors::Reach::File(file) = &hosts.from else { panic!("a file") };
    assert!(file.paths[0].ends_with("tests/config/scans/{site}/*.arf.xml"), "relative to the configuration: {:?}", file.paths);
    // Defaults follow from `every`.
    let pages = &config.collectors[2];
    assert_eq!(
        (pages.max_age.to_string(), pages.new_resource_grace.to_string(), pages.timeout.to_string()),
        ("3h".into(), "1h".into(), "10m".into())
    );
    assert!(config.collectors[4].trust_suppressions);
    // A secret is a place, and prints as ***.
    assert!(format!("{:?}", config.collectors[1].from).contains("***"));
}

#[test]
fn definitions_mean_what_the_manual_says() {
    let d = config::load_definitions(&[root().join("tests/config/good-definitions.yaml")]).expect("sound");
    let control = d.controls().next().expect("one");
    // A version that looks like a number stays as written.
    assert_eq!((d.sets[0].version.as_str(), control.requirements[1].id.as_str()), ("2.10", "5.10"));
    assert_eq!((control.confirmations, control.owner.as_str()), (2, "platform"));
    assert_eq!(control.population.as_ref().expect("given").from.id, "*");
    assert_eq!(d.slos[0].objective.to_bits(), 0.999f64.to_bits(), "99.9% is the number nearest to 0.999");
    assert!(d.slos[0].controls.covers(control));
    let waiver = &d.waivers[0];
    assert_eq!((waiver.id.as_str(), waiver.from.to_string().as_str()), ("2026-q4/legacy", "2026-10-31T23:00:00Z"));
}

/// One SLO for each literal scope, members found by id and by name, one default for each control without its own.
#[test]
fn objectives_mean_what_the_manual_says() {
    use bornright::slo::{Calendar, CompositeMode, Sli, Weights};
    let d = config::load_definitions(&[root().join("tests/config/good-definitions-objectives.yaml")]).expect("sound");
    let ids: Vec<String> = d.slos.iter().map(|s| s.id()).collect();
    assert_eq!(
        ids,
        [
            "platform-storage-prod-eu",
            "platform-storage-prod-us",
            "platform-storage-evidence",
            "platform-fixes",
            "platform-gates",
            "platform-everything",
            "platform-framework-cis",
            "control-b"
        ]
    );
    let us = &d.slos[1];
    assert_eq!(
        (us.scope.as_deref(), us.for_each_scope, us.covers_scope("prod/us"), us.covers_scope("prod-eu")),
        (Some("prod/us"), false, true, false)
    );
    assert_eq!(us.sli, Sli::TimeSlice { slice: bornright::domain::Span::HOUR, threshold: 0.95 });
    assert_eq!((us.calendar, us.time_zone.iana_name()), (Some(Calendar::Quarter), Some("Europe/Berlin")));
    assert_eq!(us.weights, Weights::Severity([1, 0, 1, 1, 10]));
    assert_eq!((us.min_bad_resources, us.expected_resources, us.expected_events), (Some(2), Some(400), Some(2000)));
    assert!(us.rescan_on_demand && us.owner == "team-storage" && us.labels["team"] == "storage");
    assert_eq!(d.slos[4].sli, Sli::Gate { error_is_bad: false });
    let members = |i: usize| {
        let c = d.slos[i].composite.as_ref().expect("a composite");
        (c.mode, c.members.iter().map(|m| (m.slo.as_str(), m.weight)).collect::<Vec<_>>())
    };
    let everything = [("platform-storage-prod-eu", 2.5), ("platform-storage-prod-us", 2.5), ("platform-fixes", 1.0)].to_vec();
    assert_eq!(members(5), (CompositeMode::Weighted, everything));
    assert!(d.slos[5].composite.as_ref().expect("a composite").missing_is_bad);
    assert!(!d.slos[5].sli.held(), "a composite with a member that counts events has empty windows too");
    assert_eq!(members(6), (CompositeMode::Joint, [("control-b", 1.0)].to_vec()));
    // `a` has an SLO of its own, `b` is covered alone only by one on gates.
    let b = &d.slos[7];
    assert_eq!((b.objective, b.owner.as_str(), b.description.as_str()), (0.995, "platform", "B"));
}

/// All three budgeting methods, calendar windows, inline and referenced indicators, several objectives, composites.
#[test]
fn openslo_documents_mean_what_their_specification_says() {
    use bornright::slo::{Calendar, CompositeMode, Policy, Sli};
    let d = config::load_definitions(&[root().join("tests/config/good-definitions-openslo.yaml")]).expect("sound");
    let ids: Vec<String> = d.slos.iter().map(|s| s.id()).collect();
    assert_eq!(
        ids,
        [
            "platform-a",
            "platform-a-slices-internal-objective",
            "platform-a-slices-contract",
            "platform-both-a",
            "platform-both-b",
            "platform-both",
            "platform-seen"
        ]
    );
    let a = &d.slos[0];
    assert_eq!((a.objective, a.period.to_string().as_str(), a.unknown, a.waived), (0.995, "28d", Policy::Bad, Policy::Exclude));
    assert_eq!((a.description.as_str(), a.labels["team"].as_str(), a.owner.as_str()), ("A holds.", "storage", "team-a"));
    assert_eq!(a.scan_interval.map(|s| s.to_string()).as_deref(), Some("6h"));
    let slices = &d.slos[1];
    assert_eq!(slices.sli, Sli::TimeSlice { slice: bornright::domain::Span::HOUR, threshold: 0.95 });
    assert_eq!(slices.objective.to_bits(), 0.995f64.to_bits());
    assert_eq!((slices.calendar, slices.time_zone.iana_name()), (Some(Calendar::Month), Some("Europe/Berlin")));
    let both = d.slos[5].composite.as_ref().expect("a composite");
    assert_eq!(both.mode, CompositeMode::WeightedBurn);
    let members: Vec<_> = both.members.iter().map(|m| (m.slo.as_str(), m.weight)).collect();
    assert_eq!(members, [("platform-both-a", 0.5), ("platform-both-b", 1.0)]);
    assert_eq!(d.slos[4].unknown, Policy::Exclude, "what is said by states goes before words");
    assert_eq!(d.slos[6].sli, Sli::Coverage);
}

#[test]
fn a_faulty_waiver_costs_itself() {
    let d = config::load_definitions(&[root().join("tests/config/warning-def-waiver-invalid.yaml")]).expect("nothing else is touched");
    assert_eq!(d.waivers.len(), 1, "the good one holds");
    assert_eq!(d.invalid_waivers.len(), 8);
    assert!(d.invalid_waivers.iter().all(|(id, why)| id.starts_with("w/") && !why.is_empty()));
}

#[test]
fn the_digest_of_a_mapping_changes_with_its_meaning_only() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(dir.path().join("slo-definitions")).expect("writable");
    let digest = |collector: &str| {
        let path = dir.path().join("bornright.yaml");
        std::fs::write(&path, format!("collectors:\n  - name: a\n    every: 1h\n{collector}")).expect("writable");
        config::load(&path).expect("sound").collectors[0].mapping_digest.clone()
    };
    let base = digest("    from: { file: { path: x } }\n    format: ocsf\n");
    assert_eq!(base.len(), 64);
    assert_eq!(
        base,
        digest("    format: ocsf\n    max_age: 1d\n    from: { file: { path: y } }\n"),
        "where and how often is not what it means"
    );
    let mut seen = BTreeSet::from([base]);
    for other in [
        "    format: asff\n",
        "    format: ocsf\n    trust_suppressions: true\n",
        "    format: ocsf\n    scope: x\n",
        "    format: ocsf\n    fields: { a: b }\n",
    ] {
        assert!(seen.insert(digest(&format!("    from: {{ file: {{ path: x }} }}\n{other}"))), "{other}");
    }
}

#[test]
fn directories_are_walked_in_order_and_hidden_files_left_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let set = |name: &str| {
        format!(
            "apiVersion: bornright/v1\nkind: ControlSet\nmetadata: {{ name: {name} }}\nspec:\n  version: 1\n  owner: o\n  controls: [{{ id: {name}-c, title: t, severity: low, checks: [{{ format: ocsf, id: x }}] }}]\n"
        )
    };
    std::fs::create_dir_all(dir.path().join("b/deep")).expect("writable");
    for (file, name) in
        [("c.yml", "third"), ("b/deep/x.yaml", "second"), ("a.yaml", "first"), (".hidden.yaml", "hidden"), ("readme.md", "text")]
    {
        std::fs::write(dir.path().join(file), set(name)).expect("writable");
    }
    let d = config::load_definitions(&[dir.path().to_owned()]).expect("sound");
    assert_eq!(d.sets.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["first", "second", "third"]);
    let again = config::load_definitions(&[dir.path().to_owned()]).expect("sound");
    assert_eq!(d.digest, again.digest);
    std::fs::write(dir.path().join("c.yml"), set("fourth")).expect("writable");
    assert_ne!(d.digest, config::load_definitions(&[dir.path().to_owned()]).expect("sound").digest);
}

#[test]
fn what_cannot_be_read_is_said_and_is_not_sound() {
    let missing = root().join("tests/config/no-such-file.yaml");
    assert!(config::check(Some(&missing), &[]).unreadable);
    assert!(config::check(None, std::slice::from_ref(&missing)).unreadable);
    assert!(config::load(&missing).expect_err("not there").to_string().ends_with("check the path and its permissions"));
    let dir = tempfile::tempdir().expect("a directory");
    let binary = dir.path().join("x.yaml");
    std::fs::write(&binary, b"\xff\xfe\x00").expect("writable");
    assert!(config::load_definitions(&[binary]).expect_err("not text").to_string().contains("not UTF-8"));
}

#[test]
fn hostile_documents_end_in_a_problem() {
    let parse = |text: String| config::parse_definitions(&[("x.yaml".to_owned(), text)]);
    // Deep nesting, a bomb of aliases, a huge number of documents, control characters.
    let bomb = (0..12).fold("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned(), |t, i| {
        t + &format!("a{}: &a{} [{}]\n", i + 1, i + 1, vec![format!("*a{i}"); 10].join(","))
    });
    for text in [
        "[".repeat(100_000),
        "{a: ".repeat(5000),
        bomb,
        "---\n- x\n".repeat(2000),
        "\u{0}\u{1}: [".to_owned(),
        "a: !!binary x\n? [b]\n: c\n".to_owned(),
    ] {
        let loaded = parse(text);
        assert!(loaded.value.is_none() && loaded.problems.fatal());
    }
    assert!(parse(String::new()).value.is_some(), "an empty file is no definition, and no fault");
}

#[test]
fn shipped_definitions_are_useful_as_they_are() {
    let docs: Vec<(String, String)> = config::shipped().iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    let loaded = config::parse_definitions(&docs);
    assert_eq!(loaded.problems.to_string(), "");
    let d = loaded.value.expect("no problems");
    let mut ids = BTreeSet::new();
    for control in d.controls() {
        assert!(ids.insert(&control.id), "{} twice", control.id);
        assert!(!control.requirements.is_empty() && control.requirements.iter().all(|r| !r.id.is_empty()), "{}", control.id);
        for text in [&control.title, &control.owner, &control.rationale, &control.remediation, &control.training] {
            assert!(!text.is_empty(), "{}", control.id);
        }
        assert!(control.fix_within.is_some() && !control.checks.is_empty(), "{}", control.id);
        assert!(d.slos.iter().any(|s| s.controls.covers(control)), "{} is in no SLO", control.id);
    }
    for (set, least) in [
        ("aws-identity", 8),
        ("aws-logging", 8),
        ("aws-network", 8),
        ("aws-storage", 8),
        ("debian-host-hardening", 20),
        ("kubernetes-pod-security", 15),
        ("repository-pipeline", 12),
    ] {
        let found = d.sets.iter().find(|s| s.name == set).map_or(0, |s| s.controls.len());
        assert!(found >= least, "{set}: {found} controls");
    }
}

#[test]
fn shipped_definitions_are_those_of_the_directory() {
    let mut files: Vec<String> = std::fs::read_dir(root().join("slo-definitions"))
        .expect("part of the repository")
        .map(|e| e.expect("readable").file_name().to_string_lossy().into_owned())
        .filter(|n| n.ends_with(".yaml"))
        .map(|n| format!("slo-definitions/{n}"))
        .collect();
    files.sort();
    let shipped: Vec<&str> = config::shipped().iter().map(|(name, _)| *name).collect();
    assert_eq!(files, shipped, "add the file to src/config/shipped.rs");
}

#[test]
fn examples_are_sound() {
    for entry in std::fs::read_dir(root().join("examples")).expect("part of the repository") {
        let path = entry.expect("readable").path().join("bornright.yaml");
        if path.exists() {
            let checked = config::check(Some(&path), &[]);
            // The demo has several sets that its scanners feed only in part, which is worth a warning there too.
            let demo = path.parent().is_some_and(|d| d.ends_with("demo"));
            let about = |s: ProblemSeverity| s == ProblemSeverity::Error || !demo;
            let wrong: Vec<String> = checked.problems.problems.iter().filter(|p| about(p.severity)).map(ToString::to_string).collect();
            assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        }
    }
}

fn bornright(args: &[&str], dir: &Path) -> (i32, String, String) {
    let out = assert_cmd::Command::cargo_bin("bornright")
        .expect("the binary is built with the tests")
        .current_dir(dir)
        .env_clear()
        .args(args)
        .output()
        .expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (out.status.code().expect("an exit code"), text(out.stdout), text(out.stderr))
}

#[test]
fn check_says_yes_no_or_cannot_tell() {
    let dir = root().join("tests/config");
    let (code, out, err) = bornright(&["check", "--config", "good-minimal.yaml"], &dir);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.contains("1 collector, 1 control in 1 set") && out.contains("no problems"), "{out}");
    // Warnings are allowed.
    let (code, out, _) = bornright(&["check", "--config", "warning-max-age.yaml"], &dir);
    assert!(code == 0 && out.contains("1 warning"), "{out}");
    // Results go to stdout, with paths as they were given.
    let (code, out, err) = bornright(&["check", "--config", "invalid-unknown-key.yaml"], &dir);
    assert_eq!((code, err.as_str()), (1, ""));
    assert!(out.starts_with("invalid-unknown-key.yaml:1:1: error: unknown key `listn`"), "{out}");
    // A waiver that holds nothing does not pass a review.
    let (code, out, _) = bornright(&["check", "warning-def-waiver-invalid.yaml"], &dir);
    assert!(code == 1 && out.contains("1 waiver, 8 waivers that hold nothing"), "{out}");
    for args in [&["check", "--config", "nowhere.yaml"][..], &["check", "nowhere"], &["check"]] {
        let (code, out, err) = bornright(args, &dir);
        assert_eq!(code, 2, "{args:?}: {out}{err}");
    }
}

#[test]
fn check_answers_programs_and_plans() {
    let dir = root().join("tests/config");
    let (code, out, _) = bornright(&["check", "--config", "good-every-key.yaml", "--plan", "--output", "json"], &dir);
    let answer: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &answer["ok"], &answer["errors"]), (0, &serde_json::json!(true), &serde_json::json!(0)));
    let plan = &answer["plan"];
    // Every 6 h: four runs, each of at least one request.
    assert_eq!(plan["collectors"][1]["calls_per_day_min"], 4);
    assert_eq!(plan["collectors"][1]["calls_per_run_max"], 500);
    // One control: 3 series and 2 requirements of its own, 16 a scope.
    assert_eq!(plan["series"][1], serde_json::json!({"scopes": 10, "pairs": 10, "series_min": 165, "series_max": 245, "folded": false}));
    let (_, out, _) = bornright(&["check", "--config", "good-every-key.yaml", "--plan"], &dir);
    assert!(out.contains("series_limit 10000 is reached with 10001 scopes"), "{out}");
    for (file, least) in [("good-azure.yaml", [24, 1, 4, 96]), ("good-gcp-wiz.yaml", [24, 96, 4, 0])] {
        let (_, out, _) = bornright(&["check", "--config", file, "--plan", "--output", "json"], &dir);
        let answer: serde_json::Value = serde_json::from_str(&out).expect("JSON");
        let calls = |i: usize| answer["plan"]["collectors"][i]["calls_per_day_min"].as_u64().unwrap_or(0);
        assert_eq!([calls(0), calls(1), calls(2), calls(3)], least, "{file}");
    }
    let (_, out, _) = bornright(&["check", "--config", "good-azure.yaml", "--plan"], &dir);
    assert!(out.contains("96 requests or more: one a page, and one an open incident"), "{out}");
    let (code, out, _) = bornright(&["check", "--output", "json", "invalid-def-kind.yaml"], &dir);
    let answer: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    let problem = &answer["problems"][0];
    assert_eq!((code, &problem["line"], &problem["column"], &problem["severity"]), (1, &2.into(), &7.into(), &"error".into()));
}

/// Whoever copies a configuration from a manual page of a cloud must get one that is sound.
#[test]
fn configurations_in_the_manuals_of_clouds_are_sound() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::copy(root().join("tests/config/clouds-definitions.yaml"), dir.path().join("definitions.yaml")).expect("writable");
    let mut seen = 0;
    for page in ["azure-defender", "azure-policy", "sentinel", "gcp-scc", "wiz"] {
        let text = std::fs::read_to_string(root().join(format!("docs/sources/{page}.md"))).expect("there");
        for block in text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).filter(|b| b.starts_with("collectors:")) {
            let path = dir.path().join("bornright.yaml");
            std::fs::write(&path, format!("definitions: [definitions.yaml]\n{block}")).expect("writable");
            let checked = config::check(Some(&path), &[]);
            assert!(!checked.problems.fatal(), "{page}: {}", checked.problems);
            seen += 1;
        }
    }
    assert!(seen >= 5, "blocks went missing");
}

/// Every 67th character of a good file dropped, doubled or replaced: whatever comes of it, nothing panics, and what is
/// refused is refused with a place.
#[test]
fn damaged_files_are_read_or_refused() {
    let definitions = std::fs::read_to_string(root().join("tests/config/good-definitions.yaml")).expect("there");
    let configuration = std::fs::read_to_string(root().join("tests/config/good-every-key.yaml")).expect("there");
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("bornright.yaml");
    for (text, is_definition) in [(definitions, true), (configuration, false)] {
        for (i, c) in text.char_indices().step_by(67) {
            for with in [String::new(), format!("{c}{c}"), ":".into(), "\n".into(), "\u{0}".into(), "{".into(), "é".into(), "- ".into()] {
                let damaged = format!("{}{with}{}", &text[..i], &text[i + c.len_utf8()..]);
                let problems = if is_definition {
                    config::parse_definitions(&[("x.yaml".to_owned(), damaged)]).problems
                } else {
                    std::fs::write(&path, damaged).expect("writable");
                    config::check(Some(&path), &[]).problems
                };
                assert!(problems.problems.iter().all(|p| p.line > 0 || p.path.ends_with(".yaml")), "{problems}");
            }
        }
    }
}
