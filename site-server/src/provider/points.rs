//! Distribution points: directories are added here, CAP agents make their own points known.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use packhorse_content::withdraw;
use packhorse_domain::{
    distribution::{PointKind, Target},
    id::PointName,
    message,
    object::ObjectKind,
    status::PointFact,
};
use packhorse_proto::{
    object::v1 as wire,
    provider::v1::{
        AddDirectoryRequest, AddDirectoryResponse, CheckDirectoryRequest, CheckDirectoryResponse,
        ListDistributionPointsRequest, ListDistributionPointsResponse, RemoveDistributionPointRequest,
        RemoveDistributionPointResponse, distribution_point_service_server::DistributionPointService,
    },
};
use packhorse_runtime::{error_chain, peer};
use packhorse_trust::Name;
use rustix::fs::{Access, access};
use tonic::{Request, Response, Status};

use super::{change::Change, invalid, parsed, targets};
use crate::{
    error::Error,
    record,
    site::Site,
    store::{
        Tx, caps, objects,
        points::{self, PointRow},
        tokens,
    },
};

/// Where a point keeps its versions.
const VERSIONS: &str = ".packhorse";
/// A CAP agent heard of within this time is still there, and would make its point known again.
pub(crate) const CAP_PRESENT: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct DistributionPoints {
    site: Arc<Site>,
}

impl DistributionPoints {
    pub(crate) fn new(site: Arc<Site>) -> Self {
        DistributionPoints { site }
    }

    async fn list(&self) -> Result<Vec<wire::DistributionPointFact>, Error> {
        let mut tx = self.site.store.read().await?;
        Ok(record::list::<wire::DistributionPointFact, PointFact>(&mut tx, ObjectKind::DistributionPoint)
            .await?
            .iter()
            .map(|(_, fact)| fact.into())
            .collect())
    }

    async fn add(&self, who: &Name, asked: AddDirectoryRequest) -> Result<(), Error> {
        let site = &*self.site;
        let name: PointName = parsed("name", &asked.name)?;
        let location = asked.path;
        if !location.starts_with('/') || location.len() > 4000 || location.chars().any(char::is_control) {
            return Err(invalid("path", "an absolute path on the site server is expected"));
        }
        let row = PointRow { name, kind: PointKind::Directory, location };
        let mut tx = site.store.read().await?;
        let others = check_free(&mut tx, &row).await?;
        drop(tx);
        let (path, own) = (PathBuf::from(&row.location), site.directories.config());
        tokio::task::spawn_blocking(move || prepare(&path, own.parent().unwrap_or(&own), &others)).await??;

        let mut change = Change::begin(site, who).await?;
        check_free(&mut change.tx, &row).await?;
        points::put(&mut change.tx, &row).await?;
        let PointRow { name, kind, location } = row;
        let id = format!("{}/{name}", site.code());
        let message = message::point_added(&id, &location);
        let fact = PointFact { site: site.code().clone(), name, kind, location };
        change.write::<wire::DistributionPointFact, _>(ObjectKind::DistributionPoint, &id, &fact).await?;
        change.finish(&id, message).await
    }

    async fn remove(&self, who: &Name, name: &str) -> Result<(), Error> {
        let site = &*self.site;
        let name: PointName = parsed("name", name)?;
        let mut tx = site.store.read().await?;
        let row = find(&mut tx, &name).await?;
        if row.kind == PointKind::Agent {
            self.check_agent_gone(&mut tx, &name).await?;
        }
        drop(tx);
        if row.kind == PointKind::Directory {
            empty(&row.location).await?;
        }

        let mut change = Change::begin(site, who).await?;
        points::remove(&mut change.tx, &name).await?;
        let id = format!("{}/{name}", site.code());
        change.delete(ObjectKind::DistributionPoint, &id).await?;
        targets::forget(&mut change, &Target { site: site.code().clone(), point: name.clone() }).await?;
        for status in objects::list(&mut change.tx, ObjectKind::PackageStatus).await? {
            if status.id.split_once('/').is_some_and(|(_, place)| place == id) {
                change.delete(ObjectKind::PackageStatus, &status.id).await?;
            }
        }
        change.finish(&id, message::point_removed(&id)).await?;
        // Distribution Manager may have been bringing something there meanwhile.
        if row.kind == PointKind::Directory
            && let Err(error) = empty(&row.location).await
        {
            tracing::warn!(target: "provider", point = id, error = error_chain(&error), "content stays behind");
        }
        Ok(())
    }

    async fn check(&self, who: &Name, name: &str) -> Result<(), Error> {
        let name: PointName = parsed("name", name)?;
        let mut change = Change::begin(&self.site, who).await?;
        let row = find(&mut change.tx, &name).await?;
        if row.kind == PointKind::Agent {
            return Err(Error::Precondition(format!(
                "distribution point {name} is a CAP agent, which checks what it serves by itself; only directories can be \
                 checked"
            )));
        }
        points::ask_check(&mut change.tx, &name, self.site.now()).await?;
        let id = format!("{}/{name}", self.site.code());
        change.finish(&id, message::point_check_asked(&id)).await
    }

    async fn check_agent_gone(&self, tx: &mut Tx, name: &PointName) -> Result<(), Error> {
        let present = caps::list(tx)
            .await?
            .into_iter()
            .any(|cap| cap.name == *name && self.site.now().since(cap.seen_at) < CAP_PRESENT);
        if !present {
            return Ok(());
        }
        Err(Error::Precondition(format!(
            "distribution point {name} is a CAP agent that is running and would make itself known again; stop it, or set \
             `distribution_point = false` in its cap.toml, and remove the point a minute later"
        )))
    }
}

async fn find(tx: &mut Tx, name: &PointName) -> Result<PointRow, Error> {
    points::list(tx)
        .await?
        .into_iter()
        .find(|row| row.name == *name)
        .ok_or_else(|| Error::NotFound { what: "dp", id: name.to_string() })
}

/// Whether the name is free; gives the directories of the other points.
async fn check_free(tx: &mut Tx, asked: &PointRow) -> Result<Vec<PathBuf>, Error> {
    let mut others = Vec::new();
    for point in points::list(tx).await? {
        if point.name == asked.name {
            return Err(Error::Exists(format!(
                "there is a distribution point {} already, at {}; choose another name, or remove that one first",
                point.name, point.location
            )));
        }
        if point.kind == PointKind::Directory {
            others.push(PathBuf::from(point.location));
        }
    }
    let name = asked.name.as_str();
    if tokens::is_used(tx, "cap", name).await?
        || caps::list(tx).await?.iter().any(|cap| cap.name == asked.name)
    {
        return Err(Error::Exists(format!(
            "{name} is the name of a CAP agent of this site; choose another name"
        )));
    }
    Ok(others)
}

/// Makes the directory if it is not there, and refuses one that others use.
fn prepare(path: &Path, own: &Path, others: &[PathBuf]) -> Result<(), Error> {
    let unusable = |error: io::Error| {
        Error::Precondition(format!(
            "the directory {} cannot be used ({error}); create it and let the site server write to it",
            path.display()
        ))
    };
    fs::create_dir_all(path).map_err(unusable)?;
    access(path, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|error| unusable(error.into()))?;
    let real = path.canonicalize().map_err(unusable)?;
    for other in others.iter().map(PathBuf::as_path).chain([own]) {
        let other = other.canonicalize().unwrap_or_else(|_| other.to_owned());
        if real.starts_with(&other) || other.starts_with(&real) {
            return Err(invalid(
                "path",
                format!(
                    "{} is in use by the site server ({}); give a directory of its own",
                    path.display(),
                    other.display()
                ),
            ));
        }
    }
    for entry in fs::read_dir(&real).map_err(unusable)? {
        let entry = entry.map_err(unusable)?;
        if !is_ours(&entry) {
            return Err(Error::Precondition(format!(
                "the directory {} holds something else ({}); give an empty directory, or one that does not exist yet",
                path.display(),
                entry.file_name().to_string_lossy()
            )));
        }
    }
    Ok(())
}

/// What a point that was here before left, and what a file system brings along.
fn is_ours(entry: &fs::DirEntry) -> bool {
    let name = entry.file_name();
    name == VERSIONS
        || name == "lost+found"
        || fs::read_link(entry.path()).is_ok_and(|target| target.starts_with(VERSIONS))
}

/// Takes all packages out of a directory.
async fn empty(location: &str) -> Result<(), Error> {
    let root = PathBuf::from(location);
    tokio::task::spawn_blocking(move || {
        let failed = |source| Error::File { what: format!("list {}", root.join(VERSIONS).display()), source };
        let entries = match fs::read_dir(root.join(VERSIONS)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            let name = name.to_string_lossy();
            match name.starts_with('.') {
                // No package, but the place where they are staged; it goes if nothing is staged just now.
                true => drop(fs::remove_dir(root.join(VERSIONS).join(&*name))),
                false => withdraw(&root, &name)?,
            }
        }
        // It stays if somebody put something there.
        drop(fs::remove_dir(root.join(VERSIONS)));
        Ok(())
    })
    .await?
}

#[tonic::async_trait]
impl DistributionPointService for DistributionPoints {
    async fn list_distribution_points(
        &self,
        _: Request<ListDistributionPointsRequest>,
    ) -> Result<Response<ListDistributionPointsResponse>, Status> {
        Ok(Response::new(ListDistributionPointsResponse { points: self.list().await? }))
    }

    async fn add_directory(
        &self,
        request: Request<AddDirectoryRequest>,
    ) -> Result<Response<AddDirectoryResponse>, Status> {
        let who = peer(&request)?.clone();
        self.add(&who, request.into_inner()).await?;
        Ok(Response::new(AddDirectoryResponse {}))
    }

    async fn remove_distribution_point(
        &self,
        request: Request<RemoveDistributionPointRequest>,
    ) -> Result<Response<RemoveDistributionPointResponse>, Status> {
        self.remove(peer(&request)?, &request.get_ref().name).await?;
        Ok(Response::new(RemoveDistributionPointResponse {}))
    }

    async fn check_directory(
        &self,
        request: Request<CheckDirectoryRequest>,
    ) -> Result<Response<CheckDirectoryResponse>, Status> {
        self.check(peer(&request)?, &request.get_ref().name).await?;
        Ok(Response::new(CheckDirectoryResponse {}))
    }
}
