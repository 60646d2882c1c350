//! A projection that is made from two logs, each in a database of its own.

use std::time::Duration;

use events::{Log, LogId, LogPosition};
use local_services::testing::eventually;
use tokio_util::sync::CancellationToken;

use super::{
    life,
    rebuilding::age,
    shop::{Branch, Projector, Shop},
};
use crate::{
    Certificate, Followed, OrderView, ProjectionError, ProjectionState, ReadError, RebuildOptions, View,
    failure::chain,
    redis_views::RedisViews,
    search::{OrderSearch, ProductSearch},
    store::Store,
};

fn main() -> LogId {
    LogId::default()
}

async fn both(shop: &Shop, eu: &Branch) -> Projector {
    shop.projector_on(vec![shop.followed(), eu.followed()])
}

/// The same article and the same customer in both, at different prices and with different orders.
async fn two_shops() -> (Shop, Branch, LogPosition, LogPosition) {
    let (mut shop, mut eu) = (Shop::open().await, Branch::open("eu").await);
    let mut here = vec![life::listed("A", "BLUE MUG", "Kitchen", 255), life::received("A", 6)];
    here.extend([life::place(1), life::place(11)]);
    let mut there = vec![life::listed("A", "RED MUG", "Cuisine", 310), life::received("A", 9)];
    there.push(life::place(21));
    let (here, there) = (shop.append(here).await, eu.append(there).await);
    (shop, eu, here, there)
}

async fn rebuilt(shop: &Shop, logs: &[events::Log], accept: bool) -> Result<Certificate, ProjectionError> {
    let options = RebuildOptions { accept_differences: accept, ..RebuildOptions::default() };
    crate::rebuild("order-view", &shop.config, logs, &options, &mut |_| (), &CancellationToken::new()).await
}

#[tokio::test]
async fn what_each_log_calls_its_own_is_its_own() {
    let (shop, eu, here, there) = two_shops().await;
    let projector = both(&shop, &eu).await;
    projector.reaches(&here).await;
    projector.reaches(&there).await;
    let (ours, theirs) = (projector.views.clone(), projector.views.of(eu.log.id()));

    let order = ours.order(life::order_id(1)).await.expect("built");
    assert_eq!((order.value.is_some(), order.position), (true, here.clone()));
    let order = theirs.order(life::order_id(1)).await.expect("built");
    assert_eq!((order.value, order.position), (None, there.clone()));
    assert!(theirs.order(life::order_id(21)).await.expect("built").value.is_some());
    let customer = life::customer(1);
    for (views, orders) in [(&ours, 2), (&theirs, 1)] {
        assert_eq!(views.customer_orders(&customer, None, 10).await.expect("built").value.items.len(), orders);
    }
    for (views, name, on_hand) in [(&ours, "BLUE MUG", 6), (&theirs, "RED MUG", 9)] {
        let product = views.product(&life::sku("A")).await.expect("built").value.expect("listed");
        let stock = views.stock(&life::sku("A")).await.expect("built").value.expect("received");
        assert_eq!((product.name.as_str(), stock.total.on_hand), (name, on_hand));
    }
    for (log_id, name, orders) in [(main(), "BLUE MUG", 2), (eu.log.id().clone(), "RED MUG", 1)] {
        let indexes = projector.indexes.of(&log_id);
        let mugs = ProductSearch { text: Some("mug".into()), limit: 10, ..ProductSearch::default() };
        let hits = indexes.search_products(mugs).await.expect("built");
        let names: Vec<_> = hits.value.items.iter().map(|hit| hit.name.as_str()).collect();
        assert_eq!((names, hits.value.total, hits.position.log_id), (vec![name], 1, log_id));
        let found = indexes.search_orders(OrderSearch { limit: 10, ..OrderSearch::default() }).await.expect("built");
        assert_eq!((found.value.items.len(), found.value.total), (orders, orders));
    }
    let unknown = projector.views.of(&"us".parse().expect("a name"));
    assert!(matches!(unknown.order(life::order_id(1)).await, Err(ReadError::NotBuilt { .. })));
    projector.stop().await;
}

#[tokio::test]
async fn a_rebuild_from_two_logs_equals_what_was_followed() {
    let (mut shop, mut eu, here, there) = two_shops().await;
    let projector = both(&shop, &eu).await;
    projector.reaches(&here).await;
    projector.reaches(&there).await;
    // One after the other and in turn: what is followed comes mixed, what is rebuilt log by log.
    for n in 100..130 {
        shop.append(life::completed(n)).await;
        eu.append(life::completed(n + 1_000)).await;
    }
    let logs = [shop.log.clone(), eu.log.clone()];
    for name in crate::PROJECTIONS {
        let options = RebuildOptions::default();
        let certificate =
            crate::rebuild(name, &shop.config, &logs, &options, &mut |_| (), &CancellationToken::new()).await;
        let certificate = certificate.expect("equal");
        assert!(certificate.equal && certificate.documents_compared && certificate.documents > 0, "{certificate:?}");
        assert_eq!(certificate.from, "main:0, eu:0");
        let heads = (shop.log.head().await.expect("there"), eu.log.head().await.expect("there"));
        assert_eq!(certificate.to, format!("main:{}, eu:{}", heads.0, heads.1));
    }
    let statuses = crate::statuses(&projector.views, &projector.indexes, &logs, None).await;
    let at = |log: &str| statuses.iter().filter(|line| line.log == log && line.lag_events == Some(0)).count();
    assert_eq!((at("main"), at("eu"), statuses.len()), (6, 6, 12), "{statuses:?}");
    projector.stop().await;
}

#[tokio::test]
async fn a_log_that_cannot_be_read_keeps_no_other_waiting() {
    let (mut shop, mut eu, here, there) = two_shops().await;
    let projector = both(&shop, &eu).await;
    projector.reaches(&here).await;
    projector.reaches(&there).await;
    eu.postgres.go_away();
    let (ours, theirs) = (main(), eu.log.id().clone());
    let retrying = async || retries(projector.handle.state_in("order-view", &theirs));
    eventually("it says which log it cannot read", retrying).await;
    for state in [projector.handle.state_in("order-view", &ours), projector.handle.state("order-view")] {
        assert_eq!(state, ProjectionState::Following);
    }
    let here = shop.append(vec![life::place(31)]).await;
    projector.reaches(&here).await;
    let late = LogPosition::new(eu.log.id().clone(), events::Position(there.position.0 + 1));
    let waited = projector.views.of(eu.log.id()).wait_for(View::Order, &late, Duration::from_millis(10)).await;
    assert!(matches!(waited, Err(ReadError::Behind { reached, .. }) if reached == there));
    eu.postgres.come_back();
    let appended = eventually("Postgres answers again", async || eu.log.head().await.ok()).await;
    assert_eq!(appended, there.position);
    projector.reaches(&eu.append(vec![life::place(41)]).await).await;
    eventually("all is well again", async || follows(&projector, &theirs)).await;
    projector.stop().await;
}

fn retries(state: ProjectionState) -> Option<String> {
    if let ProjectionState::Retrying { reason } = state { Some(reason) } else { None }
}

fn stops(state: ProjectionState) -> Option<String> {
    if let ProjectionState::Stopped { reason } = state { Some(reason) } else { None }
}

fn follows(projector: &Projector, log_id: &LogId) -> Option<()> {
    (projector.handle.state_in("order-view", log_id) == ProjectionState::Following).then_some(())
}

#[tokio::test]
async fn a_log_that_needs_a_person_keeps_no_other_waiting() {
    let (mut shop, mut eu, here, there) = two_shops().await;
    let projector = both(&shop, &eu).await;
    projector.reaches(&here).await;
    projector.reaches(&there).await;
    eu.append_unreadable().await;
    let stopped = async || stops(projector.handle.state_in("order-view", eu.log.id()));
    let reason = eventually("it stops before what it cannot read", stopped).await;
    assert!(reason.contains("OrderTeleported"), "{reason}");
    let gauges = projector.handle.gauges();
    assert!(gauges.iter().any(|gauge| gauge.name == "order-view" && !gauge.healthy), "{gauges:?}");
    let here = shop.append(vec![life::place(31)]).await;
    projector.reaches(&here).await;
    assert_eq!(projector.views.of(eu.log.id()).position(View::Order).await.expect("built"), there);
    // A rebuild would be without what comes behind that event: it says so, and what answers goes on.
    let refused = rebuilt(&shop, &[shop.log.clone(), eu.log.clone()], true).await.expect_err("it cannot be read");
    assert!(chain(&refused).contains("OrderTeleported"), "{refused}");
    let here = shop.append(vec![life::place(32)]).await;
    projector.reaches(&here).await;
    projector.stop().await;
}

#[tokio::test]
async fn an_event_that_was_replaced_in_one_log_stops_what_is_made_of_that_one() {
    let (mut shop, mut eu, here, there) = two_shops().await;
    let projector = both(&shop, &eu).await;
    projector.reaches(&here).await;
    projector.reaches(&there).await;
    let (verified, end) = (&projector.handle, there.position.0);
    let gauges = || verified.gauges().into_iter().flat_map(|gauge| gauge.logs).filter(|log| log.log_id == *eu.log.id());
    eventually("what was applied is compared", async || gauges().all(|log| log.verified_position == end).then_some(()))
        .await;
    let replace = sqlx::query("UPDATE events SET event_id = gen_random_uuid() WHERE position = 2");
    replace.execute(&eu.superuser().await).await.expect("a superuser may");
    eu.append(vec![life::place(41)]).await;
    let stopped = async || stops(projector.handle.state_in("order-view", eu.log.id()));
    let reason = eventually("it stops", stopped).await;
    assert!(reason.contains("what was applied as the event at position 2 is not the event"), "{reason}");
    projector.reaches(&shop.append(vec![life::place(31)]).await).await;
    assert_eq!(follows(&projector, &main()), Some(()));
    projector.stop().await;
}

#[tokio::test]
async fn where_nothing_answers_yet_the_logs_that_can_be_read_are_enough() {
    let (shop, mut eu, here, there) = two_shops().await;
    eu.postgres.go_away();
    let projector = both(&shop, &eu).await;
    projector.reaches(&here).await;
    let theirs = projector.views.of(eu.log.id());
    assert!(matches!(theirs.order(life::order_id(21)).await, Err(ReadError::NotBuilt { .. })), "not known is not 404");
    eu.postgres.come_back();
    projector.reaches(&there).await;
    projector.reaches(&eu.append(vec![life::place(41)]).await).await;
    projector.stop().await;
    // What answers has both: a new version of it waits until it has them, too.
    age(&shop).await;
    eu.postgres.go_away();
    let projector = both(&shop, &eu).await;
    let waits = async || retries(projector.handle.state("order-view"));
    eventually("it waits for the other log", waits).await;
    let theirs = projector.views.of(eu.log.id());
    assert!(theirs.order(life::order_id(21)).await.expect("it answers").value.is_some());
    eu.postgres.come_back();
    eventually("it is built anew", async || follows(&projector, eu.log.id())).await;
    assert!(theirs.order(life::order_id(21)).await.expect("it answers").value.is_some());
    projector.stop().await;
}

#[tokio::test]
async fn where_nothing_answers_yet_a_log_that_needs_a_person_is_left_out() {
    let (shop, mut eu, here, _) = two_shops().await;
    eu.append_unreadable().await;
    let projector = both(&shop, &eu).await;
    projector.reaches(&here).await;
    eventually("it says which log needs a person", async || {
        stops(projector.handle.state_in("order-view", eu.log.id()))
    })
    .await;
    assert_eq!(follows(&projector, &main()), Some(()));
    let theirs = projector.views.of(eu.log.id());
    assert!(
        matches!(theirs.order(life::order_id(21)).await, Err(ReadError::NotBuilt { .. })),
        "its end was not reached"
    );
    projector.stop().await;
}

#[tokio::test]
async fn a_log_that_nothing_was_read_of_is_forgotten_again() {
    let (shop, eu, here, there) = two_shops().await;
    // Of a database that calls its log eu.
    let log = Log::new(eu.log.pool().clone(), "west".parse().expect("a name"));
    let west = Followed { log, wake: eu.wake.clone() };
    let projector = shop.projector_on(vec![shop.followed(), west.clone()]);
    projector.reaches(&here).await;
    let stopped = async || stops(projector.handle.state_in("order-view", west.log.id()));
    let reason = eventually("it reads nothing of another log", stopped).await;
    assert!(reason.contains("the database holds the log eu, and not west"), "{reason}");
    let west = projector.views.of(west.log.id());
    assert!(matches!(west.order(life::order_id(21)).await, Err(ReadError::NotBuilt { .. })));
    projector.stop().await;
    let projector = both(&shop, &eu).await;
    projector.reaches(&there).await;
    assert_eq!(follows(&projector, &main()), Some(()));
    projector.stop().await;
    assert!(rebuilt(&shop, &[shop.log.clone(), eu.log.clone()], false).await.expect("equal").equal);
}

#[tokio::test]
async fn a_log_that_is_followed_later_is_caught_up_with_and_never_forgotten_silently() {
    let (shop, eu, here, there) = two_shops().await;
    let projector = shop.projector();
    projector.reaches(&here).await;
    assert!(matches!(projector.views.of(eu.log.id()).position(View::Order).await, Err(ReadError::NotBuilt { .. })));
    projector.stop().await;
    let store = RedisViews::<OrderView>::new(&shop.config).expect("a good URL");
    let generation = store.active().await.expect("Redis is there");

    let projector = both(&shop, &eu).await;
    projector.reaches(&there).await;
    assert_eq!(store.active().await.expect("Redis is there"), generation, "nothing had to be built anew");
    assert!(projector.views.of(eu.log.id()).order(life::order_id(21)).await.expect("built").value.is_some());
    projector.stop().await;

    let projector = shop.projector();
    let stopped = async || stops(projector.handle.state("order-view"));
    let reason = eventually("it does not go on without a log that it has events of", stopped).await;
    assert!(reason.contains("has events of the log eu"), "{reason}");
    let refused = rebuilt(&shop, &shop.logs(), false).await.expect_err("the live one has more");
    assert!(matches!(refused, ProjectionError::Incomparable { .. }), "{refused}");
    let certificate = rebuilt(&shop, &shop.logs(), true).await.expect("it was said so");
    assert_eq!((certificate.to, certificate.equal), (here.to_string(), false));
    eventually("it goes on with that one", async || {
        (projector.handle.state("order-view") == ProjectionState::Following).then_some(())
    })
    .await;
    projector.stop().await;
}
