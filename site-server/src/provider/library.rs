//! The content library as administrators see it, and what they may have done to it.

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc};

use packhorse_content::{Usage, is_library};
use packhorse_domain::{Digest, address::Rate, message};
use packhorse_proto::provider::v1::{
    GetPrestageRequest, GetPrestageResponse, GetUsageRequest, GetUsageResponse, GetVerificationRequest,
    GetVerificationResponse, Prestage as ShownPrestage, Repair as ShownRepair, StartPrestageRequest,
    StartPrestageResponse, StartVerificationRequest, StartVerificationResponse, StopPrestageRequest,
    StopPrestageResponse, StopVerificationRequest, StopVerificationResponse, Verification, VersionUsage,
    library_service_server::LibraryService, repair::Giver,
};
use packhorse_runtime::peer;
use packhorse_trust::Name;
use tonic::{Request, Response, Status};

use super::{change::Change, invalid};
use crate::{
    care::{
        mend::Repair,
        prestage::{self, Prestage},
        room,
        verify::{self, Run},
    },
    error::Error,
    record,
    site::Site,
    store::contents,
};

const DAY_S: u64 = 86_400;

#[derive(Debug)]
pub(crate) struct Libraries {
    site: Arc<Site>,
}

impl Libraries {
    pub(crate) fn new(site: Arc<Site>) -> Self {
        Libraries { site }
    }

    pub(crate) async fn usage(&self) -> Result<GetUsageResponse, Error> {
        let site = &*self.site;
        let mut tx = site.store.read().await?;
        let mut named: BTreeMap<Digest, VersionUsage> = BTreeMap::new();
        for content in contents::list(&mut tx).await? {
            let current = record::package(&mut tx, content.package.as_str())
                .await?
                .and_then(|one| one.version.manifest);
            let one = named.entry(content.manifest).or_default();
            one.packages.push(content.package.to_string());
            one.source_version = one.source_version.max(content.source_version);
            one.current |= current == Some(content.manifest);
        }
        for pin in prestage::pins(&mut tx, site.now()).await? {
            named.entry(pin.manifest).or_default();
        }
        drop(tx);
        let (library, manifests) = (site.library.clone(), named.keys().copied().collect::<Vec<_>>());
        let usage = tokio::task::spawn_blocking(move || library.usage(&manifests)).await??;
        let directory = site.directories.library();
        let disk = room::disk(&directory).map_err(|source| Error::File {
            what: format!("ask for the room at {}", directory.display()),
            source,
        })?;
        let reserve = site.settings.content.reserve;
        let mut versions: Vec<VersionUsage> =
            usage.versions.iter().map(|one| counted(named.remove(&one.manifest), one)).collect();
        versions.sort_by_key(|version| std::cmp::Reverse(version.stored_bytes));
        let Usage { disk_bytes, stored_bytes, plain_bytes, chunks, shared_bytes, .. } = usage;
        Ok(GetUsageResponse {
            directory: directory.display().to_string(),
            disk_bytes,
            stored_bytes,
            plain_bytes,
            chunks,
            shared_bytes,
            unreferenced_bytes: usage.unreferenced_bytes,
            unreferenced_chunks: usage.unreferenced_chunks,
            free_bytes: disk.free_bytes,
            disk_total_bytes: disk.total_bytes,
            reserve_bytes: reserve.bytes(disk),
            reserve: reserve.to_string(),
            outgoing_bytes: bytes_in(&site.directories.outgoing()),
            incoming_bytes: bytes_in(&site.directories.incoming()),
            versions,
        })
    }

    async fn start_verification(&self, who: &Name, bytes_per_s: u64) -> Result<(), Error> {
        if bytes_per_s > 0 {
            Rate::new(bytes_per_s).map_err(|error| invalid("bytes_per_s", error))?;
        }
        let change = Change::begin(&self.site, who).await?;
        let by = change.by();
        change.finish(self.site.code().as_str(), message::library_check_asked()).await?;
        verify::start(&self.site, &by, bytes_per_s).await
    }

    async fn stop_verification(&self, who: &Name) -> Result<(), Error> {
        if !verify::stop(&self.site).await? {
            return Err(Error::Precondition(
                "no check of the content library goes on; `packhorse content verify` begins one".to_owned(),
            ));
        }
        let change = Change::begin(&self.site, who).await?;
        change.finish(self.site.code().as_str(), message::library_check_stopped()).await
    }

    async fn verification(&self) -> Result<GetVerificationResponse, Error> {
        let (runs, next) = verify::runs(&self.site).await?;
        Ok(GetVerificationResponse {
            now: runs.now.as_ref().map(shown_run),
            last: runs.last.as_ref().map(shown_run),
            next_at_us: next.map_or(0, |next| next.0),
            repairs: self.site.care.repairs().iter().map(shown_repair).collect(),
        })
    }

    async fn start_prestage(&self, who: &Name, asked: StartPrestageRequest) -> Result<(), Error> {
        let path = self.source(&asked.path)?;
        let keep_s = match u64::from(asked.keep_d) * DAY_S {
            0 => prestage::KEEP_DEFAULT.as_secs(),
            keep if keep <= prestage::KEEP_MAX.as_secs() => keep,
            _ => return Err(invalid("keep_d", "1 to 366 days are expected")),
        };
        let mut change = Change::begin(&self.site, who).await?;
        let message = message::prestaging_asked(&path.display());
        let prestage = Prestage {
            path,
            asked_by: change.by(),
            keep_s,
            began_us: self.site.now().0,
            ..Prestage::default()
        };
        prestage::begin(&self.site, &mut change.tx, &prestage).await?;
        change.finish(self.site.code().as_str(), message).await?;
        self.site.care.prestage.wake();
        Ok(())
    }

    /// The directory that is to be taken in, if there is one to be.
    fn source(&self, path: &str) -> Result<PathBuf, Error> {
        if !path.starts_with('/') || path.len() > 4096 || path.chars().any(char::is_control) {
            return Err(invalid(
                "path",
                "an absolute path on the site server is expected: mount the disk there",
            ));
        }
        let path = PathBuf::from(path);
        let Ok(real) = path.canonicalize() else {
            let text = format!("{} is not there; mount the disk and check the path", path.display());
            return Err(Error::Precondition(text));
        };
        if !real.is_dir() {
            return Err(invalid(
                "path",
                format!("{} is no directory: name the one with the files", path.display()),
            ));
        }
        let own = self.site.directories.config();
        let own = own.parent().and_then(|own| own.canonicalize().ok()).unwrap_or_default();
        if real.starts_with(&own) || own.starts_with(&real) {
            let text = format!("{} holds the site's own files: give another directory", path.display());
            return Err(invalid("path", text));
        }
        if fs::read_dir(&real).is_ok_and(|mut entries| entries.next().is_none()) {
            return Err(invalid("path", format!("{} is empty: is the disk mounted?", path.display())));
        }
        // Its `library` is what is meant of a site's or an agent's directory.
        let library = real.join("library");
        Ok(if is_library(&library) { library } else { real })
    }
}

fn counted(named: Option<VersionUsage>, counted: &packhorse_content::VersionUsage) -> VersionUsage {
    VersionUsage {
        manifest: counted.manifest.0.to_vec().into(),
        files: counted.files,
        content_bytes: counted.content_bytes,
        plain_bytes: counted.plain_bytes,
        stored_bytes: counted.stored_bytes,
        own_bytes: counted.own_bytes,
        missing_chunks: counted.missing_chunks,
        ..named.unwrap_or_default()
    }
}

/// What the files of a directory take.
fn bytes_in(directory: &std::path::Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len())).sum()
}

fn shown_run(run: &Run) -> Verification {
    Verification {
        asked_by: run.asked_by.clone(),
        began_at_us: run.began_us,
        ended_at_us: run.ended_us,
        bytes_per_s: run.bytes_per_s,
        bytes_done: run.bytes_done,
        bytes_total: run.bytes_total,
        chunks: run.chunks,
        rotten_chunks: run.rotten_chunks,
        rotten_bytes: run.rotten_bytes,
        rotten_manifests: run.rotten_manifests,
        mended_chunks: run.mended_chunks,
        lost_versions: run.lost_versions,
        stopped: run.stopped,
    }
}

fn shown_repair(repair: &Repair) -> ShownRepair {
    ShownRepair {
        at_us: repair.at.0,
        packages: repair.packages.iter().map(ToString::to_string).collect(),
        manifest: repair.manifest.0.to_vec().into(),
        lacked_chunks: repair.lacked as u64,
        left_chunks: repair.left as u64,
        whole: repair.is_whole,
        givers: repair
            .from
            .iter()
            .map(|(name, chunks)| Giver { name: name.clone(), chunks: *chunks as u64 })
            .collect(),
    }
}

fn shown_prestage(prestage: Prestage) -> ShownPrestage {
    let progress = prestage.progress;
    ShownPrestage {
        path: prestage.path.display().to_string(),
        asked_by: prestage.asked_by,
        began_at_us: prestage.began_us,
        ended_at_us: prestage.ended_us,
        bytes_done: progress.bytes_done,
        bytes_total: progress.bytes_total,
        chunks_new: progress.chunks_new,
        bytes_new: progress.bytes_new,
        whole_versions: progress.whole,
        partial_versions: progress.partial,
        faults: progress.faults,
        faults_more: progress.faults_more,
        error: prestage.error,
        packages: prestage.packages,
    }
}

#[tonic::async_trait]
impl LibraryService for Libraries {
    async fn get_usage(&self, _: Request<GetUsageRequest>) -> Result<Response<GetUsageResponse>, Status> {
        Ok(Response::new(self.usage().await?))
    }

    async fn start_verification(
        &self,
        request: Request<StartVerificationRequest>,
    ) -> Result<Response<StartVerificationResponse>, Status> {
        self.start_verification(peer(&request)?, request.get_ref().bytes_per_s).await?;
        Ok(Response::new(StartVerificationResponse {}))
    }

    async fn stop_verification(
        &self,
        request: Request<StopVerificationRequest>,
    ) -> Result<Response<StopVerificationResponse>, Status> {
        self.stop_verification(peer(&request)?).await?;
        Ok(Response::new(StopVerificationResponse {}))
    }

    async fn get_verification(
        &self,
        _: Request<GetVerificationRequest>,
    ) -> Result<Response<GetVerificationResponse>, Status> {
        Ok(Response::new(self.verification().await?))
    }

    async fn start_prestage(
        &self,
        request: Request<StartPrestageRequest>,
    ) -> Result<Response<StartPrestageResponse>, Status> {
        let who = peer(&request)?.clone();
        self.start_prestage(&who, request.into_inner()).await?;
        Ok(Response::new(StartPrestageResponse {}))
    }

    async fn stop_prestage(
        &self,
        request: Request<StopPrestageRequest>,
    ) -> Result<Response<StopPrestageResponse>, Status> {
        let who = peer(&request)?.clone();
        if !prestage::stop(&self.site).await? {
            return Err(Error::Precondition(
                "nothing is being taken in; `packhorse content prestage DIR` begins it".to_owned(),
            )
            .into());
        }
        let change = Change::begin(&self.site, &who).await?;
        change.finish(self.site.code().as_str(), message::prestaging_stopped()).await?;
        Ok(Response::new(StopPrestageResponse {}))
    }

    async fn get_prestage(
        &self,
        _: Request<GetPrestageRequest>,
    ) -> Result<Response<GetPrestageResponse>, Status> {
        let prestage = prestage::look(&self.site).await?.map(shown_prestage);
        Ok(Response::new(GetPrestageResponse { prestage }))
    }
}
