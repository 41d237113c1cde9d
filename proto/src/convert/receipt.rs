//! Receipts of parcels.

use packhorse_domain::{
    Timestamp,
    link::ItemId,
    parcel::{ParcelReceipt, RECEIPT_ITEMS_MAX},
};

use super::{ConvertError, invalid, limited, parse};
use crate::object::v1 as wire;

impl From<&ParcelReceipt> for wire::ParcelReceipt {
    fn from(receipt: &ParcelReceipt) -> Self {
        let items = receipt.items.as_deref().unwrap_or_default();
        wire::ParcelReceipt {
            parcel: receipt.parcel.to_vec().into(),
            sender: receipt.sender.to_string(),
            site: receipt.site.to_string(),
            complete: receipt.items.is_none(),
            items: items.iter().take(RECEIPT_ITEMS_MAX).map(|item| item.0.to_vec().into()).collect(),
            changed_at_us: receipt.changed_at.0,
        }
    }
}

impl TryFrom<wire::ParcelReceipt> for ParcelReceipt {
    type Error = ConvertError;

    fn try_from(receipt: wire::ParcelReceipt) -> Result<Self, ConvertError> {
        limited("items", &receipt.items, RECEIPT_ITEMS_MAX)?;
        let item = |bytes: &bytes::Bytes| {
            ItemId::try_from(bytes.as_ref()).map_err(|source| invalid("items", source))
        };
        let items = receipt.items.iter().map(item).collect::<Result<_, _>>()?;
        Ok(ParcelReceipt {
            parcel: receipt.parcel.as_ref().try_into().map_err(|source| invalid("parcel", source))?,
            sender: parse("sender", &receipt.sender)?,
            site: parse("site", &receipt.site)?,
            items: (!receipt.complete).then_some(items),
            changed_at: Timestamp(receipt.changed_at_us),
        })
    }
}
