//! client.

use std::fmt;
use std::path::PathBuf;

/// Where a secret is; never the secret itself, which is read when it is needed, so that a renewed one needs no restart.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// An environment variable of ours.
    Env(String),
    /// A file: its text without the trailing newline.
    File(PathBuf),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "*** ({self})")
    }
}

impl fmt::Display for Secret {
    /// Where it is, for an error message.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::Env(name) => write!(f, "environment variable {name}"),
            Secret::File(path) => write!(f, "file {}", path.display()),
        }
    }
}
