//! Metrics of one account: its requests to the vendor, and what the vendor reports.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use prometheus::HistogramVec;

use super::SampleSink;
use super::families::{
    API_BUDGET, API_ERRORS, API_PAUSED_UNTIL, API_PLANNED, API_QUOTA_LIMIT, API_QUOTA_REMAINING,
    API_QUOTA_RESET, API_RATE_LIMITED, API_REQUESTS, API_WAIT, CREDENTIAL_EXPIRY,
    CREDENTIAL_RENEWABLE, DISCOVERY_LAST_SUCCESS, DISCOVERY_UP, DUPLICATES, ENTITY_INFO,
    TARGETS_UNREACHED, UNKNOWN_VALUES, bool_value,
};
use super::usage::{Usage, WindowUsage};
use crate::clock::seconds;
use crate::model::entity::TenantEntity;
use crate::model::error::{PollError, Reason};
use crate::model::listing::UnknownValues;
use crate::vendors::http::{Quota, RequestLimiter};

/// Metrics of one account, with its labels.
///
/// They are dropped with the account, so no series is left behind. They are plain values and not
/// collectors of the `prometheus` crate, each of which would hold its name, help text and labels.
#[derive(Debug)]
pub struct AccountMetrics {
    system: &'static str,
    account: String,
    limiter: Arc<RequestLimiter>,
    /// Histogram of request durations, which has no account label.
    durations: HistogramVec,
    values: Mutex<AccountValues>,
}

/// Current values of the metrics of an account.
#[derive(Debug, Default)]
struct AccountValues {
    /// Incremented with every change, so that only changed metrics are rendered again.
    revision: u64,
    /// Pause and budget at the last call of `refresh_revision`; both also change with time.
    seen: (Option<Timestamp>, (f64, f64)),
    /// Number of requests by endpoint and status.
    requests: BTreeMap<(&'static str, Option<u16>), u64>,
    errors: BTreeMap<&'static str, u64>,
    rate_limited: u64,
    wait: Duration,
    /// End of the last pause, kept when it is past.
    pause_ends: Option<Timestamp>,
    planned: f64,
    quotas: BTreeMap<&'static str, WindowUsage>,
    /// Expiry of each of the exporter's own tokens, and whether the exporter renews it.
    credentials: BTreeMap<String, (Timestamp, bool)>,
    discovery_up: Option<bool>,
    discovery_last_success: Option<Timestamp>,
    unknown_values: UnknownValues,
    duplicates: u64,
    entities: Vec<TenantEntity>,
    unreached: Option<usize>,
}

impl AccountMetrics {
    /// Creates the metrics of an account.
    ///
    /// The budget shown is that of `limiter`. `durations` is the histogram that all accounts of the
    /// process share.
    #[must_use]
    pub fn new(
        system: &'static str,
        account: &str,
        limiter: Arc<RequestLimiter>,
        durations: HistogramVec,
    ) -> Self {
        Self {
            system,
            account: account.to_owned(),
            limiter,
            durations,
            values: Mutex::new(AccountValues {
                errors: Reason::ALL
                    .iter()
                    .map(|reason| (reason.label(), 0))
                    .collect(),
                ..AccountValues::default()
            }),
        }
    }

    fn change(&self, change: impl FnOnce(&mut AccountValues)) {
        let mut values = self.values.lock();
        values.revision += 1;
        change(&mut values);
    }

    /// Checks what changes with time alone: a pause that ends, a rate that grows back.
    ///
    /// Returns a number that changes whenever the result of [`AccountMetrics::samples`] does.
    #[must_use]
    pub(crate) fn refresh_revision(&self, now: Timestamp) -> u64 {
        let mut values = self.values.lock();
        let as_of_now = (values.pause(now), self.limiter.per_second());
        if values.seen != as_of_now {
            values.seen = as_of_now;
            values.revision += 1;
        }
        values.revision
    }

    /// Returns the values of the labels `system` and `account`.
    #[must_use]
    pub fn account(&self) -> (&'static str, &str) {
        (self.system, &self.account)
    }

    /// Counts a request that was sent; `status` is `None` if no response was received.
    pub fn requested(&self, endpoint: &'static str, status: Option<u16>, took: Duration) {
        self.change(|values| *values.requests.entry((endpoint, status)).or_default() += 1);
        self.durations
            .with_label_values(&[self.system, endpoint])
            .observe(took.as_secs_f64());
    }

    /// Adds the time that a request waited before it was sent.
    pub fn waited(&self, time: Duration) {
        self.change(|values| values.wait += time);
    }

    /// Counts a response with status 429.
    pub fn rate_limited(&self) {
        self.change(|values| values.rate_limited += 1);
    }

    /// Counts a failed poll or discovery.
    pub fn failed(&self, error: &PollError) {
        let reason = error.reason.label();
        self.change(|values| *values.errors.entry(reason).or_default() += 1);
    }

    /// Counts undocumented values and duplicate rows of a listing.
    pub fn listed(&self, listing: &crate::model::listing::Listing) {
        self.unknown(&listing.unknown);
        self.change(|values| values.duplicates += listing.duplicates);
    }

    /// Counts undocumented values of a response.
    pub fn unknown(&self, unknown: &UnknownValues) {
        self.change(|values| {
            for (field, count) in unknown {
                *values.unknown_values.entry(field).or_default() += count;
            }
        });
    }

    /// Sets the entities of the tenant, and how many are to be polled but cannot be accessed.
    pub(crate) fn entities(&self, entities: &[TenantEntity], unreached: Option<usize>) {
        self.change(|values| {
            entities.clone_into(&mut values.entities);
            values.unreached = unreached;
        });
    }

    /// Sets the end of the running pause.
    pub fn paused_until(&self, until: Timestamp) {
        self.change(|values| values.pause_ends = Some(until));
    }

    /// Sets the requests per second that the schedule needs.
    pub fn planned(&self, requests_per_second: f64) {
        self.change(|values| values.planned = requests_per_second);
    }

    /// Sets the quota that the vendor reported for one window.
    pub fn quota(&self, quota: &Quota, now: Timestamp) {
        self.change(|values| {
            let usage = values.quotas.entry(quota.window).or_default();
            quota.window.clone_into(&mut usage.window);
            let [limit, remaining] = [quota.limit, quota.remaining].map(|n| n.map(|n| n as f64));
            let reset = quota.reset.map(|reset| seconds(now + reset));
            usage.limit = limit.or(usage.limit);
            usage.remaining = remaining.or(usage.remaining);
            usage.reset = reset.or(usage.reset);
        });
    }

    /// Sets when a token of the exporter expires, and whether the exporter renews it by itself.
    pub(crate) fn credential_expires(&self, credential: &str, at: Timestamp, renewable: bool) {
        let credential = credential.to_owned();
        self.change(|values| {
            values.credentials.insert(credential, (at, renewable));
        });
    }

    /// Removes a token that the exporter no longer uses.
    pub(crate) fn credential_gone(&self, credential: &str) {
        self.change(|values| {
            values.credentials.remove(credential);
        });
    }

    /// Removes all tokens of the exporter, because new ones will be requested.
    pub(crate) fn credentials_gone(&self) {
        self.change(|values| values.credentials.clear());
    }

    /// Removes the discovery metrics after a change of the discovery mode.
    pub(crate) fn not_discovered(&self) {
        self.change(|values| {
            (values.discovery_up, values.discovery_last_success) = (None, None);
        });
    }

    /// Sets whether the last discovery succeeded, and when the last successful one was.
    pub fn discovered(&self, success: bool, last_success: Option<Timestamp>) {
        self.change(|values| {
            values.discovery_up = Some(success);
            values.discovery_last_success = last_success.or(values.discovery_last_success);
        });
    }

    /// Returns the end of the last pause, past or not; `None` without any pause so far.
    #[must_use]
    pub(crate) fn pause_ends(&self) -> Option<Timestamp> {
        self.values.lock().pause_ends
    }

    /// Returns the use of budget and quota at `now`.
    #[must_use]
    pub fn usage(&self, now: Timestamp) -> Usage {
        let (configured, effective) = self.limiter.per_second();
        let values = self.values.lock();
        let quotas = values.quotas.values().filter(|window| {
            // A reset alone tells nothing of the use.
            window.limit.is_some() || window.remaining.is_some()
        });
        Usage {
            configured,
            effective,
            planned: values.planned,
            paused_until: values.pause(now),
            quotas: quotas.cloned().collect(),
        }
    }

    /// Adds the samples of the account at `now`.
    pub(crate) fn samples(&self, now: Timestamp, into: &mut impl SampleSink) {
        let (configured, effective) = self.limiter.per_second();
        API_BUDGET.add(into, ["configured"], configured);
        API_BUDGET.add(into, ["effective"], effective);
        self.values.lock().add(now, into);
    }
}

impl AccountValues {
    /// Returns the end of the running pause; `None` if not paused.
    fn pause(&self, now: Timestamp) -> Option<Timestamp> {
        self.pause_ends.filter(|ends| *ends > now)
    }

    fn add(&self, now: Timestamp, into: &mut impl SampleSink) {
        for ((endpoint, status), count) in &self.requests {
            let code = status.map_or_else(|| "none".to_owned(), |status| status.to_string());
            API_REQUESTS.add(into, [endpoint, &code], *count as f64);
        }
        for (reason, count) in &self.errors {
            API_ERRORS.add(into, [reason], *count as f64);
        }
        API_RATE_LIMITED.add(into, [], self.rate_limited as f64);
        API_WAIT.add(into, [], self.wait.as_secs_f64());
        API_PAUSED_UNTIL.add_if(into, [], self.pause(now).map(seconds));
        API_PLANNED.add(into, [], self.planned);
        for (window, usage) in &self.quotas {
            API_QUOTA_LIMIT.add_if(into, [window], usage.limit);
            API_QUOTA_REMAINING.add_if(into, [window], usage.remaining);
            API_QUOTA_RESET.add_if(into, [window], usage.reset);
        }
        for (credential, (expiry, renewable)) in &self.credentials {
            CREDENTIAL_EXPIRY.add(into, [credential], seconds(*expiry));
            CREDENTIAL_RENEWABLE.add(into, [credential], bool_value(*renewable));
        }
        DISCOVERY_UP.add_if(into, [], self.discovery_up.map(bool_value));
        DISCOVERY_LAST_SUCCESS.add_if(into, [], self.discovery_last_success.map(seconds));
        for (field, count) in &self.unknown_values {
            UNKNOWN_VALUES.add(into, [field], *count as f64);
        }
        DUPLICATES.add(into, [], self.duplicates as f64);
        TARGETS_UNREACHED.add_if(into, [], self.unreached.map(|count| count as f64));
        for entity in &self.entities {
            let TenantEntity {
                id,
                name,
                parent,
                tenant,
                status,
            } = entity;
            ENTITY_INFO.add(into, [id, name, parent, tenant, status.label()], 1.0);
        }
    }
}
