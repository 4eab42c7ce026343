//! Grants of OAuth connections, from the OAuth clients of their integration.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::model::listing::{GrantType, Listing};

/// Name of the job that requests the OAuth clients of an integration.
pub(super) const OAUTH_CLIENTS: &str = "oauth_clients";

/// Grants of all integrations of an account.
#[derive(Debug, Default)]
pub(super) struct Grants(Mutex<BTreeMap<String, Arc<IntegrationGrants>>>);

/// What is known of the grants of one integration.
#[derive(Debug)]
pub(super) enum IntegrationGrants {
    /// Grants by connection, from a listing of before a restart or a reload.
    Restored(BTreeMap<Box<str>, GrantType>),
    /// Grants by the UUID of the client.
    Requested(BTreeMap<String, Option<GrantType>>),
}

impl Default for IntegrationGrants {
    fn default() -> Self {
        Self::Restored(BTreeMap::new())
    }
}

impl Grants {
    pub(super) fn of(&self, integration: &str) -> Arc<IntegrationGrants> {
        self.0.lock().get(integration).cloned().unwrap_or_default()
    }

    pub(super) fn set(&self, integration: &str, clients: BTreeMap<String, Option<GrantType>>) {
        let clients = IntegrationGrants::Requested(clients);
        self.0.lock().insert(integration.to_owned(), clients.into());
    }

    /// Takes the grants of an earlier listing, which count until the first request.
    pub(super) fn restore(&self, integration: &str, listing: &Listing) {
        let mut known = self.0.lock();
        if known.contains_key(integration) {
            return;
        }
        let grants = listing
            .connections()
            .filter_map(|row| Some((row.id.into(), row.grant_type?)));
        let restored = IntegrationGrants::Restored(grants.collect());
        known.insert(integration.to_owned(), restored.into());
    }
}

impl IntegrationGrants {
    /// Returns the grant of a connection, if it is known.
    ///
    /// The vendor's sample of a listing shows no UUID of the client. Without it, the grant is known
    /// if all clients of the integration have the same.
    pub(super) fn of(&self, connection: &str, client: Option<&str>) -> Option<GrantType> {
        match (self, client) {
            (Self::Restored(grants), _) => grants.get(connection).copied(),
            (Self::Requested(clients), Some(client)) => clients.get(client).copied()?,
            (Self::Requested(clients), None) => {
                let mut grants = clients.values().copied();
                let first = grants.next()?;
                first.filter(|_| grants.all(|grant| grant == first))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grant_is_that_of_the_client_or_of_all_clients() {
        let [code, credentials] = GrantType::ALL.map(Some);
        let grants = Grants::default();
        let of = |connection, client| grants.of("i").of(connection, client);
        assert_eq!(of("a", Some("1")), None);
        grants.set("i", [("1".to_owned(), code)].into());
        assert_eq!(of("a", Some("1")), code);
        assert_eq!(of("a", Some("2")), None, "a client that was created later");
        assert_eq!(of("a", None), code);
        let both = [("1".to_owned(), code), ("2".to_owned(), credentials)];
        grants.set("i", both.into());
        assert_eq!(of("a", Some("2")), credentials);
        assert_eq!(of("a", None), None);
        grants.set("i", BTreeMap::new());
        assert_eq!(of("a", None), None);
        assert_eq!(grants.of("other").of("a", Some("1")), None);
    }
}
