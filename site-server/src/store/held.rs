//! Whether another program keeps this one from writing, and which: a shell left open in a transaction, a copy under way.
//!
//! The files of the database are not opened to find out, since closing one of them would let go of the
//! locks that SQLite holds on it in this process.

use std::{
    ffi::OsString,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// A transaction of another program that takes less is no trouble.
const PATIENCE: Duration = Duration::from_secs(2);
/// Where in the shared memory of a write-ahead log whoever writes has locked a byte (SQLite's `WAL_WRITE_LOCK`).
const WRITE_LOCK: u64 = 120;
/// The kernel's list of locks.
const LOCKS: &str = "/proc/locks";

/// The database is held by somebody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) path: PathBuf,
    /// For how long nothing could be written.
    pub(crate) for_so_long: Duration,
    /// The process and its name, if the system tells it.
    pub(crate) by: Option<(u32, String)>,
}

/// Whether somebody else holds it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Suspicion {
    None,
    /// Only the database can say whether it is still so.
    Strong(Held),
    Known(Held),
}

/// Whoever wants to write, counted.
#[derive(Debug)]
pub(crate) struct Waits {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: u32,
    /// Since when nobody could begin although somebody wanted to.
    since: Option<Instant>,
    /// The database said that it is locked, and has not been written in since.
    refused: bool,
}

/// One that waits; it counts until it is dropped.
#[derive(Debug)]
pub(crate) struct Waiting<'a>(&'a Waits);

impl Waits {
    pub(crate) fn new(path: &Path) -> Self {
        Waits { path: path.to_owned(), state: Mutex::default() }
    }

    pub(crate) fn begin(&self) -> Waiting<'_> {
        let mut state = self.state();
        state.waiting += 1;
        state.since.get_or_insert_with(Instant::now);
        Waiting(self)
    }

    /// What is known without asking the database. It reads files of the system.
    pub(crate) fn suspicion(&self) -> Suspicion {
        let (since, refused) = {
            let state = self.state();
            (state.since, state.refused)
        };
        let Some(for_so_long) = since.map(|since| since.elapsed()).filter(|long| *long >= PATIENCE) else {
            return Suspicion::None;
        };
        let by = self.holder();
        let is_known = by.is_some();
        let held = Held { path: self.path.clone(), for_so_long, by };
        match (is_known, refused) {
            (true, _) => Suspicion::Known(held),
            // It was so. Whoever it was may be of another container, or may have let go.
            (false, true) => Suspicion::Strong(held),
            // That somebody waits may be our own doing.
            (false, false) => Suspicion::None,
        }
    }

    fn holder(&self) -> Option<(u32, String)> {
        let mut shared = OsString::from(&self.path);
        shared.push("-shm");
        let inode = fs::metadata(shared).ok()?.ino();
        let id = writer(&fs::read_to_string(LOCKS).ok()?, inode, std::process::id())?;
        let name = fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
        Some((id, name.trim().to_owned()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting<'_> {
    /// It may write: whoever else waits, waits for this process.
    pub(crate) fn begun(self) {
        let mut state = self.0.state();
        state.refused = false;
        state.since = Some(Instant::now());
    }

    /// The database is locked.
    pub(crate) fn refused(self) {
        self.0.state().refused = true;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.waiting -= 1;
        // One that was refused comes again, and it is still so until somebody gets through.
        if state.waiting == 0 && !state.refused {
            state.since = None;
        }
    }
}

/// The process other than this one that holds the lock of whoever writes. A line: `1: POSIX ADVISORY WRITE PID
/// MAJOR:MINOR:INODE FIRST LAST`. Devices are not compared: some file systems give a file another one there.
fn writer(locks: &str, inode: u64, own: u32) -> Option<u32> {
    locks.lines().find_map(|line| {
        // Those that wait for a lock are told of by `->`.
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "POSIX", _, "WRITE", process, file, first, last] = words[..] else { return None };
        let is_it = file.rsplit(':').next()?.parse() == Ok(inode);
        let holds = first.parse::<u64>().ok()? <= WRITE_LOCK
            && (last == "EOF" || last.parse::<u64>().ok()? >= WRITE_LOCK);
        process.parse().ok().filter(|process| is_it && holds && *process > 0 && *process != own)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCKS: &str = "\
1: POSIX  ADVISORY  WRITE 22567 fe:00:27646 123 123
2: POSIX  ADVISORY  READ 22567 fe:00:27646 120 120
3: FLOCK  ADVISORY  WRITE 22546 fe:00:27646 0 EOF
3: -> POSIX  ADVISORY  WRITE 22549 fe:00:27646 120 120
4: POSIX  ADVISORY  WRITE 77 fe:00:27646 120 120
5: POSIX  ADVISORY  WRITE 78 00:2a:5 0 EOF
6: POSIX  ADVISORY  WRITE 0 00:2a:6 120 120
what is this
7: POSIX  ADVISORY  WRITE x fe:00:8 y z
";

    #[test]
    fn who_writes_is_found_in_the_list_of_locks() {
        for (inode, own, expected) in [
            (27646, 1, Some(77)),
            // It is this process itself.
            (27646, 77, None),
            (5, 1, Some(78)),
            // Of another container: nobody that could be named.
            (6, 1, None),
            (8, 1, None),
            (9, 1, None),
        ] {
            assert_eq!(writer(LOCKS, inode, own), expected, "{inode} {own}");
        }
    }

    #[test]
    fn since_when_nobody_could_begin() {
        let waits = Waits::new(Path::new("/nowhere/site.db"));
        let since = || waits.state().since;
        assert!(since().is_none());

        let first = waits.begin();
        let began = since().expect("it waits");
        let second = waits.begin();
        assert_eq!(since(), Some(began), "the first counts");
        first.begun();
        assert!(since().expect("the second waits") >= began);
        drop(second);
        assert!(since().is_none(), "nobody waits");

        waits.begin().refused();
        let refused = since().expect("it was refused, and comes again");
        drop(waits.begin());
        assert_eq!(since(), Some(refused), "one that gave up does not change it");
        assert_eq!(waits.suspicion(), Suspicion::None, "it has only just begun");
        waits.begin().begun();
        assert!(since().is_none());
    }
}
