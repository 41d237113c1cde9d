//! Tests only: a hierarchy of real processes, with real sockets and disks, that can be stopped, killed and cut off.
//!
//! `cargo xtask demo` stands on the same harness.

mod binaries;
mod clock;
mod console;
mod hierarchy;
mod interrupt;
mod leftovers;
mod line;
mod ports;
mod process;
mod reaper;
mod scenario;
mod seed;
mod settings;
mod status;
mod tree;

pub use binaries::{Binaries, target_directory};
pub use clock::{Clock, compile};
pub use console::{Answer, Console};
pub use hierarchy::{Hierarchy, NewClient};
pub use interrupt::{Interrupt, Interrupted};
pub use line::{Line, LineBytes};
pub use ports::free_port;
pub use process::Process;
pub use scenario::{POINT, make_package, traces};
pub use seed::Seed;
pub use settings::set_in_toml;
pub use status::{AdvertisementProgress, ClientProgress, Link, PackageProgress, Place, SiteStatus, Transfer};
pub use tree::{TreeSpec, list_tree, make_tree};
