//! The directory of the state files, and the worker threads that read and write them.

mod queue;
mod root;

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::IntCounter;
use rustix::fs::{AtFlags, FileType, unlinkat};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use tokio::sync::{Notify, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{OpenError, is_ours};
use queue::JobQueue;
pub(super) use queue::{PendingJob, PendingJobKey};
use root::{LockError, Root, account_folder, entries, is_unfinished, open_file, replace, take};

/// Maximum number of worker threads.
///
/// Writing a small file is mostly waiting for the disk, which processes several files at once as
/// fast as one.
const WORKERS: usize = 8;
/// One worker thread is allowed per this many file descriptors of the process limit, because each
/// worker has some open at a time.
const DESCRIPTORS: u64 = 32;
/// Time without progress after which callers stop waiting for the disk.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(5);
/// Interval at which a standby process tries to lock the directory.
const LOCK_INTERVAL: Duration = Duration::from_millis(500);
/// Key of the queue for jobs that concern the state directory itself.
const ITSELF: &str = "";

/// State directory with its pending jobs.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    failures: IntCounter,
    /// Number of failed writes, and of times that the directory was created again.
    losses: AtomicU64,
    /// Maximum number of worker threads.
    workers: usize,
    queue: Mutex<JobQueue>,
    /// Notified when no jobs are left.
    idle: Notify,
    /// `None` until the directory is opened, and after it was lost.
    ///
    /// The disk can block the holder of this lock, so only worker threads take it.
    root: Mutex<Option<Arc<Root>>>,
}

impl Folder {
    pub(super) fn new(path: &Path, failures: IntCounter) -> Self {
        Self {
            path: path.to_owned(),
            failures,
            losses: AtomicU64::default(),
            workers: workers(),
            queue: Mutex::default(),
            idle: Notify::new(),
            root: Mutex::default(),
        }
    }

    /// Creates the directory if it is missing, and locks it.
    ///
    /// Waits at most [`PROGRESS_TIMEOUT`] for a disk that hangs. After that, the jobs wait for the
    /// directory, and the caller goes on.
    pub(super) async fn open(self: &Arc<Self>) -> Result<(), OpenError> {
        self.queue.lock().opening = Some(Instant::now());
        let (done, opened) = oneshot::channel();
        let folder = self.clone();
        spawn_blocking(move || {
            let result = match folder.create_and_lock() {
                Err(LockError::Io(error)) => {
                    folder.warn_of_missing_lock(&error);
                    Ok(())
                }
                result => result,
            };
            let mut queue = folder.queue.lock();
            queue.opening = None;
            folder.start_workers(&mut queue);
            drop(queue);
            folder.idle.notify_one();
            // If the deadline has passed, a refusal is visible only in the writes that fail later.
            let _ = done.send(result);
        });
        match timeout(PROGRESS_TIMEOUT, opened).await {
            Ok(Ok(Err(refused))) => return Err(self.refusal(refused)),
            Err(_) => self.hangs(),
            // Opened, or the sender was dropped because the process ends.
            Ok(_) => {}
        }
        Ok(())
    }

    /// Creates the directory if it is missing, and locks it. Waits as long as another process uses
    /// it, and calls `waits` once with the path if one does.
    ///
    /// Fails if the directory cannot be locked: two processes would then be active. Waits for a
    /// disk that hangs, for the same reason.
    pub(super) async fn lock(self: &Arc<Self>, waits: impl FnOnce(&Path)) -> Result<(), OpenError> {
        let mut waits = Some(waits);
        loop {
            let folder = self.clone();
            let locked = spawn_blocking(move || folder.create_and_lock()).await;
            match locked {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(LockError::InUse)) => {
                    if let Some(waits) = waits.take() {
                        waits(&self.path);
                    }
                }
                // What worked at first may fail for a while.
                Ok(Err(refused)) if waits.is_some() => return Err(self.refusal(refused)),
                Ok(Err(_)) | Err(_) => {}
            }
            sleep(LOCK_INTERVAL).await;
        }
    }

    /// Returns how often files may have been lost.
    pub(super) fn losses(&self) -> u64 {
        self.losses.load(Ordering::Relaxed)
    }

    fn refusal(&self, refused: LockError) -> OpenError {
        let path = self.path.display().to_string();
        match refused {
            LockError::NotAFolder => OpenError::NotADirectory(path),
            LockError::InUse => OpenError::InUse(path),
            LockError::Io(error) => OpenError::NotLocked(path, error),
        }
    }

    /// Creates the directory if it is missing, and locks it, on a blocking thread.
    ///
    /// A directory that can be opened and not locked is [`LockError::Io`], too. It can be read.
    fn create_and_lock(&self) -> Result<(), LockError> {
        let mut held = self.root.lock();
        let root = take(&self.path)?;
        self.warn_of_mode(&root.folder);
        let root = held.insert(Arc::new(root));
        match &root.lock {
            Ok(_) => Ok(()),
            Err(error) => Err(LockError::Io(io::Error::other(error.to_string()))),
        }
    }

    fn warn_of_missing_lock(&self, error: &io::Error) {
        self.failures.inc();
        tracing::warn!(folder = %self.path.display(), %error, "the state directory cannot be \
            locked: it is still read, but writes may fail");
    }

    /// Warns if others may write to the directory.
    ///
    /// Kubernetes' `fsGroup` allows a group to write. The set-group-ID bit marks that as intended.
    fn warn_of_mode(&self, folder: &File) {
        let Ok(mode) = folder.metadata().map(|metadata| metadata.mode() & 0o7777) else {
            return;
        };
        if mode & 0o002 != 0 || mode & 0o2020 == 0o020 {
            tracing::warn!(
                folder = %self.path.display(),
                mode = format!("{mode:04o}"),
                "others may write to the state directory: its mode should be 0700"
            );
        }
    }

    /// Returns the directory with its lock.
    ///
    /// A directory that was removed or replaced is created and locked again. Without the lock,
    /// another process could use it at the same time.
    fn root(&self) -> io::Result<Arc<Root>> {
        let mut held = self.root.lock();
        if let Some(root) = &*held
            && root.is_ours(&self.path)?
        {
            return Ok(root.clone());
        }
        let before = held.take();
        let was_locked = before.is_some_and(|root| root.lock.is_ok());
        let root = take(&self.path).map_err(|refused| match refused {
            LockError::Io(error) => error,
            LockError::InUse => {
                if was_locked {
                    tracing::warn!(folder = %self.path.display(), "the state directory was removed, \
                        and another process uses it now: it is not written any more");
                }
                io::Error::other("another process uses this directory")
            }
            LockError::NotAFolder => io::ErrorKind::NotADirectory.into(),
        })?;
        self.losses.fetch_add(1, Ordering::Relaxed);
        if was_locked {
            self.failures.inc();
            tracing::warn!(folder = %self.path.display(), "the state directory or its lock was \
                removed: it was created and locked again");
        }
        Ok(held.insert(Arc::new(root)).clone())
    }

    /// Queues a job for a worker thread, so that a hanging disk blocks only the workers.
    pub(super) fn later(self: &Arc<Self>, account: &str, key: PendingJobKey, job: PendingJob) {
        let mut queue = self.queue.lock();
        queue.push(account, key, job);
        self.start_workers(&mut queue);
    }

    fn start_workers(self: &Arc<Self>, queue: &mut JobQueue) {
        if queue.opening.is_some() {
            return;
        }
        for _ in queue.workers..self.workers.min(queue.workers + queue.ready.len()) {
            queue.workers += 1;
            let folder = self.clone();
            spawn_blocking(move || folder.work());
        }
    }

    fn work(self: &Arc<Self>) {
        loop {
            let next = {
                let mut queue = self.queue.lock();
                let next = queue.next();
                if next.is_none() {
                    queue.workers -= 1;
                    if queue.accounts.is_empty() {
                        self.idle.notify_one();
                    }
                }
                next
            };
            let Some((account, key, job)) = next else {
                return;
            };
            match (job, key) {
                (PendingJob::Read(read), _) => read(self),
                (PendingJob::Write(lines), PendingJobKey::Write(file)) => {
                    self.write(&account, &file, lines());
                }
                (PendingJob::Sweep(kept), _) => {
                    self.sweep(&account, &kept);
                }
                (PendingJob::Remove, _) => self.remove_account(&account),
                (PendingJob::SweepFolders, _) => self.sweep_folders(),
                (PendingJob::Write(_), PendingJobKey::Read(_) | PendingJobKey::Sweep) => {}
            }
            if self.queue.lock().done(&account) {
                tracing::info!(folder = %self.path.display(), "the state directory responds again");
            }
        }
    }

    /// Waits for the result of a job of the account, as long as the disk makes progress.
    ///
    /// Returns `None` if it makes none.
    pub(super) async fn answer<T>(
        self: Arc<Self>,
        account: String,
        mut answer: oneshot::Receiver<T>,
    ) -> Option<T> {
        let deadline_of = || self.queue.lock().deadline_of(&account, self.workers);
        loop {
            if let Ok(answer) = timeout_at(deadline_of(), &mut answer).await {
                return answer.ok();
            }
            if deadline_of() <= Instant::now() {
                self.hangs();
                return None;
            }
        }
    }

    /// Waits until every job has succeeded or failed.
    pub(super) async fn flush(&self) {
        loop {
            {
                let queue = self.queue.lock();
                if queue.accounts.is_empty() && queue.opening.is_none() {
                    return;
                }
            }
            self.idle.notified().await;
        }
    }

    /// Logs and counts once that the disk hangs.
    fn hangs(&self) {
        if !std::mem::replace(&mut self.queue.lock().hanging, true) {
            self.failures.inc();
            tracing::warn!(
                folder = %self.path.display(),
                seconds = PROGRESS_TIMEOUT.as_secs(),
                "the state directory does not respond: the exporter continues without the saved state"
            );
        }
    }

    /// Sets the accounts to keep, and queues the removal of all others.
    pub(super) fn keep_accounts(self: &Arc<Self>, kept: BTreeSet<String>) {
        {
            // A write that is still pending for a removed account would create its files again.
            let mut queue = self.queue.lock();
            for (account, work) in &mut queue.accounts {
                if account != ITSELF && !kept.contains(account) {
                    work.jobs
                        .retain(|key, _| !matches!(key, PendingJobKey::Write(_)));
                }
            }
            queue.failing.retain(|(account, _)| kept.contains(account));
            queue.kept = kept;
        }
        self.later(ITSELF, PendingJobKey::Sweep, PendingJob::SweepFolders);
    }

    /// Sets the files of an account to keep, and queues the removal of all others.
    pub(super) fn keep_files(self: &Arc<Self>, account: &str, kept: BTreeSet<String>) {
        {
            let mut queue = self.queue.lock();
            let stays = |key: &PendingJobKey| match key {
                PendingJobKey::Write(file) => kept.contains(file),
                PendingJobKey::Read(_) | PendingJobKey::Sweep => true,
            };
            if let Some(work) = queue.accounts.get_mut(account) {
                work.jobs.retain(|key, _| stays(key));
            }
            queue
                .failing
                .retain(|(of, file)| of != account || kept.contains(file));
        }
        self.later(account, PendingJobKey::Sweep, PendingJob::Sweep(kept));
    }

    /// Opens a file of an account. It is a regular file, so that a read waits only for the disk.
    pub(super) fn read(&self, account: &str, file: &str) -> io::Result<File> {
        open_file(&account_folder(&*self.root()?, account, false)?, file)
    }

    /// Replaces a file. Failures are counted.
    ///
    /// It logs once when writes begin to fail, and once when all files can be written again.
    pub(super) fn write(&self, account: &str, file: &str, lines: serde_json::Result<Vec<u8>>) {
        let result = lines.map_err(io::Error::from).and_then(|lines| {
            let folder = account_folder(&*self.root()?, account, true)?;
            replace(&folder, file, &lines)
        });
        let failing = &mut self.queue.lock().failing;
        let place = (account.to_owned(), file.to_owned());
        match result {
            Ok(()) => {
                if failing.remove(&place) && failing.is_empty() {
                    tracing::info!(folder = %self.path.display(), "the state directory is written \
                        again");
                }
            }
            Err(error) => {
                self.failures.inc();
                self.losses.fetch_add(1, Ordering::Relaxed);
                if failing.is_empty() {
                    tracing::warn!(file = %self.path.join(account).join(file).display(), %error, "the state directory cannot be written: state is lost at the next restart");
                }
                failing.insert(place);
            }
        }
    }

    /// Counts a file that is not on the disk although it should be.
    pub(super) fn failed(&self) {
        self.failures.inc();
    }

    /// Removes this program's files of an account, except `kept`. Returns the number of those
    /// files.
    ///
    /// Temporary files of a process that was killed during a write are removed too.
    fn sweep(&self, account: &str, kept: &BTreeSet<String>) -> usize {
        let folder = self
            .root()
            .and_then(|root| account_folder(&root, account, false));
        let Ok(folder) = folder else {
            return 0;
        };
        let mut removed = 0;
        for (name, _) in entries(&folder) {
            let ours = || open_file(&folder, &name).is_ok_and(is_ours);
            if !kept.contains(&name) && (is_unfinished(&name) || ours()) {
                self.remove(&folder, account, &name);
                removed += 1;
            }
        }
        removed
    }

    fn remove_account(&self, account: &str) {
        if self.queue.lock().kept.contains(account) {
            return;
        }
        if self.sweep(account, &BTreeSet::new()) > 0
            && let Ok(root) = self.root()
        {
            // This fails if the directory contains other files.
            let _ = unlinkat(&root.folder, account, AtFlags::REMOVEDIR);
        }
    }

    fn sweep_folders(self: &Arc<Self>) {
        let Ok(root) = self.root() else { return };
        for (name, kind) in entries(&root.folder) {
            let may_be_one = matches!(kind, FileType::Directory | FileType::Unknown);
            if may_be_one && !self.queue.lock().kept.contains(&name) {
                // The removal waits for the write in progress there.
                self.later(&name, PendingJobKey::Sweep, PendingJob::Remove);
            }
        }
    }

    fn remove(&self, folder: &File, account: &str, file: &str) {
        let path = self.path.join(account).join(file);
        match unlinkat(folder, file, AtFlags::empty()) {
            Err(error) if error != Errno::NOENT => {
                self.failures.inc();
                tracing::warn!(file = %path.display(), %error, "a file of the state directory cannot \
                    be removed");
            }
            _ => tracing::debug!(file = %path.display(), "removed from the state directory"),
        }
    }
}

/// Returns the number of worker threads for the limit of file descriptors.
fn workers() -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(descriptors / DESCRIPTORS).map_or(WORKERS, |share| share.clamp(1, WORKERS))
}
