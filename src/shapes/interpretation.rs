//! How the exporter read what an account received: listings, discovery, quotas, credentials.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use super::calls::BodyOutline;
use super::recording::Recorded;
use super::{Counts, count, vocabulary};
use crate::inventory::AccountSnapshot;
use crate::model::error::PollError;
use crate::model::listing::{GrantType, UnknownValues};
use crate::model::state::{LastListing, TargetState};
use crate::vendors::http::Quota;

/// How the responses of one account were read.
#[derive(Debug, Serialize)]
pub(super) struct Interpretation {
    discovery: DiscoveryFacts,
    #[serde(skip_serializing_if = "Option::is_none")]
    entities: Option<EntityFacts>,
    /// Quotas by their window.
    quotas: BTreeMap<&'static str, QuotaFacts>,
    rate_limited: u64,
    pauses: u64,
    /// Tokens of the exporter's own whose expiry is known.
    credentials: Counts,
    /// Background jobs by their outcome.
    jobs: BTreeMap<&'static str, Counts>,
    /// Values that are not documented, outside of listings.
    unknown_values: UnknownValues,
    targets: Vec<TargetFacts>,
}

/// Result of the discovery.
#[derive(Debug, Serialize)]
struct DiscoveryFacts {
    /// Number of targets; `null` if they are not known.
    targets: Option<usize>,
    failure: Option<FailureFacts>,
}

/// Entities that a tenant lists.
#[derive(Debug, Serialize)]
struct EntityFacts {
    by_status: Counts,
    with_a_name: usize,
    with_a_parent: usize,
    different_tenants: usize,
    /// Number of provisioned ones that the token does not reach; `null` if the configuration names
    /// the entities to poll.
    unreached: Option<usize>,
}

/// What the responses told about one quota, in how many responses.
#[derive(Debug, Default, Serialize)]
pub(super) struct QuotaFacts {
    limit: u64,
    remaining: u64,
    reset: u64,
}

/// OAuth connections of a target, and the clients that they name.
#[derive(Debug, Default)]
pub(super) struct GrantFacts {
    /// Client of each connection, if it is named.
    pub(super) connections: Vec<Option<String>>,
    /// Grant of each client; `None` if the clients are not known.
    pub(super) clients: Option<BTreeMap<String, Option<String>>>,
}

/// How often the grant of an OAuth connection can be told.
#[derive(Debug, Serialize)]
struct GrantSummary {
    connections: usize,
    naming_a_client: usize,
    naming_a_listed_client: usize,
    /// Number of clients of the integration; `null` if they are not known.
    clients: Option<usize>,
    clients_by_grant: Counts,
    with_a_known_grant: usize,
}

/// Failure of a poll or a discovery.
#[derive(Debug, Serialize)]
struct FailureFacts {
    call: String,
    reason: &'static str,
    status: Option<u16>,
    codes: Vec<String>,
    /// What the response had or lacked.
    #[serde(skip_serializing_if = "Option::is_none")]
    misfit: Option<String>,
}

/// How the listing of one target was read.
#[derive(Debug, Serialize)]
struct TargetFacts {
    target: usize,
    /// `listed`, `failed` or `not polled in time`.
    outcome: &'static str,
    /// Duration of the poll in milliseconds, with waits for the rate limiter.
    #[serde(skip_serializing_if = "Option::is_none")]
    ms: Option<u64>,
    pages_received: u64,
    /// Why no further page was requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_page: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listing: Option<ListingFacts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<FailureFacts>,
}

/// What a listing was read as.
#[derive(Debug, Serialize)]
struct ListingFacts {
    /// Number of connections by type, or by type and status.
    connections: Counts,
    duplicates: u64,
    expiry: Counts,
    refresh_token_stored: Counts<bool>,
    with_a_creation_date: usize,
    with_a_date_of_change: usize,
    with_a_uuid: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    grants: Option<GrantSummary>,
    /// Values that are not documented, by field.
    unknown_values: UnknownValues,
    expected: usize,
    missing: usize,
}

impl QuotaFacts {
    pub(super) fn add(&mut self, quota: &Quota) {
        self.limit += u64::from(quota.limit.is_some());
        self.remaining += u64::from(quota.remaining.is_some());
        self.reset += u64::from(quota.reset.is_some());
    }
}

impl Interpretation {
    pub(super) fn of(recorded: &Recorded, seen: &AccountSnapshot, now: Timestamp) -> Self {
        let mut credentials = Counts::new();
        for (at, renewable) in recorded.credentials.values() {
            let renewed = if *renewable { "renewed" } else { "not renewed" };
            let when = if *at > now { "future" } else { "past" };
            count(
                &mut credentials,
                format!("{renewed} by the exporter, expiry: {when}"),
            );
        }
        let targets = seen.targets.iter().flatten().zip(&seen.target_ids);
        Self {
            discovery: DiscoveryFacts {
                targets: seen.targets.as_ref().map(Vec::len),
                failure: seen.discovery_error.as_ref().map(FailureFacts::of),
            },
            entities: recorded.entities.as_ref().map(|(entities, unreached)| {
                let mut by_status = Counts::new();
                for entity in entities {
                    count(&mut by_status, entity.status.label().to_owned());
                }
                let tenants: BTreeSet<_> = entities.iter().map(|entity| &entity.tenant).collect();
                EntityFacts {
                    by_status,
                    with_a_name: entities.iter().filter(|one| !one.name.is_empty()).count(),
                    with_a_parent: entities.iter().filter(|one| !one.parent.is_empty()).count(),
                    different_tenants: tenants.len(),
                    unreached: *unreached,
                }
            }),
            quotas: recorded
                .quotas
                .iter()
                .map(|(window, facts)| (*window, QuotaFacts { ..*facts }))
                .collect(),
            rate_limited: recorded.rate_limited,
            pauses: recorded.paused,
            credentials,
            jobs: recorded.jobs.clone(),
            unknown_values: recorded.unknown.clone(),
            targets: targets
                .zip(1..)
                .map(|(((_, state), id), number)| TargetFacts::of(recorded, number, id, state, now))
                .collect(),
        }
    }
}

impl FailureFacts {
    fn of(error: &PollError) -> Self {
        let code = |code: &String| {
            let known = vocabulary::value("error", code).filter(|known| known == code);
            known.or_else(|| vocabulary::value("code", code))
        };
        Self {
            call: error.endpoint.to_string(),
            reason: error.reason.label(),
            status: error.status,
            codes: error.codes.iter().filter_map(code).collect(),
            misfit: error.is_fixed_text.then(|| error.detail.clone()),
        }
    }
}

impl TargetFacts {
    fn of(
        recorded: &Recorded,
        target: usize,
        id: &str,
        state: &TargetState,
        now: Timestamp,
    ) -> Self {
        let attempt = state.last_attempt.as_ref();
        let failure = attempt.and_then(|attempt| attempt.error.as_ref());
        let pages = recorded.pages.get(id);
        let listing = state.last_listing.as_deref();
        Self {
            target,
            outcome: match (attempt, failure) {
                (None, _) => "not polled in time",
                (_, Some(_)) => "failed",
                (_, None) => "listed",
            },
            ms: attempt.map(|attempt| attempt.duration.as_millis().try_into().unwrap_or(u64::MAX)),
            pages_received: pages.map_or(0, |(pages, _)| *pages),
            last_page: pages
                .filter(|_| listing.is_some())
                .map(|(_, outline)| last_page(outline)),
            listing: listing.map(|last| ListingFacts::of(last, recorded.grants.get(id), now)),
            failure: failure.map(FailureFacts::of),
        }
    }
}

/// Returns why a page was taken for the last one.
fn last_page(outline: &BodyOutline) -> &'static str {
    let BodyOutline { arrays, paging } = outline;
    match (paging.get("has_more"), paging.get("nextPage")) {
        (Some(more), _) if more == "false" => "has_more is false",
        (Some(_), _) => "no has_more, and no cursor",
        (_, Some(next)) if next == "null" => "nextPage is null",
        (_, Some(_)) => "nextPage is empty",
        _ if arrays.contains_key("entityConnections") => {
            "no nextPage, and fewer rows than pageSize"
        }
        _ => "nothing about further pages",
    }
}

impl ListingFacts {
    fn of(last: &LastListing, grants: Option<&GrantFacts>, now: Timestamp) -> Self {
        let rows = last.listing.connections();
        let (mut connections, mut expiry) = (Counts::new(), Counts::new());
        let mut refresh_token_stored = Counts::new();
        for row in rows.clone() {
            let what = format!("{} {}", row.kind, row.status);
            count(&mut connections, what.trim_end().to_owned());
            let when = match row.expiry {
                Some(at) if at > now => "future",
                Some(_) => "past",
                None => "none",
            };
            count(&mut expiry, when.to_owned());
            if let Some(stored) = row.renewable {
                *refresh_token_stored.entry(stored).or_default() += 1;
            }
        }
        Self {
            connections,
            duplicates: last.listing.duplicates,
            expiry,
            refresh_token_stored,
            with_a_creation_date: rows.clone().filter(|row| row.created.is_some()).count(),
            with_a_date_of_change: rows.clone().filter(|row| row.updated.is_some()).count(),
            with_a_uuid: rows.filter(|row| !row.facts.uuid.is_empty()).count(),
            grants: grants.map(GrantSummary::of),
            unknown_values: last.listing.unknown.clone(),
            expected: last.expected.len(),
            missing: last.expected.iter().filter(|(_, there)| !there).count(),
        }
    }
}

impl GrantSummary {
    fn of(facts: &GrantFacts) -> Self {
        let GrantFacts {
            connections,
            clients,
        } = facts;
        let label = |grant: &Option<String>| {
            let known = |known: &&GrantType| Some(known.label()) == grant.as_deref();
            let known = GrantType::ALL.iter().find(known);
            known.map_or("other or none", |known| known.label())
        };
        let mut clients_by_grant = Counts::new();
        for grant in clients.iter().flat_map(BTreeMap::values) {
            count(&mut clients_by_grant, label(grant).to_owned());
        }
        let known = |client: &String| clients.as_ref()?.get(client);
        let named = connections.iter().flatten();
        let listed = named.clone().filter_map(known);
        let is_known = |grant: &&Option<String>| label(grant) != "other or none";
        // Without the name of a client, the grant is that which all clients have.
        let of_all = clients_by_grant.len() == 1 && !clients_by_grant.contains_key("other or none");
        let unnamed = connections.len() - named.clone().count();
        Self {
            connections: connections.len(),
            naming_a_client: named.count(),
            naming_a_listed_client: listed.clone().count(),
            clients: clients.as_ref().map(BTreeMap::len),
            with_a_known_grant: listed.filter(is_known).count() + if of_all { unnamed } else { 0 },
            clients_by_grant,
        }
    }
}
