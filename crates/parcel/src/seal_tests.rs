//! Reading an encrypted stream at any offset, against the bytes that went into it.

use std::{fs::File, io::Write as _, os::unix::fs::FileExt as _};

use proptest::prelude::{any, prop, proptest};

use super::*;

fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

/// The stream in a file, behind some other bytes.
fn sealed(plain: &[u8], identity: &Identity) -> (File, Vec<u8>, u64, u64) {
    let recipient = identity.recipient();
    let mut sealer = Sealer::new([&recipient].into_iter()).unwrap();
    let seal = sealer.take();
    plain.chunks(100_000).for_each(|piece| sealer.push(piece).unwrap());
    let stream = sealer.finish().unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"before").unwrap();
    file.write_all(&stream).unwrap();
    file.write_all(b"after").unwrap();
    (file, seal, 6, 6 + stream.len() as u64)
}

fn opened(plain: &[u8]) -> (Opened, File) {
    let identity = Identity::generate();
    let (file, seal, from, to) = sealed(plain, &identity);
    let again = file.try_clone().unwrap();
    (Opened::new(file, seal, from, to, &identity).unwrap(), again)
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(60))]

    /// At offsets near the ends of chunks too, in any order, with a damaged chunk or none.
    #[test]
    fn each_byte_is_where_it_was(
        length in prop::sample::select(vec![0_usize, 1, 65_535, 65_536, 65_537, 131_072, 200_000]),
        reads in prop::collection::vec((0_u64..4, -3_i64..4, 0_usize..140_000), 1..40),
        damaged in any::<Option<u64>>(),
    ) {
        let plain = noise(length);
        let (mut opened, file) = opened(&plain);
        let damaged = damaged.map(|chunk| chunk % 4).filter(|chunk| chunk * CHUNK_BYTES < length as u64);
        if let Some(chunk) = damaged {
            file.write_all_at(&[0; 16], 6 + chunk * (CHUNK_BYTES + 16)).unwrap();
        }
        for (chunk, by, count) in reads {
            let offset = (chunk * CHUNK_BYTES).saturating_add_signed(by);
            let mut buffer = vec![0; count];
            let read = opened.read_exact_at(offset, &mut buffer);
            let chunks = offset / CHUNK_BYTES..(offset + count as u64).div_ceil(CHUNK_BYTES);
            let there = plain.get(offset as usize..offset as usize + count);
            match there {
                _ if count == 0 => assert_eq!(read, Ok(())),
                Some(there) if !damaged.is_some_and(|chunk| chunks.contains(&chunk)) => {
                    assert!(read.is_ok() && buffer == there, "{offset} {count}");
                }
                _ => assert_eq!(read, Err(Broken), "{offset} {count}"),
            }
        }
    }
}

#[test]
fn what_ends_early_is_broken_and_what_was_before_is_not() {
    let plain = noise(200_000);
    let (mut opened, file) = opened(&plain);
    file.set_len(6 + 2 * (CHUNK_BYTES + 16) + 100).unwrap();
    let mut buffer = vec![0; 1000];
    assert_eq!(opened.read_exact_at(2 * CHUNK_BYTES, &mut buffer), Err(Broken));
    assert_eq!(opened.read_exact_at(2 * CHUNK_BYTES - 1000, &mut buffer), Ok(()));
    assert!(buffer == plain[2 * 65_536 - 1000..2 * 65_536]);
    assert_eq!(opened.read_exact_at(CHUNK_BYTES, &mut buffer), Ok(()), "it does not ask for the end");
    assert_eq!(opened.read_exact_at(u64::MAX - 5, &mut buffer[..3]), Err(Broken));
}
