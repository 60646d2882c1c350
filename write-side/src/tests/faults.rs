//! What is true of the log when something breaks around it. Each test proves that its fault happened.

use std::{borrow::Cow, time::Duration};

use events::{Checkpoint, LogError, OrderId, Position, Tail, Wake, schema};
use local_services::testing::PostgresProxy;
use sqlx::{Connection, PgConnection};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Fixture, command, context,
    event_store::{append_one, assert_whole},
    handler::place,
    outsider::{APPEND, Outsider},
    store, until,
};
use crate::{CommandError, Context, EventStore, StoreConfig, StoreError, create, domain::order::Order};

/// Takes the last events out of the log, as a restore to an earlier point would.
pub(super) async fn forget_after(fixture: &Fixture, position: i64) {
    let pool = fixture.superuser().await;
    sqlx::query("DELETE FROM events WHERE position > $1").bind(position).execute(&pool).await.unwrap();
}

/// A transaction of somebody else that holds the head of the log: no append comes to its end meanwhile.
pub(super) async fn hold_head(fixture: &Fixture) -> PgConnection {
    let mut connection = PgConnection::connect(&fixture.database.superuser_url()).await.unwrap();
    for sql in ["BEGIN", "SELECT FROM log_head FOR UPDATE"] {
        sqlx::query(sql).execute(&mut connection).await.unwrap();
    }
    connection
}

/// Until so many appends wait for a lock.
pub(super) async fn until_blocked(fixture: &Fixture, count: i64) {
    let superuser = fixture.superuser().await;
    let blocked = format!(
        "SELECT count(*) >= {count} FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    );
    until(&superuser, "so many are blocked", &blocked).await;
}

/// One batcher, so that it is known whose answer is lost.
async fn store_behind_a_proxy(fixture: &Fixture) -> (PostgresProxy, EventStore) {
    let proxy = PostgresProxy::before(&fixture.database.postgres).await.unwrap();
    let config = StoreConfig { batchers: 1, ..StoreConfig::default() };
    let store = store(config, &proxy.url(&fixture.database.name, schema::SERVICE), &fixture.tracker).await;
    (proxy, store)
}

#[tokio::test]
async fn an_answer_lost_after_the_commit_is_found_by_its_command_id_and_nothing_is_done_twice() {
    let fixture = Fixture::new().await;
    let (proxy, cut) = store_behind_a_proxy(&fixture).await;
    for n in 1..=20_u128 {
        let id = OrderId(Uuid::from_u128(n));
        // On a new connection, the first answer is the one to the statement's preparation.
        append_one(&cut, &format!("prepared-{n}"), 0).await.unwrap();
        proxy.lose_answers(1);
        let placed = create::<Order>(&cut, &id.stream(), place(id), &context(command(&n.to_string()))).await.unwrap();
        assert_eq!((placed.version, proxy.lost()), (1, usize::try_from(n).unwrap()));
        assert!(placed.repeated, "it was committed, and the handler has found the first answer");
    }
    assert_eq!(assert_whole(&fixture).await, 40);
}

#[tokio::test]
async fn a_command_whose_answers_are_all_lost_is_never_said_to_have_failed() {
    let fixture = Fixture::new().await;
    let (proxy, cut) = store_behind_a_proxy(&fixture).await;
    append_one(&cut, "prepared", 0).await.unwrap();
    let id = OrderId(Uuid::from_u128(1));
    proxy.lose_answers(1000);
    let placing = create::<Order>(&cut, &id.stream(), place(id), &context(command("place"))).await;
    let error = placing.expect_err("nobody could tell");
    assert!(matches!(error, CommandError::Store(StoreError::OutcomeUnknown { .. })), "{error}");
    assert!(proxy.lost() > 1, "also the question what became of it was not answered");
    let again = create::<Order>(&fixture.store, &id.stream(), place(id), &context(command("place"))).await.unwrap();
    assert_eq!((again.version, again.repeated), (1, true), "it was committed");
    assert_eq!(assert_whole(&fixture).await, 2);
}

#[tokio::test]
async fn a_log_that_lost_what_was_committed_takes_nothing_more_and_says_so() {
    let fixture = Fixture::new().await;
    for n in 0..3 {
        append_one(&fixture.store, "a", n).await.unwrap();
    }
    forget_after(&fixture, 1).await;
    // All of it would be refused: also then nothing is left behind that rests on the lost history.
    let error = append_one(&fixture.store, "b", 7).await.expect_err("the log is not what it was");
    assert!(
        matches!(&error, StoreError::Log(LogError::HistoryChanged { checkpoint }) if checkpoint == "main:3"),
        "{error}"
    );
    assert!(!error.is_transient());
    let error = append_one(&fixture.store, "new", 0).await.expect_err("for good");
    assert!(matches!(error, StoreError::Log(LogError::HistoryChanged { .. })), "{error}");
    fixture.store.history_changed().await;
    let streams: Vec<String> =
        sqlx::query_scalar("SELECT stream_id FROM streams").fetch_all(fixture.store.log().pool()).await.unwrap();
    assert_eq!(streams, ["test-a"]);
    // A process that begins anew goes on from what there is.
    let anew = fixture.again().await;
    assert_eq!(append_one(&anew, "a", 1).await.unwrap().last, Position(2));
}

#[tokio::test]
async fn a_position_that_another_process_only_claims_is_not_relied_on() {
    let fixture = Fixture::new().await;
    let (wake, stop) = (fixture.store.wake().clone(), tokio_util::sync::CancellationToken::new());
    let exchange = wake.clone().exchange(fixture.store.log().pool().clone(), stop.clone());
    let mut heard = wake.subscribe();
    let lie = async {
        let pool = fixture.superuser().await;
        while *heard.borrow_and_update() != Position(1_000_000) {
            sqlx::query("SELECT pg_notify('waybill_log', '1000000')").execute(&pool).await.unwrap();
            let _ = tokio::time::timeout(Duration::from_millis(100), heard.changed()).await;
        }
        stop.cancel();
    };
    tokio::join!(exchange, lie);
    assert_eq!(append_one(&fixture.store, "a", 0).await.unwrap().last, Position(1));
}

#[tokio::test]
async fn an_append_makes_the_partition_that_nobody_attached() {
    let fixture = Fixture::new().await;
    let pool = fixture.superuser().await;
    sqlx::raw_sql("DROP TABLE events_p000000; DROP TABLE events_p000001").execute(&pool).await.unwrap();
    assert_eq!(append_one(&fixture.store, "a", 0).await.unwrap().last, Position(1));
    let partitions: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_inherits WHERE inhparent = 'events'::regclass")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(partitions, 2);
}

#[tokio::test]
async fn an_append_that_waited_too_long_is_refused_and_never_done() {
    let config = StoreConfig { batchers: 1, append_timeout: Duration::from_millis(200), ..StoreConfig::default() };
    let fixture = Fixture::with(config).await;
    let mut holder = hold_head(&fixture).await;
    let mut under_way = JoinSet::new();
    // The one that was alone, and the only batch.
    for (count, name) in [(1, "a"), (2, "b")] {
        let store = fixture.store.clone();
        under_way.spawn(async move { append_one(&store, name, 0).await });
        until_blocked(&fixture, count).await;
    }
    let waiting = append_one(&fixture.store, "c", 0).await.expect_err("all connections are busy");
    assert!(matches!(waiting, StoreError::Overloaded), "{waiting}");
    sqlx::query("ROLLBACK").execute(&mut holder).await.unwrap();
    assert!(under_way.join_all().await.iter().all(Result::is_ok), "what was under way comes to its end");
    append_one(&fixture.store, "d", 0).await.unwrap();
    assert_eq!(assert_whole(&fixture).await, 3, "what was refused is not in the log");
}

#[tokio::test]
async fn a_hole_wider_than_a_page_is_not_taken_for_the_head() {
    let fixture = Fixture::new().await;
    for n in 0..30 {
        append_one(&fixture.store, "a", n).await.unwrap();
    }
    let superuser = fixture.superuser().await;
    sqlx::query("DELETE FROM events WHERE position BETWEEN 5 AND 25").execute(&superuser).await.unwrap();
    let log = fixture.store.log();
    assert_eq!(log.raw_page(Position::START, 4).await.unwrap().len(), 4);
    let hole = log.raw_page(Position(4), 10).await.expect_err("positions 5 to 14 are missing");
    assert!(matches!(hole, LogError::Hole { after: Position(4), found: Position(26) }), "{hole}");
    assert!(log.raw_page(Position(30), 10).await.unwrap().is_empty(), "this is the head");
}

#[tokio::test]
async fn a_reader_under_way_stops_when_its_last_event_is_replaced_or_gone() {
    for sql in
        ["UPDATE events SET event_id = gen_random_uuid() WHERE position = 2", "DELETE FROM events WHERE position >= 2"]
    {
        let fixture = Fixture::new().await;
        let start = Checkpoint::start(fixture.store.log().id().clone());
        let mut tail = Tail::open(fixture.store.log().clone(), start, &Wake::default(), 100).await.unwrap();
        for n in 0..2 {
            append_one(&fixture.store, "a", n).await.unwrap();
        }
        assert_eq!(tail.next_raw_page().await.unwrap().len(), 2);
        sqlx::query(sql).execute(&fixture.superuser().await).await.unwrap();
        let error = tail.raw_page_if_any().await.expect_err("it is another history");
        assert!(matches!(error, LogError::HistoryChanged { .. }), "{sql}: {error}");
    }
}

#[tokio::test]
async fn a_key_has_an_effect_on_one_stream_of_its_category_only() {
    let fixture = Fixture::new().await;
    let once = Context { once_in: Some("order"), ..context(command("k")) };
    let place = |n| {
        let (store, id, once) = (fixture.store.clone(), OrderId(Uuid::from_u128(n)), once.clone());
        async move { create::<Order>(&store, &id.stream(), place(id), &once).await }
    };
    place(1).await.unwrap();
    assert!(place(1).await.unwrap().repeated);
    assert!(matches!(place(2).await, Err(CommandError::KeyReused)));
    assert_eq!(assert_whole(&fixture).await, 1);
}

#[tokio::test]
async fn a_server_that_cancels_statements_refuses_them_all_and_none_is_done() {
    let fixture = Fixture::new().await;
    let mut holder = hold_head(&fixture).await;
    let superuser = fixture.superuser().await;
    let cancel = "SELECT count(pg_cancel_backend(pid)) > 0 FROM pg_stat_activity \
                  WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let appending = append_one(&fixture.store, "a", 0);
    let (appended, ()) = tokio::join!(appending, until(&superuser, "a statement is cancelled", cancel));
    assert!(matches!(appended, Err(StoreError::Postgres { .. })), "a definite no");
    sqlx::query("ROLLBACK").execute(&mut holder).await.unwrap();
    assert_eq!(append_one(&fixture.store, "a", 0).await.unwrap().last, Position(1));
}

#[tokio::test]
async fn the_position_of_a_moment_is_the_last_one_recorded_by_then() {
    let fixture = Fixture::new().await;
    let log = fixture.store.log();
    let before = sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(log.pool()).await.unwrap();
    assert_eq!(log.position_at(before).await.unwrap(), Position(0));
    let mut times = Vec::new();
    for n in 0..40 {
        times.push(append_one(&fixture.store, "a", n).await.unwrap().recorded_at);
    }
    for (n, time) in times.into_iter().enumerate() {
        let position = log.position_at(time).await.unwrap();
        assert_eq!(position, Position(i64::try_from(n).unwrap() + 1));
    }
}

#[tokio::test]
async fn a_version_belongs_to_one_event_also_of_a_stream_that_rested_while_partitions_filled() {
    let fixture = Fixture::new().await;
    for n in 0..2 {
        append_one(&fixture.store, "a", n).await.unwrap();
    }
    // Two partitions later: nobody can wait for ten million events, so the log gets its head without what is before it.
    let superuser = fixture.superuser().await;
    sqlx::query("SELECT attach_event_partitions(12000000)").execute(&superuser).await.unwrap();
    sqlx::query(
        "INSERT INTO events SELECT 12000000, 'test-far', 1, gen_random_uuid(), 'Tested', 1, '{}', '{}', clock_timestamp()",
    )
    .execute(&superuser)
    .await
    .unwrap();
    let store = fixture.again().await;
    let mut racers = JoinSet::new();
    for _ in 0..20 {
        let store = store.clone();
        racers.spawn(async move { append_one(&store, "a", 2).await });
    }
    let outcomes = racers.join_all().await;
    let stale = |outcome: &Result<_, _>| matches!(outcome, Err(StoreError::WrongExpectedVersion { actual: 3, .. }));
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert_eq!(outcomes.iter().filter(|outcome| stale(outcome)).count(), 19);
    let late = append_one(&store, "a", 1).await;
    assert!(stale(&late), "{late:?}");
    assert!(matches!(append_one(&store, "b", 5).await, Err(StoreError::WrongExpectedVersion { actual: 0, .. })));
    assert_eq!(append_one(&store, "b", 0).await.unwrap().last, Position(12_000_002), "a refused name is free");
}

#[tokio::test]
async fn the_append_function_is_replaced_under_writers_and_nothing_is_lost_or_doubled() {
    // By the one that locks names instead of rows, by the one that looks for versions only where it must, by the one that knows a single
    // stream when it sees it, and by the one that judges all arguments.
    for replaced_in in [20_261_126_000_001, 20_261_127_000_001, 20_261_127_000_003, 20_261_127_000_006] {
        replace_the_append_function_under_writers(replaced_in).await;
    }
}

async fn replace_the_append_function_under_writers(migration: i64) {
    let fixture = Fixture::before_migration(migration).await;
    let stop = CancellationToken::new();
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        let (mut outsider, stop) = (Outsider::of(&fixture).await, stop.clone());
        writers.spawn(async move {
            let (mut version, mut written) = (0, 0_i64);
            while !stop.is_cancelled() {
                // Two at a stream: they are in each other's way.
                match outsider.append(&format!("contended-{}", writer / 2), version).await {
                    Ok(_) => (version, written) = (version + 1, written + 1),
                    Err(actual) => version = actual,
                }
            }
            written
        });
    }
    let (mut n, mut outsider) = (0, Outsider::of(&fixture).await);
    let mut until = async |head: i64, n: &mut i64| {
        while outsider.append("counted", *n).await.unwrap() < Position(head) {
            *n += 1;
        }
        *n += 1;
    };
    until(300, &mut n).await;
    schema::migrate(&fixture.database.superuser_url()).await.unwrap();
    let migrated = fixture.store.log().head().await.unwrap().0;
    until(migrated + 300, &mut n).await;
    stop.cancel();
    let written = writers.join_all().await.into_iter().sum::<i64>() + n;
    assert_eq!(assert_whole(&fixture).await, written);
    append_one(&fixture.store, "counted", n).await.expect("whoever is new goes on where they were");
    // What a call does that began before: it is sent round, and comes back to the new function.
    let old = sqlx::query("UPDATE streams SET version = version + 1").execute(&fixture.superuser().await).await;
    let code = old.unwrap_err().into_database_error().and_then(|error| error.code().map(Cow::into_owned));
    assert_eq!(code.as_deref(), Some("40001"));
}

#[tokio::test]
async fn an_append_leaves_no_dead_row_that_an_old_snapshot_could_keep() {
    let fixture = Fixture::new().await;
    for n in 0..50 {
        append_one(&fixture.store, "a", n).await.unwrap();
    }
    let mut connection = PgConnection::connect(&fixture.database.superuser_url()).await.unwrap();
    // Counted within its own transaction, where the counters are exact at once.
    let mut transaction = connection.begin().await.unwrap();
    sqlx::query(APPEND).bind("test-a").bind(50_i64).execute(&mut *transaction).await.unwrap();
    let moved: Vec<(String, i64, i64)> = sqlx::query_as(
        "SELECT relname::text, n_tup_upd + n_tup_del, n_tup_ins FROM pg_stat_xact_user_tables \
         WHERE n_tup_ins + n_tup_upd + n_tup_del > 0 ORDER BY relname",
    )
    .fetch_all(&mut *transaction)
    .await
    .unwrap();
    assert_eq!(moved, [("commands".into(), 0, 1), ("events_p000000".into(), 0, 1)]);
    transaction.rollback().await.unwrap();
}
