//! The bytes of a packing list.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use packhorse_content::{Fields, Outline, part_bytes};
use packhorse_domain::{Timestamp, link::ItemId};

use super::{Destination, Item, ListError, PackingList, ParcelInfo, check};
use crate::{
    id::ParcelId,
    key::RECIPIENT_BYTES,
    layout::Layout,
    limits::{DESTINATIONS_MAX, HEAD_BYTES_MAX, Limits},
    wire::{SITE_BYTES, site},
};

const MAGIC: [u8; 4] = *b"PHPL";
const VERSION: u16 = 1;
const FIXED_BYTES: usize = 4 + 2 + 16 + 8 + SITE_BYTES + 8 + 2 + 2 + 4;
const DESTINATION_BYTES: usize = SITE_BYTES + RECIPIENT_BYTES;
/// What every item has besides its head and its hashes.
const ITEM_BYTES: usize = 16 + 8 + 32 + 2 + 4;
const HASH_BYTES: usize = 32;

/// How many hashes of parts an item has.
fn parts(length: u64) -> u64 {
    match length.div_ceil(part_bytes(length)) {
        1 => 0,
        parts => parts,
    }
}

/// What a list takes, without the digests of fragments.
pub(crate) fn encoded_bytes(info: &ParcelInfo, items: &[Item]) -> u64 {
    let groups: HashSet<&[u16]> = items.iter().map(|item| &*item.to).collect();
    let groups: usize = groups.iter().map(|group| 2 + 2 * group.len()).sum();
    let items = items.iter().map(|item| (ITEM_BYTES + item.head.len()) as u64 + parts(item.length) * 32);
    (FIXED_BYTES + info.destinations.len() * DESTINATION_BYTES + groups) as u64 + items.sum::<u64>()
}

/// The place of each group, in the order in which items first use them.
fn groups_of(items: &[Item]) -> (Vec<&[u16]>, HashMap<&[u16], u16>) {
    let (mut groups, mut places) = (Vec::new(), HashMap::new());
    for item in items {
        places.entry(&*item.to).or_insert_with(|| {
            groups.push(&*item.to);
            (groups.len() - 1) as u16
        });
    }
    (groups, places)
}

impl PackingList {
    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let (groups, places) = groups_of(&self.items);
        let length = encoded_bytes(&self.info, &self.items) as usize + self.fragments.len() * HASH_BYTES;
        let mut out = Vec::with_capacity(length);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.info.id.0);
        out.extend_from_slice(&self.info.created.0.to_le_bytes());
        out.extend_from_slice(self.info.sender.as_str().as_bytes());
        out.extend_from_slice(&self.layout.capacity().to_le_bytes());
        out.extend_from_slice(&(self.info.destinations.len() as u16).to_le_bytes());
        for Destination { site, recipient } in &self.info.destinations {
            out.extend_from_slice(site.as_str().as_bytes());
            out.extend_from_slice(recipient.to_string().as_bytes());
        }
        out.extend_from_slice(&(groups.len() as u16).to_le_bytes());
        out.extend_from_slice(&(self.items.len() as u32).to_le_bytes());
        for group in groups {
            out.extend_from_slice(&(group.len() as u16).to_le_bytes());
            group.iter().for_each(|place| out.extend_from_slice(&place.to_le_bytes()));
        }
        for item in &self.items {
            put_item(&mut out, item, places[&*item.to]);
        }
        self.fragments.iter().for_each(|digest| out.extend_from_slice(&digest.0));
        debug_assert_eq!(out.len(), length, "the length was told beforehand");
        out
    }

    /// Reads canonical bytes and nothing else: what it accepts, `encode` gives back bit for bit.
    pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Self, ListError> {
        let length = bytes.len() as u64;
        if length > limits.list_bytes_max {
            return Err(ListError::TooLong { length, max: limits.list_bytes_max });
        }
        let mut fields = Fields(bytes);
        if fields.bytes(4) != Some(&MAGIC) {
            return Err(ListError::NotAList);
        }
        match fields.u16().ok_or(ListError::Truncated)? {
            VERSION => {}
            other => return Err(ListError::Version(other)),
        }
        let (info, capacity) = take_info(&mut fields)?;
        let items = take_items(&mut fields, info.destinations.len(), limits)?;
        check(&info, &items, limits)?;
        let layout = Layout::of(&items, capacity).ok_or(ListError::Layout { capacity })?;
        if layout.fragments() > fields.0.len() / HASH_BYTES {
            return Err(ListError::Truncated);
        }
        let fragments = (0..layout.fragments()).map_while(|_| fields.digest()).collect();
        match fields.0.len() {
            0 => Ok(PackingList { info, items, layout, fragments }),
            more => Err(ListError::Trailing(more)),
        }
    }
}

fn put_item(out: &mut Vec<u8>, item: &Item, group: u16) {
    out.extend_from_slice(item.id.as_bytes());
    out.extend_from_slice(&item.length.to_le_bytes());
    out.extend_from_slice(&item.digest.0);
    out.extend_from_slice(&group.to_le_bytes());
    out.extend_from_slice(&(item.head.len() as u32).to_le_bytes());
    out.extend_from_slice(&item.head);
    item.outline.hashes().iter().for_each(|hash| out.extend_from_slice(&hash.0));
}

fn take_info(fields: &mut Fields<'_>) -> Result<(ParcelInfo, u64), ListError> {
    let id = ParcelId(fields.array().ok_or(ListError::Truncated)?);
    let created = Timestamp(fields.i64().ok_or(ListError::Truncated)?);
    let sender = site(fields).ok_or(ListError::Destinations)?;
    let capacity = fields.u64().ok_or(ListError::Truncated)?;
    let count = usize::from(fields.u16().ok_or(ListError::Truncated)?);
    if count > DESTINATIONS_MAX {
        return Err(ListError::Destinations);
    }
    let mut destinations = Vec::with_capacity(count);
    for nth in 0..count {
        let site = site(fields).ok_or(ListError::Destinations)?;
        let text = fields.bytes(RECIPIENT_BYTES).ok_or(ListError::Truncated)?;
        let recipient = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
        destinations.push(Destination { site, recipient: recipient.ok_or(ListError::Recipient { nth })? });
    }
    Ok((ParcelInfo { id, sender, created, destinations }, capacity))
}

fn take_items(fields: &mut Fields<'_>, destinations: usize, limits: &Limits) -> Result<Vec<Item>, ListError> {
    let group_count = fields.u16().ok_or(ListError::Truncated)?;
    let count = fields.u32().ok_or(ListError::Truncated)?;
    if count > limits.items_max {
        return Err(ListError::TooManyItems { items: count.into(), max: limits.items_max });
    }
    let groups = take_groups(fields, group_count, destinations)?;
    // A lying count costs no more memory than the bytes themselves did.
    let mut items = Vec::with_capacity((count as usize).min(fields.0.len() / ITEM_BYTES));
    let mut used = 0;
    for nth in 0..count as usize {
        let (item, group) = take_item(fields, nth, &groups)?;
        // Groups come in the order of their first use.
        if group > used {
            return Err(ListError::Group { nth });
        }
        used += usize::from(group == used);
        items.push(item);
    }
    match used == groups.len() {
        true => Ok(items),
        false => Err(ListError::Group { nth: items.len() }),
    }
}

fn take_groups(
    fields: &mut Fields<'_>,
    count: u16,
    destinations: usize,
) -> Result<Vec<Arc<[u16]>>, ListError> {
    let mut groups = Vec::new();
    let mut known = HashSet::new();
    for nth in 0..usize::from(count) {
        let length = usize::from(fields.u16().ok_or(ListError::Truncated)?);
        if length > destinations {
            return Err(ListError::Group { nth });
        }
        let group: Option<Arc<[u16]>> = (0..length).map(|_| fields.u16()).collect();
        let group = group.ok_or(ListError::Truncated)?;
        if !known.insert(Arc::clone(&group)) {
            return Err(ListError::Group { nth });
        }
        groups.push(group);
    }
    Ok(groups)
}

fn take_item(fields: &mut Fields<'_>, nth: usize, groups: &[Arc<[u16]>]) -> Result<(Item, usize), ListError> {
    let id = ItemId(fields.array().ok_or(ListError::Truncated)?);
    let length = fields.u64().ok_or(ListError::Truncated)?;
    let digest = fields.digest().ok_or(ListError::Truncated)?;
    let group = usize::from(fields.u16().ok_or(ListError::Truncated)?);
    let to = groups.get(group).ok_or(ListError::Group { nth })?;
    let head_length = fields.u32().ok_or(ListError::Truncated)? as usize;
    if head_length > HEAD_BYTES_MAX {
        return Err(ListError::Head { nth, length: head_length as u64 });
    }
    let head = fields.bytes(head_length).ok_or(ListError::Truncated)?.to_vec();
    let hashes: Option<Vec<_>> = (0..parts(length)).map(|_| fields.digest()).collect();
    let hashes = hashes.ok_or(ListError::Truncated)?;
    let outline = Outline::new(part_bytes(length), hashes).map_err(|_| ListError::Outline { nth })?;
    Ok((Item { id, length, digest, outline, head, to: Arc::clone(to) }, group))
}
