//! What an effect tells Waybill by webhook, and in which manner. Pure: the webhooks are written down with the effect.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{names::Names, script::Manner};

/// An ordinary webhook stays behind its reply by this much; nobody may rely on it.
const REPLY_HEAD_START: Duration = Duration::from_millis(10);

/// Something that happened, as its receiver will read it.
pub(super) struct News {
    pub(super) name: &'static str,
    pub(super) fields: Map<String, Value>,
}

/// One event for Waybill. `delay_ms` counts from the effect, or from the end of the webhook before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Webhook {
    pub(super) event_id: String,
    pub(super) delay_ms: u64,
    /// How many times it is sent although it was taken.
    pub(super) copies: u8,
    pub(super) body: Value,
}

impl Webhook {
    pub(super) fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms)
    }
}

/// The webhooks of the effect under `effect_key`, in the order in which they leave.
pub(super) fn webhooks(
    mut news: Vec<News>,
    effect_key: &str,
    manner: &Manner,
    at: DateTime<Utc>,
    names: &Names,
) -> Vec<Webhook> {
    if manner.lost {
        return Vec::new();
    }
    if manner.reversed {
        news.reverse();
    }
    let first_delay = if manner.first { manner.late } else { REPLY_HEAD_START + manner.late };
    let delay_of = |number: usize| if number == 0 { first_delay } else { Duration::ZERO };
    let mut webhooks: Vec<Webhook> = news
        .iter()
        .enumerate()
        .map(|(number, news)| webhook(news, effect_key, "", delay_of(number), manner, at, names))
        .collect();
    if let Some(pause) = manner.again_after {
        webhooks.extend(news.iter().map(|news| webhook(news, effect_key, "again", pause, manner, at, names)));
    }
    webhooks
}

fn webhook(
    news: &News,
    effect_key: &str,
    occasion: &str,
    delay: Duration,
    manner: &Manner,
    at: DateTime<Utc>,
    names: &Names,
) -> Webhook {
    let event_id = names.name("evt_", &[effect_key, news.name, occasion]);
    let mut body = news.fields.clone();
    body.insert("event_id".into(), event_id.clone().into());
    body.insert("type".into(), news.name.into());
    body.insert("occurred_at".into(), at.to_rfc3339_opts(SecondsFormat::Micros, true).into());
    Webhook {
        event_id,
        delay_ms: u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
        copies: if manner.duplicate { 2 } else { 1 },
        body: Value::Object(body),
    }
}
