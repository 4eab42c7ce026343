//! File reads off the event loop, each within five seconds, with one read per path at a time.

#![expect(
    clippy::disallowed_methods,
    reason = "the one module that touches the file system"
)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Weak};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::permissions::warn_of_readers;
use super::{BlockingPool, run_blocking};

/// Deadline for reading a file.
pub(crate) const READ_WITHIN: Duration = Duration::from_secs(5);

/// Kind of a file, which determines its size limit and its thread pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileKind {
    /// The configuration file or the web configuration file.
    Configuration,
    /// A certificate, its private key, or a CA certificate.
    Certificate,
    /// A credential of this program.
    Secret,
}

/// Reason why a file was not read. The text completes a sentence that begins with the file's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FileError {
    /// The read hangs, or no thread was free because too many other reads hang.
    #[error("was not read within {} s", READ_WITHIN.as_secs())]
    TimedOut,
    /// The path is a directory.
    #[error("is a directory: name the file in it")]
    Folder,
    /// The file is larger than the limit of its kind, in bytes.
    #[error("holds more than {}", Size(*.0))]
    TooLarge(u64),
    /// Any other error, in the text of the operating system.
    #[error("cannot be read: {0}")]
    Other(String),
}

/// Number of bytes, displayed in KiB or MiB.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 / 1024 {
            kib if kib % 1024 == 0 => write!(f, "{} MiB", kib / 1024),
            kib => write!(f, "{kib} KiB"),
        }
    }
}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::IsADirectory => Self::Folder,
            _ => Self::Other(error.to_string()),
        }
    }
}

impl FileKind {
    /// Returns the maximum size of a file of this kind, in bytes.
    const fn limit(self) -> u64 {
        match self {
            Self::Configuration => 64 * 1024 * 1024,
            // A bundle of all public CAs takes a quarter of that.
            Self::Certificate => 1024 * 1024,
            Self::Secret => 64 * 1024,
        }
    }

    fn pool(self) -> &'static BlockingPool {
        static CONFIGURATIONS: LazyLock<BlockingPool> = LazyLock::new(|| BlockingPool::new(4));
        static CERTIFICATES: LazyLock<BlockingPool> = LazyLock::new(|| BlockingPool::new(32));
        static SECRETS: LazyLock<BlockingPool> = LazyLock::new(|| BlockingPool::new(64));
        match self {
            Self::Configuration => &CONFIGURATIONS,
            Self::Certificate => &CERTIFICATES,
            Self::Secret => &SECRETS,
        }
    }
}

/// Reads a file. A path on which an earlier read still hangs is not read a second time.
pub(crate) async fn read(kind: FileKind, path: &Path) -> Result<Vec<u8>, FileError> {
    let (file, limit) = (path.to_owned(), kind.limit());
    READS
        .run(kind.pool(), path, READ_WITHIN, move || {
            let content = read_now(&file, limit, READ_WITHIN)?;
            if kind == FileKind::Secret {
                warn_of_readers(&file);
            }
            Ok(content)
        })
        .await
        .unwrap_or(Err(FileError::TimedOut))
}

/// Reads a file of at most `limit` bytes on the current thread.
///
/// A FIFO must deliver within `within`. A disk may take longer, so call this only on threads that
/// may hang.
fn read_now(path: &Path, limit: u64, within: Duration) -> Result<Vec<u8>, FileError> {
    let deadline = Instant::now() + within;
    // With NONBLOCK, opening a FIFO does not wait for a writer. With NOCTTY, a terminal does not
    // become the controlling terminal of this process.
    let flags = OFlags::NONBLOCK.union(OFlags::NOCTTY).bits();
    let opened = File::options()
        .read(true)
        .custom_flags(flags.cast_signed())
        .open(path);
    let mut file = match opened {
        // Another process holds a lease on the file, and must release it first.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => File::open(path)?,
        opened => opened?,
    };
    // A FIFO reports end of file until a process has opened it for writing.
    let mut begun = file.metadata()?.is_file();
    let mut content = Vec::new();
    loop {
        let room = (limit + 1).saturating_sub(content.len() as u64);
        match file.by_ref().take(room).read_to_end(&mut content) {
            _ if content.len() as u64 > limit => return Err(FileError::TooLarge(limit)),
            Ok(_) if begun || !content.is_empty() => return Ok(content),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut ready = [PollFd::new(&file, PollFlags::IN)];
        match poll(&mut ready, Some(&left)) {
            Ok(0) => return Err(FileError::TimedOut),
            // Interrupted by a signal.
            Err(rustix::io::Errno::INTR) => continue,
            polled => drop(polled.map_err(io::Error::from)?),
        }
        begun = true;
    }
}

static READS: LazyLock<OneEach> = LazyLock::new(OneEach::default);

/// Serializes work on each path: a job waits for the one before it on the same path.
#[derive(Default)]
struct OneEach(Mutex<HashMap<PathBuf, Weak<PathLock>>>);

/// Lock of one path.
struct PathLock {
    free: Arc<Semaphore>,
    /// Start of the work in progress.
    began: Mutex<Option<Instant>>,
}

impl OneEach {
    fn acquire(&self, path: &Path) -> Arc<PathLock> {
        let mut turns = self.0.lock();
        if let Some(turn) = turns.get(path).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::new(PathLock {
            free: Arc::new(Semaphore::new(1)),
            began: Mutex::default(),
        });
        turns.insert(path.to_owned(), Arc::downgrade(&turn));
        turn
    }

    /// Runs `work` on a thread of the pool. Returns `None` if it is not done within `within`.
    ///
    /// Returns `None` at once if the work in progress on the path has already exceeded its
    /// deadline. One more job would only block one more thread.
    async fn run<T: Send + 'static>(
        &self,
        pool: &BlockingPool,
        path: &Path,
        within: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let turn = self.acquire(path);
        let hangs = |began: Instant| began.elapsed() >= within;
        if turn.began.lock().is_some_and(hangs) {
            return None;
        }
        let done = async {
            // The semaphore is never closed.
            let permit = turn.free.clone().acquire_owned().await.ok();
            let turn = turn.clone();
            let work = move || {
                *turn.began.lock() = Some(Instant::now());
                let result = work();
                *turn.began.lock() = None;
                drop(permit);
                result
            };
            pool.run(within, work).await.ok()
        };
        timeout(within, done).await.ok().flatten()
    }
}

/// Files that a configuration names, for a check that reads no file itself.
///
/// A request for a file that is not loaded yet is recorded. The check runs again once all recorded
/// files are loaded; see [`with_files`].
#[derive(Default)]
pub(crate) struct Files(Mutex<ReadFiles>);

#[derive(Default)]
struct ReadFiles {
    contents: BTreeMap<(FileKind, PathBuf), Result<Vec<u8>, FileError>>,
    existing: BTreeMap<PathBuf, bool>,
    wanted: BTreeSet<(FileKind, PathBuf)>,
    wanted_existing: BTreeSet<PathBuf>,
}

impl Files {
    /// Returns the content of a file, or an error if it is not loaded yet.
    pub(crate) fn read(&self, kind: FileKind, path: &Path) -> Result<Vec<u8>, FileError> {
        let mut known = self.0.lock();
        let file = (kind, path.to_owned());
        let content = known.contents.get(&file).cloned();
        content.unwrap_or_else(|| {
            known.wanted.insert(file);
            Err(FileError::Other("not yet".to_owned()))
        })
    }

    /// Returns whether the path exists; `false` if that is not determined yet.
    pub(crate) fn exists(&self, path: &Path) -> bool {
        let mut known = self.0.lock();
        let exists = known.existing.get(path).copied();
        exists.unwrap_or_else(|| {
            known.wanted_existing.insert(path.to_owned());
            false
        })
    }

    /// Loads all recorded files concurrently. Returns `false` if none was recorded.
    async fn read_wanted(&self) -> bool {
        let (wanted, wanted_existing) = {
            let mut known = self.0.lock();
            let known = &mut *known;
            (
                std::mem::take(&mut known.wanted),
                std::mem::take(&mut known.wanted_existing),
            )
        };
        let nothing = wanted.is_empty() && wanted_existing.is_empty();
        let contents = wanted.into_iter().map(|file| async move {
            let content = read(file.0, &file.1).await;
            (file, content)
        });
        let contents = join_all(contents).await;
        let existing = wanted_existing.into_iter().map(|path| async move {
            let exists = exists(&path).await;
            (path, exists)
        });
        let existing = join_all(existing).await;
        let mut known = self.0.lock();
        known.contents.extend(contents);
        known.existing.extend(existing);
        !nothing
    }
}

async fn exists(path: &Path) -> bool {
    look(path).await == Some(true)
}

/// Returns whether nothing exists at the path; `false` if the lookup times out.
pub(crate) async fn is_missing(path: &Path) -> bool {
    look(path).await == Some(false)
}

/// Returns whether the path exists; `None` if the lookup times out.
async fn look(path: &Path) -> Option<bool> {
    static LOOKS: LazyLock<(BlockingPool, OneEach)> =
        LazyLock::new(|| (BlockingPool::new(4), OneEach::default()));
    let (pool, looks) = &*LOOKS;
    let file = path.to_owned();
    looks
        .run(pool, path, READ_WITHIN, move || file.exists())
        .await
}

/// Repeats a check until every file that it requests is loaded.
///
/// The first run has no files, so the check must not have side effects.
pub(crate) async fn with_files<T: Send + 'static>(
    check: impl Fn(&Files) -> T + Send + Sync + 'static,
) -> T {
    let (check, files) = (Arc::new(check), Arc::new(Files::default()));
    loop {
        let result = {
            let (check, files) = (check.clone(), files.clone());
            run_blocking(move || check(&files)).await
        };
        if !files.read_wanted().await {
            return result;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    fn fifo(path: &Path) {
        mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap();
    }

    #[test]
    fn a_fifo_is_read_if_it_delivers_and_given_up_if_it_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        fifo(&path);
        let given_up = read_now(&path, 10, Duration::from_millis(10));
        assert_eq!(given_up, Err(FileError::TimedOut));
        let delivers = |text: &'static str| {
            let path = path.clone();
            let writer = std::thread::spawn(move || std::fs::write(path, text).unwrap());
            let content = read_now(&path_of(folder.path()), 10, Duration::from_secs(30));
            writer.join().unwrap();
            content
        };
        assert_eq!(delivers("s3cret"), Ok(b"s3cret".to_vec()));
        assert_eq!(delivers("more than it may"), Err(FileError::TooLarge(10)));
    }

    fn path_of(folder: &Path) -> PathBuf {
        folder.join("fifo")
    }

    #[test]
    fn what_is_no_file_of_reasonable_size_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let read = |path: &Path| read_now(path, 1024, Duration::from_secs(30));
        assert_eq!(read(folder.path()), Err(FileError::Folder));
        assert_eq!(read("/dev/zero".as_ref()), Err(FileError::TooLarge(1024)));
        assert_eq!(read("/dev/null".as_ref()), Ok(Vec::new()));
        let error = read(&folder.path().join("none")).unwrap_err().to_string();
        assert!(error.starts_with("cannot be read: No such file"), "{error}");
        assert_eq!(Size(1024 * 1024).to_string(), "1 MiB");
        assert_eq!(Size(64 * 1024).to_string(), "64 KiB");
    }

    #[tokio::test]
    async fn a_path_that_hangs_takes_one_thread_and_is_worked_on_again_when_it_returns() {
        let (each, pool) = (OneEach::default(), BlockingPool::new(2));
        let (release, hold) = mpsc::channel::<()>();
        let path = Path::new("/hangs");
        let short = Duration::from_millis(10);
        let hung = each.run(&pool, path, short, move || hold.recv()).await;
        assert!(hung.is_none());
        for _ in 0..10 {
            let again = each
                .run(&pool, path, short, || panic!("a second thread"))
                .await;
            assert_eq!(again, None::<()>);
        }
        let long = Duration::from_secs(30);
        let other = each.run(&pool, "/other".as_ref(), long, || 1).await;
        assert_eq!(other, Some(1), "the second thread is free");
        release.send(()).unwrap();
        assert_eq!(each.run(&pool, path, long, || 2).await, Some(2));
    }

    #[tokio::test]
    async fn a_check_is_repeated_until_every_file_that_it_asks_for_was_read() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("first"), "second").unwrap();
        std::fs::write(folder.path().join("second"), "end").unwrap();
        let there = folder.path().to_owned();
        let end = with_files(move |files| {
            let read = |name: &str| files.read(FileKind::Secret, &there.join(name));
            let name = String::from_utf8(read("first")?).unwrap();
            assert!(!files.exists(&there.join("none")));
            read(&name)
        });
        assert_eq!(end.await, Ok(b"end".to_vec()));
    }
}
