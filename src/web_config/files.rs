//! The files of a web configuration: read with a bound, and looked at again for changes.

use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// The most bytes that one of the files may hold; a bundle of every public authority has a quarter of that.
const LARGEST: u64 = 1024 * 1024;

/// Which files were read, and what tells their contents from others, as long as the process lives.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seen(Vec<(PathBuf, Option<u64>)>);

impl Seen {
    /// Reads a file and remembers it. The error is the end of a sentence that begins with the file's name.
    pub(super) fn read(&mut self, path: &Path) -> Result<Vec<u8>, String> {
        let content = read(path);
        self.0
            .push((path.to_owned(), fingerprint(content.as_deref().ok())));
        content
    }

    /// Whether every file holds what it held.
    pub(super) fn are_unchanged(&self) -> bool {
        self.0
            .iter()
            .all(|(path, before)| fingerprint(read(path).as_deref().ok()) == *before)
    }
}

fn fingerprint(content: Option<&[u8]>) -> Option<u64> {
    // Keyed, since what stands in a file may be a secret.
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    content.map(|content| KEYS.hash_one(content))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let sentence = |error: io::Error| match error.kind() {
        io::ErrorKind::IsADirectory => "is a folder: name the file in it".to_owned(),
        _ => format!("cannot be read: {error}"),
    };
    let file = File::open(path).map_err(sentence)?;
    let mut content = Vec::new();
    file.take(LARGEST + 1)
        .read_to_end(&mut content)
        .map_err(sentence)?;
    if content.len() as u64 > LARGEST {
        return Err("holds more than 1 MiB".to_owned());
    }
    Ok(content)
}
