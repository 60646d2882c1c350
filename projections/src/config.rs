//! What the projector and the readers must be told. Only the binary reads the environment.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::ProjectionError;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `redis://host:port/db`, `rediss://`, or `unix:///path`.
    pub redis_url: String,
    /// Stands before every key, so that several shops or tests share a Redis; letters, digits and dashes.
    pub namespace: String,
    /// One folder per search index lies here.
    pub index_dir: PathBuf,
    /// Events a page while following the log.
    pub page_size: u32,
    /// Events a page while building from the start.
    pub rebuild_page_size: u32,
    /// Events that are folded before a build writes: each document is written once for all of them.
    pub rebuild_batch: u32,
    /// How long a search index waits before it makes what it has visible.
    pub commit_interval_ms: u64,
    /// How often a projection that has moved compares what it has applied with what the log holds.
    pub verify_interval_ms: u64,
    /// Heap of one search index's writer.
    pub index_memory_mb: usize,
    /// Documents that a projection keeps in memory to spare reading them back.
    pub cached_documents: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            redis_url: "redis://127.0.0.1:6379".into(),
            namespace: "waybill".into(),
            index_dir: ".waybill/index".into(),
            page_size: 1_000,
            rebuild_page_size: 10_000,
            rebuild_batch: 50_000,
            commit_interval_ms: 500,
            verify_interval_ms: 10_000,
            index_memory_mb: 24,
            cached_documents: 2_000,
        }
    }
}

impl Config {
    /// Refuses what could not work.
    pub fn check(&self) -> Result<(), ProjectionError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let wrong = if self.namespace.is_empty() || !self.namespace.bytes().all(plain) {
            "namespace must be letters, digits, dashes, dots or underscores"
        } else if [self.page_size, self.rebuild_page_size, self.rebuild_batch].contains(&0) {
            "page_size, rebuild_page_size and rebuild_batch must be at least 1"
        } else if self.index_memory_mb < 16 {
            "index_memory_mb must be at least 16"
        } else {
            return Ok(());
        };
        Err(ProjectionError::Misconfigured { what: wrong })
    }

    pub(crate) fn commit_interval(&self) -> Duration {
        Duration::from_millis(self.commit_interval_ms)
    }

    pub(crate) fn verify_interval(&self) -> Duration {
        Duration::from_millis(self.verify_interval_ms)
    }
}
