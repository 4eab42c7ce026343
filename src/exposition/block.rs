//! Blocks: the text of one family in one fragment, compressed so that it fits anywhere on a page.

use std::cell::RefCell;
use std::sync::Arc;
use std::thread::LocalKey;

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress, Status};
use memchr::memchr_iter;

/// Blocks of at least this many bytes are compressed when they are rendered.
///
/// Smaller blocks are sent and compressed together.
const LARGE: usize = 4 * 1024;

thread_local! {
    /// Compressor for blocks, which are compressed once and sent often.
    ///
    /// It is kept, because creating one costs more than compressing most blocks.
    static BLOCKS: Deflater = deflater(4);
    /// Compressor for text that is compressed on every scrape.
    static ONCE: Deflater = deflater(1);
}

type Deflater = RefCell<Compress>;

fn deflater(level: u32) -> Deflater {
    RefCell::new(Compress::new(Compression::new(level), false))
}

/// Text of one family in one fragment, or of a family header. Clones share the text.
#[derive(Debug, Clone)]
pub(super) struct Block {
    rendered: Arc<Rendered>,
    /// Size of the text, kept outside the `Arc`: building a page checks the size of every block,
    /// but reads few of them.
    bytes: usize,
}

#[derive(Debug)]
struct Rendered {
    text: Bytes,
    series: u64,
    /// `None` for a small block.
    deflated: Option<Deflated>,
}

impl Block {
    pub(super) fn new(text: String) -> Self {
        let series = series(&text);
        // Boxing drops the spare capacity of the string, which grew by doubling. A cached page
        // would keep it.
        let text = Bytes::from(text.into_boxed_str().into_boxed_bytes());
        let bytes = text.len();
        let deflated = (bytes >= LARGE).then(|| Deflated::new(&text));
        let rendered = Arc::new(Rendered {
            text,
            series,
            deflated,
        });
        Self { rendered, bytes }
    }

    pub(super) fn text(&self) -> &Bytes {
        &self.rendered.text
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_large(&self) -> bool {
        self.bytes >= LARGE
    }

    pub(super) fn series(&self) -> u64 {
        self.rendered.series
    }

    /// Returns the compressed text; `None` for a small block.
    pub(super) fn deflated(&self) -> Option<Deflated> {
        self.rendered.deflated.clone()
    }

    /// Returns an id that no other block has while a clone of this block exists.
    pub(super) fn id(&self) -> usize {
        Arc::as_ptr(&self.rendered).addr()
    }
}

/// Compressed text and the checksum of the uncompressed text.
#[derive(Debug, Clone)]
pub(super) struct Deflated {
    pub(super) bytes: Bytes,
    /// Checksum of the uncompressed text.
    pub(super) crc: crc32fast::Hasher,
}

impl Deflated {
    pub(super) fn new(text: &[u8]) -> Self {
        Self::by(text, &BLOCKS)
    }

    /// Compresses text that is sent only once: faster, but to more bytes.
    pub(super) fn once(text: &[u8]) -> Self {
        Self::by(text, &ONCE)
    }

    fn by(text: &[u8], deflater: &'static LocalKey<Deflater>) -> Self {
        let mut crc = crc32fast::Hasher::new();
        crc.update(text);
        Self {
            bytes: deflate_by(text, deflater).into(),
            crc,
        }
    }
}

/// Returns the number of sample lines. Each line must end with a line feed.
pub(super) fn series(text: &str) -> u64 {
    let text = text.as_bytes();
    let mut line = 0;
    let ends = memchr_iter(b'\n', text);
    let is_sample = |end: &usize| text[std::mem::replace(&mut line, end + 1)] != b'#';
    ends.filter(is_sample).count() as u64
}

/// Compresses text that is cached, into deflate blocks that end on a byte boundary.
///
/// Public for benchmarks.
#[doc(hidden)]
#[must_use]
pub fn deflate(text: &[u8]) -> Vec<u8> {
    deflate_by(text, &BLOCKS)
}

fn deflate_by(text: &[u8], deflater: &'static LocalKey<Deflater>) -> Vec<u8> {
    deflater.with_borrow_mut(|compress| {
        compress.reset();
        deflate_with(text, compress)
    })
}

fn deflate_with(text: &[u8], compress: &mut Compress) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() / 8 + 64);
    loop {
        let read = usize::try_from(compress.total_in()).unwrap_or(usize::MAX);
        let status = compress.compress_vec(&text[read..], &mut out, FlushCompress::Sync);
        // Spare capacity in the output means that all of the input is compressed and flushed.
        if matches!(
            status,
            Ok(Status::Ok | Status::BufError | Status::StreamEnd)
        ) && out.len() < out.capacity()
        {
            out.shrink_to_fit();
            return out;
        }
        out.reserve(out.capacity());
    }
}
