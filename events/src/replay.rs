//! Reads a long stretch of the log in order: while one page is used, the next are fetched and decoded beside it.

use std::collections::BTreeMap;

use tokio::task::JoinSet;
use uuid::Uuid;

use crate::{Checkpoint, DomainEvent, Log, LogError, Position, Recorded};

/// Pages that are under way or wait for their turn. While Postgres makes one, another is decoded and a third is used.
const LANES: usize = 3;

/// The events after a checkpoint up to a position that the log has reached. Dropping it ends what it has under way.
#[derive(Debug)]
pub struct Replay {
    log: Log,
    /// Handed out up to here.
    at: Checkpoint,
    /// Asked for up to here.
    asked: Position,
    to: Position,
    page_limit: u32,
    lanes: JoinSet<(Position, Lane)>,
    /// Come before their turn, by the position that they follow.
    early: BTreeMap<Position, Lane>,
    /// Comes after what was handed out last.
    failed: Option<LogError>,
}

/// A page, or as much of it as can be read and why no more.
#[derive(Debug, Default)]
struct Lane {
    /// The event that the page follows.
    own: Option<Uuid>,
    events: Vec<Recorded<DomainEvent>>,
    error: Option<LogError>,
}

impl Replay {
    #[must_use]
    pub fn new(log: Log, after: Checkpoint, to: Position, page_limit: u32) -> Self {
        let (lanes, early) = (JoinSet::new(), BTreeMap::new());
        Self { log, asked: after.position, at: after, to, page_limit, lanes, early, failed: None }
    }

    /// The next events, at most `page_limit`; none once all have been handed out.
    ///
    /// # Errors
    /// As [`Log::page_after`]; what stands before an event that cannot be decoded is handed out first. `HistoryChanged` as well where
    /// the log does not reach `to`. The call after an error asks again for what failed.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Recorded<DomainEvent>>>, LogError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.at.belongs_to(self.log.id())?;
        if self.at.position >= self.to {
            return Ok(None);
        }
        let Lane { own, events, error } = self.lane().await;
        let (complete, standing) = (self.end_of_page(self.at.position), self.at.stands(own));
        let Some(last) = events.last().filter(|_| standing.is_ok()) else {
            self.ask_again();
            // Only a page that was read tells whether the event before it stands.
            let read = matches!(error, None | Some(LogError::Undecodable { .. }));
            let changed = standing.err().filter(|_| read);
            return Err(changed.or(error).unwrap_or_else(|| self.ends_early()));
        };
        (self.at.position, self.at.event_id) = (last.position, last.event_id);
        if last.position < complete {
            self.ask_again();
        }
        self.failed = error;
        Ok(Some(events))
    }

    fn end_of_page(&self, after: Position) -> Position {
        Position(after.0 + i64::from(self.page_limit)).min(self.to)
    }

    /// The one whose turn it is.
    async fn lane(&mut self) -> Lane {
        loop {
            self.ask();
            if let Some(lane) = self.early.remove(&self.at.position) {
                return lane;
            }
            match self.lanes.join_next().await {
                Some(Ok((after, lane))) => drop(self.early.insert(after, lane)),
                Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Some(Err(_)) | None => self.ask_again(),
            }
        }
    }

    fn ask(&mut self) {
        while self.lanes.len() + self.early.len() < LANES && self.asked < self.to {
            let (log, after, end) = (self.log.clone(), self.asked, self.end_of_page(self.asked));
            let limit = u32::try_from(end.0 - after.0).unwrap_or(self.page_limit);
            self.lanes.spawn(async move { (after, read(&log, after, limit).await) });
            self.asked = end;
        }
    }

    fn ask_again(&mut self) {
        self.lanes = JoinSet::new();
        self.early.clear();
        self.asked = self.at.position;
    }

    fn ends_early(&self) -> LogError {
        let missing = Checkpoint { position: self.to, ..self.at.clone() };
        LogError::HistoryChanged { checkpoint: missing.to_string() }
    }
}

async fn read(log: &Log, after: Position, limit: u32) -> Lane {
    let error = match log.page_from(after, limit).await {
        Ok((own, events)) => return Lane { own, events, error: None },
        Err(error) => error,
    };
    let LogError::Undecodable { position, .. } = &error else { return Lane { error: Some(error), ..Lane::default() } };
    let readable = u32::try_from(position.0 - after.0 - 1).unwrap_or_default();
    match log.page_from(after, readable).await {
        Ok((own, events)) => Lane { own, events, error: Some(error) },
        Err(error) => Lane { error: Some(error), ..Lane::default() },
    }
}
