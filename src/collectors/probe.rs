//! Asks a source whether it would answer, without bringing what it has: one page of each list, one look at a directory.
//!
//! A program is looked for and not run: it may work for hours, or change things. What a run says of a fault is what is
//! said here; this only sorts it into what a person has to mend: the way, the name, or the rights.

use super::run;
use super::{Collected, Reach, Schedule, command, push};
use crate::domain::{Problem, ProblemKind, Span};
use std::path::{Path, PathBuf};

/// Longest wait for one source. A cloud API has answered by then, tokens and all.
const PATIENCE: Span = Span(30_000);

/// Yes, no, or not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is so.
    Yes,
    /// It is not.
    No,
    /// Nothing was seen that tells.
    Unknown,
}

impl Answer {
    /// The word in print.
    pub const fn word(self) -> &'static str {
        match self {
            Answer::Yes => "yes",
            Answer::No => "no",
            Answer::Unknown => "unknown",
        }
    }
}

/// What is known of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// Whether something answers, or is there.
    pub reachable: Answer,
    /// Whether it takes us for who we say we are.
    pub authenticated: Answer,
    /// Whether we may have everything that is asked for.
    pub permitted: Answer,
    /// What is wrong or missing, in the words of a run.
    pub missing: Vec<String>,
}

impl Probed {
    /// Whether a run can be expected to bring everything.
    pub fn good(&self) -> bool {
        self.missing.is_empty() && [self.reachable, self.authenticated, self.permitted].iter().all(|a| *a != Answer::No)
    }

    /// Nothing is known, since the attempt itself broke.
    pub fn broke(why: &str) -> Probed {
        Probed::all(Answer::Unknown).lacks(why)
    }

    fn all(answer: Answer) -> Probed {
        Probed { reachable: answer, authenticated: answer, permitted: answer, missing: Vec::new() }
    }

    fn lacks(mut self, what: impl Into<String>) -> Probed {
        self.missing.push(what.into());
        self
    }
}

/// Most sentences of one source; a hundred accounts may all be denied.
const SENTENCES: usize = 20;

/// Tries one source.
pub async fn probe(mut schedule: Schedule) -> Probed {
    schedule.timeout = Span(schedule.timeout.0.min(PATIENCE.0));
    match &mut schedule.reach {
        Reach::Command(config) => return of_program(config),
        Reach::Push(config) => return of_token(config),
        Reach::File(config) => config.settle = Span(0),
        Reach::Http(config) => {
            config.retry.retries = config.retry.retries.min(1);
            config.max_pages = 1;
        }
        _ => {}
    }
    sorted(&run::brief(schedule).await)
}

/// Sorts what a run said.
fn sorted(collected: &Collected) -> Probed {
    let brought = !collected.documents.is_empty();
    let real: Vec<&Problem> = collected.problems.iter().filter(|p| !more_pages(p)).collect();
    let mut out = Probed::all(if brought || real.is_empty() { Answer::Yes } else { Answer::Unknown });
    for problem in &real {
        match problem.kind {
            ProblemKind::Denied if nameless(&problem.message) => {
                out.reachable = Answer::Yes;
                out.authenticated = Answer::No;
                out.permitted = if brought { Answer::No } else { Answer::Unknown };
            }
            ProblemKind::Denied => {
                out.reachable = Answer::Yes;
                if out.authenticated == Answer::Unknown {
                    out.authenticated = Answer::Yes;
                }
                out.permitted = Answer::No;
            }
            ProblemKind::Unreachable | ProblemKind::Timeout if !brought => out.reachable = Answer::No,
            // It answered, if not as it should.
            ProblemKind::Empty | ProblemKind::Source | ProblemKind::Malformed | ProblemKind::Truncated | ProblemKind::WrongFormat
                if out.reachable == Answer::Unknown =>
            {
                out.reachable = Answer::Yes;
            }
            _ => {}
        }
    }
    for problem in real.iter().take(SENTENCES) {
        out.missing.push(problem.to_string().replace('\n', " "));
    }
    if real.len() > SENTENCES {
        out.missing.push(format!("and {} more", real.len() - SENTENCES));
    }
    out
}

/// That there is a second page is no fault: we asked for one.
fn more_pages(problem: &Problem) -> bool {
    problem.kind == ProblemKind::Limit && problem.message.contains("more than 1 pages")
}

/// Whether a refusal is of the name, and not of the rights.
fn nameless(message: &str) -> bool {
    let message = message.to_lowercase();
    ["401", "unauthorized", "unauthenticated", "no credentials", "credential", "token", "is not set"].iter().any(|w| message.contains(w))
        && !message.contains("403")
}

/// Whether the program is there and may be run, and its secrets can be read. What it may see is its own affair.
fn of_program(config: &command::Config) -> Probed {
    let mut out = Probed { permitted: Answer::Unknown, authenticated: Answer::Unknown, ..Probed::all(Answer::Yes) };
    let program = config.argv.first().map(String::as_str).unwrap_or_default();
    if find(program, config.cwd.as_deref()).is_none() {
        out.reachable = Answer::No;
        out = out.lacks(format!("there is no program `{program}` that we may run; install it or write its full path"));
    }
    for (name, secret) in &config.secret_env {
        if let Err(why) = secret.reveal() {
            out.authenticated = Answer::No;
            out = out.lacks(format!("env_files.{name}: {why}"));
        }
    }
    for name in config.env.iter().filter(|name| std::env::var_os(name).is_none()) {
        out = out.lacks(format!("the variable {name} that it is to get is not set here"));
    }
    out
}

fn find(program: &str, cwd: Option<&Path>) -> Option<PathBuf> {
    let runs = |path: &Path| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        let path = cwd.map_or_else(|| PathBuf::from(program), |cwd| cwd.join(program));
        return runs(&path).then_some(path);
    }
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(program)).find(|path| runs(path))
}

/// Whether somebody who pushes could be let in.
fn of_token(config: &push::Config) -> Probed {
    match config.token.reveal() {
        Ok(_) => Probed::all(Answer::Yes),
        Err(why) => Probed { authenticated: Answer::No, permitted: Answer::Unknown, ..Probed::all(Answer::Yes) }.lacks(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collectors::file;
    use crate::domain::{Moment, Position};

    fn after(kinds: &[(ProblemKind, &str)]) -> (&'static str, &'static str, &'static str, usize) {
        let mut collected = Collected::nothing("c", Moment(0));
        for (kind, message) in kinds {
            let (source, message) = ("s".to_owned(), (*message).to_owned());
            collected.problems.push(Problem { kind: *kind, source, position: Position::default(), message });
        }
        let p = sorted(&collected);
        (p.reachable.word(), p.authenticated.word(), p.permitted.word(), p.missing.len())
    }

    #[test]
    fn faults_are_sorted_by_what_has_to_be_mended() {
        assert_eq!(after(&[]), ("yes", "yes", "yes", 0));
        assert_eq!(after(&[(ProblemKind::Limit, "more than 1 pages (max_pages)")]), ("yes", "yes", "yes", 0));
        assert_eq!(after(&[(ProblemKind::Unreachable, "refused")]), ("no", "unknown", "unknown", 1));
        assert_eq!(after(&[(ProblemKind::Denied, "answered 401 Unauthorized")]), ("yes", "no", "unknown", 1));
        assert_eq!(after(&[(ProblemKind::Denied, "answered 403 Forbidden: needed is x")]), ("yes", "yes", "no", 1));
        assert_eq!(after(&[(ProblemKind::Source, "answered 500")]), ("yes", "unknown", "unknown", 1));
        let many: Vec<_> = (0..50).map(|_| (ProblemKind::Denied, "answered 403")).collect();
        assert_eq!(after(&many).3, SENTENCES + 1);
    }

    #[tokio::test]
    async fn a_directory_is_looked_at_and_a_program_is_not_run() {
        let dir = tempfile::tempdir().expect("a directory");
        let schedule = |reach| Schedule { name: "c".to_owned(), every: Span(60_000), timeout: Span(60_000), reach, custodian: false };
        let paths = vec![dir.path().join("*.json").display().to_string()];
        let reach = || Reach::File(file::Config { paths: paths.clone(), ..file::Config::default() });
        let nothing = probe(schedule(reach())).await;
        assert!(!nothing.good() && nothing.missing[0].contains("empty"), "{nothing:?}");
        std::fs::write(dir.path().join("a.json"), "{}").expect("written");
        assert!(probe(schedule(reach())).await.good());

        let ran = dir.path().join("ran");
        let script = dir.path().join("scan.sh");
        std::fs::write(&script, format!("#!/bin/sh\ntouch {}\n", ran.display())).expect("written");
        let program = |argv: &str| {
            Reach::Command(command::Config {
                argv: vec![argv.to_owned()],
                env: Vec::new(),
                set: Vec::new(),
                secret_env: Vec::new(),
                cwd: None,
                findings_exit_codes: Vec::new(),
                max_output_bytes: 1,
                reads: command::Reads::Stdout,
            })
        };
        let script = script.display().to_string();
        let found = probe(schedule(program(&script))).await;
        assert!(found.reachable == Answer::No && found.missing[0].contains("no program"), "not executable: {found:?}");
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("ours");
        assert!(probe(schedule(program(&script))).await.good());
        assert!(!probe(schedule(program("no-such-program-anywhere"))).await.good());
        assert!(!ran.exists());
    }
}
