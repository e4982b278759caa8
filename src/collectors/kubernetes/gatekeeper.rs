//! Gatekeeper's constraints, and how many objects each selects.
//!
//! A constraint's status lists what violates it, 20 objects by default, and the true number. What complies is never listed,
//! so the cluster is asked for the metadata of every kind that a constraint selects from; what it selects goes line by line
//! into the document, behind it the constraint with their number. Objects that are younger than the audit are left out:
//! nobody has looked at them. If a kind cannot be listed, the constraints that select from it have no number.

use super::super::client::{Spool, problem};
use super::super::session::{Part, Run};
use super::api::{Cluster as Api, Groups as Served, Resource};
use super::select::{Exclusions, Groups, Kind, Labels, Match, Object};
use super::{Config, Kinds, watch};
use crate::clock;
use crate::domain::{Moment, Problem, ProblemKind, Span};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

/// All constraints together are held in memory. A thousand of them, each with 500 violations, have some 150 MiB.
const CONSTRAINT_BYTES: usize = 256 << 20;

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: Name,
    #[serde(default, borrow)]
    spec: Option<Spec<'a>>,
    #[serde(default)]
    status: Option<Status>,
}

#[derive(Default, Deserialize)]
struct Name {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct Spec<'a> {
    #[serde(default, rename = "match", borrow)]
    selects: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Status {
    #[serde(default, rename = "auditTimestamp")]
    audited: Option<String>,
    #[serde(default, rename = "totalViolations")]
    total: Option<u64>,
    #[serde(default)]
    violations: Option<Vec<Violation>>,
}

#[derive(Deserialize)]
struct Violation {
    #[serde(default)]
    group: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: String,
}

/// What of a constraint means something: not the time of its last audit, nor who wrote it.
#[derive(Deserialize)]
struct Meaning<'a> {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: Name,
    #[serde(default, borrow)]
    spec: Option<&'a RawValue>,
    #[serde(default, borrow)]
    status: Option<Found<'a>>,
}

#[derive(Deserialize)]
struct Found<'a> {
    #[serde(default, rename = "totalViolations", borrow)]
    total: Option<&'a RawValue>,
    #[serde(default, borrow)]
    violations: Option<&'a RawValue>,
}

/// A constraint's name and a digest of what it says.
pub(super) fn fingerprint(object: &str) -> Option<(String, [u8; 32])> {
    let meaning: Meaning<'_> = serde_json::from_str(object).ok()?;
    let mut hash = Sha256::new();
    let found = meaning.status.as_ref();
    for part in [meaning.spec, found.and_then(|f| f.total), found.and_then(|f| f.violations)] {
        hash.update(part.map_or("", RawValue::get));
        hash.update([0]);
    }
    Some((format!("{}/{}", meaning.kind, meaning.metadata.name), hash.finalize().into()))
}

/// A constraint that was listed.
struct Constraint {
    check: String,
    raw: Box<RawValue>,
    selects: Match,
    /// Objects listed as violating: group, kind, namespace, name.
    listed: BTreeSet<(String, String, String, String)>,
    capped: Option<(u64, u64)>,
    audited: Option<Moment>,
    /// Objects selected, as far as is known.
    selected: u64,
    /// Whether that is all of them.
    counted: bool,
}

impl Constraint {
    fn new(raw: &RawValue, problems: &mut Vec<Problem>, place: &str) -> Option<Constraint> {
        let head: Head<'_> = serde_json::from_str(raw.get()).ok()?;
        let check = format!("{}/{}", head.kind, head.metadata.name);
        let mut counted = true;
        let selects = match head.spec.and_then(|s| s.selects) {
            None => Match::default(),
            Some(text) => serde_json::from_str(text.get()).unwrap_or_else(|e| {
                counted = false;
                problems.push(problem(ProblemKind::Malformed, place, format!("constraint {check}: its `match` cannot be read: {e}")));
                Match::default()
            }),
        };
        if let Some(why) = selects.unclear() {
            counted = false;
            problems.push(problem(ProblemKind::Incomplete, place, format!("constraint {check} {why}; its population is not counted")));
        }
        let status = head.status.unwrap_or_default();
        let violations = status.violations.unwrap_or_default();
        let (total, rows) = (status.total.unwrap_or(0), violations.len() as u64);
        Some(Constraint {
            check,
            raw: raw.to_owned(),
            selects,
            listed: violations.into_iter().map(|v| (v.group, v.kind, v.namespace, v.name)).collect(),
            capped: (total > rows).then_some((rows, total)),
            audited: status.audited.and_then(|a| a.parse::<jiff::Timestamp>().ok()).map(Moment::from),
            selected: 0,
            counted,
        })
    }
}

#[derive(Serialize)]
struct Member<'a> {
    #[serde(rename = "apiVersion")]
    version: &'static str,
    kind: &'static str,
    constraint: &'a str,
    object: MemberObject<'a>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    counted: bool,
}

#[derive(Serialize)]
struct MemberObject<'a> {
    group: &'a str,
    kind: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    name: &'a str,
}

#[derive(Serialize)]
struct Selected<'a> {
    #[serde(rename = "apiVersion")]
    version: &'static str,
    kind: &'static str,
    selected: Option<u64>,
    constraint: &'a RawValue,
}

const VERSION: &str = "bornright/v1";

/// Brings all constraints and their populations.
pub(super) async fn bring(run: &Run, api: &Arc<Api>, config: &Config, kinds: Kinds, part: &mut Part, seen: &mut watch::Seen) {
    let place = api.place();
    let mut constraints: Vec<Constraint> = Vec::new();
    for resource in &kinds.resources {
        match constraints_of(run, api, resource, part, seen).await {
            Ok(found) => constraints.extend(found),
            Err(problem) => part.fail(problem),
        }
    }
    let now = clock::now();
    for c in &constraints {
        if let Some((rows, total)) = c.capped {
            let message = format!(
                "constraint {} lists {rows} of its {total} violations: which other objects violate it is not known, only how many at most; help: raise Gatekeeper's --constraint-violations-limit",
                c.check
            );
            part.problems.push(problem(ProblemKind::Limit, &place, message));
        }
        let age = c.audited.map_or(Span(0), |at| now.since(at));
        if age > config.audit_max_age {
            let message = format!(
                "constraint {} was audited {age} ago, more than audit_max_age ({}) allows; help: does the audit pod run?",
                c.check, config.audit_max_age
            );
            part.fail(problem(ProblemKind::Incomplete, &place, message));
        }
    }
    let mut spool = match Spool::new() {
        Ok(spool) => spool,
        Err(problem) => return part.fail(problem),
    };
    if config.population {
        count(run, api, &kinds.groups, &mut constraints, &mut spool, part).await;
    }
    for c in &constraints {
        let selected =
            Selected { version: VERSION, kind: "SelectedConstraint", selected: c.counted.then_some(c.selected), constraint: &c.raw };
        let written = if config.population { line(&selected) } else { line(&c.raw) };
        if let Err(problem) = written.and_then(|l| spool.write(&l)) {
            return part.fail(problem);
        }
    }
    if constraints.is_empty() && part.complete {
        part.fail(problem(ProblemKind::Empty, place, "there is not one constraint: nothing is checked"));
    }
    part.keep(spool);
}

fn line(value: &impl Serialize) -> Result<Vec<u8>, Problem> {
    let mut bytes = serde_json::to_vec(value).map_err(|e| problem(ProblemKind::Internal, "gatekeeper", e.to_string()))?;
    bytes.push(b'\n');
    Ok(bytes)
}

async fn constraints_of(
    run: &Run,
    api: &Api,
    resource: &Resource,
    part: &mut Part,
    seen: &mut watch::Seen,
) -> Result<Vec<Constraint>, Problem> {
    #[derive(Default)]
    struct Heard {
        constraints: Vec<Constraint>,
        problems: Vec<Problem>,
        held: HashMap<String, [u8; 32]>,
        bytes: usize,
    }
    let place = api.place();
    let mut scratch = Spool::new()?;
    let mut heard = Heard::default();
    let listed = api
        .list(run, resource, None, false, &mut scratch, |body| {
            let Some(body) = body else {
                heard = Heard::default();
                return Ok(());
            };
            let page: Page<'_> = serde_json::from_slice(body)
                .map_err(|e| problem(ProblemKind::Source, &place, format!("a page of {} cannot be read: {e}", resource.name())))?;
            for raw in page.items {
                heard.bytes += raw.get().len();
                if heard.bytes > CONSTRAINT_BYTES {
                    return Err(problem(
                        ProblemKind::Limit,
                        &place,
                        format!("the constraints of {} have more than {CONSTRAINT_BYTES} bytes", resource.name()),
                    ));
                }
                heard.held.extend(fingerprint(raw.get()));
                match Constraint::new(raw, &mut heard.problems, &place) {
                    Some(constraint) => heard.constraints.push(constraint),
                    None => {
                        heard.problems.push(problem(
                            ProblemKind::Malformed,
                            &place,
                            format!("an item of {} is no constraint", resource.name()),
                        ));
                    }
                }
            }
            Ok(())
        })
        .await;
    for problem in heard.problems {
        part.fail(problem);
    }
    match listed {
        Ok(version) => seen.note_with(resource, None, version, Some(heard.held)),
        // What came before the fault is true, and the run is partial.
        Err(problem) if !heard.constraints.is_empty() => part.fail(problem),
        Err(problem) => return Err(problem),
    }
    Ok(heard.constraints)
}

/// Marks what cannot be counted, and says why once.
fn uncounted(constraints: &mut [Constraint], which: impl Fn(&Constraint) -> bool, part: &mut Part, problem: Problem) {
    for c in constraints.iter_mut().filter(|c| which(c)) {
        c.counted = false;
    }
    part.fail(problem);
}

/// Asks the cluster for the objects that each constraint selects, and writes a line for each.
async fn count(run: &Run, api: &Arc<Api>, served: &Served, constraints: &mut [Constraint], spool: &mut Spool, part: &mut Part) {
    let exclusions = match exclusions(run, api, served).await {
        Ok(exclusions) => exclusions,
        Err(problem) => return uncounted(constraints, |_| true, part, problem),
    };
    let mut namespaces = BTreeMap::new();
    if constraints.iter().any(|c| c.counted && c.selects.asks_namespaces()) {
        match labels_of_namespaces(run, api).await {
            Ok(found) => namespaces = found,
            Err(problem) => uncounted(constraints, |c| c.selects.asks_namespaces(), part, problem),
        }
    }
    let mut groups: BTreeSet<String> = BTreeSet::new();
    for c in constraints.iter().filter(|c| c.counted) {
        match c.selects.groups() {
            Groups::All => groups.extend(served.keys().cloned().chain([String::new()])),
            Groups::Named(named) => groups.extend(named.into_iter().map(str::to_owned)),
        }
    }
    for group in groups {
        let version = if group.is_empty() { Some("v1") } else { served.get(&group).map(String::as_str) };
        // A group that is not served has no objects.
        let Some(version) = version else { continue };
        let resources = match api.resources(run, &group, version).await {
            Ok(resources) => resources,
            Err(problem) => {
                let concerns = |c: &Constraint| match c.selects.groups() {
                    Groups::All => true,
                    Groups::Named(named) => named.contains(&group.as_str()),
                };
                uncounted(constraints, concerns, part, problem);
                continue;
            }
        };
        let mut done = HashSet::new();
        for resource in resources.iter().filter(|r| r.lists) {
            let kind = Kind { group: group.clone(), kind: resource.kind.clone() };
            // Two names for one kind would count it twice.
            if !constraints.iter().any(|c| c.counted && c.selects.takes(&kind)) || !done.insert(resource.kind.clone()) {
                continue;
            }
            let start = spool.len();
            match count_kind(run, api, resource, &kind, constraints, &exclusions, &namespaces, spool).await {
                Ok(counts) => constraints.iter_mut().zip(counts).for_each(|(c, n)| c.selected += n),
                Err(problem) => {
                    if let Err(problem) = spool.cut(start) {
                        part.fail(problem);
                    }
                    uncounted(constraints, |c| c.selects.takes(&kind), part, problem);
                }
            }
        }
    }
}

#[derive(Deserialize)]
struct Objects {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(flatten)]
    object: Object,
    #[serde(default, rename = "creationTimestamp")]
    created: Option<String>,
}

/// Counts the objects of one kind for each constraint.
#[expect(clippy::too_many_arguments, reason = "each is another thing that decides what is selected")]
async fn count_kind(
    run: &Run,
    api: &Api,
    resource: &Resource,
    kind: &Kind,
    constraints: &[Constraint],
    exclusions: &Exclusions,
    namespaces: &BTreeMap<String, Labels>,
    spool: &mut Spool,
) -> Result<Vec<u64>, Problem> {
    let place = api.place();
    let start = spool.len();
    let takers: Vec<usize> = constraints.iter().enumerate().filter(|(_, c)| c.counted && c.selects.takes(kind)).map(|(i, _)| i).collect();
    let counts = Mutex::new(vec![0u64; constraints.len()]);
    let spool = Mutex::new(spool);
    let mut scratch = Spool::new()?;
    api.list(run, resource, None, true, &mut scratch, |body| {
        let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut spool = spool.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(body) = body else {
            counts.fill(0);
            return spool.cut(start);
        };
        let page: Objects = serde_json::from_slice(body)
            .map_err(|e| problem(ProblemKind::Source, &place, format!("a page of {} cannot be read: {e}", resource.name())))?;
        for Item { metadata: Metadata { object, created } } in page.items {
            if exclusions.hides(kind, &object) {
                continue;
            }
            let created = created.and_then(|c| c.parse::<jiff::Timestamp>().ok()).map(Moment::from);
            for &i in &takers {
                let c = &constraints[i];
                let unseen = created.zip(c.audited).is_some_and(|(created, audited)| created > audited);
                if unseen || !c.selects.selects(kind, &object, namespaces) {
                    continue;
                }
                counts[i] += 1;
                let namespace = object.namespace.as_deref().unwrap_or_default();
                let key = (kind.group.clone(), kind.kind.clone(), namespace.to_owned(), object.name.clone());
                let member = Member {
                    version: VERSION,
                    kind: "ConstraintMember",
                    constraint: &c.check,
                    object: MemberObject { group: &kind.group, kind: &kind.kind, namespace, name: &object.name },
                    counted: c.capped.is_some() && !c.listed.contains(&key),
                };
                spool.write(&line(&member)?)?;
            }
        }
        Ok(())
    })
    .await?;
    Ok(counts.into_inner().unwrap_or_else(PoisonError::into_inner))
}

async fn exclusions(run: &Run, api: &Api, served: &Served) -> Result<Exclusions, Problem> {
    #[derive(Deserialize)]
    struct Configs {
        items: Vec<Configuration>,
    }
    #[derive(Deserialize)]
    struct Configuration {
        metadata: Name,
        #[serde(default)]
        spec: Option<Exclusions>,
    }
    const GROUP: &str = "config.gatekeeper.sh";
    let Some(version) = served.get(GROUP) else { return Ok(Exclusions::default()) };
    let resource = Resource {
        group: GROUP.to_owned(),
        version: version.clone(),
        plural: "configs".to_owned(),
        kind: "Config".to_owned(),
        namespaced: true,
        lists: true,
    };
    let mut found = Exclusions::default();
    let mut scratch = Spool::new()?;
    let place = api.place();
    let wrong = |e: serde_json::Error| problem(ProblemKind::Source, &place, format!("Gatekeeper's Config cannot be read: {e}"));
    api.list(run, &resource, None, false, &mut scratch, |body| {
        let Some(body) = body else { return Ok(()) };
        let page: Configs = serde_json::from_slice(body).map_err(wrong)?;
        // Gatekeeper itself reads the one of this name only.
        if let Some(config) = page.items.into_iter().find(|c| c.metadata.name == "config") {
            found = config.spec.unwrap_or_default();
        }
        Ok(())
    })
    .await?;
    Ok(found)
}

async fn labels_of_namespaces(run: &Run, api: &Api) -> Result<BTreeMap<String, Labels>, Problem> {
    let resource = Resource {
        group: String::new(),
        version: "v1".to_owned(),
        plural: "namespaces".to_owned(),
        kind: "Namespace".to_owned(),
        namespaced: false,
        lists: true,
    };
    let mut found = BTreeMap::new();
    let mut scratch = Spool::new()?;
    let place = api.place();
    api.list(run, &resource, None, true, &mut scratch, |body| {
        let Some(body) = body else {
            found.clear();
            return Ok(());
        };
        let page: Objects = serde_json::from_slice(body)
            .map_err(|e| problem(ProblemKind::Source, &place, format!("a page of namespaces cannot be read: {e}")))?;
        found.extend(page.items.into_iter().map(|i| (i.metadata.object.name, i.metadata.object.labels.unwrap_or_default())));
        Ok(())
    })
    .await?;
    Ok(found)
}
