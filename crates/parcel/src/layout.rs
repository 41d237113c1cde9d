//! Which range of which item lies on which volume.
//!
//! The items follow one another in the order of the packing list, and each volume carries the next `capacity` bytes of
//! them. Within a volume they are cut into pieces where an item ends and at each multiple of a MiB within an item. So no
//! layout has to be written down, and each piece lies whole on one volume.

use packhorse_content::part_bytes;

use crate::{
    limits::{PIECE_BYTES_MAX, VOLUME_BYTES_MAX, VOLUMES_MAX},
    list::Item,
};

/// A run of an item's bytes that is checked by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Which item of the packing list, counted from 0.
    pub item: usize,
    /// Where it begins in the item, in bytes.
    pub offset: u64,
    /// 1 byte to 1 MiB.
    pub length: u32,
    /// Where it begins among the item bytes of its volume.
    pub(crate) at: u64,
    pub(crate) check: Check,
}

/// By which hash of the packing list a piece is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    /// It is the whole item: by the item's digest.
    Item,
    /// It is a part of the item's outline, counted from 0.
    Part(usize),
    /// It was cut by the end of a volume, or parts are longer than pieces: by that fragment's digest.
    Fragment(usize),
}

/// Where a volume begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Start {
    item: usize,
    offset: u64,
    fragment: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    capacity: u64,
    /// Bytes of all items.
    total: u64,
    /// How many pieces need a digest of their own.
    fragments: usize,
    /// Of each volume. There is always one.
    starts: Vec<Start>,
}

impl Layout {
    /// `None` if that makes too many volumes, or none at all.
    pub(crate) fn of(items: &[Item], capacity: u64) -> Option<Self> {
        let total = items.iter().try_fold(0_u64, |sum, item| sum.checked_add(item.length))?;
        if !(1..=VOLUME_BYTES_MAX).contains(&capacity) {
            return None;
        }
        let volumes = total.div_ceil(capacity).max(1);
        if volumes > VOLUMES_MAX.into() {
            return None;
        }
        let mut layout = Layout { capacity, total, fragments: 0, starts: Vec::new() };
        let mut start = Start::default();
        for _ in 0..volumes {
            layout.starts.push(start);
            let number = layout.starts.len() as u16;
            let mut pieces = layout.pieces(items, number);
            pieces.by_ref().for_each(drop);
            start = pieces.next;
        }
        layout.fragments = start.fragment;
        Some(layout)
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(crate) fn volumes(&self) -> u16 {
        self.starts.len() as u16
    }

    pub(crate) fn fragments(&self) -> usize {
        self.fragments
    }

    /// How many bytes of items a volume carries. Volumes are counted from 1.
    pub(crate) fn slice_bytes(&self, number: u16) -> u64 {
        let begin = u64::from(number.saturating_sub(1)) * self.capacity;
        self.total.saturating_sub(begin).min(self.capacity)
    }

    /// The pieces of a volume, in order; none if there is no such volume.
    pub(crate) fn pieces<'a>(&self, items: &'a [Item], number: u16) -> Pieces<'a> {
        let start = usize::from(number).checked_sub(1).and_then(|at| self.starts.get(at));
        let left = if start.is_some() { self.slice_bytes(number) } else { 0 };
        Pieces { items, next: start.copied().unwrap_or_default(), at: 0, left }
    }
}

/// The pieces of a volume.
#[derive(Debug, Clone)]
pub(crate) struct Pieces<'a> {
    items: &'a [Item],
    next: Start,
    at: u64,
    /// Bytes of the volume that are still to come.
    left: u64,
}

impl Iterator for Pieces<'_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        if self.left == 0 {
            return None;
        }
        while self.items.get(self.next.item)?.length == self.next.offset {
            (self.next.item, self.next.offset) = (self.next.item + 1, 0);
        }
        let (nth, offset) = (self.next.item, self.next.offset);
        let item = &self.items[nth];
        let to_cut = PIECE_BYTES_MAX - offset % PIECE_BYTES_MAX;
        let length = to_cut.min(item.length - offset).min(self.left);
        let check = check_of(item.length, offset, length).unwrap_or(Check::Fragment(self.next.fragment));
        let piece = Piece { item: nth, offset, length: length as u32, at: self.at, check };
        self.next.offset += length;
        self.next.fragment += usize::from(matches!(check, Check::Fragment(_)));
        self.at += length;
        self.left -= length;
        Some(piece)
    }
}

/// `None` if the item's own hashes do not cover just that piece.
fn check_of(item_length: u64, offset: u64, length: u64) -> Option<Check> {
    let part = part_bytes(item_length);
    let end = offset + length;
    let is_part =
        part == PIECE_BYTES_MAX && offset.is_multiple_of(part) && (end == item_length || length == part);
    match is_part {
        false => None,
        true if length == item_length => Some(Check::Item),
        true => Some(Check::Part((offset / part) as usize)),
    }
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
