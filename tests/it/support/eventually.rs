//! Waiting for a condition of the whole system, with a deadline.

pub(crate) use local_services::testing::eventually_within as eventually;

/// Fails with `why` as long as the condition does not hold.
pub(crate) fn holds(condition: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(why()) }
}
