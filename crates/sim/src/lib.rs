//! Tests only: the link between sites on a simulated line, with simulated disks, faults and a seed.
//!
//! A run is a pure function of its [`Plan`]; a failure names the seed, and the seed gives the same run again.

mod disk;
mod driver;
mod faults;
mod history;
mod mutation;
mod plan;
mod rng;
mod watch;
mod world;

pub use history::Record;
pub use mutation::Mutation;
pub use plan::{DiskPlan, Fault, LinePlan, Plan, Spec};
pub use rng::Rng;
pub use world::{Failure, Report, run, run_recorded};
