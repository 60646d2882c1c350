//! What each store promises of a page: once, whole, and by one writer.

use std::sync::Arc;

use events::{LogId, Position};

use super::{
    life,
    shop::{Branch, Shop},
};
use crate::{
    CustomerOrders, OrderDocument, OrderIndex, OrderView, ProjectionError, ReadModel, StockView,
    build::ids,
    index_generation::SearchIndexes,
    redis_generation::RedisGeneration,
    redis_views::RedisViews,
    store::{EventPage, LogPage, OpenGeneration, Store},
};

async fn built<M: ReadModel>(shop: &Shop) -> (RedisViews<M>, RedisGeneration<M>) {
    let store = RedisViews::<M>::new(&shop.config).expect("a good URL");
    let generation = store.start_building(&ids(&shop.logs())).await.expect("Redis is there");
    store.switch_to(generation).await.expect("Redis is there");
    let open = store.open(generation, &[LogId::default()], 10).await.expect("just built");
    (store, open)
}

async fn page(shop: &Shop, after: i64, limit: u32) -> EventPage {
    let events = shop.log.page(Position(after), limit).await.expect("the log is there");
    Arc::new(LogPage { log_id: shop.log.id().clone(), events })
}

/// What the fold says, without any store.
fn expected(page: &EventPage, n: u128) -> Option<OrderDocument> {
    crate::fold_order_events(page.events.iter().filter(|event| event.payload.order_id() == Some(life::order_id(n))))
}

#[tokio::test]
async fn a_page_applied_twice_is_fenced() {
    let mut shop = Shop::open().await;
    shop.append(life::completed(1)).await;
    let (store, mut first) = built::<OrderView>(&shop).await;
    let mut second = store.open(first.generation(), &[LogId::default()], 10).await.expect("just built");
    let page = page(&shop, 0, 100).await;
    first.fold(&page).await.expect("folds");
    second.fold(&page).await.expect("folds");
    first.write().await.expect("first come");
    assert!(matches!(second.write().await, Err(ProjectionError::Fenced { .. })));
    let order = shop.views().order(life::order_id(1)).await.expect("built").value.expect("placed");
    assert_eq!(order.timeline.len(), 33);
}

#[tokio::test]
async fn a_crash_between_the_shards_and_the_head_is_made_good() {
    let mut shop = Shop::open().await;
    let events = (0..40).flat_map(life::completed).collect();
    shop.append(events).await;
    let (store, mut open) = built::<OrderView>(&shop).await;
    let all = page(&shop, 0, 10_000).await;
    open.fold(&page(&shop, 0, 700).await).await.expect("folds");
    open.write_shards().await.expect("writes");
    // It dies here: the shards are written, the head is not.
    let mut open = store.open(open.generation(), &[LogId::default()], 10).await.expect("it is there");
    assert_eq!(open.written().at(&LogId::default()).checkpoint.position, Position::START);
    open.fold(&all).await.expect("folds");
    open.write().await.expect("writes");
    for n in 0..40 {
        assert_eq!(shop.views().order(life::order_id(n)).await.expect("built").value, expected(&all, n));
    }
}

#[tokio::test]
async fn a_shard_that_is_ahead_after_a_crash_does_not_go_back_when_less_is_written() {
    let mut shop = Shop::open().await;
    shop.append((0..40).flat_map(life::completed).collect()).await;
    let (store, mut open) = built::<OrderView>(&shop).await;
    let all = page(&shop, 0, 10_000).await;
    open.fold(&page(&shop, 0, 700).await).await.expect("folds");
    open.write_shards().await.expect("writes");
    // It dies here, goes on, and is stopped again before it has come as far as the shards are.
    let mut open = store.open(open.generation(), &[LogId::default()], 10).await.expect("it is there");
    open.fold(&page(&shop, 0, 300).await).await.expect("folds");
    open.write().await.expect("writes");
    let mut open = store.open(open.generation(), &[LogId::default()], 10).await.expect("it is there");
    open.fold(&all).await.expect("folds");
    open.write().await.expect("writes");
    for n in 0..40 {
        assert_eq!(shop.views().order(life::order_id(n)).await.expect("built").value, expected(&all, n));
    }
}

#[tokio::test]
async fn a_shard_in_which_nothing_changed_is_not_written() {
    let mut shop = Shop::open().await;
    shop.append((0..40).flat_map(life::completed).collect()).await;
    let (store, mut open) = built::<OrderView>(&shop).await;
    open.fold(&page(&shop, 0, 700).await).await.expect("folds");
    open.write_shards().await.expect("writes");
    // It dies here; the next one touches shards that have it all already.
    let mut open = store.open(open.generation(), &[LogId::default()], 10).await.expect("it is there");
    open.fold(&page(&shop, 0, 300).await).await.expect("folds");
    for n in 0..40 {
        let shard = crate::names::shard_of(&life::order_id(n).to_string());
        shop.redis(&["DEL", &format!("test:{{order-view:g1:{shard:02}}}:at")]).await;
    }
    // A write would not find the checkpoint that it expects.
    open.write().await.expect("there is only the head to move");
    assert_eq!(open.written().at(&LogId::default()).checkpoint.position, Position(300));
}

#[tokio::test]
async fn the_digest_is_that_of_what_lies_there() {
    let mut shop = Shop::open().await;
    shop.append((0..30).flat_map(life::completed).collect()).await;
    let (store, mut open) = built::<CustomerOrders>(&shop).await;
    for after in (0..).step_by(97).take_while(|after| *after < 990) {
        open.fold(&page(&shop, after, 97).await).await.expect("folds");
        open.write().await.expect("writes");
    }
    let contents = store.contents(open.generation()).await.expect("Redis is there");
    let sum = contents.values().fold(0_u128, |sum, hash| sum.wrapping_add(*hash));
    assert_eq!((open.digest().count, open.digest().sum), (60, sum));
    assert_eq!(contents.len(), 60);
    let reopened = store.open(open.generation(), &[LogId::default()], 10).await.expect("it is there");
    assert_eq!(reopened.digest(), open.digest());
}

#[tokio::test]
async fn documents_written_page_by_page_are_those_written_at_once() {
    let mut shop = Shop::open().await;
    shop.append((0..30).flat_map(life::completed).collect()).await;
    let (_, mut pages) = built::<StockView>(&shop).await;
    for after in (0..).step_by(13).take_while(|after| *after < 990) {
        pages.fold(&page(&shop, after, 13).await).await.expect("folds");
        pages.write().await.expect("writes");
    }
    let (_, mut once) = built::<StockView>(&shop).await;
    once.fold(&page(&shop, 0, 10_000).await).await.expect("folds");
    once.write().await.expect("writes");
    assert_eq!(once.digest(), pages.digest());
}

#[tokio::test]
async fn an_emptied_redis_is_noticed_at_the_next_look() {
    let mut shop = Shop::open().await;
    shop.append(life::completed(1)).await;
    let (_, mut open) = built::<OrderView>(&shop).await;
    open.check().await.expect("it is there");
    shop.redis(&["FLUSHDB"]).await;
    assert!(matches!(open.check().await, Err(ProjectionError::Lost { .. })));
    open.fold(&page(&shop, 0, 100).await).await.expect("nothing was to be loaded");
    assert!(matches!(open.write().await, Err(ProjectionError::Lost { .. })));
}

#[tokio::test]
async fn an_index_has_one_writer() {
    let mut shop = Shop::open().await;
    shop.append(life::completed(1)).await;
    let store = SearchIndexes::<OrderIndex>::new(&shop.config);
    store.preflight().await.expect("a good folder");
    let generation = store.start_building(&ids(&shop.logs())).await.expect("a good folder");
    let first = store.open(generation, &[LogId::default()], 10).await.expect("just built");
    let error = store.open(generation, &[LogId::default()], 10).await.err().expect("the lock is taken");
    assert!(matches!(error, ProjectionError::Locked { .. }), "{error}");
    first.close().await.expect("it closes");
    store.open(generation, &[LogId::default()], 10).await.expect("the lock is free");
}

#[tokio::test]
async fn what_an_index_had_not_committed_is_folded_again() {
    let mut shop = Shop::open().await;
    shop.append((0..20).flat_map(life::completed).collect()).await;
    let store = SearchIndexes::<OrderIndex>::new(&shop.config);
    store.preflight().await.expect("a good folder");
    let generation = store.start_building(&ids(&shop.logs())).await.expect("a good folder");
    let mut open = store.open(generation, &[LogId::default()], 10).await.expect("just built");
    open.fold(&page(&shop, 0, 300).await).await.expect("folds");
    open.write().await.expect("commits");
    open.fold(&page(&shop, 300, 200).await).await.expect("folds");
    drop(open); // It dies here, with 200 events in memory.
    let mut open = store.open(generation, &[LogId::default()], 10).await.expect("the lock went with it");
    assert_eq!(open.written().at(&LogId::default()).checkpoint.position, Position(300));
    open.fold(&page(&shop, 300, 10_000).await).await.expect("folds");
    open.write().await.expect("commits");
    let contents = store.contents(generation).await.expect("it is there");
    let sum = contents.values().fold(0_u128, |sum, hash| sum.wrapping_add(*hash));
    assert_eq!((contents.len(), open.digest().count, open.digest().sum), (20, 20, sum));
}

#[tokio::test]
async fn of_two_logs_a_crash_between_shards_and_head_applies_nothing_twice() {
    let (mut shop, mut eu) = (Shop::open().await, Branch::open("eu").await);
    shop.append((0..20).flat_map(life::completed).collect()).await;
    eu.append((20..40).flat_map(life::completed).collect()).await;
    let logs = [LogId::default(), eu.log.id().clone()];
    let store = RedisViews::<OrderView>::new(&shop.config).expect("a good URL");
    // Begun when there was one log; the other is followed from here on.
    let generation = store.start_building(&logs[..1]).await.expect("Redis is there");
    store.switch_to(generation).await.expect("Redis is there");
    let here = page(&shop, 0, 10_000).await;
    let events = eu.log.page(Position(0), 10_000).await.expect("the log is there");
    let there = Arc::new(LogPage { log_id: eu.log.id().clone(), events });
    let mut open = store.open(generation, &logs, 10).await.expect("just built");
    open.fold(&here).await.expect("folds");
    open.fold(&there).await.expect("folds");
    open.write_shards().await.expect("writes");
    assert!(!store.peek(generation).await.expect("it is there").whole);
    // It dies here, and the next one is told of the logs in another order.
    let turned = [logs[1].clone(), logs[0].clone()];
    let mut open = store.open(generation, &turned, 10).await.expect("it is there");
    assert_eq!(open.written().events(), 0);
    open.fold(&there).await.expect("folds");
    open.write().await.expect("writes");
    open.fold(&here).await.expect("folds");
    open.reached(&logs[1]);
    open.write().await.expect("writes");
    assert!(store.peek(generation).await.expect("it is there").whole);
    let views = shop.views();
    for n in 0..40 {
        let (views, page) = if n < 20 { (views.clone(), &here) } else { (views.of(eu.log.id()), &there) };
        assert_eq!(views.order(life::order_id(n)).await.expect("built").value, expected(page, n));
    }
}
