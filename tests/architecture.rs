//! The house keeps its plan: who may import whom, which room owns which outside crate, who may ask for the time.
//!
//! ARCHITECTURE.md argues the plan; this file enforces it by reading the sources as text. It knows enough of Rust to
//! tell code from comments, strings and test modules, and no more: it needs no compiler plugin and runs in a moment.
//! When it fails it names the file, the line, the law, and what to do. Change a table here only with a reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What a room may import, besides itself, `std` and the outside crates it owns. A path is a prefix.
const ROOMS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("formats", &["domain"]),
    ("slo", &["domain"]),
    ("evaluate", &["domain"]),
    ("ledger", &["domain"]),
    ("clock", &["domain"]),
    ("snapshot", &["domain", "slo"]),
    ("collectors", &["domain", "formats", "clock"]),
    ("exposition", &["domain", "slo", "snapshot"]),
    ("report", &["domain", "slo", "snapshot", "exposition::names"]),
    ("generate", &["domain", "slo", "exposition::names"]),
    ("serve", &["domain", "snapshot", "exposition", "report", "clock"]),
    ("config", &["domain", "slo", "collectors", "formats", "ledger"]),
    ("import", &["domain"]),
];

/// The composition root and the command line see every room.
const SEE_ALL: &[&str] = &["app", "cli", "lib", "main"];

/// Rooms that do no IO and never read a clock (law 10).
const PURE: &[&str] = &["domain", "formats", "slo", "evaluate", "snapshot", "exposition", "report", "generate", "import"];

/// Each outside crate and the rooms that may use it. Where it is more than one, the reason stands beside it.
/// An empty list: a small utility, free for all.
const OWNERS: &[(&str, &[&str])] = &[
    ("prometheus_client", &["exposition"]),
    ("hyper", &["serve"]),
    ("hyper_util", &["serve"]),
    ("http_body_util", &["serve"]),
    ("reqwest", &["collectors"]),
    ("moka", &["collectors"]),
    // Signs assertions of Google's service accounts. What serve names so is rustls' module.
    ("ring", &["collectors", "serve"]),
    ("governor", &["collectors"]),
    ("aws_chain", &["collectors"]),
    ("aws_credential_types", &["collectors"]),
    ("aws_sigv4", &["collectors"]),
    ("aws_smithy_http_client", &["collectors"]),
    ("aws_smithy_runtime_api", &["collectors"]),
    ("backon", &["collectors"]),
    // Definitions are YAML; so are the policy reports that `kubectl get -o yaml` writes, and the one mapping of
    // `findings --mapping`, which has no configuration around it. Control files of ComplianceAsCode are YAML too, and so is
    // a kubeconfig, which is read anew by each run.
    ("serde_yaml", &["config", "formats", "cli", "import", "collectors"]),
    ("jsonpath_rust", &["formats"]),
    // Results are formats', benchmarks are import's, and the list of a bucket's objects is collectors'.
    ("quick_xml", &["formats", "import", "collectors"]),
    ("csv", &["formats"]),
    // The widest vectors the processor has, found at run time, without unsafe code of ours.
    ("fearless_simd", &["formats"]),
    ("rustix", &["collectors"]),
    ("rusqlite", &["ledger"]),
    ("askama", &["report"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("comfy_table", &["cli"]),
    ("strsim", &["config"]),
    // `anyhow` is for those who read an error, `thiserror` for those who match on it.
    ("anyhow", &["app", "cli"]),
    ("thiserror", &[]),
    // Whoever waits: the runtime is started by cli, handed down by app.
    ("tokio", &["app", "cli", "collectors", "serve"]),
    ("tokio_util", &["app", "cli", "collectors", "serve"]),
    // The provider is installed by the first line of main; collectors and serve build their own configurations.
    ("rustls", &["main", "collectors", "serve"]),
    ("tokio_rustls", &["serve"]),
    // Passwords of `--web.config.file`.
    ("bcrypt", &["serve"]),
    // Not for pure rooms, but one: `auto` must say what it took a document for, and its result has no place for it.
    ("tracing", &["app", "cli", "collectors", "serve", "ledger", "formats"]),
    ("tracing_subscriber", &["cli"]),
    // Readers hold the snapshot, app swaps it.
    ("arc_swap", &["app", "serve"]),
    ("bytes", &["collectors", "serve", "exposition"]),
    // Decoding what came, encoding what goes.
    ("flate2", &["collectors", "exposition", "serve"]),
    ("ruzstd", &["collectors"]),
    // Spooled documents, pushed ones among them; the temporary directories of the demo and of `gate`.
    ("tempfile", &["collectors", "serve", "app", "cli"]),
    // A secret is a type that prints `***` (law 14).
    ("secrecy", &["collectors", "config", "serve"]),
    // Instants are domain's; formats reads the many ways scanners write them, collectors those of files and
    // HTTP, config those of waivers; clock asks. slo knows when a calendar month ends in a time zone that it was given.
    ("jiff", &["domain", "formats", "collectors", "config", "clock", "slo"]),
    // Digests: of evidence (collectors, app), of configuration (config), of the chain (ledger), of credentials that were
    // right once (serve).
    ("sha2", &["ledger", "config", "app", "collectors", "serve"]),
    ("hex", &["ledger", "config", "app", "collectors"]),
    ("base64", &["collectors", "serve", "formats"]),
    // Patterns of the operator, checked when read and used when matching.
    ("globset", &["config", "evaluate", "slo", "collectors"]),
    ("regex", &["config", "evaluate", "collectors", "formats"]),
    ("memchr", &[]),
    ("hashbrown", &[]),
    ("foldhash", &[]),
    ("serde", &[]),
    ("serde_json", &[]),
];

/// Words of others that look like metrics: a format of ours, and a path of Fugue's API.
const OTHERS: &[&str] = &["compliance_operator", "compliance_by_rules"];

/// Rooms for which a table entry above is wider than design: only the types that say what an operator may write.
const TYPES_ONLY: &[(&str, &str)] = &[("config", "collectors"), ("config", "formats"), ("config", "ledger")];

#[test]
fn every_source_keeps_the_laws() {
    let mut faults = Vec::new();
    for path in sources() {
        let text = fs::read_to_string(&path).expect("a source file is UTF-8");
        let name = path.strip_prefix(root()).expect("sources stand under the root").to_string_lossy().replace('\\', "/");
        faults.extend(faults_of(&name, &text));
    }
    assert!(faults.is_empty(), "{} breaches of ARCHITECTURE.md:\n\n{}\n", faults.len(), faults.join("\n"));
}

#[test]
fn every_dependency_has_an_owner() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml is there");
    let declared = dependencies(&manifest);
    let owned: BTreeSet<&str> = OWNERS.iter().map(|(name, _)| *name).collect();
    let missing: Vec<&String> = declared.iter().filter(|d| !owned.contains(d.as_str())).collect();
    assert!(missing.is_empty(), "Cargo.toml: no room owns {missing:?}; give each an entry in OWNERS of tests/architecture.rs");
    let gone: Vec<&&str> = owned.iter().filter(|o| !declared.contains(**o)).collect();
    assert!(gone.is_empty(), "tests/architecture.rs: OWNERS names {gone:?}, which Cargo.toml does not");
}

#[test]
fn every_room_is_in_the_table() {
    let lib = code_of(&fs::read_to_string(root().join("src/lib.rs")).expect("src/lib.rs is there"));
    let rooms: BTreeSet<String> = lib
        .text
        .split(['\n', ';'])
        .filter_map(|l| l.trim().strip_prefix("pub mod ").or_else(|| l.trim().strip_prefix("mod ")))
        .map(|m| m.trim().to_owned())
        .collect();
    for room in &rooms {
        assert!(
            ROOMS.iter().any(|(r, _)| r == room) || SEE_ALL.contains(&room.as_str()),
            "src/lib.rs: room `{room}` is in no table of tests/architecture.rs; say there what it may import"
        );
    }
    for (room, _) in ROOMS {
        assert!(rooms.contains(*room), "tests/architecture.rs: ROOMS has `{room}`, src/lib.rs does not");
    }
}

#[test]
fn the_import_table_has_no_circle() {
    // A room may be removed once all it imports are gone; if some are left, they lean on each other.
    let mut left: BTreeMap<&str, Vec<&str>> =
        ROOMS.iter().map(|(r, to)| (*r, to.iter().map(|t| t.split("::").next().unwrap_or(t)).collect())).collect();
    while let Some(free) = left.iter().find(|(_, to)| to.iter().all(|t| !left.contains_key(t))).map(|(r, _)| *r) {
        left.remove(free);
    }
    assert!(left.is_empty(), "rooms that import each other in a circle: {:?}", left.keys());
}

/// The manual of each format is the comment that opens its file (law 13).
///
/// After a change: `BORNRIGHT_WRITE=1 cargo test --test architecture docs_reading`.
#[test]
fn docs_reading_says_what_the_formats_say() {
    const MARK: &str =
        "<!-- From here on: the opening comments of src/formats/*.rs, by BORNRIGHT_WRITE=1 cargo test --test architecture. -->\n";
    let path = root().join("docs/reading.md");
    let page = fs::read_to_string(&path).expect("docs/reading.md is there");
    let by_hand = page.split(MARK).next().unwrap_or(&page);
    let mut expected = format!("{by_hand}{MARK}");
    for format in formats().into_iter().chain(["jsonpath".to_owned(), "auto".to_owned()]) {
        let source = fs::read_to_string(root().join(format!("src/formats/{format}.rs"))).expect("every format has its file");
        expected.push_str(&format!("\n## `{format}`\n\n"));
        for line in source.lines().map_while(|l| l.strip_prefix("//!")) {
            let line = line.strip_prefix(' ').unwrap_or(line).trim_end();
            // Links into the code lead nowhere from here.
            expected.push_str(&line.replace("[`", "`").replace("`]", "`"));
            expected.push('\n');
        }
    }
    if std::env::var_os("BORNRIGHT_WRITE").is_some() {
        fs::write(&path, &expected).expect("docs/reading.md can be written");
    } else {
        assert!(
            page == expected,
            "docs/reading.md is not what the formats say now: run BORNRIGHT_WRITE=1 cargo test --test architecture docs_reading"
        );
    }
}

/// A newcomer who follows a link must arrive.
#[test]
fn every_link_between_documents_leads_somewhere() {
    let mut broken = Vec::new();
    let docs = fs::read_dir(root().join("docs")).expect("docs/ is there");
    let pages = fs::read_dir(root()).expect("the root is there").chain(docs).map(|e| e.expect("an entry can be read").path());
    for page in pages.filter(|p| p.extension().is_some_and(|e| e == "md")) {
        let text = fs::read_to_string(&page).expect("a document is UTF-8");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(l, _)| l)) {
            let file = link.split('#').next().unwrap_or(link);
            if !file.is_empty() && !link.contains("://") && !page.with_file_name("").join(file).exists() {
                broken.push(format!("{}: `{link}` leads nowhere", page.strip_prefix(root()).unwrap_or(&page).display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// CONTRIBUTING.md promises that the tests ask for the rest: fixtures and a line in the README.
#[test]
fn every_format_that_is_read_has_fixtures_and_a_line_in_the_readme() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md is there");
    let mut lacking = Vec::new();
    for format in formats() {
        let listed = readme.contains(&format!("\n| `{format}` |"));
        if !is_read(&format) {
            if listed {
                lacking.push(format!("README.md lists `{format}`, which cannot be read yet"));
            }
            continue;
        }
        let fixtures = root().join("tests/formats").join(&format);
        if !fs::read_dir(&fixtures).is_ok_and(|mut d| d.next().is_some()) {
            lacking.push(format!("tests/formats/{format}/ is missing or empty"));
        }
        if !listed {
            lacking.push(format!("README.md: no row for `{format}` in the table of formats"));
        }
    }
    assert!(lacking.is_empty(), "{}", lacking.join("\n"));
}

/// The words of `Format`, in order. Read as text, so that this file needs no library that compiles.
fn formats() -> Vec<String> {
    let text = fs::read_to_string(root().join("src/formats/mod.rs")).expect("src/formats/mod.rs is there");
    let body = text.split_once("    Format {").and_then(|(_, rest)| rest.split_once("\n    }")).expect("mod.rs declares Format").0;
    let words: Vec<String> = body.lines().filter_map(|l| Some(l.split_once(" = \"")?.1.split_once('"')?.0.to_owned())).collect();
    assert!(words.len() > 10, "only {words:?} found in src/formats/mod.rs");
    words
}

/// A name may be reserved before there is a reader; its file then says so to everybody who uses it.
fn is_read(format: &str) -> bool {
    let text = fs::read_to_string(root().join(format!("src/formats/{format}.rs"))).unwrap_or_default();
    !text.is_empty() && !text.contains("cannot be read yet")
}

/// Every way in which one file breaks a law. Pure, so that the tests below can feed it snippets.
fn faults_of(name: &str, source: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let module = module_of(name);
    let room = module.first().map_or("lib", String::as_str);
    if !source.trim_start().starts_with("//!") {
        faults.push(format!("{name}:1: a file opens with a `//!` comment that says what it is for, and what it does not do"));
    }
    // `mod tests;` in a file of its own is exempt as its inline sister is.
    if module.last().is_some_and(|m| m == "tests") {
        return faults;
    }
    let code = code_of(source);
    let uses = paths_of(&code.text);

    for (line, path) in &uses {
        let mut say = |what: String| faults.push(format!("{name}:{line}: {what}"));
        if let Some(inner) = inside_crate(path, &module) {
            let Some(other) = inner.first().map(String::as_str) else { continue };
            if other == room || SEE_ALL.contains(&room) {
                continue;
            }
            let Some((_, may)) = ROOMS.iter().find(|(r, _)| *r == room) else {
                say(format!("`{room}` is not a room that tests/architecture.rs knows"));
                continue;
            };
            let full = inner.join("::");
            if !may.iter().any(|m| full == *m || full.starts_with(&format!("{m}::"))) {
                let list = if may.is_empty() { "nothing".to_owned() } else { may.join(", ") };
                say(format!(
                    "`{room}` imports `crate::{full}`, and may import {list} only (import table): data goes one way; \
                     if you need to look back upstream, a value is missing from what was passed down"
                ));
            } else if TYPES_ONLY.contains(&(room, other)) && !names_a_type(&inner) {
                say(format!(
                    "`{room}` imports `crate::{full}`, and may import types from `{other}` only: what an operator may write, not what acts on it"
                ));
            }
        } else if let Some((krate, rooms)) = OWNERS.iter().find(|(k, _)| *k == path[0]) {
            let free = rooms.is_empty() || rooms.contains(&room);
            if !free {
                say(format!(
                    "`{krate}` is used in `{room}`, and belongs to {}: each outside crate has one owner; ask the owner for what is needed, \
                     or change OWNERS in tests/architecture.rs with a reason",
                    rooms.join(", ")
                ));
            }
        }
        if let Some(asks) = asks_the_time(path) {
            let wall = !asks.starts_with("Instant");
            if room != "clock" && (wall || PURE.contains(&room)) {
                say(format!("`{asks}` in `{room}`: `now` is an argument (law 10); only src/clock.rs asks what time it is"));
            }
        }
        if PURE.contains(&room)
            && path[0] == "std"
            && matches!(path.get(1).map(String::as_str), Some("fs" | "net" | "env" | "process" | "thread"))
        {
            say(format!("`{}` in `{room}`: pure rooms do no IO (law 10); take the value as an argument", path.join("::")));
        }
    }

    // Vendors may have a field of that name, so formats are free.
    if room != "formats" && name != "src/exposition/names.rs" {
        for (line, literal) in &code.literals {
            let word = |w: &&str| w.starts_with("compliance_") && w.len() > "compliance_".len() && !OTHERS.contains(w);
            if let Some(metric) = literal.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).find(word) {
                faults.push(format!("{name}:{line}: `{metric}` in a string: metric names are spelled once, in src/exposition/names.rs"));
            }
        }
    }
    faults
}

/// `src/formats/jsonpath.rs` is `[formats, jsonpath]`, `src/slo/mod.rs` is `[slo]`, `src/lib.rs` is `[]`.
fn module_of(name: &str) -> Vec<String> {
    let inner = name.trim_start_matches("src/").trim_end_matches(".rs");
    let mut parts: Vec<String> = inner.split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|p| p == "mod") {
        parts.pop();
    }
    if parts == ["lib"] {
        parts.pop();
    }
    parts
}

/// The path below the crate's root, if it is one of ours.
fn inside_crate(path: &[String], module: &[String]) -> Option<Vec<String>> {
    match path[0].as_str() {
        // The binary speaks to the library by name.
        "crate" | "bornright" => Some(path[1..].to_vec()),
        "self" => None,
        "super" => {
            let ups = path.iter().take_while(|p| *p == "super").count();
            let mut at = module[..module.len().saturating_sub(ups)].to_vec();
            at.extend(path[ups..].iter().cloned());
            Some(at)
        }
        _ => None,
    }
}

/// True if the path names a type, or no more than a module of types (`collectors::http`, for `http::Config`). To compile
/// what an operator wrote into such a type is to validate it.
fn names_a_type(inner: &[String]) -> bool {
    inner.iter().any(|p| p.starts_with(|c: char| c.is_ascii_uppercase()))
        || inner.len() <= 2
        || inner.last().is_some_and(|p| p == "compile")
}

/// `SystemTime::now` and its like, at the end of a path.
fn asks_the_time(path: &[String]) -> Option<String> {
    let [.., kind, call] = path else { return None };
    let clock = matches!(kind.as_str(), "SystemTime" | "Timestamp" | "Zoned" | "Instant");
    (clock && call == "now").then(|| format!("{kind}::{call}"))
}

/// A source without comments and test modules; strings apart.
struct Code {
    /// The code, with comments, strings and test items blanked out; lines stay where they were.
    text: String,
    /// String literals outside test items, with their lines.
    literals: Vec<(usize, String)>,
}

fn code_of(source: &str) -> Code {
    let (mut text, literals) = blank(source);
    let skip = test_items(&text);
    let line_of = |at: usize| source[..at].matches('\n').count() + 1;
    let lines: Vec<(usize, usize)> = skip.iter().map(|(a, b)| (line_of(*a), line_of(*b))).collect();
    for (a, b) in skip {
        let blanked: String = text[a..b].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        text.replace_range(a..b, &blanked);
    }
    let literals = literals.into_iter().filter(|(l, _)| !lines.iter().any(|(a, b)| l >= a && l <= b)).collect();
    Code { text, literals }
}

/// Blanks comments and literals byte by byte (so offsets stay true), and collects the string literals.
fn blank(source: &str) -> (String, Vec<(usize, String)>) {
    let b = source.as_bytes();
    let mut out = b.to_vec();
    let mut literals = Vec::new();
    let mut line = 1;
    let mut i = 0;
    let wipe = |out: &mut Vec<u8>, from: usize, to: usize| {
        for c in &mut out[from..to] {
            if *c != b'\n' {
                *c = b' ';
            }
        }
    };
    while i < b.len() {
        let rest = &b[i..];
        let end = if rest.starts_with(b"//") {
            i + rest.iter().position(|c| *c == b'\n').unwrap_or(rest.len())
        } else if rest.starts_with(b"/*") {
            let (mut depth, mut j) = (0, i);
            loop {
                match b.get(j..j + 2) {
                    Some(b"/*") => (depth, j) = (depth + 1, j + 2),
                    Some(b"*/") => (depth, j) = (depth - 1, j + 2),
                    Some(_) => j += 1,
                    None => break b.len(),
                }
                if depth == 0 {
                    break j;
                }
            }
        } else if let Some(quote) = raw_string(rest).filter(|_| i == 0 || !word(b[i - 1])) {
            let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', quote.1)).collect();
            let body = i + quote.0;
            let stop = body + b[body..].windows(close.len()).position(|w| w == close).unwrap_or(b.len() - body - close.len());
            literals.push((line, source[body..stop].to_owned()));
            stop + close.len()
        } else if rest[0] == b'"' {
            let mut j = i + 1;
            while j < b.len() && b[j] != b'"' {
                j += if b[j] == b'\\' { 2 } else { 1 };
            }
            literals.push((line, source[i + 1..j.min(b.len())].to_owned()));
            (j + 1).min(b.len())
        } else if rest[0] == b'\'' && !(i > 0 && word(b[i - 1])) {
            // A character, or else a lifetime.
            match rest.get(1) {
                Some(b'\\') => i + 2 + rest[3..].iter().position(|c| *c == b'\'').map_or(1, |p| p + 2),
                Some(_) => {
                    let len = source[i + 1..].chars().next().map_or(1, char::len_utf8);
                    if b.get(i + 1 + len) == Some(&b'\'') { i + len + 2 } else { i + 1 }
                }
                None => i + 1,
            }
        } else {
            line += usize::from(b[i] == b'\n');
            i += 1;
            continue;
        };
        line += b[i..end].iter().filter(|c| **c == b'\n').count();
        wipe(&mut out, i, end);
        i = end;
    }
    (String::from_utf8(out).expect("whole characters were blanked"), literals)
}

fn word(c: u8) -> bool {
    c.is_ascii_alphanumeric() || c == b'_'
}

/// For `r"`, `r#"`, `br##"` …: how long the opening is and how many `#` close it.
fn raw_string(rest: &[u8]) -> Option<(usize, usize)> {
    let start = rest.iter().take(2).take_while(|c| matches!(c, b'b' | b'c')).count();
    if rest.get(start) != Some(&b'r') {
        return None;
    }
    let hashes = rest[start + 1..].iter().take_while(|c| **c == b'#').count();
    (rest.get(start + 1 + hashes) == Some(&b'"')).then_some((start + hashes + 2, hashes))
}

/// Byte ranges of items under `#[cfg(test)]` (or `#[cfg(all(test, …))]`), attribute included.
fn test_items(text: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = text[from..].find("#[cfg(").map(|p| from + p) {
        let condition_end = text[at..].find(']').map_or(text.len(), |p| at + p + 1);
        let condition = &text[at..condition_end];
        if !(condition.starts_with("#[cfg(test") || condition.starts_with("#[cfg(all(test")) {
            from = condition_end;
            continue;
        }
        let (mut depth, mut end) = (0i32, text.len());
        for (i, c) in text[condition_end..].char_indices() {
            match c {
                '{' | '(' | '[' => depth += 1,
                '}' | ')' | ']' => {
                    depth -= 1;
                    if depth == 0 && c == '}' {
                        end = condition_end + i + 1;
                        break;
                    }
                }
                ';' if depth == 0 => {
                    end = condition_end + i + 1;
                    break;
                }
                _ => {}
            }
        }
        found.push((at, end));
        from = end;
    }
    found
}

/// Every path in the code with its line: `use` trees spread out, and paths as they stand in expressions and types.
fn paths_of(text: &str) -> Vec<(usize, Vec<String>)> {
    let tokens = tokens_of(text);
    let mut paths = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        let (line, token) = (tokens[i].0, tokens[i].1.as_str());
        if token == "use" {
            let mut j = i + 1;
            spread(&tokens, &mut j, &[], &mut paths);
            i = j;
        } else if ident(token) && (i == 0 || tokens[i - 1].1 != "::") {
            let mut path = vec![token.to_owned()];
            while i + 2 < tokens.len() && tokens[i + 1].1 == "::" && ident(&tokens[i + 2].1) {
                path.push(tokens[i + 2].1.clone());
                i += 2;
            }
            if path.len() > 1 {
                paths.push((line, path));
            }
            i += 1;
        } else {
            i += 1;
        }
    }
    paths
}

/// Spreads one `use` tree from `tokens[*at]` on; stops behind it.
fn spread(tokens: &[(usize, String)], at: &mut usize, prefix: &[String], paths: &mut Vec<(usize, Vec<String>)>) {
    let mut path = prefix.to_vec();
    while let Some((line, token)) = tokens.get(*at) {
        match token.as_str() {
            "::" => *at += 1,
            "{" => {
                *at += 1;
                while tokens.get(*at).is_some_and(|t| t.1 != "}") {
                    spread(tokens, at, &path, paths);
                    if tokens.get(*at).is_some_and(|t| t.1 == ",") {
                        *at += 1;
                    }
                }
                *at += 1;
                return;
            }
            "*" => *at += 1,
            "as" => *at += 2,
            "," | "}" | ";" => {
                if path.len() > prefix.len() {
                    paths.push((*line, path));
                }
                return;
            }
            "self" if !path.is_empty() => *at += 1,
            name if ident(name) => {
                path.push(name.to_owned());
                *at += 1;
            }
            _ => return,
        }
    }
}

fn ident(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_') && token != "as" && token != "use"
}

/// Words, `::`, and single signs.
fn tokens_of(text: &str) -> Vec<(usize, String)> {
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut chars = text.char_indices().peekable();
    while let Some((i, c)) = chars.next() {
        if c == '\n' {
            line += 1;
        } else if c.is_alphanumeric() || c == '_' {
            let mut end = i + c.len_utf8();
            while let Some((j, d)) = chars.next_if(|(_, d)| d.is_alphanumeric() || *d == '_') {
                end = j + d.len_utf8();
            }
            tokens.push((line, text[i..end].to_owned()));
        } else if c == ':' && chars.next_if(|(_, d)| *d == ':').is_some() {
            tokens.push((line, "::".to_owned()));
        } else if !c.is_whitespace() {
            tokens.push((line, c.to_string()));
        }
    }
    tokens
}

/// Names under `[dependencies]`, as code writes them.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    manifest
        .lines()
        .skip_while(|l| l.trim() != "[dependencies]")
        .skip(1)
        .take_while(|l| !l.starts_with('['))
        .filter_map(|l| l.split_once('=').map(|(name, _)| name.trim().replace('-', "_")))
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().join("src")];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).expect("a folder of sources can be listed") {
            let path = entry.expect("an entry can be read").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(found.len() > 20, "only {} source files found: is this the right folder?", found.len());
    found
}

/// A law that catches nothing is not a law: each is shown a breach and a look-alike that is none.
mod the_test_itself {
    use super::*;

    /// `faults` has one message per expected fragment, in order.
    fn check(name: &str, source: &str, expected: &[&str]) {
        let faults = faults_of(name, &format!("//! Purpose.\n{source}"));
        assert_eq!(faults.len(), expected.len(), "{name}: {source}\n{faults:#?}");
        for (fault, fragment) in faults.iter().zip(expected) {
            assert!(fault.contains(fragment), "{fault}\nlacks\n{fragment}");
        }
    }

    #[test]
    fn catches_imports_against_the_stream() {
        check("src/formats/x.rs", "use crate::ledger::Ledger;", &["src/formats/x.rs:2: `formats` imports `crate::ledger::Ledger`"]);
        check("src/formats/x.rs", "use crate::{domain::Moment,\n evaluate};", &["src/formats/x.rs:3: `formats` imports `crate::evaluate`"]);
        check("src/slo/x.rs", "fn f() -> crate::snapshot::Row { todo() }", &["`slo` imports `crate::snapshot::Row`"]);
        check("src/slo/deep/x.rs", "use super::super::super::app::run;", &["`slo` imports `crate::app::run`"]);
        check("src/report/x.rs", "use crate::exposition::{names, text::write};", &["`report` imports `crate::exposition::text::write`"]);
        check("src/config/x.rs", "use crate::collectors::run::start;", &["may import types from `collectors` only"]);
        check("src/domain/x.rs", "use crate::clock::now;", &["may import nothing only"]);
    }

    #[test]
    fn lets_good_imports_pass() {
        check("src/formats/x.rs", "use super::{Context, json};\nuse crate::domain::finding::closed_words;", &[]);
        check("src/formats/x.rs", "use super::super::domain::Moment;", &[]);
        check("src/config/x.rs", "use crate::collectors::{Reach, http, file::Config as File};\nuse crate::ledger;", &[]);
        check("src/app.rs", "use crate::{serve, ledger, evaluate};\nuse anyhow::Context as _;", &[]);
        check("src/main.rs", "fn main() { bornright::cli::main() }", &[]);
        check("src/slo/x.rs", "pub(crate) fn f() {}\npub(in crate::slo) fn g() {}", &[]);
    }

    #[test]
    fn catches_a_crate_outside_its_room() {
        check("src/serve/x.rs", "use reqwest::Client;", &["`reqwest` is used in `serve`, and belongs to collectors"]);
        check("src/serve/x.rs", "fn f() { let x = rusqlite::Connection::open(p); }", &["`rusqlite` is used in `serve`"]);
        check("src/domain/x.rs", "#[derive(clap::Parser)]\nstruct A;", &["`clap` is used in `domain`"]);
        check("src/evaluate/x.rs", "fn f() { tracing::warn!(1); }", &["`tracing` is used in `evaluate`"]);
        check("src/formats/x.rs", "use quick_xml::{Reader, events::Event};", &[]);
    }

    #[test]
    fn catches_the_clock_and_io_in_pure_rooms() {
        check("src/evaluate/x.rs", "fn f() { std::time::Instant::now(); }", &["`Instant::now` in `evaluate`"]);
        check("src/serve/x.rs", "use std::time::SystemTime;\nfn f() { SystemTime::now(); }", &["`SystemTime::now` in `serve`"]);
        check("src/serve/x.rs", "fn f() { std::time::Instant::now(); }", &[]);
        check("src/clock.rs", "fn now() { jiff::Timestamp::now(); }", &[]);
        check("src/formats/x.rs", "use std::{fs::File, io::BufRead};", &["`std::fs::File` in `formats`"]);
    }

    #[test]
    fn catches_metric_names_and_missing_purposes() {
        check("src/serve/x.rs", "const A: &str = \"compliance_ratio\";", &["`compliance_ratio` in a string"]);
        check("src/serve/x.rs", "const A: &str = r#\"# HELP compliance_ratio x\"#;", &["`compliance_ratio` in a string"]);
        check("src/exposition/names.rs", "const A: &str = \"compliance_ratio\";", &[]);
        check("src/formats/scc.rs", "const A: &str = \"compliance_state\";", &[]);
        assert!(faults_of("src/serve/x.rs", "fn f() {}")[0].starts_with("src/serve/x.rs:1: a file opens with"));
    }

    #[test]
    fn comments_strings_and_test_modules_are_not_code() {
        check("src/slo/x.rs", "/* use crate::app::x; /* nested */ */ // crate::app::y\n/// [`crate::app`]\nfn f() {}", &[]);
        check("src/slo/x.rs", "const A: &str = \"\\\" crate::app::x\"; const B: char = '\"'; const C: &str = \"use crate::app;\";", &[]);
        check("src/slo/x.rs", "fn f<'a>(x: &'a str) -> char { 'x' }\nuse crate::app::x;", &["src/slo/x.rs:3:"]);
        check("src/slo/x.rs", "#[cfg(test)]\nmod tests {\n use crate::app::x;\n const A: &str = \"compliance_ratio\";\n}", &[]);
        check("src/slo/x.rs", "#[cfg(test)]\nuse crate::app::x;\nuse crate::app::y;", &["src/slo/x.rs:4:"]);
        check("src/slo/x.rs", "#[cfg(not(test))]\nuse crate::app::x;", &["`crate::app::x`"]);
        check("src/slo/tests.rs", "use crate::app::x;", &[]);
    }

    #[test]
    fn reads_dependencies_of_the_program_only() {
        let manifest = "[package]\nname = \"a\"\n[dependencies]\n# why\nfoo-bar = \"1\"\nbaz = { version = \"2\" }\n\n[dev-dependencies]\nqux = \"1\"\n";
        assert_eq!(dependencies(manifest), BTreeSet::from(["foo_bar".to_owned(), "baz".to_owned()]));
    }
}
