//! Writes YAML as a person would: block style, long expressions as literal blocks, quotes only where they are needed.
//!
//! Only what the generators need. It is written here, and not by a serializer, for comments and for a layout that is
//! good to review; a test reads everything back with a full parser.

use std::fmt::Write as _;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Yaml {
    /// A text, quoted if it needs to be; with line breaks a literal block.
    Text(String),
    /// A number or a boolean, written as it is.
    Plain(String),
    /// A list.
    List(Vec<Yaml>),
    /// A mapping, in this order.
    Map(Vec<(String, Yaml)>),
    /// Comment lines before what they are about.
    Noted(Vec<String>, Box<Yaml>),
}

impl From<&str> for Yaml {
    fn from(text: &str) -> Yaml {
        Yaml::Text(text.to_owned())
    }
}

impl From<String> for Yaml {
    fn from(text: String) -> Yaml {
        Yaml::Text(text)
    }
}

impl From<bool> for Yaml {
    fn from(yes: bool) -> Yaml {
        Yaml::Plain(yes.to_string())
    }
}

impl From<f64> for Yaml {
    fn from(number: f64) -> Yaml {
        Yaml::Plain(number.to_string())
    }
}

impl From<Vec<Yaml>> for Yaml {
    fn from(items: Vec<Yaml>) -> Yaml {
        Yaml::List(items)
    }
}

/// A mapping of what is given, in this order.
pub fn map<K: Into<String>>(entries: impl IntoIterator<Item = (K, Yaml)>) -> Yaml {
    Yaml::Map(entries.into_iter().map(|(k, v)| (k.into(), v)).collect())
}

/// A document that begins with `comment`, line by line.
pub fn document(comment: &[String], value: &Yaml) -> String {
    let mut out = String::new();
    write_comment(&mut out, 0, comment);
    write(&mut out, 0, value);
    out
}

fn write_comment(out: &mut String, indent: usize, lines: &[String]) {
    for line in lines.iter().flat_map(|l| l.lines()) {
        _ = writeln!(out, "{:indent$}# {line}", "");
    }
}

/// Writes a value that begins on a line of its own.
fn write(out: &mut String, indent: usize, value: &Yaml) {
    match value {
        Yaml::Map(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                entry(out, indent, key, value);
            }
        }
        Yaml::List(items) if !items.is_empty() => {
            for item in items {
                list_item(out, indent, item);
            }
        }
        Yaml::Noted(comment, value) => {
            write_comment(out, indent, comment);
            write(out, indent, value);
        }
        other => {
            _ = write!(out, "{:indent$}", "");
            inline(out, indent, other);
        }
    }
}

fn entry(out: &mut String, indent: usize, key: &str, value: &Yaml) {
    match value {
        Yaml::Noted(comment, value) => {
            write_comment(out, indent, comment);
            entry(out, indent, key, value);
        }
        Yaml::Map(entries) if !entries.is_empty() => {
            _ = writeln!(out, "{:indent$}{}:", "", scalar(key));
            write(out, indent + 2, value);
        }
        // Lists stand under their key without further indentation, as Prometheus' own examples have it.
        Yaml::List(items) if !items.is_empty() => {
            _ = writeln!(out, "{:indent$}{}:", "", scalar(key));
            write(out, indent, value);
        }
        other => {
            _ = write!(out, "{:indent$}{}: ", "", scalar(key));
            inline(out, indent, other);
        }
    }
}

fn list_item(out: &mut String, indent: usize, item: &Yaml) {
    match item {
        Yaml::Noted(comment, value) => {
            write_comment(out, indent, comment);
            list_item(out, indent, value);
        }
        Yaml::Map(entries) if !entries.is_empty() => {
            let mut inner = String::new();
            write(&mut inner, indent + 2, item);
            // The dash takes the place of the first line's indentation.
            match entries.first() {
                Some((_, Yaml::Noted(..))) => {
                    _ = writeln!(out, "{:indent$}-", "");
                    out.push_str(&inner);
                }
                _ => {
                    _ = write!(out, "{:indent$}- ", "");
                    out.push_str(inner.get(indent + 2..).unwrap_or_default());
                }
            }
        }
        Yaml::List(items) if !items.is_empty() => {
            _ = writeln!(out, "{:indent$}-", "");
            write(out, indent + 2, item);
        }
        other => {
            _ = write!(out, "{:indent$}- ", "");
            inline(out, indent, other);
        }
    }
}

/// The rest of a line, and the lines of a block.
fn inline(out: &mut String, indent: usize, value: &Yaml) {
    match value {
        Yaml::Text(text) if block(text) => {
            // Without a line break at the end the block says so (`|-`).
            out.push_str(if text.ends_with('\n') { "|\n" } else { "|-\n" });
            for line in text.lines() {
                if line.is_empty() {
                    out.push('\n');
                } else {
                    _ = writeln!(out, "{:width$}{line}", "", width = indent + 2);
                }
            }
        }
        Yaml::Text(text) => _ = writeln!(out, "{}", scalar(text)),
        Yaml::Plain(text) => _ = writeln!(out, "{text}"),
        Yaml::List(_) => out.push_str("[]\n"),
        Yaml::Map(_) => out.push_str("{}\n"),
        Yaml::Noted(_, value) => inline(out, indent, value),
    }
}

/// Whether a text can and should stand as a literal block: several lines, the first not indented, no other control
/// character, at most one line break at the end.
fn block(text: &str) -> bool {
    text.trim_end_matches('\n').contains('\n')
        && !text.starts_with([' ', '\n', '\t'])
        && !text.ends_with("\n\n")
        && !text.chars().any(|c| c.is_control() && c != '\n')
        && text.lines().all(|l| l.is_empty() || !l.trim_end().is_empty())
}

/// A text on one line: plain if every YAML reader takes it for that text, else in quotes.
fn scalar(text: &str) -> String {
    if text.chars().any(|c| c.is_control() || c == '\u{feff}' || c == '\u{2028}' || c == '\u{2029}') {
        let mut out = String::from("\"");
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                c if c.is_control() || c == '\u{feff}' || c == '\u{2028}' || c == '\u{2029}' => _ = write!(out, "\\u{:04x}", c as u32),
                c => out.push(c),
            }
        }
        out.push('"');
        return out;
    }
    if plain(text) { text.to_owned() } else { format!("'{}'", text.replace('\'', "''")) }
}

/// `5m`, `1d12h`: digits and units by turns are no number to anybody.
fn duration(text: &str) -> bool {
    crate::domain::Span::parse(text).is_ok()
}

fn plain(text: &str) -> bool {
    // Words that some reader takes for a boolean or for nothing.
    const WORDS: [&str; 10] = ["true", "false", "yes", "no", "on", "off", "null", "y", "n", ""];
    // What begins so is never a number, and no sign of YAML's.
    let first = |c: char| c.is_ascii_alphabetic() || "/_$(".contains(c);
    (text.starts_with(first) || duration(text))
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
        && !text.contains(": ")
        && !text.contains(" #")
        && !text.ends_with([':', ' '])
        && text.chars().all(|c| !c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a full parser reads.
    fn read(text: &str) -> serde_json::Value {
        let options = serde_yaml::options! { strict_booleans: true, with_snippet: false };
        serde_yaml::from_str_with_options(text, options).unwrap_or_else(|e| panic!("{e}\n{text}"))
    }

    fn json(value: &Yaml) -> serde_json::Value {
        match value {
            Yaml::Text(t) => t.as_str().into(),
            Yaml::Plain(p) => serde_json::from_str(p).expect("a number or a boolean"),
            Yaml::List(items) => items.iter().map(json).collect(),
            Yaml::Map(entries) => serde_json::Value::Object(entries.iter().map(|(k, v)| (k.clone(), json(v))).collect()),
            Yaml::Noted(_, v) => json(v),
        }
    }

    fn texts() -> impl Strategy<Value = String> {
        prop_oneof![
            "\\PC{0,20}",
            "[a-z :#'\"{}\\[\\]\n\\\\|>&*!%@`-]{0,20}",
            "[0-9.eE+_:-]{0,8}",
            Just("yes".to_owned()),
            Just("~".to_owned())
        ]
    }

    fn values() -> impl Strategy<Value = Yaml> {
        let leaf = prop_oneof![
            texts().prop_map(Yaml::Text),
            (-1000i32..1000).prop_map(|n| Yaml::Plain(n.to_string())),
            any::<bool>().prop_map(Yaml::from)
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Yaml::List),
                prop::collection::btree_map(texts(), inner.clone(), 0..5).prop_map(|m| Yaml::Map(m.into_iter().collect())),
                (prop::collection::vec("[ -~]{0,20}", 1..3), inner).prop_map(|(c, v)| Yaml::Noted(c, Box::new(v))),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_back(value in values()) {
            let text = document(&["a comment: with # signs".to_owned()], &map([("top", value.clone())]));
            prop_assert_eq!(&read(&text)["top"], &json(&value), "{}", text);
        }
    }

    #[test]
    fn it_looks_as_a_person_would_write_it() {
        let value = map([(
            "groups",
            Yaml::List(vec![map([
                ("name", "one".into()),
                ("rules", vec![map([("expr", "sum(a)\n/\nsum(b)\n".into()), ("value", "99".into())])].into()),
            ])]),
        )]);
        assert_eq!(
            document(&["Do not edit.".to_owned()], &value),
            "# Do not edit.\ngroups:\n- name: one\n  rules:\n  - expr: |\n      sum(a)\n      /\n      sum(b)\n    value: '99'\n"
        );
    }
}
