//! Each server away in its turn: what still works does, and the rest says so at once, with what to do about it.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{
    client::{Answer, Wish},
    eventually::{eventually, holds},
    shop::{PATIENCE, Placed, Shop},
};

/// Says "later", in a way that a program understands.
#[track_caller]
fn later(answer: &Answer, code: &str) {
    assert_eq!((answer.status, answer.code()), (503, code), "{}", answer.text);
    assert_eq!(answer.body["retryable"], true, "{}", answer.text);
    let after: Option<u64> = answer.header("retry-after").and_then(|seconds| seconds.parse().ok());
    assert!(after.is_some_and(|seconds| (1..=60).contains(&seconds)), "no Retry-After: {answer:?}");
}

fn wish() -> Wish {
    Wish::new("tok_ok", "standard")
}

async fn is_completed(shop: &Shop, placed: &Placed) -> Value {
    shop.until(&placed.id, "FulfilmentCompleted").await
}

#[tokio::test]
async fn without_rabbitmq_orders_are_accepted_and_wait() {
    let mut shop = Shop::plan().private_rabbitmq().open().await;
    shop.servers.rabbitmq().stop().await.expect("it stops");
    let placed = shop.place("waits", &wish()).await;
    let page = shop.until(&placed.id, "StepDecided").await;
    assert_eq!(page["fulfilment"]["waiting_for"], "the stock to be reserved");
    // A process that starts meanwhile accepts orders as well.
    shop.kill();
    let mut waybill = shop.another(None);
    waybill.says("Waybill answers at", PATIENCE).await;
    let second = shop.place("waits-too", &wish()).await;
    shop.servers.rabbitmq().start().await.expect("it comes back");
    is_completed(&shop, &placed).await;
    is_completed(&shop, &second).await;
    shop.check().await;
    assert!(waybill.terminate(PATIENCE).await.success());
}

#[tokio::test]
async fn without_redis_the_order_page_is_folded_from_the_log_and_lists_say_later() {
    let mut shop = Shop::plan().private_redis().open().await;
    let before = shop.place("before", &wish()).await;
    is_completed(&shop, &before).await;
    shop.servers.redis().kill().await.expect("it can be killed");
    let during = shop.place("during", &wish()).await;
    for placed in [&before, &during] {
        let page = shop.client.get_at(&format!("/v1/orders/{}", placed.id), &placed.position).await.expect(200);
        assert_eq!(page.header("waybill-degraded"), Some("order-view"));
        assert_eq!(page.body["id"], placed.id.as_str());
    }
    let page = eventually("the order is completed, as its log tells", PATIENCE, async || {
        let page = shop.client.get(&format!("/v1/orders/{}", during.id)).await;
        holds(page.body["status"] == "completed", || page.text.clone()).map(|()| page)
    })
    .await;
    let unknown = shop.client.get("/v1/orders/0192f0c1-0000-7000-8000-000000000001").await.expect(404);
    assert_eq!(unknown.code(), "not-found", "not there is not the same as not known");
    for path in ["/v1/customers/anna/orders", "/v1/products/mug", "/v1/inventory/mug"] {
        later(&shop.client.get(path).await, "view-unavailable");
    }
    shop.client.get("/v1/products?q=mug").await.expect(200);
    shop.servers.redis().start().await.expect("it comes back, empty");
    eventually("the page comes from its view again", PATIENCE, async || {
        let again = shop.client.get(&format!("/v1/orders/{}", during.id)).await;
        holds(again.status == 200 && again.header("waybill-degraded").is_none(), || again.text.clone())?;
        assert_eq!(again.body["timeline"], page.body["timeline"], "folded or read, it is the same page");
        Ok(())
    })
    .await;
    shop.check().await;
    shop.stop().await;
}

#[tokio::test]
async fn without_postgres_commands_say_later_and_reads_go_on() {
    let mut shop = Shop::plan().private_postgres().open().await;
    let before = shop.place("before", &wish()).await;
    is_completed(&shop, &before).await;
    for fault in ["killed", "paused"] {
        let postgres = shop.servers.postgres();
        if fault == "killed" {
            postgres.kill().await.expect("it can be killed");
        } else {
            postgres.pause();
        }
        let asked = Instant::now();
        let refused = shop.client.post("/v1/orders", fault, &wish().body()).await;
        assert!(["log-unavailable", "outcome-unknown", "overloaded"].contains(&refused.code()), "{refused:?}");
        later(&refused, refused.code());
        assert!(asked.elapsed() < Duration::from_secs(17), "{fault}: {:?}", asked.elapsed());
        shop.client.get(&format!("/v1/orders/{}", before.id)).await.expect(200);
        shop.client.get("/v1/customers/anna/orders").await.expect(200);
        shop.client.get("/v1/products?q=mug").await.expect(200);
        shop.client.get("/livez").await;
        let ready = shop.client.get("/readyz").await.expect(503);
        assert!(ready.text.contains("postgres"), "{}", ready.text);
        postgres.resume();
        postgres.start().await.expect("it comes back");
        let placed = Shop::place_stubbornly(&shop.client, fault, &wish()).await;
        is_completed(&shop, &placed).await;
    }
    assert_eq!(shop.count("OrderPlaced").await, 3, "the same keys placed nothing twice");
    shop.check().await;
    shop.stop().await;
}

#[tokio::test]
async fn without_the_provider_orders_are_accepted_and_wait() {
    let mut shop = Shop::open().await;
    shop.kill_simulator();
    let placed = shop.place("waits", &wish()).await;
    let page = shop.until(&placed.id, "PaymentAuthorisationRequested").await;
    assert_eq!(page["fulfilment"]["waiting_for"], "the payment to be authorised");
    shop.until(&placed.id, "StepResent").await;
    shop.restart_simulator().await;
    is_completed(&shop, &placed).await;
    shop.check().await;
    shop.stop().await;
}

#[tokio::test]
async fn orders_that_find_the_queue_of_the_log_full_are_turned_away_at_once_and_taken_later() {
    const ORDERS: usize = 12;
    let plan =
        Shop::plan().private_postgres().set("store.queue", 2).set("store.batchers", 1).set("store.batch_appends", 1);
    let mut shop = plan.open().await;
    shop.servers.postgres().pause();
    let asked = Instant::now();
    let orders = (0..ORDERS).map(|number| {
        let client = &shop.client;
        async move {
            let answer = client.post("/v1/orders", &format!("full-{number}"), &wish().body()).await;
            (answer, asked.elapsed())
        }
    });
    let told = futures_util::future::join_all(orders).await;
    // One is under way alone, one in the batch; two wait for their time. The others need not.
    let at_once =
        told.iter().filter(|(answer, after)| answer.code() == "overloaded" && *after < Duration::from_secs(3));
    assert!(at_once.count() >= ORDERS - 6, "{told:?}");
    for (answer, _) in &told {
        later(answer, answer.code());
    }
    shop.servers.postgres().resume();
    for number in 0..ORDERS {
        Shop::place_stubbornly(&shop.client, &format!("full-{number}"), &wish()).await;
    }
    assert_eq!(shop.count("OrderPlaced").await, i64::try_from(ORDERS).expect("few"), "each of them once");
    shop.check().await;
    shop.stop().await;
}
