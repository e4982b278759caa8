//! ComplianceAsCode control files (`controls/*.yml`): which rules of the content serve which requirement.
//!
//! Producer: ComplianceAsCode/content 0.1.82. Specification: its developer guide, "Working with control files".
//!
//! The file's policy becomes a framework, its controls the requirements, and each rule a control of ours that serves
//! them all. Ids are texts: `1.10` is not `1.1`. A rule taken out again (`!rule`) and a variable (`var=value`) are no
//! rules. The file knows nothing of rules but their names: severities, texts and titles are in the content, which
//! `import xccdf` reads.

use super::{Draft, Entry, Framework, Ids, ImportError, Imported, Options, Set, Source, counted, cut, line, tame, write};
use crate::domain::Severity;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// What stands before a rule's name in its XCCDF id.
const PREFIX: &str = "xccdf_org.ssgproject.content_rule_";
/// Most nesting of controls and of levels.
const DEPTH: usize = 20;
const BYTES: usize = 8 << 20;
const TITLE: usize = 300;

#[derive(Deserialize)]
struct File {
    id: Option<String>,
    title: Option<String>,
    policy: Option<String>,
    version: Option<String>,
    #[serde(default)]
    levels: Vec<Level>,
    controls: Option<Vec<Control>>,
}

#[derive(Deserialize)]
struct Level {
    id: String,
    #[serde(default)]
    inherits_from: Vec<String>,
}

#[derive(Deserialize)]
struct Control {
    id: String,
    title: Option<String>,
    #[serde(default)]
    levels: Vec<String>,
    #[serde(default)]
    rules: Vec<String>,
    #[serde(default)]
    controls: Vec<Nested>,
    status: Option<String>,
}

/// Controls within a control, or the ids of others.
#[derive(Deserialize)]
#[serde(untagged)]
enum Nested {
    Control(Box<Control>),
    Id(serde::de::IgnoredAny),
}

pub(super) fn import(source: &Source, options: &Options) -> Result<Imported, ImportError> {
    let error = |message: String| ImportError::new(&source.name, message);
    if source.bytes.len() > BYTES {
        return Err(error(format!("{} bytes are more than the {BYTES} that are read", source.bytes.len())));
    }
    let text = std::str::from_utf8(&source.bytes).map_err(|_| error("not UTF-8".to_owned()))?;
    let settings = serde_yaml::options! { with_snippet: false, budget: serde_yaml::budget! { max_nodes: 500_000, max_depth: 64 } };
    let file: File = serde_yaml::from_str_with_options(text, settings).map_err(|e| {
        error(format!("not a control file of ComplianceAsCode: {e}")).help("name a file such as controls/cis_debian12.yml of the content")
    })?;
    let Some(controls) = &file.controls else {
        return Err(
            error("it has no `controls`".to_owned()).help("a policy whose controls stand in a folder beside it has to be joined first")
        );
    };
    let levels = wanted_levels(&file, options.profile.as_deref(), source)?;
    let mut walk = Walk { levels: &levels, requirements: Vec::new(), rules: BTreeMap::new(), by_hand: 0 };
    for control in controls {
        walk.control(control, None, 0).map_err(error)?;
    }
    let Walk { requirements, rules, by_hand, .. } = walk;
    if rules.is_empty() {
        return Err(error("no control names a rule".to_owned()));
    }
    let own = file.id.clone().or_else(|| file.policy.clone()).unwrap_or_else(|| "policy".to_owned());
    let name = tame(&options.name.clone().unwrap_or_else(|| own.replace('_', "-")), true);
    let title = cut(&line(file.title.as_deref().or(file.policy.as_deref()).unwrap_or(&own)), TITLE);
    let version = file.version.as_deref().map(line).filter(|v| !v.is_empty()).unwrap_or_else(|| "1.0.0".to_owned());
    let which = options.profile.as_deref().map_or_else(String::new, |l| format!(", level {l}"));
    let about = format!("Made by `bornright import cac` from {title}{which}.");
    let mut notes = vec![format!("framework {name} with {}", counted(requirements.len(), "requirement"))];
    let framework = Framework { name: name.clone(), title, version: version.clone(), about: vec![about.clone()], requirements };
    let mut told = vec!["The file gives no severities: all are medium until somebody says otherwise.".to_owned()];
    if options.owner.is_none() {
        told.push("The owner is `unassigned`: name one with --owner.".to_owned());
    }
    if by_hand > 0 {
        told.push(format!("{} without a rule: no scanner can check them.", counted(by_hand, "requirement")));
    }
    let mut made = Ids::default();
    let drafts: Vec<Draft> = rules
        .into_iter()
        .map(|(rule, ids)| Draft {
            id: made.make(&options.prefix, &rule),
            title: cut(&title_of(&rule), TITLE),
            severity: Severity::Medium,
            requirements: BTreeMap::from([(name.clone(), ids)]),
            checks: vec![(Some(options.format.clone().unwrap_or_else(|| "xccdf".to_owned())), format!("{PREFIX}{rule}"))],
            rationale: String::new(),
            remediation: String::new(),
            comment: None,
        })
        .collect();
    notes.push(format!("control set {name} with {}", counted(drafts.len(), "control")));
    notes.extend(told.iter().cloned());
    let set = Set {
        name,
        version,
        owner: options.owner.clone().unwrap_or_else(|| "unassigned".to_owned()),
        about: std::iter::once(about).chain(told).collect(),
        controls: drafts,
    };
    let mut yaml = String::new();
    write::framework(&mut yaml, &framework);
    write::set(&mut yaml, &set);
    Ok(Imported { yaml, notes })
}

/// The level and all that it inherits from; none if no level is asked for.
fn wanted_levels(file: &File, wanted: Option<&str>, source: &Source) -> Result<Option<BTreeSet<String>>, ImportError> {
    let Some(wanted) = wanted else { return Ok(None) };
    let mut out = BTreeSet::new();
    let mut todo = vec![wanted.to_owned()];
    while let Some(id) = todo.pop() {
        let Some(level) = file.levels.iter().find(|l| l.id == id) else {
            let known: Vec<&str> = file.levels.iter().map(|l| l.id.as_str()).collect();
            let help = if known.is_empty() { "the file has no levels".to_owned() } else { format!("one of {}", known.join(", ")) };
            return Err(ImportError::new(&source.name, format!("there is no level `{}`", cut(&line(&id), 100))).help(help));
        };
        if out.insert(id) {
            todo.extend(level.inherits_from.iter().cloned());
        }
    }
    Ok(Some(out))
}

struct Walk<'l> {
    levels: &'l Option<BTreeSet<String>>,
    requirements: Vec<Entry>,
    rules: BTreeMap<String, BTreeSet<String>>,
    by_hand: usize,
}

impl Walk<'_> {
    fn control(&mut self, control: &Control, parent: Option<&str>, depth: usize) -> Result<(), String> {
        if depth > DEPTH {
            return Err(format!("controls are nested deeper than {DEPTH}"));
        }
        let id = cut(&line(&control.id), 200);
        // A control without levels belongs to all of them.
        let within = self.levels.as_ref().is_none_or(|l| control.levels.is_empty() || control.levels.iter().any(|x| l.contains(x)));
        let applies = !control.status.as_deref().is_some_and(|s| s.eq_ignore_ascii_case("not applicable"));
        if within && applies && !id.is_empty() {
            if self.requirements.iter().any(|r| r.id == id) {
                return Err(format!("control `{id}` stands there twice"));
            }
            let title = control.title.as_deref().map(line).filter(|t| !t.is_empty()).unwrap_or_else(|| id.clone());
            let known = parent.filter(|p| self.requirements.iter().any(|r| r.id == *p)).map(str::to_owned);
            self.requirements.push(Entry { id: id.clone(), title: cut(&title, TITLE), parent: known });
            let mut any = !control.controls.is_empty();
            for rule in &control.rules {
                let rule = line(rule);
                if !rule.is_empty() && !rule.starts_with('!') && !rule.contains('=') {
                    any = true;
                    self.rules.entry(rule).or_default().insert(id.clone());
                }
            }
            self.by_hand += usize::from(!any);
        }
        for nested in &control.controls {
            if let Nested::Control(nested) = nested {
                self.control(nested, Some(&id), depth + 1)?;
            }
        }
        Ok(())
    }
}

/// `Sshd disable root login`, for want of the title that the content has.
fn title_of(rule: &str) -> String {
    let words = rule.replace(['_', '-'], " ");
    let mut chars = words.chars();
    chars.next().map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}
