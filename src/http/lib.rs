//! What every HTTP endpoint shares: problem documents, extractors, headers, layers, health, the page with the API docs.
//!
//! Knows HTTP and positions; knows nothing of orders, stock or stores.

mod code;
mod docs;
mod etag;
mod extract;
mod headers;
mod health;
mod layers;
mod metrics;
mod problem;
mod serve;
mod text;

#[cfg(test)]
mod tests;

pub use code::Code;
pub use docs::docs;
pub use etag::{ETag, IfMatch, IfNoneMatch};
pub use extract::{HashedJson, Json, Path, Query, RawBody, decode};
pub use headers::{
    ActorHeader, DEGRADED, IDEMPOTENCY_KEY, IdempotencyKey, MIN_POSITION, MinPosition, OfLog, POSITION, REQUEST_ID,
    ServedLogs, Traceparent, WAIT_MS, position_header,
};
pub use health::{ReadinessCheck, health};
pub use layers::{Limits, with_standard_layers};
pub use metrics::HttpMetrics;
pub use problem::{FieldError, PROBLEM_JSON, Problem};
pub use serve::serve;
pub use text::plain_text;
