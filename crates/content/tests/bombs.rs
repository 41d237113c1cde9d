//! Little that unpacks to much: refused before memory or disk is spent beyond what is declared and permitted. One test, in a
//! process of its own, since it measures the process.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::{
    fs,
    io::{self, Read as _, Write as _},
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use packhorse_content::{
    Block, BundleError, BundlePlan, ChunkRef, Library, Limits, Making, apply_bundle, snapshot, write_bundle,
};

mod apart;

use apart::{Apart, numbers};

const GIB: u64 = 1 << 30;
/// The largest windows that are accepted, in all streams at once, and something for the rest.
const MEMORY_MAX: u64 = 96 << 20;
const WRITTEN_MAX: u64 = 8 << 20;
/// What the limits permit of a manifest.
const MANIFEST_MAX: u64 = 256 << 20;
const TREE: usize = 0;
const USED: usize = 1;
const INFLATED: usize = 2;
const DEFLATED: usize = 3;
const LITERAL_LENGTHS: usize = 4;
const COPY_LENGTHS: usize = 5;
const FRAMES: usize = 12;
const LITERALS: usize = 13;

/// Does something. What it took of memory and what it wrote, in bytes.
fn measured<T>(work: impl FnOnce() -> T) -> (T, u64, u64) {
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_end_matches("kB").trim().parse::<u64>().unwrap()
    };
    let written = || field("/proc/self/io", "wchar:");
    // From here on the peak is counted anew.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let (memory_before, written_before) = (field("/proc/self/status", "VmRSS:"), written());
    let result = work();
    let memory = field("/proc/self/status", "VmHWM:").saturating_sub(memory_before) * 1024;
    (result, memory, written() - written_before)
}

fn assert_cheap<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let (result, memory, written) = measured(work);
    assert!(memory <= MEMORY_MAX, "{what}: {memory} bytes of memory");
    assert!(written <= WRITTEN_MAX, "{what}: {written} bytes written");
    result
}

fn taken(library: &Library, content: &[(&str, Vec<u8>)]) -> packhorse_content::Snapshot {
    let directory = tempfile::tempdir().unwrap();
    content.iter().for_each(|(name, bytes)| fs::write(directory.path().join(name), bytes).unwrap());
    snapshot(directory.path(), library, &|_| ControlFlow::Continue(())).unwrap()
}

fn applied(library: &Library, bundle: &Apart, limits: &Limits) -> Result<(), BundleError> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bundle.together()).unwrap();
    apply_bundle(library, &file, limits).map(|_| ())
}

/// A gzip, which is one run of deflated bytes behind ten others.
fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn text(seed: u64) -> Vec<u8> {
    (0..60_000_u64)
        .flat_map(|nth| format!("{} ", (nth + seed / (nth + 1)) * 7919 % 5003).into_bytes())
        .collect()
}

/// Two libraries of which one holds the old version, and the bundle from that to the new one.
fn step() -> (tempfile::TempDir, Library, Apart) {
    let directory = tempfile::tempdir().unwrap();
    let open = |name: &str| Library::open(&directory.path().join(name)).unwrap();
    let (sender, receiver) = (open("sender"), open("receiver"));
    let old = [("a.gz", gzip(&text(1))), ("bomb.gz", gzip(&vec![0; 32 << 20]))];
    let base = taken(&sender, &old);
    taken(&receiver, &old);
    let target = taken(&sender, &[("a.gz", gzip(&text(90)))]).digest;
    let mut bytes = Vec::new();
    write_bundle(&sender, &BundlePlan { target, bases: vec![base.digest] }, &mut bytes, Making::small(3))
        .unwrap();
    let bundle = Apart::of(&bytes);
    assert!(bundle.plain(DEFLATED).len() > 4, "the archive is told inflated");
    applied(&receiver, &bundle, &Limits::default()).unwrap();
    (directory, receiver, bundle)
}

/// Each stream goes on for a gibibyte after half of what it says.
fn endless_streams(library: &Library, good: &Apart) {
    for stream in 0..good.sections.len() {
        let plain = good.plain(stream);
        let mut bomb = good.clone();
        bomb.set_repeated(stream, &plain[..plain.len() / 2], &[1], GIB);
        assert!(bomb.sections[stream].frame.len() < 200_000);
        let what = format!("stream {stream} goes on for ever");
        assert_cheap(&what, || applied(library, &bomb, &Limits::default())).expect_err(&what);
    }
}

/// Lists of which no entry takes anything.
fn endless_lists(library: &Library, good: &Apart) {
    let tree =
        |front: &[u64], again: &[u64]| (TREE, numbers(&[&[2_000_000], front].concat()), numbers(again));
    let many = || numbers(&[1 << 40]);
    for (what, (stream, front, again)) in [
        ("empty runs that are copied from", (INFLATED, many(), numbers(&[0, 0, 0, 1]))),
        ("empty runs that are not copied from", (INFLATED, many(), numbers(&[0, 0, 0, 0]))),
        ("empty runs of a told file", (DEFLATED, many(), numbers(&[0, 0, 0, 6]))),
        ("long paths", tree(&[2, 0, 255], &[97])),
        ("the same path", tree(&[2, 0, 1, 97, 0], &[2, 1, 0, 0])),
        ("paths that grow", tree(&[2, 0, 1, 97, 0], &[2, 1, 2, 47, 97, 0])),
    ] {
        let mut bomb = good.clone();
        bomb.declare(MANIFEST_MAX, MANIFEST_MAX + 1000);
        bomb.set_repeated(stream, &front, &again, GIB);
        assert_cheap(what, || applied(library, &bomb, &Limits::default())).expect_err(what);
    }
}

/// A file that is longer than is permitted, or than is declared.
fn long_files(library: &Library, good: &Apart) {
    let limits = Limits { content_length_max: 1 << 20, ..Limits::default() };
    let mut bomb = good.clone();
    bomb.set(TREE, &[numbers(&[1, 2, 0, 1]), vec![b'a', 1], numbers(&[GIB, 0])].concat());
    bomb.set(DEFLATED, &[0]);
    bomb.set_repeated(LITERALS, &[], &[7], GIB);
    bomb.set(LITERAL_LENGTHS, &numbers(&[GIB]));
    bomb.set(COPY_LENGTHS, &[0]);
    for (manifest_length, plain_length) in
        [(58, GIB), (58, 58 + GIB), (58, u64::MAX), (GIB, 0), (58, 57), (58, 1000)]
    {
        bomb.declare(manifest_length, plain_length);
        let what = format!("{manifest_length} and {plain_length} are declared");
        assert_cheap(&what, || applied(library, &bomb, &limits)).expect_err(&what);
    }
}

/// An archive of the bases in which little is deflated that becomes much.
fn deflated_bombs(library: &Library, good: &Apart) {
    let length = gzip(&vec![0; 32 << 20]).len() as u64 - 18;
    for plain in [length * 128, 32 << 20, 1000, u64::MAX >> 1] {
        let mut bomb = good.clone();
        bomb.set(USED, &[0b11]);
        bomb.set(INFLATED, &numbers(&[1, 1, 10, length, plain << 1 | 1]));
        let what = format!("what is deflated is told to become {plain} bytes");
        assert_cheap(&what, || applied(library, &bomb, &Limits::default())).expect_err(&what);
    }
}

/// Literals in frames that hold more than they say, or say more than there is.
fn framed_bombs(library: &Library, good: &Apart) {
    let frame = zstd::encode_all(io::repeat(0).take(GIB), 3).unwrap();
    let length = frame.len() as u64;
    for (what, frames) in [
        ("a frame holds a gibibyte", numbers(&[length, GIB])),
        ("a frame holds more than it says", numbers(&[length, 1 << 20])),
        ("a frame is as long as can be", numbers(&[u64::MAX >> 1, 1 << 20])),
        ("a frame is longer than any block", numbers(&[2 << 20, 1 << 20])),
        ("a frame holds nothing", numbers(&[length, 0])),
        ("frames hold nothing", numbers(&[0, 0]).repeat(1 << 20)),
    ] {
        let mut bomb = good.clone();
        bomb.set(TREE, &[numbers(&[1, 2, 0, 1]), vec![b'a', 1], numbers(&[GIB, 0])].concat());
        bomb.set(DEFLATED, &[0]);
        bomb.set(LITERAL_LENGTHS, &numbers(&[GIB]));
        bomb.set(COPY_LENGTHS, &[0]);
        bomb.declare(58 + GIB / 16384 * 36, 58 + GIB / 16384 * 36 + GIB);
        bomb.set(FRAMES, &frames);
        bomb.sections[LITERALS].frame.clone_from(&frame);
        bomb.sections[LITERALS].plain_length = GIB;
        let error = assert_cheap(what, || applied(library, &bomb, &Limits::default())).expect_err(what);
        assert!(matches!(error, BundleError::Unmade(_)), "{what}: {error:?}");
    }
}

/// Blocks that come from elsewhere, and blocks in a pack, under a checksum that is right.
fn blocks() {
    let frame = zstd::encode_all(io::repeat(0).take(GIB), 3).unwrap();
    let chunk = |length| ChunkRef { digest: packhorse_domain::Digest([7; 32]), length };
    for chunks in
        [vec![chunk(1000)], vec![chunk(256 << 10); 4], vec![chunk(256 << 10); 4096], vec![chunk(u32::MAX)]]
    {
        let block = Block { chunks, data: frame.clone() };
        assert_cheap("a block", || block.plain()).unwrap_err();
        let directory = tempfile::tempdir().unwrap();
        let packs = packs_of(directory.path());
        fs::write(packs.join("0000000000000001.pack"), pack_of(&block)).unwrap();
        let library = assert_cheap("opening", || Library::open(directory.path())).unwrap();
        assert_cheap("a pack", || library.chunk(&block.chunks[0].digest)).unwrap_or_default();
        assert_cheap("a pack", || library.collect(&[])).unwrap();
    }
}

fn packs_of(library: &Path) -> PathBuf {
    let packs = library.join("packs");
    fs::create_dir(&packs).unwrap();
    packs
}

fn pack_of(block: &Block) -> Vec<u8> {
    let mut bytes = [&b"PHBK\x01\0\0\0"[..], &(block.chunks.len() as u32).to_le_bytes()].concat();
    bytes.extend_from_slice(&(block.data.len() as u32).to_le_bytes());
    for chunk in &block.chunks {
        bytes.extend_from_slice(&[&chunk.digest.0[..], &chunk.length.to_le_bytes()].concat());
    }
    bytes.extend_from_slice(&block.data);
    let checksum = blake3::hash(&bytes);
    [b"PHPK\x01\0\0\0\0\0\0\0\0\0\0\0", &bytes[..], &checksum.as_bytes()[..16]].concat()
}

#[test]
fn bombs_cost_no_more_than_is_permitted() {
    let (_directory, library, good) = step();
    let before = (library.manifests().unwrap(), library.disk_bytes());

    endless_streams(&library, &good);
    endless_lists(&library, &good);
    long_files(&library, &good);
    deflated_bombs(&library, &good);
    framed_bombs(&library, &good);
    blocks();

    assert_eq!(library.manifests().unwrap(), before.0);
    assert_eq!(library.disk_bytes(), before.1);
}
