//! `from:` of sources that have a collector of their own: Kubernetes, GitHub, Fugue.

use super::errors::Report;
use super::reach::{Base, OPTION_KEYS, faults, no_secret, options, secret};
use super::yaml::{Node, Table};
use crate::collectors::{fugue, github, kubernetes};
use crate::domain::Span;

/// A source's own keys, and those of every API.
fn keys(own: &[&'static str]) -> Vec<&'static str> {
    own.iter().chain(OPTION_KEYS).copied().collect()
}

pub(super) const KUBERNETES_KEYS: &[&str] = &[
    "read",
    "kubeconfig",
    "context",
    "server",
    "token_file",
    "token_env",
    "insecure_skip_tls_verify",
    "cluster",
    "namespaces",
    "resources",
    "population",
    "audit_max_age",
    "watch",
    "watch_delay",
];

pub(super) fn kubernetes(node: &Node, base: &Base<'_>, report: &Report) -> Option<kubernetes::Config> {
    use kubernetes::{Place, Read};
    let before = report.errors();
    let known = keys(KUBERNETES_KEYS);
    let t = Table::open(node, "from.kubernetes", &known, report, no_secret)?;
    let words: Vec<&str> = Read::ALL.iter().map(|r| r.word()).collect();
    if t.node("read").is_none() {
        t.missing("read", &format!("say what is read from the cluster: one of {}", words.join(", ")));
    }
    let read = t.word("read", &words, |w| Read::ALL.into_iter().find(|r| r.word() == w));
    let (kubeconfig, context, server) = (t.text("kubeconfig"), t.text("context"), t.text("server"));
    let token = secret(&t, "token", base);
    if let (Some(_), Some(server)) = (&kubeconfig, &server) {
        report.error_help(
            server.at,
            "both `kubeconfig` and `server` are given; which cluster is meant?",
            "leave both out for the cluster that bornright runs in",
        );
    }
    if let (None, Some(context)) = (&kubeconfig, &context) {
        report.error_help(context.at, "`context` is given without `kubeconfig`", "name the file: `kubeconfig: /etc/bornright/kubeconfig`");
    }
    if token.is_some() && server.is_none() {
        let at = if t.node("token_file").is_some() { t.place("token_file") } else { t.place("token_env") };
        report.error_help(
            at,
            "a token is given without `server`",
            "a kubeconfig and a pod have tokens of their own; with `server: https://host:6443` this one is used",
        );
    }
    let read = read?;
    let defaults = kubernetes::Config::new(read.value);
    if read.value != Read::Gatekeeper {
        for key in ["population", "audit_max_age"] {
            if t.node(key).is_some() {
                report.error(t.place(key), format!("`{key}` is for `read: gatekeeper`; `{}` has no use for it", read.value.word()));
            }
        }
    }
    let place = match (kubeconfig, server) {
        (Some(path), _) => Place::Kubeconfig { path: base.path(&path.value), context: context.map(|c| c.value) },
        (None, Some(url)) => Place::Server { url: url.value, token },
        (None, None) => Place::InCluster,
    };
    let config = kubernetes::Config {
        read: read.value,
        place,
        cluster: t.text("cluster").map(|c| c.value),
        namespaces: t.texts("namespaces").into_iter().map(|n| n.value).collect(),
        resources: t.texts("resources").into_iter().map(|r| r.value).collect(),
        population: t.boolean("population").map_or(defaults.population, |b| b.value),
        audit_max_age: t.span("audit_max_age", Span::SECOND).map_or(defaults.audit_max_age, |s| s.value),
        watch: t.boolean("watch").map_or(defaults.watch, |b| b.value),
        watch_delay: t.span("watch_delay", Span(100)).map_or(defaults.watch_delay, |s| s.value),
        insecure: t.boolean("insecure_skip_tls_verify").is_some_and(|b| b.value),
        options: options(&t, defaults.options, base),
    };
    if report.errors() == before {
        faults(node, "from.kubernetes", config.validate(), report);
    }
    (report.errors() == before).then_some(config)
}

pub(super) const GITHUB_KEYS: &[&str] =
    &["organisation", "repositories", "exclude", "archived", "forks", "api_url", "token_file", "token_env", "app"];
pub(super) const APP_KEYS: &[&str] = &["id", "installation_id", "private_key_file", "private_key_env"];

pub(super) fn github(node: &Node, base: &Base<'_>, report: &Report) -> Option<github::Config> {
    let before = report.errors();
    let known = keys(GITHUB_KEYS);
    let t = Table::open(node, "from.github", &known, report, |key| match key {
        "organization" | "org" => Some((format!("`{key}` is spelled otherwise here"), "write `organisation: acme`".to_owned())),
        other => no_secret(other),
    })?;
    let token = secret(&t, "token", base);
    let app = t.node("app");
    if token.is_some() && app.is_some() {
        report.error(t.place("app"), "both a token and an `app` are given; a request can carry only one");
    }
    let auth = match (token, app) {
        (Some(token), _) => Some(github::Auth::Token(token)),
        (None, Some(n)) => auth_of_app(n, base, report),
        (None, None) => {
            if report.errors() == before {
                t.missing(
                    "token_file",
                    "who are we? `token_file: /run/secrets/github`, `token_env: GITHUB_TOKEN`, or `app: { id: …, private_key_file: … }`",
                );
            }
            None
        }
    };
    let defaults = github::Config::new(auth?);
    let config = github::Config {
        api_url: t.text("api_url").map_or(defaults.api_url, |u| u.value),
        organisation: t.text("organisation").map(|o| o.value),
        repositories: t.texts("repositories").into_iter().map(|r| r.value).collect(),
        exclude: t.texts("exclude").into_iter().map(|e| e.value).collect(),
        archived: t.boolean("archived").map_or(defaults.archived, |b| b.value),
        forks: t.boolean("forks").map_or(defaults.forks, |b| b.value),
        auth: defaults.auth,
        options: options(&t, defaults.options, base),
    };
    if report.errors() == before {
        faults(node, "from.github", config.validate(), report);
    }
    (report.errors() == before).then_some(config)
}

fn auth_of_app(node: &Node, base: &Base<'_>, report: &Report) -> Option<github::Auth> {
    // An App's key is a secret, and the words that name its place say so; `no_secret` would offer a bearer token instead.
    let t = Table::open(node, "from.github.app", APP_KEYS, report, |key| {
        (key == "private_key").then(|| {
            (
                "`private_key` would put a secret into the configuration".to_owned(),
                "write `private_key_file: /run/secrets/github-app.pem`".to_owned(),
            )
        })
    })?;
    let id = t.required("id", "the App's id, from its settings page").map(|i| i.value);
    let key = secret(&t, "private_key", base);
    if key.is_none() && t.node("private_key_file").is_none() && t.node("private_key_env").is_none() {
        t.missing("private_key_file", "the file that GitHub gave for the App: `private_key_file: /run/secrets/github-app.pem`");
    }
    let installation = t.whole("installation_id", 1..=999_999_999_999).map(|n| n.value);
    Some(github::Auth::App { id: id?, installation, key: key? })
}

pub(super) const FUGUE_KEYS: &[&str] = &["client_id", "client_secret_file", "client_secret_env", "environments", "families", "api_url"];

pub(super) fn fugue(node: &Node, base: &Base<'_>, report: &Report) -> Option<fugue::Config> {
    let before = report.errors();
    let known = keys(FUGUE_KEYS);
    let t = Table::open(node, "from.fugue", &known, report, |key| {
        if key == "client_secret" {
            let message = "`client_secret` would put a secret into the configuration".to_owned();
            return Some((message, "write `client_secret_file: /run/secrets/…` or `client_secret_env: VARIABLE`".to_owned()));
        }
        no_secret(key)
    })?;
    let id = t.required("client_id", "the API client's id; its secret comes from `client_secret_file` or `client_secret_env`");
    let secret = secret(&t, "client_secret", base);
    if secret.is_none() && t.node("client_secret_file").is_none() && t.node("client_secret_env").is_none() {
        t.missing("client_secret_file", "the secret comes from `client_secret_file` or `client_secret_env`");
    }
    let defaults = fugue::Config::new(id?.value, secret?);
    let config = fugue::Config {
        api_url: t.text("api_url").map_or(defaults.api_url, |u| u.value),
        client_id: defaults.client_id,
        client_secret: defaults.client_secret,
        environments: t.texts("environments").into_iter().map(|e| e.value).collect(),
        families: t.texts("families").into_iter().map(|f| f.value).collect(),
        options: options(&t, defaults.options, base),
    };
    if report.errors() == before {
        faults(node, "from.fugue", config.validate(), report);
    }
    (report.errors() == before).then_some(config)
}
