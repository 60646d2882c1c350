//! What a read model is: keys, a document, a pure fold. The engine owns pages, loading, writing, checkpoint, rebuild and comparison.
//!
//! The recipe for a new one is in `engine`. A changed fold or document raises `VERSION`: the engine then builds a new generation beside
//! the old one, and switches when it has caught up.

use std::{borrow::Cow, hash::Hash};

use events::{DomainEvent, Recorded};
use serde::{Serialize, de::DeserializeOwned};

/// One read model: the fold is the same live, in a rebuild and as of a past position.
pub trait ReadModel: Send + Sync + 'static {
    /// As the command line and the URLs spell it: `order-view`.
    const NAME: &'static str;
    /// Of the fold and the document's shape together.
    const VERSION: u32;
    type Key: Clone + Eq + Hash + Send + Sync;
    type Document: Clone + Serialize + DeserializeOwned + Send + Sync;

    /// The documents that the event may touch: none, one or several.
    fn keys(event: &Recorded<DomainEvent>) -> impl IntoIterator<Item = Self::Key>;

    /// Folds one event into one document. Pure and total: what the event does not concern comes back as it was.
    fn apply(
        key: &Self::Key,
        document: Option<Self::Document>,
        event: &Recorded<DomainEvent>,
    ) -> Option<Self::Document>;

    /// Where the document of a key lies.
    fn place(key: &Self::Key) -> Place<'_>;
}

/// Where a key's document is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place<'a> {
    /// A document under this name.
    Document(Cow<'a, str>),
    /// No document, but a member of a list that is read in the members' order, such as one customer's orders by time.
    Member { list: &'a str, member: Cow<'a, str> },
}

/// A read model that lies in a search index. The engine adds a field for the key, one for the log, and one for the document itself, so that the fold
/// can go on from what is in the index.
pub trait SearchModel: ReadModel {
    /// The handles of the model's own fields.
    type Fields: Send + Sync;

    /// Declares the model's fields. Deterministic: the same version declares the same fields in the same order.
    fn declare(schema: &mut tantivy::schema::SchemaBuilder) -> Self::Fields;

    /// Fills in what can be searched. Nothing filled in means: kept, but not found.
    fn fill(fields: &Self::Fields, document: &Self::Document, into: &mut tantivy::TantivyDocument);
}
