//! The vendor's answers, as far as they are read: no field for a credential, nor for a person.

use std::collections::BTreeMap;
use std::fmt;

use secrecy::SecretString;
use serde::de::{Deserialize, Deserializer, IgnoredAny, Visitor};

#[derive(serde::Deserialize)]
pub(super) struct Page {
    pub(super) api_key: Option<Vec<Row>>,
    pub(super) basic_auth: Option<Vec<Row>>,
    pub(super) bearer_token: Option<Vec<Row>>,
    pub(super) oauth: Option<Vec<Row>>,
    pub(super) meta: Option<Meta>,
    /// Arrays of types that are not documented yet; what is not an array is no connections.
    #[serde(flatten)]
    pub(super) rest: BTreeMap<String, Rest>,
}

impl Page {
    /// Each of the documented keys can be missing. An object with none of them is something else, such as
    /// a proxy's "down for maintenance", and no empty listing; one with errors is no listing at all.
    pub(super) fn is_foreign(&self) -> bool {
        let arrays = [
            &self.api_key,
            &self.basic_auth,
            &self.bearer_token,
            &self.oauth,
        ];
        let nothing = arrays.iter().all(|array| array.is_none())
            && self.meta.is_none()
            && !self.rest.values().any(|rest| matches!(rest, Rest::Rows(_)));
        nothing || self.rest.contains_key("errors") || self.rest.contains_key("error")
    }
}

/// What is under a key that is not documented.
#[derive(serde::Deserialize)]
#[serde(untagged)]
pub(super) enum Rest {
    Rows(Vec<UnknownRow>),
    Other(IgnoredAny),
}

/// A row of an array that is not documented: whatever it holds, it is one.
#[derive(serde::Deserialize)]
pub(super) struct UnknownRow {
    pub(super) name: Option<Loose>,
    pub(super) token_expiry: Option<Loose>,
    pub(super) created_at: Option<Loose>,
    pub(super) updated_at: Option<Loose>,
}

#[derive(serde::Deserialize)]
pub(super) struct Meta {
    pub(super) has_more: Option<bool>,
    pub(super) after: Option<String>,
}

#[derive(Default, serde::Deserialize)]
pub(super) struct Row {
    pub(super) name: Option<String>,
    pub(super) uuid: Option<String>,
    pub(super) header_name: Option<String>,
    pub(super) allowed_domain: Option<String>,
    pub(super) permission_scope: Option<String>,
    pub(super) token_expiry: Option<Loose>,
    pub(super) created_at: Option<Loose>,
    pub(super) updated_at: Option<Loose>,
    pub(super) refresh_token: Option<Stored>,
}

#[derive(serde::Deserialize)]
pub(super) struct Registry {
    pub(super) integrations: Vec<RegisteredIntegration>,
}

#[derive(serde::Deserialize)]
pub(super) struct RegisteredIntegration {
    pub(super) name: String,
    pub(super) zendesk_oauth_client: Option<OauthClient>,
}

#[derive(serde::Deserialize)]
pub(super) struct OauthClient {
    pub(super) id: Option<u64>,
}

#[derive(serde::Deserialize)]
pub(super) struct AdminToken {
    #[serde(rename = "access_token")]
    pub(super) secret: SecretString,
    pub(super) expires_in: Option<f64>,
}

#[derive(serde::Deserialize)]
pub(super) struct IntegrationToken {
    pub(super) token: MadeToken,
}

#[derive(serde::Deserialize)]
pub(super) struct MadeToken {
    #[serde(rename = "full_token")]
    pub(super) secret: SecretString,
    pub(super) expires_in: Option<f64>,
}

#[derive(serde::Deserialize)]
pub(super) struct CurrentToken {
    pub(super) token: TokenDates,
}

#[derive(serde::Deserialize)]
pub(super) struct TokenDates {
    pub(super) expires_at: Option<String>,
}

/// A text, or something else where one was to be.
#[derive(serde::Deserialize)]
#[serde(untagged)]
pub(super) enum Loose {
    Text(String),
    Odd(IgnoredAny),
}

/// Whether something is stored: true for a text that is not empty, which is not kept.
pub(super) struct Stored(pub(super) bool);

impl<'de> Deserialize<'de> for Stored {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IsThere;
        impl Visitor<'_> for IsThere {
            type Value = Stored;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E>(self, text: &str) -> Result<Stored, E> {
                Ok(Stored(!text.is_empty()))
            }
        }
        deserializer.deserialize_str(IsThere)
    }
}
