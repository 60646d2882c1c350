//! Decides: loads a stream, asks the rules, appends what happened. The only way into the log.
//!
//! Depends on `events` alone; whoever derives anything from what is written here reads the log.

mod append;
mod append_sql;
mod batcher;
mod command_handler;
mod context;
mod decider;
pub mod domain;
mod event_store;
pub mod http;
mod known;
mod maintainer;
mod price_list;
mod snapshots;
mod traffic;

#[cfg(test)]
mod tests;

pub use append::{Append, Appended, StoreError, StreamAppend};
pub use command_handler::{Answered, CommandError, Handled, create, first_outcome, handle, handle_if, handle_known};
pub use context::Context;
pub use decider::{Decider, Deciders};
pub use domain::Aggregate;
pub use event_store::{EventStore, Loaded, StoreConfig};
pub use maintainer::{LogRoom, MaintainerConfig, maintain};
pub use price_list::PriceList;
pub use traffic::Traffic;
