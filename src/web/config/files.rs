//! The files of a web configuration: what they held when they were read, to see later whether it changed.

use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use futures_util::future::join_all;

use crate::blocking::files;
use crate::blocking::files::{FileError, FileKind};

/// Which files were read, and what tells their contents from others, as long as the process lives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen(Vec<(FileKind, PathBuf, Option<u64>)>);

impl Seen {
    /// Remembers what a file holds.
    pub(super) fn note(
        &mut self,
        kind: FileKind,
        path: &Path,
        content: &Result<Vec<u8>, FileError>,
    ) {
        self.0.push((kind, path.to_owned(), fingerprint(content)));
    }

    /// Whether every file holds what it held.
    pub(super) async fn are_unchanged(&self) -> bool {
        let same = self.0.iter().map(|(kind, path, before)| async move {
            fingerprint(&files::read(*kind, path).await) == *before
        });
        join_all(same).await.into_iter().all(|same| same)
    }
}

fn fingerprint(content: &Result<Vec<u8>, FileError>) -> Option<u64> {
    // Keyed, since what stands in a file may be a secret.
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    Some(KEYS.hash_one(content.as_ref().ok()?))
}
