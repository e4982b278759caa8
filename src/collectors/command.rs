//! A program of the operator's, run without a shell, with an environment of its own and in a process group of its own.
//!
//! What it prints before it fails or is stopped is handed on, and the run is not complete: half a scan may show a
//! violation, it never shows that there are no others.

use super::client::{Redactor, Secret, Spool, problem};
use super::{Collected, Document, file};
use crate::clock;
use crate::domain::{Problem, ProblemKind, Span};
use secrecy::ExposeSecret;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout, timeout_at};

/// What is kept of standard error: its end, where the reason stands.
const LAST_WORDS: usize = 4 << 10;
/// What is told of it.
const EXCERPT: usize = 500;
/// A program's children may hold its output open after it has ended; then this is how long we read on.
const DRAIN: Duration = Duration::from_secs(5);
/// A killed process that does not go is stuck in the kernel; nobody can wait for that.
const REAP: Duration = Duration::from_secs(5);
/// Variables that every program gets.
const ALWAYS: [&str; 3] = ["PATH", "HOME", "LANG"];
/// File systems round their time stamps.
const ROUNDING: Span = Span(2000);

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

impl Config {
    /// What is wrong with it: (field, sentence).
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        let mut wrong = Vec::new();
        match self.argv.first() {
            None => wrong.push(("argv", "no program; write it and its arguments as a list".to_owned())),
            Some(program) if program.is_empty() => wrong.push(("argv", "the program's name is empty".to_owned())),
            Some(program) if self.argv.len() == 1 && program.contains(' ') && !Path::new(program).exists() => {
                let list: Vec<_> = program.split_whitespace().collect();
                wrong.push(("argv", format!("no shell reads it; write each argument as an item: [{}]", list.join(", "))));
            }
            Some(_) => {}
        }
        if self.argv.iter().any(|a| a.contains('\0')) {
            wrong.push(("argv", "has a NUL character in it".to_owned()));
        }
        let names = self.env.iter().chain(self.set.iter().map(|(n, _)| n)).chain(self.secret_env.iter().map(|(n, _)| n));
        for name in names {
            if name.is_empty() || name.contains(['=', '\0']) {
                wrong.push(("env", format!("`{name}` is not a variable's name")));
            }
        }
        if self.max_output_bytes == 0 {
            wrong.push(("max_output_bytes", "0 lets nothing through".to_owned()));
        }
        if let Reads::Files(files) = &self.reads {
            wrong.extend(files.validate());
        }
        wrong
    }
}

/// How it ended.
enum End {
    Exited(ExitStatus),
    /// It ended, and left a child behind that holds its output open.
    Left(ExitStatus),
    Late,
    /// Too much output, or our disk is full.
    Stopped(Problem),
}

/// Runs the program to its end.
pub(super) async fn collect(name: &str, config: &Config, custodian: bool, deadline: Instant) -> Collected {
    let mut collected = Collected::nothing(name, clock::now());
    let program = config.argv.first().map_or("", String::as_str);
    let source = Path::new(program).file_name().map_or_else(|| program.to_owned(), |n| n.to_string_lossy().into_owned());
    if let Err(problem) = run(config, &source, custodian, deadline, &mut collected).await {
        collected.problems.push(problem);
    }
    collected.complete = collected.problems.is_empty();
    collected.finished = clock::now();
    collected
}

async fn run(config: &Config, source: &str, custodian: bool, deadline: Instant, collected: &mut Collected) -> Result<(), Problem> {
    let mut redactor = Redactor::default();
    let mut child = start(config, source, &mut redactor)?;
    let group = Group(child.id());
    let mut spool = Spool::new()?;
    let mut words = Vec::new();
    let end = follow(&mut child, config, source, &mut spool, &mut words, deadline).await;
    match end {
        // Nothing of it is left, and its number may soon be another's.
        End::Exited(_) => std::mem::forget(group),
        End::Left(_) => drop(group),
        End::Late | End::Stopped(_) => {
            drop(group);
            let _ = timeout(REAP, child.wait()).await;
        }
    }
    let says = |what: String| {
        let said = last_words(&words, &redactor);
        if said.is_empty() { what } else { format!("{what}: {said}") }
    };
    match end {
        End::Exited(status) | End::Left(status) if !succeeded(config, status) => {
            collected.problems.push(problem(ProblemKind::ScannerError, source, says(ended(config, status))));
        }
        End::Exited(_) => {}
        End::Left(_) => {
            let message = "ended, but left a process behind that held its output open; it was killed, and the output may lack its end";
            collected.problems.push(problem(ProblemKind::ScannerError, source, message));
        }
        End::Late => collected.problems.push(problem(ProblemKind::Timeout, source, says("was killed when its time was up".to_owned()))),
        End::Stopped(problem) => collected.problems.push(problem),
    }
    match &config.reads {
        Reads::Stdout if spool.len() > 0 => collected.documents.push(Document {
            name: source.to_owned(),
            path: spool.path().to_path_buf(),
            // It looked after it was started, never before.
            modified: Some(collected.started),
            fields: Vec::new(),
            spool: Some(super::Held::File(Arc::clone(spool.path()))),
        }),
        Reads::Stdout if collected.problems.is_empty() => {
            return Err(problem(ProblemKind::Empty, source, says("printed nothing".to_owned())));
        }
        Reads::Stdout => {}
        Reads::Files(files) => written(files, config, source, custodian, deadline, collected).await?,
    }
    Ok(())
}

fn start(config: &Config, source: &str, redactor: &mut Redactor) -> Result<Child, Problem> {
    let internal = |message: String| problem(ProblemKind::Internal, source, message);
    let (program, arguments) = config.argv.split_first().ok_or_else(|| internal("no program is configured".to_owned()))?;
    if let Some(cwd) = config.cwd.as_ref().filter(|cwd| !cwd.is_dir()) {
        return Err(problem(ProblemKind::Source, source, format!("its working directory {} is not a directory", cwd.display())));
    }
    let mut command = Command::new(program);
    command.args(arguments).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    #[cfg(unix)]
    command.process_group(0);
    for name in ALWAYS.iter().copied().chain(config.env.iter().map(String::as_str)) {
        if let Some(value) = std::env::var_os(name) {
            // The operator named it for the program; whether it is secret we cannot know, so what is not public by
            // nature is not repeated either.
            if let (false, Some(text)) = (ALWAYS.contains(&name), value.to_str().filter(|t| t.len() >= 8)) {
                redactor.add(&secrecy::SecretString::from(text));
            }
            command.env(name, value);
        }
    }
    command.envs(config.set.iter().map(|(name, value)| (name, value)));
    for (name, secret) in &config.secret_env {
        let value = secret.reveal().map_err(internal)?;
        redactor.add(&value);
        command.env(name, value.expose_secret());
    }
    if let Some(cwd) = &config.cwd {
        command.current_dir(cwd);
    }
    command.spawn().map_err(|e| match e.kind() {
        ErrorKind::NotFound if program.contains('/') => problem(ProblemKind::Source, source, format!("there is no program {program}")),
        ErrorKind::NotFound => {
            problem(ProblemKind::Source, source, format!("there is no program `{program}` in PATH; install it or write its full path"))
        }
        ErrorKind::PermissionDenied => problem(ProblemKind::Denied, source, format!("{program} may not be executed")),
        _ => problem(ProblemKind::Source, source, format!("{program} cannot be started: {e}")),
    })
}

/// Reads both of its outputs until it ends.
async fn follow(child: &mut Child, config: &Config, source: &str, spool: &mut Spool, words: &mut Vec<u8>, deadline: Instant) -> End {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    // With `reads: files` the standard output is talk, and may hold the reason of a failure as well as standard error.
    let talks = matches!(config.reads, Reads::Files(_));
    let mut talk = Vec::new();
    let pipes = async {
        let out = async {
            match stdout {
                Some(stdout) if talks => keep_end(stdout, &mut talk).await,
                Some(stdout) => keep_all(stdout, spool, config.max_output_bytes, source).await?,
                None => {}
            }
            Ok(())
        };
        let err = async {
            if let Some(stderr) = stderr {
                keep_end(stderr, words).await;
            }
            Ok(())
        };
        tokio::try_join!(out, err).map(|_| ())
    };
    let exited = |status: std::io::Result<ExitStatus>| match status {
        Ok(status) => End::Exited(status),
        Err(e) => End::Stopped(problem(ProblemKind::Internal, source, format!("cannot be waited for: {e}"))),
    };
    let end = {
        tokio::pin!(pipes);
        let to_its_end = async {
            tokio::select! {
                read = &mut pipes => match read {
                    Ok(()) => exited(child.wait().await),
                    Err(problem) => End::Stopped(problem),
                },
                status = child.wait() => match timeout(DRAIN, &mut pipes).await {
                    Ok(Ok(())) => exited(status),
                    Ok(Err(problem)) => End::Stopped(problem),
                    Err(_) => match exited(status) {
                        End::Exited(status) => End::Left(status),
                        other => other,
                    },
                },
            }
        };
        timeout_at(deadline, to_its_end).await.unwrap_or(End::Late)
    };
    if words.trim_ascii().is_empty() {
        *words = talk;
    }
    end
}

async fn keep_all(mut from: impl AsyncRead + Unpin, spool: &mut Spool, max_bytes: u64, source: &str) -> Result<(), Problem> {
    let mut buf = vec![0; 64 << 10];
    loop {
        let n = match from.read(&mut buf).await {
            Ok(0) => return Ok(()),
            Ok(n) => n,
            Err(e) => return Err(problem(ProblemKind::Internal, source, format!("its output cannot be read: {e}"))),
        };
        let room = usize::try_from(max_bytes - spool.len()).unwrap_or(usize::MAX);
        spool.write(&buf[..n.min(room)])?;
        if n > room {
            let message = format!("printed more than the {max_bytes} bytes allowed (max_output_bytes), and was killed");
            return Err(problem(ProblemKind::Limit, source, message));
        }
    }
}

async fn keep_end(mut from: impl AsyncRead + Unpin, end: &mut Vec<u8>) {
    let mut buf = vec![0; LAST_WORDS];
    while let Ok(n @ 1..) = from.read(&mut buf).await {
        end.extend_from_slice(&buf[..n]);
        end.drain(..end.len().saturating_sub(LAST_WORDS));
    }
}

fn last_words(words: &[u8], redactor: &Redactor) -> String {
    let text = redactor.clean(&String::from_utf8_lossy(words));
    // Colours and cursor movements are for terminals.
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\x1b' => {
                chars.by_ref().skip_while(|&c| c == '[').find(|c| c.is_ascii_alphabetic());
            }
            c if c.is_control() || c.is_whitespace() => plain.push(' '),
            c => plain.push(c),
        }
    }
    let line = plain.split(' ').filter(|w| !w.is_empty()).collect::<Vec<_>>().join(" ");
    let skip = line.chars().count().saturating_sub(EXCERPT);
    if skip == 0 { line } else { format!("…{}", line.chars().skip(skip).collect::<String>()) }
}

fn succeeded(config: &Config, status: ExitStatus) -> bool {
    status.code().is_some_and(|code| code == 0 || config.findings_exit_codes.contains(&code))
}

fn ended(config: &Config, status: ExitStatus) -> String {
    match status.code() {
        Some(code) if config.findings_exit_codes.is_empty() => {
            format!("exited with {code}, which is failure unless findings_exit_codes has it")
        }
        Some(code) => format!("exited with {code}, not 0 or one of {:?}", config.findings_exit_codes),
        None => format!("was ended by a signal ({status})"),
    }
}

/// The files that this execution wrote. What lies there from an earlier one is no evidence of this one.
async fn written(
    files: &file::Config,
    config: &Config,
    source: &str,
    custodian: bool,
    deadline: Instant,
    collected: &mut Collected,
) -> Result<(), Problem> {
    let files = file::Config { settle: Span(0), ..files.clone() };
    let base = config.cwd.clone().unwrap_or_default();
    // The program's time may be up; its files are still worth a look.
    let deadline = deadline.max(Instant::now() + Duration::from_secs(10));
    let found = file::collect(&collected.collector, &files, custodian, &base, &Arc::default(), deadline).await;
    let since = collected.started - ROUNDING;
    let (fresh, stale): (Vec<_>, Vec<_>) = found.documents.into_iter().partition(|d| d.modified.is_some_and(|m| m >= since));
    let mut bytes: u64 = 0;
    for document in &fresh {
        bytes = bytes.saturating_add(std::fs::metadata(&document.path).map_or(0, |m| m.len()));
    }
    if bytes > config.max_output_bytes {
        let message = format!("wrote {bytes} bytes, over the {} allowed (max_output_bytes); they are not read", config.max_output_bytes);
        return Err(problem(ProblemKind::Limit, source, message));
    }
    let nothing_new = fresh.is_empty() && !stale.is_empty();
    collected.documents = fresh;
    collected.newest_per_subject = found.newest_per_subject;
    collected.problems.extend(found.problems);
    if nothing_new {
        let message = format!("wrote no file this time; {} of an earlier run are left out", stale.len());
        return Err(problem(ProblemKind::Empty, source, message));
    }
    Ok(())
}

/// Kills the program with all its children when dropped: a run that is given up leaves nothing running.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(pid) = self.0.and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw) {
            // Fails only if there is nobody left.
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }
}
