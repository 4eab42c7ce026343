//! A piece of a page: its text, and the same deflated so that pieces can follow each other in any order.

use std::cell::RefCell;
use std::thread::LocalKey;

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress, Status};

thread_local! {
    /// Blocks are deflated once and sent often. Making a compressor costs more than most blocks, so it is kept.
    static BLOCKS: Deflater = deflater(4);
    /// The tail is deflated at each scrape.
    static TAIL: Deflater = deflater(1);
}

type Deflater = RefCell<Compress>;

fn deflater(level: u32) -> Deflater {
    RefCell::new(Compress::new(Compression::new(level), false))
}

/// A piece of a page in both encodings.
#[derive(Debug, Clone)]
pub(super) struct Block {
    pub(super) plain: Bytes,
    pub(super) deflated: Bytes,
    pub(super) crc: crc32fast::Hasher,
    pub(super) series: u64,
}

impl Block {
    pub(super) fn new(text: String) -> Self {
        let mut crc = crc32fast::Hasher::new();
        crc.update(text.as_bytes());
        Self {
            deflated: deflate(text.as_bytes()).into(),
            crc,
            series: series(&text),
            // It grew as it was written: a page must not hold what is left of its last doubling.
            plain: text.into_boxed_str().into_boxed_bytes().into(),
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

/// Deflates what is sent once, into such a block.
pub(super) fn deflate_tail(text: &[u8]) -> Vec<u8> {
    deflate_by(text, &TAIL)
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
