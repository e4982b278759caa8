//! What the fuzzers share: mutations that repeat themselves, nasty documents, a watch on the time.

#![allow(dead_code, reason = "each test file that includes this uses its own part of it")]

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// What a reader may take for one input, whatever the machine is doing besides: a fixed part and one per byte.
const PATIENCE: Duration = Duration::from_secs(10);
const PATIENCE_PER_MIB: Duration = Duration::from_secs(20);

/// How many times as long as usual.
pub(crate) fn runs() -> usize {
    std::env::var("BORNRIGHT_FUZZ_RUNS").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

pub(crate) fn patience(len: usize) -> Duration {
    PATIENCE + PATIENCE_PER_MIB.mul_f64(len as f64 / (1 << 20) as f64)
}

/// Ends the process, loudly, if a reader hangs: a hanging thread cannot be stopped, and silence helps nobody.
pub(crate) struct Alarm;

static WATCHED: Mutex<Vec<(std::thread::ThreadId, Instant, Duration, String)>> = Mutex::new(Vec::new());

impl Alarm {
    pub(crate) fn set(word: &str, name: &str, input: &[u8]) -> Alarm {
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
        // A stack that overflows ends the process before anybody can say why: the last input tells.
        write(&format!("last-{word}"), input);
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
pub(crate) fn keep(word: &str, input: &[u8]) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    write(&format!("{word}-{:016x}", hasher.finish()), input)
}

fn write(name: &str, input: &[u8]) -> PathBuf {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/fuzz-failures");
    let path = dir.join(name);
    if fs::create_dir_all(&dir).and_then(|()| fs::write(&path, input)).is_err() {
        eprintln!("fuzz: the input could not be kept at {}", path.display());
    }
    path
}

/// Documents that broke somebody's parser before.
pub(crate) fn nasty_documents() -> Vec<(String, Vec<u8>)> {
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
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(word: &str) -> Chance {
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
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() >> 16) as usize % n.max(1)
    }

    /// A place, and another one behind it not too far away.
    fn range(&mut self, len: usize) -> (usize, usize) {
        let from = self.below(len + 1);
        let reach = 1 << self.below(12);
        (from, (from + self.below(reach)).min(len))
    }

    /// One change of the kind that disks, networks, editors and other people's programs make.
    pub(crate) fn mutate(&mut self, input: &mut Vec<u8>, other: &[u8]) {
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
