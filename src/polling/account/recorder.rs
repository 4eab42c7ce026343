//! Observer that counts an account's requests, and saves its pauses in the state directory.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::metrics::AccountMetrics;
use crate::model::entity::TenantEntity;
use crate::model::error::PollError;
use crate::model::listing::UnknownValues;
use crate::state_dir::{AccountStateDir, StateFile};
use crate::vendors::http::{ClientObserver, Exchange, LimiterSnapshot, Quota};

/// Observer of an account's clients.
#[derive(Debug)]
pub(super) struct Recorder {
    pub(super) metrics: Arc<AccountMetrics>,
    pub(super) state_dir: AccountStateDir,
    /// Observer that hears of everything, too.
    pub(super) also: Option<Arc<dyn ClientObserver>>,
}

impl Recorder {
    fn also(&self) -> &dyn ClientObserver {
        self.also.as_deref().unwrap_or(&())
    }
}

impl ClientObserver for Recorder {
    fn waited(&self, time: Duration) {
        self.metrics.waited(time);
        self.also().waited(time);
    }

    fn requested(&self, endpoint: &'static str, status: Option<u16>, took: Duration) {
        self.metrics.requested(endpoint, status, took);
        self.also().requested(endpoint, status, took);
    }

    fn quota(&self, quota: &Quota, now: Timestamp) {
        self.metrics.quota(quota, now);
        self.also().quota(quota, now);
    }

    fn rate_limited(&self) {
        self.metrics.rate_limited();
        self.also().rate_limited();
    }

    fn paused(&self, until: Timestamp, snapshot: LimiterSnapshot) {
        self.metrics.paused_until(until);
        self.also().paused(until, snapshot.clone());
        self.state_dir.write(StateFile::Pace, snapshot);
    }

    fn unknown(&self, values: &UnknownValues) {
        self.metrics.unknown(values);
        self.also().unknown(values);
    }

    fn entities(&self, entities: &[TenantEntity], unreached: Option<usize>) {
        self.metrics.entities(entities, unreached);
        self.also().entities(entities, unreached);
    }

    fn credential_expires(&self, credential: &str, at: Timestamp, renewable: bool) {
        self.metrics.credential_expires(credential, at, renewable);
        self.also().credential_expires(credential, at, renewable);
    }

    fn credential_gone(&self, credential: &str) {
        self.metrics.credential_gone(credential);
        self.also().credential_gone(credential);
    }

    fn wants_exchanges(&self) -> bool {
        self.also().wants_exchanges()
    }

    fn exchanged(&self, exchange: Exchange<'_>) {
        self.also().exchanged(exchange);
    }

    fn job_planned(&self) {
        self.also().job_planned();
    }

    fn job_ended(&self, job: &'static str, error: Option<&PollError>) {
        self.also().job_ended(job, error);
    }
}
