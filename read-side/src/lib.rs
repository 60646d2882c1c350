//! Answers queries from the read models, with the position that each answer reflects. Decides nothing and writes nothing.
//!
//! To add a query: a file in `http/` with its handler, and a line in the routing table of `http/mod.rs`.

mod answer;
mod config;
mod cursor;
mod http;
mod min_position;
mod order_from_log;
mod orders;
mod paging;
mod refusal;
mod staleness;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use config::Config;
use cursor::CursorKey;
use events::{Log, LogId};
pub use http::{description, router};
use projections::{Handle, Indexes, Views};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What the read side answers from. None of it needs a running server to be made.
#[derive(Debug, Clone)]
pub struct Parts {
    pub views: Views,
    pub search: Indexes,
    /// Of the projector in the same process, if there is one.
    pub handle: Option<Handle>,
    /// For the audit, and for the order page while Redis is gone; the service's own first.
    pub logs: Vec<Log>,
    pub tasks: TaskTracker,
    pub shutdown: CancellationToken,
}

/// The state that all handlers share.
#[derive(Debug, Clone)]
struct ReadSide {
    parts: Parts,
    log_ids: Arc<[LogId]>,
    cursors: CursorKey,
    /// Bounds how many replay the log at once.
    replays: Arc<Semaphore>,
    /// Bounds how many order pages are folded from the log at once.
    folds: Arc<Semaphore>,
    /// Bounds how many search at once: each search holds a thread.
    searches: Arc<Semaphore>,
}

impl ReadSide {
    /// One of the logs that are read: whoever asks has had its name checked.
    fn log(&self, log_id: &LogId) -> &Log {
        let log = self.parts.logs.iter().find(|log| log.id() == log_id);
        log.expect("a query is about one of the logs that are read")
    }

    fn own_log(&self) -> &Log {
        &self.parts.logs[0]
    }

    fn new(config: &Config, parts: Parts) -> Self {
        Self {
            log_ids: parts.logs.iter().map(|log| log.id().clone()).collect(),
            parts,
            cursors: config.cursor_key(),
            replays: Arc::new(Semaphore::new(config.replays_max)),
            folds: Arc::new(Semaphore::new(config.folds_max)),
            searches: Arc::new(Semaphore::new(config.searches_max)),
        }
    }
}
