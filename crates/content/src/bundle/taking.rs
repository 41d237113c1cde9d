//! Takes a bundle in: all of it is checked, then the new tree and all that is new are made of it and of what is held.

use std::{
    io::{self, BufReader, Read},
    ops::ControlFlow,
};

use packhorse_domain::Digest;

use super::{
    BundleError, BundleHeader, Offered, Source,
    archives::{self, OldRuns},
    read_failed,
    reading::{self, Reading, ToldFile},
    tree::Base,
};
use crate::{
    cut::{ChunkSink, CutError, Nowhere, cut},
    delta::{Decoder, STREAMS, Streams},
    library::Library,
    limits::Limits,
    manifest::{ChunkRef, Manifest},
    tree::Staging,
    wire::{Fields, digest_of},
    writer::PackWriter,
};

const LENGTHS_BYTES: usize = STREAMS.len() * 16;
const CHECKSUM_BYTES: u64 = 32;

/// A version of which the content is known, and in the library does not show yet.
pub(super) struct Taken {
    manifest: Manifest,
    bytes: Vec<u8>,
    writer: PackWriter,
}

impl Taken {
    /// Its chunks become durable, then its manifest.
    pub(super) fn keep(mut self, library: &Library) -> Result<Manifest, BundleError> {
        self.writer.flush_durable().map_err(BundleError::Library)?;
        if let Some(chunk) = library.missing(&self.manifest).first() {
            return Err(BundleError::ChunkLacking { chunk: chunk.digest });
        }
        library.put_manifest(&self.bytes).map_err(BundleError::Library)?;
        self.writer.seal().map_err(BundleError::Library)?;
        Ok(self.manifest)
    }

    /// It was only to be seen what it is.
    pub(super) fn manifest(self) -> Manifest {
        self.manifest
    }
}

/// Who gets the content. It is checked for each of them, and for none.
pub(super) struct Takers<'a> {
    pub(super) library: bool,
    pub(super) staging: &'a mut [Staging],
}

/// Takes in what the streams tell.
pub(super) fn take_in(
    library: &Library,
    mut streams: Streams,
    header: &BundleHeader,
    limits: &Limits,
    takers: Takers<'_>,
) -> Result<Taken, BundleError> {
    let Takers { library: keeps, staging } = takers;
    let base = Base::of(library, &header.bases)?;
    let used = reading::used(&mut streams, &base)?;
    let mut old = base.content(library, |nth| used[nth])?;
    OldRuns::inflate_told(&mut streams, &base, limits, &mut old)?;
    let mut decoder = Decoder::new(&old);
    let mut scratch = tempfile::tempfile_in(library.shared.dir()).map_err(BundleError::Write)?;
    let mut writer = library.writer().map_err(BundleError::Library)?;
    if let Some(frames) = streams.frames() {
        writer.comes_in(frames);
    }
    let sink: &mut dyn ChunkSink = if keeps { &mut writer } else { &mut Nowhere };
    let mut reading = Reading::new(&base, header)?;
    let manifest = reading.tree(&mut streams, limits, &mut |streams, told| {
        if archives::make(streams, &mut decoder, told.length, &mut scratch)? {
            let mut content = BufReader::with_capacity(256 * 1024, &scratch);
            return take(&mut content, told, sink, staging);
        }
        let mut content = decoder.file(streams, told.length);
        let taken = take(&mut content, told, sink, staging);
        match (content.failure(), taken) {
            (Some(error), _) => Err(error),
            (None, taken) => taken,
        }
    })?;
    streams.check_end()?;
    manifest.check(limits).map_err(BundleError::Manifest)?;
    let bytes = manifest.encode();
    if digest_of(&bytes) != header.target || bytes.len() as u64 != header.manifest_length {
        return Err(BundleError::Damaged("it leads to another version than it names"));
    }
    Ok(Taken { manifest, bytes, writer })
}

fn take(
    content: &mut dyn Read,
    ToldFile { path, executable, length, chunks_max, known }: ToldFile<'_>,
    sink: &mut dyn ChunkSink,
    staging: &mut [Staging],
) -> Result<(Digest, Vec<ChunkRef>), BundleError> {
    for stage in staging.iter_mut() {
        stage.begin(path, executable, length);
    }
    let mut chunks = 0;
    let mut count = |_| {
        chunks += 1;
        if chunks > chunks_max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let mut content = Teed { content, staging };
    let taken = cut(&mut content, (length, known), sink, &mut count).map_err(|error| match error {
        CutError::Read(error) => BundleError::Read(error),
        CutError::Length => BundleError::Damaged("a file in it has another length"),
        CutError::Cancelled => reading::beyond_manifest(),
        CutError::Library(error) => BundleError::Library(error),
    })?;
    for stage in staging {
        stage.end(&taken.0);
    }
    Ok(taken)
}

/// Content that goes to stagings as well while it is read.
struct Teed<'a> {
    content: &'a mut dyn Read,
    staging: &'a mut [Staging],
}

impl Read for Teed<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.content.read(into)?;
        for stage in self.staging.iter_mut() {
            stage.put(&into[..length]);
        }
        Ok(length)
    }
}

/// Whether it is what it says itself, and what was offered, unless that is known.
pub(super) fn check_sum(source: &Source, offered: Option<&Offered>) -> Result<(), BundleError> {
    let end = source.length().checked_sub(CHECKSUM_BYTES).ok_or(BundleError::Truncated)?;
    if source.is_proved() {
        return Ok(());
    }
    let (mut at, mut hasher, mut buffer) = (0, blake3::Hasher::new(), vec![0; 256 * 1024]);
    while at < end {
        let most = buffer.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
        source.read_exact_at(&mut buffer[..most], at).map_err(BundleError::Read)?;
        hasher.update(&buffer[..most]);
        at += most as u64;
    }
    let mut checksum = [0; CHECKSUM_BYTES as usize];
    source.read_exact_at(&mut checksum, end).map_err(BundleError::Read)?;
    if hasher.finalize() != checksum {
        return Err(BundleError::Damaged("its checksum is wrong"));
    }
    match offered {
        Some(offered) if hasher.update(&checksum).finalize() != offered.digest.0 => {
            Err(BundleError::Damaged("its bytes are not those that were offered"))
        }
        _ => Ok(()),
    }
}

pub(super) fn sections(source: &Source, header: &BundleHeader) -> Result<Streams, BundleError> {
    let begin = header.encode().len() as u64;
    let mut lengths = [0; LENGTHS_BYTES];
    source.read_exact_at(&mut lengths, begin).map_err(read_failed)?;
    let mut fields = Fields(&lengths);
    let mut sections = Vec::with_capacity(STREAMS.len());
    let mut end = begin + LENGTHS_BYTES as u64;
    while let (Some(plain), Some(compressed)) = (fields.u64(), fields.u64()) {
        end = end.checked_add(compressed).ok_or(BundleError::Truncated)?;
        sections.push((plain, compressed));
    }
    match end.saturating_add(CHECKSUM_BYTES).cmp(&source.length()) {
        std::cmp::Ordering::Greater => Err(BundleError::Truncated),
        std::cmp::Ordering::Less => Err(BundleError::Trailing),
        std::cmp::Ordering::Equal => Streams::open(source, begin + LENGTHS_BYTES as u64, &sections),
    }
}
