//! The envelope of a packing list: its sender's signature, and the list.
//!
//! The length of what was signed u32 little-endian, what was signed (an envelope of type `packing-list` whose payload is the
//! BLAKE3 of the list), the list. A list may be long, and what is signed is short.

use packhorse_domain::id::SiteCode;
use packhorse_parcel::{Failure, Limits, PackingList};
use packhorse_trust::{PublicKey, SignedType, SigningKey, TrustError, open, sign};

use crate::record;

#[derive(Debug, thiserror::Error)]
pub(super) enum EnvelopeError {
    #[error("the envelope is cut off")]
    CutOff,
    #[error("the signature of the packing list is not accepted")]
    Signature(#[from] TrustError),
    #[error("the packing list is not the one that was signed")]
    OtherList,
}

pub(super) fn seal(list: &[u8], director: &SigningKey) -> Vec<u8> {
    let signed = sign(SignedType::PackingList, record::digest(list).0.to_vec(), &[director]);
    let mut envelope = (signed.len() as u32).to_le_bytes().to_vec();
    envelope.extend_from_slice(&signed);
    envelope.extend_from_slice(list);
    envelope
}

/// The list, if the site that it names as its sender has signed it. `director` gives that site's key.
pub(super) fn unseal(
    envelope: &[u8],
    director: impl FnOnce(&SiteCode) -> Result<PublicKey, TrustError>,
) -> Result<Vec<u8>, Failure> {
    let (length, rest) = envelope.split_first_chunk::<4>().ok_or(EnvelopeError::CutOff)?;
    let (signed, list) =
        rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or(EnvelopeError::CutOff)?;
    let sender = PackingList::decode(list, &Limits::default())?.info().sender.clone();
    let key = director(&sender).map_err(EnvelopeError::Signature)?;
    let digest = open(SignedType::PackingList, signed, &[key]).map_err(EnvelopeError::Signature)?;
    if digest != record::digest(list).0 {
        return Err(EnvelopeError::OtherList.into());
    }
    Ok(list.to_vec())
}
