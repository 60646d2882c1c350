//! O: positions and stream versions without a hole, time never backwards.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

use chrono::{DateTime, Utc};

use super::{
    findings::{Invariant, Judge},
    rows::LogRow,
};

#[derive(Debug, Default)]
pub(super) struct Sequence {
    position: i64,
    recorded_at: Option<DateTime<Utc>>,
    /// By two independent hashes of the stream's name: 24 bytes a stream, however long its name is.
    versions: HashMap<(u64, u64), i64>,
    hashers: (RandomState, RandomState),
}

impl Sequence {
    pub(super) fn apply(&mut self, row: &LogRow, judge: &mut Judge<'_>) {
        let expected = self.position + 1;
        judge.holds(Invariant::Order, row.position == expected, || {
            format!("position {} follows {}", row.position, expected - 1)
        });
        self.position = row.position;
        let key = (self.hashers.0.hash_one(&row.stream_id), self.hashers.1.hash_one(&row.stream_id));
        let version = self.versions.entry(key).or_default();
        judge.holds(Invariant::Order, row.stream_version == *version + 1, || {
            format!("version {} of {} follows {version}", row.stream_version, row.stream_id)
        });
        *version = row.stream_version;
        let before = self.recorded_at.replace(row.recorded_at);
        judge.holds(Invariant::Order, before.is_none_or(|before| before <= row.recorded_at), || {
            format!("recorded at {}, before its predecessor", row.recorded_at)
        });
    }

    /// The log was said to reach `last`.
    pub(super) fn ends_at(&self, last: i64, judge: &mut Judge<'_>) {
        judge.holds(Invariant::Order, self.position == last, || {
            format!("the log ends at {} and not at {last}", self.position)
        });
    }
}
