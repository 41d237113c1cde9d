//! What a package version consists of: a sorted flat list of its entries with the digests of their chunks.
//!
//! Format, integers little-endian: magic `PHMF`, version u16, entries u32, then the entries in the order of
//! their paths' bytes: path length u16, path, kind u8 (0 directory, 1 file, 2 executable file, 3 link). A file goes on
//! with length u64, BLAKE3 and chunk count u32, and from two chunks on with (BLAKE3, length u32) of each; a file of one
//! chunk is that chunk, an empty one has none. A link goes on with target length u16 and target. The version is 2 if
//! names differ only in case ([`case`](crate::case)), and 1 if none do. There is exactly one encoding of a manifest, and
//! its BLAKE3 names the content.

use std::{cmp::Ordering, collections::HashSet};

use packhorse_domain::Digest;

use crate::{
    case::clash,
    limits::{CHUNK_LENGTH_MAX, Limits},
    path::{LinkFault, PathError, check_link, check_path, parent},
    wire::{Fields, digest_of},
};

const MAGIC: [u8; 4] = *b"PHMF";
const VERSION: u16 = 1;
/// A version of its own, so that a program that does not know such trees refuses them.
const VERSION_CASE_SENSITIVE: u16 = 2;
/// What an encoded manifest begins with.
pub(crate) const HEADER_BYTES: u64 = 10;
/// What every entry has besides its path.
pub(crate) const PLAIN_ENTRY_BYTES: u64 = 2 + 1;
/// What a file has besides that, without its chunks.
pub(crate) const FILE_BYTES: u64 = 8 + 32 + 4;
/// What a link has besides that, without its target.
pub(crate) const LINK_BYTES: u64 = 2;
/// What each of several chunks takes.
pub(crate) const CHUNK_BYTES: u64 = 36;
const EMPTY: Digest = Digest([
    0xaf, 0x13, 0x49, 0xb9, 0xf5, 0xf9, 0xa1, 0xa6, 0xa0, 0x40, 0x4d, 0xea, 0x36, 0xdc, 0xc9, 0x49, 0x9b,
    0xcb, 0x25, 0xc9, 0xad, 0xc1, 0x12, 0xb7, 0xcc, 0x9a, 0x93, 0xca, 0xe4, 0x1f, 0x32, 0x62,
]);

/// The content of a package version: entries sorted by the bytes of their paths, each after the directory it is in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manifest {
    /// There are names that differ only in case, and that is meant.
    pub case_sensitive: bool,
    pub entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Relative, its components separated by `/`.
    pub path: String,
    pub kind: EntryKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    File { executable: bool, length: u64, digest: Digest, chunks: Vec<ChunkRef> },
    Directory,
    Symlink { target: String },
}

/// A piece of content by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkRef {
    pub digest: Digest,
    pub length: u32,
}

/// A manifest that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    #[error("the bytes are no manifest")]
    NotAManifest,
    #[error("the manifest has format version {0}, this program knows versions 1 and 2: upgrade it")]
    Version(u16),
    #[error("the manifest is cut off")]
    Truncated,
    #[error("{0} bytes follow the end of the manifest")]
    Trailing(usize),
    #[error("the manifest is {length} bytes long, {max} are accepted")]
    TooLong { length: u64, max: u64 },
    #[error("the manifest has {entries} entries, {max} are accepted")]
    TooManyEntries { entries: u64, max: u32 },
    #[error("the manifest names more than {max} bytes of content")]
    TooMuchContent { max: u64 },
    #[error("the path {path:?} is refused")]
    Path {
        path: String,
        #[source]
        source: PathError,
    },
    #[error("a path is not UTF-8")]
    NotUtf8,
    #[error("the path {path:?} is out of order or there twice")]
    Order { path: String },
    #[error("the path {path:?} is in no directory of the manifest")]
    Orphan { path: String },
    #[error("the link {path:?} leaves the tree or has no usable target")]
    Link { path: String },
    #[error("the entry {path:?} has an unknown kind {kind}")]
    Kind { path: String, kind: u8 },
    #[error("the chunks of {path:?} do not make up the file")]
    Chunks { path: String },
    #[error(
        "the paths {path:?} and {other:?} differ only in case, and the manifest does not say that this is meant"
    )]
    CaseClash { path: String, other: String },
    #[error("the manifest says that names differ only in case, but none do")]
    NoCaseClash,
}

impl Entry {
    /// What it takes in an encoded manifest.
    pub(crate) fn encoded_length(&self) -> u64 {
        let plain = PLAIN_ENTRY_BYTES + self.path.len() as u64;
        plain
            + match &self.kind {
                EntryKind::Directory => 0,
                EntryKind::File { chunks, .. } => FILE_BYTES + chunks_bytes(chunks),
                EntryKind::Symlink { target } => LINK_BYTES + target.len() as u64,
            }
    }
}

/// What the chunks of a file take in an encoded manifest.
pub(crate) fn chunks_bytes(chunks: &[ChunkRef]) -> u64 {
    match chunks {
        [] | [_] => 0,
        several => several.len() as u64 * CHUNK_BYTES,
    }
}

impl Manifest {
    /// The canonical bytes. Paths and targets that are too long for the format cannot come from `decode` or
    /// `snapshot`; `check` refuses them.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(10 + self.entries.len() * 96);
        out.extend_from_slice(&MAGIC);
        let version = if self.case_sensitive { VERSION_CASE_SENSITIVE } else { VERSION };
        out.extend_from_slice(&version.to_le_bytes());
        out.extend_from_slice(&(self.entries.len() as u32).to_le_bytes());
        for entry in &self.entries {
            put_text(&mut out, &entry.path);
            match &entry.kind {
                EntryKind::Directory => out.push(0),
                EntryKind::File { executable, length, digest, chunks } => {
                    out.push(1 + u8::from(*executable));
                    out.extend_from_slice(&length.to_le_bytes());
                    out.extend_from_slice(&digest.0);
                    out.extend_from_slice(&(chunks.len() as u32).to_le_bytes());
                    if chunks.len() > 1 {
                        for chunk in chunks {
                            out.extend_from_slice(&chunk.digest.0);
                            out.extend_from_slice(&chunk.length.to_le_bytes());
                        }
                    }
                }
                EntryKind::Symlink { target } => {
                    out.push(3);
                    put_text(&mut out, target);
                }
            }
        }
        out
    }

    /// Reads canonical bytes and nothing else: what it accepts, `encode` gives back bit for bit.
    pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Self, ManifestError> {
        let length = bytes.len() as u64;
        if length > limits.manifest_length_max {
            return Err(ManifestError::TooLong { length, max: limits.manifest_length_max });
        }
        let mut fields = Fields(bytes);
        if fields.bytes(4) != Some(&MAGIC) {
            return Err(ManifestError::NotAManifest);
        }
        let case_sensitive = match fields.u16() {
            Some(VERSION) => false,
            Some(VERSION_CASE_SENSITIVE) => true,
            Some(other) => return Err(ManifestError::Version(other)),
            None => return Err(ManifestError::Truncated),
        };
        let count = fields.u32().ok_or(ManifestError::Truncated)?;
        if count > limits.entries_max {
            return Err(ManifestError::TooManyEntries { entries: count.into(), max: limits.entries_max });
        }
        // An entry takes at least four bytes, so a lying count costs no more memory than the bytes themselves did.
        let mut entries = Vec::with_capacity((count as usize).min(fields.0.len() / 4));
        for _ in 0..count {
            entries.push(take_entry(&mut fields)?);
        }
        if !fields.0.is_empty() {
            return Err(ManifestError::Trailing(fields.0.len()));
        }
        let manifest = Manifest { case_sensitive, entries };
        manifest.check(limits)?;
        Ok(manifest)
    }

    /// Checks all that `decode` demands, on a manifest that was made in another way.
    pub fn check(&self, limits: &Limits) -> Result<(), ManifestError> {
        let entries = self.entries.len() as u64;
        if entries > u64::from(limits.entries_max) {
            return Err(ManifestError::TooManyEntries { entries, max: limits.entries_max });
        }
        let mut directories: HashSet<&str> = HashSet::new();
        let mut before: Option<&str> = None;
        let mut content = 0u64;
        for Entry { path, kind } in &self.entries {
            check_path(path).map_err(|source| ManifestError::Path { path: path.clone(), source })?;
            if before.is_some_and(|before| before.as_bytes().cmp(path.as_bytes()) != Ordering::Less) {
                return Err(ManifestError::Order { path: path.clone() });
            }
            before = Some(path);
            if parent(path).is_some_and(|parent| !directories.contains(parent)) {
                return Err(ManifestError::Orphan { path: path.clone() });
            }
            match kind {
                EntryKind::Directory => {
                    directories.insert(path);
                }
                EntryKind::File { length, digest, chunks, .. } => {
                    check_chunks(*length, digest, chunks)
                        .ok_or_else(|| ManifestError::Chunks { path: path.clone() })?;
                    content = content.saturating_add(*length);
                }
                EntryKind::Symlink { .. } => {}
            }
        }
        if content > limits.content_length_max {
            return Err(ManifestError::TooMuchContent { max: limits.content_length_max });
        }
        self.check_links(&directories).map_err(|(path, _)| ManifestError::Link { path: path.to_owned() })?;
        self.check_case()
    }

    fn check_case(&self) -> Result<(), ManifestError> {
        let paths: Vec<&str> = self.entries.iter().map(|entry| entry.path.as_str()).collect();
        match (clash(&paths), self.case_sensitive) {
            (Some((path, other)), false) => {
                Err(ManifestError::CaseClash { path: path.to_owned(), other: other.to_owned() })
            }
            (None, true) => Err(ManifestError::NoCaseClash),
            (Some(_), true) | (None, false) => Ok(()),
        }
    }

    /// Links are looked at last, when all directories are known.
    pub(crate) fn check_links(&self, directories: &HashSet<&str>) -> Result<(), (&str, LinkFault)> {
        for Entry { path, kind } in &self.entries {
            if let EntryKind::Symlink { target } = kind {
                check_link(path, target, |at| directories.contains(at))
                    .map_err(|fault| (path.as_str(), fault))?;
            }
        }
        Ok(())
    }

    /// The name of the content.
    pub fn digest(&self) -> Digest {
        digest_of(&self.encode())
    }

    /// The length of all files together.
    pub fn total_length(&self) -> u64 {
        self.files().map(|(length, _)| length).fold(0, u64::saturating_add)
    }

    pub fn file_count(&self) -> u64 {
        self.files().count() as u64
    }

    /// Each chunk once, in the order in which the manifest first names it.
    pub fn chunks(&self) -> impl Iterator<Item = ChunkRef> {
        let mut seen = HashSet::new();
        self.files().flat_map(|(_, chunks)| chunks).copied().filter(move |chunk| seen.insert(chunk.digest))
    }

    fn files(&self) -> impl Iterator<Item = (u64, &[ChunkRef])> {
        self.entries.iter().filter_map(|entry| match &entry.kind {
            EntryKind::File { length, chunks, .. } => Some((*length, chunks.as_slice())),
            _ => None,
        })
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn take_text(fields: &mut Fields<'_>) -> Result<String, ManifestError> {
    let length = fields.u16().ok_or(ManifestError::Truncated)?;
    let bytes = fields.bytes(length.into()).ok_or(ManifestError::Truncated)?;
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| ManifestError::NotUtf8)
}

fn take_entry(fields: &mut Fields<'_>) -> Result<Entry, ManifestError> {
    let path = take_text(fields)?;
    let kind = match fields.u8().ok_or(ManifestError::Truncated)? {
        0 => EntryKind::Directory,
        kind @ (1 | 2) => take_file(fields, kind == 2, &path)?,
        3 => EntryKind::Symlink { target: take_text(fields)? },
        kind => return Err(ManifestError::Kind { path, kind }),
    };
    Ok(Entry { path, kind })
}

fn take_file(fields: &mut Fields<'_>, executable: bool, path: &str) -> Result<EntryKind, ManifestError> {
    let length = fields.u64().ok_or(ManifestError::Truncated)?;
    let digest = fields.digest().ok_or(ManifestError::Truncated)?;
    let count = fields.u32().ok_or(ManifestError::Truncated)? as usize;
    let chunks = match count {
        0 => Vec::new(),
        1 => {
            let length =
                u32::try_from(length).map_err(|_| ManifestError::Chunks { path: path.to_owned() })?;
            vec![ChunkRef { digest, length }]
        }
        _ => {
            let bytes = count.checked_mul(36).and_then(|length| fields.bytes(length));
            let bytes = bytes.ok_or(ManifestError::Truncated)?;
            bytes.chunks_exact(36).map(take_chunk).collect::<Option<_>>().ok_or(ManifestError::Truncated)?
        }
    };
    Ok(EntryKind::File { executable, length, digest, chunks })
}

pub(crate) fn take_chunk(bytes: &[u8]) -> Option<ChunkRef> {
    let mut fields = Fields(bytes);
    Some(ChunkRef { digest: fields.digest()?, length: fields.u32()? })
}

fn check_chunks(length: u64, digest: &Digest, chunks: &[ChunkRef]) -> Option<()> {
    if chunks.iter().any(|chunk| chunk.length == 0 || chunk.length > CHUNK_LENGTH_MAX) {
        return None;
    }
    // At most 2^32 chunks of 2^18 bytes: the sum cannot overflow.
    if chunks.iter().map(|chunk| u64::from(chunk.length)).sum::<u64>() != length {
        return None;
    }
    match chunks {
        [] => (*digest == EMPTY).then_some(()),
        [chunk] => (chunk.digest == *digest).then_some(()),
        _ => Some(()),
    }
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
