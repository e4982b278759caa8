use super::{assert_hidden, problems, schedule, text};
use bornright::collectors::client::Secret;
use bornright::collectors::command::{Config, Reads};
use bornright::collectors::run::once;
use bornright::collectors::{Collected, Reach, file};
use bornright::domain::{ProblemKind, Span};
use std::path::Path;
use std::time::{Duration, Instant};

/// A program in a directory of its own; tests pass texts to it, never to a shell.
fn program(script: &str) -> (tempfile::TempDir, Config) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("scan"), script).unwrap();
    let argv = vec!["/bin/sh".to_owned(), dir.path().join("scan").display().to_string()];
    let config = Config { argv, cwd: Some(dir.path().to_owned()), ..Config::default() };
    (dir, config)
}

async fn run(config: Config) -> Collected {
    let mut schedule = schedule(Reach::Command(config));
    schedule.timeout = Span(20_000);
    once(schedule).await
}

#[tokio::test]
async fn standard_output_is_the_document() {
    let (_dir, config) = program("echo '[1]'; echo 'scanning…' >&2");
    let got = run(config).await;
    assert!(got.complete && got.problems.is_empty(), "{}", problems(&got));
    assert_eq!((text(&got).as_str(), got.documents[0].name.as_str()), ("[1]\n", "sh"));
    assert_eq!(got.documents[0].modified, Some(got.started));
    let path = got.documents[0].path.clone();
    drop(got);
    assert!(!path.exists());
}

#[tokio::test]
async fn no_shell_reads_the_arguments() {
    let argv = ["printf", "%s|", "a b", "$HOME", "`id`", "; exit 3", "*"].map(str::to_owned).to_vec();
    assert_eq!(text(&run(Config { argv, ..Config::default() }).await), "a b|$HOME|`id`|; exit 3|*|");
}

#[tokio::test]
async fn exit_codes_that_mean_findings_are_no_failure() {
    let (_dir, config) = program("echo '[1]'; exit 3");
    let got = run(Config { findings_exit_codes: vec![3], ..config.clone() }).await;
    assert!(got.complete, "{}", problems(&got));

    // Any other is; what was printed is handed on, and closes nothing.
    let got = run(Config { findings_exit_codes: vec![1, 2], ..config.clone() }).await;
    assert_eq!(problems(&got), "sh: scanner_error: exited with 3, not 0 or one of [1, 2]");
    assert_eq!((text(&got).as_str(), got.complete), ("[1]\n", false));
    let got = run(config).await;
    assert_eq!(problems(&got), "sh: scanner_error: exited with 3, which is failure unless findings_exit_codes has it");

    let (_dir, config) = program("kill -9 $$");
    let got = run(config).await;
    assert!(problems(&got).starts_with("sh: scanner_error: was ended by a signal (signal: 9"), "{}", problems(&got));
}

#[tokio::test]
async fn silence_is_no_scan() {
    let (_dir, config) = program("echo 'no credentials' >&2; exit 0");
    let got = run(config).await;
    assert_eq!(problems(&got), "sh: empty: printed nothing: no credentials");
    assert!(!got.complete && got.documents.is_empty());
}

#[tokio::test]
async fn the_end_of_standard_error_tells_why() {
    let (_dir, config) = program(
        "i=0; while [ $i -lt 3000 ]; do echo 'a line of chatter' >&2; i=$((i+1)); done; printf '\\033[31mthe reason\\033[0m\\n' >&2; exit 1",
    );
    let got = run(config).await;
    let text = problems(&got);
    assert!(text.ends_with("chatter the reason") && text.len() < 700, "{text}");
}

#[tokio::test]
async fn the_environment_is_what_the_configuration_names() {
    let (dir, config) = program("env");
    let token = dir.path().join("token");
    std::fs::write(&token, "tok3n-s3cr3t\n").unwrap();
    let config = Config {
        env: vec!["CARGO_PKG_NAME".to_owned(), "NOT_SET_ANYWHERE".to_owned()],
        set: vec![("KUBECONFIG".to_owned(), "/etc/kube".to_owned())],
        secret_env: vec![("SCAN_TOKEN".to_owned(), Secret::File(token))],
        ..config
    };
    let got = run(config).await;
    // A shell sets these itself.
    let mut names: Vec<_> = text(&got)
        .lines()
        .filter_map(|l| l.split_once('='))
        .map(|(n, _)| n.to_owned())
        .filter(|n| !["PWD", "OLDPWD", "SHLVL", "_"].contains(&n.as_str()))
        .collect();
    names.sort();
    let mut expected = vec!["CARGO_PKG_NAME", "KUBECONFIG", "SCAN_TOKEN"];
    expected.extend(["HOME", "LANG", "PATH"].into_iter().filter(|n| std::env::var_os(n).is_some()));
    expected.sort();
    assert_eq!(names, expected);
    assert!(text(&got).contains("SCAN_TOKEN=tok3n-s3cr3t\n"));
}

#[tokio::test]
async fn secrets_in_its_last_words_are_hidden() {
    let (dir, config) = program("echo \"401 with token $SCAN_TOKEN\" >&2; exit 1");
    let token = dir.path().join("token");
    std::fs::write(&token, "tok3n-s3cr3t").unwrap();
    let got = run(Config { secret_env: vec![("SCAN_TOKEN".to_owned(), Secret::File(token))], ..config.clone() }).await;
    assert!(problems(&got).ends_with(": 401 with token ***"), "{}", problems(&got));
    assert_hidden(&got, "tok3n-s3cr3t");
    let got = run(Config { secret_env: vec![("SCAN_TOKEN".to_owned(), Secret::File("/no/token".into()))], ..config }).await;
    assert!(problems(&got).starts_with("sh: internal: file /no/token: "), "{}", problems(&got));
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_named() {
    let with = |argv: &[&str], cwd: Option<&str>| Config {
        argv: argv.iter().map(|&a| a.to_owned()).collect(),
        cwd: cwd.map(Into::into),
        ..Config::default()
    };
    let said = async |config| problems(&run(config).await);
    assert_eq!(
        said(with(&["no-such-scanner"], None)).await,
        "no-such-scanner: source: there is no program `no-such-scanner` in PATH; install it or write its full path"
    );
    assert_eq!(said(with(&["/no/such/scanner"], None)).await, "scanner: source: there is no program /no/such/scanner");
    assert_eq!(said(with(&["/etc/passwd"], None)).await, "passwd: denied: /etc/passwd may not be executed");
    assert_eq!(said(with(&["true"], Some("/no/where"))).await, "true: source: its working directory /no/where is not a directory");
    assert_eq!(with(&[], None).validate()[0].0, "argv");
    assert_eq!(with(&["prowler aws"], None).validate()[0].1, "no shell reads it; write each argument as an item: [prowler, aws]");
    assert!(with(&["prowler", "aws"], None).validate().is_empty());
}

/// Whether a process that wrote its number into a file still runs. One that was killed may stay as a zombie until its
/// parent looks.
fn runs(pid_file: &Path) -> bool {
    let pid = std::fs::read_to_string(pid_file).unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with(['Z', 'X']))
}

#[tokio::test]
async fn when_its_time_is_up_it_is_killed_with_all_its_children() {
    let (dir, config) = program("echo '[1,'; sleep 300 & echo $! > child; echo $$ > parent; echo 'still at it' >&2; wait");
    let mut schedule = schedule(Reach::Command(config));
    // Long enough that the shell has begun even on a machine that is busy with other things.
    schedule.timeout = Span(2500);
    let begin = Instant::now();
    let got = once(schedule).await;
    assert!(begin.elapsed() < Duration::from_secs(20));
    assert_eq!(problems(&got), "sh: timeout: was killed when its time was up: still at it");
    assert_eq!((text(&got).as_str(), got.complete), ("[1,\n", false));
    assert!(!runs(&dir.path().join("parent")), "it is waited for");
    // The child is not ours: it was killed with its group, and the kernel takes it away in its own time.
    let begin = Instant::now();
    while runs(&dir.path().join("child")) {
        assert!(begin.elapsed() < Duration::from_secs(10), "it still runs");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_run_that_is_given_up_leaves_nothing_running() {
    let (dir, config) = program("sleep 300 & echo $! > child.new; mv child.new child; wait");
    let child = dir.path().join("child");
    let task = tokio::spawn(run(config));
    while !child.exists() {
        tokio::task::yield_now().await;
    }
    assert!(runs(&child));
    task.abort();
    drop(task.await);
    let begin = Instant::now();
    while runs(&child) {
        assert!(begin.elapsed() < Duration::from_secs(10), "it still runs");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn output_is_bounded() {
    let (_dir, config) = program("while :; do echo '0123456789'; done");
    let got = run(Config { max_output_bytes: 50_000, ..config }).await;
    assert_eq!(problems(&got), "sh: limit: printed more than the 50000 bytes allowed (max_output_bytes), and was killed");
    assert_eq!((text(&got).len(), got.complete), (50_000, false));
    // Chatter has no bound: it is not kept.
    let (_dir, config) =
        program("i=0; while [ $i -lt 20000 ]; do echo 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' >&2; i=$((i+1)); done; echo '[]'");
    assert!(run(Config { max_output_bytes: 50_000, ..config }).await.complete);
}

#[tokio::test]
async fn a_child_left_behind_does_not_hold_us() {
    let (dir, config) = program("sleep 300 & echo $! > child; echo '[1]'");
    let begin = Instant::now();
    let got = run(config).await;
    assert!(begin.elapsed() < Duration::from_secs(15));
    assert!(problems(&got).contains("left a process behind"), "{}", problems(&got));
    assert_eq!((text(&got).as_str(), got.complete), ("[1]\n", false));
    let begin = Instant::now();
    while runs(&dir.path().join("child")) {
        assert!(begin.elapsed() < Duration::from_secs(10), "it still runs");
    }
}

#[tokio::test]
async fn files_it_writes_are_read_and_older_ones_are_not() {
    let files = || Reads::Files(file::Config { paths: vec!["out/*.json".to_owned()], ..file::Config::default() });
    let (dir, config) = program("echo '[2]' > out/new.json; echo talk");
    std::fs::create_dir(dir.path().join("out")).unwrap();
    let old = dir.path().join("out/old.json");
    std::fs::write(&old, "[1]").unwrap();
    let yesterday = std::fs::metadata(&old).unwrap().modified().unwrap() - Duration::from_secs(86_400);
    std::fs::File::options().write(true).open(&old).unwrap().set_modified(yesterday).unwrap();
    let got = run(Config { reads: files(), ..config.clone() }).await;
    assert!(got.complete, "{}", problems(&got));
    assert_eq!(text(&got), "[2]\n");
    // They are the program's, not ours to remove.
    assert!(got.documents[0].spool.is_none());

    let got = run(Config { reads: files(), max_output_bytes: 2, ..config }).await;
    assert_eq!(got.problems[0].kind, ProblemKind::Limit);

    // It says that all is well and writes nothing: yesterday's file is not today's evidence.
    let (dir, config) = program("echo all is well");
    std::fs::create_dir(dir.path().join("out")).unwrap();
    let got = run(Config { reads: files(), ..config.clone() }).await;
    assert_eq!(problems(&got), "out/*.json: empty: nothing matches");
    std::fs::write(dir.path().join("out/old.json"), "[1]").unwrap();
    std::fs::File::options().write(true).open(dir.path().join("out/old.json")).unwrap().set_modified(yesterday).unwrap();
    let got = run(Config { reads: files(), ..config }).await;
    assert_eq!(problems(&got), "sh: empty: wrote no file this time; 1 of an earlier run are left out");
    assert!(!got.complete && got.documents.is_empty());

    // It fails: the reason may stand on standard output.
    let (_dir, config) = program("echo 'disk is full'; exit 1");
    let got = run(Config { reads: files(), ..config }).await;
    assert!(
        problems(&got).starts_with("sh: scanner_error: exited with 1, which is failure unless findings_exit_codes has it: disk is full")
    );
}
