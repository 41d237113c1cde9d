//! Volumes from media give what was put into them, or nothing. A good one is changed in plain and in what is encrypted.

#![no_main]

use std::{cell::RefCell, collections::BTreeMap, fs, io, ops::ControlFlow, path::PathBuf, sync::Arc};

use libfuzzer_sys::fuzz_target;
use packhorse_content::Outliner;
use packhorse_domain::{Timestamp, link::ItemId};
use packhorse_parcel::{
    Contents, Destination, Draft, Identity, Item, Limits, Medium, ParcelId, Plan, Source, Volume, scan,
};

mod common;

struct Stock(BTreeMap<ItemId, Vec<u8>>);

impl Source for Stock {
    fn read_exact_at(&self, item: &ItemId, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let from = offset as usize;
        let bytes = self.0.get(item).and_then(|bytes| bytes.get(from..from + buffer.len()));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

struct World {
    directory: tempfile::TempDir,
    identity: Identity,
    stock: Stock,
    contents: Contents,
    good: Vec<u8>,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::new(World::new());
}

impl World {
    fn new() -> Self {
        let (directory, identity) = (common::memory(), Identity::generate());
        let mut stock = Stock(BTreeMap::new());
        let mut items = Vec::new();
        for (seed, length) in [(1_u8, 100_usize), (2, 40_000), (3, 50_000)] {
            let bytes = vec![seed; length];
            let mut outliner = Outliner::new();
            outliner.update(&bytes);
            let (digest, outline) = outliner.finish();
            let id = ItemId::of(&digest);
            items.push(Item {
                id,
                length: length as u64,
                digest,
                outline,
                head: vec![seed],
                to: Arc::from([0]),
            });
            stock.0.insert(id, bytes);
        }
        let recipient = identity.recipient();
        let draft = Draft {
            id: ParcelId([1; 16]),
            sender: "CEN".parse().expect("it is a code"),
            created: Timestamp(0),
            destinations: vec![Destination { site: "PAR".parse().expect("it is a code"), recipient }],
            items,
            volume_bytes: None,
        };
        let mut plan = Plan::make(draft, &stock, &|list| Ok(list.to_vec())).expect("it is a parcel");
        plan.write(1, &stock, &Medium::at(directory.path()).expect("it is there"), &mut |_| {
            ControlFlow::Continue(())
        })
        .expect("it is written");
        let path = directory.path().join(ParcelId([1; 16]).directory()).join("001.PHV");
        let good = fs::read(path).expect("it is there");
        let envelope = plan.envelope().to_vec();
        let contents = open(&envelope, &identity).expect("it is good");
        World { directory, identity, stock, contents, good }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("CHANGED.PHV")
    }

    fn ask(&self, bytes: &[u8]) {
        fs::write(self.path(), bytes).expect("it is written");
        let found = scan(&self.path()).expect("it can be read");
        assert_eq!(found.parcels.len() + found.others.len(), 1);
        let Ok(mut volume) = Volume::open(&self.path(), &self.identity) else { return };
        let limits = Limits { items_max: 100, list_bytes_max: 1 << 16 };
        if let Ok(envelope) = volume.envelope(&limits) {
            assert!(open(&envelope, &self.identity).is_some(), "what is authentic is as it was");
        }
        let Ok(mut reading) = volume.reading(&self.contents) else { return };
        let mut given = 0;
        let damaged = reading.read_all(&mut |piece, bytes| {
            let (from, whole) = (piece.offset as usize, &self.stock.0[&self.contents.item(piece).id]);
            assert_eq!(&whole[from..from + bytes.len()], bytes);
            given += bytes.len() as u64;
            ControlFlow::Continue(())
        });
        let lost: u64 = damaged.iter().map(|damage| damage.range.end - damage.range.start).sum();
        assert_eq!(given + lost, self.contents.bytes(1), "what is not given is named");
    }
}

fn open(envelope: &[u8], identity: &Identity) -> Option<Contents> {
    let limits = Limits::default();
    Contents::open(envelope, &identity.recipient(), &limits, &|envelope| Ok(envelope.to_vec())).ok()
}

fuzz_target!(|input: &[u8]| {
    WORLD.with_borrow(|world| {
        let mut changed = world.good.clone();
        for edit in common::edits(input) {
            // Into the head, the middle or the end, or all of it.
            let third = changed.len() / 3;
            let at = [0, third, 2 * third, 0][edit.of % 4];
            let mut tail = changed.split_off(at.min(changed.len()));
            edit.apply(&mut tail);
            changed.append(&mut tail);
        }
        world.ask(&changed);
        world.ask(input);
    });
});
