//! The vendor's answers, as far as they are read.

use secrecy::SecretString;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A body that says whether it is a failure.
pub(crate) trait Judged: DeserializeOwned {
    fn success(&self) -> Option<bool>;
}

impl Judged for EntityConnections {
    fn success(&self) -> Option<bool> {
        self.success
    }
}

impl Judged for Entities {
    fn success(&self) -> Option<bool> {
        self.success
    }
}

#[derive(Deserialize)]
pub(super) struct Outcome {
    pub(super) success: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EntityConnections {
    #[serde(rename = "entityConnections")]
    pub(super) rows: Option<Vec<EntityConnection>>,
    pub(super) success: Option<bool>,
    pub(super) next_page: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EntityConnection {
    pub(super) id: Option<String>,
    pub(super) source_entity_id: Option<String>,
    pub(super) target_entity_id: Option<String>,
    pub(super) status: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Entities {
    pub(super) success: Option<bool>,
    pub(super) entities: Option<Vec<Entity>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entity {
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) display_name: Option<String>,
    pub(super) status: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Token {
    #[serde(rename = "access_token")]
    pub(super) secret: SecretString,
    /// Seconds; has been seen as a float.
    pub(super) expires_in: Option<f64>,
    pub(super) scope: Option<String>,
}
