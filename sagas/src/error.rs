//! How a role of this crate can fail for good, and how a session with the broker ends.

use events::LogError;
use write_side::StoreError;

use crate::state::UnknownStep;

/// Ends a role. What passes by itself is retried inside and never gets here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the log cannot be followed")]
    Log(#[from] LogError),
    #[error("the log does not take what was decided")]
    Store(#[from] StoreError),
    #[error("a saga's stream cannot be folded")]
    Stream(#[from] UnknownStep),
    #[error("cannot {doing}")]
    Postgres { doing: &'static str, source: sqlx::Error },
    #[error("the providers' client cannot be made")]
    Client(#[source] reqwest::Error),
    /// Another process has taken over; this one stops what it did and waits.
    #[error("the lease of {name} was lost")]
    LeaseLost { name: &'static str },
    #[error("no dead letter has the id {id}, or it is no longer waiting")]
    NoSuchDeadLetter { id: uuid::Uuid },
    #[error("the dead letter {id} comes from {queue:?}, which is no participant's queue: it can only be read")]
    NoQueue { id: uuid::Uuid, queue: String },
}

impl Error {
    pub(crate) fn doing(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Postgres { doing, source }
    }

    /// Whether starting over may help; the others need a person.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            // Fenced: somebody else is the owner now, which the lease will tell.
            Self::Log(LogError::Fenced { .. }) | Self::Postgres { .. } | Self::LeaseLost { .. } => true,
            Self::Log(error) => error.is_transient(),
            Self::Store(error) => error.is_transient(),
            Self::Stream(_) | Self::Client(_) | Self::NoSuchDeadLetter { .. } | Self::NoQueue { .. } => false,
        }
    }
}

/// Ends one connection with the broker; the supervisor makes a new one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BusError {
    #[error("the broker failed to {doing}")]
    Broker { doing: &'static str, source: lapin::Error },
    #[error("the broker did not {doing} in time")]
    Silent { doing: &'static str },
    #[error("the broker refused a message for {routing_key}")]
    Refused { routing_key: String },
    /// The topology is missing: the next session declares it.
    #[error("no queue takes messages for {routing_key}")]
    Unroutable { routing_key: String },
    #[error("the broker ended the subscription to {queue}")]
    Cancelled { queue: String },
    #[error("a task of the session ended")]
    Task(#[from] tokio::task::JoinError),
    #[error(transparent)]
    Role(#[from] Error),
}

impl From<LogError> for BusError {
    fn from(error: LogError) -> Self {
        Self::Role(error.into())
    }
}

/// The whole chain of causes in one line, for the log.
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
