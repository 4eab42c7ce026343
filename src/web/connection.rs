//! Client connections: accepted up to a limit, served with deadlines, closed gracefully.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::{self, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::client_connection::ClientConnection;
use super::deadline::{AnswerDeadline, WriteDeadline, sent_by};
use super::slots::Slots;
use super::{Server, ServerLimits};
use crate::web::config::{Tls, WebSettings};

/// Pause after a failed `accept`, which most often means that no file descriptor is free.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Minimum time between two warnings about a failed `accept`.
const WARN_AGAIN: Duration = Duration::from_mins(1);

/// Maximum number of concurrent streams of an HTTP/2 connection. Prometheus needs one, a browser a
/// few.
const STREAMS: u32 = 8;

/// Maximum number of bytes that hyper buffers for an HTTP/2 stream.
///
/// Buffered bytes no longer hold a response slot. 512 connections of 8 streams can buffer 128 MiB
/// in total.
const SEND_BUFFER: usize = 32 * 1024;

/// HTTP/2 flow-control window of a request's body, in bytes.
///
/// Bodies are never read, so this is the smallest window that a connection can have.
const WINDOW: u32 = 65_535;

/// Maximum number of reset streams before the connection is closed.
///
/// The limit applies separately to streams that the client resets before they are accepted, and to
/// streams that the server resets because of an error of the client.
const RESETS: usize = 20;

/// Maximum size of a request's headers over HTTP/1.1, in bytes.
///
/// hyper's default is six times as much, for each connection.
const HEADERS: usize = 64 * 1024;

/// Maximum size of a request's headers over HTTP/2, in bytes.
const HEADER_LIST: u32 = 16 * 1024;

/// Response to plain HTTP on a TLS address.
const NOT_TLS: &str = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: \
    text/plain\r\n\r\nThis address serves HTTPS: use an https:// URL.\n";

/// Response to the HTTP/2 preface on a connection that speaks HTTP/1.1.
const NOT_HTTP_2: &str = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: \
    text/plain\r\n\r\nThis connection uses HTTP/1.1. HTTP/2 is available over TLS, negotiated by ALPN.\n";

/// Accepts connections until `shutdown` is cancelled, then waits for responses in flight.
pub(super) async fn accept(
    server: Arc<Server>,
    listener: TcpListener,
    connections: Arc<Slots>,
    shutdown: CancellationToken,
) {
    let open = TaskTracker::new();
    let mut warned: Option<Instant> = None;
    loop {
        let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await else {
            break;
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                if warned.is_none_or(|warned| warned.elapsed() >= WARN_AGAIN) {
                    warned = Some(Instant::now());
                    tracing::warn!(%error, "a connection could not be accepted");
                }
                sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let client = Arc::new(ClientConnection::new(peer.ip().to_canonical()));
        // While this waits, new connections queue in the kernel's backlog.
        let slot = connections.acquire(client.holder.clone());
        let Some(slot) = shutdown.run_until_cancelled(slot).await else {
            break;
        };
        let connection = Box::pin(serve(server.clone(), stream, client, shutdown.clone()));
        open.spawn(async move {
            // An evicted connection is dropped at once: a graceful close could wait for the client.
            slot.holder
                .cancellation
                .run_until_cancelled(connection)
                .await;
            drop(slot);
        });
    }
    drop(listener);
    open.close();
    let _ = timeout(server.limits.drain, open.wait()).await;
}

/// Serves one connection under the settings that are current when it starts.
///
/// Once other settings replace these, HTTP/2 shuts down, and HTTP/1.1 closes after its next
/// response.
async fn serve(
    server: Arc<Server>,
    stream: TcpStream,
    client: Arc<ClientConnection>,
    shutdown: CancellationToken,
) {
    // A page is sent in few large writes, so Nagle's algorithm would only delay its end.
    let _ = stream.set_nodelay(true);
    let ServerLimits {
        handshake: allowed,
        first_request: within,
        write,
        ..
    } = server.limits;
    let settings = server.web_config.current();
    let Some(tls) = &settings.tls else {
        let first = first_request_timeout(client.clone(), within);
        let stream = WriteDeadline::new(stream, write, client.clone());
        let serving = http1(server, stream, client, &settings, &shutdown);
        tokio::select! { () = serving => {}, () = first => {} }
        return;
    };
    let stream = timeout(allowed, handshake(&server, tls, stream, &client));
    let Some(Ok(Some(stream))) = shutdown.run_until_cancelled(stream).await else {
        return;
    };
    let first = first_request_timeout(client.clone(), within);
    let serving = async {
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            http2(server, stream, client, &settings, &shutdown).await;
        } else {
            http1(server, stream, client, &settings, &shutdown).await;
        }
    };
    tokio::select! { () = serving => {}, () = first => {} }
}

/// Completes if no request was read within `allowed`; otherwise never completes.
async fn first_request_timeout(client: Arc<ClientConnection>, allowed: Duration) {
    sleep(allowed).await;
    if client.requests() > 0 {
        std::future::pending::<()>().await;
    }
}

type TlsStream<S> = tokio_rustls::server::TlsStream<S>;

/// Performs the TLS handshake; `None` if no TLS connection results.
async fn handshake(
    server: &Server,
    tls: &Tls,
    mut stream: TcpStream,
    client: &Arc<ClientConnection>,
) -> Option<TlsStream<WriteDeadline<TcpStream>>> {
    let mut first = [0];
    stream.peek(&mut first).await.ok()?;
    // An HTTP request begins with a method in capitals, a TLS record with byte 22.
    if first[0].is_ascii_uppercase() {
        // Closing a socket with unread data resets the connection, and the response could be lost.
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(NOT_TLS.as_bytes()).await;
        return None;
    }
    let stream = WriteDeadline::new(stream, server.limits.write, client.clone());
    match tls.acceptor().accept(stream).into_fallible().await {
        Ok(stream) => Some(stream),
        Err((error, mut stream)) => {
            // Only TLS errors are warnings: a client that disconnects is normal.
            let refused = error.get_ref().and_then(|error| error.downcast_ref());
            if let Some(refused) = refused {
                server.refusals.log(client.address, refused);
            }
            tracing::debug!(%error, "TLS handshake failed");
            // Closing a socket with unread data resets the connection, and the TLS alert could be
            // lost.
            let _ = stream.shutdown().await;
            while stream.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {}
            None
        }
    }
}

async fn http1(
    server: Arc<Server>,
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    client: Arc<ClientConnection>,
    settings: &WebSettings,
    shutdown: &CancellationToken,
) {
    let ServerLimits {
        next_request: idle,
        write,
        ..
    } = server.limits;
    let mut http = http1::Builder::new();
    // hyper ignores the header timeout without a timer. The timeout also runs between requests.
    http.max_buf_size(HEADERS);
    http.timer(TokioTimer::new()).header_read_timeout(idle);
    // A client may half-close the connection after its request.
    http.half_close(true);
    let cancellation = client.holder.cancellation.clone();
    let service = service_fn(move |request| {
        let (server, client) = (server.clone(), client.clone());
        async move {
            let mut answer = server.respond(&client, request).await;
            // Closing between two requests could race with a request that is already on its way.
            if settings.retired.is_cancelled() {
                let close = HeaderValue::from_static("close");
                answer.headers_mut().insert(header::CONNECTION, close);
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let mut connection = http.serve_connection(TokioIo::new(stream), service);
    let serving = serve_until(Pin::new(&mut connection), shutdown.cancelled(), write);
    if let Some(error) = sent_by(cancellation, serving).await
        && error.is_parse_version_h2()
    {
        let mut stream = connection.into_parts().io.into_inner();
        let _ = stream.write_all(NOT_HTTP_2.as_bytes()).await;
        let _ = stream.shutdown().await;
    }
}

async fn http2(
    server: Arc<Server>,
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    client: Arc<ClientConnection>,
    settings: &WebSettings,
    shutdown: &CancellationToken,
) {
    let ServerLimits {
        next_request,
        write,
        ..
    } = server.limits;
    let mut http = http2::Builder::new(AnswerDeadline(write));
    http.timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_send_buf_size(SEND_BUFFER)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(RESETS)
        .max_header_list_size(HEADER_LIST);
    let last_request = Arc::new(Mutex::new(Instant::now()));
    let latest = last_request.clone();
    let service = service_fn(move |request| {
        *latest.lock() = Instant::now();
        let (server, client) = (server.clone(), client.clone());
        async move { Ok::<_, Infallible>(server.respond(&client, request).await) }
    });
    let end = async {
        tokio::select! {
            () = shutdown.cancelled() => {}
            // HTTP/2 can end at any time: GOAWAY says which requests the client must send again.
            () = settings.retired.cancelled() => {}
            () = idle_timeout(&last_request, next_request) => {}
        }
    };
    let mut connection = http.serve_connection(TokioIo::new(stream), service);
    serve_until(Pin::new(&mut connection), end, write).await;
}

/// Completes once no request has arrived for `allowed`.
///
/// Over HTTP/2 this replaces hyper's header timeout. It also makes keep-alive pings unnecessary.
async fn idle_timeout(last_request: &Mutex<Instant>, allowed: Duration) {
    loop {
        let end = *last_request.lock() + allowed;
        if end <= Instant::now() {
            return;
        }
        sleep_until(end).await;
    }
}

/// Serves until `end`, then shuts down gracefully.
///
/// `answers` limits the shutdown to the time that one response may take. Returns the error that
/// ended the connection early, if any.
async fn serve_until<C>(
    mut connection: Pin<&mut C>,
    end: impl Future<Output = ()>,
    answers: Duration,
) -> Option<hyper::Error>
where
    C: GracefulConnection<Error = hyper::Error>,
{
    let ended = tokio::select! {
        ended = connection.as_mut() => Ok(ended),
        () = end => {
            connection.as_mut().graceful_shutdown();
            timeout(answers, connection).await
        }
    };
    // A client that disconnects or is too slow is normal, so this is not a warning.
    let error = ended.ok()?.err()?;
    tracing::debug!(%error, "connection ended early");
    Some(error)
}
