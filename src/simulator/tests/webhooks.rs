//! Who is told what, how often, and in which order.

use std::time::{Duration, Instant};

use super::support::{Bed, Waybill};

#[tokio::test]
async fn each_movement_of_money_is_told_once_and_signed() {
    let mut waybill = Waybill::willing().await;
    let bed = Bed::start(Some(&waybill)).await;
    let (_, authorised) = bed.authorise("a", "tok_ok").await;
    let told = waybill.next().await;
    assert_eq!(told.path, "/v1/webhooks/payment");
    let mut fields: Vec<_> = told.body.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["amount_minor", "currency", "effect_key", "event_id", "occurred_at", "reference", "type"]);
    assert_eq!(told.body["reference"], authorised["reference"]);
    assert_eq!(told.body["amount_minor"], 1000);

    bed.capture("c", "a", 700).await;
    bed.refund("r", "c", 200).await;
    let mut types = waybill.next_types(2).await;
    types.sort_unstable();
    assert_eq!(types, ["payment.captured", "payment.refunded"]);
    bed.authorise("d", "tok_decline").await;
    assert_eq!(waybill.next_types(1).await, ["payment.declined"]);
    bed.authorise("e", "tok_webhook_none").await;
    bed.void("v", "e").await;
    bed.authorise("f", "tok_ok").await;
    bed.void("w", "f").await;
    let mut types = waybill.next_types(2).await;
    types.sort_unstable();
    assert_eq!(types, ["payment.authorised", "payment.voided"], "nothing is told of a payment whose webhooks are lost");
    bed.stop().await;
}

#[tokio::test]
async fn a_webhook_is_repeated_until_it_is_taken() {
    let mut waybill = Waybill::answering(&[503, 429, 408]).await;
    let bed = Bed::start(Some(&waybill)).await;
    bed.authorise("a", "tok_ok").await;
    let first = waybill.next().await.body;
    for _ in 0..3 {
        assert_eq!(waybill.next().await.body, first);
    }
    assert_eq!(waybill.answers_left(), 0);
    bed.stop().await;
}

#[tokio::test]
async fn a_webhook_that_is_refused_for_good_is_not_repeated() {
    let mut waybill = Waybill::answering(&[404]).await;
    let bed = Bed::start(Some(&waybill)).await;
    bed.book("swift", "b", "standard").await;
    assert_eq!(waybill.next_types(2).await, ["shipment.dispatched", "shipment.delivered"]);
    bed.webhooks_ended("carrier-swift.ndjson", 2).await;
    let bed = bed.restart(Some(&waybill)).await;
    bed.authorise("a", "tok_ok").await;
    assert_eq!(waybill.next_types(1).await, ["payment.authorised"]);
    bed.stop().await;
}

#[tokio::test]
async fn a_duplicate_is_the_same_event_and_an_answer_told_twice_another() {
    let mut waybill = Waybill::willing().await;
    let bed = Bed::start(Some(&waybill)).await;
    bed.authorise("a", "tok_webhook_duplicate").await;
    let (first, second) = (waybill.next().await.body, waybill.next().await.body);
    assert_eq!(first, second);

    bed.authorise("b", "tok_answer_twice").await;
    let (first, second) = (waybill.next().await.body, waybill.next().await.body);
    assert_ne!(first["event_id"], second["event_id"]);
    assert_eq!((&first["effect_key"], &first["type"]), (&second["effect_key"], &second["type"]));
    assert_eq!(bed.ledger("/payments", Some("b")).await[0]["applied"], 1);
    bed.stop().await;
}

#[tokio::test]
async fn a_webhook_can_come_before_its_reply() {
    let mut waybill = Waybill::willing().await;
    let bed = Bed::start(Some(&waybill)).await;
    assert_eq!(bed.authorise("a", "tok_webhook_first").await.0, 201);
    assert!(waybill.has_heard());
    assert_eq!(waybill.next().await.body["effect_key"], "a");
    bed.stop().await;
}

#[tokio::test]
async fn webhooks_can_come_late_and_in_the_wrong_order() {
    let mut waybill = Waybill::willing().await;
    let bed = Bed::start(Some(&waybill)).await;
    let asked = Instant::now();
    bed.authorise("a", "tok_webhook_late_300").await;
    waybill.next().await;
    assert!(asked.elapsed() >= Duration::from_millis(300));
    bed.book("swift", "b", "webhook_reversed").await;
    assert_eq!(waybill.next_types(2).await, ["shipment.delivered", "shipment.dispatched"]);
    bed.stop().await;
}

#[tokio::test]
async fn webhooks_wait_until_waybill_is_named() {
    let bed = Bed::start(None).await;
    bed.authorise("a", "tok_ok").await;
    let mut waybill = Waybill::willing().await;
    assert!(bed.simulator.set_waybill_url("127.0.0.1:80").is_err());
    bed.simulator.set_waybill_url(&waybill.url).unwrap();
    assert_eq!(waybill.next().await.body["effect_key"], "a");
    bed.stop().await;
}
