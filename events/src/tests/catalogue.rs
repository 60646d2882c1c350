//! Every event of the catalogue has a sample whose JSON is pinned by a snapshot, byte for byte, for the audit hashes it.
//!
//! A changed snapshot of a released event is a new `schema_version` with an upcaster, never an accepted snapshot.

use uuid::Uuid;

use super::samples::{COMMAND, ORDER, at, every_command, every_event};
use crate::{
    Actor, DomainEvent, ForeignEvent, Metadata, NewEvent, Position, RawRecorded, Role, StreamId, Tenant,
    participant::ParticipantCommand,
};

const EVENT: Uuid = Uuid::from_u128(0x0198_0000_0000_7000_8000_0000_0000_0005);

#[test]
fn every_event_of_the_catalogue_has_a_sample() {
    let of = |event: &DomainEvent| (event.event_type(), event.schema_version());
    let samples = every_event().iter().map(of).collect::<Vec<_>>();
    let catalogue = DomainEvent::catalogue().into_iter().map(|(_, name, version)| (name, version)).collect::<Vec<_>>();
    assert_eq!(samples, catalogue);
}

#[test]
fn an_event_type_belongs_to_one_category() {
    let mut names = DomainEvent::catalogue().into_iter().map(|(_, name, _)| name).collect::<Vec<_>>();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn the_json_of_every_event_is_pinned() {
    for event in every_event() {
        let name = format!("{}.v{}", event.event_type(), event.schema_version());
        insta::assert_snapshot!(name, event.to_json());
    }
}

#[test]
fn what_is_written_reads_back_as_the_same_event() {
    for ((category, event_type, version), event) in DomainEvent::catalogue().into_iter().zip(every_event()) {
        let read = DomainEvent::decode(&StreamId::new(category, "x"), event_type, version, &event.to_json());
        assert_eq!(read.expect("its own JSON"), event);
        assert!(DomainEvent::CATEGORIES.contains(&category), "{category}");
    }
}

#[test]
fn an_event_of_another_category_is_not_read() {
    let (order, event) = (StreamId::new("order", "x"), &every_event()[0]);
    let error = DomainEvent::decode(&order, event.event_type(), event.schema_version(), &event.to_json());
    assert_eq!(error.expect_err("a product's").to_string(), "ProductListed v2 is not known to this release");
}

#[test]
fn an_event_in_a_stream_of_no_category_of_ours_is_somebody_elses_whatever_it_says() {
    for stream in ["ledger-2026", "ledger", "order", ""] {
        let read = DomainEvent::decode(&StreamId::from_log(stream), "OrderPlaced", 1, "{}").expect("nothing is read");
        assert_eq!((read.order_id(), read), (None, DomainEvent::Foreign(ForeignEvent)), "{stream:?}");
    }
}

#[test]
fn a_malformed_event_names_its_type_and_version() {
    let error = DomainEvent::decode(&StreamId::new("order", "x"), "OrderCompleted", 1, "{}");
    let text = error.expect_err("no order id").to_string();
    assert_eq!(text, "the JSON of OrderCompleted v1 does not have the shape of that version");
}

#[test]
fn an_event_about_an_order_names_it() {
    const NO_ORDER: [&str; 2] = ["StockReceived", "StockAdjusted"];
    for event in every_event() {
        let catalogue = matches!(event, DomainEvent::Product(_)) || NO_ORDER.contains(&event.event_type());
        assert_eq!(event.order_id(), (!catalogue).then_some(ORDER), "{}", event.event_type());
    }
}

/// With every optional part.
fn metadata() -> Metadata {
    Metadata {
        correlation_id: ORDER.0,
        causation_id: COMMAND,
        actor: Actor { role: Role::Customer, subject: "17850".into() },
        tenant: Tenant::default(),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
        business_time: Some(at(1)),
        body_hash: Some("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".into()),
    }
}

/// With none.
fn bare_metadata() -> Metadata {
    let actor = Actor::service("order_fulfilment");
    Metadata { actor, traceparent: None, business_time: None, body_hash: None, ..metadata() }
}

#[test]
fn the_json_of_metadata_is_pinned_and_reads_back() {
    insta::assert_snapshot!("metadata", metadata().to_json());
    insta::assert_snapshot!("metadata_bare", bare_metadata().to_json());
    for written in [metadata(), bare_metadata()] {
        assert_eq!(serde_json::from_str::<Metadata>(&written.to_json()).expect("its own JSON"), written);
    }
}

#[test]
fn the_names_of_roles_are_pinned() {
    let roles = [Role::Customer, Role::Staff, Role::Finance, Role::Analyst, Role::Operator, Role::Service];
    let json = serde_json::to_string(&roles).expect("plain data");
    assert_eq!(json, r#"["customer","staff","finance","analyst","operator","service"]"#);
}

#[test]
fn an_envelope_carries_type_version_payload_and_metadata_and_is_read_back_whole() {
    for ((category, ..), event) in DomainEvent::catalogue().into_iter().zip(every_event()) {
        let NewEvent { event_id, event_type, schema_version, payload, metadata: written } =
            NewEvent::new(EVENT, &event, &metadata());
        let recorded = RawRecorded {
            position: Position(7),
            stream_id: StreamId::new(category, "x"),
            stream_version: 3,
            event_id,
            event_type: event_type.into(),
            schema_version,
            payload,
            metadata: written,
            recorded_at: at(2),
        };
        let read = recorded.decode().expect("what was just written");
        assert_eq!((read.position, read.stream_version, read.event_id), (Position(7), 3, EVENT));
        assert_eq!((&read.payload, &read.metadata), (&event, &metadata()));
        assert_eq!((read.recorded_at, read.happened_at()), (at(2), at(1)));
    }
}

#[test]
fn the_json_of_every_command_to_a_participant_is_pinned_and_reads_back() {
    for command in every_command() {
        let json = serde_json::to_string(&command).expect("plain data");
        assert_eq!(serde_json::from_str::<ParticipantCommand>(&json).expect("its own JSON"), command);
        insta::assert_snapshot!(format!("command.{}", name_of(&json)), json);
    }
}

#[test]
fn every_command_to_a_participant_has_a_sample() {
    let error = serde_json::from_str::<ParticipantCommand>(r#"{"command":"?"}"#).expect_err("no such command");
    // "unknown variant `?`, expected one of `ReserveStock`, `ReleaseStock`, ..."
    let text = error.to_string();
    let known = text.split('`').skip(3).step_by(2).collect::<Vec<_>>();
    let json =
        every_command().iter().map(|command| serde_json::to_string(command).expect("plain data")).collect::<Vec<_>>();
    assert_eq!(json.iter().map(|json| name_of(json)).collect::<Vec<_>>(), known);
}

fn name_of(json: &str) -> String {
    let value = serde_json::from_str::<serde_json::Value>(json).expect("JSON");
    value["command"].as_str().expect("the tag").into()
}
