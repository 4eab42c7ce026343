//! Responses: status, headers, and a body in chunks.

use std::convert::Infallible;
use std::io::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body::{Frame, SizeHint};

use super::client_connection::Answering;
use super::slots::Slot;
use crate::exposition::{Encoding, Page, Pieces};
use crate::web::status::POLICY;

/// Response of this server.
pub(super) type HttpResponse = Response<ResponseBody>;

/// Maximum size of a chunk, in bytes.
///
/// hyper takes a whole chunk as soon as the client accepts one byte, and the last chunk releases
/// the response's slot. Small chunks limit what can wait in hyper after that.
const PIECE: usize = 16 * 1024;

/// Number of bytes at the end of a body that are copied.
///
/// They may stay in a connection's buffers after the response has released its slot. As slices of
/// the cached page, they would keep the whole page in memory.
const TAIL: u64 = 64 * 1024;

/// Body whose chunks are already in memory.
#[derive(Debug, Default)]
pub(super) struct ResponseBody {
    pieces: Pieces,
    left: u64,
    /// Moved to `answering` by `send`.
    slot: Option<Slot>,
    /// Finished once hyper takes the last chunk.
    answering: Option<Answering>,
}

impl ResponseBody {
    /// Tracks the response until hyper takes its last chunk.
    pub(super) fn send(&mut self, mut answering: Answering) {
        if let Some(slot) = self.slot.take() {
            answering.hold(slot);
        }
        self.answering = Some(answering);
        self.finish_if_empty();
    }

    fn finish_if_empty(&mut self) {
        if self.left == 0
            && let Some(answering) = self.answering.take()
        {
            answering.finish();
        }
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(mut piece) = self.pieces.next(PIECE) else {
            return Poll::Ready(None);
        };
        if self.left <= TAIL {
            piece = Bytes::copy_from_slice(&piece);
        }
        self.left -= piece.len() as u64;
        if let Some(answering) = &self.answering {
            answering.progress();
        }
        self.finish_if_empty();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

fn answer(status: StatusCode, content_type: HeaderValue, body: ResponseBody) -> HttpResponse {
    let length = http_body::Body::size_hint(&body).lower();
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::CONTENT_LENGTH, length.into());
    answer
}

fn whole(text: impl Into<Bytes>) -> ResponseBody {
    let chunk = text.into();
    ResponseBody {
        left: chunk.len() as u64,
        pieces: chunk.into(),
        slot: None,
        answering: None,
    }
}

/// Creates a plain-text response.
pub(super) fn text(status: StatusCode, sentence: impl Into<Bytes>) -> HttpResponse {
    let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
    answer(status, content_type, whole(sentence))
}

/// Creates the response to `OPTIONS *`: the methods of the whole server.
pub(super) fn options() -> HttpResponse {
    let mut answer = text(StatusCode::OK, Bytes::new());
    let methods = HeaderValue::from_static("GET, HEAD, POST, PUT, OPTIONS");
    answer.headers_mut().insert(header::ALLOW, methods);
    answer
}

/// Creates a 405 response that lists the allowed methods.
pub(super) fn not_allowed(allowed: &[Method]) -> HttpResponse {
    let names: Vec<_> = allowed.iter().map(Method::as_str).collect();
    let mut answer = text(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("Only {} are answered here.\n", names.join(" and ")),
    );
    if let Ok(names) = HeaderValue::from_str(&names.join(", ")) {
        answer.headers_mut().insert(header::ALLOW, names);
    }
    answer
}

/// Returns host and port of a request, as the client wrote them.
///
/// HTTP/2 sends them in the request target, HTTP/1.1 in the `Host` header.
pub(super) fn asked<B>(request: &Request<B>) -> Option<&[u8]> {
    let target = request.uri().authority();
    let target = target.map(|asked| asked.as_str().as_bytes());
    let header = || request.headers().get(header::HOST);
    target.or_else(|| header().map(HeaderValue::as_bytes))
}

/// Whether a browser sent the request from a page of another origin.
///
/// An origin is another one if it does not match the host and port of the request.
pub(super) fn is_from_elsewhere<B>(request: &Request<B>) -> bool {
    let (headers, host) = (request.headers(), asked(request));
    let ours = |origin: &HeaderValue| {
        let origin = origin.as_bytes();
        let origin = [&b"http://"[..], b"https://"]
            .iter()
            .find_map(|scheme| origin.strip_prefix(*scheme));
        origin.is_some() && origin == host
    };
    !headers.get_all(header::ORIGIN).iter().all(ours)
}

/// Creates a response from text that was rendered for it.
fn made(text: String, content_type: &'static str, encoding: Encoding, slot: Slot) -> HttpResponse {
    let bytes = match encoding {
        Encoding::Plain => text.into(),
        Encoding::Gzip => gzip(text.as_bytes()),
    };
    let body = ResponseBody {
        slot: Some(slot),
        ..whole(bytes)
    };
    let content_type = HeaderValue::from_static(content_type);
    encoded(answer(StatusCode::OK, content_type, body), encoding)
}

/// Creates the response of HTTP service discovery.
pub(super) fn json(json: String, encoding: Encoding, slot: Slot) -> HttpResponse {
    made(json, "application/json; charset=utf-8", encoding, slot)
}

/// Creates the response with the status page.
///
/// The page is never cached, loads nothing, and cannot be framed.
pub(super) fn html(html: String, encoding: Encoding, slot: Slot) -> HttpResponse {
    let mut answer = made(html, "text/html; charset=utf-8", encoding, slot);
    let headers = answer.headers_mut();
    // Never fails: the policy consists of hashes and keywords.
    if let Ok(policy) = HeaderValue::from_str(&POLICY) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// Compresses to one gzip member at the fastest level, because the result is sent only once.
fn gzip(text: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 8), Compression::fast());
    // Writing to a `Vec` cannot fail.
    let _ = encoder.write_all(text);
    encoder.finish().unwrap_or_default().into()
}

/// Creates the response with the metrics page.
pub(super) fn page(
    page: Page,
    content_type: HeaderValue,
    encoding: Encoding,
    slot: Slot,
) -> HttpResponse {
    let body = ResponseBody {
        left: page.bytes,
        pieces: page.into_pieces(),
        slot: Some(slot),
        answering: None,
    };
    let mut answer = encoded(answer(StatusCode::OK, content_type, body), encoding);
    let vary = HeaderValue::from_static("Accept, Accept-Encoding");
    answer.headers_mut().insert(header::VARY, vary);
    answer
}

/// Sets the headers of the content encoding.
fn encoded(mut answer: HttpResponse, encoding: Encoding) -> HttpResponse {
    let headers = answer.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    if encoding == Encoding::Gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    answer
}

/// Returns the response to HEAD: the headers of the response to GET, without the body.
pub(super) fn without_body(answer: HttpResponse) -> HttpResponse {
    answer.map(|_| ResponseBody::default())
}

#[cfg(test)]
mod tests {
    use http_body::Body as _;
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_long_body_comes_in_short_pieces() {
        let text = "0123456789".repeat(PIECE / 4);
        let answer = super::text(StatusCode::OK, text.clone());
        let mut body = answer.into_body();
        let mut taken = Vec::new();
        while let Some(frame) = body.frame().await {
            let piece = frame.unwrap().into_data().unwrap();
            assert!((1..=PIECE).contains(&piece.len()));
            taken.extend_from_slice(&piece);
            assert_eq!(
                body.size_hint().exact(),
                Some((text.len() - taken.len()) as u64)
            );
        }
        assert!(taken == text.as_bytes() && body.is_end_stream());
    }

    #[test]
    fn a_page_of_ours_may_ask_and_no_other() {
        let asked = |uri: &str, host: Option<&str>, origin: Option<&str>| {
            let mut request = Request::builder().method(Method::POST).uri(uri);
            for (name, value) in [(header::HOST, host), (header::ORIGIN, origin)] {
                if let Some(value) = value {
                    request = request.header(name, value);
                }
            }
            !is_from_elsewhere(&request.body(()).unwrap())
        };
        let (ours, path) = (Some("https://a.test:9932"), "/-/reload");
        assert!(asked(path, Some("a.test:9932"), None));
        assert!(asked(path, Some("a.test:9932"), ours));
        // The authority in the target, as in HTTP/2.
        assert!(asked("https://a.test:9932/-/reload", None, ours));
        for origin in ["https://b.test:9932", "https://a.test", "null", ""] {
            assert!(!asked(path, Some("a.test:9932"), Some(origin)), "{origin}");
        }
        assert!(!asked("https://b.test/-/reload", Some("a.test:9932"), ours));
        assert!(!asked(path, None, ours));
    }
}
