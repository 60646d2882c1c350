//! One generation of a search index, open for writing. Blocking; `index_generation` keeps it off the runtime's threads.
//!
//! What is folded waits in a map, so that each document is written once a commit, and the fold sees what is not committed yet. The
//! position goes into the commit's payload: documents and checkpoint become visible in one step.

use std::{collections::HashMap, path::Path};

use events::LogId;
use tantivy::{
    DocAddress, Index, IndexReader, IndexWriter, ReloadPolicy, Searcher, TantivyDocument, TantivyError, Term,
    directory::error::LockError, schema::Value,
};

use crate::{
    cache::Cache,
    checkpoint_text::{CommitPayload, Digest, Head},
    failure::{ProjectionError, Whose},
    index_folder::{DOCUMENT, ID, IndexSchema},
    model::{Place, SearchModel},
    names::{Generation, scoped},
    search::query,
    store::{EventPage, OfLog, Slot, gather, hash_document},
};

pub(crate) struct Writer<M: SearchModel> {
    pub(crate) generation: Generation,
    schema: IndexSchema<M>,
    writer: IndexWriter,
    reader: IndexReader,
    searcher: Searcher,
    pub(crate) committed: Head,
    pub(crate) folded: Head,
    pub(crate) digest: Digest,
    pub(crate) dirty: HashMap<OfLog<M::Key>, Slot<M::Document>>,
    clean: Cache<OfLog<M::Key>, Slot<M::Document>>,
}

impl<M: SearchModel> Writer<M> {
    /// An empty index, committed at the start of the logs.
    pub(crate) fn create(
        folder: &Path,
        generation: Generation,
        logs: &[LogId],
        memory: usize,
    ) -> Result<(), ProjectionError> {
        let whose = Errors { generation, model: M::NAME };
        std::fs::create_dir_all(folder).map_err(|error| whose.io(error))?;
        let schema = IndexSchema::<M>::new();
        let index = Index::create_in_dir(folder, schema.schema.clone()).map_err(|error| whose.index(folder, error))?;
        let mut writer: IndexWriter =
            index.writer_with_num_threads(1, memory).map_err(|error| whose.index(folder, error))?;
        let payload = CommitPayload { head: Head::start(logs, M::VERSION), digest: Digest::default() };
        commit(&mut writer, &payload).map_err(|error| whose.index(folder, error))
    }

    pub(crate) fn open(
        folder: &Path,
        generation: Generation,
        logs: &[LogId],
        memory: usize,
        cached: usize,
    ) -> Result<Self, ProjectionError> {
        let whose = Errors { generation, model: M::NAME };
        let schema = IndexSchema::<M>::new();
        let index = Index::open_in_dir(folder).map_err(|error| whose.index(folder, error))?;
        let CommitPayload { head, digest } = payload::<M>(&index, folder, generation)?;
        if head.code_version != M::VERSION || index.schema() != schema.schema {
            let (built_by, ours) = (head.code_version, M::VERSION);
            return Err(ProjectionError::Outdated { projection: M::NAME, generation, built_by, ours });
        }
        if let Some(log_id) = head.unfollowed(logs) {
            return Err(Whose(M::NAME).unfollowed(generation, log_id));
        }
        query::register(&index);
        let open = || {
            let writer: IndexWriter = index.writer_with_num_threads(1, memory)?;
            let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
            Ok((writer, reader))
        };
        let (writer, reader): (_, IndexReader) = open().map_err(|error| whose.index(folder, error))?;
        // Read again under the writer's lock: another process may have committed a moment before.
        let CommitPayload { head: locked, digest: locked_digest } = payload::<M>(&index, folder, generation)?;
        if locked != head || locked_digest != digest {
            return Err(whose.fenced(&head, &locked));
        }
        let searcher = reader.searcher();
        let (committed, mut folded, clean) = (head.clone(), head, Cache::new(cached));
        let more = folded.include(logs);
        let mut open = Self {
            generation,
            schema,
            writer,
            reader,
            searcher,
            committed,
            folded,
            digest,
            dirty: HashMap::new(),
            clean,
        };
        if more {
            open.commit()?;
        }
        Ok(open)
    }

    pub(crate) fn fold(&mut self, page: &EventPage) -> Result<(), ProjectionError> {
        let log = self.folded.index(&page.log_id);
        let at = self.folded.logs[log].checkpoint.position;
        let behind = page.events.partition_point(|event| event.position <= at);
        let new = &page.events[behind..];
        let touched = new.iter().flat_map(|event| M::keys(event)).map(|key| (log, key));
        let missing = gather(touched, &mut self.dirty, &mut self.clean);
        for key in missing {
            let slot = self.load(&key)?;
            self.dirty.insert(key, slot);
        }
        for event in new {
            for key in M::keys(event) {
                let key = (log, key);
                let slot = self.dirty.get_mut(&key).expect("every key of the page was gathered or loaded");
                slot.document = M::apply(&key.1, slot.document.take(), event);
            }
        }
        self.folded.advance(log, new);
        Ok(())
    }

    /// Makes what is folded visible, together with the position.
    pub(crate) fn commit(&mut self) -> Result<(), ProjectionError> {
        let errors = Errors { generation: self.generation, model: M::NAME };
        let mut digest = self.digest;
        for ((log, key), slot) in &mut self.dirty {
            let Place::Document(name) = M::place(key) else { continue };
            let log_id = &self.folded.logs[*log].checkpoint.log_id;
            let name = scoped(log_id, &name);
            let json = slot.document.as_ref().map(|document| {
                serde_json::to_vec(document)
                    .expect("a document is plain data with string keys, which JSON can always express")
            });
            let hash = json.as_ref().map(|json| hash_document(&name, json));
            if hash == slot.stored {
                continue;
            }
            if let Some(old) = slot.stored {
                self.writer.delete_term(Term::from_field_text(self.schema.id, &name));
                digest.remove(old);
            }
            if let (Some(document), Some(json), Some(hash)) = (&slot.document, json, hash) {
                let mut fields = TantivyDocument::default();
                fields.add_text(self.schema.id, &name);
                fields.add_text(self.schema.log, log_id.as_str());
                fields.add_bytes(self.schema.document, &json);
                M::fill(&self.schema.fields, document, &mut fields);
                self.writer.add_document(fields).map_err(|error| errors.other(error))?;
                digest.add(hash);
            }
            slot.stored = hash;
        }
        events::crash::point("projections::before_index_commit");
        let payload = CommitPayload { head: self.folded.clone(), digest };
        let outcome = commit(&mut self.writer, &payload).and_then(|()| self.reader.reload());
        outcome.map_err(|error| errors.other(error))?;
        self.searcher = self.reader.searcher();
        self.digest = digest;
        self.committed = self.folded.clone();
        for (key, slot) in self.dirty.drain() {
            self.clean.put(key, slot);
        }
        Ok(())
    }

    /// Waits for merges and gives the lock back.
    pub(crate) fn close(self) -> Result<(), ProjectionError> {
        let errors = Errors { generation: self.generation, model: M::NAME };
        self.writer.wait_merging_threads().map_err(|error| errors.other(error))
    }

    fn load(&self, (log, key): &OfLog<M::Key>) -> Result<Slot<M::Document>, ProjectionError> {
        let Place::Document(name) = M::place(key) else { return Ok(Slot { document: None, stored: None, shard: 0 }) };
        let name = scoped(&self.folded.logs[*log].checkpoint.log_id, &name);
        let json = self.find(&name).map_err(|error| self.failed(error))?;
        let document = json
            .as_deref()
            .map(serde_json::from_slice)
            .transpose()
            .map_err(|error| Whose(M::NAME).lost(self.generation, format!("{name} cannot be read: {error}")))?;
        Ok(Slot { document, stored: json.map(|json| hash_document(&name, &json)), shard: 0 })
    }

    fn find(&self, name: &str) -> Result<Option<Vec<u8>>, TantivyError> {
        let term = Term::from_field_text(self.schema.id, name);
        for (ord, segment) in self.searcher.segment_readers().iter().enumerate() {
            let postings = segment
                .inverted_index(self.schema.id)?
                .read_postings(&term, tantivy::schema::IndexRecordOption::Basic)?;
            let Some(mut postings) = postings else { continue };
            while tantivy::DocSet::doc(&postings) != tantivy::TERMINATED {
                let doc = tantivy::DocSet::doc(&postings);
                if !segment.is_deleted(doc) {
                    let ord = u32::try_from(ord).expect("an index has far fewer than 2^32 segments");
                    let document: TantivyDocument = self.searcher.doc(DocAddress::new(ord, doc))?;
                    return Ok(document
                        .get_first(self.schema.document)
                        .and_then(|value| value.as_bytes())
                        .map(Into::into));
                }
                tantivy::DocSet::advance(&mut postings);
            }
        }
        Ok(None)
    }

    fn failed(&self, error: TantivyError) -> ProjectionError {
        Errors { generation: self.generation, model: M::NAME }.other(error)
    }
}

/// Every live document of an index by name, with its hash.
pub(crate) fn contents<M: SearchModel>(
    folder: &Path,
    generation: Generation,
) -> Result<HashMap<String, u128>, ProjectionError> {
    let errors = Errors { generation, model: M::NAME };
    let read = || {
        let index = Index::open_in_dir(folder)?;
        let reader: IndexReader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
        let searcher = reader.searcher();
        // As this index has it: that of another version may have other fields.
        let json_field = index.schema().get_field(DOCUMENT)?;
        let mut contents = HashMap::new();
        for segment in searcher.segment_readers() {
            let id = segment.fast_fields().str(ID)?;
            let store = segment.get_store_reader(1)?;
            for doc in segment.doc_ids_alive() {
                let mut name = String::new();
                if let Some((column, ord)) =
                    id.as_ref().and_then(|column| Some((column, column.term_ords(doc).next()?)))
                {
                    column.ord_to_str(ord, &mut name)?;
                }
                let document: TantivyDocument = store.get(doc)?;
                let json = document.get_first(json_field).and_then(|value| value.as_bytes()).unwrap_or_default();
                let hash = hash_document(&name, json);
                contents.insert(name, hash);
            }
        }
        Ok(contents)
    };
    read().map_err(|error| errors.index(folder, error))
}

/// What the last commit says.
pub(crate) fn payload<M: SearchModel>(
    index: &Index,
    folder: &Path,
    generation: Generation,
) -> Result<CommitPayload, ProjectionError> {
    let errors = Errors { generation, model: M::NAME };
    let payload = index.load_metas().map_err(|error| errors.index(folder, error))?.payload;
    let payload = payload.ok_or_else(|| Whose(M::NAME).lost(generation, "its index carries no checkpoint"))?;
    payload.parse().map_err(Whose(M::NAME).unreadable(generation))
}

fn commit(writer: &mut IndexWriter, payload: &CommitPayload) -> Result<(), TantivyError> {
    let mut commit = writer.prepare_commit()?;
    commit.set_payload(&payload.to_string());
    commit.commit()?;
    Ok(())
}

/// Sorts Tantivy's errors: a held lock, files that are gone or damaged, and the rest, which may pass.
pub(crate) struct Errors {
    pub(crate) generation: Generation,
    pub(crate) model: &'static str,
}

impl Errors {
    pub(crate) fn index(&self, folder: &Path, error: TantivyError) -> ProjectionError {
        if let TantivyError::LockFailure(LockError::LockBusy, _) = error {
            return ProjectionError::Locked { projection: self.model, folder: folder.display().to_string() };
        }
        self.other(error)
    }

    pub(crate) fn other(&self, error: TantivyError) -> ProjectionError {
        let damaged = matches!(
            error,
            TantivyError::DataCorruption(_)
                | TantivyError::IncompatibleIndex(_)
                | TantivyError::OpenReadError(_)
                | TantivyError::OpenDirectoryError(_)
                | TantivyError::SchemaError(_)
        );
        if damaged {
            return Whose(self.model).lost(self.generation, error.to_string());
        }
        ProjectionError::Index { projection: self.model, source: error.into() }
    }

    pub(crate) fn io(&self, error: std::io::Error) -> ProjectionError {
        ProjectionError::Index { projection: self.model, source: error.into() }
    }

    fn fenced(&self, expected: &Head, found: &Head) -> ProjectionError {
        Whose(self.model).fenced(expected.to_string(), found.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OrderIndex;

    #[test]
    fn an_index_of_before_there_were_several_logs_is_read_and_compared_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let before = IndexSchema::<OrderIndex>::before_logs().0.build();
        let index = Index::create_in_dir(folder.path(), before.clone()).expect("an empty folder");
        assert!(IndexSchema::<OrderIndex>::new().reads(&before));
        let mut writer: IndexWriter = index.writer_with_num_threads(1, 20_000_000).expect("memory");
        let mut document = TantivyDocument::default();
        document.add_text(before.get_field(ID).expect("it has names"), "o1");
        document.add_bytes(before.get_field(DOCUMENT).expect("it has documents"), b"{}");
        writer.add_document(document).expect("memory");
        writer.commit().expect("the folder can be written");
        let found = contents::<OrderIndex>(folder.path(), 1).expect("it can be read");
        assert_eq!(found, HashMap::from([("o1".to_owned(), hash_document("o1", b"{}"))]));
    }
}
