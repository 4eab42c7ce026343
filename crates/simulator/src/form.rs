//! Form of the responses where the vendors' documents leave it open.

use jiff::{Timestamp, tz::Offset};
use serde_json::{Value, json};

/// How responses differ from the documented samples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Form {
    /// As in the samples.
    #[default]
    Documented,
    /// Optional fields are absent, or null.
    Sparse,
    /// Dates have an offset and another fraction, ids have hyphens, numbers are texts or fractions.
    Varied,
}

/// Fields that a sparse response does not have.
const ABSENT: [&str; 15] = [
    "allowed_domain",
    "before",
    "created_by",
    "description",
    "displayName",
    "expires_in",
    "header_name",
    "jti",
    "locale",
    "oauth_access_token_response_body",
    "oauth_url_subdomain",
    "permission_scope",
    "success",
    "tenantId",
    "timezone",
];

/// Fields that are null in a sparse response.
const NULL: [&str; 5] = [
    "created_at",
    "parentId",
    "refresh_token",
    "token_expiry",
    "updated_at",
];

/// Fields with ids of 32 digits.
const IDS: [&str; 4] = ["id", "parentId", "sourceEntityId", "targetEntityId"];

impl Form {
    /// Gives a body this form.
    pub(super) fn apply(self, body: Vec<u8>) -> Vec<u8> {
        if self == Self::Documented {
            return body;
        }
        match serde_json::from_slice(&body) {
            Ok(mut value) => {
                self.change(&mut value);
                value.to_string().into_bytes()
            }
            Err(_) => body,
        }
    }

    fn change(self, value: &mut Value) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.change(item)),
            Value::Object(members) => {
                if self == Self::Sparse {
                    members.retain(|key, _| !ABSENT.contains(&key.as_str()));
                }
                for (key, value) in members {
                    match self {
                        Self::Sparse if NULL.contains(&key.as_str()) => *value = Value::Null,
                        Self::Varied => vary(key, value),
                        _ => {}
                    }
                    self.change(value);
                }
            }
            _ => {}
        }
    }
}

fn vary(key: &str, value: &mut Value) {
    match value {
        Value::String(text) if IDS.contains(&key) && text.len() == 32 => {
            for at in [20, 16, 12, 8] {
                text.insert(at, '-');
            }
        }
        Value::String(text) => {
            if let Ok(date) = text.parse::<Timestamp>() {
                let date = Offset::constant(2).to_datetime(date);
                *text = format!("{}.123456+02:00", date.strftime("%Y-%m-%dT%H:%M:%S"));
            }
        }
        Value::Number(number) if key == "expires_in" => {
            *value = json!(number.as_f64().unwrap_or_default() + 0.5);
        }
        Value::Number(number) if key == "code" => *value = json!(number.to_string()),
        _ => {}
    }
}
