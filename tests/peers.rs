//! Scanners run for real, and what they leave is read, judged and shown as their users would see it.
//!
//! The numbers that are asserted are those of the estate that was made, not those that some program of ours printed once.

mod support;

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::peers::{ACCOUNT, Moto, REGION, ends_with, peer, python};
use support::{bornright, run, write};

/// Whoever names a peer here may count on it in a test. `./test --setup` installs them all.
#[test]
fn every_peer_is_here() {
    let python = ["moto_server", "custodian", "trestle", "prowler"];
    let debian = ["prometheus", "promtool", "prometheus-alertmanager", "amtool", "oscap", "chromium"];
    let postgresql = ["initdb", "postgres", "pg_ctl", "psql"];
    for program in python.iter().chain(&debian).chain(&postgresql) {
        assert!(peer(program).is_file());
    }
}

fn ours(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(name)
}

/// An account with eight buckets, three of them open; five volumes, two unencrypted; two keys, one never rotated.
fn account() -> Moto {
    let moto = Moto::start();
    let mut seed = python();
    moto.env(&mut seed);
    ends_with(&[0], seed.arg(ours("seed.py")));
    moto
}

fn custodian(moto: &Moto, dir: &Path, output: &str, policies: &Path) -> Command {
    let mut command = Command::new(peer("custodian"));
    moto.env(&mut command);
    command.current_dir(dir).env("HOME", dir).stdin(Stdio::null());
    command.args(["run", "--dryrun", "--region", REGION, "--cache-period", "0", "-s", output]).arg(policies);
    command
}

/// `gate` on a configuration, and what it says of each control.
fn gate(dir: &Path) -> (i32, Value) {
    let (code, out, err) = run(dir, &["gate", "--output", "json"]);
    (code, serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}\n{err}")))
}

/// (compliant, non-compliant, unknown) of a control in a scope, or none if it has no row there.
fn counts(gate: &Value, control: &str, scope: &str) -> Option<(u64, u64, u64)> {
    let row = gate["controls"].as_array()?.iter().find(|c| c["control"] == control && c["scope"] == scope)?;
    let number = |key: &str| row[key].as_u64().expect("a count");
    Some((number("compliant"), number("non_compliant"), number("unknown")))
}

const AWS_CONTROLS: &str = r#"
apiVersion: bornright/v1
kind: ControlSet
metadata: { name: aws }
spec:
  version: 1.0.0
  owner: platform
  controls:
    - id: buckets-private
      title: No bucket takes a public policy
      severity: critical
      checks: [{ format: cloud_custodian, id: s3-public-block-missing }]
      population: { collector: custodian, id: s3-inventory }
    - id: volumes-encrypted
      title: Volumes are encrypted
      severity: high
      checks:
        - { format: cloud_custodian, id: ebs-unencrypted }
        - { format: ocsf, id: ec2_ebs_volume_encryption }
      population: { collector: custodian, id: ebs-inventory }
    - id: keys-rotated
      title: Keys are rotated
      severity: high
      checks: [{ format: ocsf, id: kms_cmk_rotation_enabled }]
    - id: rules-evaluated
      title: Rules of AWS Config have run
      severity: low
      checks: [{ format: cloud_custodian, id: config-rule-status }]
      population: { collector: custodian, id: config-inventory }
"#;

#[test]
fn custodian_lists_what_is_wrong_and_its_own_inventory_says_how_much_is_right() {
    let (moto, dir) = (account(), tempfile::tempdir().expect("a directory"));
    let dir = dir.path();
    // One policy fails, so custodian says so; the others ran.
    ends_with(&[2], &mut custodian(&moto, dir, "out", &ours("custodian.yml")));
    write(dir, "defs/aws.yaml", AWS_CONTROLS);
    let configuration = |file: &str| {
        format!(
            "definitions: [defs]\ncollectors:\n  - name: custodian\n    every: 1h\n    from: {{ file: {{ {file}, settle: 0s }} }}\n    format: cloud_custodian\n"
        )
    };
    write(dir, "bornright.yaml", &configuration("path: out"));
    let (code, said) = gate(dir);
    // The policy that failed left metadata and no resources. The run is not whole, so what it does not list is not known
    // to comply.
    assert_eq!(code, 2);
    assert_eq!(counts(&said, "buckets-private", ACCOUNT), Some((0, 3, 5)), "{said:#}");
    assert_eq!(counts(&said, "rules-evaluated", ACCOUNT), None, "{said:#}");
    let collector = &said["collectors"][0];
    assert_eq!(collector["complete"], false);
    assert!(collector["problems"].to_string().contains("config-rule-status"), "{collector:#}");

    // Whoever leaves that policy out knows the rest.
    write(dir, "bornright.yaml", &configuration("path: out, exclude: [config-rule-status]"));
    let (_, said) = gate(dir);
    assert_eq!(counts(&said, "buckets-private", ACCOUNT), Some((5, 3, 0)), "{said:#}");
    assert_eq!(counts(&said, "volumes-encrypted", ACCOUNT), Some((3, 2, 0)), "{said:#}");
    assert_eq!(counts(&said, "rules-evaluated", ACCOUNT), None, "{said:#}");

    // The same policies, less the one that fails, written into a bucket: every file compressed, below year, month, day and
    // hour.
    let policies = std::fs::read_to_string(ours("custodian.yml")).expect("policies");
    let whole = policies.split("  - name: config-rule-status").next().expect("the policies before it");
    let policies = write(dir, "policies.yml", whole);
    let in_bucket = |args: &[&str]| {
        let mut command = python();
        moto.env(&mut command);
        ends_with(&[0], command.current_dir(dir).arg(ours("bucket.py")).args(args));
    };
    in_bucket(&["make", "custodian-output"]);
    ends_with(&[0], &mut custodian(&moto, dir, &format!("s3://custodian-output/runs?region={REGION}"), &policies));
    in_bucket(&["fetch", "custodian-output", "fetched"]);
    write(dir, "bornright.yaml", &configuration("path: fetched/runs"));
    let (_, said) = gate(dir);
    // The bucket for the output is a ninth, and nobody closed it.
    assert_eq!(counts(&said, "buckets-private", ACCOUNT), Some((5, 4, 0)), "{said:#}");
    assert_eq!(counts(&said, "volumes-encrypted", ACCOUNT), Some((3, 2, 0)), "{said:#}");
    assert_eq!(said["collectors"][0]["complete"], true, "{said:#}");
}

#[test]
fn prowler_and_custodian_look_at_the_same_volumes_and_each_is_counted_once() {
    let (moto, dir) = (account(), tempfile::tempdir().expect("a directory"));
    let dir = dir.path();
    ends_with(&[2], &mut custodian(&moto, dir, "out", &ours("custodian.yml")));
    let mut prowler = Command::new(peer("prowler"));
    moto.env(&mut prowler);
    prowler.current_dir(dir).env("HOME", dir).stdin(Stdio::null());
    prowler.args(["aws", "--region", REGION, "--no-banner", "--no-color", "--log-level", "CRITICAL", "-M", "json-ocsf"]);
    // Checks of S3 would ask for the name of a host that is not on this machine.
    prowler.args(["--output-directory", "prowler", "--check", "ec2_ebs_volume_encryption", "kms_cmk_rotation_enabled"]);
    // 3: it found violations.
    ends_with(&[3], &mut prowler);
    write(dir, "defs/aws.yaml", AWS_CONTROLS);
    write(
        dir,
        "bornright.yaml",
        r#"
definitions: [defs]
collectors:
  - name: custodian
    every: 1h
    from: { file: { path: out, exclude: [config-rule-status], settle: 0s } }
    format: cloud_custodian
  - name: prowler
    every: 1h
    from: { file: { path: prowler, settle: 0s } }
    format: ocsf
"#,
    );
    let (_, said) = gate(dir);
    assert_eq!(counts(&said, "volumes-encrypted", ACCOUNT), Some((3, 2, 0)), "{said:#}");
    assert_eq!(counts(&said, "keys-rotated", ACCOUNT), Some((1, 1, 0)), "{said:#}");
    let prowler = &said["collectors"].as_array().expect("a list")[1];
    assert_eq!((&prowler["collector"], &prowler["complete"]), (&Value::from("prowler"), &Value::from(true)), "{said:#}");
}

/// `findings.py`, with the account's number.
fn findings_py(moto: &Moto, dir: &Path, args: &[&str]) {
    let mut command = python();
    moto.env(&mut command);
    command.current_dir(dir).env("MOTO_ACCOUNT_ID", ACCOUNT);
    ends_with(&[0], command.arg(ours("findings.py")).args(args));
}

const HUB_CONTROLS: &str = r#"
apiVersion: bornright/v1
kind: ControlSet
metadata: { name: hub }
spec:
  version: 1.0.0
  owner: platform
  controls:
    - id: buckets-closed
      title: Buckets block public access
      severity: high
      checks: [{ format: asff, id: S3.8 }]
    - id: functions-in-a-network
      title: Functions run in a network of ours
      severity: low
      checks: [{ format: ocsf, id: awslambda_function_inside_vpc }]
---
apiVersion: bornright/v1
kind: SLO
metadata: { name: hub }
spec:
  service: platform
  controls: { ids: [buckets-closed] }
  objective: 80%
  period: 30d
"#;

#[test]
fn findings_of_security_hub_and_a_document_in_a_bucket_are_read_from_the_account_itself() {
    let (moto, dir) = (Moto::start(), tempfile::tempdir().expect("a directory"));
    let dir = dir.path();
    findings_py(&moto, dir, &["import", "730"]);
    let mut bucket = python();
    moto.env(&mut bucket);
    ends_with(&[0], bucket.arg(ours("bucket.py")).args(["make", "acme-scans"]));
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats/ocsf/prowler-5.46-three.ocsf.json");
    let key = format!("prowler/{ACCOUNT}/three.ocsf.json");
    findings_py(&moto, dir, &["put", "acme-scans", sample.to_str().expect("a path of ours"), &key]);
    findings_py(&moto, dir, &["put", "acme-scans", sample.to_str().expect("a path of ours"), "elsewhere/three.ocsf.json"]);
    write(dir, "defs/hub.yaml", HUB_CONTROLS);
    write(
        dir,
        "bornright.yaml",
        &format!(
            r#"
definitions: [defs]
collectors:
  - name: hub
    every: 1h
    max_age: 3650d
    # The emulator knows the findings, and not which controls are switched off.
    from: {{ aws_security_hub: {{ region: {REGION}, disabled_controls: false }} }}
  - name: bucket
    every: 1h
    max_age: 3650d
    from: {{ s3: {{ region: {REGION}, bucket: acme-scans, path: "prowler/{{account}}/*.ocsf.json" }} }}
    format: ocsf
"#
        ),
    );
    let mut command = bornright();
    moto.env(&mut command);
    let output = ends_with(&[0], command.current_dir(dir).args(["gate", "--output", "json"]));
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    for collector in said["collectors"].as_array().expect("a list") {
        assert_eq!((&collector["complete"], &collector["problems"]), (&Value::from(true), &Value::Array(Vec::new())), "{said:#}");
    }
    assert_eq!(counts(&said, "buckets-closed", ACCOUNT), Some((657, 73, 0)), "{said:#}");
    assert_eq!(counts(&said, "functions-in-a-network", ACCOUNT), Some((0, 1, 0)), "{said:#}");
}

const HOST_CONTROLS: &str = r#"
apiVersion: bornright/v1
kind: ControlSet
metadata: { name: hosts }
spec:
  version: 1.0.0
  owner: platform
  controls:
    - id: no-root-login
      title: Nobody logs in as root over SSH
      severity: high
      checks: [{ format: xccdf, id: xccdf_example.acme_rule_ssh_no_root_login }]
    - id: ssh-port
      title: SSH listens on the port of the house
      severity: low
      checks: [{ format: xccdf, id: xccdf_example.acme_rule_ssh_port }]
    - id: motd
      title: Not everybody writes the message of the day
      severity: medium
      checks: [{ format: xccdf, id: xccdf_example.acme_rule_motd_* }]
    - id: broken
      title: A check that cannot be carried out
      severity: low
      checks: [{ format: xccdf, id: xccdf_example.acme_rule_broken }]
    - id: locked
      title: The machine room is locked
      severity: medium
      checks: [{ format: xccdf, id: xccdf_example.acme_rule_door_is_locked }]
---
apiVersion: bornright/v1
kind: SLO
metadata: { name: hosts }
spec:
  service: platform
  controls: { ids: [no-root-login, ssh-port, motd] }
  objective: 60%
  period: 30d
"#;

/// A host that lives in a directory, looked at by OpenSCAP with content of ours.
struct Host<'d> {
    dir: &'d Path,
}

impl Host<'_> {
    fn is(&self, sshd: &str, motd: u32) {
        use std::os::unix::fs::PermissionsExt;
        write(self.dir, "host/etc/ssh/sshd_config", sshd);
        let motd_path = write(self.dir, "host/etc/motd", "welcome\n");
        std::fs::set_permissions(motd_path, std::fs::Permissions::from_mode(motd)).expect("it is ours");
    }

    /// Runs the scanner: 0 nothing failed, 2 something did.
    fn scan(&self, profile: &str, code: i32) {
        let content = std::fs::read_to_string(ours("acme-hosts-ds.xml")).expect("the data stream");
        let root = self.dir.join("host");
        // trestle takes what follows the first hyphen for the kind of host, and fails where there is none.
        write(self.dir, "acme-hosts-ds.xml", &content.replace("@ROOT@", root.to_str().expect("a path of ours")));
        let mut oscap = Command::new(peer("oscap"));
        oscap.current_dir(self.dir).stdin(Stdio::null()).args([
            "xccdf",
            "eval",
            "--profile",
            &format!("xccdf_example.acme_profile_{profile}"),
        ]);
        oscap.args(["--results", "scan.xccdf.xml", "--results-arf", "scan.arf.xml", "acme-hosts-ds.xml"]);
        ends_with(&[code], &mut oscap);
    }

    fn name(&self) -> String {
        let (_, out, err) = run(self.dir, &["findings", "--format", "xccdf", "scan.arf.xml"]);
        let first: Value = serde_json::from_str(out.lines().next().unwrap_or_else(|| panic!("{err}"))).expect("JSON");
        first["resource"]["id"].as_str().expect("the host").to_owned()
    }
}

#[test]
fn openscap_finds_what_is_wrong_on_a_host_and_sees_it_mended() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let host = Host { dir };
    write(dir, "defs/hosts.yaml", HOST_CONTROLS);
    write(
        dir,
        "bornright.yaml",
        "definitions: [defs]\nscope: all\ncollectors:\n  - name: openscap\n    every: 1d\n    new_resource_grace: 0s\n    from: { file: { path: scan.arf.xml, settle: 0s } }\n    format: xccdf\n",
    );
    host.is("Port 2222\nPermitRootLogin yes\n", 0o646);
    host.scan("base", 2);
    let (code, said) = gate(dir);
    // One of three holds, and 60 % are promised.
    assert_eq!(code, 1, "{said:#}");
    let slo = &said["slos"][0];
    assert!((slo["ratio"].as_f64().expect("a ratio") - 1.0 / 3.0).abs() < 1e-9, "{slo:#}");
    for (control, expected) in [("no-root-login", (0, 1, 0)), ("ssh-port", (1, 0, 0)), ("motd", (0, 1, 0))] {
        assert_eq!(counts(&said, control, "all"), Some(expected), "{control} {said:#}");
    }
    // What nobody looked at complies with nothing.
    assert!(counts(&said, "locked", "all").is_none_or(|c| c.0 == 0 && c.1 == 0), "{said:#}");
    assert!(counts(&said, "broken", "all").is_none_or(|c| c.0 == 0 && c.1 == 0), "{said:#}");

    host.is("Port 2222\nPermitRootLogin no\n", 0o644);
    host.scan("base", 0);
    let (code, said) = gate(dir);
    assert_eq!((code, &said["slos"][0]["ratio"]), (0, &Value::from(1.0)), "{said:#}");

    // A check that cannot be carried out is neither a pass nor a failure.
    host.scan("strict", 2);
    let (_, said) = gate(dir);
    assert_eq!(counts(&said, "broken", "all"), Some((0, 0, 1)), "{said:#}");
    assert!(!host.name().is_empty());
}

/// compliance-trestle reads the same XCCDF with a parser of its own.
#[test]
fn trestle_counts_the_same_results() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let host = Host { dir };
    host.is("Port 22\nPermitRootLogin no\n", 0o646);
    host.scan("strict", 2);
    let (code, out, err) = run(dir, &["findings", "--format", "xccdf", "--summary", "scan.xccdf.xml"]);
    assert_eq!(code, 0, "{err}");
    let ours: Value = serde_json::from_str(&out).expect("JSON");

    std::fs::create_dir(dir.join("in")).expect("a directory");
    std::fs::copy(dir.join("scan.xccdf.xml"), dir.join("in/scan.xml")).expect("a copy");
    write(dir, "task.config", "[task.xccdf-result-to-oscal-ar]\ninput-dir = in\noutput-dir = out\noutput-overwrite = true\nquiet = true\n");
    let mut trestle = Command::new(peer("trestle"));
    ends_with(&[0], trestle.current_dir(dir).stdin(Stdio::null()).args(["init", "--local"]));
    let mut trestle = Command::new(peer("trestle"));
    ends_with(&[0], trestle.current_dir(dir).stdin(Stdio::null()).args(["task", "xccdf-result-to-oscal-ar", "-c", "task.config"]));
    let made = std::fs::read_dir(dir.join("out")).expect("trestle wrote").flatten().next().expect("one file").path();
    let theirs: Value = serde_json::from_slice(&std::fs::read(made).expect("readable")).expect("JSON");
    let mut counted = std::collections::BTreeMap::<String, u64>::new();
    for observation in theirs["results"][0]["observations"].as_array().expect("observations") {
        let props = observation["subjects"][0]["props"].as_array().into_iter().chain(observation["props"].as_array()).flatten();
        let word = props.into_iter().find(|p| p["name"] == "result").expect("a result")["value"].as_str().expect("a word");
        *counted.entry(word.to_owned()).or_default() += 1;
    }
    let count = |word: &str| counted.get(word).copied().unwrap_or(0);
    let ours = |word: &str| ours["results"][word].as_u64().expect("a count");
    assert_eq!(ours("pass"), count("pass") + count("fixed"), "{counted:?}");
    assert_eq!(ours("fail"), count("fail"), "{counted:?}");
    assert_eq!(ours("error"), count("error") + count("unknown"), "{counted:?}");
    assert_eq!(ours("not_applicable"), count("notapplicable") + count("informational"), "{counted:?}");
    assert_eq!(ours("not_assessed"), count("notchecked") + count("notselected"), "{counted:?}");
    assert_eq!(counted.values().sum::<u64>(), 6);
}
