//! The process's recent log lines, kept in memory for whoever diagnoses it where nobody kept its standard error.

use std::{
    collections::VecDeque,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tracing_subscriber::{Layer, fmt::MakeWriter, registry::LookupSpan};

/// Lines that are kept, and their bytes; the oldest go first.
const LINES_MAX: usize = 2_000;
const BYTES_MAX: usize = 1024 * 1024;
/// What one line may take of that.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// Of the whole process, as its logging is.
static RECENT: Recent = Recent(Mutex::new(Ring { lines: VecDeque::new(), bytes: 0, dropped: 0 }));

/// What is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecentLines {
    /// Oldest first, without line ends.
    pub lines: Vec<String>,
    /// Lines before them that are not kept any more.
    pub dropped: u64,
}

/// The lines that were logged last.
pub fn lines() -> RecentLines {
    let ring = RECENT.ring();
    RecentLines { lines: ring.lines.iter().cloned().collect(), dropped: ring.dropped }
}

/// Keeps what passes the filter that it is put under.
pub(crate) fn layer<S>() -> impl Layer<S>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    tracing_subscriber::fmt::layer().with_ansi(false).with_writer(&RECENT)
}

#[derive(Debug)]
struct Recent(Mutex<Ring>);

#[derive(Debug)]
struct Ring {
    lines: VecDeque<String>,
    bytes: usize,
    dropped: u64,
}

impl Recent {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn push(&mut self, text: &str) {
        for line in text.lines() {
            let line = &line[..line.floor_char_boundary(LINE_BYTES_MAX)];
            self.bytes += line.len();
            self.lines.push_back(line.to_owned());
        }
        while self.lines.len() > LINES_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.lines.pop_front() else { return };
            self.bytes -= oldest.len();
            self.dropped += 1;
        }
    }
}

/// One log line at a time: a line is formatted whole before it is written.
#[derive(Debug)]
struct Writer(&'static Recent);

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.ring().push(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for &'static Recent {
    type Writer = Writer;

    fn make_writer(&'a self) -> Writer {
        Writer(self)
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::{EnvFilter, Registry, layer::SubscriberExt as _};

    use super::*;

    fn ring() -> Ring {
        Ring { lines: VecDeque::new(), bytes: 0, dropped: 0 }
    }

    #[test]
    fn the_oldest_lines_go_first_and_are_counted() {
        let mut ring = ring();

        for number in 0..LINES_MAX + 5 {
            ring.push(&format!("line {number}\n"));
        }

        assert_eq!((ring.lines.len(), ring.dropped), (LINES_MAX, 5));
        assert_eq!(ring.lines[0], "line 5");
    }

    #[test]
    fn long_lines_do_not_take_more_than_their_room() {
        let mut ring = ring();

        for _ in 0..200 {
            ring.push(&"ä".repeat(LINE_BYTES_MAX));
        }

        assert!(ring.bytes <= BYTES_MAX && ring.bytes > BYTES_MAX - LINE_BYTES_MAX, "{}", ring.bytes);
        assert_eq!(ring.bytes, ring.lines.iter().map(String::len).sum::<usize>());
        assert!(ring.lines.iter().all(|line| line.len() == LINE_BYTES_MAX));
    }

    #[test]
    fn what_is_logged_is_kept_as_far_as_the_filter_lets_it_pass() {
        let subscriber = Registry::default().with(layer().with_filter(EnvFilter::new("info")));

        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(package = "CEN00001", "kept for whoever asks");
            tracing::debug!("not worth keeping");
        });

        let kept = lines().lines;
        assert!(kept.iter().any(|line| line.contains("kept for whoever asks") && line.contains("CEN00001")));
        assert!(!kept.iter().any(|line| line.contains("not worth keeping")));
    }
}
