//! `inventory-{location}`: what lies where, and for whom it is held.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{EffectKey, LocationId, OrderId, Sku, domain_event::event_category};

/// So many pieces of one article.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StockLine {
    pub sku: Sku,
    /// Pieces, at least 1.
    pub quantity: u32,
}

/// Why a reservation was refused: what was wanted, and what there was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Shortage {
    pub sku: Sku,
    pub wanted: u32,
    pub available: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockReceived {
    pub location: LocationId,
    pub lines: Vec<StockLine>,
    /// The delivery note or purchase order, as the shop calls it.
    pub reference: String,
}

/// A count corrected: breakage, loss, a find.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockAdjusted {
    pub location: LocationId,
    pub sku: Sku,
    /// Pieces found (positive) or written off (negative); never 0.
    pub delta: i64,
    pub reason: String,
}

/// One reservation for the whole order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockReserved {
    pub location: LocationId,
    pub order_id: OrderId,
    pub effect_key: EffectKey,
    pub lines: Vec<StockLine>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockRefused {
    pub location: LocationId,
    pub order_id: OrderId,
    pub effect_key: EffectKey,
    /// Empty when no article was short: it had been released before it came, or the order holds another reservation.
    pub shortages: Vec<Shortage>,
}

/// The reservation under `effect_key` is undone. Without lines it is a tombstone: the release came first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockReleased {
    pub location: LocationId,
    pub order_id: OrderId,
    pub effect_key: EffectKey,
    pub lines: Vec<StockLine>,
}

/// The reserved pieces have left the building.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockCommitted {
    pub location: LocationId,
    pub order_id: OrderId,
    pub effect_key: EffectKey,
    pub lines: Vec<StockLine>,
}

/// Committed pieces are back on the shelf.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockPutBack {
    pub location: LocationId,
    pub order_id: OrderId,
    pub effect_key: EffectKey,
    pub lines: Vec<StockLine>,
}

event_category! {
    /// In each event of a reservation's life, `effect_key` is the key of the reservation itself.
    InventoryEvent in "inventory" {
        Received(StockReceived) = "StockReceived", v 1;
        Adjusted(StockAdjusted) = "StockAdjusted", v 1;
        Reserved(StockReserved) = "StockReserved", v 1;
        Refused(StockRefused) = "StockRefused", v 1;
        Released(StockReleased) = "StockReleased", v 1;
        Committed(StockCommitted) = "StockCommitted", v 1;
        PutBack(StockPutBack) = "StockPutBack", v 1;
    }
}

impl InventoryEvent {
    #[must_use]
    pub fn order_id(&self) -> Option<OrderId> {
        match self {
            Self::Received(_) | Self::Adjusted(_) => None,
            Self::Reserved(event) => Some(event.order_id),
            Self::Refused(event) => Some(event.order_id),
            Self::Released(event) => Some(event.order_id),
            Self::Committed(event) => Some(event.order_id),
            Self::PutBack(event) => Some(event.order_id),
        }
    }

    #[must_use]
    pub fn location(&self) -> &LocationId {
        match self {
            Self::Received(event) => &event.location,
            Self::Adjusted(event) => &event.location,
            Self::Reserved(event) => &event.location,
            Self::Refused(event) => &event.location,
            Self::Released(event) => &event.location,
            Self::Committed(event) => &event.location,
            Self::PutBack(event) => &event.location,
        }
    }
}
