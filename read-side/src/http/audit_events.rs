//! `GET /v1/audit/events`: the log as it is, one event a line, for whoever replays it. Interprets nothing.
//!
//! Resumable: each line has its position, and `from` starts after one. A reader that stalls or an error ends the stream with a line
//! that says so, and breaks the connection off, so that a part is never taken for the whole.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use events::{Log, LogError, LogPosition, Position, RawRecorded};
use garde::Validate;
use http_api::{Code, OfLog, Problem, Query, position_header};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::{Parts, ReadSide};

const PAGE_EVENTS: u32 = 500;
const PAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// One page under way to the client, and one read ahead.
const PAGES_AHEAD: usize = 1;
/// A client that takes no page in this time has gone away or is stuck.
const STALL_MAX: Duration = Duration::from_secs(60);
const RETRY_AFTER: Duration = Duration::from_secs(2);

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditQuery {
    /// Start after this position: the last line that you have. From the first event when absent.
    #[garde(skip)]
    #[param(example = "main:1234")]
    from: Option<String>,
    /// Stop at this position, which is included, and not before `from`. The present end of the log when absent.
    #[garde(skip)]
    #[param(example = "main:2000")]
    to: Option<String>,
    /// Only this stream, or this category when it has no dash.
    #[garde(length(bytes, min = 1, max = 160))]
    #[param(min_length = 1, max_length = 160, example = "order")]
    stream: Option<String>,
    /// Only this type of event.
    #[garde(length(bytes, min = 1, max = 80))]
    #[param(min_length = 1, max_length = 80, example = "OrderPlaced")]
    r#type: Option<String>,
}

/// One line of the answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuditLine<'a> {
    #[schema(value_type = String, example = "main:1234")]
    position: LogPosition,
    #[schema(value_type = String, example = "order-0192f0c1-0000-7000-8000-000000000001")]
    stream: &'a str,
    /// Place in the stream, from 1.
    version: i64,
    event_id: Uuid,
    #[schema(value_type = String, example = "OrderPlaced")]
    r#type: &'a str,
    schema_version: i16,
    recorded_at: DateTime<Utc>,
    /// Byte for byte as it was recorded.
    #[schema(value_type = Object)]
    payload: &'a RawValue,
    /// Byte for byte as it was recorded.
    #[schema(value_type = Object)]
    metadata: &'a RawValue,
}

/// The log as it is, one event a line.
///
/// NDJSON in the order of the log. Resume with `from` = the position of the last line you have. If the stream ends without a line that
/// holds `error`, it is whole up to `Waybill-Position`.
#[utoipa::path(
    get, path = "/v1/audit/events", tag = "audit", operation_id = "audit_events", params(AuditQuery, OfLog),
    responses(
        (status = 200, description = "One event a line", body = AuditLine, content_type = "application/x-ndjson",
            headers(("Waybill-Position" = String, description = "The last position that the answer covers"))),
        (status = 400, description = "A position is not one of this log", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The log cannot be reached, or too many replay it", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn audit_events(
    State(app): State<ReadSide>,
    Query(query): Query<AuditQuery>,
    of: OfLog,
) -> Result<Response, Problem> {
    let Ok(permit) = Arc::clone(&app.replays).try_acquire_owned() else {
        return Err(Problem::unavailable(Code::Overloaded, RETRY_AFTER));
    };
    let replay = Replay::begin(app.log(&of.log).clone(), query).await?;
    let (name, position) = position_header(&replay.at(replay.to));
    let body = stream(replay, permit, &app.parts);
    let content_type = (header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    Ok(([content_type, (name, position)], body).into_response())
}

/// The producer reads one page ahead of the client and no more; the channel is the back-pressure.
fn stream(mut replay: Replay, permit: OwnedSemaphorePermit, parts: &Parts) -> Body {
    let (pages, receiver) = mpsc::channel(PAGES_AHEAD);
    let shutdown = parts.shutdown.clone();
    parts.tasks.spawn(async move {
        let _permit = permit;
        let produce = async {
            while replay.after < replay.to {
                let page = replay.next_lines().await;
                let failed = page.is_err();
                let lines = page.unwrap_or_else(|error| replay.error_line(&error));
                let sent = tokio::time::timeout(STALL_MAX, pages.send(Ok(lines))).await;
                if failed || !matches!(sent, Ok(Ok(()))) {
                    return Err(Aborted);
                }
            }
            Ok(())
        };
        let ended = shutdown.run_until_cancelled(produce).await.unwrap_or(Err(Aborted));
        if let Err(aborted) = ended {
            // Nobody listening is fine: the connection is gone already.
            let _ = tokio::time::timeout(STALL_MAX, pages.send(Err(aborted))).await;
        }
    });
    Body::from_stream(futures_util::stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|page| (page, receiver))
    }))
}

/// Breaks the connection off; why was said in the last line, as far as the client was listening.
#[derive(Debug, thiserror::Error)]
#[error("the replay was broken off")]
struct Aborted;

#[derive(Debug, thiserror::Error)]
enum ReplayError {
    #[error("cannot read on")]
    Log(#[from] LogError),
    #[error("no answer from the log in time")]
    TimedOut(#[from] tokio::time::error::Elapsed),
    #[error("the log ends before {0}, which it had reached")]
    Shrunk(Position),
    #[error("the event at {position} is not JSON")]
    NotJson { position: Position, source: serde_json::Error },
}

struct Replay {
    log: Log,
    after: Position,
    to: Position,
    stream: Option<String>,
    event_type: Option<String>,
}

impl Replay {
    async fn begin(log: Log, query: AuditQuery) -> Result<Self, Problem> {
        let unavailable = || Problem::unavailable(Code::LogUnavailable, RETRY_AFTER);
        let head =
            tokio::time::timeout(PAGE_TIMEOUT, log.head()).await.map_err(|late| unavailable().caused_by(&late))?;
        let head = head.map_err(|error| unavailable().caused_by(&error))?;
        let from = position_in(&log, "from", query.from.as_deref())?.unwrap_or(Position::START);
        let to = position_in(&log, "to", query.to.as_deref())?.map_or(head, |to| to.min(head));
        if from > head {
            return Err(Problem::invalid_at("/from", format!("the log ends at {}:{head}", log.id())));
        }
        if to < from {
            return Err(Problem::invalid_at("/to", "it ends before it begins: `from` comes first"));
        }
        Ok(Self { log, after: from, to, stream: query.stream, event_type: query.r#type })
    }

    /// The lines of the next page; empty when nothing in it was asked for.
    async fn next_lines(&mut self) -> Result<Bytes, ReplayError> {
        let left = u32::try_from(self.to.0 - self.after.0).unwrap_or(u32::MAX);
        let page = self.log.raw_page(self.after, left.min(PAGE_EVENTS));
        let page = tokio::time::timeout(PAGE_TIMEOUT, page).await??;
        let Some(last) = page.last() else { return Err(ReplayError::Shrunk(self.to)) };
        let mut lines = Vec::with_capacity(page.len() * 512);
        for event in page.iter().filter(|event| self.wants(event)) {
            self.write_line(event, &mut lines)
                .map_err(|source| ReplayError::NotJson { position: event.position, source })?;
        }
        self.after = last.position;
        Ok(lines.into())
    }

    fn wants(&self, event: &RawRecorded) -> bool {
        let of_stream = self.stream.as_deref().is_none_or(|wanted| {
            if wanted.contains('-') { event.stream_id.as_str() == wanted } else { event.stream_id.category() == wanted }
        });
        of_stream && self.event_type.as_deref().is_none_or(|wanted| event.event_type == wanted)
    }

    fn write_line(&self, event: &RawRecorded, lines: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        let line = AuditLine {
            position: self.at(event.position),
            stream: event.stream_id.as_str(),
            version: event.stream_version,
            event_id: event.event_id,
            r#type: &event.event_type,
            schema_version: event.schema_version,
            recorded_at: event.recorded_at,
            payload: serde_json::from_str(&event.payload)?,
            metadata: serde_json::from_str(&event.metadata)?,
        };
        serde_json::to_writer(&mut *lines, &line)?;
        lines.push(b'\n');
        Ok(())
    }

    /// The last line of a stream that could not go on; says where to resume.
    fn error_line(&self, error: &ReplayError) -> Bytes {
        let problem = match error {
            ReplayError::Log(cause) if cause.is_transient() => Problem::unavailable(Code::LogUnavailable, RETRY_AFTER),
            ReplayError::TimedOut(_) => Problem::unavailable(Code::LogUnavailable, RETRY_AFTER),
            ReplayError::Log(_) | ReplayError::Shrunk(_) | ReplayError::NotJson { .. } => {
                Problem::internal("replay the log", error)
            }
        };
        let error = problem.caused_by(error).at(self.at(self.after));
        let mut line = serde_json::json!({ "error": *error }).to_string();
        line.push('\n');
        line.into()
    }

    fn at(&self, position: Position) -> LogPosition {
        LogPosition::new(self.log.id().clone(), position)
    }
}

/// What the parameter `name` says; a bare number is a position of this log.
fn position_in(log: &Log, name: &str, text: Option<&str>) -> Result<Option<Position>, Problem> {
    let refused = |detail: String| Problem::invalid_at(format!("/{name}"), detail);
    let wanted = text.map(|text| LogPosition::parse(text, log.id())).transpose();
    match wanted.map_err(|error| refused(error.to_string()))? {
        Some(wanted) if wanted.log_id != *log.id() => {
            let name = &wanted.log_id;
            Err(refused(format!("{wanted} is not a position of log {}; ask with Waybill-Log: {name}", log.id())))
        }
        wanted => Ok(wanted.map(|wanted| wanted.position)),
    }
}
