//! A distribution point's directory: each package under its name, always one whole version.
//!
//! `<root>/<name>` is a link to `.packhorse/<name>/<digest>`, or `<digest>.<number>` where a tree that was altered by
//! hand has been laid out again. A version is switched to by renaming a link, so that a reader sees the old one or
//! the new one; the old one is removed afterwards. Files that both have are taken over. In `.packhorse/.staging` lies
//! what is being made of versions that are still coming in.

use std::{
    borrow::Cow,
    fs::DirBuilder,
    io,
    os::unix::fs::{DirBuilderExt, symlink},
    path::{Path, PathBuf},
};

use packhorse_domain::{Digest, settled::Clocks};

use crate::{
    library::Library,
    manifest::Manifest,
    stamps::{Stamps, clocks},
    tree::{From, OldTree, Staged, Staging, TreeError, compare, lay_out_from, sync_directory},
};

mod watch;

use watch::Watch;

const STORE: &str = ".packhorse";
/// No package has a name that begins with a dot.
const STAGING: &str = ".staging";
const PART: &str = "part";
const LINK: &str = "link";

/// Where a package is shown.
#[derive(Debug, Clone, Copy)]
pub struct PublishTo<'a> {
    pub root: &'a Path,
    pub name: &'a str,
    /// A file of the caller's, outside the directory: what the files looked like when they were last compared. It is
    /// made anew; without it everything is compared.
    pub record: &'a Path,
    /// What was staged there of a version. Of another version it is no help.
    pub staged: Option<&'a Staged>,
}

/// Begins to stage a version where it will be published.
pub fn stage(root: &Path, name: &str) -> Result<Staging, TreeError> {
    let place = Place::of(root, name)?;
    let all = root.join(STORE).join(STAGING);
    make_directory(&root.join(STORE))?;
    make_directory(&all)?;
    Staging::new(&all, place.name)
}

/// Removes what is staged at a distribution point: nobody who stages may be at work there.
pub fn forget_staged(root: &Path) -> Result<(), TreeError> {
    match root.join(STORE).symlink_metadata() {
        Ok(store) if store.is_dir() => remove_tree(&root.join(STORE).join(STAGING)),
        _ => Ok(()),
    }
}

/// How closely what is there already is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Files whose number, length, mode or times are not as they were are read.
    AtWhatWasTouched,
    /// All files are read.
    AtEverything,
}

/// How a package came to be shown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Published {
    /// What somebody had altered by hand, sorted: it is right again.
    pub altered: Vec<String>,
    /// Files that were taken over from the tree before.
    pub files_reused: u64,
    /// Files that were there and were read to compare them.
    pub files_read: u64,
}

/// When all files of the package were last compared with what they should hold, in microseconds since 1970.
pub fn last_compared(record: &Path) -> Option<i64> {
    Stamps::load(record).map(|stamps| stamps.compared_at)
}

/// Makes `<root>/<name>` the version. If it is already, its files are checked, and those that were altered are made anew.
/// Safe to repeat after a crash at any point.
pub fn publish(
    library: &Library,
    manifest_digest: &Digest,
    manifest: &Manifest,
    to: PublishTo<'_>,
    look: Look,
) -> Result<Published, TreeError> {
    publish_at(clocks(), library, (manifest_digest, manifest), to, look)
}

fn publish_at(
    now: Option<Clocks>,
    library: &Library,
    (manifest_digest, manifest): (&Digest, &Manifest),
    to: PublishTo<'_>,
    look: Look,
) -> Result<Published, TreeError> {
    if manifest.digest() != *manifest_digest {
        return Err(TreeError::WrongManifest { manifest: *manifest_digest });
    }
    let place = Place::of(to.root, to.name)?;
    let current = place.current()?;
    place.make_store()?;
    let watch = Watch::begin(to, *manifest_digest, now);
    let mut published = Published::default();
    let at = current.as_ref().map(|current| place.store.join(current));
    let shown = current.as_deref().and_then(digest_in).filter(|_| at.is_some());
    // The version that is shown, and what is known of its files.
    let mut before = None;
    if let Some(at) = &at
        && shown == Some(*manifest_digest)
    {
        let compared = compare(manifest, at, &watch.unread(manifest, look))?;
        published.files_read = compared.read;
        if compared.different.is_empty() {
            if !watch.is_of(manifest_digest) {
                // Whoever made it may not have come to this.
                place.sync_store()?;
                sync_directory(to.root)?;
            }
            place.remove_all_but(current.as_deref())?;
            watch.save(compared.stamps, look);
            return Ok(published);
        }
        published.altered = compared.different;
        before = Some(Cow::Borrowed(manifest));
    } else if let Some(shown) = &shown {
        // One that is gone or damaged is no help; its files are not used.
        before = library.manifest(shown).ok().flatten().map(Cow::Owned);
    } else if watch.is_of(manifest_digest) {
        published.altered = vec![to.name.to_owned()];
    }
    let old = match (&at, &before, &shown) {
        (Some(at), Some(before), Some(shown)) => Some(OldTree::new(at, before, &watch.sure(shown, at))),
        _ => None,
    };
    let part = place.store.join(PART);
    remove_tree(&part)?;
    // Who stages does not see whether the file system tells all names apart.
    let staged = to.staged.filter(|staged| staged.target() == manifest_digest && !manifest.case_sensitive);
    let laid = lay_out_from(library, manifest, &part, From { old: old.as_ref(), staged })?;
    published.files_reused = laid.reused;
    let version = place.free_name(manifest_digest);
    let path = place.store.join(&version);
    std::fs::rename(&part, &path).map_err(TreeError::io("rename to", &path))?;
    place.sync_store()?;
    watch.forget();
    place.switch_to(&version)?;
    place.remove_all_but(Some(&version))?;
    watch.save(laid.stamps_at(manifest, &path), Look::AtEverything);
    Ok(published)
}

/// The version that a name in the store is of.
fn digest_in(name: &str) -> Option<Digest> {
    name.get(..64)?.parse().ok()
}

/// Takes the package away. What Packhorse did not put there stays.
pub fn withdraw(root: &Path, name: &str) -> Result<(), TreeError> {
    let place = Place::of(root, name)?;
    match place.current() {
        Err(TreeError::Occupied { .. }) => {}
        // Whoever removed it may not have come to the sync.
        Ok(None) => sync_directory(root)?,
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
        for path in [&top, &self.store] {
            make_directory(path)?;
        }
        Ok(())
    }

    /// What leads to a version, but for the link that shows it. Who made it may have been killed before it was synced.
    fn sync_store(&self) -> Result<(), TreeError> {
        sync_directory(&self.store)?;
        sync_directory(&self.root.join(STORE))
    }

    fn check_store(&self) -> Result<(), TreeError> {
        check_directory(&self.root.join(STORE))?;
        check_directory(&self.store)
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

/// Makes a directory of our own unless it is there.
fn make_directory(path: &Path) -> Result<(), TreeError> {
    match DirBuilder::new().mode(0o755).create(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => check_directory(path),
        Err(error) => Err(TreeError::io("make the directory", path)(error)),
    }
}

/// A link in place of a directory would have us write and remove elsewhere.
fn check_directory(path: &Path) -> Result<(), TreeError> {
    match path.symlink_metadata().map_err(TreeError::io("read", path))?.is_dir() {
        true => Ok(()),
        false => Err(TreeError::Occupied { path: path.to_owned() }),
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

#[cfg(test)]
#[path = "publish/again_tests.rs"]
mod again_tests;

#[cfg(test)]
#[path = "publish/staged_tests.rs"]
mod staged_tests;
