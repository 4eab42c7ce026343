//! Observer that counts an account's requests, and saves its pauses in the state directory.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::metrics::AccountMetrics;
use crate::model::entity::TenantEntity;
use crate::model::listing::UnknownValues;
use crate::state_dir::{AccountStateDir, StateFile};
use crate::vendors::http::{ClientObserver, LimiterSnapshot, Quota};

/// Observer of an account's clients.
#[derive(Debug)]
pub(super) struct Recorder {
    pub(super) metrics: Arc<AccountMetrics>,
    pub(super) state_dir: AccountStateDir,
}

impl ClientObserver for Recorder {
    fn waited(&self, time: Duration) {
        self.metrics.waited(time);
    }

    fn requested(&self, endpoint: &'static str, status: Option<u16>, took: Duration) {
        self.metrics.requested(endpoint, status, took);
    }

    fn quota(&self, quota: &Quota, now: Timestamp) {
        self.metrics.quota(quota, now);
    }

    fn rate_limited(&self) {
        self.metrics.rate_limited();
    }

    fn paused(&self, until: Timestamp, snapshot: LimiterSnapshot) {
        self.metrics.paused_until(until);
        self.state_dir.write(StateFile::Pace, snapshot);
    }

    fn unknown(&self, values: &UnknownValues) {
        self.metrics.unknown(values);
    }

    fn entities(&self, entities: &[TenantEntity], unreached: Option<usize>) {
        self.metrics.entities(entities, unreached);
    }

    fn credential_expires(&self, credential: &str, at: Timestamp, renewable: bool) {
        self.metrics.credential_expires(credential, at, renewable);
    }

    fn credential_gone(&self, credential: &str) {
        self.metrics.credential_gone(credential);
    }
}
