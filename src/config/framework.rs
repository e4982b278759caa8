//! `kind: Framework`: the requirements of a law or standard, by id and title, so that a control that names one that
//! does not exist is noticed, and people can read what an id means.

use super::definitions::Places;
use super::errors::{ConfigProblem, ProblemSeverity, Report, nearest};
use super::yaml::{At, Node, Table, Value};
use crate::domain::{Control, Framework, FrameworkRequirement};
use std::collections::BTreeSet;

pub(super) const FRAMEWORK_KEYS: &[&str] = &["title", "version", "requirements"];
pub(super) const REQUIREMENT_KEYS: &[&str] = &["id", "title", "parent"];

/// Reads the document's `spec`.
pub(super) fn read(name: Option<&At<String>>, spec: &Node, report: &Report) -> Option<Framework> {
    let none = |_: &str| None;
    let table = Table::open(spec, "spec of a framework", FRAMEWORK_KEYS, report, none)?;
    let title = table.required("title", "say what the framework is called, for instance `title: NIST SP 800-53 revision 5`");
    let version = table.text("version");
    if table.node("requirements").is_none() {
        table.missing("requirements", "list them: `- { id: AC-2, title: Account Management }`");
        return None;
    }
    if let Some(node) = table.node("requirements")
        && matches!(&node.value, Value::List(items) if items.is_empty())
    {
        report.error(node.at, "`requirements` is empty: a framework without requirements asks for nothing");
    }
    let mut requirements: Vec<FrameworkRequirement> = Vec::new();
    let mut known = BTreeSet::new();
    let mut parents = Vec::new();
    for item in table.list("requirements") {
        let what = item.named("requirement", "id");
        let Some(row) = Table::open(item, &what, REQUIREMENT_KEYS, report, none) else { continue };
        let id = row.required("id", "quote ids that look like numbers: `id: \"3.10\"`");
        let title = row.required("title", "say in a few words what it asks for");
        let parent = row.text("parent");
        let (Some(id), Some(title)) = (id, title) else { continue };
        if !known.insert(id.value.clone()) {
            report.error(id.at, format!("requirement `{}` stands there twice", id.value));
            continue;
        }
        parents.extend(parent.clone());
        requirements.push(FrameworkRequirement { id: id.value, title: title.value.trim().to_owned(), parent: parent.map(|p| p.value) });
    }
    for parent in parents.iter().filter(|p| !known.contains(&p.value)) {
        let message = format!("the parent `{}` is no requirement of this framework", parent.value);
        match nearest(&parent.value, known.iter().map(String::as_str)) {
            Some(near) => report.error_help(parent.at, message, format!("did you mean `{near}`?")),
            None => report.error(parent.at, message),
        }
    }
    let name = name?;
    let lower = name.value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.');
    if !lower {
        report.error_help(
            name.at,
            format!("`{}` cannot be a framework's name", name.value),
            "use lower-case letters, digits, `-` and `.`, as in `requirements:` of controls: cis-aws-3.0, nist-800-53-r5",
        );
        return None;
    }
    Some(Framework { name: name.value.clone(), title: title?.value, version: version.map(|v| v.value).unwrap_or_default(), requirements })
}

/// Requirements that controls name and their framework does not have.
pub(super) fn unknown_requirements(frameworks: &[Framework], controls: &[&Control], places: &Places) -> Vec<ConfigProblem> {
    let mut out = Vec::new();
    for control in controls {
        for requirement in &control.requirements {
            let Some(framework) = frameworks.iter().find(|f| f.name == requirement.framework) else { continue };
            if framework.covers(&requirement.id) {
                continue;
            }
            let (path, at) = places.controls.get(&control.id).cloned().unwrap_or_default();
            let near = nearest(&requirement.id, framework.requirements.iter().map(|r| r.id.as_str()));
            out.push(ConfigProblem {
                severity: ProblemSeverity::Warning,
                code: None,
                path,
                line: at.line,
                column: at.column,
                message: format!("control `{}` names requirement `{}`, which {} does not have", control.id, requirement.id, framework.name),
                help: Some(near.map_or_else(
                    || "correct the id, or leave it out; an auditor would look for it in vain".to_owned(),
                    |near| format!("did you mean `{near}`?"),
                )),
            });
        }
    }
    out
}
