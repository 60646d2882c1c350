//! What a role can say about itself while it runs: gauges that the binary shows.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed},
};

/// Of one role. Cheap to clone; every clone shows the same.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Gauges>);

#[derive(Debug, Default)]
struct Gauges {
    connected: AtomicBool,
    blocked: AtomicBool,
    position: AtomicI64,
    handled: AtomicU64,
    repeated: AtomicU64,
    failed: AtomicU64,
}

/// All gauges at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Ready for work: connected to the broker, or owner of the sagas.
    pub connected: bool,
    /// The broker takes nothing at the moment: memory or disk alarm.
    pub blocked: bool,
    /// Position in the log up to where the work is done; 0 for a role that does not follow the log, or while another process does.
    pub position: i64,
    /// Messages published or handled, or events decided, since the start.
    pub handled: u64,
    /// Of those, the ones that were sent or came once more.
    pub repeated: u64,
    /// What had to be given up: dead letters, quarantined sagas.
    pub failed: u64,
}

impl Health {
    #[must_use]
    pub fn read(&self) -> Reading {
        let Gauges { connected, blocked, position, handled, repeated, failed } = &*self.0;
        Reading {
            connected: connected.load(Relaxed),
            blocked: blocked.load(Relaxed),
            position: position.load(Relaxed),
            handled: handled.load(Relaxed),
            repeated: repeated.load(Relaxed),
            failed: failed.load(Relaxed),
        }
    }

    pub(crate) fn connected(&self, connected: bool) {
        self.0.connected.store(connected, Relaxed);
    }

    /// For as long as this process owns the role.
    pub(crate) fn owned(&self) -> Owned<'_> {
        Owned(self)
    }

    pub(crate) fn blocked(&self, blocked: bool) {
        self.0.blocked.store(blocked, Relaxed);
    }

    pub(crate) fn reached(&self, position: events::Position) {
        self.0.position.store(position.0, Relaxed);
    }

    pub(crate) fn handled(&self, count: usize) {
        self.0.handled.fetch_add(count as u64, Relaxed);
    }

    pub(crate) fn repeated(&self) {
        self.0.repeated.fetch_add(1, Relaxed);
    }

    pub(crate) fn failed(&self) {
        self.0.failed.fetch_add(1, Relaxed);
    }
}

/// A role that this process owns: when that ends, however it does, where it stood is no longer its business.
#[derive(Debug)]
pub(crate) struct Owned<'a>(&'a Health);

impl Drop for Owned<'_> {
    fn drop(&mut self) {
        self.0.connected(false);
        self.0.reached(events::Position::START);
    }
}
