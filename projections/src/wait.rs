//! Waiting for a read model to reach a position: woken by a projector in the same process, else by looking, with a bound.

use std::time::Duration;

use events::{LogId, LogPosition};
use tokio::time::Instant;

use crate::{ReadError, handle::Progress};

/// Asks `position` until it is at least `wanted`, for at most `budget`. A model that is not built yet is waited for as well.
pub(crate) async fn until<F: Future<Output = Result<LogPosition, ReadError>>>(
    model: &'static str,
    log_id: &LogId,
    wanted: &LogPosition,
    budget: Duration,
    poll: Duration,
    mut watched: Option<Progress>,
    mut position: impl FnMut() -> F,
) -> Result<LogPosition, ReadError> {
    if wanted.log_id != *log_id {
        return Err(ReadError::OtherLog { wanted: wanted.clone(), log: log_id.clone() });
    }
    let deadline = Instant::now() + budget;
    loop {
        if let Some(watched) = &mut watched {
            watched.mark_unchanged();
        }
        let behind = match position().await {
            Ok(reached) if reached.position >= wanted.position => return Ok(reached),
            Ok(reached) => ReadError::Behind { model, wanted: wanted.clone(), reached },
            // Being built for the first time is a way of being behind.
            Err(error @ ReadError::NotBuilt { .. }) => error,
            Err(error) => return Err(error),
        };
        let now = Instant::now();
        if now >= deadline {
            return Err(behind);
        }
        let left = deadline - now;
        match &mut watched {
            Some(watched) => {
                // Looks by itself now and then: the projector that is watched may be one that was fenced off by another process.
                let _ = tokio::time::timeout(left.min(poll * 20), watched.changed()).await;
            }
            None => tokio::time::sleep(left.min(poll)).await,
        }
    }
}
