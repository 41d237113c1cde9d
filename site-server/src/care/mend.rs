//! Bringing back what a version lost: just the chunks that are missing, from whoever has them.
//!
//! Asked in this order: files on this machine (the source directory, then directories that are distribution points), the
//! site's CAP agents, the parent. The children bring by themselves what their parent lacks ([`super::give`]). Whatever
//! they give is checked by digest.

use std::{path::PathBuf, sync::Arc, time::Duration};

use packhorse_content::{ChunkRef, Library, LibraryError, Limits, Manifest};
use packhorse_domain::{
    Digest, Timestamp,
    care::comes_in_chunks,
    distribution::PointKind,
    id::{PackageId, PointName},
};
use packhorse_fetch::{Source, fetch_chunks, fetch_manifest};
use packhorse_runtime::{Caller, ChannelOptions, Wire, connect, error_chain};
use packhorse_trust::{Credentials, Name, credentials::new_key_and_request};

use crate::{
    error::Error,
    scheduler::addresses,
    sender,
    site::Site,
    store::{contents, points},
};

/// How long the certificate holds with which a site asks its own agents.
const ASKING: Duration = Duration::from_secs(3600);
/// As what a site asks its own agents: they give content to each other.
const ASKER: &str = "site-server";

/// What became of a version that lacked something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Repair {
    pub(crate) at: Timestamp,
    pub(crate) manifest: Digest,
    pub(crate) packages: Vec<PackageId>,
    /// Its manifest could not be read.
    pub(crate) had_no_manifest: bool,
    /// Chunks that were missing, and those that still are.
    pub(crate) lacked: usize,
    pub(crate) left: usize,
    /// Who gave how many.
    pub(crate) from: Vec<(String, usize)>,
    /// It is whole now.
    pub(crate) is_whole: bool,
}

impl Repair {
    /// Who gave how many, for people.
    pub(crate) fn givers(&self) -> String {
        let parts: Vec<String> = self.from.iter().map(|(who, chunks)| format!("{who} ({chunks})")).collect();
        parts.join(", ")
    }
}

/// Mends one version as far as others can give what it lacks. The caller holds `Care::mending`.
pub(crate) async fn mend(site: &Site, manifest: &Digest, packages: &[PackageId]) -> Result<Repair, Error> {
    let mut mending = Mending {
        site,
        digest: *manifest,
        packages,
        sources: None,
        repair: Repair {
            at: site.now(),
            manifest: *manifest,
            packages: packages.to_vec(),
            had_no_manifest: false,
            lacked: 0,
            left: 0,
            from: Vec::new(),
            is_whole: false,
        },
    };
    let Some((content, bytes)) = mending.manifest().await? else {
        return Ok(mending.repair);
    };
    let content = Arc::new(content);
    mending.chunks(&content).await?;
    let mut repair = mending.repair;
    let library = site.library.clone();
    repair.is_whole = tokio::task::spawn_blocking(move || match library.put_manifest(&bytes) {
        Ok(_) => Ok(true),
        Err(LibraryError::Incomplete { .. }) => Ok(false),
        Err(error) => Err(error),
    })
    .await??;
    Ok(repair)
}

struct Mending<'a> {
    site: &'a Site,
    digest: Digest,
    packages: &'a [PackageId],
    /// Those over a line; dialled when they are needed first.
    sources: Option<Vec<Far>>,
    repair: Repair,
}

/// A source that is asked over gRPC.
pub(crate) struct Far {
    pub(crate) source: Source,
    /// The parent's line, and what went over it.
    pub(crate) line: Option<Arc<Wire>>,
}

impl Mending<'_> {
    /// The manifest, from the library or from whoever has it.
    async fn manifest(&mut self) -> Result<Option<(Manifest, Vec<u8>)>, Error> {
        let (library, digest) = (self.site.library.clone(), self.digest);
        let held = tokio::task::spawn_blocking(move || match library.manifest_bytes(&digest) {
            Ok(None) => Ok(library.staged_manifest(&digest)?.map(|manifest| manifest.encode())),
            held => held,
        })
        .await?;
        let bytes = match held {
            Ok(Some(bytes)) => bytes,
            Ok(None) | Err(LibraryError::DamagedManifest { .. }) => {
                self.repair.had_no_manifest = true;
                let Some(bytes) = self.manifest_from_afar().await? else { return Ok(None) };
                bytes
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Manifest::decode(&bytes, &Limits::default()).ok().map(|manifest| (manifest, bytes)))
    }

    async fn manifest_from_afar(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let (digest, site) = (self.digest, self.site);
        for far in self.far().await? {
            match fetch_manifest(&far.source, &digest).await {
                Ok(Some(bytes)) => {
                    let (library, staged) = (site.library.clone(), bytes.to_vec());
                    tokio::task::spawn_blocking(move || library.stage_manifest(&staged)).await??;
                    return Ok(Some(bytes.to_vec()));
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::info!(manifest = %digest, error = error_chain(&error), "not from there")
                }
            }
        }
        Ok(None)
    }

    async fn chunks(&mut self, manifest: &Arc<Manifest>) -> Result<(), Error> {
        self.repair.lacked = self.missing(manifest).await?.len();
        self.repair.left = self.repair.lacked;
        for (name, root) in self.trees().await? {
            if self.repair.left == 0 {
                return Ok(());
            }
            let (library, content) = (self.site.library.clone(), manifest.clone());
            tokio::task::spawn_blocking(move || library.take_from_tree(&content, &root)).await??;
            self.gave(&name, manifest).await?;
        }
        if self.repair.left == 0 {
            return Ok(());
        }
        for at in 0..self.far().await?.len() {
            let missing = self.missing(manifest).await?;
            let (lacking, all) = (bytes_of(&missing), manifest.total_length());
            let far = &self.far().await?[at];
            let (source, line) = (far.source.clone(), far.line.clone());
            if missing.is_empty() || (line.is_some() && !comes_in_chunks(lacking, all)) {
                continue;
            }
            let before = line.as_ref().map_or(0, |line| line.sent() + line.received());
            if let Err(error) = fetch_chunks(&source, &self.site.library, &self.digest, &missing).await {
                tracing::info!(manifest = %self.digest, error = error_chain(&error), "not all comes from there");
            }
            if let (Some(line), Some((parent, _))) = (line, &self.site.settings.parent) {
                let bytes = (line.sent() + line.received()).saturating_sub(before);
                addresses::record_use(self.site, parent, None, bytes).await?;
            }
            self.gave(&source.name, manifest).await?;
        }
        Ok(())
    }

    async fn missing(&self, manifest: &Arc<Manifest>) -> Result<Vec<ChunkRef>, Error> {
        let (library, manifest) = (self.site.library.clone(), manifest.clone());
        Ok(tokio::task::spawn_blocking(move || distinct_missing(&library, &manifest)).await?)
    }

    /// Counts what came from somebody.
    async fn gave(&mut self, name: &str, manifest: &Arc<Manifest>) -> Result<(), Error> {
        let left = self.missing(manifest).await?.len();
        let given = self.repair.left.saturating_sub(left);
        if given > 0 {
            self.repair.from.push((name.to_owned(), given));
        }
        self.repair.left = left;
        Ok(())
    }

    /// Where files of these packages lie on this machine.
    async fn trees(&self) -> Result<Vec<(String, PathBuf)>, Error> {
        let mut tx = self.site.store.read().await?;
        let mut trees = Vec::new();
        for package in self.packages {
            let source = contents::source(&mut tx, package).await?;
            trees.extend(source.map(|source| ("the source directory".to_owned(), PathBuf::from(source))));
        }
        for point in points::list(&mut tx).await? {
            if point.kind == PointKind::Directory {
                trees.extend(self.packages.iter().map(|package| {
                    let place = PathBuf::from(&point.location).join(package.as_str());
                    (format!("distribution point {}", point.name), place)
                }));
            }
        }
        Ok(trees)
    }

    /// The site's agents, then the parent, as far as they can be reached.
    async fn far(&mut self) -> Result<&[Far], Error> {
        if self.sources.is_none() {
            let mut sources = agents(self.site).await?;
            sources.extend(parent(self.site).await?);
            self.sources = Some(sources);
        }
        Ok(self.sources.as_deref().unwrap_or_default())
    }
}

/// What a manifest names and the library has not, each once.
pub(crate) fn distinct_missing(library: &Library, manifest: &Manifest) -> Vec<ChunkRef> {
    let mut seen = std::collections::HashSet::new();
    let missing = library.missing(manifest).into_iter();
    missing.filter(|chunk| seen.insert(chunk.digest)).collect()
}

fn bytes_of(chunks: &[ChunkRef]) -> u64 {
    chunks.iter().map(|chunk| u64::from(chunk.length)).sum()
}

async fn agents(site: &Site) -> Result<Vec<Far>, Error> {
    let mut tx = site.store.read().await?;
    let agents: Vec<_> =
        points::list(&mut tx).await?.into_iter().filter(|point| point.kind == PointKind::Agent).collect();
    drop(tx);
    let mut found = Vec::new();
    for agent in agents {
        let credentials = asking(site)?;
        for endpoint in agent.location.lines() {
            if let Some(source) = agent_at(site, &agent.name, endpoint, &credentials).await {
                found.push(Far { source, line: None });
                break;
            }
        }
    }
    Ok(found)
}

async fn agent_at(site: &Site, name: &PointName, endpoint: &str, shown: &Credentials) -> Option<Source> {
    let server = Name::of_cap(site.code().clone(), name);
    match connect(endpoint, &server, Caller::Known(shown), ChannelOptions::default()).await {
        Ok(channel) => Some(Source { name: format!("CAP agent {name}"), channel }),
        Err(error) => {
            tracing::info!(point = %name, error = error_chain(&error), "an agent cannot be asked for chunks");
            None
        }
    }
}

/// The site is its agents' authority: it vouches for itself, for an hour and in memory.
fn asking(site: &Site) -> Result<Credentials, Error> {
    let name = Name::of_cap(site.code().clone(), &ASKER.parse()?);
    let failed = |source| packhorse_trust::AuthorityError::Own { source };
    let (key_pem, request) = new_key_and_request(&name.id).map_err(failed)?;
    let cert_pem = site.authority.issue(&request, &name, ASKING, site.now())?;
    Ok(Credentials { key_pem, cert_pem, authority_pem: site.authority.certificate_pem().to_owned() })
}

/// The parent, by the address at which it is dialled now.
pub(crate) async fn parent(site: &Site) -> Result<Option<Far>, Error> {
    let Some((parent, _)) = &site.settings.parent else { return Ok(None) };
    for dial in addresses::dialling(site, parent, &[]).await? {
        let line = Arc::<Wire>::default();
        match sender::channel(site, parent, &dial.endpoint, line.clone()).await {
            Ok(channel) => {
                let source = Source { name: format!("site {parent}"), channel };
                return Ok(Some(Far { source, line: Some(line) }));
            }
            Err(error) => {
                tracing::info!(peer = %parent, error = error_chain(&error), "the parent cannot be asked for chunks");
            }
        }
    }
    Ok(None)
}
