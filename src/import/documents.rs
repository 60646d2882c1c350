//! Groups lines into documents, in the order of the files.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;

use super::{
    codes::{self, Kind},
    source::SourceLine,
};

/// The lines of one document in two different files would be two halves, or the same twice.
#[derive(Debug, thiserror::Error)]
#[error("document {number} is in more than one file: give each line once")]
pub(crate) struct Split {
    number: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) sku: Arc<str>,
    pub(super) kind: Kind,
    pub(super) description: Arc<str>,
    pub(super) quantity: i64,
    pub(super) price: Decimal,
}

impl Line {
    /// Exact, however many decimals the price has.
    pub(super) fn value(&self) -> Decimal {
        Decimal::from(self.quantity) * self.price
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Document {
    pub(super) number: String,
    /// Of its first line.
    pub(super) time: DateTime<Utc>,
    pub(super) customer: Option<String>,
    pub(super) country: String,
    pub(super) lines: Vec<Line>,
    pub(super) file: usize,
}

impl Document {
    pub(super) fn value(&self) -> Decimal {
        self.lines.iter().map(Line::value).sum()
    }

    pub(super) fn is_cancellation(&self) -> bool {
        self.number.starts_with('C')
    }

    pub(super) fn is_bad_debt(&self) -> bool {
        self.number.starts_with('A')
    }
}

#[derive(Debug, Default)]
pub(crate) struct Documents {
    pub(super) all: Vec<Document>,
    /// The first digits of each file's hash.
    pub(super) files: Vec<String>,
    /// Codes whose spelling had to change to be a SKU: the source's, and ours.
    pub(super) respelt: HashSet<(String, Arc<str>)>,
    by_number: HashMap<String, usize>,
    texts: HashSet<Arc<str>>,
}

impl Documents {
    /// False for a file whose content was read already.
    pub(super) fn begin_file(&mut self, hash: String) -> bool {
        let new = !self.files.contains(&hash);
        if new {
            self.files.push(hash);
        }
        new
    }

    pub(super) fn add(&mut self, line: SourceLine) -> Result<(), Split> {
        let SourceLine { document: number, code, description, quantity, price, time, customer, country } = line;
        let file = self.files.len() - 1;
        let sku = self.text(&codes::sku(&code));
        let kind = codes::kind(&code);
        if *code != *sku {
            self.respelt.insert((code, sku.clone()));
        }
        let line = Line { sku, kind, description: self.text(&description), quantity, price };
        if let Some(&index) = self.by_number.get(&number) {
            let document = &mut self.all[index];
            if document.file != file {
                return Err(Split { number });
            }
            document.lines.push(line);
        } else {
            self.by_number.insert(number.clone(), self.all.len());
            self.all.push(Document { number, time, customer, country, lines: vec![line], file });
        }
        Ok(())
    }

    /// Texts repeat a hundred times over; each is kept once.
    fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return known.clone();
        }
        let new: Arc<str> = text.into();
        self.texts.insert(new.clone());
        new
    }
}
