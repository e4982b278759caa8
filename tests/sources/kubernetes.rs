//! A small Kubernetes API: discovery, lists with `limit` and `continue`, 410, watches, RBAC.

use super::server::{Reply, Server, answer, ok};
use super::support::{Served, wait_for, write};
use super::{assert_hidden, header, path, problems, query, read, schedule};
use base64::Engine as _;
use bornright::collectors::client::Secret;
use bornright::collectors::kubernetes::{Config, Place, Read};
use bornright::collectors::run::{Applied, Job, Pace, once, run_at};
use bornright::collectors::{Collected, Reach};
use bornright::domain::{CheckResult, ProblemKind, Span};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const TOKEN: &str = "k8s-t0ken-s3cret";

/// A resource: its plural, kind, whether it is in namespaces, and its objects.
#[derive(Clone)]
struct Kind {
    kind: &'static str,
    namespaced: bool,
    items: Vec<Value>,
}

/// What the cluster has, and how it behaves. Changed while it runs.
#[derive(Default)]
struct World {
    /// `group/version` (`v1` for core) → plural → kind.
    served: BTreeMap<String, BTreeMap<String, Kind>>,
    /// Answers by (path prefix, how many times still).
    faults: Vec<(String, usize, String)>,
    /// Events for watches by path, one a line.
    events: BTreeMap<String, Vec<String>>,
    token: String,
    /// `continue` tokens are good for so many uses of a list; then 410.
    expire: usize,
    /// The largest page that is given, whatever `limit` says.
    page: usize,
}

impl World {
    fn new() -> World {
        World { token: TOKEN.to_owned(), page: 500, ..World::default() }
    }

    fn put(&mut self, at: &str, plural: &str, kind: &'static str, namespaced: bool, items: Vec<Value>) {
        self.served.entry(at.to_owned()).or_default().insert(plural.to_owned(), Kind { kind, namespaced, items });
    }
}

#[derive(Clone, Default)]
struct Cluster(Arc<(Mutex<World>, Condvar)>);

impl Cluster {
    fn of(world: World) -> Cluster {
        Cluster(Arc::new((Mutex::new(world), Condvar::new())))
    }

    fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let result = change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
        result
    }

    fn serve(&self) -> Server {
        let cluster = self.clone();
        Server::new(move |_, request| cluster.reply(request))
    }

    fn reply(&self, request: &str) -> Reply {
        let (path, query) = (path(request), query(request));
        assert!(!query.contains_key("resourceVersion") || query.contains_key("watch"), "a list asks for no version: {request}");
        if query.contains_key("watch") {
            return self.watch(&path, &query);
        }
        let mut world = self.0.0.lock().unwrap();
        if header(request, "authorization") != Some(&format!("Bearer {}", world.token)) {
            return status("401 Unauthorized", "Unauthorized", "Unauthorized");
        }
        if let Some(fault) = world.faults.iter_mut().find(|(prefix, left, _)| *left > 0 && path.starts_with(prefix.as_str())) {
            fault.1 -= 1;
            let (code, rest) = fault.2.split_once('|').unwrap_or((&fault.2, ""));
            return match code {
                "403" => {
                    let plural = path.rsplit('/').next().unwrap_or_default();
                    let message = format!(
                        "{plural} is forbidden: User \"system:serviceaccount:bornright:default\" cannot list resource \"{plural}\" at the cluster scope"
                    );
                    status("403 Forbidden", "Forbidden", &message)
                }
                "429" => answer("429 Too Many Requests", "Retry-After: 0\r\nContent-Type: application/json\r\n", "{}"),
                "html" => answer("200 OK", "Content-Type: text/html\r\n", "<html><body>Sign in</body></html>"),
                "cut" => answer("200 OK", "Content-Type: application/json\r\n", r#"{"items":[{"metadata":"#),
                other => status(other, "InternalError", rest),
            };
        }
        if path == "/apis" {
            let groups: Vec<Value> = world
                .served
                .keys()
                .filter_map(|at| at.split_once('/'))
                .map(|(g, v)| json!({"name": g, "preferredVersion": {"groupVersion": format!("{g}/{v}"), "version": v}}))
                .collect();
            return ok(json!({"kind": "APIGroupList", "groups": groups}).to_string());
        }
        let at = path.trim_start_matches("/apis/").trim_start_matches("/api/");
        if let Some(served) = world.served.get(at) {
            let resources: Vec<Value> = served
                .iter()
                .flat_map(|(plural, k)| {
                    let one =
                        |name: String, verbs: &[&str]| json!({"name": name, "kind": k.kind, "namespaced": k.namespaced, "verbs": verbs});
                    [one(plural.clone(), &["get", "list", "watch"]), one(format!("{plural}/status"), &["get"])]
                })
                .collect();
            return ok(json!({"kind": "APIResourceList", "groupVersion": at, "resources": resources}).to_string());
        }
        let (within, plural) = at.rsplit_once('/').unwrap_or_default();
        let (at, namespace) = within.split_once("/namespaces/").map_or((within, None), |(a, n)| (a, Some(n)));
        let Some(kind) = world.served.get(at).and_then(|s| s.get(plural)).cloned() else {
            return answer(
                "404 Not Found",
                "Content-Type: application/json\r\n",
                r#"{"kind":"Status","code":404,"message":"the server could not find the requested resource"}"#,
            );
        };
        let limit: usize = query.get("limit").expect("every list is paged").parse().unwrap();
        assert_eq!(limit, 500);
        let from: usize = match query.get("continue") {
            None => 0,
            Some(_) if world.expire > 0 => {
                world.expire -= 1;
                return status("410 Gone", "Expired", "The provided continue parameter is too old");
            }
            Some(token) => token.trim_start_matches("from").parse().unwrap(),
        };
        let all: Vec<&Value> = kind.items.iter().filter(|i| namespace.is_none_or(|n| i["metadata"]["namespace"] == n)).collect();
        let end = (from + limit.min(world.page)).min(all.len());
        let mut meta = json!({"resourceVersion": "1000"});
        if end < all.len() {
            meta["continue"] = format!("from{end}").into();
            meta["remainingItemCount"] = (all.len() - end).into();
        }
        let partial = header(request, "accept").is_some_and(|a| a.contains("PartialObjectMetadataList"));
        let items: Vec<Value> = all[from..end]
            .iter()
            .map(|i| if partial { json!({"kind": "PartialObjectMetadata", "metadata": i["metadata"]}) } else { (*i).clone() })
            .collect();
        ok(json!({"kind": format!("{}List", kind.kind), "apiVersion": at, "metadata": meta, "items": items}).to_string())
    }

    /// Waits until there are events for this path, and sends them.
    fn watch(&self, path: &str, query: &BTreeMap<String, String>) -> Reply {
        assert_eq!(query["allowWatchBookmarks"], "true");
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n";
        let (world, signal) = &*self.0;
        let mut world = world.lock().unwrap();
        for _ in 0..600 {
            if let Some(events) = world.events.remove(path) {
                return Reply::Silence(
                    events
                        .into_iter()
                        .fold(head.to_owned(), |mut all, e| {
                            let _ = writeln!(all, "{e}");
                            all
                        })
                        .into_bytes(),
                );
            }
            world = signal.wait_timeout(world, Duration::from_millis(100)).unwrap().0;
        }
        Reply::Bytes(head.as_bytes().to_vec())
    }
}

fn status(code: &str, reason: &str, message: &str) -> Reply {
    let number: u16 = code.split(' ').next().unwrap().parse().unwrap();
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": reason, "code": number});
    answer(code, "Content-Type: application/json\r\n", body.to_string())
}

fn token_file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

fn config(server: &Server, token: &tempfile::NamedTempFile, what: Read) -> Config {
    let mut config = Config::new(what);
    config.place = Place::Server { url: server.url.clone(), token: Some(Secret::File(token.path().to_owned())) };
    config.options.requests_per_second = 1000;
    config.options.burst = 1000;
    config.options.retry.delay = Span(5);
    config.watch_delay = Span(100);
    config.audit_max_age = Span::DAY.times(36_500);
    config.cluster = Some("prod".to_owned());
    config
}

async fn collect(config: &Config) -> (Collected, Reach) {
    let reach = Reach::Kubernetes(Box::new(config.clone()));
    (once(schedule(reach.clone())).await, reach)
}

const AUDITED: &str = "2026-11-20T10:00:00Z";

fn object(name: &str, namespace: &str, labels: Value) -> Value {
    let mut meta = json!({"name": name, "labels": labels, "creationTimestamp": "2026-11-01T00:00:00Z"});
    if !namespace.is_empty() {
        meta["namespace"] = namespace.into();
    }
    json!({"apiVersion": "v1", "metadata": meta, "spec": {"secret": "never-asked-for"}})
}

fn constraint(kind: &str, name: &str, selects: Value, total: usize, violations: Vec<Value>) -> Value {
    json!({
        "apiVersion": "constraints.gatekeeper.sh/v1beta1", "kind": kind,
        "metadata": {"name": name, "generation": 1, "resourceVersion": "900"},
        "spec": {"match": selects},
        "status": {"auditTimestamp": AUDITED, "totalViolations": total, "violations": violations,
            "byPod": [{"id": "audit", "observedGeneration": 1, "operations": ["audit"]}]},
    })
}

fn violation(kind: &str, namespace: &str, name: &str) -> Value {
    json!({"enforcementAction": "deny", "group": "", "version": "v1", "kind": kind, "namespace": namespace, "name": name, "message": "no"})
}

/// 1200 pods in three namespaces, one of them excluded from the audit; two kinds of constraints.
fn gatekeeper() -> World {
    let mut world = World::new();
    let namespace = |i: usize| ["shop", "bank", "kube-system"][i % 3];
    let pods = (0..1200)
        .map(|i| object(&format!("p{i}"), namespace(i), json!({"app": if i.is_multiple_of(2) { "web" } else { "api" }})))
        .collect();
    world.put("v1", "pods", "Pod", true, pods);
    let labels = |n: &str| if n == "shop" { json!({"team": "a"}) } else { json!({}) };
    world.put("v1", "namespaces", "Namespace", false, ["shop", "bank", "kube-system"].map(|n| object(n, "", labels(n))).to_vec());
    world.put(
        "config.gatekeeper.sh/v1alpha1",
        "configs",
        "Config",
        true,
        vec![json!({"metadata": {"name": "config"}, "spec": {"match": [{"excludedNamespaces": ["kube-*"], "processes": ["*"]}]}})],
    );
    let pods = json!({"kinds": [{"apiGroups": [""], "kinds": ["Pod"]}]});
    let mut of_team = pods.clone();
    of_team["namespaceSelector"] = json!({"matchLabels": {"team": "a"}});
    // p0, p3, p6 … are in `shop`.
    let two = vec![violation("Pod", "shop", "p0"), violation("Pod", "shop", "p3")];
    let twenty = (0..20).map(|i| violation("Pod", "bank", &format!("p{}", i * 3 + 1))).collect();
    world.put(
        "constraints.gatekeeper.sh/v1beta1",
        "k8sprivileged",
        "K8sPrivileged",
        false,
        vec![constraint("K8sPrivileged", "team-a", of_team, 2, two), constraint("K8sPrivileged", "all", pods, 300, twenty)],
    );
    let namespaces = json!({"kinds": [{"apiGroups": [""], "kinds": ["Namespace"]}]});
    world.put(
        "constraints.gatekeeper.sh/v1beta1",
        "k8srequiredlabels",
        "K8sRequiredLabels",
        false,
        vec![constraint("K8sRequiredLabels", "ns-has-team", namespaces, 1, vec![violation("Namespace", "", "bank")])],
    );
    world
}

#[tokio::test]
async fn the_population_is_what_each_constraint_selects() {
    let cluster = Cluster::of(gatekeeper());
    let (server, token) = (cluster.serve(), token_file(TOKEN));
    let (got, reach) = collect(&config(&server, &token, Read::Gatekeeper)).await;
    let seen = read(&reach, &got);
    assert!(seen.complete, "{}\n{:?}", problems(&got), seen.problems);
    // 400 pods are in `shop`; namespaces other than the excluded one are two.
    assert_eq!(seen.count("population:K8sPrivileged/team-a", CheckResult::NotAssessed), 400);
    assert_eq!(seen.count("K8sPrivileged/team-a", CheckResult::Fail), 2);
    assert_eq!(seen.count("population:K8sRequiredLabels/ns-has-team", CheckResult::NotAssessed), 2);
    // 800 pods; 20 of 300 violations are listed, so 280 more fail at most, and 500 must comply.
    assert_eq!(seen.count("population:K8sPrivileged/all", CheckResult::NotAssessed), 20);
    assert_eq!(seen.count("population:K8sPrivileged/all", CheckResult::NotApplicable), 780);
    assert_eq!(seen.count("K8sPrivileged/all", CheckResult::Fail), 300);
    assert_eq!(seen.count("K8sPrivileged/all", CheckResult::Pass), 500);
    for check in ["K8sPrivileged/all", "K8sPrivileged/team-a", "population:K8sRequiredLabels/ns-has-team"] {
        assert!(seen.ran.contains(&check.to_owned()), "{check}: {:?}", seen.ran);
    }
    assert_eq!(
        problems(&got),
        format!(
            "{}: limit: constraint K8sPrivileged/all lists 20 of its 300 violations: which other objects violate it is not known, only how many at most; help: raise Gatekeeper's --constraint-violations-limit",
            server.url
        )
    );
    assert_eq!(got.documents[0].fields, [("cluster".to_owned(), "prod".to_owned())]);
    assert_hidden(&got, TOKEN);
    let text = std::fs::read_to_string(&got.documents[0].path).unwrap();
    assert!(!text.contains("never-asked-for"), "only metadata is asked for");
    assert_eq!(server.targets().iter().filter(|t| t.starts_with("GET /api/v1/pods?")).count(), 3);
    assert_eq!(got.requests.ok as usize, server.targets().len());
}

#[tokio::test]
async fn what_the_audit_has_not_seen_is_not_counted() {
    let mut world = gatekeeper();
    let pods = world.served.get_mut("v1").unwrap().get_mut("pods").unwrap();
    pods.items.truncate(9);
    pods.items[6]["metadata"]["creationTimestamp"] = "2026-11-20T10:00:01Z".into();
    let cluster = Cluster::of(world);
    let (server, token) = (cluster.serve(), token_file(TOKEN));
    let mut config = config(&server, &token, Read::Gatekeeper);
    let (got, reach) = collect(&config).await;
    let seen = read(&reach, &got);
    assert_eq!(seen.count("population:K8sPrivileged/team-a", CheckResult::NotAssessed), 2);
    assert_eq!(seen.result("population:K8sPrivileged/team-a", "/Pod/shop/p6"), None);
    // An audit that no longer runs is told, and closes nothing.
    config.audit_max_age = Span::SECOND;
    let (got, _) = collect(&config).await;
    assert!(!got.complete);
    assert!(problems(&got).contains("incomplete: constraint K8sPrivileged/team-a was audited "), "{}", problems(&got));
}

#[tokio::test]
async fn a_kind_that_may_not_be_listed_costs_itself() {
    let mut world = gatekeeper();
    world.faults.push(("/apis/constraints.gatekeeper.sh/v1beta1/k8sprivileged".to_owned(), usize::MAX, "403".to_owned()));
    let cluster = Cluster::of(world);
    let (server, token) = (cluster.serve(), token_file(TOKEN));
    let (got, reach) = collect(&config(&server, &token, Read::Gatekeeper)).await;
    let seen = read(&reach, &got);
    assert!(!seen.complete);
    let said = problems(&got);
    assert!(
        said.contains("denied: answered 403 Forbidden: 403: k8sprivileged is forbidden: User \"system:serviceaccount:bornright:default\""),
        "{said}"
    );
    assert!(
        said.ends_with("; help: the role lacks verb `list` on resource `k8sprivileged` of API group `constraints.gatekeeper.sh`"),
        "{said}"
    );
    assert_eq!(seen.count("K8sRequiredLabels/ns-has-team", CheckResult::Fail), 1);
    assert_eq!(seen.count("population:K8sRequiredLabels/ns-has-team", CheckResult::NotAssessed), 2);

    // What a constraint selects may not be listed: no number is made up, and others have theirs.
    cluster.change(|w| w.faults = vec![("/api/v1/pods".to_owned(), usize::MAX, "403".to_owned())]);
    let (got, reach) = collect(&config(&server, &token, Read::Gatekeeper)).await;
    let seen = read(&reach, &got);
    assert!(!seen.complete && problems(&got).contains("lacks verb `list` on resource `pods` of the core API group"), "{}", problems(&got));
    assert_eq!(seen.count("population:K8sPrivileged/team-a", CheckResult::NotAssessed), 0);
    assert_eq!((seen.count("K8sPrivileged/all", CheckResult::Fail), seen.count("K8sPrivileged/all", CheckResult::Pass)), (20, 0));
    assert_eq!(seen.count("population:K8sRequiredLabels/ns-has-team", CheckResult::NotAssessed), 2);
}

#[tokio::test]
async fn what_passes_is_waited_out_and_nothing_is_counted_twice() {
    let cluster = Cluster::of(gatekeeper());
    let (server, token) = (cluster.serve(), token_file(TOKEN));
    let config = config(&server, &token, Read::Gatekeeper);
    // The list's continuation runs out twice, pages fail, are throttled, cut off, or a login form for once.
    cluster.change(|w| {
        w.expire = 2;
        let fault = |path: &str, what: &str| (path.to_owned(), 1, what.to_owned());
        w.faults = vec![
            fault("/api/v1/pods", "500 Internal Server Error|etcd leader changed"),
            fault("/apis/constraints.gatekeeper.sh/v1beta1/k8sprivileged", "429"),
            fault("/api/v1/namespaces", "cut"),
            fault("/apis", "503 Service Unavailable|starting"),
        ];
    });
    let (got, reach) = collect(&config).await;
    let seen = read(&reach, &got);
    assert!(seen.complete, "{}", problems(&got));
    assert_eq!(seen.count("population:K8sPrivileged/team-a", CheckResult::NotAssessed), 400);
    assert_eq!(seen.count("K8sPrivileged/all", CheckResult::Pass), 500);
    // One line a member: what was written before the list began again is gone.
    assert_eq!(seen.times, 400 + 800 + 2 + 2 + 20 + 2 + 1);
    assert_eq!((got.requests.throttled, got.requests.server_error, got.requests.failed), (1, 2, 1));
    // A continuation that never holds ends the walk.
    cluster.change(|w| w.expire = usize::MAX);
    let (got, _) = collect(&config).await;
    assert!(
        !got.complete
            && problems(&got).contains("answered 410 Gone: 410: The provided continue parameter is too old; page 2 could not be had"),
        "{}",
        problems(&got)
    );
}

#[tokio::test]
async fn a_token_is_read_again_when_it_is_renewed() {
    let cluster = Cluster::of(gatekeeper());
    let token = token_file(TOKEN);
    let renewed = "k8s-renewed-s3cret";
    let (file, times) = (token.path().to_owned(), Mutex::new(0));
    let inner = cluster.clone();
    // Midway the service account's token is rotated: the old one is good no more.
    let server = Server::new(move |_, request| {
        let mut times = times.lock().unwrap();
        *times += 1;
        if *times == 6 {
            std::fs::write(&file, renewed).unwrap();
            inner.change(|w| w.token = renewed.to_owned());
        }
        inner.reply(request)
    });
    let (got, reach) = collect(&config(&server, &token, Read::Gatekeeper)).await;
    assert!(read(&reach, &got).complete, "{}", problems(&got));
    assert_eq!(got.requests.refused, 1);
    // One that is wrong is a problem, and no findings.
    std::fs::write(token.path(), "wrong-s3cret").unwrap();
    let (got, _) = collect(&config(&server, &token, Read::Gatekeeper)).await;
    assert!(!got.complete && got.documents.is_empty());
    assert_eq!(got.problems[0].kind, ProblemKind::Denied);
    for secret in [TOKEN, renewed, "wrong-s3cret"] {
        assert_hidden(&got, secret);
    }
}

#[tokio::test]
async fn a_cluster_without_the_tool_says_nothing_good() {
    let mut world = World::new();
    world.put("v1", "pods", "Pod", true, Vec::new());
    let cluster = Cluster::of(world);
    let (server, token) = (cluster.serve(), token_file(TOKEN));
    for (what, group, whose) in [
        (Read::Gatekeeper, "constraints.gatekeeper.sh", "Gatekeeper with a constraint template"),
        (Read::PolicyReports, "wgpolicyk8s.io, openreports.io, reports.x-k8s.io", "Kyverno or another writer of policy reports"),
        (Read::TrivyOperator, "aquasecurity.github.io", "trivy-operator"),
        (Read::ComplianceOperator, "compliance.openshift.io", "the Compliance Operator"),
    ] {
        let (got, _) = collect(&config(&server, &token, what)).await;
        assert!(!got.complete && got.documents.is_empty());
        assert_eq!(
            problems(&got),
            format!("{}: source: the cluster serves nothing of {group}; expected {whose} to be installed", server.url)
        );
    }
    // A login page, and something that is no cluster at all.
    cluster.change(|w| w.faults = vec![("/apis".to_owned(), usize::MAX, "html".to_owned())]);
    let (got, _) = collect(&config(&server, &token, Read::Gatekeeper)).await;
    assert!(!got.complete && problems(&got).contains("HTML page"), "{}", problems(&got));
    // A template without a constraint checks nothing.
    let mut world = gatekeeper();
    for kind in world.served.get_mut("constraints.gatekeeper.sh/v1beta1").unwrap().values_mut() {
        kind.items.clear();
    }
    cluster.change(|w| *w = world);
    let (got, _) = collect(&config(&server, &token, Read::Gatekeeper)).await;
    assert!(!got.complete && problems(&got).ends_with("empty: there is not one constraint: nothing is checked"), "{}", problems(&got));
}

/// A report of one resource, as Kyverno writes it.
fn report(i: usize) -> Value {
    let result = if i.is_multiple_of(10) { "fail" } else { "pass" };
    let (pass, fail) = if result == "pass" { (1, 0) } else { (0, 1) };
    json!({
        "apiVersion": "wgpolicyk8s.io/v1alpha2", "kind": "PolicyReport",
        "metadata": {"name": format!("r{i}"), "namespace": if i.is_multiple_of(2) { "shop" } else { "bank" }},
        "scope": {"apiVersion": "v1", "kind": "Pod", "name": format!("p{i}"), "namespace": if i.is_multiple_of(2) { "shop" } else { "bank" }},
        "summary": {"pass": pass, "fail": fail, "warn": 0, "error": 0, "skip": 0},
        "results": [{"policy": "require-limits", "rule": "check", "result": result, "source": "kyverno", "timestamp": {"seconds": 1_763_000_000, "nanos": 0}}],
    })
}

#[tokio::test]
async fn policy_reports_of_every_group_and_only_where_we_may() {
    let mut world = World::new();
    world.put("wgpolicyk8s.io/v1alpha2", "policyreports", "PolicyReport", true, (0..2300).map(report).collect());
    world.put("wgpolicyk8s.io/v1alpha2", "clusterpolicyreports", "ClusterPolicyReport", false, Vec::new());
    let mut open = report(5000);
    open["apiVersion"] = "openreports.io/v1alpha1".into();
    open["kind"] = "Report".into();
    world.put("openreports.io/v1alpha1", "reports", "Report", true, vec![open]);
    let cluster = Cluster::of(world);
    let (server, token) = (cluster.serve(), token_file(TOKEN));
    let mut config = config(&server, &token, Read::PolicyReports);
    let (got, reach) = collect(&config).await;
    let seen = read(&reach, &got);
    assert!(seen.complete, "{} {:?}", problems(&got), seen.problems);
    assert_eq!(seen.count("require-limits/check", CheckResult::Pass), 2070);
    assert_eq!(seen.count("require-limits/check", CheckResult::Fail), 231);
    assert_eq!(seen.result("require-limits/check", "/Pod/shop/p5000"), Some(CheckResult::Fail));

    // A role in one namespace only.
    config.namespaces = vec!["shop".to_owned()];
    config.resources = vec!["policyreports".to_owned()];
    let (got, reach) = collect(&config).await;
    let seen = read(&reach, &got);
    assert!(seen.complete, "{}", problems(&got));
    assert_eq!(seen.findings.len(), 1150);
    assert!(server.targets().iter().any(|t| t.starts_with("GET /apis/wgpolicyk8s.io/v1alpha2/namespaces/shop/policyreports?limit=500")));
    config.resources = vec!["clusterreports".to_owned()];
    let (got, _) = collect(&config).await;
    assert!(problems(&got).contains("source: the cluster serves nothing of wgpolicyk8s.io"), "{}", problems(&got));
}

#[tokio::test]
async fn trivy_operator_and_compliance_operator_are_read() {
    let mut world = World::new();
    let audit = |i: usize| {
        json!({
            "apiVersion": "aquasecurity.github.io/v1alpha1", "kind": "ConfigAuditReport",
            "metadata": {"name": format!("a{i}"), "namespace": "shop", "labels": {"trivy-operator.resource.kind": "Deployment", "trivy-operator.resource.name": format!("d{i}"), "trivy-operator.resource.namespace": "shop"}},
            "report": {"updateTimestamp": "2026-11-20T10:00:00Z", "summary": {"criticalCount": 0, "highCount": 1, "mediumCount": 0, "lowCount": 0},
                "checks": [{"checkID": "KSV-0017", "severity": "HIGH", "success": false}, {"checkID": "KSV-0001", "severity": "MEDIUM", "success": true}]},
        })
    };
    world.put("aquasecurity.github.io/v1alpha1", "configauditreports", "ConfigAuditReport", true, (0..700).map(audit).collect());
    world.put("aquasecurity.github.io/v1alpha1", "sbomreports", "SbomReport", true, vec![json!({"kind": "SbomReport"})]);
    let check = |i: usize, status: &str| {
        json!({
            "apiVersion": "compliance.openshift.io/v1alpha1", "kind": "ComplianceCheckResult",
            "metadata": {"name": format!("ocp4-cis-r{i}"), "namespace": "openshift-compliance", "labels": {"compliance.openshift.io/scan-name": "ocp4-cis"}},
            "id": format!("xccdf_org.ssgproject.content_rule_r{i}"), "status": status, "severity": "high",
        })
    };
    let statuses = ["PASS", "FAIL", "MANUAL", "ERROR", "NOT-APPLICABLE", "INFO", "INCONSISTENT"];
    let scan = json!({
        "apiVersion": "compliance.openshift.io/v1alpha1", "kind": "ComplianceScan",
        "metadata": {"name": "ocp4-cis", "namespace": "openshift-compliance", "annotations": {"compliance.openshift.io/check-count": "7"}},
        "status": {"phase": "DONE", "result": "NON-COMPLIANT"},
    });
    world.put("compliance.openshift.io/v1alpha1", "compliancescans", "ComplianceScan", true, vec![scan]);
    let results = statuses.iter().enumerate().map(|(i, s)| check(i, s)).collect();
    world.put("compliance.openshift.io/v1alpha1", "compliancecheckresults", "ComplianceCheckResult", true, results);
    world.put("compliance.openshift.io/v1alpha1", "profilebundles", "ProfileBundle", true, vec![json!({"kind": "ProfileBundle"})]);
    let cluster = Cluster::of(world);
    let (server, token) = (cluster.serve(), token_file(TOKEN));

    let (got, reach) = collect(&config(&server, &token, Read::TrivyOperator)).await;
    let seen = read(&reach, &got);
    assert!(seen.complete, "{} {:?}", problems(&got), seen.problems);
    assert_eq!((seen.count("KSV-0017", CheckResult::Fail), seen.count("KSV-0001", CheckResult::Pass)), (700, 700));

    let compliance = config(&server, &token, Read::ComplianceOperator);
    let (got, reach) = collect(&compliance).await;
    let seen = read(&reach, &got);
    assert!(seen.complete, "{} {:?}", problems(&got), seen.problems);
    assert_eq!(seen.findings.len(), 7);
    // A result that did not come is missed.
    cluster.change(|w| {
        w.served.get_mut("compliance.openshift.io/v1alpha1").unwrap().get_mut("compliancecheckresults").unwrap().items.truncate(5)
    });
    let (got, reach) = collect(&compliance).await;
    let seen = read(&reach, &got);
    assert!(!seen.complete);
    assert_eq!(seen.problems, ["scan openshift-compliance/ocp4-cis came to 7 results, 5 are listed"]);
}

#[tokio::test]
async fn a_change_brings_the_next_run_forward() {
    let cluster = Cluster::of(gatekeeper());
    let (server, token) = (cluster.serve(), token_file(TOKEN));
    let config = config(&server, &token, Read::Gatekeeper);
    let (tx, mut rx) = mpsc::channel(1);
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(run_at(Pace::EXACT, schedule(Reach::Kubernetes(Box::new(config))), tx, shutdown.clone()));
    let next = async |rx: &mut mpsc::Receiver<Job>, patience: u64| {
        let job = tokio::time::timeout(Duration::from_secs(patience), rx.recv()).await.ok()??;
        job.done.send(Applied { usable: true }).unwrap();
        Some(job.collected)
    };
    assert!(next(&mut rx, 20).await.unwrap().complete);
    let watching = |n: usize| {
        let targets = server.targets();
        targets.iter().filter(|t| t.contains("watch=1&resourceVersion=1000&allowWatchBookmarks=true")).count() >= n
    };
    let wait = async |n: usize| {
        for _ in 0..200 {
            if watching(n) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("no watch: {:?}", server.targets());
    };
    wait(2).await;
    // The audit ran again and found the same: nothing changed.
    let path = "/apis/constraints.gatekeeper.sh/v1beta1/k8srequiredlabels";
    let mut same = gatekeeper().served["constraints.gatekeeper.sh/v1beta1"]["k8srequiredlabels"].items[0].clone();
    same["status"]["auditTimestamp"] = "2026-11-20T10:01:00Z".into();
    let event = |kind: &str, object: &Value| json!({"type": kind, "object": object}).to_string();
    cluster.change(|w| {
        w.events
            .insert(path.to_owned(), vec![event("MODIFIED", &same), event("BOOKMARK", &json!({"metadata": {"resourceVersion": "1001"}}))])
    });
    assert!(next(&mut rx, 1).await.is_none(), "the same audit twice is no change");
    // Another object violates it: the run lists everything.
    let other = "/apis/constraints.gatekeeper.sh/v1beta1/k8sprivileged";
    let mut worse = gatekeeper().served["constraints.gatekeeper.sh/v1beta1"]["k8sprivileged"].items[0].clone();
    worse["status"]["totalViolations"] = 3.into();
    cluster.change(|w| w.events.insert(other.to_owned(), vec![event("MODIFIED", &worse)]));
    let brought = next(&mut rx, 20).await.expect("a change brings a run");
    assert!(brought.complete && !brought.documents.is_empty());
    // A watch that cannot be taken up any more is a change too.
    wait(4).await;
    cluster.change(|w| w.events.insert(other.to_owned(), vec![event("ERROR", &json!({"kind": "Status", "code": 410}))]));
    assert!(next(&mut rx, 20).await.expect("410 brings a run").complete);
    shutdown.cancel();
    task.await.unwrap();
}

/// The real program: a ratio from a cluster, and what it becomes while the cluster misbehaves.
#[test]
fn the_ratio_does_not_move_when_the_cluster_misbehaves() {
    let mut world = gatekeeper();
    // Both audits were just now.
    let audited = jiff_now();
    for kind in world.served.get_mut("constraints.gatekeeper.sh/v1beta1").unwrap().values_mut() {
        for c in &mut kind.items {
            c["status"]["auditTimestamp"] = audited.clone().into();
        }
    }
    let cluster = Cluster::of(world);
    let server = cluster.serve();
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "token", TOKEN);
    write(
        dir.path(),
        "bornright.yaml",
        &format!(
            r#"
ledger: {{ sqlite: {{ path: data/ledger.db }} }}
definitions: [defs]
collectors:
  - name: cluster
    every: 1s
    max_age: 1h
    from:
      kubernetes: {{ read: gatekeeper, server: "{}", token_file: token, cluster: prod, watch: false, retry_delay: 5ms, requests_per_second: 1000, burst: 1000 }}
"#,
            server.url
        ),
    );
    write(
        dir.path(),
        "defs/controls.yaml",
        r#"
apiVersion: bornright/v1
kind: ControlSet
metadata: { name: pods }
spec:
  version: "1"
  owner: platform
  controls:
    - id: team-a
      title: Pods of team a are not privileged
      severity: high
      checks: [{ format: gatekeeper, id: K8sPrivileged/team-a }]
      population: { format: gatekeeper, id: "population:K8sPrivileged/team-a" }
    - id: all
      title: Pods are not privileged
      severity: high
      checks: [{ format: gatekeeper, id: K8sPrivileged/all }]
      population: { format: gatekeeper, id: "population:K8sPrivileged/all" }
"#,
    );
    let served = Served::start(dir.path(), &["--log-level", "debug", "serve"]);
    let ratio = |control: &str| served.metrics().get("compliance_ratio", &[("control", control), ("scope", "prod")]);
    let states = |control: &str| {
        let m = served.metrics();
        ["compliant", "non_compliant", "unknown"]
            .map(|s| m.get("compliance_resources", &[("control", control), ("scope", "prod"), ("state", s)]).unwrap_or(-1.0))
    };
    wait_for("a ratio of both", || ratio("team-a").is_some() && ratio("all").is_some());
    assert_eq!((states("team-a"), ratio("team-a")), ([398.0, 2.0, 0.0], Some(0.995)));
    assert_eq!((states("all"), ratio("all")), ([500.0, 300.0, 0.0], Some(0.625)));
    assert_eq!(served.metrics().get("compliance_collector_up", &[("collector", "cluster")]), Some(1.0));
    for (path, what) in [
        ("/", "403"),
        ("/", "500 Internal Server Error|etcd"),
        ("/", "html"),
        ("/", "cut"),
        ("/api/v1/pods", "403"),
        ("/apis/constraints.gatekeeper.sh/v1beta1/k8sprivileged", "403"),
        ("/apis/config.gatekeeper.sh", "500 Internal Server Error|etcd"),
    ] {
        let runs = || {
            served
                .metrics()
                .counters()
                .iter()
                .filter(|(s, _)| s.starts_with("compliance_collector_scans_total{collector=\"cluster\""))
                .map(|(_, v)| v)
                .sum::<f64>()
        };
        cluster.change(|w| w.faults = vec![(path.to_owned(), usize::MAX, what.to_owned())]);
        let before = runs();
        wait_for("two more runs", || runs() >= before + 2.0);
        assert_eq!((states("team-a"), states("all")), ([398.0, 2.0, 0.0], [500.0, 300.0, 0.0]), "{path} {what}");
        cluster.change(|w| w.faults.clear());
        let before = runs();
        wait_for("a run again", || runs() >= before + 1.0);
    }
    // And it is not stuck: what is repaired shows.
    cluster.change(|w| {
        let kind = w.served.get_mut("constraints.gatekeeper.sh/v1beta1").unwrap().get_mut("k8sprivileged").unwrap();
        kind.items[0]["status"]["violations"] = json!([]);
        kind.items[0]["status"]["totalViolations"] = 0.into();
        kind.items[1]["status"]["totalViolations"] = 20.into();
    });
    wait_for("the repair", || states("team-a") == [400.0, 0.0, 0.0] && states("all") == [780.0, 20.0, 0.0]);
    assert!(!served.log().contains(TOKEN), "a secret is in the log");
    assert!(served.log().contains("DEBUG") || served.log().contains("debug"), "the log is at debug level");
}

fn jiff_now() -> String {
    #[expect(clippy::disallowed_methods, reason = "a server tells the world's time")]
    let now = jiff::Timestamp::now();
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A kubeconfig as clusters hand it out: an authority and a client certificate in it, over TLS that asks for both.
#[tokio::test]
async fn a_kubeconfig_says_whom_to_trust_and_who_we_are() {
    let authority = || {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let cert = params.self_signed(&key).unwrap();
        (cert, rcgen::Issuer::new(params, key))
    };
    let ((ca, issuer), (stranger, _)) = (authority(), authority());
    let issue = |name: &str, usage| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        (params.signed_by(&key, &issuer).unwrap(), key)
    };
    let (server_cert, server_key) = issue("localhost", rcgen::ExtendedKeyUsagePurpose::ServerAuth);
    let (client_cert, client_key) = issue("bornright", rcgen::ExtendedKeyUsagePurpose::ClientAuth);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.der().clone()).unwrap();
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![server_cert.der().clone()], rustls::pki_types::PrivatePkcs8KeyDer::from(server_key.serialize_der()).into())
        .unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let cluster = Cluster::of(gatekeeper());
    let tls = Arc::new(tls);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (tls, cluster) = (Arc::clone(&tls), cluster.clone());
            std::thread::spawn(move || {
                let mut stream = rustls::StreamOwned::new(rustls::ServerConnection::new(tls).unwrap(), stream.unwrap());
                let request = super::server::read_request(&mut stream);
                if request.starts_with("GET") {
                    let Reply::Bytes(bytes) = cluster.reply(&request) else { return };
                    let _ = stream.write_all(&bytes).and_then(|()| stream.flush());
                }
            });
        }
    });
    let encode = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
    let file = tempfile::NamedTempFile::new().unwrap();
    let kubeconfig = |trust: &str, user: &str| {
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: prod-eu, cluster: {{server: '{url}', {trust}}}}}]\ncontexts: [{{name: c, context: {{cluster: prod-eu, user: u}}}}]\nusers: [{{name: u, user: {{token: {TOKEN}, {user}}}}}]\n"
        );
        std::fs::write(file.path(), text).unwrap();
    };
    let trust = format!("certificate-authority-data: {}", encode(ca.pem()));
    let user = format!("client-certificate-data: {}, client-key-data: {}", encode(client_cert.pem()), encode(client_key.serialize_pem()));
    let mut config = Config::new(Read::Gatekeeper);
    config.place = Place::Kubeconfig { path: file.path().to_owned(), context: None };
    config.audit_max_age = Span::DAY.times(36_500);
    config.options.retry.retries = 0;
    kubeconfig(&trust, &user);
    let (got, reach) = collect(&config).await;
    assert!(read(&reach, &got).complete, "{}", problems(&got));
    assert_eq!(got.documents[0].fields, [("cluster".to_owned(), "prod-eu".to_owned())], "the kubeconfig names the cluster");

    // Another authority, no certificate of ours, and whoever would have any certificate do.
    kubeconfig(&format!("certificate-authority-data: {}", encode(stranger.pem())), &user);
    let (got, _) = collect(&config).await;
    assert!(!got.complete && got.documents.is_empty() && got.problems[0].kind == ProblemKind::Unreachable, "{}", problems(&got));
    kubeconfig(&trust, "namespace: none");
    let (got, _) = collect(&config).await;
    assert!(!got.complete && got.documents.is_empty(), "{}", problems(&got));
    kubeconfig("insecure-skip-tls-verify: true", &user);
    let (got, _) = collect(&config).await;
    assert!(problems(&got).contains("`insecure-skip-tls-verify` would have us trust whoever answers"), "{}", problems(&got));
    assert_hidden(&got, TOKEN);
    config.insecure = true;
    let (got, reach) = collect(&config).await;
    assert!(read(&reach, &got).complete, "{}", problems(&got));
    assert_hidden(&got, TOKEN);
}
