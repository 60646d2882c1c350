//! The payment provider's state and rules: captured never exceeds authorised, refunded never exceeds captured, and a
//! void that comes before its authorisation wins. Pure; `effects` keeps the answers.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    effects::{Answer, Book, Effects, Entry, Request, Status, Verdict},
    input::{Amount, Currency, EffectKey, ScriptText},
    names::Names,
    news::News,
    script::{Conduct, Operation, PaymentScript},
};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum PaymentRequest {
    Authorisation(Authorisation),
    Capture(Capture),
    Void(Void),
    Refund(Refund),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Authorisation {
    pub(super) effect_key: EffectKey,
    pub(super) amount_minor: Amount,
    pub(super) currency: Currency,
    pub(super) token: ScriptText,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Capture {
    pub(super) effect_key: EffectKey,
    pub(super) authorisation_key: EffectKey,
    pub(super) amount_minor: Amount,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Void {
    pub(super) effect_key: EffectKey,
    pub(super) authorisation_key: EffectKey,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Refund {
    pub(super) effect_key: EffectKey,
    pub(super) capture_key: EffectKey,
    pub(super) amount_minor: Amount,
}

impl PaymentRequest {
    fn operation(&self) -> Operation {
        match self {
            Self::Authorisation(_) => Operation::Authorise,
            Self::Capture(_) => Operation::Capture,
            Self::Void(_) => Operation::Void,
            Self::Refund(_) => Operation::Refund,
        }
    }

    fn parent_key(&self) -> Option<&EffectKey> {
        match self {
            Self::Authorisation(_) => None,
            Self::Capture(capture) => Some(&capture.authorisation_key),
            Self::Void(void) => Some(&void.authorisation_key),
            Self::Refund(refund) => Some(&refund.capture_key),
        }
    }
}

impl Request for PaymentRequest {
    fn effect_key(&self) -> Cow<'_, str> {
        let key: &str = match self {
            Self::Authorisation(authorisation) => &authorisation.effect_key,
            Self::Capture(capture) => &capture.effect_key,
            Self::Void(void) => &void.effect_key,
            Self::Refund(refund) => &refund.effect_key,
        };
        Cow::Borrowed(key)
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Authorisation(_) => "authorisation",
            Self::Capture(_) => "capture",
            Self::Void(_) => "void",
            Self::Refund(_) => "refund",
        }
    }
}

#[derive(Default)]
pub(super) struct Payments {
    effects: Effects<PaymentRequest>,
    authorised: HashMap<EffectKey, Authorised>,
    captures: HashMap<EffectKey, Captured>,
    /// Authorisations that were voided before they came.
    tombstones: HashSet<EffectKey>,
}

struct Authorised {
    amount: i64,
    currency: Currency,
    token: ScriptText,
    captured: Option<i64>,
    voided: bool,
}

struct Captured {
    authorisation_key: EffectKey,
    amount: i64,
    refunded: i64,
}

impl Payments {
    fn authorise(&self, asked: &Authorisation, names: &Names) -> Verdict {
        let (key, amount, currency) = (&*asked.effect_key, asked.amount_minor.minor(), asked.currency.code());
        if self.tombstones.contains(&asked.effect_key) {
            return Answer::no(key, 409, Status::Voided, "voided before it was asked for").into();
        }
        let reference = names.name("aut_", &[key]);
        if let Some(reason) = PaymentScript::parse(&asked.token, Operation::Authorise).decline {
            let answer = Answer::no(key, 402, Status::Declined, &reason);
            return Verdict { answer, news: vec![news("payment.declined", key, &reference, amount, currency)] };
        }
        let answer =
            Answer::applied(key, Status::Authorised).with_reference(reference.clone()).with_amount(amount, currency);
        Verdict { answer, news: vec![news("payment.authorised", key, &reference, amount, currency)] }
    }

    fn capture(&self, asked: &Capture, names: &Names) -> Verdict {
        let (key, amount) = (&*asked.effect_key, asked.amount_minor.minor());
        let Some(authorised) = self.authorised.get(&asked.authorisation_key) else {
            let voided = self.tombstones.contains(&asked.authorisation_key);
            return Answer::refused(key, if voided { "voided" } else { "unknown authorisation" }).into();
        };
        if authorised.voided {
            return Answer::refused(key, "voided").into();
        }
        if PaymentScript::parse(&authorised.token, Operation::Capture).refuse {
            return Answer::refused(key, "capture refused").into();
        }
        if amount > authorised.amount - authorised.captured.unwrap_or(0) {
            return Answer::refused(key, "over the authorised amount").into();
        }
        let reference = names.name("cap_", &[key]);
        let currency = authorised.currency.code();
        let answer =
            Answer::applied(key, Status::Captured).with_reference(reference.clone()).with_amount(amount, currency);
        Verdict { answer, news: vec![news("payment.captured", key, &reference, amount, currency)] }
    }

    fn void(&self, asked: &Void, names: &Names) -> Verdict {
        let key = &*asked.effect_key;
        let voided = Answer::applied(key, Status::Voided);
        let Some(authorised) = self.authorised.get(&asked.authorisation_key) else {
            let applied = !self.tombstones.contains(&asked.authorisation_key);
            return Answer { applied, ..voided }.into();
        };
        if PaymentScript::parse(&authorised.token, Operation::Void).refuse {
            return Answer::refused(key, "void refused").into();
        }
        if authorised.captured.is_some() {
            return Answer::refused(key, "already captured").into();
        }
        let (amount, currency) = (authorised.amount, authorised.currency.code());
        if authorised.voided {
            return Answer { applied: false, ..voided }.with_amount(amount, currency).into();
        }
        let reference = names.name("voi_", &[key]);
        let answer = voided.with_reference(reference.clone()).with_amount(amount, currency);
        Verdict { answer, news: vec![news("payment.voided", key, &reference, amount, currency)] }
    }

    fn refund(&self, asked: &Refund, names: &Names) -> Verdict {
        let (key, amount) = (&*asked.effect_key, asked.amount_minor.minor());
        let captured = self.captures.get(&asked.capture_key);
        let authorised = captured.and_then(|captured| self.authorised.get(&captured.authorisation_key));
        let (Some(captured), Some(authorised)) = (captured, authorised) else {
            return Answer::refused(key, "unknown capture").into();
        };
        if PaymentScript::parse(&authorised.token, Operation::Refund).refuse {
            return Answer::refused(key, "refund refused").into();
        }
        if amount > captured.amount - captured.refunded {
            return Answer::refused(key, "over the captured amount").into();
        }
        let reference = names.name("ref_", &[key]);
        let currency = authorised.currency.code();
        let answer =
            Answer::applied(key, Status::Refunded).with_reference(reference.clone()).with_amount(amount, currency);
        Verdict { answer, news: vec![news("payment.refunded", key, &reference, amount, currency)] }
    }

    /// The token that an operation obeys: its payment's.
    fn token<'a>(&'a self, request: &'a PaymentRequest) -> Option<&'a ScriptText> {
        let authorisation_key = match request {
            PaymentRequest::Authorisation(authorisation) => return Some(&authorisation.token),
            PaymentRequest::Capture(capture) => &capture.authorisation_key,
            PaymentRequest::Void(void) => &void.authorisation_key,
            PaymentRequest::Refund(refund) => &self.captures.get(&refund.capture_key)?.authorisation_key,
        };
        Some(&self.authorised.get(authorisation_key)?.token)
    }
}

impl Book for Payments {
    type Request = PaymentRequest;
    type Line = LedgerLine;
    const WEBHOOK_PATH: &'static str = "/v1/webhooks/payment";

    fn effects(&self) -> &Effects<PaymentRequest> {
        &self.effects
    }

    fn effects_mut(&mut self) -> &mut Effects<PaymentRequest> {
        &mut self.effects
    }

    fn conduct(&self, request: &PaymentRequest) -> Conduct {
        self.token(request)
            .map_or_else(Conduct::default, |token| PaymentScript::parse(token, request.operation()).conduct)
    }

    fn judge(&self, request: &PaymentRequest, names: &Names) -> Verdict {
        match request {
            PaymentRequest::Authorisation(authorisation) => self.authorise(authorisation, names),
            PaymentRequest::Capture(capture) => self.capture(capture, names),
            PaymentRequest::Void(void) => self.void(void, names),
            PaymentRequest::Refund(refund) => self.refund(refund, names),
        }
    }

    fn settle(&mut self, request: &PaymentRequest, _answer: &Answer) {
        match request {
            PaymentRequest::Authorisation(Authorisation { effect_key, amount_minor, currency, token }) => {
                let (amount, currency, token) = (amount_minor.minor(), currency.clone(), token.clone());
                let authorised = Authorised { amount, currency, token, captured: None, voided: false };
                self.authorised.insert(effect_key.clone(), authorised);
            }
            PaymentRequest::Capture(Capture { effect_key, authorisation_key, amount_minor }) => {
                let amount = amount_minor.minor();
                if let Some(authorised) = self.authorised.get_mut(authorisation_key) {
                    *authorised.captured.get_or_insert(0) += amount;
                }
                let captured = Captured { authorisation_key: authorisation_key.clone(), amount, refunded: 0 };
                self.captures.insert(effect_key.clone(), captured);
            }
            PaymentRequest::Void(void) => {
                if let Some(authorised) = self.authorised.get_mut(&void.authorisation_key) {
                    authorised.voided = true;
                } else {
                    self.tombstones.insert(void.authorisation_key.clone());
                }
            }
            PaymentRequest::Refund(refund) => {
                if let Some(captured) = self.captures.get_mut(&refund.capture_key) {
                    captured.refunded += refund.amount_minor.minor();
                }
            }
        }
    }

    fn ledger_line(&self, entry: &Entry<PaymentRequest>) -> Option<LedgerLine> {
        let body = &entry.answer.as_ref()?.body;
        Some(LedgerLine {
            kind: entry.request.kind(),
            effect_key: entry.request.effect_key().into_owned(),
            parent_key: entry.request.parent_key().map(|key| key.to_string()),
            amount_minor: body.amount_minor.unwrap_or(0),
            currency: body.currency.clone(),
            status: body.status,
            applied: entry.applied,
            asked: entry.asked,
        })
    }

    fn follow_up(&self, _request: &PaymentRequest, _answer: &Answer) -> Option<(Duration, PaymentRequest)> {
        None
    }

    fn open_follow_ups(&self) -> Vec<(Duration, PaymentRequest)> {
        Vec::new()
    }
}

/// An applied effect. A void that came before its authorisation moved nothing: amount 0, no currency.
#[derive(Serialize)]
pub(super) struct LedgerLine {
    kind: &'static str,
    effect_key: String,
    parent_key: Option<String>,
    amount_minor: i64,
    currency: Option<String>,
    status: Status,
    applied: u32,
    asked: u32,
}

fn news(name: &'static str, effect_key: &str, reference: &str, amount: i64, currency: &str) -> News {
    let fields: [(&str, Value); 4] = [
        ("effect_key", effect_key.into()),
        ("reference", reference.into()),
        ("amount_minor", amount.into()),
        ("currency", currency.into()),
    ];
    News { name, fields: fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>() }
}
