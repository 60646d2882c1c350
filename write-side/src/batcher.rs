//! Group commit: what waits goes into the log in one call, one transaction, one fsync; each append gets its own verdict.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use events::{LogError, LogId, LogPosition, Position, StreamId, StreamVersion, Wake};
use sqlx::{
    Connection, FromRow, PgConnection,
    postgres::{PgConnectOptions, PgDatabaseError, PgSeverity},
};
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{Append, Appended, StoreConfig, StoreError, traffic::Counters};

/// How often a batch is repeated when the server says that only the moment was wrong.
const REPEATS: u32 = 5;
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);
const ATTACH_TIMEOUT: Duration = Duration::from_secs(10);
/// What `append_events` raises when the log ends before a position that it is said to have reached.
const HISTORY_CHANGED: &str = "WB001";

/// An append that waits for its verdict.
pub(crate) struct Queued {
    pub append: Append,
    pub claim: Claim,
    pub reply: oneshot::Sender<Result<Appended, StoreError>>,
}

impl Queued {
    /// Of an append that was refused by itself.
    fn is_key_taken(&self, error: &sqlx::Error) -> bool {
        let constraint = error.as_database_error().and_then(|error| error.constraint());
        !self.append.keys.is_empty() && constraint == Some("commands_pkey")
    }
}

/// Whose an append is: its batcher's, which will tell what became of it, or its caller's, who gives up a wait that was too long.
/// Whoever comes first has it.
#[derive(Clone, Default)]
pub(crate) struct Claim(Arc<AtomicBool>);

impl Claim {
    /// Whether the other one had not.
    pub(crate) fn take(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }
}

/// A connection that appends: one of a few tasks that share the queue, or who takes its turn in the task of a lonely caller.
pub(crate) struct Batcher {
    pub options: PgConnectOptions,
    pub config: StoreConfig,
    pub log_id: LogId,
    pub wake: Wake,
    /// Cancelled once the log turns out to have lost what this process has committed.
    pub changed: CancellationToken,
    pub connection: Option<PgConnection>,
    pub counters: Counters,
    /// Left over from the last batch: a stream occurs once in a batch.
    pub held_back: Vec<Queued>,
}

/// What became of a batch as a whole.
enum BatchError {
    /// A deadlock, a serialisation failure or a lock timeout: the same batch may pass now.
    Repeat(sqlx::Error),
    /// The server refused a statement; one of the appends is to blame.
    Refused(sqlx::Error),
    /// A key of the append was given before, in the same category.
    KeyTaken,
    /// Nothing was sent.
    Unreachable(sqlx::Error),
    /// Nothing was written, and nothing will be for a while.
    Unfit(sqlx::Error),
    /// The log no longer holds what this process has committed: nothing can be appended by it any more.
    HistoryChanged { reached: Position },
    /// Sent, and no answer.
    Lost(Option<sqlx::Error>),
}

/// The row that `append_events` returns.
#[derive(FromRow)]
struct Outcome {
    last_position: Option<i64>,
    recorded: Option<DateTime<Utc>>,
    stale_streams: Vec<i32>,
    stale_versions: Vec<i64>,
}

impl Batcher {
    /// Until the queue is closed and empty. `busy` counts the batchers that are at work.
    pub(crate) async fn run(mut self, queue: Arc<Mutex<mpsc::Receiver<Queued>>>, busy: Arc<AtomicUsize>) {
        while let Some(batch) = self.next_batch(&queue).await {
            busy.fetch_add(1, Ordering::AcqRel);
            self.settle(batch).await;
            busy.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Waits for the first append, then takes what is there already; never lingers.
    async fn next_batch(&mut self, queue: &Mutex<mpsc::Receiver<Queued>>) -> Option<Vec<Queued>> {
        let mut batch = Batch::new(&self.config);
        for queued in std::mem::take(&mut self.held_back) {
            self.held_back.extend(batch.add(queued));
        }
        // The other batcher may hold the queue while it waits for work: who has some does not wait for that.
        let queue = if batch.queued.is_empty() {
            let mut queue = queue.lock().await;
            self.held_back.extend(batch.add(queue.recv().await?));
            Some(queue)
        } else {
            queue.try_lock().ok()
        };
        if let Some(mut queue) = queue {
            let mut paused = false;
            while batch.has_room() && self.held_back.len() < self.config.batch_appends {
                match queue.try_recv() {
                    Ok(queued) => {
                        paused = false;
                        self.held_back.extend(batch.add(queued));
                    }
                    Err(_) if paused => break,
                    // Those who were just answered come again together: whoever is ready to run may queue before the batch is closed.
                    Err(_) => {
                        paused = true;
                        tokio::task::yield_now().await;
                    }
                }
            }
        }
        Some(batch.queued)
    }

    pub(crate) async fn settle(&mut self, mut batch: Vec<Queued>) {
        batch.retain(|queued| queued.claim.take());
        let mut undecided = vec![batch];
        while let Some(batch) = undecided.pop() {
            if batch.is_empty() {
                continue;
            }
            match self.commit(&batch).await {
                Ok(outcome) => self.answer(batch, &outcome),
                Err(BatchError::Refused(source)) if batch.len() > 1 => undecided.extend(halves(batch, &source)),
                Err(BatchError::Refused(source)) if batch[0].is_key_taken(&source) => {
                    self.fail(batch, BatchError::KeyTaken);
                }
                Err(error) => self.fail(batch, error),
            }
        }
    }

    /// One call of the append function; repeats where only the moment was wrong.
    async fn commit(&mut self, batch: &[Queued]) -> Result<Outcome, BatchError> {
        let (mut repeats, started) = (0, Instant::now());
        loop {
            let patient = repeats < REPEATS && started.elapsed() < self.config.statement_timeout;
            match self.commit_once(batch).await {
                Err(BatchError::Repeat(error)) if patient => {
                    tracing::debug!(%error, "the batch is repeated");
                    repeats += 1;
                }
                Err(BatchError::Unreachable(error)) if patient => {
                    tracing::debug!(%error, "Postgres could not be reached for an append");
                    repeats += 1;
                    tokio::time::sleep(RECONNECT_PAUSE).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn commit_once(&mut self, batch: &[Queued]) -> Result<Outcome, BatchError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(&self.options, self.config.connect_timeout).await.map_err(BatchError::Unreachable)?,
        };
        let hint = self.wake.reached();
        let call = call(&mut connection, batch, hint);
        let Ok(outcome) = tokio::time::timeout(self.config.statement_timeout, call).await else {
            return Err(BatchError::Lost(None)); // the connection is dropped: its transaction ends one way or the other
        };
        match outcome {
            Ok(outcome) => {
                self.connection = Some(connection);
                Ok(outcome)
            }
            // It says so of the whole session or server, maybe in the middle of a commit: whether that had happened is not said.
            Err(error) if ends_session(&error) => Err(BatchError::Lost(Some(error))),
            Err(error) => match error.as_database_error().map(|error| error.code().unwrap_or_default().into_owned()) {
                // Deadlock, serialisation failure, lock timeout.
                Some(code) if ["40P01", "40001", "55P03"].contains(&code.as_str()) => {
                    self.connection = Some(connection);
                    Err(BatchError::Repeat(error))
                }
                // The log ends before what this process has committed: its server was restored, or a standby lacked it.
                Some(code) if code == HISTORY_CHANGED => Err(BatchError::HistoryChanged { reached: hint }),
                // No partition, because no maintainer runs. A connection on which that failed may still be at it, and is dropped.
                Some(code) if code == "23514" => match attach_partitions(&mut connection).await {
                    Ok(()) => {
                        self.connection = Some(connection);
                        Err(BatchError::Repeat(error))
                    }
                    Err(_) => Err(BatchError::Unfit(error)),
                },
                // The server is out of memory or disk, or somebody cancelled the statement: no append of the batch is to blame.
                Some(code) if code.starts_with("53") || code == "57014" => {
                    self.connection = Some(connection);
                    Err(BatchError::Unfit(error))
                }
                // It has become a standby; the next connection may find the primary.
                Some(code) if code == "25006" => Err(BatchError::Unfit(error)),
                Some(code) if code.starts_with("08") => Err(BatchError::Lost(Some(error))),
                Some(_) => {
                    self.connection = Some(connection);
                    Err(BatchError::Refused(error))
                }
                None => Err(BatchError::Lost(Some(error))),
            },
        }
    }

    fn answer(&self, batch: Vec<Queued>, outcome: &Outcome) {
        events::crash::point("append.before-answer");
        let stale = stale_appends(&batch, outcome);
        let mut last = outcome.last_position.unwrap_or_default();
        let verdicts = batch.into_iter().zip(stale).map(|(queued, stale)| {
            let verdict = match (stale, outcome.recorded) {
                (None, Some(recorded_at)) => {
                    let first = Position(last + 1);
                    last += i64::try_from(queued.append.event_count()).expect("a batch is bounded");
                    Ok(Appended { first, last: Position(last), recorded_at })
                }
                (Some(stale), _) => Err(stale),
                (None, None) => Err(StoreError::Malformed),
            };
            (queued.reply, verdict)
        });
        let verdicts: Vec<_> = verdicts.collect();
        self.counters.committed(verdicts.iter().filter(|(_, verdict)| verdict.is_ok()).count());
        if outcome.recorded.is_some() {
            self.wake.committed(Position(last));
        }
        for (reply, verdict) in verdicts {
            let _ = reply.send(verdict); // a caller that went away asks again with its command id
        }
    }

    /// Tells every owner. An error of the driver cannot be cloned, so only the first gets it as a source.
    fn fail(&self, batch: Vec<Queued>, error: BatchError) {
        let (kind, mut source) = match error {
            BatchError::Lost(source) => (Failure::Unknown, source),
            BatchError::HistoryChanged { reached } => (Failure::HistoryChanged(reached), None),
            BatchError::KeyTaken => (Failure::KeyTaken, None),
            BatchError::Repeat(source)
            | BatchError::Refused(source)
            | BatchError::Unfit(source)
            | BatchError::Unreachable(source) => (Failure::Definite, Some(source)),
        };
        if let Failure::HistoryChanged(reached) = kind {
            tracing::error!(%reached, "the log ends before what this process has committed: history changed");
            self.changed.cancel();
        } else if let Some(error) = &source {
            let unknown = kind == Failure::Unknown;
            tracing::warn!(%error, appends = batch.len(), unknown, "appends failed");
        }
        for queued in batch {
            let source = source.take();
            let verdict = match kind {
                Failure::Unknown => StoreError::OutcomeUnknown { source },
                Failure::HistoryChanged(reached) => history_changed(&self.log_id, reached),
                Failure::KeyTaken => StoreError::KeyTaken,
                Failure::Definite => {
                    let source = source.unwrap_or(sqlx::Error::WorkerCrashed);
                    StoreError::Postgres { doing: "append to the log", source }
                }
            };
            let _ = queued.reply.send(Err(verdict));
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Failure {
    Definite,
    Unknown,
    KeyTaken,
    HistoryChanged(Position),
}

/// What everybody is told once the log has lost something that this process had committed.
pub(crate) fn history_changed(log_id: &LogId, reached: Position) -> StoreError {
    let checkpoint = LogPosition::new(log_id.clone(), reached).to_string();
    LogError::HistoryChanged { checkpoint }.into()
}

/// A batch under construction.
struct Batch<'a> {
    config: &'a StoreConfig,
    queued: Vec<Queued>,
    streams: HashSet<StreamId>,
    bytes: usize,
}

impl<'a> Batch<'a> {
    fn new(config: &'a StoreConfig) -> Self {
        Self { config, queued: Vec::new(), streams: HashSet::new(), bytes: 0 }
    }

    fn has_room(&self) -> bool {
        self.queued.len() < self.config.batch_appends && self.bytes < self.config.batch_bytes
    }

    /// Takes the append, or gives it back when one of its streams is in the batch already, or there is no room.
    fn add(&mut self, queued: Queued) -> Option<Queued> {
        let taken = queued.append.streams.iter().any(|stream| self.streams.contains(&stream.stream_id));
        if taken || !self.has_room() {
            return Some(queued);
        }
        self.streams.extend(queued.append.streams.iter().map(|stream| stream.stream_id.clone()));
        self.bytes += queued.append.bytes();
        self.queued.push(queued);
        None
    }
}

pub(crate) async fn connect(options: &PgConnectOptions, timeout: Duration) -> Result<PgConnection, sqlx::Error> {
    let connect = PgConnection::connect_with(options);
    tokio::time::timeout(timeout, connect).await.unwrap_or_else(|_| Err(sqlx::Error::PoolTimedOut))
}

fn ends_session(error: &sqlx::Error) -> bool {
    let error = error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    error.is_some_and(|error| matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic))
}

/// There is always one to spare where a maintainer runs; where none does, the append helps itself.
async fn attach_partitions(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let attach = sqlx::query("SELECT attach_event_partitions((SELECT coalesce(max(position), 0) FROM events))");
    tokio::time::timeout(ATTACH_TIMEOUT, attach.execute(connection))
        .await
        .map_err(|_| sqlx::Error::PoolTimedOut)?
        .map(drop)
}

/// Per append of the batch: what was stale about it, if anything.
fn stale_appends(batch: &[Queued], outcome: &Outcome) -> Vec<Option<StoreError>> {
    let sorted = sorted_streams(batch);
    let mut stale: Vec<_> = batch.iter().map(|_| None).collect();
    for (&number, &actual) in outcome.stale_streams.iter().zip(&outcome.stale_versions) {
        let index = usize::try_from(number - 1).expect("the function numbers streams from 1");
        let (append, stream_id, expected) = sorted[index];
        let stream = stream_id.clone();
        stale[append] = Some(StoreError::WrongExpectedVersion { stream, expected, actual });
    }
    stale
}

/// The streams of the batch in the order of locking, each with its append's number and its expected version.
fn sorted_streams(batch: &[Queued]) -> Vec<(usize, &StreamId, StreamVersion)> {
    let streams = batch.iter().enumerate().flat_map(|(number, queued)| {
        queued.append.streams.iter().map(move |stream| (number, &stream.stream_id, stream.expected_version))
    });
    let mut streams: Vec<_> = streams.collect();
    streams.sort_unstable_by(|a, b| a.1.cmp(b.1));
    streams
}

/// Flattens the batch into the function's arrays. Numbers are bounded by the batch, so they fit.
async fn call(connection: &mut PgConnection, batch: &[Queued], hint: Position) -> Result<Outcome, sqlx::Error> {
    let number = |number: usize| i32::try_from(number).expect("a batch is bounded");
    let mut streams: Vec<_> =
        batch.iter().enumerate().flat_map(|(n, queued)| queued.append.streams.iter().map(move |s| (n, s))).collect();
    let events: Vec<_> = streams
        .iter()
        .flat_map(|&(n, stream)| stream.events.iter().zip(stream.expected_version + 1..).map(move |e| (n, stream, e)))
        .collect();
    let commands = streams.iter().flat_map(|&(n, stream)| {
        stream.commands.iter().map(move |&(id, version)| (n, stream.stream_id.as_str(), id, version))
    });
    // A key stands beside the commands of the streams, under its category: there it can stand once.
    let keys = batch.iter().enumerate();
    let keys = keys.flat_map(|(n, queued)| queued.append.keys.iter().map(move |&(category, id)| (n, category, id, 0)));
    let commands: Vec<_> = commands.chain(keys).collect();
    streams.sort_unstable_by(|a, b| a.1.stream_id.cmp(&b.1.stream_id));
    let counts: Vec<_> = streams.iter().map(|(_, s)| i64::try_from(s.events.len()).expect("bounded")).collect();
    sqlx::query_as(
        "SELECT * FROM append_events($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
    )
    .bind(hint.0)
    .bind(streams.iter().map(|(_, s)| s.stream_id.as_str()).collect::<Vec<_>>())
    .bind(streams.iter().map(|(n, _)| number(*n)).collect::<Vec<_>>())
    .bind(streams.iter().map(|(_, s)| s.expected_version).collect::<Vec<_>>())
    .bind(counts)
    .bind(events.iter().map(|(n, ..)| number(*n)).collect::<Vec<_>>())
    .bind(events.iter().map(|(_, s, _)| s.stream_id.as_str()).collect::<Vec<_>>())
    .bind(events.iter().map(|(_, _, (_, version))| *version).collect::<Vec<_>>())
    .bind(events.iter().map(|(_, _, (event, _))| event.event_id).collect::<Vec<_>>())
    .bind(events.iter().map(|(_, _, (event, _))| event.event_type).collect::<Vec<_>>())
    .bind(events.iter().map(|(_, _, (event, _))| event.schema_version).collect::<Vec<_>>())
    .bind(events.iter().map(|(_, _, (event, _))| event.payload.as_str()).collect::<Vec<_>>())
    .bind(events.iter().map(|(_, _, (event, _))| event.metadata.as_str()).collect::<Vec<_>>())
    .bind(commands.iter().map(|(n, ..)| number(*n)).collect::<Vec<_>>())
    .bind(commands.iter().map(|(_, stream, ..)| *stream).collect::<Vec<_>>())
    .bind(commands.iter().map(|(_, _, id, _)| id.0).collect::<Vec<_>>())
    .bind(commands.iter().map(|(.., version)| *version).collect::<Vec<_>>())
    .fetch_one(connection)
    .await
}

fn halves(mut batch: Vec<Queued>, error: &sqlx::Error) -> [Vec<Queued>; 2] {
    tracing::debug!(%error, appends = batch.len(), "the batch was refused and is split to find the culprit");
    let second = batch.split_off(batch.len() / 2);
    [second, batch]
}
