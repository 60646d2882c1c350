//! What stands around every endpoint: a request id, measurement, limits on time, size and number, and no bare panic.

use std::{
    any::Any,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use events::Ids;
use tokio::sync::Semaphore;
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::{
        CompressionLayer, CompressionLevel,
        predicate::{DefaultPredicate, NotForContentType, Predicate, SizeAbove},
    },
};
use tracing::Instrument;

use crate::{Code, HttpMetrics, Problem, REQUEST_ID};

/// Bounds on one request and on all of them together.
#[derive(Debug, Clone)]
pub struct Limits {
    /// From the end of the headers to the first byte of the answer; [`crate::serve`] bounds the time for the headers.
    pub time: Duration,
    pub body_bytes: usize,
    pub uri_bytes: usize,
    /// Requests under way; one more is turned away at once (503).
    pub concurrent: usize,
}

impl Default for Limits {
    fn default() -> Self {
        // The longest wait for a position is 10 s.
        Self { time: Duration::from_secs(15), body_bytes: 1 << 20, uri_bytes: 8 << 10, concurrent: 1024 }
    }
}

/// How long a client that was turned away shall wait.
const SHED_RETRY_AFTER: Duration = Duration::from_secs(1);
const REQUEST_ID_MAX: usize = 128;
/// Less fits into one packet anyway.
const COMPRESS_FROM_BYTES: u64 = 1_024;

/// Wraps the routes of an API. Call it last: it also answers for paths and methods that do not exist.
pub fn with_standard_layers(router: Router, limits: &Limits, metrics: HttpMetrics, ids: Arc<dyn Ids>) -> Router {
    let guard = Guard { limits: limits.clone(), permits: Arc::new(Semaphore::new(limits.concurrent)) };
    let compressible = DefaultPredicate::new()
        .and(SizeAbove::new(COMPRESS_FROM_BYTES))
        .and(NotForContentType::const_new("application/x-ndjson"));
    router
        .fallback(no_such_endpoint)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(limits.body_bytes))
        .layer(from_fn_with_state(guard, bound))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(compressible))
        .layer(from_fn_with_state(Observer { metrics, ids }, observe))
}

async fn no_such_endpoint() -> Problem {
    Problem::new(Code::NoSuchEndpoint, "nothing answers at this path; see /docs")
}

async fn method_not_allowed() -> Problem {
    Problem::new(Code::MethodNotAllowed, "the path exists, but not with this method")
}

#[derive(Clone)]
struct Guard {
    limits: Limits,
    permits: Arc<Semaphore>,
}

/// Turns away what is too much, too long or too slow.
async fn bound(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let uri_bytes = request.uri().path_and_query().map_or(0, |uri| uri.as_str().len());
    if uri_bytes > guard.limits.uri_bytes {
        let detail = format!("the URL has {uri_bytes} bytes, at most {} are taken", guard.limits.uri_bytes);
        return Problem::new(Code::UriTooLong, detail).into_response();
    }
    let Ok(_permit) = guard.permits.try_acquire() else {
        return Problem::unavailable(Code::Overloaded, SHED_RETRY_AFTER).into_response();
    };
    let changes_nothing = request.method().is_safe();
    match tokio::time::timeout(guard.limits.time, next.run(request)).await {
        Ok(response) => response,
        Err(_) if changes_nothing => Problem::timed_out(guard.limits.time).into_response(),
        // What it began goes on without it.
        Err(_) => Problem::unavailable(Code::OutcomeUnknown, SHED_RETRY_AFTER).into_response(),
    }
}

/// The panic itself is logged by the process's hook; the client learns nothing of it.
fn panicked(_panic: Box<dyn Any + Send + 'static>) -> Response {
    tracing::error!("a request panicked");
    Problem::new(Code::Internal, Code::Internal.meaning()).into_response()
}

#[derive(Clone)]
struct Observer {
    metrics: HttpMetrics,
    ids: Arc<dyn Ids>,
}

/// Gives each request an id and a span, and measures it by route. Neither holds ids of the domain or personal data.
async fn observe(State(observer): State<Observer>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    let method = request.method().clone();
    let request_id = request_id(&request, &*observer.ids);
    let span = tracing::info_span!("request", %method, route, request.id = request_id.to_str().unwrap_or_default());
    settle_encoding(request.headers_mut());
    let mut response = next.run(request).instrument(span.clone()).await;
    let (took, status) = (started.elapsed(), response.status());
    observer.metrics.record(&method, route, status, took);
    span.in_scope(|| tracing::debug!(status = status.as_u16(), duration_ms = took.as_millis(), "answered"));
    response.headers_mut().insert(REQUEST_ID, request_id);
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Leaves the compression layer a clear choice: it would answer 406 to a client that refuses every encoding, after the
/// command is done.
fn settle_encoding(headers: &mut HeaderMap) {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let gzip = accepted.split(',').any(|element| {
        let (encoding, quality) = element.split_once(';').unwrap_or((element, ""));
        let refused = quality.trim().strip_prefix("q=0").is_some_and(|rest| rest.trim_matches(['.', '0']).is_empty());
        encoding.trim().eq_ignore_ascii_case("gzip") && !refused
    });
    if gzip {
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    } else {
        headers.remove(header::ACCEPT_ENCODING);
    }
}

/// The caller's, where it is short and plain; else a new one.
fn request_id(request: &Request, ids: &dyn Ids) -> HeaderValue {
    let plain = |value: &&HeaderValue| {
        (1..=REQUEST_ID_MAX).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    const NAME: HeaderName = REQUEST_ID;
    request
        .headers()
        .get(NAME)
        .filter(plain)
        .cloned()
        .unwrap_or_else(|| HeaderValue::try_from(ids.next().to_string()).expect("a UUID is visible ASCII"))
}
