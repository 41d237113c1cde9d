//! Collecting what no manifest needs any more.
//!
//! The order makes it safe at every instant: manifests go first, so that none is left whose chunks are gone; what is
//! still needed of a pack is durable in another before the pack goes. A collection that was cut off is run again.

use std::{collections::HashSet, sync::Arc, time::Duration};

use packhorse_domain::Digest;

use crate::{
    durable::{self, lock},
    error::LibraryError,
    index::Location,
    library::{Library, Shared},
    limits::Limits,
    manifest::Manifest,
    pack::Pack,
    reader::ChunkReader,
    writer::PackWriter,
};

/// How long a collection waits for writers.
const PATIENCE: Duration = Duration::from_secs(10);
/// A pack is written anew when more than a quarter of it is not needed; until then its chunks only leave the index.
const WASTE: u64 = 4;

/// What a collection removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    pub manifests: u64,
    pub chunks: u64,
    /// On the disk.
    pub bytes: u64,
}

impl Library {
    /// Removes all manifests but the `live` ones, and all chunks that none of those names, whether they are complete
    /// or staged. Waits for writers for some seconds, then gives `Busy`; readers go on undisturbed. Must not be called
    /// by a thread that holds a writer.
    pub fn collect(&self, live: &[Digest]) -> Result<Collected, LibraryError> {
        let shared = &self.shared;
        let _alone = shared.gate.alone(PATIENCE).ok_or(LibraryError::Busy)?;
        let _manifests = lock(&shared.manifests_change);
        let before = self.disk_bytes();
        let needed = Needed::by(shared, live)?;
        let live: HashSet<&Digest> = live.iter().collect();
        let manifests =
            remove_others(shared, "manifests", &live)? + remove_others(shared, "incoming", &live)?;
        let mut chunks = 0;
        for pack in shared.packs().iter() {
            chunks += sweep(shared, pack, &needed)?;
        }
        durable::sync_directory(&shared.dir().join("packs"))?;
        Ok(Collected { manifests, chunks, bytes: before.saturating_sub(self.disk_bytes()) })
    }
}

/// The chunks that live manifests name, by the first 8 bytes of their digests: in the one case of 2^64 where that is
/// not enough, a chunk stays that could go.
struct Needed(HashSet<u64>);

impl Needed {
    fn by(shared: &Shared, live: &[Digest]) -> Result<Self, LibraryError> {
        let mut needed = HashSet::new();
        for digest in live {
            for path in [shared.manifest_path(digest), shared.staged_path(digest)] {
                let Some(bytes) = shared.read_manifest(&path, digest)? else { continue };
                let manifest =
                    Manifest::decode(&bytes, &Limits::default()).map_err(LibraryError::Manifest)?;
                needed.extend(manifest.chunks().map(|chunk| key(&chunk.digest)));
            }
        }
        Ok(Needed(needed))
    }

    fn has(&self, digest: &Digest) -> bool {
        self.0.contains(&key(digest))
    }
}

fn key(digest: &Digest) -> u64 {
    digest.0[..8].iter().fold(0, |key, byte| key << 8 | u64::from(*byte))
}

fn remove_others(shared: &Shared, sub: &str, live: &HashSet<&Digest>) -> Result<u64, LibraryError> {
    let dir = shared.dir().join(sub);
    let mut removed = 0;
    for manifest in shared.list(sub)?.iter().filter(|manifest| !live.contains(manifest)) {
        removed += u64::from(shared.remove_file(&dir.join(manifest.to_string()))?);
    }
    durable::sync_directory(&dir)?;
    Ok(removed)
}

/// Frees one pack of what is not needed. How many chunks that were.
fn sweep(shared: &Arc<Shared>, pack: &Arc<Pack>, needed: &Needed) -> Result<u64, LibraryError> {
    let entries = pack.entries()?;
    let all = entries.len() as u64;
    let mut kept: Vec<(Digest, Location)> =
        entries.into_iter().filter(|(digest, _)| needed.has(digest)).collect();
    let gone = all - kept.len() as u64;
    kept.sort_unstable_by_key(|(_, location)| (location.offset, location.start));
    if kept.is_empty() {
        remove(shared, pack)?;
        return Ok(gone);
    }
    let length = pack.file().metadata().map_err(LibraryError::io("read", pack.path()))?.len();
    let wasted = length.saturating_sub(useful_bytes(pack, &kept));
    if wasted > length / WASTE && move_chunks(shared, pack, &kept)? {
        remove(shared, pack)?;
    } else if gone > 0 {
        pack.write_index(&|digest| needed.has(digest))?;
    }
    Ok(gone)
}

/// How much of the pack serves the kept chunks, which are sorted by their place: of a block that is needed in part,
/// as large a part as of its plain bytes.
fn useful_bytes(pack: &Pack, kept: &[(Digest, Location)]) -> u64 {
    let same_block =
        |(_, one): &(Digest, Location), (_, other): &(Digest, Location)| one.offset == other.offset;
    let blocks = kept.chunk_by(same_block).filter_map(|block| {
        let needed: u64 = block.iter().map(|(_, location)| u64::from(location.length)).sum();
        let (_, location) = block.first()?;
        let whole = pack.plain_length_at(location.offset).unwrap_or(needed).max(needed).max(1);
        Some(u64::from(location.stored) * needed / whole)
    });
    blocks.sum()
}

/// Copies the chunks to other packs. `false` if some are damaged: then the pack stays, since what is damaged is for
/// `forget_damaged` to say.
fn move_chunks(
    shared: &Arc<Shared>,
    pack: &Arc<Pack>,
    kept: &[(Digest, Location)],
) -> Result<bool, LibraryError> {
    shared.reserve_pack(pack.id);
    let mut writer = PackWriter::moving_from(shared.clone(), pack.id);
    let mut reader = ChunkReader::new(shared);
    for (digest, _) in kept {
        match reader.chunk(digest) {
            Ok(Some(bytes)) => writer.add_checked(*digest, bytes)?,
            Ok(None) | Err(LibraryError::Damaged { .. }) => {
                drop(writer);
                shared.give_back(pack.clone());
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
    }
    writer.seal()?;
    Ok(true)
}

fn remove(shared: &Shared, pack: &Pack) -> Result<(), LibraryError> {
    shared.drop_pack(pack.id);
    shared.remove_file(&pack.index_path())?;
    shared.remove_file(pack.path())?;
    Ok(())
}

#[cfg(test)]
#[path = "collect_tests.rs"]
mod tests;
