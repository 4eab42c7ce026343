//! The vendor's answers, as far as they are read: no field for a credential, nor for a person.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use secrecy::SecretString;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

#[derive(serde::Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
pub(super) struct Page<'a> {
    pub(super) api_key: Option<Vec<Row<'a>>>,
    pub(super) basic_auth: Option<Vec<Row<'a>>>,
    pub(super) bearer_token: Option<Vec<Row<'a>>>,
    pub(super) oauth: Option<Vec<Row<'a>>>,
    pub(super) meta: Option<Meta>,
    /// Arrays of types that are not documented yet; what is not an array is no connections.
    #[serde(flatten)]
    pub(super) rest: BTreeMap<String, Rest<'a>>,
}

impl Page<'_> {
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
#[serde(untagged, bound(deserialize = "'de: 'a"))]
pub(super) enum Rest<'a> {
    Rows(Vec<UnknownRow<'a>>),
    Other(IgnoredAny),
}

/// A row of an array that is not documented: whatever it holds, it is one.
#[derive(serde::Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
pub(super) struct UnknownRow<'a> {
    pub(super) name: Option<Loose<'a>>,
    pub(super) token_expiry: Option<Loose<'a>>,
    pub(super) created_at: Option<Loose<'a>>,
    pub(super) updated_at: Option<Loose<'a>>,
}

#[derive(serde::Deserialize)]
pub(super) struct Meta {
    pub(super) has_more: Option<bool>,
    pub(super) after: Option<String>,
}

#[derive(Default, serde::Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
pub(super) struct Row<'a> {
    pub(super) name: Option<Text<'a>>,
    pub(super) uuid: Option<Text<'a>>,
    pub(super) header_name: Option<Text<'a>>,
    pub(super) allowed_domain: Option<Text<'a>>,
    pub(super) permission_scope: Option<Text<'a>>,
    pub(super) token_expiry: Option<Loose<'a>>,
    pub(super) created_at: Option<Loose<'a>>,
    pub(super) updated_at: Option<Loose<'a>>,
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

/// A text as it stands in the body; one with escapes is a copy.
#[derive(Default, serde::Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// A text, or something else where one was to be.
pub(super) enum Loose<'a> {
    Text(Cow<'a, str>),
    Odd,
}

impl<'de: 'a, 'a> Deserialize<'de> for Loose<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Anything;
        impl<'de> Visitor<'de> for Anything {
            type Value = Loose<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Loose<'de>, E> {
                Ok(Loose::Text(text.into()))
            }

            fn visit_str<E>(self, text: &str) -> Result<Loose<'de>, E> {
                Ok(Loose::Text(text.to_owned().into()))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Loose<'de>, E> {
                Ok(Loose::Odd)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Loose<'de>, E> {
                Ok(Loose::Odd)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Loose<'de>, E> {
                Ok(Loose::Odd)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Loose<'de>, E> {
                Ok(Loose::Odd)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Loose<'de>, A::Error> {
                IgnoredAny.visit_seq(list).map(|_| Loose::Odd)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Loose<'de>, A::Error> {
                IgnoredAny.visit_map(map).map(|_| Loose::Odd)
            }
        }
        deserializer.deserialize_any(Anything)
    }
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
