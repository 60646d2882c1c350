//! RFC 9457 problem documents: the one mapping from what went wrong to HTTP.

use std::{borrow::Cow, error::Error, ops::Deref, time::Duration};

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use events::LogPosition;
use serde::Serialize;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, Schema},
};

use crate::{Code, ETag, position_header};

pub const PROBLEM_JSON: &str = "application/problem+json";

/// Longer details are cut: they may quote what the client sent.
const DETAIL_CHARS_MAX: usize = 400;

/// Why a request was not answered as it wished. Boxed: a `Result` shall not carry its size around.
#[derive(Debug, Clone)]
pub struct Problem(Box<Document>);

/// What a client reads (RFC 9457).
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Document {
    /// Where this kind of problem is explained, on this server.
    #[serde(rename = "type")]
    #[schema(example = "/problems/not-found")]
    pub type_uri: String,
    #[schema(example = "Not found")]
    pub title: &'static str,
    #[schema(example = 404)]
    pub status: u16,
    /// What was wrong with this very request. Never internals of the server.
    #[schema(example = "there is no order 0192f0c1-0000-7000-8000-000000000001")]
    pub detail: String,
    /// Stable, for programs.
    #[schema(example = "not-found", value_type = String)]
    #[serde(serialize_with = "as_str")]
    pub code: Code,
    /// Whether the same request may succeed later, unchanged.
    pub retryable: bool,
    /// JSON pointer of the bad field in the body, or `/name` of the bad parameter of the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "/lines/0/quantity")]
    pub pointer: Option<String>,
    /// Every field that is not acceptable.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// The position of the log that the answer reflects.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "main:1234")]
    pub position: Option<LogPosition>,
    /// The current entity tag, when the one that was sent is stale.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "tag")]
    #[schema(value_type = Option<String>, example = "\"3.1234\"")]
    pub etag: Option<ETag>,
    #[serde(skip)]
    pub retry_after: Option<Duration>,
}

/// One field that is not acceptable, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    #[schema(example = "/lines/0/quantity")]
    pub pointer: String,
    #[schema(example = "lower than 1")]
    pub detail: String,
}

impl Problem {
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let mut detail = detail.into();
        if let Some((cut, _)) = detail.char_indices().nth(DETAIL_CHARS_MAX) {
            detail.truncate(cut);
            detail.push('…');
        }
        Self(Box::new(Document {
            type_uri: format!("/problems/{}", code.as_str()),
            title: code.title(),
            status: code.status().as_u16(),
            detail,
            code,
            retryable: code.retryable(),
            pointer: None,
            errors: Vec::new(),
            position: None,
            etag: None,
            retry_after: None,
        }))
    }

    fn with(mut self, change: impl FnOnce(&mut Document)) -> Self {
        change(&mut self.0);
        self
    }

    /// 400: the body cannot be understood.
    #[must_use]
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(Code::Malformed, detail)
    }

    /// 400: all fields that are out of bounds.
    #[must_use]
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [error] => format!("{}: {}", error.pointer, error.detail),
            errors => format!("{} fields are not acceptable", errors.len()),
        };
        let pointer = errors.first().map(|error| error.pointer.clone());
        Self::new(Code::Invalid, detail).with(|problem| {
            problem.pointer = pointer;
            problem.errors = errors;
        })
    }

    /// 400: one value that only the domain's types could judge.
    #[must_use]
    pub fn invalid_at(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::invalid(vec![FieldError { pointer: pointer.into(), detail: detail.into() }])
    }

    /// 400: a header does not have its form.
    #[must_use]
    pub fn malformed_header(name: &str, detail: &str) -> Self {
        Self::new(Code::MalformedHeader, format!("{name}: {detail}"))
    }

    /// 404. `what` names it: `order 0192…`.
    #[must_use]
    pub fn not_found(what: impl std::fmt::Display) -> Self {
        Self::new(Code::NotFound, format!("there is no {what}"))
    }

    /// 409: lost the race; the same request may succeed.
    #[must_use]
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(Code::Conflict, detail)
    }

    /// 409: the name is taken.
    #[must_use]
    pub fn already_exists(what: impl std::fmt::Display) -> Self {
        Self::new(Code::AlreadyExists, format!("{what} exists already"))
    }

    /// 412: `If-Match` names another version than the current one.
    #[must_use]
    pub fn stale(current: ETag) -> Self {
        let detail = format!("the current version is {}", current.version);
        Self::new(Code::Stale, detail).with(|problem| problem.etag = Some(current))
    }

    /// 428: `If-Match` is missing.
    #[must_use]
    pub fn precondition_required() -> Self {
        Self::new(Code::PreconditionRequired, "send If-Match with the ETag that you read")
    }

    /// 422: understood, and refused by a rule. `code` is one of those with status 422.
    #[must_use]
    pub fn rule(code: Code, detail: impl Into<String>) -> Self {
        debug_assert_eq!(code.status().as_u16(), 422, "{} is no rule", code.as_str());
        Self::new(code, detail)
    }

    /// 503: a part is away; `code` says which. The detail is the code's meaning.
    #[must_use]
    pub fn unavailable(code: Code, retry_after: Duration) -> Self {
        Self::new(code, code.meaning()).retry_after(retry_after)
    }

    /// 503: the time for a request that changes nothing was up.
    #[must_use]
    pub fn timed_out(after: Duration) -> Self {
        let detail = format!("no answer within {} ms", after.as_millis());
        Self::new(Code::TimedOut, detail).retry_after(Duration::from_secs(1))
    }

    /// 504: the read model has not reached the position that the query asked for.
    #[must_use]
    pub fn position_not_reached(wanted: &LogPosition, reached: Option<LogPosition>) -> Self {
        let detail = match &reached {
            Some(reached) => format!("{wanted} was asked for, the read model is at {reached}"),
            None => format!("{wanted} was asked for, the read model has not begun"),
        };
        let problem = Self::new(Code::PositionNotReached, detail).retry_after(Duration::from_secs(1));
        problem.with(|problem| problem.position = reached)
    }

    /// 500: logs the chain of causes, once, here; the client learns nothing of it.
    #[must_use]
    pub fn internal(doing: &'static str, cause: &(dyn Error + 'static)) -> Self {
        tracing::error!(doing, cause = chain(cause), "a request failed");
        Self::new(Code::Internal, Code::Internal.meaning())
    }

    /// Logs the chain of causes of a problem that is not the client's, once, here.
    #[must_use]
    pub fn caused_by(self, cause: &(dyn Error + 'static)) -> Self {
        tracing::warn!(code = self.code.as_str(), cause = chain(cause), "a request could not be served");
        self
    }

    /// The position of the log that this answer reflects; also as `Waybill-Position`.
    #[must_use]
    pub fn at(self, position: LogPosition) -> Self {
        self.with(|problem| problem.position = Some(position))
    }

    #[must_use]
    pub fn with_pointer(self, pointer: impl Into<String>) -> Self {
        self.with(|problem| problem.pointer = Some(pointer.into()))
    }

    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        self.with(|problem| problem.retry_after = Some(wait))
    }
}

impl Deref for Problem {
    type Target = Document;

    fn deref(&self) -> &Document {
        &self.0
    }
}

impl PartialSchema for Problem {
    fn schema() -> RefOr<Schema> {
        Document::schema()
    }
}

impl ToSchema for Problem {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Problem")
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        Document::schemas(schemas);
    }
}

/// `outer: its cause: the cause's cause`.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

fn as_str<S: serde::Serializer>(code: &Code, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(code.as_str())
}

fn tag<S: serde::Serializer>(etag: &Option<ETag>, serializer: S) -> Result<S::Ok, S::Error> {
    match etag {
        Some(etag) => serializer.collect_str(etag),
        None => serializer.serialize_none(),
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&*self.0).expect("a problem is plain data with string keys");
        let mut response = (self.code.status(), body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        if let Some(etag) = self.etag {
            headers.insert(header::ETAG, etag.header_value());
        }
        if let Some(position) = &self.position {
            let (name, value) = position_header(position);
            headers.insert(name, value);
        }
        response
    }
}
