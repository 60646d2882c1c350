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

/// What a call is given, argument by argument; the rest of it is right.
struct Call(Vec<(&'static str, &'static str)>);

impl Call {
    fn sql(&self) -> String {
        let right = [
            ("p_hint", "0"),
            ("p_stream_ids", "'{test-a}'"),
            ("p_stream_appends", "'{1}'"),
            ("p_expected", "'{0}'"),
            ("p_event_counts", "'{}'"),
            ("p_event_appends", "'{1}'"),
            ("p_event_streams", "'{test-a}'"),
            ("p_event_versions", "'{1}'"),
            ("p_event_ids", "ARRAY[gen_random_uuid()]"),
            ("p_event_types", "'{Tested}'"),
            ("p_schema_versions", "'{1}'"),
            ("p_payloads", "ARRAY['{}']"),
            ("p_metadata", "ARRAY['{}']"),
            ("p_command_appends", "'{}'"),
            ("p_command_streams", "'{}'"),
            ("p_command_ids", "'{}'"),
            ("p_command_versions", "'{}'"),
        ];
        let given = |name: &str| self.0.iter().find(|(given, _)| *given == name).map(|(_, value)| *value);
        let arguments = right.map(|(name, value)| format!("{name} => {}", given(name).unwrap_or(value)));
        format!("SELECT append_events({})", arguments.join(", "))
    }
}

#[tokio::test]
async fn whoever_is_outside_is_told_what_no_reader_could_make_anything_of() {
    let fixture = Fixture::new().await;
    let pool = fixture.superuser().await;
    let told = async |call: &Call| {
        let error = sqlx::query(&call.sql()).execute(&pool).await.expect_err("it is wrong").into_database_error();
        let error = error.expect("the server says it");
        assert_eq!(error.code().as_deref(), Some("22023"), "{:?}: {error}", call.0);
        error.message().to_owned()
    };
    for (name, value, word) in [
        ("p_hint", "NULL", "p_hint"),
        ("p_hint", "-5", "p_hint"),
        ("p_stream_ids", "NULL", "at least"),
        ("p_stream_ids", "'{}'", "at least"),
        ("p_event_ids", "NULL", "at least"),
        ("p_expected", "'{0,0}'", "p_expected"),
        ("p_event_types", "NULL", "p_event_types"),
        ("p_payloads", "ARRAY['{}', '{}']", "p_payloads"),
        ("p_command_ids", "ARRAY[gen_random_uuid()]", "p_command_ids"),
        ("p_event_ids", "ARRAY[NULL]::uuid[]", "an id"),
        ("p_stream_ids", "ARRAY['']", "a name"),
        ("p_stream_ids", "ARRAY[NULL]", "a name"),
        ("p_stream_ids", "ARRAY[E'test-\\t']", "a name"),
        ("p_stream_ids", "ARRAY[repeat('x', 201)]", "200"),
        ("p_event_types", "ARRAY['']", "a type"),
        ("p_event_types", "ARRAY[NULL]", "a type"),
        ("p_schema_versions", "'{0}'", "schema version"),
        ("p_schema_versions", "ARRAY[NULL]::smallint[]", "schema version"),
        ("p_payloads", "ARRAY['[1]']", "JSON objects"),
        ("p_metadata", "ARRAY['7']", "JSON objects"),
        ("p_metadata", "ARRAY[NULL]", "JSON objects"),
        ("p_event_ids", "ARRAY[ARRAY[gen_random_uuid()]]", "dimension"),
        ("p_stream_appends", "ARRAY[NULL]::integer[]", "number of its append"),
    ] {
        let message = told(&Call(vec![(name, value)])).await;
        assert!(message.contains(word), "{name} => {value}: {message}");
    }
    let idle =
        Call(vec![("p_stream_ids", "'{test-a,test-b}'"), ("p_stream_appends", "'{1,1}'"), ("p_expected", "'{0,0}'")]);
    assert!(told(&idle).await.contains("test-b is given without an event"));
    let error = sqlx::query(&Call(vec![("p_payloads", "ARRAY['{nonsense']")]).sql()).execute(&pool).await;
    assert!(error.expect_err("no JSON").to_string().contains("json"));
    for unreadable in [r"\u0000", r"\\\u0000", r"\ud800", r"\uDC00 \uD800"] {
        for argument in ["p_payloads", "p_metadata"] {
            let call = Call(vec![]).sql().replace(
                &format!("{argument} => ARRAY['{{}}']"),
                &format!(r#"{argument} => ARRAY['{{"a":"{unreadable}"}}']"#),
            );
            let error =
                sqlx::query(&call).execute(&pool).await.expect_err("it is no text").into_database_error().unwrap();
            assert!(matches!(error.code().as_deref(), Some("22P02" | "22P05")), "{argument} {unreadable}: {error}");
        }
    }
    assert_eq!(assert_whole(&fixture).await, 0);
    // A backslash before it makes it an ordinary text; a name may be anything that can be read.
    sqlx::query(&Call(vec![("p_payloads", r#"ARRAY['{"a":"\\u0000"}']"#)]).sql()).execute(&pool).await.unwrap();
    assert_eq!(assert_whole(&fixture).await, 1);
}

#[tokio::test]
async fn whoever_is_outside_must_see_what_others_append_and_is_not_waited_for_for_long() {
    let fixture = Fixture::new().await;
    let mut session = PgConnection::connect(&fixture.database.url(schema::SERVICE)).await.unwrap();
    let call = Call(Vec::new()).sql();
    sqlx::raw_sql("BEGIN ISOLATION LEVEL REPEATABLE READ").execute(&mut session).await.unwrap();
    let error = sqlx::raw_sql(&call).execute(&mut session).await.expect_err("an old snapshot").into_database_error();
    assert_eq!(error.and_then(|error| error.code().map(String::from)).as_deref(), Some("25001"));
    sqlx::raw_sql("ROLLBACK").execute(&mut session).await.unwrap();

    let timeout = async |session: &mut PgConnection| {
        let shown = sqlx::query_scalar("SHOW idle_in_transaction_session_timeout").fetch_one(session).await;
        shown.map(|shown: String| shown).unwrap()
    };
    // Once it has appended, everybody waits for the end of its transaction.
    sqlx::raw_sql(&format!("BEGIN; {call}")).execute(&mut session).await.unwrap();
    assert_eq!(timeout(&mut session).await, "10s");
    sqlx::raw_sql("ROLLBACK").execute(&mut session).await.unwrap();
    assert_eq!(timeout(&mut session).await, "0");
    // Whoever has a limit of his own keeps it.
    sqlx::raw_sql("SET idle_in_transaction_session_timeout = '200ms'").execute(&mut session).await.unwrap();
    sqlx::raw_sql(&format!("BEGIN; {call}")).execute(&mut session).await.unwrap();
    assert_eq!(timeout(&mut session).await, "200ms");
    super::event_store::append_one(&fixture.store, "b", 0).await.expect("it waits until the session is ended");
    assert!(sqlx::raw_sql("COMMIT").execute(&mut session).await.is_err(), "its transaction was ended");
    assert_eq!(assert_whole(&fixture).await, 1);
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
