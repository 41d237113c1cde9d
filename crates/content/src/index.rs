//! Where the chunks of a pack are.
//!
//! Format, version 1, integers little-endian: magic `PHIX`, version u16, zero u16, the length of the pack that it
//! covers u64, zero u64; then 48 bytes for each chunk in the order of their digests: BLAKE3, block offset u32, block
//! length u32, start in the plain block u32, length u32; then the BLAKE3 of all that. What the pack holds beyond the
//! covered length is found by a scan. In memory there are 10 bits and an eighth of a byte for each chunk: a Bloom
//! filter, so that a chunk that is not there costs no read, and the key of every 64th.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Write},
    os::unix::fs::FileExt,
};

use packhorse_domain::Digest;

use crate::{pack::PACK_HEADER, wire::Fields};

const MAGIC: [u8; 4] = *b"PHIX";
const VERSION: u16 = 1;
const HEADER: u64 = 24;
const ENTRY: usize = 48;
const STRIDE: u64 = 64;
const PROBES: u64 = 6;

/// Where a chunk is in its pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Location {
    /// Where its block begins.
    pub(crate) offset: u32,
    /// How long the block is, with its header and checksum.
    pub(crate) stored: u32,
    /// Where the chunk begins in the plain block.
    pub(crate) start: u32,
    pub(crate) length: u32,
}

/// An index file, opened.
#[derive(Debug)]
pub(crate) struct Index {
    file: File,
    count: u64,
    covers: u64,
    summary: Summary,
}

#[derive(Debug)]
struct Summary {
    bloom: Vec<u64>,
    keys: Vec<u64>,
    added: u64,
}

/// Writes an index entry by entry.
pub(crate) struct IndexWriter<W: Write> {
    out: BufWriter<W>,
    hasher: blake3::Hasher,
    covers: u64,
    summary: Summary,
}

impl Index {
    /// Reads an index through and checks it. `None` if it is no whole index of this version.
    pub(crate) fn open(file: File) -> io::Result<Option<Self>> {
        let length = file.metadata()?.len();
        let Some(entries) = length.checked_sub(HEADER + 32) else { return Ok(None) };
        if entries % ENTRY as u64 != 0 {
            return Ok(None);
        }
        let count = entries / ENTRY as u64;
        let mut input = BufReader::with_capacity(64 * 1024, &file);
        let mut hasher = blake3::Hasher::new();
        let mut header = [0; HEADER as usize];
        input.read_exact(&mut header)?;
        hasher.update(&header);
        let mut fields = Fields(&header);
        let known =
            fields.bytes(4) == Some(&MAGIC) && fields.u16() == Some(VERSION) && fields.u16() == Some(0);
        let covers = fields.u64().unwrap_or(0);
        if !known || covers < PACK_HEADER.len() as u64 {
            return Ok(None);
        }
        let mut summary = Summary::new(count);
        let (mut entry, mut last) = ([0; ENTRY], None);
        for _ in 0..count {
            input.read_exact(&mut entry)?;
            // What is out of order cannot be searched.
            let digest = entry.first_chunk::<32>().copied();
            if last >= digest {
                return Ok(None);
            }
            last = digest;
            hasher.update(&entry);
            summary.add(&entry);
        }
        let mut checksum = [0; 32];
        input.read_exact(&mut checksum)?;
        if hasher.finalize() != checksum {
            return Ok(None);
        }
        Ok(Some(Index { file, count, covers, summary }))
    }

    /// How much of the pack the index speaks for.
    pub(crate) fn covers(&self) -> u64 {
        self.covers
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn find(&self, digest: &Digest) -> io::Result<Option<Location>> {
        if !self.summary.may_hold(digest) {
            return Ok(None);
        }
        let (first, end) = self.summary.slice(digest, self.count);
        let mut bytes = vec![0; (end - first) as usize * ENTRY];
        self.file.read_exact_at(&mut bytes, HEADER + first * ENTRY as u64)?;
        let (mut low, mut high) = (0, bytes.len() / ENTRY);
        while low < high {
            let middle = (low + high) / 2;
            let entry = &bytes[middle * ENTRY..][..ENTRY];
            match entry[..32].cmp(&digest.0[..]) {
                std::cmp::Ordering::Equal => return Ok(take_entry(entry).map(|(_, location)| location)),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }

    /// All entries, in the order of their digests.
    pub(crate) fn entries(&self) -> impl Iterator<Item = io::Result<(Digest, Location)>> {
        const BATCH: u64 = 1024;
        (0..self.count.div_ceil(BATCH)).flat_map(move |batch| {
            let first = batch * BATCH;
            let mut bytes = vec![0; (self.count - first).min(BATCH) as usize * ENTRY];
            let read = self.file.read_exact_at(&mut bytes, HEADER + first * ENTRY as u64);
            let (failed, bytes) = match read {
                Ok(()) => (None, bytes),
                Err(error) => (Some(Err(error)), Vec::new()),
            };
            let entries = bytes.chunks_exact(ENTRY).filter_map(take_entry).map(Ok).collect::<Vec<_>>();
            failed.into_iter().chain(entries)
        })
    }
}

impl<W: Write> IndexWriter<W> {
    /// `count` is how many entries come at most.
    pub(crate) fn new(out: W, covers: u64, count: u64) -> io::Result<Self> {
        let mut header = Vec::with_capacity(HEADER as usize);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&[0; 2]);
        header.extend_from_slice(&covers.to_le_bytes());
        header.extend_from_slice(&[0; 8]);
        let mut out = BufWriter::with_capacity(64 * 1024, out);
        out.write_all(&header)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&header);
        Ok(IndexWriter { out, hasher, covers, summary: Summary::new(count) })
    }

    /// Takes the entries in the order of their digests.
    pub(crate) fn add(&mut self, digest: &Digest, location: Location) -> io::Result<()> {
        let mut entry = [0; ENTRY];
        entry[..32].copy_from_slice(&digest.0);
        for (place, field) in entry[32..].chunks_exact_mut(4).zip([
            location.offset,
            location.stored,
            location.start,
            location.length,
        ]) {
            place.copy_from_slice(&field.to_le_bytes());
        }
        self.hasher.update(&entry);
        self.summary.add(&entry);
        self.out.write_all(&entry)
    }

    /// Writes what is left. The index can be used once `file`, the same file opened for reading, is durable.
    pub(crate) fn finish(mut self, file: File) -> io::Result<Index> {
        self.out.write_all(self.hasher.finalize().as_bytes())?;
        self.out.flush()?;
        Ok(Index { file, count: self.summary.added, covers: self.covers, summary: self.summary })
    }
}

impl Summary {
    fn new(count: u64) -> Self {
        let words = (count * 10).div_ceil(64).max(1);
        Summary { bloom: vec![0; words as usize], keys: Vec::new(), added: 0 }
    }

    fn add(&mut self, entry: &[u8; ENTRY]) {
        let digest: &[u8; 32] = entry.first_chunk().expect("an entry is longer than a digest");
        if self.added.is_multiple_of(STRIDE) {
            self.keys.push(key(digest));
        }
        self.added += 1;
        for bit in self.bits(digest) {
            self.bloom[(bit / 64) as usize] |= 1 << (bit % 64);
        }
    }

    fn may_hold(&self, digest: &Digest) -> bool {
        self.bits(&digest.0).into_iter().all(|bit| self.bloom[(bit / 64) as usize] & (1 << (bit % 64)) != 0)
    }

    /// Digests are uniform already: two of their words give all the probes.
    fn bits(&self, digest: &[u8; 32]) -> [u64; PROBES as usize] {
        let word =
            |at: usize| digest[at..at + 8].iter().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        let (first, step, bits) = (word(8), word(16) | 1, self.bloom.len() as u64 * 64);
        std::array::from_fn(|probe| first.wrapping_add(step.wrapping_mul(probe as u64)) % bits)
    }

    /// The entries among which the digest is if it is there. Other digests may share its key, on purpose too.
    fn slice(&self, digest: &Digest, count: u64) -> (u64, u64) {
        let key = key(&digest.0);
        let first = self.keys.partition_point(|other| *other < key).saturating_sub(1) as u64;
        let end = self.keys.partition_point(|other| *other <= key) as u64;
        (first * STRIDE, (end * STRIDE).min(count))
    }
}

fn key(digest: &[u8; 32]) -> u64 {
    digest[..8].iter().fold(0, |key, byte| key << 8 | u64::from(*byte))
}

fn take_entry(entry: &[u8]) -> Option<(Digest, Location)> {
    let mut fields = Fields(entry);
    let digest = fields.digest()?;
    let (offset, stored, start, length) = (fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?);
    Some((digest, Location { offset, stored, start, length }))
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use packhorse_domain::Digest;

    use super::{Index, IndexWriter, Location};
    use crate::wire::digest_of;

    fn location(number: u32) -> Location {
        Location { offset: number, stored: number + 1, start: number + 2, length: number + 3 }
    }

    fn write(file: &File, digests: &[Digest]) -> Index {
        let mut writer = IndexWriter::new(file, 77, digests.len() as u64).unwrap();
        for (number, digest) in digests.iter().enumerate() {
            writer.add(digest, location(number as u32)).unwrap();
        }
        writer.finish(file.try_clone().unwrap()).unwrap()
    }

    #[test]
    fn every_chunk_is_found_and_no_other() {
        for count in [0, 1, 63, 64, 65, 2000] {
            let mut digests: Vec<Digest> =
                (0..count).map(|number: u32| digest_of(&number.to_le_bytes())).collect();
            digests.sort();
            let file = tempfile::NamedTempFile::new().unwrap();

            let written = write(file.as_file(), &digests);
            let read = Index::open(File::open(file.path()).unwrap()).unwrap().unwrap();

            for index in [written, read] {
                assert_eq!((index.covers(), index.count()), (77, count.into()));
                for (number, digest) in digests.iter().enumerate() {
                    assert_eq!(index.find(digest).unwrap(), Some(location(number as u32)));
                }
                for number in count..count + 2000 {
                    assert_eq!(index.find(&digest_of(&number.to_le_bytes())).unwrap(), None);
                }
                let all: Vec<_> = index.entries().map(|entry| entry.unwrap().0).collect();
                assert_eq!(all, digests);
            }
        }
    }

    #[test]
    fn digests_that_share_their_first_bytes_are_told_apart() {
        let digests: Vec<Digest> = (0..300u32)
            .map(|number| {
                let mut digest = [7; 32];
                digest[28..].copy_from_slice(&number.to_be_bytes());
                Digest(digest)
            })
            .collect();
        let file = tempfile::tempfile().unwrap();

        let index = write(&file, &digests);

        for (number, digest) in digests.iter().enumerate() {
            assert_eq!(index.find(digest).unwrap(), Some(location(number as u32)));
        }
        assert_eq!(index.find(&Digest([7; 32])).unwrap(), None);
    }

    #[test]
    fn a_damaged_index_is_not_believed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        write(file.as_file(), &[digest_of(b"a"), digest_of(b"b")]);
        let bytes = std::fs::read(file.path()).unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            std::fs::write(file.path(), &damaged).unwrap();
            assert!(Index::open(File::open(file.path()).unwrap()).unwrap().is_none(), "byte {at}");
            std::fs::write(file.path(), &bytes[..at]).unwrap();
            assert!(Index::open(File::open(file.path()).unwrap()).unwrap().is_none(), "length {at}");
        }
    }
}
