//! Builds logs of one order, event by event, with positions, versions and times as the log gives them.

use chrono::{DateTime, TimeDelta};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::check::{Options, Report, fold::Fold, rows::LogRow};

pub(super) const ORDER: Uuid = Uuid::from_u128(1);
const PAYMENT: Uuid = Uuid::from_u128(2);
const SHIPMENT: Uuid = Uuid::from_u128(3);

#[derive(Clone, Default)]
pub(super) struct LogOf(pub(super) Vec<LogRow>);

impl LogOf {
    pub(super) fn then(mut self, stream: &str, event_type: &str, payload: Value) -> Self {
        let position = self.len() + 1;
        let causation_id = Uuid::from_u128(1_000 + u128::try_from(position).expect("positive"));
        self.0.push(LogRow {
            position,
            stream_id: stream.into(),
            stream_version: 0,
            event_type: event_type.into(),
            payload: payload.to_string(),
            metadata: json!({ "causation_id": causation_id }).to_string(),
            recorded_at: DateTime::UNIX_EPOCH + TimeDelta::seconds(position),
        });
        self.numbered()
    }

    pub(super) fn stock(self, event_type: &str, lines: Value) -> Self {
        let effect_key = key("reserve_stock");
        let payload = json!({ "location": "main", "order_id": ORDER, "effect_key": effect_key, "lines": lines });
        self.then("inventory-main", event_type, payload)
    }

    pub(super) fn saga(self, event_type: &str, step: &str, more: Value) -> Self {
        let mut payload = json!({ "order_id": ORDER, "step": step, "occurrence": 1 });
        merge(&mut payload, more);
        self.then(&format!("fulfilment-{ORDER}"), event_type, payload)
    }

    pub(super) fn decided(self, step: &str) -> Self {
        let more = json!({ "command": { "effect_key": key(step) }, "deadline_at": "2026-01-01T00:00:00Z" });
        self.saga("StepDecided", step, more)
    }

    pub(super) fn undo_decided(self, step: &str, effect_key: &str) -> Self {
        let more = json!({ "command": { "effect_key": effect_key }, "deadline_at": "2026-01-01T00:00:00Z" });
        self.saga("UndoDecided", step, more)
    }

    pub(super) fn succeeded(self, step: &str) -> Self {
        self.saga("StepSucceeded", step, json!({}))
    }

    pub(super) fn order(self, event_type: &str) -> Self {
        self.then(&format!("order-{ORDER}"), event_type, json!({ "order_id": ORDER }))
    }

    pub(super) fn payment(self, event_type: &str, step: &str, amount: Option<i64>) -> Self {
        self.payment_keyed(event_type, &key(step), amount)
    }

    pub(super) fn payment_keyed(self, event_type: &str, effect_key: &str, amount: Option<i64>) -> Self {
        let mut payload = json!({ "payment_id": PAYMENT, "order_id": ORDER, "effect_key": effect_key });
        if let Some(amount) = amount {
            merge(&mut payload, json!({ "amount": pence(amount) }));
        }
        self.then(&format!("payment-{PAYMENT}"), event_type, payload)
    }

    fn shipment(self, event_type: &str, step: &str) -> Self {
        let payload = json!({ "shipment_id": SHIPMENT, "order_id": ORDER, "effect_key": key(step) });
        self.then(&format!("shipment-{SHIPMENT}"), event_type, payload)
    }

    /// Ten pieces of A are there, and two of them are ordered for 500.
    pub(super) fn placed() -> Self {
        let line = json!({ "sku": "A", "kind": "goods", "quantity": 2,
            "unit_price": pence(250), "total": pence(500), "product_version": 1 });
        let received = json!({ "location": "main", "lines": pieces(10), "reference": "r" });
        let placed = json!({ "order_id": ORDER, "customer_id": "c", "lines": [line], "total": pence(500) });
        Self::default()
            .then("inventory-main", "StockReceived", received)
            .then(&format!("order-{ORDER}"), "OrderPlaced", placed)
            .saga("FulfilmentStarted", "", json!({}))
    }

    pub(super) fn authorised() -> Self {
        Self::placed()
            .decided("reserve_stock")
            .stock("StockReserved", pieces(2))
            .succeeded("reserve_stock")
            .decided("authorise_payment")
            .payment("PaymentAuthorisationRequested", "authorise_payment", Some(500))
            .payment("PaymentAuthorised", "authorise_payment", Some(500))
            .succeeded("authorise_payment")
    }

    pub(super) fn booked() -> Self {
        Self::authorised()
            .order("OrderConfirmed")
            .decided("book_shipment")
            .shipment("ShipmentRequested", "book_shipment")
            .shipment("ShipmentBooked", "book_shipment")
            .succeeded("book_shipment")
    }

    pub(super) fn captured() -> Self {
        Self::booked()
            .decided("commit_stock")
            .stock("StockCommitted", pieces(2))
            .succeeded("commit_stock")
            .decided("capture_payment")
            .payment("CaptureRequested", "capture_payment", Some(500))
            .payment("PaymentCaptured", "capture_payment", Some(500))
            .succeeded("capture_payment")
    }

    pub(super) fn completed() -> Self {
        Self::captured().order("OrderCompleted").saga("FulfilmentCompleted", "", json!({}))
    }

    pub(super) fn voided() -> Self {
        let undo = format!("{}/undo", key("authorise_payment"));
        Self::authorised()
            .undo_decided("authorise_payment", &undo)
            .payment_keyed("VoidRequested", &undo, None)
            .payment_keyed("PaymentVoided", &undo, None)
            .saga("UndoSucceeded", "authorise_payment", json!({}))
    }

    pub(super) fn unwound() -> Self {
        Self::voided()
            .undo_decided("reserve_stock", &key("reserve_stock"))
            .stock("StockReleased", pieces(2))
            .saga("UndoSucceeded", "reserve_stock", json!({}))
            .order("OrderCancelled")
            .saga("FulfilmentUnwound", "", json!({ "reason": "r" }))
    }

    pub(super) fn without(mut self, event_type: &str) -> Self {
        self.0.retain(|row| row.event_type != event_type);
        self.numbered()
    }

    /// Dense positions and versions for what is there now.
    fn numbered(mut self) -> Self {
        let mut versions = std::collections::HashMap::new();
        for (position, row) in (1..).zip(&mut self.0) {
            let version = versions.entry(row.stream_id.clone()).or_insert(0);
            *version += 1;
            (row.position, row.stream_version) = (position, *version);
        }
        self
    }

    pub(super) fn len(&self) -> i64 {
        i64::try_from(self.0.len()).expect("a small log")
    }

    pub(super) fn fold(&self, options: &Options) -> Fold {
        let mut fold = Fold::new(options);
        for row in &self.0 {
            fold.apply(row);
        }
        fold
    }

    /// As if it went on behind the first `count` events.
    pub(super) fn check_first(&self, count: usize) -> Report {
        let mut fold = Fold::new(&Options::default());
        self.0.iter().take(count).for_each(|row| fold.apply(row));
        fold.report("main", i64::try_from(count).expect("a small log"), false)
    }

    pub(super) fn check(&self) -> Report {
        self.fold(&Options::default()).report("main", self.len(), true)
    }
}

fn merge(payload: &mut Value, more: Value) {
    let (Value::Object(payload), Value::Object(more)) = (payload, more) else { panic!("both are objects") };
    payload.extend(more);
}

pub(super) fn key(step: &str) -> String {
    format!("fulfilment/{ORDER}/{step}/1")
}

pub(super) fn pence(amount_minor: i64) -> Value {
    json!({ "amount_minor": amount_minor, "currency": "GBP" })
}

pub(super) fn pieces(quantity: i64) -> Value {
    json!([{ "sku": "A", "quantity": quantity }])
}
