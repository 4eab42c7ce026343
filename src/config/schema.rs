//! The JSON Schema of the configuration, for editors: what its types say, and the rules between keys.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::RawConfig;
use crate::settings::schema::rule;
pub(super) use crate::settings::schema::shown;

/// The schema, in the draft that editors' YAML servers know best.
pub(crate) fn schema() -> Value {
    let generator = SchemaSettings::draft07().into_generator();
    generator.into_root_schema_for::<RawConfig>().to_value()
}

/// There is something to poll.
pub(super) fn some_account(schema: &mut Schema) {
    let keys = schema.ensure_object()["properties"].as_object().unwrap();
    let lists = keys.iter().filter(|(_, of)| of.get("items").is_some());
    let some = lists.map(|(key, _)| json!({"required": [key], "properties": {key: {"type": "array", "minItems": 1}}}));
    let some: Vec<_> = some.collect();
    rule(schema, json!({ "anyOf": some }));
}
