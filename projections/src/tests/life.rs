//! Orders' lives, event by event, as the saga leaves them in the log.

use chrono::{DateTime, Duration, Utc};
use events::{
    Actor, CommandId, Currency, CustomerId, Delivery, DomainEvent, EffectKey, FulfilmentEvent, InventoryEvent,
    LocationId, Metadata, Money, OrderEvent, OrderId, PaymentEvent, PaymentId, Position, ProductEvent, Recorded,
    ShipmentEvent, ShipmentId, Sku, StreamId, Tenant,
    fulfilment::{
        Direction, FulfilmentCompleted, FulfilmentStarted, FulfilmentUnwound, StepDecided, StepRefused, StepResent,
        StepSucceeded,
    },
    inventory::{Shortage, StockCommitted, StockLine, StockReceived, StockRefused, StockReserved},
    order::{OrderCancelled, OrderCompleted, OrderConfirmed, OrderLine, OrderPlaced, OrderShipped},
    participant::ParticipantCommand,
    payment::{CaptureRequested, PaymentAuthorisationRequested, PaymentAuthorised, PaymentCaptured},
    product::{ProductKind, ProductListed},
    shipment::{ShipmentBooked, ShipmentDispatched, ShipmentRequested},
};
use uuid::Uuid;

pub(super) fn order_id(n: u128) -> OrderId {
    OrderId(Uuid::from_u128(0x0198_0000_0000_7000_8000_0000_0000_0000 + n))
}

pub(super) fn sku(text: &str) -> Sku {
    text.parse().expect("a plain SKU")
}

pub(super) fn customer(n: u128) -> CustomerId {
    format!("c-{n}").parse().expect("a plain id")
}

pub(super) fn location() -> LocationId {
    "main".parse().expect("a plain id")
}

fn pounds(amount_minor: i64) -> Money {
    Money::new(amount_minor, Currency::GBP)
}

fn key(order_id: OrderId, step: &str) -> EffectKey {
    format!("fulfilment/{order_id}/{step}/1").parse().expect("a plain key")
}

pub(super) fn listed(text: &str, name: &str, category: &str, price: i64) -> DomainEvent {
    let listed = ProductListed {
        sku: sku(text),
        kind: ProductKind::Goods,
        name: name.into(),
        description: format!("{name}, as sold since 2009"),
        categories: vec![category.into()],
        attributes: [("colour".to_owned(), "white".to_owned())].into(),
        price: pounds(price),
    };
    DomainEvent::Product(ProductEvent::Listed(listed))
}

pub(super) fn received(text: &str, quantity: u32) -> DomainEvent {
    let lines = vec![StockLine { sku: sku(text), quantity }];
    let received = StockReceived { location: location(), lines, reference: "PO-1".into() };
    DomainEvent::Inventory(InventoryEvent::Received(received))
}

/// Order `n`, of customer `n % 10`: two of A and one of B.
pub(super) fn placed(n: u128) -> OrderPlaced {
    let line = |text: &str, quantity: u32, unit: i64| OrderLine {
        sku: sku(text),
        kind: ProductKind::Goods,
        quantity,
        unit_price: pounds(unit),
        total: pounds(unit * i64::from(quantity)),
        product_version: Some(1),
    };
    OrderPlaced {
        order_id: order_id(n),
        customer_id: customer(n % 10),
        lines: vec![line("A", 2, 255), line("B", 1, 1999)],
        total: pounds(2509),
        payment_token: "tok_ok".into(),
        delivery: Delivery {
            recipient: "A. Shopper".into(),
            street: "1 High Street".into(),
            city: "Leeds".into(),
            postal_code: "LS1 1AA".into(),
            country: "GB".into(),
            service: "standard".into(),
        },
        location: location(),
        reference: Some(format!("INV-{n}")),
    }
}

pub(super) fn place(n: u128) -> DomainEvent {
    DomainEvent::Order(OrderEvent::Placed(placed(n)))
}

/// The steps of a saga, told one after the other.
struct Teller {
    order_id: OrderId,
    events: Vec<DomainEvent>,
}

impl Teller {
    fn tell(&mut self, event: impl Into<DomainEvent>) {
        self.events.push(event.into());
    }

    fn saga(&mut self, event: impl Into<FulfilmentEvent>) {
        self.events.push(DomainEvent::Fulfilment(event.into()));
    }

    fn decide(&mut self, step: &'static str, command: Option<ParticipantCommand>) {
        let (order_id, occurrence) = (self.order_id, 1);
        let command_id = CommandId::of(&["test", &order_id.to_string(), step]);
        let resend_at = command.is_some().then(|| start() + Duration::seconds(30));
        let deadline_at = start() + Duration::minutes(2);
        self.saga(StepDecided { order_id, step: step.into(), occurrence, command_id, command, resend_at, deadline_at });
    }

    fn done(&mut self, step: &'static str) {
        self.saga(StepSucceeded { order_id: self.order_id, step: step.into(), occurrence: 1 });
    }
}

pub(super) fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_291_190_400, 0).expect("1 December 2010")
}

fn begun(n: u128) -> (Teller, OrderPlaced, Vec<StockLine>) {
    let placed = placed(n);
    let (order_id, lines) = (placed.order_id, placed.stock_lines());
    let mut teller = Teller { order_id, events: Vec::new() };
    teller.tell(OrderEvent::Placed(placed.clone()));
    teller.saga(FulfilmentStarted {
        order_id,
        customer_id: placed.customer_id.clone(),
        total: placed.total,
        payment_token: placed.payment_token.clone(),
        delivery: placed.delivery.clone(),
        location: location(),
        lines: lines.clone(),
    });
    let effect_key = key(order_id, "reserve_stock");
    teller.decide(
        "reserve_stock",
        Some(ParticipantCommand::ReserveStock { order_id, location: location(), effect_key, lines: lines.clone() }),
    );
    (teller, placed, lines)
}

/// From placed to completed: 33 events.
pub(super) fn completed(n: u128) -> Vec<DomainEvent> {
    let (mut teller, placed, lines) = begun(n);
    let (order_id, amount) = (placed.order_id, placed.total);
    let (payment_id, shipment_id) = (PaymentId::of(order_id, 1), ShipmentId::of(order_id, 1));
    let (carrier, tracking) = ("swift".to_owned(), format!("SW{n:08}"));

    let effect_key = key(order_id, "reserve_stock");
    teller.tell(InventoryEvent::Reserved(StockReserved {
        location: location(),
        order_id,
        effect_key,
        lines: lines.clone(),
    }));
    teller.done("reserve_stock");

    let (effect_key, token) = (key(order_id, "authorise_payment"), placed.payment_token.clone());
    let authorise = ParticipantCommand::AuthorisePayment {
        payment_id,
        order_id,
        effect_key: effect_key.clone(),
        amount,
        token: token.clone(),
    };
    teller.decide("authorise_payment", Some(authorise));
    teller.tell(PaymentEvent::AuthorisationRequested(PaymentAuthorisationRequested {
        payment_id,
        order_id,
        effect_key: effect_key.clone(),
        amount,
        token,
    }));
    teller.tell(PaymentEvent::Authorised(PaymentAuthorised {
        payment_id,
        order_id,
        effect_key,
        amount,
        provider_reference: "p-1".into(),
    }));
    teller.done("authorise_payment");

    teller.decide("confirm_order", Some(ParticipantCommand::ConfirmOrder { order_id, payment_id }));
    teller.tell(OrderEvent::Confirmed(OrderConfirmed { order_id, payment_id }));
    teller.done("confirm_order");

    let (effect_key, delivery) = (key(order_id, "book_shipment"), placed.delivery.clone());
    let book = ParticipantCommand::BookShipment {
        shipment_id,
        order_id,
        effect_key: effect_key.clone(),
        carrier: carrier.clone(),
        delivery: delivery.clone(),
        lines: lines.clone(),
    };
    teller.decide("book_shipment", Some(book));
    teller.tell(ShipmentEvent::Requested(ShipmentRequested {
        shipment_id,
        order_id,
        effect_key: effect_key.clone(),
        carrier: carrier.clone(),
        delivery,
        lines: lines.clone(),
    }));
    teller.tell(ShipmentEvent::Booked(ShipmentBooked {
        shipment_id,
        order_id,
        effect_key: effect_key.clone(),
        carrier,
        tracking: tracking.clone(),
    }));
    teller.done("book_shipment");

    teller.decide("await_dispatch", None);
    teller.tell(ShipmentEvent::Dispatched(ShipmentDispatched {
        shipment_id,
        order_id,
        effect_key,
        tracking: tracking.clone(),
    }));
    teller.done("await_dispatch");

    teller.decide(
        "record_shipment",
        Some(ParticipantCommand::RecordShipment { order_id, shipment_id, tracking: tracking.clone() }),
    );
    teller.tell(OrderEvent::Shipped(OrderShipped { order_id, shipment_id, tracking }));
    teller.done("record_shipment");

    let effect_key = key(order_id, "reserve_stock");
    teller.decide(
        "commit_stock",
        Some(ParticipantCommand::CommitStock { order_id, location: location(), effect_key: effect_key.clone() }),
    );
    teller.tell(InventoryEvent::Committed(StockCommitted { location: location(), order_id, effect_key, lines }));
    teller.done("commit_stock");

    let effect_key = key(order_id, "capture_payment");
    teller.decide(
        "capture_payment",
        Some(ParticipantCommand::CapturePayment { payment_id, order_id, effect_key: effect_key.clone(), amount }),
    );
    teller.tell(PaymentEvent::CaptureRequested(CaptureRequested {
        payment_id,
        order_id,
        effect_key: effect_key.clone(),
        amount,
    }));
    teller.tell(PaymentEvent::Captured(PaymentCaptured {
        payment_id,
        order_id,
        effect_key,
        amount,
        provider_reference: "p-2".into(),
    }));
    teller.done("capture_payment");

    teller.decide("complete_order", Some(ParticipantCommand::CompleteOrder { order_id }));
    teller.tell(OrderEvent::Completed(OrderCompleted { order_id }));
    teller.done("complete_order");
    teller.saga(FulfilmentCompleted { order_id });
    teller.events
}

/// Placed, sent for stock three times, refused, cancelled.
pub(super) fn refused(n: u128) -> Vec<DomainEvent> {
    let (mut teller, placed, lines) = begun(n);
    let order_id = placed.order_id;
    let effect_key = key(order_id, "reserve_stock");
    for attempt in 2..=3 {
        let command = ParticipantCommand::ReserveStock {
            order_id,
            location: location(),
            effect_key: effect_key.clone(),
            lines: lines.clone(),
        };
        let command_id = CommandId::of(&["test", &order_id.to_string(), "reserve_stock"]);
        let (step, direction, next_at) = ("reserve_stock".into(), Direction::Forward, start());
        teller.saga(StepResent { order_id, step, occurrence: 1, direction, attempt, command_id, command, next_at });
    }
    let shortages = vec![Shortage { sku: sku("B"), wanted: 1, available: 0 }];
    teller.tell(InventoryEvent::Refused(StockRefused { location: location(), order_id, effect_key, shortages }));
    let reason = "not enough stock".to_owned();
    teller.saga(StepRefused { order_id, step: "reserve_stock".into(), occurrence: 1, reason: reason.clone() });
    teller.decide("cancel_order", Some(ParticipantCommand::CancelOrder { order_id, reason: reason.clone() }));
    teller.tell(OrderEvent::Cancelled(OrderCancelled { order_id, reason: reason.clone() }));
    teller.done("cancel_order");
    teller.saga(FulfilmentUnwound { order_id, reason });
    teller.events
}

/// The stream that an event belongs to.
pub(super) fn stream_of(event: &DomainEvent) -> StreamId {
    match event {
        DomainEvent::Product(event) => event.sku().stream(),
        DomainEvent::Inventory(event) => event.location().stream(),
        DomainEvent::Order(event) => event.order_id().stream(),
        DomainEvent::Payment(event) => event.payment_id().stream(),
        DomainEvent::Shipment(event) => event.shipment_id().stream(),
        DomainEvent::Fulfilment(event) => event.order_id().fulfilment_stream(),
        DomainEvent::Foreign(_) => StreamId::new("ledger", "2026"),
    }
}

pub(super) fn metadata(event: &DomainEvent) -> Metadata {
    Metadata {
        correlation_id: event.order_id().map_or(Uuid::nil(), |order_id| order_id.0),
        causation_id: CommandId(Uuid::nil()),
        actor: Actor::service("test"),
        tenant: Tenant::default(),
        traceparent: None,
        business_time: None,
        body_hash: None,
    }
}

/// As the log would give them back: one a second, from position 1.
pub(super) fn recorded(events: Vec<DomainEvent>) -> Vec<Recorded<DomainEvent>> {
    let mut versions = std::collections::HashMap::new();
    (1_i64..)
        .zip(events)
        .map(|(position, payload)| {
            let stream_id = stream_of(&payload);
            let version = versions.entry(stream_id.clone()).or_insert(0_i64);
            *version += 1;
            Recorded {
                position: Position(position),
                stream_version: *version,
                stream_id,
                event_id: Uuid::from_u128(u128::try_from(position).expect("positions are positive")),
                metadata: metadata(&payload),
                recorded_at: start() + Duration::seconds(position),
                payload,
            }
        })
        .collect()
}
