//! What a rebuild proves, and what it was told to do.

use serde::{Deserialize, Serialize};

/// How a rebuild goes about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebuildOptions {
    /// Switch even if documents differ from the live ones: with a new version of the fold, or when the live ones were altered from outside.
    pub accept_differences: bool,
    /// Start at the first event even if an earlier rebuild was stopped half-way.
    pub from_scratch: bool,
    /// Above so many documents only counts and sums of hashes are compared, which the two generations keep as they go.
    pub compare_documents_max: usize,
    /// Documents kept in memory.
    pub cached_documents: usize,
}

impl Default for RebuildOptions {
    fn default() -> Self {
        Self {
            accept_differences: false,
            from_scratch: false,
            compare_documents_max: 200_000,
            cached_documents: 20_000,
        }
    }
}

/// How far a rebuild is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    pub position: i64,
    /// The head of the log when it was last looked at.
    pub target: i64,
    pub events_per_s: f64,
}

impl Progress {
    /// Seconds, at the rate so far; none before anything was done.
    #[must_use]
    pub fn seconds_left(&self) -> Option<f64> {
        let left = (self.target - self.position).max(0);
        (self.events_per_s > 0.0).then(|| left as f64 / self.events_per_s)
    }
}

/// What was rebuilt, from what, and that it equals what was there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    pub projection: String,
    /// `order-view v1`: the version of the fold.
    pub code_version: String,
    /// The generation that answers now.
    pub generation: u32,
    /// The one that answered before; it is kept until the next rebuild.
    pub compared_with: Option<u32>,
    /// The version of the fold that made that one; none when it could not be compared, as `compared_at`.
    pub compared_version: Option<String>,
    /// Where both stood. Before `to` only where another version made the one before, and nobody brought it forward.
    pub compared_at: Option<String>,
    pub from: String,
    pub to: String,
    /// Events folded by this run.
    pub events: i64,
    pub documents: u64,
    /// Sum of the SHA-256 of all documents, 128 bits of each: independent of their order.
    pub hash: String,
    pub duration_ms: u64,
    pub events_per_s: f64,
    /// Count and hashes were those of the generation before, at the same position. True as well when there was none.
    pub equal: bool,
    /// Whether each document was read back and compared, besides counts and sums.
    pub documents_compared: bool,
    /// Documents that differed; 0 unless differences were accepted. 1 when only counts and sums were compared.
    pub differences_count: usize,
    /// Their names, the first 20.
    pub differences: Vec<String>,
}
