//! Credentials of this program: where they are kept, and how they are read.

use std::hash::{BuildHasher as _, RandomState};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use parking_lot::Mutex;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::timeout;

use crate::blocking::files;
use crate::blocking::files::{FileError, FileKind, READ_WITHIN};

/// Deadline for reading a file that hung before. A poll needs several reads, and only the first one
/// may take five seconds.
const WHILE_IT_HANGS: Duration = Duration::from_millis(250);

/// Source of a secret.
///
/// A file is read at each use, so that a rotated secret needs no restart. An environment variable
/// cannot change while the process runs, so its value is read once.
#[derive(Debug, Clone)]
pub enum Secret {
    /// File that holds the secret.
    File(Arc<SecretFile>),
    /// Value in memory, from an environment variable.
    Value(SecretString),
}

/// File that holds a secret.
#[derive(Debug)]
pub struct SecretFile {
    path: PathBuf,
    /// Name of the file in messages.
    location: String,
    last: Mutex<LastRead>,
}

/// Result of earlier reads of the file.
#[derive(Debug, Default)]
struct LastRead {
    value: Option<SecretString>,
    hangs: bool,
}

/// Current value of a secret.
#[derive(Debug)]
pub struct CurrentSecret {
    /// The value.
    pub value: SecretString,
    /// Reason why the value is from an earlier read; set if the file could not be read in time.
    outdated: Option<String>,
}

/// Reason why a secret cannot be read, as the end of a sentence. It never contains the secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SecretError(String);

impl CurrentSecret {
    /// Returns the beginning of a sentence that says why the value is from an earlier read.
    ///
    /// It is `None` unless the file could not be read in time.
    #[must_use]
    pub fn outdated(&self) -> Option<&str> {
        self.outdated.as_deref()
    }
}

impl Secret {
    /// Creates a secret that is read from a file; `location` names the file in messages.
    ///
    /// `value` is the content when the configuration was checked, and `None` if the file hung then.
    pub(super) fn in_file(
        path: PathBuf,
        location: String,
        value: Option<SecretString>,
        hangs: bool,
    ) -> Self {
        let last = Mutex::new(LastRead { value, hangs });
        Self::File(Arc::new(SecretFile {
            path,
            location,
            last,
        }))
    }

    /// Returns the current value, without one trailing newline.
    ///
    /// While the file hangs, this is the value that was read last.
    pub async fn read(&self) -> Result<CurrentSecret, SecretError> {
        match self {
            Self::Value(value) => Ok(CurrentSecret {
                value: value.clone(),
                outdated: None,
            }),
            Self::File(file) => file.read().await,
        }
    }

    /// Returns a hash to compare this secret with others; `None` if it cannot be read.
    ///
    /// The hash is valid only as long as the process lives.
    pub(crate) async fn fingerprint(&self) -> Option<u64> {
        static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        Some(KEYS.hash_one(self.read().await.ok()?.value.expose_secret()))
    }

    /// Returns one hash of two secrets that belong together.
    pub(crate) async fn pair_fingerprint(one: &Self, other: &Self) -> Option<u64> {
        // One hash is rotated, so that two equal secrets do not cancel out.
        Some(one.fingerprint().await? ^ other.fingerprint().await?.rotate_left(1))
    }

    /// Returns the location of the secret, as the beginning of a sentence.
    #[must_use]
    pub fn location(&self) -> &str {
        match self {
            Self::Value(_) => "the value from the environment",
            Self::File(file) => &file.location,
        }
    }

    /// Creates a secret from the value of an environment variable.
    pub(super) fn from_value(value: &str) -> Result<Self, SecretError> {
        usable(value).map(Self::Value)
    }
}

impl SecretFile {
    async fn read(&self) -> Result<CurrentSecret, SecretError> {
        let patience = if self.last.lock().hangs {
            WHILE_IT_HANGS
        } else {
            READ_WITHIN
        };
        let content = timeout(patience, files::read(FileKind::Secret, &self.path)).await;
        let content = content.unwrap_or(Err(FileError::TimedOut));
        let mut last = self.last.lock();
        if content == Err(FileError::TimedOut) {
            let value = last.value.clone();
            let value = value.ok_or_else(|| SecretError(FileError::TimedOut.to_string()))?;
            let unread = format!("{} {}", self.location, FileError::TimedOut);
            if !std::mem::replace(&mut last.hangs, true) {
                tracing::warn!("{unread}: the value read last is used");
            }
            return Ok(CurrentSecret {
                value,
                outdated: Some(unread),
            });
        }
        if std::mem::replace(&mut last.hangs, false) {
            tracing::info!("{} can be read again", self.location);
        }
        let value = from_file(content)?;
        last.value = Some(value.clone());
        Ok(CurrentSecret {
            value,
            outdated: None,
        })
    }
}

/// Returns the secret that a file contains.
pub(super) fn from_file(content: Result<Vec<u8>, FileError>) -> Result<SecretString, SecretError> {
    let content = content.map_err(|error| {
        SecretError(match error {
            FileError::TooLarge(_) => format!("{error}, which no credential does"),
            error => error.to_string(),
        })
    })?;
    let text = std::str::from_utf8(&content).map_err(|_| SecretError("is not text".to_owned()))?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    usable(text.strip_suffix('\r').unwrap_or(text))
}

/// Accepts visible ASCII only, since a credential is sent in a header or a form.
fn usable(text: &str) -> Result<SecretString, SecretError> {
    if text.is_empty() {
        return Err(SecretError("is empty".to_owned()));
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(SecretError(
            "holds a space, a control character or a letter outside ASCII, \
            which no credential does"
                .to_owned(),
        ));
    }
    Ok(SecretString::from(text))
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::disallowed_methods,
        reason = "a test may wait for files, and runs off the event loop of what it tests"
    )]

    use super::*;

    #[tokio::test]
    async fn the_newline_at_the_end_of_a_secret_file_is_not_part_of_it() {
        use secrecy::ExposeSecret as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        for (text, secret) in [("a", "a"), ("a\n", "a"), ("a\r\n", "a")] {
            std::fs::write(&path, text).unwrap();
            let read = secret_in(&path).read().await.unwrap();
            assert_eq!(read.value.expose_secret(), secret);
        }
        for bad in ["", "\n", "a\n\n", "a b", "ä"] {
            std::fs::write(&path, bad).unwrap();
            assert!(secret_in(&path).read().await.is_err(), "{bad:?}");
        }
        std::fs::write(&path, "x".repeat(70_000)).unwrap();
        assert!(secret_in(&path).read().await.is_err());
    }

    fn secret_in(path: &std::path::Path) -> Secret {
        Secret::in_file(path.to_owned(), "the file".to_owned(), None, false)
    }
}
