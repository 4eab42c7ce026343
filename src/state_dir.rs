//! The state folder: files that outlive the process, each written whole or not at all.
//!
//! A folder for each account holds `pace.json`, `discovery.json` and `target.ID.json`. A file is two lines of
//! JSON: whose it is, with a checksum, and the content. What is not exactly that is reported and left unread.

#![expect(
    clippy::disallowed_methods,
    reason = "the state folder has threads of its own for this"
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

use folder::{FileKey, Folder, PendingJob};

/// Raised when files of an earlier version cannot be read any more.
const FORMAT: u32 = 1;
/// More than a listing of as many connections as are allowed by default takes, unless a vendor fills each text with what
/// JSON has to escape.
const LARGEST_FILE: u64 = 256 * 1024 * 1024;
/// The first line of a file names an account and a target, and little else.
const LONGEST_HEADER: u64 = 64 * 1024;
/// Beyond it, a piece of a file's name is cut: file systems end at 255 bytes.
const LONGEST_PIECE: usize = 120;
/// What stays as it is in a file's name.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'-');

/// Where state is kept; without a folder, nowhere.
#[derive(Debug, Clone, Default)]
pub struct StateDir(Option<Arc<Folder>>);

/// The files of one account.
#[derive(Debug, Clone)]
pub struct AccountStateDir {
    store: StateDir,
    system: &'static str,
    account: String,
    host: String,
    /// The name of the account's folder.
    folder: String,
}

/// What was kept of something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored<T> {
    /// Nothing.
    Nothing,
    /// Something that cannot be used, or nobody knows: the disk does not answer.
    Unusable,
    /// This.
    This(T),
}

/// What a file is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StateFile {
    /// The pauses and the rate of the account.
    Pace,
    /// Which targets the account has, and how they are called.
    Discovery,
    /// What is known of the target with this id.
    Target(String),
}

/// The first line of a file.
#[derive(Debug, Serialize)]
struct FileHeader<'a> {
    connections_exporter_state: u32,
    system: &'a str,
    account: &'a str,
    host: &'a str,
    item: &'a StateFile,
    crc32: u32,
}

/// What of it is read on its own.
#[derive(Debug, Deserialize)]
struct Format {
    connections_exporter_state: u32,
    crc32: Option<u32>,
}

impl StateDir {
    /// Will use this folder, once it is [begun](Self::begin).
    #[must_use]
    pub fn new(path: &Path, failures: IntCounter) -> Self {
        Self(Some(Arc::new(Folder::new(path, failures))))
    }

    /// Uses this folder.
    pub async fn open(path: &Path, failures: IntCounter) -> anyhow::Result<Self> {
        let store = Self::new(path, failures);
        store.begin().await?;
        Ok(store)
    }

    /// Makes the folder if need be, and locks it. Fails if another process uses it, or if it is none; one that
    /// cannot be written is a warning, and so is one that does not answer in time: what it is for must not depend on
    /// a disk.
    pub async fn begin(&self) -> anyhow::Result<()> {
        match &self.0 {
            Some(folder) => folder.open().await,
            None => Ok(()),
        }
    }

    /// Removes what is kept of accounts other than these, by system and name, once what is being written is. Leaves
    /// alone what this program did not write.
    pub fn keep_accounts<'a>(&self, accounts: impl Iterator<Item = (&'static str, &'a str)>) {
        if let Some(folder) = &self.0 {
            let kept = accounts.map(|(system, account)| folder_name(system, account));
            folder.keep_accounts(kept.collect());
        }
    }

    /// Waits until all that was wished for is written, or could not be.
    pub async fn flush(&self) {
        if let Some(folder) = &self.0 {
            folder.flush().await;
        }
    }

    /// The files of an account; `host` is where it is reached: what was kept of another one is not its own.
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

    /// What was kept of this, as `take` has it, whose error ends a sentence. `None` if nothing was kept, or nothing
    /// that can be used, which is logged, or if the disk does not answer.
    ///
    /// Is on its way from the call on, not only once it is awaited.
    pub fn read<T, U, F>(
        &self,
        item: StateFile,
        take: F,
    ) -> impl Future<Output = Option<U>> + use<T, U, F>
    where
        T: DeserializeOwned,
        U: Send + 'static,
        F: FnOnce(T) -> Result<U, String> + Send + 'static,
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

    /// What was kept of this. Where that cannot be used, `first` is on the disk before this returns, unless the disk
    /// does not answer.
    pub async fn read_or_write<T: DeserializeOwned + Serialize + Send + 'static>(
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

    /// Does this in its turn among all that is done with the account's files.
    fn ask<T, F>(&self, file: String, work: F) -> impl Future<Output = Option<T>> + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce(&Folder) -> T + Send + 'static,
    {
        let waiting = self.store.0.clone().map(|folder| {
            let (answer, answered) = oneshot::channel();
            let job = PendingJob::Read(Box::new(move |folder: &Folder| {
                // Who asked may have given up.
                if !answer.is_closed() {
                    let _ = answer.send(work(folder));
                }
            }));
            folder.later(&self.folder, FileKey::Read(file), job);
            folder.answer(self.folder.clone(), answered)
        });
        async move { waiting?.await }
    }

    /// Reads what was kept of this; what cannot be used is logged.
    fn look<T: DeserializeOwned>(&self, folder: &Folder, item: &StateFile) -> Stored<T> {
        let read = folder
            .read(&self.folder, &item.file())
            .map_err(|error| (error.kind(), format!("cannot be read: {error}")))
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

    /// Says that a file is not used, and why.
    fn ignored(&self, folder: &Folder, item: &StateFile, problem: &str) {
        let file = folder.path.join(&self.folder).join(item.file());
        tracing::warn!(file = %file.display(), problem, "a file of the state folder is ignored");
    }

    /// Reads a file of this item. The error follows the file's name in a sentence.
    pub fn parse<T: DeserializeOwned>(
        &self,
        item: &StateFile,
        file: impl io::Read,
    ) -> Result<T, String> {
        let mut bytes = Vec::new();
        file.take(LARGEST_FILE + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| format!("cannot be read: {error}"))?;
        if bytes.len() as u64 > LARGEST_FILE {
            return Err(format!("is larger than {LARGEST_FILE} bytes"));
        }
        let mut lines = bytes.splitn(2, |byte| *byte == b'\n');
        let (header, content) = (lines.next().unwrap_or_default(), lines.next());
        let format: Format = serde_json::from_slice(header)
            .map_err(|_| "is damaged, or not of this program".to_owned())?;
        if format.connections_exporter_state != FORMAT {
            return Err(format!(
                "is of format {}, and this version reads {FORMAT}",
                format.connections_exporter_state
            ));
        }
        let content = content
            .and_then(|content| content.strip_suffix(b"\n"))
            .filter(|content| format.crc32 == Some(crc32fast::hash(content)))
            .ok_or("is damaged or only half written: its checksum is another one")?;
        // One spelling for each header: what differs is about something else.
        let expected = serde_json::to_vec(&self.header(item, content));
        if expected.ok().as_deref() != Some(header) {
            return Err("belongs to another account, host or target".to_owned());
        }
        serde_json::from_slice(content)
            .map_err(|error| format!("holds something else than expected: {error}"))
    }

    /// Writes this, soon, on a thread for such things. A failure is logged and counted.
    pub fn write(&self, item: StateFile, content: impl Serialize + Send + 'static) {
        let Some(folder) = &self.store.0 else { return };
        let (this, key) = (self.clone(), FileKey::Write(item.file()));
        let job = PendingJob::Write(Box::new(move || this.lines(&item, &content)));
        folder.later(&self.folder, key, job);
    }

    /// The lines of the file.
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

    /// Removes what is kept of targets other than these.
    pub fn keep_targets<'a>(&self, ids: impl Iterator<Item = &'a str>) {
        let Some(folder) = &self.store.0 else { return };
        let kept = ids
            .map(|id| StateFile::Target(id.to_owned()).file())
            .chain([StateFile::Pace.file(), StateFile::Discovery.file()]);
        folder.keep_files(&self.folder, kept.collect());
    }
}

impl StateFile {
    /// The name of its file.
    fn file(&self) -> String {
        match self {
            Self::Pace => "pace.json".to_owned(),
            Self::Discovery => "discovery.json".to_owned(),
            Self::Target(id) => format!("target.{}.json", piece(id)),
        }
    }
}

/// Whether this program wrote the file, in whatever format.
fn is_ours(file: File) -> bool {
    let mut header = String::new();
    let read = BufReader::new(file.take(LONGEST_HEADER)).read_line(&mut header);
    read.is_ok() && serde_json::from_str::<Format>(&header).is_ok()
}

fn folder_name(system: &str, account: &str) -> String {
    format!("{system}.{}", piece(account))
}

/// A text as a piece of a file's name. One that had to be cut tells by a hash what it was.
fn piece(text: &str) -> String {
    let mut piece = utf8_percent_encode(text, PLAIN).to_string();
    if piece.len() > LONGEST_PIECE {
        piece.truncate(LONGEST_PIECE);
        return format!("{piece}~{:08x}", crc32fast::hash(text.as_bytes()));
    }
    piece
}

#[cfg(test)]
mod tests;
