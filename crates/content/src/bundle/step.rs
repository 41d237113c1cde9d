//! A bundle with what is new as differences from what the receiver holds.
//!
//! After the header: for each stream its plain and its compressed length, u64 both; then the streams, one zstd frame each,
//! in the order of [`STREAMS`], with a window of at most 2^23 bytes. Two of them say what the new tree is ([`super::tree`]); the
//! others are a delta ([`crate::delta`]) of the files that the tree says are told, one after the other. The old content is that
//! of all files of the bases, each content once, in the order of [`Base::files`]; what lies deflated in archives is told as it
//! is when it is inflated ([`super::archives`]). The plain length is that of the manifest and
//! of all files that are told.
//!
//! Digests of what is new are not in it: the receiver finds them itself, and the manifest that they lead to is the target or
//! the bundle is refused.

use std::{
    fs::File,
    io::{self, BufReader, Read, Write},
    os::unix::fs::FileExt as _,
    sync::Arc,
};

use packhorse_domain::Digest;

use super::{
    BundleError, BundleFormat, BundleHeader, BundlePlan, HashingWriter,
    archives::{self, NewArchives, OldRuns},
    tree::{self, Base, Reading},
};
use crate::{
    cut::{CutError, cut},
    delta::{Decoder, Encoder, Index, STREAMS, Spools, Streams},
    error::LibraryError,
    library::Library,
    limits::Limits,
    manifest::{ChunkRef, Manifest},
    reader::ChunkReader,
    wire::{Fields, digest_of},
    writer::PackWriter,
};

const LENGTHS_BYTES: usize = STREAMS.len() * 16;
const CHECKSUM_BYTES: u64 = 32;

/// Writes it up to its checksum. Gives the plain length.
pub(super) fn write(
    library: &Library,
    plan: &BundlePlan,
    bytes: &[u8],
    out: &mut HashingWriter<'_>,
    level: i32,
) -> Result<u64, BundleError> {
    let manifest = Manifest::decode(bytes, &Limits::default()).map_err(BundleError::Manifest)?;
    let base = Base::of(library, &plan.bases)?;
    let directory = library.shared.dir();
    let mut old = base.content(library, |_| true)?;
    let mut spools = Spools::new(directory).map_err(BundleError::Write)?;
    let told = tree::tell(&manifest, &base, &mut spools).map_err(BundleError::Write)?;
    let mut archives = NewArchives::of(library, &told)?;
    let runs = match told.is_empty() {
        true => OldRuns::default(),
        false => archives.inflate_old(&base, &manifest, &mut old).map_err(BundleError::Write)?,
    };
    let index = Index::new(&old).map_err(BundleError::Read)?;
    let mut encoder = Encoder::new(&old, &index, &mut spools);
    let mut scratch = tempfile::tempfile_in(directory).map_err(BundleError::Write)?;
    let mut plain_length = bytes.len() as u64;
    for (nth, file) in told.iter().enumerate() {
        plain_length += file.length;
        let is_archive = archives.tell((nth, file), (&runs, &base), &mut encoder, &mut scratch);
        if !is_archive.map_err(BundleError::Write)? {
            let content = Content::new(library, file.chunks.clone());
            let mut content = BufReader::with_capacity(64 * 1024, content);
            encoder.file(&mut content, file.like).map_err(content_failed)?;
        }
    }
    let pieces = encoder.used();
    let mut used = base.used(&pieces);
    runs.mark(&pieces, &mut used);
    tree::tell_used(&used, &mut spools).map_err(BundleError::Write)?;
    runs.tell(&pieces, &mut spools).map_err(BundleError::Write)?;
    let sections = spools.finish(directory, level).map_err(BundleError::Write)?;
    let header = BundleHeader {
        format: BundleFormat::Step,
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

/// Takes it in.
pub(super) fn apply(
    library: &Library,
    file: &File,
    header: &BundleHeader,
    limits: &Limits,
) -> Result<Manifest, BundleError> {
    let file = Arc::new(file.try_clone().map_err(BundleError::Read)?);
    check_sum(&file)?;
    // From here on it is what was written: fetched again it would lead to the same.
    make(library, &file, header, limits).map_err(|error| match error {
        BundleError::Damaged(why) => BundleError::Unmade(why),
        other => other,
    })
}

fn make(
    library: &Library,
    file: &Arc<File>,
    header: &BundleHeader,
    limits: &Limits,
) -> Result<Manifest, BundleError> {
    let mut streams = sections(file, header)?;
    let base = Base::of(library, &header.bases)?;
    let used = tree::read_used(&mut streams, &base)?;
    let (runs, length) = OldRuns::read(&mut streams, &base)?;
    let mut old = base.content(library, |nth| used[nth])?;
    old.set_length(length).map_err(BundleError::Write)?;
    runs.inflate(&base, &mut old)?;
    let mut decoder = Decoder::new(&old);
    let mut scratch = tempfile::tempfile_in(library.shared.dir()).map_err(BundleError::Write)?;
    let mut writer = library.writer().map_err(BundleError::Library)?;
    let told_length = header.plain_length.checked_sub(header.manifest_length);
    let told_length = told_length.ok_or(BundleError::Damaged("it declares a length that is too short"))?;
    let mut reading = Reading::new(&base, told_length);
    let manifest = reading.tree(&mut streams, limits, &mut |streams, length| {
        if archives::make(streams, &mut decoder, length, &mut scratch)? {
            return take(&mut BufReader::with_capacity(256 * 1024, &scratch), length, &mut writer);
        }
        let mut content = decoder.file(streams, length);
        let taken = take(&mut content, length, &mut writer);
        match (content.failure(), taken) {
            (Some(error), _) => Err(error),
            (None, taken) => taken,
        }
    })?;
    streams.check_end()?;
    let bytes = manifest.encode();
    if digest_of(&bytes) != header.target || bytes.len() as u64 != header.manifest_length {
        return Err(BundleError::Damaged("it leads to another version than it names"));
    }
    writer.flush_durable().map_err(BundleError::Library)?;
    if let Some(chunk) = library.missing(&manifest).first() {
        return Err(BundleError::ChunkLacking { chunk: chunk.digest });
    }
    library.put_manifest(&bytes).map_err(BundleError::Library)?;
    writer.seal().map_err(BundleError::Library)?;
    Ok(manifest)
}

fn take(
    content: &mut dyn Read,
    length: u64,
    writer: &mut PackWriter,
) -> Result<(Digest, Vec<ChunkRef>), BundleError> {
    cut(content, length, writer, &mut |_| std::ops::ControlFlow::Continue(())).map_err(|error| match error {
        CutError::Read(error) => BundleError::Read(error),
        CutError::Length | CutError::Cancelled => BundleError::Damaged("a file in it has another length"),
        CutError::Library(error) => BundleError::Library(error),
    })
}

/// All is read from many places later: so it is checked before.
fn check_sum(file: &File) -> Result<(), BundleError> {
    let length = file.metadata().map_err(BundleError::Read)?.len();
    let end = length.checked_sub(CHECKSUM_BYTES).ok_or(BundleError::Truncated)?;
    let (mut at, mut hasher, mut buffer) = (0, blake3::Hasher::new(), vec![0; 256 * 1024]);
    while at < end {
        let most = buffer.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
        file.read_exact_at(&mut buffer[..most], at).map_err(BundleError::Read)?;
        hasher.update(&buffer[..most]);
        at += most as u64;
    }
    let mut checksum = [0; CHECKSUM_BYTES as usize];
    file.read_exact_at(&mut checksum, end).map_err(BundleError::Read)?;
    if hasher.finalize() == checksum { Ok(()) } else { Err(BundleError::Damaged("its checksum is wrong")) }
}

fn sections(file: &Arc<File>, header: &BundleHeader) -> Result<Streams, BundleError> {
    let begin = header.encode().len() as u64;
    let mut lengths = [0; LENGTHS_BYTES];
    file.read_exact_at(&mut lengths, begin).map_err(|_| BundleError::Truncated)?;
    let mut fields = Fields(&lengths);
    let mut sections = Vec::with_capacity(STREAMS.len());
    let mut end = begin + LENGTHS_BYTES as u64;
    while let (Some(plain), Some(compressed)) = (fields.u64(), fields.u64()) {
        end = end.checked_add(compressed).ok_or(BundleError::Damaged("its sections have no end"))?;
        sections.push((plain, compressed));
    }
    let length = file.metadata().map_err(BundleError::Read)?.len();
    match (end + CHECKSUM_BYTES).cmp(&length) {
        std::cmp::Ordering::Greater => Err(BundleError::Truncated),
        std::cmp::Ordering::Less => Err(BundleError::Trailing),
        std::cmp::Ordering::Equal => Streams::open(file, begin + LENGTHS_BYTES as u64, &sections),
    }
}

/// The bytes of some chunks, one after the other.
struct Content<'a> {
    reader: ChunkReader<'a>,
    chunks: std::vec::IntoIter<ChunkRef>,
    chunk: Vec<u8>,
    at: usize,
}

impl<'a> Content<'a> {
    fn new(library: &'a Library, chunks: Vec<ChunkRef>) -> Self {
        let reader = ChunkReader::new(&library.shared);
        Content { reader, chunks: chunks.into_iter(), chunk: Vec::new(), at: 0 }
    }
}

impl Read for Content<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.chunk.len() {
            let Some(next) = self.chunks.next() else { return Ok(0) };
            let bytes = self.reader.exactly(&next).map_err(io::Error::other)?;
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
