//! Letters: a few bytes encrypted to one recipient, where a whole parcel would be too much.

use std::io::{Read as _, Write as _};

use age::{DecryptError, Decryptor, Encryptor};

use crate::{Identity, Recipient};

#[derive(Debug, thiserror::Error)]
pub enum LetterError {
    #[error("it is encrypted to another key")]
    NotForUs,
    #[error("it is damaged")]
    Damaged,
    #[error("it has more than {0} bytes")]
    TooLarge(usize),
}

/// Encrypts a letter, in the format of age.
///
/// # Panics
/// If the operating system has no random numbers to give.
pub fn seal_letter(recipient: &Recipient, bytes: &[u8]) -> Vec<u8> {
    let encryptor = Encryptor::with_recipients(std::iter::once(&recipient.0 as &dyn age::Recipient));
    let mut sealed = Vec::new();
    let mut writer =
        encryptor.expect("there is a recipient").wrap_output(&mut sealed).expect("memory can be written");
    writer.write_all(bytes).expect("memory can be written");
    writer.finish().expect("memory can be written");
    sealed
}

/// Opens a letter of at most so many bytes.
///
/// # Errors
/// It is for another key, damaged, or longer.
pub fn open_letter(identity: &Identity, sealed: &[u8], bytes_max: usize) -> Result<Vec<u8>, LetterError> {
    let decryptor = Decryptor::new_buffered(sealed).map_err(|_| LetterError::Damaged)?;
    let reader =
        decryptor.decrypt(std::iter::once(&identity.0 as &dyn age::Identity)).map_err(
            |error| match error {
                DecryptError::NoMatchingKeys => LetterError::NotForUs,
                _ => LetterError::Damaged,
            },
        )?;
    let mut bytes = Vec::new();
    let most = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    reader.take(most).read_to_end(&mut bytes).map_err(|_| LetterError::Damaged)?;
    if bytes.len() > bytes_max { Err(LetterError::TooLarge(bytes_max)) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_read_by_its_recipient_alone_and_whole_or_not_at_all() {
        let (ours, other) = (Identity::generate(), Identity::generate());
        let sealed = seal_letter(&ours.recipient(), b"let us in");

        assert_eq!(open_letter(&ours, &sealed, 9).unwrap(), b"let us in");
        assert!(matches!(open_letter(&other, &sealed, 9), Err(LetterError::NotForUs)));
        assert!(matches!(open_letter(&ours, &sealed, 8), Err(LetterError::TooLarge(8))));
        for end in 0..sealed.len() {
            assert!(open_letter(&ours, &sealed[..end], 9).is_err(), "{end}");
        }
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert!(open_letter(&ours, &altered, 9).is_err(), "{at}");
        }
    }
}
