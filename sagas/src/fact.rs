//! What a saga hears: the log's events by type and effect key, the order's silent answers, and that time has passed.

use chrono::{DateTime, Utc};
use events::{
    CommandId, DomainEvent, EffectKey, InventoryEvent, OrderEvent, OrderId, PaymentEvent, ShipmentEvent,
    fulfilment::FulfilmentStarted, order::OrderPlaced,
};

use crate::saga::Saga;

#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    Placed(FulfilmentStarted),
    Happened(Happened),
    /// The order has answered without an event: it was so already, or a rule said no.
    Answered {
        command_id: CommandId,
        outcome: Result<(), String>,
    },
    /// It is now so late, by the database's clock.
    TimePassed(DateTime<Utc>),
    /// The engine cannot go on with this saga.
    Broken(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    pub event_type: &'static str,
    pub effect_key: Option<EffectKey>,
    /// Why something was refused; empty otherwise.
    pub reason: String,
    /// What the carrier called the parcel; empty otherwise.
    pub tracking: String,
}

/// The event as a fact for the saga of its order; nothing when the saga does not listen to it.
#[must_use]
pub fn of(saga: &Saga, event: &DomainEvent) -> Option<(OrderId, Fact)> {
    let event_type = event.event_type();
    if !saga.listens_to(event_type) {
        return None;
    }
    let order_id = event.order_id()?;
    let happened = |effect_key: Option<&EffectKey>, reason: String, tracking: &str| {
        let (effect_key, tracking) = (effect_key.cloned(), tracking.into());
        Fact::Happened(Happened { event_type, effect_key, reason, tracking })
    };
    let fact = match event {
        DomainEvent::Order(OrderEvent::Placed(placed)) if event_type == saga.starts_on => Fact::Placed(started(placed)),
        DomainEvent::Order(event) => happened(None, order_reason(event), ""),
        DomainEvent::Inventory(event) => happened(inventory_key(event), shortage(event), ""),
        DomainEvent::Payment(event) => happened(Some(event.effect_key()), payment_reason(event), ""),
        DomainEvent::Shipment(event) => happened(Some(event.effect_key()), shipment_reason(event), tracking(event)),
        DomainEvent::Product(_) | DomainEvent::Fulfilment(_) | DomainEvent::Foreign(_) => return None,
    };
    Some((order_id, fact))
}

fn started(placed: &OrderPlaced) -> FulfilmentStarted {
    FulfilmentStarted {
        order_id: placed.order_id,
        customer_id: placed.customer_id.clone(),
        total: placed.total,
        payment_token: placed.payment_token.clone(),
        delivery: placed.delivery.clone(),
        location: placed.location.clone(),
        lines: placed.stock_lines(),
    }
}

fn order_reason(event: &OrderEvent) -> String {
    match event {
        OrderEvent::CancellationRequested(event) => event.reason.clone(),
        OrderEvent::Cancelled(event) => event.reason.clone(),
        OrderEvent::Placed(_) | OrderEvent::Confirmed(_) | OrderEvent::Shipped(_) | OrderEvent::Completed(_) => {
            String::new()
        }
    }
}

fn inventory_key(event: &InventoryEvent) -> Option<&EffectKey> {
    match event {
        InventoryEvent::Received(_) | InventoryEvent::Adjusted(_) => None,
        InventoryEvent::Reserved(event) => Some(&event.effect_key),
        InventoryEvent::Refused(event) => Some(&event.effect_key),
        InventoryEvent::Released(event) => Some(&event.effect_key),
        InventoryEvent::Committed(event) => Some(&event.effect_key),
        InventoryEvent::PutBack(event) => Some(&event.effect_key),
    }
}

fn shortage(event: &InventoryEvent) -> String {
    match event {
        InventoryEvent::Refused(refused) => {
            let short = |line: &events::inventory::Shortage| {
                format!("{} ({} wanted, {} available)", line.sku, line.wanted, line.available)
            };
            let lines: Vec<_> = refused.shortages.iter().take(5).map(short).collect();
            format!("sold out: {}", lines.join(", "))
        }
        InventoryEvent::Received(_)
        | InventoryEvent::Adjusted(_)
        | InventoryEvent::Reserved(_)
        | InventoryEvent::Released(_)
        | InventoryEvent::Committed(_)
        | InventoryEvent::PutBack(_) => String::new(),
    }
}

fn payment_reason(event: &PaymentEvent) -> String {
    match event {
        PaymentEvent::Declined(event) => format!("payment declined: {}", event.reason),
        PaymentEvent::CaptureRefused(event) => format!("capture refused: {}", event.reason),
        PaymentEvent::VoidRefused(event) => format!("void refused: {}", event.reason),
        PaymentEvent::RefundRefused(event) => format!("refund refused: {}", event.reason),
        PaymentEvent::AuthorisationRequested(_)
        | PaymentEvent::Authorised(_)
        | PaymentEvent::CaptureRequested(_)
        | PaymentEvent::Captured(_)
        | PaymentEvent::VoidRequested(_)
        | PaymentEvent::Voided(_)
        | PaymentEvent::RefundRequested(_)
        | PaymentEvent::Refunded(_) => String::new(),
    }
}

fn shipment_reason(event: &ShipmentEvent) -> String {
    match event {
        ShipmentEvent::Refused(event) => format!("{} refused: {}", event.carrier, event.reason),
        ShipmentEvent::CancellationRefused(event) => format!("cancellation refused: {}", event.reason),
        ShipmentEvent::Requested(_)
        | ShipmentEvent::Booked(_)
        | ShipmentEvent::Dispatched(_)
        | ShipmentEvent::Delivered(_)
        | ShipmentEvent::CancellationRequested(_)
        | ShipmentEvent::Cancelled(_) => String::new(),
    }
}

fn tracking(event: &ShipmentEvent) -> &str {
    match event {
        ShipmentEvent::Booked(event) => &event.tracking,
        ShipmentEvent::Dispatched(event) => &event.tracking,
        ShipmentEvent::Delivered(event) => &event.tracking,
        ShipmentEvent::Requested(_)
        | ShipmentEvent::Refused(_)
        | ShipmentEvent::CancellationRequested(_)
        | ShipmentEvent::Cancelled(_)
        | ShipmentEvent::CancellationRefused(_) => "",
    }
}
