//! JSON Schema of integrations, and of the origin of their tokens.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::json;

use super::{IntegrationSettings, Integrations, Keys};
use crate::settings::schema::{not_null, rule};

/// Pattern that [`is_integration`](super::is_integration) accepts.
pub(super) const INTEGRATION: &str = "^[a-z0-9_-]{1,64}$";

/// Requires tokens either from an `admin_client` or from each integration.
///
/// With an `admin_client`, no integration has a token. Without one, the integrations are a list,
/// and each of them has a token.
pub(super) fn tokens_or_admin_client(schema: &mut Schema) {
    not_null(schema, "admin_client");
    let of_each = |rule| json!({"properties": {"integrations": rule}});
    rule(
        schema,
        json!({
            "if": {"required": ["admin_client"]},
            "then": of_each(json!({"items": {"properties": {"token_file": {"type": "null"}, "token_env": {"type": "null"}}}})),
            "else": of_each(json!({"type": "array", "items": {"type": "object", "oneOf": [
                {"required": ["token_file"], "properties": {"token_file": {"type": "string"}}},
                {"required": ["token_env"], "properties": {"token_env": {"type": "string"}}},
            ]}})),
        }),
    );
}

impl JsonSchema for Integrations {
    fn schema_name() -> Cow<'static, str> {
        "ZisIntegrations".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let integration = generator.subschema_for::<IntegrationSettings>();
        json_schema!({"oneOf": [
            {"const": "all"},
            {"type": "array", "minItems": 1, "items": integration},
        ]})
    }
}

impl JsonSchema for IntegrationSettings {
    fn schema_name() -> Cow<'static, str> {
        "ZisIntegrationOrName".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let keys = generator.subschema_for::<Keys>();
        json_schema!({"anyOf": [{"type": "string", "pattern": INTEGRATION}, keys]})
    }
}
