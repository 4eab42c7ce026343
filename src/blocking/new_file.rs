//! Files that must not exist yet: written whole, readable by their owner only.

#![expect(
    clippy::disallowed_methods,
    reason = "it touches the file system, on a thread with a deadline"
)]

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::BlockingPool;

/// Deadline for each step.
const WITHIN: Duration = Duration::from_secs(10);

static POOL: LazyLock<BlockingPool> = LazyLock::new(|| BlockingPool::new(2));

/// Name of a file that is written at the end of a command.
///
/// Nothing is there before: a reader sees no file, or the whole one.
#[derive(Debug)]
pub(crate) struct NewFile {
    path: PathBuf,
    /// Where it is written before it gets its name.
    scratch: PathBuf,
}

impl NewFile {
    /// Checks that the file does not exist and could be created. Leaves nothing behind.
    ///
    /// The text of the error completes a sentence that begins with the file's name.
    pub(crate) async fn prepare(path: &Path) -> Result<Self, String> {
        let Some(name) = path.file_name() else {
            return Err("is not the name of a file".to_owned());
        };
        let mut scratch = std::ffi::OsString::from(".");
        scratch.push(name);
        scratch.push(format!(".{:016x}", fastrand::u64(..)));
        let this = Self {
            path: path.to_owned(),
            scratch: path.with_file_name(scratch),
        };
        let (path, scratch) = (this.path.clone(), this.scratch.clone());
        on_thread(move || {
            // Also finds a link that leads nowhere.
            if fs::symlink_metadata(&path).is_ok() {
                return Err(exists());
            }
            create(&scratch)?;
            fs::remove_file(&scratch)
        })
        .await?;
        Ok(this)
    }

    /// Writes the file.
    pub(crate) async fn write(self, content: Vec<u8>) -> Result<(), String> {
        on_thread(move || {
            let written = create(&self.scratch).and_then(|mut file| {
                file.write_all(&content)?;
                file.sync_all()?;
                put_in_place(&self.scratch, &self.path)
            });
            if written.is_err() {
                let _ = fs::remove_file(&self.scratch);
            }
            written
        })
        .await
    }
}

fn exists() -> io::Error {
    let what = "exists, and is not overwritten: remove it, or name another file";
    io::Error::new(io::ErrorKind::AlreadyExists, what)
}

fn create(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true).mode(0o600).open(path)
}

/// Gives the file its name, unless that is taken.
fn put_in_place(scratch: &Path, path: &Path) -> io::Result<()> {
    match renameat_with(CWD, scratch, CWD, path, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => Err(exists()),
        // Some network file systems cannot do that. A link is not made over a file, either.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            fs::hard_link(scratch, path).map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => exists(),
                _ => error,
            })?;
            fs::remove_file(scratch)
        }
        Err(error) => Err(error.into()),
    }
}

async fn on_thread(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> Result<(), String> {
    match POOL.run(WITHIN, work).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) if error.kind() == io::ErrorKind::AlreadyExists => Err(error.to_string()),
        Ok(Err(error)) => Err(format!("cannot be written: {error}")),
        Err(late) => Err(format!("cannot be written: {late}")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn a_new_file_is_the_owners_only_and_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        let file = NewFile::prepare(&path).await.unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let another = NewFile::prepare(&path).await.unwrap();
        file.write(b"{}".to_vec()).await.unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"{}");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let refused = another.write(b"other".to_vec()).await.unwrap_err();
        assert!(refused.starts_with("exists, and is not"), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), b"{}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let refused = NewFile::prepare(&path).await.unwrap_err();
        assert!(refused.starts_with("exists, and is not"), "{refused}");
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_told_before_anything_is_done() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("nowhere", folder.path().join("link")).unwrap();
        for (name, said) in [
            ("none/report.json", "cannot be written: No such file"),
            ("..", "is not the name of a file"),
            ("link", "exists, and is not"),
            (".", "exists, and is not"),
        ] {
            let problem = NewFile::prepare(&folder.path().join(name))
                .await
                .unwrap_err();
            assert!(problem.starts_with(said), "{name}: {problem}");
        }
    }
}
