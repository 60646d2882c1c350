//! Reads the views in Redis: a document and the position it reflects, in one round trip.
//!
//! The position is read before the document, so it is a lower bound; the shard's checkpoint is looked for again after it, so a Redis
//! that was emptied in between says "not built" and never "no such order".

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use events::{CustomerId, LogId, LogPosition, OrderId, Sku};
use redis::pipe;
use serde::de::DeserializeOwned;

use crate::{
    Config, Cursor, CustomerOrders, Handle, OrderDocument, OrderJson, OrderSummary, OrderTag, OrderView, Page,
    ProductDocument, ProductView, Read, ReadError, ReadModel, StockDocument, StockView,
    checkpoint_text::{Head, ShardAt},
    customer_orders::{CustomerOrdersKey, member_order},
    model::Place,
    names::{Generation, Names, scoped, shard_of},
    redis_store::{READ_TIMEOUT, Redis, RedisFailure},
    wait,
};

/// A generation may be switched while it is read; it happens once in a rebuild, so two more tries are plenty.
const SWITCH_RETRIES: usize = 3;

/// How often a reader in another process than the projector looks whether a position has been reached.
const POLL: Duration = Duration::from_millis(5);

/// The live generation, its head, the shard's checkpoint, the document, and whether the shard was still there after that.
type Found = (Option<Generation>, Option<String>, Option<String>, Option<Vec<u8>>, bool);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum View {
    Order,
    CustomerOrders,
    Stock,
    Product,
}

impl View {
    pub const ALL: [Self; 4] = [Self::Order, Self::CustomerOrders, Self::Stock, Self::Product];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Order => OrderView::NAME,
            Self::CustomerOrders => CustomerOrders::NAME,
            Self::Stock => StockView::NAME,
            Self::Product => ProductView::NAME,
        }
    }
}

/// The views in Redis, for reading what they have of one log. Cheap to clone; needs no server to be made.
#[derive(Debug, Clone)]
pub struct Views {
    redis: Redis,
    namespace: String,
    log_id: LogId,
    handle: Option<Handle>,
    /// The generation of each view that answered last: right almost always, and corrected by the answer itself where it is not.
    generations: Arc<[AtomicU32; View::ALL.len()]>,
}

impl Views {
    /// With the `handle` of a projector in the same process, waiting for a position costs no polling.
    ///
    /// # Errors
    /// `Unavailable`: the URL is not one of Redis. A server that does not run is no error here.
    pub fn new(config: &Config, log_id: LogId, handle: Option<Handle>) -> Result<Self, ReadError> {
        let redis = Redis::open(&config.redis_url, READ_TIMEOUT).map_err(unavailable)?;
        let generations = Arc::new([const { AtomicU32::new(1) }; View::ALL.len()]);
        Ok(Self { redis, namespace: config.namespace.clone(), log_id, handle, generations })
    }

    /// The documents of another log.
    #[must_use]
    pub fn of(&self, log_id: &LogId) -> Self {
        Self { log_id: log_id.clone(), ..self.clone() }
    }

    pub async fn order(&self, id: OrderId) -> Result<Read<Option<OrderDocument>>, ReadError> {
        self.document::<OrderView>(View::Order, &id).await
    }

    /// The same for a page that only passes the order on.
    pub async fn order_json(&self, id: OrderId) -> Result<Read<Option<OrderJson>>, ReadError> {
        let Read { value, position } = self.stored::<OrderView>(View::Order, &id).await?;
        let value = value.map(|json| {
            let tag: OrderTag = decode(OrderView::NAME, &json)?;
            Ok(OrderJson { json, tag })
        });
        Ok(Read { value: value.transpose()?, position })
    }

    pub async fn stock(&self, sku: &Sku) -> Result<Read<Option<StockDocument>>, ReadError> {
        self.document::<StockView>(View::Stock, sku).await
    }

    pub async fn product(&self, sku: &Sku) -> Result<Read<Option<ProductDocument>>, ReadError> {
        self.document::<ProductView>(View::Product, sku).await
    }

    /// A customer's orders, newest first; empty for a customer who has none.
    pub async fn customer_orders(
        &self,
        customer_id: &CustomerId,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Read<Page<OrderSummary>>, ReadError> {
        let list = scoped(&self.log_id, customer_id.as_str());
        let list = list.as_ref();
        let end = match after {
            // "(" excludes the member itself; "!" is the byte after the space that ends a list's name.
            Some(cursor) => format!("({list} {}", cursor.key::<String>()?),
            None => format!("({list}!"),
        };
        let (generation, head, members) = self.members(list, &end, limit + 1).await?;
        let (shown, more) = members.split_at(members.len().min(limit));
        let orders = shown.iter().filter_map(|member| member_order(member)).collect::<Vec<_>>();
        let items = self.summaries(generation, &orders).await?;
        let next = shown.last().filter(|_| !more.is_empty()).map(Cursor::of);
        Ok(Read { value: Page { items, next }, position: head })
    }

    /// Up to where a view is written.
    pub async fn position(&self, view: View) -> Result<LogPosition, ReadError> {
        self.standing(view).await.map(|(_, position)| position)
    }

    /// The generation that answers, and up to where it is written.
    pub(crate) async fn standing(&self, view: View) -> Result<(Generation, LogPosition), ReadError> {
        let names = Names::new(&self.namespace, view.name());
        let mut generation = self.remembered(view);
        for _ in 0..SWITCH_RETRIES {
            let read = pipe().get(names.active()).get(names.head(generation)).to_owned();
            let (active, head): (Option<Generation>, Option<String>) =
                self.redis.run(&read).await.map_err(unavailable)?;
            match active {
                Some(active) if active == generation => return Ok((generation, self.head(&names, head)?)),
                Some(active) => generation = self.remember(view, active),
                None => return Err(ReadError::NotBuilt { model: names.model() }),
            }
        }
        Err(ReadError::NotBuilt { model: names.model() })
    }

    /// Waits until a view has reached `wanted`, at most for `budget`.
    ///
    /// # Errors
    /// `Behind`: it has not; it says up to where it is. `OtherLog`: `wanted` is no position of this log.
    pub async fn wait_for(&self, view: View, wanted: &LogPosition, budget: Duration) -> Result<LogPosition, ReadError> {
        let watched = self.handle.as_ref().map(|handle| handle.watch(view.name()));
        wait::until(view.name(), &self.log_id, wanted, budget, POLL, watched, || self.position(view)).await
    }

    /// The generation under construction, and up to where it is; none when nobody builds.
    pub(crate) async fn construction(&self, view: View) -> Result<Option<(Generation, LogPosition)>, ReadError> {
        let names = Names::new(&self.namespace, view.name());
        let (building,): (Option<Generation>,) =
            self.redis.run(pipe().get(names.building())).await.map_err(unavailable)?;
        let Some(generation) = building else { return Ok(None) };
        let (head,): (Option<String>,) =
            self.redis.run(pipe().get(names.head(generation))).await.map_err(unavailable)?;
        let from = whole_head(&names, head).ok().and_then(|head| head.of(&self.log_id).cloned());
        Ok(from.map(|from| (generation, from.checkpoint.log_position())))
    }

    async fn document<M: ReadModel>(&self, view: View, key: &M::Key) -> Result<Read<Option<M::Document>>, ReadError> {
        let Read { value, position } = self.stored::<M>(view, key).await?;
        let value = value.map(|json| decode(M::NAME, &json)).transpose()?;
        Ok(Read { value, position })
    }

    /// The document's JSON.
    async fn stored<M: ReadModel>(&self, view: View, key: &M::Key) -> Result<Read<Option<Vec<u8>>>, ReadError> {
        let names = Names::new(&self.namespace, M::NAME);
        let Place::Document(name) = M::place(key) else {
            return Err(ReadError::NotBuilt { model: M::NAME });
        };
        let name = scoped(&self.log_id, &name);
        let shard = shard_of(&name);
        let mut generation = self.remembered(view);
        for _ in 0..SWITCH_RETRIES {
            let keys = names.shard(generation, shard);
            let mut read = pipe();
            read.get(names.active()).get(names.head(generation)).get(&keys.at);
            read.hget(&keys.documents, name.as_ref()).exists(&keys.at);
            let (active, head, at, json, there): Found = self.redis.run(&read).await.map_err(unavailable)?;
            match active {
                Some(active) if active == generation => {
                    let head = whole_head(&names, head)?;
                    let not_built = ReadError::NotBuilt { model: M::NAME };
                    let (Some(at), true) = (at, there) else { return Err(not_built) };
                    let at: ShardAt = at.parse().map_err(|error| unreadable(M::NAME, error))?;
                    let Some(from) = head.of(&self.log_id).filter(|from| from.reached) else { return Err(not_built) };
                    let position = from.checkpoint.position.max(at.position(head.index(&self.log_id)));
                    return Ok(Read { value: json, position: LogPosition::new(self.log_id.clone(), position) });
                }
                Some(active) => generation = self.remember(view, active),
                None => break,
            }
        }
        Err(ReadError::NotBuilt { model: M::NAME })
    }

    async fn members(
        &self,
        list: &str,
        end: &str,
        count: usize,
    ) -> Result<(Generation, LogPosition, Vec<String>), ReadError> {
        let names = Names::new(&self.namespace, CustomerOrders::NAME);
        let (start, prefix) = (format!("[{list} "), list.len() + 1);
        let mut generation = self.remembered(View::CustomerOrders);
        for _ in 0..SWITCH_RETRIES {
            let keys = names.shard(generation, shard_of(list));
            let mut read = pipe();
            read.get(names.active()).get(names.head(generation));
            read.cmd("ZRANGE")
                .arg(&keys.members)
                .arg(end)
                .arg(&start)
                .arg("BYLEX")
                .arg("REV")
                .arg("LIMIT")
                .arg(0)
                .arg(count);
            read.exists(&keys.at);
            let (active, head, found, there): (Option<Generation>, Option<String>, Vec<String>, bool) =
                self.redis.run(&read).await.map_err(unavailable)?;
            match active {
                Some(active) if active == generation && there => {
                    let head = self.head(&names, head)?;
                    let members = found.iter().filter_map(|member| member.get(prefix..)).map(Into::into).collect();
                    return Ok((generation, head, members));
                }
                Some(active) if active != generation => generation = self.remember(View::CustomerOrders, active),
                Some(_) | None => break,
            }
        }
        Err(ReadError::NotBuilt { model: CustomerOrders::NAME })
    }

    /// An order whose shard is not written up to its place in the list is left out: the position says that much.
    async fn summaries(&self, generation: Generation, orders: &[OrderId]) -> Result<Vec<OrderSummary>, ReadError> {
        if orders.is_empty() {
            return Ok(Vec::new());
        }
        let names = Names::new(&self.namespace, CustomerOrders::NAME);
        let mut read = pipe();
        for &order in orders {
            let key = CustomerOrdersKey::Order(order);
            let Place::Document(name) = CustomerOrders::place(&key) else { continue };
            let name = scoped(&self.log_id, &name);
            read.hget(names.shard(generation, shard_of(&name)).documents, name.as_ref());
        }
        let found: Vec<Option<Vec<u8>>> = self.redis.run(&read).await.map_err(unavailable)?;
        found.iter().flatten().map(|json| decode::<OrderSummary>(CustomerOrders::NAME, json)).collect()
    }

    fn remembered(&self, view: View) -> Generation {
        self.generations[view as usize].load(Ordering::Relaxed)
    }

    fn remember(&self, view: View, generation: Generation) -> Generation {
        self.generations[view as usize].store(generation, Ordering::Relaxed);
        generation
    }

    /// Up to where the view is written of this log; it is not built for a log that it does not follow, or has not caught up with yet.
    fn head(&self, names: &Names, head: Option<String>) -> Result<LogPosition, ReadError> {
        let head = whole_head(names, head)?;
        let from = head.of(&self.log_id).filter(|from| from.reached);
        let from = from.ok_or(ReadError::NotBuilt { model: names.model() })?;
        Ok(from.checkpoint.log_position())
    }
}

fn whole_head(names: &Names, head: Option<String>) -> Result<Head, ReadError> {
    let head = head.ok_or(ReadError::NotBuilt { model: names.model() })?;
    let head: Head = head.parse().map_err(|error| unreadable(names.model(), error))?;
    if head.is_named_otherwise() { Err(ReadError::NotBuilt { model: names.model() }) } else { Ok(head) }
}

fn decode<D: DeserializeOwned>(model: &'static str, json: &[u8]) -> Result<D, ReadError> {
    serde_json::from_slice(json).map_err(|error| unreadable(model, error))
}

fn unavailable(failure: RedisFailure) -> ReadError {
    ReadError::Unavailable { store: "Redis", source: failure.into() }
}

fn unreadable(model: &'static str, error: impl std::error::Error + Send + Sync + 'static) -> ReadError {
    ReadError::Unreadable { model, source: error.into() }
}
