//! Waits for what a server does by its own clock, with a deadline: the one loop in which these tests sleep.

use std::time::Duration;

use sqlx::PgPool;
use tokio::time::{Instant, sleep};

/// Longer than anything here takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Until a question to the server is answered with yes.
pub(super) async fn until(pool: &PgPool, what: &str, question: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !sqlx::query_scalar::<_, bool>(question).fetch_one(pool).await.expect(what) {
        assert!(Instant::now() < deadline, "in vain: {what}");
        sleep(Duration::from_millis(100)).await;
    }
}
