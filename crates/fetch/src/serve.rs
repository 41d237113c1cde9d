//! Serving a library: manifests and blocks as they lie on the disk.
//!
//! Reading is blocking work on its own thread for each call, a few blocks ahead of the caller and no more. There are
//! only so many of these threads; a caller that stops taking gives its own back after a while.

use std::{
    error::Error,
    future::Future,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use packhorse_content::{Block, Library, LibraryError};
use packhorse_domain::Digest;
use packhorse_proto::content::v1::{
    ChunkReference, GetManifestRequest, GetManifestResponse, ReadChunksRequest, ReadChunksResponse,
    content_service_server::{ContentService, ContentServiceServer},
};
use packhorse_runtime::{Waker, error_chain};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::{CHUNKS_PER_CALL_MAX, MANIFEST_PIECE_LENGTH_MAX};

const READERS_MAX: usize = 64;
/// Messages read ahead of the caller.
const AHEAD: usize = 4;
/// A modem takes about two minutes for a block that hardly compresses.
const STALL_MAX: Duration = Duration::from_secs(300);
/// 4,096 digests, with room for what later versions add.
pub const REQUEST_LENGTH_MAX: usize = 256 * 1024;

/// Serves a library. Clones share the limit of readers.
#[derive(Debug, Clone)]
pub struct ContentServer {
    library: Arc<Library>,
    readers: Arc<Semaphore>,
    damage: Option<Waker>,
    served: Arc<AtomicU64>,
}

impl ContentServer {
    pub fn new(library: Arc<Library>) -> Self {
        ContentServer {
            library,
            readers: Arc::new(Semaphore::new(READERS_MAX)),
            damage: None,
            served: Arc::default(),
        }
    }

    pub fn with_readers_max(mut self, readers: usize) -> Self {
        self.readers = Arc::new(Semaphore::new(readers));
        self
    }

    /// Wakes this worker when damage was found. The damaged chunks count as missing from then on, which is how the
    /// worker finds what to fetch anew.
    pub fn with_damage_waker(mut self, waker: Waker) -> Self {
        self.damage = Some(waker);
        self
    }

    /// Bytes of blocks handed out since it was made, as they lie on the disk; it goes on counting.
    pub fn served_bytes(&self) -> Arc<AtomicU64> {
        self.served.clone()
    }

    /// The service to add to a server's routes.
    pub fn into_service(self) -> ContentServiceServer<Self> {
        ContentServiceServer::new(self).max_decoding_message_size(REQUEST_LENGTH_MAX)
    }

    fn reader(&self) -> Result<OwnedSemaphorePermit, Status> {
        self.readers
            .clone()
            .try_acquire_owned()
            .map_err(|_| Status::resource_exhausted("too many readers: come back in 5 s"))
    }

    /// Runs `read` on its own thread; what it hands out goes to the caller.
    fn stream<T: Send + 'static>(
        &self,
        permit: OwnedSemaphorePermit,
        read: impl FnOnce(&ContentServer, &Outlet<T>) -> Result<(), Status> + Send + 'static,
    ) -> ReceiverStream<Result<T, Status>> {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let server = self.clone();
        let outlet = Outlet { sender, handle: Handle::current() };
        let span = tracing::Span::current();
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let _entered = span.entered();
            if let Err(status) = read(&server, &outlet) {
                // A caller that is gone needs no status.
                let _ = outlet.put(Err(status));
            }
        });
        ReceiverStream::new(receiver)
    }

    fn found_damage(&self, chunks: &[Digest]) -> Status {
        if let Err(error) = self.library.forget_damaged(chunks) {
            tracing::error!(error = error_chain(&error), "cannot take damaged chunks out of the library");
        }
        self.damage.iter().for_each(Waker::wake);
        Status::data_loss("held, but damaged: try another source")
    }
}

#[tonic::async_trait]
impl ContentService for ContentServer {
    type GetManifestStream = ReceiverStream<Result<GetManifestResponse, Status>>;
    type ReadChunksStream = ReceiverStream<Result<ReadChunksResponse, Status>>;

    async fn get_manifest(
        &self,
        request: Request<GetManifestRequest>,
    ) -> Result<Response<Self::GetManifestStream>, Status> {
        let manifest = digest("manifest", &request.get_ref().manifest)?;
        let permit = self.reader()?;
        Ok(Response::new(self.stream(permit, move |server, outlet| {
            let bytes = match server.library.manifest_bytes(&manifest) {
                Ok(Some(bytes)) => Bytes::from(bytes),
                Ok(None) => return Err(Status::not_found(format!("manifest {manifest} is not held here"))),
                Err(LibraryError::DamagedManifest { .. }) => return Err(server.found_damage(&[])),
                Err(error) => return Err(internal("read a manifest", &error)),
            };
            let mut rest = bytes;
            while !rest.is_empty() {
                let data = rest.split_to(rest.len().min(MANIFEST_PIECE_LENGTH_MAX));
                if outlet.put(Ok(GetManifestResponse { data })).is_break() {
                    break;
                }
            }
            Ok(())
        })))
    }

    async fn read_chunks(
        &self,
        request: Request<ReadChunksRequest>,
    ) -> Result<Response<Self::ReadChunksStream>, Status> {
        let asked = &request.get_ref().chunks;
        if asked.is_empty() || asked.len() > CHUNKS_PER_CALL_MAX {
            let text = format!("chunks: 1 to {CHUNKS_PER_CALL_MAX} are expected, not {}", asked.len());
            return Err(Status::invalid_argument(text));
        }
        let chunks = asked.iter().map(|bytes| digest("chunks", bytes)).collect::<Result<Vec<_>, _>>()?;
        let permit = self.reader()?;
        Ok(Response::new(self.stream(permit, move |server, outlet| {
            let read = server.library.read_blocks(&chunks, &mut |block| {
                server.served.fetch_add(block.data.len() as u64, Ordering::Relaxed);
                outlet.put(Ok(response(block)))
            });
            read.map_err(|error| match error {
                LibraryError::Lacking { chunk } => {
                    Status::not_found(format!("chunk {chunk} is not held here"))
                }
                LibraryError::Damaged { .. } | LibraryError::Block(_) => {
                    tracing::error!(error = error_chain(&error), "damage found while serving");
                    server.found_damage(&chunks)
                }
                error => internal("read chunks", &error),
            })
        })))
    }
}

/// Where a reading thread puts what it has read.
struct Outlet<T> {
    sender: mpsc::Sender<Result<T, Status>>,
    handle: Handle,
}

impl<T> Outlet<T> {
    /// Waits until there is room. Breaks when the caller is gone, or takes nothing for too long.
    fn put(&self, message: Result<T, Status>) -> ControlFlow<()> {
        match self.wait(self.sender.send(message)) {
            Some(Ok(())) => ControlFlow::Continue(()),
            Some(Err(_)) | None => ControlFlow::Break(()),
        }
    }

    fn wait<F: Future>(&self, future: F) -> Option<F::Output> {
        self.handle.block_on(async { tokio::time::timeout(STALL_MAX, future).await.ok() })
    }
}

fn digest(field: &str, bytes: &[u8]) -> Result<Digest, Status> {
    Digest::try_from(bytes).map_err(|error| Status::invalid_argument(format!("{field}: {error}")))
}

fn response(block: Block) -> ReadChunksResponse {
    let chunks = block.chunks.iter().map(|chunk| ChunkReference {
        digest: Bytes::copy_from_slice(chunk.digest.as_bytes()),
        length: chunk.length,
    });
    ReadChunksResponse { chunks: chunks.collect(), data: block.data.into() }
}

fn internal(operation: &str, error: &dyn Error) -> Status {
    tracing::error!(error = error_chain(error), "cannot {operation}");
    Status::internal("")
}
