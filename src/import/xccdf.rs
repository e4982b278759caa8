//! XCCDF 1.1 and 1.2 benchmarks, alone, in a data stream, or in results that carry one.
//!
//! Producers read: ComplianceAsCode 0.1.65 to 0.1.82, DISA. Specification: NIST IR 7275 r4.
//!
//! A rule that the profile selects becomes a control. Selection is as the standard has it: a profile's selectors stand
//! after those of the profile that it extends; a selector names a rule, a group or a cluster; a rule counts if it and
//! every group around it are selected. A profile may change severities (`refine-rule`) and values (`refine-value`,
//! `set-value`), which stand in the texts as `sub`.
//!
//! Only the benchmark is looked at: what checks do (OVAL, OCIL, scripts) is the scanner's business. The document is read
//! as a stream; document types are refused, depth, numbers and lengths are bounded.

use super::references::ids;
use super::{Draft, Ids, ImportError, Imported, Options, Set, Source, counted, cut, line, tame, write};
use crate::domain::Severity;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::{Namespace, ResolveResult};
use quick_xml::{NsReader, XmlVersion};
use std::collections::{BTreeMap, BTreeSet, HashMap};

const XCCDF: [&str; 2] = ["http://checklists.nist.gov/xccdf/1.2", "http://checklists.nist.gov/xccdf/1.1"];
const XHTML: &str = "http://www.w3.org/1999/xhtml";
/// Deepest nesting of elements. Real benchmarks come to 20.
const DEPTH: usize = 100;
/// Most rules, groups, values and profiles, and most selectors of all profiles. The largest content has a tenth.
const ITEMS: usize = 50_000;
const SELECTORS: usize = 1_000_000;
/// Longest text kept.
const TEXT: usize = 4000;
const TITLE: usize = 300;
/// Most references of one rule.
const REFERENCES: usize = 1000;
/// Most profiles that extend one another.
const CHAIN: usize = 20;
/// Around the id of a value in a text, until the profile says which value.
const SUB: (char, char) = ('\u{1}', '\u{2}');

pub(super) fn import(source: &Source, options: &Options) -> Result<Imported, ImportError> {
    let benchmarks = Xml::new(source).benchmarks()?;
    let (benchmark, profile) = choose(source, &benchmarks, options.profile.as_deref())?;
    benchmark.control_set(source, profile, options)
}

#[derive(Debug, Default)]
struct Benchmark {
    id: String,
    title: String,
    version: String,
    profiles: Vec<Profile>,
    values: HashMap<String, Values>,
    groups: Vec<Group>,
    rules: Vec<Rule>,
}

#[derive(Debug, Default)]
struct Profile {
    id: String,
    title: String,
    extends: Option<String>,
    selects: Vec<(String, bool)>,
    severities: Vec<(String, String)>,
    /// (value's id, selector or the value itself).
    values: Vec<(String, Choice)>,
}

#[derive(Debug)]
enum Choice {
    Selector(String),
    Literal(String),
}

/// A `Value` by its selectors; the empty one is the default.
#[derive(Debug, Default)]
struct Values(BTreeMap<String, String>);

#[derive(Debug)]
struct Group {
    id: String,
    cluster: Option<String>,
    selected: bool,
    parent: Option<usize>,
}

#[derive(Debug)]
struct Rule {
    id: String,
    cluster: Option<String>,
    selected: bool,
    severity: String,
    parent: Option<usize>,
    title: String,
    description: String,
    rationale: String,
    fixtext: String,
    references: Vec<(String, String)>,
    checked: bool,
    scripts: usize,
    extends: bool,
}

fn choose<'b>(source: &Source, benchmarks: &'b [Benchmark], wanted: Option<&str>) -> Result<(&'b Benchmark, &'b Profile), ImportError> {
    let all: Vec<(&Benchmark, &Profile)> = benchmarks.iter().flat_map(|b| b.profiles.iter().map(move |p| (b, p))).collect();
    let list = || {
        let lines: Vec<String> = all.iter().map(|(_, p)| format!("    {}  {}", short(&p.id, "_profile_"), p.title)).collect();
        if lines.is_empty() { "the benchmark has no profiles".to_owned() } else { format!("one of\n{}", lines.join("\n")) }
    };
    let Some(wanted) = wanted else {
        return Err(ImportError::new(&source.name, "which profile is not said; expected `--profile P`").help(list()));
    };
    let found: Vec<_> = all.iter().filter(|(_, p)| p.id == wanted || short(&p.id, "_profile_") == wanted).collect();
    match found.as_slice() {
        [one] => Ok(**one),
        [] => Err(ImportError::new(&source.name, format!("there is no profile `{}`", cut(&line(wanted), 100))).help(list())),
        several => {
            let ids: Vec<&str> = several.iter().map(|(b, _)| b.id.as_str()).collect();
            Err(ImportError::new(&source.name, format!("profile `{wanted}` stands in several benchmarks: {}", ids.join(", ")))
                .help("give the file of one benchmark"))
        }
    }
}

/// `sshd_disable_root_login` of `xccdf_org.ssgproject.content_rule_sshd_disable_root_login`.
fn short<'i>(id: &'i str, marker: &str) -> &'i str {
    id.split_once(marker).map_or(id, |(_, rest)| rest)
}

impl Benchmark {
    /// A profile after those that it extends, the farthest first.
    fn chain<'b>(&'b self, source: &Source, profile: &'b Profile) -> Result<Vec<&'b Profile>, ImportError> {
        let mut chain = vec![profile];
        while let Some(base) = chain.last().and_then(|p| p.extends.as_deref()) {
            let next = self.profiles.iter().find(|p| p.id == base).ok_or_else(|| {
                ImportError::new(&source.name, format!("profile `{}` extends `{base}`, which is not there", chain[chain.len() - 1].id))
            })?;
            if chain.iter().any(|p| p.id == next.id) || chain.len() == CHAIN {
                return Err(ImportError::new(
                    &source.name,
                    format!("profile `{}` extends itself, or more than {CHAIN} others", profile.id),
                ));
            }
            chain.push(next);
        }
        chain.reverse();
        Ok(chain)
    }

    fn control_set(&self, source: &Source, profile: &Profile, options: &Options) -> Result<Imported, ImportError> {
        let chain = self.chain(source, profile)?;
        let mut group_on: Vec<bool> = self.groups.iter().map(|g| g.selected).collect();
        let mut rule_on: Vec<bool> = self.rules.iter().map(|r| r.selected).collect();
        // Which items a selector means: one with that id, or all of a cluster.
        let mut groups: HashMap<&str, Vec<usize>> = HashMap::new();
        for (i, g) in self.groups.iter().enumerate() {
            groups.entry(&g.id).or_default().push(i);
            g.cluster.iter().for_each(|c| groups.entry(c).or_default().push(i));
        }
        let mut rules: HashMap<&str, Vec<usize>> = HashMap::new();
        for (i, r) in self.rules.iter().enumerate() {
            rules.entry(&r.id).or_default().push(i);
            r.cluster.iter().for_each(|c| rules.entry(c).or_default().push(i));
        }
        let mut nowhere = BTreeSet::new();
        for (id, on) in chain.iter().flat_map(|p| &p.selects) {
            let (g, r) = (groups.get(id.as_str()), rules.get(id.as_str()));
            g.into_iter().flatten().for_each(|i| group_on[*i] = *on);
            r.into_iter().flatten().for_each(|i| rule_on[*i] = *on);
            if *on && g.is_none() && r.is_none() {
                nowhere.insert(id.as_str());
            }
        }
        let severities: HashMap<&str, &str> = chain.iter().flat_map(|p| &p.severities).map(|(id, s)| (id.as_str(), s.as_str())).collect();
        let choices: HashMap<&str, &Choice> = chain.iter().flat_map(|p| &p.values).map(|(id, c)| (id.as_str(), c)).collect();

        let mut notes = Notes::default();
        let mut ids_made = Ids::default();
        let mut controls = Vec::new();
        for (i, rule) in self.rules.iter().enumerate() {
            if !rule_on[i] || !self.within(rule.parent, &group_on) {
                continue;
            }
            let severity = severities.get(rule.id.as_str()).copied().unwrap_or(&rule.severity);
            controls.push(self.control(rule, severity, &choices, options, &mut ids_made, &mut notes));
        }
        if controls.is_empty() {
            return Err(ImportError::new(&source.name, format!("profile `{}` selects no rule that is here", profile.id)));
        }
        let what = format!("profile {} ({})", profile.id, profile.title);
        let mut about = vec![
            format!(
                "Made by `bornright import xccdf` from {what} of {} {}. Import it again rather than change it here.",
                self.title, self.version
            ),
            format!("{}.", counted(controls.len(), "control")),
        ];
        let mut told = vec![format!("{} from {what}", counted(controls.len(), "control"))];
        if !nowhere.is_empty() {
            let names: Vec<&str> = nowhere.iter().take(5).copied().collect();
            notes.said.push(format!(
                "the profile selects {} that the benchmark does not have: {}{}",
                counted(nowhere.len(), "item"),
                names.join(", "),
                if nowhere.len() > 5 { " …" } else { "" }
            ));
        }
        let said = notes.all(options);
        about.extend(said.iter().cloned());
        told.extend(said);
        let set = Set {
            name: tame(options.name.as_deref().unwrap_or(short(&profile.id, "_profile_")), false),
            version: if self.version.is_empty() { "1.0.0".to_owned() } else { self.version.clone() },
            owner: options.owner.clone().unwrap_or_else(|| "unassigned".to_owned()),
            about,
            controls,
        };
        let mut yaml = String::new();
        write::set(&mut yaml, &set);
        Ok(Imported { yaml, notes: told })
    }

    fn within(&self, mut parent: Option<usize>, on: &[bool]) -> bool {
        while let Some(i) = parent {
            if !on[i] {
                return false;
            }
            parent = self.groups[i].parent;
        }
        true
    }

    fn control(
        &self,
        rule: &Rule,
        severity: &str,
        choices: &HashMap<&str, &Choice>,
        options: &Options,
        ids_made: &mut Ids,
        notes: &mut Notes,
    ) -> Draft {
        let mut requirements: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (href, text) in &rule.references {
            match options.renames.framework(href) {
                Some(framework) => {
                    let found = ids(&framework, text);
                    requirements.entry(framework).or_default().extend(found);
                }
                None => *notes.strangers.entry(href.clone()).or_default() += 1,
            }
        }
        requirements.retain(|_, ids| !ids.is_empty());
        let known = match severity {
            "info" => Some(Severity::Info),
            "low" => Some(Severity::Low),
            "medium" => Some(Severity::Medium),
            "high" => Some(Severity::High),
            "critical" => Some(Severity::Critical),
            _ => None,
        };
        let mut comments = Vec::new();
        if known.is_none() {
            notes.unknown_severity += 1;
            comments.push("the benchmark gives no severity");
        }
        if !rule.checked {
            notes.unchecked += 1;
            comments.push("no scanner can check it: what is known comes from people");
        }
        notes.scripts += usize::from(rule.scripts > 0);
        notes.extended += usize::from(rule.extends);
        let text = |t: &str| self.fill(t, choices);
        let name = short(&rule.id, "_rule_");
        let title = line(&text(&rule.title));
        Draft {
            id: ids_made.make(&options.prefix, name),
            title: cut(if title.is_empty() { name } else { &title }, TITLE),
            severity: known.unwrap_or(Severity::Medium),
            requirements,
            checks: vec![(Some("xccdf".to_owned()), rule.id.clone())],
            rationale: text(&rule.rationale),
            remediation: text(if rule.fixtext.trim().is_empty() { &rule.description } else { &rule.fixtext }),
            comment: (!comments.is_empty()).then(|| comments.join("; ")),
        }
    }

    /// Puts the profile's values into a text.
    fn fill(&self, text: &str, choices: &HashMap<&str, &Choice>) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once(SUB.0) {
            let Some((id, behind)) = after.split_once(SUB.1) else {
                rest = before;
                break;
            };
            out.push_str(before);
            let values = self.values.get(id).map(|v| &v.0);
            let value = match choices.get(id) {
                Some(Choice::Literal(value)) => Some(value.as_str()),
                Some(Choice::Selector(s)) => values.and_then(|v| v.get(s)).map(String::as_str),
                None => values.and_then(|v| v.get("").or_else(|| v.values().next())).map(String::as_str),
            };
            out.push_str(value.unwrap_or_else(|| short(id, "_value_")));
            rest = behind;
        }
        out.push_str(rest);
        cut(&out, TEXT)
    }
}

/// What could not be carried over.
#[derive(Default)]
struct Notes {
    strangers: BTreeMap<String, usize>,
    unknown_severity: usize,
    unchecked: usize,
    scripts: usize,
    extended: usize,
    said: Vec<String>,
}

impl Notes {
    fn all(self, options: &Options) -> Vec<String> {
        let mut out = self.said;
        if options.owner.is_none() {
            out.push("the owner is `unassigned`: name one with --owner".to_owned());
        }
        if self.unknown_severity > 0 {
            out.push(format!("{} without a severity in the benchmark: taken for medium", counted(self.unknown_severity, "rule")));
        }
        if self.unchecked > 0 {
            out.push(format!(
                "{} without a check that a scanner can carry out: they stay without a verdict",
                counted(self.unchecked, "rule")
            ));
        }
        if self.extended > 0 {
            out.push(format!("{} that extend another: what they inherit was not carried over", counted(self.extended, "rule")));
        }
        if self.scripts > 0 {
            out.push(format!("fix scripts of {} were not carried over: they stay with the content", counted(self.scripts, "rule")));
        }
        for (href, n) in self.strangers.iter().take(20) {
            let were = if *n == 1 { "was" } else { "were" };
            out.push(if href.is_empty() {
                format!("{} without an address {were} not carried over", counted(*n, "reference"))
            } else {
                let to = cut(href, 200);
                format!("{} to {to} {were} not carried over: name the framework with --framework ADDRESS=NAME", counted(*n, "reference"))
            });
        }
        if self.strangers.len() > 20 {
            out.push(format!("and references to {} more addresses", self.strangers.len() - 20));
        }
        out
    }
}

struct Xml<'s> {
    reader: NsReader<&'s [u8]>,
    source: &'s Source,
    depth: usize,
    items: usize,
    selectors: usize,
}

impl<'s> Xml<'s> {
    fn new(source: &'s Source) -> Xml<'s> {
        let mut reader = NsReader::from_reader(source.bytes.as_slice());
        reader.config_mut().expand_empty_elements = true;
        Xml { reader, source, depth: 0, items: 0, selectors: 0 }
    }

    fn error(&self, message: impl std::fmt::Display) -> ImportError {
        let at = usize::try_from(self.reader.buffer_position()).unwrap_or(usize::MAX).min(self.source.bytes.len());
        let line = self.source.bytes[..at].iter().filter(|b| **b == b'\n').count() + 1;
        ImportError::new(&format!("{}:{line}", self.source.name), message.to_string())
    }

    fn next(&mut self) -> Result<Event<'s>, ImportError> {
        let event = match self.reader.read_event() {
            Ok(event) => event,
            Err(e) => return Err(self.error(format_args!("not well-formed XML: {e}"))),
        };
        match &event {
            Event::Start(_) => {
                self.depth += 1;
                if self.depth > DEPTH {
                    return Err(self.error(format_args!("elements are nested deeper than {DEPTH}")));
                }
            }
            Event::End(_) => self.depth = self.depth.saturating_sub(1),
            Event::DocType(_) => return Err(self.error("a document type declaration is refused: it may define entities")),
            Event::Eof if self.depth > 0 => {
                return Err(self.error(format_args!("the document ends with {} elements still open", self.depth)));
            }
            _ => {}
        }
        Ok(event)
    }

    fn name<'n>(&'n self, start: &'n BytesStart<'_>) -> (&'n str, &'n str) {
        let (space, local) = self.reader.resolver().resolve_element(start.name());
        let uri = match space {
            ResolveResult::Bound(Namespace(uri)) => uri,
            _ => "",
        };
        (uri, local.into_inner())
    }

    fn xccdf(&self, start: &BytesStart<'_>) -> &'static str {
        let (uri, local) = self.name(start);
        if !XCCDF.contains(&uri) {
            return "";
        }
        const WORDS: [&str; 23] = [
            "Benchmark",
            "Profile",
            "Value",
            "Group",
            "Rule",
            "TestResult",
            "title",
            "version",
            "description",
            "rationale",
            "reference",
            "fixtext",
            "fix",
            "check",
            "complex-check",
            "select",
            "refine-rule",
            "refine-value",
            "set-value",
            "value",
            "sub",
            "warning",
            "question",
        ];
        WORDS.iter().find(|w| **w == local).copied().unwrap_or("")
    }

    fn attributes(&self, start: &BytesStart<'_>) -> Result<HashMap<String, String>, ImportError> {
        let mut out = HashMap::new();
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|e| self.error(format_args!("not well-formed XML: {e}")))?;
            let name = attribute.key.local_name();
            let name = name.into_inner();
            if ["id", "extends", "cluster-id", "selected", "severity", "idref", "selector", "href", "system"].contains(&name) {
                let value = attribute
                    .normalized_value(XmlVersion::Implicit1_0)
                    .map_err(|e| self.error(format_args!("not well-formed XML: {e}")))?;
                out.insert(name.to_owned(), cut(&line(&value), 1000));
            }
        }
        Ok(out)
    }

    fn skip(&mut self) -> Result<(), ImportError> {
        let floor = self.depth;
        while self.depth >= floor {
            self.next()?;
        }
        Ok(())
    }

    /// The text of the element just begun as paragraphs, up to its end.
    fn prose(&mut self) -> Result<String, ImportError> {
        let floor = self.depth;
        let mut out = String::new();
        while self.depth >= floor {
            let add = |out: &mut String, text: &str| {
                if out.len() < 4 * TEXT {
                    out.extend(text.chars().map(|c| if c.is_control() { ' ' } else { c }));
                }
            };
            match self.next()? {
                Event::Text(t) => add(&mut out, &t.xml_content(XmlVersion::Implicit1_0)),
                Event::CData(t) => add(&mut out, &t.xml_content(XmlVersion::Implicit1_0)),
                Event::GeneralRef(r) => match r.resolve_char_ref() {
                    Ok(Some(c)) => add(&mut out, c.encode_utf8(&mut [0; 4])),
                    _ => match quick_xml::escape::resolve_predefined_entity(&r) {
                        Some(known) => add(&mut out, known),
                        None => return Err(self.error(format_args!("unknown entity `&{};`", cut(&line(&r), 100)))),
                    },
                },
                Event::Start(start) => {
                    if self.xccdf(&start) == "sub" {
                        let attributes = self.attributes(&start)?;
                        if let Some(id) = attributes.get("idref")
                            && out.len() < 4 * TEXT
                        {
                            out.push(SUB.0);
                            out.push_str(id);
                            out.push(SUB.1);
                        }
                    } else {
                        let (uri, local) = self.name(&start);
                        if uri == XHTML && ["p", "br", "pre", "li", "ul", "ol", "div", "table", "tr", "blockquote"].contains(&local) {
                            out.push('\n');
                        }
                    }
                }
                Event::End(end) if ["p", "pre", "ul", "ol", "div", "table", "blockquote"].contains(&end.local_name().into_inner()) => {
                    out.push('\n');
                }
                _ => {}
            }
        }
        Ok(out)
    }

    fn text(&mut self) -> Result<String, ImportError> {
        Ok(cut(&line(&self.prose()?.replace([SUB.0, SUB.1], " ")), 1000))
    }

    fn item(&mut self) -> Result<(), ImportError> {
        self.items += 1;
        if self.items > ITEMS { Err(self.error(format_args!("more than {ITEMS} rules, groups, values and profiles"))) } else { Ok(()) }
    }

    fn benchmarks(mut self) -> Result<Vec<Benchmark>, ImportError> {
        let mut found = Vec::new();
        let mut root: Option<String> = None;
        loop {
            match self.next()? {
                Event::Start(start) => {
                    if root.is_none() {
                        root = Some(self.name(&start).1.to_owned());
                    }
                    if self.xccdf(&start) == "Benchmark" {
                        found.push(self.benchmark(&start)?);
                    }
                }
                Event::Text(t) if self.depth == 0 && !t.trim().is_empty() => {
                    return Err(self.error("this is no XML document").help("expected an XCCDF benchmark or a SCAP data stream"));
                }
                Event::Eof => break,
                _ => {}
            }
        }
        if found.is_empty() {
            let what = match root.as_deref() {
                None => "the document is empty".to_owned(),
                Some("TestResult") => "a TestResult without its Benchmark".to_owned(),
                Some(root) => format!("an XML document `{}` without an XCCDF Benchmark", cut(root, 60)),
            };
            return Err(ImportError::new(&self.source.name, what)
                .help("give the content that the scanner is given: a data stream (ssg-…-ds.xml) or a benchmark (…-xccdf.xml)"));
        }
        Ok(found)
    }

    fn benchmark(&mut self, start: &BytesStart<'_>) -> Result<Benchmark, ImportError> {
        let mut out = Benchmark { id: self.attributes(start)?.remove("id").unwrap_or_default(), ..Benchmark::default() };
        let floor = self.depth;
        while self.depth >= floor {
            let Event::Start(start) = self.next()? else { continue };
            match self.xccdf(&start) {
                "title" if out.title.is_empty() => out.title = self.text()?,
                "version" if out.version.is_empty() => out.version = self.text()?,
                "Profile" => {
                    let profile = self.profile(&start)?;
                    out.profiles.push(profile);
                }
                "Group" => self.group(&start, None, &mut out)?,
                "Rule" => self.rule(&start, None, &mut out)?,
                "Value" => self.value(&start, &mut out)?,
                _ => self.skip()?,
            }
        }
        Ok(out)
    }

    fn profile(&mut self, start: &BytesStart<'_>) -> Result<Profile, ImportError> {
        self.item()?;
        let mut attributes = self.attributes(start)?;
        let mut out = Profile {
            id: attributes.remove("id").ok_or_else(|| self.error("a Profile without an id"))?,
            extends: attributes.remove("extends"),
            ..Profile::default()
        };
        let floor = self.depth;
        while self.depth >= floor {
            let Event::Start(start) = self.next()? else { continue };
            let word = self.xccdf(&start);
            if word == "title" {
                let title = self.text()?;
                if out.title.is_empty() {
                    out.title = title;
                }
                continue;
            }
            let mut attributes = self.attributes(&start)?;
            if let Some(id) = attributes.remove("idref") {
                self.selectors += 1;
                if self.selectors > SELECTORS {
                    return Err(self.error(format_args!("more than {SELECTORS} selectors")));
                }
                match word {
                    "select" => out.selects.push((id, flag(attributes.get("selected"), true))),
                    "refine-rule" => out.severities.extend(attributes.remove("severity").map(|s| (id, s))),
                    "refine-value" => out.values.extend(attributes.remove("selector").map(|s| (id, Choice::Selector(s)))),
                    "set-value" => {
                        let value = self.text()?;
                        out.values.push((id, Choice::Literal(value)));
                        continue;
                    }
                    _ => {}
                }
            }
            self.skip()?;
        }
        Ok(out)
    }

    fn value(&mut self, start: &BytesStart<'_>, out: &mut Benchmark) -> Result<(), ImportError> {
        self.item()?;
        let id = self.attributes(start)?.remove("id").unwrap_or_default();
        let mut values = Values::default();
        let floor = self.depth;
        while self.depth >= floor {
            let Event::Start(start) = self.next()? else { continue };
            if self.xccdf(&start) == "value" && values.0.len() < REFERENCES {
                let selector = self.attributes(&start)?.remove("selector").unwrap_or_default();
                let text = self.text()?;
                values.0.insert(selector, cut(&text, 200));
            } else {
                self.skip()?;
            }
        }
        out.values.insert(id, values);
        Ok(())
    }

    fn group(&mut self, start: &BytesStart<'_>, parent: Option<usize>, out: &mut Benchmark) -> Result<(), ImportError> {
        self.item()?;
        let mut attributes = self.attributes(start)?;
        let me = out.groups.len();
        out.groups.push(Group {
            id: attributes.remove("id").unwrap_or_default(),
            cluster: attributes.remove("cluster-id"),
            selected: flag(attributes.get("selected"), true),
            parent,
        });
        let floor = self.depth;
        while self.depth >= floor {
            let Event::Start(start) = self.next()? else { continue };
            match self.xccdf(&start) {
                "Group" => self.group(&start, Some(me), out)?,
                "Rule" => self.rule(&start, Some(me), out)?,
                "Value" => self.value(&start, out)?,
                _ => self.skip()?,
            }
        }
        Ok(())
    }

    fn rule(&mut self, start: &BytesStart<'_>, parent: Option<usize>, out: &mut Benchmark) -> Result<(), ImportError> {
        self.item()?;
        let mut attributes = self.attributes(start)?;
        let mut rule = Rule {
            id: attributes.remove("id").ok_or_else(|| self.error("a Rule without an id"))?,
            cluster: attributes.remove("cluster-id"),
            selected: flag(attributes.get("selected"), true),
            severity: attributes.remove("severity").unwrap_or_else(|| "unknown".to_owned()),
            extends: attributes.contains_key("extends"),
            parent,
            title: String::new(),
            description: String::new(),
            rationale: String::new(),
            fixtext: String::new(),
            references: Vec::new(),
            checked: false,
            scripts: 0,
        };
        let floor = self.depth;
        while self.depth >= floor {
            let Event::Start(start) = self.next()? else { continue };
            let target = match self.xccdf(&start) {
                "title" => &mut rule.title,
                "description" => &mut rule.description,
                "rationale" => &mut rule.rationale,
                "fixtext" => &mut rule.fixtext,
                "reference" => {
                    let href = self.attributes(&start)?.remove("href").unwrap_or_default();
                    let text = self.text()?;
                    if rule.references.len() < REFERENCES && !text.is_empty() {
                        rule.references.push((href, text));
                    }
                    continue;
                }
                "fix" => {
                    rule.scripts += 1;
                    self.skip()?;
                    continue;
                }
                "check" | "complex-check" => {
                    // A questionnaire is for people.
                    let system = self.attributes(&start)?.remove("system").unwrap_or_default();
                    rule.checked |= !system.starts_with("http://scap.nist.gov/schema/ocil/");
                    self.skip()?;
                    continue;
                }
                _ => {
                    self.skip()?;
                    continue;
                }
            };
            // Of several languages the first.
            if target.is_empty() {
                *target = self.prose()?;
            } else {
                self.skip()?;
            }
        }
        out.rules.push(rule);
        Ok(())
    }
}

fn flag(word: Option<&String>, default: bool) -> bool {
    match word.map(String::as_str) {
        Some("true" | "1") => true,
        Some("false" | "0") => false,
        _ => default,
    }
}
