//! Makes definitions of ours from what others have written down: benchmarks, catalogs, crosswalks.

use super::complain;
use crate::collectors::decode;
use crate::import::{self, DOCUMENT_BYTES, Imported, Options, Renames, Source};
use anyhow::Context as _;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Makes controls and frameworks from benchmarks and catalogs, as YAML for your definitions. Nothing is fetched.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "What could not be carried over is said on stderr, and stands in the YAML as comments.\nExit status: 0 something was made, 2 a document could not be read."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// A profile of an XCCDF benchmark (SCAP data stream): one control a rule
    Xccdf {
        /// The data stream or benchmark, plain or compressed; `-` is standard input
        #[arg(value_name = "DATASTREAM")]
        path: PathBuf,
        /// The profile, by its id or what follows `_profile_`; without it the profiles are listed
        #[arg(long, value_name = "PROFILE")]
        profile: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// OSCAL catalogs and profiles (a framework each) and component definitions (a control set each), as JSON
    Oscal {
        /// The documents; a profile also needs those that it imports
        #[arg(value_name = "FILE", required = true)]
        paths: Vec<PathBuf>,
        /// The format of the scanner whose checks a component definition names
        #[arg(long, value_name = "FORMAT")]
        format: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// A ComplianceAsCode control file (controls/*.yml): a framework, and one control a rule
    Cac {
        /// The control file
        #[arg(value_name = "FILE")]
        path: PathBuf,
        /// Only this level and what it inherits from
        #[arg(long, value_name = "LEVEL")]
        level: Option<String>,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, clap::Args)]
struct Common {
    /// Name of the control set or framework; default: made from the document's
    #[arg(long, visible_alias = "set-name", value_name = "NAME")]
    name: Option<String>,
    /// Who answers for the controls
    #[arg(long, value_name = "OWNER")]
    owner: Option<String>,
    /// Stands before every control's id, for instance `host-`
    #[arg(long, value_name = "PREFIX", default_value = "")]
    prefix: String,
    /// Which framework references to an address mean, for instance `https://www.cisecurity.org/benchmark/debian_linux/=cis-debian-12`; may be repeated
    #[arg(long, value_name = "ADDRESS=NAME")]
    framework: Vec<String>,
    /// Where to write; default: stdout. An existing file is replaced only if it was made by `import`
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (common, made) = match &args.what {
        What::Xccdf { path, profile, common } => {
            let options = Options { profile: profile.clone(), ..options(common)? };
            (common, import::xccdf(&source(path)?, &options))
        }
        What::Oscal { paths, format, common } => {
            if let Some(word) = format
                && crate::formats::Format::from_word(word).is_none()
                && word != "jsonpath"
            {
                anyhow::bail!("unknown format `{word}`\n  help: `bornright findings --help` lists them");
            }
            let options = Options { format: format.clone(), ..options(common)? };
            let sources = paths.iter().map(|p| source(p)).collect::<anyhow::Result<Vec<_>>>()?;
            (common, import::oscal(&sources, &options))
        }
        What::Cac { path, level, common } => {
            let options = Options { profile: level.clone(), ..options(common)? };
            (common, import::cac(&source(path)?, &options))
        }
    };
    match made {
        Ok(imported) => deliver(&imported, common.out.as_deref()),
        Err(error) => {
            complain(&error.to_string());
            Ok(ExitCode::from(2))
        }
    }
}

fn options(common: &Common) -> anyhow::Result<Options> {
    let mut renames = Renames::default();
    for text in &common.framework {
        renames.add(text).map_err(|e| anyhow::anyhow!("--framework `{text}`: {e}"))?;
    }
    let named = |what: &str, name: &str| {
        let good = !name.is_empty() && name.len() <= 100 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b));
        anyhow::ensure!(good, "{what} `{name}`: use letters, digits, `-`, `_` and `.`, at most 100");
        Ok(())
    };
    common.name.iter().try_for_each(|n| named("--name", n))?;
    if !common.prefix.is_empty() {
        named("--prefix", &common.prefix)?;
    }
    if let Some(owner) = &common.owner {
        anyhow::ensure!(!owner.trim().is_empty(), "--owner is empty");
    }
    let Common { name, owner, prefix, .. } = common;
    Ok(Options { name: name.clone(), owner: owner.clone(), prefix: prefix.clone(), renames, ..Options::default() })
}

fn source(path: &Path) -> anyhow::Result<Source> {
    let name = path.display().to_string();
    let mut reader = if path == Path::new("-") {
        decode::open(io::stdin(), DOCUMENT_BYTES, decode::MAX_RATIO)
    } else {
        std::fs::File::open(path).and_then(|file| decode::open(file, DOCUMENT_BYTES, decode::MAX_RATIO))
    }
    .with_context(|| name.clone())?;
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).with_context(|| name.clone())?;
    Ok(Source { name: if name == "-" { "<stdin>".to_owned() } else { name }, bytes })
}

/// How a file begins that this command wrote.
const OURS: &str = "# Made by `bornright import";

fn deliver(imported: &Imported, out: Option<&Path>) -> anyhow::Result<ExitCode> {
    match out {
        None => io::stdout().lock().write_all(imported.yaml.as_bytes())?,
        Some(path) => {
            match std::fs::read(path) {
                Ok(there) if !there.starts_with(OURS.as_bytes()) => anyhow::bail!(
                    "{}: is there already and was not made by `import`\n  help: write to another file, or take it away first",
                    path.display()
                ),
                _ => {}
            }
            std::fs::write(path, &imported.yaml).with_context(|| path.display().to_string())?;
        }
    }
    let mut err = io::stderr().lock();
    for note in &imported.notes {
        writeln!(err, "{note}")?;
    }
    Ok(ExitCode::SUCCESS)
}
