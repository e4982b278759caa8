//! command.

use super::client::Secret;
use super::file;
use std::path::PathBuf;

/// A program that is run, without a shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The program and its arguments, each one item; no shell reads them. The program is looked up in `PATH` unless it
    /// has a `/`. No default. Example: `[prowler, aws, -M, json-ocsf, -o, out]`.
    pub argv: Vec<String>,
    /// Names of variables of our own environment that the program gets. It always gets `PATH`, `HOME` and `LANG`, and
    /// no others. Default: none. Example: `[AWS_PROFILE, AWS_REGION]`.
    pub env: Vec<String>,
    /// Variables with a value that may be read by all (`set`). Example: `{ KUBECONFIG: /etc/bornright/kubeconfig }`.
    pub set: Vec<(String, String)>,
    /// Variables whose value is secret, from a file (`env_files`). Example: `{ GITHUB_TOKEN: /run/secrets/github }`.
    pub secret_env: Vec<(String, Secret)>,
    /// Working directory. Default: ours.
    pub cwd: Option<PathBuf>,
    /// Exit codes, besides 0, that mean "scan done, violations found" and not failure. Default: none.
    /// Examples: Prowler `[3]`, Checkov `[1]`, oscap `[2]`.
    pub findings_exit_codes: Vec<i32>,
    /// Bytes of output, or of all files together. Default 4 GiB.
    pub max_output_bytes: u64,
    /// Where its result is. Default `stdout`.
    pub reads: Reads,
}

/// Where a program leaves its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reads {
    /// `stdout`: on its standard output.
    Stdout,
    /// `files: { path: out/*.json }`: in files, relative to `cwd`; only files written by this very execution count.
    Files(file::Config),
}

impl Default for Config {
    fn default() -> Config {
        Config {
            argv: Vec::new(),
            env: Vec::new(),
            set: Vec::new(),
            secret_env: Vec::new(),
            cwd: None,
            findings_exit_codes: Vec::new(),
            max_output_bytes: 4 << 30,
            reads: Reads::Stdout,
        }
    }
}
