//! Opening packs as a crash may have left them: what is whole is kept, what was being written is cut off.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

use packhorse_domain::Digest;

use crate::{
    error::LibraryError,
    index::{Index, Location},
    pack::{BLOCK_HEADER_LENGTH, PACK_HEADER, Pack, decode_block, locations, stored_length},
};

/// Opens all packs of a directory and clears away what was never finished.
pub(crate) fn open_packs(packs: &Path) -> Result<Vec<Pack>, LibraryError> {
    let mut ids = Vec::new();
    for entry in packs.read_dir().map_err(LibraryError::io("list", packs))? {
        let entry = entry.map_err(LibraryError::io("list", packs))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let unfinished = name.starts_with(".part-");
        let orphan = name.strip_suffix(".index").is_some_and(|id| !packs.join(format!("{id}.pack")).exists());
        if unfinished || orphan {
            std::fs::remove_file(entry.path()).map_err(LibraryError::io("remove", &entry.path()))?;
        } else if let Some(id) = name.strip_suffix(".pack").and_then(|id| u64::from_str_radix(id, 16).ok()) {
            ids.push(id);
        }
    }
    ids.sort_unstable();
    let mut opened = Vec::with_capacity(ids.len());
    for id in ids {
        opened.extend(open_pack(packs, id)?);
    }
    Ok(opened)
}

fn open_pack(packs: &Path, id: u64) -> Result<Option<Pack>, LibraryError> {
    let path = Pack::path_of(packs, id);
    let file =
        OpenOptions::new().read(true).write(true).open(&path).map_err(LibraryError::io("open", &path))?;
    let length = file.metadata().map_err(LibraryError::io("open", &path))?.len();
    let index_path = path.with_extension("index");
    let (index, index_damaged) = match File::open(&index_path) {
        Ok(file) => {
            let index = match Index::open(file) {
                Err(error) if is_unreadable(&error) => None,
                index => index.map_err(LibraryError::io("read", &index_path))?,
            };
            let damaged = index.is_none();
            (index, damaged)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => (None, false),
        Err(error) => return Err(LibraryError::io("open", &index_path)(error)),
    };
    if length < PACK_HEADER.len() as u64 && index.is_none() && !index_damaged {
        // The crash came while the pack was made.
        std::fs::remove_file(&path).map_err(LibraryError::io("remove", &path))?;
        return Ok(None);
    }
    check_header(&file, &path)?;
    let pack = Pack::new(id, path, file, index);
    if index_damaged {
        tracing::warn!(pack = %pack.path().display(), "the index of a pack is damaged; it is made anew");
    }
    scan(&pack, length, index_damaged)?;
    Ok(Some(pack))
}

/// A newer program's pack is refused; a header that is damaged otherwise says nothing that the blocks do not.
fn check_header(file: &File, path: &Path) -> Result<(), LibraryError> {
    let mut header = [0; PACK_HEADER.len()];
    match file.read_exact_at(&mut header, 0) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof || is_unreadable(&error) => return Ok(()),
        Err(error) => return Err(LibraryError::io("read", path)(error)),
    }
    if header[..4] == PACK_HEADER[..4] && header[4..6] != PACK_HEADER[4..6] {
        return Err(LibraryError::Format { path: path.to_owned() });
    }
    Ok(())
}

/// Finds the blocks beyond the index, up to the first that is not whole.
fn scan(pack: &Pack, length: u64, index_damaged: bool) -> Result<(), LibraryError> {
    let start = pack.durable();
    let Scanned { found, end: mut at, is_cut_short } = blocks_from(pack, start, length)?;
    if is_cut_short {
        // Blocks that are held may lie there and behind it: nothing is cut off, and the next opening looks again.
        tracing::warn!(pack = %pack.path().display(), offset = at, "a pack cannot be used where no index speaks of it");
        pack.close();
    } else if at < length && index_damaged {
        // Blocks that were durable long ago may lie behind the damage: nothing is cut off. They are found missing
        // and fetched anew, and the next collection drops the pack.
        tracing::warn!(pack = %pack.path().display(), offset = at, "a pack without index is damaged");
        pack.close();
        at = length;
    } else if at < length {
        tracing::info!(pack = %pack.path().display(), offset = at, bytes = length - at, "cut off an unfinished write");
        pack.file().set_len(at).map_err(LibraryError::io("shorten", pack.path()))?;
    } else if start > length {
        tracing::warn!(pack = %pack.path().display(), length, expected = start, "a pack is cut short");
        pack.close();
    }
    if !found.is_empty() || index_damaged {
        // Before an index speaks of them.
        pack.file().sync_data().map_err(LibraryError::io("sync", pack.path()))?;
        pack.publish(found, at.max(start));
        match pack.write_index(&|_| true) {
            // On a full disk it has to be possible to read, and to collect.
            Err(error) if error.is_disk_full() => {
                tracing::warn!(pack = %pack.path().display(), "no room for an index; the next opening looks for blocks again");
            }
            indexed => indexed?,
        }
    }
    Ok(())
}

/// Blocks that follow each other.
struct Scanned {
    found: Vec<(Digest, Location)>,
    end: u64,
    /// What follows cannot be read, or not be written.
    is_cut_short: bool,
}

/// The whole blocks from a place on, written anew: after a sync that failed, what is in memory is not on the disk, and a sync
/// says nothing of it any more.
fn blocks_from(pack: &Pack, start: u64, length: u64) -> Result<Scanned, LibraryError> {
    let mut scanned = Scanned { found: Vec::new(), end: start, is_cut_short: false };
    loop {
        let (mut entries, bytes) = match block_at(pack, scanned.end, length)? {
            Look::Nothing => return Ok(scanned),
            Look::Unreadable => return Ok(Scanned { is_cut_short: true, ..scanned }),
            Look::Whole(entries, bytes) => (entries, bytes),
        };
        match pack.file().write_all_at(&bytes, scanned.end).map_err(LibraryError::io("write", pack.path())) {
            // On some file systems that takes room as well.
            Err(error) if error.is_disk_full() => return Ok(Scanned { is_cut_short: true, ..scanned }),
            written => written?,
        }
        scanned.found.append(&mut entries);
        scanned.end += bytes.len() as u64;
    }
}

/// What is at a place of a pack.
enum Look {
    /// A block's chunks, and its bytes.
    Whole(Vec<(Digest, Location)>, Vec<u8>),
    Unreadable,
    Nothing,
}

fn block_at(pack: &Pack, at: u64, length: u64) -> Result<Look, LibraryError> {
    let Ok(offset) = u32::try_from(at) else { return Ok(Look::Nothing) };
    if at + BLOCK_HEADER_LENGTH as u64 > length {
        return Ok(Look::Nothing);
    }
    let mut header = [0; BLOCK_HEADER_LENGTH];
    if !read_at(pack, &mut header, at)? {
        return Ok(Look::Unreadable);
    }
    let Some(stored) = stored_length(&header).filter(|stored| at + u64::from(*stored) <= length) else {
        return Ok(Look::Nothing);
    };
    let mut bytes = vec![0; stored as usize];
    if !read_at(pack, &mut bytes, at)? {
        return Ok(Look::Unreadable);
    }
    Ok(match decode_block(&bytes) {
        Some(block) => Look::Whole(locations(&block, offset, stored), bytes),
        None => Look::Nothing,
    })
}

/// A sector that the disk cannot read any more is damage like any other; it must not keep the library closed.
fn is_unreadable(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

/// Whether it can be read.
fn read_at(pack: &Pack, bytes: &mut [u8], at: u64) -> Result<bool, LibraryError> {
    match pack.file().read_exact_at(bytes, at) {
        Ok(()) => Ok(true),
        Err(error) if is_unreadable(&error) => Ok(false),
        Err(error) => Err(LibraryError::io("read", pack.path())(error)),
    }
}

#[cfg(test)]
#[path = "recover_tests.rs"]
mod tests;
