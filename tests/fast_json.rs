//! The short cuts of `native`, `ocsf` and `asff` against parsing every record in full.
//!
//! On real documents both give the same findings and problems. On mangled ones, every record that full parsing accepts
//! gives the same finding by the short cut, and a record that only the short cut accepts is broken in a place that it
//! jumps over (docs/json.md says which faults those can be).

use bornright::domain::{Finding, Problem};
use bornright::formats::{Context, Flow, Format, FormatSpec, Limits, Sink, read, read_in_full};
use proptest::prelude::*;
use std::collections::HashMap;
use std::io::Read;

#[derive(Default)]
struct Texts {
    findings: Vec<String>,
    problems: Vec<Problem>,
    sort_refs: bool,
}

impl Sink for Texts {
    fn finding(&mut self, finding: &Finding<'_>) -> Flow {
        let mut finding = finding.clone();
        if self.sort_refs {
            finding.control_refs.sort_by(|a, b| (&a.framework, &a.id).cmp(&(&b.framework, &b.id)));
        }
        self.findings.push(format!("{finding:?}"));
        Flow::More
    }
    fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }
}

struct Reading {
    seen: Texts,
    end: String,
}

fn by(format: Format, document: &[u8], full: bool) -> Reading {
    by_sorting(format, document, full, false)
}

fn by_sorting(format: Format, document: &[u8], full: bool, sort_refs: bool) -> Reading {
    let ctx = Context { source: "test", limits: Limits::default(), want_raw: false };
    let mut seen = Texts { sort_refs, ..Texts::default() };
    let mut input = document;
    let end = if full {
        read_in_full(format, &mut input, &ctx, &mut seen)
    } else {
        read(&FormatSpec::Builtin(format), &mut input, &ctx, &mut seen)
    };
    Reading { seen, end: format!("{end:?}") }
}

fn fixtures() -> Vec<(Format, String, Vec<u8>)> {
    let mut all = Vec::new();
    for format in [Format::Ocsf, Format::Asff, Format::Native] {
        let dir = format!("{}/tests/formats/{format}", env!("CARGO_MANIFEST_DIR"));
        for entry in std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("{dir}: {e}")) {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if name.ends_with(".md") || name.contains("expected") {
                continue;
            }
            let mut bytes = std::fs::read(&path).unwrap();
            if name.ends_with(".gz") {
                let packed = std::mem::take(&mut bytes);
                flate2::read::MultiGzDecoder::new(packed.as_slice()).read_to_end(&mut bytes).unwrap();
            }
            all.push((format, name, bytes));
        }
    }
    assert!(all.len() > 20, "fixtures are missing");
    all.sort_by(|a, b| a.1.cmp(&b.1));
    all
}

#[test]
fn real_documents_read_the_same() {
    for (format, name, document) in fixtures() {
        let (fast, full) = (by(format, &document, false), by(format, &document, true));
        assert_eq!(fast.seen.findings, full.seen.findings, "{name}");
        assert_eq!(fast.seen.problems, full.seen.problems, "{name}");
        assert_eq!(fast.end, full.end, "{name}");
        assert!(name == "wrong.ndjson" || full.seen.problems.is_empty(), "{name}: {:?}", full.seen.problems);
    }
}

/// Every way of laying the same values out reads the same.
#[test]
fn layout_does_not_matter() {
    for (format, name, document) in fixtures() {
        if name.ends_with(".gz") || name == "wrong.ndjson" {
            continue;
        }
        let values: Vec<serde_json::Value> = serde_json::Deserializer::from_slice(&document).into_iter().map(Result::unwrap).collect();
        let expected = by_sorting(format, &document, true, true);
        let compact: Vec<String> = values.iter().map(|v| serde_json::to_string(v).unwrap()).collect();
        let pretty: Vec<String> = values.iter().map(|v| serde_json::to_string_pretty(v).unwrap()).collect();
        // Keys come out sorted here, so the picker meets them, and the maps theirs, in another order.
        for text in [compact.join("\n"), pretty.join("\n"), format!("\u{feff}{}", pretty.join("\r\n"))] {
            let fast = by_sorting(format, text.as_bytes(), false, true);
            assert_eq!(fast.seen.findings, expected.seen.findings, "{name}");
            assert_eq!(by(format, text.as_bytes(), true).seen.findings, by(format, text.as_bytes(), false).seen.findings, "{name}");
        }
    }
}

/// Compares both readings of a mangled document, finding by finding.
fn agree(format: Format, document: &[u8]) -> Result<(), TestCaseError> {
    let (fast, full) = (by(format, document, false), by(format, document, true));
    // Findings of full parsing all come by the short cut too, in the same order.
    let mut rest = fast.seen.findings.iter();
    for finding in &full.seen.findings {
        prop_assert!(rest.any(|f| f == finding), "missing or different by the short cut: {finding}\nin {:?}", fast.seen.findings);
    }
    // And there are more only where full parsing found a fault in the record.
    let more = fast.seen.findings.len() - full.seen.findings.len();
    let mut fewer: HashMap<u64, i64> = HashMap::new();
    for p in &full.seen.problems {
        *fewer.entry(p.position.offset).or_default() += 1;
    }
    for p in &fast.seen.problems {
        *fewer.entry(p.position.offset).or_default() -= 1;
    }
    let fewer = fewer.values().filter(|n| **n > 0).count();
    // A record stands for a few findings at most (one a resource), and may lie outside ratios altogether.
    prop_assert!(more == 0 || fewer > 0 || full.end.starts_with("Err"), "{more} findings more, though full parsing has no fault to find");
    Ok(())
}

static SMALL: std::sync::LazyLock<Vec<(Format, String, Vec<u8>)>> =
    std::sync::LazyLock::new(|| fixtures().into_iter().filter(|(_, name, bytes)| bytes.len() < 40_000 && !name.ends_with(".gz")).collect());

proptest! {
    /// A few bytes changed, taken out or put in.
    #[test]
    fn mangled_documents_read_the_same(
        which in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0u8..6, prop::sample::select(b"\"\\{}[]:,\n 0a\xc3\x00te-".to_vec())), 1..4),
    ) {
        let all = &*SMALL;
        let (format, _, document) = &all[which.index(all.len())];
        let mut document = document.clone();
        for (place, kind, byte) in edits {
            let at = place.index(document.len());
            match kind {
                0 => document[at] = byte,
                1 => document.insert(at, byte),
                2 => { document.remove(at); }
                3 => document.truncate(at.max(1)),
                4 => { let end = (at + 50).min(document.len()); document.drain(at..end); }
                _ => { let end = (at + 50).min(document.len()); let again = document[at..end].to_vec(); document.splice(at..at, again); }
            }
            if document.is_empty() { return Ok(()); }
        }
        agree(*format, &document)?;
    }

    /// Values swapped for others of another type.
    #[test]
    fn values_of_the_wrong_type_read_the_same(
        which in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        value in prop::sample::select(vec!["null", "1", "-0.5e3", "true", "\"\"", "\"x\\u0041\\n\"", "[]", "{}", "[1]", "[{}]", "{\"uid\":1}", "[\"a\",\"b\"]", "1e999", "0", "\"1795403602\"", "123456789012345678901234567890"]),
    ) {
        let all = &*SMALL;
        let (format, _, document) = &all[which.index(all.len())];
        // The place after some colon that stands outside strings, as far as a blank or a value tells.
        let colons: Vec<usize> = document.windows(2).enumerate().filter(|(_, w)| w[0] == b'"' && w[1] == b':').map(|(i, _)| i + 2).collect();
        let at = colons[place.index(colons.len())];
        let rest = &document[at..];
        let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<serde_json::Value>();
        if !matches!(values.next(), Some(Ok(_))) { return Ok(()); }
        let end = at + values.byte_offset();
        let mut changed = document[..at].to_vec();
        changed.extend_from_slice(value.as_bytes());
        changed.extend_from_slice(&document[end..]);
        let (fast, full) = (by(*format, &changed, false), by(*format, &changed, true));
        if value == "1e999" {
            // Out of range for the parser, jumped over by the short cut.
            return agree(*format, &changed);
        }
        prop_assert_eq!(fast.seen.findings, full.seen.findings);
        prop_assert_eq!(fast.seen.problems, full.seen.problems);
        prop_assert_eq!(fast.end, full.end);
    }
}
