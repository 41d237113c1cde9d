//! Takes bundles apart and puts others together, under a checksum that is right: what is refused then is refused for what it
//! says. Shared by this crate's tests and the fuzzer.

use std::io::{self, Read as _, Write as _};

/// Of a bundle without bases.
const HEAD_BYTES: usize = 56;
const STREAMS: usize = 14;
const CHECKSUM_BYTES: usize = 32;

/// A bundle in its parts.
#[derive(Debug, Clone)]
pub(crate) struct Apart {
    pub(crate) head: Vec<u8>,
    /// In the order of the format.
    pub(crate) sections: Vec<Section>,
}

/// A stream, as it is compressed.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    pub(crate) plain_length: u64,
    pub(crate) frame: Vec<u8>,
}

impl Apart {
    pub(crate) fn of(bundle: &[u8]) -> Self {
        let bases = usize::from(u16::from_le_bytes([bundle[6], bundle[7]]));
        let (head, rest) = bundle.split_at(HEAD_BYTES + bases * 32);
        let (lengths, mut rest) = rest.split_at(STREAMS * 16);
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("there are eight"));
        let sections = lengths.chunks_exact(16).map(|lengths| {
            let (frame, after) = rest.split_at(number(&lengths[8..]) as usize);
            rest = after;
            Section { plain_length: number(&lengths[..8]), frame: frame.to_vec() }
        });
        let sections = sections.collect();
        assert_eq!(rest.len(), CHECKSUM_BYTES);
        Apart { head: head.to_vec(), sections }
    }

    /// What a stream says.
    pub(crate) fn plain(&self, stream: usize) -> Vec<u8> {
        zstd::decode_all(&self.sections[stream].frame[..]).expect("it was compressed here")
    }

    pub(crate) fn set(&mut self, stream: usize, plain: &[u8]) {
        self.set_repeated(stream, plain, &[0], 0);
    }

    /// A stream that says something, and then something else again and again.
    pub(crate) fn set_repeated(&mut self, stream: usize, front: &[u8], again: &[u8], length: u64) {
        let compress = || -> io::Result<Vec<u8>> {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1)?;
            encoder.window_log(20)?;
            encoder.write_all(front)?;
            let many = again.repeat((1 << 16) / again.len());
            let mut left = length;
            while left > 0 {
                left -= io::copy(&mut many.take(left), &mut encoder)?;
            }
            encoder.finish()
        };
        let frame = compress().expect("memory takes it");
        self.sections[stream] = Section { plain_length: front.len() as u64 + length, frame };
    }

    /// How long a manifest the header declares, and how much in all.
    pub(crate) fn declare(&mut self, manifest_length: u64, plain_length: u64) {
        self.head[40..48].copy_from_slice(&manifest_length.to_le_bytes());
        self.head[48..56].copy_from_slice(&plain_length.to_le_bytes());
    }

    pub(crate) fn together(&self) -> Vec<u8> {
        let mut bundle = self.head.clone();
        for section in &self.sections {
            bundle.extend_from_slice(&section.plain_length.to_le_bytes());
            bundle.extend_from_slice(&(section.frame.len() as u64).to_le_bytes());
        }
        self.sections.iter().for_each(|section| bundle.extend_from_slice(&section.frame));
        sealed(bundle)
    }
}

/// With the checksum that a bundle ends with.
pub(crate) fn sealed(mut bundle: Vec<u8>) -> Vec<u8> {
    let checksum = blake3::hash(&bundle);
    bundle.extend_from_slice(checksum.as_bytes());
    bundle
}

/// Numbers as they are in streams.
pub(crate) fn numbers(all: &[u64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in all {
        let mut rest = *number;
        while rest > 0x7f {
            bytes.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
    }
    bytes
}
