//! Credentials of ours: where they are kept, and how they are read.

use std::hash::{BuildHasher as _, RandomState};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use parking_lot::Mutex;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::timeout;

use crate::blocking::files;
use crate::blocking::files::{FileError, FileKind, READ_WITHIN};

/// How long a file that hung is waited for: a poll needs several reads, and only the first one is worth five seconds.
const WHILE_IT_HANGS: Duration = Duration::from_millis(250);

/// Where a secret is. A file is read at each use, so that a rotated one needs no restart; an environment
/// variable cannot change while the process runs, so its value is taken once.
#[derive(Debug, Clone)]
pub enum Secret {
    /// In a file.
    File(Arc<SecretFile>),
    /// In memory, from an environment variable.
    Value(SecretString),
}

/// A file that holds a secret.
#[derive(Debug)]
pub struct SecretFile {
    path: PathBuf,
    /// How it is called in messages.
    place: String,
    last: Mutex<LastRead>,
}

/// What is known of the file from earlier reads.
#[derive(Debug, Default)]
struct LastRead {
    value: Option<SecretString>,
    hangs: bool,
}

/// A secret as of now.
#[derive(Debug)]
pub struct CurrentSecret {
    /// The secret.
    pub value: SecretString,
    /// Why it is the one that was read last, if its file could not be read in time.
    outdated: Option<String>,
}

/// Why a secret cannot be had, as the end of a sentence. Never holds the secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SecretError(String);

impl CurrentSecret {
    /// Why it is the value that was read last, if its file could not be read in time: the beginning of a sentence.
    #[must_use]
    pub fn outdated(&self) -> Option<&str> {
        self.outdated.as_deref()
    }
}

impl Secret {
    /// A secret in this file, which is called so in messages, and what it held when the configuration was checked,
    /// unless it hung.
    pub(super) fn in_file(
        path: PathBuf,
        place: String,
        value: Option<SecretString>,
        hangs: bool,
    ) -> Self {
        let last = Mutex::new(LastRead { value, hangs });
        Self::File(Arc::new(SecretFile { path, place, last }))
    }

    /// Reads it. One trailing newline is not part of it. While its file hangs, it is what was read last.
    pub async fn read(&self) -> Result<CurrentSecret, SecretError> {
        match self {
            Self::Value(value) => Ok(CurrentSecret {
                value: value.clone(),
                outdated: None,
            }),
            Self::File(file) => file.read().await,
        }
    }

    /// Tells this secret from another one, as long as the process lives; `None` if it cannot be read.
    pub async fn fingerprint(&self) -> Option<u64> {
        static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        Some(KEYS.hash_one(self.read().await.ok()?.value.expose_secret()))
    }

    /// The same of two that belong together.
    pub async fn pair_fingerprint(one: &Self, other: &Self) -> Option<u64> {
        // The one half turned, so that equal halves do not cancel out.
        Some(one.fingerprint().await? ^ other.fingerprint().await?.rotate_left(1))
    }

    /// Where it is, to begin a sentence with.
    #[must_use]
    pub fn place(&self) -> &str {
        match self {
            Self::Value(_) => "the value from the environment",
            Self::File(file) => &file.place,
        }
    }

    /// Takes the value of an environment variable.
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
            let unread = format!("{} {}", self.place, FileError::TimedOut);
            if !std::mem::replace(&mut last.hangs, true) {
                tracing::warn!("{unread}: the value read last is used");
            }
            return Ok(CurrentSecret {
                value,
                outdated: Some(unread),
            });
        }
        if std::mem::replace(&mut last.hangs, false) {
            tracing::info!("{} can be read again", self.place);
        }
        let value = from_file(content)?;
        last.value = Some(value.clone());
        Ok(CurrentSecret {
            value,
            outdated: None,
        })
    }
}

/// The secret that a file holds.
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

/// A credential goes into a header or a form: visible ASCII.
fn usable(text: &str) -> Result<SecretString, SecretError> {
    if text.is_empty() {
        return Err(SecretError("is empty".to_owned()));
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(SecretError("holds a space, a control character or a letter outside ASCII, which no credential does".to_owned()));
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
