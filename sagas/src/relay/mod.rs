//! The only publisher. It follows the log in two lanes, commands and facts, each with its own session and checkpoint: what is
//! not committed is not published, and what was not confirmed is published again.

mod commands;
mod facts;
mod lane;

pub(crate) use commands::{command_of, holds_intent};
pub(crate) use lane::Publisher;

use events::{LogId, RawRecorded};
use futures_util::FutureExt;
use lapin::BasicProperties;
use tokio_util::sync::CancellationToken;
use write_side::EventStore;

use crate::{Config, Error, bus::Broker, dead_letters, health::Health, lease};

/// A message for the broker, made from an event.
pub(crate) struct Message {
    pub exchange: &'static str,
    pub routing_key: String,
    /// Whether it is an error when no queue takes it.
    pub mandatory: bool,
    pub properties: BasicProperties,
    pub body: Vec<u8>,
}

/// Which events a lane publishes, and as what.
pub(crate) trait Lane: Send + Sync + 'static {
    const NAME: &'static str;
    /// Of the checkpoint.
    const READER: &'static str;

    /// The message that this event makes; none for most events.
    fn message(log_id: &LogId, event: &RawRecorded) -> Result<Option<Message>, Error>;
}

/// Health of the two lanes and of the drain of dead letters.
#[derive(Debug, Clone, Default)]
pub struct RelayHealth {
    pub commands: Health,
    pub facts: Health,
    pub dead_letters: Health,
}

/// Publishes until shutdown; one process at a time, others wait to take over.
pub async fn run(
    config: Config,
    store: EventStore,
    health: RelayHealth,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let (config, store, health) = (&config, &store, &health);
    let owned = |stop: CancellationToken| {
        async move {
            let _owned = (health.commands.owned(), health.facts.owned());
            let commands =
                lane::run::<commands::Commands>(config, store, broker(config, "commands", &health.commands), &stop);
            let facts = lane::run::<facts::Facts>(config, store, broker(config, "facts", &health.facts), &stop);
            let dead = dead_letters::drain(store, broker(config, "dead-letters", &health.dead_letters), &stop);
            tokio::try_join!(commands, facts, dead).map(drop)
        }
        .boxed()
    };
    lease::while_owner(store, "relay", config.runner.lease_ms, &shutdown, owned).await
}

fn broker(config: &Config, lane: &str, health: &Health) -> Broker {
    Broker {
        url: config.amqp_url.clone(),
        name: format!("waybill relay {lane}"),
        config: config.broker.clone(),
        health: health.clone(),
    }
}
