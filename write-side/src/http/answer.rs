//! What a command is answered with: the version it led to, and the position from which every reader sees it.

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use events::{LogId, LogPosition, OrderId};
use http_api::{ETag, Problem, position_header};
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

use crate::Handled;

/// The outcome of a command. Send `position` as `Waybill-Min-Position` to read what you wrote.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Accepted {
    /// Of the order, where one was placed or addressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Uuid)]
    order_id: Option<OrderId>,
    /// Count of the events of what was changed; the first part of its ETag.
    #[schema(example = 1)]
    version: i64,
    /// Place of the last of them in the log.
    #[schema(value_type = String, example = "main:1234")]
    position: LogPosition,
    #[serde(skip)]
    status: StatusCode,
    #[serde(skip)]
    etag: ETag,
}

impl Accepted {
    pub(super) fn new(status: StatusCode, log_id: &LogId, handled: Handled) -> Self {
        let Handled { version, position, .. } = handled;
        let etag = ETag { version, position };
        Self { order_id: None, version, position: LogPosition::new(log_id.clone(), position), status, etag }
    }

    pub(super) fn of_order(self, order_id: OrderId) -> Self {
        Self { order_id: Some(order_id), ..self }
    }
}

impl IntoResponse for Accepted {
    fn into_response(self) -> Response {
        let (name, value) = position_header(&self.position);
        let etag = self.etag.header_value();
        (self.status, [(name, value), (header::ETAG, etag)], axum::Json(self)).into_response()
    }
}

/// Why any command may be refused.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes what the extractors and `refused` answer")]
pub(super) enum Refusals {
    /// The path, a header or the body is malformed, or a value is out of bounds
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(Problem),
    /// It exists already, or others changed it at the same moment, again and again
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(Problem),
    /// The body is too large
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(Problem),
    /// A rule says no
    #[response(status = 422, content_type = "application/problem+json")]
    Rule(Problem),
    /// The log does not answer, or more is asked than can be done now
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(Problem),
}
