//! A projection that is made from two logs, each in a database of its own.

use std::time::Duration;

use events::{LogId, LogPosition};
use tokio_util::sync::CancellationToken;

use super::{
    eventually::eventually,
    life,
    shop::{Branch, Projector, Shop},
};
use crate::{
    Certificate, OrderView, ProjectionError, ProjectionState, ReadError, RebuildOptions, View,
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
    let statuses = crate::statuses(&projector.views, &projector.indexes, &logs, None).await.expect("both answer");
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
    let retrying = async || match projector.handle.state("order-view") {
        ProjectionState::Retrying { reason } => Some(reason),
        _ => None,
    };
    let reason = eventually("it says which log it cannot read", retrying).await;
    assert!(reason.starts_with("log eu: "), "{reason}");
    let here = shop.append(vec![life::place(31)]).await;
    projector.reaches(&here).await;
    let late = LogPosition::new(eu.log.id().clone(), events::Position(there.position.0 + 1));
    let waited = projector.views.of(eu.log.id()).wait_for(View::Order, &late, Duration::from_millis(10)).await;
    assert!(matches!(waited, Err(ReadError::Behind { reached, .. }) if reached == there));
    eu.postgres.come_back();
    let appended = eventually("Postgres answers again", async || eu.log.head().await.ok()).await;
    assert_eq!(appended, there.position);
    projector.reaches(&eu.append(vec![life::place(41)]).await).await;
    let following = async || (projector.handle.state("order-view") == ProjectionState::Following).then_some(());
    eventually("all is well again", following).await;
    projector.stop().await;
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
    let stopped = async || match projector.handle.state("order-view") {
        ProjectionState::Stopped { reason } => Some(reason),
        _ => None,
    };
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
