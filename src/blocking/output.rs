//! Standard output and standard error of the process.
//!
//! Standard error has a bounded queue and its own thread. A pipe that is not read blocks only that
//! thread.

#![expect(
    clippy::disallowed_methods,
    reason = "the one module that writes to standard output and standard error"
)]

use std::backtrace::{Backtrace, BacktraceStatus};
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write};
use std::panic::{self, PanicHookInfo};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tracing_subscriber::fmt::MakeWriter;

/// Capacity of the queue in lines, which is a few MB at most.
const WAITING: usize = 8192;

/// Time that a panic waits for its message to be written.
const LAST_WORDS: Duration = Duration::from_secs(3);

static STDERR: LazyLock<Lines> = LazyLock::new(|| Lines::start(WAITING, io::stderr()));

/// Queue of lines for a stream, written by a thread.
#[derive(Debug, Clone)]
struct Lines(Arc<StreamState>);

#[derive(Debug)]
struct StreamState {
    queue: Mutex<LineQueue>,
    most: usize,
    /// Notified when there is a line to write.
    wake: Condvar,
    /// Notified when all lines are written.
    idle: Condvar,
}

#[derive(Debug, Default)]
struct LineQueue {
    lines: VecDeque<Vec<u8>>,
    writing: bool,
    dropped: u64,
}

impl Lines {
    /// Starts the thread that writes to `stream`.
    fn start(most: usize, mut stream: impl Write + Send + 'static) -> Self {
        let shared = Arc::new(StreamState {
            queue: Mutex::default(),
            most,
            wake: Condvar::new(),
            idle: Condvar::new(),
        });
        let here = shared.clone();
        let thread = thread::Builder::new().name("stderr".to_owned());
        // Without a thread the queue fills up, and later lines are dropped.
        let _ = thread.spawn(move || {
            loop {
                let line = here.next();
                // The reader may be gone, which is no reason to end.
                let _ = stream.write_all(&line);
            }
        });
        Self(shared)
    }

    /// Queues a line. It is dropped and counted if the queue is full.
    fn push(&self, line: &[u8]) {
        let mut queue = self.0.queue.lock();
        if queue.lines.len() >= self.0.most {
            queue.dropped += 1;
            return;
        }
        queue.lines.push_back(line.to_vec());
        self.0.wake.notify_one();
    }

    /// Queues a line if no other line is waiting or being written.
    fn push_if_idle(&self, line: &[u8]) {
        let idle = {
            let queue = self.0.queue.lock();
            !queue.writing && queue.lines.is_empty()
        };
        if idle {
            self.push(line);
        }
    }

    /// Writes `last` after all waiting lines, and waits for it: for at most `within`, if that is
    /// given.
    fn finish(&self, last: &[u8], within: Option<Duration>) {
        let mut queue = self.0.queue.lock();
        if !last.is_empty() {
            queue.lines.push_back(last.to_vec());
            self.0.wake.notify_one();
        }
        let busy = |queue: &mut LineQueue| queue.writing || !queue.lines.is_empty();
        match within {
            Some(within) => drop(self.0.idle.wait_while_for(&mut queue, busy, within)),
            None => self.0.idle.wait_while(&mut queue, busy),
        }
    }
}

impl StreamState {
    /// Marks the previous line as written, and waits for the next one.
    fn next(&self) -> Vec<u8> {
        let mut queue = self.queue.lock();
        queue.writing = false;
        loop {
            if let Some(line) = queue.lines.pop_front() {
                queue.writing = true;
                return line;
            }
            self.idle.notify_all();
            self.wake.wait(&mut queue);
        }
    }
}

/// Writer for log lines, which queues them for standard error.
///
/// A line is dropped and counted if the queue is full.
#[derive(Debug, Clone, Copy)]
pub struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        STDERR.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for LogWriter {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        *self
    }
}

/// Number of log lines dropped because standard error was not read in time.
#[must_use]
pub(crate) fn dropped_log_lines() -> u64 {
    STDERR.0.queue.lock().dropped
}

/// Returns whether standard error is a terminal.
#[must_use]
pub(crate) fn is_watched() -> bool {
    io::stderr().is_terminal()
}

/// Returns whether standard error is a terminal that shows colours.
#[must_use]
pub fn has_colours() -> bool {
    anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
}

/// Shows progress on standard error, unless other lines are waiting or being written.
pub(crate) fn progress(text: &str) {
    STDERR.push_if_idle(text.as_bytes());
}

/// Writes a line to standard error through the queue, in order with the log lines.
pub(crate) fn tell(line: &str) {
    STDERR.push(line.as_bytes());
}

/// Writes to standard error after all log lines, and waits for it: for at most `within`, if given.
pub fn finish(text: &str, within: Option<Duration>) {
    STDERR.finish(text.as_bytes(), within);
}

/// Writes to standard output, and waits until it is written.
///
/// Colours are removed if standard output is not a terminal. A closed pipe is not an error, because
/// a reader such as `head` may stop early. This blocks: on the event loop use `print_beside`.
pub fn print(text: &str) -> io::Result<()> {
    match anstream::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Writes to standard output on a blocking thread.
///
/// The returned handle completes when the text is written.
#[must_use]
pub(crate) fn print_beside(text: String) -> tokio::task::JoinHandle<()> {
    tokio::task::spawn_blocking(move || {
        if let Err(error) = print(&text) {
            tracing::warn!(%error, "standard output cannot be written to");
        }
    })
}

/// Writes panic messages through the queue of standard error.
///
/// A panic that blocks on a full pipe would neither abort the process nor let it continue.
pub fn report_panics() {
    panic::set_hook(Box::new(|info: &PanicHookInfo<'_>| {
        let thread = thread::current();
        let name = thread.name().unwrap_or("<unnamed>");
        let mut text = format!("thread '{name}' {info}\n");
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            let _ = writeln!(text, "{backtrace}");
        }
        finish(&text, Some(LAST_WORDS));
    }));
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Stream that accepts one write per message on a channel.
    struct Slow(mpsc::Receiver<()>, Arc<Mutex<Vec<u8>>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
            self.1.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn slow(most: usize) -> (Lines, mpsc::Sender<()>, Arc<Mutex<Vec<u8>>>) {
        let (go, wait) = mpsc::channel();
        let written = Arc::new(Mutex::default());
        let lines = Lines::start(most, Slow(wait, written.clone()));
        (lines, go, written)
    }

    #[test]
    fn lines_that_nobody_reads_are_dropped_and_counted_and_those_that_fit_are_written() {
        let (lines, go, written) = slow(3);
        lines.push(b"0");
        while !lines.0.queue.lock().writing {
            thread::yield_now();
        }
        for line in [b"1", b"2", b"3", b"4", b"5"] {
            lines.push(line);
        }
        lines.push_if_idle(b"progress");
        assert_eq!(lines.0.queue.lock().dropped, 2);
        for _ in 0..5 {
            go.send(()).unwrap();
        }
        lines.finish(b"end", Some(Duration::from_secs(30)));
        assert_eq!(*written.lock(), b"0123end");
    }

    #[test]
    fn the_end_of_the_process_does_not_wait_for_a_stream_that_nobody_reads() {
        let (lines, _go, written) = slow(1);
        lines.push(b"1");
        lines.finish(b"end", Some(Duration::from_millis(10)));
        assert!(written.lock().is_empty());
    }

    #[test]
    fn a_stream_that_was_closed_takes_lines_without_end() {
        let (lines, go, _) = slow(100);
        drop(go);
        for _ in 0..10 {
            lines.push(b"line");
            lines.finish(b"", Some(Duration::from_secs(30)));
        }
        assert_eq!(lines.0.queue.lock().dropped, 0);
    }
}
