//! Makes new content of old content and of what was told.

use std::io::{self, Read};

use super::{COPY_MAX, OldContent, Stream, differences::Differences, streams::Streams};
use crate::bundle::BundleError;

pub(crate) struct Decoder<'a> {
    old: &'a OldContent,
    differences: Differences,
    last_shift: i64,
    place: u64,
    buffer: Vec<u8>,
}

/// The next file's bytes, as they are made. What it fails with is kept: a reader would hide it.
pub(crate) struct FileContent<'d, 'a, 's> {
    decoder: &'d mut Decoder<'a>,
    streams: &'s mut Streams,
    /// Of the file, of its present step, and of the buffer.
    left: u64,
    literals: u64,
    copied: usize,
    ready: std::ops::Range<usize>,
    failure: Option<BundleError>,
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(old: &'a OldContent) -> Self {
        let buffer = vec![0; COPY_MAX];
        Decoder { old, differences: Differences::default(), last_shift: 0, place: 0, buffer }
    }

    /// The next file, which has this length.
    pub(crate) fn file<'d, 's>(
        &'d mut self,
        streams: &'s mut Streams,
        length: u64,
    ) -> FileContent<'d, 'a, 's> {
        FileContent {
            decoder: self,
            streams,
            left: length,
            literals: 0,
            copied: 0,
            ready: 0..0,
            failure: None,
        }
    }

    fn copy(&mut self, streams: &mut Streams, count: usize) -> Result<(), BundleError> {
        self.last_shift = self.last_shift.wrapping_add(unfolded(streams.number(Stream::Shifts)?));
        let place = self.place.checked_add_signed(self.last_shift);
        let is_there =
            |place: &u64| place.checked_add(count as u64).is_some_and(|end| end <= self.old.length());
        let place = place.filter(is_there);
        let place = place.ok_or(BundleError::Damaged("a copy in it lies beyond the old content"))?;
        let bytes = &mut self.buffer[..count];
        self.old.read_at(place, bytes).map_err(BundleError::Read)?;
        self.differences.apply(bytes, streams)
    }
}

impl FileContent<'_, '_, '_> {
    /// Why it ended before its end, if it did.
    pub(crate) fn failure(self) -> Option<BundleError> {
        self.failure
    }

    fn step(&mut self) -> Result<(), BundleError> {
        let literals = self.streams.number(Stream::LiteralLengths)?;
        let copied = self.streams.number(Stream::CopyLengths)?;
        let fits = literals.checked_add(copied).is_some_and(|both| (1..=self.left).contains(&both));
        if !fits || copied > COPY_MAX as u64 {
            return Err(BundleError::Damaged("a step in it goes beyond its file"));
        }
        (self.literals, self.copied) = (literals, copied as usize);
        Ok(())
    }

    fn fill(&mut self, into: &mut [u8]) -> Result<usize, BundleError> {
        if self.ready.is_empty() {
            if self.literals == 0 && self.copied == 0 {
                if self.left == 0 {
                    return Ok(0);
                }
                self.step()?;
            }
            if self.literals > 0 {
                // Most of what is told for the first time is that: it goes where it is wanted.
                let length = usize::try_from(self.literals).unwrap_or(usize::MAX).min(into.len());
                self.streams.bytes(Stream::Literals, &mut into[..length])?;
                self.literals -= length as u64;
                self.advance(length);
                return Ok(length);
            }
            let count = std::mem::take(&mut self.copied);
            self.decoder.copy(self.streams, count)?;
            self.advance(count);
            self.ready = 0..count;
        }
        let length = into.len().min(self.ready.len());
        let from = self.ready.start;
        into[..length].copy_from_slice(&self.decoder.buffer[from..from + length]);
        self.ready.start += length;
        Ok(length)
    }

    /// So many bytes were made.
    fn advance(&mut self, made: usize) {
        self.decoder.place += made as u64;
        self.left -= made as u64;
    }
}

impl Read for FileContent<'_, '_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.failure.is_some() {
            return Ok(0);
        }
        Ok(self.fill(into).unwrap_or_else(|error| {
            self.failure = Some(error);
            0
        }))
    }
}

fn unfolded(number: u64) -> i64 {
    ((number >> 1) ^ (number & 1).wrapping_neg()) as i64
}
