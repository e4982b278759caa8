//! `bornright.yaml`: where findings come from and how to run, from YAML to [`Config`].

use super::definitions::format_suggestion;
use super::errors::{ConfigProblem, Place, ProblemSeverity, Report, nearest, suggestion};
use super::reach::{self, Base};
use super::yaml::{At, Entry, Node, Table, Value, documents, excerpt};
use super::{CollectorConfig, Config, Prometheus, digest};
use crate::collectors::Reach;
use crate::domain::{ScopeTemplate, Span};
use crate::formats::{Format, FormatSpec};
use crate::ledger;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

pub(super) const COLLECTOR_KEYS: &[&str] =
    &["name", "every", "max_age", "new_resource_grace", "timeout", "trust_suppressions", "from", "format", "scope", "fields"];
pub(super) const KEYS: &[&str] = &["listen", "ledger", "definitions", "scope", "series_limit", "prometheus", "collectors"];
pub(super) const PROMETHEUS_KEYS: &[&str] = &["retention", "scrape_interval", "rule_interval", "period_source"];
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9876);
/// Whatever owns resources in the formats we read, the widest owner first.
const SCOPE: &str = "{account|subscription|project|cluster|repository|host}";
const SERIES_LIMIT: u64 = 5000;
/// The longest a run may take unless said otherwise.
const TIMEOUT: Span = Span(10 * Span::MINUTE.0);

/// The fields that formats fill (see `Finding::fields`).
const FIELDS: &[&str] = &[
    "account",
    "account_name",
    "region",
    "provider",
    "cluster",
    "namespace",
    "host",
    "repository",
    "project",
    "subscription",
    "artifact",
    "profile",
    "service",
    "file",
];

/// What was read, with what was said about it.
pub(super) struct Read {
    pub(super) config: Option<Config>,
    pub(super) problems: Vec<ConfigProblem>,
    /// The definitions it names, even where the rest is faulty, so that they can be checked too.
    pub(super) definitions: Vec<PathBuf>,
}

/// Reads the text of `path`.
pub(super) fn read(path: &Path, text: &str) -> Read {
    let report = Report::new(&path.display().to_string());
    let mut definitions = Vec::new();
    let config = whole(path, text, &report, &mut definitions);
    let fatal = report.errors() > 0;
    Read { config: config.filter(|_| !fatal), problems: report.into_problems(), definitions }
}

fn whole(path: &Path, text: &str, report: &Report, found: &mut Vec<PathBuf>) -> Option<Config> {
    let docs = documents(text, report);
    let [doc] = docs.as_slice() else {
        if let Some(second) = docs.get(1) {
            report.error_help(
                second.at,
                "this file has a second document; it should have one",
                "definitions (controls, SLOs, waivers) stand in files of their own, named under `definitions:`",
            );
        } else if report.errors() == 0 {
            report.error_help(
                Place { line: 1, column: 1 },
                "the file is empty",
                "it needs at least `collectors:`; see docs/configuration.md",
            );
        }
        return None;
    };
    let t = Table::open(doc, "the configuration", KEYS, report, |key| match key {
        "apiVersion" | "kind" => Some((
            format!("`{key}` belongs into definitions, this file is read as bornright.yaml"),
            "name definitions as arguments: `bornright check DEFINITIONS…`".to_owned(),
        )),
        _ => None,
    })?;
    let base_dir = path.parent().unwrap_or(Path::new(""));
    let base = Base(base_dir);
    let listen = listen(&t);
    let ledger = ledger_config(&t, &base);
    let named = t.texts("definitions");
    for d in &named {
        let path = base.path(&d.value);
        if reach::exists(&path, d.at, report) {
            found.push(path);
        }
    }
    if t.node("definitions").is_none() {
        let usual = base.path("slo-definitions");
        if usual.exists() {
            found.push(usual);
        } else {
            t.missing("definitions", "name the files or directories of controls and SLOs: `definitions: [slo-definitions]`");
        }
    }
    let scope = scope(&t).or_else(|| ScopeTemplate::parse(SCOPE).ok());
    let series_limit = t.whole("series_limit", 1..=1_000_000).map_or(SERIES_LIMIT, |n| n.value);
    let prometheus = t.node("prometheus").and_then(|n| prometheus(n, report)).unwrap_or_default();
    if t.node("collectors").is_none() {
        t.missing("collectors", "say where findings come from: `collectors: [{ name: …, every: …, from: …, format: … }]`");
    }
    let items = t.list("collectors");
    if let Some(Node { at, value: Value::List(items) }) = t.node("collectors")
        && items.is_empty()
    {
        report.error(*at, "`collectors` is empty: nothing would ever be collected");
    }
    let mut names: Vec<At<String>> = Vec::new();
    let collectors: Vec<CollectorConfig> =
        items.iter().filter_map(|item| collector(item, scope.as_ref(), &base, report, &mut names)).collect();
    Some(Config {
        path: path.to_owned(),
        listen,
        ledger,
        definitions: found.clone(),
        scope: scope?,
        series_limit: usize::try_from(series_limit).unwrap_or(usize::MAX),
        prometheus,
        collectors,
    })
}

/// How long rules may be apart: Prometheus forgets a series that had no sample for five minutes (SLO110).
const STALE: Span = Span(5 * Span::MINUTE.0);

fn prometheus(node: &Node, report: &Report) -> Option<Prometheus> {
    let t = Table::open(node, "`prometheus`", PROMETHEUS_KEYS, report, |_| None)?;
    let mut out = Prometheus { retention: t.span("retention", Span::HOUR).map(|s| s.value), ..Prometheus::default() };
    if let Some(s) = t.span("scrape_interval", Span::SECOND) {
        out.scrape_interval = s.value;
    }
    if let Some(s) = t.span("rule_interval", Span::SECOND) {
        out.rule_interval = s.value;
        if s.value >= STALE {
            report.push(
                ProblemSeverity::Error,
                Some("SLO110"),
                s.at,
                format!("`rule_interval` is {}: recorded series go stale between evaluations", s.value),
                Some("Prometheus looks back five minutes: let it be at most 4m, usually 1m".to_owned()),
            );
        }
    }
    out.period_from_exporter = t
        .word("period_source", &["promql", "exporter"], |w| match w {
            "promql" => Some(false),
            "exporter" => Some(true),
            _ => None,
        })
        .is_some_and(|w| w.value);
    Some(out)
}

fn listen(t: &Table<'_, '_>) -> SocketAddr {
    let Some(found) = t.text("listen") else { return LISTEN };
    let text = found.value.trim();
    text.parse().unwrap_or_else(|_| {
        let port = text.rsplit(':').next().filter(|p| p.parse::<u16>().is_ok());
        let help = match port {
            Some(port) if text.starts_with(':') => {
                format!("for every interface write `0.0.0.0:{port}`, for this machine alone `127.0.0.1:{port}`")
            }
            Some(port) => format!("write an IP address and a port: `127.0.0.1:{port}`"),
            None => format!("write an IP address and a port: `{LISTEN}`"),
        };
        t.report.error_help(found.at, format!("`listen` is `{}`, which is no address", excerpt(text)), help);
        LISTEN
    })
}

fn ledger_config(t: &Table<'_, '_>, base: &Base<'_>) -> ledger::Config {
    let default = || ledger::Config::Sqlite { path: base.path("data/ledger.db") };
    let Some(node) = t.node("ledger") else { return default() };
    if let Some(Entry { at, .. }) = node.as_map().unwrap_or_default().iter().find(|e| e.key == "postgres") {
        t.report.error_help(
            *at,
            "a ledger in PostgreSQL is not in this release",
            "use `ledger: { sqlite: { path: data/ledger.db } }`, with one replica",
        );
        return default();
    }
    let Some(kind) = Table::open(node, "ledger", &["sqlite"], t.report, |_| None) else { return default() };
    let Some(body) = kind.node("sqlite") else {
        if node.as_map().is_some_and(<[Entry]>::is_empty) {
            kind.missing("sqlite", "write `ledger: { sqlite: { path: data/ledger.db } }`");
        }
        return default();
    };
    let Some(sqlite) = Table::open(body, "ledger.sqlite", &["path"], t.report, |_| None) else { return default() };
    match sqlite.required("path", "the file, for instance `path: data/ledger.db`") {
        Some(path) => ledger::Config::Sqlite { path: base.path(&path.value) },
        None => default(),
    }
}

fn scope(t: &Table<'_, '_>) -> Option<ScopeTemplate> {
    let found = match t.node("scope") {
        // `scope: {account}` without quotes is a mapping to YAML; say so instead of "expected a text".
        Some(Node { at, value: Value::Map(entries) }) => {
            let inner = entries.first().map_or("account", |e| e.key.as_str());
            t.report.error_help(
                *at,
                "`scope` should be a text, found a mapping: the braces need quotes",
                format!("write `scope: \"{{{}}}\"`", excerpt(inner)),
            );
            return None;
        }
        Some(Node { value: Value::Text(text), at }) => At { at: *at, value: text.clone() },
        _ => t.text("scope")?,
    };
    match ScopeTemplate::parse(&found.value) {
        Ok(template) => Some(template),
        Err(message) => {
            t.report.error_help(
                found.at,
                message,
                "for instance `{account}`, `{cluster}/{namespace}`, `{account|subscription}` (the first that is there)",
            );
            None
        }
    }
}

fn collector(
    node: &Node,
    scope_of_all: Option<&ScopeTemplate>,
    base: &Base<'_>,
    report: &Report,
    names: &mut Vec<At<String>>,
) -> Option<CollectorConfig> {
    let before = report.errors();
    let what = node.named("collector", "name");
    let t = Table::open(node, &what, COLLECTOR_KEYS, report, |key| {
        reach::KINDS
            .contains(&key)
            .then(|| (format!("`{key}` stands beside `from`, it belongs into it"), format!("write `from: {{ {key}: {{ … }} }}`")))
    })?;
    let name = t.required("name", "give the collector a name; metrics and problems carry it");
    if let Some(name) = &name {
        let good = name.value.len() <= 100
            && name.value.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.value.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b));
        if !good {
            report.error_help(
                name.at,
                format!("`{}` cannot be a collector's name", excerpt(&name.value)),
                "use letters, digits, `-`, `_` and `.`, at most 100, a letter or digit first",
            );
        }
        match names.iter().find(|n| n.value == name.value) {
            Some(first) => {
                report.error(name.at, format!("collector `{}` is defined twice; it stands in line {} already", name.value, first.at.line))
            }
            None => names.push(name.clone()),
        }
    }
    if t.node("every").is_none() {
        t.missing("every", "how often new findings are to be expected, e.g. `every: 1h`; how long evidence holds follows from it");
    }
    let every = t.span("every", Span::SECOND);
    let max_age = t.span("max_age", Span::SECOND);
    if let (Some(every), Some(max_age)) = (&every, &max_age)
        && max_age.value < every.value.times(2)
    {
        report.push(
            ProblemSeverity::Warning,
            Some("SLO112"),
            max_age.at,
            format!("`max_age` is {}, less than twice `every` ({}): one late run makes everything unknown", max_age.value, every.value),
            Some(format!("let it be at least {}; without it, it is {}", every.value.times(2), every.value.times(3))),
        );
    }
    let timeout = t.span("timeout", Span::SECOND);
    if let (Some(every), Some(timeout)) = (&every, &timeout)
        && timeout.value > every.value
    {
        report.error_help(
            timeout.at,
            format!(
                "`timeout` ({}) is longer than `every` ({}): a run would still be going when the next is due",
                timeout.value, every.value
            ),
            format!("let it be at most {}", every.value),
        );
    }
    let format = t.node("format").map(|n| format_spec(n, report));
    let format_name = match &format {
        Some(Some((_, name))) => name.clone(),
        _ => String::new(),
    };
    if t.node("format").is_none() && !t.node("from").is_some_and(reach::implies_format) {
        t.missing("format", "what the documents are (`xccdf`, `ocsf`, …); `auto` recognises them by their shape");
    }
    if t.node("from").is_none() {
        t.missing("from", "how the source is reached: `from: { file: { path: … } }`");
    }
    let from = t.node("from").and_then(|n| reach::read(n, &format_name, base, report));
    let format = match from.as_ref().and_then(Reach::format) {
        None => format,
        Some(implied) => {
            if let Some(Some((_, written))) = &format
                && written != implied.word()
            {
                let what = from.as_ref().map_or("", Reach::word);
                report.error_help(
                    t.place("format"),
                    format!("`format` is `{written}`, but `{what}` brings {implied} as configured here"),
                    "leave `format` out: this kind of source says it",
                );
            }
            Some(Some((FormatSpec::Builtin(implied), implied.word().to_owned())))
        }
    };
    let own_scope = scope(&t);
    let mut fields = Vec::new();
    for (key, value) in t.pairs("fields") {
        if key.value.is_empty() || !key.value.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)) {
            report.error_help(
                key.at,
                format!("`{}` cannot be a field's name", excerpt(&key.value)),
                "use letters, digits, `_`, `-` and `.`",
            );
        } else {
            fields.push((key.value, value.value));
        }
    }
    let trust_suppressions = t.boolean("trust_suppressions").is_some_and(|b| b.value);
    if let (Some(Some((spec, _))), Some(from)) = (&format, &from) {
        let template = own_scope.as_ref();
        if let (FormatSpec::Builtin(_), Some(template)) = (spec, template) {
            scope_fields(template, &fields, &reach::captures(from), t.place("scope"), report);
        }
    }
    if report.errors() > before {
        return None;
    }
    let (format, format_name) = format.flatten()?;
    let every = every?.value;
    let mapping_digest = digest::of_json(&serde_json::json!({
        "format": t.node("format").map_or_else(|| format_name.clone().into(), Node::json),
        "scope": own_scope.as_ref().or(scope_of_all).map(ScopeTemplate::source),
        "trust_suppressions": trust_suppressions,
        "fields": fields,
    }));
    Some(CollectorConfig {
        name: name?.value,
        every,
        max_age: max_age.map_or(every.times(3), |s| s.value),
        new_resource_grace: t.span("new_resource_grace", Span(0)).map_or(every, |s| s.value),
        timeout: timeout.map_or(every.min(TIMEOUT), |s| s.value),
        trust_suppressions,
        from: from?,
        format,
        format_name,
        scope: own_scope,
        fields,
        mapping_digest,
    })
}

/// A placeholder that nothing fills puts every resource under `unplaced`: legal, and surely not meant.
fn scope_fields(template: &ScopeTemplate, fields: &[(String, String)], captures: &[String], at: Place, report: &Report) {
    for name in template.fields() {
        let known = FIELDS.contains(&name) || fields.iter().any(|(k, _)| k == name) || captures.iter().any(|c| c == name);
        if !known {
            let help = match nearest(name, FIELDS.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("give it under `fields:`, or capture it in the path; formats fill {}", FIELDS.join(", ")),
            };
            report.push(ProblemSeverity::Warning, None, at, format!("nothing fills `{{{name}}}` in this scope"), Some(help));
        }
    }
}

fn format_spec(node: &Node, report: &Report) -> Option<(FormatSpec, String)> {
    match &node.value {
        Value::Text(word) if word == "auto" => Some((FormatSpec::Auto, "auto".to_owned())),
        Value::Text(word) if word == "jsonpath" => {
            report.error_help(
                node.at,
                "`format: jsonpath` needs a mapping",
                "write `format: { jsonpath: { records: …, check: …, resource: …, result: … } }`; see docs/configuration.md",
            );
            None
        }
        Value::Text(word) => match Format::from_word(word) {
            Some(format) => Some((FormatSpec::Builtin(format), word.clone())),
            None => {
                report.error_help(node.at, format!("unknown format `{}`", excerpt(word)), format_suggestion(word));
                None
            }
        },
        Value::Map(entries) => match entries.as_slice() {
            [e] if e.key == "jsonpath" => super::mapping::read(&e.node, report).map(|m| (FormatSpec::JsonPath(m), "jsonpath".to_owned())),
            [e] if Format::from_word(&e.key).is_some() || e.key == "auto" => {
                report.error_help(e.at, format!("format `{}` takes no settings", e.key), format!("write `format: {}`", e.key));
                None
            }
            [e] => {
                report.error_help(
                    e.at,
                    format!("unknown format `{}`", excerpt(&e.key)),
                    suggestion(&e.key, &["jsonpath"], "the one format with settings is"),
                );
                None
            }
            _ => {
                report.error_help(
                    node.at,
                    format!("`format` should be a name or `{{ jsonpath: … }}`, found {}", node.describe()),
                    format_suggestion(""),
                );
                None
            }
        },
        _ => {
            report.error_help(
                node.at,
                format!("`format` should be a name or `{{ jsonpath: … }}`, found {}", node.describe()),
                format_suggestion(""),
            );
            None
        }
    }
}
