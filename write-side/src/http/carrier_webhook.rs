//! `POST /v1/webhooks/carrier`: the carrier tells that a parcel left or arrived; maybe twice, late, or out of order.

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
};
use chrono::{DateTime, Utc};
use events::{EffectKey, ShipmentId};
use garde::Validate;
use http_api::{Code, Problem, RawBody};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    WriteSide,
    answer::{Accepted, Refusals},
    payment_webhook::provider_context,
    problem::refused,
};
use crate::{
    domain::shipment::{Shipment, ShipmentCommand},
    handle,
};

/// Fields that Waybill does not use are ignored: the carrier's format is the carrier's.
#[derive(Debug, Deserialize, Validate, ToSchema)]
pub(super) struct CarrierWebhookBody {
    /// The carrier's own id of the event: the same for every delivery.
    #[garde(length(chars, min = 1, max = 128))]
    #[schema(min_length = 1, max_length = 128)]
    event_id: String,
    #[garde(skip)]
    #[serde(rename = "type")]
    told: CarrierFact,
    #[garde(skip)]
    #[schema(value_type = String, format = Uuid)]
    shipment_id: ShipmentId,
    #[garde(skip)]
    #[schema(value_type = String)]
    booking_key: EffectKey,
    #[garde(length(chars, min = 1, max = 128), custom(http_api::plain_text))]
    #[schema(min_length = 1, max_length = 128)]
    tracking: String,
    #[garde(skip)]
    occurred_at: DateTime<Utc>,
}

#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
enum CarrierFact {
    #[serde(rename = "shipment.dispatched")]
    Dispatched,
    #[serde(rename = "shipment.delivered")]
    Delivered,
}

/// Takes a carrier's webhook.
///
/// Signed (`Webhook-Signature: v1=<hex HMAC-SHA256 of the body>`). A repeated `event_id` changes nothing; 503 asks the
/// carrier to send it again.
#[utoipa::path(post, path = "/v1/webhooks/carrier", tag = "webhooks",
    params(("Webhook-Signature" = String, Header, description = "v1= and the hex HMAC-SHA256 of the body.")),
    request_body = CarrierWebhookBody,
    responses((status = 200, description = "Recorded, now or before", body = Accepted, headers(
            ("ETag" = String, description = "`\"{version}.{position}\"` of what was changed"),
            ("Waybill-Position" = String, description = "Where it is recorded; for Waybill-Min-Position"))),
        (status = 401, description = "The signature does not fit", body = Problem, content_type = "application/problem+json"),
        Refusals))]
pub(super) async fn carrier_webhook(
    State(app): State<WriteSide>,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<Accepted, Problem> {
    let body: CarrierWebhookBody = app.webhook_secret.open(&headers, &body)?;
    let order_id = body
        .booking_key
        .order_id()
        .ok_or_else(|| Problem::new(Code::RuleViolated, "no shipment of ours was asked for under this booking_key"))?;
    let context = provider_context("carrier", &body.event_id, order_id, body.occurred_at);
    let command = match body.told {
        CarrierFact::Dispatched => ShipmentCommand::RecordDispatched { tracking: body.tracking },
        CarrierFact::Delivered => ShipmentCommand::RecordDelivered { tracking: body.tracking },
    };
    let stream = body.shipment_id.stream();
    let handled = handle::<Shipment>(&app.store, &stream, command, &context).await.map_err(refused)?;
    Ok(Accepted::new(StatusCode::OK, app.store.log().id(), handled))
}
