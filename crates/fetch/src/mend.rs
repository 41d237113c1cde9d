//! Single chunks from one source: what a library lost of versions that it holds otherwise.
//!
//! The source may have some and not others; it is no less trusted than any: nothing counts that its digest does not prove.

use std::sync::Arc;

use bytes::Bytes;
use packhorse_content::{ChunkRef, Library, LibraryError};
use packhorse_domain::Digest;
use packhorse_runtime::error_chain;
use tokio::sync::watch;
use tonic::Status;

use crate::{
    pull::{self, Failure, Progress, Source},
    store::Store,
};

/// Asked for at a time: about as much as is lost if the source fails.
const CHUNKS_PER_CALL: usize = 64;
/// So many single chunks in a row that it lacks, and it is not asked for more.
const MISSES_MAX: usize = 16;

#[derive(Debug, thiserror::Error)]
pub enum MendError {
    /// Another source, or the same one later. What has arrived is kept.
    #[error("{source_name} cannot be asked for chunks now")]
    Unavailable {
        source_name: String,
        #[source]
        source: Box<Status>,
    },
    /// Another source.
    #[error("{source_name} gives wrong bytes: {reason}")]
    Wrong { source_name: String, reason: String },
    #[error("the library cannot take chunks in")]
    Library(#[source] Box<LibraryError>),
}

/// Fetches those of a version's `chunks` that the source has, durably. What came, the library knows.
pub async fn fetch_chunks(
    source: &Source,
    library: &Arc<Library>,
    manifest: &Digest,
    chunks: &[ChunkRef],
) -> Result<(), MendError> {
    let (progress, _) = watch::channel(Progress::default());
    let mut batches: Vec<Vec<ChunkRef>> = chunks.chunks(CHUNKS_PER_CALL).map(<[ChunkRef]>::to_vec).collect();
    let mut misses = 0;
    while let Some(batch) = batches.pop() {
        let store = Store::open(library, &progress);
        let read = pull::read_chunks(source, manifest, &batch, &store).await;
        match store.close().await {
            Ok(()) => {}
            Err(LibraryError::Block(error)) => return Err(wrong(source, error_chain(&error))),
            Err(error) => return Err(MendError::Library(Box::new(error))),
        }
        match read {
            Ok(()) => misses = 0,
            // One chunk that it lacks ends the whole call: the others are asked for without it.
            Err(Failure::NotHeld | Failure::Damaged(_)) if batch.len() > 1 => {
                let (one, other) = batch.split_at(batch.len() / 2);
                batches.extend([one.to_vec(), other.to_vec()]);
            }
            Err(Failure::NotHeld | Failure::Damaged(_)) => misses += 1,
            Err(Failure::Unavailable(status)) => return Err(unavailable(source, status)),
            Err(Failure::Library(error)) => return Err(MendError::Library(Box::new(error))),
        }
        if misses >= MISSES_MAX {
            break;
        }
    }
    Ok(())
}

/// A manifest's bytes, checked against its digest; `None`: the source does not have it.
pub async fn fetch_manifest(source: &Source, manifest: &Digest) -> Result<Option<Bytes>, MendError> {
    match pull::get_manifest(source, manifest).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(Failure::NotHeld) => Ok(None),
        Err(Failure::Damaged(reason)) => Err(wrong(source, reason)),
        Err(Failure::Unavailable(status)) => Err(unavailable(source, status)),
        Err(Failure::Library(error)) => Err(MendError::Library(Box::new(error))),
    }
}

fn wrong(source: &Source, reason: String) -> MendError {
    MendError::Wrong { source_name: source.name.clone(), reason }
}

fn unavailable(source: &Source, status: Status) -> MendError {
    MendError::Unavailable { source_name: source.name.clone(), source: Box::new(status) }
}
