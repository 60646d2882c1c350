//! Every field of every body, damaged in every way that there is.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::{is_problem, is_the_clients_mistake, pointer};
use crate::support::{
    client::{Wish, send},
    shop::Shop,
};

/// A command endpoint with a body that it would take. Every field of it is required.
struct Endpoint {
    method: Method,
    path: String,
    body: Value,
}

fn endpoints(order_id: &str) -> Vec<Endpoint> {
    let price = json!({ "amount_minor": 100, "currency": "GBP" });
    let post = |path: &str, body: Value| Endpoint { method: Method::POST, path: path.into(), body };
    vec![
        post("/v1/products", json!({ "sku": "nasty", "name": "Nasty", "price": price })),
        Endpoint { method: Method::PUT, path: "/v1/products/mug/price".into(), body: json!({ "price": price }) },
        post("/v1/inventory/main/receipts", json!({ "reference": "PO-1", "lines": [{ "sku": "mug", "quantity": 1 }] })),
        post("/v1/inventory/main/adjustments", json!({ "sku": "mug", "delta": 1, "reason": "found" })),
        post("/v1/orders", Wish::new("tok_ok", "standard").body()),
        post(&format!("/v1/orders/{order_id}/cancel"), json!({ "reason": "changed my mind" })),
    ]
}

/// Paths to every value in it, as JSON pointers.
fn places(value: &Value) -> Vec<String> {
    let below = |(name, value): (String, &Value)| {
        let below = places(value).into_iter().map(move |place| format!("/{name}{place}"));
        below.collect::<Vec<_>>()
    };
    let mut all: Vec<String> = match value {
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), value)).flat_map(below).collect(),
        Value::Array(items) => {
            items.iter().enumerate().map(|(index, value)| (index.to_string(), value)).flat_map(below).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    all.push(String::new());
    all
}

/// What no field of this kind takes.
fn damages(value: &Value) -> Vec<Value> {
    let deep = (0..60).fold(json!(1), |inner, _| json!([inner]));
    let mut damages = vec![json!(null), json!(true), deep];
    match value {
        Value::String(_) => damages.extend([json!(5), json!({}), json!("a\u{0}b"), json!("x".repeat(5_000))]),
        Value::Number(_) => {
            damages.extend([json!("5"), json!(1.5), json!(1e300), json!(u64::MAX), json!([]), json!(i64::MIN)]);
        }
        Value::Array(_) => damages.extend([json!([]), json!({}), json!("x"), json!([null]), json!([[]])]),
        Value::Object(_) => damages.extend([json!([]), json!({}), json!("x"), json!(7)]),
        Value::Null | Value::Bool(_) => (),
    }
    damages
}

fn asked(shop: &Shop, endpoint: &Endpoint) -> RequestBuilder {
    shop.client.request(endpoint.method.clone(), &endpoint.path).header("Idempotency-Key", "bad")
}

fn json_of(request: RequestBuilder, body: impl Into<reqwest::Body>) -> RequestBuilder {
    request.header("Content-Type", "application/json").body(body)
}

/// An order that cannot go on, so that nothing is recorded while the test looks.
async fn quiet(shop: &Shop) -> String {
    let placed = shop.place("quiet", &Wish::new("tok_ok", "hold+webhook_none")).await;
    shop.until(&placed.id, "ShipmentBooked").await;
    shop.until(&placed.id, "StepDecided").await;
    placed.id
}

#[tokio::test]
async fn every_field_of_every_body_is_checked_and_named_and_nothing_is_recorded() {
    let mut shop = Shop::open().await;
    let endpoints = endpoints(&quiet(&shop).await);
    let head = settled_head(&shop).await;
    for endpoint in &endpoints {
        let path = &endpoint.path;
        for place in places(&endpoint.body) {
            let sound = endpoint.body.pointer(&place).expect("it is there");
            for damage in damages(sound) {
                let mut body = endpoint.body.clone();
                *body.pointer_mut(&place).expect("it is there") = damage.clone();
                let what = format!("{path} with {place:?} as {}", short(&damage));
                let answer = send(json_of(asked(&shop, endpoint), body.to_string())).await.expect("an answer");
                is_the_clients_mistake(&what, &answer);
                // Where a rule says no, its detail says why; else the field is named, or the one that holds it or that it holds.
                let named = pointer(&answer.body);
                let near = named.starts_with(&place) || place.starts_with(named);
                assert!(answer.status == 422 || near, "{what}: {named:?} is named: {}", answer.text);
            }
            let Some((parent, name)) = place.rsplit_once('/') else { continue };
            let mut body = endpoint.body.clone();
            let missing = format!("{path} without {place:?}");
            match body.pointer_mut(parent).expect("it is there") {
                Value::Object(fields) => {
                    fields.remove(name);
                    let answer = send(json_of(asked(&shop, endpoint), body.to_string())).await.expect("an answer");
                    is_problem(&missing, &answer);
                    assert_eq!((answer.status, pointer(&answer.body)), (400, &*place), "{missing}: {}", answer.text);
                }
                Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => (),
            }
        }
        // A field that nobody knows, in every object.
        for place in places(&endpoint.body) {
            let mut body = endpoint.body.clone();
            let Some(Value::Object(fields)) = body.pointer_mut(&place) else { continue };
            fields.insert("surprise".into(), json!(1));
            let answer = send(json_of(asked(&shop, endpoint), body.to_string())).await.expect("an answer").expect(400);
            is_problem(&format!("{path} with a surprise in {place:?}"), &answer);
            assert!(answer.text.contains("surprise"), "{path}: {}", answer.text);
        }
    }
    assert_eq!(shop.head().await, head, "nothing was recorded");
    shop.stop().await;
}

#[tokio::test]
async fn a_body_that_is_no_json_or_too_much_of_it_is_refused_by_every_endpoint() {
    let mut shop = Shop::open().await;
    let endpoints = endpoints(&quiet(&shop).await);
    let head = settled_head(&shop).await;
    for endpoint in &endpoints {
        let (path, sound) = (&endpoint.path, endpoint.body.to_string());
        let deep = format!("{}1{}", "[".repeat(20_000), "]".repeat(20_000));
        let deep_inside = sound.replacen('{', &format!("{{\"surprise\":{deep},"), 1);
        let doubled = sound.replacen('{', &format!("{{{},", sound.trim_matches(['{', '}'])), 1);
        let malformed: Vec<(&str, Vec<u8>)> = vec![
            ("nothing", Vec::new()),
            ("half of it", sound.as_bytes()[..sound.len() / 2].to_vec()),
            ("more after it", format!("{sound} {sound}").into_bytes()),
            ("null", b"null".to_vec()),
            ("an array", format!("[{sound}]").into_bytes()),
            ("a number", b"1e999999".to_vec()),
            ("deep nesting", deep.into_bytes()),
            ("deep nesting inside", deep_inside.into_bytes()),
            ("every field twice", doubled.into_bytes()),
            ("no UTF-8", [sound.as_bytes(), b"\xff\xfe"].concat()),
            ("no UTF-8 inside", sound.replacen(": \"", ": \"\u{1}", 1).replace(":\"", ":\"\u{1}").into_bytes()),
            ("a byte order mark", [b"\xef\xbb\xbf", sound.as_bytes()].concat()),
        ];
        for (what, body) in malformed {
            let answer = send(json_of(asked(&shop, endpoint), body)).await.expect("an answer");
            is_problem(&format!("{path} with {what}"), &answer);
            assert_eq!(answer.status, 400, "{path} with {what}: {}", answer.text);
        }
        let large = format!("{{\"surprise\":\"{}\"}}", "x".repeat(2 << 20));
        let answer = send(json_of(asked(&shop, endpoint), large)).await.expect("an answer").expect(413);
        is_problem(&format!("{path} with two megabytes"), &answer);
        for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
            let request = asked(&shop, endpoint).header("Content-Type", content_type).body(sound.clone());
            let answer = send(request).await.expect("an answer").expect(415);
            is_problem(&format!("{path} as {content_type:?}"), &answer);
        }
        for key in [None, Some("".to_owned()), Some("a b".to_owned()), Some("x".repeat(256))] {
            let mut request = json_of(shop.client.request(endpoint.method.clone(), path), sound.clone());
            if let Some(key) = &key {
                request = request.header("Idempotency-Key", key);
            }
            let answer = send(request).await.expect("an answer").expect(400);
            is_problem(&format!("{path} under the key {key:?}"), &answer);
        }
        for (header, value) in [("Waybill-Actor", "god"), ("Waybill-Actor", "staff:"), ("Idempotency-Key", "another")] {
            let answer =
                send(json_of(asked(&shop, endpoint).header(header, value), sound.clone())).await.expect("an answer");
            is_problem(&format!("{path} with {header}: {value}"), &answer.expect(400));
        }
    }
    assert_eq!(shop.head().await, head, "nothing was recorded");
    shop.stop().await;
}

#[tokio::test]
async fn a_quantity_that_nobody_delivers_is_refused_and_its_line_is_named() {
    let shop = Shop::shared().await;
    for quantity in [0_i64, 2_000_000_000] {
        let lines = json!([{ "sku": "mug", "quantity": 1 }, { "sku": "mug", "quantity": quantity }]);
        let body = json!({ "reference": "PO-7", "lines": lines });
        let answer = shop.client.post("/v1/inventory/main/receipts", "too-much", &body).await.expect(400);
        assert_eq!(pointer(&answer.body), "/lines/1/quantity", "{}", answer.text);
    }
    shop.leave().await;
}

/// The head once nothing moves any more.
async fn settled_head(shop: &Shop) -> i64 {
    use crate::support::{
        eventually::{eventually, holds},
        shop::PATIENCE,
    };
    eventually("the order waits for its parcel", PATIENCE, async || {
        let waits =
            "SELECT count(*) FROM events WHERE event_type = 'StepDecided' AND payload ->> 'step' = 'await_dispatch'";
        let waiting: i64 = sqlx::query_scalar(waits).fetch_one(&mut shop.log().await).await.expect("the log");
        holds(waiting == 1, || "it does not yet".into())
    })
    .await;
    shop.head().await
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(40).collect()
}
