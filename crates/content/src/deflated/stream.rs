//! One run of deflated bytes.

use std::io::{self, Read, Write};

use flate2::{Compression, Decompress, FlushDecompress, Status, read::DeflateEncoder};

use super::Region;

const BUFFER_BYTES: usize = 64 * 1024;
/// The usual one first, then those that are asked for by name: best, fast.
const LEVELS: [u8; 9] = [6, 9, 1, 5, 4, 3, 2, 7, 8];
/// After so many runs of an archive of which none came out again, no more are tried: another program made it.
const PATIENCE: u32 = 4;

/// How hard zlib looked for what is the same, 1 to 9.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Level(u8);

/// The levels at which the runs of an archive were made.
#[derive(Debug, Default)]
pub(crate) struct Levels {
    last: Option<Level>,
    failed: u32,
}

/// Inflates what begins with a run of deflated bytes. Gives how many of them there are and what they become; nothing if they
/// are no such run, or become more than `most`.
pub(crate) fn inflate(content: Region<'_>, most: u64, out: &mut dyn Write) -> io::Result<Option<(u64, u64)>> {
    let (mut reader, mut inflater) = (content.reader(), Decompress::new(false));
    let (mut input, mut output) = (vec![0; BUFFER_BYTES], vec![0; BUFFER_BYTES]);
    let mut ready = 0..0;
    loop {
        if ready.is_empty() {
            ready = 0..reader.read(&mut input)?;
        }
        let (taken, made) = (inflater.total_in(), inflater.total_out());
        let flush = if ready.is_empty() { FlushDecompress::Finish } else { FlushDecompress::None };
        let Ok(status) = inflater.decompress(&input[ready.clone()], &mut output, flush) else {
            return Ok(None);
        };
        let (taken, made) = (inflater.total_in() - taken, inflater.total_out() - made);
        ready.start += taken as usize;
        out.write_all(&output[..made as usize])?;
        match status {
            _ if inflater.total_out() > most => return Ok(None),
            Status::StreamEnd => return Ok(Some((inflater.total_in(), inflater.total_out()))),
            // It is cut off.
            _ if taken == 0 && made == 0 && ready.is_empty() => return Ok(None),
            _ => {}
        }
    }
}

impl Levels {
    /// The level at which `plain` becomes `packed`, if there is one.
    pub(crate) fn of(&mut self, packed: Region<'_>, plain: Region<'_>) -> io::Result<Option<Level>> {
        if self.failed >= PATIENCE {
            return Ok(None);
        }
        let rest = LEVELS.map(Level).into_iter().filter(|level| Some(*level) != self.last);
        for level in self.last.into_iter().chain(rest) {
            if becomes(packed, plain, level)? {
                *self = Levels { last: Some(level), failed: 0 };
                return Ok(Some(level));
            }
        }
        self.failed += u32::from(self.last.is_none());
        Ok(None)
    }
}

impl Level {
    pub(crate) fn from_number(number: u64) -> Option<Self> {
        LEVELS.into_iter().find(|level| u64::from(*level) == number).map(Level)
    }

    pub(crate) fn number(self) -> u64 {
        u64::from(self.0)
    }
}

/// Deflates what is read.
pub(crate) fn deflated<R: Read>(plain: R, level: Level) -> DeflateEncoder<R> {
    DeflateEncoder::new(plain, Compression::new(u32::from(level.0)))
}

/// Whether `plain` becomes `packed` at a level. Most often the first thousand bytes say no.
fn becomes(packed: Region<'_>, plain: Region<'_>, level: Level) -> io::Result<bool> {
    let (mut here, mut there) = (deflated(plain.reader(), level), packed.reader());
    let (mut one, mut other) = (vec![0; BUFFER_BYTES], vec![0; BUFFER_BYTES]);
    loop {
        let made = here.read(&mut one)?;
        if made == 0 {
            return Ok(there.read(&mut other)? == 0);
        }
        if there.read_exact(&mut other[..made]).is_err() || one[..made] != other[..made] {
            return Ok(false);
        }
    }
}
