//! Whatever facts come, in whatever order, however often: the saga ends or waits with a deadline, and undoes only its own.

use std::collections::HashSet;

use chrono::TimeDelta;
use events::{EffectKey, FulfilmentEvent};
use proptest::prelude::*;

use super::play::{Play, SAGA, all_steps, happened, in_words, order};
use crate::{fact::Fact, saga::effect_key, state::Phase};

/// A fact, given as numbers that mean something at any state.
#[derive(Debug, Clone)]
enum Move {
    /// The open step or undo is answered.
    Answer(bool),
    /// Some event of some effect, fitting or not.
    Any {
        event_type: usize,
        key: usize,
    },
    /// So many seconds pass.
    Wait(i64),
    Silent {
        fits: bool,
        yes: bool,
    },
    PlacedAgain,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        4 => any::<bool>().prop_map(Move::Answer),
        3 => (0..64_usize, 0..64_usize).prop_map(|(event_type, key)| Move::Any { event_type, key }),
        2 => (0..2_000_000_i64).prop_map(Move::Wait),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(fits, yes)| Move::Silent { fits, yes }),
        1 => Just(Move::PlacedAgain),
    ];
    prop::collection::vec(one, 1..60)
}

fn event_types() -> Vec<&'static str> {
    let answers = |on: &crate::saga::On| [Some(on.done), on.refused].into_iter().flatten();
    let mut types: Vec<_> = all_steps()
        .flat_map(|step| answers(&step.on).chain(step.undo.iter().flat_map(move |undo| answers(&undo.on))))
        .collect();
    types.extend(SAGA.stops_on);
    types
}

fn keys() -> Vec<Option<EffectKey>> {
    let mut keys = vec![None];
    for step in all_steps() {
        for occurrence in 1..=2 {
            let key = effect_key(order().order_id, step.name, occurrence);
            keys.push(Some(format!("{key}/undo").parse().expect("a plain key")));
            keys.push(Some(key));
        }
    }
    keys
}

fn fact(play: &Play, choice: &Move) -> Option<Fact> {
    match choice {
        Move::Answer(done) => play.state.open.as_ref().and_then(|_| play.answer(*done)),
        Move::Any { event_type, key } => {
            let (types, keys) = (event_types(), keys());
            Some(happened(types[event_type % types.len()], keys[key % keys.len()].clone()))
        }
        Move::Wait(seconds) => Some(Fact::TimePassed(play.now + TimeDelta::seconds(*seconds))),
        Move::Silent { fits, yes } => {
            let outcome = if *yes { Ok(()) } else { Err("no".into()) };
            let other = events::CommandId::of(&["other"]);
            let command_id = play.state.open.as_ref().filter(|_| *fits).map_or(other, |open| open.command_id);
            Some(Fact::Answered { command_id, outcome })
        }
        Move::PlacedAgain => Some(Fact::Placed(order())),
    }
}

/// Undone are only effects that were decided, each once, and nothing is decided after the end.
fn assert_sound(events: &[FulfilmentEvent]) -> Result<(), TestCaseError> {
    let (mut decided, mut undone, mut ended) = (HashSet::new(), HashSet::new(), false);
    for event in events {
        prop_assert!(!ended, "{} after the end", in_words(event));
        match event {
            FulfilmentEvent::StepDecided(event) => {
                prop_assert!(decided.insert((event.step.clone(), event.occurrence)), "decided twice");
            }
            FulfilmentEvent::UndoDecided(event) => {
                let effect = (event.step.clone(), event.occurrence);
                prop_assert!(decided.contains(&effect), "{} was never decided", event.step);
                prop_assert!(undone.insert(effect), "{} is undone twice", event.step);
            }
            FulfilmentEvent::Completed(_) | FulfilmentEvent::Unwound(_) => ended = true,
            FulfilmentEvent::Started(_)
            | FulfilmentEvent::StepResent(_)
            | FulfilmentEvent::StepSucceeded(_)
            | FulfilmentEvent::StepRefused(_)
            | FulfilmentEvent::StepUnknown(_)
            | FulfilmentEvent::UndoSucceeded(_)
            | FulfilmentEvent::NeedsAttention(_) => (),
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_sequence_of_facts_leaves_a_saga_without_an_end_or_a_deadline(moves in moves()) {
        let mut play = Play::of(order());
        for choice in moves {
            if let Some(fact) = fact(&play, &choice) {
                if let Fact::TimePassed(now) = fact {
                    play.now = now;
                }
                play.hear(&fact);
            }
            let waits = play.state.open.as_ref().is_some_and(|open| open.overdue || open.due_at().is_some());
            let ended = play.state.phase == Phase::Ended;
            prop_assert!(waits || ended || play.state.needs_attention, "it stands still: {:?}", play.state);
        }
        assert_sound(&play.events)?;
        play.let_it_end();
        assert_sound(&play.events)?;
        prop_assert!(play.state.phase == Phase::Ended || play.state.needs_attention);
    }

    #[test]
    fn a_fact_that_comes_twice_changes_nothing_the_second_time(moves in moves()) {
        let mut play = Play::of(order());
        for choice in moves {
            let Some(fact) = fact(&play, &choice) else { continue };
            if let Fact::TimePassed(now) = fact {
                play.now = now;
            }
            play.hear(&fact);
            // An order that ends by another hand may first refuse the pivot and then answer the cancellation.
            let stops = matches!(&fact, Fact::Happened(happened) if SAGA.stops_on.contains(&happened.event_type));
            // Time that has passed is no event: what is overdue may be due for a resend as well.
            if !stops && !matches!(fact, Fact::TimePassed(_)) {
                prop_assert_eq!(play.hear(&fact), Vec::<String>::new());
            }
        }
    }

    #[test]
    fn a_state_folded_from_the_stream_is_the_state_that_decided(moves in moves()) {
        let mut play = Play::of(order());
        for choice in moves {
            if let Some(fact) = fact(&play, &choice) {
                play.hear(&fact);
            }
        }
        let mut folded = crate::state::State::default();
        for event in &play.events {
            let json = events::EventPayload::to_json(event);
            let (name, version) = (events::EventPayload::event_type(event), events::EventPayload::schema_version(event));
            let read = <FulfilmentEvent as events::EventPayload>::decode(name, version, &json).expect("what was written");
            folded.apply(SAGA, &read).expect("the table's own steps");
        }
        prop_assert_eq!(folded, play.state);
    }
}
