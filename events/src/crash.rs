//! Named points at which a fault test may kill the process. Without the feature `failpoints` they are nothing.

/// Keeps the failure points armed for as long as it lives.
pub struct Armed {
    #[cfg(feature = "failpoints")]
    _scenario: fail::FailScenario<'static>,
}

/// Reads the environment variable `FAILPOINTS` (`name=3*off->return`: die at the fourth passage). Keep what it returns alive.
#[must_use]
pub fn arm() -> Armed {
    Armed {
        #[cfg(feature = "failpoints")]
        _scenario: fail::FailScenario::setup(),
    }
}

/// The process dies here, as by kill -9, when the point is armed with `return`.
#[cfg(feature = "failpoints")]
pub fn point(name: &str) {
    fail::fail_point!(name, |_| std::process::abort());
}

/// Without failure points nothing happens here.
#[cfg(not(feature = "failpoints"))]
pub const fn point(_name: &str) {}
