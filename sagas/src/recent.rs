//! What was used lately, bounded: what was not used for longest goes first.

use std::{collections::HashMap, hash::Hash};

/// Two generations: what is used moves to the young one; when that is full, the old one is dropped.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    room: usize,
}

impl<K: Eq + Hash, V> Recent<K, V> {
    pub(crate) fn new(room: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), room: (room / 2).max(1) }
    }

    pub(crate) fn take(&mut self, key: &K) -> Option<V> {
        self.young.remove(key).or_else(|| self.old.remove(key))
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    pub(crate) fn put(&mut self, key: K, value: V) {
        if self.young.len() >= self.room {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&key);
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_used_for_longest_is_forgotten_first() {
        let mut recent = Recent::new(4);
        for number in 0..6 {
            recent.put(number, number);
            let zero = recent.take(&0).expect("0 is always used");
            recent.put(0, zero);
        }
        assert_eq!((recent.get(&1), recent.get(&5)), (None, Some(&5)));
    }
}
