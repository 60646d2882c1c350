//! Whoever appends past the store, in plain SQL: a tool of somebody else's, or a process of the previous release.

use events::{Position, StreamVersion, schema};
use sqlx::{Connection, PgConnection};

use super::{Fixture, event_store::stream};

/// One event with a command, to the stream of that name at that version.
pub(super) const APPEND: &str = "SELECT last_position + 1, stale_versions FROM append_events(0, ARRAY[$1], '{1}', ARRAY[$2::bigint], \
     '{1}', '{1}', ARRAY[$1], ARRAY[$2 + 1], ARRAY[gen_random_uuid()], '{Tested}', '{1}', '{\"{}\"}', '{\"{}\"}', \
     '{1}', ARRAY[$1], ARRAY[gen_random_uuid()], ARRAY[$2 + 1])";

pub(super) struct Outsider(PgConnection);

impl Outsider {
    pub(super) async fn of(fixture: &Fixture) -> Self {
        Self(PgConnection::connect(&fixture.database.url(schema::SERVICE)).await.unwrap())
    }

    /// Where the event stands, or the version that the stream is at instead.
    pub(super) async fn append(&mut self, name: &str, expected: StreamVersion) -> Result<Position, StreamVersion> {
        loop {
            let append = sqlx::query_as::<_, (Option<i64>, Vec<StreamVersion>)>(APPEND)
                .bind(stream(name).to_string())
                .bind(expected);
            match append.fetch_one(&mut self.0).await {
                Ok((position, stale)) => return told(position, &stale),
                Err(error) => {
                    let code = error.as_database_error().and_then(|error| error.code());
                    assert_eq!(code.as_deref(), Some("40001"), "{error}");
                }
            }
        }
    }
}

fn told(position: Option<i64>, stale: &[StreamVersion]) -> Result<Position, StreamVersion> {
    stale.first().map_or_else(|| Ok(Position(position.expect("it wrote"))), |actual| Err(*actual))
}
