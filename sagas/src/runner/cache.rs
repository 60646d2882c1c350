//! Saga states as they are kept in memory, and how those that are not there are loaded.

use std::{collections::HashMap, sync::Arc};

use events::{DomainEvent, Log, LogError, Metadata, OrderId, Position, Recorded, StreamVersion};

use crate::{
    saga::Saga,
    state::{State, UnknownStep},
};

/// A saga as its stream tells it.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    pub state: State,
    pub version: StreamVersion,
    /// Of the event that holds the command which is waited for.
    pub intent: Position,
    /// Of the stream's first event: tenant, trace and correlation of all the others.
    pub origin: Option<Arc<Metadata>>,
}

/// What became of loading one saga.
pub(super) type Loaded = (OrderId, Result<Known, UnknownStep>);

/// Loads many sagas in one query; those that have no stream yet come back empty.
pub(super) async fn load(log: &Log, saga: &'static Saga, orders: &[OrderId]) -> Result<Vec<Loaded>, LogError> {
    let streams: Vec<_> = orders.iter().map(|order_id| order_id.fulfilment_stream()).collect();
    let names: Vec<_> = streams.iter().map(events::StreamId::as_str).collect();
    let mut loaded: HashMap<OrderId, Result<Known, UnknownStep>> =
        orders.iter().map(|&order_id| (order_id, Ok(Known::default()))).collect();
    for event in log.streams(&names).await? {
        let Some(order_id) = event.payload.order_id() else { continue };
        let Some(folded) = loaded.get_mut(&order_id) else { continue };
        if let Ok(known) = folded
            && let Err(error) = known.fold(saga, &event)
        {
            *folded = Err(error);
        }
    }
    Ok(loaded.into_iter().collect())
}

impl Known {
    fn fold(&mut self, saga: &'static Saga, event: &Recorded<DomainEvent>) -> Result<(), UnknownStep> {
        let DomainEvent::Fulfilment(payload) = &event.payload else { return Ok(()) };
        self.state.apply(saga, payload)?;
        self.version = event.stream_version;
        if crate::relay::holds_intent(payload) {
            self.intent = event.position;
        }
        if self.origin.is_none() {
            self.origin = Some(Arc::new(event.metadata.clone()));
        }
        Ok(())
    }
}
