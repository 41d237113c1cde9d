//! Small files that must not tear, get lost or be read by others.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

/// No key, certificate or token comes near this.
pub(crate) const FILE_BYTES_MAX: u64 = 64 * 1024;
pub(crate) const PRIVATE: u32 = 0o600;
pub(crate) const PUBLIC: u32 = 0o644;

/// A file with a private key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error("cannot read the key file {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "the key file {path} has the mode {mode:04o}, so others can read it: run `chmod 600 {path}`, \
         or make a new key if it may have been read"
    )]
    Exposed { path: PathBuf, mode: u32 },
    #[error("the key file {path} does not hold a private key in PEM (PKCS#8)")]
    Malformed { path: PathBuf },
    #[error("there is already a key in {path}: it is never overwritten")]
    Exists { path: PathBuf },
    #[error("cannot write the key file {path}")]
    Write { path: PathBuf, source: io::Error },
}

/// Writes a file that must not be there yet. It appears whole or not at all, and stays after a power cut.
pub(crate) fn create(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let file = written(path, content, mode)?;
    file.persist_noclobber(path).map_err(|refused| refused.error)?;
    sync_directory(parent_of(path))
}

/// Writes a file, over an older one if there is one. Readers see the old or the new, whole.
pub(crate) fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let file = written(path, content, mode)?;
    file.persist(path).map_err(|refused| refused.error)?;
    sync_directory(parent_of(path))
}

/// Makes a directory that only its owner can enter, with those above it, unless it is there.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = parent_of(path);
    // The working directory can be gone: it has no parent to begin with.
    if parent != path {
        make_directory(parent)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => sync_directory(parent),
        // Another thread was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    read_limited(&File::open(path)?)
}

pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read(path)?).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8 text"))
}

/// Reads a private key, only if nobody else can. The mode is that of the opened file, so that it cannot be
/// exchanged in between.
pub(crate) fn read_key(path: &Path) -> Result<Zeroizing<String>, KeyFileError> {
    let failed = |source| KeyFileError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Exposed { path: path.to_owned(), mode });
    }
    let bytes = Zeroizing::new(read_limited(&file).map_err(failed)?);
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(KeyFileError::Malformed { path: path.to_owned() }),
    }
}

pub(crate) fn create_key(path: &Path, pem: &str) -> Result<(), KeyFileError> {
    create(path, pem.as_bytes(), PRIVATE).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => KeyFileError::Exists { path: path.to_owned() },
        _ => KeyFileError::Write { path: path.to_owned(), source },
    })
}

fn written(path: &Path, content: &[u8], mode: u32) -> io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::Builder::new()
        .prefix(".new-")
        .permissions(fs::Permissions::from_mode(mode))
        .tempfile_in(parent_of(path))?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    Ok(file)
}

fn read_limited(file: &File) -> io::Result<Vec<u8>> {
    // One allocation of the full size: a buffer that grows would leave copies of a key behind.
    let mut content = Vec::with_capacity(usize::try_from(FILE_BYTES_MAX).unwrap_or(0) + 1);
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut content)?;
    if content.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "more than 64 KiB"));
    }
    Ok(content)
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
