//! Writer that collects the chunks of a page, plain or gzip.

use std::sync::Arc;

use bytes::Bytes;

use super::Encoding;
use super::block::{Block, Deflated};
use super::page::Page;

/// Chunks shorter than this are copied into chunks of up to [`JOINED`] bytes.
///
/// Sending a chunk costs more than such a copy.
pub(super) const SMALL: usize = 4 * 1024;

/// Largest size of joined chunks, in bytes; see [`SMALL`].
const JOINED: usize = 16 * 1024;

/// Part of the body of a page.
#[derive(Debug, Clone)]
pub(super) enum Chunk {
    Bytes(Bytes),
    /// Text of a block, which the page does not copy.
    Block(Block),
}

impl Chunk {
    pub(super) fn bytes(&self) -> &Bytes {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Block(block) => block.text(),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Block(block) => block.bytes(),
        }
    }
}

/// Sizes of a page or of a part of it, and the checksum of its uncompressed text.
#[derive(Debug, Clone)]
struct Totals {
    series: u64,
    bytes: u64,
    plain_bytes: u64,
    /// Used for gzip only.
    crc: crc32fast::Hasher,
}

/// Writer of a page, or of a part of it.
#[derive(Debug, Clone)]
pub(super) struct BodyWriter {
    encoding: Encoding,
    chunks: Vec<Chunk>,
    small: Vec<u8>,
    totals: Totals,
}

/// Written part of a page. Clones share its chunks.
#[derive(Debug, Clone)]
pub(super) struct PageBody {
    chunks: Arc<[Chunk]>,
    totals: Totals,
}

impl BodyWriter {
    pub(super) fn new(encoding: Encoding) -> Self {
        Self {
            encoding,
            chunks: Vec::new(),
            small: Vec::new(),
            totals: Totals {
                series: 0,
                bytes: 0,
                plain_bytes: 0,
                crc: crc32fast::Hasher::new(),
            },
        }
    }

    /// Creates a writer of what follows on the same page.
    pub(super) fn after(body: &PageBody, encoding: Encoding) -> Self {
        Self {
            totals: body.totals.clone(),
            ..Self::new(encoding)
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
        self.totals.series += series;
        self.totals.plain_bytes += text.len() as u64;
        match self.encoding {
            Encoding::Plain => self.push(text),
            Encoding::Gzip => {
                let deflated = deflate(&text);
                self.totals.crc.combine(&deflated.crc);
                self.push(deflated.bytes);
            }
        }
    }

    /// Appends the text of a block to a plain page, which shares it.
    pub(super) fn block(&mut self, block: &Block) {
        let bytes = block.bytes() as u64;
        self.totals.series += block.series();
        self.totals.plain_bytes += bytes;
        self.totals.bytes += bytes;
        self.join();
        self.chunks.push(Chunk::Block(block.clone()));
    }

    /// Appends a written part, which must not contain the start of a page.
    pub(super) fn add(&mut self, part: &PageBody) {
        self.totals.series += part.totals.series;
        self.totals.plain_bytes += part.totals.plain_bytes;
        self.totals.crc.combine(&part.totals.crc);
        // Not in `push`: a segment has few small chunks, and would reserve too much.
        self.small.reserve_exact(JOINED - self.small.len());
        for chunk in &*part.chunks {
            self.push(chunk.bytes().clone());
        }
    }

    fn push(&mut self, chunk: Bytes) {
        self.totals.bytes += chunk.len() as u64;
        if chunk.len() >= SMALL {
            self.join();
            self.chunks.push(Chunk::Bytes(chunk));
            return;
        }
        self.small.extend_from_slice(&chunk);
        if self.small.len() > JOINED - SMALL {
            self.join();
        }
    }

    /// Joins the small chunks so far into one chunk.
    fn join(&mut self) {
        if !self.small.is_empty() {
            let joined = std::mem::take(&mut self.small).into_boxed_slice();
            self.chunks.push(Chunk::Bytes(joined.into()));
        }
    }

    /// Returns what was written.
    pub(super) fn finish(mut self) -> PageBody {
        self.join();
        PageBody {
            chunks: self.chunks.into(),
            totals: self.totals,
        }
    }

    /// Returns the finished page. `body` was written before. Adds the gzip trailer, if any.
    pub(super) fn end(mut self, body: PageBody) -> Page {
        if self.encoding == Encoding::Gzip {
            // An empty final block, then the CRC-32 and the length of the uncompressed text.
            let mut trailer = vec![0x03, 0x00];
            trailer.extend_from_slice(&self.totals.crc.clone().finalize().to_le_bytes());
            let [a, b, c, d, ..] = self.totals.plain_bytes.to_le_bytes();
            trailer.extend_from_slice(&[a, b, c, d]);
            self.push(trailer.into());
        }
        let end = self.finish();
        let Totals {
            series,
            bytes,
            plain_bytes,
            ..
        } = end.totals;
        Page {
            shared: body.chunks,
            own: end.chunks,
            bytes,
            plain_bytes,
            series,
        }
    }
}

#[cfg(test)]
impl PageBody {
    /// Returns where the first chunk is.
    pub(super) fn start(&self) -> *const u8 {
        self.chunks[0].bytes().as_ptr()
    }
}
