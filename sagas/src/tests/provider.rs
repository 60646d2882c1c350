//! A payment provider and carriers for tests, over HTTP, scripted by token and by service. They keep books of their own.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::ListenerExt,
};
use events::{Actor, CommandId, OrderId, ShipmentId, Tenant};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};
use write_side::{
    Context, EventStore,
    domain::shipment::{Shipment, ShipmentCommand},
    handle,
};

/// What was asked under a key: the first answer, and how often the effect was really applied.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub answer: (StatusCode, Value),
    pub applied: u32,
    pub asked: u32,
}

#[derive(Clone)]
pub(super) struct Provider {
    pub url: String,
    books: Arc<Mutex<HashMap<String, Entry>>>,
    store: EventStore,
    serving: Arc<Mutex<JoinSet<()>>>,
}

impl Provider {
    pub(super) async fn start(store: EventStore) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let (books, serving) = (Arc::default(), Arc::new(Mutex::new(JoinSet::new())));
        let provider = Self { url, books, store, serving };
        let router = Router::new()
            .route("/payments/authorisations", post(authorise))
            .route("/payments/captures", post(capture))
            .route("/payments/voids", post(void))
            .route("/payments/effects/{key}", get(status))
            .route("/carriers/{carrier}/shipments", post(book))
            .route("/carriers/{carrier}/cancellations", post(cancel))
            .route("/carriers/{carrier}/effects/{key}", get(carrier_status))
            .with_state(provider.clone());
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        let serve = async { axum::serve(listener, router).await.expect("the provider serves") };
        provider.serving.lock().expect("no panic").spawn(serve);
        provider
    }

    pub(super) fn entry(&self, key: &str) -> Option<Entry> {
        self.books.lock().expect("no panic").get(key).cloned()
    }

    /// Every effect was applied at most once.
    pub(super) fn assert_applied_once(&self) {
        for (key, entry) in &*self.books.lock().expect("no panic") {
            assert!(entry.applied <= 1, "{key} was applied {} times", entry.applied);
        }
    }

    /// The first answer under the key, or what `decide` says now. Returns whether it is new.
    fn answer(
        &self,
        body: &Value,
        decide: impl FnOnce(&HashMap<String, Entry>) -> (StatusCode, Value),
    ) -> (bool, Response) {
        let key = text(body, "effect_key");
        let mut books = self.books.lock().expect("no panic");
        let fresh = !books.contains_key(&key);
        if fresh {
            let answer = decide(&books);
            let applied = u32::from(answer.0.is_success());
            books.insert(key.clone(), Entry { answer, applied, asked: 0 });
        }
        let entry = books.get_mut(&key).expect("it was put there");
        entry.asked += 1;
        (fresh, entry.answer.clone().into_reply())
    }

    /// Tells Waybill that the parcel has left, as the carrier's webhook does.
    pub(super) async fn dispatch(&self, order_id: OrderId, shipment_id: ShipmentId) {
        let context = Context {
            command_id: CommandId::of(&["dispatch", &shipment_id.to_string()]),
            correlation_id: order_id.0,
            actor: Actor::service("carrier"),
            tenant: Tenant::default(),
            traceparent: None,
            business_time: None,
            body_hash: None,
            once_in: None,
        };
        let told = ShipmentCommand::RecordDispatched { tracking: format!("T-{shipment_id}") };
        handle::<Shipment>(&self.store, &shipment_id.stream(), told, &context).await.expect("the parcel was booked");
    }
}

trait IntoReply {
    fn into_reply(self) -> Response;
}

impl IntoReply for (StatusCode, Value) {
    fn into_reply(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}

fn text(body: &Value, field: &str) -> String {
    body[field].as_str().unwrap_or_default().to_owned()
}

fn said(body: &Value, code: StatusCode, status: &str) -> (StatusCode, Value) {
    let key = text(body, "effect_key");
    let reference = format!("R-{key}");
    (
        code,
        json!({"effect_key": key, "status": status, "reason": status, "reference": reference, "tracking": reference}),
    )
}

/// A void that came before this authorisation forbids it.
fn is_voided(books: &HashMap<String, Entry>, key: &str) -> bool {
    books.contains_key(&format!("tombstone {key}"))
}

async fn authorise(State(provider): State<Provider>, Json(body): Json<Value>) -> Response {
    let token = text(&body, "token");
    if token == "tok_500_1" && first_time(&provider, &body) {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    if token == "tok_never" {
        return hang().await;
    }
    let (fresh, reply) = provider.answer(&body, |books| match token.as_str() {
        _ if is_voided(books, &text(&body, "effect_key")) => said(&body, StatusCode::CONFLICT, "voided"),
        "tok_decline" => said(&body, StatusCode::PAYMENT_REQUIRED, "declined"),
        _ => said(&body, StatusCode::CREATED, "authorised"),
    });
    if fresh && token == "tok_timeout_after" {
        return hang().await;
    }
    reply
}

/// Says nothing until whoever asked hangs up.
async fn hang() -> Response {
    std::future::pending().await
}

fn first_time(provider: &Provider, body: &Value) -> bool {
    let key = format!("failed {}", text(body, "effect_key"));
    let entry = Entry { answer: (StatusCode::OK, Value::Null), applied: 0, asked: 1 };
    provider.books.lock().expect("no panic").insert(key, entry).is_none()
}

async fn capture(State(provider): State<Provider>, Json(body): Json<Value>) -> Response {
    provider.answer(&body, |_| said(&body, StatusCode::CREATED, "captured")).1
}

async fn void(State(provider): State<Provider>, Json(body): Json<Value>) -> Response {
    let authorisation = text(&body, "authorisation_key");
    let tombstone = Entry { answer: (StatusCode::OK, Value::Null), applied: 0, asked: 1 };
    provider.books.lock().expect("no panic").insert(format!("tombstone {authorisation}"), tombstone);
    provider.answer(&body, |_| said(&body, StatusCode::CREATED, "voided")).1
}

async fn book(State(provider): State<Provider>, Path(carrier): Path<String>, Json(body): Json<Value>) -> Response {
    let service = text(&body, "service");
    let refuses = service == "refuse_all" || (service == "refuse_swift" && carrier == "swift");
    let (fresh, reply) = provider.answer(&body, |books| match refuses {
        _ if is_voided(books, &text(&body, "effect_key")) => said(&body, StatusCode::CONFLICT, "cancelled"),
        true => said(&body, StatusCode::UNPROCESSABLE_ENTITY, "refused"),
        false => said(&body, StatusCode::CREATED, "booked"),
    });
    if fresh && !refuses && service == "standard" {
        let order_id = text(&body, "order_id").parse().expect("an order id");
        let shipment_id = text(&body, "shipment_id").parse().expect("a shipment id");
        let carrier = provider.clone();
        let telling = async move { carrier.dispatch(order_id, shipment_id).await };
        provider.serving.lock().expect("no panic").spawn(telling);
    }
    reply
}

async fn cancel(State(provider): State<Provider>, Json(body): Json<Value>) -> Response {
    let booking = text(&body, "booking_key");
    let tombstone = Entry { answer: (StatusCode::OK, Value::Null), applied: 0, asked: 1 };
    provider.books.lock().expect("no panic").insert(format!("tombstone {booking}"), tombstone);
    provider.answer(&body, |_| said(&body, StatusCode::CREATED, "cancelled")).1
}

async fn status(State(provider): State<Provider>, Path(key): Path<String>) -> Response {
    match provider.entry(&key) {
        Some(entry) => (StatusCode::OK, entry.answer.1).into_reply(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn carrier_status(state: State<Provider>, Path((_, key)): Path<(String, String)>) -> Response {
    status(state, Path(key)).await
}
