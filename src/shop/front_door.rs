//! Sends a shop's requests to a running Waybill: each under a key, so that repeating one does nothing twice, and repeated
//! within a bound when the answer is "later" or none.

use std::time::Duration;

use rand::Rng;
use reqwest::{StatusCode, header};
use serde::{Deserialize, Serialize};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// With the pauses between them, a little over two minutes: a restart of everything fits.
const TRIES_MAX: u32 = 20;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub(crate) enum FrontDoorError {
    #[error("cannot prepare requests to {base_url}")]
    Client { base_url: String, source: reqwest::Error },
    #[error("no answer from {url} in {TRIES_MAX} tries")]
    Unreachable { url: String, source: reqwest::Error },
    #[error("{url} was too busy in {TRIES_MAX} tries, lastly: {problem}")]
    Busy { url: String, problem: Problem },
    #[error("{url} answered 2xx with something that cannot be read")]
    Unreadable { url: String, source: reqwest::Error },
}

/// A problem document, as far as a program needs it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Problem {
    #[serde(default)]
    pub(crate) status: u16,
    #[serde(default)]
    pub(crate) code: String,
    #[serde(default)]
    pub(crate) detail: String,
    #[serde(default)]
    pub(crate) retryable: bool,
    #[serde(default)]
    pub(crate) pointer: Option<String>,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.status, self.code, self.detail)?;
        self.pointer.as_ref().map_or(Ok(()), |pointer| write!(f, " ({pointer})"))
    }
}

/// What a command was answered with.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Accepted {
    #[serde(default)]
    pub(crate) order_id: Option<String>,
    pub(crate) position: String,
}

/// A rule's no is an outcome and not an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Accepted(Accepted),
    Refused(Problem),
}

#[derive(Debug, Clone)]
pub(crate) struct FrontDoor {
    client: reqwest::Client,
    base_url: String,
    actor: String,
}

impl FrontDoor {
    /// `actor` is sent as `Waybill-Actor`: `service:importer` may state agreed prices.
    pub(crate) fn new(base_url: &str, actor: &str) -> Result<Self, FrontDoorError> {
        let base_url = base_url.trim_end_matches('/').to_owned();
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .build()
            .map_err(|source| FrontDoorError::Client { base_url: base_url.clone(), source })?;
        Ok(Self { client, base_url, actor: actor.into() })
    }

    /// Posts until there is an answer, within [`TRIES_MAX`] tries.
    pub(crate) async fn post(
        &self,
        path: &str,
        key: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<Outcome, FrontDoorError> {
        let url = format!("{}{path}", self.base_url);
        let mut tried = 0;
        loop {
            tried += 1;
            let last = tried >= TRIES_MAX;
            let asked = match self.once(&url, key, body).await {
                Ok(Answer::Outcome(outcome)) => return Ok(outcome),
                Ok(Answer::Later { problem, .. }) if last => return Err(FrontDoorError::Busy { url, problem }),
                Ok(Answer::Later { after, .. }) => after,
                Err(source) if source.is_decode() || source.is_builder() => {
                    return Err(FrontDoorError::Unreadable { url, source });
                }
                Err(source) if last => return Err(FrontDoorError::Unreachable { url, source }),
                Err(_) => None,
            };
            tokio::time::sleep(pause(tried, asked)).await;
        }
    }

    async fn once(&self, url: &str, key: &str, body: &(impl Serialize + Sync)) -> Result<Answer, reqwest::Error> {
        let request = self.client.post(url).header("Idempotency-Key", key).header("Waybill-Actor", &self.actor);
        let answer = request.json(body).send().await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(Answer::Outcome(Outcome::Accepted(answer.json().await?)));
        }
        let after = answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let text = answer.text().await?;
        let unknown = Problem {
            status: status.as_u16(),
            code: String::new(),
            detail: text.chars().take(200).collect(),
            retryable: false,
            pointer: None,
        };
        let problem: Problem = serde_json::from_str(&text).unwrap_or(unknown);
        let later = problem.retryable
            || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
            || status.is_server_error();
        if later {
            return Ok(Answer::Later { after: after.map(Duration::from_secs), problem });
        }
        Ok(Answer::Outcome(Outcome::Refused(problem)))
    }
}

enum Answer {
    Outcome(Outcome),
    Later { after: Option<Duration>, problem: Problem },
}

/// Doubling with full jitter, and at least what the server asked for.
fn pause(tried: u32, asked: Option<Duration>) -> Duration {
    let longest = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(tried.min(16))).min(LONGEST_PAUSE);
    let jittered = longest.mul_f64(rand::rng().random_range(0.5..=1.0));
    asked.unwrap_or_default().min(LONGEST_PAUSE).max(jittered)
}
