//! Entities of a tenant, whether they are polled or not.

use serde::{Deserialize, Serialize};

/// One entity that a tenant lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantEntity {
    /// Id of the entity.
    pub id: String,
    /// Display name; empty if the vendor returns none.
    pub name: String,
    /// Id of the parent; empty for the one at the top.
    pub parent: String,
    /// Id of the tenant; empty if the vendor returns none.
    pub tenant: String,
    /// Whether the entity is in use.
    pub status: EntityStatus,
}

/// Status of an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntityStatus {
    /// It is in use.
    Provisioned,
    /// It is not in use.
    Unprovisioned,
    /// The vendor does not document its status.
    Other,
}

impl EntityStatus {
    /// Returns the value of the `status` label.
    #[must_use]
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Provisioned => "provisioned",
            Self::Unprovisioned => "unprovisioned",
            Self::Other => "other",
        }
    }
}
