//! The owner of a long, hot stream: takes the commands that wait, decides them in memory, appends once.
//!
//! Correct with any number of owners (the version check on the stream sees to that), fast with one.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use events::{CommandId, NewEvent, Position, StreamId, StreamVersion};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

use crate::{
    Aggregate, Append, CommandError, Context, EventStore, Handled, Loaded, StoreError, StreamAppend,
    command_handler::{new_events, repeat},
    snapshots::{Keeper, Standing},
};

/// Most commands that wait for one stream; one more is refused.
const QUEUE: usize = 4096;
/// Most commands decided in one batch.
const BATCH: usize = 512;
/// Other owners may be faster this many times before the commands of a batch are told.
const MAX_ATTEMPTS: usize = 16;

type Outcome<A> = Result<Handled, CommandError<<A as Aggregate>::Error>>;

struct Waiting<A: Aggregate> {
    command: A::Command,
    context: Context,
    reply: oneshot::Sender<Outcome<A>>,
}

/// Submits commands to the owner of one stream. Cheap to clone; the owner ends with the last clone.
pub struct Decider<A: Aggregate> {
    queue: mpsc::Sender<Waiting<A>>,
    /// Longest wait for an answer.
    patience: Duration,
}

impl<A: Aggregate> Clone for Decider<A> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), patience: self.patience }
    }
}

impl<A: Aggregate> Decider<A> {
    /// Starts the owner of `stream` on `tracker`; it loads the stream with its first batch.
    #[must_use]
    pub fn start(store: EventStore, stream: StreamId, tracker: &TaskTracker) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let patience = store.patience();
        let (keeper, known) = (Keeper::of(stream.clone()), Loaded::default());
        tracker
            .spawn(Owner::<A> { store, stream, waiting, known, unsure: true, keeper, tracker: tracker.clone() }.run());
        Self { queue, patience }
    }

    /// Decides in turn with the other commands of the stream; answers after the commit.
    pub async fn submit(&self, command: A::Command, context: Context) -> Outcome<A> {
        let (reply, outcome) = oneshot::channel();
        self.queue.try_send(Waiting { command, context, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => StoreError::Closed,
        })?;
        // An owner that is gone, or that takes too long: what it had decided may yet be committed.
        let outcome = tokio::time::timeout(self.patience, outcome).await;
        outcome.unwrap_or(Ok(unknown())).unwrap_or_else(|_| unknown())
    }
}

fn unknown<T, E: std::error::Error>() -> Result<T, CommandError<E>> {
    Err(CommandError::Store(StoreError::OutcomeUnknown { source: None }))
}

/// One owner a stream, started when first needed. Cheap to clone; clones share the owners.
pub struct Deciders<A: Aggregate> {
    store: EventStore,
    tracker: TaskTracker,
    running: Arc<Mutex<HashMap<StreamId, Decider<A>>>>,
}

impl<A: Aggregate> Clone for Deciders<A> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), tracker: self.tracker.clone(), running: self.running.clone() }
    }
}

impl<A: Aggregate> Deciders<A> {
    #[must_use]
    pub fn new(store: EventStore, tracker: TaskTracker) -> Self {
        Self { store, tracker, running: Arc::default() }
    }

    #[must_use]
    pub fn of(&self, stream: &StreamId) -> Decider<A> {
        let mut running = self.running.lock().expect("nobody panics while holding the lock");
        // One that panicked is replaced: the commands that it had are told, and the stream does not stand still.
        if let Some(decider) = running.get(stream).filter(|decider| !decider.queue.is_closed()) {
            return decider.clone();
        }
        let decider = Decider::start(self.store.clone(), stream.clone(), &self.tracker);
        running.insert(stream.clone(), decider.clone());
        decider
    }
}

struct Owner<A: Aggregate> {
    store: EventStore,
    stream: StreamId,
    waiting: mpsc::Receiver<Waiting<A>>,
    known: Loaded<A>,
    /// Whether the stream may have gone on without us: then it is asked before the next decision.
    unsure: bool,
    keeper: Keeper,
    tracker: TaskTracker,
}

/// A command of a batch and what was decided about it.
enum Verdict<A: Aggregate> {
    Granted(StreamVersion),
    Done(Outcome<A>),
}

/// What a batch decided, on a state of its own until it is committed.
struct Decided<A: Aggregate> {
    state: A,
    version: StreamVersion,
    events: Vec<NewEvent>,
    commands: Vec<(CommandId, StreamVersion)>,
    verdicts: Vec<Verdict<A>>,
}

impl<A: Aggregate> Owner<A> {
    async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        while self.waiting.recv_many(&mut batch, BATCH).await > 0 {
            while !batch.is_empty() {
                let (now, later) = without_twins(std::mem::take(&mut batch));
                self.settle(now).await;
                batch = later;
            }
        }
    }

    async fn settle(&mut self, batch: Vec<Waiting<A>>) {
        let mut unknown = false;
        for _ in 0..MAX_ATTEMPTS {
            let sure = self.unsure; // asked just now, or decided on what may be old
            let decided = match self.decide(&batch).await {
                Ok(decided) => decided,
                Err(error) => return fail(batch, error, unknown),
            };
            // An append proves that the state was current; a batch of refusals has to ask.
            if decided.events.is_empty() && !sure {
                self.unsure = true;
                continue;
            }
            if decided.events.is_empty() {
                let position = self.store.position_of(&self.stream, decided.version).await;
                return match position {
                    Ok(position) => answer(batch, decided.verdicts, position, decided.version, 0),
                    Err(error) => fail(batch, error, unknown),
                };
            }
            let (appended, last_event) = (decided.events.len(), decided.events.last().map(|event| event.event_id));
            let append = Append::to_one(StreamAppend {
                stream_id: self.stream.clone(),
                expected_version: self.known.version,
                events: decided.events,
                commands: decided.commands,
            });
            match self.store.append(append).await {
                Ok(done) => {
                    self.known.state = decided.state;
                    self.known.version = decided.version;
                    if let Some(event) = last_event {
                        let at = Standing { version: decided.version, position: done.last, event };
                        self.keeper.offer(&self.store, &self.known.state, at, &self.tracker);
                    }
                    return answer(batch, decided.verdicts, done.last, decided.version, appended);
                }
                // What this owner knows is no longer in the log: it must not decide on it.
                Err(StoreError::WrongExpectedVersion { actual, .. }) if actual < self.known.version => {
                    return fail(batch, self.store.lost_history(), unknown);
                }
                Err(StoreError::WrongExpectedVersion { .. }) => self.unsure = true,
                Err(StoreError::OutcomeUnknown { .. }) => (self.unsure, unknown) = (true, true),
                Err(error) => {
                    self.unsure = true;
                    return fail(batch, error, unknown);
                }
            }
        }
        fail(batch, StoreError::Overloaded, unknown);
    }

    /// Decides the batch in order on the state as it is known, without touching it.
    async fn decide(&mut self, batch: &[Waiting<A>]) -> Result<Decided<A>, StoreError> {
        if self.unsure {
            let mut known = std::mem::take(&mut self.known);
            if known.version == 0 {
                known = self.keeper.read(&self.store).await?;
            }
            self.known = self.store.load_from(&self.stream, known, CommandId(uuid::Uuid::nil())).await?;
            self.unsure = false;
        }
        let ids: Vec<_> = batch.iter().map(|waiting| waiting.context.command_id).collect();
        let answered = self.store.answered(&self.stream, &ids).await?;
        let mut decided = Decided {
            state: self.known.state.clone(),
            version: self.known.version,
            events: Vec::new(),
            commands: Vec::new(),
            verdicts: Vec::with_capacity(batch.len()),
        };
        for waiting in batch {
            let verdict = match answered.get(&waiting.context.command_id) {
                Some(answered) => Verdict::Done(repeat(answered, &waiting.context)),
                None => decided.take(&self.store, waiting),
            };
            decided.verdicts.push(verdict);
        }
        Ok(decided)
    }
}

impl<A: Aggregate> Decided<A> {
    fn take(&mut self, store: &EventStore, waiting: &Waiting<A>) -> Verdict<A> {
        let events = match self.state.decide(waiting.command.clone()) {
            Ok(events) => events,
            Err(error) => return Verdict::Done(Err(CommandError::Rejected(error))),
        };
        if events.is_empty() {
            return Verdict::Granted(self.version);
        }
        for event in &events {
            self.state = std::mem::take(&mut self.state).evolve(event);
            self.version += 1;
        }
        self.events.extend(new_events::<A>(store, events, &waiting.context));
        self.commands.push((waiting.context.command_id, self.version));
        Verdict::Granted(self.version)
    }
}

/// Tells each caller; `last` is the position of the stream's last event, at `version`, of which `appended` are new.
fn answer<A: Aggregate>(
    batch: Vec<Waiting<A>>,
    verdicts: Vec<Verdict<A>>,
    last: Position,
    version: StreamVersion,
    appended: usize,
) {
    let before = version - StreamVersion::try_from(appended).expect("a batch is bounded");
    for (waiting, verdict) in batch.into_iter().zip(verdicts) {
        let outcome = match verdict {
            Verdict::Done(outcome) => outcome,
            Verdict::Granted(granted) => {
                // Within one append the positions are as dense as the versions.
                let position = if granted > before { Position(last.0 - (version - granted)) } else { last };
                Ok(Handled { version: granted, position, repeated: false })
            }
        };
        let _ = waiting.reply.send(outcome); // a caller that went away asks again with its command id
    }
}

/// Tells each caller of the batch. An error of the driver cannot be cloned, so only the first gets the source.
fn fail<A: Aggregate>(batch: Vec<Waiting<A>>, error: StoreError, unknown: bool) {
    tracing::warn!(%error, commands = batch.len(), unknown, "the commands of a stream's owner failed");
    let transient = error.is_transient();
    let unknown = unknown || matches!(error, StoreError::OutcomeUnknown { .. });
    let mut first = Some(error);
    for waiting in batch {
        let error = match first.take() {
            _ if unknown => StoreError::OutcomeUnknown { source: None },
            Some(error) => error,
            None if transient => StoreError::Overloaded,
            None => StoreError::Closed,
        };
        let _ = waiting.reply.send(Err(CommandError::Store(error)));
    }
}

/// The batch without second occurrences of a command id, and those: a twin waits for the first answer.
fn without_twins<A: Aggregate>(batch: Vec<Waiting<A>>) -> (Vec<Waiting<A>>, Vec<Waiting<A>>) {
    let mut seen = HashSet::new();
    batch.into_iter().partition(|waiting| seen.insert(waiting.context.command_id))
}
