//! The folder itself: its lock, the one thread that writes, and files that are replaced as a whole.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::bail;
use parking_lot::Mutex;
use prometheus::IntCounter;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;

use super::is_ours;

/// Files on their way, which a process that was killed leaves behind.
const UNFINISHED: (&str, &str) = (".connections-exporter-", ".tmp");
/// Held by the process that uses the folder.
const LOCK: &str = "lock";

/// The folder, and what is still to be written to it.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    failures: IntCounter,
    pub(super) queue: Mutex<Queue>,
    /// Told when nothing is left to do.
    pub(super) idle: Notify,
    /// Released by the system at the end of the process, however that comes.
    _lock: Option<File>,
}

/// What is still to be done, in the order in which it was first wished for. Only the last wish for a file counts, so
/// a slow disk cannot make it grow.
#[derive(Debug, Default)]
pub(super) struct Queue {
    order: VecDeque<PathBuf>,
    pub(super) jobs: BTreeMap<PathBuf, Job>,
    /// Whether somebody is at it.
    pub(super) busy: bool,
    /// Files that could not be written when last tried.
    pub(super) failing: BTreeSet<PathBuf>,
}

/// One thing to do.
pub(super) enum Job {
    /// Makes the two lines of the file.
    Write(Box<dyn FnOnce() -> serde_json::Result<Vec<u8>> + Send>),
    /// Removes our files from the folder, but for these.
    Sweep(BTreeSet<PathBuf>),
    /// Removes our files from the folders below this one, but from these.
    SweepFolders(BTreeSet<String>),
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Write(_) => "Write",
            Self::Sweep(_) => "Sweep",
            Self::SweepFolders(_) => "SweepFolders",
        })
    }
}

impl Folder {
    /// Uses this folder, which is made if need be.
    pub(super) fn open(path: &Path, failures: IntCounter) -> anyhow::Result<Self> {
        if path.exists() && !path.is_dir() {
            bail!("--state.dir={}: is not a folder", path.display());
        }
        let lock = make_folder(path).and_then(|()| {
            File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .open(path.join(LOCK))
        });
        let lock = match lock.map(|file| (file.try_lock(), file)) {
            Ok((Ok(()), file)) => Some(file),
            Ok((Err(TryLockError::WouldBlock), _)) => bail!(
                "--state.dir={}: another process uses this folder: end it, or choose another one",
                path.display()
            ),
            Ok((Err(TryLockError::Error(error)), _)) | Err(error) => {
                failures.inc();
                tracing::warn!(folder = %path.display(), %error, "the state folder cannot be locked: what it holds is read, and may not be written");
                None
            }
        };
        let folder = Self {
            path: path.to_owned(),
            failures,
            queue: Mutex::default(),
            idle: Notify::new(),
            _lock: lock,
        };
        folder.remove_unfinished();
        Ok(folder)
    }

    /// Does this on a thread for such things, one job after another, so that a hanging disk holds up only them.
    pub(super) fn later(self: &Arc<Self>, file: PathBuf, job: Job) {
        let mut queue = self.queue.lock();
        if queue.jobs.insert(file.clone(), job).is_none() {
            queue.order.push_back(file);
        }
        if !std::mem::replace(&mut queue.busy, true) {
            let folder = self.clone();
            spawn_blocking(move || folder.work());
        }
    }

    fn work(&self) {
        loop {
            let next = {
                let mut queue = self.queue.lock();
                let next = queue.next();
                queue.busy = next.is_some();
                next
            };
            match next {
                Some((file, Job::Write(lines))) => self.write(&file, lines()),
                Some((folder, Job::Sweep(kept))) => self.sweep(&folder, &kept),
                Some((_, Job::SweepFolders(kept))) => self.sweep_folders(&kept),
                None => return self.idle.notify_one(),
            }
        }
    }

    /// Logs once when writing begins to fail, and once when it works again.
    pub(super) fn write(&self, file: &Path, lines: serde_json::Result<Vec<u8>>) {
        let result = lines
            .map_err(io::Error::from)
            .and_then(|lines| replace(&self.path.join(file), &lines));
        let failing = &mut self.queue.lock().failing;
        match result {
            Ok(()) => {
                if failing.remove(file) && failing.is_empty() {
                    tracing::info!(folder = %self.path.display(), "the state folder is written again");
                }
            }
            Err(error) => {
                self.failures.inc();
                if failing.is_empty() {
                    tracing::warn!(file = %self.path.join(file).display(), %error, "the state folder cannot be written: after a restart what was known is lost");
                }
                failing.insert(file.to_owned());
            }
        }
    }

    fn sweep(&self, folder: &Path, kept: &BTreeSet<PathBuf>) {
        for path in entries(&self.path.join(folder)) {
            let name = path.file_name().map(|name| folder.join(name));
            if name.is_some_and(|name| !kept.contains(&name)) && is_ours(&path) {
                self.remove(&path);
            }
        }
    }

    fn sweep_folders(&self, kept: &BTreeSet<String>) {
        for folder in self.folders() {
            let name = folder.file_name().and_then(|name| name.to_str());
            if name.is_some_and(|name| kept.contains(name)) {
                continue;
            }
            let mut removed = 0;
            for file in entries(&folder).filter(|file| is_unfinished(file) || is_ours(file)) {
                self.remove(&file);
                removed += 1;
            }
            if removed > 0 {
                // Refused where something else is left in it.
                let _ = fs::remove_dir(&folder);
            }
        }
    }

    /// Removes what a process that was killed in the middle of a write left behind. Only before the first write.
    fn remove_unfinished(&self) {
        for folder in self.folders() {
            for file in entries(&folder).filter(|file| is_unfinished(file)) {
                self.remove(&file);
            }
        }
    }

    fn folders(&self) -> impl Iterator<Item = PathBuf> {
        entries(&self.path).filter(|path| path.is_dir())
    }

    fn remove(&self, file: &Path) {
        match fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                self.failures.inc();
                tracing::warn!(file = %file.display(), %error, "a file of the state folder cannot be removed");
            }
            _ => tracing::debug!(file = %file.display(), "removed from the state folder"),
        }
    }
}

impl Queue {
    fn next(&mut self) -> Option<(PathBuf, Job)> {
        loop {
            let file = self.order.pop_front()?;
            // What is not wished for any more has kept its place only.
            if let Some(job) = self.jobs.remove(&file) {
                return Some((file, job));
            }
        }
    }
}

fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Replaces a file as a whole: whoever reads it, whenever, finds the earlier content or this one.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    if !folder.is_dir() {
        make_folder(folder)?;
        if let Some(parent) = folder.parent() {
            File::open(parent)?.sync_all()?;
        }
    }
    // For nobody else to read (0600), which is what this library makes.
    let mut file = tempfile::Builder::new()
        .prefix(UNFINISHED.0)
        .suffix(UNFINISHED.1)
        .tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    File::open(folder)?.sync_all()
}

/// The paths of what is in a folder; nothing, if it cannot be read.
fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path()))
}

fn is_unfinished(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.starts_with(UNFINISHED.0) && name.ends_with(UNFINISHED.1))
}
