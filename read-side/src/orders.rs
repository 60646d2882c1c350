//! One order: from the view, and from the log while the view is gone.

use events::OrderId;
use http_api::{MinPosition, Problem};
use projections::{OrderDocument, Read, ReadError, View};

use crate::{ReadSide, min_position::reflects, order_from_log::order_from_log, refusal::refusal};

/// What `Waybill-Degraded` says then.
const ORDER_VIEW: &str = "order-view";

/// An order, and what stood in for its view, if anything did.
pub(crate) struct FoundOrder<T> {
    pub(crate) read: Read<T>,
    pub(crate) degraded: Option<&'static str>,
}

impl ReadSide {
    /// `read` asks the view, in whatever form the page wants.
    pub(crate) async fn order<T: From<OrderDocument>, F>(
        &self,
        id: OrderId,
        min: &MinPosition,
        read: impl Fn() -> F,
    ) -> Result<FoundOrder<T>, Problem>
    where
        F: Future<Output = Result<Read<Option<T>>, ReadError>>,
    {
        let (read, degraded) = match read().await {
            Ok(first) => (self.read_on(View::Order, min, first, read).await.map_err(refusal)?, None),
            Err(ReadError::Unavailable { .. } | ReadError::NotBuilt { .. }) => {
                let Read { value, position } = self.order_without_view(id, min).await?;
                (Read { value: value.map(T::from), position }, Some(ORDER_VIEW))
            }
            Err(error) => return Err(refusal(error)),
        };
        let position = read.position;
        let order = read.value.ok_or_else(|| Problem::not_found(format!("order {id}")).at(position.clone()))?;
        Ok(FoundOrder { read: Read { value: order, position }, degraded })
    }

    /// The log is always ahead of what was written before: a position beyond its end was never given out.
    async fn order_without_view(&self, id: OrderId, min: &MinPosition) -> Result<Read<Option<OrderDocument>>, Problem> {
        let read = order_from_log(self.log(&min.log), &self.folds, id).await?;
        match &min.wanted {
            Some(wanted) if !reflects(&read.position, wanted) => {
                Err(Problem::position_not_reached(wanted, Some(read.position)))
            }
            _ => Ok(read),
        }
    }
}
