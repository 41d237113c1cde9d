//! Small files that survive a power cut whole: the old content or the new one, never a mixture.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

/// What marks a file whose writing was not finished.
const UNFINISHED: &str = ".unfinished-";

#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {}", path.display())]
pub struct DurableError {
    pub operation: &'static str,
    pub path: PathBuf,
    #[source]
    pub source: io::Error,
}

/// Puts `bytes` at `path` with exactly the permissions `mode`. Once this returns, they are on disk.
pub fn write_file_durable(path: &Path, bytes: &[u8], mode: u32) -> Result<(), DurableError> {
    let (mut file, unfinished) = create_beside(path, mode)?;
    let written = fill(&mut file, bytes, mode)
        .map_err(failed("write", &unfinished))
        .and_then(|()| fs::rename(&unfinished, path).map_err(failed("replace", path)));
    if let Err(error) = written {
        // The error that matters is the first; what stays behind is removed at the next start.
        let _ = fs::remove_file(&unfinished);
        return Err(error);
    }
    sync_directory(parent(path))
}

/// Removes the file, if it is there. Once this returns, it stays away.
pub fn remove_file_durable(path: &Path) -> Result<(), DurableError> {
    match fs::remove_file(path) {
        Ok(()) => sync_directory(parent(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("remove", path)(error)),
    }
}

/// Makes what was renamed, created or removed in this directory last.
pub fn sync_directory(directory: &Path) -> Result<(), DurableError> {
    File::open(directory).and_then(|file| file.sync_all()).map_err(failed("sync directory", directory))
}

/// Removes what a crash left of files being written in this directory. Call it before anything writes there.
pub fn remove_unfinished(directory: &Path) -> Result<usize, DurableError> {
    let mut removed = 0;
    for entry in fs::read_dir(directory).map_err(failed("list", directory))? {
        let path = entry.map_err(failed("list", directory))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with('.') && name.contains(UNFINISHED) {
            fs::remove_file(&path).map_err(failed("remove", &path))?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn create_beside(path: &Path, mode: u32) -> Result<(File, PathBuf), DurableError> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let Some(name) = path.file_name() else {
        return Err(failed("write", path)(io::Error::from(io::ErrorKind::InvalidInput)));
    };
    loop {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let unfinished =
            parent(path).join(format!(".{}{UNFINISHED}{}-{number}", name.to_string_lossy(), process::id()));
        match OpenOptions::new().write(true).create_new(true).mode(mode).open(&unfinished) {
            Ok(file) => return Ok((file, unfinished)),
            // Left behind by a process that had this id before.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed("create", &unfinished)(error)),
        }
    }
}

fn fill(file: &mut File, bytes: &[u8], mode: u32) -> io::Result<()> {
    // The mode given at creation was cut by the umask.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DurableError {
    move |source| DurableError { operation, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_whole_with_the_permissions_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pem");
        fs::write(&path, "old and longer").unwrap();

        write_file_durable(&path, b"new", 0o600).unwrap();

        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(names(dir.path()), ["key.pem"]);
    }

    #[test]
    fn a_write_that_fails_says_what_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("taken");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("something"), "").unwrap();

        let error = write_file_durable(&path, b"new", 0o600).unwrap_err();

        assert_eq!(error.to_string(), format!("cannot replace {}", path.display()));
        assert_eq!(names(dir.path()), ["taken"]);
    }

    #[test]
    fn what_a_crash_left_is_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        write_file_durable(&path, b"kept", 0o644).unwrap();
        fs::write(dir.path().join(".state.unfinished-12-0"), "half").unwrap();

        let removed = remove_unfinished(dir.path()).unwrap();

        assert_eq!(removed, 1);
        assert_eq!(names(dir.path()), ["state"]);
    }

    #[test]
    fn removing_what_is_not_there_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        write_file_durable(&path, b"x", 0o644).unwrap();

        remove_file_durable(&path).unwrap();
        remove_file_durable(&path).unwrap();

        assert!(!path.exists());
    }
}
