//! What is appended, what comes back, and how it can fail.

use chrono::{DateTime, Utc};
use events::{CommandId, LogError, NewEvent, Position, StreamId, StreamVersion};

/// One unit: every stream at its expected version, or nothing at all. No stream twice.
#[derive(Debug, Clone)]
pub struct Append {
    pub streams: Vec<StreamAppend>,
    /// Command ids that must not have been given before in that category, whatever the stream.
    pub keys: Vec<(&'static str, CommandId)>,
}

/// What one stream gets.
#[derive(Debug, Clone)]
pub struct StreamAppend {
    pub stream_id: StreamId,
    /// The count of events that the decision was based on; 0 for a stream that does not exist.
    pub expected_version: StreamVersion,
    /// At least one.
    pub events: Vec<NewEvent>,
    /// Each command with the version that it led to.
    pub commands: Vec<(CommandId, StreamVersion)>,
}

impl Append {
    #[must_use]
    pub fn to_one(stream: StreamAppend) -> Self {
        Self { streams: vec![stream], keys: Vec::new() }
    }

    pub(crate) fn bytes(&self) -> usize {
        let events = self.streams.iter().flat_map(|stream| &stream.events);
        events.map(|event| event.payload.len() + event.metadata.len() + 128).sum()
    }

    pub(crate) fn event_count(&self) -> usize {
        self.streams.iter().map(|stream| stream.events.len()).sum()
    }
}

/// Where the events of an append stand: `first` to `last` without a gap, in the order given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    pub first: Position,
    pub last: Position,
    pub recorded_at: DateTime<Utc>,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else was faster; nothing was written. Load again and decide again.
    #[error("{stream} is at version {actual}, not at {expected}")]
    WrongExpectedVersion { stream: StreamId, expected: StreamVersion, actual: StreamVersion },
    /// One of its keys was given before, in the same category; nothing was written.
    #[error("a command id was used before for another stream")]
    KeyTaken,
    /// Refused before anything was sent: the queue is full, or the append waited too long in it.
    #[error("the append queue is full")]
    Overloaded,
    /// Sent, and the answer was lost. Only the command id tells: load, and look whether it is answered.
    #[error("it is unknown whether the append was committed")]
    OutcomeUnknown { source: Option<sqlx::Error> },
    #[error("the append names no event, or a stream twice")]
    Malformed,
    #[error("cannot {doing}")]
    Postgres { doing: &'static str, source: sqlx::Error },
    /// `fsync` or `synchronous_commit` is off: an acknowledged order could be lost.
    #[error("Postgres runs with {setting} = off: an acknowledged event could be lost; switch it on")]
    NotDurable { setting: &'static str },
    /// A size or a time of 0: nothing would ever be appended.
    #[error("store.{what} is 0; give it at least 1")]
    Misconfigured { what: &'static str },
    /// Also that the log lost what this process had committed: then nothing can be appended by it any more.
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("the store is shutting down")]
    Closed,
}

impl StoreError {
    pub(crate) fn doing(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Postgres { doing, source }
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Overloaded | Self::OutcomeUnknown { .. } | Self::Postgres { .. } | Self::Closed => true,
            Self::Log(error) => error.is_transient(),
            Self::WrongExpectedVersion { .. }
            | Self::KeyTaken
            | Self::Malformed
            | Self::NotDurable { .. }
            | Self::Misconfigured { .. } => false,
        }
    }
}
