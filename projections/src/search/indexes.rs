//! Opens the search indexes for reading, in whatever process: finds the live generation, notices commits, and says up to where it reads.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use events::{LogId, LogPosition};
use tantivy::{Index, IndexReader, ReloadPolicy, Searcher, TantivyError, schema::Field};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{OrderHits, OrderSearch, ProductHits, ProductSearch, orders, products, query};
use crate::{
    Config, Handle, OrderIndex, ProductIndex, ProjectionState, Read, ReadError, ReadModel,
    checkpoint_text::Head,
    index_folder::{IndexFolder, IndexSchema},
    model::SearchModel,
    names::Generation,
    wait,
};

/// How often a reader in another process than the projector looks for a commit.
const POLL: Duration = Duration::from_millis(20);

/// Each occupies a processor; what waits longer than this would only add to the overload.
const SEARCHES_AT_ONCE: usize = 16;
const ROOM_WAIT: Duration = Duration::from_millis(500);

/// The search indexes, for reading what they have of one log. Cheap to clone; nothing need exist yet.
#[derive(Clone)]
pub struct Indexes {
    products: Arc<OpenIndex<ProductIndex>>,
    orders: Arc<OpenIndex<OrderIndex>>,
    /// Searches at work; more wait a moment, and then are refused.
    room: Arc<Semaphore>,
    log_id: LogId,
    handle: Option<Handle>,
}

impl std::fmt::Debug for Indexes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Indexes").field("log_id", &self.log_id).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SearchIndex {
    Products,
    Orders,
}

impl SearchIndex {
    pub const ALL: [Self; 2] = [Self::Products, Self::Orders];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Products => ProductIndex::NAME,
            Self::Orders => OrderIndex::NAME,
        }
    }
}

impl Indexes {
    /// With the `handle` of a projector in the same process, waiting for a position makes that one commit early; else the wish is left
    /// in the index's folder, for the projector in whatever process.
    #[must_use]
    pub fn new(config: &Config, log_id: LogId, handle: Option<Handle>) -> Self {
        Self {
            products: Arc::new(OpenIndex::new(&config.index_dir)),
            orders: Arc::new(OpenIndex::new(&config.index_dir)),
            room: Arc::new(Semaphore::new(SEARCHES_AT_ONCE)),
            log_id,
            handle,
        }
    }

    /// What was made from another log.
    #[must_use]
    pub fn of(&self, log_id: &LogId) -> Self {
        Self { log_id: log_id.clone(), ..self.clone() }
    }

    pub async fn search_products(&self, search: ProductSearch) -> Result<Read<ProductHits>, ReadError> {
        let (index, _room) = (Arc::clone(&self.products), self.room().await?);
        let log_id = self.log_id.clone();
        blocking(move || index.read(&log_id, |searcher, within| products::search(searcher, within, &search))).await
    }

    pub async fn search_orders(&self, search: OrderSearch) -> Result<Read<OrderHits>, ReadError> {
        let (index, _room) = (Arc::clone(&self.orders), self.room().await?);
        let log_id = self.log_id.clone();
        blocking(move || index.read(&log_id, |searcher, within| orders::search(searcher, within, &search))).await
    }

    /// Up to where an index is committed.
    pub async fn position(&self, index: SearchIndex) -> Result<LogPosition, ReadError> {
        self.standing(index).await.map(|(_, position)| position)
    }

    /// The generation that answers, and up to where it is committed.
    pub(crate) async fn standing(&self, index: SearchIndex) -> Result<(Generation, LogPosition), ReadError> {
        let (products, orders, log_id) = (Arc::clone(&self.products), Arc::clone(&self.orders), self.log_id.clone());
        blocking(move || match index {
            SearchIndex::Products => products.open().and_then(|open| Ok((open.generation, open.position(&log_id)?))),
            SearchIndex::Orders => orders.open().and_then(|open| Ok((open.generation, open.position(&log_id)?))),
        })
        .await
    }

    /// The generation under construction, and up to where it is; none when nobody builds.
    pub(crate) async fn construction(
        &self,
        index: SearchIndex,
    ) -> Result<Option<(Generation, LogPosition)>, ReadError> {
        let (products, orders, log_id) = (Arc::clone(&self.products), Arc::clone(&self.orders), self.log_id.clone());
        blocking(move || match index {
            SearchIndex::Products => products.construction(&log_id),
            SearchIndex::Orders => orders.construction(&log_id),
        })
        .await
    }

    /// Waits until an index has reached `wanted`, at most for `budget`; asks the projector to commit.
    ///
    /// # Errors
    /// `Behind`: it has not; it says up to where it is. `OtherLog`: `wanted` is no position of this log.
    pub async fn wait_for(
        &self,
        index: SearchIndex,
        wanted: &LogPosition,
        budget: Duration,
    ) -> Result<LogPosition, ReadError> {
        let watched = self.handle.as_ref().map(|handle| handle.watch(index.name()));
        let look = || async {
            let reached = self.position(index).await?;
            if reached.position < wanted.position {
                self.ask_for_commit(index).await;
            }
            Ok(reached)
        };
        wait::until(index.name(), &self.log_id, wanted, budget, POLL, watched, look).await
    }

    /// A wish that does not get through costs no more than the wait for the next commit by itself.
    async fn ask_for_commit(&self, index: SearchIndex) {
        let name = index.name();
        match &self.handle {
            Some(handle) if handle.state(name) == ProjectionState::Following => handle.ask_for_commit(name),
            // One that does not follow is not the one that writes.
            Some(_) | None => {
                let folder = match index {
                    SearchIndex::Products => self.products.folder.clone(),
                    SearchIndex::Orders => self.orders.folder.clone(),
                };
                let asked = tokio::task::spawn_blocking(move || folder.ask_for_commit()).await;
                if let Ok(Err(error)) = asked {
                    tracing::debug!(index = name, %error, "a wish for a commit could not be left in the folder");
                }
            }
        }
    }

    async fn room(&self) -> Result<SemaphorePermit<'_>, ReadError> {
        let busy = |source: Box<dyn std::error::Error + Send + Sync>| ReadError::Unavailable {
            store: "the search index",
            source,
        };
        let permit = tokio::time::timeout(ROOM_WAIT, self.room.acquire()).await.map_err(|late| busy(late.into()))?;
        permit.map_err(|closed| busy(closed.into()))
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
) -> Result<T, ReadError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| ReadError::Unavailable { store: "the search index", source: error.into() })?
}

/// One index, opened when first asked and again after a switch.
struct OpenIndex<M: SearchModel> {
    folder: IndexFolder,
    open: Mutex<Option<Open<M>>>,
}

struct Open<M: SearchModel> {
    generation: Generation,
    index: Index,
    reader: IndexReader,
    schema: Arc<IndexSchema<M>>,
    meta: PathBuf,
    /// Of the meta file when `head` was read: time and inode, since two commits may fall into one tick of the clock.
    stamp: Option<Stamp>,
    head: Arc<Head>,
}

/// What one search sees.
struct View<M: SearchModel> {
    generation: Generation,
    searcher: Searcher,
    schema: Arc<IndexSchema<M>>,
    head: Arc<Head>,
}

impl<M: SearchModel> View<M> {
    /// Up to where it is committed of a log; it is not built for a log that it does not follow, or has not caught up
    /// with yet.
    fn position(&self, log_id: &LogId) -> Result<LogPosition, ReadError> {
        position::<M>(&self.head, log_id)
    }
}

/// What a search looks through.
pub(crate) struct Within<'a, M: SearchModel> {
    pub(crate) schema: &'a IndexSchema<M>,
    /// None: there is nothing else in the index.
    pub(crate) log_id: Option<&'a LogId>,
}

impl<M: SearchModel> OpenIndex<M> {
    fn new(index_dir: &Path) -> Self {
        Self { folder: IndexFolder::new(index_dir, M::NAME), open: Mutex::new(None) }
    }

    fn read<T>(
        &self,
        log_id: &LogId,
        search: impl FnOnce(&Searcher, &Within<'_, M>) -> Result<T, SearchFailure>,
    ) -> Result<Read<T>, ReadError> {
        let view = self.open()?;
        let position = view.position(log_id)?;
        let within = Within { schema: &view.schema, log_id: (view.head.logs.len() > 1).then_some(log_id) };
        match search(&view.searcher, &within) {
            Ok(value) => Ok(Read { value, position }),
            Err(SearchFailure::BadCursor) => Err(ReadError::BadCursor),
            Err(SearchFailure::Index(error)) => Err(self.failed(error)),
            Err(SearchFailure::Document(error)) => Err(ReadError::Unreadable { model: M::NAME, source: error.into() }),
        }
    }

    fn construction(&self, log_id: &LogId) -> Result<Option<(Generation, LogPosition)>, ReadError> {
        let io = |error: std::io::Error| ReadError::Unavailable { store: "the search index", source: error.into() };
        let Some(generation) = self.folder.building().map_err(io)? else { return Ok(None) };
        let index = Index::open_in_dir(self.folder.generation(generation)).map_err(lost::<M>)?;
        let from = head::<M>(&index).ok().and_then(|head| head.of(log_id).cloned());
        Ok(from.map(|from| (generation, from.checkpoint.log_position())))
    }

    fn open(&self) -> Result<View<M>, ReadError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self
            .folder
            .current()
            .map_err(|error| ReadError::Unavailable { store: "the search index", source: error.into() })?;
        let Some(generation) = current else {
            *open = None;
            return Err(ReadError::NotBuilt { model: M::NAME });
        };
        let result = match &mut *open {
            Some(open) if open.generation == generation => open.refresh().map(|()| open.view()),
            _ => Open::new(&self.folder, generation).map(|opened| open.insert(opened).view()),
        };
        result.inspect_err(|_| *open = None)
    }

    /// An index that broke is opened anew by the next search.
    fn failed(&self, error: TantivyError) -> ReadError {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = None;
        ReadError::Unavailable { store: "the search index", source: error.into() }
    }
}

impl<M: SearchModel> Open<M> {
    fn new(folder: &IndexFolder, generation: Generation) -> Result<Self, ReadError> {
        let path = folder.generation(generation);
        let schema = IndexSchema::<M>::new();
        let stamp = stamp(&path.join("meta.json"));
        let index = Index::open_in_dir(&path).map_err(lost::<M>)?;
        if !schema.reads(&index.schema()) {
            return Err(ReadError::NotBuilt { model: M::NAME });
        }
        query::register(&index);
        // The payload before the reader: what it claims is then a lower bound.
        let head = Arc::new(head::<M>(&index)?);
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into().map_err(lost::<M>)?;
        Ok(Self { generation, index, reader, schema: Arc::new(schema), meta: path.join("meta.json"), stamp, head })
    }

    fn refresh(&mut self) -> Result<(), ReadError> {
        let stamp = stamp(&self.meta);
        if stamp.is_none() {
            return Err(ReadError::NotBuilt { model: M::NAME });
        }
        if stamp != self.stamp {
            let head = head::<M>(&self.index)?;
            self.reader.reload().map_err(lost::<M>)?;
            self.head = Arc::new(head);
            self.stamp = stamp;
        }
        Ok(())
    }

    fn view(&self) -> View<M> {
        View {
            generation: self.generation,
            searcher: self.reader.searcher(),
            schema: Arc::clone(&self.schema),
            head: Arc::clone(&self.head),
        }
    }
}

type Stamp = (SystemTime, u64);

fn stamp(meta: &Path) -> Option<Stamp> {
    let meta = meta.metadata().ok()?;
    Some((meta.modified().ok()?, meta.ino()))
}

fn head<M: SearchModel>(index: &Index) -> Result<Head, ReadError> {
    let payload = index.load_metas().map_err(lost::<M>)?.payload.ok_or(ReadError::NotBuilt { model: M::NAME })?;
    let head = payload.parse::<crate::checkpoint_text::CommitPayload>();
    Ok(head.map_err(|error| ReadError::Unreadable { model: M::NAME, source: error.into() })?.head)
}

fn position<M: SearchModel>(head: &Head, log_id: &LogId) -> Result<LogPosition, ReadError> {
    let from = head.of(log_id).filter(|from| from.reached).ok_or(ReadError::NotBuilt { model: M::NAME })?;
    Ok(from.checkpoint.log_position())
}

/// Files that are gone or damaged: the projector notices too, and builds them again.
fn lost<M: SearchModel>(error: TantivyError) -> ReadError {
    ReadError::Unavailable { store: M::NAME, source: error.into() }
}

/// Why a search gave nothing.
pub(crate) enum SearchFailure {
    BadCursor,
    Index(TantivyError),
    Document(serde_json::Error),
}

impl From<TantivyError> for SearchFailure {
    fn from(error: TantivyError) -> Self {
        Self::Index(error)
    }
}

impl From<serde_json::Error> for SearchFailure {
    fn from(error: serde_json::Error) -> Self {
        Self::Document(error)
    }
}

/// The stored document of a hit.
pub(crate) fn stored<D: serde::de::DeserializeOwned>(
    searcher: &Searcher,
    address: tantivy::DocAddress,
    field: Field,
) -> Result<D, SearchFailure> {
    use tantivy::{TantivyDocument, schema::Value};
    let document: TantivyDocument = searcher.doc(address)?;
    let json = document.get_first(field).and_then(|value| value.as_bytes()).unwrap_or_default();
    Ok(serde_json::from_slice(json)?)
}
