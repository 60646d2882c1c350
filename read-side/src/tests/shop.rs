//! A small shop's history: what the tests record.

use std::collections::BTreeMap;

use chrono::{TimeZone, Utc};
use events::{
    CommandId, Currency, CustomerId, Delivery, DomainEvent, EffectKey, FulfilmentEvent, InventoryEvent, LocationId,
    Money, OrderEvent, OrderId, PaymentEvent, PaymentId, ProductEvent, Sku, StreamId,
    fulfilment::{FulfilmentStarted, StepDecided, StepSucceeded},
    inventory::{StockLine, StockReceived, StockReserved},
    order::{OrderConfirmed, OrderLine, OrderPlaced},
    participant::ParticipantCommand,
    payment::{PaymentAuthorisationRequested, PaymentAuthorised},
    product::{ProductKind, ProductListed},
};
use uuid::Uuid;

pub(super) fn order(n: u128) -> OrderId {
    OrderId(Uuid::from_u128(0x0192_f0c1_0000_7000_8000_0000_0000_0000 + n))
}

pub(super) fn sku(text: &str) -> Sku {
    text.parse().expect("a plain SKU")
}

fn location() -> LocationId {
    "leeds".parse().expect("a plain location")
}

fn pounds(amount_minor: i64) -> Money {
    Money::new(amount_minor, Currency::GBP)
}

pub(super) fn listed(sku_text: &str, name: &str, category: &str, price: i64) -> (StreamId, DomainEvent) {
    let event = ProductListed {
        sku: sku(sku_text),
        kind: ProductKind::Goods,
        name: name.into(),
        description: format!("{name}, as everyone wants it"),
        categories: vec![category.into()],
        attributes: BTreeMap::new(),
        price: pounds(price),
    };
    (event.sku.stream(), ProductEvent::from(event).into())
}

pub(super) fn received(sku_text: &str, quantity: u32) -> (StreamId, DomainEvent) {
    let lines = vec![StockLine { sku: sku(sku_text), quantity }];
    let event = StockReceived { location: location(), lines, reference: "PO-1".into() };
    (location().stream(), InventoryEvent::from(event).into())
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

pub(super) fn placed(id: OrderId, customer: &str) -> (StreamId, DomainEvent) {
    let line = OrderLine {
        sku: sku("85123A"),
        kind: ProductKind::Goods,
        quantity: 2,
        unit_price: pounds(255),
        total: pounds(510),
        product_version: Some(1),
    };
    let event = OrderPlaced {
        order_id: id,
        customer_id: customer.parse::<CustomerId>().expect("a plain id"),
        lines: vec![line],
        total: pounds(510),
        payment_token: "tok-ok".into(),
        delivery: delivery(),
        location: location(),
        reference: Some("536365".into()),
    };
    (id.stream(), OrderEvent::from(event).into())
}

fn decided(id: OrderId, step: &'static str, command: ParticipantCommand) -> (StreamId, DomainEvent) {
    let event = StepDecided {
        order_id: id,
        step: step.into(),
        occurrence: 1,
        command_id: CommandId::of(&["test", step]),
        command: Some(command),
        resend_at: None,
        deadline_at: Utc.timestamp_opt(1_767_230_000, 0).single().expect("a moment in 2026"),
    };
    (id.fulfilment_stream(), FulfilmentEvent::from(event).into())
}

fn succeeded(id: OrderId, step: &'static str) -> (StreamId, DomainEvent) {
    let event = StepSucceeded { order_id: id, step: step.into(), occurrence: 1 };
    (id.fulfilment_stream(), FulfilmentEvent::from(event).into())
}

/// An order from its placing to its confirmation, as the saga and its participants record it.
pub(super) fn confirmed_order(id: OrderId, customer: &str) -> Vec<(StreamId, DomainEvent)> {
    let effect_key = |step: &str| format!("fulfilment/{id}/{step}/1").parse::<EffectKey>().expect("a plain key");
    let (stock_key, payment_key) = (effect_key("reserve_stock"), effect_key("authorise_payment"));
    let lines = vec![StockLine { sku: sku("85123A"), quantity: 2 }];
    let (payment_id, amount, order_id, location) = (PaymentId::of(id, 1), pounds(510), id, location());
    let started = FulfilmentStarted {
        order_id,
        customer_id: customer.parse().expect("a plain id"),
        total: amount,
        payment_token: "tok-ok".into(),
        delivery: delivery(),
        location: location.clone(),
        lines: lines.clone(),
    };
    let reserve = ParticipantCommand::ReserveStock {
        order_id,
        location: location.clone(),
        effect_key: stock_key.clone(),
        lines: lines.clone(),
    };
    let reserved = StockReserved { location: location.clone(), order_id, effect_key: stock_key, lines };
    let token = "tok-ok".to_owned();
    let authorise = ParticipantCommand::AuthorisePayment {
        payment_id,
        order_id,
        effect_key: payment_key.clone(),
        amount,
        token: token.clone(),
    };
    let requested =
        PaymentAuthorisationRequested { payment_id, order_id, effect_key: payment_key.clone(), amount, token };
    let provider_reference = "auth-1".into();
    let authorised = PaymentAuthorised { payment_id, order_id, effect_key: payment_key, amount, provider_reference };
    vec![
        placed(id, customer),
        (id.fulfilment_stream(), FulfilmentEvent::from(started).into()),
        decided(id, "reserve_stock", reserve),
        (location.stream(), InventoryEvent::from(reserved).into()),
        succeeded(id, "reserve_stock"),
        decided(id, "authorise_payment", authorise),
        (payment_id.stream(), PaymentEvent::from(requested).into()),
        (payment_id.stream(), PaymentEvent::from(authorised).into()),
        succeeded(id, "authorise_payment"),
        decided(id, "confirm_order", ParticipantCommand::ConfirmOrder { order_id, payment_id }),
        (id.stream(), OrderEvent::from(OrderConfirmed { order_id, payment_id }).into()),
    ]
}

/// Two articles with stock, and one order that got as far as its confirmation: 15 events.
pub(super) fn small_shop() -> Vec<(StreamId, DomainEvent)> {
    let mut happened = vec![
        listed("85123A", "White hanging heart lantern", "lights", 255),
        listed("71053", "White metal lantern", "lights", 339),
        received("85123A", 100),
        received("71053", 5),
    ];
    happened.extend(confirmed_order(order(1), "12345"));
    happened
}
