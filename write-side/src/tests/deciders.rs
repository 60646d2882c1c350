//! A hot article: many want it, nobody gets what is not there, and nobody waits for a retry ladder.

use events::{DomainEvent, EffectKey, InventoryEvent, OrderId, Position, Sku, inventory::StockLine};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{Fixture, command, context, location};
use crate::{
    Aggregate, Deciders,
    domain::inventory::{Inventory, InventoryCommand, InventoryError},
};

pub(super) fn sku() -> Sku {
    "85123A".parse().expect("a plain SKU")
}

pub(super) fn receive(quantity: u32) -> InventoryCommand {
    let lines = vec![StockLine { sku: sku(), quantity }];
    InventoryCommand::Receive { location: location(), lines, reference: "PO-1".into() }
}

fn reserve(n: u128) -> InventoryCommand {
    let order_id = OrderId(Uuid::from_u128(n));
    let effect_key = format!("fulfilment/{order_id}/reserve_stock/1").parse::<EffectKey>().expect("a plain key");
    let lines = vec![StockLine { sku: sku(), quantity: 1 }];
    InventoryCommand::Reserve { location: location(), order_id, effect_key, lines }
}

/// Reserved and refused, as the log tells it.
async fn sold_and_refused(fixture: &Fixture) -> (usize, usize) {
    let page = fixture.store.log().page(Position::START, 10_000).await.unwrap();
    let count = |wanted: fn(&InventoryEvent) -> bool| {
        page.iter().filter(|event| matches!(&event.payload, DomainEvent::Inventory(event) if wanted(event))).count()
    };
    (
        count(|event| matches!(event, InventoryEvent::Reserved(_))),
        count(|event| matches!(event, InventoryEvent::Refused(_))),
    )
}

#[tokio::test]
async fn of_500_pieces_exactly_500_are_sold_to_1500_tries_of_64_shoppers() {
    let fixture = Fixture::new().await;
    let deciders = Deciders::<Inventory>::new(fixture.store.clone(), fixture.tracker.clone());
    let decider = deciders.of(&location().stream());
    decider.submit(receive(500), context(command("receive"))).await.unwrap();
    let mut shoppers = JoinSet::new();
    for shopper in 0..64_u128 {
        let decider = decider.clone();
        shoppers.spawn(async move {
            for n in (shopper..1500).step_by(64) {
                let id = command(&format!("reserve {n}"));
                decider
                    .submit(reserve(n), context(id))
                    .await
                    .expect("a reservation is granted or refused, never an error");
            }
        });
    }
    shoppers.join_all().await;
    assert_eq!(sold_and_refused(&fixture).await, (500, 1000));
}

#[tokio::test]
async fn two_owners_of_one_location_oversell_nothing() {
    let fixture = Fixture::new().await;
    // Two processes that do not know of each other.
    let owners = [(); 2].map(|()| Deciders::<Inventory>::new(fixture.store.clone(), fixture.tracker.clone()));
    let deciders = owners.each_ref().map(|owner| owner.of(&location().stream()));
    deciders[0].submit(receive(50), context(command("receive"))).await.unwrap();
    let mut tries = JoinSet::new();
    for n in 0..200_u128 {
        let decider = deciders[usize::from(n % 2 == 0)].clone();
        tries.spawn(
            async move { decider.submit(reserve(n), context(command(&format!("reserve {n}")))).await.map(drop) },
        );
    }
    for outcome in tries.join_all().await {
        outcome.expect("a reservation is granted or refused, never an error");
    }
    assert_eq!(sold_and_refused(&fixture).await, (50, 150));
}

#[tokio::test]
async fn a_command_that_comes_twice_in_one_batch_has_one_effect() {
    let fixture = Fixture::new().await;
    let decider = Deciders::<Inventory>::new(fixture.store.clone(), fixture.tracker.clone()).of(&location().stream());
    let mut twins = JoinSet::new();
    for _ in 0..20 {
        let decider = decider.clone();
        twins.spawn(async move { decider.submit(receive(5), context(command("receive"))).await.unwrap() });
    }
    let answers = twins.join_all().await;
    assert!(answers.iter().all(|answer| (answer.version, answer.position) == (1, Position(1))));
    assert_eq!(fixture.store.log().head().await.unwrap(), Position(1));
}

#[tokio::test]
async fn a_refusal_is_judged_on_what_another_owner_has_just_received() {
    let fixture = Fixture::new().await;
    let owners = [(); 2].map(|()| Deciders::<Inventory>::new(fixture.store.clone(), fixture.tracker.clone()));
    let [here, there] = owners.each_ref().map(|owner| owner.of(&location().stream()));
    let write_off =
        |n: i64| InventoryCommand::Adjust { location: location(), sku: sku(), delta: -n, reason: "lost".into() };
    here.submit(receive(1), context(command("1"))).await.unwrap();
    there.submit(receive(9), context(command("2"))).await.unwrap();
    here.submit(write_off(10), context(command("3"))).await.expect("ten are there, though this owner had seen one");
    assert!(there.submit(write_off(1), context(command("4"))).await.is_err());
}

/// Panics over no command at all.
#[derive(Debug, Clone, Default)]
struct Fragile;

impl Aggregate for Fragile {
    type Command = Option<InventoryCommand>;
    type Event = InventoryEvent;
    type Error = InventoryError;

    fn decide(&self, command: Self::Command) -> Result<Vec<InventoryEvent>, InventoryError> {
        Inventory::default().decide(command.expect("this one is meant to panic"))
    }

    fn evolve(self, _: &InventoryEvent) -> Self {
        self
    }
}

#[tokio::test]
async fn an_owner_that_panicked_is_replaced() {
    let fixture = Fixture::new().await;
    let deciders = Deciders::<Fragile>::new(fixture.store.clone(), fixture.tracker.clone());
    let stream = location().stream();
    assert!(deciders.of(&stream).submit(None, context(command("panic"))).await.is_err());
    let mut tries = 0;
    // The caller may hear of it a moment before the owner is gone.
    while let Err(error) = deciders.of(&stream).submit(Some(receive(5)), context(command("receive"))).await {
        tries += 1;
        assert!(tries < 1_000, "{error}");
        tokio::task::yield_now().await;
    }
    assert_eq!(fixture.store.log().head().await.unwrap(), Position(1));
}
