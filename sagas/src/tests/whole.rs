//! The whole saga with real servers: engine, relay, broker, participants and a provider.

use events::{PaymentId, ShipmentId};

use super::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_reserved_paid_shipped_and_completed() {
    let world = World::running().await;
    let order_id = world.place("plain", "tok_ok", "standard").await;
    world.until(order_id, "completed").await;
    let order = world.stream_types(&order_id.stream()).await;
    assert_eq!(order, ["OrderPlaced", "OrderConfirmed", "OrderShipped", "OrderCompleted"]);
    let payment = world.stream_types(&PaymentId::of(order_id, 1).stream()).await;
    let expected = ["PaymentAuthorisationRequested", "PaymentAuthorised", "CaptureRequested", "PaymentCaptured"];
    assert_eq!(payment, expected);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declined_payment_gives_the_stock_back_and_cancels_the_order() {
    let world = World::running().await;
    let order_id = world.place("declined", "tok_decline", "standard").await;
    let story = world.until(order_id, "unwound").await;
    assert!(story.contains(&"reserve_stock 1 undone".to_owned()));
    assert_eq!(world.stream_types(&order_id.stream()).await, ["OrderPlaced", "OrderCancelled"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_timed_out_after_it_succeeded_is_neither_charged_twice_nor_lost() {
    let world = World::running().await;
    let order_id = world.place("timeout", "tok_timeout_after", "standard").await;
    world.until(order_id, "completed").await;
    let key = format!("fulfilment/{order_id}/authorise_payment/1");
    assert_eq!(world.provider.entry(&key).map(|entry| (entry.applied, entry.asked)), Some((1, 1)));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_fails_for_a_moment_is_asked_again() {
    let world = World::running().await;
    let order_id = world.place("500", "tok_500_1", "standard").await;
    world.until(order_id, "completed").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_is_never_answered_is_voided_after_its_deadline() {
    let mut world = World::new().await;
    let deadline = std::time::Duration::from_secs(2);
    world.config.times.deadline_ms.insert("authorise_payment".into(), deadline);
    world.start_engine();
    world.start_others();
    let order_id = world.place("never", "tok_never", "standard").await;
    let story = world.until(order_id, "unwound").await;
    assert!(story.contains(&"authorise_payment 1 unknown".to_owned()));
    assert!(story.contains(&"authorise_payment 1 undone".to_owned()));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_carrier_that_refuses_is_followed_by_the_next() {
    let world = World::running().await;
    let order_id = world.place("steady", "tok_ok", "refuse_swift").await;
    world.until(order_id, "await_dispatch 1").await;
    let shipment_id = ShipmentId::of(order_id, 2);
    world.provider.dispatch(order_id, shipment_id).await;
    world.until(order_id, "completed").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_no_carrier_wants_it_a_person_is_told_and_may_cancel() {
    let world = World::running().await;
    let order_id = world.place("nobody", "tok_ok", "refuse_all").await;
    world.until(order_id, "attention: Forward book_shipment").await;
    world.cancel(order_id).await;
    world.until(order_id, "unwound").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_may_cancel_a_parcel_that_has_not_left() {
    let world = World::running().await;
    let order_id = world.place("hold", "tok_ok", "hold").await;
    world.until(order_id, "await_dispatch 1").await;
    world.cancel(order_id).await;
    let story = world.until(order_id, "unwound").await;
    for undone in ["book_shipment 1 undone", "authorise_payment 1 undone", "reserve_stock 1 undone"] {
        assert!(story.contains(&undone.to_owned()), "no {undone} in {story:?}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_for_more_than_there_is_is_told_so() {
    let world = World::running().await;
    let orders = 520;
    let mut placed = Vec::new();
    for number in 0..orders {
        placed.push(world.place(&format!("many {number}"), "tok_ok", "standard").await);
    }
    let mut completed = 0;
    for order_id in placed {
        let story = world.until_any(order_id, &["completed", "unwound"]).await;
        completed += usize::from(story.iter().any(|word| word == "completed"));
    }
    assert_eq!(completed, 500, "1,000 pieces, two an order");
    world.stop().await;
}
