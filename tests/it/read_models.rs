//! Read models may be lost, rebuilt and doubted at any time; they tell what the log tells.

use std::fs;

use projections::PROJECTIONS;

use crate::support::{
    client::Wish,
    eventually::{eventually, holds},
    flow::Flow,
    shop::{PATIENCE, Shop},
};

fn wish(number: usize) -> Wish {
    Wish::new("tok_ok", "standard").by(&format!("customer-{}", number % 5))
}

/// Equal to what was built from the log beside it, document by document.
async fn certified(shop: &Shop, name: &str) {
    let rebuilt = shop.command(&["rebuild", name, "--json"]).await;
    assert_eq!(rebuilt.code(), Some(0), "{name}: {}\n{}", rebuilt.out, rebuilt.err);
    let certificate = rebuilt.json();
    assert_eq!(certificate["equal"], true, "{certificate:#}");
    assert!(certificate["compared_with"].is_number(), "{name} was compared with what was live: {certificate:#}");
}

#[tokio::test]
async fn a_rebuilt_read_model_equals_the_live_one_while_orders_flow_and_search_answers_meanwhile() {
    let mut shop = Shop::open().await;
    let first = shop.place("first", &Wish::new("tok_ok", "standard")).await;
    shop.until(&first.id, "FulfilmentCompleted").await;
    let found = shop.client.get_at(&format!("/v1/orders?q={}", first.id), &first.position).await.expect(200);
    assert_eq!(found.body["total"], 1);
    let flowing = Flow::start(&shop.client, "flow", 150, wish);
    let search = format!("/v1/orders?q={}", first.id);
    for name in PROJECTIONS {
        let certifying = certified(&shop, name);
        tokio::pin!(certifying);
        loop {
            tokio::select! {
                () = &mut certifying => break,
                found = shop.client.get(&search) => {
                    assert_eq!((found.status, &found.body["total"]), (200, &1.into()), "{name}: {}", found.text);
                    let page = shop.client.get(&format!("/v1/orders/{}", first.id)).await.expect(200);
                    assert_eq!(page.header("waybill-degraded"), None, "{name}");
                }
            }
        }
    }
    flowing.placed().await;
    shop.settled(PATIENCE).await;
    for name in PROJECTIONS {
        certified(&shop, name).await;
    }
    shop.check().await;
    shop.stop().await;
}

#[tokio::test]
async fn a_redis_that_is_emptied_in_the_middle_is_filled_again_by_itself() {
    let mut shop = Shop::plan().private_redis().open().await;
    let first = shop.place("first", &Wish::new("tok_ok", "standard").by("early")).await;
    shop.until(&first.id, "FulfilmentCompleted").await;
    for emptied in ["flushed", "killed-and-empty"] {
        let flowing = Flow::start(&shop.client, emptied, 30, wish);
        let redis = shop.servers.redis();
        if emptied == "flushed" {
            let client = redis::Client::open(shop.servers.redis_url()).expect("its URL is well formed");
            let mut connection = client.get_connection().expect("it answers");
            redis::cmd("FLUSHALL").query::<()>(&mut connection).expect("it may be emptied");
        } else {
            redis.wipe().await.expect("it can be emptied");
            redis.start().await.expect("it comes back");
        }
        flowing.placed().await;
        shop.settled(PATIENCE).await;
        eventually(&format!("{emptied}: the order page comes from its view again"), PATIENCE, async || {
            let page = shop.client.get(&format!("/v1/orders/{}", first.id)).await;
            let degraded = page.header("waybill-degraded");
            holds(page.status == 200 && degraded.is_none(), || format!("{} {degraded:?}: {}", page.status, page.text))
        })
        .await;
        eventually(&format!("{emptied}: the customer's list comes back"), PATIENCE, async || {
            let list = shop.client.get("/v1/customers/early/orders").await;
            assert!([200, 503].contains(&list.status), "{}", list.text);
            holds(list.body["items"][0]["id"] == first.id.as_str(), || list.text)
        })
        .await;
        for name in ["order-view", "customer-orders", "stock-view", "product-view"] {
            certified(&shop, name).await;
        }
    }
    shop.check().await;
    shop.stop().await;
}

#[tokio::test]
async fn a_read_model_that_says_otherwise_than_the_log_is_found_by_the_check() {
    let mut shop = Shop::plan().private_redis().open().await;
    let placed = shop.place("doubted", &Wish::new("tok_ok", "standard")).await;
    shop.until(&placed.id, "FulfilmentCompleted").await;
    let checked = shop.check().await;
    assert!(checked["invariants"]["P"]["checked"].as_i64() >= Some(4), "{checked:#}");
    let client = redis::Client::open(shop.servers.redis_url()).expect("its URL is well formed");
    let mut redis = client.get_connection().expect("it answers");
    let (mut altered, mut keys) =
        (0, redis::cmd("KEYS").arg("*{order-view:g*}:documents").query::<Vec<String>>(&mut redis));
    for key in keys.as_mut().expect("it answers") {
        let page: Option<String> = redis::cmd("HGET").arg(&*key).arg(&placed.id).query(&mut redis).expect("it answers");
        let Some(page) = page else { continue };
        let page = page.replace("\"status\":\"completed\"", "\"status\":\"cancelled\"");
        redis::cmd("HSET").arg(&*key).arg(&placed.id).arg(page).exec(&mut redis).expect("it may be altered");
        altered += 1;
    }
    assert_eq!(altered, 1, "the order lies in one shard");
    let found = shop.command(&["check", "--json"]).await;
    assert_eq!(found.code(), Some(3), "{}\n{}", found.out, found.err);
    let breach = found.json()["invariants"]["P"]["first_breach"].to_string();
    let said = format!("status of {} is cancelled, and completed in the log", placed.id);
    assert!(breach.contains(&said), "{breach}");
    assert_eq!(shop.command(&["check", "--log-only", "--json"]).await.code(), Some(0), "the log itself is sound");
    shop.stop().await;
}

#[tokio::test]
async fn the_log_added_up_again_names_the_event_that_is_not_the_one_that_was_applied() {
    let mut shop = Shop::open().await;
    let placed = shop.place("added-up", &Wish::new("tok_ok", "standard")).await;
    shop.until(&placed.id, "FulfilmentCompleted").await;
    let sound = eventually("every reader is where the log is", PATIENCE, async || {
        let added = shop.command(&["check", "log", "--json"]).await;
        assert_eq!(added.code(), Some(0), "{}\n{}", added.out, added.err);
        let report = added.json();
        let readers = report["readers"].as_array().expect("a list").iter();
        holds(readers.filter(|reader| reader["position"] == report["position"]).count() == 6, || added.out.clone())
    });
    sound.await;
    let replace = sqlx::query("UPDATE events SET event_id = gen_random_uuid() WHERE position = 3");
    replace.execute(&mut shop.log().await).await.expect("the owner may");
    let found = shop.command(&["check", "log", "--json"]).await;
    assert_eq!(found.code(), Some(3), "{}\n{}", found.out, found.err);
    for reader in found.json()["readers"].as_array().expect("a list") {
        let breach = reader["breach"].to_string();
        assert!(breach.contains("what was applied as the event at position 3 is not the event"), "{breach}");
    }
    sqlx::query("DELETE FROM events WHERE position = 5").execute(&mut shop.log().await).await.expect("the owner may");
    let torn = shop.command(&["check", "log", "--json"]).await;
    assert_eq!(torn.code(), Some(3), "{}\n{}", torn.out, torn.err);
    let breach = torn.json()["blocks"]["first_breach"].to_string();
    assert!(breach.contains("after position 4 comes 6"), "{breach}");
    shop.stop().await;
}

#[tokio::test]
async fn an_index_that_is_deleted_is_built_again_by_itself() {
    let mut shop = Shop::open().await;
    let placed = shop.place("indexed", &Wish::new("tok_ok", "standard")).await;
    shop.until(&placed.id, "FulfilmentCompleted").await;
    let folder = shop.folder().join("files/index");
    for deleted in ["while it runs", "while it is down"] {
        if deleted == "while it is down" {
            shop.kill();
        }
        // Whoever writes it meanwhile may put a file where another has just gone.
        eventually("the index is deleted", PATIENCE, async || {
            fs::remove_dir_all(&folder).map_err(|error| error.to_string())
        })
        .await;
        if deleted == "while it is down" {
            shop.start().await;
        }
        let more = shop.place(&deleted.replace(' ', "-"), &Wish::new("tok_ok", "standard")).await;
        for id in [&placed.id, &more.id] {
            eventually(&format!("{deleted}: order {id} is found"), PATIENCE, async || {
                let found = shop.client.get(&format!("/v1/orders?q={id}")).await;
                assert!([200, 503].contains(&found.status), "{}", found.text);
                holds(found.body["total"] == 1, || found.text)
            })
            .await;
        }
        eventually(&format!("{deleted}: mugs are found"), PATIENCE, async || {
            let mugs = shop.client.get("/v1/products?q=mug").await;
            assert!([200, 503].contains(&mugs.status), "{}", mugs.text);
            holds(mugs.body["items"][0]["sku"] == "mug", || mugs.text)
        })
        .await;
    }
    for name in ["order-index", "product-index"] {
        certified(&shop, name).await;
    }
    shop.stop().await;
}
