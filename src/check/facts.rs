//! What the check reads out of an event: as little as the invariants need, from raw JSON, in shapes of its own.

use serde::{Deserialize, de::DeserializeOwned};
use uuid::Uuid;

use super::rows::LogRow;

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Amount {
    pub(super) amount_minor: i64,
    pub(super) currency: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Pieces {
    pub(super) sku: String,
    pub(super) quantity: i64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Receipt {
    pub(super) location: String,
    pub(super) lines: Vec<Pieces>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Adjustment {
    pub(super) location: String,
    pub(super) sku: String,
    pub(super) delta: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HoldStep {
    Reserved,
    Refused,
    Released,
    Committed,
    PutBack,
}

/// An event in a reservation's life.
#[derive(Debug, Deserialize)]
pub(super) struct Hold {
    pub(super) location: String,
    pub(super) order_id: Uuid,
    pub(super) effect_key: String,
    #[serde(default)]
    pub(super) lines: Vec<Pieces>,
}

#[derive(Debug, Deserialize)]
pub(super) struct PlacedLine {
    pub(super) sku: String,
    pub(super) quantity: i64,
    pub(super) unit_price: Amount,
    pub(super) total: Amount,
    /// Given when the price is the catalogue's; then the total is quantity times price.
    pub(super) product_version: Option<i64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Placed {
    pub(super) order_id: Uuid,
    pub(super) lines: Vec<PlacedLine>,
    pub(super) total: Amount,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OrderStep {
    Confirmed,
    CancellationRequested,
    Cancelled,
    Shipped,
    Completed,
}

#[derive(Debug, Deserialize)]
pub(super) struct OfOrder {
    pub(super) order_id: Uuid,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PaymentStep {
    AuthorisationRequested,
    Authorised,
    Declined,
    CaptureRequested,
    Captured,
    CaptureRefused,
    VoidRequested,
    Voided,
    VoidRefused,
    RefundRequested,
    Refunded,
    RefundRefused,
}

#[derive(Debug, Deserialize)]
pub(super) struct OfPayment {
    pub(super) payment_id: Uuid,
    pub(super) order_id: Uuid,
    pub(super) effect_key: String,
    pub(super) amount: Option<Amount>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ShipmentStep {
    Requested,
    Booked,
    Refused,
    Dispatched,
    Delivered,
    CancellationRequested,
    Cancelled,
    CancellationRefused,
}

#[derive(Debug, Deserialize)]
pub(super) struct OfShipment {
    pub(super) shipment_id: Uuid,
    pub(super) order_id: Uuid,
    pub(super) effect_key: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SagaStep {
    Started,
    Decided,
    Resent,
    Succeeded,
    Refused,
    Unknown,
    UndoDecided,
    UndoSucceeded,
    NeedsAttention,
    Completed,
    Unwound,
}

#[derive(Debug, Deserialize)]
pub(super) struct SagaCommand {
    pub(super) effect_key: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct OfSaga {
    pub(super) order_id: Uuid,
    #[serde(default)]
    pub(super) step: String,
    pub(super) command: Option<SagaCommand>,
    /// When the step counts as unknown. Kept as text: only its being there matters.
    pub(super) deadline_at: Option<String>,
    /// When a resent command is sent once more.
    pub(super) next_at: Option<String>,
    pub(super) direction: Option<String>,
    #[serde(default)]
    pub(super) reason: String,
}

#[derive(Debug)]
pub(super) enum Fact {
    /// Catalogue: no invariant speaks of it.
    Silent,
    Received(Receipt),
    Adjusted(Adjustment),
    Hold(HoldStep, Hold),
    Placed(Placed),
    Order(OrderStep, Uuid),
    Payment(PaymentStep, OfPayment),
    Shipment(ShipmentStep, OfShipment),
    Saga(SagaStep, OfSaga),
}

impl Fact {
    /// The fact in a row, or why it cannot be read. An event that is not known here is not skipped: it might matter. What stands in a stream
    /// of no category of ours is somebody else's.
    pub(super) fn read(row: &LogRow) -> Result<Self, String> {
        let category = row.stream_id.split_once('-').map_or("", |(category, _)| category);
        match category {
            "product" => Ok(Self::Silent),
            "inventory" => stock(row),
            "order" => order(row),
            "payment" => payment(row),
            "shipment" => shipment(row),
            "fulfilment" => saga(row),
            _ => Ok(Self::Silent),
        }
    }

    pub(super) fn order_id(&self) -> Option<Uuid> {
        match self {
            Self::Silent | Self::Received(_) | Self::Adjusted(_) => None,
            Self::Hold(_, hold) => Some(hold.order_id),
            Self::Placed(placed) => Some(placed.order_id),
            Self::Order(_, order_id) => Some(*order_id),
            Self::Payment(_, payment) => Some(payment.order_id),
            Self::Shipment(_, shipment) => Some(shipment.order_id),
            Self::Saga(_, saga) => Some(saga.order_id),
        }
    }
}

fn stock(row: &LogRow) -> Result<Fact, String> {
    let step = match row.event_type.as_str() {
        "StockReceived" => return parse(row).map(Fact::Received),
        "StockAdjusted" => return parse(row).map(Fact::Adjusted),
        "StockReserved" => HoldStep::Reserved,
        "StockRefused" => HoldStep::Refused,
        "StockReleased" => HoldStep::Released,
        "StockCommitted" => HoldStep::Committed,
        "StockPutBack" => HoldStep::PutBack,
        _ => return Err(unknown(row)),
    };
    parse(row).map(|hold| Fact::Hold(step, hold))
}

fn order(row: &LogRow) -> Result<Fact, String> {
    let step = match row.event_type.as_str() {
        "OrderPlaced" => return parse(row).map(Fact::Placed),
        "OrderConfirmed" => OrderStep::Confirmed,
        "OrderCancellationRequested" => OrderStep::CancellationRequested,
        "OrderCancelled" => OrderStep::Cancelled,
        "OrderShipped" => OrderStep::Shipped,
        "OrderCompleted" => OrderStep::Completed,
        _ => return Err(unknown(row)),
    };
    parse(row).map(|order: OfOrder| Fact::Order(step, order.order_id))
}

fn payment(row: &LogRow) -> Result<Fact, String> {
    let step = match row.event_type.as_str() {
        "PaymentAuthorisationRequested" => PaymentStep::AuthorisationRequested,
        "PaymentAuthorised" => PaymentStep::Authorised,
        "PaymentDeclined" => PaymentStep::Declined,
        "CaptureRequested" => PaymentStep::CaptureRequested,
        "PaymentCaptured" => PaymentStep::Captured,
        "CaptureRefused" => PaymentStep::CaptureRefused,
        "VoidRequested" => PaymentStep::VoidRequested,
        "PaymentVoided" => PaymentStep::Voided,
        "VoidRefused" => PaymentStep::VoidRefused,
        "RefundRequested" => PaymentStep::RefundRequested,
        "PaymentRefunded" => PaymentStep::Refunded,
        "RefundRefused" => PaymentStep::RefundRefused,
        _ => return Err(unknown(row)),
    };
    parse(row).map(|payment| Fact::Payment(step, payment))
}

fn shipment(row: &LogRow) -> Result<Fact, String> {
    let step = match row.event_type.as_str() {
        "ShipmentRequested" => ShipmentStep::Requested,
        "ShipmentBooked" => ShipmentStep::Booked,
        "ShipmentRefused" => ShipmentStep::Refused,
        "ShipmentDispatched" => ShipmentStep::Dispatched,
        "ShipmentDelivered" => ShipmentStep::Delivered,
        "ShipmentCancellationRequested" => ShipmentStep::CancellationRequested,
        "ShipmentCancelled" => ShipmentStep::Cancelled,
        "ShipmentCancellationRefused" => ShipmentStep::CancellationRefused,
        _ => return Err(unknown(row)),
    };
    parse(row).map(|shipment| Fact::Shipment(step, shipment))
}

fn saga(row: &LogRow) -> Result<Fact, String> {
    let step = match row.event_type.as_str() {
        "FulfilmentStarted" => SagaStep::Started,
        "StepDecided" => SagaStep::Decided,
        "StepResent" => SagaStep::Resent,
        "StepSucceeded" => SagaStep::Succeeded,
        "StepRefused" => SagaStep::Refused,
        "StepUnknown" => SagaStep::Unknown,
        "UndoDecided" => SagaStep::UndoDecided,
        "UndoSucceeded" => SagaStep::UndoSucceeded,
        "NeedsAttention" => SagaStep::NeedsAttention,
        "FulfilmentCompleted" => SagaStep::Completed,
        "FulfilmentUnwound" => SagaStep::Unwound,
        _ => return Err(unknown(row)),
    };
    parse(row).map(|saga| Fact::Saga(step, saga))
}

fn parse<T: DeserializeOwned>(row: &LogRow) -> Result<T, String> {
    serde_json::from_str(&row.payload)
        .map_err(|error| format!("the payload of {} cannot be read: {error}", row.event_type))
}

fn unknown(row: &LogRow) -> String {
    format!("{} of {} is not known to this check", row.event_type, row.stream_id)
}

/// The command that an event came from.
pub(super) fn causation_id(row: &LogRow) -> Result<Uuid, String> {
    #[derive(Deserialize)]
    struct Cause {
        causation_id: Uuid,
    }
    serde_json::from_str::<Cause>(&row.metadata)
        .map(|cause| cause.causation_id)
        .map_err(|error| format!("the metadata of {} cannot be read: {error}", row.event_type))
}
