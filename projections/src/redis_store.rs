//! The connection to Redis: no Nagle, short bounds, and errors that name the store.

use std::time::Duration;

use redis::{
    FromRedisValue, IntoConnectionInfo, Pipeline, RedisError,
    aio::{ConnectionManager, ConnectionManagerConfig},
    io::tcp::TcpSettings,
};

/// Everything that a reader waits for, connection included. Tight: a page folded from the log is the answer after this.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_millis(500);
/// A projector's page may be megabytes.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub(crate) enum RedisFailure {
    #[error("Redis refused")]
    Redis(#[from] RedisError),
    #[error("Redis did not answer within {0:?}")]
    Slow(Duration),
}

/// Cheap to clone; connects when first used and again after a loss.
#[derive(Clone)]
pub(crate) struct Redis {
    manager: ConnectionManager,
    timeout: Duration,
}

impl Redis {
    pub(crate) fn open(url: &str, timeout: Duration) -> Result<Self, RedisFailure> {
        let info = url.into_connection_info()?.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_min_delay(Duration::from_millis(50))
            .set_max_delay(Duration::from_millis(200))
            .set_connection_timeout(Some(timeout))
            .set_response_timeout(Some(timeout));
        let manager = ConnectionManager::new_lazy_with_config(redis::Client::open(info)?, config)?;
        Ok(Self { manager, timeout })
    }

    /// Runs the commands in order, in one round trip.
    pub(crate) async fn run<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, RedisFailure> {
        let mut manager = self.manager.clone();
        match tokio::time::timeout(self.timeout, pipeline.query_async(&mut manager)).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(RedisFailure::Slow(self.timeout)),
        }
    }
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}
