//! How a checkpoint is written into a store beside the data it speaks for.

use std::str::FromStr;

use events::{Checkpoint, DomainEvent, LogId, LogPosition, Position, Recorded, Tally};

/// From which events of one log a generation is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FromLog {
    /// The last of them.
    pub(crate) checkpoint: Checkpoint,
    pub(crate) applied: Tally,
    /// Whether it has been where the log ended, once: before that, nobody is answered from it.
    pub(crate) reached: bool,
}

impl FromLog {
    fn start(log_id: LogId) -> Self {
        Self { checkpoint: Checkpoint::start(log_id), applied: Tally::default(), reached: false }
    }

    fn equals(&self, other: &Self) -> bool {
        (&self.checkpoint, self.applied) == (&other.checkpoint, other.applied)
    }
}

/// Up to where a whole generation is written, by which version of the fold, and from which events: `main:17 <event id> v1 17:123:456`,
/// and ` eu:9 <event id> 9:12:34` more for each further log. What is made from several has a `~` behind each sum until the end of that
/// log was reached once. Where the first log is not `main`, it is `v1@`: documents are named with their log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) code_version: u32,
    /// At least one. The order stays: a shard's positions are in the same.
    pub(crate) logs: Vec<FromLog>,
}

impl Head {
    pub(crate) fn start(logs: &[LogId], code_version: u32) -> Self {
        let mut head = Self { code_version, logs: logs.iter().cloned().map(FromLog::start).collect() };
        // What is made from one log answers only when it is whole.
        if let [only] = &mut head.logs[..] {
            only.reached = true;
        }
        head
    }

    /// Adds the logs that were not followed before, from their start. Whether there were any.
    pub(crate) fn include(&mut self, logs: &[LogId]) -> bool {
        let before = self.logs.len();
        for log_id in logs {
            if self.of(log_id).is_none() {
                self.logs.push(FromLog::start(log_id.clone()));
            }
        }
        self.logs.len() > before
    }

    pub(crate) fn of(&self, log_id: &LogId) -> Option<&FromLog> {
        self.logs.iter().find(|from| from.checkpoint.log_id == *log_id)
    }

    /// One of the logs that the generation was opened for.
    pub(crate) fn at(&self, log_id: &LogId) -> &FromLog {
        &self.logs[self.index(log_id)]
    }

    pub(crate) fn index(&self, log_id: &LogId) -> usize {
        let index = self.logs.iter().position(|from| from.checkpoint.log_id == *log_id);
        index.expect("opening a generation includes every log that is followed")
    }

    /// Up to where it is made from a log: before the first event of one that it does not follow.
    pub(crate) fn position(&self, log_id: &LogId) -> Position {
        self.of(log_id).map_or(Position::START, |from| from.checkpoint.position)
    }

    /// A log of which it has events, and which is not among these.
    pub(crate) fn unfollowed(&self, logs: &[LogId]) -> Option<&LogId> {
        self.begun().map(|from| &from.checkpoint.log_id).find(|log_id| !logs.contains(log_id))
    }

    /// Whether its documents are named as those of before there were several logs, which no reader looks for any more.
    pub(crate) fn is_named_otherwise(&self) -> bool {
        self.code_version == 0 && self.logs[0].checkpoint.log_id != LogId::default()
    }

    /// The logs that it has events of.
    pub(crate) fn begun(&self) -> impl Iterator<Item = &FromLog> {
        self.logs.iter().filter(|from| from.checkpoint.position != Position::START)
    }

    /// Events of all logs.
    pub(crate) fn events(&self) -> i64 {
        self.logs.iter().map(|from| from.checkpoint.position.0).sum()
    }

    /// Whether it has come as far as the other in each of that one's logs.
    pub(crate) fn reaches(&self, other: &Self) -> bool {
        other.logs.iter().all(|wanted| self.position(&wanted.checkpoint.log_id) >= wanted.checkpoint.position)
    }

    /// How many of the other's events it has.
    pub(crate) fn toward(&self, other: &Self) -> i64 {
        let reached = |wanted: &Checkpoint| self.position(&wanted.log_id).min(wanted.position).0;
        other.logs.iter().map(|wanted| reached(&wanted.checkpoint)).sum()
    }

    /// Whether both are made from the same events.
    pub(crate) fn equals(&self, other: &Self) -> bool {
        self.begun().count() == other.begun().count()
            && self.begun().all(|from| other.of(&from.checkpoint.log_id).is_some_and(|other| from.equals(other)))
    }

    /// `main:17`, or `main:17, eu:9`.
    pub(crate) fn positions(&self) -> String {
        let positions = self.logs.iter().map(|from| from.checkpoint.log_position().to_string());
        positions.collect::<Vec<_>>().join(", ")
    }

    /// Counts events of a log as applied.
    pub(crate) fn advance(&mut self, log: usize, events: &[Recorded<DomainEvent>]) {
        let FromLog { checkpoint, applied, .. } = &mut self.logs[log];
        for event in events {
            applied.add(event.position, event.event_id);
        }
        if let Some(last) = events.last() {
            (checkpoint.position, checkpoint.event_id) = (last.position, last.event_id);
        }
    }
}

impl std::fmt::Display for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (number, FromLog { checkpoint, applied, reached }) in self.logs.iter().enumerate() {
            let (space, at, event_id) =
                (if number == 0 { "" } else { " " }, checkpoint.log_position(), checkpoint.event_id);
            write!(f, "{space}{at} {event_id}")?;
            if number == 0 {
                let scoped = if checkpoint.log_id == LogId::default() { "" } else { "@" };
                write!(f, " v{}{scoped}", self.code_version)?;
            }
            write!(f, " {applied}{}", if *reached { "" } else { "~" })?;
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no checkpoint")]
pub(crate) struct BadCheckpoint(pub(crate) String);

impl FromStr for Head {
    type Err = BadCheckpoint;

    fn from_str(text: &str) -> Result<Self, BadCheckpoint> {
        let parse = || {
            let mut parts = text.split(' ').peekable();
            let checkpoint = |at: &str, event_id: Option<&str>| {
                let LogPosition { log_id, position } = at.parse().ok()?;
                Some(Checkpoint { log_id, position, event_id: event_id?.parse().ok()? })
            };
            let first = checkpoint(parts.next()?, parts.next())?;
            let version = parts.next()?.strip_prefix('v')?;
            let scoped = version.strip_suffix('@');
            let mut code_version = scoped.unwrap_or(version).parse().ok()?;
            // Of before anything was added up: it goes on answering, as an outdated one does, until it is built anew. Or of before there
            // were several logs.
            if parts.peek().is_none() || (scoped.is_none() && first.log_id != LogId::default()) {
                code_version = 0;
            }
            let tally = |text: &str| {
                let applied = text.strip_suffix('~').unwrap_or(text).parse().ok()?;
                Some((applied, !text.ends_with('~')))
            };
            let (applied, reached) = parts.next().map_or(Some((Tally::default(), true)), tally)?;
            let mut logs = vec![FromLog { checkpoint: first, applied, reached }];
            while let Some(at) = parts.next() {
                let checkpoint = checkpoint(at, parts.next())?;
                let (applied, reached) = parts.next().and_then(tally)?;
                logs.push(FromLog { checkpoint, applied, reached });
            }
            Some(Self { code_version, logs })
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

/// Up to where one shard is written, and the digest of what is in it: `17 3 00ff..`, or `17,9 3 00ff..` of two logs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ShardAt {
    /// In the order of the head's logs; of those that are not here it has nothing yet.
    positions: Vec<Position>,
    pub(crate) digest: Digest,
}

impl ShardAt {
    pub(crate) fn position(&self, log: usize) -> Position {
        self.positions.get(log).copied().unwrap_or(Position::START)
    }

    /// As far as the head has come, and where it is further itself, as far as it is.
    pub(crate) fn moved_to(&self, head: &Head, digest: Digest) -> Self {
        let further = |(log, from): (usize, &FromLog)| from.checkpoint.position.max(self.position(log));
        Self { positions: head.logs.iter().enumerate().map(further).collect(), digest }
    }

    /// Whether it is nowhere ahead of the head.
    pub(crate) fn is_within(&self, head: &Head) -> bool {
        let ahead =
            |(log, at): (usize, &Position)| head.logs.get(log).is_none_or(|from| *at > from.checkpoint.position);
        !self.positions.iter().enumerate().any(ahead)
    }
}

impl std::fmt::Display for ShardAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let first = self.position(0);
        write!(f, "{first}")?;
        for position in self.positions.iter().skip(1) {
            write!(f, ",{position}")?;
        }
        write!(f, " {}", self.digest)
    }
}

impl FromStr for ShardAt {
    type Err = BadCheckpoint;

    fn from_str(text: &str) -> Result<Self, BadCheckpoint> {
        let parse = || {
            let mut parts = text.split(' ');
            let positions = parts.next()?.split(',').map(|position| position.parse().ok().map(Position));
            let positions = positions.collect::<Option<Vec<_>>>()?;
            let count = parts.next()?.parse().ok()?;
            let sum = u128::from_str_radix(parts.next()?, 16).ok()?;
            Some(Self { positions, digest: Digest { count, sum } })
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

    fn head() -> Head {
        let checkpoint = Checkpoint { log_id: LogId::default(), position: Position(17), event_id: Uuid::from_u128(7) };
        let mut applied = Tally::default();
        applied.add(Position(17), Uuid::from_u128(7));
        Head { code_version: 3, logs: vec![FromLog { checkpoint, applied, reached: true }] }
    }

    fn eu() -> LogId {
        "eu".parse().expect("a name")
    }

    #[test]
    fn what_is_written_is_read_back() {
        let (head, mut both) = (head(), head());
        both.include(&[eu()]);
        for head in [&head, &both] {
            assert_eq!(head.to_string().parse(), Ok(head.clone()));
        }
        let written = |text: &str| text.parse::<Head>().expect("as it was written before");
        let before = written("main:17 00000000-0000-0000-0000-000000000007 v3");
        assert_eq!((&before.logs[0].checkpoint, before.code_version), (&head.logs[0].checkpoint, 0));
        let before = written("main:17 00000000-0000-0000-0000-000000000007 v3 17:1:17");
        assert_eq!((before.code_version, before.is_named_otherwise()), (3, false));
        // The documents of such a generation are named as if there were no other log.
        let before = written("eu:17 00000000-0000-0000-0000-000000000007 v3 17:1:17");
        assert_eq!((before.code_version, before.is_named_otherwise()), (0, true));
        let turned = Head { logs: both.logs.iter().rev().cloned().collect(), ..both.clone() };
        assert_eq!(turned.to_string().parse(), Ok(turned));
        let digest = Digest { count: 2, sum: u128::MAX };
        for text in ["9 2 ffffffffffffffffffffffffffffffff", "9,0,4 2 ffffffffffffffffffffffffffffffff"] {
            assert_eq!(text.parse::<ShardAt>().map(|at| at.to_string()), Ok(text.into()));
        }
        let payload = CommitPayload { head: both, digest };
        assert_eq!(payload.to_string().parse(), Ok(payload));
    }

    #[test]
    fn a_head_compares_log_by_log() {
        let (one, mut both) = (head(), head());
        assert!(both.include(&[LogId::default(), eu()]) && !both.include(&[eu()]));
        assert!(one.reaches(&both), "nothing is wanted of the other log");
        assert!(both.reaches(&one) && both.equals(&one));
        let mut turned = both.clone();
        turned.logs.reverse();
        assert!(turned.equals(&both));
        both.logs[1].checkpoint.position = Position(4);
        assert!(!one.reaches(&both) && both.reaches(&one));
        assert_eq!((both.positions(), both.events()), ("main:17, eu:4".into(), 21));
        assert_eq!(both.unfollowed(&[LogId::default()]), Some(&eu()));
        assert_eq!((one.toward(&both), both.toward(&one)), (17, 17));
        both.logs[1].checkpoint.position = Position::START;
        assert!(both.equals(&one) && both.unfollowed(&[LogId::default()]).is_none(), "of eu there is nothing in it");
    }

    #[test]
    fn a_shard_never_goes_back() {
        let mut head = head();
        let before: ShardAt = "20 1 0a".parse().expect("a shard");
        assert!(!before.is_within(&head));
        head.include(&[eu()]);
        head.logs[1].checkpoint.position = Position(4);
        let moved = before.moved_to(&head, Digest::default());
        assert_eq!((moved.position(0), moved.position(1)), (Position(20), Position(4)));
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
