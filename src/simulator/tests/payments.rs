//! Authorise, capture, void, refund; and each script of a token.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::{Bed, HANG, authorisation};

#[tokio::test]
async fn a_payment_is_authorised_captured_and_refunded_up_to_its_amount() {
    let bed = Bed::start(None).await;
    let (code, authorised) = bed.authorise("a", "tok_ok").await;
    assert_eq!((code, &authorised["status"]), (201, &json!("authorised")));
    assert_eq!((&authorised["amount_minor"], &authorised["currency"]), (&json!(1000), &json!("EUR")));
    assert!(authorised["reference"].is_string());

    assert_eq!(bed.capture("c-1", "a", 600).await.0, 201);
    let (code, refused) = bed.capture("c-2", "a", 401).await;
    assert_eq!(
        (code, &refused["status"], &refused["reason"]),
        (422, &json!("refused"), &json!("over the authorised amount"))
    );
    assert_eq!(bed.capture("c-3", "a", 400).await.0, 201);

    assert_eq!(bed.refund("r-1", "c-1", 500).await.0, 201);
    let (code, refused) = bed.refund("r-2", "c-1", 101).await;
    assert_eq!((code, &refused["reason"]), (422, &json!("over the captured amount")));
    assert_eq!(bed.refund("r-3", "c-1", 100).await.0, 201);
    bed.stop().await;
}

#[tokio::test]
async fn of_two_refunds_at_once_that_exceed_the_capture_one_is_refused() {
    let bed = Bed::start(None).await;
    bed.authorise("a", "tok_ok").await;
    bed.capture("c", "a", 100).await;
    let (one, other) = tokio::join!(bed.refund("r-1", "c", 60), bed.refund("r-2", "c", 60));
    let mut codes = [one.0, other.0];
    codes.sort_unstable();
    assert_eq!(codes, [201, 422]);
    bed.stop().await;
}

#[tokio::test]
async fn the_same_key_with_the_same_body_gets_the_first_answer_and_one_effect() {
    let bed = Bed::start(None).await;
    let (first, second) = tokio::join!(bed.authorise("a", "tok_ok"), bed.authorise("a", "tok_ok"));
    assert_eq!(first, second);
    let lines = bed.ledger("/payments", Some("a")).await;
    assert_eq!(lines.len(), 1);
    assert_eq!((&lines[0]["applied"], &lines[0]["asked"]), (&json!(1), &json!(2)));
    bed.stop().await;
}

#[tokio::test]
async fn the_same_key_with_another_body_is_refused_and_changes_nothing() {
    let bed = Bed::start(None).await;
    bed.authorise("a", "tok_ok").await;
    let (code, problem) = bed.authorise("a", "tok_decline").await;
    assert_eq!((code, &problem["code"]), (422, &json!("effect_key_reused")));
    let (code, _) = bed.void("a", "a").await;
    assert_eq!(code, 422);
    assert_eq!(bed.get("/payments/effects/a").await.1["status"], "authorised");
    bed.stop().await;
}

#[tokio::test]
async fn a_void_before_its_authorisation_makes_it_come_too_late() {
    let bed = Bed::start(None).await;
    assert_eq!(bed.void("v", "a").await, (201, json!({"effect_key": "v", "status": "voided"})));
    let (code, late) = bed.authorise("a", "tok_ok").await;
    assert_eq!((code, &late["status"]), (409, &json!("voided")));
    assert_eq!(bed.capture("c", "a", 1000).await.1["reason"], "voided");
    let lines = bed.ledger("/payments", None).await;
    assert_eq!(lines.len(), 1, "the tombstone alone: {lines:?}");
    assert_eq!(
        (&lines[0]["kind"], &lines[0]["parent_key"], &lines[0]["amount_minor"]),
        (&json!("void"), &json!("a"), &json!(0))
    );
    bed.stop().await;
}

#[tokio::test]
async fn a_voided_payment_cannot_be_captured_nor_a_captured_one_voided() {
    let bed = Bed::start(None).await;
    bed.authorise("a", "tok_ok").await;
    assert_eq!(bed.void("v", "a").await.0, 201);
    assert_eq!(bed.void("v-again", "a").await.0, 201);
    assert_eq!(bed.capture("c", "a", 1).await.1["reason"], "voided");
    assert_eq!(bed.ledger("/payments", Some("v-again")).await, [] as [Value; 0]);

    bed.authorise("b", "tok_ok").await;
    bed.capture("c-b", "b", 1).await;
    let (code, refused) = bed.void("v-b", "b").await;
    assert_eq!((code, &refused["reason"]), (422, &json!("already captured")));
    bed.stop().await;
}

#[tokio::test]
async fn a_declined_payment_is_remembered_and_moves_nothing() {
    let bed = Bed::start(None).await;
    let declined = json!({"effect_key": "a", "status": "declined", "reason": "insufficient_funds"});
    assert_eq!(bed.authorise("a", "tok_decline_insufficient_funds").await, (402, declined));
    assert_eq!(bed.authorise("b", "tok_decline").await.0, 402);
    let (code, status) = bed.get("/payments/effects/a").await;
    assert_eq!((code, &status["kind"], &status["status"]), (200, &json!("authorisation"), &json!("declined")));
    assert_eq!(bed.capture("c", "a", 1).await.0, 422);
    assert_eq!(bed.ledger("/payments", None).await, [] as [Value; 0]);
    bed.stop().await;
}

#[tokio::test]
async fn a_timeout_before_hangs_once_without_an_effect() {
    let bed = Bed::start(None).await;
    let asked = Instant::now();
    assert_eq!(bed.authorise("a", "tok_timeout_before").await.0, 504);
    assert!(asked.elapsed() >= HANG);
    assert_eq!(bed.get("/payments/effects/a").await.0, 404);
    assert_eq!(bed.authorise("a", "tok_timeout_before").await.0, 201);
    bed.stop().await;
}

#[tokio::test]
async fn a_timeout_after_hangs_once_and_the_status_tells_what_happened() {
    let bed = Bed::start(None).await;
    assert_eq!(bed.authorise("a", "tok_timeout_after").await.0, 504);
    let (code, status) = bed.get("/payments/effects/a").await;
    assert_eq!((code, &status["kind"], &status["status"]), (200, &json!("authorisation"), &json!("authorised")));
    assert_eq!(bed.authorise("a", "tok_timeout_after").await.0, 201);
    assert_eq!(bed.ledger("/payments", Some("a")).await[0]["applied"], 1);
    bed.stop().await;
}

#[tokio::test]
async fn some_failures_have_no_effect_and_end() {
    let bed = Bed::start(None).await;
    for _ in 0..2 {
        assert_eq!(bed.authorise("a", "tok_500_2").await.0, 500);
        assert_eq!(bed.get("/payments/effects/a").await.0, 404);
    }
    assert_eq!(bed.authorise("a", "tok_500_2").await.0, 201);
    bed.stop().await;
}

#[tokio::test]
async fn a_payment_that_never_answers_can_still_be_voided() {
    let bed = Bed::start(None).await;
    for _ in 0..2 {
        assert_eq!(bed.authorise("a", "tok_never").await.0, 504);
    }
    assert_eq!(bed.get("/payments/effects/a").await.0, 404);
    assert_eq!(bed.void("v", "a").await.0, 201);
    bed.stop().await;
}

#[tokio::test]
async fn a_script_can_refuse_and_disturb_each_later_operation() {
    let bed = Bed::start(None).await;
    bed.authorise("a", "tok_refuse_capture+tok_refuse_void").await;
    assert_eq!(bed.capture("c", "a", 1).await.1["reason"], "capture refused");
    assert_eq!(bed.void("v", "a").await.1["reason"], "void refused");

    assert_eq!(bed.authorise("b", "tok_refuse_refund+tok_capture_500_1").await.0, 201);
    assert_eq!(bed.capture("c-b", "b", 9).await.0, 500);
    assert_eq!(bed.capture("c-b", "b", 9).await.0, 201);
    assert_eq!(bed.refund("r-b", "c-b", 9).await.1["reason"], "refund refused");
    bed.stop().await;
}

#[tokio::test]
async fn a_slow_payment_happens_though_the_caller_hangs_up() {
    let bed = Bed::start(None).await;
    let url = format!("http://{}/payments/authorisations", bed.simulator.addr);
    let impatient = reqwest::Client::builder().timeout(Duration::from_millis(50)).build().unwrap();
    let body = authorisation("a", "tok_slow_300").to_string();
    assert!(impatient.post(url).body(body).send().await.unwrap_err().is_timeout());
    assert_eq!(bed.get("/payments/effects/a").await.0, 404);
    let deadline = Instant::now() + Duration::from_secs(10);
    while bed.get("/payments/effects/a").await.0 != 200 {
        assert!(Instant::now() < deadline, "the payment never happened");
    }
    bed.stop().await;
}

#[tokio::test]
async fn a_bad_request_is_told_what_is_wrong_with_it() {
    let bed = Bed::start(None).await;
    let valid = authorisation("a", "tok_ok");
    let with = |field: &str, value: Value| {
        let mut body = valid.clone();
        body[field] = value;
        body.to_string()
    };
    let cases = [
        (with("colour", json!("red")), "unknown field `colour`"),
        (with("amount_minor", json!(-1)), "0 or more"),
        (with("amount_minor", json!(9.5)), "invalid type"),
        (with("currency", json!("euro")), "three capital letters"),
        (with("effect_key", json!("k".repeat(129))), "1 to 128 characters"),
        (with("effect_key", json!("a\nb")), "control characters"),
        ("{".into(), "EOF"),
        (String::new(), "EOF"),
    ];
    for (body, part) in cases {
        let (code, problem) = bed.post_bytes("/payments/authorisations", body).await;
        let detail = problem["detail"].as_str().unwrap();
        assert!(code == 400 && detail.contains(part), "{code} {detail}");
    }
    assert_eq!(bed.post_bytes("/payments/voids", " ".repeat((1 << 20) + 1)).await.0, 413);
    assert_eq!(bed.get("/payments/nothing").await.0, 404);
    assert_eq!(bed.get("/payments/voids").await.0, 405);
    assert_eq!(bed.ledger("/payments", None).await, [] as [Value; 0]);
    bed.stop().await;
}
