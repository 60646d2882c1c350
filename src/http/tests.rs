//! The shared parts as a client meets them: a real server, real requests, pinned problem documents.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    routing::{get, post},
};
use events::{Clock as _, LogPosition, Position, SystemClock, SystemIds};
use futures_util::future::join_all;
use prometheus_client::registry::Registry;
use reqwest::{Client, Response, StatusCode, header};
use serde::Deserialize;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    Code, HashedJson, HttpMetrics, IdempotencyKey, Json, Limits, Path, Problem, Query, ReadinessCheck, docs, health,
    serve::{Bounds, serve_within},
    with_standard_layers,
};

#[derive(Debug, Deserialize, garde::Validate)]
#[serde(deny_unknown_fields)]
struct Order {
    #[garde(length(chars, min = 1, max = 10))]
    name: String,
    #[garde(length(min = 1, max = 3), dive)]
    lines: Vec<Line>,
}

#[derive(Debug, Deserialize, garde::Validate)]
#[serde(deny_unknown_fields)]
struct Line {
    #[garde(range(min = 1))]
    quantity: u32,
}

#[derive(Debug, Deserialize, garde::Validate)]
#[serde(deny_unknown_fields)]
struct Page {
    #[garde(range(min = 1, max = 200))]
    limit: Option<u32>,
}

async fn place(_key: IdempotencyKey, Json(order): Json<Order>) -> String {
    let pieces = order.lines.iter().map(|line| line.quantity).sum::<u32>();
    format!("{}: {pieces}", order.name)
}

async fn hash(HashedJson(_, hash): HashedJson<Order>) -> String {
    hash
}

async fn by_number(Path(number): Path<u32>, Query(page): Query<Page>) -> String {
    format!("{number}, {}", page.limit.unwrap_or(20))
}

async fn stuck() -> &'static str {
    std::future::pending().await
}

async fn panics() -> &'static str {
    panic!("for the test: a secret")
}

async fn fails() -> Problem {
    let cause = std::io::Error::other("password=secret");
    Problem::internal("answer the test", &cause).at(LogPosition::new(Default::default(), Position(7)))
}

struct Server {
    base: String,
    client: Client,
    tasks: JoinSet<std::io::Result<()>>,
    _stop: DropGuard,
}

impl Server {
    async fn start(limits: Limits) -> Self {
        Self::start_within(Bounds::default(), limits).await
    }

    async fn start_within(bounds: Bounds, limits: Limits) -> Self {
        let mut registry = Registry::default();
        let metrics = HttpMetrics::register(&mut registry);
        let api = Router::new()
            .route("/orders", post(place))
            .route("/hash", post(hash))
            .route("/orders/{number}", get(by_number))
            .route("/stuck", get(stuck).post(stuck))
            .route("/panics", get(panics))
            .route("/fails", get(fails))
            .route("/long", get(async || "x".repeat(10_000)));
        let checks = vec![
            ReadinessCheck::new("log", async || Ok(())),
            ReadinessCheck::new("views", async || Err("Redis does not answer".into())),
        ];
        let router = with_standard_layers(api, &limits, metrics, Arc::new(SystemIds))
            .merge(health(Arc::new(registry), checks))
            .merge(docs(utoipa::openapi::OpenApi::default()));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("bound"));
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_within(bounds, listener, router, stop.clone(), Duration::from_millis(200)));
        Self { base, client: Client::new(), tasks, _stop: stop.drop_guard() }
    }

    async fn get(&self, path: &str) -> Response {
        self.client.get(format!("{}{path}", self.base)).send().await.expect("the server answers")
    }

    /// A connection that has said these bytes.
    async fn say(&self, bytes: &[u8]) -> TcpStream {
        let mut connection = TcpStream::connect(self.base.trim_start_matches("http://")).await.expect("it listens");
        connection.write_all(bytes).await.expect("the connection is open");
        connection
    }

    async fn post(&self, path: &str, body: &str) -> Response {
        let request = self.client.post(format!("{}{path}", self.base)).header("idempotency-key", "k");
        let request = request.header(header::CONTENT_TYPE, "application/json").body(body.to_owned());
        request.send().await.expect("the server answers")
    }
}

async fn problem(response: Response) -> Value {
    assert_eq!(response.headers()[header::CONTENT_TYPE], crate::PROBLEM_JSON);
    let status = response.status();
    let problem: Value = response.json().await.expect("JSON");
    assert_eq!(problem["status"], status.as_u16());
    problem
}

async fn started() -> Server {
    Server::start(Limits { time: Duration::from_millis(300), body_bytes: 1_000, ..Limits::default() }).await
}

#[tokio::test]
async fn a_bad_body_names_the_field_and_what_is_wrong_with_it() {
    let server = started().await;
    let mut problems = Vec::new();
    for body in [
        "{",
        "[]",
        r#"{"name":"n"}"#,
        r#"{"name":"n","lines":[{}]}"#,
        r#"{"name":"n","lines":[{"quantity":-1}]}"#,
        r#"{"name":"n","lines":[{"quantity":1,"price":2}]}"#,
        r#"{"name":"n","lines":[]} x"#,
        r#"{"name":"","lines":[{"quantity":1},{"quantity":0}]}"#,
    ] {
        let problem = problem(server.post("/orders", body).await).await;
        problems.push(serde_json::json!({"body": body, "problem": problem}));
    }
    insta::assert_json_snapshot!(problems);
}

#[tokio::test]
async fn a_body_of_another_type_or_too_large_is_refused() {
    let server = started().await;
    let plain = server.client.post(format!("{}/orders", server.base)).header("idempotency-key", "k").body("{}");
    let unsupported = problem(plain.send().await.expect("answered")).await;
    assert_eq!(unsupported["code"], "unsupported-media-type");
    let large = problem(server.post("/orders", &" ".repeat(1_001)).await).await;
    assert_eq!(large["code"], "body-too-large");
}

#[tokio::test]
async fn a_good_body_is_taken_and_hashed_as_it_came() {
    let server = started().await;
    let body = r#"{"name":"n","lines":[{"quantity":2},{"quantity":3}]}"#;
    let placed = server.post("/orders", body).await;
    assert_eq!(placed.text().await.expect("text"), "n: 5");
    let hash = server.post("/hash", body).await.text().await.expect("text");
    assert_eq!(hash, "6a3331caa5e5e0e2ca9278b74f68421b934020e63024e11df006438c284e3bd4");
}

#[tokio::test]
async fn a_bad_path_query_or_method_is_told() {
    let server = started().await;
    let mut problems = Vec::new();
    for path in ["/orders/x", "/orders/1?limit=x", "/orders/1?limit=0", "/orders/1?page=2", "/nowhere", "/orders"] {
        problems.push(serde_json::json!({"path": path, "problem": problem(server.get(path).await).await}));
    }
    insta::assert_json_snapshot!(problems);
    assert_eq!(server.get("/orders").await.headers()[header::ALLOW], "POST");
    assert_eq!(server.get("/orders/1?limit=5").await.text().await.expect("text"), "1, 5");
    let long = server.get(&format!("/orders/1?limit={}", "1".repeat(9_000))).await;
    assert_eq!(problem(long).await["code"], "uri-too-long");
}

#[tokio::test]
async fn what_goes_wrong_inside_stays_inside() {
    let server = started().await;
    for path in ["/panics", "/fails"] {
        let response = server.get(path).await;
        assert!(response.headers().contains_key("x-request-id"));
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let problem = problem(response).await;
        assert_eq!(problem["code"], "internal");
        assert!(!problem.to_string().contains("secret"), "{problem}");
    }
    assert_eq!(server.get("/fails").await.headers()["waybill-position"], "main:7");
}

#[tokio::test]
async fn a_request_that_takes_too_long_ends_with_a_problem() {
    let server = started().await;
    let response = server.get("/stuck").await;
    assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    assert_eq!(problem(response).await["code"], "timed-out");
    let response = server.post("/stuck", "{}").await;
    assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    assert_eq!(problem(response).await["code"], "outcome-unknown", "what it began goes on");
}

#[tokio::test]
async fn one_request_too_many_is_turned_away_and_probes_are_not() {
    let server = Server::start(Limits { concurrent: 1, ..Limits::default() }).await;
    let mut waiting = JoinSet::new();
    waiting.spawn(server.client.get(format!("{}/stuck", server.base)).send());
    let deadline = SystemClock.now() + Duration::from_secs(5);
    let shed = loop {
        let response = server.get("/long").await;
        if response.status() == StatusCode::SERVICE_UNAVAILABLE {
            break response;
        }
        assert!(SystemClock.now() < deadline, "nothing was turned away");
    };
    assert_eq!(shed.headers()[header::RETRY_AFTER], "1");
    assert_eq!(problem(shed).await["code"], "overloaded");
    assert_eq!(server.get("/livez").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_request_id_is_kept_if_it_is_plain_and_made_if_not() {
    let server = started().await;
    let asked = |id: &str| server.client.get(format!("{}/long", server.base)).header("x-request-id", id).send();
    assert_eq!(asked("abc-1").await.expect("answered").headers()["x-request-id"], "abc-1");
    let made = asked("a b").await.expect("answered");
    assert_eq!(made.headers()["x-request-id"].len(), 36);
}

#[tokio::test]
async fn long_answers_are_compressed_for_those_who_can() {
    let server = started().await;
    let request = server.client.get(format!("{}/long", server.base)).header(header::ACCEPT_ENCODING, "gzip");
    let response = request.send().await.expect("answered");
    assert_eq!(response.headers()[header::CONTENT_ENCODING], "gzip");
    assert!(response.bytes().await.expect("a body").len() < 1_000);
    for refusing in ["gzip;q=0, *;q=0", "*;q=0", "identity;q=0", "br"] {
        let request = server.client.get(format!("{}/long", server.base)).header(header::ACCEPT_ENCODING, refusing);
        let response = request.send().await.expect("answered");
        assert_eq!(response.status(), StatusCode::OK, "{refusing}: what is done must not be answered as refused");
        assert!(!response.headers().contains_key(header::CONTENT_ENCODING));
    }
}

#[tokio::test]
async fn readiness_names_what_is_missing() {
    let server = started().await;
    let response = server.get("/readyz").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    insta::assert_json_snapshot!(response.json::<Value>().await.expect("JSON"));
}

#[tokio::test]
async fn requests_are_counted_by_route_template_and_never_by_id() {
    let server = started().await;
    server.get("/orders/1").await;
    server.get("/orders/2").await;
    server.get("/nowhere").await;
    let metrics = server.get("/metrics").await.text().await.expect("text");
    let counts = metrics.lines().filter(|line| line.starts_with("http_requests_total")).collect::<Vec<_>>();
    assert!(counts.contains(&r#"http_requests_total{method="GET",route="/orders/{number}",status="2xx"} 2"#));
    assert!(counts.contains(&r#"http_requests_total{method="GET",route="none",status="4xx"} 1"#), "{counts:?}");
}

#[tokio::test]
async fn the_docs_work_without_a_network() {
    let server = started().await;
    let page = server.get("/docs/").await.text().await.expect("text");
    assert!(page.contains("swagger-ui"));
    let start = server.get("/docs/swagger-initializer.js").await.text().await.expect("text");
    assert!(start.contains(r#""url": "/openapi.json""#) && start.contains(r#""validatorUrl": "none""#), "{start}");
    for elsewhere in ["http://", "https://", "//cdn"] {
        assert!(!page.contains(elsewhere), "the page loads from {elsewhere}");
    }
    assert_eq!(server.get("/openapi.json").await.json::<Value>().await.expect("JSON")["openapi"], "3.1.0");
}

#[tokio::test]
async fn every_code_is_explained_where_its_type_leads() {
    let server = started().await;
    let mut names = std::collections::BTreeSet::new();
    for &code in Code::ALL {
        assert!(names.insert(code.as_str()), "{} is there twice", code.as_str());
        assert!(code.status().is_client_error() || code.status().is_server_error());
        let explained = server.get(&Problem::new(code, "").type_uri).await.text().await.expect("text");
        assert!(explained.contains(code.meaning()));
    }
    let catalogue = Code::ALL.iter().map(|code| (code.as_str(), code.status().as_u16(), code.retryable()));
    insta::assert_debug_snapshot!(catalogue.collect::<Vec<_>>());
}

const ASK: &str = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
const PATIENCE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn who_connects_and_does_not_ask_to_the_end_is_disconnected() {
    let bounds = Bounds { asking: Duration::from_millis(100), ..Bounds::default() };
    let server = Server::start_within(bounds, Limits { time: Duration::from_millis(300), ..Limits::default() }).await;
    let server = &server;
    let half = "GET /livez HTTP/1.1\r\nHost: x\r\nX-Half:";
    let (kept_alive, and_half) = (ASK.to_owned(), format!("{ASK}{half}"));
    let of_http2 = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let clients = [("", 0), ("PRI", 0), (of_http2, 0), (half, 0), (&*kept_alive, 1), (&*and_half, 1)];
    let disconnected = clients.map(async |(said, answers)| {
        let mut connection = server.say(said.as_bytes()).await;
        let mut heard = Vec::new();
        let ended = timeout(PATIENCE, connection.read_to_end(&mut heard)).await;
        assert!(ended.is_ok(), "the server still waits for the rest of {said:?}");
        assert_eq!(String::from_utf8_lossy(&heard).matches("HTTP/1.1 200").count(), answers, "{said:?}");
    });
    join_all(disconnected).await;
    let slow = server.get("/stuck").await;
    assert_eq!(problem(slow).await["code"], "timed-out", "who has asked may wait");
}

#[tokio::test]
async fn one_connection_too_many_waits_for_its_turn() {
    let server = Server::start_within(Bounds { connections: 1, ..Bounds::default() }, Limits::default()).await;
    let (mut first, mut answer) = (server.say(ASK.as_bytes()).await, [0; 12]);
    first.read_exact(&mut answer).await.expect("an answer");
    let mut second = server.say(ASK.as_bytes()).await;
    assert!(timeout(Duration::from_millis(50), second.read_exact(&mut answer)).await.is_err(), "it was not its turn");
    drop(first);
    let answered = timeout(PATIENCE, second.read_exact(&mut answer)).await;
    assert!(matches!(answered, Ok(Ok(_))) && answer == *b"HTTP/1.1 200", "{answered:?}");
}

#[tokio::test]
async fn shutdown_waits_for_requests_no_longer_than_agreed() {
    let mut server = Server::start(Limits::default()).await;
    let mut waiting = JoinSet::new();
    waiting.spawn(server.client.get(format!("{}/stuck", server.base)).send());
    let answered = server.get("/livez").await.text().await;
    assert_eq!(answered.expect("text"), "ok\n");
    drop(server._stop);
    let ended = timeout(PATIENCE, server.tasks.join_next()).await;
    assert!(matches!(ended, Ok(Some(Ok(Ok(()))))), "{ended:?}");
}
