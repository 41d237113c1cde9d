//! What went over the lines, as a digest always and as a list on demand.

use packhorse_domain::{
    Timestamp,
    link::{Frame, ItemId},
};

use crate::{rng::mix, wire::Way};

#[derive(Debug, Default)]
pub(crate) struct History {
    digest: u64,
    records: Option<Vec<Record>>,
}

/// One frame as it left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub at: Timestamp,
    pub line: usize,
    pub side: usize,
    pub on_lane: bool,
    pub frame: &'static str,
    pub item: Option<ItemId>,
    pub offset: u64,
    /// Bytes of an item in it.
    pub bytes: u64,
}

impl History {
    pub(crate) fn new(keep: bool) -> Self {
        History { digest: 0, records: keep.then(Vec::new) }
    }

    pub(crate) fn left(&mut self, at: Timestamp, (line, side): (usize, usize), way: Way, frame: &Frame) {
        let (item, offset, bytes) = match frame {
            Frame::Offer(offer) => (Some(offer.item), 0, offer.inline.as_ref().map_or(0, Vec::len)),
            Frame::Want { item, offset }
            | Frame::WantRest { item, offset, .. }
            | Frame::Ack { item, offset }
            | Frame::Written { item, offset } => (Some(*item), *offset, 0),
            Frame::Data { item, offset, bytes } | Frame::Bulk { item, offset, bytes, .. } => {
                (Some(*item), *offset, bytes.len())
            }
            Frame::Got { bytes } => (None, *bytes, 0),
            Frame::Refuse { item, .. } | Frame::Receipt { item } | Frame::Cancel { item } => {
                (Some(*item), 0, 0)
            }
            Frame::Ping { value } | Frame::Pong { value, .. } => (None, *value, 0),
            _ => (None, 0, 0),
        };
        let on_lane = way == Way::Lane;
        let record =
            Record { at, line, side, on_lane, frame: frame.name(), item, offset, bytes: bytes as u64 };
        self.add(at.0 as u64);
        self.add((line * 2 + side) as u64 + u64::from(on_lane) * 256);
        self.add(record.frame.len() as u64 + u64::from(record.frame.as_bytes()[0]) * 256);
        self.add(
            item.map_or(0, |item| u64::from_le_bytes(*item.0.first_chunk().expect("an id has 16 bytes"))),
        );
        self.add(offset);
        self.add(record.bytes);
        if let Some(records) = &mut self.records {
            records.push(record);
        }
    }

    pub(crate) fn add(&mut self, value: u64) {
        self.digest = mix(self.digest.rotate_left(5) ^ value);
    }

    pub(crate) fn finish(self) -> (u64, Vec<Record>) {
        (self.digest, self.records.unwrap_or_default())
    }
}
