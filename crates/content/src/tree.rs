//! A version as files on a disk: laying it out, and checking it afterwards.
//!
//! Every step goes through an open directory and never through a link, so that nothing that somebody puts in the way
//! leads outside the tree.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use packhorse_domain::Digest;
use rustix::fs::{Mode, OFlags};

use crate::{
    error::LibraryError,
    library::Library,
    limits::Limits,
    manifest::{ChunkRef, Entry, EntryKind, Manifest, ManifestError},
    reader::ChunkReader,
};

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
}

/// Lays a version out as a new directory `into`, each byte checked, and durable when this returns. What was made is
/// removed again if it fails.
pub fn lay_out(library: &Library, manifest: &Manifest, into: &Path) -> Result<(), TreeError> {
    manifest.check(&Limits::default()).map_err(TreeError::Manifest)?;
    match std::fs::create_dir(into) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(TreeError::Exists { path: into.to_owned() });
        }
        Err(error) => return Err(TreeError::io("make the directory", into)(error)),
    }
    let laid = fill(library, manifest, into);
    if laid.is_err() {
        // The reason is what counts; what cannot be removed here is removed by the next attempt or by hand.
        let _ = std::fs::remove_dir_all(into);
    }
    laid
}

/// The paths at which the directory differs from the manifest, sorted: changed, missing and surplus ones.
pub fn check(manifest: &Manifest, at: &Path) -> Result<Vec<String>, TreeError> {
    let mut expected: HashMap<&str, &EntryKind> =
        manifest.entries.iter().map(|entry| (entry.path.as_str(), &entry.kind)).collect();
    let mut different = Vec::new();
    if at.is_dir() {
        for entry in walkdir::WalkDir::new(at).min_depth(1).follow_links(false) {
            let entry = match entry {
                Ok(entry) => entry,
                // What cannot be read is not as it was laid out.
                Err(error) if error.path().is_some_and(|path| path != at) => {
                    let path = error.path().and_then(|path| path.strip_prefix(at).ok());
                    different.extend(path.map(|path| path.to_string_lossy().into_owned()));
                    continue;
                }
                Err(error) => return Err(TreeError::io("read", at)(error)),
            };
            let relative = entry.path().strip_prefix(at).unwrap_or(entry.path());
            let kind = relative.to_str().and_then(|path| expected.remove(path));
            if !kind.is_some_and(|kind| is_as_expected(entry.path(), kind).unwrap_or(false)) {
                different.push(relative.to_string_lossy().into_owned());
            }
        }
    }
    different.extend(expected.into_keys().map(str::to_owned));
    different.sort_unstable();
    different.dedup();
    Ok(different)
}

fn fill(library: &Library, manifest: &Manifest, into: &Path) -> Result<(), TreeError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = rustix::fs::open(into, flags, Mode::empty()).map_err(TreeError::io("open", into))?;
    set_mode(&top, 0o755).map_err(TreeError::io("set the mode of", into))?;
    let mut layer = Layer { into, top, open: Vec::new(), reader: ChunkReader::new(&library.shared) };
    for entry in &manifest.entries {
        layer.lay(entry)?;
    }
    let top = layer.top;
    let synced = match manifest.entries.len() > SYNCED_SINGLY {
        true => rustix::fs::syncfs(&top).map_err(io::Error::from),
        false => Err(io::ErrorKind::Unsupported.into()),
    };
    match synced {
        Ok(()) => {}
        Err(error) if error.raw_os_error().is_none_or(is_unsupported) => sync_singly(into)?,
        Err(error) => return Err(TreeError::io("sync", into)(error)),
    }
    let parent = into.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sync_directory(parent)
}

fn is_unsupported(code: i32) -> bool {
    use rustix::io::Errno;
    [Errno::NOSYS, Errno::INVAL, Errno::OPNOTSUPP].iter().any(|errno| errno.raw_os_error() == code)
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

fn set_mode(fd: impl AsFd, mode: u32) -> rustix::io::Result<()> {
    rustix::fs::fchmod(fd, Mode::from_raw_mode(mode))
}

/// Lays entries one after the other, with the directories on the way to the last one open.
struct Layer<'a> {
    into: &'a Path,
    top: OwnedFd,
    open: Vec<(String, OwnedFd)>,
    reader: ChunkReader<'a>,
}

impl Layer<'_> {
    fn lay(&mut self, entry: &Entry) -> Result<(), TreeError> {
        let full = self.into.join(&entry.path);
        let (parent, name) = entry.path.rsplit_once('/').unwrap_or(("", &entry.path));
        self.enter(parent)?;
        match &entry.kind {
            EntryKind::Directory => {
                let parent = self.parent();
                rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755))
                    .map_err(TreeError::io("make the directory", &full))?;
                let made = open_directory(parent, name).map_err(TreeError::io("open", &full))?;
                set_mode(made, 0o755).map_err(TreeError::io("set the mode of", &full))
            }
            EntryKind::Symlink { target } => rustix::fs::symlinkat(target.as_str(), self.parent(), name)
                .map_err(TreeError::io("make the link", &full)),
            EntryKind::File { executable, digest, chunks, .. } => {
                let mode = if *executable { 0o755 } else { 0o644 };
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rustix::fs::openat(self.parent(), name, flags, Mode::from_raw_mode(mode))
                    .map_err(TreeError::io("make", &full))?;
                set_mode(&file, mode).map_err(TreeError::io("set the mode of", &full))?;
                if self.write(File::from(file), chunks, &full)? != *digest {
                    return Err(TreeError::Content { path: entry.path.clone() });
                }
                Ok(())
            }
        }
    }

    fn write(&mut self, mut file: File, chunks: &[ChunkRef], full: &Path) -> Result<Digest, TreeError> {
        // A file of one chunk is that chunk, which the reader has checked.
        if let [chunk] = chunks {
            let bytes = self.reader.exactly(chunk).map_err(TreeError::Library)?;
            file.write_all(bytes).map_err(TreeError::io("write", full))?;
            return Ok(chunk.digest);
        }
        let mut hasher = blake3::Hasher::new();
        for chunk in chunks {
            let bytes = self.reader.exactly(chunk).map_err(TreeError::Library)?;
            hasher.update(bytes);
            file.write_all(bytes).map_err(TreeError::io("write", full))?;
        }
        Ok(Digest(*hasher.finalize().as_bytes()))
    }

    fn parent(&self) -> &OwnedFd {
        self.open.last().map_or(&self.top, |(_, fd)| fd)
    }

    /// Opens the directories down to `path`, keeping those that are open on the way.
    fn enter(&mut self, path: &str) -> Result<(), TreeError> {
        let mut components = path.split('/').filter(|component| !component.is_empty());
        let mut depth = 0;
        let mut next = components.next();
        while let (Some((open, _)), Some(component)) = (self.open.get(depth), next) {
            if open != component {
                break;
            }
            depth += 1;
            next = components.next();
        }
        self.open.truncate(depth);
        while let Some(component) = next {
            let opened = open_directory(self.parent(), component);
            let opened = opened.map_err(TreeError::io("open", &self.into.join(path)))?;
            self.open.push((component.to_owned(), opened));
            next = components.next();
        }
        Ok(())
    }
}

pub(crate) fn open_directory(parent: impl AsFd, name: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

fn is_as_expected(path: &Path, kind: &EntryKind) -> io::Result<bool> {
    let metadata = path.symlink_metadata()?;
    match kind {
        EntryKind::Directory => Ok(metadata.is_dir()),
        EntryKind::Symlink { target } => {
            Ok(metadata.is_symlink() && path.read_link()?.as_os_str() == target.as_str())
        }
        EntryKind::File { executable, length, digest, .. } => {
            let is_executable = metadata.permissions().mode() & 0o111 != 0;
            if !metadata.is_file() || metadata.len() != *length || is_executable != *executable {
                return Ok(false);
            }
            let mut file = std::fs::OpenOptions::new()
                .read(true)
                .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)
                .open(path)?;
            let mut hasher = blake3::Hasher::new();
            let mut buffer = [0; 64 * 1024];
            loop {
                match file.read(&mut buffer)? {
                    0 => break Ok(hasher.finalize() == digest.0),
                    read => hasher.update(&buffer[..read]),
                };
            }
        }
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
