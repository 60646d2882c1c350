//! What was asked of the payment provider under which key, and what is known to have come of it.

use std::fmt;

use events::{EffectKey, Money};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EffectKind {
    Authorisation,
    Void,
    Capture,
    Refund,
}

impl fmt::Display for EffectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Authorisation => "authorisation",
            Self::Void => "void",
            Self::Capture => "capture",
            Self::Refund => "refund",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// Intended; the provider may or may not have heard of it.
    Pending,
    Done,
    /// By the provider, or by a rule before it was asked.
    Refused,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending => "pending",
            Self::Done => "done",
            Self::Refused => "refused",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    pub effect_key: EffectKey,
    pub kind: EffectKind,
    /// None for a void, and for what a rule refused before the provider was asked.
    pub amount: Option<Money>,
    pub fate: Fate,
    /// What the provider calls it, once done.
    pub provider_reference: Option<String>,
}

impl Effect {
    pub(super) fn new(effect_key: &EffectKey, kind: EffectKind, fate: Fate) -> Self {
        Self { effect_key: effect_key.clone(), kind, amount: None, fate, provider_reference: None }
    }

    pub(super) fn of(self, amount: Money) -> Self {
        Self { amount: Some(amount), ..self }
    }

    pub(super) fn known_as(self, provider_reference: &str) -> Self {
        Self { provider_reference: Some(provider_reference.into()), ..self }
    }
}

/// In the order in which they were first heard of. Few: an authorisation, a capture, now and then a void or a refund.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Effects(Vec<Effect>);

impl Effects {
    pub(super) fn get(&self, key: &EffectKey) -> Option<&Effect> {
        self.0.iter().find(|effect| effect.effect_key == *key)
    }

    pub(super) fn of_kind(&self, kind: EffectKind) -> impl Iterator<Item = &Effect> {
        self.0.iter().filter(move |effect| effect.kind == kind)
    }

    pub(super) fn pending(&self) -> impl Iterator<Item = &Effect> {
        self.0.iter().filter(|effect| effect.fate == Fate::Pending)
    }

    /// The sum in minor units; wider than an amount, so that adding one more cannot overflow.
    pub(super) fn sum(&self, kind: EffectKind, fates: &[Fate]) -> i128 {
        let counted = self.of_kind(kind).filter(|effect| fates.contains(&effect.fate));
        counted.filter_map(|effect| effect.amount).map(|amount| i128::from(amount.amount_minor)).sum()
    }

    /// What is newly known of an effect; what was known of its amount and reference stays.
    pub(super) fn settle(&mut self, news: Effect) {
        match self.0.iter_mut().find(|effect| effect.effect_key == news.effect_key) {
            Some(effect) => {
                effect.fate = news.fate;
                effect.amount = news.amount.or(effect.amount);
                effect.provider_reference = news.provider_reference.or(effect.provider_reference.take());
            }
            None => self.0.push(news),
        }
    }
}
