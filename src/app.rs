//! The composition root: configuration in, running tasks out. The only file that sees every room.

mod backend;
mod demo;
mod gate;
mod joint;
pub(crate) mod load;
mod measures;
pub(crate) mod pipeline;
pub(crate) mod replay;
pub(crate) mod verdict;
mod writer;

use crate::clock::{self, Clock};
use crate::collectors::probe::{self, Probed};
use crate::collectors::run::{self, Applied, Job};
use crate::collectors::{Collected, Reach, Schedule};
use crate::config::{self, Config, Definitions};
use crate::domain::{Moment, Span};
use crate::serve::{Limits, Web};
use crate::snapshot::Snapshot;
use anyhow::Context as _;
use arc_swap::ArcSwap;
use backend::Running;
use pipeline::Shared;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use writer::Writer;

/// Collectors that reach out at once in a single collection.
const AT_ONCE: usize = 8;
/// One round of the demo.
const DEMO_ROUND: Span = Span(60_000);

fn schedule(config: &config::CollectorConfig) -> Schedule {
    Schedule {
        name: config.name.clone(),
        every: config.every,
        timeout: config.timeout,
        reach: config.from.clone(),
        custodian: config.format_name == crate::formats::Format::CloudCustodian.word(),
    }
}

/// `check --online`: tries each source, several at once; in the order of the configuration.
pub(crate) async fn probe(config: &Config) -> Vec<(String, &'static str, Probed)> {
    let turns = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
    let tries: Vec<_> = config
        .collectors
        .iter()
        .map(|collector| {
            let (turns, schedule) = (turns.clone(), schedule(collector));
            let tried = tokio::spawn(async move {
                let _turn = turns.acquire_owned().await;
                probe::probe(schedule).await
            });
            (collector.name.clone(), collector.from.word(), tried)
        })
        .collect();
    let mut out = Vec::new();
    for (name, word, tried) in tries {
        let probed = tried.await.unwrap_or_else(|e| Probed::broke(&format!("the attempt broke off: {e}")));
        out.push((name, word, probed));
    }
    out
}

/// `serve`: runs until it is told to stop.
pub(crate) async fn serve(config_path: Option<PathBuf>, listen: Option<SocketAddr>, web: Option<PathBuf>) -> anyhow::Result<()> {
    let (config, definitions) = load::load(config_path.as_deref())?;
    let web = web.map(|path| Web::open(&path, config::from_yaml)).transpose().map_err(anyhow::Error::msg)?;
    let listen = listen.unwrap_or(config.listen);
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let shared = Shared::new(&config, false, Clock::System)?;
    let (writer, thread) = Writer::start(config.clone(), definitions, shared.clone()).await?;
    let stop = stop_signal()?;
    let (reloads, reload_asks) = mpsc::channel(4);
    let in_force = Arc::new(ArcSwap::from_pointee(config.clone()));
    let running = Arc::new(Running {
        published: shared.published.clone(),
        gate: shared.gate.clone(),
        writer: writer.clone(),
        config: in_force.clone(),
        reloads,
    });
    let at = listener.local_addr()?;
    tracing::info!(address = %at, "listening on http://{at}/ (metrics at /metrics)");
    let reloader = tokio::spawn(supervise(config, in_force, writer.clone(), reload_asks, stop.clone()));
    crate::serve::run_with(listener, running, stop.clone(), Limits::default(), web).await?;
    stop.cancel();
    reloader.await.context("the supervisor of the collectors died")?;
    finish(writer, thread).await
}

/// The last copy of the writer's handle ends its thread; whatever it has begun is committed first.
async fn finish(writer: Writer, thread: std::thread::JoinHandle<()>) -> anyhow::Result<()> {
    drop(writer);
    tokio::task::spawn_blocking(move || thread.join()).await?.map_err(|_| anyhow::anyhow!("the writer's thread panicked; see the log"))
}

/// Runs the collectors, and puts another configuration in force when asked (SIGHUP or `POST /-/reload`).
async fn supervise(
    mut config: Config,
    in_force: Arc<ArcSwap<Config>>,
    writer: Writer,
    mut asks: mpsc::Receiver<tokio::sync::oneshot::Sender<Result<(), String>>>,
    stop: CancellationToken,
) {
    let mut hangups = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()) {
        Ok(s) => s,
        Err(error) => {
            tracing::error!(%error, "SIGHUP cannot be heard: {error}");
            return;
        }
    };
    let (mut halt, mut tasks) = start_collectors(&config, &writer, &stop);
    loop {
        let answer = tokio::select! {
            () = stop.cancelled() => break,
            ask = asks.recv() => match ask { Some(a) => Some(a), None => break },
            _ = hangups.recv() => None,
        };
        let result = reload(&config, &writer).await;
        match &result {
            Ok(next) => {
                halt.cancel();
                while tasks.join_next().await.is_some() {}
                config = next.clone();
                in_force.store(Arc::new(config.clone()));
                (halt, tasks) = start_collectors(&config, &writer, &stop);
                tracing::info!("configuration reloaded");
            }
            Err(error) => {
                tracing::error!("reload refused, nothing changes: {error:#}");
                let at = clock::now();
                let _ = writer
                    .ask(move |p| {
                        p.reload_failed(at);
                        Ok(())
                    })
                    .await;
            }
        }
        if let Some(a) = answer {
            let _ = a.send(result.map(|_| ()).map_err(|e| format!("{e:#}")));
        }
    }
    halt.cancel();
    while tasks.join_next().await.is_some() {}
}

async fn reload(held: &Config, writer: &Writer) -> anyhow::Result<Config> {
    let path = held.path.clone();
    let (next, definitions) = tokio::task::spawn_blocking(move || load::load(Some(&path))).await??;
    if next.ledger != held.ledger {
        anyhow::bail!("`ledger` cannot change while the exporter runs; restart it");
    }
    if next.listen != held.listen {
        tracing::warn!("`listen` changes only with a restart");
    }
    let config = next.clone();
    writer.ask(move |p| p.reconfigure(config, definitions)).await?;
    Ok(next)
}

fn start_collectors(config: &Config, writer: &Writer, stop: &CancellationToken) -> (CancellationToken, JoinSet<()>) {
    let halt = stop.child_token();
    let mut tasks = JoinSet::new();
    let (jobs, mut inbox) = mpsc::channel::<Job>(AT_ONCE);
    for collector in config.collectors.iter().filter(|c| !matches!(c.from, Reach::Push(_))) {
        tasks.spawn(run::run(schedule(collector), jobs.clone(), halt.clone()));
    }
    drop(jobs);
    let writer = writer.clone();
    tasks.spawn(async move {
        while let Some(job) = inbox.recv().await {
            let collector = job.collected.collector.clone();
            let applied = writer.ask(move |p| p.ingest(job.collected)).await;
            let usable = match applied {
                Ok(a) => a.usable,
                Err(error) => {
                    tracing::error!(%collector, "a run of {collector} is lost: {error:#}");
                    false
                }
            };
            let _ = job.done.send(Applied { usable });
        }
    });
    (halt, tasks)
}

/// `gate`: collects once and judges. Nothing is kept.
pub(crate) async fn collect_once(config: &Config, definitions: &Definitions) -> anyhow::Result<(Arc<Snapshot>, Moment)> {
    let config = Config { ledger: crate::ledger::Config::Memory, ..config.clone() };
    let shared = Shared::new(&config, false, Clock::System)?;
    let (writer, thread) = Writer::start(config.clone(), definitions.clone(), shared.clone()).await?;
    collect_all(&config, &writer).await?;
    let now = shared.gate.expose();
    let snapshot = shared.published.load_full();
    finish(writer, thread).await?;
    Ok((snapshot, now))
}

/// Runs one collector once and now, and judges nothing.
pub(crate) async fn bring(collector: &config::CollectorConfig) -> Collected {
    run::once(schedule(collector)).await
}

async fn collect_all(config: &Config, writer: &Writer) -> anyhow::Result<()> {
    let mut waiting = config.collectors.iter().filter(|c| !matches!(c.from, Reach::Push(_))).map(schedule).collect::<Vec<_>>().into_iter();
    let mut tasks: JoinSet<Collected> = JoinSet::new();
    loop {
        while tasks.len() < AT_ONCE {
            let Some(next) = waiting.next() else { break };
            tasks.spawn(run::once(next));
        }
        let Some(done) = tasks.join_next().await else { return Ok(()) };
        let collected = done.context("a collector died")?;
        writer.ask(move |p| p.ingest(collected)).await?;
    }
}

/// `demo`: the whole pipeline on data that ships with the program, in a temporary directory.
pub(crate) async fn demo(listen: SocketAddr) -> anyhow::Result<()> {
    let dir = tempfile::Builder::new().prefix("bornright-demo-").tempdir().context("a temporary directory for the demo")?;
    demo::lay_out_definitions(dir.path())?;
    demo::lay_out(dir.path(), 0)?;
    // Its warnings are true (some controls have no source in the demo), and nothing that whoever tries it could act on.
    let (mut config, definitions, _) = load::load_quietly(Some(&dir.path().join(demo::FOLDER).join("bornright.yaml")))?;
    for collector in &mut config.collectors {
        if let Reach::File(file) = &mut collector.from {
            // Nobody is still writing what was laid out a moment ago.
            file.settle = Span(0);
        }
    }
    config.ledger = crate::ledger::Config::Sqlite { path: dir.path().join("ledger.db") };
    config.listen = listen;
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}; another address: `bornright demo --listen 127.0.0.1:0`"))?;
    let shared = Shared::new(&config, true, Clock::System)?;
    let (writer, thread) = Writer::start(config.clone(), definitions, shared.clone()).await?;
    collect_all(&config, &writer).await?;
    let stop = stop_signal()?;
    let (reloads, mut asks) = mpsc::channel::<tokio::sync::oneshot::Sender<Result<(), String>>>(1);
    let running = Arc::new(Running {
        published: shared.published.clone(),
        gate: shared.gate.clone(),
        writer: writer.clone(),
        config: Arc::new(ArcSwap::from_pointee(config.clone())),
        reloads,
    });
    let rounds = {
        let (writer, stop, path) = (writer.clone(), stop.clone(), dir.path().to_owned());
        tokio::spawn(async move {
            let mut round = 0;
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    Some(ask) = asks.recv() => { let _ = ask.send(Err("the demo has nothing to reload".to_owned())); continue; }
                    () = tokio::time::sleep(DEMO_ROUND.std()) => {}
                }
                round += 1;
                if let Err(error) = demo::lay_out(&path, round) {
                    tracing::error!("{error:#}");
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    result = collect_all(&config, &writer) => if let Err(error) = result { tracing::error!("{error:#}") },
                }
            }
        })
    };
    let at = listener.local_addr()?;
    tracing::info!(address = %at, "the demo is at http://{at}/ (metrics at /metrics); Ctrl-C ends it and leaves nothing behind");
    crate::serve::run(listener, running, stop.clone()).await?;
    stop.cancel();
    rounds.await.context("the demo's rounds died")?;
    finish(writer, thread).await
}

/// Cancelled by SIGTERM or Ctrl-C.
fn stop_signal() -> anyhow::Result<CancellationToken> {
    let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).context("SIGTERM cannot be heard")?;
    let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt()).context("SIGINT cannot be heard")?;
    let token = CancellationToken::new();
    let stop = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        stop.cancel();
    });
    Ok(token)
}
