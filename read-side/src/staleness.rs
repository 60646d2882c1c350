//! Says so when answers may be outdated: while the log cannot be reached, read models go on answering, but stand still.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    extract::{Request, State},
    http::HeaderValue,
    middleware::Next,
    response::Response,
};
use events::Log;
use http_api::DEGRADED;

use crate::Parts;

const INTERVAL: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(1);

/// Whether the log answered when it was last asked.
#[derive(Debug, Clone)]
pub(crate) struct LogReached(Arc<AtomicBool>);

impl LogReached {
    /// Asks the log now and then, until shutdown.
    pub(crate) fn watch(parts: &Parts) -> Self {
        let reached = Self(Arc::new(AtomicBool::new(true)));
        let (watched, log, shutdown) = (reached.clone(), parts.logs[0].clone(), parts.shutdown.clone());
        parts.tasks.spawn(async move { shutdown.run_until_cancelled(watched.ask_again_and_again(log)).await });
        reached
    }

    async fn ask_again_and_again(self, log: Log) {
        loop {
            let answered = matches!(tokio::time::timeout(TIMEOUT, log.head()).await, Ok(Ok(_)));
            if self.0.swap(answered, Ordering::Relaxed) != answered {
                tracing::warn!(answered, "answers are marked as possibly outdated while the log does not answer");
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

/// Marks an answer that no other substitute has marked: `Waybill-Degraded: log`.
pub(crate) async fn mark(State(reached): State<LogReached>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if !reached.0.load(Ordering::Relaxed) {
        response.headers_mut().entry(DEGRADED).or_insert(HeaderValue::from_static("log"));
    }
    response
}
