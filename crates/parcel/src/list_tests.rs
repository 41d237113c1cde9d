//! Packing lists: one encoding, and nothing else is read.

use std::sync::Arc;

use packhorse_content::Outliner;
use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

use super::*;
use crate::{Identity, limits::VOLUME_BYTES_MAX};

fn info(count: usize) -> ParcelInfo {
    let destination = |nth: usize| Destination {
        site: format!("{nth:03}").parse().unwrap(),
        recipient: Identity::generate().recipient(),
    };
    ParcelInfo {
        id: ParcelId([7; 16]),
        sender: "CEN".parse().unwrap(),
        created: Timestamp(-5),
        destinations: (0..count).map(destination).collect(),
    }
}

fn item(seed: u8, length: usize, to: &[u16]) -> Item {
    let mut outliner = Outliner::new();
    outliner.update(&vec![seed; length]);
    let (digest, outline) = outliner.finish();
    Item {
        id: ItemId([seed; 16]),
        length: length as u64,
        digest,
        outline,
        head: vec![seed; seed.into()],
        to: Arc::from(to),
    }
}

fn list(items: Vec<Item>, capacity: u64) -> PackingList {
    let layout = Layout::of(&items, capacity).unwrap();
    let fragments = (0..layout.fragments()).map(|nth| Digest([nth as u8; 32])).collect();
    PackingList::new(info(3), items, capacity, fragments).unwrap()
}

fn good() -> PackingList {
    let long = 3 * 1024 * 1024 + 5;
    list(vec![item(1, 10, &[0, 2]), item(2, long, &[1]), item(3, 0, &[0, 2]), item(4, 5, &[0])], 1024 * 1024)
}

fn decode(bytes: &[u8]) -> Result<PackingList, ListError> {
    PackingList::decode(bytes, &Limits::default())
}

#[test]
fn a_list_comes_back_from_its_bytes() {
    let list = good();
    let bytes = list.encode();
    assert_eq!(decode(&bytes), Ok(list.clone()));
    assert_eq!(
        encoded_bytes(&list.info, &list.items) + 32 * list.layout.fragments() as u64,
        bytes.len() as u64
    );
    for cut in 0..bytes.len() {
        assert!(decode(&bytes[..cut]).is_err(), "{cut}");
    }
    assert_eq!(decode(&[bytes.as_slice(), &[0]].concat()), Err(ListError::Trailing(1)));
}

#[test]
fn what_is_beyond_the_limits_is_refused() {
    let bytes = good().encode();
    let limits = |list_bytes_max, items_max| Limits { list_bytes_max, items_max };
    let length = bytes.len() as u64;
    assert!(PackingList::decode(&bytes, &limits(length, 4)).is_ok());
    assert!(matches!(PackingList::decode(&bytes, &limits(length - 1, 4)), Err(ListError::TooLong { .. })));
    assert!(matches!(
        PackingList::decode(&bytes, &limits(length, 3)),
        Err(ListError::TooManyItems { items: 4, max: 3 })
    ));
    assert_eq!(decode(b"PHPL\x02\0"), Err(ListError::Version(2)));
    assert_eq!(decode(b"PHML\x01\0"), Err(ListError::NotAList));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let limits = Limits::default();
    let refused = |items: &[Item]| check(&info(3), items, &limits).unwrap_err();
    let fine = item(1, 10, &[0, 2]);
    let with = |change: &dyn Fn(&mut Item)| {
        let mut item = fine.clone();
        change(&mut item);
        refused(&[item])
    };
    assert_eq!(check(&info(3), std::slice::from_ref(&fine), &limits), Ok(()));
    assert_eq!(with(&|item| item.to = Arc::from([])), ListError::Group { nth: 0 });
    assert_eq!(with(&|item| item.to = Arc::from([2, 0])), ListError::Group { nth: 0 });
    assert_eq!(with(&|item| item.to = Arc::from([0, 0])), ListError::Group { nth: 0 });
    assert_eq!(with(&|item| item.to = Arc::from([3])), ListError::Group { nth: 0 });
    assert_eq!(with(&|item| item.head = vec![0; 65_537]), ListError::Head { nth: 0, length: 65_537 });
    assert_eq!(with(&|item| item.length = 2 << 20), ListError::Outline { nth: 0 });
    assert_eq!(refused(&[fine.clone(), fine.clone()]), ListError::Twice { nth: 1 });
    let mut twice = info(2);
    twice.destinations[1].site = twice.destinations[0].site.clone();
    for info in
        [info(0), twice, ParcelInfo { destinations: vec![info(1).destinations.remove(0); 1025], ..info(1) }]
    {
        assert_eq!(check(&info, &[], &limits), Err(ListError::Destinations));
    }
    let long = item(2, 3 << 20, &[0]);
    let other = Item { digest: Digest([0; 32]), ..long.clone() };
    assert_eq!(refused(&[other]), ListError::Outline { nth: 0 });
    assert!(matches!(
        PackingList::new(info(1), vec![long], 1000, Vec::new()),
        Err(ListError::Layout { capacity: 1000 })
    ));
}

proptest! {
    /// Whatever is changed in it: refused, or another list with this encoding.
    #[test]
    fn there_is_one_encoding(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<Option<prop::sample::Index>>(),
    ) {
        let mut bytes = good().encode();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.remove(cut.index(bytes.len()));
        }
        if let Ok(list) = decode(&bytes) {
            prop_assert_eq!(list.encode(), bytes);
            prop_assert!(check(&list.info, &list.items, &Limits::default()).is_ok());
        }
    }

    #[test]
    fn lists_of_any_shape_come_back(
        shapes in prop::collection::btree_map(any::<u8>(), (0_usize..3_000_000, 0_usize..5), 0..8),
        capacity in 400_000_u64..VOLUME_BYTES_MAX,
    ) {
        let groups: [&[u16]; 5] = [&[0], &[1], &[2], &[0, 1], &[0, 1, 2]];
        let items = shapes.into_iter().map(|(seed, (length, group))| item(seed, length, groups[group]));
        let list = list(items.collect(), capacity);
        prop_assert_eq!(decode(&list.encode()), Ok(list));
    }
}
