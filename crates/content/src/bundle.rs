//! A bundle: what a library needs to hold a version, given versions that it holds.
//!
//! It begins, integers little-endian, with the magic `PHBN`, format u16, base count u16, BLAKE3 of the target manifest,
//! manifest length u64, plain length u64, BLAKE3 of each base manifest; it ends with the BLAKE3 of everything before. What is
//! between them depends on the format: 1 has all that is new as it is ([`whole`]), 2 what is new as differences from the bases
//! ([`step`]). The same plan gives the same bytes.

mod archives;
mod step;
mod tree;
mod whole;

use std::{
    fs::File,
    io::{self, Read, Seek as _, Write},
};

use packhorse_domain::Digest;

use crate::{
    error::LibraryError,
    library::Library,
    limits::Limits,
    manifest::{Manifest, ManifestError},
    outline::{Outline, Outliner},
    wire::Fields,
};

const MAGIC: [u8; 4] = *b"PHBN";
const BASES_MAX: usize = 64;

/// What is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BundleFormat {
    Whole = 1,
    Step = 2,
}

/// What to bundle, and what the receiver is known to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundlePlan {
    /// The manifest of the version.
    pub target: Digest,
    /// Manifests that the receiver holds. At most 64.
    pub bases: Vec<Digest>,
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
    pub format: BundleFormat,
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
    #[error("the bundle has format version {0}, this program knows versions 1 and 2: upgrade it")]
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
    level: i32,
) -> Result<BundleInfo, BundleError> {
    if plan.bases.len() > BASES_MAX {
        return Err(BundleError::TooManyBases(plan.bases.len()));
    }
    let bytes = library.manifest_bytes(&plan.target).map_err(BundleError::Library)?;
    let bytes = bytes.ok_or(BundleError::TargetLacking { target: plan.target })?;
    let mut out = HashingWriter { out, outliner: Outliner::new(), length: 0 };
    let plain_length = match plan.bases.is_empty() {
        true => whole::write(library, &plan.target, &bytes, &mut out, level)?,
        false => step::write(library, plan, &bytes, &mut out, level)?,
    };
    let checksum = out.outliner.digest();
    out.write_all(checksum.as_bytes()).and_then(|()| out.flush()).map_err(BundleError::Write)?;
    let (digest, outline) = out.outliner.finish();
    Ok(BundleInfo { length: out.length, digest, outline, plain_length })
}

/// Takes a bundle into the library: every byte is checked, the chunks become durable, then the manifest. To apply a
/// bundle again changes nothing. A bundle that is refused leaves no manifest, and at most chunks that are what their
/// digests say, which the next collection removes.
pub fn apply_bundle(library: &Library, file: &File, limits: &Limits) -> Result<Manifest, BundleError> {
    let mut input = file;
    input.rewind().map_err(BundleError::Read)?;
    let header = read_header(&mut input)?;
    header.check(library, limits)?;
    input.rewind().map_err(BundleError::Read)?;
    match header.format {
        BundleFormat::Whole => whole::apply(library, &mut input, limits),
        BundleFormat::Step => step::apply(library, file, &header, limits),
    }
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
    let format = match version {
        1 => BundleFormat::Whole,
        2 => BundleFormat::Step,
        other => return Err(BundleError::Version(other)),
    };
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
    Ok(BundleHeader { format, target, bases, manifest_length, plain_length })
}

impl BundleHeader {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(56 + self.bases.len() * 32);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&(self.format as u16).to_le_bytes());
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

/// Reads exactly `length` bytes. Memory is taken as they come, not as they are announced.
fn take(input: &mut dyn Read, length: u64, into: &mut Vec<u8>) -> Result<(), BundleError> {
    let taken = input.take(length).read_to_end(into).map_err(decode_failed)?;
    if taken as u64 != length {
        return Err(BundleError::Damaged("it holds less than it declares"));
    }
    Ok(())
}

fn read_failed(error: io::Error) -> BundleError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => BundleError::Truncated,
        _ => BundleError::Read(error),
    }
}

/// What zstd refuses comes without a code of the system; what reading refuses has one.
fn decode_failed(error: io::Error) -> BundleError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => BundleError::Truncated,
        _ if error.raw_os_error().is_none() => BundleError::Damaged("it cannot be decompressed"),
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
