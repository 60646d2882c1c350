//! Waits for a condition, with a deadline: the one loop in which these tests sleep.

use std::time::Duration;

use tokio::time::Instant;

/// Longer than anything here takes, also on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Tries until there is something. Panics with the last reason why not.
pub(super) async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt().await {
            Ok(found) => return found,
            Err(why) => assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}: {why}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
