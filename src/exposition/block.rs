//! The text of a family in one fragment, and how text is deflated so that it can stand anywhere on a page.

use std::cell::RefCell;
use std::sync::Arc;
use std::thread::LocalKey;

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress, Status};

/// From so many bytes on, a block is deflated when it is rendered; smaller ones are sent, and deflated, together.
const LARGE: usize = 4 * 1024;

thread_local! {
    /// Blocks are deflated once and sent often. Making a compressor costs more than most blocks, so it is kept.
    static BLOCKS: Deflater = deflater(4);
    /// For what is deflated at each scrape.
    static ONCE: Deflater = deflater(1);
}

type Deflater = RefCell<Compress>;

fn deflater(level: u32) -> Deflater {
    RefCell::new(Compress::new(Compression::new(level), false))
}

/// The text of a family in one fragment, or what heads it; copies share it.
#[derive(Debug, Clone)]
pub(super) struct Block {
    rendered: Arc<Rendered>,
    /// Beside it: a page that is put together looks at each block, and into few.
    bytes: usize,
}

#[derive(Debug)]
struct Rendered {
    text: Bytes,
    series: u64,
    /// Of a large block.
    deflated: Option<Deflated>,
}

impl Block {
    pub(super) fn new(text: String) -> Self {
        let series = series(&text);
        // It grew as it was written: a page must not hold what is left of its last doubling.
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

    /// None of a small block.
    pub(super) fn deflated(&self) -> Option<Deflated> {
        self.rendered.deflated.clone()
    }

    /// No other block has it as long as there is a copy of this one.
    pub(super) fn id(&self) -> usize {
        Arc::as_ptr(&self.rendered).addr()
    }
}

/// Text, deflated.
#[derive(Debug, Clone)]
pub(super) struct Deflated {
    pub(super) bytes: Bytes,
    /// Of the text.
    pub(super) crc: crc32fast::Hasher,
}

impl Deflated {
    pub(super) fn new(text: &[u8]) -> Self {
        Self::by(text, &BLOCKS)
    }

    /// Text that is sent once: in less time, to more bytes.
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

/// How many lines are samples.
pub(super) fn series(text: &str) -> u64 {
    text.lines().filter(|line| !line.starts_with('#')).count() as u64
}

/// Deflates what is kept into blocks that end with a full flush; public for benchmarks.
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
        let status = compress.compress_vec(&text[read..], &mut out, FlushCompress::Full);
        // With room left in the output, all of the input is in it and flushed.
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
