//! OSCAL 1.0 to 1.2 in JSON: catalogs and profiles become frameworks, component definitions become control sets.
//!
//! Specification: <https://pages.nist.gov/OSCAL/>. Producers read: NIST's own content, compliance-trestle.
//!
//! A catalog's control is a requirement, with the id that people write (`AC-6(2)`: the label), not the one that programs
//! do (`ac-6.2`), since that is how scanners and shipped sets name it. Withdrawn controls are left out. A profile is
//! resolved from the documents given: its imports, `with-ids`, `matching`, children, exclusions. What it alters in the
//! text of controls does not matter here: a framework has ids and titles.
//!
//! Component definitions name rules and checks by the properties `Rule_Id`, `Rule_Description`, `Check_Id` and
//! `Policy_Id`, held together by their remarks, as OSCAL Compass writes them; `implemented-requirements` say which
//! requirements a rule serves. They give no severity.

use super::references::ids as split_ids;
use super::{Draft, Entry, Framework, Ids, ImportError, Imported, Options, Set, Source, counted, cut, line, tame, write};
use crate::domain::Severity;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Of one document. NIST's whole catalog has 10 MB.
const BYTES: usize = 48 << 20;
/// Deepest nesting of groups and controls, and of profiles that import one another.
const DEPTH: usize = 20;
/// Most controls, rules and checks.
const ITEMS: usize = 50_000;
const TITLE: usize = 300;

pub(super) fn import(sources: &[Source], options: &Options) -> Result<Imported, ImportError> {
    let mut documents = Vec::new();
    for source in sources {
        documents.push(Document::read(source)?);
    }
    let shelf = Shelf { documents: &documents, options };
    let mut notes = Vec::new();
    let mut frameworks = Vec::new();
    // A profile is what is wanted of the catalogs beside it; a catalog alone is wanted whole.
    let kinds = |kind: &'static str| documents.iter().filter(move |d| d.kind == kind);
    if kinds("profile").next().is_some() {
        let imported: BTreeSet<usize> = shelf.imported_profiles();
        for (i, document) in documents.iter().enumerate().filter(|(_, d)| d.kind == "profile") {
            if !imported.contains(&i) {
                frameworks.push(shelf.resolved(document, &mut notes)?);
            }
        }
    } else if kinds("component-definition").next().is_none() {
        for document in kinds("catalog") {
            frameworks.push(shelf.whole(document, &mut notes)?);
        }
    }
    if frameworks.is_empty()
        && let Some(profile) = kinds("profile").next()
    {
        return Err(shelf.error(profile, "the profiles given import one another in a circle"));
    }
    let mut sets = Vec::new();
    for document in kinds("component-definition") {
        sets.push(shelf.crosswalk(document, &mut notes)?);
    }
    if frameworks.len() + sets.len() > 1 && options.name.is_some() {
        let many = frameworks.len() + sets.len();
        return Err(ImportError::new(&sources[0].name, format!("--name is for one document, and {many} would be made"))
            .help("import them one by one"));
    }
    let mut yaml = String::new();
    for framework in &frameworks {
        write::framework(&mut yaml, framework);
    }
    for set in &sets {
        write::set(&mut yaml, set);
    }
    Ok(Imported { yaml, notes })
}

struct Document<'s> {
    source: &'s Source,
    kind: &'static str,
    body: Value,
}

impl<'s> Document<'s> {
    fn read(source: &'s Source) -> Result<Document<'s>, ImportError> {
        if source.bytes.len() > BYTES {
            return Err(ImportError::new(&source.name, format!("{} bytes are more than the {BYTES} that are read", source.bytes.len())));
        }
        let wrong = |what: String| {
            ImportError::new(&source.name, format!("{what}; expected an OSCAL catalog, profile or component definition in JSON"))
        };
        let first = source.bytes.iter().find(|b| !b.is_ascii_whitespace());
        if first == Some(&b'<') {
            return Err(wrong("this is XML".to_owned())
                .help("NIST publishes the same content as JSON; other content can be converted with oscal-cli"));
        }
        let mut value: Value = serde_json::from_slice(&source.bytes).map_err(|e| wrong(format!("not JSON: {e}")))?;
        let kinds = ["catalog", "profile", "component-definition"];
        let found = kinds.iter().find(|k| value.get(**k).is_some_and(Value::is_object));
        match found {
            Some(kind) => Ok(Document { source, kind, body: value[*kind].take() }),
            None => {
                let key = value.as_object().and_then(|o| o.keys().find(|k| k.as_str() != "$schema")).map_or("nothing that is known", |k| k);
                let help = match key {
                    "assessment-results" => "results are findings: use `format: oscal` with a collector",
                    _ => "name the document that lists requirements or rules",
                };
                Err(wrong(format!("found `{}`", cut(&line(key), 60))).help(help))
            }
        }
    }

    fn title(&self) -> String {
        cut(&line(self.body["metadata"]["title"].as_str().unwrap_or_default()), TITLE)
    }

    fn version(&self) -> String {
        let version = line(self.body["metadata"]["version"].as_str().unwrap_or_default());
        if version.is_empty() { "1.0.0".to_owned() } else { cut(&version, 60) }
    }
}

/// A control of a catalog.
#[derive(Clone)]
struct Known {
    id: String,
    entry: Entry,
    parent: Option<String>,
    withdrawn: bool,
}

struct Shelf<'d> {
    documents: &'d [Document<'d>],
    options: &'d Options,
}

impl Shelf<'_> {
    fn error(&self, document: &Document<'_>, message: impl Into<String>) -> ImportError {
        ImportError::new(&document.source.name, message)
    }

    /// All controls of a catalog in its order, groups and controls flattened.
    fn controls(&self, document: &Document<'_>) -> Result<Vec<Known>, ImportError> {
        let mut out = Vec::new();
        self.gather(document, &document.body, None, 0, &mut out)?;
        Ok(out)
    }

    fn gather(
        &self,
        document: &Document<'_>,
        at: &Value,
        parent: Option<(&str, &str)>,
        depth: usize,
        out: &mut Vec<Known>,
    ) -> Result<(), ImportError> {
        if depth > DEPTH {
            return Err(self.error(document, format!("groups and controls are nested deeper than {DEPTH}")));
        }
        for group in list(at, "groups") {
            self.gather(document, group, parent, depth + 1, out)?;
        }
        for control in list(at, "controls") {
            let Some(id) = control["id"].as_str() else {
                return Err(self.error(document, format!("a control without an id, titled `{}`", text(control, "title"))));
            };
            if out.len() == ITEMS {
                return Err(self.error(document, format!("more than {ITEMS} controls")));
            }
            let label = label(control, id);
            let withdrawn =
                list(control, "props").any(|p| text(p, "name") == "status" && text(p, "value").eq_ignore_ascii_case("withdrawn"));
            out.push(Known {
                id: id.to_owned(),
                entry: Entry {
                    id: label.clone(),
                    title: cut(&line(&text(control, "title")), TITLE),
                    parent: parent.map(|p| p.1.to_owned()),
                },
                parent: parent.map(|p| p.0.to_owned()),
                withdrawn,
            });
            self.gather(document, control, Some((id, &label)), depth + 1, out)?;
        }
        Ok(())
    }

    fn whole(&self, document: &Document<'_>, notes: &mut Vec<String>) -> Result<Framework, ImportError> {
        let controls = self.controls(document)?;
        let withdrawn = controls.iter().filter(|c| c.withdrawn).count();
        let kept: Vec<Known> = controls.into_iter().filter(|c| !c.withdrawn).collect();
        let mut about = vec![format!("Made by `bornright import oscal` from the catalog {} {}.", document.title(), document.version())];
        if withdrawn > 0 {
            about.push(format!("Left out, because the catalog has withdrawn them: {}.", counted(withdrawn, "control")));
        }
        self.framework(document, kept, about, notes)
    }

    fn framework(
        &self,
        document: &Document<'_>,
        kept: Vec<Known>,
        about: Vec<String>,
        notes: &mut Vec<String>,
    ) -> Result<Framework, ImportError> {
        if kept.is_empty() {
            return Err(self.error(document, "no control is left of it"));
        }
        let mut seen = BTreeSet::new();
        let ids: BTreeSet<String> = kept.iter().map(|k| k.entry.id.clone()).collect();
        let mut requirements = Vec::new();
        let mut twice = 0;
        for mut known in kept {
            // A parent that is not in the selection cannot be pointed to.
            known.entry.parent = known.entry.parent.filter(|p| ids.contains(p));
            if known.entry.title.is_empty() {
                known.entry.title.clone_from(&known.entry.id);
            }
            if seen.insert(known.entry.id.clone()) { requirements.push(known.entry) } else { twice += 1 }
        }
        let name = self.options.name.clone().unwrap_or_else(|| name_of(&document.title()));
        let mut about = about;
        if twice > 0 {
            about.push(format!("Left out, because another has the same id: {}.", counted(twice, "control")));
        }
        notes.push(format!("framework {} with {}", tame(&name, true), counted(requirements.len(), "requirement")));
        notes.extend(about.iter().skip(1).cloned());
        Ok(Framework { name: tame(&name, true), title: document.title(), version: document.version(), about, requirements })
    }

    /// The documents that profiles among the given import.
    fn imported_profiles(&self) -> BTreeSet<usize> {
        let mut out = BTreeSet::new();
        for document in self.documents.iter().filter(|d| d.kind == "profile") {
            for import in list(&document.body, "imports") {
                out.extend(self.find(document, &text(import, "href")));
            }
        }
        out
    }

    /// What a reference may be called: itself, or, where it begins with `#`, what the back matter says.
    fn names(&self, from: &Document<'_>, href: &str) -> Vec<String> {
        match href.strip_prefix('#') {
            None => vec![href.to_owned()],
            Some(uuid) => list(&from.body["back-matter"], "resources")
                .filter(|r| text(r, "uuid") == uuid)
                .flat_map(|r| list(r, "rlinks").map(|l| text(l, "href")))
                .collect(),
        }
    }

    /// Which of the given documents a reference means, by the file's name without its ending.
    fn find(&self, from: &Document<'_>, href: &str) -> Option<usize> {
        let hrefs = self.names(from, href);
        let stem = |name: &str| -> String {
            let file = name.rsplit(['/', '\\']).next().unwrap_or(name);
            let file = file.strip_suffix(".gz").or_else(|| file.strip_suffix(".zst")).unwrap_or(file);
            file.rsplit_once('.').map_or(file, |(stem, _)| stem).to_owned()
        };
        let wanted: Vec<String> = hrefs.iter().map(|h| stem(h)).filter(|s| !s.is_empty()).collect();
        self.documents
            .iter()
            .position(|d| d.kind != "component-definition" && !std::ptr::eq(d, from) && wanted.iter().any(|w| *w == stem(&d.source.name)))
    }

    fn resolved(&self, document: &Document<'_>, notes: &mut Vec<String>) -> Result<Framework, ImportError> {
        let mut missing = BTreeSet::new();
        let selected = self.select(document, 0, &mut missing)?;
        let mut about = vec![format!("Made by `bornright import oscal` from the profile {} {}.", document.title(), document.version())];
        if !missing.is_empty() {
            let some: Vec<&str> = missing.iter().take(5).map(String::as_str).collect();
            about.push(format!(
                "{} that the profile names are not in the catalogs given: {}{}.",
                counted(missing.len(), "control"),
                some.join(", "),
                if missing.len() > 5 { " …" } else { "" }
            ));
        }
        let withdrawn = selected.iter().filter(|k| k.withdrawn).count();
        if withdrawn > 0 {
            about.push(format!("Left out, because the catalog has withdrawn them: {}.", counted(withdrawn, "control")));
        }
        self.framework(document, selected.into_iter().filter(|k| !k.withdrawn).collect(), about, notes)
    }

    /// The controls that a profile selects, in the order of its imports and of their catalogs.
    fn select(&self, document: &Document<'_>, depth: usize, missing: &mut BTreeSet<String>) -> Result<Vec<Known>, ImportError> {
        if depth > DEPTH {
            return Err(self.error(document, format!("profiles import one another in a circle, or more than {DEPTH} deep")));
        }
        let mut out: Vec<Known> = Vec::new();
        let mut any = false;
        for import in list(&document.body, "imports") {
            any = true;
            let href = text(import, "href");
            let Some(at) = self.find(document, &href) else {
                let also = self.names(document, &href).join(", ");
                let called = if also.is_empty() || also == href { String::new() } else { format!(" ({})", cut(&line(&also), 300)) };
                let message = format!("it imports `{}`{called}, which is not among the documents given", cut(&line(&href), 200));
                return Err(self.error(document, message).help("name that file too; nothing is fetched"));
            };
            let from = &self.documents[at];
            let all = if from.kind == "catalog" { self.controls(from)? } else { self.select(from, depth + 1, missing)? };
            // Nothing said of which: all of it.
            let whole = !import["include-all"].is_null() || import["include-controls"].is_null();
            let included = matches(list(import, "include-controls"), &all, Some(missing));
            let excluded = matches(list(import, "exclude-controls"), &all, None);
            for known in all {
                if (whole || included.contains(&known.id)) && !excluded.contains(&known.id) && !out.iter().any(|k| k.id == known.id) {
                    out.push(known);
                }
            }
        }
        if !any {
            return Err(self.error(document, "the profile imports nothing"));
        }
        Ok(out)
    }

    /// A component definition as a control set.
    fn crosswalk(&self, document: &Document<'_>, notes: &mut Vec<String>) -> Result<Set, ImportError> {
        let mut rules: BTreeMap<String, Crossing> = BTreeMap::new();
        let mut labels: BTreeMap<String, String> = BTreeMap::new();
        for catalog in self.documents.iter().filter(|d| d.kind == "catalog") {
            labels.extend(self.controls(catalog)?.into_iter().map(|k| (k.id, k.entry.id)));
        }
        let mut unnamed = BTreeSet::new();
        let mut served = 0usize;
        for component in list(&document.body, "components") {
            let mut by_remarks: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
            for prop in list(component, "props") {
                by_remarks.entry(text(prop, "remarks")).or_default().push(prop);
            }
            for props in by_remarks.values() {
                let values =
                    |name: &str| props.iter().filter(|p| text(p, "name") == name).map(|p| line(&text(p, "value"))).collect::<Vec<_>>();
                for id in values("Rule_Id") {
                    let rule = rules.entry(id).or_default();
                    if let Some(title) = values("Rule_Description").into_iter().next().filter(|_| rule.title.is_empty()) {
                        rule.title = title;
                    }
                    let mut checks = values("Check_Id");
                    if checks.is_empty() {
                        checks = values("Policy_Id");
                    }
                    rule.checks.extend(checks);
                }
            }
            for implementation in list(component, "control-implementations") {
                let source = text(implementation, "source");
                let framework = self.options.renames.framework(&source).unwrap_or_else(|| {
                    let named = implementation["description"].as_str().map(line).filter(|d| !d.is_empty()).map(|d| name_of(&cut(&d, 60)));
                    named.unwrap_or_else(|| {
                        unnamed.insert(source.clone());
                        name_of(source.rsplit('/').next().unwrap_or(&source))
                    })
                });
                for requirement in list(implementation, "implemented-requirements") {
                    let control = line(&text(requirement, "control-id"));
                    let id = labels.get(&control).cloned().unwrap_or_else(|| written(&framework, &control));
                    served += 1;
                    if served > ITEMS {
                        return Err(self.error(document, format!("more than {ITEMS} implemented requirements")));
                    }
                    for prop in list(requirement, "props").filter(|p| text(p, "name") == "Rule_Id") {
                        let rule = rules.entry(line(&text(prop, "value"))).or_default();
                        rule.requirements.entry(framework.clone()).or_default().extend(split_ids(&framework, &id));
                    }
                }
            }
        }
        rules.remove("");
        if rules.is_empty() {
            return Err(self
                .error(document, "it names no rules: no property is called `Rule_Id`")
                .help("a definition that only tells how requirements are met, in words, has nothing that a scanner could check"));
        }
        let mut made = Ids::default();
        let (mut unchecked, mut idle) = (0, 0);
        let mut controls = Vec::new();
        for (id, rule) in rules {
            let mut comment = Vec::new();
            let mut checks: Vec<String> = rule.checks.into_iter().filter(|c| !c.is_empty()).collect();
            if checks.is_empty() {
                unchecked += 1;
                comment.push("no check is named: taken for the rule's own id");
                checks.push(id.clone());
            }
            if rule.requirements.is_empty() {
                idle += 1;
                comment.push("no requirement names it");
            }
            controls.push(Draft {
                id: made.make(&self.options.prefix, &id),
                title: cut(if rule.title.is_empty() { &id } else { &rule.title }, TITLE),
                severity: Severity::Medium,
                requirements: rule.requirements,
                checks: checks.into_iter().map(|c| (self.options.format.clone(), c)).collect(),
                rationale: String::new(),
                remediation: String::new(),
                comment: (!comment.is_empty()).then(|| comment.join("; ")),
            });
        }
        let mut about =
            vec![format!("Made by `bornright import oscal` from the component definition {} {}.", document.title(), document.version())];
        about.push("OSCAL gives no severities: all are medium until somebody says otherwise.".to_owned());
        if self.options.owner.is_none() {
            about.push("The owner is `unassigned`: name one with --owner.".to_owned());
        }
        if self.options.format.is_none() {
            about.push("Checks of any format count: name the scanner's with --format.".to_owned());
        }
        if unchecked > 0 {
            about.push(format!("{} without a check of its own: the rule's id stands for it.", counted(unchecked, "rule")));
        }
        if idle > 0 {
            about.push(format!("{} that no requirement names.", counted(idle, "rule")));
        }
        for source in unnamed {
            about.push(format!("The framework of {} is a guess: name it with --framework ADDRESS=NAME.", cut(&line(&source), 200)));
        }
        let name = tame(&self.options.name.clone().unwrap_or_else(|| document.title().to_lowercase()), false);
        notes.push(format!("control set {name} with {}", counted(controls.len(), "control")));
        notes.extend(about.iter().skip(1).cloned());
        let owner = self.options.owner.clone().unwrap_or_else(|| "unassigned".to_owned());
        Ok(Set { name, version: document.version(), owner, about, controls })
    }
}

#[derive(Default)]
struct Crossing {
    title: String,
    checks: BTreeSet<String>,
    requirements: BTreeMap<String, BTreeSet<String>>,
}

/// The ids that selectors name: `with-ids`, `matching` with a glob, and children where they are asked for.
fn matches<'v>(selectors: impl Iterator<Item = &'v Value>, all: &[Known], mut missing: Option<&mut BTreeSet<String>>) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for selector in selectors {
        let mut named: BTreeSet<String> = BTreeSet::new();
        for id in list(selector, "with-ids").filter_map(Value::as_str) {
            if all.iter().any(|k| k.id == id) {
                named.insert(id.to_owned());
            } else if let Some(missing) = missing.as_deref_mut() {
                missing.insert(id.to_owned());
            }
        }
        for pattern in list(selector, "matching").map(|m| text(m, "pattern")).filter(|p| !p.is_empty()) {
            named.extend(all.iter().filter(|k| glob(&pattern, &k.id)).map(|k| k.id.clone()));
        }
        if text(selector, "with-child-controls") == "yes" {
            // Parents stand before their children.
            for known in all {
                if known.parent.as_ref().is_some_and(|p| named.contains(p)) {
                    named.insert(known.id.clone());
                }
            }
        }
        out.extend(named);
    }
    out
}

/// `*` is any run of characters, `?` one. Linear in the text for each star, whatever the pattern.
fn glob(pattern: &str, text: &str) -> bool {
    let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut i, mut j, mut star) = (0, 0, None);
    while j < t.len() {
        match p.get(i) {
            Some('*') => {
                star = Some((i, j));
                i += 1;
            }
            Some(c) if *c == '?' || *c == t[j] => {
                i += 1;
                j += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    i = at + 1;
                    j = from + 1;
                }
                None => return false,
            },
        }
    }
    p[i..].iter().all(|c| *c == '*')
}

fn list<'v>(at: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    at.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn text(at: &Value, key: &str) -> String {
    at.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// How people write the control's id: its label, of several the one without a class; else its id.
fn label(control: &Value, id: &str) -> String {
    let labels: Vec<&Value> = list(control, "props").filter(|p| text(p, "name") == "label").collect();
    let best = labels.iter().find(|p| p["class"].is_null()).or(labels.first());
    let label = best.map(|p| line(&text(p, "value"))).filter(|l| !l.is_empty());
    cut(&label.unwrap_or_else(|| line(id)), 200)
}

/// `ac-2.1` as NIST writes it, `AC-2(1)`, where no catalog says.
fn written(framework: &str, id: &str) -> String {
    if !framework.starts_with("nist-800-53") {
        return id.to_owned();
    }
    match id.split_once('.') {
        Some((base, enhancement)) if enhancement.bytes().all(|b| b.is_ascii_digit()) => format!("{}({enhancement})", base.to_uppercase()),
        _ => id.to_uppercase(),
    }
}

/// A framework's name by its title; NIST's has a name that is used everywhere else.
fn name_of(title: &str) -> String {
    if let Some((_, rest)) = title.split_once("800-53")
        && let Some((_, revision)) = rest.split_once("Rev")
        && let Some(n) = revision.chars().find(char::is_ascii_digit)
    {
        return format!("nist-800-53-r{n}");
    }
    cut(&tame(title, true), 60).replace(" …", "").trim_end_matches(['-', '.']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_end_whatever_the_pattern() {
        assert!(glob("ac-*", "ac-2.1") && glob("*", "") && glob("?c-2", "ac-2") && glob("a*b*c", "aXbYbc"));
        assert!(!glob("ac-*", "au-2") && !glob("?", "") && !glob("", "a"));
        assert!(!glob(&"a*".repeat(500), &"a".repeat(499)));
    }

    #[test]
    fn ids_are_written_as_people_do() {
        assert_eq!(written("nist-800-53-r5", "ac-2.1"), "AC-2(1)");
        assert_eq!(written("cis-1.0", "CIS-1.1.1"), "CIS-1.1.1");
        assert_eq!(name_of("NIST Special Publication 800-53 Revision 5.1.1 LOW IMPACT BASELINE"), "nist-800-53-r5");
        assert_eq!(name_of("CIS Red Hat OpenShift 4 Benchmark"), "cis-red-hat-openshift-4-benchmark");
    }
}
