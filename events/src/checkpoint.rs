//! Up to where a reader has come, and how a reader whose progress lives in Postgres keeps it.

use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use uuid::Uuid;

use crate::{LogError, LogId, LogPosition, Position};

/// The last event that was read. The event's id tells whether the log still holds the same history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub log_id: LogId,
    pub position: Position,
    /// Nil at position 0.
    pub event_id: Uuid,
}

impl Checkpoint {
    /// Before the first event.
    #[must_use]
    pub fn start(log_id: LogId) -> Self {
        Self { log_id, position: Position::START, event_id: Uuid::nil() }
    }

    #[must_use]
    pub fn log_position(&self) -> LogPosition {
        LogPosition::new(self.log_id.clone(), self.position)
    }

    /// Refuses another log than the one that the position is in.
    pub(crate) fn belongs_to(&self, log: &LogId) -> Result<(), LogError> {
        if self.log_id == *log {
            Ok(())
        } else {
            Err(LogError::OtherLog { wanted: self.log_id.clone(), log: log.clone() })
        }
    }

    /// Refuses if `found`, the event that the log has at this position now, is another one, or none.
    pub(crate) fn stands(&self, found: Option<Uuid>) -> Result<(), LogError> {
        if self.position == Position::START || found == Some(self.event_id) {
            Ok(())
        } else {
            Err(LogError::HistoryChanged { checkpoint: self.to_string() })
        }
    }
}

impl std::fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.log_id, self.position)
    }
}

/// The checkpoint of a named reader; before the first event when it has none yet.
pub async fn load(pool: &PgPool, reader: &str, log_id: &LogId) -> Result<Checkpoint, LogError> {
    let row: Option<(i64, Uuid)> =
        sqlx::query_as("SELECT position, event_id FROM checkpoints WHERE reader = $1 AND log_id = $2")
            .bind(reader)
            .bind(log_id.as_str())
            .fetch_optional(pool)
            .await
            .map_err(LogError::doing("load a checkpoint"))?;
    Ok(row.map_or_else(
        || Checkpoint::start(log_id.clone()),
        |(position, event_id)| Checkpoint { log_id: log_id.clone(), position: Position(position), event_id },
    ))
}

/// Moves the checkpoint of a reader ($1) in a log ($2) from a position ($3) to another ($4) and its event ($5): one row, or none where
/// it no longer stood at the first. For a statement that moves it together with what was derived; alone, [`advance`] does.
pub const MOVE: &str = "INSERT INTO checkpoints AS c (reader, log_id, position, event_id) VALUES ($1, $2, $4, $5) \
     ON CONFLICT (reader, log_id) DO UPDATE SET position = $4, event_id = $5, updated_at = clock_timestamp() \
     WHERE c.position = $3 RETURNING 1";

/// Moves a named reader's checkpoint from `before` to `after`.
///
/// # Errors
/// `Fenced`: it no longer stood at `before`, so another process runs the same reader; nothing was written.
pub async fn advance(pool: &PgPool, reader: &str, before: &Checkpoint, after: &Checkpoint) -> Result<(), LogError> {
    let moved = sqlx::query(MOVE)
        .bind(reader)
        .bind(after.log_id.as_str())
        .bind(before.position.0)
        .bind(after.position.0)
        .bind(after.event_id)
        .execute(pool)
        .await
        .map_err(LogError::doing("move a checkpoint"))?;
    if moved.rows_affected() == 1 { Ok(()) } else { Err(LogError::Fenced { reader: reader.into() }) }
}
