//! Waybill's own headers, each checked once, here.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::{FromRef, FromRequestParts},
    http::{HeaderName, HeaderValue, request::Parts},
};
use events::{Actor, LogId, LogPosition, Role};
use serde::{Deserialize, de::value::StrDeserializer};
use utoipa::IntoParams;

use crate::{Code, Problem};

pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The position of the log that an answer reflects, or that a command was recorded at: `main:1234`.
pub const POSITION: HeaderName = HeaderName::from_static("waybill-position");
/// What a query's answer must reflect at least.
pub const MIN_POSITION: HeaderName = HeaderName::from_static("waybill-min-position");
/// How long a query may wait for that.
pub const WAIT_MS: HeaderName = HeaderName::from_static("waybill-wait-ms");
/// The log that a request is about.
const LOG: HeaderName = HeaderName::from_static("waybill-log");
/// Names what is answered by a substitute: `order-view`.
pub const DEGRADED: HeaderName = HeaderName::from_static("waybill-degraded");
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const ACTOR: HeaderName = HeaderName::from_static("waybill-actor");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

const IDEMPOTENCY_KEY_MAX: usize = 255;
const SUBJECT_MAX: usize = 128;
const WAIT_DEFAULT: Duration = Duration::from_millis(2_000);
const WAIT_MAX: Duration = Duration::from_millis(10_000);

#[must_use]
pub fn position_header(position: &LogPosition) -> (HeaderName, HeaderValue) {
    let value = HeaderValue::try_from(position.to_string()).expect("a log id and digits are visible ASCII");
    (POSITION, value)
}

/// The value of a header that may stand once; a second one, or bytes that are no text, are refused.
fn once<'a>(parts: &'a Parts, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = parts.headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::malformed_header(name.as_str(), "send it once"));
    }
    value.to_str().map(Some).map_err(|_| Problem::malformed_header(name.as_str(), "use visible ASCII characters"))
}

/// Names one wish of one client for ever: 1 to 255 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let key = once(parts, &IDEMPOTENCY_KEY)?.ok_or_else(|| {
            Problem::new(Code::IdempotencyKeyMissing, "send Idempotency-Key, the same for every repetition")
        })?;
        let visible = key.bytes().all(|byte| byte.is_ascii_graphic());
        if visible && (1..=IDEMPOTENCY_KEY_MAX).contains(&key.len()) {
            Ok(Self(key.into()))
        } else {
            Err(Problem::malformed_header("Idempotency-Key", "use 1 to 255 visible ASCII characters, no spaces"))
        }
    }
}

/// The logs that a request can be about; the first is the service's own, which is meant where none is named.
#[derive(Debug, Clone)]
pub struct ServedLogs(pub Arc<[LogId]>);

impl ServedLogs {
    fn own(&self) -> &LogId {
        &self.0[0]
    }

    fn known(&self, header: &'static str, log_id: LogId) -> Result<LogId, Problem> {
        if self.0.contains(&log_id) {
            return Ok(log_id);
        }
        let known = self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        Err(Problem::malformed_header(header, &format!("log {log_id} is not served here: {known}")))
    }
}

/// Which of the logs a request is about.
#[derive(Debug, Clone, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Header)]
pub struct OfLog {
    /// Where several logs are read, the one that the request is about; the service's own unless it is said. A command for another one is
    /// refused.
    #[param(rename = "Waybill-Log", value_type = Option<String>, example = "main")]
    pub log: LogId,
}

impl<S: Sync> FromRequestParts<S> for OfLog
where
    ServedLogs: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let logs = ServedLogs::from_ref(state);
        Ok(Self { log: named_log(parts, &logs)?.unwrap_or_else(|| logs.own().clone()) })
    }
}

fn named_log(parts: &Parts, logs: &ServedLogs) -> Result<Option<LogId>, Problem> {
    let Some(text) = once(parts, &LOG)? else { return Ok(None) };
    let named = text.parse().map_err(|_| Problem::malformed_header("Waybill-Log", "write the name of a log: main"))?;
    logs.known("Waybill-Log", named).map(Some)
}

/// Which log a query is about, what its answer must reflect at least, and how long it may wait for that.
#[derive(Debug, Clone, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Header)]
pub struct MinPosition {
    /// Where several logs are read, the one that the query is about: that of `Waybill-Min-Position`, or the service's own, unless it is
    /// said.
    #[param(rename = "Waybill-Log", value_type = Option<String>, example = "main")]
    pub log: LogId,
    /// The answer must reflect this position at least: take it from `Waybill-Position` of your command's answer. A bare
    /// number is a position of the log that the query is about.
    #[param(rename = "Waybill-Min-Position", value_type = Option<String>, example = "main:1234")]
    pub wanted: Option<LogPosition>,
    /// How long to wait for that, in milliseconds; then 504.
    #[param(rename = "Waybill-Wait-Ms", value_type = Option<u32>, default = 2000, maximum = 10000)]
    pub budget: Duration,
}

/// The state knows which logs are served.
impl<S: Sync> FromRequestParts<S> for MinPosition
where
    ServedLogs: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let logs = ServedLogs::from_ref(state);
        let named = named_log(parts, &logs)?;
        let bad_position = |detail: String| Problem::malformed_header("Waybill-Min-Position", &detail);
        let wanted = once(parts, &MIN_POSITION)?
            .map(|text| LogPosition::parse(text, named.as_ref().unwrap_or(logs.own())))
            .transpose()
            .map_err(|error| bad_position(error.to_string()))?;
        let log = match (named, &wanted) {
            (Some(named), Some(wanted)) if named != wanted.log_id => {
                return Err(bad_position(format!("{wanted} is no position of log {named}, which Waybill-Log names")));
            }
            (Some(named), _) => named,
            (None, Some(wanted)) => logs.known("Waybill-Min-Position", wanted.log_id.clone())?,
            (None, None) => logs.own().clone(),
        };
        let budget = once(parts, &WAIT_MS)?.map_or(Ok(WAIT_DEFAULT), |text| {
            let budget = text.parse().map(Duration::from_millis).ok().filter(|budget| *budget <= WAIT_MAX);
            budget.ok_or_else(|| Problem::malformed_header("Waybill-Wait-Ms", "send 0 to 10000 milliseconds"))
        })?;
        Ok(Self { log, wanted, budget })
    }
}

/// On whose behalf: `Waybill-Actor: staff:jo`. Trusted until there is authentication, hence bound to loopback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActorHeader(pub Actor);

impl<S: Sync> FromRequestParts<S> for ActorHeader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let Some(text) = once(parts, &ACTOR)? else { return Ok(Self(Actor::service("storefront"))) };
        let actor = || {
            let (role, subject) = text.split_once(':')?;
            let role = Role::deserialize(StrDeserializer::<serde::de::value::Error>::new(role)).ok()?;
            let plain =
                (1..=SUBJECT_MAX).contains(&subject.len()) && subject.bytes().all(|byte| byte.is_ascii_graphic());
            plain.then(|| Actor { role, subject: subject.into() })
        };
        actor().map(Self).ok_or_else(|| {
            let form = "write role:subject, the role one of customer, staff, finance, analyst, operator, service";
            Problem::malformed_header("Waybill-Actor", form)
        })
    }
}

/// The caller's W3C trace context, passed on; one that is not well formed is dropped, as the standard asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traceparent(pub Option<String>);

impl<S: Sync> FromRequestParts<S> for Traceparent {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let text = parts.headers.get(TRACEPARENT).and_then(|value| value.to_str().ok());
        Ok(Self(text.filter(|text| is_traceparent(text)).map(Into::into)))
    }
}

/// Version 00: `00-{32 hex}-{16 hex}-{2 hex}`, lower case.
fn is_traceparent(text: &str) -> bool {
    let hex = |part: &str, length| {
        part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let parts = text.split('-').collect::<Vec<_>>();
    matches!(*parts, ["00", trace, span, flags] if hex(trace, 32) && hex(span, 16) && hex(flags, 2)
        && trace.bytes().any(|byte| byte != b'0') && span.bytes().any(|byte| byte != b'0'))
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    /// Of a service whose own log is eu, and that reads main as well.
    async fn read<T: FromRequestParts<ServedLogs>>(headers: &[(&str, &str)]) -> Result<T, T::Rejection> {
        let mut request = Request::builder();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).expect("well-formed headers").into_parts();
        let logs = ["eu", "main"].map(|name| name.parse().expect("a log id"));
        T::from_request_parts(&mut parts, &ServedLogs(logs.into())).await
    }

    #[tokio::test]
    async fn a_command_without_a_key_is_told_so() {
        let problem = read::<IdempotencyKey>(&[]).await.expect_err("there is no key");
        assert_eq!(problem.code, Code::IdempotencyKeyMissing);
        for bad in ["", "a b", &"x".repeat(256)] {
            let problem = read::<IdempotencyKey>(&[("idempotency-key", bad)]).await.expect_err(bad);
            assert_eq!(problem.code, Code::MalformedHeader);
        }
        let twice = [("idempotency-key", "a"), ("idempotency-key", "b")];
        assert!(read::<IdempotencyKey>(&twice).await.is_err());
        assert!(read::<IdempotencyKey>(&[("idempotency-key", &"x".repeat(255))]).await.is_ok());
    }

    #[tokio::test]
    async fn a_wait_budget_is_bounded() {
        let wait = |ms: &'static str| async move {
            read::<MinPosition>(&[("waybill-min-position", "main:7"), ("waybill-wait-ms", ms)]).await
        };
        assert_eq!(wait("10000").await.expect("the most").budget, WAIT_MAX);
        for bad in ["10001", "-1", "soon", ""] {
            assert!(wait(bad).await.is_err(), "{bad}");
        }
        let default = read::<MinPosition>(&[]).await.expect("both are optional");
        let log = "eu".parse().expect("a log id");
        assert_eq!(default, MinPosition { log, wanted: None, budget: WAIT_DEFAULT });
    }

    #[tokio::test]
    async fn a_bare_position_is_one_of_the_log_that_is_served() {
        for (text, meant) in [("7", "eu:7"), ("main:7", "main:7")] {
            let read = read::<MinPosition>(&[("waybill-min-position", text)]).await.expect("a position");
            let wanted = read.wanted.expect("it was sent");
            assert_eq!((wanted.to_string().as_str(), &read.log), (meant, &wanted.log_id));
        }
    }

    #[tokio::test]
    async fn a_query_is_about_the_log_that_it_names() {
        let named = read::<MinPosition>(&[("waybill-log", "main"), ("waybill-min-position", "7")]).await.expect("both");
        assert_eq!((named.log.to_string(), named.wanted.expect("sent").to_string()), ("main".into(), "main:7".into()));
        assert_eq!(read::<OfLog>(&[]).await.expect("optional").log.to_string(), "eu");
        let refused: [&[(&str, &str)]; 4] = [
            &[("waybill-log", "us")],
            &[("waybill-log", "Main!")],
            &[("waybill-min-position", "us:7")],
            &[("waybill-log", "main"), ("waybill-min-position", "eu:7")],
        ];
        for headers in refused {
            assert_eq!(
                read::<MinPosition>(headers).await.expect_err("refused").code,
                Code::MalformedHeader,
                "{headers:?}"
            );
        }
    }

    #[tokio::test]
    async fn an_actor_has_a_role_that_exists() {
        let actor = read::<ActorHeader>(&[("waybill-actor", "service:importer")]).await;
        assert_eq!(actor.expect("well formed").0, Actor::service("importer"));
        assert_eq!(read::<ActorHeader>(&[]).await.expect("optional").0, Actor::service("storefront"));
        for bad in ["importer", "god:x", "service:", "service:a b"] {
            assert!(read::<ActorHeader>(&[("waybill-actor", bad)]).await.is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_bad_trace_context_is_dropped() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let Ok(read_back) = read::<Traceparent>(&[("traceparent", good)]).await;
        assert_eq!(read_back.0.as_deref(), Some(good));
        let Ok(dropped) = read::<Traceparent>(&[("traceparent", "00-0-0-01")]).await;
        assert_eq!(dropped.0, None);
    }
}
