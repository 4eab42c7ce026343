//! Writer that collects the chunks of a page, plain or gzip.

use bytes::Bytes;

use super::Encoding;
use super::block::Deflated;
use super::page::Page;

/// Chunks shorter than this are copied into chunks of up to [`JOINED`] bytes.
///
/// Sending a chunk costs more than such a copy.
const SMALL: usize = 4 * 1024;

/// Largest size of joined chunks, in bytes; see [`SMALL`].
const JOINED: usize = 16 * 1024;

/// Part of a page as it is sent. Clones share its chunks.
#[derive(Debug, Clone)]
pub(super) struct BodyWriter {
    pub(super) encoding: Encoding,
    sent: Page,
    small: Vec<u8>,
    /// Checksum of the uncompressed text; used for gzip only.
    crc: crc32fast::Hasher,
}

impl BodyWriter {
    pub(super) fn new(encoding: Encoding) -> Self {
        Self {
            encoding,
            sent: Page::default(),
            small: Vec::new(),
            crc: crc32fast::Hasher::new(),
        }
    }

    /// Writes the start of a page: the gzip header, if any.
    pub(super) fn begin(&mut self) {
        if self.encoding == Encoding::Gzip {
            // Deflate, no flags, no modification time, no extra flags, unknown system: RFC 1952,
            // section 2.3.
            self.push(Bytes::from_static(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]));
        }
    }

    /// Appends text, compressed with `deflate` if the encoding requires it.
    pub(super) fn text(
        &mut self,
        text: Bytes,
        series: u64,
        deflate: impl FnOnce(&[u8]) -> Deflated,
    ) {
        self.sent.series += series;
        self.sent.plain_bytes += text.len() as u64;
        match self.encoding {
            Encoding::Plain => self.push(text),
            Encoding::Gzip => {
                let deflated = deflate(&text);
                self.crc.combine(&deflated.crc);
                self.push(deflated.bytes);
            }
        }
    }

    /// Appends the content of another writer.
    ///
    /// Its small chunks must be joined, and it must not contain the start of a page.
    pub(super) fn add(&mut self, other: &Self) {
        self.sent.series += other.sent.series;
        self.sent.plain_bytes += other.sent.plain_bytes;
        self.crc.combine(&other.crc);
        for chunk in &other.sent.chunks {
            self.push(chunk.clone());
        }
    }

    /// Returns where the first chunk is.
    #[cfg(test)]
    pub(super) fn start(&self) -> *const u8 {
        self.sent.chunks[0].as_ptr()
    }

    fn push(&mut self, chunk: Bytes) {
        self.sent.bytes += chunk.len() as u64;
        if chunk.len() >= SMALL {
            self.join();
            self.sent.chunks.push_back(chunk);
            return;
        }
        if self.small.capacity() == 0 {
            self.small.reserve(JOINED);
        }
        self.small.extend_from_slice(&chunk);
        if self.small.len() > JOINED - SMALL {
            self.join();
        }
    }

    /// Joins the small chunks so far into one chunk.
    pub(super) fn join(&mut self) {
        if !self.small.is_empty() {
            let joined = std::mem::take(&mut self.small).into_boxed_slice();
            self.sent.chunks.push_back(joined.into());
        }
    }

    /// Writes the end of a page, the gzip trailer if any, and returns the page.
    pub(super) fn end(mut self) -> Page {
        if self.encoding == Encoding::Gzip {
            // An empty final block, then the CRC-32 and the length of the uncompressed text.
            let mut end = vec![0x03, 0x00];
            end.extend_from_slice(&self.crc.clone().finalize().to_le_bytes());
            let [a, b, c, d, ..] = self.sent.plain_bytes.to_le_bytes();
            end.extend_from_slice(&[a, b, c, d]);
            self.push(end.into());
        }
        self.join();
        self.sent
    }
}
