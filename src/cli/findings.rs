//! What a format sees in documents: native NDJSON, a summary, or, for a mapping, what each expression gave.

use super::{Output, complain, in_runtime};
use crate::app;
use crate::collectors::{self, decode};
use crate::config::{self, CollectorConfig};
use crate::domain::{CheckResult, Finding, Lifecycle, Problem, ScopeTemplate};
use crate::formats::jsonpath::{self, Mapping, RawMapping};
use crate::formats::summary::Summary;
use crate::formats::{self, Context, Flow, Format, FormatSpec, Limits, Sink};
use anyhow::Context as _;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use std::fs::File;
use std::io::{self, BufRead, BufWriter, StdoutLock, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

mod explain;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: 0 every document was read, 2 at least one could not be read at all, or a collector did not bring everything.\nProblems go to stderr, at most 20 for a document."
)]
pub(crate) struct Args {
    /// The documents' format; `auto` recognises each by its shape and says what it took it for
    #[arg(long, value_name = "FORMAT", default_value = "auto", value_parser = formats_known())]
    format: String,
    /// Count instead of listing: one JSON object over all documents
    #[arg(long)]
    summary: bool,
    /// How findings are listed: json is native NDJSON
    #[arg(long, value_enum, default_value_t = Output::Json)]
    output: Output,
    /// The mapping (YAML) of `--format jsonpath`
    #[arg(long, value_name = "FILE")]
    mapping: Option<PathBuf>,
    /// The configuration of `--collector`; default: bornright.yaml in the working directory
    #[arg(long, value_name = "FILE", requires = "collector")]
    config: Option<PathBuf>,
    /// Read as this collector of the configuration does: its format or mapping, its fields, its scope
    #[arg(long, value_name = "NAME", conflicts_with_all = ["format", "mapping"])]
    collector: Option<String>,
    /// Show where each value comes from, for one record, and which words of the verdict there are
    #[arg(long, conflicts_with = "summary")]
    explain: bool,
    /// Which record (of a mapping) or finding (of a format) to explain, from 1
    #[arg(long, value_name = "N", default_value_t = 1, requires = "explain", value_parser = clap::value_parser!(u64).range(1..))]
    record: u64,
    /// Documents, plain or compressed with gzip or zstd; `-` is standard input; a directory is Cloud Custodian's output.
    /// With `--collector` and no PATH the collector asks its source once, and nothing is judged or kept
    #[arg(value_name = "PATH", required_unless_present = "collector")]
    paths: Vec<PathBuf>,
}

fn formats_known() -> clap::builder::PossibleValuesParser {
    ["auto"].into_iter().chain(Format::ALL.iter().map(|f| f.word())).chain(["jsonpath"]).collect::<Vec<_>>().into()
}

/// Problems shown for one document.
const SHOWN: u64 = 20;

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Reading { spec, scope, collector } = reading(args)?;
    let brought = match collector.filter(|_| args.paths.is_empty()) {
        Some(collector) => Some(in_runtime(async { Ok(app::bring(&collector).await) })?),
        None => None,
    };
    let mut out = Out { to: BufWriter::with_capacity(64 << 10, io::stdout().lock()), text: args.output == Output::Text, failed: None };
    let mut summary = Summary::new();
    let mut unreadable = false;
    if let Some(brought) = &brought {
        unreadable |= !brought.complete;
        for problem in &brought.problems {
            complain(&problem.to_string().replace('\n', " "));
            summary.problem(problem.clone());
        }
    }
    let named = args.paths.iter().flat_map(|path| documents(path));
    let asked = brought.iter().flat_map(|b| b.documents.iter().map(held));
    for document in named.chain(asked) {
        let Document { name, opened } = document;
        let limits = Limits::default();
        let ctx = Context { source: &name, limits, want_raw: false };
        let mut input = match opened {
            Ok(input) => input,
            Err(error) => {
                unreadable = true;
                complain(&format!("{name}: {error}"));
                continue;
            }
        };
        if args.explain {
            let explained = match &spec {
                FormatSpec::JsonPath(mapping) => match jsonpath::explain(mapping, &mut input, &ctx, args.record) {
                    Ok(explanation) => explain::mapping(&mut out.to, &name, &explanation, scope.as_ref()).map_err(Into::into),
                    Err(error) => Err(anyhow::anyhow!("{error}")),
                },
                other => explain::format(&mut out.to, other, &mut input, &ctx, args.record, scope.as_ref()),
            };
            if let Err(error) = explained {
                if error.downcast_ref::<io::Error>().is_some() {
                    return Err(error);
                }
                unreadable = true;
                complain(&format!("{error:#}"));
            }
            continue;
        }
        let mut sink = Tee { summary: args.summary.then_some(&mut summary), out: &mut out, problems: 0 };
        let result = formats::read(&spec, &mut input, &ctx, &mut sink);
        if sink.problems > SHOWN {
            complain(&format!("{name}: … and {} more problems", sink.problems - SHOWN));
        }
        if let Some(error) = out.failed.take() {
            return Err(error.into());
        }
        if let Err(error) = result {
            unreadable = true;
            complain(&error.to_string());
            summary.problem(error.into_problem());
        }
    }
    if args.summary {
        writeln!(out.to, "{}", summary.to_json())?;
    }
    out.to.flush()?;
    Ok(if unreadable { ExitCode::from(2) } else { ExitCode::SUCCESS })
}

/// How documents are read, how their findings are placed, and who could bring them.
struct Reading {
    spec: FormatSpec,
    scope: Option<ScopeTemplate>,
    collector: Option<CollectorConfig>,
}

fn reading(args: &Args) -> anyhow::Result<Reading> {
    if let Some(name) = &args.collector {
        return collector(args.config.as_deref().unwrap_or(Path::new("bornright.yaml")), name);
    }
    Ok(Reading { spec: format_of(args)?, scope: None, collector: None })
}

fn collector(path: &Path, name: &str) -> anyhow::Result<Reading> {
    let config = config::load(path).map_err(|errors| anyhow::anyhow!("{errors}"))?;
    let Some(found) = config.collectors.iter().find(|c| c.name == name) else {
        let names: Vec<&str> = config.collectors.iter().map(|c| c.name.as_str()).collect();
        let help = config::nearest(name, names.iter().copied())
            .map_or_else(|| format!("they are {}", names.join(", ")), |near| format!("did you mean `{near}`?"));
        anyhow::bail!("{}: no collector is called `{name}`\n  help: {help}", path.display());
    };
    let scope = Some(found.scope.clone().unwrap_or_else(|| config.scope.clone()));
    Ok(Reading { spec: found.format.clone(), scope, collector: Some(found.clone()) })
}

/// A document that a collector brought; as long as the run is held, so is its file.
fn held(document: &collectors::Document) -> Document {
    if document.path.is_dir() {
        return Document { name: document.name.clone(), opened: custodian(&document.path) };
    }
    let opened = decode::open_path(&document.path, Limits::default().document_bytes, decode::MAX_RATIO);
    Document { name: document.name.clone(), opened: opened.map_err(|e| e.to_string()) }
}

fn format_of(args: &Args) -> anyhow::Result<FormatSpec> {
    if args.format != "jsonpath" {
        anyhow::ensure!(args.mapping.is_none(), "--mapping is for `--format jsonpath`, found `--format {}`", args.format);
        return Ok(Format::from_word(&args.format).map_or(FormatSpec::Auto, FormatSpec::Builtin));
    }
    let path = args.mapping.as_ref().context("`--format jsonpath` needs `--mapping FILE`")?;
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let raw = RawMapping::from_yaml(&text).map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))?;
    let mapping = Mapping::compile(raw).map_err(|faults| {
        let lines: Vec<String> = faults.iter().map(|(field, what)| format!("{}: {field}: {what}", path.display())).collect();
        anyhow::anyhow!("{}", lines.join("\n"))
    })?;
    Ok(FormatSpec::JsonPath(Arc::new(mapping)))
}

struct Document {
    name: String,
    opened: Result<Box<dyn BufRead + Send>, String>,
}

/// The documents behind a path: one, or one per policy if it is a directory of Cloud Custodian's.
fn documents(path: &Path) -> Vec<Document> {
    let max = Limits::default().document_bytes;
    if path == Path::new("-") {
        let opened = decode::open(io::stdin(), max, decode::MAX_RATIO).map_err(|e| e.to_string());
        return vec![Document { name: "<stdin>".to_owned(), opened }];
    }
    let name = path.display().to_string();
    if path.is_dir() {
        let mut policies = Vec::new();
        find_policies(path, 0, &mut policies);
        policies.sort();
        if policies.is_empty() {
            let message = "is a directory without Cloud Custodian policies (no metadata.json below)\nhelp: name the documents themselves";
            return vec![Document { name, opened: Err(message.to_owned()) }];
        }
        return policies.iter().map(|dir| Document { name: dir.display().to_string(), opened: custodian(dir) }).collect();
    }
    // Not `open_path`, which refuses pipes: a person may well say `<(curl …)` here.
    let opened = File::open(path).and_then(|file| decode::open(file, max, decode::MAX_RATIO)).map_err(|e| e.to_string());
    vec![Document { name, opened }]
}

/// A policy's output in a directory, as one document.
fn custodian(dir: &Path) -> Result<Box<dyn BufRead + Send>, String> {
    let open = |name: &str| -> Result<Option<Box<dyn BufRead + Send>>, String> {
        for file in [name.to_owned(), format!("{name}.gz")] {
            let path = dir.join(&file);
            if path.exists() {
                let opened = decode::open_path(&path, Limits::default().document_bytes, decode::MAX_RATIO);
                return opened.map(Some).map_err(|e| format!("{file}: {e}"));
            }
        }
        Ok(None)
    };
    let metadata = open("metadata.json")?.ok_or("has no metadata.json")?;
    let envelope = formats::custodian_envelope(metadata, open("resources.json")?);
    Ok(Box::new(io::BufReader::with_capacity(128 << 10, envelope)))
}

fn find_policies(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    if ["metadata.json", "metadata.json.gz"].iter().any(|f| dir.join(f).is_file()) {
        found.push(dir.to_owned());
        return;
    }
    // account/region/policy/year/month/day/hour is the deepest layout known.
    if depth < 8
        && let Ok(entries) = std::fs::read_dir(dir)
    {
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                find_policies(&entry.path(), depth + 1, found);
            }
        }
    }
}

struct Out<'o> {
    to: BufWriter<StdoutLock<'o>>,
    text: bool,
    failed: Option<io::Error>,
}

struct Tee<'t, 'o> {
    summary: Option<&'t mut Summary>,
    out: &'t mut Out<'o>,
    problems: u64,
}

impl Sink for Tee<'_, '_> {
    fn finding(&mut self, finding: &Finding<'_>) -> Flow {
        match &mut self.summary {
            Some(summary) => summary.finding(finding),
            None if finding.is_mark() => Flow::More,
            None => match self.out.write(finding) {
                Ok(()) => Flow::More,
                Err(error) => {
                    self.out.failed = Some(error);
                    Flow::Stop
                }
            },
        }
    }

    fn problem(&mut self, problem: Problem) {
        self.problems += 1;
        if self.problems <= SHOWN {
            complain(&problem.to_string().replace('\n', " "));
        }
        if let Some(summary) = &mut self.summary {
            summary.problem(problem);
        }
    }
}

impl Out<'_> {
    fn write(&mut self, finding: &Finding<'_>) -> io::Result<()> {
        if self.text {
            let lifecycle = if finding.lifecycle == Lifecycle::Active { String::new() } else { format!(" ({})", finding.lifecycle) };
            let count = if finding.aggregate { format!(" ×{}", finding.count) } else { String::new() };
            let message = finding.message.as_deref().or(finding.title.as_deref()).unwrap_or_default().replace(['\n', '\r'], " ");
            return writeln!(self.to, "{}{lifecycle}{count}  {}  {}  {message}", finding.result, finding.check, finding.resource.id);
        }
        serde_json::to_writer(&mut self.to, &Line::from(finding)).map_err(io::Error::from)?;
        self.to.write_all(b"\n")
    }
}

/// The native form of a finding: absent keys are left out.
#[derive(Serialize)]
struct Line<'f> {
    check: &'f str,
    resource: Resource<'f>,
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    lifecycle: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    severity: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    observed_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<Map<'f>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'f str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'f str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    control_refs: Vec<Ref<'f>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
}

#[derive(Serialize)]
struct Resource<'f> {
    id: &'f str,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'f str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'f str>,
}

#[derive(Serialize)]
struct Ref<'f> {
    framework: &'f str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'f str>,
    id: &'f str,
}

struct Map<'f>(&'f [(std::borrow::Cow<'f, str>, std::borrow::Cow<'f, str>)]);

impl Serialize for Map<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (i, (name, value)) in self.0.iter().enumerate() {
            // Of equal names the first is the one that `Fields::get` finds.
            if !self.0[..i].iter().any(|(earlier, _)| earlier == name) {
                map.serialize_entry(name, value)?;
            }
        }
        map.end()
    }
}

impl<'f> From<&'f Finding<'_>> for Line<'f> {
    fn from(f: &'f Finding<'_>) -> Line<'f> {
        let result: CheckResult = f.result;
        Line {
            check: &f.check,
            resource: Resource { id: &f.resource.id, kind: f.resource.kind.as_deref(), name: f.resource.name.as_deref() },
            result: result.word(),
            lifecycle: (f.lifecycle != Lifecycle::Active).then(|| f.lifecycle.word()),
            severity: f.severity.map(|s| s.word()),
            observed_at: f.observed_at.map(|at| at.to_string()),
            fields: (!f.fields.0.is_empty()).then_some(Map(&f.fields.0)),
            title: f.title.as_deref(),
            message: f.message.as_deref(),
            control_refs: f
                .control_refs
                .iter()
                .map(|r| Ref { framework: &r.framework, version: r.version.as_deref(), id: &r.id })
                .collect(),
            count: (f.aggregate || f.count != 1).then_some(f.count),
        }
    }
}
