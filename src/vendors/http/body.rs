//! Response bodies: read up to a maximum size, and decompressed.

use std::io::{self, Write};

use http::{HeaderMap, header};
use reqwest::Response;

use super::TransportError;
use super::gzip::{DECODERS, GzipError};
use crate::model::error::Reason;
use crate::sanitize::harmless;

const NO_GZIP: &str = "the answer is not the gzip that it says it is";
const NOT_WHOLE: &str = "the answer's gzip is broken or ends too early";

/// Appends the response body to `body`, up to `most` bytes.
///
/// After a failure, `body` has everything that was received before it.
pub(super) async fn read(
    response: &mut Response,
    body: &mut Vec<u8>,
    most: usize,
) -> Result<(), TransportError> {
    let coding = Coding::of(response.headers())?;
    let body = Capped { body, most };
    match coding {
        Coding::Identity => plain(response, body).await,
        Coding::Gzip => gzip(response, body).await,
    }
}

async fn plain(response: &mut Response, mut body: Capped<'_>) -> Result<(), TransportError> {
    while let Some(chunk) = chunk(response).await? {
        body.write_all(&chunk).map_err(|_| body.too_large())?;
    }
    Ok(())
}

/// Receives the whole stream, and then decompresses it.
async fn gzip(response: &mut Response, body: Capped<'_>) -> Result<(), TransportError> {
    let mut stream = Vec::new();
    let compressed = Capped {
        body: &mut stream,
        most: body.most,
    };
    let received = plain(response, compressed).await;
    let decompressed = DECODERS.decompress(&stream, body.body, body.most).await;
    received?;
    decompressed.map_err(|error| match error {
        GzipError::TooLarge => body.too_large(),
        GzipError::NotGzip => TransportError::new(Reason::Decode, NO_GZIP),
        GzipError::Incomplete => TransportError::new(Reason::Decode, NOT_WHOLE),
    })
}

async fn chunk(response: &mut Response) -> Result<Option<bytes::Bytes>, TransportError> {
    response
        .chunk()
        .await
        .map_err(|error| TransportError::from(&error))
}

/// Content coding of a body: none, or the one that the request accepts.
#[derive(Debug, PartialEq, Eq)]
enum Coding {
    Identity,
    Gzip,
}

impl Coding {
    /// Reads the content coding, and fails if `Accept-Encoding` did not ask for it.
    fn of(headers: &HeaderMap) -> Result<Self, TransportError> {
        let values = headers.get_all(header::CONTENT_ENCODING);
        let codings: Vec<_> = values
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .map(|coding| coding.trim_ascii().to_ascii_lowercase())
            .filter(|coding| !coding.is_empty() && coding != b"identity")
            .collect();
        match codings.as_slice() {
            [] => Ok(Self::Identity),
            [coding] if coding == b"gzip" || coding == b"x-gzip" => Ok(Self::Gzip),
            others => {
                let names: Vec<_> = others
                    .iter()
                    .map(|name| std::str::from_utf8(name).ok().and_then(harmless))
                    .map(|name| name.unwrap_or_else(|| "an unreadable name".to_owned()))
                    .take(4)
                    .collect();
                let detail = format!(
                    "the answer has the Content-Encoding {}, and only gzip was asked for",
                    names.join(", ")
                );
                Err(TransportError::new(Reason::Decode, detail))
            }
        }
    }
}

/// Writer that appends to `body`, and fails once `body` has `most` bytes.
#[derive(Debug)]
struct Capped<'a> {
    body: &'a mut Vec<u8>,
    most: usize,
}

impl Capped<'_> {
    fn too_large(&self) -> TransportError {
        let detail = format!("the answer is larger than {} bytes", self.most);
        TransportError::new(Reason::TooLarge, detail)
    }
}

impl Write for Capped<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.most - self.body.len();
        if room == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let taken = bytes.len().min(room);
        self.body.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tokio::task::yield_now;

    use super::*;

    fn zipped(text: &[u8]) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(text).unwrap();
        gzip.finish().unwrap()
    }

    async fn body_of(
        encoding: &[&str],
        body: Vec<u8>,
        most: usize,
    ) -> (Vec<u8>, Option<TransportError>) {
        let mut response = http::Response::builder();
        for value in encoding {
            response = response.header("content-encoding", *value);
        }
        let mut response = Response::from(response.body(body).unwrap());
        let mut body = Vec::new();
        let result = read(&mut response, &mut body, most).await;
        (body, result.err())
    }

    #[tokio::test]
    async fn gzip_of_several_members_is_read_whole_however_its_name_is_written() {
        let two = [zipped(b"one, "), zipped(b"two")].concat();
        for name in ["gzip", "GZIP", "x-gzip", " Gzip ", "identity, gzip"] {
            let (body, failure) = body_of(&[name], two.clone(), 100).await;
            assert!(failure.is_none(), "{name}: {failure:?}");
            assert_eq!(body, b"one, two", "{name}");
        }
        let (body, failure) = body_of(&["identity"], b"plain".to_vec(), 100).await;
        assert!(failure.is_none() && body == b"plain");
    }

    #[tokio::test]
    async fn an_encoding_that_was_not_asked_for_is_named() {
        for (given, named) in [
            (&["br"][..], "br"),
            (&["Deflate"], "deflate"),
            (&["zstd"], "zstd"),
            (&["gzip, gzip"], "gzip, gzip"),
            (&["gzip", "br"], "gzip, br"),
            (&["<script>"], "an unreadable name"),
        ] {
            let (_, failure) = body_of(given, b"x".to_vec(), 100).await;
            let failure = failure.unwrap();
            assert_eq!(failure.reason, Reason::Decode);
            assert!(failure.detail.contains(named), "{}", failure.detail);
        }
    }

    #[tokio::test]
    async fn what_is_larger_than_the_cap_is_kept_up_to_it() {
        let text = vec![b'a'; 1 << 20];
        for (encoding, body) in [(&[][..], text.clone()), (&["gzip"], zipped(&text))] {
            let (body, failure) = body_of(encoding, body, 1000).await;
            assert_eq!(failure.unwrap().reason, Reason::TooLarge);
            assert!(body == text[..1000]);
        }
        let (body, failure) = body_of(&["gzip"], zipped(&text), text.len()).await;
        assert!(
            failure.is_none() && body == text,
            "and exactly the cap is not"
        );
    }

    #[tokio::test]
    async fn gzip_that_is_broken_or_ends_early_says_so() {
        let whole = zipped(b"some text that is long enough to be cut");
        let mut wrong = whole.clone();
        let crc = wrong.len() - 8;
        wrong[crc] ^= 1;
        let cut = [0, 5, 12, whole.len() - 1].map(|cut| whole[..cut].to_vec());
        for body in cut.into_iter().chain([wrong]) {
            let (_, failure) = body_of(&["gzip"], body.clone(), 100).await;
            assert_eq!(failure.unwrap().detail, NOT_WHOLE, "{} bytes", body.len());
        }
        let plain = b"{\"plain\": 1, \"and\": \"long\"}".to_vec();
        let (_, failure) = body_of(&["gzip"], plain, 100).await;
        assert_eq!(failure.unwrap().detail, NO_GZIP);
    }

    /// Other tasks run during decompression.
    #[tokio::test]
    async fn a_bomb_does_not_hold_the_loop() {
        let bomb = zipped(&vec![0; 16 << 20]);
        let turns = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
        let count = turns.clone();
        let other = tokio::spawn(async move {
            loop {
                count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                yield_now().await;
            }
        });
        let (_, failure) = body_of(&["gzip"], bomb, 8 << 20).await;
        other.abort();
        assert_eq!(failure.unwrap().reason, Reason::TooLarge);
        let turns = turns.load(std::sync::atomic::Ordering::Relaxed);
        assert!(turns >= 8, "others had {turns} turns");
    }
}
