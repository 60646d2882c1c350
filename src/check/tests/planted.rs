//! One breach planted in each log: it is found, by its letter, at its position.

use chrono::TimeDelta;
use serde_json::json;
use uuid::Uuid;

use super::{
    breach,
    log_of::{LogOf, key, pence, pieces},
};
use crate::check::Options;

/// The first breach of `letter` stands at `position` and says `words`.
#[track_caller]
fn assert_breach(log: &LogOf, letter: &str, position: i64, words: &str) {
    let report = log.check();
    let found = breach(&report, letter).unwrap_or_else(|| panic!("no breach of {letter}: {report:?}"));
    assert_eq!(found.position, Some(position), "{found:?}");
    assert!(found.what.contains(words), "{found:?}");
    assert!(!report.ok);
}

// --- O ---

#[test]
fn a_hole_in_the_positions_is_found() {
    let mut log = LogOf::completed();
    log.0.remove(6);
    assert_breach(&log, "O", 8, "position 8 follows 6");
}

#[test]
fn a_hole_in_a_stream_is_found() {
    let mut log = LogOf::completed();
    log.0[4].stream_version += 1;
    assert_breach(&log, "O", 5, "version 3 of inventory-main follows 1");
}

#[test]
fn time_that_runs_backwards_is_found() {
    let mut log = LogOf::completed();
    log.0[9].recorded_at -= TimeDelta::hours(1);
    assert_breach(&log, "O", 10, "before its predecessor");
}

#[test]
fn an_event_that_the_check_does_not_know_is_not_skipped() {
    assert_breach(&LogOf::placed().order("OrderTeleported"), "O", 4, "OrderTeleported");
}

#[test]
fn a_log_that_ends_early_is_found() {
    let log = LogOf::completed();
    let mut fold = log.fold(&Options::default());
    fold.ends_at(log.len() + 1);
    assert!(breach(&fold.report("main", log.len() + 1, true), "O").is_some());
}

// --- S ---

#[test]
fn selling_what_is_not_there_is_found() {
    let log = LogOf::placed().decided("reserve_stock").stock("StockReserved", pieces(11));
    assert_breach(&log, "S", 5, "available -1");
}

#[test]
fn writing_off_what_is_held_is_found() {
    let adjusted = json!({ "location": "main", "sku": "A", "delta": -9, "reason": "lost" });
    let log = LogOf::authorised().then("inventory-main", "StockAdjusted", adjusted);
    assert_breach(&log, "S", 11, "on hand 1, reserved 2");
}

#[test]
fn a_second_release_is_found() {
    let log = LogOf::voided()
        .undo_decided("reserve_stock", &key("reserve_stock"))
        .stock("StockReleased", pieces(2))
        .stock("StockReleased", pieces(2));
    assert_breach(&log, "S", log.len(), "released and was released before");
    assert_breach(&log, "E", log.len(), "applied again");
}

#[test]
fn committing_what_was_released_is_found() {
    let log = LogOf::voided().stock("StockReleased", pieces(2)).stock("StockCommitted", pieces(2));
    assert_breach(&log, "S", log.len(), "committed and was released before");
}

#[test]
fn committing_other_pieces_than_were_reserved_is_found() {
    let log = LogOf::booked().stock("StockCommitted", pieces(1));
    assert_breach(&log, "S", log.len(), "other pieces");
}

#[test]
fn a_reservation_after_its_tombstone_is_found() {
    let log =
        LogOf::placed().decided("reserve_stock").stock("StockReleased", json!([])).stock("StockReserved", pieces(2));
    assert_breach(&log, "S", 6, "reserved and was tombstone before");
}

#[test]
fn pieces_that_stay_reserved_after_the_end_are_found() {
    let log = LogOf::voided().order("OrderCancelled").saga("FulfilmentUnwound", "", json!({ "reason": "r" }));
    assert_breach(&log, "S", log.len(), "still reserved");
}

// --- M ---

#[test]
fn an_order_that_is_not_the_sum_of_its_lines_is_found() {
    let mut log = LogOf::placed();
    let wrong = log.0[1].payload.replace("\"total\":{\"amount_minor\":500", "\"total\":{\"amount_minor\":499");
    log.0[1].payload = wrong.replacen("499", "500", 1);
    assert_breach(&log, "M", 2, "of 499 has 1 lines of together 500");
}

#[test]
fn capturing_more_than_was_authorised_is_found() {
    let log = LogOf::booked()
        .decided("capture_payment")
        .payment("CaptureRequested", "capture_payment", Some(501))
        .payment("PaymentCaptured", "capture_payment", Some(501));
    assert_breach(&log, "M", log.len(), "501 captured, authorised 500");
}

#[test]
fn refunding_more_than_was_captured_is_found() {
    let log = LogOf::captured()
        .decided("refund_payment")
        .payment("RefundRequested", "refund_payment", Some(600))
        .payment("PaymentRefunded", "refund_payment", Some(600));
    assert_breach(&log, "M", log.len(), "600 refunded, captured 500");
}

#[test]
fn completing_an_order_that_is_not_paid_is_found() {
    let log = LogOf::booked().order("OrderCompleted");
    assert_breach(&log, "M", log.len(), "completed with 0 captured");
}

#[test]
fn money_in_another_currency_is_found() {
    let mut log = LogOf::authorised();
    log.0[8].payload = log.0[8].payload.replace("GBP", "EUR");
    assert_breach(&log, "M", 9, "500 EUR");
}

#[test]
fn money_that_is_held_for_an_unwound_order_is_found() {
    let log = LogOf::authorised()
        .undo_decided("reserve_stock", &key("reserve_stock"))
        .stock("StockReleased", pieces(2))
        .saga("UndoSucceeded", "reserve_stock", json!({}))
        .order("OrderCancelled")
        .saga("FulfilmentUnwound", "", json!({ "reason": "r" }));
    assert_breach(&log, "M", log.len(), "authorised 500, captured 0");
}

// --- T ---

#[test]
fn a_saga_that_waits_without_a_deadline_is_found() {
    let log = LogOf::placed().decided("reserve_stock").stock("StockReserved", pieces(2)).succeeded("reserve_stock");
    assert_breach(&log, "T", log.len(), "without a deadline");
}

#[test]
fn needing_attention_with_a_named_step_is_no_breach_and_without_is_one() {
    let attention =
        |step: &str| LogOf::placed().saga("NeedsAttention", step, json!({ "direction": "forward", "reason": "r" }));
    assert_eq!(attention("book_shipment").check().endings.needs_attention, 1);
    assert!(attention("book_shipment").check().ok);
    assert_breach(&attention(""), "T", 4, "which step");
}

#[test]
fn an_order_whose_saga_was_forgotten_is_found() {
    let other = Uuid::from_u128(9);
    let line = json!({ "sku": "A", "quantity": 1, "unit_price": pence(1), "total": pence(1) });
    let placed = json!({ "order_id": other, "lines": [line], "total": pence(1) });
    let started = json!({ "order_id": other });
    let decided = json!({ "order_id": other, "step": "s", "occurrence": 1, "deadline_at": "2026-01-01T00:00:00Z" });
    let saga = format!("fulfilment-{other}");
    let mut log = LogOf::placed()
        .without("FulfilmentStarted")
        .then(&format!("order-{other}"), "OrderPlaced", placed)
        .then(&saga, "FulfilmentStarted", started)
        .then(&saga, "StepDecided", decided);
    assert!(log.check().ok, "a second later is no delay");
    for row in &mut log.0[2..] {
        row.recorded_at += TimeDelta::minutes(2);
    }
    assert_breach(&log, "T", 2, "no saga, later ones have");
}

#[test]
fn a_saga_and_an_order_that_end_differently_are_found() {
    let log = LogOf::captured().order("OrderCompleted").saga("FulfilmentUnwound", "", json!({ "reason": "r" }));
    assert_breach(&log, "T", log.len(), "is Unwound and the order is Completed");
}

#[test]
fn an_end_while_an_undo_is_open_is_found() {
    let log = LogOf::authorised().undo_decided("authorise_payment", &key("void")).saga(
        "FulfilmentUnwound",
        "",
        json!({ "reason": "r" }),
    );
    assert_breach(&log, "T", log.len(), "waits for the undo of authorise_payment");
}

#[test]
fn what_follows_the_end_is_found() {
    let log = LogOf::completed().decided("book_shipment");
    assert_breach(&log, "T", log.len(), "goes on after its end");
    let log = LogOf::completed().order("OrderCancelled");
    assert_breach(&log, "T", log.len(), "after its end");
}

// --- E ---

#[test]
fn an_effect_before_its_intent_is_found() {
    let log = LogOf::completed().without("CaptureRequested");
    assert_breach(&log, "E", 20, "comes before its intent");
}

#[test]
fn an_effect_that_no_saga_decided_on_is_found() {
    let log = LogOf::placed().stock("StockReserved", pieces(2));
    assert_breach(&log, "E", 4, "decided on by no saga");
}

#[test]
fn an_effect_that_is_applied_twice_is_found() {
    let log = LogOf::captured().payment("PaymentCaptured", "capture_payment", Some(500));
    assert_breach(&log, "E", log.len(), "has a second Capture");
    let log = LogOf::completed().payment("PaymentCaptured", "capture_payment", Some(500));
    assert_breach(&log, "E", log.len(), "after its order was closed");
}

#[test]
fn an_authorisation_after_its_tombstone_is_found() {
    let undo = format!("{}/undo", key("authorise_payment"));
    let log = LogOf::placed()
        .decided("authorise_payment")
        .undo_decided("authorise_payment", &undo)
        .payment_keyed("VoidRequested", &undo, None)
        .payment_keyed("PaymentVoided", &undo, None)
        .payment("PaymentAuthorisationRequested", "authorise_payment", Some(500))
        .payment("PaymentAuthorised", "authorise_payment", Some(500));
    assert_breach(&log, "E", log.len(), "after it was undone");
}

#[test]
fn a_command_with_two_outcomes_is_found() {
    let mut log = LogOf::placed().order("OrderConfirmed").order("OrderConfirmed");
    log.0[4].metadata = log.0[3].metadata.clone();
    assert_breach(&log, "E", 5, "has a second OrderConfirmed");
}
