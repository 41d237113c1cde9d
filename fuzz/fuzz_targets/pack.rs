//! Packs and indexes on a disk that lies, under checksums that are right: a library opens, gives what was put into it or
//! nothing, and can be collected and written to.

#![no_main]

use std::{cell::RefCell, fs, ops::ControlFlow, path::PathBuf};

use libfuzzer_sys::fuzz_target;
use packhorse_content::{Block, ChunkRef, Library, LibraryError};
use packhorse_domain::Digest;

mod common;

const HEADER: usize = 16;
const CHECKSUM: usize = 16;

struct World {
    directory: tempfile::TempDir,
    pieces: Vec<(Digest, Vec<u8>)>,
    /// The blocks without their checksums.
    blocks: Vec<Vec<u8>>,
    /// Without its checksum.
    index: Vec<u8>,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::new(World::new());
}

impl World {
    fn new() -> Self {
        let directory = common::memory();
        let pieces: Vec<Vec<u8>> = (0..5).map(|nth: u8| (0..60).map(|at| at * nth ^ at).collect()).collect();
        let pieces: Vec<_> =
            pieces.into_iter().map(|piece| (Digest(*blake3::hash(&piece).as_bytes()), piece)).collect();
        let mut world = World { directory, pieces, blocks: Vec::new(), index: Vec::new() };
        let library = Library::open(world.directory.path()).expect("it can be opened");
        for some in world.pieces.chunks(2) {
            let mut writer = library.writer().expect("it can be written to");
            for (digest, piece) in some {
                writer.add(*digest, piece).expect("it takes it");
            }
            writer.seal().expect("it is kept");
        }
        drop(library);
        let (pack, mut index) = (world.read("pack"), world.read("index"));
        index.truncate(index.len() - 32);
        let mut rest = &pack[HEADER..];
        while let [_, _, _, _, _, _, _, _, chunks, _, _, _, one, two, _, _, ..] = rest {
            let data = usize::from(u16::from_le_bytes([*one, *two]));
            let (block, after) = rest.split_at(16 + usize::from(*chunks) * 36 + data + CHECKSUM);
            world.blocks.push(block[..block.len() - CHECKSUM].to_vec());
            rest = after;
        }
        assert_eq!(world.blocks.len(), 3);
        world.index = index;
        world
    }

    fn path(&self, what: &str) -> PathBuf {
        self.directory.path().join("packs/0000000000000001").with_extension(what)
    }

    fn read(&self, what: &str) -> Vec<u8> {
        fs::read(self.path(what)).expect("it is there")
    }

    /// Whatever lies there.
    fn use_it(&self) {
        let library = match Library::open(self.directory.path()) {
            Ok(library) => library,
            Err(LibraryError::Format { .. }) => return,
            Err(error) => panic!("{error:?}"),
        };
        for (digest, piece) in &self.pieces {
            if let Ok(Some(bytes)) = library.chunk(digest) {
                assert_eq!(bytes, *piece);
            }
        }
        let digests: Vec<Digest> = self.pieces.iter().map(|(digest, _)| *digest).collect();
        let _ = library.read_blocks(&digests, &mut |block| {
            let _ = block.verified_plain();
            ControlFlow::Continue(())
        });
        library.forget_damaged(&digests).expect("damage is no failure");
        let mut writer = library.writer().expect("it can be written to");
        for (digest, piece) in &self.pieces {
            writer.add(*digest, piece).expect("it takes it");
        }
        writer.seal().expect("it is kept");
        for (digest, piece) in &self.pieces {
            assert_eq!(library.chunk(digest).expect("it was mended").as_ref(), Some(piece));
        }
        library.collect(&[]).expect("nobody writes");
    }
}

fuzz_target!(|input: &[u8]| {
    WORLD.with_borrow(|world| {
        let (mut blocks, mut index) = (world.blocks.clone(), world.index.clone());
        for edit in common::edits(input) {
            match edit.of % 5 {
                3 | 4 => edit.apply(&mut index),
                nth => edit.apply(&mut blocks[nth]),
            }
        }
        let mut pack = b"PHPK\x01\0\0\0\0\0\0\0\0\0\0\0".to_vec();
        for block in &blocks {
            pack.extend_from_slice(block);
            pack.extend_from_slice(&blake3::hash(block).as_bytes()[..CHECKSUM]);
        }
        index.extend_from_slice(blake3::hash(&index.clone()).as_bytes());
        let _ = fs::remove_dir_all(world.directory.path().join("packs"));
        fs::create_dir_all(world.directory.path().join("packs")).expect("a directory can be made");
        fs::write(world.path("pack"), &pack).expect("it is written");
        if input.first().is_none_or(|first| first % 2 == 0) {
            fs::write(world.path("index"), &index).expect("it is written");
        }
        world.use_it();
        as_block(input);
    });
});

/// The same bytes as a block from elsewhere.
fn as_block(input: &[u8]) {
    let Some((lengths, data)) = input.split_at_checked(4) else { return };
    let chunk = |length: u8| ChunkRef { digest: Digest([7; 32]), length: 1 << (length % 32) };
    let block = Block { chunks: lengths.iter().map(|length| chunk(*length)).collect(), data: data.to_vec() };
    if let Ok(plain) = block.plain() {
        assert_eq!(plain.len() as u64, block.chunks.iter().map(|chunk| u64::from(chunk.length)).sum::<u64>());
    }
}
