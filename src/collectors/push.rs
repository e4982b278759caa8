//! Documents that others hand in: a CI job's report, by `POST /api/v1/runs/{collector}`.
//!
//! Not here: HTTP. The server spools the body into a file and asks [`authorise`]; what [`accept`] makes of the file
//! goes the way of every other run.

use super::client::{Secret, problem};
use super::{Collected, Document};
use crate::clock;
use crate::domain::{Moment, ProblemKind};
use secrecy::ExposeSecret;
use std::sync::Arc;

/// Who may hand in documents, and how large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The bearer token that a sender must show (`token_file` or `token_env`). Several lines are several tokens, any of
    /// which will do, so that a token can be changed without a gap. Read again for every request. No default: without
    /// a token nobody may push. Example: `/run/secrets/bornright-push`.
    pub token: Secret,
    /// Bytes of one document as sent. Default 256 MiB ([`MAX_BYTES`]).
    pub max_bytes: u64,
}

/// The default of [`Config::max_bytes`]: a Prowler report of 100 000 findings has about 200 MB.
pub const MAX_BYTES: u64 = 256 << 20;

impl Config {
    /// What is wrong with it: (field, sentence).
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        if self.max_bytes == 0 { vec![("max_bytes", "0 lets nothing through".to_owned())] } else { Vec::new() }
    }
}

/// Whether the sender with this `Authorization` header may push. An unreadable token lets nobody in, and is logged.
pub fn authorise(config: &Config, header: Option<&str>) -> bool {
    let tokens = match config.token.reveal() {
        Ok(tokens) => tokens,
        Err(e) => {
            tracing::warn!(error = %e, "a push was refused because its token cannot be read: {e}");
            return false;
        }
    };
    let Some((scheme, given)) = header.and_then(|h| h.trim().split_once(' ')) else { return false };
    if !scheme.eq_ignore_ascii_case("bearer") {
        return false;
    }
    // Every token is compared to its end, so that the time taken says nothing about any of them.
    let tokens = tokens.expose_secret().lines().map(str::trim).filter(|t| !t.is_empty());
    tokens.fold(false, |any, token| any | equal(token.as_bytes(), given.trim().as_bytes()))
}

/// Compares in a time that depends only on what was given.
fn equal(token: &[u8], given: &[u8]) -> bool {
    let different = given.iter().enumerate().fold(token.len() ^ given.len(), |different, (i, &byte)| {
        std::hint::black_box(different | usize::from(token.get(i).copied().unwrap_or(0) ^ byte))
    });
    std::hint::black_box(different) == 0
}

/// A run from a body that has been spooled to its end. `complete`: the sender says that this is the whole of its
/// scope; `fields`: what it says about where the document comes from (`repository`).
pub fn accept(collector: &str, received: Moment, spool: tempfile::TempPath, complete: bool, fields: Vec<(String, String)>) -> Collected {
    let mut collected = Collected { complete, ..Collected::nothing(collector, received) };
    let empty = std::fs::metadata(&spool).is_ok_and(|meta| meta.len() == 0);
    if empty {
        collected.problems.push(problem(ProblemKind::Empty, "push", "the body is empty"));
        collected.complete = false;
    } else {
        collected.documents.push(Document {
            name: "push".to_owned(),
            path: spool.to_path_buf(),
            // The job that hands it in has just made it; formats that know better say so.
            modified: Some(received),
            fields,
            spool: Some(super::Held::File(Arc::new(spool))),
        });
    }
    collected.finished = clock::now();
    collected
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn only_a_bearer_of_a_whole_token_may_push() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "first-token\n\n  second-token ").unwrap();
        let config = Config { token: Secret::File(file.path().to_owned()), max_bytes: MAX_BYTES };
        for (header, may) in [
            (Some("Bearer first-token"), true),
            (Some("bearer second-token"), true),
            (Some(" Bearer  first-token "), true),
            (Some("Bearer first-toke"), false),
            (Some("Bearer first-token2"), false),
            (Some("Bearer FIRST-TOKEN"), false),
            (Some("Bearer "), false),
            (Some("Bearer"), false),
            (Some("Basic first-token"), false),
            (Some("first-token"), false),
            (Some(""), false),
            (None, false),
        ] {
            assert_eq!(authorise(&config, header), may, "{header:?}");
        }
        // A token's file that is gone or empty opens no door.
        std::fs::write(file.path(), "\n").unwrap();
        assert!(!authorise(&config, Some("Bearer ")) && !authorise(&config, Some("Bearer first-token")));
        let gone = Config { token: Secret::File("/no/such/file".into()), ..config };
        assert!(!authorise(&gone, Some("Bearer first-token")));
    }

    #[test]
    fn a_pushed_document_is_a_run_and_an_empty_one_is_none() {
        let spool = |text: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            file.into_temp_path()
        };
        let fields = vec![("repository".to_owned(), "acme/web".to_owned())];
        let run = accept("ci", Moment(5000), spool("[]"), true, fields.clone());
        assert!(run.complete && run.problems.is_empty());
        assert_eq!((run.documents[0].modified, &run.documents[0].fields), (Some(Moment(5000)), &fields));
        let path = run.documents[0].path.clone();
        assert!(path.exists());
        drop(run);
        assert!(!path.exists());

        let run = accept("ci", Moment(5000), spool(""), true, Vec::new());
        assert!(!run.complete && run.documents.is_empty());
        assert_eq!(run.problems[0].to_string(), "push: empty: the body is empty");
        assert!(!accept("ci", Moment(5000), spool("[]"), false, Vec::new()).complete);
    }
}
