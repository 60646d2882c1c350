//! Input that is odd and in order: what is accepted must go through, be readable, and leave the books in order.

use serde_json::{Value, json};

use crate::support::{
    client::{Wish, send},
    shop::{Placed, Shop},
};

/// As an importing service, which states prices and dates.
async fn import(shop: &Shop, key: &str, body: &Value) -> Placed {
    let request = shop.client.request(reqwest::Method::POST, "/v1/orders").header("Idempotency-Key", key);
    let request = request.header("Waybill-Actor", "service:importer").json(body);
    Placed::from(send(request).await.expect("an answer").expect(201))
}

#[tokio::test]
async fn the_largest_amounts_the_oldest_dates_and_the_oddest_names_go_through_every_part() {
    let mut shop = Shop::open().await;
    shop.stock("gold", i64::MAX, 1_000_000_000).await;
    let odd = json!({
        "sku": "..:/-_.", "name": "\u{202e}𝕿𝖊𝖆\u{301} \"pot\" <b>&amp;</b> '; DROP TABLE events; --",
        "description": "\u{fffd}\u{feff}\t\r\n{{7*7}} ${x} %s", "categories": ["a/b", "\u{1f4a9}"],
        "attributes": { "~/\\\"": "\u{7f}" }, "price": { "amount_minor": 0, "currency": "JPY" },
    });
    let listed = shop.client.post("/v1/products", "odd", &odd).await.expect(201);
    let shown = shop.client.get_at("/v1/products/..:%2F-_.", &listed.position()).await.expect(200);
    assert_eq!(shown.body["name"], odd["name"]);
    shop.client.get_at("/v1/products?q=pot", &listed.position()).await.expect(200);

    let mut placed = vec![
        shop.place("gold-1", &Wish::new("tok_ok", "standard").of("gold", 1)).await,
        shop.place("gold-2", &Wish::new("tok_ok", "standard").of("gold", 1)).await,
    ];
    let too_much = Wish::new("tok_ok", "standard").of("gold", 2).body();
    let refused = shop.client.post("/v1/orders", "gold-3", &too_much).await.expect(422);
    assert_eq!(refused.code(), "rule-violated", "{}", refused.text);
    let dates =
        ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59.999999999Z", "2262-04-12T00:00:00Z", "9999-12-31T23:59:59Z"];
    for (number, date) in dates.iter().enumerate() {
        let mut body = Wish::new("tok_ok", "standard").by("time-traveller").body();
        body["business_time"] = json!(date);
        placed.push(import(&shop, &format!("dated-{number}"), &body).await);
    }
    let mut many = Wish::new("tok_ok", "standard").by("wholesale");
    many.lines = vec![("mug", 1); 1_000];
    placed.push(shop.place("thousand-lines", &many).await);
    let free = json!({ "amount_minor": 0, "currency": "GBP" });
    let mut free_order = Wish::new("tok_decline", "standard").by("lucky").body();
    free_order["lines"][0]["agreed"] = json!({ "unit_price": free, "total": free });
    placed.push(import(&shop, "free", &free_order).await);

    for order in &placed {
        let page = shop.until(&order.id, "FulfilmentCompleted").await;
        assert_eq!(page["status"], "completed");
        let found = shop.client.get_at(&format!("/v1/orders?q={}", order.id), &order.position).await.expect(200);
        assert_eq!(found.body["total"], 1, "{}", found.text);
    }
    let list = shop.client.get_at("/v1/customers/time-traveller/orders", &placed[5].position).await.expect(200);
    assert_eq!(list.body["items"].as_array().map(Vec::len), Some(dates.len()), "{}", list.text);
    shop.client.get("/v1/orders?placed_from=0001-01-01T00:00:00Z&placed_before=9999-12-31T23:59:59Z").await.expect(200);
    shop.client.get(&format!("/v1/orders?total_min={}&total_max={}", i64::MIN, i64::MAX)).await.expect(200);
    for name in projections::PROJECTIONS {
        let rebuilt = shop.command(&["rebuild", name, "--json"]).await;
        assert_eq!((rebuilt.code(), &rebuilt.json()["equal"]), (Some(0), &json!(true)), "{name}: {rebuilt:?}");
    }
    shop.check().await;
    shop.stop().await;
}

#[tokio::test]
async fn a_date_that_no_calendar_has_is_refused() {
    let shop = Shop::shared().await;
    for date in ["2026-02-30T00:00:00Z", "2026-11-22", "2026-11-22T25:00:00Z", "now", "", "+999999-01-01T00:00:00Z"] {
        let mut body = Wish::new("tok_ok", "standard").body();
        body["business_time"] = json!(date);
        let answer = shop.client.post("/v1/orders", "date", &body).await.expect(400);
        assert_eq!(answer.body["pointer"], "/business_time", "{date}: {}", answer.text);
    }
    shop.leave().await;
}
