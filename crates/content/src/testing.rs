//! What the tests of this crate share: sources, libraries and bytes that do not compress.

use std::{
    fs,
    ops::ControlFlow,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use crate::{Library, Progress, Snapshot, snapshot};

/// A library in a directory of its own.
pub(crate) fn library() -> (tempfile::TempDir, Library) {
    let dir = tempfile::tempdir().unwrap();
    let library = Library::open(dir.path()).unwrap();
    (dir, library)
}

/// A directory in memory where there is one, for tests that open hundreds of libraries: there a sync costs nothing.
pub(crate) fn quick_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// Bytes that look random and are the same each time.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

/// A source with every kind of entry: empty, small, large, executable, nested, linked.
pub(crate) fn source(seed: u64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path();
    fs::create_dir_all(top.join("bin/empty")).unwrap();
    fs::write(top.join("bin/run"), format!("#!/bin/sh\necho {seed}\n")).unwrap();
    fs::set_permissions(top.join("bin/run"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(top.join("bin.txt"), b"sorts between bin and bin/").unwrap();
    fs::write(top.join("nothing"), b"").unwrap();
    fs::write(top.join("large"), noise(seed, 700_000)).unwrap();
    symlink("bin/run", top.join("start")).unwrap();
    symlink("../large", top.join("bin/data")).unwrap();
    dir
}

pub(crate) fn take(source: &Path, library: &Library) -> Snapshot {
    snapshot(source, library, &carry_on).unwrap()
}

pub(crate) fn carry_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}
