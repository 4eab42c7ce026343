//! Rules between keys, for the JSON Schema of the configuration.

use std::time::Duration;

use jiff::SignedDuration;
use schemars::Schema;
use serde_json::{Value, json};

/// Formats a duration in the notation of the configuration file.
pub(crate) fn shown(duration: Duration) -> String {
    format!("{:#}", SignedDuration::try_from(duration).unwrap())
}

/// Requires exactly one of these keys, with a value.
pub(crate) fn exactly_one(keys: &'static [&'static str]) -> impl FnMut(&mut Schema) {
    move |schema| {
        for key in keys {
            not_null(schema, key);
        }
        let each: Vec<_> = keys.iter().map(|key| json!({"required": [key]})).collect();
        rule(schema, json!({ "oneOf": each }));
    }
}

/// Adds a rule to `allOf`, the rules that must all hold.
pub(crate) fn rule(schema: &mut Schema, rule: Value) {
    let rules = schema.ensure_object().entry("allOf");
    let rules = rules.or_insert_with(|| json!([]));
    rules.as_array_mut().unwrap().push(rule);
}

/// Removes `null` from the allowed values of a key.
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
