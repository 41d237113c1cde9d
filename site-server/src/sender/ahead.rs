//! Bytes read ahead of what goes out: a frame is small on a slow or shared line, and each read costs a change of thread.

use std::{fs::File, io};

use bytes::Bytes;
use packhorse_domain::link::ItemId;
use rustix::{buffer::spare_capacity, io::retry_on_intr};

/// What is read at a time. Each link holds so much, so it is a part of what a child costs in memory.
const READ_BYTES: u64 = 256 * 1024;

/// The rest of the last read, one for each link: what goes out in turns with something else is read anew.
#[derive(Debug, Default)]
pub(super) struct Ahead(Option<Rest>);

#[derive(Debug)]
struct Rest {
    item: ItemId,
    offset: u64,
    bytes: Bytes,
}

impl Ahead {
    /// How much to read for a frame, if the bytes before `upto` are there.
    pub(super) fn length(offset: u64, length: usize, upto: u64) -> usize {
        let there = usize::try_from(upto.saturating_sub(offset).min(READ_BYTES)).unwrap_or(length);
        there.max(length)
    }

    /// The bytes of a frame, if they were read already.
    pub(super) fn take(&mut self, item: ItemId, offset: u64, length: usize) -> Option<Bytes> {
        let rest = self.0.as_mut()?;
        if rest.item != item || rest.offset != offset || rest.bytes.len() < length {
            return None;
        }
        let frame = rest.bytes.split_to(length);
        rest.offset += length as u64;
        if rest.bytes.is_empty() {
            // An empty rest would keep the whole read in memory.
            self.0 = None;
        }
        Some(frame)
    }

    /// Takes a read in and gives its first bytes.
    pub(super) fn fill(&mut self, item: ItemId, offset: u64, mut bytes: Bytes, length: usize) -> Bytes {
        let frame = bytes.split_to(length.min(bytes.len()));
        self.0 = (!bytes.is_empty()).then(|| Rest { item, offset: offset + frame.len() as u64, bytes });
        frame
    }
}

/// Reads so many bytes, into memory that nobody has cleared. Not for an async thread.
pub(super) fn read(file: &File, offset: u64, length: usize) -> io::Result<Bytes> {
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let at = offset + bytes.len() as u64;
        if retry_on_intr(|| rustix::io::pread(file, spare_capacity(&mut bytes), at))? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
    }
    // There may have been room for more.
    bytes.truncate(length);
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const ITEM: ItemId = ItemId([1; 16]);

    #[test]
    fn a_read_is_cut_into_frames_in_their_order() {
        let mut ahead = Ahead::default();

        assert_eq!(ahead.fill(ITEM, 100, Bytes::from_static(b"abcdef"), 2), "ab");
        assert_eq!(ahead.take(ITEM, 102, 3).as_deref(), Some(b"cde".as_slice()));
        assert_eq!(ahead.take(ITEM, 105, 2), None, "the rest is shorter");
        assert_eq!(ahead.take(ITEM, 104, 1), None, "it starts again elsewhere");
        assert_eq!(ahead.take(ItemId([2; 16]), 105, 1), None, "another item");
        assert_eq!(ahead.take(ITEM, 105, 1).as_deref(), Some(b"f".as_slice()));
        assert_eq!(ahead.take(ITEM, 106, 1), None);
        assert_eq!(ahead.fill(ITEM, 0, Bytes::from_static(b"ab"), 2), "ab");
        assert!(ahead.0.is_none());
    }

    #[test]
    fn a_file_that_is_shorter_is_no_source() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(b"abcdef").expect("written");

        assert_eq!(read(&file, 2, 3).expect("read"), "cde");
        let error = read(&file, 2, 5).expect_err("too short");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn only_what_is_there_is_read_ahead() {
        for (offset, length, upto, expected) in [
            (0, 1000, 1_000_000, 262_144),
            (900_000, 1000, 1_000_000, 100_000),
            (0, 1000, 1000, 1000),
            (0, 1000, 0, 1000),
            (0, 300_000, 1_000_000, 300_000),
        ] {
            assert_eq!(Ahead::length(offset, length, upto), expected, "{offset} {length} {upto}");
        }
    }
}
