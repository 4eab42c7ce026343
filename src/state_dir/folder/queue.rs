//! Pending jobs of the state directory.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use tokio::time::Instant;

use super::{Folder, PROGRESS_TIMEOUT};

/// Pending jobs by the name of the account's directory.
///
/// One worker at a time runs the jobs of an account, in the order in which they were first queued.
/// Of several writes of one file only the last is kept, so a slow disk cannot make the queue grow.
#[derive(Debug, Default)]
pub(super) struct JobQueue {
    pub(super) accounts: BTreeMap<String, AccountJobs>,
    /// Accounts with pending jobs and no worker.
    pub(super) ready: VecDeque<String>,
    pub(super) workers: usize,
    /// Number of accounts with a job in progress.
    pub(super) busy: usize,
    /// When such a job last began or ended.
    pub(super) last_progress: Option<Instant>,
    /// Start of opening the directory. No job runs before that is done.
    pub(super) opening: Option<Instant>,
    /// Accounts to keep, by the names of their directories.
    pub(super) kept: BTreeSet<String>,
    /// Files whose last write failed, each with its account's directory.
    pub(super) failing: BTreeSet<(String, String)>,
    /// Whether a caller stopped waiting, and no job has ended since.
    pub(super) hanging: bool,
}

/// Pending jobs of one account.
#[derive(Debug, Default)]
pub(super) struct AccountJobs {
    pub(super) order: VecDeque<PendingJobKey>,
    pub(super) jobs: BTreeMap<PendingJobKey, PendingJob>,
    /// Start of the job in progress.
    pub(super) since: Option<Instant>,
}

/// Key of a pending job. A new job replaces a pending one with the same key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::state_dir) enum PendingJobKey {
    Read(String),
    Write(String),
    Sweep,
}

/// One pending job.
pub(in crate::state_dir) enum PendingJob {
    /// Runs the closure.
    Read(Box<dyn FnOnce(&Folder) + Send>),
    /// Writes the two lines that the closure serializes.
    Write(Box<dyn FnOnce() -> serde_json::Result<Vec<u8>> + Send>),
    /// Removes this program's files from the account's directory, except these.
    Sweep(BTreeSet<String>),
    /// Removes this program's files and the account's directory, unless the account is configured
    /// again.
    Remove,
    /// Queues the removal of directories of accounts that are not kept.
    SweepFolders,
}

impl fmt::Debug for PendingJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read(_) => "Read",
            Self::Write(_) => "Write",
            Self::Sweep(_) => "Sweep",
            Self::Remove => "Remove",
            Self::SweepFolders => "SweepFolders",
        })
    }
}

impl JobQueue {
    pub(super) fn push(&mut self, account: &str, key: PendingJobKey, job: PendingJob) {
        let work = self.accounts.entry(account.to_owned()).or_default();
        if work.since.is_none() && work.order.is_empty() {
            self.ready.push_back(account.to_owned());
        }
        if work.jobs.insert(key.clone(), job).is_none() {
            work.order.push_back(key);
        }
    }

    /// Returns the next job, and marks it as in progress.
    pub(super) fn next(&mut self) -> Option<(String, PendingJobKey, PendingJob)> {
        loop {
            let account = self.ready.pop_front()?;
            let Some(work) = self.accounts.get_mut(&account) else {
                continue;
            };
            while let Some(key) = work.order.pop_front() {
                // A cancelled job leaves only its key in `order`.
                if let Some(job) = work.jobs.remove(&key) {
                    work.since = Some(Instant::now());
                    self.busy += 1;
                    self.last_progress = work.since;
                    return Some((account, key, job));
                }
            }
            self.accounts.remove(&account);
        }
    }

    /// Marks the job in progress for an account as done. Returns whether a caller had stopped
    /// waiting.
    pub(super) fn done(&mut self, account: &str) -> bool {
        self.busy -= 1;
        self.last_progress = Some(Instant::now());
        if let Some(work) = self.accounts.get_mut(account) {
            work.since = None;
            if work.order.is_empty() {
                self.accounts.remove(account);
            } else {
                self.ready.push_back(account.to_owned());
            }
        }
        std::mem::take(&mut self.hanging)
    }

    /// Returns when to stop waiting for a job of this account, with at most `workers` threads.
    ///
    /// A slow disk makes progress and is waited for. A disk that hangs is not.
    pub(super) fn deadline_of(&self, account: &str, workers: usize) -> Instant {
        let own = || self.accounts.get(account)?.since;
        // While a worker is free, it takes the account's job at once.
        let last = || self.last_progress.filter(|_| self.busy >= workers);
        let since = self.opening.or_else(own).or_else(last);
        since.unwrap_or_else(Instant::now) + PROGRESS_TIMEOUT
    }
}
