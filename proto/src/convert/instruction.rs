//! Instruction files.

use packhorse_domain::{
    Timestamp,
    instruction::{FileReference, Instruction, Point, PointList},
};

use super::{
    ConvertError,
    collection::{hours_on_wire, windows},
    digest, digest_bytes, limited, parse,
};
use crate::object::v1 as wire;

const FILES_MAX: usize = 10_000;
const POINTS_MAX: usize = 256;

impl From<&Instruction> for wire::Instruction {
    fn from(instruction: &Instruction) -> Self {
        wire::Instruction {
            site: instruction.site.to_string(),
            client: instruction.client.to_string(),
            serial: instruction.serial,
            issued_at_us: instruction.issued_at.0,
            not_after_us: instruction.not_after.0,
            files: instruction
                .files
                .iter()
                .map(|file| wire::FileReference {
                    name: file.name.clone(),
                    digest: digest_bytes(&file.digest),
                })
                .collect(),
            window_hours: hours_on_wire(&instruction.windows),
        }
    }
}

impl TryFrom<wire::Instruction> for Instruction {
    type Error = ConvertError;

    fn try_from(instruction: wire::Instruction) -> Result<Self, ConvertError> {
        limited("files", &instruction.files, FILES_MAX)?;
        let files = instruction
            .files
            .into_iter()
            .map(|file| {
                limited("name", file.name.as_bytes(), 128)?;
                Ok(FileReference { digest: digest("digest", &file.digest)?, name: file.name })
            })
            .collect::<Result<_, ConvertError>>()?;
        Ok(Instruction {
            site: parse("site", &instruction.site)?,
            client: parse("client", &instruction.client)?,
            serial: instruction.serial,
            issued_at: Timestamp(instruction.issued_at_us),
            not_after: Timestamp(instruction.not_after_us),
            files,
            windows: windows("window_hours", &instruction.window_hours)?,
        })
    }
}

impl From<&PointList> for wire::PointList {
    fn from(list: &PointList) -> Self {
        wire::PointList {
            package: list.package.to_string(),
            manifest: digest_bytes(&list.manifest),
            points: list
                .points
                .iter()
                .map(|point| wire::point_list::Point {
                    name: point.name.to_string(),
                    endpoints: point.endpoints.clone(),
                })
                .collect(),
        }
    }
}

impl TryFrom<wire::PointList> for PointList {
    type Error = ConvertError;

    fn try_from(list: wire::PointList) -> Result<Self, ConvertError> {
        limited("points", &list.points, POINTS_MAX)?;
        let points = list
            .points
            .into_iter()
            .map(|point| {
                limited("endpoints", &point.endpoints, 8)?;
                Ok(Point { name: parse("name", &point.name)?, endpoints: point.endpoints })
            })
            .collect::<Result<_, ConvertError>>()?;
        Ok(PointList {
            package: parse("package", &list.package)?,
            manifest: digest("manifest", &list.manifest)?,
            points,
        })
    }
}
