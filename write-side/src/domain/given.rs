//! The fixture of the domain's tests: given these events, when this command comes, then that happens.

use std::fmt::Debug;

use super::Aggregate;

pub(crate) struct Given<A>(A);

pub(crate) struct Outcome<A: Aggregate>(Result<Vec<A::Event>, A::Error>);

/// The aggregate after `events`.
pub(crate) fn given<A: Aggregate>(events: impl IntoIterator<Item = A::Event>) -> Given<A> {
    Given(events.into_iter().fold(A::default(), |state, event| state.evolve(&event)))
}

impl<A: Aggregate> Given<A> {
    pub(crate) fn when(&self, command: A::Command) -> Outcome<A> {
        Outcome(self.0.decide(command))
    }

    pub(crate) fn state(self) -> A {
        self.0
    }
}

impl<A: Aggregate> Outcome<A>
where
    A::Event: Debug + PartialEq,
    A::Error: Debug + PartialEq,
{
    #[track_caller]
    pub(crate) fn then(self, events: impl IntoIterator<Item = A::Event>) {
        assert_eq!(self.0, Ok(events.into_iter().collect()));
    }

    #[track_caller]
    pub(crate) fn then_nothing(self) {
        self.then([]);
    }

    #[track_caller]
    pub(crate) fn then_error(self, error: A::Error) {
        assert_eq!(self.0, Err(error));
    }
}

/// Sends `commands` one after the other, as the command handler does; `each` sees the state before, the command, the
/// outcome and the state after. Refused commands change nothing.
pub(crate) fn play<A: Aggregate>(
    commands: impl IntoIterator<Item = A::Command>,
    mut each: impl FnMut(&A, &A::Command, &Result<Vec<A::Event>, A::Error>, &A),
) {
    let mut state = A::default();
    for command in commands {
        let outcome = state.decide(command.clone());
        let after = outcome.iter().flatten().fold(state.clone(), A::evolve);
        each(&state, &command, &outcome, &after);
        state = after;
    }
}
