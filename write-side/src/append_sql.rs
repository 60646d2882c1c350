//! The SQL functions that append, and the shapes of what they are given.

use chrono::{DateTime, Utc};
use events::{CommandId, NewEvent, Position};
use sqlx::{
    Encode, FromRow, PgConnection, Postgres, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, types::Oid},
};
use uuid::Uuid;

use crate::{StreamAppend, batcher::Queued, known::Vouched};

/// What a session that appends sets beside [`events::schema::SESSION`]: `append_batch` and `append_one` say why.
pub(crate) const SESSION: [(&str, &str); 6] = [
    ("lock_timeout", "5s"),
    ("synchronous_commit", "on"),
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_bitmapscan", "off"),
    ("enable_sort", "off"),
    ("default_transaction_isolation", "read\\ committed"),
];

/// The row that both functions return.
#[derive(FromRow)]
pub(crate) struct Outcome {
    /// The position before the first event written, and the event there; none if nothing was written.
    pub last_position: Option<i64>,
    pub last_event: Option<Uuid>,
    pub recorded: Option<DateTime<Utc>>,
    /// Numbers from 1, in the order of [`sorted_streams`].
    pub stale_streams: Vec<i32>,
    pub stale_versions: Vec<i64>,
}

/// Appends the batch, whose streams are these, to a log that has reached `hint`, by the function that does least.
pub(crate) async fn append(
    connection: &mut PgConnection,
    batch: &[Queued],
    streams: &[(usize, &StreamAppend)],
    hint: Position,
    vouched: &Vouched,
) -> Result<Outcome, sqlx::Error> {
    match lonely(batch) {
        Some((stream, event, command)) => append_one(connection, stream, event, command, hint, vouched).await,
        None => append_batch(connection, batch, streams, hint, vouched).await,
    }
}

/// A batch of one event with at most one command.
fn lonely(batch: &[Queued]) -> Option<(&StreamAppend, &NewEvent, Option<CommandId>)> {
    let [Queued { append, .. }] = batch else { return None };
    let [stream] = append.streams.as_slice() else { return None };
    let [event] = stream.events.as_slice() else { return None };
    let command = match stream.commands.as_slice() {
        [] => None,
        [(command, version)] if *version == stream.expected_version + 1 => Some(*command),
        _ => return None,
    };
    append.keys.is_empty().then_some((stream, event, command))
}

async fn append_one(
    connection: &mut PgConnection,
    stream: &StreamAppend,
    event: &NewEvent,
    command: Option<CommandId>,
    hint: Position,
    vouched: &Vouched,
) -> Result<Outcome, sqlx::Error> {
    sqlx::query_as("SELECT * FROM append_one($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)")
        .bind(hint.0)
        .bind(vouched.known.map_or(0, |known| known.position.0))
        .bind(vouched.known.map(|known| known.event))
        .bind(stream.stream_id.as_str())
        .bind(stream.expected_version)
        .bind(vouched.look[0])
        .bind(event.event_id)
        .bind(event.event_type)
        .bind(event.schema_version)
        .bind(Json(&event.payload))
        .bind(Json(&event.metadata))
        .bind(command.map(|command| command.0))
        .fetch_one(connection)
        .await
}

/// Flattens the batch into the function's arrays. Numbers are bounded by the batch, so they fit.
async fn append_batch(
    connection: &mut PgConnection,
    batch: &[Queued],
    streams: &[(usize, &StreamAppend)],
    hint: Position,
    vouched: &Vouched,
) -> Result<Outcome, sqlx::Error> {
    let number = |number: usize| i32::try_from(number).expect("a batch is bounded");
    let events: Vec<_> = streams_of(batch)
        .flat_map(|(n, stream)| stream.events.iter().zip(stream.expected_version + 1..).map(move |e| (n, stream, e)))
        .collect();
    let commands = streams_of(batch).flat_map(|(n, stream)| {
        stream.commands.iter().map(move |&(id, version)| (stream.stream_id.as_str(), id.0, n, version))
    });
    // A key stands beside the commands of the streams, under its category: there it can stand once.
    let keys = batch.iter().enumerate();
    let keys =
        keys.flat_map(|(n, queued)| queued.append.keys.iter().map(move |&(category, id)| (category, id.0, n, 0)));
    let mut commands: Vec<_> = commands.chain(keys).collect();
    commands.sort_unstable();
    sqlx::query_as(
        "SELECT * FROM append_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23)",
    )
    .bind(hint.0)
    .bind(vouched.known.map_or(0, |known| known.position.0))
    .bind(vouched.known.map(|known| known.event))
    .bind(vouched.next.map(|next| next.last.position.0))
    .bind(vouched.next.map(|next| next.first_event))
    .bind(vouched.next.map(|next| next.last.event))
    .bind(streams.iter().map(|(_, s)| s.stream_id.as_str()).collect::<Vec<_>>())
    .bind(streams.iter().map(|(n, _)| number(*n)).collect::<Vec<_>>())
    .bind(streams.iter().map(|(_, s)| s.expected_version).collect::<Vec<_>>())
    .bind(&vouched.look)
    .bind(events.iter().map(|(n, ..)| number(*n)).collect::<Vec<_>>())
    .bind(events.iter().map(|(_, s, _)| s.stream_id.as_str()).collect::<Vec<_>>())
    .bind(events.iter().map(|(_, _, (_, version))| *version).collect::<Vec<_>>())
    .bind(events.iter().map(|(_, _, (event, _))| event.event_id).collect::<Vec<_>>())
    .bind(events.iter().map(|(_, _, (event, _))| event.event_type).collect::<Vec<_>>())
    .bind(events.iter().map(|(_, _, (event, _))| event.schema_version).collect::<Vec<_>>())
    .bind(events.iter().map(|(_, _, (event, _))| Json(&event.payload)).collect::<Vec<_>>())
    .bind(events.iter().map(|(_, _, (event, _))| Json(&event.metadata)).collect::<Vec<_>>())
    .bind(commands.iter().map(|(.., n, _)| number(*n)).collect::<Vec<_>>())
    .bind(commands.iter().map(|(stream, ..)| *stream).collect::<Vec<_>>())
    .bind(commands.iter().map(|(_, id, ..)| *id).collect::<Vec<_>>())
    .bind(commands.iter().map(|(.., version)| *version).collect::<Vec<_>>())
    .bind(vouched.ahead)
    .fetch_one(connection)
    .await
}

/// The streams of the batch in the order of the append, each with its append's number.
fn streams_of(batch: &[Queued]) -> impl Iterator<Item = (usize, &StreamAppend)> {
    let appends = batch.iter().enumerate();
    appends.flat_map(|(number, queued)| queued.append.streams.iter().map(move |stream| (number, stream)))
}

/// The same in the order of locking.
pub(crate) fn sorted_streams(batch: &[Queued]) -> Vec<(usize, &StreamAppend)> {
    let mut streams: Vec<_> = streams_of(batch).collect();
    streams.sort_unstable_by(|a, b| a.1.stream_id.cmp(&b.1.stream_id));
    streams
}

/// JSON as it stands, which the server checks as it comes in.
struct Json<'a>(&'a str);

impl Type<Postgres> for Json<'_> {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(114))
    }
}

impl PgHasArrayType for Json<'_> {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(199))
    }
}

impl<'q> Encode<'q, Postgres> for Json<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }
}
