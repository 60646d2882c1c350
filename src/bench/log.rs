//! A log to measure: a private Postgres with durable settings, the schema, a store, and rows of a realistic size.

use std::{str::FromStr, sync::Arc, time::Duration};

use anyhow::Context as _;
use events::{
    Actor, CommandId, DomainEvent, EventPayload, Log, LogId, Metadata, NewEvent, OrderEvent, OrderId, StreamId,
    SystemClock, SystemIds, Tenant, Wake, schema,
};
use local_services::PrivatePostgres;
use sqlx::{PgConnection, PgPool, postgres::PgConnectOptions};
use tokio_util::task::TaskTracker;
use uuid::Uuid;
use write_side::{EventStore, StoreConfig};

use crate::database;

/// Bytes of JSON of one event's payload.
const PAYLOAD_BYTES: usize = 400;

pub(super) struct LogUnderTest {
    pub store: EventStore,
    pub pool: PgPool,
    options: PgConnectOptions,
    tracker: TaskTracker,
    _server: PrivatePostgres,
}

impl LogUnderTest {
    pub(super) async fn start(config: StoreConfig) -> anyhow::Result<Self> {
        let server = PrivatePostgres::create().await.context("cannot start a private Postgres")?;
        let admin = server.at().superuser_url("postgres");
        schema::ensure_roles(&admin).await?;
        schema::ensure_database(&admin, "waybill").await?;
        schema::migrate(&server.at().url("waybill", schema::OWNER)).await?;
        let pool = database::connect(&server.at().url("waybill", schema::SERVICE), 4).await?;
        let options = PgConnectOptions::from_str(&server.at().superuser_url("waybill"))?;
        let tracker = TaskTracker::new();
        let (clock, ids) = (Arc::new(SystemClock), Arc::new(SystemIds));
        let store =
            EventStore::start(config, pool.clone(), LogId::default(), clock, ids, Wake::default(), &tracker).await?;
        Ok(Self { store, pool, options, tracker, _server: server })
    }

    /// A connection beside the store, with the same socket and the same settings.
    pub(super) async fn connection(&self) -> anyhow::Result<PgConnection> {
        use sqlx::Connection;
        Ok(PgConnection::connect_with(&self.options).await?)
    }

    pub(super) fn log(&self) -> &Log {
        self.store.log()
    }

    /// The table that the limit writes to: the same columns and indexes, and nothing else.
    pub(super) async fn make_limit_table(&self) -> anyhow::Result<()> {
        let mut connection = self.connection().await?;
        sqlx::raw_sql(
            "CREATE TABLE IF NOT EXISTS limit_events (LIKE events INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE, \
             PRIMARY KEY (position), UNIQUE (stream_id, stream_version, position))",
        )
        .execute(&mut connection)
        .await?;
        Ok(())
    }

    pub(super) async fn stop(self) {
        drop(self.store);
        self.tracker.close();
        let _ = tokio::time::timeout(Duration::from_secs(5), self.tracker.wait()).await;
        self.pool.close().await;
    }
}

/// What every row of a benchmark holds: a real event, padded to its size.
#[derive(Clone)]
pub(super) struct Sample {
    pub event_type: &'static str,
    pub schema_version: i16,
    pub payload: String,
    pub metadata: String,
}

impl Sample {
    pub(super) fn new() -> Self {
        let order_id = OrderId(Uuid::from_u128(1));
        let reason = |length| "x".repeat(length);
        let event = |length| {
            DomainEvent::from(OrderEvent::from(events::order::OrderCancelled { order_id, reason: reason(length) }))
        };
        let room = PAYLOAD_BYTES - event(0).to_json().len();
        let event = event(room);
        let metadata = Metadata {
            correlation_id: order_id.0,
            causation_id: CommandId(Uuid::from_u128(2)),
            actor: Actor::service("storefront"),
            tenant: Tenant::default(),
            traceparent: None,
            business_time: None,
            body_hash: None,
        };
        Self {
            event_type: event.event_type(),
            schema_version: event.schema_version(),
            payload: event.to_json(),
            metadata: metadata.to_json(),
        }
    }

    pub(super) fn event(&self, event_id: Uuid) -> NewEvent {
        NewEvent {
            event_id,
            event_type: self.event_type,
            schema_version: self.schema_version,
            payload: self.payload.clone(),
            metadata: self.metadata.clone(),
        }
    }
}

/// The n-th of the streams that are written to.
pub(super) fn stream(number: usize) -> StreamId {
    StreamId::new(OrderEvent::CATEGORY, &Uuid::from_u128(number as u128 + 1).hyphenated().to_string())
}
