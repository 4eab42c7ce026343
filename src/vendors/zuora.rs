//! Zuora Multi-entity: the connections of an entity, `GET /v1/entity-connections`.
//!
//! Sources: Zuora's API reference ("Multi-entity: List connections", "List entities", "Create an
//! OAuth token", "Rate limits", "Error handling"), as of January 2026.

pub(crate) mod page;
mod settings;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use http::HeaderMap;
use jiff::Timestamp;
use parking_lot::Mutex;
use reqwest::RequestBuilder;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};

use super::{Connect, DiscoveredTarget, MAX_TARGETS, PublishedLimits, Source, System, finish};
use crate::model::entity::{EntityStatus, TenantEntity};
use crate::model::error::{PollError, Reason};
use crate::model::listing::{Facts, Listing, ListingBuilder, Row};
use crate::settings::Secret;
use crate::vendors::http::{Client, Quota, VendorError, VendorResponse, number, ratelimit};
use crate::vendors::token_cache::{Token, TokenCache};
use page::{EntityNames, check_success, read_page, refusal};
pub use settings::ZuoraAccount;

const OAUTH_TOKEN: &str = "oauth_token";
const ENTITIES: &str = "entities";
const ENTITY_CONNECTIONS: &str = "entity_connections";

/// Vendor's maximum of `pageSize`.
const PAGE_SIZE: u32 = 300;
/// Lifetime of a token whose response has none: less than the documented 3599 s.
const DEFAULT_LIFETIME: Duration = Duration::from_mins(30);

static ZUORA: System = System {
    name: "zuora",
    zero_series: &[
        ("inbound", "connected"),
        ("inbound", "pending"),
        ("inbound", "disconnected"),
        ("outbound", "connected"),
        ("outbound", "pending"),
        ("outbound", "disconnected"),
    ],
    healthy_status: Some("connected"),
    request_id_header: "zuora-request-id",
    quotas,
};

/// Reads two quotas: the tenant's window that is closest to its end, and concurrent requests.
///
/// The token endpoint's own `X-RateLimit-…-minute` is not read. It is the quota of an IP address,
/// which others may share, and it has no reset time to wait for.
fn quotas(headers: &HeaderMap, date: Timestamp) -> Vec<Quota> {
    let concurrency = Quota {
        window: "concurrency",
        limit: number(headers, "concurrency-limit-limit"),
        remaining: number(headers, "concurrency-limit-remaining"),
        reset: None,
    };
    let told = concurrency.limit.is_some() || concurrency.remaining.is_some();
    ratelimit(headers, "unknown", date)
        .into_iter()
        .chain(told.then_some(concurrency))
        .collect()
}

/// Returns an entity id as it is compared and exported; `None` if it is not one.
///
/// It has 32 hexadecimal digits in lower case, without hyphens.
fn entity_id(text: &str) -> Option<String> {
    let id = normal(text);
    (id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())).then_some(id)
}

/// Removes hyphens and lowers the case: ids with and without hyphens mean the same.
fn normal(id: &str) -> String {
    id.chars()
        .filter(|c| *c != '-')
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

/// Returns an id in the documented form of the header `Zuora-Entity-Ids`: 8-4-4-4-12 digits.
fn hyphenated(id: &str) -> String {
    let mut id = id.to_owned();
    for at in [20, 16, 12, 8] {
        if id.is_char_boundary(at) {
            id.insert(at, '-');
        }
    }
    id
}

/// Returns the error of a tenant whose listed entities are all unusable.
fn none_to_follow(entities: usize, provisioned: usize) -> PollError {
    let (reason, remedy) = if provisioned == 0 {
        (Reason::NotFound, "provision one")
    } else {
        let remedy = "give the user of the OAuth client access to them, or choose them for the \
            client; a new token, within an hour, has it";
        (Reason::Forbidden, remedy)
    };
    let detail = format!(
        "of the entities that the tenant lists ({entities}), {provisioned} are provisioned, and \
            the token reaches 0 of these: {remedy}"
    );
    PollError::new(reason, ENTITIES, detail)
}

/// Checked configuration of an account, from which its source is created.
#[derive(Debug)]
struct ZuoraConnector {
    client_id: Secret,
    client_secret: Secret,
    follow: bool,
    names: BTreeMap<String, String>,
    /// The configured entity, if there is exactly one.
    only: Option<String>,
    host: String,
}

impl Connect for ZuoraConnector {
    fn connect(&self, client: Client) -> Box<dyn Source> {
        Box::new(Zuora {
            client,
            client_id: self.client_id.clone(),
            client_secret: self.client_secret.clone(),
            follow: self.follow,
            configured_names: Arc::new(self.names.clone()),
            names: Mutex::default(),
            entities: Mutex::default(),
            tokens: TokenCache::default(),
            only: self.only.clone(),
            entity_without_header: Mutex::default(),
            asked: AtomicU64::new(0),
        })
    }

    fn limits(&self) -> PublishedLimits {
        let limits = |of, minute, hour, day| PublishedLimits {
            of,
            minute: Some(minute),
            hour: Some(hour),
            day: Some(day),
        };
        match self.host.strip_suffix(".zuora.com") {
            Some("rest.apisandbox" | "rest.sandbox.na" | "rest.sandbox.eu") => {
                limits("API Sandbox", 2_500, 5_000, 10_000)
            }
            // A Central Sandbox has the same host, but the limits of Production.
            Some("rest.test" | "rest.test.eu" | "rest.test.ap") => {
                limits("Developer Sandbox", 12_500, 25_000, 50_000)
            }
            Some(_) => limits("Production", 50_000, 2_250_000, 27_000_000),
            None => limits(
                "Production, since the host is none of the vendor's",
                50_000,
                2_250_000,
                27_000_000,
            ),
        }
    }

    /// Returns 27: a token lives 3599 s, and is renewed 300 s before its expiry.
    fn other_requests_per_day(&self) -> u64 {
        27
    }
}

/// What discovery learned and listings need, for the state directory.
#[derive(Serialize, Deserialize)]
struct Memory {
    names: BTreeMap<String, String>,
    entity_without_header: Option<String>,
    /// Files of earlier versions do not have it.
    #[serde(default)]
    entities: TenantEntities,
}

/// Entities of the tenant, as of the last successful discovery.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct TenantEntities {
    all: Vec<TenantEntity>,
    /// Number of provisioned entities that the token does not reach; `None` if the configuration
    /// names the entities to poll.
    unreached: Option<usize>,
}

/// Source of one tenant.
struct Zuora {
    client: Client,
    client_id: Secret,
    client_secret: Secret,
    follow: bool,
    configured_names: Arc<BTreeMap<String, String>>,
    /// The tenant's own names of its entities.
    names: Mutex<Arc<BTreeMap<String, String>>>,
    entities: Mutex<TenantEntities>,
    tokens: TokenCache<BTreeSet<String>>,
    only: Option<String>,
    /// The only entity, which is requested without the header `Zuora-Entity-Ids`.
    ///
    /// It is set if the list of entities was refused, perhaps by a tenant without Multi-entity, and
    /// the token reaches no other entity.
    entity_without_header: Mutex<Option<String>>,
    asked: AtomicU64,
}

#[async_trait]
impl Source for Zuora {
    async fn list(&self, target: &str) -> Result<Listing, PollError> {
        let mut builder = ListingBuilder::new(
            ENTITY_CONNECTIONS,
            self.client.max_connections(),
            PAGE_SIZE as usize,
        );
        if entity_id(target).as_deref() != Some(target) {
            let what = "this is no id of an entity";
            return Err(PollError::new(Reason::NotFound, ENTITY_CONNECTIONS, what));
        }
        let entity =
            (self.entity_without_header.lock().as_deref() != Some(target)).then_some(target);
        let names = Arc::new(EntityNames {
            configured: self.configured_names.clone(),
            told: self.names.lock().clone(),
        });
        let mut number = 1_u32;
        loop {
            let query = [
                ("page", number.to_string()),
                ("pageSize", PAGE_SIZE.to_string()),
            ];
            let path = "/v1/entity-connections";
            let response = self.get(ENTITY_CONNECTIONS, path, &query, entity).await?;
            let (names, of) = (names.clone(), target.to_owned());
            let read = move |response: &VendorResponse| {
                let more = read_page(response, &of, &names, &mut builder)?;
                Ok((more, builder))
            };
            let more;
            (more, builder) = response.with(read).await?.1?;
            if !more {
                return finish(builder).await;
            }
            number += 1;
        }
    }

    async fn discover(&self) -> Result<Vec<DiscoveredTarget>, PollError> {
        let credential = self.credential("").await;
        let token = self.tokens.get(credential, || self.mint()).await?;
        let reach = &token.extra;
        let first = reach.first().map(String::as_str);
        let response = match self.get(ENTITIES, "/v1/entities", &[], first).await {
            Ok(response) => response,
            Err(error)
                if matches!(
                    error.reason,
                    Reason::Forbidden | Reason::NotFound | Reason::Refused
                ) =>
            {
                let alone = match reach.len() {
                    0 => self.only.clone(),
                    1 => reach.first().cloned(),
                    _ => None,
                };
                self.entity_without_header.lock().clone_from(&alone);
                let found = alone
                    .filter(|_| self.follow)
                    .map(|id| vec![DiscoveredTarget { id, name: None }]);
                return found.ok_or(error);
            }
            Err(error) => return Err(error),
        };
        *self.entity_without_header.lock() = None;
        let (response, read) = response.with(wire::entities).await?;
        let (entities, unknown) = read?;
        self.client.observer().unknown(&unknown);
        let mut names = BTreeMap::new();
        let mut found = Vec::new();
        let (mut provisioned, mut unreached) = (0_usize, 0_usize);
        for TenantEntity {
            id, name, status, ..
        } in &entities
        {
            let name = (!name.is_empty()).then(|| name.clone());
            if let Some(name) = name.clone() {
                names.insert(id.clone(), name);
            }
            let in_use = *status == EntityStatus::Provisioned;
            let reached = reach.is_empty() || reach.contains(id);
            provisioned += usize::from(in_use);
            unreached += usize::from(in_use && !reached);
            if !self.follow || (in_use && reached) {
                let id = id.clone();
                found.push(DiscoveredTarget { id, name });
            }
        }
        let listed = entities.len();
        self.set_entities(entities, self.follow.then_some(unreached));
        if !names.is_empty() {
            *self.names.lock() = Arc::new(names);
        }
        if found.is_empty() && listed > 0 {
            return Err(response.with_response_context(none_to_follow(listed, provisioned)));
        }
        Ok(found)
    }

    fn export_state(&self) -> serde_json::Value {
        let memory = Memory {
            names: BTreeMap::clone(&self.names.lock()),
            entity_without_header: self.entity_without_header.lock().clone(),
            entities: self.entities.lock().clone(),
        };
        serde_json::to_value(memory).unwrap_or_default()
    }

    fn import_state(&self, memory: serde_json::Value) {
        if let Ok(Memory {
            names,
            entity_without_header,
            entities,
        }) = serde_json::from_value(memory)
        {
            if !entities.all.is_empty() {
                let unreached = entities.unreached.filter(|_| self.follow);
                self.set_entities(entities.all, unreached);
            }
            *self.names.lock() = Arc::new(names);
            *self.entity_without_header.lock() =
                entity_without_header.filter(|id| self.follow || self.only.as_ref() == Some(id));
        }
    }

    async fn credential(&self, _target: &str) -> Option<u64> {
        Secret::pair_fingerprint(&self.client_id, &self.client_secret).await
    }

    /// Returns the entity on the other side of a connected row, in either direction.
    fn matches_expected<'a>(&self, target: &str, connection: Row<'a>) -> Option<&'a str> {
        let Facts {
            source_entity,
            target_entity,
            ..
        } = connection.facts;
        let other = if source_entity == target {
            Some(target_entity)
        } else if target_entity == target {
            Some(source_entity)
        } else {
            None
        };
        other.filter(|_| connection.status == "connected")
    }
}

impl Zuora {
    /// Keeps and reports the entities of the tenant.
    fn set_entities(&self, all: Vec<TenantEntity>, unreached: Option<usize>) {
        self.client.observer().entities(&all, unreached);
        *self.entities.lock() = TenantEntities { all, unreached };
    }

    /// Sends a request with the cached token, and once more with a new one if that is rejected.
    async fn get(
        &self,
        endpoint: &'static str,
        path: &str,
        query: &[(&str, String)],
        entity: Option<&str>,
    ) -> Result<VendorResponse, PollError> {
        let request = || {
            let request = self
                .client
                .get(path)
                .query(query)
                .header("Zuora-Track-Id", self.track_id());
            match entity {
                Some(entity) => request.header("Zuora-Entity-Ids", hyphenated(entity)),
                None => request,
            }
        };
        let call = |token: Arc<Token<BTreeSet<String>>>| {
            let request = request().bearer_auth(token.secret.expose_secret());
            self.ask(endpoint, request)
        };
        self.tokens
            .with(self.credential("").await, || self.mint(), call)
            .await
    }

    async fn ask(
        &self,
        endpoint: &'static str,
        request: RequestBuilder,
    ) -> Result<VendorResponse, PollError> {
        let response = self.client.send(endpoint, request, refusal).await?;
        let (response, judged) = response.with(check_success).await?;
        judged.map(|()| response)
    }

    /// Returns an id with which the vendor's support can find the exporter's requests.
    ///
    /// It has at most 64 characters, and none of `: ; " '`.
    fn track_id(&self) -> String {
        format!(
            "connections-exporter-{}",
            self.asked.fetch_add(1, Ordering::Relaxed)
        )
    }

    /// Requests a token: form-encoded, without an `Authorization` header.
    async fn mint(&self) -> Result<Token<BTreeSet<String>>, PollError> {
        let read = async |secret: &Secret, what: &str| {
            let problem = |error| format!("{what}: {} {error}", secret.location());
            let read = secret.read().await;
            read.map_err(|error| PollError::new(Reason::Credential, OAUTH_TOKEN, problem(error)))
        };
        let id = read(&self.client_id, "client_id").await?;
        let secret = read(&self.client_secret, "client_secret").await?;
        let form = [
            ("client_id", id.value.expose_secret()),
            ("client_secret", secret.value.expose_secret()),
            ("grant_type", "client_credentials"),
        ];
        let request = self
            .client
            .post("/oauth/token")
            .form(&form)
            .header("Zuora-Track-Id", self.track_id());
        let response = self
            .client
            .send(OAUTH_TOKEN, request, VendorError::of_client)
            .await
            .map_err(|error| error.made_with(&id).made_with(&secret))?;
        let read = |response: &VendorResponse| {
            let token = response.token(DEFAULT_LIFETIME, |response| {
                response.fields(["access_token", "expires_in", "scope"])
            })?;
            let words = token.scope.split_whitespace();
            let mut reach = BTreeSet::new();
            for word in words {
                reach.extend(word.strip_prefix("entity.").and_then(entity_id));
                if reach.len() > MAX_TARGETS {
                    let what = format!("a token for more than {MAX_TARGETS} entities");
                    return Err(response.error(Reason::TooLarge, what, Vec::new()));
                }
            }
            Ok((token, reach))
        };
        let (token, reach) = response.with(read).await?.1?;
        self.client.observer().unknown(&token.unknown);
        let token = Token::new(token.secret, token.lifetime, reach);
        self.client.observer().credential_expires(
            OAUTH_TOKEN,
            self.client.clock().now() + token.lifetime(),
            true,
        );
        Ok(token)
    }
}
