//! `from:` — how a collector reaches its source, from YAML to each room's own `Config`.

use super::errors::{Place, ProblemSeverity, Report, suggestion};
use super::yaml::{At, Entry, Node, Table, Value, excerpt};
use super::{apis, aws, clouds};
use crate::collectors::client::{Network, Retry, Secret};
use crate::collectors::{Reach, command, file, http, push, session};
use crate::domain::Span;
use std::path::{Path, PathBuf};

pub(super) const KINDS: &[&str] = &[
    "file",
    "http",
    "command",
    "push",
    "aws_security_hub",
    "aws_security_hub_v2",
    "aws_config",
    "s3",
    "azure_defender",
    "azure_policy",
    "sentinel",
    "gcp_scc",
    "wiz",
    "kubernetes",
    "github",
    "fugue",
];

/// Kinds that bring documents of one format, which need not be named.
const IMPLY: &[&str] = &[
    "aws_security_hub",
    "aws_security_hub_v2",
    "aws_config",
    "azure_defender",
    "azure_policy",
    "sentinel",
    "gcp_scc",
    "wiz",
    "kubernetes",
    "github",
    "fugue",
];

pub(super) const FILE_KEYS: &[&str] = &["path", "paths", "include", "exclude", "settle", "runs"];
pub(super) const HTTP_KEYS: &[&str] = &[
    "url",
    "method",
    "headers",
    "header_files",
    "header_env",
    "bearer_token_file",
    "bearer_token_env",
    "basic",
    "client_cert_file",
    "client_key_file",
    "ca_file",
    "proxy_url",
    "proxy_username",
    "proxy_password_file",
    "proxy_password_env",
    "refuse_private_addresses",
    "body",
    "paging",
    "retries",
    "retry_delay",
    "retry_after_limit",
    "connect_timeout",
    "read_timeout",
    "max_bytes",
    "max_pages",
    "cache_bytes",
];
/// What may be said of every API, besides what is its own.
pub(super) const OPTION_KEYS: &[&str] = &[
    "ca_file",
    "proxy_url",
    "proxy_username",
    "proxy_password_file",
    "proxy_password_env",
    "refuse_private_addresses",
    "retries",
    "retry_delay",
    "retry_after_limit",
    "connect_timeout",
    "read_timeout",
    "requests_per_second",
    "burst",
    "concurrency",
    "max_page_bytes",
    "max_bytes",
    "max_pages",
];
pub(super) const COMMAND_KEYS: &[&str] = &["argv", "env", "set", "env_files", "cwd", "findings_exit_codes", "max_output_bytes", "reads"];
pub(super) const PUSH_KEYS: &[&str] = &["token_file", "token_env", "max_bytes"];

/// Sources that get a collector of their own in a later release, and what their documents are called here.
const LATER: &[(&str, &str)] = &[("snyk", "snyk_iac")];

/// What a collector of ours could be called besides its name here.
const ALIASES: &[(&str, &str)] = &[
    ("files", "file"),
    ("path", "file"),
    ("glob", "file"),
    ("https", "http"),
    ("url", "http"),
    ("exec", "command"),
    ("shell", "command"),
    ("webhook", "push"),
    ("azure_assessments", "azure_defender"),
    ("azure_regulatory", "azure_defender"),
    ("defender", "azure_defender"),
    ("azure_sentinel", "sentinel"),
    ("gcp_security_command_center", "gcp_scc"),
    ("scc", "gcp_scc"),
    ("k8s", "kubernetes"),
    ("gatekeeper", "kubernetes"),
    ("kyverno", "kubernetes"),
    ("policy_report", "kubernetes"),
    ("trivy_operator", "kubernetes"),
    ("compliance_operator", "kubernetes"),
];

/// Words in a key or header that make its value a secret.
const SECRET_WORDS: &[&str] =
    &["token", "password", "passwd", "secret", "authorization", "api-key", "api_key", "apikey", "credential", "cookie"];

/// The directory that relative paths start from.
pub(super) struct Base<'a>(pub(super) &'a Path);

impl Base<'_> {
    pub(super) fn path(&self, path: &str) -> PathBuf {
        if self.0.as_os_str().is_empty() { PathBuf::from(path) } else { self.0.join(path) }
    }

    fn text(&self, path: &str) -> String {
        self.path(path).to_string_lossy().into_owned()
    }
}

/// Whether this `from:` says by its kind what its documents are.
pub(super) fn implies_format(node: &Node) -> bool {
    matches!(node.as_map(), Some([Entry { key, .. }]) if IMPLY.contains(&key.as_str()))
}

/// Reads `from:`. `format` decides which of several files in one directory is meant.
pub(super) fn read(node: &Node, format: &str, base: &Base<'_>, report: &Report) -> Option<Reach> {
    let (kind, at, body) = match &node.value {
        Value::Map(entries) => match entries.as_slice() {
            [Entry { key, at, node }] => (key.as_str(), *at, node),
            [] => {
                report.error_help(node.at, "`from` is empty", format!("say how the source is reached: {}", KINDS.join(", ")));
                return None;
            }
            [_, second, ..] => {
                report.error_help(
                    second.at,
                    format!(
                        "`from` should have one kind of source, found {}",
                        entries.iter().map(|e| format!("`{}`", e.key)).collect::<Vec<_>>().join(" and ")
                    ),
                    "write one collector for each source; did the indentation slip?",
                );
                return None;
            }
        },
        _ => {
            report.error_help(
                node.at,
                format!("`from` should be a mapping such as `{{ file: {{ path: … }} }}`, found {}", node.describe()),
                format!("kinds of sources are {}", KINDS.join(", ")),
            );
            return None;
        }
    };
    match kind {
        "file" => file_config(body, "from.file", format, base, report).map(Reach::File),
        "http" => http_config(body, base, report).map(Reach::Http),
        "command" => command_config(body, format, base, report).map(Reach::Command),
        "push" => push_config(body, base, report).map(Reach::Push),
        "aws_security_hub" => {
            aws::security_hub(body, "from.aws_security_hub", aws::SECURITY_HUB_KEYS, base, report).map(Reach::AwsSecurityHub)
        }
        "aws_security_hub_v2" => {
            aws::security_hub(body, "from.aws_security_hub_v2", aws::SECURITY_HUB_V2_KEYS, base, report).map(Reach::AwsSecurityHubV2)
        }
        "aws_config" => aws::config(body, base, report).map(Reach::AwsConfig),
        "s3" => aws::s3(body, format, base, report).map(Reach::S3),
        "azure_defender" => clouds::azure_defender(body, base, report).map(Reach::AzureDefender),
        "azure_policy" => clouds::azure_policy(body, base, report).map(Reach::AzurePolicy),
        "sentinel" => clouds::sentinel(body, base, report).map(Reach::Sentinel),
        "gcp_scc" => clouds::gcp_scc(body, base, report).map(Reach::GcpScc),
        "wiz" => clouds::wiz(body, base, report).map(Reach::Wiz),
        "kubernetes" => apis::kubernetes(body, base, report).map(|c| Reach::Kubernetes(Box::new(c))),
        "github" => apis::github(body, base, report).map(|c| Reach::Github(Box::new(c))),
        "fugue" => apis::fugue(body, base, report).map(|c| Reach::Fugue(Box::new(c))),
        _ => {
            if let Some((_, format)) = LATER.iter().find(|(name, _)| *name == kind) {
                report.error_help(
                    at,
                    format!("`{kind}` has no collector of its own in this release"),
                    format!("until then let `file`, `http`, `command` or `push` bring its documents, with `format: {format}`"),
                );
            } else if let Some((_, ours)) = ALIASES.iter().find(|(name, _)| *name == kind) {
                report.error_help(at, format!("unknown kind of source `{kind}`"), format!("did you mean `{ours}`?"));
            } else {
                report.error_help(
                    at,
                    format!("unknown kind of source `{}`", excerpt(kind)),
                    suggestion(kind, KINDS, "kinds of sources are"),
                );
            }
            None
        }
    }
}

fn file_config(node: &Node, what: &str, format: &str, base: &Base<'_>, report: &Report) -> Option<file::Config> {
    let before = report.errors();
    let t = Table::open(node, what, FILE_KEYS, report, no_secret)?;
    let mut paths = t.texts("path");
    paths.extend(t.texts("paths"));
    if paths.is_empty() && t.node("path").is_none() && t.node("paths").is_none() {
        t.missing("path", "a file, a glob or a directory, for instance `path: \"scans/*.arf.xml\"`");
    }
    let words: Vec<&str> = file::Runs::ALL.iter().map(|r| r.word()).collect();
    let runs = t.word("runs", &words, |w| file::Runs::ALL.into_iter().find(|r| r.word() == w));
    let defaults = file::Config::default();
    let config = file::Config {
        paths: paths.iter().map(|p| base.text(&p.value)).collect(),
        include: t.texts("include").into_iter().map(|p| p.value).collect(),
        exclude: t.texts("exclude").into_iter().map(|p| p.value).collect(),
        prefer: file::prefer_for(format),
        settle: t.span("settle", Span(0)).map_or(defaults.settle, |s| s.value),
        runs: runs.map_or(defaults.runs, |r| r.value),
    };
    if report.errors() == before {
        faults(node, what, config.validate(), report);
    }
    (report.errors() == before).then_some(config)
}

fn http_config(node: &Node, base: &Base<'_>, report: &Report) -> Option<http::Config> {
    let before = report.errors();
    let t = Table::open(node, "from.http", HTTP_KEYS, report, no_secret)?;
    let defaults = http::Config::default();
    let url = t.required("url", "for instance `url: https://scanner.internal/v1/results`");
    if let Some(url) = &url {
        check_url(url, report);
    }
    let method = t.word("method", &["get", "post"], |w| match w.to_ascii_lowercase().as_str() {
        "get" => Some(http::Method::Get),
        "post" => Some(http::Method::Post),
        _ => None,
    });
    let method = method.map_or(defaults.method, |m| m.value);
    let mut headers = Vec::new();
    for (name, value) in t.pairs("headers") {
        if is_secret(&name.value) {
            report.error_help(
                value.at,
                format!("header `{}` has its secret in the configuration", name.value),
                format!("write `header_files: {{ {}: /run/secrets/… }}` or `header_env`, or use `bearer_token_file`", name.value),
            );
        } else {
            headers.push((name.value, value.value));
        }
    }
    let mut secret_headers = Vec::new();
    for (name, path) in t.pairs("header_files") {
        secret_headers.push((name.value, Secret::File(base.path(&path.value))));
    }
    for (name, variable) in t.pairs("header_env") {
        secret_headers.push((name.value, Secret::Env(variable.value)));
    }
    let bearer = secret(&t, "bearer_token", base);
    let basic = t.node("basic").and_then(|n| {
        let b = Table::open(n, "from.http.basic", &["username", "password_file", "password_env"], report, no_secret)?;
        let username = b.required("username", "the user's name; the password comes from `password_file` or `password_env`");
        let password = secret(&b, "password", base);
        if password.is_none() && b.node("password_file").is_none() && b.node("password_env").is_none() {
            b.missing("password_file", "the password comes from `password_file` or `password_env`");
        }
        Some(http::Auth::Basic { username: username?.value, password: password? })
    });
    if bearer.is_some() && t.node("basic").is_some() {
        report.error(t.place("basic"), "`from.http` has both a bearer token and `basic`; a request can carry only one");
    }
    let auth = bearer.map(http::Auth::Bearer).or(basic);
    if let (Some(url), true) = (&url, auth.is_some() || !secret_headers.is_empty())
        && let Some(rest) = url.value.strip_prefix("http://")
        && !["127.", "localhost", "[::1]"].iter().any(|local| rest.starts_with(local))
    {
        report.push(
            ProblemSeverity::Warning,
            None,
            url.at,
            "a secret is sent over plain http".to_owned(),
            Some("use https; anyone on the way can read it".to_owned()),
        );
    }
    let (cert, key) = (t.text("client_cert_file"), t.text("client_key_file"));
    if cert.is_some() != key.is_some() {
        let (has, lacks) = if cert.is_some() { ("client_cert_file", "client_key_file") } else { ("client_key_file", "client_cert_file") };
        report.error(t.place(has), format!("`{has}` needs `{lacks}` beside it"));
    }
    let body = t.text("body");
    if let Some(body) = &body
        && method != http::Method::Post
    {
        report.error_help(body.at, "`body` is given, but the method is `get`", "add `method: post`");
    }
    let config = http::Config {
        url: url.map_or_else(String::new, |u| u.value),
        method,
        headers,
        secret_headers,
        auth,
        client_cert_file: cert.map(|p| base.path(&p.value)),
        client_key_file: key.map(|p| base.path(&p.value)),
        network: network(&t, defaults.network, base),
        body: body.map(|b| b.value),
        paging: t.node("paging").and_then(|n| paging(n, report)),
        retry: retry(&t, defaults.retry),
        max_bytes: size(&t, "max_bytes").unwrap_or(defaults.max_bytes),
        max_pages: small(&t, "max_pages", 1..=u64::from(u32::MAX)).unwrap_or(defaults.max_pages),
        cache_bytes: size(&t, "cache_bytes").unwrap_or(defaults.cache_bytes),
    };
    if report.errors() == before {
        faults(node, "from.http", config.validate(), report);
    }
    (report.errors() == before).then_some(config)
}

/// How hosts are reached, for whoever makes requests.
fn network(t: &Table<'_, '_>, defaults: Network, base: &Base<'_>) -> Network {
    let password = secret(t, "proxy_password", base);
    let username = t.text("proxy_username");
    if let (Some(username), None) = (&username, &password) {
        t.report.error_help(
            username.at,
            "`proxy_username` has no password beside it",
            "write `proxy_password_file: /run/secrets/…` or `proxy_password_env: VARIABLE`",
        );
    }
    if password.is_some() && username.is_none() {
        t.missing("proxy_username", "the password is whose? `proxy_username: …`");
    }
    Network {
        ca_file: t.text("ca_file").map(|p| base.path(&p.value)).or(defaults.ca_file),
        proxy_url: t.text("proxy_url").map(|u| u.value).or(defaults.proxy_url),
        proxy_login: username.map(|u| u.value).zip(password).or(defaults.proxy_login),
        refuse_private_addresses: t.boolean("refuse_private_addresses").map_or(defaults.refuse_private_addresses, |b| b.value),
        connect_timeout: t.span("connect_timeout", Span(1)).map_or(defaults.connect_timeout, |s| s.value),
        read_timeout: t.span("read_timeout", Span(1)).map_or(defaults.read_timeout, |s| s.value),
    }
}

fn retry(t: &Table<'_, '_>, defaults: Retry) -> Retry {
    Retry {
        retries: small(t, "retries", 0..=100).unwrap_or(defaults.retries),
        delay: t.span("retry_delay", Span(1)).map_or(defaults.delay, |s| s.value),
        after_limit: t.span("retry_after_limit", Span(0)).map_or(defaults.after_limit, |s| s.value),
    }
}

/// What may be said of every API ([`OPTION_KEYS`]); `defaults` are that API's.
pub(super) fn options(t: &Table<'_, '_>, defaults: session::Options, base: &Base<'_>) -> session::Options {
    session::Options {
        network: network(t, defaults.network, base),
        retry: retry(t, defaults.retry),
        requests_per_second: small(t, "requests_per_second", 1..=1000).unwrap_or(defaults.requests_per_second),
        burst: small(t, "burst", 1..=10_000).unwrap_or(defaults.burst),
        concurrency: small(t, "concurrency", 1..=256).unwrap_or(defaults.concurrency),
        max_page_bytes: size(t, "max_page_bytes").unwrap_or(defaults.max_page_bytes),
        max_bytes: size(t, "max_bytes").unwrap_or(defaults.max_bytes),
        max_pages: small(t, "max_pages", 1..=u64::from(u32::MAX)).unwrap_or(defaults.max_pages),
    }
}

pub(super) fn small(t: &Table<'_, '_>, key: &str, range: std::ops::RangeInclusive<u64>) -> Option<u32> {
    t.whole(key, range).and_then(|n| u32::try_from(n.value).ok())
}

pub(super) fn check_url(url: &At<String>, report: &Report) {
    let rest = url.value.strip_prefix("https://").or_else(|| url.value.strip_prefix("http://"));
    match rest {
        None => report.error_help(
            url.at,
            format!("`url` is `{}`", excerpt(&url.value)),
            "it must be absolute and begin with `https://` or `http://`",
        ),
        Some(rest) => {
            let host = rest.split(['/', '?', '#']).next().unwrap_or("");
            if host.contains('@') {
                report.error_help(url.at, "`url` has a user or password in it", "use `basic: { username: …, password_file: … }`");
            } else if host.is_empty() || rest.contains(char::is_whitespace) {
                report.error(url.at, format!("`url` is `{}`, which has no host or has blanks in it", excerpt(&url.value)));
            }
        }
    }
}

fn paging(node: &Node, report: &Report) -> Option<http::Paging> {
    const WAYS: &[&str] = &["link_header", "next_field", "cursor", "page"];
    let empty = Node { at: node.at, value: Value::Map(Vec::new()) };
    let (way, at, body) = match &node.value {
        Value::Text(way) => (way.as_str(), node.at, &empty),
        Value::Map(entries) if entries.len() == 1 => {
            let e = &entries[0];
            (e.key.as_str(), e.at, if matches!(e.node.value, Value::Null) { &empty } else { &e.node })
        }
        _ => {
            report.error_help(
                node.at,
                format!("`paging` should be one of its ways, found {}", node.describe()),
                format!("ways are {}", WAYS.join(", ")),
            );
            return None;
        }
    };
    match way {
        "link_header" => {
            Table::open(body, "paging.link_header", &[], report, no_secret)?;
            Some(http::Paging::LinkHeader)
        }
        "next_field" => {
            let t = Table::open(body, "paging.next_field", &["path"], report, no_secret)?;
            Some(http::Paging::NextField { path: t.required("path", "where the next page's URL stands, e.g. `paging.next`")?.value })
        }
        "cursor" => {
            let t = Table::open(body, "paging.cursor", &["path", "parameter", "place"], report, no_secret)?;
            let path = t.required("path", "where the cursor stands in the answer, e.g. `meta.cursor`");
            let parameter = t.required("parameter", "where it goes in the next request, e.g. `after`");
            let place = t.word("place", &["query", "body"], |w| match w {
                "query" => Some(http::Place::Query),
                "body" => Some(http::Place::Body),
                _ => None,
            });
            Some(http::Paging::Cursor {
                path: path?.value,
                parameter: parameter?.value,
                place: place.map_or(http::Place::Query, |p| p.value),
            })
        }
        "page" => {
            let t = Table::open(body, "paging.page", &["parameter", "first", "records"], report, no_secret)?;
            let parameter = t.required("parameter", "the query parameter that has the page's number, e.g. `page`")?;
            Some(http::Paging::Page {
                parameter: parameter.value,
                first: t.whole("first", 0..=u64::from(u32::MAX)).map_or(1, |n| n.value),
                records: t.text("records").map_or_else(String::new, |r| r.value),
            })
        }
        other => {
            report.error_help(at, format!("unknown way of paging `{}`", excerpt(other)), suggestion(other, WAYS, "ways are"));
            None
        }
    }
}

fn command_config(node: &Node, format: &str, base: &Base<'_>, report: &Report) -> Option<command::Config> {
    let before = report.errors();
    let t = Table::open(node, "from.command", COMMAND_KEYS, report, no_secret)?;
    let defaults = command::Config::default();
    let argv = match t.node("argv") {
        None => {
            t.missing("argv", "the program and its arguments as a list: `argv: [prowler, aws, -M, json-ocsf]`");
            Vec::new()
        }
        Some(Node { at, value: Value::Text(line) }) => {
            let words: Vec<&str> = line.split_whitespace().collect();
            report.error_help(
                *at,
                "`argv` should be a list, found one text; there is no shell that would take it apart",
                format!("write `argv: [{}]`", excerpt(&words.join(", "))),
            );
            Vec::new()
        }
        Some(_) => t.texts("argv"),
    };
    let mut set = Vec::new();
    for (name, value) in t.pairs("set") {
        if is_secret(&name.value) {
            report.error_help(
                value.at,
                format!("variable `{}` has its secret in the configuration", name.value),
                format!("write `env_files: {{ {}: /run/secrets/… }}`, or pass ours on with `env: [{}]`", name.value, name.value),
            );
        } else {
            set.push((name.value, value.value));
        }
    }
    let codes = t
        .list("findings_exit_codes")
        .iter()
        .filter_map(|n| match n.scalar().and_then(|s| s.parse::<i32>().ok()).filter(|c| (0..=255).contains(c)) {
            Some(code) => Some(code),
            None => {
                report.error(n.at, format!("an exit code is a whole number from 0 to 255, found {}", n.describe()));
                None
            }
        })
        .collect();
    let reads = match t.node("reads") {
        None => defaults.reads,
        Some(n) => match (&n.value, n.get("files")) {
            (Value::Text(word), _) if word == "stdout" => command::Reads::Stdout,
            (Value::Map(entries), Some(files)) if entries.len() == 1 => {
                // Relative to `cwd`, as the program itself sees it; so not to the configuration.
                command::Reads::Files(file_config(files, "reads.files", format, &Base(Path::new("")), report)?)
            }
            _ => {
                t.wrong("reads", n, "`stdout` or `{ files: { path: … } }`");
                return None;
            }
        },
    };
    let config = command::Config {
        argv: argv.into_iter().map(|a| a.value).collect(),
        env: t.texts("env").into_iter().map(|e| e.value).collect(),
        set,
        secret_env: t.pairs("env_files").into_iter().map(|(name, path)| (name.value, Secret::File(base.path(&path.value)))).collect(),
        cwd: t.text("cwd").map(|p| base.path(&p.value)),
        findings_exit_codes: codes,
        max_output_bytes: size(&t, "max_output_bytes").unwrap_or(defaults.max_output_bytes),
        reads,
    };
    if report.errors() == before {
        faults(node, "from.command", config.validate(), report);
    }
    (report.errors() == before).then_some(config)
}

fn push_config(node: &Node, base: &Base<'_>, report: &Report) -> Option<push::Config> {
    let before = report.errors();
    let t = Table::open(node, "from.push", PUSH_KEYS, report, no_secret)?;
    let token = secret(&t, "token", base);
    if token.is_none() && report.errors() == before {
        t.missing("token_file", "whoever pushes must show a token: `token_file: /run/secrets/bornright-push` or `token_env: …`");
    }
    let max_bytes = size(&t, "max_bytes").unwrap_or(push::MAX_BYTES);
    if report.errors() > before {
        return None;
    }
    let config = push::Config { token: token?, max_bytes };
    faults(node, "from.push", config.validate(), report);
    (report.errors() == before).then_some(config)
}

/// Faults that the room itself finds in what would be its configuration, each at its key.
pub(super) fn faults(node: &Node, what: &str, wrong: Vec<(&'static str, String)>, report: &Report) {
    for (field, message) in wrong {
        let at = node.get(field).map_or(node.at, |n| n.at);
        report.error(at, format!("`{field}` of {what}: {message}"));
    }
}

/// `<name>_file` or `<name>_env`, not both.
pub(super) fn secret(t: &Table<'_, '_>, name: &str, base: &Base<'_>) -> Option<Secret> {
    let (file_key, env_key) = (format!("{name}_file"), format!("{name}_env"));
    let (file, env) = (t.text(&file_key), t.text(&env_key));
    if let (Some(_), Some(env)) = (&file, &env) {
        t.report.error(env.at, format!("both `{file_key}` and `{env_key}` are given; which one counts?"));
    }
    if let Some(env) = &env
        && !env.value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    {
        t.report.error_help(env.at, format!("`{env_key}` is not the name of a variable"), "give the variable's name, never its value");
    }
    file.map(|f| Secret::File(base.path(&f.value))).or(env.map(|e| Secret::Env(e.value)))
}

/// Refuses keys that would hold a secret in the clear: configuration is read, copied and committed.
pub(super) fn no_secret(key: &str) -> Option<(String, String)> {
    let takes_place = key.ends_with("_file") || key.ends_with("_env") || key.ends_with("_files");
    (is_secret(key) && !takes_place).then(|| {
        let place = if key == "token" || key == "password" || key == "bearer_token" { key } else { "bearer_token" };
        (
            format!("`{}` would put a secret into the configuration", excerpt(key)),
            format!("write `{place}_file: /run/secrets/…` or `{place}_env: VARIABLE`"),
        )
    })
}

fn is_secret(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|w| lower.contains(w))
}

/// Bytes: a number, or with `KiB MiB GiB` (1024) or `KB MB GB` (also 1024, as Prometheus reads them).
fn size(t: &Table<'_, '_>, key: &str) -> Option<u64> {
    let node = t.node(key)?;
    let text = node.scalar().unwrap_or_default();
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let factor: Option<u64> = match text[digits..].trim() {
        "" | "B" => Some(1),
        "KiB" | "KB" => Some(1 << 10),
        "MiB" | "MB" => Some(1 << 20),
        "GiB" | "GB" => Some(1 << 30),
        _ => None,
    };
    let bytes = text[..digits].replace('_', "").parse::<u64>().ok().and_then(|n| n.checked_mul(factor?));
    if bytes.is_none() {
        t.wrong(key, node, "a size such as 256MiB or a number of bytes");
    }
    bytes
}

/// The names in braces of a path (`scans/{cluster}/*.json`): each is a field of every finding.
pub(super) fn captures(reach: &Reach) -> Vec<String> {
    match reach {
        Reach::File(file) => file.captures(),
        Reach::S3(s3) => s3.files.captures(),
        Reach::Http(_)
        | Reach::Command(_)
        | Reach::Push(_)
        | Reach::AwsSecurityHub(_)
        | Reach::AwsSecurityHubV2(_)
        | Reach::AwsConfig(_)
        | Reach::AzureDefender(_)
        | Reach::AzurePolicy(_)
        | Reach::Sentinel(_)
        | Reach::GcpScc(_)
        | Reach::Wiz(_)
        | Reach::Kubernetes(_)
        | Reach::Github(_) => Vec::new(),
        // What the source itself knows of its documents beyond what formats fill.
        Reach::Fugue(_) => vec!["environment".to_owned(), "environment_id".to_owned()],
    }
}

/// Where a path of definitions leads to nothing.
pub(super) fn exists(path: &Path, at: Place, report: &Report) -> bool {
    let there = path.exists();
    if !there {
        report.error_help(at, format!("there is no `{}`", path.display()), "paths are relative to the directory of this file");
    }
    there
}
