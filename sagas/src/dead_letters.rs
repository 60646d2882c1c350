//! Messages that no participant could take: drained from the broker into a table, listed, and sent again on a person's word.
//!
//! Sending again goes through the relay like everything else: a replay only marks the row.

use chrono::{DateTime, Utc};
use events::{
    CommandId,
    bus::{COMMANDS_EXCHANGE, DEAD_LETTER_QUEUE, command_queues},
    participant::Participant,
};
use futures_util::{FutureExt, StreamExt};
use lapin::{
    BasicProperties,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    types::{AMQPValue, FieldTable},
};
use serde::Serialize;
use sqlx::{FromRow, PgPool};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use write_side::EventStore;

use crate::{
    Error,
    bus::{Broker, Link, topology, within},
    error::{BusError, chain},
    relay::{Message, Publisher},
};

/// A message that died, and why.
#[derive(Debug, Clone, Serialize, FromRow)]
pub struct DeadLetter {
    pub id: Uuid,
    pub received_at: DateTime<Utc>,
    /// Where it was when it died.
    pub queue: String,
    /// `rejected`, `delivery_limit`, `maxlen` or `expired`.
    pub reason: String,
    /// As text; bytes that are no UTF-8 are replaced.
    #[sqlx(try_from = "Vec<u8>")]
    pub body: Body,
    /// `waiting`, `requeue` or `replayed`.
    pub state: String,
}

/// The bytes of a message, shown as text.
#[derive(Debug, Clone, Serialize)]
pub struct Body(pub String);

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// The dead letters, newest first.
pub async fn list(pool: &PgPool, limit: u32) -> Result<Vec<DeadLetter>, Error> {
    sqlx::query_as(
        "SELECT id, received_at, queue, reason, body, state FROM dead_letters ORDER BY received_at DESC, id LIMIT $1",
    )
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await
    .map_err(Error::doing("list the dead letters"))
}

/// Has the relay send a dead letter to its queue once more.
///
/// # Errors
/// `NoQueue`: it did not die in a participant's queue, so there is nobody to send it to.
pub async fn replay(pool: &PgPool, id: Uuid) -> Result<(), Error> {
    let marked = sqlx::query(
        "UPDATE dead_letters SET state = 'requeue', changed_at = clock_timestamp() \
         WHERE id = $1 AND state <> 'requeue' AND queue = ANY ($2)",
    )
    .bind(id)
    .bind(known_queues())
    .execute(pool)
    .await
    .map_err(Error::doing("mark a dead letter"))?;
    if marked.rows_affected() == 1 {
        return Ok(());
    }
    let queue: Option<String> =
        sqlx::query_scalar("SELECT queue FROM dead_letters WHERE id = $1 AND queue <> ALL ($2)")
            .bind(id)
            .bind(known_queues())
            .fetch_optional(pool)
            .await
            .map_err(Error::doing("look for a dead letter"))?;
    Err(queue.map_or(Error::NoSuchDeadLetter { id }, |queue| Error::NoQueue { id, queue }))
}

fn known_queues() -> Vec<String> {
    [Participant::Inventory, Participant::Payment, Participant::Shipping].into_iter().flat_map(command_queues).collect()
}

/// Publishes what was marked, and notes it once the broker has it.
pub(crate) async fn send_again(pool: &PgPool, publisher: &Publisher) -> Result<(), BusError> {
    let marked: Vec<(Uuid, String, Vec<u8>)> = sqlx::query_as(
        "SELECT id, queue, body FROM dead_letters WHERE state = 'requeue' ORDER BY received_at LIMIT 100",
    )
    .fetch_all(pool)
    .await
    .map_err(Error::doing("look for dead letters to send again"))?;
    for (id, routing_key, body) in marked {
        let properties = BasicProperties::default()
            .with_delivery_mode(2)
            .with_content_type("application/json".into())
            .with_message_id(id.to_string().into());
        let message = Message { exchange: COMMANDS_EXCHANGE, routing_key, mandatory: true, properties, body };
        let state = match publisher.publish(message).await?.await {
            Ok(_) => "replayed",
            // Its queue is gone: one letter must not end the session that everything else is sent in.
            Err(error @ BusError::Unroutable { .. }) => {
                tracing::warn!(dead_letter.id = %id, error = chain(&error), "a dead letter cannot be sent again and waits");
                "waiting"
            }
            Err(error) => return Err(error),
        };
        sqlx::query("UPDATE dead_letters SET state = $2, changed_at = clock_timestamp() WHERE id = $1")
            .bind(id)
            .bind(state)
            .execute(pool)
            .await
            .map_err(Error::doing("note a dead letter that was sent again"))?;
    }
    Ok(())
}

/// Moves dead letters from the broker into the table until shutdown.
pub(crate) async fn drain(store: &EventStore, broker: Broker, shutdown: &CancellationToken) -> Result<(), Error> {
    broker.supervise(shutdown, |link| async move { session(store.log().pool(), &link).await }.boxed()).await
}

async fn session(pool: &PgPool, link: &Link) -> Result<(), BusError> {
    let (channel, limit) = (link.channel().await?, link.config.timeout_ms);
    topology::declare(&channel, limit).await?;
    within(limit, "set the prefetch", channel.basic_qos(50, BasicQosOptions::default())).await?;
    let subscribing = channel.basic_consume(
        DEAD_LETTER_QUEUE.into(),
        "".into(),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    );
    let mut deliveries = within(limit, "subscribe to a queue", subscribing).await?;
    let drained = async {
        while let Some(delivery) = deliveries.next().await {
            let delivery = delivery.map_err(|source| BusError::Broker { doing: "deliver", source })?;
            keep(pool, &delivery).await?;
            link.health.handled(1);
            let ack = channel.basic_ack(delivery.delivery_tag, BasicAckOptions::default());
            within(limit, "take an acknowledgement", ack).await?;
        }
        Err(BusError::Cancelled { queue: DEAD_LETTER_QUEUE.into() })
    };
    tokio::select! {
        ended = drained => ended,
        ended = link.watch() => ended,
    }
}

async fn keep(pool: &PgPool, delivery: &Delivery) -> Result<(), BusError> {
    let headers = delivery.properties.headers().clone().unwrap_or_default();
    let header = |name: &str| headers.inner().get(name).map(text).unwrap_or_default();
    let (queue, reason) = (header("x-first-death-queue"), header("x-first-death-reason"));
    let queue = if queue.is_empty() { delivery.routing_key.to_string() } else { queue };
    let headers = serde_json::to_string(&headers).unwrap_or_else(|_| "{}".into());
    // Drained twice after a crash, it is one letter; sent again and dead again, it is another.
    let message_id = delivery.properties.message_id().as_ref().map(ToString::to_string).unwrap_or_default();
    let body = String::from_utf8_lossy(&delivery.data);
    let id = CommandId::of(&["dead-letter", &queue, &headers, &message_id, &body]);
    tracing::warn!(queue, reason, "a message has died");
    sqlx::query(
        "INSERT INTO dead_letters (id, queue, reason, headers, body) VALUES ($1, $2, $3, $4::json, $5) \
         ON CONFLICT DO NOTHING",
    )
    .bind(id.0)
    .bind(queue)
    .bind(reason)
    .bind(headers)
    .bind(&delivery.data)
    .execute(pool)
    .await
    .map_err(Error::doing("keep a dead letter"))?;
    Ok(())
}

fn text(value: &AMQPValue) -> String {
    match value.as_long_string() {
        Some(text) => String::from_utf8_lossy(text.as_bytes()).into_owned(),
        None => String::new(),
    }
}
