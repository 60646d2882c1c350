//! Which events a reader has applied, in three numbers that are compared with the log's own.

use std::str::FromStr;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::Position;

/// Count, sum of hashes, and sum of positions times hashes, over a set of events: the same for the same set, whatever the order.
///
/// Written `17:123:456`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub(crate) events: i64,
    pub(crate) hash_sum: i128,
    pub(crate) weighted_sum: i128,
}

/// How what a reader applied differs from what the log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    #[error("the event at position {0} was not applied")]
    Skipped(Position),
    #[error("the event at position {0} was applied twice")]
    Doubled(Position),
    #[error("what was applied as the event at position {0} is not the event that stands there")]
    Replaced(Position),
    #[error("several events differ; {0} more were applied than there are")]
    Several(i64),
}

/// 48 bits; as `event_hash` in the database.
fn hash(position: Position, event_id: Uuid) -> i128 {
    let digest = Sha256::new().chain_update(event_id.as_bytes()).chain_update(position.0.to_be_bytes()).finalize();
    digest[..6].iter().fold(0, |hash, byte| hash << 8 | i128::from(*byte))
}

impl Tally {
    pub fn add(&mut self, position: Position, event_id: Uuid) {
        let hash = hash(position, event_id);
        self.events += 1;
        self.hash_sum += hash;
        self.weighted_sum += i128::from(position.0) * hash;
    }

    /// How many events.
    #[must_use]
    pub fn count(&self) -> i64 {
        self.events
    }

    /// None where this is what the log has. One event that differs is named: its hash and its weighted hash give its position.
    #[must_use]
    pub fn difference(self, log: Self) -> Option<Difference> {
        let events = self.events - log.events;
        let (hash, weighted) = (self.hash_sum - log.hash_sum, self.weighted_sum - log.weighted_sum);
        if (events, hash, weighted) == (0, 0, 0) {
            return None;
        }
        let one = hash != 0 && hash.abs() < 1 << 48 && weighted % hash == 0;
        let at = one.then(|| weighted / hash).and_then(|at| i64::try_from(at).ok()).filter(|at| *at >= 1).map(Position);
        Some(match (events, at) {
            (-1, Some(at)) if hash < 0 => Difference::Skipped(at),
            (1, Some(at)) if hash > 0 => Difference::Doubled(at),
            (0, Some(at)) => Difference::Replaced(at),
            _ => Difference::Several(events),
        })
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.events, self.hash_sum, self.weighted_sum)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no tally: write count:hash_sum:weighted_sum")]
pub struct InvalidTally(String);

impl FromStr for Tally {
    type Err = InvalidTally;

    fn from_str(text: &str) -> Result<Self, InvalidTally> {
        let parse = || {
            let (events, sums) = text.split_once(':')?;
            let (hash_sum, weighted_sum) = sums.split_once(':')?;
            Some(Self {
                events: events.parse().ok()?,
                hash_sum: hash_sum.parse().ok()?,
                weighted_sum: weighted_sum.parse().ok()?,
            })
        };
        parse().ok_or_else(|| InvalidTally(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tally(positions: impl IntoIterator<Item = i64>) -> Tally {
        let mut tally = Tally::default();
        for position in positions {
            tally.add(Position(position), Uuid::from_u128(position.unsigned_abs().into()));
        }
        tally
    }

    proptest! {
        #[test]
        fn one_event_that_differs_is_named(count in 1..200_i64, at in 1..200_i64, other in any::<u128>()) {
            let (at, log) = (at.min(count), tally(1..=count));
            prop_assert_eq!(log.difference(log), None);
            let skipped = tally((1..=count).filter(|position| *position != at));
            prop_assert_eq!(skipped.difference(log), Some(Difference::Skipped(Position(at))));
            let doubled = tally((1..=count).chain([at]));
            prop_assert_eq!(doubled.difference(log), Some(Difference::Doubled(Position(at))));
            let mut replaced = skipped;
            replaced.add(Position(at), Uuid::from_u128(other | 1 << 127));
            prop_assert_eq!(replaced.difference(log), Some(Difference::Replaced(Position(at))));
        }

        #[test]
        fn the_order_does_not_matter_and_what_is_written_is_read(positions in prop::collection::vec(1..i64::MAX / 4, 0..20)) {
            let tally_of = tally(positions.iter().copied());
            prop_assert_eq!(tally(positions.iter().rev().copied()), tally_of);
            prop_assert_eq!(tally_of.to_string().parse(), Ok(tally_of));
        }
    }

    #[test]
    fn several_differences_are_not_taken_for_one() {
        let (log, skipped_two) = (tally(1..=100), tally((1..=100).filter(|position| ![7, 70].contains(position))));
        assert_eq!(skipped_two.difference(log), Some(Difference::Several(-2)));
        let swapped_for_another = tally((1..=100).filter(|position| *position != 7).chain([70]));
        assert_eq!(swapped_for_another.difference(log), Some(Difference::Several(0)));
    }
}
