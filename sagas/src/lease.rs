//! Lets one process at a time do what only one may do. Judged by the database's clock; whatever is done under a lease is fenced
//! besides, by stream versions and checkpoints, so that an owner who slept past it does no harm.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use futures_util::future::BoxFuture;
use sqlx::PgPool;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use write_side::EventStore;

use crate::{Error, error::chain};

/// Runs `work` whenever this process owns the lease, until shutdown or a failure that needs a person.
///
/// `work` is given a token that is cancelled at shutdown, and is dropped when the lease is lost.
pub(crate) async fn while_owner<'a>(
    store: &EventStore,
    name: &'static str,
    ttl: Duration,
    shutdown: &CancellationToken,
    work: impl Fn(CancellationToken) -> BoxFuture<'a, Result<(), Error>>,
) -> Result<(), Error> {
    let lease = Lease { pool: store.log().pool(), name, owner: store.ids().next(), ttl };
    let pauses = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(5))
        .without_max_times()
        .with_jitter();
    let mut pause = pauses.build();
    while shutdown.run_until_cancelled(lease.acquire()).await.is_some() {
        tracing::info!(lease = name, "this process is the owner now");
        let outcome = tokio::select! {
            outcome = work(shutdown.child_token()) => outcome,
            () = lease.keep() => Err(Error::LeaseLost { name }),
        };
        lease.release().await;
        match outcome {
            Ok(()) if shutdown.is_cancelled() => return Ok(()),
            Ok(()) => pause = pauses.build(),
            Err(error) if error.is_transient() => {
                tracing::warn!(lease = name, error = chain(&error), "the work is interrupted and starts over");
                let pause = pause.next().unwrap_or(ttl);
                shutdown.run_until_cancelled(tokio::time::sleep(pause)).await;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

struct Lease<'a> {
    pool: &'a PgPool,
    name: &'static str,
    owner: Uuid,
    ttl: Duration,
}

impl Lease<'_> {
    async fn acquire(&self) {
        while !self.take().await {
            tokio::time::sleep(self.ttl / 8).await;
        }
    }

    /// Ends when the lease is lost: taken by another, or not renewed in time.
    async fn keep(&self) {
        loop {
            tokio::time::sleep(self.ttl / 4).await;
            if !self.take().await && !self.take().await {
                return;
            }
        }
    }

    async fn take(&self) -> bool {
        let taking = sqlx::query(
            "INSERT INTO leases AS l (name, owner, expires_at) VALUES ($1, $2, clock_timestamp() + $3 * interval '1 ms') \
             ON CONFLICT (name) DO UPDATE SET owner = $2, expires_at = excluded.expires_at \
             WHERE l.owner = $2 OR l.expires_at < clock_timestamp()",
        )
        .bind(self.name)
        .bind(self.owner)
        .bind(i64::try_from(self.ttl.as_millis()).unwrap_or(i64::MAX))
        .execute(self.pool);
        match timeout(self.ttl / 2, taking).await {
            Ok(Ok(taken)) => taken.rows_affected() == 1,
            Ok(Err(error)) => {
                tracing::debug!(lease = self.name, error = chain(&error), "the lease could not be asked for");
                false
            }
            Err(_) => false,
        }
    }

    async fn release(&self) {
        let releasing =
            sqlx::query("DELETE FROM leases WHERE name = $1 AND owner = $2").bind(self.name).bind(self.owner);
        // If this fails, the lease runs out by itself.
        let _ = timeout(self.ttl / 2, releasing.execute(self.pool)).await;
    }
}
