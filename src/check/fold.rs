//! One pass over the rows: each is handed to the letters that it concerns.

use std::{
    collections::{BTreeMap, HashMap},
    ops::RangeInclusive,
};

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::{
    Options,
    case::{Case, OpenCase, after_the_end},
    effects::{self, Kind},
    facts::{self, Fact, SagaStep},
    findings::{Findings, Invariant, Judge, Note},
    report::{Endings, Report},
    rows::LogRow,
    saga::{Ending, Standing},
    sequence::Sequence,
    stock::Stock,
};

/// A saga may be late by this much against the sagas of later orders before it counts as forgotten.
const OVERTAKEN_AFTER: TimeDelta = TimeDelta::minutes(1);

/// What the log says to be applied at a provider: kind, position and amount by effect key.
pub(super) type Applied = HashMap<String, (Kind, i64, Option<i64>)>;

pub(super) struct Fold {
    settled: bool,
    pub(super) findings: Findings,
    sequence: Sequence,
    stock: Stock,
    cases: HashMap<Uuid, Case>,
    /// Placed orders without a saga, by position.
    unstarted: BTreeMap<i64, (Uuid, DateTime<Utc>)>,
    endings: Endings,
    /// Kept only where the log is compared with the ledgers.
    pub(super) applied: Option<Applied>,
}

impl Fold {
    pub(super) fn new(options: &Options) -> Self {
        let judged: RangeInclusive<i64> = options.from.unwrap_or(1)..=options.to.unwrap_or(i64::MAX);
        Self {
            settled: options.settled,
            findings: Findings::new(judged),
            sequence: Sequence::default(),
            stock: Stock::default(),
            cases: HashMap::new(),
            unstarted: BTreeMap::new(),
            endings: Endings::default(),
            applied: options.ledger.as_ref().map(|_| Applied::new()),
        }
    }

    pub(super) fn apply(&mut self, row: &LogRow) {
        let mut judge = Judge { findings: &mut self.findings, position: row.position };
        self.sequence.apply(row, &mut judge);
        let fact = match Fact::read(row) {
            Ok(fact) => fact,
            Err(what) => return judge.holds(Invariant::Order, false, || what),
        };
        if let Some(order_id) = fact.order_id() {
            self.of_order(order_id, row, &fact);
        } else if let Fact::Received(receipt) = &fact {
            self.stock.receive(receipt, &mut judge);
        } else if let Fact::Adjusted(adjustment) = &fact {
            self.stock.adjust(adjustment, &mut judge);
        }
    }

    fn of_order(&mut self, order_id: Uuid, row: &LogRow, fact: &Fact) {
        let mut judge = Judge { findings: &mut self.findings, position: row.position };
        if let (Some(applied), Some((kind, effect_key))) = (&mut self.applied, effects::applied(fact)) {
            let amount = if let Fact::Payment(_, payment) = fact { payment.amount.as_ref() } else { None };
            let amount = amount.map(|amount| amount.amount_minor);
            applied.entry(effect_key.into()).or_insert((kind, row.position, amount));
        }
        let case = self
            .cases
            .entry(order_id)
            .or_insert_with(|| Case::Open(Box::new(OpenCase::new(row.position, row.recorded_at))));
        let Case::Open(open) = case else { return after_the_end(fact, &mut judge) };
        if !matches!(fact, Fact::Saga(..)) {
            match facts::causation_id(row) {
                Ok(cause) => open.outcome(cause, &row.event_type, &mut judge),
                Err(what) => judge.holds(Invariant::Order, false, || what),
            }
        }
        open.apply(fact, &mut self.stock, &mut judge);
        let since = open.since;
        if let Some(ending) = open.closed() {
            match ending {
                Ending::Completed => self.endings.completed += 1,
                Ending::Unwound => self.endings.unwound += 1,
            }
            *case = Case::Closed;
        }
        if matches!(fact, Fact::Placed(_)) {
            self.unstarted.insert(row.position, (order_id, row.recorded_at));
        } else if matches!(fact, Fact::Saga(SagaStep::Started, _)) {
            self.started(since);
        }
    }

    /// Sagas start in the order of their orders, give or take: one that is long overtaken was forgotten.
    fn started(&mut self, (position, placed_at): (i64, DateTime<Utc>)) {
        self.unstarted.remove(&position);
        while let Some(first) = self.unstarted.first_entry() {
            let (waiting, (order_id, since)) = (*first.key(), *first.get());
            if waiting > position || since + OVERTAKEN_AFTER > placed_at {
                break;
            }
            first.remove();
            self.findings.breach(
                Invariant::Termination,
                waiting,
                format!("order {order_id} has no saga, later ones have"),
            );
        }
    }

    pub(super) fn ends_at(&mut self, last: i64) {
        let mut judge = Judge { findings: &mut self.findings, position: last };
        self.sequence.ends_at(last, &mut judge);
    }

    pub(super) fn note(&mut self, notes: Vec<Note>) {
        for note in notes {
            self.findings.note(note);
        }
    }

    /// Whether everything about the order has ended.
    pub(super) fn is_closed(&self, order_id: Uuid) -> bool {
        matches!(self.cases.get(&order_id), Some(Case::Closed))
    }

    /// `whole`: the log ends here. Elsewhere an append may be cut in two, with a saga between two of its own events.
    pub(super) fn report(mut self, log_id: &str, position: i64, whole: bool) -> Report {
        for (order_id, case) in &self.cases {
            let Case::Open(open) = case else { continue };
            if !open.placed() {
                continue; // found where it happened
            }
            let mut judge = Judge { findings: &mut self.findings, position: 0 };
            open.finish(*order_id, self.settled, whole, &mut judge);
            match open.saga.standing() {
                Standing::NotStarted | Standing::Waiting | Standing::Stuck => self.endings.open += 1,
                Standing::NeedsAttention => self.endings.needs_attention += 1,
                Standing::Ended(Ending::Completed) => self.endings.completed += 1,
                Standing::Ended(Ending::Unwound) => self.endings.unwound += 1,
            }
        }
        Report::new(&self.findings, log_id, position, self.endings)
    }
}
