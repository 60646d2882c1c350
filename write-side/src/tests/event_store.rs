//! What the log promises of an append.

use events::{LogError, NewEvent, Position, StreamId, StreamVersion};
use sqlx::{Connection, PgConnection, PgPool};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{Fixture, command};
use crate::{Append, Appended, EventStore, StoreConfig, StoreError, StreamAppend};

pub(super) fn event(store: &EventStore, payload: &str) -> NewEvent {
    NewEvent {
        event_id: store.ids().next(),
        event_type: "Tested",
        schema_version: 1,
        payload: payload.into(),
        metadata: "{}".into(),
    }
}

pub(super) fn stream(name: &str) -> StreamId {
    StreamId::new("test", name)
}

fn one(store: &EventStore, name: &str, expected_version: StreamVersion, command_name: &str) -> StreamAppend {
    StreamAppend {
        stream_id: stream(name),
        expected_version,
        events: vec![event(store, "{}")],
        commands: vec![(command(command_name), expected_version + 1)],
    }
}

pub(super) async fn append_one(
    store: &EventStore,
    name: &str,
    expected: StreamVersion,
) -> Result<Appended, StoreError> {
    let key = format!("{name}/{expected}/{}", Uuid::from_u128(u128::from(rand_id())));
    store.append(Append::to_one(one(store, name, expected, &key))).await
}

/// Distinct within the test process.
fn rand_id() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Every position from 1, each stream's versions from 1, read as an auditor would.
pub(super) async fn assert_whole(fixture: &Fixture) -> i64 {
    assert_whole_in(&fixture.superuser().await).await
}

pub(super) async fn assert_whole_in(pool: &PgPool) -> i64 {
    let (events, last): (i64, i64) =
        sqlx::query_as("SELECT count(*), coalesce(max(position), 0) FROM events").fetch_one(pool).await.unwrap();
    assert_eq!(events, last, "positions are dense from 1");
    let torn: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT stream_id FROM events LEFT JOIN streams USING (stream_id) GROUP BY stream_id \
         HAVING max(stream_version) <> count(*) OR count(DISTINCT stream_version) <> count(*) \
         OR NOT coalesce(bool_and(since_position < position), false)) AS torn",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!(torn, 0, "streams whose versions are not 1..n");
    let backwards: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT recorded_at < lag(recorded_at) OVER (ORDER BY position) AS b FROM events) AS t WHERE b",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!(backwards, 0, "recorded_at never runs backwards");
    events
}

#[tokio::test]
async fn an_append_gets_the_next_positions_and_is_there_for_readers() {
    let fixture = Fixture::new().await;
    let first = append_one(&fixture.store, "a", 0).await.unwrap();
    let second = append_one(&fixture.store, "a", 1).await.unwrap();
    assert_eq!((first.first, second.last), (Position(1), Position(2)));
    let page = fixture.store.log().raw_page(Position::START, 10).await.unwrap();
    assert_eq!(page.iter().map(|event| event.stream_version).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test]
async fn the_bytes_of_a_payload_are_kept() {
    let fixture = Fixture::new().await;
    let odd = r#"{ "b":1.0,"a" :[ 1e2,"ü€😀\u00e9"], "b":2 }"#;
    let mut append = one(&fixture.store, "a", 0, "odd");
    append.events[0].payload = odd.into();
    fixture.store.append(Append::to_one(append)).await.unwrap();
    let page = fixture.store.log().raw_page(Position::START, 1).await.unwrap();
    assert_eq!(page[0].payload, odd);
}

#[tokio::test]
async fn of_twenty_appends_at_the_same_version_one_wins() {
    let fixture = Fixture::new().await;
    let mut appends = JoinSet::new();
    for _ in 0..20 {
        let store = fixture.store.clone();
        appends.spawn(async move { append_one(&store, "a", 0).await });
    }
    let outcomes = appends.join_all().await;
    let won = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let told = outcomes.iter().filter(|o| matches!(o, Err(StoreError::WrongExpectedVersion { actual: 1, .. }))).count();
    assert_eq!((won, told), (1, 19));
    assert_eq!(assert_whole(&fixture).await, 1);
}

#[tokio::test]
async fn a_conflict_in_a_batch_costs_its_owner_only() {
    let fixture = Fixture::with(StoreConfig { batchers: 1, ..StoreConfig::default() }).await;
    let mut appends = JoinSet::new();
    for n in 0..300_i64 {
        let store = fixture.store.clone();
        // Every third expects a version that its stream does not have.
        appends.spawn(async move { append_one(&store, &n.to_string(), if n % 3 == 0 { 7 } else { 0 }).await });
    }
    let outcomes = appends.join_all().await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 200);
    assert_eq!(assert_whole(&fixture).await, 200);
    let mut given: Vec<_> = outcomes.into_iter().flatten().map(|appended| appended.first.0).collect();
    given.sort_unstable();
    assert_eq!(given, (1..=200).collect::<Vec<_>>(), "each owner was told its own position");
}

#[tokio::test]
async fn several_streams_in_one_append_are_written_together_or_not_at_all() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    append_one(store, "b", 0).await.unwrap();
    let all = |streams| Append { streams, keys: vec![] };
    let stale = all(vec![one(store, "a", 0, "x"), one(store, "b", 0, "x"), one(store, "c", 0, "x")]);
    let error = store.append(stale).await.expect_err("b is at version 1");
    assert!(matches!(error, StoreError::WrongExpectedVersion { stream: s, actual: 1, .. } if s == stream("b")));
    assert_eq!(assert_whole(&fixture).await, 1);
    let good = all(vec![one(store, "c", 0, "y"), one(store, "b", 1, "y"), one(store, "a", 0, "y")]);
    let appended = store.append(good).await.unwrap();
    assert_eq!((appended.first, appended.last), (Position(2), Position(4)));
    let page = store.log().raw_page(Position(1), 10).await.unwrap();
    let order: Vec<_> = page.iter().map(|event| event.stream_id.to_string()).collect();
    assert_eq!(order, ["test-c", "test-b", "test-a"], "events stand in the order given, whatever the order of locking");
}

#[tokio::test]
async fn an_append_that_the_server_refuses_costs_its_owner_only() {
    let fixture = Fixture::with(StoreConfig { batchers: 1, ..StoreConfig::default() }).await;
    let mut appends = JoinSet::new();
    for n in 0..100 {
        let store = fixture.store.clone();
        appends.spawn(async move {
            let mut append = one(&store, &n.to_string(), 0, &n.to_string());
            if n == 42 {
                append.events[0].payload = "no json".into();
            }
            store.append(Append::to_one(append)).await
        });
    }
    let refused = appends.join_all().await.into_iter().filter(|outcome| outcome.is_err()).count();
    assert_eq!(refused, 1);
    assert_eq!(assert_whole(&fixture).await, 99);
}

#[tokio::test]
async fn an_append_without_events_or_with_a_stream_twice_is_refused() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let nothing = StreamAppend { events: vec![], ..one(store, "a", 0, "x") };
    let twice = Append { streams: vec![one(store, "a", 0, "x"), one(store, "a", 1, "y")], keys: vec![] };
    for append in [Append { streams: vec![], keys: vec![] }, Append::to_one(nothing), twice] {
        assert!(matches!(store.append(append).await, Err(StoreError::Malformed)));
    }
}

#[tokio::test]
async fn a_service_can_neither_change_nor_delete_an_event() {
    let fixture = Fixture::new().await;
    append_one(&fixture.store, "a", 0).await.unwrap();
    for sql in [
        "UPDATE events SET payload = '{}'",
        "DELETE FROM events",
        "TRUNCATE events",
        "INSERT INTO events SELECT * FROM events",
        "UPDATE streams SET since_position = 0",
        "DELETE FROM commands",
        "DROP TABLE events",
    ] {
        let error = sqlx::query(sql).execute(fixture.store.log().pool()).await.expect_err(sql);
        let code = error.as_database_error().and_then(|error| error.code().map(|code| code.into_owned()));
        assert_eq!(code.as_deref(), Some("42501"), "{sql}: {error}");
    }
}

#[tokio::test]
async fn a_reader_that_polls_while_writers_commit_and_roll_back_sees_no_hole_and_no_skip() {
    let fixture = Fixture::new().await;
    let mut writers = JoinSet::new();
    for writer in 0..6 {
        let (store, url) = (fixture.store.clone(), fixture.database.superuser_url());
        writers.spawn(async move {
            let mut connection = PgConnection::connect(&url).await.unwrap();
            for n in 0..40 {
                append_one(&store, &format!("{writer}-{n}"), 0).await.unwrap();
                // An append of somebody else who thinks better of it, with the head locked all the while.
                let mut transaction = connection.begin().await.unwrap();
                sqlx::query(
                    "SELECT append_events(0, ARRAY[$1], '{0}', '{0}', '{1}', '{0}', ARRAY[$1], '{1}', ARRAY[gen_random_uuid()], \
                     '{Tested}', '{1}', ARRAY['{}'], ARRAY['{}'], '{}', '{}', '{}', '{}')",
                )
                .bind(format!("test-rolled-back-{writer}-{n}"))
                .execute(&mut *transaction)
                .await
                .unwrap();
                transaction.rollback().await.unwrap();
            }
        });
    }
    let (log, mut after) = (fixture.store.log(), Position::START);
    while after < Position(240) {
        let page = log.raw_page(after, 50).await.expect("no hole is ever seen");
        after = page.last().map_or(after, |event| event.position);
    }
    writers.join_all().await;
    assert_eq!(assert_whole(&fixture).await, 240);
}

#[tokio::test]
async fn killed_backends_lose_nothing_that_was_answered_and_tell_what_is_unknown() {
    let fixture = Fixture::new().await;
    let killer = fixture.superuser().await;
    let mut appends = JoinSet::new();
    for n in 0..400 {
        let store = fixture.store.clone();
        appends.spawn(async move { (n, append_one(&store, &n.to_string(), 0).await) });
    }
    let mut kills = 0_i64;
    let (mut answered, mut unknown) = (Vec::new(), 0);
    while let Some(done) = appends.join_next().await {
        match done.unwrap() {
            (n, Ok(_)) => answered.push(format!("test-{n}")),
            (_, Err(StoreError::OutcomeUnknown { .. } | StoreError::Postgres { .. } | StoreError::Overloaded)) => {
                unknown += 1
            }
            (_, Err(error)) => panic!("{error}"),
        }
        if kills < 5 {
            kills += sqlx::query_scalar::<_, i64>(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                 WHERE datname = current_database() AND query LIKE '%FROM append_%' AND pid <> pg_backend_pid()",
            )
            .fetch_one(&killer)
            .await
            .unwrap();
        }
    }
    assert!(kills > 0, "the fault happened");
    let found: i64 = sqlx::query_scalar("SELECT count(*) FROM events WHERE stream_id = ANY ($1)")
        .bind(&answered)
        .fetch_one(&killer)
        .await
        .unwrap();
    assert_eq!(found, i64::try_from(answered.len()).unwrap(), "everything answered is there");
    let events = assert_whole(&fixture).await;
    assert!(events <= found + unknown, "{events} events, {found} answered, {unknown} unknown");
}

#[tokio::test]
async fn a_checkpoint_whose_event_was_replaced_stops_its_reader() {
    let fixture = Fixture::new().await;
    append_one(&fixture.store, "a", 0).await.unwrap();
    let log = fixture.store.log();
    let mut checkpoint = log.head_checkpoint().await.unwrap();
    log.verify(&checkpoint).await.expect("nothing changed");
    checkpoint.event_id = Uuid::from_u128(7);
    assert!(matches!(log.verify(&checkpoint).await, Err(LogError::HistoryChanged { .. })));
    checkpoint.position = Position(9);
    assert!(matches!(log.verify(&checkpoint).await, Err(LogError::HistoryChanged { .. })), "the head is below it");
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_loses_nothing_it_took() {
    let fixture = Fixture::with(StoreConfig { queue: 8, batchers: 1, ..StoreConfig::default() }).await;
    let mut appends = JoinSet::new();
    for n in 0..500 {
        let store = fixture.store.clone();
        appends.spawn(async move { append_one(&store, &n.to_string(), 0).await });
    }
    let outcomes = appends.join_all().await;
    let refused = outcomes.iter().filter(|outcome| matches!(outcome, Err(StoreError::Overloaded))).count();
    let taken = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert!(refused > 0, "the queue was full at some moment");
    assert_eq!(refused + taken, 500);
    assert_eq!(assert_whole(&fixture).await, i64::try_from(taken).unwrap());
}

#[tokio::test]
async fn the_batchers_end_with_the_last_clone_of_the_store() {
    let Fixture { store, tracker, database: _database } = Fixture::new().await;
    append_one(&store, "a", 0).await.unwrap();
    drop(store);
    tracker.close();
    tokio::time::timeout(std::time::Duration::from_secs(5), tracker.wait()).await.expect("they end by themselves");
}
