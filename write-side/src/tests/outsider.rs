//! Whoever appends past the store, in plain SQL: a tool of somebody else's, or a process of the previous release.

use events::{Position, StreamVersion, schema};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::{
    Fixture,
    event_store::{assert_whole, stream},
};

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

#[tokio::test]
async fn whoever_is_outside_is_told_what_is_wrong_with_a_batch() {
    let fixture = Fixture::new().await;
    let pool = fixture.superuser().await;
    let append = async |streams: &str, appends: &str, event_streams: &str, versions: &str| {
        let sql = format!(
            "SELECT append_events(0, '{streams}', '{appends}', array_fill(0::bigint, ARRAY[cardinality('{streams}'::text[])]), '{{}}', \
             array_fill(1, ARRAY[cardinality('{versions}'::bigint[])]), '{event_streams}', '{versions}', \
             (SELECT array_agg(gen_random_uuid()) FROM unnest('{versions}'::bigint[])), \
             array_fill('Tested'::text, ARRAY[cardinality('{versions}'::bigint[])]), \
             array_fill(1::smallint, ARRAY[cardinality('{versions}'::bigint[])]), \
             array_fill('{{}}'::text, ARRAY[cardinality('{versions}'::bigint[])]), \
             array_fill('{{}}'::text, ARRAY[cardinality('{versions}'::bigint[])]), '{{}}', '{{}}', '{{}}', '{{}}')"
        );
        let told = sqlx::query(&sql).execute(&pool).await;
        told.map(drop).map_err(|error| {
            error.into_database_error().and_then(|error| error.code().map(std::borrow::Cow::into_owned))
        })
    };
    let wrong = Err(Some("22023".to_owned()));
    assert_eq!(append("{test-a,test-a}", "{1,1}", "{test-a,test-a}", "{1,2}").await, wrong, "a stream twice");
    assert_eq!(append("{test-a}", "{1}", "{test-a,test-a}", "{1,3}").await, wrong, "a version left out");
    assert_eq!(append("{test-a}", "{1}", "{test-a,test-a}", "{2,1}").await, wrong, "out of order");
    assert_eq!(append("{test-a}", "{1}", "{test-a}", "{2}").await, wrong, "a single one at another version");
    assert_eq!(append("{test-a}", "{1}", "{test-b}", "{1}").await, wrong, "a stream that was not given");
    assert_eq!(append("{test-a}", "{2}", "{test-a}", "{1}").await, wrong, "an event of another append");
    for (expected, commands) in [
        ("NULL", "'{}', '{}', '{}', '{}'"),
        ("-1", "'{}', '{}', '{}', '{}'"),
        ("0", "'{1}', '{test-a}', ARRAY[gen_random_uuid()], '{0}'"),
        ("0", "'{2}', '{test}', ARRAY[gen_random_uuid()], '{0}'"),
        ("0", "'{1}', '{test-a}', ARRAY[gen_random_uuid()], '{2}'"),
        ("0", "'{1}', '{test-b}', ARRAY[gen_random_uuid()], '{1}'"),
        ("0", "'{2}', '{test-a}', ARRAY[gen_random_uuid()], '{1}'"),
    ] {
        let sql = format!(
            "SELECT append_events(0, '{{test-a}}', '{{1}}', ARRAY[{expected}::bigint], '{{}}', '{{1}}', '{{test-a}}', '{{1}}', \
             ARRAY[gen_random_uuid()], '{{Tested}}', '{{1}}', ARRAY['{{}}'], ARRAY['{{}}'], {commands})"
        );
        let error = sqlx::query(&sql).execute(&pool).await.expect_err("it is wrong").into_database_error().unwrap();
        assert_eq!(error.code().as_deref(), Some("22023"), "{expected} {commands}: {error}");
    }
    assert_eq!(assert_whole(&fixture).await, 0);
    append("{test-a,test-b}", "{1,1}", "{test-b,test-a,test-b}", "{1,1,2}").await.unwrap();
    append("{test-c}", "{1}", "{test-c}", "{1}").await.unwrap();
    assert_eq!(assert_whole(&fixture).await, 4);
}

#[tokio::test]
async fn whoever_is_outside_appends_several_events_of_a_stream_at_once() {
    let fixture = Fixture::new().await;
    let pool = fixture.superuser().await;
    // Three events behind the expected version, and the command led to the middle one.
    let append = async |expected: i64, command: u128| {
        let sql = "SELECT last_position, stale_versions FROM append_events(0, '{test-a}', '{1}', ARRAY[$1::bigint], '{}', '{1,1,1}', \
                   '{test-a,test-a,test-a}', ARRAY[$1 + 1, $1 + 2, $1 + 3], \
                   ARRAY[gen_random_uuid(), gen_random_uuid(), gen_random_uuid()], '{Tested,Tested,Tested}', '{1,1,1}', \
                   '{\"{}\",\"{}\",\"{}\"}', '{\"{}\",\"{}\",\"{}\"}', '{1}', '{test-a}', ARRAY[$2], ARRAY[$1 + 2])";
        let told = sqlx::query_as::<_, (Option<i64>, Vec<i64>)>(sql).bind(expected).bind(Uuid::from_u128(command));
        told.fetch_one(&pool).await.map_err(|error| {
            error.into_database_error().and_then(|error| error.code().map(std::borrow::Cow::into_owned))
        })
    };
    assert_eq!(append(0, 1).await, Ok((Some(0), vec![])));
    assert_eq!(append(3, 2).await, Ok((Some(3), vec![])));
    assert_eq!(append(3, 3).await, Ok((None, vec![6])), "it is further by now");
    assert_eq!(append(0, 3).await, Ok((None, vec![6])), "it is not new");
    assert_eq!(append(9, 3).await, Ok((None, vec![6])), "it is not that far");
    assert_eq!(append(6, 2).await, Err(Some("23505".into())), "a command that is there already");
    let commands: Vec<i64> = sqlx::query_scalar("SELECT stream_version FROM commands ORDER BY stream_version")
        .fetch_all(&pool)
        .await
        .unwrap();
    assert_eq!((commands, assert_whole(&fixture).await), (vec![2, 5], 6));
    super::event_store::append_one(&fixture.store, "a", 6).await.expect("the store goes on behind it");
}

#[tokio::test]
async fn a_session_that_hides_the_log_behind_tables_and_types_of_its_own_appends_to_the_log() {
    let fixture = Fixture::new().await;
    let mut session = PgConnection::connect(&fixture.database.url(schema::SERVICE)).await.unwrap();
    // A function with its owner's rights would find them first, and run their checks with those rights.
    let hide = "CREATE TEMP TABLE events (LIKE public.events); \
                CREATE FUNCTION pg_temp.is_own() RETURNS boolean LANGUAGE sql AS $$ SELECT current_user = session_user $$; \
                CREATE DOMAIN pg_temp.timestamptz AS pg_catalog.timestamptz CHECK (pg_temp.is_own()); \
                SET search_path = pg_temp, public, pg_catalog";
    sqlx::raw_sql(hide).execute(&mut session).await.unwrap();
    for version in 0..2 {
        let one = format!(
            "SELECT append_one(0, 0, NULL, 'test-a', {version}, false, gen_random_uuid(), 'Tested', 1::smallint, '{{}}', '{{}}', NULL)"
        );
        sqlx::raw_sql(&one).execute(&mut session).await.unwrap();
        let batch = APPEND.replace("$1", "'test-b'").replace("$2", &version.to_string());
        sqlx::raw_sql(&batch).execute(&mut session).await.unwrap();
    }
    let hidden: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_temp.events").fetch_one(&mut session).await.unwrap();
    assert_eq!((hidden, assert_whole(&fixture).await), (0, 4));
}
