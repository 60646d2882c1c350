//! Waits for what a server does by its own clock, with a deadline: the one loop in which these tests sleep.

use std::time::Duration;

use sqlx::PgPool;
use tokio::time::{sleep, timeout};

/// Longer than anything here takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Until a question to the server is answered with yes. A server that does not answer at all is not waited for longer.
pub(super) async fn until(pool: &PgPool, what: &str, question: &str) {
    let asking = async {
        while !sqlx::query_scalar::<_, bool>(question).fetch_one(pool).await.expect(what) {
            sleep(Duration::from_millis(100)).await;
        }
    };
    assert!(timeout(PATIENCE, asking).await.is_ok(), "not within {PATIENCE:?}: {what}");
}
