//! Building blocks of queries: how text becomes words, and conditions on fields.

use std::ops::Bound;

use tantivy::{
    Index, Searcher, Term,
    aggregation::{AggContextParams, AggregationCollector, agg_req::Aggregations, agg_result::AggregationResults},
    collector::{Collector, Count},
    query::{BooleanQuery, BoostQuery, ConstScoreQuery, FuzzyTermQuery, Occur, Query, RangeQuery, TermQuery},
    schema::{Field, IndexRecordOption, TextFieldIndexing, TextOptions},
    tokenizer::{AsciiFoldingFilter, LowerCaser, RemoveLongFilter, SimpleTokenizer, TextAnalyzer, TokenStream},
};

/// Words of letters and digits, lower case, without accents. No stems: typing errors and unfinished words are found by distance.
pub(crate) const ANALYZER: &str = "waybill_words";

/// More words than this narrow a search no further.
const MAX_WORDS: usize = 16;

/// A word that is there as it was typed counts more than any number of similar ones.
const EXACT: f32 = 10.0;
const BEGINNING: f32 = 3.0;
const SIMILAR: f32 = 1.0;

pub(crate) fn analyzer() -> TextAnalyzer {
    TextAnalyzer::builder(SimpleTokenizer::default())
        .filter(RemoveLongFilter::limit(40))
        .filter(LowerCaser)
        .filter(AsciiFoldingFilter)
        .build()
}

pub(crate) fn register(index: &Index) {
    index.tokenizers().register(ANALYZER, analyzer());
}

/// A text kept whole: to be matched exactly, sorted by and counted.
pub(crate) fn raw() -> TextOptions {
    let whole = TextFieldIndexing::default()
        .set_tokenizer("raw")
        .set_index_option(IndexRecordOption::Basic)
        .set_fieldnorms(false);
    TextOptions::default().set_fast("raw").set_indexing_options(whole)
}

pub(crate) fn words(text: &str) -> Vec<String> {
    let mut analyzer = analyzer();
    let mut stream = analyzer.token_stream(text);
    let mut words = Vec::new();
    while words.len() < MAX_WORDS && stream.advance() {
        words.push(stream.token().text.clone());
    }
    words
}

/// Words as the user separates them, lower case: ids and SKUs hold dashes and dots.
pub(crate) fn plain_words(text: &str) -> Vec<String> {
    text.split_whitespace().take(MAX_WORDS).map(str::to_lowercase).collect()
}

/// Conditions that all must hold; those that do not score come as filters.
#[derive(Default)]
pub(crate) struct All(Vec<(Occur, Box<dyn Query>)>);

impl All {
    pub(crate) fn scored(&mut self, query: impl Query) {
        self.0.push((Occur::Must, Box::new(query)));
    }

    pub(crate) fn filter(&mut self, query: impl Query) {
        self.0.push((Occur::Must, Box::new(BoostQuery::new(Box::new(query), 0.0))));
    }

    pub(crate) fn equals(&mut self, field: Field, value: Option<&str>) {
        if let Some(value) = value {
            self.filter(term(field, value));
        }
    }

    pub(crate) fn flag(&mut self, field: Field, value: Option<bool>) {
        if let Some(value) = value {
            self.filter(TermQuery::new(Term::from_field_u64(field, value.into()), IndexRecordOption::Basic));
        }
    }

    /// `from` is included, `to` as the bound says.
    pub(crate) fn range(&mut self, field: Field, from: Option<i64>, to: Bound<i64>) {
        if from.is_none() && matches!(to, Bound::Unbounded) {
            return;
        }
        let bound = |value| Term::from_field_i64(field, value);
        self.filter(RangeQuery::new(from.map_or(Bound::Unbounded, |from| Bound::Included(bound(from))), to.map(bound)));
    }

    pub(crate) fn build(self) -> BooleanQuery {
        BooleanQuery::new(self.0)
    }
}

/// The hits of one page, with the number and the counts of all that match: in one pass where the page is the first.
pub(crate) fn collect<C: Collector>(
    searcher: &Searcher,
    matching: &BooleanQuery,
    rest: Option<Box<dyn Query>>,
    top: C,
    counted: Aggregations,
) -> tantivy::Result<(C::Fruit, usize, AggregationResults)> {
    let counted = AggregationCollector::from_aggs(counted, AggContextParams::default());
    match rest {
        None => searcher.search(matching, &(top, Count, counted)),
        Some(rest) => {
            let hits = searcher.search(&BooleanQuery::intersection(vec![Box::new(matching.clone()), rest]), &top)?;
            let (total, counts) = searcher.search(matching, &(Count, counted))?;
            Ok((hits, total, counts))
        }
    }
}

pub(crate) fn term(field: Field, text: &str) -> TermQuery {
    TermQuery::new(Term::from_field_text(field, text), IndexRecordOption::Basic)
}

pub(crate) fn any_of(queries: Vec<Box<dyn Query>>) -> BooleanQuery {
    BooleanQuery::union(queries)
}

/// The word as it is, weighed by how rare it is, above everything that is only similar.
pub(crate) fn exact(field: Field, word: &str, weight: f32) -> Vec<Box<dyn Query>> {
    let rarity = TermQuery::new(Term::from_field_text(field, word), IndexRecordOption::WithFreqs);
    vec![
        Box::new(ConstScoreQuery::new(Box::new(term(field, word)), EXACT * weight)),
        Box::new(BoostQuery::new(Box::new(rarity), weight)),
    ]
}

/// A word with a typing error or two: one in four letters or more, two in eight or more; a swap counts as one.
pub(crate) fn similar(field: Field, word: &str, weight: f32) -> Option<Box<dyn Query>> {
    let distance = match word.chars().count() {
        0..4 => return None,
        4..8 => 1,
        _ => 2,
    };
    let fuzzy = FuzzyTermQuery::new(Term::from_field_text(field, word), distance, true);
    Some(Box::new(ConstScoreQuery::new(Box::new(fuzzy), SIMILAR * weight)))
}

/// Words that begin so.
pub(crate) fn beginning(field: Field, word: &str, weight: f32) -> Box<dyn Query> {
    let prefix = FuzzyTermQuery::new_prefix(Term::from_field_text(field, word), 0, false);
    Box::new(ConstScoreQuery::new(Box::new(prefix), BEGINNING * weight))
}

/// What stands behind (key, id) in a list sorted by both: a later key, or the same key and a later id.
pub(crate) fn behind(later: Box<dyn Query>, same: Box<dyn Query>, id: Field, last_id: &str) -> BooleanQuery {
    let later_id = RangeQuery::new(Bound::Excluded(Term::from_field_text(id, last_id)), Bound::Unbounded);
    let same_key = BooleanQuery::intersection(vec![same, Box::new(later_id)]);
    any_of(vec![later, Box::new(same_key)])
}
