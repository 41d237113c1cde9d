//! What builds on nothing: all content is literals, compressed as one, or in blocks as the library has them.

use std::ops::ControlFlow;

use zstd::bulk::Compressor;

use super::{BundleError, Making, tree::Told};
use crate::{
    delta::{Spools, Stream},
    library::Library,
    manifest::ChunkRef,
    reader::{ChunkReader, read_in_order},
};

/// So many chunks are tried, evenly spread.
const TRIED: usize = 32;

/// Tells all of these files. It is as plain as can be: to inflate archives and deflate them again takes longer than sending
/// them.
pub(super) fn tell(
    library: &Library,
    told: &[Told],
    (spools, making): (&mut Spools, Making),
) -> Result<(), BundleError> {
    for file in told {
        let numbers =
            [(Stream::Deflated, 0), (Stream::LiteralLengths, file.length), (Stream::CopyLengths, 0)];
        for (stream, number) in numbers {
            spools.number(stream, number).map_err(BundleError::Write)?;
        }
    }
    let chunks: Vec<ChunkRef> = told.iter().flat_map(|file| &file.chunks).copied().collect();
    match making.is_quick() {
        true => tell_blocks(library, &chunks, spools),
        false => tell_compressed(library, &chunks, (spools, making)),
    }
}

/// Nothing is compressed for it.
fn tell_blocks(library: &Library, chunks: &[ChunkRef], spools: &mut Spools) -> Result<(), BundleError> {
    let directory = library.shared.dir();
    let mut failed = None;
    let read = read_in_order(&library.shared, chunks, &mut |block| {
        let plain = block.chunks.iter().map(|chunk| u64::from(chunk.length)).sum();
        match spools.frame(directory, &block.data, plain) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    });
    match failed {
        Some(error) => Err(BundleError::Write(error)),
        None => read.map_err(BundleError::Library),
    }
}

/// Compressed while the next are read.
fn tell_compressed(
    library: &Library,
    chunks: &[ChunkRef],
    (spools, making): (&mut Spools, Making),
) -> Result<(), BundleError> {
    let mut reader = ChunkReader::new(&library.shared);
    let making = match making.of_dense() {
        Some(other) if is_dense(chunks, &mut reader)? => other,
        _ => making,
    };
    let bytes = chunks.iter().map(|chunk| u64::from(chunk.length)).sum();
    spools.compress_literals(library.shared.dir(), making, bytes).map_err(BundleError::Write)?;
    for chunk in chunks {
        let bytes = reader.exactly(chunk).map_err(BundleError::Library)?;
        spools.put(Stream::Literals, bytes).map_err(BundleError::Write)?;
    }
    Ok(())
}

/// Whether next to nothing can be saved, by what a few chunks become: less than a part in 32.
fn is_dense(chunks: &[ChunkRef], reader: &mut ChunkReader<'_>) -> Result<bool, BundleError> {
    let mut compressor = Compressor::new(1).map_err(BundleError::Write)?;
    let (mut plain, mut compressed) = (0, 0);
    for chunk in chunks.iter().step_by(chunks.len().div_ceil(TRIED).max(1)) {
        let bytes = reader.exactly(chunk).map_err(BundleError::Library)?;
        plain += bytes.len();
        compressed += compressor.compress(bytes).map_err(BundleError::Write)?.len();
    }
    Ok(plain > 0 && compressed > plain - plain / 32)
}

#[cfg(test)]
#[path = "first_tests.rs"]
mod tests;
