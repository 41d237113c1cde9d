//! `ContentService` at a site: for its own agents and administrators as it is; for neighbours with limits.
//!
//! A child asks for chunks that it lost. It must be a child still, get only what is for it or below it anyway, the line
//! to it must be open for content at this hour, and what leaves is slow enough to hold up nothing that the link carries.

use std::{
    collections::HashSet,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{Stream, StreamExt as _, stream};
use packhorse_content::{Limits, Manifest};
use packhorse_domain::{Digest, Priority, care, id::SiteCode, site::subtree};
use packhorse_fetch::ContentServer;
use packhorse_proto::content::v1::{
    GetManifestRequest, GetManifestResponse, ReadChunksRequest, ReadChunksResponse,
    content_service_server::ContentService,
};
use packhorse_runtime::peer;
use tonic::{Request, Response, Status};

use crate::{
    error::Error,
    record,
    scheduler::addresses,
    sender,
    site::Site,
    store::{contents, neighbours},
};

/// Chunks that a child asks for at a time.
const CHUNKS_MAX: usize = 256;
/// Children that are served at once.
const CHILDREN_MAX: usize = 8;
/// What left is counted for the address after so many bytes.
const COUNT_EVERY: u64 = 1 << 20;

#[derive(Debug)]
pub(crate) struct SiteContent {
    site: Arc<Site>,
    inner: ContentServer,
    served: Arc<Mutex<HashSet<SiteCode>>>,
}

/// What a child may take now.
struct Terms {
    child: SiteCode,
    bytes_per_s: u64,
    _turn: Turn,
}

/// A child that is being served: once at a time.
struct Turn {
    served: Arc<Mutex<HashSet<SiteCode>>>,
    child: SiteCode,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.served.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.child);
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl SiteContent {
    pub(crate) fn new(site: Arc<Site>, inner: ContentServer) -> Self {
        SiteContent { site, inner, served: Arc::default() }
    }

    fn turn(&self, child: &SiteCode) -> Option<Turn> {
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free = served.len() < CHILDREN_MAX && served.insert(child.clone());
        is_free.then(|| Turn { served: self.served.clone(), child: child.clone() })
    }

    /// What a child may take of this manifest now.
    async fn terms(&self, child: SiteCode, manifest: &[u8]) -> Result<(Digest, Terms), Status> {
        let manifest = Digest::try_from(manifest).map_err(|_| {
            Status::invalid_argument("manifest: a site says of which version it asks, in 32 bytes")
        })?;
        if !self.is_for(&child, &manifest).await? {
            return Err(Status::not_found(format!("version {manifest} is not held here for site {child}")));
        }
        let terms = addresses::terms(&self.site, &child, None).await?;
        if !terms.allowance.open.admits(Priority::Low) {
            return Err(Status::unavailable(format!(
                "the line to site {child} is closed for content at this hour; try again in an hour"
            )));
        }
        let turn = self.turn(&child).ok_or_else(|| {
            Status::resource_exhausted(
                "a site asks for chunks once at a time, and few sites at once: come back in 60 s",
            )
        })?;
        let bytes_per_s = care::mend_rate(terms.allowance.bytes_per_second);
        Ok((manifest, Terms { child, bytes_per_s, _turn: turn }))
    }

    /// Whether a version is one that this child, or a site below it, has as a target.
    async fn is_for(&self, child: &SiteCode, manifest: &Digest) -> Result<bool, Error> {
        let mut tx = self.site.store.read().await?;
        if !neighbours::children(&mut tx).await?.contains(child) {
            return Ok(false);
        }
        let below = subtree(child, &sender::parents(&mut tx).await?);
        for content in contents::list(&mut tx).await?.into_iter().filter(|one| one.manifest == *manifest) {
            if record::distribution(&mut tx, &content.package).await?.reaches(&below) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Refuses chunks that the version does not name.
    async fn check_named(&self, manifest: &Digest, asked: &ReadChunksRequest) -> Result<(), Status> {
        if asked.chunks.len() > CHUNKS_MAX {
            let text = format!("chunks: a site asks for at most {CHUNKS_MAX} a call");
            return Err(Status::invalid_argument(text));
        }
        let (library, manifest) = (self.site.library.clone(), *manifest);
        let named = tokio::task::spawn_blocking(move || -> Result<HashSet<Digest>, Error> {
            let bytes = library.manifest_bytes(&manifest)?.unwrap_or_default();
            let manifest = Manifest::decode(&bytes, &Limits::default()).unwrap_or_default();
            Ok(manifest.chunks().map(|chunk| chunk.digest).collect())
        });
        let named = named.await.map_err(Error::from)??;
        let is_named =
            |chunk: &bytes::Bytes| Digest::try_from(&chunk[..]).is_ok_and(|digest| named.contains(&digest));
        match asked.chunks.iter().all(is_named) {
            true => Ok(()),
            false => {
                Err(Status::not_found("a chunk is none of this version's, or the version is damaged here"))
            }
        }
    }

    /// Lets answers go no faster than the terms say, and counts them for the address's budget.
    fn pace<T: Send + 'static>(
        &self,
        answers: impl Stream<Item = Result<T, Status>> + Send + Unpin + 'static,
        terms: Terms,
        length: fn(&T) -> usize,
    ) -> Answers<T> {
        let begun = (self.site.clone(), answers, terms, 0);
        Box::pin(stream::unfold(begun, move |(site, mut answers, terms, mut uncounted)| async move {
            let answer = answers.next().await;
            if let Some(Ok(answer)) = &answer {
                let bytes = length(answer) as u64;
                uncounted += bytes;
                tokio::time::sleep(care::pause(bytes, Duration::ZERO, terms.bytes_per_s)).await;
            }
            if answer.is_none() || uncounted >= COUNT_EVERY {
                // A line whose count is not written is not less open for that.
                if let Err(error) = addresses::record_use(&site, &terms.child, None, uncounted).await {
                    tracing::warn!(peer = %terms.child, %error, "what went over a line is not counted");
                }
                uncounted = 0;
            }
            answer.map(|answer| (answer, (site, answers, terms, uncounted)))
        }))
    }
}

#[tonic::async_trait]
impl ContentService for SiteContent {
    type GetManifestStream = Answers<GetManifestResponse>;
    type ReadChunksStream = Answers<ReadChunksResponse>;

    async fn get_manifest(
        &self,
        request: Request<GetManifestRequest>,
    ) -> Result<Response<Self::GetManifestStream>, Status> {
        let Some(child) = peer(&request)?.as_site() else {
            return Ok(Response::new(Box::pin(self.inner.get_manifest(request).await?.into_inner())));
        };
        let (_, terms) = self.terms(child, &request.get_ref().manifest).await?;
        let answers = self.inner.get_manifest(request).await?.into_inner();
        Ok(Response::new(self.pace(answers, terms, |piece| piece.data.len())))
    }

    async fn read_chunks(
        &self,
        request: Request<ReadChunksRequest>,
    ) -> Result<Response<Self::ReadChunksStream>, Status> {
        let Some(child) = peer(&request)?.as_site() else {
            return Ok(Response::new(Box::pin(self.inner.read_chunks(request).await?.into_inner())));
        };
        let (manifest, terms) = self.terms(child, &request.get_ref().manifest).await?;
        self.check_named(&manifest, request.get_ref()).await?;
        let answers = self.inner.read_chunks(request).await?.into_inner();
        Ok(Response::new(self.pace(answers, terms, |block| block.data.len())))
    }
}
