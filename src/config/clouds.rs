//! `from:` of Azure, Google Cloud and Wiz, from YAML to each collector's own `Config`.

use super::errors::Report;
use super::reach::{Base, OPTION_KEYS, check_url, faults, no_secret, options, secret};
use super::yaml::{At, Node, Table, Value, excerpt};
use crate::collectors::azure::{Access, Cloud, Credentials, Scopes, Through};
use crate::collectors::session::Options;
use crate::collectors::{azure, gcp_scc, google, wiz};
use crate::domain::Span;

const ACCESS: &[&str] = &["cloud", "credentials", "endpoint", "authority"];
pub(super) const DEFENDER_KEYS: &[&str] = &["subscriptions", "management_groups", "through", "report", "standards", "level"];
pub(super) const POLICY_KEYS: &[&str] = &["subscriptions", "management_groups", "through", "filter"];
pub(super) const SENTINEL_KEYS: &[&str] = &["workspaces", "closed_within", "alerts"];
pub(super) const WORKSPACE_KEYS: &[&str] = &["subscription", "resource_group", "workspace"];
pub(super) const SCC_KEYS: &[&str] = &[
    "parents",
    "locations",
    "filter",
    "detectors",
    "quota_project",
    "credentials_file",
    "metadata_server",
    "endpoint",
    "management_endpoint",
];
pub(super) const WIZ_KEYS: &[&str] = &[
    "api_url",
    "auth_url",
    "audience",
    "client_id",
    "client_id_file",
    "client_id_env",
    "client_secret_file",
    "client_secret_env",
    "report",
    "filter",
    "query_file",
    "page_size",
];

/// Refuses secrets in the clear; `credentials` holds none.
fn guard(key: &str) -> Option<(String, String)> {
    match key {
        "credentials" => None,
        "secret" | "client_secret" => Some((
            format!("`{key}` would put a secret into the configuration"),
            format!("write `{key}_file: /run/secrets/…` or `{key}_env: VARIABLE`"),
        )),
        "private_key" | "service_account_key" => Some((
            format!("`{key}` would put a secret into the configuration"),
            "name the whole credentials file: `credentials_file: /run/secrets/…`".to_owned(),
        )),
        _ => no_secret(key),
    }
}

/// All keys of a source, those of every API among them.
fn keys<'k>(own: &[&[&'k str]]) -> Vec<&'k str> {
    own.iter().flat_map(|k| k.iter()).chain(OPTION_KEYS).copied().collect()
}

pub(super) fn azure_defender(node: &Node, base: &Base<'_>, report: &Report) -> Option<azure::defender::Config> {
    let before = report.errors();
    let t = Table::open(node, "from.azure_defender", &keys(&[DEFENDER_KEYS, ACCESS]), report, guard)?;
    let through = way(&t);
    let config = azure::defender::Config {
        access: access(&t, base),
        scopes: scopes(&t),
        through,
        report: word(&t, "report", &azure::defender::Report::ALL, azure::defender::Report::word),
        standards: t.texts("standards").into_iter().map(|s| s.value).collect(),
        level: word(&t, "level", &azure::defender::Level::ALL, azure::defender::Level::word),
        options: options(&t, pace_of(through), base),
    };
    if let (azure::defender::Report::Assessments, Some(level)) = (config.report, t.node("level")) {
        report.error_help(level.at, "`level` is of regulatory compliance", "add `report: regulatory_compliance`, or leave it out");
    }
    checked(node, "from.azure_defender", config.validate(), before, report)?;
    Some(config)
}

pub(super) fn azure_policy(node: &Node, base: &Base<'_>, report: &Report) -> Option<azure::policy::Config> {
    let before = report.errors();
    let t = Table::open(node, "from.azure_policy", &keys(&[POLICY_KEYS, ACCESS]), report, guard)?;
    let through = way(&t);
    let filter = t.text("filter");
    if let Some(filter) = &filter
        && filter.value.to_ascii_lowercase().contains("compliancestate")
    {
        report.error_help(
            filter.at,
            "`filter` of from.azure_policy chooses by compliance state: a ratio needs the states that are left out",
            "filter by something else, such as `policySetDefinitionName eq '…'`; what fails is told apart here anyway",
        );
    }
    let config = azure::policy::Config {
        access: access(&t, base),
        scopes: scopes(&t),
        through,
        filter: filter.map(|f| f.value),
        options: options(&t, pace_of(through), base),
    };
    checked(node, "from.azure_policy", config.validate(), before, report)?;
    Some(config)
}

pub(super) fn sentinel(node: &Node, base: &Base<'_>, report: &Report) -> Option<azure::sentinel::Config> {
    let before = report.errors();
    let t = Table::open(node, "from.sentinel", &keys(&[SENTINEL_KEYS, ACCESS]), report, guard)?;
    if t.node("workspaces").is_none() {
        t.missing("workspaces", "which ones: `workspaces: [{ subscription: …, resource_group: …, workspace: … }]`");
    }
    let workspaces = t.list("workspaces").iter().filter_map(|n| {
        let w = Table::open(n, "a workspace", WORKSPACE_KEYS, report, guard)?;
        let subscription = w.required("subscription", "the id of the workspace's subscription");
        let resource_group = w.required("resource_group", "the resource group that it is in");
        let name = w.required("workspace", "the workspace's name");
        Some(azure::sentinel::Workspace {
            subscription: uuid(&w, subscription?)?,
            resource_group: resource_group?.value,
            name: name?.value,
        })
    });
    let workspaces: Vec<azure::sentinel::Workspace> = workspaces.collect();
    if report.errors() > before {
        return None;
    }
    let defaults = azure::sentinel::Config::default();
    let config = azure::sentinel::Config {
        access: access(&t, base),
        workspaces,
        closed_within: t.span("closed_within", Span(0)).map_or(defaults.closed_within, |s| s.value),
        alerts: t.boolean("alerts").is_some_and(|b| b.value),
        options: options(&t, defaults.options, base),
    };
    checked(node, "from.sentinel", config.validate(), before, report)?;
    Some(config)
}

pub(super) fn gcp_scc(node: &Node, base: &Base<'_>, report: &Report) -> Option<gcp_scc::Config> {
    let before = report.errors();
    let t = Table::open(node, "from.gcp_scc", &keys(&[SCC_KEYS]), report, guard)?;
    if t.node("parents").is_none() {
        t.missing("parents", "whose findings: `parents: [organizations/123456789012]`, or folders and projects");
    }
    let defaults = gcp_scc::Config::default();
    let locations: Vec<String> = t.texts("locations").into_iter().map(|l| l.value).collect();
    let parents: Vec<String> = t.texts("parents").into_iter().map(|p| p.value).collect();
    if report.errors() > before {
        return None;
    }
    let config = gcp_scc::Config {
        parents,
        locations: if locations.is_empty() { defaults.locations } else { locations },
        filter: t.text("filter").map_or(defaults.filter, |f| f.value),
        detectors: t.boolean("detectors").is_some_and(|b| b.value),
        quota_project: t.text("quota_project").map(|p| p.value),
        credentials: google::Credentials {
            file: t.text("credentials_file").map(|f| base.path(&f.value)),
            // Plain by its nature: it is reached without leaving the machine.
            metadata_server: t.text("metadata_server").map(|u| {
                check_url(&u, report);
                u.value
            }),
        },
        endpoint: url(&t, "endpoint").unwrap_or(defaults.endpoint),
        management_endpoint: url(&t, "management_endpoint").unwrap_or(defaults.management_endpoint),
        options: options(&t, defaults.options, base),
    };
    if let (Some(_), Some(server)) = (&config.credentials.file, t.node("metadata_server")) {
        report.error(server.at, "both `credentials_file` and `metadata_server` are given; which one counts?");
    }
    checked(node, "from.gcp_scc", config.validate(), before, report)?;
    Some(config)
}

pub(super) fn wiz(node: &Node, base: &Base<'_>, report: &Report) -> Option<wiz::Config> {
    let before = report.errors();
    let t = Table::open(node, "from.wiz", &keys(&[WIZ_KEYS]), report, guard)?;
    if t.node("api_url").is_none() {
        t.missing("api_url", "the tenant's own, from its settings: `api_url: https://api.eu1.app.wiz.io/graphql`");
    }
    let api_url = url(&t, "api_url");
    let kept = secret(&t, "client_id", base);
    let id = t.text("client_id").map(|id| wiz::ClientId::Written(id.value)).or_else(|| kept.map(wiz::ClientId::Kept));
    if id.is_none() && report.errors() == before {
        t.missing("client_id", "the service account's id: `client_id: …`, `client_id_file` or `client_id_env`");
    }
    let client_secret = secret(&t, "client_secret", base);
    if client_secret.is_none() && report.errors() == before {
        t.missing(
            "client_secret_file",
            "the service account's secret: `client_secret_file: /run/secrets/…` or `client_secret_env: VARIABLE`",
        );
    }
    let filter = t.node("filter").and_then(|n| match &n.value {
        Value::Map(entries) => Some(entries.iter().map(|e| (e.key.clone(), e.node.json())).collect()),
        _ => {
            t.wrong("filter", n, "a mapping as GraphQL's `filterBy`, such as `{ severity: [CRITICAL, HIGH] }`");
            None
        }
    });
    let page_size = t.whole("page_size", 1..=u64::from(wiz::MOST_ROWS)).and_then(|n| u32::try_from(n.value).ok());
    if report.errors() > before {
        return None;
    }
    let mut config = wiz::Config::new(api_url?, id?, client_secret?);
    config.auth_url = url(&t, "auth_url").unwrap_or(config.auth_url);
    config.audience = t.text("audience").map_or(config.audience, |a| a.value);
    config.report = word(&t, "report", &wiz::Report::ALL, wiz::Report::word);
    config.filter = filter.unwrap_or_default();
    config.query_file = t.text("query_file").map(|f| base.path(&f.value));
    config.page_size = page_size.unwrap_or(config.page_size);
    config.options = options(&t, config.options, base);
    if config.report == wiz::Report::ConfigurationFindings
        && let Some(status) = t.node("filter").and_then(|f| f.get("status"))
        && !status.json().to_string().contains("\"RESOLVED\"")
    {
        report.error_help(
            status.at,
            "`filter.status` of from.wiz leaves out RESOLVED, and with it every finding that passes: no ratio could be computed",
            "add RESOLVED, or leave `status` out",
        );
    }
    checked(node, "from.wiz", config.validate(), before, report)?;
    Some(config)
}

/// What the room itself finds wrong, if nothing was before.
fn checked(node: &Node, what: &str, wrong: Vec<(&'static str, String)>, before: usize, report: &Report) -> Option<()> {
    if report.errors() == before {
        faults(node, what, wrong, report);
    }
    (report.errors() == before).then_some(())
}

/// One of a closed set of words; the default if it is not there.
fn word<T: Copy + Default + 'static>(t: &Table<'_, '_>, key: &str, all: &[T], spelled: impl Fn(T) -> &'static str) -> T {
    let words: Vec<&str> = all.iter().map(|v| spelled(*v)).collect();
    t.word(key, &words, |w| all.iter().copied().find(|v| spelled(*v) == w)).map(|v| v.value).unwrap_or_default()
}

/// A URL that credentials are sent to: encrypted, unless it does not leave this machine.
fn url(t: &Table<'_, '_>, key: &str) -> Option<String> {
    let url = t.text(key)?;
    let before = t.report.errors();
    check_url(&url, t.report);
    let plain = url.value.strip_prefix("http://");
    let here = |rest: &str| {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let name = host.strip_prefix('[').and_then(|h| h.split(']').next()).unwrap_or(host.split(':').next().unwrap_or_default());
        name == "localhost" || name == "::1" || name.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
    };
    if t.report.errors() == before && plain.is_some_and(|rest| !here(rest)) {
        t.report.error_help(
            url.at,
            format!("`{key}` is `{}`: credentials would be sent in the clear", excerpt(&url.value)),
            "write `https://…`; plain http is for this machine alone",
        );
    }
    (t.report.errors() == before).then_some(url.value)
}

fn way(t: &Table<'_, '_>) -> Through {
    word(t, "through", &Through::ALL, Through::word)
}

/// Resource Graph allows 15 queries in five seconds.
fn pace_of(through: Through) -> Options {
    match through {
        Through::ResourceManager => Options::default(),
        Through::ResourceGraph => Options { requests_per_second: 3, ..Options::default() },
    }
}

fn scopes(t: &Table<'_, '_>) -> Scopes {
    let subscriptions = t.texts("subscriptions").into_iter().filter_map(|s| uuid(t, s)).collect();
    Scopes { subscriptions, management_groups: t.texts("management_groups").into_iter().map(|g| g.value).collect() }
}

/// A subscription's id; people write its name.
fn uuid(t: &Table<'_, '_>, id: At<String>) -> Option<String> {
    let parts: Vec<&str> = id.value.split('-').collect();
    let good = parts.iter().map(|p| p.len()).eq([8, 4, 4, 4, 12]) && parts.iter().all(|p| p.bytes().all(|b| b.is_ascii_hexdigit()));
    if !good {
        t.report.error_help(
            id.at,
            format!("`{}` is not the id of a subscription", excerpt(&id.value)),
            "it is of the form 00000000-0000-0000-0000-000000000000; `az account list -o table` shows it beside the name",
        );
    }
    good.then_some(id.value)
}

fn access(t: &Table<'_, '_>, base: &Base<'_>) -> Access {
    Access {
        cloud: word(t, "cloud", &Cloud::ALL, Cloud::word),
        endpoint: url(t, "endpoint"),
        authority: url(t, "authority"),
        credentials: t.node("credentials").and_then(|n| credentials(n, base, t.report)).unwrap_or_default(),
    }
}

const WAYS: &str = "ways are environment, client_secret, workload_identity and managed_identity";

fn credentials(node: &Node, base: &Base<'_>, report: &Report) -> Option<Credentials> {
    let nothing = Node { at: node.at, value: Value::Map(Vec::new()) };
    let (way, body) = match &node.value {
        Value::Text(way) => (way.as_str(), &nothing),
        Value::Map(entries) if entries.len() == 1 => {
            let e = &entries[0];
            (e.key.as_str(), if matches!(e.node.value, Value::Null) { &nothing } else { &e.node })
        }
        _ => {
            report.error_help(node.at, format!("`credentials` should be one of its ways, found {}", node.describe()), WAYS);
            return None;
        }
    };
    let open = |what: &'static str, keys: &[&str]| Table::open(body, what, keys, report, no_secret);
    let text = |t: &Table<'_, '_>, key: &str| t.text(key).map(|v| v.value);
    match way {
        "environment" => {
            open("credentials.environment", &[])?;
            Some(Credentials::Environment)
        }
        "client_secret" => {
            let t = open("credentials.client_secret", &["tenant", "client_id", "secret_file", "secret_env"])?;
            let found = secret(&t, "secret", base);
            if found.is_none() && t.node("secret_file").is_none() && t.node("secret_env").is_none() {
                t.missing("secret_file", "the application's secret: `secret_file: /run/secrets/…` or `secret_env: VARIABLE`");
            }
            Some(Credentials::ClientSecret { tenant: text(&t, "tenant"), client_id: text(&t, "client_id"), secret: found? })
        }
        "workload_identity" => {
            let t = open("credentials.workload_identity", &["tenant", "client_id", "token_file"])?;
            let token_file = text(&t, "token_file").map(|f| base.path(&f));
            Some(Credentials::WorkloadIdentity { tenant: text(&t, "tenant"), client_id: text(&t, "client_id"), token_file })
        }
        "managed_identity" => {
            let t = open("credentials.managed_identity", &["client_id", "endpoint"])?;
            // Plain by its nature: it is reached without leaving the machine.
            let endpoint = t.text("endpoint").map(|u| {
                check_url(&u, report);
                u.value
            });
            Some(Credentials::ManagedIdentity { client_id: text(&t, "client_id"), endpoint })
        }
        other => {
            report.error_help(node.at, format!("unknown way of showing credentials `{}`", excerpt(other)), WAYS);
            None
        }
    }
}
