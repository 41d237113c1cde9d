//! What can go wrong with a content library, by what the caller does about it.

use std::{
    io,
    path::{Path, PathBuf},
};

use packhorse_domain::Digest;

use crate::{block::BlockError, manifest::ManifestError};

#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    #[error(
        "the content library {} is in use by another process: stop that one, or give each its own directory",
        dir.display()
    )]
    Locked { dir: PathBuf },
    #[error("{} has a format that this program does not know: upgrade it", path.display())]
    Format { path: PathBuf },
    #[error("cannot {operation} {}", path.display())]
    Io {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("pack {} is damaged at offset {offset}", pack.display())]
    Damaged { pack: PathBuf, offset: u64 },
    #[error("manifest {manifest} is damaged in the library: put it again")]
    DamagedManifest { manifest: Digest },
    #[error("the library lacks chunk {chunk}")]
    Lacking { chunk: Digest },
    #[error("the library lacks {missing} chunks of manifest {manifest}")]
    Incomplete { manifest: Digest, missing: usize },
    #[error("the bytes given as chunk {chunk} are not what its digest or the limits say")]
    WrongChunk { chunk: Digest },
    #[error("the block is refused")]
    Block(#[source] BlockError),
    #[error("the manifest is refused")]
    Manifest(#[source] ManifestError),
    #[error("the library is being written to: collect later")]
    Busy,
    #[error("an earlier write to the library failed: begin anew with another writer")]
    WriterFailed,
}

impl LibraryError {
    /// For `map_err`: an operation on a path failed.
    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LibraryError {
        move |source| LibraryError::Io { operation, path: path.to_owned(), source }
    }

    /// Whether the disk is full: the caller may wait for a collection.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, LibraryError::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}
