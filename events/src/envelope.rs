//! What every event carries besides its payload.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{CommandId, DecodeError, DomainEvent, LogError, OrderId, Position, StreamId, StreamVersion};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Customer,
    Staff,
    Finance,
    Analyst,
    Operator,
    /// Another program: a storefront, an importer, a provider's webhook, a saga.
    Service,
}

/// On whose behalf something happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Actor {
    pub role: Role,
    /// Who of that role, in the identity provider's words.
    pub subject: String,
}

impl Actor {
    #[must_use]
    pub fn service(subject: &str) -> Self {
        Self { role: Role::Service, subject: subject.into() }
    }
}

/// The shop that an event belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tenant(pub String);

impl Default for Tenant {
    fn default() -> Self {
        Self("main".into())
    }
}

/// Per event, since one append may carry many orders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// The whole conversation: the order's id for everything about an order.
    pub correlation_id: Uuid,
    /// The command that caused this.
    pub causation_id: CommandId,
    pub actor: Actor,
    pub tenant: Tenant,
    /// W3C trace context of the first request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// When it happened in the shop, where that differs from when it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub business_time: Option<DateTime<Utc>>,
    /// SHA-256 (hex) of the request body: the same key with another body is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_hash: Option<String>,
}

impl Metadata {
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("metadata is plain data with string keys, which JSON can always express")
    }

    /// Of an event of ours it is asked for; what somebody else's says there is his.
    pub(crate) fn of(payload: &DomainEvent, json: &str) -> Result<Self, serde_json::Error> {
        match (serde_json::from_str(json), payload) {
            (Err(_), DomainEvent::Foreign(_)) => Ok(Self {
                correlation_id: Uuid::nil(),
                causation_id: CommandId(Uuid::nil()),
                actor: Actor::service("unknown"),
                tenant: Tenant::default(),
                traceparent: None,
                business_time: None,
                body_hash: None,
            }),
            (metadata, _) => metadata,
        }
    }

    /// The order of this conversation, when it is one about an order.
    #[must_use]
    pub fn correlated_order(&self) -> OrderId {
        OrderId(self.correlation_id)
    }
}

/// An event on its way into the log: everything but its place.
#[derive(Debug, Clone)]
pub struct NewEvent {
    pub event_id: Uuid,
    pub event_type: &'static str,
    pub schema_version: i16,
    /// JSON, kept byte for byte.
    pub payload: String,
    /// JSON, kept byte for byte.
    pub metadata: String,
}

impl NewEvent {
    #[must_use]
    pub fn new(event_id: Uuid, event: &DomainEvent, metadata: &Metadata) -> Self {
        Self {
            event_id,
            event_type: event.event_type(),
            schema_version: event.schema_version(),
            payload: event.to_json(),
            metadata: metadata.to_json(),
        }
    }
}

/// An event with its place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded<E> {
    pub position: Position,
    pub stream_id: StreamId,
    pub stream_version: StreamVersion,
    pub event_id: Uuid,
    pub metadata: Metadata,
    /// Never runs backwards in position.
    pub recorded_at: DateTime<Utc>,
    pub payload: E,
}

impl<E> Recorded<E> {
    /// When it happened in the shop: the business time where one is given.
    #[must_use]
    pub fn happened_at(&self) -> DateTime<Utc> {
        self.metadata.business_time.unwrap_or(self.recorded_at)
    }
}

/// An event as the log keeps it, with both JSON texts byte for byte: for the audit, which interprets nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawRecorded {
    pub position: Position,
    pub stream_id: StreamId,
    pub stream_version: StreamVersion,
    pub event_id: Uuid,
    pub event_type: String,
    pub schema_version: i16,
    pub payload: String,
    pub metadata: String,
    pub recorded_at: DateTime<Utc>,
}

impl RawRecorded {
    /// The same event with its payload in the current types.
    pub fn decode(&self) -> Result<Recorded<DomainEvent>, LogError> {
        let undecodable = |source| LogError::Undecodable { position: self.position, source };
        let payload = DomainEvent::decode(&self.stream_id, &self.event_type, self.schema_version, &self.payload)
            .map_err(undecodable)?;
        let metadata = Metadata::of(&payload, &self.metadata).map_err(|source| {
            let (event_type, schema_version) = (self.event_type.clone(), self.schema_version);
            undecodable(DecodeError::Malformed { event_type, schema_version, source })
        })?;
        Ok(Recorded {
            position: self.position,
            stream_id: self.stream_id.clone(),
            stream_version: self.stream_version,
            event_id: self.event_id,
            metadata,
            recorded_at: self.recorded_at,
            payload,
        })
    }
}
