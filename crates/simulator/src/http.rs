//! HTTP server of the simulator: complete responses, and broken ones for faults.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::{Compress, Compression, Crc, FlushCompress, Status};
use futures_util::stream;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use socket2::Socket;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::Simulator;

/// Body size in bytes above which Zuora compresses (vendor's reference, `Accept-Encoding`).
const COMPRESS_FROM: usize = 1000;

/// Request with its complete body.
pub(super) struct VendorRequest {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl From<Request<Bytes>> for VendorRequest {
    fn from(request: Request<Bytes>) -> Self {
        let (head, body) = request.into_parts();
        let query = head.uri.query().unwrap_or_default();
        Self {
            path: head.uri.path().to_owned(),
            query: serde_urlencoded::from_str(query).unwrap_or_default(),
            method: head.method,
            headers: head.headers,
            body,
        }
    }
}

impl VendorRequest {
    pub(super) fn query(&self, key: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(super) fn bearer(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }
}

/// How a response is sent.
pub(super) enum Manner {
    Normal,
    Hang,
    Reset,
    Drip,
    Truncate,
}

/// Response of the simulator.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: Vec<(&'static str, String)>,
    /// Further headers, whose names come from a report.
    pub(super) named: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    pub(super) manner: Manner,
}

impl Reply {
    fn new(status: StatusCode, content_type: &str, body: Vec<u8>) -> Self {
        Self {
            status,
            headers: vec![("content-type", content_type.to_owned())],
            named: Vec::new(),
            body,
            manner: Manner::Normal,
        }
    }

    pub(super) fn json(status: StatusCode, body: &Value) -> Self {
        Self::new(
            status,
            "application/json; charset=utf-8",
            body.to_string().into_bytes(),
        )
    }

    pub(super) fn text(status: StatusCode, body: &str) -> Self {
        Self::new(status, "text/plain", body.as_bytes().to_vec())
    }

    pub(super) fn html(status: StatusCode, body: &str) -> Self {
        Self::new(status, "text/html", body.as_bytes().to_vec())
    }

    pub(super) fn header(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    fn compress(&mut self) {
        self.body = gzip(&self.body);
        self.headers.push(("content-encoding", "gzip".to_owned()));
    }
}

thread_local! {
    /// Compressor, which is kept. glibc before 2.38 often does not reuse aligned memory: with a new
    /// compressor for each response, a process that also polls grew by 300 KiB per response.
    static DEFLATER: RefCell<Compress> = RefCell::new(Compress::new(Compression::fast(), false));
}

/// Compresses to one gzip member.
fn gzip(text: &[u8]) -> Vec<u8> {
    // RFC 1952: deflate, no flags, no time, unknown operating system.
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    DEFLATER.with_borrow_mut(|deflater| {
        deflater.reset();
        loop {
            out.reserve(text.len() / 4 + 64);
            let read = usize::try_from(deflater.total_in()).unwrap_or(usize::MAX);
            match deflater.compress_vec(&text[read..], &mut out, FlushCompress::Finish) {
                Ok(Status::StreamEnd) | Err(_) => break,
                Ok(Status::Ok | Status::BufError) => {}
            }
        }
    });
    let mut crc = Crc::new();
    crc.update(text);
    out.extend(crc.sum().to_le_bytes());
    out.extend(crc.amount().to_le_bytes());
    out
}

/// Serves connections until the future is dropped.
pub(super) async fn serve(simulator: Arc<Simulator>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) if peer.ip().to_canonical().is_loopback() => {
                connections.spawn(connection(simulator.clone(), stream));
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the simulator could not accept a connection"),
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(simulator: Arc<Simulator>, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    // A second handle of the socket, which can reset the connection instead of closing it.
    let Ok(Ok(socket)) = stream.into_std().map(|stream| {
        stream
            .try_clone()
            .map(|clone| (stream, Socket::from(clone)))
    }) else {
        return;
    };
    let (stream, socket) = (TcpStream::from_std(socket.0), Arc::new(socket.1));
    let Ok(stream) = stream else { return };
    let service = service_fn(move |request| handle(simulator.clone(), socket.clone(), request));
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

type Body = BoxBody<Bytes, io::Error>;

async fn handle(
    simulator: Arc<Simulator>,
    socket: Arc<Socket>,
    request: Request<Incoming>,
) -> io::Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let asked = VendorRequest::from(Request::from_parts(head, body));
    let mut reply = simulator.answer(&asked);
    if reply.body.len() > COMPRESS_FROM
        && asked
            .header("accept-encoding")
            .is_some_and(|codings| codings.contains("gzip"))
    {
        reply.compress();
    }
    let length = reply.body.len();
    let broken = || io::Error::other("broken off on purpose");
    let body: Body = match reply.manner {
        Manner::Normal => Full::from(reply.body)
            .map_err(|never: Infallible| match never {})
            .boxed(),
        Manner::Hang => return std::future::pending().await,
        Manner::Reset => {
            socket.set_linger(Some(Duration::ZERO))?;
            return Err(broken());
        }
        Manner::Drip => {
            let bytes = stream::unfold(reply.body.into_iter(), async |mut rest| {
                tokio::time::sleep(Duration::from_millis(100)).await;
                let byte = rest.next()?;
                Some((Ok(Frame::data(Bytes::copy_from_slice(&[byte]))), rest))
            });
            BodyExt::boxed(StreamBody::new(bytes))
        }
        Manner::Truncate => {
            let half = Bytes::from(reply.body).slice(..length / 2);
            BodyExt::boxed(StreamBody::new(stream::iter([
                Ok(Frame::data(half)),
                Err(broken()),
            ])))
        }
    };
    let mut response = Response::builder()
        .status(reply.status)
        .header(header::CONTENT_LENGTH, length);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    for (name, value) in reply.named {
        response = response.header(name, value);
    }
    response.body(body).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn a_compressed_body_is_one_gzip_member_whatever_was_compressed_before() {
        // Noise does not become smaller, so the output has to grow.
        let mut random = fastrand::Rng::with_seed(1);
        let noise: Vec<u8> = (0..200_000).map(|_| random.u8(..)).collect();
        let same = vec![b'a'; 100_000];
        for body in [&b""[..], b"{}", &same, &noise, b"{}"] {
            let mut read = Vec::new();
            let packed = gzip(body);
            let mut member = GzDecoder::new(&packed[..]);
            member.read_to_end(&mut read).unwrap();
            assert!(read == body, "{} bytes", body.len());
            assert!(member.into_inner().is_empty(), "{} bytes", body.len());
        }
    }
}
