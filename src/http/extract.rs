//! Body, path and query: parsed strictly, with every mistake named, as problem documents.

use std::fmt::Write;

use axum::{
    body::Bytes,
    extract::{
        FromRequest, FromRequestParts, Request,
        path::ErrorKind,
        rejection::{BytesRejection, PathRejection},
    },
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use garde::Validate;
use serde::{Serialize, de::DeserializeOwned};
use serde_path_to_error::Segment;
use sha2::{Digest, Sha256};

use crate::{Code, FieldError, Problem};

const EXPECTED_BYTES_MAX: usize = 250;

/// A JSON body: bounded, of the right content type, decoded and within its limits. As an answer: JSON.
#[derive(Debug, Clone)]
pub struct Json<T>(pub T);

/// Like [`Json`], with the SHA-256 (hex) of the body as it came: the same `Idempotency-Key` with another body is refused.
#[derive(Debug, Clone)]
pub struct HashedJson<T>(pub T, pub String);

/// A body as it came, within the bound on its size: for who must check it before it is decoded.
#[derive(Debug, Clone)]
pub struct RawBody(pub Bytes);

/// Ids out of the path.
#[derive(Debug, Clone)]
pub struct Path<T>(pub T);

/// Parameters of the query, decoded and within their limits.
#[derive(Debug, Clone)]
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Validate<Context = ()>> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        decode(&body(request, state).await?).map(Self)
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Validate<Context = ()>> FromRequest<S> for HashedJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let body = body(request, state).await?;
        let value = decode(&body)?;
        let hash = Sha256::digest(&body).iter().fold(String::with_capacity(64), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("a string takes everything");
            hex
        });
        Ok(Self(value, hash))
    }
}

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let read = Bytes::from_request(request, state).await;
        read.map(Self).map_err(|rejection: BytesRejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                Problem::new(Code::BodyTooLarge, "the body is larger than this endpoint takes")
            }
            _ => Problem::malformed("the body broke off"),
        })
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

async fn body<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    if !is_json(request.headers()) {
        return Err(Problem::new(Code::UnsupportedMediaType, "send Content-Type: application/json"));
    }
    RawBody::from_request(request, state).await.map(|RawBody(body)| body)
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// A JSON body that came some other way, decoded and within its limits like [`Json`].
pub fn decode<T: DeserializeOwned + Validate<Context = ()>>(body: &[u8]) -> Result<T, Problem> {
    // serde would take an array for a struct, field by field.
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(Problem::malformed("the body: send a JSON object, not an array").with_pointer(""));
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let value: T = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let pointer = pointer(error.path());
        undecodable(&pointer, error.inner())
    })?;
    json.end().map_err(|error| undecodable("", &error))?;
    within_limits(&value)?;
    Ok(value)
}

fn undecodable(parent: &str, error: &serde_json::Error) -> Problem {
    let text = error.to_string();
    if !error.is_data() {
        return Problem::malformed(format!("the body is not JSON: {text}"));
    }
    let detail = readable(text.rsplit_once(" at line ").map_or(text.as_str(), |(detail, _)| detail));
    // Of a missing field only the parent's path is known.
    let missing = detail.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
    let pointer = missing.map_or_else(|| parent.to_owned(), |field| format!("{parent}/{field}"));
    let at = if pointer.is_empty() { "the body" } else { &pointer };
    Problem::malformed(format!("{at}: {detail}")).with_pointer(&*pointer)
}

/// Without the list of what was expected where that is longer than anyone reads, such as all currencies.
fn readable(detail: &str) -> &str {
    match detail.split_once(", expected one of ") {
        Some((short, expected)) if expected.len() > EXPECTED_BYTES_MAX => short,
        _ => detail,
    }
}

/// RFC 6901.
fn pointer(path: &serde_path_to_error::Path) -> String {
    path.iter().fold(String::new(), |mut pointer, segment| {
        match segment {
            Segment::Seq { index } => write!(pointer, "/{index}").expect("a string takes everything"),
            Segment::Map { key } => {
                pointer.push('/');
                pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
            }
            // No place in the document of its own.
            Segment::Enum { .. } | Segment::Unknown => (),
        }
        pointer
    })
}

/// Reports every field that is out of bounds at once.
fn within_limits(value: &impl Validate<Context = ()>) -> Result<(), Problem> {
    value.validate().map_err(|report| {
        let errors = report.iter().map(|(path, error)| {
            // `lines[0].quantity`, in field names that hold neither dot nor bracket.
            let path = path.to_string().replace(['.', '['], "/").replace(']', "");
            FieldError { pointer: format!("/{path}"), detail: error.message().to_owned() }
        });
        Problem::invalid(errors.collect())
    })
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(rejection) => Err(bad_path(rejection)),
        }
    }
}

fn bad_path(rejection: PathRejection) -> Problem {
    let PathRejection::FailedToDeserializePathParams(failed) = rejection else {
        return Problem::internal("read the path of a request", &rejection);
    };
    match failed.kind() {
        ErrorKind::WrongNumberOfParameters { .. } | ErrorKind::UnsupportedType { .. } => {
            Problem::internal("read the path of a request", &failed)
        }
        kind => Problem::new(Code::MalformedPath, kind.to_string()),
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Validate<Context = ()>> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let axum::extract::Query(value) = axum::extract::Query::<T>::try_from_uri(&parts.uri)
            .map_err(|rejection| bad_query(&rejection.body_text()))?;
        within_limits(&value)?;
        Ok(Self(value))
    }
}

/// `text` is axum's: `Failed to deserialize query string: limit: invalid digit found in string`.
fn bad_query(text: &str) -> Problem {
    let detail = readable(text.split_once(": ").map_or(text, |(_, detail)| detail));
    let problem = Problem::new(Code::MalformedQuery, detail);
    match detail.split_once(": ") {
        Some((name, _)) if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') => {
            problem.with_pointer(format!("/{name}"))
        }
        _ => problem,
    }
}
