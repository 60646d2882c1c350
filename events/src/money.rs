//! Money: whole minor units with an ISO 4217 currency, checked arithmetic, and splits that always add up.

pub use iso_currency::Currency;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An amount in minor units (pence, cents, yen). Never a float.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Money {
    /// Minor units: 1999 is 19.99 in GBP, 1999 yen in JPY.
    #[schema(example = 1999)]
    pub amount_minor: i64,
    /// ISO 4217 code.
    #[schema(value_type = String, example = "GBP")]
    pub currency: Currency,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    #[error("{} and {} cannot be added", .0.code(), .1.code())]
    MixedCurrencies(Currency, Currency),
    #[error("the amount exceeds what a 64-bit integer of minor units holds")]
    Overflow,
    #[error("there is nothing to add up or to split over")]
    Empty,
}

impl Money {
    #[must_use]
    pub const fn new(amount_minor: i64, currency: Currency) -> Self {
        Self { amount_minor, currency }
    }

    #[must_use]
    pub const fn zero(currency: Currency) -> Self {
        Self::new(0, currency)
    }

    #[must_use]
    pub const fn is_negative(&self) -> bool {
        self.amount_minor < 0
    }

    pub fn plus(self, other: Self) -> Result<Self, MoneyError> {
        self.with(other, i64::checked_add)
    }

    pub fn minus(self, other: Self) -> Result<Self, MoneyError> {
        self.with(other, i64::checked_sub)
    }

    /// `quantity` times this amount; exact, so nothing is rounded.
    pub fn times(self, quantity: u32) -> Result<Self, MoneyError> {
        let amount = self.amount_minor.checked_mul(i64::from(quantity)).ok_or(MoneyError::Overflow)?;
        Ok(Self::new(amount, self.currency))
    }

    /// The sum; refuses nothing at all, mixed currencies and overflow.
    pub fn sum(amounts: impl IntoIterator<Item = Self>) -> Result<Self, MoneyError> {
        let mut amounts = amounts.into_iter();
        let first = amounts.next().ok_or(MoneyError::Empty)?;
        amounts.try_fold(first, Self::plus)
    }

    /// Splits by weight with the largest remainder method: the parts always add up to the whole.
    ///
    /// All weights zero counts as all weights equal. Ties go to the earlier part.
    pub fn split(self, weights: &[u64]) -> Result<Vec<Self>, MoneyError> {
        if weights.is_empty() {
            return Err(MoneyError::Empty);
        }
        let equal = weights.iter().all(|&weight| weight == 0);
        let weights = weights.iter().map(|&weight| if equal { 1 } else { i128::from(weight) }).collect::<Vec<_>>();
        let whole = i128::from(self.amount_minor);
        let total = weights.iter().sum::<i128>();
        let mut parts = weights.iter().map(|weight| (whole * weight).div_euclid(total)).collect::<Vec<_>>();
        let left =
            usize::try_from(whole - parts.iter().sum::<i128>()).expect("fewer units are left than there are parts");
        let mut by_remainder = (0..weights.len()).collect::<Vec<_>>();
        by_remainder.sort_by_key(|&index| std::cmp::Reverse((whole * weights[index]).rem_euclid(total)));
        for &index in by_remainder.iter().take(left) {
            parts[index] += 1;
        }
        parts
            .into_iter()
            .map(|part| Ok(Self::new(i64::try_from(part).map_err(|_| MoneyError::Overflow)?, self.currency)))
            .collect()
    }

    fn with(self, other: Self, operation: fn(i64, i64) -> Option<i64>) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::MixedCurrencies(self.currency, other.currency));
        }
        let amount = operation(self.amount_minor, other.amount_minor).ok_or(MoneyError::Overflow)?;
        Ok(Self::new(amount, self.currency))
    }
}

impl std::fmt::Display for Money {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = usize::from(self.currency.exponent().unwrap_or(0));
        let sign = if self.is_negative() { "-" } else { "" };
        let amount = self.amount_minor.unsigned_abs();
        let unit = 10_u64.pow(u32::try_from(digits).expect("an exponent is at most 4"));
        match digits {
            0 => write!(f, "{sign}{amount} {}", self.currency.code()),
            _ => write!(f, "{sign}{}.{:0digits$} {}", amount / unit, amount % unit, self.currency.code()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_amount_is_shown_with_the_digits_of_its_currency() {
        assert_eq!(Money::new(-1999, Currency::GBP).to_string(), "-19.99 GBP");
        assert_eq!(Money::new(1999, Currency::JPY).to_string(), "1999 JPY");
        assert_eq!(Money::new(1999, Currency::KWD).to_string(), "1.999 KWD");
    }

    #[test]
    fn mixed_currencies_are_refused() {
        let sum = Money::sum([Money::new(1, Currency::GBP), Money::new(1, Currency::EUR)]);
        assert_eq!(sum, Err(MoneyError::MixedCurrencies(Currency::GBP, Currency::EUR)));
    }

    proptest! {
        #[test]
        fn the_parts_of_a_split_add_up(amount in any::<i64>(), weights in prop::collection::vec(0_u64..1_000_000, 1..40)) {
            let whole = Money::new(amount, Currency::EUR);
            let parts = whole.split(&weights).expect("weights are given");
            prop_assert_eq!(parts.len(), weights.len());
            let sum = parts.iter().map(|part| i128::from(part.amount_minor)).sum::<i128>();
            prop_assert_eq!(sum, i128::from(amount));
        }

        #[test]
        fn no_part_of_a_split_is_a_unit_off_its_share(amount in 0_i64..1_000_000_000, weights in prop::collection::vec(1_u64..1_000, 1..40)) {
            let parts = Money::new(amount, Currency::EUR).split(&weights).expect("weights are given");
            let total = weights.iter().map(|&weight| i128::from(weight)).sum::<i128>();
            for (part, &weight) in parts.iter().zip(&weights) {
                let off = (i128::from(part.amount_minor) * total - i128::from(amount) * i128::from(weight)).abs();
                prop_assert!(off < total);
            }
        }
    }
}
