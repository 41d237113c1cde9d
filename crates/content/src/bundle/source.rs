//! Where the bytes of a bundle come from: a file that is whole, or one that is still being filled.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::durable::lock;

/// A bundle's file. To clone it is cheap.
#[derive(Debug, Clone)]
pub struct Source {
    file: Arc<File>,
    length: u64,
    coming: Option<Arc<Coming>>,
    /// It was read before, and was what was offered.
    is_proved: bool,
}

/// How far a file that is being filled has come, from its begin on.
#[derive(Debug)]
pub struct Coming {
    state: Mutex<State>,
    moved: Condvar,
    patience: Patience,
    began: Instant,
    /// Whoever fills it checks each byte, and says so.
    is_checked: bool,
}

/// How long somebody waits for the bytes of a file that is being filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For the next of them.
    pub next: Duration,
    /// For any of them, from the begin on.
    pub all: Duration,
}

#[derive(Debug)]
struct State {
    upto: u64,
    is_over: bool,
    is_proved: bool,
}

impl Source {
    /// A file that is whole.
    pub fn whole(file: File) -> io::Result<Source> {
        let length = file.metadata()?.len();
        Ok(Source { file: Arc::new(file), length, coming: None, is_proved: false })
    }

    /// As [`Source::whole`], of a file that was just found to be what was offered: it is not hashed once more.
    pub fn proved(file: File) -> io::Result<Source> {
        Ok(Source { is_proved: true, ..Source::whole(file)? })
    }

    /// A file that will be so long. Whoever reads it waits for what is not there yet, and fails when nothing more comes.
    pub fn coming(file: File, length: u64, coming: Arc<Coming>) -> Source {
        Source { file: Arc::new(file), length, coming: Some(coming), is_proved: false }
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// As much as is there, at least a byte; 0 at the end.
    pub(crate) fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        let upto = match &self.coming {
            Some(coming) if at < self.length => coming.beyond(at)?.min(self.length),
            _ => self.length,
        };
        let most = usize::try_from(upto.saturating_sub(at)).unwrap_or(usize::MAX).min(into.len());
        self.file.read_at(&mut into[..most], at)
    }

    /// Fills the buffer with what is there from `at` on.
    pub fn read_exact_at(&self, mut into: &mut [u8], mut at: u64) -> io::Result<()> {
        while !into.is_empty() {
            match self.read_at(into, at) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    into = &mut into[read..];
                    at += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether all of it came, and whoever filled the file has proved that it is what was offered. Waits until nothing more
    /// comes, unless nobody will say so.
    pub(crate) fn is_proved(&self) -> bool {
        let is_proved = |coming: &Arc<Coming>| coming.is_checked && coming.proves(self.length);
        self.is_proved || self.coming.as_ref().is_some_and(is_proved)
    }

    /// Whoever waits for bytes gets none: nobody needs them any more.
    pub(crate) fn end(&self) {
        if let Some(coming) = &self.coming {
            coming.end();
        }
    }
}

impl Coming {
    /// A file of which the first `upto` bytes are there. `is_checked`: whoever fills it checks each byte, and will say whether
    /// all are right; else whoever needs to know has to look.
    pub fn new(upto: u64, patience: Patience, is_checked: bool) -> Arc<Coming> {
        let state = Mutex::new(State { upto, is_over: false, is_proved: false });
        Arc::new(Coming { state, moved: Condvar::new(), patience, began: Instant::now(), is_checked })
    }

    /// All bytes before `upto` are in the file now.
    pub fn reach(&self, upto: u64) {
        let mut state = lock(&self.state);
        if upto > state.upto {
            state.upto = upto;
            self.moved.notify_all();
        }
    }

    /// Each byte was checked by a hash that leads to the digest that was offered: it need not be hashed once more.
    pub fn prove(&self) {
        lock(&self.state).is_proved = true;
    }

    /// Nothing more comes.
    pub fn end(&self) {
        lock(&self.state).is_over = true;
        self.moved.notify_all();
    }

    /// Whether it is known by now that these bytes are what was offered: all that there should be.
    pub fn is_proved(&self, length: u64) -> bool {
        let state = lock(&self.state);
        state.is_proved && state.upto >= length
    }

    /// The same, once nothing more comes.
    fn proves(&self, length: u64) -> bool {
        let over = self.moved.wait_while(lock(&self.state), |state| !state.is_over);
        drop(over.unwrap_or_else(PoisonError::into_inner));
        self.is_proved(length)
    }

    /// Until where the bytes are there, once that is beyond `at`.
    fn beyond(&self, at: u64) -> io::Result<u64> {
        let mut state = lock(&self.state);
        while state.upto <= at {
            let before = state.upto;
            if state.is_over {
                return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the rest does not come now"));
            }
            let late = || io::Error::new(io::ErrorKind::TimedOut, "the rest is long in coming");
            if self.began.elapsed() >= self.patience.all {
                return Err(late());
            }
            let waited = self.moved.wait_timeout(state, self.patience.next);
            let (now, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            state = now;
            if waited.timed_out() && state.upto == before {
                return Err(late());
            }
        }
        Ok(state.upto)
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, thread};

    use super::*;

    const LONG: Patience = Patience { next: Duration::from_secs(60), all: Duration::from_secs(600) };

    #[test]
    fn who_reads_waits_for_what_comes() {
        let mut file = tempfile::tempfile().unwrap();
        let coming = Coming::new(0, LONG, true);
        let source = Source::coming(file.try_clone().unwrap(), 6, coming.clone());
        let reader = thread::spawn(move || {
            let mut bytes = [0; 6];
            source.read_exact_at(&mut bytes, 0).map(|()| bytes)
        });
        for (piece, upto) in [("ab", 2), ("cde", 5), ("f", 6)] {
            file.write_all(piece.as_bytes()).unwrap();
            coming.reach(upto);
        }

        assert_eq!(&reader.join().unwrap().unwrap(), b"abcdef");
    }

    #[test]
    fn what_lies_in_the_file_beyond_what_came_is_not_read() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"abXX").unwrap();
        let source = Source::coming(file, 4, Coming::new(2, LONG, true));
        let mut bytes = [0; 4];

        assert_eq!(source.read_at(&mut bytes, 0).unwrap(), 2);
        assert_eq!(source.read_at(&mut bytes, 4).unwrap(), 0, "it is at its end");
    }

    #[test]
    fn what_is_proved_is_known_when_nothing_more_comes() {
        for (upto, proves, expected) in [(4, true, true), (4, false, false), (3, true, false)] {
            let coming = Coming::new(upto, LONG, true);
            let source = Source::coming(tempfile::tempfile().unwrap(), 4, coming.clone());
            let waits = thread::spawn(move || source.is_proved());
            if proves {
                coming.prove();
            }
            coming.end();
            assert_eq!(waits.join().unwrap(), expected, "{upto} {proves}");
        }
        assert!(!Source::whole(tempfile::tempfile().unwrap()).unwrap().is_proved());
        let unchecked = Coming::new(4, LONG, false);
        assert!(
            !Source::coming(tempfile::tempfile().unwrap(), 4, unchecked).is_proved(),
            "nobody will say so"
        );
    }

    #[test]
    fn who_waits_hears_that_nothing_more_comes() {
        let coming = Coming::new(1, LONG, true);
        let source = Source::coming(tempfile::tempfile().unwrap(), 4, coming.clone());
        let reader = thread::spawn(move || source.read_at(&mut [0; 4], 1));
        coming.end();
        assert_eq!(reader.join().unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }

    #[test]
    fn nobody_waits_for_what_stalls_or_trickles() {
        let stalls = Coming::new(1, Patience { next: Duration::from_millis(1), ..LONG }, true);
        let stalled = Source::coming(tempfile::tempfile().unwrap(), 4, stalls);
        assert_eq!(stalled.read_at(&mut [0; 4], 1).unwrap_err().kind(), io::ErrorKind::TimedOut);

        let trickles = Coming::new(0, Patience { all: Duration::from_millis(20), ..LONG }, true);
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 40).unwrap();
        let source = Source::coming(file, 1 << 40, trickles.clone());
        let reader = thread::spawn(move || {
            let mut at = 0;
            loop {
                match source.read_at(&mut [0; 16], at) {
                    Ok(read) => at += read as u64,
                    Err(error) => return error,
                }
            }
        });
        let mut upto = 0;
        while !reader.is_finished() {
            upto += 1;
            trickles.reach(upto);
            thread::yield_now();
        }
        assert_eq!(reader.join().unwrap().kind(), io::ErrorKind::TimedOut);
    }
}
