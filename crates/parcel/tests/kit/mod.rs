//! Parcels to test with: sites with keys, items of noise, and an envelope that is signed in name only.

use std::{
    collections::BTreeMap,
    io,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

use packhorse_content::Outliner;
use packhorse_domain::{Timestamp, link::ItemId};
use packhorse_parcel::{
    Contents, Damage, Destination, Draft, Failure, Identity, Item, Limits, Medium, ParcelId, Plan, Progress,
    Source, Volume, scan,
};

const SIGNATURE: &[u8] = b"signed by CEN: ";

#[derive(Debug, Clone)]
pub(crate) struct Site {
    pub(crate) destination: Destination,
    pub(crate) identity: Identity,
}

/// The bytes of items.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stock(pub(crate) BTreeMap<ItemId, Vec<u8>>);

/// What came of each item, by offset.
pub(crate) type Received = BTreeMap<ItemId, BTreeMap<u64, Vec<u8>>>;

impl Source for Stock {
    fn read_exact_at(&self, item: &ItemId, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let bytes = self.0.get(item).ok_or(io::ErrorKind::NotFound)?;
        let from = usize::try_from(offset).expect("it works");
        let piece = bytes.get(from..from + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(piece);
        Ok(())
    }
}

/// Where a sync costs nothing, if there is such a place.
pub(crate) fn memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("it works")
}

pub(crate) fn sites(count: usize) -> Vec<Site> {
    let site = |nth: usize| {
        let identity = Identity::generate();
        let site = format!("S{:02}", nth % 100).parse().expect("it works");
        Site { destination: Destination { site, recipient: identity.recipient() }, identity }
    };
    (0..count).map(site).collect()
}

pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

impl Stock {
    /// Takes bytes in as an item for some of the destinations.
    pub(crate) fn add(&mut self, bytes: Vec<u8>, to: &[u16]) -> Item {
        let mut outliner = Outliner::new();
        outliner.update(&bytes);
        let (digest, outline) = outliner.finish();
        let id = ItemId::of(&digest);
        let head = format!("head of an item of {} bytes, {id}", bytes.len()).into_bytes();
        let item = Item { id, length: bytes.len() as u64, digest, outline, head, to: Arc::from(to) };
        self.0.insert(id, bytes);
        item
    }
}

pub(crate) fn draft(sites: &[Site], items: Vec<Item>, volume_bytes: Option<u64>) -> Draft {
    Draft {
        id: ParcelId::random(),
        sender: "CEN".parse().expect("it works"),
        created: Timestamp(1_700_000_000_000_000),
        destinations: sites.iter().map(|site| site.destination.clone()).collect(),
        items,
        volume_bytes,
    }
}

pub(crate) fn sign(list: &[u8]) -> Result<Vec<u8>, Failure> {
    Ok([SIGNATURE, list].concat())
}

pub(crate) fn unsign(envelope: &[u8]) -> Result<Vec<u8>, Failure> {
    envelope.strip_prefix(SIGNATURE).map(<[u8]>::to_vec).ok_or_else(|| "it is not signed".into())
}

pub(crate) fn carry_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

pub(crate) fn plan(sites: &[Site], stock: &Stock, items: Vec<Item>, volume_bytes: Option<u64>) -> Plan {
    Plan::make(draft(sites, items, volume_bytes), stock, &sign).expect("it works")
}

/// Where a volume lies below a root.
pub(crate) fn path_of(plan: &Plan, root: &Path, number: u16) -> PathBuf {
    root.join(plan.list().info().id.directory()).join(format!("{number:03}.PHV"))
}

pub(crate) fn write_all(plan: &mut Plan, stock: &Stock, root: &Path) -> Vec<PathBuf> {
    let numbers: Vec<u16> = plan.unwritten().collect();
    for number in &numbers {
        plan.write(*number, stock, &Medium::at(root).expect("it is there"), &mut carry_on).expect("it works");
    }
    numbers.into_iter().map(|number| path_of(plan, root, number)).collect()
}

pub(crate) fn contents_of(volume: &mut Volume, site: &Site) -> Contents {
    let envelope = volume.envelope(&Limits::default()).expect("it works");
    Contents::open(&envelope, &site.destination.recipient, &Limits::default(), &unsign).expect("it works")
}

/// Takes what is whole of a volume for a site; returns what is damaged.
pub(crate) fn take(volume: &mut Volume, contents: &Contents, received: &mut Received) -> Vec<Damage> {
    volume.reading(contents).expect("it works").read_all(&mut |piece, bytes| {
        let before =
            received.entry(contents.item(piece).id).or_default().insert(piece.offset, bytes.to_vec());
        assert!(before.is_none(), "a piece lies on one volume");
        ControlFlow::Continue(())
    })
}

/// All that a site gets of the first parcel that is found below a path.
pub(crate) fn receive(root: &Path, site: &Site) -> (Received, Vec<Damage>) {
    let (mut received, mut damaged) = (Received::new(), Vec::new());
    let scan = scan(root).expect("it works");
    let parcel = scan.parcels.values().next().expect("it works");
    for found in parcel.volumes.values() {
        let mut volume = Volume::open(&found[0].path, &site.identity).expect("it works");
        let contents = contents_of(&mut volume, site);
        damaged.extend(take(&mut volume, &contents, &mut received));
    }
    (received, damaged)
}

/// The items that are there from their first byte to their last, and are what they should be.
pub(crate) fn whole(received: &Received, stock: &Stock) -> Vec<ItemId> {
    for (id, pieces) in received {
        for (offset, piece) in pieces {
            let from = usize::try_from(*offset).expect("it works");
            assert_eq!(&stock.0[id][from..from + piece.len()], piece, "wrong bytes");
        }
    }
    let joined = |pieces: &BTreeMap<u64, Vec<u8>>| pieces.values().map(Vec::len).sum::<usize>();
    received.iter().filter(|(id, pieces)| stock.0[id].len() == joined(pieces)).map(|(id, _)| *id).collect()
}
