//! Metrics of one account: its requests to the vendor, and what the vendor reports.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use prometheus::core::Collector;
use prometheus::proto::{Metric, MetricFamily};
use prometheus::{
    Counter, Gauge, GaugeVec, HistogramVec, IntCounter, IntCounterVec, Opts, Registry,
};

use super::usage::{Usage, WindowUsage};
use crate::clock::seconds;
use crate::model::entity::TenantEntity;
use crate::model::error::{PollError, Reason};
use crate::model::listing::UnknownValues;
use crate::vendors::http::{Quota, RequestLimiter};

/// Metrics of one account, with its labels.
///
/// They are dropped with the account, so no series is left behind.
#[derive(Debug)]
pub struct AccountMetrics {
    system: &'static str,
    account: String,
    registry: Registry,
    requests: IntCounterVec,
    durations: HistogramVec,
    errors: IntCounterVec,
    rate_limited: IntCounter,
    wait: Counter,
    limiter: Arc<RequestLimiter>,
    budget: GaugeVec,
    entity_info: GaugeVec,
    targets_unreached: GaugeVec,
    quota_limit: GaugeVec,
    quota_remaining: GaugeVec,
    quota_reset: GaugeVec,
    paused_until: GaugeVec,
    /// End of the last pause, kept when it is past; the gauge is 0 then.
    pause_ends: Mutex<Option<Timestamp>>,
    planned: Gauge,
    credential_expiry: GaugeVec,
    credential_renewable: GaugeVec,
    discovery_up: GaugeVec,
    discovery_last_success: GaugeVec,
    unknown_values: IntCounterVec,
    duplicates: IntCounter,
    /// Incremented with every change, so that only changed metrics are rendered again.
    revision: AtomicU64,
    /// Pause and budget at the last call of `revision`; both also change with time.
    seen: Mutex<(Option<Timestamp>, (f64, f64))>,
}

impl AccountMetrics {
    /// Creates the metrics of an account.
    ///
    /// The budget shown is that of `limiter`. `durations` is the histogram that all accounts of the
    /// process share.
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "it is a table")]
    pub fn new(
        system: &'static str,
        account: &str,
        limiter: Arc<RequestLimiter>,
        durations: HistogramVec,
    ) -> Self {
        let registry = Registry::new();
        let opts = |name: &str, help: &str| {
            Opts::new(name, help)
                .const_label("system", system)
                .const_label("account", account)
        };
        let gauge =
            |name: &str, help: &str| register(&registry, Gauge::with_opts(opts(name, help)));
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            register(&registry, GaugeVec::new(opts(name, help), labels))
        };
        let counter =
            |name: &str, help: &str| register(&registry, IntCounter::with_opts(opts(name, help)));
        let counters = |name: &str, help: &str, labels: &[&str]| {
            register(&registry, IntCounterVec::new(opts(name, help), labels))
        };
        let errors = counters(
            "connections_exporter_api_errors_total",
            "Failed polls and failed discoveries, by reason.",
            &["reason"],
        );
        for reason in Reason::ALL {
            errors.with_label_values(&[reason.label()]);
        }
        let budget = gauges(
            "connections_exporter_api_budget_requests_per_second",
            "The request budget: as configured, and as it is now.",
            &["kind"],
        );
        Self {
            requests: counters(
                "connections_exporter_api_requests_total",
                "Requests sent, by call and HTTP status; none where there was no answer.",
                &["endpoint", "code"],
            ),
            rate_limited: counter(
                "connections_exporter_api_rate_limited_total",
                "Answers with status 429.",
            ),
            wait: register(
                &registry,
                Counter::with_opts(opts(
                    "connections_exporter_api_wait_seconds_total",
                    "Time that requests waited for the budget or for the end of a pause.",
                )),
            ),
            paused_until: gauges(
                "connections_exporter_api_paused_until_timestamp_seconds",
                "When the running pause of the account ends; no sample when not paused.",
                &[],
            ),
            planned: gauge(
                "connections_exporter_api_planned_requests_per_second",
                "Requests that the schedule needs, by the number of pages of the last listings.",
            ),
            credential_expiry: gauges(
                "connections_exporter_credential_expiry_timestamp_seconds",
                "When a token that the exporter itself uses expires.",
                &["credential"],
            ),
            credential_renewable: gauges(
                "connections_exporter_credential_renewable",
                "Whether the exporter renews that token by itself; 0 for one that somebody has to \
                    replace.",
                &["credential"],
            ),
            discovery_up: gauges(
                "connections_exporter_discovery_up",
                "Whether the last discovery of the account's targets succeeded.",
                &[],
            ),
            discovery_last_success: gauges(
                "connections_exporter_discovery_last_success_timestamp_seconds",
                "When the account's targets were last discovered.",
                &[],
            ),
            unknown_values: counters(
                "connections_exporter_unknown_values_total",
                "Values of the vendor's that no document of it knows, by field, counted at each \
                    poll.",
                &["field"],
            ),
            duplicates: counter(
                "connections_exporter_duplicate_connections_total",
                "Rows dropped because a later row of the same listing had the same identity.",
            ),
            entity_info: gauges(
                "saas_entity_info",
                "Facts about each entity that the tenant lists, polled or not; always 1, as of the \
                    last successful discovery.",
                &["entity", "name", "parent", "tenant", "status"],
            ),
            targets_unreached: gauges(
                "connections_exporter_targets_unreached",
                "Provisioned entities that the credential cannot access, so that their connections \
                    are not monitored; only where the vendor's list says what to poll.",
                &[],
            ),
            quota_limit: gauges(
                "connections_exporter_api_quota_limit",
                "Requests that the vendor allows in the window, as of its last answer.",
                &["window"],
            ),
            quota_remaining: gauges(
                "connections_exporter_api_quota_remaining",
                "Requests that are left in the window, as of the vendor's last answer.",
                &["window"],
            ),
            quota_reset: gauges(
                "connections_exporter_api_quota_reset_timestamp_seconds",
                "When the window's quota is whole again, as of the vendor's last answer.",
                &["window"],
            ),
            limiter,
            budget,
            system,
            account: account.to_owned(),
            registry,
            durations,
            errors,
            pause_ends: Mutex::new(None),
            revision: AtomicU64::new(0),
            seen: Mutex::new((None, (0.0, 0.0))),
        }
    }

    /// Marks the metrics as changed.
    ///
    /// It is called before the change, but no page is rendered in between: both run on one thread.
    fn bump_revision(&self) {
        self.revision.fetch_add(1, Ordering::Relaxed);
    }

    /// Checks what changes with time alone: a pause that ends, a rate that grows back.
    ///
    /// Returns a number that changes whenever the result of [`AccountMetrics::gather`] does.
    #[must_use]
    pub(crate) fn refresh_revision(&self, now: Timestamp) -> u64 {
        let as_of_now = (self.pause(now), self.limiter.per_second());
        let mut seen = self.seen.lock();
        if *seen != as_of_now {
            *seen = as_of_now;
            self.bump_revision();
        }
        self.revision.load(Ordering::Relaxed)
    }

    /// Returns the values of the labels `system` and `account`.
    #[must_use]
    pub fn account(&self) -> (&'static str, &str) {
        (self.system, &self.account)
    }

    /// Counts a request that was sent; `status` is `None` if no response was received.
    pub fn requested(&self, endpoint: &'static str, status: Option<u16>, took: Duration) {
        self.bump_revision();
        let code = status.map_or_else(|| "none".to_owned(), |status| status.to_string());
        self.requests.with_label_values(&[endpoint, &code]).inc();
        self.durations
            .with_label_values(&[self.system, endpoint])
            .observe(took.as_secs_f64());
    }

    /// Adds the time that a request waited before it was sent.
    pub fn waited(&self, time: Duration) {
        self.bump_revision();
        self.wait.inc_by(time.as_secs_f64());
    }

    /// Counts a response with status 429.
    pub fn rate_limited(&self) {
        self.bump_revision();
        self.rate_limited.inc();
    }

    /// Counts a failed poll or discovery.
    pub fn failed(&self, error: &PollError) {
        self.bump_revision();
        self.errors.with_label_values(&[error.reason.label()]).inc();
    }

    /// Counts undocumented values and duplicate rows of a listing.
    pub fn listed(&self, listing: &crate::model::listing::Listing) {
        self.unknown(&listing.unknown);
        self.duplicates.inc_by(listing.duplicates);
    }

    /// Counts undocumented values of a response.
    pub fn unknown(&self, values: &UnknownValues) {
        self.bump_revision();
        for (field, count) in values {
            self.unknown_values
                .with_label_values(&[field])
                .inc_by(*count);
        }
    }

    /// Sets the entities of the tenant, and how many are to be polled but cannot be accessed.
    pub(crate) fn entities(&self, entities: &[TenantEntity], unreached: Option<usize>) {
        self.bump_revision();
        self.entity_info.reset();
        for entity in entities {
            let TenantEntity {
                id,
                name,
                parent,
                tenant,
                status,
            } = entity;
            let labels = [id, name, parent, tenant, status.label()];
            self.entity_info.with_label_values(&labels).set(1.0);
        }
        self.targets_unreached.reset();
        if let Some(unreached) = unreached {
            let gauge = self.targets_unreached.with_label_values::<&str>(&[]);
            gauge.set(unreached as f64);
        }
    }

    /// Sets the end of the running pause.
    pub fn paused_until(&self, until: Timestamp) {
        self.bump_revision();
        *self.pause_ends.lock() = Some(until);
    }

    /// Sets the requests per second that the schedule needs.
    pub fn planned(&self, requests_per_second: f64) {
        self.bump_revision();
        self.planned.set(requests_per_second);
    }

    /// Sets the quota that the vendor reported for one window.
    pub fn quota(&self, quota: &Quota, now: Timestamp) {
        self.bump_revision();
        let set = |gauge: &GaugeVec, value: Option<f64>| {
            if let Some(value) = value {
                gauge.with_label_values(&[quota.window]).set(value);
            }
        };
        set(&self.quota_limit, quota.limit.map(|limit| limit as f64));
        set(
            &self.quota_remaining,
            quota.remaining.map(|remaining| remaining as f64),
        );
        set(
            &self.quota_reset,
            quota.reset.map(|reset| seconds(now + reset)),
        );
    }

    /// Sets when a token of the exporter expires, and whether the exporter renews it by itself.
    pub(crate) fn credential_expires(&self, credential: &str, at: Timestamp, renewable: bool) {
        self.bump_revision();
        self.credential_expiry
            .with_label_values(&[credential])
            .set(seconds(at));
        self.credential_renewable
            .with_label_values(&[credential])
            .set(f64::from(u8::from(renewable)));
    }

    /// Removes a token that the exporter no longer uses.
    pub(crate) fn credential_gone(&self, credential: &str) {
        self.bump_revision();
        // The error only means that this label has no sample.
        let _ = self.credential_expiry.remove_label_values(&[credential]);
        let _ = self.credential_renewable.remove_label_values(&[credential]);
    }

    /// Removes all tokens of the exporter, because new ones will be requested.
    pub(crate) fn credentials_gone(&self) {
        self.bump_revision();
        self.credential_expiry.reset();
        self.credential_renewable.reset();
    }

    /// Removes the discovery metrics after a change of the discovery mode.
    pub(crate) fn not_discovered(&self) {
        self.bump_revision();
        self.discovery_up.reset();
        self.discovery_last_success.reset();
    }

    /// Sets whether the last discovery succeeded, and when the last successful one was.
    pub fn discovered(&self, success: bool, last_success: Option<Timestamp>) {
        self.bump_revision();
        self.discovery_up
            .with_label_values::<&str>(&[])
            .set(f64::from(u8::from(success)));
        if let Some(at) = last_success {
            self.discovery_last_success
                .with_label_values::<&str>(&[])
                .set(seconds(at));
        }
    }

    /// Returns the end of the last pause, past or not; `None` without any pause so far.
    #[must_use]
    pub(crate) fn pause_ends(&self) -> Option<Timestamp> {
        *self.pause_ends.lock()
    }

    /// Returns the end of the running pause; `None` if not paused.
    fn pause(&self, now: Timestamp) -> Option<Timestamp> {
        self.pause_ends.lock().filter(|ends| *ends > now)
    }

    /// Returns the use of budget and quota at `now`.
    #[must_use]
    pub fn usage(&self, now: Timestamp) -> Usage {
        let (configured, effective) = self.limiter.per_second();
        let [limits, mut remaining, mut resets] =
            [&self.quota_limit, &self.quota_remaining, &self.quota_reset].map(values);
        let mut windows: Vec<_> = limits.keys().chain(remaining.keys()).cloned().collect();
        windows.sort_unstable();
        windows.dedup();
        let quotas = windows.into_iter().map(|window| WindowUsage {
            limit: limits.get(&window).copied(),
            remaining: remaining.remove(&window),
            reset: resets.remove(&window),
            window,
        });
        Usage {
            configured,
            effective,
            planned: self.planned.get(),
            paused_until: self.pause(now),
            quotas: quotas.collect(),
        }
    }

    /// Returns all metrics of the account at `now`.
    #[must_use]
    pub(crate) fn gather(&self, now: Timestamp) -> Vec<MetricFamily> {
        self.paused_until.reset();
        if let Some(until) = self.pause(now) {
            let gauge = self.paused_until.with_label_values::<&str>(&[]);
            gauge.set(seconds(until));
        }
        let (configured, effective) = self.limiter.per_second();
        for (kind, rate) in [("configured", configured), ("effective", effective)] {
            self.budget.with_label_values(&[kind]).set(rate);
        }
        self.registry.gather()
    }
}

/// Returns the values of a gauge family by its label other than `system` and `account`.
pub(super) fn values(family: &GaugeVec) -> BTreeMap<String, f64> {
    let families = family.collect();
    let samples = families.iter().flat_map(MetricFamily::get_metric);
    let value = |sample: &Metric| {
        let constant = ["system", "account"];
        let mut labels = sample.get_label().iter();
        let label = labels.find(|label| !constant.contains(&label.name()));
        let label = label.map_or_else(String::new, |label| label.value().to_owned());
        (label, sample.get_gauge().get_value())
    };
    samples.map(value).collect()
}

/// Unwraps a new collector and registers it.
///
/// Panics only for an invalid or repeated name: a mistake in this module that every test would hit.
pub(super) fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    made: prometheus::Result<C>,
) -> C {
    let collector = made.expect("the metric's name and labels are well formed");
    registry
        .register(Box::new(collector.clone()))
        .expect("the metric is registered once");
    #[cfg(test)]
    super::described::register_name(&collector);
    collector
}
