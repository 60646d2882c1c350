//! What is left after the end of the simulator, whichever way it came.

use std::{fs::OpenOptions, io::Write, sync::Arc, time::Duration};

use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::support::{Bed, Waybill, config};
use crate::simulator::{Error, journal::OpenError, start};

#[test]
fn a_simulator_that_is_killed_still_knows_every_effect_it_answered() {
    let ledger_dir = Arc::new(TempDir::new().unwrap());
    let first_life = Runtime::new().unwrap();
    let answered = first_life.block_on(async {
        let bed = Bed::start_in(Arc::clone(&ledger_dir), None).await.unwrap();
        bed.book("swift", "b", "hold").await;
        bed.authorise("voided", "tok_ok").await;
        bed.void("v", "voided").await;
        assert_eq!(bed.authorise("failing", "tok_500_1").await.0, 500);
        assert_eq!(bed.authorise("lost", "tok_timeout_after").await.0, 504);
        bed.authorise("a", "tok_ok").await
    });
    // No shutdown is announced: every task ends where it stands.
    first_life.shutdown_timeout(Duration::from_secs(10));

    Runtime::new().unwrap().block_on(async {
        let bed = Bed::start_in(ledger_dir, None).await.unwrap();
        assert_eq!(bed.authorise("a", "tok_ok").await, answered);
        let line = &bed.ledger("/payments", Some("a")).await[0];
        assert_eq!((&line["applied"], &line["asked"]), (&json!(1), &json!(2)));
        assert_eq!(bed.get("/payments/effects/lost").await.1["status"], "authorised");
        assert_eq!(bed.authorise("failing", "tok_500_1").await.0, 201, "it counts on where it was");
        assert_eq!(bed.capture("c", "voided", 1).await.1["reason"], "voided");
        assert_eq!(bed.cancel("swift", "x", "b").await.0, 201);
        bed.stop().await;
    });
}

#[tokio::test]
async fn a_webhook_that_was_not_taken_is_sent_by_the_next_start_and_one_that_was_is_not() {
    let mut waybill = Waybill::willing().await;
    let bed = Bed::start(None).await;
    bed.authorise("a", "tok_ok").await;
    bed.book("steady", "b", "dispatch_1+no_delivery").await;
    let bed = bed.restart(Some(&waybill)).await;
    let mut types = waybill.next_types(2).await;
    types.sort_unstable();
    assert_eq!(types, ["payment.authorised", "shipment.dispatched"]);

    bed.authorise("c", "tok_ok").await;
    assert_eq!(waybill.next().await.body["effect_key"], "c");
    bed.webhooks_ended("payments.ndjson", 2).await;
    bed.webhooks_ended("carrier-steady.ndjson", 1).await;
    let bed = bed.restart(Some(&waybill)).await;
    bed.authorise("d", "tok_ok").await;
    assert_eq!(waybill.next().await.body["effect_key"], "d");
    bed.stop().await;
}

#[tokio::test]
async fn a_torn_last_line_is_cut_off_and_the_rest_stands() {
    let bed = Bed::start(None).await;
    let answered = bed.authorise("a", "tok_ok").await;
    let ledger_dir = Arc::clone(&bed.ledger_dir);
    bed.stop().await;
    let path = ledger_dir.path().join("payments.ndjson");
    OpenOptions::new().append(true).open(&path).unwrap().write_all(br#"{"answered":{"at":"#).unwrap();
    let bed = Bed::start_in(ledger_dir, None).await.unwrap();
    assert_eq!(bed.authorise("a", "tok_ok").await, answered);
    assert_eq!(bed.authorise("b", "tok_ok").await.0, 201);
    let bed = bed.restart(None).await;
    assert_eq!(bed.ledger("/payments", None).await.len(), 2);
    bed.stop().await;
}

#[tokio::test]
async fn a_broken_line_in_the_middle_stops_the_start_and_is_named() {
    let ledger_dir = Arc::new(TempDir::new().unwrap());
    std::fs::write(ledger_dir.path().join("payments.ndjson"), "nonsense\n").unwrap();
    let refused = Bed::start_in(ledger_dir, None).await.err().unwrap();
    assert!(matches!(refused, Error::Ledger(OpenError::Unreadable { line: 1, .. })), "{refused}");
}

#[tokio::test]
async fn two_simulators_never_share_a_ledger() {
    let bed = Bed::start(None).await;
    let (shutdown, tracker) = (CancellationToken::new(), TaskTracker::new());
    let second = start(config(bed.ledger_dir.path(), None), shutdown.clone(), &tracker).await;
    assert!(matches!(second.err().unwrap(), Error::Ledger(OpenError::InUse { .. })));
    shutdown.cancel();
    bed.stop().await;
}

#[tokio::test]
async fn references_repeat_with_the_seed() {
    let (one, other) = (Bed::start(None).await, Bed::start(None).await);
    other.authorise("z", "tok_ok").await;
    assert_eq!(one.authorise("a", "tok_ok").await, other.authorise("a", "tok_ok").await);
    one.stop().await;
    other.stop().await;
}
