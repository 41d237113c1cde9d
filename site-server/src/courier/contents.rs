//! What the items of a parcel are: their heads, and the bytes of those that are no bundles.

use packhorse_domain::{Digest, Priority, id::PackageId, link::ItemId, object::Object};
use packhorse_parcel::ParcelId;
use packhorse_proto::{
    convert,
    courier::v1::{self as wire, item_head::Kind},
    object::v1 as object_wire,
};
use prost::Message as _;

use crate::record;

/// What an item is, as its head says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ItemKind {
    /// So many.
    Objects(u32),
    Bundle(BundleHead),
    Key,
    Receipts,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BundleHead {
    pub(crate) package: PackageId,
    pub(crate) target: Digest,
    pub(crate) bases: Vec<Digest>,
    pub(crate) priority: Priority,
}

/// What a site has taken of a parcel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Receipt {
    pub(super) parcel: ParcelId,
    pub(super) items: Vec<ItemId>,
}

/// As the link takes them.
const BASES_MAX: usize = 64;

impl ItemKind {
    pub(super) fn encode(&self) -> Vec<u8> {
        let kind = match self {
            ItemKind::Objects(count) => Kind::Objects(wire::Objects { count: *count }),
            ItemKind::Bundle(bundle) => Kind::Bundle(wire::Bundle {
                package: bundle.package.to_string(),
                target: bundle.target.0.to_vec().into(),
                bases: bundle.bases.iter().map(|base| base.0.to_vec().into()).collect(),
                priority: object_wire::Priority::from(bundle.priority).into(),
            }),
            ItemKind::Key => Kind::Key(wire::Key {}),
            ItemKind::Receipts => Kind::Receipts(wire::Receipts {}),
        };
        wire::ItemHead { kind: Some(kind) }.encode_to_vec()
    }

    /// `None`: it is of a kind that a newer version knows, or senseless.
    pub(crate) fn decode(head: &[u8]) -> Option<ItemKind> {
        Some(match wire::ItemHead::decode(head).ok()?.kind? {
            Kind::Objects(objects) => ItemKind::Objects(objects.count),
            Kind::Bundle(bundle) => {
                let digest = |bytes: &[u8]| bytes.try_into().ok().map(Digest);
                let bases = Some(bundle.bases).filter(|bases| bases.len() <= BASES_MAX)?;
                ItemKind::Bundle(BundleHead {
                    package: bundle.package.parse().ok()?,
                    target: digest(&bundle.target)?,
                    bases: bases.iter().map(|base| digest(base)).collect::<Option<_>>()?,
                    priority: convert::priority("priority", bundle.priority).ok()?,
                })
            }
            Kind::Key(wire::Key {}) => ItemKind::Key,
            Kind::Receipts(wire::Receipts {}) => ItemKind::Receipts,
        })
    }
}

pub(super) fn objects_to_bytes(objects: &[Vec<u8>]) -> Vec<u8> {
    wire::ObjectList { objects: objects.iter().map(|one| one.clone().into()).collect() }.encode_to_vec()
}

pub(super) fn objects_from_bytes(bytes: &[u8]) -> Option<Vec<bytes::Bytes>> {
    Some(wire::ObjectList::decode(bytes).ok()?.objects)
}

/// An object out of what the link would carry; who may say it is not asked here.
pub(super) fn object_of(content: &[u8]) -> Option<Object> {
    record::object_in(content).ok().map(|(object, _)| object)
}

pub(super) fn receipts_to_bytes(receipts: &[Receipt]) -> Vec<u8> {
    let receipt = |one: &Receipt| wire::Receipt {
        parcel: one.parcel.0.to_vec().into(),
        items: one.items.iter().map(|item| item.0.to_vec().into()).collect(),
    };
    wire::ReceiptList { receipts: receipts.iter().map(receipt).collect() }.encode_to_vec()
}

pub(super) fn receipts_from_bytes(bytes: &[u8]) -> Option<Vec<Receipt>> {
    let receipt = |one: wire::Receipt| {
        let items = one.items.iter().map(|item| item.as_ref().try_into().ok().map(ItemId));
        Some(Receipt {
            parcel: ParcelId(one.parcel.as_ref().try_into().ok()?),
            items: items.collect::<Option<_>>()?,
        })
    };
    wire::ReceiptList::decode(bytes).ok()?.receipts.into_iter().map(receipt).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_come_back() {
        let bundle = BundleHead {
            package: "CEN00001".parse().unwrap(),
            target: Digest([1; 32]),
            bases: vec![Digest([2; 32])],
            priority: Priority::High,
        };
        for kind in [ItemKind::Objects(3), ItemKind::Bundle(bundle), ItemKind::Key, ItemKind::Receipts] {
            assert_eq!(ItemKind::decode(&kind.encode()), Some(kind));
        }
        assert_eq!(ItemKind::decode(b""), None);
        assert_eq!(ItemKind::decode(b"\xff\xff"), None);
        let many = BundleHead {
            package: "CEN00001".parse().unwrap(),
            target: Digest([1; 32]),
            bases: vec![Digest([2; 32]); 65],
            priority: Priority::Low,
        };
        assert_eq!(ItemKind::decode(&ItemKind::Bundle(many).encode()), None);
    }

    #[test]
    fn receipts_come_back() {
        let receipts = vec![Receipt { parcel: ParcelId([7; 16]), items: vec![ItemId([8; 16])] }];
        assert_eq!(receipts_from_bytes(&receipts_to_bytes(&receipts)), Some(receipts));
        assert_eq!(receipts_from_bytes(b"\x0a\x03\x0a\x01\x00"), None, "an id of one byte");
    }
}
