//! The catalogue's prices in memory, following the log: what an order is priced with. Never the storefront's word.

use std::{
    collections::HashMap,
    sync::{
        Arc, RwLock,
        atomic::{AtomicI64, Ordering},
    },
};

use events::{
    CommandId, DomainEvent, EventPayload, Log, LogError, Money, Position, ProductEvent, RawRecorded, Recorded, Sku,
    StreamVersion, Tail, Wake, product::ProductKind,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{EventStore, StoreError, domain::product::Product};

const PAGE: u32 = 2_000;
/// A product has few events: it is listed, and repriced now and then.
const STREAMS_AT_ONCE: u32 = 500;

/// A price with the version of the product stream that it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Priced {
    pub kind: ProductKind,
    pub price: Money,
    pub version: StreamVersion,
    /// A delisted product keeps its price for agreed orders and sells no more.
    pub listed: bool,
}

/// Cheap to clone; clones share the prices.
#[derive(Debug, Clone, Default)]
pub struct PriceList {
    prices: Arc<RwLock<HashMap<Sku, Priced>>>,
    reached: Arc<AtomicI64>,
}

impl PriceList {
    /// Reads the product streams as they stand; returns the list and the position from which to follow.
    pub async fn load(log: &Log) -> Result<(Self, events::Checkpoint), LogError> {
        let checkpoint = log.head_checkpoint().await?;
        let list = Self::default();
        let mut after = String::new();
        loop {
            let names = log.stream_names(ProductEvent::CATEGORY, &after, STREAMS_AT_ONCE).await?;
            let Some(last) = names.last() else { return Ok((list, checkpoint)) };
            let streams: Vec<_> = names.iter().map(String::as_str).collect();
            list.apply(&log.streams(&streams).await?);
            after.clone_from(last);
        }
    }

    /// Follows the log until shutdown.
    pub async fn follow(
        self,
        log: Log,
        checkpoint: events::Checkpoint,
        wake: Wake,
        shutdown: CancellationToken,
    ) -> Result<(), LogError> {
        let mut tail = Tail::open(log, checkpoint, &wake, PAGE).await?;
        let follow = async {
            loop {
                self.reached.store(tail.checkpoint().position.0, Ordering::Relaxed);
                match tail.next_raw_page().await.and_then(|page| products_of(&page)) {
                    Ok(page) => self.apply(&page),
                    Err(error) if error.is_transient() => {
                        tracing::warn!(%error, "the price list cannot follow the log and tries again");
                        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        shutdown.run_until_cancelled(follow).await.unwrap_or(Ok(()))
    }

    /// Up to here it has followed the log; 0 before it does.
    #[must_use]
    pub fn reached(&self) -> Position {
        Position(self.reached.load(Ordering::Relaxed))
    }

    /// The price of an article; asks its stream when the list has not heard of it yet.
    pub async fn price(&self, store: &EventStore, sku: &Sku) -> Result<Option<Priced>, StoreError> {
        let known = self.prices.read().expect("nobody panics while holding the lock").get(sku).copied();
        if known.is_some() {
            return Ok(known);
        }
        let loaded = store.load::<Product>(&sku.stream(), CommandId(Uuid::nil())).await?;
        Ok(loaded.state.listing().map(|listing| Priced {
            kind: listing.kind,
            price: listing.price,
            version: loaded.version,
            listed: listing.listed,
        }))
    }

    fn apply(&self, page: &[Recorded<DomainEvent>]) {
        let products = page.iter().filter_map(|event| match &event.payload {
            DomainEvent::Product(product) => Some((event.stream_version, product)),
            DomainEvent::Inventory(_)
            | DomainEvent::Order(_)
            | DomainEvent::Payment(_)
            | DomainEvent::Shipment(_)
            | DomainEvent::Fulfilment(_)
            | DomainEvent::Foreign(_) => None,
        });
        let mut products = products.peekable();
        if products.peek().is_none() {
            return;
        }
        let mut prices = self.prices.write().expect("nobody panics while holding the lock");
        for (version, event) in products {
            let known = prices.get(event.sku()).copied();
            // The list was loaded after the position from which it follows, so an old event may come again.
            if known.is_some_and(|known| known.version >= version) {
                continue;
            }
            if let Some(priced) = next(known, event, version) {
                prices.insert(event.sku().clone(), priced);
            }
        }
    }
}

/// Only they are read: what stands in other streams, and cannot be read, does not keep anybody from ordering.
fn products_of(page: &[RawRecorded]) -> Result<Vec<Recorded<DomainEvent>>, LogError> {
    let products = page.iter().filter(|event| event.stream_id.category() == ProductEvent::CATEGORY);
    products.map(RawRecorded::decode).collect()
}

fn next(known: Option<Priced>, event: &ProductEvent, version: StreamVersion) -> Option<Priced> {
    match event {
        ProductEvent::Listed(listed) => Some(Priced { kind: listed.kind, price: listed.price, version, listed: true }),
        ProductEvent::Repriced(repriced) => known.map(|known| Priced { price: repriced.price, version, ..known }),
        ProductEvent::Described(_) => known.map(|known| Priced { version, ..known }),
        ProductEvent::Delisted(_) => known.map(|known| Priced { version, listed: false, ..known }),
    }
}
