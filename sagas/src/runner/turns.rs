//! One round of the engine: many sagas decide on what they heard, and everything decided is appended concurrently.

use std::{
    collections::{HashMap, HashSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use backon::{ExponentialBuilder, Retryable};
use chrono::{DateTime, Utc};
use events::{CommandId, DomainEvent, FulfilmentEvent, Metadata, NewEvent, OrderId, Position, Recorded};
use futures_util::{FutureExt, StreamExt, stream};
use write_side::{Append, EventStore, Loaded, StoreError, StreamAppend, domain::order::Order};

use super::{
    Engine,
    cache::{self, Known},
    orders::{Asked, OrderWork},
};
use crate::{
    Error,
    decide::{Moment, decide},
    error::chain,
    fact::Fact,
    relay::holds_intent,
    saga::{Saga, Setup},
    state::UnknownStep,
};

/// Appends under way at once: what the store's group commit can take in a batch or two.
const CONCURRENT: usize = 512;
/// Another writer may be faster this often before a saga is left to a person.
const MAX_ATTEMPTS: usize = 4;

/// A fact for one saga, and where it comes from.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    pub order_id: OrderId,
    pub fact: Fact,
    /// Of the event; for what is no event, up to where the engine has read.
    pub position: Position,
    pub causation_id: Option<CommandId>,
    /// Tells an order that is placed of whose shop it is.
    pub metadata: Option<Metadata>,
    /// When the engine took it up: what deadlines are counted from.
    pub now: DateTime<Utc>,
}

impl Heard {
    pub(super) fn recorded(order_id: OrderId, fact: Fact, event: &Recorded<DomainEvent>, now: DateTime<Utc>) -> Self {
        let metadata = matches!(fact, Fact::Placed(_)).then(|| event.metadata.clone());
        let causation_id = Some(event.metadata.causation_id);
        Self { order_id, fact, position: event.position, causation_id, metadata, now }
    }

    pub(super) fn by_itself(order_id: OrderId, fact: Fact, position: Position, now: DateTime<Utc>) -> Self {
        Self { order_id, fact, position, causation_id: None, metadata: None, now }
    }

    fn moment(&self) -> Moment {
        Moment { now: self.now, jitter: rand::random() }
    }
}

/// What there is to do at once: a page of the log, or what is due.
#[derive(Default)]
pub(super) struct Round {
    pub heard: Vec<Heard>,
    pub work: Vec<OrderWork>,
    /// Sagas that have begun though they are heard to be placed: the page is read again.
    pub begun: HashSet<OrderId>,
}

/// What a saga decided on the facts of a round.
struct Turn {
    order_id: OrderId,
    facts: Vec<Heard>,
    /// As it was, and as it will be once `events` are in the log.
    before: Known,
    after: Known,
    events: Vec<(FulfilmentEvent, Metadata)>,
}

/// Why a saga cannot go on.
struct Broken {
    order_id: OrderId,
    from: Position,
    reason: String,
    /// As far as it could be read.
    known: Option<Known>,
}

/// What is done concurrently in a round.
enum Job {
    Turn(Turn),
    Order(OrderWork, Option<Loaded<Order>>),
}

enum Done {
    Turn(Result<Turn, Broken>),
    Order(Result<Box<Asked>, Broken>),
}

impl Engine<'_> {
    /// Lets sagas decide on what they heard, and carries out the orders' part. Returns what orders answered without an event.
    pub(super) async fn take(&mut self, round: Round) -> Result<Vec<Heard>, Error> {
        let Round { heard, work, begun } = round;
        let facts = self.by_saga(heard);
        let (mut gathered, mut broken) = self.gather(&facts, &work, &begun).await?;
        let mut turns = Vec::new();
        for (order_id, facts) in facts {
            let Some(known) = gathered.remove(&order_id) else { continue }; // broken, and given up below
            match decide_all(self.saga, &self.setup, order_id, known, facts) {
                Ok(turn) if turn.events.is_empty() => drop(gathered.insert(order_id, turn.before)),
                Ok(turn) => turns.push(turn),
                Err(cannot) => broken.push(*cannot),
            }
        }
        // A command is carried out only while its saga waits for the answer, also after what it has heard in this round.
        let states = gathered.values().chain(turns.iter().map(|turn| &turn.after)).map(|known| &known.state);
        let awaited: HashSet<CommandId> = states.filter_map(|state| Some(state.open.as_ref()?.command_id)).collect();
        let mut jobs: Vec<_> = turns.into_iter().map(Job::Turn).collect();
        jobs.extend(work.into_iter().filter(|work| awaited.contains(&work.command_id)).map(|work| {
            let known = self.orders.take(&work.order_id);
            Job::Order(work, known)
        }));
        gathered.into_iter().for_each(|(order_id, known)| self.cache.put(order_id, known));
        let answers = self.carry_out(jobs, &mut broken).await?;
        for cannot in broken {
            self.give_up(cannot).await?;
        }
        Ok(answers)
    }

    async fn carry_out(&mut self, jobs: Vec<Job>, broken: &mut Vec<Broken>) -> Result<Vec<Heard>, Error> {
        let (saga, setup, store) = (self.saga, self.setup.clone(), self.store.clone());
        let carry_out = move |job| carry_out(saga, setup.clone(), store.clone(), job);
        let mut running = stream::iter(jobs).map(carry_out).buffer_unordered(CONCURRENT);
        let mut answers = Vec::new();
        while let Some(done) = running.next().await {
            match done? {
                Done::Turn(Ok(turn)) => {
                    self.health.handled(turn.events.len());
                    self.note_waits(turn.order_id, &turn.after);
                    self.cache.put(turn.order_id, turn.after);
                }
                Done::Turn(Err(cannot)) => broken.push(cannot),
                Done::Order(Ok(asked)) => {
                    answers.extend(asked.answer);
                    if let Some(known) = asked.known {
                        self.orders.put(asked.order_id, known);
                    }
                }
                Done::Order(Err(cannot)) => {
                    let known = self.cache.take(&cannot.order_id);
                    broken.push(Broken { known, ..cannot });
                }
            }
        }
        Ok(answers)
    }

    /// Each saga's facts in their order, without the sagas that are left alone.
    fn by_saga(&self, heard: Vec<Heard>) -> Vec<(OrderId, Vec<Heard>)> {
        let mut places = HashMap::new();
        let mut facts: Vec<(OrderId, Vec<Heard>)> = Vec::new();
        for heard in heard.into_iter().filter(|heard| !self.quarantined.contains(&heard.order_id)) {
            let place = *places.entry(heard.order_id).or_insert_with(|| {
                facts.push((heard.order_id, Vec::new()));
                facts.len() - 1
            });
            facts[place].1.push(heard);
        }
        facts
    }

    /// The states of all sagas concerned, taken out of the memory or loaded: what is put there meanwhile cannot push them out.
    async fn gather(
        &mut self,
        facts: &[(OrderId, Vec<Heard>)],
        work: &[OrderWork],
        begun: &HashSet<OrderId>,
    ) -> Result<(HashMap<OrderId, Known>, Vec<Broken>), Error> {
        let first: HashMap<OrderId, &Heard> =
            facts.iter().filter_map(|(id, heard)| Some((*id, heard.first()?))).collect();
        let worked = work.iter().map(|work| work.order_id).filter(|id| !self.quarantined.contains(id));
        let concerned: HashSet<OrderId> = first.keys().copied().chain(worked).collect();
        let (mut gathered, mut missing, mut broken) = (HashMap::new(), Vec::new(), Vec::new());
        for order_id in concerned {
            let is_new = !begun.contains(&order_id)
                && first.get(&order_id).is_some_and(|first| matches!(first.fact, Fact::Placed(_)));
            match self.cache.take(&order_id) {
                Some(known) => drop(gathered.insert(order_id, known)),
                // Should it have begun before all the same, the append will tell.
                None if is_new => drop(gathered.insert(order_id, Known::default())),
                None => missing.push(order_id),
            }
        }
        for some in missing.chunks(CONCURRENT) {
            for (order_id, loaded) in cache::load(self.store.log(), self.saga, some).await? {
                match loaded {
                    Ok(known) => {
                        // After a crash its row may be older than its stream, and facts heard again may lead to nothing.
                        self.note_waits(order_id, &known);
                        gathered.insert(order_id, known);
                    }
                    Err(error) => {
                        let from = first.get(&order_id).map_or(self.reached.position, |heard| heard.position);
                        broken.push(Broken { order_id, from, reason: error.to_string(), known: None });
                    }
                }
            }
        }
        Ok((gathered, broken))
    }

    /// Tells a person, and leaves the saga alone from there on.
    async fn give_up(&mut self, broken: Broken) -> Result<(), Error> {
        let Broken { order_id, from, reason, known } = broken;
        if let Some(known) = known {
            let now = self.store.clock().now();
            let fact = Heard::by_itself(order_id, Fact::Broken(format!("quarantined: {reason}")), from, now);
            if let Ok(turn) = decide_all(self.saga, &self.setup, order_id, known, vec![fact])
                && !turn.events.is_empty()
                && let Ok(Err(error)) = append(self.store, &turn).await.map(|outcome| outcome.map(drop))
            {
                tracing::error!(order.id = %order_id, error = chain(&error), "the saga's trouble is not in the log");
            }
        }
        self.quarantine(order_id, from, &reason).await
    }
}

async fn carry_out(saga: &'static Saga, setup: Arc<Setup>, store: EventStore, job: Job) -> Result<Done, Error> {
    match job {
        Job::Turn(turn) => settle(saga, &setup, &store, turn).await.map(Done::Turn),
        Job::Order(work, known) => {
            let (order_id, from) = (work.order_id, work.position);
            match AssertUnwindSafe(work.carry_out(&store, known)).catch_unwind().await {
                Ok(asked) => asked.map(|asked| Done::Order(Ok(Box::new(asked)))),
                Err(panic) => {
                    let reason = panicked("commanding its order", &*panic);
                    Ok(Done::Order(Err(Broken { order_id, from, reason, known: None })))
                }
            }
        }
    }
}

/// Appends what a saga decided; decides again when another writer was faster, or when it is unknown whether it was appended.
async fn settle(
    saga: &'static Saga,
    setup: &Setup,
    store: &EventStore,
    mut turn: Turn,
) -> Result<Result<Turn, Broken>, Error> {
    for _ in 0..MAX_ATTEMPTS {
        turn.crash_points("saga.before-intent");
        match append(store, &turn).await? {
            Ok(first) => {
                turn.crash_points("saga.after-intent");
                turn.after.version = turn.before.version + i64::try_from(turn.events.len()).unwrap_or_default();
                for (event, place) in turn.events.iter().zip(first.0..) {
                    if holds_intent(&event.0) {
                        turn.after.intent = Position(place);
                    }
                }
                return Ok(Ok(turn));
            }
            Err(StoreError::WrongExpectedVersion { .. } | StoreError::OutcomeUnknown { .. }) => (),
            Err(error) => return Ok(Err(turn.broken(chain(&error)))),
        }
        let loaded = cache::load(store.log(), saga, &[turn.order_id]).await?;
        let Some((order_id, loaded)) = loaded.into_iter().next() else { break };
        let known = match loaded {
            Ok(known) => known,
            Err(error) => return Ok(Err(turn.broken(error.to_string()))),
        };
        match decide_all(saga, setup, order_id, known, turn.facts) {
            Ok(again) if again.events.is_empty() => return Ok(Ok(again)),
            Ok(again) => turn = again,
            Err(broken) => return Ok(Err(*broken)),
        }
    }
    let reason = "other writers were always faster".to_owned();
    Ok(Err(turn.broken(reason)))
}

/// The inner error is the saga's own; the outer one concerns everybody.
async fn append(store: &EventStore, turn: &Turn) -> Result<Result<Position, StoreError>, Error> {
    let patience = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(20))
        .with_max_delay(Duration::from_secs(1))
        .with_max_times(6)
        .with_jitter();
    let event = |(event, metadata): &(FulfilmentEvent, Metadata)| {
        NewEvent::new(store.ids().next(), &DomainEvent::Fulfilment(event.clone()), metadata)
    };
    let append = Append::to_one(StreamAppend {
        stream_id: turn.order_id.fulfilment_stream(),
        expected_version: turn.before.version,
        events: turn.events.iter().map(event).collect(),
        commands: Vec::new(),
    });
    let appending = async || store.append(append.clone()).await;
    let outcome = appending.retry(patience).when(passes).await;
    match outcome {
        Ok(appended) => Ok(Ok(appended.first)),
        Err(error @ (StoreError::WrongExpectedVersion { .. } | StoreError::OutcomeUnknown { .. })) => Ok(Err(error)),
        Err(error) if is_own_fault(&error) => Ok(Err(error)),
        Err(error) => Err(error.into()),
    }
}

/// Whether the same append may pass in a moment. An unknown outcome is looked into first.
fn passes(error: &StoreError) -> bool {
    error.is_transient()
        && !matches!(error, StoreError::OutcomeUnknown { .. } | StoreError::Closed)
        && !is_own_fault(error)
}

/// The server takes no offence at anything but this one append: data that it cannot keep, or a key that is there already. A missing
/// partition (23514) is the maintainer's affair.
fn is_own_fault(error: &StoreError) -> bool {
    let StoreError::Postgres { source, .. } = error else { return matches!(error, StoreError::Malformed) };
    let code = source.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code.starts_with("22") || ["23502", "23505", "54000"].contains(&&*code))
}

/// Decides on all facts in turn. A panic is this saga's affair.
fn decide_all(
    saga: &'static Saga,
    setup: &Setup,
    order_id: OrderId,
    before: Known,
    facts: Vec<Heard>,
) -> Result<Turn, Box<Broken>> {
    let deciding = AssertUnwindSafe(|| {
        let mut after = before.clone();
        let mut events = Vec::new();
        for heard in &facts {
            if after.origin.is_none() {
                after.origin = heard.metadata.clone().map(Arc::new);
            }
            let Some(origin) = after.origin.clone() else { continue };
            let metadata = Metadata {
                causation_id: causation(heard, &after, &origin),
                business_time: None,
                body_hash: None,
                ..(*origin).clone()
            };
            for event in decide(saga, setup, &after.state, &heard.fact, heard.moment()) {
                after.state.apply(saga, &event)?;
                events.push((event, metadata.clone()));
            }
        }
        Ok((after, events))
    });
    let from = facts.first().map_or(Position::START, |heard| heard.position);
    let broken = |reason| Box::new(Broken { order_id, from, reason, known: Some(before.clone()) });
    match catch_unwind(deciding) {
        Ok(Ok((after, events))) => Ok(Turn { order_id, facts, before, after, events }),
        Ok(Err(error)) => {
            let error: UnknownStep = error;
            Err(broken(error.to_string()))
        }
        Err(panic) => Err(broken(panicked("the saga's decision", &*panic))),
    }
}

fn causation(heard: &Heard, known: &Known, origin: &Metadata) -> CommandId {
    let awaited = || known.state.open.as_ref().map(|open| open.command_id);
    heard.causation_id.or_else(awaited).unwrap_or(origin.causation_id)
}

fn panicked(what: &str, panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("{what} panicked: {}", text.unwrap_or("without a message"))
}

impl Turn {
    fn broken(self, reason: String) -> Broken {
        let from = self.facts.first().map_or(Position::START, |heard| heard.position);
        Broken { order_id: self.order_id, from, reason, known: Some(self.before) }
    }

    /// `saga.after-intent.authorise_payment`, `saga.after-intent.authorise_payment.undo`
    fn crash_points(&self, phase: &str) {
        for (event, _) in &self.events {
            match event {
                FulfilmentEvent::StepDecided(decided) => events::crash::point(&format!("{phase}.{}", decided.step)),
                FulfilmentEvent::UndoDecided(undo) => events::crash::point(&format!("{phase}.{}.undo", undo.step)),
                FulfilmentEvent::Started(_)
                | FulfilmentEvent::StepResent(_)
                | FulfilmentEvent::StepSucceeded(_)
                | FulfilmentEvent::StepRefused(_)
                | FulfilmentEvent::StepUnknown(_)
                | FulfilmentEvent::UndoSucceeded(_)
                | FulfilmentEvent::NeedsAttention(_)
                | FulfilmentEvent::Completed(_)
                | FulfilmentEvent::Unwound(_) => (),
            }
        }
    }
}
