//! `saga_deadlines` and the quarantine: what each saga waits for, kept in Postgres together with the engine's checkpoint.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use events::{Checkpoint, LogError, OrderId, Position, checkpoint, fulfilment::Direction};
use sqlx::PgPool;
use uuid::Uuid;

use super::READER;
use crate::{Error, saga::Saga};

/// A row: what the saga waits for; nothing once it has ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Waits {
    pub step: &'static str,
    pub direction: Direction,
    pub due_at: Option<DateTime<Utc>>,
    pub intent: Position,
}

/// Writes what has changed and moves the checkpoint: a fenced engine writes nothing.
///
/// One statement, so that an engine which is frozen in the middle leaves no lock behind for the one that takes over.
pub(super) async fn save(
    pool: &PgPool,
    saga: &Saga,
    changed: &HashMap<OrderId, Option<Waits>>,
    before: &Checkpoint,
    after: &Checkpoint,
) -> Result<(), Error> {
    let ended: Vec<Uuid> = changed.iter().filter(|(_, waits)| waits.is_none()).map(|(id, _)| id.0).collect();
    let open: Vec<_> = changed.iter().filter_map(|(id, waits)| waits.as_ref().map(|waits| (id.0, waits))).collect();
    let sql = format!(
        "WITH moved AS ({}), \
         ended AS (DELETE FROM saga_deadlines WHERE saga = $6 AND order_id = ANY ($7) AND EXISTS (SELECT FROM moved)), \
         waiting AS (INSERT INTO saga_deadlines (saga, order_id, step, direction, due_at, intent_position) \
             SELECT $6, w.* FROM unnest($8::uuid[], $9::text[], $10::text[], $11::timestamptz[], $12::bigint[]) AS w \
             WHERE EXISTS (SELECT FROM moved) \
             ON CONFLICT (saga, order_id) DO UPDATE SET step = excluded.step, direction = excluded.direction, \
             due_at = excluded.due_at, intent_position = excluded.intent_position) \
         SELECT count(*) FROM moved",
        checkpoint::MOVE
    );
    let moved: i64 = sqlx::query_scalar(&sql)
        .bind(READER)
        .bind(after.log_id.as_str())
        .bind(before.position.0)
        .bind(after.position.0)
        .bind(after.event_id)
        .bind(saga.name)
        .bind(&ended)
        .bind(open.iter().map(|(id, _)| *id).collect::<Vec<_>>())
        .bind(open.iter().map(|(_, waits)| waits.step).collect::<Vec<_>>())
        .bind(open.iter().map(|(_, waits)| direction(waits.direction)).collect::<Vec<_>>())
        .bind(open.iter().map(|(_, waits)| waits.due_at).collect::<Vec<_>>())
        .bind(open.iter().map(|(_, waits)| waits.intent.0).collect::<Vec<_>>())
        .fetch_one(pool)
        .await
        .map_err(Error::doing("save deadlines"))?;
    if moved == 1 { Ok(()) } else { Err(LogError::Fenced { reader: READER.into() }.into()) }
}

/// The sagas that are due by the database's clock, longest first, and what that clock says.
pub(super) async fn due(pool: &PgPool, saga: &Saga, limit: u32) -> Result<Vec<(OrderId, DateTime<Utc>)>, Error> {
    let rows: Vec<(Uuid, DateTime<Utc>)> = sqlx::query_as(
        "SELECT order_id, clock_timestamp() FROM saga_deadlines \
         WHERE saga = $1 AND due_at <= clock_timestamp() ORDER BY due_at LIMIT $2",
    )
    .bind(saga.name)
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await
    .map_err(Error::doing("look for what is due"))?;
    Ok(rows.into_iter().map(|(id, now)| (OrderId(id), now)).collect())
}

/// Leaves a saga alone from that fact on.
pub(super) async fn quarantine(
    pool: &PgPool,
    saga: &Saga,
    order_id: OrderId,
    from: Position,
    reason: &str,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO quarantined_sagas (saga, order_id, position, reason) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
    )
    .bind(saga.name)
    .bind(order_id.0)
    .bind(from.0)
    .bind(reason)
    .execute(pool)
    .await
    .map_err(Error::doing("put a saga into quarantine"))?;
    Ok(())
}

/// The sagas that are left alone.
pub(super) async fn quarantined(pool: &PgPool, saga: &Saga) -> Result<Vec<OrderId>, LogError> {
    let rows: Result<Vec<Uuid>, _> = sqlx::query_scalar("SELECT order_id FROM quarantined_sagas WHERE saga = $1")
        .bind(saga.name)
        .fetch_all(pool)
        .await;
    match rows {
        Ok(rows) => Ok(rows.into_iter().map(OrderId).collect()),
        Err(source) => Err(LogError::Postgres { doing: "read which sagas are in quarantine", source }),
    }
}

const fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Forward => "forward",
        Direction::Undo => "undo",
    }
}
