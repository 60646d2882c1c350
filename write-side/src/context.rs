//! What a command comes with besides its content: who asked, in which conversation, under which id.

use chrono::{DateTime, Utc};
use events::{Actor, CommandId, Metadata, Tenant};
use uuid::Uuid;

/// The circumstances of one command; they become the metadata of whatever it causes.
#[derive(Debug, Clone)]
pub struct Context {
    /// The same id is answered with the first outcome.
    pub command_id: CommandId,
    /// The order's id for everything about an order.
    pub correlation_id: Uuid,
    pub actor: Actor,
    pub tenant: Tenant,
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// When it happened in the shop, where that differs from now.
    pub business_time: Option<DateTime<Utc>>,
    /// SHA-256 (hex) of the request body, where there is one.
    pub body_hash: Option<String>,
    /// Where the body says which stream it is about: the category in which the command id may have an effect on one stream only.
    pub once_in: Option<&'static str>,
}

impl Context {
    #[must_use]
    pub fn metadata(&self) -> Metadata {
        Metadata {
            correlation_id: self.correlation_id,
            causation_id: self.command_id,
            actor: self.actor.clone(),
            tenant: self.tenant.clone(),
            traceparent: self.traceparent.clone(),
            business_time: self.business_time,
            body_hash: self.body_hash.clone(),
        }
    }
}
