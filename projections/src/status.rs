//! How all projections stand, read from the stores themselves: right in a process that runs no projector, too.

use events::{Log, LogPosition};

use crate::{Handle, Indexes, PROJECTIONS, ProjectionState, ProjectionStatus, ReadError, SearchIndex, View, Views};

/// One line per projection. A projection that is not built, or whose store does not answer, has no position.
///
/// # Errors
/// The log itself could not be asked.
pub async fn statuses(
    views: &Views,
    indexes: &Indexes,
    log: &Log,
    handle: Option<&Handle>,
) -> Result<Vec<ProjectionStatus>, events::LogError> {
    let head = log.head().await?;
    let mut statuses = Vec::with_capacity(PROJECTIONS.len());
    for view in View::ALL {
        statuses.push(status(view.name(), "redis", views.position(view).await, head.0, log, handle).await?);
    }
    for index in SearchIndex::ALL {
        statuses.push(status(index.name(), "tantivy", indexes.position(index).await, head.0, log, handle).await?);
    }
    Ok(statuses)
}

async fn status(
    name: &'static str,
    store: &str,
    position: Result<LogPosition, ReadError>,
    head: i64,
    log: &Log,
    handle: Option<&Handle>,
) -> Result<ProjectionStatus, events::LogError> {
    let mut state = handle.map_or(ProjectionState::Unknown, |handle| handle.state(name));
    let position = match position {
        Ok(position) => Some(position),
        Err(error) => {
            if state == ProjectionState::Unknown {
                state = ProjectionState::Retrying { reason: error.to_string() };
            }
            None
        }
    };
    let lag_age_ms = match &position {
        Some(at) if at.position.0 < head => age_ms(log, at.position.0 + 1).await?,
        Some(_) => Some(0),
        None => None,
    };
    Ok(ProjectionStatus {
        name: name.into(),
        store: store.into(),
        generation: handle.and_then(|handle| handle.generation(name)),
        lag_events: position.as_ref().map(|at| (head - at.position.0).max(0)),
        position: position.map(|at| at.to_string()),
        lag_age_ms,
        state,
    })
}

/// Since the event was recorded, by the database's clock.
async fn age_ms(log: &Log, position: i64) -> Result<Option<i64>, events::LogError> {
    sqlx::query_scalar(
        "SELECT (extract(epoch FROM clock_timestamp() - recorded_at) * 1000)::bigint FROM events WHERE position = $1",
    )
    .bind(position)
    .fetch_optional(log.pool())
    .await
    .map_err(|source| events::LogError::Postgres { doing: "read the age of an event", source })
}
