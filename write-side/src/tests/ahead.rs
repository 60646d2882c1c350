//! A batch that is written while the one before it is not yet committed: it stands behind that one, or nowhere.

use std::ops::RangeInclusive;

use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection, PgPool};
use tokio::task::JoinHandle;

use super::{
    Fixture, UUID_OF,
    event_store::{append_one, assert_whole},
    faults::{hold_head, until_blocked},
    until,
    vouching::append,
};

/// What a call returned: the position before its first event, or the code of its error.
type Told = Result<Option<i64>, String>;

/// A session that appends past the store, and what it is waiting for.
struct Session(PgConnection);

impl Session {
    async fn on(fixture: &Fixture) -> Self {
        Self(PgConnection::connect(&fixture.database.superuser_url()).await.unwrap())
    }

    async fn run(&mut self, sql: &str) -> Told {
        let told = sqlx::query_scalar(sql).fetch_optional(&mut self.0).await;
        told.map(Option::flatten)
            .map_err(|error| error.as_database_error().and_then(|error| error.code()).expect("a code").into_owned())
    }

    async fn execute(&mut self, statements: &[&str]) {
        for sql in statements {
            sqlx::query(sql).execute(&mut self.0).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
    }

    fn spawn(mut self, fixture: &Fixture, sql: String) -> JoinHandle<Told> {
        fixture.tracker.spawn(async move { self.run(&sql).await })
    }
}

/// An event to each of the streams at version 1, with the ids of these positions, by who knows the position before them or before `behind`;
/// ahead of the batch before it, which is to have the positions of `behind`.
fn batch(streams: &[&str], positions: RangeInclusive<i64>, behind: Option<RangeInclusive<i64>>) -> String {
    let known = behind.as_ref().map_or(*positions.start(), |behind| *behind.start()) - 1;
    let each = |value: &str| vec![value; streams.len()].join(",");
    let names = streams.iter().map(|name| format!("'test-{name}'")).collect::<Vec<_>>().join(",");
    let ids = positions.map(|position| format!("uuid_of({position})")).collect::<Vec<_>>().join(",");
    let next = behind.as_ref().map_or("NULL, NULL, NULL".to_owned(), |behind| {
        format!("{1}, uuid_of({0}), uuid_of({1})", behind.start(), behind.end())
    });
    let (zeros, ones) = (each("0"), each("1"));
    format!(
        "SELECT last_position FROM append_batch(1, {known}, uuid_of({known}), {next}, ARRAY[{names}], '{{{zeros}}}', '{{{zeros}}}', '{{{0}}}', \
         '{{{zeros}}}', ARRAY[{names}], '{{{ones}}}', ARRAY[{ids}], '{{{1}}}', '{{{ones}}}', ARRAY[{2}]::json[], ARRAY[{2}]::json[], \
         '{{}}', '{{}}', '{{}}', '{{}}', {3})",
        each("f"),
        each("Tested"),
        each("'{}'"),
        behind.is_some(),
    )
}

/// At position 1, and ids that tell a position.
async fn one_event(fixture: &Fixture) {
    let statements = [
        UUID_OF,
        "INSERT INTO streams (stream_id, since_position) VALUES ('test-a', 0)",
        "INSERT INTO events VALUES (1, 'test-a', 1, uuid_of(1), 'Tested', 1, '{}', '{}', clock_timestamp())",
    ];
    Session::on(fixture).await.execute(&statements).await;
}

/// Position 1 is taken; positions 2 and 3 are written by a batch that is not committed, and 4 and 5 by one ahead that waits for it.
async fn two_under_way(fixture: &Fixture) -> (Session, JoinHandle<Told>) {
    one_event(fixture).await;
    let mut first = Session::on(fixture).await;
    first.execute(&["BEGIN", &batch(&["b", "c"], 2..=3, None)]).await;
    let second = Session::on(fixture).await.spawn(fixture, batch(&["d", "e"], 4..=5, Some(2..=3)));
    until_waiting_for(fixture, "advisory", 1).await;
    (first, second)
}

/// Until so many wait for a lock of that kind: who writes ahead waits for the batch before him, everybody else for the head of the log.
async fn until_waiting_for(fixture: &Fixture, kind: &str, count: i64) {
    let superuser = fixture.superuser().await;
    let waiting = format!(
        "SELECT count(*) >= {count} FROM pg_locks WHERE locktype = '{kind}' AND NOT granted \
         AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database())"
    );
    until(&superuser, "somebody waits", &waiting).await;
}

#[tokio::test]
async fn a_batch_is_written_before_the_one_before_it_is_committed_and_stands_behind_it() {
    let fixture = Fixture::new().await;
    let (mut first, second) = two_under_way(&fixture).await;
    first.execute(&["COMMIT"]).await;
    assert_eq!(second.await.unwrap(), Ok(Some(3)));
    assert_eq!(assert_whole(&fixture).await, 5);
    append_one(&fixture.store, "d", 1).await.expect("the store goes on behind it");
}

#[tokio::test]
async fn what_was_written_ahead_of_a_batch_that_is_undone_is_undone_too() {
    let fixture = Fixture::new().await;
    let (mut first, second) = two_under_way(&fixture).await;
    first.execute(&["ROLLBACK"]).await;
    assert_eq!(second.await.unwrap(), Err("WB004".into()));
    assert_eq!(assert_whole(&fixture).await, 1);
}

#[tokio::test]
async fn what_was_written_ahead_of_a_batch_that_wrote_less_is_undone() {
    let fixture = Fixture::new().await;
    let (mut first, second) = two_under_way(&fixture).await;
    // As if one of its two appends had been refused; the row is not visible to anybody else yet.
    first.execute(&["DELETE FROM events WHERE position = 3", "COMMIT"]).await;
    assert_eq!(second.await.unwrap(), Err("WB004".into()));
    assert_eq!(assert_whole(&fixture).await, 2);
}

#[tokio::test]
async fn whoever_has_the_head_is_not_kept_from_it_by_what_was_written_ahead() {
    let fixture = Fixture::new().await;
    let (mut first, second) = two_under_way(&fixture).await;
    // In plain SQL, and behind the same batch: one of the two has the head first, the other waits or is told, and none is in a circle.
    let mut outsider = Session::on(&fixture).await;
    let outside = fixture.tracker.spawn(async move {
        outsider.execute(&["BEGIN", "SELECT FROM log_head FOR UPDATE"]).await;
        let sql = "INSERT INTO events SELECT max(position) + 1, 'test-f', 1, gen_random_uuid(), 'Tested', 1, '{}', '{}', clock_timestamp() \
                   FROM events RETURNING position";
        let position = outsider.run(sql).await;
        outsider.execute(&["INSERT INTO streams (stream_id, since_position) VALUES ('test-f', 0)", "COMMIT"]).await;
        position
    });
    until_blocked(&fixture, 2).await;
    first.execute(&["COMMIT"]).await;
    match (second.await.unwrap(), outside.await.unwrap()) {
        (Ok(Some(3)), Ok(Some(6))) => assert_eq!(assert_whole(&fixture).await, 6),
        (Err(code), Ok(Some(4))) if code == "WB004" => assert_eq!(assert_whole(&fixture).await, 4),
        told => panic!("{told:?}"),
    }
}

#[tokio::test]
async fn the_position_of_a_moment_waits_for_what_was_written_ahead_of_it() {
    let fixture = Fixture::new().await;
    let (mut first, second) = two_under_way(&fixture).await;
    let superuser: PgPool = fixture.superuser().await;
    let now: DateTime<Utc> = sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&superuser).await.unwrap();
    let log = fixture.store.log().clone();
    let asked = fixture.tracker.spawn(async move { log.position_at(now).await.unwrap().0 });
    until_blocked(&fixture, 2).await;
    first.execute(&["COMMIT"]).await;
    // Whoever of the two has the head first: what is answered is all that was recorded by then, for ever.
    match (second.await.unwrap(), asked.await.unwrap()) {
        (Ok(Some(3)), 5) => (),
        (Err(code), 3) if code == "WB004" => (),
        told => panic!("{told:?}"),
    }
}

#[tokio::test]
async fn nobody_writes_ahead_of_a_batch_that_waits_for_the_head() {
    let fixture = Fixture::new().await;
    one_event(&fixture).await;
    let mut head = hold_head(&fixture).await;
    let first = Session::on(&fixture).await.spawn(&fixture, batch(&["b", "c"], 2..=3, None));
    until_waiting_for(&fixture, "transactionid", 1).await;
    let second = Session::on(&fixture).await.spawn(&fixture, batch(&["d", "e"], 4..=5, Some(2..=3)));
    until_waiting_for(&fixture, "tuple", 1).await;
    sqlx::query("ROLLBACK").execute(&mut head).await.unwrap();
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (Ok(Some(1)), Ok(Some(3))));
    assert_eq!(assert_whole(&fixture).await, 5);
}

#[tokio::test]
async fn nobody_writes_ahead_while_a_moments_position_is_asked_for() {
    let fixture = Fixture::new().await;
    one_event(&fixture).await;
    let mut asking = Session::on(&fixture).await;
    asking.execute(&["BEGIN", "SELECT pg_advisory_xact_lock(hashtext('append_ahead'))"]).await;
    let mut first = Session::on(&fixture).await;
    first.execute(&["BEGIN", &batch(&["b", "c"], 2..=3, None)]).await;
    let second = Session::on(&fixture).await.spawn(&fixture, batch(&["d", "e"], 4..=5, Some(2..=3)));
    until_waiting_for(&fixture, "transactionid", 1).await;
    first.execute(&["COMMIT"]).await;
    assert_eq!(second.await.unwrap(), Ok(Some(3)));
    assert_eq!(assert_whole(&fixture).await, 5);
}

#[tokio::test]
async fn nobody_overtakes_a_batch_that_is_being_written_ahead() {
    let fixture = Fixture::new().await;
    let (mut holder, second) = one_still_being_written(&fixture).await;
    // The head is free.
    let third = Session::on(&fixture).await.spawn(&fixture, batch(&["e", "f"], 6..=7, Some(4..=5)));
    until_waiting_for(&fixture, "advisory", 2).await;
    holder.execute(&["SELECT pg_advisory_unlock(42)"]).await;
    assert_eq!((second.await.unwrap(), third.await.unwrap()), (Ok(Some(3)), Ok(Some(5))));
    assert_eq!(assert_whole(&fixture).await, 7);
}

/// Whoever writes to these streams waits for lock 42, and then fails or not.
const SLOW: [&str; 2] = [
    "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF NEW.stream_id IN ('test-slow', 'test-fails') THEN PERFORM pg_advisory_xact_lock(42); END IF; \
         IF NEW.stream_id = 'test-fails' THEN RAISE EXCEPTION 'it fails'; END IF; RETURN NEW; END $$",
    "CREATE TRIGGER slow BEFORE INSERT ON events_p000000 FOR EACH ROW EXECUTE FUNCTION slow()",
];

/// Positions 1 to 3 are taken, and a batch that is to have 4 and 5 is still being written, ahead of the one before it, which is committed:
/// until the holder gives lock 42 away.
async fn one_still_being_written(fixture: &Fixture) -> (Session, JoinHandle<Told>) {
    one_event(fixture).await;
    let mut holder = Session::on(fixture).await;
    holder.execute(&SLOW).await;
    holder.execute(&["SELECT pg_advisory_lock(42)"]).await;
    let mut first = Session::on(fixture).await;
    first.execute(&["BEGIN", &batch(&["b", "c"], 2..=3, None)]).await;
    let second = Session::on(fixture).await.spawn(fixture, batch(&["slow", "d"], 4..=5, Some(2..=3)));
    until_waiting_for(fixture, "advisory", 1).await;
    first.execute(&["COMMIT"]).await;
    (holder, second)
}

#[tokio::test]
async fn nobody_writes_ahead_of_a_batch_that_is_still_being_written() {
    let fixture = Fixture::new().await;
    let (mut holder, second) = one_still_being_written(&fixture).await;
    // Somebody else has the head, and the third waits for the second: had it written behind that, he would wait for it, it for the second, and
    // the second for him.
    let mut outsider = Session::on(&fixture).await;
    outsider.execute(&["BEGIN", "SELECT FROM log_head FOR UPDATE"]).await;
    let third = Session::on(&fixture).await.spawn(&fixture, batch(&["e", "f"], 6..=7, Some(4..=5)));
    until_waiting_for(&fixture, "advisory", 2).await;
    let four = "INSERT INTO events SELECT 3 + n, 'test-o', n, gen_random_uuid(), 'Tested', 1, '{}', '{}', clock_timestamp() \
                FROM generate_series(1, 4) AS n";
    outsider.execute(&[four, "INSERT INTO streams (stream_id, since_position) VALUES ('test-o', 0)", "COMMIT"]).await;
    holder.execute(&["SELECT pg_advisory_unlock(42)"]).await;
    assert_eq!((second.await.unwrap(), third.await.unwrap()), (Err("23505".into()), Ok(Some(7))));
    assert_eq!(assert_whole(&fixture).await, 9);
}

#[tokio::test]
async fn the_store_writes_a_batch_ahead_and_again_if_the_one_before_it_fails() {
    for (before, expected) in [("slow", 4), ("fails", 2)] {
        let fixture = Fixture::new().await;
        append_one(&fixture.store, "a", 0).await.unwrap();
        let mut holder = Session::on(&fixture).await;
        holder.execute(&SLOW).await;
        holder.execute(&["SELECT pg_advisory_lock(42)"]).await;
        let spawn = |names: [&'static str; 2]| {
            let store = fixture.store.clone();
            fixture.tracker.spawn(async move { append(&store, &names.map(|name| (name, 0))).await })
        };
        let first = spawn([before, "b"]);
        until_waiting_for(&fixture, "advisory", 1).await;
        let second = spawn(["c", "d"]);
        // One for lock 42, and one for the batch before it: with the head of the log, it would wait for a transaction.
        until_waiting_for(&fixture, "advisory", 2).await;
        holder.execute(&["SELECT pg_advisory_unlock(42)"]).await;
        assert_eq!(first.await.unwrap().is_ok(), before == "slow");
        assert_eq!(second.await.unwrap().unwrap().first.0, expected);
        assert_eq!(assert_whole(&fixture).await, expected + 1);
    }
}
