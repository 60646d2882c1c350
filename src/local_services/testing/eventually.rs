//! Waits for a condition, with a deadline: the one loop in which tests sleep.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

/// Longer than anything takes that is waited for without saying how long, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a look found, or why it is not there yet: a `Result`, or without a reason an `Option` or a `bool`.
pub trait Look {
    type Found;

    fn found(self) -> Result<Self::Found, String>;
}

impl<T> Look for Result<T, String> {
    type Found = T;

    fn found(self) -> Self {
        self
    }
}

impl<T> Look for Option<T> {
    type Found = T;

    fn found(self) -> Result<T, String> {
        self.ok_or_else(|| "it is not so".to_owned())
    }
}

impl Look for bool {
    type Found = ();

    fn found(self) -> Result<(), String> {
        self.then_some(()).found()
    }
}

/// Looks again and again until there is something, for a minute at most.
pub async fn eventually<L: Look>(what: &str, look: impl AsyncFnMut() -> L) -> L::Found {
    eventually_within(what, PATIENCE, look).await
}

/// Looks again and again until there is something, at most for `within`, also where a look itself does not come to an end. Panics with the
/// last reason why not.
pub async fn eventually_within<L: Look>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> L) -> L::Found {
    let deadline = Instant::now() + within;
    let mut why = "nobody has looked".to_owned();
    while let Ok(looked) = timeout_at(deadline, look()).await {
        match looked.found() {
            Ok(found) => return found,
            Err(reason) => why = reason,
        }
        assert!(Instant::now() < deadline, "{what}: not within {within:?}: {why}");
        sleep(LOOK_EVERY).await;
    }
    panic!("{what}: not within {within:?}, and the last look did not end: {why}");
}
