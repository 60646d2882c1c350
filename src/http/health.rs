//! `/livez` (the process runs), `/readyz` (what it needs is there), `/metrics` (Prometheus).

use std::{fmt, future::Future, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::{
    FutureExt,
    future::{BoxFuture, join_all},
};
use prometheus_client::{encoding::text::encode, registry::Registry};
use serde::Serialize;

const CHECK_TIMEOUT: Duration = Duration::from_secs(1);
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One thing that this process cannot do without.
#[derive(Clone)]
pub struct ReadinessCheck {
    name: &'static str,
    check: Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>,
}

impl ReadinessCheck {
    /// `check` says in a few words what is missing; it has one second.
    pub fn new<F, Fut>(name: &'static str, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self { name, check: Arc::new(move || check().boxed()) }
    }

    async fn run(self) -> CheckResult {
        let outcome = tokio::time::timeout(CHECK_TIMEOUT, (self.check)()).await;
        let problem = outcome.unwrap_or_else(|_| Err("no answer within a second".into())).err();
        CheckResult { name: self.name, ok: problem.is_none(), problem }
    }
}

impl fmt::Debug for ReadinessCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadinessCheck").field("name", &self.name).finish_non_exhaustive()
    }
}

#[derive(Debug, Serialize)]
struct CheckResult {
    name: &'static str,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

#[derive(Debug, Serialize)]
struct Readiness {
    ready: bool,
    checks: Vec<CheckResult>,
}

#[derive(Debug, Clone)]
struct Health {
    registry: Arc<Registry>,
    checks: Arc<[ReadinessCheck]>,
}

/// Merge it outside the standard layers: a probe must not be turned away by load.
pub fn health(registry: Arc<Registry>, checks: Vec<ReadinessCheck>) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Health { registry, checks: checks.into() })
}

async fn readyz(State(health): State<Health>) -> (StatusCode, Json<Readiness>) {
    let checks = join_all(health.checks.iter().cloned().map(ReadinessCheck::run)).await;
    let ready = checks.iter().all(|check| check.ok);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, checks }))
}

async fn metrics(State(health): State<Health>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &health.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
