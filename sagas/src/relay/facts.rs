//! The lane of facts: what has happened, for whoever is outside, as CloudEvents 1.0 in JSON on the topic exchange.

use chrono::{DateTime, Utc};
use events::{
    DomainEvent, EventPayload, FulfilmentEvent, LogId, LogPosition, Metadata, RawRecorded,
    bus::{FACTS_EXCHANGE, fact_topic},
};
use lapin::BasicProperties;
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{Lane, Message};
use crate::Error;

pub(crate) struct Facts;

impl Lane for Facts {
    const NAME: &'static str = "facts";
    const READER: &'static str = "relay-facts";

    fn message(log_id: &LogId, event: &RawRecorded) -> Result<Option<Message>, Error> {
        let category = event.stream_id.category();
        // How a saga goes about it is nobody else's business, and what is somebody else's is not ours to tell.
        if category == FulfilmentEvent::CATEGORY || !DomainEvent::CATEGORIES.contains(&category) {
            return Ok(None);
        }
        let topic = fact_topic(category, &event.event_type, event.schema_version);
        let properties = BasicProperties::default()
            .with_delivery_mode(2)
            .with_content_type("application/cloudevents+json".into())
            .with_message_id(event.event_id.to_string().into());
        let body = CloudEvent::new(log_id, event, &topic)
            .and_then(|envelope| serde_json::to_vec(&envelope))
            .map_err(|source| unreadable(event, source))?;
        // Nobody may be listening.
        Ok(Some(Message { exchange: FACTS_EXCHANGE, routing_key: topic, mandatory: false, properties, body }))
    }
}

/// CloudEvents 1.0, structured mode, with extension attributes of ours.
#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: Uuid,
    source: String,
    #[serde(rename = "type")]
    kind: String,
    subject: &'a str,
    time: DateTime<Utc>,
    datacontenttype: &'static str,
    /// Where it stands in the log: a receiver that remembers it knows what it has had.
    position: String,
    streamversion: i64,
    correlationid: Uuid,
    causationid: Uuid,
    tenant: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
    /// As it was recorded, byte for byte.
    data: &'a RawValue,
}

impl<'a> CloudEvent<'a> {
    fn new(log_id: &LogId, event: &'a RawRecorded, topic: &str) -> Result<Self, serde_json::Error> {
        let metadata: Metadata = serde_json::from_str(&event.metadata)?;
        Ok(Self {
            specversion: "1.0",
            id: event.event_id,
            source: format!("/waybill/{log_id}"),
            kind: format!("waybill.{topic}"),
            subject: event.stream_id.as_str(),
            time: event.recorded_at,
            datacontenttype: "application/json",
            position: LogPosition::new(log_id.clone(), event.position).to_string(),
            streamversion: event.stream_version,
            correlationid: metadata.correlation_id,
            causationid: metadata.causation_id.0,
            tenant: metadata.tenant.0,
            traceparent: metadata.traceparent,
            data: serde_json::from_str(&event.payload)?,
        })
    }
}

fn unreadable(event: &RawRecorded, source: serde_json::Error) -> Error {
    let (event_type, schema_version) = (event.event_type.clone(), event.schema_version);
    let source = events::DecodeError::Malformed { event_type, schema_version, source };
    Error::Log(events::LogError::Undecodable { position: event.position, source })
}

#[cfg(test)]
mod tests {
    use events::{Position, StreamId};

    use super::*;

    fn event(stream: &str, event_type: &str) -> RawRecorded {
        RawRecorded {
            position: Position(17),
            stream_id: StreamId::from_log(stream),
            stream_version: 2,
            event_id: Uuid::from_u128(1),
            event_type: event_type.into(),
            schema_version: 1,
            payload: r#"{"b":1,"a":2}"#.into(),
            metadata: r#"{"correlation_id":"00000000-0000-0000-0000-000000000002","causation_id":"00000000-0000-0000-0000-000000000003","actor":{"role":"service","subject":"test"},"tenant":"main"}"#.into(),
            recorded_at: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_fact_is_a_cloud_event_whose_data_keeps_its_bytes() {
        let message = Facts::message(&LogId::default(), &event("order-1", "OrderConfirmed"));
        let message = message.expect("the event is readable").expect("an order's event is public");
        assert_eq!(message.routing_key, "order.confirmed.v1");
        insta::assert_snapshot!(String::from_utf8(message.body).expect("JSON is text"));
    }

    #[test]
    fn what_a_saga_does_and_what_is_somebody_elses_is_not_published_as_a_fact() {
        for (stream, event_type) in [("fulfilment-1", "StepDecided"), ("ledger-2026", "EntryBooked")] {
            let mut event = event(stream, event_type);
            event.metadata = "{}".into();
            let message = Facts::message(&LogId::default(), &event);
            assert!(message.expect("nothing is read").is_none(), "{stream}");
        }
    }
}
