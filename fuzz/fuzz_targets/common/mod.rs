//! Changes to good bytes, read from what the fuzzer gives: so it gets behind checksums and compression.

/// Numbers in which arithmetic goes wrong.
const NUMBERS: [u64; 8] = [0, 1, 127, 128, 1 << 20, u32::MAX as u64, 1 << 63, u64::MAX];
const EDIT_BYTES: usize = 6;

/// One change of one of several things.
pub(crate) struct Edit {
    /// Which of them.
    pub(crate) of: usize,
    what: u8,
    at: usize,
    one: u8,
    other: u8,
}

/// As many changes as there are bytes for, a dozen at most.
pub(crate) fn edits(input: &[u8]) -> impl Iterator<Item = Edit> {
    input.chunks_exact(EDIT_BYTES).take(12).map(|bytes| Edit {
        of: bytes[0].into(),
        what: bytes[1],
        at: u16::from_le_bytes([bytes[2], bytes[3]]).into(),
        one: bytes[4],
        other: bytes[5],
    })
}

impl Edit {
    pub(crate) fn number(&self) -> u64 {
        NUMBERS[usize::from(self.one) % NUMBERS.len()].wrapping_add_signed(i64::from(self.other as i8))
    }

    pub(crate) fn apply(&self, bytes: &mut Vec<u8>) {
        let at = self.at % (bytes.len() + 1);
        let end = (at + usize::from(self.one)).min(bytes.len());
        match self.what % 8 {
            0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = self.other),
            1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= self.other),
            2 => drop(bytes.splice(at..at, vec![self.other; self.one.into()])),
            3 => drop(bytes.drain(at..end)),
            4 => drop(bytes.splice(at..at, varint(self.number()))),
            5 => bytes.extend_from_within(at..end),
            6 => {
                bytes.iter_mut().skip(at).zip(self.number().to_le_bytes()).for_each(|(byte, new)| *byte = new)
            }
            _ => bytes.truncate(at),
        }
    }
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A directory in memory where there is one.
pub(crate) fn memory() -> tempfile::TempDir {
    let made = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    made.expect("a directory can be made")
}
