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

/// What the tables beside the log say of it. Each answer is one statement, so one snapshot.
pub(super) async fn beside_the_log(pool: &PgPool) -> Result<Vec<Note>, CheckError> {
    let mut notes = streams(pool).await?;
    notes.extend(listed_partitions(pool).await?);
    notes.extend(commands(pool).await?);
    Ok(notes)
}

/// `streams` has a row that leads to each stream's first event.
async fn streams(pool: &PgPool) -> Result<Vec<Note>, CheckError> {
    let mut notes = vec![Note::checked(Invariant::Order, rows_of(pool, "streams").await?)];
    let wrong: Option<(String, i64, Option<i64>)> = sqlx::query_as(
        "SELECT e.stream_id, e.first, s.since_position \
         FROM (SELECT stream_id, min(position) AS first FROM events GROUP BY stream_id) AS e \
         LEFT JOIN streams AS s ON s.stream_id = e.stream_id \
         WHERE s.since_position IS NULL OR s.since_position >= e.first ORDER BY e.first LIMIT 1",
    )
    .fetch_optional(pool)
    .await
    .map_err(doing("compare the streams with their events"))?;
    if let Some((stream, first, since)) = wrong {
        let what = match since {
            Some(since) => format!("{stream} is said to begin after {since}, and has an event before"),
            None => format!("{stream} has events and no row among the streams"),
        };
        notes.push(Note::breach(Invariant::Order, Some(first), what));
    }
    Ok(notes)
}

/// `stream_partitions` has each stream's last version in each partition that is said to be listed, but the one in which it begins: a load
/// would not find what is missing.
async fn listed_partitions(pool: &PgPool) -> Result<Vec<Note>, CheckError> {
    let mut notes = vec![Note::checked(Invariant::Order, rows_of(pool, "stream_partitions").await?)];
    let wrong: Option<(String, i64, i64, i64, Option<i64>)> = sqlx::query_as(
        "SELECT e.stream_id, e.partition, e.first, e.last_version, p.last_version \
         FROM (SELECT stream_id, position / 5000000 AS partition, min(position) AS first, max(stream_version) AS last_version \
               FROM events GROUP BY 1, 2) AS e \
         JOIN streams AS s USING (stream_id) LEFT JOIN stream_partitions AS p USING (stream_id, partition) \
         WHERE e.partition <= (SELECT max(partition) FROM stream_partitions WHERE stream_id = '') \
         AND s.since_position + 1 < e.partition * 5000000 AND p.last_version IS DISTINCT FROM e.last_version \
         ORDER BY e.first LIMIT 1",
    )
    .fetch_optional(pool)
    .await
    .map_err(doing("compare the listed partitions with the events"))?;
    if let Some((stream, partition, first, last, listed)) = wrong {
        let listed = listed.map_or("not at all".to_owned(), |listed| format!("up to {listed}"));
        let what =
            format!("{stream} has events up to version {last} in partition {partition}, and is listed there {listed}");
        notes.push(Note::breach(Invariant::Order, Some(first), what));
    }
    Ok(notes)
}

/// `commands` names versions that exist.
async fn commands(pool: &PgPool) -> Result<Vec<Note>, CheckError> {
    let mut notes = vec![Note::checked(Invariant::Effects, rows_of(pool, "commands").await?)];
    // Without a dash it is no stream: a key that counts in a whole category.
    let lost: Option<(String, String, i64)> = sqlx::query_as(
        "SELECT c.stream_id, c.command_id::text, c.stream_version FROM commands AS c \
         LEFT JOIN (SELECT stream_id, max(stream_version) AS version FROM events GROUP BY stream_id) AS e USING (stream_id) \
         WHERE position('-' IN c.stream_id) > 0 \
         AND (c.stream_version < 1 OR e.version IS NULL OR c.stream_version > e.version) LIMIT 1",
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

async fn rows_of(pool: &PgPool, table: &'static str) -> Result<i64, CheckError> {
    let counting = format!("SELECT count(*) FROM {table}");
    sqlx::query_scalar(&counting).fetch_one(pool).await.map_err(doing("count the rows beside the log"))
}

fn doing(doing: &'static str) -> impl FnOnce(sqlx::Error) -> CheckError {
    move |source| CheckError::Postgres { doing, source }
}
