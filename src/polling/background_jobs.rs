//! Background jobs of an account: requests outside its listings, which delay no listing.

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
use crate::vendors::http::ClientObserver;

/// Time until a job is retried after a failure that does not pass by itself.
const RUN_AGAIN: Duration = Duration::from_hours(1);

/// Jobs of one source, each with its own due time. They run one at a time.
pub(crate) struct BackgroundJobs {
    source: Arc<dyn Source>,
    schedule: Arc<Schedule>,
    metrics: Arc<AccountMetrics>,
    planned: Mutex<BTreeMap<JobKey, Planned>>,
    /// Notified when a job was scheduled that may be due before all others.
    changed: Notify,
    /// Observer of the jobs. With one, each job is due as soon as its target was listed.
    observer: Option<Arc<dyn ClientObserver>>,
}

/// Name of the job, and id of its target.
type JobKey = (&'static str, String);

#[derive(Debug)]
struct Planned {
    /// Credential of the listing that scheduled the job. Another credential makes it another job.
    credential: Option<u64>,
    /// When the job runs next; `None` if it is done.
    due: Option<Instant>,
    /// Consecutive failures.
    failures: u32,
    /// Whether it has run before.
    has_run: bool,
}

impl BackgroundJobs {
    /// Creates an empty set of jobs: each job is scheduled by a listing of its target.
    #[must_use]
    pub(crate) fn new(
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
            observer: None,
        }
    }

    /// Adds an observer that waits for the jobs: each is due as soon as its target was listed.
    #[must_use]
    pub(crate) fn observed_by(self, observer: Option<Arc<dyn ClientObserver>>) -> Self {
        Self { observer, ..self }
    }

    /// Schedules the jobs of a target that was listed with this credential.
    ///
    /// A new job is due after one interval, and at once after a change of the credential. A process
    /// in a crash loop therefore makes no requests except for its listings.
    pub(crate) fn listed(&self, target: &str, credential: Option<u64>) {
        let now = Instant::now();
        let mut planned = self.planned.lock();
        for job in self.source.jobs() {
            let key = (*job, target.to_owned());
            let due = match planned.get(&key) {
                Some(known) if known.credential == credential => continue,
                Some(_) => now,
                None => {
                    if let Some(observer) = &self.observer {
                        observer.job_planned();
                        now
                    } else {
                        now + self.schedule.interval()
                    }
                }
            };
            let job = Planned {
                credential,
                due: Some(due),
                failures: 0,
                has_run: false,
            };
            planned.insert(key, job);
            self.changed.notify_one();
        }
    }

    /// Removes the jobs of all targets except these.
    pub(crate) fn keep_targets(&self, targets: &[TargetConfig]) {
        let kept: BTreeSet<_> = targets.iter().map(|target| target.id.as_str()).collect();
        self.planned
            .lock()
            .retain(|(_, target), _| kept.contains(target.as_str()));
    }

    /// Runs each job when it is due. Ends only by being dropped.
    pub(crate) async fn run(&self) {
        loop {
            let next = self.next();
            let changed = self.changed.notified();
            match next {
                None => changed.await,
                Some((due, _)) if due > Instant::now() => {
                    // In both cases, the next job is looked up again.
                    let _ = timeout_at(due, changed).await;
                }
                Some((_, key)) => self.work(&key).await,
            }
        }
    }

    /// Returns the job that is due first.
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
            // The job was rescheduled with another credential, or removed, while it ran.
            return;
        }
        let Some(job) = planned.get_mut(key) else {
            return;
        };
        if let Some(observer) = &self.observer
            && !std::mem::replace(&mut job.has_run, true)
        {
            observer.job_ended(key.0, result.as_ref().err());
        }
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
                    self.schedule.backoff_after(job.failures)
                } else {
                    RUN_AGAIN
                };
                Some(now + wait)
            }
        };
    }

    /// Logs a failure, but not as a warning: the listing exists, and only the job's metrics are
    /// missing.
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
