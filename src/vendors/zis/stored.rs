//! Tokens from a file or the environment, whose expiry is requested once.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::ExposeSecret as _;

use super::{CONNECTIONS_ALL, date, refusal, wire};
use crate::model::error::{PollError, Reason};
use crate::settings::{CurrentSecret, Secret};
use crate::vendors::http::Client;

/// Name of the job that requests the expiry of a token.
pub(super) const CURRENT_TOKEN: &str = "current_token";

/// The tokens of an account, by integration.
pub(super) struct StoredTokens {
    client: Client,
    tokens: BTreeMap<String, Secret>,
}

impl StoredTokens {
    pub(super) fn new(client: &Client, tokens: BTreeMap<String, Secret>) -> Self {
        Self {
            client: client.in_background(),
            tokens,
        }
    }

    /// Returns a fingerprint of this integration's token.
    pub(super) async fn fingerprint(&self, integration: &str) -> Option<u64> {
        self.tokens.get(integration)?.fingerprint().await
    }

    /// Returns the token of this integration.
    pub(super) async fn read(&self, integration: &str) -> Result<CurrentSecret, PollError> {
        let missing = |what: String| PollError::new(Reason::Credential, CONNECTIONS_ALL, what);
        let secret = self
            .tokens
            .get(integration)
            .ok_or_else(|| missing("there is no token for this integration".to_owned()))?;
        let read = secret.read().await;
        read.map_err(|error| missing(format!("{} {error}", secret.location())))
    }

    /// Requests the expiry of the token, which is valid for as long as the token is the same.
    ///
    /// It is not documented whether a token of an integration may request that. A refusal therefore
    /// affects nothing else.
    pub(super) async fn ask_expiry(
        &self,
        integration: &str,
    ) -> Result<Option<Duration>, PollError> {
        // The expiry that is exported until now is that of another token.
        self.client.observer().credential_gone(integration);
        if let Some(at) = self.expires_at(integration).await? {
            self.client
                .observer()
                .credential_expires(integration, at, false);
        }
        Ok(None)
    }

    /// Requests `token.expires_at` of `GET /api/v2/oauth/tokens/current.json`.
    ///
    /// The vendor documents it for tokens of its Support API. Returns `None` if the response has no
    /// date.
    async fn expires_at(&self, integration: &str) -> Result<Option<jiff::Timestamp>, PollError> {
        let token = self.read(integration).await?;
        let request = self
            .client
            .get("/api/v2/oauth/tokens/current.json")
            .bearer_auth(token.value.expose_secret());
        let response = self.client.send(CURRENT_TOKEN, request, refusal).await?;
        let expires_at = wire::current_token(&response)?;
        let problem = |_| response.error(Reason::Decode, "expires_at is no date", Vec::new());
        expires_at
            .as_deref()
            .map_or(Ok(None), date)
            .map_err(problem)
    }
}
