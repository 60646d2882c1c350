//! Where a search index lies: a folder per model, in it a folder per generation, and a file that names the live one.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use tantivy::schema::{BytesOptions, Field, Schema, SchemaBuilder};

use crate::{model::SearchModel, names::Generation, search::query::raw};

pub(crate) const ID: &str = "_id";
pub(crate) const DOCUMENT: &str = "_document";

#[derive(Debug, Clone)]
pub(crate) struct IndexFolder {
    path: PathBuf,
}

impl IndexFolder {
    pub(crate) fn new(index_dir: &Path, model: &str) -> Self {
        Self { path: index_dir.join(model) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn generation(&self, generation: Generation) -> PathBuf {
        self.path.join(format!("g{generation}"))
    }

    /// The generation that answers; none when nothing has been built.
    pub(crate) fn current(&self) -> io::Result<Option<Generation>> {
        self.read("current")
    }

    /// The generation that answered before the last switch.
    pub(crate) fn previous(&self) -> io::Result<Option<Generation>> {
        self.read("previous")
    }

    /// The generation that is being built.
    pub(crate) fn building(&self) -> io::Result<Option<Generation>> {
        self.read("building")
    }

    /// Remembers the generation under construction, unless there is one already. Returns the one that is remembered.
    pub(crate) fn begin_building(&self, generation: Generation) -> io::Result<Generation> {
        let new = self.path.join(format!("building.{generation}"));
        std::fs::write(&new, generation.to_string())?;
        // A link is made whole or not at all, and never over one that is there.
        let linked = std::fs::hard_link(&new, self.path.join("building"));
        std::fs::remove_file(&new)?;
        match linked {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(self.building()?.unwrap_or(generation)),
            outcome => outcome.map(|()| generation),
        }
    }

    pub(crate) fn forget_building(&self, generation: Generation) -> io::Result<()> {
        if self.building()? == Some(generation) { self.write("building", None) } else { Ok(()) }
    }

    /// Makes a generation the live one, in one step: a reader sees the old one or the new one.
    pub(crate) fn switch_to(&self, generation: Generation) -> io::Result<()> {
        let before = self.current()?.filter(|&before| before != generation);
        if before.is_some() {
            self.write("previous", before)?;
        }
        self.write("current", Some(generation))
    }

    /// Asks whoever writes to stand still until released, or until the time is over.
    pub(crate) fn hold(&self, at_most: Duration) -> io::Result<()> {
        std::fs::create_dir_all(&self.path)?;
        std::fs::File::create(self.path.join("hold"))?.write_all(at_most.as_millis().to_string().as_bytes())
    }

    pub(crate) fn release(&self) -> io::Result<()> {
        self.write("hold", None)
    }

    pub(crate) fn held(&self) -> io::Result<bool> {
        let path = self.path.join("hold");
        let (text, since) =
            match std::fs::read_to_string(&path).and_then(|text| Ok((text, path.metadata()?.modified()?))) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                outcome => outcome?,
            };
        let at_most = Duration::from_millis(text.parse().unwrap_or(0));
        // A hold from the future comes of a clock that was set back: nobody would ever release it.
        Ok(since.elapsed().is_ok_and(|age| age < at_most))
    }

    /// Asks whoever writes, in whatever process, to commit soon. A wish more while one lies here is the same wish.
    pub(crate) fn ask_for_commit(&self) -> io::Result<()> {
        std::fs::File::create(self.path.join("wanted")).map(drop)
    }

    /// Whether somebody asked for a commit; takes the wish away, so that it is heard once.
    pub(crate) fn take_wish(&self) -> io::Result<bool> {
        match std::fs::remove_file(self.path.join("wanted")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            outcome => outcome.map(|()| true),
        }
    }

    /// The numbers of all generations that lie here.
    pub(crate) fn generations(&self) -> io::Result<Vec<Generation>> {
        let entries = match self.path.read_dir() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            found.extend(
                name.to_str()
                    .and_then(|name| name.strip_prefix('g'))
                    .and_then(|number| number.parse::<Generation>().ok()),
            );
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Gone already is as good.
    pub(crate) fn drop_generation(&self, generation: Generation) -> io::Result<()> {
        match std::fs::remove_dir_all(self.generation(generation)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            outcome => outcome,
        }
    }

    fn read(&self, name: &str) -> io::Result<Option<Generation>> {
        match std::fs::read_to_string(self.path.join(name)) {
            Ok(text) => Ok(text.trim().parse().ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write(&self, name: &str, generation: Option<Generation>) -> io::Result<()> {
        let (path, new) = (self.path.join(name), self.path.join(format!("{name}.new")));
        let Some(generation) = generation else {
            return match std::fs::remove_file(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                outcome => outcome,
            };
        };
        std::fs::create_dir_all(&self.path)?;
        let mut file = std::fs::File::create(&new)?;
        writeln!(file, "{generation}")?;
        file.sync_all()?;
        std::fs::rename(new, path)?;
        std::fs::File::open(&self.path)?.sync_all()
    }
}

/// A model's fields, and the three that the engine adds.
pub(crate) struct IndexSchema<M: SearchModel> {
    pub(crate) schema: Schema,
    pub(crate) fields: M::Fields,
    /// The document's name, by which it is replaced.
    pub(crate) id: Field,
    /// The log that it is made from.
    pub(crate) log: Field,
    /// The document itself, as JSON.
    pub(crate) document: Field,
}

impl<M: SearchModel> IndexSchema<M> {
    pub(crate) fn new() -> Self {
        let (mut builder, id, document, fields) = Self::before_logs();
        let log = builder.add_text_field("_log", raw());
        Self { schema: builder.build(), fields, id, log, document }
    }

    /// Whether an index of this schema can be searched: it is this one, or lacks the log alone, as those do that were built when there
    /// was one. Such an index is searched as a whole.
    pub(crate) fn reads(&self, found: &Schema) -> bool {
        *found == self.schema || *found == Self::before_logs().0.build()
    }

    pub(crate) fn before_logs() -> (SchemaBuilder, Field, Field, M::Fields) {
        let mut builder = Schema::builder();
        let id = builder.add_text_field(ID, raw());
        let document = builder.add_bytes_field(DOCUMENT, BytesOptions::default().set_stored());
        let fields = M::declare(&mut builder);
        (builder, id, document, fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_remembers_the_generation_before() {
        let place = tempfile::tempdir().expect("a folder for the test");
        let folder = IndexFolder::new(place.path(), "order-index");
        assert_eq!(folder.current().expect("readable"), None);
        folder.switch_to(1).expect("written");
        folder.switch_to(4).expect("written");
        folder.switch_to(4).expect("written");
        assert_eq!((folder.current().expect("readable"), folder.previous().expect("readable")), (Some(4), Some(1)));
    }

    #[test]
    fn a_wish_for_a_commit_is_heard_once() {
        let place = tempfile::tempdir().expect("a folder for the test");
        let folder = IndexFolder::new(place.path(), "order-index");
        assert!(folder.ask_for_commit().is_err(), "where nobody has built there is nobody to ask");
        folder.switch_to(1).expect("written");
        folder.ask_for_commit().expect("written");
        folder.ask_for_commit().expect("written");
        assert_eq!((folder.take_wish().expect("readable"), folder.take_wish().expect("readable")), (true, false));
        assert_eq!(folder.generations().expect("readable"), [0; 0]);
    }
}
