//! The log over HTTP: whole, in order, byte for byte, resumable, and never a part that looks like the whole.

use std::time::Duration;

use events::Position;
use http_api::Code;
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{
    shop::{confirmed_order, order, small_shop},
    support::Fixture,
};
use crate::Config;

#[derive(Deserialize)]
struct Line {
    position: String,
    stream: String,
    r#type: String,
    payload: Box<RawValue>,
    metadata: Box<RawValue>,
}

fn lines(text: &str) -> Vec<Line> {
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

async fn replay(fixture: &Fixture, query: &str) -> Vec<Line> {
    let response = fixture.get(&format!("/v1/audit/events{query}")).await;
    assert_eq!(response.status(), StatusCode::OK);
    lines(&response.text().await.expect("the stream is whole"))
}

#[tokio::test]
async fn a_replay_is_the_log_byte_for_byte() {
    let fixture = Fixture::without_redis().await;
    fixture.record(&small_shop()).await;
    let response = fixture.get("/v1/audit/events").await;
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    assert_eq!(response.headers()["waybill-position"], "main:15");
    let text = response.text().await.expect("the stream is whole");
    let log = fixture.log.raw_page(Position::START, 100).await.expect("the log is there");
    let replayed = lines(&text);
    assert_eq!(replayed.len(), log.len());
    for (line, event) in replayed.iter().zip(&log) {
        assert_eq!(line.position, format!("main:{}", event.position));
        assert_eq!((line.payload.get(), line.metadata.get()), (&*event.payload, &*event.metadata));
    }
    insta::assert_snapshot!(text.lines().nth(4).expect("the fifth event"));
}

#[tokio::test]
async fn a_replay_resumes_after_the_last_line_and_stops_where_it_is_told() {
    let fixture = Fixture::without_redis().await;
    fixture.record(&small_shop()).await;
    let positions = |lines: Vec<Line>| lines.into_iter().map(|line| line.position).collect::<Vec<_>>();
    assert_eq!(positions(replay(&fixture, "?from=main:12").await), ["main:13", "main:14", "main:15"]);
    assert_eq!(positions(replay(&fixture, "?from=12&to=main:13").await), ["main:13"]);
    assert!(replay(&fixture, "?from=main:15").await.is_empty());
    assert_eq!(replay(&fixture, "?to=main:999").await.len(), 15);
}

#[tokio::test]
async fn a_replay_of_a_stream_a_category_or_a_type_holds_nothing_else() {
    let fixture = Fixture::without_redis().await;
    fixture.record(&small_shop()).await;
    let of_category = replay(&fixture, "?stream=payment").await;
    assert_eq!(of_category.len(), 2);
    let of_stream = replay(&fixture, &format!("?stream=order-{}", order(1))).await;
    assert!(of_stream.len() == 2 && of_stream.iter().all(|line| line.stream.starts_with("order-")));
    let of_type = replay(&fixture, "?type=StepDecided&stream=fulfilment").await;
    assert!(of_type.len() == 3 && of_type.iter().all(|line| line.r#type == "StepDecided"));
}

#[tokio::test]
async fn a_long_log_comes_in_pages_without_a_seam() {
    let fixture = Fixture::without_redis().await;
    let happened = (0..200).flat_map(|n| confirmed_order(order(n), "12345")).collect::<Vec<_>>();
    fixture.record(&happened).await;
    let replayed = replay(&fixture, "").await;
    assert_eq!(replayed.len(), 2_200);
    assert!(replayed.iter().zip(1..).all(|(line, n)| line.position == format!("main:{n}")));
}

#[tokio::test]
async fn a_hole_ends_the_replay_with_an_error_and_a_broken_connection() {
    let fixture = Fixture::without_redis().await;
    let happened = (0..200).flat_map(|n| confirmed_order(order(n), "12345")).collect::<Vec<_>>();
    fixture.record(&happened).await;
    fixture.tear_a_hole(1_700).await;
    let mut response = fixture.get("/v1/audit/events").await;
    let mut text = Vec::new();
    let broken = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => text.extend_from_slice(&chunk),
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    assert!(broken, "a part must not look like the whole");
    let text = String::from_utf8(text).expect("JSON is UTF-8");
    let last: Value = serde_json::from_str(text.lines().last().expect("a last line")).expect("JSON");
    assert_eq!((&last["error"]["code"], &last["error"]["position"]), (&"internal".into(), &"main:1500".into()));
}

#[tokio::test]
async fn positions_that_the_log_does_not_have_are_refused() {
    let fixture = Fixture::without_redis().await;
    fixture.record(&small_shop()).await;
    for query in ["?from=other:1", "?to=other:1", "?from=main:16", "?from=x", "?to=-1", "?until=main:3", "?type="] {
        let (status, problem) = fixture.json(&format!("/v1/audit/events{query}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        assert!(problem["pointer"].is_string(), "{query}: {problem}");
    }
}

#[tokio::test]
async fn one_replay_too_many_waits_for_its_turn() {
    let config = Config { replays_max: 1, ..Config::default() };
    let fixture = Fixture::start("redis://127.0.0.1:1".into(), config).await;
    let happened = (0..500).flat_map(|n| confirmed_order(order(n), "12345")).collect::<Vec<_>>();
    fixture.record(&happened).await;
    // It is not read, so it cannot end: three megabytes do not fit into the buffers on the way.
    let unread = fixture.get("/v1/audit/events").await;
    let (status, problem) = fixture.json("/v1/audit/events").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(problem["code"], Code::Overloaded.as_str());
    drop(unread);
    let again = async {
        while fixture.get("/v1/audit/events?from=main:1&to=main:1").await.status() != StatusCode::OK {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), again).await.expect("the turn is given back");
}
