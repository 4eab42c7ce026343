//! What is sent back: a status, headers, and a body in pieces.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body::{Frame, SizeHint};

use super::client_connection::Answering;
use super::slots::Slot;
use crate::exposition::{Encoding, Page};
use crate::web::status::POLICY;

/// An answer.
pub(super) type HttpResponse = Response<ResponseBody>;

/// The longest piece of a body. hyper takes a piece over as soon as the client has room for a byte of it, and with the
/// last one the answer is done for us: no more than a piece may wait in its hands beyond our limits.
const PIECE: usize = 16 * 1024;

/// How much of a body's end is copied. It may lie in the buffers of a connection after the place of the answer was given
/// back; as a part of the page it would keep the whole page in memory.
const TAIL: u64 = 64 * 1024;

/// A body in pieces that are already there.
#[derive(Debug, Default)]
pub(super) struct ResponseBody {
    chunks: VecDeque<Bytes>,
    left: u64,
    /// Taken over by `answering`.
    place: Option<Slot>,
    /// Over once the last piece is on its way.
    answering: Option<Answering>,
}

impl ResponseBody {
    /// From here on the answer is under way until its last piece is.
    pub(super) fn send(&mut self, mut answering: Answering) {
        if let Some(place) = self.place.take() {
            answering.hold(place);
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
        let Some(mut piece) = self.chunks.pop_front() else {
            return Poll::Ready(None);
        };
        if piece.len() > PIECE {
            let rest = piece.split_off(PIECE);
            self.chunks.push_front(rest);
        }
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
        self.chunks.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

fn answer(status: StatusCode, content_type: &'static str, body: ResponseBody) -> HttpResponse {
    let length = http_body::Body::size_hint(&body).lower();
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
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
        chunks: [chunk].into(),
        place: None,
        answering: None,
    }
}

/// A sentence.
pub(super) fn text(status: StatusCode, sentence: impl Into<Bytes>) -> HttpResponse {
    answer(status, "text/plain; charset=utf-8", whole(sentence))
}

/// The answer to `OPTIONS *`: what this server can do at all.
pub(super) fn options() -> HttpResponse {
    let mut answer = text(StatusCode::OK, Bytes::new());
    let methods = HeaderValue::from_static("GET, HEAD, POST, PUT, OPTIONS");
    answer.headers_mut().insert(header::ALLOW, methods);
    answer
}

/// The answer to a method that is not one of these.
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

/// Host and port that were asked, as the client names them. HTTP/2 does so in the request's target.
pub(super) fn asked<B>(request: &Request<B>) -> Option<&[u8]> {
    let target = request.uri().authority();
    let target = target.map(|asked| asked.as_str().as_bytes());
    let header = || request.headers().get(header::HOST);
    target.or_else(|| header().map(HeaderValue::as_bytes))
}

/// Whether a browser asks on behalf of a page that is not ours: its origin has another host than was asked.
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

/// A text that was made for this answer.
fn made(text: String, content_type: &'static str, encoding: Encoding, place: Slot) -> HttpResponse {
    let bytes = match encoding {
        Encoding::Plain => text.into(),
        Encoding::Gzip => gzip(text.as_bytes()),
    };
    let body = ResponseBody {
        place: Some(place),
        ..whole(bytes)
    };
    encoded(answer(StatusCode::OK, content_type, body), encoding)
}

/// What Prometheus is to scrape.
pub(super) fn json(json: String, encoding: Encoding, place: Slot) -> HttpResponse {
    made(json, "application/json; charset=utf-8", encoding, place)
}

/// The status page. It is as of now, loads nothing, and is framed by nobody.
pub(super) fn html(html: String, encoding: Encoding, place: Slot) -> HttpResponse {
    let mut answer = made(html, "text/html; charset=utf-8", encoding, place);
    let headers = answer.headers_mut();
    // Hashes and words, which a header may hold.
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

/// One gzip member, made fast: it is sent once.
fn gzip(text: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 8), Compression::fast());
    // A Vec takes whatever is written to it.
    let _ = encoder.write_all(text);
    encoder.finish().unwrap_or_default().into()
}

/// The metrics.
pub(super) fn page(page: Page, encoding: Encoding, place: Slot) -> HttpResponse {
    let body = ResponseBody {
        chunks: page.chunks,
        left: page.bytes,
        place: Some(place),
        answering: None,
    };
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    encoded(answer(StatusCode::OK, content_type, body), encoding)
}

/// Says how the answer is encoded.
fn encoded(mut answer: HttpResponse, encoding: Encoding) -> HttpResponse {
    let headers = answer.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    if encoding == Encoding::Gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    answer
}

/// The encoding in which the client wants its answer.
pub(super) fn encoding(headers: &HeaderMap) -> Encoding {
    if accepts_gzip(headers) {
        Encoding::Gzip
    } else {
        Encoding::Plain
    }
}

/// The answer to a HEAD: the headers of the answer to a GET, and nothing after them.
pub(super) fn without_body(answer: HttpResponse) -> HttpResponse {
    answer.map(|_| ResponseBody::default())
}

/// Whether `Accept-Encoding` names gzip, or anything, and not with a weight of 0 (RFC 9110, 12.5.3).
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let mut any = false;
    for item in headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
    {
        let mut parts = item.split(';').map(str::trim);
        let coding = parts.next().unwrap_or_default();
        let weight =
            parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let wanted = weight
            .and_then(|q| q.parse::<f32>().ok())
            .is_none_or(|q| q > 0.0);
        match coding {
            gzip if gzip.eq_ignore_ascii_case("gzip") || gzip.eq_ignore_ascii_case("x-gzip") => {
                return wanted;
            }
            "*" => any = wanted,
            _ => {}
        }
    }
    any
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
        // As over HTTP/2.
        assert!(asked("https://a.test:9932/-/reload", None, ours));
        for origin in ["https://b.test:9932", "https://a.test", "null", ""] {
            assert!(!asked(path, Some("a.test:9932"), Some(origin)), "{origin}");
        }
        assert!(!asked("https://b.test/-/reload", Some("a.test:9932"), ours));
        assert!(!asked(path, None, ours));
    }

    #[test]
    fn gzip_is_sent_only_to_those_who_take_it() {
        for (value, gzip) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("*", true),
            ("gzip;q=0", false),
            ("gzip; q=0.000, *", false),
            ("*;q=0", false),
            ("identity", false),
            ("", false),
        ] {
            let headers = [(
                header::ACCEPT_ENCODING,
                HeaderValue::from_str(value).unwrap(),
            )]
            .into_iter()
            .collect();
            assert_eq!(accepts_gzip(&headers), gzip, "{value:?}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
