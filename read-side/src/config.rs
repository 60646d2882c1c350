//! What the read side must be told. Only the binary reads the environment.

use std::fmt;

use aws_lc_rs::rand;
use serde::{Deserialize, Serialize};

use crate::CursorKey;

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Seals cursors: processes that answer for each other share it. None: a secret of this process alone, so a cursor dies with it.
    #[serde(skip_serializing)]
    pub cursor_secret: Option<String>,
    /// How many may replay the log at once.
    pub replays_max: usize,
    /// How many order pages may be folded from the log at once, while Redis is gone.
    pub folds_max: usize,
    /// How many may search at once; others wait for their turn.
    pub searches_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { cursor_secret: None, replays_max: 4, folds_max: 4, searches_max: 16 }
    }
}

impl Config {
    pub(crate) fn cursor_key(&self) -> CursorKey {
        if let Some(secret) = &self.cursor_secret {
            return CursorKey::new(secret.as_bytes());
        }
        let mut secret = [0; 32];
        rand::fill(&mut secret).expect("the system's source of randomness works, or nothing here is safe");
        CursorKey::new(&secret)
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cursor_secret = self.cursor_secret.as_ref().map(|_| "[secret]");
        f.debug_struct("Config")
            .field("cursor_secret", &cursor_secret)
            .field("replays_max", &self.replays_max)
            .field("folds_max", &self.folds_max)
            .field("searches_max", &self.searches_max)
            .finish()
    }
}
