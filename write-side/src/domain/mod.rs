//! The rules: what may happen, and what then is. Pure functions over events: no clock, no randomness, no IO.
//!
//! To add an aggregate: its events in `events/src/`, then a file beside `order.rs` with state, command, error, `decide` and
//! `evolve`, its rules as given/when/then tests and a property over random commands. Nothing else has to be told.
#![deny(clippy::wildcard_enum_match_arm)]

#[cfg(test)]
mod given;
pub mod inventory;
pub mod order;
pub mod payment;
pub mod product;
mod shared_map;
pub mod shipment;

use std::io::Write;

use events::{DomainEvent, EventPayload};
use serde::{Serialize, de::DeserializeOwned};

/// One stream's consistency boundary: the state that its events add up to, and what may happen next.
pub trait Aggregate: Default + Clone + Send + Sync + 'static {
    type Command: Clone + Send + Sync;
    type Event: EventPayload + Into<DomainEvent> + Clone + Send + Sync;
    type Error: std::error::Error + Send + Sync + 'static;

    /// For an aggregate whose streams grow long; the others are loaded from their events alone.
    const SNAPSHOTS: Option<Snapshots<Self>> = None;

    /// What happens on `command`. Nothing, when its wish is already granted; an error, when a rule says no.
    fn decide(&self, command: Self::Command) -> Result<Vec<Self::Event>, Self::Error>;

    /// The state after `event`. Cannot fail: what is in the log has happened.
    #[must_use]
    fn evolve(self, event: &Self::Event) -> Self;
}

/// How a state is kept, so that a long stream need not be folded from its first event.
pub struct Snapshots<A> {
    /// Raised with every change of the state's shape or of what `evolve` makes of an event: one of another version is not read.
    pub state_version: i16,
    pub write: fn(&A, &mut dyn Write) -> serde_json::Result<()>,
    pub read: fn(&str) -> serde_json::Result<A>,
}

impl<A: Serialize + DeserializeOwned> Snapshots<A> {
    /// As JSON, all of it.
    #[must_use]
    pub const fn version(state_version: i16) -> Self {
        Self {
            state_version,
            write: |state, text| serde_json::to_writer(text, state),
            read: |json| serde_json::from_str(json),
        }
    }
}
