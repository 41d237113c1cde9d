//! Literals that come in frames of their own, each a block as a library has it.

use std::{io::Read as _, sync::Arc};

use super::streams::{Part, read_failed};
use crate::{
    block::plain_of,
    bundle::BundleError,
    frames::Frames,
    limits::{BLOCK_DATA_LENGTH_MAX, BLOCK_PLAIN_LENGTH_MAX},
};

pub(super) struct Framed {
    part: Part,
    /// Bytes in the frames that are still to come.
    left: u64,
    /// What the last one holds, and how much of it was taken.
    plain: Arc<[u8]>,
    at: usize,
    frames: Frames,
}

impl Framed {
    /// Frames in a part of a bundle, which hold so many bytes.
    pub(super) fn new(part: Part, plain: u64) -> Self {
        Framed { part, left: plain, plain: Arc::default(), at: 0, frames: Frames::default() }
    }

    /// Those that were read lately.
    pub(super) fn frames(&self) -> Frames {
        self.frames.clone()
    }

    /// As much as is left of the last frame.
    pub(super) fn take(&mut self, into: &mut [u8]) -> usize {
        let length = into.len().min(self.plain.len() - self.at);
        into[..length].copy_from_slice(&self.plain[self.at..self.at + length]);
        self.at += length;
        length
    }

    /// Reads the next frame, which has this length and holds so many bytes.
    pub(super) fn next(&mut self, length: u64, plain: u64) -> Result<(), BundleError> {
        let is_block =
            (1..=BLOCK_DATA_LENGTH_MAX).contains(&length) && (1..=BLOCK_PLAIN_LENGTH_MAX).contains(&plain);
        let left = self.left.checked_sub(plain).filter(|_| is_block);
        self.left = left.ok_or(BundleError::Damaged("a frame in it is longer than it has room for"))?;
        let mut data = vec![0; length as usize];
        self.part.read_exact(&mut data).map_err(read_failed)?;
        let bytes = plain_of(&data, plain as usize);
        self.plain = bytes.map_err(|_| BundleError::Damaged("it cannot be decompressed"))?.into();
        self.at = 0;
        self.frames.put(data, self.plain.clone());
        Ok(())
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.left == 0 && self.at == self.plain.len() && self.part.at == self.part.end
    }
}
