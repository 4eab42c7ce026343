//! Rules between keys, for the JSON Schema of the configuration.

use std::time::Duration;

use jiff::SignedDuration;
use schemars::Schema;
use serde_json::{Value, json};

/// A duration as people write it.
pub(crate) fn shown(duration: Duration) -> String {
    format!("{:#}", SignedDuration::try_from(duration).unwrap())
}

/// Of these keys exactly one is there, and has a value.
pub(crate) fn exactly_one(keys: &'static [&'static str]) -> impl FnMut(&mut Schema) {
    move |schema| {
        for key in keys {
            not_null(schema, key);
        }
        let each: Vec<_> = keys.iter().map(|key| json!({"required": [key]})).collect();
        rule(schema, json!({ "oneOf": each }));
    }
}

/// Adds a rule to those that all have to hold.
pub(crate) fn rule(schema: &mut Schema, rule: Value) {
    let rules = schema.ensure_object().entry("allOf");
    let rules = rules.or_insert_with(|| json!([]));
    rules.as_array_mut().unwrap().push(rule);
}

/// Takes back that the key may be there without a value.
pub(crate) fn not_null(schema: &mut Schema, key: &str) {
    let property = &mut schema.ensure_object()["properties"][key];
    if let Some(types) = property.get_mut("type") {
        types.as_array_mut().unwrap().retain(|name| name != "null");
        *types = types[0].take();
    } else {
        let property = property.as_object_mut().unwrap();
        let choices = property.remove("anyOf").unwrap();
        property.extend(choices[0].as_object().unwrap().clone());
    }
}
