//! Book, dispatch, deliver, cancel; and each script of a service.

use serde_json::{Value, json};

use super::support::{Bed, Waybill};

#[tokio::test]
async fn a_standard_parcel_is_dispatched_and_delivered_by_itself() {
    let mut waybill = Waybill::willing().await;
    let bed = Bed::start(Some(&waybill)).await;
    let (code, booked) = bed.book("swift", "b", "standard").await;
    assert_eq!((code, &booked["status"]), (201, &json!("booked")));

    let dispatched = waybill.next().await;
    assert_eq!(dispatched.path, "/v1/webhooks/carrier");
    assert_eq!(dispatched.body["type"], "shipment.dispatched");
    assert_eq!(dispatched.body["shipment_id"], "shipment-1");
    assert_eq!(dispatched.body["booking_key"], "b");
    assert_eq!(dispatched.body["tracking"], booked["tracking"]);
    assert_eq!(waybill.next_types(1).await, ["shipment.delivered"]);

    let (code, refused) = bed.cancel("swift", "x", "b").await;
    assert_eq!((code, &refused["reason"]), (422, &json!("already dispatched")));
    let (code, status) = bed.get("/carriers/swift/effects/b").await;
    assert_eq!((code, &status["kind"], &status["tracking"]), (200, &json!("booking"), &booked["tracking"]));
    bed.stop().await;
}

#[tokio::test]
async fn a_held_parcel_waits_for_a_hand_and_can_be_cancelled_before() {
    let mut waybill = Waybill::willing().await;
    let bed = Bed::start(Some(&waybill)).await;
    for key in ["b-1", "b-2"] {
        assert_eq!(bed.book("swift", key, "hold+no_delivery").await.0, 201);
    }
    assert_eq!(bed.cancel("swift", "x", "b-1").await, (201, json!({"effect_key": "x", "status": "cancelled"})));
    assert_eq!(bed.post("/carriers/swift/dispatch", &json!({"booking_key": "b-1"})).await.0, 409);
    assert_eq!(bed.post("/carriers/swift/dispatch", &json!({"booking_key": "b-0"})).await.0, 404);
    assert!(!waybill.has_heard());

    for _ in 0..2 {
        let (code, dispatched) = bed.post("/carriers/swift/dispatch", &json!({"booking_key": "b-2"})).await;
        assert_eq!((code, &dispatched["status"]), (200, &json!("dispatched")));
    }
    assert_eq!(waybill.next().await.body["booking_key"], "b-2");
    let lines = bed.ledger("/carriers/swift", None).await;
    let told: Vec<_> = lines.iter().map(|line| (&line["kind"], &line["dispatched"], &line["applied"])).collect();
    let [booking, cancellation] = [json!("booking"), json!("cancellation")];
    let (no, yes, once) = (json!(false), json!(true), json!(1));
    assert_eq!(told, [(&booking, &no, &once), (&booking, &yes, &once), (&cancellation, &no, &once)]);
    bed.stop().await;
}

#[tokio::test]
async fn a_parcel_that_leaves_later_can_be_cancelled_until_then() {
    let mut waybill = Waybill::willing().await;
    let bed = Bed::start(Some(&waybill)).await;
    bed.book("swift", "far", "dispatch_600000").await;
    assert_eq!(bed.cancel("swift", "x", "far").await.0, 201);
    bed.book("swift", "near", "dispatch_50+no_delivery").await;
    assert_eq!(waybill.next().await.body["booking_key"], "near");
    bed.stop().await;
}

#[tokio::test]
async fn a_cancellation_before_its_booking_makes_it_come_too_late() {
    let bed = Bed::start(None).await;
    assert_eq!(bed.cancel("swift", "x", "b").await.0, 201);
    let (code, late) = bed.book("swift", "b", "standard").await;
    assert_eq!((code, &late["status"]), (409, &json!("cancelled")));
    assert_eq!(bed.book("steady", "b", "hold").await.0, 201, "another carrier knows nothing of it");
    bed.stop().await;
}

#[tokio::test]
async fn a_service_can_be_refused_by_one_carrier_or_by_all() {
    let bed = Bed::start(None).await;
    let (code, refused) = bed.book("swift", "b", "refuse_swift").await;
    assert_eq!((code, &refused["status"]), (422, &json!("refused")));
    assert_eq!(bed.book("steady", "b", "refuse_swift").await.0, 201);
    assert_eq!(bed.book("swift", "c", "refuse_all").await.0, 422);
    assert_eq!(bed.book("steady", "c", "refuse_all").await.0, 422);
    assert_eq!(bed.book("sloth", "c", "standard").await.1["code"], "unknown_carrier");
    assert_eq!(bed.ledger("/carriers/swift", None).await, [] as [Value; 0]);
    bed.stop().await;
}

#[tokio::test]
async fn a_booking_may_time_out_before_or_after_its_effect_or_fail_for_a_while() {
    let bed = Bed::start(None).await;
    assert_eq!(bed.book("swift", "before", "hold+timeout_before").await.0, 504);
    assert_eq!(bed.get("/carriers/swift/effects/before").await.0, 404);
    assert_eq!(bed.book("swift", "before", "hold+timeout_before").await.0, 201);

    assert_eq!(bed.book("swift", "after", "hold+timeout_after").await.0, 504);
    assert_eq!(bed.get("/carriers/swift/effects/after").await.1["status"], "booked");

    assert_eq!(bed.book("swift", "fails", "hold+500_1").await.0, 500);
    assert_eq!(bed.book("swift", "fails", "hold+500_1").await.0, 201);
    bed.stop().await;
}

#[tokio::test]
async fn a_cancellation_can_be_disturbed_and_refused() {
    let bed = Bed::start(None).await;
    bed.book("swift", "b", "hold+cancel_timeout_after").await;
    assert_eq!(bed.cancel("swift", "x", "b").await.0, 504);
    assert_eq!(bed.get("/carriers/swift/effects/x").await.1["status"], "cancelled");
    bed.book("swift", "c", "hold+refuse_cancel").await;
    assert_eq!(bed.cancel("swift", "y", "c").await.0, 422);
    bed.stop().await;
}
