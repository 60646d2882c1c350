//! Where something stands in a log: dense positions, and the `main:1234` form that tokens and checkpoints use.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// Place of an event in its log: 1, 2, 3 ... in commit order without a hole. 0 stands before the first event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub i64);

impl Position {
    pub const START: Self = Self(0);

    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names one log: one Postgres primary with its own dense positions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LogId(Arc<str>);

impl LogId {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for LogId {
    /// The only log of a shop that has one.
    fn default() -> Self {
        Self("main".into())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no position in a log: write it like main:1234, or 1234 for the log that is read")]
pub struct InvalidPosition(String);

impl FromStr for LogId {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=32).contains(&text.len()) && text.bytes().all(plain) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidPosition(text.chars().take(64).collect()))
        }
    }
}

impl TryFrom<String> for LogId {
    type Error = InvalidPosition;

    fn try_from(text: String) -> Result<Self, InvalidPosition> {
        text.parse()
    }
}

impl From<LogId> for String {
    fn from(log_id: LogId) -> Self {
        log_id.0.as_ref().into()
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A position together with the log it belongs to, spelt `main:1234`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LogPosition {
    pub log_id: LogId,
    pub position: Position,
}

impl LogPosition {
    #[must_use]
    pub fn new(log_id: LogId, position: Position) -> Self {
        Self { log_id, position }
    }

    /// As a client of the log `own` spells it: a bare number means that log.
    pub fn parse(text: &str, own: &LogId) -> Result<Self, InvalidPosition> {
        let invalid = || InvalidPosition(text.chars().take(64).collect());
        let (log_id, number) = match text.split_once(':') {
            Some((log_id, number)) => (log_id.parse().map_err(|_| invalid())?, number),
            None => (own.clone(), text),
        };
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(invalid());
        }
        let position = Position(number.parse().map_err(|_| invalid())?);
        Ok(Self { log_id, position })
    }
}

impl FromStr for LogPosition {
    type Err = InvalidPosition;

    /// For who knows no log of its own: a bare number means `main`.
    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        Self::parse(text, &LogId::default())
    }
}

impl TryFrom<String> for LogPosition {
    type Error = InvalidPosition;

    fn try_from(text: String) -> Result<Self, InvalidPosition> {
        text.parse()
    }
}

impl From<LogPosition> for String {
    fn from(position: LogPosition) -> Self {
        position.to_string()
    }
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.log_id, self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_number_means_the_log_that_is_read() {
        let spelt =
            |text: &str, own: &str| LogPosition::parse(text, &own.parse()?).map(|position| position.to_string());
        assert_eq!(spelt("17", "eu-1"), Ok("eu-1:17".into()));
        assert_eq!(spelt("main:17", "eu-1"), Ok("main:17".into()));
        assert_eq!("17".parse::<LogPosition>().map(|position| position.to_string()), Ok("main:17".into()));
    }

    #[test]
    fn nonsense_is_no_position() {
        for bad in ["", ":", "main:", "main:-1", "main:+1", "main:1:2", "Main:1", "99999999999999999999"] {
            assert!(bad.parse::<LogPosition>().is_err(), "{bad:?} was taken");
        }
    }
}
