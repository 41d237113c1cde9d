//! Chunks that go up: what a parent lost, its children may still have.
//!
//! A parent cannot dial its children. Each child asks now and then what is lacking above, and brings what it has. The
//! parent takes only what it lacks of versions that are for that child, each chunk checked by its digest.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use packhorse_content::{Block, ChunkRef, LibraryError, PackWriter};
use packhorse_domain::{Digest, Priority, care, id::SiteCode, site::subtree};
use packhorse_proto::content::v1::{
    ChunkReference, GiveChunksRequest, GiveChunksResponse, ListLackingRequest, ListLackingResponse,
    mend_service_client::MendServiceClient, mend_service_server::MendService,
};
use packhorse_runtime::{Next, Worker, error_chain, peer};
use tokio_stream::StreamExt as _;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    care::mend::{self, distinct_missing},
    distribution::{self, View},
    error::Error,
    record,
    scheduler::addresses,
    sender,
    site::Site,
    store::{arrivals, neighbours},
};

/// Chunks that are named at a time, and what they may have in all.
const CHUNKS_MAX: usize = 4096;
/// Chunks that a child brings in one call.
const CHUNKS_PER_CALL: usize = 64;
/// Blocks of which nothing is lacking, and the call ends.
const USELESS_MAX: usize = 64;
const SILENCE_MAX: Duration = Duration::from_secs(120);
const CALL_MAX: Duration = Duration::from_secs(1800);
/// A parent that could not be asked is asked again after this time.
const AGAIN: Duration = Duration::from_secs(600);

/// Takes chunks that children bring.
#[derive(Debug)]
pub(crate) struct Taker {
    site: Arc<Site>,
    /// Held by the child that is bringing some.
    busy: tokio::sync::Mutex<()>,
}

impl Taker {
    pub(crate) fn new(site: Arc<Site>) -> Self {
        Taker { site, busy: tokio::sync::Mutex::default() }
    }

    async fn child<T>(&self, request: &Request<T>) -> Result<SiteCode, Status> {
        let child = peer(request)?
            .as_site()
            .ok_or_else(|| Status::permission_denied("only a site has chunks to give"))?;
        let mut tx = self.site.store.read().await.map_err(Error::from)?;
        match neighbours::children(&mut tx).await.map_err(Error::from)?.contains(&child) {
            true => Ok(child),
            false => {
                Err(Status::permission_denied(format!("{child} is not a child of {}", self.site.code())))
            }
        }
    }

    /// What is lacking of versions that are for this child or below it, and no bundle brings.
    async fn lacking(&self, child: &SiteCode) -> Result<Vec<ChunkRef>, Error> {
        let mut tx = self.site.store.read().await?;
        let view = View::load(&self.site, &mut tx).await?;
        let below = subtree(child, &sender::parents(&mut tx).await?);
        let coming: HashSet<_> = arrivals::list(&mut tx).await?.into_iter().map(|one| one.package).collect();
        let mut versions = Vec::new();
        for (package, manifest) in view.lacking(&self.site) {
            let reaches = record::distribution(&mut tx, &package).await?.reaches(&below);
            if reaches && !coming.contains(&package) {
                versions.push(manifest);
            }
        }
        drop(tx);
        let library = self.site.library.clone();
        Ok(tokio::task::spawn_blocking(move || {
            let (mut lacking, mut bytes) = (Vec::new(), 0);
            for manifest in versions {
                let Ok(Some(content)) = library.manifest(&manifest) else { continue };
                for chunk in distinct_missing(&library, &content) {
                    bytes += u64::from(chunk.length);
                    if lacking.len() == CHUNKS_MAX || bytes > care::MEND_BYTES_MAX {
                        return lacking;
                    }
                    lacking.push(chunk);
                }
            }
            lacking
        })
        .await?)
    }

    async fn take(&self, child: &SiteCode, mut blocks: Streaming<GiveChunksRequest>) -> Result<u64, Status> {
        let mut wanted: HashSet<Digest> =
            self.lacking(child).await?.iter().map(|chunk| chunk.digest).collect();
        let library = self.site.library.clone();
        let mut writer = tokio::task::spawn_blocking(move || library.writer())
            .await
            .map_err(Error::from)?
            .map_err(Error::from)?;
        let (began, mut taken, mut useless) = (Instant::now(), 0, 0);
        let ended = loop {
            let message = match tokio::time::timeout(SILENCE_MAX, blocks.next()).await {
                Ok(Some(Ok(message))) => message,
                Ok(Some(Err(status))) => break Err(status),
                Ok(None) => break Ok(()),
                Err(_) => break Err(Status::unavailable("nothing came for 120 s: begin again")),
            };
            let block = match block(message) {
                Ok(block) => block,
                Err(status) => break Err(status),
            };
            let kept: Vec<Digest> =
                block.chunks.iter().map(|chunk| chunk.digest).filter(|one| wanted.remove(one)).collect();
            useless += usize::from(kept.is_empty());
            if useless > USELESS_MAX || began.elapsed() > CALL_MAX {
                break Err(Status::invalid_argument("chunks: nothing of this is lacking here; ask what is"));
            }
            let (back, added) = tokio::task::spawn_blocking(move || {
                let added = add(&mut writer, &block, &kept);
                (writer, added)
            })
            .await
            .map_err(Error::from)?;
            writer = back;
            match added {
                Ok(count) => taken += count,
                Err(LibraryError::Block(error)) => break Err(Status::invalid_argument(error_chain(&error))),
                Err(error) => break Err(Error::from(error).into()),
            }
        };
        // What came before a fault is good.
        tokio::task::spawn_blocking(move || writer.seal())
            .await
            .map_err(Error::from)?
            .map_err(Error::from)?;
        if taken > 0 {
            tracing::info!(peer = %child, chunks = taken, "a child brought chunks that were lost here");
            distribution::adopt(&self.site).await?;
        }
        ended.map(|()| taken)
    }
}

fn block(message: GiveChunksRequest) -> Result<Block, Status> {
    let chunk = |chunk: &ChunkReference| {
        let digest = Digest::try_from(&chunk.digest[..]);
        digest.map(|digest| ChunkRef { digest, length: chunk.length })
    };
    let chunks = message.chunks.iter().map(chunk).collect::<Result<Vec<_>, _>>();
    let chunks = chunks.map_err(|error| Status::invalid_argument(format!("chunks: {error}")))?;
    Ok(Block { chunks, data: message.data.into() })
}

/// Adds those chunks of a block that are kept; all of it is checked.
fn add(writer: &mut PackWriter, block: &Block, kept: &[Digest]) -> Result<u64, LibraryError> {
    if kept.is_empty() {
        return Ok(0);
    }
    let plain = block.verified_plain().map_err(LibraryError::Block)?;
    let mut added = 0;
    for (chunk, bytes) in block.parts(&plain).filter(|(chunk, _)| kept.contains(&chunk.digest)) {
        added += u64::from(writer.add(chunk.digest, bytes)?);
    }
    Ok(added)
}

#[tonic::async_trait]
impl MendService for Taker {
    async fn list_lacking(
        &self,
        request: Request<ListLackingRequest>,
    ) -> Result<Response<ListLackingResponse>, Status> {
        let child = self.child(&request).await?;
        let chunks = self.lacking(&child).await?.iter().map(|chunk| chunk.digest.0.to_vec().into()).collect();
        Ok(Response::new(ListLackingResponse { chunks }))
    }

    async fn give_chunks(
        &self,
        request: Request<Streaming<GiveChunksRequest>>,
    ) -> Result<Response<GiveChunksResponse>, Status> {
        let child = self.child(&request).await?;
        let _alone = self.busy.try_lock().map_err(|_| {
            Status::resource_exhausted("another site brings chunks just now: come back in 60 s")
        })?;
        let taken = self.take(&child, request.into_inner()).await?;
        Ok(Response::new(GiveChunksResponse { taken }))
    }
}

/// Brings a parent what it lost. The worker of a child.
pub(crate) struct Giver {
    site: Arc<Site>,
    /// A site that has just started has other things to say, and a thousand of them would say this at once.
    has_waited: bool,
}

impl Giver {
    pub(crate) fn new(site: Arc<Site>) -> Self {
        Giver { site, has_waited: false }
    }

    /// Why it did not work is for the log: the parent has other ways, and is asked again.
    async fn give(&self, parent: &SiteCode) -> Result<bool, Error> {
        let site = &*self.site;
        let terms = addresses::terms(site, parent, None).await?;
        if !terms.allowance.open.admits(Priority::Low) {
            return Ok(false);
        }
        let Some(far) = mend::parent(site).await? else { return Ok(false) };
        let mut client = MendServiceClient::new(far.source.channel.clone());
        let given = self.bring(&mut client, care::mend_rate(terms.allowance.bytes_per_second)).await;
        if let Some(line) = far.line {
            addresses::record_use(site, parent, None, line.sent() + line.received()).await?;
        }
        match given {
            Ok(0) => Ok(true),
            Ok(chunks) => {
                tracing::info!(peer = %parent, chunks, "the parent got back what it had lost");
                Ok(true)
            }
            Err(status) => {
                tracing::info!(peer = %parent, error = error_chain(&status), "nothing could be brought to the parent");
                Ok(false)
            }
        }
    }

    async fn bring(
        &self,
        client: &mut MendServiceClient<tonic::transport::Channel>,
        bytes_per_s: u64,
    ) -> Result<u64, Status> {
        let lacking = client.list_lacking(ListLackingRequest {}).await?.into_inner().chunks;
        let asked = lacking.iter().take(CHUNKS_MAX).filter_map(|chunk| Digest::try_from(&chunk[..]).ok());
        let here: Vec<Digest> = asked.filter(|chunk| self.site.library.has_chunk(chunk)).collect();
        let mut taken = 0;
        for batch in here.chunks(CHUNKS_PER_CALL) {
            let (library, batch) = (self.site.library.clone(), batch.to_vec());
            let read = tokio::task::spawn_blocking(move || {
                let mut blocks = Vec::new();
                let read = library.read_blocks(&batch, &mut |block| {
                    blocks.push(block);
                    std::ops::ControlFlow::Continue(())
                });
                read.map(|()| blocks)
            });
            let blocks = match read.await.map_err(Error::from)? {
                Ok(blocks) => blocks,
                Err(error) => {
                    // It rotted here too: that is found out by those who look for it.
                    tracing::info!(error = error_chain(&error), "a chunk cannot be given");
                    self.site.care.check.wake();
                    continue;
                }
            };
            let messages =
                tokio_stream::iter(blocks.into_iter().map(message)).then(move |message| async move {
                    tokio::time::sleep(care::pause(message.data.len() as u64, Duration::ZERO, bytes_per_s))
                        .await;
                    message
                });
            taken += client.give_chunks(messages).await?.into_inner().taken;
        }
        Ok(taken)
    }
}

fn message(block: Block) -> GiveChunksRequest {
    let reference =
        |chunk: &ChunkRef| ChunkReference { digest: chunk.digest.0.to_vec().into(), length: chunk.length };
    GiveChunksRequest { chunks: block.chunks.iter().map(reference).collect(), data: block.data.into() }
}

impl Worker for Giver {
    const NAME: &'static str = "content-giver";
    const PERIOD: Duration = Duration::from_secs(3600);
    type Error = Error;

    async fn step(&mut self) -> Result<Next, Error> {
        let Some((parent, _)) = self.site.settings.parent.clone() else { return Ok(Next::Idle) };
        if !std::mem::replace(&mut self.has_waited, true) {
            let spread = u64::from(uuid::Uuid::new_v4().as_u64_pair().0 as u16) % AGAIN.as_secs();
            return Ok(Next::After(AGAIN + Duration::from_secs(spread)));
        }
        Ok(if self.give(&parent).await? { Next::Idle } else { Next::After(AGAIN) })
    }
}
