//! Writes a corpus of findings: the same arguments give the same bytes.
//!
//! ```text
//! gen --findings 100000 --format ocsf-ndjson|ocsf-array|asff-pages|native --out FILE
//!     [--seed 1] [--mutate 0.01] [--drop 0.002] [--time SECONDS] [--definitions FILE]
//! ```
//!
//! The estate: 100 accounts, 30 services with 10 controls each; a resource belongs to a service and is under its ten
//! controls. Order as a scanner writes: account, control, resource. Controls fail at different rates, 16 % on the whole;
//! 0.5 % of the findings are manual, 1 % are muted. A record has the size and the shape of Prowler's (about 3.3 kB of
//! compact JSON), with escapes and letters beyond ASCII in the texts.
//!
//! `--mutate` turns that share of the verdicts around, `--drop` leaves that share of findings out: a second scan.
//! The totals go to stderr, for comparison with what the readers say.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, Write};

const ACCOUNTS: u64 = 100;
const SERVICES: u64 = 30;
const CONTROLS: u64 = 300;
const PAGE: usize = 100;

#[derive(Clone, Copy, PartialEq)]
enum Format {
    OcsfNdjson,
    OcsfArray,
    AsffPages,
    Native,
}

struct Args {
    findings: u64,
    format: Format,
    out: String,
    seed: u64,
    mutate: f64,
    drop: f64,
    time: u64,
    definitions: Option<String>,
}

/// What is the same for all findings of a control, escaped once.
struct Control {
    check: String,
    service: &'static str,
    kind: String,
    title: String,
    desc: String,
    risk: String,
    fix: String,
    frameworks: String,
    severity: (&'static str, u8),
    fail_rate: f64,
}

struct Finding<'a> {
    control: &'a Control,
    account: &'a str,
    region: &'static str,
    arn: String,
    name: String,
    status: &'static str,
    muted: bool,
    time: u64,
    uid: u64,
}

fn main() -> io::Result<()> {
    let args = args().unwrap_or_else(|e| {
        eprintln!("gen: {e}");
        std::process::exit(2);
    });
    let controls: Vec<Control> = (0..CONTROLS).map(control).collect();
    if let Some(path) = &args.definitions {
        std::fs::write(path, definitions(&controls))?;
    }
    let mut out = BufWriter::with_capacity(1 << 20, File::create(&args.out)?);
    let each = args.findings.div_ceil(ACCOUNTS * CONTROLS);
    let (mut made, mut wrote) = (0u64, 0u64);
    let mut totals = [0u64; 4];
    let mut text = String::new();
    let mut indented = String::new();
    if args.format == Format::OcsfArray {
        out.write_all(b"[")?;
    }
    'all: for a in 0..ACCOUNTS {
        let account = format!("{:012}", 100_000_000_007 + a * 7_919_191);
        for (c, control) in (0u64..).zip(&controls) {
            for r in 0..each {
                if made == args.findings {
                    break 'all;
                }
                made += 1;
                let draw = mix(args.seed ^ mix(a << 40 | c << 28 | r));
                if share(mix(draw ^ 0xd0)) < args.drop {
                    continue;
                }
                let region = ["eu-west-1", "eu-central-1", "us-east-1"][(mix(a << 32 | r) % 3) as usize];
                let name = format!(
                    "{}-{:06x}",
                    ["prod", "stage", "dev", "shared"][(r % 4) as usize],
                    mix(a << 24 | c % SERVICES << 16 | r) & 0xff_ffff
                );
                let mut status = match share(draw) {
                    d if d < 0.005 => "MANUAL",
                    d if d < 0.005 + control.fail_rate => "FAIL",
                    _ => "PASS",
                };
                if status != "MANUAL" && share(mix(draw ^ 0xf1)) < args.mutate {
                    status = if status == "FAIL" { "PASS" } else { "FAIL" };
                }
                let muted = share(mix(draw ^ 0x3a)) < 0.01;
                let finding = Finding {
                    control,
                    account: &account,
                    region,
                    arn: format!("arn:aws:{}:{region}:{account}:{}/{name}", control.service, control.kind),
                    name,
                    status,
                    muted,
                    time: args.time,
                    uid: draw,
                };
                totals[["PASS", "FAIL", "MANUAL"].iter().position(|s| *s == status).unwrap_or(0)] += 1;
                totals[3] += u64::from(muted);
                text.clear();
                match args.format {
                    Format::OcsfNdjson | Format::OcsfArray => ocsf(&finding, &mut text),
                    Format::AsffPages => asff(&finding, &mut text),
                    Format::Native => native(&finding, &mut text),
                }
                match args.format {
                    Format::OcsfArray => {
                        indented.clear();
                        indent(&text, &mut indented);
                        out.write_all(if wrote == 0 { b"\n    " } else { b",\n    " })?;
                        out.write_all(indented.as_bytes())?;
                    }
                    Format::AsffPages => {
                        let first = wrote.is_multiple_of(PAGE as u64);
                        if first && wrote > 0 {
                            writeln!(out, "],\"NextToken\":\"{:016x}\"}}", mix(wrote))?;
                        }
                        out.write_all(if first { b"{\"Findings\":[" } else { b"," })?;
                        out.write_all(text.as_bytes())?;
                    }
                    _ => {
                        out.write_all(text.as_bytes())?;
                        out.write_all(b"\n")?;
                    }
                }
                wrote += 1;
            }
        }
    }
    match args.format {
        Format::OcsfArray => out.write_all(b"\n]\n")?,
        Format::AsffPages => out.write_all(if wrote == 0 { b"{\"Findings\":[]}\n" } else { b"]}\n" })?,
        _ => {}
    }
    out.flush()?;
    let [pass, fail, manual, muted] = totals;
    eprintln!("{{\"findings\":{wrote},\"pass\":{pass},\"fail\":{fail},\"manual\":{manual},\"suppressed\":{muted}}}");
    Ok(())
}

fn control(c: u64) -> Control {
    const NAMES: [&str; SERVICES as usize] = [
        "s3",
        "ec2",
        "iam",
        "rds",
        "kms",
        "sqs",
        "sns",
        "ecr",
        "ecs",
        "eks",
        "elb",
        "efs",
        "logs",
        "ssm",
        "waf",
        "glue",
        "emr",
        "dms",
        "acm",
        "cloudfront",
        "cloudtrail",
        "config",
        "dynamodb",
        "lambda",
        "redshift",
        "route53",
        "opensearch",
        "kinesis",
        "backup",
        "athena",
    ];
    let service = NAMES[(c % SERVICES) as usize];
    let u = share(mix(c ^ 0xc0));
    let severity = [("Critical", 5), ("High", 4), ("Medium", 3), ("Medium", 3), ("Low", 2)][(mix(c) % 5) as usize];
    let mut frameworks = String::new();
    for (i, f) in [
        "CIS-3.0",
        "CIS-5.0",
        "ISO27001-2022",
        "NIST-800-53-Revision-5",
        "NIST-CSF-2.0",
        "SOC2",
        "PCI-4.0",
        "HIPAA",
        "GDPR",
        "ENS-RD2022",
        "C5-2025",
        "NIS2",
    ]
    .iter()
    .enumerate()
    {
        let comma = if i == 0 { "" } else { "," };
        let n = mix(c << 8 | i as u64);
        let _ = write!(frameworks, "{comma}\"{f}\":[\"{}.{}.{}\"]", n % 9 + 1, n / 9 % 30, n / 300 % 18 + 1);
    }
    Control {
        check: format!("{service}_resource_setting_{:02}_is_as_required", c / SERVICES),
        service,
        kind: format!("{}Thing", service.to_uppercase()),
        title: format!("{service}: setting {} is as \\\"required\\\"", c / SERVICES),
        desc: format!(
            "**{service} resources** are evaluated for setting `{}`. The setting decides who may read what is stored, for how long it is kept, \
             and who is told; see the provider\\u2019s manual \\u00a7 {}.\\n\\n- It holds when the value is one of `on`, `strict`.\\n- It does not hold when the value is absent.",
            c / SERVICES,
            c % 40
        ),
        risk: format!(
            "Without it, **confidentiality** and **integrity** of the data suffer: anybody in the same account — zum Beispiel ein älteres \
             Werkzeug — reads, changes or deletes what {service} keeps. Whoever finds such a resource need not break anything: the door stands open, and the log may not even say that somebody came in. Traces are lost, and what happened cannot be \\\"reconstructed\\\".\\n\
             Attackers use such resources to move on and to stay."
        ),
        fix: "Turn the setting on for every resource, first in test, then in production; tell those who own the resources before and after, and keep the change in the same repository as the rest of the infrastructure.\\n- Use policies to keep it on.\\n- Review exceptions each quarter.".to_owned(),
        frameworks,
        severity,
        fail_rate: 0.48 * u * u,
    }
}

fn ocsf(f: &Finding<'_>, out: &mut String) {
    let Control { check, service, kind, title, desc, risk, fix, frameworks, severity, .. } = f.control;
    let Finding { account, region, arn, name, status, muted, time, uid, .. } = f;
    let (life, life_id) = if *muted { ("Suppressed", 3) } else { ("New", 1) };
    let verb = if *status == "PASS" { "has" } else { "does not have" };
    let _ = write!(
        out,
        r#"{{"message":"{service} resource {name} {verb} the setting.","metadata":{{"event_code":"{check}","product":{{"name":"Prowler","uid":"prowler","vendor_name":"Prowler","version":"5.46.0"}},"profiles":["cloud","datetime"],"tenant_uid":"","version":"1.5.0"}},"severity_id":{},"severity":"{}","status":"{life}","status_code":"{status}","status_detail":"{service} resource {name} {verb} the setting.","status_id":{life_id},"unmapped":{{"related_url":"","categories":["internet-exposed"],"depends_on":[],"related_to":[],"additional_urls":["https://docs.example.com/{service}/latest/userguide/setting.html","https://docs.example.com/{service}/latest/userguide/policies.html"],"notes":"","compliance":{{{frameworks}}},"scan_id":"01a20664-db1c-7c0c-9a02-c7103e0ea2fd","provider_uid":"{account}","provider":"aws"}},"activity_name":"Create","activity_id":1,"finding_info":{{"analytic":{{"category":"{service}","name":"{title}","type":"Rule","type_id":1,"uid":"{check}"}},"created_time":{time},"created_time_dt":"{}","desc":"{desc}","title":"{title}","types":["Software and Configuration Checks/Industry and Regulatory Standards"],"uid":"prowler-aws-{check}-{account}-{region}-{uid:016x}"}},"resources":[{{"cloud_partition":"aws","region":"{region}","data":{{"details":"","metadata":{{"arn":"{arn}","name":"{name}","region":"{region}","tags":[{{"Key":"team","Value":"shop"}},{{"Key":"env","Value":"{name}"}}],"encryption":"aws:kms","versioning":true,"policy":null}}}},"group":{{"name":"{service}"}},"labels":["team:shop","env:{name}"],"name":"{name}","type":"{kind}","uid":"{arn}"}}],"category_name":"Findings","category_uid":2,"class_name":"Detection Finding","class_uid":2004,"cloud":{{"account":{{"name":"acme-{account}","type":"AWS Account","type_id":10,"uid":"{account}","labels":[]}},"org":{{"name":"","uid":""}},"provider":"aws","region":"{region}"}},"remediation":{{"desc":"{fix}","references":["https://hub.example.com/check/{check}"]}},"risk_details":"{risk}","time":{time},"time_dt":"{}","type_uid":200401,"type_name":"Detection Finding: Create"}}"#,
        severity.1,
        severity.0,
        date(*time),
        date(*time),
    );
}

fn asff(f: &Finding<'_>, out: &mut String) {
    let Control { check, service, kind, title, desc, risk, fix, frameworks, severity, .. } = f.control;
    let Finding { account, region, arn, name, status, muted, time, uid, .. } = f;
    let status = match *status {
        "PASS" => "PASSED",
        "FAIL" => "FAILED",
        _ => "NOT_AVAILABLE",
    };
    let workflow = if *muted { "SUPPRESSED" } else { "NEW" };
    let date = date(*time);
    // The requirements as one text: the map without its brackets and quotes.
    let related: String = frameworks.chars().filter(|c| !matches!(c, '"' | '[' | ']')).collect();
    let _ = write!(
        out,
        r#"{{"SchemaVersion":"2018-10-08","Id":"arn:aws:securityhub:{region}:{account}:security-control/{check}/finding/{uid:016x}","ProductArn":"arn:aws:securityhub:{region}::product/aws/securityhub","ProductName":"Security Hub","CompanyName":"AWS","Region":"{region}","GeneratorId":"security-control/{check}","AwsAccountId":"{account}","Types":["Software and Configuration Checks/Industry and Regulatory Standards"],"FirstObservedAt":"{date}Z","LastObservedAt":"{date}Z","CreatedAt":"{date}Z","UpdatedAt":"{date}Z","Severity":{{"Label":"{}","Normalized":{},"Original":"{}"}},"Title":"{title}","Description":"{desc} {risk}","Remediation":{{"Recommendation":{{"Text":"{fix}","Url":"https://hub.example.com/check/{check}"}}}},"ProductFields":{{"RelatedAWSResources:0/name":"securityhub-{check}","aws/securityhub/ProductName":"Security Hub","aws/securityhub/CompanyName":"AWS","Resources:0/Id":"{arn}","aws/securityhub/FindingId":"{uid:016x}"}},"Resources":[{{"Type":"{kind}","Id":"{arn}","Partition":"aws","Region":"{region}","Tags":{{"team":"shop","env":"{name}"}},"Details":{{"Other":{{"service":"{service}","name":"{name}","encryption":"aws:kms"}}}}}}],"Compliance":{{"Status":"{status}","SecurityControlId":"{check}","RelatedRequirements":["{related}"],"AssociatedStandards":[{{"StandardsId":"standards/aws-foundational-security-best-practices/v/1.0.0"}},{{"StandardsId":"standards/cis-aws-foundations-benchmark/v/3.0.0"}}]}},"WorkflowState":"NEW","Workflow":{{"Status":"{workflow}"}},"RecordState":"ACTIVE","FindingProviderFields":{{"Severity":{{"Label":"{}"}},"Types":["Software and Configuration Checks"]}}}}"#,
        severity.0.to_uppercase(),
        u32::from(severity.1) * 18,
        severity.0.to_uppercase(),
        severity.0.to_uppercase(),
    );
}

fn native(f: &Finding<'_>, out: &mut String) {
    let Control { check, kind, title, severity, .. } = f.control;
    let life = if f.muted { "suppressed" } else { "active" };
    let _ = write!(
        out,
        r#"{{"check":"{check}","resource":{{"id":"{}","type":"{kind}","name":"{}"}},"result":"{}","lifecycle":"{life}","severity":"{}","observed_at":"{}Z","fields":{{"account":"{}","region":"{}"}},"title":"{title}"}}"#,
        f.arn,
        f.name,
        f.status.to_lowercase(),
        severity.0.to_lowercase(),
        date(f.time),
        f.account,
        f.region,
    );
}

/// Indents compact JSON by four, as Prowler writes it, from one level down.
fn indent(compact: &str, out: &mut String) {
    let mut depth = 1;
    let mut quoted = false;
    let mut bytes = compact.bytes().enumerate().peekable();
    let mut copied = 0;
    while let Some((i, b)) = bytes.next() {
        match b {
            b'\\' if quoted => drop(bytes.next()),
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'{' | b'[' => {
                out.push_str(&compact[copied..=i]);
                copied = i + 1;
                if bytes.peek().is_some_and(|(_, n)| matches!(n, b'}' | b']')) {
                    bytes.next();
                    out.push_str(&compact[copied..copied + 1]);
                    copied += 1;
                } else {
                    depth += 1;
                    line(depth, out);
                }
            }
            b'}' | b']' => {
                out.push_str(&compact[copied..i]);
                depth -= 1;
                line(depth, out);
                copied = i;
            }
            b',' => {
                out.push_str(&compact[copied..=i]);
                line(depth, out);
                copied = i + 1;
            }
            b':' => {
                out.push_str(&compact[copied..=i]);
                out.push(' ');
                copied = i + 1;
            }
            _ => {}
        }
    }
    out.push_str(&compact[copied..]);
}

fn line(depth: usize, out: &mut String) {
    out.push('\n');
    for _ in 0..depth {
        out.push_str("    ");
    }
}

/// One control of ours for each check, so that a running exporter has something to judge.
fn definitions(controls: &[Control]) -> String {
    let mut out = String::from(
        "apiVersion: bornright/v1\nkind: ControlSet\nmetadata: { name: bench }\nspec:\n  version: 1.0.0\n  owner: bench\n  controls:\n",
    );
    for c in controls {
        let severity = c.severity.0.to_lowercase();
        let check = &c.check;
        let id = check.replace('_', "-");
        let _ = write!(
            out,
            "    - id: {id}\n      title: Setting is as required\n      nature: detective\n      severity: {severity}\n      checks: [{{ format: ocsf, id: {check} }}]\n      rationale: Measured.\n      remediation: None.\n"
        );
    }
    out
}

/// Seconds since 1970 as `2026-11-23T03:13:22`, without a zone, as Prowler writes it.
fn date(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days to a date of the Gregorian calendar, counted in years that begin in March.
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

/// Scatters the bits (the finaliser of splitmix64).
fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ n >> 31
}

fn share(n: u64) -> f64 {
    (n >> 11) as f64 / (1u64 << 53) as f64
}

fn args() -> Result<Args, String> {
    let mut args = Args {
        findings: 100_000,
        format: Format::OcsfNdjson,
        out: String::new(),
        seed: 1,
        mutate: 0.0,
        drop: 0.0,
        time: 1_795_403_602,
        definitions: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(name) = words.next() {
        let value = words.next().ok_or(format!("{name} wants a value"))?;
        let bad = |_| format!("{name} {value}: not a number");
        match name.as_str() {
            "--findings" => args.findings = value.parse().map_err(bad)?,
            "--seed" => args.seed = value.parse().map_err(bad)?,
            "--time" => args.time = value.parse().map_err(bad)?,
            "--mutate" => args.mutate = value.parse().map_err(|_| format!("{name} {value}: not a share"))?,
            "--drop" => args.drop = value.parse().map_err(|_| format!("{name} {value}: not a share"))?,
            "--out" => args.out = value,
            "--definitions" => args.definitions = Some(value),
            "--format" => {
                args.format = match value.as_str() {
                    "ocsf-ndjson" => Format::OcsfNdjson,
                    "ocsf-array" => Format::OcsfArray,
                    "asff-pages" => Format::AsffPages,
                    "native" => Format::Native,
                    _ => return Err(format!("--format {value}: expected ocsf-ndjson, ocsf-array, asff-pages or native")),
                }
            }
            _ => return Err(format!("what is {name}?")),
        }
    }
    if args.out.is_empty() {
        return Err("--out FILE is missing".to_owned());
    }
    Ok(args)
}
