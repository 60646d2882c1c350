//! The simulator's endpoints: parse, ask the service, answer. `docs/simulator.md` is the contract for its callers.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, FromRequest, Path, Request as HttpRequest, State, rejection::PathRejection},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures_util::stream;
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::Semaphore;

use super::{
    carriers::{Booking, Cancellation, Carrier, CarrierRequest, Dispatch},
    effects::{AnswerBody, Book, Status},
    journal::Unavailable,
    ledger::{Authorisation, Capture, PaymentRequest, Payments, Refund, Void},
    service::{Outcome, Service},
};

/// An order of a thousand lines takes a tenth of it.
const BODY_BYTES_MAX: usize = 1 << 20;
const REQUESTS_MAX: usize = 8192;

#[derive(Clone)]
pub(super) struct App {
    pub(super) payments: Arc<Service<Payments>>,
    pub(super) carriers: Arc<BTreeMap<&'static str, Arc<Service<Carrier>>>>,
}

pub(super) fn router(app: App) -> Router {
    Router::new()
        .route("/livez", get(async || StatusCode::NO_CONTENT))
        .route("/payments/authorisations", post(authorise))
        .route("/payments/captures", post(capture))
        .route("/payments/voids", post(void))
        .route("/payments/refunds", post(refund))
        .route("/payments/effects/{effect_key}", get(payment_effect))
        .route("/payments/ledger", get(payment_ledger))
        .route("/carriers/{carrier}/shipments", post(book))
        .route("/carriers/{carrier}/cancellations", post(cancel))
        .route("/carriers/{carrier}/dispatch", post(dispatch))
        .route("/carriers/{carrier}/effects/{effect_key}", get(carrier_effect))
        .route("/carriers/{carrier}/ledger", get(carrier_ledger))
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "not_found", "there is no such page"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this page is asked in another way")
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(Arc::new(Semaphore::new(REQUESTS_MAX)), bound_requests))
        .with_state(app)
}

async fn authorise(State(app): State<App>, Json(body): Json<Authorisation>) -> Response {
    answer(app.payments.ask(PaymentRequest::Authorisation(body)).await)
}

async fn capture(State(app): State<App>, Json(body): Json<Capture>) -> Response {
    answer(app.payments.ask(PaymentRequest::Capture(body)).await)
}

async fn void(State(app): State<App>, Json(body): Json<Void>) -> Response {
    answer(app.payments.ask(PaymentRequest::Void(body)).await)
}

async fn refund(State(app): State<App>, Json(body): Json<Refund>) -> Response {
    answer(app.payments.ask(PaymentRequest::Refund(body)).await)
}

async fn payment_effect(
    State(app): State<App>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(effect_key) = path?;
    effect(&app.payments, &effect_key).await
}

async fn payment_ledger(State(app): State<App>) -> Result<Response, Problem> {
    ledger(app.payments).await
}

async fn book(
    State(app): State<App>,
    path: Result<Path<String>, PathRejection>,
    Json(body): Json<Booking>,
) -> Result<Response, Problem> {
    let carrier = app.carrier(&path?)?;
    Ok(answer(carrier.ask(CarrierRequest::Booking(body)).await))
}

async fn cancel(
    State(app): State<App>,
    path: Result<Path<String>, PathRejection>,
    Json(body): Json<Cancellation>,
) -> Result<Response, Problem> {
    let carrier = app.carrier(&path?)?;
    Ok(answer(carrier.ask(CarrierRequest::Cancellation(body)).await))
}

/// Sends a parcel off that waits for it. An unknown booking may still come, so that "no" is not remembered.
async fn dispatch(
    State(app): State<App>,
    path: Result<Path<String>, PathRejection>,
    Json(body): Json<Dispatch>,
) -> Result<Response, Problem> {
    let carrier = app.carrier(&path?)?;
    if !carrier.read(|book| book.knows(&body.booking_key)) {
        return Err(Problem::new(StatusCode::NOT_FOUND, "unknown_booking", "no booking has this key"));
    }
    let booking_key = body.booking_key.to_string();
    match carrier.ask(CarrierRequest::Dispatch(body)).await {
        Outcome::Answered(given) => {
            let AnswerBody { status, reason, tracking, .. } = given.body;
            Ok(json(given.code, &Dispatched { booking_key, status, reason, tracking }))
        }
        outcome @ (Outcome::Hung | Outcome::Failed | Outcome::KeyReused | Outcome::Unavailable) => Ok(answer(outcome)),
    }
}

async fn carrier_effect(
    State(app): State<App>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, Problem> {
    let Path((carrier, effect_key)) = path?;
    effect(app.carrier(&carrier)?, &effect_key).await
}

async fn carrier_ledger(
    State(app): State<App>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    ledger(Arc::clone(app.carrier(&path?)?)).await
}

impl App {
    fn carrier(&self, name: &str) -> Result<&Arc<Service<Carrier>>, Problem> {
        self.carriers.get(name).ok_or_else(|| {
            let known: Vec<_> = self.carriers.keys().copied().collect();
            let detail = format!("there is no such carrier; these exist: {}", known.join(", "));
            Problem::new(StatusCode::NOT_FOUND, "unknown_carrier", detail)
        })
    }
}

#[derive(Serialize)]
struct Dispatched {
    booking_key: String,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracking: Option<String>,
}

#[derive(Serialize)]
struct EffectBody {
    kind: &'static str,
    #[serde(flatten)]
    answer: AnswerBody,
}

async fn effect<B: Book>(service: &Service<B>, effect_key: &str) -> Result<Response, Problem> {
    match service.effect(effect_key).await? {
        Some((kind, answer)) => Ok(json(200, &EffectBody { kind, answer })),
        None => {
            Err(Problem::new(StatusCode::NOT_FOUND, "unknown_effect", "nothing has happened under this effect key"))
        }
    }
}

async fn ledger<B: Book>(service: Arc<Service<B>>) -> Result<Response, Problem> {
    let end = service.applied_count().await?;
    let lines = stream::iter(std::iter::successors(service.ledger_lines(0, end), move |(_, from)| {
        service.ledger_lines(*from, end)
    }));
    let body = Body::from_stream(futures_util::StreamExt::map(lines, |(lines, _)| {
        Ok::<_, std::convert::Infallible>(Bytes::from(lines))
    }));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

fn answer(outcome: Outcome) -> Response {
    match outcome {
        Outcome::Answered(given) => json(given.code, &given.body),
        Outcome::Hung => {
            Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", "no answer in time; ask for the effect's status")
                .into_response()
        }
        Outcome::Failed => {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "scripted_failure", "nothing happened; try again")
                .into_response()
        }
        Outcome::KeyReused => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "effect_key_reused",
            "this effect key was used for another request; take a new key, or repeat that request as it was",
        )
        .into_response(),
        Outcome::Unavailable => Problem::from(Unavailable).into_response(),
    }
}

fn json(code: u16, body: &impl Serialize) -> Response {
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (code, axum::Json(body)).into_response()
}

/// Refuses early what would only wait.
async fn bound_requests(State(places): State<Arc<Semaphore>>, request: HttpRequest, next: Next) -> Response {
    match places.try_acquire() {
        Ok(_place) => next.run(request).await,
        Err(_) => Problem::from(Unavailable).into_response(),
    }
}

/// A body of bounded size that is exactly a `T`; anything else is a 400 that says where it goes wrong.
struct Json<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: HttpRequest, state: &S) -> Result<Self, Problem> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| Problem::new(rejection.status(), "unreadable_body", rejection.body_text()))?;
        let body = serde_json::from_slice(&bytes)
            .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "malformed_body", error.to_string()))?;
        Ok(Self(body))
    }
}

/// RFC 9457.
#[derive(Debug, Serialize)]
struct Problem {
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: String,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        Self { title, status: status.as_u16(), code, detail: detail.into() }
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::new(rejection.status(), "malformed_path", rejection.body_text())
    }
}

impl From<Unavailable> for Problem {
    fn from(unavailable: Unavailable) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", unavailable.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = json(self.status, &self);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE.as_u16() {
            headers.insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        }
        response
    }
}
