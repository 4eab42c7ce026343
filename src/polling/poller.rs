//! Poller of one target: it decides when to poll, publishes a [`TargetState`], and logs each
//! failure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::clock::Clock;
use crate::inventory::AccountHandle;
use crate::metrics::AccountMetrics;
use crate::model::error::PollError;
use crate::model::history::ListingHistory;
use crate::model::listing::{LONG, Listing};
use crate::model::state::{
    ChangeCounts, ConnectionChange, LastListing, ListingFile, PollOutcome, TargetState, changes,
};
use crate::polling::background_jobs::BackgroundJobs;
use crate::polling::backoff::Backoff;
use crate::polling::schedule::Schedule;
use crate::sanitize::{ForLog, MAX_NAMES};
use crate::state_dir::{AccountStateDir, StateFile};
use crate::vendors::account::TargetConfig;
use crate::vendors::http::offload;
use crate::vendors::{Source, System};

/// Time before a listing becomes stale at which it is extended, if its successor is in flight.
const EXTEND_BEFORE_STALE: Duration = Duration::from_millis(500);

/// Polls one target for as long as the target exists.
pub(crate) struct Poller {
    /// Id of the target at the vendor.
    pub id: String,
    /// Source of the account and all expected connections; replaced by a reload.
    pub setup: SharedSetup,
    /// Notified after a reload.
    pub reloaded: Arc<Notify>,
    /// System of the target.
    pub system: &'static System,
    /// Handle through which the state is published.
    pub inventory: AccountHandle,
    /// Directory in which the state is saved.
    pub state_dir: AccountStateDir,
    /// Metrics of the account.
    pub metrics: Arc<AccountMetrics>,
    /// Clock for dates.
    pub clock: Clock,
    /// Interval of polls, and maximum age of a listing.
    pub schedule: Arc<Schedule>,
    /// Version of the listing that was written last, and how often the state directory may have
    /// lost files by then.
    pub written: Mutex<Option<(Timestamp, u64)>>,
}

/// Current setup, which an account and its pollers share.
pub(crate) type SharedSetup = Arc<Mutex<Arc<Setup>>>;

/// Source of an account, and the connections that its configuration expects.
pub(crate) struct Setup {
    /// Source that lists the targets.
    pub source: Arc<dyn Source>,
    /// Background jobs of that source.
    pub jobs: Arc<BackgroundJobs>,
    /// Expected connections by target id, without targets that have none.
    expect: BTreeMap<String, Vec<String>>,
}

impl Setup {
    /// Creates the setup for these targets of the configuration.
    #[must_use]
    pub(crate) fn new(
        source: Arc<dyn Source>,
        jobs: Arc<BackgroundJobs>,
        targets: &[TargetConfig],
    ) -> Self {
        let expecting = targets.iter().filter(|target| !target.expect.is_empty());
        let expect = expecting.map(|target| (target.id.clone(), target.expect.clone()));
        Self {
            source,
            jobs,
            expect: expect.collect(),
        }
    }

    /// Returns each expected connection of a target, and whether the listing contains it.
    #[must_use]
    pub(crate) fn expected(&self, id: &str, listing: &Listing) -> Vec<(String, bool)> {
        let Some(expect) = self.expect.get(id) else {
            return Vec::new();
        };
        let wanted: BTreeSet<_> = expect.iter().map(String::as_str).collect();
        let there: BTreeSet<_> = listing
            .connections()
            .filter_map(|connection| self.source.matches_expected(id, connection))
            .filter(|found| wanted.contains(found))
            .collect();
        expect
            .iter()
            .map(|expected| (expected.clone(), there.contains(expected.as_str())))
            .collect()
    }
}

impl Poller {
    /// Polls at `first` and at every whole interval after it. Polls are skipped while the previous
    /// one is in flight, and during a back-off.
    ///
    /// `state` is the initial state, which may have been restored. Ends only by being dropped. That
    /// discards a poll in flight, but leaves no partial state, which is published in one step.
    ///
    /// What a poll does is boxed: otherwise each target would have memory for it between polls.
    pub(crate) async fn run(self, first: Instant, mut state: TargetState) {
        let mut backoff = Backoff::default();
        let mut last = None;
        let mut due = first;
        // What was too old from the start leaves no page.
        let now = Instant::now();
        let mut reported = stale_from(&state).filter(|at| *at <= now);
        loop {
            let leaves = stale_from(&state).filter(|at| *at < due && Some(*at) != reported);
            // A poll in flight keeps its old source. A reload is seen here, after that poll.
            let reloaded = self.reloaded.notified();
            if timeout_at(leaves.unwrap_or(due), reloaded).await.is_ok() {
                // A reload after a refusal often means that its cause was fixed.
                let held_back = std::mem::take(&mut backoff).until.is_some();
                let replan = held_back || self.schedule.interval() != state.interval;
                if replan {
                    due = self.due_after_reload(last, due);
                    state.interval = self.schedule.interval();
                    state.next_poll = self.date_of(due);
                }
                let last_listing = self.reconfigured(&state);
                if replan || last_listing.is_some() {
                    state.last_listing = last_listing.or(state.last_listing);
                    Box::pin(self.publish(&state)).await;
                }
                continue;
            }
            if leaves.is_some() {
                reported = leaves;
                self.became_stale(&state);
                continue;
            }
            if Box::pin(backoff.is_active(due, &*self.source(), &self.id)).await {
                due = self.schedule.next(due, Instant::now());
                continue;
            }
            let begun = Instant::now();
            // Read before the poll: a credential that changes while the poll waits for the rate
            // limiter counts as another one afterwards.
            let source = self.source();
            let credential = source.credential(&self.id).await;
            let last_listing = state.last_listing.clone();
            if let Some(last) = &last_listing {
                source.learn(&self.id, &last.listing);
            }
            let result = Box::pin(self.list(&*source, &mut state)).await;
            let duration = begun.elapsed();
            state.took(duration);
            let result = match result {
                Ok(listing) => Box::pin(self.succeeded(&mut state, listing)).await,
                Err(error) => Err(error),
            };
            let error = result.err();
            if let Some(error) = &error {
                self.failed(&mut state, error);
                state.last_listing = last_listing;
                state.last_listing = self.reconfigured(&state).or(state.last_listing);
                let counts = error.is_refused_credential();
                backoff.record_failure(counts, credential, due, &self.schedule);
            } else {
                self.setup().jobs.listed(&self.id, credential);
                backoff = Backoff::default();
            }
            last = Some(due);
            due = self.schedule.next(due, Instant::now());
            state.interval = self.schedule.interval();
            state.next_poll = self.date_of(self.next_poll(due, &backoff));
            state.record(PollOutcome {
                at: self.clock.now(),
                duration,
                error,
            });
            Box::pin(self.publish(&state)).await;
        }
    }

    /// Lists the target, and keeps the last listing on the page meanwhile, for three more intervals
    /// at most.
    ///
    /// A vendor that became slow must not leave a gap. One that never responds must not keep the
    /// listing on the page. A configured `stale_after` is not extended.
    async fn list(
        &self,
        source: &dyn Source,
        state: &mut TargetState,
    ) -> Result<Listing, PollError> {
        let mut listing = source.list(&self.id);
        if let Some(last_listing) = state.last_listing.clone()
            && let Some(stale_from) = last_listing.stale_from()
            && self.schedule.configured_stale_after().is_none()
            && Instant::now() < stale_from
        {
            let early = EXTEND_BEFORE_STALE.min(last_listing.stale_after);
            if let Ok(result) = timeout_at(stale_from - early, &mut listing).await {
                return result;
            }
            // Computed without the previous extension: extensions must not add up over repeated
            // restarts.
            let stale_after = self.stale_after(state) + self.schedule.interval() * 3;
            let stale_after = stale_after.max(last_listing.stale_after);
            state.last_listing = Some(Arc::new(
                last_listing.again(last_listing.expected.clone(), stale_after),
            ));
            self.publish(state).await;
        }
        listing.await
    }

    fn setup(&self) -> Arc<Setup> {
        self.setup.lock().clone()
    }

    fn source(&self) -> Arc<dyn Source> {
        self.setup().source.clone()
    }

    /// Publishes the state, and saves it once the target was polled.
    ///
    /// It is saved after a failure too: the next process must have the time of the next poll. The
    /// listing is written only if it changed, or if the state directory may have lost it.
    async fn publish(&self, state: &TargetState) {
        self.inventory
            .publish_offloaded(&self.id, state.clone())
            .await;
        if state.last_attempt.is_some() {
            if let Some(last) = &state.last_listing {
                let version = Some((last.version, self.state_dir.losses()));
                if std::mem::replace(&mut *self.written.lock(), version) != version {
                    let item = StateFile::Listing(self.id.clone());
                    self.state_dir.write(item, ListingFile(last.clone()));
                }
            }
            let item = StateFile::Target(self.id.clone());
            self.state_dir.write(item, state.clone());
        }
    }

    /// Returns when the next poll is due after a reload that changes the interval or ends a
    /// back-off.
    ///
    /// After a poll, that is the next whole interval from it. Before the first poll, the planned
    /// time is moved earlier by as many whole intervals as fit.
    fn due_after_reload(&self, last: Option<Instant>, due: Instant) -> Instant {
        let (now, interval) = (Instant::now(), self.schedule.interval());
        if let Some(last) = last {
            return self.schedule.next(last, now);
        }
        let wait = due.saturating_duration_since(now).as_nanos() % interval.as_nanos();
        // The value fits: it is less than an interval, and an interval is at most a year.
        now + Duration::from_nanos(u64::try_from(wait).unwrap_or_default())
    }

    /// Returns the listing with other expectations or another maximum age; `None` if nothing
    /// changed.
    ///
    /// A reload changes both, and a long poll the maximum age. An age that follows from the
    /// interval only grows, because the next poll may have been planned by the old interval.
    fn reconfigured(&self, state: &TargetState) -> Option<Arc<LastListing>> {
        let last_listing = state.last_listing.as_ref()?;
        let expected = self.setup().expected(&self.id, &last_listing.listing);
        let configured = self.schedule.configured_stale_after();
        let stale_after =
            configured.unwrap_or_else(|| self.stale_after(state).max(last_listing.stale_after));
        (expected != last_listing.expected || stale_after != last_listing.stale_after)
            .then(|| Arc::new(last_listing.again(expected, stale_after)))
    }

    fn stale_after(&self, state: &TargetState) -> Duration {
        self.schedule.stale_after(state.longest_poll)
    }

    /// Returns the first planned time at which the poll is not skipped.
    fn next_poll(&self, due: Instant, backoff: &Backoff) -> Instant {
        match backoff.until {
            Some(until) if due < until => self.schedule.next(due, until - Duration::from_nanos(1)),
            _ => due,
        }
    }

    fn date_of(&self, instant: Instant) -> Timestamp {
        self.clock.now() + instant.saturating_duration_since(Instant::now())
    }

    /// Stores a listing. A long one is compared with the previous one off the event loop.
    async fn succeeded(&self, state: &mut TargetState, listing: Listing) -> Result<(), PollError> {
        self.metrics.listed(&listing);
        let (system, account) = self.metrics.account();
        let (target, connections, pages) = (
            self.inventory.label(&self.id),
            listing.connections().len(),
            listing.pages,
        );
        let target = ForLog(&target).to_string();
        match &state.last_listing {
            None => tracing::info!(system, account, target, connections, pages, "first listing"),
            Some(_) if state.consecutive_failures > 0 => {
                tracing::info!(
                    system,
                    account,
                    target,
                    connections,
                    pages,
                    failures = state.consecutive_failures,
                    "listed again"
                );
            }
            Some(_) => tracing::debug!(system, account, target, connections, pages, "listed"),
        }
        self.schedule.record_pages(&self.id, pages);
        let (before, mut counts, metrics) = (
            state.last_listing.clone(),
            state.changes,
            self.metrics.clone(),
        );
        let (setup, id, stale_after) = (self.setup(), self.id.clone(), self.stale_after(state));
        let long = before.as_ref().map(|last| last.listing.connections().len());
        let long = connections.max(long.unwrap_or_default()) > LONG;
        let (date, healthy) = (self.clock.now(), self.system.healthy_status);
        let compare = move || {
            if let Some(before) = &before {
                let changes = changes(&before.listing, &listing);
                counts.count(&changes);
                log(&metrics, &target, &changes);
            }
            let expected = setup.expected(&id, &listing);
            let history = match &before {
                Some(before) => before
                    .history
                    .next(&before.listing, &listing, date, healthy),
                None => ListingHistory::first(&listing, date, healthy),
            };
            let version = match &before {
                Some(before)
                    if before.listing.has_same_rows(&listing)
                        && before.history.is_continued_by(&history) =>
                {
                    before.version
                }
                _ => date,
            };
            let now = Instant::now();
            let last_listing = LastListing {
                version,
                ..LastListing::new(listing, history, expected, now, stale_after)
            };
            (Arc::new(last_listing), counts)
        };
        let (last_listing, counts) = offload("listing", long, compare).await?;
        state.last_listing = Some(last_listing);
        state.changes = counts;
        state.restored = false;
        state.last_success = Some(self.clock.now());
        state.consecutive_failures = 0;
        state.failing_since = None;
        state.successes += 1;
        Ok(())
    }

    fn became_stale(&self, state: &TargetState) {
        let (system, account) = self.metrics.account();
        tracing::warn!(
            system,
            account,
            target = %ForLog(&self.inventory.label(&self.id)),
            last_success = state.last_success.map(tracing::field::display),
            "the listing is too old and is no longer exported"
        );
    }

    fn failed(&self, state: &mut TargetState, error: &PollError) {
        self.metrics.failed(error);
        state.consecutive_failures = state.consecutive_failures.saturating_add(1);
        state.failing_since.get_or_insert(self.clock.now());
        state.failures += 1;
        let (system, account) = self.metrics.account();
        tracing::warn!(
            system,
            account,
            target = %ForLog(&self.inventory.label(&self.id)),
            reason = error.reason.label(),
            status = error.status,
            request_id = error.request_id,
            failures = state.consecutive_failures,
            %error,
            remedy = error.remedy(),
            "poll failed"
        );
    }
}

/// Returns when the listing becomes too old to be exported.
fn stale_from(state: &TargetState) -> Option<Instant> {
    state.last_listing.as_ref()?.stale_from()
}

/// Logs the changed connections, status changes first.
///
/// Only the first [`MAX_NAMES`] are named; the rest are counted.
fn log(metrics: &AccountMetrics, target: &str, changes: &[ConnectionChange<'_>]) {
    let (system, account) = metrics.account();
    let (statuses, others): (Vec<_>, Vec<_>) = changes
        .iter()
        .partition(|change| matches!(change, ConnectionChange::Status(..)));
    for change in statuses.into_iter().chain(others).take(MAX_NAMES) {
        let (connection, before, after) = change.values();
        tracing::info!(
            system,
            account,
            target,
            change = change.label(),
            connection = %ForLog(connection.id),
            connection_type = connection.kind,
            before,
            after,
            "connection changed"
        );
    }
    let more = changes.len().saturating_sub(MAX_NAMES);
    if more > 0 {
        let mut all = ChangeCounts::default();
        all.count(changes);
        let ChangeCounts {
            added,
            removed,
            status,
        } = all;
        tracing::info!(
            system,
            account,
            target,
            more,
            added,
            removed,
            status,
            "more connections changed: only the first are named, all are counted"
        );
    }
}
