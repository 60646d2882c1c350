//! The one mapping from a refused or failed command to a problem document.

use std::{error::Error, time::Duration};

use events::MoneyError;
use http_api::{Code, ETag, Problem};

use crate::{
    CommandError, StoreError,
    domain::{
        inventory::InventoryError, order::OrderError, payment::PaymentError, product::ProductError,
        shipment::ShipmentError,
    },
};

const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A rule's no, as the caller hears it.
pub(super) trait Refusal: Error + 'static {
    fn problem(&self) -> Problem;
}

/// The problem document of a command that did not succeed.
pub(super) fn refused<E: Refusal>(error: CommandError<E>) -> Problem {
    match error {
        CommandError::Rejected(refusal) => refusal.problem(),
        CommandError::KeyReused => Problem::rule(
            Code::IdempotencyKeyReused,
            "this Idempotency-Key came before with another body; take a new one",
        ),
        CommandError::Contended => Problem::conflict("others changed it at the same moment, again and again"),
        CommandError::Stale { actual, position } => Problem::stale(ETag { version: actual, position }),
        CommandError::Store(error) => failed(&error),
    }
}

/// The problem document of a log that did not answer.
pub(super) fn failed(error: &StoreError) -> Problem {
    match error {
        StoreError::Overloaded | StoreError::Closed => Problem::unavailable(Code::Overloaded, RETRY_AFTER),
        StoreError::OutcomeUnknown { .. } => Problem::unavailable(Code::OutcomeUnknown, RETRY_AFTER).caused_by(error),
        StoreError::Postgres { .. } => Problem::unavailable(Code::LogUnavailable, RETRY_AFTER).caused_by(error),
        StoreError::Log(inner) if inner.is_transient() => {
            Problem::unavailable(Code::LogUnavailable, RETRY_AFTER).caused_by(error)
        }
        StoreError::Log(_)
        | StoreError::WrongExpectedVersion { .. }
        | StoreError::KeyTaken
        | StoreError::Malformed
        | StoreError::NotDurable { .. }
        | StoreError::Misconfigured { .. } => Problem::internal("append to the log", error),
    }
}

impl Refusal for OrderError {
    fn problem(&self) -> Problem {
        match self {
            Self::NotPlaced => Problem::new(Code::NotFound, self.to_string()),
            Self::AlreadyPlaced => Problem::already_exists("the order"),
            Self::Money(error) => money(error),
            Self::NoLines
            | Self::NoPieces { .. }
            | Self::TooManyPieces
            | Self::NegativePrice { .. }
            | Self::LineTotalDiffers { .. }
            | Self::TotalDiffers { .. } => Problem::rule(Code::RuleViolated, self.to_string()),
            Self::NotConfirmed
            | Self::NotShipped
            | Self::AlreadyShipped
            | Self::AlreadyCompleted
            | Self::AlreadyCancelled => Problem::rule(Code::OrderNotOpen, self.to_string()),
        }
    }
}

impl Refusal for ProductError {
    fn problem(&self) -> Problem {
        match self {
            Self::NotListed => Problem::new(Code::NotFound, self.to_string()),
            Self::AlreadyListed { .. } => Problem::new(Code::AlreadyExists, self.to_string()),
            Self::CurrencyFixed { .. } => Problem::rule(Code::CurrencyMismatch, self.to_string()),
            Self::Delisted { .. } | Self::NegativePrice { .. } | Self::KindFixed { .. } => {
                Problem::rule(Code::RuleViolated, self.to_string())
            }
        }
    }
}

impl Refusal for InventoryError {
    fn problem(&self) -> Problem {
        let code = match self {
            Self::NotAvailable { .. } => Code::InsufficientStock,
            Self::NoLines
            | Self::NoPieces { .. }
            | Self::NoChange
            | Self::TooMany { .. }
            | Self::OtherOrder { .. }
            | Self::NotReserved { .. }
            | Self::AlreadyCommitted { .. }
            | Self::NotCommitted { .. } => Code::RuleViolated,
        };
        Problem::rule(code, self.to_string())
    }
}

impl Refusal for PaymentError {
    fn problem(&self) -> Problem {
        match self {
            // The provider was faster than our own record, or tells of something that is not ours.
            Self::NotRequested { .. } => Problem::unavailable(Code::NotKnownYet, RETRY_AFTER),
            Self::Contradicted { .. } | Self::KeyTaken { .. } => {
                Problem::rule(Code::RuleViolated, self.to_string()).caused_by(self)
            }
        }
    }
}

impl Refusal for ShipmentError {
    fn problem(&self) -> Problem {
        match self {
            Self::NotRequested | Self::CancellationNotRequested { .. } => {
                Problem::unavailable(Code::NotKnownYet, RETRY_AFTER)
            }
            Self::Contradicted { .. } | Self::CancellationContradicted { .. } | Self::KeyTaken { .. } => {
                Problem::rule(Code::RuleViolated, self.to_string()).caused_by(self)
            }
        }
    }
}

/// Amounts that do not go together.
pub(super) fn money(error: &MoneyError) -> Problem {
    let code = match error {
        MoneyError::MixedCurrencies(..) => Code::CurrencyMismatch,
        MoneyError::Overflow | MoneyError::Empty => Code::RuleViolated,
    };
    Problem::rule(code, error.to_string())
}
