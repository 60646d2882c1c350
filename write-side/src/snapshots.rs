//! Snapshots of long streams: a state, the event that led to it, and which version of the code wrote it.
//!
//! A cache and nothing else: one that cannot be read, is of other code or of another history is passed over, and the events tell.

use std::io;

use events::{Position, StreamId, StreamVersion};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::{Aggregate, EventStore, Loaded, StoreError, domain::Snapshots};

/// A state that takes more is not kept: what is written and read at once must fit into memory several times.
const BYTES_MAX: usize = 256 << 20;

/// A text that grows to [`BYTES_MAX`] and no further.
#[derive(Default)]
struct Text(Vec<u8>);

impl io::Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > BYTES_MAX {
            return Err(io::Error::other("a state is too large to be kept"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const READ: &str = "SELECT s.stream_version, s.state::text FROM snapshots AS s \
     WHERE s.stream_id = $1 AND s.state_version = $2 \
     AND EXISTS (SELECT FROM events AS e WHERE e.position = s.position AND e.event_id = s.event_id \
         AND e.stream_id = s.stream_id AND e.stream_version = s.stream_version)";

const WRITE: &str = "INSERT INTO snapshots (stream_id, stream_version, position, event_id, state_version, state) \
     VALUES ($1, $2, $3, $4, $5, convert_from($6, 'UTF8')::json) \
     ON CONFLICT (stream_id) DO UPDATE SET (stream_version, position, event_id, state_version, state, recorded_at) \
     = (excluded.stream_version, excluded.position, excluded.event_id, excluded.state_version, excluded.state, excluded.recorded_at)";

/// Where a stream stands: its version, and the event that led there.
pub(crate) struct Standing {
    pub version: StreamVersion,
    pub position: Position,
    pub event: Uuid,
}

/// The snapshots of one stream, written by its owner.
pub(crate) struct Keeper {
    stream: StreamId,
    /// Version of the last snapshot that was read, or of which a write was tried; 0 for none.
    kept: StreamVersion,
    writing: Option<JoinHandle<()>>,
}

impl Keeper {
    pub(crate) fn of(stream: StreamId) -> Self {
        Self { stream, kept: 0, writing: None }
    }

    /// The newest state that is kept; nothing where there is none.
    pub(crate) async fn read<A: Aggregate>(&mut self, store: &EventStore) -> Result<Loaded<A>, StoreError> {
        let Some(Snapshots { state_version, read, .. }) = A::SNAPSHOTS else { return Ok(Loaded::default()) };
        let query = sqlx::query_as(READ).bind(self.stream.as_str()).bind(state_version);
        let row = match store.told("read a snapshot", query.fetch_optional(store.log().pool())).await {
            Ok(row) => row,
            // The server answered: that row cannot be had.
            Err(StoreError::Postgres { source: sqlx::Error::Database(error), .. }) => {
                return Ok(self.passed_over(&error));
            }
            Err(error) => return Err(error),
        };
        let Some((version, state)): Option<(StreamVersion, String)> = row else { return Ok(Loaded::default()) };
        match tokio::task::spawn_blocking(move || read(&state)).await {
            Ok(Ok(state)) => {
                self.kept = version;
                Ok(Loaded { state, version, answered: None })
            }
            Ok(Err(error)) => Ok(self.passed_over(&error)),
            Err(error) => Ok(self.passed_over(&error)),
        }
    }

    fn passed_over<A: Aggregate>(&self, error: &dyn std::error::Error) -> Loaded<A> {
        tracing::warn!(%error, stream.id = %self.stream, "a snapshot cannot be read: the stream is loaded from its first event");
        Loaded::default()
    }

    /// Writes a snapshot on `tracker` once the stream has grown by `snapshot_every` events since the last one, and by a quarter: so all
    /// that is ever written is a few times the last state, and a load folds some fifth of the stream. A write that fails is not repeated
    /// before the stream has grown as much again.
    pub(crate) fn offer<A: Aggregate>(&mut self, store: &EventStore, state: &A, at: Standing, tracker: &TaskTracker) {
        let Some(snapshots) = A::SNAPSHOTS else { return };
        let due = at.version - self.kept >= store.snapshot_every().max(self.kept / 4);
        if !due || self.writing.as_ref().is_some_and(|writing| !writing.is_finished()) {
            return;
        }
        self.kept = at.version;
        let (store, stream, state) = (store.clone(), self.stream.clone(), state.clone());
        let to_json = move || {
            let mut text = Text::default();
            (snapshots.write)(&state, &mut text).map(|()| text.0)
        };
        self.writing = Some(tracker.spawn(write(store, stream, at, snapshots.state_version, to_json)));
    }
}

/// A snapshot that cannot be written costs the next load some time, and nothing else.
async fn write(
    store: EventStore,
    stream: StreamId,
    at: Standing,
    state_version: i16,
    to_json: impl FnOnce() -> serde_json::Result<Vec<u8>> + Send + 'static,
) {
    let json = match tokio::task::spawn_blocking(to_json).await {
        Ok(Ok(json)) => json,
        Ok(Err(error)) => return tracing::warn!(%error, stream.id = %stream, "a snapshot cannot be written"),
        Err(error) => return tracing::error!(%error, stream.id = %stream, "writing a snapshot ended before its end"),
    };
    let query = sqlx::query(WRITE)
        .bind(stream.as_str())
        .bind(at.version)
        .bind(at.position.0)
        .bind(at.event)
        .bind(state_version)
        .bind(json);
    if let Err(error) = store.told("write a snapshot", query.execute(store.log().pool())).await {
        tracing::warn!(error = &error as &dyn std::error::Error, stream.id = %stream, "a snapshot was not written");
    }
}
