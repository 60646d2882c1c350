//! How a checkpoint is written into a store beside the data it speaks for.

use std::str::FromStr;

use events::{Checkpoint, DomainEvent, LogId, LogPosition, Position, Recorded, Tally};

/// Up to where a whole generation is written, by which version of the fold, and from which events: `main:17 <event id> v1 17:123:456`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) code_version: u32,
    pub(crate) applied: Tally,
}

impl Head {
    pub(crate) fn start(log_id: LogId, code_version: u32) -> Self {
        Self { checkpoint: Checkpoint::start(log_id), code_version, applied: Tally::default() }
    }

    /// Counts the events as applied.
    pub(crate) fn advance(&mut self, events: &[Recorded<DomainEvent>]) {
        for event in events {
            self.applied.add(event.position, event.event_id);
        }
        if let Some(last) = events.last() {
            (self.checkpoint.position, self.checkpoint.event_id) = (last.position, last.event_id);
        }
    }
}

impl std::fmt::Display for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { checkpoint, code_version, applied } = self;
        write!(f, "{} {} v{code_version} {applied}", checkpoint.log_position(), checkpoint.event_id)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no checkpoint")]
pub(crate) struct BadCheckpoint(pub(crate) String);

impl FromStr for Head {
    type Err = BadCheckpoint;

    fn from_str(text: &str) -> Result<Self, BadCheckpoint> {
        let parse = || {
            let mut parts = text.split(' ');
            let LogPosition { log_id, position } = parts.next()?.parse().ok()?;
            let event_id = parts.next()?.parse().ok()?;
            let code_version = parts.next()?.strip_prefix('v')?.parse().ok()?;
            let checkpoint = Checkpoint { log_id, position, event_id };
            // Of before anything was added up: it goes on answering, as an outdated one does, until it is built anew.
            let Some(applied) = parts.next() else {
                return Some(Self { checkpoint, code_version: 0, applied: Tally::default() });
            };
            Some(Self { checkpoint, code_version, applied: applied.parse().ok()? })
        };
        parse().ok_or_else(|| BadCheckpoint(text.into()))
    }
}

/// Count and sum of document hashes: equal for equal sets of documents, whatever the order in which they came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Digest {
    pub(crate) count: u64,
    pub(crate) sum: u128,
}

impl Digest {
    pub(crate) fn add(&mut self, hash: u128) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(hash);
    }

    pub(crate) fn remove(&mut self, hash: u128) {
        self.count = self.count.saturating_sub(1);
        self.sum = self.sum.wrapping_sub(hash);
    }

    pub(crate) fn merge(self, other: Self) -> Self {
        Self { count: self.count + other.count, sum: self.sum.wrapping_add(other.sum) }
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:032x}", self.count, self.sum)
    }
}

/// Up to where one shard is written, and the digest of what is in it: `17 3 00ff..`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ShardAt {
    pub(crate) position: Position,
    pub(crate) digest: Digest,
}

impl std::fmt::Display for ShardAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.position, self.digest)
    }
}

impl FromStr for ShardAt {
    type Err = BadCheckpoint;

    fn from_str(text: &str) -> Result<Self, BadCheckpoint> {
        let parse = || {
            let mut parts = text.split(' ');
            let position = Position(parts.next()?.parse().ok()?);
            let count = parts.next()?.parse().ok()?;
            let sum = u128::from_str_radix(parts.next()?, 16).ok()?;
            Some(Self { position, digest: Digest { count, sum } })
        };
        parse().ok_or_else(|| BadCheckpoint(text.into()))
    }
}

/// What a commit of a search index carries: `main:17 <event id> v1 17:123:456 3 00ff..`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommitPayload {
    pub(crate) head: Head,
    pub(crate) digest: Digest,
}

impl std::fmt::Display for CommitPayload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.head, self.digest)
    }
}

impl FromStr for CommitPayload {
    type Err = BadCheckpoint;

    fn from_str(text: &str) -> Result<Self, BadCheckpoint> {
        let parse = || {
            let (rest, sum) = text.rsplit_once(' ')?;
            let (head, count) = rest.rsplit_once(' ')?;
            let digest = Digest { count: count.parse().ok()?, sum: u128::from_str_radix(sum, 16).ok()? };
            Some(Self { head: head.parse().ok()?, digest })
        };
        parse().ok_or_else(|| BadCheckpoint(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use events::LogId;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let checkpoint = Checkpoint { log_id: LogId::default(), position: Position(17), event_id: Uuid::from_u128(7) };
        let mut applied = Tally::default();
        applied.add(Position(17), Uuid::from_u128(7));
        let head = Head { checkpoint, code_version: 3, applied };
        let digest = Digest { count: 2, sum: u128::MAX };
        assert_eq!(head.to_string().parse(), Ok(head.clone()));
        let before: Head = "main:17 00000000-0000-0000-0000-000000000007 v3".parse().expect("as it was written before");
        assert_eq!((&before.checkpoint, before.code_version), (&head.checkpoint, 0));
        let at = ShardAt { position: Position(9), digest };
        assert_eq!(at.to_string().parse(), Ok(at));
        let payload = CommitPayload { head, digest };
        assert_eq!(payload.to_string().parse(), Ok(payload));
    }

    #[test]
    fn a_digest_forgets_what_is_removed() {
        let mut digest = Digest::default();
        digest.add(5);
        digest.add(u128::MAX);
        digest.remove(5);
        assert_eq!(digest, Digest { count: 1, sum: u128::MAX });
    }
}
