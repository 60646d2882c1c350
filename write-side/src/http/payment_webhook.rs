//! `POST /v1/webhooks/payment`: what the payment provider tells of its own accord; maybe twice, late, or before its reply.

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
};
use chrono::{DateTime, Utc};
use events::{Actor, CommandId, EffectKey, OrderId, PaymentId, Tenant};
use garde::Validate;
use http_api::{Code, Problem, RawBody};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    WriteSide,
    answer::{Accepted, Refusals},
    problem::refused,
};
use crate::{
    Context,
    domain::payment::{Payment, PaymentCommand},
    handle,
};

/// Fields that Waybill does not use are ignored: the provider's format is the provider's.
#[derive(Debug, Deserialize, Validate, ToSchema)]
pub(super) struct PaymentWebhookBody {
    /// The provider's own id of the event: the same for every delivery.
    #[garde(length(chars, min = 1, max = 128))]
    #[schema(min_length = 1, max_length = 128)]
    event_id: String,
    #[garde(skip)]
    #[serde(rename = "type")]
    told: PaymentFact,
    #[garde(skip)]
    #[schema(value_type = String)]
    effect_key: EffectKey,
    #[garde(length(chars, max = 128), custom(http_api::plain_text))]
    #[schema(max_length = 128)]
    #[serde(default)]
    reference: String,
    #[garde(length(chars, max = 200), custom(http_api::plain_text))]
    #[schema(max_length = 200)]
    #[serde(default)]
    reason: String,
    #[garde(skip)]
    occurred_at: DateTime<Utc>,
}

#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
enum PaymentFact {
    #[serde(rename = "payment.authorised")]
    Authorised,
    #[serde(rename = "payment.declined")]
    Declined,
    #[serde(rename = "payment.captured")]
    Captured,
    #[serde(rename = "payment.voided")]
    Voided,
    #[serde(rename = "payment.refunded")]
    Refunded,
}

/// Takes a payment provider's webhook.
///
/// Signed (`Webhook-Signature: v1=<hex HMAC-SHA256 of the body>`). A repeated `event_id` changes nothing; 503 asks the
/// provider to send it again.
#[utoipa::path(post, path = "/v1/webhooks/payment", tag = "webhooks",
    params(("Webhook-Signature" = String, Header, description = "v1= and the hex HMAC-SHA256 of the body.")),
    request_body = PaymentWebhookBody,
    responses((status = 200, description = "Recorded, now or before", body = Accepted, headers(
            ("ETag" = String, description = "`\"{version}.{position}\"` of what was changed"),
            ("Waybill-Position" = String, description = "Where it is recorded; for Waybill-Min-Position"))),
        (status = 401, description = "The signature does not fit", body = Problem, content_type = "application/problem+json"),
        Refusals))]
pub(super) async fn payment_webhook(
    State(app): State<WriteSide>,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<Accepted, Problem> {
    let body: PaymentWebhookBody = app.webhook_secret.open(&headers, &body)?;
    let order_id = body
        .effect_key
        .order_id()
        .ok_or_else(|| Problem::new(Code::RuleViolated, "no payment of ours was asked for under this effect_key"))?;
    let context = provider_context("payment-provider", &body.event_id, order_id, body.occurred_at);
    // One payment an order: the effect key of a capture, void or refund names the order, and so the payment.
    let stream = PaymentId::of(order_id, 1).stream();
    let handled = handle::<Payment>(&app.store, &stream, body.into_command(), &context).await.map_err(refused)?;
    Ok(Accepted::new(StatusCode::OK, app.store.log().id(), handled))
}

impl PaymentWebhookBody {
    fn into_command(self) -> PaymentCommand {
        let Self { told, effect_key, reference: provider_reference, reason, .. } = self;
        match told {
            PaymentFact::Authorised => PaymentCommand::RecordAuthorised { effect_key, provider_reference },
            PaymentFact::Declined => PaymentCommand::RecordDeclined { effect_key, reason },
            PaymentFact::Captured => PaymentCommand::RecordCaptured { effect_key, provider_reference },
            PaymentFact::Voided => PaymentCommand::RecordVoided { effect_key },
            PaymentFact::Refunded => PaymentCommand::RecordRefunded { effect_key, provider_reference },
        }
    }
}

/// The circumstances of a fact from outside: the provider's own event id makes its repetition the same command.
pub(super) fn provider_context(provider: &str, event_id: &str, order_id: OrderId, at: DateTime<Utc>) -> Context {
    Context {
        command_id: CommandId::of(&["webhook", provider, event_id]),
        correlation_id: order_id.0,
        actor: Actor::service(provider),
        tenant: Tenant::default(),
        traceparent: None,
        business_time: Some(at),
        body_hash: None,
        once_in: None,
    }
}
