//! Reading one's own write: an answer that does not reflect the wanted position is waited for, within the client's budget.

use events::LogPosition;
use http_api::MinPosition;
use projections::{Read, ReadError, SearchIndex, View};

use crate::ReadSide;

impl ReadSide {
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
                self.parts.views.wait_for(view, wanted, min.budget).await?;
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
                self.parts.views.wait_for(view, wanted, min.budget).await?;
                read().await
            }
            _ => Ok(first),
        }
    }

    /// From a search index. Waits first: the wish makes it commit.
    pub(crate) async fn search<T, F>(
        &self,
        index: SearchIndex,
        min: &MinPosition,
        search: impl Fn() -> F,
    ) -> Result<Read<T>, ReadError>
    where
        F: Future<Output = Result<Read<T>, ReadError>>,
    {
        if let Some(wanted) = &min.wanted {
            self.parts.search.wait_for(index, wanted, min.budget).await?;
        }
        let _turn = self.searches.acquire().await.expect("the semaphore is never closed");
        search().await
    }
}

/// Positions of different logs tell nothing of each other.
pub(crate) fn reflects(position: &LogPosition, wanted: &LogPosition) -> bool {
    position.log_id == wanted.log_id && position.position >= wanted.position
}
