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
use events::{Log, LogId};
use http_api::{DEGRADED, POSITION};

use crate::Parts;

const INTERVAL: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(1);

/// Of each log, whether it answered when it was last asked.
#[derive(Debug, Clone)]
pub(crate) struct LogsReached(Arc<[(LogId, AtomicBool)]>);

impl LogsReached {
    /// Asks the logs now and then, until shutdown.
    pub(crate) fn watch(parts: &Parts) -> Self {
        let reached = Self(parts.logs.iter().map(|log| (log.id().clone(), AtomicBool::new(true))).collect());
        for (number, log) in parts.logs.iter().enumerate() {
            let (watched, log, shutdown) = (reached.clone(), log.clone(), parts.shutdown.clone());
            parts.tasks.spawn(async move {
                shutdown.run_until_cancelled(watched.ask_again_and_again(number, log)).await;
            });
        }
        reached
    }

    async fn ask_again_and_again(self, number: usize, log: Log) {
        let (log_id, reached) = &self.0[number];
        loop {
            let answered = matches!(tokio::time::timeout(TIMEOUT, log.head()).await, Ok(Ok(_)));
            if reached.swap(answered, Ordering::Relaxed) != answered {
                tracing::warn!(%log_id, answered, "answers are marked as possibly outdated while the log does not answer");
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// The log that an answer is about: that of its position, or else the service's own.
    fn of(&self, answer: &Response) -> bool {
        let position = answer.headers().get(POSITION).and_then(|position| position.to_str().ok());
        let about = position.and_then(|position| position.split_once(':')).map(|(log_id, _)| log_id);
        let found = self.0.iter().find(|(log_id, _)| Some(log_id.as_str()) == about).unwrap_or(&self.0[0]);
        found.1.load(Ordering::Relaxed)
    }
}

/// Marks an answer that no other substitute has marked: `Waybill-Degraded: log`.
pub(crate) async fn mark(State(reached): State<LogsReached>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if !reached.of(&response) {
        response.headers_mut().entry(DEGRADED).or_insert(HeaderValue::from_static("log"));
    }
    response
}
