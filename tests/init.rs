//! `bornright init` as a person without a terminal meets it.

mod support;

use support::{run, write};

#[test]
fn what_init_writes_is_checked_and_can_be_served() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let (code, out, err) = run(dir, &["init", "--scanner", "openscap,prowler", "--dir", "here"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("wrote here/bornright.yaml") && out.contains("wrote here/slo-definitions/debian-host-hardening.yaml"), "{out}");
    assert!(out.contains("SecurityAudit") && out.contains("oscap itself needs root"), "{out}");
    assert!(!dir.join("here/slo-definitions/kubernetes-pod-security.yaml").exists(), "nothing there has a source");
    let (code, out, err) = run(dir, &["check", "--config", "here/bornright.yaml"]);
    assert_eq!(code, 0, "{out}{err}");
    // Nothing was scanned yet, so nothing complies.
    let (code, out, _) = run(dir, &["gate", "--config", "here/bornright.yaml"]);
    assert_eq!(code, 2, "{out}");
    assert!(out.contains("could not tell"), "{out}");
}

#[test]
fn nothing_that_is_there_is_changed() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    write(dir, "slo-definitions/slos.yaml", "mine\n");
    let (code, out, err) = run(dir, &["init", "--scanner", "prowler"]);
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert!(err.contains("slos.yaml is there already, and nothing was written"), "{err}");
    assert!(!dir.join("bornright.yaml").exists());
    assert_eq!(std::fs::read_to_string(dir.join("slo-definitions/slos.yaml")).expect("there"), "mine\n");
}

#[test]
fn without_a_terminal_and_without_flags_it_says_what_to_do() {
    let dir = tempfile::tempdir().expect("a directory");
    let (code, _, err) = run(dir.path(), &["init"]);
    assert!(code == 2 && err.contains("no source was chosen") && err.contains("--scanner"), "{err}");
    let (code, _, err) = run(dir.path(), &["init", "--scanner", "prowlr"]);
    assert!(code == 2 && err.contains("prowler"), "{err}");
    assert_eq!(std::fs::read_dir(dir.path()).expect("readable").count(), 0);
}
