//! Sending a plan, against a small front door that answers as Waybill does: keys, refusals, "later".

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{BOUGHT, plan};
use crate::import::{Options, Sent, send};

#[derive(Clone, Default)]
struct Door {
    seen: Arc<Mutex<HashMap<String, (String, Value)>>>,
    busy: Arc<AtomicU64>,
}

async fn answer(State(door): State<Door>, uri: Uri, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let key = headers["idempotency-key"].to_str().expect("it is ASCII").to_owned();
    assert_eq!(headers["waybill-actor"], "service:importer");
    if door.busy.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
        let problem = json!({ "status": 503, "code": "overloaded", "retryable": true });
        return (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "0")], Json(problem)).into_response();
    }
    if body["customer_id"] == "666" {
        let problem = json!({ "status": 422, "code": "rule-violated", "detail": "no", "retryable": false });
        return (StatusCode::UNPROCESSABLE_ENTITY, Json(problem)).into_response();
    }
    door.seen.lock().expect("nobody panics").insert(key, (uri.path().into(), body));
    let order_id = (uri.path() == "/v1/orders").then(|| Uuid::from_u128(1));
    (StatusCode::CREATED, Json(json!({ "version": 1, "position": "main:1", "order_id": order_id }))).into_response()
}

async fn sent(door: &Door, lines: &[&str], open: &[u64]) -> Sent {
    sent_and_ended(door, lines, open, "completed").await
}

/// `ending`: how all orders end.
async fn sent_and_ended(door: &Door, lines: &[&str], open: &[u64], ending: &str) -> Sent {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let app = Router::new().fallback(answer).with_state(door.clone());
    let mut server = tokio::task::JoinSet::new();
    server.spawn(async move { axum::serve(listener, app).await });
    let left = Mutex::new(open.iter().copied());
    let settled = async || Ok(left.lock().expect("nobody panics").next().unwrap_or(0));
    let endings = async |orders: &[Uuid]| Ok(BTreeMap::from([(ending.to_owned(), orders.len() as u64)]));
    send(plan(lines), &Options::new(&format!("http://{address}/")), settled, endings, |_, _, _| ())
        .await
        .expect("the door answers")
}

#[tokio::test]
async fn a_plan_goes_through_the_front_door_and_waits_until_all_is_settled() {
    let door = Door::default();
    let lost = "2,85123A,lost,-1,2010-12-01 08:26:00,0.0,,United Kingdom";
    let report = sent(&door, &[BOUGHT, lost], &[1, 1, 0]).await;
    assert!(report.ok(), "{report:?}");
    let seen = door.seen.lock().expect("nobody panics");
    let path = |key: &str| seen.get(key).map(|(path, _)| path.as_str());
    assert_eq!(path("uci:1"), Some("/v1/orders"));
    assert_eq!(path("uci:2:1:main"), Some("/v1/inventory/main/adjustments"));
    assert_eq!(report.accepted.values().sum::<u64>(), 4);
}

#[tokio::test]
async fn an_order_that_was_not_completed_is_no_good_end() {
    for ending in ["cancelled", "needs attention", "under way"] {
        let report = sent_and_ended(&Door::default(), &[BOUGHT], &[], ending).await;
        assert_eq!((report.ended[ending], report.ok()), (1, false), "{report:?}");
    }
}

#[tokio::test]
async fn later_is_tried_again() {
    let door = Door { busy: Arc::new(AtomicU64::new(3)), ..Door::default() };
    let report = sent(&door, &[BOUGHT], &[]).await;
    assert!(report.ok(), "{report:?}");
    assert_eq!(door.seen.lock().expect("nobody panics").len(), 3);
}

#[tokio::test]
async fn what_is_refused_is_listed_with_its_value_and_the_totals_still_agree() {
    let bad = "7,85123A,HOLDER,1,2010-12-01 08:26:00,2.55,666.0,United Kingdom";
    let report = sent(&Door::default(), &[BOUGHT, bad], &[]).await;
    assert!(!report.ok());
    assert!(report.balance);
    assert_eq!(report.refusals, 1);
    assert_eq!(report.refused, ["orders uci:7: 422 rule-violated: no"]);
    assert_eq!(report.accounts.remainders["refused by Waybill: rule-violated"].documents, 1);
    assert_eq!(report.accounts.gross_minor, 1530);
}
