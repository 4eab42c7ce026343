//! Deadline for sending a response, and a limit on data that a client sends between requests.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::Executor;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::client_connection::ClientConnection;

/// Maximum number of bytes that a client may send between two requests.
///
/// This is twice the limit of a request's headers. Pings, settings, resets, empty frames and unread
/// bodies cost CPU and request nothing.
const UNASKED: u64 = 128 * 1024;

/// Number of bytes sent to the client for each additional byte that it may send.
///
/// An HTTP/2 client must acknowledge the data that it receives.
const ACKNOWLEDGED: u64 = 8;

tokio::task_local! {
    static SENDER: CancellationToken;
}

/// Returns the token that ends the sender of the current response.
///
/// The sender is the stream over HTTP/2, and the connection over HTTP/1.1.
pub(super) fn sender() -> CancellationToken {
    SENDER.try_with(Clone::clone).unwrap_or_default()
}

/// Runs `answers` with `end` as the token that ends their sender.
pub(super) fn sent_by<F: Future>(
    end: CancellationToken,
    answers: F,
) -> impl Future<Output = F::Output> {
    SENDER.scope(end, answers)
}

/// Executor that limits the time of each response on an HTTP/2 connection.
///
/// A client that grants no flow-control window blocks no write, so [`WriteDeadline`] would not
/// notice it.
#[derive(Clone, Copy)]
pub(super) struct AnswerDeadline(pub(super) Duration);

impl<A> Executor<A> for AnswerDeadline
where
    A: Future + Send + 'static,
    A::Output: Send,
{
    fn execute(&self, answer: A) {
        let end = CancellationToken::new();
        let answer = timeout(self.0, sent_by(end.clone(), answer));
        tokio::spawn(end.run_until_cancelled_owned(answer));
    }
}

/// Stream that fails if the client does not receive a response in time.
///
/// The deadline covers the whole response: a client that reads a byte now and then would otherwise
/// hold it forever. The stream also fails if the client sends much data without a request.
pub(super) struct WriteDeadline<S> {
    stream: S,
    client: Arc<ClientConnection>,
    /// Number of requests when `unasked` and `sent` were last reset.
    requests: u64,
    unasked: u64,
    sent: u64,
    allowed: Duration,
    deadline: Pin<Box<Sleep>>,
    waiting: bool,
}

impl<S> WriteDeadline<S> {
    pub(super) fn new(stream: S, allowed: Duration, client: Arc<ClientConnection>) -> Self {
        Self {
            stream,
            client,
            requests: 0,
            unasked: 0,
            sent: 0,
            allowed,
            deadline: Box::pin(sleep(allowed)),
            waiting: false,
        }
    }

    /// Returns the result of a write, or fails after the deadline.
    ///
    /// The deadline runs from the first write that has to wait, until the client sends data. A
    /// flush does not stop it, because hyper flushes a long response in parts.
    fn watch(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            self.sent += bytes as u64;
            // The end of a response may still wait here, long after hyper took its last chunk.
            if self.waiting {
                self.client.holder.progress();
            }
        }
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

    /// Counts bytes that the client sent since its last request; fails above the limit.
    fn count(&mut self, read: u64) -> io::Result<()> {
        let requests = self.client.requests();
        if requests != self.requests {
            self.requests = requests;
            (self.unasked, self.sent) = (0, 0);
        }
        self.unasked += read;
        if self.unasked > UNASKED + self.sent / ACKNOWLEDGED {
            return Err(io::Error::other("the client sends much and asks nothing"));
        }
        Ok(())
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
            self.count((buf.filled().len() - before) as u64)?;
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
