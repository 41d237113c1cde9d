//! Advertisements.

use packhorse_domain::advertisement::{Acceptance, Advertisement, Delivery};

use super::{ConvertError, invalid, parse, priority, time_or_none};
use crate::object::v1 as wire;

impl From<&Advertisement> for wire::Advertisement {
    fn from(advertisement: &Advertisement) -> Self {
        wire::Advertisement {
            id: advertisement.id.to_string(),
            name: advertisement.name.clone(),
            package: advertisement.package.to_string(),
            program: advertisement.program.to_string(),
            collection: advertisement.collection.to_string(),
            required: advertisement.required,
            start_at_us: advertisement.start_at.map_or(0, |at| at.0),
            expires_at_us: advertisement.expires_at.map_or(0, |at| at.0),
            rerun_on_update: advertisement.rerun_on_update,
            priority: wire::Priority::from(advertisement.priority).into(),
            ignore_windows: advertisement.ignore_windows,
        }
    }
}

impl TryFrom<wire::Advertisement> for Advertisement {
    type Error = ConvertError;

    fn try_from(advertisement: wire::Advertisement) -> Result<Self, ConvertError> {
        let advertisement = Advertisement {
            id: parse("id", &advertisement.id)?,
            name: advertisement.name,
            package: parse("package", &advertisement.package)?,
            program: parse("program", &advertisement.program)?,
            collection: parse("collection", &advertisement.collection)?,
            required: advertisement.required,
            start_at: time_or_none(advertisement.start_at_us),
            expires_at: time_or_none(advertisement.expires_at_us),
            rerun_on_update: advertisement.rerun_on_update,
            priority: priority("priority", advertisement.priority)?,
            ignore_windows: advertisement.ignore_windows,
        };
        advertisement.check().map_err(|source| invalid("advertisement", source))?;
        Ok(advertisement)
    }
}

impl From<Acceptance> for wire::Acceptance {
    fn from(acceptance: Acceptance) -> Self {
        match acceptance {
            Acceptance::Accepted => wire::Acceptance::Accepted,
            Acceptance::Rejected => wire::Acceptance::Rejected,
            Acceptance::Expired => wire::Acceptance::Expired,
        }
    }
}

impl From<Delivery> for wire::Delivery {
    fn from(delivery: Delivery) -> Self {
        match delivery {
            Delivery::Waiting => wire::Delivery::Waiting,
            Delivery::Downloading => wire::Delivery::Downloading,
            Delivery::Retrying => wire::Delivery::Retrying,
            Delivery::Running => wire::Delivery::Running,
            Delivery::Succeeded => wire::Delivery::Succeeded,
            Delivery::Failed => wire::Delivery::Failed,
            Delivery::Interrupted => wire::Delivery::Interrupted,
        }
    }
}

pub(super) fn acceptance(value: i32) -> Result<Acceptance, ConvertError> {
    match wire::Acceptance::try_from(value) {
        Ok(wire::Acceptance::Accepted) => Ok(Acceptance::Accepted),
        Ok(wire::Acceptance::Rejected) => Ok(Acceptance::Rejected),
        Ok(wire::Acceptance::Expired) => Ok(Acceptance::Expired),
        Ok(wire::Acceptance::Unspecified) | Err(_) => {
            Err(ConvertError::Unknown { field: "acceptance", value })
        }
    }
}

pub(super) fn delivery(value: i32) -> Result<Delivery, ConvertError> {
    match wire::Delivery::try_from(value) {
        Ok(wire::Delivery::Waiting) => Ok(Delivery::Waiting),
        Ok(wire::Delivery::Downloading) => Ok(Delivery::Downloading),
        Ok(wire::Delivery::Retrying) => Ok(Delivery::Retrying),
        Ok(wire::Delivery::Running) => Ok(Delivery::Running),
        Ok(wire::Delivery::Succeeded) => Ok(Delivery::Succeeded),
        Ok(wire::Delivery::Failed) => Ok(Delivery::Failed),
        Ok(wire::Delivery::Interrupted) => Ok(Delivery::Interrupted),
        Ok(wire::Delivery::Unspecified) | Err(_) => Err(ConvertError::Unknown { field: "delivery", value }),
    }
}
