//! A query server over stores of its own, and a log that a test fills as it likes.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeZone, Utc};
use events::{
    Actor, CommandId, DomainEvent, Log, LogId, LogPosition, Metadata, NewEvent, Position, StreamId, StreamVersion,
    SystemIds, Tenant, Wake, schema,
};
use http_api::{HttpMetrics, Limits, serve, with_standard_layers};
use local_services::testing::{TestDatabase, TestServices};
use projections::{Handle, Indexes, View, Views};
use prometheus_client::registry::Registry;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use sqlx::{PgConnection, PgPool, postgres::PgPoolOptions};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use uuid::Uuid;

use crate::{Config, Parts, router};

pub(super) struct Fixture {
    pub(super) base: String,
    pub(super) client: Client,
    pub(super) log: Log,
    projections: projections::Config,
    wake: Wake,
    handle: Handle,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    owner: PgPool,
    _database: TestDatabase,
    _folder: TempDir,
    _stop: DropGuard,
}

impl Fixture {
    /// With a Redis that nothing listens at.
    pub(super) async fn without_redis() -> Self {
        Self::start("redis://127.0.0.1:1".into(), Config::default()).await
    }

    /// With an empty Redis, and nobody who fills it.
    pub(super) async fn unprojected() -> Self {
        let redis = TestServices::shared().await.fresh_redis().await;
        Self::start(redis.url(), Config::default()).await
    }

    /// With a projector in the same process.
    pub(super) async fn live() -> Self {
        let fixture = Self::unprojected().await;
        let logs = vec![projections::Followed { log: fixture.log.clone(), wake: fixture.wake.clone() }];
        let parts = projections::Parts { logs, handle: fixture.handle.clone() };
        let stop = fixture.shutdown.clone();
        fixture.tasks.spawn(projections::run(fixture.projections.clone(), parts, stop));
        let views = Views::new(&fixture.projections, LogId::default(), Some(fixture.handle.clone()));
        let (views, start) = (views.expect("a Redis URL"), LogPosition::new(LogId::default(), Position::START));
        for view in View::ALL {
            views.wait_for(view, &start, Duration::from_secs(20)).await.expect("an empty view is built at once");
        }
        fixture
    }

    pub(super) async fn start(redis_url: String, config: Config) -> Self {
        let services = TestServices::shared().await;
        let database =
            services.fresh_database(&schema::fingerprint(), async |url: String| schema::install(&url).await).await;
        let log = Log::new(pool(&database.url(schema::SERVICE)).await, LogId::default());
        let folder = tempfile::tempdir().expect("a folder for the indexes");
        let projections =
            projections::Config { redis_url, index_dir: folder.path().into(), ..projections::Config::default() };
        let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let (wake, handle) = (Wake::default(), Handle::default());
        let parts = Parts {
            views: Views::new(&projections, LogId::default(), Some(handle.clone())).expect("a Redis URL"),
            search: Indexes::new(&projections, LogId::default(), Some(handle.clone())),
            handle: Some(handle.clone()),
            logs: vec![log.clone()],
            tasks: tasks.clone(),
            shutdown: shutdown.clone(),
        };
        let (api, _) = router(&config, parts).split_for_parts();
        let metrics = HttpMetrics::register(&mut Registry::default());
        let api = with_standard_layers(api, &Limits::default(), metrics, Arc::new(SystemIds));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("bound"));
        tasks.spawn(serve(listener, api, shutdown.clone(), Duration::from_millis(100)));
        let owner = pool(&database.superuser_url()).await;
        Self {
            base,
            client: Client::new(),
            log,
            projections,
            wake,
            handle,
            tasks,
            _stop: shutdown.clone().drop_guard(),
            shutdown,
            owner,
            _database: database,
            _folder: folder,
        }
    }

    pub(super) fn asking(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.base))
    }

    pub(super) async fn get(&self, path: &str) -> Response {
        self.asking(path).send().await.expect("the server answers")
    }

    /// Status and body of an answer in JSON.
    pub(super) async fn json(&self, path: &str) -> (StatusCode, Value) {
        let response = self.get(path).await;
        (response.status(), response.json().await.expect("JSON"))
    }

    /// What happened, in this order; each event at the end of its stream. Times are fixed, so that answers can be pinned.
    pub(super) async fn record(&self, happened: &[(StreamId, DomainEvent)]) {
        let head = self.log.head().await.expect("the log is there").0;
        let mut transaction = self.owner.begin().await.expect("the test database is there");
        for (position, (stream, event)) in (head + 1..).zip(happened) {
            let metadata = Metadata {
                correlation_id: event.order_id().map_or_else(Uuid::nil, |id| id.0),
                causation_id: CommandId::of(&["test", &position.to_string()]),
                actor: Actor::service("test"),
                tenant: Tenant::default(),
                traceparent: None,
                business_time: None,
                body_hash: None,
            };
            let event = NewEvent::new(Uuid::from_u128(position.unsigned_abs().into()), event, &metadata);
            let version = next_version(&mut transaction, stream, position).await;
            sqlx::query(
                "INSERT INTO events (position, stream_id, stream_version, event_id, event_type, schema_version, payload, \
                 metadata, recorded_at) VALUES ($1, $2, $3, $4, $5, $6, $7::json, $8::json, $9)",
            )
            .bind(position)
            .bind(stream.as_str())
            .bind(version)
            .bind(event.event_id)
            .bind(event.event_type)
            .bind(event.schema_version)
            .bind(event.payload)
            .bind(event.metadata)
            .bind(recorded_at(position))
            .execute(&mut *transaction)
            .await
            .expect("a well-formed event");
        }
        transaction.commit().await.expect("the test database is there");
        self.wake.committed(self.log.head().await.expect("the log is there"));
    }

    /// What nobody can do but the owner of the database: takes an event out of the log.
    pub(super) async fn tear_a_hole(&self, position: i64) {
        sqlx::query("DELETE FROM events WHERE position = $1")
            .bind(position)
            .execute(&self.owner)
            .await
            .expect("allowed");
    }

    pub(super) async fn empty_redis(&self) {
        let client = redis::Client::open(&*self.projections.redis_url).expect("a Redis URL");
        let mut connection = client.get_multiplexed_async_connection().await.expect("Redis is there");
        redis::cmd("FLUSHDB").exec_async(&mut connection).await.expect("it is ours to empty");
    }

    /// Takes the log away, as a lost server would.
    pub(super) async fn lose_the_log(&self) {
        self.log.pool().close().await;
    }
}

async fn next_version(connection: &mut PgConnection, stream: &StreamId, position: i64) -> StreamVersion {
    sqlx::query("INSERT INTO streams (stream_id, since_position) VALUES ($1, $2 - 1) ON CONFLICT DO NOTHING")
        .bind(stream.as_str())
        .bind(position)
        .execute(&mut *connection)
        .await
        .expect("a row per stream");
    sqlx::query_scalar("SELECT coalesce(max(stream_version), 0) + 1 FROM events WHERE stream_id = $1")
        .bind(stream.as_str())
        .fetch_one(connection)
        .await
        .expect("its events can be counted")
}

async fn pool(url: &str) -> PgPool {
    PgPoolOptions::new().max_connections(4).connect(url).await.expect("the test database is there")
}

/// A second between one event and the next.
fn recorded_at(position: i64) -> DateTime<Utc> {
    Utc.timestamp_opt(1_767_225_600 + position, 0).single().expect("a moment in 2026")
}
