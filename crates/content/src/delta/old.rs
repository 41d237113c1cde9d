//! Old content: many files one after the other, in one file, so that any place of it can be looked at.

use std::{fs::File, io, os::unix::fs::FileExt as _, path::Path};

use crate::deflated::Region;

/// What a window takes at first, before its place and after it.
const FIRST_BYTES: u64 = 2 * 1024;
const BACK_BYTES: u64 = 512;
const GROWN_BYTES: u64 = 256 * 1024;

/// The content, in a file without a name.
#[derive(Debug)]
pub(crate) struct OldContent {
    file: File,
    length: u64,
}

impl OldContent {
    pub(crate) fn new(directory: &Path) -> io::Result<Self> {
        Ok(OldContent { file: tempfile::tempfile_in(directory)?, length: 0 })
    }

    /// More of it. Where there is nothing, zeros are read.
    pub(crate) fn put(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    pub(crate) fn set_length(&mut self, length: u64) -> io::Result<()> {
        self.length = length;
        self.file.set_len(length)
    }

    /// Writes from a place on.
    pub(crate) fn writer(&self, at: u64) -> OldWriter<'_> {
        OldWriter { file: &self.file, at }
    }

    /// Something was written that ends here, and the content reaches that far.
    pub(crate) fn end_at(&mut self, end: u64) -> io::Result<()> {
        if end > self.length { self.set_length(end) } else { Ok(()) }
    }

    /// A part of it.
    pub(crate) fn region(&self, start: u64, length: u64) -> Region<'_> {
        Region { file: &self.file, start, length }
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    pub(crate) fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(into, offset)
    }
}

/// Writes more of it, from one place on.
#[derive(Debug)]
pub(crate) struct OldWriter<'a> {
    file: &'a File,
    at: u64,
}

impl io::Write for OldWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write_at(bytes, self.at)?;
        self.at += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A stretch of the content in memory. It grows while it is moved on, and begins small when it is moved elsewhere.
#[derive(Debug, Default)]
pub(super) struct Window {
    start: u64,
    bytes: Vec<u8>,
    step: u64,
}

impl Window {
    /// What is there from `from` on: `least` bytes, unless the content ends before.
    pub(super) fn from(&mut self, old: &OldContent, from: u64, least: usize) -> io::Result<&[u8]> {
        let end = from.saturating_add(least as u64).min(old.length());
        if from < self.start || end > self.start + self.bytes.len() as u64 {
            self.load(old, from, end)?;
        }
        Ok(&self.bytes[usize::try_from(from - self.start).unwrap_or(usize::MAX).min(self.bytes.len())..])
    }

    /// What is there before `upto`: `least` bytes, unless the content begins after.
    pub(super) fn before(&mut self, old: &OldContent, upto: u64, least: usize) -> io::Result<&[u8]> {
        let from = upto.saturating_sub(least as u64);
        self.from(old, from, usize::try_from(upto - from).unwrap_or(usize::MAX))?;
        let end = usize::try_from(upto - self.start).unwrap_or(usize::MAX).min(self.bytes.len());
        Ok(&self.bytes[..end])
    }

    /// So many bytes from a place on, if they are in memory.
    pub(super) fn held(&self, from: u64, length: usize) -> Option<&[u8]> {
        let begin = usize::try_from(from.checked_sub(self.start)?).ok()?;
        self.bytes.get(begin..begin.checked_add(length)?)
    }

    /// Where it begins, and what it has in memory.
    pub(super) fn held_bytes(&self) -> (u64, &[u8]) {
        (self.start, &self.bytes)
    }

    /// Has what lies between two places in memory, and nothing else.
    pub(super) fn hold(&mut self, old: &OldContent, from: u64, end: u64) -> io::Result<()> {
        self.bytes.resize(usize::try_from(end.saturating_sub(from)).unwrap_or_default(), 0);
        (self.start, self.step) = (from, 0);
        old.read_at(from, &mut self.bytes)
    }

    /// Has what another one has between two places.
    pub(super) fn take_part(&mut self, other: &Window, from: u64, end: u64) {
        let at = |place: u64| {
            usize::try_from(place.saturating_sub(other.start)).unwrap_or(usize::MAX).min(other.bytes.len())
        };
        (self.start, self.step) = (from.max(other.start), 0);
        self.bytes.clear();
        self.bytes.extend_from_slice(&other.bytes[at(from)..at(end)]);
    }

    fn load(&mut self, old: &OldContent, from: u64, end: u64) -> io::Result<()> {
        let goes_on = from >= self.start && from <= self.start + self.bytes.len() as u64;
        self.step = if goes_on { (self.step * 2).clamp(FIRST_BYTES, GROWN_BYTES) } else { FIRST_BYTES };
        let start = from.saturating_sub(BACK_BYTES);
        let end = end.max(from.saturating_add(self.step)).min(old.length());
        self.bytes.resize(usize::try_from(end.saturating_sub(start)).unwrap_or_default(), 0);
        self.start = start;
        old.read_at(start, &mut self.bytes)
    }
}
