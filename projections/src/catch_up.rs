//! Reads the log ahead of a fold that is behind: pages are fetched while the one before is folded and written.

use std::{sync::Arc, time::Duration};

use events::{Checkpoint, DomainEvent, Log, LogError, Position, Recorded};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    failure::{ProjectionError, Whose},
    store::OpenGeneration,
};

/// A page of the log that takes longer than this is asked for again.
pub(crate) const LOG_TIMEOUT: Duration = Duration::from_secs(30);

/// Pages read and not yet folded.
const AHEAD: usize = 2;

/// How a fold that is behind goes about it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Events read at once.
    pub(crate) page: u32,
    /// Events folded before they are written.
    pub(crate) batch: usize,
}

/// Folds and writes everything up to `to`. When stopped, what has been folded is written first.
pub(crate) async fn catch_up<O: OpenGeneration>(
    name: &'static str,
    open: &mut O,
    log: &Log,
    to: Position,
    pace: Pace,
    stop: &CancellationToken,
    progress: &mut (dyn FnMut(&O) + Send),
) -> Result<(), ProjectionError> {
    bounded(name, log.verify(open.folded())).await?;
    let (send, mut pages) = mpsc::channel(AHEAD);
    let mut reader = JoinSet::new();
    reader.spawn(read_ahead(log.clone(), open.folded().clone(), to, pace.page, send));
    let mut unwritten = 0;
    while let Some(page) = pages.recv().await {
        let page = match page {
            Ok(page) => Arc::new(page),
            Err(source) => {
                open.write().await?;
                return Err(ProjectionError::Log { projection: name, source });
            }
        };
        unwritten += page.len();
        open.fold(&page).await?;
        if unwritten >= pace.batch || stop.is_cancelled() {
            open.write().await?;
            unwritten = 0;
        }
        progress(open);
        if stop.is_cancelled() {
            let position = open.written().log_position().to_string();
            return Err(ProjectionError::Interrupted { projection: name, position });
        }
    }
    if open.written().position != open.folded().position {
        open.write().await?;
    }
    Ok(())
}

async fn read_ahead(
    log: Log,
    mut after: Checkpoint,
    to: Position,
    page_limit: u32,
    send: mpsc::Sender<Result<Vec<Recorded<DomainEvent>>, LogError>>,
) {
    while after.position < to {
        let limit = page_limit.min(u32::try_from(to.0 - after.position.0).unwrap_or(u32::MAX));
        let page = match tokio::time::timeout(LOG_TIMEOUT, readable_page(&log, &after, limit)).await {
            Ok(page) => page,
            Err(_) => continue,
        };
        match page.as_ref().map(|page| page.last().map(|last| (last.position, last.event_id))) {
            Ok(Some((position, event_id))) => (after.position, after.event_id) = (position, event_id),
            // The log ends before the head that it had: the next verification tells why.
            Ok(None) => return,
            Err(_) => {
                let _ = send.send(page).await;
                return;
            }
        }
        if send.send(page).await.is_err() {
            return;
        }
    }
}

/// The events before one that cannot be decoded are folded; it stops the reader only when it is next.
async fn readable_page(log: &Log, after: &Checkpoint, limit: u32) -> Result<Vec<Recorded<DomainEvent>>, LogError> {
    match log.page_after(after, limit).await {
        Err(LogError::Undecodable { position, .. }) if position > after.position.next() => {
            let readable = u32::try_from(position.0 - after.position.0 - 1).unwrap_or(limit);
            log.page_after(after, readable).await
        }
        page => page,
    }
}

/// A question to the log, within a bound.
pub(crate) async fn bounded<T>(
    name: &'static str,
    question: impl Future<Output = Result<T, LogError>>,
) -> Result<T, ProjectionError> {
    match tokio::time::timeout(LOG_TIMEOUT, question).await {
        Ok(answer) => answer.map_err(Whose(name).log()),
        Err(_) => Err(ProjectionError::LogSlow { projection: name }),
    }
}
