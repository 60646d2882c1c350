//! Where time and fresh ids come from, so that rules and tests need neither a clock nor randomness.

use chrono::{DateTime, SubsecRound, Utc};
use uuid::Uuid;

pub trait Clock: Send + Sync + 'static {
    /// The present, in whole microseconds: what Postgres keeps.
    fn now(&self) -> DateTime<Utc>;
}

pub trait Ids: Send + Sync + 'static {
    /// A fresh UUIDv7, ordered within this process.
    fn next(&self) -> Uuid;
}

#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    fn now(&self) -> DateTime<Utc> {
        Utc::now().trunc_subsecs(6)
    }
}

#[derive(Debug, Clone, Copy, Default)]
pub struct SystemIds;

impl Ids for SystemIds {
    #[expect(clippy::disallowed_methods, reason = "the one place that makes ids")]
    fn next(&self) -> Uuid {
        Uuid::now_v7()
    }
}
