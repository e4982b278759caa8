//! YAML with positions: a file becomes documents, each a tree in which every key and value knows its place.
//!
//! Serde would stop at the first thing that does not fit. Here nothing but bad syntax stops the reading, and bad
//! syntax costs only its own document: what the tree means, and everything that is wrong with it, is found by walking it.

use super::errors::{Place, Report, suggestion};
use crate::domain::Span;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::Spanned;
use std::fmt;

/// One value.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: Place,
    pub(super) value: Value,
}

/// What may stand there.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// As written (`2.10` stays `2.10`).
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) at: Place,
    pub(super) node: Node,
}

/// Splits `text` at document markers and reads each document. Bad syntax is reported and costs that document.
pub(super) fn documents(text: &str, report: &Report) -> Vec<Node> {
    let mut out = Vec::new();
    for (first_line, chunk) in split(text) {
        if chunk.lines().all(|l| l.trim().is_empty() || l.starts_with("---") && l[3..].trim().is_empty() || l.trim_start().starts_with('#'))
        {
            continue;
        }
        let options = serde_yaml::options! {
            strict_booleans: true,
            with_snippet: false,
            duplicate_keys: serde_yaml::DuplicateKeyPolicy::PassThrough,
            budget: serde_yaml::budget! { max_nodes: 1_000_000, max_events: 4_000_000, max_depth: 64 },
            // Anchors are for a few repeated lines. More than this is a bomb.
            alias_limits: serde_yaml::alias_limits! { max_total_replayed_events: 20_000 },
        };
        match serde_yaml::from_str_with_options::<Spanned<Tree>>(chunk, options) {
            Ok(tree) => {
                let mut node = node(tree, chunk);
                move_down(&mut node, first_line);
                out.push(node);
            }
            Err(e) => {
                let at = e.location().map_or(Place::default(), |l| place(l.line(), l.column()));
                let message = e.without_snippet().to_string();
                report.error_help(
                    Place { line: at.line.max(1) + first_line, column: at.column.max(1) },
                    format!("not YAML: {}", first_sentence(&message)),
                    "this document cannot be read at all until that is mended; indent with spaces, and quote texts that contain `: `, ` #`, or begin with `*`, `&`, `{` or `[`",
                );
            }
        }
    }
    out
}

/// A document marker at the beginning of a line ends a document wherever it stands, so the text can be split by line.
fn split(text: &str) -> Vec<(u32, &str)> {
    let mut out = Vec::new();
    let (mut start, mut start_line, mut offset, mut line) = (0, 0u32, 0, 0u32);
    for l in text.split_inclusive('\n') {
        let marker = l.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        if marker && offset > start {
            out.push((start_line, &text[start..offset]));
            (start, start_line) = (offset, line);
        }
        offset += l.len();
        line += 1;
    }
    out.push((start_line, &text[start..]));
    out
}

/// The parser's words without its own account of the place, which counts lines from the document's beginning.
fn first_sentence(message: &str) -> &str {
    let line = message.lines().next().unwrap_or("").trim();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    line.split(" at line ").next().unwrap_or(line)
}

fn place(line: u64, column: u64) -> Place {
    Place { line: u32::try_from(line).unwrap_or(u32::MAX), column: u32::try_from(column).unwrap_or(u32::MAX) }
}

fn move_down(node: &mut Node, lines: u32) {
    node.at.line += lines;
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|n| move_down(n, lines)),
        Value::Map(entries) => {
            for e in entries {
                e.at.line += lines;
                move_down(&mut e.node, lines);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => {}
    }
}

/// What serde brings; positions are unwrapped into [`Node`] afterwards.
enum Tree {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Spanned<Tree>>),
    Map(Vec<(Spanned<Tree>, Spanned<Tree>)>),
}

fn node(tree: Spanned<Tree>, source: &str) -> Node {
    let at = place(tree.referenced.line(), tree.referenced.column());
    let raw = || {
        let span = tree.defined.span();
        let from = usize::try_from(span.byte_offset()?).ok()?;
        let len = usize::try_from(span.byte_len()?).ok()?;
        source.get(from..from.checked_add(len)?)
    };
    let value = match tree.value {
        Tree::Null => Value::Null,
        Tree::Bool(b) => Value::Bool(b),
        Tree::Number(n) => Value::Number(
            raw()
                .map(str::trim)
                .filter(|t| t.starts_with(['+', '-', '.']) || t.starts_with(|c: char| c.is_ascii_digit()))
                .map_or(n, str::to_owned),
        ),
        Tree::Text(t) => Value::Text(t),
        Tree::List(items) => Value::List(items.into_iter().map(|n| node(n, source)).collect()),
        Tree::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| {
                    let key = node(key, source);
                    Entry { at: key.at, key: key.text_of_scalar(), node: node(value, source) }
                })
                .collect(),
        ),
    };
    Node { at, value }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Tree, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Tree;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_unit<E>(self) -> Result<Tree, E> {
                Ok(Tree::Null)
            }
            fn visit_none<E>(self) -> Result<Tree, E> {
                Ok(Tree::Null)
            }
            fn visit_bool<E>(self, v: bool) -> Result<Tree, E> {
                Ok(Tree::Bool(v))
            }
            fn visit_i64<E>(self, v: i64) -> Result<Tree, E> {
                Ok(Tree::Number(v.to_string()))
            }
            fn visit_u64<E>(self, v: u64) -> Result<Tree, E> {
                Ok(Tree::Number(v.to_string()))
            }
            fn visit_i128<E>(self, v: i128) -> Result<Tree, E> {
                Ok(Tree::Number(v.to_string()))
            }
            fn visit_u128<E>(self, v: u128) -> Result<Tree, E> {
                Ok(Tree::Number(v.to_string()))
            }
            fn visit_f64<E>(self, v: f64) -> Result<Tree, E> {
                Ok(Tree::Number(v.to_string()))
            }
            fn visit_str<E>(self, v: &str) -> Result<Tree, E> {
                Ok(Tree::Text(v.to_owned()))
            }
            fn visit_string<E>(self, v: String) -> Result<Tree, E> {
                Ok(Tree::Text(v))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
                let mut out = Vec::new();
                while let Some(item) = seq.next_element()? {
                    out.push(item);
                }
                Ok(Tree::List(out))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
                let mut out = Vec::new();
                while let Some(key) = map.next_key()? {
                    out.push((key, map.next_value()?));
                }
                Ok(Tree::Map(out))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl Node {
    /// What it is, for "expected …, found …".
    pub(super) fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(b) => format!("`{b}`"),
            Value::Number(n) => format!("the number `{n}`"),
            Value::Text(t) => format!("`{}`", excerpt(t)),
            Value::List(items) if items.is_empty() => "an empty list".to_owned(),
            Value::List(items) => format!("a list of {}", items.len()),
            Value::Map(entries) => match entries.as_slice() {
                [] => "an empty mapping".to_owned(),
                [first, ..] => format!("a mapping that begins with `{}:`", excerpt(&first.key)),
            },
        }
    }

    /// The text of a scalar, whatever type YAML would give it.
    pub(super) fn scalar(&self) -> Option<String> {
        match &self.value {
            Value::Bool(b) => Some(b.to_string()),
            Value::Number(t) | Value::Text(t) => Some(t.clone()),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    fn text_of_scalar(&self) -> String {
        self.scalar().unwrap_or_else(|| self.describe())
    }

    pub(super) fn as_map(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value under `key`, for a look ahead; no problem is reported.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.as_map()?.iter().find(|e| e.key == key).map(|e| &e.node)
    }

    /// "collector `a`" if it says its name under `key`, else "a collector": how problems speak of it.
    pub(super) fn named(&self, what: &str, key: &str) -> String {
        match self.get(key).and_then(Node::scalar) {
            Some(name) if !name.trim().is_empty() => format!("{what} `{}`", excerpt(&name)),
            _ => format!("a {what}"),
        }
    }

    /// The same as plain JSON, for readers of their own and for digests (keys in the order written).
    pub(super) fn json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(b) => (*b).into(),
            Value::Number(n) => serde_json::from_str::<serde_json::Number>(n).map_or_else(|_| n.clone().into(), serde_json::Value::Number),
            Value::Text(t) => t.clone().into(),
            Value::List(items) => items.iter().map(Node::json).collect(),
            Value::Map(entries) => serde_json::Value::Object(entries.iter().map(|e| (e.key.clone(), e.node.json())).collect()),
        }
    }
}

/// The beginning of a text, for messages.
pub(super) fn excerpt(text: &str) -> String {
    let line = text.lines().next().unwrap_or("");
    if line.chars().count() > 60 { line.chars().take(57).collect::<String>() + "…" } else { line.to_owned() }
}

/// A value with its place.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) at: Place,
    pub(super) value: T,
}

/// A mapping with known keys. Whoever opens it hears of unknown and repeated keys; whoever asks it for a value of
/// the wrong kind hears of that, and goes on.
pub(super) struct Table<'n, 'r> {
    pub(super) at: Place,
    /// `a collector`, `spec of a control set`.
    what: &'n str,
    entries: &'n [Entry],
    pub(super) report: &'r Report,
}

impl<'n, 'r> Table<'n, 'r> {
    /// Opens `node`, which should be a mapping with no keys but `known`. `explained` may know an unknown key better
    /// than the spelling checker.
    pub(super) fn open(
        node: &'n Node,
        what: &'n str,
        known: &[&str],
        report: &'r Report,
        explained: impl Fn(&str) -> Option<(String, String)>,
    ) -> Option<Table<'n, 'r>> {
        let Value::Map(entries) = &node.value else {
            report.error_help(
                node.at,
                format!("expected {what} (a mapping), found {}", node.describe()),
                format!("its keys are {}", known.join(", ")),
            );
            return None;
        };
        for (i, e) in entries.iter().enumerate() {
            if let Some(first) = entries[..i].iter().find(|f| f.key == e.key) {
                report.error(e.at, format!("key `{}` is given twice in {what}; it stands in line {} already", e.key, first.at.line));
            } else if let Some((message, help)) = explained(&e.key) {
                report.error_help(e.at, message, help);
            } else if !known.contains(&e.key.as_str()) {
                report.error_help(
                    e.at,
                    format!("unknown key `{}` in {what}", excerpt(&e.key)),
                    suggestion(&e.key, known, "known keys are"),
                );
            }
        }
        Some(Table { at: node.at, what, entries, report })
    }

    /// The value of `key`; an empty one (`key:`) counts as absent.
    pub(super) fn node(&self, key: &str) -> Option<&'n Node> {
        self.entries.iter().find(|e| e.key == key).map(|e| &e.node).filter(|n| !matches!(n.value, Value::Null))
    }

    /// Where `key` stands, else the table.
    pub(super) fn place(&self, key: &str) -> Place {
        self.entries.iter().find(|e| e.key == key).map_or(self.at, |e| e.node.at)
    }

    /// Reports that `key` is missing.
    pub(super) fn missing(&self, key: &str, help: &str) {
        self.report.error_help(self.at, format!("{} has no `{key}`", self.what), help);
    }

    pub(super) fn wrong(&self, key: &str, node: &Node, expected: &str) {
        self.report.error(node.at, format!("`{key}` of {} should be {expected}, found {}", self.what, node.describe()));
    }

    /// A text. Numbers and booleans are taken as written.
    pub(super) fn text(&self, key: &str) -> Option<At<String>> {
        let node = self.node(key)?;
        match node.scalar() {
            Some(value) if !value.trim().is_empty() => Some(At { at: node.at, value }),
            Some(_) => {
                self.report.error(node.at, format!("`{key}` of {} is empty", self.what));
                None
            }
            None => {
                self.wrong(key, node, "a text");
                None
            }
        }
    }

    /// A text that has to be there.
    pub(super) fn required(&self, key: &str, help: &str) -> Option<At<String>> {
        if self.node(key).is_none() {
            self.missing(key, help);
        }
        self.text(key)
    }

    pub(super) fn boolean(&self, key: &str) -> Option<At<bool>> {
        let node = self.node(key)?;
        match node.value {
            Value::Bool(value) => Some(At { at: node.at, value }),
            _ => {
                self.wrong(key, node, "`true` or `false`");
                None
            }
        }
    }

    /// A whole number within `range`.
    pub(super) fn whole(&self, key: &str, range: std::ops::RangeInclusive<u64>) -> Option<At<u64>> {
        let node = self.node(key)?;
        let number = match &node.value {
            Value::Number(n) => n.replace('_', "").parse().ok(),
            _ => None,
        };
        match number.filter(|n| range.contains(n)) {
            Some(value) => Some(At { at: node.at, value }),
            None => {
                self.wrong(key, node, &format!("a whole number from {} to {}", range.start(), range.end()));
                None
            }
        }
    }

    /// A duration as Prometheus writes it, at least `least`.
    pub(super) fn span(&self, key: &str, least: Span) -> Option<At<Span>> {
        let node = self.node(key)?;
        let text = match (&node.value, node.scalar()) {
            (Value::Number(n), _) => {
                self.report.error_help(
                    node.at,
                    format!("`{key}` of {} has no unit, found `{n}`", self.what),
                    format!("write the duration as in Prometheus: `{n}s`, `{n}m`, `{n}h` or `{n}d`"),
                );
                return None;
            }
            (_, Some(text)) => text,
            (_, None) => {
                self.wrong(key, node, "a duration such as 15m, 6h or 1d");
                return None;
            }
        };
        match Span::parse(text.trim()) {
            Ok(value) if value < least => {
                self.report.error(node.at, format!("`{key}` of {} is {value}, it must be at least {least}", self.what));
                None
            }
            Ok(value) => Some(At { at: node.at, value }),
            Err(message) => {
                self.report.error(node.at, format!("`{key}` of {}: {message}", self.what));
                None
            }
        }
    }

    /// A list of texts; a single text stands for a list of one.
    pub(super) fn texts(&self, key: &str) -> Vec<At<String>> {
        let Some(node) = self.node(key) else { return Vec::new() };
        let items: &[Node] = match &node.value {
            Value::List(items) => items,
            Value::Text(_) | Value::Number(_) => std::slice::from_ref(node),
            Value::Null | Value::Bool(_) | Value::Map(_) => {
                self.wrong(key, node, "a list of texts");
                &[]
            }
        };
        items
            .iter()
            .filter_map(|n| match n.scalar() {
                Some(value) if !value.trim().is_empty() => Some(At { at: n.at, value }),
                _ => {
                    self.wrong(key, n, "a list of texts");
                    None
                }
            })
            .collect()
    }

    /// A list.
    pub(super) fn list(&self, key: &str) -> &'n [Node] {
        match self.node(key) {
            None => &[],
            Some(node) => match &node.value {
                Value::List(items) => items,
                _ => {
                    self.wrong(key, node, "a list");
                    &[]
                }
            },
        }
    }

    /// A mapping of names to texts.
    pub(super) fn pairs(&self, key: &str) -> Vec<(At<String>, At<String>)> {
        let Some(node) = self.node(key) else { return Vec::new() };
        let Some(entries) = node.as_map() else {
            self.wrong(key, node, "a mapping of names to texts");
            return Vec::new();
        };
        let mut out: Vec<(At<String>, At<String>)> = Vec::new();
        for e in entries {
            if out.iter().any(|(k, _)| k.value == e.key) {
                self.report.error(e.at, format!("`{}` is given twice in `{key}`", e.key));
            } else if let Some(value) = e.node.scalar() {
                out.push((At { at: e.at, value: e.key.clone() }, At { at: e.node.at, value }));
            } else {
                self.wrong(key, &e.node, "a mapping of names to texts");
            }
        }
        out
    }

    /// One of a closed set of words.
    pub(super) fn word<T>(&self, key: &str, known: &[&str], read: impl Fn(&str) -> Option<T>) -> Option<At<T>> {
        let found = self.text(key)?;
        match read(&found.value) {
            Some(value) => Some(At { at: found.at, value }),
            None => {
                self.report.error_help(
                    found.at,
                    format!("`{key}` of {} is `{}`", self.what, excerpt(&found.value)),
                    suggestion(&found.value, known, "it must be one of"),
                );
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<Node>, Vec<String>) {
        let report = Report::new("x.yaml");
        let nodes = documents(text, &report);
        (nodes, report.into_problems().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn numbers_stay_as_written_through_anchors_and_merges() {
        let (docs, problems) = read("\u{feff}a: &v 2.10\nb: *v\nbase: &base { c: 3.0, d: 007 }\nwith: { <<: *base, d: 1e3 }\n");
        assert_eq!(problems, Vec::<String>::new());
        let scalar = |path: &[&str]| path.iter().try_fold(&docs[0], |n, key| n.get(key)).and_then(Node::scalar);
        assert_eq!(scalar(&["a"]).as_deref(), Some("2.10"));
        assert_eq!(scalar(&["b"]).as_deref(), Some("2.10"));
        assert_eq!(scalar(&["with", "c"]).as_deref(), Some("3.0"));
        assert_eq!(scalar(&["with", "d"]).as_deref(), Some("1e3"));
    }

    #[test]
    fn documents_are_apart_and_places_are_those_of_the_file() {
        let (docs, problems) = read("# head\r\n---\r\na: [1,\r\n---\r\nb: |\r\n  text --- here\r\n  ---\r\n---\r\n- c\r\n---\r\n");
        assert_eq!(docs.len(), 2, "{problems:?}");
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(docs[0].at, Place { line: 5, column: 1 });
        assert_eq!(docs[1].at, Place { line: 9, column: 1 });
    }
}
