//! Named points at which a fault test may kill the process. Without the feature `failpoints` they are nothing.

/// Reads the environment variable `FAILPOINTS` (`name=3*off->return`: die at the fourth passage). Keep the guard alive.
#[must_use]
#[cfg(feature = "failpoints")]
pub fn arm() -> impl Drop {
    fail::FailScenario::setup()
}

/// Without failure points there is nothing to arm.
#[cfg(not(feature = "failpoints"))]
pub fn arm() {}

/// The process dies here, as by kill -9, when the point is armed with `return`.
#[cfg(feature = "failpoints")]
pub fn point(name: &str) {
    fail::fail_point!(name, |_| std::process::abort());
}

/// Without failure points nothing happens here.
#[cfg(not(feature = "failpoints"))]
pub const fn point(_name: &str) {}
