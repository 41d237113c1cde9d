//! A bundle with all that the receiver lacks, chunk by chunk.
//!
//! After the header: one zstd frame, whose plain bytes are the manifest, a bitmap with one bit for each chunk of the
//! manifest (bit 0 of byte 0 first; set: included), and the included chunks, all in the manifest's order; then the BLAKE3
//! of everything before. The frame's window is at most 2^25 bytes, so that the smallest machine can read it.

use std::io::{self, BufRead, Read, Write};

use packhorse_domain::Digest;

use super::{
    BundleError, BundleFormat, BundleHeader, HashingWriter, decode_failed, read_failed, read_header, take,
};
use crate::{
    library::Library,
    limits::Limits,
    manifest::{ChunkRef, Manifest},
    reader::ChunkReader,
    wire::digest_of,
};

const WINDOW_LOG_MAX: u32 = 25;

/// Writes it up to its checksum. Gives the plain length.
pub(super) fn write(
    library: &Library,
    target: &Digest,
    bytes: &[u8],
    out: &mut HashingWriter<'_>,
    level: i32,
) -> Result<u64, BundleError> {
    let manifest = Manifest::decode(bytes, &Limits::default()).map_err(BundleError::Manifest)?;
    let (bitmap, included) = all_of(&manifest);
    let plain_length = plain_length(bytes.len() as u64, bitmap.len() as u64, &included);
    let header = BundleHeader {
        format: BundleFormat::Whole,
        target: *target,
        bases: Vec::new(),
        manifest_length: bytes.len() as u64,
        plain_length,
    };
    out.write_all(&header.encode()).map_err(BundleError::Write)?;
    let mut encoder = encoder(out, level, plain_length).map_err(BundleError::Write)?;
    encoder.write_all(bytes).and_then(|()| encoder.write_all(&bitmap)).map_err(BundleError::Write)?;
    let mut reader = ChunkReader::new(&library.shared);
    for chunk in &included {
        let data = reader.exactly(chunk).map_err(BundleError::Library)?;
        encoder.write_all(data).map_err(BundleError::Write)?;
    }
    encoder.finish().map_err(BundleError::Write)?;
    Ok(plain_length)
}

/// Takes it in.
pub(super) fn apply(
    library: &Library,
    input: &mut dyn Read,
    limits: &Limits,
) -> Result<Manifest, BundleError> {
    let mut input = HashingReader::new(input);
    let header = read_header(&mut input)?;
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

/// The chunks of a target, by whether the bundle brings them.
struct Included {
    present: Vec<ChunkRef>,
    absent: Vec<ChunkRef>,
}

/// The bitmap of a manifest's chunks with all of them set, and they.
fn all_of(manifest: &Manifest) -> (Vec<u8>, Vec<ChunkRef>) {
    let chunks: Vec<ChunkRef> = manifest.chunks().collect();
    let mut bitmap = vec![0xff; chunks.len() / 8];
    let rest = chunks.len() % 8;
    bitmap.extend((rest > 0).then(|| (1 << rest) - 1));
    (bitmap, chunks)
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
