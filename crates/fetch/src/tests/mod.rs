//! Libraries on real disks, servers on real sockets, and sources that are not what they should be.

mod mending;
mod pulling;
mod serving;

use std::{
    path::Path,
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use packhorse_content::{ChunkRef, Entry, EntryKind, Library, Manifest};
use packhorse_domain::Digest;
use packhorse_proto::content::v1::{
    ReadChunksRequest, ReadChunksResponse,
    content_service_server::{ContentService, ContentServiceServer},
};
use packhorse_runtime::{
    Caller, ChannelOptions, Clock as _, Rules, ServerOptions, ServerTls, Services, SystemClock, connect,
    serve,
};
use packhorse_trust::{Authority, Name};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, service::Routes};

use crate::{ContentServer, Source};

const RULES: Rules = &[("/packhorse.content.v1.ContentService/*", &[])];

static CEN: LazyLock<Authority> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    Authority::create(dir.path(), &"CEN".parse().unwrap(), SystemClock.now()).unwrap()
});

/// A library in a directory that goes away with it.
struct Shelf {
    dir: tempfile::TempDir,
    library: Arc<Library>,
}

impl Shelf {
    fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let library = Arc::new(Library::open(dir.path()).unwrap());
        Shelf { dir, library }
    }

    /// With files of one chunk each, which do not compress.
    fn with(files: usize, length: usize) -> (Self, Manifest) {
        let shelf = Shelf::empty();
        let mut writer = shelf.library.writer().unwrap();
        let mut entries = Vec::new();
        for number in 0..files {
            let data = noise(number, length);
            let digest = Digest(*blake3::hash(&data).as_bytes());
            writer.add(digest, &data).unwrap();
            let chunks = vec![ChunkRef { digest, length: length as u32 }];
            let kind = EntryKind::File { executable: false, length: length as u64, digest, chunks };
            entries.push(Entry { path: format!("file{number:05}"), kind });
        }
        writer.seal().unwrap();
        let manifest = Manifest { case_sensitive: false, entries };
        shelf.library.put_manifest(&manifest.encode()).unwrap();
        (shelf, manifest)
    }

    fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn has(&self, manifest: &Manifest) -> bool {
        self.library.verify(&manifest.digest()).unwrap().is_empty()
            && self.library.has_manifest(&manifest.digest())
    }

    fn server(&self) -> ContentServer {
        ContentServer::new(self.library.clone())
    }
}

fn noise(seed: usize, length: usize) -> Vec<u8> {
    let mut data = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut data);
    data
}

/// A server that ends with it.
struct Running {
    source: Source,
    _task: JoinSet<()>,
}

async fn start<S: ContentService>(name: &str, service: ContentServiceServer<S>) -> Running {
    let day = Duration::from_secs(86_400);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    let tls = ServerTls::new(&CEN.own_credentials(day, SystemClock.now()).unwrap()).unwrap();
    let services = Services {
        site: CEN.site().clone(),
        routes: Routes::new(service),
        rules: RULES,
        descriptors: packhorse_proto::DESCRIPTORS,
    };
    let mut task = JoinSet::new();
    task.spawn(async move {
        serve(listener, tls, services, ServerOptions::default(), CancellationToken::new()).await.unwrap();
    });
    let server = Name::of_site(CEN.site().clone(), CEN.site());
    let caller = Caller::Anonymous { authority_pem: CEN.certificate_pem() };
    let channel = connect(&endpoint, &server, caller, ChannelOptions::default()).await.unwrap();
    Running { source: Source { name: name.to_owned(), channel }, _task: task }
}

/// What a strange source makes of a block, or instead of the `at`th of a call.
type Twist = fn(at: usize, block: ReadChunksResponse) -> Turn;

enum Turn {
    Give(ReadChunksResponse),
    Fail(Status),
    Hang,
}

/// Serves a library in its own way, and remembers what it was asked for.
struct Strange {
    honest: ContentServer,
    twist: Twist,
    asked: Arc<Mutex<Vec<Digest>>>,
}

impl Strange {
    fn new(shelf: &Shelf, twist: Twist) -> Self {
        Strange { honest: shelf.server(), twist, asked: Arc::default() }
    }
}

#[tonic::async_trait]
impl ContentService for Strange {
    type GetManifestStream = <ContentServer as ContentService>::GetManifestStream;
    type ReadChunksStream = ReceiverStream<Result<ReadChunksResponse, Status>>;

    async fn get_manifest(
        &self,
        request: Request<packhorse_proto::content::v1::GetManifestRequest>,
    ) -> Result<Response<Self::GetManifestStream>, Status> {
        self.honest.get_manifest(request).await
    }

    async fn read_chunks(
        &self,
        request: Request<ReadChunksRequest>,
    ) -> Result<Response<Self::ReadChunksStream>, Status> {
        let digests = request.get_ref().chunks.iter().map(|bytes| Digest::try_from(&bytes[..]).unwrap());
        self.asked.lock().unwrap().extend(digests);
        let mut blocks = self.honest.read_chunks(request).await?.into_inner();
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let twist = self.twist;
        // It belongs to no lifecycle: it ends with its caller.
        #[expect(clippy::disallowed_methods, reason = "a test's server")]
        tokio::spawn(async move {
            let mut at = 0;
            while let Some(block) = blocks.next().await {
                let message = match block.map(|block| twist(at, block)) {
                    Ok(Turn::Give(block)) => Ok(block),
                    Ok(Turn::Fail(status)) | Err(status) => Err(status),
                    Ok(Turn::Hang) => return sender.closed().await,
                };
                if sender.send(message).await.is_err() {
                    return;
                }
                at += 1;
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}
