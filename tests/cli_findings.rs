//! `bornright findings` as a person meets it.

use assert_cmd::Command;
use std::path::PathBuf;

fn bornright() -> Command {
    let mut command = Command::cargo_bin("bornright").expect("the program");
    command.env_remove("BORNRIGHT_LOG_LEVEL").env_remove("BORNRIGHT_LOG_FORMAT").env_remove("RUST_LOG");
    command
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/formats").join(name)
}

fn run(args: &[&str], stdin: &[u8]) -> (i32, String, String) {
    let output = bornright().args(args).write_stdin(stdin).output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (output.status.code().expect("an exit code"), text(&output.stdout), text(&output.stderr))
}

fn path(name: &str) -> String {
    fixture(name).display().to_string()
}

#[test]
fn the_summary_is_over_all_documents() {
    let one = path("gatekeeper/constraint.ns-must-have-gk.yaml");
    let two = path("wiz/CONSTRUCTED.configurationFindings.page2.json");
    let (code, out, err) = run(&["findings", "--summary", &one, &two], b"");
    assert_eq!(
        out,
        "{\"findings\":6,\"problems\":0,\"results\":{\"pass\":0,\"fail\":5,\"error\":0,\"manual\":0,\"not_applicable\":0,\"not_assessed\":1},\"suppressed\":0,\"inactive\":1,\"resources\":6,\"checks\":2}\n"
    );
    assert!(err.contains("is read as gatekeeper") && err.contains("is read as wiz"), "{err}");
    assert_eq!(code, 0);
}

#[test]
fn findings_come_as_native_ndjson() {
    let (code, out, err) = run(&["findings", "--format", "wiz", &path("wiz/CONSTRUCTED.configurationFindings.page1.json")], b"");
    assert_eq!(code, 0, "{err}");
    assert_eq!(out.lines().count(), 3);
    let first: serde_json::Value = serde_json::from_str(out.lines().next().expect("a line")).expect("JSON");
    assert_eq!(first["check"], "b7cf19cf-8fc7-4760-860c-55aec1ef2a0e");
    assert_eq!(first["resource"]["id"], "arn:aws:rds:us-east-1:998231069301:db:database-1");
    assert_eq!(first["result"], "pass");
    assert_eq!(first["observed_at"], "2024-04-30T04:01:25.753Z");
    assert_eq!(first["fields"]["account"], "998231069301");
    assert_eq!(first.get("lifecycle"), None);
    assert_eq!(first.get("count"), None);
    assert!(err.contains("truncated: the last page names a next one"), "{err}");
    let (_, out, _) = run(&["findings", "--output", "text", &path("gatekeeper/constraint.ns-must-have-gk.yaml")], b"");
    assert_eq!(
        out.lines().next(),
        Some("fail  K8sRequiredLabels/ns-must-have-gk  /Namespace//default  you must provide labels: {\"gatekeeper\"}")
    );
}

#[test]
fn standard_input_and_compression_are_taken() {
    use std::io::Write;
    let plain = std::fs::read(fixture("scc/CONSTRUCTED.v2.listFindings.page2.json")).expect("a fixture");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).expect("in memory");
    let gzip = gzip.finish().expect("in memory");
    for stdin in [&plain, &gzip] {
        let (code, out, err) = run(&["findings", "--summary", "-"], stdin);
        assert!(out.starts_with("{\"findings\":2,"), "{out}");
        assert!(err.contains("<stdin> is read as scc"), "{err}");
        assert_eq!(code, 0);
    }
    let (code, out, err) = run(&["findings", "--summary", "-"], &gzip[..gzip.len() / 2]);
    assert!(!out.contains("\"problems\":0"), "{out}");
    assert!(err.contains("truncated"), "{code} {err}");
}

#[test]
fn what_cannot_be_read_at_all_is_exit_2_and_the_rest_counts() {
    let good = path("gatekeeper/constraint.ns-must-have-gk.yaml");
    let (code, out, err) = run(&["findings", "--summary", "/nowhere/at/all", &good, "-"], b"just words");
    assert_eq!(code, 2);
    assert!(out.starts_with("{\"findings\":4,\"problems\":1,"), "{out}");
    assert!(err.contains("/nowhere/at/all: ") && err.contains("<stdin>: no known format has this shape"), "{err}");
    let (code, _, err) = run(&["findings", "--format", "trivyy", "-"], b"");
    assert_eq!(code, 2);
    assert!(err.contains("possible values") && err.contains("trivy"), "{err}");
    assert_eq!(run(&["findings"], b"").0, 2);
}

#[test]
fn problems_are_bounded() {
    let text = "{\"finding\":{\"category\":\"C\",\"resourceName\":\"r\",\"state\":\"?\"}}\n".repeat(100);
    let (code, _, err) = run(&["findings", "--summary", "--format", "scc", "-"], text.as_bytes());
    assert_eq!(err.lines().filter(|l| l.contains("is not known")).count(), 20);
    assert!(err.contains("<stdin>: … and 80 more problems"), "{err}");
    assert_eq!(code, 0);
}

#[test]
fn directories_are_cloud_custodians() {
    let (code, out, err) = run(&["findings", "--summary", &path("cloud_custodian")], b"");
    assert!(out.starts_with("{\"findings\":11,\"problems\":1,\"results\":{\"pass\":0,\"fail\":9,\"error\":0,\"manual\":0,\"not_applicable\":0,\"not_assessed\":2}"), "{out}");
    assert!(err.contains("config-rule-status"), "{err}");
    assert_eq!(code, 0);
    let (code, _, err) = run(&["findings", &path("wiz")], b"");
    assert_eq!(code, 2);
    assert!(err.contains("is a directory without Cloud Custodian policies"), "{err}");
}

#[test]
fn a_mapping_can_be_tried_out() {
    let (mapping, csv) = (path("jsonpath/prowler.yaml"), path("jsonpath/prowler.reduced.csv"));
    let (code, out, err) = run(&["findings", "--format", "jsonpath", "--mapping", &mapping, "--explain", &csv], b"");
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("result.path     $.STATUS          `MANUAL` → manual"), "{out}");
    let (code, _, err) = run(&["findings", "--format", "jsonpath", &csv], b"");
    assert!(code == 2 && err.contains("needs `--mapping FILE`"), "{err}");
    let dir = tempfile::tempdir().expect("a directory");
    let bad = dir.path().join("bad.yaml");
    std::fs::write(&bad, "check: $.a[\nresource: r\nresult: { path: $.s, pass: [x], fail: [x] }\n").expect("written");
    let bad = bad.display().to_string();
    let (code, _, err) = run(&["findings", "--format", "jsonpath", "--mapping", &bad, &csv], b"");
    assert_eq!(code, 2);
    assert!(err.contains("check: `$.a[` is not a JSONPath") && err.contains("result: `x` stands in two lists"), "{err}");
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    use std::io::Read;
    use std::process::Stdio;
    let big = "{\"finding\":{\"category\":\"C\",\"resourceName\":\"r\",\"state\":\"ACTIVE\"}}\n".repeat(20_000);
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("big.json");
    std::fs::write(&file, big).expect("written");
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("bornright"))
        .args(["findings", "--format", "scc"])
        .arg(&file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut some = [0; 10];
    child.stdout.take().expect("a pipe").read_exact(&mut some).expect("output");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn help_version_completions_and_the_man_page_come_from_one_definition() {
    let (code, out, _) = run(&["--version"], b"");
    assert_eq!((code, out.as_str()), (0, concat!("bornright ", env!("CARGO_PKG_VERSION"), "\n")));
    let (code, help, _) = run(&["--help"], b"");
    assert_eq!(code, 0);
    let (_, man, _) = run(&["man"], b"");
    let (_, bash, _) = run(&["completions", "bash"], b"");
    for command in ["demo", "serve", "check", "gate", "findings", "explain", "ledger", "completions", "man"] {
        assert!(help.contains(command) && man.contains(command) && bash.contains(command), "{command}");
    }
    assert_eq!(run(&["nonsense"], b"").0, 2);
    assert_eq!(run(&["--log-level", "loud", "completions", "bash"], b"").0, 2);
}

/// What docs/adding-a-scanner.md shows is what a person will see.
#[test]
fn the_manual_of_adding_a_scanner_shows_what_is_printed() {
    let manual = include_str!("../docs/adding-a-scanner.md");
    let here = |name: &str| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/adding_a_scanner").join(name);
    let dir = tempfile::tempdir().expect("a directory");
    let put = |from: &str, to: &str| std::fs::copy(here(from), dir.path().join(to)).expect("a copy");
    let printed = |args: &[&str]| {
        let output = bornright().current_dir(dir.path()).args(args).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    put("lantern.json", "lantern.json");
    for (mapping, record) in [("first.yaml", "1"), ("whole.yaml", "3")] {
        put(mapping, "lantern.yaml");
        let args = ["findings", "--format", "jsonpath", "--mapping", "lantern.yaml", "--explain", "--record", record, "lantern.json"];
        let out = printed(&args);
        assert!(manual.contains(&out), "docs/adding-a-scanner.md does not show\n{out}");
        let written = std::fs::read_to_string(here(mapping)).expect("a mapping");
        assert!(manual.contains(written.trim()), "docs/adding-a-scanner.md has another mapping than {mapping}");
    }
    std::fs::copy(fixture("wiz/CONSTRUCTED.configurationFindings.page1.json"), dir.path().join("wiz.json")).expect("a copy");
    let out = printed(&["findings", "--explain", "--record", "2", "wiz.json"]);
    assert!(manual.contains(&out), "docs/adding-a-scanner.md does not show\n{out}");
}

#[test]
fn explaining_tells_what_no_list_has_and_what_gave_nothing() {
    let mapping = "records: \"$.results[*]\"\ncheck: $.rule.id\nresource: $.asset.id\nresult: { path: $.state, pass: [ok, fine], fail: [violation] }\nfields: { account: $.asset.account }\n";
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let mapping = write("m.yaml", mapping);
    let lantern = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/adding_a_scanner/lantern.json").display().to_string();
    let explain = |more: &[&str], document: &str| {
        let mut args = vec!["findings", "--format", "jsonpath", "--mapping", &mapping, "--explain"];
        args.extend(more);
        args.push(document);
        run(&args, b"")
    };
    let (code, out, err) = explain(&["--record", "3"], &lantern);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("4 records") && out.contains("`no-access` → in none of the lists"), "{out}");
    assert!(out.contains("becomes no finding:") && out.contains("fields.account") && out.contains("gave nothing"), "{out}");
    assert!(out.contains("the word `fine` of the mapping stands in no record"), "{out}");
    let (_, out, _) = explain(&["--record", "9"], &lantern);
    assert!(out.contains("there is no record 9"), "{out}");
    let (_, out, _) = explain(&[], &write("none.json", "{\"results\":[]}"));
    assert!(out.contains("no record"), "{out}");
    let (code, _, err) = explain(&[], &write("other.json", "{\"rows\":[]}"));
    assert!(code == 2 && err.contains("no array at `$.results`; the document has rows"), "{err}");
    let many: String = (0..200).map(|i| format!("{{\"state\":\"free text {i}\"}},")).collect();
    let (_, out, _) = explain(&[], &write("many.json", &format!("{{\"results\":[{}{{}}]}}", many)));
    assert!(out.contains("… and more words: is `result.path` the verdict?"), "{out}");
    let (code, _, err) = run(&["findings", "--explain", "--record", "0", &lantern], b"");
    assert!(code == 2 && err.contains("--record"), "{err}");
}

#[test]
fn a_collector_can_be_tried_out_as_it_is_configured() {
    let dir = tempfile::tempdir().expect("a directory");
    let whole =
        std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/adding_a_scanner/whole.yaml")).expect("a mapping");
    let indented: String = whole.lines().map(|l| format!("        {l}\n")).collect();
    let config = format!(
        "definitions: [defs]\ncollectors:\n  - name: lantern\n    every: 1h\n    from: {{ file: {{ path: x.json }} }}\n    scope: \"{{account}}\"\n    format:\n      jsonpath:\n{indented}"
    );
    std::fs::create_dir(dir.path().join("defs")).expect("a directory");
    std::fs::write(dir.path().join("bornright.yaml"), config).expect("written");
    let config = dir.path().join("bornright.yaml").display().to_string();
    let lantern = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/adding_a_scanner/lantern.json").display().to_string();
    let (code, out, err) = run(&["findings", "--config", &config, "--collector", "lantern", "--explain", &lantern], b"");
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("scope: 417205518860 (by `{account}`)"), "{out}");
    let (_, out, _) = run(&["findings", "--config", &config, "--collector", "lantern", "--explain", "--record", "3", &lantern], b"");
    assert!(out.contains("scope: unplaced"), "{out}");
    let (_, out, _) = run(&["findings", "--config", &config, "--collector", "lantern", "--summary", &lantern], b"");
    assert!(out.contains("\"pass\":1,\"fail\":1,\"error\":1"), "{out}");
    let (code, _, err) = run(&["findings", "--config", &config, "--collector", "lantrn", &lantern], b"");
    assert!(code == 2 && err.contains("did you mean `lantern`?"), "{err}");
}
