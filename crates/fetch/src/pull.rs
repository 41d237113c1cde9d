//! Pulling content into a library, from one source after the other, asking only for what is missing.
//!
//! A source is not trusted: every byte is checked against a digest before it counts, and nothing is taken that was
//! not asked for. What has become durable is never fetched again, however often a pull is begun.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use packhorse_content::{Block, ChunkRef, Library, LibraryError, Limits, Manifest, ManifestError};
use packhorse_domain::Digest;
use packhorse_proto::content::v1::{
    GetManifestRequest, ReadChunksRequest, ReadChunksResponse, content_service_client::ContentServiceClient,
};
use packhorse_runtime::{error_chain, telemetry::inject};
use tokio::sync::watch;
use tonic::{Code, Request, Status, Streaming, transport::Channel};

use crate::{MESSAGE_LENGTH_MAX, store::Store};

const CHUNKS_PER_CALL: usize = 2048;
/// Longer than a block takes on a modem.
const SILENCE_MAX: Duration = Duration::from_secs(300);

/// Somebody who may hold the content.
#[derive(Debug, Clone)]
pub struct Source {
    /// For logs and errors, as `cap1`.
    pub name: String,
    pub channel: Channel,
}

/// How far a pull is, in bytes of content: each chunk once, what was held from the start included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    pub done: u64,
    pub total: u64,
    /// What of it came from a source.
    pub fetched: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Find other sources, or wait until one has it.
    #[error("no source holds {manifest}")]
    NotHeld { manifest: Digest },
    /// Find other sources; the ones asked mend themselves, or lie.
    #[error("no source gives {manifest} undamaged")]
    Damaged { manifest: Digest },
    /// Try again later. What has arrived is kept.
    #[error("cannot fetch {manifest} now, last from {source_name}")]
    Unavailable {
        manifest: Digest,
        source_name: String,
        #[source]
        source: Box<Status>,
    },
    /// The content is as it was signed, and this program cannot use it.
    #[error("{manifest} is no content for this program")]
    Unusable {
        manifest: Digest,
        #[source]
        source: Box<ManifestError>,
    },
    /// Make room, then try again. What has arrived is kept.
    #[error("no space to fetch {manifest}")]
    NoSpace {
        manifest: Digest,
        #[source]
        source: Box<LibraryError>,
    },
    #[error("the library cannot take in {manifest}")]
    Library {
        manifest: Digest,
        #[source]
        source: Box<LibraryError>,
    },
}

/// Brings the content `manifest` into the library and returns its manifest. Sources are asked in this order; the next
/// one goes on where one failed. Dropping the future ends the pull; what has arrived by then becomes durable.
pub async fn fetch(
    sources: &[Source],
    library: &Arc<Library>,
    manifest: Digest,
    progress: &watch::Sender<Progress>,
) -> Result<Manifest, FetchError> {
    let pull = Pull { sources, library, digest: manifest, progress };
    if let Some(held) = pull.held().await? {
        return Ok(held);
    }
    let (manifest, bytes) = pull.manifest().await?;
    let manifest = pull.chunks(manifest).await?;
    pull.on_library(move |library| library.put_manifest(&bytes)).await?;
    Ok(manifest)
}

struct Pull<'a> {
    sources: &'a [Source],
    library: &'a Arc<Library>,
    digest: Digest,
    progress: &'a watch::Sender<Progress>,
}

/// What one source could not do.
pub(crate) enum Failure {
    NotHeld,
    /// It gave wrong bytes, or says itself that it has none but those.
    Damaged(String),
    Unavailable(Status),
    /// Not the source's fault: no other one helps.
    Library(LibraryError),
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::NotFound => Failure::NotHeld,
            Code::DataLoss => Failure::Damaged(status.message().chars().take(200).collect()),
            _ => Failure::Unavailable(status),
        }
    }
}

impl Pull<'_> {
    /// The manifest, if it and all of its chunks are here already. It may be here without some: they were damaged.
    async fn held(&self) -> Result<Option<Manifest>, FetchError> {
        let digest = self.digest;
        let held = self.on_library(move |library| {
            Ok(library.manifest(&digest)?.filter(|manifest| library.missing(manifest).is_empty()))
        });
        match held.await {
            // Getting it again is the remedy.
            Err(FetchError::Library { source, .. }) if is_damaged_manifest(&source) => Ok(None),
            other => {
                let held = other?;
                if let Some(manifest) = &held {
                    let total = length(manifest.chunks());
                    self.progress.send_modify(|progress| (progress.done, progress.total) = (total, total));
                }
                Ok(held)
            }
        }
    }

    /// The manifest that an earlier pull kept, or a source's. It is kept, so that a collection spares its chunks.
    async fn manifest(&self) -> Result<(Manifest, Bytes), FetchError> {
        let digest = self.digest;
        match self.on_library(move |library| library.staged_manifest(&digest)).await {
            Ok(Some(manifest)) => {
                let bytes = Bytes::from(manifest.encode());
                return Ok((manifest, bytes));
            }
            Err(FetchError::Library { source, .. }) if is_damaged_manifest(&source) => {}
            other => drop(other?),
        }
        let mut worst = None;
        for source in self.sources {
            match get_manifest(source, &digest).await {
                Ok(bytes) => {
                    let staged = bytes.clone();
                    let manifest = self.on_library(move |library| {
                        let manifest =
                            Manifest::decode(&staged, &Limits::default()).map_err(LibraryError::Manifest)?;
                        library.stage_manifest(&staged)?;
                        Ok(manifest)
                    });
                    return Ok((manifest.await?, bytes));
                }
                Err(failure) => self.note(&mut worst, source, failure)?,
            }
        }
        Err(self.failed(worst))
    }

    async fn chunks(&self, manifest: Manifest) -> Result<Manifest, FetchError> {
        let manifest = Arc::new(manifest);
        let total = length(manifest.chunks());
        let mut worst = None;
        for source in self.sources {
            let missing = self.missing(&manifest).await?;
            let done = total.saturating_sub(length(missing.iter().copied()));
            self.progress.send_modify(|progress| (progress.done, progress.total) = (done, total));
            if missing.is_empty() {
                break;
            }
            tracing::debug!(manifest = %self.digest, source = source.name, chunks = missing.len(), "fetching");
            if let Err(failure) = self.chunks_from(source, &missing).await {
                self.note(&mut worst, source, failure)?;
            }
        }
        if self.missing(&manifest).await?.is_empty() {
            Ok(Arc::unwrap_or_clone(manifest))
        } else {
            Err(self.failed(worst))
        }
    }

    async fn chunks_from(&self, source: &Source, missing: &[ChunkRef]) -> Result<(), Failure> {
        let store = Store::open(self.library, self.progress);
        let mut received = Ok(());
        for batch in missing.chunks(CHUNKS_PER_CALL) {
            received = read_chunks(source, &self.digest, batch, &store).await;
            if received.is_err() || store.has_ended() {
                break;
            }
        }
        match store.close().await {
            Ok(()) => received,
            Err(LibraryError::Block(error)) => Err(Failure::Damaged(error_chain(&error))),
            Err(error) => Err(Failure::Library(error)),
        }
    }

    async fn missing(&self, manifest: &Arc<Manifest>) -> Result<Vec<ChunkRef>, FetchError> {
        let manifest = manifest.clone();
        self.on_library(move |library| Ok(library.missing(&manifest))).await
    }

    /// Remembers the failure that leaves most hope; an error if no source can help.
    fn note(
        &self,
        worst: &mut Option<(String, Failure)>,
        source: &Source,
        failure: Failure,
    ) -> Result<(), FetchError> {
        let (manifest, name) = (&self.digest, &source.name);
        match &failure {
            Failure::NotHeld => tracing::debug!(%manifest, source = name, "does not hold it all"),
            Failure::Damaged(reason) => tracing::warn!(%manifest, source = name, reason, "gives wrong bytes"),
            Failure::Unavailable(status) => {
                tracing::warn!(%manifest, source = name, error = error_chain(status), "failed");
            }
            Failure::Library(_) => {}
        }
        if let Failure::Library(error) = failure {
            return Err(self.library_failed(error));
        }
        if worst.as_ref().is_none_or(|(_, known)| known.hope() <= failure.hope()) {
            *worst = Some((source.name.clone(), failure));
        }
        Ok(())
    }

    fn failed(&self, worst: Option<(String, Failure)>) -> FetchError {
        let manifest = self.digest;
        match worst {
            Some((source_name, Failure::Unavailable(status))) => {
                FetchError::Unavailable { manifest, source_name, source: Box::new(status) }
            }
            Some((_, Failure::Damaged(_))) => FetchError::Damaged { manifest },
            Some((_, Failure::Library(error))) => self.library_failed(error),
            Some((_, Failure::NotHeld)) | None => FetchError::NotHeld { manifest },
        }
    }

    fn library_failed(&self, error: LibraryError) -> FetchError {
        let manifest = self.digest;
        match error {
            LibraryError::Manifest(source) => FetchError::Unusable { manifest, source: Box::new(source) },
            error if error.is_disk_full() => FetchError::NoSpace { manifest, source: Box::new(error) },
            error => FetchError::Library { manifest, source: Box::new(error) },
        }
    }

    async fn on_library<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Library) -> Result<T, LibraryError> + Send + 'static,
    ) -> Result<T, FetchError> {
        let library = self.library.clone();
        match tokio::task::spawn_blocking(move || work(&library)).await {
            Ok(result) => result.map_err(|error| self.library_failed(error)),
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(self.library_failed(LibraryError::WriterFailed)),
            },
        }
    }
}

impl Failure {
    fn hope(&self) -> u8 {
        match self {
            Failure::Library(_) => 3,
            Failure::Unavailable(_) => 2,
            Failure::Damaged(_) => 1,
            Failure::NotHeld => 0,
        }
    }
}

fn is_damaged_manifest(error: &LibraryError) -> bool {
    matches!(error, LibraryError::DamagedManifest { .. })
}

fn length(chunks: impl Iterator<Item = ChunkRef>) -> u64 {
    chunks.map(|chunk| u64::from(chunk.length)).sum()
}

pub(crate) async fn get_manifest(source: &Source, digest: &Digest) -> Result<Bytes, Failure> {
    let length_max = Limits::default().manifest_length_max;
    let request = GetManifestRequest { manifest: Bytes::copy_from_slice(digest.as_bytes()) };
    let mut pieces = in_time(client(source).get_manifest(inject(Request::new(request)))).await?.into_inner();
    let mut bytes = Vec::new();
    while let Some(piece) = next(&mut pieces).await? {
        if bytes.len() as u64 + piece.data.len() as u64 > length_max {
            return Err(Failure::Damaged(format!("the manifest is longer than {length_max} bytes")));
        }
        bytes.extend_from_slice(&piece.data);
    }
    if blake3::hash(&bytes).as_bytes() != digest.as_bytes() {
        return Err(Failure::Damaged("the manifest has another digest".to_owned()));
    }
    Ok(bytes.into())
}

pub(crate) async fn read_chunks(
    source: &Source,
    manifest: &Digest,
    batch: &[ChunkRef],
    store: &Store,
) -> Result<(), Failure> {
    let chunks = batch.iter().map(|chunk| Bytes::copy_from_slice(chunk.digest.as_bytes())).collect();
    let mut wanted: HashMap<Digest, u32> = batch.iter().map(|chunk| (chunk.digest, chunk.length)).collect();
    let manifest = Bytes::copy_from_slice(manifest.as_bytes());
    let request = inject(Request::new(ReadChunksRequest { chunks, manifest }));
    let mut blocks = in_time(client(source).read_chunks(request)).await?.into_inner();
    while let Some(message) = next(&mut blocks).await? {
        let block = asked_for(message, &mut wanted)?;
        if !store.put(block).await {
            // Closing the store tells why.
            return Ok(());
        }
    }
    if wanted.is_empty() {
        Ok(())
    } else {
        Err(Failure::Damaged(format!("{} chunks were left out", wanted.len())))
    }
}

/// The block, if all of its chunks were asked for and did not come before.
fn asked_for(message: ReadChunksResponse, wanted: &mut HashMap<Digest, u32>) -> Result<Block, Failure> {
    let mut chunks = Vec::with_capacity(message.chunks.len());
    for chunk in &message.chunks {
        let digest =
            Digest::try_from(&chunk.digest[..]).map_err(|error| Failure::Damaged(error.to_string()))?;
        if wanted.remove(&digest) != Some(chunk.length) {
            return Err(Failure::Damaged(format!("chunk {digest} was not asked for")));
        }
        chunks.push(ChunkRef { digest, length: chunk.length });
    }
    Ok(Block { chunks, data: message.data.into() })
}

fn client(source: &Source) -> ContentServiceClient<Channel> {
    ContentServiceClient::new(source.channel.clone()).max_decoding_message_size(MESSAGE_LENGTH_MAX)
}

async fn next<T>(messages: &mut Streaming<T>) -> Result<Option<T>, Status> {
    in_time(messages.message()).await
}

async fn in_time<T>(answer: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    tokio::time::timeout(SILENCE_MAX, answer)
        .await
        .unwrap_or_else(|_| Err(Status::deadline_exceeded(format!("silent for {} s", SILENCE_MAX.as_secs()))))
}
