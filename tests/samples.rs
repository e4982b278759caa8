//! Walks `tests/formats/*/expected.json`: what each fixture comes to, read as its directory's format, and that `auto`
//! takes it for that format. To add a fixture, put the file beside the others and a line into `expected.json`:
//!
//! `"file.json": { "summary": {…as `findings --summary` prints…}, "complete": true, "auto": false }`
//!
//! `complete` and `auto` are true unless they say otherwise. A name that ends in `/` is a directory of Cloud Custodian's;
//! a `mapping` names the mapping of a jsonpath fixture.

use bornright::formats::jsonpath::{Mapping, RawMapping};
use bornright::formats::summary::Summary;
use bornright::formats::{self, Context, Format, FormatError, FormatSpec, Limits, Sink};
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats")
}

fn plain(path: &Path) -> Box<dyn Read> {
    let file = File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    if path.extension().is_some_and(|e| e == "gz") { Box::new(flate2::read::MultiGzDecoder::new(file)) } else { Box::new(file) }
}

fn open(path: &Path, name: &str) -> Box<dyn BufRead> {
    if name.ends_with('/') {
        let resources = path.join("resources.json");
        let resources = resources.exists().then(|| plain(&resources));
        return Box::new(BufReader::new(formats::custodian_envelope(plain(&path.join("metadata.json")), resources)));
    }
    Box::new(BufReader::new(plain(path)))
}

fn read(spec: &FormatSpec, path: &Path, name: &str) -> (Value, Result<bool, FormatError>) {
    let source = path.display().to_string();
    let ctx = Context { source: &source, limits: Limits::default(), want_raw: true };
    let mut summary = Summary::new();
    let outcome = formats::read(spec, &mut open(path, name), &ctx, &mut summary);
    let outcome = outcome.map(|o| o.complete).inspect_err(|e| {
        summary.problem(bornright::domain::Problem {
            kind: e.kind,
            source: String::new(),
            position: e.position,
            message: e.message.clone(),
        });
    });
    (serde_json::from_str(&summary.to_json()).expect("a summary is JSON"), outcome)
}

#[test]
fn every_fixture_comes_to_what_is_expected() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for dir in std::fs::read_dir(fixtures()).expect("fixtures").map(|e| e.expect("an entry").path()) {
        let Ok(text) = std::fs::read_to_string(dir.join("expected.json")) else { continue };
        let word = dir.file_name().and_then(|n| n.to_str()).expect("a UTF-8 name").to_owned();
        let expected: serde_json::Map<String, Value> = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{word}/expected.json: {e}"));
        for (name, want) in &expected {
            seen += 1;
            let path = dir.join(name);
            let spec = match want.get("mapping").and_then(Value::as_str) {
                Some(mapping) => {
                    let text = std::fs::read_to_string(dir.join(mapping)).expect("the mapping");
                    let raw: RawMapping = RawMapping::from_yaml(&text).unwrap_or_else(|e| panic!("{mapping}: {e}"));
                    FormatSpec::JsonPath(Arc::new(Mapping::compile(raw).unwrap_or_else(|e| panic!("{mapping}: {e:?}"))))
                }
                None => FormatSpec::Builtin(Format::from_word(&word).unwrap_or_else(|| panic!("no format is called `{word}`"))),
            };
            let (summary, outcome) = read(&spec, &path, name);
            if summary != want["summary"] {
                wrong.push(format!("{word}/{name}:\n  found    {summary}\n  expected {}", want["summary"]));
            }
            let complete = want.get("complete").is_none_or(|c| c == true);
            let found = outcome.as_ref().is_ok_and(|c| *c);
            if found != complete {
                wrong.push(format!("{word}/{name}: complete is {found}, expected {complete} ({outcome:?})"));
            }
            if want.get("auto").is_none_or(|a| a == true) && want.get("mapping").is_none() {
                let (auto, _) = read(&FormatSpec::Auto, &path, name);
                if auto != summary {
                    wrong.push(format!("{word}/{name}: auto reads it otherwise:\n  {auto}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 40, "only {seen} fixtures were found");
}

#[test]
fn every_format_has_fixtures() {
    let missing: Vec<&str> = Format::ALL.iter().map(|f| f.word()).filter(|w| !fixtures().join(w).is_dir()).collect();
    assert!(missing.is_empty(), "no directory under tests/formats for {missing:?}");
}

/// Every fixture, cut at many places and read as its format, gives no panic and never more than the whole did; and it is
/// never called complete when a bracket is missing.
#[test]
fn cut_fixtures_are_never_complete() {
    for dir in std::fs::read_dir(fixtures()).expect("fixtures").map(|e| e.expect("an entry").path()) {
        let word = dir.file_name().and_then(|n| n.to_str()).expect("a UTF-8 name").to_owned();
        let Some(format) = Format::from_word(&word) else { continue };
        let Ok(text) = std::fs::read_to_string(dir.join("expected.json")) else { continue };
        let expected: serde_json::Map<String, Value> = serde_json::from_str(&text).expect("JSON");
        for name in expected.keys().filter(|n| n.ends_with(".json")) {
            let whole = std::fs::read(dir.join(name)).expect("a fixture");
            let end = whole.trim_ascii_end().len();
            for cut in (0..end).step_by(end / 23 + 1) {
                let ctx = Context { source: name, limits: Limits::default(), want_raw: false };
                let mut summary = Summary::new();
                let outcome = formats::read(&FormatSpec::Builtin(format), &mut &whole[..cut], &ctx, &mut summary);
                assert!(!outcome.is_ok_and(|o| o.complete), "{word}/{name} cut at {cut} was taken for complete");
                let mut summary = Summary::new();
                let _ = formats::read(&FormatSpec::Auto, &mut &whole[..cut], &ctx, &mut summary);
            }
        }
    }
}
