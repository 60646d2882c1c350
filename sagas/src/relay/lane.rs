//! One lane: reads pages, publishes with many confirmations under way, and moves its checkpoint behind what is confirmed.

use std::{pin::Pin, time::Duration};

use events::{Checkpoint, LogError, Position, RawRecorded, Tail, checkpoint};
use futures_util::{FutureExt, StreamExt, future::ready, stream::FuturesOrdered};
use lapin::{
    Channel, Confirmation, PublisherConfirm,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use write_side::EventStore;

use super::{Lane, Message};
use crate::{
    Config, Error,
    bus::{Broker, Link, topology, within},
    dead_letters,
    error::BusError,
};

/// How often the checkpoint is written. What lies between is published again after a crash, which nobody minds.
const SAVE: Duration = Duration::from_millis(100);
const PAGE: u32 = 256;
/// How often dead letters are looked through for those that a person wants sent again.
const REPLAY: Duration = Duration::from_secs(1);

/// Publishes until shutdown.
pub(crate) async fn run<L: Lane>(
    config: &Config,
    store: &EventStore,
    broker: Broker,
    shutdown: &CancellationToken,
) -> Result<(), Error> {
    broker.supervise(shutdown, |link| async move { session::<L>(config, store, &link).await }.boxed()).await
}

async fn session<L: Lane>(config: &Config, store: &EventStore, link: &Link) -> Result<(), BusError> {
    let publisher = Publisher::open(link).await?;
    topology::declare(&publisher.channel, publisher.limit).await?;
    let log = store.log();
    let mut start = checkpoint::load(log.pool(), L::READER, log.id()).await?;
    if !topology::knows(link, &topology::marker(L::NAME)).await? {
        // Also at the first start ever, when there is nothing to send again.
        tracing::warn!(lane = L::NAME, "the broker knows nothing of us: what it may have lost is sent again");
        start = make_good::<L>(config, store, &publisher, start).await?;
        topology::mark(&publisher.channel, publisher.limit, L::NAME).await?;
    }
    let tail = Tail::open(log.clone(), start.clone(), store.wake(), PAGE).await?;
    link.health.reached(start.position);
    tokio::select! {
        ended = follow::<L>(store, link, &publisher, tail, start) => ended,
        ended = link.watch() => ended,
    }
}

/// After the broker has lost everything: open steps are sent again; facts go back by the configured span.
async fn make_good<L: Lane>(
    config: &Config,
    store: &EventStore,
    publisher: &Publisher,
    start: Checkpoint,
) -> Result<Checkpoint, BusError> {
    let log = store.log();
    if L::NAME == super::commands::Commands::NAME {
        let positions = super::commands::open_intents(log.pool()).await?;
        for some in positions.chunks(PAGE as usize) {
            let events = log.raw_at(some).await?;
            let mut confirms = Confirms::new();
            for event in events.iter().filter(|event| event.position <= start.position) {
                if let Some(message) = L::message(log.id(), event)? {
                    confirms.push_back(publisher.publish(message).await?);
                }
            }
            while let Some(confirmed) = confirms.next().await {
                confirmed?;
            }
        }
        return Ok(start);
    }
    let back = Position((start.position.0 - config.broker.facts_back).max(0));
    let event = log.raw_at(&[back.0]).await?.pop();
    let earlier = event.map_or_else(
        || Checkpoint::start(log.id().clone()),
        |event| Checkpoint { log_id: log.id().clone(), position: event.position, event_id: event.event_id },
    );
    if earlier.position < start.position {
        checkpoint::advance(log.pool(), L::READER, &start, &earlier).await?;
        return Ok(earlier);
    }
    Ok(start)
}

async fn follow<L: Lane>(
    store: &EventStore,
    link: &Link,
    publisher: &Publisher,
    tail: Tail,
    start: Checkpoint,
) -> Result<(), BusError> {
    let log = store.log();
    // Kept over the rounds of the loop: a read that was dropped for each confirmation would be asked for again each time.
    let mut reading = read(tail).boxed();
    let (mut confirmed, mut saved) = (start.clone(), start);
    let mut confirms = Confirms::new();
    let (mut save, mut replay) = (tokio::time::interval(SAVE), tokio::time::interval(REPLAY));
    save.set_missed_tick_behavior(MissedTickBehavior::Delay);
    replay.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            Some(settled) = confirms.next() => {
                if let Settled::PageEnd(checkpoint) = settled? {
                    confirmed = checkpoint;
                    link.health.reached(confirmed.position);
                }
            }
            _ = save.tick(), if confirmed != saved => {
                events::crash::point(L::READER);
                checkpoint::advance(log.pool(), L::READER, &saved, &confirmed).await?;
                saved = confirmed.clone();
            }
            _ = replay.tick(), if L::NAME == super::commands::Commands::NAME => {
                dead_letters::send_again(log.pool(), publisher).await?;
            }
            (page, tail) = &mut reading, if confirms.len() < link.config.in_flight => {
                let mut sent = 0;
                for event in page? {
                    if let Some(message) = L::message(log.id(), &event)? {
                        confirms.push_back(publisher.publish(message).await?);
                        sent += 1;
                    }
                }
                link.health.handled(sent);
                if sent > 0 {
                    events::crash::point("relay.after-send");
                }
                let page_end = tail.checkpoint().clone();
                confirms.push_back(ready(Ok(Settled::PageEnd(page_end))).boxed());
                reading = read(tail).boxed();
            }
        }
    }
}

async fn read(mut tail: Tail) -> (Result<Vec<RawRecorded>, LogError>, Tail) {
    (tail.next_raw_page().await, tail)
}

/// Confirmations in the order of publishing, with the ends of pages between them.
type Confirms = FuturesOrdered<Pin<Box<dyn Future<Output = Result<Settled, BusError>> + Send>>>;

pub(crate) enum Settled {
    Message,
    PageEnd(Checkpoint),
}

/// A channel in confirm mode.
pub(crate) struct Publisher {
    channel: Channel,
    limit: Duration,
}

impl Publisher {
    async fn open(link: &Link) -> Result<Self, BusError> {
        let (channel, limit) = (link.channel().await?, link.config.timeout_ms);
        within(limit, "switch confirmations on", channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(Self { channel, limit })
    }

    /// Hands the message to the broker; the returned future tells, within its own bound, that it is kept safely.
    #[expect(clippy::disallowed_methods, reason = "the one place that publishes")]
    pub(crate) async fn publish(
        &self,
        message: Message,
    ) -> Result<Pin<Box<dyn Future<Output = Result<Settled, BusError>> + Send>>, BusError> {
        let Message { exchange, routing_key, mandatory, properties, body } = message;
        let options = BasicPublishOptions { mandatory, ..BasicPublishOptions::default() };
        let sending =
            self.channel.basic_publish(exchange.into(), routing_key.as_str().into(), options, &body, properties);
        let confirm = within(self.limit, "take a message", sending).await?;
        Ok(confirmed(confirm, self.limit, routing_key).boxed())
    }
}

async fn confirmed(confirm: PublisherConfirm, limit: Duration, routing_key: String) -> Result<Settled, BusError> {
    match within(limit, "confirm a message", confirm).await? {
        Confirmation::Ack(None) => Ok(Settled::Message),
        // It came back: no queue takes it.
        Confirmation::Ack(Some(_)) => Err(BusError::Unroutable { routing_key }),
        Confirmation::Nack(_) | Confirmation::NotRequested => Err(BusError::Refused { routing_key }),
    }
}
