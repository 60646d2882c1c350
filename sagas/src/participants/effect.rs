//! One effect at a provider: asked for, and asked about, until there is an answer or patience is at its end.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::time::Instant;

use super::Obstacle;
use crate::{
    ProviderConfig,
    error::chain,
    providers::{Answer, Status},
};

/// How often, how long, and with which pauses a provider is tried for one command.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    tries: u32,
    pause: Duration,
    /// No try begins later: a provider that hangs shall not hold up the other orders of the lane.
    limit: Duration,
}

/// What came of it, in the provider's words.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done(String),
    Refused(String),
}

impl Patience {
    pub(super) fn new(config: &ProviderConfig) -> Self {
        Self { tries: config.tries.max(1), pause: config.pause_ms, limit: config.timeout_ms }
    }

    /// Asks for the effect. After anything unclear, and first of all when `unsure`, asks what became of it instead.
    pub(super) async fn settle<A, S>(
        &self,
        mut unsure: bool,
        act: impl Fn() -> A,
        status: impl Fn() -> S,
    ) -> Result<Outcome, Obstacle>
    where
        A: Future<Output = Answer>,
        S: Future<Output = Status>,
    {
        let pauses = ExponentialBuilder::default().with_min_delay(self.pause).with_jitter().without_max_times();
        let mut pauses = pauses.build();
        let start = Instant::now();
        for attempt in 0..self.tries {
            if attempt > 0 {
                tokio::time::sleep(pauses.next().unwrap_or(self.pause)).await;
            }
            if start.elapsed() >= self.limit {
                break;
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

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, collections::VecDeque};

    use reqwest::StatusCode;

    use super::*;
    use crate::providers::ProviderError;

    /// A provider that says what it is told to, and remembers what it was asked.
    #[derive(Default)]
    struct Scripted {
        acts: RefCell<VecDeque<Answer>>,
        statuses: RefCell<VecDeque<Status>>,
        asked: RefCell<Vec<&'static str>>,
    }

    impl Scripted {
        fn new(acts: impl IntoIterator<Item = Answer>, statuses: impl IntoIterator<Item = Status>) -> Self {
            let (acts, statuses) = (acts.into_iter().collect(), statuses.into_iter().collect());
            Self { acts: RefCell::new(acts), statuses: RefCell::new(statuses), asked: RefCell::default() }
        }

        async fn settle(&self, unsure: bool) -> Option<Outcome> {
            let patience = Patience { tries: 3, pause: Duration::from_millis(1), limit: Duration::from_secs(5) };
            let act = || {
                self.asked.borrow_mut().push("act");
                std::future::ready(self.acts.borrow_mut().pop_front().expect("not asked more often"))
            };
            let status = || {
                self.asked.borrow_mut().push("status");
                std::future::ready(self.statuses.borrow_mut().pop_front().expect("not asked more often"))
            };
            patience.settle(unsure, act, status).await.ok()
        }

        fn asked(&self) -> Vec<&'static str> {
            self.asked.borrow().clone()
        }
    }

    fn failing() -> ProviderError {
        ProviderError::Status(StatusCode::BAD_GATEWAY)
    }

    fn done() -> Answer {
        Answer::Done("R1".into())
    }

    #[tokio::test]
    async fn after_an_unclear_answer_the_status_is_asked_for_and_nothing_is_done_twice() {
        let provider = Scripted::new([Answer::Unknown(failing())], [Ok(Some(done()))]);
        assert_eq!(provider.settle(false).await, Some(Outcome::Done("R1".into())));
        assert_eq!(provider.asked(), ["act", "status"]);
    }

    #[tokio::test]
    async fn whoever_is_unsure_asks_for_the_status_first() {
        let provider = Scripted::new([done()], [Ok(None)]);
        assert_eq!(provider.settle(true).await, Some(Outcome::Done("R1".into())));
        assert_eq!(provider.asked(), ["status", "act"]);
    }

    #[tokio::test]
    async fn nothing_is_asked_for_again_while_the_status_is_unknown() {
        let provider = Scripted::new([Answer::Unknown(failing())], [Err(failing()), Err(failing()), Err(failing())]);
        assert_eq!(provider.settle(false).await, None);
        assert_eq!(provider.asked(), ["act", "status", "status", "status"]);
    }

    #[tokio::test]
    async fn a_last_try_that_worked_is_found_out() {
        let unclear = || Answer::Unknown(failing());
        let found = Ok(Some(Answer::Refused("declined".into())));
        let provider = Scripted::new([unclear(), unclear(), unclear()], [Ok(None), Ok(None), found]);
        assert_eq!(provider.settle(false).await, Some(Outcome::Refused("declined".into())));
    }
}
