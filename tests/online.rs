//! `bornright check --online` against sources that answer, refuse, and are not there.

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use support::{run, write};

/// Answers every request alike, on a port of its own.
fn server(status: &'static str, body: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("it has one").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    port
}

/// A port at which nobody listens.
fn nobody() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("it has one").port()
}

const DEFINITIONS: &str = "apiVersion: bornright/v1\nkind: ControlSet\nmetadata: { name: a }\nspec:\n  version: 1.0.0\n  owner: me\n  controls:\n    - { id: c, title: t, severity: low, checks: [{ format: native, id: x }] }\n";

#[test]
fn each_source_is_asked_once_and_what_is_missing_is_said() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    write(dir, "defs/a.yaml", DEFINITIONS);
    write(dir, "scans/a.ndjson", "{}\n");
    write(dir, "token", "t0ken\n");
    let http = |name: &str, port: u16| {
        format!(
            "  - name: {name}\n    every: 1h\n    from: {{ http: {{ url: \"http://127.0.0.1:{port}/x\", retries: 0 }} }}\n    format: native\n"
        )
    };
    let (good, who, no, broken, gone) = (
        server("200 OK", "{\"check\":\"x\",\"resource\":{\"id\":\"r\"},\"result\":\"pass\"}"),
        server("401 Unauthorized", "{}"),
        server("403 Forbidden", "{}"),
        server("500 Internal Server Error", "oh"),
        nobody(),
    );
    let mut config = "definitions: [defs]\ncollectors:\n".to_owned();
    for (name, port) in [("good", good), ("who", who), ("no", no), ("broken", broken), ("gone", gone)] {
        config += &http(name, port);
    }
    config += "  - { name: files, every: 1h, from: { file: { path: scans } }, format: native }\n";
    config += "  - { name: nofiles, every: 1h, from: { file: { path: \"other/*.json\" } }, format: native }\n";
    config += "  - { name: program, every: 1h, from: { command: { argv: [no-such-scanner] } }, format: native }\n";
    config += "  - { name: pushed, every: 1h, from: { push: { token_file: token } }, format: native }\n";
    write(dir, "bornright.yaml", &config);

    let (code, out, err) = run(dir, &["check", "--online", "--output", "json"]);
    let said: serde_json::Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{err}"));
    let answer = |name: &str| {
        let row = said["online"].as_array().expect("rows").iter().find(|r| r["collector"] == name).expect("a row").clone();
        let word = |key: &str| row[key].as_str().expect("a word").to_owned();
        (word("reachable"), word("authenticated"), word("permitted"), row["good"].as_bool().expect("yes or no"))
    };
    let is = |a: &str, b: &str, c: &str, good: bool| (a.to_owned(), b.to_owned(), c.to_owned(), good);
    assert_eq!(code, 1);
    assert_eq!(answer("good"), is("yes", "yes", "yes", true), "{out}");
    assert_eq!(answer("who"), is("yes", "no", "unknown", false), "{out}");
    assert_eq!(answer("no"), is("yes", "yes", "no", false), "{out}");
    assert!(!answer("broken").3, "{out}");
    assert_eq!(answer("gone"), is("no", "unknown", "unknown", false), "{out}");
    assert_eq!(answer("files"), is("yes", "yes", "yes", true), "{out}");
    assert!(!answer("nofiles").3, "{out}");
    assert_eq!(answer("program").0, "no", "{out}");
    assert_eq!(answer("pushed"), is("yes", "yes", "yes", true), "{out}");
    assert!(!dir.join("data").exists(), "nothing is written");

    let (code, out, _) = run(dir, &["check", "--online"]);
    assert_eq!(code, 1);
    assert!(out.contains("online: one call to each source") && out.contains("there is no program `no-such-scanner`"), "{out}");
    assert!(!out.contains("t0ken"), "{out}");

    write(dir, "bornright.yaml", &format!("definitions: [defs]\ncollectors:\n{}", http("good", good)));
    assert_eq!(run(dir, &["check", "--online"]).0, 0);
    // Without the flag nobody is asked.
    write(dir, "bornright.yaml", &format!("definitions: [defs]\ncollectors:\n{}", http("gone", gone)));
    assert_eq!(run(dir, &["check"]).0, 0);
    let (code, out, _) = run(dir, &["check", "--online", "defs"]);
    assert!(code == 2 && out.contains("nobody was asked"), "{out}");
}
