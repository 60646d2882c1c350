//! Paths, queries, headers and webhooks that make no sense, and bytes that are no HTTP.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use aws_lc_rs::hmac;
use reqwest::Method;
use serde_json::{Value, json};

use super::{is_problem, is_the_clients_mistake, pointer};
use crate::support::{
    client::{Answer, Wish, send},
    shop::Shop,
};

const NOBODY: &str = "0192f0c1-0000-7000-8000-000000000001";

#[tokio::test]
async fn a_path_or_a_query_that_makes_no_sense_is_refused_and_named() {
    let shop = Shop::shared().await;
    let long = "x".repeat(300);
    let cases = [
        (404, "/nowhere", ""),
        (404, "/v1/orders/", ""),
        (404, "/v2/orders", ""),
        (400, "/v1/orders/17", ""),
        (400, "/v1/orders/17/timeline", ""),
        (400, "/v1/orders/%00", ""),
        (400, "/v1/orders/%ff%fe", ""),
        (404, &format!("/v1/orders/{NOBODY}"), ""),
        (404, &format!("/v1/orders/{NOBODY}/timeline"), ""),
        (400, "/v1/products/a%20b", ""),
        (400, &format!("/v1/products/{long}"), ""),
        (404, "/v1/products/nothing", ""),
        (404, "/v1/inventory/nothing", ""),
        (400, "/v1/inventory/a%0Ab", ""),
        (400, "/v1/customers/a%20b/orders", ""),
        (400, "/v1/customers/anna/orders?limit=0", "/limit"),
        (400, "/v1/customers/anna/orders?limit=-1", "/limit"),
        (400, "/v1/customers/anna/orders?limit=201", "/limit"),
        (400, "/v1/customers/anna/orders?limit=99999999999999999999", "/limit"),
        (400, "/v1/customers/anna/orders?limit=many", "/limit"),
        (400, "/v1/customers/anna/orders?cursor=made-up", "/cursor"),
        (400, "/v1/customers/anna/orders?cursor=", "/cursor"),
        (400, "/v1/customers/anna/orders?surprise=1", ""),
        (400, "/v1/orders?limit=1&limit=2", ""),
        (400, "/v1/orders?status=lost", "/status"),
        (400, "/v1/orders?currency=GOLD", "/currency"),
        (400, "/v1/orders?placed_from=yesterday", "/placed_from"),
        (400, "/v1/orders?total_min=1.5", "/total_min"),
        (400, "/v1/orders?needs_attention=maybe", "/needs_attention"),
        (400, "/v1/orders?sort=colour", "/sort"),
        (400, "/v1/orders?cursor=bWFkZSB1cA", "/cursor"),
        (400, &format!("/v1/orders?q={long}"), "/q"),
        (400, &format!("/v1/products?q={long}"), "/q"),
        (400, "/v1/products?in_stock=2", "/in_stock"),
        (400, "/v1/products?kind=magic", "/kind"),
        (400, "/v1/audit/events?from=the-beginning", "/from"),
        (400, "/v1/audit/events?from=other:1", ""),
        (400, "/v1/audit/events?to=-1", "/to"),
        (400, "/v1/audit/events?from=2&to=1", "/to"),
        (400, "/v1/audit/events?stream=", "/stream"),
        (414, &format!("/v1/orders?q={}", "x".repeat(9_000)), ""),
    ];
    for (status, path, named) in cases {
        let what: String = path.chars().take(60).collect();
        let answer = shop.client.get(path).await;
        is_the_clients_mistake(&what, &answer);
        assert_eq!(
            (answer.status, named.is_empty() || pointer(&answer.body) == named),
            (status, true),
            "{what}: {}",
            answer.text
        );
    }
    for odd in [
        "/v1/products?q=%00",
        "/v1/orders?q=%22%27%28%29%5B%7B*%3F%7E%5E%3A",
        "/v1/products?q=%F0%9F%92%A9",
        "/v1/orders?q=-%2B",
    ] {
        let answer = shop.client.get(odd).await;
        assert!([200, 400].contains(&answer.status), "{odd}: {} {}", answer.status, answer.text);
    }
    shop.leave().await;
}

#[tokio::test]
async fn a_method_that_a_path_does_not_have_is_refused_with_those_that_it_has() {
    let shop = Shop::shared().await;
    let cases =
        [(Method::DELETE, "/v1/orders"), (Method::PATCH, "/v1/products/mug/price"), (Method::POST, "/v1/projections")];
    for (method, path) in cases {
        let answer = send(shop.client.request(method, path)).await.expect("an answer").expect(405);
        is_problem(path, &answer);
        assert!(answer.header("allow").is_some(), "{path}: {answer:?}");
    }
    shop.leave().await;
}

#[tokio::test]
async fn a_header_that_makes_no_sense_is_refused() {
    let shop = Shop::shared().await;
    let placed = shop.place("headers", &Wish::new("tok_ok", "standard")).await;
    let page = format!("/v1/orders/{}", placed.id);
    for (name, value) in [
        ("Waybill-Min-Position", "soon"),
        ("Waybill-Min-Position", "main:-1"),
        ("Waybill-Min-Position", "other:1"),
        ("Waybill-Min-Position", "main:99999999999999999999"),
        ("Waybill-Min-Position", ""),
        ("Waybill-Wait-Ms", "10001"),
        ("Waybill-Wait-Ms", "-1"),
    ] {
        let answer = send(shop.client.request(Method::GET, &page).header(name, value)).await.expect("an answer");
        is_problem(&format!("{name}: {value}"), &answer);
        assert_eq!((answer.status, answer.code()), (400, "malformed-header"), "{name}: {value}: {}", answer.text);
    }
    let far = shop.client.request(Method::GET, &page).header("Waybill-Min-Position", "main:999999999");
    let answer = send(far.header("Waybill-Wait-Ms", "50")).await.expect("an answer").expect(504);
    is_problem("a position that is not there yet", &answer);
    assert!(answer.body["position"].as_str().is_some_and(|at| at.starts_with("main:")), "{}", answer.text);
    for tag in ["3", "\"x\"", "\"1.x\"", "W/", "\"99999999999999999999.1\""] {
        let price = json!({ "price": { "amount_minor": 795, "currency": "GBP" } });
        let request = shop.client.request(Method::PUT, "/v1/products/mug/price").header("Idempotency-Key", "tag");
        let answer = send(request.header("If-Match", tag).json(&price)).await.expect("an answer");
        is_problem(&format!("If-Match: {tag}"), &answer.expect(400));
    }
    shop.leave().await;
}

#[tokio::test]
async fn a_command_to_what_is_not_there_is_refused() {
    let shop = Shop::shared().await;
    let price = json!({ "price": { "amount_minor": 795, "currency": "GBP" } });
    let request = shop.client.request(Method::PUT, "/v1/products/nothing/price").header("Idempotency-Key", "none");
    is_problem("a price of nothing", &send(request.json(&price)).await.expect("an answer").expect(404));
    is_problem("a cancellation of nothing", &shop.cancel(NOBODY).await.expect(404));
    let unknown = Wish::new("tok_ok", "standard").of("nothing", 1).body();
    let answer = shop.client.post("/v1/orders", "nothing", &unknown).await.expect(422);
    assert_eq!((answer.code(), pointer(&answer.body)), ("unknown-product", "/lines/0"), "{}", answer.text);
    // Of a key that was used before, that is the mistake.
    shop.place("something", &Wish::new("tok_ok", "standard")).await;
    let answer = shop.client.post("/v1/orders", "something", &unknown).await.expect(422);
    assert_eq!(answer.code(), "idempotency-key-reused", "{}", answer.text);
    let gone = json!({ "sku": "mug", "delta": -1_000_000, "reason": "all gone" });
    let answer = shop.client.post("/v1/inventory/main/adjustments", "gone", &gone).await.expect(422);
    is_problem("more taken away than is there", &answer);
    shop.leave().await;
}

async fn webhook(shop: &Shop, provider: &str, signature: Option<&str>, body: &str) -> Answer {
    let request = shop.client.request(Method::POST, &format!("/v1/webhooks/{provider}")).body(body.to_owned());
    let request = match signature {
        Some(signature) => request.header("Webhook-Signature", signature),
        None => request,
    };
    send(request.header("Content-Type", "application/json")).await.expect("an answer")
}

/// As the provider signs, with the secret that both sides have unless configured otherwise.
fn signed(body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"not-a-secret-loopback-only");
    hmac::sign(&key, body.as_bytes()).as_ref().iter().fold("v1=".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

#[tokio::test]
async fn a_webhook_that_nobody_signed_or_that_tells_of_nothing_changes_nothing() {
    let shop = Shop::shared().await;
    let told = |effect_key: &str| {
        json!({ "event_id": "e-1", "type": "payment.authorised", "effect_key": effect_key, "reference": "r",
            "occurred_at": "2026-11-22T10:00:00Z" })
        .to_string()
    };
    let body = told(&format!("fulfilment/{NOBODY}/authorise_payment/1"));
    for provider in ["payment", "carrier"] {
        let other = format!("v1={}", "0".repeat(64));
        for signature in [None, Some(""), Some("v1="), Some("v1=zz"), Some("v2=00"), Some(&*other)] {
            let answer = webhook(&shop, provider, signature, &body).await.expect(401);
            is_problem(&format!("{provider} signed {signature:?}"), &answer);
        }
        for malformed in ["", "{", "[]", "null", "{\"event_id\": 1}", "{\"type\":\"payment.lost\"}"] {
            let answer = webhook(&shop, provider, Some(&signed(malformed)), malformed).await.expect(400);
            is_problem(&format!("{provider} with {malformed:?}"), &answer);
        }
    }
    let large = " ".repeat(2 << 20);
    is_problem("two megabytes", &webhook(&shop, "payment", Some(&signed(&large)), &large).await.expect(413));
    // It may only be early: the provider shall ask again.
    let early = webhook(&shop, "payment", Some(&signed(&body)), &body).await.expect(503);
    assert_eq!(early.code(), "not-known-yet", "{}", early.text);
    let foreign = told("somebody/else");
    is_problem(
        "an effect of nobody's",
        &webhook(&shop, "payment", Some(&signed(&foreign)), &foreign).await.expect(422),
    );
    let order: Value = shop.client.get(&format!("/v1/orders/{NOBODY}")).await.expect(404).body;
    assert_eq!(order["code"], "not-found");
    shop.leave().await;
}

#[tokio::test]
async fn bytes_that_are_no_http_disturb_nobody() {
    let shop = Shop::shared().await;
    let address = shop.environment()["WAYBILL__HTTP__LISTEN"].clone();
    let header = format!("GET /livez HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    let lies = "POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999\r\n\r\n{";
    let twice = "POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}";
    for bytes in ["\0\0\0\0", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\x16\x03\x01\x02\x00\x01", lies, twice, &header]
    {
        let mut stream = TcpStream::connect(&address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout can be set");
        stream.write_all(bytes.as_bytes()).ok();
        let mut answer = [0; 512];
        let read = stream.read(&mut answer).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&answer[..read]).starts_with("HTTP/1.1 5"), "{bytes:.40}");
        assert_eq!(shop.client.get("/livez").await.status / 100, 2);
    }
    shop.leave().await;
}
