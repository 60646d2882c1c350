//! Reads the log's rows, and what Postgres itself can compare: the tables that stand beside the log.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgPool};

use super::{
    CheckError,
    findings::{Invariant, Note},
};

/// One event as it lies in the table, its JSON as text.
#[derive(Debug, Clone, FromRow)]
pub(super) struct LogRow {
    pub(super) position: i64,
    pub(super) stream_id: String,
    pub(super) stream_version: i64,
    pub(super) event_type: String,
    pub(super) payload: String,
    pub(super) metadata: String,
    pub(super) recorded_at: DateTime<Utc>,
}

#[derive(Debug, FromRow)]
pub(super) struct Head {
    pub(super) log_id: String,
    pub(super) position: i64,
}

pub(super) async fn head(pool: &PgPool) -> Result<Head, CheckError> {
    sqlx::query_as("SELECT log_id, coalesce((SELECT max(position) FROM events), 0) AS position FROM log_head")
        .fetch_one(pool)
        .await
        .map_err(doing("read the head of the log"))
}

/// By LIMIT and not by a range of positions, so that a hole of any width shows as the position after it.
pub(super) async fn page(pool: &PgPool, after: i64, last: i64, limit: i64) -> Result<Vec<LogRow>, CheckError> {
    sqlx::query_as(
        "SELECT position, stream_id, stream_version, event_type, payload::text AS payload, metadata::text AS metadata, recorded_at \
         FROM events WHERE position > $1 AND position <= $2 ORDER BY position LIMIT $3",
    )
    .bind(after)
    .bind(last)
    .bind(limit)
    .fetch_all(pool)
    .await
    .map_err(doing("read a page of the log"))
}

/// `streams` counts what the log holds, and `commands` names versions that exist. Each is one statement, so one snapshot.
pub(super) async fn beside_the_log(pool: &PgPool) -> Result<Vec<Note>, CheckError> {
    let mut notes = Vec::new();
    let (streams,): (i64,) =
        sqlx::query_as("SELECT count(*) FROM streams").fetch_one(pool).await.map_err(doing("count the streams"))?;
    notes.push(Note::checked(Invariant::Order, streams));
    let wrong: Option<(String, i64, i64, Option<i64>)> = sqlx::query_as(
        "SELECT coalesce(s.stream_id, e.stream_id), coalesce(s.version, 0), coalesce(e.events, 0), e.last FROM streams AS s \
         FULL JOIN (SELECT stream_id, count(*) AS events, max(position) AS last FROM events GROUP BY stream_id) AS e \
         ON e.stream_id = s.stream_id \
         WHERE coalesce(s.version, 0) <> coalesce(e.events, 0) ORDER BY e.last NULLS LAST LIMIT 1",
    )
    .fetch_optional(pool)
    .await
    .map_err(doing("compare the streams with their events"))?;
    if let Some((stream, version, events, last)) = wrong {
        let what = format!("{stream} is said to be at version {version} and has {events} events");
        notes.push(Note::breach(Invariant::Order, last, what));
    }
    let (commands,): (i64,) =
        sqlx::query_as("SELECT count(*) FROM commands").fetch_one(pool).await.map_err(doing("count the commands"))?;
    notes.push(Note::checked(Invariant::Effects, commands));
    let lost: Option<(String, String, i64)> = sqlx::query_as(
        "SELECT c.stream_id, c.command_id::text, c.stream_version FROM commands AS c \
         LEFT JOIN streams AS s ON s.stream_id = c.stream_id \
         WHERE c.stream_version < 1 OR s.version IS NULL OR c.stream_version > s.version LIMIT 1",
    )
    .fetch_optional(pool)
    .await
    .map_err(doing("compare the commands with the streams"))?;
    if let Some((stream, command, version)) = lost {
        let what = format!("command {command} was answered with version {version} of {stream}, which does not exist");
        notes.push(Note::breach(Invariant::Effects, None, what));
    }
    Ok(notes)
}

fn doing(doing: &'static str) -> impl FnOnce(sqlx::Error) -> CheckError {
    move |source| CheckError::Postgres { doing, source }
}
