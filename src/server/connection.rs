//! Connections: accepted up to a number, served with deadlines, drained at the end.

use std::convert::Infallible;
use std::fmt::Display;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use parking_lot::Mutex;
use rustls::InvalidMessage;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::deadline::{AnswerDeadline, WriteDeadline};
use super::{Limits, Server};
use crate::web_config::Tls;

/// How long to wait after an accept that failed, which is a lack of descriptors more often than not.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Answers that one HTTP/2 connection may have under way. Prometheus needs one, a browser some.
const STREAMS: u32 = 32;

/// The most bytes of a request's headers over HTTP/2.
const HEADER_LIST: u32 = 16 * 1024;

/// What somebody is told who speaks HTTP where TLS is spoken.
const NOT_TLS: &str = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain\r\n\r\nThis address speaks TLS: ask it by https.\n";

/// Accepts until `shutdown`, then gives answers in flight their time.
pub(super) async fn accept(
    server: Arc<Server>,
    listener: TcpListener,
    connections: Arc<Semaphore>,
    shutdown: CancellationToken,
) {
    let open = TaskTracker::new();
    loop {
        // The permit first: a connection too many waits in the kernel's queue.
        let next = async {
            let permit = connections.clone().acquire_owned().await;
            (permit, listener.accept().await)
        };
        let Some((permit, accepted)) = shutdown.run_until_cancelled(next).await else {
            break;
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let connection = serve(server.clone(), stream, shutdown.clone());
        open.spawn(async move {
            connection.await;
            drop(permit);
        });
    }
    drop(listener);
    open.close();
    let _ = timeout(server.limits.drain, open.wait()).await;
}

/// Serves one connection by the settings that hold when it comes, and until others do.
async fn serve(server: Arc<Server>, stream: TcpStream, shutdown: CancellationToken) {
    // A page is sent in few large writes; waiting for more of it would only delay its end.
    let _ = stream.set_nodelay(true);
    let stream = WriteDeadline::new(stream, server.limits.write);
    let settings = server.web_config.current();
    let end = async {
        tokio::select! { () = shutdown.cancelled() => {}, () = settings.retired.cancelled() => {} }
    };
    let Some(tls) = &settings.tls else {
        return http1(server, stream, end).await;
    };
    let handshake = timeout(server.limits.handshake, handshake(tls, stream));
    let Some(Ok(Some(stream))) = shutdown.run_until_cancelled(handshake).await else {
        return;
    };
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        http2(server, stream, end).await;
    } else {
        http1(server, stream, end).await;
    }
}

type TlsStream<S> = tokio_rustls::server::TlsStream<S>;

/// `None` if the two did not come to terms, which is no event of ours.
async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    tls: &Tls,
    stream: S,
) -> Option<TlsStream<S>> {
    match tls.acceptor().accept(stream).into_fallible().await {
        Ok(stream) => Some(stream),
        Err((error, mut stream)) => {
            tracing::debug!(%error, "no TLS connection came about");
            if is_plain_http(&error) {
                let told = stream.write_all(NOT_TLS.as_bytes()).await;
                let _ = told.and(stream.shutdown().await);
            }
            None
        }
    }
}

/// Whether the client's first bytes were no TLS at all.
fn is_plain_http(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|error| error.downcast_ref());
    matches!(
        error,
        Some(rustls::Error::InvalidMessage(
            InvalidMessage::InvalidContentType
        ))
    )
}

async fn http1(
    server: Arc<Server>,
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    end: impl Future<Output = ()>,
) {
    let Limits { header, write, .. } = server.limits;
    let mut http = http1::Builder::new();
    // Without the timer, hyper's timeout for headers does nothing. It runs between requests, too.
    http.timer(TokioTimer::new()).header_read_timeout(header);
    // A client may close its side once it has asked.
    http.half_close(true);
    let service = service_fn(move |request| {
        let server = server.clone();
        async move { Ok::<_, Infallible>(server.respond(request).await) }
    });
    let connection = http.serve_connection(TokioIo::new(stream), service);
    until(connection, end, write).await;
}

async fn http2(
    server: Arc<Server>,
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    end: impl Future<Output = ()>,
) {
    let Limits { header, write, .. } = server.limits;
    let mut http = http2::Builder::new(AnswerDeadline(write));
    http.timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADER_LIST);
    let asked = Arc::new(Mutex::new(Instant::now()));
    let noted = asked.clone();
    let service = service_fn(move |request| {
        *noted.lock() = Instant::now();
        let server = server.clone();
        async move { Ok::<_, Infallible>(server.respond(request).await) }
    });
    let end = async {
        tokio::select! { () = end => {}, () = idle(&asked, header) => {} }
    };
    let connection = http.serve_connection(TokioIo::new(stream), service);
    until(connection, end, write).await;
}

/// Ends once nothing was asked for so long. Over HTTP/2 this stands for hyper's timeout for headers, and makes
/// pings to find dead clients needless.
async fn idle(asked: &Mutex<Instant>, allowed: Duration) {
    loop {
        let end = *asked.lock() + allowed;
        if end <= Instant::now() {
            return;
        }
        sleep_until(end).await;
    }
}

/// Serves until the end, then what is under way then, for as long as one answer may take.
async fn until<C>(connection: C, end: impl Future<Output = ()>, answers: Duration)
where
    C: GracefulConnection,
    C::Error: Display,
{
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Ok(ended),
        () = end => {
            connection.as_mut().graceful_shutdown();
            timeout(answers, connection).await
        }
    };
    // A client that goes away, or is too slow, is no event of ours.
    if let Ok(Err(error)) = ended {
        tracing::debug!(%error, "connection ended early");
    }
}
