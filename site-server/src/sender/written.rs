//! Which bytes of a bundle were written to its file, in whatever order: a log beside it that only grows, so that noting a
//! run costs no more than writing it. What a process wrote survives its end; what survives a power cut is only what was
//! synced, which the log says too.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{self, Write as _},
    ops::Range,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use packhorse_domain::link::{Ranges, limits};

/// The first word of the log, and the version of what follows.
const HEAD: &str = "packhorse-ranges 2";
/// Begins the word that so many of the lines after the first are on the disk.
const SYNCED: &str = "synced ";
/// A longer log is begun anew.
const LOG_BYTES_MAX: u64 = 128 * 1024;
/// What is read of one, at most.
pub(super) const READ_BYTES_MAX: u64 = 2 * LOG_BYTES_MAX;

/// The log of a file that is being written.
#[derive(Debug)]
pub(crate) struct WrittenLog {
    path: PathBuf,
    file: File,
    length: u64,
    bytes: u64,
    /// After the first.
    lines: u64,
}

/// What a log says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Noted {
    pub(crate) written: Ranges,
    /// Of that, what has outlived everything up to now.
    pub(crate) kept: Ranges,
}

impl WrittenLog {
    /// Begins a log of an item of this length, in the place of an older one.
    pub(super) fn begin(
        path: &Path,
        length: u64,
        (durable, written): (&Ranges, &Ranges),
    ) -> io::Result<Self> {
        let mut text = format!("{HEAD} {length} {}\n", boot());
        let mut lines = 0;
        for run in durable.iter() {
            push(&mut text, &run);
            lines += 1;
        }
        let _ = writeln!(text, "{SYNCED}{lines}");
        lines += 1;
        for run in written.iter().filter(|run| durable.bytes_within(run) < run.end - run.start) {
            push(&mut text, &run);
            lines += 1;
        }
        let new = path.with_extension("ranges-new");
        fs::write(&new, &text)?;
        fs::rename(&new, path)?;
        let file = File::options().append(true).open(path)?;
        Ok(WrittenLog { path: path.to_owned(), file, length, bytes: text.len() as u64, lines })
    }

    /// A run was written.
    pub(crate) fn wrote(&mut self, run: &Range<u64>) -> io::Result<()> {
        let mut line = String::new();
        push(&mut line, run);
        self.append(&line)
    }

    /// Lines so far: those are on the disk when a sync that begins now is done.
    pub(super) fn lines(&self) -> u64 {
        self.lines
    }

    /// What so many lines say is on the disk.
    pub(super) fn synced(&mut self, lines: u64) -> io::Result<()> {
        self.append(&format!("{SYNCED}{lines}\n"))
    }

    /// Begins anew if it has become long.
    pub(super) fn shorten(&mut self, durable: &Ranges, written: &Ranges) -> io::Result<bool> {
        let is_long = self.bytes > LOG_BYTES_MAX;
        if is_long {
            *self = WrittenLog::begin(&self.path, self.length, (durable, written))?;
        }
        Ok(is_long)
    }

    fn append(&mut self, line: &str) -> io::Result<()> {
        self.file.write_all(line.as_bytes())?;
        self.bytes += line.len() as u64;
        self.lines += 1;
        Ok(())
    }
}

fn push(text: &mut String, run: &Range<u64>) {
    // A string takes everything.
    let _ = writeln!(text, "{} {}", run.start, run.end);
}

/// Reads the log of an item of this length; `None`: it says nothing that can be relied on. A last line that is not whole
/// was being written, and is none.
pub(crate) fn read_log(text: &str, length: u64) -> Option<Noted> {
    read_as(text, length, boot())
}

fn read_as(text: &str, length: u64, boot: &str) -> Option<Noted> {
    let (head, rest) = text.split_once('\n')?;
    let (known, noted_boot) = head.strip_prefix(HEAD)?.trim().split_once(' ')?;
    if known.parse() != Ok(length) {
        return None;
    }
    let whole = &rest[..rest.rfind('\n').map_or(0, |end| end + 1)];
    let synced = if noted_boot == boot { u64::MAX } else { last_synced(whole)? };
    let mut noted = Noted { written: Ranges::default(), kept: Ranges::default() };
    for (nth, line) in whole.lines().enumerate().filter(|(_, line)| !line.starts_with(SYNCED)) {
        let (from, to) = line.split_once(' ')?;
        let run = from.parse().ok()?..to.parse().ok()?;
        if run.is_empty() || run.end > length || noted.written.len() > limits::RANGES_MAX {
            return None;
        }
        if (nth as u64) < synced {
            noted.kept.insert(run.clone());
        }
        noted.written.insert(run);
    }
    Some(noted)
}

fn last_synced(lines: &str) -> Option<u64> {
    lines.lines().filter_map(|line| line.strip_prefix(SYNCED)?.parse().ok()).next_back()
}

/// Names the time since the machine was started.
fn boot() -> &'static str {
    static BOOT: OnceLock<String> = OnceLock::new();
    BOOT.get_or_init(|| {
        // Without it each process counts as a start.
        fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map_or_else(|_| uuid::Uuid::new_v4().to_string(), |id| id.trim().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(runs: &[Range<u64>]) -> Ranges {
        runs.iter().cloned().collect()
    }

    #[test]
    fn what_was_written_is_there_after_the_process_and_what_was_synced_after_the_machine() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.ranges");
        let durable = ranges(&[0..100, 500..600]);
        let mut log = WrittenLog::begin(&path, 1000, (&durable, &ranges(&[0..120, 500..600]))).unwrap();
        log.wrote(&(300..310)).unwrap();
        let before = log.lines();
        log.wrote(&(310..400)).unwrap();
        log.synced(before).unwrap();
        log.wrote(&(900..1000)).unwrap();
        let text = fs::read_to_string(&path).unwrap() + "120 50";

        let written = ranges(&[0..120, 300..400, 500..600, 900..1000]);
        let noted = read_log(&text, 1000).unwrap();
        assert_eq!((&noted.written, &noted.kept), (&written, &written));
        let noted = read_as(&text, 1000, "another").unwrap();
        assert_eq!((noted.written, noted.kept), (written, ranges(&[0..120, 300..310, 500..600])));
    }

    #[test]
    fn a_long_log_begins_anew_and_says_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.ranges");
        let length = 1 << 40;
        let mut log = WrittenLog::begin(&path, length, (&Ranges::default(), &Ranges::default())).unwrap();
        let (mut written, mut begun) = (Ranges::default(), 0);
        for nth in 0..40_000_u64 {
            let run = nth * 1000..nth * 1000 + 1000;
            log.wrote(&run).unwrap();
            written.insert(run);
            begun += u32::from(log.shorten(&Ranges::before(5000), &written).unwrap());
        }

        let text = fs::read_to_string(&path).unwrap();
        assert!(begun > 1 && (text.len() as u64) < READ_BYTES_MAX);
        assert_eq!(read_log(&text, length).unwrap().written, written);
        assert_eq!(read_as(&text, length, "another").unwrap().kept, Ranges::before(5000));
    }

    #[test]
    fn what_cannot_be_right_says_nothing() {
        let head = |length: u64| format!("{HEAD} {length} boot\n");
        for text in [
            String::new(),
            "other 5 boot\nsynced 0\n".to_owned(),
            head(6) + "synced 0\n",
            head(5) + "0 6\nsynced 1\n",
            head(5) + "3 3\nsynced 1\n",
            head(5) + "x\nsynced 1\n",
        ] {
            assert_eq!(read_as(&text, 5, "boot"), None, "{text}");
        }
        assert_eq!(read_as(&(head(5) + "0 5\n"), 5, "another"), None, "nothing is known to be on the disk");
    }
}
