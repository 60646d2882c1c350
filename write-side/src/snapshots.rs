//! Snapshots of long streams: a state, the event that led to it, and which version of the code wrote it.
//!
//! A cache and nothing else: one that cannot be read, is of other code or of another history is passed over, and the events tell.

use events::{Position, StreamId, StreamVersion};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::{Aggregate, EventStore, Loaded, StoreError, domain::Snapshots};

/// A state that takes more is not kept: what is read at once must fit into memory several times.
const BYTES_MAX: usize = 256 << 20;

const READ: &str = "SELECT s.stream_version, s.state::text FROM snapshots AS s \
     WHERE s.stream_id = $1 AND s.state_version = $2 \
     AND EXISTS (SELECT FROM events AS e WHERE e.position = s.position AND e.event_id = s.event_id)";

const WRITE: &str = "INSERT INTO snapshots (stream_id, stream_version, position, event_id, state_version, state) \
     VALUES ($1, $2, $3, $4, $5, $6::text::json) \
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
    /// Version of the last snapshot that was read or begun; 0 for none.
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
        let row = store.told("read a snapshot", query.fetch_optional(store.log().pool())).await?;
        let Some((version, state)): Option<(StreamVersion, String)> = row else { return Ok(Loaded::default()) };
        match read(&state) {
            Ok(state) => {
                self.kept = version;
                Ok(Loaded { state, version, answered: None })
            }
            Err(error) => {
                tracing::warn!(%error, stream.id = %self.stream, "a snapshot cannot be read and is passed over");
                Ok(Loaded::default())
            }
        }
    }

    /// Writes a snapshot on `tracker` once the stream has grown by `every` events since the last one, and by a quarter: so all that is ever
    /// written is a few times the last state, and a load folds at most a fifth of the stream.
    pub(crate) fn offer<A: Aggregate>(&mut self, store: &EventStore, state: &A, at: Standing, tracker: &TaskTracker) {
        let Some(snapshots) = A::SNAPSHOTS else { return };
        let due = at.version - self.kept >= store.snapshot_every().max(self.kept / 4);
        if !due || self.writing.as_ref().is_some_and(|writing| !writing.is_finished()) {
            return;
        }
        self.kept = at.version;
        let (store, stream, state) = (store.clone(), self.stream.clone(), state.clone());
        let to_json = move || (snapshots.write)(&state);
        self.writing = Some(tracker.spawn(write(store, stream, at, snapshots.state_version, to_json)));
    }
}

/// A snapshot that cannot be written costs the next load some time, and nothing else.
async fn write(
    store: EventStore,
    stream: StreamId,
    at: Standing,
    state_version: i16,
    to_json: impl FnOnce() -> serde_json::Result<String> + Send + 'static,
) {
    let Ok(Ok(json)) = tokio::task::spawn_blocking(to_json).await else {
        return tracing::error!(stream.id = %stream, "a state cannot be written as a snapshot");
    };
    if json.len() > BYTES_MAX {
        return tracing::warn!(stream.id = %stream, bytes = json.len(), "a state is too large to be kept as a snapshot");
    }
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
