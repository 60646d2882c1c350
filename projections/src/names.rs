//! The Redis keys of one read model. What is in braces decides the slot, so a shard is one slot of a Redis Cluster.

use std::borrow::Cow;

use events::LogId;
use sha2::{Digest as _, Sha256};

/// Fixed for ever: a shard's number is part of its keys.
pub(crate) const SHARDS: usize = 64;

pub(crate) type Generation = u32;

#[derive(Debug, Clone)]
pub(crate) struct Names {
    namespace: String,
    model: &'static str,
}

/// The keys of one shard.
#[derive(Debug, Clone)]
pub(crate) struct ShardKeys {
    /// Up to where this shard is written, and the digest of what is in it.
    pub(crate) at: String,
    /// A hash: document name to JSON.
    pub(crate) documents: String,
    /// A sorted set of `{list} {member}`, all with score 0, so ordered bytewise.
    pub(crate) members: String,
}

impl Names {
    pub(crate) fn new(namespace: &str, model: &'static str) -> Self {
        Self { namespace: namespace.into(), model }
    }

    pub(crate) fn model(&self) -> &'static str {
        self.model
    }

    /// The number of the generation that answers.
    pub(crate) fn active(&self) -> String {
        self.of_model("active")
    }

    /// Present while a rebuild asks the projector to stand still for a moment.
    pub(crate) fn hold(&self) -> String {
        self.of_model("hold")
    }

    /// The last generation number given out.
    pub(crate) fn generations(&self) -> String {
        self.of_model("generations")
    }

    /// The generation that is being built.
    pub(crate) fn building(&self) -> String {
        self.of_model("building")
    }

    /// The generation that answered before the last switch.
    pub(crate) fn previous(&self) -> String {
        self.of_model("previous")
    }

    /// Up to where all shards of a generation are written.
    pub(crate) fn head(&self, generation: Generation) -> String {
        format!("{}:{{{}:g{generation}}}:head", self.namespace, self.model)
    }

    pub(crate) fn shard(&self, generation: Generation, shard: usize) -> ShardKeys {
        let tag = format!("{}:{{{}:g{generation}:{shard:02}}}", self.namespace, self.model);
        ShardKeys { at: format!("{tag}:at"), documents: format!("{tag}:documents"), members: format!("{tag}:members") }
    }

    fn of_model(&self, what: &str) -> String {
        format!("{}:{{{}}}:{what}", self.namespace, self.model)
    }
}

/// The shard of a document's name or of a list's. Must give the same answer for ever, so not the standard library's hash.
pub(crate) fn shard_of(name: &str) -> usize {
    let digest = Sha256::digest(name.as_bytes());
    usize::from(digest[0]) % SHARDS
}

/// A document or a list of one log in a generation that holds those of several: `eu@A1`. What a log calls its own is its own, even where
/// another has an article or a customer of the same name. No id has an `@` in it. Those of `main` are called as they were when there was
/// no other log.
pub(crate) fn scoped<'a>(log_id: &LogId, name: &'a str) -> Cow<'a, str> {
    if *log_id == LogId::default() { Cow::Borrowed(name) } else { Cow::Owned(format!("{log_id}@{name}")) }
}
