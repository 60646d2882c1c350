//! What this process knows of its streams' versions without looking: it wrote their last events, and all that stands behind those.
//!
//! Whoever appends alone, as the one process of a shop does, knows nearly every version; the append then needs no index to judge. Somebody
//! else's event is a gap, with which all that was known ends. The append sees for itself that nothing came since (`append_batch`).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use events::{Position, StreamId, StreamVersion};
use uuid::Uuid;

/// Streams in each of two generations: some ten megabytes in all.
const REMEMBERED: usize = 1 << 15;
/// As far as the append looks for what came since (`c_since` in `append_batch`).
const SINCE: i64 = 2000;
/// Batches that may be heard of before the one whose events stand before theirs; with more of them, somebody else wrote those.
const EARLY: usize = 4;

/// Of all streams, as far as one process knows. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Known(Arc<Mutex<Run>>);

/// A run of positions without a gap, all written by this process.
#[derive(Default)]
struct Run {
    end: Option<(Position, Uuid)>,
    versions: HashMap<StreamId, StreamVersion>,
    /// What is forgotten next.
    older: HashMap<StreamId, StreamVersion>,
    /// Batches that stand behind a gap.
    early: Vec<Written>,
}

/// A batch that was committed: its events stand from the position after `before` to `last`.
pub(crate) struct Written {
    pub before: Position,
    pub last: Position,
    pub last_event: Uuid,
    pub versions: Vec<(StreamId, StreamVersion)>,
}

/// What the append is told of the versions that it need not look for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Vouched {
    /// Known as of this position; 0 when nothing is known.
    pub at: Position,
    /// Which stands there.
    pub event: Option<Uuid>,
    /// Numbers of the streams, from 0, that have events and whose version is to be looked for.
    pub look: Vec<usize>,
}

impl Known {
    /// For a batch on these streams at these expected versions, of a log that has reached `hint`.
    pub(crate) fn vouch<'a>(
        &self,
        hint: Position,
        streams: impl Iterator<Item = (&'a StreamId, StreamVersion)>,
    ) -> Vouched {
        let run = self.lock();
        let end = run.end.filter(|(end, _)| hint.0 - end.0 <= SINCE);
        let is_known = |stream, expected| end.is_some() && run.version(stream) == Some(expected);
        let old = streams.enumerate().filter(|(_, (_, expected))| *expected > 0);
        let (known, look): (Vec<_>, Vec<_>) = old.partition(|&(_, (stream, expected))| is_known(stream, expected));
        let end = end.filter(|_| !known.is_empty());
        Vouched {
            at: end.map_or(Position::START, |(at, _)| at),
            event: end.map(|(_, event)| event),
            look: look.into_iter().map(|(number, _)| number).collect(),
        }
    }

    pub(crate) fn add(&self, written: Written) {
        self.lock().add(written);
    }

    pub(crate) fn forget(&self) {
        *self.lock() = Run::default();
    }

    fn lock(&self) -> MutexGuard<'_, Run> {
        // Nothing is done under the lock that could stop half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Run {
    fn version(&self, stream: &StreamId) -> Option<StreamVersion> {
        self.versions.get(stream).or_else(|| self.older.get(stream)).copied()
    }

    fn add(&mut self, written: Written) {
        self.early.push(written);
        if self.end.is_none() || self.early.len() > EARLY {
            self.begin_again();
        }
        while let Some(next) = self.early.iter().position(|early| Some(early.before) == self.end.map(|(end, _)| end)) {
            let next = self.early.swap_remove(next);
            self.extend(next);
        }
        // What stands before the run was overtaken by its beginning.
        let end = self.end;
        self.early.retain(|early| end.is_some_and(|(end, _)| early.before > end));
    }

    /// From the newest of what is there on.
    fn begin_again(&mut self) {
        let mut early = std::mem::take(&mut self.early);
        early.sort_unstable_by_key(|early| early.before);
        *self = Self::default();
        if let Some(newest) = early.pop() {
            self.extend(newest);
        }
    }

    fn extend(&mut self, written: Written) {
        self.end = Some((written.last, written.last_event));
        if self.versions.len() + written.versions.len() > REMEMBERED {
            self.older = std::mem::take(&mut self.versions);
        }
        self.versions.extend(written.versions);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(name: &str) -> StreamId {
        StreamId::new("test", name)
    }

    fn batch(before: i64, last: i64, versions: &[(&str, StreamVersion)]) -> Written {
        let versions = versions.iter().map(|(name, version)| (stream(name), *version)).collect();
        Written { before: Position(before), last: Position(last), last_event: id(last), versions }
    }

    fn id(position: i64) -> Uuid {
        Uuid::from_u128(u128::try_from(position).unwrap())
    }

    fn vouch(known: &Known, hint: i64, streams: &[(&str, StreamVersion)]) -> Vouched {
        let streams: Vec<_> = streams.iter().map(|(name, version)| (stream(name), *version)).collect();
        known.vouch(Position(hint), streams.iter().map(|(stream, version)| (stream, *version)))
    }

    fn at(position: i64, look: &[usize]) -> Vouched {
        Vouched { at: Position(position), event: Some(id(position)), look: look.to_vec() }
    }

    fn nothing(look: &[usize]) -> Vouched {
        Vouched { at: Position::START, event: None, look: look.to_vec() }
    }

    #[test]
    fn what_this_process_wrote_without_a_gap_is_known_as_of_the_last_of_it() {
        let known = Known::default();
        known.add(batch(10, 12, &[("a", 1), ("b", 7)]));
        known.add(batch(12, 13, &[("a", 2)]));
        assert_eq!(vouch(&known, 13, &[("a", 2), ("b", 7)]), at(13, &[]));
        assert_eq!(vouch(&known, 13, &[("a", 1), ("b", 7), ("c", 3), ("new", 0)]), at(13, &[0, 2]));
        assert_eq!(vouch(&known, 13, &[("a", 1)]), nothing(&[0]));
    }

    #[test]
    fn batches_are_heard_of_in_any_order() {
        let known = Known::default();
        known.add(batch(0, 2, &[("a", 2)]));
        known.add(batch(5, 6, &[("a", 4)]));
        assert_eq!(vouch(&known, 6, &[("a", 2), ("b", 3)]), at(2, &[1]), "as of what has no gap before it");
        known.add(batch(2, 5, &[("a", 3), ("b", 3)]));
        assert_eq!(vouch(&known, 6, &[("a", 4), ("b", 3)]), at(6, &[]));
    }

    #[test]
    fn an_event_of_somebody_else_ends_what_was_known() {
        let known = Known::default();
        known.add(batch(0, 2, &[("a", 2)]));
        for n in 0..=i64::try_from(EARLY).unwrap() {
            known.add(batch(3 + n, 4 + n, &[("b", n + 1)]));
        }
        assert_eq!(vouch(&known, 8, &[("a", 2), ("b", 5)]), at(8, &[0]));
        known.add(batch(2, 3, &[("a", 3)]));
        assert_eq!(vouch(&known, 8, &[("a", 3), ("b", 5)]), at(8, &[0]), "what comes too late is not taken");
    }

    #[test]
    fn nothing_is_vouched_for_once_the_log_has_gone_on_without_this_process() {
        let known = Known::default();
        known.add(batch(0, 2, &[("a", 2)]));
        assert_eq!(vouch(&known, 2 + SINCE, &[("a", 2)]), at(2, &[]));
        assert_eq!(vouch(&known, 3 + SINCE, &[("a", 2)]), nothing(&[0]));
    }

    #[test]
    fn the_oldest_are_forgotten_and_the_newest_are_not() {
        let known = Known::default();
        for n in 0..i64::try_from(3 * REMEMBERED).unwrap() {
            known.add(batch(n, n + 1, &[(n.to_string().as_str(), 1), ("often", n + 1)]));
        }
        let last = i64::try_from(3 * REMEMBERED).unwrap();
        let newest = (last - 1).to_string();
        assert_eq!(vouch(&known, last, &[("0", 1), (newest.as_str(), 1), ("often", last)]), at(last, &[0]));
        let run = known.lock();
        assert!(run.versions.len() + run.older.len() <= 2 * REMEMBERED);
    }
}
