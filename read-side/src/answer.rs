//! An answer together with the position that it reflects, and with its entity tag where it has one.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use events::LogPosition;
use http_api::{DEGRADED, ETag, IfNoneMatch, Json, position_header};
use serde::Serialize;

#[derive(Debug)]
pub(crate) struct Answer<T> {
    body: Option<T>,
    position: LogPosition,
    etag: Option<ETag>,
    degraded: Option<&'static str>,
}

impl<T: Serialize> Answer<Json<T>> {
    pub(crate) fn json(body: T, position: LogPosition) -> Self {
        Self::new(Json(body), position)
    }
}

impl<T: IntoResponse> Answer<T> {
    pub(crate) fn new(body: T, position: LogPosition) -> Self {
        Self { body: Some(body), position, etag: None, degraded: None }
    }

    /// 304 without a body when the client's copy is the current one.
    pub(crate) fn tagged(mut self, etag: ETag, copy: &IfNoneMatch) -> Self {
        if copy.matches(&etag) {
            self.body = None;
        }
        self.etag = Some(etag);
        self
    }

    /// Names what was answered by a substitute.
    pub(crate) fn degraded(mut self, what: Option<&'static str>) -> Self {
        self.degraded = what;
        self
    }
}

impl<T: IntoResponse> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        let mut response = match self.body {
            Some(body) => body.into_response(),
            None => StatusCode::NOT_MODIFIED.into_response(),
        };
        let headers = response.headers_mut();
        let (name, position) = position_header(&self.position);
        headers.insert(name, position);
        // Orders are personal, and every answer may be outdated by the next event.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
        // Which log an answer is about, and so its entity tag, is said by these.
        headers.append(header::VARY, HeaderValue::from_static("waybill-log, waybill-min-position"));
        if let Some(etag) = self.etag {
            headers.insert(header::ETAG, etag.header_value());
        }
        if let Some(what) = self.degraded {
            headers.insert(DEGRADED, HeaderValue::from_static(what));
        }
        response
    }
}
