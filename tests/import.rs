//! `bornright import` as a person meets it: a document in, definitions out that `check` takes.

mod support;

use std::path::{Path, PathBuf};
use support::{run, write};

fn here(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name).display().to_string()
}

struct Made {
    dir: tempfile::TempDir,
    code: i32,
    out: String,
    err: String,
}

/// Imports, and has what came out checked.
fn import(args: &[&str]) -> Made {
    let dir = tempfile::tempdir().expect("a directory");
    let args: Vec<&str> = std::iter::once("import").chain(args.iter().copied()).collect();
    let (code, out, err) = run(dir.path(), &args);
    if code == 0 {
        let file = write(dir.path(), "definitions.yaml", &out);
        let (checked, said, _) = run(dir.path(), &["check", &file.display().to_string()]);
        assert_eq!(checked, 0, "{said}\n{out}");
        assert!(said.contains("no problems"), "{said}\n{out}");
        assert_eq!(run(dir.path(), &args).1, out, "the same document gives the same text");
    }
    Made { dir, code, out, err }
}

fn refused(args: &[&str], expected: &str) {
    let made = import(args);
    assert_eq!((made.code, made.out.as_str()), (2, ""), "{}", made.err);
    assert!(made.err.contains(expected), "expected {expected:?}:\n{}", made.err);
}

/// The controls of the only control set: (id, severity, requirements, checks).
fn controls(yaml: &str) -> Vec<(String, String, serde_json::Value, serde_json::Value)> {
    let set = yaml.split("---\n").find(|d| d.contains("kind: ControlSet")).expect("a control set");
    let set: serde_json::Value = serde_yaml::from_str(set).expect("YAML");
    let text = |v: &serde_json::Value| v.as_str().unwrap_or_default().to_owned();
    let controls = set["spec"]["controls"].as_array().expect("controls");
    controls.iter().map(|c| (text(&c["id"]), text(&c["severity"]), c["requirements"].clone(), c["checks"].clone())).collect()
}

#[test]
fn a_profile_of_a_benchmark_becomes_a_control_set() {
    let stream = here("peers/acme-hosts-ds.xml");
    let made = import(&["xccdf", &stream, "--profile", "base", "--owner", "platform", "--prefix", "host-", "--set-name", "acme-hosts"]);
    assert_eq!(made.code, 0, "{}", made.err);
    assert!(made.out.contains("  name: acme-hosts\n") && made.out.contains("  version: \"1.4.0\"\n  owner: platform\n"), "{}", made.out);
    let made_of = controls(&made.out);
    let ids: Vec<&str> = made_of.iter().map(|c| c.0.as_str()).collect();
    // The rule that the profile takes out, and the one in a group that is not selected, are not there.
    assert_eq!(ids, ["host-ssh_no_root_login", "host-ssh_port", "host-motd_not_world_writable", "host-door_is_locked"]);
    assert_eq!(made_of[0].1, "high");
    assert_eq!(made_of[0].2, serde_json::json!({"cis-debian-linux": ["5.1.20"], "nist-800-53-r4": ["AC-6(2)", "IA-2"]}));
    assert_eq!(made_of[0].3, serde_json::json!([{"format": "xccdf", "id": "xccdf_example.acme_rule_ssh_no_root_login"}]));
    // The profile's value stands in the text, and markup does not.
    assert!(made.out.contains("Set Port 2222."), "{}", made.out);
    assert!(made.out.contains("A shared account leaves no name in the log, & root is the first that is tried."), "{}", made.out);
    for said in
        ["1 reference to https://wiki.acme.example/security was not carried over", "fix scripts of 1 rule", "1 rule without a check"]
    {
        assert!(made.err.contains(said) && made.out.contains(said), "{said}\n{}", made.err);
    }
}

#[test]
fn a_profile_that_extends_another_changes_what_it_says_and_nothing_else() {
    let stream = here("peers/acme-hosts-ds.xml");
    let own = "https://wiki.acme.example/=acme-house";
    let made = import(&["xccdf", &stream, "--profile", "xccdf_example.acme_profile_strict", "--framework", own]);
    let made_of = controls(&made.out);
    let ids: Vec<(&str, &str)> = made_of.iter().map(|c| (c.0.as_str(), c.1.as_str())).collect();
    let expected = [
        ("ssh_no_root_login", "high"),
        ("ssh_port", "low"),
        // Refined.
        ("motd_not_world_writable", "high"),
        // The benchmark does not know.
        ("broken", "medium"),
        // In a group that only this profile selects.
        ("never_selected", "info"),
    ];
    assert_eq!(ids, expected);
    assert_eq!(made_of[0].2["acme-house"], serde_json::json!(["house rule 7"]));
    assert!(made.out.contains("owner: unassigned") && made.err.contains("name one with --owner"), "{}", made.err);
}

#[test]
fn what_is_no_benchmark_is_refused_with_a_reason() {
    let stream = here("peers/acme-hosts-ds.xml");
    refused(&["xccdf", &stream], "which profile is not said");
    refused(&["xccdf", &stream], "    strict  Hosts with customers' data");
    refused(&["xccdf", &stream, "--profile", "strickt"], "there is no profile `strickt`");
    refused(&["xccdf", &here("import/catalog.json"), "--profile", "x"], "this is no XML document");
    refused(&["xccdf", &here("formats/xccdf/no-zone.root.xml"), "--profile", "x"], "without its Benchmark");
    refused(&["xccdf", "/nowhere.xml", "--profile", "x"], "/nowhere.xml");
    refused(&["xccdf", &stream, "--profile", "base", "--framework", "acme"], "expected ADDRESS=FRAMEWORK");

    let dir = tempfile::tempdir().expect("a directory");
    let text = std::fs::read_to_string(&stream).expect("the stream");
    let variant = |name: &str, text: &str| write(dir.path(), name, text).display().to_string();
    let entity = text.replacen("<ds:data-stream-collection", "<!DOCTYPE x [<!ENTITY a \"b\">]><ds:data-stream-collection", 1);
    refused(&["xccdf", &variant("dtd.xml", &entity), "--profile", "base"], "a document type declaration is refused");
    let middle = text.find("<title>Files").expect("it is there");
    refused(&["xccdf", &variant("cut.xml", &text[..middle]), "--profile", "base"], "elements still open");
    let circle = text.replacen("_profile_base\">", "_profile_base\" extends=\"xccdf_example.acme_profile_strict\">", 1);
    refused(&["xccdf", &variant("circle.xml", &circle), "--profile", "base"], "extends itself");
    let deep = format!("{}{}", "<a>".repeat(5000), "</a>".repeat(5000));
    refused(&["xccdf", &variant("deep.xml", &deep), "--profile", "base"], "nested deeper");
    refused(&["xccdf", &variant("empty.xml", ""), "--profile", "base"], "the document is empty");
}

#[test]
fn a_catalog_becomes_a_framework() {
    let made = import(&["oscal", &here("import/catalog.json")]);
    let expected = r#"# Made by `bornright import oscal` from the catalog Acme's book of rules 2.1.
# Left out, because the catalog has withdrawn them: 1 control.
apiVersion: bornright/v1
kind: Framework
metadata:
  name: acme-s-book-of-rules
spec:
  title: "Acme's book of rules"
  version: "2.1"
  requirements:
    - { id: AC-1, title: Who comes in }
    - { id: AC-1(1), title: By night, parent: AC-1 }
    - { id: AC-2, title: Who goes out }
    - { id: sc-10, title: "They are locked: \"always\" # no exception" }
"#;
    assert_eq!(made.out, expected);
}

#[test]
fn profiles_are_resolved_from_the_documents_given() {
    let [catalog, base, small] = ["catalog", "base", "small"].map(|n| here(&format!("import/{n}.json")));
    let made = import(&["oscal", &small, &base, &catalog, "--name", "acme-hut"]);
    assert_eq!(made.code, 0, "{}", made.err);
    // Children came along; the exclusion of the last profile holds; of the others no framework is made.
    assert!(made.out.contains("name: acme-hut") && made.out.matches("kind: Framework").count() == 1, "{}", made.out);
    let ids: Vec<&str> = made.out.lines().filter_map(|l| l.strip_prefix("    - { id: ")?.split(',').next()).collect();
    assert_eq!(ids, ["AC-1", "AC-1(1)"]);
    assert!(made.err.contains("1 control that the profile names") && made.err.contains("ac-99"), "{}", made.err);
    let made = import(&["oscal", &base, &catalog]);
    assert!(made.out.contains("id: sc-10"), "{}", made.out);
    refused(&["oscal", &base], "which is not among the documents given");
    refused(&["oscal", &base], "catalog.json");
}

#[test]
fn a_component_definition_becomes_controls_with_checks_and_requirements() {
    let [component, catalog] = ["component", "catalog"].map(|n| here(&format!("import/{n}.json")));
    let own = "https://rules.acme.example/=acme-2.1";
    let made = import(&["oscal", &component, &catalog, "--framework", own, "--format", "conftest", "--owner", "house"]);
    let made_of = controls(&made.out);
    assert_eq!(made_of.len(), 2, "{}", made.out);
    assert_eq!(made_of[0].0, "door-locked");
    assert_eq!(made_of[0].2, serde_json::json!({"acme-2.1": ["AC-1(1)", "sc-10"]}));
    assert_eq!(made_of[0].3, serde_json::json!([{"format": "conftest", "id": "HS-7"}]));
    assert_eq!(made_of[1].3, serde_json::json!([{"format": "conftest", "id": "light-out"}]));
    assert!(made.err.contains("1 rule without a check of its own"), "{}", made.err);
    refused(&["oscal", &component, "--format", "nosuch"], "unknown format `nosuch`");
}

#[test]
fn other_documents_are_refused_with_a_reason() {
    let dir = tempfile::tempdir().expect("a directory");
    let document = |name: &str, text: &str| -> PathBuf { write(dir.path(), name, text) };
    let cases = [
        ("results.json", r#"{"assessment-results": {}}"#, "use `format: oscal` with a collector"),
        ("xml.json", "<catalog/>", "this is XML"),
        ("broken.json", r#"{"catalog": {"#, "not JSON"),
        ("other.json", r#"{"a": 1}"#, "found `a`"),
        ("none.json", r#"{"catalog": {"metadata": {}}}"#, "no control is left"),
        ("nothing.json", r#"{"profile": {"metadata": {}}}"#, "the profile imports nothing"),
        ("self.json", r##"{"profile": {"imports": [{"href": "self.json"}]}}"##, "not among the documents"),
        ("words.json", r#"{"component-definition": {"components": []}}"#, "it names no rules"),
    ];
    for (name, text, expected) in cases {
        refused(&["oscal", &document(name, text).display().to_string()], expected);
    }
    let a = document("a.json", r#"{"profile": {"imports": [{"href": "b.json"}]}}"#).display().to_string();
    let b = document("b.json", r#"{"profile": {"imports": [{"href": "a.json"}]}}"#).display().to_string();
    let c = document("c.json", r#"{"profile": {"imports": [{"href": "a.json"}]}}"#).display().to_string();
    refused(&["oscal", &c, &a, &b], "in a circle");
    refused(&["oscal", &a, &b], "in a circle");
}

#[test]
fn a_control_file_keeps_its_ids_as_texts() {
    let file = here("import/control-file.yml");
    let made = import(&["cac", &file, "--owner", "platform"]);
    assert_eq!(made.code, 0, "{}", made.err);
    assert!(made.out.contains("version: \"1.10\"") && made.out.contains("{ id: \"1.10\", title: Auditing }"), "{}", made.out);
    assert!(made.out.contains("{ id: \"1.1.1\", title: Nobody logs in as root, parent: \"1.1\" }"), "{}", made.out);
    assert!(!made.out.contains("never_here") && !made.out.contains("protocol2") && !made.out.contains("sshd_port"), "{}", made.out);
    let made_of = controls(&made.out);
    assert_eq!(made_of.len(), 2);
    assert_eq!(made_of[1].0, "sshd_disable_root_login");
    assert_eq!(made_of[1].2, serde_json::json!({"acme-hosts": ["1.1.1", "1.10"]}));
    assert_eq!(made_of[1].3, serde_json::json!([{"format": "xccdf", "id": "xccdf_org.ssgproject.content_rule_sshd_disable_root_login"}]));

    let base = import(&["cac", &file, "--level", "base"]);
    assert!(!base.out.contains("Auditing") && base.out.contains("Nobody logs in"), "{}", base.out);
    let strict = import(&["cac", &file, "--level", "strict"]);
    assert!(strict.out.contains("Auditing") && strict.out.contains("Nobody logs in"), "{}", strict.out);
    refused(&["cac", &file, "--level", "top"], "one of base, strict");
    refused(&["cac", &here("import/catalog.json")], "no `controls`");
}

#[test]
fn only_a_file_that_import_made_is_replaced() {
    let made = import(&["oscal", &here("import/catalog.json")]);
    let dir = made.dir.path();
    let catalog = here("import/catalog.json");
    let args = ["import", "oscal", &catalog, "-o", "out.yaml"];
    assert_eq!(run(dir, &args).0, 0);
    assert_eq!(run(dir, &args).0, 0, "again");
    assert_eq!(std::fs::read_to_string(dir.join("out.yaml")).expect("written"), made.out);
    write(dir, "out.yaml", "mine: true\n");
    let (code, _, err) = run(dir, &args);
    assert!(code == 2 && err.contains("was not made by `import`"), "{err}");
    assert_eq!(std::fs::read_to_string(dir.join("out.yaml")).expect("still there"), "mine: true\n");
}

/// A framework is known to `check`, which then finds a requirement that is none.
#[test]
fn a_control_that_names_no_requirement_of_its_framework_is_noticed() {
    let made = import(&["oscal", &here("import/catalog.json"), "--name", "acme-2.1"]);
    let dir = made.dir.path();
    let control = |id: &str| {
        format!(
            "---\napiVersion: bornright/v1\nkind: ControlSet\nmetadata: {{ name: a }}\nspec:\n  version: 1.0.0\n  owner: me\n  controls:\n    - id: c\n      title: t\n      severity: low\n      requirements: {{ acme-2.1: [{id}] }}\n      checks: [{{ id: x }}]\n"
        )
    };
    for (id, problem) in [("AC-1", false), ("AC-1(a)", false), ("AC-1(1)", false), ("AC-3", true), ("AC-1(7)", true)] {
        write(dir, "definitions.yaml", &format!("{}{}", made.out, control(id)));
        let (code, said, _) = run(dir, &["check", "definitions.yaml"]);
        assert_eq!((code, said.contains("acme-2.1 does not have")), (0, problem), "{id}: {said}");
    }
}
