//! That every byte of every item lies in one piece, on one volume.

use std::sync::Arc;

use packhorse_content::{Outline, part_bytes};
use packhorse_domain::{Digest, link::ItemId};
use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

use super::*;

const MIB: u64 = 1024 * 1024;

fn item(length: u64) -> Item {
    let outline = Outline::new(part_bytes(length), Vec::new()).unwrap();
    let (id, digest) = (ItemId([0; 16]), Digest([0; 32]));
    Item { id, length, digest, outline, head: Vec::new(), to: Arc::from([0]) }
}

fn checks(length: u64, capacity: u64) -> Vec<(u16, u64, u32, Check)> {
    let items = [item(length)];
    let layout = Layout::of(&items, capacity).unwrap();
    let of = |number| {
        layout
            .pieces(&items, number)
            .map(move |piece| (number, piece.offset, piece.length, piece.check))
            .collect()
    };
    (1..=layout.volumes()).flat_map(|number: u16| -> Vec<_> { of(number) }).collect()
}

#[test]
fn a_piece_is_checked_by_the_items_own_hashes_where_they_cover_it() {
    assert_eq!(checks(5, 10), [(1, 0, 5, Check::Item)]);
    assert_eq!(checks(0, 10), []);
    assert_eq!(
        checks(2 * MIB + 5, 10 * MIB),
        [
            (1, 0, MIB as u32, Check::Part(0)),
            (1, MIB, MIB as u32, Check::Part(1)),
            (1, 2 * MIB, 5, Check::Part(2))
        ]
    );
    assert_eq!(
        checks(2 * MIB + 5, MIB + 10),
        [
            (1, 0, MIB as u32, Check::Part(0)),
            (1, MIB, 10, Check::Fragment(0)),
            (2, MIB + 10, MIB as u32 - 10, Check::Fragment(1)),
            (2, 2 * MIB, 5, Check::Part(2))
        ]
    );
    assert_eq!(checks(5, 3), [(1, 0, 3, Check::Fragment(0)), (2, 3, 2, Check::Fragment(1))]);
    let long = checks(5 * 1024 * MIB, VOLUME_BYTES_MAX);
    assert!(
        long.iter().all(|(_, _, _, check)| matches!(check, Check::Fragment(_))),
        "parts of 2 MiB are no pieces"
    );
    assert_eq!(long.last().unwrap().3, Check::Fragment(long.len() - 1));
}

#[test]
fn what_nobody_can_write_is_refused() {
    assert_eq!(Layout::of(&[item(10)], 0), None);
    assert_eq!(Layout::of(&[item(10)], VOLUME_BYTES_MAX + 1), None);
    assert_eq!(Layout::of(&[item(u64::MAX), item(1)], MIB), None);
    assert_eq!(Layout::of(&[item(999 * MIB + 1)], MIB), None);
    assert_eq!(Layout::of(&[], MIB).map(|layout| (layout.volumes(), layout.slice_bytes(1))), Some((1, 0)));
    let layout = Layout::of(&[item(999 * MIB)], MIB).unwrap();
    assert_eq!(layout.volumes(), 999);
    assert_eq!(layout.pieces(&[item(999 * MIB)], 0).next(), None);
    assert_eq!(layout.pieces(&[item(999 * MIB)], 1000).next(), None);
}

proptest! {
    #[test]
    fn every_byte_lies_in_one_piece(
        lengths in prop::collection::vec(0_u64..3 * MIB, 0..12),
        capacity in 200_000_u64..4 * MIB,
    ) {
        let items: Vec<_> = lengths.iter().map(|length| item(*length)).collect();
        let layout = Layout::of(&items, capacity).unwrap();
        let (mut ends, mut fragments, mut last) = (vec![0; items.len()], 0, 0);
        for number in 1..=layout.volumes() {
            let mut at = 0;
            for piece in layout.pieces(&items, number) {
                prop_assert!(piece.item >= last && piece.length > 0 && u64::from(piece.length) <= PIECE_BYTES_MAX);
                prop_assert_eq!(ends[piece.item], piece.offset);
                prop_assert_eq!(piece.at, at);
                if let Check::Fragment(nth) = piece.check {
                    prop_assert_eq!(nth, fragments);
                    fragments += 1;
                }
                ends[piece.item] += u64::from(piece.length);
                at += u64::from(piece.length);
                last = piece.item;
            }
            prop_assert_eq!(at, layout.slice_bytes(number));
            prop_assert!(number == layout.volumes() || at == capacity);
        }
        prop_assert_eq!(ends, lengths);
        prop_assert_eq!(fragments, layout.fragments());
        prop_assert!(fragments <= 2 * usize::from(layout.volumes()));
    }
}
