//! Blue and green: beside the live one, equal to it, switched in one step.

use local_services::testing::eventually;
use tokio_util::sync::CancellationToken;

use super::{life, shop::Shop};
use crate::{
    Certificate, OrderIndex, PROJECTIONS, Progress, ProjectionError, ReadModel, RebuildOptions, View, drop_previous,
    rebuild, switch_back,
};

async fn rebuilt(shop: &Shop, name: &str) -> Result<Certificate, ProjectionError> {
    rebuilt_with(shop, name, RebuildOptions::default()).await
}

async fn rebuilt_with(shop: &Shop, name: &str, options: RebuildOptions) -> Result<Certificate, ProjectionError> {
    rebuild(name, &shop.config, &shop.logs(), &options, &mut |_| (), &CancellationToken::new()).await
}

async fn stopped_at(shop: &Shop, name: &str, position: i64) {
    let stop = CancellationToken::new();
    let mut stop_soon = |progress: Progress| {
        if progress.position >= position {
            stop.cancel();
        }
    };
    let options = RebuildOptions::default();
    let error = rebuild(name, &shop.config, &shop.logs(), &options, &mut stop_soon, &stop).await.expect_err("stopped");
    assert!(matches!(error, ProjectionError::Interrupted { .. }), "{error}");
}

/// Takes an order's document out of a generation of the order view, behind everybody's back.
async fn lose_document(shop: &Shop, generation: u32, n: u128) {
    let id = life::order_id(n).to_string();
    let shard = crate::names::shard_of(&id);
    shop.redis(&["HDEL", &format!("test:{{order-view:g{generation}:{shard:02}}}:documents"), &id]).await;
}

/// Makes the first generation of the order index one of the release before.
fn age_index(shop: &Shop) {
    let meta = shop.config.index_dir.join("order-index/g1/meta.json");
    let text = std::fs::read_to_string(&meta).expect("it is committed");
    std::fs::write(meta, text.replace(&format!(" v{} ", OrderIndex::VERSION), " v0 ")).expect("writable");
}

/// Makes the first generation of the order view one of the release before.
pub(super) async fn age(shop: &Shop) {
    let head = "test:{order-view:g1}:head";
    let redis::Value::BulkString(text) = shop.redis(&["GET", head]).await else { panic!("there is a head") };
    let older = String::from_utf8(text).expect("text").replace(" v1", " v0");
    shop.redis(&["SET", head, &older]).await;
}

#[tokio::test]
async fn every_projection_rebuilt_equals_the_live_one() {
    let mut shop = Shop::open().await;
    let projector = shop.projector();
    let mut events = vec![life::listed("A", "Lantern", "Candles", 255), life::received("A", 100)];
    events.extend((0..20).flat_map(life::completed));
    events.extend((20..30).flat_map(life::refused));
    let position = shop.append(events).await;
    projector.reaches(&position).await;
    for name in PROJECTIONS {
        let certificate = rebuilt(&shop, name).await.expect("equal");
        assert!(certificate.equal && certificate.documents_compared, "{certificate:?}");
        assert_eq!((certificate.to, certificate.events), (position.to_string(), position.position.0));
        assert_eq!((certificate.compared_with, certificate.generation), (Some(1), 2));
        assert!(certificate.documents > 0);
    }
    // The live projector goes on with the new generation.
    let next = shop.append(life::completed(50)).await;
    projector.reaches(&next).await;
    assert!(projector.views.order(life::order_id(50)).await.expect("built").value.is_some());
    projector.stop().await;
}

#[tokio::test]
async fn a_rebuild_under_load_ends_equal_and_nobody_notices() {
    let mut shop = Shop::open().await;
    let projector = shop.projector();
    let position = shop.append((0..100).flat_map(life::completed).collect()).await;
    projector.reaches(&position).await;
    let (config, log) = (shop.config.clone(), shop.log.clone());
    let mut task = tokio::task::JoinSet::new();
    task.spawn(async move {
        rebuild("order-view", &config, &[log], &RebuildOptions::default(), &mut |_| (), &CancellationToken::new()).await
    });
    let mut n = 1_000;
    let certificate = loop {
        shop.append(life::completed(n)).await;
        n += 1;
        let read = projector.views.order(life::order_id(1)).await.expect("it answers all the time");
        assert!(read.value.is_some(), "an order that was placed is never gone");
        if let Some(done) = task.try_join_next() {
            break done.expect("no panic").expect("equal");
        }
    };
    assert!(certificate.equal, "{certificate:?}");
    let last = shop.append(life::completed(n)).await;
    projector.reaches(&last).await;
    assert_eq!(rebuilt(&shop, "order-view").await.expect("equal").documents, 100 + n as u64 - 1_000 + 1);
    projector.stop().await;
}

#[tokio::test]
async fn a_rebuild_needs_no_projector() {
    let mut shop = Shop::open().await;
    let position = shop.append((0..10).flat_map(life::completed).collect()).await;
    let first = rebuilt(&shop, "order-view").await.expect("there is nothing to differ from");
    assert_eq!((first.compared_with, first.generation, first.equal), (None, 1, true));
    shop.append(life::completed(77)).await;
    let second = rebuilt(&shop, "order-view").await.expect("the old one is brought forward and equal");
    assert!(second.equal && second.compared_with == Some(1), "{second:?}");
    assert!(shop.views().position(View::Order).await.expect("built").position > position.position);
}

#[tokio::test]
async fn a_document_altered_from_outside_is_found_and_repaired_only_on_request() {
    let mut shop = Shop::open().await;
    shop.append((0..10).flat_map(life::completed).collect()).await;
    rebuilt(&shop, "order-view").await.expect("built");
    let id = life::order_id(3);
    lose_document(&shop, 1, 3).await;
    let error = rebuilt(&shop, "order-view").await.expect_err("they differ");
    let ProjectionError::Different { count, examples, .. } = &error else { panic!("{error}") };
    assert_eq!((*count, examples), (1, &vec![id.to_string()]));
    assert_eq!(shop.views().order(id).await.expect("the old one goes on answering").value, None);
    let options = RebuildOptions { accept_differences: true, ..RebuildOptions::default() };
    let certificate = rebuilt_with(&shop, "order-view", options).await.expect("accepted");
    assert_eq!((certificate.equal, certificate.differences_count), (false, 1));
    assert_eq!(certificate.differences, vec![id.to_string()]);
    assert!(shop.views().order(id).await.expect("built").value.is_some());
}

#[tokio::test]
async fn what_differed_is_not_gone_on_with() {
    let mut shop = Shop::open().await;
    shop.append((0..30).flat_map(life::completed).collect()).await;
    rebuilt(&shop, "order-view").await.expect("built");
    stopped_at(&shop, "order-view", 500).await;
    lose_document(&shop, 2, 0).await;
    let error = rebuilt(&shop, "order-view").await.expect_err("it resumes, and differs");
    assert!(matches!(error, ProjectionError::Different { count: 1, .. }), "{error}");
    assert!(error.to_string().contains("what was built is dropped"), "{error}");
    let certificate = rebuilt(&shop, "order-view").await.expect("it begins anew");
    assert_eq!((certificate.equal, certificate.events, certificate.generation), (true, 30 * 33, 3));
}

#[tokio::test]
async fn what_differs_from_another_version_is_counted_and_named_and_switched_to_only_on_request() {
    let mut shop = Shop::open().await;
    let before = shop.append((0..30).flat_map(life::completed).collect()).await;
    rebuilt(&shop, "order-view").await.expect("built");
    for n in 0..25 {
        lose_document(&shop, 1, n).await;
    }
    age(&shop).await;
    // Nobody runs the release before any more: what it left is compared where it stands.
    let position = shop.append(life::completed(50)).await;
    let error = rebuilt(&shop, "order-view").await.expect_err("not accepted");
    let ProjectionError::Different { ours: 1, built_by: 0, count: 25, examples, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(examples.len(), 20);
    assert_eq!(shop.views().position(View::Order).await.expect("the old one goes on answering"), before);
    let options = RebuildOptions { accept_differences: true, ..RebuildOptions::default() };
    let certificate = rebuilt_with(&shop, "order-view", options).await.expect("accepted");
    assert_eq!((certificate.equal, certificate.documents_compared), (false, true));
    assert_eq!((certificate.differences_count, &certificate.differences), (25, examples));
    assert_eq!(certificate.compared_version.as_deref(), Some("order-view v0"));
    assert_eq!((certificate.compared_at, certificate.to), (Some(before.to_string()), position.to_string()));
    assert_eq!(shop.views().position(View::Order).await.expect("built"), position);
}

#[tokio::test]
async fn another_version_that_says_the_same_needs_no_request() {
    let mut shop = Shop::open().await;
    let before = shop.append((0..10).flat_map(life::completed).collect()).await;
    for name in ["order-view", "order-index"] {
        rebuilt(&shop, name).await.expect("built");
    }
    let position = shop.append((10..20).flat_map(life::completed).collect()).await;
    // Half built by this release, and already beyond what the one before has left.
    for name in ["order-view", "order-index"] {
        stopped_at(&shop, name, 500).await;
    }
    age(&shop).await;
    age_index(&shop);
    for name in ["order-view", "order-index"] {
        let error = rebuilt(&shop, name).await.expect_err("they never stand at the same position");
        assert!(matches!(error, ProjectionError::Incomparable { .. }), "{error}");
        let options = RebuildOptions { from_scratch: true, ..RebuildOptions::default() };
        let certificate = rebuilt_with(&shop, name, options).await.expect("equal");
        assert_eq!((certificate.equal, certificate.differences_count, certificate.documents), (true, 0, 20));
        assert_eq!(certificate.compared_version, Some(format!("{name} v0")));
        assert_eq!((certificate.compared_at, certificate.to), (Some(before.to_string()), position.to_string()));
    }
}

#[tokio::test]
async fn a_rebuild_that_was_stopped_resumes() {
    let mut shop = Shop::open().await;
    shop.append((0..50).flat_map(life::completed).collect()).await;
    for name in ["order-view", "order-index"] {
        stopped_at(&shop, name, 500).await;
        let certificate = rebuilt(&shop, name).await.expect("it resumes");
        assert!(certificate.events < 50 * 33, "{certificate:?}");
        assert_eq!((certificate.documents, certificate.generation), (50, 1));
    }
}

#[tokio::test]
async fn a_construction_that_is_not_made_of_each_event_once_is_dropped_and_never_answers() {
    let mut shop = Shop::open().await;
    shop.append((0..50).flat_map(life::completed).collect()).await;
    for name in ["order-view", "order-index"] {
        stopped_at(&shop, name, 500).await;
        // Behind everybody's back: what was folded is no longer what the log holds.
        let replace = sqlx::query("UPDATE events SET event_id = gen_random_uuid() WHERE position = 100");
        replace.execute(&shop.superuser().await).await.expect("a superuser may");
        let error = rebuilt(&shop, name).await.expect_err("it resumes, and is not what it should be");
        let reason = crate::failure::chain(&error);
        assert!(reason.contains("what was applied as the event at position 100 is not the event"), "{reason}");
        let certificate = rebuilt(&shop, name).await.expect("it begins anew");
        assert_eq!((certificate.events, certificate.documents), (50 * 33, 50));
    }
}

#[tokio::test]
async fn the_generation_before_can_be_switched_back_to_or_dropped() {
    let mut shop = Shop::open().await;
    let projector = shop.projector();
    let position = shop.append((0..10).flat_map(life::completed).collect()).await;
    projector.reaches(&position).await;
    for name in ["order-view", "product-index"] {
        rebuilt(&shop, name).await.expect("equal");
        assert_eq!(switch_back(name, &shop.config).await.expect("it is kept"), 1);
        let next = shop.append(vec![life::received("A", 1)]).await;
        projector.reaches(&next).await;
        eventually("the projector follows", async || (projector.handle.generation(name) == Some(1)).then_some(()))
            .await;
        drop_previous(name, &shop.config).await.expect("it is kept");
        assert!(switch_back(name, &shop.config).await.is_err());
    }
    projector.stop().await;
}

#[tokio::test]
async fn a_projection_that_does_not_exist_is_named() {
    let shop = Shop::open().await;
    let error = rebuilt(&shop, "nothing-view").await.expect_err("no such projection");
    assert_eq!(error.to_string(), "there is no projection \"nothing-view\"");
}
