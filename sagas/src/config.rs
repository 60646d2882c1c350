//! What can be set from outside: addresses, bounds and time budgets.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Deserializer};

use crate::saga::{Setup, Step};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `amqp://user:password@host:port/vhost`
    pub amqp_url: String,
    pub times: SagaTimes,
    /// In the order in which they are asked to take a parcel.
    pub carriers: Vec<String>,
    pub broker: BrokerConfig,
    pub runner: RunnerConfig,
    pub providers: ProviderConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            amqp_url: "amqp://127.0.0.1:5672/%2f".into(),
            times: SagaTimes::default(),
            carriers: vec!["swift".into(), "steady".into()],
            broker: BrokerConfig::default(),
            runner: RunnerConfig::default(),
            providers: ProviderConfig::default(),
        }
    }
}

impl Config {
    pub(crate) fn setup(&self) -> Setup {
        Setup { times: self.times.clone(), carriers: self.carriers.clone() }
    }
}

/// How long things may take before somebody acts.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SagaTimes {
    /// A command is sent again after this time without an answer, then after twice that, and so on.
    #[serde(deserialize_with = "millis")]
    pub resend_first_ms: Duration,
    /// The longest pause between two sendings.
    #[serde(deserialize_with = "millis")]
    pub resend_max_ms: Duration,
    /// After this time without an answer to an undo, a person is told.
    #[serde(deserialize_with = "millis")]
    pub undo_deadline_ms: Duration,
    /// By step, where it shall not be what the saga's table says.
    #[serde(deserialize_with = "millis_by_name")]
    pub deadline_ms: BTreeMap<String, Duration>,
    /// How often the database is asked for what is due.
    #[serde(deserialize_with = "millis")]
    pub poll_ms: Duration,
}

impl Default for SagaTimes {
    fn default() -> Self {
        Self {
            resend_first_ms: Duration::from_secs(15),
            resend_max_ms: Duration::from_secs(300),
            undo_deadline_ms: Duration::from_secs(3600),
            deadline_ms: BTreeMap::new(),
            poll_ms: Duration::from_millis(250),
        }
    }
}

impl SagaTimes {
    pub(crate) fn resend_first(&self) -> Duration {
        self.resend_first_ms
    }

    pub(crate) fn undo_deadline(&self) -> Duration {
        self.undo_deadline_ms
    }

    pub(crate) fn deadline(&self, step: &Step) -> Duration {
        self.deadline_ms.get(step.name).copied().unwrap_or(step.deadline)
    }

    /// After the sending `attempt`, counted from 1. Doubling, capped, less up to half of it by chance: what was sent at one moment
    /// is not sent again at one moment, and whoever is merely slow is not asked ever more often.
    pub(crate) fn resend_pause(&self, attempt: u32, jitter: f64) -> Duration {
        let doubled = self.resend_first_ms.saturating_mul(1_u32 << attempt.saturating_sub(1).min(16));
        doubled.min(self.resend_max_ms).mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0)
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BrokerConfig {
    /// The longest wait for any answer of the broker.
    #[serde(deserialize_with = "millis")]
    pub timeout_ms: Duration,
    /// How often a connection is asked for a sign of life.
    #[serde(deserialize_with = "millis")]
    pub canary_ms: Duration,
    /// The broker ends a connection that was silent for about twice as long, in seconds, and gives its queues to who waits for them: how
    /// long a frozen process may stand in the way. A `heartbeat` in the URL counts instead.
    pub heartbeat_s: u16,
    /// Messages published and not yet confirmed, per lane.
    pub in_flight: usize,
    /// Messages that a consumer holds unanswered, per queue.
    pub prefetch: u16,
    /// How many orders a participant works on at once.
    pub lanes: usize,
    /// How far the lane of facts goes back when the broker has lost everything; in positions.
    pub facts_back: i64,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            timeout_ms: Duration::from_secs(10),
            canary_ms: Duration::from_secs(5),
            heartbeat_s: 10,
            in_flight: 512,
            prefetch: 200,
            lanes: 64,
            facts_back: 10_000,
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunnerConfig {
    /// Events read at once.
    pub page: u32,
    /// Sagas kept in memory.
    pub cached_sagas: usize,
    /// How often deadlines and checkpoint are written.
    #[serde(deserialize_with = "millis")]
    pub flush_ms: Duration,
    /// How long the owner of the sagas may be silent before another process takes over.
    #[serde(deserialize_with = "millis")]
    pub lease_ms: Duration,
}

impl Default for RunnerConfig {
    fn default() -> Self {
        Self {
            page: 1_000,
            cached_sagas: 20_000,
            flush_ms: Duration::from_millis(200),
            lease_ms: Duration::from_secs(5),
        }
    }
}

/// Where the payment provider and the carriers are, and how long they may take.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProviderConfig {
    /// Base address; `/payments/...` is appended.
    pub payment_url: String,
    /// Base address; `/carriers/{carrier}/...` is appended.
    pub carrier_url: String,
    #[serde(deserialize_with = "millis")]
    pub timeout_ms: Duration,
    /// How often one command is tried before it is left to the saga's next sending.
    pub tries: u32,
    /// The first pause between two tries; doubles.
    #[serde(deserialize_with = "millis")]
    pub pause_ms: Duration,
}

impl Default for ProviderConfig {
    fn default() -> Self {
        Self {
            payment_url: "http://127.0.0.1:8090".into(),
            carrier_url: "http://127.0.0.1:8090".into(),
            timeout_ms: Duration::from_secs(3),
            tries: 3,
            pause_ms: Duration::from_millis(100),
        }
    }
}

fn millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

fn millis_by_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Duration>, D::Error> {
    let by_name = BTreeMap::<String, u64>::deserialize(deserializer)?;
    Ok(by_name.into_iter().map(|(name, millis)| (name, Duration::from_millis(millis))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_between_sendings_double_up_to_the_cap_and_are_never_less_than_half() {
        let seconds = |first, max| SagaTimes {
            resend_first_ms: Duration::from_secs(first),
            resend_max_ms: Duration::from_secs(max),
            ..SagaTimes::default()
        };
        let pauses = |jitter| [1, 2, 3, 4, 40].map(|attempt| seconds(15, 100).resend_pause(attempt, jitter).as_secs());
        assert_eq!(pauses(0.0), [15, 30, 60, 100, 100]);
        assert_eq!(pauses(1.0), [7, 15, 30, 50, 50]);
    }
}
