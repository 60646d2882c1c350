//! Waiting for a condition with a deadline: the one place of these tests that sleeps.

use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_millis(25);

/// Looks again and again until there is something, at most for `within`. Panics with the last reason why not.
pub(crate) async fn eventually<T>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + within;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(why) => assert!(Instant::now() < deadline, "{what}: not within {within:?}: {why}"),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Fails with `why` as long as the condition does not hold.
pub(crate) fn holds(condition: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(why()) }
}
