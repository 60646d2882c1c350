//! What this process knows of its streams' versions without looking: it wrote their last events, and all that stands behind those.
//!
//! Whoever appends alone, as the one process of a shop does, knows nearly every version; the append then needs no index to judge. Somebody
//! else's event is a gap, with which all that was known ends. The append sees for itself that nothing came since (`append_batch`); most
//! often that is one batch of another connection of this process, of which is known what it will have written.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use events::{Position, StreamId, StreamVersion};
use uuid::Uuid;

/// Streams in each of two generations: some ten megabytes in all.
const REMEMBERED: usize = 1 << 15;
/// Once so much was appended since, looking for versions costs less than comparing what came.
const FAR: i64 = 2000;

/// So many batches are not written ahead after one that was, and did not stand where it was to: somebody else appends too, or is refused.
const PAUSE: u32 = 16;

/// Of all streams, as far as one process knows. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Known(Arc<Mutex<Run>>);

/// An event, and where it stands: two histories that agree on one agree on all that is before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Landmark {
    pub position: Position,
    pub event: Uuid,
}

/// A run of positions without a gap, all written by this process.
struct Run {
    end: Option<Landmark>,
    versions: HashMap<StreamId, StreamVersion>,
    /// What is forgotten next.
    older: HashMap<StreamId, StreamVersion>,
    /// Batches that stand behind a gap.
    early: Vec<Written>,
    /// Batches that were sent and not heard of.
    sent: Vec<Arc<Sent>>,
    /// As many as may be heard of before the one whose events stand before theirs; with more of them, it is not waited for: somebody
    /// else wrote those, or the answer to it was lost.
    most_early: usize,
    /// Batches that are not to be written ahead.
    pause: u32,
}

/// A batch that was committed: its events stand from the position after `before` to `last`.
pub(crate) struct Written {
    /// None at the beginning of the log.
    pub before: Option<Landmark>,
    pub last: Landmark,
    pub versions: Vec<(StreamId, StreamVersion)>,
}

/// A batch under way: what it will have written if none of its appends is refused.
pub(crate) struct Sent {
    /// Ascending.
    pub streams: Vec<StreamId>,
    pub events: i64,
    pub first_event: Uuid,
    pub last_event: Uuid,
}

/// A batch that may stand right behind what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Next {
    pub first_event: Uuid,
    pub last: Landmark,
}

impl Sent {
    fn is_apart_from<'a>(&self, streams: impl Iterator<Item = &'a StreamId>) -> bool {
        let mut own = self.streams.iter().peekable();
        streams.into_iter().all(|stream| {
            while own.next_if(|own| *own < stream).is_some() {}
            own.peek().is_none_or(|own| *own != stream)
        })
    }
}

/// What the append is told of the log, and of the versions that it need not look for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Vouched {
    /// The last event that is known.
    pub known: Option<Landmark>,
    /// The one other batch that is under way, if none of the streams is in it.
    pub next: Option<Next>,
    /// Of each stream, whether its version is to be looked for. One that is new has none.
    pub look: Vec<bool>,
    /// Whether any stream that is not new is not to be looked for.
    pub for_any: bool,
    /// Whether the events may be written before the other batch is committed.
    pub ahead: bool,
}

impl Known {
    /// Of a process that appends on so many connections.
    pub(crate) fn new(connections: usize) -> Self {
        // While the task of one rests between commit and answer, each of the others may pass it more than once.
        let most_early = 2 * connections;
        let (versions, older) = (HashMap::new(), HashMap::new());
        let (early, sent) = (Vec::new(), Vec::new());
        Self(Arc::new(Mutex::new(Run { end: None, versions, older, early, sent, most_early, pause: 0 })))
    }

    /// For a batch on streams at these expected versions, of a log that is said to have come to `newest`. Until the guard is dropped, the
    /// batch is under way.
    pub(crate) fn vouch(
        &self,
        newest: Position,
        sent: Sent,
        expected: impl Iterator<Item = StreamVersion> + Clone,
    ) -> (Vouched, Sending<'_>) {
        let mut run = self.lock();
        let vouched = run.vouch(newest, sent.streams.iter().zip(expected));
        (vouched, self.sending(&mut run, sent))
    }

    /// For a batch whose streams are all to be looked for.
    pub(crate) fn vouch_for_none(&self, sent: Sent) -> (Vouched, Sending<'_>) {
        let mut run = self.lock();
        let look = vec![true; sent.streams.len()];
        (Vouched { known: run.end, next: None, look, for_any: false, ahead: false }, self.sending(&mut run, sent))
    }

    fn sending(&self, run: &mut Run, sent: Sent) -> Sending<'_> {
        let sent = Arc::new(sent);
        run.sent.push(sent.clone());
        Sending { known: self, sent }
    }

    pub(crate) fn add(&self, written: Written) {
        self.lock().add(written);
    }

    /// The versions as of that event: somebody else has appended since. The event itself still stands there.
    pub(crate) fn forget(&self, as_of: Option<Landmark>) {
        let mut run = self.lock();
        if run.end == as_of {
            run.forget();
        }
    }

    /// A batch that was written ahead did not stand behind the one that was under way.
    pub(crate) fn pause(&self) {
        self.lock().pause = PAUSE;
    }

    fn lock(&self) -> MutexGuard<'_, Run> {
        // Nothing is done under the lock that could stop half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct Sending<'a> {
    known: &'a Known,
    sent: Arc<Sent>,
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.known.lock().sent.retain(|sent| !Arc::ptr_eq(sent, &self.sent));
    }
}

impl Run {
    /// For streams, ascending, at their expected versions.
    fn vouch<'a>(
        &mut self,
        newest: Position,
        streams: impl Iterator<Item = (&'a StreamId, StreamVersion)> + Clone,
    ) -> Vouched {
        let is_near = self.end.is_some_and(|end| newest.0 - end.position.0 <= FAR);
        let next = self.end.and_then(|end| {
            let [sent] = self.sent.as_slice() else { return None };
            let apart = sent.is_apart_from(streams.clone().map(|(stream, _)| stream));
            let last = Landmark { position: Position(end.position.0 + sent.events), event: sent.last_event };
            apart.then_some(Next { first_event: sent.first_event, last })
        });
        let mut for_any = false;
        let look = streams.map(|(stream, expected)| {
            let known = is_near && self.version(stream) == Some(expected);
            for_any |= known;
            expected > 0 && !known
        });
        let look: Vec<_> = look.collect();
        let ahead = next.is_some() && !look.contains(&true) && self.may_be_ahead();
        Vouched { known: self.end, next, look, for_any, ahead }
    }

    fn version(&self, stream: &StreamId) -> Option<StreamVersion> {
        self.versions.get(stream).or_else(|| self.older.get(stream)).copied()
    }

    fn may_be_ahead(&mut self) -> bool {
        let paused = self.pause > 0;
        self.pause = self.pause.saturating_sub(1);
        !paused
    }

    fn forget(&mut self) {
        self.versions.clear();
        self.older.clear();
        self.early.clear();
    }

    fn add(&mut self, written: Written) {
        self.early.push(written);
        let nothing_known = self.versions.is_empty() && self.older.is_empty();
        if nothing_known || self.early.len() > self.most_early {
            self.begin_again();
        }
        while let Some(next) = self.early.iter().position(|early| early.before == self.end) {
            let next = self.early.swap_remove(next);
            self.extend(next);
        }
        // What stands before the run was overtaken by its beginning.
        let end = self.end.map(|end| end.position);
        self.early.retain(|early| early.before.map(|before| before.position) > end);
    }

    /// From the newest of what is there on.
    fn begin_again(&mut self) {
        let mut early = std::mem::take(&mut self.early);
        early.sort_unstable_by_key(|early| early.last.position);
        self.forget();
        if let Some(newest) = early.pop() {
            self.extend(newest);
        }
    }

    fn extend(&mut self, written: Written) {
        self.end = Some(written.last);
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

    fn landmark(position: i64) -> Landmark {
        Landmark { position: Position(position), event: Uuid::from_u128(u128::try_from(position).unwrap()) }
    }

    fn batch(before: i64, last: i64, versions: &[(&str, StreamVersion)]) -> Written {
        let versions = versions.iter().map(|(name, version)| (stream(name), *version)).collect();
        let before = (before > 0).then(|| landmark(before));
        Written { before, last: landmark(last), versions }
    }

    /// As of which position, and which of the streams are to be looked for.
    fn vouch(known: &Known, streams: &[(&str, StreamVersion)]) -> (i64, Vec<bool>) {
        vouch_in(known, 0, streams)
    }

    /// In a log that is said to have come so far.
    fn vouch_in(known: &Known, newest: i64, streams: &[(&str, StreamVersion)]) -> (i64, Vec<bool>) {
        let streams: Vec<_> = streams.iter().map(|(name, version)| (stream(name), *version)).collect();
        let vouched = known.lock().vouch(Position(newest), streams.iter().map(|(stream, version)| (stream, *version)));
        let old = streams.iter().filter(|(_, expected)| *expected > 0).count();
        assert_eq!(vouched.for_any, vouched.look.iter().filter(|look| **look).count() < old);
        (vouched.known.map_or(0, |known| known.position.0), vouched.look)
    }

    #[test]
    fn what_this_process_wrote_without_a_gap_is_known_as_of_the_last_of_it() {
        let known = Known::new(2);
        assert_eq!(vouch(&known, &[("a", 1), ("new", 0)]), (0, vec![true, false]));
        known.add(batch(10, 12, &[("a", 1), ("b", 7)]));
        known.add(batch(12, 13, &[("a", 2)]));
        assert_eq!(vouch(&known, &[("a", 2), ("b", 7)]), (13, vec![false, false]));
        assert_eq!(vouch(&known, &[("a", 1), ("b", 7), ("c", 3), ("new", 0)]), (13, vec![true, false, true, false]));
        assert_eq!(vouch(&known, &[("a", 1)]), (13, vec![true]));
    }

    #[test]
    fn batches_are_heard_of_in_any_order() {
        let known = Known::new(2);
        known.add(batch(0, 2, &[("a", 2)]));
        known.add(batch(5, 6, &[("a", 4)]));
        assert_eq!(vouch(&known, &[("a", 2), ("b", 3)]), (2, vec![false, true]), "as of what has no gap before it");
        known.add(batch(2, 5, &[("a", 3), ("b", 3)]));
        assert_eq!(vouch(&known, &[("a", 4), ("b", 3)]), (6, vec![false, false]));
    }

    #[test]
    fn an_event_of_somebody_else_ends_what_was_known() {
        let known = Known::new(2);
        known.add(batch(0, 2, &[("a", 2)]));
        for n in 0..=4 {
            known.add(batch(3 + n, 4 + n, &[("b", n + 1)]));
        }
        assert_eq!(vouch(&known, &[("a", 2), ("b", 5)]), (8, vec![true, false]));
        known.add(batch(2, 3, &[("a", 3)]));
        assert_eq!(vouch(&known, &[("a", 3), ("b", 5)]), (8, vec![true, false]), "what comes too late is not taken");
    }

    #[test]
    fn a_batch_behind_another_event_at_the_same_position_continues_nothing() {
        let known = Known::new(2);
        known.add(batch(0, 2, &[("a", 2)]));
        let elsewhere = Landmark { event: Uuid::nil(), ..landmark(2) };
        known.add(Written { before: Some(elsewhere), last: landmark(3), versions: vec![(stream("b"), 1)] });
        assert_eq!(vouch(&known, &[("a", 2), ("b", 1)]), (2, vec![false, true]), "as of the history that it wrote");
    }

    #[test]
    fn what_was_forgotten_is_looked_for_until_it_is_written_again() {
        let known = Known::new(2);
        known.add(batch(0, 2, &[("a", 2)]));
        known.forget(Some(landmark(1)));
        assert_eq!(vouch(&known, &[("a", 2)]), (2, vec![false]), "it was another one's mistake");
        known.forget(Some(landmark(2)));
        assert_eq!(vouch(&known, &[("a", 2)]), (2, vec![true]), "the event itself is known");
        known.add(batch(9, 10, &[("a", 3)]));
        assert_eq!(vouch(&known, &[("a", 3)]), (10, vec![false]));
    }

    #[test]
    fn what_one_other_batch_will_have_written_is_foreseen_unless_it_is_about_the_same_streams() {
        let known = Known::new(2);
        let next = |streams: &[&str]| {
            let streams: Vec<_> = streams.iter().map(|name| stream(name)).collect();
            known.lock().vouch(Position(0), streams.iter().map(|stream| (stream, 1))).next.map(|next| next.last)
        };
        let sent = |last: i64, streams: &[&str]| Sent {
            streams: streams.iter().map(|name| stream(name)).collect(),
            events: 3,
            first_event: landmark(11).event,
            last_event: landmark(last).event,
        };
        let (_, sending) = known.vouch_for_none(sent(13, &["b", "d"]));
        assert_eq!(next(&["a"]), None, "nothing is known");
        known.add(batch(9, 10, &[("a", 1)]));
        for apart in [&["a"][..], &["a", "c", "e"], &["c"], &["e"]] {
            assert_eq!(next(apart), Some(landmark(13)), "{apart:?}");
        }
        for with in [&["b"][..], &["d"], &["a", "b"], &["c", "d", "e"]] {
            assert_eq!(next(with), None, "{with:?}");
        }
        let (_, another) = known.vouch_for_none(sent(14, &["f"]));
        assert_eq!(next(&["a"]), None, "nobody knows which comes first");
        drop(sending);
        assert_eq!(next(&["a"]), Some(Landmark { position: Position(13), ..landmark(14) }));
        drop(another);
        assert_eq!(next(&["a"]), None);
    }

    #[test]
    fn a_batch_is_written_ahead_behind_one_that_is_foreseen_if_nothing_is_looked_for_and_not_again_soon_after_a_mistake()
     {
        let known = Known::new(2);
        let ahead = |streams: &[(&str, StreamVersion)]| {
            let streams: Vec<_> = streams.iter().map(|(name, version)| (stream(name), *version)).collect();
            known.lock().vouch(Position(0), streams.iter().map(|(stream, version)| (stream, *version))).ahead
        };
        known.add(batch(9, 10, &[("a", 1)]));
        assert!(!ahead(&[("a", 1)]), "behind nothing");
        let (first_event, last_event) = (landmark(11).event, landmark(11).event);
        let _under_way = known.vouch_for_none(Sent { streams: vec![stream("b")], events: 1, first_event, last_event });
        assert!(ahead(&[("a", 1), ("new", 0)]));
        assert!(!ahead(&[("a", 1), ("unknown", 3)]));
        known.pause();
        for _ in 0..PAUSE {
            assert!(!ahead(&[("a", 1)]));
        }
        assert!(ahead(&[("a", 1)]));
    }

    #[test]
    fn nothing_is_vouched_for_once_the_log_has_gone_far() {
        let known = Known::new(2);
        known.add(batch(0, 2, &[("a", 2)]));
        assert_eq!(vouch_in(&known, 2 + FAR, &[("a", 2)]), (2, vec![false]));
        assert_eq!(vouch_in(&known, 3 + FAR, &[("a", 2)]), (2, vec![true]));
    }

    #[test]
    fn the_oldest_are_forgotten_and_the_newest_are_not() {
        let known = Known::new(2);
        let last = i64::try_from(3 * REMEMBERED).unwrap();
        for n in 0..last {
            known.add(batch(n, n + 1, &[(n.to_string().as_str(), 1), ("often", n + 1)]));
        }
        let newest = (last - 1).to_string();
        assert_eq!(vouch(&known, &[("0", 1), (newest.as_str(), 1), ("often", last)]), (last, vec![true, false, false]));
        let run = known.lock();
        assert!(run.versions.len() + run.older.len() <= 2 * REMEMBERED);
    }
}
