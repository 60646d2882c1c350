//! What is answered while stores are gone, in the written order: the order page from the log, lists and searches not at all.

use std::time::Duration;

use events::Position;
use projections::fold_order_events;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{
    shop::{confirmed_order, order, small_shop},
    support::Fixture,
};
use crate::Config;

#[tokio::test]
async fn without_redis_the_order_page_is_folded_from_the_log_and_says_so() {
    let fixture = Fixture::without_redis().await;
    fixture.record(&small_shop()).await;
    fixture.record(&confirmed_order(order(2), "12345")).await;
    let response = fixture.get(&format!("/v1/orders/{}", order(1))).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["waybill-degraded"], "order-view");
    assert_eq!(response.headers()["waybill-position"], "main:26");
    assert_eq!(response.headers()["etag"], "\"2.15\"");
    let page: Value = response.json().await.expect("JSON");
    let log = fixture.log.page(Position::START, 100).await.expect("the log is there");
    let of_order = log.iter().filter(|event| event.payload.order_id() == Some(order(1)));
    assert_eq!(page, json!(fold_order_events(of_order)), "the same as the view would show, to the last sentence");
    insta::assert_json_snapshot!(page);
}

#[tokio::test]
async fn without_redis_the_timeline_tells_what_is_awaited_and_what_comes_next() {
    let fixture = Fixture::without_redis().await;
    fixture.record(&confirmed_order(order(1), "12345")[..6]).await;
    let response = fixture.get(&format!("/v1/orders/{}/timeline", order(1))).await;
    assert_eq!(response.headers()["waybill-degraded"], "order-view");
    insta::assert_json_snapshot!(response.json::<Value>().await.expect("JSON"));
}

#[tokio::test]
async fn without_redis_an_order_that_is_not_in_the_log_does_not_exist() {
    let fixture = Fixture::without_redis().await;
    fixture.record(&small_shop()).await;
    let (status, problem) = fixture.json(&format!("/v1/orders/{}", order(9))).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    insta::assert_json_snapshot!(problem);
}

#[tokio::test]
async fn without_redis_and_without_an_index_lists_and_searches_are_unavailable_and_never_empty() {
    let fixture = Fixture::without_redis().await;
    fixture.record(&small_shop()).await;
    let mut answers = Vec::new();
    for path in [
        "/v1/customers/12345/orders",
        "/v1/products/85123A",
        "/v1/inventory/85123A",
        "/v1/orders?q=12345",
        "/v1/products?q=lantern",
    ] {
        let response = fixture.get(path).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
        let retry_after = response.headers()["retry-after"].to_str().expect("text").to_owned();
        let problem = response.json::<Value>().await.expect("JSON");
        answers.push(json!({"path": path, "retry_after": retry_after, "problem": problem}));
    }
    insta::assert_json_snapshot!(answers);
}

#[tokio::test]
async fn who_gets_no_turn_to_search_is_turned_away_when_his_wait_is_used_up() {
    let busy = Config { searches_max: 0, ..Config::default() };
    let fixture = Fixture::start("redis://127.0.0.1:1".into(), busy).await;
    for path in ["/v1/orders?q=12345", "/v1/products?q=lantern"] {
        let search = fixture.asking(path).header("waybill-wait-ms", "50").send().await.expect("answered");
        assert_eq!(search.status(), StatusCode::SERVICE_UNAVAILABLE);
        let problem = search.json::<Value>().await.expect("JSON");
        // Not the bound on the whole request, which comes much later.
        assert_eq!(problem["code"], "search-unavailable", "{problem}");
    }
}

#[tokio::test]
async fn without_redis_and_log_nothing_is_said_about_an_order() {
    let fixture = Fixture::without_redis().await;
    fixture.record(&small_shop()).await;
    fixture.lose_the_log().await;
    for path in [format!("/v1/orders/{}", order(1)), format!("/v1/orders/{}", order(9))] {
        let (status, problem) = fixture.json(&path).await;
        assert_eq!((status.as_u16(), &problem["code"]), (503, &"view-unavailable".into()));
    }
    let (status, problem) = fixture.json("/v1/audit/events").await;
    assert_eq!((status.as_u16(), &problem["code"]), (503, &"log-unavailable".into()));
}

#[tokio::test]
async fn without_redis_a_position_beyond_the_log_or_of_another_is_refused() {
    let fixture = Fixture::without_redis().await;
    fixture.record(&small_shop()).await;
    let path = format!("/v1/orders/{}", order(1));
    let ask = |position: &'static str| fixture.asking(&path).header("waybill-min-position", position).send();
    assert_eq!(ask("main:15").await.expect("answered").status(), StatusCode::OK);
    let behind = ask("main:16").await.expect("answered");
    assert_eq!(behind.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(behind.headers()["waybill-position"], "main:15");
    assert_eq!(ask("other:1").await.expect("answered").status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn without_the_log_reads_go_on_and_are_marked() {
    let fixture = Fixture::live().await;
    fixture.record(&small_shop()).await;
    let path = format!("/v1/orders/{}", order(1));
    let read = fixture.asking(&path).header("waybill-min-position", "main:15").send().await.expect("answered");
    assert!(read.status() == StatusCode::OK && !read.headers().contains_key("waybill-degraded"));
    fixture.lose_the_log().await;
    let marked = async {
        loop {
            let read = fixture.get(&path).await;
            assert_eq!(read.status(), StatusCode::OK);
            assert_eq!(read.headers()["waybill-position"], "main:15");
            if read.headers().get("waybill-degraded").is_some_and(|what| what == "log") {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), marked).await.expect("it is noticed");
}

#[tokio::test]
async fn while_an_emptied_redis_is_filled_again_nothing_that_exists_is_missing() {
    let fixture = Fixture::live().await;
    fixture.record(&small_shop()).await;
    let (page, list) = (format!("/v1/orders/{}", order(1)), "/v1/customers/12345/orders");
    for path in [&*page, list] {
        let read = fixture.asking(path).header("waybill-min-position", "main:15").send().await.expect("answered");
        assert_eq!(read.status(), StatusCode::OK);
    }
    fixture.empty_redis().await;
    let filled = async {
        loop {
            let read = fixture.get(&page).await;
            assert_eq!(read.status(), StatusCode::OK, "from the view or from the log");
            let (status, orders) = fixture.json(list).await;
            match status {
                StatusCode::SERVICE_UNAVAILABLE => (),
                StatusCode::OK if orders["items"].as_array().is_some_and(|orders| orders.len() == 1) => break,
                // Being built from the start, it says up to where.
                StatusCode::OK => panic!("a part of a list is not the list: {orders}"),
                other => panic!("{other}: {orders}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), filled).await.expect("the projector builds it again");
}
