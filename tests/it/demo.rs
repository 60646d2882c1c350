//! The newcomer's commands: a demonstration that proves itself, also after a kill -9 in the middle, and a shop that stays up.

use std::fs;

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::Value;

use crate::support::{
    client::{Client, Wish},
    eventually::{eventually, holds},
    program::Program,
    shop::{PATIENCE, Placed, Shop},
};

#[tokio::test]
async fn a_demo_shows_every_end_an_order_can_have_and_ends_with_0() {
    let shop = Shop::plan().patient().prepare().await;
    let shown = shop.command(&["demo", "--orders", "150", "--json"]).await;
    assert_eq!(shown.code(), Some(0), "{}\n{}", shown.out, shown.err);
    let outcomes = shown.json();
    assert_eq!((&outcomes["ok"], &outcomes["check"]), (&Value::Bool(true), &Value::Bool(true)), "{outcomes:#}");
    assert_eq!(outcomes["ended"], outcomes["expected"], "{outcomes:#}");
    assert_eq!(outcomes["certificate"]["equal"], true, "{outcomes:#}");
    for words in ["The order was placed", "refused the shipment", "Everything holds."] {
        assert!(shown.out.contains(words), "no {words:?} in {}", shown.out);
    }
}

#[tokio::test]
async fn a_demo_that_was_killed_at_any_moment_is_resumed_and_holds() {
    /// 200 products and their stock come first; then each order has some 22 events.
    const EVENTS: i64 = 201 + 150 * 22;
    let shop = Shop::plan().patient().prepare().await;
    let mut random = StdRng::seed_from_u64(4);
    let mut demo = Program::start(shop.folder(), &["demo", "--orders", "150"], shop.environment());
    let remembered = shop.folder().join("files/demo.json");
    eventually("the run is remembered, before anything has started", PATIENCE, async || {
        holds(remembered.exists(), || demo.log())
    })
    .await;
    demo.kill();
    demo = Program::start(shop.folder(), &["demo", "--resume", "--json"], shop.environment());
    for _ in 0..3 {
        let begun = shop.head().await;
        let moment = random.random_range(begun + 1..=EVENTS.max(begun + 2));
        eventually(&format!("the log reaches {moment}"), PATIENCE * 2, async || {
            let head = shop.head().await;
            // One that has ended before is as good.
            holds(head >= moment || demo.status().is_some(), || format!("it is at {head}"))
        })
        .await;
        demo.kill();
        demo = Program::start(shop.folder(), &["demo", "--resume", "--json"], shop.environment());
    }
    let status = demo.ended(PATIENCE * 3).await;
    assert!(status.success(), "{status}: {}\n{}\n{:#?}", demo.output(), demo.log(), shop.open_orders().await);
    let last = demo.output().lines().last().unwrap_or_default().to_owned();
    let outcomes: Value = serde_json::from_str(&last).expect("JSON at the end");
    assert_eq!((&outcomes["ok"], &outcomes["orders"]), (&Value::Bool(true), &150.into()), "{outcomes:#}");
    assert_eq!(shop.count("OrderPlaced").await, 150, "none twice, none lost");
}

#[tokio::test]
async fn a_shop_that_is_up_takes_orders_and_keeps_them_through_a_kill() {
    let shop = Shop::plan().patient().set("simulator.listen", "127.0.0.1:0").prepare().await;
    let mut placed = None;
    for round in 0..2 {
        let arguments = if round == 0 { &["up"][..] } else { &["up", "--json"] };
        let mut up = Program::start(shop.folder(), arguments, shop.environment());
        let line = up.says("/v1/products?q=", PATIENCE * 2).await;
        let link = match serde_json::from_str::<Value>(&line) {
            Ok(links) => links["search"].as_str().expect("a link").to_owned(),
            Err(_) => line,
        };
        assert_eq!(up.output().starts_with("Waybill is up."), round == 0, "{}", up.output());
        let search = &link[link.find("/v1/").expect("a link")..];
        let found = eventually("the small shop is there", PATIENCE, async || {
            let found = shop.client.get(search).await;
            holds(found.body["total"].as_i64() > Some(0), || found.text.clone()).map(|()| found)
        })
        .await;
        if let Some(order) = placed.take() {
            let Placed { id, .. } = order;
            shop.until(&id, "FulfilmentCompleted").await;
        }
        let sku = found.body["items"][0]["sku"].as_str().expect("a SKU").to_owned();
        let mut body = Wish::new("tok_ok", "standard").body();
        body["lines"][0]["sku"] = sku.into();
        placed = Some(Placed::from(shop.client.post("/v1/orders", &format!("up-{round}"), &body).await.expect(201)));
        if round == 0 {
            up.kill();
        } else {
            shop.until(&placed.as_ref().expect("just placed").id, "FulfilmentCompleted").await;
            assert!(up.terminate(PATIENCE).await.success());
        }
    }
    let listed = shop.count("ProductListed").await;
    assert!(listed > 0 && listed == distinct_products(&shop).await, "the small shop was loaded once");
}

async fn distinct_products(shop: &Shop) -> i64 {
    let count = sqlx::query_scalar("SELECT count(DISTINCT stream_id) FROM events WHERE event_type = 'ProductListed'");
    count.fetch_one(&mut shop.log().await).await.expect("the log can be read")
}

/// The rest of what a person types.
#[tokio::test]
async fn the_other_subcommands_do_what_they_say() {
    let mut shop = Shop::open().await;
    let placed = shop.place("replayed", &Wish::new("tok_ok", "standard")).await;
    shop.until(&placed.id, "ShipmentDelivered").await;
    shop.settled(PATIENCE).await;
    shop.stop().await;
    let head = shop.head().await;
    let events = usize::try_from(head).expect("a small number");

    let replayed = shop.command(&["audit", "replay"]).await;
    assert_eq!((replayed.code(), replayed.out.lines().count()), (Some(0), events), "{}", replayed.err);
    let csv = shop.command(&["audit", "replay", "--format", "csv", "--out", "log.csv"]).await;
    assert_eq!(csv.code(), Some(0), "{csv:?}");
    let csv = fs::read(shop.folder().join("log.csv")).expect("it was written");
    assert_eq!(csv::Reader::from_reader(&*csv).records().filter(Result::is_ok).count(), events);
    let again = shop.command(&["audit", "replay", "--format", "csv", "--out", "log.csv"]).await;
    assert!(again.code() == Some(1) && again.err.contains("log.csv is there already"), "{again:?}");
    for range in [["--to", "main:3"], ["--from", "main:3"]] {
        let part = shop.command(&["audit", "replay", "--out", "log.ndjson", range[0], range[1]]).await;
        assert_eq!(part.code(), Some(0), "{part:?}");
    }
    let joined = fs::read_to_string(shop.folder().join("log.ndjson")).expect("it was written");
    assert_eq!(joined, replayed.out, "two parts are the whole");
    let placed_only = shop.command(&["audit", "replay", "--type", "OrderPlaced", "--from", "0"]).await;
    assert_eq!((placed_only.code(), placed_only.out.lines().count()), (Some(0), 1), "{placed_only:?}");

    for arguments in [&["migrate", "--json"][..], &["dead-letters", "list", "--json"], &["check", "--json"]] {
        let done = shop.command(arguments).await;
        assert_eq!((done.code(), &done.json()["ok"]), (Some(0), &Value::Bool(true)), "{arguments:?}: {done:?}");
    }
    let described = shop.command(&["openapi"]).await;
    let description: Value = serde_json::from_str(&described.out).expect("JSON");
    assert!(description["paths"]["/v1/orders"]["post"].is_object());
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
    let current = shop.command(&["openapi", "--check", committed]).await;
    assert_eq!(current.code(), Some(0), "{}", current.err);
    shop.start().await;
    let docs = Client::new(&format!("http://{}", shop.environment()["WAYBILL__HTTP__LISTEN"])).get("/docs/").await;
    assert_eq!(docs.status, 200, "{docs:?}");
    shop.stop().await;
}
