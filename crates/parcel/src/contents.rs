//! What of a parcel is for one of its destinations.

use packhorse_content::digest_of;
use packhorse_domain::{Digest, id::SiteCode};

use crate::{
    envelope::{Failure, Open},
    head::Head,
    key::Recipient,
    layout::Piece,
    limits::Limits,
    list::{Item, ListError, PackingList, ParcelInfo},
};

/// A parcel's packing list, opened at one of its destinations: of its items only those that are for it.
#[derive(Debug, Clone)]
pub struct Contents {
    pub(crate) list: PackingList,
    /// The places of the destinations with the recipient's key.
    ours: Vec<u16>,
    /// BLAKE3 and length of the envelope that the list came in.
    pub(crate) envelope: (Digest, u64),
}

#[derive(Debug, thiserror::Error)]
pub enum ContentsError {
    #[error("the envelope of the packing list cannot be opened")]
    Open(#[source] Failure),
    #[error("the packing list is refused")]
    List(#[source] ListError),
    #[error("the packing list names no destination with this key")]
    NotForUs,
}

impl Contents {
    /// The envelope is what [`Volume::envelope`](crate::Volume::envelope) gave, or the caller kept.
    pub fn open(
        envelope: &[u8],
        recipient: &Recipient,
        limits: &Limits,
        open: &Open<'_>,
    ) -> Result<Self, ContentsError> {
        let bytes = open(envelope).map_err(ContentsError::Open)?;
        let list = PackingList::decode(&bytes, limits).map_err(ContentsError::List)?;
        let destinations = list.info().destinations.iter().zip(0..);
        let ours: Vec<u16> =
            destinations.filter(|(one, _)| one.recipient == *recipient).map(|(_, place)| place).collect();
        if ours.is_empty() {
            return Err(ContentsError::NotForUs);
        }
        Ok(Contents { list, ours, envelope: (digest_of(envelope), envelope.len() as u64) })
    }

    pub fn info(&self) -> &ParcelInfo {
        self.list.info()
    }

    /// Which of the destinations have our key: mostly one.
    pub fn sites(&self) -> impl Iterator<Item = &SiteCode> {
        self.ours.iter().map(|place| &self.info().destinations[usize::from(*place)].site)
    }

    /// 1 to 999.
    pub fn volumes(&self) -> u16 {
        self.list.volumes()
    }

    /// Our items with their places, which pieces refer to.
    pub fn items(&self) -> impl Iterator<Item = (usize, &Item)> {
        self.list.items().iter().enumerate().filter(|(_, item)| self.is_ours(item))
    }

    /// The item at a place, if it is ours.
    pub fn get(&self, place: usize) -> Option<&Item> {
        self.list.items().get(place).filter(|item| self.is_ours(item))
    }

    /// The pieces of our items on a volume, in order. An item without bytes has none.
    pub fn pieces(&self, number: u16) -> impl Iterator<Item = Piece> {
        self.list.pieces(number).filter(|piece| self.is_ours(&self.list.items()[piece.item]))
    }

    /// The item of a piece that [`Contents::pieces`] gave.
    pub fn item(&self, piece: &Piece) -> &Item {
        &self.list.items()[piece.item]
    }

    /// Bytes of our items on a volume.
    pub fn bytes(&self, number: u16) -> u64 {
        self.pieces(number).map(|piece| u64::from(piece.length)).sum()
    }

    fn is_ours(&self, item: &Item) -> bool {
        self.ours.iter().any(|place| item.to.binary_search(place).is_ok())
    }

    /// Whether a volume says of itself what the list says of it, but for its number.
    pub(crate) fn fits(&self, head: &Head) -> bool {
        let info = self.info();
        head.count == self.volumes()
            && head.sender == info.sender
            && head.created == info.created
            && head.destinations.iter().eq(info.destinations.iter().map(|one| &one.site))
    }
}
