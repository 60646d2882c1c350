//! The OpenAPI description: complete in itself, and honest about problems.

use serde_json::Value;

fn description() -> Value {
    serde_json::to_value(crate::description()).expect("a description is JSON")
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str).map(Into::into));
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => (),
    }
}

#[test]
fn every_reference_of_the_description_leads_somewhere() {
    let description = description();
    let mut found = Vec::new();
    references(&description, &mut found);
    assert!(found.len() > 50);
    for reference in found {
        let pointer = reference.trim_start_matches('#');
        assert!(description.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

#[test]
fn every_query_says_what_it_is_and_how_it_fails() {
    let description = description();
    let paths = description["paths"].as_object().expect("paths");
    let mut names = Vec::new();
    for (path, operations) in paths {
        let query = &operations["get"];
        names.push(format!("{} {path}", query["operationId"].as_str().expect("an operation id")));
        assert!(query["summary"].as_str().is_some_and(|summary| summary.len() > 10), "{path} has no summary");
        for (status, response) in query["responses"].as_object().expect("responses") {
            let problem = &response["content"]["application/problem+json"]["schema"]["$ref"];
            let is_problem = problem == "#/components/schemas/Problem";
            assert_eq!(is_problem, status.as_str() >= "400", "{path} {status}: {response}");
        }
    }
    insta::assert_json_snapshot!(names);
}
