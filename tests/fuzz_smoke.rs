//! Mutated documents against every reader, for a bounded and repeatable while.
//!
//! Not a replacement for `fuzz/` (which is guided by coverage and needs a nightly compiler), but it runs everywhere
//! and at every change. Seeds are the files under `tests/formats/` and a list of nasty documents; mutations come from
//! a generator with a fixed seed, so that a failure comes again. `BORNRIGHT_FUZZ_RUNS=100` runs a hundred times as long.
//!
//! For every input and every reader:
//! - it does not panic, and ends in a time that grows with the input's length and no faster;
//! - it hands out no more findings than the input has bytes, and no text longer than the input or than a message may be;
//! - it gives the same findings and problems when the bytes come in small pieces: nothing depends on buffers;
//! - a document that was cut off is never called complete (law 6), and one with an unreadable record neither.
//!
//! An input that fails is written to `target/fuzz-failures/`, with the command that shows it.

use bornright::domain::{CheckResult, Finding, Problem, ProblemKind, RunOutcome};
use bornright::formats::{Context, Flow, Format, FormatError, FormatSpec, Limits, Sink, read};
use fuzz_support::{Alarm, Chance, keep, nasty_documents, patience, runs};
use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io::{BufRead, BufReader, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Instant;

mod fuzz_support;

/// Bytes of mutated documents that each reader gets. Readers of a debug build manage some megabytes a second, and
/// each input is read twice: this comes to a second or two.
const BYTES: usize = 1_500_000;

/// Seeds and mutations are cut to this: a longer document is not a stranger one.
const INPUT: usize = 24 << 10;

/// The longest message or excerpt that a problem may carry.
const MESSAGE: usize = 8 << 10;

macro_rules! fuzz_each {
    ($($name:ident)+) => {
        $(#[test]
        fn $name() {
            let format = Format::from_word(stringify!($name)).expect("the list below has format names");
            fuzz(&FormatSpec::Builtin(format), stringify!($name));
        })+
        #[test]
        fn no_format_is_forgotten() {
            let listed = [$(stringify!($name)),+];
            let targets = include_str!("../fuzz/Cargo.toml");
            for format in Format::ALL {
                assert!(listed.contains(&format.word()), "add `{format}` to fuzz_each! in tests/fuzz_smoke.rs");
                assert!(targets.contains(&format!("name = \"{format}\"")), "add a [[bin]] `{format}` to fuzz/Cargo.toml");
            }
        }
    };
}

fuzz_each! {
    native ocsf asff xccdf oscal aws_config azure_assessments azure_regulatory azure_policy sentinel scc wiz fugue regula
    snyk_iac cloud_custodian gatekeeper policy_report trivy trivy_operator compliance_operator kube_bench conftest checkov sarif inspec
    powerpipe scorecard github
}

#[test]
fn auto() {
    fuzz(&FormatSpec::Auto, "auto");
}

/// Every seed of every format goes through every reader as it is: the wrong reader must refuse it in peace.
#[test]
fn every_reader_meets_every_document() {
    let seeds = seeds_of(None);
    let specs = Format::ALL.iter().map(|f| (FormatSpec::Builtin(*f), f.word())).chain([(FormatSpec::Auto, "auto")]);
    for (spec, word) in specs {
        for (name, bytes) in &seeds {
            examine(&spec, word, name, &bytes[..bytes.len().min(INPUT / 4)]);
        }
    }
}

/// A document that is one JSON value or one XML element is known to be cut off at every place before its end.
#[test]
fn a_cut_document_is_never_complete() {
    for format in Format::ALL {
        let spec = FormatSpec::Builtin(*format);
        for (name, bytes) in seeds_of(Some(format.word())) {
            let text = String::from_utf8_lossy(&bytes);
            let text = text.trim_end();
            let whole = if text.starts_with('<') {
                text.ends_with('>')
            } else {
                serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() && text.starts_with(['[', '{'])
            };
            if !whole || text.len() > 96 << 10 {
                continue;
            }
            // Some thirty places, the last bytes among them, off any grid that a document may have.
            let step = (text.len() / 23).max(1);
            let cuts = (0..text.len()).step_by(step).chain(text.len().saturating_sub(9)..text.len());
            for cut in cuts {
                let (result, seen) = read_once(&spec, &mut &bytes[..cut]);
                let complete = result.is_ok_and(|outcome| outcome.complete);
                assert!(
                    !complete,
                    "{format}: {name} cut at byte {cut} of {} is called complete ({} findings): law 6",
                    text.len(),
                    seen.findings
                );
            }
        }
    }
}

/// Mutations of this format's seeds, until the budget of bytes is used.
fn fuzz(spec: &FormatSpec, word: &str) {
    let mut seeds = seeds_of((word != "auto").then_some(word));
    seeds.extend(nasty_documents());
    for (name, bytes) in &seeds {
        examine(spec, word, name, bytes);
    }
    for (_, bytes) in &mut seeds {
        bytes.truncate(INPUT);
    }
    let mut chance = Chance::new(word);
    let mut left = BYTES.saturating_mul(runs());
    let mut turn = 0usize;
    while left > 0 {
        let (name, seed) = &seeds[turn % seeds.len()];
        let (_, other) = &seeds[chance.below(seeds.len())];
        let mut input = seed.clone();
        for _ in 0..=chance.below(4) {
            chance.mutate(&mut input, other);
        }
        input.truncate(INPUT);
        examine(spec, word, &format!("mutation {turn} of {name}"), &input);
        left = left.saturating_sub(input.len() + 64);
        turn += 1;
    }
}

/// Reads one input, twice, and holds the reader to its promises.
fn examine(spec: &FormatSpec, word: &str, name: &str, input: &[u8]) {
    let began = Instant::now();
    let alarm = Alarm::set(word, name, input);
    let done = catch_unwind(AssertUnwindSafe(|| {
        let at_once = read_once(spec, &mut &input[..]);
        let size = 1 + input.len() % 61;
        let in_pieces = read_once(spec, &mut BufReader::with_capacity(size, Pieces { rest: input, size }));
        (at_once, in_pieces)
    }));
    drop(alarm);
    let fail = |what: String| -> ! {
        let path = keep(word, input);
        panic!("{word}: {name} ({} bytes): {what}\nshow it again: bornright findings --format {word} {}", input.len(), path.display())
    };
    let Ok(((result, seen), (result_in_pieces, seen_in_pieces))) = done else { fail("the reader panicked".to_owned()) };
    let took = began.elapsed();
    if took > patience(input.len()) {
        fail(format!("took {took:?}"));
    }
    if seen.findings > input.len() as u64 {
        fail(format!("{} findings: more than bytes", seen.findings));
    }
    if let Some(what) = seen.broken {
        fail(what);
    }
    // `problems` are limited one by one, and the rest is one more.
    if seen.problems > Limits::default().problems + 2 {
        fail(format!("{} problems one by one, the limit is {}", seen.problems, Limits::default().problems));
    }
    let sum: u64 = seen.by_result.iter().fold(0, |a, n| a.saturating_add(*n));
    if sum != seen.weight {
        fail(format!("results sum to {sum}, findings to {}", seen.weight));
    }
    match (&result, &result_in_pieces) {
        (Ok(a), Ok(b)) if a == b => {}
        (Err(a), Err(b)) if a.kind == b.kind => {}
        (a, b) => fail(format!("the outcome depends on how the bytes come: at once {a:?}, in pieces {b:?}")),
    }
    if (seen.findings, seen.problems, seen.hash) != (seen_in_pieces.findings, seen_in_pieces.problems, seen_in_pieces.hash) {
        fail(format!(
            "what is found depends on how the bytes come: {} findings and {} problems at once, {} and {} in pieces",
            seen.findings, seen.problems, seen_in_pieces.findings, seen_in_pieces.problems
        ));
    }
    if result.is_ok_and(|o| o.complete) && seen.incomplete {
        fail("called complete, though a part is missing or could not be read: law 6".to_owned());
    }
}

fn read_once(spec: &FormatSpec, input: &mut dyn BufRead) -> (Result<RunOutcome, FormatError>, Seen) {
    let ctx = Context { source: "fuzz", limits: Limits::default(), want_raw: true };
    let mut seen = Seen::default();
    let result = read(spec, input, &ctx, &mut seen);
    (result, seen)
}

/// A sink that counts, and looks at each finding.
#[derive(Default)]
struct Seen {
    findings: u64,
    weight: u64,
    by_result: [u64; 6],
    problems: u64,
    incomplete: bool,
    broken: Option<String>,
    hash: u64,
}

impl Seen {
    fn mix(&mut self, value: impl Hash) {
        let mut hasher = DefaultHasher::new();
        (self.hash, value).hash(&mut hasher);
        self.hash = hasher.finish();
    }
}

impl Sink for Seen {
    fn finding(&mut self, finding: &Finding<'_>) -> Flow {
        self.findings += 1;
        self.weight = self.weight.saturating_add(finding.count);
        let result = CheckResult::ALL.iter().position(|r| *r == finding.result).expect("ALL has every variant");
        self.by_result[result] = self.by_result[result].saturating_add(finding.count);
        self.mix((finding.check.as_ref(), finding.resource.id.as_ref(), result, finding.lifecycle, finding.count, finding.aggregate));
        self.mix(finding.fields.0.iter().map(|(k, v)| (k.as_ref(), v.as_ref())).collect::<Vec<(&str, &str)>>());
        self.mix((finding.observed_at, finding.raw.map(<[u8]>::len), finding.control_refs.len()));
        if finding.check.is_empty() {
            self.broken.get_or_insert_with(|| "a finding without a check: it should have been a problem".to_owned());
        }
        // A mark says only that a check ran.
        if finding.resource.id.is_empty() && !finding.is_mark() {
            self.broken
                .get_or_insert_with(|| format!("a finding of `{}` without a resource: it should have been a problem", finding.check));
        }
        Flow::More
    }

    fn problem(&mut self, problem: Problem) {
        self.problems += 1;
        self.incomplete |=
            matches!(problem.kind, ProblemKind::Truncated | ProblemKind::Malformed | ProblemKind::Limit | ProblemKind::Empty);
        self.mix((problem.kind, problem.position.record, problem.message.len()));
        if problem.message.len() > MESSAGE {
            self.broken.get_or_insert_with(|| format!("a message of {} bytes", problem.message.len()));
        }
        if problem.message.is_empty() {
            self.broken.get_or_insert_with(|| format!("a problem of kind {} that says nothing", problem.kind));
        }
    }
}

/// Gives a few bytes at a time.
struct Pieces<'a> {
    rest: &'a [u8],
    size: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.size.min(buf.len());
        self.rest.read(&mut buf[..n])
    }
}

/// The committed documents of a format, or of all, decompressed, in a fixed order.
fn seeds_of(word: Option<&str>) -> Vec<(String, Vec<u8>)> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats");
    let mut open = vec![word.map_or_else(|| top.clone(), |w| top.join(w))];
    let mut seeds = Vec::new();
    while let Some(dir) = open.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for entry in entries {
            let path = entry.expect("an entry of the corpus can be read").path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let mut bytes = fs::read(&path).expect("a file of the corpus can be read");
            if path.extension().is_some_and(|e| e == "gz") {
                let mut plain = Vec::new();
                flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut plain).expect("a .gz of the corpus is whole");
                bytes = plain;
            }
            if path.extension().is_none_or(|e| e != "md") {
                seeds.push((path.strip_prefix(&top).unwrap_or(&path).display().to_string(), bytes));
            }
        }
    }
    seeds.sort();
    seeds
}
