//! Why a projection cannot go on, and what becomes of it then.

use std::time::Duration;

use events::{LogError, LogId};

use crate::{checkpoint_text::BadCheckpoint, names::Generation, redis_store::RedisFailure};

#[derive(Debug, thiserror::Error)]
pub enum ProjectionError {
    #[error("{projection} cannot read the log")]
    Log { projection: &'static str, source: LogError },
    #[error("{projection} cannot use Redis")]
    Redis { projection: &'static str, source: Box<dyn std::error::Error + Send + Sync> },
    /// Redis would throw documents away to make room, and a reader would take an order for one that does not exist.
    #[error("Redis must not evict: set maxmemory-policy to noeviction (it is {policy})")]
    Evicts { policy: String },
    #[error("{projection} cannot use its index")]
    Index { projection: &'static str, source: Box<dyn std::error::Error + Send + Sync> },
    /// One writer per index, ever.
    #[error("the index of {projection} is being written by another process, which holds its lock in {folder}")]
    Locked { projection: &'static str, folder: String },
    /// Somebody else moved the checkpoint: another projector runs, or another rebuild.
    #[error("{projection} is being written by somebody else: expected {expected:?}, found {found:?}")]
    Fenced { projection: &'static str, expected: String, found: String },
    /// The store was emptied or damaged. What was there is built again from the log.
    #[error("generation {generation} of {projection} is lost: {what}")]
    Lost { projection: &'static str, generation: u32, what: String },
    /// Another generation was made the live one.
    #[error("generation {generation} of {projection} no longer answers")]
    Superseded { projection: &'static str, generation: u32 },
    /// Written by another version of the fold.
    #[error(
        "generation {generation} of {projection} was built by version {built_by} of its fold, this release has {ours}"
    )]
    Outdated { projection: &'static str, generation: u32, built_by: u32, ours: u32 },
    /// Whoever reads that log would find nothing more in it, or the past.
    #[error(
        "generation {generation} of {projection} has events of the log {log_id}, which is not followed: name it under log.follow, or \
         rebuild and accept the differences to go on without it"
    )]
    Unfollowed { projection: &'static str, generation: u32, log_id: LogId },
    #[error("the configuration of projections is wrong: {what}")]
    Misconfigured { what: &'static str },
    #[error("there is no projection {0:?}")]
    Unknown(String),
    /// The rebuilt documents are not those that are live: nothing was switched. What was built is not gone on with: it would differ for ever.
    #[error(
        "{projection}: the generation rebuilt by version {ours} of the fold differs from the live one, by version {built_by}, in {count} \
         documents, such as {examples:?}; nothing was switched, and what was built is dropped: the next rebuild begins at the first event"
    )]
    Different { projection: &'static str, ours: u32, built_by: u32, count: usize, examples: Vec<String> },
    /// Only where both stand at the same position can they be compared; what is built is kept.
    #[error(
        "{projection}: the live generation cannot be brought to where the rebuilt one is, so they were not compared and nothing was \
         switched; from scratch, another version is compared where it stands; accepting differences replaces the live one unseen"
    )]
    Incomparable { projection: &'static str, source: Box<ProjectionError> },
    /// The live generation kept moving while it was to be compared.
    #[error("{projection}: the live generation did not stand still to be compared; try again")]
    Restless { projection: &'static str },
    #[error("the rebuild of {projection} was stopped at {position}; starting it again resumes there")]
    Interrupted { projection: &'static str, position: String },
    /// Of all projections of the process: it has to be started anew.
    #[error("{projection} is told nothing any more: what reads the log for all projections died")]
    Unread { projection: &'static str },
    #[error("a task of {projection} died")]
    Died { projection: &'static str, source: tokio::task::JoinError },
}

/// What a projector does about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Open again, at once: the world has changed in a way that is known.
    Reopen,
    /// Open again after a pause.
    Retry,
    /// Stand still until a person has acted, or the other writer has gone.
    Stop,
}

impl ProjectionError {
    pub(crate) fn remedy(&self) -> Remedy {
        match self {
            Self::Superseded { .. } => Remedy::Reopen,
            Self::Redis { .. } | Self::Evicts { .. } | Self::Index { .. } | Self::Locked { .. } | Self::Lost { .. } => {
                Remedy::Retry
            }
            Self::Log { source, .. } if source.is_transient() => Remedy::Retry,
            Self::Restless { .. } | Self::Interrupted { .. } => Remedy::Retry,
            Self::Log { .. }
            | Self::Fenced { .. }
            | Self::Outdated { .. }
            | Self::Unfollowed { .. }
            | Self::Misconfigured { .. }
            | Self::Unknown(_)
            | Self::Different { .. }
            | Self::Incomparable { .. }
            | Self::Unread { .. }
            | Self::Died { .. } => Remedy::Stop,
        }
    }
}

/// Makes errors of one projection, so that they say whose they are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Whose(pub(crate) &'static str);

impl Whose {
    pub(crate) fn log(self) -> impl FnOnce(LogError) -> ProjectionError {
        move |source| ProjectionError::Log { projection: self.0, source }
    }

    pub(crate) fn redis(self) -> impl FnOnce(RedisFailure) -> ProjectionError {
        move |source| ProjectionError::Redis { projection: self.0, source: source.into() }
    }

    pub(crate) fn lost(self, generation: Generation, what: impl Into<String>) -> ProjectionError {
        ProjectionError::Lost { projection: self.0, generation, what: what.into() }
    }

    pub(crate) fn unreadable(self, generation: Generation) -> impl FnOnce(BadCheckpoint) -> ProjectionError {
        move |error| self.lost(generation, error.to_string())
    }

    pub(crate) fn unfollowed(self, generation: Generation, log_id: &LogId) -> ProjectionError {
        ProjectionError::Unfollowed { projection: self.0, generation, log_id: log_id.clone() }
    }

    pub(crate) fn fenced(self, expected: String, found: String) -> ProjectionError {
        ProjectionError::Fenced { projection: self.0, expected, found }
    }
}

/// An error with all that caused it, for a state that people read.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Pauses between attempts, growing from a quarter of a second to ten seconds.
pub(crate) fn pause(attempt: u32) -> Duration {
    Duration::from_millis(250 * 2_u64.pow(attempt.min(6))).min(Duration::from_secs(10))
}
