//! The state directory: files that survive the process, each written completely or not at all.
//!
//! The directory of an account contains `pace.json` and `discovery.json`, and for each target
//! `target.ID.json` and `listing.ID.json`. A file has two lines of JSON: a header with its owner
//! and a checksum, and the content. A file in any other form is reported and ignored.

#![expect(
    clippy::disallowed_methods,
    reason = "the state directory has threads of its own for this"
)]

mod folder;

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use prometheus::IntCounter;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use folder::{Folder, PendingJob, PendingJobKey};

use crate::invalid::Invalid;

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The path is something else.
    #[error("--state.dir={0}: is not a directory")]
    NotADirectory(String),
    /// Another process has locked the directory.
    #[error(
        "--state.dir={0}: another process uses this directory: stop that process, choose another \
            directory, or set --state.wait to take over when that process ends"
    )]
    InUse(String),
    /// The directory cannot be created, or its file system has no locks.
    #[error("--state.dir={0}: cannot be locked, which --state.wait requires: {1}")]
    NotLocked(String, #[source] io::Error),
}

/// Version of the file format, raised when earlier files can no longer be read.
const FORMAT: u32 = 1;
/// Maximum size of a file, in bytes.
///
/// It is more than the default `max_connections` takes, unless a vendor fills each text with
/// characters that JSON must escape.
const MAX_FILE_BYTES: u64 = 256 * 1024 * 1024;
/// Maximum size of the header, in bytes. It names an account and a target, and little else.
const MAX_HEADER_BYTES: u64 = 64 * 1024;
/// Length at which a part of a file name is cut, in bytes. File systems allow 255 for the whole
/// name.
const MAX_PIECE: usize = 120;
/// Characters that are not escaped in a file name.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'-');

/// State directory; without one, nothing is stored.
#[derive(Debug, Clone, Default)]
pub struct StateDir(Option<Arc<Folder>>);

/// State files of one account.
#[derive(Debug, Clone)]
pub struct AccountStateDir {
    store: StateDir,
    system: &'static str,
    account: String,
    host: String,
    /// Name of the account's directory.
    folder: String,
}

/// Result of reading a state file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored<T> {
    /// There is no file.
    Nothing,
    /// The file cannot be used, or the disk does not respond.
    Unusable,
    /// The content.
    This(T),
}

/// Subject of a state file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StateFile {
    /// Pauses and rate of the account's rate limiter.
    Pace,
    /// Targets of the account, and their names.
    Discovery,
    /// Outcome of the polls of the target with this id.
    Target(String),
    /// Listing of the target with this id.
    Listing(String),
}

/// Header of a state file, which is its first line.
#[derive(Debug, Serialize)]
struct FileHeader<'a> {
    connections_exporter_state: u32,
    system: &'a str,
    account: &'a str,
    host: &'a str,
    item: &'a StateFile,
    crc32: u32,
}

/// Fields of the header that are parsed before the rest is compared.
#[derive(Debug, Deserialize)]
struct FileFormat {
    connections_exporter_state: u32,
    crc32: Option<u32>,
}

impl StateDir {
    /// Creates a state directory, which is not used before [`open`](Self::open).
    #[must_use]
    pub fn new(path: &Path, failures: IntCounter) -> Self {
        Self(Some(Arc::new(Folder::new(path, failures))))
    }

    /// Creates a state directory and opens it.
    pub async fn create_and_open(path: &Path, failures: IntCounter) -> Result<Self, OpenError> {
        let store = Self::new(path, failures);
        store.open().await?;
        Ok(store)
    }

    /// Creates the directory if it is missing, and locks it.
    ///
    /// It is an error if another process uses the directory, or if the path is not a directory. A
    /// directory that cannot be written, or does not respond in time, is only a warning: polls and
    /// scrapes must not depend on a disk.
    pub async fn open(&self) -> Result<(), OpenError> {
        match &self.0 {
            Some(folder) => folder.open().await,
            None => Ok(()),
        }
    }

    /// Creates the directory if it is missing, and locks it. Waits as long as another process uses
    /// it, and calls `waits` once with the path if one does.
    ///
    /// Unlike [`open`](Self::open), it is an error if the directory cannot be locked, and a disk
    /// that hangs is waited for. Otherwise two processes could be active.
    pub async fn lock(&self, waits: impl FnOnce(&Path)) -> Result<(), OpenError> {
        match &self.0 {
            Some(folder) => folder.lock(waits).await,
            None => Ok(()),
        }
    }

    /// Removes the state of all accounts except these, which are pairs of system and name.
    ///
    /// Writes in progress are finished first. Files that this program did not write are not
    /// removed.
    pub fn keep_accounts<'a>(&self, accounts: impl Iterator<Item = (&'static str, &'a str)>) {
        if let Some(folder) = &self.0 {
            let kept = accounts.map(|(system, account)| folder_name(system, account));
            folder.keep_accounts(kept.collect());
        }
    }

    /// Waits until every pending write has succeeded or failed.
    pub async fn flush(&self) {
        if let Some(folder) = &self.0 {
            folder.flush().await;
        }
    }

    /// Returns the state files of an account. Files that were written for another `host` are
    /// ignored.
    #[must_use]
    pub fn account(&self, system: &'static str, account: &str, host: &str) -> AccountStateDir {
        AccountStateDir {
            store: self.clone(),
            system,
            account: account.to_owned(),
            host: host.to_owned(),
            folder: folder_name(system, account),
        }
    }
}

impl AccountStateDir {
    fn header<'a>(&'a self, item: &'a StateFile, content: &[u8]) -> FileHeader<'a> {
        FileHeader {
            connections_exporter_state: FORMAT,
            system: self.system,
            account: &self.account,
            host: &self.host,
            item,
            crc32: crc32fast::hash(content),
        }
    }

    /// Reads a state file and converts it with `take`, whose error completes a sentence.
    ///
    /// Returns `None` if there is no file, if it cannot be used, or if the disk does not respond.
    /// An unusable file is logged.
    ///
    /// The call itself queues the read, even before the future is polled.
    pub fn read<T, U, F>(
        &self,
        item: StateFile,
        take: F,
    ) -> impl Future<Output = Option<U>> + use<T, U, F>
    where
        T: DeserializeOwned,
        U: Send + 'static,
        F: FnOnce(T) -> Result<U, Invalid> + Send + 'static,
    {
        let this = self.clone();
        let answer = self.ask(item.file(), move |folder| match this.look(folder, &item) {
            Stored::This(content) => match take(content) {
                Ok(taken) => Some(taken),
                Err(problem) => {
                    this.ignored(folder, &item, &problem);
                    None
                }
            },
            Stored::Nothing | Stored::Unusable => None,
        });
        async move { answer.await.flatten() }
    }

    /// Reads a state file. If there is no usable one, writes `first` before this returns.
    ///
    /// `first` is then on the disk, unless the write fails or the disk does not respond.
    pub(crate) async fn read_or_write<T: DeserializeOwned + Serialize + Send + 'static>(
        &self,
        item: StateFile,
        first: T,
    ) -> Stored<T> {
        let Some(folder) = &self.store.0 else {
            return Stored::Nothing;
        };
        let (this, file) = (self.clone(), item.file());
        let answer = self.ask(file.clone(), move |folder| {
            let kept = this.look(folder, &item);
            if !matches!(kept, Stored::This(_)) {
                folder.write(&this.folder, &file, this.lines(&item, &first));
            }
            kept
        });
        let kept = answer.await;
        kept.unwrap_or_else(|| {
            folder.failed();
            Stored::Unusable
        })
    }

    /// Runs `work` in the order of all jobs of the account.
    fn ask<T, F>(&self, file: String, work: F) -> impl Future<Output = Option<T>> + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce(&Folder) -> T + Send + 'static,
    {
        let waiting = self.store.0.clone().map(|folder| {
            let (answer, answered) = oneshot::channel();
            let job = PendingJob::Read(Box::new(move |folder: &Folder| {
                // The caller may have stopped waiting.
                if !answer.is_closed() {
                    let _ = answer.send(work(folder));
                }
            }));
            folder.later(&self.folder, PendingJobKey::Read(file), job);
            folder.answer(self.folder.clone(), answered)
        });
        async move { waiting?.await }
    }

    /// Reads a state file; an unusable one is logged.
    fn look<T: DeserializeOwned>(&self, folder: &Folder, item: &StateFile) -> Stored<T> {
        let read = folder
            .read(&self.folder, &item.file())
            .map_err(|error| (error.kind(), format!("cannot be read: {error}").into()))
            .and_then(|file| {
                self.parse(item, file)
                    .map_err(|problem| (io::ErrorKind::InvalidData, problem))
            });
        match read {
            Ok(content) => Stored::This(content),
            Err((io::ErrorKind::NotFound, _)) => Stored::Nothing,
            Err((_, problem)) => {
                self.ignored(folder, item, &problem);
                Stored::Unusable
            }
        }
    }

    /// Logs that a file is ignored, and why.
    fn ignored(&self, folder: &Folder, item: &StateFile, problem: &Invalid) {
        let file = folder.path.join(&self.folder).join(item.file());
        tracing::warn!(file = %file.display(), %problem, "a file of the state directory is ignored");
    }

    /// Parses a state file. The error completes a sentence that begins with the file's name.
    pub fn parse<T: DeserializeOwned>(
        &self,
        item: &StateFile,
        file: impl io::Read,
    ) -> Result<T, Invalid> {
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| format!("cannot be read: {error}"))?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(format!("is larger than {MAX_FILE_BYTES} bytes").into());
        }
        let mut lines = bytes.splitn(2, |byte| *byte == b'\n');
        let (header, content) = (lines.next().unwrap_or_default(), lines.next());
        let format: FileFormat = serde_json::from_slice(header)
            .map_err(|_| "is damaged, or not of this program".to_owned())?;
        if format.connections_exporter_state != FORMAT {
            return Err(format!(
                "is of format {}, and this version reads {FORMAT}",
                format.connections_exporter_state
            )
            .into());
        }
        let content = content
            .and_then(|content| content.strip_suffix(b"\n"))
            .filter(|content| format.crc32 == Some(crc32fast::hash(content)))
            .ok_or("is damaged or only half written: its checksum is another one")?;
        // A header has exactly one serialized form, so a different one is about another subject.
        let expected = serde_json::to_vec(&self.header(item, content));
        if expected.ok().as_deref() != Some(header) {
            return Err("belongs to another account, host or target".into());
        }
        serde_json::from_slice(content)
            .map_err(|error| format!("holds something else than expected: {error}").into())
    }

    /// Queues a write on a worker thread. A failure is logged and counted.
    pub fn write(&self, item: StateFile, content: impl Serialize + Send + 'static) {
        let Some(folder) = &self.store.0 else { return };
        let (this, key) = (self.clone(), PendingJobKey::Write(item.file()));
        let job = PendingJob::Write(Box::new(move || this.lines(&item, &content)));
        folder.later(&self.folder, key, job);
    }

    /// Returns a number that grows whenever a file may have been lost: when a write failed, or when
    /// the directory was removed.
    ///
    /// What was written before has to be written again.
    pub(crate) fn losses(&self) -> u64 {
        self.store.0.as_ref().map_or(0, |folder| folder.losses())
    }

    /// Serializes the two lines of a state file.
    pub(crate) fn lines(
        &self,
        item: &StateFile,
        content: &impl Serialize,
    ) -> serde_json::Result<Vec<u8>> {
        let content = serde_json::to_vec(content)?;
        let mut lines = serde_json::to_vec(&self.header(item, &content))?;
        lines.reserve(content.len() + 2);
        lines.push(b'\n');
        lines.extend_from_slice(&content);
        lines.push(b'\n');
        Ok(lines)
    }

    /// Removes the state of all targets except these.
    pub(crate) fn keep_targets<'a>(&self, ids: impl Iterator<Item = &'a str>) {
        let Some(folder) = &self.store.0 else { return };
        let kept = ids
            .flat_map(|id| {
                [
                    StateFile::Target(id.to_owned()),
                    StateFile::Listing(id.to_owned()),
                ]
            })
            .map(|item| item.file())
            .chain([StateFile::Pace.file(), StateFile::Discovery.file()]);
        folder.keep_files(&self.folder, kept.collect());
    }
}

impl StateFile {
    /// Returns the file name.
    fn file(&self) -> String {
        match self {
            Self::Pace => "pace.json".to_owned(),
            Self::Discovery => "discovery.json".to_owned(),
            Self::Target(id) => format!("target.{}.json", piece(id)),
            Self::Listing(id) => format!("listing.{}.json", piece(id)),
        }
    }
}

/// Returns whether this program wrote the file, in any version of the format.
fn is_ours(file: File) -> bool {
    let mut header = String::new();
    let read = BufReader::new(file.take(MAX_HEADER_BYTES)).read_line(&mut header);
    read.is_ok() && serde_json::from_str::<FileFormat>(&header).is_ok()
}

fn folder_name(system: &str, account: &str) -> String {
    format!("{system}.{}", piece(account))
}

/// Escapes a text as a part of a file name. A text that must be cut gets a hash of the whole.
fn piece(text: &str) -> String {
    let mut piece = utf8_percent_encode(text, PLAIN).to_string();
    if piece.len() > MAX_PIECE {
        piece.truncate(MAX_PIECE);
        return format!("{piece}~{:08x}", crc32fast::hash(text.as_bytes()));
    }
    piece
}

#[cfg(test)]
mod tests;
