//! What a process knows of its streams without looking, and what the append makes of it when it is no longer true.

use events::LogError;
use tokio::task::JoinSet;

use super::{
    Fixture, command,
    event_store::{append_one, assert_whole, event, stream},
    faults::{forget_after, hold_head, until_blocked},
    outsider::Outsider,
};
use crate::{Append, EventStore, StoreError, StreamAppend};

/// An event for each of the streams at its version, of one append.
async fn append(store: &EventStore, streams: &[(&str, i64)]) -> Result<crate::Appended, StoreError> {
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
    forget_after(fixture, 9).await;
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
