//! What a request may say: bounded types that can hold nothing else. Serde refuses the rest in words for the caller.

use std::ops::Deref;

use serde::{Deserialize, Serialize};

pub(super) type EffectKey = Text<1, 128>;
/// A payment's token or a shipment's service: the script of what happens to it.
pub(super) type ScriptText = Text<1, 256>;
pub(super) type Label = Text<0, 256>;

/// Text of `MIN` to `MAX` characters without control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Text<const MIN: usize, const MAX: usize>(String);

impl<const MIN: usize, const MAX: usize> TryFrom<String> for Text<MIN, MAX> {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let length = text.chars().count();
        if !(MIN..=MAX).contains(&length) {
            return Err(format!("a text of {MIN} to {MAX} characters is expected, this one has {length}"));
        }
        if text.chars().any(char::is_control) {
            return Err("control characters are not allowed".into());
        }
        Ok(Self(text))
    }
}

impl<const MIN: usize, const MAX: usize> Deref for Text<MIN, MAX> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// An amount in minor units, 0 or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "i64")]
pub(super) struct Amount(i64);

impl Amount {
    pub(super) fn minor(self) -> i64 {
        self.0
    }
}

impl TryFrom<i64> for Amount {
    type Error = String;

    fn try_from(minor: i64) -> Result<Self, String> {
        if minor < 0 {
            return Err(format!("an amount of 0 or more minor units is expected, not {minor}"));
        }
        Ok(Self(minor))
    }
}

/// Three capital letters, as in ISO 4217; which of them exist is not this simulator's business.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Currency(String);

impl Currency {
    pub(super) fn code(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Currency {
    type Error = String;

    fn try_from(code: String) -> Result<Self, String> {
        if code.len() != 3 || !code.bytes().all(|letter| letter.is_ascii_uppercase()) {
            return Err("a currency of three capital letters is expected, such as EUR".into());
        }
        Ok(Self(code))
    }
}
