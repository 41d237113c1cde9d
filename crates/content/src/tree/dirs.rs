//! Going through a tree by open directories, never through a link.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

use super::TreeError;

/// A tree, with the directories on the way to the last place open.
#[derive(Debug)]
pub(super) struct Dirs<'a> {
    pub(super) root: &'a Path,
    top: OwnedFd,
    open: Vec<(String, OwnedFd)>,
    /// Whether directories on the way are made.
    makes: bool,
}

impl<'a> Dirs<'a> {
    pub(super) fn open(root: &'a Path) -> Result<Self, TreeError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let top = rustix::fs::open(root, flags, Mode::empty()).map_err(TreeError::io("open", root))?;
        Ok(Dirs { root, top, open: Vec::new(), makes: false })
    }

    /// The same, and directories that are not there are made.
    pub(super) fn making(root: &'a Path) -> Result<Self, TreeError> {
        Ok(Dirs { makes: true, ..Self::open(root)? })
    }

    pub(super) fn top(&self) -> &OwnedFd {
        &self.top
    }

    pub(super) fn into_top(self) -> OwnedFd {
        self.top
    }

    /// The directory that holds `path`, and the name there. Directories that are open on the way are used.
    pub(super) fn holding<'p>(&mut self, path: &'p str) -> Result<(&OwnedFd, &'p str), TreeError> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        self.enter(parent)?;
        Ok((self.last(), name))
    }

    fn last(&self) -> &OwnedFd {
        self.open.last().map_or(&self.top, |(_, fd)| fd)
    }

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
            let mut opened = open_directory(self.last(), component);
            if self.makes && matches!(opened, Err(Errno::NOENT)) {
                opened = match make_directory(self.last(), component) {
                    // Another thread may just have made it.
                    Err(Errno::EXIST) => open_directory(self.last(), component),
                    made => made,
                };
            }
            let opened = opened.map_err(TreeError::io("open", &self.root.join(path)))?;
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

/// Makes a directory that others may read, whatever rights the process takes from new ones.
pub(super) fn make_directory(parent: impl AsFd, name: &str) -> rustix::io::Result<OwnedFd> {
    rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
    let made = open_directory(parent, name)?;
    set_mode(&made, 0o755)?;
    Ok(made)
}

pub(super) fn set_mode(fd: impl AsFd, mode: u32) -> rustix::io::Result<()> {
    rustix::fs::fchmod(fd, Mode::from_raw_mode(mode))
}
