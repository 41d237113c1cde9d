//! A distribution point's directory: each package under its name, always one whole version.
//!
//! `<root>/<name>` is a link to `.packhorse/<name>/<digest>`, or `<digest>.<number>` where a tree that was altered by
//! hand has been laid out again. A version is switched to by renaming a link, so that a reader sees the old one or
//! the new one; the old one is removed afterwards.

use std::{
    fs::DirBuilder,
    io,
    os::unix::fs::{DirBuilderExt, symlink},
    path::{Path, PathBuf},
};

use packhorse_domain::Digest;

use crate::{
    library::Library,
    manifest::Manifest,
    tree::{TreeError, check, lay_out, sync_directory},
};

const STORE: &str = ".packhorse";
const PART: &str = "part";
const LINK: &str = "link";

/// Makes `<root>/<name>` the version. If it is already, its files are checked, and laid out anew where they were
/// altered. Safe to repeat after a crash at any point.
pub fn publish(
    library: &Library,
    manifest_digest: &Digest,
    manifest: &Manifest,
    root: &Path,
    name: &str,
) -> Result<(), TreeError> {
    if manifest.digest() != *manifest_digest {
        return Err(TreeError::WrongManifest { manifest: *manifest_digest });
    }
    let place = Place::of(root, name)?;
    let current = place.current()?;
    place.make_store()?;
    if let Some(current) = current.filter(|current| current.starts_with(&manifest_digest.to_string()))
        && check(manifest, &place.store.join(&current))?.is_empty()
    {
        return place.remove_all_but(Some(&current));
    }
    let part = place.store.join(PART);
    remove_tree(&part)?;
    lay_out(library, manifest, &part)?;
    let version = place.free_name(manifest_digest);
    let path = place.store.join(&version);
    std::fs::rename(&part, &path).map_err(TreeError::io("rename to", &path))?;
    sync_directory(&place.store)?;
    place.switch_to(&version)?;
    place.remove_all_but(Some(&version))
}

/// Takes the package away. What Packhorse did not put there stays.
pub fn withdraw(root: &Path, name: &str) -> Result<(), TreeError> {
    let place = Place::of(root, name)?;
    match place.current() {
        Ok(None) | Err(TreeError::Occupied { .. }) => {}
        Ok(Some(_)) => {
            std::fs::remove_file(&place.link).map_err(TreeError::io("remove", &place.link))?;
            sync_directory(root)?;
        }
        Err(error) => return Err(error),
    }
    match place.store.symlink_metadata() {
        Ok(_) => {
            place.check_store()?;
            remove_tree(&place.store)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(TreeError::io("read", &place.store)(error)),
    }
}

/// Where a package is published.
struct Place<'a> {
    root: &'a Path,
    name: &'a str,
    /// `<root>/<name>`
    link: PathBuf,
    /// `<root>/.packhorse/<name>`
    store: PathBuf,
}

impl<'a> Place<'a> {
    fn of(root: &'a Path, name: &'a str) -> Result<Self, TreeError> {
        let plain =
            !name.is_empty() && name.len() <= 255 && !name.starts_with('.') && !name.contains(['/', '\0']);
        if !plain {
            return Err(TreeError::Name { name: name.chars().take(80).collect() });
        }
        if !root.is_dir() {
            return Err(TreeError::RootMissing { root: root.to_owned() });
        }
        Ok(Place { root, name, link: root.join(name), store: root.join(STORE).join(name) })
    }

    /// The version that is published: a name in the store. An error if something else is in its place.
    fn current(&self) -> Result<Option<String>, TreeError> {
        let occupied = || TreeError::Occupied { path: self.link.clone() };
        match self.link.read_link() {
            Ok(target) => {
                let version =
                    target.strip_prefix(Path::new(STORE).join(self.name)).ok().and_then(Path::to_str);
                let version = version.filter(|version| !version.is_empty() && !version.contains('/'));
                version.map(|version| Some(version.to_owned())).ok_or_else(occupied)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Err(occupied()),
            Err(error) => Err(TreeError::io("read", &self.link)(error)),
        }
    }

    fn make_store(&self) -> Result<(), TreeError> {
        let top = self.root.join(STORE);
        for (path, within) in [(&top, self.root), (&self.store, top.as_path())] {
            match DirBuilder::new().mode(0o755).create(path) {
                Ok(()) => sync_directory(within)?,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(TreeError::io("make the directory", path)(error)),
            }
        }
        self.check_store()
    }

    /// A link in place of a directory would have us write and remove elsewhere.
    fn check_store(&self) -> Result<(), TreeError> {
        for path in [self.root.join(STORE), self.store.clone()] {
            if !path.symlink_metadata().map_err(TreeError::io("read", &path))?.is_dir() {
                return Err(TreeError::Occupied { path });
            }
        }
        Ok(())
    }

    fn free_name(&self, digest: &Digest) -> String {
        let names =
            std::iter::once(digest.to_string()).chain((1u64..).map(|number| format!("{digest}.{number}")));
        let mut free = names.skip_while(|name| self.store.join(name).symlink_metadata().is_ok());
        free.next().expect("a directory does not hold 2^64 names")
    }

    fn switch_to(&self, version: &str) -> Result<(), TreeError> {
        let next = self.store.join(LINK);
        match std::fs::remove_file(&next) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(TreeError::io("remove", &next)(error)),
        }
        let target = Path::new(STORE).join(self.name).join(version);
        symlink(&target, &next).map_err(TreeError::io("make the link", &next))?;
        std::fs::rename(&next, &self.link).map_err(TreeError::io("rename to", &self.link))?;
        sync_directory(self.root)
    }

    fn remove_all_but(&self, kept: Option<&str>) -> Result<(), TreeError> {
        for entry in self.store.read_dir().map_err(TreeError::io("list", &self.store))? {
            let entry = entry.map_err(TreeError::io("list", &self.store))?;
            if kept.is_none_or(|kept| entry.file_name() != kept) {
                remove_tree(&entry.path())?;
            }
        }
        Ok(())
    }
}

/// Removes a directory with all it holds, or a file or link itself, if it is there.
fn remove_tree(path: &Path) -> Result<(), TreeError> {
    let removed = match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(TreeError::io("remove", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "publish_tests.rs"]
mod tests;
