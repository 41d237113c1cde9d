//! The id of a parcel, and the names of its files.

use std::{fmt, path::PathBuf, str::FromStr};

/// The directory on a medium in which each parcel has its own.
pub const PARCELS: &str = "PARCELS";
/// How the name of a volume ends.
pub(crate) const EXTENSION: &str = "PHV";

/// A parcel's id: 16 random bytes. Its text is 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParcelId(pub [u8; 16]);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a parcel id: 32 hexadecimal digits are expected")]
pub struct ParcelIdError(String);

impl ParcelId {
    /// A new one, from the system's randomness.
    pub fn random() -> Self {
        let mut id = [0; 16];
        getrandom::fill(&mut id).expect("the operating system gives random numbers");
        ParcelId(id)
    }

    /// Its first eight digits in upper case: the name of its directory on a medium, and what is written on a label.
    pub fn short(&self) -> String {
        hex::encode_upper(&self.0[..4])
    }

    /// Where its volumes lie on a medium.
    pub fn directory(&self) -> PathBuf {
        [PARCELS, &self.short()].iter().collect()
    }

    /// Where one of them lies there.
    pub fn volume(&self, number: u16) -> PathBuf {
        self.directory().join(volume_name(number))
    }
}

/// The name of a volume, as `001.PHV`.
pub(crate) fn volume_name(number: u16) -> String {
    format!("{number:03}.{EXTENSION}")
}

impl FromStr for ParcelId {
    type Err = ParcelIdError;

    fn from_str(text: &str) -> Result<Self, ParcelIdError> {
        let mut id = [0; 16];
        hex::decode_to_slice(text, &mut id).map_err(|_| ParcelIdError(text.chars().take(40).collect()))?;
        Ok(ParcelId(id))
    }
}

impl fmt::Display for ParcelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ParcelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}
