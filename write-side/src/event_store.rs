//! The only way into the log, and the way back to an aggregate's state. Cheap to clone.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use events::{
    Clock, CommandId, EventPayload, Ids, Log, LogError, LogId, Metadata, Position, StreamId, StreamVersion, Wake,
    schema,
};
use futures_util::TryStreamExt;
use serde::Deserialize;
use sqlx::{PgConnection, PgPool, Row, ValueRef, postgres::PgRow};
use tokio::{
    sync::{Mutex, MutexGuard, mpsc, oneshot},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use crate::{
    Aggregate, Append, Appended, StoreError, Traffic, append_sql,
    batcher::{self, Batcher, Claim, Queued, history_changed},
    command_handler::Answered,
    known::Known,
    traffic::Counters,
};

/// Sizes and bounds of the append path.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// Connections that append in batches; one more serves who appends alone. Only one writes events at a time; the others judge
    /// and record commands meanwhile.
    pub batchers: usize,
    /// Most appends in one transaction.
    pub batch_appends: usize,
    /// Most bytes of JSON in one transaction.
    pub batch_bytes: usize,
    /// Events by which a long stream grows between two snapshots of its state, at least.
    pub snapshot_every: StreamVersion,
    /// Most appends that wait; one more is refused.
    pub queue: usize,
    /// Longest time that an append may wait in the queue.
    #[serde(with = "millis", rename = "append_timeout_ms")]
    pub append_timeout: Duration,
    #[serde(with = "millis", rename = "statement_timeout_ms")]
    pub statement_timeout: Duration,
    #[serde(with = "millis", rename = "connect_timeout_ms")]
    pub connect_timeout: Duration,
}

mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            batchers: 2,
            batch_appends: 128,
            batch_bytes: 1 << 20,
            snapshot_every: 10_000,
            queue: 4096,
            append_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(15),
            connect_timeout: Duration::from_secs(3),
        }
    }
}

impl StoreConfig {
    fn check(&self) -> Result<(), StoreError> {
        let sizes = [
            ("batchers", self.batchers),
            ("batch_appends", self.batch_appends),
            ("batch_bytes", self.batch_bytes),
            ("queue", self.queue),
        ];
        let times = [
            ("append_timeout_ms", self.append_timeout),
            ("statement_timeout_ms", self.statement_timeout),
            ("connect_timeout_ms", self.connect_timeout),
        ];
        let sizes = sizes.into_iter().filter(|(_, size)| *size == 0).map(|(what, _)| what);
        let sizes = sizes.chain((self.snapshot_every < 1).then_some("snapshot_every"));
        let mut zeros = sizes.chain(times.into_iter().filter(|(_, time)| time.is_zero()).map(|(what, _)| what));
        zeros.next().map_or(Ok(()), |what| Err(StoreError::Misconfigured { what }))
    }

    /// From being taken out of the queue to the verdict: connecting, one batch and its repetitions, and the batch before it.
    fn verdict_timeout(&self) -> Duration {
        (self.connect_timeout + self.statement_timeout) * 2
    }
}

/// The log, for writing.
#[derive(Clone)]
pub struct EventStore {
    log: Log,
    wake: Wake,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    queue: mpsc::Sender<Queued>,
    /// For an append that comes while nobody else appends: made in its caller's task, it changes threads nowhere.
    alone: Arc<Mutex<Batcher>>,
    busy: Arc<AtomicUsize>,
    counters: Counters,
    changed: CancellationToken,
    append_timeout: Duration,
    verdict_timeout: Duration,
    read_timeout: Duration,
    snapshot_every: StreamVersion,
}

/// An aggregate as its stream tells it.
#[derive(Debug, Clone)]
pub struct Loaded<A> {
    pub state: A,
    /// Count of events; 0 when the stream does not exist.
    pub version: StreamVersion,
    /// The first outcome of the command that was asked about, where it had one.
    pub answered: Option<Answered>,
}

impl<A: Default> Default for Loaded<A> {
    fn default() -> Self {
        Self { state: A::default(), version: 0, answered: None }
    }
}

/// One round trip: the stream's events after a version, in the order in which the function gives them, and what the command led to.
pub(crate) const LOAD: &str = "SELECT e.stream_version, e.event_type, e.schema_version, e.payload, e.position, \
     CASE WHEN e.stream_version = c.version THEN e.metadata END AS metadata \
     FROM (SELECT (SELECT stream_version FROM commands WHERE stream_id = $1 AND command_id = $3) AS version OFFSET 0) AS c \
     CROSS JOIN LATERAL stream_events($1, least($2, c.version - 1), NULL) AS e";

/// For each id by itself: a stream may have more commands than anybody wants to go through. Versions are dense: the first from a command's
/// version on is that one, or there is none.
pub(crate) const ANSWERED: &str = "SELECT c.command_id, c.stream_version, e.position, e.metadata \
     FROM unnest($2) AS w (id) \
     CROSS JOIN LATERAL (SELECT * FROM commands WHERE commands.stream_id = $1 AND commands.command_id = w.id OFFSET 0) AS c \
     CROSS JOIN LATERAL stream_events($1, c.stream_version - 1, 1) AS e \
     WHERE e.stream_version = c.stream_version";

pub(crate) const POSITION_OF: &str = "SELECT position FROM stream_events($1, $2 - 1, 1) WHERE stream_version = $2";

impl EventStore {
    /// Connects, refuses a server that does not keep what it acknowledges, and starts the batchers on `tracker`.
    ///
    /// The batchers end when the last clone of the store is dropped and the queue is empty.
    pub async fn start(
        config: StoreConfig,
        pool: PgPool,
        log_id: LogId,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
        wake: Wake,
        tracker: &TaskTracker,
    ) -> Result<Self, StoreError> {
        config.check()?;
        let options = (*pool.connect_options()).clone().options(schema::SESSION).options(append_sql::SESSION);
        let (sender, receiver) = mpsc::channel(config.queue);
        let queue = Arc::new(Mutex::new(receiver));
        let (changed, busy, counters) = (CancellationToken::new(), Arc::<AtomicUsize>::default(), Counters::default());
        let known = Known::new(config.batchers + 1);
        let mut batchers = Vec::new();
        for _ in 0..=config.batchers {
            let connecting = batcher::connect(&options, config.connect_timeout).await;
            let mut connection = connecting.map_err(StoreError::doing("connect the append path"))?;
            refuse_volatile(&mut connection).await?;
            batchers.push(Batcher {
                options: options.clone(),
                config: config.clone(),
                log_id: log_id.clone(),
                wake: wake.clone(),
                changed: changed.clone(),
                connection: Some(connection),
                counters: counters.clone(),
                known: known.clone(),
                held_back: Vec::new(),
            });
        }
        let alone = Arc::new(Mutex::new(batchers.pop().expect("one more than those that are configured")));
        for batcher in batchers {
            tracker.spawn(batcher.run(queue.clone(), busy.clone()));
        }
        let log = Log::new(pool, log_id);
        wake.committed(log.head().await?);
        let (append_timeout, verdict_timeout) = (config.append_timeout, config.verdict_timeout());
        let (read_timeout, snapshot_every) = (config.statement_timeout, config.snapshot_every);
        Ok(Self {
            log,
            wake,
            clock,
            ids,
            queue: sender,
            alone,
            busy,
            counters,
            changed,
            append_timeout,
            verdict_timeout,
            read_timeout,
            snapshot_every,
        })
    }

    /// For who finds that a stream has fewer events than it had committed.
    pub(crate) fn lost_history(&self) -> StoreError {
        self.changed.cancel();
        history_changed(self.log.id(), self.wake.reached())
    }

    /// Waits until the log turns out to have lost what this process has committed: the process must end, and start anew.
    pub async fn history_changed(&self) -> StoreError {
        self.changed.cancelled().await;
        history_changed(self.log.id(), self.wake.reached())
    }

    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    #[must_use]
    pub fn wake(&self) -> &Wake {
        &self.wake
    }

    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    #[must_use]
    pub fn ids(&self) -> &dyn Ids {
        &*self.ids
    }

    /// Appends durably, whole or not at all. Returns after the commit.
    pub async fn append(&self, append: Append) -> Result<Appended, StoreError> {
        if append.streams.iter().any(|stream| stream.events.is_empty()) || has_twins(&append) {
            return Err(StoreError::Malformed);
        }
        if self.changed.is_cancelled() {
            return Err(history_changed(self.log.id(), self.wake.reached()));
        }
        let (reply, mut verdict) = oneshot::channel();
        let claim = Claim::default();
        if let Some(mut alone) = self.alone() {
            let settling = alone.settle(vec![Queued { append, claim, reply }]);
            let lost = timeout(self.verdict_timeout, settling).await.is_err();
            return match verdict.try_recv() {
                Ok(told) if !lost => told,
                _ => Err(StoreError::OutcomeUnknown { source: None }),
            };
        }
        self.queue.try_send(Queued { append, claim: claim.clone(), reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => self.overloaded(),
            mpsc::error::TrySendError::Closed(_) => StoreError::Closed,
        })?;
        let told = match timeout(self.append_timeout, &mut verdict).await {
            Ok(told) => told,
            Err(_) if claim.take() => return Err(self.overloaded()),
            // It is under way.
            Err(_) => match timeout(self.verdict_timeout, verdict).await {
                Ok(told) => told,
                Err(_) => return Err(StoreError::OutcomeUnknown { source: None }),
            },
        };
        told.unwrap_or(Err(StoreError::OutcomeUnknown { source: None }))
    }

    fn overloaded(&self) -> StoreError {
        self.counters.refused();
        StoreError::Overloaded
    }

    /// How much this process appends.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.counters.read(self.queue.max_capacity() - self.queue.capacity())
    }

    /// The way for who is alone; none while anything else is under way or waits.
    fn alone(&self) -> Option<MutexGuard<'_, Batcher>> {
        let idle = self.busy.load(Ordering::Acquire) == 0 && self.queue.capacity() == self.queue.max_capacity();
        self.alone.try_lock().ok().filter(|_| idle)
    }

    /// The longest that a command may take here, from the queue to its verdict.
    pub(crate) fn patience(&self) -> Duration {
        self.append_timeout + self.verdict_timeout
    }

    /// The aggregate's state, and the first outcome of `command_id` if it had one.
    pub async fn load<A: Aggregate>(&self, stream: &StreamId, command_id: CommandId) -> Result<Loaded<A>, StoreError> {
        self.load_from(stream, Loaded::default(), command_id).await
    }

    /// Like [`Self::load`], reading only what `known` lacks.
    pub async fn load_from<A: Aggregate>(
        &self,
        stream: &StreamId,
        known: Loaded<A>,
        command_id: CommandId,
    ) -> Result<Loaded<A>, StoreError> {
        let query = sqlx::query(LOAD).bind(stream.as_str()).bind(known.version).bind(command_id.0);
        let mut rows = query.fetch(self.log.pool());
        let mut loaded = known;
        while let Some(row) = self.told("load a stream", rows.try_next()).await? {
            let event = StreamRow::<A::Event>::read(stream, &row)?;
            if event.version > loaded.version {
                events::follows(stream, loaded.version, event.version).map_err(StoreError::Log)?;
                loaded.state = loaded.state.evolve(&event.payload);
                loaded.version = event.version;
            }
            loaded.answered = loaded.answered.or(event.answered);
        }
        Ok(loaded)
    }

    /// The first outcomes of those of `commands` that had one.
    pub async fn answered(
        &self,
        stream: &StreamId,
        commands: &[CommandId],
    ) -> Result<HashMap<CommandId, Answered>, StoreError> {
        let ids: Vec<Uuid> = commands.iter().map(|command| command.0).collect();
        let query = sqlx::query(ANSWERED).bind(stream.as_str()).bind(ids);
        let rows = self.told("look for answered commands", query.fetch_all(self.log.pool())).await?;
        let read = |row: &PgRow| {
            let metadata = row.try_get_raw(3)?;
            let metadata = metadata.as_str().map_err(sqlx::Error::Decode)?;
            Ok((CommandId(row.try_get(0)?), answer(row.try_get(1)?, Position(row.try_get(2)?), metadata)))
        };
        let answers: Result<_, sqlx::Error> = rows.iter().map(read).collect();
        answers.map_err(StoreError::doing("look for answered commands"))
    }

    pub(crate) fn snapshot_every(&self) -> StreamVersion {
        self.snapshot_every
    }

    /// What the server answers, within a bound.
    pub(crate) async fn told<T>(
        &self,
        doing: &'static str,
        question: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, StoreError> {
        let answer = timeout(self.read_timeout, question).await;
        answer.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(StoreError::doing(doing))
    }

    /// Where the event of that version stands; 0 for a stream that does not exist.
    pub async fn position_of(&self, stream: &StreamId, version: StreamVersion) -> Result<Position, StoreError> {
        let query = sqlx::query_scalar(POSITION_OF).bind(stream.as_str()).bind(version);
        let position: Option<i64> =
            self.told("find an event's position", query.fetch_optional(self.log.pool())).await?;
        Ok(Position(position.unwrap_or_default()))
    }
}

/// One event of a load.
struct StreamRow<E> {
    version: StreamVersion,
    payload: E,
    answered: Option<Answered>,
}

impl<E: EventPayload> StreamRow<E> {
    fn read(stream: &StreamId, row: &PgRow) -> Result<Self, StoreError> {
        let doing = || StoreError::doing("read a row of a stream");
        let version: StreamVersion = row.try_get(0).map_err(doing())?;
        let (event_type, schema_version) =
            (row.try_get::<&str, _>(1).map_err(doing())?, row.try_get(2).map_err(doing())?);
        let position = Position(row.try_get(4).map_err(doing())?);
        let payload = row.try_get_raw(3).map_err(doing())?;
        let payload = payload.as_str().map_err(|error| doing()(sqlx::Error::Decode(error)))?;
        let metadata = row.try_get_raw(5).map_err(doing())?;
        let answered = if metadata.is_null() {
            None
        } else {
            let metadata = metadata.as_str().map_err(|error| doing()(sqlx::Error::Decode(error)))?;
            Some(answer(version, position, metadata))
        };
        let payload = E::decode(event_type, schema_version, payload).map_err(|source| {
            tracing::error!(stream.id = %stream, %position, "a stream cannot be read");
            LogError::Undecodable { position, source }
        })?;
        Ok(Self { version, payload, answered })
    }
}

fn answer(version: StreamVersion, position: Position, metadata: &str) -> Answered {
    // Metadata that cannot be read has no hash to compare: the answer itself stands.
    let body_hash = serde_json::from_str::<Metadata>(metadata).ok().and_then(|metadata| metadata.body_hash);
    Answered { version, position, body_hash }
}

fn has_twins(append: &Append) -> bool {
    let streams = &append.streams;
    streams.is_empty()
        || streams.iter().enumerate().any(|(n, a)| streams[..n].iter().any(|b| a.stream_id == b.stream_id))
}

async fn refuse_volatile(connection: &mut PgConnection) -> Result<(), StoreError> {
    for setting in ["fsync", "full_page_writes"] {
        let value: String = sqlx::query_scalar("SELECT current_setting($1)")
            .bind(setting)
            .fetch_one(&mut *connection)
            .await
            .map_err(StoreError::doing("read the server's durability settings"))?;
        if value == "off" {
            return Err(StoreError::NotDurable { setting });
        }
    }
    Ok(())
}
