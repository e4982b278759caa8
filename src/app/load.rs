//! Finds and reads what the operator wrote.

use crate::config::{self, Config, ConfigErrors, Definitions};
use std::path::{Path, PathBuf};

/// The configuration's usual name.
const USUAL: &str = "bornright.yaml";

/// Reads the configuration, `path` or the usual one, and the definitions it names.
pub(crate) fn load(path: Option<&Path>) -> anyhow::Result<(Config, Definitions)> {
    let (config, definitions, warnings) = load_quietly(path)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    Ok((config, definitions))
}

/// The same, with the warnings for the caller to show or not.
pub(crate) fn load_quietly(path: Option<&Path>) -> anyhow::Result<(Config, Definitions, Vec<config::ConfigProblem>)> {
    let path: PathBuf = match path {
        Some(p) => p.to_owned(),
        None if Path::new(USUAL).exists() => USUAL.into(),
        None => anyhow::bail!(
            "there is no {USUAL} in this directory\n  help: name one with `--config FILE`, start from examples/ in the repository, or see it work first: `bornright demo`"
        ),
    };
    let checked = config::check(Some(&path), &[]);
    let fatal = checked.problems.fatal();
    match checked.config {
        Some(config) if !fatal => {
            let mut warnings = checked.problems.problems;
            warnings.retain(|p| p.severity == config::ProblemSeverity::Warning);
            Ok((config, checked.definitions, warnings))
        }
        _ => Err(told(&checked.problems)),
    }
}

fn told(errors: &ConfigErrors) -> anyhow::Error {
    let many = errors.count(config::ProblemSeverity::Error);
    anyhow::anyhow!("the configuration has {many} {}\n{errors}", if many == 1 { "error" } else { "errors" })
}
