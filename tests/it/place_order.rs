//! From the customer's wish to the parcel at the door, and what a storefront may rely on meanwhile.

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{
    client::{Wish, send},
    eventually::{eventually, holds},
    shop::{PATIENCE, Placed, Shop, event_types},
};

#[tokio::test]
async fn an_order_goes_from_placed_to_completed_and_its_timeline_tells_each_step() {
    let shop = Shop::shared().await;
    let placed = shop.place("plain", &Wish::new("tok_ok", "standard")).await;
    let page = shop.until(&placed.id, "FulfilmentCompleted").await;
    assert_eq!(page["status"], "completed");
    assert_eq!(page["payments"][0]["status"], "captured");
    assert_eq!(page["payments"][0]["captured"]["amount_minor"], 2 * 795);
    assert_eq!(page["shipments"][0]["carrier"], "swift");
    let steps = [
        "OrderPlaced",
        "StockReserved",
        "PaymentAuthorised",
        "OrderConfirmed",
        "ShipmentBooked",
        "ShipmentDispatched",
        "OrderShipped",
        "StockCommitted",
        "PaymentCaptured",
        "OrderCompleted",
        "FulfilmentCompleted",
    ];
    let happened = event_types(&page);
    let mut rest = happened.iter();
    assert!(steps.iter().all(|step| rest.any(|event| event == step)), "not {steps:?} in this order: {happened:?}");
    let timeline = shop.client.get(&format!("/v1/orders/{}/timeline", placed.id)).await.expect(200);
    assert!(timeline.text.contains("The order was placed: 1 line, "), "{}", timeline.text);
    shop.until(&placed.id, "ShipmentDelivered").await;
    shop.leave().await;
}

#[tokio::test]
async fn an_order_is_readable_at_once_by_the_one_who_placed_it() {
    let shop = Shop::shared().await;
    for number in 0..10 {
        let wish = Wish::new("tok_ok", "standard").by("impatient");
        let placed = shop.place(&format!("at once {number}").replace(' ', "-"), &wish).await;
        let Placed { id, position } = &placed;
        assert_eq!(shop.order_at(&placed).await["id"], id.as_str());
        let timeline = shop.client.get_at(&format!("/v1/orders/{id}/timeline"), position).await.expect(200);
        assert!(timeline.text.contains("OrderPlaced"), "{}", timeline.text);
        let list = shop.client.get_at("/v1/customers/impatient/orders", position).await.expect(200);
        assert_eq!(list.body["items"][0]["id"], id.as_str(), "newest first");
        let found = shop.client.get_at(&format!("/v1/orders?q={id}"), position).await.expect(200);
        assert_eq!(found.body["items"][0]["id"], id.as_str());
    }
    shop.leave().await;
}

#[tokio::test]
async fn a_product_just_listed_is_found_in_spite_of_a_typing_error() {
    let shop = Shop::shared().await;
    let price = json!({ "amount_minor": 1_250, "currency": "GBP" });
    let lantern = json!({ "sku": "lantern", "name": "Moroccan lantern", "categories": ["garden"], "price": price });
    let listed = shop.client.post("/v1/products", "list-lantern", &lantern).await.expect(201);
    let found = shop.client.get_at("/v1/products?q=morocan", &listed.position()).await.expect(200);
    assert_eq!(found.body["items"][0]["sku"], "lantern", "{}", found.text);
    let product = shop.client.get_at("/v1/products/lantern", &listed.position()).await.expect(200);
    let etag = product.header("etag").expect("a tag").to_owned();
    let reprice = |key: &str| {
        let request = shop.client.request(reqwest::Method::PUT, "/v1/products/lantern/price");
        let request = request.header("Idempotency-Key", key).header("If-Match", etag.as_str());
        request.json(&json!({ "price": { "amount_minor": 999, "currency": "GBP" } }))
    };
    send(reprice("reprice-1")).await.expect("an answer").expect(200);
    let late = send(reprice("reprice-2")).await.expect("an answer").expect(412);
    assert_eq!(late.code(), "stale");
    let placed = shop.place("lantern", &Wish::new("tok_ok", "standard").of("lantern", 1)).await;
    assert_eq!(shop.order_at(&placed).await["total"]["amount_minor"], 999, "the price of now");
    shop.leave().await;
}

#[tokio::test]
async fn a_doubled_click_places_one_order() {
    let shop = Shop::shared().await;
    let wish = Wish::new("tok_ok", "standard").by("nervous").body();
    let clicks = join_all((0..12).map(|_| shop.client.post("/v1/orders", "click", &wish))).await;
    let placed: Vec<Placed> = clicks.into_iter().map(|answer| Placed::from(answer.expect(201))).collect();
    let again = Placed::from(shop.client.post("/v1/orders", "click", &wish).await.expect(201));
    assert!(placed.iter().all(|placed| placed.id == again.id), "{placed:?}");
    assert!(placed.iter().all(|placed| placed.position == again.position), "the first answer, again: {placed:?}");
    let list = shop.client.get_at("/v1/customers/nervous/orders", &again.position).await.expect(200);
    assert_eq!(list.body["items"].as_array().map(Vec::len), Some(1), "{}", list.text);
    shop.leave().await;
}

#[tokio::test]
async fn a_key_that_comes_back_with_another_body_is_refused() {
    let shop = Shop::shared().await;
    let placed = shop.place("reused", &Wish::new("tok_ok", "standard").by("forgetful")).await;
    let other = Wish::new("tok_ok", "standard").by("forgetful").of("mug", 3).body();
    let refused = shop.client.post("/v1/orders", "reused", &other).await.expect(422);
    assert_eq!(refused.code(), "idempotency-key-reused");
    let list = shop.client.get_at("/v1/customers/forgetful/orders", &placed.position).await.expect(200);
    assert_eq!(list.body["items"].as_array().map(Vec::len), Some(1), "{}", list.text);
    shop.leave().await;
}

#[tokio::test]
async fn a_repeated_order_gets_its_first_answer_though_the_catalogue_has_changed() {
    let shop = Shop::shared().await;
    shop.stock("plate", 900, 10).await;
    let wish = Wish::new("tok_ok", "standard").by("patient").of("plate", 2);
    let placed = shop.place("plates", &wish).await;
    let dear = json!({ "price": { "amount_minor": 9_000_000_000_000_000_000_i64, "currency": "GBP" } });
    let request = shop.client.request(reqwest::Method::PUT, "/v1/products/plate/price");
    let repriced = send(request.header("Idempotency-Key", "dear").json(&dear)).await.expect("an answer").expect(200);
    // Nobody can buy two of them now, which shows that the price has come to where orders are priced.
    let mut tries = 0;
    eventually("the price is known", PATIENCE, async || {
        tries += 1;
        let answer = shop.client.post("/v1/orders", &format!("plates-again-{tries}"), &wish.body()).await;
        holds(answer.status == 422, || format!("{}: {}", repriced.position(), answer.text))
    })
    .await;
    assert_eq!(shop.place("plates", &wish).await.id, placed.id);
    shop.leave().await;
}

#[tokio::test]
async fn prices_come_from_the_catalogue_and_never_from_a_storefront() {
    let shop = Shop::shared().await;
    let penny = json!({ "amount_minor": 1, "currency": "GBP" });
    let mut body = Wish::new("tok_ok", "standard").by("thrifty").of("mug", 1).body();
    body["lines"][0]["agreed"] = json!({ "unit_price": penny, "total": penny });
    let refused = shop.client.post("/v1/orders", "thrifty", &body).await.expect(422);
    assert_eq!((refused.code(), refused.body["pointer"].as_str()), ("price-not-accepted", Some("/lines/0")));
    let request = shop.client.request(reqwest::Method::POST, "/v1/orders").header("Idempotency-Key", "agreed");
    let request = request.header("Waybill-Actor", "service:importer").json(&body);
    let agreed = Placed::from(send(request).await.expect("an answer").expect(201));
    assert_eq!(shop.order_at(&agreed).await["total"]["amount_minor"], 1, "an importing service may");
    shop.leave().await;
}

#[tokio::test]
async fn what_is_available_goes_down_when_it_is_reserved_and_never_below_nothing() {
    let shop = Shop::shared().await;
    let stocked = shop.stock("vase", 2_000, 5).await;
    let stock = shop.client.get_at("/v1/inventory/vase", &stocked.position()).await.expect(200);
    assert_eq!(stock.body["total"]["available"], 5, "{}", stock.text);
    let wishes = (0..8).map(|number| {
        let wish = Wish::new("tok_ok", "standard").by("collector").of("vase", 1);
        let shop = &shop;
        async move { shop.place(&format!("vase-{number}"), &wish).await }
    });
    let orders = join_all(wishes).await;
    let mut sold = 0;
    for order in &orders {
        let page = eventually("the order ends", PATIENCE, async || {
            let page = shop.client.get(&format!("/v1/orders/{}", order.id)).await.body;
            let ended = page["status"] == "completed" || page["status"] == "cancelled";
            holds(ended, || page["status"].to_string()).map(|()| page)
        })
        .await;
        sold += i64::from(page["status"] == "completed");
    }
    assert_eq!(sold, 5);
    eventually("all that was there has left", PATIENCE, async || {
        let stock = shop.client.get("/v1/inventory/vase").await.body;
        holds(stock["total"] == json!({ "on_hand": 0, "reserved": 0, "available": 0 }), || stock["total"].to_string())
    })
    .await;
    shop.leave().await;
}
