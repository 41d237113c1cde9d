//! The client agent: polls its client access point, verifies, fetches, runs, and reports.
//!
//! Nothing that comes over the network is believed for the way it came: a program runs because its author and the
//! sites above this client signed for it.

pub mod agent;
mod blocking;
pub mod cap;
mod chance;
pub mod cli;
pub mod config;
pub mod enroll;
pub mod execute;
pub mod figures;
pub mod files;
pub mod home;
pub mod ledger;
pub mod poll;
pub mod report;
pub mod runner;
pub mod shared;
#[cfg(test)]
pub(crate) mod testing;
pub mod verify;
