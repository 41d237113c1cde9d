//! What a program writes, kept to its last 512 KiB at least and 1 MiB at most, in two files of which the older goes.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write as _},
    path::{Path, PathBuf},
};

use super::read_end;

const FILE_LENGTH_MAX: u64 = 512 * 1024;
const NEWER: &str = "output";
const OLDER: &str = "output.older";

/// Copies all that comes into the spool's files, until its end.
pub(super) fn keep(directory: &Path, mut from: impl Read) -> io::Result<()> {
    let mut kept = Kept::open(directory)?;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return kept.file.sync_all(),
            // Output that finds no room is dropped: the program must not stand still for it.
            Ok(length) => drop(kept.write(&buffer[..length])),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

pub(super) fn tail(directory: &Path, longest: u64) -> Vec<u8> {
    let newer = read_end(&directory.join(NEWER), longest).unwrap_or_default();
    let room = longest.saturating_sub(newer.len() as u64);
    let mut tail = read_end(&directory.join(OLDER), room).unwrap_or_default();
    tail.extend(newer);
    tail
}

struct Kept {
    directory: PathBuf,
    file: File,
    length: u64,
}

impl Kept {
    fn open(directory: &Path) -> io::Result<Self> {
        let file = create(&directory.join(NEWER))?;
        Ok(Kept { directory: directory.to_owned(), file, length: 0 })
    }

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        if self.length + data.len() as u64 > FILE_LENGTH_MAX {
            let newer = self.directory.join(NEWER);
            fs::rename(&newer, self.directory.join(OLDER))?;
            self.file = create(&newer)?;
            self.length = 0;
        }
        self.file.write_all(data)?;
        self.length += data.len() as u64;
        Ok(())
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_and_the_rest_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let written: Vec<u8> = (0..400_000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        assert!(written.len() > 4 * 1024 * 1024);

        keep(dir.path(), written.as_slice()).unwrap();

        assert_eq!(tail(dir.path(), 4096), written[written.len() - 4096..]);
        let whole = tail(dir.path(), u64::MAX);
        assert!(whole.len() as u64 >= FILE_LENGTH_MAX && whole.len() as u64 <= 2 * FILE_LENGTH_MAX);
        assert!(written.ends_with(&whole));
    }

    #[test]
    fn without_output_the_tail_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        assert!(tail(dir.path(), 10).is_empty());
    }
}
