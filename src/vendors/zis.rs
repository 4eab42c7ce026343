//! Zendesk Integration Services (ZIS): the connections of an integration.
//!
//! The endpoint is `GET /api/services/zis/integrations/{integration}/connections/all`.
//!
//! Sources: Zendesk's API reference ("All Connections", "Pagination", "Rate limits") as of 2026,
//! and reports of users from live accounts. Users report that the texts of a 401 are not JSON, that
//! a token belongs to one integration, and that `after` can be present on the last page.

mod admin;
mod grants;
mod settings;
mod stored;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};

use super::{Connect, DiscoveredTarget, PublishedLimits, Source, System, finish};
use crate::model::error::{PollError, Reason};
use crate::model::listing::{Listing, ListingBuilder, Row};
use crate::settings::Secret;
use crate::vendors::http::{Client, Quota, VendorError, VendorResponse, number, ratelimit, reset};
use admin::{AdminClient, Minter};
use grants::{Grants, IntegrationGrants, OAUTH_CLIENTS};
pub use settings::ZisAccount;
use stored::{CURRENT_TOKEN, StoredTokens};

const CONNECTIONS_ALL: &str = "connections_all";

/// Interval between two requests for the OAuth clients of an integration.
const GRANTS_INTERVAL: Duration = Duration::from_hours(1);

/// Vendor's maximum of `page[size]`.
const PAGE_SIZE: u32 = 100;

static ZIS: System = System {
    name: "zis",
    zero_series: &[
        ("api_key", ""),
        ("basic_auth", ""),
        ("bearer_token", ""),
        ("oauth", ""),
    ],
    healthy_status: None,
    request_id_header: "x-request-id",
    quotas,
};

/// Reads the quota of the current minute, from either family of headers.
///
/// An exhausted quota without a reset time resets within that minute.
fn quotas(headers: &HeaderMap, date: Timestamp) -> Vec<Quota> {
    let newer = ratelimit(headers, "60", date);
    let limit = newer
        .and_then(|quota| quota.limit)
        .or_else(|| number(headers, "x-rate-limit"));
    let remaining = newer
        .and_then(|quota| quota.remaining)
        .or_else(|| number(headers, "x-rate-limit-remaining"));
    let told = limit.is_some() || remaining.is_some();
    let used_up = (remaining == Some(0)).then_some(Duration::from_mins(1));
    let window = newer.map_or("60", |quota| quota.window);
    let quota = Quota {
        window,
        limit,
        remaining,
        reset: reset(headers, date).or(used_up),
    };
    told.then_some(quota).into_iter().collect()
}

/// Checked configuration of an account, from which its source is created.
#[derive(Debug)]
struct ZisConnector {
    tokens: Tokens,
    /// Lower bound of the number of integrations: the configured ones, or 1.
    targets: usize,
}

/// Origin of the integrations' tokens.
#[derive(Debug)]
enum Tokens {
    /// From a file or the environment, by integration.
    Stored(BTreeMap<String, Secret>),
    /// Obtained with an administrator's client.
    Minted(AdminClient),
}

impl Connect for ZisConnector {
    fn connect(&self, client: Client) -> Box<dyn Source> {
        let credentials = match &self.tokens {
            Tokens::Stored(tokens) => {
                Credentials::Stored(Box::new(StoredTokens::new(&client, tokens.clone())))
            }
            Tokens::Minted(admin) => {
                Credentials::Minted(Box::new(Minter::new(client.clone(), admin.clone())))
            }
        };
        Box::new(Zis {
            background: client.in_background(),
            client,
            credentials,
            grants: Grants::default(),
        })
    }

    fn limits(&self) -> PublishedLimits {
        PublishedLimits {
            of: "the smallest plan of the vendor's Support API: ZIS publishes no numbers of its \
                own",
            minute: Some(200),
            hour: None,
            day: None,
        }
    }

    fn other_requests_per_day(&self) -> u64 {
        let grants = self.targets as u64 * 24;
        grants
            + match &self.tokens {
                Tokens::Stored(_) => 0,
                // One for the client itself, and one for each integration.
                Tokens::Minted(_) => (self.targets as u64 + 1) * 86_400 / (admin::EXPIRES_IN - 300),
            }
    }
}

/// Source of one subdomain.
struct Zis {
    client: Client,
    /// Sends what no listing waits for.
    background: Client,
    credentials: Credentials,
    grants: Grants,
}

enum Credentials {
    Stored(Box<StoredTokens>),
    Minted(Box<Minter>),
}

#[async_trait]
impl Source for Zis {
    async fn list(&self, target: &str) -> Result<Listing, PollError> {
        let mut builder = ListingBuilder::new(
            CONNECTIONS_ALL,
            self.client.max_connections(),
            PAGE_SIZE as usize,
        );
        if !settings::is_integration(target) {
            let what = "this is no name of an integration";
            return Err(PollError::new(Reason::NotFound, CONNECTIONS_ALL, what));
        }
        let path = format!("/api/services/zis/integrations/{target}/connections/all");
        let mut cursors = BTreeSet::new();
        let mut after = None;
        loop {
            let mut query = vec![("page[size]", PAGE_SIZE.to_string())];
            query.extend(after.map(|cursor: String| ("page[after]", cursor)));
            let response = self.get(&self.client, CONNECTIONS_ALL, target, &path, &query);
            let response = response.await?;
            let grants = self.grants.of(target);
            let read = move |response: &VendorResponse| {
                let next = response.read(|page| wire::page(page, &grants, &mut builder));
                next.map(|next| (next, builder))
            };
            let (response, read) = response.with(read).await?;
            let next;
            (next, builder) = read?;
            let Some(cursor) = next else {
                return finish(builder).await;
            };
            if cursor.is_empty() || !cursors.insert(cursor.clone()) {
                let error = builder.no_progress("announced more with an empty or repeated cursor");
                return Err(response.with_response_context(error));
            }
            after = Some(cursor);
        }
    }

    async fn discover(&self) -> Result<Vec<DiscoveredTarget>, PollError> {
        match &self.credentials {
            Credentials::Stored(_) => Ok(Vec::new()),
            Credentials::Minted(minter) => {
                let names = minter.integrations().await?;
                Ok(names
                    .into_iter()
                    .map(|id| DiscoveredTarget { id, name: None })
                    .collect())
            }
        }
    }

    fn jobs(&self) -> &'static [&'static str] {
        match self.credentials {
            Credentials::Stored(_) => &[CURRENT_TOKEN, OAUTH_CLIENTS],
            Credentials::Minted(_) => &[OAUTH_CLIENTS],
        }
    }

    async fn run_job(&self, job: &str, target: &str) -> Result<Option<Duration>, PollError> {
        match &self.credentials {
            Credentials::Stored(tokens) if job == CURRENT_TOKEN => tokens.ask_expiry(target).await,
            _ if job == OAUTH_CLIENTS => self.request_grants(target).await.map(Some),
            _ => Ok(None),
        }
    }

    async fn credential(&self, target: &str) -> Option<u64> {
        match &self.credentials {
            Credentials::Stored(tokens) => tokens.fingerprint(target).await,
            Credentials::Minted(minter) => minter.credential().await,
        }
    }

    fn export_state(&self) -> serde_json::Value {
        match &self.credentials {
            Credentials::Stored(_) => serde_json::Value::Null,
            Credentials::Minted(minter) => {
                serde_json::to_value(minter.clients()).unwrap_or_default()
            }
        }
    }

    fn import_state(&self, memory: serde_json::Value) {
        if let (Credentials::Minted(minter), Ok(clients)) =
            (&self.credentials, serde_json::from_value(memory))
        {
            minter.remember(clients);
        }
    }

    fn learn(&self, target: &str, listing: &Listing) {
        self.grants.restore(target, listing);
    }

    /// Returns the name of the connection, for every type.
    fn matches_expected<'a>(&self, _target: &str, connection: Row<'a>) -> Option<&'a str> {
        Some(connection.id)
    }
}

impl Zis {
    /// Requests the OAuth clients of an integration, and returns the time until the next request.
    async fn request_grants(&self, target: &str) -> Result<Duration, PollError> {
        let path = format!("/api/services/zis/connections/oauth/clients/{target}");
        let response = self.get(&self.background, OAUTH_CLIENTS, target, &path, &[]);
        let (grants, unknown) = response.await?.with(wire::oauth_clients).await?.1?;
        self.client.observer().unknown(&unknown);
        self.grants.set(target, grants);
        Ok(GRANTS_INTERVAL)
    }

    /// Sends a request with the token of an integration.
    async fn get(
        &self,
        client: &Client,
        endpoint: &'static str,
        target: &str,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<VendorResponse, PollError> {
        let ask = async |token: &SecretString| {
            let request = client.get(path).query(query);
            let request = request.bearer_auth(token.expose_secret());
            client.send(endpoint, request, refusal).await
        };
        match &self.credentials {
            Credentials::Stored(tokens) => {
                let token = tokens.read(target).await?;
                let response = ask(&token.value).await;
                response.map_err(|error| error.made_with(&token))
            }
            Credentials::Minted(minter) => {
                minter
                    .with_token(target, async |token| ask(&token.secret).await)
                    .await
            }
        }
    }
}

/// Adds a page to the listing builder, and returns the cursor of the next page, if any.
///
/// Public for benchmarks.
#[doc(hidden)]
pub fn read_page(
    response: &VendorResponse,
    builder: &mut ListingBuilder,
) -> Result<Option<String>, PollError> {
    response.read(|page| wire::page(page, &IntegrationGrants::default(), builder))
}

/// Parses an RFC 3339 date, with or without a fraction of a second.
///
/// The vendor does not document the date of a token that never expires. An empty text is `None`. So
/// is a date before 1971 (such as Go's year 1) or from the year 9000 on (such as the last day of
/// 9999).
pub(crate) fn date(text: &str) -> Result<Option<Timestamp>, jiff::Error> {
    // `Timestamp` cannot even hold the last day of 9999, nor years of five digits.
    if text.is_empty() || year(text).is_some_and(|year| !(1970..9000).contains(&year)) {
        return Ok(None);
    }
    let date: Timestamp = text.parse()?;
    Ok((date.as_second() >= 31_536_000).then_some(date))
}

/// Returns the year of a text that begins like a date.
fn year(text: &str) -> Option<u64> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let (year, rest) = text.split_once('-')?;
    let two = |digits: &str| digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
    let dates = two(rest.get(..2)?) && rest.get(2..3)? == "-" && two(rest.get(3..5)?);
    let digits = year.len() >= 4 && year.bytes().all(|b| b.is_ascii_digit());
    // A year with more digits than fit is far away.
    (dates && digits).then(|| year.parse().unwrap_or(u64::MAX))
}

/// Reads an error body: JSON, or plain text.
///
/// A token of another integration and an integration that does not exist cause the same 401:
/// "Authorization failed due to integration mismatch".
pub(crate) fn refusal(response: &VendorResponse) -> VendorError {
    let start = &response.body[..response.body.len().min(1024)];
    let mismatch = String::from_utf8_lossy(start)
        .to_ascii_lowercase()
        .contains("integration mismatch");
    let denied = matches!(
        response.status,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
    );
    VendorError {
        reason: (denied && mismatch).then_some(Reason::IntegrationMismatch),
        codes: response.codes(),
    }
}
