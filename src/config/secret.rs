//! Credentials of ours: where they are kept, and how they are read.

use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io::Read;
use std::path::PathBuf;
use std::sync::LazyLock;

use secrecy::{ExposeSecret as _, SecretString};

/// The most bytes that a secret file may hold.
const LONGEST_SECRET: u64 = 64 * 1024;

/// Where a secret is. A file is read at each use, so that a rotated one needs no restart; an environment
/// variable cannot change while the process runs, so its value is taken once.
#[derive(Debug, Clone)]
pub enum Secret {
    /// In a file.
    File(PathBuf),
    /// In memory, from an environment variable.
    Value(SecretString),
}

/// Why a secret cannot be had, as the end of a sentence. Never holds the secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SecretError(String);

impl Secret {
    /// Reads it. One trailing newline is not part of it.
    pub fn read(&self) -> Result<SecretString, SecretError> {
        match self {
            Self::Value(value) => Ok(value.clone()),
            Self::File(path) => {
                let text = read_file(path)?;
                let text = text.strip_suffix('\n').unwrap_or(&text);
                usable(text.strip_suffix('\r').unwrap_or(text))
            }
        }
    }

    /// Tells this secret from another one, as long as the process lives; `None` if it cannot be read.
    #[must_use]
    pub fn fingerprint(&self) -> Option<u64> {
        static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        Some(KEYS.hash_one(self.read().ok()?.expose_secret()))
    }

    /// The same of two that belong together.
    #[must_use]
    pub fn pair_fingerprint(one: &Self, other: &Self) -> Option<u64> {
        // The one half turned, so that equal halves do not cancel out.
        Some(one.fingerprint()? ^ other.fingerprint()?.rotate_left(1))
    }

    /// Where it is, to begin a sentence with. Only for one that was read before: then its name is surely
    /// that of a file.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::Value(_) => "the value from the environment".to_owned(),
            Self::File(path) => format!("the file {}", path.display()),
        }
    }

    /// Takes the value of an environment variable.
    pub(super) fn from_value(value: &str) -> Result<Self, SecretError> {
        usable(value).map(Self::Value)
    }
}

fn read_file(path: &PathBuf) -> Result<String, SecretError> {
    let refuse = |what: &str| SecretError(what.to_owned());
    let file = File::open(path).map_err(|error| refuse(&format!("cannot be read: {error}")))?;
    if file.metadata().is_ok_and(|data| data.is_dir()) {
        return Err(refuse("is a folder: name the file in it"));
    }
    let mut text = String::new();
    let read = file.take(LONGEST_SECRET + 1).read_to_string(&mut text);
    read.map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData => refuse("is not text"),
        _ => refuse(&format!("cannot be read: {error}")),
    })?;
    if text.len() as u64 > LONGEST_SECRET {
        return Err(refuse("holds more than 64 KiB, which no credential does"));
    }
    Ok(text)
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
