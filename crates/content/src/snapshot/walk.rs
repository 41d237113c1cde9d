//! Finding what a source directory holds, and refusing what cannot be distributed.

use std::{
    collections::HashSet,
    fs::Metadata,
    io,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
};

use super::{Others, SnapshotError, Unreadable};
use crate::{
    case::{CaseClashes, clash},
    limits::Limits,
    path::{check_link, check_path},
};

/// An entry as it was found.
pub(super) struct Found {
    pub(super) path: String,
    pub(super) kind: FoundKind,
}

pub(super) enum FoundKind {
    File(Metadata),
    Directory(Metadata),
    Link(String),
}

/// The source itself and everything in it, in the order of a manifest, but for what cannot be read.
pub(super) struct Walked {
    pub(super) top: Metadata,
    pub(super) found: Vec<Found>,
    /// Names differ only in case.
    pub(super) case_sensitive: bool,
    pub(super) unreadable: Unreadable,
}

pub(super) fn walk(source: &Path, case_clashes: CaseClashes) -> Result<Walked, SnapshotError> {
    let limits = Limits::default();
    let top = match source.metadata() {
        Ok(metadata) if metadata.is_dir() => metadata,
        Ok(_) => return Err(SnapshotError::SourceNotADirectory { source_dir: source.to_owned() }),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Err(SnapshotError::SourceMissing { source_dir: source.to_owned() });
        }
        Err(reason) => return Err(unreadable_at(source, reason)),
    };
    let mut found = Vec::new();
    let mut unreadable = Unreadable::default();
    let mut content = 0u64;
    for entry in walkdir::WalkDir::new(source).min_depth(1).follow_links(false) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                unreadable.add(error.path().unwrap_or(source).to_owned(), error.into());
                continue;
            }
        };
        if found.len() >= limits.entries_max as usize {
            return Err(SnapshotError::TooMany { source_dir: source.to_owned(), max: limits.entries_max });
        }
        let one = look_at(source, &entry)?;
        if let FoundKind::File(metadata) = &one.kind {
            content = content.saturating_add(metadata.len());
        }
        found.push(one);
    }
    if found.is_empty() && unreadable.is_empty() {
        return Err(SnapshotError::SourceEmpty { source_dir: source.to_owned() });
    }
    if content > limits.content_length_max {
        return Err(SnapshotError::TooLarge {
            source_dir: source.to_owned(),
            max: limits.content_length_max,
        });
    }
    found.sort_unstable_by(|one, other| one.path.cmp(&other.path));
    check_links(source, &found)?;
    let case_sensitive = check_case(source, &found, case_clashes)?;
    Ok(Walked { top, found, case_sensitive, unreadable })
}

fn unreadable_at(path: &Path, reason: io::Error) -> SnapshotError {
    SnapshotError::Unreadable { path: path.to_owned(), reason, others: Others::default() }
}

fn look_at(source: &Path, entry: &walkdir::DirEntry) -> Result<Found, SnapshotError> {
    let full = entry.path();
    let unreadable = |reason| unreadable_at(full, reason);
    let named = || SnapshotError::Name { path: full.to_owned() };
    let path = full.strip_prefix(source).ok().and_then(Path::to_str).ok_or_else(named)?;
    check_path(path).map_err(|_| named())?;
    let metadata = entry.metadata().map_err(|error| unreadable(error.into()))?;
    let kind = metadata.file_type();
    let special = |kind| Err(SnapshotError::Special { path: full.to_owned(), kind });
    let kind = match kind {
        _ if kind.is_file() => FoundKind::File(metadata),
        _ if kind.is_dir() => FoundKind::Directory(metadata),
        _ if kind.is_symlink() => {
            let target = full.read_link().map_err(unreadable)?;
            FoundKind::Link(target.into_os_string().into_string().map_err(|_| named())?)
        }
        _ if kind.is_fifo() => return special("named pipe"),
        _ if kind.is_socket() => return special("socket"),
        _ => return special("device"),
    };
    Ok(Found { path: path.to_owned(), kind })
}

fn check_links(source: &Path, found: &[Found]) -> Result<(), SnapshotError> {
    let directories: HashSet<&str> = found
        .iter()
        .filter(|found| matches!(found.kind, FoundKind::Directory(_)))
        .map(|found| found.path.as_str())
        .collect();
    for Found { path, kind } in found {
        if let FoundKind::Link(target) = kind {
            check_link(path, target, |at| directories.contains(at)).map_err(|_| {
                SnapshotError::LinkLeaves { path: source.join(path), target: PathBuf::from(target) }
            })?;
        }
    }
    Ok(())
}

/// Whether names differ only in case.
fn check_case(source: &Path, found: &[Found], case_clashes: CaseClashes) -> Result<bool, SnapshotError> {
    let paths: Vec<&str> = found.iter().map(|found| found.path.as_str()).collect();
    match (clash(&paths), case_clashes) {
        (Some((path, other)), CaseClashes::Refuse) => {
            Err(SnapshotError::CaseClash { path: source.join(path), other: source.join(other) })
        }
        (clash, _) => Ok(clash.is_some()),
    }
}
