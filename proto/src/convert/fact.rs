//! What sites, distribution points and clients say of themselves.

use packhorse_domain::{
    client::{ClientFact, LABELS_MAX},
    distribution::PointKind,
    site::SiteFact,
    status::PointFact,
};

use super::{ConvertError, invalid, limited, parse};
use crate::object::v1 as wire;

impl From<&SiteFact> for wire::SiteFact {
    fn from(site: &SiteFact) -> Self {
        wire::SiteFact {
            code: site.code.to_string(),
            parent: site.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
            name: site.name.clone(),
            software: site.software.clone(),
            courier_key: site.courier_key.clone(),
        }
    }
}

impl TryFrom<wire::SiteFact> for SiteFact {
    type Error = ConvertError;

    fn try_from(site: wire::SiteFact) -> Result<Self, ConvertError> {
        limited("name", site.name.as_bytes(), 512)?;
        limited("software", site.software.as_bytes(), 64)?;
        limited("courier_key", site.courier_key.as_bytes(), 62)?;
        let parent = match site.parent.is_empty() {
            true => None,
            false => Some(parse("parent", &site.parent)?),
        };
        Ok(SiteFact {
            code: parse("code", &site.code)?,
            parent,
            name: site.name,
            software: site.software,
            courier_key: site.courier_key,
        })
    }
}

impl From<PointKind> for wire::DistributionPointKind {
    fn from(kind: PointKind) -> Self {
        match kind {
            PointKind::Agent => wire::DistributionPointKind::Agent,
            PointKind::Directory => wire::DistributionPointKind::Directory,
        }
    }
}

impl From<&PointFact> for wire::DistributionPointFact {
    fn from(point: &PointFact) -> Self {
        wire::DistributionPointFact {
            site: point.site.to_string(),
            name: point.name.to_string(),
            kind: wire::DistributionPointKind::from(point.kind).into(),
            location: point.location.clone(),
        }
    }
}

impl TryFrom<wire::DistributionPointFact> for PointFact {
    type Error = ConvertError;

    fn try_from(point: wire::DistributionPointFact) -> Result<Self, ConvertError> {
        limited("location", point.location.as_bytes(), 4096)?;
        let kind = match wire::DistributionPointKind::try_from(point.kind) {
            Ok(wire::DistributionPointKind::Agent) => PointKind::Agent,
            Ok(wire::DistributionPointKind::Directory) => PointKind::Directory,
            Ok(wire::DistributionPointKind::Unspecified) | Err(_) => {
                return Err(ConvertError::Unknown { field: "kind", value: point.kind });
            }
        };
        Ok(PointFact {
            site: parse("site", &point.site)?,
            name: parse("name", &point.name)?,
            kind,
            location: point.location,
        })
    }
}

impl From<&ClientFact> for wire::ClientFact {
    fn from(client: &ClientFact) -> Self {
        wire::ClientFact {
            id: client.id.to_string(),
            site: client.site.to_string(),
            hostname: client.hostname.clone(),
            os: client.os.clone(),
            arch: client.arch.clone(),
            labels: client.labels.clone().into_iter().collect(),
            software: client.software.clone(),
        }
    }
}

impl TryFrom<wire::ClientFact> for ClientFact {
    type Error = ConvertError;

    fn try_from(client: wire::ClientFact) -> Result<Self, ConvertError> {
        if client.labels.len() > LABELS_MAX {
            return Err(ConvertError::TooLarge { field: "labels", limit: LABELS_MAX });
        }
        let client = ClientFact {
            id: parse("id", &client.id)?,
            site: parse("site", &client.site)?,
            hostname: client.hostname,
            os: client.os,
            arch: client.arch,
            labels: client.labels.into_iter().collect(),
            software: client.software,
        };
        client.check().map_err(|source| invalid("facts", source))?;
        Ok(client)
    }
}
