//! The limits of what lies on media: what is beyond them is refused before memory is spent on it.

/// The most destinations of a parcel.
pub const DESTINATIONS_MAX: usize = 1024;
/// The most volumes of a parcel: a name has three digits.
pub const VOLUMES_MAX: u16 = 999;
/// The longest `head` of an item, in bytes.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The shortest volume that can be asked for, in bytes.
pub const VOLUME_BYTES_MIN: u64 = 1024 * 1024;
/// The longest volume, in bytes: FAT32 takes no longer file.
pub const VOLUME_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024 - 1;
/// The longest piece, in bytes. It is what reading and writing hold in memory at a time.
pub const PIECE_BYTES_MAX: u64 = 1024 * 1024;
/// How many bytes the caller's envelope may add to the packing list that is in it.
pub const ENVELOPE_BYTES_MAX: u64 = 4096;

/// What a reader of packing lists accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest packing list, in bytes.
    pub list_bytes_max: u64,
    /// The most items.
    pub items_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { list_bytes_max: 256 * 1024 * 1024, items_max: 1_000_000 }
    }
}
