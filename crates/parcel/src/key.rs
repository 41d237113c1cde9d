//! The keys that parcels are encrypted to: X25519, as `age` has them.

use std::{fmt, str::FromStr};

use age::secrecy::ExposeSecret;
use zeroize::Zeroizing;

/// What the text of a recipient takes: `age1` and 58 characters.
pub(crate) const RECIPIENT_BYTES: usize = 62;

/// What opens the parcels of a site. Its text is a secret.
#[derive(Clone)]
pub struct Identity(pub(crate) age::x25519::Identity);

/// Whom a parcel is encrypted to. Its text, `age1...`, may be known to everybody.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Recipient(pub(crate) age::x25519::Recipient);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("the text is not an identity: AGE-SECRET-KEY-1... is expected")]
    Identity,
    #[error("the text is not a recipient: age1... is expected")]
    Recipient,
}

impl Identity {
    pub fn generate() -> Self {
        Identity(age::x25519::Identity::generate())
    }

    /// `AGE-SECRET-KEY-1...`, wiped from memory when it is dropped.
    pub fn secret_text(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.to_string().expose_secret().to_owned())
    }

    pub fn recipient(&self) -> Recipient {
        Recipient(self.0.to_public())
    }
}

impl FromStr for Identity {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        text.parse().map(Identity).map_err(|_| KeyError::Identity)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity of {}", self.recipient())
    }
}

impl FromStr for Recipient {
    type Err = KeyError;

    /// Takes the one text that it gives back.
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let recipient: Recipient = text.parse().map(Recipient).map_err(|_| KeyError::Recipient)?;
        (recipient.to_string() == text).then_some(recipient).ok_or(KeyError::Recipient)
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_from_their_text() {
        let identity = Identity::generate();
        let text = identity.secret_text();
        assert!(text.starts_with("AGE-SECRET-KEY-1"));
        let again: Identity = text.parse().unwrap();
        assert_eq!(again.recipient(), identity.recipient());
        assert!(!format!("{identity:?}").contains(text.as_str()), "what is logged is no secret");

        let text = identity.recipient().to_string();
        assert_eq!(text.len(), RECIPIENT_BYTES);
        assert_eq!(text.parse(), Ok(identity.recipient()));
        for bad in ["", "age1", &text[1..], &text.to_uppercase(), &format!("{text}q")] {
            assert_eq!(bad.parse::<Recipient>(), Err(KeyError::Recipient), "{bad}");
            assert!(bad.parse::<Identity>().is_err());
        }
    }
}
