//! What a reader gets: the value together with the position that it reflects, pages with cursors, and honest refusals.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use events::LogPosition;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// A value as of a position. `None` means: at that position there is no such thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read<T> {
    pub value: T,
    /// A lower bound: everything up to here is in the value.
    pub position: LogPosition,
}

/// A part of a list, and where the next part starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// None on the last page.
    pub next: Option<Cursor>,
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The read model has never been built, or was lost and is being built again: 503, never 404.
    #[error("{model} is not built yet")]
    NotBuilt { model: &'static str },
    /// The store does not answer: 503.
    #[error("{store} does not answer")]
    Unavailable { store: &'static str, source: Box<dyn std::error::Error + Send + Sync> },
    /// What lies there is not what this release wrote: 500.
    #[error("{model} holds something that this release cannot read")]
    Unreadable { model: &'static str, source: Box<dyn std::error::Error + Send + Sync> },
    /// The wait budget is used up: 504, with the position reached.
    #[error("{model} has not reached {wanted} yet, but {reached}")]
    Behind { model: &'static str, wanted: LogPosition, reached: LogPosition },
    /// The position belongs to another log: 400.
    #[error("{wanted} is a position in another log than {log}")]
    OtherLog { wanted: LogPosition, log: events::LogId },
    /// The cursor is not one that this list gave: 400.
    #[error("the cursor does not belong to this list and sort order")]
    BadCursor,
}

/// Where the next page starts: a sort key and an id, opaque to the client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cursor(String);

impl Cursor {
    pub(crate) fn of<K: Serialize>(key: &K) -> Self {
        let json = serde_json::to_vec(key).expect("a sort key is plain data, which JSON can always express");
        Self(URL_SAFE_NO_PAD.encode(json))
    }

    pub(crate) fn key<K: DeserializeOwned>(&self) -> Result<K, ReadError> {
        let json = URL_SAFE_NO_PAD.decode(&self.0).map_err(|_| ReadError::BadCursor)?;
        serde_json::from_slice(&json).map_err(|_| ReadError::BadCursor)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Cursor {
    type Err = ReadError;

    fn from_str(text: &str) -> Result<Self, ReadError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let good = (1..=512).contains(&text.len()) && text.bytes().all(plain);
        good.then(|| Self(text.into())).ok_or(ReadError::BadCursor)
    }
}

impl TryFrom<String> for Cursor {
    type Error = ReadError;

    fn try_from(text: String) -> Result<Self, ReadError> {
        text.parse()
    }
}

impl From<Cursor> for String {
    fn from(cursor: Cursor) -> Self {
        cursor.0
    }
}
