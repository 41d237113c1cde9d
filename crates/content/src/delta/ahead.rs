//! Literals that a thread unpacks ahead of whoever makes use of them, who has enough to do: those that come in frames of their
//! own, each a block as a library has it, and many that come in one.

use std::{
    io::{self, Read as _},
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

use super::streams::{LEFT_OVER, Part, Section, check_section_end, number, read_failed};
use crate::{
    block::plain_of,
    bundle::{BundleError, Source},
    frames::Frames,
    limits::{BLOCK_DATA_LENGTH_MAX, BLOCK_PLAIN_LENGTH_MAX},
};

/// So many pieces are unpacked ahead.
const AHEAD: usize = 4;
/// Of what is one frame.
const PIECE_BYTES: usize = 256 * 1024;

pub(super) struct Ahead {
    /// Until the first is wanted.
    unpacker: Option<Unpacker>,
    unpacking: Option<Unpacking>,
    /// What the last one holds, and how much of it was taken.
    plain: Arc<Vec<u8>>,
    at: usize,
    /// Those that were read lately, if there are several.
    frames: Option<Frames>,
}

/// Reads literals piece by piece, of which so many bytes are still to come.
pub(super) enum Unpacker {
    /// Frames; `numbers` are of each its length, and that of what it holds.
    Frames { part: Part, numbers: Section, left: u64 },
    /// One frame.
    Stream { source: Source, section: Section, left: u64 },
}

/// A frame unless there is only one, and what it holds.
type Unpacked = (Option<Vec<u8>>, Arc<Vec<u8>>);

/// A thread that unpacks. `None` is the end.
struct Unpacking {
    unpacked: Receiver<Result<Option<Unpacked>, BundleError>>,
    source: Source,
    thread: Option<JoinHandle<()>>,
    is_over: bool,
}

impl Ahead {
    pub(super) fn new(unpacker: Unpacker) -> Self {
        let frames = matches!(unpacker, Unpacker::Frames { .. }).then(Frames::default);
        Ahead { unpacker: Some(unpacker), unpacking: None, plain: Arc::default(), at: 0, frames }
    }

    /// What the literals come in, if they come in frames.
    pub(super) fn frames(&self) -> Option<Frames> {
        self.frames.clone()
    }

    /// The next bytes.
    pub(super) fn read_exact(&mut self, mut into: &mut [u8]) -> Result<(), BundleError> {
        while !into.is_empty() {
            if self.at == self.plain.len() && !self.next()? {
                return Err(BundleError::Damaged("it holds less than its tree needs"));
            }
            let length = into.len().min(self.plain.len() - self.at);
            into[..length].copy_from_slice(&self.plain[self.at..self.at + length]);
            self.at += length;
            into = &mut into[length..];
        }
        Ok(())
    }

    /// Nothing may be left over.
    pub(super) fn check_end(&mut self) -> Result<(), BundleError> {
        if self.at < self.plain.len() || self.next()? {
            return Err(LEFT_OVER);
        }
        Ok(())
    }

    /// Goes on to the next piece. Whether there is one.
    fn next(&mut self) -> Result<bool, BundleError> {
        if let Some(unpacker) = self.unpacker.take() {
            self.unpacking = Some(unpacker.start().map_err(BundleError::Read)?);
        }
        let Some(unpacking) = &mut self.unpacking else { return Ok(false) };
        let Some((data, plain)) = unpacking.next()? else { return Ok(false) };
        (self.plain, self.at) = (plain, 0);
        if let (Some(frames), Some(data)) = (&self.frames, data) {
            frames.put(data, self.plain.clone());
        }
        Ok(true)
    }
}

impl Unpacker {
    fn start(self) -> io::Result<Unpacking> {
        let (frames, unpacked) = sync_channel(AHEAD);
        let source = match &self {
            Unpacker::Frames { part, .. } => part.source.clone(),
            Unpacker::Stream { source, .. } => source.clone(),
        };
        let thread = std::thread::Builder::new().name("unpacking".to_owned());
        let thread = Some(thread.spawn(move || self.unpack_all(&frames))?);
        Ok(Unpacking { unpacked, source, thread, is_over: false })
    }

    fn unpack_all(mut self, frames: &SyncSender<Result<Option<Unpacked>, BundleError>>) {
        loop {
            let next = self.next();
            let is_last = !matches!(next, Ok(Some(_)));
            // Nobody waits once something else was wrong.
            if frames.send(next).is_err() || is_last {
                return;
            }
        }
    }

    fn next(&mut self) -> Result<Option<Unpacked>, BundleError> {
        match self {
            Unpacker::Frames { part, numbers, left } => next_frame(part, numbers, left),
            Unpacker::Stream { section, left, .. } => next_piece(section, left),
        }
    }
}

fn next_frame(
    part: &mut Part,
    numbers: &mut Section,
    left: &mut u64,
) -> Result<Option<Unpacked>, BundleError> {
    if *left == 0 {
        check_section_end(numbers)?;
        return if part.at == part.end { Ok(None) } else { Err(LEFT_OVER) };
    }
    let (length, plain) = (number(numbers)?, number(numbers)?);
    let is_block =
        (1..=BLOCK_DATA_LENGTH_MAX).contains(&length) && (1..=BLOCK_PLAIN_LENGTH_MAX).contains(&plain);
    let rest = left.checked_sub(plain).filter(|_| is_block);
    *left = rest.ok_or(BundleError::Damaged("a frame in it is longer than it has room for"))?;
    let mut data = vec![0; length as usize];
    part.read_exact(&mut data).map_err(read_failed)?;
    let bytes = plain_of(&data, plain as usize);
    let bytes = bytes.map_err(|_| BundleError::Damaged("it cannot be decompressed"))?;
    Ok(Some((Some(data), Arc::new(bytes))))
}

fn next_piece(section: &mut Section, left: &mut u64) -> Result<Option<Unpacked>, BundleError> {
    if *left == 0 {
        check_section_end(section)?;
        return Ok(None);
    }
    let length = usize::try_from(*left).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
    let mut piece = vec![0; length];
    section.read_exact(&mut piece).map_err(read_failed)?;
    *left -= length as u64;
    Ok(Some((None, Arc::new(piece))))
}

impl Unpacking {
    fn next(&mut self) -> Result<Option<Unpacked>, BundleError> {
        if self.is_over {
            return Ok(None);
        }
        let gone = || BundleError::Read(io::Error::other("the thread that unpacks has ended"));
        let next = self.unpacked.recv().unwrap_or_else(|_| Err(gone()));
        self.is_over = !matches!(next, Ok(Some(_)));
        next
    }
}

impl Drop for Unpacking {
    fn drop(&mut self) {
        if !self.is_over {
            // It may wait for bytes that nobody needs any more.
            self.source.end();
            let (_, nothing) = sync_channel(0);
            self.unpacked = nothing;
        }
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed by the hook; whoever waited for a piece got an error.
            let _ = thread.join();
        }
    }
}
