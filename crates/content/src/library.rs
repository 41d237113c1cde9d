//! A content library: a directory that holds each chunk once, in packs, and the manifests whose chunks it holds.
//!
//! `packs/` holds packs and their indexes, `manifests/` the manifests whose chunks are all here, `incoming/` those
//! whose chunks are still being fetched, `lock` keeps a second process out, and `format` says `packhorse-library 1`.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io,
    ops::ControlFlow,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use packhorse_domain::Digest;

use crate::{
    block::Block,
    durable::{self, lock},
    error::LibraryError,
    gate::Gate,
    likeness::Likenesses,
    limits::Limits,
    manifest::{ChunkRef, Manifest},
    opening,
    pack::{PACK_HEADER, Pack},
    reader::{self, ChunkReader},
    recover::open_packs,
    wire::digest_of,
    writer::PackWriter,
};

/// A content library. Clones are the same library; any number of threads may use it at once.
#[derive(Debug, Clone)]
pub struct Library {
    pub(crate) shared: Arc<Shared>,
    likenesses: Arc<Mutex<Likenesses>>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    dir: PathBuf,
    _lock: File,
    packs: RwLock<Arc<Vec<Arc<Pack>>>>,
    pool: Mutex<Pool>,
    /// A pack was made whose name is not durable yet.
    unsynced_names: AtomicBool,
    pub(crate) gate: Arc<Gate>,
    /// Held while manifests come or go.
    pub(crate) manifests_change: Mutex<()>,
}

#[derive(Debug)]
struct Pool {
    /// Packs with room, on which nobody writes.
    free: Vec<Arc<Pack>>,
    next: u64,
}

impl Library {
    /// Opens a library or makes an empty one, and recovers what a crash left unfinished.
    pub fn open(dir: &Path) -> Result<Self, LibraryError> {
        for path in [dir.to_owned(), dir.join("packs"), dir.join("manifests"), dir.join("incoming")] {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
            made.map_err(LibraryError::io("make the directory", &path))?;
        }
        let lock = opening::take_lock(dir)?;
        opening::check_format(dir)?;
        opening::sync_names(dir)?;
        for sub in ["manifests", "incoming"] {
            opening::remove_unfinished(&dir.join(sub))?;
        }
        let packs: Vec<Arc<Pack>> = open_packs(&dir.join("packs"))?.into_iter().map(Arc::new).collect();
        let free = packs.iter().filter(|pack| pack.has_room()).cloned().collect();
        let next = packs.last().map_or(1, |pack| pack.id + 1);
        Ok(Library {
            likenesses: Arc::default(),
            shared: Arc::new(Shared {
                dir: dir.to_owned(),
                _lock: lock,
                packs: RwLock::new(Arc::new(packs)),
                pool: Mutex::new(Pool { free, next }),
                unsynced_names: AtomicBool::new(false),
                gate: Arc::default(),
                manifests_change: Mutex::new(()),
            }),
        })
    }

    pub fn has_chunk(&self, chunk: &Digest) -> bool {
        self.shared.has_chunk(chunk)
    }

    /// Whether the manifest is here, which it is only once all its chunks were.
    pub fn has_manifest(&self, manifest: &Digest) -> bool {
        self.shared.manifest_path(manifest).exists()
    }

    pub(crate) fn likenesses<T>(&self, with: impl FnOnce(&mut Likenesses) -> T) -> T {
        with(&mut self.likenesses.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn manifest(&self, manifest: &Digest) -> Result<Option<Manifest>, LibraryError> {
        let Some(bytes) = self.manifest_bytes(manifest)? else { return Ok(None) };
        Manifest::decode(&bytes, &Limits::default()).map(Some).map_err(LibraryError::Manifest)
    }

    pub fn manifest_bytes(&self, manifest: &Digest) -> Result<Option<Vec<u8>>, LibraryError> {
        self.shared.read_manifest(&self.shared.manifest_path(manifest), manifest)
    }

    /// Keeps a manifest whose chunks are still to come, so that a collection which is told that it is live spares
    /// the chunks that are here already. `put_manifest` ends this.
    pub fn stage_manifest(&self, bytes: &[u8]) -> Result<Digest, LibraryError> {
        Manifest::decode(bytes, &Limits::default()).map_err(LibraryError::Manifest)?;
        let digest = digest_of(bytes);
        let _alone = lock(&self.shared.manifests_change);
        durable::write(&self.shared.staged_path(&digest), bytes)?;
        Ok(digest)
    }

    /// The manifests that wait for chunks.
    pub fn staged_manifests(&self) -> Result<Vec<Digest>, LibraryError> {
        self.shared.list("incoming")
    }

    /// A manifest that waits for chunks.
    pub fn staged_manifest(&self, manifest: &Digest) -> Result<Option<Manifest>, LibraryError> {
        let path = self.shared.staged_path(manifest);
        let Some(bytes) = self.shared.read_manifest(&path, manifest)? else { return Ok(None) };
        Manifest::decode(&bytes, &Limits::default()).map(Some).map_err(LibraryError::Manifest)
    }

    /// Stores a manifest whose chunks are all held, durably.
    pub fn put_manifest(&self, bytes: &[u8]) -> Result<Digest, LibraryError> {
        let manifest = Manifest::decode(bytes, &Limits::default()).map_err(LibraryError::Manifest)?;
        let digest = digest_of(bytes);
        let _alone = lock(&self.shared.manifests_change);
        let missing = self.missing(&manifest).len();
        if missing > 0 {
            return Err(LibraryError::Incomplete { manifest: digest, missing });
        }
        let path = self.shared.manifest_path(&digest);
        let was_there = path.exists();
        durable::write(&path, bytes).inspect_err(|_| {
            // If its name could not be made durable, it must not look held.
            if !was_there {
                let _ = std::fs::remove_file(&path);
            }
        })?;
        self.shared.remove_file(&self.shared.staged_path(&digest))?;
        Ok(digest)
    }

    /// The chunks of the manifest that are not held, each once, in the manifest's order.
    pub fn missing(&self, manifest: &Manifest) -> Vec<ChunkRef> {
        manifest.chunks().filter(|chunk| !self.has_chunk(&chunk.digest)).collect()
    }

    /// The chunk's bytes, checked against its digest.
    pub fn chunk(&self, chunk: &Digest) -> Result<Option<Vec<u8>>, LibraryError> {
        ChunkReader::new(&self.shared).chunk(chunk).map(|bytes| bytes.map(<[u8]>::to_vec))
    }

    /// A new writer. Waits for a collection that runs. It belongs to no borrow, so that it can move between threads.
    pub fn writer(&self) -> Result<PackWriter, LibraryError> {
        Ok(PackWriter::new(self.shared.clone(), self.shared.gate.enter()))
    }

    /// Gives the chunks in about the order asked for, each once: as stored where all chunks of a block are wanted,
    /// otherwise in blocks made anew. Ends early when `each` breaks.
    pub fn read_blocks(
        &self,
        chunks: &[Digest],
        each: &mut dyn FnMut(Block) -> ControlFlow<()>,
    ) -> Result<(), LibraryError> {
        reader::read_blocks(&self.shared, chunks, each)
    }

    pub fn manifests(&self) -> Result<Vec<Digest>, LibraryError> {
        self.shared.list("manifests")
    }

    /// Reads every chunk of the manifest. The damaged and the missing ones, in the manifest's order.
    pub fn verify(&self, manifest: &Digest) -> Result<Vec<ChunkRef>, LibraryError> {
        let manifest = self.manifest(manifest)?;
        let mut reader = ChunkReader::new(&self.shared);
        let mut bad = Vec::new();
        for chunk in manifest.iter().flat_map(Manifest::chunks) {
            match reader.exactly(&chunk) {
                Ok(_) => {}
                Err(
                    LibraryError::Damaged { .. }
                    | LibraryError::Lacking { .. }
                    | LibraryError::WrongChunk { .. },
                ) => bad.push(chunk),
                Err(error) => return Err(error),
            }
        }
        Ok(bad)
    }

    /// What the library takes on the disk.
    pub fn disk_bytes(&self) -> u64 {
        ["packs", "manifests", "incoming"]
            .into_iter()
            .filter_map(|sub| self.shared.dir.join(sub).read_dir().ok())
            .flatten()
            .filter_map(|entry| entry.ok()?.metadata().ok())
            .map(|metadata| metadata.len())
            .sum()
    }
}

impl Shared {
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn packs(&self) -> Arc<Vec<Arc<Pack>>> {
        self.packs.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn has_chunk(&self, chunk: &Digest) -> bool {
        let packs = self.packs();
        // A chunk whose index cannot be read counts as missing: fetching it again is the remedy in any case.
        packs.iter().rev().any(|pack| match pack.find(chunk) {
            Ok(found) => found.is_some(),
            Err(error) => {
                tracing::error!(pack = %pack.path().display(), error = &error as &dyn std::error::Error, "index");
                false
            }
        })
    }

    /// A pack to append to, which nobody else gets until it is given back.
    pub(crate) fn take_pack(&self) -> Result<Arc<Pack>, LibraryError> {
        let mut pool = lock(&self.pool);
        if let Some(pack) = pool.free.pop() {
            return Ok(pack);
        }
        let id = pool.next;
        pool.next += 1;
        let path = Pack::path_of(&self.dir.join("packs"), id);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(LibraryError::io("make", &path))?;
        if let Err(error) = io::Write::write_all(&mut &file, PACK_HEADER) {
            // On a full disk each attempt would leave one.
            let _ = std::fs::remove_file(&path);
            return Err(LibraryError::io("write", &path)(error));
        }
        self.unsynced_names.store(true, Ordering::Release);
        let pack = Arc::new(Pack::new(id, path, file, None));
        self.change_packs(|packs| packs.push(pack.clone()));
        Ok(pack)
    }

    pub(crate) fn give_back(&self, pack: Arc<Pack>) {
        if pack.has_room() {
            lock(&self.pool).free.push(pack);
        }
    }

    /// Takes a pack out of use. Readers that hold it go on reading it.
    pub(crate) fn drop_pack(&self, id: u64) {
        lock(&self.pool).free.retain(|pack| pack.id != id);
        self.change_packs(|packs| packs.retain(|pack| pack.id != id));
    }

    /// Nobody gets this pack to append to.
    pub(crate) fn reserve_pack(&self, id: u64) {
        lock(&self.pool).free.retain(|pack| pack.id != id);
    }

    fn change_packs(&self, change: impl FnOnce(&mut Vec<Arc<Pack>>)) {
        let mut packs = self.packs.write().unwrap_or_else(PoisonError::into_inner);
        let mut changed = packs.as_ref().clone();
        change(&mut changed);
        *packs = Arc::new(changed);
    }

    /// Makes the names of new packs durable; before that, nothing in them is.
    pub(crate) fn sync_new_packs(&self) -> Result<(), LibraryError> {
        if self.unsynced_names.load(Ordering::Acquire) {
            durable::sync_directory(&self.dir.join("packs"))?;
            self.unsynced_names.store(false, Ordering::Release);
        }
        Ok(())
    }

    pub(crate) fn manifest_path(&self, manifest: &Digest) -> PathBuf {
        self.dir.join("manifests").join(manifest.to_string())
    }

    pub(crate) fn staged_path(&self, manifest: &Digest) -> PathBuf {
        self.dir.join("incoming").join(manifest.to_string())
    }

    pub(crate) fn read_manifest(
        &self,
        path: &Path,
        digest: &Digest,
    ) -> Result<Option<Vec<u8>>, LibraryError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LibraryError::io("read", path)(error)),
        };
        if digest_of(&bytes) != *digest {
            return Err(LibraryError::DamagedManifest { manifest: *digest });
        }
        Ok(Some(bytes))
    }

    pub(crate) fn list(&self, sub: &str) -> Result<Vec<Digest>, LibraryError> {
        let dir = self.dir.join(sub);
        let mut digests = Vec::new();
        for entry in dir.read_dir().map_err(LibraryError::io("list", &dir))? {
            let entry = entry.map_err(LibraryError::io("list", &dir))?;
            digests.extend(entry.file_name().to_str().and_then(|name| name.parse::<Digest>().ok()));
        }
        digests.sort_unstable();
        Ok(digests)
    }

    /// Whether there was something to remove.
    pub(crate) fn remove_file(&self, path: &Path) -> Result<bool, LibraryError> {
        match std::fs::remove_file(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(LibraryError::io("remove", path)(error)),
        }
    }
}

#[cfg(test)]
#[path = "library_tests.rs"]
mod tests;
