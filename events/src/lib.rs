//! The vocabulary of Waybill: every event, the envelope it travels in, reading the log, and the bus contract.
//!
//! Depends on nothing of ours. Nothing here decides; whoever writes or derives anything does so elsewhere.

#[cfg(all(feature = "failpoints", not(debug_assertions)))]
compile_error!("the feature `failpoints` is for binaries that tests spawn; a release build refuses it");

pub mod bus;
pub mod checkpoint;
mod clock;
pub mod crash;
mod delivery;
mod domain_event;
mod envelope;
pub mod fulfilment;
mod ids;
pub mod inventory;
mod log;
mod money;
pub mod order;
pub mod participant;
pub mod payment;
mod position;
pub mod product;
mod replay;
pub mod schema;
pub mod shipment;
mod tally;
mod upcast;
mod wake;

#[cfg(test)]
mod tests;

pub use checkpoint::Checkpoint;
pub use clock::{Clock, Ids, SystemClock, SystemIds};
pub use delivery::Delivery;
pub use domain_event::{DecodeError, DomainEvent, EventPayload, ForeignEvent};
pub use envelope::{Actor, Metadata, NewEvent, RawRecorded, Recorded, Role, Tenant};
pub use fulfilment::FulfilmentEvent;
pub use ids::{
    CommandId, CustomerId, EffectKey, InvalidText, LocationId, OrderId, PaymentId, ShipmentId, Sku, StreamId,
    StreamVersion,
};
pub use inventory::InventoryEvent;
pub use log::{Log, LogError, Tail, follows};
pub use money::{Currency, Money, MoneyError};
pub use order::OrderEvent;
pub use payment::PaymentEvent;
pub use position::{InvalidPosition, LogId, LogPosition, Position};
pub use product::ProductEvent;
pub use replay::Replay;
pub use shipment::ShipmentEvent;
pub use tally::{Difference, InvalidTally, Tally};
pub use wake::Wake;
