//! A long stretch of the log, read some pages ahead.

use events::{Checkpoint, Log, LogError, OrderId, Position, Replay};
use uuid::Uuid;

use super::{Fixture, command, context, handler::place};
use crate::{create, domain::order::Order};

/// With so many orders placed.
async fn filled(count: u128) -> Fixture {
    let fixture = Fixture::new().await;
    for n in 1..=count {
        let (id, context) = (OrderId(Uuid::from_u128(n)), context(command(&n.to_string())));
        create::<Order>(&fixture.store, &id.stream(), place(id), &context).await.unwrap();
    }
    fixture
}

fn start(log: &Log) -> Checkpoint {
    Checkpoint::start(log.id().clone())
}

/// What was handed out, and how it ended.
async fn positions(replay: &mut Replay) -> (Vec<i64>, Option<LogError>) {
    let mut read = Vec::new();
    loop {
        match replay.next_page().await {
            Ok(Some(page)) => read.extend(page.iter().map(|event| event.position.0)),
            Ok(None) => return (read, None),
            Err(error) => return (read, Some(error)),
        }
    }
}

#[tokio::test]
async fn pages_read_beside_each_other_come_in_order_and_end_where_they_shall() {
    let fixture = filled(40).await;
    let log = fixture.store.log();
    for (after, to, page) in [(0, 40, 1), (0, 40, 7), (0, 40, 40), (0, 40, 1_000), (3, 38, 5), (39, 40, 5), (40, 40, 5)]
    {
        let from = log.checkpoint_at(Position(after)).await.unwrap();
        let (read, error) = positions(&mut Replay::new(log.clone(), from, Position(to), page)).await;
        assert!(error.is_none(), "{error:?}");
        assert_eq!(read, (after + 1..=to).collect::<Vec<_>>(), "after {after} to {to} by {page}");
    }
}

#[tokio::test]
async fn what_stands_before_an_unreadable_event_is_handed_out_first() {
    let fixture = filled(20).await;
    let unreadable = "UPDATE events SET event_type = 'OrderTeleported' WHERE position = 13";
    sqlx::query(unreadable).execute(&fixture.superuser().await).await.unwrap();
    for page in [1, 4, 5, 12, 13, 50] {
        let mut replay = Replay::new(fixture.store.log().clone(), start(fixture.store.log()), Position(20), page);
        let (read, error) = positions(&mut replay).await;
        assert_eq!(read, (1..=12).collect::<Vec<_>>(), "by {page}");
        assert!(matches!(error, Some(LogError::Undecodable { position: Position(13), .. })), "by {page}: {error:?}");
        let again = replay.next_page().await;
        assert!(matches!(again, Err(LogError::Undecodable { position: Position(13), .. })), "by {page}: {again:?}");
    }
}

#[tokio::test]
async fn a_hole_a_replaced_event_and_a_missing_end_stop_the_replay() {
    let fixture = filled(20).await;
    let (log, superuser) = (fixture.store.log(), fixture.superuser().await);
    let replay = |from: &Checkpoint, to| Replay::new(log.clone(), from.clone(), Position(to), 6);
    let known = log.checkpoint_at(Position(10)).await.unwrap();

    let (read, error) = positions(&mut replay(&start(log), 23)).await;
    assert_eq!(read.len(), 20);
    assert!(matches!(error, Some(LogError::HistoryChanged { .. })), "the log ends before 23: {error:?}");

    sqlx::query("UPDATE events SET event_id = gen_random_uuid() WHERE position = 10")
        .execute(&superuser)
        .await
        .unwrap();
    let (read, error) = positions(&mut replay(&known, 20)).await;
    assert!(read.is_empty() && matches!(error, Some(LogError::HistoryChanged { .. })), "{read:?} {error:?}");

    sqlx::query("DELETE FROM events WHERE position = 16").execute(&superuser).await.unwrap();
    let (read, error) = positions(&mut replay(&start(log), 20)).await;
    assert_eq!(read.len(), 12, "whole pages before the hole");
    assert!(matches!(error, Some(LogError::Hole { after: Position(15), .. })), "{error:?}");

    let other = Checkpoint { log_id: "other".parse().unwrap(), ..known };
    let error = replay(&other, 20).next_page().await.unwrap_err();
    assert!(matches!(error, LogError::OtherLog { .. }), "{error}");
}
