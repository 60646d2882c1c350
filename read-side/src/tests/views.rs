//! Queries over live read models: a projector follows the log, and clients ask with the position of what they wrote.

use std::collections::BTreeSet;

use events::{OrderId, Position};
use projections::fold_order_events;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use super::{
    shop::{confirmed_order, listed, order, placed, received, small_shop},
    support::Fixture,
};

/// The answer as of everything recorded so far.
async fn current(fixture: &Fixture, path: &str) -> Response {
    let head = fixture.log.head().await.expect("the log is there");
    let request = fixture.asking(path).header("waybill-min-position", format!("main:{head}"));
    request.header("waybill-wait-ms", "10000").send().await.expect("the server answers")
}

async fn current_json(fixture: &Fixture, path: &str) -> Value {
    let response = current(fixture, path).await;
    let status = response.status();
    let body = response.json().await.expect("JSON");
    assert_eq!(status, StatusCode::OK, "{path}: {body}");
    body
}

#[tokio::test]
async fn an_order_is_read_as_it_was_just_written() {
    let fixture = Fixture::live().await;
    fixture.record(&small_shop()).await;
    let path = format!("/v1/orders/{}", order(1));
    let response = current(&fixture, &path).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(!response.headers().contains_key("waybill-degraded"));
    assert_eq!(response.headers()["waybill-position"], "main:15");
    assert_eq!(response.headers()["etag"], "\"2.15\"");
    let page: Value = response.json().await.expect("JSON");
    let log = fixture.log.page(Position::START, 100).await.expect("the log is there");
    let of_order = log.iter().filter(|event| event.payload.order_id() == Some(order(1)));
    assert_eq!(page, json!(fold_order_events(of_order)));
    let timeline = current_json(&fixture, &format!("{path}/timeline")).await;
    assert_eq!(timeline["events"], page["timeline"]);
    assert_eq!(timeline["waiting_for"], page["fulfilment"]["waiting_for"]);
}

#[tokio::test]
async fn a_current_copy_is_not_sent_again() {
    let fixture = Fixture::live().await;
    fixture.record(&small_shop()).await;
    let path = format!("/v1/orders/{}", order(1));
    let etag = current(&fixture, &path).await.headers()["etag"].clone();
    let again = fixture.asking(&path).header("if-none-match", etag.clone()).send().await.expect("answered");
    assert_eq!((again.status(), &again.headers()["etag"]), (StatusCode::NOT_MODIFIED, &etag));
    assert!(again.headers().contains_key("waybill-position"));
    let other = fixture.asking(&path).header("if-none-match", "\"1.5\"").send().await.expect("answered");
    assert_eq!(other.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_position_that_is_not_reached_in_time_is_told_with_the_one_that_is() {
    let fixture = Fixture::live().await;
    fixture.record(&small_shop()).await;
    current(&fixture, "/v1/products/85123A").await;
    current(&fixture, "/v1/inventory/85123A").await;
    current(&fixture, "/v1/products").await;
    for path in ["/v1/products/85123A", "/v1/inventory/85123A", "/v1/products"] {
        let request = fixture.asking(path).header("waybill-min-position", "main:16").header("waybill-wait-ms", "50");
        let response = request.send().await.expect("answered");
        assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT, "{path}");
        assert_eq!(response.headers()["waybill-position"], "main:15");
        let problem: Value = response.json().await.expect("JSON");
        assert_eq!((&problem["code"], &problem["position"]), (&"position-not-reached".into(), &"main:15".into()));
        let foreign = fixture.asking(path).header("waybill-min-position", "other:1").send().await.expect("answered");
        assert_eq!(foreign.status(), StatusCode::BAD_REQUEST, "{path}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_404_as_of_a_position() {
    let fixture = Fixture::live().await;
    fixture.record(&small_shop()).await;
    for path in [format!("/v1/orders/{}", order(9)), "/v1/products/none".into(), "/v1/inventory/none".into()] {
        let response = current(&fixture, &path).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        let problem: Value = response.json().await.expect("JSON");
        assert_eq!((&problem["code"], &problem["position"]), (&"not-found".into(), &"main:15".into()), "{path}");
    }
}

#[tokio::test]
async fn a_product_is_shown_with_what_is_available() {
    let fixture = Fixture::live().await;
    fixture.record(&small_shop()).await;
    fixture.record(&[listed("A/1", "Slash", "odd", 100), received("A/1", 7)]).await;
    insta::assert_json_snapshot!(current_json(&fixture, "/v1/products/85123A").await);
    insta::assert_json_snapshot!(current_json(&fixture, "/v1/inventory/85123A").await);
    let odd = current_json(&fixture, "/v1/products/A%2F1").await;
    assert_eq!((&odd["sku"], &odd["stock"]["available"]), (&"A/1".into(), &7.into()));
}

fn ids(page: &Value) -> Vec<OrderId> {
    let items = page["items"].as_array().expect("items");
    items.iter().map(|item| item["id"].as_str().expect("an id").parse().expect("a UUID")).collect()
}

#[tokio::test]
async fn a_customers_orders_come_newest_first_and_each_once() {
    let fixture = Fixture::live().await;
    let happened = (1..=5).map(|n| placed(order(n), "12345")).chain([placed(order(6), "other")]);
    fixture.record(&happened.collect::<Vec<_>>()).await;
    let (mut found, mut path) = (Vec::new(), "/v1/customers/12345/orders?limit=2".to_owned());
    for left in [true, true, false] {
        let page = current_json(&fixture, &path).await;
        found.extend(ids(&page));
        assert_eq!(page["next"].is_string(), left);
        path = format!("/v1/customers/12345/orders?limit=2&cursor={}", page["next"].as_str().unwrap_or_default());
    }
    assert_eq!(found, [5, 4, 3, 2, 1].map(order));
    let nobody = current_json(&fixture, "/v1/customers/nobody/orders").await;
    assert_eq!(nobody, json!({"items": [], "next": null}));
}

#[tokio::test]
async fn a_cursor_is_good_for_its_own_list_only() {
    let fixture = Fixture::live().await;
    let happened = (1..=3).map(|n| placed(order(n), "12345")).collect::<Vec<_>>();
    fixture.record(&happened).await;
    let of_customer = current_json(&fixture, "/v1/customers/12345/orders?limit=1").await;
    let of_search = current_json(&fixture, "/v1/orders?q=12345&limit=1").await;
    let next = |page: &Value| page["next"].as_str().expect("a cursor").to_owned();
    let (of_customer, of_search) = (next(&of_customer), next(&of_search));
    for path in [
        format!("/v1/customers/other/orders?cursor={of_customer}"),
        format!("/v1/customers/12345/orders?cursor={of_search}"),
        format!("/v1/customers/12345/orders?cursor=x{of_customer}"),
        format!("/v1/orders?q=536365&cursor={of_search}"),
        format!("/v1/orders?q=12345&sort=oldest&cursor={of_search}"),
        "/v1/products?cursor=AAAA".into(),
    ] {
        let (status, problem) = fixture.json(&path).await;
        assert_eq!((status, &problem["code"]), (StatusCode::BAD_REQUEST, &"invalid-cursor".into()), "{path}");
    }
    let again = current_json(&fixture, &format!("/v1/orders?q=12345&limit=2&cursor={of_search}")).await;
    assert_eq!(again["items"].as_array().map(Vec::len), Some(2), "another page size is the same list");
}

#[tokio::test]
async fn products_are_found_in_spite_of_typing_errors_and_counted_by_facet() {
    let fixture = Fixture::live().await;
    fixture.record(&small_shop()).await;
    fixture.record(&[listed("22423", "Regency cakestand", "kitchen", 1295)]).await;
    let found = current_json(&fixture, "/v1/products?q=lantren&limit=1").await;
    insta::assert_json_snapshot!(found, {".next" => "[cursor]"});
    let next = found["next"].as_str().expect("there are two");
    let rest = current_json(&fixture, &format!("/v1/products?q=lantren&limit=1&cursor={next}")).await;
    let skus = [&found, &rest].map(|page| page["items"][0]["sku"].as_str().expect("a SKU"));
    assert_eq!(BTreeSet::from(skus), BTreeSet::from(["85123A", "71053"]));
    assert!(rest["next"].is_null());
    let dear = current_json(&fixture, "/v1/products?currency=GBP&price_min=1000&in_stock=false").await;
    assert_eq!(dear["items"][0]["sku"], "22423");
}

#[tokio::test]
async fn orders_are_found_by_anything() {
    let fixture = Fixture::live().await;
    fixture.record(&small_shop()).await;
    fixture.record(&confirmed_order(order(2), "67890")).await;
    fixture.record(&[placed(order(3), "67890")]).await;
    let found = |page: Value| ids(&page);
    assert_eq!(found(current_json(&fixture, "/v1/orders?q=67890").await), [3, 2].map(order));
    assert_eq!(found(current_json(&fixture, "/v1/orders?status=placed").await), [order(3)]);
    assert_eq!(found(current_json(&fixture, "/v1/orders?customer_id=12345").await), [order(1)]);
    assert_eq!(found(current_json(&fixture, "/v1/orders?sku=85123A&sort=oldest").await), [1, 2, 3].map(order));
    assert!(found(current_json(&fixture, "/v1/orders?placed_before=2025-01-01T00:00:00Z").await).is_empty());
    let all = current_json(&fixture, "/v1/orders").await;
    assert_eq!((&all["total"], &all["statuses"][0]), (&3.into(), &json!({"value": "confirmed", "count": 2})));
}

#[tokio::test]
async fn an_unbuilt_view_is_never_an_empty_one() {
    let fixture = Fixture::unprojected().await;
    fixture.record(&small_shop()).await;
    for path in ["/v1/customers/12345/orders", "/v1/products/85123A", "/v1/inventory/none", "/v1/products"] {
        let (status, problem) = fixture.json(path).await;
        assert_eq!((status, &problem["retryable"]), (StatusCode::SERVICE_UNAVAILABLE, &true.into()), "{path}");
    }
    let response = fixture.get(&format!("/v1/orders/{}", order(1))).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["waybill-degraded"], "order-view");
}

#[tokio::test]
async fn what_is_out_of_bounds_is_named() {
    let fixture = Fixture::unprojected().await;
    let long = "x".repeat(257);
    let mut problems = Vec::new();
    for path in [
        "/v1/customers/12345/orders?limit=201",
        "/v1/customers/a%20b/orders",
        "/v1/orders/536365",
        "/v1/orders?limit=0&reference=",
        "/v1/orders?status=lost",
        "/v1/orders?placed_from=yesterday",
        "/v1/orders?limit=1&limit=2",
        "/v1/products?currency=pounds",
        "/v1/products?price_min=1.50",
        "/v1/products?page=2",
        "/v1/inventory/%FF",
    ] {
        let (status, mut problem) = fixture.json(path).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}");
        problem.as_object_mut().expect("a document").retain(|key, _| ["code", "detail", "pointer"].contains(&&**key));
        problems.push(json!({"path": path, "problem": problem}));
    }
    assert_eq!(fixture.get(&format!("/v1/products?q={long}")).await.status(), StatusCode::BAD_REQUEST);
    insta::assert_json_snapshot!(problems);
}

#[tokio::test]
async fn how_the_read_models_stand_is_told() {
    let fixture = Fixture::live().await;
    fixture.record(&small_shop()).await;
    let order_page = format!("/v1/orders/{}", order(1));
    let all = [&*order_page, "/v1/customers/1/orders", "/v1/products/85123A", "/v1/inventory/85123A"];
    for path in all.into_iter().chain(["/v1/products", "/v1/orders"]) {
        current_json(&fixture, path).await;
    }
    let (status, standing) = fixture.json("/v1/projections").await;
    assert_eq!(status, StatusCode::OK);
    insta::assert_json_snapshot!(standing);
}
