//! New content in blocks as the library has them: nothing is compressed for it.

use std::ops::ControlFlow;

use super::{BundleError, tree::Told};
use crate::{
    delta::{Spools, Stream},
    library::Library,
    manifest::ChunkRef,
    reader::read_in_order,
};

/// Tells all of these files. What is to become of it must build on nothing.
pub(super) fn tell(library: &Library, told: &[Told], spools: &mut Spools) -> Result<(), BundleError> {
    for file in told {
        let numbers =
            [(Stream::Deflated, 0), (Stream::LiteralLengths, file.length), (Stream::CopyLengths, 0)];
        for (stream, number) in numbers {
            spools.number(stream, number).map_err(BundleError::Write)?;
        }
    }
    let chunks: Vec<ChunkRef> = told.iter().flat_map(|file| &file.chunks).copied().collect();
    let directory = library.shared.dir();
    let mut failed = None;
    let read = read_in_order(&library.shared, &chunks, &mut |block| {
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

#[cfg(test)]
#[path = "framing_tests.rs"]
mod tests;
