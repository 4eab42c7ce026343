//! Connections: accepted up to a number, served with deadlines, drained at the end.

use std::convert::Infallible;
use std::fmt::Display;
use std::pin::pin;
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
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::deadline::{AnswerDeadline, WriteDeadline};
use super::{Limits, Server};
use crate::web_config::{Settings, Tls};

/// How long to wait after an accept that failed, which is a lack of descriptors more often than not.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// That accepting fails is said no more often than this.
const WARN_AGAIN: Duration = Duration::from_mins(1);

/// Answers that one HTTP/2 connection may have under way. Prometheus needs one, a browser some.
const STREAMS: u32 = 32;

/// The most bytes of a request's headers over HTTP/1.1. hyper's own limit is six times that, for each connection.
const HEADERS: usize = 64 * 1024;

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
    let mut warned: Option<Instant> = None;
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
                if warned.is_none_or(|warned| warned.elapsed() >= WARN_AGAIN) {
                    warned = Some(Instant::now());
                    tracing::warn!(%error, "a connection could not be accepted");
                }
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
    let Limits {
        handshake: allowed,
        write,
        ..
    } = server.limits;
    let settings = server.web_config.current();
    let Some(tls) = &settings.tls else {
        return http1(
            server,
            WriteDeadline::new(stream, write),
            &settings,
            &shutdown,
        )
        .await;
    };
    let stream = timeout(allowed, handshake(tls, stream, write));
    let Some(Ok(Some(stream))) = shutdown.run_until_cancelled(stream).await else {
        return;
    };
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        http2(server, stream, &settings, &shutdown).await;
    } else {
        http1(server, stream, &settings, &shutdown).await;
    }
}

type TlsStream<S> = tokio_rustls::server::TlsStream<S>;

/// `None` if the two did not come to terms, which is no event of ours.
async fn handshake(
    tls: &Tls,
    mut stream: TcpStream,
    write: Duration,
) -> Option<TlsStream<WriteDeadline<TcpStream>>> {
    let mut first = [0];
    stream.peek(&mut first).await.ok()?;
    // A method of HTTP; TLS begins with byte 22.
    if first[0].is_ascii_uppercase() {
        // What is not read would end the connection before the answer is there.
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(NOT_TLS.as_bytes()).await;
        return None;
    }
    let accepted = tls.acceptor().accept(WriteDeadline::new(stream, write));
    match accepted.into_fallible().await {
        Ok(stream) => Some(stream),
        Err((error, mut stream)) => {
            tracing::debug!(%error, "no TLS connection came about");
            // Closed before the client's last words are read, it would lose the alert that tells it why.
            let _ = stream.shutdown().await;
            while stream.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {}
            None
        }
    }
}

async fn http1(
    server: Arc<Server>,
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    settings: &Settings,
    shutdown: &CancellationToken,
) {
    let Limits {
        header: idle,
        write,
        ..
    } = server.limits;
    let mut http = http1::Builder::new();
    // Without the timer, hyper's timeout for headers does nothing. It runs between requests, too.
    http.max_buf_size(HEADERS);
    http.timer(TokioTimer::new()).header_read_timeout(idle);
    // A client may close its side once it has asked.
    http.half_close(true);
    let service = service_fn(move |request| {
        let server = server.clone();
        async move {
            let mut answer = server.respond(request).await;
            // Ended between two requests, it could meet one that is on its way.
            if settings.retired.is_cancelled() {
                let close = HeaderValue::from_static("close");
                answer.headers_mut().insert(header::CONNECTION, close);
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http.serve_connection(TokioIo::new(stream), service);
    until(connection, shutdown.cancelled(), write).await;
}

async fn http2(
    server: Arc<Server>,
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    settings: &Settings,
    shutdown: &CancellationToken,
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
        tokio::select! {
            () = shutdown.cancelled() => {}
            // HTTP/2 tells the client which requests it must send again on another connection.
            () = settings.retired.cancelled() => {}
            () = idle(&asked, header) => {}
        }
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
