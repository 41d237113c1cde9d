//! Reading volumes, and handing what is whole to those who take in what the line brings.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    sync::Arc,
    thread,
    time::Duration,
};

use packhorse_domain::link::Ranges;
use packhorse_parcel::{Contents, FoundParcel, FoundVolume, Item, Piece, Volume};
use packhorse_runtime::{error_chain, telemetry::within};
use tokio::runtime::Handle;

use super::{Incoming, Received};
use crate::{
    care::room,
    courier::{
        Gathering, Listener, Progress,
        contents::{ItemKind, objects_from_bytes, receipts_from_bytes},
        custody, keys, packing,
    },
    despooler::{Expected, Unpacking},
    error::Error,
    sender::{self, Spool},
    site::Site,
    store::{
        arrivals::{self, Arrival, ArrivalState},
        parcels,
    },
    trace,
};

/// The line gives a bundle up when its next bytes come.
const CLAIM_TRIES: u32 = 50;
const CLAIM_WAIT: Duration = Duration::from_millis(100);

/// Reads volumes; not for an async thread.
pub(super) struct Reader {
    pub(super) site: Arc<Site>,
    pub(super) contents: Arc<Contents>,
    pub(super) directory: PathBuf,
    /// Places of the items that are still to be taken.
    pub(super) wanted: BTreeSet<usize>,
    pub(super) listener: Listener,
    /// Places of bundles that the line would not give up: it is not asked again.
    pub(super) left_to_line: RefCell<BTreeSet<usize>>,
}

/// What came of it.
pub(super) struct Read {
    /// Places of the items that are whole now.
    pub(super) whole: BTreeSet<usize>,
    /// Volumes that were not there and bring what is still lacking.
    pub(super) missing: Vec<u16>,
    pub(super) faults: Vec<String>,
}

impl Reader {
    /// Puts what is whole into files.
    pub(super) fn read(self, parcel: &FoundParcel) -> Result<Read, Error> {
        let mut faults = Vec::new();
        for (number, copies) in parcel.twice() {
            if !copies {
                faults.push(format!("volume {number} is there twice, and they differ: both are read"));
            }
        }
        for (number, found) in &parcel.volumes {
            let mut damaged = Vec::new();
            for volume in found {
                damaged = self.read_volume(volume)?;
                if damaged.is_empty() {
                    break;
                }
            }
            if !damaged.is_empty() {
                faults.push(format!("volume {number}: {}", damaged.join("; ")));
            }
        }
        let (mut whole, mut lacking) = (BTreeSet::new(), BTreeMap::new());
        for place in &self.wanted {
            match self.gather(*place) {
                Ok(Some(gathering)) if gathering.is_whole() => drop(whole.insert(*place)),
                Ok(gathering) => {
                    drop(lacking.insert(*place, gathering.map(Gathering::here).unwrap_or_default()))
                }
                Err(error) => {
                    lacking.insert(*place, Ranges::default());
                    if !faults.contains(&error) {
                        faults.push(error);
                    }
                }
            }
        }
        let lacks = |piece: Piece| {
            let length = u64::from(piece.length);
            let here = lacking.get(&piece.item);
            here.is_some_and(|here| here.bytes_within(&(piece.offset..piece.offset + length)) < length)
        };
        let not_found = (1..=self.contents.volumes()).filter(|number| !parcel.volumes.contains_key(number));
        let missing = not_found.filter(|number| self.contents.pieces(*number).any(lacks)).collect();
        Ok(Read { whole, missing, faults })
    }

    /// What is wrong with it; the rest of it was read.
    fn read_volume(&self, found: &FoundVolume) -> Result<Vec<String>, Error> {
        let path = found.path.display();
        let mut volume = match Volume::open(&found.path, &self.site.courier.identity) {
            Ok(volume) => volume,
            Err(error) => return Ok(vec![format!("{path}: {}", error_chain(&error))]),
        };
        let mut reading = match volume.reading(&self.contents) {
            Ok(reading) => reading,
            Err(error) => return Ok(vec![format!("{path}: {error}")]),
        };
        let pieces: Vec<Piece> = reading.pieces().filter(|piece| self.wanted.contains(&piece.item)).collect();
        let total = pieces.iter().map(|piece| u64::from(piece.length)).sum();
        let (mut damaged, mut faults) = (0, Vec::new());
        let (mut buffer, mut done) = (Vec::new(), 0);
        // They come item by item.
        for run in pieces.chunk_by(|one, next| one.item == next.item) {
            let mut gathering = match self.gather(run[0].item) {
                Ok(Some(gathering)) => gathering,
                Ok(None) => continue,
                Err(fault) => {
                    faults.push(fault);
                    continue;
                }
            };
            self.unpack(&mut gathering, run)?;
            for piece in run {
                if gathering.lacks(piece.offset, u64::from(piece.length)) {
                    match reading.read(piece, &mut buffer) {
                        Ok(()) => gathering
                            .write(piece.offset, &mut buffer)
                            .map_err(|source| self.failed(source))?,
                        Err(_) => damaged += u64::from(piece.length),
                    }
                }
                done += u64::from(piece.length);
                let step = format!("reading volume {}", found.head.number);
                let progress =
                    Progress { step, volume: found.head.number, bytes_done: done, bytes_total: total };
                if self.listener.blocking_send(progress).is_err() {
                    return Err(Error::Interrupted);
                }
            }
            gathering.put_down().map_err(|source| self.failed(source))?;
        }
        if damaged > 0 {
            faults.push(format!("{path}: {damaged} bytes are damaged"));
        }
        Ok(faults)
    }

    /// Has a bundle taken in while it is read, if all that is lacking lies on this volume.
    fn unpack(&self, gathering: &mut Gathering, pieces: &[Piece]) -> Result<(), Error> {
        let on_volume: u64 = pieces.iter().map(|piece| u64::from(piece.length)).sum();
        let Some(item) = self.contents.get(pieces[0].item).filter(|_| gathering.lacking() <= on_volume)
        else {
            return Ok(());
        };
        let Some(ItemKind::Bundle(bundle)) = ItemKind::decode(&item.head) else { return Ok(()) };
        let expected = Expected {
            item: item.id,
            package: bundle.package,
            target: bundle.target,
            digest: item.digest,
            length: item.length,
            is_checked: true,
        };
        let begin =
            |file, upto| Handle::current().block_on(Unpacking::begin(&self.site, &expected, file, upto));
        gathering.unpack(begin)
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::File { what: "write what came with a parcel".to_owned(), source }
    }

    /// The file of an item; `None`: it came otherwise meanwhile.
    fn gather(&self, place: usize) -> Result<Option<Gathering>, String> {
        let Some(item) = self.contents.get(place) else {
            return Ok(None);
        };
        let Some(ItemKind::Bundle(bundle)) = ItemKind::decode(&item.head) else {
            let opened = Gathering::beside(&self.directory, item);
            return opened.map(Some).map_err(|error| format!("item {}: {error}", item.id));
        };
        let of = |error: String| format!("the bundle of {}: {error}", bundle.package);
        let reserve = self.site.settings.content.reserve;
        room::check(reserve, &self.site.directories.incoming(), item.length)
            .map_err(|error| of(error_chain(&error)))?;
        let is_left = self.left_to_line.borrow().contains(&place);
        for _ in 0..if is_left { 0 } else { CLAIM_TRIES } {
            if let Some(claim) = self.site.courier.claims.claim(item.id) {
                let spool = Spool::of(&self.site.directories, &item.id);
                return Gathering::open(spool, item, Some(claim))
                    .map(Some)
                    .map_err(|error| of(error.to_string()));
            }
            self.site.courier.claims.want(&item.id);
            thread::sleep(CLAIM_WAIT);
        }
        self.left_to_line.borrow_mut().insert(place);
        Err(of("the line is bringing it just now; it is left to it".to_owned()))
    }
}

/// Objects, receipts and keys: taken at once.
pub(super) async fn small(
    incoming: &Incoming<'_>,
    wanted: &BTreeMap<usize, ItemKind>,
    received: &mut Received,
) -> Result<(), Error> {
    for (place, kind) in wanted {
        let Some(item) = incoming.contents.get(*place) else { continue };
        let gathered = Gathering::beside(&incoming.directory, item).and_then(|gathering| gathering.bytes());
        let bytes = gathered
            .map_err(|source| Error::File { what: "read what came with a parcel".to_owned(), source })?;
        let fault = match packing::is(&bytes, &item.digest) {
            true => take(incoming, item, kind, &bytes).await?,
            false => Some(format!("item {} was not kept as it came; receive it again", item.id)),
        };
        Gathering::remove(&incoming.directory, &item.id);
        received.faults.extend(fault);
    }
    Ok(())
}

/// The fault, if not all of it was taken.
async fn take(
    incoming: &Incoming<'_>,
    item: &Item,
    kind: &ItemKind,
    bytes: &[u8],
) -> Result<Option<String>, Error> {
    let (site, sender) = (incoming.site, &incoming.contents.info().sender);
    let mut tx = site.store.begin().await?;
    let malformed = || Some(format!("item {} does not decode: upgrade this site server", item.id));
    let fault = match kind {
        ItemKind::Objects(_) => match objects_from_bytes(bytes) {
            None => malformed(),
            Some(objects) => {
                let refused =
                    sender::take_objects(site, &mut tx, sender, incoming.relation, &objects).await?;
                let first = refused.first();
                first.map(|first| {
                    format!("{} of {} objects were refused: {first}", refused.len(), objects.len())
                })
            }
        },
        ItemKind::Key => match std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()) {
            None => malformed(),
            Some(recipient) => {
                let told_at = incoming.contents.info().created;
                keys::trust(site, &mut tx, sender, (&recipient, told_at)).await?;
                None
            }
        },
        ItemKind::Receipts => match receipts_from_bytes(bytes) {
            None => malformed(),
            Some(receipts) => {
                for receipt in receipts {
                    let items = Some(receipt.items.as_slice());
                    custody::receipted(site, &mut tx, (sender, &receipt.parcel), items).await?;
                }
                None
            }
        },
        ItemKind::Bundle(_) => None,
    };
    if fault.is_none() {
        parcels::take(&mut tx, &incoming.id, site.code(), &item.id).await?;
    }
    tx.commit().await?;
    Ok(fault)
}

/// Hands bundles that are whole to Despooler.
pub(super) async fn bundles(
    incoming: &Incoming<'_>,
    wanted: &BTreeMap<usize, ItemKind>,
) -> Result<(), Error> {
    let site = incoming.site;
    for (place, kind) in wanted {
        let (Some(item), ItemKind::Bundle(bundle)) = (incoming.contents.get(*place), kind) else { continue };
        let mut tx = site.store.begin().await?;
        let before = arrivals::get(&mut tx, &item.id).await?;
        if before.as_ref().is_some_and(|before| before.state == ArrivalState::Complete) {
            continue;
        }
        let arrival = Arrival {
            item: item.id,
            peer: incoming.contents.info().sender.clone(),
            package: bundle.package.clone(),
            target: bundle.target,
            bases: bundle.bases.clone(),
            digest: item.digest,
            length: item.length,
            priority: before.as_ref().map_or(bundle.priority, |before| before.priority),
            outlined: before.is_some_and(|before| before.outlined),
            state: ArrivalState::Complete,
            reason: String::new(),
            changed_at: site.now(),
        };
        arrivals::put(&mut tx, &arrival).await?;
        let traceparent = trace::of_package(&mut tx, bundle.package.as_str()).await?;
        tx.commit().await?;
        drop(within(&traceparent, || {
            let (peer, package) = (&arrival.peer, &arrival.package);
            tracing::info_span!(target: "courier-sender", "unpack", %peer, item = %arrival.item, %package)
        }));
    }
    Ok(())
}
