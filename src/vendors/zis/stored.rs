//! Tokens that somebody made and put into a file or the environment: when each ends is asked once.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::ExposeSecret as _;

use super::{CONNECTIONS_ALL, date, refusal, wire};
use crate::model::error::{PollError, Reason};
use crate::settings::{CurrentSecret, Secret};
use crate::vendors::http::Client;

/// The job that asks when a token ends.
pub(super) const CURRENT_TOKEN: &str = "current_token";

/// The tokens of an account, by integration.
pub(super) struct Stored {
    client: Client,
    tokens: BTreeMap<String, Secret>,
}

impl Stored {
    pub(super) fn new(client: &Client, tokens: BTreeMap<String, Secret>) -> Self {
        Self {
            client: client.in_background(),
            tokens,
        }
    }

    /// Tells the token of this integration from another one.
    pub(super) async fn fingerprint(&self, integration: &str) -> Option<u64> {
        self.tokens.get(integration)?.fingerprint().await
    }

    /// The token of this integration.
    pub(super) async fn read(&self, integration: &str) -> Result<CurrentSecret, PollError> {
        let missing = |what: String| PollError::new(Reason::Credential, CONNECTIONS_ALL, what);
        let secret = self
            .tokens
            .get(integration)
            .ok_or_else(|| missing("there is no token for this integration".to_owned()))?;
        let read = secret.read().await;
        read.map_err(|error| missing(format!("{} {error}", secret.place())))
    }

    /// Asks when the token ends; once told, that is true for as long as the token is the same. Whether a token of an
    /// integration may ask is not known, so a refusal is no failure of anything else.
    pub(super) async fn ask_expiry(
        &self,
        integration: &str,
    ) -> Result<Option<Duration>, PollError> {
        // What is shown until now is the end of another token.
        self.client.observer().credential_gone(integration);
        if let Some(at) = self.expires_at(integration).await? {
            self.client
                .observer()
                .credential_expires(integration, at, false);
        }
        Ok(None)
    }

    /// `GET /api/v2/oauth/tokens/current.json`, `token.expires_at`: the vendor documents it for tokens of its Support API.
    /// `None` where the vendor gives no date.
    async fn expires_at(&self, integration: &str) -> Result<Option<jiff::Timestamp>, PollError> {
        let token = self.read(integration).await?;
        let request = self
            .client
            .get("/api/v2/oauth/tokens/current.json")
            .bearer_auth(token.value.expose_secret());
        let answer = self.client.send(CURRENT_TOKEN, request, refusal).await?;
        let expires_at = wire::current_token(&answer)?;
        let problem = |_| answer.error(Reason::Decode, "expires_at is no date", Vec::new());
        expires_at
            .as_deref()
            .map_or(Ok(None), date)
            .map_err(problem)
    }
}
