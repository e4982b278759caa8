//! YAML as a person would have written it: keys in the order of the documentation, long texts folded.

use super::{Draft, Framework, Set, line};
use std::fmt::Write;

/// Column at which folded text is broken.
const WIDTH: usize = 110;

/// A set as a `kind: ControlSet` document.
pub(super) fn set(out: &mut String, set: &Set) {
    begin(out, "ControlSet", &set.about, &set.name);
    let _ = writeln!(out, "  version: {}\n  owner: {}\n  controls:", scalar(&set.version), scalar(&set.owner));
    for control in &set.controls {
        draft(out, control);
    }
}

/// A framework as a `kind: Framework` document.
pub(super) fn framework(out: &mut String, framework: &Framework) {
    begin(out, "Framework", &framework.about, &framework.name);
    let _ = writeln!(out, "  title: {}\n  version: {}\n  requirements:", scalar(&framework.title), scalar(&framework.version));
    for r in &framework.requirements {
        let _ = write!(out, "    - {{ id: {}, title: {}", scalar(&r.id), scalar(&r.title));
        if let Some(parent) = &r.parent {
            let _ = write!(out, ", parent: {}", scalar(parent));
        }
        out.push_str(" }\n");
    }
}

fn begin(out: &mut String, kind: &str, about: &[String], name: &str) {
    if !out.is_empty() {
        out.push_str("---\n");
    }
    for text in about {
        for l in wrapped(&line(text), WIDTH) {
            let _ = writeln!(out, "# {l}");
        }
    }
    let _ = writeln!(out, "apiVersion: bornright/v1\nkind: {kind}\nmetadata:\n  name: {}\nspec:", scalar(name));
}

fn draft(out: &mut String, control: &Draft) {
    if let Some(comment) = &control.comment {
        for l in wrapped(&line(comment), WIDTH - 4) {
            let _ = writeln!(out, "    # {l}");
        }
    }
    let _ = writeln!(
        out,
        "    - id: {}\n      title: {}\n      severity: {}",
        scalar(&control.id),
        scalar(&control.title),
        control.severity.word()
    );
    if !control.requirements.is_empty() {
        out.push_str("      requirements:\n");
        for (framework, ids) in &control.requirements {
            let ids: Vec<String> = ids.iter().map(|id| scalar(id)).collect();
            let _ = writeln!(out, "        {framework}: [{}]", ids.join(", "));
        }
    }
    out.push_str("      checks:\n");
    for (format, id) in &control.checks {
        match format {
            Some(format) => {
                let _ = writeln!(out, "        - {{ format: {}, id: {} }}", scalar(format), scalar(id));
            }
            None => {
                let _ = writeln!(out, "        - {{ id: {} }}", scalar(id));
            }
        }
    }
    prose(out, "rationale", &control.rationale);
    prose(out, "remediation", &control.remediation);
}

fn prose(out: &mut String, key: &str, text: &str) {
    let paragraphs: Vec<String> = text.split('\n').map(line).filter(|p| !p.is_empty()).collect();
    if paragraphs.is_empty() {
        return;
    }
    let _ = writeln!(out, "      {key}: >-");
    for (i, paragraph) in paragraphs.iter().enumerate() {
        if i > 0 {
            out.push('\n');
        }
        for l in wrapped(paragraph, WIDTH - 8) {
            let _ = writeln!(out, "        {l}");
        }
    }
}

/// Breaks at blanks; a word that is too long stands alone.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut current = String::new();
    for word in text.split(' ').filter(|w| !w.is_empty()) {
        if !current.is_empty() && current.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::take(&mut current));
        }
        if !current.is_empty() {
            current.push(' ');
        }
        current.push_str(word);
    }
    if !current.is_empty() {
        lines.push(current);
    }
    lines
}

/// A text as a YAML scalar: bare where nothing can be read into it, else in double quotes.
pub(super) fn scalar(text: &str) -> String {
    let text = line(text);
    let bare = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_alphanumeric() || " -_.()/+".contains(c))
        && !["true", "false", "yes", "no", "on", "off", "null", "y", "n"].contains(&text.to_ascii_lowercase().as_str());
    if bare {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            // Not printable in YAML, or taken for line breaks.
            '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => out.push(' '),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_are_read_back_as_written() {
        let texts = [
            "plain words",
            "AC-6(2)",
            "2.10",
            "1e3",
            "yes",
            "null",
            "~",
            "- item",
            "a: b",
            "a #b",
            "it's \"quoted\" \\ back",
            "ends:",
            "@at",
            "Ünïcode (größer)",
            "0x1f",
            "[list]",
            "{map}",
            "!tag",
            "*a",
            "",
            "a\u{feff}b",
        ];
        for text in texts {
            let yaml = format!("key: {}\nflow: {{ a: {}, b: [{}] }}\n", scalar(text), scalar(text), scalar(text));
            let back: serde_json::Value = serde_yaml::from_str(&yaml).unwrap_or_else(|e| panic!("{text}: {e}\n{yaml}"));
            let expected = serde_json::Value::from(line(&text.replace('\u{feff}', " ")));
            assert_eq!((&back["key"], &back["flow"]["a"], &back["flow"]["b"][0]), (&expected, &expected, &expected), "{yaml}");
        }
    }

    #[test]
    fn long_texts_are_folded_and_come_back_as_paragraphs() {
        let mut out = String::new();
        let text = format!("First {} end.\n\n  # second: one\n- third", "word ".repeat(60));
        prose(&mut out, "rationale", &text);
        assert!(out.lines().all(|l| l.len() <= WIDTH), "{out}");
        let back: serde_json::Value = serde_yaml::from_str(&out).expect("YAML");
        let back = back["rationale"].as_str().expect("a text").to_owned();
        let expected: Vec<String> = text.split('\n').map(line).filter(|l| !l.is_empty()).collect();
        assert_eq!(back.split('\n').collect::<Vec<_>>(), expected);
    }
}
