//! How long an answer may take to leave, and how much a client may send without asking for one.

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

/// The most bytes that a client may send between two requests: twice what a request's head may have. Pings, settings, resets,
/// frames without content and bodies that nobody reads take our time, and ask nothing.
const UNASKED: u64 = 128 * 1024;

/// It may send one byte more for so many that it is sent, since over HTTP/2 it must say what it took.
const ACKNOWLEDGED: u64 = 8;

tokio::task_local! {
    static SENDER: CancellationToken;
}

/// What ends the sender of the answer that is being made here: a stream over HTTP/2, else the connection.
pub(super) fn sender() -> CancellationToken {
    SENDER.try_with(Clone::clone).unwrap_or_default()
}

/// Makes answers whose sender is ended by this token.
pub(super) fn sent_by<F: Future>(
    end: CancellationToken,
    answers: F,
) -> impl Future<Output = F::Output> {
    SENDER.scope(end, answers)
}

/// Gives each answer of an HTTP/2 connection its time. A client that grants no room for it lets no write wait, so
/// [`WriteDeadline`] would not see it.
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

/// Ends a connection whose client does not take an answer in time. The time is for the whole answer: one
/// that takes a byte now and then would hold it for ever. Also ends one whose client sends much and asks nothing.
pub(super) struct WriteDeadline<S> {
    stream: S,
    client: Arc<ClientConnection>,
    /// The requests that were read when these were counted anew.
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

    /// Passes on the result of a write. Time runs from the first that has to wait until the client asks
    /// for something else: a flush is no end, since hyper flushes a long answer in parts.
    fn watch(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            self.sent += bytes as u64;
            // The end of an answer may be waiting here, long after it was handed over.
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

    /// Counts what the client sent since its last request.
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
