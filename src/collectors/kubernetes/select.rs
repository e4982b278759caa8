//! Which objects a Gatekeeper constraint selects, by what the API says of them. Pure.
//!
//! The rules are those of Gatekeeper's own match (`spec.match`): kinds, scope, namespaces and excluded namespaces with
//! globs at either end, label selectors on the object and on its namespace, and the name. What its `Config` excludes from
//! the audit is left out too. <https://open-policy-agent.github.io/gatekeeper/website/docs/howto/#the-match-field>

use serde::Deserialize;
use std::collections::BTreeMap;

/// Labels of an object.
pub(super) type Labels = BTreeMap<String, String>;

/// What of an object decides whether it is selected.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Object {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) namespace: Option<String>,
    #[serde(default)]
    pub(super) labels: Option<Labels>,
}

impl Object {
    fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref().filter(|n| !n.is_empty())
    }
}

/// The kind of the objects looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    /// Empty for the core group.
    pub(super) group: String,
    pub(super) kind: String,
}

impl Kind {
    fn is_namespace(&self) -> bool {
        self.group.is_empty() && self.kind == "Namespace"
    }
}

/// `spec.match` of a constraint.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Match {
    #[serde(default)]
    kinds: Option<Vec<Kinds>>,
    #[serde(default)]
    scope: Option<String>,
    #[serde(default)]
    namespaces: Option<Vec<String>>,
    #[serde(default, rename = "excludedNamespaces")]
    excluded: Option<Vec<String>>,
    #[serde(default, rename = "labelSelector")]
    labels: Option<Selector>,
    #[serde(default, rename = "namespaceSelector")]
    namespace_labels: Option<Selector>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    source: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Kinds {
    #[serde(default, rename = "apiGroups")]
    groups: Option<Vec<String>>,
    #[serde(default)]
    kinds: Option<Vec<String>>,
}

/// A label selector of Kubernetes.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Selector {
    #[serde(default, rename = "matchLabels")]
    labels: Option<Labels>,
    #[serde(default, rename = "matchExpressions")]
    expressions: Option<Vec<Expression>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Expression {
    #[serde(default)]
    key: String,
    #[serde(default)]
    operator: String,
    #[serde(default)]
    values: Option<Vec<String>>,
}

/// Which groups a constraint may select from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Groups<'m> {
    /// Any group there is.
    All,
    /// These.
    Named(Vec<&'m str>),
}

fn any(list: Option<&Vec<String>>, word: &str) -> bool {
    list.is_none_or(|l| l.is_empty() || l.iter().any(|w| w == "*" || w == word))
}

impl Match {
    /// Why the objects that it selects cannot be told; `None` if they can.
    pub(super) fn unclear(&self) -> Option<String> {
        if self.source.as_deref() == Some("Generated") {
            return Some(
                "selects only objects that are generated from others (`source: Generated`), which the API does not list".to_owned(),
            );
        }
        let selectors = self.labels.iter().chain(&self.namespace_labels);
        for e in selectors.flat_map(|s| s.expressions.iter().flatten()) {
            let has_values = e.values.as_ref().is_some_and(|v| !v.is_empty());
            match e.operator.as_str() {
                "In" | "NotIn" if has_values => {}
                "Exists" | "DoesNotExist" => {}
                other => return Some(format!("has a selector with operator `{other}` of key `{}` that cannot be read", e.key)),
            }
        }
        None
    }

    /// Whether the labels of namespaces decide.
    pub(super) fn asks_namespaces(&self) -> bool {
        self.namespace_labels.is_some()
    }

    /// The API groups that have to be looked into.
    pub(super) fn groups(&self) -> Groups<'_> {
        let kinds = match &self.kinds {
            Some(kinds) if !kinds.is_empty() => kinds,
            _ => return Groups::All,
        };
        let mut named = Vec::new();
        for k in kinds {
            match &k.groups {
                Some(groups) if !groups.is_empty() && !groups.iter().any(|g| g == "*") => named.extend(groups.iter().map(String::as_str)),
                _ => return Groups::All,
            }
        }
        named.sort_unstable();
        named.dedup();
        Groups::Named(named)
    }

    /// Whether objects of this kind may be selected.
    pub(super) fn takes(&self, kind: &Kind) -> bool {
        match &self.kinds {
            Some(kinds) if !kinds.is_empty() => {
                kinds.iter().any(|k| any(k.kinds.as_ref(), &kind.kind) && any(k.groups.as_ref(), &kind.group))
            }
            _ => true,
        }
    }

    /// Whether this object of a kind that is taken is selected. `namespaces` has the labels of each namespace.
    pub(super) fn selects(&self, kind: &Kind, object: &Object, namespaces: &BTreeMap<String, Labels>) -> bool {
        let itself = kind.is_namespace();
        let namespace = if itself { Some(object.name.as_str()) } else { object.namespace() };
        let in_scope = match self.scope.as_deref() {
            Some("Cluster") => itself || object.namespace().is_none(),
            Some("Namespaced") => !itself && object.namespace().is_some(),
            _ => true,
        };
        let listed = |list: &Option<Vec<String>>| {
            list.as_ref().filter(|l| !l.is_empty()).zip(namespace).map(|(l, n)| l.iter().any(|pattern| glob(pattern, n)))
        };
        let none = Labels::new();
        let own = object.labels.as_ref().unwrap_or(&none);
        // Cluster-scoped objects have no namespace that could be asked.
        let by_namespace = |selector: &Selector| match (itself, namespace) {
            (true, _) => selector.matches(own),
            (false, None) => true,
            (false, Some(name)) => namespaces.get(name).is_some_and(|labels| selector.matches(labels)),
        };
        in_scope
            && listed(&self.namespaces).unwrap_or(true)
            && !listed(&self.excluded).unwrap_or(false)
            && self.labels.as_ref().is_none_or(|s| s.matches(own))
            && self.namespace_labels.as_ref().is_none_or(by_namespace)
            && self.name.as_deref().is_none_or(|pattern| pattern.is_empty() || glob(pattern, &object.name))
    }
}

impl Selector {
    fn matches(&self, labels: &Labels) -> bool {
        self.labels.iter().flatten().all(|(k, v)| labels.get(k) == Some(v))
            && self.expressions.iter().flatten().all(|e| {
                let value = labels.get(&e.key);
                let listed = |v: &String| e.values.as_ref().is_some_and(|l| l.contains(v));
                match e.operator.as_str() {
                    "In" => value.is_some_and(listed),
                    "NotIn" => !value.is_some_and(listed),
                    "Exists" => value.is_some(),
                    "DoesNotExist" => value.is_none(),
                    _ => false,
                }
            })
    }
}

/// A pattern with `*` at its beginning, its end, or both.
fn glob(pattern: &str, text: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(_), Some(_)) => text.contains(pattern.trim_matches('*')),
        (Some(end), None) => text.ends_with(end),
        (None, Some(begin)) => text.starts_with(begin),
        (None, None) => pattern == text,
    }
}

/// What `Config` (config.gatekeeper.sh) excludes from the audit.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Exclusions {
    #[serde(default, rename = "match")]
    entries: Option<Vec<Exclusion>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Exclusion {
    #[serde(default, rename = "excludedNamespaces")]
    namespaces: Option<Vec<String>>,
    #[serde(default)]
    processes: Option<Vec<String>>,
}

impl Exclusions {
    /// Whether the audit does not see this object.
    pub(super) fn hides(&self, kind: &Kind, object: &Object) -> bool {
        let namespace = if kind.is_namespace() { Some(object.name.as_str()) } else { object.namespace() };
        let Some(namespace) = namespace else { return false };
        self.entries.iter().flatten().any(|e| {
            e.processes.iter().flatten().any(|p| p == "*" || p == "audit")
                && e.namespaces.iter().flatten().any(|pattern| glob(pattern, namespace))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(spec: &str, kind: (&str, &str), object: (&str, &str, &[(&str, &str)])) -> bool {
        let spec: Match = serde_json::from_str(spec).unwrap();
        let kind = Kind { group: kind.0.to_owned(), kind: kind.1.to_owned() };
        let labels = object.2.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let namespace = Some(object.1.to_owned());
        let object = Object { name: object.0.to_owned(), namespace, labels: Some(labels) };
        let team = |t: &str| Labels::from([("team".to_owned(), t.to_owned())]);
        let namespaces =
            BTreeMap::from([("shop".to_owned(), team("a")), ("kube-system".to_owned(), Labels::new()), ("bank".to_owned(), team("b"))]);
        spec.takes(&kind) && spec.selects(&kind, &object, &namespaces)
    }

    const POD: (&str, &str) = ("", "Pod");
    const WEB: (&str, &str, &[(&str, &str)]) = ("web", "shop", &[("app", "web")]);

    #[test]
    fn kinds_and_groups_are_both_asked() {
        for (spec, kind, expected) in [
            ("{}", POD, true),
            (r#"{"kinds":[]}"#, POD, true),
            (r#"{"kinds":[{"apiGroups":[""],"kinds":["Pod"]}]}"#, POD, true),
            (r#"{"kinds":[{"apiGroups":["apps"],"kinds":["Deployment"]},{"apiGroups":["*"],"kinds":["Pod"]}]}"#, POD, true),
            (r#"{"kinds":[{"apiGroups":["apps"],"kinds":["*"]}]}"#, POD, false),
            (r#"{"kinds":[{"apiGroups":["apps"],"kinds":["*"]}]}"#, ("apps", "Deployment"), true),
            (r#"{"kinds":[{"kinds":["Pod"]}]}"#, POD, true),
            (r#"{"kinds":[{"apiGroups":[""]}]}"#, POD, true),
            (r#"{"kinds":[{"apiGroups":[""],"kinds":["Service"]}]}"#, POD, false),
        ] {
            assert_eq!(selects(spec, kind, WEB), expected, "{spec}");
        }
        let groups = |spec: &str| format!("{:?}", serde_json::from_str::<Match>(spec).unwrap().groups());
        assert_eq!(groups("{}"), "All");
        assert_eq!(
            groups(r#"{"kinds":[{"apiGroups":["apps",""],"kinds":["Pod"]},{"apiGroups":["apps"],"kinds":["X"]}]}"#),
            r#"Named(["", "apps"])"#
        );
        assert_eq!(groups(r#"{"kinds":[{"apiGroups":["apps"],"kinds":["Pod"]},{"kinds":["X"]}]}"#), "All");
    }

    #[test]
    fn namespaces_are_globs_and_do_not_concern_what_has_none() {
        const NODE: (&str, &str) = ("", "Node");
        const NS: (&str, &str) = ("", "Namespace");
        for (spec, kind, object, expected) in [
            (r#"{"namespaces":["shop"]}"#, POD, WEB, true),
            (r#"{"namespaces":["sh*"]}"#, POD, WEB, true),
            (r#"{"namespaces":["*op"]}"#, POD, WEB, true),
            (r#"{"namespaces":["*ho*"]}"#, POD, WEB, true),
            (r#"{"namespaces":["shopping"]}"#, POD, WEB, false),
            (r#"{"namespaces":["sh"]}"#, POD, WEB, false),
            (r#"{"excludedNamespaces":["kube-*","shop"]}"#, POD, WEB, false),
            (r#"{"excludedNamespaces":["kube-*"]}"#, POD, WEB, true),
            (r#"{"namespaces":["shop"]}"#, NODE, ("n1", "", &[]), true),
            (r#"{"excludedNamespaces":["*"]}"#, NODE, ("n1", "", &[]), true),
            // A namespace is in itself.
            (r#"{"namespaces":["shop"]}"#, NS, ("bank", "", &[]), false),
            (r#"{"excludedNamespaces":["ba*"]}"#, NS, ("bank", "", &[]), false),
            (r#"{"scope":"Cluster"}"#, NS, ("bank", "", &[]), true),
            (r#"{"scope":"Cluster"}"#, POD, WEB, false),
            (r#"{"scope":"Namespaced"}"#, POD, WEB, true),
            (r#"{"scope":"Namespaced"}"#, NS, ("bank", "", &[]), false),
            (r#"{"scope":"Namespaced"}"#, NODE, ("n1", "", &[]), false),
            (r#"{"scope":"*"}"#, NODE, ("n1", "", &[]), true),
            (r#"{"name":"we*"}"#, POD, WEB, true),
            (r#"{"name":"api"}"#, POD, WEB, false),
            (r#"{"name":""}"#, POD, WEB, true),
        ] {
            assert_eq!(selects(spec, kind, object), expected, "{spec} {kind:?} {object:?}");
        }
    }

    #[test]
    fn labels_are_those_of_the_object_and_of_its_namespace() {
        for (spec, object, expected) in [
            (r#"{"labelSelector":{"matchLabels":{"app":"web"}}}"#, WEB, true),
            (r#"{"labelSelector":{"matchLabels":{"app":"api"}}}"#, WEB, false),
            (r#"{"labelSelector":{}}"#, WEB, true),
            (r#"{"labelSelector":{"matchExpressions":[{"key":"app","operator":"In","values":["web","api"]}]}}"#, WEB, true),
            (r#"{"labelSelector":{"matchExpressions":[{"key":"app","operator":"NotIn","values":["web"]}]}}"#, WEB, false),
            (r#"{"labelSelector":{"matchExpressions":[{"key":"tier","operator":"NotIn","values":["web"]}]}}"#, WEB, true),
            (r#"{"labelSelector":{"matchExpressions":[{"key":"tier","operator":"Exists"}]}}"#, WEB, false),
            (r#"{"labelSelector":{"matchExpressions":[{"key":"tier","operator":"DoesNotExist"}]}}"#, WEB, true),
            (r#"{"namespaceSelector":{"matchLabels":{"team":"a"}}}"#, WEB, true),
            (r#"{"namespaceSelector":{"matchLabels":{"team":"a"}}}"#, ("x", "bank", &[]), false),
            (r#"{"namespaceSelector":{"matchLabels":{"team":"a"}}}"#, ("x", "gone", &[]), false),
            (r#"{"namespaceSelector":{"matchExpressions":[{"key":"team","operator":"DoesNotExist"}]}}"#, ("x", "kube-system", &[]), true),
        ] {
            assert_eq!(selects(spec, POD, object), expected, "{spec} {object:?}");
        }
        // A namespace is asked for its own labels; what is in none is selected.
        let by_team = r#"{"namespaceSelector":{"matchLabels":{"team":"a"}}}"#;
        assert!(!selects(by_team, ("", "Namespace"), ("shop", "", &[])));
        assert!(selects(by_team, ("", "Namespace"), ("new", "", &[("team", "a")])));
        assert!(selects(by_team, ("", "Node"), ("n1", "", &[])));
    }

    #[test]
    fn what_cannot_be_told_is_said() {
        let unclear = |spec: &str| serde_json::from_str::<Match>(spec).unwrap().unclear();
        assert!(unclear(r#"{"source":"Generated"}"#).unwrap().contains("source: Generated"));
        assert_eq!(unclear(r#"{"source":"Original"}"#), None);
        let odd = r#"{"labelSelector":{"matchExpressions":[{"key":"a","operator":"Gt","values":["1"]}]}}"#;
        assert_eq!(unclear(odd).unwrap(), "has a selector with operator `Gt` of key `a` that cannot be read");
    }

    #[test]
    fn the_audit_does_not_see_what_its_config_excludes() {
        let config: Exclusions = serde_json::from_str(
            r#"{"match":[{"excludedNamespaces":["kube-*"],"processes":["*"]},{"excludedNamespaces":["shop"],"processes":["webhook"]},{"excludedNamespaces":["bank"],"processes":["audit","sync"]}]}"#,
        )
        .unwrap();
        let pod = Kind { group: String::new(), kind: "Pod".to_owned() };
        let hides =
            |namespace: &str| config.hides(&pod, &Object { name: "p".to_owned(), namespace: Some(namespace.to_owned()), labels: None });
        assert_eq!([hides("kube-system"), hides("shop"), hides("bank"), hides("")], [true, false, true, false]);
        let namespace = Kind { group: String::new(), kind: "Namespace".to_owned() };
        assert!(config.hides(&namespace, &Object { name: "kube-public".to_owned(), ..Object::default() }));
    }
}
