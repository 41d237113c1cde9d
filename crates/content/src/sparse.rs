//! Reading a file without reading its holes, and writing one without filling them.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
};

use rustix::{
    fs::{SeekFrom, seek},
    io::Errno,
};

use crate::cut::is_zero;

/// The smallest block of usual file systems: a shorter run of zeros cannot be a hole.
const BLOCK: usize = 4096;

/// A file's content; what was never written is zeros without asking the disk.
pub(crate) struct Sparse<'a> {
    file: &'a File,
    length: u64,
    at: u64,
    /// Up to here there is nothing from `at` on.
    hole_end: u64,
    /// Up to here there is data, after the hole.
    data_end: u64,
}

impl<'a> Sparse<'a> {
    pub(crate) fn new(file: &'a File, length: u64) -> Self {
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

/// Writes bytes at a place of a new file where nothing was written before, but no blocks of zeros nor their parts at either
/// end: what is not written reads as zeros. A file that ends in zeros still has to be given its length.
pub(crate) fn write_at(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    let mut from = 0;
    let mut next = 0;
    while next < bytes.len() {
        let to_boundary = BLOCK - ((at + next as u64) % BLOCK as u64) as usize;
        let end = bytes.len().min(next + to_boundary);
        if is_zero(&bytes[next..end]) {
            if from < next {
                file.write_all_at(&bytes[from..next], at + from as u64)?;
            }
            from = end;
        }
        next = end;
    }
    match &bytes[from..] {
        [] => Ok(()),
        rest => file.write_all_at(rest, at + from as u64),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Read, os::unix::fs::FileExt};

    use super::{Sparse, write_at};
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

    #[test]
    fn what_is_written_with_holes_reads_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let mut content = noise(1, 200_000);
        content[10_000..90_000].fill(0);
        content[150_000..].fill(0);
        for piece in [200_000, 65_536, 4096, 5000, 1] {
            let path = dir.path().join(piece.to_string());
            let file = File::create_new(&path).unwrap();
            for (number, bytes) in content.chunks(piece).enumerate() {
                write_at(&file, bytes, (number * piece) as u64).unwrap();
            }
            file.set_len(content.len() as u64).unwrap();
            assert!(std::fs::read(&path).unwrap() == content, "{piece}");
        }
    }
}
