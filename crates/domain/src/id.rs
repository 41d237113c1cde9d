//! Names. Each is checked where it enters and is its own type from then on.

use std::{fmt, str::FromStr};

/// A name that breaks its grammar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {what}: {rule}")]
pub struct IdError {
    pub what: &'static str,
    /// What was given, cut to 80 characters.
    pub text: String,
    pub rule: &'static str,
}

fn check(what: &'static str, rule: &'static str, text: &str, holds: bool) -> Result<String, IdError> {
    if holds {
        Ok(text.to_owned())
    } else {
        Err(IdError { what, rule, text: text.chars().take(80).collect() })
    }
}

fn is_code(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

fn is_name(text: &str, longest: usize) -> bool {
    !text.is_empty()
        && text.len() <= longest
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, |$text:ident| $holds:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str($text: &str) -> Result<Self, IdError> {
                check($what, $rule, $text, $holds).map($name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// A site's code, as `CEN`.
    SiteCode, "site code", "3 characters A-Z 0-9 are expected", |text| text.len() == 3 && is_code(text)
);
id!(
    /// A package's id, as `CEN00001`: the code of the site where it was made and five characters.
    PackageId, "package id", "8 characters A-Z 0-9 are expected, the first three a site code", |text| text.len() == 8
        && is_code(text)
);
id!(
    /// A collection's id, as `CEN00002`.
    CollectionId, "collection id", "8 characters A-Z 0-9 are expected, the first three a site code", |text| text
        .len()
        == 8
        && is_code(text)
);
id!(
    /// An advertisement's id, as `CEN20001`.
    AdvertisementId, "advertisement id", "8 characters A-Z 0-9 are expected, the first three a site code", |text| text
        .len()
        == 8
        && is_code(text)
);
id!(
    /// A client's id: a UUID that its site gave it and gives to no other.
    ClientId, "client id", "36 characters 0-9 a-f and - are expected", |text| text.len() == 36
        && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f' | b'-'))
);
id!(
    /// The name of a CAP agent or of a distribution point, unique within its site.
    PointName, "name", "1 to 32 letters, digits, `-`, `_` or `.` are expected, the first a letter or digit", |text| {
        is_name(text, 32)
    }
);
id!(
    /// The name of an address, unique for its neighbour.
    AddressName, "name of an address", "1 to 32 characters a-z 0-9 and `-` are expected, the first not `-`", |text| {
        (1..=32).contains(&text.len())
            && !text.starts_with('-')
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    }
);
id!(
    /// The name of a program within its package.
    ProgramName, "program name", "1 to 64 letters, digits, `-`, `_` or `.` are expected, the first a letter or digit",
    |text| is_name(text, 64)
);

impl PackageId {
    /// The site where it was made.
    pub fn site(&self) -> &str {
        &self.0[..3]
    }
}

/// The `number`th id that a site gives, as `CEN00001`; `None` when five digits do not hold it.
pub fn numbered(site: &SiteCode, number: u32) -> Option<String> {
    (number <= 99_999).then(|| format!("{site}{number:05}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_to_their_grammar() {
        for good in ["CEN", "P01", "000"] {
            assert!(good.parse::<SiteCode>().is_ok(), "{good}");
        }
        for bad in ["", "CE", "cen", "CENT", "C/N", "CÉ", "../"] {
            assert!(bad.parse::<SiteCode>().is_err(), "{bad}");
        }
        for bad in ["", "..", ".hidden", "a/b", "a b", "-x", &"a".repeat(33)] {
            assert!(bad.parse::<PointName>().is_err(), "{bad}");
        }
        for bad in ["", "Main", "-x", "a b", "a/b", "a.b", &"a".repeat(33)] {
            assert!(bad.parse::<AddressName>().is_err(), "{bad}");
        }
        assert!("night-2".parse::<AddressName>().is_ok());
        assert!("../../etc".parse::<PackageId>().is_err());
        assert!("CEN00001".parse::<PackageId>().is_ok());
    }

    #[test]
    fn an_error_says_what_was_expected_and_cuts_what_was_given() {
        let error = "x".repeat(500).parse::<SiteCode>().expect_err("too long");

        assert!(error.to_string().ends_with("is not a site code: 3 characters A-Z 0-9 are expected"));
        assert!(error.to_string().len() < 200);
    }
}
