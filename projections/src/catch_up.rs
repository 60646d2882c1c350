//! Brings a generation that is behind to a position: folds page after page, and writes after so many events.

use std::sync::Arc;

use events::{Log, Position, Replay};
use tokio_util::sync::CancellationToken;

use crate::{
    failure::{ProjectionError, Whose},
    store::OpenGeneration,
};

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
    if open.folded().position >= to {
        return log.verify(open.folded()).await.map_err(Whose(name).log());
    }
    let mut replay = Replay::new(log.clone(), open.folded().clone(), to, pace.page);
    let mut unwritten = 0;
    loop {
        let page = match replay.next_page().await {
            Ok(Some(page)) => Arc::new(page),
            Ok(None) => break,
            Err(error) => {
                open.write().await?;
                return Err(Whose(name).log()(error));
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
