//! kill -9 of the whole process, at any moment and at each step: what was acknowledged is there, nothing happens twice, and
//! every order comes to its end without a person.

mod points;

use std::{collections::HashSet, os::unix::process::ExitStatusExt};

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::json;

use crate::support::{
    client::{Client, Wish, send},
    eventually::{eventually, holds},
    flow::Flow,
    shop::{PATIENCE, Placed, Plan, Shop, event_types},
};

const SIGABRT: i32 = 6;

/// Like a shop's month in small: some payments are declined, some unclear, some carriers refuse.
fn mixed(number: usize) -> Wish {
    let token = match number % 20 {
        3 => "tok_decline",
        7 => "tok_timeout_after",
        11 => "tok_500_1",
        13 => "tok_answer_twice",
        _ => "tok_ok",
    };
    let service = match number % 10 {
        5 => "refuse_swift",
        _ => "standard",
    };
    Wish::new(token, service).by(&format!("customer-{}", number % 7))
}

/// All that was acknowledged is there, once, and all of it comes to its end.
async fn nothing_lost_nothing_twice(shop: &Shop, placed: &[Placed]) {
    let acknowledged: HashSet<&str> = placed.iter().map(|placed| placed.id.as_str()).collect();
    assert_eq!(acknowledged.len(), placed.len(), "each order has an id of its own");
    let ids = "SELECT substr(stream_id, 7) FROM events WHERE event_type = 'OrderPlaced'";
    let recorded: Vec<String> = sqlx::query_scalar(ids).fetch_all(&mut shop.log().await).await.expect("the log");
    assert_eq!(recorded.len(), placed.len(), "none is there twice");
    assert!(recorded.iter().all(|id| acknowledged.contains(id.as_str())), "what was acknowledged is there");
    shop.check().await;
}

/// Leases that a killed process still holds run out soon.
fn crashing() -> Plan {
    Shop::plan().set("sagas.runner.lease_ms", 500).set("sagas.broker.heartbeat_s", 2)
}

#[tokio::test]
async fn nothing_is_lost_and_nothing_happens_twice_when_it_is_killed_in_the_middle_of_200_orders() {
    const ORDERS: usize = 200;
    /// What 200 orders come to, less the last of it.
    const EVENTS: i64 = 4_500;
    const KILLS: usize = 4;
    let mut shop = crashing().open().await;
    let mut moments: Vec<i64> = { StdRng::seed_from_u64(2).random_iter::<u32>().map(i64::from).take(KILLS).collect() };
    moments.iter_mut().for_each(|moment| *moment = 50 + *moment % EVENTS);
    moments.sort_unstable();
    let placing = Flow::start(&shop.client, "mixed", ORDERS, mixed);
    for moment in &moments {
        eventually(&format!("the log reaches {moment} of {moments:?}"), PATIENCE, async || {
            let head = shop.head().await;
            holds(head >= *moment, || format!("it is at {head}"))
        })
        .await;
        shop.restart().await;
    }
    let placed = placing.placed().await;
    nothing_lost_nothing_twice(&shop, &placed).await;
    shop.stop().await;
}

#[tokio::test]
async fn all_goes_on_where_it_was_after_the_database_was_dumped_and_restored_on_another_server() {
    const ORDERS: usize = 60;
    let mut shop = crashing().open().await;
    let placing = Flow::start(&shop.client, "mixed", ORDERS, mixed);
    eventually("half of the orders are under way", PATIENCE, async || {
        let placed = shop.count("OrderPlaced").await;
        holds(placed >= 30, || format!("{placed} are"))
    })
    .await;
    shop.kill();
    assert!(!shop.open_orders().await.is_empty(), "sagas that have begun here go on there");
    shop.move_database().await;
    let placed = placing.placed().await;
    nothing_lost_nothing_twice(&shop, &placed).await;
    for order in &placed {
        assert_eq!(shop.order_at(order).await["id"], order.id.as_str());
    }
    let checked = shop.command(&["check", "log"]).await;
    assert_eq!(checked.code(), Some(0), "{}\n{}", checked.out, checked.err);
    shop.stop().await;
}

#[tokio::test]
async fn a_standby_takes_over_and_an_owner_that_slept_past_its_lease_does_no_harm() {
    const ORDERS: usize = 60;
    let mut shop = crashing().roles("commands,queries,maintainer").open().await;
    let workers = Some("relay,sagas,payment,inventory,shipping,projector");
    let (mut first, second) = (shop.another(workers), shop.another(workers));
    let placing = Flow::start(&shop.client, "mixed", ORDERS, mixed);
    let completed = async |at_least: i64| {
        eventually(&format!("{at_least} orders are completed"), PATIENCE * 2, async || {
            let completed = shop.count("FulfilmentCompleted").await;
            holds(completed >= at_least, || format!("{completed} are"))
        })
        .await;
    };
    completed(5).await;
    second.pause();
    completed(15).await;
    first.pause();
    second.resume();
    completed(25).await;
    // Both believe to be the owner now.
    first.resume();
    completed(35).await;
    first.kill();
    let placed = placing.placed().await;
    nothing_lost_nothing_twice(&shop, &placed).await;
    drop(second);
    shop.stop().await;
}

/// Starts the process so that it dies at `point`, and sees it die there: the fault did happen. `act` is done until then, again
/// and again; it may fail.
async fn dies_at(shop: &mut Shop, point: &str, act: impl AsyncFn(&Client)) {
    shop.start_doomed(point);
    let client = shop.client.clone();
    let status = eventually(&format!("it dies at {point}"), PATIENCE, async || match shop.waybill().status() {
        Some(status) => Ok(status),
        None => {
            act(&client).await;
            Err("it lives".to_owned())
        }
    })
    .await;
    assert_eq!(status.signal(), Some(SIGABRT), "{point}: {status}");
}

/// Two orders for all the points: once an outcome is recorded, the saga may have decided the next step before the process is dead.
fn apart(points: Vec<String>) -> [Vec<String>; 2] {
    let (after, others) = points.into_iter().partition(|point| point.contains(".after-record."));
    [others, after]
}

/// An order dies at every point on its way, one after the other, and is completed nevertheless.
#[tokio::test]
async fn an_order_is_completed_though_the_process_dies_at_each_step_before_and_after_its_intent_its_effect_and_its_record()
 {
    let points = points::forward();
    assert!(points.len() >= 29, "{points:?}");
    let mut shop = crashing().open().await;
    let wish = Wish::new("tok_webhook_none", "hold");
    let mut placed = Vec::new();
    for (key, points) in ["doomed", "doomed-after"].into_iter().zip(apart(points)) {
        shop.kill();
        let booked =
            points.iter().rposition(|point| point.ends_with(".await_dispatch") || point.ends_with(".book_shipment"));
        let simulator = Client::new(&shop.simulator_url);
        for (index, point) in points.iter().enumerate() {
            dies_at(&mut shop, point, async |client: &Client| {
                let answer = client.try_post("/v1/orders", key, &wish.body()).await;
                let Some(order_id) = answer.ok().and_then(|answer| answer.body["order_id"].as_str().map(str::to_owned))
                else {
                    return;
                };
                // By hand, so that the carrier does not tell of the parcel before the booking is recorded.
                if Some(index) > booked {
                    let booking = json!({ "booking_key": format!("fulfilment/{order_id}/book_shipment/1") });
                    simulator.post("/carriers/swift/dispatch", "none", &booking).await.expect(200);
                }
            })
            .await;
        }
        shop.start().await;
        placed.push(shop.place(key, &wish).await);
        let page = shop.until(&placed[placed.len() - 1].id, "FulfilmentCompleted").await;
        assert_eq!(page["status"], "completed");
    }
    nothing_lost_nothing_twice(&shop, &placed).await;
    shop.stop().await;
}

/// The same on the way back.
#[tokio::test]
async fn an_order_is_unwound_though_the_process_dies_at_each_undo_before_and_after_its_intent_its_effect_and_its_record()
 {
    let points = points::backward();
    assert!(points.len() >= 16, "{points:?}");
    let mut shop = crashing().open().await;
    let mut placed = Vec::new();
    for (key, points) in ["undone", "undone-after"].into_iter().zip(apart(points)) {
        let order = shop.place(key, &Wish::new("tok_webhook_none", "hold")).await;
        shop.until(&order.id, "ShipmentBooked").await;
        shop.kill();
        let (path, body) = (format!("/v1/orders/{}/cancel", order.id), json!({ "reason": "changed my mind" }));
        for point in &points {
            dies_at(&mut shop, point, async |client: &Client| {
                client.try_post(&path, key, &body).await.ok();
            })
            .await;
        }
        shop.start().await;
        shop.client.post(&path, key, &body).await.expect(202);
        let page = shop.until(&order.id, "FulfilmentUnwound").await;
        let ends = (page["status"].as_str(), page["payments"][0]["status"].as_str());
        assert_eq!(ends, (Some("cancelled"), Some("voided")));
        placed.push(order);
    }
    nothing_lost_nothing_twice(&shop, &placed).await;
    shop.stop().await;
}

/// What is not the saga's: the append, the relay's lanes, the projections.
#[tokio::test]
async fn an_order_is_completed_though_the_process_dies_in_the_log_the_relay_and_the_projections() {
    let mut shop = crashing().open().await;
    let mut placed = Vec::new();
    for point in [
        "append.before-answer",
        "relay.after-send",
        "relay-commands",
        "relay-facts",
        "projections::between_shards_and_head",
        "projections::before_index_commit",
    ] {
        shop.kill();
        dies_at(&mut shop, point, async |client: &Client| {
            client.try_post("/v1/orders", point, &Wish::new("tok_ok", "standard").body()).await.ok();
        })
        .await;
        shop.start().await;
        // Unknown at first; the same key tells.
        placed.push(Shop::place_stubbornly(&shop.client, point, &Wish::new("tok_ok", "standard")).await);
    }
    for order in &placed {
        shop.until(&order.id, "FulfilmentCompleted").await;
    }
    let request = shop.client.request(reqwest::Method::GET, "/v1/orders?status=completed");
    eventually("the index finds them all", PATIENCE, async || {
        let found = send(request.try_clone().expect("no body")).await.expect("an answer");
        holds(found.body["total"] == placed.len(), || found.text)
    })
    .await;
    nothing_lost_nothing_twice(&shop, &placed).await;
    shop.stop().await;
}

#[tokio::test]
async fn a_rebuild_that_dies_before_the_switch_goes_on_where_it_was() {
    let mut shop = crashing().open().await;
    let placed = shop.place("rebuilt", &Wish::new("tok_ok", "standard")).await;
    shop.until(&placed.id, "FulfilmentCompleted").await;
    for name in ["order-view", "order-index"] {
        let died = shop.command_with(&["rebuild", name], &[("FAILPOINTS", "projections::before_switch=return")]).await;
        assert_eq!(died.status.signal(), Some(SIGABRT), "{died:?}");
        let page = shop.client.get(&format!("/v1/orders/{}", placed.id)).await.expect(200);
        assert!(event_types(&page.body).contains(&"FulfilmentCompleted".to_owned()), "the live one answers");
        let rebuilt = shop.command(&["rebuild", name, "--json"]).await;
        assert_eq!(rebuilt.code(), Some(0), "{rebuilt:?}");
        assert_eq!(rebuilt.json()["equal"], true, "{rebuilt:?}");
    }
    shop.stop().await;
}
