//! A version as files on a disk: laying it out, and checking it afterwards.
//!
//! Every step goes through an open directory and never through a link, so that nothing that somebody puts in the way
//! leads outside the tree.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use packhorse_domain::Digest;
use rustix::{fs::OFlags, io::Errno};

use crate::{
    error::LibraryError,
    library::Library,
    limits::Limits,
    manifest::{EntryKind, Manifest, ManifestError},
    sparse::Sparse,
    stamps::Stamp,
};

mod dirs;
mod early;
mod fill;
mod old;
mod staging;

pub(crate) use dirs::open_directory;
use dirs::{Dirs, set_mode};
use fill::fill;
pub(crate) use old::OldTree;
pub use staging::{Staged, Staging};

/// Up to this many entries are synced one by one; more are synced with their whole filesystem at once.
const SYNCED_SINGLY: usize = 64;

#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    #[error("the manifest is refused")]
    Manifest(#[source] ManifestError),
    #[error("{} is there already", path.display())]
    Exists { path: PathBuf },
    #[error("the directory {} does not exist: check that the share is mounted", root.display())]
    RootMissing { root: PathBuf },
    #[error("{} was not put there by Packhorse: move it away", path.display())]
    Occupied { path: PathBuf },
    #[error("`{name}` cannot be the name of a published package")]
    Name { name: String },
    #[error("manifest {manifest} is not the one named")]
    WrongManifest { manifest: Digest },
    #[error("the library's content for {path:?} is not what the manifest says")]
    Content { path: String },
    #[error("cannot {operation} {}", path.display())]
    Io {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "{} is there already under a name that its file system takes for the same: lay the package out on one that tells \
         case apart",
        path.display()
    )]
    NotToldApart { path: PathBuf },
    #[error("the content library failed")]
    Library(#[source] LibraryError),
}

impl TreeError {
    pub(crate) fn io<E: Into<io::Error>>(
        operation: &'static str,
        path: &Path,
    ) -> impl FnOnce(E) -> TreeError {
        move |source| TreeError::Io { operation, path: path.to_owned(), source: source.into() }
    }

    /// Nobody else makes anything in a tree that is being laid out, and each path is made once: what is there already
    /// is another of its paths.
    fn making(operation: &'static str, path: &Path) -> impl FnOnce(rustix::io::Errno) -> TreeError {
        move |errno| match errno {
            rustix::io::Errno::EXIST => TreeError::NotToldApart { path: path.to_owned() },
            _ => TreeError::io(operation, path)(errno),
        }
    }
}

/// Lays a version out as a new directory `into`, each byte checked, and durable when this returns. What was made is
/// removed again if it fails.
pub fn lay_out(library: &Library, manifest: &Manifest, into: &Path) -> Result<(), TreeError> {
    lay_out_from(library, manifest, into, From::default()).map(|_| ())
}

/// What a version is made from beside the library.
#[derive(Clone, Copy, Default)]
pub(crate) struct From<'a, 'o> {
    /// Files are taken over from there.
    pub(crate) old: Option<&'a OldTree<'o>>,
    /// It becomes the tree, as far as it goes.
    pub(crate) staged: Option<&'a Staged>,
}

/// What was made of a version.
#[derive(Debug)]
pub(crate) struct Laid {
    /// The files in the manifest's order, as they were when they were written.
    pub(crate) stamps: Vec<Stamp>,
    /// How many were taken over from the old tree.
    pub(crate) reused: u64,
}

impl Laid {
    /// The files as they are in `at`, where the tree has been moved to, and what it was made from was removed. `None` for
    /// what somebody touched meanwhile.
    pub(crate) fn stamps_at(self, manifest: &Manifest, at: &Path) -> Vec<Option<Stamp>> {
        // A file that was written has not changed since; one that was taken over has had two names for a while.
        if self.reused == 0 {
            return self.stamps.into_iter().map(Some).collect();
        }
        let files = manifest.entries.iter().filter(|entry| matches!(entry.kind, EntryKind::File { .. }));
        files
            .zip(self.stamps)
            .map(|(entry, made)| {
                let stamp = Stamp::of(&at.join(&entry.path).symlink_metadata().ok()?);
                stamp.is_but_renamed(&made).then_some(stamp)
            })
            .collect()
    }
}

/// As `lay_out`, from more than the library.
pub(crate) fn lay_out_from(
    library: &Library,
    manifest: &Manifest,
    into: &Path,
    from: From<'_, '_>,
) -> Result<Laid, TreeError> {
    manifest.check(&Limits::default()).map_err(TreeError::Manifest)?;
    // Where what was staged is gone, all is made.
    let from = From { staged: from.staged.filter(|staged| staged.move_to(into).is_ok()), ..from };
    if from.staged.is_none() {
        match std::fs::create_dir(into) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(TreeError::Exists { path: into.to_owned() });
            }
            Err(error) => return Err(TreeError::io("make the directory", into)(error)),
        }
    }
    let laid = make(library, manifest, into, from);
    if laid.is_err() {
        // The reason is what counts; what cannot be removed here is removed by the next attempt or by hand.
        let _ = std::fs::remove_dir_all(into);
    }
    laid
}

fn make(library: &Library, manifest: &Manifest, into: &Path, from: From<'_, '_>) -> Result<Laid, TreeError> {
    let dirs = Dirs::open(into)?;
    set_mode(dirs.top(), 0o755).map_err(TreeError::io("set the mode of", into))?;
    let laid = fill(library, manifest, into, from)?;
    let top = from.staged.map_or(dirs.top(), Staged::top);
    let is_long = manifest.entries.len() > SYNCED_SINGLY;
    let synced = if is_long { rustix::fs::syncfs(top) } else { Err(Errno::NOSYS) };
    match synced {
        Ok(()) => {}
        Err(error) if is_unsupported(error) => sync_singly(into)?,
        Err(error) => return Err(TreeError::io("sync", into)(error)),
    }
    let parent = into.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sync_directory(parent)?;
    Ok(laid)
}

/// The paths at which the directory differs from the manifest, sorted: changed, missing and surplus ones.
pub fn check(manifest: &Manifest, at: &Path) -> Result<Vec<String>, TreeError> {
    compare(manifest, at, &HashMap::new()).map(|compared| compared.different)
}

/// What a comparison found.
#[derive(Debug)]
pub(crate) struct Compared {
    /// The paths that differ, sorted.
    pub(crate) different: Vec<String>,
    /// The manifest's files in its order, where they are as they should be.
    pub(crate) stamps: Vec<Option<Stamp>>,
    /// How many files were read.
    pub(crate) read: u64,
}

/// As `check`; a file that is as it is known to have been when it held what it should is not read.
pub(crate) fn compare(
    manifest: &Manifest,
    at: &Path,
    known: &HashMap<&str, Stamp>,
) -> Result<Compared, TreeError> {
    let mut expected: HashMap<&str, &EntryKind> =
        manifest.entries.iter().map(|entry| (entry.path.as_str(), &entry.kind)).collect();
    let mut compared = Compared { different: Vec::new(), stamps: Vec::new(), read: 0 };
    let mut stamps = HashMap::new();
    if at.is_dir() {
        for entry in walkdir::WalkDir::new(at).min_depth(1).follow_links(false) {
            let entry = match entry {
                Ok(entry) => entry,
                // What cannot be read is not as it was laid out.
                Err(error) if error.path().is_some_and(|path| path != at) => {
                    let path = error.path().and_then(|path| path.strip_prefix(at).ok());
                    compared.different.extend(path.map(|path| path.to_string_lossy().into_owned()));
                    continue;
                }
                Err(error) => return Err(TreeError::io("read", at)(error)),
            };
            let relative = entry.path().strip_prefix(at).unwrap_or(entry.path());
            let found = relative.to_str().and_then(|path| expected.remove_entry(path));
            let known = found.and_then(|(path, _)| known.get(path));
            match found.and_then(|(path, kind)| Some((path, look(entry.path(), kind, known).ok()??))) {
                Some((path, Looked::File { stamp, read })) => {
                    compared.read += u64::from(read);
                    stamps.insert(path, stamp);
                }
                Some((_, Looked::Other)) => {}
                None => compared.different.push(relative.to_string_lossy().into_owned()),
            }
        }
    }
    compared.different.extend(expected.into_keys().map(str::to_owned));
    compared.different.sort_unstable();
    compared.different.dedup();
    let files = manifest.entries.iter().filter(|entry| matches!(entry.kind, EntryKind::File { .. }));
    compared.stamps = files.map(|entry| stamps.remove(entry.path.as_str())).collect();
    Ok(compared)
}

/// Not every file system can be synced as a whole.
fn is_unsupported(error: Errno) -> bool {
    [Errno::NOSYS, Errno::INVAL, Errno::OPNOTSUPP].contains(&error)
}

fn sync_singly(at: &Path) -> Result<(), TreeError> {
    for entry in walkdir::WalkDir::new(at).follow_links(false).contents_first(true) {
        let entry = entry.map_err(TreeError::io("read", at))?;
        if !entry.file_type().is_symlink() {
            sync_directory(entry.path())?;
        }
    }
    Ok(())
}

/// Syncs a directory or a file by its path.
pub(crate) fn sync_directory(path: &Path) -> Result<(), TreeError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(TreeError::io("sync", path))
}

/// An entry that is as it should be.
enum Looked {
    File { stamp: Stamp, read: bool },
    Other,
}

fn look(path: &Path, kind: &EntryKind, known: Option<&Stamp>) -> io::Result<Option<Looked>> {
    let metadata = path.symlink_metadata()?;
    let is_as_expected = match kind {
        EntryKind::Directory => metadata.is_dir(),
        EntryKind::Symlink { target } => {
            metadata.is_symlink() && path.read_link()?.as_os_str() == target.as_str()
        }
        EntryKind::File { executable, length, digest, .. } => {
            let is_executable = metadata.permissions().mode() & 0o111 != 0;
            if !metadata.is_file() || metadata.len() != *length || is_executable != *executable {
                return Ok(None);
            }
            let stamp = Stamp::of(&metadata);
            if known == Some(&stamp) {
                return Ok(Some(Looked::File { stamp, read: false }));
            }
            let file = OpenOptions::new()
                .read(true)
                .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)
                .open(path)?;
            return Ok(has_content(&file, *length, digest)?.then_some(Looked::File { stamp, read: true }));
        }
    };
    Ok(is_as_expected.then_some(Looked::Other))
}

/// Whether the file's content is what the digest names.
fn has_content(file: &File, length: u64, digest: &Digest) -> io::Result<bool> {
    let mut content = Sparse::new(file, length);
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; (length.saturating_add(1)).min(64 * 1024) as usize];
    loop {
        match content.read(&mut buffer)? {
            0 => break Ok(hasher.finalize() == digest.0),
            read => hasher.update(&buffer[..read]),
        };
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
