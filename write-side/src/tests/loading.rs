//! A load is one round trip, and touches the partitions in which its stream has events, and those that are not full.

use std::{collections::BTreeMap, ops::RangeInclusive};

use events::{LogError, StreamId, schema};
use local_services::testing::PostgresProxy;
use sqlx::{Connection, PgConnection, PgPool, Row, postgres::PgPoolOptions};
use uuid::Uuid;

use super::{Fixture, command, context, deciders::receive, event_store::stream, location, store_over, until};
use crate::{
    StoreConfig,
    domain::inventory::Inventory,
    event_store::{ANSWERED, LOAD, POSITION_OF},
    handle,
};

/// So many partitions are full; one more is being filled, and one is ahead.
const FULL: i64 = 6;
const FILLED: i64 = FULL;
const AHEAD: i64 = FULL + 1;

/// What each stream has in which partition.
const EVENTS: [(&str, i64, RangeInclusive<i64>); 10] = [
    ("old", 0, 1..=2),
    ("rested", 1, 1..=4),
    ("old", 3, 3..=5),
    ("often", 1, 1..=10),
    ("often", 2, 11..=20),
    ("often", 3, 21..=30),
    ("often", 5, 31..=40),
    ("often", FILLED, 41..=50),
    ("old", FILLED, 6..=6),
    ("young", FILLED, 1..=3),
];

/// A log that is nothing but holes elsewhere: nobody can wait for thirty million events. A command's id is the version that it led to, and
/// so are the last two digits of a position.
async fn log_of_many_partitions(superuser: &PgPool) {
    let attach = format!("SELECT attach_event_partitions({FILLED} * 5000000)");
    sqlx::raw_sql(&attach).execute(superuser).await.unwrap();
    for (number, (name, partition, versions)) in EVENTS.into_iter().enumerate() {
        let before = partition * 5_000_000 + 100 * i64::try_from(number).unwrap();
        let versions = format!("generate_series({}, {}) AS v", versions.start(), versions.end());
        let write = format!(
            "INSERT INTO streams (stream_id, since_position) VALUES ('test-{name}', {before}) ON CONFLICT DO NOTHING; \
             INSERT INTO events SELECT {before} + v, 'test-{name}', v, gen_random_uuid(), 'Tested', 1, '{{}}', '{{}}', \
                 clock_timestamp() FROM {versions}; \
             INSERT INTO commands SELECT 'test-{name}', ('00000000-0000-0000-0000-' || lpad(to_hex(v), 12, '0'))::uuid, v FROM {versions}"
        );
        sqlx::raw_sql(&write).execute(superuser).await.unwrap();
    }
}

/// The next full partition; how many that were.
async fn list(superuser: &PgPool) -> i64 {
    sqlx::query_scalar("SELECT list_full_partition()").fetch_one(superuser).await.unwrap()
}

/// How often each partition was looked into, by an index or without, as this session counts.
async fn scans(session: &mut PgConnection) -> BTreeMap<i64, i64> {
    let scans = "SELECT substring(relname FROM '[0-9]+$')::bigint, (sum(pg_stat_get_xact_numscans(indexrelid)) + min(pg_stat_get_xact_numscans(t.oid)))::bigint \
         FROM pg_inherits JOIN pg_class AS t ON t.oid = inhrelid JOIN pg_index ON indrelid = t.oid \
         WHERE inhparent = 'events'::regclass GROUP BY 1";
    sqlx::query_as::<_, (i64, i64)>(scans).fetch_all(session).await.unwrap().into_iter().collect()
}

/// The versions that a question's answer names, and the partitions that were looked into for it.
async fn answer(session: &mut PgConnection, sql: &str, name: &str, number: i64, answered: i64) -> (Vec<i64>, Vec<i64>) {
    let mut transaction = session.begin().await.unwrap();
    let before = scans(&mut transaction).await;
    let (stream, command) = (stream(name), Uuid::from_u128(u128::try_from(answered).unwrap()));
    let question = sqlx::query(sql).bind(stream.as_str());
    let question = if sql == ANSWERED { question.bind(vec![command]) } else { question.bind(number) };
    let question = if sql == LOAD { question.bind(command) } else { question };
    let rows = question.fetch_all(&mut *transaction).await.unwrap();
    let after = scans(&mut transaction).await;
    let column = if sql == POSITION_OF { "position" } else { "stream_version" };
    let versions = rows.iter().map(|row| row.get::<i64, _>(column) % 100).collect();
    (versions, after.into_iter().filter(|(partition, scans)| *scans > before[partition]).map(|found| found.0).collect())
}

#[tokio::test]
async fn a_load_touches_only_the_partitions_of_its_stream() {
    let fixture = Fixture::new().await;
    let superuser = fixture.superuser().await;
    log_of_many_partitions(&superuser).await;
    while list(&superuser).await > 0 {}
    let none = 99;
    let all = |last: i64| (1..=last).collect::<Vec<_>>();
    let cases = [
        // Before the partition in which the stream begins nothing is looked for, and behind what is full, wherever an event may be.
        (LOAD, "young", 0, none, all(3), vec![FILLED, AHEAD]),
        (LOAD, "rested", 0, none, all(4), vec![1, FILLED, AHEAD]),
        (LOAD, "old", 0, none, all(6), vec![0, 3, FILLED, AHEAD]),
        (LOAD, "often", 0, none, all(50), vec![1, 2, 3, 5, FILLED, AHEAD]),
        (LOAD, "nobody's", 0, none, vec![], vec![]),
        // Who knows a version, as by a snapshot, does not look where older ones are, but for the first; and for the command's own.
        (LOAD, "often", 38, none, (39..=50).collect(), vec![1, 5, FILLED, AHEAD]),
        (LOAD, "often", 50, none, vec![], vec![1, FILLED, AHEAD]),
        (LOAD, "often", 50, 31, (31..=50).collect(), vec![1, 5, FILLED, AHEAD]),
        (ANSWERED, "often", 0, 30, vec![30], vec![1, 3]),
        (ANSWERED, "often", 0, none, vec![], vec![]),
        (POSITION_OF, "old", 2, none, vec![2], vec![0]),
        (POSITION_OF, "old", 3, none, vec![3], vec![0, 3]),
        (POSITION_OF, "old", 6, none, vec![6], vec![0, FILLED, AHEAD]),
        (POSITION_OF, "old", 7, none, vec![], vec![0, FILLED, AHEAD]),
    ];
    let mut session = fixture.store.log().pool().acquire().await.unwrap();
    // Who makes a plan looks at the ends of some indexes.
    answer(&mut session, LOAD, "often", 0, none).await;
    for (sql, name, number, command, versions, partitions) in cases {
        let (found, touched) = answer(&mut session, sql, name, number, command).await;
        assert_eq!((found, touched), (versions, partitions), "{name}, {number}, command {command}: {sql}");
    }
}

/// Each stream whole, and parts of it, as the log says that they are; no stream goes further than `last`.
async fn assert_read(fixture: &Fixture, last: &[(&str, i64)], when: &str) {
    let log = fixture.store.log();
    for (name, last) in last {
        for (after, limit) in [(0, 100), (4, 100), (0, 1), (3, 12), (20, 10), (49, 2)] {
            let events = log.raw_stream(&stream(name), after, limit).await.unwrap();
            let versions: Vec<_> = events.iter().map(|event| event.stream_version).collect();
            let expected: Vec<_> = (after + 1..=*last).take(usize::try_from(limit).unwrap()).collect();
            assert_eq!(versions, expected, "{name} after {after}, {limit} at most, {when}");
        }
    }
    let names: Vec<_> = last.iter().map(|(name, _)| stream(name)).collect();
    let names: Vec<_> = names.iter().map(StreamId::as_str).collect();
    let all = log.streams(&names).await.unwrap().len();
    assert_eq!(i64::try_from(all).unwrap(), last.iter().map(|(_, last)| last).sum::<i64>(), "{when}");
}

const LAST: [(&str, i64); 5] = [("old", 6), ("rested", 4), ("often", 50), ("young", 3), ("nobody's", 0)];

#[tokio::test]
async fn streams_read_the_same_whatever_is_listed() {
    let fixture = Fixture::new().await;
    let superuser = fixture.superuser().await;
    let run =
        async |sql: &str| sqlx::raw_sql(sql).execute(&superuser).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    log_of_many_partitions(&superuser).await;
    assert_read(&fixture, &LAST, "before anything is listed").await;
    for partition in 0..FULL {
        assert_eq!(list(&superuser).await, 1);
        assert_read(&fixture, &LAST, &format!("up to partition {partition}")).await;
    }
    assert_eq!(list(&superuser).await, 0, "what is being filled is not listed");
    let listed: Vec<(String, i64, i64)> = sqlx::query_as(
        "SELECT stream_id, partition, last_version FROM stream_partitions WHERE stream_id <> '' ORDER BY stream_id, partition",
    )
    .fetch_all(&superuser)
    .await
    .unwrap();
    let expected = [("often", 2, 20), ("often", 3, 30), ("often", 5, 40), ("old", 3, 5)];
    assert_eq!(listed, expected.map(|(name, partition, last)| (format!("test-{name}"), partition, last)));
    // A list that lost something is not believed silently.
    run("DELETE FROM stream_partitions WHERE stream_id = 'test-often' AND partition = 3").await;
    let half = fixture.store.log().streams(&["test-often"]).await.expect_err("it lacks ten events");
    assert!(matches!(half, LogError::StreamHole { after: 20, found: 31, .. }), "{half}");
    // It is made anew where it is told that nothing is listed, whatever else is left of it.
    run("DELETE FROM stream_partitions WHERE stream_id = ''").await;
    assert_read(&fixture, &LAST, "after it is emptied").await;
    while list(&superuser).await > 0 {}
    assert_read(&fixture, &LAST, "after it is made anew").await;
    // A partition that is away while others are listed can come back.
    run("TRUNCATE stream_partitions; ALTER TABLE events DETACH PARTITION events_p000002").await;
    while list(&superuser).await > 0 {}
    run("ALTER TABLE events ATTACH PARTITION events_p000002 FOR VALUES FROM (10000000) TO (15000000)").await;
    assert_read(&fixture, &LAST, "after a partition came back").await;
    while list(&superuser).await > 0 {}
    // A log that is cut is listed as far as it goes.
    run("DELETE FROM events WHERE position >= 15000000").await;
    assert_eq!(list(&superuser).await, 0);
    run("INSERT INTO events SELECT 10000900 + v, 'test-often', 20 + v, gen_random_uuid(), 'Tested', 1, '{}', '{}', clock_timestamp() \
         FROM generate_series(1, 5) AS v")
    .await;
    let cut = [("old", 2), ("rested", 4), ("often", 25), ("young", 0)];
    assert_read(&fixture, &cut, "after the log was cut and went on").await;
}

/// What a session reads of each stream by the function, and by the table.
async fn read_both_ways(session: &mut PgConnection) -> [Vec<(String, i64)>; 2] {
    let by_function = "SELECT e.stream_id, e.stream_version FROM streams AS s CROSS JOIN LATERAL stream_events(s.stream_id, 0, NULL) AS e \
         ORDER BY 1, 2";
    let by_table = "SELECT stream_id, stream_version FROM events ORDER BY 1, 2";
    [
        sqlx::query_as(by_function).fetch_all(&mut *session).await.unwrap(),
        sqlx::query_as(by_table).fetch_all(session).await.unwrap(),
    ]
}

#[tokio::test]
async fn two_maintainers_list_each_partition_once_and_an_old_snapshot_reads_what_it_saw() {
    let fixture = Fixture::new().await;
    let superuser = fixture.superuser().await;
    log_of_many_partitions(&superuser).await;
    let mut reader = superuser.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    let [seen, in_table] = read_both_ways(&mut reader).await;
    assert_eq!(seen, in_table);
    let mut first = superuser.begin().await.unwrap();
    let listed: i64 = sqlx::query_scalar("SELECT list_full_partition()").fetch_one(&mut *first).await.unwrap();
    assert_eq!(listed, 1);
    let other = list(&superuser);
    let commit = async {
        let waits = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'advisory' AND query LIKE '%list_full_partition%' \
             AND datname = current_database())";
        until(&superuser, "the second maintainer waits for the first", waits).await;
        first.commit().await.unwrap();
    };
    let (other, ()) = tokio::join!(other, commit);
    assert_eq!(other, 1);
    let listed = "SELECT partition FROM stream_partitions WHERE stream_id = '' ORDER BY partition";
    let listed: Vec<i64> = sqlx::query_scalar(listed).fetch_all(&superuser).await.unwrap();
    assert_eq!(listed, [0, 1], "who waited went on behind what the first had listed");
    while list(&superuser).await > 0 {}
    let cut = "DELETE FROM events WHERE stream_id = 'test-often' AND stream_version > 30";
    sqlx::query(cut).execute(&superuser).await.unwrap();
    assert_eq!(read_both_ways(&mut reader).await, [seen.clone(), seen], "the snapshot is older than list and change");
    let [now, in_table] = read_both_ways(&mut superuser.acquire().await.unwrap()).await;
    assert_eq!(now, in_table);
    assert_read(&fixture, &[("old", 6), ("rested", 4), ("often", 30), ("young", 3)], "when both have listed").await;
}

#[tokio::test]
async fn ten_thousand_events_are_loaded_in_one_round_trip() {
    let fixture = Fixture::new().await;
    let stream = location().stream();
    handle::<Inventory>(&fixture.store, &stream, receive(1), &context(command("receive"))).await.unwrap();
    let superuser = fixture.superuser().await;
    let more = "INSERT INTO events SELECT v, stream_id, v, gen_random_uuid(), event_type, schema_version, payload, metadata, recorded_at \
         FROM events, generate_series(2, 10000) AS v";
    sqlx::query(more).execute(&superuser).await.unwrap();
    let proxy = PostgresProxy::before(&fixture.database.postgres).await.unwrap();
    let url = proxy.url(&fixture.database.name, schema::SERVICE);
    // As the platform connects; and one connection, so that what is prepared by the first load is so for the second.
    let pool = PgPoolOptions::new().max_connections(1).test_before_acquire(false).connect(&url).await.unwrap();
    let store = store_over(pool, StoreConfig::default(), &fixture.tracker).await;
    let load = async || {
        let before = proxy.round_trips();
        let loaded = store.load::<Inventory>(&stream, command("receive")).await.unwrap();
        (loaded.version, loaded.answered.map(|answered| answered.version), proxy.round_trips() - before)
    };
    load().await;
    assert_eq!(load().await, (10_000, Some(1), 1));
}
