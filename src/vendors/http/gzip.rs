//! Gzip streams (RFC 1952), decompressed with decoders that are reused.

use std::sync::LazyLock;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use parking_lot::Mutex;
use tokio::task::yield_now;

/// Number of bytes, read or decompressed, after which other tasks may run.
///
/// Decompressing them takes well below a millisecond.
const YIELD_AFTER: usize = 256 * 1024;
/// Minimum and maximum number of bytes that one call of a decoder may produce.
const ROOM: (usize, usize) = (1024, 64 * 1024);
/// Maximum number of bytes that one call of a decoder reads.
///
/// An empty block of five bytes produces nothing.
const MAX_INPUT: usize = 64 * 1024;
/// Maximum length of a file name or comment in a header, in bytes.
const MAX_HEADER_TEXT: usize = 64 * 1024;
/// Size of a decoder's window, which keeps the last bytes that it produced.
const WINDOW: usize = 32 * 1024;
/// Maximum number of idle decoders.
const MAX_IDLE: usize = 8;

// Flags of a member's header.
const HEADER_CHECKSUM: u8 = 1 << 1;
const EXTRA: u8 = 1 << 2;
const FILE_NAME: u8 = 1 << 3;
const COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0b1110_0000;

/// Decoders of all responses.
pub(super) static DECODERS: Decoders = Decoders {
    idle: Mutex::new(Vec::new()),
};

/// Pool of decoders.
///
/// A decoder takes 47 KiB, aligned to 64 bytes. To align a block, glibc looks for more room than
/// the block needs, so a decoder does not fit where the one before was freed. With a new decoder
/// for each response, more than half of the heap consisted of such gaps.
pub(super) struct Decoders {
    idle: Mutex<Vec<Decompress>>,
}

/// Deflate stream of more zeros than a window has.
static ZEROS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut stream = Vec::with_capacity(1024);
    let mut encoder = Compress::new(Compression::fast(), false);
    let zeros = [0; 2 * WINDOW];
    // Compressing cannot fail.
    let _ = encoder.compress_vec(&zeros, &mut stream, FlushCompress::Sync);
    stream
});

/// Why a stream cannot be decompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GzipError {
    /// The stream is not gzip.
    NotGzip,
    /// The stream ends too early, or does not match its checksum.
    Incomplete,
    /// The stream has more bytes than allowed.
    TooLarge,
}

impl Decoders {
    /// Decompresses all members of a stream. Appends them to `body`, which then has at most `most`
    /// bytes.
    ///
    /// After an error, `body` has everything before it.
    pub(super) async fn decompress(
        &self,
        stream: &[u8],
        body: &mut Vec<u8>,
        most: usize,
    ) -> Result<(), GzipError> {
        let idle = self.idle.lock().pop();
        let mut decoder = idle.unwrap_or_else(|| Decompress::new(false));
        let result = decompress_with(&mut decoder, stream, body, most).await;
        self.keep(decoder);
        result
    }

    /// Keeps a decoder for the next response.
    fn keep(&self, mut decoder: Decompress) {
        // The window has text of the response, which may be a token.
        if overwrite_window(&mut decoder).is_none() {
            // The allocator zeroes what is freed.
            return;
        }
        let mut idle = self.idle.lock();
        if idle.len() < MAX_IDLE {
            idle.push(decoder);
        }
    }
}

async fn decompress_with(
    decoder: &mut Decompress,
    stream: &[u8],
    body: &mut Vec<u8>,
    most: usize,
) -> Result<(), GzipError> {
    let mut rest = stream;
    let mut since_yield = 0;
    loop {
        rest = after_header(rest)?;
        let begin = body.len();
        let mut checksum = crc32fast::Hasher::new();
        decoder.reset(false);
        loop {
            let (before, left) = (body.len(), rest.len());
            // One more byte than allowed tells a body that is too large from one that fits exactly.
            let room = expected_size(stream).saturating_sub(before);
            let room = room.clamp(ROOM.0, ROOM.1).min(most - before + 1);
            let status = step(decoder, &mut rest, body, room);
            if body.len() > most {
                body.truncate(most);
                return Err(GzipError::TooLarge);
            }
            checksum.update(&body[before..]);
            if status? == Status::StreamEnd {
                break;
            }
            since_yield += body.len() - before + left - rest.len();
            if since_yield > YIELD_AFTER {
                since_yield = 0;
                yield_now().await;
            }
        }
        rest = after_trailer(rest, checksum, body.len() - begin)?;
        if rest.is_empty() {
            return Ok(());
        }
        yield_now().await;
    }
}

/// Decompresses the beginning of `rest`, and appends at most `room` bytes to `body`.
///
/// It is an error if the decoder neither reads nor produces anything.
fn step(
    decoder: &mut Decompress,
    rest: &mut &[u8],
    body: &mut Vec<u8>,
    room: usize,
) -> Result<Status, GzipError> {
    let (consumed, produced, begin) = (decoder.total_in(), decoder.total_out(), body.len());
    body.resize(begin + room, 0);
    let input = &rest[..rest.len().min(MAX_INPUT)];
    let status = decoder.decompress(input, &mut body[begin..], FlushDecompress::None);
    // Both are at most the length of a slice.
    let consumed = usize::try_from(decoder.total_in() - consumed).unwrap_or_default();
    let produced = usize::try_from(decoder.total_out() - produced).unwrap_or_default();
    body.truncate(begin + produced);
    *rest = &rest[consumed..];
    match status {
        Ok(Status::StreamEnd) => Ok(Status::StreamEnd),
        Ok(_) if consumed == 0 && produced == 0 => Err(GzipError::Incomplete),
        Ok(status) => Ok(status),
        Err(_) => Err(GzipError::NotGzip),
    }
}

/// Replaces the window of a decoder by zeros; returns `None` if that fails.
fn overwrite_window(decoder: &mut Decompress) -> Option<()> {
    decoder.reset(false);
    let mut scratch = [0; 8 * 1024];
    let mut zeros = &ZEROS[..];
    while decoder.total_out() < WINDOW as u64 {
        let consumed = decoder.total_in();
        let status = decoder.decompress(zeros, &mut scratch, FlushDecompress::None);
        status.ok().filter(|status| *status == Status::Ok)?;
        zeros = zeros.get(usize::try_from(decoder.total_in() - consumed).ok()?..)?;
    }
    Some(())
}

/// Returns the size of the last member, which a stream ends with; 0 if it is not known.
///
/// Anything may stand there, so this is only a hint.
fn expected_size(stream: &[u8]) -> usize {
    let size = stream.last_chunk().map(|size| u32::from_le_bytes(*size));
    size.and_then(|size| usize::try_from(size).ok())
        .unwrap_or_default()
}

/// Returns what follows the header of a member (RFC 1952, 2.3).
fn after_header(member: &[u8]) -> Result<&[u8], GzipError> {
    let magic = &[0x1f, 0x8b, 8][..];
    if !member.starts_with(magic) && !magic.starts_with(member) {
        return Err(GzipError::NotGzip);
    }
    let (fixed, mut rest) = split(member, 10)?;
    let flags = fixed[3];
    if flags & RESERVED != 0 {
        return Err(GzipError::NotGzip);
    }
    if flags & EXTRA != 0 {
        let (length, after) = split(rest, 2)?;
        let length = u16::from_le_bytes([length[0], length[1]]);
        rest = split(after, length.into())?.1;
    }
    for text in [FILE_NAME, COMMENT] {
        if flags & text != 0 {
            let text = &rest[..rest.len().min(MAX_HEADER_TEXT)];
            let end = text.iter().position(|byte| *byte == 0);
            rest = match end {
                Some(end) => &rest[end + 1..],
                None if text.len() < MAX_HEADER_TEXT => return Err(GzipError::Incomplete),
                None => return Err(GzipError::NotGzip),
            };
        }
    }
    if flags & HEADER_CHECKSUM != 0 {
        let header = &member[..member.len() - rest.len()];
        let (sum, after) = split(rest, 2)?;
        let [low, high, ..] = crc32fast::hash(header).to_le_bytes();
        if sum != [low, high] {
            return Err(GzipError::Incomplete);
        }
        rest = after;
    }
    Ok(rest)
}

/// Checks the trailer of a member whose text has this checksum and size, and returns what follows.
fn after_trailer(
    trailer: &[u8],
    checksum: crc32fast::Hasher,
    size: usize,
) -> Result<&[u8], GzipError> {
    let (trailer, rest) = split(trailer, 8)?;
    // The trailer has the size modulo 2^32.
    #[expect(clippy::cast_possible_truncation)]
    let expected = [checksum.finalize(), size as u32].map(u32::to_le_bytes);
    if trailer == expected.as_flattened() {
        Ok(rest)
    } else {
        Err(GzipError::Incomplete)
    }
}

fn split(bytes: &[u8], at: usize) -> Result<(&[u8], &[u8]), GzipError> {
    bytes.split_at_checked(at).ok_or(GzipError::Incomplete)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::Command;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use flate2::GzBuilder;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    fn decompressed(stream: &[u8], most: usize) -> (Vec<u8>, Result<(), GzipError>) {
        decompressed_by(&DECODERS, stream, most)
    }

    fn decompressed_by(
        decoders: &Decoders,
        stream: &[u8],
        most: usize,
    ) -> (Vec<u8>, Result<(), GzipError>) {
        let mut body = Vec::new();
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let result = runtime
            .unwrap()
            .block_on(decoders.decompress(stream, &mut body, most));
        (body, result)
    }

    fn member(text: &[u8], level: u32, name: Option<&str>) -> Vec<u8> {
        let mut builder = GzBuilder::new();
        if let Some(name) = name {
            builder = builder.filename(name).comment(name).extra(name);
        }
        let mut encoder: GzEncoder<_> = builder.write(Vec::new(), Compression::new(level));
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn each_field_of_a_header_is_read_and_its_checksum_is_checked() {
        // The header names a file, and has a checksum.
        let head = [0x1f, 0x8b, 8, 0b1010, 1, 2, 3, 4, 0, 3, b'h', 0];
        let whole = member(b"hello", 6, None);
        let [low, high, ..] = crc32fast::hash(&head).to_le_bytes();
        let named = [&head[..], &[low, high], &whole[10..]].concat();
        assert_eq!(decompressed(&named, 100), (b"hello".to_vec(), Ok(())));
        let wrong = [&head[..], &[low, !high], &whole[10..]].concat();
        assert_eq!(
            decompressed(&wrong, 100),
            (vec![], Err(GzipError::Incomplete))
        );
        let mut reserved = whole.clone();
        reserved[3] = 1 << 5;
        assert_eq!(
            decompressed(&reserved, 100),
            (vec![], Err(GzipError::NotGzip))
        );
    }

    #[test]
    fn the_text_of_a_header_has_a_limit() {
        let head = [0x1f, 0x8b, 8, FILE_NAME, 0, 0, 0, 0, 0, 3];
        for (length, expected) in [
            (MAX_HEADER_TEXT - 1, Ok(())),
            (MAX_HEADER_TEXT, Err(GzipError::NotGzip)),
        ] {
            let name = [vec![b'n'; length], vec![0]].concat();
            let stream = [&head[..], &name, &member(b"text", 6, None)[10..]].concat();
            assert_eq!(decompressed(&stream, 100).1, expected, "{length}");
        }
    }

    #[test]
    fn a_decoder_is_used_again_after_an_error() {
        let decoders = Decoders {
            idle: Mutex::default(),
        };
        let text: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        let whole = member(&text, 6, None);
        let half = &whole[..whole.len() / 2];
        let (body, result) = decompressed_by(&decoders, half, text.len());
        assert_eq!(result, Err(GzipError::Incomplete));
        assert!(!body.is_empty() && text.starts_with(&body));
        let first = decoders.idle.lock().len();
        let (body, result) = decompressed_by(&decoders, &whole, text.len());
        assert!(result == Ok(()) && body == text);
        assert_eq!((first, decoders.idle.lock().len()), (1, 1));
    }

    #[tokio::test]
    async fn blocks_and_members_that_are_empty_do_not_hold_the_loop() {
        let empty = member(b"", 6, None);
        // A stored block of length 0.
        let blocks = [0, 0, 0, 0xff, 0xff].repeat(400_000);
        let blocks = [&empty[..10], &blocks, &empty[10..]].concat();
        for (stream, least) in [(blocks, 6), (empty.repeat(1000), 999)] {
            let turns = Arc::new(AtomicUsize::new(0));
            let count = turns.clone();
            let other = tokio::spawn(async move {
                loop {
                    count.fetch_add(1, Ordering::Relaxed);
                    yield_now().await;
                }
            });
            let mut body = Vec::new();
            let result = DECODERS.decompress(&stream, &mut body, 100).await;
            other.abort();
            assert_eq!((result, body.len()), (Ok(()), 0));
            let turns = turns.load(Ordering::Relaxed);
            assert!(turns >= least, "others had {turns} turns");
        }
    }

    #[test]
    #[ignore = "needs gzip: make test"]
    fn what_gzip_writes_is_read() {
        let text = "a listing, ".repeat(20_000);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        for flag in ["-1", "-6", "-9", "-n"] {
            let mut gzip = Command::new("gzip");
            let written = gzip.args(["-c", flag]).arg(file.path()).output();
            let stream = written.unwrap().stdout;
            let twice = [&stream[..], &stream].concat();
            for (stream, times) in [(stream, 1), (twice, 2)] {
                let (body, result) = decompressed(&stream, 1 << 20);
                assert_eq!(result, Ok(()), "{flag}");
                assert!(body == text.repeat(times).as_bytes(), "{flag}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_stream_of_members_is_read_whole_and_no_cut_of_it(
            texts in prop::collection::vec(
                (prop::collection::vec(0_u8..4, 0..40_000), 0_u32..10, any::<bool>()),
                1..4,
            ),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut stream = Vec::new();
            let mut ends = Vec::new();
            for (text, level, named) in &texts {
                stream.extend(member(text, *level, named.then_some("a name")));
                ends.push(stream.len());
            }
            let whole: Vec<u8> = texts.iter().flat_map(|(text, ..)| text.clone()).collect();
            prop_assert_eq!(decompressed(&stream, whole.len()), (whole.clone(), Ok(())));
            let cut = cut.index(stream.len());
            let (body, result) = decompressed(&stream[..cut], whole.len());
            prop_assert!(whole.starts_with(&body));
            prop_assert_eq!(result.is_ok(), ends.contains(&cut));
            if let Some(most) = whole.len().checked_sub(1) {
                let (body, result) = decompressed(&stream, most);
                prop_assert_eq!(result, Err(GzipError::TooLarge));
                prop_assert!(body == whole[..most]);
            }
        }

        #[test]
        fn any_bytes_are_gzip_or_an_error(
            bytes in prop::collection::vec(any::<u8>(), 0..500),
            flags in any::<u8>(),
        ) {
            let stream = [&[0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 0][..], &bytes].concat();
            let (body, _) = decompressed(&stream, 1000);
            prop_assert!(body.len() <= 1000);
            let (body, _) = decompressed(&bytes, 1000);
            prop_assert!(body.len() <= 1000);
        }
    }
}
