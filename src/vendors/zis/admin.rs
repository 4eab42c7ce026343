//! Tokens of integrations, obtained with an administrator's confidential client.
//!
//! Users report from live accounts that this works unattended. `POST /oauth/tokens` returns a token
//! of that client. With it, the registry returns the numeric id of each integration's own client,
//! and `POST /api/v2/oauth/tokens` returns a token of the latter. Only this kind of token may list
//! the integration's connections.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::header;
use parking_lot::Mutex;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::{refusal, wire};
use crate::model::error::{PollError, Reason};
use crate::settings::Secret;
use crate::vendors::http::{Client, VendorError, VendorResponse};
use crate::vendors::json::{Misfit, Value};
use crate::vendors::token_cache::{Token, TokenCache};

const ADMIN_TOKEN: &str = "admin_token";
const INTEGRATIONS: &str = "integrations";
const INTEGRATION_TOKEN: &str = "integration_token";

/// Lifetime that is requested for a token, in seconds; the vendor accepts 300 to 172800.
pub(super) const EXPIRES_IN: u64 = 7200;
/// Lifetime of a token whose response has none, which users report from live accounts.
const DEFAULT_LIFETIME: Duration = Duration::from_mins(30);

/// Administrator's client, as the configuration names it.
#[derive(Debug, Clone)]
pub(super) struct AdminClient {
    pub(super) id: Secret,
    pub(super) secret: Secret,
    pub(super) scope: String,
}

/// Obtains tokens, and caches them.
pub(super) struct Minter {
    client: Client,
    admin: AdminClient,
    admin_token: TokenCache<()>,
    /// Token caches by integration.
    tokens: Mutex<BTreeMap<String, Arc<TokenCache<()>>>>,
    /// Held while the ids are requested from the registry, so that concurrent callers reuse them.
    registry: tokio::sync::Mutex<()>,
    /// Numeric id of each integration's own client, as the registry returns it.
    clients: Mutex<BTreeMap<String, u64>>,
}

impl Minter {
    pub(super) fn new(client: Client, admin: AdminClient) -> Self {
        Self {
            client,
            admin,
            admin_token: TokenCache::default(),
            tokens: Mutex::default(),
            registry: tokio::sync::Mutex::default(),
            clients: Mutex::default(),
        }
    }

    pub(super) async fn credential(&self) -> Option<u64> {
        Secret::pair_fingerprint(&self.admin.id, &self.admin.secret).await
    }

    /// Returns the numeric ids of the integrations' clients that have been read so far.
    pub(super) fn clients(&self) -> BTreeMap<String, u64> {
        self.clients.lock().clone()
    }

    /// Restores client ids from before a restart.
    ///
    /// An id that is no longer valid is requested again once it is rejected.
    pub(super) fn remember(&self, clients: BTreeMap<String, u64>) {
        *self.clients.lock() = clients;
    }

    /// Runs `call` with a token of the integration.
    pub(super) async fn with_token<R, F>(
        &self,
        integration: &str,
        call: impl Fn(Arc<Token<()>>) -> F,
    ) -> Result<R, PollError>
    where
        F: Future<Output = Result<R, PollError>>,
    {
        let cache = self
            .tokens
            .lock()
            .entry(integration.to_owned())
            .or_default()
            .clone();
        cache
            .with(self.credential().await, || self.mint(integration), call)
            .await
    }

    /// Returns the names of all integrations in the registry.
    pub(super) async fn integrations(&self) -> Result<Vec<String>, PollError> {
        let call = |token: Arc<Token<()>>| async move {
            let request = self.client.get("/api/services/zis/registry/integrations");
            let request = request.bearer_auth(token.secret.expose_secret());
            self.client.send(INTEGRATIONS, request, refusal).await
        };
        let response = self
            .admin_token
            .with(self.credential().await, || self.mint_admin(), call)
            .await?;
        let (clients, unknown) = response.with(wire::registry).await?.1?;
        self.client.observer().unknown(&unknown);
        self.tokens.lock().retain(|name, _| {
            let stays = clients.contains_key(name);
            if !stays {
                self.client.observer().credential_gone(name);
            }
            stays
        });
        let names = clients.keys().cloned().collect();
        *self.clients.lock() = clients
            .into_iter()
            .filter_map(|(name, id)| Some((name, id?)))
            .collect();
        Ok(names)
    }

    /// First step: obtains a token of the administrator's client.
    async fn mint_admin(&self) -> Result<Token<()>, PollError> {
        let read = async |secret: &Secret, what: &str| {
            let problem = |error| format!("admin_client.{what}: {} {error}", secret.location());
            let read = secret.read().await;
            read.map_err(|error| PollError::new(Reason::Credential, ADMIN_TOKEN, problem(error)))
        };
        let id = read(&self.admin.id, "client_id").await?;
        let secret = read(&self.admin.secret, "client_secret").await?;
        let body = json!({
            "grant_type": "client_credentials",
            "client_id": id.value.expose_secret(),
            "client_secret": secret.value.expose_secret(),
            "scope": self.admin.scope,
            "expires_in": EXPIRES_IN,
        });
        let response = self
            .post(
                "/oauth/tokens",
                ADMIN_TOKEN,
                None,
                &body,
                VendorError::of_client,
            )
            .await
            .map_err(|error| error.made_with(&id).made_with(&secret))?;
        self.kept(response, ADMIN_TOKEN, |response| {
            response.fields(["access_token", "expires_in", "scope"])
        })
        .await
    }

    /// Second step: obtains a token of the integration's own client.
    async fn mint(&self, integration: &str) -> Result<Token<()>, PollError> {
        let client = self.client_of(integration).await?;
        let scopes: Vec<_> = self.admin.scope.split_whitespace().collect();
        let body =
            json!({"token": {"client_id": client, "scopes": scopes, "expires_in": EXPIRES_IN}});
        let (body, path) = (&body, "/api/v2/oauth/tokens");
        let call = |admin: Arc<Token<()>>| async move {
            self.post(path, INTEGRATION_TOKEN, Some(&admin.secret), body, refusal)
                .await
        };
        let response = self
            .admin_token
            .with(self.credential().await, || self.mint_admin(), call)
            .await;
        if response.as_ref().is_err_and(PollError::is_refusal) {
            // An integration that was deleted and created again has another client, so the registry
            // is read again.
            self.clients.lock().remove(integration);
        }
        self.kept(response?, integration, |response| {
            let [token] = response.fields(["token"])?;
            let token = token.ok_or("no token")?;
            token.fields(["full_token", "expires_in", "scope"])
        })
        .await
    }

    /// Returns the numeric id of the integration's own client.
    async fn client_of(&self, integration: &str) -> Result<u64, PollError> {
        let known = || self.clients.lock().get(integration).copied();
        let _asking = self.registry.lock().await;
        if known().is_none() {
            self.integrations().await?;
        }
        let what = "the registry lists no client of this integration";
        known().ok_or_else(|| PollError::new(Reason::NotFound, INTEGRATIONS, what))
    }

    async fn post(
        &self,
        path: &str,
        endpoint: &'static str,
        bearer: Option<&SecretString>,
        body: &serde_json::Value,
        refusal: fn(&VendorResponse) -> VendorError,
    ) -> Result<VendorResponse, PollError> {
        let mut request = self
            .client
            .post(path)
            .header(header::CONTENT_TYPE, "application/json")
            .body(body.to_string());
        if let Some(bearer) = bearer {
            request = request.bearer_auth(bearer.expose_secret());
        }
        self.client.send(endpoint, request, refusal).await
    }

    /// Returns the token in a response, and reports its expiry.
    async fn kept(
        &self,
        response: VendorResponse,
        name: &str,
        fields: fn(Value<'_>) -> Result<[Option<Value<'_>>; 3], Misfit>,
    ) -> Result<Token<()>, PollError> {
        let read = move |response: &VendorResponse| response.token(DEFAULT_LIFETIME, fields);
        let token = response.with(read).await?.1?;
        self.client.observer().unknown(&token.unknown);
        let token = Token::new(token.secret, token.lifetime, ());
        self.client.observer().credential_expires(
            name,
            self.client.clock().now() + token.lifetime(),
            true,
        );
        Ok(token)
    }
}
