//! Every way in which an order does not simply go through, each to its right end: nobody is charged for nothing, nothing stays
//! reserved, and what only a person can decide says so.

use serde_json::{Value, json};

use crate::support::{
    client::Wish,
    shop::{Shop, event_types, sentences},
};

/// How an order ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Completed,
    /// Cancelled, and all that was done is undone.
    Unwound,
    /// With a person, at this step.
    Attention(&'static str),
}

/// Places an order, waits for its end and looks whether it is the right one. Returns its page.
async fn ends(shop: &Shop, key: &str, wish: Wish, end: End) -> Value {
    let placed = shop.place(key, &wish).await;
    ended(shop, &placed.id, end).await
}

async fn ended(shop: &Shop, order_id: &str, end: End) -> Value {
    match end {
        End::Completed => {
            let page = shop.until(order_id, "FulfilmentCompleted").await;
            assert_eq!(page["status"], "completed");
            assert_eq!(money(&page, "captured"), money(&page, "authorised"), "{:#?}", sentences(&page));
            page
        }
        End::Unwound => {
            let page = shop.until(order_id, "FulfilmentUnwound").await;
            assert_eq!(page["status"], "cancelled");
            assert_eq!(money(&page, "captured"), 0, "{:#?}", sentences(&page));
            page
        }
        End::Attention(step) => {
            let page = shop.until(order_id, "NeedsAttention").await;
            assert_eq!(page["fulfilment"]["needs_attention"]["step"], step, "{:#?}", sentences(&page));
            page
        }
    }
}

fn money(page: &Value, what: &str) -> i64 {
    let payments = page["payments"].as_array().map(Vec::as_slice).unwrap_or_default();
    payments.iter().map(|payment| payment[what]["amount_minor"].as_i64().unwrap_or_default()).sum()
}

fn happened(page: &Value, event_type: &str) -> usize {
    event_types(page).iter().filter(|happened| *happened == event_type).count()
}

// --- refusals before the pivot ---

#[tokio::test]
async fn an_order_for_more_than_there_is_is_cancelled_and_nobody_is_charged() {
    let shop = Shop::shared().await;
    shop.stock("clock", 5_000, 3).await;
    let page = ends(&shop, "clocks", Wish::new("tok_ok", "standard").of("clock", 4), End::Unwound).await;
    assert_eq!(happened(&page, "StockRefused"), 1);
    assert_eq!(happened(&page, "PaymentAuthorisationRequested"), 0, "nobody asked for money");
    assert!(sentences(&page).iter().any(|what| what.contains("4 of clock wanted, 3 there")), "{:?}", sentences(&page));
    ends(
        &shop,
        "three clocks".replace(' ', "-").as_str(),
        Wish::new("tok_ok", "standard").of("clock", 3),
        End::Completed,
    )
    .await;
    shop.leave().await;
}

#[tokio::test]
async fn a_declined_payment_gives_the_stock_back_and_cancels_the_order() {
    let shop = Shop::shared().await;
    shop.stock("bell", 300, 10).await;
    let wish = Wish::new("tok_decline_insufficient_funds", "standard").of("bell", 10);
    let page = ends(&shop, "declined", wish, End::Unwound).await;
    assert_eq!(page["payments"][0]["reason"], "insufficient_funds");
    assert_eq!(happened(&page, "StockReleased"), 1);
    let stock = shop.client.get("/v1/inventory/bell").await.expect(200);
    assert_eq!(stock.body["total"]["available"], 10, "{}", stock.text);
    shop.leave().await;
}

// --- unclear answers ---

#[tokio::test]
async fn a_payment_that_timed_out_is_neither_charged_twice_nor_lost() {
    let shop = Shop::shared().await;
    for token in ["tok_timeout_before", "tok_timeout_after", "tok_500_2", "tok_slow_200"] {
        let page = ends(&shop, token, Wish::new(token, "standard"), End::Completed).await;
        assert_eq!(money(&page, "captured"), 2 * 795, "{token}");
    }
    shop.leave().await;
}

#[tokio::test]
async fn a_capture_that_timed_out_is_neither_taken_twice_nor_lost() {
    let shop = Shop::shared().await;
    for token in ["tok_capture_timeout_before", "tok_capture_timeout_after", "tok_capture_500_4"] {
        let page = ends(&shop, token, Wish::new(token, "standard"), End::Completed).await;
        assert_eq!(happened(&page, "PaymentCaptured"), 1, "{token}");
    }
    shop.leave().await;
}

#[tokio::test]
async fn a_booking_that_timed_out_is_booked_once() {
    let shop = Shop::shared().await;
    for service in ["timeout_before", "timeout_after", "500_4", "slow_200"] {
        let page = ends(&shop, service, Wish::new("tok_ok", service), End::Completed).await;
        assert_eq!(happened(&page, "ShipmentBooked"), 1, "{service}");
    }
    shop.leave().await;
}

// --- webhooks ---

#[tokio::test]
async fn webhooks_may_come_first_late_twice_reversed_or_not_at_all() {
    let shop = Shop::shared().await;
    let tokens = ["webhook_first", "webhook_late_700", "webhook_duplicate", "answer_twice", "webhook_none"];
    for token in tokens {
        let page = ends(&shop, token, Wish::new(&format!("tok_{token}"), "standard"), End::Completed).await;
        assert_eq!(happened(&page, "PaymentAuthorised"), 1, "{token}");
        assert_eq!(happened(&page, "PaymentCaptured"), 1, "{token}");
    }
    for service in ["webhook_late_700", "webhook_duplicate", "answer_twice", "webhook_reversed"] {
        let key = format!("carrier-{service}");
        let page = ends(&shop, &key, Wish::new("tok_ok", service), End::Completed).await;
        let delivered = shop.until(page["id"].as_str().expect("an id"), "ShipmentDelivered").await;
        assert_eq!(happened(&delivered, "ShipmentDispatched"), 1, "{service}: {:?}", sentences(&delivered));
        assert_eq!(happened(&delivered, "ShipmentDelivered"), 1, "{service}: {:?}", sentences(&delivered));
    }
    shop.leave().await;
}

// --- carriers ---

#[tokio::test]
async fn a_carrier_that_refuses_is_followed_by_the_next() {
    let shop = Shop::shared().await;
    let page = ends(&shop, "refuse-swift", Wish::new("tok_ok", "refuse_swift"), End::Completed).await;
    let carriers: Vec<_> = page["shipments"].as_array().into_iter().flatten().map(|one| &one["carrier"]).collect();
    assert_eq!(carriers, ["swift", "steady"]);
    shop.leave().await;
}

#[tokio::test]
async fn when_no_carrier_wants_it_a_person_is_told_and_may_cancel() {
    let shop = Shop::shared().await;
    let page = ends(&shop, "refuse-all", Wish::new("tok_ok", "refuse_all"), End::Attention("book_shipment")).await;
    let id = page["id"].as_str().expect("an id");
    shop.cancel(id).await.expect(202);
    let page = ended(&shop, id, End::Unwound).await;
    assert_eq!(page["payments"][0]["status"], "voided");
    ends(&shop, "refuse-all-for-good", Wish::new("tok_ok", "refuse_all"), End::Attention("book_shipment")).await;
    shop.leave().await;
}

// --- the customer's cancellation ---

#[tokio::test]
async fn a_customer_may_cancel_at_each_step_until_the_parcel_has_left() {
    let shop = Shop::shared().await;
    // At once; while the provider thinks; while the carrier thinks; while the parcel waits.
    let cases = [
        ("at-once", Wish::new("tok_slow_300", "hold"), None),
        ("authorising", Wish::new("tok_slow_400", "hold"), Some("PaymentAuthorisationRequested")),
        ("authorised-unheard", Wish::new("tok_timeout_after", "hold"), Some("PaymentAuthorisationRequested")),
        ("booking", Wish::new("tok_ok", "slow_400+hold"), Some("ShipmentRequested")),
        ("waiting", Wish::new("tok_ok", "hold"), Some("ShipmentBooked")),
        (
            "cancelling-is-unclear",
            Wish::new("tok_void_timeout_after", "hold+cancel_timeout_after"),
            Some("ShipmentBooked"),
        ),
        ("cancelling-fails-twice", Wish::new("tok_void_500_2", "hold+cancel_500_2"), Some("ShipmentBooked")),
    ];
    for (key, wish, moment) in cases {
        let placed = shop.place(&format!("cancel-{key}"), &wish).await;
        if let Some(moment) = moment {
            shop.until(&placed.id, moment).await;
        }
        shop.cancel(&placed.id).await.expect(202);
        let page = ended(&shop, &placed.id, End::Unwound).await;
        let paid = page["payments"].as_array().and_then(|payments| payments.first()).map(|one| &one["status"]);
        assert!(paid.is_none_or(|status| status == "voided"), "{key}: {:#?}", sentences(&page));
        assert_eq!(happened(&page, "OrderCancelled"), 1, "{key}");
    }
    shop.leave().await;
}

#[tokio::test]
async fn a_parcel_that_has_left_is_not_called_back() {
    let shop = Shop::shared().await;
    let placed = shop.place("too-late", &Wish::new("tok_capture_slow_400", "standard")).await;
    shop.until(&placed.id, "ShipmentDispatched").await;
    let answer = shop.cancel(&placed.id).await;
    assert!([202, 422].contains(&answer.status), "{}", answer.text);
    ended(&shop, &placed.id, End::Completed).await;
    let (path, body) = (format!("/v1/orders/{}/cancel", placed.id), json!({ "reason": "still" }));
    let again = shop.client.post(&path, "another-key", &body).await;
    assert_eq!(again.status, 422, "completed is completed: {}", again.text);
    shop.leave().await;
}

#[tokio::test]
async fn a_cancellation_that_the_carrier_refuses_lets_the_order_go_on() {
    let shop = Shop::shared().await;
    let placed = shop.place("refuse-cancel", &Wish::new("tok_ok", "hold+refuse_cancel")).await;
    shop.until(&placed.id, "ShipmentBooked").await;
    shop.cancel(&placed.id).await.expect(202);
    shop.until(&placed.id, "ShipmentCancellationRefused").await;
    shop.dispatch(&placed.id, "swift", 1).await;
    ended(&shop, &placed.id, End::Completed).await;
    shop.leave().await;
}

#[tokio::test]
async fn a_void_that_is_refused_is_a_state_with_an_owner() {
    let shop = Shop::shared().await;
    let placed = shop.place("refuse-void", &Wish::new("tok_refuse_void", "hold")).await;
    shop.until(&placed.id, "ShipmentBooked").await;
    shop.cancel(&placed.id).await.expect(202);
    let page = ended(&shop, &placed.id, End::Attention("authorise_payment")).await;
    assert_ne!(page["status"], "cancelled", "not done as long as money is held: {:#?}", sentences(&page));
    shop.leave().await;
}

#[tokio::test]
async fn a_capture_that_is_refused_is_a_state_with_an_owner() {
    let shop = Shop::shared().await;
    let wish = Wish::new("tok_refuse_capture", "standard");
    let page = ends(&shop, "refuse-capture", wish, End::Attention("capture_payment")).await;
    assert_eq!(page["status"], "shipped", "{:#?}", sentences(&page));
    shop.leave().await;
}

// --- deadlines ---

#[tokio::test]
async fn a_deadline_before_the_pivot_unwinds_and_after_it_tells_a_person() {
    let plan = Shop::plan().set("sagas.times.undo_deadline_ms", 2_500).set("sagas.providers.tries", 1);
    let steps = ["authorise_payment", "book_shipment", "await_dispatch", "capture_payment"];
    let plan = steps.iter().fold(plan, |plan, step| plan.set(&format!("sagas.times.deadline_ms.{step}"), 2_500));
    let mut shop = plan.open().await;
    let cases = [
        ("authorise", Wish::new("tok_never", "standard"), End::Unwound),
        ("book", Wish::new("tok_ok", "never"), End::Attention("book_shipment")),
        ("dispatch", Wish::new("tok_ok", "hold"), End::Attention("await_dispatch")),
        ("capture", Wish::new("tok_capture_never", "standard"), End::Attention("capture_payment")),
    ];
    let mut placed = Vec::new();
    for (key, wish, end) in cases {
        placed.push((shop.place(key, &wish).await.id, end));
    }
    // Undone after its deadline, by an undo that is not heard in time either.
    let unheard = shop.place("void", &Wish::new("tok_void_never", "hold")).await;
    shop.until(&unheard.id, "ShipmentBooked").await;
    shop.cancel(&unheard.id).await.expect(202);
    placed.push((unheard.id, End::Attention("authorise_payment")));
    for (order_id, end) in &placed {
        let page = ended(&shop, order_id, *end).await;
        assert_eq!(happened(&page, "StepUnknown"), 1, "{order_id}: {:#?}", sentences(&page));
    }
    // What comes late is taken all the same.
    shop.dispatch(&placed[2].0, "swift", 1).await;
    ended(&shop, &placed[2].0, End::Completed).await;
    shop.check().await;
    shop.stop().await;
}

#[tokio::test]
async fn an_order_whose_stock_nobody_answers_for_is_unwound_also_when_the_answer_comes_late() {
    const WITHOUT_INVENTORY: &str = "commands,queries,relay,sagas,payment,shipping,projector,maintainer";
    let plan = Shop::plan().roles(WITHOUT_INVENTORY).set("sagas.times.deadline_ms.reserve_stock", 1_000);
    let mut shop = plan.open().await;
    let placed = shop.place("unanswered", &Wish::new("tok_ok", "standard")).await;
    shop.until(&placed.id, "UndoDecided").await;
    shop.kill();
    shop.set_roles(None);
    shop.start().await;
    // The reservation and its release both waited; in which order they are taken does not matter.
    ended(&shop, &placed.id, End::Unwound).await;
    let stock = shop.client.get("/v1/inventory/mug").await.expect(200);
    assert_eq!(stock.body["total"]["reserved"], 0, "{}", stock.text);
    shop.check().await;
    shop.stop().await;
}
