//! Groups lines into documents, in the order of the files.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;

use super::{
    codes::{self, Kind},
    source::SourceLine,
};

/// What all lines may come to together, without their signs: exact in 96 bits, and in pence a 64-bit integer. No sum of some of
/// them can overflow.
const POUNDS_MAX: i64 = 1_000_000_000_000_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) sku: Arc<str>,
    pub(super) kind: Kind,
    pub(super) description: Arc<str>,
    pub(super) quantity: i64,
    pub(super) price: Decimal,
}

impl Line {
    /// Exact: quantity and price are within bounds.
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
    /// By SKU, the source's codes that became it.
    pub(super) codes: BTreeMap<Arc<str>, BTreeSet<String>>,
    /// How often the source says something that a document or a SKU cannot keep, by what it is.
    pub(super) departures: BTreeMap<&'static str, usize>,
    /// Of all lines so far, without their signs.
    pounds: Decimal,
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

    /// Says what is wrong with a line that cannot be taken.
    pub(super) fn add(&mut self, line: SourceLine) -> Result<(), String> {
        let SourceLine { document: number, code, description, quantity, price, time, customer, country } = line;
        let file = self.files.len() - 1;
        let sku = self.text(&codes::sku(&code));
        let kind = codes::kind(&code);
        let line = Line { sku: sku.clone(), kind, description: self.text(&description), quantity, price };
        self.pounds += line.value().abs();
        if self.pounds > POUNDS_MAX.into() {
            return Err(format!("the lines up to here come to more than {POUNDS_MAX} together"));
        }
        let spellings = self.codes.entry(sku).or_default();
        if !spellings.contains(&code) {
            if !spellings.is_empty() {
                *self.departures.entry("stock codes that became the SKU of another code").or_default() += 1;
            }
            spellings.insert(code);
        }
        if let Some(&index) = self.by_number.get(&number) {
            let document = &mut self.all[index];
            if document.file != file {
                // Two halves, or the same twice.
                return Err(format!("document {number} is in more than one file: give each line once"));
            }
            for (differs, what) in [
                (document.customer != customer, "lines with another customer than their document's first"),
                (document.country != country, "lines with another country than their document's first"),
                (document.time != time, "lines with another time than their document's first"),
            ] {
                if differs {
                    *self.departures.entry(what).or_default() += 1;
                }
            }
            document.lines.push(line);
        } else {
            self.by_number.insert(number.clone(), self.all.len());
            self.all.push(Document { number, time, customer, country, lines: vec![line], file });
        }
        Ok(())
    }

    /// Codes whose spelling had to change to be a SKU: each SKU with the source's code.
    pub(super) fn respelt(&self) -> impl Iterator<Item = (&Arc<str>, &str)> {
        let pairs = self.codes.iter().flat_map(|(sku, codes)| codes.iter().map(move |code| (sku, code.as_str())));
        pairs.filter(|(sku, code)| ***sku != **code)
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
