//! Which bytes of a bundle are in its file. Lanes bring them in any order, so the file's length does not say it: a log
//! beside it does. Where it is missing, what is there is all before the end.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use packhorse_content::Outline;
use packhorse_domain::{
    Digest,
    link::{ItemId, Ranges},
};

use crate::{
    directories::Directories,
    sender::{
        arriving::{SyncError, check_parts},
        written::{READ_BYTES_MAX, WrittenLog, read_log},
    },
};

/// The files of one arrival.
#[derive(Debug, Clone)]
pub(crate) struct Spool {
    part: PathBuf,
    ranges: PathBuf,
    outline: PathBuf,
}

/// An arrival's file, and what is in it.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) file: File,
    pub(crate) here: Ranges,
    /// The log beside it is what counts.
    pub(crate) is_scattered: bool,
}

impl Spool {
    pub(crate) fn of(directories: &Directories, item: &ItemId) -> Self {
        Spool {
            part: directories.arrival(item),
            ranges: directories.arrival_ranges(item),
            outline: directories.arrival_outline(item),
        }
    }

    /// Of something that no line brings, in a directory of its own.
    pub(crate) fn at(directory: &Path, item: &ItemId) -> Self {
        let file = |kind: &str| directory.join(format!("{item}.{kind}"));
        Spool { part: file("part"), ranges: file("ranges"), outline: file("outline") }
    }

    /// What is there is not needed any more, or of no use; what is gone already is as good.
    pub(crate) fn remove(&self) {
        for path in [&self.part, &self.ranges, &self.outline] {
            drop(fs::remove_file(path));
        }
    }

    /// Opens the file, which may hold a part already. Not for an async thread.
    pub(crate) fn open(&self, length: u64, digest: &Digest) -> io::Result<Opened> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&self.part)?;
        // What is longer than the item was not written for it.
        if file.metadata()?.len() > length {
            file.set_len(0)?;
        }
        file.sync_all()?;
        let here = file.metadata()?.len();
        let known = match fs::metadata(&self.ranges) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Opened { file, here: Ranges::before(here), is_scattered: false });
            }
            Ok(facts) if facts.len() <= READ_BYTES_MAX => fs::read_to_string(&self.ranges).ok(),
            Ok(_) | Err(_) => None,
        };
        let known = known.and_then(|text| read_log(&text, length)).map(|noted| noted.kept);
        let here = match known.filter(|known| known.iter().all(|run| run.end <= here)) {
            Some(known) => known,
            None => Ranges::before(self.sound(&file, (here, length), digest)?),
        };
        Ok(Opened { file, here, is_scattered: true })
    }

    /// Begins to note what is written where.
    pub(crate) fn log(&self, length: u64, durable: &Ranges, written: &Ranges) -> io::Result<WrittenLog> {
        WrittenLog::begin(&self.ranges, length, (durable, written))
    }

    /// Where the sound parts at the beginning end, when nothing says what is there: without an outline nothing is sound.
    fn sound(&self, file: &File, (here, length): (u64, u64), digest: &Digest) -> io::Result<u64> {
        let outline = fs::read(&self.outline).ok().and_then(|bytes| Outline::from_bytes(&bytes).ok());
        let Some(outline) = outline.filter(|outline| outline.leads_to(length, digest)) else {
            return Ok(0);
        };
        match check_parts(file, &outline, (0, here), length) {
            Ok(upto) | Err(SyncError::Damaged { at: upto }) => Ok(upto),
            Err(SyncError::Disk(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: u64 = 3 << 20;

    fn spool() -> (tempfile::TempDir, Spool, Vec<u8>, Digest) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let spool = Spool {
            part: root.join("a.part"),
            ranges: root.join("a.ranges"),
            outline: root.join("a.outline"),
        };
        let content = crate::testing::noise(LENGTH as usize, 1);
        let digest = crate::record::digest(&content);
        (directory, spool, content, digest)
    }

    fn outlined(spool: &Spool, content: &[u8]) {
        let mut outliner = packhorse_content::Outliner::new();
        outliner.update(content);
        fs::write(&spool.outline, outliner.finish().1.to_bytes()).unwrap();
    }

    #[test]
    fn what_was_noted_is_there() {
        let (_directory, spool, content, digest) = spool();
        fs::write(&spool.part, &content[..2_000_000]).unwrap();
        let here: Ranges = [0..10, 1_000_000..2_000_000].into_iter().collect();
        spool.log(LENGTH, &here, &here).unwrap();

        let opened = spool.open(LENGTH, &digest).unwrap();

        assert_eq!((opened.here, opened.is_scattered), (here, true));
    }

    #[test]
    fn without_a_note_the_length_counts() {
        let (_directory, spool, content, digest) = spool();
        assert_eq!(spool.open(LENGTH, &digest).unwrap().here, Ranges::default());
        fs::write(&spool.part, &content[..5000]).unwrap();

        let opened = spool.open(LENGTH, &digest).unwrap();

        assert_eq!((opened.here, opened.is_scattered), (Ranges::before(5000), false));
        fs::write(&spool.part, [0; 10]).unwrap();
        assert_eq!(spool.open(9, &digest).unwrap().here, Ranges::default(), "it is another item's");
    }

    #[test]
    fn a_note_that_cannot_be_right_leaves_what_is_sound() {
        let (_directory, spool, mut content, digest) = spool();
        content[2 << 20] ^= 1;
        fs::write(&spool.part, &content).unwrap();
        for text in ["", "packhorse-ranges 2 5 boot\n0 5\nsynced 1\n", "other"] {
            fs::write(&spool.ranges, text).unwrap();
            assert_eq!(spool.open(LENGTH, &digest).unwrap().here, Ranges::default(), "{text}");
        }
        content[2 << 20] ^= 1;
        outlined(&spool, &content);

        assert_eq!(spool.open(LENGTH, &digest).unwrap().here, Ranges::before(2 << 20));
    }
}
