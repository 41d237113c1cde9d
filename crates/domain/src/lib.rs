//! The rules of Packhorse: names, states and decisions.
//!
//! Nothing here waits, reads, writes, asks for the time or rolls dice: what a decision needs is an argument. That
//! is what lets priorities, gates, merges and the link protocol be tested by the million.

pub mod address;
pub mod advertisement;
pub mod care;
pub mod client;
pub mod collection;
pub mod courier;
pub mod diagnosis;
pub mod digest;
pub mod distribution;
pub mod effort;
pub mod health;
pub mod id;
pub mod instruction;
pub mod kill;
pub mod link;
pub mod log;
pub mod message;
pub mod object;
pub mod offer;
pub mod package;
pub mod parcel;
pub mod priority;
pub mod queue;
pub mod reconcile;
pub mod redact;
pub mod run;
pub mod sendings;
pub mod settled;
pub mod site;
pub mod status;
pub mod tally;
pub mod time;
pub mod window;

pub use digest::Digest;
pub use priority::Priority;
pub use time::Timestamp;
