//! Reading a volume: what is whole of it is given, what is damaged is named.

use std::{
    fmt,
    fs::File,
    io,
    ops::{ControlFlow, Range},
    path::Path,
};

use packhorse_domain::link::ItemId;

use crate::{
    contents::Contents,
    head::{END_BYTES, Front, Head, HeadError, plain_bytes},
    id::ParcelId,
    key::Identity,
    layout::Piece,
    limits::{ENVELOPE_BYTES_MAX, Limits, PIECE_BYTES_MAX},
    medium,
    seal::{Broken, Opened},
};

/// A volume that was opened with the key of one of its destinations.
pub struct Volume {
    head: Head,
    opened: Opened,
    /// Length of the stream, unencrypted.
    plain: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot open the volume")]
    Io(#[source] io::Error),
    #[error("the volume is refused")]
    Head(#[source] HeadError),
    #[error("the volume is not encrypted to this key")]
    NotForUs,
    #[error("the volume cannot be decrypted")]
    Decrypt(#[source] age::DecryptError),
}

/// A volume that does not go with a packing list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("both copies of the packing list are damaged on volume {number}: take it from another volume")]
    ListDamaged { number: u16 },
    #[error("the packing list is {length} bytes long, {max} are accepted")]
    ListTooLong { length: u64, max: u64 },
    #[error("the volume is of parcel {found}, not of {expected}")]
    OtherParcel { expected: ParcelId, found: ParcelId },
    #[error(
        "volume {number} has another packing list than the one that was opened, under the same parcel id"
    )]
    OtherList { number: u16 },
    #[error("volume {number} is not what its packing list says: its head or its length differs")]
    Mismatch { number: u16 },
}

/// A run of an item's bytes that a volume should carry and does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    pub item: ItemId,
    pub range: Range<u64>,
}

/// The bytes of a piece are damaged or missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the piece is damaged")]
pub struct PieceDamaged;

impl Volume {
    pub fn open(path: &Path, identity: &Identity) -> Result<Self, OpenError> {
        let file = medium::open_regular(path).map_err(OpenError::Io)?;
        Self::of(file.ok_or(OpenError::Head(HeadError::NotAVolume))?, identity)
    }

    fn of(file: File, identity: &Identity) -> Result<Self, OpenError> {
        let front = Front::read(&file).map_err(OpenError::Head)?;
        let from = front.bytes();
        let to = front.head.length.saturating_sub(END_BYTES + from);
        let plain = plain_bytes(to.saturating_sub(from));
        let Front { head, seal } = front;
        let opened = Opened::new(file, seal, from, to, identity).map_err(|error| match error {
            age::DecryptError::NoMatchingKeys => OpenError::NotForUs,
            other => OpenError::Decrypt(other),
        })?;
        Ok(Volume { head, opened, plain })
    }

    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The envelope of the packing list, as it was signed: the first copy or, if that is damaged, the second.
    pub fn envelope(&mut self, limits: &Limits) -> Result<Vec<u8>, ReadError> {
        let max = limits.list_bytes_max.saturating_add(ENVELOPE_BYTES_MAX);
        let first = self.length_at(0).and_then(|length| self.envelope_at(8, length, max));
        let second = |volume: &mut Self| {
            let at = volume.plain.checked_sub(8).ok_or(None)?;
            let length = volume.length_at(at)?;
            volume.envelope_at(at.checked_sub(length).ok_or(None)?, length, max)
        };
        first.or_else(|_| second(self)).map_err(|too_long| match too_long {
            Some(length) => ReadError::ListTooLong { length, max },
            None => ReadError::ListDamaged { number: self.head.number },
        })
    }

    fn length_at(&mut self, at: u64) -> Result<u64, Option<u64>> {
        let mut length = [0; 8];
        self.opened.read_exact_at(at, &mut length).map_err(|Broken| None)?;
        Ok(u64::from_le_bytes(length))
    }

    /// The error is the length, if it is what is wrong.
    fn envelope_at(&mut self, at: u64, length: u64, max: u64) -> Result<Vec<u8>, Option<u64>> {
        if length > max {
            return Err(Some(length));
        }
        // It stands there twice: so what is told costs no more memory than a half of the file.
        if 2 * (8 + length) > self.plain {
            return Err(None);
        }
        let mut envelope = vec![0; length as usize];
        let pieces =
            envelope.chunks_mut(PIECE_BYTES_MAX as usize).zip((at..).step_by(PIECE_BYTES_MAX as usize));
        for (piece, at) in pieces {
            self.opened.read_exact_at(at, piece).map_err(|Broken| None)?;
        }
        Ok(envelope)
    }

    /// Begins to read what is ours, after it was made sure that the volume goes with the packing list. The list may have
    /// come from another volume of the parcel.
    pub fn reading<'a>(&'a mut self, contents: &'a Contents) -> Result<Reading<'a>, ReadError> {
        let (expected, found, number) = (contents.info().id, self.head.parcel, self.head.number);
        if expected != found {
            return Err(ReadError::OtherParcel { expected, found });
        }
        let (digest, length) = contents.envelope;
        // If its list cannot be read, the hashes of the pieces still tell.
        let limits = Limits { list_bytes_max: length, ..Limits::default() };
        match self.envelope(&limits) {
            Ok(envelope) if packhorse_content::digest_of(&envelope) == digest => {}
            Err(ReadError::ListDamaged { .. }) => {}
            _ => return Err(ReadError::OtherList { number }),
        }
        let slice = contents.list.slice_bytes(number);
        if !contents.fits(&self.head) || self.plain != 2 * (8 + length) + slice {
            return Err(ReadError::Mismatch { number });
        }
        Ok(Reading { volume: self, contents, from: 8 + length })
    }
}

impl fmt::Debug for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Volume").field("head", &self.head).finish_non_exhaustive()
    }
}

/// A volume that goes with a packing list.
#[derive(Debug)]
pub struct Reading<'a> {
    volume: &'a mut Volume,
    contents: &'a Contents,
    /// Where the bytes of items begin in the stream.
    from: u64,
}

impl Reading<'_> {
    /// The pieces of ours on this volume, in order.
    pub fn pieces(&self) -> impl Iterator<Item = Piece> {
        self.contents.pieces(self.volume.head.number)
    }

    /// Puts the bytes of a piece of this volume into the buffer, checked by the packing list. On an error the buffer is
    /// empty.
    pub fn read(&mut self, piece: &Piece, buffer: &mut Vec<u8>) -> Result<(), PieceDamaged> {
        buffer.resize(piece.length as usize, 0);
        let read = self.volume.opened.read_exact_at(self.from + piece.at, buffer);
        if read.is_err() || !self.contents.list.holds(piece, buffer) {
            buffer.clear();
            return Err(PieceDamaged);
        }
        Ok(())
    }

    /// Gives all of ours that is whole, in order, until `take` breaks off. What is damaged is returned.
    pub fn read_all(&mut self, take: &mut dyn FnMut(&Piece, &[u8]) -> ControlFlow<()>) -> Vec<Damage> {
        let contents = self.contents;
        let mut damaged: Vec<Damage> = Vec::new();
        let mut buffer = Vec::new();
        for piece in contents.pieces(self.volume.head.number) {
            if self.read(&piece, &mut buffer).is_ok() {
                match take(&piece, &buffer) {
                    ControlFlow::Continue(()) => continue,
                    ControlFlow::Break(()) => break,
                }
            }
            let item = contents.item(&piece).id;
            let range = piece.offset..piece.offset + u64::from(piece.length);
            match damaged.last_mut() {
                Some(last) if last.item == item && last.range.end == range.start => {
                    last.range.end = range.end
                }
                _ => damaged.push(Damage { item, range }),
            }
        }
        damaged
    }

    /// Checks all of ours, and says what is damaged.
    pub fn verify(&mut self) -> Vec<Damage> {
        self.read_all(&mut |_, _| ControlFlow::Continue(()))
    }
}

#[cfg(test)]
#[path = "volume_tests.rs"]
mod tests;
