//! The background jobs of an account: what is asked beside its listings, and no listing waits for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::metrics::AccountMetrics;
use crate::model::error::PollError;
use crate::polling::schedule::Schedule;
use crate::sanitize::ForLog;
use crate::vendors::Source;
use crate::vendors::account::TargetConfig;

/// A job that failed for a reason that does not pass by itself is run again after this.
const RUN_AGAIN: Duration = Duration::from_hours(1);

/// The jobs of one source, each with a time of its own, one at a time.
pub struct BackgroundJobs {
    source: Arc<dyn Source>,
    schedule: Arc<Schedule>,
    metrics: Arc<AccountMetrics>,
    planned: Mutex<BTreeMap<JobKey, Planned>>,
    /// Told when a job is due earlier than was known.
    changed: Notify,
}

/// The job, and its target.
type JobKey = (&'static str, String);

#[derive(Debug)]
struct Planned {
    /// The one that it is run with; another one makes it another job.
    credential: Option<u64>,
    /// When it is run next; `None`: it is done.
    due: Option<Instant>,
    /// Failures in a row.
    failures: u32,
}

impl BackgroundJobs {
    /// No jobs yet: each begins with a listing of its target.
    #[must_use]
    pub fn new(
        source: Arc<dyn Source>,
        schedule: Arc<Schedule>,
        metrics: Arc<AccountMetrics>,
    ) -> Self {
        Self {
            source,
            schedule,
            metrics,
            planned: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Notes that a target was listed with this credential, so that its jobs may be worth running: an interval from now,
    /// and after a change of the credential at once. So a process that is restarted again and again makes no requests but
    /// for its listings.
    pub fn listed(&self, target: &str, credential: Option<u64>) {
        let now = Instant::now();
        let mut planned = self.planned.lock();
        for job in self.source.jobs() {
            let key = (*job, target.to_owned());
            let due = match planned.get(&key) {
                Some(known) if known.credential == credential => continue,
                Some(_) => now,
                None => now + self.schedule.interval(),
            };
            let job = Planned {
                credential,
                due: Some(due),
                failures: 0,
            };
            planned.insert(key, job);
            self.changed.notify_one();
        }
    }

    /// Forgets the jobs of other targets than these.
    pub fn keep_targets(&self, targets: &[TargetConfig]) {
        let kept: BTreeSet<_> = targets.iter().map(|target| target.id.as_str()).collect();
        self.planned
            .lock()
            .retain(|(_, target), _| kept.contains(target.as_str()));
    }

    /// Runs each job when it is due. Ends only by being dropped.
    pub async fn run(&self) {
        loop {
            let next = self.next();
            let changed = self.changed.notified();
            match next {
                None => changed.await,
                Some((due, _)) if due > Instant::now() => {
                    // Whichever comes first, the next one is looked for again.
                    let _ = timeout_at(due, changed).await;
                }
                Some((_, key)) => self.work(&key).await,
            }
        }
    }

    /// The job that is due first.
    fn next(&self) -> Option<(Instant, JobKey)> {
        let planned = self.planned.lock();
        let due = planned
            .iter()
            .filter_map(|(key, job)| Some((job.due?, key)));
        let (due, key) = due.min()?;
        Some((due, key.clone()))
    }

    async fn work(&self, key: &JobKey) {
        let credential = |planned: &BTreeMap<JobKey, Planned>| Some(planned.get(key)?.credential);
        let begun_with = credential(&self.planned.lock());
        let result = self.source.run_job(key.0, &key.1).await;
        let mut planned = self.planned.lock();
        if credential(&planned) != begun_with {
            // Meanwhile it became another job, or none.
            return;
        }
        let Some(job) = planned.get_mut(key) else {
            return;
        };
        let now = Instant::now();
        job.due = match result {
            Ok(again) => {
                job.failures = 0;
                again.map(|wait| now + wait)
            }
            Err(error) => {
                job.failures = job.failures.saturating_add(1);
                self.log(key, job.failures, &error);
                let wait = if error.reason.may_pass() {
                    self.schedule.after_refusals(job.failures)
                } else {
                    RUN_AGAIN
                };
                Some(now + wait)
            }
        };
    }

    /// No warning: the listing is there, and what the job would have told has no sample.
    fn log(&self, (job, target): &JobKey, failures: u32, error: &PollError) {
        let (system, account) = self.metrics.account();
        let target = ForLog(target).to_string();
        if failures == 1 {
            tracing::info!(
                system,
                account,
                target,
                job,
                reason = error.reason.label(),
                status = error.status,
                request_id = error.request_id,
                %error,
                "a background job failed: it is run again with back-off, and delays no listing"
            );
        } else {
            let reason = error.reason.label();
            tracing::debug!(
                system,
                account,
                target,
                job,
                reason,
                failures,
                "a background job failed again"
            );
        }
    }
}
