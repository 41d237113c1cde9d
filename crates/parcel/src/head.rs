//! The front of a volume: what anybody may read, and what age needs to decrypt the rest.
//!
//! It stands at both ends of a volume, so that a damaged spot in one of them costs nothing.

use std::{fs::File, os::unix::fs::FileExt as _};

use packhorse_content::{Fields, digest_of};
use packhorse_domain::{Timestamp, id::SiteCode};

use crate::{
    id::ParcelId,
    limits::{DESTINATIONS_MAX, ENVELOPE_BYTES_MAX, VOLUME_BYTES_MAX, VOLUMES_MAX},
    wire::{SITE_BYTES, site},
};

const MAGIC: [u8; 4] = *b"PHPV";
const END_MAGIC: [u8; 4] = *b"PHPE";
const VERSION: u16 = 1;
/// The head up to the codes of the destinations.
const FIXED_BYTES: usize = 4 + 2 + 16 + 2 + 2 + 8 + 8 + SITE_BYTES + 2;
/// Length of age's header, checksum.
const AFTER_CODES_BYTES: usize = 4 + 32;
/// Length of the front, magic, checksum of the file.
pub(crate) const END_BYTES: u64 = 4 + 4 + 32;
/// age encrypts this much at a time, and adds a tag to each.
pub(crate) const CHUNK_BYTES: u64 = 64 * 1024;
const TAG_BYTES: u64 = 16;

/// What a volume says to anybody: sizes, sender and destinations. Nothing of it is proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub parcel: ParcelId,
    /// 1 to `count`.
    pub number: u16,
    /// 1 to 999.
    pub count: u16,
    /// Bytes of the volume.
    pub length: u64,
    pub created: Timestamp,
    pub sender: SiteCode,
    /// 1 to 1,024, in the order of the packing list.
    pub destinations: Vec<SiteCode>,
}

/// A head and the header and nonce of the age stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Front {
    pub(crate) head: Head,
    pub(crate) seal: Vec<u8>,
}

/// A file that is no volume, or whose front is damaged at both ends.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    #[error("the file is no volume of a parcel")]
    NotAVolume,
    #[error("the volume has format version {0}, this program knows version 1: upgrade it")]
    Version(u16),
    #[error("the volume's head is damaged or cut off")]
    Damaged,
    #[error("cannot read the volume's head")]
    Read(#[source] std::io::Error),
}

/// The most bytes of age's header and nonce: 98 for each recipient, and what does not depend on them.
fn seal_bytes_max(destinations: usize) -> usize {
    destinations * 98 + 400
}

/// The most bytes of a front.
pub(crate) fn front_bytes_max(destinations: usize) -> usize {
    FIXED_BYTES + destinations * SITE_BYTES + AFTER_CODES_BYTES + seal_bytes_max(destinations)
}

/// How long a stream of that many bytes is, encrypted and without its header.
pub(crate) fn sealed_bytes(plain: u64) -> u64 {
    plain + plain.div_ceil(CHUNK_BYTES).max(1) * TAG_BYTES
}

/// How long the stream was, or the longest that fits into `sealed` bytes.
pub(crate) fn plain_bytes(sealed: u64) -> u64 {
    let (whole, rest) = (sealed / (CHUNK_BYTES + TAG_BYTES), sealed % (CHUNK_BYTES + TAG_BYTES));
    whole * CHUNK_BYTES + rest.saturating_sub(TAG_BYTES)
}

/// How many bytes of items fit into a volume; `None` if not even the envelope does, which stands there twice.
pub(crate) fn capacity(volume: u64, destinations: usize, list: u64) -> Option<u64> {
    let fronts = 2 * front_bytes_max(destinations) as u64 + END_BYTES;
    let envelopes = list.checked_add(8 + ENVELOPE_BYTES_MAX)?.checked_mul(2)?;
    plain_bytes(volume.checked_sub(fronts)?).checked_sub(envelopes).filter(|capacity| *capacity > 0)
}

impl Front {
    /// The length of the whole volume whose stream has that many bytes, unencrypted.
    pub(crate) fn volume_bytes(&self, plain: u64) -> u64 {
        2 * self.bytes() + sealed_bytes(plain) + END_BYTES
    }

    pub(crate) fn bytes(&self) -> u64 {
        let codes = self.head.destinations.len() * SITE_BYTES;
        (FIXED_BYTES + codes + AFTER_CODES_BYTES + self.seal.len()) as u64
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes() as usize);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.head.parcel.0);
        out.extend_from_slice(&self.head.number.to_le_bytes());
        out.extend_from_slice(&self.head.count.to_le_bytes());
        out.extend_from_slice(&self.head.length.to_le_bytes());
        out.extend_from_slice(&self.head.created.0.to_le_bytes());
        out.extend_from_slice(self.head.sender.as_str().as_bytes());
        out.extend_from_slice(&(self.head.destinations.len() as u16).to_le_bytes());
        for site in &self.head.destinations {
            out.extend_from_slice(site.as_str().as_bytes());
        }
        out.extend_from_slice(&(self.seal.len() as u32).to_le_bytes());
        let checksum = digest_of(&[out.as_slice(), &self.seal].concat());
        out.extend_from_slice(&checksum.0);
        out.extend_from_slice(&self.seal);
        out
    }

    /// What a volume ends with, up to its checksum.
    pub(crate) fn encode_end(&self) -> Vec<u8> {
        let mut out = self.encode();
        let length = out.len() as u32;
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&END_MAGIC);
        out
    }

    /// Reads the front at the beginning of a file or, if it is damaged, the one at the end.
    pub(crate) fn read(file: &File) -> Result<Self, HeadError> {
        let begin = match Self::read_at(file, 0) {
            Ok(front) => return Ok(front),
            Err(begin) => begin,
        };
        Self::read_end(file).ok_or(begin)
    }

    fn read_end(file: &File) -> Option<Self> {
        let length = file.metadata().ok()?.len();
        let mut end = [0; 8];
        file.read_exact_at(&mut end, length.checked_sub(END_BYTES)?).ok()?;
        let mut fields = Fields(&end);
        let front = fields.u32()?;
        if fields.bytes(4) != Some(&END_MAGIC) {
            return None;
        }
        let at = length.checked_sub(END_BYTES)?.checked_sub(front.into())?;
        let front = Self::read_at(file, at).ok()?;
        (front.head.length == length).then_some(front)
    }

    fn read_at(file: &File, at: u64) -> Result<Self, HeadError> {
        let fixed = read(file, at, FIXED_BYTES)?;
        let mut fields = Fields(&fixed);
        if fields.bytes(4) != Some(&MAGIC) {
            return Err(HeadError::NotAVolume);
        }
        match fields.u16().ok_or(HeadError::Damaged)? {
            VERSION => {}
            other => return Err(HeadError::Version(other)),
        }
        let count = usize::from(u16::from_le_bytes([fixed[FIXED_BYTES - 2], fixed[FIXED_BYTES - 1]]));
        if !(1..=DESTINATIONS_MAX).contains(&count) {
            return Err(HeadError::Damaged);
        }
        let codes_at = at + FIXED_BYTES as u64;
        let codes = read(file, codes_at, count * SITE_BYTES + AFTER_CODES_BYTES)?;
        let (codes, after) = codes.split_at(count * SITE_BYTES);
        let (length, checksum) = after.split_at(4);
        let seal_bytes = Fields(length).u32().ok_or(HeadError::Damaged)? as usize;
        if seal_bytes > seal_bytes_max(count) {
            return Err(HeadError::Damaged);
        }
        let seal = read(file, codes_at + (codes.len() + AFTER_CODES_BYTES) as u64, seal_bytes)?;
        if digest_of(&[&fixed, codes, length, &seal].concat()).0 != checksum {
            return Err(HeadError::Damaged);
        }
        let front = head_of(&mut fields, codes).map(|head| Front { head, seal }).ok_or(HeadError::Damaged)?;
        let shortest = 2 * front.bytes() + sealed_bytes(0) + END_BYTES;
        let fits = (shortest..=VOLUME_BYTES_MAX).contains(&front.head.length);
        fits.then_some(front).ok_or(HeadError::Damaged)
    }
}

fn head_of(fields: &mut Fields<'_>, codes: &[u8]) -> Option<Head> {
    let parcel = ParcelId(fields.array()?);
    let (number, count) = (fields.u16()?, fields.u16()?);
    let (length, created) = (fields.u64()?, Timestamp(fields.i64()?));
    let sender = site(fields)?;
    let mut codes = Fields(codes);
    let destinations = (0..codes.0.len() / SITE_BYTES).map(|_| site(&mut codes)).collect::<Option<_>>()?;
    let numbered = (1..=count).contains(&number) && count <= VOLUMES_MAX;
    numbered.then_some(Head { parcel, number, count, length, created, sender, destinations })
}

fn read(file: &File, at: u64, length: usize) -> Result<Vec<u8>, HeadError> {
    let mut bytes = vec![0; length];
    match file.read_exact_at(&mut bytes, at) {
        Ok(()) => Ok(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof && at == 0 => {
            Err(HeadError::NotAVolume)
        }
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err(HeadError::Damaged),
        Err(error) => Err(HeadError::Read(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_streams_go_both_ways() {
        for plain in [0, 1, 65_535, 65_536, 65_537, 131_072, 1_000_000, VOLUME_BYTES_MAX] {
            assert_eq!(plain_bytes(sealed_bytes(plain)), plain);
        }
        for room in [16, 17, 65_551, 65_552, 65_553, 65_568, 65_569, 10_000_000] {
            assert!(sealed_bytes(plain_bytes(room)) <= room.max(16), "{room}");
            assert!(sealed_bytes(plain_bytes(room) + 1) > room, "{room} is made full use of");
        }
    }
}
