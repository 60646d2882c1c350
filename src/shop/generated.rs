//! A shop made up from a seed, for machines without real data: the same seed gives the same shop, product for product.
//!
//! Its shape is that of the UCI "Online Retail" data: lines an order, pieces a line, prices, popularity, guests.

mod words;

use std::collections::BTreeMap;

use events::{Currency, Delivery, Money, product::ProductKind};
use rand::{
    Rng, SeedableRng,
    distr::{Distribution, weighted::WeightedIndex},
    rngs::StdRng,
    seq::{SliceRandom, index},
};

use super::{OrderBody, OrderLineBody, ProductBody, ReceiptBody, ReceiptLine};

/// A value for each share of a thousand; between them it is interpolated. Measured on the 20,728 priced orders of the data.
type Quantiles = &'static [(u32, u32)];
const LINES: Quantiles = &[(0, 1), (100, 2), (250, 6), (500, 15), (750, 29), (900, 54), (990, 150), (1000, 200)];
const PIECES: Quantiles = &[(0, 1), (250, 1), (500, 3), (750, 10), (900, 24), (990, 100), (1000, 240)];
const PENCE: Quantiles =
    &[(0, 19), (10, 29), (100, 65), (250, 125), (500, 208), (750, 413), (900, 795), (990, 1698), (1000, 4995)];
/// Of a thousand orders.
const GUESTS: u32 = 71;
const ABROAD: u32 = 90;
/// Sales of the n-th most popular of all fall with n to this power: the top tenth makes almost half of all lines.
const SKEW: f64 = 0.65;
const RECEIPT_LINES_MAX: usize = 1_000;

/// How an order is meant to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Fate {
    Completes,
    /// The payment provider declines.
    Declined,
    /// The first carrier refuses, the second takes it.
    SecondCarrier,
    /// No carrier takes it: a person must decide.
    NoCarrier,
    /// The parcel is held, so that the customer can cancel; whoever runs the shop must do so.
    Cancelled,
}

/// Of a thousand orders. The counts are exact, not drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shares {
    pub(crate) declined: u32,
    pub(crate) second_carrier: u32,
    pub(crate) no_carrier: u32,
    pub(crate) cancelled: u32,
}

impl Default for Shares {
    /// 5 % declines, 3 % carrier refusals, 2 % cancellations.
    fn default() -> Self {
        Self { declined: 50, second_carrier: 20, no_carrier: 10, cancelled: 20 }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlannedOrder {
    pub(crate) key: String,
    pub(crate) body: OrderBody,
    pub(crate) fate: Fate,
}

#[derive(Debug, Clone)]
pub(crate) struct Shop {
    seed: u64,
    products: Vec<ProductBody>,
    customers: u32,
}

impl Shop {
    /// At least one product; names repeat with a number beyond some thousand.
    pub(crate) fn seeded(seed: u64, products: usize, customers: u32) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut names = words::all();
        names.shuffle(&mut rng);
        let mut codes: Vec<u32> =
            index::sample(&mut rng, 90_000, products.clamp(1, 90_000)).into_iter().map(sku_number).collect();
        codes.sort_unstable();
        let product = |(number, code): (usize, u32)| {
            let words::Named { name, category, colour } = names[number % names.len()].clone();
            let round = number / names.len();
            ProductBody {
                sku: code.to_string(),
                kind: ProductKind::Goods,
                name: if round == 0 { name } else { format!("{name} No. {}", round + 1) },
                description: format!("For {}.", category.to_lowercase()),
                categories: vec![category.into()],
                attributes: BTreeMap::from([("colour".into(), colour.into())]),
                price: Money::new(i64::from(draw(PENCE, &mut rng)), Currency::GBP),
            }
        };
        let products = codes.into_iter().enumerate().map(product).collect();
        Self { seed, products, customers: customers.max(1) }
    }

    pub(crate) fn products(&self) -> &[ProductBody] {
        &self.products
    }

    /// The key under which a product is listed.
    pub(crate) fn product_key(&self, product: &ProductBody) -> String {
        format!("shop:{}:product:{}", self.seed, product.sku)
    }

    /// So many pieces of each product, with the key of each receipt.
    pub(crate) fn receipts(&self, pieces_each: u32) -> impl Iterator<Item = (String, ReceiptBody)> {
        self.products.chunks(RECEIPT_LINES_MAX).enumerate().map(move |(part, products)| {
            let key = format!("shop:{}:receipt:{pieces_each}:{}", self.seed, part + 1);
            let line = |product: &ProductBody| ReceiptLine { sku: product.sku.clone(), quantity: pieces_each };
            let reference = format!("opening stock {}", part + 1);
            (key, ReceiptBody { reference, lines: products.iter().map(line).collect() })
        })
    }

    /// `count` orders, always the same ones; their fates are spread among them.
    pub(crate) fn orders(&self, count: usize, shares: Shares) -> impl Iterator<Item = PlannedOrder> {
        let mut rng = StdRng::seed_from_u64(self.seed.wrapping_add(1));
        let mut fates = fates(count, shares);
        fates.shuffle(&mut rng);
        // The order of the catalogue is by number; popularity is another one.
        let mut ranks: Vec<usize> = (0..self.products.len()).collect();
        ranks.shuffle(&mut rng);
        let weights = (1..=self.products.len()).map(|rank| (rank as f64).powf(-SKEW));
        let popular = WeightedIndex::new(weights).expect("there is a product, and no weight is zero");
        fates.into_iter().enumerate().map(move |(number, fate)| {
            let body = self.order(number + 1, fate, || ranks[popular.sample(&mut rng)]);
            PlannedOrder { key: format!("shop:{}:order:{}", self.seed, number + 1), body, fate }
        })
    }

    /// Drawn from its own number, but for what is popular.
    fn order(&self, number: usize, fate: Fate, mut popular: impl FnMut() -> usize) -> OrderBody {
        let own = u64::try_from(number).expect("orders are counted in 64 bits");
        let mut rng = StdRng::seed_from_u64(self.seed.rotate_left(17) ^ own);
        let wanted = usize::try_from(draw(LINES, &mut rng)).expect("a few hundred at most");
        let mut lines = BTreeMap::new();
        for _ in 0..wanted {
            *lines.entry(popular()).or_insert(0) += draw(PIECES, &mut rng);
        }
        let line = |(product, quantity): (usize, u32)| OrderLineBody {
            sku: self.products[product].sku.clone(),
            quantity,
            agreed: None,
        };
        let guest = rng.random_range(0..1000) < GUESTS;
        let customer = 10_001 + rng.random_range(0..self.customers).min(rng.random_range(0..self.customers));
        OrderBody {
            customer_id: if guest { "guest".into() } else { customer.to_string() },
            lines: lines.into_iter().map(line).collect(),
            payment_token: if fate == Fate::Declined { "tok_decline" } else { "tok_ok" }.into(),
            delivery: delivery(fate, &mut rng),
            location: None,
            reference: Some(format!("SHOP-{number:06}")),
            business_time: None,
        }
    }
}

fn sku_number(index: usize) -> u32 {
    10_000 + u32::try_from(index).expect("a number below 90,000")
}

fn fates(count: usize, shares: Shares) -> Vec<Fate> {
    let Shares { declined, second_carrier, no_carrier, cancelled } = shares;
    let wanted = [
        (Fate::Declined, declined),
        (Fate::SecondCarrier, second_carrier),
        (Fate::NoCarrier, no_carrier),
        (Fate::Cancelled, cancelled),
    ];
    let mut fates = Vec::with_capacity(count);
    for (fate, share) in wanted {
        let orders = count * usize::try_from(share).expect("a share of a thousand") / 1000;
        fates.extend(std::iter::repeat_n(fate, orders));
    }
    fates.resize(count, Fate::Completes);
    fates
}

fn delivery(fate: Fate, rng: &mut StdRng) -> Delivery {
    let abroad = rng.random_range(0..1000) < ABROAD;
    let places = if abroad { words::PLACES_ABROAD } else { words::PLACES };
    let (city, postal_code, country) = places[rng.random_range(0..places.len())];
    let given = words::GIVEN_NAMES[rng.random_range(0..words::GIVEN_NAMES.len())];
    let family = words::FAMILY_NAMES[rng.random_range(0..words::FAMILY_NAMES.len())];
    let street = words::STREETS[rng.random_range(0..words::STREETS.len())];
    Delivery {
        recipient: format!("{given} {family}"),
        street: format!("{} {street}", rng.random_range(1..200)),
        city: city.into(),
        postal_code: postal_code.into(),
        country: country.into(),
        service: match fate {
            Fate::Completes | Fate::Declined => "standard",
            Fate::SecondCarrier => "refuse_swift",
            Fate::NoCarrier => "refuse_all",
            Fate::Cancelled => "hold",
        }
        .into(),
    }
}

/// A value from the distribution.
fn draw(quantiles: Quantiles, rng: &mut StdRng) -> u32 {
    let at = rng.random_range(0..1000);
    let above = quantiles.iter().position(|(share, _)| *share > at).expect("the last share is a thousand");
    let ((low, from), (high, to)) = (quantiles[above - 1], quantiles[above]);
    from + (to - from) * (at - low) / (high - low)
}
