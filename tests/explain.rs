//! `explain`, `ledger` and the API, on what a running exporter has written.

mod support;

use support::{Served, run, write};

const TOKEN: &str = "a-token-that-nobody-guesses";

#[test]
fn explain_says_who_said_what_since_when_and_from_which_document() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "token", TOKEN);
    write(
        dir.path(),
        "defs/sets.yaml",
        "apiVersion: bornright/v1\nkind: ControlSet\nmetadata: { name: storage }\nspec:\n  version: 1.2.0\n  owner: platform\n  controls:\n    - id: storage-private\n      title: Storage is private\n      nature: preventive\n      severity: high\n      requirements: { nist-800-53-r5: [AC-3] }\n      checks: [ { id: bucket-private } ]\n      fix_within: 7d\n      rationale: Public storage leaks.\n      remediation: Block public access.\n      training: Read the storage chapter.\n",
    );
    write(
        dir.path(),
        "bornright.yaml",
        "ledger: { sqlite: { path: data/ledger.db } }\ndefinitions: [defs]\nscope: \"{account}\"\ncollectors:\n  - { name: ci, every: 1d, format: native, from: { push: { token_file: token } } }\n",
    );
    let (code, _, err) = run(dir.path(), &["explain", "storage-private"]);
    assert_eq!((code, err.contains("nothing has been collected yet")), (2, true), "{err}");
    let served = Served::start(dir.path(), &["serve"]);
    let finding = |id: &str, result: &str| {
        format!(
            "{{\"check\":\"bucket-private\",\"resource\":{{\"id\":\"arn:aws:s3:::{id}\",\"type\":\"AwsS3Bucket\"}},\"result\":\"{result}\",\"fields\":{{\"account\":\"acme\"}}}}\n"
        )
    };
    served.push("ci", TOKEN, (finding("good", "pass") + &finding("bad", "pass")).as_bytes());
    served.push("ci", TOKEN, (finding("good", "pass") + &finding("bad", "fail")).as_bytes());

    // Beside the running exporter.
    let (code, out, err) = run(dir.path(), &["explain", "storage-private"]);
    assert_eq!(code, 1, "{out}{err}");
    for said in [
        "storage-private: Storage is private",
        "required by: nist-800-53-r5 AC-3",
        "why: Public storage leaks.",
        "fix: Block public access.",
        "training: Read the storage chapter.",
        "to be fixed within 7d",
        "acme: 50.00 % (between 50.00 % and 50.00 %), coverage 100.00 %: 1 comply, 1 fail, 0 unknown, 0 waived",
        "arn:aws:s3:::bad\n  non_compliant since ",
        "(cause: resource)",
        "ci says fail by bucket-private",
        "sha256:",
    ] {
        assert!(out.contains(said), "`{said}` is missing in:\n{out}");
    }
    assert!(!out.contains("arn:aws:s3:::good"), "what complies is not listed:\n{out}");
    let (code, out, _) = run(dir.path(), &["explain", "storage-private", "--resource", "arn:aws:s3:::good", "--output", "json"]);
    let said: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &said["resources"][0]["state"]), (0, &serde_json::json!("compliant")), "{out}");
    let (code, _, err) = run(dir.path(), &["explain", "storage-privat"]);
    assert_eq!((code, err.contains("did you mean `storage-private`?")), (2, true), "{err}");

    let json = |path: &str| -> serde_json::Value { serde_json::from_str(&served.get(path).1).unwrap() };
    let found = json("/api/v1/findings?state=non_compliant");
    assert_eq!(found["items"][0]["resource"]["id"], "arn:aws:s3:::bad");
    assert_eq!(found["items"].as_array().map(Vec::len), Some(1));
    // Paging gives every pair once.
    let first = json("/api/v1/findings?limit=1");
    let next = first["next"].as_str().unwrap();
    let second = json(&format!("/api/v1/findings?limit=1&cursor={next}"));
    assert_ne!(first["items"][0]["resource"], second["items"][0]["resource"]);
    assert_eq!(second["next"], serde_json::Value::Null);
    assert_eq!(json("/api/v1/runs")["items"].as_array().map(Vec::len), Some(2));
    assert_eq!(served.get("/api/v1/findings?state=nonsense").0, 400);

    assert_eq!(run(dir.path(), &["ledger", "verify"]).0, 0, "beside the running exporter");
    assert_eq!(served.stop(), 0);
    let (code, out, err) = run(dir.path(), &["ledger", "export"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.lines().all(|l| serde_json::from_str::<serde_json::Value>(l).is_ok()) && out.contains("arn:aws:s3:::bad"), "{out}");
    // A second exporter on the same ledger is refused while the first one runs.
    let served = Served::start(dir.path(), &["serve"]);
    let (code, _, err) = run(dir.path(), &["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("ledger"), "{err}");
    drop(served);
}
