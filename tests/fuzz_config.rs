//! Mutated configuration, definitions, mappings and compressed streams, for a bounded and repeatable while: the sister of
//! `fuzz_smoke.rs` for what operators write and what collectors open.
//!
//! What an operator writes wrongly must come back as problems with a place, never as a panic, a hang or a half-read
//! configuration that starts. What is compressed must come out whole, or end in an error, within its bounds.

use bornright::collectors::decode;
use bornright::config::{self, ProblemSeverity};
use bornright::domain::{Finding, Problem};
use bornright::formats::jsonpath::{Mapping, RawMapping};
use bornright::formats::{Context, Flow, FormatSpec, Limits, Sink, read};
use flate2::{Compression, write::GzEncoder};
use fuzz_support::{Alarm, Chance, keep, nasty_documents, patience, runs};
use std::fs;
use std::io::{Cursor, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

mod fuzz_support;

/// Mutations of each kind of text, times `BORNRIGHT_FUZZ_RUNS`.
const TURNS: usize = 300;

#[test]
fn definitions() {
    let mut seeds = yaml_under("slo-definitions");
    seeds.extend(yaml_under("tests/config"));
    seeds.push(DEFINITIONS.as_bytes().to_vec());
    each("definitions", &seeds, |input| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        let loaded = config::parse_definitions(&[("fuzz.yaml".to_owned(), text.to_owned())]);
        if loaded.value.is_none() {
            assert!(loaded.problems.fatal(), "nothing was read, and no error says why");
        }
        for problem in &loaded.problems.problems {
            assert!(!problem.message.is_empty(), "a problem that says nothing");
            let lines = text.lines().count() as u32 + 1;
            assert!(problem.line <= lines, "a problem at line {} of {lines}: {}", problem.line, problem.message);
        }
    });
}

#[test]
fn configuration() {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let path = dir.path().join("bornright.yaml");
    let mut seeds = yaml_under("tests/config");
    seeds.push(include_bytes!("../examples/demo/bornright.yaml").to_vec());
    each("config", &seeds, |input| {
        fs::write(&path, input).expect("a temporary file can be written");
        match config::load(&path) {
            Ok(config) => {
                for collector in &config.collectors {
                    assert!(!collector.name.is_empty() && collector.every.0 > 0, "a collector without a name or an interval");
                }
            }
            Err(errors) => assert!(errors.count(ProblemSeverity::Error) > 0, "refused, and no error says why"),
        }
    });
}

#[test]
fn mappings() {
    each("mapping", &[MAPPING.as_bytes().to_vec(), CSV_MAPPING.as_bytes().to_vec()], |input| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        let Ok(raw) = serde_yaml::from_str::<RawMapping>(text) else { return };
        match Mapping::compile(raw) {
            Ok(mapping) => {
                let spec = FormatSpec::JsonPath(Arc::new(mapping));
                for document in [JSON, CSV, "[]", "{\"results\":[null,{\"rule\":[]}]}"] {
                    document_through(&spec, document.as_bytes());
                }
            }
            Err(faults) => assert!(!faults.is_empty() && faults.iter().all(|(_, what)| !what.is_empty()), "refused, and nothing says why"),
        }
    });
}

#[test]
fn mapped_documents() {
    let specs: Vec<FormatSpec> = [MAPPING, CSV_MAPPING, QUERIES]
        .iter()
        .map(|text| {
            let raw = serde_yaml::from_str(text).expect("the mapping above is YAML");
            FormatSpec::JsonPath(Arc::new(Mapping::compile(raw).expect("the mapping above is sound")))
        })
        .collect();
    let mut seeds = vec![JSON.as_bytes().to_vec(), CSV.as_bytes().to_vec(), JSON.replace(['\n', ' '], "").into_bytes()];
    seeds.extend(nasty_documents().into_iter().map(|(_, bytes)| bytes));
    each("jsonpath", &seeds, |input| specs.iter().for_each(|spec| document_through(spec, input)));
}

#[test]
fn compressed_streams() {
    const MOST: u64 = 1 << 20;
    let mut seeds =
        vec![gzip(JSON.as_bytes()), [gzip(b"one"), gzip(b"two")].concat(), gzip(&vec![b' '; 4 << 20]), JSON.as_bytes().to_vec()];
    // One zstd frame: a header that gives no size, then a raw block, or a block of one byte repeated two million times.
    seeds.push([&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58, 0x19, 0x00, 0x00][..], b"abc"].concat());
    seeds.push(vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58, 0x03, 0x00, 0x10, b'a']);
    seeds.push(vec![0x50, 0x2a, 0x4d, 0x18, 0xff, 0xff, 0xff, 0xff]);
    each("decode", &seeds, |input| {
        let outcome = |input: &[u8]| {
            let mut reader = decode::open(Cursor::new(input.to_vec()), MOST, decode::MAX_RATIO)?;
            let mut plain: Vec<u8> = Vec::new();
            let mut piece = [0u8; 4096];
            loop {
                match reader.read(&mut piece) {
                    Ok(0) => return Ok(plain),
                    Ok(n) => plain.extend_from_slice(&piece[..n]),
                    Err(e) => return Err(e),
                }
                assert!(plain.len() as u64 <= MOST, "{} bytes came out, {MOST} are allowed", plain.len());
            }
        };
        let (once, again): (Result<_, std::io::Error>, _) = (outcome(input), outcome(input));
        assert_eq!(once.as_ref().ok(), again.as_ref().ok(), "the same stream came out differently");
        if let (Err(a), Err(b)) = (once, again) {
            assert_eq!(decode::problem_kind(&a), decode::problem_kind(&b));
        }
    });
}

/// A stream that is cut anywhere ends in an error, and not as if the document were shorter.
#[test]
fn a_cut_stream_is_an_error() {
    let whole = gzip(JSON.repeat(40).as_bytes());
    for cut in 11..whole.len() {
        let result =
            decode::open(Cursor::new(whole[..cut].to_vec()), u64::MAX, decode::MAX_RATIO).and_then(|mut r| r.read_to_end(&mut Vec::new()));
        assert!(result.is_err(), "cut at byte {cut} of {}, and nobody noticed", whole.len());
    }
}

/// Seeds as they are, then mutations of them.
fn each(word: &str, seeds: &[Vec<u8>], check: impl Fn(&[u8])) {
    assert!(!seeds.is_empty());
    let mut chance = Chance::new(word);
    for turn in 0..seeds.len() + TURNS * runs() {
        let mut input = seeds[turn % seeds.len()].clone();
        if turn >= seeds.len() {
            input.truncate(16 << 10);
            let other = &seeds[chance.below(seeds.len())];
            for _ in 0..=chance.below(3) {
                chance.mutate(&mut input, other);
            }
            input.truncate(24 << 10);
        }
        let began = std::time::Instant::now();
        let alarm = Alarm::set(word, &format!("turn {turn}"), &input);
        let done = catch_unwind(AssertUnwindSafe(|| check(&input)));
        drop(alarm);
        if let Err(cause) = done {
            let what = cause.downcast_ref::<String>().cloned().or_else(|| cause.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            panic!("{word}: turn {turn}: {} (the input is {})", what.unwrap_or_default(), keep(word, &input).display());
        }
        assert!(
            began.elapsed() < patience(input.len()),
            "{word}: turn {turn} took {:?}: {}",
            began.elapsed(),
            keep(word, &input).display()
        );
    }
}

fn document_through(spec: &FormatSpec, input: &[u8]) {
    struct Look(usize);
    impl Sink for Look {
        fn finding(&mut self, finding: &Finding<'_>) -> Flow {
            assert!(!finding.check.is_empty() && !finding.resource.id.is_empty(), "a finding without a check or a resource");
            self.0 += 1;
            Flow::More
        }
        fn problem(&mut self, problem: Problem) {
            assert!(!problem.message.is_empty(), "a problem that says nothing");
        }
    }
    let mut look = Look(0);
    let ctx = Context { source: "fuzz", limits: Limits::default(), want_raw: true };
    drop(read(spec, &mut &input[..], &ctx, &mut look));
    assert!(look.0 <= input.len(), "{} findings in {} bytes", look.0, input.len());
}

fn yaml_under(dir: &str) -> Vec<Vec<u8>> {
    let mut open = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(dir)];
    let mut found = Vec::new();
    while let Some(dir) = open.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for entry in entries {
            let path = entry.expect("an entry can be read").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
                found.push(path);
            }
        }
    }
    found.sort();
    found.into_iter().map(|path| fs::read(path).expect("a seed can be read")).collect()
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).expect("a Vec takes everything");
    encoder.finish().expect("a Vec takes everything")
}

const MAPPING: &str = r#"
records: "$.results[*]"
check: "$.rule.id"
resource: "$.asset.arn"
resource_type: "$.asset['kind']"
result: { path: "$.state", pass: [ok], fail: [violation, 1, true], not_applicable: [skipped] }
lifecycle: { path: "$.hidden", suppressed: [true] }
severity: "$.rule.severity"
observed_at: "$.seen"
fields: { account: "$.asset.account", team: platform }
count: "$.n"
"#;

const CSV_MAPPING: &str = r#"
records: csv
check: "$.CHECK"
resource: "$.RESOURCE"
result: { path: "$.STATUS", pass: [PASS], fail: [FAIL], manual: [MANUAL] }
fields: { account: "$.ACCOUNT" }
"#;

/// Paths that need a tree of values.
const QUERIES: &str = r#"
records: "$.results[*]"
check: "$..id"
resource: "$.asset.*"
result: { path: "$.checks[?@.name == 'final'].state", pass: [ok], fail: [violation] }
"#;

const JSON: &str = r#"{ "results": [
  { "rule": { "id": "R1", "severity": "high" }, "asset": { "arn": "arn:x:1", "account": "7", "kind": "bucket" }, "state": "ok", "seen": "2026-11-23T03:13:22Z", "n": 1 },
  { "rule": { "id": "R2" }, "asset": { "arn": "arn:x:2" }, "state": "violation", "hidden": true, "checks": [ { "name": "final", "state": "ok" } ] },
  { "rule": { "id": "R\u00e9" }, "asset": { "arn": "arn:x:\"3\"" }, "state": "what", "seen": 1795403602, "n": 99999999999999999999 }
] }
"#;

const CSV: &str = "CHECK;RESOURCE;STATUS;ACCOUNT\nR1;a;PASS;7\nR2;\"b;\"\"c\n\";FAIL;7\nR3;;MANUAL\n";

const DEFINITIONS: &str = r#"
apiVersion: bornright/v1
kind: ControlSet
metadata: { name: object-storage }
spec:
  version: 2.1.0
  owner: platform
  controls:
    - id: storage-no-public-access
      title: Object storage is not public
      nature: preventive
      severity: high
      requirements: { cis-aws-3.0: ["2.1.4"], nist-800-53-r5: [AC-3, SC-7] }
      checks:
        - { format: ocsf, id: s3_bucket_level_public_access_block }
        - { format: asff, id: "S3.*", where: "$.Resources[?@.Type == 'AwsS3Bucket']" }
      fix_within: 7d
---
apiVersion: bornright/v1
kind: SLO
metadata: { name: object-storage }
spec:
  service: platform
  controls: { ids: ["storage-*"] }
  objective: 99%
  period: 30d
  sli: resource_time
  unknown: exclude
---
apiVersion: bornright/v1
kind: WaiverSet
metadata: { name: w }
spec:
  waivers:
    - { id: w1, control: storage-no-public-access, resource: "arn:*", reason: migration, owner: a, from: 2026-01-01T00:00:00Z, until: 2026-12-31T00:00:00+01:00 }
"#;
