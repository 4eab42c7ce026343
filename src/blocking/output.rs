//! What this process says: standard error through a bounded queue and a thread of its own, so that a pipe that nobody
//! reads holds up only that thread.

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

/// Lines that may wait to be written: some MB at most.
const WAITING: usize = 8192;

/// How long a panic waits for what it says to be written.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Standard error.
static STDERR: LazyLock<Lines> = LazyLock::new(|| Lines::start(WAITING, io::stderr()));

/// Lines on their way to a stream.
#[derive(Debug, Clone)]
struct Lines(Arc<StreamState>);

#[derive(Debug)]
struct StreamState {
    queue: Mutex<LineQueue>,
    most: usize,
    /// Told when there is something to write.
    wake: Condvar,
    /// Told when everything is written.
    idle: Condvar,
}

#[derive(Debug, Default)]
struct LineQueue {
    lines: VecDeque<Vec<u8>>,
    writing: bool,
    dropped: u64,
}

impl Lines {
    /// Begins to write to this stream.
    fn start(most: usize, mut stream: impl Write + Send + 'static) -> Self {
        let shared = Arc::new(StreamState {
            queue: Mutex::default(),
            most,
            wake: Condvar::new(),
            idle: Condvar::new(),
        });
        let here = shared.clone();
        let thread = thread::Builder::new().name("stderr".to_owned());
        // Without a thread the queue fills up, and what comes then is dropped.
        let _ = thread.spawn(move || {
            loop {
                let line = here.next();
                // Who was to read it may be gone; that is no reason to end.
                let _ = stream.write_all(&line);
            }
        });
        Self(shared)
    }

    /// Writes this later. It is dropped, and counted, if too much is waiting.
    fn push(&self, line: &[u8]) {
        let mut queue = self.0.queue.lock();
        if queue.lines.len() >= self.0.most {
            queue.dropped += 1;
            return;
        }
        queue.lines.push_back(line.to_vec());
        self.0.wake.notify_one();
    }

    /// Writes this if nothing else is on its way.
    fn push_if_idle(&self, line: &[u8]) {
        let idle = {
            let queue = self.0.queue.lock();
            !queue.writing && queue.lines.is_empty()
        };
        if idle {
            self.push(line);
        }
    }

    /// Writes this after all that is waiting, and waits for that, but not longer than this.
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
    /// The next line; the one before it is written.
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

/// Where log lines go: to standard error, if somebody reads it. A line is dropped, and counted, if too many wait for that.
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

/// Log lines that were dropped, since nobody read standard error in time.
#[must_use]
pub fn dropped_log_lines() -> u64 {
    STDERR.0.queue.lock().dropped
}

/// Whether somebody looks at standard error while the program runs.
#[must_use]
pub fn is_watched() -> bool {
    io::stderr().is_terminal()
}

/// Whether standard error is a terminal that shows colours.
#[must_use]
pub fn has_colours() -> bool {
    anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
}

/// Shows how far something is, on standard error; not at all while that is busy.
pub fn progress(text: &str) {
    STDERR.push_if_idle(text.as_bytes());
}

/// Writes a line to standard error, as if it were a line of the log.
pub fn tell(line: &str) {
    STDERR.push(line.as_bytes());
}

/// Writes to standard error after all log lines, and waits until it is written, but not longer than this.
pub fn finish(text: &str, within: Option<Duration>) {
    STDERR.finish(text.as_bytes(), within);
}

/// Writes to standard output, without colours where that is no terminal, and waits for it.
///
/// Who has read enough, such as `head`, may go. Not for the event loop: see [`print_beside`].
pub fn print(text: &str) -> io::Result<()> {
    match anstream::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Writes to standard output on a thread, while other things go on. What is returned ends when it is written.
#[must_use]
pub fn print_beside(text: String) -> tokio::task::JoinHandle<()> {
    tokio::task::spawn_blocking(move || {
        if let Err(error) = print(&text) {
            tracing::warn!(%error, "standard output cannot be written to");
        }
    })
}

/// Lets a panic say what it says by way of the same queue: one that hangs in a full pipe would neither abort nor go on.
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

    /// A stream that takes each line only when it is told to.
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
