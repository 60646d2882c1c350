//! All generations of a search index, and one of them open for writing, with the blocking work kept off the runtime's threads.

use std::{collections::HashMap, marker::PhantomData, path::PathBuf, time::Duration};

use events::LogId;
use tantivy::Index;

use crate::{
    Config,
    checkpoint_text::{CommitPayload, Digest, Head},
    failure::ProjectionError,
    index_folder::IndexFolder,
    index_writer::{Errors, Writer, contents, payload},
    model::SearchModel,
    names::Generation,
    store::{EventPage, OpenGeneration, Signals, Standing, Store},
};

/// Commits by itself when so many documents wait.
pub(crate) const PENDING_MAX: usize = 20_000;

pub(crate) struct SearchIndexes<M: SearchModel> {
    folder: IndexFolder,
    /// Bytes.
    memory: usize,
    model: PhantomData<M>,
}

impl<M: SearchModel> SearchIndexes<M> {
    pub(crate) fn new(config: &Config) -> Self {
        let memory = config.index_memory_mb << 20;
        Self { folder: IndexFolder::new(&config.index_dir, M::NAME), memory, model: PhantomData }
    }

    async fn folder<T: Send + 'static>(
        &self,
        work: impl FnOnce(&IndexFolder) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, ProjectionError> {
        let folder = self.folder.clone();
        blocking::<M, _>(move || work(&folder).map_err(|error| errors::<M>(0).io(error))).await
    }
}

fn errors<M: SearchModel>(generation: Generation) -> Errors {
    Errors { generation, model: M::NAME }
}

async fn blocking<M: SearchModel, T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ProjectionError> + Send + 'static,
) -> Result<T, ProjectionError> {
    let outcome = tokio::task::spawn_blocking(work).await;
    outcome.map_err(|source| ProjectionError::Died { projection: M::NAME, source })?
}

impl<M: SearchModel> Store for SearchIndexes<M>
where
    M::Fields: 'static,
{
    const NAME: &'static str = M::NAME;
    const VERSION: u32 = M::VERSION;
    const AT_ONCE: bool = false;
    type Open = IndexGeneration<M>;

    async fn preflight(&self) -> Result<(), ProjectionError> {
        self.folder(|folder| std::fs::create_dir_all(folder.path())).await
    }

    async fn active(&self) -> Result<Option<Generation>, ProjectionError> {
        self.folder(IndexFolder::current).await
    }

    async fn previous(&self) -> Result<Option<Generation>, ProjectionError> {
        self.folder(IndexFolder::previous).await
    }

    async fn building(&self) -> Result<Option<Generation>, ProjectionError> {
        self.folder(IndexFolder::building).await
    }

    async fn start_building(&self, logs: &[LogId]) -> Result<Generation, ProjectionError> {
        let (folder, memory, logs) = (self.folder.clone(), self.memory, logs.to_vec());
        blocking::<M, _>(move || {
            let io = |error| errors::<M>(0).io(error);
            let generation = folder.generations().map_err(io)?.last().map_or(1, |last| last + 1);
            Writer::<M>::create(&folder.generation(generation), generation, &logs, memory)?;
            let ours = folder.begin_building(generation).map_err(io)?;
            if ours == generation {
                return Ok(generation);
            }
            folder.drop_generation(generation).map_err(io)?;
            Ok(ours)
        })
        .await
    }

    async fn open(
        &self,
        generation: Generation,
        logs: &[LogId],
        cached: usize,
    ) -> Result<IndexGeneration<M>, ProjectionError> {
        let (folder, memory, logs) = (self.folder.clone(), self.memory, logs.to_vec());
        let path = folder.generation(generation);
        let writer = blocking::<M, _>(move || Writer::open(&path, generation, &logs, memory, cached)).await?;
        Ok(IndexGeneration { folder, writer: Some(Box::new(writer)), generation })
    }

    async fn switch_to(&self, generation: Generation) -> Result<(), ProjectionError> {
        self.folder(move |folder| {
            folder.switch_to(generation)?;
            folder.forget_building(generation)
        })
        .await
    }

    async fn abandon(&self, generation: Generation) -> Result<(), ProjectionError> {
        self.folder(move |folder| {
            folder.forget_building(generation)?;
            folder.drop_generation(generation)
        })
        .await
    }

    async fn drop_generation(&self, generation: Generation) -> Result<(), ProjectionError> {
        self.folder(move |folder| folder.drop_generation(generation)).await
    }

    async fn generations(&self) -> Result<Vec<Generation>, ProjectionError> {
        self.folder(IndexFolder::generations).await
    }

    async fn take_wish(&self) -> Result<bool, ProjectionError> {
        self.folder(IndexFolder::take_wish).await
    }

    async fn hold(&self, at_most: Duration) -> Result<(), ProjectionError> {
        self.folder(move |folder| folder.hold(at_most)).await
    }

    async fn release(&self) -> Result<(), ProjectionError> {
        self.folder(IndexFolder::release).await
    }

    async fn peek(&self, generation: Generation) -> Result<Standing, ProjectionError> {
        let path = self.folder.generation(generation);
        blocking::<M, _>(move || {
            let index = Index::open_in_dir(&path).map_err(|error| errors::<M>(generation).index(&path, error))?;
            let CommitPayload { head, digest } = payload::<M>(&index, &path, generation)?;
            Ok(Standing { head, digest, whole: true })
        })
        .await
    }

    async fn contents(&self, generation: Generation) -> Result<HashMap<String, u128>, ProjectionError> {
        let path: PathBuf = self.folder.generation(generation);
        blocking::<M, _>(move || contents::<M>(&path, generation)).await
    }
}

pub(crate) struct IndexGeneration<M: SearchModel> {
    folder: IndexFolder,
    generation: Generation,
    /// Away only while it works on a blocking thread.
    writer: Option<Box<Writer<M>>>,
}

const AT_HOME: &str =
    "the writer comes back from every piece of work, and whoever lost it with a panic opens the index anew";

impl<M: SearchModel> IndexGeneration<M>
where
    M::Fields: 'static,
{
    fn writer(&self) -> &Writer<M> {
        self.writer.as_deref().expect(AT_HOME)
    }

    async fn work(
        &mut self,
        work: impl FnOnce(&mut Writer<M>) -> Result<(), ProjectionError> + Send + 'static,
    ) -> Result<(), ProjectionError> {
        let mut writer = self.writer.take().expect(AT_HOME);
        let (writer, outcome) = blocking::<M, _>(move || {
            let outcome = work(&mut writer);
            Ok((writer, outcome))
        })
        .await?;
        self.writer = Some(writer);
        outcome
    }

    async fn signals(&self) -> Result<Signals, ProjectionError> {
        let folder = self.folder.clone();
        blocking::<M, _>(move || {
            let look = || Ok(Signals { active: folder.current()?, held: folder.held()? });
            look().map_err(|error| errors::<M>(0).io(error))
        })
        .await
    }
}

impl<M: SearchModel> OpenGeneration for IndexGeneration<M>
where
    M::Fields: 'static,
{
    fn generation(&self) -> Generation {
        self.generation
    }

    fn folded(&self) -> &Head {
        &self.writer().folded
    }

    fn written(&self) -> &Head {
        &self.writer().committed
    }

    fn digest(&self) -> Digest {
        self.writer().digest
    }

    async fn fold(&mut self, page: &EventPage) -> Result<(), ProjectionError> {
        let page = EventPage::clone(page);
        self.work(move |writer| {
            writer.fold(&page)?;
            if writer.dirty.len() >= PENDING_MAX { writer.commit() } else { Ok(()) }
        })
        .await
    }

    fn reached(&mut self, log_id: &LogId) {
        let folded = &mut self.writer.as_deref_mut().expect(AT_HOME).folded;
        let log = folded.index(log_id);
        folded.logs[log].reached = true;
    }

    async fn write(&mut self) -> Result<Signals, ProjectionError> {
        self.work(Writer::commit).await?;
        self.signals().await
    }

    async fn check(&mut self) -> Result<Signals, ProjectionError> {
        // A folder that somebody deleted: what is written into it from here on, nobody sees.
        if !self.folder.generation(self.generation).join("meta.json").exists() {
            return Err(crate::failure::Whose(M::NAME).lost(self.generation, "its folder is gone"));
        }
        self.signals().await
    }

    async fn close(mut self) -> Result<(), ProjectionError> {
        let writer = self.writer.take().expect(AT_HOME);
        blocking::<M, _>(move || writer.close()).await
    }
}
