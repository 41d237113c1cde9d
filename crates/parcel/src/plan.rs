//! A parcel that is being made: its packing list is signed before anything is written, and what is written is kept track of.
//!
//! A plan's bytes, version 1, integers little-endian: magic `PHPP`, version u16, count of volumes u16, then for each a byte
//! (1 if it was written, else 0) with length u64 and BLAKE3 of the whole file (zeros unless it was written), then the
//! envelope of the packing list.

use std::io;

use packhorse_content::{Fields, digest_of};
use packhorse_domain::{Digest, Timestamp, id::SiteCode, link::ItemId};

use crate::{
    envelope::{Failure, Open, Sign},
    head,
    id::ParcelId,
    layout::{Check, Layout},
    limits::{ENVELOPE_BYTES_MAX, Limits, VOLUME_BYTES_MAX, VOLUME_BYTES_MIN, VOLUMES_MAX},
    list::{self, Destination, Item, ListError, PackingList, ParcelInfo},
};

const MAGIC: [u8; 4] = *b"PHPP";
const VERSION: u16 = 1;
const RECORD_BYTES: usize = 1 + 8 + 32;

/// Where the bytes of the items come from. It is asked from a thread beside the caller's.
pub trait Source: Sync {
    /// Fills the buffer, of at most 1 MiB, with the item's bytes from `offset` on. An item that is shorter is
    /// `UnexpectedEof`. Offsets of an item mostly grow.
    fn read_exact_at(&self, item: &ItemId, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

/// What a parcel shall be.
#[derive(Debug, Clone)]
pub struct Draft {
    pub id: ParcelId,
    pub sender: SiteCode,
    pub created: Timestamp,
    pub destinations: Vec<Destination>,
    /// They are packed in this order.
    pub items: Vec<Item>,
    /// The most bytes of a volume: 1 MiB to 4 GiB - 1. `None`: the most.
    pub volume_bytes: Option<u64>,
}

/// A volume that was written and verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Bytes of the file.
    pub length: u64,
    /// BLAKE3 of the whole file.
    pub digest: Digest,
}

/// A parcel's signed packing list, and which of its volumes were written. The caller keeps its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub(crate) list: PackingList,
    pub(crate) envelope: Vec<u8>,
    written: Vec<Option<Written>>,
}

#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("the parcel is refused")]
    List(#[source] ListError),
    #[error("a volume has 1 MiB to 4 GiB - 1, not {0} bytes")]
    VolumeBytes(u64),
    #[error("the packing list leaves no room for content on volumes of {volume} bytes: make them larger")]
    NoRoom { volume: u64 },
    #[error("the parcel takes more than 999 volumes of {volume} bytes: make them larger")]
    TooManyVolumes { volume: u64 },
    #[error("item {item} is shorter than planned")]
    Short { item: ItemId },
    #[error("cannot read item {item}")]
    Source {
        item: ItemId,
        #[source]
        source: io::Error,
    },
    #[error("the packing list cannot be signed")]
    Sign(#[source] Failure),
    #[error("the envelope has {length} bytes for a list of {list}, 4096 more are accepted")]
    Envelope { length: u64, list: u64 },
    #[error("the bytes are no plan")]
    NotAPlan,
    #[error("the plan has format version {0}, this program knows version 1: upgrade it")]
    Version(u16),
    #[error("the envelope of the plan cannot be opened")]
    Open(#[source] Failure),
}

impl Plan {
    /// Lays out a parcel and has its packing list signed: `sign` puts the list's bytes into an envelope. It reads what will
    /// lie around the ends of volumes, and all of items over 4 GiB, since their own hashes are of longer parts.
    pub fn make(draft: Draft, source: &dyn Source, sign: &Sign<'_>) -> Result<Self, PlanError> {
        let volume = draft.volume_bytes.unwrap_or(VOLUME_BYTES_MAX);
        if !(VOLUME_BYTES_MIN..=VOLUME_BYTES_MAX).contains(&volume) {
            return Err(PlanError::VolumeBytes(volume));
        }
        let Draft { id, sender, created, destinations, items, .. } = draft;
        let info = ParcelInfo { id, sender, created, destinations };
        let limits = Limits::default();
        list::check(&info, &items, &limits).map_err(PlanError::List)?;
        let layout = lay_out(&info, &items, volume)?;
        let fragments = digests_of_fragments(&items, &layout, source)?;
        let list = PackingList::new(info, items, layout.capacity(), fragments).map_err(PlanError::List)?;
        let bytes = list.encode();
        let length = bytes.len() as u64;
        if length > limits.list_bytes_max {
            return Err(PlanError::List(ListError::TooLong { length, max: limits.list_bytes_max }));
        }
        let envelope = sign(&bytes).map_err(PlanError::Sign)?;
        if envelope.len() as u64 > length + ENVELOPE_BYTES_MAX {
            return Err(PlanError::Envelope { length: envelope.len() as u64, list: length });
        }
        let written = vec![None; list.volumes().into()];
        Ok(Plan { list, envelope, written })
    }

    pub fn list(&self) -> &PackingList {
        &self.list
    }

    /// The packing list as it was signed.
    pub fn envelope(&self) -> &[u8] {
        &self.envelope
    }

    /// Each volume's record, if it was written; the first is volume 1.
    pub fn written(&self) -> &[Option<Written>] {
        &self.written
    }

    /// The numbers of the volumes that are not yet written.
    pub fn unwritten(&self) -> impl Iterator<Item = u16> {
        (1..).zip(&self.written).filter(|(_, record)| record.is_none()).map(|(number, _)| number)
    }

    /// The medium was lost: the volume is to be written again.
    pub fn forget(&mut self, number: u16) {
        self.record(number, None);
    }

    pub(crate) fn record(&mut self, number: u16, written: Option<Written>) {
        if let Some(record) = self.written.get_mut(usize::from(number).wrapping_sub(1)) {
            *record = written;
        }
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&(self.written.len() as u16).to_le_bytes());
        for record in &self.written {
            out.push(u8::from(record.is_some()));
            let Written { length, digest } = record.unwrap_or(Written { length: 0, digest: Digest([0; 32]) });
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(&digest.0);
        }
        out.extend_from_slice(&self.envelope);
        out
    }

    /// `open` takes the packing list out of its envelope.
    pub fn from_bytes(bytes: &[u8], open: &Open<'_>) -> Result<Self, PlanError> {
        let mut fields = Fields(bytes);
        if fields.bytes(4) != Some(&MAGIC) {
            return Err(PlanError::NotAPlan);
        }
        match fields.u16().ok_or(PlanError::NotAPlan)? {
            VERSION => {}
            other => return Err(PlanError::Version(other)),
        }
        let count = fields.u16().filter(|count| *count <= VOLUMES_MAX).ok_or(PlanError::NotAPlan)?;
        let records = fields.bytes(usize::from(count) * RECORD_BYTES).ok_or(PlanError::NotAPlan)?;
        let written = records.chunks_exact(RECORD_BYTES).map(take_record).collect::<Option<Vec<_>>>();
        let written = written.ok_or(PlanError::NotAPlan)?;
        let envelope = fields.0.to_vec();
        let list = open(&envelope).map_err(PlanError::Open)?;
        let list = PackingList::decode(&list, &Limits::default()).map_err(PlanError::List)?;
        match written.len() == usize::from(list.volumes()) {
            true => Ok(Plan { list, envelope, written }),
            false => Err(PlanError::NotAPlan),
        }
    }
}

fn take_record(bytes: &[u8]) -> Option<Option<Written>> {
    let (written, rest) = bytes.split_first()?;
    let mut fields = Fields(rest);
    let record = Written { length: fields.u64()?, digest: fields.digest()? };
    match written {
        0 => Some(None),
        1 => Some(Some(record)),
        _ => None,
    }
}

/// The list takes room that the items then lack, and where they are cut adds to the list: so it is tried until both fit.
fn lay_out(info: &ParcelInfo, items: &[Item], volume: u64) -> Result<Layout, PlanError> {
    let bare = list::encoded_bytes(info, items);
    let mut fragments = 0;
    loop {
        let list = bare + fragments * 32;
        let capacity =
            head::capacity(volume, info.destinations.len(), list).ok_or(PlanError::NoRoom { volume })?;
        let layout = Layout::of(items, capacity).ok_or(PlanError::TooManyVolumes { volume })?;
        if layout.fragments() as u64 <= fragments {
            return Ok(layout);
        }
        fragments = layout.fragments() as u64;
    }
}

fn digests_of_fragments(
    items: &[Item],
    layout: &Layout,
    source: &dyn Source,
) -> Result<Vec<Digest>, PlanError> {
    let mut digests = Vec::with_capacity(layout.fragments());
    let mut buffer = Vec::new();
    let pieces = (1..=layout.volumes()).flat_map(|number| layout.pieces(items, number));
    for piece in pieces.filter(|piece| matches!(piece.check, Check::Fragment(_))) {
        let item = items[piece.item].id;
        buffer.resize(piece.length as usize, 0);
        source.read_exact_at(&item, piece.offset, &mut buffer).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => PlanError::Short { item },
            _ => PlanError::Source { item, source },
        })?;
        digests.push(digest_of(&buffer));
    }
    Ok(digests)
}
