//! Documents kept in memory to spare reading them back: roughly the most recently used, within a limit.

use std::{collections::HashMap, hash::Hash};

/// Two generations: what is used moves to the young one, and when that is full the old one is forgotten.
#[derive(Debug)]
pub(crate) struct Cache<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    /// Of each generation.
    limit: usize,
}

impl<K: Eq + Hash, V> Cache<K, V> {
    /// Holds at most `limit` values, and at least half of that.
    pub(crate) fn new(limit: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), limit: limit.div_ceil(2).max(1) }
    }

    pub(crate) fn put(&mut self, key: K, value: V) {
        if self.young.len() >= self.limit {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    /// Takes the value out: who changes it puts it back.
    pub(crate) fn take(&mut self, key: &K) -> Option<V> {
        // A key may stand in both, and the young one is the newer.
        let old = self.old.remove(key);
        self.young.remove(key).or(old)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_last_is_found_and_the_limit_holds() {
        let mut cache = Cache::new(10);
        for number in 0..100 {
            cache.put(number, number * 2);
            assert!(cache.young.len() + cache.old.len() <= 10);
        }
        assert_eq!((cache.take(&99), cache.take(&99), cache.take(&0)), (Some(198), None, None));
    }

    #[test]
    fn the_newer_value_wins() {
        let mut cache = Cache::new(2);
        cache.put("a", 1);
        cache.put("b", 2);
        cache.put("a", 3);
        assert_eq!((cache.take(&"a"), cache.take(&"a")), (Some(3), None));
    }
}
