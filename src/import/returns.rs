//! Why a cancellation document is not representable yet: replayed in time order against what its customer had bought.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{codes::Kind, documents::Document};

/// One reason for each document, so that the documents add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Remainder {
    CancelsWholeOrder,
    ReturnsPart,
    ReturnsMoreThanBought,
    ReturnsUnbought,
    WithoutCustomer,
    Credit,
    BadDebt,
    ServiceWithoutPrice,
    NotAnOrder,
}

impl Remainder {
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::CancelsWholeOrder => "cancels a whole earlier order",
            Self::ReturnsPart => "returns part of earlier orders",
            Self::ReturnsMoreThanBought => "returns more than was bought in these files",
            Self::ReturnsUnbought => "returns something not bought in these files",
            Self::WithoutCustomer => "returns or credits without a customer",
            Self::Credit => "discount, manual, postage or fee credit",
            Self::BadDebt => "adjusts bad debt",
            Self::ServiceWithoutPrice => "service without a price: moves neither stock nor money",
            Self::NotAnOrder => "mixed signs, a negative price or too many pieces: neither order nor return",
        }
    }
}

/// Pieces by article.
type Pieces = BTreeMap<Arc<str>, i64>;

/// What each customer has bought so far and not returned.
#[derive(Debug, Default)]
pub(super) struct Purchases {
    customers: HashMap<String, Bought>,
}

#[derive(Debug, Default)]
struct Bought {
    left: HashMap<Arc<str>, i64>,
    /// Whole orders that were not cancelled as such.
    orders: Vec<Pieces>,
}

impl Purchases {
    pub(super) fn bought(&mut self, document: &Document) {
        let Some(customer) = &document.customer else { return };
        let bought = self.customers.entry(customer.clone()).or_default();
        for line in document.lines.iter().filter(|line| line.kind == Kind::Goods) {
            *bought.left.entry(line.sku.clone()).or_default() += line.quantity;
        }
        bought.orders.push(pieces(document));
    }

    /// The reason for a cancellation document; takes what it returns off the customer's purchases.
    pub(super) fn returned(&mut self, document: &Document) -> Remainder {
        let goods = document.lines.iter().any(|line| line.kind == Kind::Goods);
        if !goods {
            return Remainder::Credit;
        }
        let Some(customer) = &document.customer else { return Remainder::WithoutCustomer };
        let bought = self.customers.entry(customer.clone()).or_default();
        let mirror = pieces(document).into_iter().map(|(sku, quantity)| (sku, -quantity)).collect::<Pieces>();
        let whole = bought.orders.iter().position(|order| *order == mirror);
        let mut reason = Remainder::ReturnsPart;
        for line in document.lines.iter().filter(|line| line.kind == Kind::Goods) {
            let left = bought.left.entry(line.sku.clone()).or_default();
            reason = reason.max(match (*left, -line.quantity) {
                (0, _) => Remainder::ReturnsUnbought,
                (left, wanted) if wanted > left => Remainder::ReturnsMoreThanBought,
                _ => Remainder::ReturnsPart,
            });
            *left = (*left + line.quantity).max(0);
        }
        if let Some(index) = whole {
            bought.orders.remove(index);
            return Remainder::CancelsWholeOrder;
        }
        reason
    }
}

fn pieces(document: &Document) -> Pieces {
    let mut pieces = Pieces::new();
    for line in &document.lines {
        *pieces.entry(line.sku.clone()).or_default() += line.quantity;
    }
    pieces
}
