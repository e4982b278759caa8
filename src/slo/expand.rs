//! `for_each: scope`: one objective written once, one for each scope in force.

use super::{Member, Slo};
use std::collections::{BTreeMap, BTreeSet};

/// The SLOs in force when these scopes are known.
///
/// Each SLO with `for_each: scope` gives way to one for every scope that it covers; a composite that names it gets all of
/// those as members, each with the weight that was said. SLOs without it stay as they are, in their order. Of two that
/// would bear one id (scopes that differ only in characters an id cannot have) the first stays; the second is in
/// [`Expanded::clashes`].
pub fn expand<'s>(slos: &[Slo], scopes: impl IntoIterator<Item = &'s str>) -> Expanded {
    let scopes: BTreeSet<&str> = scopes.into_iter().collect();
    let mut out = Expanded::default();
    let mut made: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut taken: BTreeSet<String> = slos.iter().filter(|s| !s.for_each_scope).map(Slo::id).collect();
    for slo in slos {
        if !slo.for_each_scope {
            out.slos.push(slo.clone());
            continue;
        }
        let ids = made.entry(slo.id()).or_default();
        for scope in scopes.iter().filter(|s| slo.covers_scope(s)) {
            let one = slo.for_scope(scope);
            let id = one.id();
            if taken.insert(id.clone()) {
                ids.push(id);
                out.slos.push(one);
            } else {
                out.clashes.push((id, (*scope).to_owned()));
            }
        }
        if ids.is_empty() {
            out.empty.push(slo.id());
        }
    }
    for composite in out.slos.iter_mut().filter_map(|s| s.composite.as_mut()) {
        composite.members = std::mem::take(&mut composite.members)
            .into_iter()
            .flat_map(|m| match made.get(&m.slo) {
                Some(ids) => ids.iter().map(|id| Member { slo: id.clone(), weight: m.weight }).collect(),
                None => vec![m],
            })
            .collect();
    }
    out
}

/// What [`expand`] made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expanded {
    /// The SLOs in force; none of them says `for_each` any more.
    pub slos: Vec<Slo>,
    /// Ids of SLOs with `for_each` for which no scope is known: there is no promise until there is one.
    pub empty: Vec<String>,
    /// (id, scope) of SLOs that were left out because another one bears the id.
    pub clashes: Vec<(String, String)>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Span;
    use crate::slo::{Composite, CompositeMode, ControlSelector};

    #[test]
    fn one_for_each_scope_and_composites_follow() {
        let new = |name: &str| Slo::new("p", name, ControlSelector::default(), 0.99, Span::DAY.times(30));
        let each = Slo { for_each_scope: true, scopes: vec!["prod-*".to_owned()], ..new("storage") };
        let none = Slo { for_each_scope: true, scopes: vec!["dev-*".to_owned()], ..new("dev") };
        let members = ["p-storage", "p-other"].map(|id| Member { slo: id.to_owned(), weight: 2.0 }).to_vec();
        let all = Slo { composite: Some(Composite { mode: CompositeMode::Weighted, members, missing_is_bad: false }), ..new("all") };
        let found = expand(&[each, new("other"), none, all], ["prod-us", "prod-eu", "stage", "prod/us"]);
        // `prod/us` is no scope of `prod-*`, so nothing clashes.
        assert_eq!(found.slos.iter().map(Slo::id).collect::<Vec<_>>(), ["p-storage-prod-eu", "p-storage-prod-us", "p-other", "p-all"]);
        let eu = &found.slos[0];
        assert!(!eu.for_each_scope && eu.scope.as_deref() == Some("prod-eu") && eu.covers_scope("prod-eu") && !eu.covers_scope("prod-us"));
        let members = &found.slos[3].composite.as_ref().expect("it is one").members;
        let shown: Vec<_> = members.iter().map(|m| (m.slo.as_str(), m.weight)).collect();
        assert_eq!(shown, [("p-storage-prod-eu", 2.0), ("p-storage-prod-us", 2.0), ("p-other", 2.0)]);
        assert_eq!(found.empty, ["p-dev"]);
    }

    #[test]
    fn scopes_that_differ_only_in_what_an_id_cannot_have_clash() {
        let slo = Slo { for_each_scope: true, ..Slo::new("p", "s", ControlSelector::default(), 0.99, Span::DAY) };
        let found = expand(&[slo], ["a/b", "a b"]);
        assert_eq!(found.slos.len(), 1);
        assert_eq!(found.clashes, [("p-s-a-b".to_owned(), "a/b".to_owned())]);
    }
}
