//! One effect at a provider: asked for, and asked about, until there is an answer or patience is at its end.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

use super::Obstacle;
use crate::{
    ProviderConfig,
    error::chain,
    providers::{Answer, Status},
};

/// How often, and with which pauses, a provider is tried for one command.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    tries: u32,
    pause: Duration,
}

/// What came of it, in the provider's words.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done(String),
    Refused(String),
}

impl Patience {
    pub(super) fn new(config: &ProviderConfig) -> Self {
        Self { tries: config.tries.max(1), pause: config.pause_ms }
    }

    /// Asks for the effect. After anything unclear, and first of all when `unsure`, asks what became of it instead.
    pub(super) async fn settle<A, S>(
        &self,
        mut unsure: bool,
        act: impl Fn() -> A + Send,
        status: impl Fn() -> S + Send,
    ) -> Result<Outcome, Obstacle>
    where
        A: Future<Output = Answer> + Send,
        S: Future<Output = Status> + Send,
    {
        let pauses = ExponentialBuilder::default().with_min_delay(self.pause).with_jitter().without_max_times();
        let mut pauses = pauses.build();
        for attempt in 0..self.tries {
            if attempt > 0 {
                tokio::time::sleep(pauses.next().unwrap_or(self.pause)).await;
            }
            if unsure {
                match status().await {
                    Ok(Some(Answer::Done(reference))) => return Ok(Outcome::Done(reference)),
                    Ok(Some(Answer::Refused(reason))) => return Ok(Outcome::Refused(reason)),
                    Ok(None) => (), // never heard of it: asking is safe
                    Ok(Some(Answer::Unknown(error))) | Err(error) => {
                        tracing::debug!(error = chain(&error), "a provider does not tell the status of an effect");
                        continue;
                    }
                }
            }
            match act().await {
                Answer::Done(reference) => return Ok(Outcome::Done(reference)),
                Answer::Refused(reason) => return Ok(Outcome::Refused(reason)),
                Answer::Unknown(error) => {
                    tracing::debug!(error = chain(&error), "it is unknown what became of an effect");
                    unsure = true;
                }
            }
        }
        // The last try may have been the one that worked.
        match status().await {
            Ok(Some(Answer::Done(reference))) => Ok(Outcome::Done(reference)),
            Ok(Some(Answer::Refused(reason))) => Ok(Outcome::Refused(reason)),
            Ok(Some(Answer::Unknown(_)) | None) | Err(_) => Err(Obstacle::Unknown),
        }
    }
}
