//! Recording of a check: every response, reduced to its shape as it arrives.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use jiff::Timestamp;
use parking_lot::Mutex;

use super::calls::{BodyOutline, CallKey, CallShape};
use super::interpretation::{GrantFacts, Interpretation, QuotaFacts};
use super::{AccountShape, Counts, count, vocabulary};
use crate::clock::Clock;
use crate::inventory::AccountSnapshot;
use crate::model::entity::TenantEntity;
use crate::model::error::PollError;
use crate::model::listing::UnknownValues;
use crate::vendors::account::{AccountConfig, DiscoveryMode};
use crate::vendors::http::{
    ClientObserver, Exchange, LimiterSnapshot, ObserveAccounts, Quota, RawResponse,
};
use crate::vendors::json::{self, Value};

/// Calls that list connections, one response for each page.
const LISTINGS: [&str; 2] = ["connections_all", "entity_connections"];

/// Shapes of everything that the accounts of a check received.
#[derive(Debug)]
pub struct Recording {
    clock: Clock,
    /// By system and name of the account.
    accounts: Mutex<BTreeMap<(&'static str, String), Arc<AccountRecording>>>,
}

/// Shapes of what one account received.
#[derive(Debug)]
struct AccountRecording {
    discovery: DiscoveryMode,
    clock: Clock,
    recorded: Mutex<Recorded>,
}

#[derive(Debug, Default)]
pub(super) struct Recorded {
    calls: BTreeMap<CallKey, CallShape>,
    /// Number of pages of each target's listing, and what was on the last one. The keys never reach
    /// the report.
    pub(super) pages: BTreeMap<String, (u64, BodyOutline)>,
    pub(super) grants: BTreeMap<String, GrantFacts>,
    pub(super) entities: Option<(Vec<TenantEntity>, Option<usize>)>,
    pub(super) quotas: BTreeMap<&'static str, QuotaFacts>,
    pub(super) rate_limited: u64,
    pub(super) paused: u64,
    /// Expiry of each credential, and whether the exporter renews it. The keys never reach the
    /// report.
    pub(super) credentials: BTreeMap<String, (Timestamp, bool)>,
    pub(super) unknown: UnknownValues,
    /// Number of jobs by name and outcome.
    pub(super) jobs: BTreeMap<&'static str, Counts>,
    jobs_pending: usize,
    exchanges: u64,
}

impl Recording {
    /// Creates an empty recording.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            accounts: Mutex::default(),
        }
    }

    /// Returns whether background jobs of an account are planned that have not run yet.
    #[must_use]
    pub fn awaits_jobs(&self, system: &'static str, account: &str) -> bool {
        let accounts = self.accounts.lock();
        let account = accounts.get(&(system, account.to_owned()));
        account.is_some_and(|account| account.recorded.lock().jobs_pending > 0)
    }

    /// Takes the shapes of all accounts. `seen` is the state of each at the end.
    pub(super) fn accounts(&self, seen: &[AccountSnapshot]) -> Vec<AccountShape> {
        let (accounts, now) = (self.accounts.lock(), self.clock.now());
        let mut numbers = BTreeMap::new();
        let mut shapes = Vec::new();
        for ((system, name), account) in &*accounts {
            let number: &mut u32 = numbers.entry(*system).or_default();
            *number += 1;
            let is_it =
                |seen: &&AccountSnapshot| seen.system.name == *system && seen.account == *name;
            let Some(seen) = seen.iter().find(is_it) else {
                continue;
            };
            let mut recorded = std::mem::take(&mut *account.recorded.lock());
            let mut calls: Vec<_> = std::mem::take(&mut recorded.calls).into_values().collect();
            for call in &mut calls {
                call.number_targets(&seen.target_ids);
            }
            shapes.push(AccountShape {
                account: format!("{system} account {number}"),
                system,
                discovers: match account.discovery {
                    DiscoveryMode::Never => "nothing",
                    DiscoveryMode::Names => "names",
                    DiscoveryMode::Targets => "targets",
                },
                calls,
                interpretation: Interpretation::of(&recorded, seen, now),
            });
        }
        shapes
    }
}

impl ObserveAccounts for Recording {
    fn observer(&self, account: &AccountConfig) -> Arc<dyn ClientObserver> {
        let recording = Arc::new(AccountRecording {
            discovery: account.discovery,
            clock: self.clock.clone(),
            recorded: Mutex::default(),
        });
        let key = (account.system.name, account.name.clone());
        self.accounts.lock().insert(key, recording.clone());
        recording
    }
}

impl ClientObserver for AccountRecording {
    fn wants_exchanges(&self) -> bool {
        true
    }

    fn exchanged(&self, exchange: Exchange<'_>) {
        self.recorded.lock().exchanged(&exchange, self.clock.now());
    }

    fn quota(&self, quota: &Quota, _now: Timestamp) {
        let mut recorded = self.recorded.lock();
        recorded.quotas.entry(quota.window).or_default().add(quota);
    }

    fn rate_limited(&self) {
        self.recorded.lock().rate_limited += 1;
    }

    fn paused(&self, _until: Timestamp, _snapshot: LimiterSnapshot) {
        self.recorded.lock().paused += 1;
    }

    fn unknown(&self, values: &UnknownValues) {
        let mut recorded = self.recorded.lock();
        for (field, number) in values {
            *recorded.unknown.entry(field).or_default() += number;
        }
    }

    fn entities(&self, entities: &[TenantEntity], unreached: Option<usize>) {
        self.recorded.lock().entities = Some((entities.to_vec(), unreached));
    }

    fn credential_expires(&self, credential: &str, at: Timestamp, renewable: bool) {
        let mut recorded = self.recorded.lock();
        let key = credential.to_owned();
        recorded.credentials.insert(key, (at, renewable));
    }

    fn credential_gone(&self, credential: &str) {
        self.recorded.lock().credentials.remove(credential);
    }

    fn job_planned(&self) {
        self.recorded.lock().jobs_pending += 1;
    }

    fn job_ended(&self, job: &'static str, error: Option<&PollError>) {
        let mut recorded = self.recorded.lock();
        recorded.jobs_pending = recorded.jobs_pending.saturating_sub(1);
        let outcome = error.map_or("done", |error| error.reason.label());
        count(recorded.jobs.entry(job).or_default(), outcome.to_owned());
    }
}

impl Recorded {
    fn exchanged(&mut self, exchange: &Exchange<'_>, now: Timestamp) {
        let key = CallKey::of(exchange);
        let target = target(exchange);
        let call = self.calls.entry(key);
        let call = call.or_insert_with_key(CallShape::new);
        self.exchanges += 1;
        let outline = call.add(exchange, target.clone(), self.exchanges, now);
        let (Some(target), Ok(response)) = (target, &exchange.outcome) else {
            return;
        };
        if response.status != StatusCode::OK {
            return;
        }
        if LISTINGS.contains(&exchange.endpoint) {
            let pages = self.pages.entry(target.clone()).or_default();
            *pages = (pages.0 + 1, outline);
        }
        // A body that cannot be read has no such facts.
        let _ = self.add_grants(target, exchange.endpoint, response);
    }

    /// Adds what a response tells about the grants of OAuth connections.
    fn add_grants(
        &mut self,
        target: String,
        endpoint: &'static str,
        response: &RawResponse<'_>,
    ) -> Option<()> {
        let text = json::as_text(response.body)?;
        let body = Value::parse(&text).ok()?;
        let text = |value: Value<'_>| Some(value.text()?.text.into_owned());
        match endpoint {
            "connections_all" => {
                let [rows] = body.fields(["oauth"]).ok()?;
                let facts = self.grants.entry(target).or_default();
                for row in rows?.items()? {
                    let [client] = row.fields(["oauth_client_uuid"]).ok()?;
                    facts.connections.push(client.and_then(text));
                }
            }
            "oauth_clients" => {
                let [clients] = body.fields(["clients"]).ok()?;
                let facts = self.grants.entry(target).or_default();
                for client in clients?.items()? {
                    let [uuid, grant] = client.fields(["uuid", "grant_type"]).ok()?;
                    let grant = grant.and_then(text);
                    let clients = facts.clients.get_or_insert_default();
                    clients.insert(uuid.and_then(text)?, grant);
                }
            }
            _ => {}
        }
        Some(())
    }
}

/// Returns the id of the target that a request is for.
fn target(exchange: &Exchange<'_>) -> Option<String> {
    let (_, named) = vocabulary::path(exchange.request.url().path());
    let entity = || {
        let header = exchange.request.headers().get("zuora-entity-ids")?;
        let id = header.to_str().ok()?.replace('-', "");
        Some(id.to_ascii_lowercase())
    };
    named.map(str::to_owned).or_else(entity)
}
