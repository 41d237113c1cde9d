//! A bundle: what a library needs to hold a version, given versions that it holds.
//!
//! It begins, integers little-endian, with the magic `PHBN`, format version u16, base count u16, BLAKE3 of the target
//! manifest, manifest length u64, plain length u64, BLAKE3 of each base manifest. Then for each stream its plain and its
//! compressed length, u64 both; then the streams, one zstd frame each, in the order of [`STREAMS`](crate::delta::STREAMS),
//! but that the last may be several, each as a block has it. It ends with the BLAKE3 of everything before. The same plan gives
//! the same bytes, unless it is quick: then they depend on the library's blocks.
//!
//! Two of the streams say what the new tree is ([`tree`]), two what lies deflated in archives ([`archives`]); the others are
//! a delta ([`crate::delta`]) of the files that the tree says are told, one after the other. The old content is that of all
//! files of the bases, each content once, in the order in which their merged trees have it. The plain length is that of the
//! manifest and of all files that are told.
//!
//! Digests of the chunks that are new are not in it: the receiver finds them itself, and the manifest that they lead to is the
//! target or the bundle is refused.

mod archives;
mod first;
mod making;
mod reading;
mod source;
mod taking;
mod tree;

use std::{
    fs::File,
    io::{self, Read, Write},
    thread,
};

use packhorse_domain::Digest;

pub use self::source::{Coming, Patience, Source};
use self::taking::{Taken, Takers};
use crate::{
    error::LibraryError,
    library::Library,
    limits::Limits,
    manifest::{Manifest, ManifestError},
    outline::{Outline, Outliner},
    tree::Staging,
    wire::Fields,
};

const MAGIC: [u8; 4] = *b"PHBN";
/// The one before had the digest of no file.
const VERSION: u16 = 5;
const BASES_MAX: usize = 64;
const LEVEL_OF_DENSE: i32 = 4;

/// What to bundle, and what the receiver is known to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundlePlan {
    /// The manifest of the version.
    pub target: Digest,
    /// Manifests that the receiver holds. At most 64.
    pub bases: Vec<Digest>,
}

/// How hard a bundle is made. Whoever receives one cannot tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Making {
    /// Of zstd, 1 to 19.
    level: i32,
    is_quick: bool,
    /// What it tells hardly compresses.
    is_dense: bool,
}

impl Making {
    /// As few bytes as the level brings.
    pub fn small(level: i32) -> Self {
        Making { level, is_quick: false, is_dense: false }
    }

    /// What takes long and saves little is left out. What builds on nothing has the library's blocks as they are, at whatever
    /// level.
    pub fn quick(level: i32) -> Self {
        Making { level, is_quick: true, is_dense: false }
    }

    /// Another way for what hardly compresses. Its repeats are short: what looks longest for them passes over most of it, and
    /// finds less in more time than what looks once at each place. `None`: it is made like all else.
    pub(crate) fn of_dense(self) -> Option<Self> {
        let looks_long = (5..=12).contains(&self.level);
        looks_long.then_some(Making { level: LEVEL_OF_DENSE, is_dense: true, ..self })
    }

    pub(crate) fn is_dense(self) -> bool {
        self.is_dense
    }

    pub(crate) fn level(self) -> i32 {
        self.level
    }

    pub(crate) fn is_quick(self) -> bool {
        self.is_quick
    }
}

/// A bundle that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleInfo {
    pub length: u64,
    /// BLAKE3 of the whole bundle.
    pub digest: Digest,
    /// The hashes of its parts.
    pub outline: Outline,
    /// What it makes, uncompressed.
    pub plain_length: u64,
}

/// What a bundle says of itself before any of it is decompressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleHeader {
    pub target: Digest,
    pub bases: Vec<Digest>,
    pub manifest_length: u64,
    pub plain_length: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error("the library does not hold the manifest {target} that is to be bundled")]
    TargetLacking { target: Digest },
    #[error("the library does not hold the base {base}: ask for a bundle without it")]
    BaseLacking { base: Digest },
    #[error(
        "the library holds the bases of the bundle but not chunk {chunk}: ask for a bundle without bases"
    )]
    ChunkLacking { chunk: Digest },
    #[error("a bundle names at most 64 bases, not {0}")]
    TooManyBases(usize),
    #[error("the bytes are no bundle")]
    NotABundle,
    #[error(
        "the bundle has format version {0}, this program knows version 5: upgrade the older of the two sites"
    )]
    Version(u16),
    #[error("the bundle is longer than accepted: {length} bytes uncompressed, {max} are")]
    TooLong { length: u64, max: u64 },
    #[error("the bundle is cut off")]
    Truncated,
    #[error("bytes follow the end of the bundle")]
    Trailing,
    #[error("the bundle is damaged: {0}")]
    Damaged(&'static str),
    #[error("the bundle cannot be made use of here ({0}): ask for one without bases")]
    Unmade(&'static str),
    #[error("the bundle's manifest is refused")]
    Manifest(#[source] ManifestError),
    #[error("cannot read the bundle")]
    Read(#[source] io::Error),
    #[error("cannot write the bundle")]
    Write(#[source] io::Error),
    #[error("the library failed")]
    Library(#[source] LibraryError),
}

/// Writes a bundle. The library must hold the target and the bases.
pub fn write_bundle(
    library: &Library,
    plan: &BundlePlan,
    out: &mut dyn Write,
    making: Making,
) -> Result<BundleInfo, BundleError> {
    if plan.bases.len() > BASES_MAX {
        return Err(BundleError::TooManyBases(plan.bases.len()));
    }
    let bytes = library.manifest_bytes(&plan.target).map_err(BundleError::Library)?;
    let bytes = bytes.ok_or(BundleError::TargetLacking { target: plan.target })?;
    let mut out = HashingWriter { out, outliner: Outliner::new(), length: 0 };
    let plain_length = making::write(library, plan, &bytes, &mut out, making)?;
    let checksum = out.outliner.digest();
    out.write_all(checksum.as_bytes()).and_then(|()| out.flush()).map_err(BundleError::Write)?;
    let (digest, outline) = out.outliner.finish();
    Ok(BundleInfo { length: out.length, digest, outline, plain_length })
}

/// Takes a bundle into the library: every byte is checked, the chunks become durable, then the manifest. To apply a
/// bundle again changes nothing. A bundle that is refused leaves no manifest, and at most chunks that are what their
/// digests say, which the next collection removes.
pub fn apply_bundle(library: &Library, file: &File, limits: &Limits) -> Result<Manifest, BundleError> {
    let source = file.try_clone().and_then(Source::whole).map_err(BundleError::Read)?;
    unpack(library, &source, None, limits, Takers { library: true, staging: &mut [] })?.keep(library)
}

/// What was said of a bundle before it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offered {
    /// BLAKE3 of the whole bundle.
    pub digest: Digest,
    /// The manifest it leads to.
    pub target: Digest,
}

/// As [`apply_bundle`], of a bundle that must be the one that was offered, and may still be coming. The files that it brings
/// are staged at distribution points at the same time; a staging that fails does not make the bundle fail.
pub fn apply_offered(
    library: &Library,
    source: &Source,
    offered: &Offered,
    limits: &Limits,
    staging: &mut [Staging],
) -> Result<Manifest, BundleError> {
    unpack(library, source, Some(offered), limits, Takers { library: true, staging })?.keep(library)
}

/// As [`apply_offered`], but for the library: of that a bundle's bases are read, and nothing is put into it. What is staged
/// can show before the library has it, who takes the bundle in afterwards: only then it is seen whether the bundle was the
/// one that was offered, byte by byte. Here it is enough that all that it brings is what the target names.
pub fn stage_offered(
    library: &Library,
    source: &Source,
    offered: &Offered,
    limits: &Limits,
    staging: &mut [Staging],
) -> Result<Manifest, BundleError> {
    unpack(library, source, Some(offered), limits, Takers { library: false, staging }).map(Taken::manifest)
}

fn unpack(
    library: &Library,
    source: &Source,
    offered: Option<&Offered>,
    limits: &Limits,
    takers: Takers<'_>,
) -> Result<Taken, BundleError> {
    let header = header_of(source)?;
    header.check(library, limits)?;
    let streams = taking::sections(source, &header)?;
    let is_offered = offered.is_none_or(|offered| offered.target == header.target);
    let is_kept = takers.library;
    // What it leads to proves itself. That it is the bundle that was offered is proved beside, before the library has it.
    let (proved, taken) = thread::scope(|scope| {
        let proof = scope.spawn(|| if is_kept { taking::check_sum(source, offered) } else { Ok(()) });
        let taken = is_offered.then(|| taking::take_in(library, streams, &header, limits, takers));
        if taken.as_ref().is_some_and(Result::is_err) {
            source.end();
        }
        (proof.join(), taken)
    });
    proved.unwrap_or(Err(BundleError::Damaged("it cannot be checked")))?;
    match taken {
        None => Err(BundleError::Damaged("it leads to another version than was offered")),
        Some(Ok(taken)) => Ok(taken),
        // It is what was written: fetched again it would lead to the same.
        Some(Err(BundleError::Damaged(why))) if is_kept => Err(BundleError::Unmade(why)),
        Some(Err(other)) => Err(other),
    }
}

/// Reads what a bundle says of itself, as far as it has come. Nothing of it is proved before the bundle is applied.
pub fn header_of(source: &Source) -> Result<BundleHeader, BundleError> {
    struct From<'s>(&'s Source, u64);
    impl Read for From<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let read = self.0.read_at(into, self.1)?;
            self.1 += read as u64;
            Ok(read)
        }
    }
    read_header(&mut From(source, 0))
}

/// Reads what a bundle says of itself. Nothing of it is proved before the bundle is applied.
pub fn read_header(input: &mut dyn Read) -> Result<BundleHeader, BundleError> {
    let mut fixed = [0; 56];
    input.read_exact(&mut fixed).map_err(read_failed)?;
    let mut fields = Fields(&fixed);
    if fields.bytes(4) != Some(&MAGIC) {
        return Err(BundleError::NotABundle);
    }
    let version = fields.u16().ok_or(BundleError::Truncated)?;
    if version != VERSION {
        return Err(BundleError::Version(version));
    }
    let count = usize::from(fields.u16().ok_or(BundleError::Truncated)?);
    if count > BASES_MAX {
        return Err(BundleError::TooManyBases(count));
    }
    let target = fields.digest().ok_or(BundleError::Truncated)?;
    let manifest_length = fields.u64().ok_or(BundleError::Truncated)?;
    let plain_length = fields.u64().ok_or(BundleError::Truncated)?;
    let mut bases = Vec::with_capacity(count);
    for _ in 0..count {
        let mut base = [0; 32];
        input.read_exact(&mut base).map_err(read_failed)?;
        bases.push(Digest(base));
    }
    Ok(BundleHeader { target, bases, manifest_length, plain_length })
}

impl BundleHeader {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(56 + self.bases.len() * 32);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&(self.bases.len() as u16).to_le_bytes());
        bytes.extend_from_slice(&self.target.0);
        bytes.extend_from_slice(&self.manifest_length.to_le_bytes());
        bytes.extend_from_slice(&self.plain_length.to_le_bytes());
        for base in &self.bases {
            bytes.extend_from_slice(&base.0);
        }
        bytes
    }

    fn check(&self, library: &Library, limits: &Limits) -> Result<(), BundleError> {
        let max = limits.content_length_max.saturating_add(limits.manifest_length_max);
        if self.plain_length > max {
            return Err(BundleError::TooLong { length: self.plain_length, max });
        }
        if self.manifest_length > limits.manifest_length_max {
            return Err(BundleError::TooLong {
                length: self.manifest_length,
                max: limits.manifest_length_max,
            });
        }
        match self.bases.iter().find(|base| !library.has_manifest(base)) {
            Some(base) => Err(BundleError::BaseLacking { base: *base }),
            None => Ok(()),
        }
    }
}

fn read_failed(error: io::Error) -> BundleError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => BundleError::Truncated,
        _ => BundleError::Read(error),
    }
}

struct HashingWriter<'a> {
    out: &'a mut dyn Write,
    outliner: Outliner,
    length: u64,
}

impl Write for HashingWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.outliner.update(&bytes[..written]);
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
#[path = "bundle_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "bundle/hostile_tests.rs"]
mod hostile_tests;
