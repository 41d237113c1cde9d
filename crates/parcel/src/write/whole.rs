//! Whether a file on a medium is whole, read from the medium itself.

use std::{io, ops::ControlFlow, path::Path};

use packhorse_domain::Digest;

use super::{OnProgress, Progress, WriteError};
use crate::{medium::MediumError, plan::Written, uncached};

const CHECKSUM_BYTES: u64 = 32;

/// A file's own checksum and BLAKE3.
struct Hashes {
    length: u64,
    /// BLAKE3 of all but the last 32 bytes, and these.
    told: blake3::Hash,
    checksum: Vec<u8>,
    whole: blake3::Hash,
}

/// The volume's length and BLAKE3, if it ends with the checksum of what is before.
pub(super) fn digest(path: &Path, progress: &mut OnProgress<'_>) -> Result<Option<Written>, WriteError> {
    let hashes = hashes(path, 0, progress)?;
    let whole = hashes.checksum == hashes.told.as_bytes();
    Ok(whole.then(|| Written { length: hashes.length, digest: Digest(*hashes.whole.as_bytes()) }))
}

/// Whether the file is what was written.
pub(super) fn read_back(
    path: &Path,
    written: &Written,
    progress: &mut OnProgress<'_>,
) -> Result<(), WriteError> {
    let hashes = hashes(path, written.length, progress)?;
    match hashes.length == written.length && written.digest.as_bytes() == hashes.whole.as_bytes() {
        true => Ok(()),
        false => Err(WriteError::Misread { path: path.to_owned() }),
    }
}

/// `before` is what had been done before, in bytes.
fn hashes(path: &Path, before: u64, progress: &mut OnProgress<'_>) -> Result<Hashes, WriteError> {
    let failed = |error| WriteError::Medium(MediumError::of("read back", path)(error));
    let length = std::fs::metadata(path).map_err(failed)?.len();
    let covered = length.saturating_sub(CHECKSUM_BYTES);
    let mut hasher = blake3::Hasher::new();
    let mut told = hasher.finalize();
    let (mut checksum, mut read, mut cancelled) = (Vec::new(), 0, false);
    let result = uncached::read(path, &mut |bytes| {
        let (first, last) = bytes.split_at(covered.saturating_sub(read).min(bytes.len() as u64) as usize);
        hasher.update(first);
        if !last.is_empty() && checksum.is_empty() {
            told = hasher.finalize();
        }
        if read + bytes.len() as u64 <= length {
            checksum.extend_from_slice(last);
        }
        hasher.update(last);
        read += bytes.len() as u64;
        match progress(Progress { done: before + read, total: before + length }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => {
                cancelled = true;
                Err(io::ErrorKind::Other.into())
            }
        }
    });
    if cancelled {
        return Err(WriteError::Cancelled);
    }
    result.map_err(failed)?;
    Ok(Hashes { length: read, told, checksum, whole: hasher.finalize() })
}
