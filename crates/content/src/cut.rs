//! Content into the library: cut where it says so itself, so that what is the same in two versions is the same chunks.

use std::{
    io::{self, Read},
    ops::ControlFlow,
};

use fastcdc::v2020::FastCDC;
use packhorse_domain::Digest;

use crate::{
    error::LibraryError,
    limits::{CHUNK_LENGTH_MAX, WHOLE_FILE_LENGTH_MAX},
    manifest::ChunkRef,
    wire::digest_of,
};

const CHUNK_LENGTH_MIN: usize = 16 * 1024;
const CHUNK_LENGTH_AVERAGE: usize = 64 * 1024;
/// Four of the longest chunks, so that little is moved to make room for the next.
const BUFFER: usize = 4 * CHUNK_LENGTH_MAX as usize;

/// Why a file's content was not taken.
#[derive(Debug)]
pub(crate) enum CutError {
    Read(io::Error),
    /// It has another length than it should.
    Length,
    Library(LibraryError),
    Cancelled,
}

/// Where chunks go.
pub(crate) trait ChunkSink {
    /// The next chunk, whose digest was just computed.
    fn take(&mut self, digest: Digest, data: &[u8]) -> Result<(), LibraryError>;
}

/// Keeps nothing: only the digests are wanted.
pub(crate) struct Nowhere;

impl ChunkSink for Nowhere {
    fn take(&mut self, _: Digest, _: &[u8]) -> Result<(), LibraryError> {
        Ok(())
    }
}

/// What was said of long content before it came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known<'k> {
    /// Of its chunks. They add up to its own.
    pub(crate) lengths: &'k [u32],
    /// Of all of it, unless it is one chunk. It is taken at its word: that of the chunks proves the content, and whoever
    /// knows those knows this too.
    pub(crate) digest: Option<Digest>,
}

/// Takes content of a known length in, and if it is long and the lengths of its chunks are known, cuts it there. `report`
/// hears of each chunk's bytes.
pub(crate) fn cut(
    input: &mut dyn Read,
    (length, known): (u64, Option<Known<'_>>),
    sink: &mut dyn ChunkSink,
    report: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<(Digest, Vec<ChunkRef>), CutError> {
    // One byte more than there should be, so that a file that grows is noticed and does not go on for ever.
    let mut input = input.take(length.saturating_add(1));
    if length > WHOLE_FILE_LENGTH_MAX {
        return cut_long(&mut input, (length, known), sink, report);
    }
    let mut content = Vec::with_capacity(length as usize + 1);
    input.read_to_end(&mut content).map_err(CutError::Read)?;
    if content.len() as u64 != length {
        return Err(CutError::Length);
    }
    let digest = digest_of(&content);
    if length == 0 {
        return Ok((digest, Vec::new()));
    }
    sink.take(digest, &content).map_err(CutError::Library)?;
    match report(length) {
        ControlFlow::Continue(()) => Ok((digest, vec![ChunkRef { digest, length: length as u32 }])),
        ControlFlow::Break(()) => Err(CutError::Cancelled),
    }
}

fn cut_long(
    input: &mut dyn Read,
    (length, known): (u64, Option<Known<'_>>),
    sink: &mut dyn ChunkSink,
    report: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<(Digest, Vec<ChunkRef>), CutError> {
    let (mut hasher, told) = (blake3::Hasher::new(), known.and_then(|known| known.digest));
    let mut chunks = Vec::with_capacity((length / CHUNK_LENGTH_AVERAGE as u64).min(1 << 20) as usize);
    let mut taken = 0;
    let mut cutter = Cutter::new(input, length, known.map(|known| known.lengths));
    while let Some(data) = cutter.next().map_err(CutError::Read)? {
        taken += data.len() as u64;
        if taken > length {
            return Err(CutError::Length);
        }
        let digest = digest_of(data);
        let is_all = data.len() as u64 == length;
        if told.is_none() && !is_all {
            hasher.update(data);
        }
        sink.take(digest, data).map_err(CutError::Library)?;
        chunks.push(ChunkRef { digest, length: data.len() as u32 });
        if report(data.len() as u64).is_break() {
            return Err(CutError::Cancelled);
        }
    }
    if taken != length {
        return Err(CutError::Length);
    }
    let digest = match (&chunks[..], told) {
        ([all], _) => all.digest,
        (_, Some(told)) => told,
        (_, None) => Digest(*hasher.finalize().as_bytes()),
    };
    Ok((digest, chunks))
}

/// Gives content chunk by chunk out of one buffer.
struct Cutter<'a> {
    input: &'a mut dyn Read,
    buffer: Vec<u8>,
    /// What of the buffer is read and not yet given.
    start: usize,
    end: usize,
    ended: bool,
    /// The lengths of the next chunks, where they need not be found.
    known: &'a [u32],
}

impl<'a> Cutter<'a> {
    fn new(input: &'a mut dyn Read, length: u64, known: Option<&'a [u32]>) -> Self {
        let room = length.saturating_add(1).min(BUFFER as u64) as usize;
        let known = known.unwrap_or_default();
        Cutter { input, buffer: vec![0; room], start: 0, end: 0, ended: false, known }
    }

    fn next(&mut self) -> io::Result<Option<&[u8]>> {
        if !self.ended && self.end - self.start < CHUNK_LENGTH_MAX as usize {
            self.fill()?;
        }
        let rest = &self.buffer[self.start..self.end];
        if rest.is_empty() {
            return Ok(None);
        }
        let length = match self.known.split_off_first() {
            Some(known) => rest.len().min(*known as usize),
            None => cut_point(rest),
        };
        self.start += length;
        Ok(Some(&self.buffer[self.start - length..self.start]))
    }

    fn fill(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        while self.end < self.buffer.len() {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Where the first chunk of what is not empty ends.
fn cut_point(content: &[u8]) -> usize {
    // No cut point is in zeros.
    if content.get(..CHUNK_LENGTH_MAX as usize).is_some_and(is_zero) {
        return CHUNK_LENGTH_MAX as usize;
    }
    let cutter = FastCDC::new(content, CHUNK_LENGTH_MIN, CHUNK_LENGTH_AVERAGE, CHUNK_LENGTH_MAX as usize);
    cutter.cut(0, content.len()).1
}

/// Whether all bytes are zero; other content shows that in its first few.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use fastcdc::v2020::{FastCDC, StreamCDC};

    use packhorse_domain::Digest;

    use super::{
        CHUNK_LENGTH_AVERAGE, CHUNK_LENGTH_MAX, CHUNK_LENGTH_MIN, ControlFlow, Cutter, Known, Nowhere, cut,
        is_zero,
    };
    use crate::{testing::noise, wire::digest_of};

    fn cuts(content: &[u8]) -> Vec<usize> {
        let mut input = content;
        let mut cutter = Cutter::new(&mut input, content.len() as u64, None);
        std::iter::from_fn(|| cutter.next().unwrap().map(<[u8]>::len)).collect()
    }

    #[test]
    fn the_cut_points_are_those_of_a_plain_stream() {
        let mut mixed = noise(1, 3_000_000);
        mixed[500_000..1_900_000].fill(0);
        mixed.extend(noise(2, 17));
        for content in [noise(3, 65_537), noise(4, 5_000_001), mixed, vec![0; 2_000_000], vec![7; 900_000]] {
            let plain = StreamCDC::new(
                content.as_slice(),
                CHUNK_LENGTH_MIN,
                CHUNK_LENGTH_AVERAGE,
                CHUNK_LENGTH_MAX as usize,
            );
            assert_eq!(cuts(&content), plain.map(|chunk| chunk.unwrap().length).collect::<Vec<_>>());
        }
    }

    #[test]
    fn where_the_lengths_are_known_it_is_cut_there() {
        let content = noise(1, 700_000);
        let known = [10, 200_000, 262_144, 1];
        let mut input = &content[..];
        let mut cutter = Cutter::new(&mut input, content.len() as u64, Some(&known));
        let mut lengths = Vec::new();
        let mut joined = Vec::new();
        while let Some(chunk) = cutter.next().unwrap() {
            lengths.push(chunk.len() as u32);
            joined.extend_from_slice(chunk);
        }
        assert_eq!(lengths[..4], known);
        assert_eq!(joined, content, "what is not known is found");
    }

    #[test]
    fn the_digest_of_what_is_several_chunks_is_taken_at_its_word() {
        let content = noise(1, 200_000);
        let told = Digest([7; 32]);
        for (lengths, digest, expected) in [
            (&[70_000, 130_000][..], None, digest_of(&content)),
            (&[70_000, 130_000], Some(told), told),
            (&[200_000], Some(told), digest_of(&content)),
        ] {
            let known = Some(Known { lengths, digest });
            let length = content.len() as u64;
            let cut =
                cut(&mut &content[..], (length, known), &mut Nowhere, &mut |_| ControlFlow::Continue(()));
            let (digest, chunks) = cut.unwrap();
            assert_eq!(digest, expected);
            assert_eq!(chunks.iter().map(|chunk| chunk.length).collect::<Vec<_>>(), lengths);
            assert_eq!(chunks[0].digest, digest_of(&content[..lengths[0] as usize]));
        }
    }

    #[test]
    fn zeros_have_no_cut_point() {
        let zeros = vec![0; 2 * CHUNK_LENGTH_MAX as usize];
        let whole = FastCDC::new(&zeros, CHUNK_LENGTH_MIN, CHUNK_LENGTH_AVERAGE, CHUNK_LENGTH_MAX as usize);
        assert_eq!(whole.cut(0, zeros.len()).1, CHUNK_LENGTH_MAX as usize);
        assert!(is_zero(&zeros) && is_zero(&[]) && is_zero(&[0; 17]));
        assert!(
            !is_zero(&[0, 1])
                && !is_zero(&[[0; 16], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]].concat())
        );
    }
}
