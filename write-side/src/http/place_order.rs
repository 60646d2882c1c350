//! `POST /v1/orders`: a customer's wish becomes a fact. Stock and money follow; see the timeline.

use axum::{extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use events::{
    Actor, CustomerId, Delivery, LocationId, Money, OrderId, Sku,
    order::{OrderLine, OrderPlaced},
};
use garde::Validate;
use http_api::{Code, HashedJson, OfLog, Problem};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    WriteSide,
    answer::{Accepted, Refusals},
    caller::Caller,
    problem::{failed, money, refused},
};
use crate::{
    create,
    domain::order::{Order, OrderCommand},
    first_outcome,
};

#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PlaceOrderBody {
    #[garde(skip)]
    #[schema(value_type = String, example = "17850")]
    customer_id: CustomerId,
    #[garde(length(min = 1, max = 1000), dive)]
    #[schema(min_items = 1, max_items = 1000)]
    lines: Vec<PlaceOrderLine>,
    /// The payment provider's token for the customer's means of payment; never a card number.
    #[garde(length(chars, min = 1, max = 200), custom(http_api::plain_text))]
    #[schema(min_length = 1, max_length = 200, example = "tok_ok")]
    payment_token: String,
    /// `recipient` and `street` have at most 200 characters, `city` and `service` 100, `postal_code` 20.
    #[garde(custom(bounded_delivery))]
    delivery: Delivery,
    /// Where the goods are taken from; the shop's main location unless given.
    #[garde(skip)]
    #[schema(value_type = Option<String>)]
    location: Option<LocationId>,
    /// What the order is called where it comes from, such as an invoice number.
    #[garde(inner(length(chars, min = 1, max = 100), custom(http_api::plain_text)))]
    #[schema(min_length = 1, max_length = 100)]
    reference: Option<String>,
    /// When it was placed, where that is not now.
    #[garde(skip)]
    business_time: Option<DateTime<Utc>>,
}

#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct PlaceOrderLine {
    #[garde(skip)]
    #[schema(value_type = String, example = "85123A")]
    sku: Sku,
    #[garde(range(min = 1, max = 1_000_000))]
    #[schema(minimum = 1, maximum = 1_000_000, example = 2)]
    quantity: u32,
    /// Only from an importing service: everybody else pays the catalogue's price.
    #[garde(skip)]
    agreed: Option<Agreed>,
}

/// A price that was agreed elsewhere. The total is stated, since the unit price may be rounded.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Agreed {
    unit_price: Money,
    total: Money,
}

fn bounded_delivery(delivery: &Delivery, _context: &()) -> garde::Result {
    let Delivery { recipient, street, city, postal_code, country, service } = delivery;
    for (name, text, max) in [
        ("recipient", recipient, 200),
        ("street", street, 200),
        ("city", city, 100),
        ("postal_code", postal_code, 20),
        ("service", service, 100),
    ] {
        if text.chars().count() > max || text.contains('\0') {
            return Err(garde::Error::new(format!("{name} has at most {max} characters, and no U+0000")));
        }
    }
    if country.len() == 2 && country.bytes().all(|byte| byte.is_ascii_uppercase()) {
        Ok(())
    } else {
        Err(garde::Error::new("country is an ISO 3166 code of two capital letters"))
    }
}

/// Places an order.
///
/// 201 says that it is recorded, not that it is confirmed: stock and money are still to be had. Repeating an
/// `Idempotency-Key` places nothing twice.
#[utoipa::path(post, path = "/v1/orders", tag = "orders",
    params(Caller, OfLog),
    request_body = PlaceOrderBody,
    responses((status = 201, description = "Recorded, not yet confirmed", body = Accepted, headers(
            ("ETag" = String, description = "`\"{version}.{position}\"` of what was changed"),
            ("Waybill-Position" = String, description = "Where it is recorded; for Waybill-Min-Position"))),
        (status = 415, description = "The body is not JSON", body = Problem, content_type = "application/problem+json"),
        Refusals))]
pub(super) async fn place_order(
    State(app): State<WriteSide>,
    caller: Caller,
    HashedJson(body, hash): HashedJson<PlaceOrderBody>,
) -> Result<Accepted, Problem> {
    let order_id = OrderId::of(caller.command_id);
    let (stream, context) = (order_id.stream(), caller.context(order_id.0, hash, body.business_time));
    let handled = match priced(&app, &context.actor, order_id, &body).await {
        Ok(order) => create::<Order>(&app.store, &stream, OrderCommand::Place { order }, &context).await,
        // The catalogue may have changed since the same request was answered first: that answer stands.
        Err(problem) => match first_outcome::<Order>(&app.store, &stream, &context).await {
            Ok(first) => Ok(first.ok_or(problem)?),
            Err(error) => Err(error),
        },
    };
    let handled = handled.map_err(refused)?;
    Ok(Accepted::new(StatusCode::CREATED, app.store.log().id(), handled).of_order(order_id))
}

/// The order as it will be remembered, each line with its price.
async fn priced(
    app: &WriteSide,
    actor: &Actor,
    order_id: OrderId,
    body: &PlaceOrderBody,
) -> Result<OrderPlaced, Problem> {
    let mut lines = Vec::with_capacity(body.lines.len());
    for (index, line) in body.lines.iter().enumerate() {
        let priced =
            price(app, actor, line).await.map_err(|problem| problem.with_pointer(format!("/lines/{index}")))?;
        lines.push(priced);
    }
    let total = Money::sum(lines.iter().map(|line| line.total)).map_err(|error| money(&error))?;
    Ok(OrderPlaced {
        order_id,
        customer_id: body.customer_id.clone(),
        lines,
        total,
        payment_token: body.payment_token.clone(),
        delivery: body.delivery.clone(),
        location: body.location.clone().unwrap_or_else(|| app.location.clone()),
        reference: body.reference.clone(),
    })
}

async fn price(app: &WriteSide, actor: &Actor, line: &PlaceOrderLine) -> Result<OrderLine, Problem> {
    let priced = app.prices.price(&app.store, &line.sku).await.map_err(|error| failed(&error))?;
    let unknown = || Problem::rule(Code::UnknownProduct, format!("{} is not in the catalogue", line.sku));
    let priced = priced.filter(|priced| priced.listed || line.agreed.is_some()).ok_or_else(unknown)?;
    let (unit_price, total, product_version) = match &line.agreed {
        None => {
            let total = priced.price.times(line.quantity).map_err(|error| money(&error))?;
            (priced.price, total, Some(priced.version))
        }
        Some(agreed) if may_agree(actor) => (agreed.unit_price, agreed.total, None),
        Some(_) => {
            let detail = "only an importing service (Waybill-Actor: service:importer) may state agreed prices";
            return Err(Problem::rule(Code::PriceNotAccepted, detail));
        }
    };
    Ok(OrderLine {
        sku: line.sku.clone(),
        kind: priced.kind,
        quantity: line.quantity,
        unit_price,
        total,
        product_version,
    })
}

/// Until there are permissions: the importer is known by its name.
fn may_agree(actor: &Actor) -> bool {
    *actor == Actor::service("importer")
}
