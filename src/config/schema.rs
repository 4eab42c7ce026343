//! The JSON Schema of the configuration for editors, made from its types and the rules between
//! keys.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::RawConfig;
use crate::settings::schema::rule;
pub(super) use crate::settings::schema::shown;

/// Returns the schema in draft 07, the draft that the YAML servers of editors support best.
pub(crate) fn schema() -> Value {
    let generator = SchemaSettings::draft07().into_generator();
    generator.into_root_schema_for::<RawConfig>().to_value()
}

/// Requires at least one account.
pub(super) fn some_account(schema: &mut Schema) {
    let keys = schema.ensure_object()["properties"].as_object().unwrap();
    let lists = keys.iter().filter(|(_, of)| of.get("items").is_some());
    let some = lists.map(|(key, _)| json!({"required": [key], "properties": {key: {"type": "array", "minItems": 1}}}));
    let some: Vec<_> = some.collect();
    rule(schema, json!({ "anyOf": some }));
}
