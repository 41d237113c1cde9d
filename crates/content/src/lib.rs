//! The data plane of Packhorse: what a package's content is, where it lies, how it travels, how it becomes files.
//!
//! Everything here is synchronous and streams; asynchronous callers use `spawn_blocking`. Nothing here knows of
//! gRPC, the database or signatures: a caller has a digest that it trusts, and this crate holds content to it.

mod block;
mod bundle;
mod case;
mod collect;
mod cut;
mod deflated;
mod delta;
mod durable;
mod error;
mod frames;
mod from_tree;
mod gate;
mod import;
mod index;
mod library;
mod likeness;
mod limits;
mod manifest;
mod opening;
mod outline;
mod pack;
mod path;
mod publish;
mod reader;
mod recover;
mod scrub;
mod snapshot;
mod sparse;
mod stamps;
#[cfg(test)]
mod testing;
mod tree;
mod usage;
mod wire;
mod writer;

pub use block::{Block, BlockError};
pub use bundle::{
    BundleError, BundleHeader, BundleInfo, BundlePlan, Coming, Making, Offered, Patience, Source,
    apply_bundle, apply_offered, header_of, read_header, stage_offered, write_bundle,
};
pub use case::CaseClashes;
pub use collect::Collected;
pub use error::LibraryError;
pub use import::{ImportError, Imported, is_library};
pub use library::Library;
pub use limits::Limits;
pub use manifest::{ChunkRef, Entry, EntryKind, Manifest, ManifestError};
pub use outline::{Outline, OutlineError, Outliner, PartCheck, part_bytes};
pub use path::PathError;
pub use publish::{Look, PublishTo, Published, forget_staged, last_compared, publish, stage, withdraw};
pub use scrub::{ScrubPlace, Scrubbed};
pub use snapshot::{Others, Progress, Snapshot, SnapshotError, SnapshotOptions, snapshot, snapshot_with};
pub use tree::{Staged, Staging, TreeError, check, lay_out};
pub use usage::{Usage, VersionUsage};
pub use wire::{Fields, digest_of};
pub use writer::PackWriter;
