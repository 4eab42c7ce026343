//! The directory of the state files: its lock, its worker threads, and atomic replacement of files.
//!
//! Everything below the state directory is opened relative to a directory descriptor, and symbolic
//! links are not followed. A link made by another user with write access could otherwise redirect
//! reads and writes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use parking_lot::Mutex;
use prometheus::IntCounter;
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, mkdirat, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use tokio::sync::{Notify, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout, timeout_at};

use super::is_ours;

/// Prefix and suffix of temporary files. A process that is killed during a write leaves one behind.
const UNFINISHED: (&str, &str) = (".connections-exporter-", ".tmp");
/// File that the process locks while it uses the directory.
const LOCK: &str = "lock";
/// Maximum number of worker threads.
///
/// Writing a small file is mostly waiting for the disk, which processes several files at once as
/// fast as one.
const WORKERS: usize = 8;
/// One worker thread is allowed per this many file descriptors of the process limit, because each
/// worker has some open at a time.
const DESCRIPTORS: u64 = 32;
/// Time without progress after which callers stop waiting for the disk.
const PATIENCE: Duration = Duration::from_secs(5);
/// Key of the queue for jobs that concern the state directory itself.
const ITSELF: &str = "";

/// State directory with its pending jobs.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    failures: IntCounter,
    /// Maximum number of worker threads.
    workers: usize,
    queue: Mutex<WriteQueue>,
    /// Notified when no jobs are left.
    idle: Notify,
    /// `None` until the directory is opened, and after it was lost.
    ///
    /// The disk can block the holder of this lock, so only worker threads take it.
    root: Mutex<Option<Arc<Root>>>,
}

/// The opened directory.
#[derive(Debug)]
struct Root {
    folder: File,
    /// The lock, or the error of taking it. The kernel releases the lock when the process ends,
    /// even if it is killed.
    lock: io::Result<File>,
}

/// Reason why the directory cannot be used.
enum LockError {
    NotAFolder,
    InUse,
    Io(io::Error),
}

/// Pending jobs by the name of the account's directory.
///
/// One worker at a time runs the jobs of an account, in the order in which they were first queued.
/// Of several writes of one file only the last is kept, so a slow disk cannot make the queue grow.
#[derive(Debug, Default)]
struct WriteQueue {
    accounts: BTreeMap<String, Work>,
    /// Accounts with pending jobs and no worker.
    ready: VecDeque<String>,
    workers: usize,
    /// Number of accounts with a job in progress, and when such a job last began or ended.
    busy: usize,
    moved: Option<Instant>,
    /// Start of opening the directory. No job runs before that is done.
    opening: Option<Instant>,
    /// Accounts to keep, by the names of their directories.
    kept: BTreeSet<String>,
    /// Files whose last write failed, each with its account's directory.
    failing: BTreeSet<(String, String)>,
    /// Whether a caller stopped waiting, and no job has ended since.
    hanging: bool,
}

/// Pending jobs of one account.
#[derive(Debug, Default)]
struct Work {
    order: VecDeque<FileKey>,
    jobs: BTreeMap<FileKey, PendingJob>,
    /// Start of the job in progress.
    since: Option<Instant>,
}

/// Key of a pending job. A new job replaces a pending one with the same key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FileKey {
    Read(String),
    Write(String),
    Sweep,
}

/// One pending job.
pub(super) enum PendingJob {
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

impl Folder {
    pub(super) fn new(path: &Path, failures: IntCounter) -> Self {
        Self {
            path: path.to_owned(),
            failures,
            workers: workers(),
            queue: Mutex::default(),
            idle: Notify::new(),
            root: Mutex::default(),
        }
    }

    /// Creates the directory if it is missing, and locks it.
    ///
    /// Waits at most [`PATIENCE`] for a disk that hangs. After that, the jobs wait for the
    /// directory, and the caller goes on.
    pub(super) async fn open(self: &Arc<Self>) -> anyhow::Result<()> {
        self.queue.lock().opening = Some(Instant::now());
        let (done, opened) = oneshot::channel();
        let folder = self.clone();
        spawn_blocking(move || {
            let result = folder.begin();
            let mut queue = folder.queue.lock();
            queue.opening = None;
            folder.start_workers(&mut queue);
            drop(queue);
            folder.idle.notify_one();
            // If the deadline has passed, a refusal is visible only in the writes that fail later.
            let _ = done.send(result);
        });
        let path = self.path.display();
        match timeout(PATIENCE, opened).await {
            Ok(Ok(Err(LockError::NotAFolder))) => bail!("--state.dir={path}: is not a directory"),
            Ok(Ok(Err(LockError::InUse))) => bail!(
                "--state.dir={path}: another process uses this folder: end it, or choose another \
                    one"
            ),
            Err(_) => self.hangs(),
            // Opened, or the sender was dropped because the process ends.
            Ok(_) => {}
        }
        Ok(())
    }

    /// Opens the directory for the first time.
    fn begin(&self) -> Result<(), LockError> {
        let mut held = self.root.lock();
        let problem = match take(&self.path) {
            Ok(root) => {
                self.warn_of_mode(&root.folder);
                let root = held.insert(Arc::new(root));
                root.lock.as_ref().err().map(ToString::to_string)
            }
            Err(LockError::Io(error)) => Some(error.to_string()),
            Err(refused) => return Err(refused),
        };
        if let Some(error) = problem {
            self.failures.inc();
            tracing::warn!(folder = %self.path.display(), error, "the state directory cannot be \
                locked: what it holds is read, and may not be written");
        }
        Ok(())
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
        let before = match held.take() {
            Some(root) if root.is_ours(&self.path)? => return Ok(held.insert(root).clone()),
            before => before,
        };
        let was_locked = before.is_some_and(|root| root.lock.is_ok());
        let root = take(&self.path).map_err(|refused| match refused {
            LockError::Io(error) => error,
            LockError::InUse => {
                if was_locked {
                    tracing::warn!(folder = %self.path.display(), "the state directory was removed, \
                        and another process uses this folder now: it is not written any more");
                }
                io::Error::other("another process uses this folder")
            }
            LockError::NotAFolder => io::ErrorKind::NotADirectory.into(),
        })?;
        if was_locked {
            self.failures.inc();
            tracing::warn!(folder = %self.path.display(), "the state directory or its lock was \
                removed: both were made anew, and what it held is lost");
        }
        Ok(held.insert(Arc::new(root)).clone())
    }

    /// Queues a job for a worker thread, so that a hanging disk blocks only the workers.
    pub(super) fn later(self: &Arc<Self>, account: &str, key: FileKey, job: PendingJob) {
        let mut queue = self.queue.lock();
        queue.push(account, key, job);
        self.start_workers(&mut queue);
    }

    fn start_workers(self: &Arc<Self>, queue: &mut WriteQueue) {
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
                (PendingJob::Write(lines), FileKey::Write(file)) => {
                    self.write(&account, &file, lines());
                }
                (PendingJob::Sweep(kept), _) => {
                    self.sweep(&account, &kept);
                }
                (PendingJob::Remove, _) => self.remove_account(&account),
                (PendingJob::SweepFolders, _) => self.sweep_folders(),
                (PendingJob::Write(_), FileKey::Read(_) | FileKey::Sweep) => {}
            }
            if self.queue.lock().done(&account) {
                tracing::info!(folder = %self.path.display(), "the state directory answers again");
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
        let patience_ends = || self.queue.lock().patience_ends(&account, self.workers);
        loop {
            if let Ok(answer) = timeout_at(patience_ends(), &mut answer).await {
                return answer.ok();
            }
            if patience_ends() <= Instant::now() {
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
                seconds = PATIENCE.as_secs(),
                "the state directory does not answer: all goes on without what it holds"
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
                    work.jobs.retain(|key, _| !matches!(key, FileKey::Write(_)));
                }
            }
            queue.failing.retain(|(account, _)| kept.contains(account));
            queue.kept = kept;
        }
        self.later(ITSELF, FileKey::Sweep, PendingJob::SweepFolders);
    }

    /// Sets the files of an account to keep, and queues the removal of all others.
    pub(super) fn keep_files(self: &Arc<Self>, account: &str, kept: BTreeSet<String>) {
        {
            let mut queue = self.queue.lock();
            let stays = |key: &FileKey| match key {
                FileKey::Write(file) => kept.contains(file),
                FileKey::Read(_) | FileKey::Sweep => true,
            };
            if let Some(work) = queue.accounts.get_mut(account) {
                work.jobs.retain(|key, _| stays(key));
            }
            queue
                .failing
                .retain(|(of, file)| of != account || kept.contains(file));
        }
        self.later(account, FileKey::Sweep, PendingJob::Sweep(kept));
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
                if failing.is_empty() {
                    tracing::warn!(file = %self.path.join(account).join(file).display(), %error, "the state directory cannot be written: after a restart what was known is lost");
                }
                failing.insert(place);
            }
        }
    }

    /// Counts a file that is not on the disk although it should be.
    pub(super) fn failed(&self) {
        self.failures.inc();
    }

    /// Removes this program's files of an account, except `kept`. Returns the number removed.
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
                self.later(&name, FileKey::Sweep, PendingJob::Remove);
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

impl WriteQueue {
    fn push(&mut self, account: &str, key: FileKey, job: PendingJob) {
        let work = self.accounts.entry(account.to_owned()).or_default();
        if work.since.is_none() && work.order.is_empty() {
            self.ready.push_back(account.to_owned());
        }
        if work.jobs.insert(key.clone(), job).is_none() {
            work.order.push_back(key);
        }
    }

    /// Returns the next job, and marks it as in progress.
    fn next(&mut self) -> Option<(String, FileKey, PendingJob)> {
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
                    self.moved = work.since;
                    return Some((account, key, job));
                }
            }
            self.accounts.remove(&account);
        }
    }

    /// Marks the job in progress for an account as done. Returns whether a caller had stopped
    /// waiting.
    fn done(&mut self, account: &str) -> bool {
        self.busy -= 1;
        self.moved = Some(Instant::now());
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
    fn patience_ends(&self, account: &str, workers: usize) -> Instant {
        let own = || self.accounts.get(account)?.since;
        // While a worker is free, it takes the account's job at once.
        let last = || self.moved.filter(|_| self.busy >= workers);
        let since = self.opening.or_else(own).or_else(last);
        since.unwrap_or_else(Instant::now) + PATIENCE
    }
}

impl Root {
    /// Returns whether the lock file at this path is still the one that was locked.
    fn is_ours(&self, path: &Path) -> io::Result<bool> {
        let Ok(lock) = &self.lock else {
            return Ok(false);
        };
        match fs::symlink_metadata(path.join(LOCK)) {
            Ok(there) => {
                let ours = lock.metadata()?;
                Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Returns the number of worker threads for the limit of file descriptors.
fn workers() -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(descriptors / DESCRIPTORS).map_or(WORKERS, |share| share.clamp(1, WORKERS))
}

/// Opens the directory and its lock file; both are created if missing.
fn take(path: &Path) -> Result<Root, LockError> {
    if let Err(error) = make_folder(path) {
        let there = fs::metadata(path).is_ok_and(|metadata| !metadata.is_dir());
        return Err(if there {
            LockError::NotAFolder
        } else {
            LockError::Io(error)
        });
    }
    let folder = File::open(path).map_err(LockError::Io)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NONBLOCK;
    let lock = open_at(&folder, LOCK, flags, Mode::RUSR | Mode::WUSR);
    let lock = match lock.map(|file| (file.try_lock(), file)) {
        Ok((Ok(()), file)) => Ok(file),
        Ok((Err(TryLockError::WouldBlock), _)) => return Err(LockError::InUse),
        Ok((Err(TryLockError::Error(error)), _)) | Err(error) => Err(error),
    };
    Ok(Root { folder, lock })
}

fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Opens an entry of a directory. A symbolic link is an error.
fn open_at(folder: &File, name: &str, flags: OFlags, mode: Mode) -> io::Result<File> {
    let opened = openat(
        folder,
        name,
        flags | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        mode,
    );
    opened.map(File::from).map_err(|error| {
        let there = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
        if there.is_ok_and(|there| FileType::from_raw_mode(there.st_mode) == FileType::Symlink) {
            io::Error::other(format!("{name} is a symbolic link, which is not followed"))
        } else {
            error.into()
        }
    })
}

/// Opens the directory of an account; with `make`, a missing one is created.
fn account_folder(root: &Root, account: &str, make: bool) -> io::Result<File> {
    let open = || {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        open_at(&root.folder, account, flags, Mode::empty())
    };
    match open() {
        Err(error) if make && error.kind() == io::ErrorKind::NotFound => {
            mkdirat(&root.folder, account, Mode::RWXU)?;
            root.folder.sync_all()?;
            open()
        }
        result => result,
    }
}

/// Opens a file for reading. A FIFO or a device is refused, because a read could wait for it.
fn open_file(folder: &File, name: &str) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    let file = open_at(folder, name, flags, Mode::empty())?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("it is no regular file"))
    }
}

/// Replaces a file atomically: at any time, a reader finds the earlier content or the new one.
fn replace(folder: &File, name: &str, bytes: &[u8]) -> io::Result<()> {
    let unfinished = format!("{}{:016x}{}", UNFINISHED.0, fastrand::u64(..), UNFINISHED.1);
    // Only the owner may read it.
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let mut file = open_at(folder, &unfinished, flags, Mode::RUSR | Mode::WUSR)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    let renamed = written.and_then(|()| Ok(renameat(folder, &unfinished, folder, name)?));
    if renamed.is_err() {
        let _ = unlinkat(folder, &unfinished, AtFlags::empty());
    }
    renamed?;
    folder.sync_all()
}

/// Returns name and type of all entries of a directory; none if it cannot be read.
fn entries(folder: &File) -> impl Iterator<Item = (String, FileType)> {
    let entries = Dir::read_from(folder).into_iter().flatten();
    entries.filter_map(|entry| {
        let entry = entry.ok()?;
        let name = entry.file_name().to_str().ok()?;
        (name != "." && name != "..").then(|| (name.to_owned(), entry.file_type()))
    })
}

fn is_unfinished(name: &str) -> bool {
    name.starts_with(UNFINISHED.0) && name.ends_with(UNFINISHED.1)
}
