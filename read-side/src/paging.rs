//! Pages of lists, with sealed cursors.

use projections::{Cursor, Page};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{cursor::CursorKey, refusal::refusal};
use http_api::Problem;

pub(crate) const PAGE_DEFAULT: usize = 50;
pub(crate) const PAGE_MAX: usize = 200;
pub(crate) const HITS_DEFAULT: usize = 20;
/// What the indexes give at most.
pub(crate) const HITS_MAX: usize = 100;

/// A part of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ListPage<T> {
    items: Vec<T>,
    /// Send it as `cursor` for the next page; none on the last one.
    next: Option<String>,
}

impl CursorKey {
    /// The inner cursor of what a client sent, if it sent one.
    pub(crate) fn open_any(&self, list: &str, sealed: Option<&str>) -> Result<Option<Cursor>, Problem> {
        let open = |sealed| self.open(list, sealed)?.parse().map_err(refusal);
        sealed.map(open).transpose()
    }

    pub(crate) fn page<T>(&self, list: &str, page: Page<T>) -> ListPage<T> {
        ListPage { items: page.items, next: self.seal_any(list, page.next) }
    }

    pub(crate) fn seal_any(&self, list: &str, cursor: Option<Cursor>) -> Option<String> {
        cursor.map(|cursor| self.seal(list, cursor.as_str()))
    }
}
