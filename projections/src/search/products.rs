//! Searching products: words with forgiven typing errors, conditions, order, counts.

use std::ops::Bound;

use serde::{Deserialize, Serialize};
use tantivy::{
    DocAddress, Order, Searcher, Term,
    aggregation::{
        agg_req::Aggregations,
        agg_result::{AggregationResult, AggregationResults, BucketEntries, BucketResult},
    },
    collector::{
        TopDocs,
        sort_key::{SortBySimilarityScore, SortByStaticFastValue, SortByString},
    },
    query::{BooleanQuery, Query, RangeQuery},
};

use super::{
    FacetCount, MAX_HITS, ProductFacets, ProductHit, ProductHits, ProductSearch, ProductSort,
    indexes::{SearchFailure, Within, stored},
    query::{All, any_of, beginning, behind, collect, exact, similar, term, words},
};
use crate::{
    Cursor, ProductIndex,
    index_folder::IndexSchema,
    product_index::{IndexedProduct, ProductFields, kind_name},
};

/// How deep one may page by relevance: behind this nobody looks, and a rank is not a stable place.
const MAX_RANK: usize = 1_000;

/// Where the next page starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum After {
    Rank(usize),
    Name(String, String),
    /// Ascending or not, price, SKU.
    Price(bool, i64, String),
}

/// A page with one hit more where there are more, and what all that match amount to.
struct Found {
    hits: Vec<(After, DocAddress)>,
    total: usize,
    counts: AggregationResults,
}

/// What one search works on.
struct Search<'a> {
    searcher: &'a Searcher,
    fields: &'a ProductFields,
    matching: BooleanQuery,
    after: Option<After>,
    limit: usize,
}

pub(crate) fn search(
    searcher: &Searcher,
    within: &Within<'_, ProductIndex>,
    search: &ProductSearch,
) -> Result<ProductHits, SearchFailure> {
    let schema = within.schema;
    let text = search.text.as_deref().map(str::trim).filter(|text| !text.is_empty());
    let (fields, limit) = (&schema.fields, search.limit.clamp(1, MAX_HITS));
    let matching = conditions(within, search, text);
    let after = search.after.as_ref().map(Cursor::key::<After>).transpose().map_err(|_| SearchFailure::BadCursor)?;
    let parts = Search { searcher, fields, matching, after, limit };
    let Found { hits, total, counts } = match (search.sort, text) {
        (ProductSort::Relevance, Some(_)) => parts.by_rank()?,
        (ProductSort::Relevance, None) | (ProductSort::Name, _) => parts.by_name()?,
        (ProductSort::PriceAscending, _) => parts.by_price(true)?,
        (ProductSort::PriceDescending, _) => parts.by_price(false)?,
    };
    let next = hits.get(limit - 1).filter(|_| hits.len() > limit).map(|(after, _)| Cursor::of(after));
    let items =
        hits.iter().take(limit).map(|&(_, address)| hit(searcher, schema, address)).collect::<Result<_, _>>()?;
    Ok(ProductHits { items, next, total, facets: facets_of(&counts) })
}

fn conditions(within: &Within<'_, ProductIndex>, search: &ProductSearch, text: Option<&str>) -> BooleanQuery {
    let fields = &within.schema.fields;
    let mut all = All::default();
    match text {
        Some(text) => all.scored(text_query(fields, text)),
        // What is kept and not sold has no fields to be found by.
        None => {
            all.filter(RangeQuery::new(Bound::Included(Term::from_field_u64(fields.in_stock, 0)), Bound::Unbounded))
        }
    }
    all.equals(within.schema.log, within.log_id.map(events::LogId::as_str));
    all.equals(fields.category, search.category.as_deref());
    all.equals(fields.kind, search.kind.map(kind_name));
    all.equals(fields.currency, search.currency.map(|currency| currency.code()));
    all.range(fields.price, search.price_min, search.price_max.map_or(Bound::Unbounded, Bound::Included));
    all.flag(fields.in_stock, search.in_stock);
    all.build()
}

/// Every word somewhere, or the whole text as a SKU.
fn text_query(fields: &ProductFields, text: &str) -> BooleanQuery {
    let words = words(text);
    let last = words.len().saturating_sub(1);
    let by_words =
        words.iter().enumerate().map(|(index, word)| word_query(fields, word, index == last)).collect::<Vec<_>>();
    let sku = text.to_lowercase();
    let mut either = exact(fields.sku_text, &sku, 20.0);
    either.push(beginning(fields.sku_text, &sku, 5.0));
    if !by_words.is_empty() {
        either.push(Box::new(BooleanQuery::intersection(by_words)));
    }
    any_of(either)
}

/// One word, anywhere: as it is, similar, or the beginning of one while it is still being typed.
fn word_query(fields: &ProductFields, word: &str, unfinished: bool) -> Box<dyn Query> {
    let mut ways = Vec::new();
    for (field, weight) in [(fields.name, 2.0), (fields.description, 0.5)] {
        ways.extend(exact(field, word, weight));
        ways.extend(similar(field, word, weight));
        if unfinished {
            ways.push(beginning(field, word, weight));
        }
    }
    Box::new(any_of(ways))
}

impl Search<'_> {
    fn by_rank(self) -> Result<Found, SearchFailure> {
        let skip = match self.after {
            None => 0,
            Some(After::Rank(rank)) if rank < MAX_RANK => rank,
            Some(After::Rank(_) | After::Name(..) | After::Price(..)) => return Err(SearchFailure::BadCursor),
        };
        let order = ((SortBySimilarityScore, Order::Desc), (SortByString::for_field("sku"), Order::Asc));
        // The last page ends at the bound, and has no hit more that would make a next one.
        let limit = (self.limit + 1).min(MAX_RANK - skip);
        let top = TopDocs::with_limit(limit).and_offset(skip).order_by(order);
        let (found, total, counts) = collect(self.searcher, &self.matching, None, top, facet_request())?;
        let hits = found
            .into_iter()
            .enumerate()
            .map(|(index, (_, address))| (After::Rank(skip + index + 1), address))
            .collect();
        Ok(Found { hits, total, counts })
    }

    fn by_name(self) -> Result<Found, SearchFailure> {
        let (fields, limit) = (self.fields, self.limit);
        let rest: Option<Box<dyn Query>> = match self.after {
            None => None,
            Some(After::Name(name, sku)) => {
                let bound = Bound::Excluded(Term::from_field_text(fields.name_order, &name));
                let later = Box::new(RangeQuery::new(bound, Bound::Unbounded));
                Some(Box::new(behind(later, Box::new(term(fields.name_order, &name)), fields.sku, &sku)))
            }
            Some(After::Rank(_) | After::Price(..)) => return Err(SearchFailure::BadCursor),
        };
        let order = ((SortByString::for_field("name_order"), Order::Asc), (SortByString::for_field("sku"), Order::Asc));
        let top = TopDocs::with_limit(limit + 1).order_by(order);
        let (found, total, counts) = collect(self.searcher, &self.matching, rest, top, facet_request())?;
        let after =
            |name: Option<String>, sku: Option<String>| After::Name(name.unwrap_or_default(), sku.unwrap_or_default());
        let hits = found.into_iter().map(|((name, sku), address)| (after(name, sku), address)).collect();
        Ok(Found { hits, total, counts })
    }

    fn by_price(self, ascending: bool) -> Result<Found, SearchFailure> {
        let (fields, limit) = (self.fields, self.limit);
        let rest: Option<Box<dyn Query>> = match self.after {
            None => None,
            Some(After::Price(same_order, price, sku)) if same_order == ascending => {
                let price = Term::from_field_i64(fields.price, price);
                let here = Box::new(RangeQuery::new(Bound::Included(price.clone()), Bound::Included(price.clone())));
                let later = if ascending {
                    RangeQuery::new(Bound::Excluded(price), Bound::Unbounded)
                } else {
                    RangeQuery::new(Bound::Unbounded, Bound::Excluded(price))
                };
                Some(Box::new(behind(Box::new(later), here, fields.sku, &sku)))
            }
            Some(After::Rank(_) | After::Name(..) | After::Price(..)) => return Err(SearchFailure::BadCursor),
        };
        let direction = if ascending { Order::Asc } else { Order::Desc };
        let price = SortByStaticFastValue::<i64>::for_field("price");
        let order = ((price, direction), (SortByString::for_field("sku"), Order::Asc));
        let top = TopDocs::with_limit(limit + 1).order_by(order);
        let (found, total, counts) = collect(self.searcher, &self.matching, rest, top, facet_request())?;
        let after = |price: Option<i64>, sku: Option<String>| {
            After::Price(ascending, price.unwrap_or(0), sku.unwrap_or_default())
        };
        let hits = found.into_iter().map(|((price, sku), address)| (after(price, sku), address)).collect();
        Ok(Found { hits, total, counts })
    }
}

fn hit(
    searcher: &Searcher,
    schema: &IndexSchema<ProductIndex>,
    address: DocAddress,
) -> Result<ProductHit, SearchFailure> {
    let indexed: IndexedProduct = stored(searcher, address, schema.document)?;
    let in_stock = indexed.in_stock();
    let product =
        indexed.product.ok_or_else(|| SearchFailure::Document(serde::de::Error::custom("a hit without a product")))?;
    Ok(ProductHit {
        sku: product.sku,
        kind: product.kind,
        name: product.name,
        description: product.description,
        categories: product.categories,
        price: product.price,
        in_stock,
    })
}

fn facet_request() -> Aggregations {
    let request = serde_json::json!({
        "categories": { "terms": { "field": "category", "size": 50, "order": { "_count": "desc" } } },
        "kinds": { "terms": { "field": "kind" } },
        "prices": { "range": { "field": "price", "ranges": [
            { "key": "0-999", "to": 1000.0 },
            { "key": "1000-2499", "from": 1000.0, "to": 2500.0 },
            { "key": "2500-4999", "from": 2500.0, "to": 5000.0 },
            { "key": "5000-9999", "from": 5000.0, "to": 10000.0 },
            { "key": "10000-", "from": 10000.0 },
        ] } },
        "in_stock": { "terms": { "field": "in_stock" } },
    });
    serde_json::from_value(request).expect("the request above is one that the library knows")
}

fn facets_of(results: &AggregationResults) -> ProductFacets {
    let truth = |mut counts: Vec<FacetCount>| {
        for count in &mut counts {
            count.value = if count.value == "1" { "true".into() } else { "false".into() };
        }
        counts
    };
    ProductFacets {
        categories: counts(results, "categories"),
        kinds: counts(results, "kinds"),
        prices: counts(results, "prices"),
        in_stock: truth(counts(results, "in_stock")),
    }
}

/// The counts of one aggregation, without the empty ones.
pub(crate) fn counts(results: &AggregationResults, name: &str) -> Vec<FacetCount> {
    let counted = |key: String, count: u64| (count > 0).then_some(FacetCount { value: key, count });
    match results.0.get(name) {
        Some(AggregationResult::BucketResult(BucketResult::Terms { buckets, .. })) => {
            buckets.iter().filter_map(|bucket| counted(bucket.key.to_string(), bucket.doc_count)).collect()
        }
        Some(AggregationResult::BucketResult(BucketResult::Range { buckets: BucketEntries::Vec(buckets) })) => {
            buckets.iter().filter_map(|bucket| counted(bucket.key.to_string(), bucket.doc_count)).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use events::{Currency, Money, Position, product::ProductKind};
    use tantivy::{Index, TantivyDocument};

    use super::*;
    use crate::{ProductDocument, model::SearchModel, search::query::register};

    fn mug(number: usize) -> IndexedProduct {
        let product = ProductDocument {
            sku: format!("mug-{number}").parse().expect("a SKU"),
            kind: ProductKind::Goods,
            name: "Mug".into(),
            description: String::new(),
            categories: Vec::new(),
            attributes: Default::default(),
            price: Money::new(100, Currency::GBP),
            listed: true,
            listed_at: DateTime::UNIX_EPOCH,
            updated_at: DateTime::UNIX_EPOCH,
            version: 1,
            position: Position(1),
        };
        IndexedProduct { product: Some(product), available: 1 }
    }

    #[test]
    fn pages_by_relevance_end_at_the_bound_and_every_cursor_leads_on() {
        let schema = IndexSchema::<ProductIndex>::new();
        let index = Index::create_in_ram(schema.schema.clone());
        register(&index);
        let mut writer = index.writer_with_num_threads(1, 20_000_000).expect("memory");
        for number in 0..MAX_RANK + 10 {
            let (product, mut document) = (mug(number), TantivyDocument::default());
            document.add_bytes(schema.document, &serde_json::to_vec(&product).expect("plain data"));
            ProductIndex::fill(&schema.fields, &product, &mut document);
            writer.add_document(document).expect("memory");
        }
        writer.commit().expect("memory");
        let searcher = index.reader().expect("memory").searcher();
        // One page ends at the bound, the other would reach beyond it.
        for limit in [100, 99] {
            let mut wanted = ProductSearch { text: Some("mug".into()), limit, ..ProductSearch::default() };
            let mut found = 0;
            loop {
                let within = Within { schema: &schema, log_id: None };
                let Ok(page) = search(&searcher, &within, &wanted) else { panic!("no page behind {found} hits") };
                found += page.items.len();
                wanted.after = page.next;
                if wanted.after.is_none() {
                    break;
                }
            }
            assert_eq!(found, MAX_RANK, "pages of {limit}");
        }
    }
}
