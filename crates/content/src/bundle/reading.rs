//! Reads the tree that a bundle tells ([`super::tree`]), and takes no more memory for it than the manifest that it declares.

use packhorse_domain::Digest;

use super::{
    BundleError, BundleHeader,
    tree::{Base, CASE_SENSITIVE},
};
use crate::{
    cut::Known,
    delta::{Stream, Streams},
    limits::{CHUNK_LENGTH_MAX, Limits},
    manifest::{
        CHUNK_BYTES, ChunkRef, Entry, EntryKind, FILE_BYTES, HEADER_BYTES, LINK_BYTES, Manifest,
        ManifestError, PLAIN_ENTRY_BYTES, chunks_bytes,
    },
    path::check_path,
};

/// No path and no target is longer.
const TEXT_BYTES_MAX: u64 = u16::MAX as u64;

/// Which files of the bases are copied from.
pub(super) fn used(streams: &mut Streams, base: &Base) -> Result<Vec<bool>, BundleError> {
    let mut bytes = vec![0; base.files.len().div_ceil(8)];
    streams.bytes(Stream::Used, &mut bytes)?;
    Ok((0..base.files.len()).map(|nth| bytes[nth / 8] >> (nth % 8) & 1 == 1).collect())
}

/// A file that is told.
#[derive(Debug, Clone, Copy)]
pub(super) struct ToldFile<'p> {
    pub(super) path: &'p str,
    pub(super) executable: bool,
    pub(super) length: u64,
    /// The manifest has no room for more.
    pub(super) chunks_max: u64,
    /// What is told of its chunks, if that is.
    pub(super) known: Option<Known<'p>>,
}

/// Takes a told file in.
type Take<'t> = dyn FnMut(&mut Streams, ToldFile<'_>) -> Result<(Digest, Vec<ChunkRef>), BundleError> + 't;

/// A tree that is being read.
pub(super) struct Reading<'a> {
    base: &'a Base,
    at: usize,
    entries: Vec<Entry>,
    told: Vec<(u64, Digest, Vec<ChunkRef>)>,
    /// Bytes that may still be told.
    left: u64,
    /// Bytes that the manifest may still take.
    manifest_left: u64,
}

impl<'a> Reading<'a> {
    pub(super) fn new(base: &'a Base, header: &BundleHeader) -> Result<Self, BundleError> {
        let left = header.plain_length.checked_sub(header.manifest_length);
        let left = left.ok_or(BundleError::Damaged("it declares a length that is too short"))?;
        let manifest_left = header.manifest_length.checked_sub(HEADER_BYTES).ok_or_else(beyond_manifest)?;
        Ok(Reading { base, at: 0, entries: Vec::new(), told: Vec::new(), left, manifest_left })
    }

    /// Reads a tree, and has each file that is told taken in when it is met.
    pub(super) fn tree(
        &mut self,
        streams: &mut Streams,
        limits: &Limits,
        take: &mut Take<'_>,
    ) -> Result<Manifest, BundleError> {
        let count = streams.number(Stream::Tree)?;
        if count > u64::from(limits.entries_max) {
            return Err(BundleError::Damaged("its tree has more entries than are accepted"));
        }
        let mut case_sensitive = false;
        while (self.entries.len() as u64) < count {
            let number = streams.number(Stream::Tree)?;
            match (number & 3, number >> 2) {
                _ if number == CASE_SENSITIVE && self.is_at_begin() && !case_sensitive => {
                    case_sensitive = true
                }
                (0, run) if run <= count - self.entries.len() as u64 => {
                    let from = self.skip(run)?;
                    let same = &self.base.entries[from..self.at];
                    spend(&mut self.manifest_left, same.iter().map(Entry::encoded_length).sum())?;
                    self.entries.extend_from_slice(same);
                }
                (1, run) => drop(self.skip(run)?),
                (2, 0) => {
                    let path = self.path(streams)?;
                    self.entry(path, streams, take)?;
                }
                (3, 0) => {
                    let from = self.skip(1)?;
                    self.entry(self.base.entries[from].path.clone(), streams, take)?;
                }
                _ => return Err(BundleError::Damaged("its tree has an entry of no kind")),
            }
        }
        if self.left > 0 {
            return Err(BundleError::Damaged("it declares another length than its files have"));
        }
        Ok(Manifest { case_sensitive, entries: std::mem::take(&mut self.entries) })
    }

    fn is_at_begin(&self) -> bool {
        self.at == 0 && self.entries.is_empty()
    }

    /// Goes over entries of the bases. Where it was before.
    fn skip(&mut self, run: u64) -> Result<usize, BundleError> {
        let from = self.at;
        if run == 0 || run > (self.base.entries.len() - from) as u64 {
            return Err(BundleError::Damaged("its tree names entries that the bases have not"));
        }
        self.at += run as usize;
        Ok(from)
    }

    fn path(&self, streams: &mut Streams) -> Result<String, BundleError> {
        let last = self.entries.last().map_or("", |entry| &entry.path);
        let common = streams.number(Stream::Tree)?;
        let Some(common) = usize::try_from(common).ok().and_then(|common| last.as_bytes().get(..common))
        else {
            return Err(BundleError::Damaged("a path in it goes on from more than the last one has"));
        };
        let rest = text(streams)?;
        let path = String::from_utf8([common, &rest].concat());
        let path = path.map_err(|_| BundleError::Damaged("a path in it is not UTF-8"))?;
        match check_path(&path) {
            Ok(()) if path.as_str() <= last => Err(BundleError::Manifest(ManifestError::Order { path })),
            Ok(()) => Ok(path),
            Err(source) => Err(BundleError::Manifest(ManifestError::Path { path, source })),
        }
    }

    fn entry(&mut self, path: String, streams: &mut Streams, take: &mut Take<'_>) -> Result<(), BundleError> {
        spend(&mut self.manifest_left, PLAIN_ENTRY_BYTES + path.len() as u64)?;
        let kind = match streams.byte(Stream::Tree)? {
            0 => EntryKind::Directory,
            byte @ (1 | 2) => {
                let length = streams.number(Stream::Tree)?;
                let executable = byte == 2;
                let (digest, chunks) = self.content((&path, executable, length), streams, take)?;
                EntryKind::File { executable, length, digest, chunks }
            }
            3 => {
                let target = String::from_utf8(text(streams)?);
                let target = target.map_err(|_| BundleError::Damaged("a link in it is not UTF-8"))?;
                spend(&mut self.manifest_left, LINK_BYTES + target.len() as u64)?;
                EntryKind::Symlink { target }
            }
            _ => return Err(BundleError::Damaged("its tree has an entry of no kind")),
        };
        self.entries.push(Entry { path, kind });
        Ok(())
    }

    fn content(
        &mut self,
        (path, executable, length): (&str, bool, u64),
        streams: &mut Streams,
        take: &mut Take<'_>,
    ) -> Result<(Digest, Vec<ChunkRef>), BundleError> {
        spend(&mut self.manifest_left, FILE_BYTES)?;
        if length == 0 {
            return Ok((crate::wire::digest_of(&[]), Vec::new()));
        }
        let place = streams.number(Stream::Tree)?;
        if place == 0 {
            let left = self.left.checked_sub(length);
            self.left = left.ok_or(BundleError::Damaged("it declares another length than its files have"))?;
            let chunks_max = (self.manifest_left / CHUNK_BYTES).max(1);
            let told = self.base.are_chunks_told(length);
            let lengths = if told { chunk_lengths(streams, length, chunks_max)? } else { Vec::new() };
            let digest = if lengths.len() > 1 { Some(digest(streams)?) } else { None };
            let known = told.then_some(Known { lengths: &lengths, digest });
            let file = ToldFile { path, executable, length, chunks_max, known };
            let (digest, chunks) = take(streams, file)?;
            spend(&mut self.manifest_left, chunks_bytes(&chunks))?;
            self.told.push((length, digest, chunks.clone()));
            return Ok((digest, chunks));
        }
        let nth = usize::try_from((place - 1) / 2).unwrap_or(usize::MAX);
        let known = match place % 2 {
            1 => self.base.files.get(nth).map(|file| (file.length, file.digest, &file.chunks)),
            _ => self.told.get(nth).map(|(length, digest, chunks)| (*length, *digest, chunks)),
        };
        match known.filter(|(known, ..)| *known == length) {
            Some((_, digest, chunks)) => {
                // Before they are copied.
                spend(&mut self.manifest_left, chunks_bytes(chunks))?;
                Ok((digest, chunks.clone()))
            }
            None => Err(BundleError::Damaged("its tree names a content that there is not")),
        }
    }
}

/// Takes no more memory than the manifest that was declared.
fn chunk_lengths(streams: &mut Streams, length: u64, count_max: u64) -> Result<Vec<u32>, BundleError> {
    let (mut lengths, mut left) = (Vec::new(), length);
    while left > 0 {
        let next = u32::try_from(streams.number(Stream::Tree)?).unwrap_or(u32::MAX);
        let rest = left.checked_sub(next.into()).filter(|_| (1..=CHUNK_LENGTH_MAX).contains(&next));
        left = rest.ok_or(BundleError::Damaged("a chunk in it is longer than its file, or than any"))?;
        if lengths.len() as u64 >= count_max {
            return Err(beyond_manifest());
        }
        lengths.push(next);
    }
    Ok(lengths)
}

fn digest(streams: &mut Streams) -> Result<Digest, BundleError> {
    let mut digest = [0; 32];
    streams.bytes(Stream::Tree, &mut digest)?;
    Ok(Digest(digest))
}

/// The manifest takes so many bytes more.
fn spend(left: &mut u64, bytes: u64) -> Result<(), BundleError> {
    *left = left.checked_sub(bytes).ok_or_else(beyond_manifest)?;
    Ok(())
}

/// Why a tree is refused that needs more memory than was declared.
pub(super) fn beyond_manifest() -> BundleError {
    BundleError::Damaged("its tree makes a longer manifest than it declares")
}

/// A path or a target.
fn text(streams: &mut Streams) -> Result<Vec<u8>, BundleError> {
    let length = streams.number(Stream::Tree)?;
    if length > TEXT_BYTES_MAX {
        return Err(BundleError::Damaged("a path in it is too long"));
    }
    let mut bytes = vec![0; length as usize];
    streams.bytes(Stream::Tree, &mut bytes)?;
    Ok(bytes)
}
