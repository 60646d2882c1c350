//! What was asked and answered under each effect key, the same for payments and carriers: the key makes a repeat
//! harmless, a script makes it go wrong. Pure: a request and the state give a line for the ledger and a reply.

use std::{borrow::Cow, collections::HashMap, time::Duration};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    names::Names,
    news::{self, News, Webhook},
    script::{Conduct, Fault},
};

/// A wish under an effect key.
pub(super) trait Request: Clone + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static {
    fn effect_key(&self) -> Cow<'_, str>;
    fn kind(&self) -> &'static str;
}

/// The state of one service and its rules. `settle` cannot fail: it moves what `judge` has allowed.
pub(super) trait Book: Send + 'static {
    type Request: Request;
    type Line: Serialize + Send;
    /// Where Waybill takes this service's webhooks.
    const WEBHOOK_PATH: &'static str;

    fn effects(&self) -> &Effects<Self::Request>;
    fn effects_mut(&mut self) -> &mut Effects<Self::Request>;
    fn conduct(&self, request: &Self::Request) -> Conduct;
    fn judge(&self, request: &Self::Request, names: &Names) -> Verdict;
    fn settle(&mut self, request: &Self::Request, answer: &Answer);
    /// An applied effect as an outsider sees it; none for what the service did by itself.
    fn ledger_line(&self, entry: &Entry<Self::Request>) -> Option<Self::Line>;
    /// What the service asks of itself once `request` was answered.
    fn follow_up(&self, request: &Self::Request, answer: &Answer) -> Option<(Duration, Self::Request)>;
    /// The follow-ups that have not happened yet.
    fn open_follow_ups(&self) -> Vec<(Duration, Self::Request)>;
}

/// A line of the ledger file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line<R> {
    /// A repeat, or a request that a script let fail before it had an effect.
    Asked {
        at: DateTime<Utc>,
        request: R,
    },
    Answered {
        at: DateTime<Utc>,
        request: R,
        answer: Answer,
        webhooks: Vec<Webhook>,
    },
    /// Nothing is left to send of this event: `status` is the receiver's last word.
    WebhookEnded {
        at: DateTime<Utc>,
        event_id: String,
        status: u16,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answer {
    pub(super) code: u16,
    /// Whether it moved anything: a decline or a refusal did not, nor did a second void of the same authorisation.
    pub(super) applied: bool,
    pub(super) body: AnswerBody,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AnswerBody {
    pub(super) effect_key: String,
    pub(super) status: Status,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reference: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tracking: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) amount_minor: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) currency: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    Authorised,
    Declined,
    Captured,
    Voided,
    Refunded,
    Refused,
    Booked,
    Cancelled,
    Dispatched,
}

impl Answer {
    /// 201: the effect was applied.
    pub(super) fn applied(effect_key: &str, status: Status) -> Self {
        let body = AnswerBody {
            effect_key: effect_key.into(),
            status,
            reason: None,
            reference: None,
            tracking: None,
            amount_minor: None,
            currency: None,
        };
        Self { code: 201, applied: true, body }
    }

    /// A "no" that moved nothing, remembered like any other answer.
    pub(super) fn no(effect_key: &str, code: u16, status: Status, reason: &str) -> Self {
        let yes = Self::applied(effect_key, status);
        Self { code, applied: false, body: AnswerBody { reason: Some(reason.into()), ..yes.body } }
    }

    /// 422: a rule or a script says no.
    pub(super) fn refused(effect_key: &str, reason: &str) -> Self {
        Self::no(effect_key, 422, Status::Refused, reason)
    }

    pub(super) fn with_amount(mut self, minor: i64, currency: &str) -> Self {
        self.body.amount_minor = Some(minor);
        self.body.currency = Some(currency.into());
        self
    }

    pub(super) fn with_reference(mut self, reference: String) -> Self {
        self.body.reference = Some(reference);
        self
    }

    pub(super) fn with_tracking(mut self, tracking: String) -> Self {
        self.body.tracking = Some(tracking);
        self
    }
}

/// An answer and what it tells the world.
pub(super) struct Verdict {
    pub(super) answer: Answer,
    pub(super) news: Vec<News>,
}

impl From<Answer> for Verdict {
    fn from(answer: Answer) -> Self {
        Self { answer, news: Vec::new() }
    }
}

/// Everything asked so far.
pub(super) struct Effects<R> {
    entries: HashMap<String, Entry<R>>,
    /// The keys of what was applied, in order.
    applied: Vec<String>,
}

pub(super) struct Entry<R> {
    pub(super) request: R,
    pub(super) answer: Option<Answer>,
    pub(super) asked: u32,
    /// Counted as the lines are read, so that an effect applied twice would show.
    pub(super) applied: u32,
}

impl<R> Default for Effects<R> {
    fn default() -> Self {
        Self { entries: HashMap::new(), applied: Vec::new() }
    }
}

impl<R: Request> Effects<R> {
    pub(super) fn get(&self, effect_key: &str) -> Option<&Entry<R>> {
        self.entries.get(effect_key)
    }

    pub(super) fn applied_count(&self) -> usize {
        self.applied.len()
    }

    /// Applied effects from the `from`th on, in the order in which they were applied.
    pub(super) fn applied_from(&self, from: usize) -> impl Iterator<Item = &Entry<R>> {
        self.applied.iter().skip(from).filter_map(|key| self.entries.get(key))
    }

    fn note(&mut self, request: R, answer: Option<Answer>) {
        let effect_key = request.effect_key().into_owned();
        let unasked = || Entry { request, answer: None, asked: 0, applied: 0 };
        let entry = self.entries.entry(effect_key.clone()).or_insert_with(unasked);
        entry.asked = entry.asked.saturating_add(1);
        if let Some(answer) = answer {
            if answer.applied {
                self.applied.push(effect_key);
                entry.applied = entry.applied.saturating_add(1);
            }
            entry.answer = Some(answer);
        }
    }
}

/// What happens to the one who asked.
#[derive(Debug)]
pub(super) enum Reply {
    Answered(Answered),
    /// No reply for a long time, and no effect.
    Hang,
    /// A 500, and no effect.
    Fail,
    /// The effect key stands for another request already.
    KeyReused,
}

#[derive(Debug)]
pub(super) struct Answered {
    pub(super) answer: Answer,
    pub(super) then_hang: bool,
    pub(super) webhook_first: bool,
}

/// Judges a request on the state: the line to write, if any, and the reply once that line is durable.
pub(super) fn ask<B: Book>(
    book: &B,
    request: B::Request,
    at: DateTime<Utc>,
    names: &Names,
) -> (Option<Line<B::Request>>, Reply) {
    let effect_key = request.effect_key().into_owned();
    let entry = book.effects().get(&effect_key);
    if entry.is_some_and(|entry| entry.request != request) {
        return (None, Reply::KeyReused);
    }
    if let Some(answer) = entry.and_then(|entry| entry.answer.clone()) {
        let reply = Reply::Answered(Answered { answer, then_hang: false, webhook_first: false });
        return (Some(Line::Asked { at, request }), reply);
    }
    let conduct = book.conduct(&request);
    match conduct.fault(entry.map_or(0, |entry| entry.asked)) {
        Some(Fault::Hang) => (Some(Line::Asked { at, request }), Reply::Hang),
        Some(Fault::Fail) => (Some(Line::Asked { at, request }), Reply::Fail),
        None => {
            let Verdict { answer, news } = book.judge(&request, names);
            let webhooks = news::webhooks(news, &effect_key, &conduct.webhooks, at, names);
            let webhook_first = conduct.webhooks.first && !webhooks.is_empty();
            let reply = Answered { answer: answer.clone(), then_hang: conduct.timeout_after, webhook_first };
            (Some(Line::Answered { at, request, answer, webhooks }), Reply::Answered(reply))
        }
    }
}

/// Takes a line into the state, whether it was just decided or read from the file.
pub(super) fn fold<B: Book>(book: &mut B, line: &Line<B::Request>) {
    match line {
        Line::Asked { request, .. } => book.effects_mut().note(request.clone(), None),
        Line::Answered { request, answer, .. } => {
            if answer.applied {
                book.settle(request, answer);
            }
            book.effects_mut().note(request.clone(), Some(answer.clone()));
        }
        Line::WebhookEnded { .. } => (),
    }
}
