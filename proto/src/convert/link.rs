//! Frames of a link.

use packhorse_domain::{
    link::{Frame, Hello, ItemId, ItemKind, LaneOffer, Offer, Outline, Ranges, RefuseReason, limits},
    reconcile::{Compare, Listing},
};

use super::{ConvertError, digest, digest_bytes, invalid, limited, parse, priority, time_or_none};
use crate::link::v1 as wire;

use wire::frame::Body;

/// What is held is not told in order.
#[derive(Debug, thiserror::Error)]
#[error("the runs are not in order, or one is empty or touches another")]
struct HeldError;

fn item(bytes: &[u8]) -> Result<ItemId, ConvertError> {
    ItemId::try_from(bytes).map_err(|source| invalid("item", source))
}

fn id(item: ItemId) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(item.as_bytes())
}

impl From<Frame> for wire::Frame {
    fn from(frame: Frame) -> Self {
        let body = match frame {
            Frame::Hello(hello) => Some(Body::Hello(wire::Hello {
                site: hello.site.to_string(),
                revision: hello.revision,
                features: hello.features,
                epoch: hello.epoch.into(),
                window_bytes: hello.window_bytes,
                lanes: hello.lanes.map_or(0, |offer| offer.calls),
                lane_port: hello.lanes.map_or(0, |offer| u32::from(offer.port)),
                session: hello.lanes.map(|offer| offer.session.to_vec()).unwrap_or_default().into(),
            })),
            Frame::Offer(offer) => Some(Body::Offer(offer.into())),
            Frame::Want { item, offset } => {
                Some(Body::Want(wire::Want { item: id(item), offset, held: Vec::new() }))
            }
            Frame::WantRest { item, offset, held } => {
                let held =
                    held.iter().map(|run| wire::want::Range { from: run.start, to: run.end }).collect();
                Some(Body::Want(wire::Want { item: id(item), offset, held }))
            }
            Frame::Refuse { item, reason, text } => Some(Body::Refuse(wire::Refuse {
                item: id(item),
                reason: refuse_reason(reason).into(),
                text,
            })),
            Frame::Data { item, offset, bytes } => {
                Some(Body::Data(wire::Data { item: id(item), offset, bytes, want: 0 }))
            }
            Frame::Bulk { item, offset, bytes, want } => {
                Some(Body::Data(wire::Data { item: id(item), offset, bytes, want }))
            }
            Frame::Ack { item, offset } => Some(Body::Ack(wire::Ack { item: id(item), offset })),
            Frame::Written { item, offset } => Some(Body::Written(wire::Written { item: id(item), offset })),
            Frame::Receipt { item } => Some(Body::Receipt(wire::Receipt { item: id(item) })),
            Frame::Cancel { item } => Some(Body::Cancel(wire::Cancel { item: id(item) })),
            Frame::Goodbye { reason, at_fault } => Some(Body::Goodbye(wire::Goodbye { reason, at_fault })),
            Frame::Ping { value } => Some(Body::Ping(wire::Ping { value })),
            Frame::Pong { value, clock } => {
                let clock_us = clock.map_or(0, |at| at.0);
                Some(Body::Pong(wire::Pong { value, clock_us }))
            }
            Frame::Got { bytes } => Some(Body::Got(wire::Got { bytes })),
            Frame::Outline(outline) => Some(Body::Outline(wire::Outline {
                item: id(outline.item),
                part_bytes: outline.part_bytes,
                hashes: outline.hashes.iter().flat_map(|hash| hash.0).collect(),
            })),
            Frame::Compare(compare) => Some(Body::Compare(compare.into())),
            Frame::Listing(listing) => Some(Body::Listing(listing.into())),
            // Only ever received; what is not understood is not repeated.
            Frame::Unknown | Frame::UnknownOffer { .. } => None,
        };
        wire::Frame { body }
    }
}

impl From<Offer> for wire::Offer {
    fn from(offer: Offer) -> Self {
        let kind = match offer.kind {
            ItemKind::Object => wire::ItemKind::Object,
            ItemKind::Bundle => wire::ItemKind::Bundle,
        };
        wire::Offer {
            item: id(offer.item),
            kind: kind.into(),
            priority: crate::object::v1::Priority::from(offer.priority).into(),
            length: offer.length,
            digest: digest_bytes(&offer.digest),
            subject: offer.subject,
            target: offer.target.as_ref().map(digest_bytes).unwrap_or_default(),
            bases: offer.bases.iter().map(digest_bytes).collect(),
            inline_data: offer.inline.unwrap_or_default().into(),
        }
    }
}

fn refuse_reason(reason: RefuseReason) -> wire::RefuseReason {
    match reason {
        RefuseReason::Held => wire::RefuseReason::Held,
        RefuseReason::BaseMissing => wire::RefuseReason::BaseMissing,
        RefuseReason::NotAllowed => wire::RefuseReason::NotAllowed,
        RefuseReason::Damaged => wire::RefuseReason::Damaged,
        RefuseReason::NoSpace => wire::RefuseReason::NoSpace,
        RefuseReason::UnknownKind => wire::RefuseReason::UnknownKind,
        RefuseReason::Other => wire::RefuseReason::Unspecified,
    }
}

impl TryFrom<wire::Frame> for Frame {
    type Error = ConvertError;

    fn try_from(frame: wire::Frame) -> Result<Self, ConvertError> {
        Ok(match frame.body {
            None => Frame::Unknown,
            Some(Body::Hello(hello)) => Frame::Hello(read_hello(hello)?),
            Some(Body::Offer(offer)) => read_offer(offer)?,
            Some(Body::Want(want)) => read_want(&want)?,
            Some(Body::Refuse(refuse)) => {
                limited("text", refuse.text.as_bytes(), limits::TEXT_BYTES_MAX)?;
                Frame::Refuse {
                    item: item(&refuse.item)?,
                    reason: read_reason(refuse.reason),
                    text: refuse.text,
                }
            }
            Some(Body::Data(data)) => {
                limited("bytes", &data.bytes, limits::DATA_BYTES_MAX)?;
                let (item, offset, bytes) = (item(&data.item)?, data.offset, data.bytes);
                match data.want {
                    0 => Frame::Data { item, offset, bytes },
                    want => Frame::Bulk { item, offset, bytes, want },
                }
            }
            Some(Body::Ack(ack)) => Frame::Ack { item: item(&ack.item)?, offset: ack.offset },
            Some(Body::Written(written)) => {
                Frame::Written { item: item(&written.item)?, offset: written.offset }
            }
            Some(Body::Receipt(receipt)) => Frame::Receipt { item: item(&receipt.item)? },
            Some(Body::Cancel(cancel)) => Frame::Cancel { item: item(&cancel.item)? },
            Some(Body::Goodbye(goodbye)) => {
                limited("reason", goodbye.reason.as_bytes(), limits::TEXT_BYTES_MAX)?;
                Frame::Goodbye { reason: goodbye.reason, at_fault: goodbye.at_fault }
            }
            Some(Body::Ping(ping)) => Frame::Ping { value: ping.value },
            Some(Body::Pong(pong)) => Frame::Pong { value: pong.value, clock: time_or_none(pong.clock_us) },
            Some(Body::Got(got)) => Frame::Got { bytes: got.bytes },
            Some(Body::Outline(outline)) => Frame::Outline(read_outline(&outline)?),
            // A set of a later revision is not compared; it ends nothing.
            Some(Body::Compare(compare)) => {
                known(Compare::try_from(compare))?.map_or(Frame::Unknown, Frame::Compare)
            }
            Some(Body::Listing(listing)) => {
                known(Listing::try_from(listing))?.map_or(Frame::Unknown, Frame::Listing)
            }
        })
    }
}

fn read_hello(hello: wire::Hello) -> Result<Hello, ConvertError> {
    limited("features", &hello.features, limits::FEATURES_MAX)?;
    limited("epoch", &hello.epoch, limits::EPOCH_BYTES_MAX)?;
    for feature in &hello.features {
        limited("features", feature.as_bytes(), limits::FEATURE_BYTES_MAX)?;
    }
    // Without a name there is nothing to attach a lane to.
    let session = <[u8; 16]>::try_from(hello.session.as_ref()).ok();
    let calls = hello.lanes.min(limits::LANES_MAX);
    // What is no port is none.
    let port = u16::try_from(hello.lane_port).unwrap_or_default();
    Ok(Hello {
        site: parse("site", &hello.site)?,
        revision: hello.revision,
        features: hello.features,
        epoch: hello.epoch.into(),
        window_bytes: hello.window_bytes,
        lanes: session.filter(|_| calls > 0 || port > 0).map(|session| LaneOffer { calls, port, session }),
    })
}

fn read_want(want: &wire::Want) -> Result<Frame, ConvertError> {
    limited("held", &want.held, limits::HELD_MAX)?;
    let (item, offset) = (item(&want.item)?, want.offset);
    if want.held.is_empty() {
        return Ok(Frame::Want { item, offset });
    }
    let mut before = offset;
    for run in &want.held {
        if run.from <= before || run.to <= run.from {
            return Err(invalid("held", HeldError));
        }
        before = run.to;
    }
    let held: Ranges = want.held.iter().map(|run| run.from..run.to).collect();
    Ok(Frame::WantRest { item, offset, held })
}

fn read_offer(offer: wire::Offer) -> Result<Frame, ConvertError> {
    limited("subject", offer.subject.as_bytes(), limits::SUBJECT_BYTES_MAX)?;
    limited("bases", &offer.bases, limits::BASES_MAX)?;
    limited("inline_data", &offer.inline_data, limits::INLINE_BYTES_MAX)?;
    let name = item(&offer.item)?;
    let kind = match wire::ItemKind::try_from(offer.kind) {
        Ok(wire::ItemKind::Object) => ItemKind::Object,
        Ok(wire::ItemKind::Bundle) => ItemKind::Bundle,
        Ok(wire::ItemKind::Unspecified) | Err(_) => {
            return Ok(Frame::UnknownOffer { item: name, inline_bytes: offer.inline_data.len() });
        }
    };
    Ok(Frame::Offer(Offer {
        item: name,
        kind,
        priority: priority("priority", offer.priority)?,
        length: offer.length,
        digest: digest("digest", &offer.digest)?,
        subject: offer.subject,
        target: match offer.target.is_empty() {
            true => None,
            false => Some(digest("target", &offer.target)?),
        },
        bases: offer.bases.iter().map(|base| digest("bases", base)).collect::<Result<_, _>>()?,
        inline: (!offer.inline_data.is_empty()).then(|| offer.inline_data.into()),
    }))
}

fn read_outline(outline: &wire::Outline) -> Result<Outline, ConvertError> {
    limited("hashes", &outline.hashes, limits::OUTLINE_HASHES_MAX * 32)?;
    Ok(Outline {
        item: item(&outline.item)?,
        part_bytes: outline.part_bytes,
        hashes: outline.hashes.chunks(32).map(|hash| digest("hashes", hash)).collect::<Result<_, _>>()?,
    })
}

fn known<T>(read: Result<T, ConvertError>) -> Result<Option<T>, ConvertError> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(ConvertError::Unknown { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_reason(value: i32) -> RefuseReason {
    match wire::RefuseReason::try_from(value) {
        Ok(wire::RefuseReason::Held) => RefuseReason::Held,
        Ok(wire::RefuseReason::BaseMissing) => RefuseReason::BaseMissing,
        Ok(wire::RefuseReason::NotAllowed) => RefuseReason::NotAllowed,
        Ok(wire::RefuseReason::Damaged) => RefuseReason::Damaged,
        Ok(wire::RefuseReason::NoSpace) => RefuseReason::NoSpace,
        Ok(wire::RefuseReason::UnknownKind) => RefuseReason::UnknownKind,
        Ok(wire::RefuseReason::Unspecified) | Err(_) => RefuseReason::Other,
    }
}
