//! When collectors run: one task each, which nothing in another can stop, slow or break.
//!
//! The first run is at once, the others at fixed instants from there on, so that a slow source does not make the
//! schedule drift; a little jitter keeps a hundred replicas from asking at the same second. A run that came to nothing
//! is tried again sooner, ever less often. A panic costs one run.

use super::aws_security_hub::Version;
use super::azure::{defender, policy, sentinel};
use super::client::problem;
use super::session::Session;
use super::{Collected, Reach, Schedule, aws_config, aws_security_hub, command, file, fugue, gcp_scc, github, http, kubernetes, s3, wiz};
use crate::clock;
use crate::domain::{ProblemKind, Span};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

/// First wait after a run that came to nothing; doubles.
const RETRY: Duration = Duration::from_secs(30);
/// Collectors keep to their deadline and hand on what they have; whoever does not within this is cut off.
const GRACE: Duration = Duration::from_secs(30);
/// However often the configuration asks for it.
const SHORTEST: Duration = Duration::from_millis(100);

/// One run, on its way to the pipeline.
#[derive(Debug)]
pub struct Job {
    /// What it brought.
    pub collected: Collected,
    /// The pipeline's answer, when it is done with it. Dropping it says that it came to nothing.
    pub done: oneshot::Sender<Applied>,
}

/// What the pipeline made of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Whether it was of any use; if not, the collector tries again sooner, and from scratch.
    pub usable: bool,
}

/// How far runs are spread in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The first run is late by up to this, at most a tenth of the interval.
    pub start: Span,
    /// Later runs are late by up to this many per cent of the interval.
    pub jitter_percent: u8,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { start: Span(2000), jitter_percent: 10 }
    }
}

impl Pace {
    /// Exactly on time, for tests.
    pub const EXACT: Pace = Pace { start: Span(0), jitter_percent: 0 };
}

/// Runs a collector until `shutdown`, or until nobody takes its jobs.
pub async fn run(schedule: Schedule, tx: mpsc::Sender<Job>, shutdown: CancellationToken) {
    run_at(Pace::default(), schedule, tx, shutdown).await;
}

/// The same at another pace.
pub async fn run_at(pace: Pace, schedule: Schedule, tx: mpsc::Sender<Job>, shutdown: CancellationToken) {
    // What is pushed comes by another door.
    if matches!(schedule.reach, Reach::Push(_)) {
        return shutdown.cancelled().await;
    }
    let source = Arc::new(Source::new(&schedule));
    let collect = {
        let (source, schedule) = (Arc::clone(&source), Arc::new(schedule.clone()));
        move |deadline| {
            let (source, schedule) = (Arc::clone(&source), Arc::clone(&schedule));
            async move { source.collect(&schedule, deadline).await }
        }
    };
    drive(pace, &schedule, &tx, &shutdown, collect, || source.changed(), || source.forget()).await;
}

/// Collects once and now.
pub async fn once(schedule: Schedule) -> Collected {
    let name = schedule.name.clone();
    let timeout = schedule.timeout.std();
    attempt(&name, timeout, |deadline| async move { Source::new(&schedule).collect(&schedule, deadline).await }).await
}

/// Collects one page of each list, once and now: see [`super::probe`].
pub(super) async fn brief(schedule: Schedule) -> Collected {
    let name = schedule.name.clone();
    let timeout = schedule.timeout.std();
    let source = match schedule.reach.options() {
        Some(options) => {
            let mut options = options.clone();
            options.max_pages = 1;
            options.retry.retries = options.retry.retries.min(1);
            Source::Api(Session::new(&options))
        }
        None => Source::new(&schedule),
    };
    attempt(&name, timeout, |deadline| async move { source.collect(&schedule, deadline).await }).await
}

/// What is kept of a source between its runs.
enum Source {
    File(Arc<file::State>),
    Http(Box<http::State>),
    /// Every cloud API.
    Api(Arc<Session>),
    /// A cluster, which can be watched.
    Kubernetes(Box<kubernetes::State>),
    S3(Box<s3::State>),
    Command,
    Push,
}

impl Source {
    fn new(schedule: &Schedule) -> Source {
        if let Reach::Kubernetes(config) = &schedule.reach {
            return Source::Kubernetes(Box::new(kubernetes::State::new(config)));
        }
        if let Reach::S3(config) = &schedule.reach {
            return Source::S3(Box::new(s3::State::new(config)));
        }
        if let Some(options) = schedule.reach.options() {
            return Source::Api(Session::new(options));
        }
        match &schedule.reach {
            Reach::File(_) => Source::File(Arc::default()),
            Reach::Http(config) => Source::Http(Box::new(http::State::new(config))),
            Reach::Command(_) => Source::Command,
            // The others have options, and are above.
            Reach::Push(_)
            | Reach::AwsSecurityHub(_)
            | Reach::AwsSecurityHubV2(_)
            | Reach::AwsConfig(_)
            | Reach::S3(_)
            | Reach::AzureDefender(_)
            | Reach::AzurePolicy(_)
            | Reach::Sentinel(_)
            | Reach::GcpScc(_)
            | Reach::Wiz(_)
            | Reach::Kubernetes(_)
            | Reach::Github(_)
            | Reach::Fugue(_) => Source::Push,
        }
    }

    /// Returns when the source says by itself that it is worth another look; most say nothing.
    async fn changed(&self) {
        match self {
            Source::Kubernetes(state) => state.changed().await,
            Source::File(_) | Source::Http(_) | Source::Api(_) | Source::S3(_) | Source::Command | Source::Push => {
                std::future::pending().await
            }
        }
    }

    async fn collect(&self, schedule: &Schedule, deadline: Instant) -> Collected {
        let (name, custodian) = (schedule.name.as_str(), schedule.custodian);
        match (&schedule.reach, self) {
            (Reach::File(config), Source::File(state)) => file::collect(name, config, custodian, Path::new(""), state, deadline).await,
            (Reach::Http(config), Source::Http(state)) => http::collect(name, config, state, deadline).await,
            (Reach::AwsSecurityHub(c), Source::Api(session)) => aws_security_hub::collect(name, c, Version::Cspm, session, deadline).await,
            (Reach::AwsSecurityHubV2(c), Source::Api(session)) => aws_security_hub::collect(name, c, Version::V2, session, deadline).await,
            (Reach::AwsConfig(config), Source::Api(session)) => aws_config::collect(name, config, session, deadline).await,
            (Reach::S3(config), Source::S3(state)) => s3::collect(name, config, state, deadline).await,
            (Reach::Command(config), _) => command::collect(name, config, custodian, deadline).await,
            (Reach::AzureDefender(config), Source::Api(session)) => defender::collect(name, config, session, deadline).await,
            (Reach::AzurePolicy(config), Source::Api(session)) => policy::collect(name, config, session, deadline).await,
            (Reach::Sentinel(config), Source::Api(session)) => sentinel::collect(name, config, session, deadline).await,
            (Reach::GcpScc(config), Source::Api(session)) => gcp_scc::collect(name, config, session, deadline).await,
            (Reach::Wiz(config), Source::Api(session)) => wiz::collect(name, config, session, deadline).await,
            (Reach::Push(_), _) => nothing(name, ProblemKind::Empty, "waits for documents to be pushed; it cannot be asked for them"),
            (Reach::Kubernetes(config), Source::Kubernetes(state)) => kubernetes::collect(name, config, state, deadline).await,
            (Reach::Github(config), Source::Api(session)) => github::collect(name, config, session, deadline).await,
            (Reach::Fugue(config), Source::Api(session)) => fugue::collect(name, config, session, deadline).await,
            (_, _) => nothing(name, ProblemKind::Internal, "the source's state is another's"),
        }
    }

    fn forget(&self) {
        match self {
            Source::File(state) => state.forget(),
            Source::Http(state) => state.forget(),
            Source::Api(session) => session.forget(),
            Source::Kubernetes(state) => state.forget(),
            Source::S3(state) => state.forget(),
            Source::Command | Source::Push => {}
        }
    }
}

fn nothing(name: &str, kind: ProblemKind, message: impl Into<String>) -> Collected {
    let mut collected = Collected::nothing(name, clock::now());
    collected.problems.push(problem(kind, name, message));
    collected
}

/// The schedule, apart from what is scheduled.
async fn drive<C, R, W>(
    pace: Pace,
    schedule: &Schedule,
    tx: &mpsc::Sender<Job>,
    shutdown: &CancellationToken,
    collect: C,
    changed: impl Fn() -> W,
    forget: impl Fn(),
) where
    C: Fn(Instant) -> R,
    R: Future<Output = Collected> + Send + 'static,
    W: Future<Output = ()>,
{
    let every = schedule.every.std().max(SHORTEST);
    let base = Instant::now() + random(pace.start.std().min(every / 10));
    let mut due = base;
    let mut failures = 0;
    loop {
        let usable = async {
            // A change brings a run forward; the fixed instants stay where they are.
            tokio::select! {
                () = sleep_until(due) => {}
                () = changed() => {}
            }
            let collected = attempt(&schedule.name, schedule.timeout.std(), &collect).await;
            let (done, answer) = oneshot::channel();
            tx.send(Job { collected, done }).await.ok()?;
            Some(answer.await.is_ok_and(|applied| applied.usable))
        };
        let usable = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            usable = usable => usable,
        };
        match usable {
            None => return,
            Some(true) => failures = 0,
            Some(false) => {
                failures += 1;
                forget();
            }
        }
        let jitter = random(every / 100 * u32::from(pace.jitter_percent));
        due = next(base, every, Instant::now(), failures) + jitter;
    }
}

/// The next run: the next of the fixed instants, or sooner after a failure.
fn next(base: Instant, every: Duration, now: Instant, failures: u32) -> Instant {
    let gone = now.saturating_duration_since(base);
    // Instants that passed while a run went on are left out, not made up for.
    let into = Duration::from_nanos(u64::try_from(gone.as_nanos() % every.as_nanos()).unwrap_or(0));
    let tick = now + (every - into);
    match failures.checked_sub(1) {
        None => tick,
        Some(before) => tick.min(now + RETRY.saturating_mul(1u32.checked_shl(before.min(31)).unwrap_or(u32::MAX)).min(every)),
    }
}

/// One run, in a task of its own, so that a panic or a hang ends there.
async fn attempt<R>(name: &str, timeout: Duration, collect: impl FnOnce(Instant) -> R) -> Collected
where
    R: Future<Output = Collected> + Send + 'static,
{
    // A century is as good as for ever, and does not overflow.
    let deadline = Instant::now() + timeout.min(Duration::from_secs(3_153_600_000));
    let started = clock::now();
    let mut task = AbortOnDrop(tokio::spawn(collect(deadline)));
    let (kind, message) = match timeout_at(deadline + GRACE, &mut task.0).await {
        Ok(Ok(brought)) => return brought,
        Ok(Err(e)) if e.is_panic() => {
            let payload = e.into_panic();
            let why = payload.downcast_ref::<&str>().map(|s| (*s).to_owned()).or_else(|| payload.downcast_ref::<String>().cloned());
            let why = why.unwrap_or_default();
            tracing::error!(collector = %name, "collector `{name}` panicked, which is a bug of ours: {why}");
            (ProblemKind::Internal, format!("the collector panicked, which is a bug of ours: {why}"))
        }
        Ok(Err(_)) => (ProblemKind::Internal, "the run was called off".to_owned()),
        Err(_) => (ProblemKind::Timeout, "was given up: it did not end when its time was up".to_owned()),
    };
    let mut collected = nothing(name, kind, message);
    collected.started = started;
    collected
}

struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Some length below `limit`. Spreading load needs no better chance than the standard library's hash keys.
fn random(limit: Duration) -> Duration {
    let millis = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 { Duration::ZERO } else { Duration::from_millis(RandomState::new().build_hasher().finish() % millis) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    const MINUTE: Duration = Duration::from_secs(60);

    fn schedule(every: Span) -> Schedule {
        let reach = Reach::File(file::Config { paths: vec!["nothing/here/*.json".to_owned()], ..file::Config::default() });
        Schedule { name: "c".to_owned(), every, timeout: Span::MINUTE, reach, custodian: false }
    }

    fn fine() -> Collected {
        Collected { complete: true, ..Collected::nothing("c", clock::now()) }
    }

    /// Seconds from the beginning at which the first `answers.len()` jobs came, each answered as told.
    async fn seconds<C, R>(pace: Pace, every: Span, collect: C, answers: &[Option<bool>]) -> (Vec<u64>, Vec<Collected>)
    where
        C: Fn(Instant) -> R + Send + Sync + 'static,
        R: Future<Output = Collected> + Send + 'static,
    {
        let begin = Instant::now();
        let (tx, mut rx) = mpsc::channel(1);
        let shutdown = CancellationToken::new();
        let task = {
            let shutdown = shutdown.clone();
            tokio::spawn(async move { drive(pace, &schedule(every), &tx, &shutdown, collect, std::future::pending, || {}).await })
        };
        let (mut times, mut collected) = (Vec::new(), Vec::new());
        for answer in answers {
            let job: Job = rx.recv().await.unwrap();
            times.push(begin.elapsed().as_secs());
            collected.push(job.collected);
            if let Some(usable) = *answer {
                job.done.send(Applied { usable }).unwrap();
            }
        }
        shutdown.cancel();
        task.await.unwrap();
        (times, collected)
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_run_is_at_once_and_a_slow_source_does_not_drift() {
        let (times, _) = seconds(Pace::EXACT, Span::MINUTE, |_| async { fine() }, &[Some(true); 4]).await;
        assert_eq!(times, [0, 60, 120, 180]);
        let slow = |_| async {
            tokio::time::sleep(Duration::from_secs(7)).await;
            fine()
        };
        assert_eq!(seconds(Pace::EXACT, Span::MINUTE, slow, &[Some(true); 4]).await.0, [7, 67, 127, 187]);
        let slower = |_| async {
            tokio::time::sleep(Duration::from_secs(59)).await;
            fine()
        };
        // Longer than the interval: the instants that passed meanwhile are left out.
        assert_eq!(seconds(Pace::EXACT, Span(25_000), slower, &[Some(true); 3]).await.0, [59, 134, 209]);
    }

    #[tokio::test(start_paused = true)]
    async fn jitter_is_bounded_and_does_not_add_up() {
        let (times, _) = seconds(Pace::default(), Span(1_000_000), |_| async { fine() }, &[Some(true); 20]).await;
        for (i, time) in times.iter().enumerate() {
            let due = i as u64 * 1000;
            assert!((due..=due + 102).contains(time), "run {i} at {time}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_of_no_use_is_tried_again_sooner_and_ever_less_often() {
        let answers = [Some(false), Some(false), None, Some(false), Some(true), Some(true), Some(false), Some(true)];
        let (times, _) = seconds(Pace::EXACT, Span(600_000), |_| async { fine() }, &answers).await;
        // 30 s, 60 s, 120 s (a dropped answer is a failure too), 240 s, then by the schedule again.
        assert_eq!(times, [0, 30, 90, 210, 450, 600, 1200, 1230]);
        // Never less often than the interval.
        let (times, _) = seconds(Pace::EXACT, Span(45_000), |_| async { fine() }, &[Some(false); 5]).await;
        assert_eq!(times, [0, 30, 45, 90, 135]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_brings_a_run_forward_and_moves_no_other() {
        let (tx, mut rx) = mpsc::channel(1);
        let shutdown = CancellationToken::new();
        let begin = Instant::now();
        let changes = Arc::new(AtomicU32::new(0));
        let changed = move || {
            let n = changes.fetch_add(1, Ordering::Relaxed);
            async move {
                match n {
                    // Before the first run there is nothing to watch.
                    1 => tokio::time::sleep(Duration::from_secs(17)).await,
                    _ => std::future::pending().await,
                }
            }
        };
        let task = {
            let shutdown = shutdown.clone();
            tokio::spawn(
                async move { drive(Pace::EXACT, &schedule(Span::MINUTE), &tx, &shutdown, |_| async { fine() }, changed, || {}).await },
            )
        };
        let mut times = Vec::new();
        for _ in 0..4 {
            let job: Job = rx.recv().await.unwrap();
            times.push(begin.elapsed().as_secs());
            job.done.send(Applied { usable: true }).unwrap();
        }
        assert_eq!(times, [0, 17, 60, 120]);
        shutdown.cancel();
        task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_costs_one_run() {
        let runs = Arc::new(AtomicU32::new(0));
        let collect = move |_| {
            let n = runs.fetch_add(1, Ordering::Relaxed);
            async move {
                assert!(n > 0, "a bug");
                fine()
            }
        };
        let (times, collected) = seconds(Pace::EXACT, Span::HOUR, collect, &[Some(false), Some(true)]).await;
        assert_eq!(times, [0, 30]);
        assert_eq!(collected[0].problems[0].to_string(), "c: internal: the collector panicked, which is a bug of ours: a bug");
        assert!(!collected[0].complete && collected[1].complete);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_ignores_the_deadline_is_cut_off() {
        let (times, collected) = seconds(Pace::EXACT, Span::HOUR, |_| std::future::pending(), &[Some(false)]).await;
        assert_eq!(times, [90]);
        assert_eq!(collected[0].problems[0].kind, ProblemKind::Timeout);
    }

    #[tokio::test(start_paused = true)]
    async fn shutdown_is_heard_wherever_it_waits() {
        // In the collector; between runs; before a full channel; before the pipeline's answer.
        for stage in 0..4 {
            let (tx, mut rx) = mpsc::channel(1);
            let shutdown = CancellationToken::new();
            let collect = move |_| async move { if stage == 0 { std::future::pending().await } else { fine() } };
            if stage == 2 {
                tx.send(Job { collected: fine(), done: oneshot::channel().0 }).await.unwrap();
            }
            let task = {
                let (shutdown, tx) = (shutdown.clone(), tx.clone());
                tokio::spawn(async move {
                    drive(Pace::EXACT, &schedule(Span::HOUR), &tx, &shutdown, collect, std::future::pending, || {}).await
                })
            };
            let _held = match stage {
                1 => {
                    rx.recv().await.unwrap().done.send(Applied { usable: true }).unwrap();
                    None
                }
                3 => rx.recv().await,
                _ => None,
            };
            tokio::time::sleep(Duration::from_secs(1)).await;
            let before = Instant::now();
            shutdown.cancel();
            task.await.unwrap();
            assert_eq!(before.elapsed(), Duration::ZERO, "stage {stage}");
        }
        // And it ends when nobody takes its jobs.
        let (tx, rx) = mpsc::channel(1);
        drop(rx);
        run_at(Pace::EXACT, schedule(Span::HOUR), tx, CancellationToken::new()).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_is_ended_with_the_run_it_belongs_to() {
        let held = Arc::new(());
        let inside = Arc::clone(&held);
        let run = attempt("c", MINUTE, move |_| async move {
            let _inside = inside;
            std::future::pending().await
        });
        assert!(tokio::time::timeout(Duration::from_secs(1), run).await.is_err());
        tokio::task::yield_now().await;
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn once_says_what_is_missing() {
        let collected = once(schedule(Span::HOUR)).await;
        assert!(!collected.complete);
        assert_eq!(collected.problems[0].to_string(), "nothing/here/*.json: empty: nothing matches");
    }
}
