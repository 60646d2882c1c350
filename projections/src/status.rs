//! How all projections stand, read from the stores themselves: right in a process that runs no projector, too.

use std::time::Duration;

use events::{Log, LogPosition, Position};
use futures_util::future::join_all;

use crate::{
    Construction, Handle, Indexes, ProjectionState, ProjectionStatus, ReadError, SearchIndex, View, Views,
    names::Generation,
};

/// How long a log may take to say where it ends.
const GLANCE: Duration = Duration::from_secs(2);

/// One line per projection and log. A projection that is not built, or whose store does not answer, has no position; where the log
/// cannot be asked, there is no lag.
pub async fn statuses(
    views: &Views,
    indexes: &Indexes,
    logs: &[Log],
    handle: Option<&Handle>,
) -> Vec<ProjectionStatus> {
    let lines = logs.iter().map(|log| in_log(views.of(log.id()), indexes.of(log.id()), log, handle));
    join_all(lines).await.into_iter().flatten().collect()
}

async fn in_log(views: Views, indexes: Indexes, log: &Log, handle: Option<&Handle>) -> Vec<ProjectionStatus> {
    let head = tokio::time::timeout(GLANCE, log.head()).await.ok().and_then(Result::ok);
    let report = Report { log, head, handle };
    let views = join_all(View::ALL.map(async |view| {
        let (standing, construction) = tokio::join!(views.standing(view), views.construction(view));
        report.line(view.name(), "redis", Seen { standing, construction }).await
    }));
    let indexes = join_all(SearchIndex::ALL.map(async |index| {
        let (standing, construction) = tokio::join!(indexes.standing(index), indexes.construction(index));
        report.line(index.name(), "tantivy", Seen { standing, construction }).await
    }));
    let (views, indexes) = tokio::join!(views, indexes);
    views.into_iter().chain(indexes).collect()
}

/// What a store says of one projection.
struct Seen {
    standing: Result<(Generation, LogPosition), ReadError>,
    construction: Result<Option<(Generation, LogPosition)>, ReadError>,
}

struct Report<'a> {
    log: &'a Log,
    /// None: it did not say.
    head: Option<Position>,
    handle: Option<&'a Handle>,
}

impl Report<'_> {
    async fn line(&self, name: &'static str, store: &str, seen: Seen) -> ProjectionStatus {
        let id = self.log.id();
        let mut state = self.handle.map_or(ProjectionState::Unknown, |handle| handle.state_in(name, id));
        let (generation, position) = match seen.standing {
            Ok((generation, position)) => (Some(generation), Some(position)),
            Err(error) => {
                if state == ProjectionState::Unknown {
                    state = ProjectionState::Retrying { reason: error.to_string() };
                }
                (None, None)
            }
        };
        let lag_age_ms = match (&position, self.head) {
            (Some(at), Some(head)) if at.position < head => age_ms(self.log, at.position.0 + 1).await,
            (Some(_), Some(_)) => Some(0),
            _ => None,
        };
        let construction = seen.construction.ok().flatten().map(|(generation, at)| Construction {
            generation,
            position: at.to_string(),
            target: LogPosition::new(at.log_id, self.head.unwrap_or(at.position)).to_string(),
        });
        ProjectionStatus {
            name: name.into(),
            log: id.to_string(),
            store: store.into(),
            generation,
            lag_events: position.as_ref().zip(self.head).map(|(at, head)| (head.0 - at.position.0).max(0)),
            position: position.map(|at| at.to_string()),
            lag_age_ms,
            construction,
            state,
        }
    }
}

/// Since the event was recorded, by the database's clock; none where that cannot be asked.
async fn age_ms(log: &Log, position: i64) -> Option<i64> {
    let age = sqlx::query_scalar(
        "SELECT (extract(epoch FROM clock_timestamp() - recorded_at) * 1000)::bigint FROM events WHERE position = $1",
    );
    let asked = tokio::time::timeout(GLANCE, age.bind(position).fetch_optional(log.pool())).await;
    asked.ok()?.ok().flatten()
}
