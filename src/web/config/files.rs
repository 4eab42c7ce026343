//! Fingerprints of the files of a web configuration, used to detect changes.

use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use futures_util::future::join_all;

use crate::blocking::files;
use crate::blocking::files::{FileError, FileKind};

/// Files that were read, with fingerprints of their contents.
///
/// A fingerprint is valid in this process only. It is `None` if the file could not be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen(Vec<(FileKind, PathBuf, Option<u64>)>);

impl Seen {
    /// Records the content of a file.
    pub(super) fn note(
        &mut self,
        kind: FileKind,
        path: &Path,
        content: &Result<Vec<u8>, FileError>,
    ) {
        self.0.push((kind, path.to_owned(), fingerprint(content)));
    }

    /// Whether every file still has the recorded content.
    pub(super) async fn are_unchanged(&self) -> bool {
        let same = self.0.iter().map(|(kind, path, before)| async move {
            fingerprint(&files::read(*kind, path).await) == *before
        });
        join_all(same).await.into_iter().all(|same| same)
    }
}

fn fingerprint(content: &Result<Vec<u8>, FileError>) -> Option<u64> {
    // Keyed, because the content of a file may be a secret.
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    Some(KEYS.hash_one(content.as_ref().ok()?))
}
