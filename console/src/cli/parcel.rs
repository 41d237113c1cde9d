//! Small grammars for parcels: their names, the size of their volumes, when they are expected, keys.

use packhorse_domain::{
    Timestamp,
    address::{Amount, AmountError},
};

use crate::cli::parse::{self, Moment};

/// The largest file that FAT32 takes.
const VOLUME_BYTES_MAX: u64 = u32::MAX as u64;
const VOLUME_BYTES_MIN: u64 = 1 << 20;
const ID_DIGITS: usize = 32;
/// Fewer digits are too easily mistyped.
const PREFIX_DIGITS_MIN: usize = 4;
/// As `2027-01-31`.
const DATE_LENGTH: usize = 10;

/// The most bytes of a volume, within what a volume may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VolumeSize(pub(crate) u64);

/// When a parcel is expected, as it was typed.
pub(crate) type Expected = Moment;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ParcelError {
    #[error(
        "{PREFIX_DIGITS_MIN} to {ID_DIGITS} hexadecimal digits are expected, as `packhorse courier list` shows them"
    )]
    Prefix,
    #[error("a size is expected, as 512M, 4G or 650MB")]
    Size(#[source] AmountError),
    #[error("a volume takes at least 1M")]
    Small,
    #[error("a length of time or a time is expected, as 3d, 2027-01-31 or 2027-01-31T22:00:00Z")]
    Expected,
    #[error("that is a secret key, which no other site may have: give the public one, `age1...`")]
    SecretKey,
    #[error("a public key is expected, `age1...`, as `packhorse courier keys` of that site shows it")]
    Recipient,
}

/// A parcel's digits, or the first of them; a label has them in capitals.
pub(crate) fn prefix(text: &str) -> Result<String, ParcelError> {
    let fits = (PREFIX_DIGITS_MIN..=ID_DIGITS).contains(&text.len());
    if fits && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(ParcelError::Prefix)
    }
}

/// An amount; a bare `K`, `M` or `G` is a power of 1024, as media are spoken of.
///
/// A stick of `16G` takes volumes of the most there is, so more is no error.
pub(crate) fn volume_size(text: &str) -> Result<VolumeSize, ParcelError> {
    let bare = text.ends_with(|c: char| "KMGTkmgt".contains(c));
    let spelt = if bare { format!("{text}iB") } else { text.to_owned() };
    // What is too large to count is above the most as well, but nobody has such a medium.
    let Amount(bytes) = spelt.parse().map_err(ParcelError::Size)?;
    if bytes < VOLUME_BYTES_MIN {
        return Err(ParcelError::Small);
    }
    Ok(VolumeSize(bytes.min(VOLUME_BYTES_MAX)))
}

/// How long from now, a day (until its end in UTC), or a time.
pub(crate) fn expected(text: &str) -> Result<Expected, ParcelError> {
    if let Ok(length) = parse::duration(text) {
        return Ok(Moment::After(length));
    }
    if text.len() == DATE_LENGTH {
        return end_of_day(text).map(Moment::At).ok_or(ParcelError::Expected);
    }
    parse::moment(text).map_err(|_| ParcelError::Expected)
}

fn end_of_day(text: &str) -> Option<Timestamp> {
    let day: jiff::civil::Date = text.parse().ok()?;
    let next = day.tomorrow().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(Timestamp(next.timestamp().as_microsecond()))
}

/// A public key as far as its look goes; the site checks the rest.
pub(crate) fn recipient(text: &str) -> Result<String, ParcelError> {
    if text.to_ascii_uppercase().starts_with("AGE-SECRET-KEY") {
        return Err(ParcelError::SecretKey);
    }
    let digits = text.strip_prefix("age1").ok_or(ParcelError::Recipient)?;
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if digits.is_empty() || !digits.bytes().all(fits) {
        return Err(ParcelError::Recipient);
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_what_people_call_their_media() {
        for (text, bytes) in [
            ("1M", 1 << 20),
            ("512M", 512 << 20),
            ("512m", 512 << 20),
            ("512MiB", 512 << 20),
            ("1.5G", 3 << 29),
            ("2048K", 2 << 20),
            ("650MB", 650_000_000),
            ("4GB", 4_000_000_000),
            ("4294967294B", 4_294_967_294),
            ("4G", 4_294_967_295),
            ("4GiB", 4_294_967_295),
            ("16G", 4_294_967_295),
            ("2T", 4_294_967_295),
        ] {
            assert_eq!(volume_size(text).expect(text), VolumeSize(bytes), "{text}");
        }
        for wrong in ["", "4", "G", "4 G", "-4G", "4GG", "4X", "99999999999T"] {
            assert!(matches!(volume_size(wrong), Err(ParcelError::Size(_))), "{wrong}");
        }
        for small in ["0B", "1023K", "1MB"] {
            assert!(matches!(volume_size(small), Err(ParcelError::Small)), "{small}");
        }
    }

    #[test]
    fn a_parcel_is_named_by_its_first_digits_as_on_its_label() {
        assert_eq!(prefix("3FA2BC91").expect("digits"), "3fa2bc91");
        assert!(prefix(&"a".repeat(32)).is_ok());

        for wrong in ["", "3fa", "3fa2bc9g", "3fa2-bc91"] {
            assert!(prefix(wrong).is_err(), "{wrong}");
        }
        assert!(prefix(&"a".repeat(33)).is_err());
    }

    #[test]
    fn a_parcel_is_expected_in_some_days_or_on_a_day_or_at_a_time() {
        let now = Timestamp(1_000_000);

        for (text, at) in [
            ("3d", 259_201_000_000),
            ("+3d", 259_201_000_000),
            ("1970-01-01", 86_400_000_000),
            ("1970-01-01T00:00:05Z", 5_000_000),
        ] {
            assert_eq!(expected(text).expect(text).resolve(now), Timestamp(at), "{text}");
        }
        for wrong in ["", "3", "soon", "1970-13-01", "1970-01-01T00:00", "31.01.2027", "2027-1-311"] {
            assert!(expected(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_a_public_key_is_taken() {
        assert!(recipient("age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p").is_ok());

        assert!(matches!(recipient("AGE-SECRET-KEY-1QQPQ"), Err(ParcelError::SecretKey)));
        for wrong in ["", "age1", "ssh-ed25519 AAAA", "age1 x", "AGE1QL3"] {
            assert!(matches!(recipient(wrong), Err(ParcelError::Recipient)), "{wrong}");
        }
    }
}
