//! The writer's thread: asks come one after another, and time is settled in between.

use super::pipeline::{Pipeline, Shared};
use crate::config::{Config, Definitions};
use crate::domain::Span;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;
use tokio::sync::oneshot;

type Ask = Box<dyn FnOnce(&mut Pipeline) -> anyhow::Result<()> + Send>;

/// Settling is due at least this often.
const TICK: Span = Span(60_000);
/// After a failure of the ledger it is opened anew after this long.
const REOPEN: Duration = Duration::from_secs(5);

/// A handle to the writer.
#[derive(Clone, Debug)]
pub(crate) struct Writer(Sender<Ask>);

impl Writer {
    /// Opens the ledger and starts the thread. The handle's last copy ends it.
    pub(crate) async fn start(config: Config, definitions: Definitions, shared: Shared) -> anyhow::Result<(Writer, std::thread::JoinHandle<()>)> {
        let (asks, inbox) = channel::<Ask>();
        let (opened, result) = oneshot::channel();
        let thread = std::thread::Builder::new().name("writer".to_owned()).spawn(move || {
            match Pipeline::open(config, definitions, &shared) {
                Ok(pipeline) => {
                    let _ = opened.send(Ok(()));
                    work(pipeline, &inbox, &shared);
                }
                Err(e) => {
                    let _ = opened.send(Err(e));
                }
            }
        })?;
        result.await.map_err(|_| anyhow::anyhow!("the writer died while it opened the ledger"))??;
        Ok((Writer(asks), thread))
    }

    /// Asks the writer something and waits for the answer.
    pub(crate) async fn ask<T: Send + 'static>(&self, question: impl FnOnce(&mut Pipeline) -> anyhow::Result<T> + Send + 'static) -> anyhow::Result<T> {
        let (answer, receive) = oneshot::channel();
        let ask: Ask = Box::new(move |pipeline| match question(pipeline) {
            Ok(value) => {
                let _ = answer.send(value);
                Ok(())
            }
            Err(e) => Err(e),
        });
        self.0.send(ask).map_err(|_| anyhow::anyhow!("the writer has stopped"))?;
        receive.await.map_err(|_| anyhow::anyhow!("the ledger failed; see the log"))
    }
}

fn work(mut pipeline: Pipeline, inbox: &Receiver<Ask>, shared: &Shared) {
    loop {
        let result = match inbox.recv_timeout(TICK.std()) {
            Ok(ask) => ask(&mut pipeline),
            Err(RecvTimeoutError::Timeout) => pipeline.tick(),
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let Err(error) = result else { continue };
        // Nothing of it was written, and nothing of it is shown: counters stand still at the instant they had. What
        // memory holds is ahead of the ledger, so it is thrown away and read back.
        tracing::error!("{error:#}; the ledger is opened anew");
        let (config, definitions) = (pipeline.config().clone(), pipeline.definitions().clone());
        drop(pipeline);
        pipeline = loop {
            match Pipeline::open(config.clone(), definitions.clone(), shared) {
                Ok(p) => break p,
                Err(error) => tracing::error!("{error:#}; tried again in {} s", REOPEN.as_secs()),
            }
            match inbox.recv_timeout(REOPEN) {
                // Whoever asks meanwhile is told by the closed channel.
                Ok(ask) => drop(ask),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        };
    }
}
