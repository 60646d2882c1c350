//! The projector from outside: what readers see, and what becomes of it when things go.

use std::time::Duration;

use events::{LogPosition, Position};
use local_services::testing::eventually;

use super::{life, shop::Shop};
use crate::{
    PROJECTIONS, ProjectionState, ReadError, SearchIndex, View,
    search::{OrderSearch, ProductSearch},
};

#[tokio::test]
async fn an_order_just_placed_is_read_by_who_placed_it() {
    let mut shop = Shop::open().await;
    let projector = shop.projector();
    shop.append(vec![life::listed("A", "Lantern", "Candles", 255), life::received("A", 10)]).await;
    let position = shop.append(vec![life::place(1)]).await;

    projector.views.wait_for(View::Order, &position, Duration::from_secs(20)).await.expect("in time");
    let read = projector.views.order(life::order_id(1)).await.expect("built");
    assert_eq!(read.value.map(|order| order.position), Some(position.position));
    assert!(read.position.position >= position.position);

    projector.indexes.wait_for(SearchIndex::Orders, &position, Duration::from_secs(20)).await.expect("in time");
    let search = OrderSearch { text: Some("inv-1".into()), limit: 10, ..OrderSearch::default() };
    let hits = projector.indexes.search_orders(search).await.expect("built");
    assert_eq!(hits.value.items.iter().map(|order| order.id).collect::<Vec<_>>(), [life::order_id(1)]);
    assert!(hits.position.position >= position.position);

    let other_process = shop.views();
    other_process.wait_for(View::Stock, &position, Duration::from_secs(20)).await.expect("in time");
    let stock = other_process.stock(&life::sku("A")).await.expect("built").value.expect("received");
    assert_eq!((stock.total.on_hand, stock.locations.len()), (10, 1));
    assert!(other_process.product(&life::sku("A")).await.expect("built").value.is_some());
    assert_eq!(other_process.order(life::order_id(2)).await.expect("built").value, None);
    projector.stop().await;
}

#[tokio::test]
async fn a_search_that_waits_in_another_process_is_not_kept_waiting_for_the_next_commit() {
    let mut shop = Shop::open().await;
    shop.config.commit_interval_ms = 600_000;
    let projector = shop.projector();
    let position = shop.append(vec![life::place(1)]).await;
    projector.reaches(&position).await;
    let other_process = shop.indexes();
    for n in 2..5 {
        let position = shop.append(vec![life::place(n)]).await;
        for index in SearchIndex::ALL {
            other_process.wait_for(index, &position, Duration::from_secs(20)).await.expect("it commits early");
        }
    }
    projector.stop().await;
}

#[tokio::test]
async fn a_customers_orders_come_newest_first_page_by_page() {
    let mut shop = Shop::open().await;
    let projector = shop.projector();
    let mut position = None;
    for n in 0..25_u128 {
        // One append each: a list's order is that of time.
        position = Some(shop.append(vec![life::place(n * 10), life::place(n * 10 + 1)]).await);
    }
    projector.reaches(&position.expect("25 were placed")).await;
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let read = projector.views.customer_orders(&life::customer(0), after.as_ref(), 10).await.expect("built");
        seen.extend(read.value.items.iter().map(|order| order.id));
        assert!(read.value.items.iter().all(|order| order.customer_id == life::customer(0)));
        after = read.value.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, (0..25).rev().map(|n| life::order_id(n * 10)).collect::<Vec<_>>());
    let nobody = projector.views.customer_orders(&"nobody".parse().expect("plain"), None, 10).await.expect("built");
    assert_eq!((nobody.value.items.len(), nobody.value.next), (0, None));
    projector.stop().await;
}

#[tokio::test]
async fn what_is_not_built_is_never_not_found() {
    let shop = Shop::open().await;
    let views = shop.views();
    assert!(matches!(views.order(life::order_id(1)).await, Err(ReadError::NotBuilt { .. })));
    assert!(matches!(views.customer_orders(&life::customer(1), None, 10).await, Err(ReadError::NotBuilt { .. })));
    assert!(matches!(views.position(View::Stock).await, Err(ReadError::NotBuilt { .. })));
    let found = shop.indexes().search_products(ProductSearch::default()).await;
    assert!(matches!(found, Err(ReadError::NotBuilt { .. })));
}

#[tokio::test]
async fn a_reader_whose_redis_is_gone_is_told_so_in_time() {
    let shop = Shop::open().await;
    let config = crate::Config { redis_url: "redis://127.0.0.1:1".into(), ..shop.config.clone() };
    let views = crate::Views::new(&config, shop.log.id().clone(), None).expect("a good URL");
    let answer = tokio::time::timeout(Duration::from_secs(3), views.order(life::order_id(1))).await.expect("in time");
    assert!(matches!(answer, Err(ReadError::Unavailable { .. })));
}

#[tokio::test]
async fn a_page_that_matches_nothing_still_advances() {
    let mut shop = Shop::open().await;
    let projector = shop.projector();
    let lists = (0..50).map(|n| life::listed(&format!("P{n}"), "Lantern", "Candles", 100)).collect();
    let position = shop.append(lists).await;
    projector.reaches(&position).await;
    assert_eq!(projector.views.position(View::Order).await.expect("built"), position);
    assert_eq!(projector.indexes.position(SearchIndex::Orders).await.expect("built"), position);
    projector.stop().await;
}

#[tokio::test]
async fn who_waits_in_vain_learns_how_far_it_is() {
    let mut shop = Shop::open().await;
    let projector = shop.projector();
    let position = shop.append(vec![life::place(1)]).await;
    projector.reaches(&position).await;
    let beyond = LogPosition::new(shop.log.id().clone(), Position(position.position.0 + 1));
    let answer = projector.views.wait_for(View::Order, &beyond, Duration::from_millis(50)).await;
    assert!(matches!(answer, Err(ReadError::Behind { reached, .. }) if reached == position));
    let elsewhere = "eu-1:1".parse().expect("a position");
    let answer = projector.views.wait_for(View::Order, &elsewhere, Duration::from_millis(50)).await;
    assert!(matches!(answer, Err(ReadError::OtherLog { .. })));
    projector.stop().await;
}

#[tokio::test]
async fn an_emptied_redis_is_built_again() {
    let mut shop = Shop::open().await;
    let projector = shop.projector();
    let position = shop.append(life::completed(1)).await;
    projector.reaches(&position).await;
    let before = projector.views.order(life::order_id(1)).await.expect("built").value;
    shop.redis(&["FLUSHDB"]).await;
    assert!(matches!(projector.views.order(life::order_id(1)).await, Err(ReadError::NotBuilt { .. }) | Ok(_)));
    let after =
        eventually("the view is built again", async || projector.views.order(life::order_id(1)).await.ok()).await;
    assert_eq!((after.value, after.position), (before, position));
    let next = shop.append(life::completed(2)).await;
    projector.reaches(&next).await;
    projector.stop().await;
}

#[tokio::test]
async fn a_deleted_index_is_built_again() {
    let mut shop = Shop::open().await;
    let projector = shop.projector();
    let position = shop.append(life::completed(1)).await;
    projector.reaches(&position).await;
    std::fs::remove_dir_all(shop.config.index_dir.join("order-index")).expect("it was there");
    let next = shop.append(life::completed(2)).await;
    projector.reaches(&next).await;
    let search = OrderSearch { limit: 10, ..OrderSearch::default() };
    assert_eq!(projector.indexes.search_orders(search).await.expect("built").value.total, 2);
    projector.stop().await;
}

#[tokio::test]
async fn a_projector_goes_on_where_the_one_before_stopped() {
    let mut shop = Shop::open().await;
    let first = shop.projector();
    let position = shop.append(life::completed(1)).await;
    first.reaches(&position).await;
    first.stop().await;
    let position = shop.append(life::completed(2)).await;
    let second = shop.projector();
    second.reaches(&position).await;
    for n in [1, 2] {
        let order = second.views.order(life::order_id(n)).await.expect("built").value.expect("placed");
        assert_eq!(order.timeline.len(), 33);
    }
    second.stop().await;
}

#[tokio::test]
async fn an_event_that_cannot_be_read_stops_with_a_clear_state_and_what_came_before_is_there() {
    let mut shop = Shop::open().await;
    let projector = shop.projector();
    let position = shop.append(vec![life::place(1)]).await;
    projector.reaches(&position).await;
    let position = shop.append(vec![life::place(2)]).await;
    shop.append_unreadable().await;
    projector.reaches(&position).await;
    let stopped = || {
        if let ProjectionState::Stopped { reason } = projector.handle.state("order-view") { Some(reason) } else { None }
    };
    let reason = eventually("it stops", async || stopped()).await;
    assert!(reason.contains("cannot read the event at position 3"), "{reason}");
    assert!(reason.contains("OrderTeleported v1 is not known to this release"), "{reason}");
    assert!(projector.views.order(life::order_id(2)).await.expect("it goes on answering").value.is_some());
    projector.stop().await;
}

#[tokio::test]
async fn each_projection_shows_that_it_applied_each_event_once_and_stops_where_it_did_not() {
    let mut shop = Shop::open().await;
    let projector = shop.projector();
    let position = shop.append((1..=5).map(life::place).collect()).await;
    projector.reaches(&position).await;
    let verified = |at: i64| {
        projector
            .handle
            .gauges()
            .iter()
            .all(|gauge| gauge.logs.iter().all(|log| log.verified_position == at))
            .then_some(())
    };
    eventually("every projection is verified", async || verified(5)).await;
    // Behind everybody's back, and not the event at which they stand.
    let replace = sqlx::query("UPDATE events SET event_id = gen_random_uuid() WHERE position = 3");
    replace.execute(&shop.superuser().await).await.expect("a superuser may");
    shop.append(vec![life::place(6)]).await;
    for name in PROJECTIONS {
        let stopped = || {
            if let ProjectionState::Stopped { reason } = projector.handle.state(name) { Some(reason) } else { None }
        };
        let reason = eventually("it stops", async || stopped()).await;
        assert!(reason.contains("what was applied as the event at position 3 is not the event"), "{reason}");
    }
    projector.stop().await;
}

#[tokio::test]
async fn a_log_that_was_away_for_long_is_followed_again_by_all() {
    let (postgres, mut shop) = Shop::behind_a_proxy().await;
    let projector = shop.projector();
    let position = shop.append(vec![life::place(1)]).await;
    projector.reaches(&position).await;
    postgres.go_away();
    let waits = |name| matches!(projector.handle.state(name), ProjectionState::Retrying { .. });
    for name in PROJECTIONS {
        eventually("it says that it cannot read the log", async || waits(name).then_some(())).await;
    }
    postgres.come_back();
    let position = shop.append(vec![life::place(2)]).await;
    projector.reaches(&position).await;
    projector.stop().await;
}

#[tokio::test]
async fn after_a_log_was_away_one_of_two_projectors_still_takes_over_from_the_other() {
    let (postgres, mut shop) = Shop::behind_a_proxy().await;
    let projectors = [shop.projector(), shop.projector()];
    projectors[0].reaches(&shop.append(vec![life::place(1)]).await).await;
    postgres.go_away();
    for projector in &projectors {
        let waits = async || {
            let state = projector.handle.state("order-view");
            // The one that was fenced off stands still in any case.
            matches!(state, ProjectionState::Retrying { .. } | ProjectionState::Stopped { .. }).then_some(())
        };
        eventually("both notice", waits).await;
    }
    postgres.come_back();
    let position = eventually("the log answers", async || shop.log.head().await.ok()).await;
    assert_eq!(position, events::Position(1));
    let position = shop.append(vec![life::place(2)]).await;
    projectors[0].reaches(&position).await;
    let [first, second] = projectors;
    first.stop().await;
    let position = shop.append(vec![life::place(3)]).await;
    second.reaches(&position).await;
    second.stop().await;
}

#[tokio::test]
async fn how_all_stand_is_told_without_a_projector_in_the_process() {
    let mut shop = Shop::open().await;
    let projector = shop.projector();
    let position = shop.append(life::completed(1)).await;
    projector.reaches(&position).await;
    projector.stop().await;
    shop.append(life::completed(2)).await;
    let statuses = crate::statuses(&shop.views(), &shop.indexes(), &shop.logs(), None).await;
    assert_eq!(statuses.len(), crate::PROJECTIONS.len());
    for status in statuses {
        assert_eq!((status.position, status.lag_events), (Some(position.to_string()), Some(33)), "{}", status.name);
        assert!(status.lag_age_ms.is_some_and(|age| age >= 0));
    }
}

#[tokio::test]
async fn of_two_projectors_one_writes_and_the_other_takes_over() {
    let mut shop = Shop::open().await;
    let projectors = [shop.projector(), shop.projector()];
    let mut position = None;
    for n in 0..20 {
        position = Some(shop.append(life::completed(n)).await);
    }
    let position = position.expect("20 were appended");
    // Either may have won a view; together they get there, and nothing is applied twice.
    projectors[0].reaches(&position).await;
    for n in 0..20 {
        let order = shop.views().order(life::order_id(n)).await.expect("built").value.expect("placed");
        assert_eq!(order.timeline.len(), 33);
    }
    let [first, second] = projectors;
    first.stop().await;
    let position = shop.append(life::completed(20)).await;
    second.reaches(&position).await;
    second.stop().await;
}

#[tokio::test]
async fn documents_of_another_version_answer_until_the_new_ones_are_built() {
    let mut shop = Shop::open().await;
    let first = shop.projector();
    let position = shop.append(life::completed(1)).await;
    first.reaches(&position).await;
    first.stop().await;
    let head = "test:{order-view:g1}:head";
    let redis::Value::BulkString(text) = shop.redis(&["GET", head]).await else { panic!("there is a head") };
    let older = String::from_utf8(text).expect("text").replace(" v1", " v0");
    shop.redis(&["SET", head, &older]).await;
    assert!(shop.views().order(life::order_id(1)).await.expect("it answers").value.is_some());
    let second = shop.projector();
    let next = shop.append(life::completed(2)).await;
    second.reaches(&next).await;
    assert_eq!(second.handle.generation("order-view"), Some(2));
    assert!(second.views.order(life::order_id(1)).await.expect("built").value.is_some());
    second.stop().await;
}
