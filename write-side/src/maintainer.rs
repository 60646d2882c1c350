//! Keeps the log's partitions ahead of the head, so that an append never finds none.

use std::time::Duration;

use events::Log;
use tokio_util::sync::CancellationToken;

/// Half a partition is filled in minutes at the fastest; a check costs one round trip.
const INTERVAL: Duration = Duration::from_secs(20);

/// Attaches partitions until shutdown. A failure is logged and tried again: there is one partition to spare.
pub async fn maintain(log: Log, shutdown: CancellationToken) {
    let keep_ahead = async {
        loop {
            match attach(&log).await {
                Ok(0) => (),
                Ok(attached) => tracing::info!(attached, "partitions of the log were attached ahead"),
                Err(error) => tracing::warn!(%error, "no partition could be attached ahead"),
            }
            tokio::time::sleep(INTERVAL).await;
        }
    };
    shutdown.run_until_cancelled(keep_ahead).await;
}

async fn attach(log: &Log) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar("SELECT attach_event_partitions((SELECT coalesce(max(position), 0) FROM events))")
        .fetch_one(log.pool())
        .await
}
