//! What a process knows of its streams without looking, and what the append makes of it when it is no longer true.

use events::{LogError, Position};
use tokio::task::JoinSet;

use super::{
    Fixture, UUID_OF, command,
    event_store::{append_one, assert_whole, event, stream},
    faults::{forget_after, hold_head, until_blocked},
    outsider::Outsider,
};
use crate::{Append, EventStore, StoreError, StreamAppend};

/// An event for each of the streams at its version, of one append.
pub(super) async fn append(store: &EventStore, streams: &[(&str, i64)]) -> Result<crate::Appended, StoreError> {
    let streams = streams.iter().map(|&(name, expected_version)| StreamAppend {
        stream_id: stream(name),
        expected_version,
        events: vec![event(store, "{}")],
        commands: vec![],
    });
    store.append(Append { streams: streams.collect(), keys: vec![] }).await
}

#[tokio::test]
async fn what_somebody_else_appended_is_seen_by_who_knows_the_version_before() {
    let fixture = Fixture::new().await;
    let mut outsider = Outsider::of(&fixture).await;
    for version in 0..40 {
        // The store wrote the last event but one of the log and of the stream, and vouches for it.
        let (mine, theirs) = (version * 2, version * 2 + 1);
        append_one(&fixture.store, "a", mine).await.unwrap();
        outsider.append("a", theirs).await.unwrap();
        let stale = append_one(&fixture.store, "a", theirs).await;
        assert!(
            matches!(stale, Err(StoreError::WrongExpectedVersion { actual, .. }) if actual == theirs + 1),
            "{stale:?}"
        );
        assert_eq!(outsider.append("a", theirs).await, Err(theirs + 1));
    }
    assert_eq!(assert_whole(&fixture).await, 80);
}

/// A standby that lacked the last event was promoted, and somebody else has appended since.
async fn lose_the_last_event_to(fixture: &Fixture, others: &[(&str, i64)]) {
    for n in 0..10 {
        append_one(&fixture.store, "a", n).await.unwrap();
    }
    let head = fixture.store.log().head().await.unwrap().0;
    forget_after(fixture, head - 1).await;
    let mut outsider = Outsider::of(fixture).await;
    for (name, expected) in others {
        outsider.append(name, *expected).await.unwrap();
    }
}

#[tokio::test]
async fn the_store_appends_nothing_behind_an_event_that_is_no_longer_the_one_it_wrote() {
    let elsewhere: &[(&str, i64)] = &[("b", 0)];
    let elsewhere_and_then_there: &[(&str, i64)] = &[("b", 0), ("a", 9)];
    for others in [elsewhere, elsewhere_and_then_there] {
        // A stream that it vouches for, one that is new, one that is stale, alone and beside another.
        let tries: [&[(&str, i64)]; 6] = [
            &[("a", 10)],
            &[("new", 0)],
            &[("a", 3)],
            &[("a", 10), ("new", 0)],
            &[("new", 0), ("other", 0)],
            &[("a", 3), ("b", 7)],
        ];
        for next in tries {
            let fixture = Fixture::new().await;
            lose_the_last_event_to(&fixture, others).await;
            let refused = append(&fixture.store, next).await;
            assert!(
                matches!(refused, Err(StoreError::Log(LogError::HistoryChanged { .. }))),
                "{others:?}, then {next:?}: {refused:?}"
            );
            assert_eq!(assert_whole(&fixture).await, 9 + i64::try_from(others.len()).unwrap());
        }
    }
}

#[tokio::test]
async fn a_repeated_command_does_not_hide_that_history_changed() {
    for beside in [None, Some(("b", 1))] {
        let fixture = Fixture::new().await;
        append_one(&fixture.store, "b", 0).await.unwrap();
        lose_the_last_event_to(&fixture, &[("c", 0), ("a", 9), ("a", 10)]).await;
        // It was done in the history that there is.
        sqlx::query("INSERT INTO commands VALUES ('test-a', $1, 11)")
            .bind(command("done").0)
            .execute(&fixture.superuser().await)
            .await
            .unwrap();
        let next = |name, version, commands| StreamAppend {
            stream_id: stream(name),
            expected_version: version,
            events: vec![event(&fixture.store, "{}")],
            commands,
        };
        let repeated = next("a", 10, vec![(command("done"), 11)]);
        let beside = beside.map(|(name, version)| next(name, version, vec![]));
        let streams = std::iter::once(repeated).chain(beside).collect();
        let refused = fixture.store.append(Append { streams, keys: vec![] }).await;
        assert!(matches!(refused, Err(StoreError::Log(LogError::HistoryChanged { .. }))), "{refused:?}");
    }
}

/// Events of one stream, as somebody else writes so many at once.
async fn fill(fixture: &Fixture, count: i64) {
    sqlx::query(
        "INSERT INTO events SELECT (SELECT max(position) FROM events) + n, 'test-full', n, gen_random_uuid(), 'Tested', 1, '{}', '{}', \
         clock_timestamp() FROM generate_series(1, $1) AS n",
    )
    .bind(count)
    .execute(&fixture.superuser().await)
    .await
    .unwrap();
}

#[tokio::test]
async fn an_event_is_seen_however_many_of_others_stand_before_it() {
    // Up to so many are compared, then it is looked for.
    for others in [1, 1_998, 1_999, 2_000, 7_000] {
        let fixture = Fixture::new().await;
        append_one(&fixture.store, "a", 0).await.unwrap();
        append_one(&fixture.store, "rests", 0).await.unwrap();
        fill(&fixture, others).await;
        Outsider::of(&fixture).await.append("a", 1).await.unwrap();
        let stale = append(&fixture.store, &[("a", 1), ("rests", 1)]).await;
        assert!(matches!(stale, Err(StoreError::WrongExpectedVersion { actual: 2, .. })), "{others}: {stale:?}");
        assert_eq!(append(&fixture.store, &[("rests", 1)]).await.unwrap().last, Position(others + 4));
        append(&fixture.store, &[("rests", 2), ("a", 2)]).await.unwrap();
    }
}

#[tokio::test]
async fn beside_a_stream_that_was_overtaken_the_others_are_judged_as_they_are() {
    let fixture = Fixture::new().await;
    let mut outsider = Outsider::of(&fixture).await;
    outsider.append("looked-for", 0).await.unwrap();
    for name in ["known", "overtaken"] {
        append_one(&fixture.store, name, 0).await.unwrap();
    }
    outsider.append("overtaken", 1).await.unwrap();
    for (beside, stale) in [(1, "test-overtaken"), (7, "test-looked-for")] {
        let told = append(&fixture.store, &[("new", 0), ("known", 1), ("overtaken", 1), ("looked-for", beside)]).await;
        let Err(StoreError::WrongExpectedVersion { stream, .. }) = &told else { panic!("{told:?}") };
        assert!(stream.as_str() == stale || stream.as_str() == "test-overtaken", "{stream}");
    }
    append(&fixture.store, &[("new", 0), ("known", 1), ("overtaken", 2), ("looked-for", 1)]).await.unwrap();
    assert_eq!(assert_whole(&fixture).await, 8);
}

/// Writes to the table, past every function: whoever does so holds the log's head meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_written_in_plain_sql_under_the_head_of_the_log_is_seen_by_every_append() {
    let fixture = Fixture::new().await;
    for name in ["a", "b"] {
        append_one(&fixture.store, name, 0).await.unwrap();
    }
    let mut outsider = Outsider::of(&fixture).await;
    let stores = [fixture.store.clone(), fixture.again().await];
    for version in 1..30 {
        let mut head = hold_head(&fixture).await;
        let mut appends = JoinSet::new();
        // Known and looked for, alone and in a batch; each waits for the head with a version that is right until now.
        for (blocked, store) in (1..).zip([&stores[0], &stores[1]]) {
            let store = store.clone();
            let names: &[&str] = if version % 2 == 0 { &["a"] } else { &["a", "b"] };
            appends.spawn(async move {
                let streams: Vec<_> = names.iter().map(|name| (*name, version)).collect();
                append(&store, &streams).await
            });
            until_blocked(&fixture, blocked).await;
        }
        for name in ["a", "b"] {
            sqlx::query(
                "INSERT INTO events SELECT (SELECT max(position) + 1 FROM events), $1, $2, gen_random_uuid(), 'Tested', 1, '{}', '{}', \
                 clock_timestamp()",
            )
            .bind(stream(name).as_str())
            .bind(version + 1)
            .execute(&mut head)
            .await
            .unwrap();
        }
        sqlx::query("COMMIT").execute(&mut head).await.unwrap();
        for told in appends.join_all().await {
            assert!(
                matches!(told, Err(StoreError::WrongExpectedVersion { actual, .. }) if actual == version + 1),
                "{told:?}"
            );
        }
        assert_eq!(outsider.append("a", version).await, Err(version + 1));
    }
    assert_eq!(assert_whole(&fixture).await, 2 * 30);
}

/// Streams, and the numbers of the ids of the events that came to them.
type Since = &'static [(&'static str, i64)];

/// An event to stream a at version 1, by who knows position 1, and that a batch of three events of this process may stand behind it.
const NEXT: &str = "SELECT append_batch(1, 1, uuid_of(1), 4, uuid_of(2), uuid_of(4), '{test-a}', '{0}', '{1}', '{f}', '{0}', '{test-a}', '{2}', \
     ARRAY[gen_random_uuid()], '{Tested}', '{1}', '{\"{}\"}', '{\"{}\"}', '{}', '{}', '{}', '{}')";

#[tokio::test]
async fn a_batch_that_was_foreseen_is_taken_for_it_only_whole_and_with_nothing_before_it() {
    // What came behind position 1: streams and the numbers of the events' ids. The batch is 2 to 4, on other streams.
    let cases: [(Since, bool, bool); 8] = [
        (&[], false, true),
        (&[("x", 2), ("y", 5), ("z", 4)], false, true),
        // Of its events only the first and the last are there, and not by one transaction.
        (&[("x", 2), ("a", 9), ("z", 4)], true, false),
        (&[("x", 2), ("y", 5), ("z", 4)], true, true),
        // Its first append was refused, and somebody else's event makes up for it.
        (&[("a", 9), ("y", 5), ("z", 4)], false, false),
        (&[("x", 2), ("y", 5), ("a", 9)], false, false),
        (&[("x", 2), ("y", 5), ("z", 4), ("a", 9)], false, false),
        (&[("x", 2), ("a", 4)], false, false),
    ];
    for (since, in_pieces, taken) in cases {
        let fixture = Fixture::new().await;
        let pool = fixture.superuser().await;
        sqlx::raw_sql(UUID_OF).execute(&pool).await.unwrap();
        let mut transaction = pool.begin().await.unwrap();
        for (position, (name, number)) in (1_i64..).zip(std::iter::once(&("a", 1)).chain(since)) {
            if position == 2 || in_pieces {
                transaction.commit().await.unwrap();
                transaction = pool.begin().await.unwrap();
            }
            let sql = "INSERT INTO events SELECT $1, $2, (SELECT count(*) + 1 FROM events WHERE stream_id = $2), uuid_of($3), 'Tested', 1, \
                       '{}', '{}', clock_timestamp()";
            let insert = sqlx::query(sql).bind(position).bind(stream(name).to_string()).bind(number);
            insert.execute(&mut *transaction).await.unwrap();
        }
        transaction.commit().await.unwrap();
        let told = sqlx::query(NEXT).execute(&pool).await;
        let code =
            told.err().and_then(|error| error.into_database_error()).and_then(|error| error.code().map(String::from));
        assert_eq!(code.as_deref(), (!taken).then_some("WB003"), "{since:?} {in_pieces}");
    }
}

#[tokio::test]
async fn the_twin_of_a_command_under_way_is_told_the_version_that_it_led_to() {
    let fixture = Fixture::new().await;
    append_one(&fixture.store, "a", 0).await.unwrap();
    let mut holder = hold_head(&fixture).await;
    let mut twins = JoinSet::new();
    // The one that is alone, and one in each batcher.
    for blocked in 1..=3 {
        let store = fixture.store.clone();
        twins.spawn(async move {
            let (stream_id, events) = (stream("a"), vec![event(&store, "{}")]);
            let commands = vec![(command("twice"), 2)];
            let streams = vec![StreamAppend { stream_id, expected_version: 1, events, commands }];
            store.append(Append { streams, keys: vec![] }).await
        });
        until_blocked(&fixture, blocked).await;
    }
    sqlx::query("ROLLBACK").execute(&mut holder).await.unwrap();
    let told = twins.join_all().await;
    let stale = |told: &Result<_, _>| matches!(told, Err(StoreError::WrongExpectedVersion { actual: 2, .. }));
    assert_eq!(told.iter().filter(|told| told.is_ok()).count(), 1, "{told:?}");
    assert_eq!(told.iter().filter(|told| stale(told)).count(), 2, "{told:?}");
    assert_eq!(assert_whole(&fixture).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_two_outside_writers_beside_the_store_agree_with_it_on_every_version() {
    let fixture = Fixture::new().await;
    let mut writers = JoinSet::new();
    for writer in 0..32 {
        let (store, mut outsider) = (fixture.store.clone(), Outsider::of(&fixture).await);
        writers.spawn(async move {
            // Four at a stream, each by both ways in turn, until each has written twenty.
            let (name, mut version, mut written) = (format!("shared-{}", writer / 4), 0, 0);
            while written < 20 {
                let told = if written % 2 == 0 {
                    outsider.append(&name, version).await
                } else {
                    match append_one(&store, &name, version).await {
                        Ok(appended) => Ok(appended.first),
                        Err(StoreError::WrongExpectedVersion { actual, .. }) => Err(actual),
                        Err(error) => panic!("{error}"),
                    }
                };
                match told {
                    Ok(_) => (version, written) = (version + 1, written + 1),
                    Err(actual) => version = actual,
                }
            }
        });
    }
    writers.join_all().await;
    assert_eq!(assert_whole(&fixture).await, 32 * 20);
}

#[tokio::test]
async fn a_single_append_to_a_stream_that_is_not_new_is_told_its_version() {
    let fixture = Fixture::new().await;
    append_one(&fixture.store, "a", 0).await.unwrap();
    let stale = append_one(&fixture.store, "a", 0).await;
    assert!(matches!(stale, Err(StoreError::WrongExpectedVersion { actual: 1, .. })), "{stale:?}");
    append_one(&fixture.store, "a", 1).await.unwrap();
    assert_eq!(assert_whole(&fixture).await, 2);
}
