//! Every row of the table: success, refusal, deadline, and the customer's wish to stop at each of them.

use events::participant::ParticipantCommand;
use rstest::rstest;

use super::play::{Play, SAGA, happened, order};
use crate::{
    fact::Fact,
    saga::{Class, effect_key},
    state::Phase,
};

#[test]
fn an_order_with_nothing_in_its_way_goes_from_stock_to_completion() {
    let mut play = Play::of(order());
    let words = play.let_it_end();
    let decided: Vec<_> = words.iter().filter(|word| word.ends_with(" 1")).map(String::as_str).collect();
    let rest = ["authorise_payment 1", "confirm_order 1", "book_shipment 1", "await_dispatch 1", "record_shipment 1"];
    let end = ["commit_stock 1", "capture_payment 1", "complete_order 1"];
    assert_eq!(decided, [&rest[..], &end[..]].concat());
    assert_eq!(words.last().map(String::as_str), Some("completed"));
}

#[rstest]
#[case::stock("reserve_stock", &["reserve_stock 1 refused", "cancel_order 1"])]
#[case::money("authorise_payment", &["authorise_payment 1 refused", "undo reserve_stock 1"])]
#[case::the_order("confirm_order", &["confirm_order 1 refused", "undo authorise_payment 1"])]
#[case::capture("capture_payment", &["capture_payment 1 refused", "attention: Forward capture_payment"])]
fn a_refusal_leads_back_before_the_pivot_and_to_a_person_after_it(#[case] step: &str, #[case] expected: &[&str]) {
    let mut play = Play::of(order()).until(step);
    assert_eq!(play.refused(), expected);
}

#[test]
fn a_refused_effect_is_not_undone() {
    let mut play = Play::of(order()).until("authorise_payment");
    play.refused();
    let words = play.let_it_end();
    assert_eq!(words, ["reserve_stock 1 undone", "cancel_order 1", "cancel_order 1 done", "unwound"]);
}

#[test]
fn a_carrier_that_refuses_is_followed_by_the_next_and_then_by_a_person() {
    let mut play = Play::of(order()).until("book_shipment");
    assert_eq!(play.refused(), ["book_shipment 1 refused", "book_shipment 2"]);
    assert_eq!(play.refused(), ["book_shipment 2 refused", "attention: Forward book_shipment"]);
    assert_eq!(play.cancelled(), ["undo authorise_payment 1"], "a person may cancel");
    assert_eq!(play.let_it_end().last().map(String::as_str), Some("unwound"));
}

#[test]
fn an_unwinding_saga_touches_what_the_last_carrier_booked_and_nothing_else() {
    let mut play = Play::of(order()).until("book_shipment");
    play.refused();
    play.done();
    assert_eq!(play.cancelled(), ["undo book_shipment 2"]);
}

#[test]
fn every_deadline_before_the_pivot_undoes_what_may_have_happened() {
    for step in SAGA.steps.iter().filter(|step| step.class == Class::Compensatable) {
        let mut play = Play::of(order()).until(step.name);
        let undo = format!("undo {} 1", step.name);
        assert_eq!(play.overdue(), [format!("{} 1 unknown", step.name), undo]);
        play.let_it_end();
        assert!(play.said("unwound"), "{} ends open", step.name);
    }
}

#[test]
fn every_deadline_from_the_pivot_on_tells_a_person_once_and_a_late_answer_heals_it() {
    for step in SAGA.steps.iter().filter(|step| step.class != Class::Compensatable) {
        let mut play = Play::of(order()).until(step.name);
        let attention = format!("attention: Forward {}", step.name);
        assert_eq!(play.overdue(), [format!("{} 1 unknown", step.name), attention]);
        let again = play.overdue();
        assert!(again.iter().all(|word| word.contains("sent again")), "{again:?}");
        assert_eq!(play.let_it_end().last().map(String::as_str), Some("completed"), "{}", step.name);
    }
}

#[test]
fn an_undo_is_sent_for_ever_and_a_person_is_told_once() {
    let mut play = Play::of(order()).until("authorise_payment");
    play.cancelled();
    assert_eq!(play.overdue(), ["authorise_payment 1 unknown", "attention: Undo authorise_payment"]);
    for attempt in 2..40 {
        play.now = play.open().resend_at.expect("it is sent again");
        let now = play.now;
        assert_eq!(play.hear(&Fact::TimePassed(now)), [format!("authorise_payment sent again: {attempt}")]);
    }
    play.let_it_end();
    assert!(play.said("unwound"));
}

#[rstest]
#[case("reserve_stock", &["undo reserve_stock 1"])]
#[case("authorise_payment", &["undo authorise_payment 1"])]
#[case("confirm_order", &["undo authorise_payment 1"])]
#[case("book_shipment", &["undo book_shipment 1"])]
#[case("await_dispatch", &["undo book_shipment 1"])]
#[case("record_shipment", &[])]
#[case("commit_stock", &[])]
#[case("capture_payment", &[])]
#[case("complete_order", &[])]
fn a_customer_may_cancel_until_the_parcel_leaves(#[case] step: &str, #[case] expected: &[&str]) {
    let mut play = Play::of(order()).until(step);
    assert_eq!(play.cancelled(), expected);
    assert_eq!(play.cancelled(), [""; 0], "asking twice changes nothing");
    play.let_it_end();
    let end = if expected.is_empty() { "completed" } else { "unwound" };
    assert!(play.said(end));
}

#[test]
fn every_step_has_a_case_for_the_customers_cancellation() {
    let mut steps: Vec<_> = SAGA.steps.iter().map(|step| step.name).collect();
    for step in ["reserve_stock", "authorise_payment", "confirm_order", "book_shipment", "await_dispatch"]
        .into_iter()
        .chain(["record_shipment", "commit_stock", "capture_payment", "complete_order"])
    {
        steps.retain(|name| *name != step);
    }
    assert!(steps.is_empty(), "add cases for {steps:?} to the test above");
}

#[test]
fn a_cancellation_that_the_carrier_refuses_lets_the_saga_go_on() {
    let mut play = Play::of(order()).until("await_dispatch");
    play.cancelled();
    assert_eq!(play.refused(), ["await_dispatch 2"]);
    assert_eq!(play.state.phase, Phase::Forward);
    assert_eq!(play.cancelled(), [""; 0], "what the carrier refused is not asked for again");
    assert_eq!(play.let_it_end().last().map(String::as_str), Some("completed"));
}

#[rstest]
#[case::while_it_is_being_cancelled("await_dispatch", true, &["await_dispatch 2", "await_dispatch 2 done", "record_shipment 1"])]
#[case::before_the_carrier_has_answered("book_shipment", false, &["book_shipment 1 done", "await_dispatch 1", "await_dispatch 1 done", "record_shipment 1"])]
fn a_parcel_that_has_left_is_booked_and_not_cancelled(
    #[case] step: &str,
    #[case] cancelled: bool,
    #[case] expected: &[&str],
) {
    let mut play = Play::of(order()).until(step);
    if cancelled {
        play.cancelled();
    }
    let booking = effect_key(order().order_id, "book_shipment", 1);
    assert_eq!(play.hear(&happened("ShipmentDispatched", Some(booking))), expected);
}

#[test]
fn a_refused_void_is_never_done_and_waits_for_a_person() {
    let mut play = Play::of(order()).until("confirm_order");
    play.cancelled();
    assert_eq!(play.refused(), ["attention: Undo authorise_payment"]);
    assert_eq!(play.state.open, None);
    assert_eq!(play.cancelled(), [""; 0]);
    assert!(!play.said("unwound"));
}

#[test]
fn an_order_of_services_needs_no_shelf_and_no_carrier() {
    let mut play = Play::of(events::fulfilment::FulfilmentStarted { lines: vec![], ..order() });
    play.let_it_end();
    assert!(play.said("completed"));
    assert!(!play.said("reserve_stock 1") && !play.said("book_shipment 1") && play.said("capture_payment 1"));
}

#[test]
fn nobody_is_asked_to_authorise_nothing() {
    let mut free = order();
    free.total.amount_minor = 0;
    let mut play = Play::of(free);
    play.let_it_end();
    assert!(play.said("completed") && !play.said("authorise_payment 1") && !play.said("capture_payment 1"));
}

#[test]
fn an_order_that_answers_silently_is_as_good_as_one_that_records_an_event() {
    let mut play = Play::of(order()).until("complete_order");
    let command_id = play.open().command_id;
    assert_eq!(play.hear(&Fact::Answered { command_id, outcome: Ok(()) }), ["complete_order 1 done", "completed"]);
    let mut play = Play::of(order()).until("record_shipment");
    let command_id = play.open().command_id;
    let no = Fact::Answered { command_id, outcome: Err("the order is cancelled".into()) };
    assert_eq!(play.hear(&no), ["record_shipment 1 refused", "attention: Forward record_shipment"]);
}

#[test]
fn a_fact_of_another_effect_answers_nothing() {
    let mut play = Play::of(order()).until("authorise_payment");
    let other = effect_key(order().order_id, "authorise_payment", 2);
    assert_eq!(play.hear(&happened("PaymentAuthorised", Some(other))), [""; 0]);
    assert_eq!(play.hear(&happened("StockReserved", play.open().key.clone())), [""; 0]);
}

#[test]
fn a_saga_that_breaks_the_engine_is_given_to_a_person_once() {
    let mut play = Play::of(order()).until("authorise_payment");
    let broken = Fact::Broken("quarantined".into());
    assert_eq!(play.hear(&broken), ["attention: Forward authorise_payment"]);
    assert_eq!(play.hear(&broken), [""; 0]);
}

#[test]
fn an_undo_that_is_refused_after_its_deadline_is_not_sent_again() {
    let mut play = Play::of(order()).until("confirm_order");
    play.cancelled();
    play.overdue();
    assert_eq!(play.refused(), ["attention: Undo authorise_payment"]);
    assert_eq!(play.state.open, None);
}

#[test]
fn who_cancels_after_a_trouble_cancels_not_because_of_it() {
    let mut play = Play::of(order()).until("book_shipment");
    play.overdue();
    play.cancelled();
    while play.waits_for() != Some("cancel_order") {
        play.done();
    }
    let reason = |play: &Play| match play.open().command.as_deref() {
        Some(ParticipantCommand::CancelOrder { reason, .. }) => reason.clone(),
        Some(_) | None => String::new(),
    };
    assert_eq!(reason(&play), "cancelled on request");
    let mut play = Play::of(order()).until("authorise_payment");
    play.overdue();
    while play.waits_for() != Some("cancel_order") {
        play.done();
    }
    assert_eq!(reason(&play), "authorise_payment was not answered in time");
}
