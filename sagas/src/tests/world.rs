//! All roles of this crate in one process, against a database, a virtual host and a provider of a test's own.

use std::{str::FromStr, sync::Arc, time::Duration};

use events::{
    Actor, CommandId, Currency, CustomerId, Delivery, DomainEvent, LocationId, LogId, Metadata, Money, OrderId,
    Position, SystemClock, SystemIds, Tenant, Wake,
    inventory::StockLine,
    order::{OrderLine, OrderPlaced},
    participant::Participant,
    product::ProductKind,
    schema,
};
use local_services::testing::{TestDatabase, TestServices, TestVhost, eventually};
use sqlx::postgres::PgPoolOptions;
use tokio::task::JoinSet;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;
use write_side::{
    Context, Deciders, EventStore, StoreConfig,
    domain::{
        inventory::{Inventory, InventoryCommand},
        order::{Order, OrderCommand},
    },
    handle,
};

use super::{play::in_words, provider::Provider};
use crate::{Config, Health, participants, relay, relay::RelayHealth, runner};

pub(super) struct World {
    pub store: EventStore,
    pub config: Config,
    pub provider: Provider,
    pub vhost: TestVhost,
    pub health: RelayHealth,
    roles: JoinSet<Result<(), crate::Error>>,
    stop: CancellationToken,
    tracker: TaskTracker,
    _database: TestDatabase,
}

impl World {
    /// Servers and stock, without any role.
    pub(super) async fn new() -> Self {
        let services = TestServices::shared().await;
        let database =
            services.fresh_database(&schema::fingerprint(), async |url: String| schema::install(&url).await).await;
        let vhost = services.fresh_vhost().await;
        let pool = PgPoolOptions::new().max_connections(12).connect(&database.url(schema::SERVICE)).await;
        let (pool, tracker) = (pool.expect("the test database is there"), TaskTracker::new());
        let (clock, ids) = (Arc::new(SystemClock), Arc::new(SystemIds));
        let settings = StoreConfig::default();
        let store = EventStore::start(settings, pool, LogId::default(), clock, ids, Wake::default(), &tracker).await;
        let store = store.expect("the store starts");
        let provider = Provider::start(store.clone()).await;
        let config = impatient(&vhost.url(), &provider.url);
        let (roles, stop) = (JoinSet::new(), CancellationToken::new());
        let health = RelayHealth::default();
        let world = Self { store, config, provider, vhost, health, roles, stop, tracker, _database: database };
        world.receive(1_000).await;
        world
    }

    pub(super) async fn running() -> Self {
        let mut world = Self::new().await;
        world.start_engine();
        world.start_others();
        world
    }

    pub(super) fn start_engine(&mut self) {
        let running = runner::run(self.config.clone(), self.store.clone(), Health::default(), self.stop.clone());
        self.roles.spawn(running);
    }

    pub(super) fn start_others(&mut self) {
        self.start_relay();
        self.start_participants();
    }

    pub(super) fn start_relay(&mut self) {
        let relay = relay::run(self.config.clone(), self.store.clone(), self.health.clone(), self.stop.clone());
        self.roles.spawn(relay);
    }

    pub(super) fn start_participants(&mut self) {
        for participant in [Participant::Inventory, Participant::Payment, Participant::Shipping] {
            let (config, store) = (self.config.clone(), self.store.clone());
            let owners = Deciders::new(store.clone(), self.tracker.clone());
            let (health, stop) = (Health::default(), self.stop.clone());
            self.roles.spawn(participants::run(config, participant, store, owners, health, stop));
        }
    }

    /// Drops every role where it stands, as a crash does.
    pub(super) async fn crash(&mut self) {
        self.roles.shutdown().await;
    }

    /// Ends every role in order, and tells of any that failed.
    pub(super) async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.roles.join_next().await {
            ended.expect("no role panics").expect("no role fails");
        }
        self.provider.assert_applied_once();
    }

    async fn receive(&self, quantity: u32) {
        let location = location();
        let lines = vec![StockLine { sku: "85123A".parse().expect("a plain SKU"), quantity }];
        let receive = InventoryCommand::Receive { location: location.clone(), lines, reference: "PO-1".into() };
        let context = context("receipt", Uuid::nil());
        handle::<Inventory>(&self.store, &location.stream(), receive, &context).await.expect("stock is received");
    }

    pub(super) async fn place(&self, name: &str, token: &str, service: &str) -> OrderId {
        let order_id = OrderId::of(CommandId::of(&["test", name]));
        let place = OrderCommand::Place { order: order(order_id, token, service) };
        handle::<Order>(&self.store, &order_id.stream(), place, &context(name, order_id.0))
            .await
            .expect("it is placed");
        order_id
    }

    pub(super) async fn cancel(&self, order_id: OrderId) {
        let cancel = OrderCommand::RequestCancellation { reason: "changed my mind".into() };
        let context = context(&format!("cancel {order_id}"), order_id.0);
        handle::<Order>(&self.store, &order_id.stream(), cancel, &context).await.expect("it may be cancelled");
    }

    /// The saga's stream in words.
    pub(super) async fn story(&self, order_id: OrderId) -> Vec<String> {
        let events = self.store.log().stream(&order_id.fulfilment_stream(), 0, 500).await.expect("the log is there");
        let of_saga = |event: &events::Recorded<DomainEvent>| {
            let DomainEvent::Fulfilment(event) = &event.payload else { panic!("{event:?} in a saga's stream") };
            in_words(event)
        };
        events.iter().map(of_saga).collect()
    }

    /// Waits until the saga's stream says `word`.
    pub(super) async fn until(&self, order_id: OrderId, word: &str) -> Vec<String> {
        self.until_any(order_id, &[word]).await
    }

    /// Waits until the saga's stream says one of the words.
    pub(super) async fn until_any(&self, order_id: OrderId, words: &[&str]) -> Vec<String> {
        eventually(&format!("one of {words:?}"), async || {
            let story = self.story(order_id).await;
            if story.iter().any(|said| words.contains(&said.as_str())) {
                return Ok(story);
            }
            Err(format!("{story:#?}"))
        })
        .await
    }

    pub(super) async fn head(&self) -> Position {
        self.store.log().head().await.expect("the log is there")
    }

    /// Waits until the lane of commands has come that far, confirmed by the broker.
    pub(super) async fn until_published(&self, position: Position) {
        eventually(&format!("the relay comes to {position}"), async || {
            let reached = self.health.commands.read().position;
            if reached >= position.0 { Ok(()) } else { Err(format!("it is at {reached}")) }
        })
        .await;
    }

    /// Waits until the log has come to that position.
    pub(super) async fn until_at(&self, wanted: i64) {
        eventually(&format!("the log comes to {wanted}"), async || {
            let head = self.head().await.0;
            if head >= wanted { Ok(()) } else { Err(format!("it is at {head}")) }
        })
        .await;
    }

    pub(super) async fn stream_types(&self, stream: &events::StreamId) -> Vec<&'static str> {
        let events = self.store.log().stream(stream, 0, 500).await.expect("the log is there");
        events.iter().map(|event| event.payload.event_type()).collect()
    }
}

fn impatient(amqp_url: &str, provider_url: &str) -> Config {
    let mut config = Config { amqp_url: amqp_url.into(), ..Config::default() };
    config.times.resend_first_ms = Duration::from_millis(400);
    config.times.resend_max_ms = Duration::from_secs(1);
    config.times.poll_ms = Duration::from_millis(50);
    config.runner.lease_ms = Duration::from_secs(1);
    config.runner.flush_ms = Duration::from_millis(50);
    config.broker.canary_ms = Duration::from_millis(500);
    config.broker.timeout_ms = Duration::from_secs(5);
    config.providers.payment_url = provider_url.into();
    config.providers.carrier_url = provider_url.into();
    config.providers.timeout_ms = Duration::from_millis(500);
    config.providers.pause_ms = Duration::from_millis(20);
    config
}

fn location() -> LocationId {
    LocationId::from_str("main").expect("a plain id")
}

fn context(name: &str, correlation_id: Uuid) -> Context {
    Context {
        command_id: CommandId::of(&["test", name]),
        correlation_id,
        actor: Actor::service("test"),
        tenant: Tenant::default(),
        traceparent: None,
        business_time: None,
        body_hash: None,
        once_in: None,
    }
}

pub(super) fn metadata(order_id: OrderId) -> Metadata {
    context("metadata", order_id.0).metadata()
}

fn order(order_id: OrderId, token: &str, service: &str) -> OrderPlaced {
    let (price, total) = (Money::new(250, Currency::GBP), Money::new(500, Currency::GBP));
    OrderPlaced {
        order_id,
        customer_id: CustomerId::from_str("17850").expect("a plain id"),
        lines: vec![OrderLine {
            sku: "85123A".parse().expect("a plain SKU"),
            kind: ProductKind::Goods,
            quantity: 2,
            unit_price: price,
            total,
            product_version: None,
        }],
        total,
        payment_token: token.into(),
        delivery: Delivery {
            recipient: "A. Shopper".into(),
            street: "1 High Street".into(),
            city: "Leeds".into(),
            postal_code: "LS1 1AA".into(),
            country: "GB".into(),
            service: service.into(),
        },
        location: location(),
        reference: None,
    }
}
