//! What a library takes, and for which of its versions.
//!
//! A chunk's share of the disk is its part of the block that it was compressed in, by plain lengths. Keys of 8 bytes
//! stand for digests here: where two chunks had the same, some bytes would be counted for the wrong one.

use std::collections::{HashMap, HashSet};

use packhorse_domain::Digest;

use crate::{error::LibraryError, index::Location, library::Library, manifest::Manifest};

/// What a library takes on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Usage {
    /// All files of the library.
    pub disk_bytes: u64,
    pub packs: u64,
    /// Blocks of packs, as they lie on the disk.
    pub stored_bytes: u64,
    pub chunks: u64,
    /// Of all chunks, each once.
    pub plain_bytes: u64,
    /// Of chunks that more than one of the versions names.
    pub shared_bytes: u64,
    /// What none of the versions needs: the next collection frees most of it.
    pub unreferenced_bytes: u64,
    pub unreferenced_chunks: u64,
    /// In the order asked for.
    pub versions: Vec<VersionUsage>,
}

/// What one version takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionUsage {
    pub manifest: Digest,
    pub files: u64,
    /// Of its files.
    pub content_bytes: u64,
    /// Of its chunks, each once.
    pub plain_bytes: u64,
    /// Its chunks' share of the disk.
    pub stored_bytes: u64,
    /// The part of that which no other version needs: so much its removal frees.
    pub own_bytes: u64,
    /// Its chunks that are not held: they were damaged and are being fetched again.
    pub missing_chunks: u64,
}

#[derive(Debug, Default)]
struct Chunk {
    plain: u64,
    stored: u64,
    versions: u32,
}

impl Library {
    /// Counts what these versions take. One whose manifest is not held, or cannot be read, takes nothing.
    pub fn usage(&self, versions: &[Digest]) -> Result<Usage, LibraryError> {
        let packs = self.shared.packs();
        let mut chunks: HashMap<u64, Chunk> = HashMap::new();
        let mut usage =
            Usage { disk_bytes: self.disk_bytes(), packs: packs.len() as u64, ..Usage::default() };
        for pack in packs.iter() {
            usage.stored_bytes += pack.durable().saturating_sub(crate::pack::PACK_HEADER.len() as u64);
            let mut entries = pack.entries()?;
            entries.sort_unstable_by_key(|(_, location)| location.offset);
            for block in entries.chunk_by(|(_, one), (_, next)| one.offset == next.offset) {
                count_block(block, &mut chunks);
            }
        }
        let mut needs = Vec::with_capacity(versions.len());
        for version in versions {
            let need = self.need(version)?;
            for key in &need.keys {
                if let Some(chunk) = chunks.get_mut(key) {
                    chunk.versions = chunk.versions.saturating_add(1);
                }
            }
            needs.push(need);
        }
        usage.versions = needs.iter().map(|need| need.count(&chunks)).collect();
        let mut needed_bytes = 0;
        for chunk in chunks.values() {
            usage.chunks += 1;
            usage.plain_bytes += chunk.plain;
            match chunk.versions {
                0 => usage.unreferenced_chunks += 1,
                1 => needed_bytes += chunk.stored,
                _ => {
                    needed_bytes += chunk.stored;
                    usage.shared_bytes += chunk.stored;
                }
            }
        }
        usage.unreferenced_bytes = usage.stored_bytes.saturating_sub(needed_bytes);
        Ok(usage)
    }

    fn need(&self, version: &Digest) -> Result<Need, LibraryError> {
        let manifest = match self.manifest(version) {
            Ok(manifest) => manifest.unwrap_or_default(),
            Err(LibraryError::DamagedManifest { .. } | LibraryError::Manifest(_)) => Manifest::default(),
            Err(error) => return Err(error),
        };
        Ok(Need {
            manifest: *version,
            files: manifest.file_count(),
            content_bytes: manifest.total_length(),
            keys: manifest.chunks().map(|chunk| key(&chunk.digest)).collect(),
        })
    }
}

/// What a version needs.
struct Need {
    manifest: Digest,
    files: u64,
    content_bytes: u64,
    keys: HashSet<u64>,
}

impl Need {
    fn count(&self, chunks: &HashMap<u64, Chunk>) -> VersionUsage {
        let mut counted = VersionUsage {
            manifest: self.manifest,
            files: self.files,
            content_bytes: self.content_bytes,
            plain_bytes: 0,
            stored_bytes: 0,
            own_bytes: 0,
            missing_chunks: 0,
        };
        for key in &self.keys {
            let Some(chunk) = chunks.get(key) else {
                counted.missing_chunks += 1;
                continue;
            };
            counted.plain_bytes += chunk.plain;
            counted.stored_bytes += chunk.stored;
            if chunk.versions == 1 {
                counted.own_bytes += chunk.stored;
            }
        }
        counted
    }
}

fn key(digest: &Digest) -> u64 {
    digest.0[..8].iter().fold(0, |key, byte| key << 8 | u64::from(*byte))
}

/// Gives each chunk of a block its share. A copy in a second pack counts for nobody.
fn count_block(block: &[(Digest, Location)], chunks: &mut HashMap<u64, Chunk>) {
    let plain: u64 = block.iter().map(|(_, location)| u64::from(location.length)).sum();
    for (digest, location) in block {
        let length = u64::from(location.length);
        chunks.entry(key(digest)).or_insert_with(|| Chunk {
            plain: length,
            stored: u64::from(location.stored) * length / plain.max(1),
            versions: 0,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::testing::{library, noise, source, take};

    #[test]
    fn an_empty_library_takes_nothing() {
        let (_dir, library) = library();

        let usage = library.usage(&[]).unwrap();

        assert_eq!((usage.packs, usage.chunks, usage.stored_bytes, usage.unreferenced_bytes), (0, 0, 0, 0));
    }

    #[test]
    fn what_two_versions_share_is_counted_for_both_and_owned_by_none() {
        let (_dir, library) = library();
        let first = source(1);
        let one = take(first.path(), &library);
        fs::write(first.path().join("more"), noise(5, 50_000)).unwrap();
        let two = take(first.path(), &library);

        let usage = library.usage(&[two.digest, one.digest]).unwrap();

        let [newer, older] = usage.versions[..] else { panic!("{usage:?}") };
        assert_eq!((newer.manifest, older.manifest), (two.digest, one.digest));
        assert_eq!(older.content_bytes, one.manifest.total_length());
        assert_eq!((older.own_bytes, older.missing_chunks), (0, 0), "the newer one has all of it");
        assert!((50_000..52_000).contains(&newer.own_bytes), "{newer:?}");
        assert!(usage.shared_bytes.abs_diff(older.stored_bytes) < 100, "{usage:?}");
        assert!(usage.unreferenced_bytes < 100 && usage.unreferenced_chunks == 0, "{usage:?}");
        assert_eq!(usage.plain_bytes, newer.plain_bytes);
    }

    #[test]
    fn what_no_version_names_is_unreferenced() {
        let (_dir, library) = library();
        let kept = take(source(1).path(), &library);
        take(source(2).path(), &library);

        let usage = library.usage(&[kept.digest]).unwrap();

        assert!(usage.unreferenced_bytes > 600_000, "{usage:?}");
        assert!(usage.unreferenced_chunks > 3, "{usage:?}");
        library.collect(&[kept.digest]).unwrap();
        let usage = library.usage(&[kept.digest]).unwrap();
        assert!(usage.unreferenced_bytes < 1000 && usage.unreferenced_chunks == 0, "{usage:?}");
    }

    #[test]
    fn compressible_content_takes_less_than_it_is_long() {
        let (_dir, library) = library();
        let text = tempfile::tempdir().unwrap();
        fs::write(text.path().join("text"), "the same words again\n".repeat(20_000)).unwrap();
        let taken = take(text.path(), &library);

        let usage = library.usage(&[taken.digest]).unwrap();

        assert_eq!(usage.versions[0].content_bytes, 420_000);
        assert!(usage.stored_bytes < usage.plain_bytes / 10, "{usage:?}");
    }

    #[test]
    fn a_version_that_is_not_held_takes_nothing() {
        let (_dir, library) = library();

        let usage = library.usage(&[packhorse_domain::Digest([7; 32])]).unwrap();

        assert_eq!((usage.versions[0].content_bytes, usage.versions[0].files), (0, 0));
    }
}
