//! Parcels that this site makes: laid out and signed, written to media, read back.
//!
//! What a parcel is made of stays in a directory of its own until it has arrived or is lost: its plan, and a file for each
//! item. Bundles are hard links to those in the spool, so that clean-up there does not take them away.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    ops::ControlFlow,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use packhorse_domain::{
    id::{PackageId, SiteCode},
    link::ItemId,
    message,
    parcel::ParcelState,
};
use packhorse_parcel::{
    Checked, Draft, Medium, ParcelId, Plan, PlanError, Source, WriteError, Written, check_written,
};
use packhorse_runtime::{
    durable::{sync_directory, write_file_durable},
    error_chain,
};

use super::{
    Listener, Progress,
    contents::ItemKind,
    custody, elsewhere,
    envelope::{seal, unseal},
    packing::{self, Content, Packed, Packing},
    traces,
};
use tokio::time::Instant;

use crate::{
    error::Error,
    site::Site,
    status,
    store::parcels::{self, ParcelRow},
};

const PLAN: &str = "plan";
/// Says that bundles were removed.
const CLEANED: &str = "cleaned";
/// The largest bundles take minutes.
const MAKING_MAX: Duration = Duration::from_secs(600);
const LOOK: Duration = Duration::from_millis(50);

pub(super) fn directory(site: &Site, id: &ParcelId) -> PathBuf {
    site.directories.parcels_out().join(id.to_string())
}

/// Where the bytes of an item are.
pub(super) fn item_path(site: &Site, id: &ParcelId, item: &ItemId) -> PathBuf {
    directory(site, id).join(item.to_string())
}

/// The plan of a parcel that was laid out here.
pub(crate) fn plan(site: &Site, id: &ParcelId) -> Result<Plan, Error> {
    let path = directory(site, id).join(PLAN);
    let bytes =
        fs::read(&path).map_err(|source| Error::File { what: format!("read {}", path.display()), source })?;
    let own = site.director().public();
    let opened = Plan::from_bytes(&bytes, &|envelope| unseal(envelope, |_| Ok(own)));
    opened.map_err(|error| refused(&error))
}

fn refused(error: &(dyn std::error::Error + 'static)) -> Error {
    Error::Precondition(error_chain(error))
}

/// A parcel as it would be now; nothing is kept.
pub(crate) async fn draft(
    site: &Arc<Site>,
    to: &[SiteCode],
    volume_bytes: Option<u64>,
) -> Result<(Plan, Vec<PackageId>), Error> {
    let mut packing = packing::pack(site, to).await?;
    let left_out = std::mem::take(&mut packing.left_out);
    let (plan, _) = lay_out(site, packing, volume_bytes).await?;
    Ok((plan, left_out))
}

/// What is being made for these sites is waited for, but not for ever: it may fail again and again.
async fn await_bundles(site: &Site, to: &[SiteCode]) -> Result<(), Error> {
    let deadline = Instant::now() + MAKING_MAX;
    while let [first, ..] = &packing::in_the_making(site, to).await?[..] {
        if Instant::now() >= deadline {
            return Err(Error::Precondition(format!(
                "the bundle of package {first} is still not made; `packhorse status package {first}` says why; \
                 try again later"
            )));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

async fn lay_out(
    site: &Arc<Site>,
    packing: Packing,
    volume_bytes: Option<u64>,
) -> Result<(Plan, Vec<Packed>), Error> {
    let draft = Draft {
        id: ParcelId::random(),
        sender: site.code().clone(),
        created: site.now(),
        destinations: packing.destinations,
        items: packing.items.iter().map(|packed| packed.item.clone()).collect(),
        volume_bytes,
    };
    let (site, items) = (site.clone(), packing.items);
    let made = tokio::task::spawn_blocking(move || {
        let sources = Sources::of(items.iter().map(|packed| {
            (
                packed.item.id,
                match &packed.content {
                    Content::Bytes(bytes) => Bytes::Here(bytes.clone()),
                    Content::Bundle(digest) => Bytes::At(site.directories.bundle(digest)),
                },
            )
        }));
        let signed = |list: &[u8]| Ok(seal(list, site.director()));
        Plan::make(draft, &sources, &signed).map(|plan| (plan, items))
    })
    .await?;
    made.map_err(|error| match error {
        PlanError::VolumeBytes(_) => Error::Invalid(format!("field `volume_bytes`: {error}")),
        error => refused(&error),
    })
}

/// Lays out a parcel, and keeps it.
pub(crate) async fn create(
    site: &Arc<Site>,
    to: &[SiteCode],
    volume_bytes: Option<u64>,
    holds_line: bool,
) -> Result<(ParcelRow, Vec<PackageId>), Error> {
    await_bundles(site, to).await?;
    let _alone = site.courier.at_work.lock().await;
    let mut packing = packing::pack(site, to).await?;
    let left_out = std::mem::take(&mut packing.left_out);
    traces::packed(site, &packing).await?;
    let (plan, items) = lay_out(site, packing, volume_bytes).await?;
    let id = plan.list().info().id;
    let bundles: Vec<(SiteCode, Vec<ItemId>)> = to
        .iter()
        .map(|peer| {
            let ours = custody::ours(&plan, peer);
            let bundles =
                ours.filter(|item| matches!(ItemKind::decode(&item.head), Some(ItemKind::Bundle(_))));
            (peer.clone(), bundles.map(|item| item.id).collect())
        })
        .collect();
    let row = ParcelRow {
        id,
        sender: site.code().clone(),
        created_at: plan.list().info().created,
        carrier: String::new(),
        tracking: String::new(),
        sent_at: None,
        expected_at: None,
        volumes: plan.list().volumes(),
        holds_line,
    };
    let kept = site.clone();
    tokio::task::spawn_blocking(move || keep(&kept, &id, &plan, &items)).await??;
    let mut tx = site.store.begin().await?;
    parcels::put(&mut tx, &row).await?;
    for (peer, bundles) in &bundles {
        parcels::put_site(&mut tx, &id, peer, ParcelState::Planned, site.now()).await?;
        if holds_line {
            custody::hold(site, &mut tx, &id, (peer, bundles)).await?;
        }
    }
    let names = to.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let message = message::parcel_laid_out(&id.short(), &names, &row.volumes);
    status::report(site, &mut tx, site.code().as_str(), &message).await?;
    tx.commit().await?;
    Ok((row, left_out))
}

fn keep(site: &Site, id: &ParcelId, plan: &Plan, items: &[Packed]) -> Result<(), Error> {
    let directory = directory(site, id);
    let failed = |source| Error::File { what: format!("keep a parcel in {}", directory.display()), source };
    fs::create_dir_all(&directory).map_err(failed)?;
    for Packed { item, content, .. } in items {
        let path = directory.join(item.id.to_string());
        match content {
            Content::Bytes(bytes) => write_file_durable(&path, bytes, 0o600)?,
            Content::Bundle(digest) => {
                let bundle = site.directories.bundle(digest);
                fs::hard_link(&bundle, &path)
                    .or_else(|_| fs::copy(&bundle, &path).map(drop))
                    .map_err(failed)?;
            }
        }
    }
    write_file_durable(&directory.join(PLAN), &plan.to_bytes(), 0o600)?;
    sync_directory(&site.directories.parcels_out())?;
    Ok(())
}

/// Removes what was laid out of parcels that nobody knows of: the run that made them was stopped before it noted them.
pub(super) async fn sweep(site: &Site) -> Result<(), Error> {
    let _alone = site.courier.at_work.lock().await;
    let known = parcels::list(&mut site.store.read().await?).await?;
    let root = site.directories.parcels_out();
    let failed = |source| Error::File { what: format!("read {}", root.display()), source };
    for entry in fs::read_dir(&root).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if !known.iter().any(|row| name.to_str() == Some(&row.id.to_string())) {
            // What stays behind takes room, and is looked at again with the next start.
            drop(fs::remove_dir_all(entry.path()));
        }
    }
    Ok(())
}

/// Bundles of a parcel that is not to be written any more; the rest is small, and tells what was in it.
pub(crate) fn clean(site: &Site, id: &ParcelId) -> Result<(), Error> {
    elsewhere::clear(site, id)?;
    let done = directory(site, id).join(CLEANED);
    if done.exists() {
        return Ok(());
    }
    let plan = plan(site, id)?;
    for item in plan.list().items() {
        if matches!(ItemKind::decode(&item.head), Some(ItemKind::Bundle(_))) {
            // Gone already is as good.
            drop(fs::remove_file(item_path(site, id, &item.id)));
        }
    }
    fs::write(&done, "").map_err(|source| Error::File { what: format!("write {}", done.display()), source })
}

/// Writes volumes below a directory on a medium, and reads them back.
pub(crate) async fn write(
    site: &Arc<Site>,
    id: ParcelId,
    root: PathBuf,
    volumes: Vec<u16>,
    listener: Listener,
) -> Result<(), Error> {
    let _alone = site.courier.at_work.lock().await;
    let writing = site.clone();
    tokio::task::spawn_blocking(move || write_volumes(&writing, &id, &root, volumes, &listener)).await??;
    note_written(site, &id).await
}

/// Notes that volumes were written, if that were all.
pub(super) async fn note_written(site: &Site, id: &ParcelId) -> Result<(), Error> {
    let mut tx = site.store.begin().await?;
    custody::written(site, &mut tx, &plan(site, id)?).await?;
    Ok(tx.commit().await?)
}

fn write_volumes(
    site: &Site,
    id: &ParcelId,
    root: &Path,
    volumes: Vec<u16>,
    listener: &Listener,
) -> Result<(), Error> {
    let mut plan = plan(site, id)?;
    let volumes = if volumes.is_empty() { plan.unwritten().collect() } else { volumes };
    let medium = Medium::at(root).map_err(|error| Error::Medium(error_chain(&error)))?;
    let sources = sources(site, &plan);
    for volume in volumes {
        // What is asked for by its number is written again, if it is not there.
        write_one(&mut plan, &sources, &medium, (volume, listener))?;
        keep_plan(site, &plan)?;
    }
    Ok(())
}

/// Where the items of a parcel that was laid out are.
pub(super) fn sources(site: &Site, plan: &Plan) -> impl Source + use<> {
    let id = plan.list().info().id;
    Sources::of(plan.list().items().iter().map(|item| (item.id, Bytes::At(item_path(site, &id, &item.id)))))
}

pub(super) fn write_one(
    plan: &mut Plan,
    sources: &dyn Source,
    medium: &Medium,
    (volume, listener): (u16, &Listener),
) -> Result<Written, Error> {
    let written = plan.write(volume, sources, medium, &mut teller(listener, volume, "writing"));
    written.map_err(|error| failed(volume, &error))
}

pub(super) fn keep_plan(site: &Site, plan: &Plan) -> Result<(), Error> {
    let path = directory(site, &plan.list().info().id).join(PLAN);
    Ok(write_file_durable(&path, &plan.to_bytes(), 0o600)?)
}

/// Tells a listener, and breaks off when nobody listens any more.
fn teller(
    listener: &Listener,
    volume: u16,
    step: &'static str,
) -> impl FnMut(packhorse_parcel::Progress) -> ControlFlow<()> {
    let listener = listener.clone();
    move |now| {
        let progress = Progress {
            step: format!("{step} volume {volume}"),
            volume,
            bytes_done: now.done,
            bytes_total: now.total,
        };
        match listener.blocking_send(progress) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}

fn failed(volume: u16, error: &WriteError) -> Error {
    let rest = match error {
        WriteError::Cancelled => return Error::Interrupted,
        WriteError::NoSuchVolume { .. } => return Error::Invalid(format!("field `volumes`: {error}")),
        WriteError::Changed { .. } | WriteError::Short { .. } | WriteError::Source { .. } => {
            "lay out another parcel with `packhorse courier create`"
        }
        _ => "what was written before it is kept: put in another medium and write the rest",
    };
    Error::Medium(format!("volume {volume} was not written: {}; {rest}", error_chain(error)))
}

/// Reads written volumes below a directory again. Gives those that are whole, and what is wrong with others.
pub(crate) async fn verify(
    site: &Arc<Site>,
    id: ParcelId,
    root: PathBuf,
    listener: Listener,
) -> Result<(Vec<u16>, Vec<String>), Error> {
    let _alone = site.courier.at_work.lock().await;
    let site = site.clone();
    let verified = tokio::task::spawn_blocking(move || -> Result<_, Error> {
        let written = plan(&site, &id)?.written().to_vec();
        let mut progress = |volume, now| teller(&listener, volume, "reading")(now);
        let checked = check_written(&id, &written, &root, &mut progress);
        let Checked { whole, faults } = checked.ok_or(Error::Interrupted)?;
        Ok((whole, faults.iter().map(|fault| error_chain(fault)).collect()))
    });
    verified.await?
}

/// Where bytes of items come from.
enum Bytes {
    Here(Vec<u8>),
    At(PathBuf),
}

struct Sources(BTreeMap<ItemId, Bytes>, std::sync::Mutex<Option<(ItemId, File)>>);

impl Sources {
    fn of(items: impl Iterator<Item = (ItemId, Bytes)>) -> Self {
        Sources(items.collect(), std::sync::Mutex::default())
    }
}

impl Source for Sources {
    fn read_exact_at(&self, item: &ItemId, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        match self.0.get(item).ok_or(io::ErrorKind::NotFound)? {
            Bytes::Here(bytes) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX);
                let rest = bytes.get(from..).and_then(|rest| rest.get(..buffer.len()));
                buffer.copy_from_slice(rest.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
            Bytes::At(path) => {
                // They are read one after the other: one open file is enough.
                let mut open = self.1.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if open.as_ref().is_none_or(|(known, _)| known != item) {
                    *open = Some((*item, File::open(path)?));
                }
                open.as_ref().map_or(Err(io::ErrorKind::NotFound.into()), |(_, file)| {
                    file.read_exact_at(buffer, offset)
                })
            }
        }
    }
}
