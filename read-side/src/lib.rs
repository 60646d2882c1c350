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
use events::Log;
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
    /// For the audit, and for the order page while Redis is gone.
    pub log: Log,
    pub tasks: TaskTracker,
    pub shutdown: CancellationToken,
}

/// The state that all handlers share.
#[derive(Debug, Clone)]
struct ReadSide {
    parts: Parts,
    cursors: CursorKey,
    /// Bounds how many replay the log at once.
    replays: Arc<Semaphore>,
    /// Bounds how many order pages are folded from the log at once.
    folds: Arc<Semaphore>,
    /// Bounds how many search at once: each search holds a thread.
    searches: Arc<Semaphore>,
}

impl ReadSide {
    fn new(config: &Config, parts: Parts) -> Self {
        Self {
            parts,
            cursors: config.cursor_key(),
            replays: Arc::new(Semaphore::new(config.replays_max)),
            folds: Arc::new(Semaphore::new(config.folds_max)),
            searches: Arc::new(Semaphore::new(config.searches_max)),
        }
    }
}
