//! Reading packs to find what has rotted, and forgetting it: what is forgotten counts as missing, is handed to nobody,
//! and is stored anew when it comes.

use std::{collections::HashSet, ops::ControlFlow, sync::Arc};

use packhorse_domain::Digest;

use crate::{
    error::LibraryError,
    index::Location,
    library::{Library, Shared},
    manifest::ChunkRef,
    pack::Pack,
    wire::digest_of,
};

/// Where a scrub goes on: packs are read in the order of their numbers, each from its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct ScrubPlace {
    pub pack: u64,
    pub offset: u64,
}

/// What one stretch of a scrub read and found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scrubbed {
    /// Where to go on; `None`: everything was read.
    pub next: Option<ScrubPlace>,
    pub chunks: u64,
    /// As they lie on the disk.
    pub bytes: u64,
    /// Chunks of which a copy in a pack is not what its name says. Another pack may hold a good one.
    pub rotten: Vec<ChunkRef>,
}

impl Library {
    /// Reads packs from `from` on, until all is read or `each`, which hears of each block's bytes, breaks. The disk is
    /// asked, and not what the system still has of it in memory. Writers, readers and collections go on meanwhile: a
    /// chunk that a collection moves was checked by it.
    pub fn scrub(
        &self,
        from: ScrubPlace,
        each: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Scrubbed, LibraryError> {
        let mut scrubbed = Scrubbed::default();
        for pack in packs_from(&self.shared, from.pack) {
            let start = if pack.id == from.pack { from.offset } else { 0 };
            let mut entries = pack.entries()?;
            entries.retain(|(_, location)| u64::from(location.offset) >= start);
            entries.sort_unstable_by_key(|(_, location)| (location.offset, location.stored, location.start));
            for block in entries.chunk_by(is_of_one_block) {
                let Some((_, first)) = block.first() else { continue };
                pack.forget_cached(first.offset, first.stored);
                scrubbed.rotten.extend(rotten_in(&pack, block)?);
                scrubbed.chunks += block.len() as u64;
                scrubbed.bytes += u64::from(first.stored);
                if each(first.stored.into()).is_break() {
                    let offset = u64::from(first.offset) + u64::from(first.stored);
                    scrubbed.next = Some(ScrubPlace { pack: pack.id, offset });
                    return Ok(scrubbed);
                }
            }
        }
        Ok(scrubbed)
    }

    /// How many bytes a scrub from this place on reads at most.
    pub fn scrub_bytes(&self, from: ScrubPlace) -> u64 {
        let left = packs_from(&self.shared, from.pack).into_iter().map(|pack| {
            let start = if pack.id == from.pack { from.offset } else { 0 };
            pack.durable().saturating_sub(start)
        });
        left.sum()
    }

    /// Takes those of the chunks that are damaged out of the index, so that they count as missing and are stored anew
    /// when they come. A chunk that can be read stays.
    pub fn forget_damaged(&self, chunks: &[Digest]) -> Result<(), LibraryError> {
        let _entered = self.shared.gate.enter();
        for pack in self.shared.packs().iter() {
            let mut found = Vec::new();
            for chunk in chunks {
                found.extend(pack.find(chunk)?.map(|location| (*chunk, location)));
            }
            found.sort_unstable_by_key(|(_, location)| (location.offset, location.stored));
            let mut damaged = HashSet::new();
            for block in found.chunk_by(is_of_one_block) {
                damaged.extend(rotten_in(pack, block)?.into_iter().map(|chunk| chunk.digest));
            }
            if !damaged.is_empty() {
                tracing::warn!(pack = %pack.path().display(), chunks = damaged.len(), "damaged chunks are forgotten");
                pack.write_index(&|chunk| !damaged.contains(chunk))?;
            }
        }
        Ok(())
    }

    /// The manifests that are not what their names say.
    pub fn rotten_manifests(&self) -> Result<Vec<Digest>, LibraryError> {
        let mut rotten = Vec::new();
        for manifest in self.manifests()? {
            match self.manifest(&manifest) {
                Ok(_) => {}
                Err(LibraryError::DamagedManifest { .. } | LibraryError::Manifest(_)) => {
                    rotten.push(manifest);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(rotten)
    }
}

fn packs_from(shared: &Shared, first: u64) -> Vec<Arc<Pack>> {
    let mut packs: Vec<Arc<Pack>> = shared.packs().iter().filter(|pack| pack.id >= first).cloned().collect();
    packs.sort_unstable_by_key(|pack| pack.id);
    packs
}

/// An index that lies may have two lengths for one block.
fn is_of_one_block((_, one): &(Digest, Location), (_, next): &(Digest, Location)) -> bool {
    (one.offset, one.stored) == (next.offset, next.stored)
}

/// Reads one block and checks these chunks of it.
fn rotten_in(pack: &Pack, block: &[(Digest, Location)]) -> Result<Vec<ChunkRef>, LibraryError> {
    let Some((_, first)) = block.first() else { return Ok(Vec::new()) };
    let plain = match pack.read_block(first.offset, first.stored) {
        Ok(block) => block.plain().ok(),
        Err(LibraryError::Damaged { .. }) => None,
        Err(error) => return Err(error),
    };
    let is_rotten = |(digest, location): &&(Digest, Location)| {
        let start = location.start as usize;
        let bytes = plain.as_ref().and_then(|plain| plain.get(start..start + location.length as usize));
        bytes.is_none_or(|bytes| digest_of(bytes) != *digest)
    };
    let rotten = block.iter().filter(is_rotten);
    Ok(rotten.map(|(digest, location)| ChunkRef { digest: *digest, length: location.length }).collect())
}

#[cfg(test)]
#[path = "scrub_tests.rs"]
mod tests;
