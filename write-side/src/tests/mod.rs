//! The store, the handler and the deciders against a real Postgres, a database per test.

mod ahead;
mod deciders;
mod event_store;
mod failover;
mod faults;
mod handler;
mod interleavings;
mod loading;
mod outsider;
mod plans;
mod replay;
mod server_faults;
mod snapshots;
mod tally;
mod upkeep;
mod vouching;

use std::{
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant},
};

use events::{
    Actor, CommandId, CustomerId, Delivery, LocationId, LogId, Money, OrderId, SystemClock, SystemIds, Tenant, Wake,
    order::{OrderLine, OrderPlaced},
    product::ProductKind,
    schema::{self, SchemaError},
};
use local_services::testing::{TestDatabase, TestServices, eventually};
use sqlx::{Connection, PgConnection, PgPool, migrate::Migrator, postgres::PgPoolOptions};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::{Context, EventStore, StoreConfig};

/// A store on a database of its own.
struct Fixture {
    store: EventStore,
    database: TestDatabase,
    tracker: TaskTracker,
}

impl Fixture {
    async fn new() -> Self {
        Self::with(StoreConfig::default()).await
    }

    async fn with(config: StoreConfig) -> Self {
        let services = TestServices::shared().await;
        let database =
            services.fresh_database(&schema::fingerprint(), async |url: String| schema::install(&url).await).await;
        Self::on(database, config).await
    }

    /// On a database that the migrations from `version` on have not reached.
    async fn before_migration(version: i64) -> Self {
        let services = TestServices::shared().await;
        let older = schema::MIGRATOR.iter().filter(|migration| migration.version < version).cloned().collect();
        let older = Migrator { migrations: older, ..Migrator::DEFAULT };
        let install = async |url: String| {
            schema::ensure_roles(&url).await?;
            older.run(&mut PgConnection::connect(&url).await.expect("the database was just made")).await?;
            Ok::<_, SchemaError>(())
        };
        let name = format!("before_{version}_{}", schema::fingerprint());
        Self::on(services.fresh_database(&name, install).await, StoreConfig::default()).await
    }

    async fn on(database: TestDatabase, config: StoreConfig) -> Self {
        let tracker = TaskTracker::new();
        let store = store(config, &database.url(schema::SERVICE), &tracker).await;
        Self { store, database, tracker }
    }

    /// The store of a process that starts now.
    async fn again(&self) -> EventStore {
        store(StoreConfig::default(), &self.database.url(schema::SERVICE), &self.tracker).await
    }

    async fn superuser(&self) -> PgPool {
        pool(&self.database.superuser_url()).await
    }
}

async fn store(config: StoreConfig, url: &str, tracker: &TaskTracker) -> EventStore {
    store_over(pool(url).await, config, tracker).await
}

async fn store_over(pool: PgPool, config: StoreConfig, tracker: &TaskTracker) -> EventStore {
    let (clock, ids) = (Arc::new(SystemClock), Arc::new(SystemIds));
    let store = EventStore::start(config, pool, LogId::default(), clock, ids, Wake::default(), tracker).await;
    store.expect("the store starts")
}

async fn pool(url: &str) -> PgPool {
    PgPoolOptions::new().max_connections(8).connect(url).await.expect("the test database is there")
}

/// Until a question to the server is answered with yes.
async fn until(pool: &PgPool, what: &str, question: &str) {
    eventually(what, async || sqlx::query_scalar::<_, bool>(question).fetch_one(pool).await.expect(what)).await;
}

/// Makes ids of events that tell a number.
const UUID_OF: &str = "CREATE FUNCTION uuid_of(n bigint) RETURNS uuid LANGUAGE sql AS \
    $$ SELECT ('00000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid $$";

/// Seeds of a test that is repeated: so many in the ordinary run; under `just soak` until its minutes are over.
fn seeds(few: u64) -> impl Iterator<Item = u64> {
    let minutes =
        std::env::var("WAYBILL_SOAK_MINUTES").ok().map(|minutes| minutes.parse().expect("a number of minutes"));
    let until = minutes.map(|minutes: u64| Instant::now() + Duration::from_secs(60 * minutes));
    (1..).take_while(move |seed| *seed <= few || until.is_some_and(|until| Instant::now() < until))
}

fn command(name: &str) -> CommandId {
    CommandId::of(&["test", name])
}

fn context(command_id: CommandId) -> Context {
    Context {
        command_id,
        correlation_id: Uuid::nil(),
        actor: Actor::service("test"),
        tenant: Tenant::default(),
        traceparent: None,
        business_time: None,
        body_hash: None,
        once_in: None,
    }
}

fn order(order_id: OrderId) -> OrderPlaced {
    let price = Money::new(250, events::Currency::GBP);
    OrderPlaced {
        order_id,
        customer_id: CustomerId::from_str("17850").expect("a plain id"),
        lines: vec![OrderLine {
            sku: "85123A".parse().expect("a plain SKU"),
            kind: ProductKind::Goods,
            quantity: 2,
            unit_price: price,
            total: Money::new(500, events::Currency::GBP),
            product_version: Some(1),
        }],
        total: Money::new(500, events::Currency::GBP),
        payment_token: "tok_ok".into(),
        delivery: Delivery {
            recipient: "A. Shopper".into(),
            street: "1 High Street".into(),
            city: "Leeds".into(),
            postal_code: "LS1 1AA".into(),
            country: "GB".into(),
            service: "standard".into(),
        },
        location: location(),
        reference: None,
    }
}

fn location() -> LocationId {
    LocationId::from_str("main").expect("a plain id")
}
