//! Objects.

use packhorse_domain::object::{BODY_LENGTH_MAX, ID_LENGTH_MAX, Object, ObjectKind};

use super::{ConvertError, limited, parse};
use crate::object::v1 as wire;

impl From<ObjectKind> for wire::ObjectKind {
    fn from(kind: ObjectKind) -> Self {
        match kind {
            ObjectKind::Package => wire::ObjectKind::Package,
            ObjectKind::Distribution => wire::ObjectKind::Distribution,
            ObjectKind::Collection => wire::ObjectKind::Collection,
            ObjectKind::Advertisement => wire::ObjectKind::Advertisement,
            ObjectKind::Trust => wire::ObjectKind::Trust,
            ObjectKind::Kill => wire::ObjectKind::Kill,
            ObjectKind::Site => wire::ObjectKind::Site,
            ObjectKind::DistributionPoint => wire::ObjectKind::DistributionPoint,
            ObjectKind::Client => wire::ObjectKind::Client,
            ObjectKind::PackageStatus => wire::ObjectKind::PackageStatus,
            ObjectKind::AdvertisementStatus => wire::ObjectKind::AdvertisementStatus,
            ObjectKind::Event => wire::ObjectKind::Event,
            ObjectKind::ParcelReceipt => wire::ObjectKind::ParcelReceipt,
            ObjectKind::SiteHealth => wire::ObjectKind::SiteHealth,
        }
    }
}

fn kind(value: i32) -> Result<ObjectKind, ConvertError> {
    ObjectKind::ALL
        .into_iter()
        .find(|kind| wire::ObjectKind::from(*kind) as i32 == value)
        .ok_or(ConvertError::Unknown { field: "kind", value })
}

impl From<&Object> for wire::Object {
    fn from(object: &Object) -> Self {
        wire::Object {
            kind: wire::ObjectKind::from(object.kind).into(),
            id: object.id.clone(),
            owner: object.owner.to_string(),
            version: object.version,
            deleted: object.deleted,
            body: object.body.clone().into(),
            traceparent: object.traceparent.clone(),
        }
    }
}

impl TryFrom<wire::Object> for Object {
    type Error = ConvertError;

    fn try_from(object: wire::Object) -> Result<Self, ConvertError> {
        limited("id", object.id.as_bytes(), ID_LENGTH_MAX)?;
        limited("body", &object.body, BODY_LENGTH_MAX)?;
        limited("traceparent", object.traceparent.as_bytes(), 64)?;
        if object.id.is_empty() {
            return Err(ConvertError::Missing("id"));
        }
        Ok(Object {
            kind: kind(object.kind)?,
            id: object.id,
            owner: parse("owner", &object.owner)?,
            version: object.version,
            deleted: object.deleted,
            body: object.body.into(),
            traceparent: object.traceparent,
        })
    }
}
