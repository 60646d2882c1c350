//! What the maintainer does to the tables beside the log.

use events::OrderId;
use uuid::Uuid;

use super::{Fixture, command, context, handler::place};
use crate::{CommandError, Context, create, domain::order::Order};

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
    // A command that is named by anything but a UUID is somebody's outside, and keeps no other from being forgotten.
    sqlx::query("UPDATE events SET recorded_at = recorded_at - interval '31 days', metadata = '{\"causation_id\":\"my-command-7\"}' WHERE position = 4")
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
