//! Reading a file without reading its holes.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
};

use rustix::{
    fs::{SeekFrom, seek},
    io::Errno,
};

/// A file's content; what was never written is zeros without asking the disk.
pub(super) struct Sparse<'a> {
    file: &'a File,
    length: u64,
    at: u64,
    /// Up to here there is nothing from `at` on.
    hole_end: u64,
    /// Up to here there is data, after the hole.
    data_end: u64,
}

impl<'a> Sparse<'a> {
    pub(super) fn new(file: &'a File, length: u64) -> Self {
        Sparse { file, length, at: 0, hole_end: 0, data_end: 0 }
    }

    fn find_next(&mut self) -> io::Result<()> {
        self.hole_end = match seek(self.file, SeekFrom::Data(self.at)) {
            Ok(data) => data,
            // No data follows.
            Err(Errno::NXIO) => self.length,
            // A file system that does not know where its holes are.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => self.at,
            Err(error) => return Err(error.into()),
        };
        self.data_end = match seek(self.file, SeekFrom::Hole(self.hole_end)) {
            Ok(hole) => hole,
            Err(Errno::NXIO | Errno::INVAL | Errno::OPNOTSUPP) => self.length,
            Err(error) => return Err(error.into()),
        };
        Ok(())
    }
}

impl Read for Sparse<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at < self.length && self.at >= self.data_end {
            self.find_next()?;
        }
        let (hole, data) = (self.hole_end.min(self.length), self.data_end.min(self.length));
        let read = if self.at < hole {
            let length = (hole - self.at).min(buffer.len() as u64) as usize;
            buffer[..length].fill(0);
            length
        } else {
            // At the end, what follows tells that the file has grown.
            let length = match data.saturating_sub(self.at) {
                0 => buffer.len(),
                left => left.min(buffer.len() as u64) as usize,
            };
            self.file.read_at(&mut buffer[..length], self.at)?
        };
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Read, os::unix::fs::FileExt};

    use super::Sparse;
    use crate::testing::noise;

    #[test]
    fn holes_are_zeros_and_data_is_data() {
        let dir = tempfile::tempdir().unwrap();
        for pieces in [
            vec![],
            vec![(0, 5000)],
            vec![(1_000_000, 10)],
            vec![(0, 1), (300_000, 70_000), (900_000, 100_000)],
            vec![(999_999, 1)],
        ] {
            let path = dir.path().join("file");
            let file = File::create(&path).unwrap();
            file.set_len(1_000_000).unwrap();
            let mut expected = vec![0; 1_000_000];
            for (at, length) in pieces {
                let bytes = noise(at as u64, length);
                file.write_all_at(&bytes, at as u64).unwrap();
                expected.resize(expected.len().max(at + length), 0);
                expected[at..at + length].copy_from_slice(&bytes);
            }
            let file = File::open(&path).unwrap();
            let mut read = Vec::new();
            Sparse::new(&file, expected.len() as u64).read_to_end(&mut read).unwrap();
            assert!(read == expected);
        }
    }

    #[test]
    fn a_file_that_has_grown_is_longer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, vec![1; 200_000]).unwrap();
        let file = File::open(&path).unwrap();
        let mut read = Vec::new();
        Sparse::new(&file, 100_000).read_to_end(&mut read).unwrap();
        assert!(read.len() > 100_000);
    }
}
