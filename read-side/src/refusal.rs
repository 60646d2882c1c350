//! Why a read model did not answer, as a problem document.

use std::time::Duration;

use http_api::{Code, Problem};
use projections::ReadError;

const RETRY_AFTER: Duration = Duration::from_secs(2);

/// For what lies in Redis.
pub(crate) fn refusal(error: ReadError) -> Problem {
    refusal_as(Code::ViewUnavailable, &error)
}

/// For the search indexes.
pub(crate) fn search_refusal(error: ReadError) -> Problem {
    refusal_as(Code::SearchUnavailable, &error)
}

fn refusal_as(unavailable: Code, error: &ReadError) -> Problem {
    match error {
        ReadError::NotBuilt { .. } | ReadError::Unavailable { .. } => {
            Problem::unavailable(unavailable, RETRY_AFTER).caused_by(error)
        }
        ReadError::Unreadable { .. } => Problem::internal("answer from a read model", error),
        ReadError::Behind { wanted, reached, .. } => Problem::position_not_reached(wanted, Some(reached.clone())),
        ReadError::OtherLog { .. } => Problem::malformed_header("Waybill-Min-Position", &error.to_string()),
        ReadError::BadCursor => {
            Problem::new(Code::InvalidCursor, Code::InvalidCursor.meaning()).with_pointer("/cursor")
        }
    }
}
