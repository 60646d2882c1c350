//! A log, a Redis and a folder for indexes of one's own, and a projector on them.

use std::{collections::HashMap, time::Duration};

use events::{DomainEvent, Ids, Log, LogId, LogPosition, NewEvent, Position, StreamId, SystemIds, Wake, schema};
use local_services::testing::{PostgresProxy, TestDatabase, TestRedis, TestServices, eventually};
use sqlx::{PgPool, postgres::PgPoolOptions};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::life::{metadata, stream_of};
use crate::{Config, Followed, Handle, Indexes, Parts, SearchIndex, View, Views};

pub(super) struct Shop {
    pub(super) log: Log,
    pub(super) wake: Wake,
    pub(super) config: Config,
    _redis: TestRedis,
    versions: HashMap<StreamId, i64>,
    database: TestDatabase,
    _folder: TempDir,
}

/// A projector that runs until it is stopped or dropped.
pub(super) struct Projector {
    pub(super) handle: Handle,
    pub(super) views: Views,
    pub(super) indexes: Indexes,
    shutdown: CancellationToken,
    task: JoinSet<()>,
}

impl Shop {
    pub(super) async fn open() -> Self {
        Self::on(async |database: &TestDatabase| database.url(schema::SERVICE)).await
    }

    /// One whose Postgres can go away.
    pub(super) async fn behind_a_proxy() -> (PostgresProxy, Self) {
        let mut proxy = None;
        let shop = Self::on(async |database: &TestDatabase| {
            let made = PostgresProxy::before(&database.postgres).await.expect("a free port");
            proxy.insert(made).url(&database.name, schema::SERVICE)
        })
        .await;
        (proxy.expect("made above"), shop)
    }

    async fn on(url: impl AsyncFnOnce(&TestDatabase) -> String) -> Self {
        let redis = TestServices::shared().await.fresh_redis().await;
        let folder = tempfile::tempdir().expect("a folder for the test");
        let database = database().await;
        let log = log(&url(&database).await, LogId::default()).await;
        let config = Config {
            redis_url: redis.url(),
            namespace: "test".into(),
            index_dir: folder.path().into(),
            page_size: 20,
            rebuild_page_size: 50,
            rebuild_batch: 100,
            commit_interval_ms: 200,
            verify_interval_ms: 100,
            index_memory_mb: 16,
            ..Config::default()
        };
        Self { log, wake: Wake::default(), config, _redis: redis, versions: HashMap::new(), database, _folder: folder }
    }

    /// Appends the events in order, in one append, and returns the last one's position.
    pub(super) async fn append(&mut self, events: Vec<DomainEvent>) -> LogPosition {
        let position = append(self.log.pool(), &mut self.versions, &events).await;
        self.wake.committed(position);
        LogPosition::new(self.log.id().clone(), position)
    }

    /// An event of a type that only a later release knows.
    pub(super) async fn append_unreadable(&mut self) {
        append_unreadable(self.log.pool(), &self.wake).await;
    }

    pub(super) fn logs(&self) -> Vec<Log> {
        vec![self.log.clone()]
    }

    pub(super) fn views(&self) -> Views {
        Views::new(&self.config, self.log.id().clone(), None).expect("a good URL")
    }

    pub(super) fn indexes(&self) -> Indexes {
        Indexes::new(&self.config, self.log.id().clone(), None)
    }

    pub(super) fn followed(&self) -> Followed {
        Followed { log: self.log.clone(), wake: self.wake.clone() }
    }

    pub(super) fn projector(&self) -> Projector {
        self.projector_on(vec![self.followed()])
    }

    pub(super) fn projector_on(&self, logs: Vec<Followed>) -> Projector {
        let (handle, shutdown) = (Handle::default(), CancellationToken::new());
        let parts = Parts { logs, handle: handle.clone() };
        let (config, stop) = (self.config.clone(), shutdown.clone());
        let mut task = JoinSet::new();
        task.spawn(async move { crate::run(config, parts, stop).await.expect("the configuration is good") });
        let views = Views::new(&self.config, self.log.id().clone(), Some(handle.clone())).expect("a good URL");
        let indexes = Indexes::new(&self.config, self.log.id().clone(), Some(handle.clone()));
        Projector { handle, views, indexes, shutdown, task }
    }

    /// For a test that changes history.
    pub(super) async fn superuser(&self) -> PgPool {
        superuser(&self.database).await
    }

    /// The same URL, for a test that damages what is there.
    pub(super) async fn redis(&self, command: &[&str]) -> redis::Value {
        let client = redis::Client::open(self.config.redis_url.as_str()).expect("a good URL");
        let mut connection = client.get_multiplexed_async_connection().await.expect("Redis is there");
        let mut call = redis::cmd(command[0]);
        call.arg(&command[1..]);
        call.query_async(&mut connection).await.expect("a good command")
    }
}

/// Another log, in a database of its own.
pub(super) struct Branch {
    pub(super) log: Log,
    pub(super) wake: Wake,
    pub(super) postgres: PostgresProxy,
    versions: HashMap<StreamId, i64>,
    database: TestDatabase,
}

impl Branch {
    pub(super) async fn open(name: &str) -> Self {
        let (database, log_id) = (database().await, name.parse().expect("a name"));
        schema::name_log(&database.superuser_url(), &log_id).await.expect("it has no name yet");
        let postgres = PostgresProxy::before(&database.postgres).await.expect("a free port");
        let log = log(&postgres.url(&database.name, schema::SERVICE), log_id).await;
        Self { log, wake: Wake::default(), postgres, versions: HashMap::new(), database }
    }

    pub(super) async fn append(&mut self, events: Vec<DomainEvent>) -> LogPosition {
        let position = append(self.log.pool(), &mut self.versions, &events).await;
        self.wake.committed(position);
        LogPosition::new(self.log.id().clone(), position)
    }

    pub(super) async fn append_unreadable(&mut self) {
        append_unreadable(self.log.pool(), &self.wake).await;
    }

    pub(super) async fn superuser(&self) -> PgPool {
        superuser(&self.database).await
    }

    pub(super) fn followed(&self) -> Followed {
        Followed { log: self.log.clone(), wake: self.wake.clone() }
    }
}

async fn superuser(database: &TestDatabase) -> PgPool {
    PgPoolOptions::new().connect(&database.superuser_url()).await.expect("the test database is there")
}

async fn append_unreadable(pool: &PgPool, wake: &Wake) {
    let sql = "SELECT last_position FROM append_events(0, '{order-x}', '{1}', '{0}', '{1}', '{1}', '{order-x}', '{1}', $1, \
               '{OrderTeleported}', '{1}', '{\"{}\"}', '{\"{}\"}', '{}', '{}', '{}', '{}')";
    let written = sqlx::query_scalar::<_, i64>(sql).bind(vec![SystemIds.next()]).fetch_one(pool).await;
    wake.committed(Position(written.expect("well formed") + 1));
}

async fn database() -> TestDatabase {
    let services = TestServices::shared().await;
    services.fresh_database(&schema::fingerprint(), async |url: String| schema::install(&url).await).await
}

async fn log(url: &str, log_id: LogId) -> Log {
    let options = PgPoolOptions::new().max_connections(10).acquire_timeout(Duration::from_secs(1));
    Log::new(options.connect(url).await.expect("the test database is there"), log_id)
}

impl Projector {
    /// Until every projection has reached the position.
    pub(super) async fn reaches(&self, position: &LogPosition) {
        let (views, indexes) = (self.views.of(&position.log_id), self.indexes.of(&position.log_id));
        eventually("every projection gets there", async || {
            for view in View::ALL {
                views.wait_for(view, position, Duration::from_secs(1)).await.ok()?;
            }
            for index in SearchIndex::ALL {
                indexes.wait_for(index, position, Duration::from_secs(1)).await.ok()?;
            }
            Some(())
        })
        .await;
    }

    pub(super) async fn stop(mut self) {
        self.shutdown.cancel();
        let ended =
            tokio::time::timeout(Duration::from_secs(60), self.task.join_next()).await.expect("it stops in time");
        ended.expect("there is one task").expect("it does not panic");
    }
}

/// Straight through the database's own function: this crate knows nothing of the write side.
async fn append(pool: &PgPool, versions: &mut HashMap<StreamId, i64>, events: &[DomainEvent]) -> Position {
    let mut counts = std::collections::BTreeMap::<StreamId, i64>::new();
    let (mut streams, mut at, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    for event in events {
        let stream = stream_of(event);
        let count = counts.entry(stream.clone()).or_default();
        *count += 1;
        at.push(versions.get(&stream).copied().unwrap_or(0) + *count);
        streams.push(stream.to_string());
        rows.push(NewEvent::new(SystemIds.next(), event, &metadata(event)));
    }
    let expected = counts.keys().map(|stream| versions.get(stream).copied().unwrap_or(0)).collect::<Vec<_>>();
    let column = |field: fn(&NewEvent) -> String| rows.iter().map(field).collect::<Vec<_>>();
    let (last_before, stale): (Option<i64>, Vec<i32>) = sqlx::query_as(
        "SELECT last_position, stale_streams FROM append_events(0, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, \
         '{}', '{}', '{}', '{}')",
    )
    .bind(counts.keys().map(ToString::to_string).collect::<Vec<_>>())
    .bind(vec![1_i32; counts.len()])
    .bind(expected)
    .bind(counts.values().copied().collect::<Vec<_>>())
    .bind(vec![1_i32; rows.len()])
    .bind(streams)
    .bind(at)
    .bind(rows.iter().map(|row| row.event_id).collect::<Vec<Uuid>>())
    .bind(column(|row| row.event_type.into()))
    .bind(rows.iter().map(|row| row.schema_version).collect::<Vec<i16>>())
    .bind(column(|row| row.payload.clone()))
    .bind(column(|row| row.metadata.clone()))
    .fetch_one(pool)
    .await
    .expect("the append is well formed");
    assert!(stale.is_empty(), "the fixture alone appends");
    for (stream, count) in counts {
        *versions.entry(stream).or_default() += count;
    }
    Position(last_before.expect("it wrote") + i64::try_from(rows.len()).expect("few"))
}
