//! Reads what we do not know, by the operator's mapping: JSON, NDJSON and CSV by header.
//!
//! Specification of the expressions: RFC 9535. Paths of names and indexes (`$.a.b[0]['c']`) are sorted into one tree when
//! the configuration is read, and all of them are picked in one pass over a record's bytes; a tree of values is built only
//! for a record some of whose expressions need more. Of what the pass skips only the balance of brackets and quotes is
//! checked. A mapping never guesses: a word in none of its lists is a problem that names the word.
//!
//! Oddities met: CSV with `;` (Prowler) and with a byte order mark; numbers and booleans as verdicts.

use super::walk::{self, Bounded, Cut, Records, Shape};
use super::{Context, Flow, FormatError, Sink, auto, time};
use crate::domain::{CheckResult, Finding, Lifecycle, Position, ProblemKind, RunOutcome, Severity};
use jsonpath_rust::parser::model::{Comparable, Filter, FilterAtom, FnArg, JpQuery, Segment, Selector, SingularQuery, Test, TestFunction};
use jsonpath_rust::parser::parse_json_path;
use jsonpath_rust::query::js_path_process;
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{BufRead, Read};
use std::rc::Rc;

/// A mapping as the operator writes it. Every value that does not begin with `$` is a constant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawMapping {
    /// Where the records stand: `$[*]` (the default: an array, or a record a line), `$.results[*]`, `csv`.
    #[serde(default)]
    pub records: Option<String>,
    /// The separator of CSV columns: one character; default: whichever of `,` `;` tab `|` divides the header most.
    #[serde(default)]
    pub delimiter: Option<String>,
    /// The scanner's rule id.
    pub check: String,
    /// The resource's id.
    pub resource: String,
    /// The resource's type.
    #[serde(default)]
    pub resource_type: Option<String>,
    /// The resource's name for people.
    #[serde(default)]
    pub resource_name: Option<String>,
    /// The verdict, and what its words mean.
    pub result: RawResult,
    /// Whether the source hides or retired the record, and what its words mean.
    #[serde(default)]
    pub lifecycle: Option<RawLifecycle>,
    /// How bad a failure is: `critical high medium low info` in any case, and their usual synonyms.
    #[serde(default)]
    pub severity: Option<String>,
    /// When the scanner looked.
    #[serde(default)]
    pub observed_at: Option<String>,
    /// The check's title.
    #[serde(default)]
    pub title: Option<String>,
    /// What the scanner says about this very result.
    #[serde(default)]
    pub message: Option<String>,
    /// Further values by name, for scope templates.
    #[serde(default)]
    pub fields: BTreeMap<String, String>,
    /// How many resources the record stands for, where the source gives only numbers.
    #[serde(default)]
    pub count: Option<String>,
}

impl RawMapping {
    /// Reads a mapping that stands in a file of its own.
    ///
    /// # Errors
    /// What is wrong, with line and column.
    pub fn from_yaml(text: &str) -> Result<RawMapping, String> {
        let options = serde_yaml::options! { strict_booleans: true, with_snippet: false };
        serde_yaml::from_str_with_options(text, options).map_err(|e| e.to_string())
    }
}

/// Which words of the source are which verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawResult {
    /// Where the word stands.
    pub path: String,
    /// Words for a pass.
    #[serde(default)]
    pub pass: Vec<Word>,
    /// Words for a failure.
    #[serde(default)]
    pub fail: Vec<Word>,
    /// Words for a check that could not be carried out.
    #[serde(default)]
    pub error: Vec<Word>,
    /// Words for a check that a person has to do.
    #[serde(default)]
    pub manual: Vec<Word>,
    /// Words for a check that does not apply.
    #[serde(default)]
    pub not_applicable: Vec<Word>,
    /// Words for a check that was not carried out.
    #[serde(default)]
    pub not_assessed: Vec<Word>,
}

/// Which words of the source are which lifecycle. A record without the value is active.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawLifecycle {
    /// Where the word stands.
    pub path: String,
    /// Words for a current record.
    #[serde(default)]
    pub active: Vec<Word>,
    /// Words for a record that the source hides.
    #[serde(default)]
    pub suppressed: Vec<Word>,
    /// Words for a record that is no longer current.
    #[serde(default)]
    pub inactive: Vec<Word>,
}

/// A word of the source: text, a number or a boolean, compared as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word(pub String);

/// A compiled mapping.
#[derive(Clone, Debug)]
pub struct Mapping {
    records: Place,
    delimiter: Option<u8>,
    tree: Node,
    slots: usize,
    /// Whether some expression needs a tree of values.
    values: bool,
    expressions: Vec<Expression>,
    results: Vec<(String, CheckResult)>,
    lifecycles: Vec<(String, Lifecycle)>,
    /// Expressions that are not always given, by their place in `expressions`.
    kind: Option<usize>,
    name: Option<usize>,
    lifecycle: Option<usize>,
    severity: Option<usize>,
    observed_at: Option<usize>,
    title: Option<usize>,
    message: Option<usize>,
    count: Option<usize>,
    fields: Vec<(String, usize)>,
}

/// The first three expressions.
const CHECK: usize = 0;
const RESOURCE: usize = 1;
const RESULT: usize = 2;

#[derive(Clone, Debug)]
enum Place {
    Csv,
    Json {
        /// Names from the top to the array; empty: the top itself.
        array: Vec<String>,
        /// What is left of the path, to be asked of each element by itself, wrapped in an array if true.
        rest: Option<(JpQuery, bool)>,
    },
}

#[derive(Clone, Debug)]
struct Expression {
    field: String,
    source: String,
    how: How,
}

#[derive(Clone, Debug)]
enum How {
    Constant,
    /// Picked by the pass over the bytes into a slot.
    Simple(usize, Vec<Step>),
    Query(Box<JpQuery>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

/// The tree of all simple paths.
#[derive(Clone, Debug, Default)]
struct Node {
    slot: Option<usize>,
    children: Vec<(Step, Node)>,
    /// Every slot at or below.
    below: Vec<usize>,
}

impl Mapping {
    /// Reads a mapping.
    ///
    /// # Errors
    /// Every fault: the key it stands under, and what is wrong with it.
    pub fn compile(raw: RawMapping) -> Result<Mapping, Vec<(String, String)>> {
        let mut faults = Vec::new();
        let mut mapping = Mapping {
            records: Place::Json { array: Vec::new(), rest: None },
            delimiter: None,
            tree: Node::default(),
            slots: 0,
            values: false,
            expressions: Vec::new(),
            results: Vec::new(),
            lifecycles: Vec::new(),
            kind: None,
            name: None,
            lifecycle: None,
            severity: None,
            observed_at: None,
            title: None,
            message: None,
            count: None,
            fields: Vec::new(),
        };
        match place(raw.records.as_deref().unwrap_or("$[*]")) {
            Ok(place) => mapping.records = place,
            Err(what) => faults.push(("records".to_owned(), what)),
        }
        match raw.delimiter.as_deref().map(str::as_bytes) {
            None => {}
            Some([byte]) if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => mapping.delimiter = Some(*byte),
            Some(_) => faults.push(("delimiter".to_owned(), "expected one ASCII character".to_owned())),
        }
        let check = mapping.add("check", Some(raw.check), &mut faults);
        let resource = mapping.add("resource", Some(raw.resource), &mut faults);
        if !raw.result.path.trim_start().starts_with('$') {
            let what = format!("`{}` is a constant, expected a JSONPath: a verdict must come from the source", raw.result.path);
            faults.push(("result.path".to_owned(), what));
        }
        let result = mapping.add("result.path", Some(raw.result.path), &mut faults);
        debug_assert_eq!((check, resource, result), (Some(CHECK), Some(RESOURCE), Some(RESULT)));
        mapping.kind = mapping.add("resource_type", raw.resource_type, &mut faults);
        mapping.name = mapping.add("resource_name", raw.resource_name, &mut faults);
        mapping.severity = mapping.add("severity", raw.severity, &mut faults);
        mapping.observed_at = mapping.add("observed_at", raw.observed_at, &mut faults);
        mapping.title = mapping.add("title", raw.title, &mut faults);
        mapping.message = mapping.add("message", raw.message, &mut faults);
        mapping.count = mapping.add("count", raw.count, &mut faults);
        for (name, path) in raw.fields {
            if let Some(at) = mapping.add(&format!("fields.{name}"), Some(path), &mut faults) {
                mapping.fields.push((name, at));
            }
        }
        for (result, words) in [
            (CheckResult::Pass, raw.result.pass),
            (CheckResult::Fail, raw.result.fail),
            (CheckResult::Error, raw.result.error),
            (CheckResult::Manual, raw.result.manual),
            (CheckResult::NotApplicable, raw.result.not_applicable),
            (CheckResult::NotAssessed, raw.result.not_assessed),
        ] {
            words_into(&mut mapping.results, result, words, "result", &mut faults);
        }
        if mapping.results.is_empty() {
            faults.push(("result".to_owned(), "no word is listed; expected at least one list such as `pass: [ok]`".to_owned()));
        }
        if let Some(lifecycle) = raw.lifecycle {
            mapping.lifecycle = mapping.add("lifecycle.path", Some(lifecycle.path), &mut faults);
            for (which, words) in [
                (Lifecycle::Active, lifecycle.active),
                (Lifecycle::Suppressed, lifecycle.suppressed),
                (Lifecycle::Inactive, lifecycle.inactive),
            ] {
                words_into(&mut mapping.lifecycles, which, words, "lifecycle", &mut faults);
            }
        }
        if matches!(mapping.records, Place::Csv) {
            for e in &mapping.expressions {
                let column = match &e.how {
                    How::Constant => true,
                    How::Simple(_, steps) => matches!(steps.as_slice(), [Step::Key(_)]),
                    How::Query(_) => false,
                };
                if column {
                    continue;
                }
                let what = format!("`{}` is more than a column's name; for CSV write `$.NAME` or `$['THE NAME']`", e.source);
                faults.push((e.field.clone(), what));
            }
        }
        mapping.tree.note();
        if faults.is_empty() { Ok(mapping) } else { Err(faults) }
    }

    fn add(&mut self, field: &str, text: Option<String>, faults: &mut Vec<(String, String)>) -> Option<usize> {
        let source = text?;
        let how = if source.trim().is_empty() {
            faults.push((field.to_owned(), "is empty; expected a JSONPath such as `$.id`, or a constant".to_owned()));
            How::Constant
        } else if !source.trim_start().starts_with('$') {
            How::Constant
        } else {
            match parse(&source) {
                Err(what) => {
                    faults.push((field.to_owned(), what));
                    How::Constant
                }
                Ok(query) => match simple(&query) {
                    Some(steps) => How::Simple(self.tree.slot(&steps, &mut self.slots), steps),
                    None => {
                        self.values = true;
                        How::Query(Box::new(query))
                    }
                },
            }
        };
        self.expressions.push(Expression { field: field.to_owned(), source, how });
        Some(self.expressions.len() - 1)
    }
}

fn words_into<T: Copy + PartialEq>(table: &mut Vec<(String, T)>, to: T, words: Vec<Word>, field: &str, faults: &mut Vec<(String, String)>) {
    for Word(word) in words {
        match table.iter().find(|(w, _)| *w == word) {
            Some((_, other)) if *other != to => faults.push((field.to_owned(), format!("`{word}` stands in two lists"))),
            Some(_) => {}
            None => table.push((word, to)),
        }
    }
}

fn place(source: &str) -> Result<Place, String> {
    if source.trim() == "csv" {
        return Ok(Place::Csv);
    }
    let help = "help: write names and then `[*]` or a filter, as `$[*]`, `$.results[*]` or `$.findings[?@.type=='config']`; or `csv`";
    if !source.trim_start().starts_with('$') {
        return Err(format!("`{source}` is neither a JSONPath nor `csv`\n{help}"));
    }
    let query = parse(source)?;
    let mut array = Vec::new();
    for (i, segment) in query.segments.iter().enumerate() {
        match segment {
            Segment::Selector(Selector::Name(name)) => array.push(unquoted(name)),
            Segment::Selector(Selector::Wildcard) => {
                let after = query.segments[i + 1..].to_vec();
                let rest = (!after.is_empty()).then(|| (JpQuery::new(after), false));
                return Ok(Place::Json { array, rest });
            }
            Segment::Selector(Selector::Filter(_)) => {
                return Ok(Place::Json { array, rest: Some((JpQuery::new(query.segments[i..].to_vec()), true)) });
            }
            _ => return Err(format!("`{source}` cannot be read as a stream\n{help}")),
        }
    }
    if array.is_empty() {
        Ok(Place::Json { array, rest: None })
    } else {
        Err(format!("`{source}` names one value, expected its elements\n{help}"))
    }
}

/// Parses an expression and refuses what the library is known to answer wrongly, since a wrong answer here is a wrong ratio.
fn parse(source: &str) -> Result<JpQuery, String> {
    let query = parse_json_path(source.trim()).map_err(|e| format!("`{source}` is not a JSONPath: {}", first_lines(&e.to_string())))?;
    segments(&query.segments, false).map_err(|what| format!("`{source}`: {what}"))?;
    Ok(query)
}

fn first_lines(text: &str) -> String {
    text.lines().map(str::trim_end).filter(|l| !l.trim().is_empty()).collect::<Vec<_>>().join("\n")
}

fn segments(list: &[Segment], in_filter: bool) -> Result<(), &'static str> {
    list.iter().try_for_each(|s| match s {
        Segment::Descendant(inner) => {
            if matches!(**inner, Segment::Selectors(_)) {
                return Err("several selectors behind `..` come in the wrong order; write one expression for each");
            }
            segments(std::slice::from_ref(inner), in_filter)
        }
        Segment::Selector(one) => selector(one, in_filter),
        Segment::Selectors(several) => several.iter().try_for_each(|s| selector(s, in_filter)),
    })
}

fn selector(selector: &Selector, in_filter: bool) -> Result<(), &'static str> {
    match selector {
        Selector::Filter(_) if in_filter => Err("a filter inside a filter finds nothing, silently; write it as one filter"),
        Selector::Filter(inner) => filter(inner),
        Selector::Name(_) | Selector::Wildcard | Selector::Index(_) | Selector::Slice(..) => Ok(()),
    }
}

fn filter(f: &Filter) -> Result<(), &'static str> {
    match f {
        Filter::Or(several) | Filter::And(several) => several.iter().try_for_each(filter),
        Filter::Atom(FilterAtom::Filter { expr, .. }) => filter(expr),
        Filter::Atom(FilterAtom::Test { expr, .. }) => {
            if let Test::Function(function) = &**expr
                && matches!(**function, TestFunction::Length(_) | TestFunction::Count(_) | TestFunction::Value(_))
            {
                return Err("length(), count() and value() give a value and no truth; compare it with something");
            }
            test(expr)
        }
        Filter::Atom(FilterAtom::Comparison(comparison)) => {
            let (left, right) = comparison.vals();
            [left, right].into_iter().try_for_each(|side| match side {
                Comparable::Function(function) => called(function),
                Comparable::Literal(_) | Comparable::SingularQuery(SingularQuery::Current(_) | SingularQuery::Root(_)) => Ok(()),
            })
        }
    }
}

fn test(t: &Test) -> Result<(), &'static str> {
    match t {
        Test::RelQuery(list) => segments(list, true),
        Test::AbsQuery(query) => segments(&query.segments, true),
        Test::Function(function) => called(function),
    }
}

fn called(function: &TestFunction) -> Result<(), &'static str> {
    let argument = |a: &FnArg| match a {
        FnArg::Literal(_) => Ok(()),
        FnArg::Test(t) => test(t),
        FnArg::Filter(_) => Err("a filter cannot be an argument"),
    };
    match function {
        TestFunction::Custom(..) => Err("only length(), count(), value(), match() and search() are known"),
        TestFunction::Length(a) => {
            let singular = |list: &[Segment]| list.iter().all(|s| matches!(s, Segment::Selector(Selector::Name(_) | Selector::Index(_))));
            match &**a {
                FnArg::Test(t) => match &**t {
                    Test::RelQuery(list) if !singular(list) => Err("length() of a path that may find several values; name one value"),
                    Test::AbsQuery(query) if !singular(&query.segments) => {
                        Err("length() of a path that may find several values; name one value")
                    }
                    other => test(other),
                },
                other => argument(other),
            }
        }
        TestFunction::Value(a) | TestFunction::Count(a) => argument(a),
        TestFunction::Search(a, b) | TestFunction::Match(a, b) => argument(a).and_then(|()| argument(b)),
    }
}

/// The library keeps the quotes of `['a b']`, and their escapes, in the name.
fn unquoted(name: &str) -> String {
    let inner = match name.as_bytes() {
        [b'\'', .., b'\''] if name.len() >= 2 => &name[1..name.len() - 1],
        [b'"', .., b'"'] if name.len() >= 2 => &name[1..name.len() - 1],
        _ => return name.to_owned(),
    };
    if inner.contains('\\') {
        let json = format!("\"{}\"", inner.replace("\\'", "'").replace('"', "\\\"").replace("\\\\\"", "\\\""));
        return serde_json::from_str(&json).unwrap_or_else(|_| inner.to_owned());
    }
    inner.to_owned()
}

fn simple(query: &JpQuery) -> Option<Vec<Step>> {
    query
        .segments
        .iter()
        .map(|s| match s {
            Segment::Selector(Selector::Name(name)) => Some(Step::Key(unquoted(name))),
            Segment::Selector(Selector::Index(i)) => usize::try_from(*i).ok().map(Step::Index),
            _ => None,
        })
        .collect()
}

impl Node {
    fn slot(&mut self, steps: &[Step], next: &mut usize) -> usize {
        let Some((step, rest)) = steps.split_first() else {
            return *self.slot.get_or_insert_with(|| {
                *next += 1;
                *next - 1
            });
        };
        let at = match self.children.iter().position(|(s, _)| s == step) {
            Some(at) => at,
            None => {
                self.children.push((step.clone(), Node::default()));
                self.children.len() - 1
            }
        };
        self.children[at].1.slot(rest, next)
    }

    fn note(&mut self) {
        self.below = self.slot.into_iter().collect();
        for (_, child) in &mut self.children {
            child.note();
            self.below.extend(&child.below);
        }
    }

    /// Walks the value at `at`, notes the slots' places, and returns its end.
    fn pick(&self, bytes: &[u8], at: usize, whole: bool, depth: usize, picks: &mut [(usize, usize)]) -> Result<usize, Cut> {
        let end = match bytes.get(at) {
            Some(b'{') if self.children.iter().any(|(s, _)| matches!(s, Step::Key(_))) => {
                if depth == 0 {
                    return Err(Cut::Deep);
                }
                self.object(bytes, at, whole, depth, picks)?
            }
            Some(b'[') if self.children.iter().any(|(s, _)| matches!(s, Step::Index(_))) => {
                if depth == 0 {
                    return Err(Cut::Deep);
                }
                self.array(bytes, at, whole, depth, picks)?
            }
            _ => walk::skip(bytes, at, whole, depth)?,
        };
        if let Some(slot) = self.slot {
            picks[slot] = (at, end);
        }
        Ok(end)
    }

    fn object(&self, bytes: &[u8], at: usize, whole: bool, depth: usize, picks: &mut [(usize, usize)]) -> Result<usize, Cut> {
        let mut i = walk::blank(bytes, at + 1);
        if bytes.get(i) == Some(&b'}') {
            return Ok(i + 1);
        }
        loop {
            match bytes.get(i) {
                Some(b'"') => {}
                Some(_) => return Err(Cut::Bad("expected a member's name in quotes")),
                None => return Err(Cut::More),
            }
            let end = walk::string(bytes, i)?;
            let name = &bytes[i + 1..end - 1];
            let child = self.child(name, &bytes[i..end]);
            i = walk::blank(bytes, end);
            match bytes.get(i) {
                Some(b':') => i = walk::blank(bytes, i + 1),
                Some(_) => return Err(Cut::Bad("expected `:` after a member's name")),
                None => return Err(Cut::More),
            }
            i = match child {
                Some(node) => {
                    // Of equal names the last counts, as for every reader that builds a map.
                    node.below.iter().for_each(|slot| picks[*slot] = (0, 0));
                    node.pick(bytes, i, whole, depth - 1, picks)?
                }
                None => walk::skip(bytes, i, whole, depth - 1)?,
            };
            i = walk::blank(bytes, i);
            match bytes.get(i) {
                Some(b',') => i = walk::blank(bytes, i + 1),
                Some(b'}') => return Ok(i + 1),
                Some(_) => return Err(Cut::Bad("expected `,` or `}` after a member")),
                None => return Err(Cut::More),
            }
        }
    }

    fn child(&self, name: &[u8], quoted: &[u8]) -> Option<&Node> {
        if memchr::memchr(b'\\', name).is_some() {
            let name = walk::text(quoted)?;
            return self.children.iter().find(|(s, _)| matches!(s, Step::Key(k) if *k == name)).map(|(_, n)| n);
        }
        self.children.iter().find(|(s, _)| matches!(s, Step::Key(k) if k.as_bytes() == name)).map(|(_, n)| n)
    }

    fn array(&self, bytes: &[u8], at: usize, whole: bool, depth: usize, picks: &mut [(usize, usize)]) -> Result<usize, Cut> {
        let mut i = walk::blank(bytes, at + 1);
        if bytes.get(i) == Some(&b']') {
            return Ok(i + 1);
        }
        for n in 0.. {
            i = match self.children.iter().find(|(s, _)| *s == Step::Index(n)) {
                Some((_, node)) => node.pick(bytes, i, whole, depth - 1, picks)?,
                None => walk::skip(bytes, i, whole, depth - 1)?,
            };
            i = walk::blank(bytes, i);
            match bytes.get(i) {
                Some(b',') => i = walk::blank(bytes, i + 1),
                Some(b']') => return Ok(i + 1),
                Some(_) => return Err(Cut::Bad("expected `,` or `]` after an element")),
                None => return Err(Cut::More),
            }
        }
        Err(Cut::More)
    }
}

/// What one expression gave for a record, for `findings --explain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// The mapping's key.
    pub field: String,
    /// The expression as written.
    pub expression: String,
    /// What it gave, or what is wrong.
    pub gave: String,
}

/// What a mapping makes of a document.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The record that was asked for, from 1.
    pub wanted: u64,
    /// How many records the document has.
    pub records: u64,
    /// What each expression gave for the record that was asked for; empty if there is none.
    pub rows: Vec<Explained>,
    /// The finding that it becomes, or why it becomes none.
    pub became: Result<Became, String>,
    /// The words of the result in all records, the most frequent first.
    pub words: Vec<WordSeen>,
    /// Whether there are more words than are told.
    pub more_words: bool,
    /// Words that the mapping lists and no record has.
    pub unused: Vec<String>,
    /// Expressions that gave nothing, and in how many records.
    pub nothing: Vec<(String, u64)>,
}

/// A finding, as far as `--explain` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Became {
    /// The verdict.
    pub result: CheckResult,
    /// The check.
    pub check: String,
    /// The resource's id.
    pub resource: String,
    /// Its fields.
    pub fields: Vec<(String, String)>,
}

/// A word of the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WordSeen {
    /// As the source writes it.
    pub word: String,
    /// In how many records.
    pub records: u64,
    /// What it means; none if it stands in no list.
    pub result: Option<CheckResult>,
}

/// Most words of the result that are told apart. Verdicts are few; more are a wrong path.
const WORDS: usize = 40;

/// Takes notes while a document is read.
struct Notes {
    wanted: u64,
    records: u64,
    rows: Vec<Explained>,
    became: Result<Became, String>,
    words: BTreeMap<String, u64>,
    more_words: bool,
    nothing: Vec<u64>,
}

/// Reads one document by `mapping`; see [`super::read`].
pub(super) fn read(mapping: &Mapping, input: &mut dyn BufRead, ctx: &Context<'_>, sink: &mut dyn Sink) -> Result<RunOutcome, FormatError> {
    read_and(mapping, input, ctx, sink, None)
}

/// What each expression gives for the record number `wanted` (from 1) of a document, and what all of them give for the
/// verdict.
///
/// # Errors
/// As for reading: the document is not JSON or CSV, or has no records where the mapping says.
pub fn explain(mapping: &Mapping, input: &mut dyn BufRead, ctx: &Context<'_>, wanted: u64) -> Result<Explanation, FormatError> {
    struct Nobody;
    impl Sink for Nobody {
        fn finding(&mut self, _: &Finding<'_>) -> Flow {
            Flow::More
        }
        fn problem(&mut self, _: crate::domain::Problem) {}
    }
    let mut notes = Notes {
        wanted,
        records: 0,
        rows: Vec::new(),
        became: Err("there is no such record".to_owned()),
        words: BTreeMap::new(),
        more_words: false,
        nothing: vec![0; mapping.expressions.len()],
    };
    read_and(mapping, input, ctx, &mut Nobody, Some(&mut notes))?;
    let meaning = |word: &str| mapping.results.iter().find(|(w, _)| w == word).map(|(_, r)| *r);
    let unused = mapping.results.iter().map(|(w, _)| w).filter(|w| !notes.words.contains_key(*w)).cloned().collect();
    let mut words: Vec<WordSeen> =
        notes.words.into_iter().map(|(word, records)| WordSeen { result: meaning(&word), word, records }).collect();
    words.sort_by(|a, b| b.records.cmp(&a.records).then_with(|| a.word.cmp(&b.word)));
    let nothing = mapping.expressions.iter().zip(&notes.nothing).filter(|(_, n)| **n > 0).map(|(e, n)| (e.field.clone(), *n)).collect();
    Ok(Explanation {
        wanted,
        records: notes.records,
        rows: notes.rows,
        became: notes.became,
        words,
        more_words: notes.more_words,
        // With more words than are told, nobody knows which of them are there.
        unused: if notes.more_words { Vec::new() } else { unused },
        nothing,
    })
}

fn read_and(
    mapping: &Mapping,
    input: &mut dyn BufRead,
    ctx: &Context<'_>,
    sink: &mut dyn Sink,
    explained: Option<&mut Notes>,
) -> Result<RunOutcome, FormatError> {
    let mut sink = Bounded::new(sink, ctx);
    let (whole, records) = match &mapping.records {
        Place::Csv => read_csv(mapping, input, ctx, &mut sink, explained)?,
        Place::Json { array, rest } => {
            if array.is_empty() && rest.is_none() && looks_like_csv(input) {
                read_csv(mapping, input, ctx, &mut sink, explained)?
            } else {
                let path: Vec<&str> = array.iter().map(String::as_str).collect();
                let wrapper = [path.as_slice()];
                let shape = if path.is_empty() { Shape { wrappers: &[], bare: true } } else { Shape { wrappers: &wrapper, bare: false } };
                let mut picker =
                    Picker { mapping, ctx, rest: rest.as_ref(), picks: vec![(0, 0); mapping.slots], members: Vec::new(), explained };
                let walked = walk::walk(input, ctx, shape, &mut picker, &mut sink)?;
                if !path.is_empty() && walked.arrays == 0 && walked.whole {
                    let found = if picker.members.is_empty() { "nothing".to_owned() } else { picker.members.join(", ") };
                    let message = format!("no array at `$.{}`; the document has {found}", path.join("."));
                    return Err(FormatError::wrong(ctx, message));
                }
                (walked.whole, walked.records)
            }
        }
    };
    if records == 0 && whole {
        sink.say(ProblemKind::Empty, Position::default(), "the document has no records; nothing was said about any resource");
    }
    let nothing_lost = sink.finish();
    Ok(RunOutcome { complete: whole && nothing_lost, ..RunOutcome::default() })
}

/// A word as a key: cut, for a path that is no verdict may give whole documents.
fn excerpt_word(word: &str) -> String {
    word.chars().take(80).collect()
}

fn looks_like_csv(input: &mut dyn BufRead) -> bool {
    // An error here comes again when reading.
    let Ok(head) = input.fill_buf() else { return false };
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    !matches!(head.iter().find(|b| !b.is_ascii_whitespace()), None | Some(b'{' | b'[' | b'<'))
}

struct Picker<'m> {
    mapping: &'m Mapping,
    ctx: &'m Context<'m>,
    rest: Option<&'m (JpQuery, bool)>,
    picks: Vec<(usize, usize)>,
    members: Vec<String>,
    explained: Option<&'m mut Notes>,
}

impl Records for Picker<'_> {
    fn scan(&mut self, bytes: &[u8], whole: bool, depth: usize) -> Result<usize, Cut> {
        if self.rest.is_some() {
            return walk::skip(bytes, 0, whole, depth);
        }
        self.picks.fill((0, 0));
        self.mapping.tree.pick(bytes, 0, whole, depth, &mut self.picks)
    }

    fn member(&mut self, path: &str, _: &[u8], _: Position, _: &mut dyn Sink) {
        if self.members.len() < 12 && !self.members.iter().any(|m| m == path) {
            self.members.push(path.to_owned());
        }
    }

    fn record(&mut self, raw: &[u8], _: Option<usize>, at: Position, sink: &mut dyn Sink) -> Flow {
        let say = |sink: &mut dyn Sink, message: String| {
            let source = self.ctx.source.to_owned();
            sink.problem(crate::domain::Problem { kind: ProblemKind::Malformed, source, position: at, message });
            Flow::More
        };
        let value = if self.mapping.values || self.rest.is_some() {
            match serde_json::from_slice::<Value>(raw) {
                Ok(value) => Some(value),
                Err(e) => return say(sink, format!("the record is not JSON: {e}")),
            }
        } else {
            None
        };
        let Some((query, wrapped)) = self.rest else {
            let mapping = self.mapping;
            let picks = &self.picks;
            let get = |n: usize| mapping.get(n, |slot, _| picked(raw, picks[slot]), value.as_ref());
            return mapping.emit(&get, Some(raw), at, self.ctx, sink, self.explained.as_deref_mut());
        };
        let Some(mut value) = value else { return Flow::More };
        if *wrapped {
            value = Value::Array(vec![value]);
        }
        let hits = match js_path_process(query, &value) {
            Ok(hits) => hits,
            Err(e) => return say(sink, format!("`records` cannot be asked of it: {e}")),
        };
        for hit in hits {
            let record = hit.val();
            let mapping = self.mapping;
            let get = |n: usize| mapping.get(n, |_, steps| shown(walked(record, steps)), Some(record));
            let bytes = self.ctx.want_raw.then(|| record.to_string());
            let bytes = bytes.as_ref().map(String::as_bytes);
            if mapping.emit(&get, bytes, at, self.ctx, sink, self.explained.as_deref_mut()) == Flow::Stop {
                return Flow::Stop;
            }
        }
        Flow::More
    }
}

/// What an expression gave: nothing, a scalar as text, or what is wrong.
type Got<'a> = Result<Option<Cow<'a, str>>, String>;

fn picked(raw: &[u8], (start, end): (usize, usize)) -> Got<'_> {
    let bytes = &raw[start..end];
    match bytes.first() {
        None => Ok(None),
        Some(b'"') => {
            walk::text(bytes).map(Some).ok_or_else(|| format!("is not a JSON string: {}", excerpt(&String::from_utf8_lossy(bytes))))
        }
        Some(b'{') => Err("is an object, expected text or a number".to_owned()),
        Some(b'[') => Err("is an array, expected text or a number".to_owned()),
        Some(_) if bytes == b"null" => Ok(None),
        Some(_) => match std::str::from_utf8(bytes) {
            Ok(text) if bytes == b"true" || bytes == b"false" || serde_json::from_str::<serde_json::Number>(text).is_ok() => {
                Ok(Some(Cow::Borrowed(text)))
            }
            _ => Err(format!("is not JSON: {}", excerpt(&String::from_utf8_lossy(bytes)))),
        },
    }
}

fn walked<'v>(value: &'v Value, steps: &[Step]) -> Option<&'v Value> {
    steps.iter().try_fold(value, |v, step| match step {
        Step::Key(key) => v.as_object()?.get(key),
        Step::Index(i) => v.as_array()?.get(*i),
    })
}

fn shown(value: Option<&Value>) -> Got<'_> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(Cow::Borrowed(text))),
        Some(Value::Bool(b)) => Ok(Some(Cow::Borrowed(if *b { "true" } else { "false" }))),
        Some(Value::Number(n)) => Ok(Some(Cow::Owned(n.to_string()))),
        Some(Value::Array(_)) => Err("is an array, expected text or a number".to_owned()),
        Some(Value::Object(_)) => Err("is an object, expected text or a number".to_owned()),
    }
}

fn excerpt(text: &str) -> String {
    let mut cut = text.chars().take(40).collect::<String>();
    if cut.len() < text.len() {
        cut.push('…');
    }
    format!("`{}`", cut.escape_debug())
}

impl Mapping {
    fn get<'a>(&'a self, n: usize, simple: impl Fn(usize, &'a [Step]) -> Got<'a>, value: Option<&'a Value>) -> Got<'a> {
        let e = &self.expressions[n];
        match &e.how {
            How::Constant => Ok(Some(Cow::Borrowed(&e.source))),
            How::Simple(slot, steps) => simple(*slot, steps),
            How::Query(query) => {
                let Some(value) = value else { return Ok(None) };
                let hits = js_path_process(query, value).map_err(|e| e.to_string())?;
                let mut hits = hits.into_iter().map(|h| h.val());
                let first = hits.next();
                match hits.find(|other| Some(*other) != first) {
                    Some(other) => Err(format!(
                        "finds several values, such as {} and {}",
                        excerpt(&first.map(Value::to_string).unwrap_or_default()),
                        excerpt(&other.to_string())
                    )),
                    None => shown(first),
                }
            }
        }
    }

    /// Notes what a record gives, instead of making a finding of it.
    fn note<'a>(&'a self, get: &dyn Fn(usize) -> Got<'a>, notes: &mut Notes) {
        notes.records += 1;
        for (n, nothing) in notes.nothing.iter_mut().enumerate() {
            *nothing += u64::from(matches!(get(n), Ok(None)));
        }
        let word = get(RESULT).ok().flatten();
        if let Some(word) = &word {
            if let Some(seen) = notes.words.get_mut(word.as_ref()) {
                *seen += 1;
            } else if notes.words.len() < WORDS {
                notes.words.insert(excerpt_word(word), 1);
            } else {
                notes.more_words = true;
            }
        }
        if notes.records != notes.wanted {
            return;
        }
        for (n, e) in self.expressions.iter().enumerate() {
            let mut gave = match get(n) {
                Ok(Some(text)) => excerpt(&text),
                Ok(None) => "nothing".to_owned(),
                Err(what) => what,
            };
            if n == RESULT
                && let Some(word) = &word
            {
                let meaning = self.results.iter().find(|(w, _)| w == word.as_ref());
                gave += &meaning.map_or(" → in none of the lists".to_owned(), |(_, r)| format!(" → {r}"));
            }
            if Some(n) == self.severity
                && let Ok(Some(text)) = get(n)
            {
                gave += &Severity::lenient(&text).map_or(" → no severity that is known".to_owned(), |s| format!(" → {s}"));
            }
            notes.rows.push(Explained { field: e.field.clone(), expression: e.source.clone(), gave });
        }
        notes.became = match self.finding(get, None) {
            Ok((f, _)) => Ok(Became {
                result: f.result,
                check: f.check.clone().into_owned(),
                resource: f.resource.id.clone().into_owned(),
                fields: f.fields.0.iter().map(|(k, v)| (k.clone().into_owned(), v.clone().into_owned())).collect(),
            }),
            Err((_, message)) => Err(message),
        };
    }

    /// Makes the finding of one record.
    fn emit<'a>(
        &'a self,
        get: &dyn Fn(usize) -> Got<'a>,
        raw: Option<&[u8]>,
        at: Position,
        ctx: &Context<'_>,
        sink: &mut dyn Sink,
        explained: Option<&mut Notes>,
    ) -> Flow {
        if let Some(notes) = explained {
            self.note(get, notes);
            return Flow::More;
        }
        match self.finding(get, raw.filter(|_| ctx.want_raw)) {
            Ok((finding, complaint)) => {
                if let Some(message) = complaint {
                    sink.problem(crate::domain::Problem { kind: ProblemKind::Time, source: ctx.source.to_owned(), position: at, message });
                }
                sink.finding(&finding)
            }
            Err((kind, message)) => {
                sink.problem(crate::domain::Problem { kind, source: ctx.source.to_owned(), position: at, message });
                Flow::More
            }
        }
    }

    fn finding<'a, 'f>(
        &'a self,
        get: &dyn Fn(usize) -> Got<'a>,
        raw: Option<&'f [u8]>,
    ) -> Result<(Finding<'f>, Option<String>), (ProblemKind, String)>
    where
        'a: 'f,
    {
        let wrong = |n: usize, what: &str| {
            let Expression { field, source, .. } = &self.expressions[n];
            format!("{field} at `{source}` {what}")
        };
        let optional = |n: Option<usize>| match n.map(|n| (n, get(n))) {
            None => Ok(None),
            Some((n, Err(what))) => Err((ProblemKind::Malformed, wrong(n, &what))),
            Some((_, Ok(text))) => Ok(text.filter(|t| !t.is_empty())),
        };
        let needed =
            |n: usize| optional(Some(n))?.ok_or_else(|| (ProblemKind::Incomplete, wrong(n, "gives nothing; the record cannot be placed")));
        let check = needed(CHECK)?;
        let resource = needed(RESOURCE)?;
        // An empty word may well be listed, so it is not treated as absent.
        let word = match get(RESULT) {
            Ok(Some(word)) => word,
            Ok(None) => return Err((ProblemKind::Malformed, wrong(RESULT, "gives nothing, expected a verdict"))),
            Err(what) => return Err((ProblemKind::Malformed, wrong(RESULT, &what))),
        };
        let Some((_, result)) = self.results.iter().find(|(w, _)| *w == word) else {
            let what = format!("is {}, which stands in none of the lists", excerpt(&word));
            return Err((ProblemKind::Malformed, wrong(RESULT, &what)));
        };
        let mut finding = Finding::new(check, resource, *result);
        if let Some(n) = self.lifecycle
            && let Some(word) = optional(Some(n))?
        {
            let known = self.lifecycles.iter().find(|(w, _)| *w == word);
            let what = || (ProblemKind::Malformed, wrong(n, &format!("is {}, which stands in none of the lists", excerpt(&word))));
            finding.lifecycle = known.ok_or_else(what)?.1;
        }
        finding.resource.kind = optional(self.kind)?;
        finding.resource.name = optional(self.name)?;
        finding.severity = optional(self.severity)?.and_then(|text| Severity::lenient(&text));
        finding.title = optional(self.title)?;
        finding.message = optional(self.message)?;
        let mut complaint = None;
        if let (Some(n), Some(text)) = (self.observed_at, optional(self.observed_at)?) {
            finding.observed_at = time::parse(&text);
            if finding.observed_at.is_none() {
                complaint = Some(wrong(n, &format!("is {}, which is no instant", excerpt(&text))));
            }
        }
        if let (Some(n), Some(text)) = (self.count, optional(self.count)?) {
            let what = || (ProblemKind::Malformed, wrong(n, &format!("is {}, expected a whole number", excerpt(&text))));
            finding.count = text.parse().map_err(|_| what())?;
            finding.aggregate = true;
        }
        for (name, n) in &self.fields {
            if let Some(text) = optional(Some(*n))? {
                finding.fields.set(name.as_str(), text);
            }
        }
        finding.raw = raw;
        Ok((finding, complaint))
    }
}

/// Refuses to read on when a CSV row grows past the limit: a quote that is never closed makes a row of all that follows.
struct RowLimit<'r> {
    inner: &'r mut dyn BufRead,
    left: Rc<Cell<usize>>,
}

impl Read for RowLimit<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let left = self.left.get();
        if left == 0 {
            return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "a row is larger than allowed; a quote may not be closed"));
        }
        let most = buf.len().min(left);
        let n = self.inner.read(&mut buf[..most])?;
        self.left.set(left - n);
        Ok(n)
    }
}

fn read_csv(
    mapping: &Mapping,
    input: &mut dyn BufRead,
    ctx: &Context<'_>,
    sink: &mut Bounded<'_>,
    mut explained: Option<&mut Notes>,
) -> Result<(bool, u64), FormatError> {
    // Not `fill_buf`, which may give as little as a byte, and the delimiter is told by the whole header.
    let peeked = auto::Head::peek(input);
    let bom = peeked.bytes().starts_with(b"\xef\xbb\xbf");
    let mut input = peeked.replay(input);
    if bom {
        input.consume(3);
    }
    let delimiter = mapping.delimiter.unwrap_or_else(|| {
        let head = peeked.bytes();
        let line = &head[..memchr::memchr(b'\n', head).unwrap_or(head.len())];
        // Of equally frequent ones `max_by_key` takes the last.
        [b'|', b'\t', b';', b','].into_iter().max_by_key(|d| memchr::memchr_iter(*d, line).count()).unwrap_or(b',')
    });
    let left = Rc::new(Cell::new(ctx.limits.record_bytes));
    let reader = RowLimit { inner: &mut input, left: Rc::clone(&left) };
    let mut csv = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(reader);
    let headers = match csv.byte_headers() {
        Ok(headers) if headers.is_empty() => {
            return Err(FormatError {
                kind: ProblemKind::Empty,
                ..FormatError::wrong(ctx, "the document is empty, expected a CSV header")
            });
        }
        Ok(headers) => headers.iter().map(|h| String::from_utf8_lossy(h).trim().to_owned()).collect::<Vec<_>>(),
        Err(e) => return Err(FormatError::wrong(ctx, format!("the CSV header cannot be read: {e}"))),
    };
    let mut columns = vec![None; mapping.slots];
    for (n, e) in mapping.expressions.iter().enumerate() {
        let (slot, column) = match &e.how {
            How::Constant => continue,
            How::Simple(slot, steps) => match steps.as_slice() {
                [Step::Key(name)] => (*slot, headers.iter().position(|h| h == name)),
                _ => {
                    return Err(FormatError::wrong(ctx, format!("{} at `{}` names no column, and the document is CSV", e.field, e.source)));
                }
            },
            How::Query(_) => {
                return Err(FormatError::wrong(ctx, format!("{} at `{}` names no column, and the document is CSV", e.field, e.source)));
            }
        };
        columns[slot] = column;
        if column.is_none() {
            let message = format!("{} at `{}`: the CSV has no such column; it has {}", e.field, e.source, listed(&headers));
            if matches!(n, CHECK | RESOURCE | RESULT) {
                return Err(FormatError::wrong(ctx, message));
            }
            sink.say(ProblemKind::Incomplete, Position::default(), message);
        }
    }
    let mut row = csv::ByteRecord::new();
    let mut records = 0u64;
    loop {
        left.set(ctx.limits.record_bytes);
        let read = csv.read_byte_record(&mut row);
        let position = |row: &csv::ByteRecord, records: u64| Position {
            record: records + 1,
            line: row.position().map_or(0, csv::Position::line),
            offset: row.position().map_or(0, csv::Position::byte),
        };
        match read {
            Ok(false) => return Ok((true, records)),
            Ok(true) => {}
            Err(e) => {
                let at =
                    e.position().map_or(position(&row, records), |p| Position { record: records + 1, line: p.line(), offset: p.byte() });
                match e.kind() {
                    csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                        let message = format!("the row has {len} columns, the header {expected_len}");
                        sink.say(ProblemKind::Malformed, at, message);
                        records += 1;
                        continue;
                    }
                    csv::ErrorKind::Io(io) => sink.say(walk::io_kind(io), at, format!("the document cannot be read on: {io}")),
                    _ => sink.say(ProblemKind::Malformed, at, e.to_string()),
                }
                return Ok((false, records));
            }
        }
        let at = position(&row, records);
        records += 1;
        let get = |n: usize| {
            mapping.get(
                n,
                |slot, _| {
                    let cell = columns[slot].and_then(|c| row.get(c)).unwrap_or_default();
                    let text = std::str::from_utf8(cell).map_err(|_| "is not UTF-8".to_owned())?;
                    Ok(Some(Cow::Owned(text.trim().to_owned())))
                },
                None,
            )
        };
        let raw = ctx.want_raw.then(|| {
            let cells = headers.iter().zip(row.iter()).map(|(h, c)| (h.clone(), Value::String(String::from_utf8_lossy(c).into_owned())));
            Value::Object(cells.collect()).to_string()
        });
        let raw = raw.as_ref().map(String::as_bytes);
        if mapping.emit(&get, raw, at, ctx, sink, explained.as_deref_mut()) == Flow::Stop {
            return Ok((false, records));
        }
    }
}

fn listed(headers: &[String]) -> String {
    let mut text = headers.iter().take(40).map(|h| format!("`{h}`")).collect::<Vec<_>>().join(", ");
    if headers.len() > 40 {
        text += &format!(" and {} more", headers.len() - 40);
    }
    text
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Word;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a word, a number, true or false")
            }
            fn visit_str<E>(self, v: &str) -> Result<Word, E> {
                Ok(Word(v.to_owned()))
            }
            fn visit_bool<E>(self, v: bool) -> Result<Word, E> {
                Ok(Word(v.to_string()))
            }
            fn visit_i64<E>(self, v: i64) -> Result<Word, E> {
                Ok(Word(v.to_string()))
            }
            fn visit_u64<E>(self, v: u64) -> Result<Word, E> {
                Ok(Word(v.to_string()))
            }
            fn visit_f64<E>(self, v: f64) -> Result<Word, E> {
                Ok(Word(v.to_string()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Limits;
    use super::*;
    use crate::domain::Problem;

    #[derive(Default)]
    struct Kept {
        findings: Vec<String>,
        problems: Vec<(ProblemKind, u64, String)>,
    }
    impl Sink for Kept {
        fn finding(&mut self, f: &Finding<'_>) -> Flow {
            let account = f.fields.get("account").unwrap_or("-");
            let aggregate = if f.aggregate { format!(" x{}", f.count) } else { String::new() };
            self.findings.push(format!("{} {} {} {} {account}{aggregate}", f.check, f.resource.id, f.result, f.lifecycle));
            Flow::More
        }
        fn problem(&mut self, p: Problem) {
            self.problems.push((p.kind, p.position.record, p.message));
        }
    }

    fn words(list: &[&str]) -> Vec<Word> {
        list.iter().map(|w| Word((*w).to_owned())).collect()
    }

    fn raw() -> RawMapping {
        RawMapping {
            check: "$.rule.id".into(),
            resource: "$.asset['arn']".into(),
            result: RawResult {
                path: "$.state".into(),
                pass: words(&["ok", "true", "1"]),
                fail: words(&["bad", "false"]),
                ..RawResult::default()
            },
            fields: [("account".to_owned(), "$.asset.accounts[1].id".to_owned())].into(),
            ..RawMapping::default()
        }
    }

    fn run(raw: RawMapping, text: &str) -> (Kept, Result<RunOutcome, FormatError>) {
        let mapping = Mapping::compile(raw).expect("a good mapping");
        let ctx = Context { source: "t", limits: Limits { record_bytes: 1 << 20, ..Limits::default() }, want_raw: false };
        let mut kept = Kept::default();
        let outcome = read(&mapping, &mut text.as_bytes(), &ctx, &mut kept);
        (kept, outcome)
    }

    const TWO: &str = r#"{"rule":{"id":"r\u00e91"},"state":"ok","asset":{"x":[1,{"}":"]"}],"arn":"a1","accounts":[{"id":7},{"id":"acc"}]}}
{"asset":{"arn":"a2"},"state":false,"rule":{"id":"r2"}}
"#;

    #[test]
    fn records_are_read_in_every_shape_and_by_every_kind_of_path() {
        let expected = ["ré1 a1 pass active acc", "r2 a2 fail active -"];
        let array = format!("[{}]", TWO.trim().replace('\n', ",\n"));
        let wrapped = format!(r#"{{"total":2,"data":{{"items":{array}}},"end":true}}"#);
        let at = |records: &str| RawMapping { records: Some(records.to_owned()), ..raw() };
        // `..arn` is not simple, so that the same comes by way of a tree of values.
        let slow = |raw: RawMapping| RawMapping { resource: "$..arn".into(), ..raw };
        for (raw, text) in [
            (raw(), TWO),
            (raw(), &array),
            (at("$[*]"), &array),
            (at("$"), TWO),
            (at("$.data.items[*]"), &wrapped),
            (at("$['data'].items[?@.rule]"), &wrapped),
            (at("$.data.items[?@.state==true||@.rule.id!='x']"), &wrapped),
        ] {
            for raw in [raw.clone(), slow(raw)] {
                let (kept, outcome) = run(raw.clone(), text);
                assert_eq!(kept.findings, expected, "{raw:?}");
                assert_eq!(kept.problems, []);
                assert!(outcome.expect("read").complete);
            }
        }
        let nested = r#"{"hosts":[{"checks":[{"rule":{"id":"c"},"asset":{"arn":"h"},"state":1}]},{"checks":[]}]}"#;
        let (kept, outcome) = run(at("$.hosts[*].checks[*]"), nested);
        assert_eq!(kept.findings, ["c h pass active -"]);
        assert!(outcome.expect("read").complete);
    }

    #[test]
    fn what_the_mapping_does_not_know_is_a_problem_and_no_guess() {
        for (record, kind, says) in [
            (r#"{"rule":{"id":"r"},"asset":{"arn":"a"},"state":"OK"}"#, ProblemKind::Malformed, "`OK`, which stands in none"),
            (r#"{"rule":{"id":"r"},"asset":{"arn":"a"},"state":null}"#, ProblemKind::Malformed, "gives nothing"),
            (r#"{"rule":{"id":"r"},"asset":{"arn":"a"}}"#, ProblemKind::Malformed, "gives nothing"),
            (r#"{"rule":{"id":"r"},"asset":{"arn":["a"]},"state":"ok"}"#, ProblemKind::Malformed, "is an array"),
            (r#"{"rule":{"id":"r"},"asset":{},"state":"ok"}"#, ProblemKind::Incomplete, "cannot be placed"),
            (r#"{"rule":{"id":""},"asset":{"arn":"a"},"state":"ok"}"#, ProblemKind::Incomplete, "cannot be placed"),
            (r#"{"rule":{"id":"\x"},"asset":{"arn":"a"},"state":"ok"}"#, ProblemKind::Malformed, "not a JSON string"),
            (r#"{"rule":{"id":nonsense},"asset":{"arn":"a"},"state":"ok"}"#, ProblemKind::Malformed, "not JSON"),
        ] {
            let good = r#"{"rule":{"id":"r2"},"asset":{"arn":"a"},"state":"ok"}"#;
            let (kept, outcome) = run(raw(), &format!("[{record},{good}]"));
            assert_eq!(kept.findings, ["r2 a pass active -"], "{record}");
            assert_eq!((kept.problems[0].0, kept.problems[0].1), (kind, 1), "{record}");
            assert!(kept.problems[0].2.contains(says), "{record}: {}", kept.problems[0].2);
            assert!(!outcome.expect("read").complete, "{record}");
        }
        let several = RawMapping { check: "$..id".into(), ..raw() };
        let (kept, _) = run(several, r#"[{"rule":{"id":"r"},"id":"s","asset":{"arn":"a"},"state":"ok"}]"#);
        assert!(kept.problems[0].2.contains("several values"), "{:?}", kept.problems);
    }

    #[test]
    fn nothing_is_never_everything() {
        let at = |records: &str| RawMapping { records: Some(records.to_owned()), ..raw() };
        for text in ["[]", r#"{"results":[]}"#] {
            let (kept, outcome) = run(at(if text == "[]" { "$[*]" } else { "$.results[*]" }), text);
            assert_eq!(kept.problems[0].0, ProblemKind::Empty, "{text}");
            assert!(!outcome.expect("read").complete, "{text}");
        }
        let error = run(at("$.results[*]"), r#"{"error":"denied","code":403}"#).1.expect_err("no records");
        assert!(error.message.contains("no array at `$.results`; the document has error, code"), "{error}");
        assert_eq!(run(raw(), "").1.expect_err("empty").kind, ProblemKind::Empty);
        let (kept, outcome) = run(raw(), &TWO[..TWO.len() - 12]);
        assert_eq!(kept.findings.len(), 1);
        assert!(!outcome.expect("read").complete);
    }

    #[test]
    fn numbers_stand_for_many_and_lifecycle_is_apart_from_the_verdict() {
        let raw = RawMapping {
            resource: "the whole fleet".into(),
            count: Some("$.n".into()),
            observed_at: Some("$.at".into()),
            lifecycle: Some(RawLifecycle { path: "$.muted".into(), suppressed: words(&["yes"]), ..RawLifecycle::default() }),
            fields: BTreeMap::new(),
            ..raw()
        };
        let text = r#"[{"rule":{"id":"r"},"state":"bad","n":12,"muted":"yes","at":"never"},{"rule":{"id":"r"},"state":"ok","n":-1}]"#;
        let (kept, outcome) = run(raw, text);
        assert_eq!(kept.findings, ["r the whole fleet fail suppressed - x12"]);
        assert_eq!(kept.problems.iter().map(|p| p.0).collect::<Vec<_>>(), [ProblemKind::Time, ProblemKind::Malformed]);
        assert!(!outcome.expect("read").complete);
    }

    #[test]
    fn csv_is_read_by_its_header() {
        let raw = |records: Option<&str>| RawMapping {
            records: records.map(str::to_owned),
            check: "$['CHECK ID']".into(),
            resource: "$.RESOURCE".into(),
            result: RawResult { path: "$.STATUS".into(), pass: words(&["PASS"]), fail: words(&["FAIL"]), ..RawResult::default() },
            fields: [("account".to_owned(), "$.ACCOUNT".to_owned())].into(),
            ..RawMapping::default()
        };
        let text = "\u{feff}CHECK ID;RESOURCE;STATUS;ACCOUNT\r\nc1;\"a;1\nb\";PASS;7\r\nc2;r2\r\nc3;r3;WARN;7\r\nc4;r4;FAIL;\r\n";
        for records in [Some("csv"), None] {
            let (kept, outcome) = run(raw(records), text);
            assert_eq!(kept.findings, ["c1 a;1\nb pass active 7", "c4 r4 fail active -"]);
            assert_eq!(
                kept.problems.iter().map(|p| (p.0, p.1)).collect::<Vec<_>>(),
                [(ProblemKind::Malformed, 2), (ProblemKind::Malformed, 3)]
            );
            assert!(!outcome.expect("read").complete);
        }
        let error = run(raw(None), "CHECK ID,RESOURCE,RESULT\n").1.expect_err("no such column");
        assert!(error.message.contains("no such column; it has `CHECK ID`, `RESOURCE`, `RESULT`"), "{error}");
        let endless = format!("CHECK ID;RESOURCE;STATUS;ACCOUNT\nc;\"{}", "x\n".repeat(1 << 20));
        let (kept, outcome) = run(raw(None), &endless);
        assert_eq!(kept.problems[0].0, ProblemKind::Limit);
        assert!(!outcome.expect("read").complete);
        let faults = Mapping::compile(RawMapping { check: "$.a.b".into(), ..raw(Some("csv")) }).expect_err("no column");
        assert!(faults[0].1.contains("more than a column's name"), "{faults:?}");
    }

    #[test]
    fn every_fault_of_a_mapping_is_told_at_once() {
        let mut bad = raw();
        bad.records = Some("$..x".into());
        bad.check = "$.a[".into();
        bad.resource = String::new();
        bad.result.fail = words(&["ok"]);
        bad.delimiter = Some("ab".into());
        let faults = Mapping::compile(bad).expect_err("faults");
        let fields: Vec<&str> = faults.iter().map(|(f, _)| f.as_str()).collect();
        assert_eq!(fields, ["records", "delimiter", "check", "resource", "result"], "{faults:?}");
        let constant = Mapping::compile(RawMapping { result: RawResult { path: "pass".into(), ..raw().result }, ..raw() });
        assert!(constant.expect_err("a constant verdict")[0].1.contains("must come from the source"));
        for (path, says) in [
            ("$.a[?@.b[?@.c]]", "filter inside a filter"),
            ("$..['a','b']", "several selectors behind"),
            ("$.a[?length(@.b)]", "give a value and no truth"),
            ("$.a[?count(@.b)]", "give a value and no truth"),
            ("$.a[?length(@.*)==1]", "may find several values"),
        ] {
            let faults = Mapping::compile(RawMapping { title: Some(path.to_owned()), ..raw() }).err();
            // The library itself refuses some of these; either way the mapping does not pass.
            let faults = faults.unwrap_or_else(|| panic!("{path} was taken"));
            assert!(faults[0].1.contains(says) || faults[0].1.contains("not a JSONPath"), "{path}: {faults:?}");
        }
    }

    fn json(depth: u32) -> proptest::strategy::BoxedStrategy<Value> {
        use proptest::prelude::*;
        let name = || prop_oneof!["[ab]", "[a-c\"\\\\é\n]{0,3}"];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            name().prop_map(Value::from)
        ];
        leaf.prop_recursive(depth, 40, 5, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec((name(), inner), 0..5).prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
        .boxed()
    }

    proptest::proptest! {
        /// The pass over the bytes finds what a walk over the tree of values finds.
        #[test]
        fn the_pass_agrees_with_the_tree(value in json(4), pretty: bool) {
            let paths = ["$", "$.a", "$.b", "$.a.b", "$.a[0]", "$.a[1].b", "$.b.a.a", "$[0]", "$[1].a"];
            let queries: Vec<Vec<Step>> = paths.iter().map(|p| simple(&parse(p).expect("good")).expect("simple")).collect();
            let mut tree = Node::default();
            let mut slots = 0;
            let slot: Vec<usize> = queries.iter().map(|q| tree.slot(q, &mut slots)).collect();
            tree.note();
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.expect("writes");
            let mut picks = vec![(0, 0); slots];
            proptest::prop_assert_eq!(tree.pick(text.as_bytes(), 0, true, 128, &mut picks), Ok(text.len()));
            for (query, slot) in queries.iter().zip(&slot) {
                let (start, end) = picks[*slot];
                let got = (end > start).then(|| serde_json::from_str::<Value>(&text[start..end]).expect("a value"));
                proptest::prop_assert_eq!(got.as_ref(), walked(&value, query), "{:?} in {}", query, text);
            }
            // Cut anywhere, it asks for more or takes a shorter scalar, and never takes an object for whole.
            for cut in 0..text.len() {
                if text.is_char_boundary(cut) && text.starts_with(['{', '[']) {
                    proptest::prop_assert_eq!(tree.pick(&text.as_bytes()[..cut], 0, true, 128, &mut picks), Err(Cut::More));
                }
            }
        }

        #[test]
        fn nothing_panics(text in "[\\[\\]{}:,\"ab\\\\ \n0-9trueé]{0,60}") {
            let _ = run(raw(), &text);
            let _ = run(RawMapping { records: Some("$.a[*]".into()), ..raw() }, &text);
        }
    }
}
