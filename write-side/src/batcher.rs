//! Group commit: what waits goes into the log in one call, one transaction, one fsync; each append gets its own verdict.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use events::{LogError, LogId, LogPosition, Position, StreamId, StreamVersion, Wake};
use sqlx::{
    Connection, PgConnection,
    postgres::{PgConnectOptions, PgDatabaseError, PgSeverity},
};
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Append, Appended, StoreConfig, StoreError, StreamAppend,
    append_sql::{self, Outcome, sorted_streams},
    known::{Known, Landmark, Sent, Written},
    traffic::Counters,
};

/// How often a batch is repeated when the server says that only the moment was wrong.
const REPEATS: u32 = 5;
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);
const ATTACH_TIMEOUT: Duration = Duration::from_secs(10);
/// What the append's functions raise when the log ends before a position that it is said to have reached, or holds another event there.
const HISTORY_CHANGED: &str = "WB001";
/// What they raise when somebody else may have appended to a stream that this process vouched for.
const LOOK_AGAIN: &str = "WB003";
/// What they raise when a batch that was written ahead does not stand behind the one that was under way.
const NOT_NEXT: &str = "WB004";
/// The same, where the batch stumbled over what stands there.
const UNIQUE: &str = "23505";

/// An append that waits for its verdict.
pub(crate) struct Queued {
    pub append: Append,
    pub claim: Claim,
    pub reply: oneshot::Sender<Result<Appended, StoreError>>,
}

impl Queued {
    /// Of an append that was refused by itself.
    fn is_key_taken(&self, error: &sqlx::Error) -> bool {
        !self.append.keys.is_empty() && is_command_known(error)
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
    pub known: Known,
    /// Left over from the last batch: a stream occurs once in a batch.
    pub held_back: Vec<Queued>,
}

/// What became of a batch as a whole.
enum BatchError {
    /// A deadlock, a serialisation failure, a lock timeout, or it was written ahead in vain: the same batch may pass now.
    Repeat(sqlx::Error),
    /// What this process thought that it knew of the batch's streams may be old: the same batch may pass when they are looked for.
    LookAgain(sqlx::Error),
    /// The server refused a statement; one of the appends is to blame.
    Refused(sqlx::Error),
    /// A key of the append was given before, in the same category.
    KeyTaken,
    /// Nothing was sent.
    Unreachable(sqlx::Error),
    /// Nothing was written, and nothing will be for a while.
    Unfit(sqlx::Error),
    /// The log no longer holds what this process has committed: nothing can be appended by it any more.
    HistoryChanged { reached: Position, source: sqlx::Error },
    /// Sent, and no answer.
    Lost(Option<sqlx::Error>),
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
        let (mut repeats, mut sure, started) = (0, true, Instant::now());
        loop {
            let in_time = started.elapsed() < self.config.statement_timeout;
            let patient = in_time && repeats < REPEATS;
            match self.commit_once(batch, sure).await {
                Err(BatchError::LookAgain(_)) if in_time => sure = false,
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

    /// Unless this process is `sure` of what it knows, every version is looked for.
    async fn commit_once(&mut self, batch: &[Queued], sure: bool) -> Result<Outcome, BatchError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(&self.options, self.config.connect_timeout).await.map_err(BatchError::Unreachable)?,
        };
        let hint = self.wake.reached();
        let streams = sorted_streams(batch);
        let sent = sent(batch, &streams);
        let (vouched, _sending) = if sure {
            let expected = streams.iter().map(|(_, stream)| stream.expected_version);
            self.known.vouch(self.wake.newest(), sent, expected)
        } else {
            self.known.vouch_for_none(sent)
        };
        let call = append_sql::append(&mut connection, batch, &streams, hint, &vouched);
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
                Some(code) if code == LOOK_AGAIN => {
                    self.connection = Some(connection);
                    self.known.forget(vouched.known);
                    Err(BatchError::LookAgain(error))
                }
                // Maybe the command's own first append, that came between: then the version is stale, and that is what its owner is told.
                Some(_) if vouched.for_any && is_command_known(&error) => {
                    self.connection = Some(connection);
                    Err(BatchError::LookAgain(error))
                }
                Some(code)
                    if is_of_the_moment(&code) || (code == UNIQUE && vouched.ahead && !is_command_known(&error)) =>
                {
                    self.connection = Some(connection);
                    if vouched.ahead {
                        self.known.pause();
                    }
                    Err(BatchError::Repeat(error))
                }
                // The log lacks what this process has committed: its server was restored, or a standby was behind.
                Some(code) if code == HISTORY_CHANGED => {
                    Err(BatchError::HistoryChanged { reached: hint, source: error })
                }
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
        if let Some(before) = outcome.last_position {
            let event = outcome.last_event;
            self.remember(event.map(|event| Landmark { position: Position(before), event }), &batch, &stale);
        }
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

    /// Keeps the versions to which a batch led whose events stand after `before`.
    fn remember(&self, before: Option<Landmark>, batch: &[Queued], stale: &[Option<StoreError>]) {
        let streams =
            batch.iter().zip(stale).filter(|(_, stale)| stale.is_none()).flat_map(|(queued, _)| &queued.append.streams);
        let versions: Vec<_> = streams
            .clone()
            .map(|stream| {
                let events = StreamVersion::try_from(stream.events.len()).expect("a batch is bounded");
                (stream.stream_id.clone(), stream.expected_version + events, events)
            })
            .collect();
        let count: i64 = versions.iter().map(|(.., events)| events).sum();
        if let Some(event) = streams.flat_map(|stream| &stream.events).last() {
            let position = Position(before.map_or(0, |before| before.position.0) + count);
            let versions = versions.into_iter().map(|(stream, version, _)| (stream, version)).collect();
            self.known.add(Written { before, last: Landmark { position, event: event.event_id }, versions });
        }
    }

    /// Tells every owner. An error of the driver cannot be cloned, so only the first gets it as a source.
    fn fail(&self, batch: Vec<Queued>, error: BatchError) {
        let (kind, mut source) = match error {
            BatchError::Lost(source) => (Failure::Unknown, source),
            BatchError::HistoryChanged { reached, source } => (Failure::HistoryChanged(reached), Some(source)),
            BatchError::KeyTaken => (Failure::KeyTaken, None),
            BatchError::Repeat(source)
            | BatchError::LookAgain(source)
            | BatchError::Refused(source)
            | BatchError::Unfit(source)
            | BatchError::Unreachable(source) => (Failure::Definite, Some(source)),
        };
        if let Failure::HistoryChanged(reached) = kind {
            let error = source.as_ref().map(tracing::field::display);
            tracing::error!(%reached, error, "the log no longer holds what this process has committed: history changed");
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

/// What the batch writes if all of it is good, of these streams.
fn sent(batch: &[Queued], streams: &[(usize, &StreamAppend)]) -> Sent {
    let events = batch.iter().map(|queued| queued.append.event_count()).sum::<usize>();
    let mut all = batch.iter().flat_map(|queued| &queued.append.streams).flat_map(|stream| &stream.events);
    let first_event = all.next().expect("an append has events").event_id;
    Sent {
        streams: streams.iter().map(|(_, stream)| stream.stream_id.clone()).collect(),
        events: i64::try_from(events).expect("a batch is bounded"),
        first_event,
        last_event: all.last().map_or(first_event, |event| event.event_id),
    }
}

/// A deadlock, a serialisation failure, a lock timeout, or a batch that was written ahead in vain.
fn is_of_the_moment(code: &str) -> bool {
    ["40P01", "40001", "55P03", NOT_NEXT].contains(&code)
}

/// A command had its effect on the stream before, or a key in its category.
fn is_command_known(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.constraint()) == Some("commands_pkey")
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
        let (append, StreamAppend { stream_id, expected_version, .. }) = sorted[index];
        let (stream, expected) = (stream_id.clone(), *expected_version);
        stale[append] = Some(StoreError::WrongExpectedVersion { stream, expected, actual });
    }
    stale
}

fn halves(mut batch: Vec<Queued>, error: &sqlx::Error) -> [Vec<Queued>; 2] {
    tracing::debug!(%error, appends = batch.len(), "the batch was refused and is split to find the culprit");
    let second = batch.split_off(batch.len() / 2);
    [second, batch]
}
