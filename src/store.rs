//! The state folder: files that outlive the process, each written whole or not at all.
//!
//! A folder for each account holds `pace.json`, `discovery.json` and `target.ID.json`. A file is two lines of
//! JSON: whose it is, with a checksum, and the content. What is not exactly that is reported and left unread.

mod folder;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use prometheus::IntCounter;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use folder::{Folder, Job};

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
pub struct Store(Option<Arc<Folder>>);

/// The files of one account.
#[derive(Debug, Clone)]
pub struct AccountStore {
    store: Store,
    system: &'static str,
    account: String,
    host: String,
}

/// What a file is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Item {
    /// The pauses and the rate of the account.
    Pace,
    /// Which targets the account has, and how they are called.
    Discovery,
    /// What is known of the target with this id.
    Target(String),
}

/// The first line of a file.
#[derive(Debug, Serialize)]
struct Header<'a> {
    connections_exporter_state: u32,
    system: &'a str,
    account: &'a str,
    host: &'a str,
    item: &'a Item,
    crc32: u32,
}

/// What of it is read on its own.
#[derive(Debug, Deserialize)]
struct Format {
    connections_exporter_state: u32,
    crc32: Option<u32>,
}

impl Store {
    /// Uses this folder, which is made if need be. Fails if another process uses it, or if it is none; one that
    /// cannot be written is a warning, since what it is for must not depend on a disk.
    pub fn open(path: &Path, failures: IntCounter) -> anyhow::Result<Self> {
        Ok(Self(Some(Arc::new(Folder::open(path, failures)?))))
    }

    /// Removes what is kept of accounts other than these, by system and name, once what is being written is. Leaves
    /// alone what this program did not write.
    pub fn keep_accounts<'a>(&self, accounts: impl Iterator<Item = (&'static str, &'a str)>) {
        let Some(folder) = &self.0 else { return };
        let kept: BTreeSet<_> = accounts
            .map(|(system, account)| folder_name(system, account))
            .collect();
        {
            // The accounts that are gone write no more; what they still wished for would come back.
            let mut queue = folder.queue.lock();
            let stays = |file: &PathBuf| {
                let mut parts = file.iter().filter_map(|part| part.to_str());
                parts.next().is_none_or(|first| kept.contains(first))
            };
            queue.jobs.retain(|file, _| stays(file));
            queue.failing.retain(stays);
        }
        folder.later(PathBuf::new(), Job::SweepFolders(kept));
    }

    /// Waits until all that was wished for is written, or could not be.
    pub async fn flush(&self) {
        let Some(folder) = &self.0 else { return };
        while folder.queue.lock().busy {
            folder.idle.notified().await;
        }
    }

    /// The files of an account; `host` is where it is reached: what was kept of another one is not its own.
    #[must_use]
    pub fn account(&self, system: &'static str, account: &str, host: &str) -> AccountStore {
        AccountStore {
            store: self.clone(),
            system,
            account: account.to_owned(),
            host: host.to_owned(),
        }
    }
}

impl AccountStore {
    fn file(&self, item: &Item) -> PathBuf {
        let name = match item {
            Item::Pace => "pace.json".to_owned(),
            Item::Discovery => "discovery.json".to_owned(),
            Item::Target(id) => format!("target.{}.json", piece(id)),
        };
        Path::new(&folder_name(self.system, &self.account)).join(name)
    }

    fn header<'a>(&'a self, item: &'a Item, content: &[u8]) -> Header<'a> {
        Header {
            connections_exporter_state: FORMAT,
            system: self.system,
            account: &self.account,
            host: &self.host,
            item,
            crc32: crc32fast::hash(content),
        }
    }

    /// What was kept of this; `None` if nothing was, or nothing that can be used, which is logged.
    #[must_use]
    pub fn read<T: DeserializeOwned>(&self, item: &Item) -> Option<T> {
        let folder = self.store.0.as_ref()?;
        let path = folder.path.join(self.file(item));
        let read = File::open(&path)
            .map_err(|error| (error.kind(), format!("cannot be read: {error}")))
            .and_then(|file| {
                self.parse(item, file)
                    .map_err(|problem| (io::ErrorKind::InvalidData, problem))
            });
        match read {
            Ok(content) => Some(content),
            Err((io::ErrorKind::NotFound, _)) => None,
            Err((_, problem)) => {
                self.ignored(item, &problem);
                None
            }
        }
    }

    /// Says that a file is not used, and why.
    pub fn ignored(&self, item: &Item, problem: &str) {
        if let Some(folder) = &self.store.0 {
            let file = folder.path.join(self.file(item));
            tracing::warn!(file = %file.display(), problem, "a file of the state folder is ignored");
        }
    }

    /// Whether something was kept of this, whatever it is worth.
    #[must_use]
    pub fn has(&self, item: &Item) -> bool {
        let folder = self.store.0.as_ref();
        folder.is_some_and(|folder| folder.path.join(self.file(item)).exists())
    }

    /// Reads a file of this item. The error follows the file's name in a sentence.
    pub fn parse<T: DeserializeOwned>(
        &self,
        item: &Item,
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
    pub fn write(&self, item: Item, content: impl Serialize + Send + 'static) {
        let Some(folder) = &self.store.0 else { return };
        let (this, file) = (self.clone(), self.file(&item));
        folder.later(
            file,
            Job::Write(Box::new(move || this.lines(&item, &content))),
        );
    }

    /// Writes this before it returns.
    pub fn write_at_once(&self, item: &Item, content: &impl Serialize) {
        if let Some(folder) = &self.store.0 {
            folder.write(&self.file(item), self.lines(item, content));
        }
    }

    /// The lines of the file.
    pub(crate) fn lines(
        &self,
        item: &Item,
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
        let here = PathBuf::from(folder_name(self.system, &self.account));
        let kept: BTreeSet<_> = ids
            .map(|id| self.file(&Item::Target(id.to_owned())))
            .chain([self.file(&Item::Pace), self.file(&Item::Discovery)])
            .collect();
        {
            let mut queue = folder.queue.lock();
            let stays = |file: &PathBuf| !file.starts_with(&here) || kept.contains(file);
            queue.jobs.retain(|file, _| stays(file));
            queue.failing.retain(stays);
        }
        folder.later(here, Job::Sweep(kept));
    }
}

/// Whether this program wrote the file, in whatever format.
fn is_ours(path: &Path) -> bool {
    let header = || -> io::Result<String> {
        let mut header = String::new();
        BufReader::new(File::open(path)?.take(LONGEST_HEADER)).read_line(&mut header)?;
        Ok(header)
    };
    header().is_ok_and(|header| serde_json::from_str::<Format>(&header).is_ok())
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
