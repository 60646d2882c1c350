//! Redis killed, started again empty, full, and set to evict: on a server of the test's own.

use std::{
    net::{Ipv4Addr, TcpListener},
    process::Stdio,
    time::Duration,
};

use local_services::testing::eventually;
use tokio::process::{Child, Command};

use super::{life, shop::Shop};
use crate::{Config, ProjectionState, ReadError, View};

/// A server that keeps nothing on disk and dies with this value.
struct OwnRedis {
    port: u16,
    server: Child,
}

impl OwnRedis {
    async fn start(port: u16, settings: &[&str]) -> Self {
        let server = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port.to_string()])
            .args(settings)
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("redis-server is installed");
        let own = Self { port, server };
        let client = redis::Client::open(own.url()).expect("a good URL");
        eventually("the server answers", async || client.get_multiplexed_async_connection().await.ok()).await;
        own
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    async fn kill(mut self) {
        self.server.kill().await.expect("it ran");
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

async fn shop_on(redis: &OwnRedis) -> Shop {
    let mut shop = Shop::open().await;
    shop.config = Config { redis_url: redis.url(), ..shop.config };
    shop
}

#[tokio::test]
async fn a_redis_that_died_and_came_back_empty_is_built_again() {
    let redis = OwnRedis::start(free_port(), &[]).await;
    let mut shop = shop_on(&redis).await;
    let projector = shop.projector();
    let position = shop.append(life::completed(1)).await;
    projector.reaches(&position).await;
    let port = redis.port;
    redis.kill().await;
    assert!(matches!(projector.views.order(life::order_id(1)).await, Err(ReadError::Unavailable { .. })));
    // Events go on coming, and the indexes go on taking them.
    let position = shop.append(life::completed(2)).await;
    let index = crate::SearchIndex::Orders;
    projector.indexes.wait_for(index, &position, Duration::from_secs(20)).await.expect("search does not need Redis");
    let _redis = OwnRedis::start(port, &[]).await;
    projector.reaches(&position).await;
    for n in [1, 2] {
        let order = projector.views.order(life::order_id(n)).await.expect("built").value.expect("placed");
        assert_eq!(order.timeline.len(), 33);
    }
    projector.stop().await;
}

#[tokio::test]
async fn a_redis_that_evicts_is_refused_and_says_what_to_set() {
    let redis = OwnRedis::start(free_port(), &["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]).await;
    let mut shop = shop_on(&redis).await;
    let projector = shop.projector();
    let position = shop.append(life::completed(1)).await;
    let reason = retrying(&projector.handle).await;
    assert!(reason.contains("set maxmemory-policy to noeviction (it is allkeys-lru)"), "{reason}");
    assert!(matches!(projector.views.position(View::Order).await, Err(ReadError::NotBuilt { .. })));
    command(&redis, &["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    projector.reaches(&position).await;
    projector.stop().await;
}

#[tokio::test]
async fn a_full_redis_holds_the_views_up_and_loses_nothing() {
    let redis = OwnRedis::start(free_port(), &["--maxmemory-policy", "noeviction"]).await;
    let mut shop = shop_on(&redis).await;
    let projector = shop.projector();
    let position = shop.append(life::completed(1)).await;
    projector.reaches(&position).await;
    command(&redis, &["CONFIG", "SET", "maxmemory", "1"]).await;
    let next = shop.append(life::completed(2)).await;
    let reason = retrying(&projector.handle).await;
    assert!(reason.contains("maxmemory"), "{reason}");
    let read = projector.views.order(life::order_id(1)).await.expect("what is there is read");
    assert_eq!(read.position, position);
    command(&redis, &["CONFIG", "SET", "maxmemory", "0"]).await;
    projector.reaches(&next).await;
    assert!(projector.views.order(life::order_id(2)).await.expect("built").value.is_some());
    projector.stop().await;
}

async fn retrying(handle: &crate::Handle) -> String {
    eventually("the projection says why it tries again", async || {
        if let ProjectionState::Retrying { reason } = handle.state("order-view") { Some(reason) } else { None }
    })
    .await
}

async fn command(redis: &OwnRedis, words: &[&str]) {
    let client = redis::Client::open(redis.url()).expect("a good URL");
    let mut connection = client.get_multiplexed_async_connection().await.expect("Redis is there");
    redis::cmd(words[0]).arg(&words[1..]).exec_async(&mut connection).await.expect("a good command");
}
