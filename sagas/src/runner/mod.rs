//! Runs sagas: follows the log, lets each saga decide on what it hears, appends what was decided, and carries out what concerns
//! the order itself. What comes of a page is appended at once; a page that is read twice changes nothing.
//!
//! One engine at a time, by lease; a second one that does not know yet that it lost is fenced by the streams' versions and by
//! the checkpoint.

mod cache;
mod deadlines;
mod orders;
mod turns;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use events::{Checkpoint, DomainEvent, LogError, OrderId, Position, Recorded, Tail, checkpoint};
use futures_util::FutureExt;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use write_side::{EventStore, Loaded, domain::order::Order};

use self::{
    cache::Known,
    deadlines::Waits,
    orders::OrderWork,
    turns::{Heard, Round},
};
use crate::{
    Config, Error, fact,
    fact::Fact,
    health::Health,
    lease,
    order_fulfilment::ORDER_FULFILMENT,
    recent::Recent,
    saga::{Saga, Setup},
};

/// Of the checkpoint and the lease.
const READER: &str = "sagas";
/// Overdue sagas taken at once.
const DUE_AT_ONCE: u32 = 500;

/// Runs every saga until shutdown, or waits while another process does.
pub async fn run(config: Config, store: EventStore, health: Health, shutdown: CancellationToken) -> Result<(), Error> {
    let (config, store, health) = (&config, &store, &health);
    let owned = |stop: CancellationToken| {
        async move {
            let _owned = health.owned();
            let mut engine = Engine::open(&ORDER_FULFILMENT, config, store, health).await?;
            health.connected(true);
            health.reached(engine.reached.position);
            engine.work(&stop).await
        }
        .boxed()
    };
    lease::while_owner(store, READER, config.runner.lease_ms, &shutdown, owned).await
}

struct Engine<'a> {
    saga: &'static Saga,
    setup: Arc<Setup>,
    config: &'a Config,
    store: &'a EventStore,
    health: &'a Health,
    cache: Recent<OrderId, Known>,
    /// The orders as the engine last left them, so that commanding one needs no load.
    orders: Recent<OrderId, Loaded<Order>>,
    quarantined: HashSet<OrderId>,
    tail: Option<Tail>,
    /// Up to where everything is appended, and up to where that is written down.
    reached: Checkpoint,
    saved: Checkpoint,
    saved_at: Instant,
    changed: HashMap<OrderId, Option<Waits>>,
    due: Option<Due>,
}

/// What was due, by the database's clock, when the log ended there.
struct Due {
    head: Position,
    sagas: Vec<(OrderId, DateTime<Utc>)>,
}

type Page = Result<Vec<Recorded<DomainEvent>>, LogError>;

async fn read(mut tail: Tail) -> (Page, Tail) {
    (tail.next_page().await, tail)
}

impl<'a> Engine<'a> {
    async fn open(
        saga: &'static Saga,
        config: &'a Config,
        store: &'a EventStore,
        health: &'a Health,
    ) -> Result<Self, Error> {
        let log = store.log();
        let start = checkpoint::load(log.pool(), READER, log.id()).await?;
        let tail = Tail::open(log.clone(), start.clone(), store.wake(), config.runner.page).await?;
        let quarantined = deadlines::quarantined(log.pool(), saga).await?.into_iter().collect();
        Ok(Self {
            saga,
            setup: Arc::new(config.setup()),
            config,
            store,
            health,
            cache: Recent::new(config.runner.cached_sagas),
            orders: Recent::new(config.runner.cached_sagas),
            quarantined,
            tail: Some(tail),
            reached: start.clone(),
            saved: start,
            saved_at: Instant::now(),
            changed: HashMap::new(),
            due: None,
        })
    }

    async fn work(&mut self, stop: &CancellationToken) -> Result<(), Error> {
        let mut poll = tokio::time::interval(self.config.times.poll_ms);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut flush = tokio::time::interval(self.config.runner.flush_ms);
        flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let tail = self.tail.take().expect("an engine works once");
        // Kept over the rounds of the loop, so that a tick does not make the log be asked again.
        let mut reading = read(tail).boxed();
        loop {
            tokio::select! {
                () = stop.cancelled() => return self.save().await,
                (page, tail) = &mut reading => {
                    self.take_page(&page?).await?;
                    self.reached = tail.checkpoint().clone();
                    reading = read(tail).boxed();
                }
                _ = poll.tick() => self.look_for_due().await?,
                _ = flush.tick() => (),
            }
            self.take_due().await?;
            if self.saved_at.elapsed() >= self.config.runner.flush_ms && self.saved != self.reached {
                self.save().await?;
            }
        }
    }

    async fn take_page(&mut self, page: &[Recorded<DomainEvent>]) -> Result<(), Error> {
        let now = self.store.clock().now();
        let mut round = Round::default();
        for event in page {
            if let DomainEvent::Fulfilment(own) = &event.payload {
                let order_id = own.order_id();
                // Written by another engine after this one had lost its lease: what is remembered is old.
                if self.cache.get(&order_id).is_some_and(|known| known.version < event.stream_version) {
                    self.cache.take(&order_id);
                }
                round.begun.insert(order_id);
                round.work.extend(OrderWork::of(event));
                continue;
            }
            if let Some(placed) = orders::placed(event) {
                self.orders.put(event.metadata.correlated_order(), placed);
            }
            if let Some((order_id, fact)) = fact::of(self.saga, &event.payload) {
                round.heard.push(Heard::recorded(order_id, fact, event, now));
            }
        }
        let heard = self.take(round).await?;
        // An order that answered without an event says nothing in the log.
        if !heard.is_empty() {
            self.take(Round { heard, ..Round::default() }).await?;
        }
        if let Some(last) = page.last() {
            self.health.reached(last.position);
        }
        Ok(())
    }

    /// Looks for what is due. An answer that is in the log already came in time, however far behind this engine is: so it reads up
    /// to where the log stands now before it judges.
    async fn look_for_due(&mut self) -> Result<(), Error> {
        if self.due.is_none() {
            let sagas = deadlines::due(self.store.log().pool(), self.saga, DUE_AT_ONCE).await?;
            if !sagas.is_empty() {
                self.due = Some(Due { head: self.store.log().head().await?, sagas });
            }
        }
        Ok(())
    }

    async fn take_due(&mut self) -> Result<(), Error> {
        let here = self.reached.position;
        let Some(due) = self.due.take_if(|due| due.head <= here) else { return Ok(()) };
        let passed = |(id, now)| Heard::by_itself(id, Fact::TimePassed(now), here, now);
        self.take(Round { heard: due.sagas.into_iter().map(passed).collect(), ..Round::default() }).await.map(drop)
    }

    /// Writes down how far the engine has come, with what is waited for since.
    async fn save(&mut self) -> Result<(), Error> {
        deadlines::save(self.store.log().pool(), self.saga, &self.changed, &self.saved, &self.reached).await?;
        self.changed.clear();
        self.saved = self.reached.clone();
        self.saved_at = Instant::now();
        Ok(())
    }

    /// What the saga waits for now, for the next saving.
    fn note_waits(&mut self, order_id: OrderId, known: &Known) {
        let waits = known.state.open.as_ref().map(|open| Waits {
            step: self.saga.step(open.step).name,
            direction: open.direction,
            due_at: open.due_at(),
            intent: known.intent,
        });
        self.changed.insert(order_id, waits);
    }

    async fn quarantine(&mut self, order_id: OrderId, from: Position, reason: &str) -> Result<(), Error> {
        tracing::error!(order.id = %order_id, reason, "a saga is put into quarantine; its later facts are left for a person");
        deadlines::quarantine(self.store.log().pool(), self.saga, order_id, from, reason).await?;
        self.quarantined.insert(order_id);
        self.changed.insert(order_id, None);
        self.health.failed();
        Ok(())
    }
}
