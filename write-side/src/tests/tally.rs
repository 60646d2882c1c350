//! The log's own sums, which everything that reads it is compared with.

use events::{Checkpoint, Difference, LogError, Position, Tally};
use sqlx::PgPool;

use super::Fixture;

/// Some events, without the work of appending each.
async fn fill(superuser: &PgPool, count: i64) {
    sqlx::query(
        "INSERT INTO events SELECT n, 'test-' || n, 1, md5(n::text)::uuid, 'Tested', 1, '{}', '{}', clock_timestamp() \
         FROM generate_series(1, $1) AS n",
    )
    .bind(count)
    .execute(superuser)
    .await
    .unwrap();
}

async fn tally_by_reading(fixture: &Fixture, to: i64) -> (Checkpoint, Tally) {
    let (mut tally, log) = (Tally::default(), fixture.store.log());
    for (position, event_id) in log.event_ids(Position::START, u32::try_from(to).unwrap()).await.unwrap() {
        tally.add(position, event_id);
    }
    (log.checkpoint_at(Position(to)).await.unwrap(), tally)
}

#[tokio::test]
async fn what_the_database_adds_up_is_what_a_reader_adds_up() {
    let fixture = Fixture::new().await;
    let log = fixture.store.log();
    assert_eq!(log.tally(Position::START).await.unwrap(), Tally::default());
    fill(&fixture.superuser().await, 25_003).await;
    for sealed in [0, 2] {
        assert_eq!(log.sealed_blocks().await.unwrap().len(), sealed);
        let unsealed = if sealed == 0 { 25_003 } else { 5_003 };
        assert_eq!(log.unsealed(Position(25_003)).await.unwrap(), unsealed);
        for to in [1, 9_999, 10_000, 10_001, 20_000, 25_003] {
            let (checkpoint, read) = tally_by_reading(&fixture, to).await;
            assert_eq!(log.tally(Position(to)).await.unwrap(), read, "up to {to}, {sealed} blocks sealed");
            log.verify_applied(&checkpoint, read).await.unwrap();
        }
        assert_eq!(log.seal_blocks().await.unwrap(), 2 - i64::try_from(sealed).unwrap());
    }
    let (_, second) = tally_by_reading(&fixture, 20_000).await;
    assert_eq!(log.sealed_blocks().await.unwrap()[1], (Position(20_000), second));
}

#[tokio::test]
async fn a_block_is_sealed_whole_and_what_differs_is_named() {
    let fixture = Fixture::new().await;
    let (log, superuser) = (fixture.store.log(), fixture.superuser().await);
    fill(&superuser, 20_000).await;
    let (checkpoint, mut read) = tally_by_reading(&fixture, 15_000).await;
    let twice = log.event_ids(Position(11), 1).await.unwrap()[0];
    read.add(twice.0, twice.1);
    let error = log.verify_applied(&checkpoint, read).await.unwrap_err();
    assert!(matches!(error, LogError::Unequal { difference: Difference::Doubled(Position(12)), .. }), "{error}");
    assert!(!error.is_transient());

    sqlx::query("DELETE FROM events WHERE position = 10001").execute(&superuser).await.unwrap();
    assert_eq!(log.seal_blocks().await.unwrap(), 1);
    let error = log.seal_blocks().await.expect_err("the second block has a hole");
    let LogError::Postgres { source, .. } = error else { panic!("{error}") };
    let source = source.into_database_error().unwrap();
    assert_eq!(source.code().as_deref(), Some("WB002"));
    assert!(source.message().contains("between positions 10001 and 20000"), "{source}");
}

#[tokio::test]
async fn a_service_cannot_touch_a_sealed_block() {
    let fixture = Fixture::new().await;
    fill(&fixture.superuser().await, 10_000).await;
    assert_eq!(fixture.store.log().seal_blocks().await.unwrap(), 1);
    for sql in
        ["UPDATE log_blocks SET hash_sum = 0", "DELETE FROM log_blocks", "INSERT INTO log_blocks VALUES (2, 0, 0)"]
    {
        let refused = sqlx::query(sql).execute(fixture.store.log().pool()).await.expect_err(sql);
        assert_eq!(refused.into_database_error().unwrap().code().as_deref(), Some("42501"), "{sql}");
    }
}
