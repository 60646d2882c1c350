//! Searching orders: by the beginning of anything that names one, by conditions, by time.

use std::ops::Bound;

use serde::{Deserialize, Serialize};
use tantivy::{
    Order, Searcher, Term,
    aggregation::agg_req::Aggregations,
    collector::{
        TopDocs,
        sort_key::{SortByStaticFastValue, SortByString},
    },
    query::{AllQuery, BooleanQuery, Query, RangeQuery},
};

use super::{
    MAX_HITS, OrderHits, OrderSearch, OrderSort,
    indexes::{SearchFailure, Within, stored},
    products::counts,
    query::{All, beginning, behind, collect, plain_words},
};
use crate::{
    Cursor, OrderIndex, OrderStatus,
    order_index::{IndexedOrder, OrderFields},
};

/// Where the next page starts: newest first or not, microseconds, order id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct After(bool, i64, String);

pub(crate) fn search(
    searcher: &Searcher,
    within: &Within<'_, OrderIndex>,
    search: &OrderSearch,
) -> Result<OrderHits, SearchFailure> {
    let schema = within.schema;
    let fields = &schema.fields;
    let matching = conditions(within, search);
    let limit = search.limit.clamp(1, MAX_HITS);
    let newest_first = match search.sort {
        OrderSort::Newest => true,
        OrderSort::Oldest => false,
    };
    let rest = rest(fields, search.after.as_ref(), newest_first)?;
    let direction = if newest_first { Order::Desc } else { Order::Asc };
    let order = (
        (SortByStaticFastValue::<i64>::for_field("placed_at"), direction),
        (SortByString::for_field("order_id"), Order::Asc),
    );
    let top = TopDocs::with_limit(limit + 1).order_by(order);
    let (found, total, statuses) = collect(searcher, &matching, rest, top, status_request())?;
    let next = found.get(limit - 1).filter(|_| found.len() > limit).map(|((placed_at, id), _)| {
        Cursor::of(&After(newest_first, placed_at.unwrap_or(0), id.clone().unwrap_or_default()))
    });
    let summary = |address| stored::<IndexedOrder>(searcher, address, schema.document).map(|order| order.summary);
    let items = found.iter().take(limit).map(|&(_, address)| summary(address)).collect::<Result<_, _>>()?;
    Ok(OrderHits { items, next, total, statuses: counts(&statuses, "statuses") })
}

fn conditions(within: &Within<'_, OrderIndex>, search: &OrderSearch) -> BooleanQuery {
    let fields = &within.schema.fields;
    let mut all = All::default();
    all.scored(AllQuery);
    for word in plain_words(search.text.as_deref().unwrap_or_default()) {
        all.scored(beginning(fields.any, &word, 1.0));
    }
    all.equals(within.schema.log, within.log_id.map(events::LogId::as_str));
    all.equals(fields.customer_id, search.customer_id.as_ref().map(events::CustomerId::as_str));
    all.equals(fields.status, search.status.map(OrderStatus::name));
    all.equals(fields.reference, search.reference.as_deref());
    all.equals(fields.sku, search.sku.as_ref().map(events::Sku::as_str));
    all.equals(fields.location, search.location.as_ref().map(events::LocationId::as_str));
    all.equals(fields.currency, search.currency.map(|currency| currency.code()));
    let micros = |time: chrono::DateTime<chrono::Utc>| time.timestamp_micros();
    let before = search.placed_before.map(micros).map_or(Bound::Unbounded, Bound::Excluded);
    all.range(fields.placed_at, search.placed_from.map(micros), before);
    all.range(fields.total, search.total_min, search.total_max.map_or(Bound::Unbounded, Bound::Included));
    all.flag(fields.needs_attention, search.needs_attention);
    all.build()
}

fn rest(
    fields: &OrderFields,
    after: Option<&Cursor>,
    newest_first: bool,
) -> Result<Option<Box<dyn Query>>, SearchFailure> {
    let Some(cursor) = after else { return Ok(None) };
    let After(same_order, placed_at, id) = cursor.key().map_err(|_| SearchFailure::BadCursor)?;
    if same_order != newest_first {
        return Err(SearchFailure::BadCursor);
    }
    let at = Term::from_field_i64(fields.placed_at, placed_at);
    let here = RangeQuery::new(Bound::Included(at.clone()), Bound::Included(at.clone()));
    let later = if newest_first {
        RangeQuery::new(Bound::Unbounded, Bound::Excluded(at))
    } else {
        RangeQuery::new(Bound::Excluded(at), Bound::Unbounded)
    };
    Ok(Some(Box::new(behind(Box::new(later), Box::new(here), fields.order_id, &id))))
}

fn status_request() -> Aggregations {
    let request = serde_json::json!({ "statuses": { "terms": { "field": "status" } } });
    serde_json::from_value(request).expect("the request above is one that the library knows")
}
