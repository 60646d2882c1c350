//! P: every read model in Redis says what the log says up to the model's own checkpoint. The documents are read as plain JSON, and
//! compared with what Postgres itself makes of the raw rows. The search indexes are compared by `waybill rebuild`.

use std::collections::{BTreeMap, BTreeSet};

use redis::{AsyncCommands, aio::MultiplexedConnection};
use serde_json::Value;
use sqlx::PgPool;

use super::{
    CheckError,
    findings::{Invariant, Note},
};

/// As the models divide their documents, for ever.
const SHARDS: usize = 64;
/// A model that moves while it is read is read again so often.
const ATTEMPTS: usize = 20;

/// Where the read models lie.
#[derive(Debug, Clone)]
pub(crate) struct ViewsAt {
    pub(crate) redis_url: String,
    /// What all their keys begin with.
    pub(crate) namespace: String,
    /// The log that is checked: the models may hold documents of others beside it.
    pub(crate) log_id: String,
}

impl ViewsAt {
    /// A name without what tells the log; none for a name of another log. `A1` is of `main`, `eu@A1` of `eu`.
    fn own<'a>(&self, name: &'a str) -> Option<&'a str> {
        let (log_id, name) = name.split_once('@').unwrap_or(("main", name));
        (log_id == self.log_id).then_some(name)
    }
}

/// Fields that are compared, by the key of the document: an order, an article.
type Facts = BTreeMap<String, BTreeMap<&'static str, String>>;

/// A model, what the log says of it, and which fields of its documents say the same.
struct Model {
    name: &'static str,
    /// Rows of a key and an object of facts; `$1` is the model's checkpoint.
    sql: &'static str,
    read: fn(&Value) -> BTreeMap<&'static str, String>,
    /// Rows of the members that its lists have.
    members: Option<&'static str>,
}

const MODELS: [Model; 4] = [
    Model {
        name: "order-view",
        sql: "SELECT id, json_build_object('version', version, 'status', status, 'total', total, 'captured', coalesce(captured, 0)) \
              FROM (SELECT substr(stream_id, 7) AS id, max(stream_version) AS version, \
                     (array_agg(event_type ORDER BY stream_version DESC))[1] AS status, \
                     max((payload -> 'total' ->> 'amount_minor')) FILTER (WHERE event_type = 'OrderPlaced') AS total \
                 FROM events WHERE stream_id >= 'order-' AND stream_id < 'order.' AND position <= $1 GROUP BY stream_id) AS orders \
              LEFT JOIN (SELECT payload ->> 'order_id' AS id, sum((payload -> 'amount' ->> 'amount_minor')::bigint) AS captured \
                 FROM events WHERE stream_id >= 'payment-' AND stream_id < 'payment.' AND event_type = 'PaymentCaptured' AND position <= $1 GROUP BY 1) AS payments USING (id)",
        read: order,
        members: None,
    },
    Model {
        name: "customer-orders",
        sql: "SELECT substr(stream_id, 7), json_build_object( \
                 'version', max(stream_version), \
                 'status', (array_agg(event_type ORDER BY stream_version DESC))[1], \
                 'total', max((payload -> 'total' ->> 'amount_minor')) FILTER (WHERE event_type = 'OrderPlaced')) \
              FROM events WHERE stream_id >= 'order-' AND stream_id < 'order.' AND position <= $1 GROUP BY stream_id",
        read: summary,
        members: Some(
            "SELECT (payload ->> 'customer_id') || ' ' || (payload ->> 'order_id') FROM events \
             WHERE stream_id >= 'order-' AND stream_id < 'order.' AND event_type = 'OrderPlaced' AND position <= $1",
        ),
    },
    Model {
        name: "stock-view",
        sql: "SELECT sku, json_object_agg(location, on_hand || ' ' || reserved ORDER BY location) FROM ( \
                 SELECT payload ->> 'location' AS location, line ->> 'sku' AS sku, \
                     sum((line ->> 'quantity')::bigint * CASE event_type WHEN 'StockReceived' THEN 1 WHEN 'StockAdjusted' THEN 1 \
                         WHEN 'StockPutBack' THEN 1 WHEN 'StockCommitted' THEN -1 ELSE 0 END) AS on_hand, \
                     sum((line ->> 'quantity')::bigint * CASE event_type WHEN 'StockReserved' THEN 1 \
                         WHEN 'StockReleased' THEN -1 WHEN 'StockCommitted' THEN -1 ELSE 0 END) AS reserved \
                 FROM events CROSS JOIN LATERAL (SELECT json_array_elements(payload -> 'lines') AS line WHERE event_type <> 'StockAdjusted' \
                     UNION ALL SELECT json_build_object('sku', payload ->> 'sku', 'quantity', payload ->> 'delta') \
                     WHERE event_type = 'StockAdjusted') AS l \
                 WHERE stream_id >= 'inventory-' AND stream_id < 'inventory.' AND event_type <> 'StockRefused' AND position <= $1 \
                 GROUP BY 1, 2) AS moved GROUP BY sku",
        read: stock,
        members: None,
    },
    Model {
        name: "product-view",
        sql: "SELECT substr(stream_id, 9), json_build_object( \
                 'version', max(stream_version), \
                 'price', (array_agg(payload -> 'price' ->> 'amount_minor' ORDER BY stream_version DESC) \
                     FILTER (WHERE event_type IN ('ProductListed', 'ProductRepriced')))[1], \
                 'listed', (array_agg(event_type ORDER BY stream_version DESC) \
                     FILTER (WHERE event_type IN ('ProductListed', 'ProductDelisted')))[1] = 'ProductListed') \
              FROM events WHERE stream_id >= 'product-' AND stream_id < 'product.' AND position <= $1 GROUP BY stream_id",
        read: product,
        members: None,
    },
];

fn order(document: &Value) -> BTreeMap<&'static str, String> {
    let payments = document["payments"].as_array().into_iter().flatten();
    let captured: i64 = payments.filter_map(|payment| payment["captured"]["amount_minor"].as_i64()).sum();
    let mut facts = summary(document);
    facts.insert("captured", captured.to_string());
    facts
}

fn summary(document: &Value) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("version", text(&document["version"])),
        ("status", text(&document["status"])),
        ("total", text(&document["total"]["amount_minor"])),
    ])
}

fn stock(document: &Value) -> BTreeMap<&'static str, String> {
    let at = |place: &Value| format!("{} {} {}", text(&place["location"]), place["on_hand"], place["reserved"]);
    let mut places: Vec<_> = document["locations"].as_array().into_iter().flatten().map(at).collect();
    places.sort_unstable();
    BTreeMap::from([("locations", places.join(", "))])
}

fn product(document: &Value) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("version", text(&document["version"])),
        ("price", text(&document["price"]["amount_minor"])),
        ("listed", text(&document["listed"])),
    ])
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The log's facts in the words of the documents.
fn said(model: &Model, facts: &Value) -> BTreeMap<&'static str, String> {
    if model.name == "stock-view" {
        let places = facts.as_object().into_iter().flatten().map(|(place, pieces)| format!("{place} {}", text(pieces)));
        let mut places: Vec<_> = places.collect();
        places.sort_unstable();
        return BTreeMap::from([("locations", places.join(", "))]);
    }
    let mut said = BTreeMap::new();
    for field in ["version", "status", "total", "captured", "price", "listed"] {
        match facts.get(field).map(text).as_deref() {
            None => (),
            Some("OrderPlaced") => drop(said.insert(field, "placed".into())),
            Some("OrderConfirmed") => drop(said.insert(field, "confirmed".into())),
            Some("OrderCancellationRequested") => drop(said.insert(field, "cancellation_requested".into())),
            Some("OrderCancelled") => drop(said.insert(field, "cancelled".into())),
            Some("OrderShipped") => drop(said.insert(field, "shipped".into())),
            Some("OrderCompleted") => drop(said.insert(field, "completed".into())),
            Some(other) => drop(said.insert(field, other.to_owned())),
        }
    }
    said
}

/// A model as it lay in Redis at one of its checkpoints.
struct Lying {
    position: i64,
    documents: Facts,
    members: BTreeSet<String>,
}

/// Judges every model that has been built. A model that never stands still is left out, and said.
pub(super) async fn compare(pool: &PgPool, at: &ViewsAt) -> Result<Vec<Note>, CheckError> {
    let reading = |source| CheckError::Redis { url: at.redis_url.clone(), source };
    let client = redis::Client::open(at.redis_url.as_str()).map_err(reading)?;
    let mut redis = client.get_multiplexed_async_connection().await.map_err(reading)?;
    let mut notes = Vec::new();
    for model in &MODELS {
        let Some(lying) = lying(&mut redis, at, model).await.map_err(reading)? else { continue };
        notes.extend(judge(pool, model, &lying).await?);
    }
    Ok(notes)
}

/// None: it was never built from this log, or does not stand still for long enough to be read.
async fn lying(redis: &mut MultiplexedConnection, at: &ViewsAt, model: &Model) -> redis::RedisResult<Option<Lying>> {
    let (name, namespace) = (model.name, &at.namespace);
    for _ in 0..ATTEMPTS {
        let active: Option<u32> = redis.get(format!("{namespace}:{{{name}}}:active")).await?;
        let Some(generation) = active else { return Ok(None) };
        let head_key = format!("{namespace}:{{{name}:g{generation}}}:head");
        let before: Option<String> = redis.get(&head_key).await?;
        let Some(before) = before else { continue };
        let Some((number, position)) = place_in(&before, &at.log_id).filter(|_| names_its_logs(&before)) else {
            return Ok(None);
        };
        let (mut documents, mut members, mut furthest) = (Facts::new(), BTreeSet::new(), 0);
        for shard in 0..SHARDS {
            let tag = format!("{namespace}:{{{name}:g{generation}:{shard:02}}}");
            let (written, found, listed): (Option<String>, BTreeMap<String, String>, Vec<String>) = redis::pipe()
                .get(format!("{tag}:at"))
                .hgetall(format!("{tag}:documents"))
                .zrange(format!("{tag}:members"), 0, -1)
                .query_async(redis)
                .await?;
            furthest = furthest.max(shard_position(written.as_deref(), number));
            for (name, json) in found {
                let Some(key) = at.own(&name) else { continue };
                documents.insert(key.into(), (model.read)(&serde_json::from_str(&json).unwrap_or_default()));
            }
            members.extend(listed.iter().filter_map(|member| at.own(member)).map(without_time));
        }
        let after: Option<String> = redis.get(&head_key).await?;
        let after = after.as_deref().and_then(|head| place_in(head, &at.log_id));
        if after == Some((number, position)) && furthest <= position {
            return Ok(Some(Lying { position, documents, members }));
        }
    }
    Ok(None)
}

/// The number of a log among those of a head, and the position in it: `main:17 <event id> v1 17:12:34 eu:9 <event id> 9:5:6`.
fn place_in(head: &str, log_id: &str) -> Option<(usize, i64)> {
    let places =
        head.split(' ').filter_map(|part| part.split_once(':')).filter(|(_, position)| !position.contains(':'));
    let (number, (_, position)) = places.enumerate().find(|(_, (log, _))| *log == log_id)?;
    Some((number, position.parse().ok()?))
}

/// Not so in a generation of before there were several logs, unless that one was `main`; the projector replaces it.
fn names_its_logs(head: &str) -> bool {
    head.starts_with("main:") || head.split(' ').nth(2).is_some_and(|version| version.ends_with('@'))
}

/// `17,9 3 00ff`: the positions are in the order of the head's logs; one that is not there yet is 0.
fn shard_position(written: Option<&str>, number: usize) -> i64 {
    let positions = written.and_then(|text| text.split(' ').next());
    positions.and_then(|positions| positions.split(',').nth(number)?.parse().ok()).unwrap_or(0)
}

/// `{customer} {16 digits of time}{order}` to `{customer} {order}`.
fn without_time(member: &str) -> String {
    let (customer, rest) = member.rsplit_once(' ').unwrap_or(("", member));
    format!("{customer} {}", rest.get(16..).unwrap_or(rest))
}

async fn judge(pool: &PgPool, model: &Model, lying: &Lying) -> Result<Vec<Note>, CheckError> {
    let doing = |source| CheckError::Postgres { doing: "fold the log for a read model", source };
    let rows: Vec<(String, Value)> =
        sqlx::query_as(model.sql).bind(lying.position).fetch_all(pool).await.map_err(doing)?;
    let wanted: Facts = rows.iter().map(|(key, facts)| (key.clone(), said(model, facts))).collect();
    let mut wrong = differences(model.name, &wanted, &lying.documents);
    let mut checked = wanted.len();
    if let Some(members) = model.members {
        let members: Vec<String> =
            sqlx::query_scalar(members).bind(lying.position).fetch_all(pool).await.map_err(doing)?;
        let members: BTreeSet<String> = members.into_iter().collect();
        checked += members.len();
        let odd = members.symmetric_difference(&lying.members).next();
        wrong.extend(odd.map(|member| format!("{}: {member} is in one of log and list only", model.name)));
    }
    let position = Some(lying.position);
    let breaches = wrong.into_iter().map(|what| Note::breach(Invariant::Projections, position, what));
    let checked = Note::checked(Invariant::Projections, i64::try_from(checked).unwrap_or(i64::MAX));
    Ok(std::iter::once(checked).chain(breaches).collect())
}

/// What the documents say otherwise than the log, by model, key and field.
fn differences(model: &str, wanted: &Facts, documents: &Facts) -> Vec<String> {
    let mut wrong = Vec::new();
    for (key, facts) in wanted {
        let Some(document) = documents.get(key) else {
            wrong.push(format!("{model}: {key} is missing"));
            continue;
        };
        for (field, value) in facts {
            let said = document.get(field).map_or("nothing", String::as_str);
            if said != value {
                wrong.push(format!("{model}: {field} of {key} is {said}, and {value} in the log"));
            }
        }
    }
    let too_many = documents.keys().filter(|key| !wanted.contains_key(*key));
    wrong.extend(too_many.map(|key| format!("{model}: {key} is not in the log")));
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(status: &str) -> Facts {
        Facts::from([("o1".to_owned(), BTreeMap::from([("status", status.to_owned())]))])
    }

    #[test]
    fn a_document_that_is_altered_missing_or_too_many_is_named() {
        assert_eq!(differences("order-view", &facts("placed"), &facts("placed")), [""; 0]);
        let altered = differences("order-view", &facts("placed"), &facts("completed"));
        assert_eq!(altered, ["order-view: status of o1 is completed, and placed in the log"]);
        assert_eq!(differences("order-view", &facts("placed"), &Facts::new()), ["order-view: o1 is missing"]);
        assert_eq!(differences("order-view", &Facts::new(), &facts("placed")), ["order-view: o1 is not in the log"]);
    }

    #[test]
    fn a_checkpoint_and_a_member_are_read_as_they_lie() {
        let event = "00000000-0000-0000-0000-000000000007";
        let head = format!("main:17 {event} v1 17:12:34 eu:9 {event} 9:5:6");
        assert_eq!(place_in(&head, "main"), Some((0, 17)));
        assert_eq!(place_in(&head, "eu"), Some((1, 9)));
        assert_eq!(place_in(&head, "us"), None);
        assert!(names_its_logs(&head) && names_its_logs("eu:9 id v1@ 9:5:6") && !names_its_logs("eu:9 id v1 9:5:6"));
        assert_eq!(place_in(&format!("main:17 {event} v1"), "main"), Some((0, 17)));
        assert_eq!((shard_position(Some("9 2 00ff"), 0), shard_position(Some("9,4 2 00ff"), 1)), (9, 4));
        assert_eq!((shard_position(Some("9 2 00ff"), 1), shard_position(None, 0)), (0, 0));
        assert_eq!(without_time("anna 80060a24181e4000o1"), "anna o1");
    }
}
