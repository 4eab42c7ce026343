//! A target that is polled and scraped by the code of the daemon.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::series::Series;
use crate::metrics::{ALL, SampleSink, freshness, history, listing};
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
        let mut target = ScrapedTarget {
            common: [self.system.name, "acme", self.name],
            step,
            series,
        };
        freshness(&self.state, None, &mut target);
        if let Some(last) = &self.state.last_listing {
            history(self.system, last, &mut target);
            let age = now - self.state.last_success.unwrap().as_second();
            if age < 3 * self.every {
                listing(self.system, last, &mut target);
            }
        }
        series.add(step, "connections_exporter_time_seconds", &[], now as f64);
    }
}

/// Samples of one target at one step.
struct ScrapedTarget<'a> {
    common: [&'static str; 3],
    step: usize,
    series: &'a mut Series,
}

impl SampleSink for ScrapedTarget<'_> {
    fn sample(&mut self, family: usize, labels: &[&str], value: f64) {
        let values = self.common.iter().chain(labels).copied();
        let labels: Vec<_> = ALL[family].labels.iter().copied().zip(values).collect();
        self.series.add(self.step, ALL[family].name, &labels, value);
    }
}
