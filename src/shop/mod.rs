//! A shop as Waybill meets it: what it sends, how it sends it, and a generated one for machines without real data.

mod bodies;
mod front_door;
mod generated;
mod opening;
#[cfg(test)]
mod tests;

pub(crate) use bodies::{AdjustmentBody, Agreed, OrderBody, OrderLineBody, ProductBody, ReceiptBody, ReceiptLine};
pub(crate) use front_door::{FrontDoor, FrontDoorError, Outcome, Problem};
pub(crate) use generated::{Fate, PlannedOrder, Shares, Shop};
pub(crate) use opening::open;
