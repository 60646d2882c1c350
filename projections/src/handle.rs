//! What a projector tells the rest of its process: positions to wait for, states to show, figures for the metrics.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicI64, Ordering},
};

use events::{LogPosition, Position};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use utoipa::ToSchema;

use crate::{CustomerOrders, OrderIndex, OrderView, ProductIndex, ProductView, ReadModel, StockView};

/// Every projection, in the order in which it is shown.
pub const PROJECTIONS: [&str; 6] =
    [OrderView::NAME, CustomerOrders::NAME, StockView::NAME, ProductView::NAME, ProductIndex::NAME, OrderIndex::NAME];

/// Shared by the projector, the readers of the same process and its metrics. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    cells: [Cell; PROJECTIONS.len()],
    log_head: AtomicI64,
}

#[derive(Debug)]
struct Cell {
    progress: watch::Sender<Option<LogPosition>>,
    seen: Mutex<Seen>,
    commit_wanted: Notify,
}

#[derive(Debug, Clone)]
struct Seen {
    generation: Option<u32>,
    verified: Position,
    state: ProjectionState,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ProjectionState {
    /// No projector in this process, or it has not looked yet.
    Unknown,
    /// Building a generation from the start; the one before, if there is one, goes on answering.
    Building { generation: u32, position: i64, target: i64 },
    /// Follows the log.
    Following,
    /// Standing still while a rebuild compares and switches.
    Held,
    /// Tries again by itself.
    Retrying { reason: String },
    /// Needs a person.
    Stopped { reason: String },
}

/// How one projection stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProjectionStatus {
    pub name: String,
    /// `redis` or `tantivy`.
    pub store: String,
    pub generation: Option<u32>,
    /// Up to where it is written, such as `main:17`; none when it is not built.
    pub position: Option<String>,
    /// Count of events in the log that are not in it yet.
    pub lag_events: Option<i64>,
    /// Milliseconds since the oldest of those was recorded; 0 when there is none.
    pub lag_age_ms: Option<i64>,
    /// What is being built beside the one that answers; none when nobody builds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub construction: Option<Construction>,
    #[serde(flatten)]
    pub state: ProjectionState,
}

/// How far a new generation is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Construction {
    pub generation: u32,
    /// Up to where it is written.
    pub position: String,
    /// The head of the log, where it is bound.
    pub target: String,
}

/// One projection's figures for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gauge {
    pub name: &'static str,
    pub position: i64,
    /// Up to here it was found to have applied each event of the log once; 0 before the first look.
    pub verified_position: i64,
    pub lag_events: i64,
    /// False when it needs a person.
    pub healthy: bool,
}

impl Default for Handle {
    fn default() -> Self {
        let cells = [(); PROJECTIONS.len()].map(|()| Cell {
            progress: watch::Sender::new(None),
            seen: Mutex::new(Seen { generation: None, verified: Position::START, state: ProjectionState::Unknown }),
            commit_wanted: Notify::new(),
        });
        Self(Arc::new(Shared { cells, log_head: AtomicI64::new(0) }))
    }
}

impl Handle {
    /// Changes when the projection has moved.
    #[must_use]
    pub fn watch(&self, projection: &str) -> watch::Receiver<Option<LogPosition>> {
        self.cell(projection).progress.subscribe()
    }

    /// Somebody waits for this projection: a search index commits earlier for that, within its limit.
    pub fn ask_for_commit(&self, projection: &str) {
        self.cell(projection).commit_wanted.notify_one();
    }

    #[must_use]
    pub fn gauges(&self) -> Vec<Gauge> {
        let head = self.0.log_head.load(Ordering::Relaxed);
        PROJECTIONS
            .iter()
            .map(|&name| {
                let position = self.position(name).map_or(0, |at| at.position.0);
                let Seen { verified, state, .. } = self.seen(name);
                let healthy = !matches!(state, ProjectionState::Stopped { .. });
                Gauge { name, position, verified_position: verified.0, lag_events: (head - position).max(0), healthy }
            })
            .collect()
    }

    #[must_use]
    pub fn state(&self, projection: &str) -> ProjectionState {
        self.seen(projection).state
    }

    #[must_use]
    pub fn position(&self, projection: &str) -> Option<LogPosition> {
        self.cell(projection).progress.borrow().clone()
    }

    /// The generation that this process writes; none before it has opened one.
    #[must_use]
    pub fn generation(&self, projection: &str) -> Option<u32> {
        self.seen(projection).generation
    }

    pub(crate) async fn commit_wanted(&self, projection: &str) {
        self.cell(projection).commit_wanted.notified().await;
    }

    pub(crate) fn moved(&self, projection: &str, generation: u32, position: LogPosition) {
        self.see(projection, |seen| seen.generation = Some(generation));
        self.saw_log(position.position);
        self.cell(projection).progress.send_replace(Some(position));
    }

    pub(crate) fn verified(&self, projection: &str, position: Position) {
        self.see(projection, |seen| seen.verified = position);
    }

    pub(crate) fn set_state(&self, projection: &str, state: ProjectionState) {
        self.see(projection, |seen| seen.state = state);
    }

    /// The log is known to reach up to here.
    pub(crate) fn saw_log(&self, position: Position) {
        self.0.log_head.fetch_max(position.0, Ordering::Relaxed);
    }

    fn seen(&self, projection: &str) -> Seen {
        self.cell(projection).seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn see(&self, projection: &str, change: impl FnOnce(&mut Seen)) {
        change(&mut self.cell(projection).seen.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn cell(&self, projection: &str) -> &Cell {
        let index = PROJECTIONS.iter().position(|&name| name == projection);
        &self.0.cells[index.expect("the names of projections are those of PROJECTIONS")]
    }
}
