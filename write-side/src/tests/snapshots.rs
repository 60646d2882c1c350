//! An owner begins where a snapshot ends, if it is one of this log and of this code.

use events::{LogError, StreamId};

use super::{Fixture, command, context, location, until};
use crate::{
    CommandError, Deciders, EventStore, StoreConfig, StoreError,
    domain::inventory::{Inventory, InventoryCommand},
    tests::deciders::{receive, sku},
};

const EVERY: i64 = 50;

async fn fixture() -> Fixture {
    Fixture::with(StoreConfig { snapshot_every: EVERY, ..StoreConfig::default() }).await
}

/// So many receipts of one piece each, by one owner. Waits until its snapshots are written.
async fn receive_each(fixture: &Fixture, count: i64) {
    let decider = Deciders::<Inventory>::new(fixture.store.clone(), fixture.tracker.clone()).of(&stream());
    for n in 1..=count {
        decider.submit(receive(1), context(command(&format!("receive {n}")))).await.unwrap();
    }
}

fn stream() -> StreamId {
    location().stream()
}

/// Takes away so many pieces, as an owner that begins now.
async fn write_off(store: &EventStore, fixture: &Fixture, pieces: i64) -> bool {
    let decider = Deciders::<Inventory>::new(store.clone(), fixture.tracker.clone()).of(&stream());
    let delta = -pieces;
    let command_id = command(&format!("write off {pieces}"));
    let adjust = InventoryCommand::Adjust { location: location(), sku: sku(), delta, reason: "lost".into() };
    decider.submit(adjust, context(command_id)).await.is_ok()
}

/// Version of the snapshot there is, once it has come to `version`.
async fn until_kept(fixture: &Fixture, version: i64) {
    let pool = fixture.superuser().await;
    let kept = format!("SELECT coalesce(max(stream_version), 0) >= {version} FROM snapshots");
    until(&pool, "a snapshot is kept", &kept).await;
}

/// Nobody can fold the stream up to that version any more.
async fn spoil_events_up_to(fixture: &Fixture, version: i64) {
    sqlx::query("UPDATE events SET event_type = 'Unreadable' WHERE stream_version <= $1")
        .bind(version)
        .execute(&fixture.superuser().await)
        .await
        .unwrap();
}

#[tokio::test]
async fn an_owner_reads_only_what_came_after_the_snapshot() {
    let fixture = fixture().await;
    receive_each(&fixture, EVERY + 5).await;
    until_kept(&fixture, EVERY).await;
    spoil_events_up_to(&fixture, EVERY).await;
    assert!(!write_off(&fixture.again().await, &fixture, EVERY + 6).await, "so many are not there");
    assert!(write_off(&fixture.again().await, &fixture, EVERY + 5).await);
}

#[tokio::test]
async fn a_snapshot_of_other_code_or_another_history_or_that_is_torn_is_passed_over() {
    for spoil in
        ["state_version = 7", "event_id = gen_random_uuid()", "position = position + 1", "state = '{\"levels\":1}'"]
    {
        let fixture = fixture().await;
        receive_each(&fixture, EVERY + 5).await;
        until_kept(&fixture, EVERY).await;
        let sql = format!("UPDATE snapshots SET {spoil}");
        assert_eq!(sqlx::query(&sql).execute(&fixture.superuser().await).await.unwrap().rows_affected(), 1);
        assert!(write_off(&fixture.again().await, &fixture, EVERY + 5).await, "{spoil}: the events tell");
        spoil_events_up_to(&fixture, EVERY).await;
        let anew = Deciders::<Inventory>::new(fixture.again().await, fixture.tracker.clone()).of(&stream());
        let error = anew.submit(receive(1), context(command("one more"))).await.expect_err("the events are needed");
        assert!(
            matches!(&error, CommandError::Store(StoreError::Log(LogError::Undecodable { .. }))),
            "{spoil}: {error}"
        );
    }
}

#[tokio::test]
async fn snapshots_are_taken_at_longer_and_longer_intervals() {
    let fixture = fixture().await;
    receive_each(&fixture, 12 * EVERY).await;
    // At 50, 100, 150, 200; then, by a quarter: 250, 312, 390, 487.
    until_kept(&fixture, 487).await;
    let (count, updated): (i64, i64) =
        sqlx::query_as("SELECT (SELECT count(*) FROM snapshots), (SELECT stream_version FROM snapshots)")
            .fetch_one(&fixture.superuser().await)
            .await
            .unwrap();
    assert_eq!((count, updated), (1, 487), "one a stream");
}
