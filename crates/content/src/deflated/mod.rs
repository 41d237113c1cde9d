//! What lies deflated within archives: found, inflated, and deflated again to the very same bytes.
//!
//! A new version of an archive has little in common with the old one, as its bytes go, and nearly all as its contents go.

mod archive;
mod stream;

use std::{fs::File, io, os::unix::fs::FileExt as _};

pub(crate) use archive::{Deflated, RUN_LENGTH_MIN, in_archive, is_archive};
pub(crate) use stream::{Level, Levels, deflated, inflate};

/// A part of a file that can be read at any place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Region<'a> {
    pub(crate) file: &'a File,
    pub(crate) start: u64,
    pub(crate) length: u64,
}

/// Reads a region from its begin to its end.
#[derive(Debug)]
pub(crate) struct RegionReader<'a> {
    region: Region<'a>,
    at: u64,
}

/// What is inflated is not longer than so many times what it comes of: more would be a bomb, and is left as it is.
const INFLATES_MAX: u64 = 128;

/// What so many deflated bytes may become, at most.
pub(crate) fn inflated_max(length: u64) -> u64 {
    length.saturating_mul(INFLATES_MAX)
}

impl<'a> Region<'a> {
    pub(crate) fn part(&self, at: u64, length: u64) -> Region<'a> {
        let at = at.min(self.length);
        Region { file: self.file, start: self.start + at, length: length.min(self.length - at) }
    }

    pub(crate) fn reader(&self) -> RegionReader<'a> {
        RegionReader { region: *self, at: 0 }
    }
}

impl rawzip::ReaderAt for Region<'_> {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = self.length.saturating_sub(offset);
        let most = into.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if most == 0 { Ok(0) } else { self.file.read_at(&mut into[..most], self.start + offset) }
    }
}

impl io::Read for RegionReader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = rawzip::ReaderAt::read_at(&self.region, into, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
pub(crate) mod tests;
