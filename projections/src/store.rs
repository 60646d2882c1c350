//! What the engine needs of a place that holds read models. Redis and Tantivy are the two; a third is a file beside them.

use std::{collections::HashMap, hash::Hash, sync::Arc, time::Duration};

use events::{DomainEvent, LogId, Recorded};
use sha2::{Digest as _, Sha256};

use crate::{
    checkpoint_text::{Digest, Head},
    failure::ProjectionError,
    names::Generation,
};

pub(crate) type EventPage = Arc<LogPage>;

/// Events of one log in position order without a hole.
#[derive(Debug)]
pub(crate) struct LogPage {
    pub(crate) log_id: LogId,
    pub(crate) events: Vec<Recorded<DomainEvent>>,
}

/// All generations of one read model. One of them answers; another may be under construction.
pub(crate) trait Store: Send + Sync + 'static {
    const NAME: &'static str;
    const VERSION: u32;
    /// Whether each page is written as it comes. Otherwise writing waits for a while, or until somebody asks.
    const AT_ONCE: bool;
    type Open: OpenGeneration;

    /// Refuses a store that could lose documents silently.
    fn preflight(&self) -> impl Future<Output = Result<(), ProjectionError>> + Send;
    fn active(&self) -> impl Future<Output = Result<Option<Generation>, ProjectionError>> + Send;
    fn previous(&self) -> impl Future<Output = Result<Option<Generation>, ProjectionError>> + Send;
    fn building(&self) -> impl Future<Output = Result<Option<Generation>, ProjectionError>> + Send;
    /// A new, empty generation for these logs, remembered as the one under construction; or the one that somebody else has begun meanwhile.
    fn start_building(&self, logs: &[LogId]) -> impl Future<Output = Result<Generation, ProjectionError>> + Send;
    /// Opens a generation for writing, and includes those of the logs that it did not have yet. `Lost`: it is not there, or not whole.
    /// `Outdated`: by another version of the fold. `Unfollowed`: it has events of a log that is not among these.
    fn open(
        &self,
        generation: Generation,
        logs: &[LogId],
        cached: usize,
    ) -> impl Future<Output = Result<Self::Open, ProjectionError>> + Send;
    /// Makes a generation the one that answers, in one step, and keeps the one before.
    fn switch_to(&self, generation: Generation) -> impl Future<Output = Result<(), ProjectionError>> + Send;
    /// Drops a generation and, if it is the one under construction, forgets that.
    fn abandon(&self, generation: Generation) -> impl Future<Output = Result<(), ProjectionError>> + Send;
    fn drop_generation(&self, generation: Generation) -> impl Future<Output = Result<(), ProjectionError>> + Send;
    /// Every generation that takes room.
    fn generations(&self) -> impl Future<Output = Result<Vec<Generation>, ProjectionError>> + Send;

    /// Whether a reader in another process asked for a commit since this was last asked. Never, where each page is written at once.
    fn take_wish(&self) -> impl Future<Output = Result<bool, ProjectionError>> + Send;
    /// Asks the projector, wherever it runs, to stand still for at most this long.
    fn hold(&self, at_most: Duration) -> impl Future<Output = Result<(), ProjectionError>> + Send;
    fn release(&self) -> impl Future<Output = Result<(), ProjectionError>> + Send;
    /// Where a generation stands, seen from outside.
    fn peek(&self, generation: Generation) -> impl Future<Output = Result<Standing, ProjectionError>> + Send;
    /// Every document of a generation by name, with its hash.
    fn contents(
        &self,
        generation: Generation,
    ) -> impl Future<Output = Result<HashMap<String, u128>, ProjectionError>> + Send;
}

/// Where a generation stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) head: Head,
    pub(crate) digest: Digest,
    /// False while somebody is in the middle of writing it, or has died there.
    pub(crate) whole: bool,
}

/// One generation, open for writing. After an error it is thrown away and opened again: what the store holds is right by itself.
pub(crate) trait OpenGeneration: Send {
    fn generation(&self) -> Generation;
    /// Up to where it has been folded, written or not.
    fn folded(&self) -> &Head;
    /// Up to where it has been written: what a reader sees.
    fn written(&self) -> &Head;
    fn digest(&self) -> Digest;

    /// Folds the events behind `folded` in their log; those before it are skipped.
    fn fold(&mut self, page: &EventPage) -> impl Future<Output = Result<(), ProjectionError>> + Send;
    /// Notes that it is where the log ends; written with what is folded.
    fn reached(&mut self, log_id: &LogId);
    /// Writes what is folded, and the checkpoint with it.
    fn write(&mut self) -> impl Future<Output = Result<Signals, ProjectionError>> + Send;
    /// Looks whether it is still there, ours and live.
    fn check(&mut self) -> impl Future<Output = Result<Signals, ProjectionError>> + Send;
    /// Lets go of it in good order.
    fn close(self) -> impl Future<Output = Result<(), ProjectionError>> + Send;
}

/// What the rest of the world asked of whoever writes a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signals {
    /// Of the generation that answers.
    pub(crate) active: Option<Generation>,
    /// Somebody compares and asks for stillness.
    pub(crate) held: bool,
}

/// A document of one log: the log's place in the head, and the model's key.
pub(crate) type OfLog<K> = (usize, K);

/// A document in memory, and the hash of what the store has of it.
#[derive(Debug)]
pub(crate) struct Slot<D> {
    pub(crate) document: Option<D>,
    pub(crate) stored: Option<u128>,
    /// Where it lies; always 0 in a store without shards.
    pub(crate) shard: usize,
}

/// Name and content: a document under another name is another document.
pub(crate) fn hash_document(name: &str, json: &[u8]) -> u128 {
    let digest = Sha256::new().chain_update(name.as_bytes()).chain_update([0]).chain_update(json).finalize();
    let mut first = [0; 16];
    first.copy_from_slice(&digest[..16]);
    u128::from_be_bytes(first)
}

/// The slots of the keys that a page touches, taken from where they are in memory; the others are named in `missing`.
pub(crate) fn gather<K: Clone + Eq + Hash, D>(
    touched: impl Iterator<Item = K>,
    dirty: &mut HashMap<K, Slot<D>>,
    clean: &mut crate::cache::Cache<K, Slot<D>>,
) -> Vec<K> {
    let mut missing = std::collections::HashSet::new();
    for key in touched {
        if dirty.contains_key(&key) || missing.contains(&key) {
            continue;
        }
        match clean.take(&key) {
            Some(slot) => {
                dirty.insert(key, slot);
            }
            None => {
                missing.insert(key);
            }
        }
    }
    missing.into_iter().collect()
}
