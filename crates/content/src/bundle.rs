//! A bundle: what a library needs to hold a version, given versions that it holds.
//!
//! Format, version 1, integers little-endian: magic `PHBN`, version u16, base count u16, BLAKE3 of the target manifest,
//! manifest length u64, plain length u64, BLAKE3 of each base manifest; one zstd frame, whose plain bytes are the
//! manifest, a bitmap with one bit for each chunk of the manifest (bit 0 of byte 0 first; set: included), and the
//! included chunks, all in the manifest's order; then the BLAKE3 of everything before. The frame's window is at most
//! 2^25 bytes, so that the smallest machine can read it. The same plan gives the same bytes.

use std::{
    collections::HashSet,
    io::{self, BufRead, Read, Write},
};

use packhorse_domain::Digest;

use crate::{
    error::LibraryError,
    library::Library,
    limits::Limits,
    manifest::{ChunkRef, Manifest, ManifestError},
    outline::{Outline, Outliner},
    reader::ChunkReader,
    wire::{Fields, digest_of},
};

const MAGIC: [u8; 4] = *b"PHBN";
const VERSION: u16 = 1;
const BASES_MAX: usize = 64;
const WINDOW_LOG_MAX: u32 = 25;

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
    /// What it holds, uncompressed.
    pub plain_length: u64,
    /// How many chunks it holds.
    pub chunks: u64,
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
    #[error("the bundle has format version {0}, this program knows version 1: upgrade it")]
    Version(u16),
    #[error("the bundle is longer than accepted: {length} bytes uncompressed, {max} are")]
    TooLong { length: u64, max: u64 },
    #[error("the bundle is cut off")]
    Truncated,
    #[error("bytes follow the end of the bundle")]
    Trailing,
    #[error("the bundle is damaged: {0}")]
    Damaged(&'static str),
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
    let manifest = Manifest::decode(&bytes, &Limits::default()).map_err(BundleError::Manifest)?;
    let mut held = HashSet::new();
    for base in &plan.bases {
        let manifest = library.manifest(base).map_err(BundleError::Library)?;
        let manifest = manifest.ok_or(BundleError::BaseLacking { base: *base })?;
        held.extend(manifest.chunks().map(|chunk| chunk.digest));
    }
    let (bitmap, included) = choose(&manifest, |chunk| !held.contains(&chunk.digest));
    let plain_length = plain_length(bytes.len() as u64, bitmap.len() as u64, &included);
    let header = BundleHeader {
        target: plan.target,
        bases: plan.bases.clone(),
        manifest_length: bytes.len() as u64,
        plain_length,
    };
    let mut out = HashingWriter { out, outliner: Outliner::new(), length: 0 };
    out.write_all(&header.encode()).map_err(BundleError::Write)?;
    let mut encoder = encoder(&mut out, level, plain_length).map_err(BundleError::Write)?;
    encoder.write_all(&bytes).and_then(|()| encoder.write_all(&bitmap)).map_err(BundleError::Write)?;
    let mut reader = ChunkReader::new(&library.shared);
    for chunk in &included {
        let data = reader.exactly(chunk).map_err(BundleError::Library)?;
        encoder.write_all(data).map_err(BundleError::Write)?;
    }
    encoder.finish().map_err(BundleError::Write)?;
    let checksum = out.outliner.digest();
    out.write_all(checksum.as_bytes()).and_then(|()| out.flush()).map_err(BundleError::Write)?;
    let (digest, outline) = out.outliner.finish();
    Ok(BundleInfo { length: out.length, digest, outline, plain_length, chunks: included.len() as u64 })
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

/// Takes a bundle into the library: every byte is checked, the chunks become durable, then the manifest. To apply a
/// bundle again changes nothing. A bundle that is refused leaves no manifest, and at most chunks that are what their
/// digests say, which the next collection removes.
pub fn apply_bundle(
    library: &Library,
    input: &mut dyn Read,
    limits: &Limits,
) -> Result<Manifest, BundleError> {
    let mut input = HashingReader::new(input);
    let header = read_header(&mut input)?;
    header.check(library, limits)?;
    let mut decoder =
        zstd::stream::read::Decoder::with_buffer(&mut input).map_err(BundleError::Read)?.single_frame();
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(BundleError::Read)?;
    let mut bytes = Vec::new();
    take(&mut decoder, header.manifest_length, &mut bytes)?;
    if digest_of(&bytes) != header.target {
        return Err(BundleError::Damaged("its manifest is not the one it names"));
    }
    let manifest = Manifest::decode(&bytes, limits).map_err(BundleError::Manifest)?;
    let included = take_bitmap(&mut decoder, &manifest, &header)?;
    let mut writer = library.writer().map_err(BundleError::Library)?;
    for chunk in &included.absent {
        if !library.has_chunk(&chunk.digest) {
            return Err(BundleError::ChunkLacking { chunk: chunk.digest });
        }
    }
    let mut data = Vec::new();
    for chunk in &included.present {
        data.clear();
        take(&mut decoder, chunk.length.into(), &mut data)?;
        if digest_of(&data) != chunk.digest {
            return Err(BundleError::Damaged("a chunk is not what its digest says"));
        }
        writer.add_checked(chunk.digest, &data).map_err(BundleError::Library)?;
    }
    if decoder.read(&mut [0]).map_err(decode_failed)? != 0 {
        return Err(BundleError::Damaged("it holds more than it declares"));
    }
    drop(decoder);
    check_end(&mut input)?;
    writer.flush_durable().map_err(BundleError::Library)?;
    library.put_manifest(&bytes).map_err(BundleError::Library)?;
    writer.seal().map_err(BundleError::Library)?;
    Ok(manifest)
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

/// The chunks of a target, by whether the bundle brings them.
struct Included {
    present: Vec<ChunkRef>,
    absent: Vec<ChunkRef>,
}

/// The bitmap of the manifest's chunks and those whose bit is set.
fn choose(manifest: &Manifest, include: impl Fn(&ChunkRef) -> bool) -> (Vec<u8>, Vec<ChunkRef>) {
    let mut bitmap = Vec::new();
    let mut included = Vec::new();
    for (number, chunk) in manifest.chunks().enumerate() {
        if number.is_multiple_of(8) {
            bitmap.push(0);
        }
        if include(&chunk) {
            bitmap[number / 8] |= 1 << (number % 8);
            included.push(chunk);
        }
    }
    (bitmap, included)
}

fn take_bitmap(
    decoder: &mut dyn Read,
    manifest: &Manifest,
    header: &BundleHeader,
) -> Result<Included, BundleError> {
    let chunks: Vec<ChunkRef> = manifest.chunks().collect();
    let mut bitmap = Vec::new();
    take(decoder, chunks.len().div_ceil(8) as u64, &mut bitmap)?;
    let is_set = |number: usize| bitmap[number / 8] & (1 << (number % 8)) != 0;
    if (chunks.len()..bitmap.len() * 8).any(is_set) {
        return Err(BundleError::Damaged("its bitmap names chunks that the manifest does not"));
    }
    let mut included = Included { present: Vec::new(), absent: Vec::new() };
    for (number, chunk) in chunks.into_iter().enumerate() {
        if is_set(number) {
            included.present.push(chunk);
        } else {
            included.absent.push(chunk);
        }
    }
    if header.plain_length != plain_length(header.manifest_length, bitmap.len() as u64, &included.present) {
        return Err(BundleError::Damaged("it declares another length than its chunks have"));
    }
    Ok(included)
}

fn plain_length(manifest: u64, bitmap: u64, included: &[ChunkRef]) -> u64 {
    manifest + bitmap + included.iter().map(|chunk| u64::from(chunk.length)).sum::<u64>()
}

fn encoder<W: Write>(
    out: W,
    level: i32,
    plain_length: u64,
) -> io::Result<zstd::stream::write::Encoder<'static, W>> {
    let mut encoder = zstd::stream::write::Encoder::new(out, level)?;
    encoder.set_pledged_src_size(Some(plain_length))?;
    encoder.long_distance_matching(true)?;
    // The window is no longer than the content needs: a small bundle takes little memory to read.
    let needed = plain_length.max(1).next_power_of_two().ilog2();
    encoder.window_log(needed.clamp(17, WINDOW_LOG_MAX))?;
    Ok(encoder)
}

/// Reads exactly `length` bytes. Memory is taken as they come, not as they are announced.
fn take(input: &mut dyn Read, length: u64, into: &mut Vec<u8>) -> Result<(), BundleError> {
    let taken = input.take(length).read_to_end(into).map_err(decode_failed)?;
    if taken as u64 != length {
        return Err(BundleError::Damaged("it holds less than it declares"));
    }
    Ok(())
}

fn check_end(input: &mut HashingReader<'_>) -> Result<(), BundleError> {
    let expected = input.hasher.finalize();
    let mut checksum = [0; 32];
    input.read_exact(&mut checksum).map_err(read_failed)?;
    if expected != checksum {
        return Err(BundleError::Damaged("its checksum is wrong"));
    }
    match input.read(&mut [0]).map_err(BundleError::Read)? {
        0 => Ok(()),
        _ => Err(BundleError::Trailing),
    }
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

/// Hashes what is consumed, not what is buffered: the checksum begins where the frame ends.
struct HashingReader<'a> {
    input: io::BufReader<&'a mut dyn Read>,
    hasher: blake3::Hasher,
}

impl<'a> HashingReader<'a> {
    fn new(input: &'a mut dyn Read) -> Self {
        HashingReader {
            input: io::BufReader::with_capacity(128 * 1024, input),
            hasher: blake3::Hasher::new(),
        }
    }
}

impl BufRead for HashingReader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        let buffered = self.input.buffer();
        self.hasher.update(&buffered[..amount.min(buffered.len())]);
        self.input.consume(amount);
    }
}

impl Read for HashingReader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(into.len());
        into[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}

#[cfg(test)]
#[path = "bundle_tests.rs"]
mod tests;
