//! Definitions: control sets, SLOs and waivers, from YAML documents to what they mean.
//!
//! Deliberately knows nothing of collectors: whether anything can satisfy a check is [`super::lint`]'s question.

use super::errors::{ConfigErrors, ConfigProblem, Loaded, Place, ProblemSeverity, Report, nearest, suggestion};
use super::yaml::{At, Entry, Node, Table, Value, documents, excerpt};
use super::{Definitions, digest, objectives, openslo};
use crate::domain::{
    CheckSelector, Combine, Control, ControlSet, Moment, Nature, Population, Requirement, Severity, Span, Waiver, resource,
};
use crate::formats::Format;
use crate::slo::{ControlSelector, Policy, Sli, Slo};
use std::collections::{BTreeMap, BTreeSet};

/// The version of our own documents.
const API_VERSION: &str = "bornright/v1";
const KINDS: &[&str] = &["ControlSet", "Framework", "SLO", "SLODefaults", "WaiverSet"];
pub(super) const CONTROL_KEYS: &[&str] = &[
    "id",
    "title",
    "owner",
    "nature",
    "severity",
    "requirements",
    "checks",
    "combine",
    "population",
    "fix_within",
    "max_age",
    "new_resource_grace",
    "confirmations",
    "rationale",
    "remediation",
    "training",
];
pub(super) const WAIVER_KEYS: &[&str] = &["id", "control", "resource", "scope", "reason", "owner", "ticket", "from", "until"];
pub(super) const SET_KEYS: &[&str] = &["version", "owner", "controls"];
pub(super) const CHECK_KEYS: &[&str] = &["format", "collector", "id", "resource_type", "where"];
pub(super) const SELECTOR_KEYS: &[&str] = &["ids", "set", "requirement", "severity", "nature"];
/// A waiver longer than this is more likely a decision than an exception.
const LONG_WAIVER: Span = Span(366 * Span::DAY.0);

/// Where things of the definitions stand, for problems found after reading.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    /// By control id.
    pub(super) controls: BTreeMap<String, (String, Place)>,
    /// By control id, the places of its checks.
    pub(super) checks: BTreeMap<String, Vec<Place>>,
    /// By set name.
    pub(super) sets: BTreeMap<String, (String, Place)>,
    /// By `<service>-<name>`.
    pub(super) slos: BTreeMap<String, (String, Place)>,
    /// The literal or glob control of each well-formed waiver.
    waivers: Vec<(String, Place, String)>,
    /// The ids that an SLO names, each with its place.
    slo_ids: Vec<(String, At<String>)>,
}

/// Definitions with what was said about them and where everything stands.
#[derive(Clone, Debug)]
pub(super) struct Read {
    pub(super) definitions: Definitions,
    pub(super) problems: Vec<ConfigProblem>,
    pub(super) places: Places,
    /// Objectives as read; [`objectives::resolve`] turns them into `definitions.slos`.
    pub(super) drafts: Vec<objectives::Draft>,
    pub(super) defaults: Vec<objectives::Defaults>,
    /// OpenSLO documents, which refer to each other.
    pub(super) openslo: Vec<(String, Node)>,
}

/// Reads documents given as (name, text). Pure: the demo's embedded definitions and those from files go the same way.
pub(super) fn read(docs: &[(String, String)]) -> Read {
    let mut out = Read {
        definitions: Definitions { documents: docs.to_vec(), digest: digest::of_documents(docs), ..Definitions::default() },
        problems: Vec::new(),
        places: Places::default(),
        drafts: Vec::new(),
        defaults: Vec::new(),
        openslo: Vec::new(),
    };
    for (path, text) in docs {
        let report = Report::new(path);
        for document in documents(text, &report) {
            Reader { path, report: &report, out: &mut out }.document(&document);
        }
        out.problems.extend(report.into_problems());
    }
    openslo::resolve(&mut out);
    objectives::resolve(&mut out);
    across(&mut out);
    sort(&mut out.problems, docs);
    out
}

/// See [`super::parse_definitions`].
pub(super) fn parse(docs: &[(String, String)]) -> Loaded<Definitions> {
    let read = read(docs);
    let problems = ConfigErrors { problems: read.problems };
    Loaded { value: (!problems.fatal()).then_some(read.definitions), problems }
}

/// By document in the order given, then by place.
fn sort(problems: &mut [ConfigProblem], docs: &[(String, String)]) {
    let order: BTreeMap<&str, usize> = docs.iter().enumerate().map(|(i, (path, _))| (path.as_str(), i)).collect();
    problems.sort_by_key(|p| (order.get(p.path.as_str()).copied().unwrap_or(usize::MAX), p.line, p.column));
}

/// Reads the documents of one file.
pub(super) struct Reader<'a> {
    pub(super) path: &'a str,
    pub(super) report: &'a Report,
    pub(super) out: &'a mut Read,
}

pub(super) fn nothing_special(_key: &str) -> Option<(String, String)> {
    None
}

impl Reader<'_> {
    fn document(&mut self, doc: &Node) {
        if let Value::Null = doc.value {
            return;
        }
        let version = doc.get("apiVersion").and_then(Node::scalar);
        if let Some(v) = &version
            && v.starts_with("openslo/")
        {
            if v == openslo::API_VERSION {
                self.out.openslo.push((self.path.to_owned(), doc.clone()));
                return;
            }
            self.report.push(
                ProblemSeverity::Warning,
                None,
                doc.at,
                format!("this document is `{}`, of which only `{}` is read; it is left out", excerpt(v), openslo::API_VERSION),
                None,
            );
            return;
        }
        let Some(top) = Table::open(doc, "a definition", &["apiVersion", "kind", "metadata", "spec"], self.report, |key| {
            ["listen", "ledger", "collectors", "definitions"].contains(&key).then(|| {
                (
                    format!("`{key}` belongs into bornright.yaml, this file is read as definitions"),
                    "take this file out of the directories that `definitions:` names".to_owned(),
                )
            })
        }) else {
            return;
        };
        match top.required("apiVersion", &format!("begin each document with `apiVersion: {API_VERSION}`")) {
            Some(v) if v.value != API_VERSION => {
                self.report.error_help(
                    v.at,
                    format!("`apiVersion` is `{}`, expected `{API_VERSION}`", excerpt(&v.value)),
                    "keep other documents (Kubernetes manifests, for instance) outside the directories that `definitions:` names",
                );
                return;
            }
            _ => {}
        }
        let Some(kind) = top.required("kind", &format!("say which: {}", KINDS.join(", "))) else { return };
        let name = top.node("metadata").map_or_else(
            || {
                top.missing("metadata", "write `metadata: { name: … }`");
                None
            },
            |n| {
                let table = Table::open(n, "metadata", &["name"], self.report, nothing_special)?;
                let name = table.required("name", "give the document a name, for instance `name: object-storage`")?;
                self.name(&name, "name").then_some(name)
            },
        );
        let Some(spec) = top.node("spec") else {
            top.missing("spec", "what the document says stands under `spec:`");
            return;
        };
        match kind.value.as_str() {
            "ControlSet" => self.control_set(name.as_ref(), spec),
            "Framework" => self.framework(name.as_ref(), spec),
            "SLO" => self.slo(name.as_ref(), spec),
            "SLODefaults" => self.slo_defaults(name.as_ref(), spec),
            "WaiverSet" => self.waiver_set(name.as_ref(), spec),
            other => {
                self.report.error_help(kind.at, format!("`kind` is `{}`", excerpt(other)), suggestion(other, KINDS, "it must be one of"))
            }
        }
    }

    /// Names become label values, file names and parts of ids: one alphabet for all of them.
    pub(super) fn name(&self, name: &At<String>, what: &str) -> bool {
        let good = name.value.len() <= 100
            && name.value.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.value.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b));
        if !good {
            self.report.error_help(
                name.at,
                format!("`{}` cannot be a {what}", excerpt(&name.value)),
                "use letters, digits, `-`, `_` and `.`, at most 100, a letter or digit first",
            );
        }
        good
    }

    fn framework(&mut self, name: Option<&At<String>>, spec: &Node) {
        let Some(framework) = super::framework::read(name, spec, self.report) else { return };
        if let Some(name) = name
            && self.out.definitions.frameworks.iter().any(|f| f.name == framework.name)
        {
            self.report.error(name.at, format!("framework `{}` is defined twice", framework.name));
            return;
        }
        self.out.definitions.frameworks.push(framework);
    }

    fn control_set(&mut self, name: Option<&At<String>>, spec: &Node) {
        let Some(table) = Table::open(spec, "spec of a control set", SET_KEYS, self.report, nothing_special) else { return };
        let version = table.required("version", "give the set a version such as `1.0.0`, and raise it when a control changes its meaning");
        let owner = table.text("owner");
        let Some(controls) = table.node("controls") else {
            table.missing("controls", "a control set has a list `controls:`");
            return;
        };
        if let Value::List(items) = &controls.value
            && items.is_empty()
        {
            self.report.error(controls.at, "`controls` is empty: a set without controls promises nothing");
        }
        let items = table.list("controls");
        // A set whose head is broken still has its controls read, for their problems and so that SLOs find their ids.
        let set_name = name.map_or("", |n| n.value.as_str());
        let set_version = version.as_ref().map_or("", |v| v.value.as_str());
        let mut set = ControlSet { name: set_name.to_owned(), version: set_version.to_owned(), controls: Vec::new() };
        if let Some(name) = name
            && let Some((path, at)) = self.out.places.sets.insert(name.value.clone(), (self.path.to_owned(), name.at))
        {
            self.report.error(name.at, format!("control set `{}` is defined twice; it stands in {path}:{} already", name.value, at.line));
        }
        for item in items {
            if let Some(control) = self.control(item, &set, owner.as_ref()) {
                set.controls.push(control);
            }
        }
        self.out.definitions.sets.push(set);
    }

    fn control(&mut self, node: &Node, set: &ControlSet, set_owner: Option<&At<String>>) -> Option<Control> {
        let report = self.report;
        let what = node.named("control", "id");
        let table = Table::open(node, &what, CONTROL_KEYS, report, nothing_special)?;
        let id = table.required("id", "give the control an id such as `storage-no-public-access`");
        if let Some(id) = &id
            && self.name(id, "control id")
        {
            if let Some((path, at)) = self.out.places.controls.get(&id.value) {
                report.error_help(
                    id.at,
                    format!("control `{}` is defined twice; it stands in {path}:{} already", id.value, at.line),
                    "control ids are unique among all sets, since metrics and waivers name them alone",
                );
            } else {
                self.out.places.controls.insert(id.value.clone(), (self.path.to_owned(), id.at));
            }
        }
        let title = table.required("title", "say in a few words what is required, as a person would");
        let owner = table.text("owner").or_else(|| set_owner.cloned());
        if owner.is_none() && table.node("owner").is_none() {
            table.missing("owner", "name who answers for it, here or once for the set (`spec.owner`)");
        }
        let nature = table.word("nature", &words(Nature::ALL, |w| w.word()), Nature::from_word);
        if table.node("severity").is_none() {
            table.missing("severity", "one of info, low, medium, high, critical");
        }
        let severity = table.word("severity", &words(Severity::ALL, |w| w.word()), Severity::from_word);
        let requirements = self.requirements(&table);
        let checks = self.checks(&table);
        let combine = table.word("combine", &words(Combine::ALL, |w| w.word()), Combine::from_word);
        let population =
            table.node("population").map(|n| self.selector(n, "a population", true)).map(|from| from.map(|from| Population { from }));
        let control = Control {
            id: id.as_ref()?.value.clone(),
            set: set.name.clone(),
            version: set.version.clone(),
            title: title.map_or_else(String::new, |t| t.value.trim().to_owned()),
            owner: owner.map_or_else(String::new, |o| o.value),
            nature: nature.map_or(Nature::Detective, |n| n.value),
            severity: severity.map_or(Severity::Medium, |s| s.value),
            requirements,
            checks: checks.iter().map(|c| c.value.clone()).collect(),
            combine: combine.map_or(Combine::Worst, |c| c.value),
            population: population.flatten(),
            fix_within: table.span("fix_within", Span::MINUTE).map(|s| s.value),
            max_age: table.span("max_age", Span::SECOND).map(|s| s.value),
            new_resource_grace: table.span("new_resource_grace", Span(0)).map(|s| s.value),
            confirmations: table.whole("confirmations", 1..=10).and_then(|n| u8::try_from(n.value).ok()).unwrap_or(1),
            rationale: prose(&table, "rationale"),
            remediation: prose(&table, "remediation"),
            training: prose(&table, "training"),
        };
        if control.population.is_none()
            && !control.checks.is_empty()
            && let Some(formats) = violations_only(&control.checks)
        {
            report.push(
                ProblemSeverity::Warning,
                None,
                id.as_ref()?.at,
                format!(
                    "control `{}` has counts and no ratio: {} {} only violations, so nothing says how many resources comply",
                    control.id,
                    formats.join(" and "),
                    if formats.len() == 1 { "lists" } else { "list" },
                ),
                Some(
                    "add `population:` with an inventory (`{ collector: … }`), or a check of a scanner that reports passes too".to_owned(),
                ),
            );
        }
        self.out.places.checks.insert(control.id.clone(), checks.iter().map(|c| c.at).collect());
        Some(control)
    }

    fn requirements(&self, table: &Table<'_, '_>) -> Vec<Requirement> {
        let Some(node) = table.node("requirements") else { return Vec::new() };
        let Some(entries) = node.as_map() else {
            self.report.error_help(
                node.at,
                format!("`requirements` should be a mapping of frameworks to ids, found {}", node.describe()),
                "write for instance `requirements: { nist-800-53-r5: [AC-3, SC-7] }`",
            );
            return Vec::new();
        };
        let mut out: Vec<Requirement> = Vec::new();
        for Entry { key: framework, at, node } in entries {
            if framework.is_empty() || !framework.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.') {
                self.report.error_help(
                    *at,
                    format!("`{}` cannot be a framework's name", excerpt(framework)),
                    "use lower-case letters, digits, `-` and `.`, the version last: cis-aws-3.0, nist-800-53-r5, pci-dss-4.0",
                );
                continue;
            }
            let ids: &[Node] = match &node.value {
                Value::List(items) if !items.is_empty() => items,
                Value::Text(_) | Value::Number(_) => std::slice::from_ref(node),
                _ => {
                    self.report.error_help(
                        node.at,
                        format!("framework `{framework}` should have a list of requirement ids, found {}", node.describe()),
                        "quote ids that look like numbers: `[\"2.1.4\", \"3.10\"]`",
                    );
                    continue;
                }
            };
            for item in ids {
                match item.scalar().filter(|id| !id.trim().is_empty()) {
                    None => {
                        self.report.error(item.at, format!("a requirement id of `{framework}` should be a text, found {}", item.describe()))
                    }
                    Some(id) => {
                        let requirement = Requirement { framework: framework.clone(), id: id.trim().to_owned() };
                        if out.contains(&requirement) {
                            self.report.error(item.at, format!("requirement `{framework}/{}` is given twice", requirement.id));
                        } else {
                            out.push(requirement);
                        }
                    }
                }
            }
        }
        out
    }

    fn checks(&self, table: &Table<'_, '_>) -> Vec<At<CheckSelector>> {
        if table.node("checks").is_none() {
            table.missing("checks", "without checks there is no evidence: `checks: [{ format: ocsf, id: … }]`");
            return Vec::new();
        }
        let items = table.list("checks");
        if items.is_empty() && table.node("checks").is_some_and(|n| matches!(n.value, Value::List(_))) {
            self.report.error(table.place("checks"), "`checks` is empty: without checks there is no evidence");
        }
        let mut out: Vec<At<CheckSelector>> = Vec::new();
        for item in items {
            if let Some(value) = self.selector(item, "a check", false) {
                match out.iter().find(|c| c.value == value) {
                    Some(first) => self.report.error(item.at, format!("this check stands in line {} already", first.at.line)),
                    None => out.push(At { at: item.at, value }),
                }
            }
        }
        out
    }

    fn selector(&self, node: &Node, what: &str, population: bool) -> Option<CheckSelector> {
        let before = self.report.errors();
        let table = Table::open(node, what, CHECK_KEYS, self.report, |key| {
            (key == "check" || key == "rule" || key == "check_id")
                .then(|| (format!("unknown key `{key}` in {what}"), "the scanner's own rule id is given as `id`".to_owned()))
        })?;
        let format = table.text("format");
        if let Some(f) = &format
            && Format::from_word(&f.value).is_none()
            && f.value != "jsonpath"
        {
            self.report.error_help(f.at, format!("unknown format `{}`", excerpt(&f.value)), format_suggestion(&f.value));
        }
        let collector = table.text("collector");
        let id = table.text("id");
        let id = match (id, population) {
            (Some(id), _) => Some(id),
            (None, true) if table.node("id").is_none() => Some(At { at: node.at, value: "*".to_owned() }),
            (None, _) => {
                if table.node("id").is_none() {
                    table.missing("id", "give the scanner's own rule id, or a glob such as `s3_*`");
                }
                None
            }
        };
        let resource_type = table.text("resource_type");
        for pattern in [&id, &resource_type].into_iter().flatten() {
            self.glob(pattern);
        }
        let where_path = table.text("where");
        if let Some(path) = &where_path
            && let Err(message) = super::jsonpath_fault(&path.value)
        {
            self.report.error_help(path.at, format!("`where` of {what}: {message}"), "for instance `$.Resources[?(@.Tags.env == 'prod')]`");
        }
        if let Some(id) = &id
            && format.is_none()
            && collector.is_none()
            && id.value.bytes().all(|b| b == b'*')
        {
            self.report.error_help(
                node.at,
                format!("{what} that matches every finding of every scanner"),
                "name a `format` or a `collector`",
            );
        }
        (self.report.errors() == before).then(|| CheckSelector {
            format: format.map(|f| f.value),
            collector: collector.map(|c| c.value),
            id: id.map_or_else(String::new, |i| i.value),
            resource_type: resource_type.map(|r| r.value),
            where_path: where_path.map(|w| w.value),
        })
    }

    pub(super) fn glob(&self, pattern: &At<String>) {
        if CheckSelector::is_glob(&pattern.value)
            && let Err(e) = globset::Glob::new(&pattern.value)
        {
            self.report.error_help(
                pattern.at,
                format!("`{}` is not a glob: {}", excerpt(&pattern.value), e.kind()),
                "in a glob `*` is any text, `?` any one character, `[ab]` one of them, `[[]` a bracket",
            );
        }
    }

    pub(super) fn control_selector(&mut self, table: &Table<'_, '_>) -> Option<ControlSelector> {
        let Some(node) = table.node("controls") else {
            table.missing("controls", "say which controls it covers: `controls: { set: object-storage }`");
            return None;
        };
        let t = Table::open(node, "controls of an SLO", SELECTOR_KEYS, self.report, nothing_special)?;
        let ids = t.texts("ids");
        for id in &ids {
            self.glob(id);
            self.out.places.slo_ids.push((self.path.to_owned(), id.clone()));
        }
        let selector = ControlSelector {
            ids: ids.into_iter().map(|i| i.value).collect(),
            set: t.text("set").map(|s| s.value),
            requirement: t.text("requirement").map(|r| r.value),
            severity: self.words(&t, "severity", &words(Severity::ALL, |w| w.word()), Severity::from_word),
            nature: self.words(&t, "nature", &words(Nature::ALL, |w| w.word()), Nature::from_word),
        };
        if selector == ControlSelector::default() && node.as_map().is_some_and(<[Entry]>::is_empty) {
            self.report.error_help(
                node.at,
                "`controls` selects nothing",
                "give at least one of ids, set, requirement, severity, nature; `ids: [\"*\"]` is all of them",
            );
            return None;
        }
        Some(selector)
    }

    fn words<T>(&self, table: &Table<'_, '_>, key: &str, known: &[&str], read: impl Fn(&str) -> Option<T>) -> Vec<T> {
        let mut out = Vec::new();
        for text in table.texts(key) {
            match read(&text.value) {
                Some(word) => out.push(word),
                None => self.report.error_help(
                    text.at,
                    format!("unknown {key} `{}`", excerpt(&text.value)),
                    suggestion(&text.value, known, "it must be one of"),
                ),
            }
        }
        out
    }

    fn waiver_set(&mut self, name: Option<&At<String>>, spec: &Node) {
        let Some(table) = Table::open(spec, "spec of a waiver set", &["waivers"], self.report, nothing_special) else { return };
        if table.node("waivers").is_none() {
            table.missing("waivers", "a waiver set has a list `waivers:`");
        }
        let set = name.map_or("", |n| n.value.as_str());
        for (i, item) in table.list("waivers").iter().enumerate() {
            let own = item.get("id").and_then(Node::scalar).filter(|t| !t.trim().is_empty()).unwrap_or_else(|| (i + 1).to_string());
            let id = format!("{set}/{own}");
            // A faulty waiver costs itself (law 5): it holds nothing, and everything else stays in force. So its faults
            // are gathered apart and reported as warnings.
            let apart = Report::new(self.path);
            let waiver = waiver(item, id.clone(), &apart);
            let doubled = self.out.definitions.waivers.iter().any(|w| w.id == id);
            if doubled {
                apart.error(item.at, "its id is taken by a waiver above");
            }
            let faulty = apart.errors() > 0;
            let mut why = Vec::new();
            for p in apart.into_problems() {
                if p.severity == ProblemSeverity::Error {
                    why.push(p.message.clone());
                }
                let message =
                    if p.severity == ProblemSeverity::Error { format!("waiver `{id}` holds nothing: {}", p.message) } else { p.message };
                self.report.push(ProblemSeverity::Warning, None, Place { line: p.line, column: p.column }, message, p.help);
            }
            match waiver {
                Some(waiver) if !faulty => {
                    let at = item.get("control").map_or(item.at, |n| n.at);
                    self.out.places.waivers.push((self.path.to_owned(), at, waiver.control.clone()));
                    self.out.definitions.waivers.push(waiver);
                }
                _ => self.out.definitions.invalid_waivers.push((id, why.join("; "))),
            }
        }
    }
}

fn waiver(node: &Node, id: String, report: &Report) -> Option<Waiver> {
    let table = Table::open(node, "a waiver", WAIVER_KEYS, report, |key| {
        ["expires", "expiry", "end", "expires_at"]
            .contains(&key)
            .then(|| (format!("unknown key `{key}` in a waiver"), "its end is given as `until`".to_owned()))
    })?;
    let control = table.required("control", "a control's id, or a glob such as `storage-*`");
    let resource = table.required("resource", "the resource's id, or a glob; `*` is every resource of the control");
    let scope = table.text("scope");
    let reason = table.required("reason", "an exception nobody can explain is none");
    let owner = table.required("owner", "name who answers for the exception");
    let ticket = table.text("ticket");
    let from = instant(&table, "from", "when it begins, e.g. `from: 2026-11-01T00:00:00Z`");
    let until = instant(&table, "until", "every waiver ends: `until: 2027-01-31T00:00:00Z`");
    for pattern in [&control, &resource, &scope].into_iter().flatten() {
        if CheckSelector::is_glob(&pattern.value)
            && let Err(e) = globset::Glob::new(&pattern.value)
        {
            report.error(pattern.at, format!("`{}` is not a glob: {}", excerpt(&pattern.value), e.kind()));
        }
    }
    let (from, until) = (from?, until?);
    if until.value <= from.value {
        report.error(until.at, format!("it ends ({}) before it begins ({})", until.value, from.value));
    } else if until.value.since(from.value) > LONG_WAIVER {
        let days = until.value.since(from.value).0 / Span::DAY.0;
        report.push(
            ProblemSeverity::Warning,
            None,
            until.at,
            format!("waiver `{id}` runs for {days} days"),
            Some("an exception of more than a year is a decision: change the control, or renew the waiver each year".to_owned()),
        );
    }
    Some(Waiver {
        id,
        control: control?.value,
        resource: resource::normalise(&resource?.value).into_owned(),
        scope: scope.map(|s| s.value),
        reason: reason?.value.trim().to_owned(),
        owner: owner?.value,
        ticket: ticket.map_or_else(String::new, |t| t.value),
        from: from.value,
        until: until.value,
    })
}

/// RFC 3339 with an offset: whoever reads the waiver in another country must read the same instant.
fn instant(table: &Table<'_, '_>, key: &str, help: &str) -> Option<At<Moment>> {
    let found = table.required(key, help)?;
    let text = found.value.trim();
    if let Some(value) = Moment::from_rfc3339(text) {
        return Some(At { at: found.at, value });
    }
    let completed = [format!("{text}Z"), format!("{text}T00:00:00Z")].into_iter().find(|t| Moment::from_rfc3339(t).is_some());
    match completed {
        Some(whole) => table.report.error_help(
            found.at,
            format!("`{key}` is `{}`, which has no offset from UTC", excerpt(text)),
            format!("write `{whole}`, or an offset such as `+01:00` instead of the `Z`"),
        ),
        None => table.report.error_help(
            found.at,
            format!("`{key}` is `{}`, which is no instant", excerpt(text)),
            "write it as RFC 3339 with an offset, e.g. 2027-01-31T00:00:00Z",
        ),
    }
    None
}

/// What can only be said when everything was read.
fn across(out: &mut Read) {
    let controls: Vec<&Control> = out.definitions.controls().collect();
    let known: Vec<&str> = out.places.controls.keys().map(String::as_str).collect();
    let mut problems = super::framework::unknown_requirements(&out.definitions.frameworks, &controls, &out.places);
    let mut push = |severity, code, path: &str, at: Place, message: String, help: Option<String>| {
        problems.push(ConfigProblem { severity, code, path: path.to_owned(), line: at.line, column: at.column, message, help });
    };
    let mut named_unknown = BTreeSet::new();
    for (path, id) in &out.places.slo_ids {
        if !matches_any(&id.value, &known) {
            let help = nearest(&id.value, known.iter().copied()).map(|near| format!("did you mean `{near}`?"));
            let what = if CheckSelector::is_glob(&id.value) { "no control matches" } else { "there is no control" };
            push(ProblemSeverity::Error, Some("SLO114"), path, id.at, format!("{what} `{}`", excerpt(&id.value)), help);
            named_unknown.insert(id.value.clone());
        }
    }
    for slo in &out.definitions.slos {
        let id = slo.id();
        let Some((path, at)) = out.places.slos.get(&id) else { continue };
        if slo.composite.is_some() {
            continue;
        }
        if !controls.iter().any(|c| slo.controls.covers(c)) {
            if !slo.controls.ids.iter().any(|i| named_unknown.contains(i)) {
                let sets: Vec<&str> = out.places.sets.keys().map(String::as_str).collect();
                let help = match &slo.controls.set {
                    Some(set) if !sets.contains(&set.as_str()) => suggestion(set, &sets, "control sets are"),
                    _ => "all conditions under `controls:` must hold together; loosen one".to_owned(),
                };
                push(ProblemSeverity::Error, Some("SLO114"), path, *at, format!("SLO `{id}` covers no control"), Some(help));
            }
            continue;
        }
        if slo.sli == Sli::RemediationLatency && controls.iter().all(|c| c.fix_within.is_none() || !slo.controls.covers(c)) {
            push(
                ProblemSeverity::Error,
                None,
                path,
                *at,
                format!("SLO `{id}` counts deadlines, and none of its controls has one"),
                Some("give its controls `fix_within`".to_owned()),
            );
        }
        if slo.unknown == Policy::Exclude
            && matches!(slo.sli, Sli::ResourceTime | Sli::TimeSlice { .. })
            && !out.definitions.slos.iter().any(|o| charges(o, slo, &controls))
        {
            push(
                ProblemSeverity::Warning,
                Some("SLO109"),
                path,
                *at,
                format!("SLO `{id}` excludes unknown, and no other SLO charges missing evidence for the same controls"),
                Some(
                    "say `unknown: bad` here, or add an SLO on the same controls with `sli: evidence_freshness` or `sli: coverage`"
                        .to_owned(),
                ),
            );
        }
    }
    for (path, at, control) in &out.places.waivers {
        if !known.is_empty() && !matches_any(control, &known) {
            let help = nearest(control, known.iter().copied()).map(|near| format!("did you mean `{near}`?"));
            push(
                ProblemSeverity::Warning,
                None,
                path,
                *at,
                format!("the waiver covers nothing: there is no control `{}`", excerpt(control)),
                help,
            );
        }
    }
    out.problems.extend(problems);
}

/// Whether `other` charges missing evidence for everything that `slo` covers.
fn charges(other: &Slo, slo: &Slo, controls: &[&Control]) -> bool {
    let kind = match other.sli {
        Sli::EvidenceFreshness | Sli::Coverage => true,
        Sli::ResourceTime | Sli::TimeSlice { .. } => other.unknown == Policy::Bad,
        Sli::RemediationLatency | Sli::Gate { .. } => false,
    };
    kind && other.composite.is_none()
        && (other.scopes.is_empty() || other.scopes == slo.scopes)
        && controls.iter().all(|c| !slo.controls.covers(c) || other.controls.covers(c))
}

fn matches_any(pattern: &str, known: &[&str]) -> bool {
    if known.contains(&pattern) {
        return true;
    }
    let Ok(glob) = globset::Glob::new(pattern) else { return true };
    let matcher = glob.compile_matcher();
    CheckSelector::is_glob(pattern) && known.iter().any(|k| matcher.is_match(k))
}

/// The formats of `checks`, if every one of them lists only violations.
pub(super) fn violations_only(checks: &[CheckSelector]) -> Option<Vec<&str>> {
    let mut out = Vec::new();
    for check in checks {
        let format = check.format.as_deref()?;
        if !Format::from_word(format)?.violations_only() {
            return None;
        }
        if !out.contains(&format) {
            out.push(format);
        }
    }
    Some(out)
}

pub(super) fn format_suggestion(found: &str) -> String {
    let known: Vec<&str> = Format::ALL.iter().map(|f| f.word()).chain(["jsonpath"]).collect();
    let lower = found.to_lowercase();
    // What people call it, where that is far from our word.
    let alias = [
        ("prowler", "ocsf"),
        ("security_hub", "asff"),
        ("securityhub", "asff"),
        ("openscap", "xccdf"),
        ("arf", "xccdf"),
        ("scap", "xccdf"),
        ("kyverno", "policy_report"),
        ("cinc", "inspec"),
        ("zizmor", "sarif"),
        ("custodian", "cloud_custodian"),
        ("snyk", "snyk_iac"),
        ("steampipe", "powerpipe"),
        ("json", "jsonpath"),
        ("csv", "jsonpath"),
        ("ndjson", "native"),
    ];
    match alias.iter().find(|(name, _)| *name == lower) {
        Some((_, word)) => format!("its documents are read as `{word}`"),
        None => suggestion(found, &known, "formats are"),
    }
}

pub(super) fn words<T: Copy>(all: &[T], word: impl Fn(T) -> &'static str) -> Vec<&'static str> {
    all.iter().map(|w| word(*w)).collect()
}

fn prose(table: &Table<'_, '_>, key: &str) -> String {
    table.text(key).map_or_else(String::new, |t| t.value.trim().to_owned())
}
