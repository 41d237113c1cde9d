//! Tests only: the link between sites on a simulated line, with simulated disks, faults and a seed.
//!
//! A run is a pure function of its [`Plan`]; a failure names the seed, and the seed gives the same run again.

mod disk;
mod draw;
mod driver;
mod faults;
mod file;
mod history;
mod lane;
mod leaving;
mod line;
mod mutation;
mod objects;
mod plan;
mod receiving;
mod rng;
mod sending;
mod share;
mod watch;
mod wire;
mod world;

pub use history::Record;
pub use mutation::Mutation;
pub use plan::{DiskPlan, Fault, LanePlan, LinePlan, Plan, Spec, Spoil};
pub use rng::Rng;
pub use world::{Failure, Report, Seen, run, run_recorded};
