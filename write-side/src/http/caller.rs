//! Who sends a command, and under which id it is remembered.

use std::convert::Infallible;

use axum::{
    extract::{FromRef, FromRequestParts, MatchedPath},
    http::request::Parts,
};
use chrono::{DateTime, Utc};
use events::{Actor, CommandId, Tenant};
use http_api::{ActorHeader, IdempotencyKey, OfLog, Problem, ServedLogs, Traceparent};
use utoipa::IntoParams;
use uuid::Uuid;

use crate::Context;

/// The sender of a command that may be repeated: its id is made of tenant, actor, route and `Idempotency-Key`.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct Caller {
    /// On whose behalf, as `role:subject`; the storefront when absent. The role is one of customer, staff, finance, analyst,
    /// operator, service; the subject has 1 to 128 visible ASCII characters.
    #[param(rename = "Waybill-Actor", value_type = Option<String>, default = "service:storefront", example = "staff:jo")]
    pub actor: Actor,
    /// Visible ASCII characters, the same for every repetition of this request; the first answer is known for 30 days unless set otherwise.
    #[param(rename = "Idempotency-Key", value_type = String, min_length = 1, max_length = 255)]
    pub command_id: CommandId,
    /// The trace that the command belongs to (W3C); what is not well formed is dropped.
    traceparent: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for Caller
where
    ServedLogs: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        // A command that names another log is not recorded in this one.
        OfLog::from_request_parts(parts, state).await?;
        let key = IdempotencyKey::from_request_parts(parts, state).await?;
        let ActorHeader(actor) = ActorHeader::from_request_parts(parts, state).await?;
        let Ok::<_, Infallible>(Traceparent(traceparent)) = Traceparent::from_request_parts(parts, state).await;
        let route = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
        let role = serde_json::to_string(&actor.role).expect("a role is a word");
        let parts = [&*Tenant::default().0, &role, &actor.subject, parts.method.as_str(), route, key.as_str()];
        Ok(Self { command_id: CommandId::of(&parts), actor, traceparent })
    }
}

impl Caller {
    /// The circumstances of the command: which conversation it belongs to, and the body it came with.
    pub(super) fn context(
        self,
        correlation_id: Uuid,
        body_hash: String,
        business_time: Option<DateTime<Utc>>,
    ) -> Context {
        Context {
            command_id: self.command_id,
            correlation_id,
            actor: self.actor,
            tenant: Tenant::default(),
            traceparent: self.traceparent,
            business_time,
            body_hash: Some(body_hash),
            once_in: None,
        }
    }

    /// The circumstances of a command that starts a conversation of its own.
    pub(super) fn context_alone(self, body_hash: String, business_time: Option<DateTime<Utc>>) -> Context {
        let correlation_id = self.command_id.0;
        self.context(correlation_id, body_hash, business_time)
    }
}
