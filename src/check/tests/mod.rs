//! Small logs in memory: a clean one passes, and each kind of breach planted in one is found at its position.

mod log_of;
mod planted;
mod postgres;

use serde_json::{Value, json};

use super::{
    Options, Report,
    findings::{Breach, Note},
    ledger::{self, LedgerLine},
};
use log_of::{LogOf, key};

fn breach<'a>(report: &'a Report, letter: &str) -> Option<&'a Breach> {
    let (_, verdict) = report.invariants.iter().find(|(known, _)| *known == letter).expect("a known letter");
    verdict.first_breach.as_ref()
}

#[test]
fn a_completed_and_an_unwound_order_break_nothing() {
    for log in [LogOf::default(), LogOf::completed(), LogOf::unwound()] {
        let report = log.check();
        assert!(report.ok, "{report:?}");
    }
    assert_eq!(LogOf::completed().check().endings.completed, 1);
    assert_eq!(LogOf::unwound().check().endings.unwound, 1);
}

#[test]
fn a_sound_log_is_sound_up_to_each_of_its_events() {
    for log in [LogOf::completed(), LogOf::unwound()] {
        for count in 0..=log.0.len() {
            let report = log.check_first(count);
            assert!(report.ok, "{count}: {report:?}");
        }
    }
}

#[test]
fn the_json_line_has_the_promised_shape() {
    let line: Value = serde_json::from_str(&LogOf::completed().check().to_json()).expect("it is JSON");
    assert_eq!(line["ok"], json!(true));
    assert_eq!(line["position"], json!(format!("main:{}", LogOf::completed().len())));
    let letters: Vec<_> = line["invariants"].as_object().expect("by letter").keys().cloned().collect();
    assert_eq!(letters, ["E", "M", "O", "P", "S", "T"]);
    assert_eq!(line["invariants"]["M"]["first_breach"], Value::Null);
    assert!(line["invariants"]["S"]["checked"].as_u64().is_some_and(|checked| checked > 0));
}

#[test]
fn an_open_saga_is_a_breach_only_when_all_should_be_settled() {
    let log = LogOf::placed().decided("reserve_stock");
    assert!(log.check().ok);
    assert_eq!(log.check().endings.open, 1);
    let settled = Options { settled: true, ..Options::default() };
    let report = log.fold(&settled).report("main", log.len(), true);
    assert_eq!(breach(&report, "T").and_then(|breach| breach.position), Some(4));
}

#[test]
fn an_authorisation_that_was_voided_unheard_may_still_be_heard_of_after_the_end() {
    let undo = format!("{}/undo", key("authorise_payment"));
    let log = LogOf::placed()
        .decided("authorise_payment")
        .payment("PaymentAuthorisationRequested", "authorise_payment", Some(500))
        .saga("StepUnknown", "authorise_payment", json!({}))
        .undo_decided("authorise_payment", &undo)
        .payment_keyed("VoidRequested", &undo, None)
        .payment_keyed("PaymentVoided", &undo, None)
        .saga("UndoSucceeded", "authorise_payment", json!({}))
        .order("OrderCancelled")
        .saga("FulfilmentUnwound", "", json!({ "reason": "r" }))
        .payment("PaymentAuthorised", "authorise_payment", Some(500));
    let report = log.check();
    assert!(report.ok, "{report:?}");
}

#[test]
fn what_was_never_held_or_booked_is_undone_without_asking_anybody() {
    let undo = format!("{}/undo", key("authorise_payment"));
    let log = LogOf::placed()
        .decided("authorise_payment")
        .payment("PaymentAuthorisationRequested", "authorise_payment", Some(500))
        .payment("PaymentDeclined", "authorise_payment", None)
        .undo_decided("authorise_payment", &undo)
        .payment_keyed("PaymentVoided", &undo, None)
        .saga("UndoSucceeded", "authorise_payment", json!({}))
        .order("OrderCancelled")
        .saga("FulfilmentUnwound", "", json!({ "reason": "r" }));
    let report = log.check();
    assert!(report.ok, "{report:?}");
}

#[test]
fn only_the_range_is_judged_but_all_is_folded() {
    let log = LogOf::captured().payment("PaymentCaptured", "capture_payment", Some(500));
    let before = Options { to: Some(log.len() - 1), ..Options::default() };
    let at = Options { from: Some(log.len()), ..Options::default() };
    assert!(breach(&log.fold(&before).report("main", log.len(), true), "E").is_none());
    assert!(breach(&log.fold(&at).report("main", log.len(), true), "E").is_some());
}

fn entry(kind: &str, step: &str, amount_minor: Option<i64>) -> LedgerLine {
    LedgerLine { kind: kind.into(), effect_key: key(step), parent_key: None, amount_minor, applied: 1 }
}

fn ledger() -> Vec<LedgerLine> {
    vec![
        entry("authorisation", "authorise_payment", Some(500)),
        entry("booking", "book_shipment", None),
        entry("dispatch", "book_shipment/dispatch", None),
        entry("capture", "capture_payment", Some(500)),
    ]
}

fn differences(lines: &[LedgerLine]) -> Vec<Breach> {
    let fold = LogOf::completed().fold(&Options { ledger: Some("there".into()), ..Options::default() });
    let notes = ledger::judge(lines, &fold).into_iter();
    let breaches = notes.filter_map(|note| match note {
        Note::Breach(_, breach) => Some(breach),
        Note::Checked(..) => None,
    });
    breaches.collect()
}

#[test]
fn a_ledger_that_agrees_with_the_log_breaks_nothing() {
    assert_eq!(differences(&ledger()), []);
}

#[test]
fn what_differs_between_the_ledgers_and_the_log_is_found() {
    let mut missing = ledger();
    missing.remove(3);
    assert!(differences(&missing)[0].what.contains("in no ledger"));
    let mut other_amount = ledger();
    other_amount[3].amount_minor = Some(499);
    assert!(differences(&other_amount)[0].what.contains("500 in the log and 499"));
    let mut twice = ledger();
    twice[3].applied = 2;
    assert!(differences(&twice)[0].what.contains("more than once"));
    let mut unknown = ledger();
    unknown.push(entry("capture", "capture_again", Some(500)));
    let found = differences(&unknown);
    assert!(found[0].what.contains("is not in the log"), "{found:?}");
    assert!(found[1].what.contains("charged twice"), "{found:?}");
}
