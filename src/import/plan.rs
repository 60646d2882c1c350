//! What to send for the documents, decided before anything is sent: each line goes to exactly one place.

use std::collections::BTreeMap;

use events::{Currency, Delivery, Money};
use rust_decimal::{Decimal, RoundingStrategy, prelude::ToPrimitive};

use super::{
    accounts::{Accounts, Share},
    catalogue,
    codes::{self, COUNTRY_UNKNOWN, Kind},
    documents::{Document, Documents, Line},
    returns::{Purchases, Remainder},
};
use crate::shop::{AdjustmentBody, Agreed, OrderBody, OrderLineBody, ProductBody, ReceiptBody, ReceiptLine};

/// The front door takes no more in one request; a longer document becomes several orders under one reference.
const LINES_MAX: usize = 1_000;
const PIECES_MAX: i64 = 1_000_000;
/// So many more pieces of each article are received than the file sells and writes off.
const MARGIN: u32 = 10;

/// A request with its key, and what of the files it stands for.
#[derive(Debug)]
pub(super) struct Planned<B> {
    pub(super) key: String,
    pub(super) body: B,
    /// Nothing for products and receipts, which the files only imply.
    pub(super) share: Share,
    /// Of an order, in pence.
    pub(super) gross_minor: i64,
}

#[derive(Debug)]
pub(crate) struct Plan {
    pub(super) products: Vec<Planned<ProductBody>>,
    pub(super) receipts: Vec<Planned<ReceiptBody>>,
    pub(super) adjustments: Vec<Planned<AdjustmentBody>>,
    pub(super) orders: Vec<Planned<OrderBody>>,
    pub(crate) accounts: Accounts,
    /// Pieces that leave the shelf, by file and article.
    leaving: Vec<BTreeMap<String, u64>>,
    location: String,
}

impl Plan {
    /// Goods are taken from `location`.
    pub(crate) fn of(documents: &Documents, location: &str) -> Self {
        let mut plan = Self {
            products: Vec::new(),
            receipts: Vec::new(),
            adjustments: Vec::new(),
            orders: Vec::new(),
            accounts: Accounts::default(),
            leaving: vec![BTreeMap::new(); documents.files.len()],
            location: location.into(),
        };
        let mut purchases = Purchases::default();
        for document in &documents.all {
            let whole = Share::of(1, document.lines.len(), document.value());
            plan.accounts.source += whole;
            match fate(document) {
                Fate::Order => {
                    purchases.bought(document);
                    plan.order(document);
                }
                Fate::Return => plan.accounts.remain(purchases.returned(document).reason(), whole),
                Fate::Adjustment => plan.adjust(document),
                Fate::Remainder(remainder) => plan.accounts.remain(remainder.reason(), whole),
            }
        }
        plan.products = catalogue::products(documents).into_iter().map(product).collect();
        plan.receive(documents);
        let services = plan.products.iter().filter(|product| product.body.kind == Kind::Service).count();
        plan.accounts.files = documents.files.len();
        plan.accounts.services = services;
        plan.accounts.goods = plan.products.len() - services;
        plan.accounts.respelt = documents.respelt().count();
        plan.accounts.departures = documents.departures.clone();
        plan
    }

    fn order(&mut self, document: &Document) {
        self.accounts.free_lines += document.lines.iter().filter(|line| line.price.is_zero()).count();
        let parts = document.lines.chunks(LINES_MAX);
        self.accounts.split += usize::from(parts.len() > 1);
        for (part, lines) in parts.enumerate() {
            let mut gross_minor = 0;
            let mut bodies = Vec::with_capacity(lines.len());
            for line in lines {
                let total = pence(line.value()).expect("an order's lines are within bounds");
                gross_minor += total;
                bodies.push(self.order_line(document.file, line, total));
            }
            let value = lines.iter().map(Line::value).sum();
            let share = Share::of(usize::from(part == 0), lines.len(), value);
            self.accounts.ordered(share, gross_minor);
            let number = &document.number;
            let key = if part == 0 { format!("uci:{number}") } else { format!("uci:{number}:{}", part + 1) };
            let body = self.order_body(document, bodies);
            self.orders.push(Planned { key, body, share, gross_minor });
        }
    }

    fn order_line(&mut self, file: usize, line: &Line, total: i64) -> OrderLineBody {
        let quantity = u32::try_from(line.quantity).expect("an order's quantities are positive and within bounds");
        if line.kind == Kind::Goods {
            *self.leaving[file].entry(line.sku.to_string()).or_default() += u64::from(quantity);
        }
        let unit_price = pence(line.price).expect("an order's lines are within bounds");
        let agreed =
            Agreed { unit_price: Money::new(unit_price, Currency::GBP), total: Money::new(total, Currency::GBP) };
        OrderLineBody { sku: line.sku.to_string(), quantity, agreed: Some(agreed) }
    }

    fn order_body(&mut self, document: &Document, lines: Vec<OrderLineBody>) -> OrderBody {
        let country = codes::country(&document.country);
        if country.is_none() {
            *self.accounts.unknown_countries.entry(document.country.clone()).or_default() += 1;
        }
        let customer = document.customer.as_deref();
        OrderBody {
            customer_id: customer.unwrap_or("guest").into(),
            lines,
            payment_token: "tok_ok".into(),
            // The source has no addresses.
            delivery: Delivery {
                recipient: customer.map_or_else(|| "Guest".into(), |customer| format!("Customer {customer}")),
                street: "not in the source".into(),
                city: document.country.clone(),
                postal_code: "-".into(),
                country: country.unwrap_or(COUNTRY_UNKNOWN).into(),
                service: "standard".into(),
            },
            location: Some(self.location.clone()),
            reference: Some(document.number.clone()),
            business_time: Some(document.time),
        }
    }

    fn adjust(&mut self, document: &Document) {
        let mut counted = false;
        for (index, line) in document.lines.iter().enumerate() {
            let share = Share::of(usize::from(!counted), 1, line.value());
            counted = true;
            if line.kind == Kind::Service {
                self.accounts.remain(Remainder::ServiceWithoutPrice.reason(), share);
                continue;
            }
            if line.quantity < 0 {
                *self.leaving[document.file].entry(line.sku.to_string()).or_default() += line.quantity.unsigned_abs();
            }
            self.accounts.adjusted(line.quantity, share);
            let said = if line.description.is_empty() { "no reason given" } else { &line.description };
            let body = AdjustmentBody {
                sku: line.sku.to_string(),
                delta: line.quantity,
                reason: format!("{said} ({})", document.number).chars().take(200).collect(),
                business_time: Some(document.time),
            };
            let key = format!("uci:{}:{}:{}", document.number, index + 1, self.location);
            self.adjustments.push(Planned { key, body, share, gross_minor: 0 });
        }
    }

    /// One receipt a file and thousand articles: all that the file sells and writes off, and a margin.
    fn receive(&mut self, documents: &Documents) {
        for (file, leaving) in documents.files.iter().zip(&self.leaving) {
            let wanted = |(sku, pieces): (&String, &u64)| ReceiptLine {
                sku: sku.clone(),
                quantity: u32::try_from(*pieces).unwrap_or(u32::MAX).saturating_add(MARGIN),
            };
            let lines = leaving.iter().map(wanted).collect::<Vec<_>>();
            for (part, lines) in lines.chunks(LINES_MAX).enumerate() {
                let reference = format!("uci:{file}:{}", part + 1);
                let key = format!("uci:receipt:{file}:{}:{}", part + 1, self.location);
                let body = ReceiptBody { reference, lines: lines.to_vec() };
                self.receipts.push(Planned { key, body, share: Share::default(), gross_minor: 0 });
            }
        }
    }
}

/// Its key has the content in it: other files may imply another name or price for the same code.
fn product(body: ProductBody) -> Planned<ProductBody> {
    use sha2::{Digest, Sha256};
    let json =
        serde_json::to_vec(&body).expect("a product is plain data with string keys, which JSON can always express");
    let hash = Sha256::digest(json).iter().take(6).map(|byte| format!("{byte:02x}")).collect::<String>();
    Planned { key: format!("uci:product:{}:{hash}", body.sku), body, share: Share::default(), gross_minor: 0 }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Order,
    Return,
    Adjustment,
    Remainder(Remainder),
}

fn fate(document: &Document) -> Fate {
    let lines = &document.lines;
    let free = lines.iter().all(|line| line.price.is_zero());
    let bounded = |line: &Line| (1..=PIECES_MAX).contains(&line.quantity.abs()) && pence(line.value()).is_some();
    if document.is_cancellation() {
        Fate::Return
    } else if document.is_bad_debt() {
        Fate::Remainder(Remainder::BadDebt)
    } else if !lines.iter().all(bounded) {
        Fate::Remainder(Remainder::NotAnOrder)
    } else if free && (document.customer.is_none() || lines.iter().all(|line| line.quantity < 0)) {
        Fate::Adjustment
    } else if lines.iter().all(|line| line.quantity > 0 && !line.price.is_sign_negative()) {
        Fate::Order
    } else {
        Fate::Remainder(Remainder::NotAnOrder)
    }
}

/// Rounded half to even; none beyond what a 64-bit integer holds.
pub(super) fn pence(pounds: Decimal) -> Option<i64> {
    let rounded = pounds.round_dp_with_strategy(2, RoundingStrategy::MidpointNearestEven);
    rounded.checked_mul(Decimal::ONE_HUNDRED)?.to_i64()
}
