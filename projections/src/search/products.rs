//! Searching products: words with forgiven typing errors, conditions, order, counts.

use std::ops::Bound;

use serde::{Deserialize, Serialize};
use tantivy::{
    Order, Searcher, Term,
    aggregation::{
        AggContextParams, AggregationCollector,
        agg_req::Aggregations,
        agg_result::{AggregationResult, AggregationResults, BucketEntries, BucketResult},
    },
    collector::{
        Count, TopDocs,
        sort_key::{SortBySimilarityScore, SortByStaticFastValue, SortByString},
    },
    query::{AllQuery, BooleanQuery, Query, RangeQuery},
};

use super::{
    FacetCount, MAX_HITS, ProductFacets, ProductHit, ProductHits, ProductSearch, ProductSort,
    indexes::{SearchFailure, stored},
    query::{All, any_of, beginning, behind, exact, similar, term, words},
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

type Hit = (After, tantivy::DocAddress);

pub(crate) fn search(
    searcher: &Searcher,
    schema: &IndexSchema<ProductIndex>,
    search: &ProductSearch,
) -> Result<ProductHits, SearchFailure> {
    let fields = &schema.fields;
    let matching = conditions(fields, search);
    let limit = search.limit.clamp(1, MAX_HITS);
    let after = search.after.as_ref().map(Cursor::key::<After>).transpose().map_err(|_| SearchFailure::BadCursor)?;
    let has_text = search.text.as_deref().is_some_and(|text| !text.trim().is_empty());
    let hits = match (search.sort, has_text) {
        (ProductSort::Relevance, true) => by_rank(searcher, &matching, after, limit)?,
        (ProductSort::Relevance, false) | (ProductSort::Name, _) => by_name(searcher, fields, &matching, after, limit)?,
        (ProductSort::PriceAscending, _) => by_price(searcher, fields, &matching, after, limit, true)?,
        (ProductSort::PriceDescending, _) => by_price(searcher, fields, &matching, after, limit, false)?,
    };
    let next = hits.get(limit - 1).filter(|_| hits.len() > limit).map(|(after, _)| Cursor::of(after));
    let items =
        hits.iter().take(limit).map(|&(_, address)| hit(searcher, schema, address)).collect::<Result<_, _>>()?;
    let facets = AggregationCollector::from_aggs(facet_request(), AggContextParams::default());
    let (total, facets) = searcher.search(&matching, &(Count, facets))?;
    Ok(ProductHits { items, next, total, facets: facets_of(&facets) })
}

fn conditions(fields: &ProductFields, search: &ProductSearch) -> BooleanQuery {
    let mut all = All::default();
    // Unlisted articles have no SKU to be found by.
    all.filter(RangeQuery::new(Bound::Included(Term::from_field_u64(fields.in_stock, 0)), Bound::Unbounded));
    if let Some(text) = search.text.as_deref() {
        let sku = text.trim().to_lowercase();
        let words = words(text);
        let last = words.len().saturating_sub(1);
        let by_words = words
            .iter()
            .enumerate()
            .map(|(index, word)| (tantivy::query::Occur::Must, word_query(fields, word, index == last)));
        let by_words: Box<dyn Query> =
            if words.is_empty() { Box::new(AllQuery) } else { Box::new(BooleanQuery::new(by_words.collect())) };
        let mut either = vec![by_words];
        if !sku.is_empty() {
            either.extend(exact(fields.sku_text, &sku, 20.0));
            either.push(beginning(fields.sku_text, &sku, 5.0));
        }
        all.scored(any_of(either));
    }
    all.equals(fields.category, search.category.as_deref());
    all.equals(fields.kind, search.kind.map(kind_name));
    all.equals(fields.currency, search.currency.map(|currency| currency.code()));
    all.range(fields.price, search.price_min, search.price_max.map_or(Bound::Unbounded, Bound::Included));
    all.flag(fields.in_stock, search.in_stock);
    all.build()
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

fn by_rank(
    searcher: &Searcher,
    matching: &BooleanQuery,
    after: Option<After>,
    limit: usize,
) -> Result<Vec<Hit>, SearchFailure> {
    let skip = match after {
        None => 0,
        Some(After::Rank(rank)) if rank < MAX_RANK => rank,
        Some(After::Rank(_) | After::Name(..) | After::Price(..)) => return Err(SearchFailure::BadCursor),
    };
    let order = ((SortBySimilarityScore, Order::Desc), (SortByString::for_field("sku"), Order::Asc));
    let found = searcher.search(matching, &TopDocs::with_limit(limit + 1).and_offset(skip).order_by(order))?;
    Ok(found.into_iter().enumerate().map(|(index, (_, address))| (After::Rank(skip + index + 1), address)).collect())
}

fn by_name(
    searcher: &Searcher,
    fields: &ProductFields,
    matching: &BooleanQuery,
    after: Option<After>,
    limit: usize,
) -> Result<Vec<Hit>, SearchFailure> {
    let rest: Box<dyn Query> = match after {
        None => Box::new(AllQuery),
        Some(After::Name(name, sku)) => {
            let bound = Bound::Excluded(Term::from_field_text(fields.name_order, &name));
            let later = Box::new(RangeQuery::new(bound, Bound::Unbounded));
            Box::new(behind(later, Box::new(term(fields.name_order, &name)), fields.sku, &sku))
        }
        Some(After::Rank(_) | After::Price(..)) => return Err(SearchFailure::BadCursor),
    };
    let query = BooleanQuery::intersection(vec![Box::new(matching.clone()), rest]);
    let order = ((SortByString::for_field("name_order"), Order::Asc), (SortByString::for_field("sku"), Order::Asc));
    let found = searcher.search(&query, &TopDocs::with_limit(limit + 1).order_by(order))?;
    let after =
        |name: Option<String>, sku: Option<String>| After::Name(name.unwrap_or_default(), sku.unwrap_or_default());
    Ok(found.into_iter().map(|((name, sku), address)| (after(name, sku), address)).collect())
}

fn by_price(
    searcher: &Searcher,
    fields: &ProductFields,
    matching: &BooleanQuery,
    after: Option<After>,
    limit: usize,
    ascending: bool,
) -> Result<Vec<Hit>, SearchFailure> {
    let rest: Box<dyn Query> = match after {
        None => Box::new(AllQuery),
        Some(After::Price(same_order, price, sku)) if same_order == ascending => {
            let price = Term::from_field_i64(fields.price, price);
            let here = Box::new(RangeQuery::new(Bound::Included(price.clone()), Bound::Included(price.clone())));
            let later = if ascending {
                RangeQuery::new(Bound::Excluded(price), Bound::Unbounded)
            } else {
                RangeQuery::new(Bound::Unbounded, Bound::Excluded(price))
            };
            Box::new(behind(Box::new(later), here, fields.sku, &sku))
        }
        Some(After::Rank(_) | After::Name(..) | After::Price(..)) => return Err(SearchFailure::BadCursor),
    };
    let query = BooleanQuery::intersection(vec![Box::new(matching.clone()), rest]);
    let direction = if ascending { Order::Asc } else { Order::Desc };
    let order =
        ((SortByStaticFastValue::<i64>::for_field("price"), direction), (SortByString::for_field("sku"), Order::Asc));
    let found = searcher.search(&query, &TopDocs::with_limit(limit + 1).order_by(order))?;
    let after =
        |price: Option<i64>, sku: Option<String>| After::Price(ascending, price.unwrap_or(0), sku.unwrap_or_default());
    Ok(found.into_iter().map(|((price, sku), address)| (after(price, sku), address)).collect())
}

fn hit(
    searcher: &Searcher,
    schema: &IndexSchema<ProductIndex>,
    address: tantivy::DocAddress,
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
