//! Reads the log: pages in position order without a hole, single streams, and a tail that waits for what comes next.
//!
//! Every read is one short statement with its own snapshot; nothing here holds a transaction open.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgPool, Row, ValueRef, postgres::PgRow};
use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    Checkpoint, DecodeError, Difference, DomainEvent, LogId, Metadata, Position, RawRecorded, Recorded, StreamId,
    StreamVersion, Tally, Wake,
};

/// How long a tail waits for a wake-up before it looks by itself: what a lost notification costs.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Longest wait for a page: some 64 k events from a cold disk.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("cannot {doing}")]
    Postgres { doing: &'static str, source: sqlx::Error },
    /// Never skipped: the reader stops, and a person looks.
    #[error("the log has a hole: after position {after} comes {found}")]
    Hole { after: Position, found: Position },
    /// Of what would be half a stream nothing is made.
    #[error("the stream {stream} has a hole: after version {after} comes {found}")]
    StreamHole { stream: StreamId, after: StreamVersion, found: StreamVersion },
    /// A failover or a restore gave the position to another event, or took it back. Whatever was derived is void.
    #[error("history changed: {checkpoint} is no longer the event that was read there; rebuild this reader")]
    HistoryChanged { checkpoint: String },
    /// A reader has not applied each event once: what it derived is wrong, or the log was changed behind it. Rebuild it.
    #[error("what was applied up to {checkpoint} is not what the log holds: {difference}")]
    Unequal { checkpoint: String, difference: Difference },
    #[error("cannot read the event at position {position}")]
    Undecodable { position: Position, source: DecodeError },
    /// The configuration and the database do not agree.
    #[error("the database holds the log {found}, and not {wanted}: correct the log's id or the database's URL")]
    Misnamed { wanted: LogId, found: String },
    #[error("a checkpoint of log {wanted} was given to log {log}")]
    OtherLog { wanted: LogId, log: LogId },
    /// Two processes ran the same reader; this one lost.
    #[error("the checkpoint of {reader} was moved by somebody else")]
    Fenced { reader: String },
}

impl LogError {
    pub(crate) fn doing(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Postgres { doing, source }
    }

    /// Whether trying again later may help; the others need a person.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Postgres { .. })
    }
}

/// The answer to a question, within a bound: a server that neither answers nor goes away is as good as gone.
async fn answered<T>(
    doing: &'static str,
    question: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, LogError> {
    let answer = tokio::time::timeout(READ_TIMEOUT, question).await;
    answer.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(LogError::doing(doing))
}

/// Blocks sealed in one call: a fraction of a second.
const SEALED_AT_ONCE: i32 = 20;

/// One log, for reading. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Log {
    pool: PgPool,
    log_id: LogId,
}

/// From the reader's own last event, which tells whether it still stands there. Both bounds are given: the upper one keeps a reader that
/// is far behind inside one partition.
const PAGE: &str = "SELECT position, stream_id, stream_version, event_id, event_type, schema_version, payload, metadata, recorded_at \
     FROM events WHERE position >= $1 AND position <= $1 + $2 ORDER BY position";

/// An empty page is the head of the log, or a hole that is wider than the page.
const NEXT: &str = "SELECT position FROM events WHERE position > $1 ORDER BY position LIMIT 1";

const STREAM: &str = "SELECT position, stream_id, stream_version, event_id, event_type, schema_version, payload, metadata, recorded_at \
     FROM stream_events($1, $2, $3)";

/// Many streams in one round trip, each in order. Those that begin where nothing is listed need not be told where their events are, and are
/// read by one plan, which is set up once: most of them, in a third of the time. The order inside and the offset, which leaves out nothing,
/// keep the planner to the index by stream.
const STREAMS: &str = "WITH unlisted AS MATERIALIZED (\
         SELECT coalesce(max(partition) + 1, 0) * 5000000 - 1 AS after FROM stream_partitions WHERE stream_id = '') \
     SELECT e.position, e.stream_id, e.stream_version, e.event_id, e.event_type, e.schema_version, e.payload, e.metadata, e.recorded_at \
     FROM streams AS s \
     CROSS JOIN LATERAL (SELECT * FROM events WHERE events.stream_id = s.stream_id AND events.position > s.since_position \
         ORDER BY events.stream_version OFFSET 0) AS e \
     WHERE s.stream_id = ANY ($1) AND s.since_position >= (SELECT after FROM unlisted) \
     UNION ALL \
     SELECT e.position, e.stream_id, e.stream_version, e.event_id, e.event_type, e.schema_version, e.payload, e.metadata, e.recorded_at \
     FROM streams AS s CROSS JOIN LATERAL stream_events(s.stream_id, 0, NULL) AS e \
     WHERE s.stream_id = ANY ($1) AND s.since_position < (SELECT after FROM unlisted)";

/// A dot comes right after the dash.
const STREAM_NAMES: &str = "SELECT stream_id FROM streams \
     WHERE stream_id > $2 AND stream_id > $1 || '-' AND stream_id < $1 || '.' ORDER BY stream_id LIMIT $3";

/// The bounds tell which partitions to look into: of a list Postgres does not see it.
const AT_POSITIONS: &str = "SELECT position, stream_id, stream_version, event_id, event_type, schema_version, payload, metadata, recorded_at \
     FROM events WHERE position = ANY ($1) AND position >= $2 AND position <= $3 ORDER BY position";

impl Log {
    #[must_use]
    pub fn new(pool: PgPool, log_id: LogId) -> Self {
        Self { pool, log_id }
    }

    #[must_use]
    pub fn id(&self) -> &LogId {
        &self.log_id
    }

    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Refuses a database that holds another log.
    pub async fn check_name(&self) -> Result<(), LogError> {
        let question = sqlx::query_scalar("SELECT log_id FROM log_head").fetch_one(&self.pool);
        let found: String = answered("ask for the log's name", question).await?;
        if found == self.log_id.as_str() {
            Ok(())
        } else {
            Err(LogError::Misnamed { wanted: self.log_id.clone(), found })
        }
    }

    /// The last position; 0 while the log is empty.
    pub async fn head(&self) -> Result<Position, LogError> {
        self.head_checkpoint().await.map(|checkpoint| checkpoint.position)
    }

    /// The last position together with the event that stands there.
    pub async fn head_checkpoint(&self) -> Result<Checkpoint, LogError> {
        let row: Option<(i64, Uuid)> = answered(
            "read the head of the log",
            sqlx::query_as("SELECT position, event_id FROM events ORDER BY position DESC LIMIT 1")
                .fetch_optional(&self.pool),
        )
        .await?;
        Ok(row.map_or_else(
            || Checkpoint::start(self.log_id.clone()),
            |(position, event_id)| Checkpoint { log_id: self.log_id.clone(), position: Position(position), event_id },
        ))
    }

    /// At most `limit` events after `after`, in order, decoded. Empty at the head.
    pub async fn page(&self, after: Position, limit: u32) -> Result<Vec<Recorded<DomainEvent>>, LogError> {
        self.page_from(after, limit).await.map(|(_, events)| events)
    }

    /// Like [`Self::page`], together with the id of the event at `after`, where one stands.
    pub(crate) async fn page_from(
        &self,
        after: Position,
        limit: u32,
    ) -> Result<(Option<Uuid>, Vec<Recorded<DomainEvent>>), LogError> {
        let (own, rows) = self.rows(after, limit).await?;
        Ok((own, rows.iter().map(decode_row).collect::<Result<_, _>>()?))
    }

    /// Like [`Self::page`], but as the log keeps them.
    pub async fn raw_page(&self, after: Position, limit: u32) -> Result<Vec<RawRecorded>, LogError> {
        self.rows(after, limit).await?.1.iter().map(raw_row).collect()
    }

    /// Like [`Self::page`] after a reader's last event, which the same statement finds at its place, or says that history changed.
    pub async fn page_after(
        &self,
        checkpoint: &Checkpoint,
        limit: u32,
    ) -> Result<Vec<Recorded<DomainEvent>>, LogError> {
        self.rows_after(checkpoint, limit).await?.iter().map(decode_row).collect()
    }

    /// Like [`Self::page_after`], but as the log keeps them.
    pub async fn raw_page_after(&self, checkpoint: &Checkpoint, limit: u32) -> Result<Vec<RawRecorded>, LogError> {
        self.rows_after(checkpoint, limit).await?.iter().map(raw_row).collect()
    }

    /// The events of one stream after a version, in order. Empty when there are none.
    pub async fn stream(
        &self,
        stream: &StreamId,
        after: StreamVersion,
        limit: u32,
    ) -> Result<Vec<Recorded<DomainEvent>>, LogError> {
        self.stream_rows(stream, after, limit).await?.iter().map(decode_row).collect()
    }

    /// Like [`Self::stream`], but as the log keeps them.
    pub async fn raw_stream(
        &self,
        stream: &StreamId,
        after: StreamVersion,
        limit: u32,
    ) -> Result<Vec<RawRecorded>, LogError> {
        self.stream_rows(stream, after, limit).await?.iter().map(raw_row).collect()
    }

    async fn stream_rows(&self, stream: &StreamId, after: StreamVersion, limit: u32) -> Result<Vec<PgRow>, LogError> {
        let query = sqlx::query(STREAM).bind(stream.as_str()).bind(after).bind(i64::from(limit));
        answered("read a stream", query.fetch_all(&self.pool)).await
    }

    /// The checkpoint of a reader that has read up to `position`; the head's where the log does not reach it.
    pub async fn checkpoint_at(&self, position: Position) -> Result<Checkpoint, LogError> {
        match self.event_at(position).await? {
            Some(event_id) => Ok(Checkpoint { log_id: self.log_id.clone(), position, event_id }),
            None if position == Position::START => Ok(Checkpoint::start(self.log_id.clone())),
            None => self.head_checkpoint().await,
        }
    }

    /// The names of at most `limit` streams of a category, in order, behind a name; behind an empty one from the first on.
    pub async fn stream_names(&self, category: &str, after: &str, limit: u32) -> Result<Vec<String>, LogError> {
        let query = sqlx::query_scalar(STREAM_NAMES).bind(category).bind(after).bind(i64::from(limit));
        answered("read the names of streams", query.fetch_all(&self.pool)).await
    }

    /// All events of the given streams, each stream's in order.
    pub async fn streams(&self, streams: &[&str]) -> Result<Vec<Recorded<DomainEvent>>, LogError> {
        let query = sqlx::query(STREAMS).bind(streams);
        let rows = answered("read several streams", query.fetch_all(&self.pool)).await?;
        let events: Vec<_> = rows.iter().map(decode_row).collect::<Result<_, _>>()?;
        for stream in events.chunk_by(|a: &Recorded<DomainEvent>, b| a.stream_id == b.stream_id) {
            for (event, after) in stream.iter().zip(0..) {
                follows(&event.stream_id, after, event.stream_version)?;
            }
        }
        Ok(events)
    }

    /// The events at the given positions, in order; a position beyond the head is left out.
    pub async fn raw_at(&self, positions: &[i64]) -> Result<Vec<RawRecorded>, LogError> {
        let (first, last) = (positions.iter().min(), positions.iter().max());
        let query = sqlx::query(AT_POSITIONS).bind(positions).bind(first).bind(last);
        let rows = answered("read events by position", query.fetch_all(&self.pool)).await?;
        rows.iter().map(raw_row).collect()
    }

    /// The last position recorded at or before `time`, of the database's clock. The same answer for ever, once `time` is past.
    pub async fn position_at(&self, time: DateTime<Utc>) -> Result<Position, LogError> {
        let query = sqlx::query_scalar("SELECT position_as_of($1)").bind(time);
        answered("find the position of a moment", query.fetch_one(&self.pool)).await.map(Position)
    }

    /// Refuses a checkpoint whose event is no longer at its position.
    pub async fn verify(&self, checkpoint: &Checkpoint) -> Result<(), LogError> {
        checkpoint.belongs_to(&self.log_id)?;
        checkpoint.stands(self.event_at(checkpoint.position).await?)
    }

    /// Over every event up to the position; quick where the blocks before it are sealed.
    pub async fn tally(&self, position: Position) -> Result<Tally, LogError> {
        let query = sqlx::query_as("SELECT event_count, hash_sum::text, weighted_sum::text FROM log_tally($1)")
            .bind(position.0);
        let doing = "add up the log";
        let (events, hash_sum, weighted_sum): (i64, String, String) =
            answered(doing, query.fetch_one(&self.pool)).await?;
        let sum = |text: String| text.parse().map_err(|error| LogError::doing(doing)(sqlx::Error::decode(error)));
        Ok(Tally { events, hash_sum: sum(hash_sum)?, weighted_sum: sum(weighted_sum)? })
    }

    /// The sealed blocks' last positions, and what was added up there when they were sealed.
    pub async fn sealed_blocks(&self) -> Result<Vec<(Position, Tally)>, LogError> {
        let doing = "read the sealed blocks";
        let query =
            sqlx::query_as("SELECT block * 10000, hash_sum::text, weighted_sum::text FROM log_blocks ORDER BY block");
        let rows: Vec<(i64, String, String)> = answered(doing, query.fetch_all(&self.pool)).await?;
        let block = |(end, hash_sum, weighted_sum): (i64, String, String)| {
            Ok((Position(end), Tally { events: end, hash_sum: hash_sum.parse()?, weighted_sum: weighted_sum.parse()? }))
        };
        let blocks: Result<_, std::num::ParseIntError> = rows.into_iter().map(block).collect();
        blocks.map_err(|error| LogError::doing(doing)(sqlx::Error::decode(error)))
    }

    /// The ids of at most `limit` events after `after`, in order; empty at the head.
    pub async fn event_ids(&self, after: Position, limit: u32) -> Result<Vec<(Position, Uuid)>, LogError> {
        let query =
            sqlx::query_as("SELECT position, event_id FROM events WHERE position > $1 ORDER BY position LIMIT $2")
                .bind(after.0)
                .bind(i64::from(limit));
        let rows: Vec<(i64, Uuid)> = answered("read ids of events", query.fetch_all(&self.pool)).await?;
        let ids: Vec<_> = rows.into_iter().map(|(position, event_id)| (Position(position), event_id)).collect();
        dense(after, ids.iter().map(|(position, _)| *position))?;
        Ok(ids)
    }

    /// Refuses what a reader has applied up to its checkpoint if that is not each event of the log once.
    pub async fn verify_applied(&self, checkpoint: &Checkpoint, applied: Tally) -> Result<(), LogError> {
        match applied.difference(self.tally(checkpoint.position).await?) {
            None => Ok(()),
            Some(difference) => Err(LogError::Unequal { checkpoint: checkpoint.to_string(), difference }),
        }
    }

    /// How many events up to the position are in no sealed block: what [`Self::tally`] has to read.
    pub async fn unsealed(&self, position: Position) -> Result<i64, LogError> {
        let query =
            sqlx::query_scalar("SELECT $1 - coalesce(max(block), 0) * 10000 FROM log_blocks WHERE block <= $1 / 10000");
        answered("look for the last sealed block", query.bind(position.0).fetch_one(&self.pool)).await
    }

    /// Adds up the blocks that the log has passed, once for all readers. Returns how many there were.
    pub async fn seal_blocks(&self) -> Result<i64, LogError> {
        let mut sealed = 0;
        loop {
            let query = sqlx::query_scalar("SELECT seal_log_blocks($1)").bind(SEALED_AT_ONCE);
            let count: i32 = answered("seal blocks of the log", query.fetch_one(&self.pool)).await?;
            sealed += i64::from(count);
            if count < SEALED_AT_ONCE {
                return Ok(sealed);
            }
        }
    }

    async fn event_at(&self, position: Position) -> Result<Option<Uuid>, LogError> {
        let query = sqlx::query_scalar("SELECT event_id FROM events WHERE position = $1").bind(position.0);
        answered("read the event at a position", query.fetch_optional(&self.pool)).await
    }

    async fn rows_after(&self, checkpoint: &Checkpoint, limit: u32) -> Result<Vec<PgRow>, LogError> {
        checkpoint.belongs_to(&self.log_id)?;
        let (own, rows) = self.rows(checkpoint.position, limit).await?;
        checkpoint.stands(own)?;
        Ok(rows)
    }

    /// The rows after a position, and the id of the event that stands at it.
    async fn rows(&self, after: Position, limit: u32) -> Result<(Option<Uuid>, Vec<PgRow>), LogError> {
        let query = sqlx::query(PAGE).bind(after.0).bind(i64::from(limit));
        let mut rows = answered("read a page of the log", query.fetch_all(&self.pool)).await?;
        let first = rows.first().map(|row| Ok((Position(row.try_get(0)?), row.try_get(3)?))).transpose();
        let first: Option<(Position, Uuid)> = first.map_err(LogError::doing("read a page of the log"))?;
        let own = first.filter(|(position, _)| *position == after).map(|(_, event_id)| event_id);
        if own.is_some() {
            rows.remove(0);
        }
        let positions: Result<Vec<_>, _> = rows.iter().map(|row| row.try_get(0).map(Position)).collect();
        dense(after, positions.map_err(LogError::doing("read a position"))?)?;
        if rows.is_empty() {
            let query = sqlx::query_scalar(NEXT).bind(after.0).fetch_optional(&self.pool);
            let next = answered("look beyond an empty page", query).await?.map(Position);
            // What was appended meanwhile is read with the next page.
            if let Some(found) = next.filter(|found| *found != after.next()) {
                return Err(LogError::Hole { after, found });
            }
        }
        Ok((own, rows))
    }
}

/// Refuses a version of a stream that is not the next one.
pub fn follows(stream: &StreamId, after: StreamVersion, found: StreamVersion) -> Result<(), LogError> {
    if found == after + 1 { Ok(()) } else { Err(LogError::StreamHole { stream: stream.clone(), after, found }) }
}

fn dense(after: Position, positions: impl IntoIterator<Item = Position>) -> Result<(), LogError> {
    let mut last = after;
    for found in positions {
        if found != last.next() {
            return Err(LogError::Hole { after: last, found });
        }
        last = found;
    }
    Ok(())
}

/// The text of a `json` column as it lies in the row, without a copy.
fn json_text(row: &PgRow, column: usize) -> Result<&str, sqlx::Error> {
    let value = row.try_get_raw(column)?;
    if value.is_null() {
        return Err(sqlx::Error::Decode("a json column of the log is null".into()));
    }
    value.as_str().map_err(sqlx::Error::Decode)
}

struct Place {
    position: Position,
    stream_id: StreamId,
    stream_version: StreamVersion,
    event_id: Uuid,
    schema_version: i16,
    recorded_at: DateTime<Utc>,
}

fn place(row: &PgRow) -> Result<Place, sqlx::Error> {
    Ok(Place {
        position: Position(row.try_get(0)?),
        stream_id: StreamId::from_log(row.try_get(1)?),
        stream_version: row.try_get(2)?,
        event_id: row.try_get(3)?,
        schema_version: row.try_get(5)?,
        recorded_at: row.try_get(8)?,
    })
}

fn decode_row(row: &PgRow) -> Result<Recorded<DomainEvent>, LogError> {
    let unreadable = LogError::doing("read a row of the log");
    let parts = || Ok((place(row)?, row.try_get::<&str, _>(4)?, json_text(row, 6)?, json_text(row, 7)?));
    let (place, event_type, payload, metadata) = parts().map_err(unreadable)?;
    let undecodable = |source| LogError::Undecodable { position: place.position, source };
    let payload =
        DomainEvent::decode(&place.stream_id, event_type, place.schema_version, payload).map_err(undecodable)?;
    let metadata = Metadata::of(&payload, metadata).map_err(|source| {
        let (event_type, schema_version) = (event_type.into(), place.schema_version);
        undecodable(DecodeError::Malformed { event_type, schema_version, source })
    })?;
    let Place { position, stream_id, stream_version, event_id, recorded_at, .. } = place;
    Ok(Recorded { position, stream_id, stream_version, event_id, metadata, recorded_at, payload })
}

fn raw_row(row: &PgRow) -> Result<RawRecorded, LogError> {
    let read = || {
        let Place { position, stream_id, stream_version, event_id, schema_version, recorded_at } = place(row)?;
        Ok(RawRecorded {
            position,
            stream_id,
            stream_version,
            event_id,
            event_type: row.try_get(4)?,
            schema_version,
            payload: json_text(row, 6)?.into(),
            metadata: json_text(row, 7)?.into(),
            recorded_at,
        })
    };
    read().map_err(LogError::doing("read a row of the log"))
}

/// Follows the log from a checkpoint, page by page, and waits at the head.
#[derive(Debug)]
pub struct Tail {
    log: Log,
    checkpoint: Checkpoint,
    woken: watch::Receiver<Position>,
    page_limit: u32,
}

impl Tail {
    /// Verifies the checkpoint first, and again with each page: a changed history stops the reader before it derives anything.
    pub async fn open(log: Log, checkpoint: Checkpoint, wake: &Wake, page_limit: u32) -> Result<Self, LogError> {
        log.verify(&checkpoint).await?;
        Ok(Self { log, checkpoint, woken: wake.subscribe(), page_limit })
    }

    /// Up to where this tail has read.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The next events, at least one; waits for them. Dropping the future loses nothing.
    pub async fn next_page(&mut self) -> Result<Vec<Recorded<DomainEvent>>, LogError> {
        loop {
            if let Some(page) = self.page_if_any().await? {
                return Ok(page);
            }
            self.wait().await;
        }
    }

    /// The next events, or none when this tail stands at the head.
    pub async fn page_if_any(&mut self) -> Result<Option<Vec<Recorded<DomainEvent>>>, LogError> {
        self.woken.mark_unchanged();
        let page = self.log.page_after(&self.checkpoint, self.page_limit).await?;
        let Some(last) = page.last() else { return Ok(None) };
        self.reach(last.position, last.event_id);
        Ok(Some(page))
    }

    /// Like [`Self::next_page`], as the log keeps them.
    pub async fn next_raw_page(&mut self) -> Result<Vec<RawRecorded>, LogError> {
        loop {
            if let Some(page) = self.raw_page_if_any().await? {
                return Ok(page);
            }
            self.wait().await;
        }
    }

    /// Like [`Self::page_if_any`], as the log keeps them.
    pub async fn raw_page_if_any(&mut self) -> Result<Option<Vec<RawRecorded>>, LogError> {
        self.woken.mark_unchanged();
        let page = self.log.raw_page_after(&self.checkpoint, self.page_limit).await?;
        let Some(last) = page.last() else { return Ok(None) };
        self.reach(last.position, last.event_id);
        Ok(Some(page))
    }

    async fn wait(&mut self) {
        let _ = tokio::time::timeout(POLL_INTERVAL, self.woken.changed()).await;
    }

    fn reach(&mut self, position: Position, event_id: Uuid) {
        self.checkpoint.position = position;
        self.checkpoint.event_id = event_id;
    }
}
