//! `from:` of AWS, from YAML to each collector's own `Config`.

use super::errors::Report;
use super::reach::{Base, OPTION_KEYS, faults, no_secret, options, secret, small};
use super::yaml::{Node, Table, Value};
use crate::collectors::{aws, aws_config, aws_security_hub, file, s3 as bucket};
use crate::domain::Span;

/// What may be said of every collector of AWS.
pub(super) const AWS_KEYS: &[&str] = &["region", "regions", "accounts", "role_name", "profile", "endpoint_url"];
pub(super) const ACCOUNT_KEYS: &[&str] = &["id", "role_arn", "external_id_file", "external_id_env"];
pub(super) const SECURITY_HUB_KEYS: &[&str] = &["products", "standards", "filters", "disabled_controls"];
pub(super) const SECURITY_HUB_V2_KEYS: &[&str] = &["products", "standards", "filters", "organization_id"];
pub(super) const CONFIG_KEYS: &[&str] = &["aggregator", "rules", "check"];
pub(super) const S3_KEYS: &[&str] = &["bucket", "path", "paths", "include", "exclude", "runs", "modified_within", "max_objects"];

/// What may be said of every collector of AWS ([`AWS_KEYS`], [`OPTION_KEYS`]).
fn common(t: &Table<'_, '_>, defaults: aws::Config, base: &Base<'_>) -> aws::Config {
    let mut regions: Vec<String> = t.texts("region").into_iter().map(|r| r.value).collect();
    regions.extend(t.texts("regions").into_iter().map(|r| r.value));
    if regions.is_empty() && t.node("region").is_none() && t.node("regions").is_none() {
        t.missing("region", "where to ask: `region: eu-west-1`, or `regions: [eu-west-1, us-east-1]`");
    }
    let role_name = t.text("role_name");
    let partition = match regions.first().map_or("", |r| r.split('-').next().unwrap_or_default()) {
        "cn" => "aws-cn",
        _ if regions.first().is_some_and(|r| r.starts_with("us-gov-")) => "aws-us-gov",
        _ => "aws",
    };
    let mut accounts = Vec::new();
    for node in t.list("accounts") {
        let mut account = match &node.value {
            Value::Map(_) => {
                let Some(a) = Table::open(node, "an account", ACCOUNT_KEYS, t.report, no_secret) else { continue };
                let id = a.required("id", "the account's twelve digits: `id: \"123456789012\"`");
                aws::Account {
                    id: id.map_or_else(String::new, |i| i.value),
                    role_arn: a.text("role_arn").map(|r| r.value),
                    external_id: secret(&a, "external_id", base),
                }
            }
            _ => match node.scalar() {
                Some(id) => aws::Account { id, ..aws::Account::default() },
                None => {
                    t.wrong("accounts", node, "an account's twelve digits, or `{ id: \"123456789012\", role_arn: … }`");
                    continue;
                }
            },
        };
        if let (None, Some(role)) = (&account.role_arn, &role_name) {
            account.role_arn = Some(format!("arn:{partition}:iam::{}:role/{}", account.id, role.value));
        }
        accounts.push(account);
    }
    if let (Some(role), true) = (&role_name, t.node("accounts").is_none()) {
        t.report.error_help(role.at, "`role_name` is given, and no accounts", "write `accounts: [\"123456789012\", …]`");
    }
    aws::Config {
        regions,
        accounts,
        profile: t.text("profile").map(|p| p.value),
        endpoint_url: t.text("endpoint_url").map(|u| u.value),
        options: options(t, defaults.options, base),
    }
}

/// A table whose keys are its own, those of AWS and those of every API.
fn table<'n, 'r>(node: &'n Node, what: &'n str, own: &[&str], report: &'r Report) -> Option<Table<'n, 'r>> {
    let keys: Vec<&str> = own.iter().chain(AWS_KEYS).chain(OPTION_KEYS).copied().collect();
    Table::open(node, what, &keys, report, |key| {
        let (message, help) = no_secret(key)?;
        let chain = "AWS credentials come from AWS's own chain: environment, profile, web identity, container or instance";
        Some((message, if key.contains("access_key") || key.contains("session") { chain.to_owned() } else { help }))
    })
}

pub(super) fn security_hub(node: &Node, what: &str, own: &[&str], base: &Base<'_>, report: &Report) -> Option<aws_security_hub::Config> {
    let before = report.errors();
    let t = table(node, what, own, report)?;
    let defaults = aws_security_hub::Config::default();
    let filters = match t.node("filters") {
        None => std::collections::BTreeMap::new(),
        Some(n) => match n.json() {
            serde_json::Value::Object(map) => map.into_iter().collect(),
            _ => {
                t.wrong(
                    "filters",
                    n,
                    "a mapping in the API's own words, such as `{ SeverityLabel: [{ Value: HIGH, Comparison: EQUALS }] }`",
                );
                return None;
            }
        },
    };
    let products = t.texts("products").into_iter().map(|p| p.value).collect();
    let config = aws_security_hub::Config {
        aws: common(&t, defaults.aws, base),
        products: if t.node("products").is_some() { products } else { defaults.products },
        standards: t.texts("standards").into_iter().map(|s| s.value).collect(),
        filters,
        disabled_controls: if own.contains(&"disabled_controls") { t.boolean("disabled_controls").is_none_or(|b| b.value) } else { false },
        organization_id: if own.contains(&"organization_id") { t.text("organization_id").map(|o| o.value) } else { None },
    };
    if report.errors() == before {
        faults(node, what, config.validate(), report);
    }
    (report.errors() == before).then_some(config)
}

pub(super) fn config(node: &Node, base: &Base<'_>, report: &Report) -> Option<aws_config::Config> {
    let before = report.errors();
    let t = table(node, "from.aws_config", CONFIG_KEYS, report)?;
    let defaults = aws_config::Config::default();
    let words: Vec<&str> = aws_config::Check::ALL.iter().map(|c| c.word()).collect();
    let check = t.word("check", &words, |w| aws_config::Check::ALL.into_iter().find(|c| c.word() == w));
    let config = aws_config::Config {
        aws: common(&t, defaults.aws, base),
        aggregator: t.text("aggregator").map(|a| a.value),
        rules: t.texts("rules").into_iter().map(|r| r.value).collect(),
        check: check.map_or(defaults.check, |c| c.value),
    };
    if report.errors() == before {
        faults(node, "from.aws_config", config.validate(), report);
    }
    (report.errors() == before).then_some(config)
}

pub(super) fn s3(node: &Node, format: &str, base: &Base<'_>, report: &Report) -> Option<bucket::Config> {
    let before = report.errors();
    let t = table(node, "from.s3", S3_KEYS, report)?;
    let defaults = bucket::Config::default();
    let bucket = t.required("bucket", "the bucket's name: `bucket: acme-scans`");
    let mut paths = t.texts("path");
    paths.extend(t.texts("paths"));
    if paths.is_empty() && t.node("path").is_none() && t.node("paths").is_none() {
        t.missing("path", "which keys: a key, a glob or a prefix, for instance `path: \"prowler/*.ocsf.json\"`");
    }
    let words: Vec<&str> = file::Runs::ALL.iter().map(|r| r.word()).collect();
    let runs = t.word("runs", &words, |w| file::Runs::ALL.into_iter().find(|r| r.word() == w));
    let files = file::Config {
        paths: paths.into_iter().map(|p| p.value).collect(),
        include: t.texts("include").into_iter().map(|p| p.value).collect(),
        exclude: t.texts("exclude").into_iter().map(|p| p.value).collect(),
        prefer: file::prefer_for(format),
        settle: Span(0),
        runs: runs.map_or(defaults.files.runs, |r| r.value),
    };
    let config = bucket::Config {
        aws: common(&t, defaults.aws, base),
        bucket: bucket.map_or_else(String::new, |b| b.value),
        files,
        modified_within: t.span("modified_within", Span::SECOND).map_or(defaults.modified_within, |s| s.value),
        max_objects: small(&t, "max_objects", 1..=1_000_000).unwrap_or(defaults.max_objects),
        custodian: format == crate::formats::Format::CloudCustodian.word(),
    };
    if report.errors() == before {
        faults(node, "from.s3", config.validate(), report);
    }
    (report.errors() == before).then_some(config)
}
