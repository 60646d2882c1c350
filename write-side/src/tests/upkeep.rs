//! What the maintainer does to the tables beside the log.

use events::{OrderId, Position, schema};
use sqlx::Connection;
use tokio::task::JoinSet;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use super::{
    Fixture, command, context,
    event_store::append_one,
    handler::place,
    pool,
    server_faults::{DATABASE, server, store_on},
    until,
};
use crate::{CommandError, Context, LogRoom, MaintainerConfig, create, domain::order::Order, maintain};

fn named(name: u128) -> Context {
    Context { once_in: Some("order"), ..context(command(&name.to_string())) }
}

#[tokio::test]
async fn commands_are_forgotten_in_time_and_no_sooner() {
    let fixture = Fixture::new().await;
    let superuser = fixture.superuser().await;
    for n in 1..=5 {
        let id = OrderId(Uuid::from_u128(n));
        create::<Order>(&fixture.store, &id.stream(), place(id), &named(n)).await.unwrap();
    }
    let remembered =
        async || -> i64 { sqlx::query_scalar("SELECT count(*) FROM commands").fetch_one(&superuser).await.unwrap() };
    let forget = async |days: i32, limit: i32| -> i64 {
        let passed = sqlx::query_scalar("SELECT forget_commands($1, $2)").bind(days).bind(limit);
        passed.fetch_one(fixture.store.log().pool()).await.unwrap()
    };
    assert_eq!(remembered().await, 10, "each under its stream, and under its category");
    assert_eq!(forget(30, 100).await, 0, "none is old");
    assert_eq!(forget(0, 100).await, 0, "a day is the least");
    sqlx::query("UPDATE events SET recorded_at = recorded_at - interval '31 days' WHERE position <= 3")
        .execute(&superuser)
        .await
        .unwrap();
    assert_eq!((forget(30, 2).await, remembered().await), (2, 6));
    assert_eq!((forget(30, 2).await, remembered().await), (0, 6), "the last of the stretch is young");
    assert_eq!((forget(30, 1).await, remembered().await), (1, 4));
    assert_eq!(forget(30, 1).await, 0);
    // A command that is named by anything but a UUID is somebody's outside, and keeps no other from being forgotten; nor does JSON that is no text.
    sqlx::query("UPDATE events SET recorded_at = recorded_at - interval '31 days', metadata = '{\"causation_id\":\"my-command-7\",\"note\":\"\\ud800\"}' WHERE position = 4")
        .execute(&superuser)
        .await
        .unwrap();
    assert_eq!((forget(30, 1).await, remembered().await), (1, 4));
    // A repeated command that is still known gets its first answer; one that is forgotten is judged by the stream as it is.
    let [young, old] = [4, 1].map(|n| (OrderId(Uuid::from_u128(n)), named(n)));
    let again = create::<Order>(&fixture.store, &young.0.stream(), place(young.0), &young.1).await.unwrap();
    assert!(again.repeated);
    let forgotten = create::<Order>(&fixture.store, &old.0.stream(), place(old.0), &old.1).await;
    assert!(matches!(forgotten, Err(CommandError::Rejected(_))), "nothing is placed twice");
}

#[tokio::test]
async fn the_room_that_is_left_is_known() {
    let fixture = Fixture::new().await;
    let room = async || -> (i64, i64) {
        sqlx::query_as("SELECT positions, bytes FROM log_room()").fetch_one(fixture.store.log().pool()).await.unwrap()
    };
    let (before, bytes) = room().await;
    assert_eq!((before % 5_000_000, bytes > 0), (4_999_999, true), "whole partitions, less position 0");
    let id = OrderId(Uuid::from_u128(1));
    create::<Order>(&fixture.store, &id.stream(), place(id), &named(1)).await.unwrap();
    assert_eq!(room().await.0, before - 1);
}

#[tokio::test]
async fn it_is_said_before_the_partitions_need_more_locks_than_there_are() {
    let fixture = Fixture::new().await;
    append_one(&fixture.store, "a", 0).await.unwrap();
    let mut session = fixture.store.log().pool().acquire().await.unwrap();
    assert_eq!(schema::lack_of_locks(&mut *session).await.unwrap(), None);
    let attach = "SELECT attach_event_partitions(204::bigint * 5000000)";
    assert_eq!(sqlx::query_scalar::<_, i32>(attach).fetch_one(&mut *session).await.unwrap(), 204);
    let lack = schema::lack_of_locks(&mut *session).await.unwrap().expect("206 of 256 are more than four fifths");
    assert!(lack.contains("all 206 partitions") && lack.contains("max_locks_per_transaction to 412"), "{lack}");
    // What it says of a load.
    let mut load = session.begin().await.unwrap();
    sqlx::query("SELECT FROM stream_events('test-a', 0, NULL)").execute(&mut *load).await.unwrap();
    let locked = "SELECT count(*) FROM pg_locks JOIN pg_class AS c ON c.oid = relation \
         WHERE pid = pg_backend_pid() AND c.relkind = 'r' AND c.relname ~ '^events_p[0-9]+$'";
    assert_eq!(sqlx::query_scalar::<_, i64>(locked).fetch_one(&mut *load).await.unwrap(), 206);
}

#[tokio::test]
async fn the_next_partition_is_attached_under_load_and_the_full_one_is_frozen_to_its_last_row_and_listed() {
    let (server, tracker) = (server().await, TaskTracker::new());
    let url = |role: &str| server.at().url(DATABASE, role);
    schema::migrate(&url(schema::OWNER)).await.unwrap();
    let superuser = pool(&server.at().superuser_url(DATABASE)).await;
    for statement in [
        // Shortly before the end of the first partition: nobody can wait for five million events.
        "INSERT INTO events SELECT 4999900, 'test-far', 1, gen_random_uuid(), 'Tested', 1, '{}', '{}', clock_timestamp()",
        "CREATE EXTENSION pg_visibility",
        "ALTER SYSTEM SET autovacuum_naptime = '1s'",
        "SELECT pg_reload_conf()",
    ] {
        sqlx::query(statement).execute(&superuser).await.unwrap();
    }
    let (store, stop) = (store_on(&server, &tracker).await, CancellationToken::new());
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        let (store, stop) = (store.clone(), stop.clone());
        writers.spawn(async move {
            let mut version = 0;
            while !stop.is_cancelled() {
                append_one(&store, &format!("writer-{writer}"), version).await.expect("no append finds no partition");
                version += 1;
            }
            version
        });
    }
    let beyond = "SELECT max(position) > 5000100 FROM events";
    until(&superuser, "the first partition is full", beyond).await;
    let frozen = "SELECT all_frozen > 0 AND all_frozen = pg_relation_size('events_p000000') / 8192 \
                  FROM pg_visibility_map_summary('events_p000000')";
    assert!(
        !sqlx::query_scalar::<_, bool>(frozen).fetch_one(&superuser).await.unwrap(),
        "it is not, as long as nobody looks after it"
    );
    tracker.spawn(maintain(MaintainerConfig::default(), store.log().clone(), LogRoom::default(), stop.clone()));
    until(&superuser, "the third partition is there", "SELECT to_regclass('events_p000002') IS NOT NULL").await;
    until(&superuser, "all of the first is frozen", frozen).await;
    until(&superuser, "and it is listed", "SELECT count(*) = 1 FROM stream_partitions").await;
    stop.cancel();
    let written: i64 = writers.join_all().await.into_iter().sum();
    assert_eq!(store.log().head().await.unwrap(), Position(4_999_900 + written), "no append was refused");
    // What somebody has taken away does not come back empty.
    sqlx::raw_sql("ALTER TABLE events DETACH PARTITION events_p000000; DROP TABLE events_p000000")
        .execute(&superuser)
        .await
        .unwrap();
    let attached: i32 =
        sqlx::query_scalar("SELECT attach_event_partitions(5000200)").fetch_one(store.log().pool()).await.unwrap();
    let first: Option<String> =
        sqlx::query_scalar("SELECT to_regclass('events_p000000')::text").fetch_one(&superuser).await.unwrap();
    assert_eq!((attached, first), (0, None));
    drop(store);
    tracker.close();
}
