//! What the caller does with a packing list: nothing here knows of signatures.

use std::error::Error;

/// What the caller's code failed with.
pub type Failure = Box<dyn Error + Send + Sync>;

/// Signs the bytes of a packing list: what comes back is opaque here, and at most 4 KiB longer.
pub type Sign<'a> = dyn Fn(&[u8]) -> Result<Vec<u8>, Failure> + 'a;

/// Takes the bytes of a packing list out of what was signed, and only if whoever signed it is trusted.
pub type Open<'a> = dyn Fn(&[u8]) -> Result<Vec<u8>, Failure> + 'a;
