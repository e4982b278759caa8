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
use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io::{BufRead, BufReader, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Bytes of mutated documents that each reader gets. Readers of a debug build manage some megabytes a second, and
/// each input is read twice: this comes to a second or two.
const BYTES: usize = 1_500_000;

/// Seeds and mutations are cut to this: a longer document is not a stranger one.
const INPUT: usize = 24 << 10;

/// What a reader may take for one input, whatever the machine is doing besides: a fixed part and one per byte.
const PATIENCE: Duration = Duration::from_secs(10);
const PATIENCE_PER_MIB: Duration = Duration::from_secs(20);

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
    snyk_iac cloud_custodian gatekeeper policy_report trivy trivy_operator kube_bench conftest checkov sarif inspec
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
        for (name, bytes) in seeds.iter().chain(&nasty_documents()) {
            examine(&spec, word, name, &bytes[..bytes.len().min(INPUT)]);
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
            if !whole || text.len() > 256 << 10 {
                continue;
            }
            // Some sixty places, the last bytes among them, off any grid that a document may have.
            let step = (text.len() / 53).max(1);
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
    let runs = std::env::var("BORNRIGHT_FUZZ_RUNS").ok().and_then(|n| n.parse::<usize>().ok()).unwrap_or(1);
    let mut chance = Chance::new(word);
    let mut left = BYTES.saturating_mul(runs);
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

fn patience(len: usize) -> Duration {
    PATIENCE + PATIENCE_PER_MIB.mul_f64(len as f64 / (1 << 20) as f64)
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
        if finding.resource.id.is_empty() {
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

/// Ends the process, loudly, if a reader hangs: a hanging thread cannot be stopped, and silence helps nobody.
struct Alarm;

static WATCHED: Mutex<Vec<(std::thread::ThreadId, Instant, Duration, String)>> = Mutex::new(Vec::new());

impl Alarm {
    fn set(word: &str, name: &str, input: &[u8]) -> Alarm {
        static WATCH: std::sync::Once = std::sync::Once::new();
        WATCH.call_once(|| {
            std::thread::spawn(|| {
                loop {
                    std::thread::sleep(Duration::from_millis(500));
                    let watched = WATCHED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    if let Some((_, began, _, what)) = watched.iter().find(|(_, began, limit, _)| began.elapsed() > *limit * 3) {
                        eprintln!("fuzz: hangs for {:?}: {what}", began.elapsed());
                        std::process::exit(101);
                    }
                }
            });
        });
        let head = String::from_utf8_lossy(&input[..input.len().min(200)]).into_owned();
        let entry = (std::thread::current().id(), Instant::now(), patience(input.len()), format!("{word}: {name}: {head}"));
        WATCHED.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(entry);
        Alarm
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let me = std::thread::current().id();
        WATCHED.lock().unwrap_or_else(std::sync::PoisonError::into_inner).retain(|(id, ..)| *id != me);
    }
}

/// Writes a failing input where a person finds it.
fn keep(word: &str, input: &[u8]) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/fuzz-failures");
    let path = dir.join(format!("{word}-{:016x}", hasher.finish()));
    if fs::create_dir_all(&dir).and_then(|()| fs::write(&path, input)).is_err() {
        eprintln!("fuzz: the failing input could not be kept at {}", path.display());
    }
    path
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
            if !path.extension().is_some_and(|e| e == "md") {
                seeds.push((path.strip_prefix(&top).unwrap_or(&path).display().to_string(), bytes));
            }
        }
    }
    seeds.sort();
    seeds
}

/// Documents that broke somebody's parser before.
fn nasty_documents() -> Vec<(String, Vec<u8>)> {
    let deep = 100_000;
    let mut all: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", vec![]),
        ("one zero", vec![0]),
        ("zeros", vec![0; 4096]),
        ("a byte order mark alone", b"\xef\xbb\xbf".to_vec()),
        ("a byte order mark and an array", b"\xef\xbb\xbf[]".to_vec()),
        ("UTF-16", "[{\"a\":1}]".encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("blanks", vec![b' '; 70_000]),
        ("line ends", vec![b'\n'; 70_000]),
        ("one long line", vec![b'a'; 70_000]),
        ("no array", b"[]".to_vec()),
        ("no object", b"{}".to_vec()),
        ("null", b"null".to_vec()),
        ("a number", b"17".to_vec()),
        ("a string", b"\"x\"".to_vec()),
        ("two values", b"[] []".to_vec()),
        ("array of null", b"[null,null]".to_vec()),
        ("array of arrays", b"[[],[[]]]".to_vec()),
        ("array of empty objects", b"[{},{},{}]".to_vec()),
        ("comma at the end", b"[{},]".to_vec()),
        ("missing comma", b"[{}{}]".to_vec()),
        ("wrong bracket", b"[{]}".to_vec()),
        ("bracket too many", b"[{}]]".to_vec()),
        (
            "huge numbers",
            br#"[{"time":1e999,"severity_id":-1e-999,"count":18446744073709551616,"n":0.00000000000000000000000001}]"#.to_vec(),
        ),
        ("a number of a million digits", [b"[".to_vec(), vec![b'9'; 1_000_000], b"]".to_vec()].concat()),
        ("lone surrogates", br#"[{"check":"\ud800","resource":{"id":"\udc00\ud800"}}]"#.to_vec()),
        ("broken escapes", br#"[{"a":"\x41","b":"\u12","c":"\"}]"#.to_vec()),
        ("broken UTF-8 in a string", b"[{\"check\":\"\xff\xfe\xc0\xaf\",\"x\":\"\xed\xa0\x80\"}]".to_vec()),
        ("zero in a string", b"{\"check\":\"a\0b\",\"resource\":{\"id\":\"c\0\"},\"result\":\"pass\"}".to_vec()),
        (
            "a key twice",
            br#"{"check":"a","check":"b","resource":{"id":"c"},"resource":{"id":"d"},"result":"pass","result":"fail"}"#.to_vec(),
        ),
        ("carriage returns", b"{\"check\":\"a\"}\r\n\r\n{\"check\":\"b\"}\r".to_vec()),
        ("deep arrays", vec![b'['; deep]),
        ("deep arrays, closed", [vec![b'['; deep], vec![b']'; deep]].concat()),
        ("deep objects", br#"{"a":"#.repeat(deep)),
        ("deep YAML", b"- ".repeat(deep / 10)),
        ("deep flow YAML", b"a: ".iter().copied().chain(std::iter::repeat_n(b'[', deep)).collect()),
        ("deep elements", b"<a>".repeat(deep)),
        ("deep elements, closed", [b"<a>".repeat(deep), b"</a>".repeat(deep)].concat()),
        ("anchors that multiply", yaml_bomb()),
        ("an anchor of itself", b"a: &a [*a, *a]\n".to_vec()),
        ("entities that multiply", xml_bomb()),
        ("an outside entity", br#"<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>"#.to_vec()),
        ("characters that are none", b"<a>&#0;&#xFFFFFFFF;&#xD800;&nope;</a>".to_vec()),
        ("an open comment", b"<a><!-- -- --".to_vec()),
        ("an open section", b"<a><![CDATA[ ]]".to_vec()),
        ("an attribute twice", b"<a b='1' b='2'/>".to_vec()),
        ("a prefix without a name", b"<x:a><x:b/></x:a>".to_vec()),
        ("an unknown encoding", b"<?xml version='1.0' encoding='EBCDIC'?><a/>".to_vec()),
        (
            "many attributes",
            [b"<a ".to_vec(), (0..20_000).flat_map(|i| format!("b{i}='' ").into_bytes()).collect(), b"/>".to_vec()].concat(),
        ),
        (
            "many keys",
            [b"{".to_vec(), (0..20_000).flat_map(|i| format!("\"k{i}\":0,").into_bytes()).collect(), b"\"z\":0}".to_vec()].concat(),
        ),
        ("gzip, not decoded", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03".to_vec()),
    ];
    let roots = [
        "Findings",
        "findings",
        "results",
        "runs",
        "Results",
        "profiles",
        "Controls",
        "checks",
        "items",
        "value",
        "rule_results",
        "Resources",
        "Misconfigurations",
        "results\":{\"passed_checks",
        "controls",
    ];
    let lists: Vec<u8> = roots
        .iter()
        .flat_map(|r| [format!("{{\"{r}\":null}}\n"), format!("{{\"{r}\":[null,1,\"x\",[],{{}}]}}\n"), format!("{{\"{r}\":{{}}}}\n")])
        .collect::<String>()
        .into_bytes();
    for line in lists.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
        all.push(("a root with the wrong thing in it", line.to_vec()));
    }
    all.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect()
}

fn xml_bomb() -> Vec<u8> {
    let mut text = String::from("<?xml version=\"1.0\"?>\n<!DOCTYPE Benchmark [\n<!ENTITY e0 \"lol\">\n");
    for i in 1..10 {
        let inner = format!("&e{};", i - 1).repeat(10);
        text.push_str(&format!("<!ENTITY e{i} \"{inner}\">\n"));
    }
    text.push_str("]>\n<Benchmark xmlns=\"http://checklists.nist.gov/xccdf/1.2\"><TestResult>&e9;</TestResult></Benchmark>\n");
    text.into_bytes()
}

fn yaml_bomb() -> Vec<u8> {
    let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
    for i in 1..10 {
        let inner = format!("*a{},", i - 1).repeat(9);
        text.push_str(&format!("a{i}: &a{i} [{}]\n", inner.trim_end_matches(',')));
    }
    text.into_bytes()
}

/// A small generator of numbers (xorshift64*), seeded by a word.
struct Chance(u64);

impl Chance {
    fn new(word: &str) -> Chance {
        // FNV-1a, so that every format meets other mutations and every run the same.
        Chance(word.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3)) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `n`, or 0.
    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 16) as usize % n.max(1)
    }

    /// A place, and another one behind it not too far away.
    fn range(&mut self, len: usize) -> (usize, usize) {
        let from = self.below(len + 1);
        let reach = 1 << self.below(12);
        (from, (from + self.below(reach)).min(len))
    }

    /// One change of the kind that disks, networks, editors and other people's programs make.
    fn mutate(&mut self, input: &mut Vec<u8>, other: &[u8]) {
        const WORDS: &[&[u8]] = &[
            b"{",
            b"}",
            b"[",
            b"]",
            b"\"",
            b"\\",
            b",",
            b":",
            b"\n",
            b"\0",
            b"\xff",
            b"\xef\xbb\xbf",
            b"null",
            b"true",
            b"-1",
            b"1e999",
            b"[]",
            b"{}",
            b"\"\"",
            b"18446744073709551615",
            b"-9223372036854775808",
            b"\\ud800",
            b"\\u0000",
            b"<",
            b">",
            b"/>",
            b"</",
            b"&lt;",
            b"&#0;",
            b"<![CDATA[",
            b"]]>",
            b"<!--",
            b"<!DOCTYPE a>",
            b"- ",
            b"---\n",
            b"*a",
            b"&a ",
            b"!!binary ",
            b"PASS",
            b"FAILED",
            b"9999-12-31T23:59:59Z",
            b"0000-00-00",
        ];
        let len = input.len();
        let (from, to) = self.range(len);
        let word = WORDS[self.below(WORDS.len())];
        match self.below(11) {
            0 if len > 0 => input[from.min(len - 1)] ^= 1 << self.below(8),
            1 if len > 0 => input[from.min(len - 1)] = self.next() as u8,
            2 => drop(input.drain(from..to)),
            3 => {
                let copy = input[from..to].to_vec();
                input.splice(from..from, copy);
            }
            4 => drop(input.splice(from..from, word.iter().copied())),
            5 => input.truncate(from),
            6 => {
                let (a, b) = self.range(other.len());
                drop(input.splice(from..to, other[a..b].iter().copied()));
            }
            // A value becomes one of another type, which bytes at random seldom bring about.
            7 | 8 => self.replace_value(input, word),
            9 => self.double_key(input),
            _ => drop(input.splice(from..to, word.iter().copied().cycle().take(word.len() * (1 + self.below(64))))),
        }
    }

    /// Puts `word` where a JSON value, an XML attribute's or a YAML value stood.
    fn replace_value(&mut self, input: &mut Vec<u8>, word: &[u8]) {
        let Some((from, to)) = self.value(input) else { return };
        drop(input.splice(from..to, word.iter().copied()));
    }

    /// Writes `"key": value` a second time.
    fn double_key(&mut self, input: &mut Vec<u8>) {
        let Some((_, to)) = self.value(input) else { return };
        let Some(from) = input[..to].iter().rposition(|b| matches!(b, b'{' | b',' | b'\n')) else { return };
        let mut pair = vec![b','];
        pair.extend(&input[from + 1..to]);
        drop(input.splice(to..to, pair));
    }

    /// A scalar behind a `:` or `=` somewhere behind a random place.
    fn value(&mut self, input: &[u8]) -> Option<(usize, usize)> {
        let start = self.below(input.len());
        let colon = start + input[start..].iter().position(|b| matches!(b, b':' | b'='))?;
        let from = colon + 1 + input[colon + 1..].iter().position(|b| *b != b' ')?;
        let len = match input[from] {
            quote @ (b'"' | b'\'') => input[from + 1..].iter().position(|b| *b == quote)? + 2,
            _ => input[from..].iter().position(|b| matches!(b, b',' | b'}' | b']' | b'\n' | b'>' | b' '))?,
        };
        Some((from, from + len))
    }
}
