//! Two shops with a log each, in databases of their own, and the read models of one that are made from both.

use std::{fs, time::Duration};

use reqwest::Method;
use serde_json::Value;

use crate::support::{
    client::{Answer, Wish, send},
    eventually::{eventually, holds},
    shop::{PATIENCE, Placed, Shop},
};

const ORDERS_OF_ONE_CUSTOMER: &str = "/v1/customers/anna/orders";

/// A shop whose log is called south, on a Postgres that can go away.
async fn south() -> Shop {
    let shop = Shop::plan().private_postgres().set("log.id", "south").open().await;
    shop.stock("vase", 1_200, 50).await;
    shop
}

/// A shop that reads the other's log beside its own, which has the name that is there without any setting.
async fn main_beside(south: &Shop) -> Shop {
    let mut shop = prepared_beside(south, "south").await;
    shop.start_simulator("127.0.0.1:0").await;
    shop.start().await;
    shop.stock("mug", 795, 100_000).await;
    shop.stock("vase", 990, 20).await;
    shop
}

async fn prepared_beside(south: &Shop, called: &str) -> Shop {
    let shop = Shop::plan().prepare().await;
    let follow = format!("[[log.follow]]\nid = '{called}'\nurl = '{}'\n", south.servers.service_url());
    fs::write(shop.folder().join("waybill.toml"), follow).expect("the test's own folder can be written");
    shop
}

async fn of_log(shop: &Shop, path: &str, log: &str) -> Answer {
    send(shop.client.request(Method::GET, path).header("Waybill-Log", log)).await.expect("an answer")
}

async fn order_of(shop: &Shop, placed: &Placed) -> Answer {
    shop.client.get_at(&format!("/v1/orders/{}", placed.id), &placed.position).await
}

fn wish() -> Wish {
    Wish::new("tok_ok", "standard")
}

#[tokio::test]
async fn one_service_answers_for_two_logs_and_keeps_them_apart() {
    let south = south().await;
    let mut shop = main_beside(&south).await;
    // The same key makes the same id, in whatever log.
    let (here, there) = (shop.place("one", &wish()).await, south.place("one", &wish().of("mug", 3)).await);
    assert_eq!(here.id, there.id);
    assert!(here.position.starts_with("main:") && there.position.starts_with("south:"), "{here:?} {there:?}");

    // The token says which log is meant.
    for (placed, mugs) in [(&here, 2), (&there, 3)] {
        let page = order_of(&shop, placed).await.expect(200);
        assert_eq!(page.body["lines"][0]["quantity"], mugs, "{}", page.text);
        let (log, _) = placed.position.split_once(':').expect("log:position");
        assert!(page.position().starts_with(log), "{} {placed:?}", page.position());
        assert_eq!(page.header("vary").map(|vary| vary.contains("waybill-log")), Some(true), "{page:?}");
    }
    for (placed, log, total, vase) in [(&here, "main", 1_590, 990), (&there, "south", 2_385, 1_200)] {
        // Each is a view of its own: that one order's page has come to a position says nothing of the others.
        for path in [ORDERS_OF_ONE_CUSTOMER, "/v1/products/vase"] {
            shop.client.get_at(path, &placed.position).await.expect(200);
        }
        let orders = of_log(&shop, ORDERS_OF_ONE_CUSTOMER, log).await.expect(200);
        assert_eq!(orders.body["items"].as_array().map(Vec::len), Some(1), "{}", orders.text);
        assert_eq!(orders.body["items"][0]["total"]["amount_minor"], total, "{}", orders.text);
        let product = of_log(&shop, "/v1/products/vase", log).await.expect(200);
        assert_eq!(product.body["price"]["amount_minor"], vase, "{}", product.text);
        eventually("the vase is found in its own log alone", PATIENCE, async || {
            let found = of_log(&shop, "/v1/products?q=vase", log).await;
            let price = &found.body["items"][0]["price"]["amount_minor"];
            holds(found.body["total"] == 1 && *price == vase, || found.text.clone())
        })
        .await;
    }
    let replayed = of_log(&shop, "/v1/audit/events", "south").await.expect(200);
    assert!(
        replayed.text.lines().count() > 3 && replayed.text.lines().all(|line| line.contains("\"position\":\"south:")),
        "{}",
        replayed.text
    );
    let unknown = of_log(&shop, ORDERS_OF_ONE_CUSTOMER, "west").await.expect(400);
    let elsewhere = shop.client.request(Method::POST, "/v1/orders").header("Waybill-Log", "south");
    let elsewhere = send(elsewhere.header("Idempotency-Key", "elsewhere").json(&wish().body())).await;
    assert_eq!(elsewhere.expect("an answer").expect(400).code(), "malformed-header", "it is not placed here instead");
    assert!(unknown.code() == "malformed-header" && unknown.text.contains("main, south"), "{}", unknown.text);

    // A cursor leads on in its own log alone.
    shop.place("two", &wish()).await;
    let list = format!("{ORDERS_OF_ONE_CUSTOMER}?limit=1");
    let cursor = eventually("there is a second page", PATIENCE, async || {
        let page = shop.client.get(&list).await.expect(200);
        page.body["next"].as_str().map(str::to_owned).ok_or(page.text)
    })
    .await;
    shop.client.get(&format!("{list}&cursor={cursor}")).await.expect(200);
    let elsewhere = of_log(&shop, &format!("{list}&cursor={cursor}"), "south").await.expect(400);
    assert_eq!(elsewhere.code(), "invalid-cursor");

    // A process that was killed goes on where it was, in both.
    shop.kill();
    let late = south.place("meanwhile", &wish()).await;
    shop.start().await;
    order_of(&shop, &late).await.expect(200);
    shop.client.get(&format!("/v1/orders/{}", late.id)).await.expect(404);
    let completed = south.until(&late.id, "FulfilmentCompleted").await;
    eventually("it shows of the other shop's order what that shop shows", PATIENCE, async || {
        let page = order_of(&shop, &late).await.expect(200);
        holds(page.body["timeline"] == completed["timeline"], || page.text.clone())
    })
    .await;
    for name in ["order-view", "order-index"] {
        let rebuilt = shop.command(&["rebuild", name, "--json"]).await;
        assert_eq!(rebuilt.code(), Some(0), "{}\n{}", rebuilt.out, rebuilt.err);
        let certificate = rebuilt.json();
        assert!(certificate["to"].as_str().is_some_and(|to| to.contains(", south:")), "{certificate}");
    }
    for shop in [&shop, &south] {
        shop.check().await;
        let checked = shop.command(&["check", "log"]).await;
        assert_eq!(checked.code(), Some(0), "{}\n{}", checked.out, checked.err);
    }
}

#[tokio::test]
async fn a_log_that_goes_away_is_missed_by_nobody_else() {
    let south = south().await;
    let shop = main_beside(&south).await;
    let before = south.place("before", &wish()).await;
    // From the view: until it is built, the log itself answers.
    eventually("the order stands in the view", PATIENCE, async || {
        let answer = order_of(&shop, &before).await.expect(200);
        holds(answer.header("waybill-degraded").is_none(), || answer.text.clone())
    })
    .await;
    south.servers.postgres().kill().await.expect("it can be killed");
    let here = shop.place("here", &wish()).await;
    shop.until(&here.id, "FulfilmentCompleted").await;
    let answer = of_log(&shop, &format!("/v1/orders/{}", before.id), "south").await.expect(200);
    assert_eq!(answer.body["id"], before.id.as_str(), "what was read is still there");
    eventually("answers about that log are marked, and no others", PATIENCE, async || {
        let (ours, theirs) =
            (shop.client.get("/v1/products/mug").await, of_log(&shop, "/v1/products/mug", "south").await);
        let marked = theirs.header("waybill-degraded") == Some("log") && ours.header("waybill-degraded").is_none();
        holds(marked, || format!("{ours:?} {theirs:?}"))
    })
    .await;
    let standing = shop.client.get("/v1/projections").await.expect(200);
    assert_eq!(standing.body["items"].as_array().map(Vec::len), Some(12), "{}", standing.text);
    eventually("a verified position of each log is shown", PATIENCE, async || {
        let metrics = shop.client.get("/metrics").await.text;
        let verified = |log: &str| {
            let series = format!("waybill_verified_position{{reader=\"order-view\",log=\"{log}\"}} ");
            metrics.lines().find_map(|line| line.strip_prefix(&series)?.parse::<i64>().ok()).unwrap_or_default()
        };
        holds(verified("main") > 0 && verified("south") > 0, || metrics.clone())
    })
    .await;
    shop.client.get("/readyz").await.expect(200);
    south.servers.postgres().start().await.expect("it comes back");
    let after = Shop::place_stubbornly(&south.client, "after", &wish()).await;
    order_of(&shop, &after).await.expect(200);
    eventually("every projection follows both logs", PATIENCE, async || {
        let standing = shop.client.get("/v1/projections").await.expect(200);
        let lines = standing.body["items"].as_array().expect("a list");
        let well = |log: &str| lines.iter().filter(|line| line["log"] == log && line["state"] == "following").count();
        holds((well("main"), well("south")) == (6, 6), || standing.text.clone())
    })
    .await;
    for shop in [&shop, &south] {
        shop.check().await;
    }
}

#[tokio::test]
async fn a_database_with_another_log_than_the_configuration_says_is_not_read() {
    let south = south().await;
    let shop = prepared_beside(&south, "west").await;
    let migrated = shop.command(&["migrate"]).await;
    assert_eq!(migrated.code(), Some(0), "{}", migrated.err);
    let doctor = shop.command(&["doctor"]).await;
    let wrong = "the database holds the log south, and not west";
    assert!(doctor.out.contains(wrong) && doctor.code() == Some(3), "{doctor:?}");
    let mut waybill = shop.another(Some("projector,queries"));
    waybill.says("Waybill answers at", PATIENCE).await;
    eventually("it says what is wrong, and answers for its own log", PATIENCE, async || {
        let standing = shop.client.get("/v1/projections").await;
        let lines = standing.body["items"].as_array().cloned().unwrap_or_default();
        let told = |line: &&Value| line["reason"].as_str().is_some_and(|reason| reason.contains(wrong));
        let told = lines.iter().filter(|line| line["log"] == "west" && line["state"] == "stopped").filter(told).count();
        let well = lines.iter().filter(|line| line["log"] == "main" && line["state"] == "following").count();
        holds((told, well) == (6, 6), || standing.text.clone())
    })
    .await;
    assert!(waybill.terminate(Duration::from_secs(30)).await.success());
    let rebuilt = shop.command(&["rebuild", "order-view"]).await;
    assert!(rebuilt.code() == Some(1) && rebuilt.err.contains(wrong), "{rebuilt:?}");
}
