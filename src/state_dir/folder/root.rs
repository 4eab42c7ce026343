//! Access to the state directory: its lock, and atomic replacement of files.
//!
//! Everything below the state directory is opened relative to a directory descriptor, and symbolic
//! links are not followed. A link made by another user with write access could otherwise redirect
//! reads and writes.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, mkdirat, openat, renameat, statat, unlinkat,
};

/// Prefix and suffix of temporary files. A process that is killed during a write leaves one behind.
pub(super) const UNFINISHED: (&str, &str) = (".connections-exporter-", ".tmp");
/// File that the process locks while it uses the directory.
pub(super) const LOCK: &str = "lock";

/// The opened directory.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) folder: File,
    /// The lock, or the error of taking it. The kernel releases the lock when the process ends,
    /// even if it is killed.
    pub(super) lock: io::Result<File>,
}

/// Reason why the directory cannot be used.
pub(super) enum LockError {
    NotAFolder,
    InUse,
    Io(io::Error),
}

impl Root {
    /// Returns whether the lock file at this path is still the one that was locked.
    pub(super) fn is_ours(&self, path: &Path) -> io::Result<bool> {
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

/// Opens the directory and its lock file; both are created if missing.
pub(super) fn take(path: &Path) -> Result<Root, LockError> {
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

pub(super) fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Opens an entry of a directory. A symbolic link is an error.
pub(super) fn open_at(folder: &File, name: &str, flags: OFlags, mode: Mode) -> io::Result<File> {
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
pub(super) fn account_folder(root: &Root, account: &str, make: bool) -> io::Result<File> {
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
pub(super) fn open_file(folder: &File, name: &str) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    let file = open_at(folder, name, flags, Mode::empty())?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("it is no regular file"))
    }
}

/// Replaces a file atomically: at any time, a reader finds the earlier content or the new one.
pub(super) fn replace(folder: &File, name: &str, bytes: &[u8]) -> io::Result<()> {
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
pub(super) fn entries(folder: &File) -> impl Iterator<Item = (String, FileType)> {
    let entries = Dir::read_from(folder).into_iter().flatten();
    entries.filter_map(|entry| {
        let entry = entry.ok()?;
        let name = entry.file_name().to_str().ok()?;
        (name != "." && name != "..").then(|| (name.to_owned(), entry.file_type()))
    })
}

pub(super) fn is_unfinished(name: &str) -> bool {
    name.starts_with(UNFINISHED.0) && name.ends_with(UNFINISHED.1)
}
