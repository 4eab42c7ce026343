//! A target that is polled and scraped by the code of the daemon.

use std::time::Duration;

use jiff::Timestamp;
use prometheus::proto::{MetricFamily, MetricType};
use tokio::time::Instant;

use super::series::Series;
use crate::metrics::{freshness, history, listing};
use crate::model::error::{PollError, Reason};
use crate::model::history::ListingHistory;
use crate::model::listing::{Connection, ListingBuilder};
use crate::model::state::{LastListing, PollOutcome, TargetState};
use crate::vendors::System;

/// A target as its poller and the inventory keep it.
pub(super) struct Target {
    system: &'static System,
    pub(super) name: &'static str,
    /// Seconds between polls, and between scrapes.
    every: i64,
    state: TargetState,
}

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

impl Target {
    pub(super) fn new(system: &'static System, name: &'static str, every: i64) -> Self {
        let interval = Duration::from_secs(every.unsigned_abs());
        let state = TargetState::new(interval, at(0));
        Self {
            system,
            name,
            every,
            state,
        }
    }

    pub(super) fn poll(&mut self, now: i64, rows: Result<Vec<Connection>, Reason>) {
        let (date, next) = (at(now), at(now + self.every));
        let state = &mut self.state;
        state.next_poll = next;
        let error = rows
            .as_ref()
            .err()
            .map(|reason| PollError::new(*reason, "e", "it failed"));
        state.last_attempt = Some(PollOutcome {
            at: date,
            duration: Duration::from_secs(1),
            error,
        });
        let Ok(rows) = rows else {
            state.consecutive_failures += 1;
            state.failures += 1;
            return;
        };
        let mut builder = ListingBuilder::new("e", 10_000, 10_000);
        builder.add_page(rows, true).unwrap();
        let listing = builder.finish();
        let healthy = self.system.healthy_status;
        let history = match &state.last_listing {
            Some(last) => last.history.next(&last.listing, &listing, date, healthy),
            None => ListingHistory::first(&listing, date, healthy),
        };
        let stale_after = state.interval * 3;
        let last = LastListing::new(listing, history, Vec::new(), Instant::now(), stale_after);
        state.last_listing = Some(last.into());
        state.last_success = Some(date);
        state.consecutive_failures = 0;
        state.successes += 1;
    }

    /// Adds the samples of a scrape.
    pub(super) fn scrape(&self, now: i64, series: &mut Series) {
        let step = usize::try_from(now / self.every).unwrap();
        let mut show = |_: usize, family: &MetricFamily| {
            for metric in family.get_metric() {
                let labels: Vec<_> = metric
                    .get_label()
                    .iter()
                    .map(|pair| (pair.name(), pair.value()))
                    .collect();
                let value = if family.get_field_type() == MetricType::COUNTER {
                    metric.get_counter().get_value()
                } else {
                    metric.get_gauge().get_value()
                };
                series.add(step, family.name(), &labels, value);
            }
        };
        let (system, state) = (self.system, &self.state);
        freshness(system, "acme", self.name, state, None, &mut show);
        if let Some(last) = &state.last_listing {
            history(system, "acme", self.name, last, &mut show);
            let age = now - state.last_success.unwrap().as_second();
            if age < 3 * self.every {
                listing(system, "acme", self.name, last, &mut show);
            }
        }
        series.add(step, "connections_exporter_time_seconds", &[], now as f64);
    }
}
