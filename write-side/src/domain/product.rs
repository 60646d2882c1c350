//! `product-{sku}`: an article of the catalogue and its price. Its currency and kind are fixed for life.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use events::{
    Currency, Money, ProductEvent, Sku,
    product::{ProductDelisted, ProductDescribed, ProductKind, ProductListed, ProductRepriced},
};

use super::Aggregate;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Product {
    #[default]
    Unlisted,
    /// As it would be listed today.
    Listed(ProductListed),
    /// As it was last listed.
    Delisted(ProductListed),
}

/// What an order needs to know of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listing {
    pub kind: ProductKind,
    pub price: Money,
    /// False once delisted: it keeps its price and is sold no more.
    pub listed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProductCommand {
    /// Also brings a delisted product back, described and priced anew.
    List {
        sku: Sku,
        kind: ProductKind,
        name: String,
        description: String,
        categories: Vec<String>,
        attributes: BTreeMap<String, String>,
        price: Money,
    },
    Describe {
        name: String,
        description: String,
        categories: Vec<String>,
        attributes: BTreeMap<String, String>,
    },
    Reprice {
        price: Money,
    },
    Delist,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProductError {
    #[error("{sku} is already listed, with other particulars")]
    AlreadyListed { sku: Sku },
    #[error("there is no such product")]
    NotListed,
    #[error("{sku} is delisted")]
    Delisted { sku: Sku },
    #[error("a price cannot be negative, but is {price}")]
    NegativePrice { price: Money },
    #[error("a product keeps its currency {}; {} is refused", .kept.code(), .refused.code())]
    CurrencyFixed { kept: Currency, refused: Currency },
    #[error("{sku} was listed as another kind, and a product keeps its kind")]
    KindFixed { sku: Sku },
}

impl Aggregate for Product {
    type Command = ProductCommand;
    type Event = ProductEvent;
    type Error = ProductError;

    fn decide(&self, command: ProductCommand) -> Result<Vec<ProductEvent>, ProductError> {
        match command {
            ProductCommand::List { sku, kind, name, description, categories, attributes, price } => {
                self.list(ProductListed { sku, kind, name, description, categories, attributes, price })
            }
            ProductCommand::Describe { name, description, categories, attributes } => {
                let now = self.listed()?;
                let described = ProductDescribed { sku: now.sku.clone(), name, description, categories, attributes };
                Ok(if now.clone().described(&described) == *now { vec![] } else { vec![described.into()] })
            }
            ProductCommand::Reprice { price } => {
                let now = self.listed()?;
                check_price(price, Some(now.price.currency))?;
                let repriced = ProductRepriced { sku: now.sku.clone(), price };
                Ok(if price == now.price { vec![] } else { vec![repriced.into()] })
            }
            ProductCommand::Delist => match self {
                Self::Unlisted => Err(ProductError::NotListed),
                Self::Listed(now) => Ok(vec![ProductDelisted { sku: now.sku.clone() }.into()]),
                Self::Delisted(_) => Ok(vec![]),
            },
        }
    }

    fn evolve(self, event: &ProductEvent) -> Self {
        match event {
            ProductEvent::Listed(listed) => Self::Listed(listed.clone()),
            ProductEvent::Described(described) => self.map(|now| now.described(described)),
            ProductEvent::Repriced(repriced) => self.map(|now| ProductListed { price: repriced.price, ..now }),
            ProductEvent::Delisted(_) => match self {
                Self::Unlisted => Self::Unlisted,
                Self::Listed(now) | Self::Delisted(now) => Self::Delisted(now),
            },
        }
    }
}

impl Product {
    /// None for a product that was never listed.
    #[must_use]
    pub fn listing(&self) -> Option<Listing> {
        let of = |now: &ProductListed, listed| Some(Listing { kind: now.kind, price: now.price, listed });
        match self {
            Self::Unlisted => None,
            Self::Listed(now) => of(now, true),
            Self::Delisted(now) => of(now, false),
        }
    }

    fn list(&self, wanted: ProductListed) -> Result<Vec<ProductEvent>, ProductError> {
        match self {
            Self::Unlisted => check_price(wanted.price, None)?,
            Self::Listed(now) if *now == wanted => return Ok(vec![]),
            Self::Listed(_) => return Err(ProductError::AlreadyListed { sku: wanted.sku }),
            Self::Delisted(last) => {
                check_price(wanted.price, Some(last.price.currency))?;
                if wanted.kind != last.kind {
                    return Err(ProductError::KindFixed { sku: wanted.sku });
                }
            }
        }
        Ok(vec![wanted.into()])
    }

    fn listed(&self) -> Result<&ProductListed, ProductError> {
        match self {
            Self::Unlisted => Err(ProductError::NotListed),
            Self::Listed(now) => Ok(now),
            Self::Delisted(last) => Err(ProductError::Delisted { sku: last.sku.clone() }),
        }
    }

    fn map(self, change: impl FnOnce(ProductListed) -> ProductListed) -> Self {
        match self {
            Self::Unlisted => Self::Unlisted,
            Self::Listed(now) => Self::Listed(change(now)),
            Self::Delisted(last) => Self::Delisted(change(last)),
        }
    }
}

trait Described {
    fn described(self, event: &ProductDescribed) -> Self;
}

impl Described for ProductListed {
    fn described(self, event: &ProductDescribed) -> Self {
        let ProductDescribed { sku: _, name, description, categories, attributes } = event.clone();
        Self { name, description, categories, attributes, ..self }
    }
}

fn check_price(price: Money, kept: Option<Currency>) -> Result<(), ProductError> {
    match kept {
        _ if price.is_negative() => Err(ProductError::NegativePrice { price }),
        Some(kept) if kept != price.currency => Err(ProductError::CurrencyFixed { kept, refused: price.currency }),
        Some(_) | None => Ok(()),
    }
}
