//! Volumes that somebody forged who may: whoever has the recipient can encrypt, and only the signed list tells.

use std::{io::Write as _, sync::Arc};

use packhorse_content::Outliner;
use packhorse_domain::Timestamp;

use super::*;
use crate::{Destination, Draft, Item, Plan, Source, head::Front, seal::Sealer};

const ITEM: usize = 70_000;

struct Bytes;

impl Source for Bytes {
    fn read_exact_at(&self, _: &ItemId, _: u64, buffer: &mut [u8]) -> io::Result<()> {
        buffer.fill(5);
        Ok(())
    }
}

struct World {
    identity: Identity,
    plan: Plan,
    contents: Contents,
}

fn world() -> World {
    let identity = Identity::generate();
    let mut outliner = Outliner::new();
    outliner.update(&[5; ITEM]);
    let (digest, outline) = outliner.finish();
    let (id, length) = (ItemId::of(&digest), ITEM as u64);
    let draft = Draft {
        id: ParcelId::random(),
        sender: "CEN".parse().unwrap(),
        created: Timestamp(1),
        destinations: vec![Destination { site: "PAR".parse().unwrap(), recipient: identity.recipient() }],
        items: vec![Item { id, length, digest, outline, head: Vec::new(), to: Arc::from([0]) }],
        volume_bytes: None,
    };
    let plan = Plan::make(draft, &Bytes, &|list| Ok(list.to_vec())).unwrap();
    let open = |envelope: &[u8]| Ok(envelope.to_vec());
    let contents = Contents::open(plan.envelope(), &identity.recipient(), &Limits::default(), &open).unwrap();
    World { identity, plan, contents }
}

impl World {
    /// The stream as it should be.
    fn plain(&self) -> Vec<u8> {
        let envelope = self.plan.envelope();
        let length = (envelope.len() as u64).to_le_bytes();
        [&length, envelope, &[5; ITEM], envelope, &length].concat()
    }

    /// Another stream under a head of one's own, with all checksums right.
    fn forged(&self, plain: &[u8], change: impl FnOnce(&mut Head)) -> Volume {
        let recipient = self.identity.recipient();
        let mut sealer = Sealer::new([&recipient].into_iter()).unwrap();
        let info = self.plan.list().info();
        let mut head = Head {
            parcel: info.id,
            number: 1,
            count: 1,
            length: 0,
            created: info.created,
            sender: info.sender.clone(),
            destinations: vec!["PAR".parse().unwrap()],
        };
        let seal = sealer.take();
        head.length = Front { head: head.clone(), seal: seal.clone() }.volume_bytes(plain.len() as u64);
        change(&mut head);
        let front = Front { head, seal };
        let mut file = tempfile::tempfile().unwrap();
        sealer.push(plain).unwrap();
        for bytes in [front.encode(), sealer.take(), sealer.finish().unwrap(), front.encode_end()] {
            file.write_all(&bytes).unwrap();
        }
        file.write_all(&[0; 32]).unwrap();
        Volume::of(file, &self.identity).unwrap()
    }

    fn begun(&self, plain: &[u8], change: impl FnOnce(&mut Head)) -> Result<Vec<Damage>, ReadError> {
        self.forged(plain, change).reading(&self.contents).map(|mut reading| reading.verify())
    }
}

#[test]
fn bytes_that_the_list_does_not_name_are_damage() {
    let world = world();
    let plain = world.plain();
    assert_eq!(world.begun(&plain, |_| {}), Ok(vec![]));
    for at in [8 + world.plan.envelope().len(), plain.len() / 2] {
        let mut other = plain.clone();
        other[at] ^= 1;
        let damage = Damage { item: world.plan.list().items()[0].id, range: 0..ITEM as u64 };
        assert_eq!(world.begun(&other, |_| {}), Ok(vec![damage]));
    }
}

#[test]
fn a_head_that_the_list_does_not_name_is_refused() {
    let world = world();
    let plain = world.plain();
    let mismatch = Err(ReadError::Mismatch { number: 1 });
    assert_eq!(world.begun(&plain, |head| head.count = 2), mismatch);
    assert_eq!(world.begun(&plain, |head| head.created = Timestamp(2)), mismatch);
    assert_eq!(world.begun(&plain, |head| head.sender = "LYO".parse().unwrap()), mismatch);
    assert_eq!(world.begun(&plain, |head| head.destinations[0] = "LYO".parse().unwrap()), mismatch);
    let error = world.begun(&plain, |head| (head.number, head.count) = (2, 2));
    assert_eq!(error, Err(ReadError::Mismatch { number: 2 }));
    let longer = [plain.as_slice(), &plain[plain.len() - 8..]].concat();
    assert_eq!(world.begun(&longer, |_| {}), mismatch, "a stream of another length");
    let error = world.begun(&plain, |head| head.parcel = ParcelId([0; 16]));
    assert!(matches!(error, Err(ReadError::OtherParcel { .. })));
    let mut other = plain;
    other[20] ^= 1;
    assert_eq!(world.begun(&other, |_| {}), Err(ReadError::OtherList { number: 1 }));
}

#[test]
fn lengths_that_lie_cost_nothing_and_are_refused() {
    let world = world();
    let limits = Limits::default();
    for length in [1 << 20, 200 << 20, u64::MAX, u64::MAX - 8, 1 << 63] {
        let mut plain = world.plain();
        let last = plain.len() - 8;
        plain[..8].copy_from_slice(&length.to_le_bytes());
        assert_eq!(
            world.forged(&plain, |_| {}).envelope(&limits).unwrap(),
            world.plan.envelope(),
            "the other copy"
        );
        plain[last..].copy_from_slice(&length.to_le_bytes());
        assert!(world.forged(&plain, |_| {}).envelope(&limits).is_err(), "{length}");
    }
    for plain in [&[][..], &[1], &[0; 7], &[0; 15], &[0; 16]] {
        let envelope = world.forged(plain, |_| {}).envelope(&limits);
        assert!(envelope.is_err() || envelope == Ok(Vec::new()), "{plain:?}");
    }
    // The head says more than there is, and the stream is one short chunk.
    let mut volume = world.forged(&[1; 100], |head| head.length += 1 << 30);
    assert!(volume.envelope(&limits).is_err());
    assert!(volume.reading(&world.contents).is_err());
}
