//! Packages: create, update, delete, show.

use std::{path::PathBuf, sync::Arc};

use packhorse_domain::{
    courier::Way,
    distribution::{Distribution, Target},
    id::PackageId,
    message,
    object::ObjectKind,
    package::{DESCRIPTION_LENGTH_MAX, PackageDefinition, PackageVersion, Program, check_name},
};
use packhorse_proto::{
    convert::{self, ConvertError},
    object::v1 as wire,
    provider::v1::{
        AddTargetsRequest, AddTargetsResponse, CreatePackageRequest, CreatePackageResponse,
        DeletePackageRequest, DeletePackageResponse, GetPackageRequest, GetPackageResponse,
        KillPackageRequest, KillPackageResponse, ListKillsRequest, ListKillsResponse, ListPackagesRequest,
        ListPackagesResponse, Package, RemoveProgramRequest, RemoveProgramResponse, RemoveTargetsRequest,
        RemoveTargetsResponse, RevivePackageRequest, RevivePackageResponse, SetProgramRequest,
        SetProgramResponse, SetSenderRequest, SetSenderResponse, Source, UpdatePackageRequest,
        UpdatePackageResponse, UploadSourceRequest, UploadSourceResponse,
        package_service_server::PackageService, source,
    },
};
use packhorse_runtime::peer;
use packhorse_trust::Name;
use tonic::{Request, Response, Status, Streaming};

use super::{
    advertisements,
    change::{Change, check_given},
    check_owner, check_unused, invalid, kills, missing, parsed, programs, targets, uploads,
};
use crate::{
    distribution::intake::{self, SourceFrom, Taken, Upload},
    error::Error,
    record::{self, PackageRecord},
    site::Site,
    store::{
        Tx,
        contents::{self, Content},
    },
};

#[derive(Debug)]
pub(crate) struct Packages {
    site: Arc<Site>,
}

/// A new package as it was asked for, checked as far as its own words go.
struct Draft {
    given: String,
    name: String,
    description: String,
    priority: packhorse_domain::Priority,
    sender: Option<Way>,
    programs: Vec<Program>,
    targets: Vec<Target>,
}

impl Draft {
    fn decode(request: CreatePackageRequest) -> Result<Draft, Error> {
        check_name(&request.name).map_err(|error| invalid("name", error))?;
        if request.description.chars().count() > DESCRIPTION_LENGTH_MAX {
            let reason = format!("it has more than {DESCRIPTION_LENGTH_MAX} characters: shorten it");
            return Err(invalid("description", reason));
        }
        let programs = request
            .programs
            .into_iter()
            .map(TryInto::try_into)
            .collect::<Result<Vec<Program>, ConvertError>>()?;
        Ok(Draft {
            given: request.id,
            name: request.name,
            description: request.description,
            priority: convert::priority("priority", request.priority)?,
            sender: convert::courier::sender("sender", request.sender)?,
            programs,
            targets: targets::decode(request.targets)?,
        })
    }
}

impl Packages {
    pub(crate) fn new(site: Arc<Site>) -> Self {
        Packages { site }
    }

    async fn list(&self) -> Result<Vec<Package>, Error> {
        let mut tx = self.site.store.read().await?;
        let mut packages = Vec::new();
        for package in record::packages(&mut tx).await? {
            packages.push(view(&mut tx, &package).await?);
        }
        Ok(packages)
    }

    async fn get(&self, id: &str) -> Result<Package, Error> {
        let mut tx = self.site.store.read().await?;
        let package = find(&mut tx, id).await?;
        view(&mut tx, &package).await
    }

    async fn create(&self, who: &Name, mut request: CreatePackageRequest) -> Result<Package, Error> {
        let site = &*self.site;
        let asked = request.source.take();
        let draft = Draft::decode(request)?;
        site.author()?;
        // What can be refused is refused before hours of reading; it is looked at again when all is written.
        let mut tx = site.store.read().await?;
        if !draft.given.is_empty() {
            check_given(site, &mut tx, ObjectKind::Package, &draft.given).await?;
        }
        targets::check_known(&mut tx, &draft.targets).await?;
        drop(tx);
        let source = self.source(asked)?;

        let gate = site.content_gate.read().await;
        let taken = intake::snapshot_source(site, &source).await?;
        let mut change = Change::begin(site, who).await?;
        let id: PackageId = change.new_id(ObjectKind::Package, &draft.given).await?;
        targets::check_known(&mut change.tx, &draft.targets).await?;
        let version = first_version(&id, draft.programs, taken);
        version.check().map_err(|error| invalid("programs", error))?;
        let definition = PackageDefinition {
            id: id.clone(),
            name: draft.name,
            description: draft.description,
            priority: draft.priority,
            sender: draft.sender,
            signed_version: intake::sign_version(site, &version)?,
        };
        change.write::<wire::PackageDefinition, _>(ObjectKind::Package, id.as_str(), &definition).await?;
        let mut distribution = Distribution::empty(id.clone());
        if distribution.add(draft.targets) {
            change
                .write::<wire::Distribution, _>(ObjectKind::Distribution, id.as_str(), &distribution)
                .await?;
        }
        record_content(&mut change, &version).await?;
        contents::set_source(&mut change.tx, &id, source.directory()).await?;
        let package = find(&mut change.tx, id.as_str()).await?;
        let package = view(&mut change.tx, &package).await?;
        let (name, files, bytes) = (&definition.name, version.file_count, version.length_bytes);
        change.finish(id.as_str(), message::package_created(&id, name, &files, &bytes)).await?;
        drop(gate);
        source.consume().await?;
        Ok(package)
    }

    async fn update(
        &self,
        who: &Name,
        request: UpdatePackageRequest,
    ) -> Result<UpdatePackageResponse, Error> {
        let site = &*self.site;
        let mut tx = site.store.read().await?;
        let package = own(site, &mut tx, &request.package).await?;
        let id = package.definition.id.clone();
        let remembered = contents::source(&mut tx, &id).await?;
        drop(tx);
        site.author()?;
        let source = match (request.source, &remembered) {
            (Some(asked), _) => self.source(Some(asked))?,
            (None, Some(directory)) => SourceFrom::Directory(PathBuf::from(directory)),
            (None, None) => return Err(no_directory(&id)),
        };

        let gate = site.content_gate.read().await;
        let Some(taken) = intake::snapshot_source(site, &source).await? else {
            return Err(invalid("source", "it names neither a directory nor an upload: give one of them"));
        };
        let mut change = Change::begin(site, who).await?;
        let mut package = own(site, &mut change.tx, id.as_str()).await?;
        let changed = package.version.manifest != Some(taken.manifest);
        let mut done = Vec::new();
        if changed {
            let version = &mut package.version;
            version.source_version += 1;
            version.manifest = Some(taken.manifest);
            (version.length_bytes, version.file_count) = (taken.length, taken.files);
            release(&mut change, &mut package).await?;
            done.push(format!("updated package {id} to version {}", package.version.source_version));
        }
        // Of an unchanged source too: it may be what was missing of a damaged library.
        if record_content(&mut change, &package.version).await? && !changed {
            done.push(format!("took the content of package {id} in again"));
        }
        let directory = source.directory();
        if directory != contents::source(&mut change.tx, &id).await?.as_deref() {
            contents::set_source(&mut change.tx, &id, directory).await?;
            done.push(format!("its source is now {}", directory.unwrap_or("an upload")));
        }
        let package = find(&mut change.tx, id.as_str()).await?;
        let package = view(&mut change.tx, &package).await?;
        if !done.is_empty() {
            change.finish(id.as_str(), message::package_updated(&id, &done.join("; "))).await?;
        }
        drop(gate);
        source.consume().await?;
        Ok(UpdatePackageResponse { package: Some(package), changed })
    }

    async fn delete(&self, who: &Name, id: &str) -> Result<(), Error> {
        let mut change = Change::begin(&self.site, who).await?;
        let package = own(&self.site, &mut change.tx, id).await?;
        let checked = &package.definition.id;
        let naming = advertisements::naming(&mut change.tx, |one| one.package == *checked).await?;
        check_unused("package", id, &naming)?;
        change.delete(ObjectKind::Distribution, id).await?;
        change.delete(ObjectKind::Package, id).await?;
        contents::set_source(&mut change.tx, checked, None).await?;
        change.finish(id, message::package_deleted(&id, &package.definition.name)).await
    }

    /// Anybody's bundles of it may be on their way: those that wait are looked at anew.
    async fn set_sender(&self, who: &Name, request: &SetSenderRequest) -> Result<Package, Error> {
        let sender = convert::courier::sender("sender", request.sender)?;
        let mut change = Change::begin(&self.site, who).await?;
        let mut package = own(&self.site, &mut change.tx, &request.package).await?;
        let id = package.definition.id.to_string();
        if package.definition.sender != sender {
            package.definition.sender = sender;
            let definition = &package.definition;
            change.write::<wire::PackageDefinition, _>(ObjectKind::Package, &id, definition).await?;
        }
        let package = find(&mut change.tx, &id).await?;
        let package = view(&mut change.tx, &package).await?;
        let preferred = sender.map_or("no sender", Way::as_str);
        change.finish(&id, message::package_sender_chosen(&id, &preferred)).await?;
        Ok(package)
    }

    fn source(&self, asked: Option<Source>) -> Result<SourceFrom, Error> {
        match asked.and_then(|source| source.from) {
            None => Ok(SourceFrom::Nothing),
            Some(source::From::Upload(id)) => {
                Ok(SourceFrom::Upload(Upload::claim(&self.site.directories.uploads(), &id)?))
            }
            Some(source::From::Directory(directory)) => {
                if !directory.starts_with('/')
                    || directory.len() > 4096
                    || directory.chars().any(char::is_control)
                {
                    let reason = "an absolute path on the site server is expected; files of another machine are uploaded";
                    return Err(invalid("source.directory", reason));
                }
                Ok(SourceFrom::Directory(PathBuf::from(directory)))
            }
        }
    }
}

fn no_directory(id: &PackageId) -> Error {
    Error::Precondition(format!(
        "the site server remembers no source directory of package {id} (its files were uploaded, or it has none); name \
         one with --source DIR, or send files with --upload DIR"
    ))
}

fn first_version(id: &PackageId, programs: Vec<Program>, taken: Option<Taken>) -> PackageVersion {
    PackageVersion {
        package: id.clone(),
        source_version: u64::from(taken.is_some()),
        release: 1,
        manifest: taken.map(|taken| taken.manifest),
        length_bytes: taken.map_or(0, |taken| taken.length),
        file_count: taken.map_or(0, |taken| taken.files),
        programs,
    }
}

/// Notes that the library holds the version; says whether that is news.
async fn record_content(change: &mut Change<'_>, version: &PackageVersion) -> Result<bool, Error> {
    let Some(manifest) = version.manifest else {
        return Ok(false);
    };
    let content =
        Content { package: version.package.clone(), manifest, source_version: version.source_version };
    if contents::list(&mut change.tx).await?.contains(&content) {
        return Ok(false);
    }
    contents::add(&mut change.tx, &content, change.site.now()).await?;
    Ok(true)
}

/// Has the author sign what the package is now, and writes it.
pub(super) async fn release(change: &mut Change<'_>, package: &mut PackageRecord) -> Result<(), Error> {
    package.version.release += 1;
    package.definition.signed_version = intake::sign_version(change.site, &package.version)?;
    let id = package.definition.id.as_str();
    change.write::<wire::PackageDefinition, _>(ObjectKind::Package, id, &package.definition).await?;
    Ok(())
}

/// The package, or that there is none.
pub(super) async fn find(tx: &mut Tx, id: &str) -> Result<PackageRecord, Error> {
    let checked: PackageId = parsed("package", id)?;
    record::package(tx, checked.as_str())
        .await?
        .ok_or_else(|| Error::NotFound { what: "package", id: checked.to_string() })
}

/// The package, if it is this site's to change.
pub(super) async fn own(site: &Site, tx: &mut Tx, id: &str) -> Result<PackageRecord, Error> {
    let package = find(tx, id).await?;
    check_owner(site, "package", id, &package.object.owner)?;
    Ok(package)
}

/// As the console shows it.
pub(super) async fn view(tx: &mut Tx, package: &PackageRecord) -> Result<Package, Error> {
    let id = &package.definition.id;
    Ok(Package {
        definition: Some((&package.definition).into()),
        version: Some((&package.version).into()),
        owner: package.object.owner.to_string(),
        source_directory: contents::source(tx, id).await?.unwrap_or_default(),
        targets: record::distribution(tx, id).await?.targets.iter().map(Into::into).collect(),
        changed_at_us: record::changed_at_us(&package.object),
        kills: kills::about(tx, id).await?,
    })
}

#[tonic::async_trait]
impl PackageService for Packages {
    async fn list_packages(
        &self,
        _: Request<ListPackagesRequest>,
    ) -> Result<Response<ListPackagesResponse>, Status> {
        Ok(Response::new(ListPackagesResponse { packages: self.list().await? }))
    }

    async fn get_package(
        &self,
        request: Request<GetPackageRequest>,
    ) -> Result<Response<GetPackageResponse>, Status> {
        Ok(Response::new(GetPackageResponse { package: Some(self.get(&request.get_ref().package).await?) }))
    }

    async fn create_package(
        &self,
        request: Request<CreatePackageRequest>,
    ) -> Result<Response<CreatePackageResponse>, Status> {
        let who = peer(&request)?.clone();
        let package = self.create(&who, request.into_inner()).await?;
        Ok(Response::new(CreatePackageResponse { package: Some(package) }))
    }

    async fn update_package(
        &self,
        request: Request<UpdatePackageRequest>,
    ) -> Result<Response<UpdatePackageResponse>, Status> {
        let who = peer(&request)?.clone();
        Ok(Response::new(self.update(&who, request.into_inner()).await?))
    }

    async fn set_sender(
        &self,
        request: Request<SetSenderRequest>,
    ) -> Result<Response<SetSenderResponse>, Status> {
        let who = peer(&request)?.clone();
        let package = Packages::set_sender(self, &who, request.get_ref()).await?;
        Ok(Response::new(SetSenderResponse { package: Some(package) }))
    }

    async fn delete_package(
        &self,
        request: Request<DeletePackageRequest>,
    ) -> Result<Response<DeletePackageResponse>, Status> {
        self.delete(peer(&request)?, &request.get_ref().package).await?;
        Ok(Response::new(DeletePackageResponse {}))
    }

    async fn set_program(
        &self,
        request: Request<SetProgramRequest>,
    ) -> Result<Response<SetProgramResponse>, Status> {
        let who = peer(&request)?.clone();
        let SetProgramRequest { package, program } = request.into_inner();
        let program = program.ok_or_else(|| missing("program"))?;
        let package = programs::set(&self.site, &who, &package, program).await?;
        Ok(Response::new(SetProgramResponse { package: Some(package) }))
    }

    async fn remove_program(
        &self,
        request: Request<RemoveProgramRequest>,
    ) -> Result<Response<RemoveProgramResponse>, Status> {
        let asked = request.get_ref();
        let package = programs::remove(&self.site, peer(&request)?, &asked.package, &asked.program).await?;
        Ok(Response::new(RemoveProgramResponse { package: Some(package) }))
    }

    async fn add_targets(
        &self,
        request: Request<AddTargetsRequest>,
    ) -> Result<Response<AddTargetsResponse>, Status> {
        let who = peer(&request)?.clone();
        let AddTargetsRequest { package, targets } = request.into_inner();
        let package = targets::add(&self.site, &who, &package, targets).await?;
        Ok(Response::new(AddTargetsResponse { package: Some(package) }))
    }

    async fn remove_targets(
        &self,
        request: Request<RemoveTargetsRequest>,
    ) -> Result<Response<RemoveTargetsResponse>, Status> {
        let who = peer(&request)?.clone();
        let RemoveTargetsRequest { package, targets } = request.into_inner();
        let package = targets::remove(&self.site, &who, &package, targets).await?;
        Ok(Response::new(RemoveTargetsResponse { package: Some(package) }))
    }

    async fn kill_package(
        &self,
        request: Request<KillPackageRequest>,
    ) -> Result<Response<KillPackageResponse>, Status> {
        let who = peer(&request)?.clone();
        let kills = kills::kill(&self.site, &who, request.into_inner()).await?;
        Ok(Response::new(KillPackageResponse { kills }))
    }

    async fn revive_package(
        &self,
        request: Request<RevivePackageRequest>,
    ) -> Result<Response<RevivePackageResponse>, Status> {
        let kills = kills::revive(&self.site, peer(&request)?, &request.get_ref().package).await?;
        Ok(Response::new(RevivePackageResponse { kills }))
    }

    async fn list_kills(&self, _: Request<ListKillsRequest>) -> Result<Response<ListKillsResponse>, Status> {
        let mut tx = self.site.store.read().await.map_err(Error::from)?;
        Ok(Response::new(ListKillsResponse { kills: kills::list(&mut tx).await? }))
    }

    async fn upload_source(
        &self,
        request: Request<Streaming<UploadSourceRequest>>,
    ) -> Result<Response<UploadSourceResponse>, Status> {
        let upload = uploads::receive(&self.site, request.into_inner()).await?;
        Ok(Response::new(UploadSourceResponse { upload }))
    }
}
