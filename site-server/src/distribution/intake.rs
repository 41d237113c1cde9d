//! Taking source in at the site that makes a package: from a directory or an upload into the content library, and the
//! author's signature.

use std::{
    cell::{Cell, RefCell},
    fs::{self, DirBuilder, File},
    io,
    ops::ControlFlow,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use packhorse_content::{Library, Progress, Snapshot, SnapshotError, SnapshotOptions, snapshot_with};
use packhorse_domain::{Digest, Timestamp, package::PackageVersion};
use packhorse_proto::{convert, object::v1 as wire};
use packhorse_runtime::durable::sync_directory;
use packhorse_trust::{SignedType, sign};
use rustix::fs::{FlockOperation, Timespec, Timestamps, UTIME_NOW, flock, futimens, syncfs};
use uuid::Uuid;

use crate::{care::room, error::Error, site::Site};

/// What an upload is called until all of it is there.
const UNFINISHED: &str = "part";
const UPLOAD_KEPT: Duration = Duration::from_secs(24 * 3600);
/// An unfinished upload that nobody has open was cut; the time is for one that is just being begun.
const UNFINISHED_KEPT: Duration = Duration::from_secs(60);

/// Where the files of a package come from.
#[derive(Debug)]
pub(crate) enum SourceFrom {
    /// A package without source files.
    Nothing,
    /// An absolute path on this machine.
    Directory(PathBuf),
    Upload(Upload),
}

/// A source as it is in the library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) manifest: Digest,
    pub(crate) length: u64,
    pub(crate) files: u64,
    /// The others were as the site had read them before.
    pub(crate) files_read: u64,
}

impl SourceFrom {
    /// What is remembered for the next update.
    pub(crate) fn directory(&self) -> Option<&str> {
        match self {
            SourceFrom::Directory(directory) => directory.to_str(),
            SourceFrom::Nothing | SourceFrom::Upload(_) => None,
        }
    }

    /// Lets go of an upload that was taken in for good.
    pub(crate) async fn consume(self) -> Result<(), Error> {
        if let SourceFrom::Upload(mut upload) = self {
            upload.keep = false;
            tokio::task::spawn_blocking(move || drop(upload)).await?;
        }
        Ok(())
    }
}

/// Takes the source into the library; `None` where there is none. It ends soon after the call is dropped. The caller
/// holds the content gate until what it got is recorded.
pub(crate) async fn snapshot_source(site: &Site, source: &SourceFrom) -> Result<Option<Taken>, Error> {
    let (path, own, record) = match source {
        SourceFrom::Nothing => return Ok(None),
        SourceFrom::Directory(path) => {
            let record = site.directories.source_record(path);
            (path.clone(), Some(site.directories.config()), Some(record))
        }
        SourceFrom::Upload(upload) => (upload.path.clone(), None, None),
    };
    let dropped = DropFlag::default();
    let (library, flag) = (site.library.clone(), dropped.0.clone());
    let case_clashes = site.settings.content.case_clashes;
    let watch = room::Watch::begin(site.settings.content.reserve, site.directories.library())?;
    let taking = tokio::task::spawn_blocking(move || {
        if let Some(own) = own.as_deref().and_then(Path::parent) {
            check_apart(&path, own)?;
        }
        let options = SnapshotOptions { record: record.as_deref(), case_clashes };
        take(&path, &library, options, (&flag, &watch))
    });
    let (Snapshot { manifest, digest }, files_read) = taking.await??;
    let taken =
        Taken { manifest: digest, length: manifest.total_length(), files: manifest.file_count(), files_read };
    tracing::info!(
        target: "distribution-manager", files = taken.files, files_read, bytes = taken.length, "a source was taken in"
    );
    Ok(Some(taken))
}

/// The version as the author signs it.
pub(crate) fn sign_version(site: &Site, version: &PackageVersion) -> Result<Vec<u8>, Error> {
    let encoded = convert::encode::<wire::PackageVersion, _>(version);
    Ok(sign(SignedType::PackageVersion, encoded, &[site.author()?]))
}

/// Removes uploads that nobody made a package of, and what cut ones left.
pub(crate) fn remove_stale_uploads(site: &Site) -> Result<(), Error> {
    let uploads = site.directories.uploads();
    let listing = |source| Error::File { what: format!("list {}", uploads.display()), source };
    for entry in fs::read_dir(&uploads).map_err(listing)? {
        let path = entry.map_err(listing)?.path();
        if !is_stale(&path, site.now()) {
            continue;
        }
        // One that is held is in use, however old it is.
        if let Ok(_lock) = lock(&path) {
            fs::remove_dir_all(&path).map_err(|source| Error::File {
                what: format!("remove the old upload {}", path.display()),
                source,
            })?;
        }
    }
    Ok(())
}

fn is_stale(path: &Path, now: Timestamp) -> bool {
    let kept =
        if path.extension().is_some_and(|end| end == UNFINISHED) { UNFINISHED_KEPT } else { UPLOAD_KEPT };
    let Ok(metadata) = path.symlink_metadata() else {
        return false;
    };
    let changed = Timestamp(metadata.mtime().saturating_mul(1_000_000));
    metadata.is_dir() && now.since(changed) > kept
}

/// Tells the thread that reads the source that nobody waits for it any more.
#[derive(Default)]
struct DropFlag(Arc<AtomicBool>);

impl Drop for DropFlag {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The snapshot, and how many files were read for it.
fn take(
    path: &Path,
    library: &Library,
    options: SnapshotOptions<'_>,
    (dropped, watch): (&AtomicBool, &room::Watch),
) -> Result<(Snapshot, u64), Error> {
    let (files_read, no_room) = (Cell::new(0), RefCell::new(None));
    let progress = |progress: Progress| {
        files_read.set(progress.files_read);
        if let Err(refused) = watch.reached(progress.bytes_done) {
            no_room.replace(Some(refused));
            return ControlFlow::Break(());
        }
        match dropped.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    };
    let taken = snapshot_with(path, library, options, &progress);
    taken.map(|taken| (taken, files_read.get())).map_err(|error| match error {
        SnapshotError::Cancelled => no_room.take().map_or(Error::Interrupted, Error::from),
        SnapshotError::Library(error) if error.is_disk_full() => Error::Precondition(
            "the disk of the site's content library is full; make room, or delete packages that are not needed"
                .to_owned(),
        ),
        SnapshotError::Library(error) => Error::Library(error),
        other => Error::Snapshot(other),
    })
}

/// The site's own directory holds its keys: it must never become a package.
fn check_apart(source: &Path, own: &Path) -> Result<(), Error> {
    // What does not resolve is for the snapshot to explain.
    let (Ok(source), Ok(own)) = (source.canonicalize(), own.canonicalize()) else {
        return Ok(());
    };
    if source.starts_with(&own) || own.starts_with(&source) {
        return Err(Error::Invalid(format!(
            "field `source`: {} holds the site server's own files, or lies among them; put the package's files into a \
             directory of their own",
            source.display()
        )));
    }
    Ok(())
}

/// A directory with uploaded files. While one of these exists, nobody else takes or removes it.
#[derive(Debug)]
pub(crate) struct Upload {
    id: Uuid,
    path: PathBuf,
    lock: File,
    /// What is left when this is dropped.
    keep: bool,
}

impl Upload {
    /// A new, empty one, which is gone unless it is finished.
    pub(crate) fn new(uploads: &Path) -> Result<Upload, Error> {
        let id = Uuid::new_v4();
        let path = uploads.join(format!("{id}.{UNFINISHED}"));
        let failed = |source| Error::File { what: format!("make {}", path.display()), source };
        DirBuilder::new().mode(0o700).create(&path).map_err(failed)?;
        let lock = lock(&path).map_err(failed)?;
        Ok(Upload { id, path, lock, keep: false })
    }

    /// One that was finished before.
    pub(crate) fn claim(uploads: &Path, id: &str) -> Result<Upload, Error> {
        let gone = || {
            Error::Precondition(format!("there is no upload {id}: uploads are kept for a day; upload again"))
        };
        let id = id.parse::<Uuid>().map_err(|_| {
            Error::Invalid(
                "field `source.upload`: it is not the id of an upload; give what UploadSource answered"
                    .to_owned(),
            )
        })?;
        let path = uploads.join(id.to_string());
        match lock(&path) {
            Ok(lock) => Ok(Upload { id, path, lock, keep: true }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(gone()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Error::Precondition(format!(
                "upload {id} is being used by another call; wait for that one"
            ))),
            Err(source) => Err(Error::File { what: format!("open {}", path.display()), source }),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// All of it is there: it is kept under the id that this gives, through a power cut too.
    pub(crate) fn finish(mut self, uploads: &Path) -> Result<String, Error> {
        let path = uploads.join(self.id.to_string());
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
            last_modification: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        };
        futimens(&self.lock, &times)
            .and_then(|()| syncfs(&self.lock))
            .map_err(io::Error::from)
            .and_then(|()| fs::rename(&self.path, &path))
            .map_err(|source| Error::File { what: format!("finish {}", path.display()), source })?;
        self.path = path;
        sync_directory(uploads)?;
        self.keep = true;
        Ok(self.id.to_string())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            tracing::warn!(target: "distribution-manager", path = %self.path.display(), %error, "an upload stays behind");
        }
    }
}

/// Opens the directory and holds it alone.
fn lock(path: &Path) -> io::Result<File> {
    let directory = File::open(path)?;
    flock(&directory, FlockOperation::NonBlockingLockExclusive)?;
    Ok(directory)
}
