//! `GET /v1/projections`: how the read models stand.

use std::time::Duration;

use axum::extract::State;
use events::LogPosition;
use http_api::{Code, Json, Problem};
use projections::{ProjectionStatus, statuses};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{ReadSide, answer::Answer};

/// Redis and Postgres are asked one after the other, each with a bound of its own.
const TIME_MAX: Duration = Duration::from_secs(8);
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// One line per read model and log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Projections {
    items: Vec<ProjectionStatus>,
}

/// How far each read model is behind the logs that it is made from, and what it is doing.
#[utoipa::path(
    get, path = "/v1/projections", tag = "operations", operation_id = "list_projections",
    responses(
        (status = 200, description = "One line per read model and log", body = Projections,
            headers(("Waybill-Position" = String, description = "The end of the log that they are compared with"))),
        (status = 503, description = "The log cannot be reached", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn list_projections(State(app): State<ReadSide>) -> Result<Answer<Json<Projections>>, Problem> {
    let (parts, log) = (&app.parts, app.own_log());
    let unavailable = || Problem::unavailable(Code::LogUnavailable, RETRY_AFTER);
    let asked = async {
        let head = log.head().await?;
        let items = statuses(&parts.views, &parts.search, &parts.logs, parts.handle.as_ref()).await;
        Ok::<_, events::LogError>(Answer::json(Projections { items }, LogPosition::new(log.id().clone(), head)))
    };
    let answered = tokio::time::timeout(TIME_MAX, asked).await.map_err(|late| unavailable().caused_by(&late))?;
    answered.map_err(|error| unavailable().caused_by(&error))
}
