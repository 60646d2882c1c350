//! A simulator on a free port with a ledger of its own, and a Waybill that takes its webhooks.

use std::{
    collections::VecDeque,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_lc_rs::hmac;
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    routing::post,
};
use events::SystemClock;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::mpsc, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::simulator::{Error, Simulator, SimulatorConfig, start};

pub(super) const HANG: Duration = Duration::from_millis(150);
const DEADLINE: Duration = Duration::from_secs(20);
const SECRET: &str = "whsec_test";

/// A running simulator. The folder outlives it where a test starts it again.
pub(super) struct Bed {
    pub(super) simulator: Simulator,
    pub(super) ledger_dir: Arc<TempDir>,
    client: reqwest::Client,
    shutdown: CancellationToken,
    tracker: TaskTracker,
}

impl Bed {
    /// A simulator whose webhooks go to `waybill`, or wait.
    pub(super) async fn start(waybill: Option<&Waybill>) -> Self {
        Self::start_in(Arc::new(TempDir::new().unwrap()), waybill).await.unwrap()
    }

    pub(super) async fn start_in(ledger_dir: Arc<TempDir>, waybill: Option<&Waybill>) -> Result<Self, Error> {
        let (shutdown, tracker) = (CancellationToken::new(), TaskTracker::new());
        let config = config(ledger_dir.path(), waybill.map(|waybill| waybill.url.clone()));
        let simulator = start(config, shutdown.clone(), &tracker).await?;
        Ok(Self { simulator, ledger_dir, client: reqwest::Client::new(), shutdown, tracker })
    }

    /// Ends it in order and starts it again on the same ledger.
    pub(super) async fn restart(self, waybill: Option<&Waybill>) -> Self {
        let ledger_dir = Arc::clone(&self.ledger_dir);
        self.stop().await;
        Self::start_in(ledger_dir, waybill).await.unwrap()
    }

    pub(super) async fn stop(self) {
        self.shutdown.cancel();
        self.tracker.close();
        timeout(DEADLINE, self.tracker.wait()).await.expect("the simulator ends");
    }

    /// Waits until the ledger file says of so many webhooks that they have ended.
    pub(super) async fn webhooks_ended(&self, file: &str, count: usize) {
        let path = self.ledger_dir.path().join(file);
        let written = async {
            while std::fs::read_to_string(&path).unwrap().matches("webhook_ended").count() < count {
                tokio::task::yield_now().await;
            }
        };
        timeout(DEADLINE, written).await.expect("the end of a webhook is written");
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.post_bytes(path, body.to_string()).await
    }

    pub(super) async fn post_bytes(&self, path: &str, body: String) -> (u16, Value) {
        read(self.client.post(self.url(path)).body(body)).await
    }

    pub(super) async fn get(&self, path: &str) -> (u16, Value) {
        read(self.client.get(self.url(path))).await
    }

    /// The ledger's lines, or those of one effect key.
    pub(super) async fn ledger(&self, service: &str, effect_key: Option<&str>) -> Vec<Value> {
        let response = self.client.get(self.url(&format!("{service}/ledger"))).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let lines = response.text().await.unwrap();
        lines
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .filter(|line| effect_key.is_none_or(|key| line["effect_key"] == key))
            .collect()
    }

    pub(super) async fn authorise(&self, effect_key: &str, token: &str) -> (u16, Value) {
        self.post("/payments/authorisations", &authorisation(effect_key, token)).await
    }

    pub(super) async fn capture(&self, effect_key: &str, authorisation_key: &str, amount: i64) -> (u16, Value) {
        let body = json!({"effect_key": effect_key, "authorisation_key": authorisation_key, "amount_minor": amount});
        self.post("/payments/captures", &body).await
    }

    pub(super) async fn void(&self, effect_key: &str, authorisation_key: &str) -> (u16, Value) {
        let body = json!({"effect_key": effect_key, "authorisation_key": authorisation_key});
        self.post("/payments/voids", &body).await
    }

    pub(super) async fn refund(&self, effect_key: &str, capture_key: &str, amount: i64) -> (u16, Value) {
        let body = json!({"effect_key": effect_key, "capture_key": capture_key, "amount_minor": amount});
        self.post("/payments/refunds", &body).await
    }

    pub(super) async fn book(&self, carrier: &str, effect_key: &str, service: &str) -> (u16, Value) {
        let body = json!({
            "effect_key": effect_key, "shipment_id": "shipment-1", "order_id": "order-1", "service": service,
            "postal_code": "LS1 1AA", "country": "GB", "parcels": [{"sku": "tea", "quantity": 2}],
        });
        self.post(&format!("/carriers/{carrier}/shipments"), &body).await
    }

    pub(super) async fn cancel(&self, carrier: &str, effect_key: &str, booking_key: &str) -> (u16, Value) {
        let body = json!({"effect_key": effect_key, "booking_key": booking_key});
        self.post(&format!("/carriers/{carrier}/cancellations"), &body).await
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.simulator.addr)
    }
}

pub(super) fn config(ledger_dir: &Path, waybill_url: Option<String>) -> SimulatorConfig {
    SimulatorConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        waybill_url,
        webhook_secret: SECRET.into(),
        ledger_dir: ledger_dir.to_owned(),
        hang: HANG,
        seed: 42,
        clock: Arc::new(SystemClock),
    }
}

/// 10.00 EUR.
pub(super) fn authorisation(effect_key: &str, token: &str) -> Value {
    json!({"effect_key": effect_key, "amount_minor": 1000, "currency": "EUR", "token": token})
}

async fn read(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = timeout(DEADLINE, request.send()).await.expect("an answer in time").unwrap();
    let status = response.status().as_u16();
    let body = response.bytes().await.unwrap();
    (status, if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() })
}

/// Takes webhooks, checks their signature and hands them to the test.
pub(super) struct Waybill {
    pub(super) url: String,
    received: mpsc::Receiver<Received>,
    answers: Arc<Mutex<VecDeque<u16>>>,
    stop: CancellationToken,
}

pub(super) struct Received {
    pub(super) path: String,
    pub(super) body: Value,
}

#[derive(Clone)]
struct Ear {
    heard: mpsc::Sender<Received>,
    answers: Arc<Mutex<VecDeque<u16>>>,
}

impl Waybill {
    /// Answers the first webhooks with `answers` in turn, all others with 204.
    pub(super) async fn answering(answers: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (heard, received) = mpsc::channel(1000);
        let answers = Arc::new(Mutex::new(answers.iter().copied().collect::<VecDeque<_>>()));
        let ear = Ear { heard, answers: Arc::clone(&answers) };
        let router = Router::new().route("/v1/webhooks/{kind}", post(hear)).with_state(ear);
        let stop = CancellationToken::new();
        let serving = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
        TaskTracker::new().spawn(async move { serving.await.unwrap() });
        Self { url, received, answers, stop }
    }

    pub(super) async fn willing() -> Self {
        Self::answering(&[]).await
    }

    pub(super) async fn next(&mut self) -> Received {
        timeout(DEADLINE, self.received.recv()).await.expect("a webhook in time").expect("Waybill listens")
    }

    /// The types of the next webhooks.
    pub(super) async fn next_types(&mut self, count: usize) -> Vec<String> {
        let mut types = Vec::new();
        for _ in 0..count {
            types.push(self.next().await.body["type"].as_str().unwrap().to_owned());
        }
        types
    }

    /// Whether a webhook has arrived that nobody asked for yet.
    pub(super) fn has_heard(&mut self) -> bool {
        !self.received.is_empty()
    }

    pub(super) fn answers_left(&self) -> usize {
        self.answers.lock().unwrap().len()
    }
}

impl Drop for Waybill {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn hear(State(ear): State<Ear>, uri: Uri, headers: HeaderMap, body: Bytes) -> StatusCode {
    let signature = headers["webhook-signature"].to_str().unwrap();
    let hex = signature.strip_prefix("v1=").unwrap();
    let tag: Vec<u8> = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    hmac::verify(&key, &body, &tag).expect("the signature fits the body");
    let received = Received { path: uri.path().into(), body: serde_json::from_slice(&body).unwrap() };
    ear.heard.send(received).await.unwrap();
    let answer = ear.answers.lock().unwrap().pop_front().unwrap_or(204);
    StatusCode::from_u16(answer).unwrap()
}
