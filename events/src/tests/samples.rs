//! One sample of every event, with every optional part present, so that its snapshot shows the whole shape.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{
    CommandId, Currency, Delivery, DomainEvent, EffectKey, FulfilmentEvent, InventoryEvent, LocationId, Money,
    OrderEvent, OrderId, PaymentEvent, PaymentId, ProductEvent, ShipmentEvent, ShipmentId, Sku, fulfilment::*,
    inventory::*, order::*, participant::ParticipantCommand, payment::*, product::*, shipment::*,
};

pub(super) const ORDER: OrderId = OrderId(Uuid::from_u128(0x0198_0000_0000_7000_8000_0000_0000_0001));
pub(super) const COMMAND: CommandId = CommandId(Uuid::from_u128(0x0198_0000_0000_7000_8000_0000_0000_0004));
const PAYMENT: PaymentId = PaymentId(Uuid::from_u128(0x0198_0000_0000_7000_8000_0000_0000_0002));
const SHIPMENT: ShipmentId = ShipmentId(Uuid::from_u128(0x0198_0000_0000_7000_8000_0000_0000_0003));

/// In the order of the catalogue.
pub(super) fn every_event() -> Vec<DomainEvent> {
    fn of<E: Into<DomainEvent>>(events: impl IntoIterator<Item = E>) -> impl Iterator<Item = DomainEvent> {
        events.into_iter().map(Into::into)
    }
    let shop = of(product()).chain(of(inventory())).chain(of(order()));
    shop.chain(of(payment())).chain(of(shipment())).chain(of(fulfilment())).collect()
}

pub(super) fn at(second: u32) -> DateTime<Utc> {
    format!("2026-11-22T10:00:{second:02}.000001Z").parse().expect("a valid moment")
}

fn gbp(amount_minor: i64) -> Money {
    Money::new(amount_minor, Currency::GBP)
}

fn sku() -> Sku {
    "85123A".parse().expect("a valid SKU")
}

fn location() -> LocationId {
    "main".parse().expect("a valid location")
}

fn key(step: &str) -> EffectKey {
    format!("fulfilment/{ORDER}/{step}").parse().expect("a valid key")
}

fn lines() -> Vec<StockLine> {
    vec![StockLine { sku: sku(), quantity: 6 }]
}

fn delivery() -> Delivery {
    Delivery {
        recipient: "A. Shopper".into(),
        street: "1 High Street".into(),
        city: "Leeds".into(),
        postal_code: "LS1 1AA".into(),
        country: "GB".into(),
        service: "standard".into(),
    }
}

fn product() -> Vec<ProductEvent> {
    let described = ProductDescribed {
        sku: sku(),
        name: "White hanging heart".into(),
        description: "Holds a tea light.".into(),
        categories: vec!["home".into(), "lights".into()],
        attributes: BTreeMap::from([("colour".into(), "white".into()), ("material".into(), "metal".into())]),
    };
    let ProductDescribed { sku: _, name, description, categories, attributes } = described.clone();
    let (kind, price) = (ProductKind::Goods, gbp(255));
    vec![
        ProductListed { sku: sku(), kind, name, description, categories, attributes, price }.into(),
        described.into(),
        ProductRepriced { sku: sku(), price: gbp(295) }.into(),
        ProductDelisted { sku: sku() }.into(),
    ]
}

fn inventory() -> Vec<InventoryEvent> {
    let effect_key = || key("reserve_stock/1");
    let shortages = vec![Shortage { sku: sku(), wanted: 6, available: 2 }];
    vec![
        StockReceived { location: location(), lines: lines(), reference: "PO-1".into() }.into(),
        StockAdjusted { location: location(), sku: sku(), delta: -1, reason: "broken".into() }.into(),
        StockReserved { location: location(), order_id: ORDER, effect_key: effect_key(), lines: lines() }.into(),
        StockRefused { location: location(), order_id: ORDER, effect_key: effect_key(), shortages }.into(),
        StockReleased { location: location(), order_id: ORDER, effect_key: effect_key(), lines: lines() }.into(),
        StockCommitted { location: location(), order_id: ORDER, effect_key: effect_key(), lines: lines() }.into(),
        StockPutBack { location: location(), order_id: ORDER, effect_key: effect_key(), lines: lines() }.into(),
    ]
}

fn order() -> Vec<OrderEvent> {
    let goods = OrderLine {
        sku: sku(),
        kind: ProductKind::Goods,
        quantity: 6,
        unit_price: gbp(255),
        total: gbp(1530),
        product_version: Some(3),
    };
    let postage = OrderLine {
        sku: "POST".parse().expect("a valid SKU"),
        kind: ProductKind::Service,
        quantity: 1,
        unit_price: gbp(300),
        total: gbp(300),
        product_version: None,
    };
    let placed = OrderPlaced {
        order_id: ORDER,
        customer_id: "17850".parse().expect("a valid id"),
        lines: vec![goods, postage],
        total: gbp(1830),
        payment_token: "tok_visa".into(),
        delivery: delivery(),
        location: location(),
        reference: Some("536365".into()),
    };
    vec![
        placed.into(),
        OrderConfirmed { order_id: ORDER, payment_id: PAYMENT }.into(),
        OrderCancellationRequested { order_id: ORDER, reason: "changed my mind".into() }.into(),
        OrderCancelled { order_id: ORDER, reason: "changed my mind".into() }.into(),
        OrderShipped { order_id: ORDER, shipment_id: SHIPMENT, tracking: "SW123".into() }.into(),
        OrderCompleted { order_id: ORDER }.into(),
    ]
}

fn payment() -> Vec<PaymentEvent> {
    macro_rules! event {
        ($event:ident, $step:literal $(, $field:ident: $value:expr)*) => {
            $event { payment_id: PAYMENT, order_id: ORDER, effect_key: key($step) $(, $field: $value)* }.into()
        };
    }
    let (amount, part) = (gbp(1830), gbp(300));
    let reference = || String::from("pay_1");
    let reason = || String::from("insufficient funds");
    vec![
        event!(PaymentAuthorisationRequested, "authorise_payment/1", amount: amount, token: "tok_visa".into()),
        event!(PaymentAuthorised, "authorise_payment/1", amount: amount, provider_reference: reference()),
        event!(PaymentDeclined, "authorise_payment/1", reason: reason()),
        event!(CaptureRequested, "capture_payment/1", amount: amount),
        event!(PaymentCaptured, "capture_payment/1", amount: amount, provider_reference: reference()),
        event!(CaptureRefused, "capture_payment/1", reason: reason()),
        event!(VoidRequested, "authorise_payment/1/undo"),
        event!(PaymentVoided, "authorise_payment/1/undo"),
        event!(VoidRefused, "authorise_payment/1/undo", reason: reason()),
        event!(RefundRequested, "refund_payment/1", amount: part),
        event!(PaymentRefunded, "refund_payment/1", amount: part, provider_reference: reference()),
        event!(RefundRefused, "refund_payment/1", reason: reason()),
    ]
}

fn shipment() -> Vec<ShipmentEvent> {
    macro_rules! event {
        ($event:ident, $step:literal $(, $field:ident: $value:expr)*) => {
            $event { shipment_id: SHIPMENT, order_id: ORDER, effect_key: key($step) $(, $field: $value)* }.into()
        };
    }
    let carrier = || String::from("swift");
    let tracking = || String::from("SW123");
    let reason = || String::from("not in our area");
    let booking_key = key("book_shipment/1");
    vec![
        event!(ShipmentRequested, "book_shipment/1", carrier: carrier(), delivery: delivery(), lines: lines()),
        event!(ShipmentBooked, "book_shipment/1", carrier: carrier(), tracking: tracking()),
        event!(ShipmentRefused, "book_shipment/1", carrier: carrier(), reason: reason()),
        event!(ShipmentDispatched, "book_shipment/1", tracking: tracking()),
        event!(ShipmentDelivered, "book_shipment/1", tracking: tracking()),
        event!(ShipmentCancellationRequested, "book_shipment/1/undo", carrier: carrier(), booking_key: booking_key),
        event!(ShipmentCancelled, "book_shipment/1/undo", reason: "as asked".into()),
        event!(ShipmentCancellationRefused, "book_shipment/1/undo", reason: "the parcel has left".into()),
    ]
}

fn fulfilment() -> Vec<FulfilmentEvent> {
    let (order_id, step) = (ORDER, || StepName::from("reserve_stock"));
    let reserve = || ParticipantCommand::ReserveStock {
        order_id,
        location: location(),
        effect_key: key("reserve_stock/1"),
        lines: lines(),
    };
    let release =
        ParticipantCommand::ReleaseStock { order_id, location: location(), effect_key: key("reserve_stock/1") };
    let started = FulfilmentStarted {
        order_id,
        customer_id: "17850".parse().expect("a valid id"),
        total: gbp(1830),
        payment_token: "tok_visa".into(),
        delivery: delivery(),
        location: location(),
        lines: lines(),
    };
    let decided = StepDecided {
        order_id,
        step: step(),
        occurrence: 1,
        command_id: COMMAND,
        command: Some(reserve()),
        resend_at: Some(at(5)),
        deadline_at: at(59),
    };
    let resent = StepResent {
        order_id,
        step: step(),
        occurrence: 1,
        direction: Direction::Forward,
        attempt: 2,
        command_id: COMMAND,
        command: reserve(),
        next_at: at(10),
    };
    let undo = UndoDecided {
        order_id,
        step: step(),
        occurrence: 1,
        effect_key: key("reserve_stock/1"),
        command_id: COMMAND,
        command: release,
        resend_at: at(5),
        deadline_at: at(59),
    };
    let reason = || String::from("no answer");
    vec![
        started.into(),
        decided.into(),
        resent.into(),
        StepSucceeded { order_id, step: step(), occurrence: 1 }.into(),
        StepRefused { order_id, step: step(), occurrence: 1, reason: reason() }.into(),
        StepUnknown { order_id, step: step(), occurrence: 1 }.into(),
        undo.into(),
        UndoSucceeded { order_id, step: step(), occurrence: 1 }.into(),
        NeedsAttention { order_id, step: step(), direction: Direction::Undo, reason: reason() }.into(),
        FulfilmentCompleted { order_id }.into(),
        FulfilmentUnwound { order_id, reason: reason() }.into(),
    ]
}

/// One of each command that a step may carry, for they are written into the log with it.
pub(super) fn every_command() -> Vec<ParticipantCommand> {
    let (order_id, payment_id, shipment_id) = (ORDER, PAYMENT, SHIPMENT);
    let (location, carrier) = (location, || String::from("swift"));
    let (stock, amount) = (|| key("reserve_stock/1"), gbp(1830));
    let (auth, booking) = (|| key("authorise_payment/1"), || key("book_shipment/1"));
    vec![
        ParticipantCommand::ReserveStock { order_id, location: location(), effect_key: stock(), lines: lines() },
        ParticipantCommand::ReleaseStock { order_id, location: location(), effect_key: stock() },
        ParticipantCommand::CommitStock { order_id, location: location(), effect_key: stock() },
        ParticipantCommand::PutBackStock { order_id, location: location(), effect_key: stock() },
        ParticipantCommand::AuthorisePayment {
            payment_id,
            order_id,
            effect_key: auth(),
            amount,
            token: "tok_visa".into(),
        },
        ParticipantCommand::VoidPayment {
            payment_id,
            order_id,
            effect_key: key("authorise_payment/1/undo"),
            authorisation_key: auth(),
        },
        ParticipantCommand::CapturePayment { payment_id, order_id, effect_key: key("capture_payment/1"), amount },
        ParticipantCommand::RefundPayment { payment_id, order_id, effect_key: key("refund_payment/1"), amount },
        ParticipantCommand::BookShipment {
            shipment_id,
            order_id,
            effect_key: booking(),
            carrier: carrier(),
            delivery: delivery(),
            lines: lines(),
        },
        ParticipantCommand::CancelShipment {
            shipment_id,
            order_id,
            effect_key: key("book_shipment/1/undo"),
            carrier: carrier(),
            booking_key: booking(),
        },
        ParticipantCommand::ConfirmOrder { order_id, payment_id },
        ParticipantCommand::CancelOrder { order_id, reason: "no stock".into() },
        ParticipantCommand::RecordShipment { order_id, shipment_id, tracking: "SW123".into() },
        ParticipantCommand::CompleteOrder { order_id },
    ]
}
