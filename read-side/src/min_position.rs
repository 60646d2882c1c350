//! Reading one's own write: an answer that does not reflect the wanted position is waited for, within the client's budget.

use events::{LogId, LogPosition};
use http_api::MinPosition;
use projections::{Indexes, Read, ReadError, SearchIndex, View, Views};
use tokio::time::{Instant, timeout_at};

use crate::ReadSide;

impl ReadSide {
    /// What a query is answered from.
    pub(crate) fn views(&self, min: &MinPosition) -> Views {
        self.parts.views.of(&min.log)
    }

    pub(crate) fn indexes(&self, min: &MinPosition) -> Indexes {
        self.parts.search.of(&min.log)
    }

    /// From a view in Redis. Reads first: mostly the answer is there already. A view that is not built yet is waited for.
    pub(crate) async fn read<T, F>(
        &self,
        view: View,
        min: &MinPosition,
        read: impl Fn() -> F,
    ) -> Result<Read<T>, ReadError>
    where
        F: Future<Output = Result<Read<T>, ReadError>>,
    {
        match (read().await, &min.wanted) {
            (Err(ReadError::NotBuilt { .. }), Some(wanted)) => {
                self.views(min).wait_for(view, wanted, min.budget).await?;
                read().await
            }
            (first, _) => self.read_on(view, min, first?, read).await,
        }
    }

    /// Reads again where the first answer does not reflect what the client wants.
    pub(crate) async fn read_on<T, F>(
        &self,
        view: View,
        min: &MinPosition,
        first: Read<T>,
        read: impl Fn() -> F,
    ) -> Result<Read<T>, ReadError>
    where
        F: Future<Output = Result<Read<T>, ReadError>>,
    {
        match &min.wanted {
            Some(wanted) if !reflects(&first.position, wanted) => {
                self.views(min).wait_for(view, wanted, min.budget).await?;
                read().await
            }
            _ => Ok(first),
        }
    }

    /// From a search index. Waits first: the wish makes it commit. The wait for a turn comes out of the same budget; who has none left
    /// still takes a turn that is free.
    pub(crate) async fn search<T, F>(
        &self,
        index: SearchIndex,
        min: &MinPosition,
        search: impl Fn() -> F,
    ) -> Result<Read<T>, ReadError>
    where
        F: Future<Output = Result<Read<T>, ReadError>>,
    {
        let deadline = Instant::now() + min.budget;
        if let Some(wanted) = &min.wanted {
            self.indexes(min).wait_for(index, wanted, min.budget).await?;
        }
        let turn = timeout_at(deadline, self.searches.acquire()).await.map_err(|_| too_many())?;
        let _turn = turn.expect("the semaphore is never closed");
        search().await
    }
}

/// What a cursor is sealed for: a list of one log. That of `main` has the name that it had when there was no other.
pub(crate) fn list_in(min: &MinPosition, list: String) -> String {
    if min.log == LogId::default() { list } else { format!("{}@{list}", min.log) }
}

fn too_many() -> ReadError {
    ReadError::Unavailable { store: "the search index", source: "too many searches at once".into() }
}

/// Positions of different logs tell nothing of each other.
pub(crate) fn reflects(position: &LogPosition, wanted: &LogPosition) -> bool {
    position.log_id == wanted.log_id && position.position >= wanted.position
}
