//! One command, one effect: repeats, twins, conflicts.

use events::OrderId;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{Fixture, command, context, order};
use crate::{
    CommandError, Context, create,
    domain::order::{Order, OrderCommand, OrderError},
    handle, handle_if,
};

pub(super) fn place(order_id: OrderId) -> OrderCommand {
    OrderCommand::Place { order: order(order_id) }
}

fn cancel() -> OrderCommand {
    OrderCommand::RequestCancellation { reason: "changed my mind".into() }
}

const ID: OrderId = OrderId(Uuid::from_u128(1));

#[tokio::test]
async fn a_repeated_command_gets_its_first_answer() {
    let Fixture { store, database: _database, .. } = Fixture::new().await;
    let (stream, context_of_place) = (ID.stream(), context(command("place")));
    let place_it = || create::<Order>(&store, &stream, place(ID), &context_of_place);
    let first = place_it().await.unwrap();
    handle::<Order>(&store, &ID.stream(), cancel(), &context(command("cancel"))).await.unwrap();
    let again = place_it().await.unwrap();
    assert!(!first.repeated && again.repeated);
    assert_eq!((first.version, first.position), (again.version, again.position));
    assert_eq!(store.log().head().await.unwrap().0, 2);
}

#[tokio::test]
async fn the_same_key_with_another_body_is_refused() {
    let Fixture { store, database: _database, .. } = Fixture::new().await;
    let hashed = |hash: &str| Context { body_hash: Some(hash.into()), ..context(command("place")) };
    create::<Order>(&store, &ID.stream(), place(ID), &hashed("aa")).await.unwrap();
    let error = create::<Order>(&store, &ID.stream(), place(ID), &hashed("bb")).await.expect_err("another body");
    assert!(matches!(error, CommandError::KeyReused));
}

#[tokio::test]
async fn a_running_twin_waits_for_the_first_answer() {
    let Fixture { store, database: _database, .. } = Fixture::new().await;
    let mut twins = JoinSet::new();
    for _ in 0..16 {
        let store = store.clone();
        twins.spawn(async move { create::<Order>(&store, &ID.stream(), place(ID), &context(command("place"))).await });
    }
    let answers = twins.join_all().await.into_iter().map(|outcome| outcome.unwrap()).collect::<Vec<_>>();
    assert!(answers.iter().all(|answer| (answer.version, answer.position.0) == (1, 1)));
    assert_eq!(answers.iter().filter(|answer| !answer.repeated).count(), 1);
    assert_eq!(store.log().head().await.unwrap().0, 1);
}

#[tokio::test]
async fn a_rule_that_says_no_leaves_nothing_behind_and_may_be_asked_again() {
    let Fixture { store, database: _database, .. } = Fixture::new().await;
    let refused = handle::<Order>(&store, &ID.stream(), cancel(), &context(command("cancel"))).await;
    assert!(matches!(refused, Err(CommandError::Rejected(OrderError::NotPlaced))));
    create::<Order>(&store, &ID.stream(), place(ID), &context(command("place"))).await.unwrap();
    let granted = handle::<Order>(&store, &ID.stream(), cancel(), &context(command("cancel"))).await.unwrap();
    assert_eq!((granted.version, granted.repeated), (2, false));
}

#[tokio::test]
async fn a_command_on_a_version_that_is_not_current_is_told_the_current_one() {
    let Fixture { store, database: _database, .. } = Fixture::new().await;
    create::<Order>(&store, &ID.stream(), place(ID), &context(command("place"))).await.unwrap();
    let stale = handle_if::<Order>(&store, &ID.stream(), cancel(), &context(command("c")), &[7]).await;
    assert!(matches!(stale, Err(CommandError::Stale { actual: 1, .. })));
    handle_if::<Order>(&store, &ID.stream(), cancel(), &context(command("c")), &[1]).await.unwrap();
}
