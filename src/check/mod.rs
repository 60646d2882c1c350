//! `waybill check`: recomputes the invariants of the log with code of its own and names the first event that breaks one.
//!
//! Shares no type and no fold with the product, so that it cannot inherit its mistakes: raw rows, raw JSON, plain arithmetic.
//! One pass in position order; what it remembers grows with what is open (and by a few bytes for each stream and closed order).
//! To judge a new event: a line in `facts.rs`, then its meaning in the letter's file.

mod case;
mod effects;
mod facts;
mod findings;
mod fold;
mod ledger;
mod money;
mod report;
mod rows;
mod saga;
mod sequence;
mod stock;
#[cfg(test)]
mod tests;
mod views;

use sqlx::PgPool;

pub(crate) use report::Report;
pub(crate) use views::ViewsAt;

use fold::Fold;

/// Rows read at a time: a few megabytes.
const PAGE_ROWS: i64 = 5_000;

#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    #[error("cannot {doing}")]
    Postgres { doing: &'static str, source: sqlx::Error },
    #[error("the log ends at {head}: there is nothing from {from} to {to}")]
    Range { from: i64, to: i64, head: i64 },
    #[error("cannot read the read models in Redis at {url}; --log-only leaves them out")]
    Redis { url: String, source: redis::RedisError },
    #[error("cannot read the ledger at {url}")]
    Ledger { url: String, source: reqwest::Error },
    #[error("the ledger at {url} has a line that is no entry: {line}")]
    LedgerLine { url: String, line: String, source: serde_json::Error },
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// Judge from this position on. The fold always begins with the first event.
    pub(crate) from: Option<i64>,
    /// Fold up to this position and no further.
    pub(crate) to: Option<i64>,
    /// Nothing may be open any more: a saga that still waits is a breach, even with a deadline.
    pub(crate) settled: bool,
    /// Base URL of the simulator whose ledgers are compared with the log. Keeps every effect key in memory.
    pub(crate) ledger: Option<String>,
    /// The read models that are compared with the log; none are not.
    pub(crate) views: Option<ViewsAt>,
}

/// Folds the log up to its present head. `progress` hears the position reached and the last one.
pub(crate) async fn check(
    pool: &PgPool,
    options: &Options,
    mut progress: impl FnMut(u64, u64),
) -> Result<Report, CheckError> {
    let head = rows::head(pool).await?;
    let (from, last) = (options.from.unwrap_or(0), options.to.unwrap_or(head.position));
    if from > last || last > head.position {
        return Err(CheckError::Range { from, to: last, head: head.position });
    }
    let mut fold = Fold::new(options);
    let mut after = 0;
    while after < last {
        let page = rows::page(pool, after, last, PAGE_ROWS).await?;
        let Some(end) = page.last().map(|row| row.position) else { break };
        for row in &page {
            fold.apply(row);
        }
        after = end;
        progress(count(after), count(last));
    }
    fold.ends_at(last);
    // The tables beside the log know only the present.
    if options.from.is_none() && options.to.is_none() {
        fold.note(rows::beside_the_log(pool).await?);
        if let Some(at) = &options.views {
            fold.note(views::compare(pool, at).await?);
        }
    }
    if let Some(base_url) = &options.ledger {
        ledger::compare(base_url, &mut fold).await?;
    }
    Ok(fold.report(&head.log_id, last, last == head.position))
}

fn count(position: i64) -> u64 {
    u64::try_from(position).unwrap_or(0)
}
