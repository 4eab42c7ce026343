//! Invariants of every page.

use std::collections::{BTreeMap, BTreeSet};

use connections_exporter::exposition::Encoding;
use connections_exporter::inventory::Inventory;

/// System, account and target.
pub(crate) type Key = (String, String, String);

/// Samples of a page that are checked.
#[derive(Default)]
pub(crate) struct Page {
    pub(crate) bytes: usize,
    counters: BTreeMap<String, f64>,
    pub(crate) targets: BTreeMap<Key, Shown>,
}

/// Families whose values are read. All other families are checked only if they are counters.
const LOOKED_AT: [&str; 10] = [
    "connections_exporter_target_last_attempt_timestamp_seconds",
    "connections_exporter_target_next_poll_timestamp_seconds",
    "saas_connections",
    "saas_connection_info",
    "saas_connection_connected",
    "saas_connection_created_timestamp_seconds",
    "saas_connection_token_expiry_timestamp_seconds",
    "connections_exporter_target_poll_interval_seconds",
    "connections_exporter_target_restored",
    "connections_exporter_target_up",
];

/// Samples of one target.
#[derive(Default)]
pub(crate) struct Shown {
    pub(crate) interval: f64,
    pub(crate) last: f64,
    pub(crate) next: f64,
    pub(crate) restored: bool,
    pub(crate) up: bool,
    /// Number of connections in `saas_connections`, and number of `saas_connection_info` samples.
    counted: f64,
    listed: f64,
    /// Versions of the listings that its samples come from.
    pub(crate) versions: BTreeSet<i64>,
}

impl Page {
    /// Reads the current page. The vendor's versions are seconds since `start`.
    pub(crate) fn of(inventory: &Inventory, start: f64) -> Self {
        let page = inventory.page(Encoding::Plain);
        let text = page.body();
        let text = std::str::from_utf8(&text).unwrap();
        let mut read = Self {
            bytes: text.len(),
            ..Self::default()
        };
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let value: f64 = value.parse().unwrap();
            let family = series.split('{').next().unwrap();
            if family.ends_with("_total") {
                let before = read.counters.insert(series.to_owned(), value);
                assert_eq!(before, None, "{series} comes twice");
            }
            if !LOOKED_AT.contains(&family) {
                continue;
            }
            let label = |name: &str| {
                let value = series.split_once(name)?.1;
                value.split('"').next().map(str::to_owned)
            };
            let key = (
                label("{system=\"").unwrap(),
                label("account=\"").unwrap(),
                label("target=\"").unwrap(),
            );
            let zuora = key.0 == "zuora";
            let shown = read.targets.entry(key).or_default();
            // Whole seconds, well within the precision of an f64.
            let mark = |at: f64| format!("{:.0}", at - start).parse::<i64>().unwrap();
            match family {
                "saas_connections" => shown.counted += value,
                "saas_connection_info" => shown.listed += 1.0,
                "saas_connection_created_timestamp_seconds"
                | "saas_connection_token_expiry_timestamp_seconds" => {
                    shown.versions.insert(mark(value));
                }
                "connections_exporter_target_poll_interval_seconds" => shown.interval = value,
                "connections_exporter_target_last_attempt_timestamp_seconds" => shown.last = value,
                "connections_exporter_target_next_poll_timestamp_seconds" => shown.next = value,
                "connections_exporter_target_restored" => shown.restored = value > 0.0,
                "connections_exporter_target_up" => shown.up = value > 0.0,
                _ => {}
            }
            if zuora && let Some(connection) = label("connection=\"") {
                // The rows of an endless listing have no version.
                let (_, version) = connection.split_once('-').unwrap();
                shown.versions.extend(version.parse::<i64>());
            }
        }
        read
    }

    /// Returns the violated invariants, given the previous page of the same process.
    pub(crate) fn broken(&self, before: &Self) -> Vec<String> {
        let mut broken = Vec::new();
        for (series, value) in &self.counters {
            if before
                .counters
                .get(series)
                .is_some_and(|before| before > value)
            {
                broken.push(format!("{series} fell"));
            }
        }
        for (key, shown) in &self.targets {
            if shown.versions.len() > 1 {
                broken.push(format!("{key:?} mixes the listings {:?}", shown.versions));
            }
            if (shown.counted - shown.listed).abs() > 0.5 {
                let Shown {
                    counted, listed, ..
                } = shown;
                broken.push(format!("{key:?} counts {counted} and lists {listed}"));
            }
            let earlier = before.targets.get(key).map(|before| &before.versions);
            if earlier.is_some_and(|earlier| {
                earlier.last() > shown.versions.last() && !shown.versions.is_empty()
            }) {
                broken.push(format!("{key:?} went back to an earlier listing"));
            }
        }
        broken
    }
}
