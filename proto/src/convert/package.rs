//! Packages, programs, distributions.

use std::time::Duration;

use packhorse_domain::{
    distribution::{Distribution, TARGETS_MAX, Target},
    package::{PROGRAMS_MAX, PackageDefinition, PackageState, PackageVersion, Program, TIME_LIMIT_DEFAULT},
};

use super::{
    ConvertError,
    courier::{sender, sender_on_wire},
    digest, digest_bytes, invalid, limited, parse, priority,
};
use crate::object::v1 as wire;

impl From<&PackageDefinition> for wire::PackageDefinition {
    fn from(package: &PackageDefinition) -> Self {
        wire::PackageDefinition {
            id: package.id.to_string(),
            name: package.name.clone(),
            description: package.description.clone(),
            priority: wire::Priority::from(package.priority).into(),
            signed_version: package.signed_version.clone().into(),
            preferred_sender: sender_on_wire(package.sender),
        }
    }
}

impl TryFrom<wire::PackageDefinition> for PackageDefinition {
    type Error = ConvertError;

    fn try_from(package: wire::PackageDefinition) -> Result<Self, ConvertError> {
        let definition = PackageDefinition {
            id: parse("id", &package.id)?,
            name: package.name,
            description: package.description,
            priority: priority("priority", package.priority)?,
            sender: sender("preferred_sender", package.preferred_sender)?,
            signed_version: package.signed_version.into(),
        };
        definition.check().map_err(|source| invalid("definition", source))?;
        Ok(definition)
    }
}

impl From<&PackageVersion> for wire::PackageVersion {
    fn from(version: &PackageVersion) -> Self {
        wire::PackageVersion {
            package: version.package.to_string(),
            source_version: version.source_version,
            release: version.release,
            manifest: version.manifest.as_ref().map(digest_bytes).unwrap_or_default(),
            length_bytes: version.length_bytes,
            file_count: version.file_count,
            programs: version.programs.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<wire::PackageVersion> for PackageVersion {
    type Error = ConvertError;

    fn try_from(version: wire::PackageVersion) -> Result<Self, ConvertError> {
        limited("programs", &version.programs, PROGRAMS_MAX)?;
        let manifest = match version.manifest.is_empty() {
            true => None,
            false => Some(digest("manifest", &version.manifest)?),
        };
        let version = PackageVersion {
            package: parse("package", &version.package)?,
            source_version: version.source_version,
            release: version.release,
            manifest,
            length_bytes: version.length_bytes,
            file_count: version.file_count,
            programs: version.programs.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
        };
        version.check().map_err(|source| invalid("programs", source))?;
        Ok(version)
    }
}

impl From<&Program> for wire::Program {
    fn from(program: &Program) -> Self {
        wire::Program {
            name: program.name.to_string(),
            command: program.command.clone(),
            shell: program.shell,
            time_limit_s: u32::try_from(program.time_limit.as_secs()).unwrap_or(u32::MAX),
            success_codes: program.success_codes.clone(),
            operating_systems: program.operating_systems.clone(),
            architectures: program.architectures.clone(),
            idempotent: program.idempotent,
        }
    }
}

impl TryFrom<wire::Program> for Program {
    type Error = ConvertError;

    fn try_from(program: wire::Program) -> Result<Self, ConvertError> {
        limited("success_codes", &program.success_codes, 256)?;
        limited("operating_systems", &program.operating_systems, 16)?;
        limited("architectures", &program.architectures, 16)?;
        let program = Program {
            name: parse("program name", &program.name)?,
            command: program.command,
            shell: program.shell,
            time_limit: match program.time_limit_s {
                0 => TIME_LIMIT_DEFAULT,
                seconds => Duration::from_secs(seconds.into()),
            },
            success_codes: program.success_codes,
            operating_systems: program.operating_systems,
            architectures: program.architectures,
            idempotent: program.idempotent,
        };
        program.check().map_err(|source| invalid("program", source))?;
        Ok(program)
    }
}

impl From<&Target> for wire::distribution::Target {
    fn from(target: &Target) -> Self {
        wire::distribution::Target {
            site: target.site.to_string(),
            distribution_point: target.point.to_string(),
        }
    }
}

impl TryFrom<wire::distribution::Target> for Target {
    type Error = ConvertError;

    fn try_from(target: wire::distribution::Target) -> Result<Self, ConvertError> {
        Ok(Target {
            site: parse("site", &target.site)?,
            point: parse("distribution_point", &target.distribution_point)?,
        })
    }
}

impl From<&Distribution> for wire::Distribution {
    fn from(distribution: &Distribution) -> Self {
        wire::Distribution {
            package: distribution.package.to_string(),
            targets: distribution.targets.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<wire::Distribution> for Distribution {
    type Error = ConvertError;

    fn try_from(distribution: wire::Distribution) -> Result<Self, ConvertError> {
        limited("targets", &distribution.targets, TARGETS_MAX)?;
        let mut checked = Distribution::empty(parse("package", &distribution.package)?);
        let targets: Vec<Target> =
            distribution.targets.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?;
        checked.add(targets);
        Ok(checked)
    }
}

impl From<PackageState> for wire::PackageState {
    fn from(state: PackageState) -> Self {
        match state {
            PackageState::Pending => wire::PackageState::Pending,
            PackageState::Installed => wire::PackageState::Installed,
            PackageState::Retrying => wire::PackageState::Retrying,
            PackageState::Failed => wire::PackageState::Failed,
            PackageState::Removing => wire::PackageState::Removing,
        }
    }
}

pub(super) fn package_state(value: i32) -> Result<PackageState, ConvertError> {
    match wire::PackageState::try_from(value) {
        Ok(wire::PackageState::Pending) => Ok(PackageState::Pending),
        Ok(wire::PackageState::Installed) => Ok(PackageState::Installed),
        Ok(wire::PackageState::Retrying) => Ok(PackageState::Retrying),
        Ok(wire::PackageState::Failed) => Ok(PackageState::Failed),
        Ok(wire::PackageState::Removing) => Ok(PackageState::Removing),
        Ok(wire::PackageState::Unspecified) | Err(_) => Err(ConvertError::Unknown { field: "state", value }),
    }
}
