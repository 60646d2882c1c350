//! Brings a generation that is behind in one log to a position of it: folds page after page, and writes after so many events.

use std::{sync::Arc, time::Duration};

use events::{Log, Position, Replay};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    failure::{ProjectionError, Whose},
    store::{LogPage, OpenGeneration},
};

/// How a fold that is behind goes about it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Events read at once.
    pub(crate) page: u32,
    /// Events folded before they are written.
    pub(crate) batch: usize,
    /// After this it stops behind a page, wherever it is.
    pub(crate) time: Duration,
}

/// Folds and writes everything up to `to`, or as much as the time allows. When stopped, what has been folded is written first.
pub(crate) async fn catch_up<O: OpenGeneration>(
    name: &'static str,
    open: &mut O,
    log: &Log,
    to: Position,
    pace: Pace,
    stop: &CancellationToken,
    progress: &mut (dyn FnMut(&O) + Send),
) -> Result<(), ProjectionError> {
    let from = open.folded().at(log.id()).checkpoint.clone();
    if from.position >= to {
        return log.verify(&from).await.map_err(Whose(name).log());
    }
    let mut replay = Replay::new(log.clone(), from, to, pace.page);
    let (mut unwritten, started) = (0, Instant::now());
    while started.elapsed() < pace.time {
        let events = match replay.next_page().await {
            Ok(Some(events)) => events,
            Ok(None) => break,
            Err(error) => {
                open.write().await?;
                return Err(Whose(name).log()(error));
            }
        };
        unwritten += events.len();
        open.fold(&Arc::new(LogPage { log_id: log.id().clone(), events })).await?;
        if unwritten >= pace.batch || stop.is_cancelled() {
            open.write().await?;
            unwritten = 0;
        }
        progress(open);
        if stop.is_cancelled() {
            let position = open.written().positions();
            return Err(ProjectionError::Interrupted { projection: name, position });
        }
    }
    if open.written() != open.folded() {
        open.write().await?;
    }
    Ok(())
}
