//! The rules of a product.

use proptest::prelude::*;

use super::*;
use crate::domain::given::{Given, given, play};

fn gbp(amount_minor: i64) -> Money {
    Money::new(amount_minor, Currency::GBP)
}

fn sku() -> Sku {
    "MUG".parse().expect("a valid SKU")
}

fn mug() -> ProductListed {
    ProductListed {
        sku: sku(),
        kind: ProductKind::Goods,
        name: "Mug".into(),
        description: "Holds tea.".into(),
        categories: vec!["kitchen".into()],
        attributes: BTreeMap::from([("colour".into(), "white".into())]),
        price: gbp(450),
    }
}

fn list(product: ProductListed) -> ProductCommand {
    let ProductListed { sku, kind, name, description, categories, attributes, price } = product;
    ProductCommand::List { sku, kind, name, description, categories, attributes, price }
}

fn describe(name: &str) -> ProductCommand {
    let ProductListed { description, categories, attributes, .. } = mug();
    ProductCommand::Describe { name: name.into(), description, categories, attributes }
}

fn reprice(price: Money) -> ProductCommand {
    ProductCommand::Reprice { price }
}

fn repriced(price: Money) -> ProductEvent {
    ProductRepriced { sku: sku(), price }.into()
}

fn described(name: &str) -> ProductEvent {
    let ProductListed { sku, description, categories, attributes, .. } = mug();
    ProductDescribed { sku, name: name.into(), description, categories, attributes }.into()
}

fn delisted() -> ProductEvent {
    ProductDelisted { sku: sku() }.into()
}

fn unlisted() -> Given<Product> {
    given([])
}

fn listed(and: impl IntoIterator<Item = ProductEvent>) -> Given<Product> {
    given(std::iter::once(mug().into()).chain(and))
}

#[test]
fn a_product_is_listed_repriced_described_and_delisted() {
    unlisted().when(list(mug())).then([mug().into()]);
    listed([]).when(reprice(gbp(500))).then([repriced(gbp(500))]);
    listed([]).when(describe("Big mug")).then([described("Big mug")]);
    listed([]).when(ProductCommand::Delist).then([delisted()]);
}

#[test]
fn listing_the_same_again_does_nothing_and_listing_it_otherwise_is_refused() {
    listed([]).when(list(mug())).then_nothing();
    let other = ProductListed { name: "Cup".into(), ..mug() };
    listed([]).when(list(other)).then_error(ProductError::AlreadyListed { sku: sku() });
}

#[test]
fn a_product_is_compared_as_it_is_now() {
    let changed = listed([repriced(gbp(500)), described("Big mug")]);
    changed.when(list(mug())).then_error(ProductError::AlreadyListed { sku: sku() });
    changed.when(list(ProductListed { name: "Big mug".into(), price: gbp(500), ..mug() })).then_nothing();
}

#[test]
fn a_price_is_not_negative_but_may_be_nothing() {
    let negative = ProductError::NegativePrice { price: gbp(-1) };
    unlisted().when(list(ProductListed { price: gbp(-1), ..mug() })).then_error(negative.clone());
    listed([]).when(reprice(gbp(-1))).then_error(negative);
    listed([]).when(reprice(gbp(0))).then([repriced(gbp(0))]);
}

#[test]
fn a_product_keeps_its_currency_for_life() {
    let euros = Money::new(500, Currency::EUR);
    let fixed = ProductError::CurrencyFixed { kept: Currency::GBP, refused: Currency::EUR };
    listed([]).when(reprice(euros)).then_error(fixed.clone());
    listed([delisted()]).when(list(ProductListed { price: euros, ..mug() })).then_error(fixed);
}

#[test]
fn the_same_price_and_the_same_description_change_nothing() {
    listed([]).when(reprice(gbp(450))).then_nothing();
    listed([]).when(describe("Mug")).then_nothing();
    listed([delisted()]).when(ProductCommand::Delist).then_nothing();
}

#[test]
fn a_delisted_product_is_neither_repriced_nor_described() {
    let refused = ProductError::Delisted { sku: sku() };
    listed([delisted()]).when(reprice(gbp(500))).then_error(refused.clone());
    listed([delisted()]).when(describe("Big mug")).then_error(refused);
}

#[test]
fn a_delisted_product_comes_back_described_and_priced_anew() {
    let anew = ProductListed { name: "Mug, new glaze".into(), price: gbp(600), ..mug() };
    listed([delisted()]).when(list(anew.clone())).then([anew.into()]);
    listed([delisted()]).when(list(mug())).then([mug().into()]);
}

#[test]
fn a_product_that_comes_back_is_of_the_same_kind() {
    let service = ProductListed { kind: ProductKind::Service, ..mug() };
    listed([delisted()]).when(list(service)).then_error(ProductError::KindFixed { sku: sku() });
}

#[test]
fn nothing_happens_to_a_product_that_was_never_listed() {
    for command in [reprice(gbp(1)), describe("Mug"), ProductCommand::Delist] {
        unlisted().when(command).then_error(ProductError::NotListed);
    }
    assert_eq!(unlisted().state().listing(), None);
}

#[test]
fn a_delisted_product_keeps_its_price_and_is_sold_no_more() {
    let listing = listed([repriced(gbp(500)), delisted()]).state().listing();
    assert_eq!(listing, Some(Listing { kind: ProductKind::Goods, price: gbp(500), listed: false }));
}

fn any_command() -> impl Strategy<Value = ProductCommand> {
    let price = (-1_i64..4).prop_map(gbp).boxed();
    let kind = prop_oneof![Just(ProductKind::Goods), Just(ProductKind::Service)];
    prop_oneof![
        (price.clone(), kind).prop_map(|(price, kind)| list(ProductListed { price, kind, ..mug() })),
        prop_oneof!["Mug", "Cup"].prop_map(|name| describe(&name)),
        price.prop_map(reprice),
        Just(reprice(Money::new(1, Currency::EUR))),
        Just(ProductCommand::Delist),
    ]
}

proptest! {
    #[test]
    fn the_same_command_again_changes_nothing(commands in prop::collection::vec(any_command(), 0..24)) {
        play::<Product>(commands, |_, command, outcome, after| {
            if outcome.is_ok() {
                assert_eq!(after.decide(command.clone()), Ok(vec![]), "{command:?} again");
            }
        });
    }

    #[test]
    fn currency_and_kind_never_change_and_a_price_is_never_negative(commands in prop::collection::vec(any_command(), 0..24)) {
        play::<Product>(commands, |before, _, _, after| {
            if let Some(now) = after.listing() {
                assert!(!now.price.is_negative());
                if let Some(before) = before.listing() {
                    assert_eq!((before.kind, before.price.currency), (now.kind, now.price.currency));
                }
            }
        });
    }
}
