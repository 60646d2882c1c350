//! Exchanges and queues, every argument explicit, so that RabbitMQ 3.10 and 4.x behave alike. Declaring is safe to repeat.

use std::time::Duration;

use events::{
    bus::{COMMANDS_EXCHANGE, DEAD_LETTER_EXCHANGE, DEAD_LETTER_QUEUE, FACTS_EXCHANGE, MARKER_QUEUE, command_queues},
    participant::Participant,
};
use lapin::{
    Channel, ErrorKind, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};

use super::{Link, within};
use crate::error::BusError;

/// Losing a consumer counts as a delivery too, so this is generous.
const DELIVERY_LIMIT: i32 = 50;
/// Commands beyond this many are refused, and stay in the log until there is room.
const COMMANDS_MAX: i32 = 500_000;
const DEAD_LETTERS_MAX: i32 = 1_000_000;

/// Declares everything that commands and facts need.
pub(crate) async fn declare(channel: &Channel, limit: Duration) -> Result<(), BusError> {
    for (exchange, kind) in [
        (COMMANDS_EXCHANGE, ExchangeKind::Direct),
        (FACTS_EXCHANGE, ExchangeKind::Topic),
        (DEAD_LETTER_EXCHANGE, ExchangeKind::Fanout),
    ] {
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let declaring = channel.exchange_declare(exchange.into(), kind, options, FieldTable::default());
        within(limit, "declare an exchange", declaring).await?;
    }
    queue(channel, limit, DEAD_LETTER_QUEUE, dead_letter_arguments()).await?;
    bind(channel, limit, DEAD_LETTER_QUEUE, DEAD_LETTER_EXCHANGE, "").await?;
    for participant in [Participant::Inventory, Participant::Payment, Participant::Shipping] {
        for name in command_queues(participant) {
            queue(channel, limit, &name, command_arguments()).await?;
            bind(channel, limit, &name, COMMANDS_EXCHANGE, &name).await?;
        }
    }
    Ok(())
}

/// The marker of one lane of the relay.
pub(crate) fn marker(lane: &str) -> String {
    format!("{MARKER_QUEUE}.{lane}")
}

/// Whether the broker still knows the queue. Uses up a channel when it does not.
pub(crate) async fn knows(link: &Link, name: &str) -> Result<bool, BusError> {
    let channel = link.channel().await?;
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let asking = channel.queue_declare(name.into(), options, FieldTable::default());
    match within(link.config.timeout_ms, "look for a queue", asking).await {
        Ok(_) => Ok(true),
        Err(BusError::Broker { source, .. }) if is_not_found(&source) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Puts the marker of a lane where it will be missed.
pub(crate) async fn mark(channel: &Channel, limit: Duration, lane: &str) -> Result<(), BusError> {
    queue(channel, limit, &marker(lane), arguments(&[("x-queue-type", text("quorum"))])).await
}

/// A round trip to the broker: the dead-letter exchange is there in every session.
pub(crate) async fn sign_of_life(channel: &Channel, limit: Duration) -> Result<(), BusError> {
    let options = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
    let asking =
        channel.exchange_declare(DEAD_LETTER_EXCHANGE.into(), ExchangeKind::Fanout, options, FieldTable::default());
    within(limit, "show a sign of life", asking).await
}

fn is_not_found(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error) if error.get_id() == 404)
}

async fn queue(channel: &Channel, limit: Duration, name: &str, arguments: FieldTable) -> Result<(), BusError> {
    let declaring = channel.queue_declare(name.into(), QueueDeclareOptions::durable(), arguments);
    within(limit, "declare a queue", declaring).await.map(drop)
}

async fn bind(channel: &Channel, limit: Duration, queue: &str, exchange: &str, key: &str) -> Result<(), BusError> {
    let options = QueueBindOptions::default();
    let binding = channel.queue_bind(queue.into(), exchange.into(), key.into(), options, FieldTable::default());
    within(limit, "bind a queue", binding).await
}

fn command_arguments() -> FieldTable {
    arguments(&[
        ("x-queue-type", text("quorum")),
        ("x-single-active-consumer", AMQPValue::Boolean(true)),
        ("x-delivery-limit", AMQPValue::LongInt(DELIVERY_LIMIT)),
        ("x-max-length", AMQPValue::LongInt(COMMANDS_MAX)),
        // Dead-lettering at least once wants it, too.
        ("x-overflow", text("reject-publish")),
        ("x-dead-letter-exchange", text(DEAD_LETTER_EXCHANGE)),
        ("x-dead-letter-strategy", text("at-least-once")),
    ])
}

fn dead_letter_arguments() -> FieldTable {
    arguments(&[
        ("x-queue-type", text("quorum")),
        ("x-delivery-limit", AMQPValue::LongInt(1_000_000)),
        ("x-max-length", AMQPValue::LongInt(DEAD_LETTERS_MAX)),
        ("x-overflow", text("reject-publish")),
    ])
}

fn arguments(pairs: &[(&str, AMQPValue)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in pairs {
        table.insert((*name).into(), value.clone());
    }
    table
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}
