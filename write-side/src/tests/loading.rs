//! A load is one round trip, and touches the partitions in which its stream has events, and those that are not full.

use std::{collections::BTreeMap, ops::RangeInclusive};

use events::schema;
use local_services::testing::PostgresProxy;
use sqlx::{Connection, PgConnection, PgPool, Row, postgres::PgPoolOptions};
use uuid::Uuid;

use super::{Fixture, command, context, deciders::receive, event_store::stream, location, store_over};
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

async fn list(superuser: &PgPool, at_once: i32) -> i64 {
    sqlx::query_scalar("SELECT list_stream_partitions($1)").bind(at_once).fetch_one(superuser).await.unwrap()
}

/// How often each partition's indexes were looked into, as this session counts.
async fn scans(session: &mut PgConnection) -> BTreeMap<i64, i64> {
    let scans = "SELECT substring(relname FROM '[0-9]+$')::bigint, sum(pg_stat_get_xact_numscans(indexrelid))::bigint \
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
    while list(&superuser, 100).await > 0 {}
    let none = 99;
    let all = |last: i64| (1..=last).collect::<Vec<_>>();
    let cases = [
        // Before the stream's first event nothing is looked for, and behind what is full, wherever an event may be.
        (LOAD, "young", 0, none, all(3), vec![FILLED, AHEAD]),
        (LOAD, "rested", 0, none, all(4), vec![1, FILLED, AHEAD]),
        (LOAD, "old", 0, none, all(6), vec![0, 3, FILLED, AHEAD]),
        (LOAD, "often", 0, none, all(50), vec![1, 2, 3, 5, FILLED, AHEAD]),
        (LOAD, "nobody's", 0, none, vec![], vec![]),
        // Who knows a version, as by a snapshot, does not look where older ones are; but for the command's own.
        (LOAD, "often", 38, none, (39..=50).collect(), vec![5, FILLED, AHEAD]),
        (LOAD, "often", 50, none, vec![], vec![FILLED, AHEAD]),
        (LOAD, "often", 50, 31, (31..=50).collect(), vec![5, FILLED, AHEAD]),
        (ANSWERED, "often", 0, 30, vec![30], vec![3]),
        (ANSWERED, "often", 0, none, vec![], vec![]),
        (POSITION_OF, "old", 2, none, vec![2], vec![0]),
        (POSITION_OF, "old", 3, none, vec![3], vec![3]),
        (POSITION_OF, "old", 6, none, vec![6], vec![FILLED, AHEAD]),
        (POSITION_OF, "old", 7, none, vec![], vec![FILLED, AHEAD]),
    ];
    let mut session = fixture.store.log().pool().acquire().await.unwrap();
    // Who makes a plan looks at the ends of some indexes.
    answer(&mut session, LOAD, "often", 0, none).await;
    for (sql, name, number, command, versions, partitions) in cases {
        let (found, touched) = answer(&mut session, sql, name, number, command).await;
        assert_eq!((found, touched), (versions, partitions), "{name}, {number}, command {command}: {sql}");
    }
}

#[tokio::test]
async fn streams_read_the_same_while_partitions_are_listed() {
    let fixture = Fixture::new().await;
    let superuser = fixture.superuser().await;
    log_of_many_partitions(&superuser).await;
    let read = async || {
        let mut read = Vec::new();
        for name in ["old", "rested", "often", "young", "nobody's"] {
            for (after, limit) in [(0, 100), (4, 100), (0, 1), (3, 12), (20, 10), (49, 2)] {
                let events = fixture.store.log().raw_stream(&stream(name), after, limit).await.unwrap();
                let limit = usize::try_from(limit).unwrap();
                assert!(
                    events.iter().zip(after + 1..).all(|(event, version)| event.stream_version == version),
                    "{name}"
                );
                assert!(events.len() <= limit);
                read.push(events.into_iter().map(|event| event.event_id).collect::<Vec<_>>());
            }
        }
        read
    };
    let before = read().await;
    let mut steps = Vec::new();
    loop {
        let listed = list(&superuser, 1).await;
        assert_eq!(read().await, before, "after the steps {steps:?}");
        if listed == 0 {
            break;
        }
        steps.push(listed);
    }
    // Two streams have events in the partitions 1 and 3, one in three others; and each of six is found to have no more.
    assert_eq!(steps.len(), 2 + 2 + 3 + 6);
    let listed: Vec<(String, i32, i64)> = sqlx::query_as(
        "SELECT stream_id, partition, last_version FROM stream_partitions ORDER BY stream_id, partition",
    )
    .fetch_all(&superuser)
    .await
    .unwrap();
    let full = EVENTS.iter().filter(|(_, partition, _)| *partition < FULL);
    let mut expected: Vec<_> = full
        .map(|(name, partition, versions)| {
            (format!("test-{name}"), i32::try_from(*partition).unwrap(), *versions.end())
        })
        .collect();
    expected.sort();
    assert_eq!(listed, expected);
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
