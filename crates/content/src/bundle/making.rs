//! Makes a bundle: the new tree and all that is new, as differences from what the receiver holds.

use std::io::{self, Read, Write};

use super::{
    BundleError, BundleHeader, BundlePlan, HashingWriter, Making,
    archives::{NewArchives, OldRuns},
    first,
    tree::{self, Base},
};
use crate::{
    delta::{Encoder, Index, OldContent, Spools},
    error::LibraryError,
    library::Library,
    limits::Limits,
    manifest::{ChunkRef, Manifest},
    reader::ChunkReader,
};

/// Writes it up to its checksum. Gives the plain length.
pub(super) fn write(
    library: &Library,
    plan: &BundlePlan,
    bytes: &[u8],
    out: &mut HashingWriter<'_>,
    making: Making,
) -> Result<u64, BundleError> {
    let manifest = Manifest::decode(bytes, &Limits::default()).map_err(BundleError::Manifest)?;
    let base = Base::of(library, &plan.bases)?;
    let directory = library.shared.dir();
    let mut old = base.content(library, |_| true)?;
    let mut spools = Spools::new(directory).map_err(BundleError::Write)?;
    let told = tree::tell(&manifest, &base, &mut spools).map_err(BundleError::Write)?;
    let plain_length = bytes.len() as u64 + told.iter().map(|file| file.length).sum::<u64>();
    let FromBases { used, runs, pieces } = if base.is_none() {
        first::tell(library, &told, (&mut spools, making))?;
        FromBases::default()
    } else {
        encode(library, (&told, &base), &manifest, &mut old, (&mut spools, making))?
    };
    tree::tell_used(&used, &mut spools).map_err(BundleError::Write)?;
    runs.tell(&pieces, &mut spools).map_err(BundleError::Write)?;
    let sections = spools.finish(directory, making).map_err(BundleError::Write)?;
    let header = BundleHeader {
        target: plan.target,
        bases: plan.bases.clone(),
        manifest_length: bytes.len() as u64,
        plain_length,
    };
    let mut head = header.encode();
    for (plain, compressed) in &sections.lengths {
        head.extend_from_slice(&plain.to_le_bytes());
        head.extend_from_slice(&compressed.to_le_bytes());
    }
    out.write_all(&head).and_then(|()| sections.write(out)).map_err(BundleError::Write)?;
    Ok(plain_length)
}

/// What it takes of the bases.
#[derive(Default)]
struct FromBases {
    /// Whether anything, of each of their files.
    used: Vec<bool>,
    runs: OldRuns,
    /// Of the old content.
    pieces: Vec<(u64, u64)>,
}

/// Tells the files as differences from the old content.
fn encode(
    library: &Library,
    (told, base): (&[tree::Told], &Base),
    manifest: &Manifest,
    old: &mut OldContent,
    (spools, making): (&mut Spools, Making),
) -> Result<FromBases, BundleError> {
    let directory = library.shared.dir();
    let mut reader = ChunkReader::new(&library.shared);
    let is_plain = told.is_empty() || making.is_quick();
    let (archives, runs) = match is_plain {
        true => (NewArchives::none().map_err(BundleError::Write)?, OldRuns::default()),
        false => {
            let mut archives = NewArchives::of(library, told)?;
            let runs = archives.inflate_old(base, manifest, old).map_err(BundleError::Write)?;
            (archives, runs)
        }
    };
    let index = Index::new(old).map_err(BundleError::Read)?;
    let mut encoder = Encoder::new(old, &index, spools);
    let mut scratch = tempfile::tempfile_in(directory).map_err(BundleError::Write)?;
    for (nth, file) in told.iter().enumerate() {
        let is_archive = archives.tell((nth, file), (&runs, base), &mut encoder, &mut scratch);
        if !is_archive.map_err(BundleError::Write)? {
            let mut content = Content::new(&mut reader, &file.chunks);
            encoder.file(&mut content, file.like).map_err(content_failed)?;
        }
    }
    let pieces = encoder.used();
    let mut used = base.used(&pieces);
    runs.mark(&pieces, &mut used);
    Ok(FromBases { used, runs, pieces })
}

/// The bytes of some chunks, one after the other.
struct Content<'r, 'a> {
    reader: &'r mut ChunkReader<'a>,
    chunks: std::slice::Iter<'r, ChunkRef>,
    chunk: Vec<u8>,
    at: usize,
}

impl<'r, 'a> Content<'r, 'a> {
    fn new(reader: &'r mut ChunkReader<'a>, chunks: &'r [ChunkRef]) -> Self {
        Content { reader, chunks: chunks.iter(), chunk: Vec::new(), at: 0 }
    }
}

impl Read for Content<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.chunk.len() {
            let Some(next) = self.chunks.next() else { return Ok(0) };
            let bytes = self.reader.exactly(next).map_err(io::Error::other)?;
            self.chunk.clear();
            self.chunk.extend_from_slice(bytes);
            self.at = 0;
        }
        let length = into.len().min(self.chunk.len() - self.at);
        into[..length].copy_from_slice(&self.chunk[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}

/// What went wrong with the library comes wrapped.
fn content_failed(error: io::Error) -> BundleError {
    match error.downcast::<LibraryError>() {
        Ok(error) => BundleError::Library(error),
        Err(error) => BundleError::Write(error),
    }
}
