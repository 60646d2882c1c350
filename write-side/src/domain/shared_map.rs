//! A hash map whose clone costs nothing: clones share their shards until one of them writes, and then copy only the shard.
//!
//! The owner of a long, hot stream decides each batch on a clone of its state, so a clone must not copy 100,000 articles.

use std::{
    borrow::Borrow,
    collections::HashMap,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash},
    sync::Arc,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A write after a clone copies 1/1024 of the entries, and 8 KiB of pointers once.
const SHARDS: usize = 1024;

/// Hashes alike in every process and run, so that equal maps have equal shards.
type Hasher = BuildHasherDefault<DefaultHasher>;
type Shard<K, V> = HashMap<K, V, Hasher>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SharedMap<K: Eq + Hash, V> {
    /// None until something is inserted.
    shards: Arc<Vec<Arc<Shard<K, V>>>>,
}

impl<K: Eq + Hash, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self { shards: Arc::default() }
    }
}

impl<K: Clone + Eq + Hash, V: Clone> SharedMap<K, V> {
    pub(super) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.shards.get(shard_of(key))?.get(key)
    }

    /// The key as the map holds it: equal keys need not be kept twice.
    pub(super) fn key<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&K>
    where
        K: Borrow<Q>,
    {
        self.shards.get(shard_of(key))?.get_key_value(key).map(|(key, _)| key)
    }

    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.shard(&key).insert(key, value)
    }

    pub(super) fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.get(key)?;
        self.shard(key).remove(key)
    }

    /// The entry of `key`, made from nothing if it is not there.
    pub(super) fn entry(&mut self, key: &K) -> &mut V
    where
        V: Default,
    {
        self.shard(key).entry(key.clone()).or_default()
    }

    pub(super) fn update(&mut self, mut each: impl FnMut(&mut V)) {
        for shard in Arc::make_mut(&mut self.shards) {
            Arc::make_mut(shard).values_mut().for_each(&mut each);
        }
    }

    fn shard<Q: Hash + ?Sized>(&mut self, key: &Q) -> &mut Shard<K, V> {
        let shards = Arc::make_mut(&mut self.shards);
        if shards.is_empty() {
            *shards = vec![Arc::default(); SHARDS];
        }
        Arc::make_mut(&mut shards[shard_of(key)])
    }
}

impl<K: Eq + Hash + Serialize, V: Serialize> Serialize for SharedMap<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.shards.iter().flat_map(|shard| shard.iter()))
    }
}

impl<'de, K, V> Deserialize<'de> for SharedMap<K, V>
where
    K: Clone + Eq + Hash + Deserialize<'de>,
    V: Clone + Deserialize<'de>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries = HashMap::<K, V>::deserialize(deserializer)?;
        let mut map = Self::default();
        for (key, value) in entries {
            map.insert(key, value);
        }
        Ok(map)
    }
}

fn shard_of<Q: Hash + ?Sized>(key: &Q) -> usize {
    let hash = Hasher::default().hash_one(key);
    // A shard's own table uses the lowest and the highest bits.
    usize::try_from((hash >> 32) % SHARDS as u64).expect("less than the count of shards")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_does_not_see_what_is_written_later() {
        let mut map = SharedMap::default();
        for number in 0..5_000 {
            map.insert(number, number);
        }
        let before = map.clone();
        map.insert(7, 0);
        map.remove(&8);
        *map.entry(&5_000) += 1;
        assert_eq!((before.get(&7), before.get(&8), before.get(&5_000)), (Some(&7), Some(&8), None));
        assert_eq!((map.get(&7), map.get(&8), map.get(&5_000)), (Some(&0), None, Some(&1)));
    }

    #[test]
    fn a_write_copies_no_more_than_its_shard() {
        let mut map = SharedMap::default();
        for number in 0..5_000 {
            map.insert(number, number);
        }
        let before = map.clone();
        map.insert(7, 0);
        let copied = before.shards.iter().zip(map.shards.iter()).filter(|(old, new)| !Arc::ptr_eq(old, new));
        assert_eq!(copied.count(), 1);
    }
}
