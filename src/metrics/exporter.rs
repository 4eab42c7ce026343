//! Metrics of the exporter process itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use prometheus::core::Collector;
use prometheus::proto::{Metric, MetricFamily};
use prometheus::{Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, Opts, Registry};
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::blocking::output::dropped_log_lines;
use crate::clock::seconds;

/// The page size is removed if no whole page was requested for this long.
///
/// The last request then came from a person, not from a scraper.
const PAGE_SCRAPED: Duration = Duration::from_mins(15);

/// Buckets in seconds, from a fast response to the 120 s after which Zuora ends a request.
const DURATION_BUCKETS: [f64; 11] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0];

/// The metrics of the process.
#[derive(Debug)]
pub struct ExporterMetrics {
    registry: Registry,
    started: Timestamp,
    durations: HistogramVec,
    page_bytes: GaugeVec,
    page_series: GaugeVec,
    /// When a whole page was last served.
    page_served: Mutex<Option<Instant>>,
    state_write_failures: IntCounter,
    log_lines_dropped: IntCounter,
    tasks: Gauge,
    configuration: ReloadMetrics,
    web_configuration: Gauge,
    shard_index: Gauge,
    shards: Gauge,
    standby: Gauge,
    clock: Gauge,
}

/// Result of the last load of the configuration file, and when it was last applied.
#[derive(Debug)]
struct ReloadMetrics {
    successful: Gauge,
    loaded_at: Gauge,
    last: Mutex<LastReload>,
}

/// Result of the last load of the configuration file.
#[derive(Debug, Clone, Copy)]
pub struct LastReload {
    /// Whether the file was applied.
    pub successful: bool,
    /// When a configuration was last applied, at start or by a reload.
    pub loaded_at: Timestamp,
}

impl ExporterMetrics {
    /// Creates the metrics; `loaded` is when the configuration was applied.
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "a list, of one metric after another")]
    pub fn new(loaded: Timestamp) -> Self {
        let registry = Registry::new();
        let gauge = |name: &str, help: &str| register(&registry, Gauge::new(name, help));
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            register(&registry, GaugeVec::new(Opts::new(name, help), labels))
        };
        gauges(
            "connections_exporter_build_info",
            "What is running; always 1.",
            &["version", "revision", "rustc"],
        )
        .with_label_values(&[
            env!("CARGO_PKG_VERSION"),
            env!("BUILD_REVISION"),
            env!("BUILD_RUSTC"),
        ])
        .set(1.0);
        let clock = gauge(
            "connections_exporter_time_seconds",
            "Current time of the exporter's clock.",
        );
        let configuration = ReloadMetrics {
            successful: gauge(
                "connections_exporter_config_last_reload_successful",
                "Whether the configuration file was taken up when it was last read.",
            ),
            loaded_at: gauge(
                "connections_exporter_config_last_reload_success_timestamp_seconds",
                "When the configuration file was last taken up.",
            ),
            last: Mutex::new(LastReload {
                successful: true,
                loaded_at: loaded,
            }),
        };
        configuration.successful.set(1.0);
        configuration.loaded_at.set(seconds(loaded));
        let web_configuration = gauge(
            "connections_exporter_web_config_last_reload_successful",
            "Whether the web configuration file was taken up when it was last read; 1 without one.",
        );
        web_configuration.set(1.0);
        let shard_index = gauge(
            "connections_exporter_shard_index",
            "Which of the shards this process is, from 0.",
        );
        let shards = gauge(
            "connections_exporter_shards",
            "How many processes share the accounts of the configuration.",
        );
        shards.set(1.0);
        let standby = gauge(
            "connections_exporter_standby",
            "Whether this process waits for the state directory that another one uses, and polls \
                nothing.",
        );
        let durations = register(
            &registry,
            HistogramVec::new(
                HistogramOpts::new(
                    "connections_exporter_api_request_duration_seconds",
                    "Time from sending a request to the end of its answer.",
                )
                .buckets(DURATION_BUCKETS.to_vec()),
                &["system", "endpoint"],
            ),
        );
        let page_bytes = gauges(
            "connections_exporter_page_bytes",
            "Size of the whole page that was last served before this one, as it was sent and, as \
                identity, without encoding; not there if that is a quarter of an hour ago, and \
                narrowed pages do not count.",
            &["encoding"],
        );
        let page_series = gauges(
            "connections_exporter_page_series",
            "Series on the whole page that was last served before this one; narrowed pages do not \
                count.",
            &[],
        );
        let state_write_failures = register(
            &registry,
            IntCounter::new(
                "connections_exporter_state_write_failures_total",
                "Files of the state folder that could not be written or removed.",
            ),
        );
        let log_lines_dropped = register(
            &registry,
            IntCounter::new(
                "connections_exporter_log_lines_dropped_total",
                "Log lines that were dropped because standard error was not read in time.",
            ),
        );
        let tasks = gauge(
            "connections_exporter_tasks",
            "Tasks that are alive: one for each account, target and client, and few others.",
        );
        #[cfg(target_os = "linux")]
        // Registered only once, so it cannot fail. If it did, only the process metrics would be
        // missing.
        let _ = registry.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ));
        Self {
            registry,
            started: loaded,
            durations,
            page_bytes,
            page_series,
            page_served: Mutex::default(),
            state_write_failures,
            log_lines_dropped,
            tasks,
            configuration,
            web_configuration,
            shard_index,
            shards,
            standby,
            clock,
        }
    }

    /// Sets the index of this process and the number of shards.
    pub fn sharded(&self, index: u32, total: u32) {
        self.shard_index.set(f64::from(index));
        self.shards.set(f64::from(total));
    }

    /// Sets whether the process is standby.
    pub fn set_standby(&self, standby: bool) {
        self.standby.set(f64::from(u8::from(standby)));
    }

    /// Returns whether the process is standby.
    #[must_use]
    pub fn is_standby(&self) -> bool {
        self.standby.get() > 0.0
    }

    /// Sets the result of a reload: when the configuration file was applied, or `None` if it was
    /// not.
    pub fn reloaded(&self, loaded_at: Option<Timestamp>) {
        let ReloadMetrics {
            successful,
            loaded_at: date,
            last,
        } = &self.configuration;
        let mut last = last.lock();
        last.successful = loaded_at.is_some();
        successful.set(f64::from(last.successful));
        if let Some(now) = loaded_at {
            last.loaded_at = now;
            date.set(seconds(now));
        }
    }

    /// Returns when the exporter started.
    #[must_use]
    pub fn started(&self) -> Timestamp {
        self.started
    }

    /// Returns the result of the last load of the configuration file.
    #[must_use]
    pub(crate) fn last_reload(&self) -> LastReload {
        *self.configuration.last.lock()
    }

    /// Returns whether the web configuration file was applied when it was last read.
    #[must_use]
    pub(crate) fn is_web_config_loaded(&self) -> bool {
        self.web_configuration.get() > 0.0
    }

    /// Returns the gauge of the web configuration file, for the code that reads the file.
    #[must_use]
    pub fn web_config_gauge(&self) -> Gauge {
        self.web_configuration.clone()
    }

    /// Returns the counter of failed writes to the state directory.
    #[must_use]
    pub fn state_write_failures(&self) -> IntCounter {
        self.state_write_failures.clone()
    }

    /// Returns the histogram of request durations, which has no account label and is shared by all.
    #[must_use]
    pub fn durations(&self) -> HistogramVec {
        self.durations.clone()
    }

    /// Sets the size of a whole page, by encoding, and its number of series.
    ///
    /// The sizes are those of the page as sent and without encoding, which is what scrapers limit.
    pub fn served(&self, sizes: [(&str, u64); 2], series: u64) {
        *self.page_served.lock() = Some(Instant::now());
        for (encoding, bytes) in sizes {
            self.page_bytes
                .with_label_values(&[encoding])
                .set(bytes as f64);
        }
        self.page_series
            .with_label_values::<&str>(&[])
            .set(series as f64);
    }

    /// Returns the series of the last served page, and the last size by encoding, in bytes.
    #[must_use]
    pub fn page(&self) -> (Option<f64>, BTreeMap<String, f64>) {
        let series = values(&self.page_series).into_values().next();
        (series, values(&self.page_bytes))
    }

    /// Returns all metrics of the process at `now`.
    #[must_use]
    pub(crate) fn gather(&self, now: Timestamp) -> Vec<MetricFamily> {
        self.clock.set(seconds(now));
        let served = self.page_served.lock();
        if served.is_some_and(|served| served.elapsed() > PAGE_SCRAPED) {
            self.page_bytes.reset();
            self.page_series.reset();
        }
        let dropped = dropped_log_lines().saturating_sub(self.log_lines_dropped.get());
        self.log_lines_dropped.inc_by(dropped);
        if let Ok(runtime) = Handle::try_current() {
            self.tasks.set(runtime.metrics().num_alive_tasks() as f64);
        }
        self.registry.gather()
    }

    /// Returns the request durations of these systems.
    ///
    /// No other metric of the process has a `system` label.
    #[must_use]
    pub(crate) fn durations_of(&self, systems: &BTreeSet<String>) -> Vec<MetricFamily> {
        let mut families = self.durations.collect();
        for family in &mut families {
            let mut samples = family.take_metric();
            samples.retain(|sample| {
                let mut labels = sample.get_label().iter();
                labels.any(|label| label.name() == "system" && systems.contains(label.value()))
            });
            family.set_metric(samples);
        }
        families.retain(|family| !family.get_metric().is_empty());
        families
    }
}

/// Returns the values of a gauge family by its label.
fn values(family: &GaugeVec) -> BTreeMap<String, f64> {
    let families = family.collect();
    let samples = families.iter().flat_map(MetricFamily::get_metric);
    let value = |sample: &Metric| {
        let label = sample.get_label().first();
        let label = label.map_or_else(String::new, |label| label.value().to_owned());
        (label, sample.get_gauge().get_value())
    };
    samples.map(value).collect()
}

/// Unwraps a new collector and registers it.
///
/// Panics only for an invalid or repeated name: a mistake in this module that every test would hit.
fn register<C: Collector + Clone + 'static>(registry: &Registry, made: prometheus::Result<C>) -> C {
    let collector = made.expect("the metric's name and labels are well formed");
    registry
        .register(Box::new(collector.clone()))
        .expect("the metric is registered once");
    #[cfg(test)]
    super::described::register_name(&collector);
    collector
}
