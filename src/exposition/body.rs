//! Some of a page, as it is sent.

use bytes::Bytes;

use super::Encoding;
use super::block::Deflated;
use super::page::Page;

/// Chunks shorter than this are copied together into chunks of [`JOINED`] bytes: to send one costs more than such a copy.
const SMALL: usize = 4 * 1024;

/// See [`SMALL`].
const JOINED: usize = 16 * 1024;

/// Some of a page, as it is sent; a copy shares its bytes.
#[derive(Debug, Clone)]
pub(super) struct BodyWriter {
    pub(super) encoding: Encoding,
    sent: Page,
    small: Vec<u8>,
    /// Of the text, where it is deflated.
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

    /// Adds what stands at the beginning of a page.
    pub(super) fn begin(&mut self) {
        if self.encoding == Encoding::Gzip {
            // Deflate, no flags, no time, no hint, unknown system: RFC 1952, 2.3.
            self.push(Bytes::from_static(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]));
        }
    }

    /// Adds text, which is deflated so if it has to be.
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

    /// Adds what another one has, which is joined and has no beginning.
    pub(super) fn add(&mut self, other: &Self) {
        self.sent.series += other.sent.series;
        self.sent.plain_bytes += other.sent.plain_bytes;
        self.crc.combine(&other.crc);
        for chunk in &other.sent.chunks {
            self.push(chunk.clone());
        }
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

    /// Makes one of the small chunks so far.
    pub(super) fn join(&mut self) {
        if !self.small.is_empty() {
            let joined = std::mem::take(&mut self.small).into_boxed_slice();
            self.sent.chunks.push_back(joined.into());
        }
    }

    /// Adds what stands at the end of a page.
    pub(super) fn end(mut self) -> Page {
        if self.encoding == Encoding::Gzip {
            // An empty final block, then CRC-32 and length of all that was deflated.
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
