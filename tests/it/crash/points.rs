//! The places at which a process may die while an order goes through, generated from the saga's own table: a new step is covered
//! the moment it exists.

use events::{
    Currency, Delivery, EffectKey, Money, OrderId,
    fulfilment::FulfilmentStarted,
    inventory::StockLine,
    participant::{Participant, ParticipantCommand},
};
use sagas::{
    SagaTimes,
    order_fulfilment::ORDER_FULFILMENT,
    saga::{Action, Run, Setup, Step},
    state::key_of,
};

/// In the order in which an order that goes through passes them.
pub(super) fn forward() -> Vec<String> {
    ORDER_FULFILMENT.steps.iter().flat_map(of_step).collect()
}

/// In the order in which an order passes them that was booked, and is cancelled before its parcel has left.
pub(super) fn backward() -> Vec<String> {
    let undone = ORDER_FULFILMENT.steps.iter().rev().filter(|step| step.undo.is_some());
    undone.flat_map(of_undo).chain(of_step(&ORDER_FULFILMENT.last_of_unwinding)).collect()
}

fn of_step(step: &Step) -> Vec<String> {
    let mut points = saga(step.name);
    if let Action::Send(make) = step.action {
        points.extend(participant(&command(make, step)));
    }
    points
}

fn of_undo(step: &Step) -> Vec<String> {
    let mut points = saga(&format!("{}.undo", step.name));
    if let Some(undo) = &step.undo {
        points.extend(participant(&command(undo.command, step)));
    }
    points
}

fn saga(step: &str) -> Vec<String> {
    ["before-intent", "after-intent"].map(|phase| format!("saga.{phase}.{step}")).to_vec()
}

/// Named by the effect key: `fulfilment/{order}/{step}/{occurrence}`, and `/undo` for an undo that is an effect of its own.
fn participant(command: &ParticipantCommand) -> Vec<String> {
    let phases: &[&str] = match command.participant() {
        Participant::Inventory => &["before-record", "after-record"],
        Participant::Payment | Participant::Shipping => &["after-intent", "after-effect", "after-record"],
        // The saga's own process records these: its points surround them.
        Participant::Order => return Vec::new(),
    };
    let key = key_of(command).map(EffectKey::as_str).expect("an effect has a key");
    let parts: Vec<&str> = key.split('/').collect();
    let undo = if parts.len() > 4 { ".undo" } else { "" };
    phases.iter().map(|phase| format!("participant.{phase}.{}{undo}", parts[2])).collect()
}

fn command(make: fn(&Run<'_>) -> ParticipantCommand, step: &Step) -> ParticipantCommand {
    let order_id = OrderId("0192f0c1-0000-7000-8000-000000000001".parse().expect("a UUID"));
    let order = FulfilmentStarted {
        order_id,
        customer_id: "anna".parse().expect("a plain id"),
        total: Money::new(500, Currency::GBP),
        payment_token: "tok_ok".into(),
        delivery: Delivery {
            recipient: String::new(),
            street: String::new(),
            city: String::new(),
            postal_code: String::new(),
            country: "GB".into(),
            service: "standard".into(),
        },
        location: "main".parse().expect("a plain id"),
        lines: vec![StockLine { sku: "mug".parse().expect("a plain SKU"), quantity: 1 }],
    };
    let setup = Setup { times: SagaTimes::default(), carriers: vec!["swift".into()] };
    make(&Run {
        order: &order,
        setup: &setup,
        step: step.name,
        occurrence: 1,
        occurrences: &[],
        undoes: None,
        tracking: "",
        reason: "",
    })
}
