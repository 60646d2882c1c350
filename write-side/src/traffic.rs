//! How much is appended by this process, for its metrics.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Since the start, but for `waiting`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Appends that wait in the queue now.
    pub waiting: u64,
    /// Appends refused because too many waited, or for too long.
    pub refused: u64,
    /// Transactions.
    pub batches: u64,
    /// Appends in them: those per batch tell how well the fsync is shared.
    pub appends: u64,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Counters(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    refused: AtomicU64,
    batches: AtomicU64,
    appends: AtomicU64,
}

impl Counters {
    pub(crate) fn refused(&self) {
        self.0.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn committed(&self, appends: usize) {
        self.0.batches.fetch_add(1, Ordering::Relaxed);
        self.0.appends.fetch_add(u64::try_from(appends).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn read(&self, waiting: usize) -> Traffic {
        let Counts { refused, batches, appends } = &*self.0;
        let value = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let waiting = u64::try_from(waiting).unwrap_or(u64::MAX);
        Traffic { waiting, refused: value(refused), batches: value(batches), appends: value(appends) }
    }
}
