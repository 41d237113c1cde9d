//! Parcels: what Courier Sender writes on media, and how it is read.
//!
//! A parcel brings items (runs of bytes with a digest) to one or many sites, over one or many **volumes**: files that may lie
//! on any media and come in any order. Its **packing list** says what is in it, for whom, and what every piece must hash to;
//! the caller signs it before anything is written, and everything that is read from a medium is believed only as far as the
//! signed list says its hash. An item that goes to many sites is there once.
//!
//! On a medium a volume is `PARCELS/1A2B3C4D/001.PHV`: the first digits of the parcel's id, the volume's number. Names are
//! such that every FAT takes them, and no file reaches 4 GiB. `README.TXT` beside it is for whoever finds it.
//!
//! A volume, version 1, integers little-endian, is the **front**, an age stream without its header, the front again, the
//! length of the front u32, the magic `PHPE`, and the BLAKE3 of everything before. The front is in plain: magic `PHPV`,
//! version u16, parcel id 16 bytes, number u16, count of volumes u16, length of the volume u64, creation time i64
//! (microseconds since 1970), sender 3 bytes, destinations u16 and their codes, 3 bytes each, length of age's header and nonce
//! u32, the BLAKE3 of the front without this checksum, age's header and nonce. The stream is encrypted to all destinations:
//! the length u64 of the packing list's envelope, the envelope, bytes of items ([`Piece`]), the envelope again, its length u64
//! again. What others cannot do without is there twice, at both ends: so a damaged spot costs the pieces that it lies in and
//! nothing else. age authenticates each 64 KiB by themselves.
//!
//! Everything here is synchronous, streams, and holds a few MiB besides the packing list.

mod checking;
mod contents;
mod copying;
mod envelope;
mod head;
mod id;
mod key;
mod layout;
mod letter;
mod limits;
mod list;
mod medium;
mod plan;
mod readme;
mod scan;
mod seal;
mod uncached;
mod volume;
mod wire;
mod write;

pub use checking::{Checked, VolumeFault, check_written};
pub use contents::{Contents, ContentsError};
pub use copying::VolumeCopy;
pub use envelope::{Failure, Open, Sign};
pub use head::{Head, HeadError};
pub use id::{PARCELS, ParcelId, ParcelIdError};
pub use key::{Identity, KeyError, Recipient};
pub use layout::Piece;
pub use letter::{LetterError, open_letter, seal_letter};
pub use limits::{
    DESTINATIONS_MAX, ENVELOPE_BYTES_MAX, HEAD_BYTES_MAX, Limits, PIECE_BYTES_MAX, VOLUME_BYTES_MAX,
    VOLUME_BYTES_MIN, VOLUMES_MAX,
};
pub use list::{Destination, Item, ListError, PackingList, ParcelInfo};
pub use medium::{Medium, MediumError};
pub use plan::{Draft, Plan, PlanError, Source, Written};
pub use scan::{FoundParcel, FoundVolume, Scan, scan};
pub use volume::{Damage, OpenError, PieceDamaged, ReadError, Reading, Volume};
pub use write::{OnProgress, Progress, WriteError};
