//! Connections: accepted up to a number, served with deadlines, drained at the end.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Server;

/// How long to wait after an accept that failed, which is a lack of descriptors more often than not.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Accepts until `shutdown`, then gives answers in flight their time.
pub(super) async fn accept(
    server: Arc<Server>,
    listener: TcpListener,
    connections: Arc<Semaphore>,
    shutdown: CancellationToken,
) {
    let mut http = http1::Builder::new();
    // Without the timer, hyper's timeout for headers does nothing. It runs between requests, too.
    http.timer(TokioTimer::new())
        .header_read_timeout(server.limits.header);
    // A client may close its side once it has asked.
    http.half_close(true);
    let drain = GracefulShutdown::new();
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
        // A page is sent in few large writes; waiting for more of it would only delay its end.
        let _ = stream.set_nodelay(true);
        let io = TokioIo::new(WriteDeadline::new(stream, server.limits.write));
        let server = server.clone();
        let service = service_fn(move |request| {
            let server = server.clone();
            async move { Ok::<_, Infallible>(server.answer(&request).await) }
        });
        let connection = drain.watch(http.serve_connection(io, service));
        tokio::spawn(async move {
            // A client that goes away, or is too slow, is no event of ours.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended early");
            }
            drop(permit);
        });
    }
    drop(listener);
    let _ = timeout(server.limits.drain, drain.shutdown()).await;
}

/// Ends a connection whose client does not take an answer in time. The time is for the whole answer: one
/// that takes a byte now and then would hold it for ever.
struct WriteDeadline<S> {
    stream: S,
    allowed: Duration,
    deadline: Pin<Box<Sleep>>,
    waiting: bool,
}

impl<S> WriteDeadline<S> {
    fn new(stream: S, allowed: Duration) -> Self {
        Self {
            stream,
            allowed,
            deadline: Box::pin(sleep(allowed)),
            waiting: false,
        }
    }

    /// Passes on the result of a write. Time runs from the first that has to wait until the client asks
    /// for something else: a flush is no end, since hyper flushes a long answer in parts.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            return written;
        }
        if !self.waiting {
            self.waiting = true;
            self.deadline.as_mut().reset(Instant::now() + self.allowed);
        }
        ready!(self.deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteDeadline<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.waiting = false;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteDeadline<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
