//! Stock: reservations and what becomes of them. The effect is the event itself, decided by the location's owner.

use events::{LocationId, bus::CommandMessage, participant::ParticipantCommand};
use write_side::{
    Deciders,
    domain::inventory::{Inventory, InventoryCommand},
};

use super::{command, context, crash_point, note};
use crate::{bus::consumer::Handler, state::key_of};

pub(super) struct InventoryParticipant {
    owners: Deciders<Inventory>,
}

impl InventoryParticipant {
    pub(super) const fn new(owners: Deciders<Inventory>) -> Self {
        Self { owners }
    }
}

impl Handler for InventoryParticipant {
    async fn handle(&self, message: CommandMessage, _redelivered: bool) {
        let context = context(&message);
        let Some((location, wanted)) = to_domain(message.command.clone()) else { return };
        if let Some(key) = key_of(&message.command) {
            crash_point("before-record", key);
        }
        let owner = self.owners.of(&location.stream());
        let handled = command(async || owner.submit(wanted.clone(), context.clone()).await).await;
        if let Some(key) = key_of(&message.command) {
            crash_point("after-record", key);
        }
        if let Err(obstacle) = handled {
            note(&message, &obstacle);
        }
    }
}

/// None for what another participant does; such a message is not delivered here.
fn to_domain(command: ParticipantCommand) -> Option<(LocationId, InventoryCommand)> {
    Some(match command {
        ParticipantCommand::ReserveStock { order_id, location, effect_key, lines } => {
            (location.clone(), InventoryCommand::Reserve { location, order_id, effect_key, lines })
        }
        ParticipantCommand::ReleaseStock { order_id, location, effect_key } => {
            (location.clone(), InventoryCommand::Release { location, order_id, effect_key })
        }
        ParticipantCommand::CommitStock { order_id, location, effect_key } => {
            (location.clone(), InventoryCommand::Commit { location, order_id, effect_key })
        }
        ParticipantCommand::PutBackStock { order_id, location, effect_key } => {
            (location.clone(), InventoryCommand::PutBack { location, order_id, effect_key })
        }
        ParticipantCommand::AuthorisePayment { .. }
        | ParticipantCommand::VoidPayment { .. }
        | ParticipantCommand::CapturePayment { .. }
        | ParticipantCommand::RefundPayment { .. }
        | ParticipantCommand::BookShipment { .. }
        | ParticipantCommand::CancelShipment { .. }
        | ParticipantCommand::ConfirmOrder { .. }
        | ParticipantCommand::CancelOrder { .. }
        | ParticipantCommand::RecordShipment { .. }
        | ParticipantCommand::CompleteOrder { .. } => return None,
    })
}
