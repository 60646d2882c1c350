//! The catalogue that the lines imply: a product for each code.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use events::{Currency, Money};
use rust_decimal::Decimal;

use super::{
    codes,
    documents::{Documents, Line},
    plan::pence,
};
use crate::shop::ProductBody;

/// What the lines tell about one code.
#[derive(Debug)]
struct Seen {
    kind: codes::Kind,
    /// How often each description stands beside a price, and the line where it last did. Without a price it is a remark: "damaged".
    names: HashMap<Arc<str>, (bool, u64, usize)>,
    price: Option<Decimal>,
}

/// A product for each code: the name that is most frequent (of equals the last), the first positive price as the list price.
pub(super) fn products(documents: &Documents) -> Vec<ProductBody> {
    let mut seen: BTreeMap<Arc<str>, Seen> = BTreeMap::new();
    let lines = documents.all.iter().flat_map(|document| &document.lines);
    for (number, line) in lines.enumerate() {
        let Line { sku, kind, description, price, .. } = line;
        let entry = seen.entry(sku.clone()).or_insert_with(|| Seen { kind: *kind, names: HashMap::new(), price: None });
        let priced = *price > Decimal::ZERO;
        if priced && entry.price.is_none() {
            entry.price = Some(*price);
        }
        if !description.is_empty() {
            let name = entry.names.entry(description.clone()).or_default();
            *name = (name.0 || priced, name.1 + 1, number);
        }
    }
    let codes: HashMap<&Arc<str>, &str> = documents.respelt().collect();
    seen.into_iter().map(|(sku, seen)| product(&sku, seen, codes.get(&sku).copied())).collect()
}

fn product(sku: &Arc<str>, seen: Seen, code: Option<&str>) -> ProductBody {
    let best = seen.names.into_iter().max_by_key(|(_, rank)| *rank);
    let name = best.map_or_else(|| sku.to_string(), |(name, _)| name.chars().take(200).collect());
    let mut attributes = BTreeMap::new();
    if let Some(code) = code {
        attributes.insert("source_code".into(), code.into());
    }
    if let Some(reason) = codes::service_reason(code.unwrap_or(sku)) {
        attributes.insert("service".into(), reason.into());
    }
    let category = match seen.kind {
        codes::Kind::Goods => "Giftware",
        codes::Kind::Service => "Services",
    };
    ProductBody {
        sku: sku.to_string(),
        kind: seen.kind,
        name,
        description: String::new(),
        categories: vec![category.into()],
        attributes,
        price: Money::new(seen.price.and_then(pence).unwrap_or(0), Currency::GBP),
    }
}
