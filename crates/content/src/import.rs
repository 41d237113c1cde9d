//! Taking in what lies in a copy of another library: its packs are read, never changed, and nothing in them is believed
//! that its digest does not prove.

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    ops::ControlFlow,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use packhorse_domain::Digest;

use crate::{
    block::Block,
    error::LibraryError,
    library::Library,
    limits::Limits,
    manifest::Manifest,
    pack::{BLOCK_HEADER_LENGTH, PACK_HEADER, decode_block, stored_length},
    wire::digest_of,
    writer::PackWriter,
};

/// What is made durable at a time.
const FLUSH_BYTES: u64 = 64 * 1024 * 1024;
/// How much is searched at a time for the next block after damage.
const SEARCH_BYTES: usize = 1024 * 1024;

/// How far an import is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Imported {
    /// Of the packs, read so far, and in all.
    pub bytes_done: u64,
    pub bytes_total: u64,
    pub chunks_new: u64,
    pub bytes_new: u64,
    /// Versions that are held whole now.
    pub whole: Vec<Digest>,
    /// Versions of which chunks are missing in the copy, and how many; they are noted, and what is there is held.
    pub partial: Vec<(Digest, u64)>,
    /// What was passed over and why, each with its file.
    pub faults: Vec<String>,
    /// How many more there were.
    pub faults_more: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("{} is no copy of a content library: it has no `packs` and `manifests`", path.display())]
    NotALibrary { path: PathBuf },
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the import was stopped")]
    Stopped,
    #[error("the content library failed")]
    Library(#[source] LibraryError),
}

/// Faults that are named; the rest are counted.
const FAULTS_MAX: usize = 20;
/// More manifests than any library has.
const MANIFESTS_MAX: usize = 100_000;

/// Whether a directory looks like a library or a copy of one.
pub fn is_library(path: &Path) -> bool {
    path.join("packs").is_dir() && path.join("manifests").is_dir()
}

impl Library {
    /// Takes in all versions of a copied library that are not held, chunk by chunk. `report` is told how far it is and
    /// ends it by breaking; what was taken in by then stays, and another import goes on from there.
    pub fn import(
        &self,
        from: &Path,
        report: &mut dyn FnMut(&Imported) -> ControlFlow<()>,
    ) -> Result<Imported, ImportError> {
        if !is_library(from) {
            return Err(ImportError::NotALibrary { path: from.to_owned() });
        }
        let mut import = Import { library: self, report, done: Imported::default(), wanted: HashSet::new() };
        let manifests = import.manifests(&from.join("manifests"))?;
        let packs = files_in(&from.join("packs"), "pack")?;
        for path in &packs {
            import.done.bytes_total += fs::metadata(path).map_or(0, |metadata| metadata.len());
        }
        import.tell()?;
        for path in &packs {
            import.pack(path)?;
        }
        import.settle(manifests)?;
        import.tell()?;
        Ok(import.done)
    }
}

struct Import<'a> {
    library: &'a Library,
    report: &'a mut dyn FnMut(&Imported) -> ControlFlow<()>,
    done: Imported,
    /// What the versions name and this library has not.
    wanted: HashSet<Digest>,
}

impl Import<'_> {
    fn tell(&mut self) -> Result<(), ImportError> {
        match (self.report)(&self.done) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(ImportError::Stopped),
        }
    }

    fn fault(&mut self, path: &Path, what: &str) {
        if self.done.faults.len() < FAULTS_MAX {
            self.done.faults.push(format!("{}: {what}", path.display()));
        } else {
            self.done.faults_more += 1;
        }
    }

    /// The versions of the copy. Each is noted first, so that a collection spares its chunks and a next import knows
    /// what was begun.
    fn manifests(&mut self, directory: &Path) -> Result<Vec<(Digest, Vec<u8>)>, ImportError> {
        let mut manifests = Vec::new();
        for path in files_in(directory, "")?.into_iter().take(MANIFESTS_MAX) {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Ok(digest) = name.parse::<Digest>() else { continue };
            let bytes = match read_at_most(&path, Limits::default().manifest_length_max) {
                Ok(bytes) => bytes,
                Err(error) => {
                    self.fault(&path, &format!("it cannot be read ({error})"));
                    continue;
                }
            };
            if digest_of(&bytes) != digest {
                self.fault(&path, "the manifest is not what its name says");
                continue;
            }
            let manifest = match Manifest::decode(&bytes, &Limits::default()) {
                Ok(manifest) => manifest,
                Err(error) => {
                    self.fault(&path, &error.to_string());
                    continue;
                }
            };
            let missing = self.library.missing(&manifest);
            if !self.library.has_manifest(&digest) {
                self.library.stage_manifest(&bytes).map_err(ImportError::Library)?;
            }
            self.wanted.extend(missing.iter().map(|chunk| chunk.digest));
            manifests.push((digest, bytes));
        }
        Ok(manifests)
    }

    fn pack(&mut self, path: &Path) -> Result<(), ImportError> {
        let before = self.done.bytes_done;
        let read = |source| ImportError::Read { path: path.to_owned(), source };
        let length = fs::metadata(path).map_err(read)?.len();
        if !self.wanted.is_empty() {
            let file = File::open(path).map_err(read)?;
            let mut writer = self.library.writer().map_err(ImportError::Library)?;
            let read = self.blocks(&file, (path, length), &mut writer, before);
            // What came before a fault is good.
            writer.seal().map_err(ImportError::Library)?;
            read?;
        }
        self.done.bytes_done = before + length;
        self.tell()
    }

    fn blocks(
        &mut self,
        file: &File,
        (path, length): (&Path, u64),
        writer: &mut PackWriter,
        before: u64,
    ) -> Result<(), ImportError> {
        let mut at = PACK_HEADER.len() as u64;
        let mut unflushed = 0;
        while at < length && !self.wanted.is_empty() {
            match block_at(file, at, length) {
                Ok((Some(block), stored)) => {
                    unflushed += self.block(block, writer)?;
                    at += stored;
                }
                Ok((None, stored)) => {
                    self.fault(path, &format!("it is damaged at offset {at}"));
                    at = match stored {
                        0 => next_block(file, at + 1, length).unwrap_or(length),
                        stored => at + stored,
                    };
                }
                Err(error) => {
                    self.fault(path, &format!("it cannot be read at offset {at} ({error})"));
                    at = next_block(file, at + SEARCH_BYTES as u64, length).unwrap_or(length);
                }
            }
            if unflushed >= FLUSH_BYTES {
                writer.flush_durable().map_err(ImportError::Library)?;
                unflushed = 0;
            }
            self.done.bytes_done = before + at.min(length);
            self.tell()?;
        }
        Ok(())
    }

    /// Takes those chunks of a block that are wanted. How many bytes that were.
    fn block(&mut self, block: Block, writer: &mut PackWriter) -> Result<u64, ImportError> {
        let wanted: Vec<_> =
            block.chunks.iter().filter(|chunk| self.wanted.contains(&chunk.digest)).copied().collect();
        if wanted.is_empty() {
            return Ok(0);
        }
        if wanted.len() == block.chunks.len() {
            match writer.add_block(block) {
                Ok(_) => {}
                Err(LibraryError::Block(_)) => return Ok(0),
                Err(error) => return Err(ImportError::Library(error)),
            }
        } else {
            let Ok(plain) = block.verified_plain() else { return Ok(0) };
            for (chunk, bytes) in block.parts(&plain).filter(|(chunk, _)| self.wanted.contains(&chunk.digest))
            {
                writer.add(chunk.digest, bytes).map_err(ImportError::Library)?;
            }
        }
        let mut bytes = 0;
        for chunk in wanted {
            if self.wanted.remove(&chunk.digest) {
                self.done.chunks_new += 1;
                bytes += u64::from(chunk.length);
            }
        }
        self.done.bytes_new += bytes;
        Ok(bytes)
    }

    /// Puts the versions that are whole, and says of the others what they lack.
    fn settle(&mut self, manifests: Vec<(Digest, Vec<u8>)>) -> Result<(), ImportError> {
        for (digest, bytes) in manifests {
            match self.library.put_manifest(&bytes) {
                Ok(_) => self.done.whole.push(digest),
                Err(LibraryError::Incomplete { missing, .. }) => {
                    self.done.partial.push((digest, missing as u64))
                }
                Err(error) => return Err(ImportError::Library(error)),
            }
        }
        Ok(())
    }
}

/// The files of a directory with this ending, in the order of their names.
fn files_in(directory: &Path, ending: &str) -> Result<Vec<PathBuf>, ImportError> {
    let read = |source| ImportError::Read { path: directory.to_owned(), source };
    let mut files = Vec::new();
    for entry in directory.read_dir().map_err(read)? {
        let path = entry.map_err(read)?.path();
        let has_ending = path.extension().and_then(|end| end.to_str()).unwrap_or_default() == ending;
        if has_ending && path.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}

fn read_at_most(path: &Path, length_max: u64) -> io::Result<Vec<u8>> {
    let length = fs::metadata(path)?.len();
    if length > length_max {
        return Err(io::Error::other(format!("it has {length} bytes, {length_max} are accepted")));
    }
    fs::read(path)
}

/// The block at `at`, if it is whole, and how long it says it is; 0: there is no head of a block.
fn block_at(file: &File, at: u64, length: u64) -> io::Result<(Option<Block>, u64)> {
    let mut header = [0; BLOCK_HEADER_LENGTH];
    if at + BLOCK_HEADER_LENGTH as u64 > length {
        return Ok((None, length - at));
    }
    file.read_exact_at(&mut header, at)?;
    let Some(stored) = stored_length(&header).filter(|stored| at + u64::from(*stored) <= length) else {
        return Ok((None, 0));
    };
    let mut bytes = vec![0; stored as usize];
    file.read_exact_at(&mut bytes, at)?;
    match decode_block(&bytes) {
        Some(block) => Ok((Some(block), stored.into())),
        // Its length may be what is wrong: the next one is searched for.
        None => Ok((None, 0)),
    }
}

/// Where the next head of a block may be.
fn next_block(file: &File, from: u64, length: u64) -> Option<u64> {
    let mut at = from;
    while at + 4 <= length {
        let window = usize::try_from(length - at).map_or(SEARCH_BYTES, |left| left.min(SEARCH_BYTES));
        let mut bytes = vec![0; window];
        if file.read_exact_at(&mut bytes, at).is_ok()
            && let Some(found) = bytes.windows(4).position(|four| four == b"PHBK")
        {
            return Some(at + found as u64);
        }
        // The last three bytes may begin one.
        at += (window as u64).saturating_sub(3).max(1);
    }
    None
}

#[cfg(test)]
#[path = "import_tests.rs"]
mod tests;
