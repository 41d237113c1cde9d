//! Makes new content of old content and of what was told.

use std::io::{self, Write};

use super::{COPY_MAX, OldContent, Stream, differences::Differences, streams::Streams};
use crate::bundle::BundleError;

/// Literals are passed on in such pieces.
const PIECE_BYTES: usize = 64 * 1024;

pub(crate) struct Decoder<'a> {
    old: &'a OldContent,
    differences: Differences,
    last_shift: i64,
    place: u64,
    buffer: Vec<u8>,
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(old: &'a OldContent) -> Self {
        Decoder {
            old,
            differences: Differences::default(),
            last_shift: 0,
            place: 0,
            buffer: vec![0; PIECE_BYTES.max(COPY_MAX)],
        }
    }

    /// Writes the next file, which has this length.
    pub(crate) fn file(
        &mut self,
        streams: &mut Streams,
        length: u64,
        out: &mut dyn Write,
    ) -> Result<(), BundleError> {
        let mut left = length;
        while left > 0 {
            let literals = streams.number(Stream::LiteralLengths)?;
            let copied = streams.number(Stream::CopyLengths)?;
            let both = literals.checked_add(copied).filter(|both| (1..=left).contains(both));
            let (Some(both), true) = (both, copied <= COPY_MAX as u64) else {
                return Err(BundleError::Damaged("a step in it goes beyond its file"));
            };
            self.literals(streams, literals, out)?;
            self.place += literals;
            if copied > 0 {
                self.copy(streams, copied as usize, out)?;
                self.place += copied;
            }
            left -= both;
        }
        Ok(())
    }

    fn literals(&mut self, streams: &mut Streams, count: u64, out: &mut dyn Write) -> Result<(), BundleError> {
        let mut left = count;
        while left > 0 {
            let piece = left.min(PIECE_BYTES as u64) as usize;
            streams.bytes(Stream::Literals, &mut self.buffer[..piece])?;
            out.write_all(&self.buffer[..piece]).map_err(BundleError::Write)?;
            left -= piece as u64;
        }
        Ok(())
    }

    fn copy(&mut self, streams: &mut Streams, count: usize, out: &mut dyn Write) -> Result<(), BundleError> {
        self.last_shift = self.last_shift.wrapping_add(unfolded(streams.number(Stream::Shifts)?));
        let place = self.place.checked_add_signed(self.last_shift);
        let place = place.filter(|place| place.checked_add(count as u64).is_some_and(|end| end <= self.old.length()));
        let place = place.ok_or(BundleError::Damaged("a copy in it lies beyond the old content"))?;
        let bytes = &mut self.buffer[..count];
        self.old.read_at(place, bytes).map_err(read_failed)?;
        self.differences.apply(bytes, streams)?;
        out.write_all(bytes).map_err(BundleError::Write)
    }
}

fn read_failed(error: io::Error) -> BundleError {
    BundleError::Read(error)
}

fn unfolded(number: u64) -> i64 {
    ((number >> 1) ^ (number & 1).wrapping_neg()) as i64
}
