//! The order as the order page shows it. Holds the whole answer, so that one read of one key is enough.

use chrono::{DateTime, Utc};
use events::{
    CustomerId, Delivery, LocationId, Money, OrderId, PaymentId, Position, ShipmentId, StreamVersion, order::OrderLine,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OrderDocument {
    pub id: OrderId,
    pub customer_id: CustomerId,
    pub status: OrderStatus,
    pub lines: Vec<OrderLine>,
    pub total: Money,
    pub delivery: Delivery,
    /// Where the goods are taken from.
    pub location: LocationId,
    /// What the order is called where it came from, such as an invoice number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// In the order in which they were tried.
    pub payments: Vec<OrderPayment>,
    /// In the order in which carriers were asked.
    pub shipments: Vec<OrderShipment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancellation_reason: Option<String>,
    pub fulfilment: Fulfilment,
    /// When it was placed in the shop: for an imported order, its date there.
    pub placed_at: DateTime<Utc>,
    /// When the last event about this order was recorded.
    pub updated_at: DateTime<Utc>,
    /// Of the order's own stream: what `If-Match` is compared with.
    pub version: StreamVersion,
    /// Of the last event in this document.
    #[schema(value_type = i64)]
    pub position: Position,
    /// All that happened, in order.
    pub timeline: Vec<TimelineEntry>,
}

/// An [`OrderDocument`] as it lies in the view; decoding it only to encode it again would be half the work of an order page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderJson {
    pub json: Vec<u8>,
    pub tag: OrderTag,
}

/// What tells one state of an order from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct OrderTag {
    pub version: StreamVersion,
    pub position: Position,
}

impl From<OrderDocument> for OrderJson {
    fn from(order: OrderDocument) -> Self {
        let json = serde_json::to_vec(&order).expect("a document is plain data with string keys");
        Self { json, tag: OrderTag { version: order.version, position: order.position } }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    Placed,
    Confirmed,
    CancellationRequested,
    Cancelled,
    Shipped,
    Completed,
}

impl OrderStatus {
    pub const ALL: [Self; 6] =
        [Self::Placed, Self::Confirmed, Self::CancellationRequested, Self::Cancelled, Self::Shipped, Self::Completed];

    /// As JSON, URLs and the search index spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::Confirmed => "confirmed",
            Self::CancellationRequested => "cancellation_requested",
            Self::Cancelled => "cancelled",
            Self::Shipped => "shipped",
            Self::Completed => "completed",
        }
    }
}

/// One authorisation and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OrderPayment {
    pub id: PaymentId,
    pub status: PaymentStatus,
    pub authorised: Money,
    pub captured: Money,
    pub refunded: Money,
    /// Why the last thing asked of the provider was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaymentStatus {
    Requested,
    Authorised,
    Declined,
    Captured,
    Voided,
    /// In part or in full: the amounts tell.
    Refunded,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OrderShipment {
    pub id: ShipmentId,
    pub carrier: String,
    pub status: ShipmentStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracking: Option<String>,
    /// Why the carrier refused, or why it was cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ShipmentStatus {
    Requested,
    Booked,
    Refused,
    Dispatched,
    Delivered,
    CancellationRequested,
    Cancelled,
}

/// How far the shop is with the order, in words for people.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Fulfilment {
    /// "the payment to be authorised"; none when nothing is outstanding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// What happens when that has come: "confirm the order".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// What a person must decide; none when nothing is stuck.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs_attention: Option<Attention>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Attention {
    /// As the saga's table spells it: `book_shipment`.
    pub step: String,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TimelineEntry {
    #[schema(value_type = i64)]
    pub position: Position,
    /// When it happened in the shop.
    pub at: DateTime<Utc>,
    /// `OrderPlaced`.
    pub event_type: String,
    /// A sentence in words.
    pub what: String,
}
