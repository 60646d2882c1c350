//! The bus contract: what a command message looks like, and which queue it goes to.
//!
//! Commands go over a direct exchange to `{participant}.commands.{partition}`; facts to a topic exchange.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    Actor, CommandId, LogPosition, OrderId, Tenant,
    participant::{Participant, ParticipantCommand},
};

pub const COMMANDS_EXCHANGE: &str = "waybill.commands";
pub const FACTS_EXCHANGE: &str = "waybill.facts";
pub const DEAD_LETTER_EXCHANGE: &str = "waybill.dead-letters";
pub const DEAD_LETTER_QUEUE: &str = "waybill.dead-letters";
/// Durable and empty, one for each lane of the relay: its absence at connect tells that the broker was wiped.
pub const MARKER_QUEUE: &str = "waybill.marker";

/// How many queues a participant's commands are spread over. Changing it means new queue names.
pub const PARTITIONS: u32 = 4;

/// A command on its way to a participant. JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandMessage {
    /// The same for every resend: the participant answers it once.
    pub command_id: CommandId,
    /// The order's id: everything that is recorded because of this command carries it.
    pub correlation_id: Uuid,
    pub tenant: Tenant,
    pub actor: Actor,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Of the saga's event that recorded the command.
    pub position: LogPosition,
    pub command: ParticipantCommand,
}

/// The queue of a participant that is in charge of this order; one order's commands stay in sequence.
#[must_use]
pub fn command_queue(participant: Participant, order_id: OrderId) -> String {
    let partition = order_id.0.as_u64_pair().1 % u64::from(PARTITIONS);
    format!("{}.commands.{partition}", participant.name())
}

/// All queues of a participant.
pub fn command_queues(participant: Participant) -> impl Iterator<Item = String> {
    (0..PARTITIONS).map(move |partition| format!("{}.commands.{partition}", participant.name()))
}

/// The topic of a fact: `order.confirmed.v1`, `payment.capture-requested.v1`, `inventory.stock-reserved.v1`.
#[must_use]
pub fn fact_topic(category: &str, event_type: &str, schema_version: i16) -> String {
    let words = event_type.char_indices().fold(String::new(), |mut words, (index, character)| {
        if character.is_ascii_uppercase() && index > 0 {
            words.push('-');
        }
        words.push(character.to_ascii_lowercase());
        words
    });
    // An event named after its category does not say it twice.
    let name = words.strip_prefix(category).and_then(|name| name.strip_prefix('-')).unwrap_or(&words);
    format!("{category}.{name}.v{schema_version}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_is_published_under_its_category_name_and_version() {
        assert_eq!(fact_topic("order", "OrderConfirmed", 1), "order.confirmed.v1");
        assert_eq!(fact_topic("order", "OrderCancellationRequested", 1), "order.cancellation-requested.v1");
        assert_eq!(fact_topic("payment", "CaptureRequested", 1), "payment.capture-requested.v1");
        assert_eq!(fact_topic("inventory", "StockReserved", 2), "inventory.stock-reserved.v2");
    }

    #[test]
    fn all_commands_of_an_order_to_a_participant_go_to_one_of_its_queues() {
        let order_id = OrderId(Uuid::from_u128(7));
        let queue = command_queue(Participant::Payment, order_id);
        assert_eq!(command_queues(Participant::Payment).filter(|name| *name == queue).count(), 1);
    }
}
