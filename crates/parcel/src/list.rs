//! The packing list: what is in a parcel, for whom, and what every piece of it must hash to.
//!
//! Format, version 1, integers little-endian: magic `PHPL`, version u16, parcel id 16 bytes, creation time i64
//! (microseconds since 1970), sender 3 bytes, capacity u64 (how many bytes of items each volume but the last carries),
//! destinations u16 with the code (3 bytes) and the recipient (62 bytes, `age1...`) of each, groups u16, items u32. Then the
//! groups: how many destinations u16, their places in the list of destinations u16 each, ascending; in the order in which
//! items first use them, none twice. Then the items: id 16 bytes, length u64, BLAKE3, group u16, head length u32, head, and
//! from two parts on the hash of each part (parts are as long as [`part_bytes`] says). Then the BLAKE3 of each fragment: a
//! piece ([`Piece`]) that is not just one part. There is exactly one encoding of a list.

mod coding;

use std::{collections::HashSet, sync::Arc};

use packhorse_content::{Outline, digest_of, part_bytes};
use packhorse_domain::{Digest, Timestamp, id::SiteCode, link::ItemId};

use crate::{
    id::ParcelId,
    key::Recipient,
    layout::{Check, Layout, Piece, Pieces},
    limits::{DESTINATIONS_MAX, HEAD_BYTES_MAX, Limits},
};

pub(crate) use coding::encoded_bytes;

/// A site that a parcel goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    pub site: SiteCode,
    pub recipient: Recipient,
}

/// What a parcel carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub id: ItemId,
    pub length: u64,
    pub digest: Digest,
    /// The hashes of its parts, as an [`Outliner`](packhorse_content::Outliner) makes them.
    pub outline: Outline,
    /// What it is, in the caller's words: at most 64 KiB.
    pub head: Vec<u8>,
    /// Which of the parcel's destinations it is for: their places, counted from 0, ascending, at least one.
    pub to: Arc<[u16]>,
}

/// What a parcel is, without what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParcelInfo {
    pub id: ParcelId,
    pub sender: SiteCode,
    pub created: Timestamp,
    /// 1 to 1,024, no site twice.
    pub destinations: Vec<Destination>,
}

/// A checked packing list. One that was read from a medium proves nothing by itself: the caller's envelope does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackingList {
    info: ParcelInfo,
    items: Vec<Item>,
    layout: Layout,
    fragments: Vec<Digest>,
}

/// A packing list that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    #[error("the bytes are no packing list")]
    NotAList,
    #[error("the packing list has format version {0}, this program knows version 1: upgrade it")]
    Version(u16),
    #[error("the packing list is cut off")]
    Truncated,
    #[error("{0} bytes follow the end of the packing list")]
    Trailing(usize),
    #[error("the packing list is {length} bytes long, {max} are accepted")]
    TooLong { length: u64, max: u64 },
    #[error("the packing list has {items} items, {max} are accepted")]
    TooManyItems { items: u64, max: u32 },
    #[error("a parcel has 1 to 1024 destinations, no site twice")]
    Destinations,
    #[error("the recipient of destination {nth} is none")]
    Recipient { nth: usize },
    #[error("the items go to more than 65535 different groups of destinations")]
    TooManyGroups,
    #[error("item {nth} is there twice")]
    Twice { nth: usize },
    #[error("the head of item {nth} has {length} bytes, 65536 are accepted")]
    Head { nth: usize, length: u64 },
    #[error("item {nth} is for nobody, or for destinations that are not in order or not there")]
    Group { nth: usize },
    #[error("the hashes of item {nth} do not lead to its digest")]
    Outline { nth: usize },
    #[error("the items do not fit on 999 volumes of {capacity} bytes")]
    Layout { capacity: u64 },
}

impl PackingList {
    pub(crate) fn new(
        info: ParcelInfo,
        items: Vec<Item>,
        capacity: u64,
        fragments: Vec<Digest>,
    ) -> Result<Self, ListError> {
        let layout = Layout::of(&items, capacity).ok_or(ListError::Layout { capacity })?;
        debug_assert_eq!(layout.fragments(), fragments.len(), "a digest for each fragment");
        Ok(PackingList { info, items, layout, fragments })
    }

    pub fn info(&self) -> &ParcelInfo {
        &self.info
    }

    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// 1 to 999.
    pub fn volumes(&self) -> u16 {
        self.layout.volumes()
    }

    /// How many bytes of items a volume carries. Volumes are counted from 1.
    pub fn slice_bytes(&self, number: u16) -> u64 {
        self.layout.slice_bytes(number)
    }

    pub(crate) fn pieces(&self, number: u16) -> Pieces<'_> {
        self.layout.pieces(&self.items, number)
    }

    /// Whether these are the bytes of that piece.
    pub(crate) fn holds(&self, piece: &Piece, bytes: &[u8]) -> bool {
        let item = &self.items[piece.item];
        let whole = bytes.len() == piece.length as usize;
        whole
            && match piece.check {
                Check::Item => digest_of(bytes) == item.digest,
                Check::Part(nth) => item.outline.check(nth, bytes),
                Check::Fragment(nth) => self.fragments.get(nth) == Some(&digest_of(bytes)),
            }
    }
}

/// Checks all that does not depend on the layout.
pub(crate) fn check(info: &ParcelInfo, items: &[Item], limits: &Limits) -> Result<(), ListError> {
    let sites: HashSet<_> = info.destinations.iter().map(|destination| &destination.site).collect();
    let count = info.destinations.len();
    if !(1..=DESTINATIONS_MAX).contains(&count) || sites.len() != count {
        return Err(ListError::Destinations);
    }
    if items.len() > limits.items_max as usize {
        return Err(ListError::TooManyItems { items: items.len() as u64, max: limits.items_max });
    }
    let groups: HashSet<&[u16]> = items.iter().map(|item| &*item.to).collect();
    if groups.len() > usize::from(u16::MAX) {
        return Err(ListError::TooManyGroups);
    }
    let mut ids = HashSet::with_capacity(items.len());
    for (nth, item) in items.iter().enumerate() {
        if !ids.insert(item.id) {
            return Err(ListError::Twice { nth });
        }
        check_item(nth, item, count)?;
    }
    Ok(())
}

fn check_item(nth: usize, item: &Item, destinations: usize) -> Result<(), ListError> {
    if item.head.len() > HEAD_BYTES_MAX {
        return Err(ListError::Head { nth, length: item.head.len() as u64 });
    }
    let ascending = item.to.windows(2).all(|pair| pair[0] < pair[1]);
    if !ascending || item.to.last().is_none_or(|last| usize::from(*last) >= destinations) {
        return Err(ListError::Group { nth });
    }
    let cut_as_agreed = item.outline.part_bytes() == part_bytes(item.length);
    if !cut_as_agreed || !item.outline.leads_to(item.length, &item.digest) {
        return Err(ListError::Outline { nth });
    }
    Ok(())
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
