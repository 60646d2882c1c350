//! Old schema versions made current on read. A released event is never edited: a new shape is a new version and a line here.

use serde_json::{Value, json};

/// Raises `payload` version by version; `None` when a version on the way is not known.
pub(crate) fn to_current(event_type: &str, from: i16, current: i16, payload: Value) -> Option<Value> {
    (from..current)
        .try_fold(payload, |payload, version| raise(event_type, version, payload))
        .filter(|_| from <= current)
}

/// One step: from `version` to the next.
fn raise(event_type: &str, version: i16, mut payload: Value) -> Option<Value> {
    match (event_type, version) {
        // Until services could be sold, everything was goods.
        ("ProductListed", 1) => payload.as_object_mut()?.insert("kind".into(), json!("goods")),
        _ => return None,
    };
    Some(payload)
}

#[cfg(test)]
mod tests {
    use crate::{EventPayload, ProductEvent, product::ProductKind};

    const V1: &str = r#"{"sku":"A","name":"n","description":"","categories":[],"attributes":{},
        "price":{"amount_minor":1,"currency":"GBP"}}"#;

    #[test]
    fn a_product_listed_before_services_existed_is_goods() {
        let event = ProductEvent::decode("ProductListed", 1, V1).expect("v1 is a released version");
        let ProductEvent::Listed(listed) = event else { panic!("not listed: {event:?}") };
        assert_eq!(listed.kind, ProductKind::Goods);
    }

    #[test]
    fn a_version_from_the_future_or_from_nowhere_is_refused() {
        for version in [0, 3] {
            let error = ProductEvent::decode("ProductListed", version, V1).expect_err("no such version");
            assert_eq!(error.to_string(), format!("ProductListed v{version} is not known to this release"));
        }
    }
}
