//! Tokens that somebody made and put into a file or the environment: when each ends is asked once.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use secrecy::ExposeSecret as _;
use tokio::time::Instant;

use super::{CONNECTIONS_ALL, date, refusal, wire};
use crate::client::Client;
use crate::config::{Current, Secret};
use crate::error::{PollError, Reason};

const CURRENT_TOKEN: &str = "current_token";

/// How long a question that was refused is not asked again.
const ASK_AGAIN: Duration = Duration::from_hours(1);

/// The tokens of an account, by integration.
pub(super) struct Stored {
    client: Client,
    tokens: BTreeMap<String, Secret>,
    asked: Mutex<BTreeMap<String, Asked>>,
}

/// Of which token the end was asked, and when to ask again if it was not told.
struct Asked {
    of: Option<u64>,
    again: Option<Instant>,
}

impl Stored {
    pub(super) fn new(client: Client, tokens: BTreeMap<String, Secret>) -> Self {
        Self {
            client,
            tokens,
            asked: Mutex::default(),
        }
    }

    /// Tells the token of this integration from another one.
    pub(super) async fn fingerprint(&self, integration: &str) -> Option<u64> {
        self.tokens.get(integration)?.fingerprint().await
    }

    /// The token of this integration.
    pub(super) async fn read(&self, integration: &str) -> Result<Current, PollError> {
        let missing = |what: String| PollError::new(Reason::Credential, CONNECTIONS_ALL, what);
        let secret = self
            .tokens
            .get(integration)
            .ok_or_else(|| missing("there is no token for this integration".to_owned()))?;
        let read = secret.read().await;
        read.map_err(|error| missing(format!("{} {error}", secret.place())))
    }

    /// Asks when the token ends, once, with the second listing that it gave: a restart and a new token cost no more than
    /// their listings. `GET /api/v2/oauth/tokens/current.json`, `token.expires_at`: the vendor documents it for tokens of
    /// its Support API. Whether a token of an integration may ask is not known, so a refusal is no failure of anything.
    pub(super) async fn note_expiry(&self, integration: &str) {
        let of = self.fingerprint(integration).await;
        let now = Instant::now();
        {
            let mut asked = self.asked.lock();
            match asked.get(integration) {
                Some(asked) if asked.of == of => {
                    if asked.again.is_none_or(|again| now < again) {
                        return;
                    }
                }
                _ => {
                    let again = Some(now);
                    asked.insert(integration.to_owned(), Asked { of, again });
                    self.client.metrics().credential_gone(integration);
                    return;
                }
            }
        }
        let expires = self.expires_at(integration).await;
        if let Ok(Some(at)) = expires {
            self.client
                .metrics()
                .credential_expires(integration, at, false);
        }
        let again = expires.err().map(|error| match error.reason {
            Reason::Unreachable | Reason::Timeout | Reason::ServerError => now,
            _ => now + ASK_AGAIN,
        });
        self.asked
            .lock()
            .insert(integration.to_owned(), Asked { of, again });
    }

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
