//! Kills.

use packhorse_domain::{
    Timestamp,
    kill::{Kill, KillError},
};

use super::{ConvertError, invalid, parse};
use crate::object::v1 as wire;

impl From<&Kill> for wire::Kill {
    fn from(kill: &Kill) -> Self {
        wire::Kill {
            package: kill.package.to_string(),
            release: kill.release,
            reason: kill.reason.clone(),
            at_us: kill.at.0,
        }
    }
}

impl TryFrom<wire::Kill> for Kill {
    type Error = ConvertError;

    fn try_from(kill: wire::Kill) -> Result<Self, ConvertError> {
        let kill = Kill {
            package: parse("package", &kill.package)?,
            release: kill.release,
            reason: kill.reason,
            at: Timestamp(kill.at_us),
        };
        match kill.check() {
            Ok(()) => Ok(kill),
            Err(source @ KillError::Release) => Err(invalid("release", source)),
            Err(source) => Err(invalid("reason", source)),
        }
    }
}
