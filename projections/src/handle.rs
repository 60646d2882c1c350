//! What a projector tells the rest of its process: positions to wait for, states to show, figures for the metrics.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use events::{LogId, LogPosition, Position};
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
    /// Up to where each log is known to reach.
    heads: Mutex<Positions>,
}

type Positions = BTreeMap<LogId, Position>;
pub(crate) type Progress = watch::Receiver<Positions>;

#[derive(Debug)]
struct Cell {
    progress: watch::Sender<Positions>,
    seen: Mutex<Seen>,
    commit_wanted: Notify,
}

#[derive(Debug, Clone)]
struct Seen {
    generation: Option<u32>,
    verified: Positions,
    state: ProjectionState,
    /// The logs that cannot be followed, while others can.
    troubles: BTreeMap<LogId, ProjectionState>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ProjectionState {
    /// No projector in this process, or it has not looked yet.
    Unknown,
    /// Building a generation from the start; the one before, if there is one, goes on answering. Both are counts of events, over all logs.
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

impl ProjectionState {
    /// Whether it needs a person.
    fn is_stopped(&self) -> bool {
        matches!(self, Self::Stopped { .. })
    }
}

/// How one projection stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProjectionStatus {
    pub name: String,
    /// The log that the rest of the line is about.
    pub log: String,
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gauge {
    pub name: &'static str,
    /// Of each log that it is made from.
    pub logs: Vec<LogGauge>,
    /// False when it needs a person.
    pub healthy: bool,
}

/// How one projection stands in one log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogGauge {
    pub log_id: LogId,
    pub position: i64,
    /// Up to here it was found to have applied each event of the log once; 0 before the first look.
    pub verified_position: i64,
    pub lag_events: i64,
}

impl Default for Handle {
    fn default() -> Self {
        let cells = [(); PROJECTIONS.len()].map(|()| Cell {
            progress: watch::Sender::default(),
            seen: Mutex::new(Seen {
                generation: None,
                verified: Positions::new(),
                state: ProjectionState::Unknown,
                troubles: BTreeMap::new(),
            }),
            commit_wanted: Notify::new(),
        });
        Self(Arc::new(Shared { cells, heads: Mutex::default() }))
    }
}

impl Handle {
    /// Changes when the projection has moved.
    #[must_use]
    pub(crate) fn watch(&self, projection: &str) -> Progress {
        self.cell(projection).progress.subscribe()
    }

    /// Somebody waits for this projection: a search index commits earlier for that, within its limit.
    pub fn ask_for_commit(&self, projection: &str) {
        self.cell(projection).commit_wanted.notify_one();
    }

    #[must_use]
    pub fn gauges(&self) -> Vec<Gauge> {
        let heads = self.heads().clone();
        PROJECTIONS
            .iter()
            .map(|&name| {
                let (at, seen) = (self.cell(name).progress.borrow().clone(), self.seen(name));
                let of = |positions: &Positions, log_id| positions.get(log_id).map_or(0, |position| position.0);
                let logs = heads.iter().map(|(log_id, head)| {
                    let (position, verified_position) = (of(&at, log_id), of(&seen.verified, log_id));
                    let lag_events = (head.0 - position).max(0);
                    LogGauge { log_id: log_id.clone(), position, verified_position, lag_events }
                });
                let healthy =
                    !std::iter::once(&seen.state).chain(seen.troubles.values()).any(ProjectionState::is_stopped);
                Gauge { name, logs: logs.collect(), healthy }
            })
            .collect()
    }

    /// Of the projection as a whole: it follows while it follows one of its logs.
    #[must_use]
    pub fn state(&self, projection: &str) -> ProjectionState {
        let Seen { state, troubles, .. } = self.seen(projection);
        if state == ProjectionState::Following && troubles.len() == self.heads().len() {
            // One that is tried again may soon be followed.
            return troubles.into_values().min_by_key(ProjectionState::is_stopped).unwrap_or(state);
        }
        state
    }

    /// How it stands with one of its logs.
    #[must_use]
    pub(crate) fn state_in(&self, projection: &str, log_id: &LogId) -> ProjectionState {
        let Seen { state, mut troubles, .. } = self.seen(projection);
        if state == ProjectionState::Following { troubles.remove(log_id).unwrap_or(state) } else { state }
    }

    /// The generation that this process writes; none before it has opened one.
    #[must_use]
    pub fn generation(&self, projection: &str) -> Option<u32> {
        self.seen(projection).generation
    }

    pub(crate) async fn commit_wanted(&self, projection: &str) {
        self.cell(projection).commit_wanted.notified().await;
    }

    pub(crate) fn moved(&self, projection: &str, generation: u32, positions: Vec<LogPosition>) {
        self.see(projection, |seen| seen.generation = Some(generation));
        positions.iter().for_each(|position| self.saw_log(position));
        let positions = positions.into_iter().map(|LogPosition { log_id, position }| (log_id, position));
        self.cell(projection).progress.send_replace(positions.collect());
    }

    pub(crate) fn verified(&self, projection: &str, LogPosition { log_id, position }: LogPosition) {
        self.see(projection, |seen| {
            seen.verified.insert(log_id, position);
        });
    }

    pub(crate) fn set_state(&self, projection: &str, state: ProjectionState) {
        self.see(projection, |seen| seen.state = state);
    }

    /// Whether nobody will follow a log before a person has acted.
    pub(crate) fn is_given_up(&self, projection: &str, log_id: &LogId) -> bool {
        self.seen(projection).troubles.get(log_id).is_some_and(ProjectionState::is_stopped)
    }

    /// That a log cannot be followed; none: it can, again.
    pub(crate) fn set_trouble(&self, projection: &str, log_id: &LogId, trouble: Option<ProjectionState>) {
        self.see(projection, |seen| match trouble {
            Some(trouble) => drop(seen.troubles.insert(log_id.clone(), trouble)),
            None => drop(seen.troubles.remove(log_id)),
        });
    }

    /// The log is known to reach up to here.
    pub(crate) fn saw_log(&self, LogPosition { log_id, position }: &LogPosition) {
        let mut heads = self.heads();
        match heads.get_mut(log_id) {
            Some(head) => *head = (*head).max(*position),
            None => {
                heads.insert(log_id.clone(), *position);
            }
        }
    }

    fn heads(&self) -> MutexGuard<'_, Positions> {
        self.0.heads.lock().unwrap_or_else(PoisonError::into_inner)
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
