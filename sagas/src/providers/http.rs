//! The HTTP manners that payment providers and carriers share: which reply means done, refused or unknown.

use std::time::Duration;

use events::EffectKey;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde::{Deserialize, Serialize};

use super::{Answer, Status};
use crate::{Error, ProviderConfig};

/// Why nobody knows what became of an effect.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    #[error("the provider could not be asked, or did not answer in time")]
    Transport(#[from] reqwest::Error),
    #[error("the provider answered {0}")]
    Status(StatusCode),
    /// Neither yes nor no: `pending`, or a word that came with a later version of the provider's API.
    #[error("the provider says {0:?}, which is neither yes nor no")]
    Word(String),
    #[error("the provider's address is wrong: {0}")]
    Address(String),
}

/// A pooled client with one bound for a whole exchange.
#[derive(Debug, Clone)]
pub(super) struct Http {
    client: Client,
    base: String,
}

/// By these a provider says that nothing happened and nothing will: the last two of an effect whose undo came first.
const NO: [&str; 4] = ["declined", "refused", "voided", "cancelled"];

/// The part of every reply that says what came of it.
#[derive(Debug, Deserialize)]
struct Reply {
    status: String,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    reference: Option<String>,
    #[serde(default)]
    tracking: Option<String>,
}

impl Http {
    pub(super) fn new(config: &ProviderConfig, base: &str) -> Result<Self, Error> {
        let client = Client::builder()
            .timeout(config.timeout_ms)
            .connect_timeout(config.timeout_ms)
            .pool_idle_timeout(Duration::from_secs(60))
            .tcp_nodelay(true)
            .build()
            .map_err(Error::Client)?;
        Ok(Self { client, base: base.trim_end_matches('/').into() })
    }

    /// Asks for an effect. `done`: the word by which the provider says that it happened.
    pub(super) async fn ask(&self, path: &str, body: &impl Serialize, done: &str) -> Answer {
        let request = self.client.post(format!("{}{path}", self.base)).json(body);
        match exchange(request).await {
            Ok((status, Some(reply))) if status.is_success() || is_refusal(status) => reply.read(done),
            Ok((status, _)) => Answer::Unknown(ProviderError::Status(status)),
            Err(error) => Answer::Unknown(error),
        }
    }

    /// Asks what became of an effect.
    pub(super) async fn look_up(&self, path: &str, key: &EffectKey, done: &str) -> Status {
        let mut url = reqwest::Url::parse(&format!("{}{path}", self.base))
            .map_err(|error| ProviderError::Address(error.to_string()))?;
        // The key is one segment, slashes and all.
        url.path_segments_mut().map_err(|()| ProviderError::Address(self.base.clone()))?.push(key.as_str());
        match exchange(self.client.get(url)).await? {
            (StatusCode::NOT_FOUND, _) => Ok(None),
            (status, Some(reply)) if status.is_success() => Ok(Some(reply.read(done))),
            (status, _) => Err(ProviderError::Status(status)),
        }
    }
}

async fn exchange(request: RequestBuilder) -> Result<(StatusCode, Option<Reply>), ProviderError> {
    let response = request.send().await?;
    let status = response.status();
    if status.is_success() || is_refusal(status) {
        return Ok((status, Some(response.json().await?)));
    }
    Ok((status, None))
}

/// The provider has understood, and says no. Any other failure says nothing about the effect.
fn is_refusal(status: StatusCode) -> bool {
    [StatusCode::PAYMENT_REQUIRED, StatusCode::CONFLICT, StatusCode::UNPROCESSABLE_ENTITY].contains(&status)
}

impl Reply {
    fn read(self, done: &str) -> Answer {
        if self.status == done {
            Answer::Done(self.reference.or(self.tracking).unwrap_or_default())
        } else if NO.contains(&self.status.as_str()) {
            Answer::Refused(self.reason.unwrap_or(self.status))
        } else {
            Answer::Unknown(ProviderError::Word(self.status))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: &str, done: &str) -> Answer {
        Reply { status: status.into(), reason: None, reference: None, tracking: None }.read(done)
    }

    #[test]
    fn a_word_that_is_neither_yes_nor_no_is_unknown() {
        assert!(matches!(read("voided", "voided"), Answer::Done(_)));
        assert!(matches!(read("voided", "authorised"), Answer::Refused(_)));
        assert!(matches!(read("pending", "authorised"), Answer::Unknown(ProviderError::Word(_))));
    }
}
