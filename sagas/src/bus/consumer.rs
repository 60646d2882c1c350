//! Takes a participant's commands from its queues and hands them to lanes: one order's commands in sequence, many orders at once.
//!
//! A delivery is acknowledged after its outcome is in the log. What cannot be read, or makes the handler panic, is rejected to the
//! dead letters.

use std::{collections::HashSet, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use events::{
    CommandId, OrderId,
    bus::{CommandMessage, PARTITIONS, command_queues},
    participant::Participant,
};
use futures_util::{FutureExt, StreamExt, future::try_join_all};
use lapin::{
    Channel,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, BasicRejectOptions},
    types::FieldTable,
};
use tokio::{sync::mpsc, task::JoinSet, time::MissedTickBehavior};

use super::{Link, acks::Acks, topology, within};
use crate::error::BusError;

/// Acknowledgements wait this long for company.
const FLUSH: Duration = Duration::from_millis(5);
const FLUSH_AT: usize = 64;

/// What a participant does with a command. It always comes to an end: what cannot be done now is left to the saga's next sending.
pub(crate) trait Handler: Send + Sync + 'static {
    fn handle(&self, message: CommandMessage, redelivered: bool) -> impl Future<Output = ()> + Send;
}

/// A command in a lane, and where to tell that it is finished.
struct Job {
    message: CommandMessage,
    redelivered: bool,
    tag: u64,
    finished: mpsc::Sender<Finished>,
}

struct Finished {
    command_id: CommandId,
    tag: u64,
    panicked: bool,
}

/// One session: all queues of the participant, until something fails.
pub(crate) async fn session<H: Handler>(link: Link, participant: Participant, handler: Arc<H>) -> Result<(), BusError> {
    topology::declare(&link.channel().await?, link.config.timeout_ms).await?;
    let mut tasks = JoinSet::new();
    let lanes = open_lanes(&link, &handler, &mut tasks);
    let queues = try_join_all(command_queues(participant).map(|queue| consume(&link, queue, participant, &lanes)));
    tokio::select! {
        ended = queues => ended.map(drop),
        ended = link.watch() => ended,
        Some(ended) = tasks.join_next() => Err(ended.err().map_or(BusError::Silent { doing: "keep its lanes" }, BusError::Task)),
    }
}

fn open_lanes<H: Handler>(link: &Link, handler: &Arc<H>, tasks: &mut JoinSet<()>) -> Vec<mpsc::Sender<Job>> {
    // A lane holds whatever the broker lets us have, so that a full one never stops its queue.
    let room = usize::from(link.config.prefetch) * PARTITIONS as usize;
    let open = |_| {
        let (sender, jobs) = mpsc::channel(room);
        tasks.spawn(work_off(handler.clone(), jobs));
        sender
    };
    (0..link.config.lanes.max(1)).map(open).collect()
}

async fn work_off<H: Handler>(handler: Arc<H>, mut jobs: mpsc::Receiver<Job>) {
    while let Some(Job { message, redelivered, tag, finished }) = jobs.recv().await {
        let (command_id, order_id) = (message.command_id, OrderId(message.correlation_id));
        let handled = AssertUnwindSafe(handler.handle(message, redelivered)).catch_unwind().await;
        let panicked = handled.is_err();
        if panicked {
            tracing::error!(order.id = %order_id, "a command made its participant panic; it goes to the dead letters");
        }
        if finished.send(Finished { command_id, tag, panicked }).await.is_err() {
            return; // the session is over
        }
    }
}

async fn consume(
    link: &Link,
    queue: String,
    participant: Participant,
    lanes: &[mpsc::Sender<Job>],
) -> Result<(), BusError> {
    let (limit, prefetch) = (link.config.timeout_ms, link.config.prefetch);
    let channel = link.channel().await?;
    within(limit, "set the prefetch", channel.basic_qos(prefetch, BasicQosOptions::default())).await?;
    let subscribing =
        channel.basic_consume(queue.as_str().into(), "".into(), BasicConsumeOptions::default(), FieldTable::default());
    let mut deliveries = within(limit, "subscribe to a queue", subscribing).await?;
    // Room for everything that can be under way, so a lane never waits here.
    let (finished, mut finishing) = mpsc::channel(usize::from(prefetch) * 2);
    let mut acks = Acks::default();
    // A command that is sent again while the first sending waits for its turn adds nothing: whoever is slow is not made slower.
    let mut under_way = HashSet::new();
    let mut flush = tokio::time::interval(FLUSH);
    flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            delivery = deliveries.next() => match delivery {
                Some(Ok(delivery)) => {
                    match read(&delivery, participant) {
                        Some(message) if !under_way.insert(message.command_id) => acks.finish(delivery.delivery_tag),
                        Some(message) => {
                            let lane = lane_of(&message, lanes.len());
                            let (tag, redelivered) = (delivery.delivery_tag, delivery.redelivered);
                            if redelivered {
                                link.health.repeated();
                            }
                            let job = Job { message, redelivered, tag, finished: finished.clone() };
                            lanes[lane].send(job).await.map_err(|_| BusError::Silent { doing: "keep its lanes" })?;
                        }
                        None => {
                            tracing::error!(queue, "a message cannot be read; it goes to the dead letters");
                            reject(link, &channel, &mut acks, delivery.delivery_tag).await?;
                        }
                    }
                }
                Some(Err(source)) => return Err(BusError::Broker { doing: "deliver", source }),
                None => return Err(BusError::Cancelled { queue }),
            },
            Some(Finished { command_id, tag, panicked }) = finishing.recv() => {
                link.health.handled(1);
                under_way.remove(&command_id);
                if panicked {
                    reject(link, &channel, &mut acks, tag).await?;
                } else {
                    acks.finish(tag);
                }
                if acks.unflushed() >= FLUSH_AT {
                    acknowledge(&channel, limit, &mut acks).await?;
                }
            }
            _ = flush.tick(), if acks.unflushed() > 0 => acknowledge(&channel, limit, &mut acks).await?,
        }
    }
}

fn read(delivery: &Delivery, participant: Participant) -> Option<CommandMessage> {
    let message: CommandMessage = serde_json::from_slice(&delivery.data).ok()?;
    (message.command.participant() == participant).then_some(message)
}

fn lane_of(message: &CommandMessage, lanes: usize) -> usize {
    let hash = message.correlation_id.as_u64_pair().1 / u64::from(PARTITIONS);
    usize::try_from(hash % lanes as u64).unwrap_or_default()
}

async fn reject(link: &Link, channel: &Channel, acks: &mut Acks, tag: u64) -> Result<(), BusError> {
    link.health.failed();
    acks.skip(tag);
    let options = BasicRejectOptions { requeue: false };
    within(link.config.timeout_ms, "take a rejection", channel.basic_reject(tag, options)).await
}

async fn acknowledge(channel: &Channel, limit: Duration, acks: &mut Acks) -> Result<(), BusError> {
    for ack in acks.flush() {
        let options = BasicAckOptions { multiple: ack.multiple };
        within(limit, "take an acknowledgement", channel.basic_ack(ack.tag, options)).await?;
    }
    Ok(())
}
