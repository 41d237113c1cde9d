//! Content by digest between processes: serving a library, and pulling from whoever serves one.
//!
//! Nothing here knows which process it is in, or why content is wanted.

mod mend;
mod pull;
mod serve;
mod store;
#[cfg(test)]
mod tests;

pub use mend::{MendError, fetch_chunks, fetch_manifest};
pub use pull::{FetchError, Progress, Source, fetch};
pub use serve::{ContentServer, REQUEST_LENGTH_MAX};

/// What one call may ask for.
const CHUNKS_PER_CALL_MAX: usize = 4096;
/// What a piece of a manifest may be.
const MANIFEST_PIECE_LENGTH_MAX: usize = 256 * 1024;
/// A block on the wire: its data and the list of its chunks, with room to spare.
const MESSAGE_LENGTH_MAX: usize = 2 * 1024 * 1024;
