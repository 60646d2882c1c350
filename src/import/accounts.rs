//! Where every document, line and penny of the files went. The parts add up to the files' own totals, exactly.

use std::{
    collections::BTreeMap,
    ops::{AddAssign, SubAssign},
};

use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use rust_decimal::Decimal;
use serde::Serialize;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Share {
    pub(crate) documents: usize,
    pub(crate) lines: usize,
    /// Pounds: the exact sum of quantity times price.
    pub(crate) value: Decimal,
}

impl Share {
    pub(super) fn of(documents: usize, lines: usize, value: Decimal) -> Self {
        Self { documents, lines, value }
    }
}

impl AddAssign for Share {
    fn add_assign(&mut self, other: Self) {
        self.documents += other.documents;
        self.lines += other.lines;
        self.value += other.value;
    }
}

impl SubAssign for Share {
    fn sub_assign(&mut self, other: Self) {
        self.documents -= other.documents;
        self.lines -= other.lines;
        self.value -= other.value;
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Accounts {
    pub(crate) files: usize,
    /// All that the files hold.
    pub(crate) source: Share,
    pub(crate) orders: Share,
    /// What the orders come to in Waybill, in pence: each line rounded half to even.
    pub(crate) gross_minor: i64,
    /// Pounds that rounding took off (or, negative, put on).
    pub(crate) rounding: Decimal,
    pub(crate) write_offs: Share,
    pub(crate) finds: Share,
    /// Not representable yet, or refused, by reason.
    pub(crate) remainders: BTreeMap<String, Share>,
    /// Lines at price 0 inside orders.
    pub(crate) free_lines: usize,
    /// Documents that are longer than an order may be, and became several.
    pub(crate) split: usize,
    pub(crate) goods: usize,
    pub(crate) services: usize,
    /// Codes whose spelling had to change to be a SKU.
    pub(crate) respelt: usize,
    /// What the files say and Waybill does not, though all lines are accounted for: by what it is, how often. A document has the
    /// customer, the country and the time of its first line.
    pub(crate) departures: BTreeMap<&'static str, usize>,
    /// Names without an ISO code, filed under ZZ: so many orders each.
    pub(crate) unknown_countries: BTreeMap<String, u64>,
}

impl Accounts {
    pub(super) fn ordered(&mut self, share: Share, gross_minor: i64) {
        self.orders += share;
        self.gross_minor += gross_minor;
        self.rounding += share.value - pounds(gross_minor);
    }

    pub(super) fn adjusted(&mut self, delta: i64, share: Share) {
        *self.adjustments(delta) += share;
    }

    pub(super) fn remain(&mut self, reason: &str, share: Share) {
        *self.remainders.entry(reason.into()).or_default() += share;
    }

    /// An order that was planned and then refused.
    pub(super) fn order_refused(&mut self, reason: &str, share: Share, gross_minor: i64) {
        self.orders -= share;
        self.gross_minor -= gross_minor;
        self.rounding -= share.value - pounds(gross_minor);
        self.remain(reason, share);
    }

    pub(super) fn adjustment_refused(&mut self, reason: &str, delta: i64, share: Share) {
        *self.adjustments(delta) -= share;
        self.remain(reason, share);
    }

    fn adjustments(&mut self, delta: i64) -> &mut Share {
        if delta < 0 { &mut self.write_offs } else { &mut self.finds }
    }

    /// The sum of the parts, with the value as it stands in Waybill and the rounding beside it.
    fn parts(&self) -> Share {
        let mut sum = Share { value: pounds(self.gross_minor) + self.rounding, ..self.orders };
        sum += self.write_offs;
        sum += self.finds;
        self.remainders.values().for_each(|share| sum += *share);
        sum
    }

    /// Whether documents, lines and value of the parts are those of the files.
    pub(crate) fn balance(&self) -> bool {
        self.parts() == self.source
    }

    pub(crate) fn to_table(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED).set_header(["", "documents", "lines", "GBP"]);
        let mut row = |what: &str, share: Share| {
            table.add_row([what, &share.documents.to_string(), &share.lines.to_string(), &share.value.to_string()]);
        };
        row("in the files", self.source);
        row("orders", Share { value: pounds(self.gross_minor), ..self.orders });
        row("stock written off", self.write_offs);
        row("stock found", self.finds);
        for (reason, share) in &self.remainders {
            row(&format!("not in Waybill: {reason}"), *share);
        }
        row("rounding of line totals, half to even", Share { value: self.rounding, ..Share::default() });
        row("together", self.parts());
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let verdict = if self.balance() { "the totals agree, to the minor unit" } else { "THE TOTALS DISAGREE" };
        let Self { goods, services, free_lines, split, respelt, .. } = self;
        let unknown = self
            .unknown_countries
            .iter()
            .map(|(name, orders)| format!("; {orders} orders to {name:?}, filed under ZZ"));
        let departures = self.departures.iter().map(|(what, count)| format!("\nnot kept: {count} {what}"));
        format!(
            "{table}\n{verdict}; {goods} articles and {services} services; {free_lines} free lines in orders; \
             {split} documents split into several orders; {respelt} codes respelt{}{}",
            unknown.collect::<String>(),
            departures.collect::<String>()
        )
    }
}

pub(super) fn pounds(minor: i64) -> Decimal {
    Decimal::new(minor, 2)
}
