//! Files of the tree that a new one takes the place of: what both have is not written again.
//!
//! A file is used if it is known to hold what it should, or is found to by reading it. Where the file system can, the
//! new file shares its blocks, and each can be changed without the other. Elsewhere it gets a second name, but only
//! where nobody else has one, and the old tree is removed as soon as the new one is in its place: two versions never
//! share a file for longer than a switch takes.

use std::{
    collections::HashMap,
    fs::File,
    io,
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use packhorse_domain::Digest;
use rustix::{
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
};

use super::{
    dirs::{Dirs, set_mode},
    has_content,
};
use crate::{
    durable::lock,
    manifest::{EntryKind, Manifest},
    stamps::Stamp,
};

/// The old tree's files by what they should hold.
#[derive(Debug)]
pub(crate) struct OldTree<'a> {
    at: &'a Path,
    /// Each is used once, so that no two files of the new tree are one.
    files: Mutex<HashMap<(Digest, bool), Vec<OldFile<'a>>>>,
    no_clones: AtomicBool,
    no_links: AtomicBool,
}

#[derive(Debug)]
struct OldFile<'a> {
    path: &'a str,
    /// What it looked like when it was last known to hold that.
    known: Option<Stamp>,
}

impl<'a> OldTree<'a> {
    /// `known` are the stamps of the manifest's files that can be believed.
    pub(crate) fn new(at: &'a Path, manifest: &'a Manifest, known: &[Option<Stamp>]) -> Self {
        let mut files: HashMap<(Digest, bool), Vec<OldFile<'a>>> = HashMap::new();
        let mut known = known.iter().copied();
        for entry in &manifest.entries {
            if let EntryKind::File { executable, digest, .. } = &entry.kind {
                let known = known.next().flatten();
                files.entry((*digest, *executable)).or_default().push(OldFile { path: &entry.path, known });
            }
        }
        // They are taken from the end, and asked for in the order of their paths.
        files.values_mut().for_each(|files| files.reverse());
        OldTree {
            at,
            files: Mutex::new(files),
            no_clones: AtomicBool::new(false),
            no_links: AtomicBool::new(false),
        }
    }

    pub(super) fn dirs(&self) -> Option<Dirs<'a>> {
        Dirs::open(self.at).ok()
    }

    /// Makes `name` in `into` from a file that holds the content. The file as it is then; `None` if there is none that
    /// can be used, and nothing was made.
    pub(super) fn reuse(
        &self,
        dirs: &mut Dirs<'_>,
        (digest, executable): (&Digest, bool),
        (into, name): (&OwnedFd, &str),
    ) -> Option<Stamp> {
        loop {
            let old = lock(&self.files).get_mut(&(*digest, executable))?.pop()?;
            if let Some(made) = self.try_one(dirs, &old, (digest, executable), (into, name)) {
                return Some(made);
            }
        }
    }

    fn try_one(
        &self,
        dirs: &mut Dirs<'_>,
        old: &OldFile<'_>,
        (digest, executable): (&Digest, bool),
        (into, name): (&OwnedFd, &str),
    ) -> Option<Stamp> {
        let (parent, old_name) = dirs.holding(old.path).ok()?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(parent, old_name, flags, Mode::empty()).ok()?);
        let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
        let before = Stamp::of(&metadata);
        if old.known != Some(before) && !has_content(&file, before.length, digest).ok()? {
            return None;
        }
        let mode = if executable { 0o755 } else { 0o644 };
        if !self.no_clones.load(Ordering::Relaxed) {
            match clone(&file, into, name, mode) {
                // What was changed meanwhile may have been changed before the blocks were shared.
                Ok(made) if Stamp::of(&file.metadata().ok()?) == before => return Some(made),
                Ok(_) => {
                    let _ = rustix::fs::unlinkat(into, name, AtFlags::empty());
                    return None;
                }
                Err(_) => self.no_clones.store(true, Ordering::Relaxed),
            }
        }
        let is_ours = metadata.nlink() == 1
            && metadata.mode() & 0o7777 == mode
            && metadata.uid() == rustix::process::geteuid().as_raw();
        if !is_ours || self.no_links.load(Ordering::Relaxed) {
            return None;
        }
        match rustix::fs::linkat(parent, old_name, into, name, AtFlags::empty()) {
            Ok(()) => {}
            Err(error) => {
                let never = [Errno::PERM, Errno::OPNOTSUPP, Errno::NOSYS, Errno::XDEV].contains(&error);
                self.no_links.fetch_or(never, Ordering::Relaxed);
                return None;
            }
        }
        // It is the file that was looked at, and nobody changed it but by the name that it now has.
        let after = Stamp::of(&file.metadata().ok()?);
        let linked = rustix::fs::statat(into, name, AtFlags::SYMLINK_NOFOLLOW).ok();
        if linked.is_some_and(|stat| stat.st_ino == after.inode) && after.is_but_renamed(&before) {
            return Some(after);
        }
        let _ = rustix::fs::unlinkat(into, name, AtFlags::empty());
        None
    }
}

/// A new file that shares the old one's blocks.
fn clone(old: &File, into: &OwnedFd, name: &str, mode: u32) -> io::Result<Stamp> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = File::from(rustix::fs::openat(into, name, flags, Mode::from_raw_mode(mode))?);
    let cloned = rustix::fs::ioctl_ficlone(&made, old).and_then(|()| set_mode(&made, mode));
    let metadata = cloned.map_err(io::Error::from).and_then(|()| made.metadata());
    if metadata.is_err() {
        let _ = rustix::fs::unlinkat(into, name, AtFlags::empty());
    }
    metadata.map(|metadata| Stamp::of(&metadata))
}
