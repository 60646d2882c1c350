//! Load, decide, append, and start over when another writer was faster: one function for all aggregates.

use events::{NewEvent, Position, StreamId, StreamVersion};

use crate::{Aggregate, Append, Context, EventStore, Loaded, StoreError, StreamAppend};

/// Another writer may be faster this many times before the caller is told.
const MAX_ATTEMPTS: usize = 16;

/// Where the command left its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handled {
    /// Count of the stream's events; unchanged when nothing happened.
    pub version: StreamVersion,
    /// A reader that has come this far sees the effect.
    pub position: Position,
    /// The command had been answered before; this is that answer.
    pub repeated: bool,
}

/// The first outcome of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    pub version: StreamVersion,
    pub position: Position,
    /// Of the request that was answered, where it had a body.
    pub body_hash: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum CommandError<E: std::error::Error + 'static> {
    /// A rule said no; retrying is pointless.
    #[error("the command was refused")]
    Rejected(#[source] E),
    /// The key of an answered command came again with another body.
    #[error("the same key was used for another request")]
    KeyReused,
    /// Lost the race too often; try again later.
    #[error("too many writers at once")]
    Contended,
    /// The stream has moved on from the versions that the caller had seen.
    #[error("the stream is at version {actual}")]
    Stale { actual: StreamVersion, position: Position },
    /// The log failed. If it failed while committing, only a retry with the same command id tells what happened.
    #[error("the log did not take the command")]
    Store(#[from] StoreError),
}

/// Loads a stream, decides, appends; starts over when another writer was faster.
///
/// A command id that is known gets its first outcome. Deciding on nothing appends nothing and leaves the version.
pub async fn handle<A: Aggregate>(
    store: &EventStore,
    stream: &StreamId,
    command: A::Command,
    context: &Context,
) -> Result<Handled, CommandError<A::Error>> {
    attempt::<A>(store, stream, &command, context, None, &[]).await.map(|(handled, _)| handled)
}

/// Like [`handle`], refusing a stream that is at none of the versions that the caller has `seen`; no version: any will do.
pub async fn handle_if<A: Aggregate>(
    store: &EventStore,
    stream: &StreamId,
    command: A::Command,
    context: &Context,
    seen: &[StreamVersion],
) -> Result<Handled, CommandError<A::Error>> {
    attempt::<A>(store, stream, &command, context, None, seen).await.map(|(handled, _)| handled)
}

/// Like [`handle`] for a stream that hardly ever exists: decides on nothing first, one round trip, and loads on conflict.
pub async fn create<A: Aggregate>(
    store: &EventStore,
    stream: &StreamId,
    command: A::Command,
    context: &Context,
) -> Result<Handled, CommandError<A::Error>> {
    attempt::<A>(store, stream, &command, context, Some(Guess::Nothing), &[]).await.map(|(handled, _)| handled)
}

/// Like [`handle`] for a caller that may remember the state it left: loads only where that is old, and gives the new state back.
///
/// What a remembered state refuses, or has granted already, is decided again on the stream as it is.
pub async fn handle_known<A: Aggregate>(
    store: &EventStore,
    stream: &StreamId,
    known: Option<Loaded<A>>,
    command: A::Command,
    context: &Context,
) -> Result<(Handled, Loaded<A>), CommandError<A::Error>> {
    attempt::<A>(store, stream, &command, context, known.map(Guess::Known), &[]).await
}

/// The first outcome of the command, where it had one: for a caller that cannot put the same command together any more.
pub async fn first_outcome<A: Aggregate>(
    store: &EventStore,
    stream: &StreamId,
    context: &Context,
) -> Result<Option<Handled>, CommandError<A::Error>> {
    let loaded = store.load::<A>(stream, context.command_id).await?;
    loaded.answered.map(|answered| repeat(&answered, context)).transpose()
}

/// What a first decision is made on, to spare a load.
enum Guess<A> {
    /// The stream does not exist. What is refused on nothing is refused.
    Nothing,
    Known(Loaded<A>),
}

async fn attempt<A: Aggregate>(
    store: &EventStore,
    stream: &StreamId,
    command: &A::Command,
    context: &Context,
    guess: Option<Guess<A>>,
    seen: &[StreamVersion],
) -> Result<(Handled, Loaded<A>), CommandError<A::Error>> {
    let mut unknown = false;
    match attempts(store, stream, command, context, guess, seen, &mut unknown).await {
        // An append of ours may yet be committed: whatever failed since, it cannot be said that nothing happened.
        Err(CommandError::Store(_) | CommandError::Contended) if unknown => {
            Err(StoreError::OutcomeUnknown { source: None }.into())
        }
        outcome => outcome,
    }
}

/// `unknown`: whether the answer to an append was lost on the way. A rule's no means all the same that it was not committed and never
/// will be: the stream has moved on, or the same state would have granted the command again.
async fn attempts<A: Aggregate>(
    store: &EventStore,
    stream: &StreamId,
    command: &A::Command,
    context: &Context,
    mut guess: Option<Guess<A>>,
    seen: &[StreamVersion],
    unknown: &mut bool,
) -> Result<(Handled, Loaded<A>), CommandError<A::Error>> {
    for _ in 0..MAX_ATTEMPTS {
        let mut remembered = false;
        let loaded = match guess.take() {
            Some(Guess::Nothing) => Loaded::default(),
            Some(Guess::Known(known)) => {
                remembered = true;
                Loaded { answered: None, ..known }
            }
            None => store.load::<A>(stream, context.command_id).await?,
        };
        // The stream is its own inbox: a repeated command gets its first answer.
        if let Some(answered) = &loaded.answered {
            return repeat(answered, context).map(|handled| (handled, loaded));
        }
        if !seen.is_empty() && !seen.contains(&loaded.version) {
            let position = store.position_of(stream, loaded.version).await?;
            return Err(CommandError::Stale { actual: loaded.version, position });
        }
        let decision = loaded.state.decide(command.clone());
        // An append proves that the state was current; anything else has to ask.
        if remembered && decision.as_ref().map_or(true, Vec::is_empty) {
            continue;
        }
        let events = decision.map_err(CommandError::Rejected)?;
        if events.is_empty() {
            let position = store.position_of(stream, loaded.version).await?;
            return Ok((Handled { version: loaded.version, position, repeated: false }, loaded));
        }
        let state = events.iter().fold(loaded.state, A::evolve);
        let (append, version) = append_of::<A>(store, stream, loaded.version, events, context);
        match store.append(append).await {
            Ok(appended) => {
                let handled = Handled { version, position: appended.last, repeated: false };
                return Ok((handled, Loaded { state, version, answered: None }));
            }
            Err(StoreError::WrongExpectedVersion { .. }) => (),
            Err(StoreError::OutcomeUnknown { .. }) => *unknown = true,
            Err(StoreError::KeyTaken) => return Err(CommandError::KeyReused),
            Err(error) => return Err(error.into()),
        }
    }
    Err(CommandError::Contended)
}

/// The append of one command's events, and the version that it leads to.
fn append_of<A: Aggregate>(
    store: &EventStore,
    stream: &StreamId,
    expected_version: StreamVersion,
    events: Vec<A::Event>,
    context: &Context,
) -> (Append, StreamVersion) {
    let version = expected_version + StreamVersion::try_from(events.len()).expect("a decision is a handful of events");
    let events = new_events::<A>(store, events, context);
    let commands = vec![(context.command_id, version)];
    let keys = context.once_in.map(|category| (category, context.command_id)).into_iter().collect();
    let streams = vec![StreamAppend { stream_id: stream.clone(), expected_version, events, commands }];
    (Append { streams, keys }, version)
}

/// What a command decided, with its circumstances, ready for the log.
pub(crate) fn new_events<A: Aggregate>(store: &EventStore, events: Vec<A::Event>, context: &Context) -> Vec<NewEvent> {
    let metadata = context.metadata();
    events.into_iter().map(|event| NewEvent::new(store.ids().next(), &event.into(), &metadata)).collect()
}

/// The first answer, unless the request is another one.
pub(crate) fn repeat<E: std::error::Error>(answered: &Answered, context: &Context) -> Result<Handled, CommandError<E>> {
    if answered.body_hash != context.body_hash {
        return Err(CommandError::KeyReused);
    }
    Ok(Handled { version: answered.version, position: answered.position, repeated: true })
}
