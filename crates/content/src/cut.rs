//! Content into the library: cut where it says so itself, so that what is the same in two versions is the same chunks.

use std::{
    io::{self, Read},
    ops::ControlFlow,
};

use fastcdc::v2020::StreamCDC;
use packhorse_domain::Digest;

use crate::{
    error::LibraryError,
    limits::{CHUNK_LENGTH_MAX, WHOLE_FILE_LENGTH_MAX},
    manifest::ChunkRef,
    wire::digest_of,
    writer::PackWriter,
};

const CHUNK_LENGTH_MIN: usize = 16 * 1024;
const CHUNK_LENGTH_AVERAGE: usize = 64 * 1024;

/// Why a file's content was not taken.
#[derive(Debug)]
pub(crate) enum CutError {
    Read(io::Error),
    /// It has another length than it should.
    Length,
    Library(LibraryError),
    Cancelled,
}

/// Takes content of a known length in. `report` hears of each chunk's bytes.
pub(crate) fn cut(
    input: &mut dyn Read,
    length: u64,
    writer: &mut PackWriter,
    report: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<(Digest, Vec<ChunkRef>), CutError> {
    // One byte more than there should be, so that a file that grows is noticed and does not go on for ever.
    let mut input = input.take(length.saturating_add(1));
    if length > WHOLE_FILE_LENGTH_MAX {
        return cut_long(&mut input, length, writer, report);
    }
    let mut content = Vec::with_capacity(length as usize + 1);
    input.read_to_end(&mut content).map_err(CutError::Read)?;
    if content.len() as u64 != length {
        return Err(CutError::Length);
    }
    let digest = digest_of(&content);
    if length == 0 {
        return Ok((digest, Vec::new()));
    }
    writer.add_checked(digest, &content).map_err(CutError::Library)?;
    match report(length) {
        ControlFlow::Continue(()) => Ok((digest, vec![ChunkRef { digest, length: length as u32 }])),
        ControlFlow::Break(()) => Err(CutError::Cancelled),
    }
}

fn cut_long(
    input: &mut dyn Read,
    length: u64,
    writer: &mut PackWriter,
    report: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<(Digest, Vec<ChunkRef>), CutError> {
    let mut hasher = blake3::Hasher::new();
    let mut chunks = Vec::with_capacity((length / CHUNK_LENGTH_AVERAGE as u64).min(1 << 20) as usize);
    let mut taken = 0;
    let cutter = StreamCDC::new(input, CHUNK_LENGTH_MIN, CHUNK_LENGTH_AVERAGE, CHUNK_LENGTH_MAX as usize);
    for chunk in cutter {
        let chunk = chunk.map_err(|error| CutError::Read(io::Error::other(error)))?;
        taken += chunk.data.len() as u64;
        if taken > length {
            return Err(CutError::Length);
        }
        let digest = digest_of(&chunk.data);
        hasher.update(&chunk.data);
        writer.add_checked(digest, &chunk.data).map_err(CutError::Library)?;
        chunks.push(ChunkRef { digest, length: chunk.data.len() as u32 });
        if report(chunk.data.len() as u64).is_break() {
            return Err(CutError::Cancelled);
        }
    }
    if taken != length {
        return Err(CutError::Length);
    }
    Ok((Digest(*hasher.finalize().as_bytes()), chunks))
}
