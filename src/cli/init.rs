//! Writes a first configuration: the sources that a person has, the definitions that those sources can satisfy.

use crate::config;
use anyhow::Context as _;
use std::collections::BTreeSet;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

mod sources;

use sources::{Group, SOURCES, Source};

/// Writes bornright.yaml and slo-definitions/ for the sources that you have. Asks on a terminal; takes flags everywhere.
/// Nothing that is there already is changed.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: 0 written, 2 nothing was written (something is there already, or no source was chosen).\nWhat each source needs: docs/sources/README.md"
)]
pub(crate) struct Args {
    /// Clouds and services that are asked themselves, separated by commas
    #[arg(long, value_name = "WORDS", value_delimiter = ',', value_parser = words(Group::Cloud))]
    cloud: Vec<String>,
    /// Scanners whose reports are read, separated by commas
    #[arg(long, value_name = "WORDS", value_delimiter = ',', value_parser = words(Group::Scanner))]
    scanner: Vec<String>,
    /// Who answers for the controls that are made for sources without a shipped set
    #[arg(long, value_name = "OWNER", default_value = "platform")]
    owner: String,
    /// Where to write
    #[arg(long, value_name = "DIRECTORY", default_value = ".")]
    dir: PathBuf,
}

fn words(group: Group) -> clap::builder::PossibleValuesParser {
    SOURCES.iter().filter(|s| s.group == group).map(|s| s.word).collect::<Vec<_>>().into()
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut chosen: BTreeSet<&str> = args.cloud.iter().chain(&args.scanner).map(String::as_str).collect();
    let asked;
    if chosen.is_empty() {
        anyhow::ensure!(
            io::stdin().is_terminal() && io::stderr().is_terminal(),
            "no source was chosen\n  help: name them with --cloud and --scanner (`bornright init --help` lists them), or run this on a terminal to be asked"
        );
        asked = ask(&mut io::stdin().lock(), &mut io::stderr().lock())?;
        chosen = asked.iter().map(String::as_str).collect();
        anyhow::ensure!(!chosen.is_empty(), "no source was chosen, so nothing was written");
    }
    // In the table's order, whatever the order of the flags.
    let chosen: Vec<&Source> = SOURCES.iter().filter(|s| chosen.contains(s.word)).collect();
    let files = files(&chosen, &args.owner);
    let there: Vec<String> =
        files.iter().map(|(name, _)| args.dir.join(name)).filter(|p| p.exists()).map(|p| p.display().to_string()).collect();
    anyhow::ensure!(
        there.is_empty(),
        "{} there already, and nothing was written\n  help: choose another directory with --dir, or take {} away first",
        if there.len() == 1 { format!("{} is", there[0]) } else { format!("{} are", there.join(", ")) },
        if there.len() == 1 { "it" } else { "them" },
    );
    for (name, text) in &files {
        put(&args.dir.join(name), text)?;
    }
    tell(&chosen, &files, &args.dir)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes a file that must not be there.
fn put(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(path).with_context(|| path.display().to_string())?;
    file.write_all(text.as_bytes()).with_context(|| path.display().to_string())
}

/// Asks for sources until every word is known.
fn ask(input: &mut impl BufRead, out: &mut impl Write) -> anyhow::Result<Vec<String>> {
    let mut chosen = Vec::new();
    for (group, question) in [(Group::Cloud, "Which clouds and services shall be asked?"), (Group::Scanner, "Whose reports shall be read?")]
    {
        let known: Vec<&str> = SOURCES.iter().filter(|s| s.group == group).map(|s| s.word).collect();
        if known.is_empty() {
            continue;
        }
        writeln!(out, "{question}")?;
        for source in SOURCES.iter().filter(|s| s.group == group) {
            writeln!(out, "  {:<16} {}", source.word, source.title)?;
        }
        loop {
            write!(out, "separated by commas, empty for none: ")?;
            out.flush()?;
            let mut line = String::new();
            if input.read_line(&mut line)? == 0 {
                anyhow::bail!("the answer did not come, so nothing was written");
            }
            let words: Vec<String> = line.split([',', ' ']).map(|w| w.trim().to_lowercase()).filter(|w| !w.is_empty()).collect();
            match words.iter().find(|w| !known.contains(&w.as_str())) {
                None => {
                    chosen.extend(words);
                    break;
                }
                Some(word) => {
                    let near = config::nearest(word, known.iter().copied()).map(|n| format!("; did you mean `{n}`?")).unwrap_or_default();
                    writeln!(out, "`{word}` is none of them{near}")?;
                }
            }
        }
        writeln!(out)?;
    }
    Ok(chosen)
}

/// (name, text) of every file.
fn files(chosen: &[&Source], owner: &str) -> Vec<(String, String)> {
    let mut files = vec![("bornright.yaml".to_owned(), configuration(chosen))];
    let formats: BTreeSet<&str> = chosen.iter().flat_map(|s| s.collectors.iter().map(|c| c.format)).collect();
    let mut satisfied = BTreeSet::new();
    let mut sets = BTreeSet::new();
    for (path, text) in config::shipped() {
        let Some(kept) = with_a_source(path, text, &formats) else { continue };
        sets.insert(kept.set);
        satisfied.extend(kept.formats);
        files.push(((*path).to_owned(), kept.text));
    }
    let mut objectives = objectives(&sets);
    for source in chosen {
        for collector in source.collectors.iter().filter(|c| !satisfied.contains(c.format)) {
            if let Some((set, objective)) = starter(source, collector, owner) {
                files.push((format!("slo-definitions/{}.yaml", collector.name), set));
                objectives.extend(objective);
            }
        }
    }
    if !objectives.is_empty() {
        files.push(("slo-definitions/slos.yaml".to_owned(), objectives.join("---\n")));
    }
    files
}

const HEAD: &str = "\
# Where findings come from, and how bornright runs. Written by `bornright init`; it is yours now.
#
#     bornright check               what is wrong with it, and with slo-definitions/
#     bornright check --plan        what it will cost in series and calls
#     bornright gate                collect once, judge, print
#     bornright serve               run the exporter
#
# docs/configuration.md has every key, docs/sources/ a page for each source.
listen: 127.0.0.1:9876
ledger: { sqlite: { path: data/ledger.db } }
definitions: [slo-definitions]

# The label that owns a ratio: the first of these fields that a finding has.
scope: \"{account|subscription|project|cluster|repository|host}\"

collectors:
";

fn configuration(chosen: &[&Source]) -> String {
    let mut out = HEAD.to_owned();
    for source in chosen {
        out.push_str(&format!("\n  # {}\n", source.title));
        for line in wrapped(&format!("Needs: {}", source.needs), 110) {
            out.push_str(&format!("  # {line}\n"));
        }
        for collector in source.collectors {
            out.push_str(&format!("  - name: {}\n", collector.name));
            for line in collector.yaml.trim_matches('\n').lines() {
                out.push_str(&format!("    {line}\n"));
            }
        }
    }
    out
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let current = lines.last_mut().expect("there is always one");
        if !current.is_empty() && current.len() + 1 + word.len() > width {
            lines.push(word.to_owned());
        } else {
            if !current.is_empty() {
                current.push(' ');
            }
            current.push_str(word);
        }
    }
    lines
}

/// A shipped set, less the controls that none of the sources can satisfy.
struct Kept {
    set: String,
    formats: BTreeSet<String>,
    text: String,
}

fn with_a_source(path: &str, text: &str, formats: &BTreeSet<&str>) -> Option<Kept> {
    let read = config::parse_definitions(&[(path.to_owned(), text.to_owned())]).value?;
    let set = read.sets.first()?;
    let mut kept = Kept { set: set.name.clone(), formats: BTreeSet::new(), text: String::new() };
    let mut dropped = BTreeSet::new();
    for control in &set.controls {
        let fitting: Vec<&str> = control.checks.iter().filter_map(|c| c.format.as_deref()).filter(|f| formats.contains(f)).collect();
        if fitting.is_empty() {
            dropped.insert(control.id.as_str());
        }
        kept.formats.extend(fitting.into_iter().map(str::to_owned));
    }
    if kept.formats.is_empty() {
        return None;
    }
    if !dropped.is_empty() {
        let names: Vec<&str> = dropped.iter().copied().collect();
        for line in wrapped(&format!("Left out, since none of the sources chosen can tell: {}.", names.join(", ")), 110) {
            kept.text.push_str(&format!("# {line}\n"));
        }
    }
    // Shipped files are laid out alike: a control begins with this line and ends where the next begins. A test reads
    // what is left.
    let mut skip = false;
    for line in text.split_inclusive('\n') {
        if let Some(id) = line.strip_prefix("    - id: ") {
            skip = dropped.contains(id.trim());
        } else if !line.starts_with(' ') && !line.trim().is_empty() {
            skip = false;
        }
        if !skip {
            kept.text.push_str(line);
        }
    }
    Some(kept)
}

/// The shipped objectives of these sets.
fn objectives(sets: &BTreeSet<String>) -> Vec<String> {
    let mut out = Vec::new();
    for (path, text) in config::shipped() {
        let documents: Vec<&str> = text.split("\n---\n").collect();
        for document in documents {
            let read = config::parse_definitions(&[((*path).to_owned(), document.to_owned())]);
            // An objective alone covers nothing, which is an error; what it says of its controls is in the text.
            let about = sets.iter().any(|s| document.contains(&format!("controls: {{ set: {s} }}")));
            if read.value.is_none_or(|v| v.sets.is_empty()) && about && document.contains("kind: SLO\n") {
                out.push(format!("{}\n", document.trim_end()));
            }
        }
    }
    out
}

/// A set of one control for a source that no shipped set knows, and its objective if there is a ratio.
fn starter(source: &Source, collector: &sources::Collector, owner: &str) -> Option<(String, Option<String>)> {
    let control = collector.control?;
    let name = collector.name;
    let owner = serde_json::Value::from(owner).to_string();
    let set = format!(
        "# A first control for {title}: every check of it, taken together. Replace it by controls of your own, each with the\n\
         # checks that serve it; docs/definitions.md says how, docs/importing.md how to have them made.\n\
         apiVersion: bornright/v1\nkind: ControlSet\nmetadata: {{ name: {name} }}\nspec:\n  version: 1.0.0\n  owner: {owner}\n  controls:\n    \
         - id: {name}-clean\n      title: {control}\n      severity: medium\n      checks: [{{ format: {format}, id: \"*\" }}]\n",
        title = source.title,
        format = collector.format,
    );
    let objective = collector.passes.then(|| {
        format!(
            "apiVersion: bornright/v1\nkind: SLO\nmetadata:\n  name: {name}\nspec:\n  service: platform\n  controls: {{ set: {name} }}\n  \
             objective: 95%\n  period: 30d\n  sli: resource_time\n  unknown: bad\n"
        )
    });
    Some((set, objective))
}

fn tell(chosen: &[&Source], files: &[(String, String)], dir: &Path) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    for (name, _) in files {
        writeln!(out, "wrote {}", dir.join(name).display())?;
    }
    writeln!(out, "\nwhat each source needs:")?;
    for source in chosen {
        writeln!(out, "  {}: {}", source.title, source.needs)?;
    }
    let config = dir.join("bornright.yaml");
    writeln!(out, "\nnext: look through {0}, then\n  bornright check --config {0}\n  bornright serve --config {0}", config.display())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every source alone, every two of them, and all together are sound as written, without a warning that something
    /// has no source.
    #[test]
    fn what_is_written_is_sound() {
        let mut cases: Vec<Vec<&Source>> = SOURCES.iter().map(|s| vec![s]).collect();
        cases.extend(SOURCES.iter().zip(SOURCES.iter().skip(1)).map(|(a, b)| vec![a, b]));
        cases.push(SOURCES.iter().collect());
        for chosen in cases {
            let words: Vec<&str> = chosen.iter().map(|s| s.word).collect();
            let dir = tempfile::tempdir().expect("a directory");
            for (name, text) in files(&chosen, "platform: \"x\" # y") {
                put(&dir.path().join(name), &text).expect("written");
            }
            let path = dir.path().join("bornright.yaml");
            let checked = config::check(Some(&path), &[]);
            let text = std::fs::read_to_string(&path).expect("written");
            assert!(!checked.problems.fatal() && !checked.unreadable, "{words:?}:\n{}\n{text}", checked.problems);
            assert!(checked.definitions.controls().count() > 0, "{words:?}");
            for problem in &checked.problems.problems {
                assert!(!problem.message.contains("nothing can satisfy"), "{words:?}: {problem}");
            }
            let covered = chosen.iter().any(|s| s.collectors.iter().any(|c| c.passes));
            assert!(!covered || !checked.definitions.slos.is_empty(), "{words:?} has no objective");
        }
    }

    #[test]
    fn the_table_of_the_manual_is_this_table() {
        let manual = include_str!("../../docs/sources/README.md");
        for source in SOURCES {
            let row = format!("| `{}` | {} | {} |", source.word, source.title, source.needs);
            assert!(manual.contains(&row), "docs/sources/README.md lacks the row\n{row}");
        }
    }

    #[test]
    fn questions_are_asked_until_the_answer_is_known() {
        let mut said = Vec::new();
        let scanners = "prowlr\nProwler, openscap\n";
        let clouds = if SOURCES.iter().any(|s| s.group == Group::Cloud) { "\n" } else { "" };
        let answers = format!("{clouds}{scanners}");
        let chosen = ask(&mut answers.as_bytes(), &mut said).expect("answered");
        assert_eq!(chosen, ["prowler", "openscap"]);
        assert!(String::from_utf8_lossy(&said).contains("`prowlr` is none of them; did you mean `prowler`?"));
        assert!(ask(&mut "".as_bytes(), &mut Vec::new()).is_err());
    }
}
