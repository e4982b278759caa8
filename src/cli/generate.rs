//! Writes what other programs load, or says what would change.
//!
//! What is generated is decided in `generate`; here are files: a file that we did not write is never touched, one that we
//! wrote and would not write any more is removed, and every write is whole or not at all.

use super::complain;
use crate::config::{self, CollectorConfig, Definitions};
use crate::domain::{CheckSelector, Span};
use crate::generate::{
    self, ASSUMED_SCAN_INTERVAL, Artefact, Input, MARK, Objective, OpensloSource, Options, PeriodSource, ScanFrom, Target,
};
use crate::ledger;
use anyhow::Context as _;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Writes files for other programs from the definitions: Prometheus rules with their tests and an Alertmanager
/// configuration (alerts), Grafana dashboards (dashboards), documents for other tools (openslo, sloth, pyrra, operator),
/// the tables of the documentation (reference). Without a TARGET: alerts, dashboards and reference.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A directory that is called like a target is written ./alerts.\n\nExit status: 0 written, or nothing differs; 1 something differs (--check); 2 the definitions have errors or a file is in the way."
)]
pub(crate) struct Args {
    /// Targets (alerts, dashboards, openslo, sloth, pyrra, operator, reference), then files and directories of
    /// definitions, instead of those that the configuration names
    #[arg(value_name = "TARGET|DEFINITIONS")]
    words: Vec<PathBuf>,
    /// The configuration; default: bornright.yaml in the working directory, else the definitions in slo-definitions.
    /// It says how often scanners run, and its ledger which scopes there are
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to write
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Write nothing; fail if a file differs from what would be written, is missing or is too many
    #[arg(long)]
    check: bool,
    /// A scope for SLOs with `for_each: scope`, beside those that the ledger knows; repeatable
    #[arg(long = "scope", value_name = "NAME")]
    scopes: Vec<String>,
    /// Prometheus' job name of the exporter
    #[arg(long, value_name = "NAME", default_value_t = Options::default().job)]
    job: String,
    /// Where the exporter's pages are, for links in alerts
    #[arg(long, value_name = "URL", default_value_t = Options::default().page_url)]
    page_url: String,
    /// Where Grafana is, for links in alerts
    #[arg(long, value_name = "URL", default_value_t = Options::default().dashboard_url)]
    dashboard_url: String,
    /// How often Prometheus scrapes the exporter
    #[arg(long, value_name = "DURATION", default_value_t = Options::default().scrape_interval, value_parser = Span::parse)]
    scrape_interval: Span,
    /// Where the ratio over the whole period comes from: promql reads every sample, delta two of each series (only while
    /// counters never reset), exporter its own exact number
    #[arg(long, value_name = "SOURCE", default_value_t = PeriodSource::Promql, value_parser = period_source)]
    period_source: PeriodSource,
    /// Do not record the 30-day ratio of SLOs with another period (public dashboards ask for it)
    #[arg(long)]
    no_compat_30d: bool,
    /// Where Alertmanager's placeholder receivers send, one path below it for each
    #[arg(long, value_name = "URL", default_value_t = Options::default().webhook_url)]
    webhook_url: String,
    /// A directory with a file for each receiver that holds its URL, instead (Alertmanager 0.26 and later)
    #[arg(long, value_name = "DIR", default_value = "")]
    webhook_url_dir: String,
    /// Kubernetes namespace of the objects for the operator and for Pyrra
    #[arg(long, value_name = "NAME", default_value = "")]
    namespace: String,
    /// What OpenSLO documents measure: bornright, in the words that it reads back, with the queries as annotations; or
    /// prometheus, the queries
    #[arg(long, value_name = "SOURCE", default_value_t = OpensloSource::Bornright, value_parser = openslo_source)]
    openslo_source: OpensloSource,
}

fn openslo_source(text: &str) -> Result<OpensloSource, String> {
    OpensloSource::from_word(text)
        .ok_or_else(|| format!("it must be one of {}", OpensloSource::ALL.iter().map(|s| s.word()).collect::<Vec<_>>().join(", ")))
}

fn period_source(text: &str) -> Result<PeriodSource, String> {
    PeriodSource::from_word(text)
        .ok_or_else(|| format!("it must be one of {}", PeriodSource::ALL.iter().map(|s| s.word()).collect::<Vec<_>>().join(", ")))
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    // Files and the ledger block; nothing else runs in this process.
    tokio::task::spawn_blocking(move || work(&args, &mut std::io::stdout().lock())).await?
}

fn work(args: &Args, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let (targets, definitions) = split(&args.words);
    let input = input(args, &definitions)?;
    let mut differences = 0;
    let mut written = 0;
    let mut unchanged = 0;
    for target in targets {
        let output = generate::generate(target, &input).map_err(|faults| anyhow::anyhow!(faults.join("\n")))?;
        for note in &output.notes {
            // Not an error: the rest is written, and whoever reads the log knows what is not there.
            writeln!(std::io::stderr().lock(), "note: {target}: {note}").ok();
        }
        let strays = strays(&args.out, target, &output.artefacts);
        if args.check {
            for artefact in &output.artefacts {
                differences += usize::from(differs(&args.out, artefact, out)?);
            }
            for stray in &strays {
                writeln!(out, "{}: was generated once and would not be now", stray.display())?;
                differences += 1;
            }
            continue;
        }
        for artefact in &output.artefacts {
            in_the_way(&args.out.join(&artefact.path))?;
        }
        for artefact in &output.artefacts {
            if write(&args.out.join(&artefact.path), &artefact.text)? {
                writeln!(out, "wrote {}", args.out.join(&artefact.path).display())?;
                written += 1;
            } else {
                unchanged += 1;
            }
        }
        for stray in &strays {
            std::fs::remove_file(stray).with_context(|| stray.display().to_string())?;
            writeln!(out, "removed {}, which nothing asks for any more", stray.display())?;
        }
    }
    if !args.check {
        writeln!(out, "{written} written, {unchanged} unchanged")?;
        return Ok(ExitCode::SUCCESS);
    }
    if differences == 0 {
        writeln!(out, "everything is as it would be generated now")?;
        return Ok(ExitCode::SUCCESS);
    }
    let files = if differences == 1 { "1 file differs".to_owned() } else { format!("{differences} files differ") };
    complain(&format!(
        "{files} from what would be generated now\n  help: run the same command without `--check`, and commit what it writes"
    ));
    Ok(ExitCode::from(1))
}

/// What is generated when nobody says what. Documents for tools that somebody may not have are written when asked for.
const USUAL: [Target; 3] = [Target::Alerts, Target::Dashboards, Target::Reference];

/// Leading words that are targets, and the rest.
fn split(words: &[PathBuf]) -> (Vec<Target>, Vec<PathBuf>) {
    let named: Vec<Target> = words.iter().map_while(|w| Target::from_word(w.to_str()?)).collect();
    let rest = words.get(named.len()..).unwrap_or_default().to_vec();
    if named.is_empty() { (USUAL.to_vec(), rest) } else { (named, rest) }
}

fn input(args: &Args, definitions: &[PathBuf]) -> anyhow::Result<Input> {
    let usual = Path::new("bornright.yaml");
    let shipped = Path::new("slo-definitions");
    let mut paths = definitions.to_vec();
    let path = match &args.config {
        Some(path) => Some(path.as_path()),
        None if paths.is_empty() && usual.exists() => Some(usual),
        None if paths.is_empty() && shipped.is_dir() => {
            paths.push(shipped.to_owned());
            None
        }
        None if paths.is_empty() => anyhow::bail!(
            "there is neither bornright.yaml nor slo-definitions here\n  help: name a configuration with `--config FILE`, or definitions: `bornright generate alerts path/to/definitions`"
        ),
        None => None,
    };
    let checked = config::check(path, &paths);
    if checked.problems.fatal() || checked.unreadable {
        let errors = checked.problems.count(config::ProblemSeverity::Error);
        anyhow::bail!("{errors} {}\n{}", if errors == 1 { "error" } else { "errors" }, checked.problems);
    }
    let mut scopes: BTreeSet<String> = args.scopes.iter().cloned().collect();
    let collectors = checked.config.as_ref().map_or(&[][..], |c| &c.collectors);
    if let Some(config) = &checked.config {
        scopes.extend(known_scopes(&config.ledger)?);
    }
    let objectives = objectives(&checked.definitions, collectors, &scopes)?;
    Ok(Input { objectives, controls: checked.definitions.controls().cloned().collect(), options: options(args)? })
}

fn options(args: &Args) -> anyhow::Result<Options> {
    for (flag, url) in [("--page-url", &args.page_url), ("--dashboard-url", &args.dashboard_url), ("--webhook-url", &args.webhook_url)] {
        let sound = url.starts_with("http://") || url.starts_with("https://");
        if !sound || url.contains(|c: char| c.is_whitespace() || c.is_control() || "{}\"'".contains(c)) {
            anyhow::bail!("{flag} is `{url}`, expected a URL that begins with http:// or https://");
        }
    }
    if args.scrape_interval < Span::SECOND || args.scrape_interval > Span::HOUR {
        anyhow::bail!("--scrape-interval is {}, expected something between 1s and 1h", args.scrape_interval);
    }
    let plain = |url: &str| url.trim_end_matches('/').to_owned();
    Ok(Options {
        job: args.job.clone(),
        page_url: plain(&args.page_url),
        dashboard_url: plain(&args.dashboard_url),
        scrape_interval: args.scrape_interval,
        period_source: args.period_source,
        compat_30d: !args.no_compat_30d,
        webhook_url: plain(&args.webhook_url),
        webhook_url_dir: plain(&args.webhook_url_dir),
        namespace: args.namespace.clone(),
        openslo_source: args.openslo_source,
    })
}

/// The scopes that the ledger has shown so far; none before the first run.
fn known_scopes(config: &ledger::Config) -> anyhow::Result<Vec<String>> {
    match config {
        ledger::Config::Sqlite { path } if path.exists() => Ok(ledger::Reader::open(config)?.scopes()?),
        _ => Ok(Vec::new()),
    }
}

/// SLOs with `for_each: scope` become one for each scope; each gets its scan interval.
fn objectives(definitions: &Definitions, collectors: &[CollectorConfig], scopes: &BTreeSet<String>) -> anyhow::Result<Vec<Objective>> {
    // What is written literally is a scope, whether it was seen or not.
    let written = definitions.slos.iter().filter(|s| s.for_each_scope).flat_map(|s| &s.scopes).filter(|s| !CheckSelector::is_glob(s));
    let scopes: BTreeSet<&str> = scopes.iter().chain(written).map(String::as_str).collect();
    let found = crate::slo::expand(&definitions.slos, scopes);
    let mut faults = Vec::new();
    for id in &found.empty {
        faults.push(format!(
            "SLO `{id}` is made for each scope, and no scope that it covers is known\n  help: name them with `--scope NAME`, or give `--config FILE` once the exporter has run and its ledger knows them"
        ));
    }
    for (id, scope) in &found.clashes {
        faults.push(format!(
            "SLO `{id}` for scope `{scope}` would bear the id of another one\n  help: name the scopes apart, or leave one out of `scopes:`"
        ));
    }
    if !faults.is_empty() {
        anyhow::bail!("{}", faults.join("\n"));
    }
    let expanded = Definitions { slos: found.slos, ..definitions.clone() };
    Ok(expanded
        .slos
        .iter()
        .map(|slo| {
            let (scan_interval, scan_from) = match config::scan_interval(slo, &expanded, collectors) {
                Some((span, config::ScanFrom::Slo)) => (span, ScanFrom::Slo),
                Some((span, config::ScanFrom::Collector(name))) => (span, ScanFrom::Collector(name.to_owned())),
                Some((span, config::ScanFrom::Members)) => (span, ScanFrom::Members),
                None => (ASSUMED_SCAN_INTERVAL, ScanFrom::Assumed),
            };
            Objective { slo: slo.clone(), scan_interval, scan_from }
        })
        .collect())
}

/// Files of the target's directory that bear our mark and are not among `artefacts`.
fn strays(out: &Path, target: Target, artefacts: &[Artefact]) -> Vec<PathBuf> {
    let Some(directory) = target.directory() else { return Vec::new() };
    let kept: BTreeSet<PathBuf> = artefacts.iter().map(|a| out.join(&a.path)).collect();
    let mut found = Vec::new();
    let mut open = vec![(out.join(directory), 0)];
    while let Some((directory, depth)) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            let path = entry.path();
            if kind.is_dir() && depth < 3 {
                open.push((path, depth + 1));
            } else if kind.is_file() && !kept.contains(&path) && ours(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Whether the file bears our mark in its first bytes.
fn ours(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = std::fs::File::open(path).and_then(|f| std::io::Read::read_to_end(&mut std::io::Read::take(f, 1024), &mut head));
    read.is_ok() && String::from_utf8_lossy(&head).contains(MARK)
}

/// A file of somebody else where we want to write stops everything.
fn in_the_way(path: &Path) -> anyhow::Result<()> {
    if path.exists() && !ours(path) {
        anyhow::bail!(
            "{}: this file was not generated, its first lines do not say `{MARK}`\n  help: move it away, or write elsewhere with `--out DIR`",
            path.display()
        );
    }
    Ok(())
}

/// Writes the whole file or nothing; false if it has this text already. Not synced: it can be generated again, and five
/// hundred SLOs are a thousand files.
fn write(path: &Path, text: &str) -> anyhow::Result<bool> {
    if std::fs::read(path).is_ok_and(|found| found == text.as_bytes()) {
        return Ok(false);
    }
    let directory = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    let mut file =
        tempfile::Builder::new().prefix(".bornright-").tempfile_in(directory).with_context(|| directory.display().to_string())?;
    file.write_all(text.as_bytes()).with_context(|| path.display().to_string())?;
    readable_by_all(file.as_file()).with_context(|| path.display().to_string())?;
    file.persist(path).with_context(|| path.display().to_string())?;
    Ok(true)
}

/// A temporary file is its owner's alone; Prometheus runs as somebody else.
fn readable_by_all(file: &std::fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

/// Says where a file differs from what would be written.
fn differs(out: &Path, artefact: &Artefact, to: &mut dyn Write) -> anyhow::Result<bool> {
    let path = out.join(&artefact.path);
    let found = match std::fs::read_to_string(&path) {
        Ok(found) if found == artefact.text => return Ok(false),
        Ok(found) => found,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            writeln!(to, "{}: is missing", path.display())?;
            return Ok(true);
        }
        Err(e) => return Err(anyhow::anyhow!("{}: {e}", path.display())),
    };
    let (was, is): (Vec<&str>, Vec<&str>) = (found.lines().collect(), artefact.text.lines().collect());
    let same = was.iter().zip(&is).take_while(|(a, b)| a == b).count();
    let rest = was[same..].iter().rev().zip(is[same..].iter().rev()).take_while(|(a, b)| a == b).count();
    writeln!(to, "{}:{}: differs (- there, + would be generated)", path.display(), same + 1)?;
    for (sign, lines) in [('-', &was[same..was.len() - rest]), ('+', &is[same..is.len() - rest])] {
        for line in lines.iter().take(SHOWN) {
            writeln!(to, "  {sign} {line}")?;
        }
        if lines.len() > SHOWN {
            writeln!(to, "  {sign} … {} more lines", lines.len() - SHOWN)?;
        }
    }
    Ok(true)
}

/// Lines of a difference that are shown.
const SHOWN: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_words_are_targets_and_the_rest_definitions() {
        let split = |words: &[&str]| split(&words.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(split(&[]).0, USUAL);
        assert_eq!(split(&["defs", "alerts"]), (USUAL.to_vec(), vec!["defs".into(), "alerts".into()]));
        assert_eq!(split(&["alerts", "sloth", "defs"]), (vec![Target::Alerts, Target::Sloth], vec!["defs".into()]));
        assert_eq!(split(&["./alerts"]), (USUAL.to_vec(), vec!["./alerts".into()]));
    }

    #[test]
    fn foreign_files_are_never_touched() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mine = dir.path().join("alerts/own.yaml");
        std::fs::create_dir_all(dir.path().join("alerts")).expect("made");
        std::fs::write(&mine, "groups: []\n").expect("written");
        std::fs::write(dir.path().join("alerts/old.yaml"), format!("# {MARK}\n")).expect("written");
        let artefact = Artefact { path: "alerts/new.yaml".to_owned(), text: format!("# {MARK}\nnew\n") };
        assert_eq!(strays(dir.path(), Target::Alerts, &[artefact]), [dir.path().join("alerts/old.yaml")]);
        assert!(in_the_way(&mine).expect_err("in the way").to_string().contains("own.yaml: this file was not generated"));
    }

    #[test]
    fn a_difference_says_where_and_what() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let artefact = Artefact { path: "a/b.yaml".to_owned(), text: "one\ntwo\nthree\n".to_owned() };
        let said = |artefact: &Artefact| {
            let mut out = Vec::new();
            let differs = differs(dir.path(), artefact, &mut out).expect("readable");
            (differs, String::from_utf8(out).expect("text").replace(&format!("{}/", dir.path().display()), ""))
        };
        assert_eq!(said(&artefact), (true, "a/b.yaml: is missing\n".to_owned()));
        assert!(write(&dir.path().join("a/b.yaml"), "one\n2\nthree\n").expect("written"));
        assert_eq!(said(&artefact), (true, "a/b.yaml:2: differs (- there, + would be generated)\n  - 2\n  + two\n".to_owned()));
        assert!(write(&dir.path().join("a/b.yaml"), &artefact.text).expect("written"));
        assert!(!write(&dir.path().join("a/b.yaml"), &artefact.text).expect("nothing to do"));
        assert_eq!(said(&artefact), (false, String::new()));
    }
}
