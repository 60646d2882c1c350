//! order-view: one document per order, for the order page, with its timeline. Redis; dropped and rebuilt at will.

use std::borrow::Cow;

use events::{
    DomainEvent, FulfilmentEvent, InventoryEvent, Money, OrderEvent, OrderId, PaymentEvent, Recorded, ShipmentEvent,
    order::OrderPlaced, product::ProductKind,
};

use crate::{
    OrderDocument, OrderStatus, Place, ReadModel, TimelineEntry,
    order_document::{Attention, Fulfilment, OrderPayment, OrderShipment, PaymentStatus, ShipmentStatus},
    order_words::{self, Course},
};

pub struct OrderView;

impl ReadModel for OrderView {
    const NAME: &'static str = "order-view";
    const VERSION: u32 = 1;
    type Key = OrderId;
    type Document = OrderDocument;

    fn keys(event: &Recorded<DomainEvent>) -> impl IntoIterator<Item = OrderId> {
        event.payload.order_id()
    }

    fn apply(_: &OrderId, document: Option<OrderDocument>, event: &Recorded<DomainEvent>) -> Option<OrderDocument> {
        let mut order = match (&event.payload, document) {
            (DomainEvent::Order(OrderEvent::Placed(placed)), _) => placed_order(placed, event),
            (_, Some(order)) => order,
            // What comes before its order belongs to no page.
            (_, None) => return None,
        };
        match &event.payload {
            DomainEvent::Product(_) | DomainEvent::Foreign(_) => return Some(order),
            DomainEvent::Order(payload) => fold_order(&mut order, payload, event),
            DomainEvent::Inventory(payload) => fold_inventory(payload),
            DomainEvent::Payment(payload) => fold_payment(&mut order, payload),
            DomainEvent::Shipment(payload) => fold_shipment(&mut order, payload),
            DomainEvent::Fulfilment(payload) => fold_fulfilment(&mut order, payload),
        }
        tell(&mut order.timeline, event);
        order.updated_at = event.recorded_at;
        order.position = event.position;
        Some(order)
    }

    fn place(id: &OrderId) -> Place<'_> {
        Place::Document(Cow::Owned(id.to_string()))
    }
}

/// One order from its events in position order, whatever streams they come from: the page when the view is gone.
pub fn fold_order_events<'a>(events: impl IntoIterator<Item = &'a Recorded<DomainEvent>>) -> Option<OrderDocument> {
    events.into_iter().fold(None, |document, event| match event.payload.order_id() {
        Some(id) => OrderView::apply(&id, document, event),
        None => document,
    })
}

fn placed_order(placed: &OrderPlaced, event: &Recorded<DomainEvent>) -> OrderDocument {
    OrderDocument {
        id: placed.order_id,
        customer_id: placed.customer_id.clone(),
        status: OrderStatus::Placed,
        lines: placed.lines.clone(),
        total: placed.total,
        delivery: placed.delivery.clone(),
        location: placed.location.clone(),
        reference: placed.reference.clone(),
        payments: Vec::new(),
        shipments: Vec::new(),
        cancellation_reason: None,
        fulfilment: Fulfilment {
            waiting_for: Some("the fulfilment to start".into()),
            next: Some("reserve the stock".into()),
            needs_attention: None,
        },
        placed_at: event.happened_at(),
        updated_at: event.recorded_at,
        version: event.stream_version,
        position: event.position,
        timeline: Vec::new(),
    }
}

/// A command sent again and again is one line of the timeline, so that a stuck order's page stays readable and bounded.
fn tell(timeline: &mut Vec<TimelineEntry>, event: &Recorded<DomainEvent>) {
    let event_type = event.payload.event_type();
    let what = order_words::sentence(&event.payload);
    let resent = matches!(&event.payload, DomainEvent::Fulfilment(FulfilmentEvent::StepResent(_)));
    if resent && timeline.last().is_some_and(|last| last.event_type == event_type) {
        timeline.pop();
    }
    timeline.push(TimelineEntry {
        position: event.position,
        at: event.happened_at(),
        event_type: event_type.into(),
        what,
    });
}

fn fold_order(order: &mut OrderDocument, payload: &OrderEvent, event: &Recorded<DomainEvent>) {
    order.version = event.stream_version;
    match payload {
        OrderEvent::Placed(_) => (),
        OrderEvent::Confirmed(_) => order.status = OrderStatus::Confirmed,
        OrderEvent::CancellationRequested(requested) => {
            order.status = OrderStatus::CancellationRequested;
            order.cancellation_reason = Some(requested.reason.clone());
        }
        OrderEvent::Cancelled(cancelled) => {
            order.status = OrderStatus::Cancelled;
            order.cancellation_reason = Some(cancelled.reason.clone());
        }
        OrderEvent::Shipped(_) => order.status = OrderStatus::Shipped,
        OrderEvent::Completed(_) => order.status = OrderStatus::Completed,
    }
}

/// Stock is told in the timeline and in the stock view; the order's page keeps nothing else of it.
fn fold_inventory(payload: &InventoryEvent) {
    match payload {
        InventoryEvent::Received(_)
        | InventoryEvent::Adjusted(_)
        | InventoryEvent::Reserved(_)
        | InventoryEvent::Refused(_)
        | InventoryEvent::Released(_)
        | InventoryEvent::Committed(_)
        | InventoryEvent::PutBack(_) => (),
    }
}

fn fold_payment(order: &mut OrderDocument, payload: &PaymentEvent) {
    let nothing = Money::zero(order.total.currency);
    let id = payload.payment_id();
    let index = order.payments.iter().position(|payment| payment.id == id).unwrap_or_else(|| {
        let (status, reason) = (PaymentStatus::Requested, None);
        order.payments.push(OrderPayment {
            id,
            status,
            authorised: nothing,
            captured: nothing,
            refunded: nothing,
            reason,
        });
        order.payments.len() - 1
    });
    let payment = &mut order.payments[index];
    match payload {
        PaymentEvent::AuthorisationRequested(_)
        | PaymentEvent::CaptureRequested(_)
        | PaymentEvent::VoidRequested(_)
        | PaymentEvent::RefundRequested(_) => payment.reason = None,
        PaymentEvent::Authorised(event) => {
            payment.status = PaymentStatus::Authorised;
            payment.authorised = event.amount;
        }
        PaymentEvent::Declined(event) => {
            payment.status = PaymentStatus::Declined;
            payment.reason = Some(event.reason.clone());
        }
        PaymentEvent::Captured(event) => {
            payment.status = PaymentStatus::Captured;
            payment.captured = added(payment.captured, event.amount);
        }
        PaymentEvent::Voided(_) => payment.status = PaymentStatus::Voided,
        PaymentEvent::Refunded(event) => {
            payment.status = PaymentStatus::Refunded;
            payment.refunded = added(payment.refunded, event.amount);
        }
        PaymentEvent::CaptureRefused(event) => payment.reason = Some(event.reason.clone()),
        PaymentEvent::VoidRefused(event) => payment.reason = Some(event.reason.clone()),
        PaymentEvent::RefundRefused(event) => payment.reason = Some(event.reason.clone()),
    }
}

/// The payment's rules keep currencies apart and amounts below the authorised one; a fold has no one to refuse to.
fn added(sum: Money, amount: Money) -> Money {
    sum.plus(amount).unwrap_or(amount)
}

fn fold_shipment(order: &mut OrderDocument, payload: &ShipmentEvent) {
    let id = payload.shipment_id();
    let index = order.shipments.iter().position(|shipment| shipment.id == id).unwrap_or_else(|| {
        let status = ShipmentStatus::Requested;
        order.shipments.push(OrderShipment { id, carrier: String::new(), status, tracking: None, reason: None });
        order.shipments.len() - 1
    });
    let shipment = &mut order.shipments[index];
    match payload {
        ShipmentEvent::Requested(event) => shipment.carrier.clone_from(&event.carrier),
        ShipmentEvent::Booked(event) => {
            shipment.status = ShipmentStatus::Booked;
            shipment.carrier.clone_from(&event.carrier);
            shipment.tracking = Some(event.tracking.clone());
        }
        ShipmentEvent::Refused(event) => {
            shipment.status = ShipmentStatus::Refused;
            shipment.carrier.clone_from(&event.carrier);
            shipment.reason = Some(event.reason.clone());
        }
        ShipmentEvent::Dispatched(event) => {
            shipment.status = ShipmentStatus::Dispatched;
            shipment.tracking = Some(event.tracking.clone());
        }
        ShipmentEvent::Delivered(event) => {
            shipment.status = ShipmentStatus::Delivered;
            shipment.tracking = Some(event.tracking.clone());
        }
        ShipmentEvent::CancellationRequested(_) => shipment.status = ShipmentStatus::CancellationRequested,
        ShipmentEvent::Cancelled(event) => {
            shipment.status = ShipmentStatus::Cancelled;
            shipment.reason = Some(event.reason.clone());
        }
        // The carrier's next word, dispatched or delivered, is on its way; until then the booking stands.
        ShipmentEvent::CancellationRefused(event) => {
            shipment.status = ShipmentStatus::Booked;
            shipment.reason = Some(event.reason.clone());
        }
    }
}

fn fold_fulfilment(order: &mut OrderDocument, payload: &FulfilmentEvent) {
    let goods = order.lines.iter().any(|line| line.kind == ProductKind::Goods);
    let course = Course { goods, price: order.total.amount_minor > 0 };
    let fulfilment = &mut order.fulfilment;
    match payload {
        FulfilmentEvent::Started(_) => {
            *fulfilment = waiting("the first step to be decided", Some("reserve the stock"));
        }
        FulfilmentEvent::StepDecided(decided) => {
            let (waiting_for, next) = order_words::outstanding(&decided.step, decided.command.as_ref(), course);
            *fulfilment = waiting(&waiting_for, next);
        }
        FulfilmentEvent::UndoDecided(decided) => {
            let (waiting_for, _) = order_words::outstanding(&decided.step, Some(&decided.command), course);
            *fulfilment = waiting(&waiting_for, Some("undo what was done before it, then cancel the order"));
        }
        FulfilmentEvent::StepSucceeded(_)
        | FulfilmentEvent::StepRefused(_)
        | FulfilmentEvent::StepUnknown(_)
        | FulfilmentEvent::UndoSucceeded(_) => {
            *fulfilment = waiting("the next step to be decided", None);
        }
        FulfilmentEvent::StepResent(_) => (),
        FulfilmentEvent::NeedsAttention(attention) => {
            let (step, reason) = (attention.step.clone().into_owned(), attention.reason.clone());
            *fulfilment = waiting("a person to decide", None);
            fulfilment.needs_attention = Some(Attention { step, reason });
        }
        FulfilmentEvent::Completed(_) | FulfilmentEvent::Unwound(_) => *fulfilment = Fulfilment::default(),
    }
}

fn waiting(waiting_for: &str, next: Option<&str>) -> Fulfilment {
    Fulfilment { waiting_for: Some(waiting_for.into()), next: next.map(Into::into), needs_attention: None }
}
